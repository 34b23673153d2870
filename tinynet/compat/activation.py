"""The registry of the backward functions of activations, built-in and user-defined."""

from collections.abc import Callable
from typing import NoReturn

from tinynet.backend.arrays import backward_function
from tinynet.backend.types import Array
from tinynet.compat.contracts import activation_backward
from tinynet.compat.guards import on_copies
from tinynet.compat.naming import is_builtin

ActivationFunction = Callable[..., Array]


class BackwardRegistry(dict[ActivationFunction, ActivationFunction]):
    """The backward function of each activation; a ValueError for one that has none."""

    def __missing__(self, activation: ActivationFunction) -> NoReturn:
        name = activation_name(activation) if activation_name(activation).isidentifier() else "f"
        raise ValueError(
            f"Expected an activation with a backward function, received: {name}. Write:\n"
            f"    @tinynet.activations.backward_of({name})\n"
            f"    def {name}_backward(gradient, a): ..."
        )


BACKWARDS = BackwardRegistry()
FROM_Z: set[ActivationFunction] = set()  # those whose backward function takes z instead of a
BUILT_IN: list[ActivationFunction] = []  # the built-in ones, which accept `out`


def backward_of(
    activation: ActivationFunction, *, from_z: bool = False
) -> Callable[[ActivationFunction], ActivationFunction]:
    """Register the decorated function ``(gradient, a)`` as the backward function of `activation`.

    Arguments:
        from_z: whether it takes z instead of a, for derivatives that a does not determine.

    >>> @backward_of(square := lambda z: z * z, from_z=True)
    ... def square_backward(gradient, z):
    ...     return gradient * 2 * z
    """

    def register(function: ActivationFunction) -> ActivationFunction:
        own = not is_builtin(function)
        if not own:
            BUILT_IN.append(activation)
            function = backward_function(function)
        BACKWARDS[activation] = activation_backward(on_copies(function)) if own else function
        (FROM_Z.add if from_z else FROM_Z.discard)(activation)
        return function

    return register


def backward(activation: ActivationFunction) -> ActivationFunction:
    """Return the backward function of `activation`: ``(gradient, a)`` to ∂L/∂z.

    Raises:
        ValueError: if none was registered.
    """
    return BACKWARDS[activation]


def activation_name(activation: ActivationFunction) -> str:
    return getattr(activation, "__name__", type(activation).__name__)
