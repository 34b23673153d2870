"""Bad input: what the error says, beside Keras's words, and that nothing was changed by then.

Every refused or failed call is looked at twice: at its text (what was expected, what came, the
line to write instead), and at the model, its optimizer and the random generator, which must be
byte for byte as they were before it.
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

# Much of this is about bytes as they come, and not about learning from them.
pytestmark = [
    pytest.mark.computes,
    pytest.mark.filterwarnings("ignore:Expected inputs of about"),
]

RNG = np.random.default_rng(5)
X = RNG.normal(size=(10, 4)).astype("float32")
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
Y = np.eye(3)[LABELS]
START = random_weights(RNG, 4, 5, 3)
STACK = (5, "sigmoid"), (3, "softmax")


def compiled(lib=tinynet, loss=ONE_HOT, optimizer="adam", metrics=("acc",)):
    """4-5-3, sigmoid and softmax, in tinynet or Keras, starting from the same weights."""
    return network(
        *STACK, inputs=(4,), library=lib, weights=START,
        loss=loss, optimizer=optimizer, metrics=list(metrics),
    )  # fmt: skip


def trained(**arguments):
    """A model with something to lose: moments, a history, a generator that has drawn."""
    model = compiled(**arguments)
    targets = LABELS if arguments.get("loss") == SPARSE else Y
    model.fit(X, targets, batch_size=4, epochs=2, verbose=0)
    return model


def unbuilt():
    return network(*STACK, loss=ONE_HOT, metrics=["acc"])


def state(model):
    """Everything that a failed call could have changed."""
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


def refused(model, call, *fragments, error=ValueError):
    """`call()` raises `error` with all `fragments` in its text, and leaves `model` as it was."""
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
    "rows that are too short": (X, Y[:, :2], ["target.shape=(10, 2), output.shape=(10, 3)",
                                              "3 probabilities for each sample"]),
    "too few targets": (X, Y[:5], [cardinality(10, 5)]),
    "too few samples": (X[:7], Y, [cardinality(7, 10)]),
    "no samples": (X[:0], Y[:0], ["Expected at least one sample", "(0, 4)"]),
    "samples of nothing": (X[:, :0], Y, ["Expected at least one", "(10, 0)"]),
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
    "nothing": (None, Y, ["Unrecognized data type: x=None"]),
    "a number": (3.0, Y, ["Unrecognized data type: x=3.0 (of type <class 'float'>)"]),
    "an array of no axis": (np.array(3.0), Y, ["axis of samples", "()", "x = x.reshape(1, 1)"]),
    "targets of no axis": (X, np.array(3.0), ["y to have an axis of samples"]),
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
    if "validation" in call:  # there, they are called so
        fragments = [f for f in fragments if not re.search(r"\b[xy]\b", f)]
    model = trained()
    refused(model, lambda: CALLS[call](model, x, y), *fragments)


@pytest.mark.parametrize("name", [n for n, (_, y, _) in ARRAYS.items() if y is Y])
def test_predict_refuses_the_same_samples(name):
    x, _, fragments = ARRAYS[name]
    if name == "too few samples":
        return
    model = trained()
    refused(model, lambda: model.predict(x, verbose=0), *fragments)


def test_one_hot_rows_for_class_numbers_are_refused():
    model = trained(loss=SPARSE)
    for call in CALLS.values():
        if call is not CALLS["fit, as validation data"]:
            refused(
                model, lambda call=call: call(model, X, Y),
                "must have the same shape up until the last dimension: ",
                "target.shape=(10, 3), output.shape=(10, 3)", "look one-hot", "class numbers",
                'loss="categorical_crossentropy"', "y = y.argmax(axis=-1)",
            )  # fmt: skip
    refused(model, lambda: model.fit(X, Y[:, :2], verbose=0), "target.shape=(10, 2)")


@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch", "test_on_batch"])
def test_missing_targets_are_asked_for(method):
    model = trained()
    refused(model, lambda: getattr(model, method)(X, None), "targets y", "received none", "(x, y)")


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
    refused(model, lambda: getattr(model, method)(X, Y, sample_weight=weights), *fragments)


@pytest.mark.parametrize(
    ("loss", "metric", "wants"),
    [
        (ONE_HOT, "sparse_categorical_accuracy", "class numbers of shape (10,)"),
        (SPARSE, "categorical_accuracy", "one-hot targets in the shape of the outputs (10, 3)"),
    ],
)
def test_a_metric_for_other_targets_than_the_loss_s_is_refused(loss, metric, wants):
    model = compiled(loss=loss, metrics=[metric])
    targets = LABELS if loss == SPARSE else Y
    for method in ("fit", "evaluate", "train_on_batch", "test_on_batch"):
        call = getattr(model, method)
        refused(model, lambda call=call: call(X, targets), metric, wants, "metrics=['acc']")


@pytest.mark.parametrize("loss", [ONE_HOT, SPARSE])
def test_class_weights_for_several_labels_a_sample_are_refused_as_in_keras(keras, loss):
    rows, labels = X[:, None].repeat(2, axis=1), LABELS[:, None].repeat(2, axis=1)
    targets = labels if loss == SPARSE else np.eye(3)[labels]
    for lib, errors in ((keras, (TypeError, ValueError)), (tinynet, ValueError)):
        model = network((3, "softmax"), inputs=(2, 4), library=lib, loss=loss)
        with pytest.raises(errors):
            model.fit(rows, targets, class_weight={0: 2.0}, verbose=0)


# Keras's own words, where Keras has some


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
def test_the_error_has_keras_s_words(keras, words):
    refused_in_both(keras, KERAS_SAYS[words], re.escape(words))


# Names that nobody knows


def compile_with(**arguments):
    return lambda model: model.compile(**{"optimizer": "adam", "loss": ONE_HOT, **arguments})


NAMES = {
    "loss": (compile_with(loss="categorical_crossentropyy"), "'categorical_crossentropy'"),
    "loss that Keras has": (compile_with(loss="mae"), "Known names: categorical_crossentropy, "),
    "optimizer": (compile_with(optimizer="Adma"), "Did you mean 'adam'"),
    "Keras's default": (compile_with(optimizer="rmsprop"), "Known names: adam, sgd"),
    "metric": (compile_with(metrics=["acuracy"]), "Did you mean 'accuracy'"),
    "second metric": (compile_with(metrics=["acc", "auc"]), "Known names: acc, accuracy, "),
    "loss that is a number": (compile_with(loss=3), "Could not interpret loss identifier: 3"),
    "optimizer that is one": (compile_with(optimizer=3), "optimizer identifier: 3 (of type"),
    "metric that is one": (compile_with(metrics=[3]), "metric identifier: 3 (of type"),
    "metrics that are a word": (compile_with(metrics="acc"), "Write: metrics=['acc']"),
    "loss without a gradient": (compile_with(loss=lambda a, b: 0), "call(y_true, y_pred) and back"),
    "no optimizer": (lambda model: model.compile(loss=ONE_HOT), "optimizer='adam'"),
    "no optimizer but None": (compile_with(optimizer=None), "optimizer='adam'"),
    "no loss": (lambda model: model.compile("adam"), "loss='categorical_crossentropy'"),
}


@pytest.mark.parametrize("name", NAMES)
def test_compile_refuses_what_it_does_not_know_and_leaves_the_model_compiled(name):
    call, fragment = NAMES[name]
    model = trained()
    refused(model, lambda: call(model), fragment)
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
def test_near_names_are_offered(call, fragments):
    with pytest.raises(ValueError, match="Could not interpret") as caught:
        call()
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_compile_without_an_optimizer_says_that_keras_s_default_is_not_here():
    with pytest.raises(ValueError, match=r"received none .*'rmsprop'.*compile\(optimizer='adam'"):
        Sequential([layers.Dense(3)]).compile(loss=ONE_HOT)


@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch", "test_on_batch"])
def test_using_a_model_before_compile_says_what_to_write(method):
    model = Sequential([layers.Dense(3, "softmax")], name="mine")
    refused(
        model, lambda: getattr(model, method)(X, Y),
        "You must call `compile()` before using the model.", "'mine'",
        'model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["acc"])',
    )  # fmt: skip


# What Keras has and tinynet has not


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
LAYER_ARGUMENTS = {"activity_regularizer": None, "autocast": True}  # in Keras, behind **kwargs


@pytest.mark.parametrize("path", MAKERS)
def test_each_argument_that_keras_has_and_tinynet_has_not_is_refused_by_name(keras, path):
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
        with pytest.raises(ValueError, match=rf"was given {argument}=.*Keras has and tinynet has"):
            ours(**MAKERS[path], **{argument: given})
        if path != "Sequential.summary":
            ours(**MAKERS[path], **{argument: default})  # Keras's default may be spelled out
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
    refused(model, lambda: model.compile("sgd", SPARSE, **arguments), name, repr(value))


@pytest.mark.parametrize("name", ["lr", "decay", "epsilonn"])
def test_arguments_that_nobody_has_are_named(name):
    with pytest.raises(ValueError, match=rf"not recognized: {{'{name}': 0\.5}}"):
        optimizers.Adam(**{name: 0.5})


# Values that make no sense


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
def test_arguments_of_fit_that_make_no_sense_are_refused(arguments, fragments):
    model = trained()
    refused(model, lambda: model.fit(X, Y, **{"verbose": 0, **arguments}), *fragments)


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
def test_arguments_of_evaluate_and_predict_that_make_no_sense_are_refused(
    method, arguments, fragments
):
    model = trained()
    given = (X, Y) if method == "evaluate" else (X,)
    refused(model, lambda: getattr(model, method)(*given, **arguments), *fragments)


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
def test_arguments_that_make_no_sense_are_refused_where_they_are_given(call, fragments):
    with pytest.raises(ValueError, match=r"\w") as caught:
        call()
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_a_learning_rate_set_later_is_checked_as_well():
    model = trained()
    for wrong in ("fast", -1, None):
        refused(model, lambda wrong=wrong: setattr(model.optimizer, "learning_rate", wrong),
                "learning_rate", repr(wrong))  # fmt: skip


@pytest.mark.parametrize("call", [*CALLS, "predict"])
def test_a_model_without_layers_says_so(call):
    for model in (Sequential(), Sequential([Input((4,))])):
        model.compile("adam", ONE_HOT)
        use = CALLS.get(call, lambda model, x, y: model.predict(x, verbose=0))
        refused(model, lambda: use(model, X, Y), "no layers", "model.add(layer)")  # noqa: B023


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
    refused(
        model, lambda: CALLS[call](model, x, y),
        "Expected a finite loss, received", where.get(call, f"in {call}"), *fragments,
    )  # fmt: skip


@pytest.mark.parametrize("x", [spoilt(X.astype("float64"), 1e300), spoilt(X, np.inf).astype("f2")])
def test_a_number_too_large_for_float32_is_reported(x):
    model = trained()
    refused(model, lambda: model.fit(x, Y, batch_size=4, epochs=2, verbose=0), "finite loss")


@pytest.mark.parametrize("kind", [optimizers.SGD, optimizers.Adam])
def test_weights_that_run_away_are_reported_with_what_to_turn(kind):
    optimizer = kind(3e38)
    model = compiled(optimizer=optimizer)
    text = refused(
        model, lambda: model.fit(X, Y, batch_size=4, epochs=9, verbose=0),
        "Expected a finite loss, received", "weights ran away", "lower the learning rate",
        "3e+38", "model.optimizer.learning_rate = 3e+37", "x / 255",
    )  # fmt: skip
    assert re.search(r"received (nan|inf) in epoch \d", text)
    model.optimizer.learning_rate = 0.01
    assert np.isfinite(model.fit(X, Y, verbose=0).history["loss"]).all()


@pytest.mark.parametrize("call", CALLS)
def test_weights_that_were_set_to_nan_are_reported(call):
    model = trained()
    model.set_weights([START[0] * np.nan, *START[1:]])
    refused(model, lambda: CALLS[call](model, X, Y), "loss, received nan", "(or were set so)")


@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch", "test_on_batch"])
def test_sample_weights_that_are_nan_are_named(method):
    model = trained()
    weights = np.where(np.arange(10) == 3, np.nan, 1)
    refused(
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
def test_ruin_in_the_very_last_step_does_not_pass_unseen(x, optimizer, method):
    # A sigmoid makes 0 or 1 of infinity: the loss is a number still, and only the step is not.
    model = compiled(optimizer=optimizer())
    refused(model, lambda: getattr(model, method)(x, Y), "finite")


def test_the_data_are_not_looked_through_beforehand():
    looked = []

    class Watched(np.ndarray):
        def __array_ufunc__(self, ufunc, method, *inputs, **arguments):
            if ufunc is np.isfinite:
                looked.append(len(inputs[0]))
            plain = [np.asarray(i) if isinstance(i, Watched) else i for i in inputs]
            return getattr(ufunc, method)(*plain, **arguments)

    compiled().fit(X.view(Watched), Y.view(Watched), verbose=0)
    assert looked == []


# Nothing is trained half-way


class BrokenError(Exception):
    """What a user's own code may raise."""


