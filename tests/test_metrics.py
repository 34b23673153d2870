"""Kinds of accuracy, compared with Keras's, and the exactness of a metric over an epoch: batches
may be of any size, and nothing is rounded before the single division at the end.

`test_losses` has the metrics that are means of losses.
"""

import warnings
from fractions import Fraction

import numpy as np
import pytest
from arrays import assert_array_equal, put, through
from networks import network, random_weights
from oracle import agree, both, refused, same

import tinynet as bare  # without the conversion of arrays that `through` adds
from tinynet.compat.naming import snake_case
from tinynet.engine import tracker as bare_tracker

pytestmark = pytest.mark.computes

tinynet = through(bare)
metrics, tracker = tinynet.metrics, through(bare_tracker)

NAMES = ["CategoricalAccuracy", "SparseCategoricalAccuracy", "BinaryAccuracy"]
CATEGORICAL, SPARSE, BINARY = NAMES
EQUAL = "Accuracy"  # which has no function


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
        "equal numbers": (EQUAL, yeses, several.round()),
        "equal numbers, flat targets": (EQUAL, yes[:, 0], one.round()),
        "equal numbers, flat outputs": (EQUAL, yes, one[:, 0].round()),
    }


KINDS = list(cases(np.random.default_rng()))


def result(library, name, y, p, sample_weight=None):
    metric = getattr(library.metrics, name)()
    metric.update_state(y, p, sample_weight=sample_weight)
    return float(metric.result())


# Values


@pytest.mark.parametrize("shape", [(2, 3, 1), (2, 3), (2, 1, 1), (2, 1), (2,), ()])
@pytest.mark.parametrize("ignored", [None, 1])
def test_weights_of_each_value_or_sample_may_have_more_axes_as_in_keras(keras, rng, ignored, shape):
    labels, weights = np.array([[0, 1, 3], [1, 2, 0]]), rng.uniform(1, 2, shape).astype("float32")
    outputs = rng.uniform(0.1, 1, (2, 3, 4)).astype("float32")

    def program(library):
        sparse = library.metrics.SparseCategoricalCrossentropy(ignore_class=ignored)
        # Keras would multiply weights of samples by what is ignored of each value.
        given = weights.reshape(2, 1) if shape == (2,) else weights
        sparse.update_state(labels, outputs, sample_weight=given)
        others = (
            result(library, name, np.eye(4)[labels], outputs, weights)
            for name in (CATEGORICAL, "MeanSquaredError", "BinaryCrossentropy")
        )
        return [float(sparse.result()), *others]

    agree(*both(keras, program, ours=tinynet), rtol=1e-6)


@pytest.mark.parametrize(
    ("y", "p"),
    [
        ([0.1, 0.2], np.array([0.1, 0.2], "float32")),
        (np.array([0.1, 0.2], "float32"), [0.1, 0.2]),
        (np.array([0.1, 0.2]), np.array([0.1, 0.3], "float32")),
        (np.array([2**24 + 1, 5]), np.array([2**24, 5], "float32")),  # equal in float32
    ],
)
def test_equal_numbers_are_compared_in_the_metrics_type_as_in_keras(keras, y, p):
    same(keras, lambda library: result(library, EQUAL, y, p), ours=tinynet)


@pytest.mark.parametrize("name", ["accuracy", "Accuracy", "Acc", "ACC"])
@pytest.mark.parametrize("loss", ["categorical", "sparse_categorical", "binary"])
def test_accuracy_in_capitals_also_depends_on_the_shapes_as_in_keras(keras, name, loss):
    units, activation = (1, "sigmoid") if loss == "binary" else (3, "softmax")
    labels = np.array([0, 1, 1, 0, 1])
    y = np.eye(3)[labels] if loss == "categorical" else labels[:, None]

    def program(library):
        model = library.Sequential([library.Input((2,))])
        model.add(library.layers.Dense(units, activation, kernel_initializer="ones"))
        model.compile("sgd", f"{loss}_crossentropy", metrics=[name])
        x = np.linspace(-1, 1, 10).reshape(5, 2)
        results = model.evaluate(x, y, verbose=0, return_dict=True)
        return {name: round(value, 5) for name, value in results.items()}

    assert same(keras, program, ours=bare).keys() == {name, "loss"}


@pytest.mark.parametrize("kind", ["losses", "metrics"])
def test_classes_on_the_axis_of_samples_are_evaluated_batch_by_batch_as_in_keras(keras, rng, kind):
    x, y = rng.normal(size=(8, 2)).astype("float32"), np.eye(3)[rng.integers(3, size=8)]
    kernel = np.array([[1.0, 2, 3], [4, 3, 1]]) / 7

    def program(library):
        model = library.Sequential([library.Input((2,))])
        model.add(library.layers.Dense(3, "sigmoid"))
        model.set_weights([kernel, np.zeros(3)])
        part = getattr(library, kind).CategoricalCrossentropy(axis=0)
        parts = (part, []) if kind == "losses" else ("mse", [part])
        model.compile("sgd", parts[0], metrics=parts[1])
        return model.evaluate(x, y, batch_size=3, verbose=0)

    agree(*both(keras, program, ours=bare), rtol=1e-5)


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
    if name != EQUAL:
        expected = np.asarray(getattr(keras.metrics, snake_case(name))(y, p))
        assert_array_equal(getattr(metrics, snake_case(name))(y, p), expected, strict=True)


