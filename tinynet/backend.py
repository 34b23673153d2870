"""Which array library holds the numbers, and the few places where that matters.

Everything in tinynet that computes writes `backend.xp.exp(z)`, and `xp` is looked up at that
moment. So one source serves every library with NumPy's interface, and only this file imports
one. Beside `xp` stand the things that differ between such libraries (gathering rows, getting
numbers back to the host) and the generator of random numbers, which always lives on the host:
the same seed means the same weights and the same batches wherever the arithmetic is done.
"""

import os
from types import ModuleType
from typing import Any

import numpy

from tinynet import config

Array = Any  # an array of whichever library `xp` is
HostArray = numpy.ndarray
Shape = tuple[int | None, ...]  # None where a length is not known or does not matter
host = numpy  # for what never leaves the host: scalars, indices, the caller's own arrays

_BACKENDS = {"numpy": numpy}
_random: "numpy.random.Generator | None" = None  # made at its first use: its import takes a while


def _active() -> ModuleType:
    if "xp" not in globals():
        use(os.environ.get("TINYNET_BACKEND", "numpy"))
    return globals()["xp"]


def __getattr__(attribute: str) -> ModuleType:
    # `xp` is resolved at its first use, never at import: importing tinynet decides nothing.
    if attribute == "xp":
        return _active()
    raise AttributeError(f"module {__name__!r} has no attribute {attribute!r}")


def use(name: str) -> None:
    """Compute with the array library called `name` from now on.

    The environment variable ``TINYNET_BACKEND`` sets the default; unset, it is ``"numpy"``.

    Raises:
        ValueError: for a library that tinynet does not know.
    """
    if name not in _BACKENDS:
        raise ValueError(
            f"Expected the name of a backend, one of {sorted(_BACKENDS)}, received: {name!r}. "
            'Write: tinynet.backend.use("numpy"), or unset TINYNET_BACKEND'
        )
    globals()["xp"] = _BACKENDS[name]


def as_float(values: Any) -> Array:
    """`values` as an array of floats: one of floats as it is, all else converted to `floatx`."""
    if getattr(getattr(values, "dtype", None), "kind", "") == "f":
        return _active().asarray(values)
    return _active().asarray(values, dtype=config.floatx())


def to_numpy(array: Array) -> HostArray:
    """A copy on the host that is the caller's own: what tinynet hands out never changes later."""
    return numpy.array(array)


def take_rows(array: Array, rows: Array, out: Array) -> Array:
    """Gather ``array[rows]`` into `out`, without allocating.

    `numpy.take` copies through a buffer of its own unless ``mode="clip"`` tells it that no
    index needs checking; it would also copy the *whole* of an array that is not contiguous.
    """
    if array.flags.c_contiguous:
        return array.take(rows, axis=0, out=out, mode="clip")
    out[...] = array[rows]
    return out


def quiet() -> Any:
    """A ``with`` block without NumPy's warnings, for what looks at its results itself."""
    return numpy.errstate(all="ignore")


def ignore_overflow() -> Any:
    """A ``with`` block in which a result too large for its type is infinity, without a warning."""
    return numpy.errstate(over="ignore")


def generator() -> "numpy.random.Generator":
    """The generator behind every random number of tinynet; NumPy's global one is never touched."""
    if _random is None:
        seed(None)
    assert _random is not None
    return _random


def seed(value: int | None) -> None:
    """Start the generator anew, so that what follows can be repeated; None is another each time."""
    global _random
    _random = numpy.random.default_rng(value)


def is_integer(value: Any) -> bool:
    """Whether `value` is a whole number, Python's or NumPy's; True and False are none."""
    return isinstance(value, int | numpy.integer) and not isinstance(value, bool)
