"""The array library in use, NumPy or CuPy, and the few operations that differ between the two.

All code that computes writes `backend.xp.exp(z)`, and `xp` is looked up when that line runs. So
the same code works with every library with NumPy's interface: NumPy itself, on the CPU, and CuPy,
on a GPU. Operators and methods of an array compute on the device where the array is.

Besides `xp`, this module has the operations that differ: moving arrays, gathering rows, memory.
The rest of this package: `gpu` and `diagnosis` find out whether there is a working GPU, `random`
holds the random number generator, `threads` limits the number of BLAS threads.
"""

import gc
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

import numpy
from numpy import (
    absolute as absolute,
    exp as exp,
    log as log,
    log1p as log1p,
    maximum as maximum,
    minimum as minimum,
    sqrt as sqrt,
)

from tinynet.backend import arrays, gpu, products, turns
from tinynet.backend.arrays import (
    NUMPY,
    as_array as as_array,
    as_float as as_float,
    device_of as device_of,
    elementwise as elementwise,
    ignore_overflow as ignore_overflow,
    ignore_warnings as ignore_warnings,
    matmul as matmul,
    of as of,
    on_device as on_device,
    sum_first as sum_first,
    sum_last as sum_last,
    vdot as vdot,
)
from tinynet.backend.changing import draw as draw
from tinynet.backend.random import generator as generator, seed as seed
from tinynet.backend.types import (
    Array as Array,
    Device as Device,
    DTypeLike,
    HostArray as HostArray,
    Library,
    Shape as Shape,
)
from tinynet.compat import missing

if TYPE_CHECKING:
    xp: Library

host = numpy  # for data that never leaves the host: scalars, indices, the caller's arrays

_default: Device | None = None  # None until first used: importing tinynet selects no backend
_devices: dict[int, Device] = {}  # those of the threads that are in a ``with`` block
_selecting = turns.lock()
_cupy: Any = None  # CuPy, once it has been in use


class use:  # noqa: N801, used as a function, and as a ``with`` block
    """Use NumPy (CPU) or CuPy (GPU) for new arrays, from now on or within a ``with`` block.

    >>> with use("numpy"):
    ...     backend()
    'numpy'

    The environment variable ``TINYNET_BACKEND`` sets the default; unset, it is ``"numpy"``. A
    model stays where its weights were made; `Sequential.to` moves it. A ``with`` block has its own
    setting, which other threads do not see.

    Arguments:
        name: ``"numpy"``, ``"cupy"``, or ``"auto"``: CuPy if it can run here, otherwise NumPy; a
            line on stderr then says which of them is used, and why.
        device: the number of the GPU, as in `devices`.
        memory_limit: the maximum number of bytes that CuPy's pool may take of that GPU's memory.

    Raises:
        ValueError: for an invalid name, device or limit.
        RuntimeError: if CuPy cannot run, with the reason and what to do about it.
    """

    def __init__(self, name: str, device: int = 0, memory_limit: int | None = None) -> None:
        self._device = resolve(name, device, memory_limit)
        self._outer, self._default = _devices.get(threading.get_ident()), _default
        self._gpu_before, self._limit_before = _use_gpu(self._device), None
        _select(self._device, in_block=self._outer is not None)
        if memory_limit is not None and self._device.backend == "cupy":
            self._limit_before = memory_pool().get_limit()
            memory_pool().set_limit(size=memory_limit)

    def __enter__(self) -> "use":
        _select(self._device, in_block=True)
        if self._outer is None:
            _select(self._default, in_block=False)
        return self

    def __exit__(self, *_: object) -> None:
        if self._limit_before is not None:
            _use_gpu(self._device)  # each GPU has its own limit
            memory_pool().set_limit(size=self._limit_before)
        _leave(self._outer, self._gpu_before)


def resolve(name: str, device: int = 0, memory_limit: int | None = None) -> Device:
    """Return the device for the arguments of `use`, checked, or raise the errors of `use`."""
    for label, value, least in (("device", device, 0), ("memory_limit", memory_limit, 1)):
        if value is not None and not (is_integer(value) and least <= value <= sys.maxsize):
            raise ValueError(
                f"Expected {label} to be a whole number of at least {least}, received: "
                f'{value!r}. Write: tinynet.backend.use("cupy", {label}={least})'
            )
    chosen, why = gpu.resolve_backend(name, device)
    if chosen == "numpy" and name != "auto" and (device or memory_limit is not None):
        raise ValueError(
            "Expected neither a device nor a memory_limit for NumPy, received "
            f"device={device}, memory_limit={memory_limit}. "
            'Write: use("numpy"), or use("cupy", …)'
        )
    if name == "auto":
        print(f"tinynet computes with {chosen}: {why}", file=sys.stderr)
    return Device(chosen, device if chosen == "cupy" else 0)


def default_backend() -> str:
    """Return the value of ``TINYNET_BACKEND``, or ``"numpy"`` if it is unset or empty."""
    return os.environ.get("TINYNET_BACKEND", "").strip() or "numpy"


def backend() -> str:
    """Return the name of the library in use: ``"numpy"`` or ``"cupy"``."""
    return current_device().backend


def current_device() -> Device:
    """Return the device on which new arrays are made."""
    device = _devices.get(threading.get_ident()) or _default
    return use(default_backend())._device if device is None else device


def _select(device: Device | None, in_block: bool) -> None:
    """Compute on `device` in this thread, or in all threads that are not in a ``with`` block."""
    global _default, xp
    with _selecting:
        if not in_block:
            _default = device
        elif device is None:
            del _devices[threading.get_ident()]
        else:
            _devices[threading.get_ident()] = device
        # `xp` is a plain attribute, which is fast, while it is the same for all threads.
        if _default and {each.backend for each in _devices.values()} <= {_default.backend}:
            xp = _library(_default)
        else:
            globals().pop("xp", None)


