"""What an error in a student's code says: which line, what it looks like, whether a gap is open."""

import dis
import inspect
import itertools
import re
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import CodeType

import numpy as np

OPEN = "This gap is still open: write your answer in place of the dots, `...`."
LIBRARIES = (str(Path(__file__).parents[1]), str(Path(re.__file__).parents[1]), "-packages")


def failure(error: Exception, called: str) -> str:
    """Say what an error in the student's code is, in which line, and what that looks like."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    lines = traceback.extract_tb(error.__traceback__)
    own = [n for n, one in enumerate(lines) if not any(lib in one.filename for lib in LIBRARIES)]
    line = f"\n    {lines[own[-1]].line}" if own and lines[own[-1]].line else ""
    unfilled = [name for n in own for name, v in frames[n].f_locals.items() if v is ...]
    if unfilled:
        return f"Still open: {', '.join(unfilled)}. Write your answer in place of the dots, `...`."
    here = frames[own[-1]] if own else frames[-1]
    if re.search(r"\bellipsis\b", str(error), re.I):
        return OPEN + line
    missing = re.search(r"^name '(\w+)' is not defined", str(error))
    if missing and hasattr(here.f_locals.get("self"), missing[1]):
        return f"{missing[1]} is not defined here, but it is in self: self.{missing[1]}.{line}"
    given = f"\nIt was called with {called}." if called else ""
    hint = f"Your code raised {type(error).__name__}: {error}{line}{given}\n{misfit(str(error))}"
    return hint.rstrip() + arrays_read(here.f_code, here.f_globals) * bool(own)


def misfit(message: str) -> str:
    """Return the likely mistake behind one of NumPy's errors about shapes; empty if none is known.

    >>> misfit("could not broadcast input array from shape (3,2) into shape (2,3)")
    'It looks transposed.'
    """
    if inner := re.search(r"size (\d+) is different from (\d+)", message):
        return f"In A @ B, A needs as many columns as B has rows. Here: {inner[2]} and {inner[1]}."
    if "is out of bounds" in message:
        rows = "p[np.arange(len(p)), labels]"
        return f"An index is too large. If it is a label, give a row number with it: {rows}."
    if "indexing arrays" in message:
        return "There has to be one row number for each label: np.arange(len(p))."
    if re.search("(sequence|argument) is empty|empty sequence", message):
        return "At first there is nothing to compare with: use losses[best]."
    if "too many indices" in message:
        return "The array has fewer axes than there are indices."
    if "could not be broadcast together" in message:
        return "Shapes are compared from the right: sizes match if they are equal, or one is 1."
    if "for ^" in message or "'bitwise_xor'" in message:
        return "In Python, a power is written **."
    if re.search("name 'math'|can be converted to Python scalars", message):
        return "For whole arrays, use NumPy's functions, such as np.exp."
    shapes = re.search(r"from shape \(([\d, ]+)\) into shape \(([\d, ]+)\)", message)
    if shapes is None:
        return ""
    given, expected = ([int(n) for n in re.findall(r"\d+", shape)] for shape in shapes.groups())
    if given == expected[::-1]:
        return "It looks transposed."
    if given[1:] == expected:
        return "Is a sum over the samples missing, axis=0?"
    return "Is it summed over another axis?" if len(given) == len(expected) == 1 else ""


def globals_read(answer: object) -> str:
    """Return a hint if a function uses an array of the notebook in place of its arguments."""
    function = inspect.unwrap(answer) if callable(answer) else None
    return arrays_read(getattr(function, "__code__", None), getattr(function, "__globals__", {}))


def arrays_read(code: CodeType | None, known: Mapping[str, object]) -> str:
    """Return a hint if code reads an array among the global names that are known."""
    names = code.co_names if code else ()
    arrays = [name for name in names if isinstance(known.get(name), np.ndarray)]
    return f" It uses the notebook's {' and '.join(arrays)}, not its arguments." if arrays else ""


def stores_dots(code: CodeType) -> bool:
    """Whether dots are the value of a variable, which may raise no error: `done = ...; if done:`.

    >>> stores_dots(compile("done = ...", "cell", "exec"))
    True
    >>> stores_dots(compile("x[...] = y[...]", "cell", "exec"))
    False
    """
    steps = itertools.pairwise(dis.get_instructions(code))
    return any(
        one.argval is ... and re.match("STORE_(?!SUBSCR)", two.opname) is not None
        for one, two in steps
    )
