"""The two data sets of digits: what is loaded, from where, and the errors when loading fails.

MNIST is too large to test every way of loading it, so most tests replace it by four tiny files of
the same names, and replace the sizes and checksums in `mnist` as well. The download is done by the
real tensorflow-datasets, from a server on this machine.
"""

import base64
import contextlib
import gzip
import hashlib
import http.server
import importlib
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import warnings
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tinynet.datasets import digits, mnist

ROOT = Path(__file__).parents[2]
NAMES = list(mnist.FILES)
PROXIES = ["http_proxy", "https_proxy", "all_proxy", "no_proxy"]


def idx(array):
    """Return `array` in the IDX format, written independently of the reader."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def snapshot(folder):
    """Return the contents and modification times of everything below `folder`."""
    return {p: (p.stat().st_mtime_ns, p.is_file() and p.read_bytes()) for p in folder.rglob("*")}


def load_list(*arguments):
    (x_train, y_train), (x_test, y_test) = mnist.load_data(*arguments)
    return [x_train, y_train, x_test, y_test]


def run_python(code, **environment):
    """Return what `code` prints in a new interpreter."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Four tiny files that replace MNIST, empty data folders, and no proxy.

    `arrays` is what `load_data` must return, `packed` the content of the files, `known` their sizes
    and checksums, `store` TFDS's folder for downloads, and `manual` its subfolder for files added
    by the user. Neither folder exists yet.
    """
    rng = np.random.default_rng(1)
    shapes = [(7, 4, 5), (7,), (3, 4, 5), (3,)]
    arrays = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
    packed = {
        name: gzip.compress(idx(array), mtime=0) for name, array in zip(NAMES, arrays, strict=True)
    }
    known = {n: (len(data), hashlib.sha256(data).hexdigest()) for n, data in packed.items()}
    monkeypatch.setattr(mnist, "FILES", known)
    monkeypatch.setattr(mnist, "SHAPES", dict(zip(mnist.SHAPES, shapes, strict=True)))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    store = tmp_path / "tfds" / "downloads"
    return SimpleNamespace(
        arrays=arrays, packed=packed, known=known, store=store, manual=store / "manual"
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


def save_npz(tiny, path, **changes):
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = dict(zip(mnist.SHAPES, tiny.arrays, strict=True))
    arrays.update(changes)
    np.savez_compressed(path, **{k: v for k, v in arrays.items() if v is not None})


def check(received, expected):
    for array, truth in zip(received, expected, strict=True):
        np.testing.assert_array_equal(array, truth)
        assert array.dtype == np.uint8
        assert array.flags.writeable
        assert array.flags.owndata
        assert array.flags.c_contiguous


class Server(http.server.ThreadingHTTPServer):
    """A server that serves `files`, records requests in `asked`, and can simulate failures."""

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.asked, self.status, self.cut = dict(files), [], 200, 0
        self.address = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_):
        """Ignore clients that close the connection."""


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.rpartition("/")[2]
        self.server.asked.append(self.path)
        content = self.server.files[name]
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) - self.server.cut])

    def log_message(self, *_):
        """Print nothing."""


@pytest.fixture
def server(tiny):
    with Server(tiny.packed) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def tfds():
    """The real tensorflow-datasets, imported without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("tensorflow_datasets")


@pytest.fixture
def catalogue(tfds, tiny, monkeypatch):
    """Return a function that makes TFDS's catalogue list the tiny files at a given address."""

    def publish(address):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            info = type(next(iter(tfds.builder_cls("mnist").url_infos.values())))
            size = tfds.core.utils.Size
        infos = {
            f"{address}/mnist/{name}": info(size=size(length), checksum=checksum, filename=name)
            for name, (length, checksum) in tiny.known.items()
        }

        def builder_cls(_):
            warnings.warn("one of theirs", DeprecationWarning, stacklevel=1)  # must not be shown
            return SimpleNamespace(url_infos=infos)

        monkeypatch.setattr(tfds, "builder_cls", builder_cls)

    return publish


