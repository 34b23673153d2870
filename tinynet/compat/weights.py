"""The common base of layers and models: reading, setting and counting weights, as in Keras."""

from collections.abc import Iterable, Sequence

from tinynet import backend
from tinynet.backend.types import Array, ArrayLike, HostArray
from tinynet.compat import naming


class HasWeights:
    """The common base of layers and models: a name, and weights to read, set and count."""

    name: str
    built: bool

    @property
    def weights(self) -> list[Array]:
        """The live weights, in order."""
        raise NotImplementedError

    def get_weights(self) -> list[HostArray]:
        """Return copies of the weights as NumPy arrays."""
        return [backend.to_numpy(weight) for weight in self.weights]

    def set_weights(self, weights: Iterable[ArrayLike]) -> None:
        """Set the weights to the values in `weights`, a list such as `get_weights` returns.

        Raises:
            ValueError: if their number or a shape differs; then nothing is changed.
        """
        assign(self.name, self.weights, weights)

    def count_params(self) -> int:
        """Return the total number of values in the weights.

        Raises:
            ValueError: if the layer is not built.
        """
        if not self.built:
            raise ValueError(
                f"You tried to call `count_params` on layer '{self.name}', but the layer isn't "
                "built. You can build it manually via: `layer.build(input_shape)`, such as "
                "build((None, 784))."
            )
        return sum(weight.size for weight in self.weights)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"


def assign(name: str, current: Sequence[Array], new: Iterable[ArrayLike]) -> None:
    """Copy the arrays `new` into `current`; if one does not fit, raise and copy none of them."""
    try:
        arrays = [a if backend.on_device(a) else backend.host.asarray(a) for a in new]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Expected a list of arrays, as from get_weights, received {naming.short(new)}: "
            f"{error}. Write: set_weights(other.get_weights())"
        ) from None
    if len(arrays) != len(current):
        raise ValueError(
            f"You called `set_weights(weights)` on layer '{name}' with a weight list of length "
            f"{len(arrays)}, but the layer was expecting {len(current)} weights"
            f"{'' if current else '; build it first'}."
        )
    for old, array in zip(current, arrays, strict=True):
        if old.shape != array.shape:
            raise ValueError(
                f"Layer {name} weight shape {old.shape} is not compatible with provided weight "
                f"shape {array.shape}."
            )
        if array.dtype.kind not in "biuf":
            raise ValueError(
                f"Layer {name} expects numeric weights, received an array of dtype {array.dtype}."
            )
    ready = []
    for old, array in zip(current, arrays, strict=True):
        with backend.use_device(backend.device_of(old)):  # convert all before writing the first
            ready.append(backend.to_active(array.astype(old.dtype, copy=False)))
    for old, array in zip(current, ready, strict=True):
        backend.fill(old, array)
