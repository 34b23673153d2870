"""The common base of layers and models: reading, setting and counting weights, as in Keras."""

import operator
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from tinynet import backend
from tinynet.backend import turns
from tinynet.backend.types import AnyLayer, Array, ArrayLike, HostArray, Shape
from tinynet.compat import checks, naming
from tinynet.compat.surface import Surface


class Weight(NamedTuple):
    """A weight of a layer: where it is, and whether it has a gradient and training changes it."""

    path: str  # such as "dense/kernel", or "block/dense/kernel" in a layer inside another
    layer: AnyLayer
    name: str
    has_gradient: bool
    trains: bool

    @property
    def array(self) -> Array:
        array: Array = getattr(self.layer, self.name)
        return array


class HasWeights(Surface):
    """The common base of layers and models: a name, and weights to read, set and count."""

    name: str
    built: bool
    _is_model = False
    trainable_names: Sequence[str] = ()  # the weights with a gradient, in order of creation
    non_trainable_names: Sequence[str] = ()  # those without

    def layers_inside(self) -> Sequence["HasWeights"]:
        """Return the layers directly inside this layer or model."""
        return ()

    def _set_trainable(self, value: bool) -> None:
        for _, layer, _ in every_layer([self]):
            layer._trainable = bool(value)
        turns.Changes.count += 1

    # Whether training changes the weights; setting it also sets it for the layers inside.
    trainable = property(operator.attrgetter("_trainable"), _set_trainable)

    @property
    def weight_names(self) -> list[str]:
        """The names of the weights, those with a gradient first."""
        return [*self.trainable_names, *self.non_trainable_names]

    def check_input(self, shape: Shape) -> None:
        """Raise a ValueError if a built layer cannot take inputs of `shape`."""

    @property
    def losses(self) -> list[HostArray]:
        """The penalties of the layers, one number each; those of frozen layers are left out."""
        penalties = [
            each.penalty() for _, each, trains in every_layer([self]) if each.built and trains
        ]
        return [backend.to_numpy(penalty) for penalty in penalties if penalty is not None]

    @property
    def weights(self) -> list[Array]:
        """The live weights: layer by layer, a layer's own before those of the layers inside it."""
        return [weight.array for weight in every_weight([self])]

    @property
    def trainable_weights(self) -> list[Array]:
        """The weights that training changes by gradients; none if this is frozen."""
        return [weight.array for weight in every_weight([self]) if weight.trains]

    @property
    def non_trainable_weights(self) -> list[Array]:
        """The weights that training does not change by gradients; all if this is frozen."""
        return [weight.array for weight in every_weight([self]) if not weight.trains]

    trainable_variables, non_trainable_variables = trainable_weights, non_trainable_weights

    @turns.turn()
    def get_weights(self) -> list[HostArray]:
        """Return copies of the weights as NumPy arrays."""
        return [backend.to_numpy(weight) for weight in self.weights]

    @turns.turn()
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


def parts_of(held: object) -> list[object]:
    """Return `held`, or what it holds if it is a dictionary, a list or the like."""
    if not isinstance(held, dict | list | tuple | set | frozenset | deque):
        return [held]
    values = held.values() if isinstance(held, dict) else held
    return [part for value in values for part in parts_of(value)]


def every_layer(
    layers: Iterable[HasWeights], trains: bool = True, path: str = "", seen: set[int] | None = None
) -> Iterator[tuple[str, AnyLayer, bool]]:
    """Yield the path of each layer, the layer, and whether it trains; then those inside it.

    A layer that is in several places is yielded once.
    """
    seen = set() if seen is None else seen
    for layer in layers:
        if id(layer) not in seen:
            seen.add(id(layer))
            both = trains and getattr(layer, "_trainable", True)
            yield path + layer.name, layer, both
            yield from every_layer(layer.layers_inside(), both, f"{path}{layer.name}/", seen)


def every_weight(layers: Iterable[HasWeights]) -> Iterator[Weight]:
    """Yield the weights of `layers` and of those inside them, in the order of `get_weights`."""
    for path, layer, trains in every_layer(layers):
        for name in layer.trainable_names:
            yield Weight(f"{path}/{name}", layer, name, True, trains)
        for name in layer.non_trainable_names:
            yield Weight(f"{path}/{name}", layer, name, False, False)


def assign(name: str, current: Sequence[Array], new: Iterable[ArrayLike]) -> None:
    """Copy the arrays `new` into `current`; if one does not fit, raise and copy none of them."""
    try:
        arrays = [a if backend.on_device(a) else checks.plain(a, "an array") for a in new]
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
