"""A trace holds every number of a training step and the formulas that connect them."""

import os
import re
import subprocess
import sys
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from arrays import assert_allclose, look
from conftest import ROOT
from networks import ONE_HOT, SPARSE, Scale, network, samples

from tinynet import losses
from tinynet.layers import Activation, Dense, Dropout, Flatten
from tinynet.optimizers import SGD, Adam, RMSprop

pytestmark = pytest.mark.computes

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
XOR = np.array([0, 1, 1, 0])


def xor(optimizer="adam"):
    """Return a compiled 2-2-1 network for XOR."""
    layers = Dense(2, "sigmoid", name="hidden"), Dense(1, "sigmoid", name="output")
    return network(*layers, inputs=(2,), loss="mse", optimizer=optimizer)


def computed(expression):
    """Evaluate an expression of a trace in Python."""
    expression = re.sub(r"ln (\S+)", r"np.log(\1)", expression)
    python = {"−": "-", "·": "*", "²": "**2", "√": "np.sqrt"}
    return eval(expression.translate(str.maketrans(python)), {"np": np, "max": max})


# The numbers

FORMULAS = {  # each text, with a function that computes it from a layer's numbers, a and ∂L/∂a
    "x, each sample in one row": lambda n, a, g: n["x"].reshape(len(n["x"]), -1),
    "x W": lambda n, a, g: n["x"] @ n["W"],
    "x W + b": lambda n, a, g: n["x"] @ n["W"] + n["b"],
    "z": lambda n, a, g: n["z"],
    "σ(z) = 1 / (1 + e⁻ᶻ)": lambda n, a, g: 1 / (1 + np.exp(-n["z"])),
    "tanh z": lambda n, a, g: np.tanh(n["z"]),
    "tanh x": lambda n, a, g: np.tanh(n["x"]),
    "max(z, 0)": lambda n, a, g: np.maximum(n["z"], 0),
    "softmax(z) = eᶻ / Σ eᶻ": lambda n, a, g: np.exp(n["z"]) / np.exp(n["z"]).sum(1)[:, None],
    "x m / (1 − r)": lambda n, a, g: n["x"] * n["m / (1 − r)"],
    "∂L/∂a": lambda n, a, g: g,
    "∂L/∂a · a (1 − a)": lambda n, a, g: g * a * (1 - a),
    "∂L/∂a · (1 − a²)": lambda n, a, g: g * (1 - a * a),
    "∂L/∂a where z > 0, else 0": lambda n, a, g: np.where(n["z"] > 0, g, 0),
    "a (∂L/∂a − Σ a ∂L/∂a)": lambda n, a, g: a * (g - (a * g).sum(-1, keepdims=True)),
    "xᵀ δ": lambda n, a, g: n["x"].T @ n["δ"],
    "xᵀ δ + ∂R/∂W": lambda n, a, g: n["x"].T @ n["δ"] + 0.02 * n["W"],
    "Σ δ over the batch": lambda n, a, g: n["δ"].sum(axis=0),
    "δ": lambda n, a, g: n["δ"],
    "δ Wᵀ": lambda n, a, g: n["δ"] @ n["W"].T,
}
UNDERIVED = {  # what has no formula in each layer, in this order
    "flatten": ["x", "∂L/∂a", "∂L/∂x"],
    "first": ["x", "W", "∂L/∂a"],
    "activation": ["x", "∂L/∂a"],
    "dropout": ["x", "m / (1 − r)", "∂L/∂a", "∂L/∂x"],
    "scale": ["x", "scale", "seen", "a", "∂L/∂a", "∂L/∂scale", "∂L/∂x"],  # a user's layer
    "last": ["x", "W", "b", "∂L/∂a"],
}
ENDS = {  # an activation: the loss after it, the samples' losses, and ∂L/∂p
    "sigmoid": ("mse", lambda p, y: ((p - y) ** 2).mean(axis=1), lambda p, y: 2 * (p - y) / 12),
    "softmax": (ONE_HOT, lambda p, y: -np.log(p[y == 1]), lambda p, y: -y / p / 4),
}


