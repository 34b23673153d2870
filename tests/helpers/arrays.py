"""Arrays for tests that run on every backend: `put` them there, `look` at them on the host.

Most tests need neither: they wrap a part of tinynet with `through`, and work with NumPy arrays
only. Arguments are then put on the backend under test, and results are copied to the host.
"""

import inspect

import numpy as np

import tinynet
from tinynet import backend
from tinynet.losses import Objective

PARTS = (
    tinynet.Layer, tinynet.Loss, tinynet.Metric, tinynet.Optimizer, tinynet.Initializer, Objective,
)  # fmt: skip


def put(values, dtype=None):
    """Return `values` as an array of the backend under test."""
    return backend.to_active(values, dtype)


def look(values):
    """Return device arrays, also in a list or tuple, as NumPy arrays; other values unchanged."""
    if isinstance(values, list | tuple):
        return type(values)(map(look, values))
    return backend.to_numpy(values) if backend.on_device(values) else values


class through:  # noqa: N801, read as a word
    """A module, class, function or object of tinynet that takes and returns NumPy arrays."""

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
    part = isinstance(value, PARTS) or (inspect.isclass(value) and issubclass(value, PARTS))
    wrapped = part or inspect.ismodule(value) or inspect.isroutine(value)
    return through(value) if wrapped else look(value)


def address(array):
    """Return the address of the array's first element, on the host or on the device."""
    if not backend.on_device(array):
        return array.__array_interface__["data"][0]
    return address(array._there) if hasattr(array, "_there") else array.data.ptr


def shares_memory(a, b):
    """Return whether two contiguous arrays overlap in memory."""
    if backend.device_of(a) != backend.device_of(b):
        return False
    if not backend.on_device(a):
        return np.shares_memory(a, b)
    return address(a) < address(b) + b.nbytes and address(b) < address(a) + a.nbytes


# On a GPU, sums are accumulated in another order, and exp and log differ in the last digit.
GPU_FACTOR, GPU_FLOOR = 20, 1e-6


def on_gpu():
    """Return whether the backend under test is the real CuPy."""
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
