"""The caller's arrays, cut into batches: in order or shuffled, converted as they are handed out.

On the host nothing is converted, copied or looked through as a whole. Images stay the bytes they
are, a file mapped into memory stays on disk, and only the batch at hand becomes float32, in the
same buffers at every step.

To a GPU the way is long and every operation, however small, costs the host some microseconds. So
the data go there once if they fit, again as the bytes they are; their order follows, once an epoch;
and rows are gathered and converted for many batches at a time, of which each batch is then a view.
"""

import warnings
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from tinynet import backend, config
from tinynet.backend import Array
from tinynet.compat import validation

# What is gathered on a GPU at a time. For MNIST that is some 160 batches of 32.
BLOCK_BYTES = 16_000_000


class Batch(NamedTuple):
    """What a step sees; `classes` are the class numbers of one-hot targets, where known."""

    x: Array
    y: Array = None
    sample_weight: Array = None
    classes: Array = None


Samples = tuple[np.ndarray, np.ndarray, np.ndarray | None]  # x, y, sample_weight


class Rows:
    """One array, handed out some rows at a time, in the type that a model computes in."""

    def __init__(self, source: np.ndarray, dtype: Any) -> None:
        self.source = np.asarray(source)  # of a memmap, a plain view
        self.dtype = np.dtype(dtype).newbyteorder("=")
        self._converts = self.source.dtype != self.dtype
        # Bytes go to a GPU as bytes; floats in the type they will have there.
        floats = self.source.dtype.kind == "f"
        self._sent_as = self.dtype if floats else self.source.dtype.newbyteorder("=")
        self._loaded: Array = None  # all rows on the GPU
        self._gathered = np.empty((0, *self.source.shape[1:]), self.source.dtype)
        self._converted = np.empty((0, *self.source.shape[1:]), self.dtype)

    def take(self, rows: slice | np.ndarray) -> Array:
        """The rows in a range, or at given places in the given order, on the host."""
        part = self._rows(rows)
        if not self._converts and part.flags.c_contiguous:
            return part
        if len(self._converted) < len(part):
            self._converted = np.empty(part.shape, self.dtype)
        converted = self._converted[: len(part)]
        converted[...] = part
        return converted

    def _rows(self, rows: slice | np.ndarray) -> np.ndarray:
        if isinstance(rows, slice):
            return self.source[rows]
        if len(self._gathered) < len(rows):
            self._gathered = np.empty((len(rows), *self.source.shape[1:]), self.source.dtype)
        return backend.take_rows(self.source, rows, out=self._gathered[: len(rows)])

    @property
    def bytes_on_device(self) -> int:
        """What all rows would take on a GPU."""
        return self.source.size * self._sent_as.itemsize

    def load(self) -> None:
        """Send all rows to the GPU in use, some at a time: the host need not hold them twice."""
        loaded = backend.xp.empty(self.source.shape, self._sent_as)
        size = max(1, BLOCK_BYTES * len(self.source) // max(1, self.bytes_on_device))
        for start in range(0, len(self.source), size):
            loaded[start : start + size] = self._send(self.source[start : start + size])
        self._loaded = loaded

    def take_on_device(self, rows: slice | Array) -> Array:
        """The same as `take` on the GPU in use: from there where they are loaded, else sent now."""
        if self._loaded is None:
            part = self._send(self._rows(rows))
        elif isinstance(rows, slice):
            part = self._loaded[rows]
        else:
            part = backend.take_rows(self._loaded, rows)
        return part.astype(self.dtype, copy=False)

    def classes(self) -> "Rows":
        """The place of each row's largest number; of loaded rows, and loaded as well."""
        found = Rows(self.source[..., 0], "int64")
        found._loaded = self._loaded.argmax(axis=-1)
        return found

    def _send(self, rows: np.ndarray) -> Array:
        return backend.xp.asarray(np.asarray(rows, self._sent_as))


class Batches:
    """Samples, targets and weights that belong together, in batches.

    Arguments:
        x: samples, (n, …).
        y: targets, (n, …), or None.
        sample_weight: (n,) or (n, 1), or None.
        batch_size: samples in a batch; the last batch is whatever remains.
        dtype: the float type that floats (and all of x) are converted to.
    """

    def __init__(
        self,
        x: np.ndarray,
        y: np.ndarray | None = None,
        sample_weight: np.ndarray | None = None,
        batch_size: int = 32,
        dtype: str | None = None,
    ) -> None:
        dtype = dtype or config.floatx()
        self.samples = len(x)
        self.batch_size = batch_size
        self.x = Rows(x, dtype)
        # Class numbers stay the integers they are.
        self.y = None if y is None else Rows(y, dtype if y.dtype.kind == "f" else y.dtype)
        self.weights = None if sample_weight is None else Rows(sample_weight, dtype)
        self.classes: Rows | None = None  # of one-hot targets, once they are on a GPU
        self._loaded = False

    def load(self) -> None:
        """Send all to the GPU in use if it fits into half of what is free there.

        Else, batches go there as they are needed; on the host, nothing happens.
        """
        room = backend.free_memory()
        rows = [part for part in (self.x, self.y, self.weights) if part is not None]
        if room is None or sum(part.bytes_on_device for part in rows) > room // 2:
            return
        for part in rows:
            part.load()
        self._loaded = True
        if self.y is not None and self.y.source.ndim > 1 and self.y.source.shape[-1] > 1:
            self.classes = self.y.classes()

    def __len__(self) -> int:
        return -(-self.samples // self.batch_size)

    def largest(self, together: int = 1) -> int:
        """How many samples the largest batch has, with so many handed out as one."""
        return min(together * self.batch_size, self.samples)

    def steps_within(self, steps: int, first: int = 0) -> int:
        """`steps`, or what is left of a pass from batch `first` on, with a warning."""
        left = len(self) - first
        if steps > left:
            warnings.warn(
                f"Your input ran out of data after {left} of {steps} steps: a pass over the "
                f"{self.samples} samples is {len(self)} batches of {self.batch_size}. "
                "Leave the steps (steps_per_epoch, validation_steps, steps) out to use them all.",
                stacklevel=4,
            )
        return min(steps, left)

    def run(
        self, first: int, last: int, order: Array | None = None, together: int = 1
    ) -> Iterator[Batch]:
        """The batches number `first` to `last` − 1, the samples in `order` or as they lie.

        Arguments:
            together: how many of them are handed out as one.
        """
        end = min(last * self.batch_size, self.samples)
        size = together * self.batch_size
        on_host = backend.backend() == "numpy"
        take = Rows.take if on_host else Rows.take_on_device
        block = size if on_host else size * self._in_a_block(size)
        if order is not None and self._loaded:
            order = backend.xp.asarray(order)
        for start in range(first * self.batch_size, end, block):
            stop = min(start + block, end)
            rows = slice(start, stop) if order is None else order[start:stop]
            parts = [None if part is None else take(part, rows) for part in self._parts()]
            for begin in range(0, stop - start, size):
                yield Batch(*(None if a is None else a[begin : begin + size] for a in parts))

    def _parts(self) -> tuple[Rows | None, ...]:
        return self.x, self.y, self.weights, self.classes

    def _in_a_block(self, size: int) -> int:
        """How many batches of `size` samples are gathered on a GPU at a time."""
        parts = [part for part in self._parts() if part is not None]
        sample = sum(part.source[:1].size * part.dtype.itemsize for part in parts)
        room = min(BLOCK_BYTES, (backend.free_memory() or 0) // 8)
        return max(1, room // (size * sample))


class Passes:
    """One pass over the samples after the other, each shuffled anew, cut into epochs.

    An epoch shorter than a pass goes on where the one before it ended, as in Keras; a pass that
    ends inside an epoch ends the epoch, with a warning.
    """

    def __init__(self, batches: Batches, generator: "np.random.Generator | None") -> None:
        self.batches = batches
        self._generator = generator
        self._order: np.ndarray | None = None
        self._drawn_from: Any = None  # the generator's state from which the order came
        self._first = self._last = 0  # the batches of this epoch
        self._next = 0  # the first one of the next

    @property
    def shuffled(self) -> bool:
        return self._generator is not None

    def epoch(self, steps: int) -> Iterator[Batch]:
        """The next `steps` batches, or those that are left of the pass."""
        if self._next == 0:
            self._shuffle()
        self._first = self._next
        self._last = self._first + self.batches.steps_within(steps, self._first)
        self._next = self._last % len(self.batches)
        return self.rest(0)

    def signs(self) -> str:
        """What the data are, as far as a look at some rows tells: shapes, types, a checksum."""
        parts = [part for part in (self.batches.x, self.batches.y, self.batches.weights) if part]
        found = []
        for part in parts:
            some = np.linspace(0, len(part.source) - 1, 50).astype(int)
            checksum = zlib.crc32(np.ascontiguousarray(part.source[some]).tobytes())
            found.append(f"{part.source.shape} {part.source.dtype} {checksum:08x}")
        return ", ".join(found)

    def rest(self, done: int) -> Iterator[Batch]:
        """The batches of this epoch but for the first that are `done`."""
        return self.batches.run(self._first + done, self._last, self._order)

    def _shuffle(self) -> None:
        if self._generator is not None:
            self._drawn_from = self._generator.bit_generator.state
            self._order = self._generator.permutation(self.batches.samples)

    def get_state(self) -> dict[str, Any]:
        """Where this is, for `set_state`; instead of the order, where the order came from."""
        places = {"first": self._first, "last": self._last, "next": self._next}
        return {**places, "drawn_from": self._drawn_from}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from what `get_state` gave; the generator is left somewhere."""
        first, last, after = state["first"], state["last"], state["next"]
        if not 0 <= first <= last <= len(self.batches) or not 0 <= after < len(self.batches):
            raise ValueError(f"it is at batches {first} to {last} of {len(self.batches)}")
        self._first, self._last, self._next = first, last, after
        if self._generator is not None and state["drawn_from"] is not None:
            self._generator.bit_generator.state = state["drawn_from"]
            self._shuffle()


def split_tail(samples: Samples, share: float) -> tuple[Samples, Samples]:
    """Cut the last `share` of the samples off, for validation: views, in the order as given.

    Raises:
        ValueError: if one side would be empty.
    """
    x, y, weights = samples
    n = len(x)
    cut = int(n * (1 - share))
    if cut in (0, n):
        raise ValueError(
            f"Training data contains {n} samples, which is not sufficient to split it into a "
            f"validation and training set as specified by `validation_split={share}`. "
            "Either provide more data, or a different value for the `validation_split` argument."
        )
    head = x[:cut], y[:cut], None if weights is None else weights[:cut]
    return head, (x[cut:], y[cut:], None if weights is None else weights[cut:])


def weights_of_classes(y: np.ndarray, class_weight: Mapping[int, float]) -> np.ndarray:
    """Each sample's weight: that of its class; 1 for a class that is not mentioned."""
    one_hot = y.ndim > 1 and y.shape[-1] > 1
    classes = y.argmax(axis=-1) if one_hot else np.rint(y.reshape(len(y))).astype("int64")
    weights = np.ones(len(y), config.floatx())
    for number, weight in class_weight.items():
        weights[classes == number] = weight
    return weights


def weigh_classes(
    model: Any, samples: Samples, class_weight: Mapping[int, float] | None
) -> Samples:
    """`samples`, each weighted by its class.

    Raises:
        ValueError: if they are weighted already, or a sample has several labels.
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
            "Expected one label for each sample to weigh classes, received targets of shape "
            f"{y.shape}, several for each. Write: sample_weight=… in place of class_weight"
        )
    return x, y, weights_of_classes(y, validation.class_weight(class_weight))
