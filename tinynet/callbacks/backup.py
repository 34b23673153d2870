"""`BackupAndRestore`: a training that is killed, and started again, as if nothing had happened.

A backup is an archive of two parts: all of a `Course` as JSON, and its arrays, end to end, as the
bytes they are. JSON holds Python's floats to the last bit.
"""

import json
import math
import os
import pathlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tinynet import backend
from tinynet.callbacks.base import Callback, Logs
from tinynet.compat import arguments, naming
from tinynet.utils import files

STATE, ARRAYS = "state.json", "arrays"
ARRAY = "__array__"  # the key under which JSON holds a place among the arrays


class BackupAndRestore(Callback):
    """Keep the whole state of a training in a file, and go on from it when `fit` is called anew.

    A program that is killed at whatever moment, and started again as it was, ends with the same
    weights, optimizer state and history, bit for bit, as if it had not been. At the end of a
    training the backup is removed. What a callback of your own remembers is kept if it
    says so, see `Callback.kept`.

    Arguments:
        backup_dir: a folder of its own for each training; it is made.
        save_freq: ``"epoch"``, or after how many batches.
        double_checkpoint: False; there is always a whole file.
        delete_checkpoint: whether the backup is removed when the training has come to its end.

    Raises:
        ValueError: from `fit`, if the backup is of another training, or damaged.

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
        if save_freq != "epoch" and not (backend.is_integer(save_freq) and int(save_freq) > 0):
            raise ValueError(
                "Expected save_freq to be 'epoch' or a number of batches, received: "
                f'{naming.short(save_freq)}. Write: save_freq="epoch"'
            )
        self.backup_dir = pathlib.Path(backup_dir)
        self.path = self.backup_dir / "backup.zip"
        self.save_freq, self.delete_checkpoint = save_freq, delete_checkpoint
        self._course: Any = None
        self.what: dict[str, str] = {}  # the training that is kept, in words
        if save_freq != "epoch":  # as an attribute: who does not need it shall not pay for it
            self.on_train_batch_end = self._after_batch  # type: ignore[method-assign]

    def set_course(self, course: Any) -> None:
        self._course = course

    def on_train_begin(self, logs: Logs | None = None) -> None:
        files.drop_drafts(self.path)
        self.what = self._course.what  # as it is now
        if not self.path.exists():
            return
        with _belonging(self.path):
            self._course.set_state(read(self.path))
        if self.params.get("verbose"):
            step = f" and {self._course.step} steps" * (self._course.step > 0)
            print(f"Going on after epoch {self._course.epoch}{step}, from {self.path}.")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            write(self.path, self._course.get_state())

    def _after_batch(self, batch: int, logs: Logs | None = None) -> None:
        if (batch + 1) % int(self.save_freq) == 0:
            write(self.path, self._course.get_state())

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.delete_checkpoint:
            self.path.unlink(missing_ok=True)

    def goes_on(self) -> bool:
        return self.path.exists()


@contextmanager
def _belonging(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        why = error if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        why = getattr(error, "why", why)
        raise ValueError(
            f"Expected a backup of this training, received {path}: {why}. To begin anew, delete "
            "it; to go on, call fit as it was called then"
        ) from error


def write(path: pathlib.Path, state: dict[str, Any]) -> None:
    """Write `state` to `path`, in one step.

    Raises:
        ValueError: for what is no data, with where in the state it is; then nothing is written.
    """
    arrays: list[bytes] = []
    text = json.dumps(_without_arrays(state, arrays, "state"))
    files.write_whole(path, files.pack({STATE: text.encode(), ARRAYS: b"".join(arrays)}))


def _without_arrays(value: Any, arrays: list[bytes], where: str) -> Any:
    """`value`, with each array's bytes put into `arrays`, and only what it is in its place."""
    np = backend.host
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        arrays.append(np.ascontiguousarray(value).tobytes())
        return {ARRAY: [value.dtype.str, value.shape]}
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        return value.item()
    if isinstance(value, dict) and all(isinstance(k, str) and k != ARRAY for k in value):
        return {k: _without_arrays(part, arrays, f"{where}[{k!r}]") for k, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_arrays(part, arrays, f"{where}[{n}]") for n, part in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(
        "Expected what a callback keeps to be numbers, words, arrays of numbers, and lists and "
        f"dictionaries (by words) of them, received {naming.short(value)} as {where}. Leave it out "
        "of `kept`, or write get_state and set_state"
    )


def read(path: pathlib.Path) -> dict[str, Any]:
    """What `write` wrote to `path`.

    Raises:
        ValueError: if it is damaged.
    """
    parts = files.unpack(path, (STATE, ARRAYS))
    if len(parts) < 2:
        raise files.damaged(path, "a part of it is missing")
    data, start = parts[ARRAYS], 0

    def with_array(found: dict[str, Any]) -> Any:
        nonlocal start
        if ARRAY not in found:
            return found
        dtype, shape = backend.host.dtype(found[ARRAY][0]), found[ARRAY][1]
        end = start + math.prod(shape) * dtype.itemsize
        if dtype.kind not in "biuf" or not start <= end <= len(data):
            raise ValueError(f"an array of {dtype}, {naming.short(shape)}, does not fit")
        array = backend.host.frombuffer(data[start:end], dtype).reshape(shape)
        start = end
        return array.copy()

    try:
        return json.loads(parts[STATE], object_hook=with_array)
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise files.damaged(path, error) from error
