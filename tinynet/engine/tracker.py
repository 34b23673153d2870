"""Running sums of the loss and the metrics over the batches of an epoch.

The metrics are those passed to `compile`: names such as ``"acc"``, functions or objects.

The sums stay on the model's device, a CPU or a GPU, until they are read.
"""

import copy
import itertools
from collections.abc import Callable, Mapping

from tinynet import backend, metrics
from tinynet.backend.types import Array, Identifier, Logs, Model, Shape, State
from tinynet.compat import contracts, guards, naming
from tinynet.compat.measures import MetricVariable
from tinynet.compat.naming import is_builtin
from tinynet.engine.data import Batch
from tinynet.layers import Layer
from tinynet.losses import Loss
from tinynet.metrics import CategoricalAccuracy, Metric


class Tracker:
    """The loss and the metrics over all batches so far, exact for batches of any size."""

    def __init__(self, named: Mapping[str, Metric], dtype: str, steps: int | None) -> None:
        self.metrics = named
        self.batches = self._samples = 0  # so far
        self._round = backend.host.dtype(dtype).type
        self._losses = backend.xp.empty(steps or 1024, dtype)  # of each batch, on the device
        self._grows = steps is None
        self._runs: list[list[int]] = []  # [size, first, last + 1] of consecutive equal batches
        self._total, self._synced = 0.0, 0  # the loss sum read so far, and its batches
        for metric in named.values():
            metric.reset_state()

    @property
    def steps_left(self) -> int:
        """How many more batches there may be, or how many there is room for, never 0."""
        return len(self._losses) - self.batches

    def update(self, batch: Batch, loss: Array, output: Array) -> None:
        """Add a batch."""
        self.add_loss(len(output), loss)
        self.update_metrics(batch, output)

    def add_loss(self, size: int, loss: Array) -> None:
        """Add the loss of a batch of `size` samples."""
        number = self.batches
        self._losses[number] = loss
        if not self._runs or self._runs[-1][0] != size:
            self._runs.append([size, number, number])
        self.batches = self._runs[-1][2] = number + 1
        self._samples += size
        if self._grows:
            self._make_room()

    def _make_room(self) -> None:
        while self.batches >= len(self._losses):
            known, self._losses = self._losses, backend.xp.empty(2 * len(self._losses), self._round)
            self._losses[: len(known)] = known

    def update_metrics(self, batch: Batch, output: Array) -> None:
        """Add a batch to the metrics."""
        for metric in self.metrics.values():
            plain = type(metric) is CategoricalAccuracy and batch.y.shape == output.shape
            if plain and batch.classes is not None:
                metric.add(batch.classes == output.argmax(axis=-1))  # no need to find y's classes
            else:
                metric.update_state(batch.y, output)

    def sync(self, *others: Array) -> list[float]:
        """Copy all sums to the host; return `others` as floats, copied in the same transfer."""
        plain = [metric for metric in self.metrics.values() if type(metric).result is Metric.result]
        runs = [(n, max(a, self._synced), b) for n, a, b in self._runs if b > self._synced]
        sums = [self._losses[first:last].sum(dtype="float64") for _, first, last in runs]
        sums += [part for metric in plain for part in (metric.total, metric.count)]
        values = iter(backend.to_floats(*sums, *others))
        # Each batch's loss is weighted by its number of samples.
        self._total += sum(size * next(values) for size, _, _ in runs)
        self._synced = self.batches
        for metric in plain:
            metric.total, metric.count = next(values), next(values)
        return list(values)

    def resync(self, *others: Array) -> list[float]:
        """Do the same as `sync`, but sum the loss over all batches again.

        Otherwise, its last bits would depend on how often it was read during the epoch.
        """
        self._total, self._synced = 0.0, 0
        return self.sync(*others)

    def get_state(self) -> State:
        """Return everything that another tracker's `set_state` needs to continue from here."""
        self.sync()
        return {
            "losses": backend.to_numpy(self._losses[: self.batches]),
            "total": self._total,
            "runs": self._runs,
            "samples": self._samples,
            "metrics": [metric_state(metric) for metric in self.metrics.values()],
        }

    def set_state(self, state: State) -> None:
        """Continue from a state returned by `get_state`."""
        self.batches = self._synced = len(state["losses"])
        if self._grows:
            self._make_room()
        self._total = state["total"]
        self._losses[: self.batches] = backend.to_active(state["losses"])
        self._runs, self._samples = state["runs"], state["samples"]
        for metric, values in zip(self.metrics.values(), state["metrics"], strict=True):
            for name, value in values.items():
                if isinstance(getattr(metric, name, None), MetricVariable):
                    getattr(metric, name).assign(backend.to_active(value))
                    continue
                arrays = isinstance(value, backend.host.ndarray)
                setattr(metric, name, backend.to_active(value) if arrays else value)

    def first_not_finite(self) -> int | None:
        """Return the number, from 1, of the first batch with a NaN or infinite loss, or None."""
        bad = ~backend.host.isfinite(backend.to_numpy(self._losses[: self.batches]))
        return int(bad.argmax()) + 1 if bad.any() else None

    def can_merge(self, loss: Loss) -> bool:
        """Return whether batches may be merged: loss and metrics are all means over the samples."""
        plain = loss.reduction in ("sum_over_batch_size", "mean")
        return plain and by_sample(loss) and all(map(by_sample, self.metrics.values()))

    def results(self) -> list[float]:
        """Return the loss, then the metrics in `compile`'s order, rounded to the model's dtype."""
        self.sync()
        values = [
            self._total / self._samples,
            *(
                contracts.metric_result(name, metric.result())
                for name, metric in self.metrics.items()
            ),
        ]
        with backend.ignore_overflow():
            return [float(self._round(value)) for value in values]

    def logs(self, prefix: str = "") -> Logs:
        """Return the same results by name, in alphabetical order."""
        names = ["loss", *self.metrics]
        return {prefix + k: v for k, v in sorted(zip(names, self.results(), strict=True))}


