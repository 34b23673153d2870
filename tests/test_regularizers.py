"""L2, Dropout and `Activation` layers, compared with Keras."""

import numpy as np
import pytest
from arrays import assert_allclose, assert_array_equal, look, put
from networks import ONE_HOT, SPARSE, network as network_of, random_weights, samples
from oracle import agree, both, same

import tinynet
from tinynet import activations, backend
from tinynet.backend import random
from tinynet.layers import Activation, Dense, Dropout, Flatten
from tinynet.regularizers import L2, Regularizer

pytestmark = pytest.mark.computes

RNG = np.random.default_rng(11)
X, LABELS, Y = samples(RNG, 20, (4,), 3)
START = random_weights(RNG, 4, 6, 3)
QUIET = {"batch_size": 8, "shuffle": False, "verbose": 0}


def network(module, first, second, *between, **compiled):
    """Return a model of two Dense layers in Keras or tinynet, always with the same weights."""
    stack = [module.layers.Dense(6, **first), *between, module.layers.Dense(3, **second)]
    compiled = {"loss": ONE_HOT, "metrics": ["acc"], **compiled}
    return network_of(*stack, inputs=(4,), library=module, weights=START, **compiled)


# L2

REGULARIZED = [
    ({"activation": "tanh", "kernel_regularizer": "l2"}, {"activation": "softmax"}),
    (
        {"activation": "sigmoid", "kernel_regularizer": "L2"},
        {
            "activation": "softmax",
            "kernel_regularizer": {"class_name": "L2", "config": {"l2": 0.1}},
        },
    ),
]


@pytest.mark.parametrize(("first", "second"), REGULARIZED)
@pytest.mark.parametrize("weighted", [False, True])
def test_training_with_l2_equals_keras(keras, first, second, weighted):
    given = {"sample_weight": np.linspace(0, 2, 20).astype("float32")} if weighted else {}
    given |= {"epochs": 5, "validation_data": (X[:7], Y[:7]), **QUIET}

    def program(module):
        model = network(module, first, second, optimizer="sgd")
        history = model.fit(X, Y, **given)
        return history, model.evaluate(X, Y, verbose=0), model.get_weights()

    theirs, ours = both(keras, program)
    agree(theirs[:2], ours[:2], rtol=3e-6)
    agree(theirs[2], ours[2], rtol=1e-7, atol=3e-7)


def test_the_penalty_is_part_of_the_loss_and_not_of_the_metrics():
    first, second = REGULARIZED[0]
    model = network(tinynet, first, second, metrics=[ONE_HOT])
    loss, crossentropy = model.evaluate(X, Y, verbose=0)
    assert loss == pytest.approx(crossentropy + 0.01 * (START[0] ** 2).sum(), rel=1e-6)


def test_regularization_of_frozen_weights_equals_keras(keras):
    def program(module):
        model = network(module, *REGULARIZED[1], optimizer="sgd")
        model.layers[0].trainable = False
        return model.fit(X, Y, epochs=2, **QUIET)

    agree(*both(keras, program), rtol=3e-6)


def test_the_configuration_of_l2_equals_keras(keras):
    def configured(module, regularizer):
        dense = module.layers.Dense(2, kernel_regularizer=regularizer, name="d")
        return dense.get_config()["kernel_regularizer"]

    for regularizer in (None, "l2", "L2", {"class_name": "L2", "config": {"l2": 0.3}}):
        same(keras, configured, regularizer)
    copy = Dense.from_config(Dense(2, kernel_regularizer=tinynet.regularizers.l2(0.7)).get_config())
    assert copy.kernel_regularizer.l2 == 0.7
    weights = RNG.normal(size=(3, 2)).astype("float32")
    assert float(L2(0.3)(put(weights))) == pytest.approx(float(keras.regularizers.L2(0.3)(weights)))


def test_numpy_scalars_are_compared_without_overflow():
    """The largest allowed value exceeds float32, whose own comparison would warn of an overflow."""
    assert tinynet.regularizers.L2(np.float32(3)).l2 == 3
    assert tinynet.optimizers.Adam(weight_decay=np.float32(0.5)).weight_decay == 0.5


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "a", True])
def test_an_invalid_l2_factor_is_refused(value):
    with pytest.raises(ValueError, match=r"expected a non-negative float.*Write: L2\(0.01\)"):
        L2(value)


@pytest.mark.parametrize("identifier", ["l3", 3, object()])
def test_an_unknown_regularizer_is_refused(identifier):
    with pytest.raises(ValueError, match="Could not interpret regularizer identifier"):
        Dense(2, kernel_regularizer=identifier)


class Sum(Regularizer):
    """A user-defined penalty, λ Σ |w|; `wrong` is a factor on its gradient."""

    def __init__(self, wrong=1):
        self.wrong = wrong

    def __call__(self, x):
        return 0.1 * abs(x).sum()

    def gradient(self, x, out=None):
        return self.wrong * 0.1 * backend.of(x).sign(x)


