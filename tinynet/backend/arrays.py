"""Arrays of either library: where they are, sums, and formulas for each of their elements.

Most of what a step of training computes with, besides the functions of `xp`, is here.
"""

import functools
import math
import sys
import threading
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import TypeGuard, cast

import numpy

from tinynet import config
from tinynet.backend import changing, formulas, products
from tinynet.backend.types import Array, Compiled, Device, Library

NUMPY = cast(Library, numpy)  # once: `of` is called in every operation

# A formula is compiled after it has taken this many seconds: loading Numba takes about as long.
WORTH_COMPILING = 0.75

# The number of elements that NumPy computes at a time: intermediate results stay in the cache.
BLOCK = 131_072

# Up to this number of elements, it takes longer to look at all arguments than to compute.
SMALL = 10_000

library_in_use: Callable[[], Library] = lambda: NUMPY  # noqa: E731, `tinynet.backend` replaces it


def of(values: object) -> Library:
    """Return the library of the array `values`, or `xp` if it is not an array."""
    if isinstance(values, numpy.ndarray):
        return NUMPY
    return cast(Library, sys.modules["cupy"]) if on_device(values) else library_in_use()


def on_device(values: object) -> TypeGuard[Array]:
    """Return whether `values` is an array on a GPU."""
    cupy = sys.modules.get("cupy")
    return isinstance(values, getattr(cupy, "ndarray", ()))


def device_of(array: Array) -> Device:
    """Return the device that `array` is on."""
    if not on_device(array):
        return Device("numpy")
    cupy_device = cast(Compiled, array.device)
    return Device("cupy", cupy_device.id)


def as_array(values: object) -> Array:
    """Return `values` as an array: one of either library as it is, anything else in `xp`."""
    return of(values).asarray(values)


def as_float(values: object) -> Array:
    """Return `values` as a float array: one of floats as it is, anything else in `floatx`."""
    if getattr(getattr(values, "dtype", None), "kind", "") == "f":
        return of(values).asarray(values)
    return of(values).asarray(values, dtype=config.floatx())


def ignore_warnings() -> numpy.errstate:
    """Return a context manager that silences NumPy's floating-point warnings."""
    return numpy.errstate(all="ignore")


def ignore_overflow() -> numpy.errstate:
    """Return a context manager in which overflow gives infinity without a warning."""
    return numpy.errstate(over="ignore")


# Products, and sums as products with ones: BLAS adds up several times as fast as `sum`


def matmul(a: Array, b: Array, out: Array) -> Array:
    """Write the matrix product ``a @ b`` to `out`, and return it."""
    if isinstance(out, numpy.ndarray):
        numpy.matmul(a, b, out=out)
    elif not products.matmul(a, b, out):
        of(out).matmul(a, b, out=out)
    return out


def vdot(a: Array, b: Array) -> Array:
    """Return the sum of the products of all numbers, ``(a * b).sum()``."""
    result = None if isinstance(a, numpy.ndarray) else products.vdot(a, b)
    return of(a).vdot(a, b) if result is None else result


def sum_last(x: Array) -> Array:
    """Return the sums along the last axis, which is kept, with length 1."""
    if x.ndim != 2 or x.dtype.kind != "f":
        sums: Array = x.sum(axis=-1, keepdims=True)
        return sums
    _, column, _ = _ones(x.shape[1], x)
    if type(x) is numpy.ndarray:
        return NUMPY.dot(x, column)
    return matmul(x, column, out=of(x).empty((len(x), 1), x.dtype))


def sum_first(x: Array, out: Array) -> None:
    """Write the sums along the first axis of a matrix to `out`."""
    ones, _, row = _ones(len(x), x)
    if type(x) is numpy.ndarray:
        NUMPY.dot(ones, x, out=out)
    else:
        matmul(row, x, out=out.reshape(1, -1))


made: dict[object, tuple[Array, Array, Array]] = {}  # the ones that were made so far


def _ones(count: int, like: Array) -> tuple[Array, Array, Array]:
    """Return `count` ones as a vector, a column and a row, with the type and device of `like`."""
    device = None if type(like) is numpy.ndarray else (type(like), cast(Compiled, like.device).id)
    key = count, like.dtype.char, device
    known = made.get(key)
    if known is None:
        if len(made) > 50:
            made.clear()
        ones = of(like).zeros(count, like.dtype) + 1
        known = made[key] = ones, ones.reshape(-1, 1), ones.reshape(1, -1)
    return known


# Formulas


