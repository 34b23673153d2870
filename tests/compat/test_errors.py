"""Invalid input: the error messages, compared with Keras's, and that nothing has changed.

Two things are checked for every refused or failed call: its message (what was expected, what was
received, the line to write instead), and that the model, its optimizer and the random generator
are byte for byte as they were before.
"""

import re
from functools import partial
from operator import attrgetter

import numpy as np
import pytest
from arrays import look
from networks import ONE_HOT, SPARSE, network, random_weights
from oracle import refused, refused_in_keras_s_words

import tinynet
from tinynet import Input, Sequential, backend, layers, losses, optimizers
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


def trained(loss=ONE_HOT):
    """Return a trained model, with optimizer moments, a history, and a used random generator."""
    model = compiled(loss=loss)
    model.fit(X, targets_of(model), batch_size=4, epochs=2, verbose=0)
    return model


def trained_on_numbers():
    return trained(SPARSE)


def unbuilt():
    return network(*STACK, loss=ONE_HOT, metrics=["acc"])


def targets_of(model):
    return LABELS if model.loss == SPARSE else Y


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
    for fragment in fragments:
        assert fragment in str(caught.value)
    after = state(model)
    for part in before:
        assert after[part] == before[part], part
    return str(caught.value)


def assert_can_be_trained(model, x=X, y=Y):
    assert np.isfinite(model.fit(x, y, verbose=0).history["loss"]).all()


# Data that do not fit


def case(*fragments, model=trained, **data):
    """Return what the message says about a model and these data; `DATA` are the valid ones."""
    return fragments, model, data


