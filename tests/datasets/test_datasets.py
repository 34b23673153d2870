"""The two data sets of digits: what is loaded, from where, and the errors when loading fails.

MNIST is too large to test every way of loading it, so most tests replace it by four tiny files of
the same names, and replace the sizes and checksums in `mnist` as well. The download is done by the
real tensorflow-datasets, from a server on this machine.
"""

import contextlib
import gzip
import hashlib
import http.server
import importlib
import io
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tinynet.datasets import digits, mnist

ROOT = Path(__file__).parents[2]
NAMES = list(mnist.FILES)


def idx(array):
    """Return `array` in the IDX format, written independently of the reader."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def snapshot(folder):
    """Return the contents and modification times of everything below `folder`."""
    return {p: (p.stat().st_mtime_ns, p.is_file() and p.read_bytes()) for p in folder.rglob("*")}


def load_list(*arguments, load=mnist.load_data):
    (x_train, y_train), (x_test, y_test) = load(*arguments)
    return [x_train, y_train, x_test, y_test]


def check(received, expected):
    for array, truth in zip(received, expected, strict=True):
        np.testing.assert_array_equal(array, truth)
        assert array.dtype == np.uint8
        for flag in ("WRITEABLE", "OWNDATA", "C_CONTIGUOUS"):
            assert array.flags[flag], flag


def run_python(code):
    """Return what `code` prints in a new interpreter, to standard error as well."""
    command = [sys.executable, "-W", "error", "-c", f"import sys; sys.stderr = sys.stdout\n{code}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    return subprocess.check_output(command, env=environment, encoding="utf-8", timeout=60)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Four tiny files that replace MNIST, empty data folders, and no proxy.

    `arrays` is what `load_data` must return, `packed` the content of the files, `known` their sizes
    and checksums, `store` TFDS's folder for downloads, `manual` its subfolder for files added by
    the user, and `copy` Keras's file. None of these exists yet.
    """
    rng = np.random.default_rng(1)
    shapes = [(7, 4, 5), (7,), (3, 4, 5), (3,)]
    arrays = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
    packed = [gzip.compress(idx(array), mtime=0) for array in arrays]
    known = [(len(data), hashlib.sha256(data).hexdigest()) for data in packed]
    monkeypatch.setattr(mnist, "FILES", dict(zip(NAMES, known, strict=True)))
    monkeypatch.setattr(mnist, "SHAPES", dict(zip(mnist.SHAPES, shapes, strict=True)))
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, folder in (("TFDS_DATA_DIR", "tfds"), ("KERAS_HOME", "keras")):
        monkeypatch.setenv(name, str(tmp_path / folder))
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    return SimpleNamespace(
        arrays=arrays,
        packed=dict(zip(NAMES, packed, strict=True)),
        store=tmp_path / "tfds" / "downloads",
        manual=tmp_path / "tfds" / "downloads" / "manual",
        copy=tmp_path / "keras" / "datasets" / "mnist.npz",
    )


@pytest.fixture
def no_tfds(monkeypatch):
    """Make `import tensorflow_datasets` fail, as if it was not installed."""
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)


def add_manual_files(tiny, *names):
    """Put some or all of the files where a user would put them."""
    tiny.manual.mkdir(parents=True, exist_ok=True)
    for name in names or NAMES:
        (tiny.manual / name).write_bytes(tiny.packed[name])


def save_npz(tiny, path=None, without=(), **changes):
    arrays = {**dict(zip(mnist.SHAPES, tiny.arrays, strict=True)), **changes}
    tiny.copy.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path or tiny.copy, **{k: v for k, v in arrays.items() if k not in without})


class Handler(http.server.BaseHTTPRequestHandler):
    """Serve the server's `files`, and simulate the failures that its attributes describe."""

    def do_GET(self):
        self.server.asked.append(self.path)
        content = self.server.files[self.path.rpartition("/")[2]]
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:: self.server.order][: len(content) - self.server.cut])

    def log_message(self, *_):
        """Print nothing."""


@pytest.fixture
def server(tiny, catalogue):
    """A server of the tiny files, at the address that the catalogue lists."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        vars(server).update(files=tiny.packed, asked=[], status=200, cut=0, order=1)
        server.handle_error = lambda *_: None  # clients may close the connection
        server.address = f"http://127.0.0.1:{server.server_port}"
        catalogue(server.address)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def tfds():
    """The real tensorflow-datasets, imported without its warnings, and its files of MNIST."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = importlib.import_module("tensorflow_datasets")
        return module, module.builder_cls("mnist").url_infos


