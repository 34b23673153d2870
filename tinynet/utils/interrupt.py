"""Postpone Ctrl-C until the end of a step, when the model is in a consistent state."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")


class Interrupt:
    """A ``with`` block that only records Ctrl-C; `check` raises the KeyboardInterrupt.

    A second Ctrl-C raises it immediately. Ctrl-C is caught only in the main thread of a program,
    and only if the program has not installed its own handler.
    """

    def __init__(self) -> None:
        self.pending = False  # whether Ctrl-C has been pressed
        self.step_completed = False  # whether it was pressed only once: no step was cut short
        self._deferred = True
        self._previous: Any = None

    def __enter__(self) -> "Interrupt":
        now = signal.getsignal(signal.SIGINT)
        # If a callback called `fit` within another `fit`, Ctrl-C interrupts both.
        nested = isinstance(getattr(now, "__self__", None), Interrupt)
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and (nested or now is signal.default_int_handler):
            self._previous = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
        if kind is None:
            self.check()  # pressed after the last check

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        twice, self.pending = self.pending, True
        self.step_completed = not twice
        if twice or not self._deferred:
            raise KeyboardInterrupt
        if self._previous is not signal.default_int_handler:
            self._previous(number, frame)

    def check(self) -> None:
        """Raise a KeyboardInterrupt if Ctrl-C has been pressed."""
        if self.pending:
            raise KeyboardInterrupt

    def awaiting(self, items: Iterator[T]) -> Iterator[T]:
        """Yield `items`; while the next one is awaited, Ctrl-C raises immediately."""
        while True:
            with self.interruptible():
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let Ctrl-C raise immediately in a ``with`` block that modifies nothing."""
        self.check()
        self._deferred = False
        try:
            yield
        finally:
            self._deferred = True
