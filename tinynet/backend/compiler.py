"""Functions from text, and Numba, which compiles them for the CPU, or why it cannot."""

import os
from collections.abc import Callable
from typing import NamedTuple

from tinynet.backend.diagnosis import first_line
from tinynet.backend.types import Compiled

Function = Callable[..., Compiled]


def define(name: str, text: str, path: str = "<formula>", **names: object) -> Function:
    """Return the function that a text in Python defines, at the same line of the file `path`."""
    names["__name__"] = __name__
    exec(compile(text, path, "exec"), names)
    function: Compiled = names[name]
    return function  # type: ignore[no-any-return]


class Problem(NamedTuple):
    """Why formulas are not compiled, and what to do about it."""

    reason: str
    fix: str


problem: Problem | None = None  # once it is known


def report(reason: str, fix: str) -> None:
    """Do without Numba from now on."""
    global problem
    problem = Problem(reason, fix)


def load_numba() -> Compiled:
    """Return Numba, or None if it cannot be used; `problem` then says why."""
    if problem is not None:
        return None
    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        report("NUMBA_DISABLE_JIT is set", "Unset it")
        return None
    try:
        import numba
    except Exception as error:  # an ImportError also for a NumPy that it does not support
        if isinstance(error, ModuleNotFoundError) and error.name == "numba":
            report("Numba is not installed", "python -m pip install numba")
        else:
            report(
                f"Numba cannot be imported ({first_line(error)})",
                "python -m pip install --upgrade numba",
            )
        return None
    return numba
