"""Callbacks that monitor training, compared with Keras on given values and in a real `fit`."""

import inspect
import pickle
import warnings
from unittest import mock

import numpy as np
import pytest
from networks import ONE_HOT, network as network_of, samples
from oracle import agree, both, renewed, same

import tinynet
from tinynet import callbacks
from tinynet.callbacks import BackupAndRestore, EarlyStopping, ModelCheckpoint
from tinynet.callbacks.monitors import higher_is_better

pytestmark = pytest.mark.computes

RNG = np.random.default_rng(3)
X, _, Y = samples(RNG, 20, (3,), 2)
START = [RNG.normal(size=(3, 2)).astype("float32"), np.zeros(2, "float32")]
QUIET = {"batch_size": 5, "verbose": 0, "shuffle": False}


def network(module=tinynet):
    given = {"inputs": (3,), "weights": START, "loss": ONE_HOT, "metrics": ["acc"]}
    return network_of((2, "softmax"), library=module, optimizer="sgd", **given)


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


def run_epochs(callback, values):
    """Run a callback on epochs with these values, None for a missing one, and return its state.

    The weights of the model are the number of the epoch.
    """
    model, seen = mock.Mock(["get_weights", "set_weights"], stop_training=False), []
    callback.set_model(model)
    callback.set_params({})
    callback.on_train_begin()
    for epoch, value in enumerate(values):
        model.get_weights.return_value = epoch
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            callback.on_epoch_end(epoch, {} if value is None else {"val_loss": value})
        seen.append((len(said), model.stop_training, callback.wait, callback.best))
        if model.stop_training:
            break
    callback.on_train_end()
    return seen, callback.stopped_epoch, callback.best_epoch, model.set_weights.mock_calls


