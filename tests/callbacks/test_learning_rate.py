"""Callbacks that change the learning rate, compared with Keras, and resumed from a backup."""

import inspect
import types
import warnings

import numpy as np
import pytest
from interrupted import at, fail, training
from networks import ONE_HOT, network as network_of, samples
from oracle import agree, both, refused, renewed, same

import tinynet
from tinynet.callbacks import LambdaCallback, LearningRateScheduler, ReduceLROnPlateau

pytestmark = pytest.mark.computes

RNG = np.random.default_rng(4)
X, _, Y = samples(RNG, 20, (3,), 2)
START = [RNG.normal(size=(3, 2)).astype("float32"), np.zeros(2, "float32")]
FIT = {"batch_size": 5, "verbose": 0, "shuffle": False, "validation_data": (X[:9], Y[:9])}


def network(library=tinynet):
    given = {"inputs": (3,), "weights": START, "loss": ONE_HOT, "metrics": ["acc"]}
    return network_of((2, "softmax"), library=library, optimizer="sgd", **given)


@pytest.fixture(scope="module")
def compiled(keras):
    return network(keras)


@pytest.fixture
def train(keras, compiled, capsys):
    """Return a function that trains the same model in a library; it returns all results."""

    def fit(library, callback, rate=0.5, epochs=8):
        model = renewed(compiled, START) if library is keras else network(library)
        model.optimizer.learning_rate = rate
        history = model.fit(X[9:], Y[9:], epochs=epochs, callbacks=[callback], **FIT)
        said = [line for line in capsys.readouterr().out.splitlines() if line]
        return history, said, float(model.optimizer.learning_rate), model.get_weights()

    return fit


def run_epochs(library, callback, values, rate=0.1):
    """Run a callback on epochs with these values, None for a missing one, and return its states."""
    optimizer, seen = library.optimizers.SGD(rate), []
    callback.set_model(types.SimpleNamespace(optimizer=optimizer))
    callback.on_train_begin()
    for epoch, value in enumerate(values):
        logs = {"loss": 1.5} if value is None else {"loss": 1.5, "val_loss": value}
        callback.on_epoch_begin(epoch, {})
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            callback.on_epoch_end(epoch, logs)
        state = [getattr(callback, name, 0) for name in ("wait", "cooldown_counter", "best")]
        count = sum(one.category is UserWarning for one in said)
        seen.append([count, *state, logs, float(optimizer.learning_rate)])
    return seen


# LearningRateScheduler

SCHEDULES = {
    "of the rate": lambda epoch, lr: lr * 0.7 if epoch > 1 else lr,
    "of the epoch alone": lambda epoch: 0.3 / (epoch + 1),
    "with a default": lambda epoch, lr=0.1: lr / 2,
    "with a keyword": lambda epoch, *, base=0.4: base**epoch,
    "of any arguments": lambda *given: 0.1 * given[1] + 0.01 * len(given),
    "without a signature": [0.4, 0.3, 0.2, 0.1, 0.05, 0.04, 0.03, 0.02].__getitem__,
    "float32": lambda epoch, lr: np.float32(lr) * np.float32(0.9),
    "float64": lambda epoch, lr: np.float64(0.1) / (epoch + 3),
    "zero at last": lambda epoch, lr: 0.1 * (epoch < 4),
}


@pytest.mark.host
@pytest.mark.parametrize("verbose", [0, 1])
@pytest.mark.parametrize("kind", SCHEDULES)
def test_a_schedule_sets_the_rate_and_prints_as_in_keras(keras, capsys, kind, verbose):
    def program(library):
        follows = library.callbacks.LearningRateScheduler(SCHEDULES[kind], verbose)
        return run_epochs(library, follows, [1, 2, 3, 4, 5, 6]), capsys.readouterr().out

    seen, said = same(keras, program)
    assert len({logs["learning_rate"] for *_, logs, _ in seen}) > 1
    assert said.count("\n") == 12 * verbose


