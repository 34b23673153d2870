"""Activations: what a layer does to its weighted sums z, and directly under each, the way back.

An activation is a plain function ``a = f(z)``. Its backward takes the gradient that arrives, ∂L/∂a,
and the *output* a, and returns ∂L/∂z = ∂L/∂a · f′(z). Every derivative here can be written in terms
of a, so a layer overwrites its sums with its outputs and keeps one array instead of two.

A reader's own is a plain function ``f(z)``, with `backward_of` above the way back. Those below also
take `out`, an array to write to: a function may write over its input, a backward over neither.
Source: https://keras.io/api/layers/activations/
"""

from tinynet import backend
from tinynet.backend import Array
from tinynet.compat.activation import backward as backward, backward_of as backward_of
from tinynet.compat.configuration import public


def linear(x: Array, out: Array | None = None) -> Array:
    """f(z) = z."""
    z = backend.as_float(x)
    return z if out is z else backend.of(z).positive(z, out=_place(z, out))


@backward_of(linear)
def linear_backward(gradient: Array, a: Array, out: Array | None = None) -> Array:
    """f′(z) = 1: the gradient passes unchanged."""
    return backend.of(a).positive(gradient, out=_place(gradient, out))


def sigmoid(x: Array, out: Array | None = None) -> Array:
    """σ(z) = 1 / (1 + e⁻ᶻ), between 0 and 1."""
    z = backend.as_float(x)
    xp = backend.of(z)
    a = xp.negative(z, out=_place(z, out))
    with backend.ignore_overflow():  # e⁻ᶻ = inf below z ≈ -88, and 1 / inf = 0 is right
        xp.exp(a, out=a)
    a += 1
    return xp.divide(1, a, out=a)  # takes NumPy half as long as `reciprocal`, which says the same


@backward_of(sigmoid)
def sigmoid_backward(gradient: Array, a: Array, out: Array | None = None) -> Array:
    """σ′(z) = e⁻ᶻ / (1 + e⁻ᶻ)² = a (1 − a)."""
    xp = backend.of(a)
    slope = xp.subtract(1, a, out=_place(a, out))
    slope *= a
    slope *= gradient
    return slope


def tanh(x: Array, out: Array | None = None) -> Array:
    """tanh z = (eᶻ − e⁻ᶻ) / (eᶻ + e⁻ᶻ), between −1 and 1."""
    z = backend.as_float(x)
    return backend.of(z).tanh(z, out=_place(z, out))


@backward_of(tanh)
def tanh_backward(gradient: Array, a: Array, out: Array | None = None) -> Array:
    """tanh′(z) = 1 − a²."""
    xp = backend.of(a)
    slope = xp.multiply(a, a, out=_place(a, out))
    xp.subtract(1, slope, out=slope)
    slope *= gradient
    return slope


def relu(x: Array, out: Array | None = None) -> Array:
    """max(z, 0): the positive part."""
    z = backend.as_float(x)
    return backend.of(z).maximum(z, 0, out=_place(z, out))


@backward_of(relu)
def relu_backward(gradient: Array, a: Array, out: Array | None = None) -> Array:
    """1 where z > 0, else 0 (also at z = 0, as in Keras): the sign of a, which is never below 0."""
    slope = backend.of(a).sign(a, out=_place(a, out))
    slope *= gradient
    return slope


def softmax(
    x: Array, axis: int = -1, out: Array | None = None, surprise: Array | None = None
) -> Array:
    """pₖ = eᶻᵏ / Σⱼ eᶻʲ: positive, and summing to 1.

    The largest z is subtracted first. That divides numerator and denominator by the same number,
    so it changes nothing but the range: the largest exponential is e⁰ = 1 and none overflows.

    Arguments:
        surprise: where to leave −ln pₖ = ln Σⱼ eᶻʲ − zₖ, which is right even where pₖ itself is so
            small that it became 0. It may be `x` itself, which is then overwritten.
    """
    z = backend.as_float(x)
    xp = backend.of(z)
    out = _place(z, out)
    shifted = xp.subtract(
        z, z.max(axis=axis, keepdims=True), out=out if surprise is None else surprise
    )
    p = xp.exp(shifted, out=out)
    total = p.sum(axis=axis, keepdims=True)
    p /= total
    if surprise is not None:
        xp.subtract(xp.log(total), surprise, out=surprise)
    return p


@backward_of(softmax)
def softmax_backward(gradient: Array, a: Array, out: Array | None = None) -> Array:
    """Every output depends on every input: ∂pₖ/∂zⱼ = pₖ (δₖⱼ − pⱼ), δₖⱼ being 1 if k = j, else 0.

    Summed over k, with gₖ = ∂L/∂pₖ arriving: ∂L/∂zⱼ = pⱼ (gⱼ − Σₖ gₖ pₖ), along the last axis.
    """
    mean = (gradient * a).sum(axis=-1, keepdims=True)
    dz = backend.of(a).subtract(gradient, mean, out=_place(a, out))
    dz *= a
    return dz


def log_softmax(x: Array, axis: int = -1) -> Array:
    """ln pₖ for p = softmax(z), also where pₖ itself would be 0."""
    z = backend.as_float(x)
    surprise = backend.of(z).empty_like(z)
    softmax(z, axis, surprise=surprise)
    return 0 - surprise


def _place(like: Array, out: Array | None) -> Array:
    return backend.of(like).empty_like(like) if out is None else out


_KNOWN = {f.__name__: f for f in (linear, sigmoid, tanh, relu, softmax)}
get, serialize = public("activation function", (), _KNOWN, none=linear, functions=True)