@pytest.mark.parametrize("best", [[0, 1], [1, 1], [1, 0, 2]])
def test_a_column_of_labels_is_compared_with_the_outputs_of_one_row_as_in_keras(keras, best):
    """As of one sample with several times: each label with each output."""
    y, p = np.arange(len(best))[:, None] % 2, np.eye(3, dtype="float32")[best][None]
    expected, ours = both(keras, result, SPARSE, y, p, ours=tinynet)
    assert ours == pytest.approx(expected, rel=1e-6)
    expected = np.asarray(keras.metrics.sparse_categorical_accuracy(y, p))
    assert_array_equal(metrics.sparse_categorical_accuracy(y, p), expected, strict=True)


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


# Variables


def kind_of_metric(library):
    """Return a user-defined class of the library: the mean of the outputs, and their sums."""

    class Outputs(library.metrics.Metric):
        def __init__(self, name="outputs", dtype=None, inside=None):
            super().__init__(name=name, dtype=dtype)
            self.sums = self.add_variable((3,), "zeros", name="sums")
            self.first = self.add_variable((), "zeros", name="first")
            self.seen = self.add_weight(shape=(), initializer="ones", name="seen")
            self.inside = inside

        def update_state(self, y_true, y_pred, sample_weight=None):
            self.sums.assign_add(y_pred.sum(axis=0))
            self.first.assign_add(y_pred[:, 0].sum())
            self.seen.assign(self.seen + y_pred.shape[0])
            self.seen.assign_sub(0)

        def result(self):
            return self.first / self.seen

    return Outputs


def values(metric):
    return [np.asarray(variable).astype("float32") for variable in metric.variables]


def test_variables_of_a_user_defined_metric_equal_keras(keras, rng):
    p = rng.normal(size=(4, 3)).astype("float32")
    theirs, ours = both(keras, lambda library: kind_of_metric(library)(), ours=bare)
    states = [[values(metric)] for metric in (theirs, ours)]
    for metric, found in zip((theirs, ours), states, strict=True):
        for _ in range(2):
            metric.update_state(p, put(p) if metric is ours else p)
        found += [values(metric), float(metric.result())]
        metric.reset_state()
        found.append(values(metric))
        metric.sums.assign(np.full(3, 2, "float32"))
        found.append(values(metric))
    agree(*states, rtol=1e-6)
    assert [v.name for v in ours.variables] == [v.name for v in theirs.variables]
    assert [v.shape for v in ours.variables] == [v.shape for v in theirs.variables]
    assert ours.dtype == theirs.dtype == "float32"
    outer = [kind(inside=kind("i")) for kind in map(kind_of_metric, (keras, bare))]
    agree(*map(values, outer))


def test_the_type_of_a_metric_is_that_of_keras(keras):
    for name in (*NAMES, EQUAL, "MeanSquaredError", "BinaryCrossentropy"):
        for dtype in (None, "float32", "float64"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # JAX has no float64
                theirs = getattr(keras.metrics, name)(dtype=dtype)
            ours = getattr(metrics, name)(dtype=dtype)
            assert (ours.dtype, ours.get_config()) == (theirs.dtype, theirs.get_config())
            assert {array.dtype for array in ours.variables} == {np.dtype(ours.dtype)}
            assert len(ours.variables) == len(theirs.variables) == 2
    refused(keras, lambda library: library.metrics.Accuracy(dtype="nonsense"), ours=tinynet)


def test_a_user_defined_metric_in_fit_and_evaluate_equals_keras(keras, rng):
    x, start = rng.normal(size=(8, 4)).astype("float32"), random_weights(rng, 4, 3)
    given = {"batch_size": 4, "shuffle": False, "verbose": 0}

    def program(library):
        model = network(
            (3, "tanh"), inputs=(4,), library=library, weights=start, loss="mse", optimizer="sgd",
            metrics=[kind_of_metric(library)(), "mse"],
        )  # fmt: skip
        history = model.fit(x, x[:, :3], epochs=2, **given)
        return history, list(map(float, model.evaluate(x, x[:, :3], batch_size=4, verbose=0)))

    agree(*both(keras, program, ours=bare), rtol=3e-6)


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
    losses += ["bce", "BCE", "BinaryCrossentropy", "binary_crossentropy", "CategoricalCrossentropy"]
    losses += ["mae", "MAE", "MeanAbsoluteError", "mean_absolute_error"]
    losses += ["sparse_categorical_crossentropy", "SparseCategoricalCrossentropy"]
    for name in (*NAMES, *map(snake_case, NAMES), *losses):
        theirs = keras.src.trainers.compile_utils.get_metric(name, y, p)
        assert tracker.resolve_metric(name, y.shape, p.shape).name == theirs.name == name
