"""Callbacks that monitor training, compared with Keras on given values and in a real `fit`."""

import os
import pickle
import re
import warnings

import numpy as np
import pytest
from networks import ONE_HOT, network as network_of, samples
from oracle import agree, both, renewed, same

import tinynet
from tinynet.callbacks import EarlyStopping, LambdaCallback, ModelCheckpoint, TerminateOnNaN

pytestmark = pytest.mark.computes

RNG = np.random.default_rng(3)
X, _, Y = samples(RNG, 20, (3,), 2)
START = [RNG.normal(size=(3, 2)).astype("float32"), np.zeros(2, "float32")]
QUIET = {"batch_size": 5, "verbose": 0, "shuffle": False}


def network(module=tinynet, optimizer="sgd"):
    return network_of(
        (2, "softmax"), inputs=(3,), library=module, weights=START,
        loss=ONE_HOT, optimizer=optimizer, metrics=["acc"],
    )  # fmt: skip


@pytest.fixture(scope="module")
def compiled(keras):
    return network(keras)


@pytest.fixture
def untrained(keras, compiled):
    """Return a library's model with the weights START; Keras's is compiled only once."""

    def make(module, learning_rate=0.01):
        model = renewed(compiled, START) if module is keras else network(module)
        model.optimizer.learning_rate = learning_rate
        return model

    return make


class FakeModel:
    """A stand-in for a model, whose weight is the number of the epoch."""

    def __init__(self):
        self.stop_training, self.weights = False, [np.array(-1)]

    def get_weights(self):
        return [weight.copy() for weight in self.weights]

    def set_weights(self, weights):
        self.weights = weights


def run_epochs(callback, values, name="val_loss"):
    """Run a callback on epochs with these values, None for a missing one, and return its state."""
    model, seen = FakeModel(), []
    callback.set_model(model)
    callback.set_params({})
    callback.on_train_begin()
    for epoch, value in enumerate(values):
        model.weights = [np.array(epoch)]
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            callback.on_epoch_end(epoch, {} if value is None else {name: value})
        seen.append((len(said), model.stop_training, callback.wait, callback.best))
        if model.stop_training:
            break
    callback.on_train_end()
    return seen, callback.stopped_epoch, callback.best_epoch, int(model.weights[0])


WATCHES = [
    {},
    {"patience": 1},
    {"patience": 2},
    {"patience": 2, "restore_best_weights": True},
    {"patience": 9, "restore_best_weights": True},
    {"patience": 2, "min_delta": 0.3},
    {"patience": 2, "min_delta": -0.3},
    {"patience": 2, "mode": "max"},
    {"patience": 1, "mode": "max", "restore_best_weights": True},
    {"patience": 2, "baseline": 1.5, "restore_best_weights": True},
    {"patience": 3, "baseline": 0.1},
    {"start_from_epoch": 2, "patience": 1, "restore_best_weights": True},
    {"start_from_epoch": 9, "patience": 1, "restore_best_weights": True},
]
COURSES = [
    [3, 2, 1, 2, 3, 4, 5],
    [3, 2.9, 2.8, 2.7, 2.6, 2.5],
    [1, 1, 1, 1],
    [1, 2, 3, 2.5, 2.9, 3.1],
    [4, 3, 5, 2, 5, 1, 5, 5, 5],
    [None, 3, None, 2, None, None, 4, 4],
    [2],
    [1, float("nan"), 0.5, 0.4],
]


@pytest.mark.host
@pytest.mark.parametrize("arguments", WATCHES, ids=str)
def test_early_stopping_stops_when_keras_does_also_if_used_again(keras, arguments):
    ours = EarlyStopping(**arguments)
    for values in COURSES:
        theirs = keras.callbacks.EarlyStopping(**arguments)
        assert run_epochs(ours, values) == run_epochs(theirs, values), values
        assert theirs.best_weights is None or arguments.get("start_from_epoch") != 9


