"""Guards: against errors of user-defined parts that would go unnoticed, and against huge files.

tinynet's parts share arrays: the output of a layer is a buffer that the next step overwrites, and
the samples of a batch may be those of the caller. A user-defined part may keep what it receives, or
write into it, so it receives copies.
"""

import functools
import math
import operator
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, TypeGuard
from weakref import WeakValueDictionary

from tinynet.backend import host, on_device, turns
from tinynet.backend.types import AnyLayer, Array, State
from tinynet.compat import contracts
from tinynet.compat.naming import is_builtin

Method = Callable[..., Any]

# Methods that receive copies, by the name of the base class, each with a function that checks what
# it returns. For those of layers, see `LayerBase`.
ON_COPIES: dict[str, dict[str, Method | None]] = {
    "Loss": {"call": contracts.loss_values, "backward": None},  # see `targets.loss_gradient`
    "Metric": {"call": contracts.metric_values, "update_state": None},
    "Regularizer": {"__call__": contracts.penalty, "gradient": contracts.penalty_gradient},
}

# Methods that Keras calls and tinynet does not, by the name of the base class, with those to define
# instead.
NOT_CALLED = {
    "Network": {
        **dict.fromkeys(
            ("train_step", "test_step", "predict_step", "compute_loss", "make_train_function"),
            "a loop of your own around model.train_on_batch(x, y), or a Loss, Metric or Callback",
        ),
        "call": "Sequential([…]) if call passes x from layer to layer, "
        "else forward(x, training) and backward(gradient)",
    },
    "LayerBase": dict.fromkeys(("call", "__call__"), "forward(x, training) and backward(gradient)"),
    "Loss": {"__call__": "call(y_true, y_pred) and backward(y_true, y_pred)"},
    "OptimizerBase": dict.fromkeys(
        ("update_step", "apply"), "update(weights, gradient, *state, scratch)"
    ),
}


# The copies that user-defined parts received and still have, by `id`.
_handed_out: WeakValueDictionary[int, Array] = WeakValueDictionary()


def is_array(value: object) -> TypeGuard[Array]:
    return isinstance(value, host.ndarray) or on_device(value)


def private(value: Any) -> Any:
    """Return a copy of `value` if it is an array, else `value`."""
    if not is_array(value):
        return value
    result = value.copy()
    _handed_out[id(result)] = result
    return result


def on_copies(
    method: Method, name: str = "", before: Method | None = None, after: Method | None = None
) -> Method:
    """Return a user-defined function that receives copies of arrays; one of tinynet as it is.

    Arguments:
        name: the name of the method, for the other two.
        before: a function to call with the object before the method.
        after: a function to call with the object, the method's result and its arguments; what it
            returns is the result. Neither is called where the method of a subclass calls this one.
    """
    if is_builtin(method) or hasattr(method, "on_copies"):
        return method

    @functools.wraps(method)
    def call(*given: Any, **named: object) -> Any:
        outermost = name and getattr(type(given[0]), name) is call
        if outermost and before is not None:
            before(given[0])
        result = method(*map(private, given), **{k: private(v) for k, v in named.items()})
        if outermost and after is not None:
            return after(given[0], result, *given[1:], *named.values())
        return result

    vars(call)["on_copies"] = True
    return call


def wrap_methods(kind: type) -> None:
    """Let the methods in `ON_COPIES` receive copies if they are user-defined."""
    for base in kind.__mro__[1:]:
        for name, check in ON_COPIES.get(base.__name__, {}).items():
            setattr(kind, name, on_copies(getattr(kind, name), name, None, check))


def refuse_methods(part: object) -> None:
    """Raise a ValueError if `part` defines a method that only Keras would call."""
    bases = type(part).__mro__
    defined = {*getattr(part, "__dict__", ())}.union(*(vars(b) for b in bases if not is_builtin(b)))
    for base in filter(is_builtin, bases):
        for name, instead in NOT_CALLED.get(base.__name__, {}).items():
            if name in defined:
                raise ValueError(
                    f"Expected {type(part).__name__} to have methods that tinynet calls, received "
                    f"{name}, which only Keras calls. There is no automatic differentiation here, "
                    f"which it would need for its backward pass. Write: {instead}"
                )


