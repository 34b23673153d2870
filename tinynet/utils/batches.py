"""`PyDataset`, the base of a dataset that makes its batches when they are needed, as in Keras."""

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import count, islice
from typing import TypeVar

from tinynet.backend import is_integer

T = TypeVar("T")


class PyDataset:
    """A dataset of batches by number: define `__len__` and `__getitem__`.

    `__getitem__` returns a whole batch, (x, y) or (x, y, sample_weight), and `__len__` the number
    of batches. If there is no end of them, let `num_batches` be None instead of defining `__len__`.
    `fit` takes them in a new order in every epoch, unless ``shuffle=False``.

    >>> import numpy
    >>> class Parity(PyDataset):
    ...     def __len__(self):
    ...         return 100
    ...
    ...     def __getitem__(self, index):
    ...         x = numpy.random.default_rng(index).integers(0, 2, (32, 8))
    ...         return x, x.sum(axis=1) % 2
    >>> len(Parity()), Parity()[0][0].shape
    (100, (32, 8))

    Arguments:
        workers: how many threads make batches; with 0 or 1, they are made between the steps.
        use_multiprocessing: False: batches are made by threads, not by other processes.
        max_queue_size: how many batches several workers may be ahead.

    Raises:
        ValueError: for numbers below 0.

    Source: https://keras.io/api/utils/python_utils/#pydataset-class
    """

    workers, max_queue_size, use_multiprocessing = 1, 10, False

    def __init__(
        self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10
    ) -> None:
        for name, value in (("workers", workers), ("max_queue_size", max_queue_size)):
            if not is_integer(value) or value < 0:
                raise ValueError(
                    f"Expected {name} to be a whole number of at least 0, received: {value!r}. "
                    f"Write: {name}=1"
                )
        if use_multiprocessing:
            warnings.warn(
                f"Expected use_multiprocessing to be False, received: {use_multiprocessing!r}. "
                "Threads make the batches here, as many as `workers`. Leave it out",
                stacklevel=2,
            )
        self.workers, self.max_queue_size = workers, max_queue_size

    def __getitem__(self, index: int) -> object:
        """Return batch number `index`, from 0."""
        raise NotImplementedError(
            f"Expected {type(self).__name__} to define __getitem__. Write: def __getitem__(self, "
            "index): return x, y"
        )

    @property
    def num_batches(self) -> int | None:
        """The number of batches; None if there is no end of them."""
        if hasattr(self, "__len__"):
            return len(self)
        raise NotImplementedError(
            f"Expected {type(self).__name__} to have a number of batches. Write: def "
            "__len__(self): return 100"
        )

    def __iter__(self) -> Iterator[object]:
        return map(
            self.__getitem__, count() if self.num_batches is None else range(self.num_batches)
        )

    def on_epoch_begin(self) -> None:
        """Called before each epoch."""

    def on_epoch_end(self) -> None:
        """Called after each epoch and, as in Keras, before the first in `fit` and `evaluate`."""


Sequence = PyDataset  # its former name in Keras


def in_order(
    make: Callable[[int], T], numbers: Iterable[int], workers: int | None, ahead: int
) -> Iterator[T]:
    """Yield ``make(n)`` for each of `numbers`, in their order, made by threads if `workers` > 1."""
    if not workers or workers == 1:
        yield from map(make, numbers)
        return
    from concurrent.futures import ThreadPoolExecutor  # needed only here

    numbers = iter(numbers)
    with ThreadPoolExecutor(workers) as pool:
        waiting = deque(pool.submit(make, n) for n in islice(numbers, max(ahead, workers)))
        try:
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(make, n) for n in islice(numbers, 1))
        finally:
            for future in waiting:
                future.cancel()