@pytest.mark.parametrize("last", ENDS)
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu", None, "softmax"])
def test_every_number_follows_from_the_previous_ones(activation, last, rng):
    loss, losses_of, derivative = ENDS[last]
    first = Dense(4, activation, False, kernel_regularizer="l2", name="first")
    rest = Activation("tanh"), Dropout(0.5, seed=1), Scale(), Dense(3, last, name="last")
    model = network(Flatten(), first, *rest, inputs=(2, 3), loss=loss)
    model.set_weights([rng.normal(size=weight.shape) for weight in model.get_weights()])
    x, _, y = samples(rng, 4, (2, 3), 3)
    trace = model.trace(x, y)
    assert_allclose(trace[0]["x"], x)
    for below, above in pairwise(trace.layers):
        assert_allclose(above["x"], below["a"])
        assert_allclose(above["∂L/∂x"], below["∂L/∂a"])
    assert_allclose(trace.output, trace["last"]["a"])
    assert_allclose(trace.losses, losses_of(trace.output, y), rtol=1e-5)
    assert_allclose(trace["last"]["∂L/∂a"], derivative(trace.output, y), rtol=1e-5)
    underived = {}
    for layer in trace.layers:
        numbers = (*layer.forward, *layer.backward)
        for one in filter(lambda one: one.formula, numbers):
            expected = FORMULAS[one.formula](layer, layer["a"], layer["∂L/∂a"])
            assert_allclose(one.values, expected, rtol=1e-5, atol=1e-6, err_msg=one.title)
        underived[layer.name] = [one.symbol for one in numbers if not one.formula]
    assert underived == UNDERIVED
    assert_allclose(trace[0]["∂L/∂x"], trace[0]["∂L/∂a"].reshape(x.shape))
    assert set(np.unique(trace["dropout"]["m / (1 − r)"])) == {0, 2}
    W = trace["first"]["W"]
    penalty = 0.01 * (W**2).sum()
    assert trace.loss == pytest.approx(trace.losses.mean() + penalty, rel=1e-6)
    assert f"R of first = 0.01 Σ W² = {penalty:.4g}"[:-1] in str(trace)
    assert "L = mean of ℓ + R = (" in str(trace)
    assert f"min {W.min():.4g}  mean {W.mean():.4g}  max {W.max():.4g}" in str(trace)


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

OPTIMIZERS = {  # with the number of calculations in an update, and some of its text
    "adam": (Adam, {"beta_1": 0.7, "beta_2": 0.9, "epsilon": 0.01}, 6, r"Δw = −η m̂ / \(√v̂ \+ ε\)"),
    "weight decay": (Adam, {"learning_rate": 0.01, "weight_decay": 0.1}, 7, "w ← w − η λ w = "),
    "amsgrad": (Adam, {"beta_2": 0.5, "amsgrad": True}, 7, r"v_max ← max\(v_max, v\).*v̂ = v_max"),
    "sgd": (SGD, {"learning_rate": 0.1}, 2, "Δw = −η g = −"),
    "momentum": (SGD, {"learning_rate": 0.1, "momentum": 0.9}, 2, "v ← μ v − η g = "),
    "nesterov": (SGD, {"momentum": 0.9, "nesterov": True}, 3, "Δw = μ v − η g = "),
    "rmsprop": (RMSprop, {"epsilon": 0.01}, 3, r"Δw = −η g / √\(v \+ ε\) = "),
    "centered": (RMSprop, {"centered": True, "epsilon": 0.1}, 5, r"√\(\(v − a²\) \+ ε\) = "),
    "rmsprop with momentum": (RMSprop, {"momentum": 0.9, "weight_decay": 0.1}, 5, "Δw = −m = "),
}


@pytest.mark.parametrize("steps", [0, 1, 10])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_traced_update_equals_the_real_one(name, steps):
    kind, arguments, calculations, text = OPTIMIZERS[name]
    model = xor(kind(**arguments))
    for _ in range(steps):
        model.train_on_batch(X, XOR)
    # Suddenly smaller gradients: AMSGrad's largest mean square is not the last one.
    batch = X, XOR, np.full(4, 0.1, "float32")
    trace, before = model.trace(*batch), model.get_weights()
    shown = str(trace)
    model.train_on_batch(*batch)
    for weight, old, new in zip(trace.weights, before, model.get_weights(), strict=True):
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
    assert re.search(text, str(update), re.DOTALL)
    update = trace.update("hidden/bias", np.int64(1))
    assert str(update).startswith("Update of hidden/bias[1]\n  w = ")
    model.layers[0].trainable = False
    assert list(model.trace(*batch).weights) == ["output/kernel", "output/bias"]
    # The trace consists of copies on the host.
    assert type(trace.output) is type(trace[0]["W"]) is type(trace[0]["∂L/∂W"]) is np.ndarray
    assert str(trace) == shown


