"""Training that ends early, because it is killed, fails or gets Ctrl-C, and how it is resumed."""

import ast
import itertools
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import zipfile

import interrupted
import numpy as np
import pytest
from arrays import assert_array_equal
from interrupted import RUNS, X, Y, at, fail, press_ctrl_c, training
from networks import ONE_HOT, network
from oracle import agree

import tinynet
from tinynet import backend
from tinynet.callbacks import BackupAndRestore, Callback, LambdaCallback, backup
from tinynet.engine import training_state

pytestmark = pytest.mark.computes


def identical(one, other):
    """Assert that two results are equal to the last bit."""

    def same_bits(ours, theirs, err_msg, **_):
        assert np.asarray(ours).tobytes() == theirs.tobytes(), err_msg

    agree(one, other, close=same_bits)


def run_program(*arguments):
    """Run the training in a new process, and return its result, or None if it was killed."""
    command = [sys.executable, interrupted.__file__, *map(str, arguments)]
    process = subprocess.run(command, capture_output=True)
    assert process.stderr == b""  # it was killed and did not fail
    return pickle.loads(process.stdout) if process.returncode == 0 else None


def run_here(folder, _, *arguments, end):
    """Run the training in this process, and return its result, or None if it was interrupted."""
    try:
        return interrupted.run(folder, *arguments, end)
    except (RuntimeError, KeyboardInterrupt):
        return None


# An epoch has 7 steps, so the steps are in the first three epochs.
STEPS = [("on_train_batch_end", int(n)) for n in np.random.default_rng(0).integers(1, 18, 10)]
A_FEW = [("write", 2), ("on_train_batch_end", 5), ("replace", 1), ("on_train_batch_end", 9)]
MANY = [
    *A_FEW, ("on_train_batch_end", 6), ("on_train_batch_end", 2), ("on_test_begin", 2),
    ("fsync", 2), ("on_train_batch_end", 4), ("on_epoch_begin", 2), ("on_train_end", 1),
]  # fmt: skip
EPOCHS = {"early stopping": 6, "stopped within an epoch": 2}
ENDS = {  # the moments of ends that follow one another
    "failed": (lambda *arguments: run_here(*arguments, end=fail), MANY),
    "stopped by Ctrl-C": (lambda *arguments: run_here(*arguments, end=press_ctrl_c), MANY),
    "killed": (run_program, A_FEW),
    "killed again and again": (run_program, MANY + STEPS),
}


def points():
    """Every end of every training with every frequency; most of them are `long`."""
    for end, name, save_freq in itertools.product(ENDS, RUNS, ("epoch", 1, 3, 5)):
        if end.startswith("killed") and name not in ("early stopping", "learning rate"):
            continue  # a process of its own for each end takes its time
        if (name, save_freq) == ("callbacks with a state", 1):
            continue  # after the last step, a backup lacks the gradients that `Distributions` reads
        few = {"failed": (name, 3), "killed": ("early stopping", 3)}.get(end, ("plain", "epoch"))
        quick = (name, save_freq) == few and end != "killed again and again"
        yield pytest.param(end, name, save_freq, marks=() if quick else pytest.mark.long)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize(("end", "name", "save_freq"), list(points()))
def test_training_that_ended_anywhere_is_resumed_with_the_same_result(
    tmp_path, library, end, name, save_freq
):
    """Whatever ends it, and however often, at whatever moment of a step, an epoch or a write."""
    whole = interrupted.run(tmp_path / "a", name, save_freq, "on_train_end", 2, fail)
    assert len(whole["epoch"]) == EPOCHS.get(name, 5)
    run_until, moments = ENDS[end]
    ended = 0
    for moment, number in moments:
        given = (tmp_path / "b", library, name, save_freq, moment, number)
        result = run_until(*given)
        if result is not None:  # it was complete before that moment, so a new one is started
            identical(result, whole)
            result = run_until(*given)
        ended += result is None
    assert ended >= len(moments) / 2
    identical(interrupted.run(tmp_path / "b", name, save_freq, "on_train_end", 2, fail), whole)


