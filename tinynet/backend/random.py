"""Random numbers: one generator on the host, and random bits from a hash on any device.

Weights and shuffles come from tinynet's own NumPy generator, so the same seed gives the same
weights and the same batches on a CPU and on a GPU. Dropout needs new random bits in every step, for
every element of a layer's output. They are a hash of the element's index and a key that is new in
every step. So the host only makes one key per layer and step, no random numbers are copied to the
GPU, and the CPU and a GPU drop the same elements.
"""

import copy
import os
import threading
from collections import Counter
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any

import numpy
from numpy.typing import NDArray

from tinynet.backend.turns import temporarily

Bits = NDArray[numpy.uint32]

# Shifts and factors of a 32-bit hash, found by a search for low bias.
# Source: https://github.com/skeeto/hash-prospector
HASH_ROUNDS = ((16, 0x21F0AAAD), (15, 0xD35A2D97))
LAST_SHIFT = 15
RANGE = 2**32


# The generator of a thread that does not use that of the process.
_own: "ContextVar[numpy.random.Generator | None]" = ContextVar("generator", default=None)
_generator: "numpy.random.Generator | None" = None  # made at its first use: the import is slow
_seeded = False
_users: Counter[int] = Counter()  # how often each thread has asked for the generator


def generator() -> "numpy.random.Generator":
    """Return the generator of all random numbers in tinynet; NumPy's global one is never used.

    All threads draw from the same one, except those that have called `seed` themselves.
    """
    global _generator
    if (own := _own.get()) is not None:
        return own
    if _generator is None:
        _generator = numpy.random.default_rng()
    _users[threading.get_ident()] += 1
    return _generator


def seed(value: int | None) -> None:
    """Seed the generator, so that what follows can be repeated; None takes a new seed each time.

    In another than the main thread, this gives the thread its own generator. Forked processes draw
    different numbers, unless the generator was seeded: they all go on with the same numbers then,
    so seed each of them.
    """
    global _generator, _seeded
    new = numpy.random.default_rng(value)
    if threading.current_thread() is threading.main_thread():
        _generator, _seeded = new, value is not None
    else:
        _own.set(new)


def on_a_copy() -> "AbstractContextManager[numpy.random.Generator]":
    """Return a ``with`` block that draws from a copy of the generator, its value."""
    return temporarily(_own, copy.deepcopy(generator()))


def uses_by_others() -> int:
    """Return how often other threads have asked for the generator of this one."""
    return 0 if _own.get() else _users.total() - _users[threading.get_ident()]


def _forget_unseeded() -> None:
    global _generator
    _generator = _generator if _seeded else None


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_forget_unseeded)


def hash_uint32(number: int) -> int:
    """Return the hash of a single number below 2³², which is below 2³² as well."""
    for shift, factor in HASH_ROUNDS:
        number = (number ^ number >> shift) * factor % RANGE
    return number ^ number >> LAST_SHIFT


def key(seed: int | None, number: int) -> int:
    """Return the key, below 2³², of mask `number` for `seed`; without a seed, draw one."""
    if seed is None:
        return int(generator().integers(RANGE))
    return hash_uint32((hash_uint32(seed % RANGE) + number) % RANGE)


def fill_with_bits(bits: Bits, positions: Bits, key: int | Bits, scratch: Bits, xp: Any) -> None:
    """Write 32 random bits for each index in `positions` to `bits`: the hash of index and `key`.

    Arguments:
        bits, positions, scratch: arrays of equal shape, of type uint32.
        xp: the library of these arrays.
    """
    xp.bitwise_xor(positions, key, out=bits)
    for shift, factor in HASH_ROUNDS:
        bits ^= xp.right_shift(bits, shift, out=scratch)
        bits *= factor
    bits ^= xp.right_shift(bits, LAST_SHIFT, out=scratch)