DATA = {"x": X, "y": Y}
CARDINALITY = (
    "Data cardinality is ambiguous. Make sure all arrays contain the same number of samples."
)
CASES = {
    "too few features": case("(n, 4)", "(10, 3)", "Input(shape=(3,))", x=X[:, :3]),
    "too many axes": case("(n, 4)", "(10, 1, 4)", "x = x.reshape(-1, 4)", x=X[:, None, :]),
    "one sample alone": case("(n, 4)", "(4,)", "batch axis", "x[None]", x=X[0], y=Y[:4]),
    "class numbers for one-hot": case("target.shape=(10,), output.shape=(10, 3)", "class numbers",
        "one-hot", "to_categorical(y, 3)", 'loss="sparse_categorical_crossentropy"', y=LABELS),
    "a column of class numbers": case("target.shape=(10, 1)", "to_categorical", y=LABELS[:, None]),
    "too short rows": case("target.shape=(10, 2), output.shape=(10, 3)",
        "3 probabilities for each sample", y=Y[:, :2]),
    "one-hot rows for class numbers": case("must have the same shape up until the last dimension: ",
        "target.shape=(10, 3), output.shape=(10, 3)", "look one-hot", "class numbers",
        'loss="categorical_crossentropy"', "y = y.argmax(axis=-1)", model=trained_on_numbers, y=Y),
    "short rows for class numbers": case("get.shape=(10, 2)", model=trained_on_numbers, y=Y[:, 1:]),
    "too few targets": case(CARDINALITY, "x' sizes: 10\n'", "y' sizes: 5\n", y=Y[:5]),
    "too few samples": case(CARDINALITY, "x' sizes: 7\n'", "y' sizes: 10\n", x=X[:7], y=Y),
    "no samples": case("Expected at least one sample", "(0, 4)", x=X[:0], y=Y[:0]),
    "samples without features": case("Expected at least one", "(10, 0)", x=X[:, :0]),
    "objects": case("numbers", "dtype object", 'x = x.astype("float32")', x=X.astype(object)),
    "text": case("x to hold numbers", "dtype <U", "(10, 4)", x=X.astype(str)),
    "complex numbers": case("numbers", "dtype complex128", x=X.astype(complex)),
    "dates": case("numbers", "dtype datetime64[s]", x=X.astype("datetime64[s]")),
    "targets as objects": case("y to hold", 'y = y.astype("float32")', y=Y.astype(object)),
    "targets as text": case("y to hold numbers", "dtype <U", y=Y.astype(str)),
    "a list": case("Unrecognized data type: ", "x=[[", "<class 'list'>", "Expected a NumPy array",
        "x = np.asarray(x)", x=X.tolist()),
    "targets in a list": case("data type: ", "y=[[", "y = np.asarray(y)", y=Y.tolist()),
    "a generator": case("data type: ", "x=<", "x = np.concatenate(batches)", x=iter(X)),
    "a function": case("data type: ", "x=<function", "np.concatenate", x=lambda: X),
    "a dictionary": case("data type: ", "x={", "<class 'dict'>", x={"in": X}),
    "None": case("data type: ", "x=None", x=None),
    "a number": case("data type: ", "x=3.0 (of type <class 'float'>)", x=3.0),
    "an array without axes": case("axis of samples", "()", "x.reshape(1, 1)", x=np.array(3.0)),
    "targets without axes": case("y to have an axis of samples", y=np.array(3.0)),
    "no targets": case("targets y", "received none", "(x, y)", y=None),
    "too few weights": case(CARDINALITY, "sample_weight' sizes: 4", sample_weight=np.ones(4)),
    "two weights a sample": case("weight", "(n,)", "(10, 2)", sample_weight=np.ones((10, 2))),
    "weights as text": case("weight to hold numbers", "<U1", sample_weight=np.full(10, "a")),
    "weights in a list": case("data type: ", "sample_weight=[1.0", "np.asarray(sample_weight)",
        sample_weight=[1.0] * 10),
    "a number as weights": case("data type: ", "sample_weight=2.0", sample_weight=2.0),
    "a metric for class numbers": case("sparse_categorical_accuracy", "metrics=['acc']",
        "class numbers of shape (10,)",
        model=lambda: compiled(metrics=["sparse_categorical_accuracy"]), y=Y),
    "a metric for one-hot rows": case("categorical_accuracy", "metrics=['acc']",
        "one-hot targets in the shape of the outputs (10, 3)",
        model=lambda: compiled(loss=SPARSE, metrics=["categorical_accuracy"]), y=LABELS),
    "a model before compile": case("You must call `compile()` before using the model.", "'mine'",
        'model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["acc"])',
        model=lambda: Sequential([layers.Dense(3, "softmax")], name="mine"), y=Y),
    "no layers": case("no layers", "model.add(layer)", model=lambda: network(loss=ONE_HOT)),
    "only an input": case("no layers", "model.add(layer)",
        model=lambda: network(inputs=(4,), loss=ONE_HOT)),
}  # fmt: skip
VALIDATION = "fit, as validation data"
CALLS = {
    "fit": lambda model, data: model.fit(**data, verbose=0),
    "train_on_batch": lambda model, data: model.train_on_batch(**data),
    "evaluate": lambda model, data: model.evaluate(**data, verbose=0),
    "test_on_batch": lambda model, data: model.test_on_batch(**data),
    VALIDATION: lambda model, data: model.fit(
        X, targets_of(model), validation_data=tuple(data.values()), verbose=0
    ),
    "predict": lambda model, data: model.predict(data["x"], verbose=0),
}
METHODS = [call for call in CALLS if call != "predict"]


@pytest.mark.parametrize("name", CASES)
def test_data_that_do_not_fit_are_refused_by_every_method(name):
    fragments, make, data = CASES[name]
    model = make()
    # `predict` takes neither targets nor weights.
    for call in METHODS if data.keys() - {"x"} else CALLS:
        print(call)  # shown if the test fails
        assert_refused(model, partial(CALLS[call], model, DATA | data), *fragments)


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


