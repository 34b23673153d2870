"""Parity: the same weights and the same batches give the same numbers as Keras.

The bounds correspond to the rounding of float32: Keras's backends differ from each other by 1.5e-7
after 100 steps and by 1.5e-6 after an epoch. Each bound was checked by breaking the library: it is
exceeded by β₁ = 0.9001, by ε inside the root, by t starting at 0, by a missing bias, by a sum in
place of a mean, and by Adam's corrections in float64.
"""

import functools
import warnings

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from arrays import assert_allclose, put
from networks import ONE_HOT, SPARSE, network, samples, tutorial
from oracle import agree, distance, pair, renewed, variables

import tinynet

pytestmark = pytest.mark.computes

HOW = {"batch_size": 16, "shuffle": False, "verbose": 0}


def small(library, loss=ONE_HOT, optimizer="adam"):
    hidden = [(7, "tanh")] if loss == ONE_HOT else [(7, "relu", False), (4, "sigmoid"), (5,)]
    return network(
        *hidden, (3, "softmax"),
        inputs=(6,), library=library, loss=loss, optimizer=optimizer, metrics=["acc"],
    )  # fmt: skip


@pytest.fixture
def data(rng):
    """83 samples, so that the last of the batches of 16 has only 3."""
    x, _, y = samples(rng, 83, (6,), 3)
    return x, y


@pytest.fixture(scope="module")
def compiled(keras):
    """Return Keras's model of a kind, always the same, because compiling it takes a second."""
    return functools.cache(lambda make, *arguments: make(keras, *arguments))


@pytest.fixture
def twins(compiled):
    """Return Keras's model and tinynet's of a kind, untrained, with the same weights."""

    def make_both(make, *arguments):
        ours = make(tinynet, *arguments)
        return renewed(compiled(make, *arguments), ours.get_weights()), ours

    return make_both


@pytest.mark.parametrize(
    ("steps", "bound"),
    [(1, 3e-7), (10, 3e-7), (100, 3e-7), pytest.param(1875, 3e-6, marks=pytest.mark.long)],
)
def test_the_tutorial_model_on_mnist(twins, mnist, steps, bound):
    images, labels = mnist
    n = 32 * steps
    x = images[:n].astype("float32") / 255
    y = tinynet.utils.to_categorical(labels[:n], num_classes=10)
    theirs, ours = twins(tutorial)
    how = {"batch_size": 32, "shuffle": False, "verbose": 0}
    expected, received = theirs.fit(x, y, **how).history, ours.fit(x, y, **how).history
    difference = abs(expected["loss"][0] - received["loss"][0])
    print(f"{steps:5} steps: weights {distance(theirs, ours):.1e}, loss {difference:.1e}")
    assert distance(theirs, ours) <= bound
    assert difference <= 1e-6
    assert expected["acc"] == received["acc"]


def test_the_gradients_of_the_tutorial_model_equal_jax(keras, twins, mnist):
    """Compare backpropagation with JAX's automatic differentiation of Keras's forward pass."""
    import jax

    images, labels = mnist
    x = images[:32].astype("float32") / 255
    y = tinynet.utils.to_categorical(labels[:32], 10).astype("float32")
    theirs, ours = twins(tutorial)

    def loss(weights):
        output, _ = theirs.stateless_call(weights, [], x)
        return keras.losses.CategoricalCrossentropy()(y, output)

    expected = jax.grad(loss)([v.value for v in theirs.trainable_variables])
    ours.prepare_training((32, 28, 28))
    ours.objective.forward(put(y), ours.forward(put(x), training=True))
    ours.backward(ours.objective.backward())
    layers = ours.layers[1:]
    received = [g for layer in layers for g in (layer.kernel_gradient, layer.bias_gradient)]
    for theirs_g, ours_g in zip(expected, received, strict=True):
        assert_allclose(ours_g, np.asarray(theirs_g), rtol=1e-5, atol=3e-8)


