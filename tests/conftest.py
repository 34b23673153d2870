"""Shared fixtures: Keras as the oracle, backends, MNIST, a browser, and a fresh global state."""

import contextlib
import functools
import gzip
import importlib.util
import os
import pathlib
import shutil
import signal
import subprocess

import numpy as np
import pytest
import standin
from networks import SPARSE, tutorial

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


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Run all tests in one process per core; a file or test that is named, in this process."""
    everything = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    without_n = getattr(config.option, "numprocesses", 0) is None  # 0: without pytest-xdist
    if everything and without_n and not hasattr(config, "workerinput"):  # that is, not in a worker
        config.option.numprocesses, config.option.dist = "auto", "loadfile"


@functools.cache
def without_gpu():
    """Return why the real CuPy cannot compute here, or an empty string if it can."""
    try:
        gpu.load_cupy(0)
    except gpu.UnavailableError as missing:
        return missing.reason
    return ""


def pytest_generate_tests(metafunc):
    """Run each test marked `computes` once on every backend, unless it is also marked `host`.

    A test marked ``computes("stand-in")`` is not run on NumPy.
    """
    marks = metafunc.definition
    mark = marks.get_closest_marker("computes")
    if mark and not marks.get_closest_marker("host"):
        chosen = [*mark.args] or ["numpy", "stand-in"]
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
    """Mark the tests that need Keras, and as quick those of the pages that need only NumPy."""
    for item in items:
        if "keras" in getattr(item, "fixturenames", ()):
            item.add_marker("keras")
        elif item.path.parent == ROOT / "tests" and "stand-in" not in item.name:
            item.add_marker("quick")


@pytest.fixture(scope="session", autouse=True)
def _interruptible():
    """Let Ctrl-C interrupt, for the tests of it, where pytest was started with SIGINT ignored.

    `nohup`, a shell's `&` and some CI runners do that, and programs that tests start inherit it.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Program(subprocess.Popen):
    """A program started by a test: it gets `LONGEST` seconds, and can be ended as a whole."""

    LONGEST = 300
    started = []

    def __init__(self, *arguments, **options):
        if os.name == "posix":  # with all that it starts, it is one group of processes
            options.setdefault("start_new_session", True)
        super().__init__(*arguments, **options)
        self.started.append(self)

    def wait(self, timeout=None):
        return super().wait(self.LONGEST if timeout is None else timeout)

    def communicate(self, input=None, timeout=None):
        return super().communicate(input, self.LONGEST if timeout is None else timeout)

    def kill_all(self):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.name == "posix":
                os.killpg(self.pid, signal.SIGKILL)
            else:
                self.kill()


@pytest.fixture(autouse=True)
def _no_process_is_left(monkeypatch):
    """End the programs that the test has started, with all that they have started."""
    monkeypatch.setattr(subprocess, "Popen", Program)
    monkeypatch.setattr(Program, "started", [])
    yield
    for program in Program.started:
        program.kill_all()
        subprocess.Popen.wait(program, 10)


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
    tinynet.utils.clear_session(free_memory=False)  # to collect garbage would slow most tests
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


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium; outside CI, tests that need it are skipped where it is missing."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None or importlib.util.find_spec("playwright") is None:
        assert "CI" not in os.environ, "in CI, the page must be tested in a browser"
        pytest.skip("It needs Chromium (apt-get install chromium) and pip install playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:  # its end also ends the browser
        yield playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])


@pytest.fixture
def visit(browser):
    """Open a page as a file, and assert that it loads nothing else and logs nothing."""
    seen, pages = [], []

    def opened(path, width=1280, height=900, example=False, clock=False, **options):
        """Open it. With a clock, time passes only in `page.clock.run_for`, in milliseconds."""
        page = browser.new_page(viewport={"width": width, "height": height}, **options)
        pages.append(page)
        page.on("console", lambda message: seen.append(message.text))
        page.on("pageerror", lambda error: seen.append(str(error)))
        page.on("request", lambda request: seen.append(request.url))
        if clock:
            page.clock.install(time=0)
            page.clock.pause_at(1)
        page.goto(path.as_uri())
        if not example:
            page.evaluate("cancelExample()")
        return page

    yield opened
    for page in pages:
        page.close()
    inside = ("data:", "blob:")  # parts of the page itself
    assert [one for one in seen if not one.startswith(inside)] == [page.url for page in pages]


# Tests that use it are long; the others make do with small networks.
@pytest.fixture(scope="session", params=[pytest.param("trained", marks=pytest.mark.long)])
def trained(mnist):
    """The tutorial's network after three epochs, with 10,000 other images and their labels."""
    images, labels = mnist[0] / np.float32(255), mnist[1]
    tinynet.utils.set_random_seed(5)
    model = tutorial(loss=SPARSE)
    model.fit(images[:-10_000], labels[:-10_000], epochs=3, verbose=0)
    return model, images[-10_000:], labels[-10_000:]


@pytest.fixture(scope="session")
def digits_page(trained, tmp_path_factory):
    model, x, y = trained
    return tinynet.export_html(model, tmp_path_factory.mktemp("page") / "digits.html", (x, y))


@pytest.fixture
def page(visit, digits_page):
    return visit(digits_page)
