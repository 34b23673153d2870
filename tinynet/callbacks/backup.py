"""`BackupAndRestore`: training that was killed is resumed with bit-identical results.

A backup is an archive of two parts: a whole `TrainingState` as JSON, and its arrays as raw bytes,
end to end. JSON preserves Python's floats exactly.
"""

import json
import math
import os
import pathlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tinynet import backend
from tinynet.backend.types import Config, HostArray, Logs, State
from tinynet.callbacks.base import Callback
from tinynet.compat import arguments, checks, naming
from tinynet.utils import files
from tinynet.utils.progress import say

STATE, ARRAYS = "state.json", "arrays"
ARRAY_KEY = "__array__"  # the key in JSON under which an array's type and shape are stored


class BackupAndRestore(Callback):
    """Save the whole state of training to a file, and resume from it when `fit` is called again.

    A program that is killed at any moment, and restarted unchanged, ends with the same weights,
    optimizer state and history, bit for bit, as if it had not been killed. The backup is removed
    at the end of training. It includes the attributes of your own callbacks that are named in
    `Callback.kept`.

    Arguments:
        backup_dir: a separate folder for each training run; it is created if missing.
        save_freq: ``"epoch"``, or the number of batches between backups.
        double_checkpoint: must be False; the file is replaced in one step, so always complete.
        delete_checkpoint: whether to remove the backup at the end of training.

    Raises:
        ValueError: from `fit`, if the backup is damaged, or belongs to another training run.

    Source: https://keras.io/api/callbacks/backup_and_restore/
    """

    comes_last = True

    def __init__(
        self,
        backup_dir: files.PathLike,
        save_freq: str | int = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ) -> None:
        super().__init__()
        arguments.refuse("BackupAndRestore", {"double_checkpoint": double_checkpoint})
        if not isinstance(backup_dir, str | os.PathLike) or not os.fspath(backup_dir):
            raise ValueError(
                f"Expected backup_dir to be a folder, received: {naming.short(backup_dir)}. "
                'Write: BackupAndRestore("backup")'
            )
        self.backup_dir = pathlib.Path(backup_dir)
        self.path = self.backup_dir / "backup.zip"
        self.save_freq, self.delete_checkpoint = checks.save_freq(save_freq), delete_checkpoint
        self._training_state: Any = None
        self.settings: dict[str, str] = {}  # the settings of the training run
        self.skips_batches = save_freq == "epoch"

    def set_training_state(self, training_state: Any) -> None:
        self._training_state = training_state

    def on_train_begin(self, logs: Logs | None = None) -> None:
        files.remove_drafts(self.path)
        self.settings = self._training_state.settings  # as it is before the first step
        if not self.path.exists():
            return
        with _explain_mismatch(self.path):
            self._training_state.set_state(read(self.path))
        if self.params.get("verbose"):
            step = f" and {self._training_state.step} steps" * (self._training_state.step > 0)
            say(f"Resuming after epoch {self._training_state.epoch}{step}, from {self.path}.")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            write(self.path, self._training_state.get_state())

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self.save_freq != "epoch" and (batch + 1) % self.save_freq == 0:
            write(self.path, self._training_state.get_state())

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.delete_checkpoint:
            self.path.unlink(missing_ok=True)

    def goes_on(self) -> bool:
        return self.path.exists()


@contextmanager
def _explain_mismatch(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        why = error if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        why = getattr(error, "why", why)
        raise ValueError(
            f"Expected a backup of this training run, received {path}: {why}. To start over, "
            "delete it; to resume, call fit with the original arguments"
        ) from error


def write(path: pathlib.Path, state: State) -> None:
    """Write `state` to `path`, in one step.

    Raises:
        ValueError: for an object that is not data, with its place in the state; nothing is written.
    """
    arrays: list[bytes] = []
    text = json.dumps(_without_arrays(state, arrays, "state"))
    files.write_atomically(path, files.pack({STATE: text.encode(), ARRAYS: b"".join(arrays)}))


def _without_arrays(value: object, arrays: list[bytes], where: str) -> object:
    """Return `value` with each array replaced by type and shape; append its bytes to `arrays`."""
    np = backend.host
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        arrays.append(np.ascontiguousarray(value).tobytes())
        return {ARRAY_KEY: [value.dtype.str, value.shape]}
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        return value.item()
    if isinstance(value, dict) and all(isinstance(k, str) and k != ARRAY_KEY for k in value):
        return {k: _without_arrays(part, arrays, f"{where}[{k!r}]") for k, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_arrays(part, arrays, f"{where}[{n}]") for n, part in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(
        "Expected the state of callbacks to be numbers, strings, arrays of numbers, and lists and "
        f"dictionaries (by string) of them, received {naming.short(value)} as {where}. Leave it "
        "out of `kept`, or define get_state and set_state"
    )


def read(path: pathlib.Path) -> State:
    """Return the state that `write` wrote to `path`.

    Raises:
        ValueError: if the file is damaged.
    """
    parts = files.unpack(path, (STATE, ARRAYS))
    if len(parts) < 2:
        raise files.damaged(path, "a part of it is missing")
    data, start = parts[ARRAYS], 0

    def decode_array(value: Config) -> Config | HostArray:
        nonlocal start
        if ARRAY_KEY not in value:
            return value
        dtype, shape = backend.host.dtype(value[ARRAY_KEY][0]), value[ARRAY_KEY][1]
        end = start + math.prod(shape) * dtype.itemsize
        if dtype.kind not in "biuf" or not start <= end <= len(data):
            raise ValueError(f"an array of {dtype}, {naming.short(shape)}, does not fit")
        array = backend.host.frombuffer(data[start:end], dtype).reshape(shape)
        start = end
        return array.copy()

    try:
        state: State = json.loads(parts[STATE], object_hook=decode_array)
        return state
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise files.damaged(path, error) from error
