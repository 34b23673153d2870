"""Layers: the contract, `Layer`, and those that fulfil it.

`forward` keeps what `backward` needs. `backward`, directly under it, takes ∂L/∂output, leaves the
gradients of the weights beside them, and returns ∂L/∂input to the layer below: backpropagation.
Source: https://keras.io/api/layers/
"""

import math
from typing import Any

from tinynet import activations, backend, initializers, regularizers  # noqa: F401, found by name
from tinynet.backend import Array, Shape, random
from tinynet.compat import checks
from tinynet.compat.activation import DERIVATIVES, FROM_Z, OWN
from tinynet.compat.configuration import public, serialize_layer as serialize  # noqa: F401
from tinynet.compat.layer import LayerBase, input_function


class Layer(LayerBase):
    """The base of every layer, tinynet's and your own.

    A subclass writes `build` (its weights, by `add_weight`), `forward` and `backward`, and
    `compute_output_shape` if the output's shape is not the input's. `LayerBase` has the rest.
    """

    def build(self, input_shape: Shape) -> None:
        """Make the weights for inputs of `input_shape`, (batch or None, …)."""

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The shape of the output for inputs of `input_shape`."""
        return tuple(input_shape)

    def forward(self, x: Array, training: bool = False) -> Array:
        """The output for a batch `x`, (batch, …)."""
        raise NotImplementedError(f"{type(self).__name__} has to define forward(x, training)")

    def backward(self, gradient: Array) -> Array | None:
        """From ∂L/∂output to ∂L/∂input; each weight's gradient goes to `self.<name>_gradient`."""
        raise NotImplementedError(f"{type(self).__name__} has to define backward(gradient)")


class Flatten(Layer):
    """Turn each sample, such as a 28×28 image, into one row of numbers.

    With the `data_format` ``"channels_first"`` the second axis is first moved to the end.
    """

    any_dtype = by_sample = True

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
        """Nothing is computed in forward, so nothing here: each gradient goes back to its place."""
        gradient = gradient.reshape(self._moved_shape)
        if self.data_format == "channels_first" and gradient.ndim > 2:
            gradient = backend.xp.moveaxis(gradient, -1, 1)
        return gradient


class Activated(Layer):
    """What `Dense` and `Activation` have in common: an activation f, and the way back."""

    activation: Any
    backward_from_z: Any  # the way back from z to x
    _shape: tuple[int, ...] = ()  # of the output
    _caches: tuple[str, ...] = ("_a", "_z", "surprise")

    @property
    def by_sample(self) -> bool:  # type: ignore[override]
        return self.activation in OWN

    def activate(self, z: Array, out: Array) -> Array:
        """a = f(z), where possible in the array `out`, which may be z."""
        f, self._z = self.activation, z
        if f is activations.softmax:  # cross-entropy takes −ln a beside it
            self._a = activations.softmax(z, out=self.buffer("a", z.shape, z.dtype), surprise=out)
            self.surprise = out.reshape(self._shape or out.shape)
        elif f in OWN:
            self._a = f(z, out=out)
        else:  # a reader's own, which need not know about `out`
            self._a = backend.as_array(f(z))
        return self._a.reshape(self._shape or self._a.shape)

    def backward(self, gradient: Array) -> Array | None:
        """δ = ∂L/∂z = f′(z) ∂L/∂a, by the backward of f. The rest is `backward_from_z`."""
        f = self.activation
        if f is activations.linear:
            return self.backward_from_z(gradient)
        gradient = gradient.reshape(self._a.shape)
        given = self._z if f in FROM_Z else self._a
        out = {"out": self.buffer("delta", gradient.shape, gradient.dtype)} if f in OWN else {}
        return self.backward_from_z(DERIVATIVES[f](gradient, given, **out))


