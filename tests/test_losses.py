"""Losses: their values against Keras's, their gradients against central differences and, where
probabilities are clipped, JAX's gradient of Keras's loss, and the gradient fused with softmax or
sigmoid against the general one. Training uses the fused gradient, so its tolerance is 1e-12.
The metrics that are means of losses are here, too.

`test_layers` compares configurations and names with Keras's.
"""

import functools

import numpy as np
import pytest
from arrays import assert_allclose, assert_array_equal, put, through
from gradients import central_differences
from networks import ONE_HOT, SPARSE, network, random_weights
from oracle import agree, both, refused, same

import tinynet as bare  # without the conversion of arrays that `through` adds
from tinynet.compat.targets import as_loss

pytestmark = pytest.mark.computes

tinynet = through(bare)
activations, losses = tinynet.activations, tinynet.losses
Dense, Flatten, Objective = tinynet.layers.Dense, tinynet.layers.Flatten, losses.Objective
BinaryCrossentropy = losses.BinaryCrossentropy
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
    "categorical on axis 1": ("CategoricalCrossentropy", {"axis": 1}),
    "axis 1 logits": ("CategoricalCrossentropy", {"from_logits": True, "axis": 1}),
    "sparse": ("SparseCategoricalCrossentropy", {}),
    "sparse logits": ("SparseCategoricalCrossentropy", {"from_logits": True}),
    "sparse, one ignored": ("SparseCategoricalCrossentropy", {"ignore_class": 2}),
    "sparse, one ignored, logits": (
        "SparseCategoricalCrossentropy",
        {"ignore_class": 2, "from_logits": True},
    ),
    "binary": ("BinaryCrossentropy", {}),
    "binary logits": ("BinaryCrossentropy", {"from_logits": True}),
    "binary smoothed": ("BinaryCrossentropy", {"label_smoothing": 0.2}),
    "binary smoothed logits": ("BinaryCrossentropy", {"label_smoothing": 0.5, "from_logits": True}),
    "binary on axis 1": ("BinaryCrossentropy", {"axis": 1}),
    "squared": ("MeanSquaredError", {}),
    "absolute": ("MeanAbsoluteError", {}),
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
        (losses.MeanAbsoluteError(), one_hot, abs(p - one_hot).mean(axis=1)),
        (BinaryCrossentropy(), one_hot, -np.log(abs(1 - one_hot - p)).mean(axis=1)),
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
        self.binary = rng.integers(0, 2, (*shape, CLASSES))
        self.positive = 2 * self.p[::-1]

    def of(self, kind):
        """Return the targets and outputs for a loss of this kind; the first labels do not exist."""
        y = self.one_hot
        if kind.startswith("sparse"):
            y = self.labels.copy()
            y[0] = CLASSES
            y[1] = 2  # at least one is ignored
        if kind.startswith("binary") and not kind.endswith("logits"):
            return y, self.rows / 2.5  # below 1
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
            agree(expected, value, rtol=1e-6, atol=5e-7, place=case)
            assert value.dtype == np.float32, case
    # Keras does not accept this if there are times.
    row = program(tinynet, "sum", each.reshape(-1))
    assert row == pytest.approx(program(tinynet, "sum", each), rel=1e-6)


@pytest.mark.parametrize("shape", [(2, 3, 1), (2, 3), (2, 1, 1), (2, 1), (3,), (2,), ()])
@pytest.mark.parametrize("kind", ["squared", "binary", "sparse", "sparse, one ignored"])
def test_weights_of_each_value_or_sample_may_have_more_axes_as_in_keras(keras, rng, kind, shape):
    y, outputs = Data(rng, (2, 3)).of(kind)
    weights = rng.uniform(1, 2, shape).astype("float32")
    if shape == (2,):  # of samples, as in `fit`; in Keras, such weights would be those of times
        ours = make(tinynet, kind)(y, outputs, weights)
        assert ours == make(tinynet, kind)(y, outputs, weights[:, None])
        return
    agree(*both(keras, lambda lib: make(lib, kind)(y, outputs, weights), ours=tinynet), rtol=1e-6)


