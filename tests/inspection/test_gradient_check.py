"""`check_gradients` accepts tinynet's gradients and detects deliberately broken ones."""

import re

import numpy as np
import pytest
from arrays import look
from networks import ONE_HOT, SPARSE, network, samples as random_samples
from own import Scale

import tinynet
from tinynet import activations, backend, losses
from tinynet.layers import Dense, Flatten

pytestmark = pytest.mark.computes

LOSSES = {"one-hot": ONE_HOT, "labels": SPARSE, "numbers": "mse"}


def data(kind="one-hot", samples=6, inputs=4, classes=3):
    rng = np.random.default_rng(2)
    x, labels, rows = random_samples(rng, samples, (inputs,), classes)
    numbers = rng.normal(size=(samples, classes))
    return x, {"one-hot": rows, "labels": labels, "numbers": numbers}[kind]


def model_of(*hidden, loss=ONE_HOT, last="softmax", classes=3):
    return network(*hidden, (classes, last), inputs=(4,), loss=loss)


# Correct gradients


ENDS = [(last, kind) for kind in LOSSES for last in ("softmax", "sigmoid")]


@pytest.mark.parametrize(("last", "kind"), [*ENDS, (None, "numbers")])
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu", "linear", "softmax"])
def test_the_gradients_of_tinynet_are_right(activation, last, kind):
    model = model_of(Dense(5, activation), Dense(3, activation), loss=LOSSES[kind], last=last)
    found = tinynet.check_gradients(model, *data(kind))
    assert found
    assert found.ok
    assert [one.name.split("/")[-1] for one in found.parameters] == ["kernel", "bias"] * 3 + [
        "input"
    ]
    assert max(one.error for one in found.parameters) < 1e-5
    assert "All gradients are right" in str(found)


def test_gradients_with_sample_weights_and_more_axes_are_right():
    x, y = data()
    weights = np.random.default_rng(1).uniform(0, 2, len(x))
    for reduction in ("sum_over_batch_size", "sum", "mean_with_sample_weight"):
        model = model_of(Dense(5, "tanh"), loss=losses.CategoricalCrossentropy(reduction=reduction))
        assert tinynet.check_gradients(model, x, y, sample_weight=weights)
    deep = network((3, "tanh"), Flatten(), (1,), inputs=(2, 4), loss="mse", optimizer="sgd")
    rng = np.random.default_rng(0)
    assert tinynet.check_gradients(deep, rng.normal(size=(5, 2, 4)), rng.normal(size=(5, 1)))


class MissingGradient(Scale):
    def backward(self, gradient):
        return gradient * self.scale


def test_a_user_defined_layer_is_checked_as_well():
    found = tinynet.check_gradients(model_of(Scale(), Dense(4, "tanh"), Scale()), *data())
    assert found
    assert found.parameters[0].name == "scale/scale"


def test_large_models_are_checked_on_a_sample_of_the_weights():
    model = model_of(Dense(200, "tanh"))
    x, y = data()
    found = tinynet.check_gradients(model, x, y, samples=40)
    assert found
    assert [one.checked for one in found.parameters] == [40, 40, 40, 3, 24]
    assert "40 of 800" in str(found)
    everything = tinynet.check_gradients(model_of(Dense(20, "tanh")), x, y, samples=None)
    assert [one.checked for one in everything.parameters] == [80, 20, 60, 3, 24]


def test_a_step_does_not_cross_a_kink():
    """At z = 2e-6, a step of h = 1e-5 would cross relu's kink."""
    model = model_of(Dense(1, "relu", kernel_initializer="zeros"), loss="mse", last=None, classes=1)
    model.layers[0].set_weights([np.zeros((4, 1)), [2e-6]])
    assert tinynet.check_gradients(model, np.ones((2, 4)), np.ones((2, 1)))


def test_gradients_at_a_kink_are_not_compared():
    """With an all-zero sample and zero biases, z is exactly 0, where relu has no derivative."""
    x, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([[0], [1], [1], [0]])
    given = {"inputs": (2,), "loss": "mse", "optimizer": "sgd"}
    for seed in range(5):
        tinynet.utils.set_random_seed(seed)
        model = network((4, "relu"), (1, "sigmoid"), **given)
        assert tinynet.check_gradients(model, x, y)
        weights = model.get_weights()
        wrong = network(WrongSign(4, "relu"), (1, "sigmoid"), weights=weights, **given)
        names = [one.name for one in tinynet.check_gradients(wrong, x, y).parameters if not one.ok]
        assert names == [f"{wrong.layers[0].name}/bias"]


class OwnGenerator(tinynet.Layer):
    """A layer that does not draw its random numbers from `backend.generator()`."""

    generator = np.random.default_rng(0)

    def forward(self, x, training=False):
        return x * backend.xp.asarray(self.generator.normal(size=x.shape))

    def backward(self, gradient):
        return gradient


