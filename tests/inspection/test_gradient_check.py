"""`check_gradients` accepts tinynet's gradients and detects deliberately broken ones."""

import re

import numpy as np
import pytest
from arrays import look
from networks import ONE_HOT, SPARSE, Scale, network, samples

import tinynet
from tinynet import activations, backend, check_gradients, losses
from tinynet.layers import Dense, Flatten

pytestmark = pytest.mark.computes

LOSSES = {"one-hot": ONE_HOT, "labels": SPARSE, "numbers": "mse"}


def data(kind="one-hot"):
    rng = np.random.default_rng(2)
    x, labels, rows = samples(rng, 6, (4,), 3)
    return x, {"one-hot": rows, "labels": labels, "numbers": rng.normal(size=(6, 3))}[kind]


def model_of(*hidden, loss=ONE_HOT, last="softmax", classes=3):
    return network(*hidden, (classes, last), inputs=(4,), loss=loss)


def state():
    """Return the state of tinynet's random generator."""
    return backend.generator().bit_generator.state


class WrongBackward(Dense):
    """A layer with the mistake that its name tells."""

    def backward(self, gradient):
        if self.name != "activation of z":  # in place of a = f(z)
            return super().backward(gradient)
        z = self._x @ self.kernel + self.bias
        return self.backward_from_z(activations.tanh_backward(gradient, z))

    def backward_from_z(self, delta):
        passed = super().backward_from_z(delta)
        kernel, bias = self.kernel_gradient, self.bias_gradient
        if self.name == "sign":
            bias *= -1
        if self.name == "transposed":
            kernel[...] = kernel.T.copy()
        if self.name == "one element":
            kernel[0, 0] *= -1
        # δ W in place of δ Wᵀ makes all gradients below this layer wrong.
        return delta @ self.kernel if self.name == "not transposed" else passed


class MissingGradient(Scale):
    def backward(self, gradient):
        return gradient * self.scale


class Noise(tinynet.Layer):
    """A layer that draws random numbers from `own`, or from `backend.generator()` as it should."""

    own = None

    def forward(self, x, training=False):
        drawn = (self.own or backend.generator()).integers(2, size=x.shape)
        self.mask = backend.xp.asarray(drawn, x.dtype)
        return x * self.mask

    def backward(self, gradient):
        return gradient * self.mask


class OwnNoise(Noise):
    own = np.random.default_rng(0)


class Narrow(Scale):
    def forward(self, x, training=False):
        return super().forward(x).astype("float32")


class NoMean(losses.MeanSquaredError):
    """A gradient without the factor 1/B of the mean over the batch."""

    def backward(self, y_true, y_pred):
        return super().backward(y_true, y_pred) * len(y_pred)


# Correct gradients


ENDS = [(last, kind) for kind in LOSSES for last in ("softmax", "sigmoid")]


@pytest.mark.parametrize(("last", "kind"), [*ENDS, (None, "numbers")])
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu", "linear", "softmax"])
def test_the_gradients_of_tinynet_are_right(activation, last, kind):
    model = model_of(Dense(5, activation), Dense(3, activation), loss=LOSSES[kind], last=last)
    found = check_gradients(model, *data(kind))
    assert found
    assert found.ok
    names = [one.name.split("/")[-1] for one in found.parameters]
    assert names == [*["kernel", "bias"] * 3, "input"]
    assert max(one.error for one in found.parameters) < 1e-5
    assert "All gradients are right" in str(found)


def test_gradients_with_sample_weights_more_axes_and_user_defined_layers_are_right():
    x, y = data()
    weights = np.random.default_rng(1).uniform(0, 2, len(x))
    for reduction in ("sum_over_batch_size", "sum", "mean_with_sample_weight"):
        model = model_of(Dense(5, "tanh"), loss=losses.CategoricalCrossentropy(reduction=reduction))
        assert check_gradients(model, x, y, sample_weight=weights)
    deep = network((3, "tanh"), Flatten(), (1,), inputs=(2, 4), loss="mse", optimizer="sgd")
    rng = np.random.default_rng(0)
    assert check_gradients(deep, rng.normal(size=(5, 2, 4)), rng.normal(size=(5, 1)))
    found = check_gradients(model_of(Scale(), Dense(4, "tanh"), Scale()), x, y)
    assert found
    assert found.parameters[0].name == "scale/scale"