@pytest.mark.host
def test_early_stopping_prints_what_keras_prints(keras, capsys):
    def said(module, course, verbose):
        arguments = {"patience": 2, "restore_best_weights": True, "verbose": verbose}
        run_epochs(module.callbacks.EarlyStopping(**arguments), course)
        return capsys.readouterr().out

    for course in ([3, 2, 1, 2, 3], [3, 2, 1]):
        for verbose in (0, 1):
            assert bool(same(keras, said, course, verbose)) == verbose


@pytest.mark.parametrize("monitor", ["val_loss", "val_acc", "loss", "acc"])
def test_early_stopping_ends_fit_as_in_keras(keras, untrained, monitor):
    def program(module):
        model = untrained(module, learning_rate=1.5)
        watch = module.callbacks.EarlyStopping(monitor, patience=2, restore_best_weights=True)
        given = {"epochs": 25, "validation_data": (X[:9], Y[:9]), **QUIET}
        history = model.fit(X[9:], Y[9:], callbacks=[watch], **given)
        return history.epoch, watch.best_epoch, model.get_weights()

    agree(*both(keras, program), rtol=1e-7, atol=1e-6)


@pytest.mark.host
def test_the_direction_follows_from_the_name_of_what_is_monitored():
    for name, up in (("val_mse", False), ("val_binary_accuracy", True), ("loss", False)):
        assert EarlyStopping(name).is_improvement(2, than=1) is up
    assert EarlyStopping("f1", mode="max").is_improvement(2, than=1)


def test_a_missing_metric_gives_a_warning():
    watch = EarlyStopping("val_acc")
    words = (
        "'val_acc', which is not available. Available metrics are: acc, loss. "
        "Choose one of them, or pass validation data to fit"
    )
    with pytest.warns(UserWarning, match=words):
        assert len(network().fit(X, Y, epochs=3, callbacks=[watch], **QUIET).epoch) == 3


# Checkpoints


def test_a_checkpoint_saves_the_weights_after_each_epoch(tmp_path):
    model, kept = network(), []
    keep = LambdaCallback(on_epoch_end=lambda epoch, logs: kept.append(model.get_weights()))
    path = tmp_path / "new" / "and deep" / "w-{epoch:02d}-{val_acc:.2f}.weights.h5"
    given = {"epochs": 3, "validation_data": (X, Y), "callbacks": [weights_only(path), keep]}
    history = model.fit(X, Y, **given, **QUIET)
    accuracies = history.history["val_acc"]
    written = sorted((tmp_path / "new" / "and deep").iterdir())
    expected = [f"w-{n + 1:02d}-{acc:.2f}.weights.h5" for n, acc in enumerate(accuracies)]
    assert [file.name for file in written] == expected
    for file, weights in zip(written, kept, strict=True):
        model.load_weights(file)
        agree(weights, model.get_weights())


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"save_best_only": True},
        {"save_best_only": True, "monitor": "val_acc"},
        {"save_best_only": True, "mode": "max"},
        {"save_best_only": True, "initial_value_threshold": 0.78},
        {"save_freq": 3},
        {"save_freq": 4, "save_best_only": True, "monitor": "acc"},
    ],
    ids=str,
)
def test_a_checkpoint_saves_when_keras_does(keras, untrained, tmp_path, arguments):
    def saved(module):
        folder = tmp_path / module.__name__
        folder.mkdir()
        batch = "-{batch}" if "save_freq" in arguments else ""
        path = f"{folder}/{{epoch}}{batch}-{{loss:.4f}}.weights.h5"
        checkpoint = module.callbacks.ModelCheckpoint(path, save_weights_only=True, **arguments)
        model = untrained(module, learning_rate=1.0)
        given = {"epochs": 5, "validation_data": (X[:9], Y[:9]), **QUIET}
        model.fit(X[9:], Y[9:], callbacks=[checkpoint], **given)
        return sorted(os.listdir(folder))

    assert same(keras, saved) or "initial_value_threshold" in arguments


