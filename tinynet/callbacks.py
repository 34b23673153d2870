"""Callbacks: what happens around training, from a record of it to stopping early."""

from typing import TYPE_CHECKING, Any

from tinynet import backend
from tinynet.callback import Callback as Callback
from tinynet.callback import Logs

if TYPE_CHECKING:
    from tinynet.plotting.live import LivePlot as LivePlot


class History(Callback):
    """What `fit` returns: ``history.history["loss"][epoch]``, and the same for every metric.

    Attributes:
        history: for every name, alphabetically, its values at the end of each epoch.
        epoch: the numbers of those epochs, from 0.

    Source: https://keras.io/api/callbacks/history/
    """

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.epoch = []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)


class Distributions(Callback):
    """How large weights and gradients are, and how spread, layer by layer, after each epoch.

    `plotting.plot_distributions` draws it. The gradients are those of the epoch's last batch.

    Attributes:
        shares: which quantiles are kept, from 0 to 1.
        epochs: the numbers of the epochs, from 1.
        weights: for each layer's name, the quantiles of its kernel's |W|, a row an epoch.
        gradients: likewise of |∂L/∂W|.
    """

    shares = (0.05, 0.25, 0.5, 0.75, 0.95)

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
                self.gradients.setdefault(layer.name, []).append(self._spread(abs(gradient)))

    def _spread(self, values: backend.HostArray) -> list[float]:
        return backend.host.quantile(values, self.shares).tolist()


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        # `LivePlot` draws, and so is part of `plotting`, which is above this file.
        if name != "LivePlot":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from tinynet.plotting.live import LivePlot

        return LivePlot
