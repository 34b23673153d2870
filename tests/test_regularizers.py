"""L2, Dropout and `Activation` layers, compared with Keras."""

import functools

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

L2_BY_NAME = {"activation": "tanh", "kernel_regularizer": "l2"}, SOFTMAX
TWICE_L2 = (
    {"activation": "sigmoid", "kernel_regularizer": "L2"},
    {**SOFTMAX, "kernel_regularizer": {"class_name": "L2", "config": {"l2": 0.1}}},
)


def trained_with_l2(module, twice, weighted, frozen):
    model = network(module, *(TWICE_L2 if twice else L2_BY_NAME), optimizer="sgd")
    model.layers[0].trainable = not frozen
    given = {"sample_weight": np.linspace(0, 2, 20).astype("float32")} if weighted else {}
    given |= {"epochs": 5, "validation_data": (X[:7], Y[:7]), **QUIET}
    return model.fit(X, Y, **given), model.evaluate(X, Y, verbose=0)


@pytest.mark.parametrize(
    ("twice", "weighted", "frozen"),
    [
        (False, True, False),
        (True, False, True),
        pytest.param(True, False, False, marks=pytest.mark.long),
        pytest.param(False, False, False, marks=pytest.mark.long),
        pytest.param(True, True, False, marks=pytest.mark.long),
    ],
)
def test_training_with_l2_equals_keras(compare, twice, weighted, frozen):
    compare(trained_with_l2, twice, weighted, frozen, rtol=3e-6)


def evaluated_frozen(module):
    dense = module.layers.Dense(3, "softmax", kernel_regularizer="l2")
    start = START[0][:, :3], START[3]
    model = network_of(dense, inputs=(4,), library=module, weights=start)
    model.trainable = False
    model.compile("sgd", ONE_HOT)
    return float(model.evaluate(X, Y, verbose=0))


def test_the_penalty_of_a_frozen_model_equals_keras(compare):
    compare(evaluated_frozen, rtol=1e-6)
    stack = [tinynet.Input((4,)), Dense(3, "softmax", kernel_regularizer="l2")]
    model = tinynet.Sequential(stack, trainable=False)
    model.set_weights([START[0][:, :3], START[3]])
    model.compile("sgd", ONE_HOT)
    assert model.evaluate(X, Y, verbose=0) == pytest.approx(evaluated_frozen(tinynet))


def test_the_penalty_is_part_of_the_loss_and_not_of_the_metrics():
    model = network(tinynet, *L2_BY_NAME, metrics=[ONE_HOT])
    loss, crossentropy = model.evaluate(X, Y, verbose=0)
    assert loss == pytest.approx(crossentropy + 0.01 * (START[0] ** 2).sum(), rel=1e-6)


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


@pytest.mark.parametrize(
    ("make", "name", "wrong", "said"),
    [
        (L2, "l2", [-1, float("nan"), float("inf"), "a", True], r"Write: L2\(0.01\)"),
        (
            functools.partial(Dense, 2),
            "kernel_regularizer",
            ["l3", 3, object()],
            "regularizer identifier",
        ),
        (Dropout, "rate", [-0.1, 1.1, "a", None, True, float("nan")], "`rate`.* between 0 and 1"),
        (
            functools.partial(Dropout, 0.5),
            "noise_shape",
            [(1,)],
            r"noise_shape=\(1,\), which Keras supports",
        ),
        (
            functools.partial(Dropout, 0.5),
            "seed",
            [0.5],
            "Expected seed to be a whole number or None",
        ),
    ],
)
def test_wrong_arguments_are_refused(make, name, wrong, said):
    for value in wrong:
        with pytest.raises(ValueError, match=said):
            make(**{name: value})


class Sum(Regularizer):
    """A user-defined penalty, λ Σ |w|; `wrong` is a factor on its gradient."""

    def __init__(self, wrong=1):
        self.wrong = wrong

    def __call__(self, x):
        return 0.1 * abs(x).sum()

    def gradient(self, x, out=None):
        return self.wrong * 0.1 * backend.of(x).sign(x)


