"""The layers: `Flatten` makes a row of an image, `Dense` connects every input with every unit.

Each shows its `forward` and, directly under it, its `backward` with the derivation. The shapes
are in the comments: "batch" rows, each of "in" numbers going in and "units" coming out.
"""

import math
from collections.abc import Sequence
from typing import Any

from tinynet import activations, backend, initializers, naming
from tinynet.backend import Array, Shape
from tinynet.layer import KERAS_LAYER, Layer

_KERAS_DENSE = {
    **KERAS_LAYER,
    "kernel_regularizer": None,
    "bias_regularizer": None,
    "kernel_constraint": None,
    "bias_constraint": None,
    "lora_rank": None,
    "lora_alpha": None,
    "quantization_config": None,
}
_KERAS_INPUT = {"sparse": False, "ragged": False, "optional": False, "tensor": None}


class InputLayer(Layer):
    """What `Input` makes: the shape that a model expects. It holds and computes nothing."""

    any_dtype = True

    def __init__(
        self,
        batch_shape: Sequence[int | None] | None = None,
        dtype: Any = None,
        name: str | None = None,
        **unsupported: Any,
    ) -> None:
        super().__init__(name=name)
        naming.refuse("Input", unsupported, _KERAS_INPUT)
        if batch_shape is None:
            raise ValueError("You must pass a `shape` argument. Write: Input(shape=(28, 28))")
        self.input_dtype = dtype
        self.ensure_built(_as_shape(batch_shape))

    @property
    def batch_shape(self) -> Shape:
        return self.output_shape or ()

    def forward(self, x: Array, training: bool = False) -> Array:
        return x

    def backward(self, gradient: Array) -> Array:
        return gradient

    def get_config(self) -> dict[str, Any]:
        return {
            "batch_shape": self.batch_shape,
            "dtype": self.input_dtype or "float32",
            "sparse": False,
            "ragged": False,
            "name": self.name,
            "optional": False,
        }


def Input(  # noqa: N802, a function with the name of a class, as in Keras
    shape: Sequence[int | None] | None = None,
    batch_size: int | None = None,
    dtype: Any = None,
    *,
    batch_shape: Sequence[int | None] | None = None,
    name: str | None = None,
    **unsupported: Any,
) -> InputLayer:
    """The shape of one sample (or, as `batch_shape`, of a batch), first in a `Sequential`.

    >>> Input(shape=(28, 28)).batch_shape
    (None, 28, 28)

    Source: https://keras.io/api/layers/core_layers/input/
    """
    if shape is not None and batch_shape is not None:
        raise ValueError(
            "You cannot pass both `shape` and `batch_shape` at the same time. "
            f"Received: shape={shape}, batch_shape={batch_shape}. Write: Input(shape=(784,))"
        )
    if shape is not None:
        batch_shape = (batch_size, *_as_shape(shape))
    return InputLayer(batch_shape=batch_shape, dtype=dtype, name=name, **unsupported)


class Flatten(Layer):
    """Turn each sample, such as a 28×28 image, into one row of numbers.

    Arguments:
        data_format: ``"channels_last"`` keeps the order of the numbers; ``"channels_first"``
            moves the second axis to the end before flattening.

    Source: https://keras.io/api/layers/reshaping_layers/flatten/
    """

    any_dtype = True
    by_sample = True

    def __init__(self, data_format: str | None = None, **arguments: Any) -> None:
        super().__init__(**arguments)
        if data_format not in (None, "channels_last", "channels_first"):
            raise ValueError(
                "Expected data_format to be 'channels_last' or 'channels_first', "
                f"received: {data_format!r}. Write: Flatten()"
            )
        self.data_format = data_format or "channels_last"

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, *rest = input_shape
        if any(size is None for size in rest):
            return (batch, None)
        return (batch, math.prod(size for size in rest if size is not None))

    def forward(self, x: Array, training: bool = False) -> Array:
        if self.data_format == "channels_first" and x.ndim > 2:
            x = backend.xp.moveaxis(x, 1, -1)
        self._moved_shape = x.shape
        return x.reshape(x.shape[0], math.prod(x.shape[1:]))  # (batch, h, w) → (batch, h·w)

    def backward(self, gradient: Array) -> Array:
        """Nothing is computed in forward, so nothing here: each gradient goes back to its place."""
        gradient = gradient.reshape(self._moved_shape)
        if self.data_format == "channels_first" and gradient.ndim > 2:
            gradient = backend.xp.moveaxis(gradient, -1, 1)
        return gradient

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}


