"""How a formula for one number becomes one for arrays; `arrays.elementwise` is the decorator.

The formula is called with symbols in place of numbers, and its operations are recorded. From them
are made: a function of NumPy calls, which reuse the memory of arrays that are no longer needed; a
loop for Numba to compile; and a kernel for a GPU. All of these give the same bits, because IEEE 754
allows exactly one result of each operation; formulas with `exp` or `log`, of which libraries differ
in the last bit, are not compiled for the CPU.
"""

import itertools
import math
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy
from numpy.lib.mixins import NDArrayOperatorsMixin

from tinynet.backend import compiler
from tinynet.backend.diagnosis import first_line
from tinynet.backend.types import Array

Value = Any  # an array or a number
Function = Callable[..., Value]

# Each operation as an expression in Python and in C++.
_LARGER = "{0} if {0} > {1} or {0} != {0} else {1}", "{0} > {1} || {0} != {0} ? {0} : {1}"
_OPERATIONS = {
    **{name: (f"{{}} {sign} {{}}",) * 2 for name, sign in {
        "add": "+", "subtract": "-", "multiply": "*", "divide": "/", "greater": ">", "less": "<",
    }.items()},
    **{name: (f"{function}({{}})",) * 2 for name, function in {
        "negative": "-", "absolute": "abs", "sqrt": "sqrt", "exp": "exp", "log": "log",
        "log1p": "log1p",
    }.items()},
    "maximum": _LARGER,
    "minimum": tuple(text.replace(">", "<") for text in _LARGER),
}  # fmt: skip
_INEXACT = {"exp", "log", "log1p"}
PYTHON, CPP = 0, 1


class Operation(NamedTuple):
    """An operation of a formula: its name, and the names of its operands and of its result."""

    name: str
    operands: tuple[str, ...]
    result: str


class Symbol(NDArrayOperatorsMixin):
    """A number of a formula that is being recorded: an argument, or an operation's result."""

    def __init__(self, recorded: "Recording", name: str) -> None:
        self._recorded, self.name = recorded, name

    def __array_ufunc__(
        self, ufunc: numpy.ufunc, method: str, *operands: Value, **options: object
    ) -> "Symbol":
        name = ufunc.__name__
        if name == "power" and operands[1:] == (2,):
            name, operands = "multiply", (self, self)
        if name not in _OPERATIONS or method != "__call__" or options:
            raise TypeError(
                f"Expected a formula of {', '.join(_OPERATIONS)} and the power of 2, received "
                f"{name}. Write: array operations"
            )
        return self._recorded.add(name, operands)

    def __bool__(self) -> bool:
        raise TypeError(
            "Expected a formula that is the same for all numbers, received one that decides by "
            "them, with `if`, `and`, `max` or the like. Write: maximum(a, b), or x * (x > 0)"
        )


class Recording:
    """The operations of a function, in order.

    Arguments:
        names: the name of each argument: one for arguments that are the same array. Arrays have
            names that begin with "a"; all names that are made here begin with another letter.
    """

    def __init__(self, function: Function, names: Sequence[str]) -> None:
        self.names = names
        self.inputs = list(dict.fromkeys(name for name in names if name[0] == "a"))
        self._arrays = set(self.inputs)
        self._of_scalars: list[str] = []  # statements, executed once for each call
        self.operations: list[Operation] = []  # done for each element
        returned = function(*(Symbol(self, name) for name in names))
        self.is_tuple = isinstance(returned, tuple)
        self.results = list(map(self._name, returned if self.is_tuple else (returned,)))
        if not self._arrays.issuperset(self.results):
            raise TypeError("Expected a formula whose results depend on an array")
        used = {name for operation in self.operations for name in operation.operands}
        # The names of the numbers that are used, besides constants.
        self.scalars = sorted(name for name in used - self._arrays if name[0] != "(")
        self.exact = not _INEXACT & {operation.name for operation in self.operations}
        parameters = [f"n{n}" for n in range(len(names))]
        floats = ", ".join(f"float({name})" for name in self.scalars)
        body = "; ".join([*self._of_scalars, f"return [{floats}]"])
        text = f"def numbers({', '.join(parameters)}): {body}"
        self.numbers: Function = compiler.define("numbers", text, **_FUNCTIONS)

    def add(self, name: str, operands: Sequence[Value]) -> Symbol:
        names = tuple(map(self._name, operands))
        if self._arrays.isdisjoint(names):
            result = f"s{len(self._of_scalars)}"
            self._of_scalars.append(f"{result} = {_OPERATIONS[name][PYTHON].format(*names)}")
        else:
            result = f"t{len(self.operations)}"
            self.operations.append(Operation(name, names, result))
            self._arrays.add(result)
        return Symbol(self, result)

    def _name(self, value: Value) -> str:
        if isinstance(value, Symbol):
            return value.name
        if math.isfinite(value):
            return f"({float(value)!r})"
        self._of_scalars.append(f"s{len(self._of_scalars)} = float('{value}')")
        return f"s{len(self._of_scalars) - 1}"


