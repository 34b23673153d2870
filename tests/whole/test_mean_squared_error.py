"""The mean squared error compared with Keras's, its gradient, and training a regression model."""

import numpy as np
import pytest
from arrays import assert_allclose, assert_array_equal, through
from gradients import central_differences
from networks import network
from oracle import agree, both

import tinynet as bare  # without the conversion of arrays that `through` adds
from tinynet.compat.targets import as_loss

pytestmark = pytest.mark.computes

tinynet = through(bare)
MeanSquaredError = tinynet.losses.MeanSquaredError
REDUCTIONS = ["sum_over_batch_size", "mean", "mean_with_sample_weight", "sum", "none", None]
SHAPES = [((6, 3), (6, 3)), ((6,), (6, 1)), ((6, 1), (6, 1)), ((4, 5, 3), (4, 5, 3))]
# Targets or outputs lack an axis of length 1, which does not affect the mean.
LACKING = [((6, 1), (6,)), ((4, 5), (4, 5, 1))]


def pair(rng, shapes, dtype="float32"):
    """Return targets and outputs of these shapes."""
    return tuple(rng.normal(size=shape).astype(dtype) for shape in shapes)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shapes", SHAPES[:4], ids=str)
def test_values_equal_keras(keras, rng, shapes, reduction, weighted):
    y, p = pair(rng, shapes)
    weights = rng.uniform(0, 2, len(y)).astype("float32") if weighted and p.ndim == 2 else None
    expected = keras.losses.MeanSquaredError(reduction)(y, p, sample_weight=weights)
    value = MeanSquaredError(reduction)(y, p, sample_weight=weights)
    assert value.dtype == np.float32
    assert_allclose(value, np.asarray(expected), rtol=1e-6)


@pytest.mark.parametrize("shapes", LACKING, ids=str)
def test_a_missing_axis_does_not_affect_the_mean(keras, rng, shapes):
    y, p = pair(rng, shapes)
    expected = float(keras.losses.MeanSquaredError()(y, p))
    assert float(MeanSquaredError()(y, p)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", ["int64", "uint8", "float64", "bool"])
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_the_function_returns_one_value_for_each_sample(keras, rng, shapes, kind):
    y, p = pair(rng, shapes)
    y = (10 * abs(y)).astype(kind)
    expected = np.asarray(keras.losses.mean_squared_error(y, p))
    value = tinynet.losses.mean_squared_error(y, p)
    assert value.shape == expected.shape
    assert_allclose(value, expected, rtol=1e-6)


@pytest.mark.parametrize("shapes", [SHAPES[0], SHAPES[3]], ids=str)
def test_backward_is_the_derivative(keras, rng, shapes):
    import jax

    bare.config.set_floatx("float64")
    loss = MeanSquaredError()
    y, p = pair(rng, shapes, "float64")
    expected = central_differences(lambda: loss.call(y, p).sum(), p)
    assert_allclose(loss.backward(y, p), expected, rtol=1e-7, atol=1e-9)
    y, p = y.astype("float32"), p.astype("float32")
    theirs = keras.losses.MeanSquaredError(reduction="sum")
    gradient = loss.backward(y, p)
    assert gradient.dtype == np.float32
    assert_allclose(gradient, np.asarray(jax.grad(lambda p: theirs(y, p))(p)), rtol=1e-6)


def regression(library, rng_seed=3):
    """Return a small regression model, with the same weights in both libraries."""
    model = network((5, "tanh"), (1,), inputs=(2,), library=library)
    rng = np.random.default_rng(rng_seed)
    model.set_weights([rng.normal(size=w.shape) * 0.5 for w in model.get_weights()])
    return model


@pytest.mark.parametrize("identifier", ["mse", "MSE", "mean_squared_error", "MeanSquaredError"])
@pytest.mark.parametrize("column", [True, False])
def test_training_a_regression_model_equals_keras(keras, rng, identifier, column):
    x = rng.normal(size=(40, 2)).astype("float32")
    y = x[:, 0] * x[:, 1]
    y = y[:, None] if column else y

    def program(library):
        model = regression(library)
        model.compile("adam", identifier, metrics=[identifier])
        history = model.fit(x, y, epochs=3, batch_size=8, verbose=0, shuffle=False).history
        return history, model.get_weights()

    (theirs, their_weights), (ours, our_weights) = both(keras, program)
    assert list(ours) == list(theirs) == sorted([identifier, "loss"])
    for name, values in theirs.items():
        assert ours[name] == pytest.approx(values, rel=1e-6)
    agree(their_weights, our_weights, atol=1e-6)


def test_names_and_configuration_equal_keras(keras):
    losses = bare.losses
    ours, theirs = losses.MeanSquaredError(), keras.losses.MeanSquaredError()
    assert ours.get_config() == theirs.get_config()
    assert losses.serialize(ours) == keras.losses.serialize(theirs)
    assert type(losses.get(losses.serialize(ours))) is losses.MeanSquaredError
    for name in ("mse", "MSE", "mean_squared_error"):
        assert losses.get(name) is losses.mean_squared_error
        assert keras.losses.get(name) is keras.losses.mean_squared_error
    assert type(as_loss("MeanSquaredError")) is losses.MeanSquaredError


@pytest.mark.parametrize(("y", "p"), [((4, 3), (4, 5)), ((4,), (4, 3)), ((4, 1), (4, 3))])
def test_targets_of_another_shape_are_refused(y, p):
    words = r"must have the same shape.*one number for each output. Write: y = y.reshape\(-1, "
    with pytest.raises(ValueError, match=words):
        MeanSquaredError()(np.zeros(y), np.zeros(p))


def test_targets_are_not_changed(rng):
    y, p = pair(rng, SHAPES[0])
    kept = y.copy(), p.copy()
    MeanSquaredError()(y, p)
    MeanSquaredError().backward(y, p)
    assert_array_equal(y, kept[0])
    assert_array_equal(p, kept[1])
