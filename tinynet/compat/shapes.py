"""Checks of shapes: of what layers receive, and of targets and outputs."""

from collections.abc import Sequence

from tinynet.backend.types import AnyLayer, Shape
from tinynet.compat import checks
from tinynet.compat.surface import InputSpec


def batch_shape_of_input(
    shape: Sequence[int | None] | None,
    batch_size: int | None,
    batch_shape: Sequence[int | None] | None,
) -> Shape:
    """Return the shape of a batch, from whichever of the two shapes `Input` received."""
    if shape is None and batch_shape is None:
        raise ValueError(
            "You must pass a `shape` argument. Received: none. Write: Input(shape=(28, 28))"
        )
    if batch_size is not None and batch_shape is not None:
        raise ValueError(
            "You cannot pass both `batch_size` and `batch_shape` at the same time. Received: "
            f"batch_size={batch_size}, batch_shape={batch_shape}. Write: Input(shape=(784,))"
        )
    if shape is not None and batch_shape is not None:
        raise ValueError(
            "You cannot pass both `shape` and `batch_shape` at the same time. "
            f"Received: shape={shape}, batch_shape={batch_shape}. Write: Input(shape=(784,))"
        )
    if shape is None:
        return checks.shape(batch_shape, "batch_shape")
    return (
        None if batch_size is None else checks.count(batch_size, "batch_size"),
        *checks.shape(shape, "shape"),
    )


def input_spec(dense: AnyLayer) -> InputSpec:
    """Return what a `Dense` layer requires of its inputs, in Keras's form."""
    return InputSpec(min_ndim=2, axes={-1: len(dense.kernel)} if dense.built else {})


def input_width(layer: str, shape: Shape, inputs: int | None = None) -> None:
    """Raise a ValueError unless `shape` is that of rows, with `inputs` numbers each if given."""
    if len(shape) < 2:
        raise ValueError(
            f"Input 0 with name 'None' of layer '{layer}' is incompatible with the layer: "
            f"expected min_ndim=2, found ndim={len(shape)}. Full shape received: {shape}. "
            "A single sample needs a batch axis. Write: x[None]"
        )
    if shape[-1] is None:
        raise ValueError(
            f"Layer '{layer}' expects an input whose last axis has a known length, "
            f"received the shape {shape}. Write: Input(shape=(784,))"
        )
    if inputs is not None and shape[-1] != inputs:
        raise ValueError(
            f"Input 0 with name 'None' of layer '{layer}' is incompatible with the layer: "
            f"expected axis -1 of input shape to have value {inputs}, "
            f"but received input with shape {shape}"
        )


def mask_shape(noise: Shape | None, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of the mask for inputs of `shape`."""
    sizes = shape if noise is None else noise
    mask = tuple(n if size is None else size for size, n in zip(sizes, shape, strict=False))
    if len(sizes) != len(shape) or any(
        size not in (1, n) for size, n in zip(mask, shape, strict=True)
    ):
        raise ValueError(
            f"Expected a noise_shape that fits inputs of shape {shape}, received {noise}. Write: "
            f"noise_shape={(None, *(1,) * (len(shape) - 1))}"
        )
    return mask


def one_hot_shapes(loss: object, y_true: Shape, y_pred: Shape) -> None:
    """Raise a ValueError unless the targets' shape is that of one-hot rows for the outputs."""
    if y_true == y_pred:
        return
    hint = f"This loss expects one row of {y_pred[-1]} probabilities for each sample."
    if y_true in (y_pred[:-1], (*y_pred[:-1], 1)):
        hint = (
            "The targets look like class numbers, but this loss expects one-hot rows. Write: "
            f"y = tinynet.utils.to_categorical(y, {y_pred[-1]}), "
            'or loss="sparse_categorical_crossentropy"'
        )
    raise ValueError(
        "Arguments `target` and `output` must have the same shape. "
        f"Received: target.shape={y_true}, output.shape={y_pred}. {hint}"
    )


def class_number_shapes(loss: object, y_true: Shape, y_pred: Shape) -> None:
    """Raise a ValueError unless the targets' shape is that of class numbers for the outputs."""
    axis = getattr(loss, "axis", -1)
    if axis not in (-1, len(y_pred) - 1):
        raise ValueError(
            f"Expected classes on the last axis of the outputs, received axis={axis} for outputs "
            f"of shape {y_pred}. Write: axis=-1, and numpy.moveaxis(y_pred, {axis}, -1)"
        )
    if y_true in (y_pred[:-1], (*y_pred[:-1], 1)):
        return
    hint = "This loss expects one class number for each sample."
    if y_true == y_pred:
        hint = (
            "The targets look one-hot, but this loss expects class numbers. Write: "
            'loss="categorical_crossentropy", or y = y.argmax(axis=-1)'
        )
    raise ValueError(
        "Arguments `target` and `output` must have the same shape up until the last "
        f"dimension: target.shape={y_true}, output.shape={y_pred}. {hint}"
    )


def equal_shapes(loss: object, y_true: Shape, y_pred: Shape) -> None:
    """Raise a ValueError unless the targets' shape is that of one number for each output."""
    if y_true not in (y_pred, (*y_pred, 1)) and (*y_true, 1) != y_pred:
        raise ValueError(
            "Arguments `target` and `output` must have the same shape. "
            f"Received: target.shape={y_true}, output.shape={y_pred}. "
            f"This loss expects one number for each output. Write: y = y.reshape(-1, {y_pred[-1]})"
        )


def one_hot_labels(metric: str, y_true: Shape, y_pred: Shape) -> None:
    """Raise a ValueError unless a metric's targets are one-hot rows."""
    if y_true != y_pred:
        raise ValueError(
            f"{metric} expects one-hot targets in the shape of the outputs {y_pred}, "
            f"received shape {y_true}. Write: metrics=['acc'], which takes either kind"
        )


def class_labels(metric: str, y_true: Shape, best: Shape) -> None:
    """Raise a ValueError unless a metric's targets are class numbers, or broadcast as in Keras."""
    transposed = len(y_true) == len(best) and y_true[::-1] == best
    if y_true not in (best, (*best, 1)) and not transposed:
        raise ValueError(
            f"{metric} expects class numbers of shape {best}, received shape "
            f"{y_true}. Write: metrics=['acc'], which takes either kind"
        )


def binary_labels(metric: str, y_true: Shape, y_pred: Shape) -> None:
    """Raise a ValueError unless targets and outputs can be compared, number by number."""
    pairs = zip(y_true[::-1], y_pred[::-1], strict=False)
    by_rank = len(y_true) != len(y_pred) and 1 in (y_true[-1], y_pred[-1])
    if not by_rank and any(a != b and 1 not in (a, b) for a, b in pairs):
        raise ValueError(
            f"{metric} expects a target, 0 or 1, for each output, in their shape {y_pred}, "
            f"received shape {y_true}. Write: y = y.reshape({y_pred})"
        )
