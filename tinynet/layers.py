"""Layers: the base class `Layer`, which defines the contract, and the layers that fulfil it.

`forward` caches what `backward` needs. `backward`, directly below it, takes ∂L/∂output, stores the
weights' gradients beside the weights, and returns ∂L/∂input to the layer below: backpropagation.
Source: https://keras.io/api/layers/
"""

import math
from collections.abc import Callable
from typing import Any

from tinynet import activations, backend, initializers, regularizers  # noqa: F401, found by name
from tinynet.backend import random
from tinynet.backend.types import UNSET, Array, Identifier, Shape, Sizes
from tinynet.compat import contracts, guards, shapes, surface
from tinynet.compat.activation import BACKWARDS, BUILT_IN, FROM_Z, ActivationFunction
from tinynet.compat.configuration import functions_for, serialize_layer as serialize  # noqa: F401
from tinynet.compat.layer import LayerBase


class Layer(LayerBase):
    """The base class of all layers, tinynet's and your own.

    A subclass defines `build` (which creates weights with `add_weight`), `forward`, `backward`, and
    `compute_output_shape` if that is not the input's shape. `LayerBase` provides the rest.
    """

    def build(self, input_shape: Shape) -> None:
        """Create the weights for inputs of `input_shape`, (batch or None, …)."""

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the output for inputs of `input_shape`."""
        return tuple(input_shape)

    def forward(self, x: Array, training: bool = False) -> Array:
        """Return the output for a batch `x`, (batch, …)."""
        raise NotImplementedError(f"{type(self).__name__} has to define forward(x, training)")

    def backward(self, gradient: Array) -> Array | None:
        """Return ∂L/∂input, given ∂L/∂output; write weight gradients to `self.<name>_gradient`."""
        raise NotImplementedError(f"{type(self).__name__} has to define backward(gradient)")


class Flatten(Layer):
    """A layer that reshapes each sample, such as a 28×28 image, to one row of numbers.

    If `data_format` is ``"channels_first"``, the second axis is moved to the end first.
    """

    any_dtype = by_sample = True
    input_spec = surface.InputSpec(min_ndim=1)

    def __init__(self, data_format: str | None = None, **base: Any) -> None:
        super().__init__(**base)
        self.data_format = data_format or "channels_last"

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, *sizes = input_shape
        return (batch, None if None in sizes else math.prod(size or 0 for size in sizes))

    def forward(self, x: Array, training: bool = False) -> Array:
        if self.data_format == "channels_first" and x.ndim > 2:
            x = backend.xp.moveaxis(x, 1, -1)
        self._moved_shape = x.shape
        return x.reshape(x.shape[0], math.prod(x.shape[1:]))  # (batch, h, w) → (batch, h·w)

    def backward(self, gradient: Array) -> Array:
        """Return the gradient in the input's shape: `forward` only moves numbers."""
        gradient = gradient.reshape(self._moved_shape)
        if self.data_format == "channels_first" and gradient.ndim > 2:
            gradient = backend.xp.moveaxis(gradient, -1, 1)
        return gradient


class Activated(Layer):
    """The common base of `Dense` and `Activation`: an activation f and its backward pass."""

    activation: ActivationFunction = guards.converted("activation", activations.get)
    backward_from_z: Callable[[Array], Array | None]  # the backward pass from z to x
    _shape: tuple[int, ...] = ()  # the shape of the output
    _caches: tuple[str, ...] = ("_a", "z", "surprisal")
    supports_masking = True
    keeps_z = False  # whether a sigmoid keeps z beside a, for an `Objective` that works with z

    @property
    def by_sample(self) -> bool:  # type: ignore[override]
        return self.activation in BUILT_IN

    def activate(self, z: Array, out: Array) -> Array:
        """Return a = f(z), computed where possible in the array `out`, which may be z."""
        f, self.z = self.activation, z
        if f is activations.softmax:  # cross-entropy also needs −ln a
            self._a = activations.softmax(z, out=self.buffer("a", z.shape, z.dtype), surprisal=out)
            self.surprisal = out.reshape(self._shape or out.shape)
        elif f in BUILT_IN:
            self._a = f(z, out=self.buffer("a", z.shape, z.dtype) if self.keeps_z else out)
        else:  # a user-defined function
            self._a = contracts.activation(f, z)
        return self._a.reshape(self._shape or self._a.shape)

    def backward(self, gradient: Array) -> Array | None:
        """Compute δ = ∂L/∂z = f′(z) ∂L/∂a, and return ``backward_from_z(δ)``."""
        f = self.activation
        if f is activations.linear:
            return self.backward_from_z(gradient)
        gradient = gradient.reshape(self._a.shape)
        given = self.z if f in FROM_Z else self._a
        out = {"out": self.buffer("delta", gradient.shape, gradient.dtype)} if f in BUILT_IN else {}
        return self.backward_from_z(BACKWARDS[f](gradient, given, **out))


