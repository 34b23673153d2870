"""The stand-in for CuPy raises where CuPy does, and offers nothing that CuPy lacks.

The comparison with the real package needs no GPU: CuPy's functions have signatures, and the
docstrings of its methods and ufuncs begin with one. No CuPy kernel runs here.
"""

import copy
import importlib
import importlib.util
import inspect
import os
import pickle
import re

import numpy as np
import pytest
import standin

OPERATORS = "add sub mul truediv pow and or eq ne lt le gt ge neg abs invert"


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
        return set(re.findall(r"(?:^|, )(\w+)", signature[1]))


def table(name):
    return sorted(getattr(standin, name))


@pytest.mark.cupy
@pytest.mark.parametrize("name", table("UFUNCS"))
def test_cupy_has_the_ufunc_and_its_keywords(real, name):
    found = getattr(real, name)
    assert isinstance(found, real.ufunc)
    assert standin.UFUNCS[name] <= keywords(found)


@pytest.mark.cupy
@pytest.mark.parametrize("name", table("FUNCTIONS"))
def test_cupy_has_the_function_and_its_keywords(real, name):
    assert standin.FUNCTIONS[name] <= keywords(getattr(real, name))


@pytest.mark.cupy
@pytest.mark.parametrize("name", table("METHODS"))
def test_cupy_arrays_have_the_method_and_its_keywords(real, name):
    assert standin.METHODS[name] <= keywords(getattr(real.ndarray, name))


@pytest.mark.cupy
def test_cupy_arrays_have_the_attributes_and_operators(real):
    for name in standin.ATTRIBUTES:
        assert hasattr(real.ndarray, name)
    for name in OPERATORS.split():
        assert hasattr(real.ndarray, f"__{name}__")
    for name in OPERATORS.split()[:5]:
        assert hasattr(real.ndarray, f"__i{name}__")


@pytest.mark.cupy
def test_cupy_has_the_names_that_describe_the_device(real):
    for name in standin.RUNTIME:
        assert callable(getattr(real.cuda.runtime, name))
    assert issubclass(real.cuda.runtime.CUDARuntimeError, RuntimeError)
    assert issubclass(real.cuda.memory.OutOfMemoryError, MemoryError)
    for name in standin.POOL:
        assert hasattr(real.cuda.MemoryPool, name)
    assert hasattr(real.cuda.PinnedMemoryPool, "free_all_blocks")
    assert hasattr(real.cuda.Stream, "synchronize")
    for name in ("id", "use", "synchronize", "__enter__"):
        assert hasattr(real.cuda.Device, name)
    for name in ("get_default_memory_pool", "get_default_pinned_memory_pool"):
        assert callable(getattr(real, name))
    assert callable(real.cuda.get_current_stream)


@pytest.mark.cupy
@pytest.mark.parametrize(
    ("name", "keyword"), [("take", "mode"), ("max", "initial"), ("sum", "where")]
)
def test_the_comparison_detects_a_keyword_that_cupy_lacks(real, name, keyword):
    assert keyword not in keywords(getattr(real.ndarray, name))
    assert keyword in keywords(getattr(np, name))


def test_the_stand_in_offers_exactly_the_names_in_its_tables():
    cupy = standin.make()
    own = {"counts", "machine", "pools", "pinned", "ndarray", "cuda"}
    pools = {"get_default_memory_pool", "get_default_pinned_memory_pool"}
    offered = {name for name in vars(cupy) if not name.startswith("_")} - own - pools
    assert offered == {*standin.UFUNCS, *standin.FUNCTIONS}
    methods = {name for name in vars(cupy.ndarray) if not name.startswith("_")}
    assert methods <= {*standin.METHODS, *standin.ATTRIBUTES}
    for name, allowed in standin.FUNCTIONS.items():
        assert set(inspect.signature(getattr(cupy, name)).parameters) - {"b", "a"} <= allowed
    for name, allowed in standin.UFUNCS.items():
        assert set(inspect.signature(getattr(cupy, name)).parameters) == {"arguments", *allowed}
    array = cupy.zeros((2, 2))
    for name, allowed in standin.METHODS.items():
        method = getattr(array, name)
        parameters = set(inspect.signature(method).parameters) - {"shape", "axes", "given"}
        assert parameters <= allowed
        if "given" in inspect.signature(method).parameters:
            with pytest.raises(TypeError, match="unexpected keyword argument 'where'"):
                method(where=True)
    assert {name for name in vars(cupy.cuda.runtime) if name[0].islower()} == standin.RUNTIME
    assert {n for n in vars(type(cupy.pools[0])) if n[0] != "_"} - {"take", "give"} == standin.POOL


# Errors and counts


@pytest.fixture
def device(cupy):
    return cupy.asarray(np.arange(6, dtype="float32").reshape(2, 3))