AS_IN_KERAS = {
    "before compile": lambda lib: lib.Sequential([lib.layers.Dense(3)]).fit(X, Y),
    "class numbers for one-hot": lambda lib: compiled(lib).fit(X, LABELS),
    "one-hot for class numbers": lambda lib: compiled(lib, SPARSE).fit(X, Y),
    "too few targets": lambda lib: compiled(lib).fit(X, Y[:5]),
    "an empty split": lambda lib: compiled(lib).fit(X[:1], Y[:1], validation_split=0.5),
    "two kinds of weights": lambda lib: compiled(lib).fit(
        X, Y, class_weight={0: 1.0}, sample_weight=np.ones(10)
    ),
    "another width": layer_meets_other_width,
    "one sample": lambda lib: lib.layers.Dense(3, name="d")(np.zeros(4)),
    "activation": lambda lib: lib.layers.Dense(3, "sigmod"),
    "initializer": lambda lib: lib.layers.Dense(3, kernel_initializer="glorot_unifrom"),
    "optimizer": lambda lib: compiled(lib, optimizer="adma"),
    "loss": lambda lib: lib.losses.get("foo"),
    "metric": lambda lib: lib.metrics.get("foo"),
    "metrics as text": lambda lib: network((3,), library=lib, loss=ONE_HOT, metrics="acc"),
    "an argument of a layer": lambda lib: lib.layers.Dense(3, foo=1),
    "an argument of an optimizer": lambda lib: lib.optimizers.Adam(lr=1),
    "units": lambda lib: lib.layers.Dense(0),
    "momentum": lambda lib: lib.optimizers.SGD(momentum=2),
}


@pytest.mark.parametrize("name", AS_IN_KERAS)
def test_the_error_begins_with_the_message_of_keras(keras, name):
    refused_in_keras_s_words(keras, AS_IN_KERAS[name])


def test_the_error_begins_like_that_of_keras_if_the_value_is_written_in_another_way(keras):
    refused(keras, lambda lib: compiled(lib).fit(X.tolist(), Y), r"^Unrecognized data type: x=\[\[")
    refused(
        keras, lambda lib: lib.layers.Dense(3, name="a/b"),
        "^Argument `name` must be a string and cannot contain character `/`. Received: name=",
    )  # fmt: skip


# Invalid arguments


VALID = {
    "Sequential.compile": {"optimizer": "sgd", "loss": SPARSE},
    "Sequential.evaluate": {"x": X, "y": Y},
    "Sequential.fit": {"x": X, "y": Y, "verbose": 0},
    "Sequential.predict": {"x": X},
    "layers.Dense": {"units": 3, "kernel_initializer": "zeros"},  # which draws no seed
}


def callable_at(path, model):
    """Return a class or function of tinynet, or a method of this model."""
    owner, _, name = path.partition(".")
    return getattr(model, name) if owner == "Sequential" and name else attrgetter(path)(tinynet)


