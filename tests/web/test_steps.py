"""The page's own network, run in a real browser: its numbers are tinynet's, step by step.

The page's loss and optimizers, and what it says where they differ from the model's, are here too.
"""

import itertools
import json
import re

import numpy as np
import pytest
from arrays import assert_allclose, assert_array_equal
from networks import ONE_HOT, SPARSE, network

import tinynet
from tinynet import losses, optimizers
from tinynet.layers import Activation, Dense, Dropout, Flatten
from tinynet.optimizers import SGD, Adam
from tinynet.web import encode_base64
from tinynet.web.learning import describe_learning, describe_optimizer

BINARY, SQUARES = "binary_crossentropy", "mean_squared_error"
MARKS = 1, 10, 100  # the numbers of steps after which the weights are compared


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    """A page whose functions are used for the networks of many other pages."""
    model = network((1,), inputs=(1,))
    path = tinynet.export_html(model, tmp_path_factory.mktemp("page") / "page.html")
    opened = browser.new_page()
    opened.goto(path.as_uri())
    yield opened
    opened.close()


@pytest.fixture
def run(page, tmp_path):
    """Return a function that runs JavaScript with the `model` of the page of a model.

    The script is a function of `given`. In its result, infinities are text.
    """

    def result(model, script, given=None):
        html = tinynet.export_html(model, tmp_path / "page.html").read_text("utf-8")
        data = json.loads(re.search(r'id="data">(.*?)</script>', html)[1])
        keep = "(key, value) => (Math.abs(value) === Infinity ? String(value) : value)"
        text = "const model = readModel(data); return JSON.stringify(({})(given), {});"
        program = f"([data, given]) => {{ {text.format(script, keep)} }}"
        return json.loads(page.evaluate(program, [data, given]))

    return result


def packed(*arrays):
    """Return arrays as text, which `floatsOf` reads on the page."""
    return [encode_base64(np.asarray(array), "float32") for array in arrays]


# Models, and batches for them


def mixed(*stack, loss, optimizer="adam"):
    """Return a compiled network of small images, with biases that are not 0."""
    model = network(Flatten(), *stack, inputs=(6, 6))
    rng = np.random.default_rng(4)
    for weight in model.weights:
        if weight.ndim == 1:
            weight[...] = rng.normal(scale=0.3, size=weight.shape)
    model.compile(optimizer, loss)
    return model


def frozen(layer):
    layer.trainable = False
    return layer


def whole_model_frozen():
    model = mixed((7, "tanh"), (5, "softmax"), loss=ONE_HOT)
    model.trainable = False
    model.compile("adam", ONE_HOT)
    return model


# Together, these have every activation inside and at the end, every loss, and every optimizer.
CASES = {
    "sigmoid and tanh": lambda: mixed(
        (12, "sigmoid"), (8, "tanh"), (5, "softmax"), loss=ONE_HOT
    ),
    "relu and linear": lambda: mixed(
        (12, "relu"), (8, "linear"), (5, "softmax"), loss=ONE_HOT, optimizer=SGD(0.1)
    ),
    "class numbers": lambda: mixed(
        (12, "tanh"), (8, "relu"), (5, "softmax"), loss=SPARSE, optimizer=SGD(0.1, 0.9)
    ),
    "squares": lambda: mixed(
        (12, "sigmoid"), (5,), loss=SQUARES, optimizer=SGD(0.05, 0.9, nesterov=True)
    ),
    "squares of probabilities": lambda: mixed(
        (12, "relu"), (8, "tanh"), (5, "softmax"), loss=SQUARES, optimizer=Adam(0.01, 0.8, 0.99)
    ),
    "squares on tanh": lambda: mixed((9, "relu"), (3, "tanh"), loss=SQUARES),
    "several yes or no": lambda: mixed(
        (12, "tanh"), (3, "sigmoid"), loss=BINARY, optimizer=Adam(0.01, epsilon=1e-3)
    ),
    "one yes or no": lambda: mixed((12, "relu"), (1, "sigmoid"), loss=BINARY, optimizer=SGD(0.2)),
    "logits": lambda: mixed(
        (12, "tanh"), (5,), loss=losses.CategoricalCrossentropy(from_logits=True)
    ),
    "logits, yes or no": lambda: mixed(
        (12, "tanh"), (3,), loss=losses.BinaryCrossentropy(from_logits=True), optimizer=SGD(0.2)
    ),
    "without bias": lambda: mixed(
        (12, "sigmoid", False), (8, "tanh"), (5, "softmax", False), loss=ONE_HOT
    ),
    "activation layers": lambda: mixed(
        Activation("tanh"), (12,), Activation("relu"), Activation("sigmoid"), (8, "softmax"),
        (5, "relu"), Activation("softmax"), loss=ONE_HOT, optimizer=SGD(0.1, 0.9),
    ),
    "activation layers, squares": lambda: mixed(
        (12,), Activation("tanh"), (3, "sigmoid"), Activation("tanh"), loss=SQUARES
    ),
    "frozen layers": lambda: mixed(
        frozen(Dense(12, "tanh")), (8, "relu"), frozen(Dense(6, "sigmoid")), (5, "softmax"),
        loss=ONE_HOT, optimizer=Adam(0.01),
    ),
    "all frozen": whole_model_frozen,
}  # fmt: skip
case = pytest.mark.parametrize("model", CASES.values(), ids=CASES)


