"""A training program that is killed at a given moment; `test_backup` starts it repeatedly.

    python interrupted.py FOLDER MOMENT NUMBER

MOMENT is "never", or the event at which the process dies when it happens for the NUMBER-th time:
"write" (half of a backup is written), "flushed" (a backup is written but not yet moved into place)
or "step". If training ends, its result is written into FOLDER.
"""

import os
import pathlib
import pickle
import signal
import sys

import numpy as np
from networks import ONE_HOT, network

import tinynet
from tinynet import backend
from tinynet.callbacks import BackupAndRestore, Callback, EarlyStopping
from tinynet.layers import Dropout
from tinynet.utils import files

EPOCHS, STEPS = 12, 10


def die():
    """Kill the process at once: nothing is flushed or closed, and no handler runs."""
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


class Countdown:
    def __init__(self, number):
        self.left = number

    def __call__(self):
        self.left -= 1
        return self.left == 0


class HalfAFile:
    """A file that writes only half of its data before the program dies."""

    def __init__(self, file, now):
        self.file, self.now = file, now

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)

    def write(self, data):
        if self.now():
            self.file.write(data[: len(data) // 2])
            self.file.flush()
            die()
        self.file.write(data)


class AtStep(Callback):
    def __init__(self, now):
        super().__init__()
        self.now = now

    def on_train_batch_end(self, batch, logs=None):
        if self.now():
            die()


def train(folder, moment, number, save_freq="epoch", verbose=0):
    rng = np.random.default_rng(5)
    x = rng.normal(size=(95, 6)).astype("float32")  # so that the last batch is shorter
    y = np.eye(3)[(x[:, 0] > 0).astype(int) + (x[:, 1] > 0.5)]
    tinynet.utils.set_random_seed(1)
    stack = (16, "relu"), Dropout(0.3), Dropout(0.1, seed=4), (3, "softmax")
    model = network(*stack, inputs=(6,), loss=ONE_HOT, metrics=["acc", "mse"])
    now = Countdown(number)
    if moment == "write":
        plain = pathlib.Path.open
        pathlib.Path.open = lambda path, mode="r": (
            HalfAFile(plain(path, mode), now) if mode == "xb" else plain(path, mode)
        )
    if moment == "flushed":
        replace = os.replace
        files.os.replace = lambda *paths: die() if now() else replace(*paths)
    callbacks = [
        BackupAndRestore(folder / "backup", save_freq),
        EarlyStopping("val_loss", patience=3, restore_best_weights=True, start_from_epoch=4),
        AtStep(now if moment == "step" else lambda: False),
    ]
    given = {"validation_split": 0.2, "batch_size": 8, "epochs": EPOCHS, "verbose": verbose}
    history = model.fit(x, y, callbacks=callbacks, **given)
    state = {
        "weights": model.get_weights(),
        "optimizer": model.optimizer.variables,
        "slots": model.optimizer.get_state()["state"],
        "iterations": model.optimizer.iterations,
        "history": dict(history.history),
        "epoch": history.epoch,
        "generator": backend.generator().bit_generator.state,
        "drawn": [getattr(layer, "drawn", 0) for layer in model.layers],
        "best": (callbacks[1].best_epoch, callbacks[1].wait, callbacks[1].stopped_epoch),
    }
    (folder / "result").write_bytes(pickle.dumps(state))


if __name__ == "__main__":
    folder, moment, number, *save_freq = sys.argv[1:]
    freq = int(save_freq[0]) if save_freq else "epoch"
    train(pathlib.Path(folder), moment, int(number), freq)
