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
from arrays import address, array_equal, shares_memory
from networks import LAYOUTS, ONE_HOT, SPARSE, network, random_weights, samples, tutorial
from oracle import agree, both, refused, renewed, same, variables

import tinynet
from tinynet import Input, Sequential, layers
from tinynet.callbacks import Callback, LambdaCallback

# Many tests use unscaled bytes as inputs, because they do not depend on what is learned.
pytestmark = [
    pytest.mark.computes,
    pytest.mark.filterwarnings("ignore:Expected inputs between about"),
]

RNG = np.random.default_rng(5)
X, LABELS, Y = samples(RNG, 10, (4,), 3)
WEIGHTS = RNG.uniform(0.5, 2, 10).astype("float32")
START = random_weights(RNG, 4, 5, 3)
FIVE = np.eye(5)[LABELS]
QUIET = {"batch_size": 4, "verbose": 0}

# After 100 steps, Keras's backends differ by 2e-7 in the loss and by 1.5e-7 in a weight.
close = partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-6)
assert_agree = partial(agree, rtol=1e-6, atol=1e-6, close=np.testing.assert_allclose)


def compiled(lib, metrics=("acc",), **arguments):
    """Return a 4-5-3 network, sigmoid and softmax, always with the same initial weights."""
    layers = (5, "sigmoid"), (3, "softmax")
    arguments = {"inputs": (4,), "weights": START, "loss": ONE_HOT, **arguments}
    return network(*layers, library=lib, metrics=list(metrics), **arguments)


def unbuilt():
    return network((5, "sigmoid"), (3, "softmax"), loss=ONE_HOT)


@pytest.fixture(scope="module")
def keras_model(keras):
    """One Keras model for the whole file, because Keras takes seconds to compile a model."""
    return compiled(keras)


@pytest.fixture
def pair(keras_model):
    """Keras's model and tinynet's, with equal weights and new optimizers."""
    return renewed(keras_model, START), compiled(tinynet)


def assert_same_state(theirs, ours):
    """Assert equal weights and, if anything was trained, equal optimizer state in Keras's order."""
    assert_agree(theirs.get_weights(), ours.get_weights())
    if int(theirs.optimizer.iterations):
        assert_agree(variables(theirs), variables(ours))


def equal(weights, others):
    return all(map(array_equal, weights, others))


def as_json(config):
    return json.loads(json.dumps(config))


def fit(model, x=X, y=Y, **arguments):
    return model.fit(x, y, **{**QUIET, "epochs": 2, "shuffle": False, **arguments})


def fitted(model):
    fit(model, shuffle=True)
    return model


def training_bits(model, x=X, y=Y, **arguments):
    """Train briefly, and return the history and the weights' bytes for an exact comparison."""
    history = fit(model, x, y, **arguments).history
    return history, [weight.tobytes() for weight in model.get_weights()]


def assert_untrainable(model, message, y=Y):
    """Assert that training is refused with `message`, and changes nothing."""
    before, iterations = model.get_weights(), model.optimizer.iterations
    for train in (partial(model.fit, verbose=0), model.train_on_batch):
        with pytest.raises(ValueError, match=message):
            train(X, y)
    assert equal(model.get_weights(), before)
    assert model.optimizer.iterations == iterations


# Building, naming, configuring


def later(build):
    """Return a function that makes a model without an input shape, and builds it with `build`."""

    def make(lib):
        model = network(lib.layers.Dense(5, "softmax", name="d"), library=lib, loss=ONE_HOT)
        assert not model.built
        build(model)
        assert model(X[:3]).shape == (3, 5)  # other batch sizes are accepted
        return model

    return make


def beginning(first):
    """Return a function that makes a model of the layers `first` and one more."""
    return lambda lib: network(*first(lib), (5, None, False), library=lib)