@contextlib.contextmanager
def refused_port():
    """Reserve a port of this machine on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_files_added_by_the_user(tiny, no_tfds):
    """Files of the user are read without tensorflow-datasets, and nothing is written."""
    add_manual_files(tiny)
    before = snapshot(tiny.store.parent)
    received = load_list()
    check(received, tiny.arrays)
    assert snapshot(tiny.store.parent) == before
    received[0] //= 2  # changed in place, as programs do
    check(load_list(), tiny.arrays)


def test_data_dir_defaults_to_home(tiny, no_tfds, tmp_path, monkeypatch):
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    add_manual_files(tiny)
    tiny.store.parent.rename(tmp_path / "tensorflow_datasets")
    check(load_list(), tiny.arrays)
    monkeypatch.setenv("TFDS_DATA_DIR", str(Path("~", "moved")))
    (tmp_path / "tensorflow_datasets").rename(tmp_path / "moved")
    check(load_list(), tiny.arrays)


@pytest.mark.parametrize("name", NAMES)
def test_a_broken_file_is_named(tiny, no_tfds, name):
    add_manual_files(tiny)
    (tiny.manual / name).write_bytes(tiny.packed[name][:-1])
    size = len(tiny.packed[name])
    with pytest.raises(ValueError, match=f"{name} is broken.*{size} bytes.*{size - 1} bytes"):
        load_list()


def test_download(tiny, server, catalogue, tfds, capfd, monkeypatch):
    """MNIST is downloaded once, with one line of output, and then found without TFDS."""
    catalogue(server.address)
    check(load_list(), tiny.arrays)
    out, err = capfd.readouterr()
    assert out == ""
    assert err == f"Downloading MNIST (11 MB) to {tiny.store} …\n"
    assert sorted(set(server.asked)) == sorted(f"/mnist/{name}" for name in NAMES)
    assert not tiny.manual.exists()
    assert tfds.core.utils.tqdm_utils._active  # TFDS's progress bars are active as before

    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    before = snapshot(tiny.store)
    check(load_list(), tiny.arrays)
    assert snapshot(tiny.store) == before

    # Older versions of TFDS had no subfolder for each data set.
    for file in (tiny.store / "mnist").iterdir():
        file.rename(tiny.store / file.name)
    check(load_list(), tiny.arrays)


def test_only_missing_files_are_downloaded(tiny, server, catalogue):
    catalogue(server.address)
    add_manual_files(tiny, NAMES[0], NAMES[2])
    before = snapshot(tiny.manual)
    check(load_list(), tiny.arrays)
    assert set(server.asked[1:]) == {f"/mnist/{NAMES[1]}", f"/mnist/{NAMES[3]}"}
    assert snapshot(tiny.manual) == before


def test_a_broken_file_is_not_replaced_by_a_download(tiny, server, catalogue):
    catalogue(server.address)
    add_manual_files(tiny, NAMES[0])
    (tiny.manual / NAMES[0]).write_bytes(b"half")
    with pytest.raises(ValueError, match=f"(?s){NAMES[0]}.*wrong checksum.*replace it"):
        load_list()
    assert (tiny.manual / NAMES[0]).read_bytes() == b"half"


def test_wrong_checksum(tiny, server, catalogue):
    """A file that was changed in transfer is refused, and not found the next time."""
    catalogue(server.address)
    server.files[NAMES[1]] = tiny.packed[NAMES[1]][::-1]
    for _ in range(2):
        with pytest.raises(ValueError, match=f"(?s){NAMES[1]}.*wrong checksum"):
            load_list()
    server.files[NAMES[1]] = tiny.packed[NAMES[1]]
    check(load_list(), tiny.arrays)


def test_an_interrupted_download(tiny, server, catalogue):
    catalogue(server.address)
    server.cut = 1
    with pytest.raises(
        ConnectionError, match=r"failed: Connection broken: .*1 more expected\)\.\n"
    ):
        load_list()
    server.cut = 0
    check(load_list(), tiny.arrays)


def test_a_broken_downloaded_file(tiny, server, catalogue):
    """TFDS trusts the name of a stored file; tinynet checks its content."""
    catalogue(server.address)
    load_list()
    digest = base64.urlsafe_b64encode(bytes.fromhex(tiny.known[NAMES[3]][1])).decode()[:-1]
    (stored,) = (tiny.store / "mnist").glob(f"*{digest}.gz")
    stored.write_bytes(b"half")
    with pytest.raises(ValueError, match=r"is broken.*received 4 bytes"):
        load_list()
    stored.unlink()
    check(load_list(), tiny.arrays)


def test_a_folder_that_cannot_be_written(tiny, server, catalogue):
    catalogue(server.address)
    tiny.store.parent.mkdir()
    tiny.store.write_text("a file where a folder should be")
    with pytest.raises(OSError, match=r"MNIST cannot be stored in .*downloads"):
        load_list()


@pytest.mark.parametrize("status", [404, 503])
def test_a_host_that_answers_with_an_error(tiny, server, catalogue, status):
    """The first response raises an error; TFDS alone would retry ten times after a 503."""
    catalogue(server.address)
    server.status = status
    with pytest.raises(ConnectionError, match=str(status)):
        load_list()
    assert len(server.asked) == 1


def test_no_network(tiny, catalogue):
    """One error is raised soon, and says what was tried, where tinynet looked, and what to do."""
    with refused_port() as port:
        catalogue(f"http://127.0.0.1:{port}")
        add_manual_files(tiny, NAMES[1])
        before = snapshot(tiny.store.parent)
        start = time.perf_counter()
        with pytest.raises(ConnectionError, match="not on this machine") as caught:
            load_list()
        assert time.perf_counter() - start < 3.5
    text = str(caught.value)
    told = [f"127.0.0.1:{port}/mnist", "mnist.npz", str(tiny.manual), "TFDS_DATA_DIR", *NAMES]
    for part in [*told, "tinynet.datasets.digits"]:
        assert part in text
    assert "refused" in text
    assert "Max retries" not in text  # only the cause, without the exceptions that wrap it
    assert type(caught.value) is ConnectionError
    assert snapshot(tiny.store.parent) == before


@pytest.mark.parametrize("silence", ["host", "address"])
def test_a_host_that_does_not_answer(tiny, catalogue, monkeypatch, silence):
    """Waiting ends where a host accepts the connection but is silent, or has no known address."""
    assert mnist.PATIENCE <= 3
    monkeypatch.setattr(mnist, "PATIENCE", 0.3)
    over = threading.Event()
    if silence == "address":
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(5) and [])
    threads = set(threading.enumerate())
    with socket.create_server(("127.0.0.1", 0)) as mute:
        catalogue(f"http://127.0.0.1:{mute.getsockname()[1]}")
        start = time.perf_counter()
        with pytest.raises(ConnectionError, match=r"no answer within 0\.3 s|timed out"):
            load_list()
        assert time.perf_counter() - start < 2
        over.set()
        for thread in (
            set(threading.enumerate()) - threads
        ):  # the thread of the request ends as well
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
    with refused_port() as port:
        catalogue(server.address)
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        with pytest.raises(ConnectionError, match="proxy"):
            load_list()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        check(load_list(), tiny.arrays)


def test_without_tensorflow_datasets(tiny, no_tfds):
    with pytest.raises(ImportError, match="not on this machine") as caught:
        load_list()
    text = str(caught.value)
    for part in ["python -m pip install tensorflow-datasets", str(tiny.manual), *NAMES, "digits"]:
        assert part in text


def test_without_importlib_resources(tiny):
    """tinynet's error names this undeclared requirement of TFDS; TensorFlow is not imported."""
    code = """if True:
        import sys
        sys.modules["importlib_resources"] = None
        from tinynet.datasets import mnist
        try:
            mnist.load_data()
        except ImportError as error:
            print(str(error).splitlines()[0])
        assert "tensorflow" not in sys.modules
        """
    text = run_python(code)
    assert "importlib_resources" in text
    assert "pip install tensorflow-datasets importlib_resources" in text


