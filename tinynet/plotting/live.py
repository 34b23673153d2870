"""Training curves that are redrawn while a model trains: in a notebook, a window or a file.

In a notebook the picture below the cell is replaced, in a window the figure is redrawn, and if
there is neither, the picture is written to a file. All three show the same figure.
"""

import inspect
import io
import math
import pathlib
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from tinynet.backend.types import Logs
from tinynet.callbacks.base import Callback
from tinynet.plotting.curves import draw_curves, panels_of
from tinynet.plotting.pictures import pyplot, value_error
from tinynet.utils.files import PathLike
from tinynet.utils.progress import say

FRAMES = 100  # the most in an animation, the last epoch always among them


class LivePlot(Callback):
    """Draw the loss and the metrics after each epoch, while training goes on.

    The curves appear below the cell in a notebook, in a window if matplotlib's backend has windows,
    and in a file otherwise. If drawing would take more than a third of the time, because epochs are
    short, some redraws are skipped; an animation has every epoch, or up to 100 evenly spaced ones.
    A window stays open until the program ends; `matplotlib.pyplot.show()` waits until it is closed.
    If drawing or writing fails, `LivePlot` warns once and stops drawing; training goes on.

    Arguments:
        path: a file for the curves, also written if they are shown elsewhere: a picture (``.png``,
            ``.svg``, ``.pdf`` …), rewritten at each redraw, or a ``.gif`` animation, written at
            intervals and when training ends. If None, ``training.png``, but only if there is
            neither a notebook nor a window.

    Raises:
        ValueError: if matplotlib cannot write such a file.
        ImportError: if matplotlib is not installed.

    >>> LivePlot("curves.gif").path.suffix
    '.gif'
    """

    kept = ("epochs", "validated", "logs")

    def __init__(self, path: PathLike | None = None) -> None:
        super().__init__()
        pyplot()
        from matplotlib.backend_bases import FigureCanvasBase

        self.path = None if path is None else pathlib.Path(path)
        kinds = {"gif", *FigureCanvasBase.get_supported_filetypes()}
        if self.path is not None and self.path.suffix[1:].lower() not in kinds:
            raise value_error("a picture's file name", path, 'LivePlot("training.png")')
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
            pyplot().close(self.figure)  # so that pyplot does not show it after a cell
        self.file: Any = self.path
        if self.file is None and not (self.notebook or self.window):
            self.file = pathlib.Path("training.png")
            say(f"No window available: the curves are drawn to {self.file}.")
        self.films = self.file is not None and self.file.suffix.lower() == ".gif"
        self.shows = self.notebook or self.window or not self.films
        if self.file is not None:  # fail now rather than after the first epoch
            self.file.parent.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.file.parent).close()
        self.figure.text(0.5, 0.5, "the curves begin after the first epoch", ha="center")
        if self.window:
            self.figure.show()
        self._show()  # so that a notebook's picture is above the output of `fit`

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
        if frame or early or self.drawn < len(self.epochs):  # after an early stop, fill the width
            self._try(self._draw, frame, self.epochs[-1])
        if self.frames:
            self._try(self._save_film)
            self.frames = []

    def _remember(self, epoch: int, logs: Logs) -> None:
        """Append the values of an epoch, with NaN for values that it does not have."""
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

    def _try(self, step: Callable[..., object], *arguments: object) -> None:
        """Run a step unless one has failed before; a failure must not stop the training."""
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
        if len(self.frames) > FRAMES:  # from now on, keep every second one
            self.frames = self.frames[::2]
            self.stride *= 2
        if len(self.frames).bit_count() == 1:  # at 1, 2, 4, 8 …: there is a file after Ctrl-C
            self._save_film()

    def _save_film(self) -> None:
        pace = min(400, max(50, 8000 // len(self.frames)))  # milliseconds: about 8 s in all
        held = [*[pace] * (len(self.frames) - 1), 3000]  # the last one for 3 s
        first, *others = self.frames
        film = io.BytesIO()
        options = {"save_all": True, "append_images": others, "duration": held, "loop": 0}
        first.save(film, format="gif", **options)
        self.file.write_bytes(film.getvalue())

    def _draw(self, frame: bool, last: int) -> None:
        panels = panels_of(self.logs)
        low = 0.7 + 0.22 * max(1 if len(names) == 1 else 2 * len(names) for names in panels)
        self.figure.clear()
        if self.drawn == 0:  # whether there are metrics is known only now
            self.figure.set_size_inches(4.8 * len(panels), 2.9 + low)
        width, height = self.figure.get_size_inches()
        axes = self.figure.subplots(1, len(panels), squeeze=False)[0]
        validated = dict.fromkeys(self.logs, self.validated)
        for ax, names in zip(axes, panels, strict=True):
            draw_curves(ax, names, self.logs, np.array(self.epochs), validated)
            ax.set_xlim(right=last + 0.5)
            # The legend is below and the margins are in inches, so that only the curves move.
            ax.legend(
                loc="upper center",
                bbox_to_anchor=(0.5, -0.45 / (height - low - 0.4)),
                ncols=2 if len(names) == 1 else 1,
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
            # Write the encoded picture in one call, so that no viewer sees half of it.
            self.file.write_bytes(self._saved(kind, dpi=100).getvalue())

    def _saved(self, kind: str, dpi: int) -> io.BytesIO:
        picture = io.BytesIO()
        self.figure.savefig(picture, format=kind, dpi=dpi)
        return picture

    def _show(self) -> None:
        """Show the figure below the cell, or in its window."""
        if self.notebook:
            from IPython.display import Image, display

            width = int(100 * self.figure.get_size_inches()[0])
            image = Image(  # type: ignore[no-untyped-call]
                self._saved("png", dpi=200).getvalue(), format="png", width=width
            )
            if self.handle is None:
                self.handle = display(  # type: ignore[no-untyped-call]
                    image, display_id=True
                )
            else:
                self.handle.update(image)
        elif self.window and pyplot().fignum_exists(self.figure.number):
            self.figure.canvas.draw_idle()
            self.figure.canvas.flush_events()


def in_a_notebook() -> bool:
    """Return whether displayed objects appear below a notebook cell."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


def has_a_window(figure: Any) -> bool:
    """Return whether a figure of pyplot can be shown in a window, by the test that pyplot uses."""
    from matplotlib.backend_bases import FigureManagerBase

    # Backends with windows override these; bound methods never compare equal, hence getattr_static.
    manager = type(figure.canvas.manager)
    return any(
        inspect.getattr_static(manager, name) != inspect.getattr_static(FigureManagerBase, name)
        for name in ("start_main_loop", "pyplot_show")
    )