@pytest.mark.parametrize("shape", [(3,), (2, 2), (1, 2), (2, 3), (3, 1)])
def test_weights_that_do_not_fit_are_refused(shape):
    y, weights = np.ones((2, 4)), np.ones(shape)
    match = r"each sample, .* of shape \(2,\), received shape .*np.ones\(len\(y_true\)\)"
    with pytest.raises(ValueError, match=match):
        losses.MeanSquaredError()(y, y, weights)
    with pytest.raises(ValueError, match=match):
        tinynet.metrics.MeanSquaredError()(y, y, weights)
    with pytest.raises(ValueError, match=r"of shape \(2, 3\), received shape \(3, 1\)"):
        losses.MeanSquaredError()(np.ones((2, 3, 4)), np.ones((2, 3, 4)), np.ones((3, 1)))


def test_one_value_for_all_samples_cannot_be_weighted():
    y, p = np.array([1.0, 2, 3]), np.array([2.0, 2, 5])
    with pytest.raises(ValueError, match=r"to weigh it, received .* Write: y_pred\[:, None\]"):
        losses.MeanSquaredError()(y, p, [1, 0, 1])
    with pytest.raises(ValueError, match=r"received shape \(3,\). Write: y_pred\[:, None\]"):
        tinynet.metrics.MeanSquaredError()(y, p, [1, 0, 1])
    columns = y[:, None], p[:, None]
    assert float(losses.MeanSquaredError()(*columns, [1, 0, 1])) == pytest.approx(5 / 3)
    with pytest.raises(ValueError, match=r"Write: BinaryCrossentropy\(axis=-1\)"):
        BinaryCrossentropy(axis=0)(np.ones((3, 2)), np.full((3, 2), 0.5), [1, 0, 1])


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


@pytest.mark.parametrize("kind", ["squared", "absolute", "binary", "binary logits"])
def test_the_loss_equals_keras_where_an_axis_is_missing(keras, rng, kind):
    p = Data(rng, (6,)).rows
    y = (p > 1).astype("int64")
    program = lambda library, *given: make(library, kind)(*given)  # noqa: E731
    for given in ((y[:, 0], p[:, :1]), (y[:, :1], p[:, 0]), (y, p[..., None])):
        agree(*both(keras, program, *given, ours=tinynet), rtol=1e-6)


@pytest.mark.parametrize("name", ["CategoricalCrossentropy", "BinaryCrossentropy"])
@pytest.mark.parametrize("axis", [0, 1, -2])
def test_the_classes_are_on_any_axis_as_in_keras(keras, rng, name, axis):
    data = Data(rng, (4, 3))
    smoothing = 0.1 if name == "BinaryCrossentropy" else 0.0
    for logits, outputs in ((False, data.p), (True, data.logits)):
        given = [logits, smoothing, axis]
        program = lambda library, g=given: getattr(library.losses, name)(*g, None)  # noqa: E731
        theirs, ours = both(keras, program, ours=tinynet)
        agree(theirs(data.any_sum, outputs), ours(data.any_sum, outputs), rtol=2e-6, atol=2e-7)


def test_a_loss_computes_in_its_own_type_or_in_floatx(keras, rng):
    data = Data(rng, (6,), "float64")
    for kind in KINDS:
        y, outputs = data.of(kind)
        assert make(tinynet, kind)(y, outputs).dtype == np.float32
        loss = make(tinynet, kind, dtype="float64")
        exact = loss(y, outputs)
        assert (loss.dtype, exact.dtype) == ("float64", np.float64)
        assert loss(y, outputs.astype("float32")).dtype == np.float64
        tinynet.config.set_floatx("float64")
        assert float(make(tinynet, kind)(y, outputs)) == float(exact)
        assert make(tinynet, kind, dtype="float32")(y, outputs).dtype == np.float32
        tinynet.config.set_floatx("float32")
    types = lambda library: [  # noqa: E731
        make(library, "absolute", dtype=dtype).dtype for dtype in (None, "float32", "float64")
    ]
    same(keras, types, ours=tinynet)