class Schedule(Recording):
    """A recording, and where its results are stored.

    Arguments:
        count: the number of arguments of the function; in `key`, those of `out` follow.
        key: for each, the number of the first that is the same array, or None for a number.
    """

    def __init__(self, function: Function, count: int, *key: int | None) -> None:
        names = [f"n{n}" if first is None else f"a{first}" for n, first in enumerate(key)]
        super().__init__(function, names[:count])
        self.homes = names[count:] or [f"a{count + n}" for n in range(len(self.results))]
        if len(self.homes) != len(self.results):
            raise ValueError(
                f"Expected {len(self.results)} arrays as out, received {len(self.homes)}"
            )
        self.places = list(dict.fromkeys([*self.inputs, *self.homes]))
        self.order = [int(name[1:]) for name in self.places]
        self.writes = list(dict.fromkeys(self.homes))
        self.reads = [name for name in self.places if name not in self.writes]
        self.in_loop = f"loop({', '.join([*self.places, *self.scalars])})"
        # On a GPU, `receive` says what takes the place of the numbers, or None for no computation.
        self.in_kernel = f"kernel({', '.join([*self.reads, *self.writes])})"
        if self.scalars:
            self.in_kernel = (
                f"given = receive([{', '.join(self.scalars)}], dtype); given is None or "
                f"kernel({', '.join([*self.reads, '*given', *self.writes])})"
            )
        parameters = ", ".join([*self.places, *self.scalars])
        text = f"def launch(kernel, receive, dtype, {parameters}): {self.in_kernel}"
        self.launch: Function = compiler.define("launch", text)
        self.key = key
        self.shortcuts: dict[object, Function | None] = {}  # by what they are for
        self.loops: dict[str, Function] = {}  # compiled, by the arrays' type
        self.kernels: dict[object, Function] = {}  # by the library, CuPy
        self.scratch = 0  # how many further arrays are needed
        self.call = self._assign()

    def _assign(self) -> Function:
        """Return a function of NumPy calls, each of which writes to an array that is free by then.

        Its arguments are `places`, `scalars`, and `scratch` further arrays.
        """
        calls: list[tuple[str, list[str], str]] = []
        end = len(self.operations)
        last = {name: n for n, each in enumerate(self.operations) for name in each.operands}
        last |= dict.fromkeys(self.results, end)
        place = {name: name for name in self.inputs}  # the array that holds each number
        free = [home for home in self.homes if home not in last]
        read_only = set(self.inputs) - set(self.homes)
        for number, (name, operands, result) in enumerate(self.operations):
            arrays = [place.get(operand, operand) for operand in operands]
            done = [each for each in set(operands) & place.keys() if last[each] == number]
            free += {place.pop(operand) for operand in done} - read_only
            home = self.homes[self.results.index(result)] if result in self.results else ""
            choice = [home, *arrays, *sorted(free, reverse=True)]  # those in `out` last
            place[result] = next((each for each in choice if each in free), "") or self._new()
            free = [each for each in free if each != place[result]]
            calls.append((name, arrays, place[result]))
        # What is left are results that are arguments, or whose array was still in use.
        pairs = zip(self.results, self.homes, strict=True)
        moves = [(place[name], home) for name, home in pairs if place[name] != home]
        saved = {array: self._new() for array, _ in moves if array in self.homes}
        moves = [*saved.items(), *((saved.get(array, array), home) for array, home in moves)]
        calls += [("positive", [array], home) for array, home in moves]
        names = ", ".join([*self.places, *self.scalars, *(f"x{n}" for n in range(self.scratch))])
        lines = [f"np_{name}({', '.join(given)}, out={out})" for name, given, out in calls]
        self.calls = "; ".join(lines) or "pass"
        return compiler.define("call", f"def call({names}): {self.calls}", **_FUNCTIONS)

    def shortcut(self, how: str, arrays: Sequence[Array], **names: Value) -> Function | None:
        """Return a function that computes a call just like this one, and returns whether it did.

        Return None if there was no such call before.

        Arguments:
            how: the statement that computes, of the `places`, the `scalars`, and `names`.
            arrays: those of the call, in the order of `places`.
        """
        first = arrays[0]
        kind = how, type(first), first.dtype, *(array.shape for array in arrays), *names.values()
        if kind not in self.shortcuts:  # it may be the only such call
            if len(self.shortcuts) > 100:
                self.shortcuts.clear()
            self.shortcuts[kind] = None
        elif self.shortcuts[kind] is None:
            tests = [f"type(n{n}) is float" for n, first in enumerate(self.key) if first is None]
            tests += [
                f"a{n} is a{first}" for n, first in enumerate(self.key) if first not in (n, None)
            ]
            tests += [f"{a} is not {b}" for a, b in itertools.combinations(self.places, 2)]
            for name, array in zip(self.places, arrays, strict=True):
                tests += [f"type({name}) is array", f"{name}.dtype == dtype"]
                tests += [f"{name}.shape == {array.shape}"]
                tests += [f"{name}.flags.c_contiguous"] * how.startswith("loop")
            parameters = [f"{'an'[first is None]}{n}=None" for n, first in enumerate(self.key)]
            text = (
                f"def shortcut({', '.join(parameters)}, *more):\n"
                f"    if {' and '.join(tests)} and not more:\n"
                f"        {'; '.join([*self._of_scalars, how])}\n        return True"
            )
            names |= {"array": type(first), "dtype": first.dtype, **_FUNCTIONS}
            self.shortcuts[kind] = compiler.define("shortcut", text, **names)
        return self.shortcuts[kind]

    def _new(self) -> str:
        self.scratch += 1
        return f"x{self.scratch - 1}"

    def body(self, cast: str, language: int, index: str = "") -> list[str]:
        """Return the statements that compute one element, in `PYTHON` or `CPP`."""

        def text(name: str) -> str:
            return name + index if name[0] == "a" else "T" * (name[0] == "(") + name

        lines = []
        for name, operands, result in self.operations:
            expression = _OPERATIONS[name][language].format(*map(text, operands))
            lines.append(cast.format(result, expression))
        lines += [cast.format(f"r{n}", text(name)) for n, name in enumerate(self.results)]
        return lines + [f"{text(home)} = r{n}" for n, home in enumerate(self.homes)]

    def compile(self, function: Function, dtype: str) -> None:
        """Compile the loop over the elements with Numba, or load it from Numba's cache."""
        numba = compiler.load_numba() if dtype in "fd" and self.exact else None
        if numba is None:
            return
        body = "; ".join(self.body("{} = T({})", PYTHON, "[i]"))
        rounded = "; ".join(f"{name} = T({name})" for name in self.scalars) or "pass"
        text = (
            f"({', '.join([*self.places, *self.scalars])}):\n    {rounded}\n"
            f"    for i in range({self.places[0]}.size): {body}\n"
        )
        # Numba caches functions by file, name and line. The name changes with what is compiled.
        code = function.__code__
        options = {"cache": True, "nogil": True, "error_model": "numpy"}
        name = f"{name_of(function)}_{zlib.crc32(f'{text}{options}'.encode()):08x}"
        text = "\n" * (code.co_firstlineno - 1) + f"def {name}{text}"
        try:
            number = {"f": numba.float32, "d": numba.float64}[dtype]
            loop = compiler.define(name, text, code.co_filename, T=number, sqrt=numpy.sqrt)
            arrays, scalars = [number[::1]] * len(self.places), [numba.float64] * len(self.scalars)
            self.loops[dtype] = numba.njit(numba.void(*arrays, *scalars), **options)(loop)
        except Exception as error:
            cached = "cannot cache" in str(error)
            compiler.report(
                f"Numba {numba.__version__} cannot compile ({first_line(error)})",
                "Set NUMBA_CACHE_DIR to a folder that can be written"
                if cached
                else "python -m pip install --upgrade numba",
            )

    def kernel(self, name: str, cupy: Value) -> Function:
        """Return the kernel of `reads`, `scalars` and `writes` that computes on a GPU."""
        known = self.kernels.get(cupy)
        if known is None:
            known = self.kernels[cupy] = cupy.ElementwiseKernel(
                ", ".join(f"T {each}" for each in [*self.reads, *self.scalars]),
                ", ".join(f"T {each}" for each in self.writes),
                ";\n".join(self.body("T {} = {}", CPP)),
                name,
                options=("--fmad=false",),  # a * b + c is rounded twice, as elsewhere
            )
        return known


