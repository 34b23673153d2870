"""Names that a module does not have: what Keras has there, and what to use instead.

Each module that both libraries have ends its lookup here, by attribute and in ``from … import``;
so do names given as strings, and, with `tinynet`'s own finder, modules that only Keras has.
The tables are in `elsewhere` and `former`, which are imported when the first name is missing.
"""

import functools
import importlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from types import FrameType, ModuleType

# Keras's modules, by the kinds of objects that are looked up by name.
MODULE_OF = {
    "activation function": "activations",
    "initializer": "initializers",
    "layer": "layers",
    "learning rate schedule": "optimizers.schedules",
    "loss": "losses",
    "metric": "metrics",
    "optimizer": "optimizers",
    "regularizer": "regularizers",
}

# Public names of a module that are defined in others.
REEXPORTED = {"tinynet.models": ["save_model"]}


def teach(module: str) -> None:
    """Let the module answer for names that it does not have; type checkers do not see this."""

    def __getattr__(name: str) -> object:  # noqa: N807
        return find(module, name)

    vars(sys.modules[module])["__getattr__"] = __getattr__


def find(module: str, name: str) -> object:
    """Return what an alias stands for, or raise the error for a name that `module` lacks.

    The module's `__getattr__` calls it. In ``from … import``, Python replaces the message of an
    AttributeError, but shows that of an ImportError; everywhere else, `hasattr` needs the former.
    """
    frame = caller(3)
    if name == "__path__" and is_import(frame):
        return []  # as if it were a package: Python then asks all finders, also tinynet's
    if name == "__all__":  # for ``from … import *``, which would replace the user's own modules
        return public(module)
    message = f"module {module!r} has no attribute {name!r}"
    if asked_by_user(name, frame):
        place = module.partition(".")[2]
        if path := aliases(place).get(name):
            return resolve(path)
        message = sentence(place, name) or f"{message}{hint(place, name, public(module))}"
    if frame is not None and opcode(frame) == "IMPORT_FROM":
        raise ImportError(message, name=module)
    raise AttributeError(message, name=name)  # without `obj`, Python adds no suggestion of its own


def refuse_import(name: str) -> None:
    """Raise a ModuleNotFoundError for a submodule that no finder has found, if it is imported."""
    if is_import(caller(4)):  # not if `importlib.util.find_spec` asks, which returns None
        module, _, last = name.rpartition(".")
        place = module.partition(".")[2]
        message = sentence(place, last) or f"No module named {name!r}{other(module, last)}"
        raise ModuleNotFoundError(message, name=name)


# Sentences


def sentence(place: str, name: str) -> str | None:
    """Return what a name of Keras's is and what to use instead; None if it is not in the tables."""
    path = f"{place}.{name}".lstrip(".")
    if name in absent(place):
        what, way = absent(place)[name]
        return f"Keras's {path}, {what}, is not part of tinynet{joined(way)}"
    if name not in former(place):
        return None
    today, way = former(place)[name]
    if not today:
        gone = "tinynet has no" if path == "keras" else "Keras 3 no longer has"
        return f"{gone} {path}{joined(way)}"
    new = sentence(*today.rpartition(".")[::2])
    return f"Keras 3 has {today} in place of {path}. {new or f'Write: tinynet.{today}'}"


def hint(place: str, name: str, known: Iterable[str]) -> str:
    """Return a suggestion, from the names that are `known` here and from those of Keras's."""
    for home in () if place else (*MODULE_OF.values(), "callbacks", "datasets", "models", "utils"):
        importlib.import_module(f"tinynet.{home}")
        if name in public(f"tinynet.{home}"):
            return f". Write: from tinynet.{home} import {name}"
    best = closest(name, known, absent(place))
    about = sentence(place, best) if best in absent(place) else None
    return "".join([f". Did you mean {best!r}?" if best else "", f" {about}" if about else ""])


def other(module: str, name: str) -> str:
    """Return what to write instead of a submodule that does not exist."""
    known = public(module)
    near = closest(name, [each for each in known if each.islower() and each != name], ())
    same = sorted(each for each in known if folded(each) == folded(name))  # classes first
    if same and near is None:
        return f". Write: from {module} import {same[0]}"
    return f". Did you mean {near!r}?" if near else hint(module.partition(".")[2], name, ())