ACCURACY = ("acc", "accuracy")


class FunctionMetric(Metric):
    """The mean of a function ``(y_true, y_pred)`` that gives a value for each sample."""

    def __init__(self, function: Callable[[Array, Array], Array]) -> None:
        super().__init__(getattr(function, "__name__", type(function).__name__))
        self._function = guards.on_copies(function)

    def call(self, y_true: Array, y_pred: Array) -> Array:
        return contracts.metric_values(
            self._function, self._function(y_true, y_pred), y_true, y_pred
        )


def check_metrics(given: object) -> list[Identifier]:
    """Return the list of metrics passed to `compile`, with each entry checked."""
    if given is not None and not isinstance(given, list | tuple):
        a_dict = isinstance(given, dict)  # which Keras accepts
        raise ValueError(
            f"Expected `metrics` argument to be a list{', tuple, or dict' * (not a_dict)}. "
            f"Received instead: metrics={given} of type {type(given)}. Write: metrics=['acc']"
        )
    for identifier in given or ():
        if str(identifier).lower() in ACCURACY:
            continue
        if isinstance(identifier, str):
            naming.lookup("metric", identifier, {**metrics.KNOWN, **dict.fromkeys(ACCURACY)})
        elif metrics.get(identifier) is None:
            naming.lookup("metric", identifier, metrics.KNOWN)
    return list(given or ())


def resolve_metric(identifier: Identifier, y_true: Shape, y_pred: Shape) -> Metric:
    """Return the metric for targets and outputs of these shapes, named as passed to `compile`.

    ``"acc"`` and ``"accuracy"``, also in capitals, depend on the shapes, as in Keras: binary
    accuracy for a single output, sparse for targets that are class numbers, otherwise categorical.
    """
    if str(identifier).lower() in ACCURACY:
        if y_pred[-1] == 1:
            return metrics.BinaryAccuracy(name=identifier)
        sparse = len(y_true) < len(y_pred) or y_true[-1] == 1
        kind = metrics.SparseCategoricalAccuracy if sparse else metrics.CategoricalAccuracy
        return kind(name=identifier)
    metric = metrics.get(identifier)
    metric = metric if isinstance(metric, Metric) else FunctionMetric(metric)
    if isinstance(identifier, str):
        metric.name = identifier
    return metric


def make_metrics(model: Model, y_true: Shape) -> dict[str, Metric]:
    """Return the metrics by name, in `compile`'s order; equal names are numbered.

    A call within another one, or beside it in another thread, has its own copies of the metrics.
    """
    named: dict[str, Metric] = {}
    for identifier in model.compile_metrics:
        metric = resolve_metric(identifier, y_true, model.output_shape)
        metric = copy.deepcopy(metric) if model.active_calls > 1 else metric
        numbered = (f"{metric.name}_{number}" for number in itertools.count(1))
        names = itertools.chain([metric.name], numbered)
        named[next(name for name in names if name not in named)] = metric
    if model.active_calls <= 1:
        model.resolved_metrics = list(named.values())
    return named


def metric_state(metric: Metric) -> State:
    """Return the state of a metric: its attributes that are numbers, arrays, lists or dicts."""
    state = {}
    for name, value in vars(metric).items():
        value = value.value if isinstance(value, MetricVariable) else value
        if backend.on_device(value):
            value = backend.to_numpy(value)
        array = isinstance(value, backend.host.ndarray | backend.host.generic)
        if (array or isinstance(value, int | float | list | dict)) and name != "_variables":
            state[name] = value
    return state


def by_sample(part: Layer | Loss | Metric) -> bool:
    """Return `part.by_sample`, which a user-defined class must set itself, not inherit."""
    return (
        (is_builtin(type(part)) or "by_sample" in vars(type(part)))
        and part.by_sample
        and getattr(part, "axis", -1) == -1  # a cross-entropy's classes may be on that of samples
    )
