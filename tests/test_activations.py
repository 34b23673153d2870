"""Activations compared with Keras's, on ordinary and extreme inputs, and each `backward` compared
with central differences in float64 and with JAX's gradient of Keras's function.

`test_regularizers` has `Activation` layers and user-defined activations.
"""

import pickle

import numpy as np
import pytest
from arrays import assert_allclose, assert_array_equal, put, shares_memory, through
from gradients import central_differences

import tinynet
from tinynet import backend

pytestmark = pytest.mark.computes
activations = through(tinynet.activations)

every_name = pytest.mark.parametrize("name", ["linear", "relu", "sigmoid", "softmax", "tanh"])

POSITIVE = [0.0, 1e-45, 1e-40, 16.6, 88.5, 104, 200, 1e4, 1e30]
EXTREMES = [sign * number for sign in (1, -1) for number in POSITIVE]

# XLA flushes denormal numbers, below 1.2e-38, to 0; NumPy keeps them.
TINY = 1.2e-38


# Values


@every_name
def test_values_and_their_gradient_equal_keras_and_jax(keras, rng, name):
    import jax

    grid = np.linspace(-30, 30, 3000).reshape(-1, 10)
    wild = rng.normal(size=(200, 10)) * np.exp(rng.uniform(-8, 8, (200, 1)))  # of many scales
    x = np.vstack([grid, wild, rng.choice(EXTREMES, size=(100, 10))]).astype("float32")

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


RELUS = [(0.1,), (0, 6), (0, 6.0, 1.0), (0.1, 6.0, 1.0), (0.0, None, -1.0), (0.5, 2, -1), (-0.2,)]


@pytest.mark.parametrize("arguments", RELUS, ids=str)
def test_relu_with_a_slope_a_maximum_or_a_threshold_equals_keras(keras, rng, arguments):
    special = [*arguments[1:], -1, 0, 1, -np.inf, np.inf] if len(arguments) > 1 else [0, -np.inf]
    special = [number for number in special if number is not None]
    x = np.concatenate([rng.normal(scale=4, size=200), EXTREMES[:-1], special]).astype("float32")
    kept, names = x.copy(), ("negative_slope", "max_value", "threshold")
    expected = np.asarray(keras.activations.relu(x, *arguments))
    named = dict(zip(names, arguments, strict=False))
    out = put(np.empty_like(x))
    for value in (
        activations.relu(x, *arguments),
        activations.relu(x, **named),
        tinynet.activations.relu(put(x), **named, out=out),
    ):
        assert_allclose(value, expected, rtol=5e-7, atol=TINY, strict=True)
    assert_allclose(out, expected, rtol=5e-7, atol=TINY)
    assert_array_equal(x, kept)
    assert activations.relu(x.astype("float64"), *arguments).dtype == np.float64
    integers = np.arange(-9, 9)
    expected = np.asarray(keras.activations.relu(integers, *arguments))
    assert_allclose(activations.relu(integers, *arguments), expected, rtol=5e-7)


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
    if name != "softmax":  # a single number gives a single number
        assert function(0.5).tolist() == pytest.approx(function([0.5]).tolist()[0])


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


@every_name
def test_backward_is_the_derivative_by_central_differences(rng, name):
    function = getattr(activations, name)
    z, gradient = rng.normal(scale=2, size=(2, 3, 4)), rng.normal(size=(2, 3, 4))
    z[np.abs(z) < 1e-3] = 1  # away from relu's kink
    expected = central_differences(lambda: (gradient * function(z)).sum(), z)
    result = activations.backward(function)(gradient, function(z))
    assert_allclose(result, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.host
@pytest.mark.parametrize("name", ["sigmoid", "tanh", "relu"])
def test_backward_functions_take_what_arrays_are_made_of(name):
    backward = getattr(tinynet.activations, f"{name}_backward")
    gradient, a = np.array([1, -2, 0.5], "float32"), np.array([0.25, 0.5, 0], "float32")
    expected, out = backward(gradient, a), np.zeros(3, "float32")
    assert backward(gradient, a, out) is out
    for result in (
        out,
        backward(gradient=gradient, a=a),
        backward(gradient.tolist(), a.tolist()),
        backward(gradient.astype("float64"), a),
        [backward(float(g), float(x)) for g, x in zip(gradient, a, strict=True)],
    ):
        np.testing.assert_array_equal(result, expected)
    assert backward(gradient.astype("float64"), a).dtype == "float32"
    assert pickle.loads(pickle.dumps(backward)) is backward