def test_sizes_and_checksums_equal_those_of_tensorflow_datasets(tfds):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        infos = tfds.builder_cls("mnist").url_infos
    stated = {i.filename: (int(i.size), i.checksum) for i in infos.values()}
    assert stated == mnist.FILES
    assert {url.rpartition("/")[2] for url in infos} == set(mnist.FILES)


def test_a_copy_downloaded_by_keras_is_used(tiny, no_tfds, tmp_path):
    """Keras's copy is used unless the four files exist."""
    save_npz(tiny, tmp_path / "keras" / "datasets" / "mnist.npz")
    before = snapshot(tmp_path)
    check(load_list(), tiny.arrays)
    assert snapshot(tmp_path) == before
    add_manual_files(tiny)
    save_npz(tiny, tmp_path / "keras" / "datasets" / "mnist.npz", y_test=np.zeros(3, np.uint8))
    check(load_list(), tiny.arrays)


@pytest.mark.parametrize("kind", [str, Path])
def test_a_copy_given_by_path_is_used_first(tiny, no_tfds, tmp_path, kind):
    """A named file has precedence; if it does not exist, the usual places are searched."""
    add_manual_files(tiny)
    other = [array[::-1].copy() for array in tiny.arrays]
    named = dict(zip(mnist.SHAPES, other, strict=True))
    save_npz(tiny, tmp_path / "keras" / "datasets" / "own.npz", **named)
    check(load_list(kind("own.npz")), other)
    check(load_list(kind(tmp_path / "keras" / "datasets" / "own.npz")), other)
    check(load_list(kind("missing.npz")), tiny.arrays)


