"""Metrics: what people ask of a model, such as how often it is right. Nothing is learned from it.

A metric adds up over the batches of an epoch and divides once, at the end: that is exact whatever
the size of the batches. The sums stay where the numbers are until asked for.
Source: https://keras.io/api/metrics/
"""

from typing import Any

from tinynet import backend, losses
from tinynet.backend import Array
from tinynet.compat import checks
from tinynet.compat.configuration import Configurable, public
from tinynet.compat.naming import derived, snake_case
from tinynet.compat.targets import as_function, as_weights, match_rank


class Metric(Configurable):
    """The mean of a value over samples; the base of every metric, tinynet's and your own.

    A subclass writes `call`, the value of each sample; or, if it is no mean, `update_state`,
    `result` and `reset_state`.
    """

    by_sample = False  # whether a sample's value does not depend on the others in its batch

    def __init__(self, name: str | None = None, dtype: Any = None) -> None:
        self.name = name or snake_case(type(self).__name__)  # dtype is ignored: sums are exact
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
        """Add the values of some samples: booleans are counted, the rest is summed in float64."""
        if sample_weight is not None:
            weights = as_weights(sample_weight, values.astype("float64"))
            self.total = self.total + (values * weights).sum()
            self.count = self.count + weights.sum() * (values.size / weights.size)
            return
        exact = values.dtype.kind == "b"
        total = backend.of(values).count_nonzero(values) if exact else values.sum(dtype="float64")
        self.total = self.total + total
        self.count += values.size

    def result(self) -> float:
        """The mean over everything since `reset_state`; 0 if that was nothing."""
        total, count = backend.numbers(self.total, self.count)
        return total / count if count else 0.0

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> float:
        """Add a batch, and return the mean so far."""
        self.update_state(y_true, y_pred, sample_weight)
        return self.result()


class CategoricalAccuracy(Metric):
    """How often the most probable class is the true one, for one-hot targets."""

    by_sample = True

    def call(self, y_true: Array, y_pred: Array) -> Array:
        checks.one_hot_labels(self.name, y_true.shape, y_pred.shape)
        return y_true.argmax(axis=-1) == y_pred.argmax(axis=-1)


class SparseCategoricalAccuracy(Metric):
    """How often the most probable class is the true one, for targets given as class numbers."""

    by_sample = True

    def call(self, y_true: Array, y_pred: Array) -> Array:
        best = y_pred.argmax(axis=-1)
        checks.class_labels(self.name, y_true.shape, best.shape)
        return y_true.reshape(best.shape) == best


class BinaryAccuracy(Metric):
    """How often an output is on the same side of `threshold` as its target, 0 or 1."""

    by_sample = True

    def __init__(self, name: str | None = None, dtype: Any = None, threshold: float = 0.5) -> None:
        super().__init__(name, dtype)
        self.threshold = threshold

    def call(self, y_true: Array, y_pred: Array) -> Array:
        if y_true.ndim > y_pred.ndim:
            y_pred = match_rank(y_pred, y_true)
        return match_rank(y_true, y_pred) == (y_pred > self.threshold)


categorical_accuracy = as_function(CategoricalAccuracy)
sparse_categorical_accuracy = as_function(SparseCategoricalAccuracy)
binary_accuracy = as_function(BinaryAccuracy)

_LOSSES = "mse", "MSE", "MeanSquaredError", *losses.FUNCTIONS
KNOWN = derived(Metric) | {name: losses.get(name) for name in _LOSSES}
get, serialize = public("metric", Metric, KNOWN, functions=True)
