"""Errors that teach: what was expected, what was received, and the line to write instead.

Everything that the arguments alone reveal is checked here, before training starts. The *contents*
of arrays are not checked, because that would cost a pass over all data. A NaN shows up in the loss,
and `engine.finite` then reports where it came from.
"""

import math
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from inspect import isfunction
from typing import Any, TypeGuard

import numpy as np

from tinynet.backend import is_integer, on_device
from tinynet.backend.types import Data, HostArray, Shape
from tinynet.compat.naming import short


def is_array_like(value: object) -> bool:
    """Return whether `value` is an array, or can be converted to one, as pandas tables can."""
    return hasattr(value, "__array__") or hasattr(value, "to_numpy") or on_device(value)


def array(value: Data, name: str) -> HostArray:
    """Return `value`, an array or what can be converted to one, as an array that `fit` can take.

    A pandas table is converted as in Keras, so a Series becomes a column, (n, 1). A list can
    hold the one array of a model with one input.

    Raises:
        ValueError: if it is not an array of real numbers with an axis of samples.
    """
    variable = name.split()[-1]
    if isinstance(value, list | tuple) and len(value) == 1 and is_array_like(value[0]):
        (value,) = value
    if on_device(value) or not is_array_like(value):
        write = f"{variable} = np.asarray({variable})"
        if on_device(value):
            write = f"{variable} = {variable}.get()"
        elif hasattr(value, "toarray"):  # a sparse matrix of SciPy's
            write = f"{variable} = {variable}.toarray()"
        elif hasattr(value, "keys") and len(value):  # a dictionary, or a file of arrays
            write = f"{variable} = {variable}[{next(iter(value))!r}]: a model has one input"
        elif isinstance(value, list | tuple) and all(map(is_array_like, value)):
            write = "model.fit(x, y): a model has one input"
        elif isfunction(value) or isinstance(value, type):  # a generator's, or a dataset's class
            write = f"{variable} = {variable}()"
        elif hasattr(value, "__next__") or hasattr(value, "on_epoch_end"):
            write = f"for {variable}, … in batches: …, as a method for one batch takes arrays"
        raise ValueError(
            f"Unrecognized data type: {name}={short(value)} (of type {type(value)}). "
            f"Expected a NumPy array, or what can be converted to one. Write: {write}"
        )
    if hasattr(value, "to_numpy"):
        column = hasattr(value, "to_frame")  # a Series
        value = np.asarray(value.to_numpy(), order="C")  # read by rows
        value = value[:, None] if column else value
    result = plain(value, name)
    if not is_numeric(result):
        write = f'{variable}.astype("float32")'
        if result.dtype.kind in "US" or (result.size and isinstance(result.flat[0], str)):
            write = f"np.unique({variable}, return_inverse=True)[1], the numbers of equal texts"
        raise ValueError(
            f"Expected {name} to hold numbers, received an array of dtype {result.dtype} and "
            f"shape {result.shape}. Write: {variable} = {write}"
        )
    if result.ndim == 0:
        raise ValueError(
            f"Expected {name} to have an axis of samples, received a single number, shape (). "
            f"Write: {variable} = {variable}.reshape(1, 1)"
        )
    return result


def is_numeric(array: HostArray) -> bool:
    return array.dtype.kind in "biuf"


def plain(value: object, name: str) -> HostArray:
    """Return `value` as an array that is not of a subclass, such as `np.matrix`.

    Raises:
        ValueError: if it is a masked array with values that are masked: they would be used.
    """
    if isinstance(value, np.ma.MaskedArray) and np.any(value.mask):
        raise ValueError(
            f"Expected {name} without masked values, received an array with "
            f"{np.count_nonzero(value.mask)}. Write: {name} = {name}.filled(0), or "
            "leave these samples out"
        )
    try:
        return np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        torch = hasattr(value, "detach")  # a tensor of PyTorch's, with a gradient or on a GPU
        rows = "np.array(rows), with rows of equal length"
        write = f"{name}.detach().cpu().numpy()" if torch else rows
        raise ValueError(
            f"Expected {name} to be an array, received {short(value)}: {error}. "
            f"Write: {name} = {write}"
        ) from None