class Quiet(tinynet.Layer):
    """A user-defined layer with penalties on its weight and on large outputs."""

    def build(self, input_shape):
        self.add_weight(input_shape[1:], "ones", name="slope")

    def forward(self, x, training=False):
        self.x = x
        return x * self.slope

    def penalty(self):
        return (self.slope**2).sum() + 0.01 * ((self.x * self.slope) ** 2).sum()

    def backward(self, gradient):
        gradient = gradient + 0.02 * self.x * self.slope
        self.slope_gradient[...] = (gradient * self.x).sum(axis=0) + 2 * self.slope
        return gradient * self.slope


@pytest.mark.parametrize("penalty", [L2(0.2), Sum(), Sum(wrong=-1)], ids=["L2", "sum", "wrong"])
def test_check_gradients_verifies_the_gradient_of_a_penalty(penalty):
    model = network(tinynet, {"kernel_regularizer": penalty, **TANH}, {}, loss="mse")
    wrong = [p.name for p in tinynet.check_gradients(model, X, Y).parameters if not p.ok]
    is_wrong = getattr(penalty, "wrong", 1) < 0
    assert wrong == [f"{model.layers[0].name}/kernel"] * is_wrong


def test_a_user_defined_layer_may_add_a_penalty_on_a_weight_and_an_output():
    stack = (6, "tanh"), Quiet(), (3, "softmax")
    model = network_of(*stack, inputs=(4,), loss=ONE_HOT, metrics=[ONE_HOT])
    loss, crossentropy = model.evaluate(X, Y, verbose=0)
    outputs = look(model.layers[0](X))
    assert loss == pytest.approx(crossentropy + 6 + 0.01 * (outputs**2).sum(), rel=1e-5)
    assert tinynet.check_gradients(model, X, Y).ok
    model.fit(X, Y, **QUIET)


