"""Plots of sample digits, of predictions, and of the network itself."""

import math
import textwrap
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from tinynet.backend.types import Config, HostArray, Model

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, ORANGE, GREY, PALE = "#56B4E9", "#E69F00", "#808080", "#C0C0C0"
# Wherever a sign is drawn, also by `export_html`: from Paul Tol's scheme for all eyes and for grey.
POSITIVE, NEGATIVE = "#004488", "#DDAA33"
WRONG = "#CC3311"  # predictions; right ones are black
BARS = 0.4  # inches below an image for its bars
# A layer of more than 10 units is drawn as its first 3 and its last 3; of the weights into each
# unit the 3 strongest are drawn.
SHOWN, ENDS, STRONGEST = 10, 3, 3


def plot_digits(
    images: ArrayLike,
    labels: ArrayLike | None = None,
    rows: int = 4,
    columns: int = 8,
    *,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw the first ``rows * columns`` images in a grid, with their labels below them.

    Arguments:
        images: (n, height, width), (n, height, width, 1) or, if square, (n, height * width).
        labels: numbers or words of shape (n,), or one-hot rows of shape (n, classes).
        ax: where to draw; None makes a figure, one inch for each column.

    Raises:
        ValueError: if the images have another shape, or the labels another length.

    >>> plot_digits(np.eye(8).reshape(1, 8, 8), labels=[7]).get_title()
    'Digits and their labels'
    """
    images = as_images(images)
    names = [""] * len(images) if labels is None else as_labels(labels, len(images))
    title = "Digits" if labels is None else "Digits and their labels"
    return draw_grid(images, [(str(name), False) for name in names], rows, columns, title, ax)


def plot_predictions(
    images: ArrayLike,
    probabilities: ArrayLike,
    labels: ArrayLike | None = None,
    rows: int = 3,
    columns: int = 8,
    *,
    wrong: int = 0,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw images with the predicted class and the probability of every class.

    Below each image are its predicted class, its label, the probability of the predicted class,
    and a bar for each class, from left to right, with the predicted one dark. A wrong prediction
    has a red frame, a cross, a bold caption, and a triangle below the bar of the labelled class.

    Arguments:
        images, ax: as in `plot_digits`.
        probabilities: (n, classes), or (n, 1) for one sigmoid unit, as `model.predict` returns.
        labels: class numbers of shape (n,), or one-hot (n, classes); with None, none is marked.
        wrong: how many wrong predictions to draw first; the others follow in their order.

    Raises:
        ValueError: if lengths differ, or a probability is not between 0 and 1.

    >>> ax = plot_predictions(np.zeros((2, 784)), [[0.2, 0.8], [0.9, 0.1]], labels=[1, 1])
    >>> ax.get_title().splitlines()[0]
    'Predictions: 1 of 2 right (50.0 %)'
    """
    images = as_images(images)
    p = as_probabilities(probabilities, len(images))
    if wrong and labels is None:
        raise value_error(
            "labels for wrong", labels, "plot_predictions(images, p, labels, wrong=8)"
        )
    predicted, title = p.argmax(axis=1), "Predictions"
    truth = predicted if labels is None else as_labels(labels, len(p))
    if truth.dtype.kind not in "biu":
        raise value_error("labels to be class numbers", labels, "labels=numbers, and not names")
    bad = predicted != truth
    if labels is not None:
        title += f": {np.sum(~bad):,} of {len(bad):,} right ({100 * np.mean(~bad):.1f} %)"
    first = bad & (bad.cumsum() <= wrong)
    shown, captions = np.argsort(~first, kind="stable")[: rows * columns], []
    for i in shown:
        labelled = "" if labels is None else f"labelled {truth[i]}\n"
        captions.append((f"predicted {predicted[i]}\n{labelled}{percent(p[i].max())}", bad[i]))
    title += f"\n%: probability of the predicted class; bars: of classes 0 to {p.shape[1] - 1}"
    if bad[shown].any():
        title += "\nred, crossed: wrong; triangle: labelled class"
    bars = [(p[i], truth[i] if bad[i] else None) for i in shown]
    return draw_grid(images[shown], captions, rows, columns, title, ax, bars=bars)


def plot_network(model: Model, *, ax: "Axes | None" = None) -> "Axes":
    """Draw a built model: its layers as columns of circles, its weights as lines between them.

    Of a layer with more than 10 units, the first 3 and the last 3 are drawn. Lines are the 3
    strongest weights into each unit from drawn units: solid and blue if positive, dashed and yellow
    if negative; wider means larger within the layer. A layer without units, such as Dropout, is
    named below the layer before it; a Flatten at the start appears only in the input's label.

    Arguments:
        model: anything that has `name`, `built` and `layers`, such as a `Sequential`.
        ax: where to draw; None makes a figure, about two inches for each layer.

    Raises:
        ValueError: if the model has no layers, or is not built.

    >>> from tinynet import Input, Sequential, layers
    >>> model = Sequential([Input((4,)), layers.Dense(3)], name="small")
    >>> plot_network(model).get_title().splitlines()[0]
    'small: 15 parameters'
    """
    columns = _read_layers(model)
    sizes = [size for size, _, _ in columns]
    ys = [0.26 * (np.arange(n) - (n - 1) / 2) for n in (len(_drawn(size)) for size in sizes)]
    ys = [y + 0.26 * np.sign(y) * (size > SHOWN) for y, size in zip(ys, sizes, strict=True)]
    middle = 0.2 + max(y.max() for y in ys)
    height = 2 * middle + 0.36 + 0.16 * max(text.count("\n") for _, text, _ in columns)
    title = f"{model.name}: {counted(sum(x.count_params() for x in model.layers), 'parameter')}"
    if any(kernel is not None for _, _, kernel in columns):
        title += (
            f"\nlines: the {STRONGEST} strongest weights into each unit, from the units drawn"
            "\nblue: positive; yellow, dashed: negative; wider: larger within the layer"
        )
    ax, scale = inch_axes(1.9 * len(columns), height, title, ax)
    for i, (y, (size, text, kernel)) in enumerate(zip(ys, columns, strict=True)):
        x = 0.95 + 1.9 * i
        if i > 0:
            known = None if kernel is None else kernel[np.ix_(_drawn(sizes[i - 1]), _drawn(size))]
            _draw_lines(ax, x, middle + ys[i - 1], middle + y, known, scale)
        ax.plot([x] * len(y), middle + y, "o", mfc="white", mec=ax.title.get_color(), ms=13 * scale)
        if size > SHOWN:
            dots = middle + np.array([-0.25, -0.17, 0.17, 0.25])
            ax.plot([x] * 4, dots, "o", color=GREY, ms=3 * scale)
            more = ax.text(x, middle, f"{size - 2 * ENDS:,} more", ha="center", va="center")
            more.set(fontsize=9 * scale, bbox={"fc": ax.figure.get_facecolor(), "ec": "none"})
        ax.text(x, 2 * middle, text, ha="center", va="top", fontsize=9 * scale)
    return ax


def _drawn(size: int) -> list[int]:
    """Return the indices of the units that are drawn."""
    return [*range(size)] if size <= SHOWN else [*range(ENDS), *range(size - ENDS, size)]


def _draw_lines(
    ax: "Axes", x: float, left: HostArray, right: HostArray, known: HostArray | None, scale: float
) -> None:
    """Draw the strongest weights into each unit at x or, if they are unknown, all connections."""
    from matplotlib.collections import LineCollection

    weights = np.nan_to_num(np.zeros((len(left), len(right))) if known is None else known)
    ranks = np.argsort(-np.abs(weights), axis=0)[: None if known is None else STRONGEST]
    pairs = [(i, j) for row in ranks[::-1] for j, i in enumerate(row)]  # the strongest on top
    drawn = np.array([weights[pair] for pair in pairs])
    ends = [[(x - 1.9, left[i]), (x, right[j])] for i, j in pairs]
    shares = np.abs(drawn) / max(float(np.abs(drawn).max()), 1e-12)
    style = {
        "colors": [(GREY, POSITIVE, NEGATIVE)[int(np.sign(weight))] for weight in drawn],
        "linestyles": [(0, (3, 1)) if weight < 0 else "solid" for weight in drawn],
        "linewidths": (0.4 + 2.4 * shares) * scale,
        "antialiased": False,  # smooth edges would take two thirds of a PNG's bytes
    }
    ax.add_collection(LineCollection(ends, zorder=1, **style))


def pyplot() -> ModuleType:
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("To draw, write: python -m pip install matplotlib") from error
    return plt


def value_error(what: str, received: object, line: str) -> ValueError:
    shown = textwrap.shorten(str(received), 300, placeholder=" …")
    return ValueError(f"Expected {what}. Received: {shown}. Write: {line}")


def counted(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + "s" * (n != 1)


def percent(share: float) -> str:
    return "<1 %" if share < 0.005 else ">99 %" if share >= 0.995 else f"{100 * share:.0f} %"


def signed_colours(largest: float) -> Config:
    """Return the colours of values from -largest to largest: the larger, the darker; 0 is grey."""
    return colours_between(NEGATIVE, GREY, POSITIVE) | {"vmin": -largest, "vmax": largest}


def colours_between(*colours: str) -> Config:
    name, maps = " to ".join(colours), pyplot().matplotlib.colors.LinearSegmentedColormap
    return {"cmap": maps.from_list(name, colours, N=255)}


def as_images(images: ArrayLike) -> HostArray:
    array = np.asarray(images)
    if array.ndim == 2 and math.isqrt(array.shape[1]) ** 2 == array.shape[1]:
        array = array.reshape(len(array), math.isqrt(array.shape[1]), -1)
    if array.ndim == 4 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim != 3 or array.size == 0 or array.dtype.kind not in "buif":
        what = "numbers of shape (n, height, width), (n, height, width, 1) or (n, side * side)"
        raise value_error(what, f"{array.dtype} {np.shape(images)}", "images.reshape(-1, 28, 28)")
    return array


def as_probabilities(probabilities: ArrayLike, n: int) -> HostArray:
    """Return probabilities of shape (n, classes); those of one sigmoid unit become two columns."""
    p = np.asarray(probabilities)
    # Rounding may take a float32 just beyond 1.
    if p.ndim != 2 or len(p) != n or not np.all((p >= -1e-6) & (p <= 1 + 1e-6)):
        received = f"shape {p.shape}" + (f", {p.min():.4g} to {p.max():.4g}" if p.size else "")
        what = f"a row of probabilities, from 0 to 1, for each of {n} images"
        raise value_error(what, received, "plot_predictions(images, model.predict(images), labels)")
    p = p.clip(0, 1)
    return np.hstack([1 - p, p]) if p.shape[1] == 1 else p


def as_labels(labels: ArrayLike, n: int) -> HostArray:
    array = np.asarray(labels)
    if array.ndim == 2:
        array = array.argmax(axis=1) if array.shape[1] > 1 else array[:, 0]
    if array.shape != (n,):
        raise value_error(f"{n} labels", f"shape {np.shape(labels)}", "images[:n], labels[:n]")
    whole = array.dtype.kind == "f" and np.isfinite(array).all()
    return array.astype(int) if whole else array


def as_classes(labels: ArrayLike, n: int, classes: int) -> HostArray:
    """Return the labels, which must be class numbers."""
    array = as_labels(labels, n)
    if array.dtype.kind not in "biu" or not np.isin(array, range(classes)).all():
        raise value_error(f"class numbers from 0 to {classes - 1}", labels, "y.argmax(axis=1)")
    return array.astype(int)


def inch_axes(width: float, height: float, title: str, ax: "Axes | None") -> tuple["Axes", float]:
    """Return an Axes in inches, y pointing down, and the factor by which to scale its text."""
    wide = int(13 * max(width, 4.8))  # characters in a line of the title
    title = "\n".join(textwrap.fill(line, wide) for line in title.splitlines())
    if ax is None:
        total = height + 0.15 + 0.2 * len(title.splitlines())
        figure = pyplot().figure(figsize=(max(width, 4.8), total))
        ax = figure.add_axes((0, 0, 1, height / total))
    ax.set(xlim=(0, width), ylim=(height, 0), aspect="equal")
    ax.set_axis_off()
    room = ax.get_window_extent()
    scale = min(room.width / width, room.height / height, ax.figure.dpi) / ax.figure.dpi
    ax.set_title(title, fontsize=10 * scale)
    return ax, scale


def draw_grid(
    images: HostArray,
    captions: Sequence[tuple[str, bool]],
    rows: int,
    columns: int,
    title: str,
    ax: "Axes | None",
    colours: Config | None = None,
    bars: Sequence[tuple[HostArray, int | None]] | None = None,
) -> "Axes":
    if rows < 1 or columns < 1:
        raise value_error("rows and columns of 1 or more", (rows, columns), "rows=4, columns=8")
    images = np.ma.masked_invalid(images[: rows * columns].astype(float))
    columns, tall = min(columns, len(images)), 0.84 * images.shape[1] / images.shape[2]
    text = 0.05 + 0.17 * len(captions[0][0].splitlines())
    pitch = tall + text + (0.11 if bars is None else 0.11 + BARS)
    ax, scale = inch_axes(columns + 0.16, pitch * math.ceil(len(images) / columns) + 0.1, title, ax)
    colours = colours or {"cmap": "gray_r", "vmin": images.min(), "vmax": images.max()}
    for k, (image, (caption, marked)) in enumerate(zip(images, captions, strict=False)):
        left, top = 0.16 + k % columns, 0.1 + pitch * (k // columns)
        right, bottom = left + 0.84, top + tall
        ax.imshow(image, extent=(left, right, bottom, top), interpolation="nearest", **colours)
        colour, width = (WRONG, 3 * scale) if marked else (GREY, 0.5)
        corners = [left, right, right, left, left], [top, top, bottom, bottom, top]
        ax.plot(*corners, color=colour, linewidth=width)
        if marked:
            ax.plot(right - 0.1, top + 0.1, "X", color=colour, mec="white", ms=10 * scale)
        font: Config = {"color": colour, "weight": "bold"} if marked else {}
        ax.text(left + 0.42, bottom + 0.05, caption, ha="center", va="top", size=9 * scale, **font)
        if bars is not None:
            _draw_bars(ax, left, bottom + text + BARS - 0.1, *bars[k], scale)
    return ax


def _draw_bars(
    ax: "Axes", left: float, base: float, p: HostArray, truth: int | None, scale: float
) -> None:
    """Draw the probabilities as bars, and a triangle below the bar of the labelled class."""
    step, dark = 0.84 / len(p), ax.title.get_color() if truth is None else WRONG
    xs = left + step * (np.arange(len(p)) + 0.5)
    colours = [dark if k == p.argmax() else PALE for k in range(len(p))]
    ax.vlines(xs, base, base - (BARS - 0.13) * p, colours, linewidth=0.75 * 72 * step * scale)
    ax.plot([left, left + 0.84], [base, base], color=GREY, linewidth=0.5)
    if truth in range(len(p)):
        ax.plot(xs[truth], base + 0.05, "^", color=dark, markersize=4 * scale)


def _read_layers(model: Model) -> list[tuple[int, str, HostArray | None]]:
    """Return each column's size, text and kernel (if there is one), the input's column first."""
    layers = [x for x in getattr(model, "layers", ()) if type(x).__name__ != "InputLayer"]
    shapes = [shape for x in layers for shape in (x.input_shape, x.output_shape)]
    if not layers or not model.built or any(s is None or None in s[1:] for s in shapes):
        raise value_error("a built model with layers", model, "model.build((None, 784))")
    shape = shapes[0][1:]
    noun = "pixel" if sum(n > 1 for n in shape) == 2 else "value"
    factors = " × ".join(map(str, shape)) + " = " if len(shape) > 1 else ""
    text = ["input", factors + counted(math.prod(shape), noun)]
    columns: list[tuple[int, list[str], HostArray | None]] = [(math.prod(shape), text, None)]
    for x in layers:
        size, count = math.prod(x.output_shape[1:]), x.count_params()
        name = f"{x.name} ({type(x).__name__})"
        f = getattr(x, "activation", None)
        called = "" if f is None else " · " + getattr(f, "__name__", type(f).__name__)
        parameters = [counted(count, "parameter")] * (count > 0)
        if hasattr(x, "units") or size != math.prod(x.input_shape[1:]):
            size = getattr(x, "units", size)
            kernel = x.get_weights()[0] if getattr(x, "kernel", None) is not None else None
            fits = kernel is not None and kernel.shape == (columns[-1][0], size)
            text = [name, counted(size, "unit") + called, *parameters]
            columns.append((size, text, kernel if fits else None))
        elif len(columns) > 1 or count or x.input_shape == x.output_shape:  # not a Flatten in front
            columns[-1][1].extend([f"then {name}{called}", *parameters])
    return [
        (size, "\n".join(textwrap.fill(line, 24) for line in lines), kernel)
        for size, lines, kernel in columns
    ]
