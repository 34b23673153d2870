"""Configurations: the arguments that make the same part again, as Keras writes them down.

A part keeps each argument of its constructor under the argument's name; so what `get_config`
returns can be read off the constructor, and no class writes it by hand. A class of the reader's own
inherits the configuration of the tinynet class that it is derived from, and adds to it.
"""

import inspect
from typing import Any, Self

from tinynet.compat import arguments
from tinynet.compat.naming import is_tinynet_s


class Configurable:
    """A part that a configuration can make again."""

    keras_module = ""  # where Keras has such parts, by which its configurations name them

    def get_config(self) -> dict[str, Any]:
        """The arguments that make the same part again, in Keras's form."""
        kind = next(base for base in type(self).__mro__ if is_tinynet_s(base))
        further = arguments.further(kind)
        names = [name for name in constructor_arguments(kind) if name not in further]
        own = {name: as_config(getattr(self, name)) for name in names if hasattr(self, name)}
        return {**own, **arguments.written(kind)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """A new part, from what `get_config` returned."""
        return cls(**config)


def constructor_arguments(kind: type) -> list[str]:
    """The names of a class's arguments, those of its bases first.

    ``**arguments`` in a constructor are handed on to the base's; ``**unsupported`` are refused.
    """
    found: list[str] = []
    for base in kind.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
        named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        found = [name for name in named if name not in found] + found
        if not any(p.kind is p.VAR_KEYWORD and p.name == "arguments" for p in parameters):
            break
    return [name for name in found if name != "self"]


def as_config(value: Any) -> Any:
    """An argument as a configuration holds it: a part nested, as in Keras, a function by name."""
    if isinstance(value, Configurable):
        return serialize(value)
    if callable(value):
        return value.__name__ if is_tinynet_s(value) else serialize_function(value)
    return value


def serialize(part: Any) -> Any:
    """`part` in the nested form in which Keras writes objects into a configuration; None is None.

    A class that is not tinynet's is in none of Keras's modules either, and is known by its name.
    """
    if part is None:
        return None
    name, own = type(part).__name__, not is_tinynet_s(type(part))
    return {
        "module": None if own else part.keras_module,
        "class_name": name,
        "config": part.get_config(),
        "registered_name": name if own else None,
    }


def serialize_layer(layer: Any) -> dict[str, Any]:
    """The configuration of `layer`, with the shape it was built for, in Keras's form."""
    found = serialize(layer)
    if layer.built and found["class_name"] != "InputLayer":
        found["build_config"] = {"input_shape": layer.input_shape}
    return found


def serialize_function(function: Any) -> dict[str, Any]:
    """A function of the reader's own in the form in which Keras writes it into a configuration."""
    name = getattr(function, "__name__", type(function).__name__)
    kind = {"module": "builtins", "class_name": "function", "registered_name": "function"}
    return {**kind, "config": name}


def dtype_policy(dtype: str) -> dict[str, Any]:
    """The float type in the form in which Keras writes it into a configuration."""
    return {
        "module": "keras",
        "class_name": "DTypePolicy",
        "config": {"name": dtype},
        "registered_name": None,
    }
