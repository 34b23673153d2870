"""Training that ends early, because it is killed, fails or gets Ctrl-C, and how it is resumed."""

import ast
import json
import os
import pathlib
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
from networks import ONE_HOT, network

import tinynet
from tinynet import backend
from tinynet.callbacks import BackupAndRestore, Callback, Distributions, ModelCheckpoint, backup
from tinynet.engine import training_state
from tinynet.layers import Dropout

pytestmark = pytest.mark.computes
PROGRAM = pathlib.Path(interrupted.__file__)


def run(folder, moment, number, save_freq):
    """Run the training in a new process, and return whether it finished."""
    frequency = [] if save_freq == "epoch" else [str(save_freq)]
    command = [sys.executable, str(PROGRAM), str(folder), moment, str(number), *frequency]
    process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode == 0:
        return True
    assert process.stderr == ""  # it was killed and did not fail
    return False


def same(one, other):
    """Return whether two results are equal to the last bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.tobytes() == other.tobytes()
    return one == other


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert run(folder, "never", 0, "epoch")
    return pickle.loads((folder / "result").read_bytes())


RNG = np.random.default_rng(0)
KILLS = {
    # An epoch has 10 steps, so a random number up to 25 is in the first three epochs.
    "epoch": [("write", n) for n in (1, 2, 1, 3, 1)]
    + [("flushed", n) for n in (1, 1, 2, 1, 1)]
    + [("step", int(n)) for n in RNG.integers(1, 26, 10)],
    3: [("step", int(n)) for n in RNG.integers(4, 16, 4)] + [("write", 2), ("flushed", 3)],
}


@pytest.mark.host
@pytest.mark.parametrize("save_freq", KILLS)
def test_training_killed_repeatedly_ends_with_the_uninterrupted_result(
    tmp_path, uninterrupted, save_freq
):
    """Twenty kills: five inside a write, five before `os.replace`, ten at random steps."""
    kills, ended = 0, False
    for moment, number in KILLS[save_freq]:
        ended = run(tmp_path, moment, number, save_freq)
        if ended:  # the training finished before that moment, so a new one is started
            result = pickle.loads((tmp_path / "result").read_bytes())
            assert same(result, uninterrupted)
            assert not list((tmp_path / "backup").iterdir())
            (tmp_path / "result").unlink()
            ended = run(tmp_path, moment, 1, save_freq)
        kills += not ended
    assert kills == len(KILLS[save_freq])
    assert run(tmp_path, "never", 0, save_freq)
    assert same(pickle.loads((tmp_path / "result").read_bytes()), uninterrupted)
    assert not list((tmp_path / "backup").iterdir())  # no backup and no draft is left


# Failures within one process, on every backend

X = np.random.default_rng(2).normal(size=(50, 3)).astype("float32")
Y = np.eye(2)[(X.sum(axis=1) > 0).astype(int)]


class Fails(Callback):
    """A callback that raises after the given number of batches."""

    def __init__(self, after):
        super().__init__()
        self.after = after

    def on_train_batch_end(self, batch, logs=None):
        self.after -= 1
        if self.after == 0:
            raise RuntimeError("power failure")


class Watches(Callback):
    kept = ("seen",)

    def on_train_begin(self, logs=None):
        self.seen = []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append({"epoch": epoch, "weight": self.model.get_weights()[0]})


def training(
    folder, *others, epochs=5, save_freq="epoch", seed=3, optimizer="adam", metrics=("acc",),
    loss=ONE_HOT, activation="tanh", rate=0.2, y=None, **options,
):  # fmt: skip
    tinynet.utils.set_random_seed(seed)
    tinynet.utils.clear_session()  # so that layers are named as in a new process
    compiled = {"loss": loss, "optimizer": optimizer, "metrics": list(metrics)}
    model = network((4, activation), Dropout(rate), (2, "softmax"), inputs=(3,), **compiled)
    callbacks = [BackupAndRestore(folder, save_freq), *others]
    options = {"batch_size": 8, "verbose": 0, "epochs": epochs, "callbacks": callbacks, **options}

    def go():
        history = model.fit(X, Y if y is None else y, **options)
        slots = [[backend.to_numpy(a) for a in s] for s in model.optimizer.get_state()["state"]]
        return model.get_weights(), slots, dict(history.history), history.epoch

    return go


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize("save_freq", ["epoch", 1, 5])
@pytest.mark.parametrize("steps", [None, 4, 3])
def test_failed_training_is_resumed_in_another_model(tmp_path, save_freq, steps):
    """Epochs may also be shorter than a pass over the data, which then spans several epochs."""
    options = {"save_freq": save_freq, "steps_per_epoch": steps}
    whole = training(tmp_path / "a", Watches(), Fails(-1), **options)()
    watches = Watches()
    for after in (6, 2, 4):
        with pytest.raises(RuntimeError, match="power"):
            training(tmp_path / "b", Watches(), Fails(after), **options)()
    again = training(tmp_path / "b", watches, Fails(-1), **options)()
    assert same(again, whole)
    assert [seen["epoch"] for seen in watches.seen] == [0, 1, 2, 3, 4]


@pytest.mark.host
def test_finished_training_can_be_continued_with_more_epochs(tmp_path):
    keep = {"delete_checkpoint": False}

    def with_backup(folder, epochs):
        saves = BackupAndRestore(folder, **keep)
        return training(tmp_path / "unused", epochs=epochs, callbacks=[saves])()

    whole = with_backup(tmp_path / "a", 6)
    part = with_backup(tmp_path / "b", 2)
    assert len(part[3]) == 2
    assert same(with_backup(tmp_path / "b", 2), part)  # no epoch is left to train
    assert same(with_backup(tmp_path / "b", 6), whole)


@pytest.mark.host
def test_the_state_of_callbacks_is_restored(tmp_path):
    """The largest loss, which this checkpoint saves, comes before the failure."""

    def watching():
        path = tmp_path / "{epoch}-{loss:.3f}.keras"
        best = {"monitor": "loss", "mode": "max", "save_best_only": True}
        return ModelCheckpoint(path, **best), Distributions()

    whole = training(tmp_path / "a", *watching(), Fails(-1))()[2]
    names = sorted(path.name for path in tmp_path.glob("*.keras"))
    assert max(whole["loss"]) == max(whole["loss"][:2])
    for path in tmp_path.glob("*.keras"):
        path.unlink()

    with pytest.raises(RuntimeError):
        training(tmp_path / "b", *watching(), Fails(20))()
    checkpoint, sizes = watching()
    history = training(tmp_path / "b", checkpoint, sizes, Fails(-1))()[2]
    assert sizes.epochs == [1, 2, 3, 4, 5]
    assert len(sizes.weights["dense"]) == 5
    assert checkpoint.best == max(history["loss"])
    assert sorted(path.name for path in tmp_path.glob("*.keras")) == names


@pytest.mark.host
def test_training_that_was_stopped_early_is_not_continued(tmp_path):
    """The training is killed after its last epoch, but before the backup is removed."""

    class Ends(Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 2

    class FailsInOnTrainEnd(Fails):
        def on_train_end(self, logs=None):
            raise RuntimeError("power failure")

    FailsInOnTrainEnd.__name__ = "Fails"  # so that the callbacks are the same as before
    whole = training(tmp_path / "a", Ends(), Fails(-1))()
    with pytest.raises(RuntimeError):
        training(tmp_path / "b", Ends(), FailsInOnTrainEnd(-1))()
    again = training(tmp_path / "b", Ends(), Fails(-1))()
    assert same(again, whole)
    assert again[3] == [0, 1, 2]


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


@pytest.mark.host
def test_resuming_reports_the_epoch_and_the_file(tmp_path, capsys):
    with pytest.raises(RuntimeError):
        training(tmp_path, Fails(20))()
    training(tmp_path, Fails(-1), verbose=2)()
    assert f"Resuming after epoch 2, from {tmp_path / 'backup.zip'}." in capsys.readouterr().out


@pytest.mark.host
def test_a_backup_of_another_training_is_refused_with_the_differences(tmp_path):
    with pytest.raises(RuntimeError):
        training(tmp_path, Fails(20))()
    before = (tmp_path / "backup.zip").read_bytes()
    for change, words in (
        ({"batch_size": 4}, "batch_size was '8' and is '4'"),
        ({"shuffle": False}, "shuffle was 'True' and is 'False'"),
        ({"optimizer": "sgd"}, "optimizer was 'Adam' and is 'SGD'"),
        (
            {"optimizer": tinynet.optimizers.Adam(0.5)},
            "learning rate was 0.001.* and is 0.5",
        ),
        ({"validation_split": 0.5}, r"data was '\(50, 3\) .* and is '\(25, 3\)"),
    ):
        with pytest.raises(ValueError, match=rf"of another run: .*{words}.*delete it"):
            training(tmp_path, Fails(-1), **change)()
    for change, words in (
        ({"loss": "mse"}, "loss was 'categorical_crossentropy' and is 'mse'"),
        ({"metrics": ["mse"]}, "metrics was"),
        ({"activation": "relu"}, "layer 1 was"),
        ({"rate": 0.5}, "layer 2 was"),
        ({"y": 1 - Y}, "data was"),
    ):
        with pytest.raises(ValueError, match=rf"of another run: .*{words}"):
            training(tmp_path, Fails(-1), **change)()
    with pytest.raises(ValueError, match=r"callbacks was .*Fails"):
        training(tmp_path)()
    assert (tmp_path / "backup.zip").read_bytes() == before


@pytest.mark.host
def test_the_order_of_configurations_in_a_backup_does_not_matter(tmp_path):
    """Other versions may use another order; 0.1.0 wrote a layer's own arguments elsewhere."""
    whole = training(tmp_path / "a", Fails(-1))()
    with pytest.raises(RuntimeError):
        training(tmp_path / "b", Fails(20))()
    path = tmp_path / "b" / "backup.zip"
    state = backup.read(path)
    kind, settings = ast.literal_eval(state["what"]["layer 1"])
    turned = str([kind, dict(reversed(settings.items()))])
    assert turned != state["what"]["layer 1"]
    state["what"]["layer 1"] = turned
    backup.write(path, state)
    assert same(training(tmp_path / "b", Fails(-1))(), whole)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("{'a': 1, 'b': [2]}", "{'b': [2], 'a': 1}"),
        ("{'a': np.float64(0.1), 'b': inf}", "{'b': inf, 'a': np.float64(0.1)}"),
        ("adam", "adam"),
    ],
)
def test_the_meaning_of_a_configuration_does_not_depend_on_its_order(one, other):
    assert training_state.parse_setting(one) == training_state.parse_setting(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("{'a': 1, 'b': 2}", "{'a': 2, 'b': 1}"),
        ("{'a': nan, 'b': 2}", "{'a': 2, 'b': nan}"),
        ("{'k': {'c': 'Zeros'}, 'b': {'c': 'Ones'}}", "{'k': {'c': 'Ones'}, 'b': {'c': 'Zeros'}}"),
        ("adam", "sgd"),
        ("-" * 100_000 + "1", "1"),
        ("-" * 3000 + "1", "1"),
    ],
    ids=range(6),
)
def test_the_meaning_of_a_configuration_depends_on_all_its_values(one, other):
    assert training_state.parse_setting(one) != training_state.parse_setting(other)