def batches_for(model, rng, sizes=(7, 1, 4)):
    """Return batches of images with many zeros, each with targets, and with those of the page."""
    loss, units, batches = model.loss_object, model.output_shape[-1], []
    for size in sizes:
        x = rng.uniform(size=(size, 6, 6)) * (rng.uniform(size=(size, 6, 6)) > 0.6)
        labels = rng.integers(0, units, size)
        y = targets = np.eye(units)[labels]
        if isinstance(loss, losses.SparseCategoricalCrossentropy):
            y = labels
        elif isinstance(loss, losses.BinaryCrossentropy):
            y = targets = rng.choice([0, 1, 1, 0.3], size=(size, units))
        elif isinstance(loss, losses.MeanSquaredError):
            y = targets = rng.normal(size=(size, units))
        else:  # some samples in shares of several classes
            shares = rng.dirichlet(np.ones(units), size)
            y = targets = np.where(rng.uniform(size=(size, 1)) < 0.5, targets, shares)
        batches.append(tuple(array.astype("float32") for array in (x, y, targets)))
    return batches


# Steps

STEPS = """({ batches, marks }) => {
    const optimizer = makeOptimizer(model.optimizers[0], model.trained), losses = [], weights = [];
    const parts = model.layers.flatMap(({ kernel, bias }) => [kernel, bias]).filter((w) => w);
    const read = batches.map((batch) => batch.map((text) => floatsOf(bytesOf(text), "float32")));
    for (let n = 1; n <= marks.at(-1); n++) {
        const [x, y] = read[(n - 1) % read.length], passes = forward(model, x);
        const { loss, delta } = lossOf(model, passes.at(-1), y);
        backward(model, passes, delta);
        takeStep(optimizer, model);
        losses.push(loss);
        if (marks.includes(n)) weights.push(parts.map((part) => [...part]));
    }
    return { losses, weights };
}"""


def take_steps(run, model, batches):
    """Take the same steps with the model and on its page.

    Return the largest difference of a weight after each of MARKS, that of a loss, and the page's
    weights. `batches` are triples as of `batches_for`.
    """
    given = {"batches": [packed(x, targets) for x, _, targets in batches], "marks": MARKS}
    result = run(model, STEPS, given)
    apart, ours = [], []
    for step in range(MARKS[-1]):
        x, y, _ = batches[step % len(batches)]
        ours.append(model.train_on_batch(x, y))
        if step + 1 in MARKS:
            pairs = zip(model.get_weights(), result["weights"][len(apart)], strict=True)
            apart.append(max(abs(one.ravel() - other).max() for one, other in pairs))
    return apart, abs(np.subtract(ours, result["losses"])).max(), result["weights"][-1]


@case
def test_weights_after_1_10_and_100_steps_are_those_of_training(run, rng, model):
    model = model()
    before = model.get_weights()
    apart, loss_apart, weights = take_steps(run, model, batches_for(model, rng))
    assert max(*apart, loss_apart) < 1e-5
    trains = [model.trainable and layer.trainable for layer in model.layers for _ in layer.weights]
    for old, new, moves in zip(before, weights, trains, strict=True):
        moved = abs(old.ravel() - new).max()
        assert moved > 1e-3 if moves else moved == 0


