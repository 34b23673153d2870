"""The stack of layers under `Sequential`: adding, removing, building and looking up layers.

The forward pass, the backward pass and training are in `models.Sequential`; `parameters` stores the
weights.
"""

from collections.abc import Callable, Iterable

from tinynet import backend, config
from tinynet.backend import turns
from tinynet.backend.types import (
    AnyLayer,
    Array,
    Compiled,
    Device,
    HostArray,
    Shape,
    Sizes,
    State,
)
from tinynet.compat import checks, guards, naming
from tinynet.compat.weights import every_layer
from tinynet.engine.parameters import Parameters, owner_of
from tinynet.engine.surface import ModelSurface
from tinynet.engine.tracker import by_sample
from tinynet.layers import InputLayer, Layer

Layers = Iterable[AnyLayer] | None
BackwardHook = Callable[[Layer, Array | None], None]  # gets a layer and its input's gradient


class Network(ModelSurface):
    """The base of `Sequential`: a stack of layers and their weights, without training.

    It may be a layer of another model, and has the methods of a layer that this needs.
    """

    _is_model = True
    declared_shape = owner = None  # only layers have these, see `LayerBase`
    forward: Callable[..., Array]
    backward: Callable[..., Array | None]
    optimizer: Compiled
    loss_object: Compiled
    objective: Compiled

    def __init__(self, layers: Layers = None, trainable: bool = True, name: str | None = None):
        guards.refuse_methods(self)
        self.name = naming.unique_name(self) if name is None else naming.check_name(name)
        self.built = False
        self._trainable = bool(trainable)
        self.active_calls = 0  # how many calls of `fit`, `evaluate` … are under way
        self.training_thread: int | None = None  # the thread that trains the model now
        self._lowest_trained = 0  # where the backward pass ends
        self._unchanged_at = -1  # `Changes.count` when this was last compared
        self.resolved_metrics: list[Compiled] = []  # those of the last `fit` or `evaluate`
        self.prepared: list[object] = []  # what the training was last prepared for
        self._own_dtype: str | None = config.floatx()
        self.input_layer: InputLayer | None = None
        self._layers: list[AnyLayer] = []
        self.parameters = Parameters(self.name, self._layers)
        for layer in layers or ():
            self._append(layer)
        if self._layers and self.shape_of_input is not None:
            self._make_weights(self.shape_of_input)  # once: it goes through all layers

    # Layers

    def penalty(self) -> None:
        """Return None, as the layers inside have penalties of their own."""

    def layers_inside(self) -> list[AnyLayer]:
        return self._layers

    @property
    def by_sample(self) -> bool:
        """Whether a sample's output does not depend on the others in its batch, see `Layer`."""
        return all(map(by_sample, self._layers))

    @turns.turn()
    def add(self, layer: "Layer | Network", rebuild: bool = True) -> None:
        """Add `layer`, which may be a model, on top.

        If the model's input shape is known, its weights are created immediately, unless `rebuild`
        is False; then the model has to be built again.

        Raises:
            ValueError: if it is not a layer, has the name of another layer, or does not fit;
                nothing is changed then.
        """
        before = self.input_layer
        self._append(layer)
        self.built = self.built and rebuild
        if not self._layers or self.shape_of_input is None or not rebuild:
            return
        try:
            self._make_weights(self.shape_of_input)
        except Exception:
            self._layers.pop()
            self.input_layer = before
            raise

    def _append(self, layer: "Layer | Network") -> None:
        """Add `layer` without its weights, or raise the errors of `add` that need none."""
        if not isinstance(layer, Layer | Network):
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
        known = {id(self), *map(id, flattened(self._layers))}
        if any(id(each) in known for each in flattened([layer])):
            raise ValueError(
                f"Expected a layer that model '{self.name}' does not have yet, received "
                f"'{layer.name}', which is in it or has one of its layers: a layer remembers one "
                "batch, and has one place in a model. Write: a new layer"
            )
        if any(layer.name == other.name for other in self._layers):
            raise ValueError(
                "All layers added to a Sequential model should have unique names. Name "
                f"'{layer.name}' is already the name of a layer in this model. Update the `name` "
                "argument to pass a unique name."
            )
        # As in Keras, a model that comes first gives its shape once there is a second layer.
        shape = (
            getattr(self._layers[0], "shape_of_input", None)
            if self._layers
            else layer.declared_shape
        )
        if shape is not None and not self.input_layer:
            self.input_layer = InputLayer(batch_shape=shape)
        self._layers.append(layer)

    @turns.turn()
    def pop(self, rebuild: bool = True) -> "Layer | Network":
        """Remove the top layer and return it; without `rebuild`, the model has to be built again.

        Raises:
            IndexError: if there is no layer.
        """
        if not self._layers:
            raise IndexError(f"Expected a layer to pop, but model '{self.name}' has none.")
        layer: Layer | Network = self._layers.pop()
        for _, each, _ in every_layer([layer]):
            if owner_of(each) is self.parameters:
                each.owner = None
        self.built = False
        if self._layers and self.shape_of_input is not None and rebuild:
            self._make_weights(self.shape_of_input)
        return layer

    def get_layer(self, name: str | None = None, index: int | None = None) -> AnyLayer:
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
        shape = self.shape_of_input if input_shape is None else tuple(input_shape)
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

    def unbuild(
        self, layers: Iterable[AnyLayer] | None = None, input_layer: InputLayer | None = None
    ) -> None:
        """Discard the weights of `layers`, or of all, and reset the input to `input_layer`."""
        for layer in self._layers if layers is None else layers:
            layer.unbuild()
        self.parameters = Parameters(self.name, self._layers)  # the layers have no owner now
        self.built, self.input_layer = False, input_layer

    @turns.turn()
    def _make_weights(self, shape: Shape) -> None:
        """Build the layers that are not built yet, all or none, and gather their weights."""
        fresh = [layer for layer in self._layers if not layer.built]
        with backend.use_device(self.parameters.device):
            try:
                for layer in self._layers:
                    if layer._own_dtype not in (None, self.dtype):
                        raise ValueError(
                            f"Expected all layers of model '{self.name}' to compute in "
                            f"{self.dtype}, received layer '{layer.name}' with dtype "
                            f'{layer.dtype}. Write: tinynet.config.set_floatx("{layer.dtype}") '
                            "before creating the model"
                        )
                    for _, each, _ in every_layer([layer]):
                        each._own_dtype = each._own_dtype or self.dtype
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
            if self.shape_of_input is None
            else checks.match_input_shape(x, self.shape_of_input, self.name)
        )

    # Copying and pickling

    def __getstate__(self) -> State:
        idle: State = {"active_calls": 0, "training_thread": None, "prepared": []}
        state = guards.without_batches(vars(self))
        return {**state, **idle, "parameters": self.parameters.runs}

    def __setstate__(self, state: State) -> None:
        runs = state["parameters"]
        vars(self).update(state)
        self.parameters = Parameters(self.name, self._layers)
        if self.built:  # the copied layers have separate arrays: gather them into one vector again
            with backend.use_device(self.parameters.device):
                self.parameters.gather(self.dtype)
                self.parameters.make_pairs(runs)


def flattened(layers: Iterable[AnyLayer]) -> list[AnyLayer]:
    """Return `layers`, each followed by those of the models among them."""
    return [
        each
        for layer in layers
        for each in (layer, *(flattened(layer.layers) if isinstance(layer, Network) else ()))
    ]
