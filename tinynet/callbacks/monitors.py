"""Callbacks that watch one number, such as the loss of the validation, from epoch to epoch.

`EarlyStopping` ends a training that no longer gets better, `ModelCheckpoint` saves the model.
What they have in common, which of two values is the better one, is `Watcher`. `TerminateOnNaN` ends
a training whose loss is no longer a number.
"""

import math
import os
import pathlib
import warnings

from tinynet import backend, losses
from tinynet.callbacks.base import Callback, Logs
from tinynet.compat import naming, validation
from tinynet.utils import files


class Watcher(Callback):
    """What watches one of the logs' numbers; `better` says which of two is.

    Arguments:
        monitor: its name, such as ``"val_loss"`` or ``"acc"``.
        mode: ``"min"`` or ``"max"``, whichever is better; ``"auto"`` knows it for losses,
            accuracies and errors.
        min_delta: what it has to get better by, to count.
    """

    def __init__(self, monitor: str, mode: str, min_delta: float = 0) -> None:
        super().__init__()
        if not isinstance(monitor, str):
            raise ValueError(
                f"Expected monitor to be a name from the logs, received: {naming.short(monitor)}. "
                'Write: monitor="val_loss"'
            )
        self.monitor = monitor
        self.mode = validation.choice(mode, "mode", "auto", "min", "max")
        self.min_delta = abs(validation.number(min_delta, "min_delta", -math.inf, math.inf, 0.001))
        self._rises = rises(monitor) if mode == "auto" else mode == "max"
        if self._rises is None:
            raise ValueError(
                f"{type(self).__name__} received monitor={monitor!r}, and it does not show by its "
                "name whether that should rise or fall. Write: mode='max' or mode='min'"
            )

    def better(self, value: float, than: float | None) -> bool:
        """Whether `value` is better `than` another one; None is worse than anything."""
        if than is None:
            return True
        gain = value - than if self._rises else than - value
        return gain > self.min_delta

    def current(self, logs: Logs | None, stacklevel: int = 5) -> float | None:
        """The number that is watched, or None, with a warning, if it is not there."""
        value = (logs or {}).get(self.monitor)
        if value is None:
            there = ", ".join(logs or {})
            hint = "add it to metrics"
            if self.monitor.startswith("val_"):
                hint = "give fit validation data"
            warnings.warn(
                f"{type(self).__name__} watches {self.monitor!r}, which is not available. "
                f"Available metrics are: {there}. Choose one of them, or {hint}.",
                stacklevel=stacklevel,
            )
        return value


def rises(name: str) -> bool | None:
    """Whether more is better of what has this name in the logs; None if that is not known."""
    name = name.removeprefix("val_")
    if name == "acc" or name.endswith("accuracy"):
        return True
    return False if name in ("loss", "mse", "MSE", "MeanSquaredError", *losses.FUNCTIONS) else None


