"""MNIST: 70,000 handwritten digits of 28 × 28 pixels, as Keras's `load_data()` returns them.

The data come from tensorflow-datasets (TFDS). Its catalogue has the addresses and checksums of the
four files, and its download manager fetches, checks and stores them. TFDS would need TensorFlow to
unpack them; tinynet reads the format itself, in a dozen lines of NumPy. Files that are already on
the disk, put there by the user, by TFDS or by Keras, are used without a download.
"""

import base64
import hashlib
import math
import os
import sys
import threading
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tinynet.datasets.prepare import Prepared as Prepared, prepare_digit as prepare_digit

Split = tuple[np.ndarray, np.ndarray]  # images and labels

# Size in bytes and SHA-256 of each file, as in TFDS's catalogue (a test compares them). They are
# repeated here so that files on the disk can be checked and read without importing TFDS: the
# import takes 0.8 s, reading takes 0.25 s, and every run but the first only reads.
FILES = {
    "train-images-idx3-ubyte.gz": (
        9912422,
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    ),
    "train-labels-idx1-ubyte.gz": (
        28881,
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    ),
    "t10k-images-idx3-ubyte.gz": (
        1648877,
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
    "t10k-labels-idx1-ubyte.gz": (
        4542,
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
}
SHAPES = {
    "x_train": (60000, 28, 28),
    "y_train": (60000,),
    "x_test": (10000, 28, 28),
    "y_test": (10000,),
}
PATIENCE = 3.0  # seconds to wait for the host to answer


def load_data(path: str | os.PathLike[str] = "mnist.npz") -> tuple[Split, Split]:
    """Return MNIST, read from this machine, or downloaded the first time.

    The first of these sources that exists is used:

    1. the four files that TFDS uses, if you put them into `<data dir>/downloads/manual/`; the data
       dir is the environment variable `TFDS_DATA_DIR`, or `~/tensorflow_datasets`;
    2. the same files in TFDS's own store, `<data dir>/downloads/`;
    3. Keras's copy, `~/.keras/datasets/mnist.npz` (`KERAS_HOME` replaces `~/.keras`);
    4. a download of 11 MB into TFDS's store, by TFDS.

    Arguments:
        path: the name of Keras's copy in `~/.keras/datasets`, or an absolute path to one. If it is
            not the default and the file exists, that file takes precedence over all others. It is
            never written to.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: images of shape (60000, 28, 28) and (10000, 28, 28)
        with values 0 … 255 (the ink), labels of shape (60000,) and (10000,) with values 0 … 9,
        all uint8, new arrays at each call.

    Raises:
        ValueError: if a file is broken, or is not the one that the catalogue describes.
        ImportError: if MNIST must be downloaded and tensorflow-datasets is not installed.
        ConnectionError: if it cannot be downloaded; raised within 3 s if the host does not answer.
        OSError: if it cannot be stored.

    Source: https://keras.io/api/datasets/mnist and https://www.tensorflow.org/datasets/catalog/mnist
    """
    keras_home = Path(os.environ.get("KERAS_HOME") or Path("~", ".keras"))
    copy = keras_home.expanduser() / "datasets" / Path(path).expanduser()
    data_dir = Path(os.environ.get("TFDS_DATA_DIR") or Path("~", "tensorflow_datasets"))
    store = data_dir.expanduser() / "downloads"

    if os.fspath(path) != "mnist.npz" and copy.is_file():
        return _read_npz(copy)
    files = {name: file for name in FILES if (file := _find(name, store))}
    if len(files) < len(FILES):
        if copy.is_file():
            return _read_npz(copy)
        files = _download(store, copy)

    from concurrent.futures import ThreadPoolExecutor  # not at the top: 10 ms, needed only here

    # Unpacking and hashing release the GIL: four threads save a tenth of the time.
    with ThreadPoolExecutor(len(FILES)) as pool:
        x_train, y_train, x_test, y_test = pool.map(_read_gz, FILES, map(files.get, FILES))
    return (x_train, y_train), (x_test, y_test)


def parse_idx(data: bytes, name: str = "data") -> np.ndarray:
    """Read IDX, the format of the MNIST files: a header with the shape, then the values.

    The header is 0, 0, a code for the type of the values and the number of dimensions (one byte
    each), then the length of each dimension (four bytes, big-endian).

    >>> print(parse_idx(bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3]) + bytes([1, 2, 3, 4, 5, 6])))
    [[1 2 3]
     [4 5 6]]

    Arguments:
        data: the content of a whole IDX file, unpacked.
        name: the name of the file in error messages.

    Returns:
        A uint8 array that owns its memory and can be written to.

    Raises:
        ValueError: if the header is not that of unsigned bytes, or the length does not fit it.

    Source: Y. LeCun, C. Cortes, C. Burges, The MNIST database of handwritten digits.
    """
    unsigned_bytes = b"\0\0\x08"
    if data[:3] != unsigned_bytes or len(data) < 4:
        raise ValueError(
            f"{name} is not an IDX file of unsigned bytes: expected it to start with "
            f"{list(unsigned_bytes)} and a number of dimensions, received {list(data[:4])}."
        )
    start = 4 + 4 * data[3]
    shape = tuple(np.frombuffer(data[4:start].ljust(start - 4, b"\0"), dtype=">u4").tolist())
    expected = start + math.prod(shape)
    if len(data) != expected:
        raise ValueError(
            f"{name} should be {expected:,} bytes long for its shape {shape}, "
            f"received {len(data):,} bytes."
        )
    return np.frombuffer(data, dtype=np.uint8)[start:].reshape(shape).copy()


def _find(name: str, store: Path) -> Path | None:
    """Return the file `name` in TFDS's store, or None."""
    manual = store / "manual" / name
    if manual.is_file():
        return manual
    # TFDS names a download <address><SHA-256 in base64>.gz, in a folder for the dataset or, in
    # older versions, in the store itself. An incomplete download has another name.
    digest = base64.urlsafe_b64encode(bytes.fromhex(FILES[name][1])).decode().rstrip("=")
    return next(iter([*store.glob(f"mnist/*{digest}.gz"), *store.glob(f"*{digest}.gz")]), None)


def _read_gz(name: str, file: Path) -> np.ndarray:
    """Return the array in one of the four files, after checking that it is the right file."""
    packed = file.read_bytes()
    size, expected = FILES[name]
    received = hashlib.sha256(packed).hexdigest()
    if received != expected:
        raise ValueError(
            f"{file} is broken or is another file: expected {size:,} bytes with the SHA-256 "
            f"{expected}, received {len(packed):,} bytes with {received}. "
            "Delete it and call load_data() again, or replace it with the right one."
        )
    # A gzip file ends with the length of its content, so the result can be allocated at once.
    return parse_idx(zlib.decompress(packed, 31, int.from_bytes(packed[-4:], "little")), str(file))


def _read_npz(file: Path) -> tuple[Split, Split]:
    """Return the arrays in Keras's copy of MNIST."""
    from zipfile import BadZipFile

    try:
        # Opened here, because NumPy does not close a file that turns out not to be an archive.
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as npz:
            arrays = {name: npz[name] for name in SHAPES}
    except (BadZipFile, EOFError, KeyError, TypeError, ValueError, zlib.error) as error:
        raise ValueError(
            f"{file} is not Keras's copy of MNIST: {error}. Expected an .npz file with the arrays "
            f"{', '.join(SHAPES)}. Delete it and call load_data() again."
        ) from error
    for name, shape in SHAPES.items():
        if arrays[name].shape != shape or arrays[name].dtype != np.uint8:
            raise ValueError(
                f"{file} is not Keras's copy of MNIST: expected {name} of shape {shape} and type "
                f"uint8, received {arrays[name].shape} and {arrays[name].dtype}."
            )
    # In C order, and owning their memory, as the arrays from the four files do.
    x_train, y_train, x_test, y_test = (array.copy(order="C") for array in arrays.values())
    return (x_train, y_train), (x_test, y_test)


def _download(store: Path, copy: Path) -> dict[str, Path]:
    """Let TFDS download the missing files into `store`, and return the paths of all four."""
    print(f"Downloading MNIST (11 MB, only once) to {store} …", file=sys.stderr)
    hint = (
        f"Looked for {copy} and, in {store / 'manual'} and its parent, for\n  "
        + "\n  ".join(FILES)
        + f"\nPut these four into {store / 'manual'} (TFDS_DATA_DIR moves that folder), or use "
        "tinynet.datasets.digits, which needs no download."
    )
    # TFDS and its imports warn about each other's deprecations, on which users cannot act.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import requests
            import tensorflow_datasets as tfds

            catalogue = tfds.builder_cls("mnist").url_infos
        except ImportError as error:
            raise ImportError(
                f"MNIST is not on this machine, and cannot be downloaded: {error}. To install what "
                "is missing:  python -m pip install tensorflow-datasets importlib_resources\n"
                + hint
            ) from error

        urls = {url.rpartition("/")[2]: url for url in catalogue}
        smallest = urls[min(FILES, key=lambda name: FILES[name][0])]
        if refusal := _probe(smallest, requests.get):
            raise ConnectionError(
                f"MNIST is not on this machine, and {smallest} is not available: {refusal}.\n"
                + hint
            )
        tfds.disable_progress_bar()
        try:
            manager = tfds.download.DownloadManager(
                download_dir=store,
                manual_dir=store / "manual",
                url_infos=catalogue,
                dataset_name="mnist",
                force_checksums_validation=True,
            )
            # One after the other, so that no download is still running when one of them fails.
            files = {}
            for name, (size, _) in FILES.items():
                print(f"  {name}, {size / 1e6:.2g} MB", file=sys.stderr)
                files[name] = Path(manager.download(urls[name]))
            return files
        except tfds.core.download.download_manager.NonMatchingChecksumError as error:
            raise ValueError(
                f"{error}\nIf you put that file there, replace it. If it was downloaded, something "
                f"on the way changed it, such as a proxy or a sign-in page.\n{hint}"
            ) from None
        except (requests.RequestException, tfds.download.DownloadError) as error:
            raise ConnectionError(f"Downloading MNIST failed: {_reason(error)}.\n{hint}") from None
        except OSError as error:
            raise OSError(f"MNIST cannot be stored in {store}: {error}.\n{hint}") from error
        finally:
            tfds.enable_progress_bar()


def _probe(url: str, get: Callable[..., Any]) -> str:
    """Request `url` once; return why it is not available, or an empty string if it is.

    Without a network, TFDS would retry eleven times and take 200 s. The request is made with the
    library that TFDS uses, `requests.get`, so that the same proxies and certificates apply; and
    in a thread that is abandoned when the time is over, because the timeout of `requests` does
    not cover the DNS lookup.
    """
    answers: list[str] = []

    def ask() -> None:
        try:
            with get(url, stream=True, timeout=PATIENCE) as response:
                response.raise_for_status()
            answers.append("")
        except Exception as error:  # any error is a reason
            answers.append(_reason(error))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return answers[0] if answers else f"no answer within {PATIENCE:g} seconds"


def _reason(error: Exception) -> str:
    """Return the message of the innermost of the errors that `requests` wraps."""
    for inner in (getattr(error, "reason", None), *error.args[:1]):
        if isinstance(inner, Exception):
            return _reason(inner)
    text = error.args[0] if error.args and isinstance(error.args[0], str) else str(error)
    return (text or type(error).__name__).rstrip(".")
