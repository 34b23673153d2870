"""Three kinds of accuracy, compared with Keras's, and the exactness of a metric over an epoch:
batches may be of any size, and nothing is rounded before the single division at the end.
"""

from fractions import Fraction

import numpy as np
import pytest
from arrays import assert_array_equal, through
from oracle import both

import tinynet as bare  # without the conversion of arrays that `through` adds
from tinynet.compat.naming import snake_case
from tinynet.engine import tracker as bare_tracker

pytestmark = pytest.mark.computes

tinynet = through(bare)
metrics, tracker = tinynet.metrics, through(bare_tracker)

NAMES = ["CategoricalAccuracy", "SparseCategoricalAccuracy", "BinaryAccuracy"]
CATEGORICAL, SPARSE, BINARY = NAMES


def cases(rng):
    """Return (class, targets, outputs) for every pair of shapes that the metrics support."""
    p, p_time = (rng.uniform(size=shape).astype("float32") for shape in ((9, 4), (9, 3, 4)))
    labels, labels_time = rng.integers(4, size=9), rng.integers(4, size=(9, 3))
    one, several = (rng.uniform(size=(9, k)).astype("float32") for k in (1, 3))
    yes, yeses = rng.integers(2, size=(9, 1)), rng.integers(2, size=(9, 3))
    return {
        "one-hot": (CATEGORICAL, np.eye(4)[labels], p),
        "one-hot in time": (CATEGORICAL, np.eye(4)[labels_time], p_time),
        "labels": (SPARSE, labels, p),
        "column of labels": (SPARSE, labels[:, None], p),
        "float labels": (SPARSE, labels.astype("float32"), p),
        "labels in time": (SPARSE, labels_time, p_time),
        "column of labels in time": (SPARSE, labels_time[..., None], p_time),
        "binary": (BINARY, yes, one),
        "binary, flat targets": (BINARY, yes[:, 0], one),
        "binary, flat outputs": (BINARY, yes, one[:, 0]),
        "binary, flat": (BINARY, yes[:, 0], one[:, 0]),
        "binary, float targets": (BINARY, yes.astype("float32"), one),
        "several binary outputs": (BINARY, yeses, several),
    }


KINDS = list(cases(np.random.default_rng()))


def result(library, name, y, p, sample_weight=None):
    metric = getattr(library.metrics, name)()
    metric.update_state(y, p, sample_weight=sample_weight)
    return float(metric.result())


# Values


def test_accuracy_is_the_weighted_share_of_correct_predictions():
    p = np.array([[0.1, 0.9], [0.6, 0.4], [0.3, 0.7]])
    for name, y in ((CATEGORICAL, np.eye(2)[[1, 1, 1]]), (SPARSE, np.array([1, 1, 1]))):
        assert result(tinynet, name, y, p, np.array([1, 2, 3])) == pytest.approx(4 / 6)
    assert result(tinynet, BINARY, np.array([[0], [1], [1]]), p[:, 1:]) == pytest.approx(1 / 3)


@pytest.mark.parametrize("kind", KINDS)
def test_accuracy_and_its_function_equal_keras(keras, rng, kind):
    name, y, p = cases(rng)[kind]
    forms = [None, rng.uniform(size=9), rng.uniform(size=(9, 1)), np.zeros(9)]
    if p.ndim == 3:
        forms.append(rng.uniform(size=(9, 3)))  # a weight for each sample and time
    for weights in forms:
        expected, ours = both(keras, result, name, y, p, weights, ours=tinynet)
        assert ours == pytest.approx(expected, rel=1e-6)
        # Wrong formulas often give 0 or 1.
        assert ours == 0 if weights is not None and not weights.any() else 0.05 < ours < 0.95
    expected = np.asarray(getattr(keras.metrics, snake_case(name))(y, p))
    assert_array_equal(getattr(metrics, snake_case(name))(y, p), expected, strict=True)