@pytest.fixture
def catalogue(tfds, tiny, monkeypatch):
    """Return a function that makes TFDS's catalogue list the tiny files at a given address."""
    module, infos = tfds
    info, size = type(next(iter(infos.values()))), module.core.utils.Size

    def publish(address):
        listed = {
            f"{address}/mnist/{name}": info(size=size(length), checksum=checksum, filename=name)
            for name, (length, checksum) in mnist.FILES.items()
        }

        def builder_cls(_):
            warnings.warn("one of theirs", DeprecationWarning, stacklevel=1)  # must not be shown
            return SimpleNamespace(url_infos=listed)

        monkeypatch.setattr(module, "builder_cls", builder_cls)

    return publish


@contextlib.contextmanager
def refused_address():
    """Reserve an address on this machine at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


# Files on this machine


def test_files_added_by_the_user(tiny, no_tfds, tmp_path, monkeypatch):
    """Files of the user are read without tensorflow-datasets, and nothing is written."""
    add_manual_files(tiny)
    before = snapshot(tmp_path)
    received = load_list()
    check(received, tiny.arrays)
    assert snapshot(tmp_path) == before
    received[0] //= 2  # changed in place, as programs do
    check(load_list(), tiny.arrays)
    monkeypatch.setenv("TFDS_DATA_DIR", str(Path("~", "moved")))
    (tmp_path / "tfds").rename(tmp_path / "moved")
    check(load_list(), tiny.arrays)
    monkeypatch.delenv("TFDS_DATA_DIR")  # in the home folder by default
    (tmp_path / "moved").rename(tmp_path / "tensorflow_datasets")
    check(load_list(), tiny.arrays)


@pytest.mark.parametrize("name", NAMES)
def test_a_broken_file_is_named(tiny, no_tfds, name):
    add_manual_files(tiny)
    (tiny.manual / name).write_bytes(tiny.packed[name][:-1])
    size = len(tiny.packed[name])
    with pytest.raises(ValueError, match=f"{name} is broken.*{size} bytes.*{size - 1} bytes"):
        load_list()


def test_a_copy_downloaded_by_keras_is_used(tiny, no_tfds, tmp_path, monkeypatch):
    """Keras's copy is used, in any order of memory, unless the four files exist."""
    save_npz(tiny, x_train=np.asfortranarray(tiny.arrays[0]))
    before = snapshot(tmp_path)
    check(load_list(), tiny.arrays)
    assert snapshot(tmp_path) == before
    monkeypatch.delenv("KERAS_HOME")  # in the home folder by default
    (tmp_path / "keras").rename(tmp_path / ".keras")
    check(load_list(), tiny.arrays)
    add_manual_files(tiny)
    save_npz(tiny, tmp_path / ".keras" / "datasets" / "mnist.npz", y_test=np.zeros(3, np.uint8))
    check(load_list(), tiny.arrays)


@pytest.mark.parametrize("kind", [str, Path])
def test_a_copy_given_by_path_is_used_first(tiny, no_tfds, kind):
    """A named file has precedence; if it does not exist, the usual places are searched."""
    add_manual_files(tiny)
    other, own = [array[::-1].copy() for array in tiny.arrays], tiny.copy.with_name("own.npz")
    save_npz(tiny, own, **dict(zip(mnist.SHAPES, other, strict=True)))
    check(load_list(kind("own.npz")), other)
    check(load_list(kind(own)), other)
    check(load_list(kind("missing.npz")), tiny.arrays)


def changed(content, place, by=1):
    """Return a file with another byte in the data of `x_test`."""
    place += content.index(b"x_test.npy") + 30  # the data begin after the name and 20 bytes
    return content[:place] + bytes([content[place] ^ by]) + content[place + 1 :]


def lone_array(_):
    np.save(file := io.BytesIO(), np.zeros((7, 4, 5), np.uint8))
    return file.getvalue()


