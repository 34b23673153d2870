"""Arrays of either library: where they are, sums, and formulas for each of their elements.

Most of what a step of training computes with, besides the functions of `xp`, is here.
"""

import functools
import sys
import threading
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import TypeGuard, cast

import numpy

from tinynet import config
from tinynet.backend import formulas
from tinynet.backend.types import Array, Compiled, Device, DTypeLike, Library

NUMPY = cast(Library, numpy)  # once: `of` is called in every operation

# A formula is compiled after it has taken this many seconds: loading Numba takes about as long.
WORTH_COMPILING = 0.75

# The number of elements that NumPy computes at a time: intermediate results stay in the cache.
BLOCK = 131_072

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


# Sums as products with ones: BLAS adds up several times as fast as `sum`, on any device


def sum_last(x: Array) -> Array:
    """Return the sums along the last axis, which is kept, with length 1."""
    plain = x.ndim != 2 or x.dtype.kind != "f"
    sums: Array = x.sum(axis=-1, keepdims=True) if plain else of(x).dot(x, _ones(x.shape[1], x)[1])
    return sums


def sum_first(x: Array, out: Array) -> None:
    """Write the sums along the first axis of a matrix to `out`."""
    of(x).dot(_ones(len(x), x)[0], x, out=out)


_made: dict[object, tuple[Array, Array]] = {}


def _ones(count: int, like: Array) -> tuple[Array, Array]:
    """Return `count` ones, of the type of `like` and on its device, as a vector and a column."""
    device = None if type(like) is numpy.ndarray else (type(like), device_of(like))
    key = count, like.dtype.char, device
    made = _made.get(key)
    if made is None:
        if len(_made) > 50:
            _made.clear()
        ones = of(like).zeros(count, like.dtype) + 1
        made = _made[key] = ones, ones.reshape(-1, 1)
    return made


# Formulas


class Elementwise:
    """A formula for arrays; see `elementwise`."""

    __name__: str

    def __init__(self, function: formulas.Function) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.schedules: dict[object, formulas.Schedule] = {}
        self.seconds = 0.0  # the time that NumPy has taken so far

    def __call__(self, *arguments: formulas.Value, out: formulas.Value = None) -> formulas.Value:
        cupy = sys.modules.get("cupy")
        kinds = numpy.ndarray if cupy is None else (numpy.ndarray, cupy.ndarray)
        given = out if type(out) is tuple else () if out is None else (out,)
        everything = arguments + given
        # Which arguments are arrays, which of them are the same, and which are in `out`.
        first: dict[int, int] = {}
        key = len(arguments), *[
            first.setdefault(id(value), n) if isinstance(value, kinds) else None
            for n, value in enumerate(everything)
        ]  # fmt: skip
        if not first:
            return self.function(*arguments)
        schedule = self.schedules.get(key)
        if schedule is None:
            schedule = self.schedules[key] = formulas.Schedule(
                self.function, len(arguments), *key[1:]
            )
        if not given:
            like = arguments[schedule.order[0]]
            given = tuple([of(like).empty_like(like) for _ in schedule.homes])
            everything = arguments + given
        arrays = [everything[n] for n in schedule.order]
        rows, dtype = self._check(arrays), arrays[0].dtype
        numbers = schedule.numbers(*arguments)
        if not isinstance(arrays[0], numpy.ndarray):
            schedule.launch(formulas.name_of(self.function), arrays, numbers)
        elif rows and (loop := schedule.loops.get(dtype.char)):
            flat = arrays if arrays[0].ndim == 1 else [array.reshape(-1) for array in arrays]
            loop(*flat, *numbers)
        else:
            began = perf_counter()
            self._run(schedule, arrays, numbers, rows)
            self.seconds += perf_counter() - began
            if rows and self.seconds > WORTH_COMPILING:
                schedule.compile(self.function, dtype.char)
        return given if schedule.is_tuple else given[0]

    def _run(
        self, schedule: formulas.Schedule, arrays: Sequence[Array], numbers: list[float], rows: bool
    ) -> None:
        """Compute with NumPy, a block of elements after the other if all arrays are in `rows`."""
        first, count = arrays[0], schedule.scratch
        if not rows:
            schedule.call(*arrays, *numbers, *(numpy.empty_like(first) for _ in range(count)))
        elif first.size <= BLOCK:
            size, shape = first.size, first.shape
            scratch = [a[:size].reshape(shape) for a in _scratch(count, first.dtype.char)]
            schedule.call(*arrays, *numbers, *scratch)
        else:
            for start in range(0, first.size, BLOCK):
                parts = [array.reshape(-1)[start : start + BLOCK] for array in arrays]
                self._run(schedule, parts, numbers, rows)

    def _check(self, arrays: Sequence[Array]) -> bool:
        """Return whether all are in C order; raise a ValueError for different shapes or types."""
        shape, dtype, rows = arrays[0].shape, arrays[0].dtype, True
        for array in arrays:
            if array.shape != shape or array.dtype != dtype or dtype.kind != "f":
                raise ValueError(
                    f"Expected arrays of one shape and one float type in {self.__name__}, received "
                    f"{shape} {dtype} and {array.shape} {array.dtype}"
                )
            rows = rows and array.flags.c_contiguous
        return rows


def elementwise(function: formulas.Function) -> Elementwise:
    """Make a formula for numbers one for arrays: a decorator.

    >>> import numpy as np
    >>> @elementwise
    ... def step(w, g, rate):
    ...     return w - rate * g
    >>> w = np.array([1, 2], "float32")
    >>> step(w, np.array([10, 0], "float32"), 0.1, out=w)
    array([0., 2.], dtype=float32)

    The function takes arrays of one shape and float type, and numbers, which are the same for all
    elements; it returns an array, or a tuple of arrays. Calls may have `out`: an array or a tuple
    of arrays to write the results to, which may be arguments.

    A formula consists of + − * /, comparisons (1 or 0), `sqrt`, `absolute`, `maximum` and
    `minimum`, which `tinynet.backend` has, and may call other functions. It is called when it is
    first used: a debugger stops there once. Operations on numbers alone are done in Python's
    floats, once for each call; then all is rounded to the arrays' type.

    Raises: a TypeError for other operations, and a ValueError for different shapes or types.
    """
    return Elementwise(function)


def _scratch(count: int, dtype: DTypeLike) -> list[Array]:
    """Return `count` arrays of `BLOCK` numbers, which later calls in this thread use again."""
    arrays: list[Array] = vars(_memory).setdefault(str(dtype), [])
    while len(arrays) < count:
        arrays.append(numpy.empty(BLOCK, dtype))
    return arrays[:count]


_memory = threading.local()
