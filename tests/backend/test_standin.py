"""The stand-in for CuPy raises where CuPy does, and offers nothing that CuPy lacks.

The comparison with the real package needs no GPU: CuPy's functions have signatures, and the
docstrings of its methods and ufuncs begin with one. No CuPy kernel runs here.
"""

import contextlib
import copy
import ctypes
import gc
import importlib
import importlib.util
import inspect
import operator
import os
import pickle
import re
import types

import numpy as np
import pytest
import standin

CUPY = standin.make()
BY_NAME = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
OWN = {"counts", "cublas", "machine", "pools", "scalars"}  # what only a stand-in has
PLACES = {  # of names, in CuPy and in the stand-in
    "cupy": CUPY,
    "ndarray": CUPY.zeros((2, 2)),
    "cuda": CUPY.cuda,
    "cuda.runtime": CUPY.cuda.runtime,
    "cuda.memory": CUPY.cuda.memory,
    "cuda.MemoryPool": CUPY.get_default_memory_pool(),
    "cuda.PinnedMemoryPool": CUPY.get_default_pinned_memory_pool(),
    "cuda.Stream.null": CUPY.cuda.get_current_stream(),
    "cuda.Graph": CUPY.cuda.Graph(None),
    "cuda.Memory": CUPY.cuda.Memory(8),
    "cuda.MemoryPointer": CUPY.cuda.MemoryPool().malloc(8),
    "cuda.Device": CUPY.cuda.Device(),
}
WITH_KEYWORDS = "cupy", "ndarray", "cuda", "cuda.Stream.null", "cuda.Graph"
CLASSES = "Device", "Stream", "Memory", "MemoryPointer", "MemoryPool"  # that users call


def public(thing):
    return sorted(name for name in dir(thing) if not name.startswith("_") and name not in OWN)


# Comparison with the real package


@pytest.fixture(scope="module")
def real():
    """The real CuPy; outside CI, tests that need it are skipped where it is missing."""
    if importlib.util.find_spec("cupy") is None:
        assert "CI" not in os.environ, "in CI, the stand-in must be compared with CuPy"
        pytest.skip("CuPy is not installed: python -m pip install cupy-cuda12x (no GPU needed)")
    return importlib.import_module("cupy")


def keywords(function):
    """Return the argument names of one of CuPy's functions, methods or ufuncs."""
    try:
        return set(inspect.signature(function).parameters)
    except ValueError:
        signature = re.search(r"\((.*?)\)( ->|\n|$)", function.__doc__.strip())
        return set(re.findall(r"(?:^|, )(?:\w+ )?(\w+)", signature[1]))


@pytest.mark.cupy
@pytest.mark.parametrize(
    ("place", "name"), [(place, name) for place, thing in PLACES.items() for name in public(thing)]
)
def test_cupy_has_the_name_and_its_keywords(real, place, name):
    theirs = getattr(real if place == "cupy" else operator.attrgetter(place)(real), name)
    ours = getattr(PLACES[place], name)
    assert callable(theirs) or not callable(ours)
    assert isinstance(theirs, real.ufunc) or name not in standin.UFUNCS
    if place in WITH_KEYWORDS and (inspect.isroutine(ours) or name in CLASSES):
        parameters = inspect.signature(ours).parameters.values()
        assert inspect.Parameter.VAR_KEYWORD not in {parameter.kind for parameter in parameters}
        named = {parameter.name for parameter in parameters if parameter.kind in BY_NAME}
        assert named <= keywords(theirs)


@pytest.mark.cupy
def test_cupy_arrays_have_the_operators_and_its_errors_have_the_bases(real):
    in_place = [f"i{name}" for name in ("add", "sub", "mul", "truediv", "pow")]
    for name in (*standin.OPERATORS, *in_place):
        assert hasattr(real.ndarray, f"__{name}__")
    assert hasattr(real.cuda.Device, "__enter__")
    assert issubclass(real.cuda.runtime.CUDARuntimeError, RuntimeError)
    assert issubclass(real.cuda.memory.OutOfMemoryError, MemoryError)
    # The comparison above detects a keyword that only NumPy has.
    for name, keyword in (("take", "mode"), ("max", "initial"), ("sum", "where")):
        assert keyword in keywords(getattr(np, name)) - keywords(getattr(real.ndarray, name))


# Errors and counts

HOST = np.ones((2, 3), "float32")


