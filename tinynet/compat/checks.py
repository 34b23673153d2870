"""What the constructors of layers, losses, optimizers and their like accept, and why not else.

Where a value is wrong, a function raises a ValueError with what was expected, what came, and the
line to write; where Keras has a sentence for it, the text begins with Keras's.
"""

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

from tinynet.backend import Shape, is_integer
from tinynet.compat import validation
from tinynet.compat.naming import short

Check = Callable[..., Any]  # from a value and its argument's name to what is assigned


def real(words: str, low: float, high: float, absent: Any = ...) -> Check:
    """A check for a number from `low` to `high`; `absent`, if given, is what None stands for."""

    def check(value: Any, name: str = "") -> Any:
        if value is None and absent is not ...:
            return absent
        if not validation.is_real(value) or not low <= value <= high:
            raise ValueError(words.format(short(value)))
        return float(value)

    return check


rate = real(
    "Invalid value received for argument `rate`. Expected a float value between 0 and 1. "
    "Received: rate={}. Write: Dropout(0.5)", 0, 1
)  # fmt: skip
scale = real(
    "Argument `scale` must be positive. Received: scale={}. Write: scale=1.0", math.ulp(0), math.inf
)
l2 = real(
    "Invalid value for argument l2: expected a non-negative float. Received: l2={}. "
    "Write: L2(0.01)", 0, sys.float_info.max, absent=0.01
)  # fmt: skip
label_smoothing = real(
    "Expected label_smoothing to be a number from 0 to 1, received: {}. "
    "Write: label_smoothing=0.1", 0, 1
)  # fmt: skip
learning_rate = real(
    "Argument `learning_rate` should be float, at least 0. Received instead: learning_rate={}. "
    "Write: learning_rate=0.001", 0, math.nextafter(3.4e38, 0)
)  # fmt: skip
weight_decay = real(
    "Expected weight_decay to be a number of at least 0, or None, received: {}. "
    "Write: weight_decay=0.004", 0, sys.float_info.max, absent=None
)  # fmt: skip
momentum = real(
    "`momentum` must be a float between [0, 1]. Received: momentum={}. Write: momentum=0.9", 0, 1
)
beta_1, beta_2 = (
    real(
        f"Expected {name} to be at least 0 and below 1, received: {{}}. Write: {name}={example}",
        0, math.nextafter(1, 0)
    ) for name, example in (("beta_1", 0.9), ("beta_2", 0.999))
)  # fmt: skip
epsilon = real(
    "Expected epsilon to be a number of at least 0, received: {}. Write: epsilon=1e-07",
    0, math.inf
)  # fmt: skip

validation_split = real(
    "Expected validation_split to be at least 0 and below 1, received: {}. "
    "Write: validation_split=0.1", 0, math.nextafter(1, 0)
)  # fmt: skip

# Layers and activations


def float_type(dtype: Any, name: str = "dtype") -> str | None:
    """The float type in Keras's spellings of it: a name, or a policy's configuration."""
    if isinstance(dtype, dict):
        dtype = dtype.get("config", {}).get("name")
    if dtype not in (None, "float32", "float64"):
        raise ValueError(
            f"Expected dtype to be 'float32' or 'float64', received: {dtype!r}. "
            "Leave it out to get tinynet.config.floatx()."
        )
    return dtype


def optional(check: Check) -> Check:
    """The same check, of an argument that may be None."""
    return lambda value, name: None if value is None else check(value, name)


def units(value: Any, name: str = "units") -> int:
    """The number of outputs of a layer."""
    if not is_integer(value) or value <= 0:
        raise ValueError(
            "Received an invalid value for `units`, expected a positive integer. "
            f"Received: units={value}"
        )
    return int(value)


def seed(value: Any, name: str = "seed") -> int | None:
    """A seed, or None."""
    if value is not None and not is_integer(value):
        raise ValueError(
            f"Expected seed to be a whole number or None, received: {short(value)}. Write: seed=1"
        )
    return None if value is None else int(value)


def batch_shape(value: Any, name: str = "batch_shape") -> Shape:
    """The shape of a batch, which `Input` was given."""
    if value is None:
        raise ValueError(
            "You must pass a `shape` argument. Received: none. Write: Input(shape=(28, 28))"
        )
    return validation.shape(value, name)


def one_shape(
    shape: Sequence[int | None] | None,
    batch_size: int | None,
    batch_shape: Sequence[int | None] | None,
) -> Sequence[int | None] | None:
    """The shape of a batch, from whichever of the two `Input` was given."""
    if shape is not None and batch_shape is not None:
        raise ValueError(
            "You cannot pass both `shape` and `batch_shape` at the same time. "
            f"Received: shape={shape}, batch_shape={batch_shape}. Write: Input(shape=(784,))"
        )
    return batch_shape if shape is None else (batch_size, *validation.shape(shape, "shape"))