@pytest.mark.host
def test_a_damaged_backup_is_refused_and_nothing_is_changed(tmp_path):
    with pytest.raises(RuntimeError):
        training(tmp_path, Fails(20))()
    path = tmp_path / "backup.zip"
    good = path.read_bytes()
    rng = np.random.default_rng(4)
    refused = 0
    for trial in range(300):
        bad = bytearray(good[: rng.integers(len(good))] if trial % 5 == 0 else good)
        for place in rng.integers(0, max(1, len(bad)), 3):
            if bad:
                bad[place] ^= 1 << rng.integers(8)
        path.write_bytes(bad)
        try:
            state = backup.read(path)
        except ValueError:
            refused += 1
        else:  # the damage is in a date or another part that is not read
            assert same(state, _read(good, tmp_path))
    assert refused > 250
    path.write_bytes(good[:-1])
    tinynet.utils.set_random_seed(3)
    model = network((2, "softmax"), inputs=(3,), loss=ONE_HOT)
    weights = model.get_weights()
    generator = backend.generator().bit_generator.state
    with pytest.raises(ValueError, match=r"backup.zip.*To start over, delete it"):
        model.fit(X, Y, verbose=0, callbacks=[BackupAndRestore(tmp_path)])
    assert_array_equal(model.get_weights()[0], weights[0])
    assert backend.generator().bit_generator.state == generator


