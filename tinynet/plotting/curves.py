"""The curves of a training, drawn when it is over (`plot_history`) or while it goes on.

`callbacks.LivePlot` draws through the same functions, so what grows on the screen is in the end
the picture that `plot_history` makes.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tinynet.plotting.pictures import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILLION, expected, pyplot


def plot_history(
    history: Any, *, validation_freq: int | Sequence[int] | None = None, ax: Any = None
) -> np.ndarray:
    """Draw the loss and, beside it, the metrics of each epoch; star the best validation epoch.

    Arguments:
        history: what `fit` returns, or its `history`, a dictionary of lists: "loss", "val_loss" …
        validation_freq: as given to `fit`; needed if it was a list, or the lengths leave it open.
        ax: where to draw: an Axes for the loss alone, or two, for the loss and for the metrics;
            None makes a figure.

    Returns:
        The array of the Axes: the loss's and, if there are metrics, theirs.

    Raises:
        ValueError: if there is no loss, or the lists' lengths do not go together.

    >>> loss, acc = plot_history({"loss": [0.9, 0.5], "acc": [0.7, 0.8], "val_acc": [0.7, 0.6]})
    >>> acc.get_legend().get_texts()[-1].get_text()
    'best validation: epoch 1, 0.7'
    """
    logs = getattr(history, "history", history if isinstance(history, Mapping) else {})
    sizes = {name: len(values) for name, values in logs.items() if name[:4] != "val_"}
    if not sizes.get("loss") or len(set(sizes.values())) > 1:
        what, line = "lists of one length, 'loss' among them", "plot_history(model.fit(x, y))"
        raise expected(what, f"{type(history).__name__}, lengths {sizes}", line)
    epochs = np.arange(1, sizes["loss"] + 1)
    if len(getattr(history, "epoch", ())) == len(epochs):  # not so after a History's second fit
        epochs = np.asarray(history.epoch) + 1
    panels = panels_of(logs)
    if ax is None:
        figure = pyplot().figure(figsize=(4.8 * len(panels), 3.8), layout="constrained")
        ax = figure.subplots(1, len(panels))
    axes = np.ravel(np.asarray(ax, dtype=object))
    if len(axes) not in (1, len(panels)):
        line = "figure, ax = matplotlib.pyplot.subplots(1, 2)"
        raise expected(f"1 or {len(panels)} Axes", f"{len(axes)}", line)
    for one, names in zip(axes, panels, strict=False):
        draw_curves(one, names, logs, epochs, validation_freq)
    return axes


def panels_of(logs: Mapping[str, Any]) -> list[list[str]]:
    """Which curves stand together: the loss, and beside it all metrics."""
    other = ("loss", "lr", "learning_rate")
    metrics = [name for name in logs if name[:4] != "val_" and name not in other]
    return [["loss"], metrics] if metrics else [["loss"]]


def draw_curves(ax: Any, names: list[str], logs: Any, epochs: np.ndarray, freq: Any) -> None:
    """Draw the values `names` of `logs` over the epochs."""
    for i, name in enumerate(names):
        solid, dashed = ((BLUE, VERMILLION), (GREEN, PURPLE), (SKY, ORANGE))[i % 3]
        what = f"{name}, " if len(names) > 1 else ""
        style = {"markersize": 4, "markevery": math.ceil(len(epochs) / 20)}
        ax.plot(epochs, logs[name], "o-", color=solid, label=f"{what}training", **style)
        if len(logs.get(f"val_{name}", ())) == 0:
            continue
        values = np.asarray(logs[f"val_{name}"], dtype=float)
        tried = range(1, epochs[-1] // len(values) + 1) if freq is None else [freq]
        ran = [epochs[np.isin(epochs, k) if np.ndim(k) else epochs % k == 0] for k in tried]
        places = {tuple(at) for at in ran if len(at) == len(values)}
        if len(places) != 1:
            received = f"{len(values)} values for {len(epochs)} epochs, validation_freq={freq}"
            raise expected("fit's validation_freq", received, "plot_history(h, validation_freq=n)")
        at = places.pop()
        ax.plot(at, values, "s--", color=dashed, label=f"{what}validation", **style)
        falls = any(word in name for word in ("loss", "error", "entropy", "mse", "mae"))
        score = np.where(np.isfinite(values), -values if falls else values, -np.inf)
        if np.isfinite(score).any():
            point = at[score.argmax()], values[score.argmax()]
            label = f"{what}best validation: epoch {point[0]}, {point[1]:.4g}"
            ax.plot(*point, "*", color=dashed, mec="black", ms=14, clip_on=False, label=label)
    unit = " (share of samples)" if all("acc" in name for name in names) else ""
    title, unit = ("Loss", " (mean over samples)") if names == ["loss"] else ("Metrics", unit)
    ylabel = textwrap.fill(", ".join(names) + unit, 34)
    ax.set(title=title, xlabel="epoch", ylabel=ylabel)
    ax.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
    ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    ax.ticklabel_format(axis="y", scilimits=(-2, 4))  # 0.00101 would take much room
    ax.grid(alpha=0.3)
    ax.legend(fontsize="small")
