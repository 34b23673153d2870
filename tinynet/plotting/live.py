"""Curves that grow while a model trains, wherever its user happens to look.

In a notebook the picture below the cell is replaced in place, in a window the figure is redrawn,
and where there is neither, a file holds it. All three show one figure, drawn anew from the numbers.
"""

import inspect
import io
import math
import pathlib
import sys
import tempfile
import time
import warnings
from typing import Any

import numpy as np

from tinynet.callbacks.base import Callback, Logs
from tinynet.plotting.curves import draw_curves, panels_of
from tinynet.plotting.pictures import expected, pyplot

FRAMES = 100  # an animation has so many at most, and the last


class LivePlot(Callback):
    """Draw loss and metrics after each epoch, while training goes on.

    In a notebook the curves grow below the cell, with a matplotlib that has windows in a window,
    else in a file. Where epochs are so short that drawing would take more than a third of
    the time, some are drawn together; an animation has them all, or up to 100 evenly spaced. A
    window stays open until its program ends; `matplotlib.pyplot.show()` waits for whoever looks at
    it. If something cannot be drawn or written, a warning says so once, and training goes on.

    Arguments:
        path: a file for the curves, written wherever they are shown: a picture (``.png``,
            ``.svg``, ``.pdf`` …), rewritten as they grow, or with ``.gif`` an animation, written
            now and then, and when training ends. If None, ``training.png``, and only where nothing
            else shows them.

    Raises:
        ValueError: for a file that matplotlib cannot write.
        ImportError: without matplotlib.

    >>> LivePlot("curves.gif").path.suffix
    '.gif'
    """

    kept = ("epochs", "validated", "logs")

    def __init__(self, path: Any = None) -> None:
        super().__init__()
        pyplot()
        from matplotlib.backend_bases import FigureCanvasBase

        self.path = None if path is None else pathlib.Path(path)
        kinds = {"gif", *FigureCanvasBase.get_supported_filetypes()}
        if self.path is not None and self.path.suffix[1:].lower() not in kinds:
            raise expected("a picture's file name", path, 'LivePlot("training.png")')
        self.figure: Any = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.epochs: list[int] = []
        self.validated: list[int] = []
        self.logs: dict[str, list[float]] = {}
        self.handle: Any = None
        self.frames: list[Any] = []
        self.drawn = self.filmed = 0  # epochs, so far
        self.stride, self.broken = 1, False
        self.next_drawing = 0.0
        self.figure = pyplot().figure(figsize=(9.6, 3.8))
        self.notebook = in_a_notebook()
        self.window = not self.notebook and has_a_window(self.figure)
        if not self.window:
            pyplot().close(self.figure)  # it is not pyplot's to show at the end of a cell
        self.file: Any = self.path
        if self.file is None and not (self.notebook or self.window):
            self.file = pathlib.Path("training.png")
            print(f"No window here to draw in: the curves are in {self.file}.")
        self.films = self.file is not None and self.file.suffix.lower() == ".gif"
        self.shows = self.notebook or self.window or not self.films
        if self.file is not None:  # if it cannot be written, better now than after an epoch
            self.file.parent.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.file.parent).close()
        self.figure.text(0.5, 0.5, "the curves begin after the first epoch", ha="center")
        if self.window:
            self.figure.show()
        self._show()  # so that a notebook's picture stands above what `fit` prints

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._remember(epoch + 1, logs or {})
        start = time.monotonic()
        frame = self.films and (len(self.epochs) - 1) % self.stride == 0
        if frame or (self.shows and start >= self.next_drawing):
            self._try(self._draw, frame, max(self.params.get("epochs", 1), epoch + 1))
            now = time.monotonic()
            self.next_drawing = now + 2 * (now - start)

    def on_train_end(self, logs: Logs | None = None) -> None:
        early = bool(self.epochs) and self.epochs[-1] < self.params.get("epochs", 1)
        frame = self.films and (early or self.filmed < len(self.epochs))
        if frame or early or self.drawn < len(self.epochs):  # if early, the curves get all the room
            self._try(self._draw, frame, self.epochs[-1])
        if self.frames:
            self._try(self._save_film)
            self.frames = []

    def _remember(self, epoch: int, logs: Logs) -> None:
        """Keep the values of an epoch; NaN stands for what an epoch has not."""
        validates = any(name[:4] == "val_" for name in logs)
        self.epochs.append(epoch)
        self.validated += [epoch] * validates
        for name in dict.fromkeys([*self.logs, *logs]):
            validation = name[:4] == "val_"
            count = len(self.validated if validation else self.epochs)
            values = self.logs.setdefault(name, [])
            if validates or not validation:
                values += [math.nan] * (count - 1 - len(values))
                values.append(logs.get(name, math.nan))

    def _try(self, step: Any, *arguments: Any) -> None:
        """Take a step, unless one has failed already: no picture is worth a training."""
        try:
            if not self.broken:
                step(*arguments)
        except Exception as error:
            self.broken = True
            warnings.warn(
                f"LivePlot has stopped: {type(error).__name__}: {error}. Training goes on.",
                stacklevel=6,
            )

    def _keep_frame(self) -> None:
        from PIL import Image

        picture = Image.open(self._saved("png", dpi=100))
        self.frames.append(picture.convert("RGB").quantize(128))
        self.filmed = len(self.epochs)
        if len(self.frames) > FRAMES:  # from now on, every second one
            self.frames = self.frames[::2]
            self.stride *= 2
        if len(self.frames).bit_count() == 1:  # 1, 2, 4, 8 …: something is there after Ctrl-C
            self._save_film()

    def _save_film(self) -> None:
        pace = min(400, max(50, 8000 // len(self.frames)))  # milliseconds: some eight seconds
        held = [*[pace] * (len(self.frames) - 1), 3000]  # and the last one for three
        first, *others = self.frames
        film = io.BytesIO()
        options = {"save_all": True, "append_images": others, "duration": held, "loop": 0}
        first.save(film, format="gif", **options)
        self.file.write_bytes(film.getvalue())

    def _draw(self, frame: bool, last: int) -> None:
        panels = panels_of(self.logs)
        lines = [1 if len(names) == 1 else 3 * len(names) for names in panels]
        low = 0.7 + 0.22 * max(lines)
        self.figure.clear()
        if self.drawn == 0:  # only now is it known whether there are metrics
            self.figure.set_size_inches(4.8 * len(panels), 2.9 + low)
        width, height = self.figure.get_size_inches()
        axes = self.figure.subplots(1, len(panels), squeeze=False)[0]
        for ax, names in zip(axes, panels, strict=True):
            draw_curves(ax, names, self.logs, np.array(self.epochs), self.validated)
            ax.set_xlim(right=last + 0.5)
            # The legend below and margins in inches: nothing moves but the curves.
            ax.legend(
                loc="upper center",
                bbox_to_anchor=(0.5, -0.45 / (height - low - 0.4)),
                ncols=3 if len(names) == 1 else 1,
                fontsize=8,
                frameon=False,
                columnspacing=0.8,
                handlelength=1.6,
                handletextpad=0.4,
            )
        self.figure.subplots_adjust(
            0.95 / width, low / height, 1 - 0.2 / width, 1 - 0.4 / height, 0.3
        )
        self._show()
        self.drawn = len(self.epochs)
        if frame:
            self._keep_frame()
        elif self.file is not None and not self.films:
            kind = self.file.suffix[1:].lower()
            # Written at once, for whoever is looking at it.
            self.file.write_bytes(self._saved(kind, dpi=100).getvalue())

    def _saved(self, kind: str, dpi: int) -> io.BytesIO:
        picture = io.BytesIO()
        self.figure.savefig(picture, format=kind, dpi=dpi)
        return picture

    def _show(self) -> None:
        """Put the figure where it is looked at: below the cell, or into its window."""
        if self.notebook:
            from IPython.display import Image, display

            width = int(100 * self.figure.get_size_inches()[0])
            image = Image(self._saved("png", dpi=200).getvalue(), format="png", width=width)
            if self.handle is None:
                self.handle = display(image, display_id=True)
            else:
                self.handle.update(image)
        elif self.window and pyplot().fignum_exists(self.figure.number):
            self.figure.canvas.draw_idle()
            self.figure.canvas.flush_events()


def in_a_notebook() -> bool:
    """Whether what is displayed appears below a cell."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


def has_a_window(figure: Any) -> bool:
    """Whether a figure of pyplot's can be shown in a window, found out as pyplot does it."""
    from matplotlib.backend_bases import FigureManagerBase

    # Backends with windows say anew how to show them; bound class methods are never equal.
    manager = type(figure.canvas.manager)
    return any(
        inspect.getattr_static(manager, name) != inspect.getattr_static(FigureManagerBase, name)
        for name in ("start_main_loop", "pyplot_show")
    )
