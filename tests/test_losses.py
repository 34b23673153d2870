"""Losses: their values against Keras's, their gradients against central differences and against
JAX's gradient of Keras's loss, and the gradient fused with softmax against the general one.
Training uses the fused gradient, so its tolerance is 1e-12.
"""

import math

import numpy as np
import pytest
from arrays import assert_allclose, assert_array_equal, put, through
from gradients import central_differences
from oracle import agree, both, refused_in_keras_s_words

import tinynet as bare  # without the conversion of arrays that `through` adds
from tinynet.compat.targets import as_loss

pytestmark = pytest.mark.computes

tinynet = through(bare)
activations, losses = tinynet.activations, tinynet.losses
Dense, Flatten, Objective = tinynet.layers.Dense, tinynet.layers.Flatten, losses.Objective
CategoricalCrossentropy = losses.CategoricalCrossentropy
SparseCategoricalCrossentropy = losses.SparseCategoricalCrossentropy

CLASSES = 5
MEANS = ["sum_over_batch_size", "mean", "mean_with_sample_weight"]
REDUCTIONS = [*MEANS, "sum", "none", None]
SHAPES = [(6,), (4, 3)]  # one output for each sample, and one for each sample and time

# For each kind of loss, the name of its class in both libraries, and its arguments.
KINDS = {
    "categorical": ("CategoricalCrossentropy", {}),
    "categorical logits": ("CategoricalCrossentropy", {"from_logits": True}),
    "smoothed": ("CategoricalCrossentropy", {"label_smoothing": 0.1}),
    "smoothed logits": ("CategoricalCrossentropy", {"label_smoothing": 0.3, "from_logits": True}),
    "sparse": ("SparseCategoricalCrossentropy", {}),
    "sparse logits": ("SparseCategoricalCrossentropy", {"from_logits": True}),
    "squared": ("MeanSquaredError", {}),
}


class Data:
    """Logits, rows of positive numbers with any sum, targets of each kind, and sample weights."""

    def __init__(self, rng, shape, dtype="float32"):
        self.logits = (2 * rng.normal(size=(*shape, CLASSES))).astype(dtype)
        self.rows = rng.uniform(0.1, 2, (*shape, CLASSES)).astype(dtype)
        self.p = activations.softmax(self.logits)
        self.labels = rng.integers(CLASSES, size=shape)
        self.one_hot = np.eye(CLASSES)[self.labels]
        self.weights = rng.uniform(0, 2, (shape[0], *(1,) * (len(shape) - 1))).astype(dtype)

    def of(self, kind):
        """Return the targets and outputs for a loss of this kind; the first labels do not exist."""
        y = self.one_hot
        if kind.startswith("sparse"):
            y = self.labels.copy()
            y[0] = CLASSES
        return y, self.logits if kind.endswith("logits") else self.rows


@pytest.fixture(params=SHAPES, ids=["batch", "batch-time"])
def data(rng, request):
    return Data(rng, request.param)


@pytest.fixture(params=SHAPES, ids=["batch", "batch-time"])
def precise(rng, request):
    """The same data in float64, which is also floatx during the test."""
    tinynet.config.set_floatx("float64")
    return Data(rng, request.param, "float64")


def make(library, kind, **arguments):
    name, own = KINDS[kind]
    return getattr(library.losses, name)(**own, **arguments)


# Values


@pytest.mark.parametrize("kind", KINDS)
def test_values_equal_keras_with_every_reduction_and_form_of_weights(keras, data, kind):
    y, outputs = data.of(kind)
    name, arguments = KINDS[kind]
    function = bare.compat.naming.snake_case(name)
    each = data.weights
    signs = np.resize([1.0, -1.0], each.shape).astype("float32")  # their sum is 0
    forms = [None, each, each.tolist(), 2.5, 0 * each, signs]
    column = each.reshape(-1, 1)

    def program(library, reduction, weights):
        loss = make(library, kind, reduction=reduction)
        return loss(y, outputs, sample_weight=weights)

    for reduction in REDUCTIONS:
        columns = [] if reduction in ("none", None) else [column, column.tolist()]
        for form, weights in enumerate(forms + columns):
            case = f"{reduction}, weights number {form}"
            expected, value = both(keras, program, reduction, weights, ours=tinynet)
            agree(expected, value, rtol=1e-6, atol=2e-7, place=case)
            assert value.dtype == np.float32, case
    row = program(
        tinynet, "sum", each.reshape(-1)
    )  # which Keras does not accept if there are times
    assert row == pytest.approx(program(tinynet, "sum", each), rel=1e-6)
    program = lambda library: getattr(library.losses, function)(y, outputs, **arguments)  # noqa: E731
    agree(*both(keras, program, ours=tinynet), rtol=1e-6, atol=2e-7)  # one value for each sample


