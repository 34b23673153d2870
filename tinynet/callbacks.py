"""Callbacks: what happens around training, from a line of progress to stopping early.

`fit`, `evaluate` and `predict` call the methods of each callback at fixed moments. A method that
nobody overrides costs nothing: in particular, the numbers of a batch are only read back where
somebody wants to see them.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tinynet import backend

if TYPE_CHECKING:
    from tinynet.plotting.live import LivePlot as LivePlot

Logs = dict[str, Any]


class Callback:
    """The base of every callback; override what you need.

    `self.model` is the model, `self.params` a dictionary with ``verbose``, ``epochs`` and
    ``steps``. `logs` holds the loss and metrics so far, as floats.

    Source: https://keras.io/api/callbacks/base_callback/
    """

    def __init__(self) -> None:
        self.model: Any = None
        self.params: dict[str, Any] = {}

    def set_model(self, model: Any) -> None:
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params

    def on_train_begin(self, logs: Logs | None = None) -> None: ...
    def on_train_end(self, logs: Logs | None = None) -> None: ...
    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None: ...
    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None: ...
    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self.on_batch_end(batch, logs)

    def on_test_begin(self, logs: Logs | None = None) -> None: ...
    def on_test_end(self, logs: Logs | None = None) -> None: ...
    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_predict_begin(self, logs: Logs | None = None) -> None: ...
    def on_predict_end(self, logs: Logs | None = None) -> None: ...
    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...


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


class CallbackList:
    """Several callbacks called as one.

    Raises:
        ValueError: for something that is no `Callback`.
    """

    def __init__(
        self, callbacks: Any, model: Any, params: Mapping[str, Any], *own: Callback
    ) -> None:
        if callbacks is None:
            callbacks = []
        elif not isinstance(callbacks, Iterable):
            callbacks = [callbacks]
        self.callbacks = [*callbacks, *own]
        for callback in self.callbacks:
            if not isinstance(callback, Callback):
                raise ValueError(
                    "Expected callbacks to be instances of tinynet.callbacks.Callback, received: "
                    f"{callback!r} (of type {type(callback)}). "
                    "Write: callbacks=[MyCallback()]"
                )
            callback.set_model(model)
            callback.set_params(dict(params))
        self.watches_train_batches = self._anyone("train_batch", "batch")
        self.watches_test_batches = self._anyone("test_batch")
        self.watches_predict_batches = self._anyone("predict_batch")

    def _anyone(self, *stems: str) -> bool:
        names = [f"on_{stem}_{moment}" for stem in stems for moment in ("begin", "end")]
        return any(
            name in vars(callback) or getattr(type(callback), name) is not getattr(Callback, name)
            for callback in self.callbacks
            for name in names
        )

    def call(self, moment: str, *arguments: Any) -> None:
        """Call the method `moment` of every callback, in order."""
        for callback in self.callbacks:
            getattr(callback, moment)(*arguments)


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        # `LivePlot` draws, and so is part of `plotting`, which is above this file.
        if name != "LivePlot":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from tinynet.plotting.live import LivePlot

        return LivePlot
