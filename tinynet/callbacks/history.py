"""Records of training: the reported values, and the distributions of weights and gradients."""

import weakref

from tinynet import backend
from tinynet.backend.types import HostArray, Logs, Model, State
from tinynet.callbacks.base import Callback


class HistoryDict(dict[str, list[float]]):
    """A dictionary whose KeyError for a missing name lists the names that exist."""

    def __missing__(self, name: object) -> list[float]:
        there = ", ".join(map(repr, self)) or "nothing, as no epoch was trained"
        hint = "compile(metrics=[…]) adds a metric, and validation data add 'val_…' of each"
        raise KeyError(f"{name!r} was not recorded. Available: {there}; {hint}")


class History(Callback):
    """The record that `fit` returns: ``history.history["loss"][epoch]``, likewise for each metric.

    Attributes:
        history: the values at the end of each epoch, by name, in alphabetical order.
        epoch: the numbers of those epochs, from 0.

    Source: https://keras.io/api/callbacks/history/
    """

    kept = ("history", "epoch")

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, list[float]] = HistoryDict()
        self.epoch: list[int] = []

    def set_model(self, model: Model) -> None:
        """Set `self.model` to a weak reference, as the model has one to its history."""
        vars(self)["model"] = weakref.ref(model)

    def __getattribute__(self, name: str) -> object:
        value = super().__getattribute__(name)
        return value() if isinstance(value, weakref.ref) else value

    def __getstate__(self) -> State:
        return {**vars(self), "model": None}

    def set_state(self, state: State) -> None:
        super().set_state(state)
        self.history = HistoryDict(self.history)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.epoch = []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)


class Distributions(Callback):
    """The distributions of weights and gradients, layer by layer, after each epoch.

    `plotting.plot_distributions` draws them. The gradients are those of the epoch's last batch,
    without those that are 0, such as those of weights on pixels that are blank in all its samples.

    Attributes:
        shares: the quantiles to record, from 0 to 1.
        epochs: the numbers of the epochs, from 1.
        weights: the quantiles of the kernel's |W|, by the layer's name, one row per epoch.
        gradients: likewise those of |∂L/∂W|, where it is not 0.
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
            if "kernel" in layer.trainable_names:
                names = ("kernel", "kernel_gradient")
                kernel, gradient = (backend.to_numpy(getattr(layer, name)) for name in names)
                self.weights.setdefault(layer.name, []).append(self._spread(abs(kernel)))
                nonzero = abs(gradient[gradient != 0])
                self.gradients.setdefault(layer.name, []).append(self._spread(nonzero))

    def _spread(self, values: HostArray) -> list[float]:
        if not values.size:
            return [0.0] * len(self.shares)
        spread: list[float] = backend.host.quantile(values, self.shares).tolist()
        return spread