def test_a_schedule_trains_as_in_keras(keras, train):
    def program(library):
        given = SCHEDULES["of the rate"], 1
        return train(library, library.callbacks.LearningRateScheduler(*given))

    theirs, ours = both(keras, program)
    agree(theirs[0], ours[0], rtol=1e-6, atol=1e-6)
    agree(theirs[1:], ours[1:], rtol=1e-6, atol=1e-6)
    assert list(ours[0].history)[-1] == "learning_rate"


@pytest.mark.host
@pytest.mark.parametrize("wrong", [1, None, True, "0.1", [0.1], np.array(0.1), np.float16(0.1)])
def test_a_schedule_has_to_return_a_float(keras, wrong):
    def program(library):
        follows = library.callbacks.LearningRateScheduler(lambda epoch, lr: wrong)
        run_epochs(library, follows, [1])

    _, ours = refused(keras, program, "schedule.* float")
    assert "for epoch=0. Write: return float(lr)" in ours


@pytest.mark.host
def test_an_error_inside_a_schedule_is_raised_as_it_is():
    """A TypeError does not mean that the schedule has the epoch alone as its argument."""
    calls = []

    def broken(epoch, lr=None):
        calls.append((epoch, lr))
        return lr + "1"

    model = network()
    with pytest.raises(TypeError, match="unsupported operand"):
        model.fit(X, Y, callbacks=[LearningRateScheduler(broken)], **FIT)
    assert calls == [(0, model.optimizer.learning_rate)]
    assert model.optimizer.iterations == 0


@pytest.mark.host
def test_a_schedule_has_to_be_a_function(keras):
    def program(library):
        run_epochs(library, library.callbacks.LearningRateScheduler(0.1), [1])

    _, ours = refused(keras, program, error=TypeError)
    assert ours.startswith("Expected schedule to be a function, received: 0.1. Write: Learning")


# ReduceLROnPlateau

PLATEAUS = [
    {"patience": 2},
    {"patience": 0},
    {"patience": 1, "verbose": 0},
    {"patience": 1, "factor": 0.5, "cooldown": 2},
    {"patience": 2, "factor": 0.5, "cooldown": 1, "min_delta": 0.15},
    {"patience": 1, "factor": 0.25, "min_lr": 0.01},
    {"patience": 1, "min_lr": 0.2},
    {"patience": 1, "min_lr": 0.1},
    {"patience": 1, "factor": 0, "cooldown": 1},
    {"patience": 1, "mode": "max", "min_delta": -0.5},
    {"monitor": "val_acc", "mode": "max"},
]
COURSES = [
    [3, 2, 1, 2, 3, 4, 5, 5, 5, 5, 5],
    [3, 2.9, 2.8, 2.7, 2.6, 2.5, 2.5, 2.5],
    [1, 1, 1, 1, 1, 1, 1, 0.5, 0.5, 0.5],
    [4, 5, 3, 5, 5, 2, 5, 1, 5, 5, 5],
    [None, 3, None, 3, None, None, 4, 4],
    [1, float("nan"), 0.5, 0.5],
    [float("nan"), 1, 1],
]


@pytest.mark.host
@pytest.mark.parametrize("arguments", PLATEAUS, ids=str)
def test_a_plateau_reduces_the_rate_and_prints_as_in_keras_also_if_used_again(
    keras, capsys, arguments
):
    given = {"verbose": 1, **arguments}
    ours, reduced = ReduceLROnPlateau(**given), 0
    assert not ours.in_cooldown()
    for values in COURSES:
        theirs = keras.callbacks.ReduceLROnPlateau(**given)
        one, other = (
            (run_epochs(lib, callback, values), callback.in_cooldown(), capsys.readouterr().out)
            for lib, callback in ((keras, theirs), (tinynet, ours))
        )
        assert repr(other) == repr(one), values  # as text, in which NaN equals NaN
        reduced += len({rate for *_, rate in other[0]}) - 1
    assert reduced or arguments.get("min_lr", 0) >= 0.1 or "monitor" in arguments