class Narrow(Scale):
    def forward(self, x, training=False):
        return super().forward(x).astype("float32")


def test_models_that_cannot_be_checked_are_refused():
    x, y = data()
    with pytest.raises(ValueError, match=r"the same loss at every .*backend.generator\(\)"):
        tinynet.check_gradients(model_of(Dense(5, "tanh"), OwnGenerator()), x, y)
    with pytest.raises(ValueError, match=r"layer 'narrow' to return float64 .* received float32"):
        tinynet.check_gradients(model_of(Narrow()), x, y)
    for samples in (0, -1, 2.5):
        with pytest.raises(ValueError, match="samples to be a whole number of at least 1"):
            tinynet.check_gradients(model_of(), x, y, samples=samples)


def test_gradients_too_small_to_check_are_not_reported_as_right():
    layers = [Dense(3, "sigmoid", kernel_initializer="ones") for _ in range(15)]
    model = model_of(WrongSign(3, "sigmoid"), *layers, loss="mse", last=None)
    x, y = data("numbers")
    found = tinynet.check_gradients(model, x, y)
    bottom = found.parameters[0]
    assert bottom.tiny
    assert not found.parameters[-2].tiny
    assert "too small to tell" in str(found)
    assert re.search(r"All but \d+ gradients are right", str(found))
    dead = model_of(Dense(3, "relu", bias_initializer=tinynet.initializers.Constant(-99)))
    assert not any(one.tiny for one in tinynet.check_gradients(dead, *data()).parameters)


class OneWrong(Dense):
    """A layer with one small gradient of the wrong sign."""

    def backward_from_z(self, delta):
        passed = super().backward_from_z(delta)
        self.kernel_gradient[0, 0] *= -1
        return passed


def test_a_single_wrong_gradient_gets_no_hint():
    x, y = data()
    x[:, 0] *= 1e-3
    found = tinynet.check_gradients(model_of(OneWrong(4, "tanh")), x, y)
    (wrong,) = [one for one in found.parameters if not one.ok]
    assert wrong.index == (0, 0)
    assert wrong.hint == ""


class Noise(tinynet.Layer):
    """A layer that draws random numbers from `backend.generator()`."""

    def forward(self, x, training=False):
        self.mask = backend.xp.asarray(backend.generator().integers(2, size=x.shape), x.dtype)
        return x * self.mask

    def backward(self, gradient):
        return gradient * self.mask


def test_a_random_layer_repeats_its_numbers_during_the_check():
    model = model_of(Dense(5, "tanh"), Noise())
    state = backend.generator().bit_generator.state
    assert tinynet.check_gradients(model, *data())
    assert backend.generator().bit_generator.state == state
    model.trace(*data())
    assert backend.generator().bit_generator.state == state


def test_the_check_does_not_change_the_model():
    x, y = data()
    model = model_of(Scale(), Dense(4, "tanh"))
    model.fit(x, y, verbose=0)

    def everything():
        arrays = [
            *map(look, model.weights),
            *model.optimizer.variables,
            look(model.parameters.gradients),
        ]
        state = backend.generator().bit_generator.state
        return [array.tobytes() for array in arrays], state, tinynet.config.floatx(), model.dtype

    before, place = everything(), backend.backend()
    for _ in range(2):
        assert tinynet.check_gradients(model, x, y)
        with pytest.raises(ValueError, match="finite loss to differentiate"):
            tinynet.check_gradients(model, x * np.nan, y)
    assert everything() == before
    assert backend.backend() == place
    model.fit(x, y, verbose=0)


def test_an_unbuilt_model_stays_unbuilt():
    x, y = data()
    model = network((4, "tanh"), (3, "softmax"), loss=ONE_HOT)
    state = backend.generator().bit_generator.state
    assert tinynet.check_gradients(model, x, y)
    assert not model.built
    assert backend.generator().bit_generator.state == state


def test_frozen_layers_are_not_checked():
    model = model_of(Dense(4, "tanh"))
    model.layers[0].trainable = False
    found = tinynet.check_gradients(model, *data())
    assert found
    assert [one.name.split("/")[0] for one in found.parameters[:-1]] == [model.layers[1].name] * 2


def test_invalid_models_and_inputs_are_refused_as_in_fit():
    model = tinynet.Sequential([tinynet.Input((4,)), Dense(3, "softmax")])
    x, y = data()
    with pytest.raises(ValueError, match=r"call `compile\(\)`"):
        tinynet.check_gradients(model, x, y)
    with pytest.raises(ValueError, match="expects input of shape"):
        tinynet.check_gradients(model_of(), x[:, :2], y)
    with pytest.raises(ValueError, match="must have the same shape"):
        tinynet.check_gradients(model_of(), x, y[:, :2])


