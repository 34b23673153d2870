"""Invalid input: the error messages, compared with Keras's, and that nothing has changed.

What is checked of a refused or failed call: its message (what was expected, what was received, the
line to write instead), and, where it has a model, that the model, its optimizer and the random
generator are byte for byte as they were before.
"""

import re
from functools import partial
from itertools import count, product
from operator import attrgetter

import numpy as np
import pytest
from arrays import look
from networks import ONE_HOT, SPARSE, network, random_weights
from oracle import refused, refused_in_keras_s_words

import tinynet
from tinynet import Input, Sequential, backend, layers, losses, optimizers
from tinynet.callbacks import LambdaCallback

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


def compiled(lib=tinynet, loss=ONE_HOT, **options):
    """Return a 4-5-3 network, sigmoid and softmax, always with the same initial weights."""
    options = {"inputs": (4,), "weights": START, "metrics": ["acc"], **options}
    return network(*STACK, library=lib, loss=loss, **options)


def trained(loss=ONE_HOT):
    """Return a trained model, with optimizer moments, a history, and a used random generator."""
    model = compiled(loss=loss)
    model.fit(X, targets_of(model), batch_size=4, epochs=2, verbose=0)
    return model


def unbuilt():
    return compiled(inputs=None, weights=None)


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
        "shapes": (model.built, getattr(model, "input_shape", None)),
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
NUMBERS = partial(trained, SPARSE)  # a model for class numbers
CASES = {
    "too few features": case("(n, 4)", "(10, 3)", "Input(shape=(3,))", x=X[:, :3]),
    "too many axes": case("(n, 4)", "(10, 1, 4)", "x = x.reshape(-1, 4)", x=X[:, None, :]),
    "one sample alone": case("(n, 4)", "(4,)", "batch axis", "x[None]", x=X[0], y=Y[:4]),
    "class numbers for one-hot": case("class numbers", "to_categorical(y, 3)", SPARSE, y=LABELS),
    "a column of class numbers": case("target.shape=(10, 1)", "to_categorical", y=LABELS[:, None]),
    "too short rows": case("output.shape=(10, 3)", "row of 3 probabilities", y=Y[:, :2]),
    "one-hot for class numbers": case("look one-hot", "y = y.argmax(axis=-1)", model=NUMBERS, y=Y),
    "short rows for class numbers": case("get.shape=(10, 2)", model=NUMBERS, y=Y[:, 1:]),
    "too few targets": case("x' sizes: 10\n'", "y' sizes: 5\n", y=Y[:5]),
    "no samples": case("Expected at least one sample", "(0, 4)", x=X[:0], y=Y[:0]),
    "objects": case("x to hold numbers", "dtype object", 'x.astype("float32")', x=X.astype(object)),
    "a list": case("Unrecognized data type", "x=[[", "<class 'list'>", "asarray(x)", x=X.tolist()),
    "targets in a list": case("data type: ", "y=[[", "y = np.asarray(y)", y=Y.tolist()),
    "None": case("data type: ", "x=None", x=None),
    "an array without axes": case("axis of samples", "()", "x.reshape(1, 1)", x=np.array(3.0)),
    "no targets": case("targets y", "received none", "(x, y)", y=None),
    "too few weights": case("sample_weight' sizes: 4", sample_weight=np.ones(4)),
    "two weights a sample": case("weight", "(n,)", "(10, 2)", sample_weight=np.ones((10, 2))),
    "weights in a list": case("data type: ", "asarray(sample_weight)", sample_weight=[1.0] * 10),
    "a metric for class numbers": case("metrics=['acc']", "class numbers of shape (10,)", y=Y,
        model=partial(compiled, metrics=["sparse_categorical_accuracy"])),
    "a metric for one-hot rows": case("metrics=['acc']", "shape of the outputs (10, 3)", y=LABELS,
        model=partial(compiled, loss=SPARSE, metrics=["categorical_accuracy"])),
    "a model before compile": case("'mine'", f'model.compile(optimizer="adam", loss="{ONE_HOT}", ',
        model=lambda: Sequential([layers.Dense(3)], name="mine"), y=Y),
    "no layers": case("no layers", "model.add(layer)", model=lambda: network(loss=ONE_HOT)),
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


def test_class_weights_for_several_labels_per_sample_are_refused_as_in_keras(keras):
    def program(lib):
        model = network((3, "softmax"), inputs=(2, 4), library=lib, loss=SPARSE)
        model.fit(*[np.stack([a, a], 1) for a in (X, LABELS)], class_weight={0: 2.0}, verbose=0)

    _, ours = refused(keras, program, error=(TypeError, ValueError))
    assert ours.startswith("Expected one label per sample")


# Messages of Keras


AS_IN_KERAS = {
    "before compile": lambda lib: lib.Sequential([lib.layers.Dense(3)]).fit(X, Y),
    "class numbers for one-hot": lambda lib: compiled(lib).fit(X, LABELS),
    "one-hot for class numbers": lambda lib: compiled(lib, SPARSE).fit(X, Y),
    "too few targets": lambda lib: compiled(lib).fit(X, Y[:5]),
    "an empty split": lambda lib: compiled(lib).fit(X[:1], Y[:1], validation_split=0.5),
    "two kinds of weights": lambda lib: compiled(lib).fit(
        X, Y, class_weight={0: 1.0}, sample_weight=np.ones(10)
    ),
    "another width": lambda lib: network(
        lib.layers.Dense(3, name="d"), inputs=(4,), library=lib
    ).layers[0](X[:, :3]),
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
    "layer name": lambda lib: lib.Sequential([lib.layers.Dense(5, name="a")]).get_layer("b"),
    "the index of a layer": lambda lib: lib.Sequential().get_layer(index=2),
    "no layer": lambda lib: lib.Sequential().get_layer(),
    "building without layers": lambda lib: lib.Sequential(name="m").build((None, 4)),
    "momentum": lambda lib: lib.optimizers.SGD(momentum=2),
}


@pytest.mark.parametrize("name", AS_IN_KERAS)
def test_the_error_begins_with_the_message_of_keras(keras, name):
    refused_in_keras_s_words(keras, AS_IN_KERAS[name])


# Invalid arguments


VALID = {
    "fit": {**DATA, "verbose": 0, "validation_split": 0.5},
    "evaluate": DATA, "predict": {"x": X}, "compile": {"optimizer": "sgd", "loss": SPARSE},
    "layers.Dense": {"units": 3, "kernel_initializer": "zeros"},  # which draws no seed
}  # fmt: skip
WHOLE = "to be a whole number of at least"
# Functions of tinynet, or methods of a model; an argument; the values that are refused; and what
# the message says in addition to the value.
INVALID = [
    ("fit", "epochs", [-1, 1.5, "3", None, True], f"epochs {WHOLE} 0", "epochs=1"),
    ("fit evaluate predict", "batch_size", [0, -3, 4.0, "all"], f"{WHOLE} 1", "batch_size=32"),
    ("fit", "initial_epoch", [-1, 0.5], "initial_epoch", "initial_epoch="),
    ("fit", "steps_per_epoch", [0, 2.5], f"steps_per_epoch {WHOLE} 1"),
    ("fit", "validation_steps", [0], f"validation_steps {WHOLE} 1"),
    ("fit", "validation_batch_size", [-1], f"validation_batch_size {WHOLE} 1"),
    ("evaluate predict", "steps", [0, -1], "steps", "at least 1"),
    ("fit evaluate predict", "verbose", [3, "loud"], '"auto", 0, 1 or 2', "verbose=0"),
    ("fit", "shuffle", ["batch"], "True or False", "shuffle=True"),
    ("fit", "validation_split", [1.0, -0.1, "half"], "below 1", "Write: validation_split=0.1"),
    ("fit", "validation_split", [0.99, 1e-17], "contains 10 samples", "not sufficient"),
    ("fit", "validation_freq", [0, 1.5, "often"], f"validation_freq {WHOLE} 1"),
    ("fit", "class_weight", [[1, 2], {"0": 1.0}, {0: "much"}], "dictionary", "class_weight={0: 1"),
    ("fit", "callbacks", [3], "tinynet.callbacks.Callback", "3 (of type", "callbacks=["),
    ("compile", "loss", ["huber"], "Known names: bce, binary_crossentropy, "),  # Keras has it
    ("compile", "auto_scale_loss", [False], "auto_scale_loss"),
    ("set_weights", "weights", [None, 3], "Expected a list of arrays, as from get_weights"),
    ("add", "layer", [3], "tinynet.Layer", "3 (of type", "model.add("),
    ("layers.Dense", "units", [-3, 2.5, "10", True], "units", "positive integer"),
    ("layers.Dense", "activation", ["SOFTMAX"], "Did you mean 'softmax'?"),
    ("layers.Dense", "bias_initializer", ["zeroes"], "Did you mean 'zeros'"),
    ("layers.Dense", "dtype", ["float16"], "'float32' or 'float64'"),
    ("layers.Dense", "name", [3], "must be a string"),
    ("layers.Flatten", "data_format", ["first"], "data_format"),
    ("Sequential", "name", ["a/b"], "cannot contain character `/`", "name='a_b'"),
    ("Input", "shape", [28, (3.5,), (-1,)], "a shape", "shape="),
    ("Input", "shape", [None], "`shape`", "Input(shape="),
    ("optimizers.Adam", "learning_rate", ["0.1", -1.0, True], "Write: learning_rate=0.001"),
    ("optimizers.Adam", "weight_decay", [-0.1, "much"], "to be a number of at least 0, or None"),
    ("optimizers.Adam", "name", ["a/b"], "cannot contain character `/`"),
    ("optimizers.Adam", "beta_1", [1.0], "below 1", "beta_1=0.9"),
    ("optimizers.Adam", "beta_2", [-0.1], "at least 0", "beta_2=0.999"),
    ("optimizers.SGD", "momentum", [1.5, -0.1], "momentum", "momentum=0.9"),
    ("losses.CategoricalCrossentropy", "reduction", ["average"], "reduction"),
    ("losses.CategoricalCrossentropy", "label_smoothing", [2], "label_smoothing"),
    ("regularizers.get", "identifier", [{"class_name": "L2", "config": {"l1": 1}}], "Write: L2("),
    ("config.set_floatx", "value", ["float16"], "'float32' or 'float64'"),
    ("utils.set_random_seed", "seed", [-1, 2**32, 1.5, "a", None], "seed", "set_random_seed(42)"),
]  # fmt: skip


@pytest.mark.parametrize("row", INVALID, ids=lambda row: f"{row[0]}({row[1]}={row[2][0]!r})")
def test_an_invalid_argument_is_refused_with_its_value(row):
    paths, argument, values, *fragments = row
    model = trained()
    for path, value in product(paths.split(), values):
        print(path, value)  # shown if the test fails
        function = attrgetter(path)(model if hasattr(model, path) else tinynet)
        refuse = partial(function, **VALID.get(path, {}) | {argument: value})
        said, _, _ = assert_refused(model, refuse, *fragments).partition(" Write: ")
        shown = f"(received|given|identifier|passed|recognized|split=).*{re.escape(repr(value))}"
        assert re.search(f"(?i){shown}|(identifier: |units=){re.escape(str(value))}", said)
    assert_can_be_trained(model)


CALLS_OF_ANY_KIND = [
    (lambda model: Sequential([Input((None,)), layers.Dense(3, None, True, "zeros")]),
     "last axis", "Input(shape="),
    (lambda model: Sequential([layers.Flatten()]).build(), "input shape", "model.build((None, "),
    (lambda model: Input((3,), batch_shape=(None, 4)), "pass both `shape` and `batch_shape`"),
    (lambda model: model.get_layer("first", 0), "Provide only a layer name or a layer index"),
    (lambda model: network(layers.Flatten()).set_weights([X]), "list of length 1", "expecting 0"),
    (lambda model: network(layers.Flatten()).count_params(), "You tried to call `count_params`"),
    (lambda model: layers.Flatten().count_params(), "You tried to call `count_params`"),
    (lambda model: layers.Dense(3, None, True, "zeros")(np.zeros(())), "min_ndim=2, found ndim=0"),
    (lambda model: model.layers[0](X[0]), "A single sample needs a batch axis. Write: x[None]"),
    (lambda model: model.trace(X[0], Y[0]), "A single sample needs a batch axis. Write: x[None]"),
    (lambda model: model.fit(X, Y, validation_data=X), "tuple (x, y) or (x, y, sa", "a ndarray"),
    (lambda model: model.fit(X, Y, validation_data=(X, Y, X, Y)), "a tuple of 4", "=(x_test, y"),
    (lambda model: model.fit(X, Y, validation_freq=[0]), "validation_freq", "received: 0"),
    (lambda model: model.compile("adam"), "loss='categorical_crossentropy'"),
    (lambda model: model.compile(None, ONE_HOT), "received none", "optimizer='adam'"),
    (lambda model: model.compile("adam", lambda a, b: 0), "call(y_true, y_pred) and back"),
    (lambda model: model.compile("adam", ONE_HOT, metrics=["acuracy"]), "Did you mean 'accuracy'"),
    (lambda model: model.set_weights([[[1], [1, 2]]] * 4), "Expected a list of arrays, as from ge"),
    (lambda model: model.set_weights([*(one + 1 for one in START[:3]), START[3].astype("U1")]),
     "expects numeric weights", "dtype <U1"),
    (lambda model: model.add(layers.Flatten(name=model.layers[0].name)), "unique names"),
    (lambda model: model.add(Input((4,))), "already been configured"),
    (lambda model: setattr(model.optimizer, "learning_rate", None), "learning_rate", "None"),
]  # fmt: skip


@pytest.mark.parametrize("row", CALLS_OF_ANY_KIND, ids=lambda row: " … ".join(row[1:]))
def test_an_invalid_call_is_refused_and_changes_nothing(row):
    call, *fragments = row
    model = trained()
    assert_refused(model, partial(call, model), *fragments)
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
    "NaN in a sample weight": case("sample_weight holds NaN", "sample 3",
        sample_weight=np.where(np.arange(10) == 3, np.nan, 1)),
}  # fmt: skip
PLACES = {"fit": "in epoch 1", VALIDATION: "in the validation of epoch 1"}


