"""A trace holds every number of a training step and the formulas that connect them."""

import html.parser
import re

import numpy as np
import pytest
from arrays import assert_allclose, look
from gradients import central_differences
from networks import ONE_HOT, SPARSE, network
from own import Scale

import tinynet
from tinynet import backend
from tinynet.layers import Dense, Flatten

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


def images(one_hot=True):
    rng = np.random.default_rng(4)
    labels = rng.integers(4, size=6)
    return rng.normal(size=(6, 2, 3)).astype("float32"), np.eye(4)[labels] if one_hot else labels


# The numbers


def test_every_number_follows_from_the_previous_ones(rng):
    model = xor()
    trace = model.trace(X, XOR)
    assert [layer.name for layer in trace.layers] == ["hidden", "output"]
    x = X.astype("float32")
    for layer in trace.layers:
        assert_allclose(layer["x"], x, rtol=1e-6)
        assert_allclose(layer["z"], x @ layer["W"] + layer["b"], rtol=1e-6)
        x = layer["a"]
        assert_allclose(x, 1 / (1 + np.exp(-layer["z"])), rtol=1e-5)
    assert_allclose(trace.output, x)
    assert_allclose(trace.losses, (x[:, 0] - XOR) ** 2, rtol=1e-5)
    assert trace.loss == pytest.approx(trace.losses.mean(), rel=1e-6)
    gradient = 2 * (x - XOR[:, None]) / 4
    for layer in reversed(trace.layers):
        assert_allclose(layer["∂L/∂a"], gradient, rtol=1e-5)
        delta = gradient * layer["a"] * (1 - layer["a"])
        assert_allclose(layer["δ"], delta, rtol=1e-5)
        assert_allclose(layer["∂L/∂W"], layer["x"].T @ delta, rtol=1e-5, atol=1e-8)
        assert_allclose(layer["∂L/∂b"], delta.sum(axis=0), rtol=1e-5, atol=1e-8)
        gradient = delta @ layer["W"].T
        assert_allclose(layer["∂L/∂x"], gradient, rtol=1e-5)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu", None, "softmax"])
