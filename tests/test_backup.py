"""A training that ends before its end: killed, failed, or by Ctrl-C; and how it goes on."""

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

import tinynet
from tinynet import backend, backup
from tinynet.callbacks import BackupAndRestore, Callback, Distributions, ModelCheckpoint
from tinynet.layers import Dense, Dropout

pytestmark = pytest.mark.computes
PROGRAM = pathlib.Path(interrupted.__file__)


def run(folder, moment, number, save_freq):
    """Start the training as a program of its own; whether it came to its end."""
    frequency = [] if save_freq == "epoch" else [str(save_freq)]
    command = [sys.executable, str(PROGRAM), str(folder), moment, str(number), *frequency]
    process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode == 0:
        return True
    assert process.stderr == ""  # killed, and not failed
    return False


def same(one, other):
    """Whether two results are the same to the last bit."""
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
    # An epoch has 10 steps, so that a random number up to 25 falls into the first three.
    "epoch": [("write", n) for n in (1, 2, 1, 3, 1)]
    + [("flushed", n) for n in (1, 1, 2, 1, 1)]
    + [("step", int(n)) for n in RNG.integers(1, 26, 10)],
    3: [("step", int(n)) for n in RNG.integers(4, 16, 4)] + [("write", 2), ("flushed", 3)],
}


@pytest.mark.host
@pytest.mark.parametrize("save_freq", KILLS)
def test_a_training_killed_again_and_again_ends_as_if_it_had_not_been(
    tmp_path, uninterrupted, save_freq
):
    """Twenty kills: five inside a write, five before `os.replace`, ten at random steps."""
    kills, ended = 0, False
    for moment, number in KILLS[save_freq]:
        ended = run(tmp_path, moment, number, save_freq)
        if ended:  # it came to its end before that moment: that one's training is another
            result = pickle.loads((tmp_path / "result").read_bytes())
            assert same(result, uninterrupted)
            assert not list((tmp_path / "backup").iterdir())
            (tmp_path / "result").unlink()
            ended = run(tmp_path, moment, 1, save_freq)
        kills += not ended
    assert kills == len(KILLS[save_freq])
    assert run(tmp_path, "never", 0, save_freq)
    assert same(pickle.loads((tmp_path / "result").read_bytes()), uninterrupted)
    assert not list((tmp_path / "backup").iterdir())  # neither a backup nor a draft is left


# In one process, on every backend

X = np.random.default_rng(2).normal(size=(50, 3)).astype("float32")
Y = np.eye(2)[(X.sum(axis=1) > 0).astype(int)]


class Fails(Callback):
    """Raises after so many batches."""

    def __init__(self, after):
        super().__init__()
        self.after = after

    def on_train_batch_end(self, batch, logs=None):
        self.after -= 1
        if self.after == 0:
            raise RuntimeError("the power is gone")


class Watches(Callback):
    kept = ("seen",)

    def on_train_begin(self, logs=None):
        self.seen = []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append({"epoch": epoch, "weight": self.model.get_weights()[0]})


def training(folder, *others, epochs=5, save_freq="epoch", seed=3, optimizer="adam", **options):
    tinynet.utils.set_random_seed(seed)
    tinynet.utils.clear_session()  # another process would have the same names
    model = tinynet.Sequential([tinynet.Input((3,)), Dense(4, "tanh"), Dropout(0.2)])
    model.add(Dense(2, "softmax"))
    model.compile(optimizer, "categorical_crossentropy", metrics=["acc"])
    callbacks = [BackupAndRestore(folder, save_freq), *others]
    options = {"batch_size": 8, "verbose": 0, "epochs": epochs, "callbacks": callbacks, **options}

    def go():
        history = model.fit(X, Y, **options)
        slots = [[backend.to_numpy(a) for a in s] for s in model.optimizer.get_state()["state"]]
        return model.get_weights(), slots, dict(history.history), history.epoch

    return go


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize("save_freq", ["epoch", 1, 5])
@pytest.mark.parametrize("steps", [None, 4, 3])
def test_a_training_that_failed_goes_on_in_another_model(tmp_path, save_freq, steps):
    """Also where epochs are shorter than a pass, and a pass goes on through several."""
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
def test_more_epochs_go_on_where_fewer_ended(tmp_path):
    keep = {"delete_checkpoint": False}

    def with_backup(folder, epochs):
        saves = BackupAndRestore(folder, **keep)
        return training(tmp_path / "unused", epochs=epochs, callbacks=[saves])()

    whole = with_backup(tmp_path / "a", 6)
    part = with_backup(tmp_path / "b", 2)
    assert len(part[3]) == 2
    assert same(with_backup(tmp_path / "b", 2), part)  # nothing is left to do
    assert same(with_backup(tmp_path / "b", 6), whole)


@pytest.mark.host
def test_what_callbacks_remember_is_kept(tmp_path):
    saves = ModelCheckpoint(tmp_path / "best.keras", monitor="loss", save_best_only=True)
    sizes = Distributions()
    with pytest.raises(RuntimeError):
        training(tmp_path / "b", saves, sizes, Fails(20))()
    twin = ModelCheckpoint(tmp_path / "best.keras", monitor="loss", save_best_only=True)
    more = Distributions()
    training(tmp_path / "b", twin, more, Fails(-1))()
    assert more.epochs == [1, 2, 3, 4, 5]
    assert len(more.weights["dense"]) == 5
    assert twin.best <= saves.best


@pytest.mark.host
def test_it_says_where_it_goes_on(tmp_path, capsys):
    with pytest.raises(RuntimeError):
        training(tmp_path, Fails(20))()
    training(tmp_path, Fails(-1), verbose=2)()
    assert f"Going on after epoch 2, from {tmp_path / 'backup.zip'}." in capsys.readouterr().out