@pytest.mark.parametrize("name", NOT_FINITE)
def test_nan_and_infinity_are_traced_to_the_sample(name):
    fragments, make, data = NOT_FINITE[name]
    model = make()
    for call in METHODS:
        place = PLACES.get(call, f"in {call}")
        text = assert_refused(model, partial(CALLS[call], model, DATA | data), *fragments)
        assert re.match(f"Expected a finite loss, received .* {place}", text)


def test_weights_set_to_nan_are_reported():
    model = compiled(weights=[START[0] * np.nan, *START[1:]])
    assert_refused(model, partial(model.test_on_batch, X, Y), "received nan", "(or were set so)")


SCHEDULE = optimizers.schedules.ExponentialDecay


@pytest.mark.parametrize(
    ("rate", "lower", "next_rate"),
    [
        (3e38, "3e+37", 0.01),
        (SCHEDULE(3e38, 9, 1), "a schedule with lower rates", SCHEDULE(0.01, 9, 1)),
    ],
)
def test_diverging_weights_are_reported_with_the_remedies(rate, lower, next_rate):
    model = compiled(optimizer=optimizers.SGD(rate))
    fit = partial(model.fit, X, Y, batch_size=4, epochs=9, verbose=0)
    remedies = "weights diverged", "x / 255", "lower the", "3e+38", f"learning_rate = {lower}"
    text = assert_refused(model, fit, *remedies)
    assert re.match(r"Expected a finite loss, received (nan|inf) in epoch \d", text)
    model.optimizer.learning_rate = next_rate  # what the message says to write
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
        assert_refused(model, partial(CALLS[call], model, DATA | {"x": x}), "finite loss")


