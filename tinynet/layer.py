"""The contract of a layer: `build` its weights, `forward`, and directly under it `backward`.

A layer caches in `forward` what its `backward` needs, and nothing else. `backward` receives the
gradient of the loss with respect to the layer's output, writes the gradients of its weights
beside them (``kernel`` and ``kernel_gradient``), and returns the gradient with respect to its
input, which is what the layer below receives. That is all of backpropagation.

Weights are plain arrays. `Sequential` moves them into one flat vector, of which ``layer.kernel``
is then a view: the optimizer updates the vector, and the layer sees the new weights.
"""

import functools
from collections.abc import Iterable, Sequence
from typing import Any

from tinynet import backend, config, initializers, naming, validation
from tinynet.backend import Array, HostArray, Shape

# Keras's further arguments of every layer, with the defaults that a configuration may hold.
KERAS_LAYER = {"activity_regularizer": None, "autocast": True}


class HasWeights:
    """What a layer and a model have in common: a name, and weights to read, set and count."""

    name: str
    built: bool

    @property
    def weights(self) -> list[Array]:
        """The live weights, in order."""
        raise NotImplementedError

    def get_weights(self) -> list[HostArray]:
        """Copies of the weights, as NumPy arrays."""
        return [backend.to_numpy(weight) for weight in self.weights]

    def set_weights(self, weights: Iterable[Any]) -> None:
        """Take the values of `weights`, a list such as `get_weights` returns.

        Raises:
            ValueError: if their number or a shape differs; then nothing is changed.
        """
        assign(self.name, self.weights, weights)

    def count_params(self) -> int:
        """How many numbers the weights hold.

        Raises:
            ValueError: if the layer is not built.
        """
        if not self.built:
            raise not_built("count_params", self.name)
        return sum(weight.size for weight in self.weights)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"


class Layer(HasWeights):
    """The base of every layer, tinynet's and your own.

    A subclass writes `build` (its weights, with `add_weight`), `forward` and `backward`, and
    `compute_output_shape` if the shape of its output is not that of its input.

    Arguments:
        trainable: whether training changes the weights.
        dtype: the float type; only `floatx` or None.
        name: the layer's name; numbered by class if not given.
        input_shape: the shape of one sample, for the first layer of a model.

    Source: https://keras.io/api/layers/base_layer/
    """

    # Dense wants floats. Flatten only moves numbers, of any type.
    any_dtype = False

    # Whether, unless training, a sample's output does not depend on the others in its batch, so
    # that several batches may be looked at as one. Every class has to say so for itself.
    by_sample: bool = False

    # The names of plain numbers that training changes, put back where it fails.
    counters: tuple[str, ...] = ()

    def __init__(
        self,
        *,
        trainable: bool = True,
        dtype: Any = None,
        name: str | None = None,
        input_shape: Sequence[int | None] | None = None,
        input_dim: int | None = None,
        **unsupported: Any,
    ) -> None:
        naming.refuse(type(self).__name__, unsupported, KERAS_LAYER)
        self.name = naming.unique(self) if name is None else naming.check(name)
        self.trainable = validation.flag(trainable, "trainable")
        self.dtype = self.declared_dtype = config.float_type(dtype)
        self.built = False
        self.input_shape: Shape | None = None
        self.output_shape: Shape | None = None
        if input_dim is not None:
            input_shape = (input_dim,)
        self.declared_shape: Shape | None = None
        if input_shape is not None:
            self.declared_shape = (None, *validation.shape(input_shape, "input_shape"))
        # False in the lowest layer that trains: nothing below it wants a gradient, so it may
        # skip computing one and return None.
        self.passes_gradient = True
        self.home: Any = None  # a weak reference to the model whose flat vector holds the weights
        self._trained: list[str] = []
        self._kept: list[str] = []
        self._buffers: dict[str, Array] = {}
        self._buffers_place: Any = None

    # What a subclass writes

    def build(self, input_shape: Shape) -> None:
        """Make the weights for inputs of `input_shape`, (batch or None, …)."""

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The shape of the output for inputs of `input_shape`."""
        return tuple(input_shape)

    def forward(self, x: Array, training: bool = False) -> Array:
        """The output for a batch `x`, (batch, …)."""
        raise NotImplementedError(f"{type(self).__name__} has to define forward(x, training)")

    def backward(self, gradient: Array) -> Array | None:
        """From ∂L/∂output to ∂L/∂input; the gradients of the weights are left beside them."""
        raise NotImplementedError(f"{type(self).__name__} has to define backward(gradient)")

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
        initializer = initializers.get(initializer) or initializers.GlorotUniform()
        weight = initializer(tuple(shape), self.dtype or config.floatx())
        setattr(self, name, weight)
        if trainable:
            setattr(self, f"{name}_gradient", backend.xp.zeros_like(weight))
        (self._trained if trainable else self._kept).append(name)
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

    # What every layer can do

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
        if "build" not in vars(cls):
            return
        make_weights = cls.build

        @functools.wraps(make_weights)
        def build(self: Layer, input_shape: Shape) -> None:
            make_weights(self, input_shape)
            self._mark_built(input_shape, self.compute_output_shape(input_shape))

        cls.build = build  # type: ignore[method-assign]

    def unbuild(self) -> None:
        """Forget the weights, as if `build` had not been called."""
        for name in (*self._trained, *self._kept):
            setattr(self, name, None)
            setattr(self, f"{name}_gradient", None)
        self._trained, self._kept, self._buffers = [], [], {}
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

    def rehome(self, name: str, weight: Array, gradient: Array | None = None) -> None:
        """Make the weight `name` and its gradient the given arrays, which hold the same values."""
        old = getattr(self, name)
        for attribute, value in list(vars(self).items()):
            if value is old:  # also where a subclass keeps the weight under a name of its own
                setattr(self, attribute, weight)
        if gradient is not None:
            setattr(self, f"{name}_gradient", gradient)

    def moved(self) -> list[tuple[str, Array, Array | None]]:
        """Each weight's name, it and its gradient in the backend in use, for `rehome`."""
        move = backend.to_active
        trained = [
            (name, move(getattr(self, name)), move(getattr(self, f"{name}_gradient")))
            for name in self._trained
        ]
        return [*trained, *((name, move(getattr(self, name)), None) for name in self._kept)]

    def follow(self) -> None:
        """Let go of buffers that are elsewhere than where arrays are made now."""
        if self._buffers_place != backend.here():
            self.forget()
            self._buffers_place = backend.here()

    def forget(self) -> None:
        """Let go of what `forward` has cached; a subclass with a cache of its own adds to this."""
        self._buffers = {}

    @property
    def trained_names(self) -> list[str]:
        """The names of the weights that have a gradient, in order."""
        return list(self._trained)

    @property
    def kept_names(self) -> list[str]:
        """The names of the weights that have none, in order."""
        return list(self._kept)

    @property
    def weights(self) -> list[Array]:
        """The live weights, those with a gradient first, in the order they were added."""
        return [getattr(self, name) for name in (*self._trained, *self._kept)]

    @property
    def trainable_weights(self) -> list[Array]:
        return [getattr(self, name) for name in self._trained] if self.trainable else []

    @property
    def non_trainable_weights(self) -> list[Array]:
        names = self._kept if self.trainable else (*self._trained, *self._kept)
        return [getattr(self, name) for name in names]

    def get_config(self) -> dict[str, Any]:
        """The arguments that make the same layer again, in Keras's form."""
        policy = dtype_policy(self.dtype or config.floatx())
        return {"name": self.name, "trainable": self.trainable, "dtype": policy}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Layer":
        """A layer, not built, from what `get_config` returned."""
        return cls(**config)

    def __getstate__(self) -> dict[str, Any]:
        # A copy belongs to no model until one adopts it, and grows buffers of its own.
        return {**vars(self), "home": None, "_buffers": {}}


