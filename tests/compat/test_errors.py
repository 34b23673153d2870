"""Invalid input: the error messages, compared with Keras's, and that nothing has changed.

Two things are checked for every refused or failed call: its message (what was expected, what was
received, the line to write instead), and that the model, its optimizer and the random generator
are byte for byte as they were before.
"""

import inspect
import re

import numpy as np
import pytest
from arrays import look
from networks import ONE_HOT, SPARSE, network, random_weights
from oracle import refused as refused_in_both

import tinynet
from tinynet import Input, Sequential, backend, layers, losses, metrics, optimizers
from tinynet.callbacks import Callback

# Many tests use unscaled bytes as inputs, because they do not depend on what is learned.
pytestmark = [
    pytest.mark.computes,
    pytest.mark.filterwarnings("ignore:Expected inputs between about"),
]

RNG = np.random.default_rng(5)
X = RNG.normal(size=(10, 4)).astype("float32")
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
Y = np.eye(3)[LABELS]
START = random_weights(RNG, 4, 5, 3)
STACK = (5, "sigmoid"), (3, "softmax")


def compiled(lib=tinynet, loss=ONE_HOT, optimizer="adam", metrics=("acc",)):
    """Return a 4-5-3 network, sigmoid and softmax, always with the same initial weights."""
    return network(
        *STACK, inputs=(4,), library=lib, weights=START,
        loss=loss, optimizer=optimizer, metrics=list(metrics),
    )  # fmt: skip


def trained(**arguments):
    """Return a trained model, with optimizer moments, a history, and a used random generator."""
    model = compiled(**arguments)
    targets = LABELS if arguments.get("loss") == SPARSE else Y
    model.fit(X, targets, batch_size=4, epochs=2, verbose=0)
    return model


def unbuilt():
    return network(*STACK, loss=ONE_HOT, metrics=["acc"])


def state(model):
    """Return everything that a failed call could have changed."""
    optimizer = model.optimizer
    return {
        "weights": [(id(weight), look(weight).tobytes()) for weight in model.weights],
        "optimizer": optimizer and (
            id(optimizer), optimizer.built, optimizer.iterations, optimizer.learning_rate,
            [variable.tobytes() for variable in optimizer.variables],
        ),
        "generator": backend.generator().bit_generator.state,
        "global generator": np.random.get_state()[1].tolist(),  # noqa: NPY002
        "shapes": (model.built, model.input_shape),
        "layers": [(id(layer), layer.name, layer.built, layer.trainable) for layer in model.layers],
        "history": model.history and (id(model.history), dict(model.history.history)),
        "compiled": (id(model.loss), model.stop_training),
    }  # fmt: skip


def assert_refused(model, call, *fragments, error=ValueError):
    """Assert that `call()` raises `error` with all `fragments` and leaves `model` unchanged."""
    before = state(model)
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    text = str(caught.value)
    for fragment in fragments:
        assert fragment in text
    after = state(model)
    for part in before:
        assert after[part] == before[part], part
    return text


def bits_of_training(model):
    history = model.fit(X, Y, batch_size=4, epochs=2, verbose=0).history
    return history, [look(weight).tobytes() for weight in model.get_weights()]


# Arrays that do not fit


def cardinality(x, y):
    return f"Data cardinality is ambiguous. {SAME}'x' sizes: {x}\n'y' sizes: {y}\n"


