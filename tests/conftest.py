"""Shared fixtures: Keras as the oracle, the backends, MNIST, and a fresh global state."""

import functools
import gzip
import importlib.util
import os
import pathlib

import numpy as np
import pytest
import standin

import tinynet
from tinynet import backend
from tinynet.backend import gpu

# The oracle always computes in full float32 on the CPU: on a GPU, JAX and CuPy would use TF32,
# which keeps three of float32's seven digits.
os.environ |= {"JAX_PLATFORMS": "cpu", "JAX_DEFAULT_MATMUL_PRECISION": "highest", "CUPY_TF32": "0"}
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("MPLBACKEND", "Agg")

pytest.register_assert_rewrite("oracle")  # so that its asserts show the compared values

ROOT = pathlib.Path(__file__).resolve().parent.parent


@functools.cache
def without_gpu():
    """Return why the real CuPy cannot compute here, or an empty string if it can."""
    try:
        gpu.load_cupy(0)
    except gpu.UnavailableError as missing:
        return missing.reason
    return ""


def pytest_generate_tests(metafunc):
    """Run each test marked `computes` once on every backend, unless it is also marked `host`."""
    marks = metafunc.definition
    if marks.get_closest_marker("computes") and not marks.get_closest_marker("host"):
        chosen = ["numpy", "stand-in"]
        if not without_gpu():
            chosen.append(pytest.param("gpu", marks=pytest.mark.gpu))
        metafunc.parametrize("library", chosen, indirect=True)


def pytest_report_header():
    if reason := without_gpu():
        return (
            f"GPU: none ({reason}). Tests marked `computes` run on NumPy and a stand-in for CuPy: "
            "this checks names, types, copies and launches, but neither kernels nor speed."
        )
    names = ", ".join(device.name for device in backend.devices())
    return f"GPU: {names}. Tests marked `computes` run on NumPy, a stand-in for CuPy, and CuPy."


def pytest_collection_modifyitems(items):
    """Mark the tests that need Keras, so that `-m "not keras"` leaves them out."""
    for item in items:
        if "keras" in getattr(item, "fixturenames", ()):
            item.add_marker("keras")


@pytest.fixture(scope="session")
def keras():
    """Keras as the oracle; outside CI, tests that need it are skipped where it is missing."""
    if importlib.util.find_spec("keras") is None:
        assert "CI" not in os.environ, "in CI, the tests against Keras must run"
        pytest.skip('Keras is not installed: python -m pip install -e ".[test]"')
    import keras

    return keras


@pytest.fixture(scope="session")
def _standin():
    return standin.make()


@pytest.fixture(autouse=True)
def library(request):
    """The backend that a test computes with: "numpy", "stand-in" or "gpu"."""
    name = getattr(request, "param", "numpy")
    if name == "numpy":
        with backend.use("numpy"):
            yield name
    elif name == "gpu":
        with backend.use("cupy"):
            yield name
    else:
        module = request.getfixturevalue("_standin")
        module.counts.reset()
        with standin.installed(module), backend.use("cupy"):
            yield name


@pytest.fixture
def cupy(library):
    """A new stand-in for CuPy, in use, for tests that run on it alone; its counts are zero."""
    with standin.installed(standin.make()) as module, backend.use("cupy"):
        module.counts.reset()
        yield module


@pytest.fixture(autouse=True)
def _fresh(library):
    """Start every test with the same seed and names, and restore the float type after it."""
    tinynet.utils.set_random_seed(20261122)
    tinynet.utils.clear_session()
    yield
    tinynet.config.set_floatx("float32")


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture(scope="session")
def mnist_directory():
    """The directory of MNIST's four files, in TFDS_DATA_DIR or in `shared/` by the repository."""
    places = [os.environ.get("TFDS_DATA_DIR"), ROOT.parent / "shared" / "tensorflow_datasets"]
    for place in filter(None, places):
        manual = pathlib.Path(place) / "downloads" / "manual"
        if len(list(manual.glob("*-ubyte.gz"))) == 4:
            return manual
    pytest.skip("MNIST is not here: set TFDS_DATA_DIR to a directory that holds it")


@pytest.fixture(scope="session")
def mnist(mnist_directory):
    """MNIST's 60,000 training images and labels, read without tinynet's own reader."""

    def read(name, skip):
        return np.frombuffer(gzip.decompress((mnist_directory / name).read_bytes())[skip:], "uint8")

    return (
        read("train-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28),
        read("train-labels-idx1-ubyte.gz", 8),
    )
