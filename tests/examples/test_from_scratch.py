"""`examples/from_scratch.py`: a page of NumPy that computes the same numbers as tinynet and Keras.

The bounds on the weights were checked by breaking the program. Measured differences, for several
seeds: up to 1.2e-7 after 100 steps, and up to 1.8e-6 after an epoch. With α in float64 the weights
differ by 7e-7 to 1e-6 after 100 steps, which is within the bound; Adam is therefore also tested
alone, with a narrower bound.
"""

import re
import sys
from unittest import mock

import numpy as np
import pytest
from conftest import ROOT
from networks import ONE_HOT, network

import tinynet
from tinynet.datasets import digits

PROGRAM = ROOT / "examples" / "from_scratch.py"


@pytest.fixture
def scratch(monkeypatch):
    """The program as a module."""
    monkeypatch.syspath_prepend(PROGRAM.parent)
    import from_scratch

    return from_scratch


def as_data(images, labels, white):
    x = images.reshape(len(images), -1).astype("float32") / white
    return x, np.eye(10, dtype="float32")[labels]


@pytest.fixture(scope="module")
def small():
    (images, labels), _ = digits.load_data()
    return as_data(images, labels, 16)


@pytest.fixture
def large(mnist):
    return as_data(*mnist, 255)


def train_both(scratch, x, y, order, bound):
    """Train on the samples in `order` with the program and with tinynet, and compare both."""
    weights = scratch.initial_weights((x.shape[1], 100, 144, 10), np.random.default_rng(1))
    optimizer, stack = scratch.Adam(weights), [(100, "sigmoid"), (144, "sigmoid"), (10, "softmax")]
    given = {"weights": weights, "loss": ONE_HOT, "metrics": ["acc"]}
    model = network(*stack, inputs=x.shape[1:], **given)
    mean = scratch.train_epoch(weights, optimizer, x, y, order)
    history = model.fit(x[order], y[order], batch_size=32, shuffle=False, verbose=0).history
    assert optimizer.t == model.optimizer.iterations
    assert largest_difference(weights, model.get_weights()) <= bound
    assert mean == pytest.approx(history["loss"][0], abs=1e-6)
    right = scratch.accuracy(weights, x, y.argmax(axis=1))
    assert right == pytest.approx(model.evaluate(x, y, verbose=0)[1], abs=1e-7)
    outputs = scratch.forward(weights, x[:9])
    gradients = scratch.backward(weights, x[:9], outputs, y[:9])
    arrays = *outputs, *gradients, *weights, *optimizer.m, *optimizer.v
    assert {array.dtype for array in arrays} == {np.dtype("float32")}


def largest_difference(weights, theirs):
    return max(np.abs(a - b).max() for a, b in zip(weights, theirs, strict=True))


def test_a_hundred_steps_on_the_digits_and_an_epoch_with_an_uneven_last_batch(scratch, small, rng):
    for order in (np.arange(3200) % 1500, rng.permutation(1500)):
        train_both(scratch, *small, order, bound=1e-6)


@pytest.mark.long
def test_an_epoch_on_mnist(scratch, large):
    train_both(scratch, *large, np.arange(60_000), bound=3e-6)


def test_adam_alone_equals_tinynet(scratch, rng):
    """Without matrix products there is little rounding, so a narrow bound detects α in float64."""
    weights = [rng.normal(size=shape).astype("float32") for shape in [(5, 4), (4,)]]
    theirs = [w.copy() for w in weights]
    optimizer, reference = scratch.Adam(weights), tinynet.optimizers.Adam()
    reference.build(theirs)
    for _ in range(300):
        gradients = [(rng.normal(0.5, 0.5, w.shape) * 1e-3).astype("float32") for w in weights]
        optimizer.update(weights, gradients)
        reference.apply_gradients(zip(gradients, theirs, strict=True))
    assert largest_difference(weights, theirs) <= 3e-7


def test_initial_weights_equal_glorot_uniform(scratch):
    weights = scratch.initial_weights((64, 100, 144, 10), np.random.default_rng(3))
    glorot = tinynet.initializers.GlorotUniform(seed=3)
    np.testing.assert_allclose(weights[0], glorot((64, 100)), rtol=0, atol=1e-7)
    for kernel, bias in zip(weights[::2], weights[1::2], strict=True):
        limit = np.sqrt(6 / sum(kernel.shape))
        assert 0.99 * limit < np.abs(kernel).max() <= np.float32(limit)
        assert not bias.any()