def rows(layer: str, shape: Shape, inputs: int | None = None) -> None:
    """Raise a ValueError unless inputs of `shape` are rows, of `inputs` numbers if given."""
    if len(shape) < 2:
        raise ValueError(
            f"Input 0 with name 'None' of layer '{layer}' is incompatible with the layer: "
            f"expected min_ndim=2, found ndim={len(shape)}. Full shape received: {shape}. "
            "A single sample needs a batch axis. Write: x[None]"
        )
    if shape[-1] is None:
        raise ValueError(
            f"Layer '{layer}' has to know the length of its input's last axis, "
            f"received the shape {shape}. Write: Input(shape=(784,))"
        )
    if inputs is not None and shape[-1] != inputs:
        raise ValueError(
            f"Input 0 with name 'None' of layer '{layer}' is incompatible with the layer: "
            f"expected axis -1 of input shape to have value {inputs}, "
            f"but received input with shape {shape}"
        )


# Losses and metrics

MEANS = ("sum_over_batch_size", "mean", "mean_with_sample_weight")


def reduction(value: Any, name: str = "reduction") -> str | None:
    """How the losses of a batch's samples become one number."""
    if not isinstance(value, str | None) or value not in (*MEANS, "sum", "none", None):
        raise ValueError(
            "Invalid value for argument `reduction`. Expected one of "
            f"{[*MEANS, 'sum', 'none', None]}, received: {short(value)}. "
            'Write: reduction="sum_over_batch_size"'
        )
    return value


def one_hot(loss: Any, y_true: Shape, y_pred: Shape) -> None:
    """Raise a ValueError unless targets of a shape are one-hot rows for outputs of another."""
    if y_true == y_pred:
        return
    hint = f"This loss wants one row of {y_pred[-1]} probabilities for each sample."
    if y_true in (y_pred[:-1], (*y_pred[:-1], 1)):
        hint = (
            "The targets look like class numbers, and this loss wants one-hot rows. Write: "
            f"y = tinynet.utils.to_categorical(y, {y_pred[-1]}), "
            'or loss="sparse_categorical_crossentropy"'
        )
    raise ValueError(
        "Arguments `target` and `output` must have the same shape. "
        f"Received: target.shape={y_true}, output.shape={y_pred}. {hint}"
    )


def class_numbers(loss: Any, y_true: Shape, y_pred: Shape) -> None:
    """Raise a ValueError unless targets of a shape are class numbers for outputs of another."""
    if y_true in (y_pred[:-1], (*y_pred[:-1], 1)):
        return
    hint = "This loss wants one class number for each sample."
    if y_true == y_pred:
        hint = (
            "The targets look one-hot, and this loss wants class numbers. Write: "
            'loss="categorical_crossentropy", or y = y.argmax(axis=-1)'
        )
    raise ValueError(
        "Arguments `target` and `output` must have the same shape up until the last "
        f"dimension: target.shape={y_true}, output.shape={y_pred}. {hint}"
    )


def same_numbers(loss: Any, y_true: Shape, y_pred: Shape) -> None:
    """Raise a ValueError unless targets of a shape are one number for each output."""
    if y_true not in (y_pred, (*y_pred, 1)) and (*y_true, 1) != y_pred:
        raise ValueError(
            "Arguments `target` and `output` must have the same shape. "
            f"Received: target.shape={y_true}, output.shape={y_pred}. "
            f"This loss wants one number for each output. Write: y = y.reshape(-1, {y_pred[-1]})"
        )


def one_hot_labels(metric: str, y_true: Shape, y_pred: Shape) -> None:
    """Raise a ValueError unless a metric's targets are one-hot rows."""
    if y_true != y_pred:
        raise ValueError(
            f"{metric} expects one-hot targets in the shape of the outputs {y_pred}, "
            f"received shape {y_true}. Write: metrics=['acc'], which takes either kind"
        )


def class_labels(metric: str, y_true: Shape, best: Shape) -> None:
    """Raise a ValueError unless a metric's targets are class numbers."""
    if y_true not in (best, (*best, 1)):
        raise ValueError(
            f"{metric} expects class numbers of shape {best}, received shape "
            f"{y_true}. Write: metrics=['acc'], which takes either kind"
        )


# Models


def other_weights(model: str) -> ValueError:
    return ValueError(
        f"The optimizer of model '{model}' has begun with other weights: layers were added, "
        "removed, frozen or unfrozen since, or it belongs to another model. "
        "Call model.compile(…) again, with a new optimizer."
    )


def no_loss() -> ValueError:
    return ValueError(
        "Expected a loss, received none. Write: "
        "model.compile(optimizer='adam', loss='categorical_crossentropy')"
    )


def no_optimizer() -> ValueError:
    return ValueError(
        "Expected an optimizer, received none (Keras's default, 'rmsprop', is not part of "
        "tinynet). Write: model.compile(optimizer='adam', loss=…)"
    )