def test_the_data_are_not_searched_for_nan_beforehand(monkeypatch):
    model = compiled()
    monkeypatch.setattr(np, "isfinite", raising)
    model.fit(X, Y, verbose=0)


# A failed call leaves nothing half-trained


def raising(*_, **__):
    raise RuntimeError("on purpose")


def damage(model):
    model.layers[0].kernel[...] = 99
    model.optimizer.learning_rate = 99
    raising()


def poison(model):
    model.layers[1].bias[0] = np.nan


def interrupt(model):
    raise KeyboardInterrupt


HOOKS = ("on_train_begin", "on_epoch_begin", "on_train_batch_begin")  # before the first step
FAILURES = [
    *[(hook, 1, damage, "on purpose") for hook in HOOKS],
    *[("on_train_batch_begin", step, poison, "as it was before this call.", "in epoch 1")
      for step in (1, 2, 3)],
]  # fmt: skip
MAKE = pytest.mark.parametrize("make", [trained, compiled, unbuilt])


def fit_with(model, hook, times, action, **options):
    """Train with a callback that does something to the model at the n-th call of a hook."""
    calls = count(1)
    callback = LambdaCallback(**{hook: lambda *_: next(calls) == times and action(model)})
    given = {"batch_size": 4, "epochs": 3, "verbose": 0, "validation_data": (X, Y), **options}
    return model.fit(X, Y, callbacks=[callback], **given)