def test_a_copy_in_the_home_folder_is_used(tiny, no_tfds, tmp_path, monkeypatch):
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    save_npz(tiny, tmp_path / ".keras" / "datasets" / "mnist.npz")
    check(load_list(), tiny.arrays)


def test_a_copy_in_fortran_order(tiny, no_tfds, tmp_path):
    transposed = np.asfortranarray(tiny.arrays[0])
    save_npz(tiny, tmp_path / "keras" / "datasets" / "mnist.npz", x_train=transposed)
    check(load_list(), tiny.arrays)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_test": None}, "y_test"),
        ({"y_train": np.zeros(7, np.int64)}, r"y_train of shape \(7,\).*uint8.*int64"),
        ({"x_test": np.zeros((2, 4, 5), np.uint8)}, r"x_test of shape \(3, 4, 5\).*\(2, 4, 5\)"),
        ({"x_train": np.array([{}], dtype=object)}, "allow_pickle=False"),
    ],
)
def test_a_copy_with_other_arrays_is_refused(tiny, no_tfds, tmp_path, changes, message):
    save_npz(tiny, tmp_path / "keras" / "datasets" / "mnist.npz", **changes)
    with pytest.raises(ValueError, match=f"mnist.npz is not Keras's copy of MNIST.*{message}"):
        load_list()


@pytest.mark.parametrize(
    "damage", ["empty", "text", "truncated", "changed", "unpackable", "one array"]
)
def test_a_damaged_copy_is_refused(tiny, no_tfds, tmp_path, damage):
    path = tmp_path / "keras" / "datasets" / "mnist.npz"
    save_npz(tiny, path)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("x_test.npy").header_offset
    start += 30 + sum(
        struct.unpack_from("<HH", whole, start + 26)
    )  # the data begin after the header
    middle = start + 60
    lone_array = tmp_path / "one.npy"
    np.save(lone_array, tiny.arrays[0])
    content = {
        "empty": b"",
        "text": b"not an archive",
        "truncated": whole[:-30],
        "changed": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        "unpackable": whole[:start] + b"\xff" + whole[start + 1 :],
        "one array": lone_array.read_bytes(),
    }
    path.write_bytes(content[damage])
    with pytest.raises(ValueError, match=r"mnist\.npz is not Keras's copy of MNIST"):
        load_list()


@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 3, 4), (0,), (3, 0, 2), (300, 2)])
def test_idx_files_are_parsed(shape):
    array = np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8)
    check([mnist.parse_idx(idx(array))], [array])


