"""Activations compared with Keras's, on ordinary and extreme inputs, and each `backward` compared
with central differences in float64 and with JAX's gradient of Keras's function.
"""

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from arrays import assert_allclose, assert_array_equal, put, shares_memory, through
from gradients import central_differences
from oracle import refused_in_keras_s_words

import tinynet
from tinynet import backend
from tinynet.compat import activation

pytestmark = pytest.mark.computes
activations = through(tinynet.activations)

NAMES = ["linear", "relu", "sigmoid", "softmax", "tanh"]
ELEMENTWISE = [name for name in NAMES if name != "softmax"]

EXTREMES = [0.0, -0.0, 1e-45, -1e-40, 16.6, -16.6, 88.5, -88.5, 104, -104, 200, -200, 1e4, -1e4]

# XLA flushes denormal numbers, below 1.2e-38, to 0; NumPy keeps them.
TINY = 1.2e-38


@pytest.fixture
def x(rng):
    """Float32 rows: an even grid, random rows of very different scales, and extreme values."""
    grid = np.linspace(-30, 30, 3000).reshape(-1, 10)
    wild = rng.normal(size=(200, 10)) * np.exp(rng.uniform(-8, 8, (200, 1)))
    extremes = rng.choice(EXTREMES, size=(100, 10))
    return np.vstack([grid, wild, extremes]).astype("float32")


def vjp(function, x, gradient):
    """Return JAX's gradient of Keras's function with respect to `x`."""
    import jax

    return np.asarray(jax.vjp(function, x)[1](gradient)[0])


# Values


@pytest.mark.parametrize("name", NAMES)
def test_values_equal_keras(keras, x, name):
    expected = np.asarray(getattr(keras.activations, name)(x))
    value = getattr(activations, name)(x)
    assert value.dtype == np.float32
    assert_allclose(value, expected, rtol=5e-7, atol=TINY)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_softmax_along_any_axis_equals_keras(keras, rng, axis):
    x = rng.normal(size=(3, 4, 5)).astype("float32")
    expected = np.asarray(keras.activations.softmax(x, axis=axis))
    assert_allclose(activations.softmax(x, axis=axis), expected, rtol=5e-7)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_extreme_inputs_give_finite_values_without_a_warning(name, dtype):
    x = np.array(EXTREMES, dtype)
    assert np.isfinite(getattr(activations, name)(x)).all()


@hypothesis.settings(deadline=None)
@hypothesis.given(
    hnp.arrays("float32", hnp.array_shapes(), elements=st.floats(-(2.0**99), 2.0**99, width=32))
)
def test_softmax_gives_probabilities_that_sum_to_one(z):
    p = activations.softmax(z)
    assert (p >= 0).all()
    assert_allclose(p.sum(axis=-1), 1, rtol=2e-6)


# Types and output arrays


@pytest.mark.parametrize("name", NAMES)
def test_float64_stays_float64(name):
    assert getattr(activations, name)(np.zeros(3)).dtype == np.float64


@pytest.mark.parametrize("floatx", ["float32", "float64"])
@pytest.mark.parametrize("values", [[1, 2], [1.0, 2.0], (1, 2.5), [True, False], range(3)])
def test_lists_become_floatx(values, floatx):
    tinynet.config.set_floatx(floatx)
    assert {getattr(activations, name)(values).dtype.name for name in NAMES} == {floatx}


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool"])
@pytest.mark.parametrize("name", NAMES)
def test_integers_become_floatx(name, dtype):
    assert getattr(activations, name)(np.ones(3, dtype)).dtype == np.float32


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_a_single_number_gives_a_single_number(name):
    value = getattr(activations, name)(0.5)
    expected = getattr(activations, name)(np.array([0.5], "float32"))[0]
    assert value.shape == ()
    assert value == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_input_is_unchanged_and_the_output_is_a_new_array(rng, name):
    x = put(rng.normal(size=(4, 5)).astype("float32"))
    kept = x.copy()
    value = getattr(tinynet.activations, name)(x)
    assert not shares_memory(value, x)
    assert_array_equal(x, kept)


