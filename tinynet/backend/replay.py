"""A step as a CUDA graph: captured once, then replayed with a single launch.

On a GPU, the host needs some microseconds to launch each of a step's operations, for small batches
longer than the GPU needs to compute it. A graph is a recording of these launches, which CUDA
repeats as one. It repeats them exactly, with the same arrays and the same numbers. Therefore:

- A batch is copied to where the captured step reads it.
- What the step allocates while it is captured stays allocated as long as the graph.
- Numbers that change from step to step, such as Adam's step size, are in cells on the device. Each
  replay fills them from the next row of a table, which is sent for many steps at once.

Source: https://docs.nvidia.com/cuda/cuda-c-programming-guide/#cuda-graphs
"""

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import numpy

from tinynet.backend import arrays, changing, turns
from tinynet.backend.types import Array, Compiled

Parts = Sequence[Array | None]  # the arrays of a batch
Step = Callable[[Parts], Array]  # returns an array, such as the loss


class Replay(changing.Numbers):
    """A step that is rehearsed, then captured, and from then on replayed.

    Arguments:
        cells: how many numbers may change from step to step.

    Attributes:
        draws: the functions that draw the integers among the numbers that change.
        rows: the number of rows of the table that are left.
    """

    def __init__(self, cells: int) -> None:
        self._cupy = sys.modules["cupy"]
        self._cells = self._cupy.zeros(cells, "uint32")
        self._used = 0
        self._fills = False  # whether numbers are written to their cells at once
        self._tabulated: list[float] | None = None  # or collected here instead
        self.draws: list[changing.Draw] = []
        self.rows = 0

    def rehearse(self, step: Step, batch: Parts) -> Array:
        """Do a step in the way in which it is captured later, which compiles its kernels."""
        self._batch = [None if part is None else part.copy() for part in batch]
        self._fills = True
        try:
            with self._receiving_numbers():
                return step(self._batch)
        finally:
            self._fills = False
            self._row = self._cells[: self._used]  # a step's numbers

    def capture(self, step: Step) -> None:
        """Record a step without doing it; raise whatever CuPy raises if that is not possible."""
        cupy = self._cupy
        self._memory: list[Compiled] = []
        stream, pool = cupy.cuda.Stream(non_blocking=True), cupy.get_default_memory_pool()
        outer = cupy.cuda.get_current_stream()

        def allocate(size: int) -> Compiled:
            with outer:  # which launches the graph; CuPy's pool keeps the streams' memory apart
                self._memory.append(pool.malloc(size))
            return self._memory[-1]

        # Ones that are made meanwhile are not there yet, and others may be forgotten later.
        made, arrays.made = arrays.made, {**arrays.made}
        self._memory += made.values()
        try:
            with self._receiving_numbers(), stream, cupy.cuda.using_allocator(allocate):
                stream.begin_capture()
                try:
                    self._result = step(self._batch)
                finally:
                    self._graph = stream.end_capture()
        finally:
            arrays.made = made
        if self._used != self._row.size:
            raise RuntimeError(f"a step has {self._used} numbers, and had {self._row.size} before")

    def tabulate(self, rows: int, count_numbers: Callable[[], object]) -> None:
        """Send the numbers of the next steps to the device.

        Arguments:
            rows: the number of steps.
            count_numbers: a function to call for each step; the formulas that it uses are not
                computed, but their numbers taken.
        """
        integers: list[int] = []
        floats = self._tabulated = []
        try:
            with self._receiving_numbers():
                for _ in range(rows):
                    integers += [draw() for draw in self.draws]
                    count_numbers()
        finally:
            self._tabulated = None
        table = numpy.empty((rows, self._row.size), "uint32")
        first = len(self.draws)
        table[:, :first] = numpy.reshape(integers, (rows, first))
        table.view("float32")[:, first:] = numpy.reshape(floats, (rows, self._row.size - first))
        self._table, self.rows = self._cupy.asarray(table), rows

    def replay(self, batch: Parts) -> Array:
        """Do a step with a batch and the next row of numbers; return what the step returns."""
        for own, new in zip(self._batch, batch, strict=True):
            if own is not None:
                own[...] = new
        self._row[...] = self._table[-self.rows]
        self.rows -= 1
        self._graph.launch()
        return self._result

    # The numbers of a step, see `changing.Numbers`

    def _receiving_numbers(self) -> AbstractContextManager[None]:
        self._used = 0
        return turns.temporarily(changing.numbers, self)

    def of_formula(self, numbers: list[float], dtype: object) -> Sequence[Array] | None:
        if self._tabulated is not None:
            self._tabulated += numbers
            return None
        return [self._cell(self._cells.view("float32"), number) for number in numbers]

    def integer(self, draw: changing.Draw) -> Array:
        if self._fills:
            self.draws.append(draw)
        return self._cell(self._cells, draw() if self._fills else 0)

    def _cell(self, cells: Array, number: float) -> Array:
        cell: Array = cells[self._used]
        self._used += 1
        if self._fills:
            cell[...] = number
        return cell
