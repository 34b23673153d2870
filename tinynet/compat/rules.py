"""Checks of arguments and shapes: those of layers, losses, metrics, optimizers and models.

For an invalid value, a check raises a ValueError that says what was expected, what was received,
and which line to write; where Keras has a message for the case, the text begins with Keras's.
"""

import math
import sys
from collections.abc import Callable
from typing import Any

from tinynet import backend
from tinynet.backend.types import AnyLayer, Array, Identifier, Shape
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
threshold = number_rule(
    "Expected threshold to be a number, received: {}. Write: threshold=0.5", -math.inf, math.inf
)  # fmt: skip
label_smoothing = number_rule(
    "Expected label_smoothing to be a number from 0 to 1, received: {}. "
    "Write: label_smoothing=0.1", 0, 1
)  # fmt: skip
learning_rate = number_rule(
    "Argument `learning_rate` should be float, at least 0. Received instead: learning_rate={}. "
    "Write: learning_rate=0.001", 0, math.nextafter(3.4e38, 0)
)  # fmt: skip
initial_learning_rate, decay_rate, decay_steps = (
    number_rule(
        f"Expected {name} to be a number {least}, received: {{}}. Write: {name}={example}",
        math.ulp(0) if least == "above 0" else 0, 3.4e38
    ) for name, least, example in (
        ("initial_learning_rate", "of at least 0", 0.01), ("decay_rate", "of at least 0", 0.96),
        ("decay_steps", "above 0", 1000),
    )
)  # fmt: skip
weight_decay = number_rule(
    "Expected weight_decay to be a number of at least 0, or None, received: {}. "
    "Write: weight_decay=0.004", 0, sys.float_info.max, none_value=None
)  # fmt: skip
momentum = number_rule(
    "`momentum` must be a float between [0, 1]. Received: momentum={}. Write: momentum=0.9", 0, 1
)
beta_1, beta_2, rho = (
    number_rule(
        f"Expected {name} to be at least 0 and below 1, received: {{}}. Write: {name}={example}",
        0, math.nextafter(1, 0)
    ) for name, example in (("beta_1", 0.9), ("beta_2", 0.999), ("rho", 0.9))
)  # fmt: skip
limit = number_rule(
    "Expected a limit of gradients, a number of at least 0, or None, received: {}. "
    "Write: clipnorm=1.0", 0, math.inf, none_value=None
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


def metric_type(dtype: Identifier, name: str = "dtype") -> str | None:
    """Return the name of a numeric type."""
    try:
        known = dtype is None or backend.host.dtype(dtype).kind in "iuf"
    except TypeError:
        known = False
    if not known:
        raise ValueError(
            f"Expected dtype to be the name of a numeric type, received: {short(dtype)}. "
            'Write: dtype="float32"'
        )
    return None if dtype is None else str(backend.host.dtype(dtype).name)


def trainable(value: object, name: str = "trainable") -> bool:
    """Return `value` if it is True or False; as in Keras, numbers are refused."""
    if not isinstance(value, bool | backend.host.bool_):
        raise ValueError(
            f"Expected `trainable` to be a boolean, received: {short(value)}. Write: trainable=True"
        )
    return bool(value)


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


def noise_shape(value: Identifier, name: str = "noise_shape") -> Shape | None:
    """Return `value` as a tuple if it is a shape with positive lengths, or None."""
    try:
        sizes = None if isinstance(value, str) else tuple(value or ())
    except TypeError:
        sizes = None
    if sizes is None or not all(n is None or (backend.is_integer(n) and n > 0) for n in sizes):
        raise ValueError(
            "Invalid value received for argument `noise_shape`. Expected the shape of the random "
            "mask: positive integers, 1 for an axis along which it is the same, and None for one "
            f"as long as the input's. Received: noise_shape={short(value)}. Write: "
            "noise_shape=(None, 1)"
        )
    return None if value is None else sizes


def constant(value: Identifier, name: str = "value") -> Identifier:
    """Return the value of `Constant`, a number or an array, also from its configuration."""
    if isinstance(value, dict):
        value = backend.host.asarray(a=value["config"]["value"], dtype=value["config"]["dtype"])
    if backend.on_device(value):
        value = backend.to_numpy(value)
    array = backend.host.asarray(value)
    if array.dtype.kind not in "biuf":
        raise ValueError(
            f"Expected a number or an array of numbers, received: {short(value)}. "
            "Write: Constant(0.1)"
        )
    return value


def distribution(value: Identifier, name: str = "distribution") -> str:
    """Return the name of a distribution of `VarianceScaling`; "normal" is a short form."""
    word = value.lower() if isinstance(value, str) else value
    word = "truncated_normal" if word == "normal" else word
    return checks.choice(word, name, "uniform", "truncated_normal", "untruncated_normal")  # type: ignore[no-any-return]


def seed(value: object, name: str = "seed") -> int | None:
    """Return `value` if it is a seed, an integer, or None."""
    if value is not None and not backend.is_integer(value):
        raise ValueError(
            f"Expected seed to be a whole number or None, received: {short(value)}. Write: seed=1"
        )
    return None if value is None else int(value)


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


def axis(value: object, name: str = "axis") -> int:
    """Return `value` if it is the number of an axis."""
    if not backend.is_integer(value):
        raise ValueError(f"Expected axis to be a whole number, received: {short(value)}. Write: -1")
    return int(value)


def ignore_class(value: object, name: str = "ignore_class") -> int | None:
    """Return `value` if it is a class number or None."""
    if value is not None and not backend.is_integer(value):
        raise ValueError(
            f"Expected ignore_class to be a whole number or None, received: {short(value)}. "
            "Write: ignore_class=-1"
        )
    return None if value is None else int(value)


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
        "Expected an optimizer, received none. Write: model.compile(optimizer='adam', loss=…)"
    )
