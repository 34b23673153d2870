"""Advice before a training: what can be trained, and most likely is not what was meant.

Errors are for what cannot be computed. These are warnings: in each of these cases Keras trains on
in silence; tinynet trains as well, and says what it would look at first. Of the inputs only the
first batch is looked at, never all of them; of the labels, which are few numbers, all are.
"""

import warnings
from typing import Any

import numpy as np

from tinynet import activations
from tinynet.compat.activation import name_of
from tinynet.engine.data import Samples
from tinynet.layers import Activated
from tinynet.losses import CategoricalCrossentropy, SparseCategoricalCrossentropy

LARGE = 10  # beyond this, inputs saturate a sigmoid
NO_PROBABILITIES = (activations.linear, activations.relu, activations.tanh)


def advise(model: Any, samples: Samples, held_out: Samples | None, batch_size: int) -> None:
    """Warn of what looks wrong in a model, its training data, and what was split off them.

    Arguments:
        samples: x, y and weights to train on.
        held_out: those that `validation_split` took, if it did.
    """
    x, y, _ = samples
    found = [of_inputs(x[:batch_size]), of_top(model), of_labels(model, x, y)]
    if held_out is not None:
        found.append(of_split(model, y, held_out[1]))
    for text in filter(None, found):
        warnings.warn(text, stacklevel=4)


def of_inputs(batch: np.ndarray) -> str | None:
    """Inputs that are far from 0."""
    if batch.dtype.kind == "b" or not batch.size:
        return None
    low, high = batch.min(), batch.max()
    if not (low < -LARGE or high > LARGE):  # also where they are NaN
        return None
    return (
        f"Expected inputs of about -1 to 1, received numbers from {low:g} to {high:g} in the first "
        "batch. Pixels 0…255? Divide by 255: x = x / 255. (With that, the example's network is "
        "right on 97.6 % of MNIST; without, on 92.5 %.)"
    )


def of_top(model: Any) -> str | None:
    """A softmax too many between the last layer and a cross-entropy, or one too few."""
    loss, layer = model._loss, model.layers[-1]
    if not isinstance(loss, CategoricalCrossentropy) or not isinstance(layer, Activated):
        return None
    name = name_of(layer.activation)
    if loss.from_logits and layer.activation is activations.softmax:
        return (
            f"Layer '{layer.name}' ends in a softmax, and {type(loss).__name__}(from_logits=True) "
            "takes another one: probabilities become nearly equal, and learning slow. Write: "
            f"{type(loss).__name__}(), or leave activation='softmax' out"
        )
    if not loss.from_logits and layer.activation in NO_PROBABILITIES:
        return (
            f"Layer '{layer.name}' ends in '{name}', so its outputs are no probabilities, which "
            f"{type(loss).__name__} wants. Write: activation='softmax' in that layer, or "
            f"loss=tinynet.losses.{type(loss).__name__}(from_logits=True)"
        )
    return None


def of_labels(model: Any, x: np.ndarray, y: np.ndarray) -> str | None:
    """Class numbers for which there is no output."""
    if not isinstance(model._loss, SparseCategoricalCrossentropy) or not y.size:
        return None
    outputs = model.compute_output_shape(x.shape)[-1]
    y = np.trunc(y) if y.dtype.kind == "f" else y  # as the loss does
    low, high = y.min(), y.max()
    if not (low < 0 or high >= outputs):
        return None
    strange = (y < 0) | (y >= outputs)
    first = int(np.argwhere(strange)[0][0])
    if low == 1 and high == outputs:
        hint = "y = y - 1"
    elif low < 0 or not high < 1e6:
        hint = "leave such samples out, or give each a class"
    else:
        hint = f"a last layer of {int(high) + 1} units"
    return (
        f"Expected labels from 0 to {outputs - 1}, one for each output, received labels from "
        f"{low:g} to {high:g}, first in sample {first}. {strange.sum()} of {y.size} teach nothing. "
        f"Write: {hint}"
    )


def of_split(model: Any, y: np.ndarray, held_out: np.ndarray) -> str | None:
    """Classes that only the held-out samples have."""
    if not isinstance(model._loss, CategoricalCrossentropy):
        return None
    missing = np.setdiff1d(classes(model, held_out), classes(model, y))
    missing = missing[missing >= 0]
    if not missing.size:
        return None
    word, verb = ("classes", "are") if len(missing) > 1 else ("class", "is")
    names = ", ".join(f"{number:g}" for number in missing[:5]) + ", …" * (len(missing) > 5)
    return (
        f"validation_split takes the last samples, in the order as given, and {word} {names} "
        f"{verb} only there: never trained. Write: order = np.random.permutation(len(x)); "
        "x, y = x[order], y[order]"
    )


def classes(model: Any, y: np.ndarray) -> np.ndarray:
    """The numbers of the classes that occur in targets of either kind."""
    sparse = isinstance(model._loss, SparseCategoricalCrossentropy)
    return np.unique(y if sparse else y.argmax(axis=-1))
