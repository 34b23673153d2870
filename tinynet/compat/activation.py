"""Which function is the way back through which activation: tinynet's, and a reader's own."""

from collections.abc import Callable
from typing import NoReturn

from tinynet.backend import Array
from tinynet.compat.naming import is_tinynet_s

Activation = Callable[..., Array]


class Derivatives(dict[Activation, Activation]):
    """The backward of each activation; a ValueError for one that has none."""

    def __missing__(self, activation: Activation) -> NoReturn:
        name = name_of(activation) if name_of(activation).isidentifier() else "f"
        raise ValueError(
            f"Expected an activation with a backward, received: {name}. Write:\n"
            f"    @tinynet.activations.backward_of({name})\n"
            f"    def {name}_backward(gradient, a): ..."
        )


DERIVATIVES = Derivatives()
FROM_Z: set[Activation] = set()  # those whose backward takes z in place of a
OWN: list[Activation] = []  # tinynet's, which take `out`


def backward_of(
    activation: Activation, *, from_z: bool = False
) -> Callable[[Activation], Activation]:
    """Decorate a function ``(gradient, a)`` as the backward of `activation`, one of your own.

    Arguments:
        from_z: give the function z in place of a, for a derivative that needs more than a.

    >>> @backward_of(square := lambda z: z * z, from_z=True)
    ... def square_backward(gradient, z):
    ...     return gradient * 2 * z
    """

    def remember(function: Activation) -> Activation:
        DERIVATIVES[activation] = function
        (FROM_Z.add if from_z else FROM_Z.discard)(activation)
        if is_tinynet_s(function):
            OWN.append(activation)
        return function

    return remember


def backward(activation: Activation) -> Activation:
    """The backward of `activation`: a function ``(gradient, a)`` that gives ∂L/∂z.

    Raises:
        ValueError: if none was registered.
    """
    return DERIVATIVES[activation]


def name_of(activation: Activation) -> str:
    return getattr(activation, "__name__", type(activation).__name__)
