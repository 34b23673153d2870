"""Find dead units: units through which no sample sends a gradient.

A relu whose weighted sum is negative for every sample outputs 0 with slope 0, so it receives no
gradient and cannot recover. A saturated sigmoid or tanh outputs 0, 1 or −1 with almost no slope.
Such units cost time and learn nothing; many of them can keep a network from improving.
"""

from dataclasses import dataclass

import numpy as np

from tinynet import activations, backend
from tinynet.backend import turns
from tinynet.backend.types import HostArray, Model
from tinynet.compat import checks
from tinynet.compat.activation import BACKWARDS, activation_name
from tinynet.engine.rollback import restore_on_error
from tinynet.layers import Activated
from tinynet.utils.progress import printable

SATURATING = (activations.sigmoid, activations.tanh, activations.relu)

# A smaller slope counts as 0; for comparison, the slope of a sigmoid is at most 0.25.
MIN_SLOPE = 0.001


@dataclass(frozen=True)
class LayerUnits:
    """The dead units of one layer.

    Attributes:
        name, activation: the names of the layer and of its activation.
        units: the number of units.
        dead: the indices of the units whose slope is almost 0 for every sample.
    """

    name: str
    activation: str
    units: int
    dead: tuple[int, ...]


@dataclass(frozen=True)
class DeadUnits:
    """The result of `find_dead_units`; prints a line for each layer, and a remedy."""

    samples: int
    layers: tuple[LayerUnits, ...]

    def __len__(self) -> int:
        return sum(len(layer.dead) for layer in self.layers)

    def __repr__(self) -> str:
        lines = [f"Dead units, by index (no gradient from any of {self.samples:,} samples):"]
        width = max((len(layer.name) for layer in self.layers), default=0)
        for layer in self.layers:
            first = ", ".join(map(str, layer.dead[:8])) + ", ..." * (len(layer.dead) > 8)
            which = f": {first}" if layer.dead else ""
            counts = f"{len(layer.dead):,} of {layer.units:,} ({layer.activation}){which}"
            lines.append(f"  {layer.name.ljust(width)}  {counts}")
        if len(self):
            lines.append(
                "Dead units do not recover by themselves. Retrain with inputs scaled to about -1 "
                "to 1, a lower learning rate, or another activation."
            )
        return printable("\n".join(lines))


@turns.turn()
def find_dead_units(model: Model, x: HostArray) -> DeadUnits:
    """Find the sigmoid, tanh and relu units through which no sample of `x` sends a gradient.

    A unit is dead if f′(z) < 0.001 for every sample. Layers with other activations are skipped.

    Arguments:
        model: a built model.
        x: samples, as for `predict`; a thousand are enough.

    Raises:
        ValueError: if the model is not built, or `x` does not fit.

    >>> from tinynet import Input, Sequential, layers
    >>> model = Sequential([Input((2,)), layers.Dense(3, "relu", name="hidden")])
    >>> model.set_weights([[[1, 1, 1], [1, 1, 1]], [0, 0, -9]])
    >>> print(find_dead_units(model, np.eye(2)))
    Dead units, by index (no gradient from any of 2 samples):
      hidden  1 of 3 (relu): 2
    Dead units do not recover by themselves. Retrain with inputs scaled to about -1 to 1, a lower \
learning rate, or another activation.
    """
    if not model.built:
        raise ValueError(
            f"Expected a built model, received '{model.name}', which has no weights yet. "
            "Write: model.build((None, 784)), or train it first"
        )
    x = model.adapt(checks.array(x, "x"))
    layer_units = []
    with restore_on_error(model):
        output = backend.to_active(x, model.dtype)
        for layer in model.layers:
            output = layer.forward(output)
            if isinstance(layer, Activated) and layer.activation in SATURATING:
                a = backend.to_numpy(output).reshape(-1, output.shape[-1])
                steepest = BACKWARDS[layer.activation](np.ones_like(a), a).max(axis=0)  # f′(z)
                layer_units.append(
                    LayerUnits(
                        name=layer.name,
                        activation=activation_name(layer.activation),
                        units=a.shape[1],
                        dead=tuple(np.flatnonzero(steepest < MIN_SLOPE).tolist()),
                    )
                )
    return DeadUnits(len(x), tuple(layer_units))
