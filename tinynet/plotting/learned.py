"""Plots of what a network has learned: its confusion matrix, its worst mistakes, its first weights,
its activations for one image, and the magnitudes of its weights and gradients.
"""

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from tinynet.backend.types import Config, HostArray, Model
from tinynet.callbacks.history import Distributions
from tinynet.plotting.pictures import (
    BLUE,
    GREEN,
    GREY,
    NEGATIVE,
    ORANGE,
    POSITIVE,
    PURPLE,
    VERMILLION,
    WRONG,
    as_classes,
    as_images,
    as_probabilities,
    colours_between,
    counted,
    draw_grid,
    inch_axes,
    percent,
    pyplot,
    signed_colours,
    value_error,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE)
READABLE = 40  # the most classes for which counts are drawn


def plot_confusion(
    labels: ArrayLike, probabilities: ArrayLike, *, ax: "Axes | None" = None
) -> "Axes":
    """Draw the confusion matrix: rows are labelled classes, columns predicted ones.

    Correct predictions are on the grey diagonal; the larger a mistake's share of its row, the
    darker its cell. Each cell shows its count; an empty cell is 0. With more than 40 classes the
    counts are left out, because they would be unreadable.

    Arguments:
        labels: class numbers of shape (n,), or one-hot rows of shape (n, classes).
        probabilities: shape (n, classes), as `model.predict` returns.
        ax: where to draw; None makes a figure.

    Raises:
        ValueError: if lengths differ, or a probability or a label is out of range.

    >>> plot_confusion([0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]).get_title()[:33]
    'Confusion: 2 of 3 right (66.67 %)'
    """
    p = as_probabilities(probabilities, len(np.asarray(labels)))
    if not len(p):
        raise value_error("at least one prediction", "none", "plot_confusion(y, model.predict(x))")
    classes = p.shape[1]
    truth = as_classes(labels, len(p), classes)
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (truth, p.argmax(axis=1)), 1)
    right = int(np.trace(counts))
    if ax is None:
        side = max(4.4, 1.2 + 0.42 * classes)
        ax = pyplot().figure(figsize=(side, side), layout="constrained").subplots()
    wrong = np.where(np.eye(classes, dtype=bool), 0, counts) / np.maximum(1, counts.sum(1))[:, None]
    ax.imshow(wrong, vmin=0, vmax=max(wrong.max(), 1e-9) * 1.3, **colours_between("white", WRONG))
    diagonal = np.ma.masked_where(~np.eye(classes, dtype=bool), np.ones((classes, classes)))
    ax.imshow(diagonal, cmap="Greys", vmin=0, vmax=4)
    size = min(9.0, 90 / max(classes, 10))
    for (i, j), count in np.ndenumerate(counts):
        if count and classes <= READABLE:
            ax.text(j, i, f"{count:,}", ha="center", va="center", fontsize=size, color="black")
    ticks = range(0, classes, max(1, classes // 20))
    ax.set(xlabel="predicted class", ylabel="labelled class", xticks=ticks, yticks=ticks)
    title = f"Confusion: {right:,} of {len(p):,} right ({100 * right / len(p):.2f} %)"
    ax.set_title(f"{title}\nred: mistakes, darker for a larger share of the row", fontsize=10)
    return ax


def plot_mistakes(
    images: ArrayLike,
    probabilities: ArrayLike,
    labels: ArrayLike,
    rows: int = 3,
    columns: int = 8,
    *,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw the worst mistakes: the wrong predictions with the highest probabilities.

    Below each image are its predicted class, its label, and the probabilities of these two.

    Arguments:
        images, probabilities, labels, ax: as in `plot_predictions`.

    Raises:
        ValueError: for the same reasons as `plot_predictions`; or if there is no mistake.

    >>> ax = plot_mistakes(np.zeros((2, 784)), [[0.2, 0.8], [0.9, 0.1]], labels=[1, 1])
    >>> ax.get_title().splitlines()[0]
    'The worst of 1 mistake'
    """
    images = as_images(images)
    p = as_probabilities(probabilities, len(images))
    truth, predicted = as_classes(labels, len(p), p.shape[1]), p.argmax(axis=1)
    wrong = np.flatnonzero(predicted != truth)
    if not len(wrong):
        raise value_error(
            "a wrong prediction", "none: all are right", "plot_predictions(images, p)"
        )
    worst = wrong[np.argsort(-p[wrong, predicted[wrong]], kind="stable")][: rows * columns]
    captions = []
    for i in worst:
        shares = f"{percent(p[i, predicted[i]])}, {percent(p[i, truth[i]])}"
        captions.append((f"predicted {predicted[i]}\nlabelled {truth[i]}\n{shares}", False))
    title = (
        f"The worst of {len(wrong):,} mistake{'s' * (len(wrong) != 1)}\n"
        "%: the probabilities of the predicted and of the labelled class"
    )
    return draw_grid(images[worst], captions, rows, columns, title, ax)


def plot_weights(
    model: Model, rows: int = 4, columns: int = 8, *, ax: "Axes | None" = None
) -> "Axes":
    """Draw the first layer's weights as images: what each of its units looks for.

    Each pixel is the weight of that pixel of the input: dark blue where ink increases the unit's
    weighted sum, light yellow where ink decreases it, and grey where ink hardly changes it.

    Arguments:
        model: a built model of images that starts with a `Dense`, or a `Flatten` and a `Dense`.
        ax: where to draw; None makes a figure.

    Raises:
        ValueError: if the model is not built, or its inputs are not images.

    >>> from tinynet import Input, Sequential, layers
    >>> model = Sequential([Input((8, 8)), layers.Flatten(), layers.Dense(3, name="first")])
    >>> plot_weights(model).get_title().splitlines()[0]
    "What the units of 'first' look for"
    """
    dense = next((x for x in getattr(model, "layers", ()) if hasattr(x, "units")), None)
    if dense is None or not dense.built:
        raise value_error("a built model with a Dense layer", model, "model.build((None, 28, 28))")
    weights = dense.get_weights()[0]
    shape = tuple((model.shape_of_input or ())[1:])
    if math.prod(size or 0 for size in shape) != len(weights):
        raise value_error(
            "a Dense layer directly on the input", f"input {shape}", "Flatten, then Dense"
        )
    images = as_images(weights.T.reshape(-1, *shape) if len(shape) in (2, 3) else weights.T)
    # Up to 0.5 % of the weights are beyond the scale: a single large one would make the rest pale.
    # But if nearly all are about 0, those are not to look large.
    sizes = np.abs(images[: max(1, rows * columns)])
    strongest = float(max(np.quantile(sizes, 0.995, method="higher"), sizes.max() / 100)) or 1.0
    captions = [(f"unit {n}", False) for n in range(len(images))]
    title = (
        f"What the units of '{dense.name}' look for\n"
        f"blue: positive weights; yellow: negative; grey: 0; full colour from ±{strongest:.2g}"
    )
    return draw_grid(images, captions, rows, columns, title, ax, signed_colours(strongest))


def plot_activations(model: Model, image: ArrayLike, *, ax: "Axes | None" = None) -> "Axes":
    """Draw one image and, layer by layer, the activation of every unit.

    The units of a layer form a square, row by row. Darker means larger; if some activations are
    negative, blue is positive and yellow negative. A last layer of at most 20 units is bars.

    Arguments:
        model: a built model.
        image: one sample of the model's input shape, such as (height, width) or
            (height * width,).
        ax: where to draw; None makes a figure.

    Raises:
        ValueError: if the model is not built, or the image has another shape.

    >>> from tinynet import Input, Sequential, layers
    >>> model = Sequential([Input((8, 8)), layers.Flatten(), layers.Dense(9, "tanh")], name="net")
    >>> plot_activations(model, np.zeros((8, 8))).get_title()
    "One image through 'net'"
    """
    shape = tuple(getattr(model, "input_shape", None) or ())[1:]
    if not getattr(model, "built", False) or np.shape(image) != shape:
        raise value_error(
            "a built model, and one sample of its input's shape", np.shape(image), "x[0]"
        )
    x = np.asarray(image)[None]
    try:
        picture = as_images(x)[0]
    except ValueError:  # a vector that is not an image
        picture = in_a_square(x.ravel())
    columns = [("input", picture, True)]
    for layer in model.layers:
        x = layer(x)
        if hasattr(layer, "units"):
            activation = getattr(getattr(layer, "activation", None), "__name__", "")
            text = f"{layer.name}: {counted(x.size, 'unit')}\n{activation}".rstrip()
            columns.append((text, x.ravel(), False))
    title = f"One image through '{model.name}'"
    if any(np.nanmin(values) < 0 for _, values, _ in columns):
        title += "\nblue: positive; yellow: negative; grey: 0"
    ax, scale = inch_axes(2.1 * len(columns), 2.5, title, ax)
    for number, (text, values, is_image) in enumerate(columns):
        left = 0.15 + 2.1 * number
        if not is_image and number == len(columns) - 1 and values.size <= 20:
            bars(ax, left, values, scale)
        else:
            square = values if is_image else in_a_square(values)
            low, high = float(np.nanmin(square)), float(np.nanmax(square))
            strongest = max(abs(low), abs(high), 1e-9)
            ink = signed_colours(strongest) | ({} if low < 0 else {"cmap": "gray_r", "vmin": 0})
            tall = min(1.8, 1.8 * square.shape[0] / square.shape[1])
            extent = (left, left + 1.8, 0.1 + tall, 0.1)
            ax.imshow(np.ma.masked_invalid(square), extent=extent, interpolation="nearest", **ink)
            sides = [left, left + 1.8, left + 1.8, left, left]
            ax.plot(sides, [0.1, 0.1, 0.1 + tall, 0.1 + tall, 0.1], color=GREY, linewidth=0.5)
            text += "" if is_image else f", {low:.2g} to {high:.2g}"
        ax.text(left + 0.9, 1.97, text, ha="center", va="top", fontsize=9 * scale)
    return ax


def in_a_square(values: HostArray) -> HostArray:
    """Arrange the values row by row in a square, or nearly one, padded with NaN."""
    side = math.ceil(math.sqrt(values.size))
    square = np.full(side * math.ceil(values.size / side), np.nan)
    square[: values.size] = values
    return square.reshape(-1, side)


def bars(ax: "Axes", left: float, values: HostArray, scale: float) -> None:
    """Draw a bar for each value, its index before and the value behind it; negatives point left."""
    high, tall = max(float(np.abs(values).max()), 1e-9), 1.8 / len(values)
    if values.min() >= 0 and high <= 1:
        high = 1.0  # probabilities: a full bar is 1
    negative = bool((values < 0).any())
    zero, room = (left + 0.8, 0.5) if negative else (left + 0.25, 1.0)
    for k, value in enumerate(values.tolist()):
        y, end = 0.1 + tall * k, zero + room * value / high
        colour = POSITIVE if value >= 0 else NEGATIVE
        ax.fill_between([min(zero, end), max(zero, end)], y, y + 0.8 * tall, color=colour)
        size = min(9.0, 60 * tall) * scale
        ax.text(left + 0.2, y + 0.4 * tall, f"{k}", ha="right", va="center", fontsize=size)
        ax.text(max(zero, end) + 0.05, y + 0.4 * tall, f"{value:.2f}", va="center", size=size)


def plot_distributions(
    record: Distributions, what: str = "gradients", *, ax: "Axes | None" = None
) -> "Axes":
    """Draw the magnitudes of the weights, or of their gradients, in each layer over the epochs.

    The line is the median of the absolute values, the band their interquartile range (with more
    than five layers, only the lines are drawn); the scale is logarithmic. Gradients that are 0 are
    left out. Where the gradients of the first layers are many times smaller than those of the last,
    they vanish on the way back, and the first layers hardly learn.

    Arguments:
        record: a `callbacks.Distributions` that was passed to `fit`.
        what: ``"gradients"`` or ``"weights"``.
        ax: where to draw; None makes a figure.

    Raises:
        ValueError: if nothing was recorded, or `what` is another word.

    >>> from tinynet.callbacks import Distributions
    >>> record = Distributions()
    >>> record.epochs, record.gradients = [1, 2], {"dense": [[1, 2, 3, 4, 5], [1, 1, 2, 2, 3]]}
    >>> plot_distributions(record).get_ylabel()
    '|∂L/∂W|, median and quartiles'
    """
    epochs, spread = getattr(record, "epochs", []), getattr(record, str(what), None)
    if what not in ("gradients", "weights") or not epochs or not spread:
        line = "record = Distributions(); model.fit(…, callbacks=[record])"
        raise value_error("'gradients' or 'weights', recorded during fit", what, line)
    own = ax is None
    if ax is None:
        ax = pyplot().figure(figsize=(6.4, 3.8), layout="constrained").subplots()
    every = np.concatenate([np.array(rows)[:, 1:4].ravel() for rows in spread.values()])
    floor = max(1e-12, every[every > 0].min(initial=1.0) / 2)  # a logarithmic scale has no 0
    many = len(spread) > len(COLOURS)  # then from dark (first layer) to light (last), without bands
    for number, (name, rows) in enumerate(spread.items()):
        colour, marker = COLOURS[number % len(COLOURS)], "os^Dv<>P"[number % 8]
        if many:
            colour = pyplot().get_cmap("viridis")(0.95 * number / (len(spread) - 1))
        _, low, middle, high, _ = np.maximum(np.array(rows), floor).T
        label = name if (middle > floor).any() else f"{name}: about 0"
        ax.plot(epochs, middle, marker + "-", color=colour, label=label, markersize=4)
        if not many:
            ax.fill_between(epochs, low, high, color=colour, alpha=0.2, linewidth=0)
    symbol = "|∂L/∂W|" if what == "gradients" else "|W|"
    ylabel = f"{symbol}, median" + ("" if many else " and quartiles")
    title = "Gradients of the weights" if what == "gradients" else "Weights"
    ax.set(title=f"{title}, layer by layer", xlabel="epoch", ylabel=ylabel, yscale="log")
    ax.xaxis.set_major_locator(pyplot().MaxNLocator(integer=True, min_n_ticks=1))
    ax.grid(alpha=0.3)
    beside: Config = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)} if own else {}
    handles, names = ax.get_legend_handles_labels()
    ax.legend(handles[::-1], names[::-1], fontsize="small", **beside)  # the last layer on top
    return ax