def warn(text: str) -> None:
    """Warn about the line outside tinynet from which it was called."""
    level, frame = 1, sys._getframe()
    while frame.f_back and str(frame.f_globals.get("__name__")).partition(".")[0] in _PASSED_BY:
        level, frame = level + 1, frame.f_back
    warnings.warn(text, stacklevel=level)


_PASSED_BY = ("tinynet", "contextlib")  # whose functions lie between the caller and the warning


def as_array(value: object, name: str, any_shape: bool = False) -> HostArray:
    """Return `value`, which may be nested lists, as an array of numbers.

    Arguments:
        any_shape: whether to accept a single number, too.

    Raises:
        ValueError: if it cannot be converted.
    """
    if not on_device(value) and not hasattr(value, "to_numpy"):
        value = plain(value, name)
    if any_shape and isinstance(value, np.ndarray) and not value.ndim and is_numeric(value):
        return value
    return array(value, name)


def same_length(arrays: Mapping[str, HostArray | None]) -> None:
    """Raise a ValueError unless all arrays hold the same number of samples, at least one."""
    present = {name: value for name, value in arrays.items() if value is not None}
    if len({len(value) for value in present.values()}) > 1:
        sizes = "".join(f"'{name}' sizes: {len(value)}\n" for name, value in present.items())
        raise ValueError(
            "Data cardinality is ambiguous. Make sure all arrays contain the same number of "
            f"samples.{sizes}"
        )
    for name, value in present.items():
        if not value.size:
            raise ValueError(
                f"Expected at least one sample, received {name} of shape {value.shape}."
            )


def samples(
    x: object, y: object, sample_weight: object, prefix: str = ""
) -> tuple[HostArray, HostArray | None, HostArray | None]:
    """Return samples, targets (or None) and weights (or None), checked alone and together."""
    x = array(x, f"{prefix}x")
    y = None if y is None else array(y, f"{prefix}y")
    if sample_weight is not None:
        sample_weight = array(sample_weight, f"{prefix}sample_weight")
        if sample_weight.size != len(sample_weight):
            raise ValueError(
                "Expected sample_weight to hold one number for each sample, shape (n,), "
                f"received shape {sample_weight.shape}."
            )
    same_length({f"{prefix}x": x, f"{prefix}y": y, f"{prefix}sample_weight": sample_weight})
    return x, y, sample_weight


def validation_data(data: object) -> tuple[HostArray, HostArray | None, HostArray | None]:
    """Return the parts of `fit`'s `validation_data`, (x, y) or (x, y, sample_weight), checked."""
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        what = f"a {type(data).__name__}"
        if isinstance(data, tuple | list):
            what += f" of {len(data)}"
        raise ValueError(
            "Expected validation_data to be a tuple (x, y) or (x, y, sample_weight), "
            f"received {what}. Write: validation_data=(x_test, y_test)"
        )
    x, y, *weight = data
    return samples(x, y, weight[0] if weight else None, prefix="validation ")


def match_input_shape(x: HostArray, expected: Shape, model: str) -> HostArray:
    """Return samples in the shape a model expects; a last axis of length 1 is added or removed.

    Raises:
        ValueError: if they do not fit.
    """
    shape = x.shape
    if _fits(shape, expected):
        return x
    if expected[-1:] == (1,) and _fits((*shape, 1), expected):
        return x[..., None]
    if shape[-1:] == (1,) and _fits(shape[:-1], expected):
        return x[..., 0]
    wanted = ", ".join("n" if size is None else str(size) for size in expected)
    hint = f"Write: Input(shape={shape[1:]}) in a new model, or pass other samples"
    if math.prod(shape[1:]) == math.prod(size or 0 for size in expected[1:]):
        hint = f"Write: x = x.reshape(-1{''.join(f', {size}' for size in expected[1:])})"
    if is_one_sample(shape, expected):
        hint = "A single sample needs a batch axis. Write: x[None]"
    raise ValueError(
        f"Model '{model}' expects input of shape ({wanted}), "
        f"received input of shape {shape}. {hint}"
    )


