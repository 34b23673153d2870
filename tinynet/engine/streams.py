"""Batches that the caller makes, one at a time: those of a generator, a PyDataset, a DataLoader.

Only one of them is in memory, so the data may be larger than it. Their number may not be known, and
those of a generator cannot be read again: each epoch continues where the last ended.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

from tinynet.backend import turns
from tinynet.backend.types import Array, Data, Model, Samples
from tinynet.compat import checks
from tinynet.compat.naming import short
from tinynet.engine.data import Batch, Batches
from tinynet.utils.batches import in_order

DEFAULT_BATCH_SIZE = 32  # Keras's default
END = object()  # in place of a batch

# What cannot be given beside a source of batches, and what takes its place.
INSTEAD = {
    "y": "the targets should be included as part of the {}",
    "sample_weight": "the sample weights should be included as part of the {}",
    "validation_split": "write: validation_data=…, another source of batches or arrays",
}


class Stream(Batches):
    """The batches of a source; one is read at once, to know the shapes of all.

    `x`, `y` and `weights` are those of the batch that was read last. While a batch is awaited,
    other threads may compute: one of them may make it.

    Arguments:
        source: an iterator, which is read once; or what can be iterated over again for each epoch;
            or what has a length, and batches by number, which `fit` shuffles.
        prepare: a function that checks the parts of a batch, and returns x, y and weights; with
            ``advise=False``, it gives no advice, which is for the first batch.
        argument: the argument of `fit`, `evaluate` or `predict` that received the source.
    """

    is_whole = False

    def __init__(
        self, source: Data, prepare: Callable[..., Samples], dtype: str, argument: str = "x"
    ) -> None:
        self._source, self._prepare, self._dtype = source, prepare, dtype
        self._rewinds = not hasattr(source, "__next__")
        steps = self.steps = length_of(source)
        self._numbered = hasattr(source, "__getitem__") and (steps is not None or endless(source))
        self._items: Iterator[object] = iter(())
        self._ahead: list[object] = []  # the next batch, if it was looked at
        self._position: int | None = None  # in a pass; None before the first one
        self._call("on_epoch_begin")
        if not self.has_batch(0):
            left = "has none" if self._rewinds else "has none left: it can be read only once"
            raise ValueError(
                f"Expected {argument} to yield batches, received {describe(source)} that {left}. "
                "Write: a new one, or an object with __len__ and __getitem__, such as a "
                "tinynet.utils.PyDataset"
            )
        with turns.pause():
            item = source[0] if self._numbered else self._ahead[0]
        first = prepare(*parts_of(item))
        super().__init__(*first, batch_size=len(first[0]), dtype=dtype)
        self.steps, self.order_length = steps, (steps or 0) if self._numbered else 0
        if self.y is not None:  # not in `predict`, where a PyDataset should not shuffle
            self._call("on_epoch_end")

    def largest_batch(self, merge: int = 1) -> int:
        """Return the size of the first batch; later ones are rarely larger."""
        return self.batch_size

    def advice(self, what: str) -> str:
        """Return why there are not enough batches, and what to write."""
        if not self._rewinds or what != "steps":
            return (
                f"{describe(self._source)} is read only once. Write: one that yields epochs × "
                "steps_per_epoch batches, or an object with __len__ and __getitem__, such as a "
                "tinynet.utils.PyDataset"
            )
        known = f"{self.steps} batches" if self.steps else "fewer batches"
        return (
            f"a pass over the {type(self._source).__name__} has {known}. Leave steps_per_epoch, "
            "validation_steps or steps out to use them all."
        )

    def fingerprint(self) -> str:
        """Return the types of the batches, whose values may not come again."""
        known = filter(None, (self.x, self.y, self.weights))
        return ", ".join(f"{part.source.ndim} axes of {part.source.dtype}" for part in known)

    def copy_to_gpu(self) -> None:
        """Do nothing: batches are sent as they come."""

    def has_batch(self, number: int) -> bool:
        """Return whether this pass has a batch of that number, from 0; a new one begins at 0."""
        if self._numbered:
            return self.steps is None or number < self.steps
        self._go_to(number)
        if not self._ahead:
            with turns.pause():
                self._ahead = list(itertools.islice(self._items, 1))
        return bool(self._ahead)

    def iterate(
        self, first: int, last: int | None, order: Array | None = None, merge: int = 1
    ) -> Iterator[Batch]:
        """Yield batches `first` to `last` − 1, or all that follow; `merge` has no effect.

        An iterator that is beyond `first` goes on where it is.
        """
        self._call("on_epoch_begin")
        read = self._by_number if self._numbered else self._one_by_one
        items = itertools.islice(read(first, order), last and last - first)
        done = 0
        while True:
            with turns.pause():
                item = next(items, END)
            if item is END:
                break
            samples = self._prepare(*parts_of(item), advise=False)
            current = Batches(*samples, batch_size=len(samples[0]), dtype=self._dtype)
            self.x, self.y, self.weights = current.x, current.y, current.weights
            yield from current.iterate(0, 1)
            done += 1
        if last is not None and done < last - first:
            self.warn_of_end(done, last - first)
        self._call("on_epoch_end")

    def _call(self, method: str) -> None:
        """Call a method of a `PyDataset`, tinynet's or Keras's."""
        if hasattr(self._source, "num_batches") and hasattr(self._source, method):
            getattr(self._source, method)()

    def _by_number(self, first: int, order: Array | None) -> Iterator[object]:
        numbers: Iterable[int] = itertools.count(first)
        if self.steps is not None:
            numbers = range(first, self.steps)
        if order is not None and len(order):
            numbers = (int(order[n]) for n in numbers)
        workers = getattr(self._source, "workers", 1)
        ahead = getattr(self._source, "max_queue_size", 1)
        return in_order(self._source.__getitem__, numbers, workers, ahead)

    def _one_by_one(self, first: int, order: object) -> Iterator[object]:
        self._go_to(first)
        while (item := self._take()) is not END:
            yield item

    def _take(self) -> object:
        self._position = (self._position or 0) + 1
        return self._ahead.pop() if self._ahead else next(self._items, END)

    def _go_to(self, number: int) -> None:
        """Begin a pass, or go on in it, so that batch `number` comes next."""
        if self._position is None or (self._rewinds and number < self._position):
            self._items, self._ahead, self._position = iter(self._source), [], 0
        with turns.pause():
            while self._position < number and self._take() is not END:
                pass


def open_batches(
    model: Model,
    prepare: Callable[..., Samples],
    data: Sequence[object],
    batch_size: int | None,
    steps: int | None,
    argument: str = "x",
) -> Batches:
    """Return the batches of arrays x, y and sample_weight, or of a source that is given as x.

    Arguments:
        prepare: a function that checks these parts, or those of a batch, and returns arrays.
        argument: the name of the argument, for errors.
    """
    x, *others = data
    checks.count(batch_size, "batch_size", DEFAULT_BATCH_SIZE)
    checks.count(steps, "steps", 1)
    if not is_stream(x):
        samples = prepare(*data)
        size = batch_size or default_batch_size(steps, len(samples[0]))
        return Batches(*samples, size, model.dtype)

    def prepare_batch(x: object, *others: object, **options: bool) -> Samples:
        if checks.is_one_sample(getattr(x, "shape", ()), model.shape_of_input):
            raise ValueError(
                f"Expected {argument} to yield batches, received single samples, the first of "
                f"shape {getattr(x, 'shape', ())}. Write: data.batch(32) for tf.data, "
                "DataLoader(data, batch_size=32) for PyTorch, or yield x[None], y[None]"
            )
        return prepare(x, *others, **options)

    refuse_beside(x, argument, **dict(zip(("y", "sample_weight"), others, strict=False)))
    if batch_size is not None:
        kind = type(x).__name__
        checks.warn(
            f"Expected no batch_size for {describe(x)}, received: {batch_size}. It has no effect: "
            f"the batches are as large as the {kind} makes them. Leave it out"
        )
    return Stream(x, prepare_batch, model.dtype, argument)


def default_batch_size(steps: int | None, samples: int) -> int:
    """Return Keras's default for the size of a batch: `steps` of them, if that is given, or 32."""
    return -(-samples // steps) if steps else DEFAULT_BATCH_SIZE


def is_stream(value: Data) -> bool:
    """Return whether `value` yields batches, or has them by number."""
    if isinstance(value, list | tuple | set | str | bytes | memoryview | type):
        return False
    if checks.is_array_like(value) or hasattr(value, "toarray"):  # a sparse matrix
        return False
    if hasattr(value, "keys"):  # a dictionary, or a file of arrays
        return False
    numbered = hasattr(value, "__getitem__") and (hasattr(value, "__len__") or endless(value))
    return numbered or hasattr(value, "__iter__") or hasattr(value, "__next__")


def endless(source: Data) -> bool:
    """Return whether `source` is a `PyDataset` without an end."""
    return getattr(source, "num_batches", 0) is None


def length_of(source: Data) -> int | None:
    """Return how many batches a pass over `source` has; None if that is not known."""
    known = getattr(source, "num_batches", None)  # of a `PyDataset`
    if isinstance(known, int) or hasattr(source, "__next__") or endless(source):
        return known
    try:
        return len(source)
    except TypeError:  # a DataLoader of a dataset without a length, and the like
        return None


def describe(source: object) -> str:
    name = type(source).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def parts_of(batch: object) -> tuple[object, ...]:
    """Return the parts of a batch: x, (x, y) or (x, y, sample_weight), of which it is made."""
    if isinstance(batch, tuple | list) and 1 <= len(batch) <= 3:
        return tuple(batch)
    if checks.is_array_like(batch):
        return (batch,)
    write = "yield x, y"
    if isinstance(batch, dict) and len(batch) > 1:
        x, y = list(batch)[:2]
        write = (
            f"data.map(lambda batch: (batch[{x!r}], batch[{y!r}])) for tf.data, or a collate_fn "
            "of a DataLoader or a PyDataset that returns x, y"
        )
    raise ValueError(
        "Expected each batch to be (x, y) or (x, y, sample_weight), received "
        f"{short(batch)} (of type {type(batch)}). Write: {write}"
    )


def refuse_beside(source: object, argument: str, **given: object) -> None:
    """Raise a ValueError for arguments that only arrays can have beside them."""
    for name, value in given.items():
        if value is not None:
            raise ValueError(
                f"When providing `{argument}` as {describe(source)}, `{name}` should not be "
                f"passed. Instead, {INSTEAD[name].format(type(source).__name__)}. Received: "
                f"{name}={short(value)}. Leave {name} out."
            )