WHOLE = "to be a whole number of at least"
FLOAT = "'float32' or 'float64'"
TUPLE = "(x, y) or (x, y, sample_weight)"
EVALUATION = [
    ("batch_size", [0, 2.0], "batch_size", "batch_size=32"),
    ("steps", [0, -1], "steps", "at least 1"),
    ("verbose", [7], "verbose=7", "verbose=0"),
]
UNSUPPORTED = {
    "loss_weights": [0.5], "weighted_metrics": ["acc"], "run_eagerly": True,
    "steps_per_execution": 8, "jit_compile": True, "auto_scale_loss": False, "foo": 1,
}  # fmt: skip
# By function or method: an argument, the values that are refused, and what the message says
# in addition to the value.
INVALID = {
    "Sequential.fit": [
        ("epochs", [-1, 1.5, "3", None, True], f"epochs {WHOLE} 0", "epochs=1"),
        ("batch_size", [0, -3, 4.0, "all"], f"batch_size {WHOLE} 1", "batch_size=32"),
        ("initial_epoch", [-1, 0.5], "initial_epoch", "initial_epoch="),
        ("steps_per_epoch", [0, 2.5], f"steps_per_epoch {WHOLE} 1"),
        ("verbose", [3, "loud"], '"auto", 0, 1 or 2', "verbose=0"),
        ("shuffle", ["batch"], "True or False", "shuffle=True"),
        ("validation_split", [1.0, -0.1, "half"], "at least 0 and below 1", "validation_split=0.1"),
        ("validation_split", [0.99, 1e-17], "10 samples", "not sufficient"),
        ("validation_freq", [0, 1.5, "often"], f"validation_freq {WHOLE} 1"),
        ("class_weight", [[1, 2], {"0": 1.0}, {0: "much"}], "dictionary", "class_weight={0: 1.0"),
        ("callbacks", [3], "tinynet.callbacks.Callback", "3 (of type", "callbacks=["),
    ],
    "Sequential.evaluate": EVALUATION,
    "Sequential.predict": EVALUATION,
    "Sequential.compile": [
        ("loss", ["categorical_crossentropyy"], "'categorical_crossentropy'"),
        ("loss", ["mae"], "Known names: categorical_crossentropy, "),  # Keras has it
        ("loss", [3], "Could not interpret loss identifier: 3"),
        ("optimizer", ["Adma"], "Did you mean 'adam'"),
        ("optimizer", ["rmsprop"], "Known names: adam, sgd"),  # Keras's default
        ("optimizer", [3], "optimizer identifier: 3 (of type"),
        *[(name, [value], name) for name, value in UNSUPPORTED.items()],
    ],
    "layers.Dense": [
        ("units", [-3, 2.5, "10", True], "units", "positive integer"),
        ("activation", ["sigmod"], "Did you mean 'sigmoid'?"),
        ("activation", ["gelu"], "linear, relu, sigmoid, softmax, tanh"),
        ("activation", [3], "activation function identifier: 3"),
        ("kernel_initializer", ["glorot_unifrom"], "'glorot_uniform'"),
        ("kernel_initializer", [3], "initializer identifier: 3"),
        ("bias_initializer", ["zero"], "Did you mean 'zeros'"),
        ("dtype", ["float16"], FLOAT),
        ("name", [3], "must be a string"),
    ],
    "layers.Flatten": [("data_format", ["first"], "data_format")],
    "Sequential": [("name", ["a/b"], "cannot contain character `/`", "name='a_b'")],
    "Input": [("shape", [28], "a shape", "shape="), ("shape", [None], "`shape`", "Input(shape=")],
    "optimizers.Adam": [
        ("learning_rate", ["0.1", -1.0], "learning_rate", "learning_rate=0.001"),
        ("beta_1", [1.0], "below 1", "beta_1=0.9"),
        ("beta_2", [-0.1], "at least 0", "beta_2=0.999"),
        ("decay", [0.5], "not recognized: {'decay': 0.5}"),
        ("epsilonn", [0.5], "not recognized: {'epsilonn': 0.5}"),
    ],
    "optimizers.SGD": [("momentum", [1.5], "momentum", "momentum=0.9")],
    "losses.CategoricalCrossentropy": [
        ("reduction", ["average"], "reduction"), ("label_smoothing", [2], "label_smoothing"),
    ],
    "activations.get": [("identifier", ["softmaxx"], "Did you mean 'softmax'?")],
    "layers.get": [("identifier", ["Dence"], "Did you mean 'Dense'?")],
    "losses.get": [("identifier", ["crossentropy"], "'categorical_crossentropy'")],
    "metrics.get": [("identifier", ["Accuracy"], "categorical_accuracy")],
    "optimizers.get": [("identifier", ["sdg"], "Did you mean 'sgd'")],
    "config.set_floatx": [("value", ["float16"], FLOAT)],
    "utils.set_random_seed": [("seed", [-1], "seed", "set_random_seed(42)")],
    "backend.use": [("name", ["torch"], "backend", 'use("numpy")')],
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "argument", "value", "fragments"),
    [
        pytest.param(path, argument, value, fragments, id=f"{path}({argument}={value!r})")
        for path, rows in INVALID.items()
        for argument, values, *fragments in rows
        for value in values
    ],
)
def test_an_invalid_argument_is_refused_with_its_value(path, argument, value, fragments):
    model = trained()
    arguments = {**VALID.get(path, {}), argument: value}
    text = assert_refused(model, lambda: callable_at(path, model)(**arguments), *fragments)
    said, _, _ = text.partition(" Write: ")
    shown = re.escape(repr(value))
    said_before = "received|given|identifier|passed|recognized|split="
    assert re.search(f"(?i)({said_before}).*{shown}|identifier: {value}|units={value}", said)
    assert_can_be_trained(model)


