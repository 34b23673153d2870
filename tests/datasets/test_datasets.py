"""The datasets: what is loaded, from where, and the errors when loading fails.

MNIST and Fashion-MNIST are too large to test every way of loading them, so most tests replace one
of them by four tiny files of the same names, and its sizes and checksums as well. The download is
done by the real tensorflow-datasets, from a server on this machine.
"""

import base64
import gzip
import hashlib
import http.server
import io
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from conftest import ROOT

from tinynet.datasets import digits, fashion_mnist, loader, mnist

NAMES = list(mnist.FILES)
MODULES = {"mnist": mnist, "fashion_mnist": fashion_mnist}
both = pytest.mark.parametrize("tiny", MODULES, indirect=True)  # MNIST without this


def idx(array):
    """Return `array` in the IDX format, written independently of the reader."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def snapshot(folder):
    """Return the contents and modification times of everything below `folder`."""
    return {p: (p.stat().st_mtime_ns, p.is_file() and p.read_bytes()) for p in folder.rglob("*")}


def load_list(*arguments, load=mnist.load_data):
    """Return the training images and labels, then those for testing."""
    return [array for part in load(*arguments) for array in part]


def check(received, expected):
    for array, truth in zip(received, expected, strict=True):
        np.testing.assert_array_equal(array, truth)
        assert array.dtype == np.uint8
        assert all(array.flags[flag] for flag in ("WRITEABLE", "OWNDATA", "C_CONTIGUOUS"))


@pytest.fixture
def tiny(tmp_path, monkeypatch, request):
    """Four tiny files that replace a dataset, empty data folders, and no proxy.

    `load` loads the dataset, whose `name` is in TFDS's catalogue, and whose `title` is in messages.
    `arrays` is what it must return, `packed` the content of the files, `store` TFDS's folder for
    downloads, `manual` its subfolder for files added by the user, and `copy` Keras's file, or its
    folder for Fashion-MNIST. None of these exists yet.
    """
    dataset = getattr(request, "param", "mnist")
    module, rng = MODULES[dataset], np.random.default_rng(1)
    image = (4, 5) if dataset == "mnist" else (28, 28)
    shapes = dict(zip(mnist.SHAPES, [(7, *image), (7,), (3, *image), (3,)], strict=True))
    arrays = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes.values()]
    packed = {n: gzip.compress(idx(a), mtime=0) for n, a in zip(NAMES, arrays, strict=True)}
    known = {name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in packed.items()}
    monkeypatch.setattr(module, "FILES", known)
    monkeypatch.setattr(mnist, "SHAPES", shapes)
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    home = {"HOME": tmp_path, "USERPROFILE": tmp_path}
    for name, place in {**home, "TFDS_DATA_DIR": "~/tfds", "KERAS_HOME": "~/keras"}.items():
        monkeypatch.setenv(name, str(place))
    store, copies = tmp_path / "tfds" / "downloads", tmp_path / "keras" / "datasets"
    title, copy = {
        "mnist": ("MNIST", copies / "mnist.npz"),
        "fashion_mnist": ("Fashion-MNIST", copies / "fashion-mnist"),
    }[dataset]
    return SimpleNamespace(
        name=dataset, title=title, load=lambda *given: load_list(*given, load=module.load_data),
        arrays=arrays, packed=packed, known=known, store=store, manual=store / "manual", copy=copy,
    )  # fmt: skip


@pytest.fixture
def no_tfds(monkeypatch):
    """Make `import tensorflow_datasets` fail, as if it was not installed."""
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)


def add_files(tiny, *names, folder=None, more=b""):
    """Put some or all of the files where a user would put them."""
    folder = folder or tiny.manual
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or NAMES:
        (folder / name).write_bytes(tiny.packed[name] + more)


def add_copy(tiny):
    """Put Keras's copy where Keras does."""
    save_npz(tiny) if tiny.name == "mnist" else add_files(tiny, folder=tiny.copy)


def save_npz(tiny, name="mnist.npz", **changes):
    """Write a copy like Keras's, with one array by columns, which is to be read by rows."""
    tiny.copy.parent.mkdir(parents=True, exist_ok=True)
    arrays = dict(zip(mnist.SHAPES, tiny.arrays, strict=True)) | changes
    arrays["x_train"] = np.asfortranarray(arrays["x_train"])
    np.savez_compressed(tiny.copy.with_name(name), **arrays)


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


