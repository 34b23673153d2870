"""Training from nothing on the page: with tinynet's numbers, in a worker; its weights in Python."""

import json
import re
import zlib
from base64 import b64decode

import numpy as np
import pytest
from arrays import assert_allclose, assert_array_equal
from networks import ONE_HOT, SPARSE, network, tutorial
from webpage import TRAINING, array, click, train

import tinynet
from tinynet import backend, initializers
from tinynet.datasets import digits
from tinynet.layers import Activation, Dense, Dropout, Flatten
from tinynet.optimizers import SGD, Adam
from tinynet.utils import to_categorical


def model_of_digits(*stack, loss=SPARSE, optimizer="adam"):
    stack = stack or ((16, "tanh"), (10, "softmax"))
    return network(Flatten(), *stack, inputs=(8, 8), loss=loss, optimizer=optimizer)


def export(model, path, x=None, y=None, **options):
    """Write the page of a model, with the embedded digits unless other samples are given."""
    if x is None:
        (x, y), _ = digits.load_data()
        x = x / np.float32(16)
    return tinynet.export_html(model, path / "page.html", (x, y), **options)


def data_of(path):
    return json.loads(re.search(r'id="data">(.*?)</script>', path.read_text("utf-8"))[1])


def rows_of(training):
    """Return the packed samples of a page as an array, before scaling."""
    packed = zlib.decompress(b64decode(training["x"]))
    values = np.frombuffer(packed, {"uint8": "u1", "float32": "<f4"}[training["type"]])
    return values.reshape(len(training["y"]), -1)


def weights_of(page):
    return array(page, "model.weights").astype("float32")


def vector(model):
    return np.concatenate([weight.ravel() for weight in model.get_weights()])


def with_weights(model, page):
    """Give a model the weights of a page whose layers all train."""
    numbers, start = weights_of(page), 0
    weights = []
    for weight in model.get_weights():
        weights.append(numbers[start : start + weight.size].reshape(weight.shape))
        start += weight.size
    model.set_weights(weights)


# The samples in the page


def test_samples_that_are_not_shown_are_packed_for_training(tmp_path):
    (x, y), _ = digits.load_data()
    model, x = model_of_digits(), np.repeat(x, 2, axis=0) / np.float32(16)
    x += np.arange(len(x), dtype="float32").reshape(-1, 1, 1) / 2**20  # no two are equal
    y = np.repeat(y, 2)
    state = backend.random.generator().bit_generator.state
    data = data_of(export(model, tmp_path, x, y))
    training, shown, rows = data["training"], data["samples"], rows_of(data["training"])
    assert backend.random.generator().bit_generator.state == state  # nobody's numbers are used up
    assert len(rows) == 1800
    assert training["train"] == 1500
    where = {row.tobytes(): number for number, row in enumerate(x.reshape(len(x), -1))}
    numbers = [where[row.tobytes()] for row in rows]
    assert len(set(numbers)) == 1800  # each is another sample, bit for bit
    assert_array_equal(y[numbers], training["y"])
    visible = np.frombuffer(b64decode(shown["x"]), "<f4").reshape(20, -1)
    assert not {where[row.tobytes()] for row in visible} & set(numbers)
    # Not in the order of the file, in which neighbours are by the same writer.
    assert np.mean(np.diff(numbers) == 1) < 0.01
    assert data == data_of(export(model, tmp_path, x, y))


@pytest.mark.parametrize(
    ("count", "train", "all_of_them"),
    [(1, 1, True), (4, 4, True), (99, 83, True), (100, 67, False), (600, 484, False)],
)
def test_few_samples_are_shared(tmp_path, rng, count, train, all_of_them):
    """With fewer than 80 beside those shown, these take part as well; a sixth is held out."""
    model = network((3, "tanh"), (2, "softmax"), inputs=(5,), loss=SPARSE)
    x = rng.normal(size=(count, 5)).astype("float32")
    training = data_of(export(model, tmp_path, x, np.arange(count) % 2))["training"]
    rows = rows_of(training)
    assert len(rows) == (count if all_of_them else count - 20)
    assert training["train"] == train
    assert {row.tobytes() for row in rows} <= {row.tobytes() for row in x}


