"""The layers: `Flatten` makes a row of an image, `Dense` connects every input with every unit, and
`Activation` bends what comes. (`Dropout` has a file of its own.)

Each shows its `forward` and, directly under it, its `backward` with the derivation. The shapes
are in the comments: "batch" rows, each of "in" numbers going in and "units" coming out.
"""

import math
from typing import Any

from tinynet import activations, backend, initializers, naming, regularizers, validation
from tinynet.backend import Array, Shape
from tinynet.dropout import Dropout as Dropout
from tinynet.inputs import Input as Input
from tinynet.inputs import InputLayer as InputLayer
from tinynet.layer import KERAS_LAYER, Layer

_KERAS_DENSE = {
    **KERAS_LAYER,
    "bias_regularizer": None,
    "kernel_constraint": None,
    "bias_constraint": None,
    "lora_rank": None,
    "lora_alpha": None,
    "quantization_config": None,
}


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
        options = ("channels_last", "channels_first", None)
        self.data_format = validation.choice(data_format, "data_format", *options) or options[0]

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


class Activated(Layer):
    """What `Dense` and `Activation` have in common: an activation f, and the way back."""

    activation: activations.Activation

    @property
    def by_sample(self) -> bool:  # type: ignore[override]
        return activations.is_known(self.activation)

    def activate(self, z: Array, out: Array) -> Array:
        """a = f(z), where possible in the array `out`, which may be z."""
        f, self._log_a = self.activation, out
        if f is activations.linear:
            self._a = z
        elif f is activations.softmax:  # cross-entropy wants the logarithm beside it
            self._a = activations.softmax(z, out=self.buffer("a", z.shape, z.dtype), log=out)
        elif activations.is_known(f):
            self._a = f(z, out=out)
        else:  # a reader's own, which need not know about `out`
            self._a = backend.as_array(f(z))
        self._z = z
        return self._a

    def through_activation(self, gradient: Array) -> Array:
        """δ = ∂L/∂z from ∂L/∂a."""
        f = self.activation
        if f is activations.linear:
            return gradient
        gradient = gradient.reshape(self._a.shape)
        if activations.is_known(f):
            delta = self.buffer("delta", gradient.shape, gradient.dtype)
            return activations.backward(f)(gradient, self._a, out=delta)
        return activations.backward(f)(gradient, self._z if activations.wants_z(f) else self._a)

    def forget(self) -> None:
        super().forget()
        self._a = self._z = self._log_a = None


class Activation(Activated):
    """a = f(x), number by number (softmax: row by row), as a layer of its own.

    ``Dense(10), Activation("softmax")`` computes what ``Dense(10, "softmax")`` does.

    Arguments:
        activation: f, a name or a function.

    Source: https://keras.io/api/layers/core_layers/activation/
    """

    def __init__(self, activation: Any, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.activation = activations.get(activation)

    by_sample = Activated.by_sample

    def forward(self, x: Array, training: bool = False) -> Array:
        return self.activate(x, self.buffer("out", x.shape, x.dtype))

    def backward(self, gradient: Array) -> Array:
        """∂L/∂x = ∂L/∂a · f′(x)."""
        return self.backward_from_z(self.through_activation(gradient))

    def backward_from_z(self, delta: Array) -> Array:
        """What arrives below f is passed on as it is: there are no weights."""
        return delta

    @property
    def log_probabilities(self) -> Array:
        """ln a of the last forward pass, if f is softmax."""
        return self._log_a

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "activation": activations.serialize(self.activation)}


class Dense(Activated):
    """Every input connected with every unit: ``a = f(x W + b)``.

    Arguments:
        units: how many outputs, a positive integer.
        activation: f, a name or a function; None is the identity.
        use_bias: whether b is added.
        kernel_initializer, bias_initializer: where W and b start.
        kernel_regularizer: what W costs, R(W), which is added to the loss: ``"l2"``, ``L2(0.001)``.

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
        kernel_regularizer: Any = None,
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
        self.use_bias = validation.flag(use_bias, "use_bias")
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.kernel: Array = None
        self.bias: Array = None
        self.kernel_gradient: Array = None
        self.bias_gradient: Array = None

    def build(self, input_shape: Shape) -> None:
        self.add_weight((input_shape[-1] or 0, self.units), self.kernel_initializer, name="kernel")
        if self.use_bias:
            self.add_weight((self.units,), self.bias_initializer, name="bias")

    by_sample = Activated.by_sample

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
        return self.activate(z, out=z).reshape(self._shape)

    def backward(self, gradient: Array) -> Array | None:
        """Through f, by its own backward: δ = ∂L/∂z from ∂L/∂a. The rest is `backward_from_z`."""
        return self.backward_from_z(self.through_activation(gradient))

    def backward_from_z(self, delta: Array) -> Array | None:
        """From δ = ∂L/∂z to the gradients of W, b and x.

        z_nj = Σᵢ x_ni W_ij + b_j for sample n and unit j. The loss depends on W_ij through z_nj
        of every sample, ∂z_nj/∂W_ij = x_ni; on b_j likewise, with 1; and on x_ni through z_nj of
        every unit, ∂z_nj/∂x_ni = W_ij. Summing:

            ∂L/∂W_ij = Σₙ x_ni δ_nj      ∂L/∂W = xᵀ δ
            ∂L/∂b_j  = Σₙ δ_nj
            ∂L/∂x_ni = Σⱼ δ_nj W_ij      ∂L/∂x = δ Wᵀ

        Where W itself costs R(W), its gradient is ∂R/∂W more.
        """
        xp = backend.xp
        delta = delta.reshape(-1, self.units)
        if self.trainable:
            # (in, batch) @ (batch, units). With one sample there is nothing to sum, and NumPy's
            # `matmul` takes four times as long to find out.
            product = xp.multiply if len(delta) == 1 else xp.matmul
            product(self._x.T, delta, out=self.kernel_gradient)
            if self.kernel_regularizer is not None:
                scratch = self.buffer("cost", self.kernel.shape, self.kernel.dtype)
                self.kernel_gradient += self.kernel_regularizer.gradient(self.kernel, out=scratch)
            if self.use_bias:
                delta.sum(axis=0, out=self.bias_gradient)
        if not self.passes_gradient:
            return None
        dx = self.buffer("dx", self._x.shape, delta.dtype)
        xp.matmul(delta, self.kernel.T, out=dx)  # (batch, units) @ (units, in)
        return dx.reshape(*self._shape[:-1], -1)

    def penalty(self) -> Array | None:
        """R(W), if there is a regulariser and W trains."""
        if self.kernel_regularizer is None or not self.trainable:
            return None
        return self.kernel_regularizer(self.kernel)

    def forget(self) -> None:
        super().forget()
        self._x = None

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
            kernel_regularizer=regularizers.serialize(self.kernel_regularizer),
            bias_regularizer=None,
            kernel_constraint=None,
            bias_constraint=None,
            quantization_config=None,
        )
        return config


KNOWN = {layer.__name__: layer for layer in (Activation, Dense, Dropout, Flatten, InputLayer)}


def get(identifier: Any) -> Layer:
    """The layer that a configuration (as in `Sequential.get_config`) or a layer stands for."""
    return naming.instance_from("layer", identifier, KNOWN, Layer)


def serialize(layer: Layer) -> dict[str, Any]:
    """The configuration of `layer`, with the shape it was built for, in Keras's form."""
    built = layer.built and not isinstance(layer, InputLayer)
    extra = {"build_config": {"input_shape": layer.input_shape}} if built else {}
    return {**naming.serialize(layer, "keras.layers"), **extra}
