"""L2, Dropout and `Activation` layers, compared with Keras.

`test_layers` compares their configurations and names with Keras's.
"""

import functools

import numpy as np
import pytest
from arrays import look, put
from networks import ONE_HOT, Scale, network as network_of, random_weights, samples
from oracle import agree, refused

import tinynet
from tinynet import activations, backend
from tinynet.backend import random
from tinynet.layers import Activation, Dropout
from tinynet.regularizers import L2, Regularizer

pytestmark = pytest.mark.computes

RNG = np.random.default_rng(11)
X, _, Y = samples(RNG, 20, (4,), 3)
START = random_weights(RNG, 4, 6, 3)
QUIET = {"batch_size": 8, "shuffle": False, "verbose": 0}
TANH, SOFTMAX = {"activation": "tanh"}, {"activation": "softmax"}


def network(module, first, second, *between, **compiled):
    """Return a model of two Dense layers in Keras or tinynet, always with the same weights."""
    stack = [module.layers.Dense(6, **first), *between, module.layers.Dense(3, **second)]
    compiled = {"loss": ONE_HOT, "metrics": ["acc"], **compiled}
    return network_of(*stack, inputs=(4,), library=module, weights=START, **compiled)


@pytest.fixture(scope="module")
def compare(keras):
    """Run a program in Keras, once for all backends, and in tinynet; the results have to agree."""
    of_keras = functools.cache(lambda program, *arguments: program(keras, *arguments))

    def run(program, *arguments, **bounds):
        agree(of_keras(program, *arguments), program(tinynet, *arguments), **bounds)

    return run


# L2

WITH_L2 = (
    {"activation": "sigmoid", "kernel_regularizer": "L2"},
    {**SOFTMAX, "kernel_regularizer": {"class_name": "L2", "config": {"l2": 0.1}}},
)


def trained_with_l2(module, frozen):
    model = network(module, *WITH_L2, optimizer="sgd", metrics=["acc", ONE_HOT])
    model.layers[0].trainable = not frozen
    weights = None if frozen else np.linspace(0, 2, 20).astype("float32")
    given = {"sample_weight": weights, "epochs": 5, "validation_data": (X[:7], Y[:7]), **QUIET}
    return model.fit(X, Y, **given), model.evaluate(X, Y, verbose=0)


@pytest.mark.parametrize("frozen", [False, True])
def test_training_with_l2_equals_keras(compare, frozen):
    compare(trained_with_l2, frozen, rtol=3e-6)


def evaluated_frozen(module, from_the_start):
    dense = module.layers.Dense(3, "softmax", kernel_regularizer="l2")
    model = module.Sequential([module.Input((4,)), dense], trainable=not from_the_start)
    model.set_weights([START[0][:, :3], START[3]])
    if not from_the_start:
        model.trainable = False
    model.compile("sgd", ONE_HOT)
    return float(model.evaluate(X, Y, verbose=0))


@pytest.mark.parametrize("from_the_start", [False, True])
def test_the_penalty_of_a_frozen_model_equals_keras(compare, from_the_start):
    compare(evaluated_frozen, from_the_start, rtol=1e-6)


def test_numpy_scalars_are_compared_without_overflow():
    """The largest allowed value exceeds float32, whose own comparison would warn of an overflow."""
    assert L2(np.float32(3)).l2 == 3
    assert tinynet.optimizers.Adam(weight_decay=np.float32(0.5)).weight_decay == 0.5


@pytest.mark.parametrize(
    ("make", "wrong", "said"),
    [
        (L2, [-1, np.nan, np.inf, "a", True], r"Write: L2\(0.01\)"),
        (Dropout, [-0.1, 1.1, "a", None, True, np.nan], "`rate`.* between 0 and 1"),
        (lambda seed: Dropout(0.5, seed=seed), [0.5], "Expected seed to be a whole number or None"),
        (
            lambda shape: Dropout(0.5, noise_shape=shape).forward(put(X), training=True),
            [(1,), (3, 1), (None, 2), (20, 4, 1), ()],
            r"a noise_shape that fits inputs of shape \(20, 4\)",
        ),
    ],
)
def test_wrong_arguments_are_refused(make, wrong, said):
    for value in wrong:
        with pytest.raises(ValueError, match=said):
            make(value)


class Sum(Regularizer):
    """A user-defined penalty, λ Σ |w|."""

    def __call__(self, x):
        return 0.1 * abs(x).sum()

    def gradient(self, x, out=None):
        return 0.1 * backend.of(x).sign(x)


class Quiet(Scale):
    """A user-defined layer with penalties on its weight and on large outputs."""

    def penalty(self):
        return (self.scale**2).sum() + 0.01 * ((self.x * self.scale) ** 2).sum()

    def backward(self, gradient):
        passed = super().backward(gradient + 0.02 * self.x * self.scale)
        self.scale_gradient += 2 * self.scale
        return passed