@pytest.mark.parametrize(
    "mistake",
    [
        np.asarray,
        np.exp,
        np.sum,
        lambda a: np.add(a, 1),
        lambda a: np.matmul(a, a.T),
        lambda a: a + np.ones((2, 3), "float32"),
        lambda a: np.ones((2, 3), "float32") + a,
        lambda a: a.__iadd__(np.ones((2, 3), "float32")),
        lambda a: a.__setitem__(Ellipsis, np.ones((2, 3), "float32")),
        lambda a: a[np.array([0])],
        lambda a: a[[0, 1]],
        lambda a: a.take(np.array([0]), axis=0),
        lambda a: a.take(a, axis=0, mode="clip"),
        lambda a: a.sum(where=True),
        lambda a: np.zeros((2, 3), "float32").__setitem__(Ellipsis, a),
        lambda a: np.multiply(2.0, 3.0, out=a),
    ],
)
def test_an_implicit_transfer_between_host_and_device_raises(device, mistake):
    with pytest.raises(TypeError):
        mistake(device)


def test_names_outside_the_tables_are_absent(cupy, device):
    for name in ("errstate", "einsum", "nan_to_num"):
        assert not hasattr(cupy, name)
    for name in ("tobytes", "nonzero", "std", "__array_interface__"):
        assert not hasattr(device, name)


def test_arrays_are_not_numpy_arrays_and_reductions_stay_on_the_device(cupy, device):
    assert not isinstance(device, np.ndarray)
    total = device.sum()
    assert type(total) is type(device)
    assert total.shape == ()
    assert cupy.counts.waits == 0
    assert float(total) == 15
    assert cupy.counts.waits == 1


def test_reading_a_value_is_counted_as_a_wait(cupy, device):
    one = device[0, 0]
    cupy.counts.reset()
    bool(one), int(one), float(one), one.item(), one.get(), cupy.asnumpy(one)
    assert cupy.counts.waits == 6
    assert cupy.counts.launched == 0


def test_operations_are_counted_as_launches_and_views_are_not(cupy, device):
    cupy.counts.reset()
    device[0], device.T, device.reshape(-1), device.ravel(), device[:, 1:], device.shape
    device.astype("float32", copy=False)
    cupy.empty((3,), "float32")
    assert cupy.counts.launched == 0
    device += 1
    cupy.exp(device * 2, out=device)
    device.sum(axis=0)
    device[...] = 0
    cupy.zeros((3,))
    device.astype("float64")
    assert dict(cupy.counts.launches) == {
        "add": 1, "multiply": 1, "exp": 1, "sum": 1, "fill": 1, "zeros": 1, "astype": 1,
    }  # fmt: skip


def test_copies_from_the_host_are_counted_with_their_bytes(cupy, device):
    cupy.counts.reset()
    cupy.asarray(np.zeros(5, "uint8"))
    cupy.asarray([1.0, 2.0], dtype="float32")
    cupy.asarray(device)
    assert cupy.counts.copies == [5, 8]


@pytest.mark.parametrize("kind", ["longdouble", ">f4", "complex64", "U1"])
def test_types_that_no_gpu_supports_are_refused(cupy, kind):
    with pytest.raises(ValueError, match="Unsupported dtype"):
        cupy.asarray(np.zeros(2, kind))


def test_types_are_promoted_as_in_numpy_2(cupy, device):
    assert (device * 2.0).dtype == np.float32
    assert (device * np.float64(2)).dtype == np.float64
    assert (device > 1).dtype == bool
    assert cupy.counts.double == {"multiply": 1}


def test_a_view_has_a_base_and_shares_its_memory(device):
    view = device[1:].reshape(-1)
    assert view.base is device
    view += 10
    assert device.get()[1].tolist() == [13, 14, 15]
    for again in (copy.deepcopy(device), pickle.loads(pickle.dumps(device))):
        again += 1
        assert device.get()[0].tolist() == [0, 1, 2]


def test_arrays_on_different_gpus_cannot_be_combined():
    cupy = standin.make(devices=2)
    first = cupy.asarray([1.0])
    with cupy.cuda.Device(1):
        second = cupy.asarray([2.0])
        with pytest.raises(ValueError, match="array device = 0 while current = 1"):
            first + second
        for use in (lambda: first.astype("int8"), first.sum, lambda: first.clip(0, 1)):
            with pytest.raises(ValueError, match="array device = 0"):
                use()
        assert (first.copy() + second).get() == 3
    assert (first.device.id, second.device.id) == (0, 1)


def test_memory_is_limited_and_cached_until_it_is_freed():
    cupy = standin.make(memory=1000)
    pool = cupy.get_default_memory_pool()
    array = cupy.empty((200,), "float32")
    with pytest.raises(MemoryError, match="allocating 400 bytes"):
        cupy.empty((100,), "float32")
    del array
    assert (pool.used_bytes(), pool.total_bytes(), pool.free_bytes()) == (0, 800, 800)
    pool.free_all_blocks()
    assert pool.total_bytes() == 0
    pool.set_limit(size=100)
    with pytest.raises(MemoryError):
        cupy.empty((100,), "float32")
