"""Calls of a layer with a layer, as in Keras's functional API: refused, with what to write instead.

Layers here are stacked, and called only with arrays. Where layers follow each other, as in
``Dense(10)(Input((784,)))``, the error has the `Sequential` of the same layers.
"""

import inspect
import re
from collections.abc import Callable

from tinynet import config
from tinynet.backend.types import AnyLayer, ArrayLike
from tinynet.compat.arguments import PUBLIC_NAMES
from tinynet.compat.configuration import Configurable
from tinynet.compat.guards import is_array
from tinynet.compat.naming import is_builtin, snake_case
from tinynet.compat.surface import Symbol
from tinynet.compat.weights import HasWeights

# Where objects have the values of arguments that are not attributes of the same name and form.
VALUES: dict[str, Callable[[AnyLayer], object]] = {
    "shape": lambda layer: layer.batch_shape[1:],
    "batch_size": lambda layer: layer.batch_shape[0],
    "batch_shape": lambda layer: None,
    "input_shape": lambda layer: layer.declared_shape and layer.declared_shape[1:],
    "input_dim": lambda layer: None,
    "dtype": lambda layer: None if layer.dtype == config.floatx() else layer.dtype,
    "name": lambda layer: (
        None
        if re.fullmatch(rf"{snake_case(type(layer).__name__)}(_\d+)?", layer.name)
        else layer.name
    ),
    "layers": lambda model: stacked(model),
}
# What None, the default of an argument, stands for.
DEFAULTS = {
    "activation": "linear",
    "data_format": "channels_last",
    "sparse": False,
    "ragged": False,
}


def array_like(layer: HasWeights, x: ArrayLike) -> ArrayLike:
    """Return `x`, with which `layer` is called, or raise a ValueError if it is a layer or the like.

    That is, a layer, a model, or a `Symbol`, their input or output; or several in a list.
    """
    several = isinstance(x, dict | list | tuple) and not isinstance(x, Symbol)
    held: AnyLayer = x.values() if isinstance(x, dict) else x if several else [x]
    if not any(isinstance(part, HasWeights | Symbol) for part in held):
        return x
    first, *others = held
    if others:
        way = "A model has one input, so no Sequential says the same. Use Keras for this model"
    elif isinstance(first, Symbol) or first._is_model:
        way = f"Write: model.add({written(layer)}), for a layer on top of a model"
    else:
        above = [part for part in stacked(layer) if not hasattr(part, "batch_shape")]
        way = f"Write: Sequential({text([first, *above])})"
    kinds = [PUBLIC_NAMES.get(type(part).__name__, type(part).__name__) for part in held]
    raise ValueError(
        f"Expected x to be an array, received {', '.join(kinds)}: layers are stacked here, and not "
        f"called with each other. {way}"
    )


def stacked(part: AnyLayer) -> list[AnyLayer]:
    """Return the layers of a model, its `Input` first if it has one; other parts alone."""
    if not part._is_model or not is_builtin(type(part)):
        return [part]
    return [*filter(None, [part.input_layer]), *part.layers]


def written(part: object) -> str:
    """Return the call that makes `part`, such as ``Dense(10, activation='relu')``.

    The arguments of a user-defined class are not known: ``MyLayer(…)``.
    """
    kind = type(part)
    if not is_builtin(kind):
        return f"{kind.__name__}(…)"
    given = []
    for name, parameter in inspect.signature(kind).parameters.items():
        value = text(VALUES.get(name, lambda part, name=name: getattr(part, name))(part))
        default = DEFAULTS.get(name) if parameter.default is None else parameter.default
        if value != text(default):
            first = default is parameter.empty or name in ("shape", "layers")
            given.append(value if first else f"{name}={value}")
    return f"{PUBLIC_NAMES.get(kind.__name__, kind.__name__)}({', '.join(given)})"


def text(value: AnyLayer) -> str:
    """Return an argument as it is written in a call: an initializer, for example, by its name."""
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, Configurable):
        call = written(value)
        return repr(snake_case(call[:-2])) if call.endswith("()") else call
    if is_array(value):
        return "…"
    if callable(value) and value is not inspect.Parameter.empty:
        name = getattr(value, "__name__", "…")
        return repr(name) if is_builtin(value) else name.replace("<lambda>", "…")
    return repr(value)
