"""Names: ``dense``, ``dense_1`` … for objects, and the way from a name back to an object.

Keras lets one write ``"adam"``, ``"Adam"``, ``Adam``, ``Adam()`` or a configuration, wherever
an optimizer is wanted, and the same for losses, metrics, activations and initializers.
"""

import re
import reprlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

_counts: Counter[str] = Counter()
_readers_own: dict[str, Any] = {}  # see `custom_objects`
GETTERS: dict[str, Callable[[Any], Any]] = {}  # by kind of part, as the pages declare them


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


def check(name: Any, argument: str = "name") -> str:
    """`name` if it can be one; Keras's files use ``/`` to separate names."""
    if not isinstance(name, str) or "/" in name:
        write = name.replace("/", "_") if isinstance(name, str) else "my_layer"
        raise ValueError(
            f"Argument `{argument}` must be a string and cannot contain character `/`. "
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


def getter(
    kind: str,
    known: Mapping[str, Any],
    base: Any = (),
    none: Any = ...,
    functions: bool = False,
) -> Callable[[Any], Any]:
    """`get` for one kind of part: what a name, class, configuration or instance stands for.

    >>> import tinynet
    >>> tinynet.optimizers.get("adam").learning_rate
    0.0010000000474974513

    Arguments:
        kind: the word for it in errors.
        known: tinynet's, by name.
        base: the class that they are derived from; nothing if they are functions.
        none: what None stands for; not given, it stands for nothing.
        functions: whether a function will do, which then stands for itself.
    """

    def get(identifier: Any) -> Any:
        """What a name, a configuration, or a class or function stands for; a part is itself."""
        if functions:
            identifier = function_name(identifier)
            if callable(identifier) and not (base and isinstance(identifier, type)):
                return identifier
        if identifier is None and none is not ...:
            return none
        if isinstance(identifier, str):
            found: Any = lookup(kind, identifier, known)
            return found() if not functions or (base and isinstance(found, type)) else found
        if isinstance(identifier, base):
            return identifier
        if isinstance(identifier, type) and issubclass(identifier, base):
            return identifier()
        if not (base and isinstance(identifier, Mapping) and "class_name" in identifier):
            return lookup(kind, identifier, known)
        found = lookup(kind, identifier["class_name"], known)
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

    GETTERS[kind] = get
    return get


def is_tinynet_s(thing: Any) -> bool:
    """Whether a class or function is tinynet's, and not the reader's own."""
    return (getattr(thing, "__module__", None) or "").partition(".")[0] == "tinynet"


def derived(base: Any) -> dict[str, Any]:
    """The classes derived from `base`, by Keras's two spellings, ``HeNormal`` and ``he_normal``."""
    found: dict[str, Any] = {}
    for kind in base.__subclasses__():
        found |= {kind.__name__: kind, snake_case(kind.__name__): kind, **derived(kind)}
    return found
