"""Training that ends early, because it is killed, fails or gets Ctrl-C, and how it is resumed."""

import ast
import contextlib
import itertools
import json
import pickle
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import interrupted
import numpy as np
import pytest
from interrupted import RUNS, X, Y, at, die, fail, press_ctrl_c, training
from networks import ONE_HOT, Scale, network
from oracle import agree

import tinynet
from tinynet import backend
from tinynet.callbacks import Callback, LambdaCallback, backup
from tinynet.engine import training_state
from tinynet.utils import files

pytestmark = pytest.mark.computes


def identical(one, other):
    """Assert that two results are equal to the last bit."""

    def same_bits(ours, theirs, err_msg, **_):
        assert np.asarray(ours).tobytes() == theirs.tobytes(), err_msg

    agree(one, other, close=same_bits)


def run_until(end, folder, library, *arguments):
    """Run the training, in a new process if `end` kills it; return its result, or None if ended."""
    if end is not die:
        with contextlib.suppress(RuntimeError, KeyboardInterrupt):
            return interrupted.run(folder, *arguments, end)
        return None
    command = [sys.executable, interrupted.__file__, folder, library, *arguments]
    process = subprocess.run(list(map(str, command)), capture_output=True)
    assert process.stderr == b""  # it was killed and did not fail
    return None if process.returncode else pickle.loads(process.stdout)


# An epoch has 7 steps, so the steps are in the first three epochs.
STEPS = [("on_train_batch_end", int(n)) for n in np.random.default_rng(0).integers(1, 18, 10)]
A_FEW = [("fsync", 3), ("on_train_batch_end", 5), ("replace", 1), ("on_train_batch_end", 9)]
MANY = [
    *A_FEW, ("on_train_batch_end", 6), ("on_train_batch_end", 2), ("on_test_begin", 2),
    ("on_train_batch_end", 4), ("on_epoch_begin", 2), ("on_train_end", 1),
]  # fmt: skip
EPOCHS = {"early stopping": 6, "stopped within an epoch": 2}
ENDS = {  # the moments of ends that follow one another
    "failed": (fail, MANY),
    "stopped by Ctrl-C": (press_ctrl_c, MANY),
    "killed": (die, A_FEW),
    "killed again and again": (die, MANY + STEPS),
}


def points():
    """Every end of every training with every frequency; most of them are `long`."""
    for end, name, save_freq in itertools.product(ENDS, RUNS, ("epoch", 1, 3, 5)):
        if end.startswith("killed") and name not in ("early stopping", "learning rate"):
            continue  # a process of its own for each end takes its time
        if (name, save_freq) == ("callbacks with a state", 1):
            continue  # after the last step, a backup lacks the gradients that `Distributions` reads
        few = {"failed": (name, 3), "killed": ("early stopping", 3)}.get(end, ("plain", "epoch"))
        marks = () if (name, save_freq) == few else pytest.mark.long
        yield pytest.param(end, name, save_freq, marks=marks)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize(("end", "name", "save_freq"), list(points()))
def test_training_that_ended_anywhere_is_resumed_with_the_same_result(
    tmp_path, library, end, name, save_freq
):
    """Whatever ends it, and however often, at whatever moment of a step, an epoch or a write."""
    whole = interrupted.run(tmp_path / "a", name, save_freq, "on_train_end", 2, fail)
    assert len(whole["epoch"]) == EPOCHS.get(name, 5)
    how, moments = ENDS[end]
    ended = 0
    for moment in moments:
        given = (how, tmp_path / "b", library, name, save_freq, *moment)
        result = run_until(*given)
        if result is not None:  # it was complete before that moment, so a new one is started
            identical(result, whole)
            result = run_until(*given)
        ended += result is None
    assert ended >= len(moments) / 2
    identical(interrupted.run(tmp_path / "b", name, save_freq, "on_train_end", 2, fail), whole)