def result_of_training(model):
    history = model.fit(X, Y, batch_size=4, epochs=2, verbose=0).history
    weights = [look(weight).tobytes() for weight in model.get_weights()]
    return (
        history,
        weights,
        model.optimizer.iterations,
        model.built,
        getattr(model, "input_shape", None),
    )


@pytest.mark.parametrize("failure", FAILURES, ids=lambda f: f"{f[0]} {f[1]} {f[2].__name__}")
@MAKE
def test_a_fit_that_fails_before_the_first_step_is_undone(failure, make):
    """So is one that has no finite epoch; `engine/test_rollback.py` has the errors after that."""
    tinynet.utils.set_random_seed(4)
    expected = result_of_training(make())
    tinynet.utils.set_random_seed(4)
    model = make()
    hook, times, action, *fragments = failure
    error = RuntimeError if action is damage else ValueError
    assert_refused(model, partial(fit_with, model, hook, times, action), *fragments, error=error)
    assert result_of_training(model) == expected


@pytest.mark.parametrize("call", ["fit", "train_on_batch", "evaluate", "test_on_batch"])
def test_a_failed_call_that_built_the_model_leaves_it_unbuilt(call):
    model = unbuilt()
    data = DATA | {"x": spoilt(X, np.nan)}
    assert_refused(model, partial(CALLS[call], model, data), "finite loss, received nan")
    # Any number of features is accepted again, and the layers accept any float type.
    tinynet.config.set_floatx("float64")
    other = network(*model.layers, loss=ONE_HOT)
    assert_can_be_trained(other, X[:, :3])
    assert other.predict(X[:, :3], verbose=0).dtype == "float64"