_FUNCTIONS = {f"np_{name}": getattr(numpy, name) for name in (*_OPERATIONS, "positive")}
_FUNCTIONS |= {name: getattr(math, name) for name in ("sqrt", "exp", "log", "log1p")}  # of numbers


# Shapes


def common_shape(name: str, arrays: Sequence[Array], out: Sequence[Array]) -> tuple[int, ...]:
    """Return the shape of a formula's results; raise a ValueError for arrays that do not fit."""
    dtype = arrays[0].dtype
    shape = tuple(map(max, zip(*(array.shape for array in arrays), strict=False)))
    fits = all(
        array.dtype == dtype
        and dtype.kind == "f"
        and array.ndim == len(shape)
        and all(n in (1, most) for n, most in zip(array.shape, shape, strict=True))
        for array in arrays
    )
    if not fits or any(array.shape != shape for array in out):
        received = " and ".join(f"{array.shape} {array.dtype}" for array in arrays)
        raise ValueError(
            f"Expected arrays of one shape and one float type in {name}, or with a length of 1 "
            f"where others are longer, received {received}"
        )
    return shape


def name_of(function: Function) -> str:
    name: str = getattr(function, "__name__", "")
    return name if name.isidentifier() else "formula"


def why_not_compiled() -> compiler.Problem | None:
    """Compile a formula, and return None, or why that is not possible."""
    Schedule(_double, 1, 0, 0).compile(_double, "f")
    return compiler.problem


def _double(x: Value) -> Value:
    return x + x