class Elementwise:
    """A formula for arrays; see `elementwise`."""

    __name__: str

    def __init__(self, function: formulas.Function) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.schedules: dict[object, formulas.Schedule] = {}
        self.shortcuts: dict[int, formulas.Function | None] = {}  # by the `id` of the first result
        self.seconds = 0.0  # the time that NumPy has taken so far

    def __call__(self, *arguments: formulas.Value, out: formulas.Value = None) -> formulas.Value:
        given = out if type(out) is tuple else (out,)
        shortcut = self.shortcuts.get(id(given[0]))
        if shortcut is not None and shortcut(*arguments, *given):
            return out
        given = () if out is None else given
        cupy = sys.modules.get("cupy")
        kinds = numpy.ndarray if cupy is None else (numpy.ndarray, cupy.ndarray)
        # Which arguments are arrays, which of them are the same, and which are in `out`.
        first: dict[int, int] = {}
        key = tuple(
            [
                first.setdefault(id(value), n) if isinstance(value, kinds) else None
                for n, value in enumerate(arguments + given)
            ]
        )
        distinct = [(arguments + given)[n] for n in first.values()]
        if len({array.dtype for array in distinct}) != 1 and not given:
            return self.function(*arguments)  # of numbers alone, or of several types
        schedule = self.schedules.get((len(arguments), key))
        if schedule is None:
            schedule = formulas.Schedule(self.function, len(arguments), *key)
            self.schedules[len(arguments), key] = schedule
        like, shape, dtype = distinct[0], distinct[0].shape, distinct[0].dtype
        equal = dtype.kind == "f" and all(x.shape == shape and x.dtype == dtype for x in distinct)
        if not equal:
            shape = formulas.common_shape(self.__name__, distinct, given)
        if not given:
            given = tuple([of(like).empty(shape, dtype) for _ in schedule.homes])
        arrays = [(arguments + given)[n] for n in schedule.order]
        numbers = schedule.numbers(*arguments)
        how, names, rows = "", {}, equal and _in_rows(arrays)
        if not isinstance(like, numpy.ndarray):
            kernel = schedule.kernel(formulas.name_of(self.function), cupy)
            schedule.launch(kernel, changing.receive, dtype, *arrays, *numbers)
            how, names = schedule.in_kernel, {"kernel": kernel, "receive": changing.receive}
        elif rows and (loop := schedule.loops.get(dtype.char)):
            loop(*(arrays if like.ndim == 1 else [a.reshape(-1) for a in arrays]), *numbers)
            how, names = (schedule.in_loop, {"loop": loop}) if like.ndim == 1 else ("", {})
        else:
            began = perf_counter()
            self._run(schedule, arrays, numbers, shape, rows)
            self.seconds += perf_counter() - began
            if self.seconds > WORTH_COMPILING and rows:
                schedule.compile(self.function, dtype.char)
        if not how and math.prod(shape) <= SMALL and not schedule.scratch:
            how = schedule.calls
        if how and out is not None:
            if len(self.shortcuts) > 50:
                self.shortcuts.clear()
            # The next call that is just like this one does the same without looking closely.
            self.shortcuts[id(given[0])] = schedule.shortcut(how, arrays, **names)
        return given if schedule.is_tuple else given[0]

    def _run(
        self, schedule: formulas.Schedule, arrays: Sequence[Array], numbers: list[float],
        shape: tuple[int, ...], rows: bool,
    ) -> None:  # fmt: skip
        """Compute with NumPy; large arrays, if they are in rows, a block of elements at a time."""
        size, count, dtype = math.prod(shape), schedule.scratch, arrays[0].dtype
        if size <= BLOCK:
            more = _scratch(count, dtype.char) if count else ()
            schedule.call(*arrays, *numbers, *[a[:size].reshape(shape) for a in more])
        elif not rows:
            schedule.call(*arrays, *numbers, *(numpy.empty(shape, dtype) for _ in range(count)))
        else:
            flat = [array.reshape(-1) for array in arrays]
            for start in range(0, size, BLOCK):
                parts = [array[start : start + BLOCK] for array in flat]
                self._run(schedule, parts, numbers, parts[0].shape, True)


def elementwise(function: formulas.Function) -> Elementwise:
    """Make a formula for numbers one for arrays: a decorator.

    >>> import numpy as np
    >>> @elementwise
    ... def step(w, g, rate):
    ...     return w - rate * g
    >>> w = np.array([1, 2], "float32")
    >>> step(w, np.array([10, 0], "float32"), 0.1, out=w)
    array([0., 2.], dtype=float32)

    The function takes arrays of one float type, and numbers, which are the same for all elements;
    it returns an array, or a tuple of arrays. The arrays have one shape, or a length of 1 where
    others are longer. Calls may have `out`: an array or a tuple of arrays to write the results to,
    which may be arguments.

    A formula consists of + − * /, comparisons (1 or 0), `sqrt`, `exp`, `log`, `absolute`, `maximum`
    and `minimum`, which `tinynet.backend` has, and may call other functions. It is called when it
    is first used: a debugger stops there once. Operations on numbers alone are done in Python's
    floats, once for each call; then all is rounded to the arrays' type.

    Raises: a TypeError for other operations, and a ValueError for different shapes or types.
    """
    return Elementwise(function)


def backward_function(formula: Callable[..., Array]) -> Callable[..., Array]:
    """Return a function of any gradient and outputs that computes with a formula of arrays."""
    if not isinstance(formula, Elementwise):
        return formula

    @functools.wraps(formula.function)
    def backward(gradient: Array, a: Array, out: Array | None = None) -> Array:
        a = as_float(a)
        if type(gradient) is not type(a) or gradient.dtype != a.dtype:
            gradient = of(a).asarray(gradient, a.dtype)
        return formula(gradient, a, out=out)  # type: ignore[no-any-return]

    vars(backward)["formula"] = formula
    return backward


def _in_rows(arrays: Sequence[Array]) -> bool:
    return all(array.flags.c_contiguous for array in arrays)


def _scratch(count: int, dtype: str) -> list[Array]:
    """Return `count` arrays of `BLOCK` numbers, which later calls in this thread use again."""
    arrays: list[Array] = vars(_memory).setdefault(dtype, [])
    while len(arrays) < count:
        arrays.append(numpy.empty(BLOCK, dtype))
    return arrays[:count]


_memory = threading.local()
