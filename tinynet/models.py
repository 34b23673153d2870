"""`Sequential`: layers in a row, with Keras's methods to train them, look at them and use them.

The stack itself is a `Network`. Here it gets an optimizer, a loss and metrics, and hands `fit`,
`evaluate` and `predict` on to the files that tell those stories.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tinynet import backend, layers, losses, metrics, optimizers, saving, training
from tinynet.backend import Array, HostArray, Shape
from tinynet.callbacks import History
from tinynet.compat import arguments, naming, validation
from tinynet.compat.configuration import dtype_policy
from tinynet.engine import device, evaluation
from tinynet.engine.network import Network
from tinynet.engine.objective import Objective
from tinynet.inspection import trace
from tinynet.inspection.summary import summary
from tinynet.layers import Layer
from tinynet.optimizers import Optimizer
from tinynet.saving import hdf5, load, save_model as save_model
from tinynet.utils import files


class Sequential(Network):
    """Layers in a row: each takes what the one before it gives.

    >>> from tinynet import Input, Sequential
    >>> from tinynet.layers import Dense
    >>> model = Sequential([Input((784,)), Dense(100, "sigmoid"), Dense(10, "softmax")])
    >>> model.count_params()
    79510

    Arguments:
        layers: the layers, from the bottom to the top; more can follow with `add`.
        trainable: False to freeze them all.
        name: the model's name; numbered if not given.

    Source: https://keras.io/api/models/sequential/
    """

    keras_module = "keras"

    def __init__(
        self,
        layers: Iterable[Layer] | None = None,
        trainable: bool = True,
        name: str | None = None,
    ) -> None:
        self.stop_training = False
        self.history: History | None = None
        self.optimizer: Optimizer | None = None
        self.loss: Any = None
        self.objective: Any = None  # an `Objective`, once there is something to look at
        self.gradients_and_weights: list[tuple[Array, Array]] = []
        self._loss: losses.Loss | None = None
        self.metrics_given: list[Any] = []
        self._runs: list[tuple[slice, list[tuple[int, ...]]]] = []
        self._lowest = 0
        super().__init__(layers, trainable, name)

    # Getting ready

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
            loss: such as ``"categorical_crossentropy"`` or a `Loss`.
            loss_weights: weighs several losses in Keras; here there is one, so None.
            metrics: a list such as ``["acc"]``: names, functions or `Metric` objects.

        Raises:
            ValueError: for what is not known, or Keras has and tinynet has not; then nothing is
                changed.

        Source: https://keras.io/api/models/model_training_apis/#compile-method
        """
        arguments.refuse("compile", {"loss_weights": loss_weights, **unsupported})
        if optimizer is None:
            raise validation.no_optimizer()
        if loss is None:
            raise ValueError(
                "Expected a loss, received none. Write: "
                "model.compile(optimizer='adam', loss='categorical_crossentropy')"
            )
        chosen = metrics_from(metrics)
        self._loss, self.optimizer = losses.as_loss(loss), optimizers.get(optimizer)
        self.loss, self.metrics_given = loss, chosen

    def check_compiled(self) -> None:
        """Raise a ValueError if `compile` was not called."""
        if self.optimizer is None:
            raise validation.not_compiled(self.name)

    def check_can_train(self) -> None:
        """Raise a ValueError if `compile` was not called, or the weights live in another model."""
        self.check_compiled()
        if self.lender is not None:
            raise ValueError(
                f"Expected a model whose layers are its own, but layers of '{self.name}' live in "
                f"model '{self.lender.name}' and are only borrowed here: train that one, and this "
                "one predicts with what it learned. Or make new layers: "
                f"{type(self).__name__}.from_config(model.get_config())"
            )

    def check_targets(self, target: Shape, output: Shape) -> None:
        """Raise a ValueError if targets of a shape do not belong to outputs of another."""
        assert self._loss is not None
        self._loss.check_shapes(target, output)

    def metrics_for(self, target_shape: Shape) -> dict[str, metrics.Metric]:
        """The metrics by name, in `compile`'s order, for targets of this shape."""
        named: dict[str, metrics.Metric] = {}
        for given in self.metrics_given:
            metric = metrics.resolve(given, target_shape, self.output_shape)
            name, number = metric.name, 0
            while name in named:
                number += 1
                name = f"{metric.name}_{number}"
            named[name] = metric
        return named

    def start_evaluation(self, input_shape: Shape) -> None:
        """Build the model if needed, and put the loss on top of its last layer."""
        assert self._loss is not None
        self.ensure_built(input_shape)
        self.objective = Objective(self._loss, *self._layers, trains=self._trainable)

    def start_training(self, input_shape: Shape) -> None:
        """The same; and give the optimizer the weights that train.

        Raises:
            ValueError: if the optimizer has begun with other weights.
        """
        self.start_evaluation(input_shape)
        self._find_lowest()
        self.ready_optimizer()

    def ready_optimizer(self) -> None:
        """Give the optimizer the weights that train."""
        assert self.optimizer is not None
        self.ensure_flat()
        runs = self.trained_runs()
        vectors = [weights.base for _, weights in self.gradients_and_weights]
        if runs != self._runs or any(vector is not self.flat for vector in vectors):
            self._runs = runs
            self.pair()
        arrays = [weights for _, weights in self.gradients_and_weights]
        if not self.optimizer.built:
            self.optimizer.build(arrays, [shapes for _, shapes in runs])
        elif not self.optimizer.is_built_for(arrays):
            raise ValueError(
                f"The optimizer of model '{self.name}' has begun with other weights: layers were "
                "added, removed, frozen or unfrozen since, or it belongs to another model. "
                "Call model.compile(…) again, with a new optimizer."
            )

    def pair(self) -> None:
        """Pair each run of weights that train with its gradients, wherever the two are now."""
        self.gradients_and_weights = [
            (self.flat_gradient[run], self.flat[run]) for run, _ in self._runs
        ]

    def _find_lowest(self) -> None:
        trains = [self.trainable and bool(layer.trainable_weights) for layer in self._layers]
        self._lowest = trains.index(True) if any(trains) else len(trains)
        for number, layer in enumerate(self._layers):
            layer.passes_gradient = number != self._lowest

    def backward(self, gradient: Array) -> None:
        """From the gradient of the loss to that of every weight, layer by layer from the top.

        The way ends at the lowest layer that trains: nothing below it wants a gradient.
        """
        layers: list[Any] = self._layers[self._lowest :]
        for layer in reversed(layers):
            if self.objective.fused and layer is self.objective.layer:
                gradient = layer.backward_from_z(gradient)
            else:
                gradient = layer.backward(gradient)

    # Training, looking, using

    def __call__(self, x: Any, training: bool = False) -> HostArray:
        """The outputs for a batch `x`, as a NumPy array. `predict` does the same in batches."""
        x = self.adapt(validation.as_array(x, "x"))
        self.ensure_built(x.shape)
        self.compute_output_shape(x.shape)
        self.check_place()
        with backend.at(self.anchor), backend.quiet():
            for layer in self._layers:
                layer.follow()
            return backend.to_numpy(self.forward(backend.xp.asarray(x, self.dtype), training))

    fit = training.fit
    train_on_batch = training.train_on_batch
    evaluate = evaluation.evaluate
    test_on_batch = evaluation.test_on_batch
    predict = evaluation.predict
    trace = trace.trace
    to = device.to
    save_weights = hdf5.save_weights
    load_weights = hdf5.load_weights
    save = saving.save_model
    to_json = saving.to_json

    def summary(
        self,
        line_length: int | None = None,
        positions: Sequence[float] | None = None,
        print_fn: Any = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
        layer_range: Any = None,
    ) -> None:
        """Print a table of the layers, their output shapes and how many weights they have.

        Arguments:
            line_length: the width in characters.
            print_fn: a function to call with the text instead of printing it.
            show_trainable: whether a column says which layers train.
            positions, expand_nested, layer_range: Keras's; leave them as they are.
        """
        given = {"positions": positions, "layer_range": layer_range, "expand_nested": expand_nested}
        arguments.refuse("summary", given)
        summary(self, line_length, print_fn, show_trainable)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if self.optimizer is not None and self.optimizer.built and self.flat is not None:
            self.pair()
            self.optimizer.rebind([weights for _, weights in self.gradients_and_weights])

    # Configuration

    def get_config(self) -> dict[str, Any]:
        """The architecture, without weights, in Keras's form."""
        config: dict[str, Any] = {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": dtype_policy(self.dtype),
            "layers": [
                layers.serialize(layer) for layer in (self.input_layer, *self._layers) if layer
            ],
        }
        if self.built:
            config["build_input_shape"] = self.input_shape
        return config

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> "Sequential":
        """A model of the same architecture, with new weights, from what `get_config` returned.

        Arguments:
            custom_objects: classes and functions of your own that it names, by name.

        Raises:
            ValueError: for a layer that neither tinynet nor `custom_objects` has.
        """
        model = cls(trainable=config.get("trainable", True), name=config.get("name"))
        with naming.custom_objects(custom_objects):
            found = [layers.get(layer) for layer in config["layers"]]
        for layer in found:
            model.add(layer)
        if not model.built and config.get("build_input_shape") and model.layers:
            model.build(config["build_input_shape"])
        return model