def test_check_gradients_verifies_the_gradient_of_a_penalty():
    for regularizer in (L2(0.2), Sum()):
        model = network(tinynet, {"kernel_regularizer": regularizer, "activation": "tanh"}, {})
        model.compile("sgd", "mse")
        assert tinynet.check_gradients(model, X, Y).ok
    model = network(tinynet, {"kernel_regularizer": Sum(-1), "activation": "tanh"}, {})
    model.compile("sgd", "mse")
    wrong = [p.name for p in tinynet.check_gradients(model, X, Y).parameters if not p.ok]
    assert wrong == [f"{model.layers[0].name}/kernel"]


def test_a_user_defined_layer_may_add_a_penalty_to_the_loss():
    class Slope(tinynet.Layer):
        def build(self, input_shape):
            self.add_weight(input_shape[1:], "ones", name="slope")

        def forward(self, x, training=False):
            self.x = x
            return x * self.slope

        def penalty(self):
            return (self.slope**2).sum()

        def backward(self, gradient):
            self.slope_gradient[...] = (gradient * self.x).sum(axis=0) + 2 * self.slope
            return gradient * self.slope

    compiled = {"loss": ONE_HOT, "optimizer": "sgd", "metrics": [ONE_HOT]}
    model = network_of(Slope(), (3, "softmax"), inputs=(4,), **compiled)
    loss, crossentropy = model.evaluate(X, Y, verbose=0)
    assert loss == pytest.approx(crossentropy + 4)
    assert tinynet.check_gradients(model, X, Y).ok


# Dropout


def masks(layer, size, times):
    """Return `times` masks of `size` entries, as boolean rows."""
    x = put(np.ones((1, size), "float32"))
    return np.stack([look(layer.forward(x, training=True))[0] != 0 for _ in range(times)])


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5, 0.8, 0.99])
def test_dropout_drops_the_rate_of_entries_and_scales_up_the_rest(rate):
    layer = Dropout(rate)
    y = look(layer.forward(put(np.full((300, 200), 3, "float32")), training=True))
    kept = y != 0
    deviation = np.sqrt(rate * (1 - rate) / kept.size)
    assert abs(kept.mean() - (1 - rate)) < 4 * deviation
    assert_allclose(y[kept], 3 / (1 - rate), rtol=1e-6)
    assert y.dtype == np.float32


def test_dropout_masks_are_statistically_independent():
    times, size = 400, 256
    coins = masks(Dropout(0.5), size, times) * 2.0 - 1  # ±1
    bound = 5 / np.sqrt(coins.size)
    for across in (1, 2, 3, 16, 64):  # adjacent and more distant entries
        assert abs((coins[:, across:] * coins[:, :-across]).mean()) < bound
        assert (
            abs((coins[across:] * coins[:-across]).mean()) < bound
        )  # the same entry of later masks
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


def test_dropout_does_nothing_outside_training(keras):
    layer = Dropout(0.5)
    x = put(X)
    assert layer.forward(x) is x
    assert layer.backward(x) is x
    assert_array_equal(layer(X), X)
    assert_array_equal(np.asarray(keras.layers.Dropout(0.5)(X)), X)
    model = network(tinynet, {}, {"activation": "softmax"}, Dropout(0.9))
    assert_array_equal(model.predict(X, verbose=0), model.predict(X, verbose=0))
    assert not np.array_equal(model(X, training=True), model(X, training=True))


@pytest.mark.parametrize("rate", [0, 0.0, 1, 1.0])
def test_dropout_rates_0_and_1_equal_keras(keras, rate):
    agree(*both(keras, lambda module: module.layers.Dropout(rate)(X, training=True)))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_training_with_the_mask_of_keras_equals_keras(keras, monkeypatch, optimizer):
    mask = np.asarray(keras.layers.Dropout(0.4, seed=1)(np.ones((20, 6)), training=True))
    assert set(np.unique(mask)) == {0, np.float32(1 / 0.6)}
    monkeypatch.setattr(Dropout, "mask", lambda self, x: put(mask[: len(x)]))
    dropping = {
        keras: keras.layers.Lambda(lambda x: x * mask, output_shape=(6,)),
        tinynet: Dropout(0.4),
    }

    def program(module):
        first, second = {"activation": "relu"}, {"activation": "softmax"}
        model = network(module, first, second, dropping[module], optimizer=optimizer)
        # The weights are so small that Keras on JAX clips no probability.
        model.set_weights([weight / 3 for weight in START])
        losses = model.fit(X, Y, epochs=4, **{**QUIET, "batch_size": 20}).history["loss"]
        return losses, model.get_weights()

    (their_losses, theirs), (our_losses, ours) = both(keras, program)
    agree(their_losses, our_losses, rtol=2e-6)
    agree(theirs, ours, rtol=1e-7, atol=5e-7)