@pytest.mark.parametrize(
    "y", [np.tile([0.25, 0.25, 0.5], (30, 1)), np.eye(3)[np.arange(30) % 3] * 2, np.ones((30, 3))]
)
def test_rows_that_are_not_one_hot_are_refused(tmp_path, y):
    """The page would take the largest of a row for its class, and train on something else."""
    model = network((3, "sigmoid"), inputs=(5,), loss="binary_crossentropy")
    with pytest.raises(ValueError, match="or one-hot rows of 3, received 30, with labels of shape"):
        export(model, tmp_path, np.zeros((30, 5), "float32"), y)


def test_samples_of_which_hardly_any_fit_are_only_shown(tmp_path, rng):
    model = network(Flatten(), (2, "softmax"), inputs=(120, 150, 3), loss=SPARSE)
    x = rng.normal(size=(40, 120, 150, 3)).astype("float32")
    assert data_of(export(model, tmp_path, x, np.arange(40) % 2))["training"] is None


def test_large_samples_are_as_many_as_fit(tmp_path, rng):
    model = network(Flatten(), (2, "softmax"), inputs=(30, 40, 3), loss=SPARSE)
    x = rng.normal(size=(300, 30, 40, 3)).astype("float32")
    path = export(model, tmp_path, x, np.arange(300) % 2)
    training = data_of(path)["training"]
    assert 20 < len(training["y"]) < 40  # of 14,400 bytes, which hardly can be compressed
    assert 350_000 < len(training["x"]) <= 400_000
    assert 0 < training["train"] < len(training["y"])


def test_a_sample_that_is_not_finite_is_refused_though_it_is_not_shown(tmp_path, rng):
    model = network((2, "softmax"), inputs=(5,), loss=SPARSE)
    x, y = rng.normal(size=(200, 5)).astype("float32"), np.arange(200) % 2
    for number in range(200):
        x[number, 0] = np.nan
        with pytest.raises(ValueError, match=r"finite samples.*Leave those out"):
            export(model, tmp_path, x, y)
        x[number, 0] = 0
    assert not (tmp_path / "page.html").exists()


def test_the_page_of_the_example_stays_below_1_2_megabytes(tmp_path, mnist):
    images, labels = mnist
    model = tutorial(loss=SPARSE)
    path = export(model, tmp_path, images[:10_000] / np.float32(255), labels[:10_000])
    training = data_of(path)["training"]
    assert (len(training["y"]), training["train"]) == (1800, 1500)
    assert path.stat().st_size < 1_200_000


# The first weights

INITIALIZERS = {
    "glorot_uniform": initializers.GlorotUniform,
    "he_normal": initializers.HeNormal,
    "lecun, by outputs": lambda: initializers.VarianceScaling(1, "fan_out", "truncated_normal"),
    "normal": lambda: initializers.VarianceScaling(2, "fan_in", "untruncated_normal"),
}


@pytest.mark.parametrize(
    "name",
    [
        "glorot_uniform",
        *(pytest.param(name, marks=pytest.mark.long) for name in [*INITIALIZERS][1:]),
    ],
)
def test_random_weights_are_drawn_as_by_the_layers_initializer(visit, tmp_path, name):
    start = INITIALIZERS[name]
    model = network(
        Dense(300, "relu", kernel_initializer=start()), (2, "softmax"), inputs=(80,), loss=SPARSE
    )
    model.set_weights([np.ones_like(weight) for weight in model.get_weights()])
    path = export(model, tmp_path, np.zeros((4, 80), "float32"), np.arange(4) % 2)
    page = visit(path)
    page.evaluate("beginRun(1)")
    found = array(page, "model.layers[0].kernel")
    expected = start()((80, 300))
    assert abs(found.mean()) < 4 * expected.std() / np.sqrt(found.size)
    assert found.std() == pytest.approx(expected.std(), rel=0.02)
    spread = found.std()
    for quantile in (0.02, 0.16, 0.3):
        low, other = np.quantile(found, quantile), np.quantile(expected, quantile)
        assert low / spread == pytest.approx(other / spread, abs=0.05)
    if name != "normal":
        assert abs(found).max() <= abs(expected).max() * 1.01
    assert_array_equal(array(page, "model.layers[0].bias"), np.zeros(300))
    # Not the same numbers in all layers, nor with another seed.
    second = array(page, "model.layers[1].kernel")
    assert abs(np.corrcoef(found[:600], second)[0, 1]) < 0.2
    page.evaluate("beginRun(2)")
    assert abs(np.corrcoef(found, array(page, "model.layers[0].kernel"))[0, 1]) < 0.05
    page.evaluate("beginRun(1)")
    assert_array_equal(array(page, "model.layers[0].kernel"), found)
    assert "From nothing" not in " ".join(data_of(path)["notes"])


