"""The contracts of user-defined parts, checked where the part is called, with its name.

An array of another shape, or None from a forgotten ``return``, would otherwise raise an error of
NumPy's several calls later; or it would be broadcast, and give a number that is wrong.
"""

import functools
import inspect
from collections.abc import Callable

from tinynet import backend
from tinynet.backend.types import AnyLayer, Array, Identifier, Shape
from tinynet.compat import absent, missing
from tinynet.compat.naming import is_builtin, short


class CallsInit:
    """A base whose missing attributes are explained by a forgotten ``super().__init__()``."""

    def __getattr__(self, name: str) -> Identifier:
        kind = type(self)
        if hasattr(kind, name):  # a property that raised an AttributeError, which is raised again
            return object.__getattribute__(self, name)
        for base in filter(is_builtin, kind.__mro__):
            code = getattr(inspect.unwrap(vars(base).get("__init__", len)), "__code__", None)
            names = {each.lstrip("_") for each in code.co_names} if code else set()
            if name.lstrip("_") in names or ("name" in names and "name" not in vars(self)):
                raise AttributeError(
                    f"Expected {kind.__name__}.__init__ to call that of {base.__name__}, which "
                    f"sets `{name}`. Write: super().__init__() as its first line",
                    name=name,  # without `obj`: Python would suggest another attribute
                )
        message = absent.missing(kind, name)
        if message is None and missing.asked_by_user(name, missing.caller(2)):
            message = absent.mistaken(kind, name, dir(self))
        if message is not None:
            raise AttributeError(message, name=name)
        raise AttributeError(absent.no_attribute(kind, name))


def returned(value: object, method: str, shape: Shape | None, like: Array, write: str) -> Array:
    """Return what a user-defined method returned, as an array of the float type of `like`.

    But float32 from float64 stays as it is, for `check_gradients` to find.

    Raises:
        ValueError: if it is not an array of numbers, or not of `shape`, unless that is None.
    """
    try:
        array = backend.of(value if backend.on_device(value) else like).asarray(value)
    except (ValueError, TypeError):  # lists of unequal lengths, and the like
        array = backend.host.empty((), object)
    if array.dtype.kind not in "biuf" or shape not in (None, array.shape):
        wanted = "numbers" if shape is None else f"an array of shape {shape}"
        what = f"shape {array.shape}" if array.dtype.kind in "biuf" else short(value)
        raise ValueError(f"Expected {method} to return {wanted}, received {what}. Write: {write}")
    narrow = array.dtype == "float32" and like.dtype == "float64"
    return array if narrow else array.astype(like.dtype, copy=False)


def output(layer: AnyLayer, result: object, x: Array, *_: object) -> Array:
    """Return what `forward` of a user-defined layer returned."""
    shape = tuple(layer.compute_output_shape(x.shape)) if layer.built else None
    like = x if x.dtype.kind == "f" else backend.host.empty(0, layer.dtype)
    layer.last_input_shape = x.shape
    return returned(
        result, f"{type(layer).__name__}.forward (layer '{layer.name}')", shape, like,
        "return the output in forward; if its shape is not the input's, define "
        "compute_output_shape(self, input_shape)",
    )  # fmt: skip


def input_gradient(layer: AnyLayer, result: object, gradient: Array) -> Array | None:
    """Return what `backward` of a user-defined layer returned, which may be None if not needed."""
    if result is None and not layer.needs_input_gradient:
        return None
    return returned(
        result, f"{type(layer).__name__}.backward (layer '{layer.name}')",
        layer.last_input_shape, gradient,
        "return the gradient of the input, in the input's shape, in backward",
    )  # fmt: skip


def activation(function: Callable[..., object], z: Array) -> Array:
    """Return f(z) of a user-defined activation, which may not accept `out`."""
    name = getattr(function, "__name__", type(function).__name__)
    write = f"return an array of the shape of z in {name}"
    return returned(function(z.copy()), f"activation {name}", z.shape, z, write)


def initial_values(draw: Callable[..., object], shape: tuple[int, ...], dtype: str) -> Array:
    """Return the initial values of a weight, in `shape` and `dtype`."""
    values = draw(shape, dtype)
    name = getattr(draw, "__name__", type(draw).__name__)
    like = backend.host.empty(0, dtype)
    array = returned(values, f"initializer {name}", shape, like, "return an array of `shape`")
    return backend.to_active(array, dtype)


def penalty(part: object, result: object, weights: Array) -> Array:
    method = f"{type(part).__name__}.__call__"
    return returned(result, method, (), weights, "return one number, such as (x * x).sum()")


def penalty_gradient(part: object, result: object, weights: Array, *_: object) -> Array:
    method = f"{type(part).__name__}.gradient"
    return returned(result, method, weights.shape, weights, "return an array of the weights' shape")


def metric_values(part: object, result: object, y_true: Array, y_pred: Array) -> Array:
    """Return what `call` of a user-defined metric, or a function, returned, in its own type."""
    method = getattr(part, "__name__", f"{type(part).__name__}.call")
    returned(result, method, None, y_pred, "return a number for each sample")
    return backend.as_array(result)


def loss_values(part: object, result: object, y_true: Array, y_pred: Array) -> Array:
    """Return what `call` of a user-defined loss returned: a value per sample, or one for all."""
    method, write = f"{type(part).__name__}.call", "return a number for each sample"
    array = returned(result, method, None, y_pred, write)
    shape = (len(y_pred), *array.shape[1:]) if array.ndim else ()
    return returned(array, method, shape, y_pred, write)


def output_shape(layer: AnyLayer, shape: object, *_: object) -> Shape:
    """Return what `compute_output_shape` of a user-defined layer returned."""
    sizes = shape if isinstance(shape, tuple | list) else (shape, "")
    if not sizes or not all(size is None or backend.is_integer(size) for size in sizes):
        raise ValueError(
            f"Expected {type(layer).__name__}.compute_output_shape to return a shape, received "
            f"{short(shape)}. Write: return (input_shape[0], …)"
        )
    return tuple(sizes)


def activation_backward(function: Callable[..., Array]) -> Callable[..., Array]:
    """Return the backward function of a user-defined activation, with its result checked."""

    @functools.wraps(function)
    def backward(gradient: Array, given: Array) -> Array:
        write = f"return the gradient of z, in its shape, in {function.__name__}"
        result = function(gradient, given)
        return returned(result, function.__name__, gradient.shape, gradient, write)

    return backward


def metric_result(name: str, value: object) -> float:
    """Return the result of a metric as a float."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ValueError(
            f"Expected the result of metric '{name}' to be a number, received {short(value)}. "
            "Write: return float(…) in its result()"
        ) from None
