"""Activations: functions of a layer's weighted sums z, each followed by its backward function.

An activation is a plain function ``a = f(z)``. Its backward function takes the incoming gradient
∂L/∂a and the *output* a, and returns ∂L/∂z = ∂L/∂a · f′(z). Every derivative here can be written in
terms of a, so a layer can overwrite its sums with its outputs and keep one array instead of two.

Your own activation is a plain function ``f(z)``; decorate its backward function with `backward_of`.
Those below also take an array `out` for the result. It may be f's input, but not its backward's.
Source: https://keras.io/api/layers/activations/
"""

from tinynet import backend
from tinynet.backend import elementwise, exp
from tinynet.backend.types import Array
from tinynet.compat.activation import backward as backward, backward_of as backward_of
from tinynet.compat.configuration import functions_for


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
    with backend.ignore_overflow():  # e⁻ᶻ = inf below z ≈ -88, where 1 / inf = 0 is correct
        return _sigmoid(backend.as_float(x), out=out)  # type: ignore[no-any-return]


@elementwise
def _sigmoid(z: Array) -> Array:
    return 1 / (1 + exp(-z))


@backward_of(sigmoid)
@elementwise
def sigmoid_backward(gradient: Array, a: Array) -> Array:
    """Return ∂L/∂z = ∂L/∂a · σ′(z), where σ′(z) = e⁻ᶻ / (1 + e⁻ᶻ)² = a (1 − a)."""
    return (1 - a) * a * gradient


def tanh(x: Array, out: Array | None = None) -> Array:
    """Return tanh z = (eᶻ − e⁻ᶻ) / (eᶻ + e⁻ᶻ), between −1 and 1."""
    z = backend.as_float(x)
    return backend.of(z).tanh(z, out=_out_or_empty(z, out))


@backward_of(tanh)
@elementwise
def tanh_backward(gradient: Array, a: Array) -> Array:
    """Return ∂L/∂z = ∂L/∂a · tanh′(z), where tanh′(z) = 1 − a²."""
    return (1 - a * a) * gradient


def relu(
    x: Array, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0,
    out: Array | None = None,
) -> Array:  # fmt: skip
    """Return max(z, 0); or z above θ (`threshold`), up to `max_value`, and below it s (z − θ)."""
    z = backend.as_float(x)
    if max_value is None and not negative_slope and not threshold:
        return backend.of(z).maximum(z, 0, out=_out_or_empty(z, out))
    a = backend.of(z).maximum(z, threshold) * (z > threshold)
    a = a if max_value is None else a.clip(0, max_value)
    below = negative_slope * (threshold - z).clip(0) if negative_slope else 0
    return backend.of(z).subtract(a, below, out=out)


@backward_of(relu)
@elementwise
def relu_backward(gradient: Array, a: Array) -> Array:
    """Return ∂L/∂a where z > 0, and so a > 0, else 0 (at z = 0 too, as in Keras)."""
    return (a > 0) * gradient


def softmax(
    x: Array, axis: int = -1, out: Array | None = None, surprisal: Array | None = None
) -> Array:
    """Return pₖ = eᶻᵏ / Σⱼ eᶻʲ, which are positive and sum to 1.

    The largest z is subtracted first. That divides numerator and denominator by the same number,
    so it changes only the range: the largest exponential is e⁰ = 1, and none overflows.

    To an array `surprisal`, −ln pₖ = ln Σⱼ eᶻʲ − zₖ is written, which is accurate even where pₖ
    underflows to 0. It may be `x` itself; `out` may not then.
    """
    z = backend.as_float(x)
    largest = z.max(axis=axis, keepdims=True)
    p: Array = _exp_of_shifted(z, largest, out=_out_or_empty(z, out))
    total = backend.sum_last(p) if axis == -1 else p.sum(axis=axis, keepdims=True)
    p /= total
    if surprisal is not None:
        _surprisal(z, largest, backend.of(z).log(total), out=surprisal)
    return p


@elementwise
def _exp_of_shifted(z: Array, largest: Array) -> Array:
    return exp(z - largest)  # type: ignore[no-any-return]


@elementwise
def _surprisal(z: Array, largest: Array, log_total: Array) -> Array:
    return log_total - (z - largest)  # type: ignore[no-any-return]


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
get, serialize, deserialize = functions_for("activation function", (), KNOWN, none=linear)