def test_labels_of_every_type_and_range_give_the_loss_of_keras(keras, rng):
    data = Data(rng, (6,))
    cases = {
        "column": np.array([[0], [4], [2], [1], [3], [0]]),
        "bytes": np.array([0, 4, 2, 1, 3, 0], "uint8"),
        "floats": np.array([0.0, 3.9, 2.5, 1.0, 0.7, 4.2], "float32"),
        "out of range": np.array([0, -1, 5, 255, -5, 1000]),
        "floats out of range": np.array([-0.5, -1.5, 4.9, 5.0, 0.0, 1.0]),
    }

    def program(library, labels, outputs, from_logits):
        function = library.losses.sparse_categorical_crossentropy
        return function(labels, outputs, from_logits=from_logits)

    for case, labels in cases.items():
        for given in ((data.rows, False), (data.logits, True)):
            theirs, ours = both(keras, program, labels, *given, ours=tinynet)
            agree(theirs, ours, rtol=1e-6, atol=2e-7, place=case)


def test_logits_of_any_size_give_the_loss_of_keras(keras, rng):
    sizes = np.array([20, 200, 1e4, 1e30])[:, None, None]
    z = (sizes * rng.uniform(-1, 1, (4, 50, CLASSES))).astype("float32")
    y = np.eye(CLASSES)[rng.integers(CLASSES, size=(4, 50))]

    def program(library):
        return library.losses.categorical_crossentropy(y, z, from_logits=True)

    agree(*both(keras, program, ours=tinynet), rtol=1e-6, atol=2e-7)


def test_lists_are_accepted_and_probabilities_normalized():
    for rows in ([[1, 3]], [[2e-6, 6e-6]], [[1e6, 3e6]]):
        value = losses.categorical_crossentropy([[0, 1]], rows)
        assert value.dtype == np.float32
        assert_allclose(value, -math.log(0.75), rtol=1e-6)


# The gradient of each sample's loss


@pytest.mark.parametrize("kind", KINDS)
def test_backward_is_the_derivative_by_central_differences(precise, rng, kind):
    loss = make(tinynet, kind)
    y, outputs = precise.of(kind)
    for targets in [y] if kind.startswith("sparse") else [y, rng.uniform(0, 3, y.shape)]:
        kept = targets.copy(), outputs.copy()
        gradient = loss.backward(targets, outputs)
        loss(targets, outputs, sample_weight=precise.weights)
        assert_array_equal(targets, kept[0])
        assert_array_equal(outputs, kept[1])
        expected = central_differences(lambda y=targets: loss.call(y, outputs).sum(), outputs)
        assert_allclose(gradient, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_backward_equals_the_jax_gradient_of_the_keras_loss(keras, rng, kind):
    import jax

    y, outputs = Data(rng, (4, 3)).of(kind)
    theirs = make(keras, kind, reduction="sum")
    expected = np.asarray(jax.grad(lambda p: theirs(y, p))(outputs))
    gradient = make(tinynet, kind).backward(y, outputs)
    assert gradient.dtype == np.float32
    assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)


def test_the_gradient_is_zero_where_probabilities_are_clipped(keras):
    import jax

    true_p = [0, 1e-8, 0.99e-7, 1.01e-7, 1e-6, 0.5, 1 - 1e-6, 1 - 1e-8, 1]
    p = np.array([[1 - true, true, 0] for true in true_p], "float32")
    y = np.tile(np.array([0, 1, 0], "float32"), (len(p), 1))
    theirs = keras.losses.CategoricalCrossentropy(reduction="sum")
    gradient = CategoricalCrossentropy().backward(y, p)
    expected = np.asarray(jax.grad(lambda p: theirs(y, p))(p))
    assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)
    inside = (p[:, 1] >= np.float32(1e-7)) & (p[:, 1] <= np.float32(1 - 1e-7))
    assert_array_equal(gradient.any(axis=1), inside)


