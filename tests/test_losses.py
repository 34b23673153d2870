"""Losses: their values against Keras's, their gradients against central differences and, where
probabilities are clipped, JAX's gradient of Keras's loss, and the gradient fused with softmax
against the general one. Training uses the fused gradient, so its tolerance is 1e-12.

`test_layers` compares configurations and names with Keras's.
"""

import numpy as np
import pytest
from arrays import assert_allclose, assert_array_equal, put, through
from gradients import central_differences
from networks import ONE_HOT, SPARSE
from oracle import agree, both

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


def test_values_are_those_of_the_formulas():
    p, labels = np.array([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]]), np.array([2, 1])
    one_hot, of_each = np.eye(3)[labels], -np.log([0.7, 0.3])
    smooth = -(0.7 * one_hot + 0.3 / 3) * np.log(p)
    for loss, y, expected in [
        (CategoricalCrossentropy(), one_hot, of_each),
        (CategoricalCrossentropy(label_smoothing=0.3), one_hot, smooth.sum(axis=1)),
        (SparseCategoricalCrossentropy(from_logits=True), labels, of_each),
        (losses.MeanSquaredError(), one_hot, ((p - one_hot) ** 2).mean(axis=1)),
    ]:
        outputs = np.log(p) if getattr(loss.bare, "from_logits", False) else p
        assert_allclose(loss(y, outputs), expected.mean(), rtol=1e-6)


class Data:
    """Logits, rows of positive numbers with any sum, targets of each kind, and sample weights.

    The logits also serve as unusual targets: negative numbers.
    """

    def __init__(self, rng, shape, dtype="float32"):
        self.logits = (2 * rng.normal(size=(*shape, CLASSES))).astype(dtype)
        self.rows = rng.uniform(0.1, 2, (*shape, CLASSES)).astype(dtype)
        self.p = activations.softmax(self.logits)
        self.labels = rng.integers(CLASSES, size=shape)
        self.one_hot = np.eye(CLASSES)[self.labels]
        self.any_sum = 3 * self.p[::-1] ** 2
        self.weights = rng.uniform(0, 2, (shape[0], *(1,) * (len(shape) - 1))).astype(dtype)

    def of(self, kind):
        """Return the targets and outputs for a loss of this kind; the first labels do not exist."""
        y = self.one_hot
        if kind.startswith("sparse"):
            y = self.labels.copy()
            y[0] = CLASSES
        return y, self.logits if kind.endswith("logits") else self.rows


@pytest.fixture(params=SHAPES, ids=["batch", "batch-time"])
def precise(rng, request):
    """The same data in float64, which is also floatx during the test."""
    tinynet.config.set_floatx("float64")
    return Data(rng, request.param, "float64")


def make(library, kind, **arguments):
    name, own = KINDS[kind]
    return getattr(library.losses, name)(**own, **arguments)


# Values


@pytest.mark.parametrize("shape", SHAPES, ids=["batch", "batch-time"])
@pytest.mark.parametrize("kind", KINDS)
def test_values_equal_keras_with_every_reduction_and_form_of_weights(keras, rng, kind, shape):
    data = Data(rng, shape)
    y, outputs = data.of(kind)
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
    # Keras does not accept this if there are times.
    row = program(tinynet, "sum", each.reshape(-1))
    assert row == pytest.approx(program(tinynet, "sum", each), rel=1e-6)


