"""Records of a training: what was reported, and how weights and gradients were spread."""

from typing import Any

from tinynet import backend
from tinynet.callbacks.base import Callback, Logs


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
