"""The base of layers: everything besides the mathematics, such as names, building and weights.

`layers.Layer` derives from this, and defines the contract that subclasses fulfil.
"""

import functools
from collections.abc import Callable, Sequence

from tinynet import backend
from tinynet.backend import random, turns
from tinynet.backend.types import (
    AnyLayer,
    Array,
    ArrayLike,
    Config,
    Device,
    DTypeLike,
    HostArray,
    Identifier,
    Shape,
    State,
)
from tinynet.compat import arguments, checks, contracts, functional, guards, naming, rules
from tinynet.compat.configuration import Configurable, dtype_policy
from tinynet.compat.weights import HasWeights, every_layer, parts_of

KEPT_BYTES = 8_000_000  # of buffers that a model keeps between calls


class LayerBase(HasWeights, Configurable):
    """A layer without the contract: its name, shapes, weights, buffers and configuration.

    Arguments:
        name: the layer's name; by default, that of its class, with a number.
        trainable: whether training changes the weights.
        dtype: the float type, `floatx` if not given; all layers of a model must have the same.
        input_shape: the shape of one sample, for the first layer of a model; `input_dim` is short
            for a shape of one axis.
    """

    # Whether inputs can have any type: Flatten only moves numbers, but Dense needs floats.
    any_dtype = False

    # Whether, outside training, a sample's output does not depend on the others in its batch, so
    # that several batches may be evaluated as one. Each user-defined class has to set this itself.
    by_sample: bool = False

    # The type in a configuration, if it is not the type of the computation.
    _config_dtype: str | None = None

    # The names of numeric attributes that training changes, and that are restored if it fails.
    counters: tuple[str, ...] = ()

    # The attributes in which `forward` caches arrays for `backward`; `clear_caches` clears them.
    _caches: tuple[str, ...] = ()

    # The contract, see `layers.Layer`.
    build: Callable[..., None]
    compute_output_shape: Callable[[Shape], Shape]
    forward: Callable[..., Array]
    backward: Callable[..., Array | None]

    def __init__(
        self,
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: str | None = None,
        input_shape: Sequence[int | None] | None = None,
        input_dim: int | None = None,
    ) -> None:
        self.name = naming.unique_name(self) if name is None else name
        self.trainable, self._own_dtype, self.declared_dtype = trainable, dtype, dtype
        self.built = False
        self.input_shape: Shape | None = None
        self.output_shape: Shape | None = None
        if input_dim is not None:
            input_shape = (input_dim,)
        self.declared_shape = None if input_shape is None else (None, *input_shape)
        # False in the lowest trainable layer: no layer below it needs a gradient, so `backward`
        # may skip computing one and return None.
        self.needs_input_gradient = True
        # The shape of the last input of a user-defined `forward`, and so of its gradient.
        self.last_input_shape: Shape | None = None
        # A weak reference to the `Parameters` that hold the weights.
        self.owner: Callable[[], object] | None = None
        self.trainable_names: list[str] = []
        self.non_trainable_names: list[str] = []
        self._gradients: dict[str, Array] = {}  # the arrays that the optimizer reads
        self._buffers: dict[str, Array] = {}
        self._buffers_device: Device | None = None

    passes_gradient = property(lambda self: self.needs_input_gradient)  # its former name

    def penalty(self) -> Array | None:
        """Return what the layer itself adds to the loss, one number, or None for nothing.

        A layer with a penalty adds the penalty's gradient to those of the weights in `backward`.
        """
        return None

    def add_weight(
        self,
        shape: Sequence[int] = (),
        initializer: Identifier = None,
        trainable: bool = True,
        name: str | None = None,
        dtype: str | None = None,
        **unsupported: object,
    ) -> Array:
        """Create a weight as the attribute `name`; if trainable, also ``<name>_gradient``.

        Arguments:
            shape: the shape of the weight.
            initializer: a name or an `Initializer`; `GlorotUniform` if not given.
            trainable: False for state that training does not change by gradients.
            name: the name of the attribute.
        """
        if dtype != self.dtype:
            unsupported["dtype"] = dtype
        arguments.refuse("add_weight", unsupported)
        if name is None or not name.isidentifier():
            raise ValueError(
                f"Expected the weight's name to be a Python identifier, received: {name!r}. "
                'Write: self.add_weight(shape=(3,), name="scale")'
            )
        guards.take_room(self.name, name, tuple(shape))
        draw = naming.GETTERS["initializer"](
            "glorot_uniform" if initializer is None else initializer
        )
        weight = contracts.initial_values(draw, tuple(shape), self.dtype)
        setattr(self, name, weight)
        if trainable:
            self.set_gradient(name, backend.xp.zeros_like(weight))
        (self.trainable_names if trainable else self.non_trainable_names).append(name)
        return weight

    def set_gradient(self, name: str, array: Array) -> None:
        """Make `array` the one in which `backward` leaves the gradient of the weight `name`."""
        self._gradients[name] = array
        setattr(self, f"{name}_gradient", array)

    def layers_inside(self) -> list[HasWeights]:
        """Return the layers in attributes of a user-defined one, also in lists and dictionaries.

        A layer or model that this one is inside of is not among them.
        """
        if naming.is_builtin(type(self)):
            return []
        return [
            each
            for each in layers_in(vars(self))
            if all(one is not self for one in layers_in(vars(each)))
        ]

    def buffer(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """Return an array of `shape` to write to, which is reused in every step.

        It is as long as the longest batch so far; a shorter batch gets the first rows of it.
        """
        array = self._buffers.get(name)
        if array is not None and array.shape == shape and array.dtype == dtype:
            return array
        if (
            array is None
            or len(array) < shape[0]
            or array.shape[1:] != shape[1:]
            or array.dtype != dtype
        ):
            array = self._buffers[name] = backend.xp.empty(shape, dtype)
        return array[: shape[0]]

    def random_bits(self, shape: tuple[int, ...], key: int | Array) -> Array:
        """Return a uint32 array of `shape` whose bits are random, and determined by `key`."""
        bits, scratch = self.buffer("bits", shape, "uint32"), self.buffer("shift", shape, "uint32")
        places = self._buffers.get("places")
        if places is None or places.size < bits.size:
            places = self._buffers["places"] = backend.xp.arange(bits.size, dtype="uint32")
        places = places[: bits.size].reshape(shape)
        random.fill_with_bits(bits, places, key, scratch, backend.xp)
        return bits

    def ensure_built(self, input_shape: Shape) -> None:
        """Build the layer for `input_shape`, or check the shape if the layer is already built."""
        if self.built:
            self.check_input(input_shape)
            return
        output_shape = tuple(self.compute_output_shape(input_shape))
        self.build(input_shape)
        self._mark_built(input_shape, output_shape)

    def _mark_built(self, input_shape: Shape, output_shape: Shape) -> None:
        guards.refuse_methods(self)
        self.input_shape, self.output_shape = tuple(input_shape), tuple(output_shape)
        self._own_dtype = self.dtype
        for layer in self.layers_inside():
            rules.inner_layer(self.name, layer)
        self.built = True

    def __init_subclass__(cls, **arguments: object) -> None:
        """Wrap `build`, so that calling ``layer.build(shape)`` also marks the layer as built.

        A user-defined `forward` and `backward` receive copies, see `compat.guards`.
        """
        super().__init_subclass__(**arguments)
        cls.compute_output_shape = guards.on_copies(
            cls.compute_output_shape, "compute_output_shape", None, contracts.output_shape
        )
        cls.forward = guards.on_copies(
            cls.forward, "forward", guards.begin_forward, contracts.output
        )
        cls.backward = guards.on_copies(
            cls.backward, "backward", guards.begin_backward, cls._end_backward
        )
        if "build" not in vars(cls):
            return
        make_weights = cls.build

        @functools.wraps(make_weights)
        def build(self: LayerBase, input_shape: Shape) -> None:
            make_weights(self, input_shape)
            if type(self).build is build:  # and not called by the `build` of a subclass
                self._mark_built(input_shape, self.compute_output_shape(input_shape))

        cls.build = build

    def _end_backward(self, result: object, gradient: Array) -> Array | None:
        """Copy gradients that `backward` has assigned as new arrays to where they are read."""
        for _, layer, _ in every_layer([self]):
            for name, array in () if layer._is_model else layer._gradients.items():
                computed = getattr(layer, f"{name}_gradient")
                if computed is not array:
                    array[...] = rules.gradient(layer.name, name, computed, array)
                    layer.set_gradient(name, array)
        return contracts.input_gradient(self, result, gradient)

    def unbuild(self) -> None:
        """Discard the weights, as if `build` had not been called."""
        for name in self.weight_names:
            setattr(self, name, None)
            setattr(self, f"{name}_gradient", None)
        self.trainable_names, self.non_trainable_names = [], []
        self._gradients, self._buffers = {}, {}
        self.built, self._own_dtype = False, self.declared_dtype
        self.input_shape = self.output_shape = None

    @turns.turn()
    def __call__(self, x: ArrayLike, training: bool = False) -> HostArray:
        """Return the output for a batch `x` as a NumPy array; the first call builds the layer."""
        if not backend.on_device(x):
            x = checks.as_array(functional.array_like(self, x), "x", any_shape=True)
        dtype = None if self.any_dtype else self.dtype
        device = backend.device_of(self.weights[0]) if self.built and self.weights else None
        with backend.use_device(device), backend.ignore_warnings():
            self.drop_stale_buffers()
            # A copy, as the layer keeps it for `backward`, unless it is large.
            batch = guards.private(backend.to_active(x, dtype))
            self.ensure_built(batch.shape)
            try:
                output = backend.to_numpy(self.forward(batch, training))
                return output.astype(dtype or output.dtype, copy=False)
            finally:
                if batch.nbytes > KEPT_BYTES:
                    release([self])

    def drop_stale_buffers(self) -> None:
        """Discard the buffers if they are not on the device where arrays are created now."""
        if self._buffers_device != backend.current_device():
            self.clear_caches()
            self._buffers, self._buffers_device = {}, backend.current_device()

    def clear_caches(self) -> None:
        """Discard what `forward` has cached; a subclass with its own caches extends this."""
        for name in type(self)._caches:
            setattr(self, name, None)

    def get_config(self) -> Config:
        """Return the arguments that recreate the same layer, in Keras's form."""
        own = {
            k: v for k, v in super().get_config().items() if k not in ("input_shape", "input_dim")
        }
        return {**own, "dtype": self._config_dtype or dtype_policy(self.dtype)}

    def __getstate__(self) -> State:
        # A copy belongs to no model until it is added to one, and allocates its own buffers.
        empty: State = {**dict.fromkeys(type(self)._caches), "owner": None, "_buffers": {}}
        return {**guards.without_batches(vars(self), self.weight_names), **empty}


def release(layers: Sequence[AnyLayer]) -> None:
    """Let go of the last batch, and of the buffers if they are large or on a GPU.

    They are kept otherwise, so that a loop of short calls does not allocate them every time.
    """
    held = [layer for _, layer, _ in every_layer(layers) if not layer._is_model]
    own = [layer for layer in held if not naming.is_builtin(type(layer))]
    batches = [
        (layer, name)
        for layer in own
        for name, value in vars(layer).items()
        if guards.is_batch(value) and name not in layer.weight_names
    ]
    size = sum(array.nbytes for layer in held for array in layer._buffers.values())
    large = size + sum(getattr(layer, name).nbytes for layer, name in batches) > KEPT_BYTES
    for layer, name in batches if large else ():
        setattr(layer, name, None)
    for layer in held:
        layer.clear_caches()
        if large or (layer._buffers_device or Device("numpy")).backend == "cupy":
            layer._buffers = {}


def layers_in(held: object) -> list[HasWeights]:
    """Return the layers and models in a dictionary or list, also in those inside it."""
    return [part for part in parts_of(held) if isinstance(part, HasWeights)]
