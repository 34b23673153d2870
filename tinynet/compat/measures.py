"""The bases of losses and metrics: everything besides the formulas, such as names and types.

`losses.Loss` and `metrics.Metric` derive from these.
"""

import itertools
import operator
from collections.abc import Callable, Sequence

from tinynet import backend, config
from tinynet.backend.types import (
    Array,
    ArrayLike,
    DTypeLike,
    HostArray,
    Identifier,
    Library,
    Shape,
    Weighting,
)
from tinynet.compat import naming, rules, targets
from tinynet.compat.configuration import Configurable
from tinynet.compat.naming import is_builtin, snake_case
from tinynet.compat.weights import parts_of


class MetricVariable(backend.host.lib.mixins.NDArrayOperatorsMixin):
    """A number or array of a metric, in Keras's form: `assign` gives it another value."""

    def __init__(self, value: Array, name: str) -> None:
        self.value, self.name = value, name

    shape, dtype = (property(operator.attrgetter(f"value.{name}")) for name in ("shape", "dtype"))

    def assign(self, value: ArrayLike) -> None:
        """Set all values; an array of another shape is broadcast."""
        library, (array,) = self._in_one_library(value)
        self.value = library.asarray(array, self.dtype) + library.zeros(self.shape, self.dtype)

    def assign_add(self, value: ArrayLike) -> None:
        self.assign(operator.add(*self._in_one_library(self, value)[1]))

    def assign_sub(self, value: ArrayLike) -> None:
        self.assign(operator.sub(*self._in_one_library(self, value)[1]))

    def _in_one_library(self, *values: object) -> tuple[Library, list[object]]:
        """Return NumPy or CuPy, in which the values are, and the values as arrays of it."""
        plain = [x.value if isinstance(x, MetricVariable) else x for x in values]
        library = backend.of(next((x for x in plain if backend.on_device(x)), self.value))
        return library, [library.asarray(x) if hasattr(x, "dtype") else x for x in plain]

    def numpy(self) -> HostArray:
        return backend.to_numpy(self.value)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> HostArray:
        return self.numpy().astype(dtype or self.dtype)

    def __array_ufunc__(
        self, ufunc: backend.host.ufunc, method: str, *operands: object, **options: object
    ) -> object:
        library, values = self._in_one_library(*operands)
        return getattr(library, ufunc.__name__)(*values, **options)

    def __float__(self) -> float:
        return float(self.value)


class MetricBase(Configurable):
    """A metric without its sums."""

    by_sample = False  # whether a sample's value does not depend on the others in its batch
    update_state: Callable[..., None]
    result: Callable[[], float]

    def __init__(self, name: str | None = None, dtype: str | None = None) -> None:
        self.name = name or snake_case(type(self).__name__)
        self._dtype = dtype or config.floatx()
        self._variables: list[MetricVariable] = []
        try:
            self.reset_state()
        except AttributeError:  # of what a subclass sets after it has called this
            if is_builtin(type(self).__init__):
                raise

    def reset_state(self) -> None:
        """Reset the sums to zero."""
        for variable in self._variables:
            variable.assign(0)
        self.total: Array | float = 0
        self.count: Array | float = 0

    @property
    def dtype(self) -> str:
        """The type of `variables`; the sums of tinynet's own metrics are float64."""
        return self._dtype

    def add_variable(
        self,
        shape: Shape = (),
        initializer: Identifier = "zeros",
        dtype: str | None = None,
        aggregation: str | None = "sum",
        name: str | None = None,
    ) -> MetricVariable:
        """Return a new variable, for a sum or a count; `reset_state` sets it to zero."""
        values = naming.GETTERS["initializer"](initializer)(shape, "float64")
        variable = MetricVariable(values.astype(dtype or self.dtype), name or "variable")
        self._variables.append(variable)
        return variable

    add_weight = add_variable

    @property
    def variables(self) -> Sequence[object]:
        """The variables of `add_variable`, also those of metrics inside; without any, copies of the
        sums, in `dtype`."""
        parts = {id(part): part for part in parts_of(vars(self))}.values()
        found: list[object] = [part for part in parts if isinstance(part, MetricVariable)]
        inside: list[Sequence[object]] = [
            part.variables for part in parts if isinstance(part, MetricBase)
        ]
        found += itertools.chain.from_iterable(inside)
        sums = [getattr(self, n) for n in ("total", "count") if hasattr(self, n) and not found]
        return found or [backend.host.asarray(x, self.dtype) for x in backend.to_floats(*sums)]

    def __call__(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: Weighting = None
    ) -> float:
        """Add a batch, and return the mean so far."""
        self.update_state(y_true, y_pred, sample_weight)
        return self.result()


class LossBase(Configurable):
    """A loss without its formulas."""

    by_sample = False  # whether a sample's loss does not depend on the others in its batch

    call: Callable[[Array, Array], Array]
    ignore_class: int | None = None  # the class whose samples do not count, if any

    def __init__(
        self,
        name: str | None = None,
        reduction: str | None = "sum_over_batch_size",
        dtype: str | None = None,
    ) -> None:
        self.name = name or snake_case(type(self).__name__)
        self.reduction, self._dtype = reduction, dtype or config.floatx()

    @property
    def dtype(self) -> str:
        """The float type in which a call computes; `fit` computes in that of the model."""
        return self._dtype

    def check_shapes(self, y_true: Shape, y_pred: Shape) -> None:
        """Raise a ValueError if targets and outputs have incompatible shapes."""

    def sample_weights(self, y_true: Array, y_pred: Array, given: Weighting) -> Weighting:
        """Return the weights of the samples: those `given`, and 0 for samples of `ignore_class`.

        For a mean, the others weigh more, so that it is the mean of these.
        """
        if self.ignore_class is None:
            return given
        valid = (y_true.reshape(y_pred.shape[:-1]) != self.ignore_class).astype(y_pred.dtype)
        if self.reduction in ("sum_over_batch_size", "mean"):
            valid *= valid.size / (valid.sum() + 1e-7)
        return valid if given is None else valid * targets.as_weights(given, valid)  # type: ignore[no-any-return]

    def weigh(self, array: Array, n: int, sample_weight: Weighting = None) -> Array:
        """Return `array`, (batch, …), with each sample scaled by wᵢ/n, or 1/n without weights."""
        n = n if self.reduction in rules.MEANS else 1
        if sample_weight is None:
            return array * (1 / n)
        w = targets.as_weights(sample_weight, array)
        share = w / n
        if self.reduction == "mean_with_sample_weight":
            total = w.sum()
            share = w * (total != 0) / (total + (total == 0))  # 0 if the weights sum to 0
        return backend.of(array).multiply(array, share)

    def __call__(self, y_true: ArrayLike, y_pred: Array, sample_weight: Weighting = None) -> Array:
        """Return the loss of a batch, L = (1/n) Σᵢ wᵢ ℓᵢ; wᵢ = 1 if no weights are given."""
        y_pred = backend.as_float(y_pred).astype(self.dtype, copy=False)
        y_true = backend.of(y_pred).asarray(y_true)
        self.check_shapes(y_true.shape, y_pred.shape)
        weights = self.sample_weights(y_true, y_pred, sample_weight)
        values = targets.loss_values(self, y_true, y_pred, weights)
        values = self.weigh(values, values.size, weights)
        return values if self.reduction in ("none", None) else values.sum()
