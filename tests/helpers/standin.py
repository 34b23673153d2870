"""A module that takes CuPy's name on a machine without a GPU, and raises where CuPy raises.

It computes with NumPy, but its arrays are not NumPy arrays: an implicit transfer between host and
device raises an error. It offers only the names in the tables below, which `test_standin.py`
compares with the real package, name by name and keyword by keyword. It also counts what costs time
on a GPU: launches (one for each operation), waits for the device, and copies from the host, with
their bytes.

Where CuPy is lenient at a cost (it copies a host index at each use, and `np.exp` of a device array
silently calls CuPy), the stand-in raises as well. It cannot test kernels or speed.
"""

import collections
import contextlib
import sys
import types
import weakref

import numpy as np

from tinynet.backend import gpu

UFUNCS = {
    name: {"out", "dtype"}
    for name in (
        "absolute", "add", "bitwise_and", "bitwise_or", "bitwise_xor", "divide", "equal", "exp",
        "greater", "greater_equal", "invert", "less", "less_equal", "log", "maximum", "multiply",
        "negative", "not_equal", "positive", "power", "right_shift", "sign", "sqrt", "subtract",
        "tanh", "trunc",
    )
}  # fmt: skip
FUNCTIONS = {
    "asarray": {"a", "dtype"},
    "asnumpy": {"a"},
    "arange": {"start", "stop", "step", "dtype"},
    "empty": {"shape", "dtype"},
    "zeros": {"shape", "dtype"},
    "empty_like": {"prototype"},
    "zeros_like": {"a"},
    "stack": {"tup", "dtype"},
    "moveaxis": {"a", "source", "destination"},
    "matmul": {"out"},
    "vdot": {"a", "b"},
    "count_nonzero": {"a", "axis"},
}
METHODS = {
    "argmax": {"axis"},
    "astype": {"dtype", "copy"},
    "clip": {"min", "max"},
    "copy": set(),
    "get": set(),
    "item": set(),
    "max": {"axis", "keepdims"},
    "mean": {"axis", "dtype", "keepdims"},
    "ravel": set(),
    "reshape": set(),
    "sum": {"axis", "dtype", "out", "keepdims"},
    "take": {"indices", "axis", "out"},
    "transpose": set(),
}
ATTRIBUTES = {"T", "base", "device", "dtype", "flags", "nbytes", "ndim", "shape", "size"}
RUNTIME = {
    "driverGetVersion", "runtimeGetVersion", "getDeviceCount", "getDeviceProperties", "memGetInfo",
}  # fmt: skip
POOL = {"free_all_blocks", "free_bytes", "get_limit", "set_limit", "total_bytes", "used_bytes"}

IMPLICIT = (
    "Implicit conversion to a NumPy array is not allowed. "
    "Please use `.get()` to construct a NumPy array explicitly."
)


