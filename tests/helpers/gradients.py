"""Derivatives by the definition: what a backward, however clever, has to agree with."""

import numpy as np


def central_differences(function, x, step=1e-5):
    """∂f/∂x for every entry of `x`: (f(x + h) − f(x − h)) / 2h, off by h² and by rounding / h.

    `function` takes nothing and gives a number that depends on the float64 array `x`, which is
    changed one entry at a time and left as it was.
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