ONE_NUMBER = r"of one number in hidden/kernel, of shape \(2, 2\)"
REFUSED = [
    (KeyError, "hidden/kernel", lambda trace: trace.update("hidden")),
    (KeyError, "'hidden', 'output'", lambda trace: trace["dense"]),
    (KeyError, "'z'", lambda trace: trace["hidden"]["y"]),
    (ValueError, "Expected Adam, RMSprop or SGD, re", lambda trace: trace.update("hidden/bias", 0)),
    (IndexError, ONE_NUMBER, lambda trace: trace.update("hidden/kernel")),
    (IndexError, ONE_NUMBER, lambda trace: trace.update("hidden/kernel", (0, 0, 0))),
    (IndexError, ONE_NUMBER, lambda trace: trace.update("hidden/kernel", (2, 0))),
    (IndexError, ONE_NUMBER, lambda trace: trace.update("hidden/kernel", (0, -3))),
    # as in `fit`
    (ValueError, r"call `compile\(\)`", lambda _: network((1,), inputs=(2,)).trace(X, XOR)),
    (ValueError, "expects input of shape", lambda _: xor().trace(np.ones((4, 3)), XOR)),
]


@pytest.mark.parametrize(("error", "match", "do"), REFUSED)
def test_what_is_unknown_or_invalid_is_refused(error, match, do):
    trace = xor(type("Mine", (SGD,), {})(0.1)).trace(X, XOR)
    with pytest.raises(error, match=match):
        do(trace)


# The printed form


def test_the_text_shows_formulas_and_numbers_in_the_order_of_their_computation():
    text, place = str(xor().trace(X, XOR)), 0
    for part in (
        "Layer 1, forward: hidden (Dense)", "z = x W + b", "Layer 2, forward: output", "sample 2",
        "Layer 2, backward: output", "∂L/∂x = δ Wᵀ, passed on", "Layer 1, backward: hidden (Dense)",
    ):  # fmt: skip
        place = text.index(part, place)
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
    assert len(list(page.iter("td"))) == 6 * 20
    for line in page.iter("tr"):
        assert sum(int(cell.get("colspan", 1)) for cell in line) == 6
    (loss,) = [line for line in page.iter("tr") if line.findtext(".//b") == "Loss"]
    assert loss.findtext(".//pre").startswith("ℓ = mean of (p − y)²\nsample 1: ")
    assert "‘a<b’" in page.find("h3").text


