"""Activations: functions of a layer's weighted sums z, each followed by its backward function.

An activation is a plain function ``a = f(z)``. Its backward function takes the incoming gradient
∂L/∂a and the *output* a, and returns ∂L/∂z = ∂L/∂a · f′(z). Every derivative here can be written in
terms of a, so a layer can overwrite its sums with its outputs and keep one array instead of two.

Your own activation is a plain function ``f(z)``; decorate its backward function with `backward_of`.
Those below also take an array `out` for the result. It may be f's input, but not its backward's.
Source: https://keras.io/api/layers/activations/
"""

from tinynet import backend
from tinynet.backend.types import Array
from tinynet.compat.activation import backward as backward, backward_of as backward_of
from tinynet.compat.configuration import get_and_serialize


def linear(x: Array, out: Array | None = None) -> Array:
    """Return f(z) = z."""
    z = backend.as_float(x)
    return z if out is z else backend.of(z).positive(z, out=_out_or_empty(z, out))


@backward_of(linear)
def linear_backward(gradient: Array, a: Array, out: Array | None = None) -> Array:
    """Return ∂L/∂z = ∂L/∂a, since f′(z) = 1."""
    return backend.of(a).positive(gradient, out=_out_or_empty(gradient, out))


def sigmoid(x: Array, out: Array | None = None) -> Array:
    """Return σ(z) = 1 / (1 + e⁻ᶻ), between 0 and 1."""
    z = backend.as_float(x)
    xp = backend.of(z)
    a = xp.negative(z, out=_out_or_empty(z, out))
    with backend.ignore_overflow():  # e⁻ᶻ = inf below z ≈ -88, where 1 / inf = 0 is correct
        xp.exp(a, out=a)
    a += 1
    return xp.divide(1, a, out=a)  # twice as fast in NumPy as the equivalent `reciprocal`


@backward_of(sigmoid)
def sigmoid_backward(gradient: Array, a: Array, out: Array | None = None) -> Array:
    """Return ∂L/∂z = ∂L/∂a · σ′(z), where σ′(z) = e⁻ᶻ / (1 + e⁻ᶻ)² = a (1 − a)."""
    xp = backend.of(a)
    slope = xp.subtract(1, a, out=_out_or_empty(a, out))
    slope *= a
    slope *= gradient
    return slope


def tanh(x: Array, out: Array | None = None) -> Array:
    """Return tanh z = (eᶻ − e⁻ᶻ) / (eᶻ + e⁻ᶻ), between −1 and 1."""
    z = backend.as_float(x)
    return backend.of(z).tanh(z, out=_out_or_empty(z, out))


@backward_of(tanh)
def tanh_backward(gradient: Array, a: Array, out: Array | None = None) -> Array:
    """Return ∂L/∂z = ∂L/∂a · tanh′(z), where tanh′(z) = 1 − a²."""
    xp = backend.of(a)
    slope = xp.multiply(a, a, out=_out_or_empty(a, out))
    xp.subtract(1, slope, out=slope)
    slope *= gradient
    return slope


def relu(x: Array, out: Array | None = None) -> Array:
    """Return max(z, 0), the positive part of z."""
    z = backend.as_float(x)
    return backend.of(z).maximum(z, 0, out=_out_or_empty(z, out))


@backward_of(relu)
def relu_backward(gradient: Array, a: Array, out: Array | None = None) -> Array:
    """Return ∂L/∂a where z > 0, else 0 (at z = 0 too, as in Keras): f′(z) = sign(a), as a ≥ 0."""
    slope = backend.of(a).sign(a, out=_out_or_empty(a, out))
    slope *= gradient
    return slope


def softmax(
    x: Array, axis: int = -1, out: Array | None = None, surprisal: Array | None = None
) -> Array:
    """Return pₖ = eᶻᵏ / Σⱼ eᶻʲ, which are positive and sum to 1.

    The largest z is subtracted first. That divides numerator and denominator by the same number,
    so it changes only the range: the largest exponential is e⁰ = 1, and none overflows.

    Arguments:
        surprisal: an array to write −ln pₖ = ln Σⱼ eᶻʲ − zₖ to, which is accurate even where pₖ
            underflows to 0. It may be `x` itself, which is then overwritten.
    """
    z = backend.as_float(x)
    xp = backend.of(z)
    out = _out_or_empty(z, out)
    shifted = xp.subtract(
        z, z.max(axis=axis, keepdims=True), out=out if surprisal is None else surprisal
    )
    p = xp.exp(shifted, out=out)
    total = backend.sum_last(p) if axis == -1 else p.sum(axis=axis, keepdims=True)
    p /= total
    if surprisal is not None:
        xp.subtract(xp.log(total), surprisal, out=surprisal)
    return p


@backward_of(softmax)
def softmax_backward(gradient: Array, a: Array, out: Array | None = None) -> Array:
    """Return ∂L/∂z by the Jacobian ∂pₖ/∂zⱼ = pₖ ([k = j] − pⱼ), where [k = j] is 1 or 0.

    Every output depends on every z: with gₖ = ∂L/∂pₖ, ∂L/∂zⱼ = Σₖ gₖ ∂pₖ/∂zⱼ = pⱼ (gⱼ − Σₖ gₖ pₖ).
    """
    mean = backend.sum_last(gradient * a)
    dz = backend.of(a).subtract(gradient, mean, out=_out_or_empty(a, out))
    dz *= a
    return dz


def log_softmax(x: Array, axis: int = -1) -> Array:
    """Return ln pₖ for p = softmax(z), accurate even where pₖ itself underflows to 0."""
    z = backend.as_float(x)
    surprisal = backend.of(z).empty_like(z)
    softmax(z, axis, surprisal=surprisal)
    return 0 - surprisal


def _out_or_empty(like: Array, out: Array | None) -> Array:
    return backend.of(like).empty_like(like) if out is None else out


KNOWN = {f.__name__: f for f in (linear, sigmoid, tanh, relu, softmax)}
get, serialize = get_and_serialize("activation function", (), KNOWN, none=linear, functions=True)