class Counts:
    """The launches, waits and copies since the last `reset`."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.launches = collections.Counter()  # by the operation's name
        self.double = collections.Counter()  # the launches in float64, by name
        self.waits = 0  # how often the host waited for the device
        self.copies = []  # bytes of each copy from host to device

    @property
    def launched(self):
        return sum(self.launches.values())


class OutOfMemoryError(MemoryError):
    pass


class NumberedError(RuntimeError):
    """An error with CUDA's status number, as CuPy's errors have."""

    def __init__(self, words, status=0):
        super().__init__(words)
        self.status = status


class CUDARuntimeError(NumberedError):
    pass


class CUDADriverError(NumberedError):
    pass


class CUBLASError(NumberedError):
    pass


def make(devices=1, memory=8 * 2**30, driver=12090, runtime=12090, capability="8.6"):
    """Return a new module `cupy`, as it would be on a machine with such GPUs."""
    cupy = types.ModuleType("cupy")
    cupy.__version__ = "14.0.0"
    counts = cupy.counts = Counts()
    # `fails` maps an operation's name, or "count" (counting the GPUs), "enter" (entering one),
    # "launch" (any operation) or "wait", to the error it raises. The results of the operations in
    # `wrong` are off by one.
    machine = types.SimpleNamespace(device=0, fails={}, wrong=set())
    cupy.machine = machine

    def happens(*names):
        for name in names:
            if name in machine.fails:
                raise machine.fails[name]

    class Pool:
        def __init__(self):
            self.used = self.cached = self.limit = 0

        def take(self, nbytes):
            limit = self.limit or memory
            self.cached = max(0, self.cached - nbytes)
            if self.used + self.cached + nbytes > limit:
                raise OutOfMemoryError(f"Out of memory allocating {nbytes} bytes")
            self.used += nbytes

        def give(self, nbytes):
            self.used -= nbytes
            self.cached += nbytes

        def total_bytes(self):
            return self.used + self.cached

        def used_bytes(self):
            return self.used

        def free_bytes(self):
            return self.cached

        def free_all_blocks(self):
            self.cached = 0

        def get_limit(self):
            return self.limit

        def set_limit(self, size=None):
            self.limit = size

    cupy.pools = pools = [Pool() for _ in range(max(1, devices))]

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

        def __eq__(self, other):
            return self.id == other.id

        def synchronize(self):
            counts.waits += 1

    class Flags:
        def __init__(self, flags):
            self.c_contiguous, self.f_contiguous = flags.c_contiguous, flags.f_contiguous

    class ndarray:  # noqa: N801, named as in CuPy
        """An array on the device. `_there` is the device's memory, private to the stand-in."""

        __array_ufunc__ = None  # refuse np.exp(array) and operators with a NumPy array
        __hash__ = None

        def __init__(self, there, base=None, owns=True):
            self._there = there
            self.base = None if base is None else base if base.base is None else base.base
            self.device = Device()
            if base is not None:
                self.device = base.device
            elif owns:
                pool = pools[self.device.id]
                pool.take(there.nbytes)
                weakref.finalize(self, pool.give, there.nbytes)

        dtype = property(lambda self: self._there.dtype)
        shape = property(lambda self: self._there.shape)
        ndim = property(lambda self: self._there.ndim)
        size = property(lambda self: self._there.size)
        nbytes = property(lambda self: self._there.nbytes)
        flags = property(lambda self: Flags(self._there.flags))
        T = property(lambda self: self.transpose())

        def __array__(self, *_, **__):
            raise TypeError(IMPLICIT)

        def __array_function__(self, *_):
            raise TypeError(IMPLICIT)

        def __repr__(self):
            return f"device array {self._there!r}"

        # Reading a value waits for the device

        def _wait(self):
            happens("wait")
            counts.waits += 1
            return self._there

        def get(self):
            return self._wait().copy()

        def item(self):
            return self._wait().item()

        def __bool__(self):
            return bool(self._wait())

        def __float__(self):
            return float(self._wait())

        def __int__(self):
            return int(self._wait())

        def __index__(self):
            return self._wait().__index__()

        def __len__(self):
            return len(self._there)

        # Views cost nothing

        def _view(self, there):
            return ndarray(there, base=self)

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

        def __iter__(self):
            return (self[place] for place in range(len(self)))

        def __setitem__(self, key, value):
            key, _ = index(key)
            here(self)
            self._there[key] = operand(value)
            counted("fill", self.dtype)

        # Reductions and conversions

        def astype(self, dtype, copy=True):
            if not copy and self.dtype == dtype:
                return self
            here(self)
            return launch("astype", self._there.astype(dtype))

        def copy(self):
            return launch("copy", np.array(self._there))

        def __deepcopy__(self, _):
            return self.copy()

        def __reduce__(self):
            return _unpickled, (self.get(),)

        def take(self, indices, axis=None, out=None):
            if not isinstance(indices, ndarray):
                raise TypeError(f"an index from the host: {type(indices)}")
            here(self)
            return launch("take", self._there.take(operand(indices), axis=axis), out)

        def clip(self, min=None, max=None):
            here(self)
            return launch("clip", self._there.clip(min, max))

    def reduction(name):
        def reduce(self, **given):
            out = given.pop("out", None)
            unknown = set(given) - METHODS[name]
            if unknown:
                raise TypeError(
                    f"{name}() got an unexpected keyword argument {sorted(unknown)[0]!r}"
                )
            here(self)
            return launch(name, getattr(self._there, name)(**given), out)

        return reduce

    for name in ("argmax", "max", "mean", "sum"):
        setattr(ndarray, name, reduction(name))

    # Checks and counts for every operation

    def here(array):
        if array.device.id != machine.device:
            raise ValueError(
                f"Array device must be same as the current device: array device = "
                f"{array.device.id} while current = {machine.device}"
            )

    def operand(value):
        if isinstance(value, ndarray):
            here(value)
            return value._there
        if isinstance(value, np.ndarray):
            raise TypeError(f"Unsupported type {type(value)}")
        if isinstance(value, bool | int | float | np.generic):
            return value
        raise TypeError(f"Unsupported type {type(value)}")

    def index(key):
        parts = key if isinstance(key, tuple) else (key,)
        gathers = any(isinstance(part, ndarray) for part in parts)
        for part in parts:
            if isinstance(part, np.ndarray | list):
                raise TypeError(f"an index from the host: {type(part)}")
        there = tuple(p._there if isinstance(p, ndarray) else p for p in parts)
        return (there if isinstance(key, tuple) else there[0]), gathers

    def counted(name, *dtypes):
        counts.launches[name] += 1
        if "float64" in dtypes:
            counts.double[name] += 1

    def launch(name, result, out=None):
        happens(name, "launch")
        result = np.asarray(result)
        if name in machine.wrong:
            result = result + 1
        counted(name, result.dtype)
        if out is None:
            return ndarray(result)
        if not isinstance(out, ndarray):
            raise TypeError(f"Argument 'out' must be cupy.ndarray, not {type(out)}")
        here(out)
        if out.shape != result.shape:
            raise ValueError("Out shape is mismatched")
        if not np.can_cast(result.dtype, out.dtype, "same_kind"):
            raise TypeError(f"Cannot cast from {result.dtype} to {out.dtype}")
        out._there[...] = result
        return out

    def ufunc(name):
        function = getattr(np, name)

        def call(*arguments, out=None, dtype=None):
            if not any(isinstance(argument, ndarray) for argument in arguments):
                raise TypeError(f"{name} of no device array: {[type(a) for a in arguments]}")
            given = [operand(argument) for argument in arguments]
            with np.errstate(all="ignore"):  # a device does not warn
                return launch(name, function(*given, dtype=dtype), out)

        call.__name__ = name
        return call

    for name in UFUNCS:
        setattr(cupy, name, ufunc(name))

    for operator, name in {
        "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "pow": "power",
        "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor",
        "eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater",
        "ge": "greater_equal",
    }.items():  # fmt: skip
        function = getattr(cupy, name)
        setattr(ndarray, f"__{operator}__", lambda a, b, f=function: f(a, b))
        setattr(ndarray, f"__r{operator}__", lambda a, b, f=function: f(b, a))
        setattr(ndarray, f"__i{operator}__", lambda a, b, f=function: f(a, b, out=a))
    ndarray.__abs__ = lambda a: cupy.absolute(a)
    ndarray.__neg__ = lambda a: cupy.negative(a)
    ndarray.__invert__ = lambda a: cupy.invert(a)

    # Functions

    def asarray(a, dtype=None):
        if isinstance(a, ndarray):
            return a if dtype is None or a.dtype == dtype else a.astype(dtype)
        if isinstance(a, list | tuple) and any(isinstance(part, ndarray) for part in a):
            raise TypeError("a list of device arrays: use stack")
        there = np.array(a, dtype)
        if not there.dtype.isnative or there.dtype.char not in "?bhilqBHILQefd":
            raise ValueError(f"Unsupported dtype {there.dtype}")
        counts.copies.append(there.nbytes)
        return ndarray(there)

    def asnumpy(a):
        return a.get() if isinstance(a, ndarray) else np.asarray(a)

    def matmul(a, b, out=None):
        return launch("matmul", np.matmul(operand(a), operand(b)), out)

    def vdot(a, b):
        if a.dtype != b.dtype:
            raise TypeError("vdot of two types")
        counted("vdot", a.dtype)  # two launches in CuPy: a product and a sum
        return launch("vdot", np.vdot(operand(a), operand(b)))

    def stack(tup, dtype=None):
        parts = [operand(part) for part in tup]
        counts.launches["stack"] += len(parts)  # CuPy copies one array after the other
        return ndarray(np.stack(parts, dtype=dtype))

    def zeros(shape, dtype=float):
        return launch("zeros", np.zeros(shape, dtype))

    def empty(shape, dtype=float):
        there = np.empty(shape, dtype)
        if there.dtype.kind == "f":
            there.fill(np.nan)  # so that reading unwritten memory shows up in the result
        return ndarray(there)

    def count_nonzero(a, axis=None):
        return launch("count_nonzero", np.count_nonzero(operand(a), axis=axis))

    cupy.ndarray = ndarray
    cupy.asarray, cupy.asnumpy, cupy.matmul, cupy.vdot = asarray, asnumpy, matmul, vdot
    cupy.stack, cupy.zeros, cupy.empty, cupy.count_nonzero = stack, zeros, empty, count_nonzero
    cupy.empty_like = lambda prototype: empty(prototype.shape, prototype.dtype)
    cupy.zeros_like = lambda a: zeros(a.shape, a.dtype)
    cupy.arange = lambda start, stop=None, step=1, dtype=None: launch(
        "arange",
        np.arange(start, stop, step, dtype) if stop is not None else np.arange(start, dtype=dtype),
    )
    cupy.moveaxis = lambda a, source, destination: a._view(
        np.moveaxis(a._there, source, destination)
    )

    # The device

    def device_count():
        happens("count")
        if devices == 0:
            raise CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
        return devices

    def device_properties(device):
        major, minor = map(int, capability.split("."))
        facts = {"totalGlobalMem": memory, "major": major, "minor": minor}
        return {"name": f"Stand-in {device}".encode(), **facts}

    cupy.cuda = types.SimpleNamespace(
        Device=Device,
        get_current_stream=lambda: types.SimpleNamespace(synchronize=Device().synchronize),
        runtime=types.SimpleNamespace(
            CUDARuntimeError=CUDARuntimeError,
            driverGetVersion=lambda: driver,
            runtimeGetVersion=lambda: runtime,
            getDeviceCount=device_count,
            getDeviceProperties=device_properties,
            memGetInfo=lambda: (memory - pools[machine.device].total_bytes(), memory),
        ),
        memory=types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
    )
    cupy.get_default_memory_pool = lambda: pools[machine.device]
    cupy.pinned = types.SimpleNamespace(freed=0)
    cupy.pinned.free_all_blocks = lambda: vars(cupy.pinned).update(freed=cupy.pinned.freed + 1)
    cupy.get_default_pinned_memory_pool = lambda: cupy.pinned
    return cupy


def _unpickled(array):
    return sys.modules["cupy"].asarray(array)


@contextlib.contextmanager
def installed(cupy):
    """Make ``import cupy`` find this module within a ``with`` block."""
    before = sys.modules.get("cupy")
    sys.modules["cupy"] = cupy
    gpu.load_cupy.cache_clear()
    try:
        yield cupy
    finally:
        gpu.load_cupy.cache_clear()
        sys.modules.pop("cupy")
        if before is not None:
            sys.modules["cupy"] = before