def test_softmax_does_not_overflow(scratch):
    z = np.array([[1000, 0, 1000], [-1000, -1000, -2000]], "float32")
    assert np.array_equal(scratch.softmax(z), [[0.5, 0, 0.5], [0.5, 0.5, 0]])


def test_the_loss_equals_tinynet_also_where_a_probability_is_0(scratch):
    p = np.array([[0.2, 0.5, 0.3], [1, 0, 0], [1, 0, 0]], "float32")
    y = np.array([[0, 1, 0], [0, 1, 0], [1, 0, 0]], "float32")
    expected = tinynet.losses.CategoricalCrossentropy()(y, p)
    assert scratch.loss(p, y) == pytest.approx(float(expected), rel=1e-6)


def test_the_program_is_short_numbered_and_uses_only_numpy_and_tinynet_datasets():
    source = PROGRAM.read_text("utf-8")
    assert len(source.splitlines()) <= 150
    headings = re.findall(r"^# (\d+)\. (\w+)", source, re.MULTILINE)
    assert [int(number) for number, _ in headings] == list(range(1, len(headings) + 1))
    assert [word for _, word in headings][2:6] == ["Forward", "Loss", "Backward", "Adam"]
    modules = re.findall(r"^ *(?:import|from) ([\w.]+)", source, re.MULTILINE)
    foreign = {name for name in modules if name.split(".")[0] not in sys.stdlib_module_names}
    assert foreign == {"numpy", "tinynet.datasets"}


# The whole program


@pytest.fixture
def offline(scratch, monkeypatch):
    """The program, where loading MNIST fails."""
    refuse = mock.Mock(side_effect=ConnectionError("nobody answers"))
    monkeypatch.setattr(scratch.mnist, "load_data", refuse)
    return scratch


def test_every_epoch_uses_every_image_once_in_a_new_order(offline, small, monkeypatch):
    train, measure = mock.Mock(return_value=0.0), mock.Mock(return_value=0.0)
    monkeypatch.setattr(offline, "train_epoch", train)
    monkeypatch.setattr(offline, "accuracy", measure)
    offline.main()
    _, optimizers, inputs, targets, orders = zip(*(c.args for c in train.mock_calls), strict=True)
    assert all(np.array_equal(np.sort(order), np.arange(1500)) for order in orders)
    assert len({order.tobytes() for order in orders}) == len(orders) == 30
    assert all(optimizer is optimizers[0] for optimizer in optimizers)
    for received, expected in ((inputs[0], small[0]), (targets[0], small[1])):
        assert np.array_equal(received, expected)
        assert received.dtype == np.float32
    _, images, labels = zip(*(c.args for c in measure.mock_calls), strict=True)
    assert (images[0].shape, labels[0].shape, images[0].max()) == ((297, 64), (297,), 1)
    assert images[0].dtype == np.float32


def test_mnist_is_used_where_it_is_available(scratch, large, monkeypatch, mnist_directory):
    monkeypatch.setenv("TFDS_DATA_DIR", str(mnist_directory.parent.parent))
    x, labels, x_test, _ = scratch.load()
    assert np.array_equal(x, large[0])
    assert np.array_equal(labels, large[1].argmax(axis=1))
    assert x_test.shape == (10_000, 784)


def test_without_mnist_the_program_learns_the_digits(offline, capsys):
    offline.main()
    reason, *epochs = filter(None, capsys.readouterr().out.splitlines())
    assert reason == "nobody answers"
    assert "1,797 images" in epochs.pop(0)
    pattern = r"Epoch (\d+): loss ([\d.]+), test accuracy ([\d.]+)%"
    numbers = [[float(n) for n in re.fullmatch(pattern, line).groups()] for line in epochs]
    order, losses, accuracies = zip(*numbers, strict=True)
    assert order == tuple(range(1, 31))
    assert losses[0] > losses[2] > losses[9] > losses[29]
    assert accuracies[0] < accuracies[29] > 88
