"""The sums behind every number reported: loss and metrics over the batches of an epoch, exactly.

The metrics are those that `compile` was given: names, functions or objects, and ``"acc"``.

The sums stay where the numbers are, on a CPU or a GPU, until somebody wants to read them.
"""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from tinynet import backend, metrics
from tinynet.backend import Array, Shape
from tinynet.compat import naming
from tinynet.compat.naming import is_tinynet_s
from tinynet.engine.data import Batch
from tinynet.losses import Loss
from tinynet.metrics import CategoricalAccuracy, Metric

Logs = dict[str, float]


class Tracker:
    """The loss and the metrics over all batches so far, exact for batches of any size."""

    def __init__(self, named: Mapping[str, Metric], dtype: str, steps: int) -> None:
        self.metrics = named
        self._round = backend.host.dtype(dtype).type
        self._losses = backend.xp.empty(steps, dtype)  # of each batch; they stay where they are
        self._runs: list[list[int]] = []  # [size, first, last + 1] of batches of one size in a row
        self._batches = self._samples = 0
        self._total, self._read = 0.0, 0  # of what was read, and how many batches that is
        for metric in named.values():
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


ACCURACY = ("acc", "accuracy")


class FunctionMetric(Metric):
    """The mean of a function ``(y_true, y_pred)`` that gives a value for each sample."""

    def __init__(self, function: Callable[[Array, Array], Array]) -> None:
        super().__init__(getattr(function, "__name__", type(function).__name__))
        self._function = function

    def call(self, y_true: Array, y_pred: Array) -> Array:
        return backend.as_array(self._function(y_true, y_pred))


def check_metrics(given: Any) -> list[Any]:
    """The list that `compile` was given, each entry checked."""
    if given is not None and not isinstance(given, list | tuple):
        raise ValueError(
            "Expected `metrics` argument to be a list, tuple, or dict. Received instead: "
            f"metrics={given} of type {type(given)}. Write: metrics=['acc']"
        )
    for identifier in given or ():
        if identifier in ACCURACY:
            continue
        if isinstance(identifier, str):
            naming.lookup("metric", identifier, {**metrics.KNOWN, **dict.fromkeys(ACCURACY)})
        else:
            metrics.get(identifier)
    return list(given or ())


def resolve(identifier: Any, y_true: Shape, y_pred: Shape) -> Metric:
    """A metric for targets and outputs of these shapes, named as `compile` was given it.

    ``"acc"`` and ``"accuracy"`` mean what fits the shapes, as in Keras: binary for a single
    output, sparse for targets that are class numbers, else categorical.
    """
    if identifier in ACCURACY:
        if y_pred[-1] == 1:
            return metrics.BinaryAccuracy(name=identifier)
        sparse = len(y_true) < len(y_pred) or y_true[-1] == 1
        kind = metrics.SparseCategoricalAccuracy if sparse else metrics.CategoricalAccuracy
        return kind(name=identifier)
    found = metrics.get(identifier)
    found = found if isinstance(found, Metric) else FunctionMetric(found)
    if isinstance(identifier, str):
        found.name = identifier
    return found


def metrics_for(model: Any, y_true: Shape) -> dict[str, Metric]:
    """The metrics in `compile`'s order, for targets of this shape; those of one name numbered."""
    named: dict[str, Metric] = {}
    for identifier in model.metrics_given:
        metric = resolve(identifier, y_true, model.output_shape)
        numbered = (f"{metric.name}_{number}" for number in itertools.count(1))
        names = itertools.chain([metric.name], numbered)
        named[next(name for name in names if name not in named)] = metric
    return named


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
    """Whether a layer, loss or metric says so of itself; a reader's own inherits no such word."""
    return (is_tinynet_s(type(part)) or "by_sample" in vars(type(part))) and part.by_sample