@pytest.mark.parametrize("one_hot", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_the_numbers_equal_those_of_train_on_batch(activation, one_hot, weighted):
    name = ONE_HOT if one_hot else SPARSE
    model, (x, y) = classifier(name, activation), images(one_hot)
    weights = np.linspace(0, 2, 6) if weighted else None
    trace = model.trace(x, y, sample_weight=weights)
    loss, _ = model.train_on_batch(x, y, sample_weight=weights)
    assert trace.loss == pytest.approx(loss, rel=1e-5)
    for layer, traced in zip(model.layers[1:], trace.layers[1:], strict=True):
        assert_allclose(traced["∂L/∂W"], look(layer.kernel_gradient), rtol=1e-4, atol=1e-7)
        assert_allclose(traced["∂L/∂b"], look(layer.bias_gradient), rtol=1e-4, atol=1e-7)
    if not weighted:
        p, target = trace.output, np.eye(4)[y] if not one_hot else y
        assert_allclose(trace[2]["δ"], (p - target) / 6, rtol=1e-4, atol=1e-7)
        assert ", which is (p − y) / B" in str(trace)


def test_the_first_layer_passes_on_the_gradient_of_the_input():
    tinynet.config.set_floatx("float64")
    model, (x, y) = classifier(), images()
    x = x.astype("float64")
    expected = central_differences(lambda: model.trace(x, y).loss, x)
    assert_allclose(model.trace(x, y)[0]["∂L/∂x"], expected, rtol=1e-6, atol=1e-9)


OPTIMIZERS = {
    "adam": lambda: tinynet.optimizers.Adam(0.01),
    "other adam": lambda: tinynet.optimizers.Adam(0.1, beta_1=0.7, beta_2=0.9, epsilon=1e-2),
    "sgd": lambda: tinynet.optimizers.SGD(0.1),
    "momentum": lambda: tinynet.optimizers.SGD(0.1, momentum=0.9),
    "nesterov": lambda: tinynet.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
}


@pytest.mark.parametrize("steps", [0, 1, 10])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_traced_update_equals_the_real_one(name, steps):
    model = xor(OPTIMIZERS[name]())
    for _ in range(steps):
        model.train_on_batch(X, XOR)
    trace = model.trace(X, XOR)
    before = dict(zip(trace.weights, model.get_weights(), strict=True))
    model.train_on_batch(X, XOR)
    after = dict(zip(trace.weights, model.get_weights(), strict=True))
    assert list(after) == ["hidden/kernel", "hidden/bias", "output/kernel", "output/bias"]
    for weight, values in after.items():
        for index in np.ndindex(values.shape):
            update = trace.update(weight, index)
            # The remaining error is float32's, in which Adam's 1 − β₂ is off by 1.3e-5.
            assert update.new == pytest.approx(values[index], rel=1e-6, abs=1e-6)
            change = float(values[index]) - float(before[weight][index])
            assert update.change == pytest.approx(change, rel=1e-3, abs=1e-6)
    assert str(trace.update("hidden/bias", 1)).startswith("Update of hidden/bias[1]\n  w = ")


def test_frozen_weights_have_no_update():
    model = xor()
    model.layers[0].trainable = False
    assert list(model.trace(X, XOR).weights) == ["output/kernel", "output/bias"]


class Signs(tinynet.Optimizer):
    def update(self, weights, gradient, *state, scratch):
        weights -= self.learning_rate * backend.xp.sign(gradient, out=scratch)


def test_unknown_names_are_refused_with_the_known_ones():
    trace = xor(Signs(0.1)).trace(X, XOR)
    with pytest.raises(KeyError, match="hidden/kernel"):
        trace.update("hidden")
    with pytest.raises(KeyError, match="'hidden', 'output'"):
        trace["dense"]
    with pytest.raises(KeyError, match="'z'"):
        trace["hidden"]["y"]
    with pytest.raises(ValueError, match="Expected Adam or SGD, whose rules are known"):
        trace.update("hidden/kernel", (0, 0))


def test_a_user_defined_layer_shows_its_weights_and_gradients():
    model = network(Scale(name="own"), (1,), inputs=(2,), loss="mse", optimizer="sgd")
    own = model.trace(X, XOR)["own"]
    assert [one.symbol for one in own.forward] == ["x", "scale", "seen", "a"]
    assert [one.symbol for one in own.backward] == ["∂L/∂a", "∂L/∂scale", "∂L/∂x"]


# The model stays unchanged


@pytest.mark.parametrize("trained", [True, False])
def test_tracing_does_not_change_the_model(trained):
    model, (x, y) = classifier(), images()
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
    model = tinynet.Sequential([tinynet.Input((2,)), Dense(1)])
    with pytest.raises(ValueError, match=r"call `compile\(\)`"):
        model.trace(X, XOR)
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
    assert "ℓ = −ln p of the true class" in text
    assert "sample 1" not in text


def test_the_terms_of_a_cross_entropy_are_shown():
    model, (x, y) = classifier(), images()
    trace = model.trace(x[:3], y[:3])
    p = trace.output[np.arange(3), y[:3].argmax(axis=1)]
    for n in range(3):
        assert f"sample {n + 1}: −ln {p[n]:.6g} = {-np.log(p[n]):.4g}"[:-1] in str(trace)
    assert f"/ 3 = {trace.loss:.6g}" in str(trace)
    model, (x, y) = classifier(SPARSE), images(one_hot=False)
    assert "sample 1: −ln " in str(model.trace(x[:3], y[:3]))


class Balanced(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.cells = [], 0

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.cells += tag == "td"

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_a_notebook_gets_well_formed_html():
    model = xor()
    model.name = "a<b"
    page = model.trace(X, XOR)._repr_html_()
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert parser.cells == 6 * 20 + 1  # the loss takes one cell
    assert "a&lt;b" in page


def test_penalties_and_dropout_masks_are_shown():
    model = tinynet.Sequential([tinynet.Input((2,)), Dense(2, kernel_regularizer="l2", name="a")])
    model.add(tinynet.layers.Activation("tanh", name="bend"))
    model.add(tinynet.layers.Dropout(0.5, name="drop", seed=1))
    model.add(Dense(1, name="b"))
    model.compile("sgd", "mse")
    trace = model.trace(X, XOR)
    text = str(trace)
    penalty = 0.01 * (model.get_weights()[0] ** 2).sum()
    assert f"R of a = 0.01 Σ W² = {penalty:.4g}"[:-1] in text
    assert trace.loss == pytest.approx(trace.losses.mean() + penalty, rel=1e-6)
    assert "L = mean of ℓ + R = (" in text
    assert "∂L/∂W = xᵀ δ + ∂R/∂W" in text
    assert "a = tanh x" in text
    mask = trace["drop"]["m / (1 − r)"]
    assert set(np.unique(mask)) <= {0, 2}
    np.testing.assert_allclose(trace["drop"]["a"], trace["drop"]["x"] * mask)
    x, delta, kernel = trace["a"]["x"], trace["a"]["δ"], trace["a"]["W"]
    np.testing.assert_allclose(trace["a"]["∂L/∂W"], x.T @ delta + 0.02 * kernel, atol=1e-7)
    assert model.layers[2].drawn == 0


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"weight_decay": 0.1}, ["w ← w − η λ w = "]),
        ({"amsgrad": True, "beta_2": 0.5}, ["v_max ← max(v_max, v) = ", "v̂ = v_max / "]),
    ],
)
def test_updates_with_weight_decay_and_amsgrad_are_traced(arguments, parts):
    model = xor()
    model.compile(tinynet.optimizers.Adam(0.01, **arguments), "mse")
    model.fit(X, XOR, epochs=3, verbose=0, shuffle=False)
    # Suddenly small gradients: the mean square falls, so the last one is not the largest.
    trace = model.trace(X, XOR, sample_weight=np.full(4, 1e-3, "float32"))
    update = trace.update("hidden/kernel", (0, 1))
    assert all(part in str(update) for part in parts)
    before = model.get_weights()[0][0, 1]
    model.train_on_batch(X, XOR, sample_weight=np.full(4, 1e-3, "float32"))
    after = model.get_weights()[0][0, 1]
    assert update.new == pytest.approx(after, abs=1.3e-7)
    assert update.change == pytest.approx(after - before, abs=2e-7)
    assert abs(update.change) > 1e-4