class Own(initializers.VarianceScaling):
    def draw(self, shape):
        return np.ones(shape)


def test_the_page_says_which_layers_start_otherwise_than_in_python(tmp_path):
    layers = [
        Dense(3, kernel_initializer="random_normal", name="first"),
        Dense(3, kernel_initializer=Own(), name="second"),
        Dense(3, bias_initializer="ones", name="third"),
        Dense(3, bias_initializer="ones", use_bias=False, name="fourth"),
        Dense(3, kernel_initializer=lambda shape, dtype=None: np.ones(shape), name="fifth"),
        Dense(3, bias_initializer=initializers.Constant(0.5), name="sixth"),
        Dense(3, kernel_initializer="ones", name="frozen", trainable=False),
        Dense(2, "softmax", name="eighth"),
    ]
    model = network(*layers, inputs=(4,), loss=SPARSE)
    data = data_of(export(model, tmp_path, np.zeros((4, 4), "float32"), np.arange(4) % 2))
    assert [note.split()[2] for note in data["notes"]] == [
        "first",
        "second",
        "third",
        "fifth",
        "sixth",
    ]
    assert all("glorot_uniform and zeros" in note for note in data["notes"])
    starts = [layer["start"] for layer in data["layers"]]
    glorot = {"scale": 1.0, "mode": "fan_avg", "distribution": "uniform"}
    assert starts == [glorot] * 8
    page = tinynet.export_html(model, tmp_path / "page.html")  # on which nothing is trained
    assert data_of(page)["notes"] == []


# Steps and curves, in numbers

MODELS = {
    "Adam": lambda: model_of_digits(),
    "momentum": lambda: model_of_digits(
        (12, "relu"), Dropout(0.5), (10, "softmax"), optimizer=SGD(0.05, 0.9)
    ),
    "other pixels": lambda: model_of_digits((12, "tanh"), (10, "softmax")),
    "squares": lambda: model_of_digits((12, "sigmoid"), (10,), loss="mse", optimizer=Adam(0.01)),
    "yes or no": lambda: model_of_digits((1, "sigmoid"), loss="binary_crossentropy"),
    "activation layers": lambda: model_of_digits(
        Dense(12), Activation("relu"), Activation("tanh"), Dense(10), Activation("softmax"),
        loss=ONE_HOT,
    ),
}  # fmt: skip
RUN = """async ({ count, epochs }) => {
    const samples = await unpackSamples(model), run = { seed: 3, samples: count, steps: 0 };
    const settings = model.optimizers[0], optimizer = makeOptimizer(settings, model.trained);
    const orders = [], weights = [], points = [curvePoint(model, samples, run)];
    for (let epoch = 0; epoch < epochs; epoch++) {
        orders.push([...orderOf(run, epoch)]);
        for (let n = 0; n < batchesOf(run); n++) trainBatch(model, optimizer, samples, run);
        weights.push([...model.weights]);
        points.push(curvePoint(model, samples, run));
    }
    return JSON.stringify({ orders, weights, points });
}"""


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("Adam", "squares") else pytest.param(name, marks=pytest.mark.long)
        for name in MODELS
    ],
)
def test_epochs_are_those_of_fit_and_points_those_of_evaluate(visit, tmp_path, name):
    model, count = MODELS[name](), 150  # four batches of 32, and one of 22
    (x, y), _ = digits.load_data()
    brightest = 2 if name == "other pixels" else 1
    x = x[:300] / np.float32(16 / brightest)
    y = y[:300] if model.output_shape[-1] == 10 else (y[:300] > 4) * 1
    path = export(model, tmp_path, x, y, brightest=brightest)
    page, training = visit(path), data_of(path)["training"]
    page.evaluate("beginRun(3)")
    with_weights(model, page)
    found = json.loads(page.evaluate(RUN, {"count": count, "epochs": 3}))
    x, y = rows_of(training).reshape(-1, 8, 8), np.array(training["y"])
    targets = y if y.max() < 2 or model.loss == SPARSE else to_categorical(y, 10)
    for layer in model.layers:
        if isinstance(layer, Dropout):
            layer.rate = 0  # the page leaves dropout out
    held = slice(training["train"], None)
    model.compile(model.optimizer, model.loss, metrics=["acc"])

    def point():
        pairs = [
            model.evaluate(x[some], targets[some], verbose=0) for some in (slice(0, count), held)
        ]
        return [number for pair in pairs for number in pair]

    expected = [point()]
    for order, weights in zip(found["orders"], found["weights"], strict=True):
        assert sorted(order) == list(range(count))
        model.fit(x[order], targets[order], batch_size=32, shuffle=False, verbose=0)
        assert_allclose(np.float32(weights), vector(model), atol=1e-5)
        expected.append(point())
    assert len({tuple(order) for order in found["orders"]}) == 3
    for point, numbers in zip(found["points"], expected, strict=True):
        both = [point[of][key] for of in ("training", "held") for key in ("loss", "accuracy")]
        assert both == pytest.approx(numbers, abs=1e-5)
    assert [point["epoch"] for point in found["points"]] == [0, 1, 2, 3]


