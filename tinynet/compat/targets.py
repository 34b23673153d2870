"""What losses and metrics share: targets and weights in one shape, and functions of classes."""

import inspect
from collections.abc import Callable
from typing import Any

from tinynet import backend
from tinynet.backend import Array
from tinynet.compat import naming


def match_rank(y_true: Array, y_pred: Array) -> Array:
    """Targets (n,) for outputs (n, 1), or the reverse, in the outputs' shape.

    Left alone, NumPy would compare each of n with each of n.
    """
    if y_true.ndim == y_pred.ndim - 1 and y_pred.shape[-1] == 1:
        return y_true.reshape(*y_true.shape, 1)
    if y_true.ndim == y_pred.ndim + 1 and y_true.shape[-1] == 1:
        return y_true.reshape(y_true.shape[:-1])
    return y_true


def as_weights(sample_weight: Any, values: Array) -> Array:
    """Weights (n,), (n, 1) or a single number, as floats that multiply `values`, (n, …)."""
    weights = backend.of(values).asarray(sample_weight).astype(values.dtype, copy=False)
    if weights.ndim and weights.size == len(weights):
        weights = weights.reshape(-1, *(1,) * (values.ndim - 1))
    fits = weights.shape == values.shape[: weights.ndim]
    return weights.reshape(weights.shape + (1,) * (values.ndim - weights.ndim) * fits)


def as_function(kind: Any) -> Callable[..., Array]:
    """A function of targets, outputs and settings that gives the value of each sample, (batch,).

    It has the name that Keras gives it: that of the class, in lower case.
    """
    given = inspect.signature(kind).parameters
    is_loss = "reduction" in given
    settings = [p for name, p in given.items() if name not in ("name", "dtype", "reduction")]
    either = inspect.Parameter.POSITIONAL_OR_KEYWORD
    arrays = [inspect.Parameter(name, either) for name in ("y_true", "y_pred")]
    signature = inspect.Signature([*arrays, *settings])

    def function(*values: Any, **named: Any) -> Array:
        bound = signature.bind(*values, **named).arguments
        y_true, y_pred = bound.pop("y_true"), backend.as_float(bound.pop("y_pred"))
        if is_loss:
            return kind(**bound, reduction=None)(y_true, y_pred)
        each = kind(**bound).call(backend.of(y_pred).asarray(y_true), y_pred)
        return each.astype(y_pred.dtype)

    function.__name__ = function.__qualname__ = naming.snake_case(kind.__name__)
    function.__module__, function.__doc__ = kind.__module__, f"`{kind.__name__}` of each sample."
    vars(function).update(__signature__=signature, part=kind)
    return function


def with_classes(*functions: Callable[..., Array]) -> dict[str, Any]:
    """Functions, and the classes that they are made of, by name."""
    both = (*functions, *(function.part for function in functions))  # type: ignore[attr-defined]
    return {part.__name__: part for part in both}


def as_loss(identifier: Any) -> Any:
    """The `Loss`, with its gradient, that `compile` was given by name, function or object."""
    found = naming.GETTERS["loss"](identifier)
    if hasattr(found, "check_shapes"):
        return found
    if not hasattr(found, "part"):
        name = getattr(found, "__name__", repr(found))
        raise ValueError(
            f"Expected a loss with a gradient, received the function {name}. Write a subclass of "
            "tinynet.losses.Loss with call(y_true, y_pred) and backward(y_true, y_pred)."
        )
    return found.part()
