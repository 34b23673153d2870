"""Checks of arguments and shapes: those of layers, losses, metrics, optimizers and models.

For an invalid value, a check raises a ValueError that says what was expected, what was received,
and which line to write; where Keras has a message for the case, the text begins with Keras's.
"""

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

from tinynet import backend
from tinynet.backend.types import AnyLayer, Array, Shape
from tinynet.compat import checks
from tinynet.compat.naming import short

Check = Callable[..., Any]  # maps a value and its argument's name to the value to assign


def number_rule(message: str, low: float, high: float, none_value: object = ...) -> Check:
    """Return a rule for a number from `low` to `high`; None becomes `none_value` if given."""

    def check(value: Any, name: str = "") -> object:
        if value is None and none_value is not ...:
            return none_value
        # NumPy's float32 is compared as a float: its own comparison would overflow with `high`.
        number = float(value) if isinstance(value, backend.host.floating) else value
        if not checks.is_real(number) or not low <= number <= high:
            raise ValueError(message.format(short(value)))
        return float(value)

    return check


rate = number_rule(
    "Invalid value received for argument `rate`. Expected a float value between 0 and 1. "
    "Received: rate={}. Write: Dropout(0.5)", 0, 1
)  # fmt: skip
scale = number_rule(
    "Argument `scale` must be positive. Received: scale={}. Write: scale=1.0", math.ulp(0), math.inf
)
l2 = number_rule(
    "Invalid value for argument l2: expected a non-negative float. Received: l2={}. "
    "Write: L2(0.01)", 0, sys.float_info.max, none_value=0.01
)  # fmt: skip
label_smoothing = number_rule(
    "Expected label_smoothing to be a number from 0 to 1, received: {}. "
    "Write: label_smoothing=0.1", 0, 1
)  # fmt: skip
learning_rate = number_rule(
    "Argument `learning_rate` should be float, at least 0. Received instead: learning_rate={}. "
    "Write: learning_rate=0.001", 0, math.nextafter(3.4e38, 0)
)  # fmt: skip
weight_decay = number_rule(
    "Expected weight_decay to be a number of at least 0, or None, received: {}. "
    "Write: weight_decay=0.004", 0, sys.float_info.max, none_value=None
)  # fmt: skip
momentum = number_rule(
    "`momentum` must be a float between [0, 1]. Received: momentum={}. Write: momentum=0.9", 0, 1
)
beta_1, beta_2 = (
    number_rule(
        f"Expected {name} to be at least 0 and below 1, received: {{}}. Write: {name}={example}",
        0, math.nextafter(1, 0)
    ) for name, example in (("beta_1", 0.9), ("beta_2", 0.999))
)  # fmt: skip
epsilon = number_rule(
    "Expected epsilon to be a number of at least 0, received: {}. Write: epsilon=1e-07",
    0, math.inf
)  # fmt: skip

validation_split = number_rule(
    "Expected validation_split to be at least 0 and below 1, received: {}. "
    "Write: validation_split=0.1", 0, math.nextafter(1, 0)
)  # fmt: skip

# Layers and activations


def float_type(dtype: object, name: str = "dtype") -> str | None:
    """Return the name of a float type, given as in Keras by name or as a policy's configuration."""
    if isinstance(dtype, dict):
        dtype = dtype.get("config", {}).get("name")
    if dtype not in (None, "float32", "float64"):
        raise ValueError(
            f"Expected dtype to be 'float32' or 'float64', received: {dtype!r}. "
            "Leave it out to get tinynet.config.floatx()."
        )
    return dtype


def optional(check: Check) -> Check:
    """Return the same check for an argument that may be None."""
    return lambda value, name: None if value is None else check(value, name)


def units(value: object, name: str = "units") -> int:
    """Return `value` if it is a number of units, a positive integer."""
    if not backend.is_integer(value) or value <= 0:
        raise ValueError(
            "Received an invalid value for `units`, expected a positive integer. "
            f"Received: units={value}"
        )
    return int(value)


def seed(value: object, name: str = "seed") -> int | None:
    """Return `value` if it is a seed, an integer, or None."""
    if value is not None and not backend.is_integer(value):
        raise ValueError(
            f"Expected seed to be a whole number or None, received: {short(value)}. Write: seed=1"
        )
    return None if value is None else int(value)


def batch_shape(value: object, name: str = "batch_shape") -> Shape:
    """Return `value` if it is the shape of a batch for `Input`."""
    if value is None:
        raise ValueError(
            "You must pass a `shape` argument. Received: none. Write: Input(shape=(28, 28))"
        )
    return checks.shape(value, name)


def batch_shape_of_input(
    shape: Sequence[int | None] | None,
    batch_size: int | None,
    batch_shape: Sequence[int | None] | None,
) -> Sequence[int | None] | None:
    """Return the shape of a batch, from whichever of the two shapes `Input` received."""
    if shape is not None and batch_shape is not None:
        raise ValueError(
            "You cannot pass both `shape` and `batch_shape` at the same time. "
            f"Received: shape={shape}, batch_shape={batch_shape}. Write: Input(shape=(784,))"
        )
    return batch_shape if shape is None else (batch_size, *checks.shape(shape, "shape"))


