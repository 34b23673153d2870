"""A module that takes CuPy's name on a machine without a GPU, and raises where CuPy raises.

It computes with NumPy, but its arrays are not NumPy arrays: an implicit transfer between host and
device raises an error. It offers only names and keywords that CuPy has, too: `test_standin.py`
compares all of them with the real package. It also counts what costs time on a GPU: launches (one
for each operation), waits for the device, and copies from the host, with their bytes.

Where CuPy is lenient at a cost (it copies a host index at each use, and `np.exp` of a device array
silently calls CuPy), the stand-in raises as well. It cannot test kernels or speed.
"""

import collections
import contextlib
import operator
import re
import sys
import types
import weakref
from unittest import mock

import numpy as np
import pytest

from tinynet.backend import gpu

OPERATORS = {  # and the ufuncs that they call
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "pow": "power",
    "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor", "eq": "equal",
    "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal",
    "abs": "absolute", "neg": "negative", "invert": "invert",
}  # fmt: skip
UFUNCS = (
    *OPERATORS.values(), "exp", "log", "maximum", "positive", "right_shift", "sign", "sqrt", "tanh",
    "trunc",
)  # fmt: skip


class Counts:
    """The launches, waits and copies since the last `reset`."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.launches = collections.Counter()  # by the operation's name
        self.double = 0  # the launches in float64
        self.waits = 0  # how often the host waited for the device
        self.copies = []  # bytes of each copy from host to device

    @property
    def launched(self):
        return sum(self.launches.values())


class NumberedError(RuntimeError):
    """An error with CUDA's status number, as CuPy's errors have."""

    def __init__(self, words, status=0):
        super().__init__(words)
        self.status = status


CUDARuntimeError, CUDADriverError, CUBLASError = (
    type(name, (NumberedError,), {})
    for name in ("CUDARuntimeError", "CUDADriverError", "CUBLASError")
)
OutOfMemoryError = type("OutOfMemoryError", (MemoryError,), {})


class Pool:
    """The memory pool of a GPU: memory of deleted arrays stays in it until it is freed."""

    def __init__(self, memory):
        self._memory, self._limit = memory, 0
        self._used = self._cached = 0

    def _take(self, nbytes):
        self._cached = max(0, self._cached - nbytes)
        if self.total_bytes() + nbytes > (self._limit or self._memory):
            raise OutOfMemoryError(f"Out of memory allocating {nbytes} bytes")
        self._used += nbytes

    def _give(self, nbytes):
        self._used -= nbytes
        self._cached += nbytes

    def total_bytes(self):
        return self._used + self._cached

    def used_bytes(self):
        return self._used

    def free_bytes(self):
        return self._cached

    def free_all_blocks(self):
        self._cached = 0

    def get_limit(self):
        return self._limit

    def set_limit(self, size=None):
        self._limit = size


def make(devices=1, memory=8 * 2**30, driver=12090, runtime=12090, capability="8.6"):
    """Return a new module `cupy`, as it would be on a machine with such GPUs."""
    cupy = types.ModuleType("cupy")
    cupy.__version__ = "14.0.0"
    counts = cupy.counts = Counts()
    # `fails` maps an operation's name, or "count" (counting the GPUs), "enter" (entering one),
    # "launch" (any operation) or "wait", to the error it raises. The results of the operations in
    # `wrong` are off by one.
    machine = cupy.machine = types.SimpleNamespace(device=0, fails={}, wrong=set())

    def happens(*names):
        for name in machine.fails.keys() & names:
            raise machine.fails[name]

    cupy.pools = pools = [Pool(memory) for _ in range(max(1, devices))]

    class Device:
        def __init__(self, device=None):
            self.id = machine.device if device is None else device

        def use(self):
            if self.id >= devices:
                raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
            machine.device = self.id
            return self

        def __enter__(self):
            happens("enter")
            self.before = machine.device
            return self.use()

        def __exit__(self, *_):
            machine.device = self.before

        def synchronize(self):
            counts.waits += 1

    class Event:
        """An event on the stream; what was queued before it is done when it is asked again."""

        asked = 0

        @property
        def done(self):
            self.asked += 1
            return self.asked > 1

    class ndarray:  # noqa: N801, named as in CuPy
        """An array on the device. `_there` is the device's memory, private to the stand-in."""

        __array_ufunc__ = None  # refuse np.exp(array) and operators with a NumPy array
        __hash__ = None

        def __init__(self, there):
            self._there, self.base, self.device = there, None, Device()
            pool = pools[self.device.id]
            pool._take(there.nbytes)
            weakref.finalize(self, pool._give, there.nbytes)

        T = property(lambda self: self.transpose())

        @property
        def flags(self):
            return types.SimpleNamespace(c_contiguous=self._there.flags.c_contiguous)

        def __array__(self, *_, **__):
            raise TypeError("Implicit conversion to a NumPy array is not allowed.")

        __array_function__ = __array__

        # Reading a value waits for the device

        def _wait(self):
            happens("wait")
            counts.waits += 1
            return self._there

        def get(self, out=None, blocking=True):
            if blocking:
                return self._wait().copy()
            out[...] = self._there  # into memory of the host, which has the numbers later
            return out

        def __len__(self):
            return len(self._there)

        # Views cost nothing

        def _view(self, there):
            view = ndarray.__new__(ndarray)
            view._there, view.device = there, self.device
            view.base = self if self.base is None else self.base
            return view

        def reshape(self, *shape):
            there = self._there.reshape(*shape)
            if np.shares_memory(there, self._there) or not there.size:
                return self._view(there)
            return launch("copy", there)

        def ravel(self):
            return self.reshape(-1)

        def transpose(self, *axes):
            return self._view(self._there.transpose(*axes))

        def __getitem__(self, key):
            key, gathers = index(key)
            if gathers:
                return launch("gather", self._there[key])
            return self._view(np.asarray(self._there[key]))

        def __setitem__(self, key, value):
            key, _ = index(key)
            here(self)
            self._there[key] = operand(value)
            counted("fill", self.dtype)

        # Reductions and conversions

        def _launch(self, name, out=None, **given):
            here(self)
            return launch(name, getattr(self._there, name)(**given), out)

        def argmax(self, *, axis=None):
            return self._launch("argmax", axis=axis)

        def max(self, *, axis=None, keepdims=False):
            return self._launch("max", axis=axis, keepdims=keepdims)

        def mean(self, *, axis=None, dtype=None, keepdims=False):
            return self._launch("mean", axis=axis, dtype=dtype, keepdims=keepdims)

        def sum(self, *, axis=None, dtype=None, out=None, keepdims=False):
            return self._launch("sum", out, axis=axis, dtype=dtype, keepdims=keepdims)

        def clip(self, min=None, max=None):
            return self._launch("clip", min=min, max=max)

        def take(self, indices, axis=None):
            return self._launch("take", indices=operand(indices), axis=axis)

        def astype(self, dtype, copy=True):
            return self._launch("astype", dtype=dtype) if copy or self.dtype != dtype else self

        def copy(self):
            return launch("copy", np.array(self._there))

        def __deepcopy__(self, _):
            return self.copy()

        def __reduce__(self):
            return _unpickled, (self.get(),)

    def waiting(name):
        return lambda self: getattr(self._wait(), name)()

    for name in ("dtype", "shape", "ndim", "size", "nbytes"):
        setattr(ndarray, name, property(operator.attrgetter(f"_there.{name}")))
    for name in ("item", "__bool__", "__float__", "__int__", "__index__"):
        setattr(ndarray, name, waiting(name))

    # Checks and counts for every operation

    def here(array):
        if array.device.id != machine.device:
            now = f"array device = {array.device.id} while current = {machine.device}"
            raise ValueError(f"Array device must be same as the current device: {now}")

    def operand(value):
        if isinstance(value, ndarray):
            here(value)
            return value._there
        if isinstance(value, bool | int | float | np.generic):
            return value
        raise TypeError(f"Unsupported type {type(value)}")

    def index(key):
        """Return an index for NumPy, and whether it gathers elements instead of being a view."""
        if isinstance(key, tuple):
            parts = [index(part) for part in key]
            return tuple(part for part, _ in parts), any(gathers for _, gathers in parts)
        if isinstance(key, np.ndarray | list):
            raise TypeError(f"an index from the host: {type(key)}")
        return (key._there, True) if isinstance(key, ndarray) else (key, False)

    def counted(name, *dtypes):
        counts.launches[name] += 1
        counts.double += "float64" in dtypes

    def launch(name, result, out=None):
        happens(name, "launch")
        result = np.array(result) if name in machine.wrong else np.asarray(result)
        if name in machine.wrong:
            result.flat[-1] += 1  # one element is enough
        counted(name, result.dtype)
        if out is None:
            return ndarray(result)
        there = operand(out)
        if there.shape != result.shape:
            raise ValueError("Out shape is mismatched")
        np.copyto(there, result, casting="same_kind")
        return out

    def ufunc(name):
        function = getattr(np, name)

        def call(*arguments, out=None, dtype=None):
            if not any(isinstance(argument, ndarray) for argument in arguments):
                raise TypeError(f"{name} of no device array: {[type(a) for a in arguments]}")
            given = [operand(argument) for argument in arguments]
            with np.errstate(all="ignore"):  # a device does not warn
                return launch(name, function(*given, dtype=dtype), out)

        return call

    for name in UFUNCS:
        setattr(cupy, name, ufunc(name))

    for symbol, name in OPERATORS.items():
        function = getattr(cupy, name)
        setattr(ndarray, f"__{symbol}__", lambda *given, f=function: f(*given))
        setattr(ndarray, f"__r{symbol}__", lambda a, b, f=function: f(b, a))
        setattr(ndarray, f"__i{symbol}__", lambda a, b, f=function: f(a, b, out=a))

    # Functions

    def asarray(a, dtype=None):
        if isinstance(a, ndarray):
            return a if dtype is None or a.dtype == dtype else a.astype(dtype)
        there = np.array(a, dtype)
        if not there.dtype.isnative or there.dtype.char not in "?bhilqBHILQefd":
            raise ValueError(f"Unsupported dtype {there.dtype}")
        counts.copies.append(there.nbytes)
        return ndarray(there)

    def vdot(a, b):
        if a.dtype != b.dtype:
            raise TypeError("vdot of two types")
        counted("vdot", a.dtype)  # two launches in CuPy: a product and a sum
        return launch("vdot", np.vdot(operand(a), operand(b)))

    def stack(tup, dtype=None):
        parts = [operand(part) for part in tup]
        counts.launches["stack"] += len(parts)  # CuPy copies one array after the other
        return ndarray(np.stack(parts, dtype=dtype))

    def empty(shape, dtype=float):
        there = np.empty(shape, dtype)
        if there.dtype.kind == "f":
            there.fill(np.nan)  # so that reading unwritten memory shows up in the result
        return ndarray(there)

    def moveaxis(a, source, destination):
        return a._view(np.moveaxis(a._there, source, destination))

    cupy.asarray, cupy.empty, cupy.ndarray = asarray, empty, ndarray
    cupy.moveaxis, cupy.stack, cupy.vdot = moveaxis, stack, vdot
    cupy.asnumpy = lambda a: a.get() if isinstance(a, ndarray) else np.asarray(a)
    cupy.matmul = lambda a, b, /, out=None: launch("matmul", np.matmul(operand(a), operand(b)), out)
    cupy.dot = lambda a, b, out=None: launch("dot", np.dot(operand(a), operand(b)), out)
    cupy.count_nonzero = lambda a: launch("count_nonzero", np.count_nonzero(operand(a)))
    cupy.arange = lambda start, dtype=None: launch("arange", np.arange(start, dtype=dtype))
    cupy.zeros = lambda shape, dtype=float: launch("zeros", np.zeros(shape, dtype))
    cupy.zeros_like = lambda a: cupy.zeros(a.shape, a.dtype)
    cupy.empty_like = lambda prototype: empty(prototype.shape, prototype.dtype)

    class ElementwiseKernel:
        """A kernel in C++, in which each statement is also one of Python, except for its type."""

        def __init__(self, in_params, out_params, operation, name="kernel", options=()):
            parameters = [p.split() for p in f"{in_params}, {out_params}".split(", ") if p]
            assert all(kind == "T" for kind, _ in parameters)
            self.names = [name for _, name in parameters]
            self.results = out_params.replace("T ", "").split(", ")
            text = re.sub(r"^T ", "", operation, flags=re.MULTILINE)
            text = re.sub(
                r"= (.*) \|\| (.*) \? (\w+) : (\w+)", r"= where((\1) | (\2), \3, \4)", text
            )
            self.code, self.name = compile(text, name, "exec"), name

        def __call__(self, *arguments):
            values = dict(zip(self.names, map(operand, arguments), strict=True))
            kinds = {np.result_type(value) for value in values.values()}
            if len(kinds) > 1 or float in map(type, values.values()):
                raise TypeError(f"Type is mismatched. T {kinds}")
            outs = dict(zip(self.names, arguments, strict=True))
            functions = {"sqrt": np.sqrt, "abs": np.abs, "where": np.where}
            with np.errstate(all="ignore"):
                exec(self.code, functions, found := dict(values))
            counted(self.name, *{str(kind) for kind in kinds})
            for name in self.results:
                np.copyto(operand(outs[name]), found[name])

    cupy.ElementwiseKernel = ElementwiseKernel

    # The device

    def device_count():
        happens("count")
        if devices == 0:
            raise CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
        return devices

    major, minor = map(int, capability.split("."))
    facts = {"totalGlobalMem": memory, "major": major, "minor": minor}
    cupy.cuda = types.SimpleNamespace(
        Device=Device,
        get_current_stream=lambda: types.SimpleNamespace(
            synchronize=Device().synchronize, record=Event
        ),
        alloc_pinned_memory=bytearray,
        runtime=types.SimpleNamespace(
            CUDARuntimeError=CUDARuntimeError,
            driverGetVersion=lambda: driver,
            runtimeGetVersion=lambda: runtime,
            getDeviceCount=device_count,
            getDeviceProperties=lambda device: {"name": f"Stand-in {device}".encode(), **facts},
            memGetInfo=lambda: (memory - pools[machine.device].total_bytes(), memory),
        ),
        memory=types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
    )
    cupy.get_default_memory_pool = lambda: pools[machine.device]
    pinned = types.SimpleNamespace(free_all_blocks=mock.Mock())
    cupy.get_default_pinned_memory_pool = lambda: pinned
    return cupy


def _unpickled(array):
    return sys.modules["cupy"].asarray(array)


@contextlib.contextmanager
def installed(cupy):
    """Make ``import cupy`` find this module within a ``with`` block."""
    gpu.load_cupy.cache_clear()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "cupy", cupy)
            yield cupy
    finally:
        gpu.load_cupy.cache_clear()
