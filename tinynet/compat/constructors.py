"""The argument checks of constructors, by the tables in `arguments`.

A page's constructor only assigns. It lists its arguments, and ``**base`` if it also accepts those
of the base class. `checked_init` wraps it in a constructor whose signature has all arguments in
Keras's order, and which refuses those that Keras has and tinynet lacks, checks or converts the
rest, and passes valid values to the page's constructor.
"""

import functools
import inspect
from collections.abc import Callable, Mapping

from tinynet.compat import absent, arguments, naming
from tinynet.compat.checks import warn

POSITIONAL_OR_KEYWORD, KEYWORD_ONLY = (
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.KEYWORD_ONLY,
)


def checked_init(kind: type, fixed: Mapping[str, object]) -> Callable[..., None]:
    """Return the constructor of `kind` with checks; arguments that are `fixed` cannot be given.

    Its attribute `unsupported` has the arguments of Keras that it refuses, and `names` the keys of
    a configuration.
    """
    constructor = kind.__init__  # type: ignore[misc]
    own = dict(inspect.signature(constructor).parameters)
    base = constructor  # the one whose arguments are accepted as well
    if "__init__" in vars(kind):
        forwards_base = own.pop("base", None) is not None
        base = kind.__mro__[1].__init__ if forwards_base else None  # type: ignore[misc]
    unsupported = {
        **getattr(base, "unsupported", {}),
        **absent.defaults(kind.__name__),
    }
    parameters = {**own}
    if base is not None and base is not constructor:
        inherited = inspect.signature(base).parameters.items()
        parameters |= {n: p.replace(kind=KEYWORD_ONLY) for n, p in inherited if n not in parameters}
    # Unsupported arguments keep their positions; a loss's default name is that of its class.
    extra = {**unsupported, "name": naming.snake_case(kind.__name__)}.items()
    known = dict(parameters)
    written = own if "__init__" in vars(kind) else {}
    more = [(name, default) for name, default in extra if name not in written]
    known |= {n: inspect.Parameter(n, POSITIONAL_OR_KEYWORD, default=v) for n, v in more}
    order = ["self", *arguments.POSITIONAL_ORDER.get(kind.__name__, "").split()]
    if not known.keys() >= {*order}:  # that of the loss with the name of this metric
        order = ["self"]
    ordered = {name: known[name].replace(kind=POSITIONAL_OR_KEYWORD) for name in order}
    parameters = {**ordered, **{n: p for n, p in parameters.items() if n not in ordered}}
    parameters = {n: parameter for n, parameter in parameters.items() if n not in fixed}
    signature = inspect.Signature(list(parameters.values()))
    positional = [name for name, p in parameters.items() if p.kind is POSITIONAL_OR_KEYWORD][1:]
    defaults = {name: p.default for name, p in parameters.items() if p.default is not p.empty}
    checks = arguments.checks_for(kind)

    @functools.wraps(constructor)
    def __init__(self: object, *values: object, **given: object) -> None:  # noqa: N807
        first = dict(zip(positional, values, strict=False))
        for former, name in arguments.RENAMED.get(kind.__name__, {}).items():
            if former in given:
                given[name] = given.pop(former)
                warn(
                    f"Argument `{former}` is deprecated. Use `{name}` instead. "
                    f"Write: {name}={given[name]}"
                )
        named = {**defaults, **first, **given}
        complete = parameters.keys() - {"self"} <= named.keys()
        if len(values) > len(positional) or first.keys() & given.keys() or not complete:
            unknown = given.keys() - parameters.keys() - unsupported.keys()
            arguments.refuse_unknown(type(self), {k: given[k] for k in given if k in unknown})
            signature.bind(self, *values, **given)  # raises Python's own TypeError
        others = {k: v for k, v in named.items() if k in unsupported or k not in parameters}
        if unsupported:
            arguments.refuse_for(type(self), others, unsupported)
            named = {k: v for k, v in named.items() if k in own or k not in others}
        else:
            arguments.refuse_unknown(type(self), others)
        for name, check in checks.items():
            if name in named:
                named[name] = check(named[name], name)
        constructor(self, **named, **fixed)

    # In a configuration, the base's arguments come first.
    names = [name for name in parameters if name not in unsupported][1:]
    names.sort(key=positional.__contains__)
    vars(__init__).update(__signature__=signature, unsupported=unsupported, names=names)
    return __init__