@pytest.mark.host
def test_finished_training_can_be_continued_with_more_epochs(tmp_path):
    whole = training(tmp_path / "a", epochs=6, keep=True)()
    part = training(tmp_path / "b", epochs=2, keep=True)()
    assert (len(part["epoch"]), part["files"]) == (2, ["backup.zip"])
    identical(training(tmp_path / "b", epochs=2, keep=True)(), part)  # no epoch is left to train
    identical(training(tmp_path / "b", epochs=6, keep=True)(), whole)
    assert training(tmp_path / "b", epochs=6)()["files"] == []


class Freezing(Callback):
    """Freezes a layer after the first epoch, and fails once in the third."""

    fails = True

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 0:
            self.model.layers[0].trainable = False

    def on_train_batch_end(self, batch, logs=None):
        if type(self).fails and self.model.history.epoch == [0, 1]:
            type(self).fails = False
            raise RuntimeError


def test_training_with_layers_that_a_callback_has_frozen_is_resumed(tmp_path):
    def train(folder):
        tinynet.utils.set_random_seed(3)
        model = network((5, "tanh"), (3, "softmax"), inputs=(X.shape[1],), loss="mse")
        backup = tinynet.callbacks.BackupAndRestore(tmp_path / folder, save_freq=1)
        history = model.fit(X, np.eye(3)[[0] * len(X)], epochs=4, verbose=0,
                            callbacks=[Freezing(), backup])  # fmt: skip
        return model.get_weights(), model.optimizer.variables, history.history

    with pytest.raises(RuntimeError):
        train("a")
    identical(train("a"), train("b"))
    Freezing.fails = True


def test_a_backup_that_cannot_be_used_freezes_nothing(saved):
    state = backup.read(saved)
    state["trainable"][0], state["slots"] = False, []
    backup.write(saved, state)
    models = []
    keeps = LambdaCallback(on_train_begin=lambda logs: models.append(keeps.model))
    with pytest.raises(ValueError, match="its arrays have different shapes"):
        training(saved.parent, keeps)()
    assert models[0].layers[0].trainable


@pytest.mark.host
def test_a_backup_of_0_1_without_the_frozen_layers_is_resumed(saved, capsys):
    state = backup.read(saved)
    del state["trainable"]
    backup.write(saved, state)
    training(saved.parent, LambdaCallback(), verbose=2)()
    assert "Resuming after epoch 2" in capsys.readouterr().out


