"""Which array library holds the numbers, and the few places where that matters.

Everything in tinynet that computes writes `backend.xp.exp(z)`, and `xp` is looked up at that
moment. So one source serves every library with NumPy's interface: NumPy itself, on the CPU, and
CuPy, on a GPU. After that, operators and methods carry on wherever the arrays are.

Beside `xp` stand the things that differ between the two: moving numbers, gathering rows, memory.
The rest of this folder: `gpu` and `diagnosis` find out whether there is a GPU that works, `random`
holds the generator of random numbers, `threads` says how many threads BLAS takes.
"""

import gc
import os
import sys
from types import ModuleType
from typing import Any, NamedTuple

import numpy

from tinynet import config
from tinynet.backend import gpu
from tinynet.backend.random import generator as generator, seed as seed

Array = Any  # an array of whichever library `xp` is
HostArray = numpy.ndarray
Shape = tuple[int | None, ...]  # None where a length is not known or does not matter
host = numpy  # for what never leaves the host: scalars, indices, the caller's own arrays

NAMES = ("numpy", "cupy")


class Place(NamedTuple):
    """Where arrays are: the library's name, and the number of the GPU (0 on the host)."""

    name: str
    device: int = 0


_place: Place | None = None  # None until somebody asks: importing tinynet decides nothing
_cupy: ModuleType | None = None  # once it has computed


class use:  # noqa: N801, used as a function, and as a ``with`` block
    """Make arrays in NumPy, on the CPU, or in CuPy, on a GPU, from now on or in a ``with`` block.

    >>> with use("numpy"):
    ...     backend()
    'numpy'

    The environment variable ``TINYNET_BACKEND`` sets the default; unset, it is ``"numpy"``. A
    model stays where its weights were made; `Sequential.to` moves it. The switch is the process's:
    two models on different backends cannot compute at the same time, in two threads.

    Arguments:
        name: ``"numpy"``, ``"cupy"``, or ``"auto"``: CuPy if it can run here, else NumPy, and a
            line on stderr that says which, and why.
        device: the number of the GPU, as in `devices`.
        memory_limit: the most bytes that CuPy's pool may take of that GPU's memory.

    Raises:
        ValueError: for a name, device or limit that makes no sense.
        RuntimeError: if CuPy cannot run, with the reason and what to do about it.
    """

    def __init__(self, name: str, device: int = 0, memory_limit: int | None = None) -> None:
        for label, value, least in (("device", device, 0), ("memory_limit", memory_limit, 1)):
            if value is not None and not (is_integer(value) and least <= value <= sys.maxsize):
                raise ValueError(
                    f"Expected {label} to be a whole number of at least {least}, received: "
                    f'{value!r}. Write: tinynet.backend.use("cupy", {label}={least})'
                )
        chosen, why = choose(name, device)
        if chosen == "numpy" and name != "auto" and (device or memory_limit is not None):
            raise ValueError(
                "Expected neither a device nor a memory_limit for NumPy, received "
                f"device={device}, memory_limit={memory_limit}. "
                'Write: use("numpy"), or use("cupy", …)'
            )
        if name == "auto":
            print(f"tinynet computes with {chosen}: {why}", file=sys.stderr)
        self._there, self._limit_before = Place(chosen, device if chosen == "cupy" else 0), None
        self._before = _go(self._there)
        if chosen == "cupy" and memory_limit is not None:
            pool = _active().get_default_memory_pool()
            self._limit_before = pool.get_limit()
            pool.set_limit(size=memory_limit)

    def __enter__(self) -> "use":
        return self

    def __exit__(self, *_: object) -> None:
        if self._limit_before is not None:
            _go(self._there)  # a limit belongs to a GPU
            _active().get_default_memory_pool().set_limit(size=self._limit_before)
        _back(self._before)


def choose(name: str, device: int = 0) -> tuple[str, str]:
    """The library that `use` would take for `name`, and why.

    Raises:
        ValueError, RuntimeError: as `use`.
    """
    if name == "numpy":
        return name, "it was asked for"
    if name == "cupy":
        gpu.library(device)
        return name, "it was asked for, and it works"
    if name != "auto":
        raise ValueError(
            f"Expected the name of a backend, one of {[*NAMES, 'auto']}, received: {name!r}. "
            'Write: tinynet.backend.use("numpy"), or unset TINYNET_BACKEND'
        )
    try:
        gpu.library(device)
    except gpu.UnavailableError as error:
        return "numpy", error.reason
    return "cupy", "there is a GPU, and it works"


def wished() -> str:
    """The name that ``TINYNET_BACKEND`` holds; ``"numpy"`` if it holds none."""
    return os.environ.get("TINYNET_BACKEND", "").strip() or "numpy"


def backend() -> str:
    """The name of the library in use: ``"numpy"`` or ``"cupy"``."""
    return here().name


def here() -> Place:
    """Where new arrays are made."""
    _active()
    assert _place is not None
    return _place


def _active() -> ModuleType:
    if "xp" not in globals():
        use(wished())
    return globals()["xp"]


def _go(place: Place) -> tuple[Place | None, int | None]:
    """Compute there from now on, and return what `_back` needs for the way back."""
    global _place, _cupy
    before, device = _place, None
    if place.name == "cupy":
        _cupy = sys.modules["cupy"]  # there is no such place before it was looked at
        device = _cupy.cuda.Device().id
        _cupy.cuda.Device(place.device).use()
    _place = place
    globals()["xp"] = numpy if place.name == "numpy" else _cupy
    return before, device