WORKS = {"status": 200, "cut": 0, "order": 1}


@pytest.fixture
def server(tiny, catalogue):
    """A server of the tiny files, at the address that the catalogue lists."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        vars(server).update(files=tiny.packed, asked=[], **WORKS)
        server.handle_error = lambda *_: None  # clients may close the connection
        catalogue.address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=[0.01]).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def tfds():
    """The real tensorflow-datasets, imported without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow_datasets

        tensorflow_datasets.builder_cls("mnist")  # imports the rest
        return tensorflow_datasets


@pytest.fixture
def catalogue(tfds, tiny, monkeypatch):
    """TFDS's catalogue, which lists the tiny files at its `address`."""
    info, catalogue = tfds.core.download.checksums.UrlInfo, SimpleNamespace()

    def builder_cls(name):
        assert name == tiny.name
        warnings.warn("one of theirs", DeprecationWarning, stacklevel=1)  # must not be shown
        listed = {f"{catalogue.address}/{name}/{n}": info(*a, n) for n, a in tiny.known.items()}
        return SimpleNamespace(url_infos=listed)

    monkeypatch.setattr(tfds, "builder_cls", builder_cls)
    return catalogue


# Files on this machine


OF_TFDS = add_files, "tfds", "TFDS_DATA_DIR", "tensorflow_datasets"
OF_KERAS = add_copy, "keras", "KERAS_HOME", ".keras"


@both
@pytest.mark.parametrize(("add", "folder", "variable", "default"), [OF_TFDS, OF_KERAS])
def test_files_of_the_user_and_keras_s_copy_are_read_and_not_written(
    tiny, no_tfds, tmp_path, monkeypatch, add, folder, variable, default
):
    add(tiny)
    before = snapshot(tmp_path)
    received = tiny.load()
    check(received, tiny.arrays)
    assert snapshot(tmp_path) == before
    received[0] //= 2  # changed in place, as programs do
    check(tiny.load(), tiny.arrays)
    monkeypatch.delenv(variable)  # in the home folder by default
    (tmp_path / folder).rename(tmp_path / default)
    check(tiny.load(), tiny.arrays)


def test_a_copy_given_by_path_comes_first_and_keras_s_last(tiny, no_tfds):
    """If a named file does not exist, the usual places are searched."""
    other = [array[::-1].copy() for array in tiny.arrays]
    for name in ("own.npz", "mnist.npz"):
        save_npz(tiny, name, **dict(zip(mnist.SHAPES, other, strict=True)))
    check(load_list(), other)
    add_files(tiny)
    check(load_list(), tiny.arrays)
    check(load_list("own.npz"), other)
    check(load_list(tiny.copy.with_name("own.npz")), other)
    check(load_list("missing.npz"), tiny.arrays)


@both
def test_the_places_of_a_file_in_their_order(tiny, no_tfds):
    """The user's two folders, TFDS's two, and Keras's: each takes precedence over the next one."""
    add_files(tiny, *NAMES[1:])
    name, content = NAMES[0], tiny.packed[NAMES[0]]
    digest = base64.urlsafe_b64encode(bytes.fromhex(tiny.known[name][1])).decode().rstrip("=")
    stored = f"mirror_{digest}.gz"
    user, store = [tiny.manual / tiny.name, tiny.manual], [tiny.store / tiny.name, tiny.store]
    places = [*(folder / name for folder in user), *(folder / stored for folder in store)]
    if tiny.name == "fashion_mnist":
        places.append(tiny.copy / name)
    for place in reversed(places):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        check(tiny.load(), tiny.arrays)
        place.write_bytes(content[::-1])
        with pytest.raises(ValueError, match="is broken or is another file") as caught:
            tiny.load()
        assert str(caught.value).startswith(str(place))


