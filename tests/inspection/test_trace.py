"""A trace holds every number of a training step and the formulas that connect them."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from arrays import assert_allclose, look
from gradients import central_differences
from networks import ONE_HOT, SPARSE, Scale, network

import tinynet
from tinynet import backend
from tinynet.layers import Activation, Dense, Dropout, Flatten
from tinynet.losses import (
    CategoricalCrossentropy,
    MeanSquaredError,
    SparseCategoricalCrossentropy,
)
from tinynet.optimizers import SGD, Adam

pytestmark = pytest.mark.computes

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
XOR = np.array([0, 1, 1, 0])


def xor(optimizer="adam"):
    """Return a compiled 2-2-1 network for XOR."""
    layers = [Dense(2, "sigmoid", name="hidden"), Dense(1, "sigmoid", name="output")]
    model = tinynet.Sequential([tinynet.Input((2,)), *layers], name="xor")
    model.compile(optimizer, "mse")
    return model


def classifier(loss=ONE_HOT, activation="tanh"):
    stack = Flatten(), (5, activation), (4, "softmax")
    return network(*stack, inputs=(2, 3), loss=loss, metrics=["acc"])


def images(one_hot=True, count=6):
    rng = np.random.default_rng(4)
    labels, x = rng.integers(4, size=6), rng.normal(size=(6, 2, 3)).astype("float32")
    return x[:count], (np.eye(4)[labels] if one_hot else labels)[:count]


# The numbers

TEXTS = {  # each formula's text, with a function that computes it
    "z": lambda z, a, g: z,
    "σ(z) = 1 / (1 + e⁻ᶻ)": lambda z, a, g: 1 / (1 + np.exp(-z)),
    "tanh z": lambda z, a, g: np.tanh(z),
    "max(z, 0)": lambda z, a, g: np.maximum(z, 0),
    "softmax(z) = eᶻ / Σ eᶻ": lambda z, a, g: np.exp(z) / np.exp(z).sum(-1, keepdims=True),
    "∂L/∂a": lambda z, a, g: g,
    "∂L/∂a · a (1 − a)": lambda z, a, g: g * a * (1 - a),
    "∂L/∂a · (1 − a²)": lambda z, a, g: g * (1 - a * a),
    "∂L/∂a where z > 0, else 0": lambda z, a, g: np.where(z > 0, g, 0),
    "a (∂L/∂a − Σ a ∂L/∂a)": lambda z, a, g: a * (g - (a * g).sum(-1, keepdims=True)),
}


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu", None, "softmax"])
@pytest.mark.parametrize("use_bias", [True, False])
def test_every_number_follows_from_the_previous_ones(activation, use_bias, rng):
    layers = Dense(4, activation, use_bias, name="a"), Dense(3, "sigmoid", name="b")
    model = network(*layers, inputs=(5,), loss="mse")
    model.set_weights([rng.normal(size=weight.shape) for weight in model.get_weights()])
    a, y = rng.normal(size=(6, 5)).astype("float32"), rng.normal(size=(6, 3))
    trace = model.trace(a, y)
    assert [layer.name for layer in trace.layers] == ["a", "b"]
    formulas = []
    for layer, bias in zip(trace.layers, (use_bias, True), strict=True):
        formula = {one.symbol: one.formula for one in (*layer.forward, *layer.backward)}
        formulas.append(formula)
        assert_allclose(layer["x"], a)
        assert formula["z"] == ("x W + b" if bias else "x W")
        z = a @ layer["W"] + (layer["b"] if bias else 0)
        assert_allclose(layer["z"], z, rtol=1e-5, atol=1e-6)
        a = layer["a"]
        assert_allclose(TEXTS[formula["a"]](layer["z"], a, None), a, rtol=1e-5, atol=1e-7)
    assert_allclose(trace.output, a)
    assert_allclose(trace.losses, ((a - y) ** 2).mean(axis=1), rtol=1e-5)
    assert trace.loss == pytest.approx(trace.losses.mean(), rel=1e-6)
    gradient = 2 * (a - y) / 18
    for layer, formula in zip(trace.layers[::-1], formulas[::-1], strict=True):
        assert_allclose(layer["∂L/∂a"], gradient, rtol=1e-5, atol=1e-7)
        delta = TEXTS[formula["δ"]](layer["z"], layer["a"], layer["∂L/∂a"])
        assert_allclose(layer["δ"], delta, rtol=1e-5, atol=1e-8)
        assert_allclose(layer["∂L/∂W"], layer["x"].T @ delta, rtol=1e-5, atol=1e-7)
        if "b" in formula:
            assert_allclose(layer["∂L/∂b"], delta.sum(axis=0), rtol=1e-5, atol=1e-7)
        gradient = delta @ layer["W"].T
        assert_allclose(layer["∂L/∂x"], gradient, rtol=1e-5, atol=1e-7)
    assert "which is" not in str(trace)
    W = trace["a"]["W"]
    assert f"min {W.min():.4g}  mean {W.mean():.4g}  max {W.max():.4g}" in str(trace)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu", None, "softmax"])
@pytest.mark.parametrize("one_hot", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_the_numbers_equal_those_of_train_on_batch(activation, one_hot, weighted):
    model, (x, y) = classifier(ONE_HOT if one_hot else SPARSE, activation), images(one_hot)
    weights = np.linspace(0, 2, 6) if weighted else None
    trace = model.trace(x, y, sample_weight=weights)
    loss, _ = model.train_on_batch(x, y, sample_weight=weights)
    assert trace.loss == pytest.approx(loss, rel=1e-5)
    for layer, traced in zip(model.layers[1:], trace.layers[1:], strict=True):
        assert_allclose(traced["∂L/∂W"], look(layer.kernel_gradient), rtol=1e-4, atol=1e-7)
        assert_allclose(traced["∂L/∂b"], look(layer.bias_gradient), rtol=1e-4, atol=1e-7)
    if not weighted:
        target = y if one_hot else np.eye(4)[y]
        p = trace.output
        assert_allclose(trace[2]["∂L/∂a"], -target / p / 6, rtol=1e-4)
        assert_allclose(trace[2]["δ"], (p - target) / 6, rtol=1e-4, atol=1e-7)
        assert ", which is (p − y) / B" in str(trace)


def test_the_first_layer_passes_on_the_gradient_of_the_input():
    tinynet.config.set_floatx("float64")
    model, (x, y) = classifier(), images()
    x = x.astype("float64")
    expected = central_differences(lambda: model.trace(x, y).loss, x)
    assert_allclose(model.trace(x, y)[0]["∂L/∂x"], expected, rtol=1e-6, atol=1e-9)


def test_a_confident_mistake_is_traced_as_in_training():
    """At a probability of 0 or 1, the loss is not clipped and the gradient does not vanish."""
    model = network(Dense(2, "softmax", name="top"), inputs=(3,), loss=SPARSE, optimizer=SGD(1.0))
    model.set_weights([[[30, 0], [0, 0], [0, 0]], [0, 0]])
    x, y = np.array([[1, 0.5, 0.5], [8, 0, 0]], "float32"), np.array([1, 1])
    trace = model.trace(x, y)
    loss = model.train_on_batch(x, y)
    assert trace.loss == pytest.approx(loss) == pytest.approx((30 + 240) / 2)
    assert_allclose(trace.losses, [30, 240])
    assert_allclose(trace["top"]["δ"], [[0.5, -0.5], [0.5, -0.5]])
    assert_allclose(trace["top"]["∂L/∂W"], look(model.layers[0].kernel_gradient))
    assert "sample 1: −ln 9.35762e-14 = 30" in str(trace)


# Updates


def computed(expression):
    """Evaluate an expression of a trace in Python."""
    expression = re.sub(r"ln (\S+)", r"np.log(\1)", expression)
    python = {"−": "-", "·": "*", "²": "**2", "√": "np.sqrt"}
    return eval(expression.translate(str.maketrans(python)), {"np": np, "max": max})


OPTIMIZERS = {  # with the number of calculations in an update
    "adam": (Adam, {"learning_rate": 0.01}, 6),
    "other adam": (Adam, {"learning_rate": 0.1, "beta_1": 0.7, "beta_2": 0.9, "epsilon": 0.01}, 6),
    "weight decay": (Adam, {"learning_rate": 0.01, "weight_decay": 0.1}, 7),
    "amsgrad": (Adam, {"learning_rate": 0.01, "beta_2": 0.5, "amsgrad": True}, 7),
    "sgd": (SGD, {"learning_rate": 0.1}, 2),
    "momentum": (SGD, {"learning_rate": 0.1, "momentum": 0.9}, 2),
    "nesterov": (SGD, {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True}, 3),
}


@pytest.mark.parametrize("steps", [0, 1, 10])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_traced_update_equals_the_real_one(name, steps):
    kind, arguments, calculations = OPTIMIZERS[name]
    model = xor(kind(**arguments))
    for _ in range(steps):
        model.train_on_batch(X, XOR)
    # Suddenly smaller gradients: AMSGrad's largest mean square is not the last one.
    batch = X, XOR, np.full(4, 0.1, "float32")
    trace, before = model.trace(*batch), model.get_weights()
    slots = model.optimizer.slots_by_variable()[0] if steps and model.optimizer.slots else []
    slots = [f"{float(slot[1, 0]):.6g}"[:7] for slot in slots]
    model.train_on_batch(*batch)
    names = ["hidden/kernel", "hidden/bias", "output/kernel", "output/bias"]
    assert list(trace.weights) == names
    for weight, old, new in zip(names, before, model.get_weights(), strict=True):
        for index in np.ndindex(new.shape):
            update = trace.update(weight, index)
            # The remaining error is float32's, in which Adam's 1 − β₂ is off by 1.3e-5.
            assert update.new == pytest.approx(new[index], rel=1e-6, abs=1e-6)
            change = float(new[index]) - float(old[index])
            assert update.change == pytest.approx(change, rel=1e-3, abs=1e-6)
    # In the text, each calculation evaluates to its result.
    update = trace.update("hidden/kernel", (1, 0))
    parts = [["", *line.split(" = ")] for line in update.steps]
    worked = [part[-2:] for part in parts if re.fullmatch(r"[-\d\s.e+−·/()√max,]+", part[-2])]
    assert len(worked) == calculations
    for left, right in worked:
        assert computed(left) == pytest.approx(computed(right), rel=2e-4)
    assert all(slot in str(update) for slot in slots)
    formulas = {
        "weight decay": ["w ← w − η λ w = "],
        "amsgrad": ["v_max ← max(v_max, v) = ", "v̂ = v_max / "],
    }
    assert all(formula in str(update) for formula in formulas.get(name, []))
    first = trace.update("hidden/bias", 1)
    assert str(first).startswith("Update of hidden/bias[1]\n  w = ")
    assert str(trace.update("hidden/bias", np.int64(1))) == str(first)


class Signs(tinynet.Optimizer):
    def update(self, weights, gradient, *state, scratch):
        weights -= self.learning_rate * backend.xp.sign(gradient, out=scratch)


def test_unknown_names_indices_and_rules_are_refused_with_the_known_ones():
    trace = xor(Signs(0.1)).trace(X, XOR)
    with pytest.raises(KeyError, match="hidden/kernel"):
        trace.update("hidden")
    with pytest.raises(KeyError, match="'hidden', 'output'"):
        trace["dense"]
    with pytest.raises(KeyError, match="'z'"):
        trace["hidden"]["y"]
    with pytest.raises(ValueError, match="Expected Adam or SGD, whose rules are known"):
        trace.update("hidden/kernel", (0, 0))
    for index in ((), 0, (0, 0, 0), (2, 0), (0, -3)):
        with pytest.raises(IndexError, match=r"one number in hidden/kernel, of shape \(2, 2\)"):
            trace.update("hidden/kernel", index)


def test_frozen_weights_have_no_update():
    model = xor()
    model.layers[0].trainable = False
    assert list(model.trace(X, XOR).weights) == ["output/kernel", "output/bias"]


def test_a_user_defined_layer_shows_its_weights_and_gradients():
    model = network(Scale(name="own"), (1,), inputs=(2,), loss="mse", optimizer="sgd")
    own = model.trace(X, XOR)["own"]
    symbols = [[one.symbol for one in part] for part in (own.forward, own.backward)]
    assert symbols == [["x", "scale", "seen", "a"], ["∂L/∂a", "∂L/∂scale", "∂L/∂x"]]
    assert all(one.formula == "" for one in (*own.forward, *own.backward))


# The model stays unchanged


@pytest.mark.parametrize("trained", [True, False])
def test_tracing_does_not_change_the_model(trained):
    stack, (x, y) = [Flatten(), (5, "tanh"), Dropout(0.5), (4, "softmax")], images()
    model = network(*stack, inputs=(2, 3), loss=ONE_HOT)
    if trained:
        model.fit(x, y, verbose=0)

    def everything():
        arrays = [*map(look, model.weights), *model.optimizer.variables]
        arrays.append(look(model.parameters.gradients))
        return [array.tobytes() for array in arrays], backend.generator().bit_generator.state

    before, place = everything(), backend.backend()
    trace = model.trace(x, y)
    shown = str(trace)
    assert everything() == before
    assert backend.backend() == place
    for array in (trace.output, trace[1]["W"], trace[1]["∂L/∂W"]):
        assert type(array) is np.ndarray
    model.fit(x, y, verbose=0, epochs=3)
    assert str(trace) == shown


def test_invalid_models_and_inputs_are_refused_as_in_fit():
    with pytest.raises(ValueError, match=r"call `compile\(\)`"):
        network((1,), inputs=(2,)).trace(X, XOR)
    with pytest.raises(ValueError, match="expects input of shape"):
        xor().trace(np.ones((4, 3)), XOR)


# The printed form


def test_the_text_shows_formulas_and_numbers():
    text = str(xor().trace(X, XOR))
    for title in (
        "Layer 1, forward: hidden (Dense)",
        "z = x W + b",
        "a = σ(z) = 1 / (1 + e⁻ᶻ)",
        "ℓ = mean of (p − y)²",
        "sample 2: (",
        "Layer 2, backward: output (Dense)",
        "δ = ∂L/∂a · a (1 − a)",
        "∂L/∂W = xᵀ δ",
        "∂L/∂b = Σ δ over the batch",
        "∂L/∂x = δ Wᵀ, passed on",
    ):
        assert title in text
    assert text.index("Layer 2, backward") < text.index("Layer 1, backward")
    assert max(map(len, text.splitlines())) <= 100
    assert all(line == line.rstrip() for line in text.splitlines())


def test_large_arrays_are_summarized():
    model = network((30, "relu"), (10, "softmax"), inputs=(50,), loss=SPARSE)
    text = str(model.trace(np.ones((20, 50)), np.arange(20) % 10))
    assert "(50, 30)  min " in text
    assert len(text.splitlines()) < 60
    assert "sample 1" not in text


def test_a_notebook_gets_well_formed_html():
    model = xor()
    model.name = "a<b"
    page = ElementTree.fromstring(f"<div>{model.trace(X, XOR)._repr_html_()}</div>")
    assert len(list(page.iter("td"))) == 6 * 20 + 1  # the loss takes one cell
    assert "‘a<b’" in page.find("h3").text


def test_penalties_and_dropout_masks_are_shown():
    layers = Activation("tanh", name="bend"), Dropout(0.5, name="drop", seed=1), Dense(1)
    stack = Dense(2, kernel_regularizer="l2", name="a"), *layers
    model = network(*stack, inputs=(2,), loss="mse", optimizer="sgd")
    trace = model.trace(X, XOR)
    penalty = 0.01 * (model.get_weights()[0] ** 2).sum()
    assert trace.loss == pytest.approx(trace.losses.mean() + penalty, rel=1e-6)
    for part in (
        f"R of a = 0.01 Σ W² = {penalty:.4g}"[:-1],
        "L = mean of ℓ + R = (",
        "∂L/∂W = xᵀ δ + ∂R/∂W",
        "a = tanh x",
    ):
        assert part in str(trace)
    a, drop = trace["a"], trace["drop"]
    gradient = a["x"].T @ a["δ"] + 0.02 * a["W"]
    np.testing.assert_allclose(a["∂L/∂W"], gradient, atol=1e-7)
    assert set(np.unique(drop["m / (1 − r)"])) <= {0, 2}
    np.testing.assert_allclose(drop["a"], drop["x"] * drop["m / (1 − r)"])
    assert model.layers[2].drawn == 0


CROSS = CategoricalCrossentropy
LOSSES = {  # a loss, its arguments, words in the text, and whether δ = (p − y) / B is noted
    "plain": (CROSS, {}, "ℓ = −Σ y ln p", True),
    "sparse": (SparseCategoricalCrossentropy, {}, "ℓ = −ln p of the true class", True),
    "smoothed": (CROSS, {"label_smoothing": 0.2}, "ℓ = −Σ y ln p, y smoothed by 0.2", True),
    "logits": (CROSS, {"from_logits": True}, "ln p, p being the softmax of the outputs", False),
    "sum": (CROSS, {"reduction": "sum"}, "L = sum of ℓ", False),
    "none": (CROSS, {"reduction": "none"}, "L = sum of ℓ", False),
    "squares": (MeanSquaredError, {}, "ℓ = mean of (p − y)²", False),
    "by weight": (CROSS, {"reduction": "mean_with_sample_weight"}, "L = Σ w ℓ / Σ w", False),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_text_about_a_loss_is_correct(name):
    kind, arguments, words, noted = LOSSES[name]
    model, (x, y) = classifier(), images(name != "sparse", count=3)
    model.compile("sgd", kind(**arguments))
    weights = np.linspace(1, 2, 3).astype("float32") if name == "by weight" else None
    trace = model.trace(x, y, sample_weight=weights)
    assert words in str(trace)
    assert (", which is (p − y) / B" in str(trace)) == noted
    assert trace.loss == pytest.approx(model.train_on_batch(x, y, weights), rel=1e-6)
    if name in ("plain", "sparse"):
        assert f"/ 3 = {trace.loss:.6g}" in trace.terms[-1]
    terms = [line for line in trace.terms if line.startswith("sample ")]
    for term, value in zip(terms, trace.losses, strict=True):
        left, right = re.match(r"sample \d: (.*) = (\S+)$", term).groups()
        assert float(right) == pytest.approx(value, rel=1e-5)
        if left != "ℓ":
            assert computed(left) == pytest.approx(value, rel=1e-4)
    assert ("ℓ = " in terms[0]) == (name in ("smoothed", "logits", "squares"))