# The objective: a loss on top of the last layer, fused with its softmax as in training


def head(data, activation):
    """Return a last layer after a forward pass, its outputs, and for softmax their logits z."""
    x = np.random.default_rng(0).normal(size=(*data.labels.shape, 7)).astype(data.p.dtype)
    layer = Dense(CLASSES, activation=activation, kernel_initializer="random_normal")
    layer.kernel_initializer.stddev = 0.5
    layer(x)
    outputs = layer.forward(x)
    return layer, outputs, -layer.surprisal if activation == "softmax" else None


def targets_of(kind, data):
    """Return common targets, and unusual ones: rows of any sum, and negative numbers."""
    return {
        "one-hot": data.one_hot,
        "labels": data.labels,
        "any sum": 3 * data.p[::-1] ** 2,
        "negative": data.logits,
    }[kind]


OBJECTIVES = [
    (CategoricalCrossentropy(), "softmax", "one-hot"),
    (CategoricalCrossentropy(), "softmax", "any sum"),
    (CategoricalCrossentropy(), "softmax", "negative"),
    (CategoricalCrossentropy(label_smoothing=0.2), "softmax", "one-hot"),
    (CategoricalCrossentropy(label_smoothing=0.2), "softmax", "any sum"),
    (SparseCategoricalCrossentropy(), "softmax", "labels"),
    *(
        (CategoricalCrossentropy(from_logits, reduction=reduction), activation, "one-hot")
        for from_logits, activation in (
            (False, "softmax"), (True, None), (True, "softmax"), (False, "sigmoid"),
        )
        for reduction in (*MEANS, "sum")
    ),
]  # fmt: skip


@pytest.mark.parametrize(("loss", "activation", "kind"), OBJECTIVES)
def test_the_gradient_of_an_objective_is_the_derivative_of_its_loss(
    precise, loss, activation, kind
):
    layer, outputs, z = head(precise, activation)
    y, objective = targets_of(kind, precise), Objective(loss, [layer])
    assert objective.fused == (activation == "softmax" and not loss.from_logits)
    for weights in (None, precise.weights):

        def value(weights=weights):
            p = outputs
            if objective.fused:  # it needs the logarithms that softmax computes
                p = bare.activations.softmax(put(z), surprisal=layer.bare.surprisal)
            return objective.forward(y, p, weights)

        expected = float(loss(y, outputs, weights))
        assert value() == pytest.approx(expected, rel=1e-12, abs=1e-12)
        gradient = objective.backward()
        if objective.fused:  # equal to the general one, one step after the other
            share = 1 if weights is None else weights[..., None]
            if loss.reduction != "sum":
                by_weight = loss.reduction == "mean_with_sample_weight" and weights is not None
                share = share / (weights.sum() if by_weight else precise.labels.size)
            general = activations.softmax_backward(share * loss.backward(y, outputs), outputs)
            assert_allclose(gradient, general, rtol=0, atol=1e-12)
        found = central_differences(value, z if objective.fused else outputs)
        assert_allclose(gradient, found, rtol=1e-7, atol=1e-9)


class SquaredError(bare.losses.Loss):
    """A user-defined loss: one value for each sample, however many axes its outputs have."""

    def call(self, y_true, y_pred):
        return ((y_pred - y_true) ** 2).reshape(len(y_pred), -1).sum(axis=-1)

    def backward(self, y_true, y_pred):
        self.returned = 2 * (y_pred - y_true)
        return self.returned


@pytest.mark.parametrize("shape", [(4, 5), (4, 4, 5), (4, 3, 5), (4, 2, 3, 5)], ids=str)
def test_a_user_defined_loss_is_weighted_by_sample_and_its_gradient_not_modified(rng, shape):
    y, outputs, loss = rng.normal(size=shape), rng.normal(size=shape), through(SquaredError())
    objective = Objective(loss, [Flatten()])
    for weights in (None, rng.uniform(size=4)):
        value = objective.forward(y, outputs, weights)
        each = ((outputs - y) ** 2).reshape(4, -1).sum(axis=-1)
        each *= 1 if weights is None else weights
        assert value == pytest.approx(each.mean(), rel=1e-12)
        gradient = objective.backward()
        assert_array_equal(loss.returned, 2 * (outputs - y))
        expected = central_differences(lambda w=weights: objective.forward(y, outputs, w), outputs)
        assert_allclose(gradient, expected, rtol=1e-7, atol=1e-9)


