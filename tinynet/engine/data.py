"""The caller's arrays, cut into batches: in order or shuffled, converted batch by batch.

On the host, the data are never converted or scanned as a whole, and copied only if their rows are
not in C order, which would make each epoch slow. Images stay bytes, a memory-mapped file stays on
disk, and only the current batch is converted to float32, in buffers that every step reuses.

Transfers to a GPU are slow, and every operation there, however small, costs the host some
microseconds. So the data are sent once if they fit, images still as bytes; their order follows once
per epoch; rows are gathered and converted for many batches at a time, and each batch is a view.
"""

import sys
import zlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from tinynet import backend, config
from tinynet.backend.types import UNSET, Array, DTypeLike, HostArray, Model, Samples, State
from tinynet.compat import checks

# The number of bytes gathered on a GPU at a time: for MNIST, about 160 batches of 32.
BLOCK_BYTES = 16_000_000

# An array that is not in C order is worth a warning beyond the first, and not copied beyond the
# second number of bytes.
SMALL_BYTES, COPIED_BYTES = 8_000_000, 1_000_000_000


class Batch(NamedTuple):
    """The arrays of one step; `classes` has the class numbers of one-hot targets, where known."""

    x: Array
    y: Array = UNSET
    sample_weight: Array | None = None
    classes: Array | None = None