def _back(before: tuple[Place | None, int | None]) -> None:
    """Return to what was in use before a `_go`; also CuPy to the GPU that it was on."""
    global _place
    _place, device = before
    if device is not None and _cupy is not None:
        _cupy.cuda.Device(device).use()
    if _place is None:
        globals().pop("xp", None)
    else:
        globals()["xp"] = numpy if _place.name == "numpy" else _cupy


def __getattr__(attribute: str) -> ModuleType:
    # `xp` is resolved at its first use, never at import: importing tinynet decides nothing.
    if attribute == "xp":
        return _active()
    raise AttributeError(f"module {__name__!r} has no attribute {attribute!r}")


# Where an array is


def of(values: Any) -> ModuleType:
    """The library that `values` is an array of; `xp` for anything that is no array."""
    if isinstance(values, numpy.ndarray):
        return numpy
    return sys.modules["cupy"] if on_device(values) else _active()


def on_device(values: Any) -> bool:
    """Whether `values` is an array on a GPU."""
    cupy = sys.modules.get("cupy")
    return isinstance(values, getattr(cupy, "ndarray", ()))


def place_of(array: Array) -> Place:
    """Where `array` is."""
    return Place("cupy", array.device.id) if on_device(array) else Place("numpy")


class at:  # noqa: N801, a ``with`` block
    """A ``with`` block that computes where `array` is, whatever is in use; None changes nothing."""

    def __init__(self, array: Array | None) -> None:
        self._there = None if array is None else place_of(array)

    def __enter__(self) -> None:
        if self._there is not None:
            self._before = _go(self._there)

    def __exit__(self, *_: object) -> None:
        if self._there is not None:
            _back(self._before)


# Moving numbers


def as_array(values: Any) -> Array:
    """`values` as an array: one of either library as it is, all else as an array of `xp`."""
    return of(values).asarray(values)


def as_float(values: Any) -> Array:
    """`values` as an array of floats: one of floats as it is, all else converted to `floatx`."""
    if getattr(getattr(values, "dtype", None), "kind", "") == "f":
        return of(values).asarray(values)
    return of(values).asarray(values, dtype=config.floatx())


def to_numpy(array: Array) -> HostArray:
    """A copy on the host that is the caller's own: what tinynet hands out never changes later."""
    return sys.modules["cupy"].asnumpy(array) if on_device(array) else numpy.array(array)


def to_active(values: Any, dtype: Any = None) -> Array:
    """`values` where new arrays are made: itself if it is such an array, else a copy."""
    library = _active()
    if on_device(values) and place_of(values) != here():
        values = to_numpy(values) if library is numpy else values.copy()  # to the GPU in use
    return library.asarray(values, dtype)


def fill(target: Array, source: Array) -> None:
    """Write the values of `source` into `target`, wherever the two are."""
    with at(target):
        target[...] = to_active(source)


def numbers(*values: Any) -> list[float]:
    """Single numbers as floats. Those on a device come together: that is one wait."""
    there = [value for value in values if on_device(value)]
    if not there:
        return [float(value) for value in values]
    came = iter(to_numpy(of(there[0]).stack(there, dtype="float64")).tolist())
    return [next(came) if on_device(value) else float(value) for value in values]


def take_rows(array: Array, rows: Array, out: Array | None = None) -> Array:
    """Gather ``array[rows]``, on the host into `out`, without allocating.

    `numpy.take` copies through a buffer of its own unless ``mode="clip"`` tells it that no
    index needs checking; it would also copy the *whole* of an array that is not contiguous.
    CuPy knows no `mode`.
    """
    if on_device(array):
        return array.take(rows, axis=0)
    assert out is not None
    if array.flags.c_contiguous:
        return array.take(rows, axis=0, out=out, mode="clip")
    out[...] = array[rows]
    return out


# Memory


def devices() -> list[gpu.Device]:
    """The GPUs that CuPy can see; if there is none, ``python -m tinynet.doctor`` says why."""
    return gpu.devices()


def free_memory() -> int | None:
    """The bytes that new arrays may still take on the GPU in use; None on the host."""
    if backend() == "numpy":
        return None
    pool = _active().get_default_memory_pool()
    free, _ = _active().cuda.runtime.memGetInfo()
    if limit := pool.get_limit():
        free = min(free, limit - pool.total_bytes())
    return max(0, free) + pool.free_bytes()


class Released(NamedTuple):
    """The bytes that CuPy's pool held, before and after."""

    before: int
    after: int


def release_memory() -> Released:
    """Give back to the GPU what nobody uses any more, garbage included.

    CuPy keeps the memory of arrays that are gone, for new ones; another program cannot have it.

    Returns:
        The bytes that CuPy holds on its present GPU, before and after; where CuPy has not
        computed, both are 0.
    """
    gc.collect()  # arrays that hold each other in a circle are only gone after this
    if _cupy is None:
        return Released(0, 0)
    pool = _cupy.get_default_memory_pool()
    before = pool.total_bytes()  # what is gone counts as well, until it is given back
    pool.free_all_blocks()
    _cupy.get_default_pinned_memory_pool().free_all_blocks()
    return Released(before, pool.total_bytes())


def synchronize() -> None:
    """Wait until the GPU in use has done all it was told; NumPy never runs ahead."""
    if backend() == "cupy":
        _active().cuda.get_current_stream().synchronize()


# NumPy's warnings, and its numbers


def quiet() -> Any:
    """A ``with`` block without NumPy's warnings, for what looks at its results itself."""
    return numpy.errstate(all="ignore")


def ignore_overflow() -> Any:
    """A ``with`` block in which a result too large for its type is infinity, without a warning."""
    return numpy.errstate(over="ignore")


def is_integer(value: Any) -> bool:
    """Whether `value` is a whole number, Python's or NumPy's; True and times are none."""
    return isinstance(value, int | numpy.integer) and type(value) not in (bool, numpy.timedelta64)