def test_arguments_may_be_given_by_position_as_in_keras(keras):
    given = {
        "CategoricalCrossentropy": (True, 0.1, 1, "sum", "mine", "float64"),
        "SparseCategoricalCrossentropy": (True, 3, "sum", -1, "mine", "float64"),
        "BinaryCrossentropy": (True, 0.1, 1, "sum", "mine", "float64"),
        "MeanSquaredError": ("sum", "mine", "float64"),
        "MeanAbsoluteError": ("sum", "mine", "float64"),
    }
    for name, arguments in given.items():
        program = lambda library, n=name, a=arguments: getattr(library.losses, n)(*a)  # noqa: E731
        theirs, ours = both(keras, program, ours=tinynet)
        assert ours.get_config() == theirs.get_config()
        assert ours.dtype == theirs.dtype


# The metric of the same name, which is the mean of the loss

of_a_metric = pytest.mark.parametrize(
    "kind", [kind for kind, (name, own) in KINDS.items() if name[0] != "B" or "axis" not in own]
)


@of_a_metric
def test_the_metric_of_a_loss_equals_keras(keras, rng, kind):
    (name, own), data = KINDS[kind], Data(rng, (6,))
    y, outputs = data.of(kind)
    batches = [(slice(0, 4), None), (slice(4, 6), None)]
    weighted = [(slice(0, 2), data.weights[:2]), (slice(2, 6), data.weights[2:, None])]

    def program(library, given):
        metric, found = getattr(library.metrics, name)(**own), []
        for of, weights in given:
            metric.update_state(y[of], outputs[of], sample_weight=weights)
            found.append(float(metric.result()))
        return found, [float(variable) for variable in metric.variables]

    for given in (batches, weighted, batches[:1] + weighted[1:]):
        agree(*both(keras, program, given, ours=tinynet), rtol=1e-6, atol=2e-7)
    config = lambda lib: getattr(lib.metrics, name)("mine", "float32", **own).get_config()  # noqa: E731
    same(keras, config, ours=tinynet)


# The gradient of each sample's loss


@pytest.mark.parametrize("kind", KINDS)
def test_backward_is_the_derivative_by_central_differences(precise, rng, kind):
    loss = make(tinynet, kind)
    y, outputs = precise.of(kind)
    for targets in [y] if kind.startswith("sparse") else [y, rng.uniform(0, 3, y.shape)]:
        gradient = loss.backward(targets, outputs)
        loss(targets, outputs, sample_weight=precise.weights)  # neither changes the arrays
        expected = central_differences(lambda y=targets: loss.call(y, outputs).sum(), outputs)
        assert_allclose(gradient, expected, rtol=1e-7, atol=1e-8)
        assert loss.backward(targets, outputs.astype("float32")).dtype == np.float32


def test_losses_and_gradients_equal_keras_where_probabilities_are_clipped(keras):
    import jax

    true_p = [0, 1e-8, 0.99e-7, 1.01e-7, 1e-6, 0.5, 1 - 1e-6, 1 - 1e-8, 1]
    p = np.array([[1 - true, true, 0] for true in true_p], "float32")
    y = np.tile(np.array([0, 1, 0], "float32"), (len(p), 1))
    for name in ("CategoricalCrossentropy", "BinaryCrossentropy"):
        program = lambda library, n=name: getattr(library.losses, n)(reduction=None)  # noqa: E731
        theirs, ours = both(keras, program, ours=tinynet)
        if name == "BinaryCrossentropy":  # at the limits themselves, JAX halves the gradient
            y, p = np.delete(y, [2, 3], axis=0), np.delete(p, [2, 3], axis=0)
        assert_allclose(ours(y, p), np.asarray(theirs(y, p)), rtol=1e-6)
        expected = np.asarray(jax.grad(lambda p, loss=theirs, y=y: loss(y, p).sum())(p))
        assert_allclose(ours.backward(y, p), expected, rtol=1e-5, atol=1e-6)
    assert np.isfinite(expected).all()


