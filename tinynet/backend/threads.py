"""The number of BLAS threads: one for small matrix products, all for large ones.

A matrix product on several BLAS threads is cut into parts, and the threads wait for each other at
its end. For a large product, the wait is negligible. For a small one, it costs more than is gained;
and if another program needs a core as well, every product of a step waits for that program: steps
then take many times as long. The choice depends on the number of multiplications in the largest
product of a step.

`threadpoolctl` sets the number of threads for all BLAS libraries. It comes with the extra
`threads`; if it is not installed, the number is not changed.
"""

import functools
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tinynet.backend import turns

# With 784 inputs and 100 units, batches of 32 (2.5 million) gain nothing from a second thread,
# batches of 64 (5 million) do.
MULTITHREAD_THRESHOLD = 4_000_000

# If one of these is set, the user has chosen the number of threads.
THREAD_VARIABLES = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)

_limiters: list[Any] = []  # one for each call that limits the number now
_counting = turns.lock()


@contextmanager
def limited_for(multiplications: int) -> Iterator[None]:
    """Limit BLAS to one thread in a ``with`` block if its products are small.

    The number of threads is never raised, so a limit set by the user is never exceeded. It holds
    for the whole process: of calls that overlap, the first one sets it, and the last one resets it.
    """
    libraries = None if multiplications >= MULTITHREAD_THRESHOLD else _libraries()
    if libraries is None or any(os.environ.get(name) for name in THREAD_VARIABLES):
        yield
        return
    with _counting:
        _limiters.append(_limiters[0] if _limiters else libraries.limit(limits=1))
    try:
        yield
    finally:
        with _counting:
            limiter = _limiters.pop()
            if not _limiters:
                limiter.restore_original_limits()


def largest_product(layers: Sequence[Any], batch_size: int) -> int:
    """Return the number of multiplications in the largest matrix product of a step."""
    largest = 0
    for layer in layers:
        rows = math.prod(size or 1 for size in (layer.output_shape or ())[1:-1])
        largest = max([largest, *(rows * weight.size for weight in layer.weights)])
    return batch_size * largest


@functools.cache
def _libraries() -> Any:
    """Return the loaded BLAS libraries, as `threadpoolctl` controls them; None without it."""
    try:
        import threadpoolctl
    except ImportError:
        return None
    return threadpoolctl.ThreadpoolController().select(user_api="blas")
