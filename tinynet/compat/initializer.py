"""The base of initializers: everything besides the distribution, such as calls and seeds.

`initializers.Initializer` derives from this, and its subclasses define the distributions.
"""

from collections.abc import Callable
from typing import Self

from tinynet import backend, config
from tinynet.backend.types import Array, HostArray
from tinynet.compat.configuration import Configurable
from tinynet.compat.contracts import returned


class InitializerBase(Configurable):
    """An initializer without the mathematics: calling it returns an array on the device."""

    def clone(self) -> Self:
        """Return a new initializer with the same arguments."""
        return self.from_config(self.get_config())

    only_shape: tuple[int, ...] | None = None  # the only shape that it may have, if any
    draw: Callable[[tuple[int, ...]], HostArray]  # see `initializers.Initializer`

    def __call__(self, shape: tuple[int, ...], dtype: str | None = None) -> Array:
        """Return the initial weights, an array of `shape` and `dtype` (`floatx` if not given)."""
        if self.only_shape not in (None, tuple(shape)):
            raise ValueError(
                f"Expected `shape` to be {self.only_shape}, that of the array, received "
                f"{tuple(shape)}. Write: initializers.Constant(array), which is broadcast"
            )
        method, write = f"{type(self).__name__}.draw", "return an array of `shape`"
        like = backend.host.empty(0, dtype or config.floatx())
        values = returned(self.draw(tuple(shape)), method, tuple(shape), like, write)
        return backend.to_active(values, like.dtype)


class Seeded:
    """A mixin for random initializers: a seed, which is drawn if none is given, as in Keras."""

    def __init__(self, seed: int | None) -> None:
        self.seed = seed
        self._drawn = int(backend.generator().integers(2**31)) if seed is None else seed

    def generator(self) -> backend.host.random.Generator:
        """Return a new generator from the seed, so that every `draw` returns the same values."""
        return backend.host.random.default_rng(self._drawn)

    def truncated_normal(self, shape: tuple[int, ...]) -> HostArray:
        """Return standard normal values; those beyond ±2 are drawn again until none is left."""
        generator = self.generator()
        values: HostArray = generator.standard_normal(shape)
        while (beyond := abs(values) > 2).any():
            values[beyond] = generator.standard_normal(backend.host.count_nonzero(beyond))
        return values