def metrics_from(given: Any) -> list[Any]:
    """The list that `compile` was given, each entry checked."""
    if given is not None and not isinstance(given, list | tuple):
        raise ValueError(
            "Expected `metrics` argument to be a list, tuple, or dict. Received instead: "
            f"metrics={given} of type {type(given)}. Write: metrics=['acc']"
        )
    for identifier in given or ():
        metrics.check(identifier)
    return list(given or ())


def load_model(
    filepath: files.PathLike,
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
) -> Sequential:
    """The model in a ``.keras`` file of tinynet's or Keras's, ready to train on where it was.

    Arguments:
        filepath: the file.
        custom_objects: classes and functions of your own that it names, by name.
        compile: whether to take compile settings and the optimizer's state over, too.
        safe_mode: True; nothing in a file is ever evaluated.

    Raises:
        ValueError: for a file that is not there, or damaged; for layers, or other parts, that
            tinynet does not have, by name; for weights that do not belong to those layers.
        ImportError: without h5py.

    Source: https://keras.io/api/models/model_saving_apis/model_saving_and_loading/
    """
    return load.load_model(Sequential, filepath, custom_objects, compile, safe_mode)


def model_from_json(
    json_string: str, custom_objects: Mapping[str, Any] | None = None
) -> Sequential:
    """A new model of the architecture that `Sequential.to_json` of tinynet's or Keras's wrote.

    Raises:
        ValueError: if it is no such text, or names what tinynet does not have.

    Source: https://keras.io/api/models/model_saving_apis/model_config_serialization/
    """
    return load.model_from_json(Sequential, json_string, custom_objects)