def test_the_first_of_equal_outputs_is_the_prediction(keras):
    p = np.array([[0.3, 0.3, 0.3], [0.1, 0.4, 0.4], [0, 0, 0]], "float32")
    for labels, share in [([0, 1, 0], 1), ([1, 2, 2], 0), ([0, 2, 0], 2 / 3)]:
        one_hot = np.eye(3)[labels]
        for name, y in ((CATEGORICAL, one_hot), (SPARSE, np.array(labels))):
            assert both(keras, result, name, y, p, ours=tinynet) == pytest.approx([share, share])


def test_an_output_equal_to_the_threshold_is_class_0(keras):
    p = np.array([0.0, 0.5, 0.7, 0.70001, 1.0], "float32")
    y = np.array([0, 0, 0, 1, 1])
    for threshold, share in ((0.0, 0.6), (0.5, 0.8), (0.7, 1)):
        for library in (keras, tinynet):
            metric = library.metrics.BinaryAccuracy(threshold=threshold)
            assert float(metric(y, p)) == pytest.approx(share)


# An epoch


@pytest.mark.parametrize("kind", KINDS)
def test_batches_of_any_size_give_the_result_of_the_whole(rng, kind):
    name, y, p = cases(rng)[kind]
    whole, parts = getattr(metrics, name)(), getattr(metrics, name)()
    whole.update_state(y, p)
    for batch in (slice(0, 1), slice(1, 6), slice(6, 6), slice(6, 9)):
        parts.update_state(y[batch], p[batch])
    assert parts.result() == pytest.approx(whole.result(), rel=1e-15)
    assert type(parts.result()) is float


def test_counting_is_exact_beyond_float32_and_float64():
    metric = metrics.SparseCategoricalAccuracy()
    right, total = 2**60, 2**61
    metric.total, metric.count = right, total  # as if that many samples had been seen
    metric.update_state(np.zeros(3, int), np.eye(3)[[0, 0, 1]])
    assert Fraction(int(metric.total), int(metric.count)) == Fraction(right + 2, total + 3)


def test_values_are_summed_in_float64():
    value = np.float32(0.1)
    metric = tracker.resolve_metric(lambda y, p: p[:, 0], (1, 1), (1, 1))
    for size in (1, 100_000, 7):
        metric.update_state(np.zeros((size, 1)), np.full((size, 1), value))
    assert metric.result() == pytest.approx(float(value), rel=1e-12)


def test_before_any_batch_and_after_a_reset_the_result_is_zero(keras):
    for name, right in ((CATEGORICAL, [[0, 1]]), (SPARSE, [1]), (BINARY, [[0, 1]])):
        batch = np.array(right), np.array([[0.1, 0.9]], "float32")
        metric = getattr(metrics, name)()
        assert metric.result() == float(getattr(keras.metrics, name)().result()) == 0
        metric.update_state(*batch)
        assert metric.result() == 1
        metric.reset_state()
        assert metric.result() == 0
        assert metric(*batch) == 1


# What "acc" means


@pytest.mark.parametrize("outputs", [(8, 1), (8, 3), (8, 2, 1), (8, 2, 3)], ids=str)
def test_accuracy_is_resolved_from_the_shapes_as_in_keras(keras, outputs):
    p = np.zeros(outputs, "float32")
    for targets in ((8,), (8, 1), (8, 3), (8, 2), (8, 2, 1), (8, 2, 3)):
        y = np.zeros(targets, "float32")
        for word in ("acc", "accuracy"):
            ours = tracker.resolve_metric(word, targets, outputs)
            theirs = keras.src.trainers.compile_utils.get_metric(word, y, p)
            assert type(ours.bare).__name__ == type(theirs).__name__
            assert ours.name == theirs.name == word


def test_a_metric_has_the_name_it_was_requested_by(keras):
    y = p = np.zeros((8, 3), "float32")
    losses = ["categorical_crossentropy", "mse", "MSE", "mean_squared_error", "MeanSquaredError"]
    for name in (*NAMES, *map(snake_case, NAMES), *losses):
        theirs = keras.src.trainers.compile_utils.get_metric(name, y, p)
        assert tracker.resolve_metric(name, y.shape, p.shape).name == theirs.name == name
