"""Names: ``dense``, ``dense_1`` … for objects, and the way from a name back to an object.

Keras lets one write ``"adam"``, ``"Adam"``, ``Adam``, ``Adam()`` or a configuration, wherever
an optimizer is wanted, and the same for losses, metrics, activations and initializers. What
those have in common is here; each module's `get` says what it knows.
"""

import re
import reprlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

_counts: Counter[str] = Counter()
_readers_own: dict[str, Any] = {}  # see `custom_objects`


def snake_case(class_name: str) -> str:
    """``BatchNorm2D`` → ``batch_norm2d``, as Keras spells it.

    >>> snake_case("GlorotUniform")
    'glorot_uniform'
    """
    name = re.sub(r"\W+", "", class_name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def unique(instance: object) -> str:
    """The automatic name of `instance`: its class, numbered from the second one on."""
    stem = snake_case(type(instance).__name__)
    number = _counts[stem]
    _counts[stem] += 1
    return f"{stem}_{number}" if number else stem


def clear() -> None:
    """Forget which names were given."""
    _counts.clear()


def check(name: Any) -> str:
    """`name` if it can be one; Keras's files use ``/`` to separate names."""
    if not isinstance(name, str) or "/" in name:
        write = name.replace("/", "_") if isinstance(name, str) else "my_layer"
        raise ValueError(
            "Argument `name` must be a string and cannot contain character `/`. "
            f"Received: name={short(name)}. Write: name={write!r}"
        )
    return name


def short(value: Any) -> str:
    """`value` as Python writes it, on one line, and not all of it if that is long."""
    # Of a list of a million lists, only the first few are looked at.
    text = " ".join(reprlib.repr(value).split())
    return text if len(text) <= 80 else text[:77] + "..."


@contextmanager
def custom_objects(objects: Mapping[str, Any] | None) -> Iterator[None]:
    """A ``with`` block in which configurations may name these classes and functions, too."""
    global _readers_own
    if not isinstance(objects, Mapping | None):
        raise ValueError(
            f"Expected custom_objects to be a dictionary, received: {short(objects)}. "
            "Write: custom_objects={'Name': Class}"
        )
    before, _readers_own = _readers_own, {**_readers_own, **(objects or {})}
    try:
        yield
    finally:
        _readers_own = before


def is_known(name: Any, known: Mapping[str, Any]) -> bool:
    """Whether `lookup` would find `name`."""
    return isinstance(name, str) and (name in known or name in _readers_own)


def function_name(identifier: Any) -> Any:
    """The name in the configuration that Keras writes for a function; else `identifier`."""
    if isinstance(identifier, Mapping) and identifier.get("class_name") == "function":
        return identifier.get("config")
    return identifier


def lookup(kind: str, identifier: Any, known: Mapping[str, Any]) -> Any:
    """What `identifier` names among `known`, or a ValueError with the near names."""
    if isinstance(identifier, str):
        if identifier in _readers_own:
            return _readers_own[identifier]
        if identifier in known:
            return known[identifier]
        import difflib  # for this sentence alone

        near = difflib.get_close_matches(identifier.lower(), known, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
        names = ", ".join(sorted(name for name in known if name.islower()) or sorted(known))
        raise ValueError(
            f"Could not interpret {kind} identifier: {identifier}. {hint}Known names: {names}."
        )
    raise ValueError(
        f"Could not interpret {kind} identifier: {short(identifier)} (of type {type(identifier)}). "
        f"Write its name, such as {min(known, key=len)!r}, or an object."
    )


def instance_from(kind: str, identifier: Any, known: Mapping[str, Any], base: Any) -> Any:
    """An instance of `base` from a name, a class, an instance or a configuration."""
    if isinstance(identifier, base):
        return identifier
    if isinstance(identifier, type) and issubclass(identifier, base):
        return identifier()
    if isinstance(identifier, Mapping) and "class_name" in identifier:
        found: Any = lookup(kind, identifier["class_name"], known)
        fits = isinstance(found, type) and issubclass(found, base)
        if not fits:
            raise ValueError(
                f"Expected {identifier['class_name']!r} to be a {kind}, a class derived from "
                f"{base.__name__}, received: {getattr(found, '__name__', short(found))}"
            )
        try:
            return found.from_config(dict(identifier.get("config") or {}))
        except TypeError as error:
            raise ValueError(
                f"Could not make a {kind} of the configuration received, {short(identifier)}: "
                f"{error}. Write: {found.__name__}(…).get_config() shows what it needs"
            ) from None
    return lookup(kind, identifier, known)()


def by_both_names(*classes: type) -> dict[str, Any]:
    """The classes under Keras's two spellings, ``GlorotUniform`` and ``glorot_uniform``."""
    return {n: c for c in classes for n in (c.__name__, snake_case(c.__name__))}


def serialize(instance: Any, module: str) -> dict[str, Any]:
    """`instance` in the nested form in which Keras writes objects into a configuration.

    A class that is not tinynet's is none of Keras's `module` either, and is known by its name.
    """
    name = type(instance).__name__
    own = type(instance).__module__.partition(".")[0] != "tinynet"
    return {
        "module": None if own else module,
        "class_name": name,
        "config": instance.get_config(),
        "registered_name": name if own else None,
    }


def serialize_function(function: Any) -> dict[str, Any]:
    """A function of the reader's own in the form in which Keras writes it into a configuration."""
    name = getattr(function, "__name__", type(function).__name__)
    kind = {"module": "builtins", "class_name": "function", "registered_name": "function"}
    return {**kind, "config": name}


def equal(one: Any, other: Any) -> bool:
    """Whether two things are equal; an array is equal to nothing else."""
    try:
        return bool(one == other)
    except ValueError:
        return False


def refuse(
    where: str,
    arguments: Mapping[str, Any],
    keras_has: Mapping[str, Any],
    unknown_are: str = "Unrecognized keyword arguments passed to {}",
) -> None:
    """Raise for each argument that tinynet does not support; Keras's defaults may be spelled out.

    Arguments:
        where: the class or call that was given the arguments.
        arguments: what came beyond the parameters that tinynet has.
        keras_has: Keras's further parameters, with their defaults.
        unknown_are: what Keras says, there, of arguments that it does not know either.
    """
    unknown = {name: value for name, value in arguments.items() if name not in keras_has}
    if unknown:
        raise ValueError(f"{unknown_are.format(where)}: {unknown}. Leave {', '.join(unknown)} out.")
    for name, value in arguments.items():
        default = keras_has[name]
        nothing = (value is None or value is False) and not default
        if not nothing and value is not default and not equal(value, default):
            raise ValueError(
                f"{where} was given {name}={short(value)}, which Keras has and tinynet has not. "
                f"Leave {name} out (that is {name}={default!r}), or use Keras for this model."
            )