def converted(name: str, convert: Method, into: str | None = None) -> Any:
    """Return a property whose value is converted when it is assigned, unless it is None.

    Arguments:
        into: the attribute for the converted value; then the property is the value as given.
    """

    def assign(part: object, value: object) -> None:
        first = value is None and f"_{name}" not in vars(part)  # when the object is made
        result = None if first else convert(value)
        refuse_methods(result)
        setattr(part, f"_{name}", result if into is None else value)
        if into is not None:
            setattr(part, into, result)
        turns.Changes.count += 1

    return property(operator.attrgetter(f"_{name}"), assign)


def without_batches(state: State, weights: Sequence[str] = ()) -> State:
    """Return the attributes of a layer or model for a copy or a file, without the last batch.

    It may be in the arrays that `private` handed out, unless they are weights now. The methods of
    `InnerMethod` are made again when they are needed.
    """
    kept: State = {}
    for name, value in state.items():
        if not isinstance(value, InnerMethod):
            kept[name] = value if name in weights else _without_batches(value)
        elif value.own is not None:
            kept[name] = value.own
    return kept


def _without_batches(value: object) -> object:
    if is_batch(value):
        return None
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(map(_without_batches, value))
    if isinstance(value, dict) and type(value) is dict:
        return {key: _without_batches(part) for key, part in value.items()}
    return value


def is_batch(value: object) -> bool:
    """Return whether `value` is an array that a user-defined part received, or a view of it."""
    while (base := base_of(value)) is not None:
        value = base
    return _handed_out.get(id(value)) is value is not None


def base_of(value: object) -> object:
    """Return the array of which `value` is a view, or None."""
    return value.base if is_array(value) else None


class InnerMethod:
    """`forward` or `backward` of a layer inside a user-defined one, which calls it: on copies.

    Attributes:
        caller, calls: the outer layer whose forward pass began last, and the calls since then.
    """

    def __init__(self, layer: AnyLayer, name: str) -> None:
        # Weak references: a layer that refers to itself would wait for the garbage collector.
        self.layer: Callable[[], AnyLayer] = weakref.ref(layer)
        self.name, self.own = name, vars(layer).get(name)
        self.caller, self.calls = self.layer, 0
        setattr(layer, name, self)

    def __call__(self, *given: object, **named: object) -> Any:
        self.calls += 1
        layer = self.layer()
        if self.name == "backward" and self.calls > 1:
            raise inner_called_twice(layer.name)
        method = self.own or functools.partial(getattr(type(layer), self.name), layer)
        return private(method(*map(private, given), **named))


def inner_called_twice(name: str) -> ValueError:
    return ValueError(
        f"Expected layer '{name}', which is inside another one, to be called once in a forward "
        "pass, and by no other layer or model, received two calls: its backward pass can only "
        "follow the last one. Write: a layer for each call"
    )


def inner_methods(layer: AnyLayer) -> Iterator[tuple[InnerMethod, InnerMethod]]:
    """Yield `forward` and `backward` of the layers inside `layer`, on copies from now on."""
    for inner in layer.layers_inside():
        forward, backward = (
            method
            if isinstance(method := vars(inner).get(name), InnerMethod)
            else InnerMethod(inner, name)
            for name in ("forward", "backward")
        )
        yield forward, backward


def begin_forward(layer: AnyLayer) -> None:
    """Count the calls of the layers inside `layer` from 0."""
    for forward, backward in inner_methods(layer):
        forward.caller, forward.calls, backward.calls = weakref.ref(layer), 0, 0


def begin_backward(layer: AnyLayer) -> None:
    """Raise a ValueError if a layer inside `layer` was called since: it knows its last inputs."""
    for forward, _ in inner_methods(layer):
        if forward.calls > 1 or forward.caller() is not layer:
            raise inner_called_twice(forward.layer().name)


# The bytes that new weights may still take, if they are to be read from a file of that size.
room: ContextVar[list[int] | None] = ContextVar("room", default=None)


def take_room(layer: str, name: str, shape: tuple[int, ...]) -> None:
    """Raise a ValueError if a new weight is larger than the `room` that is left."""
    left = room.get() or [sys.maxsize]
    left[0] -= 2 * math.prod(shape)  # stored as float16, the smallest type
    if left[0] < 0:
        raise ValueError(
            f"Expected weights that the file can hold, received layer '{layer}', whose {name} of "
            f"shape {shape} is too large for it"
        )
