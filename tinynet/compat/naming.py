"""Names: automatic names such as ``dense`` and ``dense_1``, and the lookup of objects by name.

Keras accepts ``"adam"``, ``"Adam"``, ``Adam``, ``Adam()`` or a configuration wherever an
optimizer is expected, and the same for losses, metrics, activations and initializers.
"""

import itertools
import re
import reprlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any

from tinynet.backend.turns import temporarily
from tinynet.backend.types import Identifier
from tinynet.compat import missing

_counts: dict[str, Iterator[int]] = {}
_custom_objects: ContextVar[dict[str, Any]] = ContextVar("custom_objects", default={})  # noqa: B039
# Whether a name is first that of a custom object: Keras writes only the name of an activation.
custom_first: ContextVar[bool] = ContextVar("custom_first", default=False)
GETTERS: dict[str, Callable[[Identifier], Any]] = {}  # by kind of object, as the pages declare them


def snake_case(class_name: str) -> str:
    """Return a class name in Keras's snake case: ``BatchNorm2D`` → ``batch_norm2d``.

    >>> snake_case("GlorotUniform")
    'glorot_uniform'
    """
    name = re.sub(r"\W+", "", class_name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def unique_name(instance: object) -> str:
    """Return a name for `instance`: that of its class, numbered from the second instance on."""
    stem = snake_case(type(instance).__name__)
    number = next(_counts.setdefault(stem, itertools.count()))  # no two threads get the same
    return f"{stem}_{number}" if number else stem


def reset_names() -> None:
    """Restart the numbering of automatic names."""
    _counts.clear()


def check_name(name: object, argument: str = "name") -> str:
    """Return `name` if it is valid, without ``/``, which separates names in Keras's files."""
    if not isinstance(name, str) or "/" in name:
        write = name.replace("/", "_") if isinstance(name, str) else "my_layer"
        raise ValueError(
            f"Argument `{argument}` must be a string and cannot contain character `/`. "
            f"Received: name={short(name)}. Write: name={write!r}"
        )
    return name


def short(value: object) -> str:
    """Return the `repr` of `value` on one line, shortened if it is long."""
    # `reprlib` looks at only the first few elements, even of a list of a million lists.
    text = " ".join(reprlib.repr(value).split())
    return text if len(text) <= 80 else text[:77] + "..."


def apart(one: str, other: str) -> tuple[str, str]:
    """Return two texts that differ, shortened so that the difference is in both."""
    same = next(
        (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )
    start = max(0, same - 30) if max(len(one), len(other)) > 80 else 0
    texts = (
        "..." * (start > 0) + text[start : start + 80] + "..." * (len(text) > start + 80)
        for text in (one, other)
    )
    return next(texts), next(texts)


def custom_objects(objects: Mapping[str, Any] | None) -> AbstractContextManager[object]:
    """Return a ``with`` block in which configurations may name these classes and functions, too."""
    if not isinstance(objects, Mapping | None):
        raise ValueError(
            f"Expected custom_objects to be a dictionary, received: {short(objects)}. "
            "Write: custom_objects={'Name': Class}"
        )
    return temporarily(_custom_objects, {**_custom_objects.get(), **(objects or {})})


def is_known(name: object, known: Mapping[str, object]) -> bool:
    """Return whether `lookup` would find `name`."""
    return isinstance(name, str) and (name in known or name in _custom_objects.get())


def is_own(identifier: Identifier) -> bool:
    """Return whether a configuration is that of a user-defined class or function.

    Its registered name says so; tinynet's part of the same name must not take its place.
    """
    registered = identifier.get("registered_name") if isinstance(identifier, Mapping) else None
    return registered not in (None, "function")  # as which Keras registers functions of its own


def function_name(identifier: Identifier) -> Identifier:
    """Return the name in Keras's configuration of a function, or `identifier` if it is not one."""
    if isinstance(identifier, Mapping) and identifier.get("class_name") == "function":
        return identifier.get("config")
    return identifier


# Keras's further names of initializers.
SHORT = {"normal": "random_normal", "one": "ones", "uniform": "random_uniform", "zero": "zeros"}


def lookup(kind: str, identifier: Identifier, known: Mapping[str, Any]) -> Any:
    """Return the object named `identifier` in `known`, or raise a ValueError with similar names."""
    if isinstance(identifier, str):
        own = _custom_objects.get()
        other = {"optimizer": identifier.lower(), "initializer": SHORT.get(identifier)}.get(kind)
        if identifier not in own and other in known:
            identifier = other
        if identifier in own and (custom_first.get() or identifier not in known):
            return own[identifier]
        if not known:
            raise ValueError(
                f"Expected custom_objects to have your own {kind} {identifier!r}: a configuration "
                f"has only its name. Write: custom_objects={{{identifier!r}: {identifier}}}"
            )
        if identifier in known:
            return known[identifier]
        import difflib  # needed only for this message

        close_matches = difflib.get_close_matches(identifier.lower(), known, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(map(repr, close_matches))}? " if close_matches else ""
        about = missing.about_identifier(kind, identifier, known)
        hint = f"{about}. " if about else hint
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
    none: object = ...,
    functions: bool = False,
) -> Callable[[Identifier], Any]:
    """Return `get` for one kind of object, by name, class, configuration or instance.

    >>> import tinynet
    >>> tinynet.optimizers.get("adam").learning_rate
    0.0010000000474974513

    Arguments:
        kind: the name of the kind in error messages.
        known: tinynet's objects of that kind, by name.
        base: the class that they are derived from; omitted if they are functions.
        none: what `get` returns for None; if omitted, None is an error.
        functions: whether functions are accepted, too, and returned as they are.
    """

    def get(identifier: Identifier) -> Any:
        """Return the object that a name, configuration, class, function or object stands for."""
        # The configuration of one of tinynet's activations is its name.
        own = is_own(identifier) or (isinstance(identifier, Mapping) and not base)
        available = {} if own else known
        if functions:
            identifier = function_name(identifier)
            if callable(identifier) and not (base and isinstance(identifier, type)):
                return identifier
        if hasattr(identifier, "__array__") and isinstance(known.get("Constant"), type):
            part = known["Constant"](identifier)
            part.only_shape = part.value.shape
            return part
        if identifier is None and none is not ...:
            return none
        if isinstance(identifier, str):
            target = lookup(kind, identifier, available)
            return target() if not functions or (base and isinstance(target, type)) else target
        if isinstance(identifier, base):
            return identifier
        if isinstance(identifier, type) and issubclass(identifier, base):
            return identifier()
        if not (base and isinstance(identifier, Mapping) and "class_name" in identifier):
            return lookup(kind, identifier, known)
        name = identifier["class_name"]
        theirs = str(identifier.get("module")).startswith("keras") and not own and name in known
        target = known[name] if theirs else lookup(kind, name, available)
        fits = isinstance(target, type) and issubclass(target, base)
        if not fits:
            raise ValueError(
                f"Expected {identifier['class_name']!r} to be a {kind}, a class derived from "
                f"{base.__name__}, received: {getattr(target, '__name__', short(target))}"
            )
        try:
            return target.from_config(dict(identifier.get("config") or {}))
        except TypeError as error:
            raise ValueError(
                f"Could not create a {kind} from the configuration received, {short(identifier)}: "
                f"{error}. Write: {target.__name__}(…).get_config() to see what is needed"
            ) from None

    GETTERS[kind] = get
    return get


def is_builtin(thing: object) -> bool:
    """Return whether a class or function is part of tinynet, and not user-defined."""
    names = getattr(thing, "__globals__", None)  # of a function; `functools.wraps` does not copy it
    module = names.get("__name__") if isinstance(names, dict) else getattr(thing, "__module__", "")
    return (module or "").partition(".")[0] == "tinynet" and not hasattr(thing, "on_copies")


def subclasses_by_name(base: type[Any]) -> dict[str, type[Any]]:
    """Return the classes derived from `base`, by both names: ``HeNormal`` and ``he_normal``."""
    classes: dict[str, type[Any]] = {}
    for kind in base.__subclasses__():
        classes |= {
            kind.__name__: kind,
            snake_case(kind.__name__): kind,
            **subclasses_by_name(kind),
        }
    return classes