def test_nan_after_resuming_leads_back_to_the_backup(tmp_path):
    model = network((5, "tanh"), (3,), inputs=(X.shape[1],), loss="mse")
    y, seen = np.zeros((len(X), 3)), []
    backup = tinynet.callbacks.BackupAndRestore(tmp_path)

    def spoil(batch, logs):
        seen.append(model.get_weights())
        model.layers[0].bias[:1] = np.nan

    failing = LambdaCallback(on_epoch_begin=lambda epoch, logs: epoch == 2 and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.fit(X, y, epochs=3, verbose=0, callbacks=[failing, backup])
    failing.on_epoch_begin, failing.on_train_batch_begin = lambda *_: None, spoil
    model.optimizer.iterations, again = 0, model.get_weights()
    with pytest.raises(ValueError, match=r"finite.*The model is as in the backup\.$"):
        model.fit(X, y, epochs=3, verbose=0, callbacks=[failing, backup])
    identical(model.get_weights(), again)
    assert model.history.epoch == [0, 1]


@pytest.mark.host
def test_without_a_backup_no_configuration_is_needed():
    """A description needs the configuration of every part, which a user-defined part may lack."""
    layer, given = Scale(), {"loss": ONE_HOT, "metrics": [lambda y, p: (y - p)[:, 0]]}
    layer.get_config = None
    assert network(layer, (2, "softmax"), inputs=(3,), **given).fit(X, Y, verbose=0).epoch == [0]


# The file


@pytest.fixture
def saved(tmp_path):
    """The backup of a training that failed in its third epoch."""
    with at("on_train_batch_end", 20, fail) as fails, pytest.raises(RuntimeError):
        training(tmp_path, fails)()
    return tmp_path / "backup.zip"


def assert_refused(saved, words, **change):
    """Assert that training with this backup raises an error and changes nothing."""

    def state():
        model, generator = keeps.model, backend.generator().bit_generator.state
        return [saved.read_bytes(), generator, model.get_weights(), model.optimizer.iterations]

    before = []
    keeps = LambdaCallback(on_train_begin=lambda logs: before.append(state()))
    with pytest.raises(ValueError, match=words):
        training(saved.parent, keeps, **change)()
    identical(before, [state()])


@pytest.mark.host
def test_a_backup_of_another_training_is_refused_with_the_differences(saved):
    for change, words in (
        ({"batch_size": 4}, "batch_size was '8' and is '4'"),
        ({"shuffle": False}, "shuffle was 'True' and is 'False'"),
        ({"optimizer": "sgd"}, "optimizer was 'Adam' and is 'SGD'"),
        ({"optimizer": tinynet.optimizers.Adam(0.5)}, "learning rate was 0.001.* and is 0.5"),
        ({"validation_split": 0.5}, r"data was '\(50, 3\) .* and is '\(25, 3\)"),
        ({"loss": "mse"}, "loss was 'categorical_crossentropy' and is 'mse'"),
        ({"metrics": ["mse"]}, "metrics was"),
        ({"activation": "relu"}, "layer 1 was .*'activation': 'tanh'.* and is .*'relu'"),
        ({"rate": 0.5}, r"layer 2 was .*'rate': 0\.\d+.* and is .*'rate': 0\.5"),
        ({"y": 1 - Y}, r"data was .*float64 \w+.* and is .*float64 \w+"),
        ({"others": [Callback()]}, r"callbacks was .*'Lambda.* and is .*'Callback'"),
    ):
        assert_refused(saved, rf"of another run: .*{words}.*delete it", **change)


@pytest.mark.host
def test_the_order_of_configurations_in_a_backup_does_not_matter(saved, capsys):
    """Other versions may use another order; 0.1.0 wrote a layer's own arguments elsewhere."""
    state = backup.read(saved)
    kind, settings = ast.literal_eval(state["what"]["layer 1"])
    state["what"]["layer 1"] = str([kind, dict(reversed(settings.items()))])
    backup.write(saved, state)
    training(saved.parent, LambdaCallback(), verbose=2)()
    assert f"Resuming after epoch 2, from {saved}." in capsys.readouterr().out


@pytest.mark.host
def test_a_backup_of_0_1_0_is_read(saved):
    """It has Adam's moments as sums, without the factors 1 − β, and does not say so."""
    state = backup.read(saved)
    expected = training(saved.parent, LambdaCallback())()
    del state["format"]
    for slots in state["slots"]:
        for slot, beta in zip(slots, (0.9, 0.999), strict=True):
            slot /= 1 - beta
    backup.write(saved, state)
    received = training(saved.parent, LambdaCallback())()
    assert received["epoch"] == expected["epoch"]
    for one, other in zip(received["weights"], expected["weights"], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-7)


@pytest.mark.host
def test_a_backup_of_layers_of_another_type_is_refused(saved):
    state = backup.read(saved)
    state["what"]["layer 1"] = state["what"]["layer 1"].replace("float32", "float64")
    backup.write(saved, state)
    assert_refused(saved, "layer 1 was .*float64.* and is .*float32")


SETTINGS = [
    ("{'a': np.float64(0.1), 'b': inf}", "{'b': inf, 'a': np.float64(0.1)}", True),
    ("{'a': nan, 'b': 2}", "{'a': 2, 'b': nan}", False),
    ("{'k': {'c': 'Zeros'}, 'b': 1}", "{'k': 1, 'b': {'c': 'Zeros'}}", False),
    ("-" * 100_000 + "1", "1", False),
    ("-" * 3000 + "1", "1", False),
]


@pytest.mark.parametrize(("one", "other", "same"), SETTINGS, ids=range(5))
def test_the_meaning_of_a_configuration_depends_on_its_values_but_not_their_order(one, other, same):
    assert (training_state.parse_setting(one) == training_state.parse_setting(other)) is same


@pytest.mark.host
def test_a_damaged_backup_is_refused_and_nothing_is_changed(saved):
    saved.write_bytes(saved.read_bytes()[:-1])
    assert_refused(saved, r"backup.zip.*To start over, delete it")
    saved.write_bytes(files.pack({"state.json": b"{}"}))
    assert_refused(saved, "a part of it is missing")


INVALID = {
    "other weights": lambda s: s.update(weights=[np.zeros(3)]),
    "weights of integers": lambda s: s.update(weights=[w.astype(int) for w in s["weights"]]),
    "slots of another shape": lambda s: s.update(slots=[[np.zeros(1, "f4")] * 2]),
    "an infinite slot": lambda s: s["slots"][0].__setitem__(0, s["slots"][0][0] + np.inf),
    "a missing slot": lambda s: s["slots"][0].pop(),
    "an epoch before the first": lambda s: s.update(epoch=-1),
    "half an iteration": lambda s: s.update(iterations=1.5),
    "a step beyond the last": lambda s: s.update(step=100),
    "a step without its sums": lambda s: s.update(step=3),
    "a negative learning rate": lambda s: s.update(learning_rate=-1),
    "no generator": lambda s: s.pop("generator"),
    "another generator": lambda s: s.update(generator={"bit_generator": "os.system"}),
    "no callbacks": lambda s: s.update(callbacks=[]),
    "no passes": lambda s: s.update(passes=None),
    "a pass beyond the data": lambda s: s["passes"].update(last=10**9),
    "other counters": lambda s: s.update(counters=[[1]]),
    "an end as a string": lambda s: s.update(ended="yes"),
}


@pytest.mark.host
@pytest.mark.parametrize("kind", INVALID)
def test_an_undamaged_backup_with_invalid_content_is_refused(saved, kind):
    state = backup.read(saved)
    INVALID[kind](state)
    backup.write(saved, state)
    assert_refused(saved, r"Expected a backup of this training run, received .*: ")


BAD_ARRAYS = [["<f8", [10**12]], ["|O", [1]], ["<f8", [-1]], ["x", [1]]]


@pytest.mark.host
@pytest.mark.parametrize("array", BAD_ARRAYS, ids=str)
def test_invalid_arrays_in_a_backup_are_refused(tmp_path, array):
    path, state = tmp_path / "backup.zip", json.dumps({"weights": {"__array__": array}})
    path.write_bytes(files.pack({"state.json": state.encode(), "arrays": bytes(8)}))
    with pytest.raises(ValueError, match="Expected a whole file"):
        backup.read(path)


@pytest.mark.host
@pytest.mark.parametrize("value", [{1: 2}, [b"bytes"], np.array(["a"]), {"__array__": 1}, None])
def test_an_attribute_in_kept_that_is_no_data_or_missing_is_refused(tmp_path, value):
    keeps = Callback()
    keeps.kept = ("value",)
    words = r"Expected Callback to have .* no value. Write: self.v"
    if value is not None:
        keeps.value, words = value, r"received .* as state\['callbacks'\]\[0\]\['val"
    with pytest.raises(ValueError, match=words):
        training(tmp_path, keeps)()
    assert not (tmp_path / "backup.zip").exists()


# Ctrl-C

STOPS = [  # a moment, how often Ctrl-C is pressed there, the complete epochs and steps, the message
    ("on_train_batch_end", 1, 1, 0, 1, r"1 of 5, after step 1 of 7\. .* 0 complete epochs\."),
    ("on_train_batch_begin", 10, 1, 1, 10, r"2 of 5, after step 3 of 7\. .* 1 complete epoch\."),
    ("on_train_batch_begin", 10, 2, 1, 9, "after step 2 of 7 and possibly in the mid.* next step"),
    ("on_test_batch_begin", 8, 1, 1, 14, r"2 of 5, after step 7 of 7\. .* 1 complete epoch\."),
    ("on_epoch_end", 2, 1, 2, 14, r"3 of 5, after step 0 of 7\. .* 2 complete epochs\."),
    ("on_epoch_end", 5, 1, 5, 35, r"after training was complete\. .* has 5 complete epochs\."),
    ("on_train_end", 1, 1, 5, 35, "Stopped after training was complete"),
]


@pytest.mark.parametrize("save_freq", [None, "epoch"], ids=["no backup", "backup"])
@pytest.mark.parametrize("stop", STOPS, ids=range(7))
def test_ctrl_c_stops_after_a_complete_step_with_the_line_to_resume(tmp_path, stop, save_freq):
    moment, number, presses, epochs, steps, words = stop
    weights = []  # after each step

    def press():
        for _ in range(presses):
            press_ctrl_c()

    keeps = LambdaCallback()
    keeps.on_train_batch_end = lambda batch, logs=None: weights.append(keeps.model.get_weights())
    given = {"validation_data": (X, Y), "save_freq": save_freq}
    training(tmp_path, keeps, **given)()
    with at(moment, number, press) as stops, pytest.raises(KeyboardInterrupt, match=words) as ended:
        training(tmp_path, stops, **given)()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    model = stops.model
    agree(model.get_weights(), weights[steps - 1])
    assert model.optimizer.iterations == steps
    assert model.history.epoch == list(range(epochs))
    assert len(model.history.history.get("val_loss", ())) == epochs
    if epochs < 5:
        line = f"write: model.fit(…, epochs=5, initial_epoch={epochs})"
        if save_freq and epochs:  # else there is no backup
            line = "run the same program again: it continues from the backup"
        assert f"To resume, {line}" in str(ended.value)
        resumed = model.fit(X, Y, verbose=0, epochs=5, initial_epoch=epochs)
        assert resumed.epoch == list(range(epochs, 5))


@pytest.mark.host
def test_training_can_be_resumed_after_ctrl_c_in_the_same_process(tmp_path):
    """Also if the learning rate has changed since it began."""
    halves = {"others": [interrupted.Halves()]}
    whole = training(tmp_path / "a", LambdaCallback(), **halves)()
    with at("on_train_batch_begin", 10, press_ctrl_c) as stops:
        go = training(tmp_path / "b", stops, **halves)
        with pytest.raises(KeyboardInterrupt, match="run the same program again"):
            go()
        identical(go(), whole)


@pytest.mark.host
def test_ctrl_c_in_a_nested_fit_stops_the_outer_fit(tmp_path):
    steps = []

    def inner():
        with at("on_train_batch_end", 1, press_ctrl_c) as stops:
            counts = LambdaCallback(on_train_batch_end=lambda batch, logs: steps.append(batch))
            training(tmp_path / "inner", counts, stops)()

    words = r"in epoch 2 of 5, after step 0 of 7\."
    with at("on_epoch_end", 1, inner) as nests, pytest.raises(KeyboardInterrupt, match=words):
        training(tmp_path / "outer", nests)()
    assert steps == [0]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.host
def test_user_defined_signal_handlers_and_threads_are_not_affected(tmp_path):
    def with_handler(handler, **options):
        before = signal.signal(signal.SIGINT, handler)
        try:
            with at("on_train_batch_end", 8, press_ctrl_c) as presses:
                return training(tmp_path, presses, **options)()
        finally:
            assert signal.signal(signal.SIGINT, before) is handler

    hears, raises = mock.Mock(), mock.Mock(side_effect=KeyboardInterrupt)
    assert with_handler(hears)["epoch"] == [0, 1, 2, 3, 4]
    assert hears.call_count == 1
    words = "in epoch 4 of 5, after step 1 of 7 and possibly in the middle.* has 1 complete epoch"
    with pytest.raises(KeyboardInterrupt, match=words):
        with_handler(raises, initial_epoch=2)
    with ThreadPoolExecutor(1) as threads:
        result = threads.submit(training(tmp_path / "new")).result()
    assert result["epoch"] == [0, 1, 2, 3, 4]
