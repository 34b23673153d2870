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
import sys
import tracemalloc
import warnings
from functools import partial, wraps
from pathlib import Path

import numpy as np
import pytest
from arrays import address, array_equal, shares_memory
from networks import LAYOUTS, ONE_HOT, SPARSE, network, random_weights, samples, tutorial
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
    history = model.fit(x, y, **{**QUIET, "epochs": 2, "shuffle": False, **arguments})
    assert model.history is history
    assert history.model is model
    return history


def fitted(model):
    fit(model, shuffle=True)
    return model


def training_bits(model, x=X, y=Y, **arguments):
    """Train briefly, and return the history and the weights' bytes for an exact comparison."""
    history = fit(model, x, y, **arguments).history
    return history, [weight.tobytes() for weight in model.get_weights()]


# Building, naming, configuring


def later(build):
    """Return a function that makes a model without an input shape, and builds it with `build`."""

    def make(lib):
        model = network(lib.layers.Dense(5, "softmax", name="d"), library=lib, loss=ONE_HOT)
        with pytest.raises(AttributeError, match="has no defined output shape yet"):
            _ = model.output_shape
        build(model)
        assert model(X[:3]).shape == (3, 5)  # other batch sizes are accepted
        return model

    return make


def beginning(first):
    """Return a function that makes a model of the layers `first` and one more."""
    return lambda lib: network(*first(lib), (5, None, False), library=lib)


def named(lib):
    """Return a model with automatic names, and more of each kind before it."""
    dense, flatten = lib.layers.Dense, lib.layers.Flatten
    for make in (lib.Sequential, partial(lib.Sequential, name="me"), partial(lib.Input, (3,))):
        make()
    first = [dense(4), dense(4), dense(4, name="mine"), dense(4), flatten(), flatten()]
    return network(*first, dense(4, name="dense_5"), dense(5), inputs=(4,), library=lib)