@both
def test_in_the_folder_of_all_datasets_files_of_other_sizes_are_passed_over(tiny, no_tfds):
    """Both datasets have the same names; each has a folder of its own, where nothing else fits."""
    add_files(tiny, more=b"another dataset's")
    before, sizes = snapshot(tiny.manual), [len(data) for data in tiny.packed.values()]
    with pytest.raises(ImportError, match=f"^{tiny.title} is not on this machine") as caught:
        tiny.load()
    told = [
        f"\n  {name}, {size:,} bytes (the one in {tiny.manual} has {size + 17:,})\n"
        for name, size in zip(NAMES, sizes, strict=True)
    ]
    assert not [line for line in told if line not in str(caught.value)]
    assert f"into its folder {tiny.name}" in str(caught.value)
    add_files(tiny, NAMES[0], folder=tiny.manual / tiny.name)
    with pytest.raises(ImportError) as caught:
        tiny.load()
    assert told[0] not in str(caught.value)
    add_copy(tiny)
    check(tiny.load(), tiny.arrays)
    add_files(tiny, folder=tiny.manual / tiny.name)
    check(tiny.load(), tiny.arrays)
    assert before.items() <= snapshot(tiny.manual).items()
    add_files(tiny, NAMES[2], folder=tiny.manual / tiny.name, more=b"!")
    with pytest.raises(ValueError, match=rf"{NAMES[2]} is broken or is another file: expected"):
        tiny.load()


def test_both_datasets_side_by_side_in_the_users_folder(tiny, no_tfds, monkeypatch):
    """MNIST is in `manual`, and Fashion-MNIST in `manual/fashion_mnist`."""
    add_files(tiny)
    other = [array[:2].copy() for array in tiny.arrays]
    packed = {n: gzip.compress(idx(a), mtime=0) for n, a in zip(NAMES, other, strict=True)}
    known = {name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in packed.items()}
    monkeypatch.setattr(fashion_mnist, "FILES", known)
    add_files(SimpleNamespace(packed=packed), folder=tiny.manual / "fashion_mnist")
    check(load_list(), tiny.arrays)
    check(load_list(load=fashion_mnist.load_data), other)


def with_a_wrong_byte(content):
    head, name, data = content.partition(b"x_test.npy")  # then 20 bytes before the data
    return head + name + data[:20] + b"\xff" + data[21:]


def lone_array(_):
    np.save(file := io.BytesIO(), np.zeros((7, 4, 5), np.uint8))
    return file.getvalue()


