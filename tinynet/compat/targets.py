"""Helpers of losses and metrics: shapes of targets and weights, and functions from classes."""

import inspect
from collections.abc import Callable
from typing import Any

from tinynet import backend
from tinynet.backend.types import Array, ArrayLike, Identifier
from tinynet.compat import naming


def match_rank(y_true: Array, y_pred: Array) -> Array:
    """Return targets (n,) for outputs (n, 1), or the reverse, in the outputs' shape.

    Otherwise, NumPy would broadcast the two to (n, n).
    """
    if y_true.ndim == y_pred.ndim - 1 and y_pred.shape[-1] == 1:
        return y_true.reshape(*y_true.shape, 1)
    if y_true.ndim == y_pred.ndim + 1 and y_true.shape[-1] == 1:
        return y_true.reshape(y_true.shape[:-1])
    return y_true


def as_weights(sample_weight: ArrayLike, values: Array) -> Array:
    """Return weights (n,), (n, 1) or () as floats that can be multiplied by `values`, (n, …)."""
    weights = backend.of(values).asarray(sample_weight).astype(values.dtype, copy=False)
    if weights.ndim and weights.size == len(weights):
        weights = weights.reshape(-1, *(1,) * (values.ndim - 1))
    fits = weights.shape == values.shape[: weights.ndim]
    return weights.reshape(weights.shape + (1,) * (values.ndim - weights.ndim) * fits)


def as_function(kind: Any) -> Callable[..., Array]:
    """Return a function of targets, outputs and settings for the value of each sample, (batch,).

    Its name is that of the class in snake case, as in Keras.
    """
    parameters = inspect.signature(kind).parameters
    is_loss = "reduction" in parameters
    settings = [p for name, p in parameters.items() if name not in ("name", "dtype", "reduction")]
    either = inspect.Parameter.POSITIONAL_OR_KEYWORD
    arrays = [inspect.Parameter(name, either) for name in ("y_true", "y_pred")]
    signature = inspect.Signature([*arrays, *settings])

    def function(*given: object, **named: object) -> Array:
        bound = signature.bind(*given, **named).arguments
        y_true, y_pred = bound.pop("y_true"), backend.as_float(bound.pop("y_pred"))
        if is_loss:
            values: Array = kind(**bound, reduction=None)(y_true, y_pred)
        else:
            values = kind(**bound).call(backend.of(y_pred).asarray(y_true), y_pred)
        return values.astype(y_pred.dtype, copy=False)

    function.__name__ = function.__qualname__ = naming.snake_case(kind.__name__)
    function.__module__, function.__doc__ = kind.__module__, f"Return `{kind.__name__}` per sample."
    vars(function).update(__signature__=signature, part=kind)
    return function


def with_classes(*functions: Callable[..., Array]) -> dict[str, object]:
    """Return functions, and the classes that they are made from, by name."""
    both = (*functions, *(function.part for function in functions))  # type: ignore[attr-defined]
    return {part.__name__: part for part in both}


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
