"""MNIST: 70,000 handwritten digits of 28 × 28 pixels, as Keras's `load_data()` returns them.

`loader` finds or downloads the four files, and reads them. Keras keeps its own copy in one file of
another format, which is read here.
"""

import os
import zlib
from pathlib import Path

import numpy as np

from tinynet.datasets.loader import Dataset, Split, keras_folder, parse_idx as parse_idx
from tinynet.datasets.prepare import Prepared as Prepared, prepare_digit as prepare_digit

FILES = {  # their sizes and checksums, see `loader.Dataset`
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


def load_data(path: str | os.PathLike[str] = "mnist.npz") -> tuple[Split, Split]:
    """Return MNIST, read from this machine, or downloaded the first time.

    The first of these sources that exists is used:

    1. the four files that TFDS uses, if you put them into `<data dir>/downloads/manual/`, or into
       the folder `mnist` in it; the data dir is the environment variable `TFDS_DATA_DIR`, or
       `~/tensorflow_datasets`;
    2. the same files in TFDS's own store, `<data dir>/downloads/`;
    3. Keras's copy, `~/.keras/datasets/mnist.npz` (`KERAS_HOME` replaces `~/.keras`);
    4. a download of 12 MB into TFDS's store, by TFDS.

    In the folder `manual`, files of other sizes, such as those of Fashion-MNIST, are passed over.

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
    copy = keras_folder() / Path(path).expanduser()
    if os.fspath(path) != "mnist.npz" and copy.is_file():
        return _read_npz(copy)
    mnist = Dataset("mnist", "MNIST", FILES, copy)
    files = mnist.find()
    if len(files) < len(FILES) and copy.is_file():
        return _read_npz(copy)
    return mnist.read(files)


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
