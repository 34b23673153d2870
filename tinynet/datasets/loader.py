"""The loader of MNIST and Fashion-MNIST, which are four files each, in the same format.

The data come from tensorflow-datasets (TFDS). Its catalogue has the addresses and checksums of the
files, and its download manager fetches, checks and stores them. TFDS would need TensorFlow to
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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Split = tuple[np.ndarray, np.ndarray]  # images and labels

PATIENCE = 3.0  # seconds to wait for the host to answer


class Dataset(NamedTuple):
    """The four files of a dataset, and the places where they may be.

    Attributes:
        name: its name in TFDS's catalogue, and that of its folders.
        title: its name in messages.
        files: the size in bytes and the SHA-256 of each file, as in TFDS's catalogue. They are
            given here so that files on the disk can be checked and read without importing TFDS:
            the import takes 0.8 s, reading takes 0.25 s, and every run but the first only reads.
        copy: Keras's copy: a folder with the four files, or a file in a format of Keras's.
    """

    name: str
    title: str
    files: Mapping[str, tuple[int, str]]
    copy: Path

    @property
    def store(self) -> Path:
        """The folder of TFDS's downloads."""
        data_dir = Path(os.environ.get("TFDS_DATA_DIR") or Path("~", "tensorflow_datasets"))
        return data_dir.expanduser() / "downloads"

    def find(self) -> dict[str, Path]:
        """Return the files that are on this machine, by name."""
        return {name: file for name in self.files if (file := self.find_one(name))}

    def find_one(self, name: str) -> Path | None:
        """Return the file `name` if it is on this machine, from the first place that has it."""
        size, checksum = self.files[name]
        # TFDS names a download <address><SHA-256 in base64>.gz, in a folder for the dataset or, in
        # older versions, in the store itself. An incomplete download has another name.
        digest = base64.urlsafe_b64encode(bytes.fromhex(checksum)).decode().rstrip("=")
        stored = [*self.store.glob(f"{self.name}/*{digest}.gz"), *self.store.glob(f"*{digest}.gz")]
        manual = self.store / "manual"
        places = [manual / self.name / name, manual / name, *stored, self.copy / name]
        there = filter(Path.is_file, places)
        # In `manual`, there may be another dataset's file of the same name.
        return next((p for p in there if p.parent != manual or p.stat().st_size == size), None)

    def read(self, files: dict[str, Path]) -> tuple[Split, Split]:
        """Return the arrays in the files that `find` returned, after downloading the others."""
        if len(files) < len(self.files):
            files = files | self.download([name for name in self.files if name not in files])
        from concurrent.futures import ThreadPoolExecutor  # not at the top: 10 ms, needed only here

        # Unpacking and hashing release the GIL: four threads save a tenth of the time.
        with ThreadPoolExecutor(len(files)) as pool:
            x_train, y_train, x_test, y_test = pool.map(
                self.read_gz, self.files, map(files.get, self.files)
            )
        return (x_train, y_train), (x_test, y_test)

    def read_gz(self, name: str, file: Path) -> np.ndarray:
        """Return the array in one of the four files, after checking that it is the right file."""
        packed = file.read_bytes()
        size, expected = self.files[name]
        received = hashlib.sha256(packed).hexdigest()
        if received != expected:
            raise ValueError(
                f"{file} is broken or is another file: expected {size:,} bytes with the SHA-256 "
                f"{expected}, received {len(packed):,} bytes with {received}. "
                "Delete it and call load_data() again, or replace it with the right one."
            )
        # A gzip file ends with the length of its content, so the result can be allocated at once.
        return parse_idx(
            zlib.decompress(packed, 31, int.from_bytes(packed[-4:], "little")), str(file)
        )

    def download(self, names: Sequence[str]) -> dict[str, Path]:
        """Let TFDS download the files `names` into its store, and return their paths."""
        size = f"{sum(self.files[name][0] for name in names) / 1e6:.2g} MB"
        print(f"Downloading {self.title} ({size}, only once) to {self.store} …", file=sys.stderr)
        manual = self.store / "manual"
        hint = f"Looked for {self.copy} and, in {manual / self.name}, {manual} and its parent, for"
        for name, (length, _) in self.files.items():
            hint += f"\n  {name}, {length:,} bytes"
            if name in names and (other := manual / name).is_file():
                hint += f" (the one in {manual} has {other.stat().st_size:,})"
        hint += (
            f"\nPut these four into {manual} (TFDS_DATA_DIR moves that folder) or, if others of "
            f"these names are there, into its folder {self.name}; or use tinynet.datasets.digits, "
            "which needs no download."
        )
        # TFDS and its imports warn about each other's deprecations, on which users cannot act.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                import requests
                import tensorflow_datasets as tfds

                catalogue = tfds.builder_cls(self.name).url_infos
            except ImportError as error:
                raise ImportError(
                    f"{self.title} is not on this machine, and cannot be downloaded: {error}. To "
                    "install what is missing:  "
                    f"python -m pip install tensorflow-datasets importlib_resources\n{hint}"
                ) from error

            urls = {url.rpartition("/")[2]: url for url in catalogue}
            smallest = urls[min(names, key=lambda name: self.files[name][0])]
            if refusal := _probe(smallest, requests.get):
                raise ConnectionError(
                    f"{self.title} is not on this machine, and {smallest} is not available: "
                    f"{refusal}.\n{hint}"
                )
            tfds.disable_progress_bar()
            try:
                manager = tfds.download.DownloadManager(
                    download_dir=self.store,
                    url_infos=catalogue,
                    dataset_name=self.name,
                    force_checksums_validation=True,
                )
                # One after the other, so that none is still running when another one fails.
                files = {}
                for name in names:
                    print(f"  {name}, {self.files[name][0] / 1e6:.2g} MB", file=sys.stderr)
                    files[name] = Path(manager.download(urls[name]))
                return files
            except tfds.core.download.download_manager.NonMatchingChecksumError as error:
                raise ValueError(
                    f"{error}\nSomething on the way changed the file, such as a proxy or a sign-in "
                    f"page.\n{hint}"
                ) from None
            except (requests.RequestException, tfds.download.DownloadError) as error:
                raise ConnectionError(
                    f"Downloading {self.title} failed: {_reason(error)}.\n{hint}"
                ) from None
            except OSError as error:
                raise OSError(
                    f"{self.title} cannot be stored in {self.store}: {error}.\n{hint}"
                ) from error
            finally:
                tfds.enable_progress_bar()


def keras_folder() -> Path:
    """Return the folder of Keras's copies of datasets."""
    home = Path(os.environ.get("KERAS_HOME") or Path("~", ".keras"))
    return home.expanduser() / "datasets"


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