@pytest.mark.host
def test_a_backup_of_another_training_is_refused_with_what_differs(tmp_path):
    with pytest.raises(RuntimeError):
        training(tmp_path, Fails(20))()
    before = (tmp_path / "backup.zip").read_bytes()
    for change, words in (
        ({"batch_size": 4}, "batch_size was '8' and is '4'"),
        ({"shuffle": False}, "shuffle was 'True' and is 'False'"),
        ({"optimizer": "sgd"}, "optimizer was 'Adam' and is 'SGD'"),
        (
            {"optimizer": tinynet.optimizers.Adam(0.5)},
            "optimizer's learning_rate was '0.001.*' and is '0.5'",
        ),
        ({"validation_split": 0.5}, r"x was '\(50, 3\)' and is '\(25, 3\)'"),
    ):
        with pytest.raises(ValueError, match=rf"of another training: .*{words}.*delete it"):
            training(tmp_path, Fails(-1), **change)()
    with pytest.raises(ValueError, match=r"callbacks was .*Fails"):
        training(tmp_path)()
    assert (tmp_path / "backup.zip").read_bytes() == before


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
        else:  # a date, or the like
            assert same(state, _read(good, tmp_path))
    assert refused > 250
    path.write_bytes(good[:-1])
    tinynet.utils.set_random_seed(3)
    model = tinynet.Sequential([tinynet.Input((3,)), Dense(2, "softmax")])
    model.compile("adam", "categorical_crossentropy")
    weights = model.get_weights()
    generator = backend.generator().bit_generator.state
    with pytest.raises(ValueError, match=r"backup.zip.*To begin anew, delete it"):
        model.fit(X, Y, verbose=0, callbacks=[BackupAndRestore(tmp_path)])
    assert_array_equal(model.get_weights()[0], weights[0])
    assert backend.generator().bit_generator.state == generator


def _read(content, folder):
    path = folder / "good.zip"
    path.write_bytes(content)
    return backup.read(path)


@pytest.mark.host
@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.update(weights=[np.zeros(3)]),
        lambda state: state.update(epoch="three"),
        lambda state: state.pop("generator"),
        lambda state: state.update(generator={"bit_generator": "os.system"}),
        lambda state: state.update(slots=[[np.zeros(3), np.zeros(3)]]),
        lambda state: state.update(callbacks=[]),
        lambda state: state.update(passes=None),
        lambda state: state.update(counters=[[1]]),
    ],
)
def test_a_backup_that_is_whole_and_wrong_is_refused_too(tmp_path, change):
    with pytest.raises(RuntimeError):
        training(tmp_path, Fails(20))()
    state = backup.read(tmp_path / "backup.zip")
    change(state)
    backup.write(tmp_path / "backup.zip", state)
    go = training(tmp_path, Fails(-1))
    generator = backend.generator().bit_generator.state
    with pytest.raises(ValueError, match="Expected a backup of this training, received"):
        go()
    assert backend.generator().bit_generator.state == generator


@pytest.mark.host
def test_a_backup_is_data_and_takes_no_more_memory_than_it_has_bytes(tmp_path):
    path = tmp_path / "backup.zip"
    for array in (["<f8", [10**12]], ["|O", [1]], ["<f8", [-1]], ["<f8", [2**62, 4]], ["x", [1]]):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("state.json", json.dumps({"weights": {"__array__": array}}))
            archive.writestr("arrays", bytes(8))
        with pytest.raises(ValueError, match="Expected a whole file"):
            backup.read(path)


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


class PressesCtrlC(Callback):
    """Presses Ctrl-C, some times, at a moment of the second epoch."""

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
def test_ctrl_c_ends_at_a_whole_step_and_says_how_to_go_on(tmp_path, moment, steps, epochs):
    whole = [(), ()]
    for n, presses in enumerate((PressesCtrlC("never"), PressesCtrlC(moment))):
        tinynet.utils.set_random_seed(1)
        model = tinynet.Sequential([tinynet.Input((3,)), Dense(2, "softmax")])
        model.compile("adam", "categorical_crossentropy")
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
        words = rf"epoch {epochs + 1} of 4, after step {steps} of 7.*initial_epoch={epochs}\)"
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


def test_ctrl_c_and_started_again_is_as_if_nothing_had_happened(tmp_path):
    whole = training(tmp_path / "a", PressesCtrlC("never"))()
    with pytest.raises(KeyboardInterrupt, match="Run the same again: it goes on from the backup"):
        training(tmp_path / "b", PressesCtrlC("step"))()
    assert same(training(tmp_path / "b", PressesCtrlC("never"))(), whole)


@pytest.mark.host
def test_ctrl_c_twice_ends_it_wherever_that_is(tmp_path):
    presses = PressesCtrlC("step", times=2)
    with pytest.raises(KeyboardInterrupt, match="not at a whole step, as Ctrl-C came twice"):
        training(tmp_path, presses)()
    assert presses.batches == 9
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.host
def test_another_handler_and_another_thread_are_left_alone(tmp_path):
    heard = []
    before = signal.signal(signal.SIGINT, lambda *_: heard.append(1))
    try:
        training(tmp_path, PressesCtrlC("step"))()
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
def test_ctrl_c_in_the_last_callback_is_heard(tmp_path):
    class Last(Callback):
        def on_train_end(self, logs=None):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        training(tmp_path, Last())()


@pytest.mark.host
@pytest.mark.skipif(os.name != "posix", reason="Windows sends Ctrl-C to a whole console")
def test_ctrl_c_in_a_program_ends_with_the_words(tmp_path):
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
    assert "To go on, write: model.fit(…, epochs=1000000, initial_epoch=" in last
