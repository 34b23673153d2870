"""The pictures of the lessons: pixels, sums, slopes, the way back, curves, steps on a surface."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from tinynet.backend.types import Config, HostArray
from tinynet.plotting.pictures import (
    BLUE,
    GREEN,
    GREY,
    NEGATIVE,
    ORANGE,
    POSITIVE,
    PURPLE,
    SKY,
    VERMILLION,
    as_images,
    pyplot,
    signed_colours,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WINDOW = 10  # the most rows and columns of pixels that are drawn with their numbers
STYLES: list[Config] = [  # of curves: they differ in colour, dashes and markers
    {"color": colour, "linestyle": line, "marker": marker, "markersize": 4}
    for colour, line, marker in zip(
        (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY), ("-", "--", "-.") * 2, "os^Dvx", strict=True
    )
]


def _axes(width: float, height: float) -> "Axes":
    """Return the axes of a new figure of this size, in inches."""
    figure = pyplot().figure(figsize=(width, height), layout="constrained")
    axes: Axes = figure.subplots()
    return axes


def plot_pixels(image: ArrayLike) -> "Axes":
    """Draw the pixels in the middle of an image, 10 × 10 at most, with their numbers.

    >>> plot_pixels(np.arange(64).reshape(8, 8)).get_title()
    '8 × 8 pixels'
    """
    image = np.asarray(image, "float64")
    rows, columns = (slice(max(0, (n - WINDOW) // 2), (n + WINDOW) // 2) for n in image.shape)
    part, (height, width) = image[rows, columns], image.shape
    ax = _axes(4, 4.2)
    ax.imshow(part, cmap="gray_r", vmin=image.min(), vmax=image.max())
    for (i, j), number in np.ndenumerate(part):
        dark = number > (image.min() + image.max()) / 2
        ax.text(j, i, f"{number:.3g}", ha="center", va="center", color="white" if dark else "black")
    of = "" if part.shape == image.shape else f"{part.shape[0]} × {part.shape[1]} of the "
    ax.set(title=f"{of}{height} × {width} pixels", xticks=[], yticks=[])
    return ax


def plot_images(images: dict[str, HostArray], signed: bool = False) -> "list[Axes]":
    """Draw images, (height, width), or (side · side,), side by side below their names.

    If one has negative numbers, blue is positive, yellow negative, and grey 0; the largest
    magnitude stands below its name. If `signed`, all are drawn so, and with one scale.

    >>> [ax.get_title() for ax in plot_images({"one": np.eye(4), "two": -np.ones(16)})]
    ['one', 'two\\n±1']
    """
    figure = pyplot().figure(figsize=(2.2 * len(images), 2.75), layout="constrained")
    axes = list(np.ravel(figure.subplots(1, len(images))))
    largest = {name: float(np.abs(image).max()) or 1.0 for name, image in images.items()}
    for ax, (name, image) in zip(axes, images.items(), strict=True):
        image = as_images(np.squeeze(image)[None])[0]
        strongest = max(largest.values()) if signed else largest[name]
        coloured = signed or image.min() < 0
        colours = signed_colours(strongest) if coloured else {"cmap": "gray_r"}
        ax.imshow(image, interpolation="nearest", **colours)
        ax.set_title(f"{name}\n±{strongest:.2g}" if coloured else name, fontsize=10)
        ax.set_axis_off()
    return axes


def plot_sums(z: HostArray, yes: HostArray, names: tuple[str, str]) -> "Axes":
    """Draw how often each weighted sum z occurs, for the wanted images and for the others.

    Arguments:
        z, yes: the sums, and whether each image is of the wanted class, both (n,).
        names: what these and the others are.

    >>> plot_sums(np.arange(4.0), np.arange(4) > 1, ("zeros", "others")).get_xlabel()
    'z'
    """
    ax = _axes(6.4, 3)
    bins = np.histogram_bin_edges(z, 60).tolist()
    for which, name, colour in ((~yes, names[1], GREY), (yes, names[0], BLUE)):
        share = np.full(which.sum(), 1 / max(which.sum(), 1))
        ax.hist(z[which], bins, weights=share, color=colour, alpha=0.7, label=name)
    ax.axvline(0, color=VERMILLION, label="yes to the right of this line")
    ax.set(xlabel="z", ylabel="share of each group")
    ax.legend(fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False)
    return ax


def plot_softmax(z: HostArray, p: HostArray) -> "list[Axes]":
    """Draw the scores z of one image, (classes,), e to the power of them, and the probabilities.

    >>> plot_softmax(np.zeros(10), np.full(10, 0.1))[2].get_title()
    'p: divided by their sum'
    """
    axes: list[Axes] = list(pyplot().figure(figsize=(9, 2.4), layout="constrained").subplots(1, 3))
    titles = ("z: the scores", "eᶻ: positive", "p: divided by their sum")
    for ax, values, title in zip(axes, (z, np.exp(z), p), titles, strict=True):
        ax.bar(range(len(z)), values, color=[POSITIVE if v >= 0 else NEGATIVE for v in values])
        ax.set(title=title, xticks=range(len(z)))
        ax.axhline(0, color=GREY, linewidth=0.5)
    return axes


def plot_slope(
    f: Callable[[float], float], w: float, h: float, width: float = 2.0, name: str = "w"
) -> "Axes":
    """Draw the loss f around a parameter's value w, and the line through it at w − h and w + h.

    >>> plot_slope(np.square, w=1.0, h=0.5).get_xlabel()
    'w'
    """
    ax = _axes(5.4, 3.2)
    places = np.linspace(w - width, w + width, 101)
    ax.plot(places, [f(one) for one in places], color=GREY, label="loss")
    low, high = f(w - h), f(w + h)
    slope = (high - low) / (2 * h)
    line = (low + high) / 2 + slope * (places - w)
    tangent = f(w) + (f(w + 1e-5) - f(w - 1e-5)) / 2e-5 * (places - w)
    ax.plot(places, tangent, "--", color=BLUE, linewidth=1, label="tangent")
    ax.plot(places, line, color=VERMILLION, linewidth=1, label=f"slope {slope:.3f}")
    ax.plot(
        [w - h, w + h], [low, high], "o", color=VERMILLION, label=f"at {name} − h and {name} + h"
    )
    ax.plot(w, f(w), "o", color=BLUE, label=f"at {name}")
    ax.set(xlabel=name, ylabel="loss")
    ax.legend(fontsize="small")
    return ax


def plot_way_back(boxes: Sequence[tuple[str, str, str, str]], start: str = "x") -> "Axes":
    """Draw layers as boxes: above them what goes forward, below them what comes back.

    Arguments:
        boxes: for each layer its name, what leaves it on the way forward, with its shape, what
            leaves it on the way back, and the gradient of its own weights, if it has any.
        start: what enters the first layer.

    >>> plot_way_back([("Dense", "z (n, 10)", "", "∂L/∂W"), ("loss", "L", "δ", "")]).texts[0]
    Text(0, 0.5, 'Dense')
    """
    ax = _axes(2.0 * len(boxes) + 1, 2.3)
    arrows = [((-1.6, 0.8), (-0.4, 0.8), start, POSITIVE)]
    for n, (name, forward, back, own) in enumerate(boxes):
        x, frame = 2 * n, {"boxstyle": "round,pad=0.5", "fc": "none", "ec": GREY}
        ax.text(x, 0.5, name, ha="center", va="center", bbox=frame)
        arrows.append(((x + 0.4, 0.8), (x + 1.6, 0.8), forward, POSITIVE))
        arrows.append(((x - 0.4, 0.2), (x - 1.6, 0.2), back, VERMILLION))
        if own:
            arrows.append(((x, 0.2), (x, -0.3), own, VERMILLION))
    for begin, end, text, colour in arrows:
        style = {"arrowstyle": "-|>", "lw": 1.5, "color": colour}
        ax.annotate("", end, begin, arrowprops=style)
        y = end[1] + (0.1 if end[1] > 0.5 else -0.25)
        ax.text((begin[0] + end[0]) / 2, y, text, ha="center", color=colour, fontsize=9)
    ax.set(xlim=(-1.8, 2 * len(boxes) - 0.2), ylim=(-0.62, 1.1))
    ax.set_axis_off()
    return ax


def plot_curves(
    curves: dict[str, ArrayLike],
    xlabel: str,
    ylabel: str,
    x: ArrayLike | None = None,
    log: str = "",
) -> "Axes":
    """Draw curves, with their names beside the picture.

    Arguments:
        curves: the name of each and its values; after six, the styles repeat.
        xlabel, ylabel: what the axes show.
        x: where the values are; 1, 2, 3 … if not given.
        log: the axes that are logarithmic: ``"x"``, ``"y"`` or ``"xy"``.

    >>> ax = plot_curves({"training": [2.3, 1.1], "validation": [2.3, 1.4]}, "epoch", "loss")
    >>> ax.get_lines()[1].get_xdata()
    array([1, 2])
    """
    from matplotlib.ticker import LogLocator  # not at the top: matplotlib is optional

    ax = _axes(7.2, 3.4)
    for (name, values), style in zip(curves.items(), STYLES * len(curves), strict=False):
        places = np.arange(1, np.size(values) + 1) if x is None else np.asarray(x)
        every = -(-len(places) // 12)  # at most 12 markers
        ax.plot(places, values, label=name, markevery=every, linewidth=1.5, **style)
    scales = {f"{axis}scale": "log" for axis in log}
    ax.set(xlabel=xlabel, ylabel=ylabel, **scales)
    for axis in (getattr(ax, f"{each}axis") for each in log):  # labels such as 0.03, not 3 × 10⁻²
        axis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axis.set_major_formatter("{x:g}")
        axis.set_tick_params(which="minor", labelleft=False, labelbottom=False)
    ax.grid(alpha=0.3)
    ax.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return ax


def plot_paths(loss: Callable[[HostArray], HostArray], paths: dict[str, HostArray]) -> "list[Axes]":
    """Draw the steps of each path on the loss of two weights, seen from above, side by side.

    Arguments:
        loss: a function of weights (…, 2) that returns their losses (…), least at (0, 0).
        paths: for each name the places (n, 2) that were visited, the first one first.

    >>> [ax] = plot_paths(lambda w: (w**2).sum(axis=-1), {"still": np.ones((3, 2))})
    >>> ax.get_title()
    'still'
    """
    figure = pyplot().figure(figsize=(3.1 * len(paths), 2.7), layout="constrained")
    axes = list(np.ravel(figure.subplots(1, len(paths), sharey=True)))
    start = np.array(next(iter(paths.values()))[0])
    w1, w2 = (1.25 * abs(each) * np.linspace(-1, 1, 101) for each in start)
    heights = loss(np.stack(np.meshgrid(w1, w2), axis=-1))
    levels = np.geomspace(loss(start) / 300, loss(start), 7)
    for ax, (name, path), style in zip(axes, paths.items(), STYLES * len(paths), strict=False):
        ax.contour(w1, w2, heights, levels.tolist(), colors=GREY, linewidths=0.6)
        ax.plot(*np.transpose(path), linewidth=1, **{**style, "markersize": 3})
        ax.plot(0, 0, "+", color="black", markersize=10)
        ax.set(title=name, xlabel="w₁", xlim=w1[[0, -1]], ylim=w2[[0, -1]])
    axes[0].set_ylabel("w₂")
    return axes
