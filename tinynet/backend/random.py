"""Random numbers: one generator on the host, and bits made by a hash wherever the arrays are.

Weights and shuffles come from a NumPy generator of tinynet's own, so the same seed means the same
weights and the same batches on a CPU and on a GPU. Dropout needs fresh bits in every step, as many
as a layer has numbers. They come from a hash: each number's place, mixed with a key that is new in
every step, is stirred until its bits look like chance. So the host draws one key a step, nothing
travels, and the CPU and a GPU drop the same numbers.
"""

from types import ModuleType
from typing import Any

import numpy

# Shifts and factors of a 32-bit hash, found by trial for little bias.
# Source: https://github.com/skeeto/hash-prospector
STIRRING = ((16, 0x21F0AAAD), (15, 0xD35A2D97))
LAST_SHIFT = 15
ALL = 2**32

# Made at its first use: its import takes a while.
_generator: "numpy.random.Generator | None" = None


def generator() -> "numpy.random.Generator":
    """The generator behind every random number of tinynet; NumPy's global one is never touched."""
    if _generator is None:
        seed(None)
    assert _generator is not None
    return _generator


def seed(value: int | None) -> None:
    """Start the generator anew, so that what follows can be repeated; None is another each time."""
    global _generator
    _generator = numpy.random.default_rng(value)


def stir(number: int) -> int:
    """The hash of a single number, from 0 to 2³²."""
    for shift, factor in STIRRING:
        number = (number ^ number >> shift) * factor % ALL
    return number ^ number >> LAST_SHIFT


def key(seed: int | None, number: int) -> int:
    """A number below 2³² for mask `number` of `seed`; without a seed, one from the generator."""
    if seed is None:
        return int(generator().integers(ALL))
    return stir((stir(seed % ALL) + number) % ALL)


def fill_with_bits(bits: Any, places: Any, key: int, scratch: Any, xp: ModuleType) -> None:
    """Write 32 random bits for each of `places` to `bits`: the hash of the place and the `key`.

    Arguments:
        bits, places, scratch: arrays of one shape, of uint32.
        xp: the library that they are of.
    """
    xp.bitwise_xor(places, key, out=bits)
    for shift, factor in STIRRING:
        bits ^= xp.right_shift(bits, shift, out=scratch)
        bits *= factor
    bits ^= xp.right_shift(bits, LAST_SHIFT, out=scratch)