def test_gradients_through_dropout_are_right():
    for layer in (Dropout(0.3), Dropout(0.3, seed=5)):
        model = network(tinynet, {"activation": "tanh"}, {"activation": "softmax"}, layer)
        assert tinynet.check_gradients(model, X, Y).ok
        drawn = layer.drawn
        model.trace(X, Y)
        assert layer.drawn == drawn


def test_the_same_seed_gives_the_same_masks():
    def run():
        tinynet.utils.set_random_seed(4)
        model = network(tinynet, {"activation": "tanh"}, {"activation": "softmax"}, Dropout(0.3))
        return model.fit(X, Y, epochs=3, batch_size=8, verbose=0).history["loss"]

    assert run() == run()
    first, second, other = Dropout(0.5, seed=7), Dropout(0.5, seed=7), Dropout(0.5, seed=8)
    a, b, c = (masks(layer, 500, 3) for layer in (first, second, other))
    assert (a == b).all()
    assert 0.4 < (a == c).mean() < 0.6
    assert 0.4 < (a[0] == a[1]).mean() < 0.6  # its own masks differ


def test_a_failed_fit_restores_the_random_state():
    layers = Dropout(0.3, seed=1), Dropout(0.3)
    model = network(tinynet, {"activation": "tanh"}, {"activation": "softmax"}, *layers)
    state = backend.generator().bit_generator.state
    bad = X.copy()
    bad[17] = np.nan
    with pytest.raises(ValueError, match="sample 17"):
        model.fit(bad, Y, epochs=2, **QUIET)
    assert [layer.drawn for layer in layers] == [0, 0]
    assert backend.generator().bit_generator.state == state


def test_dropout_accepts_batches_of_changing_shapes():
    layer = Dropout(0.5)
    for shape in ((8, 3), (5, 3), (9, 4, 2), (2, 4, 2)):
        x = put(np.ones(shape, "float32"))
        y = look(layer.forward(x, training=True))
        assert y.shape == shape
        assert_array_equal(look(layer.backward(x)), y)


def test_the_configuration_of_dropout_equals_keras(keras):
    def configured(module):
        return module.layers.Dropout(0.25, seed=3, name="d").get_config()

    same(keras, configured)
    assert Dropout.from_config(configured(keras)).seed == 3
    model = tinynet.Sequential([tinynet.Input((4,)), Dense(2), Dropout(0.1), Activation("relu")])
    copy = tinynet.Sequential.from_config(model.get_config())
    assert [type(layer) for layer in copy.layers] == [Dense, Dropout, Activation]
    assert copy.layers[1].rate == 0.1


@pytest.mark.parametrize("rate", [-0.1, 1.1, "a", None, True, float("nan")])
def test_an_invalid_dropout_rate_is_refused(rate):
    with pytest.raises(
        ValueError, match=r"argument `rate`\. Expected a float value between 0 and 1"
    ):
        Dropout(rate)


def test_unsupported_arguments_of_dropout_are_refused():
    with pytest.raises(ValueError, match=r"noise_shape=\(1,\), which Keras supports"):
        Dropout(0.5, noise_shape=(1,))
    with pytest.raises(ValueError, match="Expected seed to be a whole number or None"):
        Dropout(0.5, seed=0.5)


# Activation


@pytest.mark.parametrize("name", ["linear", "sigmoid", "tanh", "relu", "softmax"])
def test_an_activation_layer_equals_the_activation_argument_of_dense(keras, name):
    def apart(module):
        return network(module, {}, {"activation": "softmax"}, module.layers.Activation(name))

    theirs, ours = both(keras, apart)
    within = network(tinynet, {"activation": name}, {"activation": "softmax"})
    expected, received, equal = (m.fit(X, Y, epochs=3, **QUIET) for m in (theirs, ours, within))
    assert received.history["loss"] == equal.history["loss"]
    agree(expected, received, rtol=3e-6)
    agree(ours.get_weights(), within.get_weights())
    same(keras, lambda module: module.layers.Activation(name, name="a").get_config())


@pytest.mark.parametrize("loss", [ONE_HOT, SPARSE])
def test_a_softmax_layer_is_fused_with_the_cross_entropy(loss):
    target = Y if loss[0] == "c" else LABELS
    first = {"activation": "relu"}
    apart = network_of(
        (6, "relu"), (3,), Activation("softmax"), inputs=(4,), weights=START, loss=loss
    )
    within = network(tinynet, first, {"activation": "softmax"}, loss=loss)
    for model in (apart, within):
        model.set_weights(
            [100 * weight for weight in START]
        )  # so large that some probabilities become 0
    losses = [model.fit(X, target, epochs=3, **QUIET).history["loss"] for model in (apart, within)]
    assert losses[0] == losses[1]
    assert apart.objective.fused
    assert losses[0][0] > 17  # more than clipped probabilities allow
    assert tinynet.check_gradients(
        network(tinynet, first, {"activation": "softmax"}, loss=loss), X, target
    ).ok


