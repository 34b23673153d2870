"""The names of the types that annotations use: arrays, shapes, logs, configurations, models.

`Model` is the class `Sequential`, whose module imports this one: only type checkers import it,
a running program does not.
"""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, NewType, Protocol

import numpy

if TYPE_CHECKING:
    from numpy.typing import ArrayLike as ArrayLike, DTypeLike as DTypeLike, NDArray

    from tinynet.models import Sequential

    Model = Sequential

    class Library(Protocol):
        """NumPy, or CuPy, which has the same functions."""

        def __getattr__(self, name: str) -> Callable[..., "Array"]: ...

    Array = NDArray[Any]  # NumPy's or CuPy's, whose arrays have the same interface
    HostArray = NDArray[Any]  # NumPy's
else:  # as `help` shows them
    Library, Array, HostArray = ModuleType, numpy.ndarray, numpy.ndarray
    ArrayLike, DTypeLike = NewType("ArrayLike", object), NewType("DTypeLike", object)
    Model = NewType("Sequential", object)


class Device(NamedTuple):
    """Where arrays are: the backend's name, and the number of the GPU (0 on the host)."""

    backend: str
    number: int = 0


UNSET: Any = None  # a placeholder for an array or object that is created later

Shape = tuple[int | None, ...]  # None where a length is not known or does not matter
Sizes = Sequence[int | None]  # a shape as a caller may write it, such as [None, 784]
Samples = tuple[HostArray, HostArray, HostArray | None]  # x, y, sample_weight
Arrays = tuple[Array, ...]
Pairs = tuple[tuple[Array, Array], ...]  # of gradients and weights
Weighting = ArrayLike | None  # how much each sample counts, (n,) or (n, 1)
Logs = dict[str, float]  # the loss and the metrics by name
State = dict[str, Any]  # what `get_state` returns: numbers, strings, arrays, and nests of them
Config = dict[str, Any]  # what `get_config` returns: what JSON can hold

# A layer, or a model as a layer of another one: both have the methods of a layer that are needed.
AnyLayer = Any
# What `compile` sets: an optimizer, a loss, or the objective made of it; None before.
Compiled = Any

# The caller's data in any form: arrays, what can be converted to them, or what yields batches.
Data = Any

# What a `get` function takes: a name, a configuration, a class or an object. It is Any because
# `compat.constructors` replaces such an argument by the object before a constructor receives it.
Identifier = Any
