"""A module that takes CuPy's name on a machine without a GPU, and raises where CuPy raises.

It computes with NumPy, but its arrays are not NumPy arrays: an implicit transfer between host and
device raises an error. It offers only names and keywords that CuPy has, too: `test_standin.py`
compares all of them with the real package. It also counts what costs time on a GPU: launches (one
for each operation), waits for the device, and copies from the host, with their bytes. It captures
a stream's operations as a graph, and finds what must not be captured, or not replayed.

Where CuPy is lenient at a cost (it copies a host index at each use, and `np.exp` of a device array
silently calls CuPy), the stand-in raises as well. It cannot test kernels or speed.
"""

import collections
import contextlib
import ctypes
import itertools
import operator
import re
import sys
import types
import weakref
from typing import Any, NamedTuple
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
CUBLAS = "the stand-in's cuBLAS"


class Counts:
    """The launches, waits and copies since the last `reset`."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.launches = collections.Counter()  # by the operation's name
        self.double = 0  # the launches in float64
        self.waits = 0  # how often the host waited for the device
        self.copies = []  # bytes of each copy from host to device
        self.captured = 0  # the operations captured: they are no launches
        self.replayed = 0  # the operations in all replays, each of which is one launch, "graph"

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


# Memory and graphs

ALIVE = weakref.WeakValueDictionary()  # all memory of devices that is in use, by its address


class Memory:
    """Memory of a device, an array's or a buffer; it is in use until Python deletes this object."""

    _pool = _there = _device = None

    def __init__(self, size):
        self.size = size

    @property
    def ptr(self):
        if self._there is None:
            self._hold(np.empty(self.size, "uint8"))
        return address(self._there)

    def _hold(self, there):
        self._there = there
        ALIVE[address(there)] = self

    def _at(self, place, shape, strides, dtype):
        """Return a NumPy array at this address; it raises an error if it ends outside."""
        buffer = (ctypes.c_char * self._there.nbytes).from_address(self.ptr)
        buffer.owner = self._there
        return np.ndarray(shape, dtype, buffer, place - self.ptr, strides)

    def __del__(self):
        if self._pool is not None:
            self._pool._give(self.size)


class MemoryPointer:
    """An address in a device's memory, which is in use as long as this object exists."""

    def __init__(self, mem, offset):
        self.mem, self._offset = mem, offset

    ptr = property(lambda self: self.mem.ptr + self._offset)

    def _place(self, there):
        """Return a NumPy array like this one, in this memory."""
        if self.mem._there is None and self._offset == 0:
            self.mem._hold(there)
            return there
        own = self.mem._at(self.ptr, there.shape, there.strides, there.dtype)
        own[...] = there
        return own


def address(there):
    return there.__array_interface__["data"][0]


def memory_at(place):
    found = ALIVE.get(place)
    if found is None:
        alive = [ref() for ref in ALIVE.valuerefs()]  # a list, as other threads allocate, too
        within = (each for each in alive if each and 0 <= place - each.ptr < each.size)
        found = next(within, None)
    assert found is not None, f"no memory in use at the address {place}"
    return found


class Pool:
    """The memory pool of a GPU: memory of deleted arrays stays in it until it is freed.

    Arguments:
        memory: the size of the GPU's memory, in bytes.
        pools: the set of all pools of this GPU.
    """

    def __init__(self, memory, pools):
        self._memory, self._pools, self._limit = memory, pools, 0
        self._used = self._cached = 0
        pools.add(self)

    def malloc(self, size):
        self._cached = max(0, self._cached - size)
        over = self._limit and self.total_bytes() + size > self._limit
        if over or sum(pool.total_bytes() for pool in self._pools) + size > self._memory:
            raise OutOfMemoryError(f"Out of memory allocating {size} bytes")
        self._used += size
        memory = Memory(size)
        memory._pool = self
        return MemoryPointer(memory, 0)

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


class Node(NamedTuple):
    """An operation of a graph. It keeps the contents of memory, but not that memory in use."""

    name: str
    run: Any  # the function that computes and writes
    memory: list  # weak references to the memory that it reads or writes
    numbers: list  # the host's numbers: they are the same in every replay
    shapes: list
    dtype: np.dtype