def test_a_checkpoint_prints_what_keras_prints(keras, untrained, tmp_path, capsys):
    def said(module):
        path = tmp_path / "best.weights.h5"
        arguments = {"save_weights_only": True, "save_best_only": True, "verbose": 1}
        checkpoint = module.callbacks.ModelCheckpoint(path, **arguments)
        model = untrained(module, learning_rate=3.0)
        model.fit(X, Y, epochs=6, validation_data=(X, Y), callbacks=[checkpoint], **QUIET)
        lines = capsys.readouterr().out.replace(str(path), "PATH").splitlines()
        return [line for line in lines if line and "finished" not in line]

    lines = same(keras, said)
    assert any("did not improve" in line for line in lines)
    assert any("improved from None to" in line for line in lines)


def weights_only(path, **named):
    return ModelCheckpoint(path, save_weights_only=True, **named)


@pytest.mark.host
@pytest.mark.parametrize(
    ("make", "wrong", "said"),
    [
        (EarlyStopping, {"monitor": "f1"}, "Write: mode='max' or mode='min'"),
        (EarlyStopping, {"monitor": "val_my_metric"}, "Write: mode='max' or mode='min'"),
        (EarlyStopping, {"mode": "up"}, "Expected mode to be"),
        (EarlyStopping, {"patience": -1}, "Expected patience to be"),
        (EarlyStopping, {"patience": 1.5}, "Expected patience to be"),
        (EarlyStopping, {"start_from_epoch": "a"}, "Expected start_from_epoch to be"),
        (weights_only, {"path": "a.h5"}, "must end in `.weights.h5`. .* Write: .a.weights.h5"),
        (ModelCheckpoint, {"filepath": "a.weights.h5"}, r"in `.keras`.*.a.keras. \(for weights"),
        (weights_only, {"path": "a.weights.h5", "save_freq": "batch"}, "'epoch' or a number"),
        (LambdaCallback, {"on_epoch": print}, "Write: LambdaCallback"),
        (LambdaCallback, {"foo": print}, "Write: LambdaCallback"),
        (LambdaCallback, {"on_epoch_end": 3}, "Write: LambdaCallback"),
    ],
)
def test_invalid_arguments_are_refused(make, wrong, said):
    with pytest.raises(ValueError, match=said):
        make(**wrong)


@pytest.mark.host
def test_a_checkpoint_needs_known_names_in_its_path_and_a_monitor_only_if_it_uses_it(tmp_path):
    weights_only("best.weights.h5", monitor="f1")
    wrong = weights_only(tmp_path / "{foo}.weights.h5")
    with pytest.raises(KeyError, match=r"Reason: 'foo'\. Available names: epoch, acc, loss"):
        network().fit(X, Y, callbacks=[wrong], **QUIET)


# Files of weights


@pytest.mark.host
def test_what_is_not_a_file_of_weights_is_refused_and_changes_nothing(tmp_path):
    model, bad = network(), tmp_path / "bad.weights.h5"
    with pytest.raises(FileNotFoundError):
        model.load_weights(tmp_path / "none.weights.h5")
    for content in (b"", b"some text", pickle.dumps([1, 2])):
        bad.write_bytes(content)
        with pytest.raises(ValueError, match="Expected a whole file of a model like this"):
            model.load_weights(bad)
    agree(START, model.get_weights())
    with pytest.raises(ValueError, match="has not yet been built"):
        tinynet.Sequential([tinynet.layers.Dense(2)]).save_weights("a.weights.h5")


# Functions


def test_lambda_callback_calls_its_functions_as_in_keras(keras, untrained):
    def called(module):
        log = []
        functions = module.callbacks.LambdaCallback(
            on_train_begin=lambda logs=None: log.append("begin"),
            on_epoch_begin=lambda epoch, logs=None: log.append(f"epoch {epoch}"),
            on_train_batch_end=lambda batch, logs=None: log.append((batch, sorted(logs))),
            on_test_end=lambda logs=None: log.append(("test", sorted(logs))),
            on_epoch_end=None,
        )
        given = {"epochs": 2, "validation_data": (X, Y), "callbacks": [functions]}
        untrained(module).fit(X, Y, **given, **QUIET)
        return log

    assert len(same(keras, called)) == 1 + 2 * (1 + 4 + 1)


