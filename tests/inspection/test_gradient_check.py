"""`check_gradients` accepts tinynet's gradients and detects deliberately broken ones."""

import itertools
import re

import numpy as np
import pytest
from arrays import look
from networks import ONE_HOT, SPARSE, Scale, network, samples

import tinynet
from tinynet import backend, check_gradients, losses
from tinynet.layers import Dense, Dropout, Flatten

pytestmark = pytest.mark.computes


def data(loss=ONE_HOT):
    rng = np.random.default_rng(2)
    x, labels, rows = samples(rng, 6, (4,), 3)
    return x, {ONE_HOT: rows, SPARSE: labels, "mse": rng.normal(size=(6, 3))}[loss]


def model_of(*hidden, loss=ONE_HOT, last="softmax"):
    return network(*hidden, (3, last), inputs=(4,), loss=loss)


class WrongBackward(Dense):
    """A layer with the mistake that its name tells."""

    def backward_from_z(self, delta):
        before = self.kernel_gradient.copy()
        passed = super().backward_from_z(delta)
        kernel, bias = self.kernel_gradient, self.bias_gradient
        array, wrong = {
            "sign": (bias, -bias),
            "transposed": (kernel, kernel.T.copy()),
            "missing": (kernel, before),
            "one element": (kernel[0, :1], -kernel[0, :1]),
        }.get(self.name, (bias, bias))
        array[...] = wrong
        # δ W in place of δ Wᵀ makes all gradients below this layer wrong.
        return delta @ self.kernel if self.name == "not transposed" else passed


class Noise(tinynet.Layer):
    """A layer that draws random numbers from `own`, or from `backend.generator()` as it should."""

    own = None

    def forward(self, x, training=False):
        drawn = (self.own or backend.generator()).integers(2, size=x.shape)
        self.mask = backend.xp.asarray(drawn, x.dtype)
        return x * self.mask

    def backward(self, gradient):
        return gradient * self.mask


class Narrow(Scale):
    def forward(self, x, training=False):
        return super().forward(x).astype("float32")


class NoMean(losses.MeanSquaredError):
    """A gradient without the factor 1/B of the mean over the batch."""

    def backward(self, y_true, y_pred):
        return super().backward(y_true, y_pred) * len(y_pred)


# Correct gradients


ENDS = [*itertools.product(("softmax", "sigmoid"), (ONE_HOT, SPARSE, "mse")), (None, "mse")]


@pytest.mark.parametrize(("last", "loss"), ENDS)
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu", "linear", "softmax"])
def test_the_gradients_of_tinynet_are_right(activation, last, loss):
    model = model_of((5, activation), (3, activation), loss=loss, last=last)
    found = check_gradients(model, *data(loss))
    assert found.ok
    names = [one.name.split("/")[-1] for one in found.parameters if one.error < 1e-5]
    assert names == [*["kernel", "bias"] * 3, "input"]
    assert "All gradients are right" in str(found)


def test_gradients_with_sample_weights_more_axes_and_user_defined_layers_are_right():
    x, y = data()
    weights = np.random.default_rng(1).uniform(0, 2, len(x))
    for reduction in ("sum_over_batch_size", "sum", "mean_with_sample_weight"):
        model = model_of(Dense(5, "tanh"), loss=losses.CategoricalCrossentropy(reduction=reduction))
        assert check_gradients(model, x, y, sample_weight=weights)
    rng, stack = np.random.default_rng(0), ((3, "tanh"), Flatten(), Scale(), (1,))
    deep = network(*stack, inputs=(2, 4), loss="mse")
    found = check_gradients(deep, rng.normal(size=(5, 2, 4)), rng.normal(size=(5, 1)))
    assert found
    assert found.parameters[2].name == "scale/scale"


def test_large_models_are_checked_on_a_sample_of_the_weights():
    for units, most, checked in ((200, 40, [40, 40, 40, 3, 24]), (40, None, [160, 40, 120, 3, 24])):
        found = check_gradients(model_of(Dense(units, "tanh")), *data(), samples=most)
        assert found
        assert [one.checked for one in found.parameters] == checked
        assert ("40 of 800" in str(found)) is (most == 40)


def test_a_step_does_not_cross_a_kink():
    """At z = 2e-6, a step of h = 1e-5 would cross relu's kink."""
    weights = [np.zeros((4, 1)), [2e-6], np.ones((1, 1)), [0]]
    model = network((1, "relu"), (1,), inputs=(4,), loss="mse", weights=weights)
    assert check_gradients(model, np.ones((2, 4)), np.ones((2, 1)))


def test_gradients_at_a_kink_are_not_compared():
    """With an all-zero sample and zero biases, z is exactly 0, where relu has no derivative."""
    x, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 0])
    for seed, name in itertools.product(range(5), ("right", "sign")):
        tinynet.utils.set_random_seed(seed)
        layers = WrongBackward(4, "relu", name=name), (1, "sigmoid")
        found = check_gradients(network(*layers, inputs=(2,), loss="mse"), x, y)
        wrong = [one.name for one in found.parameters if not one.ok]
        assert wrong == (["sign/bias"] if name == "sign" else [])