def dtype_policy(dtype: str) -> dict[str, Any]:
    """The float type in the form in which Keras writes it into a configuration."""
    return {
        "module": "keras",
        "class_name": "DTypePolicy",
        "config": {"name": dtype},
        "registered_name": None,
    }


def not_built(method: str, name: str) -> ValueError:
    return ValueError(
        f"You tried to call `{method}` on layer '{name}', but the layer isn't built. "
        "You can build it manually via: `layer.build(input_shape)`, "
        "such as build((None, 784))."
    )


def assign(name: str, current: Sequence[Array], new: Iterable[Any]) -> None:
    """Copy `new` into the arrays `current`, all of them or, where one does not fit, none."""
    try:
        arrays = [a if backend.on_device(a) else backend.host.asarray(a) for a in new]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Expected a list of arrays, as get_weights returns it, received {naming.short(new)}: "
            f"{error}. Write: set_weights(other.get_weights())"
        ) from None
    if len(arrays) != len(current):
        raise ValueError(
            f"You called `set_weights(weights)` on layer '{name}' with a weight list of length "
            f"{len(arrays)}, but the layer was expecting {len(current)} weights"
            f"{'' if current else '; build it first'}."
        )
    for old, array in zip(current, arrays, strict=True):
        if old.shape != array.shape:
            raise ValueError(
                f"Layer {name} weight shape {old.shape} is not compatible with provided weight "
                f"shape {array.shape}."
            )
        if array.dtype.kind not in "biuf":
            raise ValueError(
                f"Layer {name} expects numeric weights, received an array of dtype {array.dtype}."
            )
    ready = []
    for old, array in zip(current, arrays, strict=True):
        with backend.at(old):  # all are made before the first is written
            ready.append(backend.to_active(array.astype(old.dtype, copy=False)))
    for old, array in zip(current, ready, strict=True):
        backend.fill(old, array)