def _read(content, folder):
    path = folder / "good.zip"
    path.write_bytes(content)
    return backup.read(path)


HOSTILE = {
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
@pytest.mark.parametrize("kind", HOSTILE)
def test_an_undamaged_backup_with_invalid_content_is_refused(tmp_path, kind):
    with pytest.raises(RuntimeError):
        training(tmp_path, Fails(20))()
    state = backup.read(tmp_path / "backup.zip")
    HOSTILE[kind](state)
    backup.write(tmp_path / "backup.zip", state)
    go = training(tmp_path, Fails(-1))
    generator = backend.generator().bit_generator.state
    with pytest.raises(ValueError, match=r"Expected a backup of this training run, received .*: "):
        go()
    assert backend.generator().bit_generator.state == generator


@pytest.mark.host
def test_invalid_arrays_in_a_backup_are_refused(tmp_path):
    path = tmp_path / "backup.zip"
    for array in (["<f8", [10**12]], ["|O", [1]], ["<f8", [-1]], ["<f8", [2**62, 4]], ["x", [1]]):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("state.json", json.dumps({"weights": {"__array__": array}}))
            archive.writestr("arrays", bytes(8))
        with pytest.raises(ValueError, match="Expected a whole file"):
            backup.read(path)


@pytest.mark.host
@pytest.mark.parametrize(
    "value", [{1: 2}, {1, 2}, object(), [b"bytes"], np.array(["a"]), {"__array__": 1}]
)
def test_callback_state_of_an_unsupported_type_is_refused(tmp_path, value):
    class Keeps(Callback):
        kept = ("value",)

        def on_epoch_end(self, epoch, logs=None):
            self.value = value

    with pytest.raises(ValueError, match=r"received .* as state\['callbacks'\]\[0\]\['val"):
        training(tmp_path, Keeps())()
    assert not (tmp_path / "backup.zip").exists()


@pytest.mark.host
def test_a_missing_attribute_in_kept_is_named(tmp_path):
    class Keeps(Callback):
        kept = ("valeu",)

    with pytest.raises(ValueError, match=r"Expected Keeps to have .* no valeu. Write: self.v"):
        training(tmp_path, Keeps())()


class Stops(Callback):
    """A callback that stops training in the middle of the second epoch."""

    kept = ("seen",)

    def on_train_begin(self, logs=None):
        self.seen = 0

    def on_train_batch_end(self, batch, logs=None):
        self.seen += 1
        if self.seen == 10:
            self.model.stop_training = True


class Halves(Callback):
    """A callback that halves the learning rate at the beginning of each epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        self.model.optimizer.learning_rate = self.model.optimizer.learning_rate / 2


class Collects(tinynet.Metric):
    """A metric that is not a sum: the median of all values."""

    def reset_state(self):
        self.values = []

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.values += np.ravel(backend.to_numpy(y_pred)).tolist()

    def result(self):
        return float(np.median(self.values)) if self.values else 0.0


class Warms(tinynet.optimizers.Adam):
    """An optimizer with a state of its own: a factor by which its steps grow."""

    kept = ("warmth",)
    warmth = 0.5

    def prepare(self, iteration):
        super().prepare(iteration)
        self.warmth = min(1.0, self.warmth * 1.02)
        self._alpha *= self.warmth


@pytest.mark.parametrize("after", [5, 9, 10, 12])
@pytest.mark.parametrize(
    "given",
    [{"others": [Stops]}, {"others": [Halves]}, {"metrics": [Collects]}, {"optimizer": Warms}],
    ids=["stops", "halves", "collects", "warms"],
)
def test_resuming_within_an_epoch_repeats_and_omits_nothing(tmp_path, given, after):
    """An epoch has 7 steps, with a backup after 3 and 6, and is killed later."""
    tinynet.utils.set_random_seed(3)

    def once(folder, fails):
        others = [make() for make in given.get("others", ())]
        optimizer = given.get("optimizer", tinynet.optimizers.Adam)()
        metrics = [make() for make in given.get("metrics", ())]
        options = {"optimizer": optimizer, "save_freq": 3, "metrics": metrics}
        return training(folder, *others, Fails(fails), **options)

    whole = once(tmp_path / "a", -1)()
    try:
        once(tmp_path / "b", after)()
    except RuntimeError:
        again = once(tmp_path / "b", -1)()
        assert same(again, whole)
    else:
        assert after > 10  # `Stops` had ended the training before
        assert "others" in given


def test_training_stopped_within_an_epoch_and_then_killed_is_not_continued(tmp_path):
    whole = training(tmp_path / "a", Stops(), Fails(-1), save_freq=1)()

    class KilledInValidation(Fails):
        def on_test_begin(self, logs=None):
            if self.model.stop_training:
                raise RuntimeError("power failure")

    given = {"validation_data": (X, Y), "save_freq": 1}
    whole = training(tmp_path / "c", Stops(), Fails(-1), **given)()
    KilledInValidation.__name__ = "Fails"  # so that the callbacks are the same as before
    with pytest.raises(RuntimeError):
        training(tmp_path / "b", Stops(), KilledInValidation(-1), **given)()
    again = training(tmp_path / "b", Stops(), Fails(-1), **given)()
    assert same(again, whole)
    assert again[3] == [0, 1]


@pytest.mark.host
def test_wrong_arguments_are_refused(tmp_path):
    for arguments in ({"backup_dir": 3}, {"backup_dir": ""}):
        with pytest.raises(ValueError, match=r'Write: BackupAndRestore\("backup"\)'):
            BackupAndRestore(**arguments)
    with pytest.raises(ValueError, match="save_freq to be 'epoch' or a number of batches"):
        BackupAndRestore(tmp_path, save_freq=0)
    with pytest.raises(ValueError, match="double_checkpoint"):
        BackupAndRestore(tmp_path, double_checkpoint=True)


# Ctrl-C


class PressCtrlC(Callback):
    """A callback that simulates Ctrl-C, once or more, at a moment of the second epoch."""

    def __init__(self, moment, times=1):
        super().__init__()
        self.moment, self.times, self.batches = moment, times, 0

    def _press(self):
        for _ in range(self.times):
            signal.raise_signal(signal.SIGINT)

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch == 1

    def on_train_batch_begin(self, batch, logs=None):
        if self.now and self.moment == "step" and batch == 2:
            self._press()

    def on_train_batch_end(self, batch, logs=None):
        self.batches += 1

    def on_test_batch_begin(self, batch, logs=None):
        if self.now and self.moment == "validation":
            self._press()

    def on_epoch_end(self, epoch, logs=None):
        if self.now and self.moment == "end":
            self._press()


@pytest.mark.parametrize(
    ("moment", "steps", "epochs"), [("step", 3, 1), ("validation", 7, 1), ("end", 0, 2)]
)
def test_ctrl_c_stops_after_a_complete_step_with_the_line_to_resume(
    tmp_path, moment, steps, epochs
):
    whole = [(), ()]
    for n, presses in enumerate((PressCtrlC("never"), PressCtrlC(moment))):
        tinynet.utils.set_random_seed(1)
        model = network((2, "softmax"), inputs=(3,), loss=ONE_HOT)
        kept = []

        class Keeps(Callback):
            def on_train_batch_end(self, batch, logs=None, kept=kept):
                kept.append(self.model.get_weights())

        given = {"batch_size": 8, "verbose": 0, "validation_data": (X, Y), "epochs": 4}
        given["callbacks"] = [Keeps(), presses]
        whole[n] = kept
        if not n:
            model.fit(X, Y, **given)
            continue
        words = rf"epoch {epochs + 1} of 4, after step {steps} of 7\..* initial_epoch={epochs}\)"
        with pytest.raises(KeyboardInterrupt, match=words):
            model.fit(X, Y, **given)
    done = 7 * epochs + steps
    assert len(whole[1]) == done
    for one, other in zip(model.get_weights(), whole[0][done - 1], strict=True):
        assert_array_equal(one, other)
    assert model.optimizer.iterations == done
    assert len(model.history.history["val_loss"]) == epochs
    assert model.history.epoch == list(range(epochs))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    given |= {"initial_epoch": epochs, "callbacks": []}
    assert model.fit(X, Y, **given).epoch == list(range(epochs, 4))


def test_training_restarted_after_ctrl_c_ends_with_the_same_result(tmp_path):
    whole = training(tmp_path / "a", PressCtrlC("never"))()
    with pytest.raises(KeyboardInterrupt, match="To resume, run the same program again"):
        training(tmp_path / "b", PressCtrlC("step"))()
    assert same(training(tmp_path / "b", PressCtrlC("never"))(), whole)


@pytest.mark.host
def test_the_message_of_ctrl_c_fits_the_moment(tmp_path):
    class Now(Callback):
        """A callback that simulates Ctrl-C at a moment of an epoch."""

        def __init__(self, moment, epoch):
            super().__init__()
            self.moment, self.epoch = moment, epoch

        def on_epoch_begin(self, epoch, logs=None):
            self.now = epoch

        def on_train_batch_end(self, batch, logs=None):
            if self.moment == "batch" and self.now == self.epoch:
                signal.raise_signal(signal.SIGINT)

        def on_epoch_end(self, epoch, logs=None):
            if self.moment == "end" and epoch == self.epoch:
                signal.raise_signal(signal.SIGINT)

        def on_train_end(self, logs=None):
            if self.moment == "all":
                signal.raise_signal(signal.SIGINT)

    for moment, epoch, options, words in (
        # In the first epoch there is no backup yet.
        ("batch", 0, {}, r"after step 1 of 7\..*has 0 complete epochs.*initial_epoch=0\)"),
        ("batch", 1, {}, r"has 1 complete epoch\. .*run the same .* continues from the backup"),
        ("end", 4, {}, "Stopped after training was complete. model.history has 5 complete epochs."),
        ("all", 0, {}, "Stopped after training was complete"),
        ("batch", 3, {"initial_epoch": 2}, "Stopped in epoch 4 of 5.*has 1 complete epoch"),
    ):
        folder = tmp_path / f"{moment}{epoch}"
        with pytest.raises(KeyboardInterrupt, match=words):
            training(folder, Now(moment, epoch), **options)()
    # A user-defined signal handler may raise anywhere.
    before = signal.signal(signal.SIGINT, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    try:
        with pytest.raises(KeyboardInterrupt, match="possibly in the middle of the next step"):
            training(tmp_path / "own", Now("batch", 1))()
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.host
def test_training_can_be_resumed_after_ctrl_c_if_the_learning_rate_changed(tmp_path):
    whole = training(tmp_path / "a", Halves(), PressCtrlC("never"))()
    presses = PressCtrlC("step")
    go = training(tmp_path / "b", Halves(), presses)
    with pytest.raises(KeyboardInterrupt, match="run the same program again"):
        go()
    presses.moment = "never"
    assert same(go(), whole)  # the same `fit` call, in the same process


@pytest.mark.host
def test_ctrl_c_in_a_nested_fit_stops_the_outer_fit(tmp_path):
    steps = []

    class Inner(Callback):
        def on_train_batch_end(self, batch, logs=None):
            steps.append(batch)
            signal.raise_signal(signal.SIGINT)

    class Outer(Callback):
        def on_epoch_end(self, epoch, logs=None):
            training(tmp_path / "inner", Inner())()

    with pytest.raises(KeyboardInterrupt, match="Stopped in epoch 2 of 5, after step 0"):
        training(tmp_path / "outer", Outer())()
    assert steps == [0]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.host
def test_ctrl_c_twice_stops_immediately(tmp_path):
    presses = PressCtrlC("step", times=2)
    with pytest.raises(KeyboardInterrupt, match="after step 2 of 7 and possibly in the mid"):
        training(tmp_path, presses)()
    assert presses.batches == 9
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.host
def test_other_signal_handlers_and_threads_are_not_affected(tmp_path):
    heard = []
    before = signal.signal(signal.SIGINT, lambda *_: heard.append(1))
    try:
        training(tmp_path, PressCtrlC("step"))()
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == [1]
    results = []
    go = training(tmp_path)
    thread = threading.Thread(target=lambda: results.append(go()))
    thread.start()
    thread.join()
    assert len(results[0][3]) == 5


@pytest.mark.host
def test_ctrl_c_in_on_train_end_raises(tmp_path):
    class Last(Callback):
        def on_train_end(self, logs=None):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        training(tmp_path, Last())()


@pytest.mark.host
@pytest.mark.skipif(os.name != "posix", reason="Windows sends Ctrl-C to a whole console")
def test_ctrl_c_in_a_program_ends_with_the_line_to_resume(tmp_path):
    program = (
        "import numpy as np, tinynet\n"
        "model = tinynet.Sequential([tinynet.Input((3,)), tinynet.layers.Dense(2, 'softmax')])\n"
        "model.compile('adam', 'categorical_crossentropy')\n"
        "print('ready', flush=True)\n"
        "model.fit(np.ones((64, 3)), np.ones((64, 2)), epochs=1_000_000, verbose=0)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "ready\n"
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.7)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    last = said.strip().splitlines()[-1]
    assert last.startswith("KeyboardInterrupt: Stopped in epoch ")
    assert "To resume, write: model.fit(…, epochs=1000000, initial_epoch=" in last