def test_neither_a_subclass_of_a_loss_nor_of_a_layer_is_fused(precise):
    class Doubled(bare.losses.CategoricalCrossentropy):
        def call(self, y_true, y_pred):
            return 2 * super().call(y_true, y_pred)

        def backward(self, y_true, y_pred):
            return 2 * super().backward(y_true, y_pred)

    class Mixed(bare.layers.Dense):
        def forward(self, x, training=False):
            return 0.9 * super().forward(x, training) + 0.1 / self.units

    layer, p, _ = head(precise, "softmax")
    value = float(CategoricalCrossentropy()(precise.one_hot, p))
    doubled = Objective(Doubled(), [layer]).forward(precise.one_hot, p)
    assert doubled == pytest.approx(2 * value, rel=1e-12)
    assert Objective(CategoricalCrossentropy(), [Dense(3, "softmax")]).fused
    assert not Objective(CategoricalCrossentropy(), [Mixed(3, "softmax")]).fused


def test_the_fused_gradient_does_not_vanish_for_saturated_softmax(keras):
    """The softmax of ±200 is exactly 1 and 0: the probabilities alone give no gradient."""
    layer = Dense(2, activation="softmax", kernel_initializer="ones")
    x = np.ones((1, 1), "float32")
    layer(x)
    layer.set_weights([[[200, -200]], [0, 0]])
    p = layer.forward(x)
    assert_array_equal(p, [[1, 0]])
    right, wrong = np.eye(2, dtype="float32")[:, None]

    objective, loss = Objective(CategoricalCrossentropy(), [layer]), CategoricalCrossentropy()
    assert objective.forward(right, p) == 0
    assert not np.signbit(objective.forward(right, p))  # not −0
    assert objective.forward(wrong, p) == 400
    assert_array_equal(objective.backward(), [[1, -1]])

    for y, clipped in ((right, 1.1920929e-07), (wrong, 16.118096)):  # the least and largest loss
        assert loss(y, p) == pytest.approx(clipped, rel=1e-6)
        theirs = float(keras.losses.CategoricalCrossentropy()(y, p))
        assert loss(y, p) == pytest.approx(theirs, rel=1e-6)
        assert_array_equal(loss.backward(y, p), 0)


# Names, configurations, mistakes


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("CategoricalCrossentropy", {}),
        (
            "CategoricalCrossentropy",
            {"from_logits": True, "label_smoothing": 0.1, "reduction": "sum", "name": "mine"},
        ),
        ("SparseCategoricalCrossentropy", {}),
        ("SparseCategoricalCrossentropy", {"from_logits": True, "reduction": None}),
        ("MeanSquaredError", {}),
    ],
)
def test_the_configuration_equals_keras_and_recreates_the_loss(keras, name, arguments):
    losses = bare.losses
    ours, theirs = getattr(losses, name)(**arguments), getattr(keras.losses, name)(**arguments)
    assert losses.serialize(ours) == keras.losses.serialize(theirs)
    for again in (
        type(ours).from_config(theirs.get_config()),
        losses.get(losses.serialize(ours)),
    ):
        assert type(again) is type(ours)
        assert again.get_config() == ours.get_config() == theirs.get_config()


def test_a_subclass_of_a_loss_keeps_its_default_name():
    class Mine(bare.losses.CategoricalCrossentropy):
        pass

    assert Mine().name == "categorical_crossentropy"
    assert Mine.from_config(Mine().get_config()).name == "categorical_crossentropy"


