"""Grade what somebody has written into a gap of a lesson, and name the likely mistake.

A `Gap` holds the right answer, inputs to try it on, and typical mistakes, each written as the
formula that it leads to. An answer that equals such a formula on all inputs is that mistake, and
its hint is shown. Other wrong answers get a hint from their shape, their ratio to what is right, or
the first place where they differ.
"""

import contextlib
import copy
import functools
import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tinynet.backend.types import HostArray
from tinynet.course.errors import OPEN, failure, globals_read, stores_dots
from tinynet.inspection.gradient_report import likely_mistake
from tinynet.utils.progress import printable

Case = tuple[object, ...]  # the arguments of one call


class GapError(AssertionError):
    """A gap that is open or wrong; the message is the hint.

    A notebook shows the hint alone, without a traceback, and stops. Programs that grade notebooks
    find an AssertionError.
    """

    def _render_traceback_(self) -> list[str]:
        return str(self).splitlines()


def not_yet(hint: str) -> GapError:
    """Return the error of a gap that is not right yet, with its hint."""
    return GapError(printable(fill(f"✗ Not yet. {hint}")))


def right(praise: str) -> None:
    """Print that a gap is right, and why that matters."""
    print(printable(fill(f"✓ Right. {praise}")))


def fill(text: str) -> str:
    """Wrap each line of a text; a line that starts with a space is code, and stays as it is."""
    return "\n".join(
        line if line[:1] == " " else textwrap.fill(line, 92, break_on_hyphens=False)
        for line in text.splitlines()
    )


@dataclass(frozen=True)
class Gap:
    """The check of one gap: a function or a value.

    Attributes:
        right: the right answer: a function, or the value itself.
        praise: what is said of a right answer.
        mistakes: hints, each with the wrong function or value that it is about.
        cases: the arguments to try a function with, one tuple for each call.
        part: which of several results it is about, before each hint.

    Raises, when called with an answer that is open or wrong: `GapError`, with a hint.

    >>> half = Gap(lambda x: x / 2, "Half of it.", {"It looks doubled.": lambda x: 2 * x}, [(3.0,)])
    >>> half(lambda x: 0.5 * x)
    ✓ Right. Half of it.
    >>> half(lambda x: x + x)
    Traceback (most recent call last):
    tinynet.course.grading.GapError: ✗ Not yet. It looks doubled.
    """

    right: object
    praise: str
    mistakes: Mapping[str, object]
    cases: Sequence[Case] = ((),)
    part: str = ""

    def __call__(self, answer: object) -> None:
        """Print the praise if `answer` is right, or raise `GapError` with a hint."""
        self.grade(answer)
        right(self.praise)

    @np.errstate(all="ignore")
    def grade(self, answer: object) -> None:
        """Raise `GapError` with a hint unless `answer` is right."""
        if callable(self.right):
            expect_function(answer)
        elif callable(answer):
            raise not_yet(f"Expected the value, received {answer!r:.60}.")
        values = [self.run(answer, case) for case in self.cases]
        results = [*map(numbers, values)]
        goals = [np.asarray(value_of(self.right, case)) for case in self.cases]
        if all(map(agree, results, goals)):
            if any(isinstance(value, list | tuple) for value in values):
                raise not_yet(
                    "The numbers are right, but later cells need an array: use np.array(…)."
                )
            return
        code = getattr(inspect.unwrap(answer) if callable(answer) else None, "__code__", None)
        if code and stores_dots(code):
            raise not_yet(OPEN)
        for hint, wrong in self.mistakes.items():
            with contextlib.suppress(ValueError, IndexError):  # it fails for these shapes
                if all(map(agree, results, [np.asarray(value_of(wrong, c)) for c in self.cases])):
                    raise not_yet(self.part + hint)
        which = [agree(*pair) for pair in zip(results, goals, strict=True)].index(False)
        case = self.cases[which]
        samples = [len(first) for first in map(np.asarray, case[:1]) if first.ndim] or [1]
        hint = difference(results[which], goals[which], describe(answer, case), *samples)
        raise not_yet(self.part + hint + globals_read(answer))

    def run(self, answer: object, case: Case) -> object:
        """Return what the answer gives for the arguments, or raise `GapError`."""
        given = copy.deepcopy(case)
        try:
            value = value_of(answer, given)
        except GapError:
            raise
        except Exception as error:
            raise not_yet(failure(error, describe(answer, case))) from None
        names = parameters(answer)
        for n, (before, after) in enumerate(zip(case, given, strict=True)):
            if isinstance(before, np.ndarray) and before.tobytes() != np.asarray(after).tobytes():
                name = names[n] if n < len(names) else f"number {n + 1}"
                raise not_yet(
                    f"It changes its argument {name} in place, and with it the caller's array. "
                    "Compute a new array instead."
                )
        return value


def parameters(answer: object) -> list[str]:
    """Return the names of a function's parameters; none if it is a value, or does not tell them."""
    try:
        found = inspect.signature(answer).parameters.values()  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return []
    return [one.name for one in found if one.kind is not one.VAR_POSITIONAL]


def describe(answer: object, case: Case) -> str:
    """Return the arguments in words: small ones with their values, others with their shapes."""
    words = []
    for name, value in zip(parameters(answer), case, strict=False):
        array = np.asarray(value)
        text = f"{name} = {array.tolist()}"
        words.append(text if len(text) <= 30 else f"{name} of shape {array.shape}")
    return textwrap.shorten(", ".join(words), 120, placeholder=" …")


