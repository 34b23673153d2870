"""Callbacks that monitor one value, such as the validation loss, from epoch to epoch.

`EarlyStopping` ends training that no longer improves, `ModelCheckpoint` saves the model. Their
common base, `Monitor`, decides which of two values is better. `TerminateOnNaN` ends training when
the loss becomes NaN or infinite.
"""

import math
import os
import pathlib
from collections.abc import Callable

from tinynet import losses, metrics
from tinynet.backend import host
from tinynet.backend.types import HostArray, Logs
from tinynet.callbacks.base import Callback
from tinynet.compat import arguments, checks, naming
from tinynet.utils import files
from tinynet.utils.progress import say


class Monitor(Callback):
    """The base of callbacks that monitor a value in the logs; `is_improvement` compares two.

    Arguments:
        monitor: the name of the value, such as ``"val_loss"`` or ``"acc"``.
        mode: ``"min"`` or ``"max"``, whichever is better; ``"auto"`` infers it from the names of
            losses, accuracies and errors.
        min_delta: a change counts as an improvement only if it is larger than this.

    Attributes:
        monitor_op: compares two values: NumPy's `greater` if higher is better, else `less`.
        min_delta: positive if higher is better, else negative, as in
            ``monitor_op(value - min_delta, best)``.
    """

    def __init__(self, monitor: str, mode: str, min_delta: float = 0, **kwargs: object) -> None:
        super().__init__()
        arguments.refuse_unknown(type(self), kwargs)
        if not isinstance(monitor, str):
            raise ValueError(
                f"Expected monitor to be a name from the logs, received: {naming.short(monitor)}. "
                'Write: monitor="val_loss"'
            )
        self.monitor = monitor
        self.mode = checks.choice(mode, "mode", "auto", "min", "max")
        rises = higher_is_better(monitor) if mode == "auto" else mode == "max"
        if rises is None:
            raise ValueError(
                f"{type(self).__name__} received monitor={monitor!r}, whose name does not show "
                "whether it should rise or fall. Write: mode='max' or mode='min'"
            )
        self.monitor_op: Callable[[float, float], object] = host.greater if rises else host.less
        delta = abs(checks.number(min_delta, "min_delta", -math.inf, math.inf, 0.001))
        self.min_delta = delta if rises else -delta

    def is_improvement(self, value: float, than: float | None) -> bool:
        """Return whether `value` is better than `than`; None is worse than anything."""
        return than is None or bool(self.monitor_op(value - self.min_delta, than))

    def get_monitor_value(self, logs: Logs | None) -> float | None:
        """Return the monitored value, or warn and return None if the logs do not have it."""
        value = (logs or {}).get(self.monitor)
        if value is None:
            there = ", ".join(logs or {})
            validation = self.monitor.startswith("val_")
            hint = "pass validation data to fit" if validation else "add it to metrics"
            checks.warn(
                f"{type(self).__name__} monitors {self.monitor!r}, which is not available. "
                f"Available metrics are: {there}. Choose one of them, or {hint}."
            )
        return value


def higher_is_better(name: str) -> bool | None:
    """Return whether a higher value is better for this name in the logs; None if unknown."""
    name = name.removeprefix("val_")
    if name == "acc" or name.lower().endswith("accuracy"):
        return True
    return False if name in ("loss", *losses.KNOWN, *metrics.KNOWN) else None


