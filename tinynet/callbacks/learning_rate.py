"""Callbacks that change the learning rate: by a schedule of epochs, or when progress stalls.

Large steps are fast at the beginning, small ones precise at the end. Both callbacks set
`model.optimizer.learning_rate` between epochs. They add ``"learning_rate"``, the rate with which
the epoch was trained, to the logs, and so to the history.
"""

import inspect
import math
from collections.abc import Callable

from tinynet import backend
from tinynet.backend.types import Logs
from tinynet.callbacks.base import Callback
from tinynet.callbacks.monitors import Monitor
from tinynet.compat import checks, naming, rules
from tinynet.utils.progress import say


class LearningRateScheduler(Callback):
    """Set the learning rate at the beginning of each epoch: η ← schedule(epoch, η).

    >>> from tinynet.callbacks import LearningRateScheduler
    >>> falls = LearningRateScheduler(lambda epoch, lr: lr if epoch < 10 else lr * 0.9)

    Arguments:
        schedule: a function of the epoch's number, from 0, and the present learning rate, or of the
            epoch's number alone; returns the new learning rate, a float.
        verbose: 1 prints a message in each epoch.

    Raises:
        TypeError: if `schedule` is not a function.
        ValueError: from `fit`, if `schedule` does not return a float, or not a valid learning rate.

    Source: https://keras.io/api/callbacks/learning_rate_scheduler/
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        super().__init__()
        if not callable(schedule):
            raise TypeError(
                f"Expected schedule to be a function, received: {naming.short(schedule)}. "
                "Write: LearningRateScheduler(lambda epoch, lr: lr * 0.9)"
            )
        self.schedule, self.verbose = schedule, verbose

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        given: tuple[float, ...] = (epoch, float(self.model.optimizer.learning_rate))
        # Calling it and catching a TypeError, as Keras does, would hide errors inside `schedule`.
        try:
            inspect.signature(self.schedule).bind(*given)
        except (TypeError, ValueError):  # ValueError: no signature, as of `list.__getitem__`
            given = (epoch,)
        rate = self.schedule(*given)
        if not isinstance(rate, float | backend.host.float32):
            raise ValueError(
                f"Expected schedule to return a float, received: {naming.short(rate)} (of type "
                f"{type(rate)}) for epoch={epoch}. Write: return float(lr)"
            )
        self.model.optimizer.learning_rate = rate
        if self.verbose > 0:
            say(f"\nEpoch {epoch + 1}: LearningRateScheduler setting learning rate to {rate}.")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = float(self.model.optimizer.learning_rate)


FACTOR = rules.number_rule(
    "Expected factor to be at least 0 and below 1, received: {}. Write: factor=0.1",
    0, math.nextafter(1, 0)
)  # fmt: skip


class ReduceLROnPlateau(Monitor):
    """Reduce the learning rate when a value has not improved for some epochs: η ← max(f η, η₀).

    Arguments:
        monitor, mode, min_delta: see `Monitor`.
        factor: f, at least 0 and below 1.
        patience: the number of epochs without improvement after which to reduce; 0 is like 1.
        verbose: 1 prints a message for each reduction.
        cooldown: the number of epochs after a reduction in which `patience` does not count.
        min_lr: η₀, the least learning rate to reduce to.

    Attributes:
        best: the best value so far, or None.
        wait: the number of epochs without improvement.
        cooldown_counter: the number of epochs that are left of the cooldown.

    Raises:
        ValueError: for a `factor` of 1 or more, or another invalid argument.

    Source: https://keras.io/api/callbacks/reduce_lr_on_plateau/
    """

    kept = ("best", "wait", "cooldown_counter")

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
        **kwargs: object,
    ) -> None:
        super().__init__(monitor, mode, min_delta, **kwargs)
        self.factor, self.verbose = FACTOR(factor), verbose
        self.patience = checks.count(patience, "patience", minimum=0)
        self.cooldown = checks.count(cooldown, "cooldown", minimum=0)
        self.min_lr = checks.number(min_lr, "min_lr", 0, math.inf, 1e-5)
        ReduceLROnPlateau.on_train_begin(self)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.best: float | None = None
        self.wait = self.cooldown_counter = 0

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        rate, logs = float(self.model.optimizer.learning_rate), {} if logs is None else logs
        logs["learning_rate"] = rate
        value = self.get_monitor_value(logs)
        if value is None:
            return
        self.cooldown_counter -= self.in_cooldown()
        if self.is_improvement(value, self.best):
            self.best, self.wait = value, 0
        elif not self.in_cooldown():
            self.wait += 1
            # Rounded to float32, a rate that was set to `min_lr` may be just above it.
            if self.wait >= self.patience and rate > backend.host.float32(self.min_lr):
                self.wait, self.cooldown_counter = 0, self.cooldown
                rate = max(rate * self.factor, self.min_lr)
                self.model.optimizer.learning_rate = rate
                if self.verbose > 0:
                    say(f"\nEpoch {epoch + 1}: ReduceLROnPlateau reducing learning rate to {rate}.")

    def in_cooldown(self) -> bool:
        """Return whether epochs of the cooldown are left."""
        return self.cooldown_counter > 0