class Dense(Activated):
    """A fully connected layer: ``a = f(x W + b)``.

    Arguments:
        units, activation, use_bias: the number of outputs; f, a name or function; whether to add b.
        kernel_initializer, bias_initializer: the initializers of W and b.
        kernel_regularizer: a penalty R(W) added to the loss, such as ``"l2"`` or ``L2(0.001)``.

    Shapes: x (batch, …, in), W = ``kernel`` (in, units), b = ``bias`` (units,), a (batch, …, units)

    Raises a ValueError for an invalid argument, or inputs whose width is not that of the first.
    Source: https://keras.io/api/layers/core_layers/dense/
    """

    _caches = (*Activated._caches, "_x")
    input_spec = property(shapes.input_spec)

    def __init__(
        self, units: int, activation: Identifier = None, use_bias: bool = True,
        kernel_initializer: Identifier = "glorot_uniform", bias_initializer: Identifier = "zeros",
        kernel_regularizer: Identifier = None, **base: Any,
    ) -> None:  # fmt: skip
        super().__init__(**base)
        self.units, self.activation, self.use_bias = units, activation, use_bias
        self.kernel_initializer, self.bias_initializer = kernel_initializer, bias_initializer
        self.kernel_regularizer = kernel_regularizer
        self.kernel = self.kernel_gradient = self.bias = self.bias_gradient = UNSET

    def build(self, input_shape: Shape) -> None:
        self.add_weight((input_shape[-1] or 0, self.units), self.kernel_initializer, name="kernel")
        if self.use_bias:
            self.add_weight((self.units,), self.bias_initializer, name="bias")

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        shapes.input_width(self.name, input_shape)
        return (*input_shape[:-1], self.units)

    def check_input(self, shape: Shape) -> None:
        self.compute_output_shape(shape)
        shapes.input_width(self.name, shape, len(self.kernel))

    def forward(self, x: Array, training: bool = False) -> Array:
        """Return a = f(z), where z = x W + b."""
        rows = x.reshape(-1, x.shape[-1])
        self._x, self._shape = rows, (*x.shape[:-1], self.units)
        z = self.buffer("z", (len(rows), self.units), x.dtype)
        backend.matmul(rows, self.kernel, out=z)  # (batch, in) @ (in, units)
        if self.bias is not None:
            z += self.bias  # added to every row
        return self.activate(z, out=z)

    def backward_from_z(self, delta: Array) -> Array | None:
        """Compute the gradients of W, b and x from δ = ∂L/∂z, and return that of x.

        z_nj = Σᵢ x_ni W_ij + b_j for sample n and unit j. The loss depends on W_ij through z_nj
        of every sample, with ∂z_nj/∂W_ij = x_ni; on b_j likewise, with ∂z_nj/∂b_j = 1; and on x_ni
        through z_nj of every unit, with ∂z_nj/∂x_ni = W_ij. By the chain rule:

            ∂L/∂W_ij = Σₙ x_ni δ_nj      ∂L/∂W = xᵀ δ
            ∂L/∂b_j  = Σₙ δ_nj
            ∂L/∂x_ni = Σⱼ δ_nj W_ij      ∂L/∂x = δ Wᵀ
        """
        delta = delta.reshape(-1, self.units)
        if self.trainable:
            # (in, batch) @ (batch, units). With one sample there is nothing to sum, and `multiply`
            # is four times as fast as NumPy's `matmul`.
            product = backend.xp.multiply if len(delta) == 1 else backend.matmul
            product(self._x.T, delta, out=self.kernel_gradient)
            if self.kernel_regularizer is not None:  # add ∂R/∂W
                scratch = self.buffer("penalty", self.kernel.shape, self.kernel.dtype)
                self.kernel_gradient += self.kernel_regularizer.gradient(self.kernel, out=scratch)
            if self.bias is not None:
                backend.sum_first(delta, out=self.bias_gradient)
        if not self.needs_input_gradient:
            return None
        dx = self.buffer("dx", self._x.shape, delta.dtype)
        backend.matmul(delta, self.kernel.T, out=dx)  # (batch, units) @ (units, in)
        return dx.reshape(*self._shape[:-1], -1)

    def penalty(self) -> Array | None:
        """Return R(W), or None without a regulariser or if the layer is frozen."""
        regularizer = self.kernel_regularizer if self.trainable else None
        return None if regularizer is None else regularizer(self.kernel)