def test_binary_logits_of_any_size_give_the_loss_and_gradient_of_keras(keras):
    import jax

    z = np.array([[0, 1e-4, 1, 16, 17, 88, 104, 200, 1e4, 1e30]] * 4, "float32")
    z[1::2] *= -1
    y = np.array([[0], [0], [1], [1]]) * np.ones(z.shape, "float32")
    program = lambda library: library.losses.BinaryCrossentropy(True, 0, -1, None)  # noqa: E731
    theirs, ours = both(keras, program, ours=tinynet)
    for part in (slice(0, 9), slice(9, 10)):  # the largest number would hide the others
        agree(theirs(y[:, part], z[:, part]), ours(y[:, part], z[:, part]), rtol=1e-6)
    expected = np.asarray(jax.grad(lambda z: theirs(y, z).sum())(z))
    assert_allclose(ours.backward(y, z), expected, rtol=1e-6, atol=1e-8)


# The objective: a loss on top of the last layer, fused with its softmax as in training


def head(data, activation):
    """Return a last layer after a forward pass, its outputs, and for softmax their logits z."""
    x = np.random.default_rng(0).normal(size=(*data.labels.shape, 7)).astype(data.p.dtype)
    layer = Dense(CLASSES, activation=activation, kernel_initializer="random_normal")
    layer.kernel_initializer.stddev = 0.5
    layer(x)
    outputs = layer.forward(x)
    return layer, outputs, -layer.surprisal if activation == "softmax" else None


OBJECTIVES = [  # the kind of loss, other arguments of it, the activation, and the targets
    *(("categorical", {}, "softmax", targets) for targets in ("one_hot", "any_sum", "logits")),
    ("smoothed", {}, "softmax", "any_sum"),
    ("sparse", {}, "softmax", "labels"),
    ("sparse, one ignored", {}, "softmax", "labels"),
    ("sparse, one ignored", {"reduction": "mean_with_sample_weight"}, "softmax", "labels"),
    ("sparse, one ignored", {"reduction": "sum"}, "sigmoid", "labels"),
    *(("categorical logits", {}, activation, "one_hot") for activation in (None, "softmax")),
    ("categorical on axis 1", {}, "sigmoid", "any_sum"),
    *(
        ("categorical", {"reduction": reduction}, activation, "one_hot")
        for activation in ("softmax", "sigmoid")
        for reduction in (*MEANS[1:], "sum")
    ),
    *(("binary", {"reduction": r}, "sigmoid", "binary") for r in (*MEANS, "sum")),
    ("binary smoothed", {}, "sigmoid", "positive"),
    *(("binary logits", {}, activation, "binary") for activation in (None, "sigmoid")),
    ("binary on axis 1", {}, "sigmoid", "binary"),
    ("absolute", {}, "sigmoid", "logits"),
    ("absolute", {"reduction": "mean_with_sample_weight"}, None, "any_sum"),
]


