"""`Sequential` from its first layer to its second `fit`, compared with Keras where possible.

However a model is built, configured, copied, shared, frozen, trained or evaluated, its shapes,
names, numbers and types equal Keras's, and its weights are views into one vector. Arrays of every
kind are accepted and left unchanged, and a training step allocates no memory.
"""

import copy
import gc
import json
import pickle
import random
import subprocess
import sys
import tracemalloc
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from arrays import address, array_equal, look, shares_memory
from networks import ONE_HOT, SPARSE, network, random_weights, samples, tutorial as plain_tutorial
from oracle import agree, both, renewed, same, variables

import tinynet
from tinynet import Input, Sequential, layers
from tinynet.callbacks import Callback

# Many tests use unscaled bytes as inputs, because they do not depend on what is learned.
pytestmark = [
    pytest.mark.computes,
    pytest.mark.filterwarnings("ignore:Expected inputs between about"),
]

RNG = np.random.default_rng(5)
X, LABELS, Y = samples(RNG, 10, (4,), 3)
WEIGHTS = RNG.uniform(0.5, 2, 10).astype("float32")
START = random_weights(RNG, 4, 5, 3)

# After 100 steps, Keras's backends differ by 2e-7 in the loss and by 1.5e-7 in a weight.
close = partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-6)
assert_agree = partial(agree, rtol=1e-6, atol=1e-6, close=np.testing.assert_allclose)


def stack(lib, **compiled):
    """Return a 4-5-3 network, sigmoid and softmax, always with the same initial weights."""
    layers = (5, "sigmoid"), (3, "softmax")
    return network(*layers, inputs=(4,), library=lib, weights=START, **compiled)


def compiled(lib, metrics=("acc",), optimizer="adam"):
    return stack(lib, loss=ONE_HOT, optimizer=optimizer, metrics=list(metrics))


def tutorial(lib):
    model = lib.Sequential()
    model.add(lib.layers.Flatten(input_shape=(28, 28)))
    model.add(lib.layers.Dense(100, activation="sigmoid"))
    model.add(lib.layers.Dense(144, activation="sigmoid"))
    model.add(lib.layers.Dense(10, activation="softmax"))
    return model


@pytest.fixture(scope="module")
def keras_model(keras):
    """One Keras model for the whole file, because Keras takes seconds to compile a model."""
    return compiled(keras)


@pytest.fixture
def pair(keras_model):
    """Keras's model and tinynet's, with equal weights and new optimizers."""
    return renewed(keras_model, START), compiled(tinynet)


def assert_same_state(theirs, ours):
    """Assert equal weights and equal optimizer state, in Keras's order."""
    assert_agree(theirs.get_weights(), ours.get_weights())
    assert_agree(variables(theirs), variables(ours))


def as_json(config):
    return json.loads(json.dumps(config))


def training_bits(model, x=X, y=Y, **arguments):
    """Train briefly, and return the history and the weights' bytes for an exact comparison."""
    history = model.fit(x, y, **{"batch_size": 4, "epochs": 2, "verbose": 0, **arguments}).history
    return history, [weight.tobytes() for weight in model.get_weights()]


# Building, naming, configuring


# Keras compiles anew for every shape of a weight, so most weights in this file are (4, 5).
FIRST_LAYERS = {
    "Input": lambda lib: [lib.Input((4,)), lib.layers.Dense(5, name="d")],
    "Input with a batch size": lambda lib: [lib.Input((4,), 8), lib.layers.Dense(5, name="d")],
    "Input of a batch shape": lambda lib: [
        lib.Input(batch_shape=(8, 4), name="in", dtype="uint8"),
        lib.layers.Dense(5, name="d"),
    ],
    "images": lambda lib: [lib.Input((2, 2)), lib.layers.Flatten(), lib.layers.Dense(5)],
    "Dense on two axes": lambda lib: [lib.Input((2, 4)), lib.layers.Dense(5, use_bias=False)],
}


@pytest.mark.parametrize("first", FIRST_LAYERS)
def test_a_known_input_shape_builds_with_the_shapes_and_config_of_keras(keras, first):
    def program(lib):
        lib.utils.clear_session()
        model = lib.Sequential(FIRST_LAYERS[first](lib))
        assert model.built
        return model.input_shape, model.output_shape, as_json(model.get_config())

    same(keras, program)


WAYS_TO_BUILD = {
    "build": lambda model: model.build((None, 4)),
    "build with a list": lambda model: model.build([None, 4]),
    "build with a batch size": lambda model: model.build((7, 4)),
    "predict": lambda model: model.predict(X, batch_size=4, verbose=0),
    "predict all at once": lambda model: model.predict(X, verbose=0),
    "call": lambda model: model(X),
    "test_on_batch": lambda model: model.test_on_batch(X[:4], START[0]),
    "fit": lambda model: model.fit(X, X.repeat(2, 1)[:, :5], batch_size=4, epochs=0, verbose=0),
}


@pytest.mark.parametrize("way", WAYS_TO_BUILD)
def test_a_model_built_later_has_the_shapes_and_config_of_keras(keras, way):
    def program(lib):
        lib.utils.clear_session()
        model = network(lib.layers.Dense(5, "softmax", name="d"), library=lib, loss=ONE_HOT)
        assert not model.built
        WAYS_TO_BUILD[way](model)
        assert model.built
        return model.input_shape, model.output_shape, as_json(model.get_config())

    same(keras, program)


@pytest.mark.parametrize(
    ("method", "arguments", "batch"),
    [
        ("fit", {"batch_size": 4, "verbose": 0}, 4),
        ("fit", {"verbose": 0}, 10),
        ("evaluate", {"batch_size": 4, "verbose": 0}, 4),
        ("train_on_batch", {}, 10),
    ],
)
def test_a_model_built_from_data_has_the_batch_size_in_its_shapes(method, arguments, batch):
    model = network((5,), (3, "softmax"), loss=ONE_HOT)
    getattr(model, method)(X, Y, **arguments)
    assert (model.input_shape, model.output_shape) == ((batch, 4), (batch, 3))
    assert [layer.output_shape for layer in model.layers] == [(batch, 5), (batch, 3)]
    assert model.predict(X[:3], verbose=0).shape == (3, 3)  # other batch sizes are accepted


@pytest.mark.filterwarnings("ignore:Do not pass an `input_shape`")
def test_the_config_of_the_tutorial_model_equals_keras(keras):
    def program(lib):
        lib.utils.clear_session()
        return as_json(tutorial(lib).get_config())

    same(keras, program)