class EarlyStopping(Monitor):
    """End training when a value has not improved for some epochs.

    Arguments:
        monitor, mode, min_delta: see `Monitor`.
        patience: the number of epochs without improvement after which to stop; 0 is like 1.
        verbose: 1 prints a message when it stops.
        baseline: a value that an improvement must also beat to reset the patience.
        restore_best_weights: whether to restore the weights of the best epoch at the end; otherwise
            those of the last epoch stay.
        start_from_epoch: the number of epochs to wait before monitoring.

    Attributes:
        best, best_epoch: the best value, and the number of its epoch, from 0.
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
        **kwargs: object,
    ) -> None:
        super().__init__(monitor, mode, min_delta, **kwargs)
        self.patience = checks.count(patience, "patience", minimum=0)
        self.start_from_epoch = checks.count(start_from_epoch, "start_from_epoch", minimum=0)
        self.verbose, self.baseline = verbose, None
        if baseline is not None:
            self.baseline = checks.number(baseline, "baseline", -math.inf, math.inf, 0.5)
        self.restore_best_weights = restore_best_weights
        EarlyStopping.on_train_begin(self)  # a subclass's needs a model

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.best: float | None = None
        self.best_epoch = self.stopped_epoch = self.wait = 0
        self.best_weights: list[HostArray] | None = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        value = self.get_monitor_value(logs)
        if value is None or epoch < self.start_from_epoch:
            return
        self.wait += 1
        if self.is_improvement(value, self.best):
            self.best, self.best_epoch = value, epoch
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
            if self.is_improvement(value, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.stopped_epoch > 0 and self.verbose > 0:
            say(f"Epoch {self.stopped_epoch + 1}: early stopping")
        self.restore_best_epoch()

    def restore_best_epoch(self) -> int | None:
        if self.best_weights is None:
            return None
        if self.verbose > 0:
            best = self.best_epoch + 1
            say(f"Restoring model weights from the end of the best epoch: {best}.")
        self.model.set_weights(self.best_weights)
        return self.best_epoch


class ModelCheckpoint(Monitor):
    """Save the model during training: after every epoch, or whenever it is the best so far.

    ``tinynet.models.load_model(path)`` loads it, or ``model.load_weights(path)`` its weights. A
    file is replaced in one step: it is complete even if the program is killed in the meantime.

    Arguments:
        filepath: the file to write; ends in ``.keras``, or ``.weights.h5`` for weights alone; may
            have ``{epoch}`` and names from the logs, as in ``"{epoch:02d}-{val_loss:.2f}.keras"``.
        monitor, mode: see `Monitor`.
        verbose: 1 prints a message for each save.
        save_best_only: whether to save only when the value is the best so far.
        save_weights_only: whether to save the weights alone.
        save_freq: ``"epoch"``, or the number of batches between saves.
        initial_value_threshold: a value that must be beaten for a save with `save_best_only`.

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
        **kwargs: object,
    ) -> None:
        super().__init__(monitor, mode if save_best_only else "min", 0, **kwargs)
        self.mode = mode
        self.save_weights_only = checks.flag(save_weights_only, "save_weights_only")
        suffix = ".weights.h5" if self.save_weights_only else ".keras"
        self.filepath = str(files.check_path(filepath, suffix))
        self.verbose, self.save_best_only = verbose, save_best_only
        self.save_freq = checks.save_freq(save_freq)
        self.best: float | None = None
        if initial_value_threshold is not None:
            self.best = checks.number(
                initial_value_threshold, "initial_value_threshold", -math.inf, math.inf, 0.5
            )
        self._epoch = self._batches = 0
        self.skips_batches = save_freq == "epoch"

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            self._save(logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._batches += 1
        if self.save_freq != "epoch" and self._batches % self.save_freq == 0:
            self._save(logs, batch=batch + 1)

    def _save(self, logs: Logs | None, **names: float) -> None:
        names = {"epoch": self._epoch + 1, **names, **(logs or {})}
        try:
            path = pathlib.Path(str(self.filepath).format(**names))
        except (KeyError, IndexError, ValueError) as error:
            raise KeyError(
                f"Failed to format this callback filepath: {str(self.filepath)!r}. "
                f"Reason: {error}. Available names: {', '.join(names)}"
            ) from None
        message = f"Epoch {self._epoch + 1}:"
        if self.save_best_only:
            value = self.get_monitor_value(logs)
            if value is not None and (
                math.isnan(value) or not self.is_improvement(value, self.best)
            ):
                self._say(f"{message} {self.monitor} did not improve from {_figure(self.best)}")
                return
            if value is not None:
                message += f" {self.monitor} improved from {_figure(self.best)} to {value:.5f},"
                self.best = value
        self._say(f"{message} saving model to {path}")
        (self.model.save_weights if self.save_weights_only else self.model.save)(path)

    def _say(self, text: str) -> None:
        if self.verbose > 0:
            say(f"\n{text}")


def _figure(value: float | None) -> str:
    return "None" if value is None else f"{value:.5f}"


class TerminateOnNaN(Callback):
    """End training, instead of raising an error, when the loss becomes NaN or infinite.

    Without this callback, `fit` raises an error that names the step, and restores the end of the
    last finite epoch. With it, `fit` returns, and the weights keep the values that they have then.

    Arguments:
        raise_error: whether to raise an error instead, as `fit` does without this callback.

    Source: https://keras.io/api/callbacks/terminate_on_nan/
    """

    def __init__(self, raise_error: bool = False) -> None:
        super().__init__()
        self.raise_error = raise_error
        self.accepts_nan = not raise_error

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if not math.isfinite((logs or {}).get("loss", 0.0)):
            say(f"Epoch {epoch + 1}: Invalid loss, terminating training")
