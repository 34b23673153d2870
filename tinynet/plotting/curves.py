"""Training curves, drawn after training (`plot_history`) or during it (`callbacks.LivePlot`).

Both use the functions below, so they draw the same curves.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tinynet.backend.types import Config, HostArray
from tinynet.callbacks.history import History
from tinynet.callbacks.monitors import higher_is_better
from tinynet.plotting.pictures import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    pyplot,
    value_error,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_history(
    history: History | Mapping[str, Sequence[float]],
    *,
    validation_freq: int | Sequence[int] | None = None,
    ax: "Axes | None" = None,
) -> HostArray:
    """Draw the loss and, beside it, the metrics of each epoch.

    Arguments:
        history: the `History` that `fit` returns, or its `history`, a dictionary of lists.
        validation_freq: as given to `fit`; needed if it was a list, or if the lengths of the lists
            do not determine it.
        ax: one Axes for the loss alone, or two for the loss and the metrics; None makes a figure.

    Returns:
        An array of Axes: one for the loss and, if there are metrics, one for them.

    Raises:
        ValueError: if there is no loss, or the lengths of the lists are inconsistent.

    >>> loss, acc = plot_history({"loss": [0.9, 0.5], "acc": [0.7, 0.8], "val_acc": [0.7, 0.6]})
    >>> acc.get_legend().get_texts()[-1].get_text()
    'validation'
    """
    logs = getattr(history, "history", history if isinstance(history, Mapping) else {})
    sizes = {name: len(values) for name, values in logs.items() if name[:4] != "val_"}
    if not sizes.get("loss") or len(set(sizes.values())) > 1:
        what, line = "lists of equal length, including 'loss'", "plot_history(model.fit(x, y))"
        raise value_error(what, f"{type(history).__name__}, lengths {sizes}", line)
    epochs = np.arange(1, sizes["loss"] + 1)
    recorded = getattr(history, "epoch", ())
    if len(recorded) == len(epochs):  # differs after a second fit
        epochs = np.asarray(recorded) + 1
    panels = panels_of(logs)
    validated = {
        name: validated_epochs(len(logs[name]), epochs, validation_freq)
        for name in (f"val_{name}" for names in panels for name in names)
        if len(logs.get(name, ()))
    }
    if ax is None:
        figure = pyplot().figure(figsize=(4.8 * len(panels), 3.8), layout="constrained")
        ax = figure.subplots(1, len(panels))
    axes = np.ravel(np.asarray(ax, dtype=object))
    if len(axes) not in (1, len(panels)):
        line = "figure, ax = matplotlib.pyplot.subplots(1, 2)"
        raise value_error(f"1 or {len(panels)} Axes", f"{len(axes)}", line)
    for one, names in zip(axes, panels, strict=False):
        draw_curves(one, names, logs, epochs, validated)
    return axes


def validated_epochs(
    count: int, epochs: HostArray, freq: int | Sequence[int] | None
) -> tuple[int, ...]:
    """Return the epochs after which `count` validations ran, if that can be determined."""
    tried = range(1, epochs[-1] // count + 1) if freq is None else [freq]
    ran = [epochs[np.isin(epochs, k) if np.ndim(k) else epochs % k == 0] for k in tried]
    places = {tuple(at.tolist()) for at in ran if len(at) == count}
    if len(places) != 1:
        received = f"{count} values for {len(epochs)} epochs, validation_freq={freq}"
        raise value_error("validation_freq of fit", received, "plot_history(h, validation_freq=n)")
    return places.pop()


def panels_of(logs: Mapping[str, Sequence[float]]) -> list[list[str]]:
    """Return the names of the curves in each panel: the loss, and beside it all metrics."""
    other = ("loss", "lr", "learning_rate")
    metrics = [name for name in logs if name[:4] != "val_" and name not in other]
    return [["loss"], metrics] if metrics else [["loss"]]


def draw_curves(
    ax: "Axes",
    names: list[str],
    logs: Mapping[str, Sequence[float]],
    epochs: HostArray,
    validated: Mapping[str, Sequence[int]],
) -> None:
    """Draw the values `names` of `logs` over the epochs, the validation's over its own."""
    for i, name in enumerate(names):
        solid, dashed = ((BLUE, VERMILLION), (GREEN, PURPLE), (SKY, ORANGE))[i % 3]
        what = f"{name}, " if len(names) > 1 else ""
        style: Config = {"markersize": 4, "markevery": math.ceil(len(epochs) / 20)}
        ax.plot(epochs, logs[name], "o-", color=solid, label=f"{what}training", **style)
        if places := validated.get(f"val_{name}"):
            values = logs[f"val_{name}"]
            ax.plot(places, values, "s--", color=dashed, label=f"{what}validation", **style)
    unit = " (share of samples)" if all(map(higher_is_better, names)) else ""
    title, unit = ("Loss", " (mean over samples)") if names == ["loss"] else ("Metrics", unit)
    ylabel = textwrap.fill(", ".join(names) + unit, 34)
    ax.set(title=title, xlabel="epoch", ylabel=ylabel)
    ax.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
    ax.locator_params(axis="x", integer=True, min_n_ticks=1)
    ax.ticklabel_format(axis="y", scilimits=(-2, 4))  # tick labels such as 0.00101 are too wide
    ax.grid(alpha=0.3)
    ax.legend(fontsize="small")