def test_freezing_a_layer_during_fit_removes_its_penalty():
    class Freeze(tinynet.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.layers[0].trainable = False

    model = network(tinynet, *L2_BY_NAME)
    losses = model.fit(X, Y, epochs=2, callbacks=[Freeze()], **QUIET).history["loss"]
    assert losses[1] < losses[0] - 0.1


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


def test_dropout_does_nothing_outside_training(keras):
    layer = Dropout(0.5)
    x = put(X)
    assert layer.forward(x) is x
    assert layer.backward(x) is x
    assert_array_equal(layer(X), X)
    assert_array_equal(np.asarray(keras.layers.Dropout(0.5)(X)), X)
    model = network(tinynet, {}, SOFTMAX, Dropout(0.9))
    assert_array_equal(model.predict(X, verbose=0), model.predict(X, verbose=0))
    assert not np.array_equal(model(X, training=True), model(X, training=True))


def test_dropout_scales_as_in_keras_also_with_the_rates_0_and_1(keras):
    ones = np.ones((50, 20), "float32")
    for rate in (0, 0.0, 0.4, 1, 1.0):
        program = lambda module, r=rate: module.layers.Dropout(r)(ones, training=True)  # noqa: E731
        theirs, ours = (np.asarray(look(y)) for y in both(keras, program))
        agree(np.unique(theirs), np.unique(ours), rtol=1e-7)


def test_gradients_through_dropout_are_right():
    for layer in (Dropout(0.3), Dropout(0.3, seed=5)):
        model = network(tinynet, TANH, SOFTMAX, layer)
        assert tinynet.check_gradients(model, X, Y).ok
        drawn = layer.drawn
        model.trace(X, Y)
        assert layer.drawn == drawn


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


def test_a_failed_fit_restores_the_random_state():
    layers = Dropout(0.3, seed=1), Dropout(0.3)
    model = network(tinynet, TANH, SOFTMAX, *layers)
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
        assert_array_equal(look(layer.backward(x)), y)  # the gradient has the same mask


def test_the_configurations_of_dropout_and_activation_equal_keras(keras):
    def configured(module):
        layers = module.layers
        return [
            layers.Dropout(0.25, seed=3, name="d").get_config(),
            *(layers.Activation(name, name="a").get_config() for name in NAMES),
        ]

    same(keras, configured)
    assert Dropout.from_config(configured(keras)[0]).seed == 3
    model = tinynet.Sequential([tinynet.Input((4,)), Dense(2), Dropout(0.1), Activation("relu")])
    copy = tinynet.Sequential.from_config(model.get_config())
    assert [type(layer) for layer in copy.layers] == [Dense, Dropout, Activation]
    assert copy.layers[1].rate == 0.1


# Activation

NAMES = ["linear", "sigmoid", "tanh", "relu", "softmax"]


@pytest.mark.parametrize("name", NAMES)
def test_an_activation_layer_equals_the_activation_argument_of_dense(name):
    apart = network(tinynet, {}, SOFTMAX, Activation(name))
    within = network(tinynet, {"activation": name}, SOFTMAX)
    one, other = (model.fit(X, Y, epochs=3, **QUIET).history for model in (apart, within))
    assert one == other
    agree(apart.get_weights(), within.get_weights())


def trained_with_activation_layers(module):
    between = [module.layers.Activation(name) for name in NAMES]
    return network(module, {}, SOFTMAX, *between).fit(X, Y, epochs=3, **QUIET)


def test_training_with_activation_layers_equals_keras(compare):
    compare(trained_with_activation_layers, rtol=3e-6)


@pytest.mark.parametrize("loss", [ONE_HOT, SPARSE])
def test_a_softmax_layer_is_fused_with_the_cross_entropy(loss):
    target, relu = Y if loss == ONE_HOT else LABELS, {"activation": "relu"}
    stack = (6, "relu"), (3,), Activation("softmax")
    apart = network_of(*stack, inputs=(4,), loss=loss)
    within = network(tinynet, relu, SOFTMAX, loss=loss, metrics=[])
    assert tinynet.check_gradients(within, X, target).ok
    for model in (apart, within):  # with weights so large that some probabilities become 0
        model.set_weights([100 * weight for weight in START])
    losses = [model.fit(X, target, epochs=3, **QUIET).history["loss"] for model in (apart, within)]
    assert losses[0] == losses[1]
    assert apart.objective.fused
    assert losses[0][0] > 17  # more than clipped probabilities allow


def test_an_activation_layer_does_not_change_its_input():
    x = put(X.copy())
    Activation("sigmoid").forward(x)
    assert_array_equal(look(x), X)
    model = network_of(Flatten(), Activation("tanh"), (3,), inputs=(2, 2), loss="mse")
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


def trained_with_plain_functions(module):
    ours = module is tinynet
    leaky = leaky_relu if ours else module.layers.LeakyReLU(negative_slope=0.2)
    between = module.layers.Activation(swish if ours else "swish")
    return network(module, {"activation": leaky}, SOFTMAX, between).fit(X, Y, epochs=3, **QUIET)


def test_a_plain_function_can_be_an_activation(compare):
    compare(trained_with_plain_functions, rtol=3e-6)
    for function in (swish, leaky_relu):
        dense = network(tinynet, {"activation": function}, SOFTMAX)
        assert dense.layers[0].forward(put(X)).dtype == np.float32
        for model in (dense, network(tinynet, {}, {}, Activation(function), loss="mse")):
            assert tinynet.check_gradients(model, X, Y).ok


def test_an_activation_without_backward_predicts_but_is_refused_in_fit():
    model = network(tinynet, {"activation": abs}, SOFTMAX)
    assert model.predict(X, verbose=0).shape == (20, 3)
    words = r"backward_of\(abs\)\n    def abs_backward\(gradient, a\)"
    with pytest.raises(ValueError, match=words):
        model.fit(X, Y, verbose=0)


def test_a_wrong_backward_of_an_activation_is_detected():
    def cube(z):
        return z * z * z

    def slope(gradient, z):
        return gradient * 3 * z * z

    model = network(tinynet, {"activation": cube}, SOFTMAX)
    activations.backward_of(cube)(slope)  # which would receive a, not z
    assert not tinynet.check_gradients(model, X, Y).ok
    activations.backward_of(cube, from_z=True)(slope)
    assert tinynet.check_gradients(model, X, Y).ok
