"""Signatures have the parameters of Keras, in the same order and with the same defaults."""

import inspect

import pytest

import tinynet

PAIRS = [
    "activations.linear",
    "activations.relu",
    "activations.sigmoid",
    "activations.softmax",
    "activations.tanh",
    "callbacks.BackupAndRestore",
    "callbacks.EarlyStopping",
    "callbacks.ModelCheckpoint",
    "initializers.Constant",
    "initializers.GlorotNormal",
    "initializers.GlorotUniform",
    "initializers.HeNormal",
    "initializers.HeUniform",
    "initializers.Ones",
    "initializers.RandomNormal",
    "initializers.RandomUniform",
    "initializers.TruncatedNormal",
    "initializers.VarianceScaling",
    "initializers.Zeros",
    "layers.Dense",
    "layers.Flatten",
    "layers.Input",
    "losses.CategoricalCrossentropy",
    "losses.MeanSquaredError",
    "losses.SparseCategoricalCrossentropy",
    "losses.categorical_crossentropy",
    "losses.mean_squared_error",
    "losses.sparse_categorical_crossentropy",
    "metrics.BinaryAccuracy",
    "metrics.CategoricalAccuracy",
    "metrics.SparseCategoricalAccuracy",
    "metrics.binary_accuracy",
    "metrics.categorical_accuracy",
    "metrics.sparse_categorical_accuracy",
    "models.load_model",
    "models.model_from_json",
    "models.save_model",
    "optimizers.Adam",
    "optimizers.Adam.apply_gradients",
    "optimizers.Adam.build",
    "optimizers.SGD",
    "Sequential.__init__",
    "Sequential.add",
    "Sequential.build",
    "Sequential.compile",
    "Sequential.count_params",
    "Sequential.evaluate",
    "Sequential.fit",
    "Sequential.get_layer",
    "Sequential.load_weights",
    "Sequential.predict",
    "Sequential.save",
    "Sequential.save_weights",
    "Sequential.set_weights",
    "Sequential.summary",
    "Sequential.test_on_batch",
    "Sequential.to_json",
    "Sequential.train_on_batch",
    "utils.set_random_seed",
    "utils.to_categorical",
]

# Parameters that only tinynet has.
OWN = {
    "out": "an array to write to",
    "surprisal": "an array to write the negative logarithm of softmax to",
    "parts": "shapes of the variables in one vector",
}


def find(library, path):
    for name in path.split("."):
        library = getattr(library, name)
    return library


def parameters(thing):
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return {
        name: p
        for name, p in inspect.signature(thing).parameters.items()
        if p.kind not in kinds and name not in ("self", "model")
    }


@pytest.mark.parametrize("path", PAIRS)
def test_parameters_and_their_order_equal_keras(keras, path):
    ours, theirs = parameters(find(tinynet, path)), parameters(find(keras, path))
    positional = [
        name
        for name, p in ours.items()
        if p.kind is not inspect.Parameter.KEYWORD_ONLY and name not in OWN
    ]
    assert positional == list(theirs)[: len(positional)]


@pytest.mark.parametrize("path", PAIRS)
def test_defaults_equal_keras(keras, path):
    ours, theirs = parameters(find(tinynet, path)), parameters(find(keras, path))
    different = {
        name: (p.default, theirs[name].default)
        for name, p in ours.items()
        if name in theirs and p.default != theirs[name].default
    }
    # `compile` requires an optimizer and `fit` requires data; default names depend on the class.
    allowed = {
        "Sequential.compile": {"optimizer"},
        "Sequential.fit": {"x", "y"},
        "Sequential.evaluate": {"x", "y"},
        "Sequential.train_on_batch": {"y"},
        "Sequential.test_on_batch": {"y"},
    }.get(path, set())
    assert {k: v for k, v in different.items() if k not in {"name", *allowed}} == {}