SAME = "Make sure all arrays contain the same number of samples."
ARRAYS = {
    "too few features": (X[:, :3], Y, ["(n, 4)", "(10, 3)", "Input(shape=(3,))"]),
    "too many axes": (X[:, None, :], Y, ["(n, 4)", "(10, 1, 4)", "x = x.reshape(-1, 4)"]),
    "one sample alone": (X[0], Y[:4], ["(n, 4)", "(4,)", "batch axis", "x[None]"]),
    "class numbers for one-hot": (X, LABELS, ["target.shape=(10,), output.shape=(10, 3)",
                                              "class numbers", "one-hot",
                                              "y = tinynet.utils.to_categorical(y, 3)",
                                              'loss="sparse_categorical_crossentropy"']),
    "a column of class numbers": (X, LABELS[:, None], ["target.shape=(10, 1)", "to_categorical"]),
    "too short rows": (X, Y[:, :2], ["target.shape=(10, 2), output.shape=(10, 3)",
                                              "3 probabilities for each sample"]),
    "too few targets": (X, Y[:5], [cardinality(10, 5)]),
    "too few samples": (X[:7], Y, [cardinality(7, 10)]),
    "no samples": (X[:0], Y[:0], ["Expected at least one sample", "(0, 4)"]),
    "samples without features": (X[:, :0], Y, ["Expected at least one", "(10, 0)"]),
    "objects": (X.astype(object), Y, ["numbers", "dtype object", 'x = x.astype("float32")']),
    "text": (X.astype(str), Y, ["Expected x to hold numbers", "dtype <U", "(10, 4)"]),
    "complex numbers": (X.astype(complex), Y, ["numbers", "dtype complex128"]),
    "dates": (X.astype("datetime64[s]"), Y, ["numbers", "dtype datetime64[s]"]),
    "targets as objects": (X, Y.astype(object), ["y to hold", 'y = y.astype("float32")']),
    "targets as text": (X, Y.astype(str), ["Expected y to hold numbers", "dtype <U"]),
    "a list": (X.tolist(), Y, ["Unrecognized data type: x=[[", "<class 'list'>",
                               "Expected a NumPy array", "x = np.asarray(x)"]),
    "targets in a list": (X, Y.tolist(), ["Unrecognized data type: y=[[", "y = np.asarray(y)"]),
    "a generator": (iter(X), Y, ["Unrecognized data type: x=<", "x = np.concatenate(batches)"]),
    "a function": (lambda: X, Y, ["Unrecognized data type: x=<function", "np.concatenate"]),
    "a dictionary": ({"in": X}, Y, ["Unrecognized data type: x={", "<class 'dict'>"]),
    "None": (None, Y, ["Unrecognized data type: x=None"]),
    "a number": (3.0, Y, ["Unrecognized data type: x=3.0 (of type <class 'float'>)"]),
    "an array without axes": (np.array(3.0), Y, ["axis of samples", "()", "x = x.reshape(1, 1)"]),
    "targets without axes": (X, np.array(3.0), ["y to have an axis of samples"]),
}  # fmt: skip
CALLS = {
    "fit": lambda model, x, y: model.fit(x, y, verbose=0),
    "train_on_batch": lambda model, x, y: model.train_on_batch(x, y),
    "evaluate": lambda model, x, y: model.evaluate(x, y, verbose=0),
    "test_on_batch": lambda model, x, y: model.test_on_batch(x, y),
    "fit, as validation data": lambda model, x, y: model.fit(
        X, Y, validation_data=(x, y), verbose=0
    ),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_that_do_not_fit_are_refused(name, call):
    x, y, fragments = ARRAYS[name]
    if "validation" in call:  # their names differ in validation data
        fragments = [f for f in fragments if not re.search(r"\b[xy]\b", f)]
    model = trained()
    assert_refused(model, lambda: CALLS[call](model, x, y), *fragments)


@pytest.mark.parametrize("name", [n for n, (_, y, _) in ARRAYS.items() if y is Y])
def test_predict_refuses_the_same_samples(name):
    x, _, fragments = ARRAYS[name]
    if name == "too few samples":
        return
    model = trained()
    assert_refused(model, lambda: model.predict(x, verbose=0), *fragments)


def test_one_hot_rows_for_class_numbers_are_refused():
    model = trained(loss=SPARSE)
    for call in CALLS.values():
        if call is not CALLS["fit, as validation data"]:
            assert_refused(
                model, lambda call=call: call(model, X, Y),
                "must have the same shape up until the last dimension: ",
                "target.shape=(10, 3), output.shape=(10, 3)", "look one-hot", "class numbers",
                'loss="categorical_crossentropy"', "y = y.argmax(axis=-1)",
            )  # fmt: skip
    assert_refused(model, lambda: model.fit(X, Y[:, :2], verbose=0), "target.shape=(10, 2)")


@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch", "test_on_batch"])
def test_missing_targets_are_refused(method):
    model = trained()
    assert_refused(
        model, lambda: getattr(model, method)(X, None), "targets y", "received none", "(x, y)"
    )


@pytest.mark.parametrize(
    ("weights", "fragments"),
    [
        (np.ones(4), ["Data cardinality is ambiguous", "'sample_weight' sizes: 4"]),
        (np.ones((10, 2)), ["sample_weight", "(n,)", "(10, 2)"]),
        (np.array(["a"] * 10), ["sample_weight to hold numbers", "<U1"]),
        ([1.0] * 10, ["Unrecognized data type: sample_weight=[1.0", "np.asarray(sample_weight)"]),
        (2.0, ["Unrecognized data type: sample_weight=2.0"]),
    ],
)
@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch", "test_on_batch"])
def test_sample_weights_that_do_not_fit_are_refused(weights, fragments, method):
    model = trained()
    assert_refused(model, lambda: getattr(model, method)(X, Y, sample_weight=weights), *fragments)


@pytest.mark.parametrize(
    ("loss", "metric", "wants"),
    [
        (ONE_HOT, "sparse_categorical_accuracy", "class numbers of shape (10,)"),
        (SPARSE, "categorical_accuracy", "one-hot targets in the shape of the outputs (10, 3)"),
    ],
)
def test_a_metric_for_other_targets_than_those_of_the_loss_is_refused(loss, metric, wants):
    model = compiled(loss=loss, metrics=[metric])
    targets = LABELS if loss == SPARSE else Y
    for method in ("fit", "evaluate", "train_on_batch", "test_on_batch"):
        call = getattr(model, method)
        assert_refused(model, lambda call=call: call(X, targets), metric, wants, "metrics=['acc']")


@pytest.mark.parametrize("loss", [ONE_HOT, SPARSE])
def test_class_weights_for_several_labels_per_sample_are_refused_as_in_keras(keras, loss):
    rows, labels = X[:, None].repeat(2, axis=1), LABELS[:, None].repeat(2, axis=1)
    targets = labels if loss == SPARSE else np.eye(3)[labels]
    for lib, errors in ((keras, (TypeError, ValueError)), (tinynet, ValueError)):
        model = network((3, "softmax"), inputs=(2, 4), library=lib, loss=loss)
        with pytest.raises(errors):
            model.fit(rows, targets, class_weight={0: 2.0}, verbose=0)


# Messages of Keras


def layer_meets_other_width(lib):
    layer = lib.layers.Dense(3, name="d")
    layer(np.zeros((2, 4)))
    return layer(np.zeros((6, 5)))


KERAS_SAYS = {
    "You must call `compile()` before using the model.": lambda lib: lib.Sequential(
        [lib.layers.Dense(3)]
    ).fit(X, Y),
    "Arguments `target` and `output` must have the same shape. Received: "
    "target.shape=(10,), output.shape=(10, 3)": lambda lib: compiled(lib).fit(X, LABELS),
    "Arguments `target` and `output` must have the same shape up until the last dimension: "
    "target.shape=(10, 3), output.shape=(10, 3)": lambda lib: compiled(lib, SPARSE).fit(X, Y),
    f"Data cardinality is ambiguous. {SAME}'x' sizes: 10\n'y' sizes: 5\n": lambda lib: compiled(
        lib
    ).fit(X, Y[:5]),
    "Unrecognized data type: x=[[": lambda lib: compiled(lib).fit(X.tolist(), Y),
    "Training data contains 1 samples, which is not sufficient to split it into a validation and "
    "training set as specified by `validation_split=0.5`.": lambda lib: compiled(lib).fit(
        X[:1], Y[:1], validation_split=0.5
    ),
    "You cannot `class_weight` and `sample_weight` at the same time.": lambda lib: compiled(
        lib
    ).fit(X, Y, class_weight={0: 1.0}, sample_weight=np.ones(10)),
    "Input 0 with name 'None' of layer 'd' is incompatible with the layer: expected axis -1 of "
    "input shape to have value 4, but received input with shape (6, 5)": layer_meets_other_width,
    "expected min_ndim=2, found ndim=1. Full shape received: (4,)": lambda lib: lib.layers.Dense(3)(
        np.zeros(4)
    ),
    "Could not interpret activation function identifier: sigmod": lambda lib: lib.layers.Dense(
        3, "sigmod"
    ),
    "Could not interpret initializer identifier: glorot_unifrom": lambda lib: lib.layers.Dense(
        3, kernel_initializer="glorot_unifrom"
    ),
    "Could not interpret optimizer identifier: adma": lambda lib: compiled(lib, optimizer="adma"),
    "Could not interpret loss identifier: foo": lambda lib: lib.losses.get("foo"),
    "Could not interpret metric identifier: foo": lambda lib: lib.metrics.get("foo"),
    "Expected `metrics` argument to be a list, tuple, or dict. Received instead: metrics=acc of "
    "type <class 'str'>": lambda lib: stack_with(lib, metrics="acc"),
    "Unrecognized keyword arguments passed to Dense: {'foo': 1}": lambda lib: lib.layers.Dense(
        3, foo=1
    ),
    "Argument(s) not recognized: {'lr': 1}": lambda lib: lib.optimizers.Adam(lr=1),
    "Received an invalid value for `units`, expected a positive integer. Received: "
    "units=0": lambda lib: lib.layers.Dense(0),
    "`momentum` must be a float between [0, 1].": lambda lib: lib.optimizers.SGD(momentum=2),
    "Argument `name` must be a string and cannot contain character `/`. "
    "Received: name=": lambda lib: lib.layers.Dense(3, name="a/b"),
}


def stack_with(lib, **arguments):
    network((3,), library=lib, loss=ONE_HOT, **arguments)


@pytest.mark.parametrize("words", KERAS_SAYS)
def test_the_error_contains_the_message_of_keras(keras, words):
    refused_in_both(keras, KERAS_SAYS[words], re.escape(words))


# Unknown names


def compile_with(**arguments):
    return lambda model: model.compile(**{"optimizer": "adam", "loss": ONE_HOT, **arguments})


NAMES = {
    "loss": (compile_with(loss="categorical_crossentropyy"), "'categorical_crossentropy'"),
    "loss that Keras has": (compile_with(loss="mae"), "Known names: categorical_crossentropy, "),
    "optimizer": (compile_with(optimizer="Adma"), "Did you mean 'adam'"),
    "Keras's default": (compile_with(optimizer="rmsprop"), "Known names: adam, sgd"),
    "metric": (compile_with(metrics=["acuracy"]), "Did you mean 'accuracy'"),
    "second metric": (compile_with(metrics=["acc", "auc"]), "Known names: acc, accuracy, "),
    "a number as loss": (compile_with(loss=3), "Could not interpret loss identifier: 3"),
    "a number as optimizer": (compile_with(optimizer=3), "optimizer identifier: 3 (of type"),
    "a number as metric": (compile_with(metrics=[3]), "metric identifier: 3 (of type"),
    "a string as metrics": (compile_with(metrics="acc"), "Write: metrics=['acc']"),
    "loss without a gradient": (compile_with(loss=lambda a, b: 0), "call(y_true, y_pred) and back"),
    "no optimizer": (lambda model: model.compile(loss=ONE_HOT), "optimizer='adam'"),
    "None as optimizer": (compile_with(optimizer=None), "optimizer='adam'"),
    "no loss": (lambda model: model.compile("adam"), "loss='categorical_crossentropy'"),
}


@pytest.mark.parametrize("name", NAMES)
def test_compile_refuses_unknown_arguments_and_leaves_the_model_compiled(name):
    call, fragment = NAMES[name]
    model = trained()
    assert_refused(model, lambda: call(model), fragment)
    assert np.isfinite(model.fit(X, Y, verbose=0).history["loss"]).all()


@pytest.mark.parametrize(
    ("call", "fragments"),
    [
        (lambda: layers.Dense(3, "sigmod"), ["sigmod", "Did you mean 'sigmoid'?"]),
        (lambda: layers.Dense(3, "gelu"), ["linear, relu, sigmoid, softmax, tanh"]),
        (lambda: layers.Dense(3, 3), ["activation function identifier: 3"]),
        (lambda: layers.Dense(3, kernel_initializer="glorot_unifrom"), ["'glorot_uniform'"]),
        (lambda: layers.Dense(3, bias_initializer="zero"), ["Did you mean 'zeros'"]),
        (lambda: layers.Dense(3, kernel_initializer=3), ["initializer identifier: 3"]),
        (lambda: tinynet.activations.get("softmaxx"), ["Did you mean 'softmax'?"]),
        (lambda: losses.get("crossentropy"), ["'categorical_crossentropy'"]),
        (lambda: metrics.get("Accuracy"), ["categorical_accuracy"]),
        (lambda: optimizers.get("sdg"), ["Did you mean 'sgd'"]),
        (lambda: tinynet.layers.get("Dence"), ["Did you mean 'Dense'?"]),
    ],
)
def test_similar_names_are_suggested(call, fragments):
    with pytest.raises(ValueError, match="Could not interpret") as caught:
        call()
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_compile_without_an_optimizer_says_that_rmsprop_is_unsupported():
    with pytest.raises(ValueError, match=r"received none .*'rmsprop'.*compile\(optimizer='adam'"):
        Sequential([layers.Dense(3)]).compile(loss=ONE_HOT)


@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch", "test_on_batch"])
def test_using_a_model_before_compile_raises_with_the_line_to_write(method):
    model = Sequential([layers.Dense(3, "softmax")], name="mine")
    assert_refused(
        model, lambda: getattr(model, method)(X, Y),
        "You must call `compile()` before using the model.", "'mine'",
        'model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["acc"])',
    )  # fmt: skip


# Arguments that tinynet does not support


def names_of(function):
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind not in kinds and p.name != "self"}