# Keras compiles anew for every shape of a weight, so most weights in this file are (4, 5).
MODELS = {
    "Input": beginning(lambda lib: [lib.Input((4,))]),
    "Input with a batch size": beginning(lambda lib: [lib.Input((4,), 8)]),
    "Input of a batch shape": beginning(
        lambda lib: [lib.Input(batch_shape=(8, 4), name="in", dtype="uint8")]
    ),
    "images": beginning(lambda lib: [lib.Input((2, 2)), lib.layers.Flatten()]),
    "Dense on two axes": beginning(lambda lib: [lib.Input((2, 4))]),
    "a layer's input shape": beginning(lambda lib: [lib.layers.Flatten(input_shape=(2, 2))]),
    "only the first layer's input shape": lambda lib: network(
        lib.layers.Dense(4, input_dim=4), lib.layers.Dense(5, input_shape=(99,)), library=lib
    ),
    "unbuilt": beginning(lambda lib: [lib.layers.Flatten()]),
    "unbuilt, named, frozen, initialized": lambda lib: lib.Sequential(
        [lib.layers.Dense(3, "relu", kernel_initializer="he_normal", trainable=False)], name="m"
    ),
    "build": later(lambda model: model.build((None, 4))),
    "build with a list": later(lambda model: model.build([None, 4])),
    "build with a batch size": later(lambda model: model.build((7, 4))),
    "predict": later(lambda model: model.predict(X, **QUIET)),
    "predict all at once": later(lambda model: model.predict(X, verbose=0)),
    "call": later(lambda model: model(X)),
    "fit": later(lambda model: model.fit(X, FIVE, **QUIET)),
    "fit all at once": later(lambda model: model.fit(X, FIVE, epochs=0, verbose=0)),
    "evaluate": later(lambda model: model.evaluate(X, FIVE, **QUIET)),
    "train_on_batch": later(lambda model: model.train_on_batch(X, FIVE)),
    "test_on_batch": later(lambda model: model.test_on_batch(X[:4], FIVE[:4])),
}


@pytest.mark.filterwarnings("ignore:Do not pass an `input_shape`")
@pytest.mark.parametrize("name", MODELS)
def test_shapes_sizes_and_config_equal_keras_and_recreate_the_model(keras, name):
    configs = []

    def program(lib):
        lib.utils.clear_session()
        model = MODELS[name](lib)
        configs.append(model.get_config())
        sizes = [part.count_params() for part in (model, *model.layers) if model.built]
        shapes = (model.input_shape, model.output_shape) if model.built else None
        if lib is tinynet and model.built:
            assert model.layers[-1].output_shape == model.output_shape
        return list(map(repr, (model, *model.layers))), sizes, shapes, as_json(configs[-1])

    *_, expected = same(keras, program)
    for config in (*configs, expected):
        model = Sequential.from_config(config)
        assert as_json(model.get_config()) == expected
        assert model.built == ("build_input_shape" in config)


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
        made += [lib.layers.InputLayer(batch_shape=(None, 3)) for _ in range(2)]
        return [thing.name for thing in made]

    same(keras, program)


def test_layers_and_get_layer_behave_as_in_keras(keras):
    def program(lib):
        first, second = lib.layers.Dense(5, name="first"), lib.layers.Dense(3, name="second")
        model = lib.Sequential([lib.Input((4,)), first, second])
        model.layers.clear()  # a copy
        assert model.layers == [first, second]
        assert model.get_layer("second") is model.get_layer(index=-1) is second
        assert model.get_layer(index=0) is first

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
        with pytest.raises(IndexError):
            lib.Sequential().pop()
        return [*log, model.built, model.input_shape, model.output_shape]

    same(keras, program)


def test_an_added_layer_that_does_not_fit_changes_nothing():
    model = compiled(tinynet)
    layer = layers.Dense(2, name=model.layers[0].name)
    for bad in (layer, Input((4,)), 3, layers.Dense):
        with pytest.raises(ValueError, match=r"unique names|already been configured|instances of"):
            model.add(bad)
    assert len(model.layers) == 2
    assert_one_vector(model)
    with pytest.raises(ValueError, match="min_ndim=2"):
        Sequential([Input(batch_shape=(4,)), layers.Dense(2)])
    empty, other = Sequential([Input((4,))]), layers.Dense(3)
    other.build((None, 9))
    with pytest.raises(ValueError, match="expected axis -1 of input shape to have value 9"):
        empty.add(other)
    assert (empty.layers, empty.built) == ([], False)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: model.get_layer("third"), r"No such layer: third\. Existing layers are: "),
        (lambda model: model.get_layer(index=2), "retrieve layer at index 2 .* only has 2 layers"),
        (lambda model: model.get_layer(), "Provide either a layer name or layer index"),
        (lambda model: model.get_layer("first", 0), "Provide only a layer name or a layer index"),
        (lambda model: model.count_params(), "You tried to call `count_params` on layer 'm', but"),
        (lambda model: model.set_weights([X]), "weight list of length 1.* was expecting 0 weights"),
        (lambda model: type(model)().build((None, 4)), "cannot be built because it has no layers"),
    ],
)
def test_what_an_unbuilt_or_empty_model_lacks_is_refused_as_in_keras(keras, call, message):
    def program(lib):
        stacked = lib.layers.Dense(5, name="first"), lib.layers.Dense(3, name="second")
        model = lib.Sequential(stacked, name="m")
        assert (model.weights, model.get_weights(), model.trainable_weights) == ([], [], [])
        with pytest.raises(AttributeError, match="'m' has no defined output shape yet"):
            _ = model.output_shape
        call(model)

    refused(keras, program, message)


