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
every_name = pytest.mark.parametrize("name", NAMES)

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


# Values


@every_name
def test_values_and_their_gradient_equal_keras_and_jax(keras, x, rng, name):
    import jax

    function, theirs = getattr(activations, name), getattr(keras.activations, name)
    gradient = rng.normal(size=x.shape).astype("float32")
    expected, vjp = jax.vjp(theirs, x)
    value = function(x)
    assert value.dtype == np.float32
    assert_allclose(value, np.asarray(expected), rtol=5e-7, atol=TINY)
    result = activations.backward(function)(gradient, value)
    assert result.dtype == np.float32
    # `atol` is needed where tanh is 1 up to rounding, because its slope is then only rounding.
    assert_allclose(result, np.asarray(vjp(gradient)[0]), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_softmax_along_any_axis_equals_keras(keras, rng, axis):
    x = rng.normal(size=(3, 4, 5)).astype("float32")
    expected = np.asarray(keras.activations.softmax(x, axis=axis))
    assert_allclose(activations.softmax(x, axis=axis), expected, rtol=5e-7)


@hypothesis.settings(deadline=None, max_examples=30)
@hypothesis.given(
    hnp.arrays("float32", hnp.array_shapes(), elements=st.floats(-(2.0**99), 2.0**99, width=32))
)
def test_softmax_gives_probabilities_that_sum_to_one(z):
    p = activations.softmax(z)
    assert (p >= 0).all()
    assert_allclose(p.sum(axis=-1), 1, rtol=2e-6)


def test_values_found_by_hand():
    z = np.log([[1.0, 3.0], [2.0, 2.0]])  # eᶻ is 1, 3 and 2, 2
    for name, expected in {
        "linear": z,
        "relu": z,
        "sigmoid": [[1 / 2, 3 / 4], [2 / 3, 2 / 3]],
        "softmax": [[1 / 4, 3 / 4], [1 / 2, 1 / 2]],
        "tanh": [[0, 4 / 5], [3 / 5, 3 / 5]],  # (e²ᶻ − 1) / (e²ᶻ + 1)
    }.items():
        assert_allclose(getattr(activations, name)(z), expected, rtol=1e-7)
    assert_array_equal(activations.relu(-z), np.zeros((2, 2)))


# Types and output arrays


@every_name
def test_a_value_is_finite_and_of_the_type_of_the_input_or_floatx(name):
    function = getattr(activations, name)
    for dtype in ("float32", "float64"):
        value = function(np.array(EXTREMES, dtype))  # and gives no warning
        assert np.isfinite(value).all()
        assert value.dtype == dtype
    for floatx in ("float32", "float64"):
        tinynet.config.set_floatx(floatx)
        for values in ([1, 2], [1.0, 2.0], (1, 2.5), [True, False], range(3)):
            assert function(values).dtype == floatx
        for dtype in ("int64", "uint8", "bool"):
            assert function(np.ones(3, dtype)).dtype == floatx


@pytest.mark.parametrize("name", [name for name in NAMES if name != "softmax"])
def test_a_single_number_gives_a_single_number(name):
    value = getattr(activations, name)(0.5)
    expected = getattr(activations, name)(np.array([0.5], "float32"))[0]
    assert value.shape == ()
    assert value == pytest.approx(expected, rel=1e-6)


@every_name
def test_results_are_new_arrays_or_out_and_arguments_stay_unchanged(rng, name):
    function = getattr(tinynet.activations, name)
    x, gradient = (put(rng.normal(size=(4, 5)).astype("float32")) for _ in range(2))
    for call, arguments in (
        (function, (x,)),
        (tinynet.activations.backward(function), (gradient, function(x))),
    ):
        kept, out = [array.copy() for array in arguments], backend.xp.empty_like(x)
        expected = call(*arguments)
        assert not shares_memory(expected, arguments[0])
        assert call(*arguments, out=out) is out
        assert_array_equal(out, expected)
        for array, before in zip(arguments, kept, strict=True):
            assert_array_equal(array, before)
    expected = function(x)
    assert function(x, out=x) is x
    assert_array_equal(x, expected)


# Backward


@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4)], ids=str)
@every_name
def test_backward_is_the_derivative_by_central_differences(rng, name, shape):
    function = getattr(activations, name)
    z, gradient = rng.normal(size=shape) * 2, rng.normal(size=shape)
    z[np.abs(z) < 1e-3] = 1  # away from relu's kink
    expected = central_differences(lambda: (gradient * function(z)).sum(), z)
    result = activations.backward(function)(gradient, function(z))
    assert_allclose(result, expected, rtol=1e-7, atol=1e-9)


# Names, and user-defined functions


def test_get_finds_a_function_by_its_name():
    activations = tinynet.activations
    for name in NAMES:
        function = getattr(activations, name)
        assert activations.get(name) is function
        assert activations.get(function) is function
        assert activations.serialize(function) == name
    assert activations.get(None) is activations.linear


def test_an_unknown_name_is_answered_with_similar_ones(keras):
    words = "Could not interpret"
    for wrong, near in (("sigmoyd", "sigmoid"), ("Softmax", "softmax")):
        said = refused_in_keras_s_words(
            keras, lambda library, name=wrong: library.activations.get(name), words
        )
        assert f"'{near}'" in said
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
