"""Batches of the caller's arrays: complete, in matching order, and without a copy of the whole.

The validation split and the class weights are compared with Keras's.
"""

import tracemalloc
import warnings

import numpy as np
import pytest
from arrays import array_equal, look
from networks import LAYOUTS
from oracle import both, refused_in_keras_s_words

import tinynet
from tinynet import backend
from tinynet.engine import data

pytestmark = pytest.mark.computes


def numbered(n, dtype="float32", width=3):
    """Return rows in which every entry is the row's index."""
    return np.repeat(np.arange(n), width).reshape(n, width).astype(dtype)


def aligned(n=10, batch_size=4, x_type="float32"):
    """Return batches in which row i of x, of y and of the weights is i."""
    places = np.arange(n, dtype="float64")
    return data.Batches(numbered(n, x_type), places, places, batch_size)


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
@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_have_the_requested_type_and_order(layout, dtype, tmp_path):
    for source in ("u1", "i8", "bool", "f2", "f4", "f8", ">f4"):
        array = (np.arange(24).reshape(6, 4) % (2 if source == "bool" else 24)).astype(source)
        given = LAYOUTS[layout](array, tmp_path)
        for rows in (slice(1, 4), np.array([5, 0, 3, 3])):
            part = data.ArrayReader(given, dtype).take(rows)
            assert part.dtype == np.dtype(dtype)
            assert part.dtype.isnative
            assert part.flags.c_contiguous
            assert array_equal(part, array[rows])


@pytest.mark.host
def test_consecutive_rows_without_conversion_are_views_and_others_copies():
    array = numbered(6)
    array.flags.writeable = False
    reader = data.ArrayReader(array, "float32")
    part = reader.take(slice(1, 3))
    assert np.shares_memory(part, array)
    assert not part.flags.writeable  # otherwise a layer could write to the caller's array
    assert not np.shares_memory(reader.take(np.array([1, 2])), array)


@pytest.mark.host
@pytest.mark.parametrize("source", ["uint8", "float32"])
def test_the_same_buffers_serve_every_batch(source):
    batches, order = aligned(10, 4, source), np.arange(10)[::-1].copy()
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


def test_integer_targets_keep_their_type_and_floats_get_that_of_the_model():
    labels = np.arange(6)
    for y, weights, dtype, expected in [
        (None, None, None, ["float32", None, None]),
        (labels, None, None, ["float32", "int64", None]),
        (labels.astype("float64"), labels, None, ["float32"] * 3),
        (labels.astype("float32"), labels, "float64", ["float64"] * 3),
    ]:
        batches = data.Batches(numbered(6, "uint8"), y, weights, dtype=dtype)
        ((*parts, _),) = batches.iterate(0, 1)
        assert [part if part is None else part.dtype.name for part in parts] == expected


# EpochIterator


def test_each_pass_has_every_sample_in_an_order_drawn_once_from_the_generator():
    generator, same = np.random.default_rng(8), np.random.default_rng(8)
    passes = data.EpochIterator(aligned(50, 8), generator)
    for _ in range(3):
        assert one_epoch(passes, 7) == same.permutation(50).tolist()
    assert generator.bit_generator.state == same.bit_generator.state


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 12])
@pytest.mark.parametrize("shuffled", [True, False])
def test_short_epochs_together_make_whole_passes(steps, shuffled):
    passes = data.EpochIterator(aligned(96, 8), np.random.default_rng(1) if shuffled else None)
    for _ in range(2):
        whole = [i for _ in range(12 // steps) for i in one_epoch(passes, steps)]
        assert sorted(whole) == list(range(96))
        assert (whole == list(range(96))) is not shuffled


def test_a_pass_that_ends_inside_an_epoch_ends_it_with_a_warning():
    ordered = data.EpochIterator(aligned(10, 4), None)
    assert [ids(batch) for batch in ordered.next_epoch(2)] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    words = r"ran out of data after 1 of 2 steps: .* 10 samples has 3 batches of 4.*steps_per_epoch"
    with pytest.warns(UserWarning, match=words):
        rest = ordered.next_epoch(2)
    assert [ids(batch) for batch in rest] == [[8, 9]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [ids(batch) for batch in ordered.next_epoch(2)] == [[0, 1, 2, 3], [4, 5, 6, 7]]


# Memory


def peak(function):
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


IN_PLACE = "read-only", "memory-mapped", "memory-mapped by columns", "backwards", "Fortran order"


@pytest.mark.host
@pytest.mark.parametrize("shuffled", [True, False])
@pytest.mark.parametrize("layout", [*IN_PLACE, "every second column"])
def test_inputs_are_never_copied_as_a_whole(layout, shuffled, tmp_path):
    n, width, batch_size = 4000, 1000, 32
    x = LAYOUTS[layout](np.zeros((n, width), "uint8"), tmp_path)  # 4 MB, 16 MB in float32
    y = np.zeros(n, "int64")

    def one_pass():
        generator = backend.generator() if shuffled else None
        epochs = data.EpochIterator(data.Batches(x, y, None, batch_size), generator)
        assert sum(len(batch[0]) for batch in epochs.next_epoch(len(epochs.batches))) == n

    batch = batch_size * width * (1 + 1 + 4)  # gathered, in transfer, and as float32
    assert peak(one_pass) < batch + 8 * n + 20_000  # 8 n for the order


def test_validation_split_and_class_weights_copy_no_samples():
    x, y = np.zeros((4000, 1000), "uint8"), np.zeros((4000, 10))
    assert peak(lambda: data.split_validation((x, y, None), 0.2)) < 10_000
    assert peak(lambda: data.class_weight_per_sample(y, {0: 2.0})) < 25 * len(y)


# Validation split and class weights


def split(library, arrays, share):
    """Split off the last `share` of the arrays for validation, as `fit` does."""
    if library is tinynet:
        return data.split_validation(arrays, share)
    from keras.src.trainers.data_adapters.array_slicing import train_validation_split

    return train_validation_split(arrays, share)


@pytest.mark.parametrize(
    ("n", "share"),
    [(10, 0.2), (10, 0.25), (10, 0.35), (7, 0.5), (3, 0.4), (100, 0.29), (10, 0.1), (2, 0.4)],
)
def test_the_validation_split_equals_keras_and_returns_views(keras, n, share):
    x, y = numbered(n), np.arange(n)
    weighted = split(tinynet, (x, y, y), share)
    sides = zip(*both(keras, split, (x, y, None), share), weighted, strict=True)
    for theirs, ours, (_, of_y, weights) in sides:
        assert all(map(array_equal, ours[:2], map(np.asarray, theirs)))
        assert ours[2] is theirs[2] is None
        assert np.shares_memory(ours[0], x)
        assert array_equal(of_y, weights)


@pytest.mark.parametrize(("n", "share"), [(1, 0.5), (3, 0.9), (10, 0.99), (2, 0.9), (10, 1e-17)])
def test_a_split_with_an_empty_side_raises_the_message_of_keras(keras, n, share):
    arrays = numbered(n), np.arange(n), None
    message = rf"contains {n} samples, .*split={share}`"
    refused_in_keras_s_words(keras, lambda library: split(library, arrays, share), message)


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
    theirs = np.asarray(data_adapter_utils.class_weight_to_sample_weights(y, class_weight))
    ours = data.class_weight_per_sample(y, class_weight)
    np.testing.assert_array_equal(ours, theirs.astype("float32"), strict=True)
