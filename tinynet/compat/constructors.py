"""Constructors that only assign: their arguments are checked here, by the tables in `arguments`.

The constructor of a page says which arguments there are, and ``**base`` where those of the class's
base are accepted, too. `checked` makes of it what is called: it has all arguments in Keras's order
in its signature, refuses what Keras has and tinynet lacks, checks or converts the rest, and leaves
the page's constructor with values that are right.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from tinynet.compat import arguments, naming

EITHER, BY_NAME = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY


def checked(kind: type, fixed: Mapping[str, Any]) -> Callable[..., None]:
    """The constructor of `kind` as it is called; arguments that are `fixed` cannot be given.

    Its attributes: `further`, Keras's arguments that it refuses; `names`, those of a configuration.
    """
    constructor = kind.__init__  # type: ignore[misc]
    own = dict(inspect.signature(constructor).parameters)
    base = constructor  # whose further arguments are accepted as well
    if "__init__" in vars(kind):
        hands_on = own.pop("base", None) is not None
        base = kind.__mro__[1].__init__ if hands_on else None  # type: ignore[misc]
    further = {**getattr(base, "further", {}), **arguments.FURTHER.get(kind.__name__, {})}
    found = {**own}
    if base is not None and base is not constructor:
        inherited = inspect.signature(base).parameters.items()
        found |= {n: p.replace(kind=BY_NAME) for n, p in inherited if n not in found}
    # Keras's further arguments have their places; and a loss is called by the name of its class.
    keras_s = {**further, "name": naming.snake_case(kind.__name__)}.items()
    either = {**found, **{n: inspect.Parameter(n, EITHER, default=value) for n, value in keras_s}}
    order = ["self", *arguments.IN_ORDER.get(kind.__name__, "").split()]
    ordered = {name: either[name].replace(kind=EITHER) for name in order}
    found = {**ordered, **{n: p for n, p in found.items() if n not in ordered}}
    found = {n: parameter for n, parameter in found.items() if n not in fixed}
    signature = inspect.Signature(list(found.values()))
    positional = [name for name, p in found.items() if p.kind is EITHER][1:]
    defaults = {name: p.default for name, p in found.items() if p.default is not p.empty}
    checks = arguments.checks_of(kind)

    @functools.wraps(constructor)
    def __init__(self: Any, *values: Any, **given: Any) -> None:  # noqa: N807
        first = dict(zip(positional, values, strict=False))
        named = {**defaults, **first, **given}
        complete = found.keys() - {"self"} <= named.keys()
        if len(values) > len(positional) or first.keys() & given.keys() or not complete:
            signature.bind(self, *values, **given)  # raises Python's own TypeError
        if further:
            others = {k: v for k, v in named.items() if k in further or k not in found}
            arguments.refuse_of(type(self), others, further)
            named = {k: v for k, v in named.items() if k in own or k not in others}
        for name, check in checks.items():
            if name in named:
                named[name] = check(named[name], name)
        constructor(self, **named, **fixed)

    names = [name for name in found if name not in further][1:]
    names.sort(key=lambda name: found[name].kind is EITHER)  # in a configuration, the base's first
    vars(__init__).update(__signature__=signature, further=further, names=names)
    return __init__
