"""The lines that `fit`, `evaluate` and `predict` print while they work, as Keras prints them.

In a terminal or a notebook, one line per epoch is redrawn in place, about ten times a second; other
steps only read the clock. In a pipe or a file nothing can be redrawn, so the line is written once,
at the end of the epoch, without control codes. `verbose=2` does so everywhere. Only the standard
library is imported, because importing `rich` can take as long as a short epoch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Hashable, Mapping
from math import inf
from time import perf_counter
from typing import TextIO

_BAR_CELLS, _REDRAW_SECONDS = 20, 0.1
_BOLD, _GREEN, _WHITE, _RESET = "\x1b[1m", "\x1b[32m", "\x1b[37m", "\x1b[0m"
_Pieces = list[tuple[str, str]]  # (style, text), left to right; a style takes no cell of the screen


class ProgressBar:
    """One epoch's progress: `  32/1875 ━━━━━ 3s 2ms/step - acc: 0.9012 - loss: 0.3214`.

    The first time is the time remaining, `3s`, `2:05` or `1:02:05`, or in the last line the time
    elapsed. The time per step is a mean without the first step, which includes warm-up.

    Arguments:
        steps: steps in the epoch; None if not known before its end (`     32/Unknown`).
        verbose: 0 silent; 1 a bar; 2 one line when done, `1875/1875 - 4s - 2ms/step - acc: 0.901`.
        stream: where to write; None means the current `sys.stdout`. Silent if missing or closed.
    """

    def __init__(self, steps: int | None, verbose: int, stream: TextIO | None = None) -> None:
        self.steps, self.verbose = steps, verbose
        self._stream = sys.stdout if stream is None else stream
        self._kind = _kind(self._stream)
        self._coloured = self._kind != "file" and _understands_colours(self._stream, self._kind)
        self._step = self._cells_shown = 0
        # The first step is due even if nothing can be redrawn, to exclude its time from the mean.
        self._next_redraw = -inf if verbose == 1 else inf
        self._first_step_done: float | None = None
        self._start = perf_counter()

    def due(self) -> bool:
        """Whether to call `update` now, after this step: after the first, then every 0.1 s."""
        return perf_counter() >= self._next_redraw

    def update(self, step: int, logs: Mapping[str, float]) -> None:
        """Redraw the line after `step` steps, with the values of `logs` in their order."""
        if self.verbose != 1:
            return
        now = perf_counter()
        self._step = step
        if step == 1:
            self._first_step_done = now
        if self._kind != "file":
            self._draw(self._line(step, now, logs, last=False), last=False)
        # Counted from the end of the writing, so that a slow terminal does not slow the training.
        self._next_redraw = perf_counter() + (inf if self._kind == "file" else _REDRAW_SECONDS)

    def finish(self, logs: Mapping[str, float], steps: int | None = None) -> None:
        """Write the epoch's last line, with `logs` in their order, and end it with a newline.

        `steps` is the number of steps if it was not known at the start (None: of the last update).
        """
        if self.verbose not in (1, 2):
            return
        now = perf_counter()
        self.steps = self.steps or steps or self._step
        if self.verbose == 1:
            self._draw(self._line(self.steps, now, logs, last=True), last=True)
        else:
            per_step = _time_per_step(self._seconds_per_step(self.steps, now))
            fields = f"{self._counter(self.steps)} - {now - self._start:.0f}s - {per_step}"
            _write(self._stream, f"{fields}{_values(logs)}\n")

    def _counter(self, step: int) -> str:
        total = str(self.steps or "Unknown")
        return f"{step:{len(total)}d}/{total}"

    def _line(self, step: int, now: float, logs: Mapping[str, float], last: bool) -> _Pieces:
        seconds_per_step = self._seconds_per_step(step, now)
        clock = f"{now - self._start:.0f}s"
        pieces: _Pieces = [("", self._counter(step))]
        if self.steps:
            filled = min(_BAR_CELLS * step // self.steps, _BAR_CELLS)
            # Without colours, the remaining part needs another character.
            rest = ("━" if self._coloured else ".") * (_BAR_CELLS - filled)
            done: _Pieces = [(_GREEN, "━" * filled)] if filled else []
            pieces = [(_BOLD, self._counter(step)), ("", " "), *done, (_WHITE, rest)]
            if not last:
                clock = _countdown(seconds_per_step * (self.steps - step))
        tail = f" {_time_per_step(seconds_per_step)}{_values(logs)}"
        return [*pieces, ("", " "), (_BOLD, clock), ("", tail)]

    def _seconds_per_step(self, step: int, now: float) -> float:
        if step > 1 and self._first_step_done is not None:
            return (now - self._first_step_done) / (step - 1)
        return (now - self._start) / step if step else 0.0

    def _draw(self, pieces: _Pieces, last: bool) -> None:
        # \r cannot go back over a wrapped line, and some consoles wrap when the last column fills.
        columns = _columns(self._stream) if self._kind == "terminal" and not last else 0
        room = columns - 1 if columns else sys.maxsize
        line, cells = "", 0
        for style, text in pieces:
            shown = text[: room - cells]
            cells += len(shown)
            line += style + shown + _RESET if style and self._coloured else shown
        if self._kind != "file":  # \r erases nothing: overwrite the rest of a longer line
            line = "\r" + line + " " * (min(self._cells_shown, room) - cells)
        self._cells_shown = cells
        _write(self._stream, line + "\n" * last)


def epoch_header(epoch: int, epochs: int, verbose: int, stream: TextIO | None = None) -> None:
    """Write `Epoch 1/2` above a bar if there are several epochs; `epoch` counts from 1."""
    if verbose and epochs > 1:
        _write(sys.stdout if stream is None else stream, f"Epoch {epoch}/{epochs}\n")


def resolve_verbose(verbose: object) -> int:
    """Return 0, 1 or 2 for "auto" (1), a bool, 0, 1 or 2; otherwise raise a ValueError."""
    levels = {"auto": 1, 0: 0, 1: 1, 2: 2}  # True equals 1, False 0
    if isinstance(verbose, Hashable) and verbose in levels:
        return levels[verbose]
    raise ValueError(
        f'Expected verbose to be "auto", 0, 1 or 2. Received: verbose={verbose!r}. '
        "Write verbose=0 for silence, 1 for a progress bar, 2 for one line per epoch."
    )


# What replaces characters where the output has no Unicode, such as the Windows code page 1252.
_ASCII = str.maketrans({
    "━": "=", "·": "*", "×": "*", "÷": "/", "−": "-", "–": "-", "±": "+-", "√": "sqrt", "′": "'",
    "←": "<-", "→": "->", "²": "^2", "⁻": "^-", "ᶻ": "z", "ᵗ": "^t", "ᵀ": "^T", "₁": "1", "₂": "2",
    "\u0302": "^", "‘": "'", "’": "'", "µ": "u", "ℓ": "l", "∂": "d", "Δ": "d", "Σ": "sum ",
    "α": "alpha", "β": "beta", "δ": "delta", "ε": "eps", "η": "eta", "λ": "lambda", "μ": "mu",
    "σ": "sigma",
})  # fmt: skip


def printable(text: str, stream: object = None) -> str:
    """Return `text` with characters that the stream, or the output, lacks written in ASCII."""
    encoding = getattr(stream or sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(_ASCII).encode(encoding, "replace").decode(encoding)
    return text


def say(text: str) -> None:
    """Write a line to the output, whatever its encoding is."""
    _write(sys.stdout, f"{text}\n")


def _write(stream: TextIO | None, text: str) -> None:
    if stream is not None and not getattr(stream, "closed", False):  # None under pythonw
        stream.write(printable(text, stream))
        stream.flush()


def _countdown(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    if seconds > 3600:
        return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
    return f"{minutes}:{rest:02d}" if seconds > 60 else f"{int(seconds)}s"


def _time_per_step(seconds: float) -> str:
    if seconds >= 1 or seconds == 0:
        return f"{seconds:.0f}s/step"
    return f"{seconds * 1e3:.0f}ms/step" if seconds >= 1e-3 else f"{seconds * 1e6:.0f}us/step"


def _values(logs: Mapping[str, float]) -> str:
    return "".join(f" - {k}: {v:{'.4f' if abs(v) > 1e-3 else '.4e'}}" for k, v in logs.items())


def _kind(stream: TextIO) -> str:
    """Return where the stream's text is shown: "terminal", "notebook" or "file"."""
    maker = type(stream).__module__
    if maker.startswith("ipykernel"):
        return "notebook"
    # isatty raises on a closed stream; it is True in IDLE's shell, which prints \r as a character.
    mute = getattr(stream, "closed", False) or maker.startswith("idlelib")
    return "terminal" if not mute and getattr(stream, "isatty", bool)() else "file"


def _columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns
    except (AttributeError, OSError, ValueError):
        return 0  # unknown, as on some serial lines


def _understands_colours(stream: TextIO, kind: str) -> bool:
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":  # https://no-color.org
        return False
    if kind == "notebook" or sys.platform != "win32":
        return True
    import ctypes
    import msvcrt

    try:  # A handle is a pointer; as a plain int, ctypes would cut it to 32 bits.
        console = ctypes.c_void_p(msvcrt.get_osfhandle(stream.fileno()))
    except (AttributeError, OSError, ValueError):
        return False
    # Enable escape codes (mode bit 4) in a Windows console; one that is too old returns an error.
    kernel32, mode = ctypes.windll.kernel32, ctypes.c_ulong()
    known = kernel32.GetConsoleMode(console, ctypes.byref(mode))
    return bool(known and kernel32.SetConsoleMode(console, mode.value | 4))
