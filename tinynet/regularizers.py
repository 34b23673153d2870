"""Regularisation: a penalty on large weights, added to the loss.

A network with unrestricted weights can memorise its training images, with large weights whose
effects cancel on exactly those images. A penalty on every weight makes the network rely on what
many images have in common.
"""

from tinynet import backend
from tinynet.backend.types import Array
from tinynet.compat.configuration import Configurable, functions_for


class Regularizer(Configurable):
    """The base class of all regularisers; subclasses define `__call__` and `gradient`."""

    def __call__(self, x: Array) -> Array:
        """Return R, the penalty for the weights `x`: one number."""
        raise NotImplementedError(f"{type(self).__name__} has to define __call__(x)")

    def gradient(self, x: Array, out: Array | None = None) -> Array:
        """Return ∂R/∂x in the shape of `x`, written to `out` if given."""
        raise NotImplementedError(f"{type(self).__name__} has to define gradient(x, out)")


class L2(Regularizer):
    """The penalty R = λ Σ w², with `l2` as λ, which weighs most on large weights.

    ∂R/∂w = 2 λ w, so each step of SGD also shrinks a weight by the fraction 2 η λ, beside the step
    for the loss itself. Source: https://keras.io/api/layers/regularizers/#l2-class
    """

    def __init__(self, l2: float = 0.01) -> None:
        self.l2 = l2

    def __call__(self, x: Array) -> Array:
        flat = backend.as_float(x).reshape(-1)
        return backend.vdot(flat, flat) * self.l2

    def gradient(self, x: Array, out: Array | None = None) -> Array:
        return backend.of(x).multiply(backend.as_float(x), 2 * self.l2, out=out)


l2 = L2  # Keras has both names
get, serialize, deserialize = functions_for(
    "regularizer", Regularizer, {"L2": L2, "l2": L2}, none=None
)
