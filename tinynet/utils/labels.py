"""Small helpers with Keras's names: one-hot labels, and a seed for everything random."""

import numpy as np

from tinynet import backend
from tinynet.backend.types import ArrayLike
from tinynet.compat import checks, naming


def to_categorical(x: ArrayLike, num_classes: int | None = None) -> np.ndarray:
    """Turn class numbers into one-hot rows.

    >>> to_categorical([0, 2, 1])
    array([[1., 0., 0.],
           [0., 0., 1.],
           [0., 1., 0.]])

    Arguments:
        x: class numbers 0 … num_classes − 1, of any shape; a last axis of length 1 is dropped.
        num_classes: the length of a row; the largest class + 1 if not given.

    Returns:
        A float64 array of shape ``x.shape + (num_classes,)``.

    Raises:
        ValueError: if `x` is empty or not numeric, or has NaN or infinity.
        IndexError: if a class does not fit into `num_classes`.

    Source: https://keras.io/api/utils/python_utils/#to_categorical-function
    """
    labels = checks.plain(x, "labels")
    if labels.dtype.kind not in "biuf":
        raise ValueError(
            f"Expected class numbers, received an array of dtype {labels.dtype}. "
            "Write: to_categorical(labels.astype(int))"
        )
    if labels.size == 0:
        raise ValueError("Expected at least one class number, received an empty array.")
    wrong = ~(abs(labels.astype("float64")) < 2**53)  # also NaN
    if wrong.any():
        raise ValueError(
            f"Expected class numbers, received {labels[wrong][0]}, first at {wrong.argmax()}. "
            "Write: leave such labels out, or give them a class of their own"
        )
    if num_classes is not None:
        num_classes = checks.count(num_classes, "num_classes", minimum=0)
    labels = labels.astype("int64")
    shape = labels.shape[:-1] if labels.ndim > 1 and labels.shape[-1] == 1 else labels.shape
    classes = num_classes or int(labels.max()) + 1
    if labels.max() >= classes or labels.min() < -classes:
        raise IndexError(
            f"Expected classes below num_classes={classes}, "
            f"received classes from {labels.min()} to {labels.max()}. "
            f"Write: to_categorical(y, num_classes={int(labels.max()) + 1})"
        )
    one_hot = np.zeros((labels.size, classes))
    one_hot[np.arange(labels.size), labels.ravel()] = 1
    return one_hot.reshape((*shape, classes))


def set_random_seed(seed: int) -> None:
    """Seed all random generators: tinynet's, and the global ones of Python and NumPy.

    The initial weights of models made afterwards, and the order of the samples in `fit`, are
    then the same in every run.

    Raises:
        ValueError: if `seed` is not an integer from 0 to 2**32 − 1.

    Source: https://keras.io/api/utils/python_utils/#set_random_seed-function
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise ValueError(
            f"Expected seed to be an integer from 0 to 2**32 - 1, received: {seed!r}. "
            "Write: tinynet.utils.set_random_seed(42)"
        )
    import random  # not at the top: it is slow to import

    random.seed(int(seed))
    np.random.seed(int(seed))  # noqa: NPY002, Keras seeds the global generator as well
    backend.seed(int(seed))


def clear_session(free_memory: bool = True) -> None:
    """Reset the automatic names: the next dense layer is called ``dense`` again.

    With `free_memory`, also collect garbage, and return the GPU's memory that is not in use.
    """
    naming.reset_names()
    if checks.flag(free_memory, "free_memory"):
        backend.release_memory()
