"""Callbacks: what happens around training, from a record of it to stopping early."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tinynet import backend
from tinynet.backup import BackupAndRestore as BackupAndRestore
from tinynet.callback import Callback as Callback
from tinynet.callback import Logs
from tinynet.watching import EarlyStopping as EarlyStopping
from tinynet.watching import ModelCheckpoint as ModelCheckpoint

if TYPE_CHECKING:
    from tinynet.plotting.live import LivePlot as LivePlot


class Columns(dict[str, list[float]]):
    """A dictionary that names what it has when asked for what it has not."""

    def __missing__(self, name: object) -> list[float]:
        there = ", ".join(map(repr, self)) or "nothing, no epoch was trained"
        hint = "compile(metrics=[…]) names a metric, and validation data make it 'val_…' as well"
        raise KeyError(f"{name!r} was not recorded. There are: {there}; {hint}")


class History(Callback):
    """What `fit` returns: ``history.history["loss"][epoch]``, and the same for every metric.

    Attributes:
        history: for every name, alphabetically, its values at the end of each epoch.
        epoch: the numbers of those epochs, from 0.

    Source: https://keras.io/api/callbacks/history/
    """

    kept = ("history", "epoch")

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, list[float]] = Columns()
        self.epoch: list[int] = []

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        self.history = Columns(self.history)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.epoch = []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)


class Distributions(Callback):
    """How large weights and gradients are, and how spread, layer by layer, after each epoch.

    `plotting.plot_distributions` draws it. The gradients are those of the epoch's last batch; of
    them, those that are not 0: a weight on a pixel without ink has no say, and tells nothing.

    Attributes:
        shares: which quantiles are kept, from 0 to 1.
        epochs: the numbers of the epochs, from 1.
        weights: for each layer's name, the quantiles of its kernel's |W|, a row an epoch.
        gradients: likewise of |∂L/∂W|, where it is not 0.
    """

    shares = (0.05, 0.25, 0.5, 0.75, 0.95)
    kept = ("epochs", "weights", "gradients")

    def __init__(self) -> None:
        super().__init__()
        self.on_train_begin()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.epochs: list[int] = []
        self.weights: dict[str, list[list[float]]] = {}
        self.gradients: dict[str, list[list[float]]] = {}

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.epochs.append(epoch + 1)
        for layer in self.model.layers:
            if "kernel" in layer.trained_names:
                kernel, gradient = map(backend.to_numpy, (layer.kernel, layer.kernel_gradient))
                self.weights.setdefault(layer.name, []).append(self._spread(abs(kernel)))
                told = abs(gradient[gradient != 0])
                self.gradients.setdefault(layer.name, []).append(self._spread(told))

    def _spread(self, values: backend.HostArray) -> list[float]:
        if not values.size:
            return [0.0] * len(self.shares)
        return backend.host.quantile(values, self.shares).tolist()


class LambdaCallback(Callback):
    """A callback made of plain functions, for what is too small for a class.

    >>> from tinynet.callbacks import LambdaCallback
    >>> tell = LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs["loss"]))

    Arguments:
        functions: by the name of the moment, such as ``on_epoch_end=function``.

    Raises:
        ValueError: for a name that no moment has, or what is no function.

    Source: https://keras.io/api/callbacks/lambda_callback/
    """

    def __init__(self, **functions: Callable[..., Any] | None) -> None:
        super().__init__()
        moments = [name for name in vars(Callback) if name.startswith("on_")]
        for name, function in functions.items():
            if name not in moments or not (function is None or callable(function)):
                raise ValueError(
                    f"Expected functions for some of {', '.join(moments)}, received: {name}="
                    f"{function!r}. Write: LambdaCallback(on_epoch_end=lambda epoch, logs: …)"
                )
            if function is not None:
                setattr(self, name, function)


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


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        # `LivePlot` draws, and so is part of `plotting`, which is above this file.
        if name != "LivePlot":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from tinynet.plotting.live import LivePlot

        return LivePlot