# Deliberately broken gradients


class WrongSign(Dense):
    def backward_from_z(self, delta):
        passed = super().backward_from_z(delta)
        self.bias_gradient *= -1
        return passed


class Transposed(Dense):
    def backward_from_z(self, delta):
        passed = super().backward_from_z(delta)
        self.kernel_gradient[...] = self.kernel_gradient.T.copy()
        return passed


class NotTransposed(Dense):
    """δ W in place of δ Wᵀ, so that all gradients below this layer are wrong."""

    def backward_from_z(self, delta):
        super().backward_from_z(delta)
        return delta @ self.kernel


class NoBias(Dense):
    def backward_from_z(self, delta):
        self.use_bias = False
        passed = super().backward_from_z(delta)
        self.use_bias = True
        return passed


class WrongArgument(Dense):
    """The activation's `backward` receives its input z in place of its output a."""

    def backward(self, gradient):
        z = self._x @ self.kernel + self.bias
        return self.backward_from_z(activations.tanh_backward(gradient, z))


class NoMean(losses.MeanSquaredError):
    """A gradient without the factor 1/B of the mean over the batch."""

    def backward(self, y_true, y_pred):
        return super().backward(y_true, y_pred) * len(y_pred)


FAULTS = {
    "sign": (WrongSign, "bias", "It has the wrong sign."),
    "transposed": (Transposed, "kernel", "It looks transposed."),
    "no bias": (NoBias, "bias", "It seems that backward did not write it."),
    "wrong argument": (WrongArgument, "kernel", ""),
    "forgotten": (
        lambda *_: MissingGradient(),
        "scale",
        "It seems that backward did not write it.",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_backward_is_detected(fault):
    layer, name, hint = FAULTS[fault]
    model = model_of(Dense(4, "tanh"), layer(4, "tanh"), Dense(4, "tanh"))
    found = tinynet.check_gradients(model, *data())
    assert not found
    wrong = {one.name: one for one in found.parameters if not one.ok}
    broken = wrong[f"{model.layers[1].name}/{name}"]
    assert broken.error > 0.01
    assert broken.hint == hint
    above = [one for one in found.parameters if one.name.startswith(model.layers[2].name)]
    assert all(one.ok for one in above)
    text = str(found)
    assert "WRONG" in text
    assert f"{len(wrong)} of {len(found.parameters)} gradients are wrong." in text
    assert (hint or "central differences say") in text


def test_a_wrong_input_gradient_is_detected_in_the_layers_below():
    model = model_of(Dense(4, "tanh"), Dense(4, "tanh"), NotTransposed(4, "tanh"))
    found = tinynet.check_gradients(model, *data())
    wrong = [one.name for one in found.parameters if not one.ok]
    names = [layer.name for layer in model.layers]
    assert wrong == [*(f"{n}/{part}" for n in names[:2] for part in ("kernel", "bias")), "input"]
    assert f"Look first at {names[1]}/bias, the nearest to the output" in str(found)


def test_a_loss_without_its_mean_is_detected_with_a_hint():
    model = model_of(Dense(4, "tanh"), loss=NoMean(), last=None)
    found = tinynet.check_gradients(model, *data("numbers"))
    assert {one.hint for one in found.parameters} == {
        "It is 6 times too large, the number of samples: was 1/B forgotten?"
    }


def test_the_printed_table(capsys):
    model = model_of(WrongSign(3, "tanh"))
    model.layers[0].name = "first"
    found = tinynet.check_gradients(model, *data())
    lines = str(found).splitlines()
    assert lines[0].startswith("Gradients of model 'sequential', 6 samples, loss ")
    assert lines[1].split() == ["parameter", "shape", "checked", "worst", "relative", "error"]
    assert lines[3].split()[0] == "first/bias"
    assert lines[3].endswith("2.0e+00  WRONG")
    assert lines[-2].startswith("first/bias[")
    assert lines[-2].endswith("It has the wrong sign.")
    assert all(len(line) <= 120 for line in lines)


def test_a_trained_model_is_checked_down_to_the_input():
    """Training stops at the lowest trainable layer; the check continues down to the input."""
    model = tinynet.Sequential([tinynet.Input((4,)), Dense(5, "tanh"), Dense(3, "softmax")])
    model.layers[0].trainable = False
    model.compile("adam", "categorical_crossentropy")
    x, y = np.random.default_rng(0).normal(size=(6, 4)), np.eye(3)[[0, 1, 2, 0, 1, 2]]
    model.fit(x, y, verbose=0)
    assert not model.layers[1].needs_input_gradient
    found = tinynet.check_gradients(model, x, y)
    assert found
    assert "input" in repr(found)
    assert not model.layers[1].needs_input_gradient  # the check worked on a copy