# A loss that is not a number


def broken_at(batch):
    x = X.copy()
    x[5 * batch + 2] = np.nan
    return x


def test_with_terminate_on_nan_training_ends_as_in_keras(keras, untrained, capsys):
    def end(module):
        model = untrained(module)
        stop = module.callbacks.TerminateOnNaN()
        history = model.fit(broken_at(1), Y, epochs=3, callbacks=[stop], **QUIET)
        assert np.isnan(model.get_weights()[0]).all()
        return history.epoch, np.isnan(history.history["loss"]), model.stop_training

    same(keras, end)
    assert "Epoch 1: Invalid loss, terminating training" in capsys.readouterr().out


def test_nan_in_validation_does_not_end_training_as_in_keras(keras, untrained):
    def end(module):
        given = {"validation_data": (broken_at(0), Y), "epochs": 3, **QUIET}
        stop = module.callbacks.TerminateOnNaN()
        history = untrained(module).fit(X, Y, callbacks=[stop], **given)
        return history.epoch, [bool(np.isnan(v)) for v in history.history["val_loss"]]

    same(keras, end)
    with pytest.raises(ValueError, match="in the validation of epoch 1"):
        network().fit(X, Y, validation_data=(broken_at(0), Y), **QUIET)


def test_terminate_on_nan_ignores_finite_losses_and_can_raise(capsys):
    history = network().fit(X, Y, epochs=2, callbacks=[TerminateOnNaN()], **QUIET)
    assert history.epoch == [0, 1]
    assert capsys.readouterr().out == ""
    with pytest.raises(ValueError, match="Expected a finite loss, received nan"):
        network().fit(broken_at(1), Y, callbacks=[TerminateOnNaN(raise_error=True)], **QUIET)


@pytest.mark.parametrize("batch", [0, 1, 3])
def test_the_first_step_with_nan_is_named(batch):
    for verbose in (0, 1):
        model = network()
        with pytest.raises(ValueError, match="Expected a finite loss, received nan") as error:
            model.fit(broken_at(batch), Y, **{**QUIET, "verbose": verbose})
        assert f"(first in step {batch + 1})" in str(error.value)
        assert f"x holds NaN or infinity, first in sample {5 * batch + 2}." in str(error.value)
        assert "All weights are now NaN or infinite." in str(error.value)
        agree(START, model.get_weights())


def test_diverged_weights_are_named():
    layers = [tinynet.layers.Dense(units, name=name) for units, name in ((4, "a"), (2, "b"))]
    model = network_of(*layers, inputs=(3,), loss="mse", optimizer=tinynet.optimizers.SGD(1e3))
    with pytest.raises(ValueError, match="Expected a finite loss") as error:
        model.fit(X, Y, epochs=50, **QUIET)
    text = str(error.value)
    assert re.search(r"in epoch \d+ \(first in step \d\)\.", text)
    assert re.search(r"(All weights|The weights [ab]/.*) are now NaN or infinite\.", text)
    assert "lower the learning rate, now 1000" in text
    model.layers[1].kernel[...] = 3e38
    with pytest.raises(ValueError, match=r"The weights are finite; the largest \(3e\+38\) is in b"):
        model.evaluate(X, Y, verbose=0)


# History


def test_an_unknown_name_in_history_is_answered_with_the_known_names():
    history = network().fit(X, Y, **QUIET).history
    with pytest.raises(KeyError, match=r"'accuracy' was not recorded. Available: 'acc', 'loss'; "):
        history["accuracy"]
    assert history.get("accuracy") is None
    assert "accuracy" not in history
    assert dict(history) == history
    assert pickle.loads(pickle.dumps(history)) == history
    empty = network().fit(X, Y, epochs=0, **QUIET).history
    with pytest.raises(KeyError, match="Available: nothing, as no epoch was trained"):
        empty["loss"]