def is_one_sample(shape: Sequence[int], expected: Shape | None) -> bool:
    """Return whether `shape` is that of a single sample, without a batch axis."""
    return expected is not None and _fits((None, *shape), expected)


def _fits(shape: Sequence[int | None], expected: Sequence[int | None]) -> bool:
    return len(shape) == len(expected) and all(
        want is None or have is None or have == want
        for have, want in zip(shape[1:], expected[1:], strict=True)
    )


def count(value: object, name: str, default: int | None = None, minimum: int = 1) -> int:
    """Return `value` if it is a whole number of at least `minimum`, or `default` if it is None.

    Raises:
        ValueError: for anything else.
    """
    if value is None and default is not None:
        return default
    if not is_integer(value) or value < minimum:
        raise ValueError(
            f"Expected {name} to be a whole number of at least {minimum}, received: "
            f"{short(value)}. Write: {name}={max(default or 1, minimum)}"
        )
    return int(value)


def flag(value: object, name: str) -> bool:
    """Return `value` as a bool if it is True or False, or 1 or 0."""
    if not isinstance(value, bool | np.bool_ | int) or value not in (0, 1):
        raise ValueError(
            f"Expected {name} to be True or False, received: {short(value)}. Write: {name}=True"
        )
    return bool(value)


def choice(value: object, name: str, *options: str | None) -> Any:
    """Return `value` if it is one of `options`."""
    if not isinstance(value, str | None) or value not in options:
        words = ", ".join(map(repr, options))
        raise ValueError(
            f"Expected {name} to be one of {words}, received: {short(value)}. "
            f"Write: {name}={options[0]!r}"
        )
    return value


def number(value: object, name: str, low: float, high: float, example: float) -> float:
    """Return `value` as a float if it is a number from `low` to `high`."""
    if not is_real(value) or not low <= value <= high:
        within = f"from {low:g} to {high:g}" if high < np.inf else f"of at least {low:g}"
        within = "that is finite" if low == -np.inf else within
        raise ValueError(
            f"Expected {name} to be a number {within}, received: {short(value)}. "
            f"Write: {name}={example}"
        )
    return float(value)


def shape(value: Any, name: str) -> Shape:
    """Return `value` as a tuple if it is a shape: lengths, or None for those not yet known."""
    try:
        sizes = None if isinstance(value, str | bytes) else tuple(value)
    except TypeError:
        sizes = None
    if sizes is None or not all(size is None or (is_integer(size) and size >= 0) for size in sizes):
        raise ValueError(
            f"Expected a shape, a tuple of lengths, received: {short(value)}. Write: {name}=(784,)"
        )
    return tuple(None if size is None else int(size) for size in sizes)


def validation_schedule(frequency: object) -> Callable[[int], bool]:
    """Return a function that says, for an epoch counted from 1, if `frequency` includes it."""
    if isinstance(frequency, Sequence | set) and not isinstance(frequency, str):
        return {count(epoch, "validation_freq") for epoch in frequency}.__contains__
    every = count(frequency, "validation_freq")
    return lambda epoch: epoch % every == 0


def save_freq(value: Any) -> Any:
    """Return `value` if it is a saving frequency: ``"epoch"``, or a number of batches."""
    if value != "epoch" and not (is_integer(value) and value > 0):
        raise ValueError(
            "Expected save_freq to be 'epoch' or a number of batches, received: "
            f'{short(value)}. Write: save_freq="epoch"'
        )
    return value


def is_real(value: object) -> TypeGuard[float]:
    """Return whether `value` is a Python or NumPy number; booleans and times are not numbers."""
    return is_integer(value) or isinstance(value, float | np.floating)


def class_weight(weights: object) -> Mapping[int, float]:
    """Return `weights` if it is a dictionary from class numbers to finite numbers."""
    if not isinstance(weights, Mapping) or not all(
        is_integer(k) and is_real(v) and math.isfinite(v) for k, v in weights.items()
    ):
        raise ValueError(
            "Expected class_weight to be a dictionary from class numbers to weights, received: "
            f"{short(weights)}. Write: class_weight={{0: 1.0, 1: 2.0}}"
        )
    return weights