LOSSES = {  # arguments, the hidden activation, words in the text, whether δ = (p − y) / B is noted
    "plain": ({}, "tanh", "ℓ = −Σ y ln p", True),
    "sparse": ({}, "relu", "ℓ = −ln p of the true class", True),
    "smoothed": ({"label_smoothing": 0.2}, "tanh", "ℓ = −Σ y ln p, y smoothed by 0.2", True),
    "logits": ({"from_logits": True}, "tanh", "ln p, p being the softmax of the outputs", False),
    "sum": ({"reduction": "sum"}, None, "L = sum of ℓ", False),
    "none": ({"reduction": "none"}, "relu", "L = sum of ℓ", False),
    "squares": ({}, "softmax", "ℓ = mean of (p − y)²", False),
    "weighted": ({}, "tanh", "L = mean of w ℓ = ", False),
    "by weight": ({"reduction": "mean_with_sample_weight"}, "tanh", "L = Σ w ℓ / Σ w", False),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_numbers_and_the_text_about_a_loss_are_those_of_training(name, rng):
    arguments, activation, words, noted = LOSSES[name]
    (x, labels, rows), sparse = samples(rng, 3, (2, 3), 4), "sparse" in name
    y, weights = labels if sparse else rows, np.linspace(0, 2, 3) if "weight" in name else None
    kind = losses.SparseCategoricalCrossentropy if sparse else losses.CategoricalCrossentropy
    loss = "mse" if name == "squares" else kind(**arguments)
    model = network(Flatten(), (5, activation), (4, "softmax"), inputs=(2, 3), loss=loss)
    trace = model.trace(x, y, sample_weight=weights)
    assert words in str(trace)
    assert (", which is (p − y) / B" in str(trace)) == noted
    assert trace.loss == pytest.approx(model.train_on_batch(x, y, weights), rel=1e-6)
    assert (f") / 3 = {trace.loss:.6g}" in trace.terms[-1]) == ("L = " not in words)
    for layer, traced in zip(model.layers[1:], trace.layers[1:], strict=True):
        assert_allclose(traced["∂L/∂W"], look(layer.kernel_gradient), rtol=1e-4, atol=1e-7)
        assert_allclose(traced["∂L/∂b"], look(layer.bias_gradient), rtol=1e-4, atol=1e-7)
    terms = [line for line in trace.terms if line.startswith("sample ")]
    for term, value in zip(terms, trace.losses, strict=True):
        left, right = re.match(r"sample \d: (.*) = (\S+)$", term).groups()
        assert float(right) == pytest.approx(value, rel=1e-5)
        worked_out = name not in ("smoothed", "logits", "squares")
        assert (left != "ℓ") == worked_out
        assert not worked_out or computed(left) == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize(("outputs", "note"), [(1, "(p − y) / B"), (4, "(p − y) / (B K)")])
@pytest.mark.parametrize("settings", [{}, {"from_logits": True}, {"label_smoothing": 0.1}])
def test_the_numbers_of_binary_crossentropy_are_those_of_training(rng, outputs, note, settings):
    x, y = rng.normal(size=(3, 6)), np.arange(3 * outputs).reshape(3, outputs) % 2
    top = None if "from_logits" in settings else "sigmoid"
    loss = losses.BinaryCrossentropy(**settings)
    model = network((5, "tanh"), (outputs, top), inputs=(6,), loss=loss)
    trace, shown = model.trace(x, y), str(model.trace(x, y))
    assert trace.loss == pytest.approx(model.train_on_batch(x, y), rel=1e-6)
    assert (f", which is {note}" in shown) == (top == "sigmoid")
    assert ("ℓ = −mean of (y ln p + (1 − y) ln(1 − p))" in shown) or settings
    for layer, traced in zip(model.layers, trace.layers, strict=True):
        assert_allclose(traced["∂L/∂W"], look(layer.kernel_gradient), rtol=1e-4, atol=1e-7)
    if top == "sigmoid":
        a, arriving = trace[1]["a"], trace[1]["∂L/∂a"]
        assert_allclose(arriving * a * (1 - a), trace[1]["δ"], rtol=1e-4, atol=1e-7)
    if outputs == 1 and not settings:
        assert f"sample 2: −ln {trace.output[1, 0]:.6g} = {trace.losses[1]:.6g}" in shown


@pytest.mark.parametrize("setting", [{"clipnorm": 1.0}, {"clipvalue": 1.0}, {"global_clipnorm": 1}])
def test_an_update_that_depends_on_other_numbers_is_refused(setting):
    trace = xor(SGD(**setting)).trace(X, XOR)
    with pytest.raises(ValueError, match="neither limits gradients nor excludes"):
        trace.update("hidden/kernel", (0, 0))


PRINTING = """
import numpy as np, tinynet
from tinynet.layers import Dense, Dropout
model = tinynet.Sequential([tinynet.Input((2,)), Dense(2, "sigmoid"), Dropout(0.2), Dense(1)])
model.compile("adam", "mse")
x, y = np.eye(2), np.ones(2)
trace = model.trace(x, y)
print(repr(trace[0]), trace, trace.update("dense/kernel", (0, 0)))
print(tinynet.check_gradients(model, x, y))
print(tinynet.find_dead_units(model, x))
model.summary()
model.summary(print_fn=print)
stop = tinynet.callbacks.EarlyStopping("loss", patience=1, verbose=1, restore_best_weights=True)
name = "\\u00e9\\u7cbe.weights.h5"
keep = tinynet.callbacks.ModelCheckpoint(name, save_weights_only=True, verbose=1)
model.fit(x, y, epochs=2, callbacks=[stop, keep])
"""


@pytest.mark.host
@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "gbk"])
def test_what_is_printed_can_be_written_in_any_encoding(encoding, tmp_path):
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-c", PRINTING]
    run = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True)
    assert run.stderr == b""
    text = run.stdout.decode(encoding)
    loss = "∂L/∂a" if encoding == "gbk" else "dL/da"
    assert "One batch through model 'sequential'" in text
    if encoding != "gbk":
        assert loss in text