def test_a_confident_mistake_is_traced_as_in_training():
    """At a probability of 0 or 1, the loss is not clipped and the gradient does not vanish."""
    model = tinynet.Sequential([tinynet.Input((3,)), Dense(2, "softmax", name="top")])
    model.set_weights([[[30, 0], [0, 0], [0, 0]], [0, 0]])
    model.compile(tinynet.optimizers.SGD(1.0), SPARSE)
    x, y = np.array([[1, 0.5, 0.5], [8, 0, 0]], "float32"), np.array([1, 1])
    trace = model.trace(x, y)
    loss = model.train_on_batch(x, y)
    assert trace.loss == pytest.approx(loss) == pytest.approx((30 + 240) / 2)
    assert_allclose(trace.losses, [30, 240])
    assert_allclose(trace["top"]["δ"], [[0.5, -0.5], [0.5, -0.5]])
    assert_allclose(trace["top"]["∂L/∂W"], look(model.layers[0].kernel_gradient))
    assert "sample 1: −ln 9.35762e-14 = 30" in str(trace)


LOSSES = {
    "plain": (tinynet.losses.CategoricalCrossentropy, {}, "ℓ = −Σ y ln p", True),
    "smoothed": (
        tinynet.losses.CategoricalCrossentropy, {"label_smoothing": 0.2},
        "ℓ = −Σ y ln p, y smoothed by 0.2", True,
    ),
    "logits": (
        tinynet.losses.CategoricalCrossentropy, {"from_logits": True},
        "ℓ = −Σ y ln p, p being the softmax of the outputs", False,
    ),
    "sum": (tinynet.losses.CategoricalCrossentropy, {"reduction": "sum"}, "L = sum of ℓ", False),
    "none": (tinynet.losses.CategoricalCrossentropy, {"reduction": "none"}, "L = sum of ℓ", False),
    "squares": (tinynet.losses.MeanSquaredError, {}, "ℓ = mean of (p − y)²", False),
    "by weight": (
        tinynet.losses.CategoricalCrossentropy, {"reduction": "mean_with_sample_weight"},
        "L = Σ w ℓ / Σ w", False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_the_text_about_a_loss_is_correct(name):
    kind, arguments, words, noted = LOSSES[name]
    model, (x, y) = classifier(), images()
    model.compile("sgd", kind(**arguments))
    weights = np.linspace(1, 2, 3).astype("float32") if name == "by weight" else None
    trace = model.trace(x[:3], y[:3], sample_weight=weights)
    assert words in str(trace)
    assert (", which is (p − y) / B" in str(trace)) == noted
    assert trace.loss == pytest.approx(model.train_on_batch(x[:3], y[:3], weights), rel=1e-6)
    terms = [line for line in trace.terms if line.startswith("sample ")]
    for term, value in zip(terms, trace.losses, strict=True):
        _, left, right = re.match(r"(sample \d): (.*) = (\S+)$", term).groups()
        assert float(right) == pytest.approx(value, rel=1e-5)
        if left != "ℓ":
            assert computed(left) == pytest.approx(value, rel=1e-4)
    assert ("ℓ = " in terms[0]) == (name in ("smoothed", "logits", "squares"))


def computed(expression):
    """Evaluate an expression of a trace in Python."""
    for symbol, python in (
        ("−", "-"), ("·", "*"), ("²", "**2"), ("ln ", "np.log "), ("√", "np.sqrt"),
    ):  # fmt: skip
        expression = expression.replace(symbol, python)
    expression = re.sub(r"np.log (\S+)", r"np.log(\1)", expression)
    return eval(expression, {"np": np, "max": max})


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_step_of_an_update_evaluates_to_its_result(name):
    model = xor(OPTIMIZERS[name]())
    model.fit(X, XOR, epochs=4, verbose=0)
    update = model.trace(X, XOR).update("hidden/kernel", (1, 0))
    seen = 0
    for line in update.steps:
        *_, worked, result = ["", *line.split(" = ")]
        if not re.fullmatch(r"[-\d\s.e+−·/()√]+", worked):
            continue
        assert computed(worked) == pytest.approx(float(result.replace("−", "-")), rel=2e-4)
        seen += 1
    assert seen == {"adam": 5, "other adam": 5, "sgd": 1, "momentum": 1, "nesterov": 2}[name]
    state = model.optimizer.slots_by_variable()[0] if model.optimizer.slots else []
    for slot in state:
        assert f"{float(slot[1, 0]):.6g}"[:7] in str(update)


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
def test_the_formulas_give_the_numbers_shown(activation, use_bias, rng):
    model = tinynet.Sequential([tinynet.Input((5,)), Dense(4, activation, use_bias, name="a")])
    model.add(Dense(3, "sigmoid", name="b"))
    model.compile("sgd", "mse")
    trace = model.trace(rng.normal(size=(6, 5)), rng.normal(size=(6, 3)))
    layer = trace["a"]
    formula = {one.symbol: one.formula for one in (*layer.forward, *layer.backward)}
    given = layer["z"], layer["a"], layer["∂L/∂a"]
    assert_allclose(TEXTS[formula["a"]](*given), layer["a"], rtol=1e-5, atol=1e-7)
    assert_allclose(TEXTS[formula["δ"]](*given), layer["δ"], rtol=1e-5, atol=1e-8)
    assert formula["z"] == ("x W + b" if use_bias else "x W")
    assert "which is" not in str(trace)
    low, mean, high = layer["W"].min(), layer["W"].mean(), layer["W"].max()
    assert f"min {low:.4g}  mean {mean:.4g}  max {high:.4g}" in str(trace)


@pytest.mark.parametrize("index", [(), 0, (0, 0, 0), (2, 0), (0, -3)])
def test_an_invalid_index_is_refused(index):
    trace = xor().trace(X, XOR)
    with pytest.raises(IndexError, match=r"one number in hidden/kernel, of shape \(2, 2\)"):
        trace.update("hidden/kernel", index)
    assert repr(trace.update("hidden/bias", np.int64(1))) == repr(trace.update("hidden/bias", 1))
