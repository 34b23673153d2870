"""What every initializer can do besides drawing: be called, and keep to its seed.

`initializers.Initializer` derives from this; what is drawn is there.
"""

from typing import Any

from tinynet import backend, config
from tinynet.compat.configuration import Configurable


class InitializerBase(Configurable):
    """An initializer without the mathematics: the array that it gives."""

    draw: Any  # the contract, see `initializers.Initializer`

    def __call__(self, shape: tuple[int, ...], dtype: str | None = None) -> backend.Array:
        """The initial weights, an array of `shape` in `dtype` (`floatx` unless given)."""
        return backend.xp.asarray(self.draw(tuple(shape)).astype(dtype or config.floatx()))


class Seeded:
    """What makes an initializer random: a seed that, as in Keras, is drawn where none is given."""

    def __init__(self, seed: int | None) -> None:
        self.seed = seed
        self._drawn = int(backend.generator().integers(2**31)) if seed is None else seed

    def generator(self) -> Any:
        """A generator that begins at the seed: called twice, `draw` gives the same values twice."""
        return backend.host.random.default_rng(self._drawn)

    def truncated_normal(self, shape: tuple[int, ...]) -> Any:
        """Standard normal values, those beyond ±2 drawn again until none is left."""
        generator = self.generator()
        values = generator.standard_normal(shape)
        while (beyond := abs(values) > 2).any():
            values[beyond] = generator.standard_normal(backend.host.count_nonzero(beyond))
        return values