MAKERS = {
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
LAYER_ARGUMENTS = {"activity_regularizer": None, "autocast": True}  # in Keras, part of **kwargs


@pytest.mark.parametrize("path", MAKERS)
def test_each_unsupported_argument_of_keras_is_refused_by_name(keras, path):
    ours, theirs = tinynet, keras
    for name in path.split("."):
        ours, theirs = getattr(ours, name), getattr(theirs, name)
    if path.startswith("Sequential."):
        model = trained()
        ours = getattr(model, name)
    missing = {k: v for k, v in names_of(theirs).items() if k not in names_of(ours)}
    missing |= LAYER_ARGUMENTS if path.startswith("layers.D") else {}
    for argument, default in missing.items():
        given = object()
        with pytest.raises(
            ValueError, match=rf"was given {argument}=.*Keras supports, but tinynet does not"
        ):
            ours(**MAKERS[path], **{argument: given})
        if path != "Sequential.summary":
            ours(**MAKERS[path], **{argument: default})  # passing Keras's default is accepted
    with pytest.raises((ValueError, TypeError), match="foo"):
        ours(**MAKERS[path], foo=1)


@pytest.mark.parametrize(
    "arguments",
    [
        {"loss_weights": [0.5]},
        {"weighted_metrics": ["acc"]},
        {"run_eagerly": True},
        {"steps_per_execution": 8},
        {"jit_compile": True},
        {"auto_scale_loss": False},
        {"foo": 1},
    ],
)
def test_a_refused_argument_of_compile_leaves_the_model_compiled(arguments):
    model = trained()
    ((name, value),) = arguments.items()
    assert_refused(model, lambda: model.compile("sgd", SPARSE, **arguments), name, repr(value))


@pytest.mark.parametrize("name", ["lr", "decay", "epsilonn"])
def test_unknown_arguments_are_named(name):
    with pytest.raises(ValueError, match=rf"not recognized: {{'{name}': 0\.5}}"):
        optimizers.Adam(**{name: 0.5})


# Invalid values


WHOLE = "to be a whole number of at least"
VALUES = [
    ({"epochs": -1}, [f"epochs {WHOLE} 0", "-1", "epochs=1"]),
    ({"epochs": 1.5}, [f"epochs {WHOLE} 0", "1.5"]),
    ({"epochs": "3"}, [f"epochs {WHOLE} 0", "'3'"]),
    ({"epochs": None}, ["epochs", "None"]),
    ({"epochs": True}, ["epochs", "True"]),
    ({"batch_size": 0}, [f"batch_size {WHOLE} 1", "received: 0", "batch_size=32"]),
    ({"batch_size": -3}, ["batch_size", "-3", "batch_size=32"]),
    ({"batch_size": 4.0}, ["batch_size", "4.0", "batch_size=32"]),
    ({"batch_size": "all"}, ["batch_size", "'all'"]),
    ({"initial_epoch": -1}, ["initial_epoch", "-1", "initial_epoch="]),
    ({"initial_epoch": 0.5}, ["initial_epoch", "0.5"]),
    ({"steps_per_epoch": 0}, [f"steps_per_epoch {WHOLE} 1", "received: 0"]),
    ({"steps_per_epoch": 2.5}, ["steps_per_epoch", "2.5"]),
    ({"verbose": 3}, ['"auto", 0, 1 or 2', "verbose=3", "verbose=0"]),
    ({"verbose": "loud"}, ['"auto", 0, 1 or 2', "'loud'"]),
    ({"shuffle": "batch"}, ["shuffle", "True or False", "'batch'", "shuffle=True"]),
    ({"validation_split": 1.0}, ["validation_split", "below 1", "1.0", "validation_split=0.1"]),
    ({"validation_split": -0.1}, ["validation_split", "at least 0", "-0.1"]),
    ({"validation_split": "half"}, ["validation_split", "'half'"]),
    ({"validation_split": 0.99}, ["10 samples", "not sufficient", "`validation_split=0.99`"]),
    ({"validation_split": 1e-17}, ["10 samples", "not sufficient", "`validation_split=1e-17`"]),
    ({"validation_data": 3}, ["(x, y) or (x, y, sample_weight)", "validation_data=(x_test, y_"]),
    ({"validation_data": X}, ["(x, y) or (x, y, sample_weight)", "ndarray"]),
    ({"validation_data": (X,)}, ["(x, y) or (x, y, sample_weight)", "tuple of 1"]),
    ({"validation_data": (X, Y, X, Y)}, ["(x, y) or (x, y, sample_weight)", "tuple of 4"]),
    ({"validation_data": (X, Y[:3])}, ["cardinality is ambiguous", "sizes: 10", "sizes: 3"]),
    ({"validation_data": (X, Y, np.ones(3))}, ["cardinality is ambiguous", "sizes: 3"]),
    ({"validation_data": (X, Y), "validation_steps": 0}, ["validation_steps", "at least 1"]),
    ({"validation_data": (X, Y), "validation_batch_size": -1}, ["validation_batch_size", "-1"]),
    ({"validation_freq": 0}, ["validation_freq", "at least 1", "received: 0"]),
    ({"validation_freq": 1.5}, ["validation_freq", "1.5"]),
    ({"validation_freq": [0]}, ["validation_freq", "0"]),
    ({"validation_freq": "often"}, ["validation_freq", "'often'"]),
    ({"class_weight": [1, 2, 3]}, ["a dictionary", "[1, 2, 3]", "class_weight={0: 1.0, 1: 2.0}"]),
    ({"class_weight": {"0": 1.0}}, ["a dictionary", "{'0': 1.0}"]),
    ({"class_weight": {0: "much"}}, ["a dictionary", "'much'"]),
    ({"class_weight": {0: 1.0}, "sample_weight": np.ones(10)}, ["at the same time", "Write: "]),
    ({"callbacks": 3}, ["tinynet.callbacks.Callback", "3 (of type", "callbacks=["]),
]


@pytest.mark.parametrize(
    ("arguments", "fragments"), VALUES, ids=[", ".join(map(str, a)) + f" {n}" for n, (a, _) in
                                             enumerate(VALUES)]
)  # fmt: skip
def test_invalid_arguments_of_fit_are_refused(arguments, fragments):
    model = trained()
    assert_refused(model, lambda: model.fit(X, Y, **{"verbose": 0, **arguments}), *fragments)


@pytest.mark.parametrize("method", ["evaluate", "predict"])
@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        ({"batch_size": 0}, ["batch_size", "received: 0", "batch_size=32"]),
        ({"batch_size": 2.0}, ["batch_size", "received: 2.0"]),
        ({"steps": 0}, ["steps", "at least 1", "received: 0"]),
        ({"steps": -1}, ["steps", "received: -1"]),
        ({"verbose": 7}, ["verbose=7", "verbose=0"]),
    ],
)
def test_invalid_arguments_of_evaluate_and_predict_are_refused(method, arguments, fragments):
    model = trained()
    given = (X, Y) if method == "evaluate" else (X,)
    assert_refused(model, lambda: getattr(model, method)(*given, **arguments), *fragments)


