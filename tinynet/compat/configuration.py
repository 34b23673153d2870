"""Configurations: the arguments that recreate an object, in Keras's form; and back to the object.

An object stores each argument of its constructor under the argument's name, so `get_config` can
read them all, and no class has to list them itself. A user-defined class inherits the configuration
of the tinynet class that it is derived from, and adds to it.
"""

from collections.abc import Callable, Mapping
from typing import Any, Self

from tinynet import backend
from tinynet.backend.types import Config, Identifier
from tinynet.compat import arguments, constructors, contracts, guards, missing, naming
from tinynet.compat.naming import is_builtin


class Configurable(contracts.CallsInit):
    """An object that a configuration can recreate, and whose constructor only assigns."""

    def __init_subclass__(cls, **given: object) -> None:
        """Add argument checks to the constructors of tinynet's classes, not to user-defined ones.

        Arguments:
            given: arguments of the base class's constructor that the subclass fixes:
                ``class Ones(Constant, value=1.0)``.
        """
        own, inherited = cls.__init__, cls.__mro__[1].__init__  # type: ignore[misc]
        known = getattr(own, "names", getattr(inherited, "names", ()))
        fixed = {name: value for name, value in given.items() if name in known}
        super().__init_subclass__(**{k: v for k, v in given.items() if k not in fixed})
        for name, value in fixed.items():  # also if a subclass's constructor does not call this one
            setattr(cls, name, value)
        ordered = cls.__name__ in arguments.POSITIONAL_ORDER
        if fixed or (is_builtin(cls) and ("__init__" in vars(cls) or ordered)):
            cls.__init__ = constructors.checked_init(cls, fixed)  # type: ignore[method-assign]
        guards.wrap_methods(cls)

    def get_config(self) -> Config:
        """Return the arguments that recreate the same object, in Keras's form."""
        kind = next(base for base in type(self).__mro__ if is_builtin(base))
        omitted: tuple[str, ...] = (
            arguments.OMITTED_IN_SUBCLASS.get(kind.__name__, ()) if kind is not type(self) else ()
        )
        for base in kind.__mro__:  # a loss and a metric may have the same name
            for key in (base.__name__, f"{base.__module__.rpartition('.')[2]}.{base.__name__}"):
                omitted += arguments.NOT_IN_CONFIG.get(key, ())
        known = getattr(kind.__init__, "names", ())  # type: ignore[misc]
        names = [name for name in known if name not in omitted]
        names.sort(key=arguments.LAST_IN_CONFIG.__contains__)
        given = {name: as_config(getattr(self, name)) for name in names if hasattr(self, name)}
        return {**given, **arguments.extra_config(kind)}

    @classmethod
    def from_config(cls, config: Config) -> Self:
        """Return a new object, created from what `get_config` returned."""
        return cls(**config)


def as_config(value: Any) -> object:
    """Return an argument in its form in a configuration: objects nested, functions by name."""
    if isinstance(value, Configurable):
        return serialize(value)
    if isinstance(value, backend.host.ndarray):  # Keras's form of an array
        return {
            "class_name": "__numpy__",
            "config": {"value": value.tolist(), "dtype": value.dtype.name},
        }
    if callable(value):
        return value.__name__ if is_builtin(value) else serialize_function(value)
    return value


def functions_for(
    kind: str, base: Any, known: Mapping[str, object] | None = None, **options: Any
) -> tuple[Callable[[Identifier], Any], Callable[[Any], Any], Callable[..., Any]]:
    """Return Keras's functions `get`, `serialize` and `deserialize` for a kind of object.

    The module of that kind then also answers for names that only Keras has.

    Arguments:
        known: what `get` finds by name; if not given, the classes derived from `base`.
        options: further keyword arguments for `naming.getter`.
    """
    missing.teach(f"tinynet.{missing.MODULE_OF[kind]}")
    options.setdefault("functions", not base)
    get = naming.getter(
        kind, naming.subclasses_by_name(base) if known is None else known, base, **options
    )

    def deserialize(
        config: Identifier, custom_objects: Mapping[str, object] | None = None
    ) -> Identifier:
        """Return the object of a configuration that `serialize` returned."""
        with naming.custom_objects(custom_objects):
            return get(config)

    return get, serialize if base else as_config, deserialize


def serialize(part: Any) -> Any:
    """Return `part` in the nested form in which Keras's configurations hold objects; None is None.

    A function is in the form of `serialize_function`.

    A class of tinynet is assigned to Keras's module of the same name. A user-defined class is
    assigned to no module, and is registered under its name.
    """
    if part is None or (callable(part) and not hasattr(part, "get_config")):
        return part and serialize_function(part)
    name, own = type(part).__name__, not is_builtin(type(part))
    module = "keras" if name == "Sequential" else type(part).__module__
    return {
        "module": None if own else module.replace("tinynet", "keras", 1),
        "class_name": name,
        "config": part.get_config(),
        "registered_name": name if own else None,
    }


def serialize_layer(layer: Any) -> Config:
    """Return the configuration of `layer`, with the shape it was built for, in Keras's form."""
    config: Config = serialize(layer)
    if layer.built and config["class_name"] != "InputLayer":
        config["build_config"] = {"input_shape": layer.input_shape}
    return config


def serialize_function(function: Callable[..., object]) -> Config:
    """Return a function in the form in which Keras's configurations hold it."""
    name = getattr(function, "__name__", type(function).__name__)
    return {
        "module": "builtins",
        "class_name": "function",
        "config": name,
        "registered_name": "function" if is_builtin(function) else name,
    }


def dtype_policy(dtype: str) -> Config:
    """Return the float type in the form in which Keras's configurations hold it."""
    return {
        "module": "keras",
        "class_name": "DTypePolicy",
        "config": {"name": dtype},
        "registered_name": None,
    }
