"""Units that have stopped: whatever the network is shown, nothing gets through them.

A relu whose sum is below 0 for every sample gives 0, and its slope is 0 as well, so it does not
learn its way back. A sigmoid or tanh far out gives 0, 1 or −1, with next to no slope. Such units
take time and do nothing; many of them are why a network does not get better.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinynet import activations, backend
from tinynet.compat import validation
from tinynet.compat.activation import DERIVATIVES, name_of
from tinynet.layers import Activated

SATURATING = (activations.sigmoid, activations.tanh, activations.relu)

# Below this slope a sample teaches a unit next to nothing: a sigmoid's is at most 0.25.
FLAT = 0.001


@dataclass(frozen=True)
class LayerUnits:
    """What was found in one layer.

    Attributes:
        name, activation: of the layer.
        units: how many it has.
        dead: the numbers of those whose slope is next to 0 for every sample.
    """

    name: str
    activation: str
    units: int
    dead: tuple[int, ...]


@dataclass(frozen=True)
class DeadUnits:
    """The result of `find_dead_units`: printed, a line for each layer, and what to do."""

    samples: int
    layers: tuple[LayerUnits, ...]

    def __len__(self) -> int:
        return sum(len(layer.dead) for layer in self.layers)

    def __repr__(self) -> str:
        lines = [f"Units that do nothing, whichever of {self.samples:,} samples they see:"]
        width = max((len(layer.name) for layer in self.layers), default=0)
        for layer in self.layers:
            first = ", ".join(map(str, layer.dead[:8])) + ", …" * (len(layer.dead) > 8)
            which = f": {first}" if layer.dead else ""
            told = f"{len(layer.dead):,} of {layer.units:,} ({layer.activation}){which}"
            lines.append(f"  {layer.name.ljust(width)}  {told}")
        if len(self):
            lines.append(
                "Dead units do not come back by themselves. Train anew with inputs of about -1 to "
                "1, a lower learning rate, or another activation."
            )
        return "\n".join(lines)


def find_dead_units(model: Any, x: Any) -> DeadUnits:
    """Look for units of sigmoid, tanh or relu through which no sample of `x` sends a gradient.

    A unit is dead if f′(z) < 0.001 for every sample. Softmax and linear layers have none.

    Arguments:
        model: built.
        x: samples, as for `predict`; a thousand of them are enough.

    Raises:
        ValueError: if the model is not built, or `x` does not fit.

    >>> from tinynet import Input, Sequential, layers
    >>> model = Sequential([Input((2,)), layers.Dense(3, "relu", name="hidden")])
    >>> model.set_weights([[[1, 1, 1], [1, 1, 1]], [0, 0, -9]])
    >>> print(find_dead_units(model, np.eye(2)))
    Units that do nothing, whichever of 2 samples they see:
      hidden  1 of 3 (relu): 2
    Dead units do not come back by themselves. Train anew with inputs of about -1 to 1, a lower \
learning rate, or another activation.
    """
    if not model.built:
        raise ValueError(
            f"Expected a built model, received '{model.name}', which has no weights yet. "
            "Write: model.build((None, 784)), or train it first"
        )
    x = model.adapt(validation.array(x, "x"))
    found = []
    anchor = model.parameters.anchor
    with backend.at(anchor):
        output = backend.to_active(x, model.dtype)
        for layer in model.layers:
            output = layer.forward(output)
            if isinstance(layer, Activated) and layer.activation in SATURATING:
                a = backend.to_numpy(output).reshape(-1, output.shape[-1])
                steepest = DERIVATIVES[layer.activation](np.ones_like(a), a).max(axis=0)  # f′(z)
                dead = tuple(np.flatnonzero(steepest < FLAT).tolist())
                name = name_of(layer.activation)
                found.append(LayerUnits(layer.name, name, a.shape[1], dead))
        if backend.on_device(anchor):  # where memory is short
            for layer in model.layers:
                layer.forget()
    return DeadUnits(len(x), tuple(found))