@pytest.mark.parametrize(
    ("arrays", "damage", "words"),
    [
        ({"without": "y_test"}, bytes, "y_test"),
        ({"y_train": np.zeros(7, np.int64)}, bytes, r"y_train of shape \(7,\).*uint8.*int64"),
        ({"x_test": np.zeros((2, 4, 5), np.uint8)}, bytes, r"x_test .*\(3, 4, 5\).*\(2, 4, 5\)"),
        ({"x_train": np.array([{}], dtype=object)}, bytes, "allow_pickle=False"),
        ({}, lambda _: b"", "No data left"),
        ({}, lambda _: b"not an archive", "pickle"),
        ({}, lambda content: content[:-30], "pickle|zip"),
        ({}, lambda content: changed(content, 60), "CRC"),
        ({}, lambda content: changed(content, 0, 255), "invalid"),
        ({}, lone_array, "context manager"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_copy_with_other_content_is_refused(tiny, no_tfds, arrays, damage, words):
    save_npz(tiny, **arrays)
    tiny.copy.write_bytes(damage(tiny.copy.read_bytes()))
    with pytest.raises(ValueError, match=f"mnist.npz is not Keras's copy of MNIST.*{words}"):
        load_list()


# Downloads


def test_download(tiny, server, tfds, capfd, monkeypatch):
    """MNIST is downloaded once, with a line for each file, and then found without TFDS."""
    check(load_list(), tiny.arrays)
    out, err = capfd.readouterr()
    first, *files = err.splitlines()
    assert first == f"MNIST is not on this machine. Downloading it (11 MB) to {tiny.store} …"
    assert ([line.split(",")[0] for line in files], out) == ([f"  {name}" for name in NAMES], "")
    assert set(server.asked) == {f"/mnist/{name}" for name in NAMES}
    assert not tiny.manual.exists()
    assert tfds[0].core.utils.tqdm_utils._active  # TFDS's progress bars are active as before

    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    before = snapshot(tiny.store)
    check(load_list(), tiny.arrays)
    assert snapshot(tiny.store) == before

    # Older versions of TFDS had no subfolder for each data set.
    for file in (tiny.store / "mnist").iterdir():
        file.rename(tiny.store / file.name)
    check(load_list(), tiny.arrays)


def test_only_missing_files_are_downloaded(tiny, server):
    add_manual_files(tiny, NAMES[0], NAMES[2])
    before = snapshot(tiny.manual)
    check(load_list(), tiny.arrays)
    assert set(server.asked[1:]) == {f"/mnist/{NAMES[1]}", f"/mnist/{NAMES[3]}"}
    assert snapshot(tiny.manual) == before


@pytest.mark.parametrize(
    ("failure", "error", "words"),
    [
        # The first response raises an error; TFDS alone would retry ten times after a 503.
        ({"status": 404}, ConnectionError, "404"),
        ({"status": 503}, ConnectionError, "503"),
        ({"cut": 1}, ConnectionError, r"failed: Connection broken: .*1 more expected\)\.\n"),
        ({"order": -1}, ValueError, f"(?s){NAMES[0]}.*wrong checksum"),
    ],
    ids=str,
)
def test_a_failed_download_leaves_nothing_behind(tiny, server, failure, error, words):
    for attempt in (1, 2):
        vars(server).update(failure)
        with pytest.raises(error, match=words):
            load_list()
        assert "status" not in failure or len(server.asked) == attempt
    vars(server).update(status=200, cut=0, order=1)
    check(load_list(), tiny.arrays)


def test_broken_files_in_the_store_are_refused(tiny, server):
    """TFDS trusts the name of a stored file; tinynet checks its content. Neither replaces it."""
    add_manual_files(tiny, NAMES[0])
    (tiny.manual / NAMES[0]).write_bytes(b"half")
    with pytest.raises(ValueError, match=f"(?s){NAMES[0]}.*wrong checksum.*replace it"):
        load_list()
    assert (tiny.manual / NAMES[0]).read_bytes() == b"half"
    (tiny.manual / NAMES[0]).unlink()
    check(load_list(), tiny.arrays)
    for stored in (tiny.store / "mnist").glob("*.gz"):
        content = stored.read_bytes()
        stored.write_bytes(content[::-1])
        with pytest.raises(ValueError, match=rf"is broken.*received {len(content)} bytes"):
            load_list()
        stored.write_bytes(content)
    check(load_list(), tiny.arrays)


def test_a_folder_that_cannot_be_written(tiny, server):
    tiny.store.parent.mkdir()
    tiny.store.write_text("a file where a folder should be")
    with pytest.raises(OSError, match=r"MNIST cannot be stored in .*downloads"):
        load_list()


def test_no_network(tiny, catalogue):
    """One error is raised soon, and says what was tried, where tinynet looked, and what to do."""
    add_manual_files(tiny, NAMES[1])
    before = snapshot(tiny.store.parent)
    with refused_address() as address:
        catalogue(address)
        start = time.perf_counter()
        with pytest.raises(ConnectionError, match="not on this machine") as caught:
            load_list()
        assert time.perf_counter() - start < 3.5
    told = [f"{address}/mnist", "mnist.npz", str(tiny.manual), "TFDS_DATA_DIR", *NAMES, "refused"]
    for part in [*told, "tinynet.datasets.digits"]:
        assert part in str(caught.value)
    assert "Max retries" not in str(caught.value)  # only the cause, without what wraps it
    assert type(caught.value) is ConnectionError
    assert snapshot(tiny.store.parent) == before


@pytest.mark.parametrize("silence", ["host", "address"])
def test_a_host_that_does_not_answer(tiny, catalogue, monkeypatch, silence):
    """Waiting ends where a host accepts the connection but is silent, or has no known address."""
    assert mnist.PATIENCE <= 3
    monkeypatch.setattr(mnist, "PATIENCE", 0.3)
    over, threads = threading.Event(), set(threading.enumerate())
    if silence == "address":
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(5) and [])
    with socket.create_server(("127.0.0.1", 0)) as mute:
        catalogue(f"http://127.0.0.1:{mute.getsockname()[1]}")
        start = time.perf_counter()
        with pytest.raises(ConnectionError, match=r"no answer within 0\.3 s|timed out"):
            load_list()
        assert time.perf_counter() - start < 2
        over.set()
        # The thread of the request ends as well.
        for thread in set(threading.enumerate()) - threads:
            assert thread.daemon
            thread.join(3)
            assert not thread.is_alive()


def test_a_proxy_is_used(tiny, server, catalogue, monkeypatch):
    """A proxy that the environment names is used."""
    catalogue("http://mnist.invalid")  # a name that cannot be resolved
    monkeypatch.setenv("http_proxy", server.address)
    check(load_list(), tiny.arrays)
    assert server.asked[0] == f"http://mnist.invalid/mnist/{NAMES[3]}"
    shutil.rmtree(tiny.store)
    with refused_address() as address:
        catalogue(server.address)
        monkeypatch.setenv("http_proxy", address)
        with pytest.raises(ConnectionError, match="proxy"):
            load_list()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        check(load_list(), tiny.arrays)


def test_without_tensorflow_datasets(tiny, no_tfds):
    with pytest.raises(ImportError, match="not on this machine") as caught:
        load_list()
    for part in ["python -m pip install tensorflow-datasets", str(tiny.manual), *NAMES, "digits"]:
        assert part in str(caught.value)


def test_without_importlib_resources(tiny):
    """tinynet's error names this undeclared requirement of TFDS; TensorFlow is not imported."""
    announcement, text = run_python("""
sys.modules["importlib_resources"] = None
from tinynet.datasets import mnist
try:
    mnist.load_data()
except ImportError as error:
    print("tensorflow" in sys.modules, error)
""").split("\n", 1)
    assert announcement.startswith("MNIST is not on this machine. Downloading it (11 MB) to")
    assert text.startswith("False MNIST is not on this machine")
    assert "importlib_resources" in text.splitlines()[0].split("To install")[0]
    assert "pip install tensorflow-datasets importlib_resources" in text


# The format


@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 3, 4), (0,), (3, 0, 2), (300, 2)])
def test_idx_files_are_parsed(shape):
    array = np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8)
    check([mnist.parse_idx(idx(array))], [array])