def input_width(layer: str, shape: Shape, inputs: int | None = None) -> None:
    """Raise a ValueError unless `shape` is that of rows, with `inputs` numbers each if given."""
    if len(shape) < 2:
        raise ValueError(
            f"Input 0 with name 'None' of layer '{layer}' is incompatible with the layer: "
            f"expected min_ndim=2, found ndim={len(shape)}. Full shape received: {shape}. "
            "A single sample needs a batch axis. Write: x[None]"
        )
    if shape[-1] is None:
        raise ValueError(
            f"Layer '{layer}' expects an input whose last axis has a known length, "
            f"received the shape {shape}. Write: Input(shape=(784,))"
        )
    if inputs is not None and shape[-1] != inputs:
        raise ValueError(
            f"Input 0 with name 'None' of layer '{layer}' is incompatible with the layer: "
            f"expected axis -1 of input shape to have value {inputs}, "
            f"but received input with shape {shape}"
        )


def inner_layer(outer: str, layer: AnyLayer) -> None:
    """Raise a ValueError if a layer inside layer `outer` has no weights yet."""
    if not layer.built and type(layer).build.__qualname__ != "Layer.build":
        raise ValueError(
            f"Expected layer '{outer}' to build the layers inside it, received '{layer.name}' "
            f"without weights. Write: self.….ensure_built(input_shape) in the build of '{outer}', "
            "with the shape of its input"
        )


def gradient(layer: str, name: str, computed: Array, expected: Array) -> Array:
    """Return the gradient of a weight, or raise a ValueError if it has another size."""
    if getattr(computed, "size", 0) != expected.size:
        raise ValueError(
            f"Expected the gradient of {layer}/{name} in the weight's shape {expected.shape}, "
            f"received {short(computed)}. Write: self.{name}_gradient[...] = … in backward"
        )
    return computed.reshape(expected.shape)


# Losses and metrics

MEANS = ("sum_over_batch_size", "mean", "mean_with_sample_weight")


def reduction(value: object, name: str = "reduction") -> str | None:
    """Return `value` if it names a way to reduce the losses of a batch to one number."""
    if not isinstance(value, str | None) or value not in (*MEANS, "sum", "none", None):
        raise ValueError(
            "Invalid value for argument `reduction`. Expected one of "
            f"{[*MEANS, 'sum', 'none', None]}, received: {short(value)}. "
            'Write: reduction="sum_over_batch_size"'
        )
    return value


def one_hot_shapes(loss: object, y_true: Shape, y_pred: Shape) -> None:
    """Raise a ValueError unless the targets' shape is that of one-hot rows for the outputs."""
    if y_true == y_pred:
        return
    hint = f"This loss expects one row of {y_pred[-1]} probabilities for each sample."
    if y_true in (y_pred[:-1], (*y_pred[:-1], 1)):
        hint = (
            "The targets look like class numbers, but this loss expects one-hot rows. Write: "
            f"y = tinynet.utils.to_categorical(y, {y_pred[-1]}), "
            'or loss="sparse_categorical_crossentropy"'
        )
    raise ValueError(
        "Arguments `target` and `output` must have the same shape. "
        f"Received: target.shape={y_true}, output.shape={y_pred}. {hint}"
    )


def class_number_shapes(loss: object, y_true: Shape, y_pred: Shape) -> None:
    """Raise a ValueError unless the targets' shape is that of class numbers for the outputs."""
    if y_true in (y_pred[:-1], (*y_pred[:-1], 1)):
        return
    hint = "This loss expects one class number for each sample."
    if y_true == y_pred:
        hint = (
            "The targets look one-hot, but this loss expects class numbers. Write: "
            'loss="categorical_crossentropy", or y = y.argmax(axis=-1)'
        )
    raise ValueError(
        "Arguments `target` and `output` must have the same shape up until the last "
        f"dimension: target.shape={y_true}, output.shape={y_pred}. {hint}"
    )


def equal_shapes(loss: object, y_true: Shape, y_pred: Shape) -> None:
    """Raise a ValueError unless the targets' shape is that of one number for each output."""
    if y_true not in (y_pred, (*y_pred, 1)) and (*y_true, 1) != y_pred:
        raise ValueError(
            "Arguments `target` and `output` must have the same shape. "
            f"Received: target.shape={y_true}, output.shape={y_pred}. "
            f"This loss expects one number for each output. Write: y = y.reshape(-1, {y_pred[-1]})"
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


def optimizer_of_other_weights(model: str) -> ValueError:
    return ValueError(
        f"The optimizer of model '{model}' was built for other weights: layers were added, "
        "removed, frozen or unfrozen since then, or it belongs to another model. "
        "Call model.compile(…) again, with a new optimizer."
    )


def missing_loss() -> ValueError:
    return ValueError(
        "Expected a loss, received none. Write: "
        "model.compile(optimizer='adam', loss='categorical_crossentropy')"
    )


def missing_optimizer() -> ValueError:
    return ValueError(
        "Expected an optimizer, received none (Keras's default, 'rmsprop', is not part of "
        "tinynet). Write: model.compile(optimizer='adam', loss=…)"
    )