class EarlyStopping(Watcher):
    """End the training when a number has not got better for some epochs.

    Arguments:
        monitor, mode, min_delta: see `Watcher`.
        patience: after how many epochs without a better value to stop; 0 is like 1.
        verbose: 1 says when it stops.
        baseline: a value; a better epoch that does not beat it does not start the patience anew.
        restore_best_weights: whether to go back to the weights of the best epoch in the end; else
            those of the last one stay.
        start_from_epoch: how many epochs to let pass before watching.

    Attributes:
        best, best_epoch: the best value, and its epoch's number, from 0.
        stopped_epoch: the number of the epoch after which it stopped, or 0.

    Source: Prechelt 1998, "Early stopping, but when?";
    https://keras.io/api/callbacks/early_stopping/
    """

    kept = ("best", "best_epoch", "stopped_epoch", "wait", "best_weights")

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience = validation.count(patience, "patience", least=0)
        self.start_from_epoch = validation.count(start_from_epoch, "start_from_epoch", least=0)
        self.verbose, self.baseline = verbose, None
        if baseline is not None:
            self.baseline = validation.number(baseline, "baseline", -math.inf, math.inf, 0.5)
        self.restore_best_weights = restore_best_weights
        self.on_train_begin()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.best: float | None = None
        self.best_epoch = self.stopped_epoch = self.wait = 0
        self.best_weights: list[backend.HostArray] | None = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        value = self.current(logs)
        if value is None or epoch < self.start_from_epoch:
            return
        self.wait += 1
        if self.better(value, self.best):
            self.best, self.best_epoch = value, epoch
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
            if self.better(value, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.stopped_epoch > 0 and self.verbose > 0:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            if self.verbose > 0:
                best = self.best_epoch + 1
                print(f"Restoring model weights from the end of the best epoch: {best}.")
            self.model.set_weights(self.best_weights)


class ModelCheckpoint(Watcher):
    """Save the model while training: after every epoch, or whenever it is the best so far.

    ``tinynet.models.load_model(path)`` brings it back, or ``model.load_weights(path)`` its weights.
    A file is replaced in one step: what is there is whole, even if the program ends meanwhile.

    Arguments:
        filepath: where to; ends in ``.keras``, or ``.weights.h5`` for weights alone, and may hold
            ``{epoch}`` and names from the logs, as in ``"{epoch:02d}-{val_loss:.2f}.keras"``.
        monitor, mode: see `Watcher`.
        verbose: 1 says what is saved.
        save_best_only: whether to save only what is better than all before.
        save_weights_only: whether to save the weights alone.
        save_freq: ``"epoch"``, or after how many batches.
        initial_value_threshold: a value that has to be beaten before anything is saved.

    Source: https://keras.io/api/callbacks/model_checkpoint/
    """

    kept = ("best", "_batches", "_epoch")

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor, mode if save_best_only else "min")
        self.save_weights_only = validation.flag(save_weights_only, "save_weights_only")
        suffix = ".weights.h5" if self.save_weights_only else ".keras"
        self.filepath = files.check_path(filepath, suffix)
        every = save_freq if backend.is_integer(save_freq) else 0
        if save_freq != "epoch" and int(every) < 1:
            raise ValueError(
                "Expected save_freq to be 'epoch' or a number of batches, received: "
                f'{naming.short(save_freq)}. Write: save_freq="epoch"'
            )
        self.verbose, self.save_best_only, self.save_freq = verbose, save_best_only, save_freq
        self.best: float | None = None
        if initial_value_threshold is not None:
            self.best = validation.number(
                initial_value_threshold, "initial_value_threshold", -math.inf, math.inf, 0.5
            )
        self._epoch = self._batches = 0
        if save_freq != "epoch":  # as an attribute: who does not need it shall not pay for it
            self.on_train_batch_end = self._after_batch  # type: ignore[method-assign]

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            self._save(logs)

    def _after_batch(self, batch: int, logs: Logs | None = None) -> None:
        self._batches += 1
        if self._batches % int(self.save_freq) == 0:
            self._save(logs, batch=batch + 1)

    def _save(self, logs: Logs | None, **names: int) -> None:
        names = {"epoch": self._epoch + 1, **names, **(logs or {})}
        try:
            path = pathlib.Path(str(self.filepath).format(**names))
        except (KeyError, IndexError, ValueError) as error:
            raise KeyError(
                f"Failed to format this callback filepath: {str(self.filepath)!r}: there is no "
                f"{error}. There are: {', '.join(names)}"
            ) from None
        told = f"Epoch {self._epoch + 1}:"
        if self.save_best_only:
            value = self.current(logs, stacklevel=6)
            if value is not None and (math.isnan(value) or not self.better(value, self.best)):
                self._say(f"{told} {self.monitor} did not improve from {_figure(self.best)}")
                return
            if value is not None:
                told += f" {self.monitor} improved from {_figure(self.best)} to {value:.5f},"
                self.best = value
        self._say(f"{told} saving model to {path}")
        (self.model.save_weights if self.save_weights_only else self.model.save)(path)

    def _say(self, text: str) -> None:
        if self.verbose > 0:
            print(f"\n{text}")


def _figure(value: float | None) -> str:
    return "None" if value is None else f"{value:.5f}"


class TerminateOnNaN(Callback):
    """End the training, instead of raising, when the loss becomes NaN or infinite.

    Without it, `fit` raises then, says in which step that was, and puts the model back to what it
    was. With it, `fit` returns, and the weights are what they have become.

    Arguments:
        raise_error: whether to raise after all; then as `fit` does without it.

    Source: https://keras.io/api/callbacks/terminate_on_nan/
    """

    def __init__(self, raise_error: bool = False) -> None:
        super().__init__()
        self.raise_error = raise_error
        self.accepts_nan = not raise_error

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if not math.isfinite((logs or {}).get("loss", 0.0)):
            print(f"Epoch {epoch + 1}: Invalid loss, terminating training")
