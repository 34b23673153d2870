"""Batches of the caller's arrays: complete, in matching order, and without a copy of the whole.

The validation split and the class weights are compared with Keras's.
"""

import tracemalloc
import warnings

import numpy as np
import pytest
from arrays import array_equal, look

from tinynet import backend
from tinynet.engine.data import (
    ArrayReader,
    Batches,
    EpochIterator,
    class_weight_per_sample,
    split_validation,
)

# Many tests use unscaled bytes as inputs, because they do not depend on what is learned.
pytestmark = [
    pytest.mark.computes,
    pytest.mark.filterwarnings("ignore:Expected inputs between about"),
]


def numbered(n, dtype="float32", width=3):
    """Return rows in which every entry is the row's index."""
    return np.repeat(np.arange(n), width).reshape(n, width).astype(dtype)


def aligned(n=10, batch_size=4, x_type="float32"):
    """Return batches in which row i of x, of y and of the weights is i."""
    places = np.arange(n, dtype="float64")
    return Batches(numbered(n, x_type), places, places, batch_size)


def ids(batch):
    """Return the indices of a batch's samples, after asserting that x, y and weights agree."""
    x, y, weights, _ = map(look, batch)
    assert array_equal(x, np.repeat(y, x.shape[1]).reshape(x.shape))
    assert array_equal(y, weights)
    return y.astype(int).tolist()


def one_epoch(passes, steps):
    """Return the sample indices of the next epoch, in order."""
    return [i for batch in passes.next_epoch(steps) for i in ids(batch)]


# ArrayReader


# `take` returns rows on the host; `take_on_gpu` on a GPU, tested below through `Batches`.


@pytest.mark.host
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("source", ["u1", "i8", "bool", "f2", "f4", "f8", ">f4"])
@pytest.mark.parametrize("rows", [slice(1, 4), np.array([5, 0, 3])], ids=["range", "indices"])
def test_rows_have_the_requested_type_and_order(source, dtype, rows):
    array = (np.arange(12).reshape(6, 2) % 2 if source == "bool" else numbered(6)).astype(source)
    part = ArrayReader(array, dtype).take(rows)
    assert part.dtype == np.dtype(dtype)
    assert part.dtype.isnative
    assert part.flags.c_contiguous
    assert array_equal(part, array[rows])


@pytest.mark.host
@pytest.mark.parametrize("rows", [slice(2, 5), np.array([4, 1, 1])], ids=["range", "indices"])
@pytest.mark.parametrize(
    "form",
    [
        lambda a: a,
        lambda a: np.repeat(a, 2, axis=0)[::2],
        lambda a: a[::-1].copy()[::-1],
        np.asfortranarray,
        lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    ],
    ids=["plain", "strided", "backwards", "Fortran", "strided columns"],
)
def test_rows_of_any_memory_layout_are_correct(form, rows):
    array = np.arange(24, dtype="float32").reshape(6, 4)
    part = ArrayReader(form(array), "float32").take(rows)
    assert array_equal(part, array[rows])
    assert part.flags.c_contiguous


@pytest.mark.host
def test_consecutive_rows_without_conversion_are_not_copied():
    array = numbered(6)
    part = ArrayReader(array, "float32").take(slice(1, 3))
    assert np.shares_memory(part, array)
    gathered = ArrayReader(array, "float32").take(np.array([1, 2]))
    assert not np.shares_memory(
        gathered, array
    )  # otherwise a layer could write to the caller's array


@pytest.mark.host
def test_a_batch_of_a_read_only_array_cannot_be_written_to():
    array = numbered(6)
    array.flags.writeable = False
    assert not ArrayReader(array, "float32").take(slice(0, 3)).flags.writeable


@pytest.mark.host
@pytest.mark.parametrize("source", ["uint8", "float32"])
def test_the_same_buffers_serve_every_batch(source):
    batches = aligned(10, 4, source)
    order = np.arange(10)[::-1].copy()
    buffers = [
        [part.__array_interface__["data"][0] for part in batch[:3]]
        for batch in batches.iterate(0, 3, order)
    ]
    assert buffers[0] == buffers[1] == buffers[2]  # also for the last batch, of 2 samples
    batches.batch_size = 5
    assert [len(batch[0]) for batch in batches.iterate(0, 2, order)] == [5, 5]  # larger ones too


# Batches


@pytest.mark.parametrize(
    ("n", "batch_size", "lengths"),
    [(10, 4, [4, 4, 2]), (8, 4, [4, 4]), (3, 4, [3]), (4, 1, [1] * 4), (1, 32, [1])],
)
def test_every_sample_is_in_one_batch_and_the_last_batch_is_shorter(n, batch_size, lengths):
    batches = aligned(n, batch_size)
    assert len(batches) == len(lengths)
    found = [ids(batch) for batch in batches.iterate(0, len(batches))]
    assert [len(batch) for batch in found] == lengths
    assert [i for batch in found for i in batch] == list(range(n))


