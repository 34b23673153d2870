"""Initializers: initial weights that are not all equal, and neither too large nor too small.

If all units of a layer started alike, they would stay alike, so weights are random. Their spread is
chosen so that neither the activations (forward) nor the gradients (backward) grow or shrink from
layer to layer (Glorot for sigmoid and tanh, He for relu). All are drawn in float64, then rounded.
"""

import math

import numpy as np

from tinynet.backend.types import HostArray
from tinynet.compat.configuration import functions_for
from tinynet.compat.initializer import InitializerBase, Seeded

Shape = tuple[int, ...]


class Initializer(InitializerBase):
    """The base class of all initializers. Call it with a shape; subclasses define `draw`."""

    def draw(self, shape: Shape) -> HostArray:
        """Return the values, an array of `shape` on the host, before rounding."""
        raise NotImplementedError(f"{type(self).__name__} has to define draw(shape)")


class Constant(Initializer):
    """Every weight is `value`, or that of an array, which is broadcast to the shape."""

    def __init__(self, value: float = 0.0) -> None:
        self.value = value

    def draw(self, shape: Shape) -> HostArray:
        return np.full(shape, self.value, "float64")


class Zeros(Constant, value=0.0):
    """Every weight is 0: right for biases, useless for kernels, whose units would stay alike."""


class Ones(Constant, value=1.0):
    """Every weight is 1."""


class RandomUniform(Seeded, Initializer):
    """Uniform between `minval` and `maxval`."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None):
        super().__init__(seed)
        self.minval, self.maxval = minval, maxval

    def draw(self, shape: Shape) -> HostArray:
        return self.generator().uniform(self.minval, self.maxval, shape)


class RandomNormal(Seeded, Initializer):
    """Normal, with `mean` and standard deviation `stddev`."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        super().__init__(seed)
        self.mean, self.stddev = mean, stddev

    def draw(self, shape: Shape) -> HostArray:
        return self.generator().normal(self.mean, self.stddev, shape)


class TruncatedNormal(RandomNormal):
    """Normal, with values beyond two standard deviations drawn again."""

    def draw(self, shape: Shape) -> HostArray:
        return self.mean + self.stddev * self.truncated_normal(shape)


class VarianceScaling(Seeded, Initializer):
    """Random weights of variance ``scale / n``, where `mode` sets n to the number of inputs
    (``"fan_in"``), the number of outputs (``"fan_out"``), or the mean of both (``"fan_avg"``).
    Source: Glorot and Bengio 2010; He et al. 2015."""

    def __init__(
        self, scale: float = 1.0, mode: str = "fan_in", distribution: str = "truncated_normal",
        seed: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(seed)
        self.scale, self.mode, self.distribution = scale, mode, distribution

    def draw(self, shape: Shape) -> HostArray:
        *places, inputs, units = shape if len(shape) > 1 else (math.prod(shape),) * 2
        fans = {"fan_in": inputs, "fan_out": units, "fan_avg": (inputs + units) / 2}
        variance = self.scale / max(1.0, math.prod(places) * fans[self.mode])
        if self.distribution == "uniform":
            limit = math.sqrt(3 * variance)
            return self.generator().uniform(-limit, limit, shape)
        if self.distribution == "untruncated_normal":
            return self.generator().normal(0, math.sqrt(variance), shape)
        # Truncation at ±2 reduces the standard deviation to 0.8796…; the division restores it.
        spread = math.sqrt(variance) / 0.87962566103423978
        return spread * self.truncated_normal(shape)


class GlorotUniform(VarianceScaling, scale=1.0, mode="fan_avg", distribution="uniform"):
    """Uniform within ±√(6 / (inputs + outputs)): Keras's default for kernels."""


class GlorotNormal(VarianceScaling, scale=1.0, mode="fan_avg", distribution="truncated_normal"):
    """Truncated normal with variance 2 / (inputs + outputs)."""


class HeUniform(VarianceScaling, scale=2.0, mode="fan_in", distribution="uniform"):
    """Uniform within ±√(6 / inputs), for relu, which zeroes half of the signal."""


class HeNormal(VarianceScaling, scale=2.0, mode="fan_in", distribution="truncated_normal"):
    """Truncated normal with variance 2 / inputs, for relu."""


get, serialize, deserialize = functions_for("initializer", Initializer, none=None, functions=True)