CALLS_OF_ANY_KIND = [
    (lambda model: Sequential([Input((None,)), layers.Dense(3, None, True, "zeros")]),
     "last axis", "Input(shape="),
    (lambda model: Sequential([layers.Flatten()]).build(), "input shape", "model.build((None, "),
    (lambda model: Sequential([3]), "tinynet.Layer", "3 (of type", "model.add("),
    (lambda model: tinynet.regularizers.get({"class_name": "L2", "config": {"l1": 1}}),
     "Could not create a regularizer from", "Write: L2("),
    (lambda model: model.layers[0](X[0]), "A single sample needs a batch axis. Write: x[None]"),
    (lambda model: model.trace(X[0], Y[0]), "A single sample needs a batch axis. Write: x[None]"),
    (lambda model: model.fit(X, Y, validation_data=3), TUPLE, "validation_data=(x_test, y_"),
    (lambda model: model.fit(X, Y, validation_data=X), TUPLE, "ndarray"),
    (lambda model: model.fit(X, Y, validation_data=(X,)), TUPLE, "tuple of 1"),
    (lambda model: model.fit(X, Y, validation_data=(X, Y, X, Y)), TUPLE, "tuple of 4"),
    (lambda model: model.fit(X, Y, validation_data=(X, Y), validation_steps=0),
     "validation_steps", "at least 1"),
    (lambda model: model.fit(X, Y, validation_data=(X, Y), validation_batch_size=-1),
     "validation_batch_size", "-1"),
    (lambda model: model.fit(X, Y, class_weight={0: 1.0}, sample_weight=np.ones(10)),
     "at the same time", "Write: sample_weight = "),
    (lambda model: model.fit(X, Y, validation_freq=[0]), "validation_freq", "received: 0"),
    (lambda model: model.compile("adam"), "loss='categorical_crossentropy'"),
    (lambda model: model.compile(loss=ONE_HOT), "received none", "'rmsprop'", "optimizer='adam'"),
    (lambda model: model.compile("adam", lambda a, b: 0), "call(y_true, y_pred) and back"),
    (lambda model: model.compile("adam", ONE_HOT, metrics=["acuracy"]), "Did you mean 'accuracy'"),
    (lambda model: model.compile("adam", ONE_HOT, metrics=["acc", "auc"]), "names: acc, accuracy"),
    (lambda model: model.compile("adam", ONE_HOT, metrics=[3]), "metric identifier: 3 (of type"),
    (lambda model: model.compile("adam", ONE_HOT, metrics="acc"), "Write: metrics=['acc']"),
    (lambda model: model.set_weights(None), "Expected a list of arrays, as from get_weights"),
    (lambda model: model.set_weights(3), "Expected a list of arrays, as from get_weights"),
    (lambda model: model.set_weights([[[1], [1, 2]]] * 4), "Expected a list of arrays, as from ge"),
    (lambda model: setattr(model.optimizer, "learning_rate", "fast"), "learning_rate", "'fast'"),
    (lambda model: setattr(model.optimizer, "learning_rate", -1), "learning_rate", "-1"),
    (lambda model: setattr(model.optimizer, "learning_rate", None), "learning_rate", "None"),
]  # fmt: skip


@pytest.mark.parametrize("row", CALLS_OF_ANY_KIND, ids=lambda row: " … ".join(row[1:]))
def test_an_invalid_call_is_refused_and_changes_nothing(row):
    call, *fragments = row
    model = trained()
    assert_refused(model, lambda: call(model), *fragments)
    assert_can_be_trained(model)


# NaN and infinity


def spoilt(array, value, row=7, column=1):
    array = array.copy()
    array[row, column] = value
    return array


