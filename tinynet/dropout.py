"""`Dropout`: in training, some numbers at random become 0, so that no unit can rely on another.

A step needs fresh random bits, as many as the layer has numbers, on the CPU or on a GPU. They come
from a hash: each number's place, mixed with a key that is new in every step, is stirred until its
bits look like chance. So the host draws one key a step from tinynet's generator, nothing travels,
and the CPU and a GPU drop the same numbers.
"""

from typing import Any

from tinynet import backend, naming, validation
from tinynet.backend import Array
from tinynet.layer import Layer

# Shifts and factors of a 32-bit hash, found by trial for little bias.
# Source: https://github.com/skeeto/hash-prospector
STIRRING = ((16, 0x21F0AAAD), (15, 0xD35A2D97))
LAST_SHIFT = 15
ALL = 2**32


class Dropout(Layer):
    """y = x m / (1 − r): in training, m is 0 with probability r and else 1, for each number anew.

    The division keeps the mean: E[y] = x (1 − r) / (1 − r) = x. So nothing has to be done, and
    nothing is, when the network is used: then y = x.

    Arguments:
        rate: r, the share that is dropped, from 0 to 1.
        seed: a whole number, for masks of the layer's own; else they come from tinynet's generator.
        noise_shape: Keras's; leave it out.

    Source: Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html;
    https://keras.io/api/layers/regularization_layers/dropout/
    """

    by_sample = True  # in use, where it does nothing
    counters = ("drawn",)

    def __init__(
        self, rate: float, noise_shape: Any = None, seed: int | None = None, **arguments: Any
    ) -> None:
        naming.refuse("Dropout", {"noise_shape": noise_shape}, {"noise_shape": None})
        super().__init__(**arguments)
        if not validation.is_real(rate) or not 0 <= rate <= 1:
            raise ValueError(
                "Invalid value received for argument `rate`. Expected a float value between 0 and "
                f"1. Received: rate={naming.short(rate)}. Write: Dropout(0.5)"
            )
        if seed is not None and not backend.is_integer(seed):
            raise ValueError(
                "Expected seed to be a whole number or None, received: "
                f"{naming.short(seed)}. Write: seed=1"
            )
        self.rate, self.seed = float(rate), None if seed is None else int(seed)
        self.drawn = 0  # masks so far
        self._mask: Array = None

    def forward(self, x: Array, training: bool = False) -> Array:
        """y = x m / (1 − r) in training, else x."""
        if not training or self.rate == 0:
            self._mask = None
            return x
        self._mask = self.mask(x)
        return backend.xp.multiply(x, self._mask, out=self.buffer("y", x.shape, x.dtype))

    def backward(self, gradient: Array) -> Array:
        """∂y/∂x = m / (1 − r): what was dropped had no say, so it is not corrected."""
        if self._mask is None:
            return gradient
        dx = self.buffer("dx", gradient.shape, gradient.dtype)
        return backend.xp.multiply(gradient, self._mask, out=dx)

    def mask(self, x: Array) -> Array:
        """m / (1 − r) in the shape of `x`, new at every call."""
        mask = self.buffer("mask", x.shape, x.dtype)
        if self.rate == 1:
            mask[...] = 0
            return mask
        # Bits, taken as a number from 0 to 2³², are below r 2³² with probability r.
        limit = min(round(self.rate * ALL), ALL - 1)
        backend.xp.greater_equal(self._bits(x.shape), limit, out=mask)
        mask *= 1 / (1 - self.rate)
        return mask

    def _key(self) -> int:
        """A number from 0 to 2³², another one at every call."""
        self.drawn += 1
        if self.seed is None:
            return int(backend.generator().integers(ALL))
        return stir((stir(self.seed % ALL) + self.drawn) % ALL)

    def _bits(self, shape: tuple[int, ...]) -> Array:
        """32 random bits for each number, as uint32."""
        xp = backend.xp
        bits, scratch = self.buffer("bits", shape, "uint32"), self.buffer("shift", shape, "uint32")
        places: Array = self._buffers.get("places")
        if places is None or places.size < bits.size:
            places = self._buffers["places"] = xp.arange(bits.size, dtype="uint32")
        xp.bitwise_xor(places[: bits.size].reshape(shape), self._key(), out=bits)
        for shift, factor in STIRRING:
            bits ^= xp.right_shift(bits, shift, out=scratch)
            bits *= factor
        bits ^= xp.right_shift(bits, LAST_SHIFT, out=scratch)
        return bits

    def forget(self) -> None:
        super().forget()
        self._mask = None

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "seed": self.seed, "noise_shape": None}


def stir(number: int) -> int:
    """The hash of a single number, from 0 to 2³²."""
    for shift, factor in STIRRING:
        number = (number ^ number >> shift) * factor % ALL
    return number ^ number >> LAST_SHIFT