def test_the_input_shape_of_a_layer_builds_like_an_input():
    flatten = layers.Flatten(input_shape=(2, 3))
    model = Sequential(
        [flatten, layers.Dense(4, input_shape=(99,))]
    )  # only the first layer's counts
    assert (model.input_shape, model.output_shape) == ((None, 2, 3), (None, 4))
    assert model.layers[0] is flatten
    assert Sequential([layers.Dense(2, input_dim=7)]).input_shape == (None, 7)


def test_the_config_of_an_unbuilt_model_equals_keras(keras):
    def program(lib):
        lib.utils.clear_session()
        dense = lib.layers.Dense(3, "relu", kernel_initializer="he_normal", trainable=False)
        return as_json(lib.Sequential([lib.layers.Flatten(), dense]).get_config())

    same(keras, program)


@pytest.mark.filterwarnings("ignore:Do not pass an `input_shape`")
@pytest.mark.parametrize(
    "make",
    [
        tutorial,
        lambda lib: lib.Sequential([lib.layers.Flatten(), lib.layers.Dense(3, "tanh")], name="m"),
        lambda lib: lib.Sequential(
            [lib.Input((4,), 8), lib.layers.Dense(5, use_bias=False, trainable=False)]
        ),
    ],
    ids=["tutorial", "unbuilt", "batch size and frozen"],
)
def test_from_config_recreates_a_model_from_either_library(keras, make):
    for config in both(keras, lambda lib: make(lib).get_config()):
        model = Sequential.from_config(as_json(config))
        assert as_json(model.get_config()) == as_json(config)
        assert model.built == ("build_input_shape" in config)
        assert Sequential.from_config(config).get_config() == model.get_config()


def test_from_config_takes_a_configuration_without_its_defaults():
    dense = {"class_name": "Dense", "config": {"units": 3, "activation": "relu", "name": "d"}}
    model = Sequential.from_config({"layers": [dense], "build_input_shape": [None, 4]})
    assert model.output_shape == (None, 3)
    assert model.get_layer("d").activation is tinynet.activations.relu


def test_a_config_of_a_layer_that_tinynet_lacks_is_refused():
    config = {"layers": [{"class_name": "Conv2D", "config": {"filters": 3}}]}
    with pytest.raises(ValueError, match=r"Could not interpret layer identifier: Conv2D.*Dense"):
        Sequential.from_config(config)


def test_automatic_names_equal_keras(keras):
    def program(lib):
        lib.utils.clear_session()
        dense, flatten, adam = lib.layers.Dense, lib.layers.Flatten, lib.optimizers.Adam
        made = [dense(1), dense(1), dense(1, name="mine"), dense(1), flatten(), flatten(), adam()]
        made += [adam(), lib.optimizers.SGD(), lib.Sequential(), lib.Sequential(name="me")]
        made += [lib.Sequential(), dense(1, name="dense_3"), dense(1)]
        return [thing.name for thing in made]

    same(keras, program)


def test_layers_and_get_layer_behave_as_in_keras(keras):
    def program(lib):
        first, second = lib.layers.Dense(5, name="first"), lib.layers.Dense(3, name="second")
        model = lib.Sequential([lib.Input((4,)), first, second])
        assert model.layers == [first, second]
        model.layers.clear()  # a copy
        assert model.layers == [first, second]
        assert model.get_layer("second") is second
        assert model.get_layer(index=0) is first
        assert model.get_layer(index=-1) is second
        with pytest.raises(ValueError, match=r"No such layer: third\. Existing layers are: "):
            model.get_layer("third")
        with pytest.raises(ValueError, match=r"retrieve layer at index 2 .* only has 2 layers"):
            model.get_layer(index=2)
        with pytest.raises(ValueError, match="Provide either a layer name or layer index"):
            model.get_layer()
        with pytest.raises(ValueError, match="Provide only a layer name or a layer index"):
            model.get_layer("first", 0)

    both(keras, program)


def test_add_and_pop_behave_as_in_keras(keras):
    def program(lib):
        dense = lib.layers.Dense
        model = lib.Sequential([lib.Input((4,)), dense(5, name="a"), dense(3, name="b")])
        kept, popped = model.layers[0].get_weights(), model.pop()
        log = [popped.name, popped.built, model.built, model.output_shape, model.count_params()]
        model.add(dense(3, name="c", use_bias=False))
        log += [model.built, model.output_shape, model.count_params(), len(model.weights)]
        assert array_equal(model.layers[0].get_weights()[0], kept[0])
        model.pop(), model.pop()
        log += [model.built, model.layers, model.weights]
        model.add(dense(5, name="d"))
        log += [model.built, model.input_shape, model.output_shape]
        with pytest.raises(IndexError):
            lib.Sequential().pop()
        return log

    same(keras, program)


def test_an_added_layer_that_does_not_fit_changes_nothing():
    model = stack(tinynet)
    layer = layers.Dense(2, name=model.layers[0].name)
    for bad in (layer, Input((4,)), 3, layers.Dense):
        with pytest.raises(ValueError, match=r"unique names|already been configured|instances of"):
            model.add(bad)
    reached = Sequential([Input((4,))])
    with pytest.raises(ValueError, match="min_ndim=2"):
        Sequential([Input(batch_shape=(4,)), layers.Dense(2)])
    other = layers.Dense(3)
    other.build((None, 9))
    other.built = True
    with pytest.raises(ValueError, match="expected axis -1 of input shape to have value 9"):
        reached.add(other)
    assert (reached.layers, reached.built) == ([], False)
    assert len(model.layers) == 2
    assert_one_vector(model)


def test_an_unbuilt_model_raises_the_errors_of_keras(keras):
    def program(lib):
        model = lib.Sequential([lib.layers.Dense(3)], name="m")
        assert (model.weights, model.get_weights(), model.trainable_weights) == ([], [], [])
        message = r"You tried to call `count_params` on layer 'm', but the layer isn't built"
        with pytest.raises(ValueError, match=message):
            model.count_params()
        with pytest.raises(AttributeError, match="'m' has no defined output shape yet"):
            _ = model.output_shape
        with pytest.raises(ValueError, match=r"weight list of length 1.* was expecting 0 weights"):
            model.set_weights([np.zeros(3)])
        with pytest.raises(ValueError, match="cannot be built because it has no layers"):
            lib.Sequential().build((None, 4))

    both(keras, program)