class Activation(Activated):
    """A layer a = f(x), where f is a name or function: ``Dense(10), Activation("softmax")``."""

    def __init__(self, activation: Identifier, **base: Any) -> None:
        super().__init__(**base)
        self.activation = activation

    def forward(self, x: Array, training: bool = False) -> Array:
        self._shape = x.shape
        return self.activate(x, self.buffer("out", x.shape, x.dtype))

    def backward_from_z(self, delta: Array) -> Array:
        """Return δ, which is ∂L/∂input: the layer has no weights."""
        return delta


class Dropout(Layer):
    """Dropout: in training, y = x m / (1 − r), where each m is 0 with probability r, else 1.

    The division preserves the mean, E[y] = x (1 − r) / (1 − r) = x. Outside training, y = x.

    Arguments: `rate` is r; with a `seed`, masks do not depend on tinynet's random generator;
    `noise_shape` is the mask's shape, with 1 for an axis along which it is the same.

    Source: Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html
    """

    supports_masking = by_sample = True  # outside training, dropout does nothing
    counters = ("drawn",)
    _caches = ("_mask",)

    def __init__(
        self, rate: float, noise_shape: Shape | None = None, seed: int | None = None, **base: Any
    ) -> None:
        super().__init__(**base)
        self.rate, self.noise_shape, self.seed = rate, noise_shape, seed
        self.drawn = 0  # the number of masks drawn so far
        self._mask: Array | None = None

    def forward(self, x: Array, training: bool = False) -> Array:
        """Return y = x m / (1 − r) in training, else x."""
        self._mask = self.mask(x) if training and self.rate else None
        if self._mask is None:
            return x
        return backend.xp.multiply(x, self._mask, out=self.buffer("y", x.shape, x.dtype))

    def backward(self, gradient: Array) -> Array:
        """Return ∂L/∂x = ∂L/∂y · m / (1 − r), which is 0 for the numbers that were dropped."""
        if self._mask is None:
            return gradient
        dx = self.buffer("dx", gradient.shape, gradient.dtype)
        return backend.xp.multiply(gradient, self._mask, out=dx)

    def mask(self, x: Array) -> Array:
        """Draw a new mask, m / (1 − r), for `x`."""
        mask = self.buffer("mask", shapes.mask_shape(self.noise_shape, x.shape), x.dtype)
        if self.rate == 1:
            mask[...] = 0
            return mask
        bits = self.random_bits(mask.shape, backend.draw(self.next_key))
        limit = min(round(self.rate * random.RANGE), random.RANGE - 1)  # a fraction r is below it
        backend.xp.greater_equal(bits, limit, out=mask)
        mask *= 1 / (1 - self.rate)
        return mask

    def next_key(self) -> int:
        """Return the key of a new mask."""
        self.drawn += 1
        return random.key(self.seed, self.drawn)


class InputLayer(Layer):
    """The shape of a model's samples, or of its batches; it passes its input through."""

    any_dtype = True
    sparse = ragged = optional = False

    def __init__(
        self, shape: Sizes | None = None, batch_size: int | None = None, dtype: str | None = None,
        batch_shape: Sizes | None = None, name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name=name)
        self._config_dtype = self._own_dtype = dtype or "float32"
        self.shape = self.batch_shape = shapes.batch_shape_of_input(shape, batch_size, batch_shape)
        self.ensure_built(self.batch_shape)

    def forward(self, x: Array, training: bool = False) -> Array:
        return x

    def backward(self, gradient: Array) -> Array:
        return gradient


Input = InputLayer  # ``Input(shape=(28, 28))``, first in a `Sequential`

KNOWN = {layer.__name__: layer for layer in (Activation, Dense, Dropout, Flatten, InputLayer)}
get, _, deserialize = functions_for("layer", Layer, KNOWN)
