"""The digits of the lessons: MNIST if it is on this machine, and otherwise the embedded ones."""

import numpy as np

from tinynet.datasets import digits, mnist
from tinynet.datasets.loader import Dataset, Split, keras_folder
from tinynet.utils.progress import printable


def load_data(which: str | None = None) -> tuple[Split, Split, int]:
    """Return MNIST if it is on this machine, otherwise the embedded digits; print which.

    Arguments:
        which: ``"mnist"``, which is downloaded if need be, or ``"digits"``.

    Returns:
        `(X_train, y_train), (X_test, y_test), white`: images (n, height, width) and labels (n,), as
        `tinynet.datasets` returns them, and the value of a pixel full of ink, 255 or 16.

    >>> (X_train, y_train), (X_test, y_test), white = load_data("digits")
    The embedded digits: 1,500 training images of 8 × 8 pixels from 0 to 16, 297 test images.
    """
    if which is None:
        copy = keras_folder() / "mnist.npz"
        complete = len(Dataset("mnist", "MNIST", mnist.FILES, copy).find()) == len(mnist.FILES)
        which = "mnist" if complete or copy.is_file() else "digits"
    if which not in ("mnist", "digits"):
        raise ValueError(f"Expected 'mnist' or 'digits', received {which!r}. Write: load_data()")
    name, source, white = {
        "mnist": ("MNIST", mnist, 255),
        "digits": ("The embedded digits", digits, 16),
    }[which]
    train, test = source.load_data()
    height, width = np.shape(train[0])[1:]
    text = (
        f"{name}: {len(train[0]):,} training images of {height} × {width} pixels "
        f"from 0 to {white}, {len(test[0]):,} test images."
    )
    print(printable(text))
    return train, test, white