def test_an_activation_layer_does_not_change_its_input():
    layer = Activation("sigmoid")
    x = put(X.copy())
    layer.forward(x)
    assert_array_equal(look(x), X)
    model = tinynet.Sequential([tinynet.Input((2, 2)), Flatten(), Activation("tanh"), Dense(3)])
    model.compile("sgd", "mse")
    images = X.reshape(20, 2, 2).copy()
    model.fit(images, Y, verbose=0)
    assert_array_equal(images, X.reshape(20, 2, 2))
    assert tinynet.check_gradients(model, images, Y).ok


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


@pytest.mark.parametrize(("function", "theirs"), [(swish, "swish"), (leaky_relu, None)])
def test_a_plain_function_can_be_an_activation(keras, function, theirs):
    theirs = theirs or (lambda z: keras.activations.leaky_relu(z, negative_slope=0.2))
    functions = {keras: theirs, tinynet: function}

    def make(module):
        return network(module, {"activation": functions[module]}, {"activation": "softmax"})

    theirs, ours = both(keras, make)
    agree(theirs.fit(X, Y, epochs=3, **QUIET), ours.fit(X, Y, epochs=3, **QUIET), rtol=3e-6)
    for model in (ours, network(tinynet, {}, {}, Activation(function), loss="mse")):
        assert tinynet.check_gradients(model, X, Y).ok
        assert ours.layers[0].forward(put(X)).dtype == np.float32


def test_an_activation_without_backward_predicts_but_is_refused_in_fit():
    model = network(tinynet, {"activation": abs}, {"activation": "softmax"})
    assert model.predict(X, verbose=0).shape == (20, 3)
    with pytest.raises(
        ValueError, match=r"backward_of\(abs\)\n    def abs_backward\(gradient, a\)"
    ):
        model.fit(X, Y, verbose=0)


def test_a_wrong_backward_of_an_activation_is_detected():
    def cube(z):
        return z * z * z

    activations.backward_of(cube)(
        lambda gradient, a: gradient * 3 * a * a
    )  # the derivative needs z, but this uses a
    model = network(tinynet, {"activation": cube}, {"activation": "softmax"})
    assert not tinynet.check_gradients(model, X, Y).ok
    activations.backward_of(cube, from_z=True)(lambda gradient, z: gradient * 3 * z * z)
    assert tinynet.check_gradients(model, X, Y).ok


def test_the_penalty_of_a_frozen_model_equals_keras(keras):
    def program(module):
        dense = module.layers.Dense(3, "softmax", kernel_regularizer="l2")
        start = START[0][:, :3], START[3]
        model = network_of(dense, inputs=(4,), library=module, weights=start)
        model.trainable = False
        model.compile("sgd", ONE_HOT)
        return model.evaluate(X, Y, verbose=0)

    expected, received = both(keras, program)
    assert received == pytest.approx(expected, rel=1e-6)
    layer = Dense(3, "softmax", kernel_regularizer="l2")
    model = tinynet.Sequential([tinynet.Input((4,)), layer], trainable=False)
    model.set_weights([START[0][:, :3], START[3]])
    model.compile("sgd", ONE_HOT)
    assert model.evaluate(X, Y, verbose=0) == pytest.approx(expected, rel=1e-6)


def test_a_penalty_may_depend_on_the_output_of_forward():
    class Quiet(tinynet.Layer):
        """A layer with a penalty on large outputs."""

        def forward(self, x, training=False):
            self.x = x
            return x

        def penalty(self):
            return 0.01 * (self.x**2).sum()

        def backward(self, gradient):
            return gradient + 0.02 * self.x

    model = network(tinynet, {"activation": "tanh"}, {"activation": "softmax"}, Quiet())
    assert tinynet.check_gradients(model, X, Y).ok
    model.fit(X, Y, **QUIET)


def test_freezing_a_layer_during_fit_removes_its_penalty():
    class Freeze(tinynet.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.layers[0].trainable = False

    model = network(tinynet, *REGULARIZED[0])
    losses = model.fit(X, Y, epochs=2, callbacks=[Freeze()], **QUIET).history["loss"]
    assert losses[1] < losses[0] - 0.1


def test_consecutive_seeds_give_independent_masks():
    first, second = masks(Dropout(0.5, seed=1), 300, 4), masks(Dropout(0.5, seed=2), 300, 4)
    same = [(a == b).mean() for a in first for b in second]
    assert 0.35 < min(same) < max(same) < 0.65