@pytest.fixture
def device(cupy):
    array = cupy.asarray(np.arange(6, dtype="float32").reshape(2, 3))
    cupy.counts.reset()
    return array


@pytest.mark.parametrize(
    "mistake",
    [
        np.asarray,
        np.exp,
        np.sum,
        lambda a: a + HOST,
        lambda a: HOST + a,
        lambda a: a.__iadd__(HOST),
        lambda a: a.__setitem__(Ellipsis, HOST),
        lambda a: a[np.array([0])],
        lambda a: a[[0, 1]],
        lambda a: importlib.import_module("cupy").exp(2.0),
        lambda a: importlib.import_module("cupy").vdot(a, HOST),
        lambda a: importlib.import_module("cupy").matmul(a, HOST),
    ],
)
def test_an_implicit_transfer_between_host_and_device_raises(device, mistake):
    with pytest.raises(TypeError):
        mistake(device)


def test_reading_a_value_waits_and_reductions_stay_on_the_device(cupy, device):
    total = device.sum()
    assert (type(total), total.shape, cupy.counts.waits) == (type(device), (), 0)
    values = float(total), int(total), total.item(), total.get(), cupy.asnumpy(total), bool(total)
    assert values == (15, 15, 15, 15, 15, True)
    assert (cupy.counts.waits, cupy.counts.launched) == (6, 1)


def test_operations_are_counted_as_launches_and_views_are_not(cupy, device):
    device[0], device.T, device.reshape(-1), device.ravel(), device[:, 1:], device.shape
    device.astype("float32", copy=False)
    cupy.empty((3,), "float32")
    assert cupy.counts.launched == 0
    device += 1
    cupy.exp(device * 2.0, out=device)
    device.sum(axis=0)
    device[...] = 0
    cupy.zeros((3,))
    device.astype("float64")
    made = ["add", "multiply", "exp", "sum", "fill", "zeros", "astype"]
    assert list(cupy.counts.launches.elements()) == made
    assert cupy.counts.double == 2  # `zeros` and `astype`, and no product with a float of Python


@pytest.mark.parametrize("kind", ["longdouble", ">f4", "complex64", "U1"])
def test_types_that_no_gpu_supports_are_refused(cupy, kind):
    with pytest.raises(ValueError, match="Unsupported dtype"):
        cupy.asarray(np.zeros(2, kind))


def test_a_view_has_a_base_and_shares_its_memory(device):
    view = device[1:].reshape(-1)
    assert view.base is device
    view += 10
    assert device.get()[1].tolist() == [13, 14, 15]
    number = device[0][2]
    number += 4  # also a single number is a view
    assert device.get()[0].tolist() == [0, 1, 6]
    number -= 4
    assert device.view("int32").get()[0, 1] == np.float32(1).view("int32")
    assert (device.T.strides, device[:, 1:].strides) == ((4, 12), (12, 4))
    assert device[1, 1:].data.ptr == device.data.ptr + 16
    for again in (copy.deepcopy(device), pickle.loads(pickle.dumps(device))):
        again += 1
        assert device.get()[0].tolist() == [0, 1, 2]


def test_arrays_on_different_gpus_cannot_be_combined():
    cupy = standin.make(devices=2)
    first = cupy.asarray([1.0])
    with cupy.cuda.Device(1):
        second = cupy.asarray([2.0])
        for use in (lambda: first + second, first.sum):
            with pytest.raises(ValueError, match="array device = 0 while current = 1"):
                use()
        assert (first.copy() + second).get() == 3
    assert (first.device.id, second.device.id) == (0, 1)


def test_a_kernel_takes_numbers_of_the_host_and_of_the_device(cupy, device):
    kernel = cupy.ElementwiseKernel("T a, T n", "T r", "T s = a > n || a != a ? a : T(4.0);\nr = s")
    for number in (np.float32(3.5), cupy.asarray(np.float32(3.5))):
        kernel(device, number, out := cupy.empty_like(device))
        assert out.get().tolist() == [[4, 4, 4], [4, 4, 5]]
        assert (device * number).get().tolist() == [[0, 3.5, 7], [10.5, 14, 17.5]]
    with pytest.raises(ValueError, match="Out shape is mismatched"):
        kernel(device, number, cupy.empty((3,), "float32"))
    cupy.machine.fails = {"launch": RuntimeError("no kernel")}
    with pytest.raises(RuntimeError, match="no kernel"):
        kernel(device, number, out)