@pytest.mark.parametrize("penalty", [L2(0.2), Sum()], ids=["L2", "sum"])
def test_check_gradients_verifies_the_gradient_of_a_penalty(penalty):
    model = network(tinynet, {"kernel_regularizer": penalty, **TANH}, {}, loss="mse")
    assert tinynet.check_gradients(model, X, Y).ok


def test_a_user_defined_layer_may_add_a_penalty_on_a_weight_and_an_output():
    stack = (6, "tanh"), Quiet(), (3, "softmax")
    model = network_of(*stack, inputs=(4,), loss=ONE_HOT, metrics=[ONE_HOT])
    loss, crossentropy = model.evaluate(X, Y, verbose=0)
    outputs = look(model.layers[0](X))
    assert loss == pytest.approx(crossentropy + 6 + 0.01 * (outputs**2).sum(), rel=1e-5)
    assert tinynet.check_gradients(model, X, Y).ok
    model.fit(X, Y, **QUIET)


def test_freezing_a_layer_during_fit_removes_its_penalty():
    model = network(tinynet, *WITH_L2)
    freeze = tinynet.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: setattr(model.layers[0], "trainable", False)
    )
    losses = model.fit(X, Y, epochs=2, callbacks=[freeze], **QUIET).history["loss"]
    assert losses[1] < losses[0] - 0.1


# Dropout


def masks(layer, size, times):
    """Return `times` masks of `size` entries, as boolean rows."""
    x = put(np.ones((1, size), "float32"))
    return np.stack([look(layer.forward(x, training=True))[0] != 0 for _ in range(times)])


@pytest.mark.parametrize("rate", [0, 0.1, 0.25, 0.5, 0.8, 0.99, 1, 1.0])
def test_dropout_drops_the_rate_of_entries_and_scales_up_the_rest_as_in_keras(keras, rate):
    x = np.full((300, 200), 3, "float32")
    theirs = np.asarray(keras.layers.Dropout(rate)(x, training=True))
    ours = look(Dropout(rate).forward(put(x), training=True))
    agree(np.unique(theirs), np.unique(ours), rtol=1e-6)  # 0 and 3 / (1 − rate)
    deviation = np.sqrt(rate * (1 - rate) / x.size)
    assert abs((ours != 0).mean() - (1 - rate)) <= 4 * deviation


@pytest.mark.parametrize(
    "noise_shape", [None, (None, 1), [1, None], (1, 1), (300, 1), (None, None)], ids=str
)
def test_the_mask_of_dropout_has_the_shape_of_the_noise_as_in_keras(keras, noise_shape):
    x = np.full((300, 200), 3, "float32")
    theirs, layer = keras.layers.Dropout(0.5, noise_shape), Dropout(0.5, noise_shape, seed=4)
    assert layer.noise_shape == theirs.noise_shape
    same_along = []  # for each axis, whether a mask is the same along it
    for y in (np.asarray(theirs(x, training=True)), look(layer.forward(put(x), training=True))):
        same_along.append([(y == y[:1]).all(), (y == y[:, :1]).all()])
        assert set(np.unique(y)) <= {0, 6}
    assert same_along[0] == same_along[1]
    gradient = look(layer.backward(put(x)))
    np.testing.assert_array_equal(gradient, y)  # the same mask
    sizes = noise_shape or x.shape
    expected = [n if size is None else size for size, n in zip(sizes, x.shape, strict=True)]
    assert layer.mask(put(x)).shape == tuple(expected)
    if noise_shape and noise_shape[0] != 300:  # batches may be smaller
        assert look(layer.forward(put(x[:7]), training=True)).shape == (7, 200)


def test_noise_shapes_that_keras_refuses_are_refused(keras):
    for shape in ((0, 1), (-1, 1), ("a", 1), (2.5, 1), 5, "ab"):
        refused(keras, lambda lib, s=shape: lib.layers.Dropout(0.5, s), "argument `noise_shape`")
    for shape in ((3, 1), (None, 2), (20, 4, 1)):
        program = lambda lib, s=shape: lib.layers.Dropout(0.5, s)(X, training=True)  # noqa: E731
        refused(keras, program)


def test_dropout_preserves_the_mean():
    y = look(Dropout(0.2).forward(put(np.ones((300, 200), "float32")), training=True))
    assert y.max() == np.float32(1 / 0.8)
    assert y.mean() == pytest.approx(1, abs=0.01)


def test_dropout_masks_are_statistically_independent():
    times, size = 400, 256
    coins = masks(Dropout(0.5), size, times) * 2.0 - 1  # ±1
    bound = 5 / np.sqrt(coins.size)
    for across in (1, 2, 3, 16, 64):  # adjacent and more distant entries, and masks
        assert abs((coins[:, across:] * coins[:, :-across]).mean()) < bound
        assert abs((coins[across:] * coins[:-across]).mean()) < bound
        assert abs((coins[across:, across:] * coins[:-across, :-across]).mean()) < bound
    for axis, length in ((0, times), (1, size)):  # neither an entry nor a mask is biased
        means = coins.mean(axis=axis) * np.sqrt(length)
        assert abs(means).max() < 4.5
        assert 0.8 < means.std() < 1.2
    pairs = coins.T @ coins / np.sqrt(times)  # correlation of each pair of entries
    assert np.abs(pairs[~np.eye(size, dtype=bool)]).max() < 5.8  # among 65,280 pairs


