"""Metrics: figures that report how good a model is, such as its accuracy. Training ignores them.

A metric sums over the batches of an epoch and divides once, at the end, so that the result does not
depend on the sizes of the batches. The sums stay on the device until the result is needed.
Source: https://keras.io/api/metrics/
"""

from tinynet import backend, losses
from tinynet.backend.types import Array, Weighting
from tinynet.compat import shapes
from tinynet.compat.configuration import functions_for
from tinynet.compat.measures import MetricBase
from tinynet.compat.naming import subclasses_by_name
from tinynet.compat.targets import as_function, as_metric, as_weights, comparable, match_rank


class Metric(MetricBase):
    """The mean of a value over samples; the base class of all metrics, tinynet's and your own.

    A subclass defines `call`, the value of each sample; or, if it is not a mean, `update_state`,
    `result` and `reset_state`.
    """

    def call(self, y_true: Array, y_pred: Array) -> Array:
        """Return the value of each sample, (batch,)."""
        raise NotImplementedError(f"{type(self).__name__} has to define call(y_true, y_pred)")

    def update_state(self, y_true: Array, y_pred: Array, sample_weight: Weighting = None) -> None:
        """Add the values of a batch."""
        y_pred = backend.as_array(y_pred)
        self.add(self.call(backend.of(y_pred).asarray(y_true), y_pred), sample_weight)

    def add(self, values: Array, sample_weight: Weighting = None) -> None:
        """Add the samples' values: booleans are counted, other types are summed in float64."""
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
        """Return the mean of all values since `reset_state`, or 0 if there are none."""
        total, count = backend.to_floats(self.total, self.count)
        return total / count if count else 0.0


class Accuracy(Metric):
    """How often an output equals its target."""

    by_sample = True

    def call(self, y_true: Array, y_pred: Array) -> Array:
        return backend.of(y_pred).equal(*comparable(self, y_true, y_pred))


class CategoricalAccuracy(Metric):
    """How often the most probable class is the true one, for one-hot targets."""

    by_sample = True

    def call(self, y_true: Array, y_pred: Array) -> Array:
        shapes.one_hot_labels(self.name, y_true.shape, y_pred.shape)
        return backend.of(y_pred).equal(y_true.argmax(axis=-1), y_pred.argmax(axis=-1))


class SparseCategoricalAccuracy(Metric):
    """How often the most probable class is the true one, for targets given as class numbers."""

    by_sample = True

    def call(self, y_true: Array, y_pred: Array) -> Array:
        best = y_pred.argmax(axis=-1)
        shapes.class_labels(self.name, y_true.shape, best.shape)
        labels = y_true if y_true.ndim == best.ndim else y_true.reshape(best.shape)
        return backend.of(best).equal(labels, best)


class BinaryAccuracy(Metric):
    """How often an output is on the same side of `threshold` as its target, 0 or 1."""

    by_sample = True

    def __init__(self, name: str | None = None, dtype: str | None = None, threshold: float = 0.5):
        super().__init__(name, dtype)
        self.threshold = threshold

    def call(self, y_true: Array, y_pred: Array) -> Array:
        shapes.binary_labels(self.name, y_true.shape, y_pred.shape)
        if y_true.ndim > y_pred.ndim:
            y_pred = match_rank(y_pred, y_true)
        return backend.of(y_pred).equal(match_rank(y_true, y_pred), y_pred > self.threshold)


categorical_accuracy = as_function(CategoricalAccuracy)
sparse_categorical_accuracy = as_function(SparseCategoricalAccuracy)
binary_accuracy = as_function(BinaryAccuracy)

CategoricalCrossentropy = as_metric(losses.categorical_crossentropy, Metric)
SparseCategoricalCrossentropy = as_metric(losses.sparse_categorical_crossentropy, Metric)
BinaryCrossentropy = as_metric(losses.binary_crossentropy, Metric, without="axis")
MeanSquaredError = as_metric(losses.mean_squared_error, Metric)
MeanAbsoluteError = as_metric(losses.mean_absolute_error, Metric)

_SHORT = {"bce": BinaryCrossentropy, "mse": MeanSquaredError, "mae": MeanAbsoluteError}
KNOWN = subclasses_by_name(Metric) | _SHORT | {name.upper(): _SHORT[name] for name in _SHORT}
get, serialize, deserialize = functions_for("metric", Metric, KNOWN, none=None, functions=True)
