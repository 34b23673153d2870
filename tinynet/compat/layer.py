"""What every layer can do besides the mathematics: be named, built, called, moved, written down.

`layers.Layer` derives from this; the contract that a reader fulfils is there.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from tinynet import backend, config
from tinynet.backend import Array, HostArray, Shape, random
from tinynet.compat import checks, naming
from tinynet.compat.configuration import Configurable, dtype_policy
from tinynet.compat.weights import HasWeights


class LayerBase(HasWeights, Configurable):
    """A layer without the contract: its name, shapes, weights, buffers and configuration.

    Arguments:
        name: numbered by class if not given.
        trainable: whether training changes the weights.
        dtype: the float type; only `floatx` or None.
        input_shape: the shape of one sample, for the first layer of a model; `input_dim` is that
            of a row.
    """

    # Dense needs floats. Flatten only moves numbers, of any type.
    any_dtype = False

    # Whether, unless training, a sample's output does not depend on the others in its batch, so
    # that several batches may be looked at as one. Every class has to say so for itself.
    by_sample: bool = False

    # The type in a configuration, where it is not the type that is computed in.
    _written_dtype: Any = None

    # The names of plain numbers that training changes, put back where it fails.
    counters: tuple[str, ...] = ()

    # The attributes in which `forward` keeps arrays for `backward`, for `forget` to let go of.
    _caches: tuple[str, ...] = ()

    # The contract, see `layers.Layer`.
    build: Any
    compute_output_shape: Callable[[Shape], Shape]
    forward: Callable[..., Array]

    def __init__(
        self,
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: Any = None,
        input_shape: Sequence[int | None] | None = None,
        input_dim: int | None = None,
    ) -> None:
        self.name = naming.unique(self) if name is None else name
        self.trainable, self.dtype, self.declared_dtype = trainable, dtype, dtype
        self.built = False
        self.input_shape: Shape | None = None
        self.output_shape: Shape | None = None
        if input_dim is not None:
            input_shape = (input_dim,)
        self.declared_shape = None if input_shape is None else (None, *input_shape)
        # False in the lowest layer that trains: nothing below it wants a gradient, so it may
        # skip computing one and return None.
        self.passes_gradient = True
        self.owner: Any = None  # a weak reference to the `Parameters` that hold the weights
        # The names of the weights that have a gradient, and of those that have none, in order.
        self.trained_names: list[str] = []
        self.kept_names: list[str] = []
        self._buffers: dict[str, Array] = {}
        self._buffers_place: Any = None

    def penalty(self) -> Array | None:
        """What the layer adds to the loss on its own account, one number; None for nothing.

        `backward` then adds its gradient to those of the weights.
        """
        return None

    def check_input(self, shape: Shape) -> None:
        """Raise a ValueError if a built layer cannot take inputs of `shape`."""

    def add_weight(
        self,
        shape: Sequence[int] = (),
        initializer: Any = None,
        trainable: bool = True,
        name: str | None = None,
    ) -> Array:
        """Make a weight, as the attribute `name`; if it trains, also ``<name>_gradient``.

        Arguments:
            shape: the shape of the weight.
            initializer: a name or an `Initializer`; Glorot's uniform one if not given.
            trainable: False for state that training does not change by gradients.
            name: the attribute under which the layer finds it.
        """
        if name is None or not name.isidentifier():
            raise ValueError(
                f"Expected a name for the weight, an identifier, received: {name!r}. "
                'Write: self.add_weight(shape=(3,), name="scale")'
            )
        chosen = "glorot_uniform" if initializer is None else initializer
        draw = naming.GETTERS["initializer"](chosen)
        weight = draw(tuple(shape), self.dtype or config.floatx())
        setattr(self, name, weight)
        if trainable:
            setattr(self, f"{name}_gradient", backend.xp.zeros_like(weight))
        (self.trained_names if trainable else self.kept_names).append(name)
        return weight

    def buffer(self, name: str, shape: tuple[int, ...], dtype: Any) -> Array:
        """An array of `shape` to write to, the same one at every step.

        It is as long as the longest batch so far; a shorter batch gets the front of it.
        """
        array: Array = self._buffers.get(name)
        if (
            array is None
            or len(array) < shape[0]
            or array.shape[1:] != shape[1:]
            or array.dtype != dtype
        ):
            array = self._buffers[name] = backend.xp.empty(shape, dtype)
        return array[: shape[0]]

    def random_bits(self, shape: tuple[int, ...], key: int) -> Array:
        """32 random bits for each number of an array of `shape`, as uint32, that `key` decides."""
        bits, scratch = self.buffer("bits", shape, "uint32"), self.buffer("shift", shape, "uint32")
        places: Array = self._buffers.get("places")
        if places is None or places.size < bits.size:
            places = self._buffers["places"] = backend.xp.arange(bits.size, dtype="uint32")
        places = places[: bits.size].reshape(shape)
        random.fill_with_bits(bits, places, key, scratch, backend.xp)
        return bits

    def ensure_built(self, input_shape: Shape) -> None:
        """Build the layer for `input_shape` unless it is built; check the shape if it is."""
        if self.built:
            self.check_input(input_shape)
            return
        output_shape = tuple(self.compute_output_shape(input_shape))
        self.build(input_shape)
        self._mark_built(input_shape, output_shape)

    def _mark_built(self, input_shape: Shape, output_shape: Shape) -> None:
        self.input_shape, self.output_shape = tuple(input_shape), tuple(output_shape)
        self.dtype = self.dtype or config.floatx()
        self.built = True

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Let ``layer.build(shape)``, called by hand, do all that building is."""
        super().__init_subclass__(**arguments)
        if "build" not in vars(cls) or LayerBase in cls.__bases__:  # the contract builds nothing
            return
        make_weights = cls.build

        @functools.wraps(make_weights)
        def build(self: LayerBase, input_shape: Shape) -> None:
            make_weights(self, input_shape)
            self._mark_built(input_shape, self.compute_output_shape(input_shape))

        cls.build = build

    def unbuild(self) -> None:
        """Forget the weights, as if `build` had not been called."""
        for name in (*self.trained_names, *self.kept_names):
            setattr(self, name, None)
            setattr(self, f"{name}_gradient", None)
        self.trained_names, self.kept_names, self._buffers = [], [], {}
        self.built, self.dtype = False, self.declared_dtype
        self.input_shape = self.output_shape = None

    def __call__(self, x: Any, training: bool = False) -> HostArray:
        """The output for a batch `x`, as a NumPy array; the first call builds the layer."""
        dtype = None if self.any_dtype else self.dtype or config.floatx()
        place = self.weights[0] if self.built and self.weights else None
        with backend.at(place), backend.quiet():
            self.follow()
            batch = backend.to_active(x, dtype)
            self.ensure_built(batch.shape)
            return backend.to_numpy(self.forward(batch, training))

    def follow(self) -> None:
        """Let go of buffers that are elsewhere than where arrays are made now."""
        if self._buffers_place != backend.here():
            self.forget()
            self._buffers_place = backend.here()

    def forget(self) -> None:
        """Let go of what `forward` has cached; a subclass with a cache of its own adds to this."""
        self._buffers = {}
        for name in type(self)._caches:
            setattr(self, name, None)

    @property
    def weights(self) -> list[Array]:
        """The live weights, those with a gradient first, in the order they were added."""
        return [getattr(self, name) for name in (*self.trained_names, *self.kept_names)]

    @property
    def trainable_weights(self) -> list[Array]:
        return [getattr(self, name) for name in self.trained_names] if self.trainable else []

    @property
    def non_trainable_weights(self) -> list[Array]:
        names = self.kept_names if self.trainable else (*self.trained_names, *self.kept_names)
        return [getattr(self, name) for name in names]

    def get_config(self) -> dict[str, Any]:
        """The arguments that make the same layer again, in Keras's form."""
        dtype = self._written_dtype or dtype_policy(self.dtype or config.floatx())
        found = {**super().get_config(), "dtype": dtype}
        return {k: v for k, v in found.items() if k not in ("input_shape", "input_dim")}

    def __getstate__(self) -> dict[str, Any]:
        # A copy belongs to no model until one adopts it, and grows buffers of its own.
        return {**vars(self), "owner": None, "_buffers": {}}


def input_function(input_layer: Any) -> Callable[..., Any]:
    """Keras's function `Input`, which makes an `input_layer` of the shape of one sample."""

    def Input(  # noqa: N802, a function with the name of a class, as in Keras
        shape: Sequence[int | None] | None = None,
        batch_size: int | None = None,
        dtype: Any = None,
        *,
        batch_shape: Sequence[int | None] | None = None,
        name: str | None = None,
        **unsupported: Any,
    ) -> Any:
        """The shape of one sample (or, as `batch_shape`, of a batch), first in a `Sequential`.

        >>> Input(shape=(28, 28)).batch_shape
        (None, 28, 28)

        Source: https://keras.io/api/layers/core_layers/input/
        """
        batch_shape = checks.one_shape(shape, batch_size, batch_shape)
        return input_layer(batch_shape=batch_shape, dtype=dtype, name=name, **unsupported)

    Input.__module__, Input.__qualname__ = input_layer.__module__, "Input"
    return Input