@pytest.mark.long
def test_the_tutorials_network_takes_the_same_100_steps_on_mnist(run, mnist):
    """Print the largest differences as a table.

    With relu, a sum within rounding errors of 0 could turn a unit on in one of the two only; from
    this seed, this does not happen.
    """
    images, labels = mnist[0][:3200] / np.float32(255), mnist[1][:3200]
    one_hot = np.eye(10, dtype="float32")[labels]
    batches = [(images[n : n + 32], *2 * [one_hot[n : n + 32]]) for n in range(0, 3200, 32)]
    kinds = ((ONE_HOT, "softmax"), (SQUARES, "softmax"), (SQUARES, "linear"))
    worst = 0
    print(f"\n| hidden | output | loss | optimizer | {' | '.join(map(str, MARKS))} | in the loss |")
    for hidden in ("sigmoid", "tanh", "relu", "linear"):
        for (loss, output), kind in itertools.product(kinds, (Adam, SGD)):
            tinynet.utils.set_random_seed(5)
            stack = Flatten(), (100, hidden), (144, hidden), (10, output)
            model = network(*stack, inputs=(28, 28), loss=loss, optimizer=kind())
            apart, loss_apart, _ = take_steps(run, model, batches)
            sizes = " | ".join(f"{size:.1e}" for size in (*apart, loss_apart))
            print(f"| {hidden} | {output} | {loss} | {kind.__name__} | {sizes} |")
            worst = max(worst, *apart, loss_apart)
    assert worst < 1e-5


# Optimizers alone: steps are so small that a wrong digit of one changes no weight by 1e-5.

OPTIMIZERS = {
    "Adam": Adam(),
    "Adam, shorter means": Adam(0.1, beta_1=0.5, beta_2=0.9),
    "Adam, large ε": Adam(0.01, beta_1=0, epsilon=1e-3),
    "SGD": SGD(),
    "momentum": SGD(0.1, 0.9),
    "Nesterov": SGD(0.1, 0.9, nesterov=True),
    "Nesterov without momentum": SGD(0.1, nesterov=True),
}
ALONE = """({ settings, gradients }) => {
    const read = gradients.map((text) => floatsOf(bytesOf(text), "float32"));
    const weights = read[0].map(() => 0);
    const trained = weights.length - 1, optimizer = makeOptimizer(settings, trained);
    return read.map((gradient) => {
        takeStep(optimizer, { weights, gradient });
        return [...weights];
    });
}"""


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_an_optimizer_takes_the_same_steps_to_six_digits(run, rng, optimizer):
    gradients = (10 ** rng.uniform(-9, 3, 40) * rng.uniform(0.5, 2, (8, 40))).astype("float32")
    given = {"settings": describe_optimizer(optimizer)[0], "gradients": packed(*gradients)}
    result = np.array(run(network((1,), inputs=(1,)), ALONE, given))
    assert not result[:, -1].any()  # it is not one of those that are trained
    weights = np.zeros(39, "float32")
    for gradient, ours in zip(gradients, result, strict=True):
        optimizer.apply_gradients([(gradient[:-1], weights)])
        assert_allclose(ours[:-1], weights, rtol=1e-6)


# Gradients

GRADIENTS = """({ batch, off = [] }) => {
    for (const [layer, unit] of off) model.layers[layer].off.add(unit);
    const [x, y] = batch.map((text) => floatsOf(bytesOf(text), "float32"));
    const passes = forward(model, x);
    const { losses, loss, delta } = lossOf(model, passes.at(-1), y);
    const deltas = backward(model, passes, delta);
    const list = (array) => (array ? [...array] : null);
    const layers = model.layers.map((layer, l) => ({
        name: layer.name, z: list(passes[l].z), a: list(passes[l].a), delta: list(deltas[l]),
        kernel: list(layer.kernelGradient), bias: list(layer.biasGradient),
    }));
    return { losses, loss, layers };
}"""


@case
def test_gradients_deltas_and_losses_are_those_of_a_trace(run, rng, model):
    model = model()
    for x, y, targets in batches_for(model, rng, sizes=(1, 4)):
        trace = model.trace(x, y)
        result = run(model, GRADIENTS, {"batch": packed(x, targets)})
        assert_allclose(result["losses"], trace.losses, rtol=1e-6, atol=1e-6)
        assert_allclose(result["loss"], trace.loss, rtol=1e-6, atol=1e-6)
        assert_allclose(result["layers"][-1]["a"], trace.output.ravel(), atol=1e-6)
        compared = set()
        for layer in result["layers"]:
            traced = trace[layer["name"]]
            assert_allclose(layer["delta"], traced["δ"].ravel(), atol=1e-6)
            if layer["kernel"]:
                assert_allclose(layer["z"], traced["z"].ravel(), rtol=1e-6, atol=1e-6)
            for name in ("kernel", "bias"):
                path = f"{layer['name']}/{name}"
                if path in trace.weights:
                    assert_allclose(layer[name], trace.weights[path][1].ravel(), atol=1e-6)
                    compared.add(path)
        assert compared == trace.weights.keys()


