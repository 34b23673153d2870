"""Arrays for tests that run on every backend: `put` them where it computes, `look` at them here.

Most tests need neither. They take a part of tinynet `through` here, and go on as if all arrays were
NumPy's: what goes in is put on the backend under test, and what comes out is looked at.
"""

import inspect
import types

import numpy as np

import tinynet
from tinynet import backend
from tinynet.losses import Objective

PARTS = (
    tinynet.Layer, tinynet.Loss, tinynet.Metric, tinynet.Optimizer, tinynet.Initializer, Objective,
)  # fmt: skip


def put(values, dtype=None):
    """`values` as an array of the backend under test."""
    return backend.to_active(values, dtype)


def look(values):
    """An array, wherever it is, as NumPy's; a list or tuple of them likewise; else as it is."""
    if isinstance(values, list | tuple):
        return type(values)(map(look, values))
    return backend.to_numpy(values) if backend.on_device(values) else values


class through:  # noqa: N801, read as a word
    """A module, class, function or object of tinynet, as seen from the host."""

    def __init__(self, thing):
        vars(self)["bare"] = thing

    def __call__(self, *arguments, **named):
        named = {name: _inside(value) for name, value in named.items()}
        return _outside(self.bare(*map(_inside, arguments), **named))

    def __getattr__(self, name):
        return _outside(getattr(self.bare, name))

    def __setattr__(self, name, value):
        setattr(self.bare, name, _inside(value))

    def __eq__(self, other):
        return self.bare == _inside(other)

    def __hash__(self):
        return hash(self.bare)

    def __repr__(self):
        return repr(self.bare)


def _inside(value):
    if isinstance(value, through):
        return value.bare
    if isinstance(value, list) and any(isinstance(part, through) for part in value):
        return list(map(_inside, value))
    return put(value) if isinstance(value, np.ndarray) else value


def _outside(value):
    if isinstance(value, types.ModuleType) or inspect.isroutine(value) or isinstance(value, PARTS):
        return through(value)
    if inspect.isclass(value) and issubclass(value, PARTS):
        return through(value)
    return look(value)


def address(array):
    """Where the array's numbers begin, in the memory that they are in."""
    if not backend.on_device(array):
        return array.__array_interface__["data"][0]
    return address(array._there) if hasattr(array, "_there") else array.data.ptr


def shares_memory(a, b):
    """Whether writing to one array, which lies in one piece, could change the other."""
    if backend.place_of(a) != backend.place_of(b):
        return False
    if not backend.on_device(a):
        return np.shares_memory(a, b)
    return address(a) < address(b) + b.nbytes and address(b) < address(a) + a.nbytes


# On a GPU, sums are added up in another order, and exp and log end in another digit.
GPU_FACTOR, GPU_FLOOR = 20, 1e-6


def on_gpu():
    """Whether the backend under test is the real CuPy."""
    return backend.backend() == "cupy" and not hasattr(backend.xp, "counts")


def assert_allclose(actual, desired, rtol=1e-7, atol=0, **named):
    if on_gpu():
        rtol, atol = max(GPU_FLOOR, GPU_FACTOR * rtol), max(GPU_FLOOR, GPU_FACTOR * atol)
    np.testing.assert_allclose(look(actual), look(desired), rtol, atol, **named)


def assert_array_equal(actual, desired, **named):
    actual, desired = look(actual), look(desired)
    if on_gpu() and "f" in {np.asarray(actual).dtype.kind, np.asarray(desired).dtype.kind}:
        np.testing.assert_allclose(actual, desired, GPU_FLOOR, GPU_FLOOR)
    else:
        np.testing.assert_array_equal(actual, desired, **named)


def array_equal(a, b):
    return np.array_equal(look(a), look(b))