class Dense(Layer):
    """Every input connected with every unit: ``a = f(x W + b)``.

    Arguments:
        units: how many outputs, a positive integer.
        activation: f, a name or a function; None is the identity.
        use_bias: whether b is added.
        kernel_initializer, bias_initializer: where W and b start.

    Shapes: x (batch, in), W = ``kernel`` (in, units), b = ``bias`` (units,), a (batch, units).
    Axes between the first and the last are treated as further rows.

    Source: https://keras.io/api/layers/core_layers/dense/
    """

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        **arguments: Any,
    ) -> None:
        for name in set(arguments) & set(_KERAS_DENSE):
            naming.refuse("Dense", {name: arguments.pop(name)}, _KERAS_DENSE)
        super().__init__(**arguments)
        if not backend.is_integer(units) or units <= 0:
            raise ValueError(
                "Received an invalid value for `units`, expected a positive integer. "
                f"Received: units={units}"
            )
        self.units = int(units)
        self.activation = activations.get(activation)
        self.use_bias = bool(use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel: Array = None
        self.bias: Array = None
        self.kernel_gradient: Array = None
        self.bias_gradient: Array = None

    def build(self, input_shape: Shape) -> None:
        self.add_weight((input_shape[-1] or 0, self.units), self.kernel_initializer, name="kernel")
        if self.use_bias:
            self.add_weight((self.units,), self.bias_initializer, name="bias")

    @property
    def by_sample(self) -> bool:  # type: ignore[override]
        return activations.is_known(self.activation)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) < 2:
            raise ValueError(
                f"Input 0 with name 'None' of layer '{self.name}' is incompatible with the layer: "
                f"expected min_ndim=2, found ndim={len(input_shape)}. "
                f"Full shape received: {input_shape}. "
                "A single sample needs a batch axis. Write: x[None]"
            )
        if input_shape[-1] is None:
            raise ValueError(
                f"Layer '{self.name}' has to know the length of its input's last axis, "
                f"received the shape {input_shape}. Write: Input(shape=(784,))"
            )
        return (*input_shape[:-1], self.units)

    def check_input(self, shape: Shape) -> None:
        self.compute_output_shape(shape)
        inputs = len(self.kernel)
        if shape[-1] != inputs:
            raise ValueError(
                f"Input 0 with name 'None' of layer '{self.name}' is incompatible with the layer: "
                f"expected axis -1 of input shape to have value {inputs}, "
                f"but received input with shape {shape}"
            )

    def forward(self, x: Array, training: bool = False) -> Array:
        """a = f(z), z = x W + b."""
        rows = x.reshape(-1, x.shape[-1])
        self._x, self._shape = rows, (*x.shape[:-1], self.units)
        z = self.buffer("z", (len(rows), self.units), x.dtype)
        backend.xp.matmul(rows, self.kernel, out=z)  # (batch, in) @ (in, units)
        if self.use_bias:
            z += self.bias  # to every row
        a = z
        if self.activation is activations.softmax:  # cross-entropy wants the logarithm beside it
            a = activations.softmax(z, out=self.buffer("a", z.shape, z.dtype), log=z)
        elif self.activation is not activations.linear:
            a = self.activation(z, out=z)
        self._log_a, self._a = z, a
        return a.reshape(self._shape)

    def backward(self, gradient: Array) -> Array | None:
        """Through f, by its own backward: δ = ∂L/∂z from ∂L/∂a. The rest is `backward_from_z`."""
        if self.activation is activations.linear:
            return self.backward_from_z(gradient)
        rows = gradient.reshape(-1, self.units)
        delta = self.buffer("delta", rows.shape, rows.dtype)
        activations.backward(self.activation)(rows, self._a, out=delta)
        return self.backward_from_z(delta)

    def backward_from_z(self, delta: Array) -> Array | None:
        """From δ = ∂L/∂z to the gradients of W, b and x.

        z_nj = Σᵢ x_ni W_ij + b_j for sample n and unit j. The loss depends on W_ij through z_nj
        of every sample, ∂z_nj/∂W_ij = x_ni; on b_j likewise, with 1; and on x_ni through z_nj of
        every unit, ∂z_nj/∂x_ni = W_ij. Summing:

            ∂L/∂W_ij = Σₙ x_ni δ_nj      ∂L/∂W = xᵀ δ
            ∂L/∂b_j  = Σₙ δ_nj
            ∂L/∂x_ni = Σⱼ δ_nj W_ij      ∂L/∂x = δ Wᵀ
        """
        xp = backend.xp
        delta = delta.reshape(-1, self.units)
        if self.trainable:
            # (in, batch) @ (batch, units). With one sample there is nothing to sum, and NumPy's
            # `matmul` takes four times as long to find out.
            product = xp.multiply if len(delta) == 1 else xp.matmul
            product(self._x.T, delta, out=self.kernel_gradient)
            if self.use_bias:
                delta.sum(axis=0, out=self.bias_gradient)
        if not self.passes_gradient:
            return None
        dx = self.buffer("dx", self._x.shape, delta.dtype)
        xp.matmul(delta, self.kernel.T, out=dx)  # (batch, units) @ (units, in)
        return dx.reshape(*self._shape[:-1], -1)

    def forget(self) -> None:
        super().forget()
        self._x = self._a = self._log_a = None

    @property
    def log_probabilities(self) -> Array:
        """ln a of the last forward pass, if f is softmax."""
        return self._log_a.reshape(self._shape)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(
            units=self.units,
            activation=activations.serialize(self.activation),
            use_bias=self.use_bias,
            kernel_initializer=initializers.serialize(self.kernel_initializer),
            bias_initializer=initializers.serialize(self.bias_initializer),
            kernel_regularizer=None,
            bias_regularizer=None,
            kernel_constraint=None,
            bias_constraint=None,
            quantization_config=None,
        )
        return config


def _as_shape(shape: Any) -> Shape:
    if isinstance(shape, int) or not all(
        size is None or (backend.is_integer(size) and size >= 0) for size in shape
    ):
        raise ValueError(
            f"Expected a shape, a tuple of lengths, received: {shape!r}. Write: shape=(784,)"
        )
    return tuple(None if size is None else int(size) for size in shape)


_KNOWN = {layer.__name__: layer for layer in (Dense, Flatten, InputLayer)}


def get(identifier: Any) -> Layer:
    """The layer that a configuration (as in `Sequential.get_config`) or a layer stands for."""
    return naming.instance_from("layer", identifier, _KNOWN, Layer)


def serialize(layer: Layer) -> dict[str, Any]:
    """The configuration of `layer`, with the shape it was built for, in Keras's form."""
    built = layer.built and not isinstance(layer, InputLayer)
    extra = {"build_config": {"input_shape": layer.input_shape}} if built else {}
    return {**naming.serialize(layer, "keras.layers"), **extra}