@pytest.mark.parametrize("name", ["CategoricalCrossentropy", "MeanSquaredError"])
def test_a_loss_is_found_by_name_class_function_or_configuration(keras, name):
    losses, snake = bare.losses, bare.compat.naming.snake_case(name)
    kind, function = getattr(losses, name), getattr(losses, snake)
    short = ["mse", "MSE"] if name == "MeanSquaredError" else []
    configuration = {"class_name": name, "config": {}}
    for identifier in (name, snake, *short, kind, kind(), function, configuration):
        assert type(as_loss(identifier)) is kind
        assert as_loss(identifier).get_config() == kind().get_config()
    for library in (bare, keras):
        for identifier in (snake, *short):
            assert library.losses.get(identifier) is getattr(library.losses, snake)


def test_an_unknown_loss_raises_the_message_of_keras(keras):
    words = "Could not interpret loss identifier"
    for wrong in ("categorical_crossentrpy", "foo", 3):
        refused_in_keras_s_words(keras, lambda library, w=wrong: library.losses.get(w), words)


@pytest.mark.parametrize(
    ("name", "shape", "hint"),
    [
        ("CategoricalCrossentropy", (6,), "to_categorical"),
        ("CategoricalCrossentropy", (6, 1), "sparse_categorical_crossentropy"),
        ("CategoricalCrossentropy", (6, 4), "one row of 5 probabilities"),
        ("SparseCategoricalCrossentropy", (6, 5), "argmax"),
        ("SparseCategoricalCrossentropy", (4,), "one class number for each sample"),
    ],
)
def test_targets_of_a_wrong_shape_raise_the_message_of_keras(keras, rng, name, shape, hint):
    y, p = np.zeros(shape), Data(rng, (6,)).p

    def program(library):
        getattr(library.losses, name)()(y, p)

    words = "must have the same shape"
    assert hint in refused_in_keras_s_words(keras, program, words, ours=tinynet)


def test_check_shapes_can_be_called_as_a_method_of_the_class():
    loss = tinynet.losses.MeanSquaredError()
    tinynet.losses.MeanSquaredError.check_shapes(loss, (3, 2), (3, 2))
    with pytest.raises(ValueError, match="one number for each output"):
        tinynet.losses.MeanSquaredError.check_shapes(loss, (3,), (3, 2))


def not_a_loss(y_true, y_pred):
    return ((y_true - y_pred) ** 2).mean(axis=-1)


ROWS = np.eye(3)[[0, 1]], np.full((2, 3), 1 / 3)
ALTERNATIVE = "a loss with a gradient|Could not interpret loss"


@pytest.mark.parametrize(
    ("call", "given", "named", "said"),
    [
        (CategoricalCrossentropy, (), {"reduction": "average"}, "Invalid value for .* `reduction`"),
        (CategoricalCrossentropy, (), {"label_smoothing": 1.5}, "label_smoothing .* from 0 to 1"),
        (CategoricalCrossentropy, (), {"label_smoothing": -0.1}, "label_smoothing .* from 0 to 1"),
        (CategoricalCrossentropy, (), {"axis": 1}, "axis=1, which Keras .* tinynet does not"),
        (CategoricalCrossentropy, (), {"foo": 1}, "Unrecognized keyword arguments"),
        (SparseCategoricalCrossentropy, (), {"ignore_class": 2}, "ignore_class=2, which Keras"),
        (as_loss, (not_a_loss,), {}, r"function not_a_loss.*subclass of tinynet\.losses\.Loss"),
        (as_loss, (bare.regularizers.L2(),), {}, ALTERNATIVE),
        (as_loss, (bare.layers.Dense(3),), {}, ALTERNATIVE),
        (as_loss, (bare.metrics.Metric(),), {}, ALTERNATIVE),
        (bare.losses.mean_squared_error, (*ROWS, 1), {}, "argument"),
        (bare.losses.categorical_crossentropy, (*ROWS, True), {"from_logits": False}, "argument"),
        (bare.losses.categorical_crossentropy, ROWS, {"name": "x"}, "argument"),
        (bare.losses.categorical_crossentropy, ROWS, {"foo": 1}, "argument"),
        (bare.metrics.categorical_accuracy, (*ROWS, 0.7), {}, "argument"),
        (bare.metrics.categorical_accuracy, ROWS, {"dtype": None}, "argument"),
    ],
)
def test_what_is_not_a_loss_or_an_argument_of_it_is_refused(call, given, named, said):
    error = TypeError if said == "argument" else ValueError  # from Python itself, as in Keras
    with pytest.raises(error, match=said):
        call(*given, **named)
