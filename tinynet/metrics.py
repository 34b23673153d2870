"""Metrics: what people ask of a model, such as how often it is right. Nothing is learned from it.

A metric adds up over the batches of an epoch and divides once, at the end, so what it reports is
exact whatever the size of the batches. The sums stay where the numbers are until they are asked
for.
"""

from collections.abc import Callable
from typing import Any

from tinynet import backend, losses
from tinynet.backend import Array, Shape
from tinynet.compat import checks, naming, validation
from tinynet.compat.configuration import Configurable, serialize as serialize
from tinynet.losses import as_weights, match_rank


class Metric(Configurable):
    """The mean of a value over samples; the base of every metric, tinynet's and your own.

    A subclass writes `call`, the value of each sample; or, if it is no mean, `update_state`,
    `result` and `reset_state`.

    Source: https://keras.io/api/metrics/base_metric/
    """

    keras_module = "keras.metrics"

    by_sample = False  # whether a sample's value does not depend on the others in its batch

    def __init__(self, name: str | None = None, dtype: Any = None) -> None:
        validation.float_type(dtype)  # sums are float64 or integers whatever it says
        self.name = name or naming.snake_case(type(self).__name__)
        self.reset_state()

    def call(self, y_true: Array, y_pred: Array) -> Array:
        """The value of each sample, (batch,)."""
        raise NotImplementedError(f"{type(self).__name__} has to define call(y_true, y_pred)")

    def reset_state(self) -> None:
        """Start anew."""
        self.total: Any = 0
        self.count: Any = 0

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch."""
        y_pred = backend.as_array(y_pred)
        self.add(self.call(backend.of(y_pred).asarray(y_true), y_pred), sample_weight)

    def add(self, values: Array, sample_weight: Any = None) -> None:
        """Add the values of some samples."""
        if sample_weight is None:
            # Counting what is true is exact; other values are summed in float64.
            exact = values.dtype.kind == "b"
            total = (
                backend.of(values).count_nonzero(values) if exact else values.sum(dtype="float64")
            )
            self.total = self.total + total
            self.count += values.size
        else:
            weights = as_weights(sample_weight, values.astype("float64"))
            self.total = self.total + (values * weights).sum()
            self.count = self.count + weights.sum() * (values.size / weights.size)

    def result(self) -> float:
        """The mean over everything since `reset_state`; 0 if that was nothing."""
        total, count = backend.numbers(self.total, self.count)
        return total / count if count else 0.0

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> float:
        """Add a batch, and return the mean so far."""
        self.update_state(y_true, y_pred, sample_weight)
        return self.result()


class CategoricalAccuracy(Metric):
    """How often the most probable class is the true one, for one-hot targets.

    Source: https://keras.io/api/metrics/accuracy_metrics/#categoricalaccuracy-class
    """

    by_sample = True

    def call(self, y_true: Array, y_pred: Array) -> Array:
        checks.one_hot_labels(self.name, y_true.shape, y_pred.shape)
        return y_true.argmax(axis=-1) == y_pred.argmax(axis=-1)


class SparseCategoricalAccuracy(Metric):
    """How often the most probable class is the true one, for targets given as class numbers.

    Source: https://keras.io/api/metrics/accuracy_metrics/#sparsecategoricalaccuracy-class
    """

    by_sample = True

    def call(self, y_true: Array, y_pred: Array) -> Array:
        best = y_pred.argmax(axis=-1)
        checks.class_labels(self.name, y_true.shape, best.shape)
        return y_true.reshape(best.shape) == best


class BinaryAccuracy(Metric):
    """How often an output is on the same side of `threshold` as its target, 0 or 1.

    Source: https://keras.io/api/metrics/accuracy_metrics/#binaryaccuracy-class
    """

    by_sample = True

    def __init__(self, name: str | None = None, dtype: Any = None, threshold: float = 0.5) -> None:
        super().__init__(name, dtype)
        self.threshold = threshold

    def call(self, y_true: Array, y_pred: Array) -> Array:
        if y_true.ndim > y_pred.ndim:
            y_pred = match_rank(y_pred, y_true)
        return match_rank(y_true, y_pred) == (y_pred > self.threshold)


class FunctionMetric(Metric):
    """The mean of a function ``(y_true, y_pred)`` that gives a value for each sample."""

    def __init__(self, function: Callable[[Array, Array], Array], name: str | None = None) -> None:
        super().__init__(name or getattr(function, "__name__", type(function).__name__))
        self.function = function

    def call(self, y_true: Array, y_pred: Array) -> Array:
        return backend.as_array(self.function(y_true, y_pred))


def categorical_accuracy(y_true: Any, y_pred: Any) -> Array:
    """1 for each sample whose most probable class is the true one of one-hot `y_true`, else 0.

    >>> categorical_accuracy([[0, 1], [1, 0]], [[0.2, 0.8], [0.3, 0.7]])
    array([1., 0.], dtype=float32)
    """
    return _values(CategoricalAccuracy(), y_true, y_pred)


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> Array:
    """1 for each sample whose most probable class is the class number in `y_true`, else 0."""
    return _values(SparseCategoricalAccuracy(), y_true, y_pred)


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> Array:
    """1 for each output that is on its target's side of `threshold`, else 0."""
    return _values(BinaryAccuracy(threshold=threshold), y_true, y_pred)


def _values(metric: Metric, y_true: Any, y_pred: Any) -> Array:
    y_pred = backend.as_float(y_pred)
    return metric.call(backend.of(y_pred).asarray(y_true), y_pred).astype(y_pred.dtype)


_LOSSES = (
    "categorical_crossentropy", "sparse_categorical_crossentropy", "mean_squared_error",
    "MeanSquaredError", "mse", "MSE",
)  # fmt: skip
_KNOWN: dict[str, Any] = {
    **naming.by_both_names(CategoricalAccuracy, SparseCategoricalAccuracy, BinaryAccuracy),
    **{name: losses.get(name) for name in _LOSSES},
}
_ACCURACY = ("acc", "accuracy")

get = naming.getter("metric", _KNOWN, Metric, functions=True)


def is_loss(name: str) -> bool:
    """Whether `name` is that of a loss, of which less is better."""
    return isinstance(_KNOWN.get(name), Callable) and not isinstance(_KNOWN[name], type)  # type: ignore[arg-type]


def check(identifier: Any) -> None:
    """Raise a ValueError if `compile` could not make a metric of `identifier`."""
    if identifier in _ACCURACY:
        return
    if isinstance(identifier, str):
        naming.lookup("metric", identifier, {**_KNOWN, **dict.fromkeys(_ACCURACY)})
    else:
        get(identifier)


def resolve(identifier: Any, y_true: Shape, y_pred: Shape) -> Metric:
    """A metric for targets and outputs of these shapes, named as `compile` was given it.

    ``"acc"`` and ``"accuracy"`` mean what fits the shapes, as in Keras: binary for a single
    output, sparse for targets that are class numbers, else categorical.
    """
    if identifier in _ACCURACY:
        if y_pred[-1] == 1:
            return BinaryAccuracy(name=identifier)
        sparse = len(y_true) < len(y_pred) or y_true[-1] == 1
        return (SparseCategoricalAccuracy if sparse else CategoricalAccuracy)(name=identifier)
    found = get(identifier)
    if not isinstance(found, Metric):
        found = FunctionMetric(found)
    if isinstance(identifier, str):
        found.name = identifier
    return found