def test_unusual_targets_and_outputs_give_the_loss_of_keras(keras, rng):
    data = Data(rng, (6,))
    labels = {
        "column": np.array([[0], [4], [2], [1], [3], [0]]),
        "bytes": np.array([0, 4, 2, 1, 3, 0], "uint8"),
        "floats": np.array([0.0, 3.9, 2.5, 1.0, 0.7, 4.2], "float32"),
        "out of range": np.array([0, -1, 5, 255, -5, 1000]),
        "floats out of range": np.array([-0.5, -1.5, 4.9, 5.0, 0.0, 1.0]),
    }
    sizes = np.array([20, 200, 1e4, 1e30])[:, None, None]
    large = (sizes * rng.uniform(-1, 1, (4, 50, CLASSES))).astype("float32")
    rows = np.eye(CLASSES)[rng.integers(CLASSES, size=(4, 50))]
    cases = {
        "smoothed": (ONE_HOT, data.one_hot, data.rows, False, 0.1),
        "squared": ("mean_squared_error", data.one_hot, data.rows),
        "logits of any size": (ONE_HOT, rows, large, True),
        **{f"lists of {p}": (ONE_HOT, [[0, 1]], [[p, 3 * p]]) for p in (1, 2e-6, 1e6)},
        **{f"{case} for rows": (SPARSE, y, data.rows) for case, y in labels.items()},
        **{f"{case} for logits": (SPARSE, y, data.logits, True) for case, y in labels.items()},
    }

    def program(library, name, *given):
        return getattr(library.losses, name)(*given)

    for case, given in cases.items():
        theirs, ours = both(keras, program, *given, ours=tinynet)
        agree(theirs, ours, rtol=1e-6, atol=2e-7, place=case)


def test_the_squared_error_equals_keras_where_an_axis_is_missing(keras, rng):
    p = Data(rng, (6,)).rows
    y = (10 * p).astype("int64")
    program = lambda library, *given: library.losses.MeanSquaredError()(*given)  # noqa: E731
    for given in ((y[:, 0], p[:, :1]), (y[:, :1], p[:, 0]), (y, p[..., None])):
        agree(*both(keras, program, *given, ours=tinynet), rtol=1e-6)


# The gradient of each sample's loss


@pytest.mark.parametrize("kind", KINDS)
def test_backward_is_the_derivative_by_central_differences(precise, rng, kind):
    loss = make(tinynet, kind)
    y, outputs = precise.of(kind)
    for targets in [y] if kind.startswith("sparse") else [y, rng.uniform(0, 3, y.shape)]:
        gradient = loss.backward(targets, outputs)
        loss(targets, outputs, sample_weight=precise.weights)  # neither changes the arrays
        expected = central_differences(lambda y=targets: loss.call(y, outputs).sum(), outputs)
        assert_allclose(gradient, expected, rtol=1e-7, atol=1e-9)
        assert loss.backward(targets, outputs.astype("float32")).dtype == np.float32


def test_losses_and_gradients_equal_keras_where_probabilities_are_clipped(keras):
    import jax

    true_p = [0, 1e-8, 0.99e-7, 1.01e-7, 1e-6, 0.5, 1 - 1e-6, 1 - 1e-8, 1]
    p = np.array([[1 - true, true, 0] for true in true_p], "float32")
    y = np.tile(np.array([0, 1, 0], "float32"), (len(p), 1))
    theirs, ours = both(
        keras, lambda library: library.losses.CategoricalCrossentropy(reduction=None), ours=tinynet
    )
    assert_allclose(ours(y, p), np.asarray(theirs(y, p)), rtol=1e-6)
    expected = np.asarray(jax.grad(lambda p: theirs(y, p).sum())(p))
    assert_allclose(ours.backward(y, p), expected, rtol=1e-5, atol=1e-6)


# The objective: a loss on top of the last layer, fused with its softmax as in training


def head(data, activation):
    """Return a last layer after a forward pass, its outputs, and for softmax their logits z."""
    x = np.random.default_rng(0).normal(size=(*data.labels.shape, 7)).astype(data.p.dtype)
    layer = Dense(CLASSES, activation=activation, kernel_initializer="random_normal")
    layer.kernel_initializer.stddev = 0.5
    layer(x)
    outputs = layer.forward(x)
    return layer, outputs, -layer.surprisal if activation == "softmax" else None