@pytest.mark.parametrize("kind", [losses.BinaryCrossentropy, losses.MeanSquaredError])
def test_every_reduction_is_the_same_for_a_single_sample(run, kind):
    model = network((3, "sigmoid"), inputs=(4,), loss=kind(reduction="sum"))
    x, y = np.array([[1, -1, 0, 2]], "float32"), np.eye(3, dtype="float32")[:1]
    (layer,) = run(model, GRADIENTS, {"batch": packed(x, y)})["layers"]
    assert_allclose(layer["delta"], model.trace(x, y)[0]["δ"].ravel(), atol=1e-6)


@pytest.mark.parametrize(("output", "loss"), [("softmax", ONE_HOT), ("sigmoid", BINARY)])
def test_the_loss_of_sums_of_which_the_exponential_would_be_infinite_or_zero(run, output, loss):
    weights = [np.eye(4), np.zeros(4)]  # so that z = x
    model = network((4, output), inputs=(4,), weights=weights, loss=loss)
    x = np.array([[1000, -1000, 0, 3], [-800, -850, -900, -799.5]], "float32").repeat(4, axis=0)
    y = np.tile(np.eye(4, dtype="float32"), (2, 1))
    trace, result = model.trace(x, y), run(model, GRADIENTS, {"batch": packed(x, y)})
    assert trace.losses.max() >= 500
    assert_allclose(result["losses"], trace.losses, rtol=1e-6)
    assert_allclose(result["layers"][0]["delta"], trace[0]["δ"].ravel(), atol=1e-6)


# Units that are off

OFF = {
    "hidden": (((9, "sigmoid"), (8, "tanh"), (5, "softmax")), ONE_HOT, [(0, 3), (0, 8), (1, 2)]),
    "softmax inside": (((9, "relu"), (8, "softmax"), (5,)), SQUARES, [(0, 0), (1, 2), (1, 3)]),
    "softmax": (((9, "linear"), (5, "softmax")), ONE_HOT, [(0, 1), (1, 4), (1, 0)]),
    "sigmoid": (((9, "tanh"), (3, "sigmoid")), BINARY, [(1, 2)]),
    "linear": (((9, "tanh"), (3,)), SQUARES, [(1, 1)]),
    "softmax, squares": (((9, "tanh"), (3, "softmax")), SQUARES, [(1, 1)]),
    "activation layer": (((9, "relu"), Activation("sigmoid"), (4,)), SQUARES, [(1, 3), (1, 5)]),
}


@pytest.mark.parametrize(("stack", "loss", "off"), OFF.values(), ids=OFF)
def test_a_unit_that_is_off_outputs_zero_and_learns_nothing(run, rng, stack, loss, off):
    """The rest is as in a twin in which the incoming weights let the unit output 0.

    A unit of an activation layer has none; in this case, its outgoing weights are 0.
    """
    model = mixed(*stack, loss=loss)
    ((x, y, _),) = batches_for(model, rng, sizes=(6,))
    for layer, unit in off:
        if layer == len(stack) - 1:  # it is right to be off: otherwise the loss would be infinite
            y[:, unit] = 0
    if loss == ONE_HOT:
        y[y.sum(axis=1) == 0, 2] = 1
        y /= y.sum(axis=1, keepdims=True)
    result = run(model, GRADIENTS, {"batch": packed(x, y), "off": off})
    twin = mixed(*stack, loss=loss)
    twin.set_weights(model.get_weights())
    silent = []  # the parts of the twin's gradients that are 0 on the page
    for number, unit in off:
        layer, shown = twin.layers[number + 1], result["layers"][number]
        for name in ("a", "delta"):
            assert not np.reshape(shown[name], (len(x), -1))[:, unit].any()
        if isinstance(layer, Dense):
            never_0 = layer.activation in (tinynet.activations.sigmoid, tinynet.activations.softmax)
            layer.kernel[:, unit], layer.bias[unit] = 0, -1e4 * never_0
            silent += [(f"{layer.name}/kernel", np.s_[:, unit]), (f"{layer.name}/bias", unit)]
        else:
            after = twin.layers[number + 2]
            after.kernel[unit] = 0
            silent.append((f"{after.name}/kernel", unit))
    trace = twin.trace(x, y)
    assert_allclose(result["losses"], trace.losses, rtol=1e-6, atol=1e-6)
    assert_allclose(result["layers"][-1]["a"], trace.output.ravel(), atol=1e-6)
    expected = {path: gradient for path, (_, gradient, _) in trace.weights.items()}
    for path, place in silent:
        expected[path][place] = 0
    found = [layer[name] for layer in result["layers"] for name in ("kernel", "bias")]
    found = [gradient for gradient in found if gradient is not None]
    for gradient, ours in zip(expected.values(), found, strict=True):
        assert_allclose(ours, gradient.ravel(), atol=1e-6)