@pytest.mark.parametrize(
    "arguments",
    [
        {"patience": 1, "factor": 0.5, "cooldown": 1, "min_delta": 0.01, "min_lr": 0.1},
        {"monitor": "acc", "patience": 2},
    ],
    ids=str,
)
def test_a_plateau_trains_as_in_keras(keras, train, arguments):
    def program(library):
        given = {"verbose": 1, **arguments}
        return train(library, library.callbacks.ReduceLROnPlateau(**given))

    theirs, ours = both(keras, program)
    agree(theirs, list(ours), rtol=1e-6, atol=1e-6)
    assert ours[1]


@pytest.mark.host
def test_a_rate_in_float64_is_reduced_to_the_least_only_once(capsys):
    tinynet.config.set_floatx("float64")
    run_epochs(tinynet, ReduceLROnPlateau(patience=1, verbose=1, min_lr=0.001), [1] * 9, 0.01)
    assert capsys.readouterr().out.count("reducing learning rate to 0.001.") == 1


@pytest.mark.host
@pytest.mark.parametrize("factor", [1, 1.0, 2, np.float32(1)])
def test_a_factor_of_at_least_one_is_refused_as_in_keras(keras, factor):
    _, ours = refused(keras, lambda lib: lib.callbacks.ReduceLROnPlateau(factor=factor), "factor")
    assert ours.endswith("Write: factor=0.1")


@pytest.mark.host
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"factor": "half"}, "Expected factor to be at least 0 and below 1, received: 'half'"),
        ({"factor": float("nan")}, "Expected factor to be"),
        ({"factor": -0.1}, "Expected factor to be"),
        ({"patience": -1}, "Expected patience to be .* Write: patience=1"),
        ({"cooldown": 0.5}, "Expected cooldown to be .* Write: cooldown=1"),
        ({"min_lr": -1}, "Expected min_lr to be .* Write: min_lr=1e-05"),
        ({"min_delta": "a"}, "Expected min_delta to be"),
        ({"monitor": "f1"}, "ReduceLROnPlateau received monitor='f1'.* Write: mode='max'"),
        ({"mode": "up"}, "Expected mode to be"),
    ],
    ids=str,
)
def test_invalid_arguments_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        ReduceLROnPlateau(**wrong)


@pytest.mark.host
@pytest.mark.parametrize("name", ["LearningRateScheduler", "ReduceLROnPlateau"])
def test_the_arguments_and_their_defaults_are_keras_s(keras, name):
    def program(library):
        parameters = inspect.signature(getattr(library.callbacks, name)).parameters
        return [(one.name, one.default) for one in parameters.values() if one.name != "kwargs"]

    same(keras, program)


@pytest.mark.host
def test_a_subclass_may_use_the_model_at_the_beginning(keras):
    def program(library):
        class Begins(library.callbacks.ReduceLROnPlateau):
            def on_train_begin(self, logs=None):
                super().on_train_begin(logs)
                self.begun_at = float(self.model.optimizer.learning_rate)

        begins = Begins(patience=1)
        return run_epochs(library, begins, [1, 1]), begins.begun_at

    same(keras, program)


# Backups


def changes():
    return [
        LearningRateScheduler(lambda epoch, lr: lr * 0.9),
        ReduceLROnPlateau("val_loss", 0.5, patience=2, min_delta=0.5, cooldown=2),
    ]


@pytest.mark.host
@pytest.mark.parametrize("save_freq", ["epoch", 3])
def test_training_is_resumed_with_the_same_rates(tmp_path, save_freq):
    """It ends in each of the first epochs, also while the plateau waits and in its cooldown."""

    def go(folder, *ends):
        given = {"others": changes(), "save_freq": save_freq, "epochs": 8}
        return training(tmp_path / folder, *ends, validation_split=0.2, **given)()

    whole = go("whole", LambdaCallback())
    steps = whole["history"]["learning_rate"] / np.cumprod([0.9] * 8)
    assert len(set(steps.round(6))) >= 3  # reduced twice or more
    for _ in range(6):  # each goes on 5 steps further, which is an epoch
        with at("on_train_batch_end", 7, fail) as ends, pytest.raises(RuntimeError):
            go("part", ends)
    agree(whole, go("part", LambdaCallback()))
