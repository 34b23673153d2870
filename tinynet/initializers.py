"""Where weights start: not all equal, and neither so large nor so small that signals die.

If all units of a layer started alike they would stay alike, so weights are random; and their
spread is chosen so that neither the activations going up nor the gradients coming down grow
or shrink from layer to layer (Glorot for sigmoid and tanh, He for relu). All are drawn on the
host, in float64, by a generator of the initializer's own, then rounded to `floatx`.

As in Keras, an initializer without a seed draws one when it is made: called twice, it returns
the same values twice.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinynet import backend, config
from tinynet.compat import arguments, checks, naming, validation
from tinynet.compat.configuration import Configurable, serialize as serialize

Shape = Sequence[int]


class Initializer(Configurable):
    """A recipe for initial weights: ``initializer(shape)`` gives the array."""

    keras_module = "keras.initializers"

    def __call__(self, shape: Shape, dtype: str | None = None) -> backend.Array:
        """The initial weights, an array of `shape` in `dtype` (`floatx` unless given)."""
        return backend.xp.asarray(self.draw(tuple(shape)).astype(dtype or config.floatx()))

    def draw(self, shape: tuple[int, ...]) -> np.ndarray:
        """The values on the host, before they are rounded: what a subclass writes."""
        raise NotImplementedError(f"{type(self).__name__} has to define draw(shape)")


class Constant(Initializer):
    """Every weight is `value`."""

    def __init__(self, value: float = 0.0) -> None:
        self.value = value

    def draw(self, shape: tuple[int, ...]) -> np.ndarray:
        return np.full(shape, float(self.value))


class Zeros(Initializer):
    """Every weight is 0: right for biases, useless for kernels, whose units would stay alike."""

    def draw(self, shape: tuple[int, ...]) -> np.ndarray:
        return np.zeros(shape)


class Ones(Initializer):
    """Every weight is 1."""

    def draw(self, shape: tuple[int, ...]) -> np.ndarray:
        return np.ones(shape)


class RandomInitializer(Initializer):
    """What the random ones share: a seed, given or drawn once."""

    def __init__(self, seed: int | None = None) -> None:
        self.seed = seed
        self._drawn = int(backend.generator().integers(2**31)) if seed is None else seed

    def generator(self) -> "np.random.Generator":
        return np.random.default_rng(self._drawn)


class RandomUniform(RandomInitializer):
    """Uniform between `minval` and `maxval`."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None):
        super().__init__(seed)
        self.minval, self.maxval = minval, maxval

    def draw(self, shape: tuple[int, ...]) -> np.ndarray:
        return self.generator().uniform(self.minval, self.maxval, shape)


class RandomNormal(RandomInitializer):
    """Normal, with `mean` and standard deviation `stddev`."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        super().__init__(seed)
        self.mean, self.stddev = mean, stddev

    def draw(self, shape: tuple[int, ...]) -> np.ndarray:
        return self.generator().normal(self.mean, self.stddev, shape)


class TruncatedNormal(RandomNormal):
    """Normal, with whatever falls beyond two standard deviations drawn again."""

    def draw(self, shape: tuple[int, ...]) -> np.ndarray:
        return self.mean + self.stddev * truncated_normal(self.generator(), shape)


class VarianceScaling(RandomInitializer):
    """Random weights whose variance is ``scale / n``, n counting a unit's connections.

    Arguments:
        scale: the factor in the variance, above 0.
        mode: n is the inputs of a unit (``"fan_in"``), its outputs (``"fan_out"``) or their
            mean (``"fan_avg"``).
        distribution: ``"uniform"`` on ±√(3·scale/n), or ``"truncated_normal"``.

    Source: Glorot and Bengio 2010; He et al. 2015;
    https://keras.io/api/layers/initializers/#variancescaling-class
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
        **unsupported: Any,
    ) -> None:
        arguments.refuse_of(self, unsupported)
        self.scale = checks.scale(scale)
        self.mode = validation.choice(mode, "mode", "fan_avg", "fan_in", "fan_out")
        self.distribution = validation.choice(
            distribution, "distribution", "uniform", "truncated_normal"
        )
        super().__init__(seed)

    def draw(self, shape: tuple[int, ...]) -> np.ndarray:
        variance = self.scale / max(1.0, fan(shape, self.mode))
        if self.distribution == "uniform":
            limit = math.sqrt(3 * variance)
            return self.generator().uniform(-limit, limit, shape)
        # Cutting the tails off at ±2 leaves a standard deviation of 0.8796…, made up for here.
        spread = math.sqrt(variance) / 0.87962566103423978
        return spread * truncated_normal(self.generator(), shape)

    def get_config(self) -> dict[str, Any]:
        """Glorot's and He's, and those of your own, are known by their class."""
        by_class = () if type(self) is VarianceScaling else ("scale", "mode", "distribution")
        return {k: v for k, v in super().get_config().items() if k not in by_class}


class GlorotUniform(VarianceScaling):
    """Uniform on ±√(6 / (inputs + outputs)): Keras's default for kernels."""

    def __init__(self, seed: int | None = None, **unsupported: Any) -> None:
        super().__init__(1.0, "fan_avg", "uniform", seed, **unsupported)


class GlorotNormal(VarianceScaling):
    """Truncated normal with variance 2 / (inputs + outputs)."""

    def __init__(self, seed: int | None = None, **unsupported: Any) -> None:
        super().__init__(1.0, "fan_avg", "truncated_normal", seed, **unsupported)


class HeUniform(VarianceScaling):
    """Uniform on ±√(6 / inputs), for relu, which stops half of the signal."""

    def __init__(self, seed: int | None = None, **unsupported: Any) -> None:
        super().__init__(2.0, "fan_in", "uniform", seed, **unsupported)


class HeNormal(VarianceScaling):
    """Truncated normal with variance 2 / inputs, for relu."""

    def __init__(self, seed: int | None = None, **unsupported: Any) -> None:
        super().__init__(2.0, "fan_in", "truncated_normal", seed, **unsupported)


def fan(shape: tuple[int, ...], mode: str) -> float:
    """The connections of a unit of a kernel of `shape` (inputs, units), counted as `mode` says."""
    if len(shape) < 2:
        fan_in = fan_out = math.prod(shape)
    else:  # axes before the last two are places at which the same connections are made
        places = math.prod(shape[:-2])
        fan_in, fan_out = places * shape[-2], places * shape[-1]
    return {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]


def truncated_normal(generator: "np.random.Generator", shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal values, those beyond ±2 drawn again until none is left."""
    values = generator.standard_normal(shape)
    while (beyond := np.abs(values) > 2).any():
        values[beyond] = generator.standard_normal(np.count_nonzero(beyond))
    return values


_KNOWN = naming.by_both_names(
    Zeros, Ones, Constant, RandomUniform, RandomNormal, TruncatedNormal,
    VarianceScaling, GlorotUniform, GlorotNormal, HeUniform, HeNormal,
)  # fmt: skip

get = naming.getter("initializer", _KNOWN, Initializer, none=None)