NOT_FINITE = {
    "NaN in x": case("x holds NaN", "sample 7", "x = np.nan_to_num(x)", x=spoilt(X, np.nan)),
    "a row of infinity": case("in sample 9", x=np.vstack([X[:9], np.full(4, -np.inf, "f")])),
    "NaN in y": case("y holds NaN", "sample 7", "y = np.nan_to_num(y)", y=spoilt(Y, np.nan)),
    "infinity in y": case("y holds NaN or infinity", "first in sample 7", y=spoilt(Y, np.inf)),
    "NaN in both": case("x holds NaN", x=spoilt(X, np.nan), y=spoilt(Y, np.nan)),
    "NaN in a sample weight": case(
        "received nan", "sample_weight holds NaN", "sample 3",
        sample_weight=np.where(np.arange(10) == 3, np.nan, 1),
    ),
}  # fmt: skip
PLACES = {"fit": "in epoch 1", VALIDATION: "in the validation of epoch 1"}


@pytest.mark.parametrize("name", NOT_FINITE)
def test_nan_and_infinity_are_traced_to_the_sample(name):
    fragments, make, data = NOT_FINITE[name]
    model = make()
    for call in METHODS:
        print(call)
        place = f"Expected a finite loss, received .* {PLACES.get(call, f'in {call}')}"
        text = assert_refused(model, partial(CALLS[call], model, DATA | data), *fragments)
        assert re.match(place, text)


def test_weights_set_to_nan_are_reported():
    model = trained()
    model.set_weights([START[0] * np.nan, *START[1:]])
    for call in METHODS:
        train = partial(CALLS[call], model, DATA)
        assert_refused(model, train, "loss, received nan", "(or were set so)")


@pytest.mark.parametrize("kind", [optimizers.SGD, optimizers.Adam])
def test_diverging_weights_are_reported_with_the_remedies(kind):
    model = compiled(optimizer=kind(3e38))
    text = assert_refused(
        model, lambda: model.fit(X, Y, batch_size=4, epochs=9, verbose=0),
        "weights diverged", "lower the learning rate",
        "3e+38", "model.optimizer.learning_rate = 3e+37", "x / 255",
    )  # fmt: skip
    assert re.match(r"Expected a finite loss, received (nan|inf) in epoch \d", text)
    model.optimizer.learning_rate = 0.01
    assert_can_be_trained(model)


class Ruinous(optimizers.SGD):
    def update(self, weights, gradient, *state, scratch):
        weights *= float("nan")


@pytest.mark.parametrize("call", ["fit", "train_on_batch"])
def test_nan_in_the_last_step_is_detected(call):
    # The sigmoid of infinity is 0 or 1: the loss is still finite, but the update is not.
    infinite = spoilt(X, np.inf), spoilt(X, np.inf).astype("f2"), spoilt(X.astype("f8"), 1e300)
    for x, optimizer in (*((x, "adam") for x in infinite), (X, Ruinous())):
        model = compiled(optimizer=optimizer)
        assert_refused(model, lambda m=model, x=x: CALLS[call](m, DATA | {"x": x}), "finite loss")


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


class At(Callback):
    """A callback that does something to the model at the n-th call of a hook."""

    def __init__(self, hook, times, action):
        super().__init__()
        self.left, self.action = times, action
        setattr(self, hook, self.count)

    def count(self, *_):
        self.left -= 1
        if not self.left:
            self.action(self.model)


def damage(model):
    model.layers[0].kernel[...] = 99
    model.optimizer.learning_rate = 99
    raise BrokenError("on purpose")


def poison(model):
    model.layers[1].bias[0] = np.nan


def interrupt(model):
    raise KeyboardInterrupt


NAN = "finite loss", "The model is as it was before this call."
FAILURES = [
    ("on_train_begin", 1, damage),
    ("on_epoch_begin", 2, damage),
    ("on_train_batch_begin", 4, damage),
    ("on_train_batch_end", 6, damage),  # epoch 2, batch 3
    ("on_test_batch_end", 3, damage),
    ("on_epoch_end", 2, damage),
    ("on_train_end", 1, damage),
    ("on_train_batch_begin", 1, poison, *NAN, "in epoch 1"),
    ("on_train_batch_begin", 4, poison, *NAN, "in epoch 2"),
    ("on_train_batch_begin", 6, poison, *NAN, "in epoch 2"),
    ("on_train_batch_begin", 9, poison, *NAN, "in epoch 3"),
]
MAKE = pytest.mark.parametrize("make", [trained, compiled, unbuilt])


