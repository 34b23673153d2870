"""The version, and the one global setting: the float type of all computations.

Weights, activations, gradients and optimizer state are created with the type `floatx()`, float32 by
default. float32 is what Keras uses and what CPUs and GPUs compute fast; float64 is for checking
gradients, where rounding errors would hide the mistakes that the check looks for.
"""

from contextvars import ContextVar
from typing import TYPE_CHECKING

__version__ = "0.2.0"

_floatx = "float32"
own_floatx: ContextVar[str | None] = ContextVar("floatx", default=None)  # that of one thread


def floatx() -> str:
    """Return the name of the float type of new weights and inputs.

    >>> floatx()
    'float32'

    Source: https://keras.io/api/utils/config_utils/#floatx-function
    """
    return own_floatx.get() or _floatx


def set_floatx(value: str) -> None:
    """Set the float type of everything built from now on: ``"float32"`` or ``"float64"``.

    A model keeps the type that it was built with.

    Raises:
        ValueError: for any other name.
    """
    global _floatx
    if value not in ("float32", "float64"):
        raise ValueError(
            f"Expected floatx to be 'float32' or 'float64', received: {value!r}. "
            'Write: tinynet.config.set_floatx("float32")'
        )
    _floatx = value


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name.startswith("_"):  # Python itself asks, when tinynet is imported
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from tinynet.compat import missing

        return missing.find(__name__, name)
