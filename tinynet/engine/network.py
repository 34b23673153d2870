"""A stack of layers, and one flat vector of all their weights.

`Network` holds the layers, moves their weights into one vector and their gradients into another,
and passes batches up. Losses, optimizers and epochs are `models.Sequential`'s.
"""

import weakref
from collections.abc import Iterable, Sequence
from typing import Any

from tinynet import backend, config
from tinynet.backend import Array, HostArray, Shape
from tinynet.compat import naming, validation
from tinynet.compat.weights import HasWeights
from tinynet.layers import InputLayer, Layer


class Network(HasWeights):
    """What `Sequential` is before there is anything to learn."""

    def __init__(self, layers: Iterable[Layer] | None, trainable: bool, name: str | None) -> None:
        self.name = naming.unique(self) if name is None else naming.check(name)
        self.built = False
        self._trainable = bool(trainable)
        self.busy = 0  # how many calls of `fit`, `evaluate` … are under way
        self.dtype = config.floatx()
        self.input_layer: InputLayer | None = None
        self.flat: Array = None
        self.flat_gradient: Array = None
        self._layers: list[Layer] = []
        for layer in layers or ():
            self.add(layer)

    # Layers

    @property
    def layers(self) -> list[Layer]:
        """The layers, from the bottom to the top, without the `Input`."""
        return list(self._layers)

    @property
    def input_shape(self) -> Shape | None:
        """The shape of a batch going in, (None or batch, …); None as long as it is not known."""
        return self.input_layer.batch_shape if self.input_layer else None

    @property
    def output_shape(self) -> Shape:
        """The shape of a batch coming out."""
        if not self.built:
            raise AttributeError(f"Sequential model '{self.name}' has no defined output shape yet.")
        return self.compute_output_shape(self.input_shape or ())

    def add(self, layer: Layer) -> None:
        """Put `layer` on top. Where the shape of the input is known, its weights are made at once.

        Raises:
            ValueError: if it is no layer, has the name of another one, or does not fit; then
                nothing is changed.
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
        """Take the top layer off, and return it.

        Raises:
            IndexError: if there is none.
        """
        if not self._layers:
            raise IndexError(f"Expected a layer to pop, but model '{self.name}' has none.")
        layer = self._layers.pop()
        self._release(layer)
        self.built = False
        if self._layers and self.input_shape is not None:
            self._make_weights(self.input_shape)
        return layer

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """The layer of that name, or at that index.

        Raises:
            ValueError: if there is none, with those there are.
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

    def build(self, input_shape: Sequence[int | None] | None = None) -> None:
        """Make the weights, for inputs of `input_shape`, (None or batch, …).

        Raises:
            ValueError: if there is no layer, or a layer cannot take what it would get; then no
                layer is built.
        """
        self._check_not_empty()
        shape = self.input_shape if input_shape is None else tuple(input_shape)
        if shape is None:
            raise ValueError(
                f"Expected an input shape to build model '{self.name}' for, received none. "
                "Write: model.build((None, 784))"
            )
        self.compute_output_shape(shape)
        if not self.built:
            self._make_weights(shape)
            self.input_layer = self.input_layer or InputLayer(batch_shape=shape)

    def ensure_built(self, input_shape: Shape) -> None:
        """Build the model for `input_shape` unless it is built."""
        if not self.built:
            self.build(input_shape)

    def unbuild(self, layers: Iterable[Layer], input_layer: InputLayer | None) -> None:
        """Forget the weights of `layers` and the shape of the input, as if never built."""
        for layer in layers:
            layer.unbuild()
        for layer in self._layers:
            self._release(layer)
        self.built, self.input_layer = False, input_layer

    def _release(self, layer: Layer) -> None:
        if layer.home is not None and layer.home() is self:
            layer.home = None

    def _make_weights(self, shape: Shape) -> None:
        """Build the layers that are not built, all or none, and gather what they made."""
        fresh = [layer for layer in self._layers if not layer.built]
        with backend.at(self.anchor):
            try:
                for layer in self._layers:
                    if layer.dtype not in (None, self.dtype):
                        raise self._another_type(layer)
                    layer.dtype = self.dtype
                    layer.ensure_built(shape)
                    shape = tuple(layer.compute_output_shape(shape))
            except Exception:
                for layer in fresh:
                    layer.unbuild()
                raise
            self.gather_weights()
        self.built = True

    def _another_type(self, layer: Layer) -> ValueError:
        return ValueError(
            f"Expected all layers of model '{self.name}' to compute in {self.dtype}, received "
            f"layer '{layer.name}' with dtype {layer.dtype}. "
            f'Write: tinynet.config.set_floatx("{layer.dtype}") before the model'
        )

    def gather_weights(self) -> None:
        """Move all weights with gradients into one vector, `flat`, and the gradients likewise.

        Each layer keeps views of its part: it reads its kernel and writes its kernel's gradient
        as before. The order is that of `get_weights`. Weights have one home; layers that already
        live in another model stay there, and this one borrows them (see `lender`). All is made in
        the backend in use, wherever it was, and nothing changes until all is made.
        """
        if self.lender is not None:
            return
        names = [(layer, name) for layer in self._layers for name in layer.trained_names]
        xp, size = backend.xp, sum(getattr(layer, name).size for layer, name in names)
        flat, flat_gradient = xp.empty(size, self.dtype), xp.zeros(size, self.dtype)
        homes: list[tuple[Layer, str, Array, Array | None]] = []
        stop = 0
        for layer, name in names:
            old = getattr(layer, name)
            start, stop = stop, stop + old.size
            weight, gradient = (v[start:stop].reshape(old.shape) for v in (flat, flat_gradient))
            backend.fill(weight, old)
            homes.append((layer, name, weight, gradient))
        kept = [(layer, name) for layer in self._layers for name in layer.kept_names]
        homes += [(layer, n, backend.to_active(getattr(layer, n)), None) for layer, n in kept]
        self.flat, self.flat_gradient = flat, flat_gradient
        for layer, name, weight, gradient in homes:
            layer.rehome(name, weight, gradient)
        for layer in self._layers:
            layer.home = weakref.ref(self)
            layer.forget()

    def ensure_flat(self) -> None:
        """Have all weights in `flat`; layers whose former home is gone get one here.

        Raises:
            ValueError: if another array took a weight's place: training would miss it.
        """
        if any(layer.home is None or layer.home() is not self for layer in self._layers):
            self.gather_weights()
        for layer in self._layers:
            for name in layer.trained_names:
                if getattr(layer, name).base is not self.flat:
                    raise ValueError(
                        f"Expected {layer.name}.{name} to be the array that the layer was built "
                        "with, received another one in its place. To change values, write into "
                        f"it: layer.{name}[...] = values, or call layer.set_weights."
                    )

    @property
    def anchor(self) -> Array | None:
        """A weight: where it is, there the model computes. None as long as there is no weight."""
        return next(iter(self.weights), None)

    def check_place(self) -> None:
        """Raise a ValueError if weights are in several places, as borrowed ones can come to be."""
        places = {layer.name: backend.place_of(w) for layer in self._layers for w in layer.weights}
        if self.built and len(set(places.values())) > 1:
            words = ", ".join(f"{name} in {place.name}" for name, place in places.items())
            raise ValueError(
                f"Expected all weights of model '{self.name}' in one place, received {words}. "
                'Write: model.to("numpy"), with the model that lends its layers before this one'
            )

    @property
    def lender(self) -> "Network | None":
        """The other model in whose flat vector weights of this one live, if there is one."""
        for layer in self._layers:
            home = layer.home() if layer.home else None
            if home is not None and home is not self:
                return home
        return None

    def trained_runs(self) -> list[tuple[slice, list[tuple[int, ...]]]]:
        """The parts of the flat vector that train: each unbroken run, and the shapes in it."""
        runs: list[tuple[slice, list[tuple[int, ...]]]] = []
        stop = 0
        for layer in self._layers:
            for name in layer.trained_names:
                weight = getattr(layer, name)
                start, stop = stop, stop + weight.size
                if not (self._trainable and layer.trainable):
                    continue
                if runs and runs[-1][0].stop == start:
                    run, shapes = runs.pop()
                    runs.append((slice(run.start, stop), [*shapes, weight.shape]))
                else:
                    runs.append((slice(start, stop), [weight.shape]))
        return runs

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        """The shape of the outputs for inputs of `input_shape`; nothing is built or changed.

        Raises:
            ValueError: if a layer cannot take what it would get.
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
        """`x` in the shape that this model takes; a ValueError if it does not fit."""
        return x if self.input_shape is None else validation.adapt(x, self.input_shape, self.name)

    @property
    def weights(self) -> list[Array]:
        """The live weights: layer by layer, a layer's kernel before its bias."""
        return [weight for layer in self._layers for weight in layer.weights]

    @property
    def trainable_weights(self) -> list[Array]:
        if not self._trainable:
            return []
        return [weight for layer in self._layers for weight in layer.trainable_weights]

    @property
    def non_trainable_weights(self) -> list[Array]:
        if not self._trainable:
            return self.weights
        return [weight for layer in self._layers for weight in layer.non_trainable_weights]

    @property
    def trainable(self) -> bool:
        """Whether the model trains at all; setting it sets it for all its layers, too."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)
        for layer in self._layers:
            layer.trainable = bool(value)

    # The path of a batch

    def forward(self, x: Array, training: bool = False) -> Array:
        """From inputs to outputs, (batch, …), layer by layer."""
        for layer in self._layers:
            x = layer.forward(x, training)
        return x

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "flat": None, "flat_gradient": None, "busy": 0}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if self.built:  # a copy's layers came with arrays of their own: one vector again
            with backend.at(self.anchor):
                self.gather_weights()
