"""Warnings before training, about inputs, models and labels that are valid but probably mistaken.

Errors are raised only for what cannot be computed. In the cases below, Keras trains without
comment; tinynet trains too, but first warns and suggests a fix. Only the first batch of the inputs
is inspected; the labels, which are small, are inspected in full.
"""

from collections.abc import Sequence

import numpy as np

from tinynet import activations
from tinynet.backend.types import HostArray, Model, Samples
from tinynet.compat import checks
from tinynet.compat.activation import activation_name
from tinynet.engine.data import Batches
from tinynet.layers import Activated
from tinynet.losses import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    Crossentropy,
    SparseCategoricalCrossentropy,
)

LARGE_INPUT = 10  # beyond this, inputs saturate a sigmoid
NOT_PROBABILITIES = (activations.linear, activations.relu, activations.tanh)


def advise(model: Model, batches: Batches, split_off: Sequence[Samples]) -> None:
    """Warn about likely mistakes in a model, its training data, and the validation split.

    Arguments:
        batches: what to train on.
        split_off: the samples held out by `validation_split`, if any.
    """
    texts = [input_advice(batches.x.source[: batches.batch_size]), output_advice(model)]
    for _, y, _ in split_off:
        assert batches.y is not None
        texts.append(split_advice(model, batches.y.source, y))
    for text in filter(None, texts):
        checks.warn(text)


def input_advice(batch: HostArray) -> str | None:
    """Return a warning if the inputs in `batch` are far from 0, else None."""
    if batch.dtype.kind == "b" or not batch.size:
        return None
    low, high = batch.min(), batch.max()
    if not (low < -LARGE_INPUT or high > LARGE_INPUT):  # also true for NaN
        return None
    return (
        f"Expected inputs between about -1 and 1, received values from {low:g} to {high:g} in the "
        "first batch. If these are pixels from 0 to 255, write: x = x / 255. (On MNIST, this "
        "raises the example network's accuracy from 92.5 % to 97.6 %.)"
    )


def output_advice(model: Model) -> str | None:
    """Return a warning if a cross-entropy takes logits for probabilities or vice versa."""
    loss, layer = model.loss_object, model.layers[-1]
    if not isinstance(loss, Crossentropy) or not isinstance(layer, Activated):
        return None
    name, fits = activation_name(layer.activation), activation_name(loss.fused_with)
    if loss.from_logits and layer.activation is loss.fused_with:
        return (
            f"Layer '{layer.name}' ends in a {fits}, and {type(loss).__name__}(from_logits=True) "
            "applies another: probabilities become nearly equal, and learning is slow. Write: "
            f"{type(loss).__name__}(), or leave activation='{fits}' out"
        )
    if not loss.from_logits and layer.activation in NOT_PROBABILITIES:
        return (
            f"Layer '{layer.name}' ends in '{name}', so its outputs are not the probabilities that "
            f"{type(loss).__name__} expects. Write: activation='{fits}' in that layer, or "
            f"loss=tinynet.losses.{type(loss).__name__}(from_logits=True)"
        )
    return None


def advise_on_labels(model: Model, y: HostArray, outputs: int) -> None:
    """Warn if some class numbers have no corresponding output, or are NaN."""
    loss = model.loss_object
    if isinstance(loss, BinaryCrossentropy) and y.size and not (y.min() >= 0 and y.max() <= 1):
        checks.warn(
            f"Expected targets from 0 to 1 for {type(loss).__name__}, received targets from "
            f'{float(y.min()):g} to {float(y.max()):g}. Write: y = (y > 0).astype("float32"), or '
            'loss="sparse_categorical_crossentropy" for class numbers'
        )
    if not isinstance(loss, SparseCategoricalCrossentropy) or not y.size:
        return
    y = np.trunc(y) if y.dtype.kind == "f" else y  # as the loss does
    if loss.ignore_class is not None:
        y = np.where(y == loss.ignore_class, 0, y)
    low, high = y.min(), y.max()
    if low >= 0 and high < outputs:  # not if one is NaN
        return
    invalid = ~((y >= 0) & (y < outputs))
    first = int(np.argwhere(invalid)[0][0])
    numbers = y[y == y]
    low, high = map(float, (numbers.min(), numbers.max()) if numbers.size else (np.nan,) * 2)
    missing = "NaN and " * (numbers.size < y.size)
    if low == 1 and high == outputs and not missing:
        hint = "y = y - 1"
    elif missing or low < 0 or not high < 1e6:
        hint = "leave these samples out, or give each of them a class"
    else:
        hint = f"a last layer of {int(high) + 1} units"
    checks.warn(
        f"Expected labels from 0 to {outputs - 1}, one for each output, received {missing}labels "
        f"from {low:g} to {high:g}, first in sample {first}. {invalid.sum()} of {y.size} add "
        f"nothing to the loss. Write: {hint}"
    )


def split_advice(model: Model, y: HostArray, held_out: HostArray) -> str | None:
    """Return a warning if some classes occur only in the held-out samples, else None."""
    if not isinstance(model.loss_object, CategoricalCrossentropy):
        return None
    missing = np.setdiff1d(classes(model, held_out), classes(model, y))
    missing = missing[missing >= 0]
    if not missing.size:
        return None
    word, verb = ("classes", "are") if len(missing) > 1 else ("class", "is")
    names = ", ".join(f"{number:g}" for number in missing[:5]) + ", …" * (len(missing) > 5)
    return (
        f"validation_split holds out the last samples in the given order, and {word} {names} "
        f"{verb} only there, so never trained. Write: order = np.random.permutation(len(x)); "
        "x, y = x[order], y[order]"
    )


def classes(model: Model, y: HostArray) -> HostArray:
    """Return the distinct class numbers in the targets `y`, whether sparse or one-hot."""
    sparse = isinstance(model.loss_object, SparseCategoricalCrossentropy)
    return np.unique(y if sparse else y.argmax(axis=-1))