def trainable_state(model):
    """Return the `trainable` flags of a model, its config and layers, and its weight counts."""
    lists = model.trainable_weights, model.non_trainable_weights, model.weights
    flags = [model.trainable, model.get_config()["trainable"]]
    return [*flags, *(layer.trainable for layer in model.layers), *map(len, lists)]


FREEZES = {
    "the model": [("model", False)],
    "the model, and back": [("model", False), ("model", True)],
    "one layer": [(0, False)],
    "layer by layer": [(0, False), (1, False)],
    "all but one": [("model", False), (1, True)],
}


def test_freezing_behaves_as_in_keras(keras):
    def program(lib):
        new = lib.Sequential([lib.Input((4,)), lib.layers.Dense(5)], trainable=False)
        states = {"by the argument": trainable_state(new)}
        for name, changes in FREEZES.items():
            model = compiled(lib)
            states[name] = [trainable_state(model)]
            for part, value in changes:
                (model if part == "model" else model.layers[part]).trainable = value
                states[name].append(trainable_state(model))
        return states

    same(keras, program)


# Weights, and the vector that holds them


def assert_one_vector(model):
    """Assert that kernels and biases are views of `flat`, in order, and gradients likewise."""
    names = [(layer, name) for layer in model.layers for name in layer.trainable_names]
    weights = [getattr(layer, name) for layer, name in names]
    assert list(map(id, weights)) == list(map(id, model.weights))
    for vector, suffix in ((model.flat, ""), (model.parameters.gradients, "_gradient")):
        assert vector.ndim == 1
        start = address(vector)
        for layer, name in names:
            part = getattr(layer, name + suffix)
            assert address(part) == start
            assert part.flags.c_contiguous
            start += part.nbytes
        assert start == address(vector) + vector.nbytes
    assert array_equal(model.flat, np.concatenate(list(map(np.ravel, model.get_weights()))))


def pickled(model):
    return pickle.loads(pickle.dumps(model))


# What is done with a compiled model one after the other; a function may return another model.
STATES = {
    "built": [],
    "built from data": [lambda _: unbuilt(), fitted],
    "after fit": [fitted],
    "after set_weights": [fitted, lambda model: model.set_weights(START)],
    "after add": [fitted, lambda model: model.add(layers.Dense(2))],
    "after pop": [fitted, Sequential.pop],
    "after pop and add": [fitted, Sequential.pop, lambda model: model.add(layers.Dense(3))],
    "after compile": [fitted, lambda model: model.compile("sgd", ONE_HOT)],
    "with a frozen layer": [lambda model: setattr(model.layers[0], "trainable", False), fitted],
    "from its config": [lambda model: Sequential.from_config(model.get_config())],
    "deepcopy": [copy.deepcopy],
    "deepcopy after fit": [fitted, copy.deepcopy],
    "pickle": [pickled],
    "pickle after fit": [fitted, pickled],
}


@pytest.mark.parametrize("state", STATES)
def test_weights_are_views_into_one_vector(state):
    model = compiled(tinynet)
    for change in STATES[state]:
        result = change(model)
        model = result if isinstance(result, Sequential) else model
    assert_one_vector(model)
    before = model.get_weights()
    model.flat += 1
    assert equal(model.get_weights(), [old + np.float32(1) for old in before])


def test_get_weights_and_set_weights_copy_but_weights_are_live():
    model = compiled(tinynet)
    copies, live = model.get_weights(), model.weights
    assert all(type(array) is np.ndarray and array.base is None for array in copies)
    assert equal(copies, START)
    copies[0][:] = 99
    assert equal(model.get_weights(), START)
    assert equal(live, fitted(model).get_weights())
    assert not array_equal(live[0], START[0])
    given = [weight.copy() for weight in START]
    model.set_weights(given)
    given[0][:] = 99
    assert equal(live, START)
    model.set_weights([weight.astype("float64").tolist() for weight in START])
    assert [weight.dtype for weight in model.weights] == [np.float32] * 4
    assert equal(live, START)