@pytest.mark.parametrize(
    ("loss", "optimizer"),
    [
        (ONE_HOT, "adam"),
        (SPARSE, "sgd"),
        pytest.param(ONE_HOT, "sgd", marks=pytest.mark.long),
        pytest.param(SPARSE, "adam", marks=pytest.mark.long),
    ],
)
def test_three_epochs_then_a_fourth_evaluate_and_predict(twins, data, loss, optimizer):
    x, y = data
    y = y if loss == ONE_HOT else y.argmax(axis=1)
    theirs, ours = twins(small, loss, optimizer)
    for epochs in (3, 1):  # a second fit continues training
        given = HOW | {"epochs": epochs}
        agree(theirs.fit(x, y, **given), ours.fit(x, y, **given), atol=1e-6)
        assert distance(theirs, ours) <= 1e-6
    assert ours.optimizer.iterations == int(theirs.optimizer.iterations) == 4 * 6
    agree(variables(theirs), variables(ours), rtol=2e-5, atol=1e-8)
    agree(theirs.evaluate(x, y, verbose=0), ours.evaluate(x, y, verbose=0), atol=1e-6)
    agree(theirs.predict(x, verbose=0), ours.predict(x, verbose=0), atol=1e-6)


@pytest.mark.parametrize(
    "extra",
    [
        {"validation_data": "all"},
        {"validation_data": "weighted"},
        {"validation_split": 0.25},
        pytest.param(
            {"validation_split": 0.25, "validation_batch_size": 7, "validation_freq": 2},
            marks=pytest.mark.long,
        ),
        {"validation_data": "all", "validation_steps": 2},
        {"class_weight": {0: 1.0, 1: 3.0, 2: 0.5}},
        {"class_weight": {1: 4}},
        {"sample_weight": "ramp"},
        pytest.param({"sample_weight": "ramp", "validation_split": 0.5}, marks=pytest.mark.long),
        {"initial_epoch": 1},
        {"steps_per_epoch": 3},
        {"batch_size": None},
        pytest.param({"batch_size": 1000}, marks=pytest.mark.long),
    ],
    ids=str,
)
def test_the_arguments_of_fit_behave_as_in_keras(twins, data, extra):
    x, y = data
    ramp = np.linspace(0, 2, len(x))
    words = {"all": (x[:50], y[:50]), "weighted": (x[:50], y[:50], ramp[:50]), "ramp": ramp}
    extra = {k: words.get(v, v) if isinstance(v, str) else v for k, v in extra.items()}
    how = HOW | {"epochs": 4} | extra
    theirs, ours = twins(small)
    with warnings.catch_warnings():  # both may warn if a pass ends within an epoch
        warnings.filterwarnings("ignore", "Your input ran out of data")
        expected, received = theirs.fit(x, y, **how), ours.fit(x, y, **how)
    agree(expected, received, atol=1e-6)
    assert distance(theirs, ours) <= 1e-6


ACTIVATIONS = st.sampled_from(["sigmoid", "tanh", "relu", "linear"])


@pytest.mark.long
@hypothesis.settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],  # shrinking would take an hour
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(
    widths=st.lists(st.integers(1, 9), max_size=3),
    activations=st.lists(ACTIVATIONS, min_size=3, max_size=3),
    inputs=st.integers(1, 8),
    classes=st.integers(2, 5),
    samples=st.integers(1, 40),
    batch_size=st.integers(1, 17),
    use_bias=st.booleans(),
    sparse=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_any_small_network_three_epochs(
    keras, widths, activations, inputs, classes, samples, batch_size, use_bias, sparse, seed
):
    rng = np.random.default_rng(seed)
    # Scaled so that no probability of a true class comes near 1e-7, where Keras on JAX cuts its
    # gradient off and tinynet, like Keras on TensorFlow, does not.
    x = rng.uniform(-1, 1, (samples, inputs)).astype("float32")
    y = rng.integers(0, classes, samples)
    if not sparse:
        y = np.eye(classes)[y]

    def make(library):
        hidden = [(*layer, use_bias) for layer in zip(widths, activations, strict=False)]
        return network(
            *hidden, (classes, "softmax"), inputs=(inputs,), library=library,
            loss=SPARSE if sparse else ONE_HOT, metrics=["accuracy"],
        )  # fmt: skip

    theirs, ours = pair(keras, make)
    how = HOW | {"batch_size": batch_size, "epochs": 3}
    expected, received = theirs.fit(x, y, **how), ours.fit(x, y, **how)
    assert ours.predict(x, verbose=0).min() > 1e-6
    assert distance(theirs, ours) <= 3e-5  # a gradient near Adam's ε magnifies rounding
    agree(expected.history["loss"], received.history["loss"], atol=2e-6)