def about_identifier(kind: str, identifier: str, known: Mapping[str, object]) -> str | None:
    """Return what Keras has by the name `identifier`, or by one more like it than any `known`."""
    place = MODULE_OF.get(kind, kind)
    names = [*former(place), *absent(place)]
    meant = {folded(name): name for name in reversed(names)}.get(folded(identifier))
    meant = identifier if identifier in names else meant
    if meant is not None:
        return sentence(place, meant)
    best = closest(identifier, known, absent(place))
    return f"Did you mean {best!r}? {sentence(place, best)}" if best in absent(place) else None


def joined(way: str) -> str:
    return f". {way}" if way.startswith("Write") else f": {way}"


# Tables


def groups(text: str) -> Iterator[tuple[list[str], str, str]]:
    """Yield the groups of a table, ``names = what they are > the way on``, one on each line."""
    from tinynet.compat.elsewhere import WAYS

    for line in text.strip().splitlines():
        start, _, way = line.partition(" > ")
        names, _, what = start.partition(" = ")
        yield names.split(), what, WAYS.get(way, way)


def entries(text: str) -> dict[str, tuple[str, str]]:
    """Return what a table says of each name: what it is, and the way on."""
    several = groups(text)
    return {n: (what, way.replace("{name}", n)) for names, what, way in several for n in names}


@functools.cache
def absent(place: str) -> dict[str, tuple[str, str]]:
    """Return what Keras's module has and tinynet's lacks: what it is, and what to use instead."""
    from tinynet.compat.elsewhere import NAMES

    return entries(NAMES.get(place, ""))


@functools.cache
def former(place: str) -> dict[str, tuple[str, str]]:
    """Return the former names in a module or class: the path today, or what to use instead."""
    from tinynet.compat.former import FORMER

    return entries(FORMER.get(place, ""))


def aliases(place: str) -> dict[str, str]:
    """Return the second names in a module, each with the path of what it stands for."""
    from tinynet.compat.former import ALIASES

    pairs = (pair.partition("=") for pair in ALIASES.get(place, "").split())
    return {name: path for name, _, path in pairs}


# Names


def closest(name: str, known: Iterable[str], others: Iterable[str]) -> str | None:
    """Return the name most like `name`, if one is close; of two such, one that is `known`."""
    import difflib  # needed only for these messages

    mine = [*known]

    def likeness(each: str) -> float:
        alike = difflib.SequenceMatcher(None, folded(each), folded(name)).ratio()
        begins = len(name) > 4 and folded(each).startswith(folded(name))  # as in `BatchNorm`
        return alike + 0.2 * begins + 0.08 * (each in mine) + 0.01 * (each[:1] == name[:1])

    best = max([*mine, *others], key=likeness, default="")
    return best if best and likeness(best) > 0.77 else None


def folded(name: str) -> str:
    return name.lower().replace("_", "")


def public(module: str) -> list[str]:
    """Return the public names of a module of tinynet, without what it imports for its own use."""
    there = vars(sys.modules.get(module, sys)).copy()  # another thread may be importing
    defined = [name for name in there if origin(there[name]).startswith(module)]
    names = there.get("__all__", defined)
    others = [*REEXPORTED.get(module, ()), *aliases(module.partition(".")[2])]
    return [*(name for name in names if name[0] != "_"), *others]


def origin(value: object) -> str:
    """Return the name of the module that defines a class or function, or is `value`."""
    return str(getattr(value, "__name__" if isinstance(value, ModuleType) else "__module__", ""))


def resolve(path: str) -> object:
    """Import the module of a path, and return the object."""
    from pkgutil import resolve_name

    return resolve_name(f"tinynet.{path}")


# The interpreter's frames


def caller(depth: int) -> FrameType | None:
    """Return the frame that called the function `depth` calls up; None if there are no frames."""
    try:
        return sys._getframe(depth)
    except (AttributeError, ValueError):
        return None


def asked_by_user(name: str, frame: FrameType | None) -> bool:
    """Return whether to look for what to say: tinynet's own code and Python only try names."""
    module = "" if frame is None else str(frame.f_globals.get("__name__"))
    inside = module.partition(".")[0] in ("tinynet", "importlib", "_frozen_importlib")
    return not inside and not name.startswith("_")


def is_import(frame: FrameType | None) -> bool:
    """Return whether a frame is Python's own that looks for a module to import."""
    return frame is not None and frame.f_code.co_name == "_find_and_load_unlocked"


def opcode(frame: FrameType) -> str:
    """Return the name of the instruction that a frame executes."""
    from opcode import opname

    return opname[frame.f_code.co_code[frame.f_lasti]]