def _use_gpu(device: Device) -> int | None:
    """Make `device` the current one of CuPy in this thread, and return the number of the last."""
    global _cupy
    if device.backend == "numpy":
        return None
    _cupy = sys.modules["cupy"]  # `gpu.load_cupy` has imported it
    before: int = _cupy.cuda.Device().id
    _cupy.cuda.Device(device.number).use()
    products.cublas(device.number)  # looked at now, and not in a step
    return before


def _leave(outer: Device | None, gpu_before: int | None) -> None:
    """Compute on the device of the `outer` block again, if there is one."""
    _select(outer, in_block=True)
    if gpu_before is not None:
        _cupy.cuda.Device(gpu_before).use()


def _library(device: Device) -> Library:
    return NUMPY if device.backend == "numpy" else sys.modules["cupy"]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        # Resolved when it is used, never at import: importing tinynet selects no backend.
        if name == "xp":
            return _library(current_device())
        return missing.find(__name__, name)


arrays.library_in_use = lambda: _library(current_device())


class use_device:  # noqa: N801, a ``with`` block
    """A ``with`` block in which this thread computes on `device`; None is the current device."""

    def __init__(self, device: Device | None) -> None:
        self._device = device

    def __enter__(self) -> None:
        device = self._device or current_device()
        self._before = _devices.get(threading.get_ident()), _use_gpu(device)
        _select(device, in_block=True)

    def __exit__(self, *_: object) -> None:
        _leave(*self._before)


place_of, wished = device_of, default_backend  # their former names

# Moving numbers


def to_numpy(array: Array) -> HostArray:
    """Return a copy on the host, which later computations of tinynet do not change."""
    return of(array).asnumpy(array) if on_device(array) else numpy.array(array)


def to_active(values: object, dtype: DTypeLike | None = None) -> Array:
    """Return `values` as an array on the current device, copied only if necessary."""
    device = current_device()
    if on_device(values) and device_of(values) != device:
        values = to_numpy(values) if device.backend == "numpy" else values.copy()
    return _library(device).asarray(values, dtype)


def fill(target: Array, source: object) -> None:
    """Copy the values of `source` into `target`, between devices if necessary."""
    with use_device(device_of(target)):
        target[...] = to_active(source)


def to_floats(*values: Array | float) -> list[float]:
    """Return scalars as floats; those on a GPU are copied together, with a single wait."""
    on_gpu = [value for value in values if on_device(value)]
    if not on_gpu:
        return [float(value) for value in values]
    copied = iter(to_numpy(of(on_gpu[0]).stack(on_gpu, dtype="float64")).tolist())
    return [next(copied) if on_device(value) else float(value) for value in values]


def take_rows(array: Array, rows: Array, out: Array | None = None) -> Array:
    """Return ``array[rows]``, on the host gathered into `out` without allocating memory.

    `numpy.take` copies through a temporary buffer unless ``mode="clip"`` makes index checks
    unnecessary; it would also copy the *whole* of an array that is not contiguous. CuPy's `take`
    has no `mode`.
    """
    if on_device(array):
        return array.take(rows, axis=0)
    assert out is not None
    if array.flags.c_contiguous:
        return array.take(rows, axis=0, out=out, mode="clip")
    out[...] = array[rows]
    return out


# Memory


def devices() -> list[gpu.GPUInfo]:
    """Return the GPUs CuPy can see; if there are none, ``python -m tinynet.doctor`` says why."""
    return gpu.devices()


def free_memory() -> int | None:
    """Return the bytes available to new arrays on the GPU in use, or None on the host."""
    if backend() == "numpy":
        return None
    pool, (free, _) = memory_pool(), gpu_memory()
    if limit := pool.get_limit():
        free = min(free, limit - pool.total_bytes())
    return int(max(0, free) + pool.free_bytes())


def gpu_memory() -> tuple[int, int]:
    """Return the free and the total memory of the GPU in use, in bytes."""
    free, total = _cupy.cuda.runtime.memGetInfo()
    return free, total


def memory_pool() -> Any:
    """Return CuPy's memory pool for the GPU in use."""
    return _cupy.get_default_memory_pool()


class Released(NamedTuple):
    """The bytes that CuPy's memory pool held before and after a release."""

    before: int
    after: int


def release_memory() -> Released:
    """Collect garbage, and return the unused memory of CuPy's pool to the GPU.

    CuPy keeps the memory of deleted arrays for new ones; other programs cannot use it.

    Returns:
        The bytes that CuPy's pool holds on the current GPU, before and after; both are 0 if CuPy
        has not been used.
    """
    gc.collect()  # frees arrays in reference cycles
    if _cupy is None:
        return Released(0, 0)
    pool = memory_pool()
    before = pool.total_bytes()  # includes freed blocks until they are released
    pool.free_all_blocks()
    _cupy.get_default_pinned_memory_pool().free_all_blocks()
    return Released(before, pool.total_bytes())


def synchronize() -> None:
    """Wait until the GPU in use has finished all queued work; with NumPy, do nothing."""
    if backend() == "cupy":
        _cupy.cuda.get_current_stream().synchronize()


def is_integer(value: object) -> TypeGuard[int]:
    """Return whether `value` is an integer of Python or NumPy, but not a bool or timedelta64."""
    return isinstance(value, int | numpy.integer) and type(value) not in (bool, numpy.timedelta64)
