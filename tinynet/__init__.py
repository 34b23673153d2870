"""tinynet: a neural-network library small enough to read, with Keras's interface and numbers.

Start with `examples/from_scratch.py`, then read `tinynet/README.md`, the table of contents. A batch
passes through `training.fit`, `training.train_step` and `layers.Dense.forward`, then back through
`layers.Dense.backward_from_z`; finally, `optimizers.Adam.update` changes the weights.
"""

import importlib
from typing import TYPE_CHECKING

from tinynet.config import __version__ as __version__

if TYPE_CHECKING:
    from tinynet import (
        activations,
        backend,
        callbacks,
        config,
        datasets,
        initializers,
        layers,
        losses,
        metrics,
        models,
        optimizers,
        plotting,
        regularizers,
        utils,
    )
    from tinynet.callbacks import Callback
    from tinynet.initializers import Initializer
    from tinynet.inspection.dead_units import find_dead_units
    from tinynet.inspection.gradient_check import check_gradients
    from tinynet.layers import Input, Layer
    from tinynet.losses import Loss
    from tinynet.metrics import Metric
    from tinynet.models import Sequential
    from tinynet.optimizers import Optimizer
    from tinynet.web import export_html

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
    "check_gradients",
    "config",
    "datasets",
    "export_html",
    "find_dead_units",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "plotting",
    "regularizers",
    "utils",
]

# The modules that define the public classes and functions.
_MODULE_OF = {
    "Callback": "callbacks",
    "Initializer": "initializers",
    "Input": "layers",
    "Layer": "layers",
    "Loss": "losses",
    "Metric": "metrics",
    "Optimizer": "optimizers",
    "Sequential": "models",
    "check_gradients": "inspection.gradient_check",
    "export_html": "web",
    "find_dead_units": "inspection.dead_units",
}


def _load(name: str) -> object:
    # Load each submodule on first access, so that `import tinynet` costs next to nothing.
    path = f"tinynet.{_MODULE_OF.get(name, name)}"
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        if not path.startswith(error.name or path + "."):
            raise  # the submodule exists, but one of its dependencies is missing
        raise AttributeError(f"module 'tinynet' has no attribute {name!r}") from None
    return getattr(module, name) if name in _MODULE_OF else module


if not TYPE_CHECKING:  # type checkers see only the names imported above
    __getattr__ = _load


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