@pytest.mark.host
def test_finished_training_can_be_continued_with_more_epochs(tmp_path):
    keep = {"delete_checkpoint": False}
    whole = training(tmp_path / "a", epochs=6, **keep)()
    part = training(tmp_path / "b", epochs=2, **keep)()
    assert len(part["epoch"]) == 2
    identical(training(tmp_path / "b", epochs=2, **keep)(), part)  # no epoch is left to train
    identical(training(tmp_path / "b", epochs=6, **keep)(), whole)


@pytest.mark.host
def test_without_a_backup_no_configuration_is_needed():
    """A description needs the configuration of every part, which a user-defined part may lack."""

    class Plain(tinynet.Layer):
        def forward(self, x, training=False):
            return x

        def backward(self, gradient):
            return gradient

        def get_config(self):
            raise NotImplementedError

    compiled = {"loss": ONE_HOT, "optimizer": "sgd", "metrics": [lambda y, p: (y - p)[:, 0]]}
    model = network(Plain(), (2, "softmax"), inputs=(3,), **compiled)
    assert model.fit(X, Y, verbose=0).epoch == [0]


# The file


@pytest.fixture
def saved(tmp_path):
    """The backup of a training that failed in its third epoch."""
    with at("on_train_batch_end", 20, fail) as fails, pytest.raises(RuntimeError):
        training(tmp_path, fails)()
    return tmp_path / "backup.zip"


@pytest.mark.host
def test_resuming_reports_the_epoch_and_the_file(saved, capsys):
    training(saved.parent, LambdaCallback(), verbose=2)()
    assert f"Resuming after epoch 2, from {saved}." in capsys.readouterr().out


@pytest.mark.host
def test_a_backup_of_another_training_is_refused_with_the_differences(saved):
    before = saved.read_bytes()
    for change, words in (
        ({"batch_size": 4}, "batch_size was '8' and is '4'"),
        ({"shuffle": False}, "shuffle was 'True' and is 'False'"),
        ({"optimizer": "sgd"}, "optimizer was 'Adam' and is 'SGD'"),
        ({"optimizer": tinynet.optimizers.Adam(0.5)}, "learning rate was 0.001.* and is 0.5"),
        ({"validation_split": 0.5}, r"data was '\(50, 3\) .* and is '\(25, 3\)"),
        ({"loss": "mse"}, "loss was 'categorical_crossentropy' and is 'mse'"),
        ({"metrics": ["mse"]}, "metrics was"),
        ({"activation": "relu"}, "layer 1 was"),
        ({"rate": 0.5}, "layer 2 was"),
        ({"y": 1 - Y}, "data was"),
        ({"others": [Callback()]}, r"callbacks was .*'Lambda.* and is .*'Callback'"),
    ):
        with pytest.raises(ValueError, match=rf"of another run: .*{words}.*delete it"):
            training(saved.parent, LambdaCallback(), **change)()
    assert saved.read_bytes() == before


@pytest.mark.host
def test_the_order_of_configurations_in_a_backup_does_not_matter(tmp_path, saved):
    """Other versions may use another order; 0.1.0 wrote a layer's own arguments elsewhere."""
    state = backup.read(saved)
    kind, settings = ast.literal_eval(state["what"]["layer 1"])
    turned = str([kind, dict(reversed(settings.items()))])
    assert turned != state["what"]["layer 1"]
    state["what"]["layer 1"] = turned
    backup.write(saved, state)
    (tmp_path / "whole").mkdir()
    resumed = training(saved.parent, LambdaCallback())()
    whole = training(tmp_path / "whole", LambdaCallback())()
    identical({**resumed, "files": []}, whole)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("{'a': 1, 'b': [2]}", "{'b': [2], 'a': 1}", True),
        ("{'a': np.float64(0.1), 'b': inf}", "{'b': inf, 'a': np.float64(0.1)}", True),
        ("adam", "adam", True),
        ("{'a': 1, 'b': 2}", "{'a': 2, 'b': 1}", False),
        ("{'a': nan, 'b': 2}", "{'a': 2, 'b': nan}", False),
        ("{'k': {'c': 'Zeros'}, 'b': 1}", "{'k': 1, 'b': {'c': 'Zeros'}}", False),
        ("adam", "sgd", False),
        ("-" * 100_000 + "1", "1", False),
        ("-" * 3000 + "1", "1", False),
    ],
    ids=range(9),
)
def test_the_meaning_of_a_configuration_depends_on_its_values_but_not_their_order(one, other, same):
    assert (training_state.parse_setting(one) == training_state.parse_setting(other)) is same