def make(
    devices=1, memory=8 * 2**30, driver=12090, runtime=12090, capability="8.6", cublas=True
):  # fmt: skip
    """Return a new module `cupy`, as it would be on a machine with such GPUs."""
    cupy = types.ModuleType("cupy")
    cupy.__version__ = "14.0.0"
    counts = cupy.counts = Counts()
    machine = cupy.machine = types.SimpleNamespace(
        device=0, stream=None, allocator=None,
        capture=None,  # the graph under capture
        captured={},  # the host's numbers in earlier graphs, by the names and shapes
        # The errors to raise, by an operation's name, or "count" (counting the GPUs), "enter"
        # (entering one), "launch" (any operation), "wait", "capture" (its begin) or "end_capture".
        fails={},
        wrong=set(),  # the operations whose results are off by one
    )  # fmt: skip
    major, minor = map(int, capability.split("."))

    def happens(*names):
        for name in machine.fails.keys() & names:
            raise machine.fails[name]

    def refuse(words="operation not permitted when stream is capturing"):
        """Raise CUDA's error during a capture, which is then invalid, as on a GPU."""
        if machine.capture is not None:
            machine.capture._valid = False
            raise CUDARuntimeError(f"cudaErrorStreamCaptureUnsupported: {words}", 900)

    groups = [weakref.WeakSet() for _ in range(max(1, devices))]  # of the pools of each GPU
    cupy.pools = pools = [Pool(memory, group) for group in groups]

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
            refuse()
            counts.waits += 1

        compute_capability = f"{major}{minor}"

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
            there = there if there.flags.owndata else there.copy()
            self.base, self.device = None, Device()
            outside = machine.capture is not None and machine.allocator is None
            assert not outside, "memory from outside the graph's own"
            pointer = (machine.allocator or pools[machine.device].malloc)(there.nbytes)
            self._there, self._memory = pointer._place(there), pointer.mem
            self._memory._device = self.device

        T = property(lambda self: self.transpose())

        @property
        def flags(self):
            return types.SimpleNamespace(c_contiguous=self._there.flags.c_contiguous)

        @property
        def data(self):
            return MemoryPointer(self._memory, address(self._there) - self._memory.ptr)

        def __array__(self, *_, **__):
            raise TypeError("Implicit conversion to a NumPy array is not allowed.")

        __array_function__ = __array__

        # Reading a value waits for the device

        def _wait(self):
            refuse()
            happens("wait")
            counts.waits += 1
            return self._there

        def get(self, out=None, blocking=True):
            if blocking:
                return self._wait().copy()
            refuse()
            out[...] = self._there  # into memory of the host, which has the numbers later
            return out

        def __len__(self):
            return len(self._there)

        # Views cost nothing

        def _view(self, there):
            view = ndarray.__new__(ndarray)
            view._there, view._memory, view.device = there, self._memory, self.device
            view.base = self if self.base is None else self.base
            return view

        def reshape(self, *shape):
            there = self._there.reshape(*shape)
            if np.shares_memory(there, self._there) or not there.size:
                return self._view(there)
            return launch("copy", lambda there: there.reshape(*shape), self)

        def view(self, dtype):
            return self._view(self._there.view(dtype))

        def ravel(self):
            return self.reshape(-1)

        def transpose(self, *axes):
            return self._view(self._there.transpose(*axes))

        def __getitem__(self, key):
            key = index(key)
            if any(isinstance(part, ndarray) for part in key):
                return launch("gather", lambda there, *key: there[key], self, *key)
            whole = () if any(part is ... for part in key) else (...,)
            return self._view(self._there[key + whole])  # a view even if it is a single number

        def __setitem__(self, key, value):
            happens("fill", "launch")
            there, *there_key, given = map(operand, (self, *(key := index(key)), value))
            there_key = tuple(there_key)
            if machine.capture is not None and not any(isinstance(part, ndarray) for part in key):
                np.empty_like(there[there_key])[...] = given  # raises what it would raise later
            run = lambda: there.__setitem__(there_key, given)  # noqa: E731
            enqueue("fill", run, self.dtype, self, *key, value)

        # Reductions and conversions

        def _launch(self, name, out=None, **given):
            return launch(name, lambda there, *_: getattr(there, name)(**given), self, out=out)

        def argmax(self, *, axis=None):
            return self._launch("argmax", axis=axis)

        def max(self, *, axis=None, keepdims=False):
            return self._launch("max", axis=axis, keepdims=keepdims)

        def mean(self, *, axis=None, dtype=None, keepdims=False):
            return self._launch("mean", axis=axis, dtype=dtype, keepdims=keepdims)

        def sum(self, *, axis=None, dtype=None, out=None, keepdims=False):
            return self._launch("sum", out, axis=axis, dtype=dtype, keepdims=keepdims)

        def clip(self, min=None, max=None):
            ends = [end for end in (min, max) if end is not None]
            return launch("clip", lambda there, *_: there.clip(min, max), self, *ends)

        def take(self, indices, axis=None):
            return launch("take", lambda a, rows: a.take(rows, axis), self, indices)

        def astype(self, dtype, copy=True):
            return self._launch("astype", dtype=dtype) if copy or self.dtype != dtype else self

        def copy(self):
            here = self._view(self._there)  # it may be on another device
            here.device = Device()
            return launch("copy", np.array, here)

        def __deepcopy__(self, _):
            return self.copy()

        def __reduce__(self):
            return _unpickled, (self.get(),)

    def waiting(name):
        return lambda self: getattr(self._wait(), name)()

    for name in ("dtype", "shape", "ndim", "size", "nbytes", "itemsize", "strides"):
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
        if isinstance(value, bool | int | float | np.generic | slice | types.EllipsisType):
            return value
        raise TypeError(f"Unsupported type {type(value)}")

    def index(key):
        """Return a tuple of the parts of an index, which are not from the host."""
        key = key if isinstance(key, tuple) else (key,)
        for part in key:
            if isinstance(part, np.ndarray | list):
                raise TypeError(f"an index from the host: {type(part)}")
            if isinstance(part, ndarray) and part.dtype == bool:
                refuse()  # CuPy waits for the number of elements
        return key

    def counted(name, dtype):
        counts.launches[name] += 1
        counts.double += dtype == "float64"

    def on_stream():
        if machine.capture is not None and machine.stream is not machine.capture._stream:
            refuse("operation on another stream than the one that is capturing")

    def launch(name, compute, *operands, out=None, fails=None):
        """Compute from the NumPy arrays and the numbers of `operands` into `out` or a new array.

        In a capture, do so at each replay. `fails` is the name in `machine`, if it is another.
        """
        happens(fails or name, "launch")
        if machine.capture is not None and name in ("matmul", "dot"):
            raise NotImplementedError(
                "calling cuBLAS API during stream capture is currently unsupported"
            )
        on_stream()
        given = [operand(each) for each in operands]

        def result(given=given):
            with np.errstate(all="ignore"):  # a device does not warn
                found = np.asarray(compute(*given))
            if (fails or name) in machine.wrong:
                found = np.array(found)
                found.flat[-1] += 1  # one element is enough
            return found

        if machine.capture is None:
            found = result()
            value = lambda: found  # noqa: E731
            if out is None:
                counted(name, found.dtype)
                return ndarray(found)
        else:
            value, found = result, np.array(result([harmless(each) for each in given]))
            found.fill(np.nan if found.dtype.kind == "f" else 77)
            out = ndarray(found) if out is None else out
        there = operand(out)
        if there.shape != found.shape:
            raise ValueError("Out shape is mismatched")
        if not np.can_cast(found.dtype, there.dtype, "same_kind"):
            raise TypeError(f"output (typecode {there.dtype}) could not be coerced")
        run = lambda: np.copyto(there, value(), casting="same_kind")  # noqa: E731
        enqueue(name, run, found.dtype, *operands, out)
        return out

    def harmless(given):
        """Replace indices, which before a replay may be out of bounds, by zeros."""
        indices = isinstance(given, np.ndarray) and given.dtype.kind in "iu"
        return np.zeros_like(given) if indices else given

    def enqueue(name, run, dtype, *operands):
        """Run what writes to the device's memory, now or, in a capture, at each replay."""
        on_stream()
        if machine.capture is None:
            counted(name, dtype)
            run()
            return
        arrays = [each for each in operands if isinstance(each, ndarray)]
        numbers = [each for each in operands if not isinstance(each, ndarray)]
        memory = [weakref.ref(array._memory) for array in arrays]
        node = Node(name, run, memory, numbers, [array.shape for array in arrays], dtype)
        machine.capture._nodes.append(node)
        counts.captured += 1

    def ufunc(name):
        function = getattr(np, name)

        def call(*arguments, out=None, dtype=None):
            if not any(isinstance(argument, ndarray) for argument in arguments):
                raise TypeError(f"{name} of no device array: {[type(a) for a in arguments]}")
            return launch(name, lambda *given: function(*given, dtype=dtype), *arguments, out=out)

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
        refuse()
        counts.copies.append(there.nbytes)
        return ndarray(there)

    def vdot(a, b):
        if a.dtype != b.dtype:
            raise TypeError("vdot of two types")
        # Two launches in CuPy: a product and a sum.
        on_stream()
        enqueue("vdot", lambda: None, a.dtype, a, b)
        return launch("vdot", np.vdot, a, b)

    def stack(tup, dtype=None):
        parts = [operand(part) for part in tup]
        dtype = np.result_type(*parts) if dtype is None else dtype
        whole = empty((len(parts), *parts[0].shape), dtype)
        for number, part in enumerate(tup):  # CuPy copies one array after the other
            launch("stack", np.positive, part, out=whole[number])
        return whole

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
    cupy.matmul = lambda a, b, /, out=None: launch("matmul", np.matmul, a, b, out=out)
    cupy.dot = lambda a, b, out=None: launch("dot", np.dot, a, b, out=out)
    cupy.count_nonzero = lambda a: launch("count_nonzero", np.count_nonzero, a)
    cupy.arange = lambda start, dtype=None: launch(
        "arange", lambda stop: np.arange(stop, dtype=dtype), start
    )
    cupy.zeros = lambda shape, dtype=float: launch("zeros", lambda: np.zeros(shape, dtype))
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
                r"= (.*) \|\| (.*) \? ([^;]+) : ([^;]+)", r"= where((\1) | (\2), \3, \4)", text
            )
            self.code, self.name = compile(text, name, "exec"), name

        def __call__(self, *arguments):
            happens(self.name, "launch")
            on_stream()
            values = dict(zip(self.names, map(operand, arguments), strict=True))
            kinds = {np.result_type(value) for value in values.values()}
            if len(kinds) > 1 or float in map(type, values.values()):
                raise TypeError(f"Type is mismatched. T {kinds}")
            results, (kind,) = [values[name] for name in self.results], kinds
            shape = np.broadcast_shapes(*map(np.shape, values.values()))
            if any(result.shape != shape for result in results):
                raise ValueError("Out shape is mismatched")
            names = "sqrt", "abs", "exp", "log", "log1p", "where"
            functions = {name: getattr(np, name) for name in names} | {"T": kind.type}

            def run():
                with np.errstate(all="ignore"):
                    exec(self.code, functions, found := dict(values))
                for name, result in zip(self.results, results, strict=True):
                    np.copyto(result, found[name])

            enqueue(self.name, run, kind, *arguments)

    cupy.ElementwiseKernel = ElementwiseKernel

    # Streams and graphs

    class Graph:
        """The operations that a stream has captured."""

        def __init__(self, stream):
            self._stream, self._nodes, self._valid = stream, [], True

        @property
        def scalars(self):
            """The name of each operation, with the host's numbers in it."""
            return [(node.name, *node.numbers) for node in self._nodes]

        def launch(self, stream=None):
            refuse()
            happens("graph", "launch")
            for node in self._nodes:
                used = all(reference() is not None for reference in node.memory)
                assert used, f"a replay uses memory that was recycled, in {node.name}"
            for node in self._nodes:
                node.run()
                counts.double += node.dtype == "float64"
            counts.launches["graph"] += 1
            counts.replayed += len(self._nodes)

    numbers = itertools.count(1)

    class Stream:
        def __init__(self, null=False, non_blocking=False, ptds=False):
            self.ptr, self._before = 0 if null else next(numbers), []

        def __enter__(self):
            self._before.append(machine.stream)
            machine.stream = self
            return self

        def __exit__(self, *_):
            machine.stream = self._before.pop()

        def synchronize(self):
            Device().synchronize()

        def record(self, event=None):
            return event or Event()

        def is_capturing(self):
            return machine.capture is not None and machine.capture._stream is self

        def begin_capture(self, mode=None):
            happens("capture")
            if self.ptr == 0 or machine.capture is not None:
                words = "operation not permitted on the default stream, or when one is capturing"
                raise CUDARuntimeError(f"cudaErrorStreamCaptureUnsupported: {words}", 900)
            machine.capture = Graph(self)

        def end_capture(self):
            if not self.is_capturing():
                raise CUDARuntimeError("cudaErrorIllegalState: this stream is not capturing", 401)
            graph, machine.capture = machine.capture, None
            happens("end_capture")
            if not graph._valid:
                words = "operation failed due to a previous error during capture"
                raise CUDARuntimeError(f"cudaErrorStreamCaptureInvalidated: {words}", 901)
            kind = str([(node.name, len(node.numbers), node.shapes) for node in graph._nodes])
            earlier = machine.captured.setdefault(kind, graph.scalars)
            for before, now in zip(earlier, graph.scalars, strict=True):
                assert repr(before) == repr(now), (
                    "a number of the host changed between two captures: "
                    f"{before}, then {now}; name it"
                )
            return graph

    machine.stream = Stream(null=True)

    class MemoryPool(Pool):
        def __init__(self, allocator=None):
            super().__init__(memory, groups[machine.device])

    @contextlib.contextmanager
    def using_allocator(allocator=None):
        raw = lambda size: MemoryPointer(Memory(size), 0)  # noqa: E731, without a pool
        before, machine.allocator = machine.allocator, allocator or raw
        try:
            yield
        finally:
            machine.allocator = before

    def array_at(place, shape, strides):
        """Return the float32 numbers at an address as an array of the device."""
        array = ndarray.__new__(ndarray)
        array._memory, array.base = memory_at(place), None
        array.device = array._memory._device or Device()
        array._there = array._memory._at(place, shape, strides, "float32")
        return array

    cupy.cublas = make_cublas(machine, launch, array_at) if cublas else None

    # The device

    def device_count():
        happens("count")
        if devices == 0:
            raise CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
        return devices

    def free_and_total():
        return memory - sum(pool.total_bytes() for pool in groups[machine.device]), memory

    facts = {"totalGlobalMem": memory, "major": major, "minor": minor}
    cupy.cuda = types.SimpleNamespace(
        Device=Device,
        Graph=Graph,
        Memory=Memory,
        MemoryPointer=MemoryPointer,
        MemoryPool=MemoryPool,
        Stream=Stream,
        get_current_stream=lambda: machine.stream,
        using_allocator=using_allocator,
        alloc_pinned_memory=bytearray,
        runtime=types.SimpleNamespace(
            CUDARuntimeError=CUDARuntimeError,
            driverGetVersion=lambda: driver,
            runtimeGetVersion=lambda: runtime,
            getDeviceCount=device_count,
            getDeviceProperties=lambda device: {"name": f"Stand-in {device}".encode(), **facts},
            memGetInfo=free_and_total,
        ),
        memory=types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
    )
    cupy.get_default_memory_pool = lambda: pools[machine.device]
    pinned = types.SimpleNamespace(free_all_blocks=mock.Mock())
    cupy.get_default_pinned_memory_pool = lambda: pinned
    return cupy