@pytest.mark.filterwarnings("ignore:Do not pass an `input_shape`")
def test_count_params_counts_each_layer(keras):
    def program(lib):
        model = tutorial(lib)
        return [layer.count_params() for layer in model.layers], model.count_params()

    assert same(keras, program) == ([0, 78_500, 14_544, 1_450], 94_494)


def trainable_state(model):
    """Return the `trainable` flags of a model, its config and layers, and its weight counts."""
    lists = model.trainable_weights, model.non_trainable_weights, model.weights
    flags = [model.trainable, model.get_config()["trainable"]]
    return [*flags, *(layer.trainable for layer in model.layers), *map(len, lists)]


FREEZES = {
    "the model": [lambda model: setattr(model, "trainable", False)],
    "the model, and back": [
        lambda model: setattr(model, "trainable", False),
        lambda model: setattr(model, "trainable", True),
    ],
    "one layer": [lambda model: setattr(model.layers[0], "trainable", False)],
    "layer by layer": [
        lambda model: setattr(model.layers[0], "trainable", False),
        lambda model: setattr(model.layers[1], "trainable", False),
    ],
    "all but one": [
        lambda model: setattr(model, "trainable", False),
        lambda model: setattr(model.layers[1], "trainable", True),
    ],
}


@pytest.mark.parametrize("name", FREEZES)
def test_setting_trainable_behaves_as_in_keras(keras, name):
    def program(lib):
        model = stack(lib)
        return [
            trainable_state(model),
            *((change(model), trainable_state(model)) for change in FREEZES[name]),
        ]

    same(keras, program)


def test_the_trainable_argument_behaves_as_in_keras(keras):
    def program(lib):
        return trainable_state(
            lib.Sequential([lib.Input((4,)), lib.layers.Dense(5)], trainable=False)
        )

    same(keras, program)


def test_repr_equals_keras(keras):
    same(keras, lambda lib: repr(lib.Sequential(name="m")))
    same(keras, lambda lib: repr(lib.layers.Dense(3, name="d")))


# Weights, and the vector that holds them


def assert_one_vector(model):
    """Assert that kernels and biases are views of `flat`, in order, and gradients likewise."""
    names = [
        (layer, name)
        for layer in model.layers
        for name in ("kernel", "bias")
        if getattr(layer, name, None) is not None
    ]
    weights = [getattr(layer, name) for layer, name in names]
    assert [id(weight) for weight in weights] == [id(weight) for weight in model.weights]
    for vector, suffix in ((model.flat, ""), (model.parameters.gradients, "_gradient")):
        assert vector.ndim == 1
        start = address(vector)
        for layer, name in names:
            part = getattr(layer, name + suffix)
            assert address(part) == start
            assert part.flags.c_contiguous
            start += part.nbytes
        assert start == address(vector) + vector.nbytes
    assert array_equal(model.flat, np.concatenate([w.ravel() for w in model.get_weights()]))


def fitted(model):
    model.fit(X, Y, batch_size=4, epochs=2, verbose=0)
    return model


def changed(model, *calls):
    for method, *arguments in calls:
        getattr(model, method)(*arguments)
    return model


def with_frozen_layer(model):
    model.layers[0].trainable = False
    model.compile("adam", ONE_HOT)
    return fitted(model)


STATES = {
    "built": lambda model: model,
    "built from data": lambda _: fitted(unbuilt_copy()),
    "after fit": fitted,
    "after set_weights": lambda model: changed(fitted(model), ("set_weights", START)),
    "after add": lambda model: changed(fitted(model), ("add", layers.Dense(2))),
    "after pop": lambda model: changed(fitted(model), ("pop",)),
    "after pop and add": lambda model: changed(fitted(model), ("pop",), ("add", layers.Dense(3))),
    "after compile": lambda model: changed(fitted(model), ("compile", "sgd", ONE_HOT)),
    "with a frozen layer": with_frozen_layer,
    "from its config": lambda model: Sequential.from_config(model.get_config()),
    "deepcopy": copy.deepcopy,
    "deepcopy after fit": lambda model: copy.deepcopy(fitted(model)),
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "pickle after fit": lambda model: pickle.loads(pickle.dumps(fitted(model))),
}


def unbuilt_copy():
    return network((5, "sigmoid"), (3, "softmax"), loss=ONE_HOT)


@pytest.mark.parametrize("state", STATES)
def test_weights_are_views_into_one_vector(state):
    model = STATES[state](compiled(tinynet))
    assert_one_vector(model)
    before = model.get_weights()
    model.flat += 1
    for old, new in zip(before, model.get_weights(), strict=True):
        assert array_equal(old + np.float32(1), new)


def test_get_weights_copies_and_weights_are_live():
    model = compiled(tinynet)
    copies, live = model.get_weights(), model.weights
    for ours, start in zip(copies, START, strict=True):
        assert array_equal(ours, start)
        assert type(ours) is np.ndarray
        assert ours.base is None
    copies[0][:] = 99
    assert array_equal(model.get_weights()[0], START[0])
    fitted(model)
    for weight, now in zip(live, model.get_weights(), strict=True):
        assert array_equal(weight, now)
    assert not array_equal(live[0], START[0])
    model.set_weights(START)
    assert array_equal(live[0], START[0])
    given = [weight.copy() for weight in START]
    model.set_weights(given)
    given[0][:] = 99  # set_weights has copied it
    assert array_equal(live[0], START[0])


def test_set_weights_takes_lists_and_other_types():
    model = stack(tinynet)
    model.set_weights([weight.astype("float64").tolist() for weight in START])
    assert [weight.dtype for weight in model.weights] == [np.float32] * 4
    assert array_equal(model.get_weights()[2], START[2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda new: new[:3], r"weight list of length 3, but the layer was expecting 4 weights"),
        (lambda new: [*new, new[0]], r"weight list of length 5.*expecting 4 weights"),
        (lambda new: new[::-1], r"weight shape \(4, 5\) is not compatible.*\(3,\)"),
        (lambda new: [*new[:3], new[1]], r"weight shape \(3,\) is not compatible.*shape \(5,\)"),
    ],
)
def test_set_weights_changes_nothing_on_an_error_with_the_message_of_keras(pair, change, message):
    new = [weight + 1 for weight in START]
    for model in pair:
        with pytest.raises(ValueError, match=message):
            model.set_weights(change(new))
    assert all(map(np.array_equal, pair[1].get_weights(), START))


def test_set_weights_refuses_strings_before_it_changes_anything():
    model = stack(tinynet)
    words = np.full(START[3].shape, "a")
    with pytest.raises(ValueError, match=r"expects numeric weights.*dtype <U1"):
        model.set_weights([weight + 1 for weight in START[:3]] + [words])
    assert all(map(np.array_equal, model.get_weights(), START))


