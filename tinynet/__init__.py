"""tinynet: a neural-network library small enough to read, with Keras's interface and numbers.

Start with `examples/from_scratch.py`, then `tinynet/README.md`, the table of contents. The path of
a batch: `training.fit`, `training.train_step`, `layers.Dense.forward`, back through
`layers.Dense.backward_from_z`, and `optimizers.Adam.update`, which changes the weights.
"""

import importlib
from typing import TYPE_CHECKING, Any

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

# Where the names are that are no modules.
_HOME = {
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


def _load(name: str) -> Any:
    # A part is loaded when it is first asked for, so that `import tinynet` costs next to nothing.
    path = f"tinynet.{_HOME.get(name, name)}"
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        if not path.startswith(error.name or path + "."):
            raise  # the part is there, and something that it needs is not
        raise AttributeError(f"module 'tinynet' has no attribute {name!r}") from None
    return getattr(module, name) if name in _HOME else module


if not TYPE_CHECKING:  # where types are checked, only the names above are there
    __getattr__ = _load


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
