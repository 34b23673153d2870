"""The stand-in for CuPy raises where CuPy does, and offers nothing that CuPy lacks.

The comparison with the real package needs no GPU: CuPy's functions have signatures, and the
docstrings of its methods and ufuncs begin with one. No CuPy kernel runs here.
"""

import copy
import importlib
import importlib.util
import inspect
import operator
import os
import pickle
import re

import numpy as np
import pytest
import standin

CUPY = standin.make()
BY_NAME = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
OWN = {"counts", "machine", "pools"}  # what only a stand-in has
PLACES = {  # of names, in CuPy and in the stand-in
    "cupy": CUPY,
    "ndarray": CUPY.zeros((2, 2)),
    "cuda": CUPY.cuda,
    "cuda.runtime": CUPY.cuda.runtime,
    "cuda.memory": CUPY.cuda.memory,
    "cuda.MemoryPool": CUPY.get_default_memory_pool(),
    "cuda.PinnedMemoryPool": CUPY.get_default_pinned_memory_pool(),
    "cuda.Stream": CUPY.cuda.get_current_stream(),
    "cuda.Device": CUPY.cuda.Device(),
}


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
        return set(re.findall(r"(?:^|, )(\w+)", signature[1]))


@pytest.mark.cupy
@pytest.mark.parametrize(
    ("place", "name"), [(place, name) for place, thing in PLACES.items() for name in public(thing)]
)
def test_cupy_has_the_name_and_its_keywords(real, place, name):
    theirs = getattr(real if place == "cupy" else operator.attrgetter(place)(real), name)
    ours = getattr(PLACES[place], name)
    assert callable(theirs) or not callable(ours)
    assert isinstance(theirs, real.ufunc) or name not in standin.UFUNCS
    if place in ("cupy", "ndarray") and inspect.isroutine(ours):
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
