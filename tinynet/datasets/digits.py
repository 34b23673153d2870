"""The small dataset of handwritten digits that is included in tinynet.

1,797 images of 8 × 8 pixels, written by 13 people: part of the "Optical Recognition of
Handwritten Digits" that E. Alpaydin and C. Kaynak gave to the UCI Machine Learning Repository.
They replace MNIST where nothing can be downloaded, and in the tests; a model trains in a second.
The file is a compressed table with one image per row; `DIGITS_LICENSE.md` beside it states its
source and its licence (CC BY 4.0).
"""

import gzip

import numpy as np

TRAINING_IMAGES = 1500


def load_data() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return the 8 × 8 digits, in the format of Keras's datasets.

    The first 1,500 rows of the file are for training, the last 297 for testing, unshuffled.
    Neighbouring rows tend to come from the same writer (the file does not name the writers), so
    most test digits are likely by writers that are not in the training data. Shuffling before the
    split would make the test easier: a vote of the three nearest training images would then be
    right in 99 % of the cases instead of 96 %.

    >>> (x_train, y_train), (x_test, y_test) = load_data()
    >>> x_train.shape, y_train.shape, x_test.shape, y_test.shape
    ((1500, 8, 8), (1500,), (297, 8, 8), (297,))
    >>> print(y_train[0])
    0
    >>> print(x_train[0])
    [[ 0  0  5 13  9  1  0  0]
     [ 0  0 13 15 10 15  5  0]
     [ 0  3 15  2  0 11  8  0]
     [ 0  4 12  0  0  8  8  0]
     [ 0  5  8  0  0  9  8  0]
     [ 0  4 11  0  1 12  7  0]
     [ 0  2 14  5 10 12  0  0]
     [ 0  0  6 13 10  0  0  0]]

    A pixel counts the dark pixels of a 4 × 4 block of the scan, so its values are 0 … 16, not
    0 … 255: divide by 16 to scale them to 0 … 1.

    >>> scaled = x_train.astype("float32") / 16
    >>> print(scaled.min(), scaled.max())
    0.0 1.0

    Returns:
        `(x_train, y_train), (x_test, y_test)`: images of shape (n, 8, 8) with values 0 … 16,
        and labels of shape (n,) with values 0 … 9, all uint8. Each call returns new arrays.

    Source: https://archive.ics.uci.edu/dataset/80
    """
    import importlib.resources  # not at the top: it would double the import time of this module

    # As a resource, the file is found in an installed package and in a zipped one.
    resource = importlib.resources.files("tinynet.datasets") / "digits.csv.gz"
    with resource.open("rb") as packed, gzip.open(packed) as table:
        rows = np.loadtxt(table, dtype=np.uint8, delimiter=",")  # (1797, 64 pixels + 1 label)
    x = rows[:, :-1].reshape(-1, 8, 8)
    y = rows[:, -1]
    # Copies, so that training and test share no memory and each is contiguous.
    return (
        (x[:TRAINING_IMAGES].copy(), y[:TRAINING_IMAGES].copy()),
        (x[TRAINING_IMAGES:].copy(), y[TRAINING_IMAGES:].copy()),
    )
