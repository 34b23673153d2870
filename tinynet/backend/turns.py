"""Turns: only one thread at a time computes; and settings of one thread.

The layers of a model share buffers, in which `forward` leaves what `backward` needs, and models may
share layers. So threads take turns at computing, and at reading or writing a model's weights: a
call of `predict` from its beginning to its end, `fit` a step at a time.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

_lock, _queue = threading.RLock(), threading.Lock()
_waiting: list[None] = []  # one for each thread that waits
_turn_of: int | None = None  # the thread whose turn it is, if it is a whole one


class Changes:
    """A number that becomes another one when a model may have been changed: by a callback, or by
    assigning an optimizer, a loss, an activation or `trainable`, or making weights."""

    count = 0


@contextmanager
def turn() -> Iterator[None]:
    """Compute in a ``with`` block, or in a decorated function, while no other thread does."""
    global _turn_of
    if _lock._is_owned():  # type: ignore[attr-defined] # a call within another one
        yield
        return
    _waiting.append(None)
    with _queue, _lock:
        _waiting.pop()
        _turn_of = threading.get_ident()
        try:
            yield
        finally:
            _turn_of = None
    if _waiting:  # let another thread wake up, before this one may take the lock again
        time.sleep(0.0002)


@contextmanager
def pause() -> Iterator[None]:
    """Let other threads have their turns in a ``with`` block, in which this one waits for data.

    Otherwise, it would wait forever for data that another thread computes.
    """
    global _turn_of
    this = threading.get_ident()
    if _turn_of != this:
        yield
        return
    _turn_of, depth = None, _lock._release_save()  # type: ignore[attr-defined]
    _queue.release()
    try:
        yield
    finally:
        _waiting.append(None)
        _queue.acquire()
        _lock._acquire_restore(depth)  # type: ignore[attr-defined]
        _waiting.pop()
        _turn_of = this


def step() -> AbstractContextManager[bool]:
    """Return a ``with`` block for one of many short turns, after those that wait for theirs.

    A lock that is released for a moment is taken again before a waiting thread wakes up.
    """
    if _queue.locked() and not _lock._is_owned():  # type: ignore[attr-defined]
        with _queue:  # which the first of those that wait holds
            pass
    return _lock


@contextmanager
def temporarily(setting: ContextVar[Any], value: Any) -> Iterator[Any]:
    """Change a setting in a ``with`` block; other threads do not see it."""
    token = setting.set(value)
    try:
        yield value
    finally:
        setting.reset(token)


# A process that is forked while another thread computes would get half of a step, and locks that
# no thread of it releases. So a fork waits for its turn, and for the other locks.
_forking: AbstractContextManager[None] = nullcontext()
_locks: list[threading.Lock] = []


def lock() -> threading.Lock:
    """Return a new lock, to be held for a moment, which no other thread holds during a fork."""
    _locks.append(threading.Lock())
    return _locks[-1]


def _before_fork() -> None:
    global _forking
    block = turn()
    block.__enter__()
    _forking = block
    for each in _locks:
        each.acquire()


def _after_fork(in_child: bool = False) -> None:
    global _lock, _queue, _turn_of
    for each in _locks:
        each.release()
    _forking.__exit__(None, None, None)
    if in_child:
        _waiting.clear()
        _turn_of = None
        _lock, _queue = threading.RLock(), threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork,
        after_in_child=lambda: _after_fork(in_child=True),
    )
