"""The stack of layers under `Sequential`: adding, removing, building and looking up layers.

The forward pass, the backward pass and training are in `models.Sequential`; `parameters` stores the
weights.
"""

from collections.abc import Callable, Iterable

from tinynet import backend, config
from tinynet.backend.types import Array, Device, HostArray, Shape, Sizes, State
from tinynet.compat import checks, naming
from tinynet.compat.weights import HasWeights
from tinynet.engine.parameters import Parameters, owner_of
from tinynet.layers import InputLayer, Layer

Layers = Iterable[Layer] | None
BackwardHook = Callable[[Layer, Array | None], None]  # gets a layer and its input's gradient


class Network(HasWeights):
    """The base of `Sequential`: a stack of layers and their weights, without training."""

    def __init__(self, layers: Layers = None, trainable: bool = True, name: str | None = None):
        self.name = naming.unique_name(self) if name is None else naming.check_name(name)
        self.built = False
        self._trainable = bool(trainable)
        self.active_calls = 0  # how many calls of `fit`, `evaluate` … are under way
        self.dtype = config.floatx()
        self.input_layer: InputLayer | None = None
        self._layers: list[Layer] = []
        self.parameters = Parameters(self.name, self._layers)
        for layer in layers or ():
            self.add(layer)

    # Layers

    @property
    def layers(self) -> list[Layer]:
        """The layers, from the bottom to the top, without the `Input`."""
        return list(self._layers)

    @property
    def input_shape(self) -> Shape | None:
        """The shape of a batch of inputs, (None or batch, …); None until it is known."""
        return self.input_layer.batch_shape if self.input_layer else None

    @property
    def output_shape(self) -> Shape:
        """The shape of a batch of outputs, (None or batch, …)."""
        if not self.built:
            raise AttributeError(f"Sequential model '{self.name}' has no defined output shape yet.")
        return self.compute_output_shape(self.input_shape or ())

    def add(self, layer: Layer) -> None:
        """Add `layer` on top; if the model's input shape is known, create its weights immediately.

        Raises:
            ValueError: if it is not a layer, has the name of another layer, or does not fit;
                nothing is changed then.
        """
        if not isinstance(layer, Layer):
            raise ValueError(
                "Only instances of `tinynet.Layer` can be added to a Sequential model. Received: "
                f"{layer!r} (of type {type(layer)}). Write: model.add(tinynet.layers.Dense(10))"
            )
        if isinstance(layer, InputLayer):
            if self._layers or self.input_layer:
                raise ValueError(
                    f"Sequential model '{self.name}' has already been configured to use input "
                    "shape or layers. An Input comes first, and only once. "
                    "Write: Sequential([Input((784,)), …])"
                )
            self.input_layer = layer
            return
        if any(layer.name == other.name for other in self._layers):
            raise ValueError(
                "All layers added to a Sequential model should have unique names. Name "
                f"'{layer.name}' is already the name of a layer in this model. Update the `name` "
                "argument to pass a unique name."
            )
        declared = None
        if not self._layers and not self.input_layer and layer.declared_shape is not None:
            declared = InputLayer(batch_shape=layer.declared_shape)
        self._layers.append(layer)
        shape = declared.batch_shape if declared else self.input_shape
        if shape is None:
            return
        try:
            self._make_weights(shape)
        except Exception:
            self._layers.pop()
            raise
        self.input_layer = declared or self.input_layer

    def pop(self) -> Layer:
        """Remove the top layer and return it.

        Raises:
            IndexError: if there is no layer.
        """
        if not self._layers:
            raise IndexError(f"Expected a layer to pop, but model '{self.name}' has none.")
        layer = self._layers.pop()
        if owner_of(layer) is self.parameters:
            layer.owner = None
        self.built = False
        if self._layers and self.input_shape is not None:
            self._make_weights(self.input_shape)
        return layer

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """Return the layer with the given name, or at the given index.

        Raises:
            ValueError: if there is no such layer, or not exactly one of the two is given.
        """
        names = [layer.name for layer in self._layers]
        if index is not None and name is not None:
            raise ValueError("Provide only a layer name or a layer index at `get_layer`.")
        if index is not None:
            if not -len(names) <= index < len(names):
                raise ValueError(
                    f"Was asked to retrieve layer at index {index} but model only has "
                    f"{len(names)} layers."
                )
            return self._layers[index]
        if name is None:
            raise ValueError("Provide either a layer name or layer index at `get_layer`.")
        if name not in names:
            raise ValueError(f"No such layer: {name}. Existing layers are: {names}.")
        return self._layers[names.index(name)]

    # Shapes and weights

    def build(self, input_shape: Sizes | None = None) -> None:
        """Create the weights for inputs of `input_shape`, (None or batch, …).

        Raises:
            ValueError: if there is no layer or no shape, or a layer does not accept its input
                shape; no layer is built then.
        """
        self._check_not_empty()
        shape = self.input_shape if input_shape is None else tuple(input_shape)
        if shape is None:
            raise ValueError(
                f"Expected an input shape for building model '{self.name}', received none. "
                "Write: model.build((None, 784))"
            )
        self.compute_output_shape(shape)
        if not self.built:
            self._make_weights(shape)
            self.input_layer = self.input_layer or InputLayer(batch_shape=shape)

    def ensure_built(self, input_shape: Shape) -> None:
        """Build the model for `input_shape` unless it is already built."""
        if not self.built:
            self.build(input_shape)

    def unbuild(self, layers: Iterable[Layer], input_layer: InputLayer | None) -> None:
        """Discard the weights of `layers`, and reset the input to `input_layer`."""
        for layer in layers:
            layer.unbuild()
        self.parameters = Parameters(self.name, self._layers)  # the layers have no owner now
        self.built, self.input_layer = False, input_layer

    def _make_weights(self, shape: Shape) -> None:
        """Build the layers that are not built yet, all or none, and gather their weights."""
        fresh = [layer for layer in self._layers if not layer.built]
        with backend.use_device(self.parameters.device):
            try:
                for layer in self._layers:
                    if layer.dtype not in (None, self.dtype):
                        raise ValueError(
                            f"Expected all layers of model '{self.name}' to compute in "
                            f"{self.dtype}, received layer '{layer.name}' with dtype "
                            f'{layer.dtype}. Write: tinynet.config.set_floatx("{layer.dtype}") '
                            "before creating the model"
                        )
                    layer.dtype = self.dtype
                    layer.ensure_built(shape)
                    shape = tuple(layer.compute_output_shape(shape))
            except Exception:
                for layer in fresh:
                    layer.unbuild()
                raise
            self.parameters.gather(self.dtype)
        self.built = True

    @property
    def device(self) -> Device | None:
        """The device that the model computes on, that of its weights; None before there are any."""
        return self.parameters.device

    @property
    def flat(self) -> Array:
        """All weights that have a gradient, as one vector; the layers hold views of it."""
        return self.parameters.flat

    @flat.setter
    def flat(self, values: Array) -> None:
        self.parameters.flat[...] = values  # ``model.flat += …`` also ends here

    def compute_output_shape(self, input_shape: Sizes) -> Shape:
        """Return the output shape for inputs of `input_shape`; nothing is built or changed.

        Raises:
            ValueError: if there is no layer, or a layer does not accept its input shape.
        """
        self._check_not_empty()
        shape = tuple(input_shape)
        for layer in self._layers:
            if layer.built:
                layer.check_input(shape)
            shape = tuple(layer.compute_output_shape(shape))
        return shape

    def _check_not_empty(self) -> None:
        if not self._layers:
            raise ValueError(
                f"Sequential model {self.name} cannot be built because it has no layers. "
                "Call `model.add(layer)`."
            )

    def adapt(self, x: HostArray) -> HostArray:
        """Return `x` in the shape that this model takes, or raise a ValueError if it cannot fit."""
        return (
            x
            if self.input_shape is None
            else checks.match_input_shape(x, self.input_shape, self.name)
        )

    @property
    def weights(self) -> list[Array]:
        """The live weights: layer by layer, a layer's kernel before its bias."""
        return [weight for layer in self._layers for weight in layer.weights]

    @property
    def trainable_weights(self) -> list[Array]:
        """The weights that training changes by gradients; none if the model is frozen."""
        if not self._trainable:
            return []
        return [weight for layer in self._layers for weight in layer.trainable_weights]

    @property
    def non_trainable_weights(self) -> list[Array]:
        """The weights that training does not change by gradients; all if the model is frozen."""
        if not self._trainable:
            return self.weights
        return [weight for layer in self._layers for weight in layer.non_trainable_weights]

    @property
    def trainable(self) -> bool:
        """Whether the model trains at all; setting it also sets it for all layers."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)
        for layer in self._layers:
            layer.trainable = bool(value)

    # Copying and pickling

    def __getstate__(self) -> State:
        return {**vars(self), "parameters": self.parameters.runs, "active_calls": 0}

    def __setstate__(self, state: State) -> None:
        runs = state["parameters"]
        vars(self).update(state)
        self.parameters = Parameters(self.name, self._layers)
        if self.built:  # the copied layers have separate arrays: gather them into one vector again
            with backend.use_device(self.parameters.device):
                self.parameters.gather(self.dtype)
                self.parameters.make_pairs(runs)