@pytest.mark.parametrize("name", NAMES)
def test_out_receives_the_value_and_may_be_the_input_itself(rng, name):
    function = getattr(tinynet.activations, name)
    x = put(rng.normal(size=(4, 5)).astype("float32"))
    expected, kept, out = function(x), x.copy(), backend.xp.empty_like(x)
    assert function(x, out=out) is out
    assert_array_equal(out, expected)
    assert_array_equal(x, kept)
    assert function(x, out=x) is x
    assert_array_equal(x, expected)


# Backward


@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4)])
@pytest.mark.parametrize("name", NAMES)
def test_backward_is_the_derivative_by_central_differences(rng, name, shape):
    function = getattr(activations, name)
    z, gradient = rng.normal(size=shape) * 2, rng.normal(size=shape)
    z[np.abs(z) < 1e-3] = 1  # away from relu's kink
    expected = central_differences(lambda: (gradient * function(z)).sum(), z)
    result = activations.backward(function)(gradient, function(z))
    assert_allclose(result, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_backward_equals_the_jax_gradient_of_the_keras_function(keras, x, rng, name):
    function = getattr(activations, name)
    gradient = rng.normal(size=x.shape).astype("float32")
    result = activations.backward(function)(gradient, function(x))
    assert result.dtype == np.float32
    expected = vjp(getattr(keras.activations, name), x, gradient)
    # `atol` is needed where tanh is 1 up to rounding, because its slope is then only rounding.
    assert_allclose(result, expected, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("name", NAMES)
def test_backward_fills_out_and_does_not_change_its_inputs(rng, name):
    function = getattr(tinynet.activations, name)
    backward = tinynet.activations.backward(function)
    a = function(put(rng.normal(size=(4, 5)).astype("float32")))
    gradient = put(rng.normal(size=(4, 5)).astype("float32"))
    kept_a, kept_gradient, out = a.copy(), gradient.copy(), backend.xp.empty_like(a)
    expected = backward(gradient, a)
    assert backward(gradient, a, out=out) is out
    assert_array_equal(out, expected)
    assert_array_equal(a, kept_a)
    assert_array_equal(gradient, kept_gradient)
    assert not shares_memory(expected, gradient)


# Names, and user-defined functions


@pytest.mark.parametrize("name", NAMES)
def test_get_finds_a_function_by_its_name(name):
    activations = tinynet.activations
    function = getattr(activations, name)
    assert activations.get(name) is function
    assert activations.get(function) is function
    assert activations.serialize(function) == name


def test_none_is_linear():
    assert tinynet.activations.get(None) is tinynet.activations.linear


@pytest.mark.parametrize(("wrong", "near"), [("sigmoyd", "sigmoid"), ("Softmax", "softmax")])
def test_an_unknown_name_is_answered_with_similar_ones(keras, wrong, near):
    words = "Could not interpret"
    said = refused_in_keras_s_words(keras, lambda library: library.activations.get(wrong), words)
    assert f"'{near}'" in said


def test_an_identifier_that_is_not_a_name_is_refused():
    with pytest.raises(ValueError, match="Could not interpret activation function identifier: 3"):
        activations.get(3)


def test_backward_of_registers_a_user_defined_function(monkeypatch):
    activations = tinynet.activations
    known = activation.BackwardRegistry(activation.BACKWARDS)
    monkeypatch.setattr(activation, "BACKWARDS", known)

    def square(x, out=None):
        return np.multiply(x, x, out=out)

    with pytest.raises(ValueError, match=r"@tinynet\.activations\.backward_of\(square\)"):
        activations.backward(square)

    @activations.backward_of(square)
    def square_backward(gradient, a, out=None):
        return np.multiply(gradient, 2 * np.sqrt(a), out=out)

    assert activations.get(square) is square
    assert activations.backward(square) is square_backward
