"""What the constructors of layers, losses, optimizers and their like accept, and why not else.

Where a value is wrong, a function raises a ValueError with what was expected, what came, and the
line to write; where Keras has a sentence for it, the text begins with Keras's.
"""

import math
from collections.abc import Sequence
from typing import Any

from tinynet.backend import Shape, is_integer
from tinynet.compat import validation
from tinynet.compat.naming import short

# Layers and activations


def no_backward(name: str) -> ValueError:
    """The error for an activation without a backward."""
    name = name if name.isidentifier() else "f"
    return ValueError(
        f"Expected an activation with a backward, received: {name}. Write:\n"
        f"    @tinynet.activations.backward_of({name})\n"
        f"    def {name}_backward(gradient, a): ..."
    )


def units(value: Any) -> int:
    """The number of outputs of a layer."""
    if not is_integer(value) or value <= 0:
        raise ValueError(
            "Received an invalid value for `units`, expected a positive integer. "
            f"Received: units={value}"
        )
    return int(value)


def data_format(value: Any) -> str:
    """Where the channels of an image stand; last if that is not said."""
    known = ("channels_last", "channels_first", None)
    return validation.choice(value, "data_format", *known) or "channels_last"


def rate(value: Any) -> float:
    """The share of numbers that is dropped."""
    if not validation.is_real(value) or not 0 <= value <= 1:
        raise ValueError(
            "Invalid value received for argument `rate`. Expected a float value between 0 and "
            f"1. Received: rate={short(value)}. Write: Dropout(0.5)"
        )
    return float(value)


def seed(value: Any) -> int | None:
    """A seed, or None."""
    if value is not None and not is_integer(value):
        raise ValueError(
            f"Expected seed to be a whole number or None, received: {short(value)}. Write: seed=1"
        )
    return None if value is None else int(value)


def batch_shape(value: Any) -> Shape:
    """The shape of a batch, which `Input` was given."""
    if value is None:
        raise ValueError(
            "You must pass a `shape` argument. Received: none. Write: Input(shape=(28, 28))"
        )
    return validation.shape(value, "batch_shape")


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


# Initializers and regularizers


def scale(value: float) -> float:
    """The factor in the variance of initial weights."""
    if value <= 0:
        raise ValueError(f"Argument `scale` must be positive. Received: scale={value}")
    return value


def l2(value: Any) -> float:
    """The factor of an L2 penalty; None is Keras's default."""
    value = 0.01 if value is None else value
    if not validation.is_real(value) or not 0 <= value < math.inf:
        raise ValueError(
            "Invalid value for argument l2: expected a non-negative float. "
            f"Received: l2={short(value)}. Write: L2(0.01)"
        )
    return float(value)


# Losses and metrics

MEANS = ("sum_over_batch_size", "mean", "mean_with_sample_weight")


def reduction(value: Any) -> str | None:
    """How the losses of a batch's samples become one number."""
    if not isinstance(value, str | None) or value not in (*MEANS, "sum", "none", None):
        raise ValueError(
            "Invalid value for argument `reduction`. Expected one of "
            f"{[*MEANS, 'sum', 'none', None]}, received: {short(value)}. "
            'Write: reduction="sum_over_batch_size"'
        )
    return value


def one_hot(y_true: Shape, y_pred: Shape) -> None:
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


def class_numbers(y_true: Shape, y_pred: Shape) -> None:
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


def same_numbers(y_true: Shape, y_pred: Shape) -> None:
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


# Optimizers


def learning_rate(value: Any) -> float:
    """The length of a step."""
    if not validation.is_real(value) or not 0 <= value < 3.4e38:
        raise ValueError(
            "Argument `learning_rate` should be float, at least 0. "
            f"Received instead: learning_rate={short(value)}. Write: learning_rate=0.001"
        )
    return value


def weight_decay(value: Any) -> float | None:
    """The share by which weights shrink, or None."""
    if value is not None and (not validation.is_real(value) or not 0 <= value < math.inf):
        raise ValueError(
            "Expected weight_decay to be a number of at least 0, or None, received: "
            f"{short(value)}. Write: weight_decay=0.004"
        )
    return value


def momentum(value: Any) -> float:
    """How much of a velocity is kept from step to step."""
    if not validation.is_real(value) or not 0 <= value <= 1:
        raise ValueError(
            "`momentum` must be a float between [0, 1]. "
            f"Received: momentum={short(value)}. Write: momentum=0.9"
        )
    return float(value)


def beta(name: str, value: Any) -> float:
    """How much of a running mean is kept from step to step."""
    if not validation.is_real(value) or not 0 <= value < 1:
        raise ValueError(
            f"Expected {name} to be at least 0 and below 1, received: "
            f"{short(value)}. Write: {name}={0.9 if name == 'beta_1' else 0.999}"
        )
    return float(value)