def make_cublas(machine, launch, array_at):
    """Return the functions of cuBLAS for float32, to be called by ctypes, with addresses."""
    handles = {}
    invalid, host, whole = 7, 0, 4  # CUBLAS_STATUS_INVALID_VALUE, …_POINTER_MODE_HOST, bytes

    def number(argument):
        """Return the number that is given as such, as an object of ctypes, or by reference."""
        argument = getattr(argument, "_obj", argument)
        return getattr(argument, "value", argument) or 0

    def of_host(pointer):
        """Return the object of ctypes that a pointer into the host's memory refers to."""
        given = hasattr(pointer, "_obj")
        return pointer._obj if given else ctypes.c_float.from_address(number(pointer))

    def create(handle):
        handle._obj.value = len(handles) + 1
        handles[len(handles) + 1] = types.SimpleNamespace(
            stream=0, workspace=None, mode=host, device=machine.device
        )
        return 0

    def set_stream(handle, stream):
        about = handles[number(handle)]
        about.stream, about.workspace = number(stream), None  # that of cuBLAS
        return 0

    def set_workspace(handle, workspace, size):
        handles[number(handle)].workspace = number(workspace), number(size)
        return 0

    def set_mode(handle, mode):
        handles[number(handle)].mode = number(mode)
        return 0

    def in_use(handle):
        """Return what is set for a handle, and the workspace, if it is not that of cuBLAS."""
        about = handles[number(handle)]
        assert about.device == machine.device, "a handle of another GPU"
        assert about.stream == machine.stream.ptr, "cuBLAS computes on another stream"
        if about.workspace is None:
            assert machine.capture is None, "cuBLAS would allocate its workspace"
            return about, []
        place, size = about.workspace
        return about, [array_at(place, (size // whole,), (whole,))]

    def sgemm(handle, a_turned, b_turned, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
        """Compute C = α op(A) op(B) + β C, column by column: row by row, Cᵀ = op(B)ᵀ op(A)ᵀ."""
        a_turned, b_turned, m, n, k, lda, ldb, ldc = map(
            number, (a_turned, b_turned, m, n, k, lda, ldb, ldc)
        )
        lengths = (lda, k if a_turned else m), (ldb, n if b_turned else k), (ldc, m)
        if min(m, n, k) < 0 or any(length < max(1, least) for length, least in lengths):
            return invalid
        about, workspace = in_use(handle)
        assert about.mode == host, "α and β are in the host's memory"
        if not m or not n:
            return 0

        def matrix(place, rows, columns, length, turned):
            strides = (whole, length * whole) if turned else (length * whole, whole)
            return array_at(number(place), (rows, columns), strides)

        def compute(left, right, old, alpha, beta, *_):
            product = np.matmul(left, right)
            product = product if alpha == 1 else np.float32(alpha) * product
            return product + np.float32(beta) * old if beta else product

        left, right = matrix(b, n, k, ldb, b_turned), matrix(a, k, m, lda, a_turned)
        out, factors = matrix(c, n, m, ldc, False), (of_host(alpha).value, of_host(beta).value)
        launch("sgemm", compute, left, right, out, *factors, *workspace, out=out, fails="matmul")
        return 0

    def sdot(handle, n, x, x_step, y, y_step, result):
        n, x_step, y_step = map(number, (n, x_step, y_step))
        about, workspace = in_use(handle)
        if about.mode == host:
            assert machine.capture is None, "cuBLAS would wait, for a result in the host's memory"
        pairs = (x, x_step), (y, y_step)
        vectors = [array_at(number(place), (n,), (step * whole,)) for place, step in pairs]
        out = None if about.mode == host else array_at(number(result), (), ())
        product = lambda x, y, *_: np.vdot(x, y)  # noqa: E731
        found = launch("sdot", product, *vectors, *workspace, out=out, fails="vdot")
        if about.mode == host:
            of_host(result).value = float(found)
        return 0

    return types.SimpleNamespace(
        cublasCreate_v2=create, cublasSetStream_v2=set_stream, cublasSetWorkspace_v2=set_workspace,
        cublasSetPointerMode_v2=set_mode, cublasSgemm_v2=sgemm, cublasSdot_v2=sdot,
    )  # fmt: skip


def _unpickled(array):
    return sys.modules["cupy"].asarray(array)


@contextlib.contextmanager
def installed(cupy):
    """Make ``import cupy`` find this module within a ``with`` block, and ctypes its cuBLAS."""
    gpu.load_cupy.cache_clear()
    cupy.machine.capture = None  # a failed test may have left one, and the graphs of other tests
    cupy.machine.captured.clear()  # may have other numbers
    backends = [f"cupy_backends{name}" for name in ("", ".cuda", ".cuda.libs")]

    class Library(ctypes.CDLL):
        def __new__(cls, name=None, *_, **__):
            return cupy.cublas if name == CUBLAS else super().__new__(cls)

    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "cupy", cupy)
            # To look through all installed packages would take longer than most tests.
            patch.setattr(gpu, "cupy_packages", list)
            for name in backends:  # None lets an import fail
                patch.setitem(sys.modules, name, types.ModuleType(name) if cupy.cublas else None)
            if cupy.cublas is not None:
                sys.modules[name].cublas = types.SimpleNamespace(__file__=CUBLAS)
                patch.setattr(ctypes, "CDLL", Library)
            yield cupy
    finally:
        gpu.load_cupy.cache_clear()