def test_large_models_are_checked_on_a_sample_of_the_weights():
    for units, most, checked in ((200, 40, [40, 40, 40, 3, 24]), (20, None, [80, 20, 60, 3, 24])):
        found = check_gradients(model_of(Dense(units, "tanh")), *data(), samples=most)
        assert found
        assert [one.checked for one in found.parameters] == checked
        assert ("40 of 800" in str(found)) is (most == 40)


def test_a_step_does_not_cross_a_kink():
    """At z = 2e-6, a step of h = 1e-5 would cross relu's kink."""
    model = model_of(Dense(1, "relu", kernel_initializer="zeros"), loss="mse", last=None, classes=1)
    model.layers[0].set_weights([np.zeros((4, 1)), [2e-6]])
    assert check_gradients(model, np.ones((2, 4)), np.ones((2, 1)))


def test_gradients_at_a_kink_are_not_compared():
    """With an all-zero sample and zero biases, z is exactly 0, where relu has no derivative."""
    x, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([[0], [1], [1], [0]])
    given = {"inputs": (2,), "loss": "mse", "optimizer": "sgd"}
    for seed in range(5):
        tinynet.utils.set_random_seed(seed)
        model = network((4, "relu"), (1, "sigmoid"), **given)
        assert check_gradients(model, x, y)
        wrong = WrongBackward(4, "relu", name="sign"), (1, "sigmoid")
        found = check_gradients(network(*wrong, weights=model.get_weights(), **given), x, y)
        assert [one.name for one in found.parameters if not one.ok] == ["sign/bias"]


def test_gradients_too_small_to_check_are_not_reported_as_right():
    layers = [Dense(3, "sigmoid", kernel_initializer="ones") for _ in range(15)]
    bottom = WrongBackward(3, "sigmoid", name="sign")
    found = check_gradients(model_of(bottom, *layers, loss="mse", last=None), *data("numbers"))
    assert found.parameters[0].tiny
    assert not found.parameters[-2].tiny
    assert "too small to tell" in str(found)
    assert re.search(r"All but \d+ gradients are right", str(found))
    dead = model_of(Dense(3, "relu", bias_initializer=tinynet.initializers.Constant(-99)))
    assert not any(one.tiny for one in check_gradients(dead, *data()).parameters)


def test_a_trained_and_partly_frozen_model_is_checked_down_to_the_input():
    """Training stops at the lowest trainable layer; the check continues down to the input."""
    model = model_of(Dense(4, "tanh"))
    frozen, trained = model.layers
    frozen.trainable = False
    model.compile("adam", ONE_HOT)
    model.fit(*data(), verbose=0)
    assert not trained.needs_input_gradient
    found = check_gradients(model, *data())
    assert found
    names = [f"{trained.name}/kernel", f"{trained.name}/bias", "input"]
    assert [one.name for one in found.parameters] == names
    assert "input" in repr(found)
    assert not trained.needs_input_gradient  # the check worked on a copy


# Nothing else changes


def test_the_check_changes_neither_the_model_nor_the_random_numbers():
    x, y = data()
    model = model_of(Scale(), Dense(4, "tanh"), Noise())
    model.fit(x, y, verbose=0)

    def everything():
        optimizer = model.optimizer.variables
        arrays = [*map(look, model.weights), *optimizer, look(model.parameters.gradients)]
        types = tinynet.config.floatx(), model.dtype, backend.backend()
        return [array.tobytes() for array in arrays], state(), types

    before = everything()
    for _ in range(2):
        assert check_gradients(model, x, y)
        with pytest.raises(ValueError, match="finite loss to differentiate"):
            check_gradients(model, x * np.nan, y)
    model.trace(x, y)
    assert everything() == before
    model.fit(x, y, verbose=0)


def test_an_unbuilt_model_stays_unbuilt():
    model, before = network((4, "tanh"), (3, "softmax"), loss=ONE_HOT), state()
    assert check_gradients(model, *data())
    assert not model.built
    assert state() == before