def test_gradients_too_small_to_check_are_not_reported_as_right():
    layers = [Dense(3, "sigmoid", kernel_initializer="ones") for _ in range(15)]
    bottom = WrongBackward(3, "sigmoid", name="sign")
    found = check_gradients(model_of(bottom, *layers, loss="mse", last=None), *data("mse"))
    assert found.parameters[0].tiny
    assert not found.parameters[-2].tiny
    assert "too small to tell" in str(found)
    assert re.search(r"All but \d+ gradients are right", str(found))
    dead = model_of(Dense(3, "relu", bias_initializer=tinynet.initializers.Constant(-99)))
    assert not any(one.tiny for one in check_gradients(dead, *data()).parameters)


def test_a_trained_and_partly_frozen_model_is_checked_down_to_the_input():
    """Training stops at the lowest trainable layer; the check continues down to the input."""
    lower, upper = Dense(4, "tanh", trainable=False), Dense(3, "softmax", name="upper")
    model = network(lower, upper, inputs=(4,), loss=ONE_HOT)
    model.fit(*data(), verbose=0)
    assert not upper.needs_input_gradient
    found = check_gradients(model, *data())
    right = [one.name for one in found.parameters if one.ok]
    assert right == ["upper/kernel", "upper/bias", "input"]
    assert not upper.needs_input_gradient  # the check worked on a copy


# Nothing else changes


@pytest.mark.parametrize("first", ["unbuilt", "built", "trained"])
def test_neither_a_check_nor_a_trace_changes_the_model_or_the_random_numbers(first):
    (x, y), inputs = data(), None if first == "unbuilt" else (4,)
    layers = Scale(), (4, "tanh"), Noise(), Dropout(0.5), (3, "softmax")
    model = network(*layers, inputs=inputs, loss=ONE_HOT)
    if first == "trained":
        model.fit(x, y, verbose=0)

    def everything():
        arrays = [*model.weights, *model.optimizer.variables, model.parameters.gradients]
        place = model.built, tinynet.config.floatx(), model.dtype, backend.backend()
        state = backend.generator().bit_generator.state, model.layers[-2].drawn
        return [look(array).tobytes() for array in arrays if array is not None], place, state

    before = everything()
    for _ in range(2):
        assert check_gradients(model, x, y)
        with pytest.raises(ValueError, match="finite loss to differentiate"):
            check_gradients(model, x * np.nan, y)
    model.trace(x, y)
    assert everything() == before
    model.fit(x, y, verbose=0)


def test_models_and_inputs_that_cannot_be_checked_are_refused():
    x, y = data()
    one, uncompiled = model_of(), network((3, "softmax"), inputs=(4,))
    own, narrow = model_of(Dense(5, "tanh"), Noise()), model_of(Narrow())
    own.layers[1].own = np.random.default_rng(0)
    for match, model, arrays, most in (
        (r"the same loss at every .*backend.generator\(\)", own, (x, y), 100),
        (r"layer 'narrow' to return float64 .* received float32", narrow, (x, y), 100),
        ("samples to be a whole number of at least 1", one, (x, y), 0),
        # as in `fit`
        (r"call `compile\(\)`", uncompiled, (x, y), 100),
        ("must have the same shape", one, (x, y[:, :2]), 100),
    ):
        with pytest.raises(ValueError, match=match):
            check_gradients(model, *arrays, samples=most)


# Deliberately broken gradients

MISTAKES = {  # with the parameters whose gradients are wrong, and the hint
    "sign": (["sign/bias"], "It has the wrong sign."),
    "transposed": (["transposed/kernel"], "It looks transposed."),
    "missing": (["missing/kernel"], "It seems that backward did not write it."),
    "one element": (["one element/kernel"], ""),
    "not transposed": (["below/kernel", "below/bias", "input"], ""),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_broken_backward_is_detected_and_reported(mistake):
    expected, hint = MISTAKES[mistake]
    broken = WrongBackward(4, "tanh", name=mistake)
    found = check_gradients(model_of(Dense(4, "tanh", name="below"), broken, Dense(4)), *data())
    assert not found
    wrong = [one for one in found.parameters if not one.ok]
    assert [one.name for one in wrong] == expected
    assert all(one.error > 0.01 and one.hint == hint for one in wrong)
    assert mistake != "one element" or wrong[0].index == (0, 0)
    text = str(found)
    lines = text.splitlines()
    assert lines[0].startswith("Gradients of model 'sequential', 6 samples, loss ")
    assert lines[1].split() == ["parameter", "shape", "checked", "worst", "relative", "error"]
    assert text.count("WRONG") == len(wrong)
    for one in wrong:
        assert re.search(rf"\n  {one.name} .* {re.escape(f'{one.error:.1e}')}  WRONG\n", text)
        assert re.search(rf"\n{one.name}\[.*, central differences say \S+\.( {hint})?\n", text)
    assert f"{len(wrong)} of 9 gradients are wrong." in lines
    spread = f" Look first at {expected[-2:][0]}, the nearest to the output" in text
    assert spread == (len(wrong) > 1)
    assert max(map(len, lines[:12])) <= 120


def test_a_loss_without_its_mean_is_detected_with_a_hint():
    model = model_of(Dense(4, "tanh"), loss=NoMean(), last=None)
    found = check_gradients(model, *data("mse"))
    hint = "It is 6 times too large, the number of samples: was 1/B forgotten?"
    assert {one.hint for one in found.parameters} == {hint}