def test_set_weights_changes_nothing_if_one_of_the_arrays_does_not_fit():
    model, new = compiled(tinynet), [weight + 1 for weight in START]
    for bad, message in [
        (new[1], r"weight shape \(3,\) is not compatible.*shape \(5,\)"),
        (new[3].astype("U1"), "expects numeric weights.*dtype <U1"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.set_weights([*new[:3], bad])
        assert equal(model.get_weights(), START)


@pytest.mark.parametrize("clone", [copy.deepcopy, pickled])
@pytest.mark.parametrize("state", ["compiled", "fitted", "unbuilt"])
def test_a_copy_trains_like_the_original_and_does_not_change_it(clone, state):
    model = unbuilt() if state == "unbuilt" else compiled(tinynet)
    if state == "fitted":
        fitted(model)
    twin = clone(model)
    before = training_bits(model, epochs=0)
    continued = training_bits(twin)
    assert training_bits(model, epochs=0)[1] == before[1]
    assert training_bits(model) == continued
    assert_one_vector(twin)
    assert_one_vector(model)
    assert not shares_memory(model.flat, twin.flat)


def test_copying_a_model_during_fit_does_not_affect_training():
    copies, watched = [], compiled(tinynet)
    keep = LambdaCallback(on_train_batch_end=lambda *_: copies.append(copy.deepcopy(watched)))
    assert training_bits(watched, callbacks=[keep]) == training_bits(compiled(tinynet))
    assert equal(copies[-1].get_weights(), watched.get_weights())
    assert not array_equal(copies[0].get_weights()[0], copies[1].get_weights()[0])


def test_a_replaced_weight_array_is_refused_with_the_line_to_write():
    model = fitted(compiled(tinynet))
    own = model.layers[0].kernel
    model.layers[0].kernel = own.copy()
    assert_untrainable(model, r"kernel to be the array .* layer\.kernel\[\.\.\.\]")
    model.layers[0].kernel = own
    assert_one_vector(fitted(model))


# Layers shared by two models


def lend():
    """Return a model, and another one that borrows its layers."""
    owner = compiled(tinynet)
    return owner, network(*owner.layers, inputs=(4,), loss=ONE_HOT, metrics=["acc"])


def test_models_that_share_layers_predict_with_the_current_weights():
    owner, borrower = lend()
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
    owner, borrower = lend()
    assert borrower.evaluate(X, Y, verbose=0) == owner.evaluate(X, Y, verbose=0)
    assert_untrainable(borrower, f"'{borrower.name}' to own.*model '{owner.name}'.*Train that")
    assert borrower.optimizer.iterations == 0
    assert_one_vector(fitted(owner))


def test_a_borrowing_model_can_train_after_its_owner_is_deleted():
    owner, borrower = lend()
    expected = training_bits(owner)
    borrower.set_weights(START)
    del owner
    gc.collect()
    assert training_bits(borrower) == expected
    assert_one_vector(borrower)


def test_a_layer_popped_from_a_borrowing_model_stays_with_its_owner():
    owner, borrower = lend()
    third = network(borrower.pop(), inputs=(5,), loss=ONE_HOT)
    assert_one_vector(fitted(owner))
    assert third.parameters.other_owner is owner.parameters


def test_a_popped_layer_can_be_owned_by_another_model():
    first = fitted(compiled(tinynet))
    layer = first.pop()
    weights = layer.get_weights()
    second = network(layer, inputs=(5,), loss=ONE_HOT)
    assert_one_vector(first)
    assert_one_vector(second)
    assert equal(second.get_weights(), weights)
    second.fit(X.repeat(2, axis=1)[:, :5], Y, verbose=0)
    assert_one_vector(second)


# Frozen layers


def deep(lib, frozen=()):
    """Return a network of four layers, of which those with the numbers in `frozen` are frozen."""
    start = random_weights(np.random.default_rng(3), 4, 5, 6, 5, 3)
    stacked = (5, "tanh"), (6, "tanh"), (5, "sigmoid"), (3, "softmax")
    model = network(*stacked, inputs=(4,), library=lib, weights=start)
    for number in frozen:
        model.layers[number].trainable = False
    model.compile("adam", ONE_HOT)
    return model


def test_frozen_layers_train_as_in_keras(keras):
    """The lowest layer is frozen, and a middle one, which leaves two separate trainable parts."""
    theirs, ours = both(keras, deep, (0, 2))
    start = ours.get_weights()
    assert_agree(fit(theirs, epochs=3), fit(ours, epochs=3))
    assert_same_state(theirs, ours)
    stood_still = [array_equal(a, b) for a, b in zip(ours.get_weights(), start, strict=True)]
    assert stood_still == [True, True, False, False] * 2
    assert len(ours.trainable_weights) == len(ours.non_trainable_weights) == 4
    assert_one_vector(ours)


def test_fit_of_a_fully_frozen_model_only_reports_the_loss():
    model = deep(tinynet, range(4))
    before = model.get_weights()
    loss = model.fit(X, Y, epochs=2, verbose=0).history["loss"]
    assert loss[0] == pytest.approx(loss[1], rel=1e-6)  # each epoch sums in another order
    assert equal(model.get_weights(), before)


CHANGES = {
    "freeze": lambda model: setattr(model.layers[0], "trainable", False),
    "unfreeze": lambda model: setattr(model.layers[1], "trainable", True),
    "add": lambda model: model.add(layers.Dense(3, "softmax")),
    "pop": lambda model: model.pop(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_trainable_weights_are_refused_until_compiled_again(change):
    model = fitted(deep(tinynet, (1,)))
    CHANGES[change](model)
    targets = np.eye(model.output_shape[-1])[LABELS]
    assert_untrainable(model, r"built for other weights.*model\.compile\(…\) again", targets)
    model.compile("adam", ONE_HOT)
    model.fit(X, targets, verbose=0)


def test_an_optimizer_of_another_model_is_refused():
    other = compiled(tinynet, optimizer=fitted(compiled(tinynet)).optimizer)
    assert_untrainable(other, "it belongs to another model")


# Training, evaluating and predicting: results and state, compared with Keras


HELD_OUT = {"validation_data": (X[:6] * 0.5, Y[:6])}
WEIGHTED_OUT = {"validation_data": (X[:6] * 0.5, Y[:6], WEIGHTS[:6])}
SPLIT, CLASSES = {"validation_split": 0.4}, {"class_weight": {0: 0.5, 2: 3.0}}
FITS = {
    "uneven batches": {"epochs": 3},
    "no epoch": {"epochs": 0},
    "initial epoch": {"epochs": 4, "initial_epoch": 2},
    "initial epoch after the last": {"initial_epoch": 3},
    "validation data": HELD_OUT,
    "validation split": SPLIT,
    "split with a fraction of a sample": {"validation_split": 0.35},
    "validation data before split": {**HELD_OUT, **SPLIT},
    "validation every second epoch": {**HELD_OUT, "epochs": 5, "validation_freq": 2},
    "validation after given epochs": {**HELD_OUT, "epochs": 4, "validation_freq": [1, 3]},
    "validation batch size": {**HELD_OUT, "validation_batch_size": 2},
    "validation steps": {"epochs": 3, "validation_data": (X, Y), "validation_steps": 2},
    "half a pass an epoch": {"epochs": 5, "batch_size": 2, "steps_per_epoch": 2},
    "a pass an epoch": {"steps_per_epoch": 3},
    "most of a pass an epoch": {"epochs": 4, "steps_per_epoch": 2},
    "steps that run out": {"epochs": 3, "steps_per_epoch": 5},
    "weighted samples": {"sample_weight": WEIGHTS},
    "weighted classes": CLASSES,
    "weighted validation": WEIGHTED_OUT,
    "weighted classes and split": {**CLASSES, **SPLIT},
    "weights and split": {"sample_weight": WEIGHTS, **SPLIT},
}


FOUR = X[:4], Y[:4]
CALLS = {
    "evaluate": lambda model: model.evaluate(X, Y, **QUIET),
    "evaluate as a dictionary": lambda model: model.evaluate(X, Y, return_dict=True, **QUIET),
    "evaluate some steps": lambda model: model.evaluate(X, Y, steps=2, **QUIET),
    "evaluate weighted": lambda model: model.evaluate(X, Y, sample_weight=WEIGHTS, **QUIET),
    "test_on_batch": lambda model: model.test_on_batch(*FOUR),
    "test_on_batch as a dictionary": lambda model: model.test_on_batch(*FOUR, return_dict=True),
    "train_on_batch": lambda model: [
        model.train_on_batch(X[rows], Y[rows]) for rows in (slice(4), slice(4, 8))
    ],
    "train_on_batch as a dictionary": lambda model: model.train_on_batch(*FOUR, return_dict=True),
    "train_on_batch weighted": lambda model: model.train_on_batch(*FOUR, WEIGHTS[:4]),
    "train_on_batch, weighted classes": lambda model: model.train_on_batch(*FOUR, **CLASSES),
    "predict": lambda model: model.predict(X, **QUIET),
    "predict some steps": lambda model: model.predict(X, steps=2, **QUIET),
    "predict more steps than there are": lambda model: model.predict(X, steps=9, **QUIET),
    "evaluate more steps than there are": lambda model: model.evaluate(X, Y, steps=4, **QUIET),
    "call": lambda model: np.asarray(model(X[:4])),
    "call in training": lambda model: np.asarray(model(X[:4], training=True)),
    "two fits": lambda model: [fit(model), fit(model)],
}


CALLS |= {f"fit, {name}": partial(fit, **FITS[name]) for name in FITS}


@pytest.mark.parametrize("name", CALLS)
def test_results_weights_and_state_equal_keras(pair, name):
    results = []
    for model in pair:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = CALLS[name](model)
        results.append((result, sum("ran out of data" in str(one.message) for one in caught)))
    assert_agree(*results)
    assert_same_state(*pair)


@pytest.mark.parametrize("verbose", [0, 1, 2, "auto"])
def test_history_params_equal_keras(pair, verbose):
    theirs, ours = (model.fit(X, Y, epochs=0, verbose=verbose).params for model in pair)
    assert ours == theirs


def test_the_default_batch_size_is_32_and_sample_weights_may_be_a_column():
    x, y, weights = (array.repeat(7, axis=0) for array in (X, Y, WEIGHTS))
    for one, other in [
        ({"batch_size": None}, {"batch_size": 32}),
        ({"sample_weight": weights}, {"sample_weight": weights[:, None]}),
    ]:
        bits = [training_bits(compiled(tinynet), x, y, **arguments) for arguments in (one, other)]
        assert bits[0] == bits[1]


def test_compiling_again_resets_the_optimizer():
    model = compiled(tinynet)
    first = training_bits(model)
    model.set_weights(START)
    assert training_bits(model) != first  # Adam keeps its state
    model.set_weights(START)
    model.compile("adam", ONE_HOT, metrics=["acc"])
    assert model.optimizer.iterations == 0
    assert training_bits(model) == first


def test_fit_returns_the_history_of_the_model():
    model = compiled(tinynet)
    history = model.fit(X, Y, epochs=2, verbose=0)
    assert model.history is history
    assert history.model is model
    assert list(history.history) == ["acc", "loss"]
    assert model.fit(X, Y, verbose=0) is not history


MOMENTS = [
    ("train_batch_end", 1), ("epoch_begin", 1), ("epoch_end", 1), ("train_begin", None)
]  # fmt: skip


@pytest.mark.parametrize(("moment", "number"), MOMENTS)
def test_stop_training_stops_where_keras_stops(keras, pair, moment, number):
    def program(lib):
        model, log = pair[lib is tinynet], []

        def note(name, number=None, logs=None):
            log.append((name, number if isinstance(number, int) else None))
            if log[-1] == (moment, number):
                model.stop_training = True

        hooks = {f"on_{name}": partial(note, name) for name, _ in MOMENTS}
        how = {**QUIET, **HELD_OUT, "epochs": 3, "shuffle": False}
        history = model.fit(X, Y, callbacks=[lib.callbacks.LambdaCallback(**hooks)], **how)
        assert len(history.history["val_loss"]) == len(history.epoch)
        return log, history.epoch, model.stop_training

    same(keras, program)
    _, ours = pair
    assert len(ours.fit(X, Y, epochs=2, verbose=0).epoch) == 2  # the next fit is not stopped
    assert not ours.stop_training


# Evaluating and predicting


def squared(y_true, y_pred):
    return (y_true - y_pred) ** 2


def mean_squared(y_true, y_pred):
    return squared(y_true, y_pred).mean()


METRICS = {
    "none": lambda lib: [],
    "of every kind": lambda lib: [
        "acc", "accuracy", lib.metrics.CategoricalAccuracy(name="hit"), squared, mean_squared,
        "CategoricalAccuracy", "categorical_accuracy", "categorical_crossentropy",
    ],
    "of one name": lambda lib: ["acc", "acc", lib.metrics.CategoricalAccuracy(name="acc")],
}  # fmt: skip


@pytest.mark.parametrize("name", METRICS)
def test_metrics_are_named_ordered_and_averaged_as_in_keras(keras, name):
    models = both(keras, lambda lib: compiled(lib, METRICS[name](lib)))
    assert_agree(*map(CALLS["evaluate as a dictionary"], models))
    if name != "of one name":  # which Keras lists twice
        assert_agree(*map(CALLS["evaluate"], models))
    assert isinstance(models[1].train_on_batch(X, Y), float) == (name == "none")


def test_predict_and_call_work_uncompiled_and_return_new_arrays():
    for model in (compiled(tinynet, loss=None), network(layers.Flatten(), inputs=(4,))):
        outputs, called = model.predict(X, batch_size=3, verbose=0), model(X)
        assert (outputs.dtype, outputs.shape) == (np.float32, (10, *model.output_shape[1:]))
        assert outputs.flags.owndata
        assert outputs.flags.writeable
        kept = outputs.copy(), called.copy()
        model.predict(-X, batch_size=3, verbose=0), model(-X)
        assert equal([outputs, called], kept)
        outputs[:] = called[:] = 0  # neither the model nor the caller uses these arrays
        close(model(X), kept[0])


@pytest.mark.parametrize("batch_size", [1, 3, 10, 32])
def test_results_do_not_depend_on_the_batch_size(batch_size):
    model = compiled(tinynet)
    outputs = model.predict(X, batch_size=batch_size, verbose=0)
    close(outputs, model(X))
    of_each = -np.log((outputs.astype("float64") * Y).sum(axis=1))
    loss, accuracy = model.evaluate(X, Y, batch_size=batch_size, verbose=0)
    close(loss, of_each.mean())
    assert accuracy == np.float32((outputs.argmax(axis=1) == LABELS).mean())


def test_reported_numbers_are_python_floats_of_float32_values():
    model = compiled(tinynet)
    history = model.fit(X, Y, epochs=2, **HELD_OUT, **QUIET).history
    values = [value for series in history.values() for value in series]
    values += model.evaluate(X, Y, verbose=0)
    values += model.train_on_batch(X, Y)
    values += model.test_on_batch(X, Y, return_dict=True).values()
    assert all(type(value) is float and value == float(np.float32(value)) for value in values)


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

    def spy(function, *arrays, **others):
        result = function(*arrays, **others)
        seen.update(a.dtype.name for a in (*arrays, result) if isinstance(a, np.ndarray))
        return result

    for layer in model.layers:
        for method in ("forward", "backward", "backward_from_z"):
            if hasattr(layer, method):
                setattr(layer, method, partial(spy, getattr(layer, method)))
    model.train_on_batch(x, y, sample_weight=np.ones(len(x)))
    model.fit(x, y, batch_size=5, verbose=0, class_weight={0: 2})
    stored = [model.flat, model.parameters.gradients, *model.weights]
    stored += model.optimizer.variables[1:]
    stored += [array for slots in model.optimizer.get_state()["state"] for array in slots]
    stored += [model.predict(x, verbose=0), model(x)]
    return seen | {array.dtype.name for array in stored}


TARGETS = [(ONE_HOT, kind) for kind in ("float64", "float32", "uint8", "bool")]
TARGETS += [(SPARSE, kind) for kind in ("float64", "float32", "uint8", "int64")]


@pytest.mark.parametrize(("loss", "y_type"), TARGETS)
def test_data_of_any_type_are_computed_in_float32(loss, y_type):
    plain = training_bits(image_model(), IMAGES.astype("float32"), ANSWERS)
    y = (ANSWERS if loss == ONE_HOT else ANSWERS.argmax(axis=1)).astype(y_type)
    for x_type in ("float64", "float16", "uint8", "int64", "bool", "float32"):
        x = IMAGES.astype(x_type)
        assert dtypes_in_a_step(image_model(loss), x, y) == {"float32"}, x_type
        assert training_bits(image_model(loss), x, y) == plain, x_type


def test_with_floatx_float64_everything_is_float64():
    single = training_bits(image_model(), IMAGES, ANSWERS)[0]["loss"]
    tinynet.config.set_floatx("float64")
    model = image_model()
    assert dtypes_in_a_step(model, IMAGES.astype("float32"), ANSWERS) - {"float32"} == {"float64"}
    double = training_bits(image_model(), IMAGES, ANSWERS)[0]["loss"]
    assert any(value != float(np.float32(value)) for value in double)
    close(double, single)
    tinynet.config.set_floatx("float32")  # a model keeps the type it was built with
    assert model.predict(IMAGES, verbose=0).dtype == "float64"
    assert model.get_config()["dtype"]["config"] == {"name": "float64"}


# Randomness


def test_the_global_random_generators_are_not_used():
    before = np.random.get_state(), random.getstate()  # noqa: NPY002
    model = Sequential([layers.Dense(5, "sigmoid", kernel_initializer="he_normal")])
    model.add(layers.Dense(3, "softmax"))
    model.compile("adam", ONE_HOT)
    model.fit(X, Y, epochs=2, **SPLIT, **QUIET)
    model.train_on_batch(X, Y)
    model.evaluate(X, Y, verbose=0), model.predict(X, verbose=0), model(X)
    Sequential.from_config(model.get_config())
    assert equal(before[0], np.random.get_state())  # noqa: NPY002
    assert random.getstate() == before[1]


def test_training_depends_only_on_the_seed_and_shuffling_is_the_default():
    def run(seed, **how):
        tinynet.utils.set_random_seed(seed)
        return unbuilt().fit(X, Y, epochs=2, **QUIET, **how).history

    assert run(1) == run(1) == run(1, shuffle=True)
    assert run(1) not in (run(2), run(1, shuffle=False))


# The caller's arrays


def all_results(loss, x, y, weights):
    """Return everything that a new model computes from these arrays, as bytes."""
    tinynet.utils.set_random_seed(3)
    model, how = image_model(loss), {"batch_size": 5, "shuffle": True}
    held_out = {"validation_data": (x, y, weights)}
    bits = training_bits(model, x, y, sample_weight=weights, **held_out, **how)
    bits += training_bits(model, x, y, validation_split=0.3, class_weight={0: 2}, **how)
    evaluated = model.evaluate(x, y, batch_size=5, sample_weight=weights, verbose=0)
    on_batch = model.train_on_batch(x, y, weights), model.test_on_batch(x, y, weights)
    outputs = model.predict(x, batch_size=5, verbose=0)
    assert type(outputs) is np.ndarray
    return bits, evaluated, on_batch, outputs.tobytes(), model(x).tobytes()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("loss", [ONE_HOT, SPARSE])
def test_arrays_of_any_layout_give_the_same_results_and_stay_unchanged(layout, loss, tmp_path):
    targets = ANSWERS if loss == ONE_HOT else ANSWERS.argmax(axis=1)
    for x_type in ("float32", "float64", "uint8"):
        x = (IMAGES * 3 + np.arange(12)[:, None, None]).astype(x_type)
        plain = [x, targets, WEIGHTS[:1].repeat(12) + np.arange(12)]
        given = [LAYOUTS[layout](array, tmp_path) for array in plain]
        assert all_results(loss, *given) == all_results(loss, *plain), x_type
        assert equal(given, plain), x_type


def test_a_one_dimensional_x_is_taken_as_a_column():
    column = X[:, :1]
    model = Sequential([Input((1,)), layers.Dense(3, "softmax")])
    close(model.predict(column[:, 0], verbose=0), model(column))
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
        self.seen, self.place, self.before = [], None, 0

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            gc.collect()
            self.others = sys.gettrace()
            tracemalloc.start()
            sys.settrace(self.look)

    def on_epoch_end(self, epoch=1, logs=None):
        if tracemalloc.is_tracing():
            sys.settrace(self.others)
            tracemalloc.stop()

    def look(self, frame, event, _):
        frame.f_trace_opcodes = True
        _, peak = tracemalloc.get_traced_memory()
        if self.place:
            self.seen.append((peak - self.before, *self.place))
        self.place = Path(frame.f_code.co_filename).name, frame.f_lineno
        tracemalloc.reset_peak()
        self.before, _ = tracemalloc.get_traced_memory()
        return self.look


@pytest.mark.host
@pytest.mark.parametrize("shuffle", [True, pytest.param(False, marks=pytest.mark.long)])
@pytest.mark.parametrize("batch_size", [32, pytest.param(1024, marks=pytest.mark.long)])
def test_a_training_step_allocates_no_memory_after_the_first_epoch(rng, batch_size, shuffle):
    n = 2 * batch_size + 7  # the shorter last batch must not allocate new buffers
    pixels = rng.integers(0, 256, (n, 28, 28)).astype("uint8")
    targets = np.eye(10)[rng.integers(0, 10, n)]
    watch, how = AllocationWatch(), {"epochs": 2, "verbose": 0, "shuffle": shuffle}
    # NumPy's loops may use a buffer of 8,192 numbers; reduce it to 16.
    old = np.setbufsize(16)
    try:
        tutorial().fit(pixels, targets, batch_size=batch_size, callbacks=[watch], **how)
    finally:
        watch.on_epoch_end()
        np.setbufsize(old)
    files = {"data.py", "layers.py", "losses.py", "metrics.py", "optimizers.py", "training.py"}
    assert files <= {file for _, file, _ in watch.seen}
    size, file, line = max(watch.seen)
    overhead = 1536  # Python objects, and the state of a NumPy loop
    assert size < batch_size * 64 + overhead, f"{size} bytes in {file}:{line}"


def test_a_model_is_traced_and_checked_in_a_callback():
    """A copy made while the model computes does not count as computing."""
    model, checked = network((2,), inputs=(3,), loss="mse", optimizer="sgd"), []
    x, y = np.ones((4, 3), "float32"), np.ones((4, 2), "float32")

    def on_epoch_end(epoch, logs):
        model.trace(x, y)
        checked.append(tinynet.check_gradients(model, x, y).ok)

    model.fit(x, y, epochs=2, verbose=0, callbacks=[LambdaCallback(on_epoch_end=on_epoch_end)])
    assert checked == [True, True]


def test_predict_refuses_outputs_of_unknown_width():
    class Odd(tinynet.Layer):
        def compute_output_shape(self, input_shape):
            return input_shape[0], None

        def forward(self, x, training=False):
            return x[:, :1] * 1

    with pytest.raises(TypeError):
        network(Odd(), inputs=(6,)).predict(np.ones((4, 6)), verbose=0)


@pytest.mark.host
def test_a_backend_can_be_entered_twice():
    program = (
        "import tinynet; use = tinynet.backend.use('numpy')\n"
        "with use: pass\nwith use: pass\nprint(tinynet.backend.backend())"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout == "numpy\n", run.stderr