def test_a_run_has_the_requested_batches():
    batches = aligned()
    assert [ids(batch) for batch in batches.iterate(1, 3)] == [[4, 5, 6, 7], [8, 9]]
    order = np.array([9, 0, 8, 1, 7, 2, 6, 3, 5, 4])
    assert [ids(batch) for batch in batches.iterate(1, 2, order)] == [[7, 2, 6, 3]]
    assert list(batches.iterate(2, 2)) == []


def test_missing_targets_and_weights_stay_none():
    ((x, y, weights, _),) = Batches(numbered(3)).iterate(0, 1)
    assert (len(x), y, weights) == (3, None, None)


def test_integer_targets_keep_their_type_and_floats_get_that_of_the_model():
    labels = np.arange(6)
    ((_, y, _, _),) = Batches(numbered(6), labels).iterate(0, 1)
    assert y.dtype == labels.dtype
    ((x, y, weights, _),) = Batches(
        numbered(6, "uint8"), labels.astype("float64"), labels, dtype="float64"
    ).iterate(0, 1)
    assert [part.dtype.name for part in (x, y, weights)] == ["float64"] * 3
    ((_, y, _, _),) = Batches(numbered(6), labels.astype("float64")).iterate(0, 1)
    assert y.dtype == np.float32


# EpochIterator


@pytest.fixture
def passes():
    return EpochIterator(aligned(50, 8), np.random.default_rng(1))


def test_a_shuffled_pass_has_every_sample_once(passes):
    for _ in range(3):
        found = one_epoch(passes, 7)
        assert sorted(found) == list(range(50))


def test_orders_differ_between_passes(passes):
    orders = [one_epoch(passes, 7) for _ in range(5)]
    assert list(range(50)) not in orders
    assert len({tuple(order) for order in orders}) == 5


def test_without_a_generator_the_order_is_kept():
    passes = EpochIterator(aligned(10, 4), None)
    for _ in range(2):
        assert one_epoch(passes, 3) == list(range(10))