@pytest.mark.parametrize(
    "clone",
    [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))],
    ids=["deepcopy", "pickle"],
)
@pytest.mark.parametrize("state", ["compiled", "fitted", "unbuilt"])
def test_a_copy_trains_like_the_original_and_does_not_change_it(clone, state):
    model = unbuilt_copy() if state == "unbuilt" else compiled(tinynet)
    if state == "fitted":
        fitted(model)
    twin = clone(model)
    before = training_bits(model, epochs=0)
    continued = training_bits(twin, shuffle=False)
    assert training_bits(model, epochs=0)[1] == before[1]
    assert training_bits(model, shuffle=False) == continued
    assert_one_vector(twin)
    assert_one_vector(model)
    assert not shares_memory(model.flat, twin.flat)


def test_a_replaced_weight_array_is_refused_with_the_line_to_write():
    model = fitted(compiled(tinynet))
    own = model.layers[0].kernel
    model.layers[0].kernel = own.copy()
    for train in (partial(model.fit, verbose=0), model.train_on_batch):
        with pytest.raises(ValueError, match=r"kernel to be the array .* layer\.kernel\[\.\.\.\]"):
            train(X, Y)
    model.layers[0].kernel = own
    assert_one_vector(fitted(model))


def test_copying_a_model_during_fit_does_not_affect_training():
    copies = []

    class Keep(Callback):
        def on_train_batch_end(self, batch, logs=None):
            copies.append(copy.deepcopy(self.model))

    plain = training_bits(compiled(tinynet), shuffle=False)
    watched = compiled(tinynet)
    assert training_bits(watched, shuffle=False, callbacks=[Keep()]) == plain
    assert all(map(np.array_equal, copies[-1].get_weights(), watched.get_weights()))
    assert not array_equal(copies[0].get_weights()[0], copies[1].get_weights()[0])


# Layers shared by two models


def test_models_that_share_layers_predict_with_the_current_weights():
    owner = compiled(tinynet)
    borrower = Sequential([Input((4,)), *owner.layers])
    head = Sequential([Input((4,)), owner.layers[0]])
    longer = Sequential([Input((4,)), *owner.layers, layers.Dense(2)])
    for _ in range(2):
        fitted(owner)
        assert array_equal(borrower.predict(X, verbose=0), owner.predict(X, verbose=0))
        hidden = owner.layers[0](X)
        assert array_equal(head.predict(X, verbose=0), hidden)
        assert longer.predict(X, verbose=0).shape == (10, 2)
    assert_one_vector(owner)


def test_a_borrowing_model_can_evaluate_but_not_fit():
    owner = compiled(tinynet)
    borrower = Sequential([Input((4,)), *owner.layers], name="guest")
    borrower.compile("adam", ONE_HOT, metrics=["acc"])
    assert borrower.evaluate(X, Y, verbose=0) == owner.evaluate(X, Y, verbose=0)
    for train in (partial(borrower.fit, verbose=0), borrower.train_on_batch):
        with pytest.raises(ValueError, match=rf"'guest' to own.*model '{owner.name}'.*Train that"):
            train(X, Y)
    assert all(map(np.array_equal, owner.get_weights(), START))
    assert borrower.optimizer.iterations == 0
    assert_one_vector(fitted(owner))


def test_a_borrowing_model_can_train_after_its_owner_is_deleted():
    owner = compiled(tinynet)
    borrower = Sequential([Input((4,)), *owner.layers])
    borrower.compile("adam", ONE_HOT)
    expected = training_bits(owner, shuffle=False)
    borrower.set_weights(START)
    del owner
    gc.collect()
    assert training_bits(borrower, shuffle=False)[1] == expected[1]
    assert_one_vector(borrower)


def test_a_layer_popped_from_a_borrowing_model_stays_with_its_owner():
    owner = compiled(tinynet)
    borrower = Sequential([Input((4,)), *owner.layers])
    layer = borrower.pop()
    third = Sequential([Input((5,)), layer])
    third.compile("adam", ONE_HOT)
    assert_one_vector(fitted(owner))
    assert third.parameters.other_owner is owner.parameters


def test_a_popped_layer_can_be_owned_by_another_model():
    first = fitted(compiled(tinynet))
    layer = first.pop()
    weights = layer.get_weights()
    second = Sequential([Input((5,)), layer])
    second.compile("adam", ONE_HOT)
    assert_one_vector(first)
    assert_one_vector(second)
    assert array_equal(second.get_weights()[0], weights[0])
    second.fit(X.repeat(2, axis=1)[:, :5], Y, verbose=0)
    assert_one_vector(second)


# Frozen layers


def deep(lib, frozen=()):
    """Return a 4-6-5-3 network; freezing its middle layer leaves two separate trainable parts."""
    start = random_weights(np.random.default_rng(3), 4, 6, 5, 3)
    stacked = (6, "tanh"), (5, "sigmoid"), (3, "softmax")
    model = network(*stacked, inputs=(4,), library=lib, weights=start)
    for number in frozen:
        model.layers[number].trainable = False
    model.compile("adam", ONE_HOT)
    return model


@pytest.mark.parametrize("frozen", [(0,), (1,)], ids=["lowest", "middle"])
def test_frozen_layers_train_as_in_keras(keras, frozen):
    theirs, ours = both(keras, deep, frozen)
    start = ours.get_weights()
    arguments = {"batch_size": 5, "epochs": 3, "shuffle": False, "verbose": 0}
    assert_agree(theirs.fit(X, Y, **arguments), ours.fit(X, Y, **arguments))
    assert_same_state(theirs, ours)
    stood_still = [array_equal(a, b) for a, b in zip(ours.get_weights(), start, strict=True)]
    assert stood_still == [layer in frozen for layer in (0, 0, 1, 1, 2, 2)]
    assert len(ours.trainable_weights) == 4
    assert len(ours.non_trainable_weights) == 2
    assert_one_vector(ours)


def test_fit_of_a_fully_frozen_model_only_reports_the_loss():
    model = deep(tinynet, (0, 1, 2))
    before = model.get_weights()
    loss = model.fit(X, Y, epochs=2, verbose=0).history["loss"]
    assert loss[0] == pytest.approx(loss[1], rel=1e-6)  # each epoch sums in another order
    assert all(map(np.array_equal, model.get_weights(), before))