class Raise(Callback):
    """Raises in a hook, the n-th time that it is called."""

    def __init__(self, hook, times, error=BrokenError):
        super().__init__()
        self._hook, self._times, self._error = hook, times, error

    def _count(self, hook):
        if hook == self._hook:
            self._times -= 1
            if not self._times:
                self.model.layers[0].kernel[...] = 99  # and does damage before
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
def test_an_error_in_a_callback_leaves_everything_as_it_was(hook, times, make):
    model = make()
    refused(model, lambda: failing_fit(model, Raise(hook, times)), "on purpose", error=BrokenError)


@pytest.mark.parametrize(("hook", "times"), MOMENTS)
@pytest.mark.parametrize("make", [trained, compiled, unbuilt])
def test_after_a_failed_fit_training_goes_on_as_if_nothing_had_happened(hook, times, make):
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
    """Puts NaN into a weight before a batch."""

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
def test_nan_in_any_batch_takes_the_whole_call_back(epoch, batch, make, verbose):
    model = make()
    text = refused(
        model, lambda: failing_fit(model, Poison(epoch, batch), verbose=verbose), "finite loss"
    )
    assert f"in epoch {epoch + 1}" in text
    assert "The model is as it was before this call." in text


@pytest.mark.parametrize("method", ["evaluate", "test_on_batch", "fit", "train_on_batch"])
def test_a_failed_call_that_built_the_model_leaves_it_unbuilt(method):
    model = unbuilt()
    x = spoilt(X, np.nan)
    refused(model, lambda: getattr(model, method)(x, Y), "finite loss, received nan")
    assert model.weights == []
    assert np.isfinite(model.fit(X[:, :3], Y, verbose=0).history["loss"]).all()  # any width again
    assert model.input_shape == (10, 3)


