"""`Sequential`: a stack of layers, with Keras's methods to train, inspect and use it.

`engine.network` stacks and builds the layers, and `engine.parameters` holds their weights. This
page passes a batch forward through the layers, and its gradient backward.
Source: https://keras.io/api/models/
"""

from collections.abc import Sequence

from tinynet import optimizers, saving, training
from tinynet.backend.types import UNSET, Array, Identifier
from tinynet.callbacks import History
from tinynet.compat import arguments, guards, missing, rules
from tinynet.compat.targets import as_loss
from tinynet.engine import device, evaluation, tracker
from tinynet.engine.network import BackwardHook, Layers
from tinynet.engine.preparation import Prepared
from tinynet.inspection import model_table, summary, trace
from tinynet.losses import Objective
from tinynet.saving import hdf5, load, save_model as save_model


class Sequential(Prepared):
    """A linear stack of layers: the output of each is the input of the next.

    >>> from tinynet import Input, Sequential
    >>> from tinynet.layers import Dense
    >>> model = Sequential([Input((784,)), Dense(100, "sigmoid"), Dense(10, "softmax")])
    >>> model.count_params()
    79510

    Arguments:
        layers: the layers, from input to output; `add` appends more.
        trainable, name: False to freeze all layers; the model's name, generated if not given.
    """

    optimizer: optimizers.Optimizer = guards.converted("optimizer", optimizers.get)
    loss = guards.converted("loss", as_loss, into="loss_object")  # as given, and as a `Loss`

    def __init__(self, layers: Layers = None, trainable: bool = True, name: str | None = None):
        self.stop_training = False
        self.history: History | None = None
        self.optimizer = self.loss = UNSET
        self.objective: Objective = UNSET  # set by the first `fit` or `evaluate`
        self.compile_metrics: list[Identifier] = []
        self.on_backward: BackwardHook | None = None  # called with each layer and its gradient
        super().__init__(layers, trainable, name)

    def compile(
        self, optimizer: Identifier = "rmsprop", loss: Identifier = None,
        loss_weights: object = None, metrics: Sequence[Identifier] | None = None,
        **unsupported: object,
    ) -> None:  # fmt: skip
        """Configure training: the optimizer, the loss, and the metrics to report.

        Arguments:
            optimizer: such as ``"adam"`` or ``Adam(learning_rate=0.01)``.
            loss, loss_weights: such as ``"mse"`` or a `Loss`; None, as there is only one loss.
            metrics: a list such as ``["acc"]``: names, functions or `Metric` objects.
        """
        arguments.refuse("compile", {"loss_weights": loss_weights, **unsupported})
        if optimizer is None or loss is None:
            raise rules.missing_optimizer() if optimizer is None else rules.missing_loss()
        checked, chosen = tracker.check_metrics(metrics), optimizers.get(optimizer)
        self.loss, self.optimizer, self.compile_metrics = loss, chosen, checked

    # The path of a batch

    def forward(self, x: Array, training: bool = False) -> Array:
        """Return the outputs for inputs `x`, (batch, …), layer by layer."""
        for layer in self._layers:
            x = layer.forward(x, training)
        return x

    def backward(self, gradient: Array) -> Array | None:
        """Compute the gradient of every weight, layer by layer, from that of `objective.backward`.

        This ends at the lowest trainable layer, because no layer below it needs a gradient. A model
        inside another one gets ∂L/∂output, and passes it on.
        """
        whole, fused, lowest = self.objective, False, 0
        if whole is not None and whole.begun:
            whole.begun, fused, lowest = False, whole.fused, self._lowest_trained
        for layer in reversed(self._layers[lowest:]):
            gradient = layer.backward_from_z(gradient) if fused else layer.backward(gradient)
            fused = False
            if self.on_backward is not None:
                self.on_backward(layer, gradient)
        return gradient

    fit = arguments.named(training.fit)
    train_on_batch = arguments.named(training.train_on_batch)
    evaluate = arguments.named(evaluation.evaluate)
    test_on_batch = arguments.named(evaluation.test_on_batch)
    predict = arguments.named(evaluation.predict)
    predict_on_batch = arguments.named(evaluation.predict_on_batch)
    summary = summary.summary
    _repr_html_ = model_table.model_table
    trace = trace.trace
    to = device.to
    save_weights = hdf5.save_weights
    load_weights = hdf5.load_weights
    save = saving.save_model
    to_json = saving.to_json
    get_config = saving.get_config
    from_config = classmethod(load.from_config)


load_model = saving.for_class(load.load_model, Sequential)
model_from_json = saving.for_class(load.model_from_json, Sequential)
missing.teach(__name__)