# Keras compiles anew for every shape of a weight, so most weights in this file are (4, 5).
MODELS = {
    "Input": beginning(lambda lib: [lib.Input((4,))]),
    "Input with a batch size": beginning(lambda lib: [lib.Input((4,), 8)]),
    "Input of a batch shape": beginning(
        lambda lib: [lib.Input(batch_shape=(8, 4), name="in", dtype="uint8")]
    ),
    "images": beginning(lambda lib: [lib.Input((2, 2)), lib.layers.Flatten()]),
    "Dense on two axes": beginning(lambda lib: [lib.Input((2, 4))]),
    "only the first layer's input shape": lambda lib: network(
        lib.layers.Dense(4, input_dim=4), lib.layers.Dense(5, input_shape=(99,)), library=lib
    ),
    "unbuilt": beginning(lambda lib: [lib.layers.Flatten()]),
    "unbuilt, named, frozen, initialized": lambda lib: lib.Sequential(
        [lib.layers.Dense(3, "relu", kernel_initializer="he_normal", trainable=False)], name="m"
    ),
    "automatic names": named,
    "build": later(lambda model: model.build([None, 4])),
    "build with a batch size": later(lambda model: model.build((7, 4))),
    "predict": later(lambda model: model.predict(X, **QUIET)),
    "call": later(lambda model: model(X)),
    "fit": later(lambda model: model.fit(X, FIVE, **QUIET)),
    "fit without an epoch": later(lambda model: model.fit(X, FIVE, epochs=0, verbose=0)),
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
        sizes += [len(model.weights), len(model.get_weights()), len(model.trainable_weights)]
        shapes = (model.input_shape, model.output_shape) if model.built else None
        if lib is tinynet and model.built:
            assert model.layers[-1].output_shape == model.output_shape
        return list(map(repr, (model, *model.layers))), sizes, shapes, as_json(configs[-1])

    *_, expected = same(keras, program)
    for config in (*configs, expected):
        model = Sequential.from_config(config)
        assert as_json(model.get_config()) == expected
        assert model.built == ("build_input_shape" in config)


def test_from_config_needs_no_defaults():
    dense = {"class_name": "Dense", "config": {"units": 3}}
    config = {"layers": [dense], "build_input_shape": [None, 4]}
    assert Sequential.from_config(config).output_shape == (None, 3)


def test_layers_are_found_added_and_popped_as_in_keras(keras):
    def program(lib):
        dense = lib.layers.Dense
        first, second = dense(5, name="a"), dense(3, name="b")
        model = lib.Sequential([lib.Input((4,)), first, second])
        model.layers.clear()  # a copy
        assert model.layers == [first, second]
        assert model.get_layer("b") is model.get_layer(index=-1) is second
        kept = first.get_weights()
        assert model.pop() is second
        log = [second.built, model.built, model.output_shape, model.count_params()]
        model.add(dense(3, name="c", use_bias=False))
        log += [model.built, model.output_shape, model.count_params(), len(model.weights)]
        assert array_equal(first.get_weights()[0], kept[0])
        model.pop(), model.pop()
        log += [model.built, model.layers, model.weights]
        model.add(dense(5, name="d"))
        with pytest.raises(IndexError):
            lib.Sequential().pop()
        return [*log, model.built, model.input_shape, model.output_shape]

    same(keras, program)


def test_freezing_behaves_as_in_keras(keras):
    def state(model):
        lists = model.trainable_weights, model.non_trainable_weights, model.weights
        flags = [part.trainable for part in (model, *model.layers)]
        return [*flags, model.get_config()["trainable"], *map(len, lists)]

    def program(lib):
        model = network((5,), (3,), inputs=(4,), library=lib)
        states = [state(model), state(lib.Sequential(model.layers, trainable=False))]
        parts = [model, *model.layers]
        # The model, all of it but one layer, and back; one layer, and layer by layer.
        for part, value in [(0, False), (2, True), (0, True), (1, False), (2, False)]:
            parts[part].trainable = value
            states.append(state(model))
        return states

    same(keras, program)


# Weights, and the vector that holds them


def assert_one_vector(model):
    """Assert that kernels and biases are views of `flat`, in order, and gradients likewise."""
    names = [(layer, name) for layer in model.layers for name in layer.trainable_names]
    weights = [getattr(layer, name) for layer, name in names]
    assert list(map(id, weights)) == list(map(id, model.weights))
    for vector, suffix in ((model.flat, ""), (model.parameters.gradients, "_gradient")):
        start = address(vector)
        for layer, name in names:
            part = getattr(layer, name + suffix)
            assert address(part) == start
            assert part.flags.c_contiguous
            start += part.nbytes
        assert start == address(vector) + vector.nbytes


def pickled(model):
    return pickle.loads(pickle.dumps(model))


def test_weights_are_views_into_one_vector_after_any_change():
    model = fitted(compiled(tinynet))
    model.pop()
    model.add(layers.Dense(2))
    assert_one_vector(model)
    model.set_weights([weight + 1 for weight in model.weights])
    assert_one_vector(model)
    assert_one_vector(Sequential.from_config(model.get_config()))


def test_an_added_layer_that_does_not_fit_changes_nothing():
    model, wide = compiled(tinynet), network((3,), inputs=(9,)).layers[0]
    with pytest.raises(ValueError, match="expected axis -1 of input shape to have value 9"):
        model.add(wide)
    assert len(model.layers) == 2
    assert_one_vector(model)


def test_get_weights_and_set_weights_copy_but_weights_are_live():
    model = compiled(tinynet)
    copies, live = model.get_weights(), model.weights
    assert all(type(array) is np.ndarray and array.base is None for array in copies)
    assert equal(live, fitted(model).get_weights())
    assert equal(copies, START)
    model.set_weights([weight.astype("float64").tolist() for weight in START])
    assert equal(live, START)
    copies[0] += 1
    model.set_weights(copies)
    copies[0] += 1
    assert equal(live, [START[0] + 1, *START[1:]])


@pytest.mark.parametrize("clone", [copy.deepcopy, pickled])
@pytest.mark.parametrize("make", [unbuilt, lambda: fitted(compiled(tinynet))])
def test_a_copy_trains_like_the_original_and_does_not_change_it(clone, make):
    model = make()
    twin = clone(model)
    assert training_bits(twin) == training_bits(model)  # which has not changed until then
    assert_one_vector(twin)
    assert_one_vector(model)
    assert not shares_memory(model.flat, twin.flat)


# Layers shared by two models


def borrower_of(owner):
    return network(*owner.layers, inputs=(4,), loss=ONE_HOT, metrics=["acc"])


def lend():
    """Return a model, and another one that borrows its layers."""
    owner = compiled(tinynet)
    return owner, borrower_of(owner)


def test_models_that_share_layers_predict_and_evaluate_with_the_current_weights():
    owner, borrower = lend()
    head = Sequential([Input((4,)), owner.layers[0]])
    longer = Sequential([Input((4,)), *owner.layers, layers.Dense(2)])
    fitted(owner)
    for other in (borrower, copy.copy(owner)):
        assert array_equal(other.predict(X, verbose=0), owner.predict(X, verbose=0))
    assert borrower.evaluate(X, Y, verbose=0) == owner.evaluate(X, Y, verbose=0)
    assert array_equal(head.predict(X, verbose=0), owner.layers[0](X))
    assert longer.predict(X, verbose=0).shape == (10, 2)
    assert_one_vector(owner)


def test_a_borrowing_model_can_train_after_its_owner_is_deleted():
    owner, borrower = lend()
    expected = training_bits(owner)
    borrower.set_weights(START)
    del owner
    gc.collect()
    assert training_bits(borrower) == expected
    assert_one_vector(borrower)


def test_a_popped_layer_can_be_owned_by_another_model_unless_it_was_borrowed():
    first, borrower = lend()
    third = network(borrower.pop(), inputs=(5,), loss=ONE_HOT)
    assert_one_vector(fitted(first))
    assert third.parameters.other_owner is first.parameters
    layer = first.pop()
    weights = layer.get_weights()
    second = network(layer, inputs=(5,), loss=ONE_HOT)
    assert_one_vector(first)
    assert_one_vector(second)
    assert equal(second.get_weights(), weights)
    fit(second, X.repeat(2, axis=1)[:, :5])
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
    assert_agree(fit(theirs, epochs=3), fit(ours, epochs=3))
    assert_same_state(theirs, ours)
    assert_one_vector(ours)


def test_fit_of_a_fully_frozen_model_only_reports_the_loss():
    model = deep(tinynet, range(4))
    before = model.get_weights()
    first, second = fit(model).history["loss"]
    assert first == second
    assert equal(model.get_weights(), before)


OTHER_WEIGHTS = r"built for other weights.*another model\. .*model\.compile\(…\) again"
REPLACED = r"kernel to be the array .* layer\.kernel\[\.\.\.\]"
UNTRAINABLE = {  # a change of a trained model, which may return another one, and the message
    "freeze": (lambda model: setattr(model.layers[0], "trainable", False), OTHER_WEIGHTS),
    "add": (lambda model: model.add(layers.Dense(3, "softmax")), OTHER_WEIGHTS),
    "another model's optimizer": (
        lambda model: setattr(model, "optimizer", fitted(unbuilt()).optimizer), OTHER_WEIGHTS,
    ),
    "a replaced weight": (
        lambda model: setattr(model.layers[0], "kernel", model.layers[0].kernel.copy()), REPLACED,
    ),
    "an added weight": (lambda model: model.layers[0].add_weight((3,), name="w"), OTHER_WEIGHTS),
    "borrowed layers": (borrower_of, "'sequential_1' to own.*model 'sequential' .*only borrowed"),
    "a shallow copy": (copy.copy, "only borrowed here"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), UNTRAINABLE.values(), ids=UNTRAINABLE)
def test_what_cannot_be_trained_is_refused_and_not_changed(change, message):
    owner = fitted(deep(tinynet, (1,)))
    kernel, result = owner.layers[0].kernel, change(owner)
    model = result if isinstance(result, Sequential) else owner
    before, iterations = model.get_weights(), model.optimizer.iterations
    y = np.eye(model.output_shape[-1])[LABELS]
    for train in (partial(model.fit, verbose=0), model.train_on_batch):
        with pytest.raises(ValueError, match=message):
            train(X, y)
    assert equal(model.get_weights(), before)
    assert model.optimizer.iterations == iterations
    if message == REPLACED:
        model.layers[0].kernel = kernel
    if message in (OTHER_WEIGHTS, REPLACED):
        model.compile("adam", ONE_HOT)
        assert model.optimizer.iterations == 0
        model.fit(X, y, verbose=0)
        assert_one_vector(model)


# Training, evaluating and predicting: results and state, compared with Keras


HELD_OUT = {"validation_data": (X[:6] * 0.5, Y[:6])}
SPLIT, CLASSES = {"validation_split": 0.4}, {"class_weight": {0: 0.5, 2: 3.0}}
FITS = {
    "uneven batches": {"epochs": 3},
    "default batch size": {"x": X.repeat(7, 0), "y": Y.repeat(7, 0), "batch_size": None},
    **{f"no epoch, {how}": {"epochs": 0, "verbose": how} for how in (0, 1, 2, "auto")},
    "initial epoch": {"epochs": 4, "initial_epoch": 2},
    "validation data before split": {**HELD_OUT, **SPLIT},
    "validation every second epoch": {**HELD_OUT, "epochs": 5, "validation_freq": 2},
    "validation after given epochs": {**HELD_OUT, "epochs": 4, "validation_freq": [1, 3]},
    "validation batch size": {**HELD_OUT, "validation_batch_size": 2},
    "validation steps": {"epochs": 3, "validation_data": (X, Y), "validation_steps": 2},
    "half a pass an epoch": {"epochs": 5, "batch_size": 2, "steps_per_epoch": 2},
    "most of a pass an epoch": {"epochs": 4, "steps_per_epoch": 2},
    "steps that run out": {"epochs": 3, "steps_per_epoch": 5},
    "weighted samples, in a column": {"sample_weight": WEIGHTS[:, None]},
    "weighted validation": {"validation_data": (X[:6], Y[:6], WEIGHTS[:6])},
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
    "train_on_batch": lambda model: [model.train_on_batch(*FOUR) for _ in range(2)],
    "train_on_batch as a dictionary": lambda model: model.train_on_batch(*FOUR, return_dict=True),
    "train_on_batch weighted": lambda model: model.train_on_batch(*FOUR, WEIGHTS[:4]),
    "train_on_batch, weighted classes": lambda model: model.train_on_batch(*FOUR, **CLASSES),
    "predict": lambda model: model.predict(X, **QUIET),
    "predict some steps": lambda model: model.predict(X, steps=2, **QUIET),
    "predict more steps than there are": lambda model: model.predict(X, steps=9, **QUIET),
    "evaluate more steps than there are": lambda model: model.evaluate(X, Y, steps=4, **QUIET),
    "call": lambda model: np.asarray(model(X[:4])),
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


@pytest.mark.parametrize(
    ("moment", "number"),
    [("train_batch_end", 1), ("epoch_begin", 1), ("epoch_end", 1), ("train_begin", None)],
)
def test_stop_training_stops_where_keras_stops(keras, pair, moment, number):
    def program(lib):
        model = pair[lib is tinynet]

        def stop(now=None, logs=None):
            if number in (now, None):
                model.stop_training = True

        callbacks = [lib.callbacks.LambdaCallback(**{f"on_{moment}": stop})]
        history = fit(model, **HELD_OUT, epochs=3, callbacks=callbacks)
        assert len(history.history["val_loss"]) == len(history.epoch)
        stopped = history.epoch, int(model.optimizer.iterations), model.stop_training
        return stopped, fit(model).epoch, model.stop_training  # the next fit is not stopped

    assert same(keras, program)[1:] == ([0, 1], False)


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
        predict = partial(model.predict, verbose=0)
        for compute in (predict, partial(predict, batch_size=3), model):
            outputs = compute(X)
            assert (outputs.dtype, outputs.shape) == (np.float32, (10, *model.output_shape[1:]))
            assert outputs.flags.owndata
            kept = outputs.copy()
            compute(-X)
            assert array_equal(outputs, kept)
            outputs[:] = 0  # neither the model nor the caller uses this array
            close(compute(X), kept)


def test_reported_numbers_are_python_floats_of_float32_values():
    model = compiled(tinynet)
    values = [value for series in fit(model, **HELD_OUT).history.values() for value in series]
    values += [*model.evaluate(X, Y, verbose=0), *model.train_on_batch(X, Y)]
    assert all(type(value) is float and value == float(np.float32(value)) for value in values)


# Types


IMAGES = RNG.integers(0, 2, (12, 2, 2))
ANSWERS = np.eye(3)[RNG.integers(0, 3, 12)]


def image_model(loss=ONE_HOT):
    tinynet.utils.set_random_seed(3)
    model = network(layers.Flatten(), (4, "tanh"), (3, "softmax"), inputs=(2, 2))
    model.set_weights([np.full(w.shape, 0.1) + np.arange(w.shape[-1]) for w in model.weights])
    model.compile("adam", loss, metrics=["acc"])
    return model


def all_results(model, x, y, weights):
    """Return everything that a new model computes from these arrays, mostly as bytes."""
    how = {"batch_size": 5, "shuffle": True}
    held_out = {"validation_data": (x, y, weights)}
    bits = training_bits(model, x, y, sample_weight=weights, **held_out, **how)
    bits += training_bits(model, x, y, validation_split=0.3, class_weight={0: 2}, **how)
    evaluated = model.evaluate(x, y, batch_size=5, sample_weight=weights, verbose=0)
    on_batch = model.train_on_batch(x, y, weights), model.test_on_batch(x, y, weights)
    outputs = model.predict(x, batch_size=5, verbose=0)
    assert type(outputs) is np.ndarray
    return *bits, evaluated, on_batch, outputs.tobytes(), model(x).tobytes()


def types_and_results(model, x, y):
    """Return the types of all arrays in the passes, and of all stored ones; and all results."""
    seen = set()

    def spy(function, *arrays, **others):
        result = function(*arrays, **others)
        seen.update(a.dtype.name for a in (*arrays, result) if isinstance(a, np.ndarray))
        return result

    for layer in model.layers:
        for method in ("forward", "backward", "backward_from_z"):
            if hasattr(layer, method):
                inner = getattr(layer, method)  # `wraps`, so that it passes for tinynet's own
                setattr(layer, method, wraps(inner)(partial(spy, inner)))
    results = all_results(model, x, y, np.ones(len(x)))
    stored = [model.flat, model.parameters.gradients, *model.weights, model(x)]
    stored += [*model.optimizer.variables[1:], model.predict(x, verbose=0)]
    stored += [array for slots in model.optimizer.get_state()["state"] for array in slots]
    return seen | {array.dtype.name for array in stored}, results


TARGETS = [(ONE_HOT, kind) for kind in ("float64", "float32", "uint8", "bool")]
TARGETS += [(SPARSE, kind) for kind in ("float64", "float32", "uint8", "int64")]


@pytest.mark.parametrize(("loss", "y_type"), TARGETS)
def test_data_of_any_type_are_computed_in_float32(loss, y_type):
    plain = all_results(image_model(), IMAGES.astype("float32"), ANSWERS, np.ones(12))
    y = (ANSWERS if loss == ONE_HOT else ANSWERS.argmax(axis=1)).astype(y_type)
    for x_type in ("float64", "float16", "uint8", "int64", "bool", "float32"):
        received = types_and_results(image_model(loss), IMAGES.astype(x_type), y)
        assert received == ({"float32"}, plain), x_type


def test_with_floatx_float64_everything_is_float64():
    tinynet.config.set_floatx("float64")
    model = image_model()
    types, (double, *_) = types_and_results(model, IMAGES.astype("float32"), ANSWERS)
    assert types - {"float32"} == {"float64"}
    assert any(value != float(np.float32(value)) for value in double["loss"])
    tinynet.config.set_floatx("float32")  # a model keeps the type it was built with
    assert model.predict(IMAGES, verbose=0).dtype == "float64"
    assert model.get_config()["dtype"]["config"] == {"name": "float64"}


def test_the_order_of_the_samples_depends_only_on_the_seed():
    def run(seed):
        tinynet.utils.set_random_seed(seed)
        return training_bits(compiled(tinynet), shuffle=True)

    assert run(1) == run(1) != run(2)


def test_the_global_random_generators_are_not_used():
    tinynet.utils.set_random_seed(3)  # it seeds them, and so does `image_model`
    before = np.random.get_state(), random.getstate()  # noqa: NPY002
    all_results(image_model(), IMAGES, ANSWERS, np.ones(12))
    assert equal(before[0], np.random.get_state())  # noqa: NPY002
    assert random.getstate() == before[1]


# The caller's arrays


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("loss", [ONE_HOT, SPARSE])
def test_arrays_of_any_layout_give_the_same_results_and_stay_unchanged(layout, loss, tmp_path):
    targets = ANSWERS if loss == ONE_HOT else ANSWERS.argmax(axis=1)
    for x_type in ("float32", "float64", "uint8"):
        x = (IMAGES * 3 + np.arange(12)[:, None, None]).astype(x_type)
        plain = [x, targets, WEIGHTS[:1].repeat(12) + np.arange(12)]
        given = [LAYOUTS[layout](array, tmp_path) for array in plain]
        received, expected = (all_results(image_model(loss), *each) for each in (given, plain))
        assert received == expected, x_type
        assert equal(given, plain), x_type


def test_a_one_dimensional_x_is_taken_as_a_column():
    column, dense = X[:, :1], layers.Dense(3, "softmax")
    for stack in ([Input((1,)), dense], [Input(()), layers.Flatten(), dense]):
        model = Sequential(stack)
        close(model.predict(column[:, 0], verbose=0), model(column))


# Memory


class AllocationWatch(Callback):
    """A callback that records the bytes each instruction of the fourth epoch allocated, and where.

    The peak of traced memory since the previous instruction is what the instruction allocated,
    including temporary arrays within a call.
    """

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 3:  # formulas prepare for calls of a kind when they see one again
            gc.collect()
            self.seen, self.place, self.before = [], None, 0
            tracemalloc.start()
            sys.settrace(self.look)

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
def test_a_training_step_allocates_no_memory_after_the_first_epochs(rng, batch_size, shuffle):
    n = 2 * batch_size + 7  # the shorter last batch must not allocate new buffers
    pixels = rng.integers(0, 256, (n, 28, 28)).astype("uint8")
    targets = np.eye(10)[rng.integers(0, 10, n)]
    watch, how = AllocationWatch(), {"epochs": 4, "verbose": 0, "shuffle": shuffle}
    # NumPy's loops may use a buffer of 8,192 numbers; reduce it to 16.
    old, others = np.setbufsize(16), sys.gettrace()
    try:
        tutorial().fit(pixels, targets, batch_size=batch_size, callbacks=[watch], **how)
    finally:
        sys.settrace(others)
        tracemalloc.stop()
        np.setbufsize(old)
    files = {"data.py", "layers.py", "losses.py", "metrics.py", "optimizers.py", "training.py"}
    assert files <= {file for _, file, _ in watch.seen}
    size, file, line = max(watch.seen)
    overhead = 1536  # Python objects, and the state of a NumPy loop
    assert size < batch_size * 64 + overhead, f"{size} bytes in {file}:{line}"


KINDS_OF_FIRST = {
    "with an input": lambda lib: [lib.Input((4,)), lib.layers.Dense(2)],
    "built": lambda lib: [lib.layers.Dense(2)],
    "not built": lambda lib: [lib.layers.Dense(2)],
    "nested": lambda lib: [
        lib.Sequential([lib.Input((4,)), lib.layers.Dense(2)]),
        lib.layers.Dense(3),
    ],
}


@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize("kind", KINDS_OF_FIRST)
def test_a_model_that_comes_first_gives_its_shape_as_in_keras(keras, kind, trainable):
    def state(model):
        lines = []
        model.summary(print_fn=lambda text, line_break=False: lines.append(text))
        shapes = (
            [model.input_shape, model.output_shape, model.count_params()] if model.built else []
        )
        weights = len(model.weights), len(model.trainable_weights)
        return model.built, shapes, weights, "\n".join(lines)

    def program(library):
        library.utils.clear_session(free_memory=False)
        first = library.Sequential(KINDS_OF_FIRST[kind](library), name="first")
        if kind == "built":
            first.build((None, 4))
        first.trainable = trainable
        model = library.Sequential([first], name="whole")
        states = [state(model)]
        model.add(library.layers.Dense(5))
        states.append(state(model))
        model.pop()
        model.add(library.layers.Dense(6))
        first.build((None, 4))
        model.add(library.layers.Dense(7))
        return [*states, state(model)]

    *_, (built, shapes, _, _) = same(keras, program)
    assert built
    assert shapes[:2] == [(None, 4), (None, 7)]


@pytest.mark.host
def test_a_backend_can_be_entered_twice():
    use = tinynet.backend.use("numpy")
    for _ in range(2):
        with use:
            assert tinynet.backend.backend() == "numpy"
