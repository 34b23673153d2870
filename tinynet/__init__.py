"""tinynet: a neural-network library small enough to read, with Keras's interface and numbers.

Start with `examples/from_scratch.py`, then read `tinynet/README.md`, the table of contents. A batch
passes through `training.fit`, `training.train_step` and `layers.Dense.forward`, then back through
`layers.Dense.backward_from_z`; finally, `optimizers.Adam.update` changes the weights.
"""

import importlib
import sys
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
        return getattr(module, name) if name in _MODULE_OF else module
    except ModuleNotFoundError as error:
        if not path.startswith(error.name or path + "."):
            raise  # the submodule exists, but one of its dependencies is missing
    from tinynet.compat import missing

    return missing.find(__name__, name)


if not TYPE_CHECKING:  # type checkers see only the names imported above
    __getattr__ = _load


class _LastFinder:
    """What the import system asks for a module of tinynet that it has found nowhere else."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        """Raise an error for a module that Keras has and tinynet does not."""
        if name.startswith("tinynet."):
            from tinynet.compat import missing

            missing.refuse_import(name)


if all(getattr(finder, "__module__", "") != __name__ for finder in sys.meta_path):
    sys.meta_path.append(_LastFinder)  # once, however often this file is imported


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
