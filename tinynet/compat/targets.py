"""Helpers of losses and metrics: shapes of targets and weights, and functions from classes."""

import inspect
from collections.abc import Callable
from typing import Any

from tinynet import backend
from tinynet.backend.types import Array, ArrayLike, Compiled, Identifier, Weighting
from tinynet.compat import naming, shapes
from tinynet.compat.constructors import POSITIONAL_OR_KEYWORD as EITHER


def match_rank(y_true: Array, y_pred: Array) -> Array:
    """Return targets (n,) for outputs (n, 1), or the reverse, in the outputs' shape.

    Otherwise, NumPy would broadcast the two to (n, n).
    """
    if y_true.ndim == y_pred.ndim - 1 and y_pred.shape[-1] == 1:
        return y_true.reshape(*y_true.shape, 1)
    if y_true.ndim == y_pred.ndim + 1 and y_true.shape[-1] == 1:
        return y_true.reshape(y_true.shape[:-1])
    return y_true


def comparable(metric: Compiled, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
    """Return targets and outputs in the metric's type, as which Keras compares them."""
    shapes.equal_shapes(metric, y_true.shape, y_pred.shape)
    return match_rank(y_true, y_pred).astype(metric.dtype), y_pred.astype(metric.dtype)


def as_targets(loss: Compiled, y_true: ArrayLike, y_pred: Array) -> Array:
    """Return targets for `call` of a loss: of the outputs' type and rank, checked by their shape.

    All become floats, as in Keras: with bytes, for one, 2 y − 1 would be 255 for y = 0.
    """
    targets = backend.of(y_pred).asarray(y_true, y_pred.dtype)
    loss.check_shapes(targets.shape, y_pred.shape)
    return match_rank(targets, y_pred)


def loss_values(loss: Compiled, y_true: Array, y_pred: Array, weights: Weighting = None) -> Array:
    """Return what `call` of a loss returns, as an array: a value per sample, or one for all.

    Raises:
        ValueError: for one value that samples should weigh.
    """
    y_true = as_targets(loss, y_true, y_pred)
    values = backend.of(y_pred).asarray(loss.call(y_true, y_pred), y_pred.dtype)
    number = () if isinstance(weights, int | float) else None
    several = weights is not None and getattr(weights, "shape", number) != ()
    if several and values.shape[:1] != y_pred.shape[:1]:
        write = ".mean(axis=-1) in its call, instead of .mean()"
        if naming.is_builtin(type(loss)):
            write = "y_pred[:, None]" if y_pred.ndim == 1 else f"{type(loss).__name__}(axis=-1)"
        raise ValueError(
            f"Expected the loss of each sample, to weigh it, received values of shape "
            f"{values.shape} from {type(loss).__name__}. Write: {write}"
        )
    return values


def loss_gradient(loss: Compiled, y_true: Array, y_pred: Array) -> Array:
    """Return the result of a loss's `backward` in the outputs' type, or raise a ValueError."""
    gradient = loss.backward(y_true, y_pred)
    shape = getattr(gradient, "shape", type(gradient).__name__)
    column = getattr(gradient, "size", 0) == y_pred.size and len(shape) != y_pred.ndim
    if shape != y_pred.shape and not column:
        raise ValueError(
            f"Expected {type(loss).__name__}.backward to return a gradient of the outputs' shape "
            f"{y_pred.shape}, received {shape}. Write: ∂ℓ/∂y_pred, without summing over it"
        )
    gradient = gradient.reshape(y_pred.shape)
    return gradient.astype(y_pred.dtype, copy=False)  # type: ignore[no-any-return]


def as_weights(sample_weight: ArrayLike, values: Array) -> Array:
    """Return weights as floats that can be multiplied by `values`, (n, …).

    They are those of samples, (n,) or (n, 1); or of each value, which may have one more axis, of
    length 1; or NumPy broadcasts them, as a number.

    Raises:
        ValueError: if they do not fit.
    """
    weights = backend.of(values).asarray(sample_weight).astype(values.dtype, copy=False)
    axes = weights.shape
    if axes[:1] == (weights.size,) == values.shape[:1]:
        axes = axes[:1]
    elif axes == (*values.shape, 1):
        axes = values.shape
    if axes == values.shape[: len(axes)]:
        axes += (1,) * (values.ndim - len(axes))
    if len(axes) > values.ndim or any(
        size not in (1, n) for size, n in zip(axes[::-1], values.shape[::-1], strict=False)
    ):
        raise ValueError(
            "Expected sample_weight to have a number for each sample, or for each value of shape "
            f"{values.shape}, received shape {weights.shape}. Write: "
            + ("sample_weight=np.ones(len(y_true))" if values.ndim else "y_pred[:, None]")
        )
    return weights.reshape(axes)


def as_function(kind: Any) -> Callable[..., Array]:
    """Return a function of targets, outputs and settings for the value of each sample, (batch,).

    Its name is that of the class in snake case, as in Keras.
    """
    parameters = inspect.signature(kind).parameters
    is_loss = "reduction" in parameters
    settings = [p for name, p in parameters.items() if name not in ("name", "dtype", "reduction")]
    settings = [p.replace(kind=EITHER) for p in settings]
    arrays = [inspect.Parameter(name, EITHER) for name in ("y_true", "y_pred")]
    signature = inspect.Signature([*arrays, *settings])

    def function(*given: object, **named: object) -> Array:
        bound = signature.bind(*given, **named).arguments
        y_true, y_pred = bound.pop("y_true"), backend.as_float(bound.pop("y_pred"))
        if is_loss:
            bound |= {"reduction": None, "dtype": y_pred.dtype.name}
            values: Array = kind(**bound)(y_true, y_pred)
        else:
            values = kind(**bound).call(backend.of(y_pred).asarray(y_true), y_pred)
        return values.astype(y_pred.dtype, copy=False)

    function.__name__ = function.__qualname__ = naming.snake_case(kind.__name__)
    function.__module__, function.__doc__ = kind.__module__, f"Return `{kind.__name__}` per sample."
    vars(function).update(__signature__=signature, part=kind)
    return function


def all_builtin(*parts: object) -> bool:
    """Return whether no loss, layer or model among `parts` has a user-defined pass."""
    names = ("call", "forward", "backward", "activate")
    methods = [getattr(part, name) for part in parts for name in names if hasattr(type(part), name)]
    return all(map(naming.is_builtin, [*methods, *map(type, parts[:1])]))


def fuses(loss: Compiled, layer: Compiled, whole: Compiled) -> bool:
    """Return whether a loss can be fused with the activation of the last layer of a model."""
    top = getattr(loss, "fused_with", None)
    return (
        top is not None
        and getattr(layer, "activation", None) is top
        and not loss.from_logits
        and loss.axis == -1
        and all_builtin(loss, layer, whole)
    )


def by_name(
    *functions: Callable[..., Array], **abbreviated: Callable[..., Array]
) -> dict[str, object]:
    """Return functions, and the classes that they are made from, by all of their names."""
    several = (*functions, *abbreviated.values())
    both = [*several, *(function.part for function in several)]  # type: ignore[attr-defined]
    known: dict[str, object] = {part.__name__: part for part in both}
    for name, function in abbreviated.items():
        known |= {name: function, name.upper(): function}
    return known


def as_metric(function: Identifier, base: Identifier, without: str = "") -> Identifier:
    """Return the metric, derived from `base`, of the mean value of a loss function.

    Arguments:
        without: a setting of the function that the metric does not have.
    """
    settings = list(inspect.signature(function).parameters.values())[2:]
    settings = [parameter for parameter in settings if parameter.name != without]

    def __init__(  # noqa: N807
        self: Compiled, name: str | None = None, dtype: str | None = None, **given: object
    ) -> None:
        own = {p.name: given.pop(p.name) for p in settings}
        base.__init__(self, name, dtype, **given)
        self.__dict__.update(own)

    def update_state(
        self: Compiled, y_true: Array, y_pred: Array, sample_weight: Weighting = None
    ) -> None:
        ignored = getattr(self, "ignore_class", None)
        if ignored is not None and sample_weight is not None:
            y_pred = backend.as_array(y_pred)
            counts = backend.of(y_pred).asarray(y_true).reshape(y_pred.shape[:-1]) != ignored
            sample_weight = counts * as_weights(sample_weight, counts.astype("float64"))
        base.update_state(self, y_true, y_pred, sample_weight)

    def call(self: Compiled, y_true: Array, y_pred: Array) -> Array:
        return function(y_true, y_pred, **{p.name: getattr(self, p.name) for p in settings})  # type: ignore[no-any-return]

    given = list(inspect.signature(__init__).parameters.values())[:-1]
    given += [p.replace(kind=EITHER) for p in settings]
    vars(__init__)["__signature__"] = inspect.Signature(given)
    content = {
        "__module__": base.__module__,
        "__doc__": f"The mean of `losses.{function.__name__}`.",
        "__init__": __init__,
        "by_sample": True,
        "call": call,
        "update_state": update_state,
    }
    return type(base)(function.part.__name__, (base,), content)


def as_loss(identifier: Identifier) -> Any:
    """Return the `Loss` object for the name, function or object that `compile` received."""
    loss = naming.GETTERS["loss"](identifier)
    if hasattr(loss, "check_shapes"):
        return loss
    if not hasattr(loss, "part"):
        name = getattr(loss, "__name__", repr(loss))
        raise ValueError(
            f"Expected a loss with a gradient, received the function {name}. Write a subclass of "
            "tinynet.losses.Loss with call(y_true, y_pred) and backward(y_true, y_pred)."
        )
    return loss.part()