class Dense(Activated):
    """Every input connected with every unit: ``a = f(x W + b)``.

    Arguments:
        units, activation, use_bias: how many outputs; f, a name or a function; whether b is added.
        kernel_initializer, bias_initializer: where W and b start.
        kernel_regularizer: what W costs, R(W), which is added to the loss: ``"l2"``, ``L2(0.001)``.

    Shapes: x (batch, …, in), W = ``kernel`` (in, units), b = ``bias`` (units,), a (batch, …, units)
    """

    _caches = (*Activated._caches, "_x")

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        self.units, self.activation, self.use_bias = units, activation, use_bias
        self.kernel_initializer, self.bias_initializer = kernel_initializer, bias_initializer
        self.kernel_regularizer = kernel_regularizer
        unbuilt: Array = None
        self.kernel = self.kernel_gradient = self.bias = self.bias_gradient = unbuilt

    def build(self, input_shape: Shape) -> None:
        self.add_weight((input_shape[-1] or 0, self.units), self.kernel_initializer, name="kernel")
        if self.use_bias:
            self.add_weight((self.units,), self.bias_initializer, name="bias")

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        checks.rows(self.name, input_shape)
        return (*input_shape[:-1], self.units)

    def check_input(self, shape: Shape) -> None:
        self.compute_output_shape(shape)
        checks.rows(self.name, shape, len(self.kernel))

    def forward(self, x: Array, training: bool = False) -> Array:
        """a = f(z), z = x W + b."""
        rows = x.reshape(-1, x.shape[-1])
        self._x, self._shape = rows, (*x.shape[:-1], self.units)
        z = self.buffer("z", (len(rows), self.units), x.dtype)
        backend.xp.matmul(rows, self.kernel, out=z)  # (batch, in) @ (in, units)
        if self.use_bias:
            z += self.bias  # to every row
        return self.activate(z, out=z)

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
            if self.kernel_regularizer is not None:  # W itself costs R(W)
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
        cost = self.kernel_regularizer if self.trainable else None
        return None if cost is None else cost(self.kernel)


class Activation(Activated):
    """a = f(x), for a name or function f, as a layer: ``Dense(10), Activation("softmax")``."""

    def __init__(self, activation: Any, **base: Any) -> None:
        super().__init__(**base)
        self.activation = activation

    def forward(self, x: Array, training: bool = False) -> Array:
        self._shape = x.shape
        return self.activate(x, self.buffer("out", x.shape, x.dtype))

    def backward_from_z(self, delta: Array) -> Array:
        """What arrives below f is passed on as it is: there are no weights."""
        return delta


class Dropout(Layer):
    """y = x m / (1 − r): in training, m is 0 with probability r, else 1, drawn for each number.

    The division keeps the mean, E[y] = x (1 − r) / (1 − r) = x; when the network is used, y = x.

    Arguments: `rate` is r; with a `seed`, the masks do not depend on tinynet's generator.

    Source: Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html
    """

    by_sample = True  # outside training, where it does nothing
    counters = ("drawn",)
    _caches = ("_mask",)

    def __init__(self, rate: float, seed: int | None = None, **base: Any) -> None:
        super().__init__(**base)
        self.rate, self.seed = rate, seed
        self.drawn = 0  # masks so far
        self._mask: Array = None

    def forward(self, x: Array, training: bool = False) -> Array:
        """y = x m / (1 − r) in training, else x."""
        self._mask = self.mask(x) if training and self.rate else None
        if self._mask is None:
            return x
        return backend.xp.multiply(x, self._mask, out=self.buffer("y", x.shape, x.dtype))

    def backward(self, gradient: Array) -> Array:
        """∂y/∂x = m / (1 − r): what was dropped had no say, so it is not corrected."""
        if self._mask is None:
            return gradient
        dx = self.buffer("dx", gradient.shape, gradient.dtype)
        return backend.xp.multiply(gradient, self._mask, out=dx)

    def mask(self, x: Array) -> Array:
        """m / (1 − r) in the shape of `x`, new at every call."""
        mask = self.buffer("mask", x.shape, x.dtype)
        if self.rate == 1:
            mask[...] = 0
            return mask
        self.drawn += 1
        bits = self.random_bits(x.shape, random.key(self.seed, self.drawn))
        limit = min(round(self.rate * random.ALL), random.ALL - 1)  # a share r of all bits is below
        backend.xp.greater_equal(bits, limit, out=mask)
        mask *= 1 / (1 - self.rate)
        return mask


class InputLayer(Layer):
    """What `Input` makes: the shape that a model expects. It holds and computes nothing."""

    any_dtype = True

    def __init__(self, batch_shape: Any = None, dtype: Any = None, name: Any = None) -> None:
        super().__init__(name=name)
        self.input_dtype, self.batch_shape = dtype, batch_shape
        self._written_dtype = dtype or "float32"
        self.ensure_built(batch_shape)

    def forward(self, x: Array, training: bool = False) -> Array:
        return x

    def backward(self, gradient: Array) -> Array:
        return gradient


Input = input_function(InputLayer)  # ``Input(shape=(28, 28))``, first in a `Sequential`

KNOWN = {layer.__name__: layer for layer in (Activation, Dense, Dropout, Flatten, InputLayer)}
get = public("layer", Layer, KNOWN)[0]