def numbers(value: object) -> HostArray:
    """Return a result as an array; raise `GapError` if it is open, nothing, or not of numbers."""
    if value is None:
        raise not_yet("There is no result. In a function: is the `return` missing?")
    try:
        result = np.asarray(value)
    except ValueError:  # rows of different lengths
        result = np.array(None)
    if result.dtype.kind not in "buif":
        what = f"Expected numbers, received {textwrap.shorten(repr(value), 200, placeholder=' …')}."
        raise not_yet(OPEN if any(one is ... for one in result.flat) else what)
    return result


def index_arrays(given: object, expected: str) -> list[HostArray]:
    """Return a list of arrays of sample numbers, each (n,), or raise `GapError`."""
    if not isinstance(given, list | tuple):
        if given is None or given is ...:
            numbers(given)  # names dots, and a missing result
        raise not_yet(f"Expected {expected}; received {type(given).__name__}.")
    arrays = [*map(numbers, given)]
    if any(one.ndim != 1 or one.dtype.kind not in "iu" for one in arrays):
        shapes = ", ".join(f"{one.dtype} {one.shape}" for one in arrays)
        raise not_yet(f"Expected {expected}, each of whole numbers, (n,); received {shapes}.")
    return arrays


def value_of(answer: object, case: Case) -> object:
    """Return the result of a function for the arguments `case`, or the answer, if it is a value."""
    return answer(*case) if callable(answer) else answer


def agree(one: HostArray, two: HostArray) -> bool:
    """Whether two results have one shape, and the same numbers up to the rounding of float32."""
    return one.shape == two.shape and np.allclose(one, two, 1e-4, 1e-6, equal_nan=True)


def difference(result: HostArray, goal: HostArray, called: str = "", samples: int = 1) -> str:
    """Say in what a result differs from what is expected: shape, NaN, ratio, or one number."""
    given = f" for {called}" if called else ""
    if result.shape != goal.shape:
        turned = " It looks transposed." if agree(result.T, goal) else ""
        shape = f"Expected an array of shape {goal.shape}" if goal.ndim else "Expected one number"
        return f"{shape}{given}; received an array of shape {result.shape}.{turned}"
    if not np.isfinite(result).all():
        return f"Expected finite numbers{given}; received nan or inf."
    if not called and not goal.ndim:  # a value: the hint is not to tell it
        return f"{result:.6g} is too {'large' if result > goal else 'small'}."
    received, expected = (array.astype("float64").ravel() + 0.0 for array in (result, goal))
    worst = int(np.argmax(np.abs(received - expected)))
    place = f" at {[int(n) for n in np.unravel_index(worst, goal.shape)]}" if goal.ndim else ""
    what = f"Expected {expected[worst]:.6g}{place}{given}; received {received[worst]:.6g}."
    ratio = likely_mistake(result, np.arange(goal.size), received, expected, samples, 1e-6)
    # The ratio of two numbers says nothing. The number of samples is n in the lessons.
    return f"{what} {ratio.replace('1/B', '1/n')}".rstrip() if goal.size > 1 else what


def central_differences(loss: Callable[[], float], array: HostArray, h: float = 1e-5) -> HostArray:
    """Return (L(w + h) − L(w − h)) / 2h for every element w of an array that the loss L reads.

    >>> w = np.array([3.0, 4.0])
    >>> print(central_differences(lambda: w[0] * w[1], w).round(6))
    [4. 3.]
    """
    slopes = np.zeros(array.shape)
    for place in np.ndindex(array.shape):
        value = array[place]
        array[place] = value + h
        above = loss()
        array[place] = value - h
        slopes[place] = (above - loss()) / (2 * h)
        array[place] = value
    return slopes


def grade_parts(
    answer: Callable[..., object],
    cases: Sequence[Case],
    parts: Sequence[tuple[str, object, Mapping[str, object]]],
) -> None:
    """Grade a function that returns several results: each has a name, what is right, and mistakes.

    The hint is about the first result that is wrong.
    """
    expect_function(answer)
    names = [name for name, _, _ in parts]
    for number, (name, goal, mistakes) in enumerate(parts):
        done = f"{', '.join(names[:number])} {'are' if number > 1 else 'is'} right. " * (number > 0)
        one = part_of(answer, number, names, f"{done}{name}")
        expected = goal if callable(goal) else functools.partial(lambda value, *_: value, goal)
        Gap(expected, "", mistakes, cases, f"{done}{name}: ").grade(one)


def expect_function(answer: object) -> None:
    """Raise `GapError` unless the answer is a function."""
    if not callable(answer):
        received = f"Expected the function itself, without brackets, received {answer!r:.60}."
        raise not_yet(OPEN if answer is ... else received)


def part_of(
    answer: Callable[..., object], number: int, names: list[str], what: str
) -> Callable[..., object]:
    """Return a function that calls `answer` and returns one of its results, `what` in hints."""

    @functools.wraps(answer)
    def one(*case: object) -> object:
        results = answer(*case)
        if not isinstance(results, tuple | list | np.ndarray) or len(results) != len(names):
            expected = f"Expected {len(names)} results: {', '.join(names)}."
            raise not_yet(OPEN if results is ... else expected)
        if results[number] is ...:
            raise not_yet(f"{what} is still open.")
        return results[number]

    return one
