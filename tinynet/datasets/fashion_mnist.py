"""Fashion-MNIST: 70,000 images of clothes, of the shapes and types of MNIST, as Keras returns them.

They are harder to tell apart than digits. The data are Zalando's, under the MIT licence. `loader`
finds or downloads the four files, and reads them.
"""

from tinynet.datasets.loader import Dataset, Split, keras_folder

FILES = {  # their sizes and checksums, see `loader.Dataset`
    "train-images-idx3-ubyte.gz": (
        26421880,
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    ),
    "train-labels-idx1-ubyte.gz": (
        29515,
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    ),
    "t10k-images-idx3-ubyte.gz": (
        4422102,
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    ),
    "t10k-labels-idx1-ubyte.gz": (
        5148,
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
}


def load_data() -> tuple[Split, Split]:
    """Return Fashion-MNIST, read from this machine, or downloaded the first time.

    The labels 0 … 9 are T-shirt/top, Trouser, Pullover, Dress, Coat, Sandal, Shirt, Sneaker, Bag
    and Ankle boot. The first of these sources that has a file is used:

    1. `<data dir>/downloads/manual/fashion_mnist/`, if you put the four files that TFDS uses there,
       or `<data dir>/downloads/manual/`; the data dir is the environment variable `TFDS_DATA_DIR`,
       or `~/tensorflow_datasets`;
    2. TFDS's own store, `<data dir>/downloads/`;
    3. Keras's copies of the same files, in `~/.keras/datasets/fashion-mnist/` (`KERAS_HOME`
       replaces `~/.keras`);
    4. a download of 31 MB into TFDS's store, by TFDS.

    In the folder `manual`, files of other sizes, such as those of MNIST, are passed over.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: images of shape (60000, 28, 28) and (10000, 28, 28)
        with values 0 … 255 (0 is the background), labels of shape (60000,) and (10000,) with
        values 0 … 9, all uint8, new arrays at each call.

    Raises:
        ValueError: if a file is broken, or is not the one that the catalogue describes.
        ImportError: if it must be downloaded and tensorflow-datasets is not installed.
        ConnectionError: if it cannot be downloaded; raised within 3 s if the host does not answer.
        OSError: if it cannot be stored.

    Source: Xiao, Rasul, Vollgraf 2017, https://arxiv.org/abs/1708.07747; and
    https://keras.io/api/datasets/fashion_mnist and
    https://www.tensorflow.org/datasets/catalog/fashion_mnist
    """
    copy = keras_folder() / "fashion-mnist"
    dataset = Dataset("fashion_mnist", "Fashion-MNIST", FILES, copy)
    return dataset.read(dataset.find())
