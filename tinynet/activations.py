"""Activations: what a layer does to its weighted sums z, and directly under each, the way back.

An activation is a plain function ``a = f(z)``. Its backward takes the gradient that arrives,
∂L/∂a, and the *output* a, and returns ∂L/∂z = ∂L/∂a · f′(z). That it needs a and not z is no
accident: every derivative here can be written in terms of a, so a layer overwrites its sums
with its outputs and keeps one array instead of two.

A reader's own activation is a plain function ``f(z)``, with `backward_of` above the way back. Those
below also take `out`, the array to write the result to. A value may overwrite its own input; a
backward wants an array apart from the two that it reads. Without `out` a new one is made.
"""

from collections.abc import Callable

from tinynet import backend
from tinynet.backend import Array
from tinynet.compat import checks, naming
from tinynet.compat.configuration import as_config as serialize  # noqa: F401

Activation = Callable[..., Array]

_backward: dict[Activation, Activation] = {}
_wants_z: set[Activation] = set()


def backward_of(
    activation: Activation, *, from_z: bool = False
) -> Callable[[Activation], Activation]:
    """Decorate a function ``(gradient, a)`` as the backward of `activation`, one of your own.

    Arguments:
        from_z: give the function z in place of a, for a derivative that a alone does not tell.

    >>> @backward_of(square := lambda z: z * z, from_z=True)
    ... def square_backward(gradient, z):
    ...     return gradient * 2 * z
    """

    def remember(function: Activation) -> Activation:
        _backward[activation] = function
        (_wants_z.add if from_z else _wants_z.discard)(activation)
        return function

    return remember


def linear(x: Array, out: Array | None = None) -> Array:
    """f(z) = z."""
    z = backend.as_float(x)
    return _copy(z, _place(z, out))


@backward_of(linear)
def linear_backward(gradient: Array, a: Array, out: Array | None = None) -> Array:
    """f′(z) = 1: the gradient passes unchanged."""
    return _copy(gradient, _place(gradient, out))


def sigmoid(x: Array, out: Array | None = None) -> Array:
    """σ(z) = 1 / (1 + e⁻ᶻ), between 0 and 1.

    Source: https://keras.io/api/layers/activations/#sigmoid-function
    """
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
    """tanh z = (eᶻ − e⁻ᶻ) / (eᶻ + e⁻ᶻ), between −1 and 1.

    Source: https://keras.io/api/layers/activations/#tanh-function
    """
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
    """max(z, 0): the positive part.

    Source: https://keras.io/api/layers/activations/#relu-function
    """
    z = backend.as_float(x)
    return backend.of(z).maximum(z, 0, out=_place(z, out))


@backward_of(relu)
def relu_backward(gradient: Array, a: Array, out: Array | None = None) -> Array:
    """1 where z > 0, else 0 (also at z = 0, as in Keras): the sign of a, which is never below 0."""
    slope = backend.of(a).sign(a, out=_place(a, out))
    slope *= gradient
    return slope


def softmax(x: Array, axis: int = -1, out: Array | None = None, log: Array | None = None) -> Array:
    """pₖ = eᶻᵏ / Σⱼ eᶻʲ: positive, and 1 in all.

    The largest z is subtracted first. That divides numerator and denominator by the same number,
    so it changes nothing but the range: the largest exponential is e⁰ = 1 and none overflows.

    Arguments:
        log: where to leave ln pₖ = zₖ − ln Σⱼ eᶻʲ, which is right even where pₖ itself is so small
            that it became 0. It may be `x`: the largest z once subtracted, little is missing.

    Source: https://keras.io/api/layers/activations/#softmax-function
    """
    z = backend.as_float(x)
    xp = backend.of(z)
    out = _place(z, out)
    shifted = xp.subtract(z, z.max(axis=axis, keepdims=True), out=out if log is None else log)
    p = xp.exp(shifted, out=out)
    total = p.sum(axis=axis, keepdims=True)
    p /= total
    if log is not None:
        log -= xp.log(total)
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
    """ln pₖ for p = softmax(z), also where pₖ itself would be 0.

    Source: https://keras.io/api/layers/activations/#logsoftmax-function
    """
    z = backend.as_float(x)
    log = backend.of(z).empty_like(z)
    softmax(z, axis, log=log)
    return log


def _place(like: Array, out: Array | None) -> Array:
    return backend.of(like).empty_like(like) if out is None else out


def _copy(array: Array, out: Array) -> Array:
    if out is not array:
        out[...] = array
    return out


_KNOWN = {f.__name__: f for f in (linear, sigmoid, tanh, relu, softmax)}

get = naming.getter("activation function", _KNOWN, none=linear, functions=True)


def is_known(activation: Activation) -> bool:
    """Whether `activation` is one of tinynet's own."""
    return activation in _KNOWN.values()


def wants_z(activation: Activation) -> bool:
    """Whether the backward of `activation` takes z in place of a."""
    return activation in _wants_z


def backward(activation: Activation) -> Activation:
    """The backward of `activation`: a function ``(gradient, a)`` that gives ∂L/∂z.

    Raises:
        ValueError: if none was registered.
    """
    if activation not in _backward:
        raise checks.no_backward(name_of(activation))
    return _backward[activation]


def name_of(activation: Activation) -> str:
    return getattr(activation, "__name__", type(activation).__name__)
