"""Numbers of the host in a step on a GPU, of which some change from step to step.

An ordinary launch receives them directly. While a step is captured as a CUDA graph, which would
keep them as they were then, `replay` says where on the device they are.
"""

from collections.abc import Callable, Sequence
from contextvars import ContextVar

import numpy

from tinynet.backend.types import Array, Compiled, DTypeLike

Draw = Callable[[], int]


class Numbers:
    """What operations on a GPU receive for numbers: the numbers themselves."""

    def of_formula(
        self, numbers: list[float], dtype: DTypeLike
    ) -> Sequence[Array | Compiled] | None:
        """Return what a kernel receives for its numbers, or None if it should not be launched."""
        return list(map(numpy.dtype(dtype).type, numbers))

    def integer(self, draw: Draw) -> int | Array:
        """Return an integer that `draw` draws anew for each step."""
        return draw()


numbers: ContextVar[Numbers] = ContextVar("numbers", default=Numbers())  # noqa: B039, no state


def receive(given: list[float], dtype: DTypeLike) -> Sequence[Array | Compiled] | None:
    """Return what a kernel receives for the numbers `given`, see `Numbers.of_formula`."""
    return numbers.get().of_formula(given, dtype)


def draw(function: Draw) -> int | Array:
    """Return ``function()``, an integer that is another one in each step."""
    return numbers.get().integer(function)