def test_random_bits_are_the_hash_of_each_index():
    bits = look(Dropout(0.5).random_bits((3, 4), 0xDEADBEEF))
    assert bits.dtype == np.uint32
    expected = [random.hash_uint32(place ^ 0xDEADBEEF) for place in range(12)]
    assert bits.ravel().tolist() == expected  # the same on the CPU and on a GPU
    assert random.hash_uint32(0) == 0
    assert len({random.hash_uint32(n) for n in range(100_000)}) == 100_000  # it is a bijection


def test_dropout_does_nothing_outside_training():
    layer, x = Dropout(0.5), put(X)
    assert layer.forward(x) is x
    assert layer.backward(x) is x
    model = network(tinynet, {}, SOFTMAX, Dropout(0.9))
    assert not np.array_equal(model(X, training=True), model(X, training=True))


def test_the_same_seed_gives_the_same_masks_and_another_independent_ones():
    def run():
        tinynet.utils.set_random_seed(4)
        model = network(tinynet, TANH, SOFTMAX, Dropout(0.3))
        return model.fit(X, Y, epochs=3, batch_size=8, verbose=0).history["loss"]

    assert run() == run()
    first, again, other = (masks(Dropout(0.5, seed=seed), 300, 4) for seed in (7, 7, 8))
    assert (first == again).all()
    equal = [(a == b).mean() for a in first for b in other]
    equal += [(first[0] == mask).mean() for mask in first[1:]]  # its own masks differ as well
    assert 0.35 < min(equal) < max(equal) < 0.65


def test_a_failed_fit_restores_the_number_of_masks():
    layers = Dropout(0.3, seed=1), Dropout(0.3)
    model = network(tinynet, TANH, SOFTMAX, *layers)
    with pytest.raises(ValueError, match="sample 17"):
        model.fit(np.vstack([X[:17], X[17:] * np.nan]), Y, **QUIET)
    assert [layer.drawn for layer in layers] == [0, 0]


# Activation


def test_a_softmax_layer_is_fused_with_the_cross_entropy():
    apart = network(tinynet, TANH, {}, metrics=[])
    apart.add(Activation("softmax"))
    within = network(tinynet, TANH, SOFTMAX, metrics=[])
    for model in (apart, within):  # with weights so large that some probabilities become 0
        model.set_weights([100 * weight for weight in START])
    losses = [model.fit(X, Y, epochs=3, **QUIET).history["loss"] for model in (apart, within)]
    assert losses[0] == losses[1]
    apart.prepare_evaluation(X.shape)
    assert apart.objective.fused
    assert losses[0][0] > 17  # more than clipped probabilities allow


# User-defined activations: plain functions


def swish(z):
    return z * activations.sigmoid(z)


@activations.backward_of(swish, from_z=True)
def swish_backward(gradient, z):
    s = activations.sigmoid(z)
    return gradient * (s + z * s * (1 - s))


def leaky_relu(z):
    return backend.of(z).maximum(z, 0.2 * z)


@activations.backward_of(leaky_relu)
def leaky_relu_backward(gradient, a):
    return gradient * (0.2 + 0.8 * (a > 0))


def trained_with_every_activation(module):
    ours = module is tinynet
    leaky = leaky_relu if ours else module.layers.LeakyReLU(negative_slope=0.2)
    # relu gets numbers of both signs
    every = "linear", "tanh", "relu", "sigmoid", "softmax", swish if ours else "swish"
    between = map(module.layers.Activation, every)
    return network(module, {"activation": leaky}, SOFTMAX, *between).fit(X, Y, epochs=3, **QUIET)


def test_training_with_activation_layers_and_plain_functions_equals_keras(compare):
    compare(trained_with_every_activation, rtol=3e-6)


def test_the_gradients_of_plain_functions_are_right():
    for function in (swish, leaky_relu):
        dense = network(tinynet, {"activation": function}, SOFTMAX)
        assert dense.layers[0].forward(put(X)).dtype == np.float32
        for model in (dense, network(tinynet, {}, {}, Activation(function), loss="mse")):
            assert tinynet.check_gradients(model, X, Y).ok


def test_an_activation_without_backward_predicts_but_is_refused_in_fit():
    model = network(tinynet, {"activation": abs}, SOFTMAX)
    assert model.predict(X, verbose=0).shape == (20, 3)
    with pytest.raises(ValueError, match=r"backward_of\(abs\)\n.*def abs_backward\(gradient, a\)"):
        model.fit(X, Y, verbose=0)
