"""How many threads BLAS uses: one for small products, all for large ones.

A matrix product on several threads is cut into parts, and the threads wait for each other at its
end. For a large product that is nothing. A small one is over before it has paid for the waiting,
and where another program wants a core as well, every product of a step waits for that program:
steps then take many times as long. What decides is how many multiplications the largest product of
a step has.

`threadpoolctl` knows the BLAS libraries and how to tell them. It comes with the extra `threads`;
where it is not installed, BLAS does as it likes.
"""

import functools
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

# With 784 inputs and 100 units, batches of 32 (2.5 million) gain nothing from a second thread,
# batches of 64 (5 million) do.
WORTH_MORE_THREADS = 4_000_000

# Whoever sets one of these has decided.
VARIABLES = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


@contextmanager
def suited_to(multiplications: int) -> Iterator[None]:
    """A ``with`` block for products that have no more multiplications than this.

    It lowers the number of threads or leaves it; no limit of the user's is ever exceeded.
    """
    libraries = None if multiplications >= WORTH_MORE_THREADS else _libraries()
    if libraries is None or any(os.environ.get(name) for name in VARIABLES):
        yield
        return
    with libraries.limit(limits=1):
        yield


def multiplications(layers: Sequence[Any], batch_size: int) -> int:
    """How many multiplications the largest matrix product of a step through `layers` has."""
    largest = 0
    for layer in layers:
        rows = math.prod(size or 1 for size in (layer.output_shape or ())[1:-1])
        largest = max([largest, *(rows * weight.size for weight in layer.weights)])
    return batch_size * largest


@functools.cache
def _libraries() -> Any:
    """The BLAS libraries in memory, for `threadpoolctl`; None without it."""
    try:
        import threadpoolctl
    except ImportError:
        return None
    return threadpoolctl.ThreadpoolController().select(user_api="blas")
