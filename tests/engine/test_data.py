"""Batches of the caller's arrays: complete, in matching order, and without a copy of the whole.

The validation split and the class weights are compared with Keras's.
"""

import tracemalloc

import numpy as np
import pytest
from arrays import address, array_equal, look
from networks import LAYOUTS, ONE_HOT, network
from oracle import agree, both

import tinynet
from tinynet import backend
from tinynet.engine import data, plan

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


# ArrayReader: `take` returns rows on the host; `take_on_gpu`, on a GPU, is tested by `Batches`.


@pytest.mark.host
def test_consecutive_rows_without_conversion_are_views_and_others_copies():
    array = numbered(6)
    reader = data.ArrayReader(array, "float32")
    assert np.shares_memory(reader.take(slice(1, 3)), array)
    assert not np.shares_memory(reader.take(np.array([1, 2])), array)


@pytest.mark.host
@pytest.mark.parametrize("source", ["uint8", "float32"])
def test_the_same_buffers_serve_every_batch(source):
    batches, order = aligned(10, 4, source), np.arange(10)[::-1].copy()
    buffers = [list(map(address, batch[:3])) for batch in batches.iterate(0, 3, order)]
    assert buffers[0] == buffers[1] == buffers[2]  # also for the last batch, of 2 samples
    batches.batch_size = 5
    assert [len(batch[0]) for batch in batches.iterate(0, 2, order)] == [5, 5]  # larger ones too


# Batches


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


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 12])
@pytest.mark.parametrize("shuffled", [True, False])
def test_epochs_make_whole_passes_each_in_an_order_drawn_once(steps, shuffled):
    generator, same = np.random.default_rng(8), np.random.default_rng(8)
    passes = data.EpochIterator(aligned(90, 8), generator if shuffled else None)
    for _ in range(3):
        epochs = [passes.next_epoch(steps) for _ in range(12 // steps)]
        order = same.permutation(90) if shuffled else np.arange(90)
        assert [i for epoch in epochs for batch in epoch for i in ids(batch)] == order.tolist()
    assert not shuffled or generator.bit_generator.state == same.bit_generator.state


def test_a_pass_that_ends_inside_an_epoch_ends_it_with_a_warning():
    ordered = data.EpochIterator(aligned(10, 4), None)
    words = r"ran out of data after 1 of 2 steps: .* 10 samples has 3 batches of 4.*steps_per_epoch"
    for _ in range(2):
        assert list(map(ids, ordered.next_epoch(2))) == [[0, 1, 2, 3], [4, 5, 6, 7]]
        with pytest.warns(UserWarning, match=words):
            rest = ordered.next_epoch(2)
        assert list(map(ids, rest)) == [[8, 9]]


# Memory


def peak(function):
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.host
@pytest.mark.parametrize("shuffled", [True, False])
@pytest.mark.parametrize("layout", ["memory-mapped by columns", "backwards", "every second column"])
def test_inputs_are_never_copied_as_a_whole(layout, shuffled, tmp_path):
    n, width, batch_size = 4000, 1000, 32
    x = LAYOUTS[layout](np.zeros((n, width), "uint8"), tmp_path)  # 4 MB, 16 MB in float32
    y = np.zeros(n, "int64")

    def one_pass():
        generator = backend.generator() if shuffled else None
        epochs = data.EpochIterator(data.Batches(x, y, None, batch_size), generator)
        assert sum(len(batch[0]) for batch in epochs.next_epoch(epochs.batches.steps)) == n

    batch = batch_size * width * (1 + 1 + 4)  # gathered, in transfer, and as float32
    assert peak(one_pass) < batch + 8 * n + 20_000  # 8 n for the order


def test_validation_split_and_class_weights_copy_no_samples():
    x, y = np.zeros((4000, 1000), "uint8"), np.zeros((4000, 10))
    assert peak(lambda: plan.split_validation((x, y, None), 0.2)) < 10_000
    assert peak(lambda: data.class_weight_per_sample(y, {0: 2.0})) < 25 * len(y)


# Validation split and class weights


def split(library, arrays, share):
    """Split off the last `share` of the arrays for validation, as `fit` does."""
    if library is tinynet:
        return plan.split_validation(arrays, share)
    from keras.src.trainers.data_adapters.array_slicing import train_validation_split

    return train_validation_split(arrays, share)


@pytest.mark.parametrize(
    ("n", "share"),
    [(10, 0.2), (10, 0.25), (10, 0.35), (7, 0.5), (3, 0.4), (100, 0.29), (10, 0.1), (2, 0.4)],
)
def test_the_validation_split_equals_keras_and_returns_views(keras, n, share):
    x, y = numbered(n), np.arange(n)
    for weights in (None, y):
        theirs, ours = both(keras, split, (x, y, weights), share)
        agree(theirs, ours)
        assert all(np.shares_memory(side[0], x) for side in ours)


CLASSES = np.array([2, 0, 1, 1, 2, 5, 0])
FORMS_OF_CLASSES = {
    "class numbers": CLASSES,
    "a column": CLASSES[:, None],
    "floats": CLASSES.astype("float32"),
    "one-hot": np.eye(6)[CLASSES],
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


# Arrays of subclasses


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize("kind", ["matrix", "recarray", "masked", "own"])
def test_arrays_of_subclasses_give_the_results_of_plain_ones(kind):
    class Own(np.ndarray):
        def __eq__(self, other):
            raise TypeError

    convert = {
        "matrix": np.matrix, "recarray": lambda a: a.view(np.recarray), "masked": np.ma.array,
        "own": lambda a: a.view(Own),
    }[kind]  # fmt: skip
    x = np.random.default_rng(1).normal(size=(12, 4)).astype("float32")
    y, weights = np.eye(3)[np.arange(12) % 3], np.arange(12.0)[:, None]

    def results(convert):
        tinynet.utils.set_random_seed(1)
        model = network((3, "softmax"), inputs=(4,), loss=ONE_HOT)
        held_out = (convert(x), convert(y), convert(weights))
        return [
            model.fit(convert(x), convert(y), class_weight={1: 2.0}, validation_data=held_out,
                      verbose=0).history,
            model.fit(convert(x), convert(y), validation_split=0.25, verbose=0).history,
            model.evaluate(convert(x), convert(y), sample_weight=convert(weights), verbose=0),
            model.predict(convert(x), verbose=0), model(convert(x)), model.layers[0](convert(x)),
            model.set_weights([convert(look(model.weights[0])), model.weights[1]]),
            model.get_weights(),
        ]  # fmt: skip

    agree(results(np.array), results(convert))


@pytest.mark.parametrize("name", ["x", "y", "sample_weight", "validation x"])
def test_masked_values_are_refused_not_used(name):
    model = network((3,), inputs=(4,), loss="mse")
    given = {"x": np.ones((6, 4)), "y": np.ones((6, 3)), "sample_weight": np.ones(6)}
    last = name.split()[-1]
    mask = np.zeros(given[last].shape, bool)
    mask[2] = True
    given[last] = np.ma.array(given[last], mask=mask)
    arguments = {"x": given["x"], "y": given["y"], "sample_weight": given["sample_weight"]}
    if name != last:
        arguments = {
            "x": np.ones((6, 4)),
            "y": given["y"],
            "validation_data": (given["x"], given["y"]),
        }
    with pytest.raises(ValueError, match=rf"Expected {name} without masked values.*filled\(0\)"):
        model.fit(**arguments, verbose=0)
    with pytest.raises(ValueError, match="without masked values"):
        model.set_weights([np.ma.array(np.ones((4, 3)), mask=np.eye(4, 3)), np.ones(3)])
