"""The sums behind every number reported: loss and metrics over the batches of an epoch, exactly.

The sums stay where the numbers are, on a CPU or a GPU, until somebody wants to read them.
"""

from collections.abc import Mapping
from typing import Any

from tinynet import backend
from tinynet.backend import Array
from tinynet.engine.data import Batch
from tinynet.losses import Loss
from tinynet.metrics import CategoricalAccuracy, Metric

Logs = dict[str, float]


class Tracker:
    """The loss and the metrics over all batches so far, exact for batches of any size."""

    def __init__(self, metrics: Mapping[str, Metric], dtype: str, steps: int) -> None:
        self.metrics = metrics
        self._round = backend.host.dtype(dtype).type
        self._losses = backend.xp.empty(steps, dtype)  # of each batch; they stay where they are
        self._runs: list[list[int]] = []  # [size, first, last + 1] of batches of one size in a row
        self._batches = self._samples = 0
        self._total, self._read = 0.0, 0  # of what was read, and how many batches that is
        for metric in metrics.values():
            metric.reset_state()

    def update(self, batch: Batch, loss: Array, output: Array) -> None:
        """Add a batch."""
        size, number = len(output), self._batches
        self._losses[number] = loss
        if not self._runs or self._runs[-1][0] != size:
            self._runs.append([size, number, number])
        self._batches = self._runs[-1][2] = number + 1
        self._samples += size
        for metric in self.metrics.values():
            plain = type(metric) is CategoricalAccuracy and batch.y.shape == output.shape
            if plain and batch.classes is not None:
                metric.add(batch.classes == output.argmax(axis=-1))  # the rest is known already
            else:
                metric.update_state(batch.y, output)

    def read(self, *others: Any) -> list[float]:
        """Bring all sums to the host, and the numbers `others` with them: one wait for the GPU."""
        plain = [metric for metric in self.metrics.values() if type(metric).result is Metric.result]
        runs = [(n, max(a, self._read), b) for n, a, b in self._runs if b > self._read]
        sums = [self._losses[first:last].sum(dtype="float64") for _, first, last in runs]
        sums += [part for metric in plain for part in (metric.total, metric.count)]
        came = iter(backend.numbers(*sums, *others))
        # A batch's loss counts by its samples.
        self._total += sum(size * next(came) for size, _, _ in runs)
        self._read = self._batches
        for metric in plain:
            metric.total, metric.count = next(came), next(came)
        return list(came)

    def read_anew(self, *others: Any) -> list[float]:
        """The same, the loss from all batches in one sum.

        Else, its last bits would depend on how often somebody has looked.
        """
        self._total, self._read = 0.0, 0
        return self.read(*others)

    def get_state(self) -> dict[str, Any]:
        """All that `set_state` of another tracker needs to go on from here."""
        self.read()
        return {
            "losses": backend.to_numpy(self._losses[: self._batches]),
            "total": self._total,
            "runs": self._runs,
            "samples": self._samples,
            "metrics": [sums_of(metric) for metric in self.metrics.values()],
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from what `get_state` gave."""
        self._batches = self._read = len(state["losses"])
        self._total = state["total"]
        self._losses[: self._batches] = backend.to_active(state["losses"])
        self._runs, self._samples = state["runs"], state["samples"]
        for metric, values in zip(self.metrics.values(), state["metrics"], strict=True):
            for name, value in values.items():
                arrays = isinstance(value, backend.host.ndarray)
                setattr(metric, name, backend.to_active(value) if arrays else value)

    def first_bad(self) -> int | None:
        """The number, from 1, of the first batch whose loss is NaN or infinite."""
        bad = ~backend.host.isfinite(backend.to_numpy(self._losses[: self._batches]))
        return int(bad.argmax()) + 1 if bad.any() else None

    def can_merge(self, loss: Loss) -> bool:
        """Whether several batches may be added as one: every number is a mean over the samples."""
        plain = loss.reduction in ("sum_over_batch_size", "mean")
        return plain and all(map(by_sample, (loss, *self.metrics.values())))

    def results(self) -> list[float]:
        """The loss, then the metrics in `compile`'s order, rounded to the floats Keras reports."""
        self.read()
        values = [
            self._total / self._samples,
            *(metric.result() for metric in self.metrics.values()),
        ]
        with backend.ignore_overflow():
            return [float(self._round(value)) for value in values]

    def logs(self, prefix: str = "") -> Logs:
        """The same by name, in alphabetical order."""
        names = ["loss", *self.metrics]
        return {prefix + k: v for k, v in sorted(zip(names, self.results(), strict=True))}


def sums_of(metric: Metric) -> dict[str, Any]:
    """What a metric has added up so far: its attributes that are data."""
    found = {}
    for name, value in vars(metric).items():
        if backend.on_device(value):
            value = backend.to_numpy(value)
        array = isinstance(value, backend.host.ndarray | backend.host.generic)
        if array or isinstance(value, int | float | list | dict):
            found[name] = value
    return found


def by_sample(part: Any) -> bool:
    """Whether a layer, loss or metric says so of itself; an inherited word is not its own."""
    return "by_sample" in vars(type(part)) and part.by_sample
