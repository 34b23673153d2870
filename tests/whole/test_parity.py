"""Parity: the same weights and the same batches give the same numbers as Keras.

The bounds correspond to the rounding of float32: Keras's backends differ from each other by 1.5e-7
after 100 steps and by 1.5e-6 after an epoch. Each bound was checked by breaking the library: it is
exceeded by β₁ = 0.9001, by ε inside the root, by t starting at 0, by a missing bias, by a sum in
place of a mean, and by Adam's corrections in float64.
"""

import numpy as np
import pytest
from networks import ONE_HOT, SPARSE, network, tutorial
from oracle import agree, distance, pair, renewed

import tinynet

pytestmark = pytest.mark.computes

HOW = {"shuffle": False, "verbose": 0}


@pytest.fixture(scope="module")
def of_keras(keras):
    """Keras's model of the tutorial, always the same, because compiling it takes a second."""
    return tutorial(keras)


@pytest.mark.parametrize(
    ("steps", "bound"),
    [(1, 3e-7), (10, 3e-7), (100, 3e-7), pytest.param(1875, 3e-6, marks=pytest.mark.long)],
)
def test_the_tutorial_model_on_mnist(of_keras, mnist, steps, bound):
    images, labels = mnist
    n = 32 * steps
    x = images[:n].astype("float32") / 255
    y = tinynet.utils.to_categorical(labels[:n], num_classes=10)
    ours = tutorial()
    theirs = renewed(of_keras, ours.get_weights())
    how = HOW | {"batch_size": 32}
    expected, received = theirs.fit(x, y, **how).history, ours.fit(x, y, **how).history
    difference = abs(expected["loss"][0] - received["loss"][0])
    print(f"{steps:5} steps: weights {distance(theirs, ours):.1e}, loss {difference:.1e}")
    assert distance(theirs, ours) <= bound
    assert difference <= 1e-6
    assert expected["acc"] == received["acc"]


@pytest.mark.long
@pytest.mark.parametrize("seed", range(15))
def test_any_small_network_three_epochs(keras, seed):
    """Networks of 0 to 3 hidden layers, with data of 1 to 40 samples in batches of 1 to 17."""
    rng = np.random.default_rng(seed)
    inputs, classes, count, batch_size = rng.integers((1, 2, 1, 1), (9, 6, 41, 18)).tolist()
    activations = rng.choice(["sigmoid", "tanh", "relu", "linear"], rng.integers(4)).tolist()
    hidden = [(int(rng.integers(1, 10)), one, bool(rng.integers(2))) for one in activations]
    # Scaled so that no probability of a true class comes near 1e-7, where Keras on JAX cuts its
    # gradient off and tinynet, like Keras on TensorFlow, does not.
    x = rng.uniform(-1, 1, (count, inputs)).astype("float32")
    y, loss = rng.integers(0, classes, count), [SPARSE, ONE_HOT][rng.integers(2)]
    y = y if loss == SPARSE else np.eye(classes)[y]

    def make(library):
        stack, given = [*hidden, (classes, "softmax")], {"inputs": (inputs,), "library": library}
        return network(*stack, **given, loss=loss, metrics=["accuracy"])

    theirs, ours = pair(keras, make)
    how = HOW | {"batch_size": batch_size, "epochs": 3}
    expected, received = theirs.fit(x, y, **how), ours.fit(x, y, **how)
    assert ours.predict(x, verbose=0).min() > 1e-6
    assert distance(theirs, ours) <= 3e-5  # a gradient near Adam's ε magnifies rounding
    agree(expected.history["loss"], received.history["loss"], atol=2e-6)