@pytest.mark.parametrize(
    ("call", "fragments"),
    [
        (lambda: layers.Dense(0), ["units", "positive integer", "units=0"]),
        (lambda: layers.Dense(-3), ["units=-3"]),
        (lambda: layers.Dense(2.5), ["units=2.5"]),
        (lambda: layers.Dense("10"), ["units=10"]),
        (lambda: layers.Dense(True), ["units=True"]),
        (lambda: layers.Dense(3, dtype="float16"), ["'float32' or 'float64'", "'float16'"]),
        (lambda: layers.Dense(3, name=3), ["must be a string", "name=3"]),
        (lambda: Sequential(name="a/b"), ["cannot contain character `/`", "name='a_b'"]),
        (lambda: Input(28), ["a shape", "28", "shape="]),
        (lambda: Input(), ["`shape`", "Input(shape="]),
        (lambda: layers.Flatten("first"), ["data_format", "first"]),
        (lambda: optimizers.Adam("0.1"), ["learning_rate", "'0.1'", "learning_rate=0.001"]),
        (lambda: optimizers.Adam(-1.0), ["learning_rate", "-1.0"]),
        (lambda: optimizers.Adam(beta_1=1.0), ["beta_1", "below 1", "beta_1=0.9"]),
        (lambda: optimizers.Adam(beta_2=-0.1), ["beta_2", "at least 0", "beta_2=0.999"]),
        (lambda: optimizers.SGD(momentum=1.5), ["momentum", "1.5", "momentum=0.9"]),
        (lambda: losses.CategoricalCrossentropy(reduction="average"), ["reduction", "'average'"]),
        (lambda: losses.CategoricalCrossentropy(label_smoothing=2), ["label_smoothing", "2"]),
        (lambda: tinynet.config.set_floatx("float16"), ["'float32' or 'float64'", "'float16'"]),
        (lambda: tinynet.utils.set_random_seed(-1), ["seed", "-1", "set_random_seed(42)"]),
        (lambda: tinynet.backend.use("torch"), ["backend", "'torch'", 'use("numpy")']),
        (lambda: layers.Dense(3)(np.zeros(4)), ["min_ndim=2", "(4,)", "x[None]"]),
        (lambda: Sequential([Input((None,)), layers.Dense(3)]), ["last axis", "Input(shape="]),
        (lambda: Sequential([layers.Dense(3)]).build(), ["input shape", "model.build((None, "]),
        (lambda: Sequential([3]), ["tinynet.Layer", "3 (of type", "model.add("]),
    ],
)
def test_invalid_arguments_of_constructors_and_functions_are_refused(call, fragments):
    with pytest.raises(ValueError, match=r"\w") as caught:
        call()
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_a_learning_rate_set_later_is_checked_as_well():
    model = trained()
    for wrong in ("fast", -1, None):
        assert_refused(model, lambda wrong=wrong: setattr(model.optimizer, "learning_rate", wrong),
                "learning_rate", repr(wrong))  # fmt: skip