@pytest.mark.parametrize(("output", "loss"), [("softmax", ONE_HOT), ("sigmoid", BINARY)])
def test_the_loss_is_infinite_if_the_true_class_is_off(run, output, loss):
    model = network((3, output), inputs=(2,), loss=loss)
    batch, off = packed(np.ones((2, 2)), [[0, 1, 0], [0, 0, 1]]), [[0, 1]]
    result = run(model, GRADIENTS, {"batch": batch, "off": off})
    assert result["losses"][0] == result["loss"] == "Infinity"
    assert isinstance(result["losses"][1], float)


def test_a_softmax_of_which_every_unit_is_off_outputs_zeros(run):
    model = network((3, "softmax"), inputs=(2,), loss=ONE_HOT)
    given = {"batch": packed(np.ones((2, 2)), np.eye(3)[:2]), "off": [[0, 0], [0, 1], [0, 2]]}
    result = run(model, GRADIENTS, given)
    assert np.isfinite(result["loss"])
    (layer,) = result["layers"]
    for name in ("a", "delta", "kernel", "bias"):
        assert_array_equal(layer[name], np.zeros(len(layer[name])))


def test_a_temperature_is_that_of_the_last_softmax(run):
    weights = [np.eye(4), np.zeros(4), np.eye(4)[:, :3], np.zeros(3)]
    model = network((4, "softmax"), (3, "softmax"), inputs=(4,), weights=weights)
    x = np.array([1.0, 2.0, 3.0, -1.0])
    script = "([x, t]) => forward(model, x, t).map(({ a }) => [...a])"
    below, top = run(model, script, [x.tolist(), 2])
    assert_allclose(below, np.exp(x) / np.exp(x).sum(), rtol=1e-6)
    powers = np.exp(np.array(below[:3]) / 2)
    assert_allclose(top, powers / powers.sum(), rtol=1e-6)


# Weights

LAYOUT = """() => ({
    trained: model.trained,
    total: [model.weights.length, model.gradient.length],
    kinds: [model.weights.constructor.name, model.gradient.constructor.name],
    parts: model.layers.flatMap((layer) => ["kernel", "bias"].map((name) => {
        const part = layer[name], gradient = layer[`${name}Gradient`];
        return part === null ? null : {
            values: [...part],
            trains: layer.trains,
            start: part.byteOffset / 4,
            alike: part.length === gradient.length && part.byteOffset === gradient.byteOffset,
            shared: part.buffer === model.weights.buffer
                && gradient.buffer === model.gradient.buffer,
        };
    })),
})"""


@case
def test_all_weights_are_parts_of_one_vector_with_frozen_ones_last(run, model):
    model = model()
    result = run(model, LAYOUT)
    assert result["total"] == [model.count_params()] * 2
    assert result["kinds"] == ["Float32Array"] * 2
    parts = [part for part in result["parts"] if part is not None]
    for part, weight in zip(parts, model.weights, strict=True):
        assert part["shared"]
        assert part["alike"]
        assert_array_equal(part["values"], weight.ravel())
    trains = [model.trainable and layer.trainable for layer in model.layers for _ in layer.weights]
    assert [part["trains"] for part in parts] == trains
    ordered = sorted(parts, key=lambda part: not part["trains"])  # otherwise as in the model
    ends = np.cumsum([0, *(len(part["values"]) for part in ordered)]).tolist()
    assert [part["start"] for part in ordered] == ends[:-1]
    assert result["trained"] == ends[sum(trains)]


# What the page learns with, and what it says


