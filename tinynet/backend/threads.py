"""The number of BLAS threads: one for small matrix products; for large ones, as many as help now.

A matrix product on several BLAS threads is cut into parts, and the threads wait for each other at
its end. For a large product, the wait is negligible, as long as every thread has a core to itself.
If another program needs one of the cores, each product waits until that program is interrupted, and
a step takes many times as long. So a call that computes large products measures how long its steps
take with all threads and with one, uses what is faster, and measures again every few seconds, or
as soon as steps become slower.

`threadpoolctl` sets the number of threads for all BLAS libraries. It comes with the extra
`threads`; if it is not installed, the number is not changed.
"""

import functools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from time import perf_counter

from tinynet import backend
from tinynet.backend.types import AnyLayer, Compiled

# With 784 inputs and 100 units, batches of 32 (2.5 million) gain nothing from a second thread,
# batches of 64 (5 million) do.
MULTITHREAD_THRESHOLD = 4_000_000

# More threads have to save a twentieth of the time. After a step that takes this many times as
# long as usual, and another one, the number is reconsidered.
WORTHWHILE, SLOW = 0.95, 1.5

# The seconds until the number is reconsidered: at first; and at most, if it was right each time.
SOONEST, LATEST = 1.0, 8.0

# If one of these is set, the user has chosen the number of threads.
THREAD_VARIABLES = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


class Blas:
    """The BLAS libraries of this process, while calls limit the number of their threads."""

    calls = 0
    now = 0  # the number of threads that was set last
    libraries: Compiled = None
    originals: Sequence[int] = ()

    def begin(self, libraries: Compiled) -> None:
        if not self.calls:
            self.libraries = libraries.lib_controllers
            self.originals = [library.num_threads for library in self.libraries]
            self.now = max(self.originals, default=1)
        self.calls += 1

    def set(self, count: int) -> None:
        if count != self.now:
            self.now = count
            for library, original in zip(self.libraries, self.originals, strict=True):
                library.set_num_threads(min(count, original))

    def end(self) -> None:
        self.calls -= 1
        if not self.calls:
            self.set(max(self.originals, default=1))


_blas, _counting = Blas(), backend.turns.lock()


class Steps:
    """A ``with`` block for each step: it has the number of threads that was the fastest lately.

    Arguments:
        counts: the numbers of threads to choose from, the largest first.
    """

    def __init__(self, counts: Sequence[int]) -> None:
        self.counts, self.best = counts, counts[0]
        self._times: dict[int, float] = {}  # the least that a step took for each row, in seconds
        # What is left of a trial; the first step of all, which is slower, is not measured.
        self._trial = [*counts, *counts, 0] if len(counts) > 1 else []
        self._wait, self._next = SOONEST, math.inf
        self._slow_steps, self._rows = 0, 1

    def __call__(self, rows: int) -> "Steps":
        """Return the block for a step with that many samples."""
        self._rows = rows
        return self

    def __enter__(self) -> None:
        if len(self.counts) > 1:
            self._began = perf_counter()
            if not self._trial and self._began > self._next:
                self._trial, self._times = [*self.counts, *self.counts], {}
        _blas.set((self._trial[-1] or self.counts[0]) if self._trial else self.best)

    def __exit__(self, *_: object) -> None:
        if len(self.counts) == 1:
            return
        took = (perf_counter() - self._began) / self._rows
        if not self._trial:
            self._slow_steps = self._slow_steps + 1 if took > SLOW * self._times[self.best] else 0
            if self._slow_steps > 1 and self.best > 1:
                self._next, self._wait = 0.0, SOONEST
            return
        if count := self._trial.pop():
            self._times[count] = min(took, self._times.get(count, took))
            if took > 2 * min(self._times.values()):  # do not try that again
                self._trial = [other for other in self._trial if other != count]
        if not self._trial:
            self._decide()

    def _decide(self) -> None:
        before, self.best = self.best, self.counts[-1]
        for count in reversed(self.counts):
            if self._times[count] < WORTHWHILE * self._times[self.best]:
                self.best = count
        self._wait = min(2 * self._wait, LATEST) if self.best == before else SOONEST
        self._next, self._slow_steps = perf_counter() + self._wait, 0


@contextmanager
def limited_for(
    multiplications: int, trains: bool = False
) -> Iterator[Callable[[int], AbstractContextManager[None]]]:
    """Choose the number of BLAS threads in a ``with`` block, which begins a block for each step.

    The number of threads is never raised, so a limit set by the user is never exceeded. It holds
    for the whole process, until the last of overlapping calls ends.

    Arguments:
        multiplications: their number in the largest product of a step.
        trains: whether the steps train, and so take longer than others of that size.
    """
    libraries = _libraries()
    if libraries is None or any(os.environ.get(name) for name in THREAD_VARIABLES):
        yield lambda rows: nullcontext()
        return
    with _counting:
        _blas.begin(libraries)
    most = max(_blas.originals, default=1)
    small = multiplications < MULTITHREAD_THRESHOLD or backend.backend() == "cupy"
    steps = _steps(1, 0, False) if small else _steps(most, multiplications, trains)
    try:
        _blas.set(steps.best)
        yield steps
    finally:
        with _counting:
            _blas.end()


def for_layers(
    layers: Sequence[AnyLayer], batch_size: int, trains: bool = False
) -> AbstractContextManager[Callable[[int], AbstractContextManager[None]]]:
    """Return the block of `limited_for` for the products of these layers."""
    return limited_for(largest_product(layers, batch_size), trains)


@functools.lru_cache(maxsize=64)
def _steps(most: int, multiplications: int, trains: bool) -> Steps:
    """Return the same object for calls of the same kind, which remembers what was measured."""
    return Steps(sorted({most, max(1, most // 2), 1}, reverse=True))


def largest_product(layers: Sequence[AnyLayer], batch_size: int) -> int:
    """Return the number of multiplications in the largest matrix product of a step."""
    largest = 0
    for layer in layers:
        rows = math.prod(size or 1 for size in (layer.output_shape or ())[1:-1])
        largest = max([largest, *(rows * weight.size for weight in layer.weights)])
    return batch_size * largest


@functools.cache
def _libraries() -> Compiled:
    """Return the loaded BLAS libraries, as `threadpoolctl` controls them; None without it."""
    try:
        import threadpoolctl
    except ImportError:
        return None
    return threadpoolctl.ThreadpoolController().select(user_api="blas")