@pytest.mark.parametrize("change", ["freeze", "unfreeze", "add", "pop"])
def test_changed_trainable_weights_are_refused_until_compiled_again(change):
    model = deep(tinynet, (1,))
    model.fit(X, Y, verbose=0)
    if change == "add":
        model.add(layers.Dense(3, "softmax"))
    elif change == "pop":
        model.pop()
    else:
        model.layers[0 if change == "freeze" else 1].trainable = change == "unfreeze"
    before, iterations = model.get_weights(), model.optimizer.iterations
    targets = np.eye(model.output_shape[-1])[LABELS]
    for train in (partial(model.fit, verbose=0), model.train_on_batch):
        with pytest.raises(ValueError, match=r"built for other weights.*model\.compile\(…\) again"):
            train(X, targets)
    assert all(map(np.array_equal, model.get_weights(), before))
    assert model.optimizer.iterations == iterations
    model.compile("adam", ONE_HOT)
    model.fit(X, targets, verbose=0)


def test_an_optimizer_of_another_model_is_refused():
    model = fitted(compiled(tinynet))
    other = compiled(tinynet, optimizer=model.optimizer)
    with pytest.raises(ValueError, match="it belongs to another model"):
        other.fit(X, Y, verbose=0)
    assert all(map(np.array_equal, other.get_weights(), START))


# Training: history and state, compared with Keras


HELD_OUT = (X[:6] * 0.5, Y[:6])
FITS = {
    "uneven batches": {"epochs": 3},
    "no epoch": {"epochs": 0},
    "initial epoch": {"epochs": 4, "initial_epoch": 2},
    "initial epoch after the last": {"epochs": 2, "initial_epoch": 3},
    "validation data": {"epochs": 2, "validation_data": HELD_OUT},
    "validation split": {"epochs": 2, "validation_split": 0.4},
    "split with a fraction of a sample": {"epochs": 2, "validation_split": 0.35},
    "validation data before split": {"validation_data": HELD_OUT, "validation_split": 0.4},
    "validation every second epoch": {
        "epochs": 5, "validation_data": HELD_OUT, "validation_freq": 2
    },
    "validation after given epochs": {
        "epochs": 4, "validation_data": HELD_OUT, "validation_freq": [1, 3]
    },
    "validation batch size": {
        "epochs": 2, "validation_data": HELD_OUT, "validation_batch_size": 2
    },
    "validation steps": {"epochs": 3, "validation_data": (X, Y), "validation_steps": 2},
    "half a pass an epoch": {"epochs": 5, "batch_size": 2, "steps_per_epoch": 2},
    "a pass an epoch": {"epochs": 2, "steps_per_epoch": 3},
    "most of a pass an epoch": {"epochs": 4, "steps_per_epoch": 2},
    "steps that run out": {"epochs": 3, "steps_per_epoch": 5},
    "weighted samples": {"epochs": 2, "sample_weight": WEIGHTS},
    "weighted classes": {"epochs": 2, "class_weight": {0: 0.5, 2: 3.0}},
    "weighted validation": {"epochs": 2, "validation_data": (*HELD_OUT, WEIGHTS[:6])},
    "weighted classes and split": {
        "epochs": 2, "class_weight": {0: 0.5, 2: 3.0}, "validation_split": 0.4
    },
    "weights and split": {"epochs": 2, "sample_weight": WEIGHTS, "validation_split": 0.4},
}  # fmt: skip


@pytest.mark.parametrize("name", FITS)
def test_history_and_weights_after_fit_equal_keras(pair, name):
    given = {"batch_size": 4, **FITS[name]}
    results = []
    for model in pair:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            history = model.fit(X, Y, shuffle=False, verbose=0, **given)
        ran_out = sum("Your input ran out of data" in str(one.message) for one in caught)
        results.append((history, ran_out))
    (theirs, their_warnings), (ours, our_warnings) = results
    assert_agree(theirs, ours)
    assert our_warnings == their_warnings
    if given.get("epochs") != 0:
        assert_same_state(*pair)


@pytest.mark.parametrize("verbose", [0, 1, 2, "auto"])
def test_history_params_equal_keras_and_the_default_batch_size_is_32(pair, verbose):
    x, y = X.repeat(7, axis=0), Y.repeat(7, axis=0)
    theirs, ours = (model.fit(x, y, epochs=0, verbose=verbose).params for model in pair)
    assert ours == theirs
    assert ours["steps"] == 3
    default, explicit = (
        training_bits(compiled(tinynet), x, y, shuffle=False, batch_size=size)
        for size in (None, 32)
    )
    assert default == explicit


def test_sample_weights_may_be_a_column():
    row, column = (
        training_bits(compiled(tinynet), sample_weight=weights, shuffle=False)
        for weights in (WEIGHTS, WEIGHTS[:, None])
    )
    assert row == column


def test_a_second_fit_continues_the_optimizer_state_as_in_keras(pair):
    how = {"batch_size": 4, "epochs": 2, "shuffle": False, "verbose": 0}
    for _ in range(2):
        assert_agree(*(model.fit(X, Y, **how) for model in pair))
    assert_same_state(*pair)
    assert pair[1].optimizer.iterations == 12


def test_compiling_again_resets_the_optimizer():
    model = compiled(tinynet)
    first = training_bits(model, shuffle=False)
    model.set_weights(START)
    assert training_bits(model, shuffle=False) != first  # Adam keeps its state
    model.set_weights(START)
    model.compile("adam", ONE_HOT, metrics=["acc"])
    assert model.optimizer.iterations == 0
    assert training_bits(model, shuffle=False) == first


def test_fit_returns_the_history_of_the_model():
    model = compiled(tinynet)
    history = model.fit(X, Y, epochs=2, verbose=0)
    assert model.history is history
    assert history.model is model
    assert list(history.history) == ["acc", "loss"]
    assert model.fit(X, Y, verbose=0) is not history


def stop_at(lib, moment, number):
    """Return a callback that stops training at one moment, and its log of the calls."""
    log = []

    class Stop(lib.callbacks.Callback):
        def note(self, name, count):
            log.append((name, count))
            if (name, count) == (moment, number):
                self.model.stop_training = True

        def on_train_begin(self, logs=None):
            self.note("train", None)

        def on_epoch_begin(self, epoch, logs=None):
            self.note("epoch begin", epoch)

        def on_epoch_end(self, epoch, logs=None):
            self.note("epoch end", epoch)

        def on_train_batch_end(self, batch, logs=None):
            self.note("batch", batch)

    return Stop(), log


