"""`Input`: the shape of what goes in, written in front of the layers. It computes nothing."""

from collections.abc import Sequence
from typing import Any

from tinynet import naming, validation
from tinynet.backend import Array, Shape
from tinynet.layer import Layer

_KERAS_INPUT = {"sparse": False, "ragged": False, "optional": False, "tensor": None}


class InputLayer(Layer):
    """What `Input` makes: the shape that a model expects. It holds and computes nothing."""

    any_dtype = True

    def __init__(
        self,
        batch_shape: Sequence[int | None] | None = None,
        dtype: Any = None,
        name: str | None = None,
        **unsupported: Any,
    ) -> None:
        super().__init__(name=name)
        naming.refuse("Input", unsupported, _KERAS_INPUT)
        if batch_shape is None:
            raise ValueError(
                "You must pass a `shape` argument. Received: none. Write: Input(shape=(28, 28))"
            )
        self.input_dtype = dtype
        self.ensure_built(validation.shape(batch_shape, "batch_shape"))

    @property
    def batch_shape(self) -> Shape:
        return self.output_shape or ()

    def forward(self, x: Array, training: bool = False) -> Array:
        return x

    def backward(self, gradient: Array) -> Array:
        return gradient

    def get_config(self) -> dict[str, Any]:
        return {
            "batch_shape": self.batch_shape,
            "dtype": self.input_dtype or "float32",
            "sparse": False,
            "ragged": False,
            "name": self.name,
            "optional": False,
        }


def Input(  # noqa: N802, a function with the name of a class, as in Keras
    shape: Sequence[int | None] | None = None,
    batch_size: int | None = None,
    dtype: Any = None,
    *,
    batch_shape: Sequence[int | None] | None = None,
    name: str | None = None,
    **unsupported: Any,
) -> InputLayer:
    """The shape of one sample (or, as `batch_shape`, of a batch), first in a `Sequential`.

    >>> Input(shape=(28, 28)).batch_shape
    (None, 28, 28)

    Source: https://keras.io/api/layers/core_layers/input/
    """
    if shape is not None and batch_shape is not None:
        raise ValueError(
            "You cannot pass both `shape` and `batch_shape` at the same time. "
            f"Received: shape={shape}, batch_shape={batch_shape}. Write: Input(shape=(784,))"
        )
    if shape is not None:
        batch_shape = (batch_size, *validation.shape(shape, "shape"))
    return InputLayer(batch_shape=batch_shape, dtype=dtype, name=name, **unsupported)
