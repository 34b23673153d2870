"""The version, and the one global setting: the float type that everything is computed in.

Weights, activations, gradients and optimizer state are born in `floatx()`, float32 unless
you say otherwise. float32 is what Keras uses and what a CPU or GPU is fast at; float64 is
for checking gradients, where rounding would hide the mistake one is looking for.
"""

__version__ = "0.1.0"

_floatx = "float32"


def floatx() -> str:
    """The name of the float type that new weights and inputs get.

    >>> floatx()
    'float32'

    Source: https://keras.io/api/utils/config_utils/#floatx-function
    """
    return _floatx


def set_floatx(value: str) -> None:
    """Choose the float type of what is built from now on: ``"float32"`` or ``"float64"``.

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