@pytest.mark.host
def test_a_damaged_backup_is_refused_and_nothing_is_changed(saved):
    good, intact = saved.read_bytes(), backup.read(saved)
    rng = np.random.default_rng(4)
    refused = 0
    for trial in range(300):
        bad = bytearray(good[: rng.integers(len(good))] if trial % 5 == 0 else good)
        for place in rng.integers(0, max(1, len(bad)), 3 * bool(bad)):
            bad[place] ^= 1 << rng.integers(8)
        saved.write_bytes(bad)
        try:
            state = backup.read(saved)
        except ValueError:
            refused += 1
        else:  # the damage is in a date or another part that is not read
            identical(state, intact)
    assert refused > 250
    saved.write_bytes(good[:-1])
    model = network((2, "softmax"), inputs=(3,), loss=ONE_HOT)
    weights = model.get_weights()
    generator = backend.generator().bit_generator.state
    with pytest.raises(ValueError, match=r"backup.zip.*To start over, delete it"):
        model.fit(X, Y, verbose=0, callbacks=[BackupAndRestore(saved.parent)])
    assert_array_equal(model.get_weights()[0], weights[0])
    assert backend.generator().bit_generator.state == generator


INVALID = {
    "other weights": lambda s: s.update(weights=[np.zeros(3)]),
    "weights of integers": lambda s: s.update(weights=[w.astype(int) for w in s["weights"]]),
    "weights of NaN": lambda s: s.update(weights=[w * np.nan for w in s["weights"]]),
    "slots of another shape": lambda s: s.update(slots=[[np.zeros(1, "f4")] * 2]),
    "an infinite slot": lambda s: s["slots"][0].__setitem__(0, s["slots"][0][0] + np.inf),
    "a missing slot": lambda s: s["slots"][0].pop(),
    "an epoch as a string": lambda s: s.update(epoch="three"),
    "an epoch before the first": lambda s: s.update(epoch=-1),
    "half an iteration": lambda s: s.update(iterations=1.5),
    "a step beyond the last": lambda s: s.update(step=100),
    "a step without its sums": lambda s: s.update(step=3),
    "a negative learning rate": lambda s: s.update(learning_rate=-1),
    "a learning rate as a string": lambda s: s.update(learning_rate="fast"),
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
    go = training(saved.parent, LambdaCallback())
    generator = backend.generator().bit_generator.state
    with pytest.raises(ValueError, match=r"Expected a backup of this training run, received .*: "):
        go()
    assert backend.generator().bit_generator.state == generator


@pytest.mark.host
@pytest.mark.parametrize(
    "array", [["<f8", [10**12]], ["|O", [1]], ["<f8", [-1]], ["<f8", [2**62, 4]], ["x", [1]]]
)
def test_invalid_arrays_in_a_backup_are_refused(tmp_path, array):
    path = tmp_path / "backup.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("state.json", json.dumps({"weights": {"__array__": array}}))
        archive.writestr("arrays", bytes(8))
    with pytest.raises(ValueError, match="Expected a whole file"):
        backup.read(path)


@pytest.mark.host
@pytest.mark.parametrize(
    "value", [{1: 2}, {1, 2}, object(), [b"bytes"], np.array(["a"]), {"__array__": 1}, None]
)
def test_an_attribute_in_kept_that_is_no_data_or_missing_is_refused(tmp_path, value):
    keeps = Callback()
    keeps.kept = ("value",)
    words = r"Expected Callback to have .* no value. Write: self.v"
    if value is not None:
        keeps.value, words = value, r"received .* as state\['callbacks'\]\[0\]\['val"
    with pytest.raises(ValueError, match=words):
        training(tmp_path, keeps)()
    assert not (tmp_path / "backup.zip").exists()


@pytest.mark.host
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"backup_dir": 3}, r'Write: BackupAndRestore\("backup"\)'),
        ({"backup_dir": ""}, r'Write: BackupAndRestore\("backup"\)'),
        ({"backup_dir": "a", "save_freq": 0}, "save_freq to be 'epoch' or a number of batches"),
        ({"backup_dir": "a", "double_checkpoint": True}, "double_checkpoint"),
    ],
)
def test_wrong_arguments_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        BackupAndRestore(**arguments)


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
@pytest.mark.parametrize(("moment", "number", "presses", "epochs", "steps", "words"), STOPS)
def test_ctrl_c_stops_after_a_complete_step_with_the_line_to_resume(
    tmp_path, moment, number, presses, epochs, steps, words, save_freq
):
    weights = []  # after each step

    def watch(batch, logs):
        weights.append(watches.model.get_weights())

    def press():
        for _ in range(presses):
            press_ctrl_c()

    watches = LambdaCallback(on_train_batch_end=watch)
    given = {"validation_data": (X, Y), "save_freq": save_freq}
    training(tmp_path, watches, **given)()
    with (
        at(moment, number, press) as stops,
        pytest.raises(KeyboardInterrupt, match=words) as stopped,
    ):
        training(tmp_path, stops, **given)()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    model = stops.model
    for one, other in zip(model.get_weights(), weights[steps - 1], strict=True):
        assert_array_equal(one, other)
    assert model.optimizer.iterations == steps
    assert model.history.epoch == list(range(epochs))
    assert len(model.history.history.get("val_loss", ())) == epochs
    if epochs < 5:
        line = f"write: model.fit(…, epochs=5, initial_epoch={epochs})"
        if save_freq and epochs:  # else there is no backup
            line = "run the same program again: it continues from the backup"
        assert f"To resume, {line}" in str(stopped.value)
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

    with (
        at("on_epoch_end", 1, inner) as nests,
        pytest.raises(KeyboardInterrupt, match=r"in epoch 2 of 5, after step 0 of 7\."),
    ):
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

    def raise_anywhere(*_):
        raise KeyboardInterrupt

    heard, results = [], []
    assert with_handler(lambda *_: heard.append(1))["epoch"] == [0, 1, 2, 3, 4]
    assert heard == [1]
    words = "in epoch 4 of 5, after step 1 of 7 and possibly in the middle.* has 1 complete epoch"
    with pytest.raises(KeyboardInterrupt, match=words):
        with_handler(raise_anywhere, initial_epoch=2)
    thread = threading.Thread(target=lambda: results.append(training(tmp_path / "new")()))
    thread.start()
    thread.join()
    assert results[0]["epoch"] == [0, 1, 2, 3, 4]


@pytest.mark.host
@pytest.mark.skipif(os.name != "posix", reason="Windows sends Ctrl-C to a whole console")
def test_ctrl_c_in_a_program_ends_with_the_line_to_resume():
    program = (
        "import numpy as np, tinynet\n"
        "model = tinynet.Sequential([tinynet.Input((3,)), tinynet.layers.Dense(2, 'softmax')])\n"
        "model.compile('adam', 'categorical_crossentropy')\n"
        "print('ready', flush=True)\n"
        "model.fit(np.ones((64, 3)), np.ones((64, 2)), epochs=1_000_000, verbose=0)\n"
    )
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    child = subprocess.Popen([sys.executable, "-c", program], **piped)
    assert child.stdout.readline() == "ready\n"
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.7)
    child.send_signal(signal.SIGINT)
    _, error = child.communicate(timeout=60)
    last = error.strip().splitlines()[-1]
    assert last.startswith("KeyboardInterrupt: Stopped in epoch ")
    assert "To resume, write: model.fit(…, epochs=1000000, initial_epoch=" in last