@pytest.mark.long
def test_numbers_between_0_and_1_are_neither_right_nor_wrong(visit, tmp_path, rng):
    model = model_of_digits((1, "sigmoid"), loss="binary_crossentropy")
    x = rng.uniform(size=(100, 8, 8)).astype("float32")
    page = visit(export(model, tmp_path, x, rng.uniform(size=100)))
    click(page, TRAINING)
    train(page, 3)
    point = page.evaluate("learning.run.points.at(-1)")
    assert (point["training"]["accuracy"], point["held"]["accuracy"]) == (None, None)
    assert page.locator("#curves figure").last.is_hidden()


TWIN = """async ({ count, seed, steps }) => {
    const samples = await unpackSamples(model), run = { seed, samples: count, steps: 0 };
    const twin = readModel(JSON.parse($("data").textContent));
    randomize(twin, seed);
    const optimizer = makeOptimizer(model.optimizers[0], twin.trained);
    optimizer.learning_rate = 0.001;
    while (run.steps < steps) trainBatch(twin, optimizer, samples, run);
    return JSON.stringify([...twin.weights]);
}"""


def test_a_seed_gives_the_same_weights_however_often_it_was_paused(visit, tmp_path):
    page = visit(export(model_of_digits(), tmp_path))
    click(page, TRAINING)
    count = page.evaluate("model.training.train")
    # The page itself computes nothing of this: another thread does, from the page's text.
    page.evaluate("() => { window.own = trainBatch; trainBatch = null; curvePoint = null; }")
    train(page, 1)
    for _ in range(4):
        click(page, "#train")
        page.wait_for_function(
            "steps => learning.run.steps > steps", arg=page.evaluate("learning.run.steps")
        )
        click(page, "#train")
        assert not page.evaluate("isRunning()")
    for speed in ("1", "10", "Infinity"):
        page.locator("#speed").select_option(speed)
        click(page, "#batch")
        page.wait_for_function("() => !training.running")
    steps = page.evaluate("learning.run.steps")
    train(page, 100 + 7)
    assert page.evaluate("learning.run.steps") == steps + 107
    assert page.evaluate("learning.optimizer.t") == steps + 107
    assert page.evaluate("learning.run.points.at(-1).epoch") == pytest.approx(
        (steps + 107) / np.ceil(count / 32)
    )
    page.evaluate("() => { trainBatch = own; }")
    twin = json.loads(page.evaluate(TWIN, {"count": count, "seed": 1, "steps": steps + 107}))
    assert_array_equal(weights_of(page), np.float32(twin))


@pytest.mark.long
def test_a_network_learns_from_nothing_in_seconds(visit, tmp_path):
    """Also learns what it was never shown; chance alone is right in a tenth of the cases."""
    model = model_of_digits((32, "relu"), (10, "softmax"))
    page = visit(export(model, tmp_path))
    train(page, 1)
    first = page.evaluate("learning.run.points[0]")
    assert first["held"]["accuracy"] < 0.3
    assert first["training"]["loss"] > 2
    train(page, 1000)
    last = page.evaluate("learning.run.points.at(-1)")
    assert last["held"]["accuracy"] > 0.92
    assert last["training"]["accuracy"] > 0.97


@pytest.mark.long
def test_mnist_is_learned_from_nothing(visit, digits_page):
    """86 % of the digits held out after 20 epochs, which take about eight seconds on two cores."""
    page = visit(digits_page)
    page.evaluate("goOn(20 * 47)")
    page.wait_for_function("() => !training.running", timeout=120_000)
    assert page.evaluate("learning.run.points.at(-1).epoch") == 20
    assert page.evaluate("learning.run.points.at(-1).held.accuracy") > 0.86
