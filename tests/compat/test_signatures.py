"""Signatures have the parameters of Keras, in the same order and with the same defaults.

Parameters that only Keras has are refused by name, unless they have their default.
"""

import inspect
from operator import attrgetter

import pytest
from networks import ONE_HOT, network

import tinynet

NAMES = {
    "activations": "linear relu sigmoid softmax tanh",
    "callbacks": "BackupAndRestore EarlyStopping ModelCheckpoint",
    "initializers": """
        Constant GlorotNormal GlorotUniform HeNormal HeUniform Ones RandomNormal RandomUniform
        TruncatedNormal VarianceScaling Zeros
    """,
    "layers": "Dense Flatten Input",
    "losses": """
        CategoricalCrossentropy MeanSquaredError SparseCategoricalCrossentropy
        categorical_crossentropy mean_squared_error sparse_categorical_crossentropy
    """,
    "metrics": """
        BinaryAccuracy CategoricalAccuracy SparseCategoricalAccuracy
        binary_accuracy categorical_accuracy sparse_categorical_accuracy
    """,
    "models": "load_model model_from_json save_model",
    "optimizers": "Adam Adam.apply_gradients Adam.build SGD",
    "Sequential": """
        __init__ add build compile count_params evaluate fit get_layer load_weights predict save
        save_weights set_weights summary test_on_batch to_json train_on_batch
    """,
    "utils": "set_random_seed to_categorical",
}
PATHS = [f"{owner}.{name}" for owner, names in NAMES.items() for name in names.split()]

# Parameters that only tinynet has.
OWN = {
    "out": "an array to write to",
    "surprisal": "an array to write the negative logarithm of softmax to",
    "parts": "shapes of the variables in one vector",
}

# `compile` requires an optimizer and `fit` requires data.
REQUIRED = {
    "Sequential.compile": {"optimizer"},
    "Sequential.fit": {"x", "y"},
    "Sequential.evaluate": {"x", "y"},
    "Sequential.train_on_batch": {"y"},
    "Sequential.test_on_batch": {"y"},
}


def parameters(thing):
    several = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    found = inspect.signature(thing).parameters.values()
    return {p.name: p for p in found if p.kind not in several and p.name not in ("self", "model")}


@pytest.mark.parametrize("path", PATHS)
def test_parameters_their_order_and_their_defaults_equal_keras(keras, path):
    ours, theirs = (parameters(attrgetter(path)(library)) for library in (tinynet, keras))
    positional = [p.name for p in ours.values() if p.kind is not p.KEYWORD_ONLY]
    positional = [name for name in positional if name not in OWN]
    assert positional == list(theirs)[: len(positional)]
    # Default names depend on the class.
    compared = (ours.keys() & theirs.keys()) - REQUIRED.get(path, set()) - {"name"}
    for name in compared:
        assert ours[name].default == theirs[name].default, name


# What takes Keras's other arguments, too, to refuse them, and the arguments for a valid call.
REFUSING = {
    "layers.Dense": {"units": 3},
    "layers.Flatten": {},
    "layers.Input": {"shape": (3,)},
    "losses.CategoricalCrossentropy": {},
    "losses.SparseCategoricalCrossentropy": {},
    "optimizers.Adam": {},
    "optimizers.SGD": {},
    "Sequential.compile": {"optimizer": "adam", "loss": ONE_HOT},
    "Sequential.summary": {},
}
OF_LAYERS = {"activity_regularizer": None, "autocast": True}  # in Keras, part of **kwargs


@pytest.mark.parametrize("path", REFUSING)
@pytest.mark.computes
def test_each_unsupported_argument_of_keras_is_refused_by_name(keras, path):
    ours, theirs, valid = attrgetter(path)(tinynet), attrgetter(path)(keras), REFUSING[path]
    if path.startswith("Sequential."):
        ours = getattr(network((3, "softmax"), inputs=(4,)), path.partition(".")[2])
    missing = parameters(theirs).keys() - parameters(ours).keys()
    defaults = {name: parameters(theirs)[name].default for name in missing}
    defaults |= OF_LAYERS if path.startswith("layers.D") else {}
    for argument, default in defaults.items():
        message = rf"was given {argument}=.*Keras supports, but tinynet does not"
        with pytest.raises(ValueError, match=message):
            ours(**valid, **{argument: object()})
        if path != "Sequential.summary":
            ours(**valid, **{argument: default})  # passing Keras's default is accepted
    with pytest.raises((ValueError, TypeError), match="foo"):
        ours(**valid, foo=1)