@pytest.mark.parametrize(("kind", "arguments", "activation", "targets"), OBJECTIVES)
def test_the_gradient_of_an_objective_is_the_derivative_of_its_loss(
    precise, kind, arguments, activation, targets
):
    loss, (layer, outputs, z) = make(tinynet, kind, **arguments), head(precise, activation)
    y, objective = getattr(precise, targets), Objective(loss, [layer])
    fits = activation == ("sigmoid" if kind.startswith("binary") else "softmax")
    assert objective.fused == (fits and kind.split()[-1] not in ("logits", "1"))
    if objective.fused and not objective.softmax:
        outputs = layer.forward(
            layer._x.reshape(*precise.labels.shape, 7)
        )  # again, as from now on it keeps z
        z = layer.z.reshape(outputs.shape)
    backward = activations.backward(getattr(activations, activation or "linear"))
    for weights in (None, precise.weights):

        def value(weights=weights):
            p = outputs
            if objective.softmax:  # it needs the logarithms that softmax computes
                p = bare.activations.softmax(put(z), surprisal=layer.bare.surprisal)
            elif objective.fused:
                p, layer.bare.z = bare.activations.sigmoid(put(z)), put(z)
            return objective.forward(y, p, weights)

        expected = float(loss(y, outputs, weights))
        assert value() == pytest.approx(expected, rel=1e-12, abs=1e-12)
        gradient = objective.backward()
        if objective.fused:  # equal to the general one, one step after the other
            apart = Objective(loss, [Flatten()])
            apart.forward(y, outputs, weights)
            general = backward(apart.backward(), outputs)
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
    own_binary = type("Own", (bare.losses.BinaryCrossentropy,), {})()
    assert Objective(BinaryCrossentropy(), [Dense(3, "sigmoid")]).fused
    assert not Objective(BinaryCrossentropy(), [Dense(3, "softmax")]).fused
    assert not Objective(own_binary, [Dense(3, "sigmoid")]).fused
    assert not Objective(BinaryCrossentropy(), [own_dense(3, "sigmoid")]).fused
    again = type(own_loss).from_config(own_loss.get_config())
    assert again.name == own_loss.name == "categorical_crossentropy"


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_the_fused_gradient_does_not_vanish_for_saturated_outputs(activation):
    """Those of ±200 are exactly 1 and 0: the probabilities alone give no gradient."""
    layer = Dense(2, activation=activation, kernel_initializer="ones")
    loss = CategoricalCrossentropy() if activation == "softmax" else BinaryCrossentropy()
    objective = Objective(loss, [layer])
    x = np.ones((1, 1), "float32")
    layer(x)
    layer.set_weights([[[200, -200]], [0, 0]])
    p = layer.forward(x)
    assert_array_equal(p, [[1, 0]])
    right, wrong = np.eye(2, dtype="float32")[:, None]

    assert objective.forward(right, p) == 0
    assert not np.signbit(objective.forward(right, p))  # not −0
    assert objective.forward(wrong, p) == (400 if activation == "softmax" else 200)
    share = 1 if activation == "softmax" else 0.5
    assert_array_equal(objective.backward(), [[share, -share]])

    weights = [np.array([[200, -200]], "float32"), np.zeros(2, "float32")]
    model = network((2, activation), inputs=(1,), weights=weights, loss=loss.bare, optimizer="sgd")
    model.optimizer.learning_rate = 16
    assert model.evaluate(x, wrong, verbose=0) == (400 if activation == "softmax" else 200)
    assert model.fit(x, wrong, epochs=2, verbose=0).history["loss"] == [
        *((400, 336) if activation == "softmax" else (200, 184)),
    ]
    step = 32 * share
    assert_array_equal(model.get_weights()[0], [[200 - step, step - 200]])


# Training

ROWS = np.random.default_rng(3)
INPUTS, REAL = (ROWS.normal(size=(20, n)).astype("float32") for n in (4, 3))
START, NUMBERS = random_weights(ROWS, 4, 3), ROWS.integers(0, 3, 20)
WEIGHTS = ROWS.uniform(0, 2, 20).astype("float32")
METRICS = {
    "binary": ["acc", "bce", "MAE"],
    "sparse": ["acc", "sparse_categorical_crossentropy"],
    "absolute": ["mse", "MeanAbsoluteError", "mean_absolute_error"],
}
TRAINED = {  # the loss and its arguments, the activation, the targets and the weights of samples
    "binary": ("bce", {}, "sigmoid", np.eye(3)[NUMBERS], None),
    "binary smoothed": (
        "BinaryCrossentropy", {"label_smoothing": 0.2}, "sigmoid", np.eye(3)[NUMBERS], WEIGHTS
    ),
    "absolute": ("mae", {}, "tanh", REAL, WEIGHTS),
    "sparse, one ignored": (
        "SparseCategoricalCrossentropy", {"ignore_class": 1}, "softmax", NUMBERS, None
    ),
    "sparse, one ignored, weighted": (
        "SparseCategoricalCrossentropy", {"ignore_class": 1}, "softmax", NUMBERS[:, None], WEIGHTS
    ),
}  # fmt: skip