def test_models_and_inputs_that_cannot_be_checked_are_refused():
    x, y = data()
    one, uncompiled = model_of(), network((3, "softmax"), inputs=(4,))
    own, narrow = model_of(Dense(5, "tanh"), OwnNoise()), model_of(Narrow())
    for match, model, arrays, most in (
        (r"the same loss at every .*backend.generator\(\)", own, (x, y), 100),
        (r"layer 'narrow' to return float64 .* received float32", narrow, (x, y), 100),
        ("samples to be a whole number of at least 1", one, (x, y), 0),
        ("samples to be a whole number of at least 1", one, (x, y), -1),
        ("samples to be a whole number of at least 1", one, (x, y), 2.5),
        # These are refused as in `fit`.
        (r"call `compile\(\)`", uncompiled, (x, y), 100),
        ("expects input of shape", one, (x[:, :2], y), 100),
        ("must have the same shape", one, (x, y[:, :2]), 100),
    ):
        with pytest.raises(ValueError, match=match):
            check_gradients(model, *arrays, samples=most)


# Deliberately broken gradients


@pytest.mark.parametrize(
    ("layer", "name", "hint"),
    [
        ("sign", "bias", "It has the wrong sign."),
        ("transposed", "kernel", "It looks transposed."),
        ("activation of z", "kernel", ""),
        ("missing", "scale", "It seems that backward did not write it."),
    ],
)
def test_a_broken_backward_is_detected(layer, name, hint):
    missing = layer == "missing"
    broken = MissingGradient(name=layer) if missing else WrongBackward(4, "tanh", name=layer)
    model = model_of(Dense(4, "tanh"), broken, Dense(4, "tanh"))
    found = check_gradients(model, *data())
    assert not found
    wrong = {one.name: one for one in found.parameters if not one.ok}
    assert wrong[f"{layer}/{name}"].error > 0.01
    assert wrong[f"{layer}/{name}"].hint == hint
    assert not [one for one in wrong if one.startswith(model.layers[2].name)]
    text = str(found)
    assert "WRONG" in text
    assert f"{len(wrong)} of {len(found.parameters)} gradients are wrong." in text
    assert (hint or "central differences say") in text


def test_a_single_wrong_gradient_gets_no_hint():
    x, y = data()
    x[:, 0] *= 1e-3
    found = check_gradients(model_of(WrongBackward(4, "tanh", name="one element")), x, y)
    (wrong,) = [one for one in found.parameters if not one.ok]
    assert (wrong.index, wrong.hint) == ((0, 0), "")


def test_a_wrong_input_gradient_is_detected_in_the_layers_below():
    wrong = WrongBackward(4, "tanh", name="not transposed")
    model = model_of(Dense(4, "tanh"), Dense(4, "tanh"), wrong)
    found = check_gradients(model, *data())
    one, two = (layer.name for layer in model.layers[:2])
    names = [f"{one}/kernel", f"{one}/bias", f"{two}/kernel", f"{two}/bias", "input"]
    assert [one.name for one in found.parameters if not one.ok] == names
    assert f"Look first at {two}/bias, the nearest to the output" in str(found)


def test_a_loss_without_its_mean_is_detected_with_a_hint():
    model = model_of(Dense(4, "tanh"), loss=NoMean(), last=None)
    found = check_gradients(model, *data("numbers"))
    assert {one.hint for one in found.parameters} == {
        "It is 6 times too large, the number of samples: was 1/B forgotten?"
    }


def test_the_printed_table():
    found = check_gradients(model_of(WrongBackward(3, "tanh", name="sign")), *data())
    lines = str(found).splitlines()
    assert lines[0].startswith("Gradients of model 'sequential', 6 samples, loss ")
    assert lines[1].split() == ["parameter", "shape", "checked", "worst", "relative", "error"]
    assert lines[3].split()[0] == "sign/bias"
    assert lines[3].endswith("2.0e+00  WRONG")
    assert lines[-2].startswith("sign/bias[")
    assert lines[-2].endswith("It has the wrong sign.")
    assert all(len(line) <= 120 for line in lines)