BROKEN_LOSS = type("BrokenLoss", (losses.Loss,), {"call": raising, "backward": raising})
BROKEN_LAYER = type("BrokenLayer", (layers.Flatten,), {"backward": raising})


@pytest.mark.parametrize("call", ["fit", "train_on_batch"])
def test_an_error_in_a_user_defined_part_changes_nothing(call):
    for model in (
        network(*STACK, loss=BROKEN_LOSS()),
        network(*STACK, loss=ONE_HOT, metrics=[raising]),
        network(STACK[0], BROKEN_LAYER(), STACK[1], loss=ONE_HOT),
    ):
        train = partial(CALLS[call], model, DATA)
        assert_refused(model, train, "on purpose", error=RuntimeError)
        assert not model.optimizer.built


@MAKE
def test_ctrl_c_keeps_what_was_trained_until_then(make):
    tinynet.utils.set_random_seed(4)
    twin = make()
    for rows in (slice(0, 4), slice(4, 8), slice(8, 10), slice(0, 4)):
        twin.train_on_batch(X[rows], Y[rows])
    expected = result_of_training(twin)
    tinynet.utils.set_random_seed(4)
    model = make()
    with pytest.raises(KeyboardInterrupt):
        fit_with(model, "on_train_batch_end", 4, interrupt, shuffle=False)
    assert result_of_training(model) == expected


def test_long_lists_are_shortened_in_messages():
    written = []
    number = type("Number", (float,), {"__repr__": lambda one: written.append(one) or "1.0"})(1)
    with pytest.raises(ValueError, match="Unrecognized data type") as error:
        compiled().predict([[number] * 5] * 10_000, verbose=0)
    assert len(str(error.value)) < 300
    assert len(written) < 100
