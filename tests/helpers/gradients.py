"""Numerical derivatives, with which every `backward` has to agree."""

import numpy as np


def central_differences(function, x, step=1e-5):
    """Return ∂f/∂x as (f(x + h) − f(x − h)) / 2h, with an error of order h² + rounding / h.

    `function` takes no arguments and returns a number that depends on the float64 array `x`,
    whose entries are changed one at a time and restored.
    """
    assert x.dtype == np.float64
    gradient = np.empty(x.shape)
    for index in np.ndindex(x.shape):
        kept = float(x[index])
        x[index] = kept + step
        above = float(function())
        x[index] = kept - step
        gradient[index] = (above - float(function())) / (2 * step)
        x[index] = kept
    return gradient