# Memory


def test_arrays_take_their_memory_from_the_current_allocator(cupy):
    default, own, kept = cupy.get_default_memory_pool(), cupy.cuda.MemoryPool(), []
    free, total = cupy.cuda.runtime.memGetInfo()

    def keep(size):
        kept.append(own.malloc(size))
        return kept[-1]

    with cupy.cuda.using_allocator(keep):
        array = cupy.empty((10,), "float32")
        with cupy.cuda.using_allocator(own.malloc):
            view = cupy.zeros((5,))[1:]
        with cupy.cuda.using_allocator(None):
            cupy.zeros((5,))
    assert (own.used_bytes(), default.used_bytes()) == (80, 0)
    assert cupy.cuda.runtime.memGetInfo()[0] == free - 80
    assert kept[0].ptr == array.data.ptr
    del view, array
    assert (own.used_bytes(), own.free_bytes()) == (40, 40)  # that of the pointer and of the view
    kept.clear()
    assert own.used_bytes() == 0
    pointer = cupy.zeros((3,)).data
    assert default.used_bytes() == 24
    del pointer
    assert default.used_bytes() == 0
    default.set_limit(100)
    with pytest.raises(standin.OutOfMemoryError), cupy.cuda.using_allocator(default.malloc):
        cupy.zeros((13,))
    default.set_limit(0)
    kept.append(own.malloc(total // 2))  # all pools share the GPU's memory
    with pytest.raises(standin.OutOfMemoryError):
        default.malloc(total // 2 + 1)


def test_several_arrays_can_be_in_one_block_of_memory(cupy):
    block = cupy.cuda.Memory(64)
    with cupy.cuda.using_allocator(lambda size: cupy.cuda.MemoryPointer(block, 16)):
        first, second = cupy.zeros((2, 2)), cupy.arange(4.0)
    assert first.data.ptr == second.data.ptr == block.ptr + 16
    assert first.get().tolist() == [[0, 1], [2, 3]]
    assert block.size == 64


# Capture and replay


class Blas:
    """cuBLAS, called as `tinynet.backend.products` does."""

    def __init__(self, cupy):
        from cupy_backends.cuda.libs import cublas

        self.library = ctypes.CDLL(cublas.__file__)
        self.library.cublasSgemm_v2.argtypes = [ctypes.c_void_p]
        self.handle, self.space = ctypes.c_void_p(), cupy.cuda.Memory(1024)
        assert self.library.cublasCreate_v2(ctypes.byref(self.handle)) == 0

    def on(self, stream, workspace=True):
        self.library.cublasSetStream_v2(self.handle, ctypes.c_void_p(stream.ptr))
        if workspace:
            self.library.cublasSetWorkspace_v2(self.handle, self.space.ptr, ctypes.c_size_t(1024))
        return self

    def matmul(self, a, b, out, longer=(0, 0, 0), factors=(1, 0)):
        """Compute ``out = a @ b``; `longer` is added to the lengths of the rows."""
        (a_turned, a_row), (b_turned, b_row) = (
            (m.strides[1] != 4, max(m.strides) // 4) for m in (a, b)
        )
        alpha, beta = map(ctypes.c_float, factors)
        return self.library.cublasSgemm_v2(
            self.handle, b_turned, ctypes.c_int(a_turned), b.shape[1], a.shape[0], a.shape[1],
            ctypes.byref(alpha), b.data.ptr, b_row + longer[1],
            ctypes.c_void_p(a.data.ptr), a_row + longer[0],
            ctypes.addressof(beta), out.data.ptr, out.strides[0] // 4 + longer[2],
        )  # fmt: skip

    def vdot(self, a, b, out=None):
        """Compute the sum of a · b into `out`, or return it."""
        found = ctypes.c_float()
        self.library.cublasSetPointerMode_v2(self.handle, 0 if out is None else 1)
        result = ctypes.byref(found) if out is None else out.data.ptr
        status = self.library.cublasSdot_v2(
            self.handle, a.size, a.data.ptr, 1, b.data.ptr, 1, result
        )
        self.library.cublasSetPointerMode_v2(self.handle, 0)
        assert status == 0
        return found.value


class Recorder:
    """What a test of captures needs: a stream, and memory that is kept for its graphs."""

    def __init__(self, cupy):
        self.cupy, self.stream, self.blas = cupy, cupy.cuda.Stream(non_blocking=True), Blas(cupy)
        self.pool, self.kept = cupy.cuda.MemoryPool(), []

    def malloc(self, size):
        self.kept.append(self.pool.malloc(size))
        return self.kept[-1]

    def capture(self, function, *given, keep=True):
        """Return the graph of a call, and what the call returned."""
        self.blas.on(self.stream)
        allocator = self.malloc if keep else self.pool.malloc
        with self.stream, self.cupy.cuda.using_allocator(allocator):
            self.stream.begin_capture()
            try:
                returned = function(*given)
            except BaseException:
                with contextlib.suppress(standin.CUDARuntimeError):  # if it is invalid
                    self.stream.end_capture()
                raise
            return self.stream.end_capture(), returned


@pytest.fixture
def recorder(cupy):
    return Recorder(cupy)


def operations(cupy, blas, kernel, x, rows, w, state, total):
    """Compute with all kinds of operations; return the arrays that are made or changed."""
    picked = x.take(rows, axis=0)
    again = x[rows[1:]]  # gathers
    product = cupy.empty((len(rows), w.shape[1]), "float32")
    assert blas.matmul(picked, w, product) == 0
    turned = cupy.empty(w.shape, "float32")
    assert blas.matmul(picked.T, product, turned) == 0
    kernel(turned, total[1], state)  # a number of the device
    product *= 2
    largest = product.max(axis=1, keepdims=True)
    shifted = cupy.exp(product - largest, out=cupy.empty_like(product))
    shifted.sum(axis=0, out=total[2:5])
    blas.vdot(shifted, shifted, total[0])
    dot = cupy.vdot(product, shifted)
    w -= state
    total[5] = 0.25
    total[6:] = total[:2]
    state[rows[:1]] = 7
    place = product.argmax(axis=1)
    chosen = w.take(place, axis=1)  # at indices that are known only in the replay
    both = cupy.stack([dot, total[0]], dtype="float64")
    count = cupy.count_nonzero(place == rows)
    more = cupy.arange(3, dtype="float32"), cupy.zeros((2, 2)), cupy.zeros_like(dot)
    halves = x.astype("float64").clip(0.2, None), x.T.reshape(-1), x.copy(), abs(-x).mean(axis=0)
    made = picked, again, product, turned, largest, shifted, dot, place, chosen, both, count
    return [*made, *more, *halves, w, state, total]


def arguments(cupy, seed):
    rng = np.random.default_rng(seed)
    x, w, state = (rng.normal(size=shape) for shape in ((6, 4), (4, 3), (4, 3)))
    rows, total = rng.integers(0, 6, 5), rng.normal(size=8)
    kinds = "float32", "int64", "float32", "float32", "float32"
    return [
        cupy.asarray(array.astype(kind))
        for array, kind in zip((x, rows, w, state, total), kinds, strict=True)
    ]


def numbers(arrays):
    return [(array.shape, array.dtype, array.get().tobytes()) for array in arrays]


def test_a_replay_computes_what_the_operations_compute(cupy, recorder):
    text = "r = r * n + a"
    given = cupy, recorder.blas, cupy.ElementwiseKernel("T a, T n", "T r", text, "mixed")
    own, counts = arguments(cupy, 0), cupy.counts
    before = numbers(own)
    counts.reset()
    graph, made = recorder.capture(operations, *given, *own)
    assert (counts.launched, counts.waits, counts.double) == (0, 0, 0)
    assert counts.captured == len(graph.scalars) > 30
    assert numbers(own) == before  # nothing is computed yet
    for array in made[:-3]:
        unwritten = np.isnan(array.get()) if array.dtype.kind == "f" else array.get() == 77
        assert unwritten.all()
    recorder.blas.on(cupy.cuda.get_current_stream())
    for seed in (1, 2, 3):
        inputs = arguments(cupy, seed)
        for array, new in zip(own, inputs, strict=True):
            array[...] = new
        for _ in range(2):  # the second replay continues with the results of the first
            counts.reset()
            with recorder.stream:
                graph.launch()
            assert (counts.launches, counts.captured) == ({"graph": 1}, 0)
            assert (counts.replayed, counts.waits) == (len(graph.scalars), 0)
            double = counts.double
            counts.reset()
            expected = operations(*given, *inputs)
            assert double == counts.double > 0
            assert numbers(made) == numbers(expected)


def test_cublas_computes_the_same_bits_as_cupy_and_counts_as_launches(cupy, recorder):
    blas, rng = recorder.blas, np.random.default_rng(1)
    for (rows, inner, columns), turned in [
        ((5, 7, 3), (False, False)), ((5, 7, 3), (True, False)), ((5, 7, 3), (False, True)),
        ((64, 784, 100), (True, True)), ((1, 7, 3), (False, False)), ((5, 1, 1), (False, True)),
    ]:  # fmt: skip
        shapes = (rows, inner), (inner, columns)
        a, b = (
            cupy.asarray(rng.normal(size=shape[:: -1 if turns else 1]).astype("float32"))
            for shape, turns in zip(shapes, turned, strict=True)
        )
        a, b = (array.T if turns else array for array, turns in zip((a, b), turned, strict=True))
        out = cupy.empty((rows, columns), "float32")
        assert blas.matmul(a, b, out) == 0
        assert out.get().tobytes() == cupy.matmul(a, b).get().tobytes()
        assert blas.vdot(out, out, sum_ := cupy.empty((), "float32")) == 0
        assert sum_.get() == cupy.vdot(out, out).get() == np.float32(blas.vdot(out, out))
    part, whole = cupy.zeros((2, 8), "float32"), cupy.asarray(np.eye(2, dtype="float32"))
    assert blas.matmul(whole, whole, part[:, 2:4], factors=(3, 0)) == 0
    assert blas.matmul(whole, whole, part[:, 2:4], factors=(1, 2)) == 0
    assert part.get().tolist() == [[0, 0, 7, 0, 0, 0, 0, 0], [0, 0, 0, 7, 0, 0, 0, 0]]
    assert (cupy.counts.launches["sgemm"], cupy.counts.launches["sdot"]) == (8, 12)
    for longer in ((-1, 0, 0), (0, -1, 0), (0, 0, -7)):
        # CUBLAS_STATUS_INVALID_VALUE
        assert blas.matmul(whole, whole, part, longer) == 7
        assert blas.matmul(whole.T, whole.T, part, longer) == 7
    # The result would end outside of its memory, or has none.
    outside = types.SimpleNamespace(strides=(16, 4), data=part[1, 4:].data)
    with pytest.raises(ValueError, match="size of buffer"):
        blas.matmul(whole, whole, outside)
    outside.data = types.SimpleNamespace(ptr=outside.data.ptr)
    del part
    with pytest.raises(AssertionError, match="no memory in use at the address"):
        blas.matmul(whole, whole, outside)
    cupy.machine.wrong = {"matmul", "vdot"}
    blas.matmul(whole, whole, out := cupy.empty_like(whole))
    assert out.get().tolist() == [[1, 0], [0, 2]]
    assert blas.vdot(whole, whole) == 3
    for name, call in (("matmul", blas.matmul), ("vdot", blas.vdot), ("launch", blas.vdot)):
        cupy.machine.fails = {name: standin.CUBLASError("CUBLAS_STATUS_NOT_SUPPORTED", 15)}
        with pytest.raises(standin.CUBLASError):
            call(whole, whole, out)


def test_cublas_computes_on_one_gpu():
    with standin.installed(standin.make(devices=2)) as cupy:
        blas, here = Blas(cupy), cupy.asarray(HOST[:2, :2])
        with cupy.cuda.Device(1):
            there = cupy.asarray(HOST[:2, :2])
            with pytest.raises(AssertionError, match="a handle of another GPU"):
                blas.matmul(there, there, there)
        with pytest.raises(ValueError, match="array device = 1 while current = 0"):
            blas.matmul(here, there, here)


def test_the_library_of_the_stand_in_is_found_only_while_it_is_installed():
    load = ctypes.CDLL
    for cublas in (True, False):
        cupy = standin.make(cublas=cublas, capability="9.0")
        assert cupy.cuda.Device().compute_capability == "90"
        with standin.installed(cupy):
            if cublas:
                assert Blas(cupy).library is cupy.cublas
                assert isinstance(ctypes.CDLL(None), load)
            else:
                with pytest.raises(ImportError):
                    Blas(cupy)
        assert ctypes.CDLL is load


def test_streams_are_current_within_their_blocks(cupy):
    default, streams = cupy.cuda.get_current_stream(), [cupy.cuda.Stream() for _ in range(2)]
    assert len({default.ptr, *(stream.ptr for stream in streams)}) == 3
    assert default.ptr == 0
    with streams[0] as first, streams[1] as second:
        with first:
            assert cupy.cuda.get_current_stream() is first
        assert cupy.cuda.get_current_stream() is second
    assert cupy.cuda.get_current_stream() is default
    event = default.record()
    assert (event.done, event.done) == (False, True)
    streams[0].synchronize()
    assert cupy.counts.waits == 1


# Mistakes during a capture, with a part of CUDA's message
MISTAKES = {
    "get": (lambda a, **_: a.get(), "Unsupported"),
    "bool": (lambda a, **_: bool(a[0, 0]), "Unsupported"),
    "to the host": (
        lambda a, **_: a.get(out=np.empty((2, 3), "float32"), blocking=False), "Unsupported"
    ),
    "synchronize the device": (
        lambda cupy, **_: cupy.cuda.Device().synchronize(), "operation not permitted when stream"
    ),
    "synchronize the stream": (lambda stream, **_: stream.synchronize(), "Unsupported"),
    "synchronize another stream": (
        lambda default, **_: default.synchronize(), "Unsupported"
    ),
    "copy from the host": (lambda cupy, **_: cupy.asarray(HOST), "Unsupported"),
    "copy a number": (lambda cupy, **_: cupy.asarray(2.0), "Unsupported"),
    "a mask": (lambda a, **_: a[a > 2], "Unsupported"),
    "replay": (lambda graph, **_: graph.launch(), "Unsupported"),
    "begin again": (lambda stream, **_: stream.begin_capture(), "Unsupported"),
    "begin another": (lambda cupy, **_: cupy.cuda.Stream().begin_capture(), "Unsupported"),
    "end another": (lambda default, **_: default.end_capture(), "IllegalState"),
    "another stream": (lambda a, default, **_: within(default, a.sum), "another stream"),
    "fill on another stream": (
        lambda a, default, **_: within(default, lambda: a.__setitem__(..., 1)), "another stream"
    ),
}  # fmt: skip
# And with other errors
OTHER_MISTAKES = {
    "matmul": (
        lambda a, cupy, **_: cupy.matmul(a, a.T), NotImplementedError, "calling cuBLAS API during"
    ),
    "dot": (lambda a, cupy, **_: cupy.dot(a, a.T), NotImplementedError, "calling cuBLAS API"),
    "memory": (
        lambda a, cupy, default_memory, **_: default_memory(lambda: a + 1),
        AssertionError, "memory from outside the graph's own",
    ),
    "empty memory": (
        lambda cupy, default_memory, **_: default_memory(lambda: cupy.empty(3)),
        AssertionError, "memory from outside the graph's own",
    ),
    "cuBLAS elsewhere": (
        lambda a, blas, default, **_: blas.on(default).vdot(a, a, a[0, 0]),
        AssertionError, "cuBLAS computes on another stream",
    ),
    "cuBLAS waits": (lambda a, blas, **_: blas.vdot(a, a), AssertionError, "would wait"),
    "cuBLAS allocates": (
        lambda a, blas, stream, **_: blas.on(stream, workspace=False).matmul(a, a.T, a[:, :2]),
        AssertionError, "cuBLAS would allocate its workspace",
    ),
    "shapes": (lambda a, **_: a.__setitem__(..., a.T), ValueError, "broadcast"),
    "out": (
        lambda a, cupy, **_: cupy.add(a, 1, out=a[0]), ValueError, "Out shape is mismatched"
    ),
    "type": (
        lambda a, cupy, **_: cupy.add(a, 1, out=a.view("int32")), TypeError, "be coerced"
    ),
}  # fmt: skip


def within(stream, call):
    with stream:
        return call()


@pytest.mark.parametrize("name", [*MISTAKES, *OTHER_MISTAKES])
def test_mistakes_in_a_capture_are_found(cupy, device, recorder, name):
    graph, _ = recorder.capture(device.sum)

    def without_allocator(call):
        cupy.machine.allocator = None
        return call()

    given = {
        "a": device, "cupy": cupy, "stream": recorder.stream, "graph": graph,
        "default": cupy.cuda.get_current_stream(), "default_memory": without_allocator,
        "blas": recorder.blas,
    }  # fmt: skip
    mistake, *kinds, said = MISTAKES.get(name) or OTHER_MISTAKES[name]
    before = device.get()
    with pytest.raises(kinds[0] if kinds else standin.CUDARuntimeError, match=said):
        recorder.capture(lambda: mistake(**given))
    assert cupy.machine.capture is None
    assert (device.get() == before).all()
    recorder.capture(device.sum)  # another capture is possible


def test_a_capture_begins_and_ends_once_and_may_fail(cupy, device, recorder):
    stream, default = recorder.stream, cupy.cuda.get_current_stream()
    for call in (stream.end_capture, default.begin_capture):
        with pytest.raises(standin.CUDARuntimeError):
            call()
    assert not stream.is_capturing()
    stream.begin_capture()
    assert stream.is_capturing()
    assert not default.is_capturing()
    stream.end_capture()
    for name in ("capture", "end_capture"):
        cupy.machine.fails = {name: standin.CUDARuntimeError("cudaErrorUnknown", 999)}
        with pytest.raises(standin.CUDARuntimeError, match="Unknown"):
            recorder.capture(device.sum)
        assert not stream.is_capturing()
    cupy.machine.fails = {}
    with stream:
        stream.begin_capture()
        with pytest.raises(standin.CUDARuntimeError):
            device.get()
        with pytest.raises(standin.CUDARuntimeError, match="Invalidated"):
            stream.end_capture()
    graph, total = recorder.capture(device.sum)
    for wrong in ({"sum"}, set()):
        cupy.machine.wrong = wrong
        graph.launch()
        assert total.get() == 15 + len(wrong)
    cupy.machine.fails = {"graph": standin.CUDARuntimeError("cudaErrorUnknown", 999)}
    with pytest.raises(standin.CUDARuntimeError, match="Unknown"):
        graph.launch()


def chain(cupy, blas, a):
    """Compute with intermediate results, of operators or of cuBLAS."""
    b = a + a
    blas.matmul(b, a.T, product := cupy.empty((2, 2), "float32"))
    return product


def test_a_replay_that_uses_recycled_memory_is_found(cupy, device, recorder):
    given = cupy, recorder.blas, device
    graph, made = recorder.capture(chain, *given)
    del made
    gc.collect()
    graph.launch()  # all its memory is kept, though the arrays are gone
    recycled = "a replay uses memory that was recycled"
    recorder.kept.clear()
    with pytest.raises(AssertionError, match=recycled):
        graph.launch()
    graph, made = recorder.capture(chain, *given, keep=False)  # the sum's memory is not kept
    with pytest.raises(AssertionError, match=f"{recycled}, in add"):
        graph.launch()
    # Memory that was there before the capture
    own = cupy.asarray(HOST)
    graph, made = recorder.capture(own.sum)
    graph.launch()
    assert made.get() == 6
    del own
    gc.collect()
    with pytest.raises(AssertionError, match=f"{recycled}, in sum"):
        graph.launch()
    # The workspace of cuBLAS
    square = cupy.asarray(np.eye(2, dtype="float32"))
    graph, _ = recorder.capture(recorder.blas.matmul, square, square, out := square.copy())
    out[...] = 0
    graph.launch()
    assert out.get().tolist() == [[1, 0], [0, 1]]
    del recorder.blas.space
    with pytest.raises(AssertionError, match=f"{recycled}, in sgemm"):
        graph.launch()


def test_a_number_of_the_host_that_changes_between_captures_is_found(cupy, device, recorder):
    kernel = cupy.ElementwiseKernel("T a, T n", "T r", "r = a * n", "scaled")
    uses = [
        lambda n: device * n,
        lambda n: kernel(device, np.float32(n), device),
        lambda n: device.__setitem__(..., n),
        lambda n: device.__setitem__((0, slice(n)), 5),
        lambda n: device.clip(n, 4),
        lambda n: device.take(n),
    ]
    for use in uses:
        for number in (1, 1):
            graph, _ = recorder.capture(use, number)
        with pytest.raises(AssertionError, match="a number of the host changed between two cap"):
            recorder.capture(use, 2)
    assert graph.scalars == [("take", 1)]
    # Other operations, and those of other shapes, have other numbers.
    recorder.capture(lambda: device[1:] * 2)
    recorder.capture(lambda: device + 2)
    recorder.stream.begin_capture()
    with standin.installed(cupy):  # in another test
        recorder.capture(lambda: device * 3)
