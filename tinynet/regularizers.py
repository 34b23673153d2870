"""Regularisation: a price on large weights, added to the loss.

A network that may choose any weights can learn its training images by heart, with large weights
that cancel on just those images. Where each weight costs something, it keeps to what pays: what
many images have in common.
"""

from tinynet import backend
from tinynet.backend import Array
from tinynet.compat.configuration import Configurable, public


class Regularizer(Configurable):
    """The base of every regulariser, tinynet's and your own: write `__call__` and `gradient`."""

    def __call__(self, x: Array) -> Array:
        """R, what the weights `x` cost: one number."""
        raise NotImplementedError(f"{type(self).__name__} has to define __call__(x)")

    def gradient(self, x: Array, out: Array | None = None) -> Array:
        """∂R/∂x, in the shape of `x`, written to `out` if given."""
        raise NotImplementedError(f"{type(self).__name__} has to define gradient(x, out)")


class L2(Regularizer):
    """R = λ Σ w², with `l2` as λ: the larger a weight, the more a little less of it saves.

    ∂R/∂w = 2 λ w, so that in each step of SGD a weight shrinks by the share 2 η λ of itself,
    besides what the loss wants. Source: https://keras.io/api/layers/regularizers/#l2-class
    """

    def __init__(self, l2: float = 0.01) -> None:
        self.l2 = l2

    def __call__(self, x: Array) -> Array:
        flat = backend.as_float(x).reshape(-1)
        return backend.of(flat).vdot(flat, flat) * self.l2

    def gradient(self, x: Array, out: Array | None = None) -> Array:
        return backend.of(x).multiply(backend.as_float(x), 2 * self.l2, out=out)


l2 = L2  # Keras has it under both names
get, serialize = public("regularizer", Regularizer, {"L2": L2, "l2": L2}, none=None)