def fit_with(model, hook, times, action, **options):
    given = {"batch_size": 4, "epochs": 3, "verbose": 0, "validation_data": (X, Y), **options}
    return model.fit(X, Y, callbacks=[At(hook, times, action)], **given)


def result_of_training(model):
    history = model.fit(X, Y, batch_size=4, epochs=2, verbose=0).history
    weights = [look(weight).tobytes() for weight in model.get_weights()]
    return history, weights, model.optimizer.iterations, model.built, model.input_shape


@pytest.mark.parametrize("failure", FAILURES, ids=lambda f: f"{f[0]} {f[1]} {f[2].__name__}")
@pytest.mark.parametrize("verbose", [0, pytest.param(1, marks=pytest.mark.long)])
@MAKE
def test_a_failed_fit_is_undone_and_does_not_affect_later_training(failure, make, verbose):
    tinynet.utils.set_random_seed(4)
    expected = result_of_training(make())
    tinynet.utils.set_random_seed(4)
    model = make()
    hook, times, action, *fragments = failure
    error = BrokenError if action is damage else ValueError
    fit = partial(fit_with, model, hook, times, action, verbose=verbose)
    assert_refused(model, fit, *(fragments or ["on purpose"]), error=error)
    assert result_of_training(model) == expected


@pytest.mark.parametrize("call", ["fit", "train_on_batch", "evaluate", "test_on_batch"])
def test_a_failed_call_that_built_the_model_leaves_it_unbuilt(call):
    model = unbuilt()
    data = DATA | {"x": spoilt(X, np.nan)}
    assert_refused(model, lambda: CALLS[call](model, data), "finite loss, received nan")
    assert model.weights == []
    # Any number of features is accepted again, and any float type.
    assert_can_be_trained(model, X[:, :3])
    assert model.input_shape == (10, 3)
    model = unbuilt()
    assert_refused(model, lambda: CALLS[call](model, data), "finite loss, received nan")
    tinynet.config.set_floatx("float64")
    other = Sequential([Input((2,)), model.layers[0]])
    assert other.predict(np.ones((1, 2)), verbose=0).dtype == "float64"


def raising(*_, **__):
    raise BrokenError("on purpose")


class BrokenLoss(losses.Loss):
    call = backward = raising


class BrokenLayer(tinynet.Layer):
    def forward(self, x, training=False):
        return x

    backward = raising


@pytest.mark.parametrize("call", ["fit", "train_on_batch"])
def test_an_error_in_a_user_defined_part_changes_nothing(call):
    for model in (
        network(*STACK, loss=BrokenLoss()),
        network(*STACK, loss=ONE_HOT, metrics=[raising]),
        network(STACK[0], BrokenLayer(), STACK[1], loss=ONE_HOT),
    ):
        train = partial(CALLS[call], model, DATA)
        assert_refused(model, train, "on purpose", error=BrokenError)
        assert not model.optimizer.built


@MAKE
def test_ctrl_c_keeps_what_was_trained_until_then(make):
    tinynet.utils.set_random_seed(4)
    twin = make()
    before = twin.optimizer.iterations
    for rows in (slice(0, 4), slice(4, 8), slice(8, 10), slice(0, 4)):
        twin.train_on_batch(X[rows], Y[rows])
    tinynet.utils.set_random_seed(4)
    model = make()
    with pytest.raises(KeyboardInterrupt):
        fit_with(model, "on_train_batch_end", 4, interrupt, shuffle=False)
    assert model.built
    assert model.optimizer.iterations == before + 4
    assert all(map(np.array_equal, model.get_weights(), twin.get_weights()))
    assert_can_be_trained(model)


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
