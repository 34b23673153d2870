"""tinynet: a neural-network library small enough to read, with Keras's interface and numbers.

Start reading at `models.Sequential.fit`, follow a batch through `training.train_step` to
`layers.Dense.forward` and back through `layers.Dense.backward_from_z`, and end in
`optimizers.Adam.update`. That is the whole path from pixels to a weight's change.
"""

import importlib
from typing import Any

from tinynet import (
    activations,
    backend,
    callbacks,
    config,
    initializers,
    layers,
    losses,
    metrics,
    models,
    optimizers,
    utils,
)
from tinynet.callbacks import Callback
from tinynet.initializers import Initializer
from tinynet.layer import Layer
from tinynet.layers import Input
from tinynet.losses import Loss
from tinynet.metrics import Metric
from tinynet.models import Sequential
from tinynet.optimizer import Optimizer

__version__ = "0.1.0"

__all__ = [
    "Callback",
    "Initializer",
    "Input",
    "Layer",
    "Loss",
    "Metric",
    "Optimizer",
    "Sequential",
    "activations",
    "backend",
    "callbacks",
    "config",
    "datasets",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "plotting",
    "utils",
]

_LAZY = ("datasets", "plotting")


def __getattr__(name: str) -> Any:
    # Pictures and data are loaded when they are first asked for, so that the import stays quick.
    if name in _LAZY:
        return importlib.import_module(f"tinynet.{name}")
    raise AttributeError(f"module 'tinynet' has no attribute {name!r}")