@pytest.mark.parametrize(
    ("moment", "number"), [("batch", 1), ("epoch begin", 1), ("epoch end", 1), ("train", None)]
)
def test_stop_training_stops_where_keras_stops(keras, pair, moment, number):
    seen = []
    for model, lib in zip(pair, (keras, tinynet), strict=True):
        callback, log = stop_at(lib, moment, number)
        history = model.fit(
            X, Y, batch_size=4, epochs=3, shuffle=False, verbose=0,
            callbacks=[callback], validation_data=HELD_OUT,
        )  # fmt: skip
        seen.append((log, history.epoch, model.stop_training))
        assert len(history.history["val_loss"]) == len(history.epoch)
    assert seen[1] == seen[0]
    ours = pair[1]
    assert len(ours.fit(X, Y, epochs=2, verbose=0).epoch) == 2  # the next fit is not stopped
    assert not ours.stop_training


# Evaluating and predicting, compared with Keras


CALLS = {
    "evaluate": lambda model: model.evaluate(X, Y, batch_size=4, verbose=0),
    "evaluate as a dictionary": lambda model: model.evaluate(
        X, Y, batch_size=4, verbose=0, return_dict=True
    ),
    "evaluate some steps": lambda model: model.evaluate(X, Y, batch_size=4, steps=2, verbose=0),
    "evaluate weighted": lambda model: model.evaluate(
        X, Y, batch_size=4, sample_weight=WEIGHTS, verbose=0
    ),
    "test_on_batch": lambda model: model.test_on_batch(X[:4], Y[:4]),
    "test_on_batch as a dictionary": lambda model: model.test_on_batch(
        X[:4], Y[:4], return_dict=True
    ),
    "train_on_batch": lambda model: [model.train_on_batch(X[i : i + 4], Y[i : i + 4])
                                     for i in (0, 4)],
    "train_on_batch as a dictionary": lambda model: model.train_on_batch(
        X[:4], Y[:4], return_dict=True
    ),
    "train_on_batch weighted": lambda model: model.train_on_batch(X[:4], Y[:4], WEIGHTS[:4]),
    "train_on_batch, weighted classes": lambda model: model.train_on_batch(
        X[:4], Y[:4], class_weight={0: 0.5, 1: 2.0}
    ),
    "predict": lambda model: model.predict(X, batch_size=4, verbose=0),
    "predict some steps": lambda model: model.predict(X, batch_size=4, steps=2, verbose=0),
    "call": lambda model: np.asarray(model(X[:4])),
    "call in training": lambda model: np.asarray(model(X[:4], training=True)),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_results_of_a_call_equal_keras(pair, name):
    assert_agree(*map(CALLS[name], pair))
    assert_agree(*(model.get_weights() for model in pair))


@pytest.mark.parametrize("steps", [4, 9])
def test_too_many_steps_warn_as_in_keras(pair, steps):
    for model in pair:
        with pytest.warns(UserWarning, match="Your input ran out of data"):
            outputs = model.predict(X, batch_size=4, steps=steps, verbose=0)
        assert outputs.shape == (10, 3)
        with pytest.warns(UserWarning, match="Your input ran out of data"):
            model.evaluate(X, Y, batch_size=4, steps=steps, verbose=0)


def test_without_metrics_a_single_float_is_returned(keras):
    theirs, ours = both(keras, compiled, ())
    for name in ("test_on_batch", "test_on_batch as a dictionary"):
        assert_agree(CALLS[name](theirs), CALLS[name](ours))
    assert type(ours.evaluate(X, Y, verbose=0)) is float
    assert type(ours.train_on_batch(X, Y)) is float


def squared(y_true, y_pred):
    return (y_true - y_pred) ** 2


def mean_squared(y_true, y_pred):
    return ((y_true - y_pred) ** 2).mean()


def metrics_of(lib):
    return [
        "acc", "accuracy", lib.metrics.CategoricalAccuracy(name="hit"), squared, mean_squared,
        "CategoricalAccuracy", "categorical_accuracy", "categorical_crossentropy",
    ]  # fmt: skip


def test_metrics_are_named_ordered_and_averaged_as_in_keras(keras):
    models = both(keras, lambda lib: compiled(lib, metrics_of(lib)))
    for name in ("evaluate", "evaluate as a dictionary"):
        assert_agree(*map(CALLS[name], models))


def test_metrics_of_one_name_are_numbered_as_in_keras(keras):
    def program(lib):
        metrics = ["acc", "acc", lib.metrics.CategoricalAccuracy(name="acc"), "accuracy"]
        return CALLS["test_on_batch as a dictionary"](compiled(lib, metrics))

    expected, numbered = both(keras, program)
    assert list(numbered) == ["acc", "acc_1", "acc_2", "accuracy", "loss"]
    assert_agree(expected, numbered)


def test_predict_works_uncompiled_and_returns_a_new_array():
    model = stack(tinynet)
    outputs = model.predict(X, batch_size=3, verbose=0)
    assert (outputs.dtype, outputs.shape) == (np.float32, (10, 3))
    assert outputs.flags.owndata
    assert outputs.flags.writeable
    kept = outputs.copy()
    called = model(X)
    layer = model.layers[0](X)
    again = [array.copy() for array in (called, layer)]
    model.predict(-X, batch_size=3, verbose=0)
    model(-X), model.layers[0](-X)
    assert array_equal(outputs, kept)
    assert array_equal(called, again[0])
    assert array_equal(layer, again[1])
    outputs[:] = called[:] = 0  # the model does not use these arrays
    close(model(X), kept)


@pytest.mark.parametrize("batch_size", [1, 3, 10, 32])
def test_results_do_not_depend_on_the_batch_size(batch_size):
    model = compiled(tinynet)
    outputs = model.predict(X, batch_size=batch_size, verbose=0)
    close(outputs, model(X))
    of_each = -np.log((outputs.astype("float64") * Y).sum(axis=1))
    loss, accuracy = model.evaluate(X, Y, batch_size=batch_size, verbose=0)
    close(loss, of_each.mean())
    assert accuracy == np.float32((outputs.argmax(axis=1) == LABELS).mean())


def test_predicting_a_flattened_image_returns_a_copy_of_it():
    images = np.ones((3, 2, 2), "float32")
    model = Sequential([Input((2, 2)), layers.Flatten()])
    for outputs in (model.predict(images, verbose=0), model(images)):
        outputs[:] = 7
    assert (images == 1).all()


def test_reported_numbers_are_python_floats_of_float32_values():
    model = compiled(tinynet)
    history = model.fit(X, Y, epochs=2, validation_data=HELD_OUT, batch_size=3, verbose=0).history
    values = [value for series in history.values() for value in series]
    values += model.evaluate(X, Y, verbose=0)
    values += model.train_on_batch(X, Y)
    values += model.test_on_batch(X, Y, return_dict=True).values()
    assert all(type(value) is float and value == float(np.float32(value)) for value in values)
    assert model.evaluate(X[:10], Y, verbose=0)[1] in [float(np.float32(n / 10)) for n in range(11)]


@pytest.mark.filterwarnings("ignore:Do not pass an `input_shape`")
def test_the_summary_of_the_tutorial_model_equals_keras(keras, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")

    def program(lib):
        lib.utils.clear_session()
        model, texts = tutorial(lib), []
        model.compile(loss=ONE_HOT, optimizer=lib.optimizers.Adam(), metrics=["acc"])
        model.summary(print_fn=texts.append)
        if lib is tinynet:
            model.fit(np.zeros((4, 28, 28)), np.eye(10)[:4], verbose=0)
        else:
            model.optimizer.build(
                model.trainable_variables
            )  # as its fit would do, but without compiling
        model.summary(print_fn=texts.append)
        return texts

    before, after = same(keras, program)
    assert "Total params: 94,494" in before
    assert "Optimizer params: 188,990 (738.24 KB)" in after


# Types


IMAGES = RNG.integers(0, 2, (12, 2, 2))
ANSWERS = np.eye(3)[RNG.integers(0, 3, 12)]


def image_model(loss=ONE_HOT):
    model = network(layers.Flatten(), (4, "tanh"), (3, "softmax"), inputs=(2, 2))
    model.set_weights([np.full(w.shape, 0.1) + np.arange(w.shape[-1]) for w in model.weights])
    model.compile("adam", loss, metrics=["acc"])
    return model


def dtypes_in_a_step(model, x, y):
    """Return the types of all arrays in forward and backward passes, and of all stored arrays."""
    seen = set()

    def spy(function):
        def spied(*arrays, **others):
            result = function(*arrays, **others)
            seen.update(a.dtype.name for a in (*arrays, result) if isinstance(a, np.ndarray))
            return result

        return spied

    for layer in model.layers:
        for method in ("forward", "backward", "backward_from_z"):
            if hasattr(layer, method):
                setattr(layer, method, spy(getattr(layer, method)))
    model.train_on_batch(x, y, sample_weight=np.ones(len(x)))
    model.fit(x, y, batch_size=5, verbose=0, class_weight={0: 2})
    seen.update(a.dtype.name for a in (model.flat, model.parameters.gradients, *model.weights))
    seen.update(a.dtype.name for a in model.optimizer.variables[1:])
    for array_list in model.optimizer.get_state()["state"]:
        seen.update(a.dtype.name for a in array_list)
    seen.add(model.predict(x, verbose=0).dtype.name)
    seen.add(model(x).dtype.name)
    return seen


@pytest.mark.parametrize("x_type", ["float64", "float16", "uint8", "int64", "bool", "float32"])
@pytest.mark.parametrize("y_type", ["float64", "float32", "uint8", "bool"])
def test_inputs_of_any_type_are_computed_in_float32(x_type, y_type):
    x, y = IMAGES.astype(x_type), ANSWERS.astype(y_type)
    assert dtypes_in_a_step(image_model(), x, y) == {"float32"}
    plain = training_bits(image_model(), IMAGES.astype("float32"), ANSWERS, shuffle=False)
    assert training_bits(image_model(), x, y, shuffle=False) == plain


@pytest.mark.parametrize("y_type", ["int64", "uint8", "float32", "float64"])
def test_class_numbers_of_any_type_give_the_same_training(y_type):
    labels = ANSWERS.argmax(axis=1)
    x = IMAGES.astype("float64")
    model = image_model(SPARSE)
    assert dtypes_in_a_step(model, x, labels.astype(y_type)) == {"float32"}
    plain = training_bits(image_model(), x, ANSWERS, shuffle=False)
    model = image_model(SPARSE)
    assert training_bits(model, x, labels.astype(y_type), shuffle=False) == plain


def test_with_floatx_float64_everything_is_float64():
    single = training_bits(image_model(), IMAGES, ANSWERS, shuffle=False)[0]["loss"]
    tinynet.config.set_floatx("float64")
    model = image_model()
    assert dtypes_in_a_step(model, IMAGES.astype("float32"), ANSWERS) - {"float32"} == {"float64"}
    double = training_bits(image_model(), IMAGES, ANSWERS, shuffle=False)[0]["loss"]
    assert any(value != float(np.float32(value)) for value in double)
    close(double, single)
    tinynet.config.set_floatx("float32")
    assert (
        model.predict(IMAGES, verbose=0).dtype == "float64"
    )  # a model keeps the type it was built with
    assert model.get_config()["dtype"]["config"] == {"name": "float64"}


# Randomness


def test_the_global_random_generators_are_not_used():
    before = np.random.get_state()  # noqa: NPY002
    before_python = random.getstate()
    model = Sequential([layers.Dense(5, "sigmoid", kernel_initializer="he_normal")])
    model.add(layers.Dense(3, "softmax"))
    model.compile("adam", ONE_HOT)
    model.fit(X, Y, batch_size=4, epochs=2, validation_split=0.2, verbose=0)
    model.train_on_batch(X, Y)
    model.evaluate(X, Y, verbose=0), model.predict(X, verbose=0), model(X)
    Sequential.from_config(model.get_config())
    for old, new in zip(before, np.random.get_state(), strict=True):  # noqa: NPY002
        assert array_equal(old, new)
    assert random.getstate() == before_python


def test_training_depends_only_on_the_seed():
    def run(seed):
        tinynet.utils.set_random_seed(seed)
        return training_bits(unbuilt_copy())

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_shuffling_is_the_default_and_draws_a_new_order_each_epoch():
    orders = []
    model = compiled(tinynet)
    layer = model.layers[0]
    forward = layer.forward

    def spy(x, training=False):
        orders.append([int(np.flatnonzero((row == X).all(axis=1))[0]) for row in look(x)])
        return forward(x, training)

    layer.forward = spy
    model.fit(X, Y, batch_size=10, epochs=3, verbose=0)
    assert len({tuple(order) for order in orders}) == 3
    assert all(sorted(order) == list(range(10)) for order in orders)
    orders.clear()
    model.fit(X, Y, batch_size=10, epochs=2, verbose=0, shuffle=False)
    assert orders == [list(range(10))] * 2


# The caller's arrays


def memory_mapped(array, directory):
    path = directory / f"{len(list(directory.iterdir()))}.npy"
    np.save(path, array)
    return np.load(path, mmap_mode="r")


def read_only(array, _):
    array = array.copy()
    array.flags.writeable = False
    return array


FORMS = {
    "writeable": lambda a, _: a.copy(),
    "read-only": read_only,
    "memory-mapped": memory_mapped,
    "every second row": lambda a, _: np.repeat(a, 2, axis=0)[::2],
    "backwards": lambda a, _: a[::-1].copy()[::-1],
    "Fortran order": lambda a, _: np.asfortranarray(a),
    "transposed": lambda a, _: np.ascontiguousarray(a.T).T,
    "a slice": lambda a, _: np.pad(a, 2)[tuple(slice(2, -2) for _ in a.shape)],
    "other byte order": lambda a, _: a.astype(a.dtype.newbyteorder()),
    "an array of a subclass": lambda a, _: a.view(type("Mine", (np.ndarray,), {})),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("x_type", ["float32", "float64", "uint8"])
@pytest.mark.parametrize("sparse", [False, True], ids=["one-hot", "class numbers"])
def test_arrays_of_any_layout_give_the_same_results_and_stay_unchanged(
    form, x_type, sparse, tmp_path
):
    loss = SPARSE if sparse else ONE_HOT
    targets = ANSWERS.argmax(axis=1) if sparse else ANSWERS
    x = (IMAGES * 3 + np.arange(12)[:, None, None]).astype(x_type)
    plain = [x, targets, WEIGHTS[:1].repeat(12) + np.arange(12)]
    given = [FORMS[form](array, tmp_path) for array in plain]
    results = []
    for x, y, weights in (plain, given):
        tinynet.utils.set_random_seed(3)
        model = image_model(loss)
        bits = training_bits(
            model, x, y, sample_weight=weights, batch_size=5,
            validation_data=(x, y, weights),
        )  # fmt: skip
        bits += training_bits(model, x, y, batch_size=5, validation_split=0.3, class_weight={0: 2})
        looked = model.evaluate(x, y, batch_size=5, sample_weight=weights, verbose=0)
        on_batch = model.train_on_batch(x, y, weights), model.test_on_batch(x, y, weights)
        outputs = model.predict(x, batch_size=5, verbose=0)
        assert type(outputs) is np.ndarray
        results.append((bits, looked, on_batch, outputs.tobytes(), model(x).tobytes()))
    assert results[0] == results[1]
    for array, original in zip(given, plain, strict=True):
        assert array_equal(array, original)


def test_a_one_dimensional_x_is_taken_as_a_column():
    model = Sequential([Input((1,)), layers.Dense(3, "softmax")])
    column = X[:, :1]
    for x in (column[:, 0], column):
        close(model.predict(x, verbose=0), model(column))
    flat = Sequential([Input(()), layers.Flatten(), layers.Dense(3)])
    close(flat.predict(column[:, 0], verbose=0), flat.predict(column, verbose=0))


# Memory


class AllocationWatch(Callback):
    """A callback that records the bytes each instruction of the second epoch allocated, and where.

    The peak of traced memory since the previous instruction is what the instruction allocated,
    including temporary arrays within a call.
    """

    def __init__(self):
        super().__init__()
        self.seen = []
        self._place, self._before = None, 0

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            gc.collect()
            self._others = sys.gettrace()
            tracemalloc.start()
            sys.settrace(self.look)

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            self.stop()

    def stop(self):
        if tracemalloc.is_tracing():
            sys.settrace(self._others)
            tracemalloc.stop()

    def look(self, frame, event, _):
        frame.f_trace_opcodes = True
        _, peak = tracemalloc.get_traced_memory()
        if self._place:
            self.seen.append((peak - self._before, *self._place))
        self._place = Path(frame.f_code.co_filename).name, frame.f_lineno
        tracemalloc.reset_peak()
        self._before, _ = tracemalloc.get_traced_memory()
        return self.look


@pytest.mark.host
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("batch_size", [32, 1024])
def test_a_training_step_allocates_no_memory_after_the_first_epoch(batch_size, shuffle):
    n = 2 * batch_size + 7  # the shorter last batch must not allocate new buffers
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (n, 28, 28)).astype("uint8")
    targets = np.eye(10)[rng.integers(0, 10, n)]
    model, watch = plain_tutorial(), AllocationWatch()
    # NumPy's loops may use a buffer of 8,192 numbers; reduce it to 16.
    old = np.setbufsize(16)
    try:
        model.fit(
            pixels, targets, batch_size=batch_size, epochs=2, verbose=0, shuffle=shuffle,
            callbacks=[watch],
        )  # fmt: skip
    finally:
        watch.stop()
        np.setbufsize(old)
    files = {"data.py", "layers.py", "losses.py", "metrics.py", "optimizers.py", "training.py"}
    assert files <= {file for _, file, _ in watch.seen}
    size, file, line = max(watch.seen)
    overhead = 1536  # Python objects, and the state of a NumPy loop
    assert size < batch_size * 64 + overhead, f"{size} bytes in {file}:{line}"


def test_a_model_is_traced_and_checked_in_a_callback():
    """A copy made while the model computes does not count as computing."""
    model = tinynet.Sequential([tinynet.Input((3,)), tinynet.layers.Dense(2)])
    model.compile("sgd", "mse")
    x, y = np.ones((4, 3), "float32"), np.ones((4, 2), "float32")
    checked = []

    def on_epoch_end(epoch, logs):
        model.trace(x, y)
        checked.append(tinynet.check_gradients(model, x, y).ok)

    callback = tinynet.callbacks.LambdaCallback(on_epoch_end=on_epoch_end)
    model.fit(x, y, epochs=2, verbose=0, callbacks=[callback])
    assert checked == [True, True]


def test_predict_refuses_outputs_of_unknown_width():
    class Odd(tinynet.Layer):
        def compute_output_shape(self, input_shape):
            return input_shape[0], None

        def forward(self, x, training=False):
            return x[:, :1] * 1

    model = tinynet.Sequential([tinynet.Input((6,)), Odd()])
    with pytest.raises(TypeError):
        model.predict(np.ones((4, 6)), verbose=0)


def test_a_backend_can_be_entered_twice():
    program = (
        "import tinynet; use = tinynet.backend.use('numpy')\n"
        "with use: pass\nwith use: pass\nprint(tinynet.backend.backend())"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout == "numpy\n", run.stderr
