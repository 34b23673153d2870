"""Cross-entropy losses: their values against Keras's, their gradients against central differences
and against JAX's gradient of Keras's loss, and the gradient fused with softmax against the general
one. Training uses the fused gradient, so its tolerance is 1e-12.
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
    "smoothed": ("CategoricalCrossentropy", {"label_smoothing": 0.1}),
    "sparse": ("SparseCategoricalCrossentropy", {}),
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

    def targets(self, kind):
        return self.labels if kind == "sparse" else self.one_hot

    def outputs(self, from_logits):
        return self.logits if from_logits else self.rows


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


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_values_equal_keras(keras, data, kind, reduction, from_logits, weighted):
    y, outputs = data.targets(kind), data.outputs(from_logits)
    weights = data.weights if weighted else None

    def program(library):
        loss = make(library, kind, from_logits=from_logits, reduction=reduction)
        return loss(y, outputs, sample_weight=weights)

    expected, value = both(keras, program, ours=tinynet)
    assert value.dtype == np.float32
    agree(expected, value, rtol=1e-6, atol=2e-7)


@pytest.mark.parametrize("reduction", [*MEANS, "sum"])
def test_weights_may_be_a_column_or_a_list(keras, rng, reduction):
    data = Data(rng, (6,))
    column = data.weights.reshape(6, 1)
    expected = keras.losses.CategoricalCrossentropy(reduction=reduction)(
        data.one_hot, data.rows, sample_weight=column
    )
    loss = CategoricalCrossentropy(reduction=reduction)
    for weights in (column, column.tolist(), data.weights.tolist()):
        value = loss(data.one_hot, data.rows, sample_weight=weights)
        assert value == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("reduction", [*MEANS, "sum", None])
def test_a_scalar_weight_applies_to_all_samples(keras, rng, reduction):
    data = Data(rng, (6,))

    def program(library):
        loss = library.losses.CategoricalCrossentropy(reduction=reduction)
        return loss(data.one_hot, data.rows, sample_weight=2.5)

    agree(*both(keras, program, ours=tinynet), rtol=1e-6)


def test_the_weight_of_a_sample_applies_to_all_its_times(rng):
    data = Data(rng, (4, 3))
    loss = CategoricalCrossentropy()
    by_sample = loss(data.one_hot, data.p, sample_weight=data.weights.ravel())
    by_time = loss(data.one_hot, data.p, sample_weight=np.repeat(data.weights, 3, axis=1))
    assert by_sample == pytest.approx(by_time, rel=1e-6)


def test_weights_of_zero_give_a_loss_of_zero(keras, rng):
    data = Data(rng, (6,))

    def program(library, reduction):
        loss = library.losses.CategoricalCrossentropy(reduction=reduction)
        return float(loss(data.one_hot, data.rows, sample_weight=np.zeros(6)))

    for reduction in [*MEANS, "sum"]:
        assert both(keras, program, reduction, ours=tinynet) == [0, 0]


@pytest.mark.parametrize("from_logits", [False, True])
def test_the_functions_return_one_value_for_each_sample(keras, data, from_logits):
    outputs = data.outputs(from_logits)

    def program(library, name, y, own):
        return getattr(library.losses, name)(y, outputs, from_logits=from_logits, **own)

    for name, y, own in [
        ("categorical_crossentropy", data.one_hot, {}),
        ("categorical_crossentropy", data.one_hot, {"label_smoothing": 0.3}),
        ("sparse_categorical_crossentropy", data.labels, {}),
    ]:
        expected, values = both(keras, program, name, y, own, ours=tinynet)
        assert values.shape == data.labels.shape
        agree(expected, values, rtol=1e-6, atol=2e-7)


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize(
    "labels",
    [
        np.array([[0], [4], [2], [1], [3], [0]]),
        np.array([0, 4, 2, 1, 3, 0], "uint8"),
        np.array([0.0, 3.9, 2.5, 1.0, 0.7, 4.2], "float32"),
        np.array([0, -1, 5, 255, -5, 1000]),
        np.array([-0.5, -1.5, 4.9, 5.0, 0.0, 1.0]),
    ],
    ids=["column", "bytes", "floats", "out of range", "floats out of range"],
)
def test_labels_of_every_type_and_range_give_the_loss_of_keras(keras, rng, labels, from_logits):
    outputs = Data(rng, (6,)).outputs(from_logits)

    def program(library):
        function = library.losses.sparse_categorical_crossentropy
        return function(labels, outputs, from_logits=from_logits)

    agree(*both(keras, program, ours=tinynet), rtol=1e-6, atol=2e-7)


@pytest.mark.parametrize("label", [-1, 5, 255])
def test_a_label_out_of_range_contributes_nothing(rng, label):
    data = Data(rng, (3,))
    labels = np.full(3, label)
    loss = SparseCategoricalCrossentropy()
    assert loss(labels, data.rows) == 0
    assert_array_equal(loss.backward(labels, data.rows), 0)


def test_clipping_bounds_the_loss_from_below_and_above(keras):
    right = np.eye(3, dtype="float32")
    wrong = right[[1, 2, 0]]
    for library in (keras, tinynet):
        best = np.asarray(library.losses.categorical_crossentropy(right, right))
        worst = np.asarray(library.losses.categorical_crossentropy(right, wrong))
        assert_allclose(best, 1.1920929e-07, rtol=1e-6)
        assert_allclose(worst, 16.118096, rtol=1e-6)


def test_probabilities_are_normalized(rng):
    data = Data(rng, (6,))
    values = losses.categorical_crossentropy(data.one_hot, data.p)
    for factor in (1e-6, 3.0, 1e6):
        scaled = losses.categorical_crossentropy(data.one_hot, data.p * np.float32(factor))
        assert_allclose(scaled, values, rtol=1e-6, atol=2e-7)


@pytest.mark.parametrize("size", [20, 200, 1e4, 1e30])
def test_logits_of_any_size_give_the_loss_of_keras(keras, rng, size):
    z = (size * rng.uniform(-1, 1, (50, CLASSES))).astype("float32")
    y = np.eye(CLASSES)[rng.integers(CLASSES, size=50)]

    def program(library):
        return library.losses.categorical_crossentropy(y, z, from_logits=True)

    agree(*both(keras, program, ours=tinynet), rtol=1e-6, atol=2e-7)


def test_lists_are_accepted():
    value = losses.categorical_crossentropy([[0, 1]], [[1, 3]])
    assert value.dtype == np.float32
    assert_allclose(value, -math.log(0.75), rtol=1e-6)


# The gradient of each sample's loss


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_backward_is_the_derivative_by_central_differences(precise, kind, from_logits):
    loss = make(tinynet, kind, from_logits=from_logits)
    y, outputs = precise.targets(kind), precise.outputs(from_logits)
    expected = central_differences(lambda: loss.call(y, outputs).sum(), outputs)
    assert_allclose(loss.backward(y, outputs), expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_backward_equals_the_jax_gradient_of_the_keras_loss(keras, rng, kind, from_logits):
    import jax

    data = Data(rng, (4, 3))
    y, outputs = data.targets(kind), data.outputs(from_logits)
    theirs = make(keras, kind, from_logits=from_logits, reduction="sum")
    expected = np.asarray(jax.grad(lambda p: theirs(y, p))(outputs))
    gradient = make(tinynet, kind, from_logits=from_logits).backward(y, outputs)
    assert gradient.dtype == np.float32
    assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)


def test_targets_need_not_sum_to_one(precise, rng):
    y = rng.uniform(0, 3, precise.p.shape)
    for from_logits in (False, True):
        loss, outputs = CategoricalCrossentropy(from_logits), precise.outputs(from_logits)
        expected = central_differences(lambda: loss.call(y, outputs).sum(), outputs)  # noqa: B023
        assert_allclose(loss.backward(y, outputs), expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("true_p", [0, 1e-8, 0.99e-7, 1.01e-7, 1e-6, 0.5, 1 - 1e-6, 1 - 1e-8, 1])
def test_the_gradient_is_zero_where_probabilities_are_clipped(keras, true_p):
    import jax

    y = np.array([[0, 1, 0]], "float32")
    p = np.array([[1 - true_p, true_p, 0]], "float32")
    expected = jax.grad(lambda p: keras.losses.CategoricalCrossentropy()(y, p))(p)
    gradient = CategoricalCrossentropy().backward(y, p)
    assert_allclose(gradient, np.asarray(expected), rtol=1e-5, atol=1e-6)
    inside = 1e-7 <= np.float32(true_p) <= np.float32(1 - 1e-7)
    assert gradient.any() == inside


# Loss and softmax, fused as in training


def head(data, activation="softmax", seed=0):
    """Return a last layer after a forward pass, its outputs, and for softmax their logits z."""
    x = np.random.default_rng(seed).normal(size=(*data.labels.shape, 7)).astype(data.p.dtype)
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


FUSED = [
    (CategoricalCrossentropy(), "one-hot"),
    (CategoricalCrossentropy(), "any sum"),
    (CategoricalCrossentropy(), "negative"),
    (CategoricalCrossentropy(label_smoothing=0.2), "one-hot"),
    (CategoricalCrossentropy(label_smoothing=0.2), "any sum"),
    (SparseCategoricalCrossentropy(), "labels"),
    *((CategoricalCrossentropy(reduction=r), "one-hot") for r in (*MEANS, "sum")),
]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("loss", "kind"), FUSED)
def test_the_fused_step_equals_the_general_one(precise, loss, kind, weighted):
    layer, p, _ = head(precise)
    y, weights = targets_of(kind, precise), precise.weights if weighted else None
    objective = Objective(loss, [layer])
    assert objective.fused
    value = objective.forward(y, p, weights)
    assert value == pytest.approx(float(loss(y, p, weights)), abs=1e-12)

    each = loss.backward(y, p) * (1 if weights is None else weights[..., None])
    if loss.reduction != "sum":
        by_weight = loss.reduction == "mean_with_sample_weight" and weighted
        each /= weights.sum() if by_weight else precise.labels.size
    general = activations.softmax_backward(each, p)
    assert_allclose(objective.backward(), general, rtol=0, atol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("loss", "kind"), FUSED)
def test_the_fused_gradient_is_the_derivative_of_the_reported_loss(precise, loss, kind, weighted):
    layer, p, z = head(precise)
    y, weights = targets_of(kind, precise), precise.weights if weighted else None
    objective = Objective(loss, [layer])
    objective.forward(y, p, weights)
    gradient = objective.backward()

    def value():
        p = bare.activations.softmax(put(z), surprisal=layer.bare.surprisal)
        return objective.forward(y, p, weights)

    assert_allclose(gradient, central_differences(value, z), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", [*MEANS, "sum"])
@pytest.mark.parametrize(
    ("from_logits", "activation"), [(True, None), (True, "softmax"), (False, "sigmoid")]
)
def test_other_combinations_are_not_fused_and_have_the_right_gradient(
    precise, from_logits, activation, reduction, weighted
):
    layer, outputs, _ = head(precise, activation)
    loss = CategoricalCrossentropy(from_logits, reduction=reduction)
    weights = precise.weights if weighted else None
    objective = Objective(loss, [layer])
    assert not objective.fused
    value = objective.forward(precise.one_hot, outputs, weights)
    assert value == pytest.approx(float(loss(precise.one_hot, outputs, weights)), rel=1e-12)
    gradient = objective.backward()
    expected = central_differences(
        lambda: objective.forward(precise.one_hot, outputs, weights), outputs
    )
    assert_allclose(gradient, expected, rtol=1e-7, atol=1e-9)


class SquaredError(bare.losses.Loss):
    """A user-defined loss: one value for each sample, however many axes its outputs have."""

    def call(self, y_true, y_pred):
        return ((y_pred - y_true) ** 2).reshape(len(y_pred), -1).sum(axis=-1)

    def backward(self, y_true, y_pred):
        self.returned = 2 * (y_pred - y_true)
        return self.returned


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(4, 5), (4, 4, 5), (4, 3, 5), (4, 2, 3, 5)])
def test_a_user_defined_loss_is_weighted_by_sample(rng, shape, weighted):
    y, outputs = rng.normal(size=shape), rng.normal(size=shape)
    weights = rng.uniform(size=4) if weighted else None
    objective = Objective(through(SquaredError()), [Flatten()])
    value = objective.forward(y, outputs, weights)
    each = ((outputs - y) ** 2).reshape(4, -1).sum(axis=-1) * (1 if weights is None else weights)
    assert value == pytest.approx(each.mean(), rel=1e-12)
    gradient = objective.backward()
    expected = central_differences(lambda: objective.forward(y, outputs, weights), outputs)
    assert_allclose(gradient, expected, rtol=1e-7, atol=1e-9)


def test_a_subclass_of_cross_entropy_is_not_fused(precise):
    class Doubled(bare.losses.CategoricalCrossentropy):
        def call(self, y_true, y_pred):
            return 2 * super().call(y_true, y_pred)

        def backward(self, y_true, y_pred):
            return 2 * super().backward(y_true, y_pred)

    layer, p, _ = head(precise)
    objective = Objective(Doubled(), [layer])
    value = float(CategoricalCrossentropy()(precise.one_hot, p))
    assert objective.forward(precise.one_hot, p) == pytest.approx(2 * value, rel=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_gradient_returned_by_a_loss_is_not_modified(rng, weighted):
    y, outputs, weights = (rng.normal(size=shape) for shape in ((4, 5), (4, 5), 4))
    loss = through(SquaredError())
    objective = Objective(loss, [Flatten()])
    objective.forward(y, outputs, weights if weighted else None)
    objective.backward()
    assert_array_equal(loss.returned, 2 * (outputs - y))


def test_the_fused_gradient_does_not_vanish_for_saturated_softmax(keras):
    """The softmax of ±200 is exactly 1 and 0: the probabilities alone give no gradient."""
    layer = Dense(2, activation="softmax", kernel_initializer="ones")
    x = np.ones((1, 1), "float32")
    layer(x)
    layer.set_weights([[[200, -200]], [0, 0]])
    p = layer.forward(x)
    assert_array_equal(p, [[1, 0]])
    y = np.array([[0, 1]], "float32")

    objective = Objective(CategoricalCrossentropy(), [layer])
    assert objective.forward(y, p) == 400
    assert_array_equal(objective.backward(), [[1, -1]])

    loss = CategoricalCrossentropy()
    assert loss(y, p) == pytest.approx(16.118, rel=1e-5)
    assert loss(y, p) == float(keras.losses.CategoricalCrossentropy()(y, p))
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
    ],
)
def test_the_configuration_equals_keras_and_recreates_the_loss(keras, name, arguments):
    losses = bare.losses
    ours, theirs = getattr(losses, name)(**arguments), getattr(keras.losses, name)(**arguments)
    assert ours.get_config() == theirs.get_config()
    assert type(ours).from_config(theirs.get_config()).get_config() == theirs.get_config()
    again = losses.get(losses.serialize(ours))
    assert type(again) is type(ours)
    assert again.get_config() == ours.get_config()


@pytest.mark.parametrize(
    "identifier",
    [
        "categorical_crossentropy",
        "CategoricalCrossentropy",
        bare.losses.CategoricalCrossentropy,
        bare.losses.CategoricalCrossentropy(),
        bare.losses.categorical_crossentropy,
        {"class_name": "CategoricalCrossentropy", "config": {}},
    ],
)
def test_a_loss_is_found_by_name_class_function_or_configuration(identifier):
    loss = as_loss(identifier)
    assert type(loss) is bare.losses.CategoricalCrossentropy
    assert loss.get_config() == CategoricalCrossentropy().get_config()


@pytest.mark.parametrize("wrong", ["categorical_crossentrpy", "foo", 3])
def test_an_unknown_loss_raises_the_message_of_keras(keras, wrong):
    words = "Could not interpret loss identifier"
    refused_in_keras_s_words(keras, lambda library: library.losses.get(wrong), words)


def test_a_function_without_a_gradient_is_refused_with_the_line_to_write():
    def mine(y_true, y_pred):
        return ((y_true - y_pred) ** 2).mean(axis=-1)

    with pytest.raises(ValueError, match=r"function mine.*subclass of tinynet\.losses\.Loss"):
        as_loss(mine)


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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"reduction": "average"}, "Invalid value for argument `reduction`"),
        ({"label_smoothing": 1.5}, "label_smoothing to be a number from 0 to 1"),
        ({"label_smoothing": -0.1}, "label_smoothing to be a number from 0 to 1"),
        ({"axis": 1}, "axis=1, which Keras supports, but tinynet does not"),
        ({"foo": 1}, "Unrecognized keyword arguments"),
    ],
)
def test_invalid_and_unsupported_arguments_are_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        CategoricalCrossentropy(**arguments)


def test_ignore_class_is_refused():
    with pytest.raises(
        ValueError, match="ignore_class=2, which Keras supports, but tinynet does not"
    ):
        SparseCategoricalCrossentropy(ignore_class=2)


def test_neither_targets_nor_outputs_are_changed(data):
    for kind in KINDS:
        for from_logits in (False, True):
            y, outputs = data.targets(kind), data.outputs(from_logits)
            kept_y, kept_outputs = y.copy(), outputs.copy()
            loss = make(tinynet, kind, from_logits=from_logits)
            loss(y, outputs, sample_weight=data.weights)
            loss.backward(y, outputs)
            assert_array_equal(y, kept_y)
            assert_array_equal(outputs, kept_outputs)


@pytest.mark.parametrize("weights", [[1.0, -1.0], [0.0, 0.0], [2.0, 1.0]])
def test_a_weighted_mean_equals_keras_also_for_weights_that_sum_to_zero(keras, weights):
    y, p = np.eye(2, dtype="float32"), np.array([[0.7, 0.3], [0.6, 0.4]], "float32")

    def program(library):
        loss = library.losses.CategoricalCrossentropy(reduction="mean_with_sample_weight")
        return float(loss(y, p, sample_weight=np.array(weights, "float32")))

    theirs, ours = both(keras, program, ours=tinynet)
    assert ours == pytest.approx(theirs, abs=1e-6)


def test_a_layer_that_overrides_forward_is_not_fused():
    class Mixed(bare.layers.Dense):
        def forward(self, x, training=False):
            return 0.9 * super().forward(x, training) + 0.1 / self.units

    layer, plain = Mixed(3, "softmax"), Dense(3, "softmax")
    assert Objective(CategoricalCrossentropy(), [plain]).fused
    assert not Objective(CategoricalCrossentropy(), [layer]).fused


def test_a_loss_of_zero_is_not_negative_zero():
    layer = Dense(2, activation="softmax", kernel_initializer="ones")
    x = np.ones((1, 1), "float32")
    layer(x)
    layer.set_weights([[[200, -200]], [0, 0]])
    value = Objective(CategoricalCrossentropy(), [layer]).forward(
        np.array([[1.0, 0.0]]), layer.forward(x)
    )
    assert value == 0
    assert not np.signbit(value)


def test_check_shapes_can_be_called_as_a_method_of_the_class():
    loss = tinynet.losses.MeanSquaredError()
    tinynet.losses.MeanSquaredError.check_shapes(loss, (3, 2), (3, 2))
    with pytest.raises(ValueError, match="one number for each output"):
        tinynet.losses.MeanSquaredError.check_shapes(loss, (3,), (3, 2))


def test_the_functions_accept_no_more_arguments_than_in_keras():
    y, p = precise_rows()
    for call in (
        lambda: bare.losses.mean_squared_error(y, p, 1),
        lambda: bare.losses.categorical_crossentropy(y, p, True, from_logits=False),
        lambda: bare.losses.categorical_crossentropy(y, p, name="x"),
        lambda: bare.losses.categorical_crossentropy(y, p, foo=1),
        lambda: bare.metrics.categorical_accuracy(y, p, 0.7),
        lambda: bare.metrics.categorical_accuracy(y, p, dtype=None),
    ):
        with pytest.raises(TypeError, match="argument"):
            call()


def precise_rows():
    return np.eye(3)[[0, 1]], np.full((2, 3), 1 / 3)


@pytest.mark.parametrize(
    "part", [bare.regularizers.L2(), bare.layers.Dense(3), bare.metrics.Metric()]
)
def test_objects_that_are_not_losses_are_refused(part):
    with pytest.raises(ValueError, match=r"a loss with a gradient|Could not interpret loss"):
        as_loss(part)


def test_a_subclass_of_a_loss_keeps_its_default_name():
    class Mine(bare.losses.CategoricalCrossentropy):
        pass

    assert Mine().name == "categorical_crossentropy"
    assert Mine.from_config(Mine().get_config()).name == "categorical_crossentropy"