@functools.cache
def trained(library, kind):
    """Return the history, the weights and the evaluation of a model after a few steps."""
    name, arguments, activation, y, weights = TRAINED[kind]
    loss = getattr(library.losses, name)(**arguments) if name[0].isupper() else name
    by_name = METRICS[kind.split()[0].strip(",")]
    objects = {
        "sparse": lambda m: [m.SparseCategoricalCrossentropy("own", ignore_class=1)],
        "binary": lambda m: [m.BinaryCrossentropy(label_smoothing=0.1), m.Accuracy()],
        "absolute": lambda m: [m.MeanAbsoluteError("own"), m.MeanSquaredError(dtype="float32")],
    }[kind.split()[0].strip(",")](library.metrics)
    model = network(
        (3, activation), inputs=(4,), library=library, weights=START, loss=loss,
        optimizer="sgd", metrics=[*by_name, *objects],
    )  # fmt: skip
    model.optimizer.learning_rate = 0.5
    given = {"batch_size": 10, "epochs": 2, "shuffle": False, "verbose": 0}
    history = model.fit(INPUTS, y, sample_weight=weights, **given)
    evaluated = model.evaluate(INPUTS, y, batch_size=10, sample_weight=weights, verbose=0)
    return history, model.get_weights(), list(map(float, evaluated))


@pytest.mark.parametrize("kind", TRAINED)
def test_training_equals_keras_also_the_metrics(keras, kind):
    expected, received = trained(keras, kind), trained.__wrapped__(bare, kind)
    agree(expected, received, rtol=3e-6, atol=3e-7)
    assert np.abs(received[1][0] - START[0]).max() > 0.05


# Mistakes

Y, P = np.eye(3)[[0, 1]], np.full((2, 3), 1 / 3)
WRONG = {
    "label_smoothing .* from 0 to 1": lambda: CategoricalCrossentropy(label_smoothing=-0.1),
    "label_smoothing .* from 0 to": lambda: BinaryCrossentropy(label_smoothing=1.1),
    "received axis=0 for outputs": lambda: SparseCategoricalCrossentropy(axis=0)(Y[0], P),
    "axis to be a whole number": lambda: BinaryCrossentropy(axis=1.5),
    "dtype to be 'float32' or": lambda: losses.MeanAbsoluteError(dtype="int32"),
    "one number for each output. Write": lambda: losses.MeanAbsoluteError()(Y[:, :2], P),
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


REFUSED = {  # where Keras refuses as well, and when it does not wait for the first call
    "reduction": ("BinaryCrossentropy", {"reduction": "x"}, None),
    "reduction of the absolute error": ("MeanAbsoluteError", {"reduction": "x"}, None),
    "dtype": ("MeanAbsoluteError", {"dtype": "nonsense"}, None),
    "a class that is no number": ("SparseCategoricalCrossentropy", {"ignore_class": "a"}, Y[:, 0]),
    "classes on the first axis": ("SparseCategoricalCrossentropy", {"axis": 0}, np.zeros(3)),
    "shapes of binary targets": ("BinaryCrossentropy", {}, Y[:, :2]),
    "shapes of binary targets for logits": ("BinaryCrossentropy", {"from_logits": True}, Y[:, :2]),
    "an axis too far": ("CategoricalCrossentropy", {"axis": 5}, Y),
    "an argument that does not exist": ("MeanAbsoluteError", {"foo": 1}, None),
    "smoothing of class numbers": ("SparseCategoricalCrossentropy", {"label_smoothing": 0}, None),
}


@pytest.mark.parametrize("case", REFUSED)
def test_mistakes_raise_the_error_of_keras(keras, case):
    name, arguments, y = REFUSED[case]
    error = TypeError if "argument" in case or "smoothing" in case else ValueError

    def program(library):
        loss = getattr(library.losses, name)(**arguments)
        return None if y is None else loss(y, P)

    refused(keras, program, error=error, ours=tinynet)
    if y is None and error is TypeError:
        refused(keras, lambda lib: getattr(lib.metrics, name)(foo=1), error=TypeError, ours=tinynet)
