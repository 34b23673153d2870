"""Ctrl-C, which comes at any moment, waits for a moment at which everything is whole."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interrupt:
    """A ``with`` block in which Ctrl-C is only noted; `check` raises the KeyboardInterrupt.

    A second Ctrl-C raises it at once, wherever that is. Only a program's main thread hears Ctrl-C,
    and a handler of the program's own stays what it is.
    """

    def __init__(self) -> None:
        self.pending = False  # has it been pressed?
        self.whole = False  # and was a whole step waited for?
        self._waits = True
        self._before: Any = None

    def __enter__(self) -> "Interrupt":
        now = signal.getsignal(signal.SIGINT)
        # In a training that a callback has started, both trainings are told.
        nested = isinstance(getattr(now, "__self__", None), Interrupt)
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and (nested or now is signal.default_int_handler):
            self._before = signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
        if kind is None:
            self.check()  # pressed so late that nobody has looked since

    def _hear(self, number: int, frame: FrameType | None) -> None:
        twice, self.pending = self.pending, True
        self.whole = not twice
        if twice or not self._waits:
            raise KeyboardInterrupt
        if self._before is not signal.default_int_handler:
            self._before(number, frame)

    def check(self) -> None:
        """Raise a KeyboardInterrupt if Ctrl-C has been pressed."""
        if self.pending:
            raise KeyboardInterrupt

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """A ``with`` block that changes nothing, and may end anywhere."""
        self.check()
        self._waits = False
        try:
            yield
        finally:
            self._waits = True
