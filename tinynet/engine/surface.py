"""The attributes of Keras's models that follow from others: shapes, metrics, configurations.

`network.Network`, the stack of layers, derives from this.
"""

from tinynet.backend.types import AnyLayer, Compiled, Config, Shape
from tinynet.compat.surface import Symbol
from tinynet.compat.weights import HasWeights
from tinynet.layers import InputLayer
from tinynet.saving.load import compile_from
from tinynet.saving.save import compile_config


class ModelSurface(HasWeights):
    """A model without its layers' weights and passes."""

    input_layer: InputLayer | None
    _layers: list[AnyLayer]
    optimizer: Compiled
    loss: Compiled
    compile_metrics: list[object]
    resolved_metrics: list[Compiled]  # those of the last `fit` or `evaluate`

    @property
    def layers(self) -> list[AnyLayer]:
        """The layers, from the bottom to the top, without the `Input`: a new list, as in Keras."""
        return list(self._layers)

    @layers.setter
    def layers(self, value: object) -> None:
        raise AttributeError(
            f"Expected the layers of '{self.name}' to be changed one by one, received a list. "
            "Write: model.add(layer) and model.pop(), or Sequential(layers)"
        )

    @property
    def shape_of_input(self) -> Shape | None:
        """The shape of a batch of inputs, (None or batch, …); None until it is known."""
        return self.input_layer.batch_shape if self.input_layer else None

    @property
    def input(self) -> Symbol:
        """The shape and type of the inputs; an AttributeError before they are known."""
        return self._symbol("input", self.shape_of_input)

    @property
    def output(self) -> Symbol:
        """The shape and type of the outputs; an AttributeError before they are known."""
        known = self.built and bool(self._layers)
        shape = self.compute_output_shape(self.shape_of_input or ()) if known else None
        return self._symbol("output", shape)

    @property
    def input_shape(self) -> Shape:
        """The same; an AttributeError, as in Keras, until it is known."""
        return self.input.shape

    @property
    def output_shape(self) -> Shape:
        """The shape of a batch of outputs, (None or batch, …)."""
        return self.output.shape

    @property
    def inputs(self) -> list[InputLayer]:
        """The `Input`, in a list; an AttributeError until its shape is known."""
        return [self.input_layer] if self.input and self.input_layer else []

    @property
    def outputs(self) -> list[Symbol]:
        """The shape and type of the outputs, in a list."""
        return [self._layers[-1].output] if self.output else []

    @property
    def compiled(self) -> bool:
        """Whether `compile` was called."""
        return self.optimizer is not None and self.loss is not None

    @property
    def metrics(self) -> list[object]:
        """The `Metric`s of the last `fit` or `evaluate`, in `compile`'s order."""
        return list(self.resolved_metrics)

    @property
    def metrics_names(self) -> list[str]:
        """Keras's names of the loss and of all metrics together, after `compile`."""
        return ["loss", "compile_metrics"][
            : 2 if self.compile_metrics else self.loss_object is not None
        ]

    def get_compile_config(self) -> Config | None:
        """Return the settings passed to `compile`, in Keras's form; None before it."""
        return compile_config(self) if self.optimizer is not None else None  # type: ignore[arg-type]

    def compile_from_config(self, config: Config) -> None:
        """Compile the model with settings from `get_compile_config`, of tinynet or Keras."""
        compile_from(config, self, "the configuration")  # type: ignore[arg-type]

    def reset_metrics(self) -> None:
        """Reset the sums of `metrics`."""
        for metric in self.resolved_metrics:
            metric.reset_state()