class ArrayReader:
    """One array, read some rows at a time and converted to the type that a model computes in."""

    def __init__(self, source: HostArray, dtype: DTypeLike, name: str = "x") -> None:
        self.source = np.asarray(source)  # makes a plain view of a memmap
        if self.source.nbytes > SMALL_BYTES and not in_rows(self.source):
            checks.warn(
                f"Expected {name} row by row in memory (C order), received an array of "
                f"{self.source.nbytes / 1e6:,.0f} MB with strides {self.source.strides}: it takes "
                f"longer to read. Write: {name} = np.ascontiguousarray({name})"
            )
        self.dtype = np.dtype(dtype).newbyteorder("=")
        self._converts = self.source.dtype != self.dtype
        # Integers are sent to a GPU in their own type, floats in the type used there.
        floats = self.source.dtype.kind == "f"
        self._sent_as = self.dtype if floats else self.source.dtype.newbyteorder("=")
        self._loaded: Array = UNSET  # all rows on the GPU
        self._gathered = np.empty((0, *self.source.shape[1:]), self.source.dtype)
        self._converted = np.empty((0, *self.source.shape[1:]), self.dtype)

    def take(self, rows: slice | HostArray) -> Array:
        """Return the rows in a slice, or at the given indices in that order, on the host."""
        part = self._gather(rows)
        if not self._converts and (part.flags.c_contiguous or in_rows(part)):
            return part
        if len(self._converted) < len(part):
            self._converted = np.empty(part.shape, self.dtype)
        converted = self._converted[: len(part)]
        converted[...] = part
        return converted

    def _gather(self, rows: slice | HostArray) -> HostArray:
        if isinstance(rows, slice):
            return self.source[rows]
        if len(self._gathered) < len(rows):
            self._gathered = np.empty((len(rows), *self.source.shape[1:]), self.source.dtype)
        return backend.take_rows(self.source, rows, out=self._gathered[: len(rows)])

    def copy_into_rows(self) -> None:
        """Copy all rows, to read them many times, if another order makes that slow."""
        if not in_rows(self.source) and self.source.nbytes <= COPIED_BYTES:
            self.source = np.ascontiguousarray(self.source)

    @property
    def gpu_bytes(self) -> int:
        """The memory that all rows take on a GPU, in bytes."""
        return self.source.size * self._sent_as.itemsize

    def copy_to_gpu(self) -> None:
        """Send all rows to the GPU in use, in blocks, so that the host never holds them twice."""
        loaded = backend.xp.empty(self.source.shape, self._sent_as)
        size = max(1, BLOCK_BYTES * len(self.source) // max(1, self.gpu_bytes))
        for start in range(0, len(self.source), size):
            loaded[start : start + size] = self._send(self.source[start : start + size])
        self._loaded = loaded

    def take_on_gpu(self, rows: slice | Array) -> Array:
        """Return the same rows as `take`, on the GPU in use; send them unless `copy_to_gpu` did."""
        if self._loaded is None:
            part = self._send(self._gather(rows))
        elif isinstance(rows, slice):
            part = self._loaded[rows]
        else:
            part = backend.take_rows(self._loaded, rows)
        return part.astype(self.dtype, copy=False)

    def classes(self) -> "ArrayReader":
        """Return a reader, already on the GPU, of each row's class; call `copy_to_gpu` first."""
        classes = ArrayReader(self.source[..., 0], "int64")
        classes._loaded = self._loaded.argmax(axis=-1)
        return classes

    def _send(self, rows: HostArray) -> Array:
        return backend.xp.asarray(np.asarray(rows, self._sent_as))


class Batches:
    """Samples with their targets and weights, in batches.

    Arguments:
        x: samples, (n, …).
        y: targets, (n, …), or None.
        sample_weight: (n,) or (n, 1), or None.
        batch_size: samples per batch; the last batch may be smaller.
        dtype: the float type to which x, the weights and float targets are converted.
    """

    is_whole = True  # whether x, y and the weights are all that there are

    def __init__(
        self,
        x: HostArray,
        y: HostArray | None = None,
        sample_weight: HostArray | None = None,
        batch_size: int = 32,
        dtype: str | None = None,
    ) -> None:
        dtype = dtype or config.floatx()
        self.batch_size = batch_size
        self.order_length = len(x)  # of the numbers that are shuffled
        self.steps: int | None = -(-len(x) // batch_size)  # in a pass; None if not known
        self.x = ArrayReader(x, dtype)
        # Class numbers stay integers.
        self.y = None
        if y is not None:
            self.y = ArrayReader(y, dtype if y.dtype.kind == "f" else y.dtype, "y")
        self.weights = None if sample_weight is None else ArrayReader(sample_weight, dtype)
        self.classes: ArrayReader | None = None  # of one-hot targets, once they are on a GPU
        self._loaded = False

    def copy_to_gpu(self) -> None:
        """Send all data to the GPU in use if they fit into half of its free memory.

        Otherwise, batches are sent as they are needed. On the host, data in an order that is slow
        to read are copied.
        """
        room = backend.free_memory()
        rows = [part for part in (self.x, self.y, self.weights) if part is not None]
        if room is None:
            for part in rows:
                part.copy_into_rows()
        if room is None or sum(part.gpu_bytes for part in rows) > room // 2:
            return
        for part in rows:
            part.copy_to_gpu()
        self._loaded = True
        if self.y is not None and self.y.source.ndim > 1 and self.y.source.shape[-1] > 1:
            self.classes = self.y.classes()

    def largest_batch(self, merge: int = 1) -> int:
        """Return the size of the largest batch when `merge` batches are merged into one."""
        return min(merge * self.batch_size, self.order_length)

    def clip_steps(self, steps: int | None, first: int = 0) -> int | None:
        """Return how many of `steps` batches there are from `first` on, with a warning if fewer.

        None means all of them; it is returned if their number is not known.
        """
        if self.steps is None or steps is None:
            return steps if self.steps is None else self.steps - first
        if steps > self.steps - first:
            self.warn_of_end(self.steps - first, steps)
        return min(steps, self.steps - first)

    def warn_of_end(self, done: int, wanted: int, what: str = "steps") -> None:
        """Warn that there are data only for those steps, epochs or validations that are `done`."""
        checks.warn(
            f"Your input ran out of data after {done} of {wanted} {what}: {self.advice(what)}"
        )

    def advice(self, what: str) -> str:
        """Return why there are not enough batches, and what to write."""
        return (
            f"a pass over the {self.order_length} samples has {self.steps} batches of "
            f"{self.batch_size}. Leave steps_per_epoch, validation_steps or steps out to use them "
            "all."
        )

    def has_batch(self, number: int) -> bool:
        """Return whether this pass has a batch of that number, from 0."""
        return self.steps is None or number < self.steps

    def iterate(
        self, first: int, last: int | None, order: Array | None = None, merge: int = 1
    ) -> Iterator[Batch]:
        """Yield batches `first` to `last` − 1, with the samples in `order`, or as given if None.

        Arguments:
            merge: how many batches are merged into one.
        """
        end = min((last or 0) * self.batch_size, self.order_length)
        size = merge * self.batch_size
        on_host = backend.backend() == "numpy"
        take = ArrayReader.take if on_host else ArrayReader.take_on_gpu
        block = size if on_host else size * self._batches_per_block(size)
        if order is not None and self._loaded:
            order = backend.xp.asarray(order)
        for start in range(first * self.batch_size, end, block):
            stop = min(start + block, end)
            rows = slice(start, stop) if order is None else order[start:stop]
            parts = [None if part is None else take(part, rows) for part in self._parts()]
            for begin in range(0, stop - start, size):
                yield Batch(*(UNSET if a is None else a[begin : begin + size] for a in parts))

    def _parts(self) -> tuple[ArrayReader | None, ...]:
        return self.x, self.y, self.weights, self.classes

    def _batches_per_block(self, size: int) -> int:
        """Return how many batches of `size` samples to gather on a GPU at a time."""
        parts = [part for part in self._parts() if part is not None]
        sample = sum(part.source[:1].size * part.dtype.itemsize for part in parts)
        room = min(BLOCK_BYTES, (backend.free_memory() or 0) // 8)
        return int(max(1, room // (size * sample)))

    def fingerprint(self) -> str:
        """Return a fingerprint of the data: shapes, types, and checksums of up to 50 rows."""
        fingerprints = []
        for part in filter(None, (self.x, self.y, self.weights)):
            rows = np.linspace(0, len(part.source) - 1, 50).astype(int)
            checksum = zlib.crc32(np.ascontiguousarray(part.source[rows]).tobytes())
            fingerprints.append(f"{part.source.shape} {part.source.dtype} {checksum:08x}")
        return ", ".join(fingerprints)


def in_rows(array: HostArray) -> bool:
    """Return whether the rows of `array` are read fast: each is in C order, and they go forward."""
    return array[:1].flags.c_contiguous and (array.ndim < 2 or array.strides[0] >= 0)


class EpochIterator:
    """Passes over the samples, reshuffled for each pass if a generator is given, cut into epochs.

    An epoch shorter than a pass continues where the previous one ended, as in Keras; a pass that
    ends within an epoch also ends the epoch, with a warning.
    """

    def __init__(self, batches: Batches, generator: "np.random.Generator | None") -> None:
        self.batches = batches
        self._generator = generator
        self._order: HostArray | None = None
        # The generator's state before the order was drawn.
        self._drawn_from: Mapping[str, object] | None = None
        self._first, self._last = 0, UNSET  # the batches of this epoch; None: all that follow
        self._next = 0  # the first batch of the next epoch

    @property
    def shuffled(self) -> bool:
        return self._generator is not None

    def has_data(self) -> bool:
        """Return whether there is another epoch; if the pass has ended, the next one begins."""
        if not self.batches.has_batch(self._next):
            self._next = 0
        return self.batches.has_batch(self._next)

    def next_epoch(self, steps: int | None) -> Iterator[Batch]:
        """Return an iterator over the next `steps` batches, or those left in the pass if fewer."""
        if self._next == 0:
            self._shuffle()
        self._first, self._last = self._next, None
        steps = self.batches.clip_steps(steps, self._first)
        if steps is not None:
            self._last = self._first + steps
        self._next = (self._last or 0) % (self.batches.steps or sys.maxsize)
        return self.remaining(0)

    def remaining(self, done: int) -> Iterator[Batch]:
        """Return an iterator over the batches of this epoch without the first `done`."""
        return self.batches.iterate(self._first + done, self._last, self._order)

    def _shuffle(self) -> None:
        if self._generator is not None:
            self._drawn_from = self._generator.bit_generator.state
            self._order = self._generator.permutation(self.batches.order_length)

    def get_state(self) -> State:
        """Return the position and the generator state that reproduces the order."""
        return {
            "first": self._first,
            "last": self._last,
            "next": self._next,
            "drawn_from": self._drawn_from,
        }

    def set_state(self, state: State) -> None:
        """Continue from a state of `get_state`; the generator is used, and its state changes."""
        first, last, after = state["first"], state["last"], state["next"]
        steps = self.batches.steps or sys.maxsize
        if not 0 <= first <= (first if last is None else last) <= steps or not 0 <= after < steps:
            raise ValueError(f"it is at batches {first} to {last} of {self.batches.steps}")
        self._first, self._last, self._next = first, last, after
        if self._generator is not None and state["drawn_from"] is not None:
            self._generator.bit_generator.state = state["drawn_from"]
            self._shuffle()


def class_weight_per_sample(y: HostArray, class_weight: Mapping[int, float]) -> HostArray:
    """Return each sample's weight: that of its class, or 1 for a class not in `class_weight`."""
    one_hot = y.ndim > 1 and y.shape[-1] > 1
    with backend.ignore_warnings():  # about NaN, which is no class
        classes = y.argmax(axis=-1) if one_hot else np.rint(y.reshape(len(y))).astype("int64")
    weights = np.ones(len(y), config.floatx())
    for number, weight in class_weight.items():
        weights[classes == number] = weight
    return weights


def apply_class_weight(
    model: Model, samples: Samples, class_weight: Mapping[int, float] | None
) -> Samples:
    """Return `samples`, with each sample weighted by its class.

    Raises:
        ValueError: if they already have sample weights, or a sample has several labels.
    """
    x, y, sample_weight = samples
    if class_weight is None:
        return samples
    if sample_weight is not None:
        raise ValueError(
            "You cannot `class_weight` and `sample_weight` at the same time. "
            "Write: sample_weight = sample_weight * weight_of_each_samples_class"
        )
    if len(model.compute_output_shape(x.shape)) > 2:
        raise ValueError(
            "Expected one label per sample to apply class_weight, received targets of shape "
            f"{y.shape}, several per sample. Write: sample_weight=… instead of class_weight"
        )
    return x, y, class_weight_per_sample(y, checks.class_weight(class_weight))