OBJECTIVES = [
    *((CategoricalCrossentropy(), "softmax", kind) for kind in ("one_hot", "any_sum", "logits")),
    (CategoricalCrossentropy(label_smoothing=0.2), "softmax", "any_sum"),
    (SparseCategoricalCrossentropy(), "softmax", "labels"),
    *((CategoricalCrossentropy(True), activation, "one_hot") for activation in (None, "softmax")),
    *(
        (CategoricalCrossentropy(reduction=reduction), activation, "one_hot")
        for activation in ("softmax", "sigmoid")
        for reduction in (*MEANS[1:], "sum")
    ),
]


@pytest.mark.parametrize(("loss", "activation", "kind"), OBJECTIVES)
def test_the_gradient_of_an_objective_is_the_derivative_of_its_loss(
    precise, loss, activation, kind
):
    layer, outputs, z = head(precise, activation)
    y, objective = getattr(precise, kind), Objective(loss, [layer])
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
            apart = Objective(loss, [Flatten()])
            apart.forward(y, outputs, weights)
            general = activations.softmax_backward(apart.backward(), outputs)
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
    assert loss.name == "squared_error"
    for weights in (None, rng.uniform(size=4)):
        value = objective.forward(y, outputs, weights)
        each = ((outputs - y) ** 2).reshape(4, -1).sum(axis=-1)
        each *= 1 if weights is None else weights
        assert value == pytest.approx(each.mean(), rel=1e-12)
        gradient = objective.backward()
        assert_array_equal(loss.returned, 2 * (outputs - y))
        expected = central_differences(lambda w=weights: objective.forward(y, outputs, w), outputs)
        assert_allclose(gradient, expected, rtol=1e-7, atol=1e-9)


def test_neither_a_subclass_of_a_loss_nor_of_a_layer_is_fused():
    own_loss = type("Own", (bare.losses.CategoricalCrossentropy,), {})()
    own_dense = type("Own", (bare.layers.Dense,), {"forward": lambda self, x: x})
    assert Objective(CategoricalCrossentropy(), [Dense(3, "softmax")]).fused
    assert not Objective(own_loss, [Dense(3, "softmax")]).fused
    assert not Objective(CategoricalCrossentropy(), [own_dense(3, "softmax")]).fused
    again = type(own_loss).from_config(own_loss.get_config())
    assert again.name == own_loss.name == "categorical_crossentropy"


def test_the_fused_gradient_does_not_vanish_for_saturated_softmax():
    """The softmax of ±200 is exactly 1 and 0: the probabilities alone give no gradient."""
    layer = Dense(2, activation="softmax", kernel_initializer="ones")
    x = np.ones((1, 1), "float32")
    layer(x)
    layer.set_weights([[[200, -200]], [0, 0]])
    p = layer.forward(x)
    assert_array_equal(p, [[1, 0]])
    right, wrong = np.eye(2, dtype="float32")[:, None]

    objective = Objective(CategoricalCrossentropy(), [layer])
    assert objective.forward(right, p) == 0
    assert not np.signbit(objective.forward(right, p))  # not −0
    assert objective.forward(wrong, p) == 400
    assert_array_equal(objective.backward(), [[1, -1]])


# Mistakes

Y, P = np.eye(3)[[0, 1]], np.full((2, 3), 1 / 3)
WRONG = {
    "label_smoothing .* from 0 to 1": lambda: CategoricalCrossentropy(label_smoothing=-0.1),
    "one class number for each sample": lambda: SparseCategoricalCrossentropy()(np.zeros(4), P),
    "one number for each output": lambda: losses.MeanSquaredError.check_shapes(None, (3,), (3, 2)),
    r"the function abs.*subclass of tinynet\.losses\.Loss": lambda: as_loss(abs),
    "Expected a loss with a gradient": lambda: as_loss(bare.regularizers.L2()),
    # An error from Python itself, as in Keras:
    "argument 'name'": lambda: losses.categorical_crossentropy(Y, P, name="x"),
}


@pytest.mark.parametrize("said", WRONG)
def test_what_is_not_a_loss_or_an_argument_of_it_is_refused(said):
    with pytest.raises(TypeError if "argument" in said else ValueError, match=said):
        WRONG[said]()