def test_a_failed_build_leaves_a_layer_that_any_float_type_can_use():
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
def test_an_error_in_a_user_s_own_loss_layer_or_metric_changes_nothing(method):
    for model in (
        network((5,), (3, "softmax"), loss=BrokenLoss()),
        network((5,), (3, "softmax"), loss=ONE_HOT, metrics=[broken_metric]),
        network((5,), BrokenLayer(), (3, "softmax"), loss=ONE_HOT),
    ):
        train = getattr(model, method)
        refused(model, lambda train=train: train(X, Y), "on purpose", error=BrokenError)
        assert not model.optimizer.built


@pytest.mark.parametrize("make", [compiled, unbuilt])
def test_ctrl_c_keeps_what_was_trained(make):
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
    assert bits_of_training(model)[0]["loss"][0] > 0  # and it goes on from there


def test_ctrl_c_keeps_a_model_that_this_fit_built():
    model = unbuilt()
    with pytest.raises(KeyboardInterrupt):
        failing_fit(model, Raise("on_train_batch_end", 4, KeyboardInterrupt))
    assert model.built
    assert model.optimizer.iterations == 4
    model.set_weights(START)
    model.fit(X, Y, verbose=0)


def test_the_order_of_samples_after_a_failed_fit_is_that_of_the_failed_one():
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
def test_a_single_sample_is_told_of_its_batch_axis(method):
    model = compiled()
    with pytest.raises(ValueError, match=r"A single sample needs a batch axis. Write: x\[None\]"):
        getattr(model, method)(X[0], Y[0])


def test_long_lists_are_not_written_out():
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
def test_weights_that_are_none_are_refused(weights):
    model = compiled()
    refused(model, lambda: model.set_weights(weights), "Expected a list of arrays, as get_weights")


def test_a_configuration_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"Could not make a regularizer of .* Write: L2\("):
        tinynet.regularizers.get({"class_name": "L2", "config": {"l1": 1}})