GOOD = idx(np.arange(6, dtype=np.uint8).reshape(2, 3))
HUGE = struct.pack(">HBBIII", 0, 8, 3, 2**31, 2**31, 4)  # 2⁶⁴ values must not overflow to 0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"unsigned bytes.*received \[\]"),
        (GOOD[:3], "unsigned bytes"),
        (b"\0\0\x09" + GOOD[3:], r"received \[0, 0, 9, 2\]"),  # signed bytes
        (b"\0\1" + GOOD[2:], r"received \[0, 1, 8, 2\]"),
        (b"\1" + GOOD[1:], r"received \[1, 0, 8, 2\]"),
        (gzip.compress(GOOD, mtime=0), "unsigned bytes"),
        (GOOD[:6], "6 bytes"),
        (GOOD[:-1], r"18 bytes long for its shape \(2, 3\), received 17"),
        (GOOD + b"x", "18 bytes long.*received 19"),
        (HUGE, "received 16"),
    ],
)
def test_invalid_idx_files_are_refused(data, message):
    with pytest.raises(ValueError, match=f"the file .*{message}"):
        mnist.parse_idx(data, "the file")


# The data


def test_the_real_mnist(mnist_directory, tfds, tmp_path, monkeypatch, capfd):
    """Check known facts of the real files, and that TFDS's catalogue and manager accept them."""
    place = mnist_directory.parent.parent
    monkeypatch.setenv("TFDS_DATA_DIR", str(place))
    before = sorted(place.rglob("*"))
    arrays = load_list()
    assert capfd.readouterr() == ("", "")
    assert sorted(place.rglob("*")) == before
    check(arrays, arrays)
    assert {n: a.shape for n, a in zip(mnist.SHAPES, arrays, strict=True)} == mnist.SHAPES
    x_train, y_train, x_test, y_test = arrays
    train = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    test = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert [np.bincount(y).tolist() for y in (y_train, y_test)] == [train, test]
    assert y_train[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert (x_train.min(), x_train.max()) == (0, 255)
    assert [x_train.mean(), x_test.mean()] == pytest.approx([33.318421, 33.791224], abs=1e-6)
    assert x_train[0, 5, 12:18].tolist() == [3, 18, 18, 18, 126, 136]  # the first 5, first row

    module, infos = tfds
    assert {i.filename: (int(i.size), i.checksum) for i in infos.values()} == mnist.FILES
    assert {url.rpartition("/")[2] for url in infos} == set(mnist.FILES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module.disable_progress_bar()
        manager = module.download.DownloadManager(
            download_dir=tmp_path,
            manual_dir=mnist_directory,
            url_infos=infos,
            dataset_name="mnist",
            force_checksums_validation=True,
        )
        for url, info in infos.items():
            assert Path(manager.download(url)) == mnist_directory / info.filename
        module.enable_progress_bar()


def test_the_digits_have_the_known_values():
    state = repr(np.random.get_state())  # noqa: NPY002
    arrays = load_list(load=digits.load_data)
    check(arrays, arrays)
    assert [array.shape for array in arrays] == [(1500, 8, 8), (1500,), (297, 8, 8), (297,)]
    x, y = np.concatenate(arrays[::2]), np.concatenate(arrays[1::2])
    # Every pixel and label of scikit-learn's `load_digits()`, in its order.
    content = np.column_stack([x.reshape(-1, 64), y]).tobytes()
    known = "68aea062d35a127749050fa0e52dca09d6569ac08092c925610e0954e172dde2"
    assert hashlib.sha256(content).hexdigest() == known
    # The arrays are new each time, and no random numbers are drawn.
    arrays[0][:] = 0
    assert digits.load_data()[0][0].any()
    assert repr(np.random.get_state()) == state  # noqa: NPY002


def test_digits_from_a_zipped_package(tmp_path):
    """The data are found as a resource of the package, even inside a zip file."""
    shutil.copytree(ROOT / "tinynet", tmp_path / "site" / "tinynet")
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "site")
    code = "from tinynet.datasets import digits as d; print(d.load_data()[0][0].shape, d.__file__)"
    text = run_python(f"sys.path.insert(0, {archive!r}); {code}")
    assert text.startswith("(1500, 8, 8)")
    assert "packed.zip" in text


def test_the_licence_of_the_digits_is_included():
    text = Path(digits.__file__).with_name("DIGITS_LICENSE.md").read_text(encoding="utf-8")
    for part in ["E. Alpaydin", "C. Kaynak", "UCI", "CC BY 4.0", "What was changed"]:
        assert part in text


def test_import_is_light():
    heavy = ["tensorflow_datasets", "tensorflow", "matplotlib", "requests", "absl", "ssl"]
    code = f"import sys, tinynet.datasets; print([m for m in {heavy} if m in sys.modules])"
    assert run_python(code).strip() == "[]"