WATCHES = [
    {"verbose": 0, "patience": 2, "restore_best_weights": True},
    {"patience": 2, "restore_best_weights": True},
    {"patience": 9, "restore_best_weights": True},
    {"patience": 2, "min_delta": -0.3},
    {"patience": 1, "mode": "max", "restore_best_weights": True},
    {"patience": 2, "baseline": 1.5, "restore_best_weights": True},
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
def test_early_stopping_stops_and_prints_as_in_keras_also_if_used_again(keras, capsys, arguments):
    given = {"verbose": 1, **arguments}
    ours = EarlyStopping(**given)
    for values in COURSES:
        theirs = keras.callbacks.EarlyStopping(**given)
        one, other = ((run_epochs(x, values), capsys.readouterr().out) for x in (ours, theirs))
        assert one == other, values


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


@pytest.mark.host
def test_the_direction_of_every_known_name_is_that_of_keras_s_metric(keras):
    for name in {*tinynet.metrics.KNOWN, *tinynet.losses.KNOWN}:
        rises = keras.metrics.get(name)._direction == "up"
        assert higher_is_better(name) is higher_is_better(f"val_{name}") is rises, name
    assert higher_is_better("acc")
    assert higher_is_better("accuracy")


@pytest.mark.host
@pytest.mark.parametrize("given", [("loss", -0.1), ("val_acc", 0.1, 0, 0, "max")])
def test_the_comparison_is_as_in_keras(keras, given):
    """Also as it is used in subclasses: with `min_delta`, which has a sign."""

    def program(library):
        watch = library.callbacks.EarlyStopping(*given)
        watch.set_model(mock.Mock([]))
        watch.on_train_begin()
        watch.on_epoch_end(0, {given[0]: 1})
        compared = [bool(watch.monitor_op(*pair)) for pair in ((1, 2), (2, 1), (1, 1))]
        return compared, bool(watch.monitor_op(2.95 - watch.min_delta, 3)), watch.min_delta

    same(keras, program)


def test_a_subclass_may_compute_the_value_and_use_the_model_at_the_beginning(keras, untrained):
    def program(library):
        begun = []

        class Gap(library.callbacks.EarlyStopping):
            def get_monitor_value(self, logs):
                return 1 + abs(logs["val_loss"] - logs["loss"])

            def on_train_begin(self, logs=None):
                super().on_train_begin(logs)
                begun.append(len(self.model.get_weights()))

        watch = Gap(patience=1, min_delta=0.01, restore_best_weights=True)
        given = {"epochs": 9, "validation_data": (X[:9], Y[:9]), **QUIET}
        history = untrained(library, 0.5).fit(X[9:], Y[9:], callbacks=[watch], **given)
        return history.epoch, begun, watch.best_epoch, watch.best

    theirs, ours = both(keras, program)
    agree(theirs, ours, rtol=1e-6)
    assert len(ours[0]) < 9
    assert ours[1] == [2]


@pytest.mark.host
def test_the_functions_of_a_lambda_callback_may_be_given_by_position(keras):
    def program(library):
        calls, names = [], list(inspect.signature(library.callbacks.LambdaCallback).parameters)
        functions = [lambda *_, name=name: calls.append(name) for name in names[:6]]
        watch = library.callbacks.LambdaCallback(*functions, on_test_end=functions[0])
        for name in (*names[:6], "on_test_end"):
            getattr(watch, name)(0)
        return calls, names

    calls, names = same(keras, program)
    assert calls == [*names[:6], "on_epoch_begin"]


def test_a_missing_metric_gives_a_warning():
    words = "'val_acc', which is not available. .* are: acc, loss. .* pass validation data to fit"
    with pytest.warns(UserWarning, match=words):
        history = network().fit(X, Y, epochs=3, callbacks=[EarlyStopping("val_acc")], **QUIET)
    assert len(history.epoch) == 3


# Checkpoints


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
def test_a_checkpoint_saves_and_prints_what_keras_does(
    keras, untrained, tmp_path, capsys, arguments
):
    def program(module):
        model, folder = untrained(module, learning_rate=3.0), tmp_path / module.__name__ / "deep"
        batch = "-{batch}" if "save_freq" in arguments else ""
        path = f"{folder}/{{epoch:02d}}{batch}-{{loss:.4f}}.weights.h5"
        given = {"save_weights_only": True, "verbose": 1, **arguments}
        saves = module.callbacks.ModelCheckpoint(path, **given)
        given = {"epochs": 5, "validation_data": (X[:9], Y[:9]), **QUIET}
        model.fit(X[9:], Y[9:], callbacks=[saves], **given)
        said = capsys.readouterr().out.replace(str(folder), "FOLDER").splitlines()
        saved = {}
        for file in sorted(folder.glob("*")):
            model.load_weights(file)
            saved[file.name] = model.get_weights()
        return saved, [line for line in said if line and "finished" not in line]

    theirs, ours = both(keras, program)
    agree(theirs, ours, rtol=1e-5, atol=1e-5)
    assert ours[0] or "initial_value_threshold" in arguments


def weights_only(path, **named):
    return ModelCheckpoint(path, save_weights_only=True, **named)


@pytest.mark.host
@pytest.mark.parametrize(
    ("make", "wrong", "said"),
    [
        (EarlyStopping, {"monitor": "f1"}, "Write: mode='max' or mode='min'"),
        (EarlyStopping, {"mode": "up"}, "Expected mode to be"),
        (EarlyStopping, {"patience": -1}, "Expected patience to be"),
        (EarlyStopping, {"start_from_epoch": "a"}, "Expected start_from_epoch to be"),
        (weights_only, {"path": "a.h5"}, "must end in `.weights.h5`. .* Write: .a.weights.h5"),
        (ModelCheckpoint, {"filepath": "a.weights.h5"}, r"in `.keras`.*.a.keras. \(for weights"),
        (weights_only, {"path": "a.weights.h5", "save_freq": "batch"}, "'epoch' or a number"),
        (BackupAndRestore, {"backup_dir": ""}, r'Write: BackupAndRestore\("backup"\)'),
        (BackupAndRestore, {"backup_dir": "a", "save_freq": 0}, "'epoch' or a number of batches"),
        (BackupAndRestore, {"backup_dir": "a", "double_checkpoint": True}, "double_checkpoint"),
        (callbacks.LambdaCallback, {"on_epoch": print}, "Write: LambdaCallback"),
        (callbacks.LambdaCallback, {"on_epoch_end": 3}, "Write: LambdaCallback"),
    ],
)
def test_invalid_arguments_are_refused(make, wrong, said):
    with pytest.raises(ValueError, match=said):
        make(**wrong)


@pytest.mark.host
def test_a_checkpoint_needs_known_names_in_its_path_and_a_monitor_only_if_it_uses_it(tmp_path):
    wrong = weights_only(tmp_path / "{foo}.weights.h5", monitor="f1")
    with pytest.raises(KeyError, match=r"Reason: 'foo'\. Available names: epoch, acc, loss"):
        network().fit(X, Y, callbacks=[wrong], **QUIET)


# A loss that is not a number


def broken_at(batch):
    x = X.copy()
    x[5 * batch + 2] = np.nan
    return x


@pytest.mark.parametrize("where", ["nowhere", "training", "validation"])
def test_terminate_on_nan_ends_training_where_keras_does(keras, untrained, capsys, where):
    """NaN in the validation does not end it."""
    x, held_out = (broken_at(1) if where == part else X for part in ("training", "validation"))
    given = {"epochs": 3, "validation_data": (held_out, Y), **QUIET}

    def program(module):
        model = untrained(module)
        history = model.fit(x, Y, callbacks=[module.callbacks.TerminateOnNaN()], **given)
        nan = {name: np.isnan(values).tolist() for name, values in history.history.items()}
        return history.epoch, nan, model.stop_training, np.isnan(model.get_weights()[0]).all()

    same(keras, program)
    stopped = "Epoch 1: Invalid loss, terminating training\n"
    assert capsys.readouterr().out.endswith(stopped) == (where == "training")


def test_terminate_on_nan_may_raise_an_error():
    raises = callbacks.TerminateOnNaN(raise_error=True)
    with pytest.raises(ValueError, match="Expected a finite loss, received nan"):
        network().fit(broken_at(1), Y, callbacks=[raises], **QUIET)


@pytest.mark.parametrize(("batch", "verbose"), [(0, 0), (1, 1), (3, 0)])
def test_the_first_step_with_nan_is_named(batch, verbose):
    model = network()
    first = rf"first in step {batch + 1}\)\. All weights .* x holds .* in sample {5 * batch + 2}\."
    with pytest.raises(ValueError, match=rf"Expected a finite loss, received nan .*\({first}"):
        model.fit(broken_at(batch), Y, **{**QUIET, "verbose": verbose})
    agree(START, model.get_weights())


def test_the_largest_of_finite_weights_is_named():
    layers = [tinynet.layers.Dense(units, name=name) for units, name in ((4, "a"), (2, "b"))]
    model = network_of(*layers, inputs=(3,), loss="mse")
    model.layers[1].kernel[...] = 3e38
    with pytest.raises(ValueError, match=r"The weights are finite; the largest \(3e\+38\) is in b"):
        model.evaluate(X, Y, verbose=0)


# History


def test_an_unknown_name_in_history_is_answered_with_the_known_names():
    history = network().fit(X, Y, **QUIET).history
    with pytest.raises(KeyError, match=r"'accuracy' was not recorded. Available: 'acc', 'loss'; "):
        history["accuracy"]
    assert history.get("accuracy") is None
    assert pickle.loads(pickle.dumps(history)) == history
    empty = network().fit(X, Y, epochs=0, **QUIET).history
    with pytest.raises(KeyError, match="Available: nothing, as no epoch was trained"):
        empty["loss"]
