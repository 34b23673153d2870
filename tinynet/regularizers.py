"""Regularisation: a price on large weights, added to the loss.

A network that may choose any weights can learn its training images by heart, with large weights
that cancel on just those images. Where each weight costs something, it keeps to what pays: what
many images have in common.
"""

import math
from typing import Any

from tinynet import backend, naming, validation
from tinynet.backend import Array


class Regularizer:
    """The base of every regulariser, tinynet's and your own: write `__call__` and `gradient`."""

    def __call__(self, x: Array) -> Array:
        """What the weights `x` cost, one number."""
        raise NotImplementedError(f"{type(self).__name__} has to define __call__(x)")

    def gradient(self, x: Array, out: Array | None = None) -> Array:
        """The derivative of that by each weight, in the shape of `x`, written to `out` if given."""
        raise NotImplementedError(f"{type(self).__name__} has to define gradient(x, out)")

    def get_config(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Regularizer":
        return cls(**config)


class L2(Regularizer):
    """R = λ Σ w²: the larger a weight, the more a little less of it saves.

    ∂R/∂w = 2 λ w, so that in each step of SGD a weight shrinks by the share 2 η λ of itself,
    besides what the loss wants.

    Arguments:
        l2: λ, at least 0.

    >>> penalty = L2(0.1)
    >>> import numpy as np
    >>> float(penalty(np.array([1.0, 2.0])))
    0.5
    >>> penalty.gradient(np.array([1.0, 2.0]))
    array([0.2, 0.4])

    Source: https://keras.io/api/layers/regularizers/#l2-class
    """

    def __init__(self, l2: float = 0.01) -> None:
        l2 = 0.01 if l2 is None else l2
        if not validation.is_real(l2) or not 0 <= l2 < math.inf:
            raise ValueError(
                "Invalid value for argument l2: expected a non-negative float. "
                f"Received: l2={naming.short(l2)}. Write: L2(0.01)"
            )
        self.l2 = float(l2)

    def __call__(self, x: Array) -> Array:
        x = backend.as_float(x)
        flat = x.reshape(-1)
        return backend.of(x).vdot(flat, flat) * self.l2

    def gradient(self, x: Array, out: Array | None = None) -> Array:
        x = backend.as_float(x)
        return backend.of(x).multiply(x, 2 * self.l2, out=out)

    def get_config(self) -> dict[str, Any]:
        return {"l2": self.l2}


l2 = L2  # Keras has it under both names

_KNOWN = {"L2": L2, "l2": L2}


def get(identifier: Any) -> Regularizer | None:
    """The regulariser that a name, class, configuration or instance stands for; None is none.

    >>> get("l2").l2
    0.01
    """
    if identifier is None:
        return None
    return naming.instance_from("regularizer", identifier, _KNOWN, Regularizer)


def serialize(regularizer: Regularizer | None) -> dict[str, Any] | None:
    """The configuration of `regularizer`, in Keras's form."""
    return None if regularizer is None else naming.serialize(regularizer, "keras.regularizers")
