"""Training that ends early, at a given moment; `test_backup` runs it, here or as a program.

    python interrupted.py FOLDER LIBRARY RUN SAVE_FREQ MOMENT NUMBER

trains with a backup in FOLDER, on the backend LIBRARY. RUN is a key of `RUNS`; MOMENT and NUMBER
are those of `at`, and there the process is killed. If training ends before, the program writes its
result to the standard output.
"""

import itertools
import os
import pathlib
import pickle
import signal
import sys
from contextlib import contextmanager, nullcontext
from unittest import mock

import numpy as np
import standin
from arrays import look
from networks import ONE_HOT, network

import tinynet
from tinynet import backend, callbacks
from tinynet.callbacks import Callback, LambdaCallback
from tinynet.layers import Dropout

X = np.random.default_rng(2).normal(size=(50, 3)).astype("float32")
Y = np.eye(2)[(X.sum(axis=1) > 0).astype(int)]


def fail():
    raise RuntimeError("power failure")


def press_ctrl_c():
    signal.raise_signal(signal.SIGINT)


def die():
    """Kill the process at once: nothing is flushed or closed, and no handler runs."""
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


@contextmanager
def at(moment, number, end):
    """Call `end` when `moment` comes for the `number`-th time in a ``with`` block.

    A moment is the method of a callback, which is returned for `fit`, or one in writing a file:
    "fsync" (it is written, but not flushed to the disk) or "replace" (but not moved into place).
    """
    count = itertools.count(1)

    def now(*_):
        if next(count) == number:
            end()
        return mock.DEFAULT  # so that a wrapped function is called

    if moment.startswith("on_"):
        yield LambdaCallback(**{moment: now})
    else:
        with mock.patch.object(os, moment, wraps=getattr(os, moment), side_effect=now):
            yield LambdaCallback()


class Watches(Callback):
    """A callback with a state of its own, which starts anew in every training run."""

    kept = ("seen",)

    def __init__(self, last=None):  # how much it has seen when it stops training
        self.last = last

    def on_train_begin(self, logs=None):
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(batch)
        self.model.stop_training |= len(self.seen) == self.last

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append({"epoch": epoch, "weight": self.model.get_weights()[0]})


class Halves(Callback):
    """A callback that halves the learning rate at the beginning of each epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        self.model.optimizer.learning_rate = self.model.optimizer.learning_rate / 2


class Collects(tinynet.Metric):
    """A metric that is not a sum: the median of all values."""

    def reset_state(self):
        self.values = []

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.values += np.ravel(look(y_pred)).tolist()

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


# The largest loss, which is saved, is that of an early epoch.
LARGEST = {"monitor": "loss", "mode": "max", "save_best_only": True}
RUNS = {  # arguments of `training`, as functions of its folder
    "plain": lambda folder: {},
    "epochs of 4 steps of 7": lambda folder: {"steps_per_epoch": 4},
    "callbacks with a state": lambda folder: {
        "others": [
            callbacks.ModelCheckpoint(folder / "{epoch}-{loss:.3f}.keras", **LARGEST),
            callbacks.Distributions(),
            Watches(),
        ]
    },
    "early stopping": lambda folder: {
        "others": [callbacks.EarlyStopping("val_loss", 0.05, 2, 0, "min", None, True, 3)],
        "validation_split": 0.2,
        "epochs": 12,
    },
    # The middle of the second epoch: ten steps and an epoch
    "stopped within an epoch": lambda folder: {"others": [Watches(11)], "validation_data": (X, Y)},
    "learning rate": lambda folder: {"others": [Halves()]},
    "metric": lambda folder: {"metrics": [Collects()]},
    "optimizer": lambda folder: {"optimizer": Warms()},
}


def training(
    folder, *more, others=(), save_freq="epoch", keep=False, loss=ONE_HOT,
    optimizer="adam", metrics=("acc",), activation="tanh", rate=0.2, y=Y, **options,
):  # fmt: skip
    """Return a function that trains a new model, always the same, with a backup in `folder`."""
    tinynet.utils.set_random_seed(3)
    tinynet.utils.clear_session()  # so that layers are named as in a new process
    stack = (4, activation), Dropout(rate), Dropout(0.1, seed=4), (2, "softmax")
    compiled = {"loss": loss, "optimizer": optimizer, "metrics": list(metrics)}
    model = network(*stack, inputs=(3,), **compiled)
    saves = callbacks.BackupAndRestore(folder, save_freq or 1, delete_checkpoint=not keep)
    called = [*([saves] if save_freq else ()), *others, *more]
    given = {"batch_size": 8, "verbose": 0, "epochs": 5, "callbacks": called, **options}

    def go():
        history = model.fit(X, y, **given)
        state = model.optimizer.get_state()
        return {
            "weights": model.get_weights(),
            "optimizer": {name: look(value) for name, value in state.items()},
            "history": dict(history.history),
            "epoch": history.epoch,
            "generator": backend.generator().bit_generator.state,
            "drawn": [getattr(layer, "drawn", 0) for layer in model.layers],
            "callbacks": [
                {name: value for name, value in vars(one).items() if isinstance(value, DATA)}
                for one in others
            ],
            "files": sorted(path.name for path in folder.iterdir()),
        }

    return go


DATA = int | float | list | dict


def run(folder, name, save_freq, moment, number, end):
    """Run the training `name` of `RUNS`, with `end` at a moment of it, and return its result."""
    folder.mkdir(exist_ok=True)
    with at(moment, number, end) as ends:
        return training(folder, ends, save_freq=save_freq, **RUNS[name](folder))()


if __name__ == "__main__":
    folder, library, name, save_freq, moment, number = sys.argv[1:]
    frequency = int(save_freq) if save_freq.isdigit() else save_freq
    replaced = standin.installed(standin.make()) if library == "stand-in" else nullcontext()
    with replaced, backend.use("numpy" if library == "numpy" else "cupy"):
        result = run(pathlib.Path(folder), name, frequency, moment, int(number), die)
    sys.stdout.buffer.write(pickle.dumps(result))