@pytest.mark.parametrize("call", [*CALLS, "predict"])
def test_a_model_without_layers_is_refused(call):
    for model in (Sequential(), Sequential([Input((4,))])):
        model.compile("adam", ONE_HOT)
        use = CALLS.get(call, lambda model, x, y: model.predict(x, verbose=0))
        assert_refused(model, lambda: use(model, X, Y), "no layers", "model.add(layer)")  # noqa: B023


# NaN and infinity


def spoilt(array, value, row=7, column=1):
    array = array.copy()
    array[row, column] = value
    return array


NOT_FINITE = {
    "NaN in x": (spoilt(X, np.nan), Y, ["x holds NaN", "sample 7", "x = np.nan_to_num(x)"]),
    "a row of infinity": (np.where(np.arange(10)[:, None] == 9, -np.inf, X), Y, ["in sample 9"]),
    "NaN in y": (X, spoilt(Y, np.nan), ["y holds NaN", "sample 7", "y = np.nan_to_num(y)"]),
    "infinity in y": (X, spoilt(Y, np.inf), ["y holds NaN or infinity", "first in sample 7"]),
    "NaN in both": (spoilt(X, np.nan), spoilt(Y, np.nan), ["x holds NaN"]),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", NOT_FINITE)
def test_nan_and_infinity_are_traced_to_the_sample(name, call):
    x, y, fragments = NOT_FINITE[name]
    model = trained()
    where = {"fit": "in epoch 1", "fit, as validation data": "in the validation of epoch 1"}
    assert_refused(
        model, lambda: CALLS[call](model, x, y),
        "Expected a finite loss, received", where.get(call, f"in {call}"), *fragments,
    )  # fmt: skip


@pytest.mark.parametrize("x", [spoilt(X.astype("float64"), 1e300), spoilt(X, np.inf).astype("f2")])
def test_a_value_too_large_for_float32_is_reported(x):
    model = trained()
    assert_refused(model, lambda: model.fit(x, Y, batch_size=4, epochs=2, verbose=0), "finite loss")


@pytest.mark.parametrize("kind", [optimizers.SGD, optimizers.Adam])
def test_diverging_weights_are_reported_with_the_remedies(kind):
    optimizer = kind(3e38)
    model = compiled(optimizer=optimizer)
    text = assert_refused(
        model, lambda: model.fit(X, Y, batch_size=4, epochs=9, verbose=0),
        "Expected a finite loss, received", "weights diverged", "lower the learning rate",
        "3e+38", "model.optimizer.learning_rate = 3e+37", "x / 255",
    )  # fmt: skip
    assert re.search(r"received (nan|inf) in epoch \d", text)
    model.optimizer.learning_rate = 0.01
    assert np.isfinite(model.fit(X, Y, verbose=0).history["loss"]).all()


@pytest.mark.parametrize("call", CALLS)
def test_weights_set_to_nan_are_reported(call):
    model = trained()
    model.set_weights([START[0] * np.nan, *START[1:]])
    assert_refused(
        model, lambda: CALLS[call](model, X, Y), "loss, received nan", "(or were set so)"
    )


@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch", "test_on_batch"])
def test_sample_weights_that_are_nan_are_named(method):
    model = trained()
    weights = np.where(np.arange(10) == 3, np.nan, 1)
    assert_refused(
        model, lambda: getattr(model, method)(X, Y, sample_weight=weights),
        "finite loss, received nan", "sample_weight holds NaN", "sample 3",
    )  # fmt: skip


class Ruinous(optimizers.SGD):
    def update(self, weights, gradient, *state, scratch):
        weights *= float("nan")


@pytest.mark.parametrize(
    ("x", "optimizer"),
    [(spoilt(X, np.inf), lambda: "adam"), (X, Ruinous)],
    ids=["infinity in x", "a step of NaN"],
)
@pytest.mark.parametrize("method", ["fit", "train_on_batch"])
def test_nan_in_the_last_step_is_detected(x, optimizer, method):
    # The sigmoid of infinity is 0 or 1: the loss is still finite, but the update is not.
    model = compiled(optimizer=optimizer())
    assert_refused(model, lambda: getattr(model, method)(x, Y), "finite")


def test_the_data_are_not_searched_for_nan_beforehand():
    looked = []

    class Watched(np.ndarray):
        def __array_ufunc__(self, ufunc, method, *inputs, **arguments):
            if ufunc is np.isfinite:
                looked.append(len(inputs[0]))
            plain = [np.asarray(i) if isinstance(i, Watched) else i for i in inputs]
            return getattr(ufunc, method)(*plain, **arguments)

    compiled().fit(X.view(Watched), Y.view(Watched), verbose=0)
    assert looked == []


# A failed call leaves nothing half-trained


class BrokenError(Exception):
    """An error raised by user-defined code."""


class Raise(Callback):
    """A callback that raises in a hook, at its n-th call."""

    def __init__(self, hook, times, error=BrokenError):
        super().__init__()
        self._hook, self._times, self._error = hook, times, error

    def _count(self, hook):
        if hook == self._hook:
            self._times -= 1
            if not self._times:
                self.model.layers[0].kernel[...] = 99  # damages the model first
                self.model.optimizer.learning_rate = 99
                raise self._error("on purpose")

    def on_train_begin(self, logs=None):
        self._count("on_train_begin")

    def on_epoch_begin(self, epoch, logs=None):
        self._count("on_epoch_begin")

    def on_train_batch_begin(self, batch, logs=None):
        self._count("on_train_batch_begin")

    def on_train_batch_end(self, batch, logs=None):
        self._count("on_train_batch_end")

    def on_test_batch_end(self, batch, logs=None):
        self._count("on_test_batch_end")

    def on_epoch_end(self, epoch, logs=None):
        self._count("on_epoch_end")

    def on_train_end(self, logs=None):
        self._count("on_train_end")


MOMENTS = [
    ("on_train_begin", 1),
    ("on_epoch_begin", 2),
    ("on_train_batch_begin", 4),
    ("on_train_batch_end", 6),  # epoch 2, batch 3
    ("on_test_batch_end", 3),
    ("on_epoch_end", 2),
    ("on_train_end", 1),
]


def failing_fit(model, callback, **arguments):
    given = {"batch_size": 4, "epochs": 3, "verbose": 0, "validation_data": (X, Y), **arguments}
    return model.fit(X, Y, callbacks=[callback], **given)


@pytest.mark.parametrize(("hook", "times"), MOMENTS)
@pytest.mark.parametrize("make", [trained, compiled, unbuilt])
def test_an_error_in_a_callback_leaves_everything_unchanged(hook, times, make):
    model = make()
    assert_refused(
        model, lambda: failing_fit(model, Raise(hook, times)), "on purpose", error=BrokenError
    )


@pytest.mark.parametrize(("hook", "times"), MOMENTS)
@pytest.mark.parametrize("make", [trained, compiled, unbuilt])
def test_training_after_a_failed_fit_is_not_affected_by_it(hook, times, make):
    results = []
    for fails in (False, True):
        tinynet.utils.set_random_seed(4)
        model = make()
        if fails:
            with pytest.raises(BrokenError):
                failing_fit(model, Raise(hook, times))
        results.append(bits_of_training(model))
        results[-1] += (model.optimizer.iterations, model.built, model.input_shape)
    assert results[0] == results[1]


class Poison(Callback):
    """A callback that puts NaN into a weight before a batch."""

    def __init__(self, epoch, batch):
        super().__init__()
        self.wanted, self.epoch = (epoch, batch), None

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == self.wanted:
            self.model.layers[1].bias[0] = np.nan


@pytest.mark.parametrize(("epoch", "batch"), [(0, 0), (1, 0), (1, 2), (2, 2)])
@pytest.mark.parametrize("make", [trained, compiled, unbuilt])
@pytest.mark.parametrize("verbose", [0, 1])
def test_nan_in_any_batch_undoes_the_whole_call(epoch, batch, make, verbose):
    model = make()
    text = assert_refused(
        model, lambda: failing_fit(model, Poison(epoch, batch), verbose=verbose), "finite loss"
    )
    assert f"in epoch {epoch + 1}" in text
    assert "The model is as it was before this call." in text


@pytest.mark.parametrize("method", ["evaluate", "test_on_batch", "fit", "train_on_batch"])
def test_a_failed_call_that_built_the_model_leaves_it_unbuilt(method):
    model = unbuilt()
    x = spoilt(X, np.nan)
    assert_refused(model, lambda: getattr(model, method)(x, Y), "finite loss, received nan")
    assert model.weights == []
    # Any number of features is accepted again.
    assert np.isfinite(model.fit(X[:, :3], Y, verbose=0).history["loss"]).all()
    assert model.input_shape == (10, 3)


def test_a_layer_after_a_failed_build_can_use_another_float_type():
    model = unbuilt()
    dense = model.layers[0]
    with pytest.raises(ValueError, match="finite loss"):
        model.fit(X * np.nan, Y, verbose=0)
    tinynet.config.set_floatx("float64")
    other = Sequential([Input((2,)), dense])
    assert other.predict(np.ones((1, 2)), verbose=0).dtype == "float64"


def raising(*_, **__):
    raise BrokenError("on purpose")


class BrokenLoss(losses.Loss):
    call = backward = raising


class BrokenLayer(tinynet.Layer):
    def forward(self, x, training=False):
        return x

    backward = raising


def broken_metric(y_true, y_pred):
    raise BrokenError("on purpose")


@pytest.mark.parametrize("method", ["fit", "train_on_batch"])
def test_an_error_in_a_user_defined_part_changes_nothing(method):
    for model in (
        network((5,), (3, "softmax"), loss=BrokenLoss()),
        network((5,), (3, "softmax"), loss=ONE_HOT, metrics=[broken_metric]),
        network((5,), BrokenLayer(), (3, "softmax"), loss=ONE_HOT),
    ):
        train = getattr(model, method)
        assert_refused(model, lambda train=train: train(X, Y), "on purpose", error=BrokenError)
        assert not model.optimizer.built


@pytest.mark.parametrize("make", [compiled, unbuilt])
def test_ctrl_c_keeps_the_trained_weights(make):
    twin, model = make(), make()
    twin.build((None, 4))
    if make is unbuilt:
        model.build((None, 4))
    model.set_weights(twin.get_weights())

    class Interrupt(Callback):
        steps = 0

        def on_train_batch_end(self, batch, logs=None):
            self.steps += 1
            if self.steps == 4:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        failing_fit(model, Interrupt(), shuffle=False)
    for rows in (slice(0, 4), slice(4, 8), slice(8, 10), slice(0, 4)):
        twin.train_on_batch(X[rows], Y[rows])
    assert model.optimizer.iterations == 4
    assert all(map(np.array_equal, model.get_weights(), twin.get_weights()))
    assert bits_of_training(model)[0]["loss"][0] > 0  # training can be continued


def test_ctrl_c_keeps_a_model_built_by_this_fit():
    model = unbuilt()
    with pytest.raises(KeyboardInterrupt):
        failing_fit(model, Raise("on_train_batch_end", 4, KeyboardInterrupt))
    assert model.built
    assert model.optimizer.iterations == 4
    model.set_weights(START)
    model.fit(X, Y, verbose=0)


def test_a_fit_after_a_failed_one_uses_the_same_order_of_samples():
    orders = []

    class Order(Callback):
        def on_train_batch_end(self, batch, logs=None):
            orders.append(logs["loss"])

    model = compiled()
    with pytest.raises(BrokenError):
        model.fit(X, Y, batch_size=2, verbose=0, callbacks=[Order(), Raise("on_epoch_end", 1)])
    model.fit(X, Y, batch_size=2, verbose=0, callbacks=[Order()])
    assert orders[:5] == orders[5:]
    assert len(set(orders)) == 5


@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch", "trace"])
def test_a_single_sample_without_a_batch_axis_is_refused(method):
    model = compiled()
    with pytest.raises(ValueError, match=r"A single sample needs a batch axis. Write: x\[None\]"):
        getattr(model, method)(X[0], Y[0])


def test_long_lists_are_shortened_in_messages():
    written = []

    class Number(float):
        def __repr__(self):
            written.append(self)
            return "1.0"

    with pytest.raises(ValueError, match="Unrecognized data type") as error:
        compiled().predict([[Number(1)] * 5] * 10_000, verbose=0)
    assert len(str(error.value)) < 300
    assert len(written) < 100


@pytest.mark.parametrize("weights", [None, 3, [[[1], [1, 2]]] * 4])
def test_invalid_lists_of_weights_are_refused(weights):
    model = compiled()
    assert_refused(
        model, lambda: model.set_weights(weights), "Expected a list of arrays, as from get_weights"
    )


def test_a_configuration_with_wrong_arguments_is_refused():
    with pytest.raises(ValueError, match=r"Could not create a regularizer from .* Write: L2\("):
        tinynet.regularizers.get({"class_name": "L2", "config": {"l1": 1}})