@pytest.mark.parametrize(
    ("changes", "damage", "words"),
    [
        ({"y_train": np.zeros(7, np.int64)}, bytes, r"y_train of shape \(7,\).*uint8.*int64"),
        ({"x_test": np.zeros((2, 4, 5), np.uint8)}, bytes, r"x_test .*\(3, 4, 5\).*\(2, 4, 5\)"),
        ({"x_train": np.array([{}], dtype=object)}, bytes, "allow_pickle=False"),
        ({}, lambda content: content.replace(b"y_test", b"b_test"), "y_test"),
        ({}, lambda _: b"", "No data left"),
        ({}, lambda content: content[:-30], "pickle|zip"),
        ({}, with_a_wrong_byte, "invalid"),
        ({}, lone_array, "context manager"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_copy_with_other_content_is_refused(tiny, no_tfds, changes, damage, words):
    save_npz(tiny, **changes)
    tiny.copy.write_bytes(damage(tiny.copy.read_bytes()))
    with pytest.raises(ValueError, match=f"mnist.npz is not Keras's copy of MNIST.*{words}"):
        load_list()


@pytest.mark.parametrize("tiny", ["fashion_mnist"], indirect=True)
def test_fashion_mnist_is_what_keras_reads_from_its_copy(keras, tiny, no_tfds, monkeypatch):
    add_copy(tiny)
    config = sys.modules["keras.src.utils.file_utils"].config
    monkeypatch.setattr(config, "keras_home", lambda: str(tiny.copy.parents[1]))
    check(tiny.load(), load_list(load=keras.datasets.fashion_mnist.load_data))


# Downloads


@both
def test_download(tiny, server, tfds, capfd, monkeypatch):
    """A dataset is downloaded once, with a line for each file, and then found without TFDS."""
    check(tiny.load(), tiny.arrays)
    out, err = capfd.readouterr()
    first, *files = err.splitlines()
    size = sum(map(len, tiny.packed.values())) / 1e6
    assert first == f"Downloading {tiny.title} ({size:.2g} MB, only once) to {tiny.store} …"
    assert ([line.split(",")[0] for line in files], out) == ([f"  {name}" for name in NAMES], "")
    assert set(server.asked) == {f"/{tiny.name}/{name}" for name in NAMES}
    assert not tiny.manual.exists()
    assert tfds.core.utils.tqdm_utils._active  # TFDS's progress bars are active as before

    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    check(tiny.load(), tiny.arrays)

    # Older versions of TFDS had no subfolder for each data set.
    for file in (tiny.store / tiny.name).iterdir():
        file.rename(tiny.store / file.name)
    check(tiny.load(), tiny.arrays)


@both
def test_only_missing_files_are_downloaded(tiny, server):
    add_files(tiny, NAMES[0], NAMES[2])
    before = snapshot(tiny.manual)
    check(tiny.load(), tiny.arrays)
    assert set(server.asked[1:]) == {f"/{tiny.name}/{NAMES[1]}", f"/{tiny.name}/{NAMES[3]}"}
    assert snapshot(tiny.manual) == before


@both
@pytest.mark.parametrize(
    ("failure", "error", "words"),
    [
        # The first response raises an error; TFDS alone would retry ten times.
        ({"status": 503}, ConnectionError, "503"),
        ({"cut": 1}, ConnectionError, r"failed: Connection broken: .*1 more expected\)\.\n"),
        ({"order": -1}, ValueError, f"(?s){NAMES[0]}.*wrong checksum.*a proxy"),
    ],
    ids=str,
)
def test_a_failed_download_leaves_nothing_behind(tiny, server, failure, error, words):
    vars(server).update(failure)
    for attempt in (1, 2):
        with pytest.raises(error, match=words):
            tiny.load()
        assert "status" not in failure or len(server.asked) == attempt
    vars(server).update(WORKS)
    check(tiny.load(), tiny.arrays)


@both
def test_broken_files_in_the_store_are_refused(tiny, server):
    """TFDS trusts the name of a stored file; tinynet checks its content. Neither replaces it."""
    tiny.load()
    stored = next((tiny.store / tiny.name).glob("*.gz"))
    broken = stored.read_bytes()[::-1]
    stored.write_bytes(broken)
    with pytest.raises(ValueError, match=rf"{stored.name} is broken.* received {len(broken):,}"):
        tiny.load()
    assert stored.read_bytes() == broken


@both
def test_a_folder_that_cannot_be_written(tiny, server):
    tiny.store.parent.mkdir()
    tiny.store.write_text("a file where a folder should be")
    with pytest.raises(OSError, match=rf"^{tiny.title} cannot be stored in .*downloads"):
        tiny.load()


@both
@pytest.mark.parametrize(
    ("trouble", "patience", "words"),
    [("nobody", 3, "refused"), ("silence", 0.3, "timed out|no answer"), ("name", 0.3, "no answer")],
)
def test_without_a_network_one_error_says_soon_what_was_tried_and_what_to_do(
    tiny, catalogue, monkeypatch, trouble, patience, words
):
    """Nobody listens, the host accepts the connection but is silent, or its name is unknown."""
    add_files(tiny, NAMES[1])
    before, threads = snapshot(tiny.store.parent), set(threading.enumerate())
    assert loader.PATIENCE <= 3
    monkeypatch.setattr(loader, "PATIENCE", patience)
    over = threading.Event()
    if trouble == "name":
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(5) and [])
    with socket.create_server(("127.0.0.1", 0)) as mute:
        silent = f"http://127.0.0.1:{mute.getsockname()[1]}"
        catalogue.address = "http://127.0.0.1:9" if trouble == "nobody" else silent
        with pytest.raises(
            ConnectionError, match=f"^{tiny.title} is not on this machine.*({words})"
        ) as caught:
            tiny.load()
        over.set()
        # The thread of the request ends as well.
        for thread in set(threading.enumerate()) - threads:
            assert thread.daemon
            thread.join(3)
            assert not thread.is_alive()
    told = [
        f"{catalogue.address}/{tiny.name}",
        str(tiny.copy),
        "TFDS_DATA_DIR",
        str(tiny.manual),
        *NAMES,
    ]
    assert not [part for part in [*told, "datasets.digits"] if part not in str(caught.value)]
    assert "Max retries" not in str(caught.value)  # only the cause, without what wraps it
    assert snapshot(tiny.store.parent) == before


def test_a_proxy_that_the_environment_names_is_used(tiny, server, catalogue, monkeypatch):
    address, catalogue.address = catalogue.address, "http://mnist.invalid"  # cannot be resolved
    monkeypatch.setenv("http_proxy", address)
    check(load_list(), tiny.arrays)
    assert server.asked[0] == f"http://mnist.invalid/mnist/{NAMES[3]}"


@both
def test_what_is_not_installed_is_named(tiny, tfds, monkeypatch):
    """Also `importlib_resources`, which TFDS needs for its catalogue and does not declare."""
    needs = mock.Mock(side_effect=ImportError("No module named 'importlib_resources'"))
    monkeypatch.setattr(tfds, "builder_cls", needs)
    install = "To install .* pip install tensorflow-datasets importlib_resources"
    with pytest.raises(
        ImportError, match=f"^{tiny.title} is not .*'importlib_resources'.* {install}"
    ):
        tiny.load()


# The format


GOOD = idx(np.arange(6, dtype=np.uint8).reshape(2, 3))
HUGE = struct.pack(">HBBIII", 0, 8, 3, 2**31, 2**31, 4)  # 2⁶⁴ values must not overflow to 0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (GOOD[:3], "unsigned bytes"),
        (b"\0\0\x09" + GOOD[3:], r"received \[0, 0, 9, 2\]"),  # signed bytes
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


@pytest.mark.parametrize("name", MODULES)
def test_the_catalogue_of_tfds_lists_these_files(tfds, name):
    listed = tfds.builder_cls(name).url_infos.items()
    about = {url.rpartition("/")[2]: (i.filename, i.size, i.checksum) for url, i in listed}
    assert about == {name: (name, *known) for name, known in MODULES[name].FILES.items()}


def test_the_real_mnist(mnist_directory, monkeypatch, capfd):
    """Check known facts of the real files."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(mnist_directory.parent.parent))
    x_train, y_train, _, y_test = arrays = load_list()
    assert capfd.readouterr() == ("", "")
    check(arrays, arrays)
    assert {n: a.shape for n, a in zip(mnist.SHAPES, arrays, strict=True)} == mnist.SHAPES
    assert x_train[0, 5, 12:18].tolist() == [3, 18, 18, 18, 126, 136]  # the first 5, first row
    assert y_train[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert y_test[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


def test_the_digits_have_the_known_values():
    arrays = load_list(load=digits.load_data)
    check(arrays, arrays)
    assert [array.shape for array in arrays] == [(1500, 8, 8), (1500,), (297, 8, 8), (297,)]
    x, y = np.concatenate(arrays[::2]), np.concatenate(arrays[1::2])
    # Every pixel and label of scikit-learn's `load_digits()`, in its order.
    content = np.column_stack([x.reshape(-1, 64), y]).tobytes()
    known = "68aea062d35a127749050fa0e52dca09d6569ac08092c925610e0954e172dde2"
    assert hashlib.sha256(content).hexdigest() == known
    arrays[0][:] = 0  # they are new each time
    assert digits.load_data()[0][0].any()


def test_digits_from_a_zipped_package_and_nothing_heavy_is_imported(tmp_path):
    """The data are found as a resource of the package, even inside a zip file."""
    shutil.copytree(ROOT / "tinynet", tmp_path / "site" / "tinynet")
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "site")
    code = """import sys
from tinynet.datasets import digits
heavy = {"tensorflow_datasets", "matplotlib", "requests", "absl", "ssl"}
print(heavy.intersection(sys.modules), digits.load_data()[0][0].shape, digits.__file__)"""
    command, path = [sys.executable, "-W", "error", "-c", code], {"PYTHONPATH": archive}
    text = subprocess.check_output(command, cwd=tmp_path, env=os.environ | path, text=True)
    assert text.startswith("set() (1500, 8, 8)")
    assert "packed.zip" in text


def test_the_licence_of_the_digits_is_included():
    text = Path(digits.__file__).with_name("DIGITS_LICENSE.md").read_text(encoding="utf-8")
    told = ["E. Alpaydin", "C. Kaynak", "UCI", "CC BY 4.0", "What was changed"]
    assert not [part for part in told if part not in text]