def test_the_order_depends_only_on_the_seed():
    def orders(seed):
        passes = EpochIterator(aligned(50, 8), np.random.default_rng(seed))
        return [ids(batch) for _ in range(2) for batch in passes.next_epoch(7)]

    assert orders(3) == orders(3)
    assert orders(3) != orders(4)


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
@pytest.mark.parametrize("shuffled", [True, False])
def test_short_epochs_together_make_whole_passes(steps, shuffled):
    passes = EpochIterator(aligned(96, 8), np.random.default_rng(1) if shuffled else None)
    for _ in range(2):
        whole = [i for _ in range(12 // steps) for i in one_epoch(passes, steps)]
        assert sorted(whole) == list(range(96))
        assert (whole == list(range(96))) is not shuffled


def test_a_pass_that_ends_inside_an_epoch_ends_it_with_a_warning():
    passes = EpochIterator(aligned(10, 4), None)
    assert [ids(batch) for batch in passes.next_epoch(2)] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    words = r"ran out of data after 1 of 2 steps: .* 10 samples has 3 batches of 4.*steps_per_epoch"
    with pytest.warns(UserWarning, match=words):
        rest = passes.next_epoch(2)
    assert [ids(batch) for batch in rest] == [[8, 9]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [ids(batch) for batch in passes.next_epoch(2)] == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_shuffling_draws_only_one_permutation_per_pass():
    generator = np.random.default_rng(8)
    passes = EpochIterator(aligned(50, 8), generator)
    before = np.random.default_rng(8)
    for _ in range(2):
        expected = before.permutation(50).tolist()
        assert one_epoch(passes, 7) == expected
    assert generator.bit_generator.state == before.bit_generator.state


# Memory


def peak(function):
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def mapped(array, directory, order):
    path = directory / "x.npy"
    np.save(path, np.asarray(array, order=order))
    return np.load(path, mmap_mode="r")


@pytest.mark.host
@pytest.mark.parametrize("shuffled", [True, False])
@pytest.mark.parametrize(
    "form",
    [
        lambda a, _: a,
        lambda a, path: mapped(a, path, "C"),
        lambda a, path: mapped(a, path, "F"),
        lambda a, _: a[::-1],
        lambda a, _: np.asfortranarray(a),
        lambda a, _: a[:, ::2],
    ],
    ids=[
        "bytes",
        "memmap",
        "memmap by columns",
        "backwards",
        "Fortran",
        "every second column",
    ],
)
def test_inputs_are_never_copied_as_a_whole(form, shuffled, tmp_path):
    n, width, batch_size = 4000, 1000, 32
    x = form(np.zeros((n, width), "uint8"), tmp_path)  # 4 MB, 16 MB in float32
    y = np.zeros(n, "int64")

    def one_pass():
        passes = EpochIterator(
            Batches(x, y, None, batch_size), backend.generator() if shuffled else None
        )
        assert sum(len(batch[0]) for batch in passes.next_epoch(len(passes.batches))) == n

    batch = batch_size * width * (1 + 1 + 4)  # gathered, in transfer, and as float32
    assert peak(one_pass) < batch + 8 * n + 20_000  # 8 n for the order


def test_validation_split_and_class_weights_copy_no_samples():
    x, y = np.zeros((4000, 1000), "uint8"), np.zeros((4000, 10))
    assert peak(lambda: split_validation((x, y, None), 0.2)) < 10_000
    assert peak(lambda: class_weight_per_sample(y, {0: 2.0})) < 25 * len(y)


# Validation split


SHARES = [(10, 0.2), (10, 0.25), (10, 0.35), (7, 0.5), (3, 0.4), (100, 0.29), (10, 0.1), (2, 0.4)]
EMPTY_SIDES = [(1, 0.5), (3, 0.9), (10, 0.99), (2, 0.9), (10, 1e-17)]


@pytest.mark.parametrize(("n", "share"), SHARES)
def test_the_validation_split_equals_keras(keras, n, share):
    from keras.src.trainers.data_adapters.array_slicing import train_validation_split

    arrays = numbered(n), np.arange(n), None
    for ours, theirs in zip(
        split_validation(arrays, share), train_validation_split(arrays, share), strict=True
    ):
        assert array_equal(ours[0], np.asarray(theirs[0]))
        assert array_equal(ours[1], np.asarray(theirs[1]))
        assert ours[2] is theirs[2] is None


@pytest.mark.parametrize(("n", "share"), SHARES)
def test_the_validation_split_returns_views_with_the_floor_of_the_share(n, share):
    x, places = numbered(n), np.arange(n)
    head, tail = split_validation((x, places, places), share)
    assert len(head[0]) == int(np.floor(n * (1 - share)))
    assert array_equal(np.concatenate([head[0], tail[0]]), x)
    for side in (head, tail):
        assert array_equal(side[0][:, 0], side[1])
        assert array_equal(side[1], side[2])
        assert np.shares_memory(side[0], x)


@pytest.mark.parametrize(("n", "share"), EMPTY_SIDES)
def test_a_split_with_an_empty_side_raises_the_message_of_keras(keras, n, share):
    from keras.src.trainers.data_adapters.array_slicing import train_validation_split

    arrays, words = (numbered(n), np.arange(n), None), rf"contains {n} samples, .*split={share}`"
    with pytest.raises(ValueError, match=words) as theirs:
        train_validation_split(arrays, share)
    with pytest.raises(ValueError, match=words) as ours:
        split_validation(arrays, share)
    assert str(ours.value).startswith(str(theirs.value))


# Class weights


CLASSES = np.array([2, 0, 1, 1, 2, 5, 0])
FORMS_OF_CLASSES = {
    "class numbers": CLASSES,
    "a column": CLASSES[:, None],
    "bytes": CLASSES.astype("uint8"),
    "floats": CLASSES.astype("float32"),
    "one-hot": np.eye(6)[CLASSES],
    "one-hot bytes": np.eye(6, dtype="uint8")[CLASSES],
    "soft": np.eye(6)[CLASSES] * 0.7 + 0.05,
}


@pytest.mark.parametrize("form", FORMS_OF_CLASSES)
@pytest.mark.parametrize(
    "class_weight",
    [{0: 0.5, 1: 2.0, 2: 3.0, 5: 1.5}, {1: 4.0}, {}, {9: 2.0, 0: 0.1}, {2: 0}, {np.int64(2): 7}],
    ids=["all", "one", "none", "an absent class", "zero", "NumPy's integer"],
)
def test_class_weights_equal_keras(keras, form, class_weight):
    from keras.src.trainers.data_adapters import data_adapter_utils

    y = FORMS_OF_CLASSES[form]
    theirs = data_adapter_utils.class_weight_to_sample_weights(y, class_weight)
    ours = class_weight_per_sample(y, class_weight)
    assert ours.dtype == np.float32
    assert array_equal(ours, np.asarray(theirs))


def test_classes_without_a_given_weight_have_weight_one():
    assert class_weight_per_sample(CLASSES, {1: 4.0, 3: 9.0}).tolist() == [1, 1, 4, 4, 1, 1, 1]