class MyLoss(losses.MeanSquaredError):
    """A loss that the page cannot know."""


class MyAdam(Adam):
    """An optimizer that the page cannot know."""


CROSS, YES_NO = losses.CategoricalCrossentropy, losses.BinaryCrossentropy
FALLING = optimizers.schedules.ExponentialDecay(0.2, 10, 0.5)
USUAL_ADAM = {"name": "Adam", "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
USUAL_SGD = {"name": "SGD", "momentum": 0.0, "nesterov": False}
# For each case: the last layers, how the model is compiled, the page's loss, its first optimizer
# (its name, or also settings), and its notes.
LEARNING = {
    "not compiled, softmax": ("softmax", None, ONE_HOT, "Adam", ["not compiled: the page chose"]),
    "not compiled, sigmoid": ("sigmoid", None, BINARY, "Adam", ["not compiled"]),
    "not compiled, relu": ("relu", None, SQUARES, "Adam", ["not compiled"]),
    "cross-entropy": ("softmax", (ONE_HOT, "adam"), ONE_HOT, "Adam", []),
    "class numbers": ("softmax", (SPARSE, "sgd"), ONE_HOT, "SGD", []),
    "yes or no": ("sigmoid", (BINARY, Adam()), BINARY, "Adam", []),
    "squares": ("tanh", (SQUARES, "adam"), SQUARES, "Adam", []),
    "logits": (None, (CROSS(from_logits=True), "adam"), ONE_HOT, "Adam", []),
    "logits of yes or no": (None, (YES_NO(from_logits=True), "adam"), BINARY, "Adam", []),
    "a sum": ("softmax", (CROSS(reduction="sum"), "adam"), ONE_HOT, "Adam", []),
    "a named loss": ("softmax", (CROSS(name="mine"), Adam(name="my")), ONE_HOT, "Adam", []),
    "Adam's settings": (
        "softmax", (ONE_HOT, Adam(np.float32(0.5), np.float32(0.5), np.float64(0.25), 0.125)),
        ONE_HOT, {"learning_rate": 0.5, "beta_1": 0.5, "beta_2": 0.25, "epsilon": 0.125}, [],
    ),
    "SGD's settings": (
        "softmax", (ONE_HOT, SGD(0.25, np.float32(0.5), nesterov=np.bool_(True))),
        ONE_HOT, {"name": "SGD", "learning_rate": 0.25, "momentum": 0.5, "nesterov": True}, [],
    ),
    "RMSprop": ("softmax", (ONE_HOT, "rmsprop"), ONE_HOT, "Adam", ["RMSprop: the page has Adam"]),
    "my Adam": ("softmax", (ONE_HOT, MyAdam()), ONE_HOT, "Adam", ["with MyAdam: the page has"]),
    "amsgrad": (
        "softmax", (ONE_HOT, Adam(amsgrad=True, clipnorm=1.0)), ONE_HOT, "Adam",
        ["The page's Adam has no amsgrad=True, clipnorm=1.0."],
    ),
    "weight decay": (
        "softmax", (ONE_HOT, SGD(weight_decay=0.004)), ONE_HOT, "SGD", ["no weight_decay=0.004."]
    ),
    "a schedule": (
        "softmax", (ONE_HOT, SGD(FALLING, clipvalue=2.0)), ONE_HOT,
        {"name": "SGD", "learning_rate": 0.1}, ["no learning-rate schedule, clipvalue=2.0."],
    ),
    "a function as learning rate": (
        "softmax", (ONE_HOT, Adam(lambda: 0.25)), ONE_HOT, {"learning_rate": 0.25},
        ["The page's Adam has no learning-rate schedule."],
    ),
    "dropout and a regularizer": (
        lambda: [
            Dropout(0.5, name="drop"), Dropout(0), Dense(3, "softmax", kernel_regularizer="l2")
        ],
        (ONE_HOT, "rmsprop"), ONE_HOT, "Adam",
        ["RMSprop", "leave out the dropout of drop.", "leave out the regularizer of dense."],
    ),
    "frozen": (lambda: [frozen(Dense(3, "softmax"))], (ONE_HOT, "adam"), ONE_HOT, "Adam", []),
    "label smoothing": (
        "softmax", (CROSS(label_smoothing=0.25), "adam"), None, None,
        ["The page's CategoricalCrossentropy has no label_smoothing=0.25."],
    ),
    "a class to ignore": (
        "softmax", (losses.SparseCategoricalCrossentropy(ignore_class=0), "adam"), None, None,
        ["The page's SparseCategoricalCrossentropy has no ignore_class=0."],
    ),
    "absolute error": ("softmax", ("mae", "adam"), None, None, ["not with MeanAbsoluteError."]),
    "my loss": ("softmax", (MyLoss(), "adam"), None, None, ["not with MyLoss."]),
    "cross-entropy of sigmoids": (
        "sigmoid", (ONE_HOT, "adam"), None, None,
        ["CategoricalCrossentropy needs softmax outputs; those of this model are sigmoid."],
    ),
    "yes or no of softmax": (
        "softmax", (BINARY, "adam"), None, None,
        ["BinaryCrossentropy needs sigmoid outputs; those of this model are softmax."],
    ),
    "logits of softmax": (
        "softmax", (CROSS(from_logits=True), "adam"), None, None,
        [r"Crossentropy\(from_logits=True\) needs linear outputs; .* this model are softmax."],
    ),
}  # fmt: skip


def learning_model(last, compiled):
    stack = last() if callable(last) else [(3, last)]
    model = network(Flatten(), Dense(4, "tanh", name="below"), *stack, inputs=(6, 6))
    if compiled:
        loss, optimizer = compiled
        model.compile(optimizer, loss)
    return model


learning = pytest.mark.parametrize(
    ("last", "compiled", "loss", "first", "words"), LEARNING.values(), ids=LEARNING
)


@pytest.mark.parametrize(
    "optimizer", [Adam(), SGD(momentum=0.5), SGD()], ids=["adam", "momentum", "sgd"]
)
def test_the_page_says_that_an_optimizer_starts_anew(optimizer):
    model = learning_model("softmax", (ONE_HOT, optimizer))
    assert describe_learning(model, "softmax")["notes"] == []
    model.train_on_batch(np.ones((2, 6, 6), "float32"), np.eye(3, dtype="float32")[:2])
    notes = describe_learning(model, "softmax")["notes"]
    kind, remembers = type(optimizer).__name__, bool(optimizer.slots)
    words = f"The page's {kind} has no memory of the steps in Python."
    assert notes == [words] * remembers


@learning
def test_the_page_says_what_it_learns_with(run, last, compiled, loss, first, words):
    model = learning_model(last, compiled)
    if model.compiled and model.optimizer.set_rate is FALLING:
        model.optimizer.iterations = 10  # the rate has halved
    result = run(model, "() => [model.loss, model.optimizers, model.notes]")
    assert result == list(describe_learning(model, model.layers[-1].activation.__name__).values())
    assert result[0] == loss
    assert len(result[2]) == len(words)
    assert all(map(re.search, words, result[2]))
    if loss is None:
        assert result[1] == []
        return
    begun, other = result[1]
    given = first if isinstance(first, dict) else {"name": first}
    usual, rest = USUAL_ADAM | {"learning_rate": 0.001}, USUAL_SGD | {"learning_rate": 0.01}
    if given.get("name") == "SGD":
        usual, rest = rest, usual
    assert begun == {key: pytest.approx(value) for key, value in (usual | given).items()}
    assert other == {key: pytest.approx(value) for key, value in rest.items()}


def test_to_describe_a_model_leaves_the_names_of_later_optimizers_alone():
    names = []
    for compiled in (None, (ONE_HOT, "rmsprop"), (ONE_HOT, "adam")):
        tinynet.utils.clear_session()
        model = learning_model("softmax", compiled)
        describe_learning(model, "softmax")
        names.append(Adam().name)
    assert names == ["adam", "adam", "adam_1"]


@pytest.mark.parametrize(
    ("last", "compiled"),
    [("softmax", ("mae", "adam")), ("softmax", (ONE_HOT, SGD(FALLING, clipvalue=2.0)))],
    ids=["without loss", "with notes"],
)
def test_the_page_opens_whatever_it_learns_with(visit, tmp_path, last, compiled):
    """`visit` asserts that it has no errors."""
    page = visit(tinynet.export_html(learning_model(last, compiled), tmp_path / "page.html"))
    assert page.evaluate("model.notes.length") == 1


@pytest.mark.long
@learning
def test_every_such_page_opens(visit, tmp_path, last, compiled, loss, first, words):
    page = visit(tinynet.export_html(learning_model(last, compiled), tmp_path / "page.html"))
    assert page.evaluate("model.loss") == loss