GOOD = idx(np.arange(6, dtype=np.uint8).reshape(2, 3))


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
        (
            struct.pack(">HBBIII", 0, 8, 3, 2**31, 2**31, 4),
            "received 16",
        ),  # 2⁶⁴ values must not overflow to 0
    ],
)
def test_invalid_idx_files_are_refused(data, message):
    with pytest.raises(ValueError, match=f"the file .*{message}"):
        mnist.parse_idx(data, "the file")


def test_the_real_mnist(mnist_directory, tfds, tmp_path, monkeypatch, capfd):
    """Check known facts of the real files, and that TFDS's download manager accepts them."""
    place = mnist_directory.parent.parent
    monkeypatch.setenv("TFDS_DATA_DIR", str(place))
    before = sorted(place.rglob("*"))
    (x_train, y_train), (x_test, y_test) = mnist.load_data()
    arrays = [x_train, y_train, x_test, y_test]
    assert capfd.readouterr() == ("", "")
    assert sorted(place.rglob("*")) == before
    assert {n: a.shape for n, a in zip(mnist.SHAPES, arrays, strict=True)} == mnist.SHAPES
    train = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    test = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(y_train).tolist() == train
    assert np.bincount(y_test).tolist() == test
    assert y_train[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert (x_train.min(), x_train.max()) == (0, 255)
    assert x_train.mean() == pytest.approx(33.318421, abs=1e-6)
    assert x_test.mean() == pytest.approx(33.791224, abs=1e-6)
    assert x_train[0, 5, 12:18].tolist() == [3, 18, 18, 18, 126, 136]  # the first 5, first row
    check(arrays, arrays)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        infos = tfds.builder_cls("mnist").url_infos
        tfds.disable_progress_bar()
        manager = tfds.download.DownloadManager(
            download_dir=tmp_path,
            manual_dir=place / "downloads" / "manual",
            url_infos=infos,
            dataset_name="mnist",
            force_checksums_validation=True,
        )
        for url, info in infos.items():
            assert Path(manager.download(url)) == place / "downloads" / "manual" / info.filename
        tfds.enable_progress_bar()


def test_the_digits_have_the_known_values():
    (x_train, y_train), (x_test, y_test) = digits.load_data()
    arrays = [x_train, y_train, x_test, y_test]
    check(arrays, arrays)
    assert [array.shape for array in arrays] == [(1500, 8, 8), (1500,), (297, 8, 8), (297,)]
    x, y = np.concatenate([x_train, x_test]), np.concatenate([y_train, y_test])
    # Values from 0 to 16 and class counts, as stated by the UCI repository and scikit-learn.
    assert (x.min(), x.max()) == (0, 16)
    assert np.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert int(x.sum(dtype=np.int64)) == 561718
    assert y_train[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert y_test[-5:].tolist() == [9, 0, 8, 9, 8]
    # Every pixel and label of scikit-learn's `load_digits()`, in its order.
    content = np.column_stack([x.reshape(-1, 64), y]).tobytes()
    assert hashlib.sha256(content).hexdigest() == (
        "68aea062d35a127749050fa0e52dca09d6569ac08092c925610e0954e172dde2"
    )


def test_digits_are_new_arrays_each_time_and_draw_no_random_numbers():
    before = repr(np.random.get_state())  # noqa: NPY002
    first = digits.load_data()[0][0]
    first[:] = 0
    assert digits.load_data()[0][0].any()
    assert repr(np.random.get_state()) == before  # noqa: NPY002


def test_digits_from_a_zipped_package(tmp_path):
    """The data are found as a resource of the package, even inside a zip file."""
    package = tmp_path / "site" / "tinynet"
    shutil.copytree(ROOT / "tinynet" / "datasets", package / "datasets")
    (package / "__init__.py").write_text("")
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "site")
    code = "from tinynet.datasets import digits as d; print(d.load_data()[0][0].shape, d.__file__)"
    text = run_python(f"import sys; sys.path.insert(0, {archive!r}); {code}")
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
