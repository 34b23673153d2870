"""Configurations: the arguments that make the same part again, as Keras writes them down; and back.

A part keeps each argument of its constructor under the argument's name; so what `get_config`
returns can be read off the constructor, and no class writes it by hand. A class of the reader's own
inherits the configuration of the tinynet class that it is derived from, and adds to it.
"""

from collections.abc import Callable, Mapping
from typing import Any, Self

from tinynet.compat import arguments, constructors, naming
from tinynet.compat.naming import is_tinynet_s


class Configurable:
    """A part that a configuration can make again, and whose constructor only assigns."""

    def __init_subclass__(cls, **given: Any) -> None:
        """Have the arguments of tinynet's constructors checked; those of a reader's own are theirs.

        Arguments:
            given: arguments of the base's constructor that the subclass decides:
                ``class Ones(Constant, value=1.0)``.
        """
        known = getattr(cls.__init__, "names", ())
        fixed = {name: value for name, value in given.items() if name in known}
        super().__init_subclass__(**{k: v for k, v in given.items() if k not in fixed})
        for name, value in fixed.items():  # also where a constructor below does not ask this one
            setattr(cls, name, value)
        ordered = cls.__name__ in arguments.IN_ORDER
        if fixed or (is_tinynet_s(cls) and ("__init__" in vars(cls) or ordered)):
            cls.__init__ = constructors.checked(cls, fixed)  # type: ignore[method-assign]

    def get_config(self) -> dict[str, Any]:
        """The arguments that make the same part again, in Keras's form."""
        kind = next(base for base in type(self).__mro__ if is_tinynet_s(base))
        decided = arguments.DECIDED.get(kind.__name__, ()) if kind is not type(self) else ()
        known = getattr(kind.__init__, "names", ())  # type: ignore[misc]
        names = [name for name in known if name not in decided]
        own = {name: as_config(getattr(self, name)) for name in names if hasattr(self, name)}
        return {**own, **arguments.written(kind)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """A new part, from what `get_config` returned."""
        return cls(**config)


def as_config(value: Any) -> Any:
    """An argument as a configuration holds it: a part nested, as in Keras, a function by name."""
    if isinstance(value, Configurable):
        return serialize(value)
    if callable(value):
        return value.__name__ if is_tinynet_s(value) else serialize_function(value)
    return value


def public(
    kind: str, base: Any, known: Mapping[str, Any] | None = None, **how: Any
) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Keras's `get` and `serialize` for a kind of part.

    Arguments:
        known: what `get` finds by name; if not given, the classes derived from `base`.
        how: as in `naming.getter`.
    """
    get = naming.getter(kind, naming.derived(base) if known is None else known, base, **how)
    return get, serialize if base else as_config


def serialize(part: Any) -> Any:
    """`part` in the nested form in which Keras writes objects into a configuration; None is None.

    A class of tinynet's is in Keras's module of the same name. One that is not is in none, and is
    known by its name.
    """
    if part is None:
        return None
    name, own = type(part).__name__, not is_tinynet_s(type(part))
    return {
        "module": None if own else type(part).__module__.replace("tinynet", "keras", 1),
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
