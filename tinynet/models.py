"""`Sequential`: layers in a row, with Keras's methods to train them, look at them and use them.

How layers are stacked and built is `engine.network`'s story, where their weights are
`engine.parameters`'s. Here a batch goes up and comes down.
Source: https://keras.io/api/models/
"""

from collections.abc import Sequence
from typing import Any

from tinynet import backend, optimizers, saving, training
from tinynet.backend import Array, HostArray, Shape
from tinynet.callbacks import History
from tinynet.compat import arguments, checks, validation
from tinynet.compat.targets import as_loss
from tinynet.engine import device, evaluation, tracker
from tinynet.engine.network import Network
from tinynet.inspection import summary, trace
from tinynet.losses import Objective
from tinynet.saving import hdf5, load, save_model as save_model


class Sequential(Network):
    """Layers in a row: each takes what the one before it gives.

    >>> from tinynet import Input, Sequential
    >>> from tinynet.layers import Dense
    >>> model = Sequential([Input((784,)), Dense(100, "sigmoid"), Dense(10, "softmax")])
    >>> model.count_params()
    79510

    Arguments:
        layers: the layers, from the bottom to the top; more can follow with `add`.
        trainable, name: False to freeze them all; the model's name, numbered if not given.
    """

    def __init__(self, layers: Any = None, trainable: bool = True, name: str | None = None) -> None:
        self.stop_training = False
        self.history: History | None = None
        self.optimizer: Any = None  # an `Optimizer`
        self.loss: Any = None  # as given to `compile`
        self._loss: Any = None  # the `Loss` that it stands for
        self.objective: Any = None  # an `Objective`, from the first `fit` or `evaluate` on
        self.metrics_given: list[Any] = []
        self.watch: Any = None  # called with each layer and what it passes on, on the way back
        self._lowest = 0
        super().__init__(layers, trainable, name)

    def compile(
        self,
        optimizer: Any = None,
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Sequence[Any] | None = None,
        **unsupported: Any,
    ) -> None:
        """Choose how to train: an optimizer, a loss, and what to report beside it.

        Arguments:
            optimizer: such as ``"adam"`` or ``Adam(learning_rate=0.01)``.
            loss, loss_weights: such as ``"categorical_crossentropy"`` or a `Loss`; there is one.
            metrics: a list such as ``["acc"]``: names, functions or `Metric` objects.

        For what tinynet does not have, a ValueError is raised, and nothing is changed.
        """
        arguments.refuse("compile", {"loss_weights": loss_weights, **unsupported})
        if optimizer is None or loss is None:
            raise checks.no_optimizer() if optimizer is None else checks.no_loss()
        chosen = tracker.check_metrics(metrics)
        self._loss, self.optimizer = as_loss(loss), optimizers.get(optimizer)
        self.loss, self.metrics_given = loss, chosen

    # The path of a batch

    def forward(self, x: Array, training: bool = False) -> Array:
        """From inputs to outputs, (batch, …), layer by layer."""
        for layer in self._layers:
            x = layer.forward(x, training)
        return x

    def backward(self, gradient: Array) -> Array | None:
        """From what `objective.backward` gave to the gradient of every weight, layer by layer.

        The way ends at the lowest layer that trains: nothing below it wants a gradient.
        """
        layers: list[Any] = self._layers[self._lowest :]
        for layer in reversed(layers):
            fused = self.objective.fused and layer is self.objective.layer
            gradient = layer.backward_from_z(gradient) if fused else layer.backward(gradient)
            if self.watch is not None:
                self.watch(layer, gradient)
        return gradient

    # Getting ready

    def start_evaluation(self, input_shape: Shape) -> None:
        """Build the model if needed, and put the loss on top of its last layer."""
        self.ensure_built(input_shape)
        self.objective = Objective(self._loss, self._layers, self._trainable)

    def start_training(self, input_shape: Shape) -> None:
        """`start_evaluation`, and give the optimizer the weights that train."""
        self.start_evaluation(input_shape)
        trains = [self.trainable and bool(layer.trainable_weights) for layer in self._layers]
        self.go_down_to(trains.index(True) if any(trains) else len(trains))
        self.ready_optimizer()

    def go_down_to(self, lowest: int | None) -> None:
        """End the way back at a layer, by its number; None goes to the input."""
        self._lowest = lowest or 0
        for number, layer in enumerate(self._layers):
            layer.passes_gradient = number != lowest

    def ready_optimizer(self) -> None:
        """Give the optimizer the weights that train; a ValueError if it has begun with others."""
        self.parameters.ensure(self.dtype)
        parts = self.parameters.train(self._trainable)
        arrays = [weights for _, weights in self.parameters.pairs]
        if not self.optimizer.built:
            self.optimizer.build(arrays, parts)
        elif not self.optimizer.is_built_for(arrays):
            raise checks.other_weights(self.name)

    def __call__(self, x: Any, training: bool = False) -> HostArray:
        """The outputs for a batch `x`, as a NumPy array. `predict` does the same in batches."""
        x = self.adapt(validation.as_array(x, "x"))
        self.ensure_built(x.shape)
        self.compute_output_shape(x.shape)
        self.parameters.check_place()
        with backend.at(self.parameters.anchor), backend.quiet():
            for layer in self._layers:
                layer.follow()
            return backend.to_numpy(self.forward(backend.xp.asarray(x, self.dtype), training))

    fit = training.fit
    train_on_batch = training.train_on_batch
    evaluate = evaluation.evaluate
    test_on_batch = evaluation.test_on_batch
    predict = evaluation.predict
    summary = summary.summary
    trace = trace.trace
    to = device.to
    save_weights = hdf5.save_weights
    load_weights = hdf5.load_weights
    save = saving.save_model
    to_json = saving.to_json
    get_config = saving.get_config
    from_config = classmethod(load.from_config)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if self.optimizer is not None and self.optimizer.built and self.flat is not None:
            self.optimizer.rebind([weights for _, weights in self.parameters.pairs])


load_model, model_from_json = load.loaders(Sequential)
