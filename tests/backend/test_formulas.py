"""Formulas for arrays: the same bits from NumPy, from Numba, and on a GPU, and where they do not
compile. NumPy's own evaluation of the same function, on copies, is the reference.
"""

import ctypes
import importlib.util
import inspect
import itertools
import os
import pathlib
import subprocess
import sys
import threading
import tracemalloc

import numpy as np
import pytest
from arrays import assert_array_equal, look, put

from tinynet import activations, backend, losses, optimizers
from tinynet.backend import arrays as backend_arrays, compiler, elementwise, formulas
from tinynet.compat import slots as optimizer_state
from tinynet.optimizers import SGD, Adam

SIZE = 1000


@pytest.fixture
def numba(monkeypatch):
    """Numba, with every formula forgotten, so that it can be computed in another way."""
    forget()
    monkeypatch.setattr(compiler, "problem", None)
    monkeypatch.setattr(backend_arrays, "_memory", threading.local())
    yield pytest.importorskip("numba", reason="Numba is not installed")
    forget()


def forget():
    for formula in vars(optimizers).values():
        if isinstance(formula, backend_arrays.Elementwise):
            formula.schedules.clear()
            formula.shortcuts.clear()
            formula.seconds = 0.0
    optimizer_state.flushed.schedules.clear()
    optimizer_state.flushed.shortcuts.clear()


def numbers(seed, dtype="float32", count=1):
    """Return arrays of numbers of all sizes, some of them 0, subnormal, infinite or NaN."""
    rng = np.random.default_rng(seed)
    arrays = []
    for _ in range(count):
        array = rng.normal(size=SIZE) * 10 ** rng.uniform(-6, 6, SIZE)
        array[rng.integers(SIZE, size=20)] = [0, 1e-40, -1e-42, np.inf, np.nan] * 4
        arrays.append(array.astype(dtype))
    return arrays


def loops():
    """Return what was compiled, for each way in which a formula was used."""
    used = [f for f in vars(optimizers).values() if isinstance(f, backend_arrays.Elementwise)]
    return [schedule.loops for formula in used for schedule in formula.schedules.values()]


def random_formula(seed):
    """Return a function of three arrays and two numbers, with one to three results."""

    def formula(a, b, c, p, q):
        rng = np.random.default_rng(seed)
        values = [a, b, c, p * q, 1 - p]
        operations = [
            lambda x, y: x + y,
            lambda x, y: x - y,
            lambda x, y: x * y,
            lambda x, y: x / (y * y + 1),
            lambda x, y: backend.maximum(x, y),
            lambda x, y: backend.minimum(x, 2 * y),
            lambda x, y: -x + backend.absolute(y),
            lambda x, y: x * (y > p),
            lambda x, y: y - x**2,
            lambda x, y: backend.sqrt(backend.absolute(x)) + (y < 0.5),
        ]
        for _ in range(8):
            x, y = (values[n] for n in rng.choice(len(values), 2))
            values.append(operations[rng.integers(len(operations))](x + b, y + a))
        picked = rng.choice(len(values) - 5, rng.integers(1, 4)) + 5
        return tuple(values[n] for n in picked)

    return formula


ORDERS = list(itertools.permutations(range(3), 2))
CASES = [(seed, ORDERS[seed % 6], seed % 6 == 0) for seed in range(24)]  # compiling takes a second


@pytest.mark.parametrize(("seed", "order", "compiled"), CASES)
def test_any_formula_equals_numpys_own_evaluation(numba, monkeypatch, seed, order, compiled):
    """Results replace arguments in any order, or are new arrays; a few arrays are enough."""
    function, scalars = random_formula(seed), (0.3, 0.7)
    arrays = numbers(seed, count=3)
    with np.errstate(all="ignore"):
        expected = function(*(array.copy() for array in arrays), *scalars)
        own = np.empty_like(arrays[0])
        targets = [arrays[order[0]], own, arrays[order[1]]][: len(expected)]
        formula = elementwise(function)
        monkeypatch.setattr(backend_arrays, "BLOCK", 300)
        if compiled:
            monkeypatch.setattr(backend_arrays, "WORTH_COMPILING", -1)
            copies = [array.copy() for array in arrays]
            same = {id(array): copy for array, copy in zip(arrays, copies, strict=True)}
            outs = tuple(same.get(id(target), own) for target in targets)
            formula(*copies, *scalars, out=outs)
            (schedule,) = formula.schedules.values()
            assert list(schedule.loops) == ["f"]
        returned = formula(*arrays, *scalars, out=tuple(targets))
    for target, result, wanted in zip(targets, returned, expected, strict=True):
        assert result is target
        assert_array_equal(result, wanted, strict=True)


RULES = {
    "Adam": (Adam, {}),
    "amsgrad": (Adam, {"amsgrad": True, "beta_2": 0.9, "epsilon": 1e-3}),
    "AdamW": (Adam, {"weight_decay": 0.1, "beta_1": 0.5}),
    "SGD": (SGD, {"weight_decay": 0.01}),
    "momentum": (SGD, {"momentum": 0.9}),
    "nesterov": (SGD, {"momentum": 0.8, "nesterov": True}),
}


def trained(rule, dtype, steps=70):
    """Return the weights and the slots after some steps, with gradients that become 0."""
    kind, arguments = RULES[rule]
    optimizer, rng = kind(**arguments), np.random.default_rng(3)
    weights, sizes = put(rng.normal(size=SIZE).astype(dtype)), 10 ** rng.uniform(-25, 2, SIZE)
    optimizer.build([weights])
    for step in range(steps):
        gradient = rng.normal(size=SIZE) * sizes * (rng.random(SIZE) < 1 / (1 + step))
        optimizer.apply_gradients([(put(gradient.astype(dtype)), weights)])
    return [look(weights).copy(), *optimizer.variables[2:]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rule", RULES)
def test_numpy_and_numba_give_the_same_bits(numba, monkeypatch, rule, dtype):
    with monkeypatch.context() as patch:
        patch.setattr(backend_arrays, "WORTH_COMPILING", 1e9)
        plain = trained(rule, dtype)
    forget()
    monkeypatch.setattr(backend_arrays, "WORTH_COMPILING", -1)
    compiled = trained(rule, dtype)
    assert loops()
    assert all(list(loop) == [np.dtype(dtype).char] for loop in loops())
    for one, other in zip(plain, compiled, strict=True):
        assert one.tobytes() == other.tobytes()


@pytest.mark.computes
def test_a_formula_is_one_launch_on_a_gpu_and_its_bits_are_the_same():
    weights, gradient, m, v = numbers(5, count=4)
    v = np.abs(v)
    given = 0.001, 0.9, 0.999, 1e-7
    with np.errstate(all="ignore"):
        expected = optimizers.adam.function(*given, weights, gradient, m, v, v)
        there = [put(array.copy()) for array in (weights, gradient, m, v, v.copy())]
        counts = getattr(backend.xp, "counts", None)
        before = counts.launched if counts else 0
        optimizers.adam(*given, *there, out=(there[0], *there[2:]))
        assert (counts.launched if counts else 1) - before == 1
    for array, wanted in zip((there[0], *there[2:]), expected, strict=True):
        assert_array_equal(array, wanted, strict=True)


@pytest.mark.computes
def test_results_are_new_arrays_without_out_and_one_array_may_be_several_arguments():
    x, y = (put(array) for array in numbers(1, count=2))
    step = elementwise(lambda w, g, rate: w - rate * g)
    twice = elementwise(lambda a, b, c: (b, a + c - b * c))
    with np.errstate(all="ignore"):
        assert_array_equal(step(x, y, 0.5), look(x) - 0.5 * look(y))
        expected = look(y).copy(), look(x) + look(x) - look(y) * look(x)
        one, other = twice(x, y, x, out=(x, y))
    assert_array_equal(one, expected[0])
    assert_array_equal(other, expected[1])
    assert step(1.0, 2.0, 0.5) == 0.0


@pytest.mark.parametrize("block", [10**6, 300])
@pytest.mark.parametrize("worth", [-1, 1e9])
def test_arrays_of_any_shape_and_order_are_taken(numba, monkeypatch, block, worth):
    monkeypatch.setattr(backend_arrays, "BLOCK", block)
    monkeypatch.setattr(backend_arrays, "WORTH_COMPILING", worth)
    step = elementwise(lambda w, g: (w - 2 * g) * (w + g))
    for make in (
        lambda a: a[0],
        lambda a: a.reshape(10, 10, 10),
        lambda a: a.reshape(10, 100).T,
        lambda a: a[::-1],
        lambda a: a[:0],
        lambda a: a[5:6].reshape(()),
        lambda a: a.astype("float16"),
    ):
        w, g = (np.asarray(make(np.arange(1000.0) * k / 1000)) for k in (1, 0.5))
        for _ in range(2):
            expected = (w - 2 * g) * (w + g)
            assert_array_equal(step(w, g, out=w), expected)


def test_numpy_allocates_nothing_in_the_steady_state():
    arrays = [np.ones(300_000, "float32") for _ in range(4)]

    def call():
        optimizers.adam(0.1, 0.9, 0.999, 1e-7, *arrays, out=(arrays[0], *arrays[2:]))

    call()
    tracemalloc.start()
    try:
        call()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000


# Mistakes

BRANCHES = {
    "if": lambda x: x if x > 0 else -x,
    "max": lambda x: max(x, 0),
    "sin": lambda x: np.sin(x),
    "cube": lambda x: x**3,
    "out": lambda x: np.sqrt(x, out=x),
    "sum": lambda x: np.add.reduce(x),
    "a number": lambda x: 1.0,
}


@pytest.mark.parametrize("function", BRANCHES.values(), ids=BRANCHES)
def test_a_formula_that_cannot_be_recorded_is_refused(function):
    array = np.ones(3)
    with pytest.raises(TypeError, match="Expected a formula"):
        elementwise(function)(array, out=array)
    assert_array_equal(array, 1)


def test_arrays_of_different_shapes_or_types_are_refused():
    step, w = elementwise(lambda w, g: w - g), np.ones(3, "float32")
    for other in (np.ones(2, "float32"), np.ones(3), np.ones(3, int), np.ones((3, 1), "float32")):
        for arguments in ((w, other), (other, w)):
            with pytest.raises(ValueError, match="arrays of one shape and one float type"):
                step(*arguments, out=w)
    with pytest.raises(ValueError, match="Expected 1 arrays as out, received 2"):
        step(w, w, out=(w, w.copy()))
    with pytest.raises(TypeError):
        step(w, out=w)
    assert_array_equal(w, 1)


@pytest.mark.computes
@pytest.mark.parametrize("worth", [-1, 1e9])
def test_a_call_that_only_resembles_an_earlier_one_is_computed_anew(numba, monkeypatch, worth):
    """Calls are recognized by the first array that they write to."""
    monkeypatch.setattr(backend_arrays, "WORTH_COMPILING", worth)
    step = elementwise(lambda w, g, rate: (w + rate) * g)
    rng = np.random.default_rng(0)
    w, g, out = (put(rng.normal(size=(30, 20)).astype("float32")) for _ in range(3))
    column = put(rng.normal(size=(30, 1)).astype("float32"))
    for first in (g, column):
        for _ in range(2):
            step(w, first, 0.5, out=out)
        calls = [(out, 0.5), (g, 0.5), (g, np.float64(0.1)), (column, 0.5), (w, 0.25), (g, 2)]
        for other, rate in calls:
            expected = (look(w) + np.float32(rate)) * look(other)
            assert_array_equal(look(step(w, other, rate, out=out)), expected)
            turned = look(w)[::-1]
            assert_array_equal(
                step(put(turned), other, rate, out=None), (turned + np.float32(rate)) * look(other)
            )
        for wrong in (
            g[0],
            g[:2],
            put(look(g).astype("float64")),
            put(np.ones((30, 3), "float32")),
        ):
            with pytest.raises(ValueError, match="Expected arrays of one shape"):
                step(w, wrong, 0.5, out=out)


@pytest.mark.parametrize("worth", [-1, 1e9])
def test_long_vectors_of_other_lengths_are_refused_after_a_call(numba, monkeypatch, worth):
    monkeypatch.setattr(backend_arrays, "WORTH_COMPILING", worth)
    step, w = elementwise(lambda w, g: w - g), np.zeros(30_000, "float32")
    for _ in range(3):
        step(w, w, out=w)
        step(w, np.ones(30_000, "float32"), out=w)
    assert_array_equal(w, -1)
    with pytest.raises(ValueError, match="Expected arrays of one shape"):
        step(w, np.ones(20_000, "float32"), out=w)
    step(w, np.ones(60_000, "float32")[::2], out=w)
    assert_array_equal(w, -2)


def test_calls_with_ever_other_shapes_are_not_remembered_for_good():
    step = elementwise(lambda w, g: w - g)
    for size in range(1, 500):
        w = np.ones(size, "float32")
        for _ in range(2):
            step(w, w, out=w)
    (schedule,) = step.schedules.values()
    assert len(step.shortcuts) <= 51
    assert len(schedule.shortcuts) <= 101


# Whether and when it compiles

FIT = """
import sys, numpy as np, tinynet
from tinynet.backend import arrays, compiler, formulas
{before}
model = tinynet.Sequential([tinynet.Input((2,)), tinynet.layers.Dense(1)])
model.compile("adam", "mse")
model.fit(np.ones((64, 2)), np.ones(64), verbose=0)
print("numba" in sys.modules, compiler.problem and compiler.problem.reason)
print(model.get_weights()[0].sum() != 0, len(optimizers_loops()))
"""
LOOPS = """
from tinynet import optimizers
def optimizers_loops():
    return [loop for s in optimizers.adam.schedules.values() for loop in s.loops]
"""


def printed(before="", **variables):
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", LOOPS + FIT.format(before=before)],
        env={**os.environ, **variables}, capture_output=True, text=True,
    )  # fmt: skip
    assert not run.returncode, run.stderr
    return run.stdout.split("\n")


def test_a_short_training_does_not_load_numba():
    assert printed()[0] == "False None"


AT_ONCE = "arrays.WORTH_COMPILING = -1\n"
FAULTS = {  # at the first update
    "missing": ("sys.modules['numba'] = None", "Numba is not installed"),
    "old": (
        "import types; old = types.ModuleType('numba'); sys.modules['numba'] = old\n"
        "old.__version__ = '0.1'; old.float32 = old.float64 = np.float32",
        "Numba 0.1 cannot compile",
    ),
    "cache": (
        "import numba, numba.core.caching as c\n"
        "c.CacheImpl._locator_classes = []\n"
        "c.CompileResultCacheImpl._locator_classes = []",
        "cannot cache function",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_numpy_goes_on_where_numba_cannot_compile(numba, fault):
    before, reason = FAULTS[fault]
    loaded, done, _ = printed(AT_ONCE + before)
    assert reason in loaded
    assert done == "True 0"


def test_numba_can_be_switched_off_and_on(numba):
    assert printed(AT_ONCE, NUMBA_DISABLE_JIT="1")[0] == "False NUMBA_DISABLE_JIT is set"
    loaded, done, _ = printed(AT_ONCE)
    assert (loaded, done) == ("True None", "True 1")


def test_a_formula_is_compiled_after_it_has_taken_long_enough(numba, monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr(backend_arrays, "perf_counter", lambda: 0.1 * next(ticks))
    step, w = elementwise(lambda w, g: w - g), np.ones(20_000, "float32")
    for call in range(10):
        step(w, w, out=w)
        (schedule,) = step.schedules.values()
        assert bool(schedule.loops) == (call >= 7)  # after 0.8 s, of which 0.75 are enough


# Numbers that are too small for a processor to be fast


def test_subnormal_numbers_are_flushed_without_changing_any_weight(monkeypatch):
    """Gradients that become 0 for good: the means decay, and would stay subnormal."""

    def after(flush_steps):
        monkeypatch.setattr(optimizers, "FLUSH_STEPS", flush_steps)
        optimizer, rng = Adam(), np.random.default_rng(2)
        weights = rng.normal(scale=0.1, size=SIZE).astype("float32")
        for step in range(1200):
            gradient = rng.normal(size=SIZE) * (step < np.arange(SIZE) / 2)
            optimizer.apply_gradients([(gradient.astype("float32"), weights)])
        m = np.abs(optimizer.variables[2])
        return weights, np.count_nonzero((m > 0) & (m < np.finfo("float32").tiny))

    (kept, subnormal), (flushed, none) = after(10**9), after(64)
    assert subnormal > 500
    assert none == 0
    assert kept.tobytes() == flushed.tobytes()


# Kernels

ARCHITECTURES = [70, 75, 80, 86, 89, 90, 100, 120]  # from Volta to Blackwell, as sm_…


@pytest.fixture(scope="module")
def nvrtc():
    """NVIDIA's compiler, which needs no GPU; outside CI, the tests are skipped without it."""
    spec = importlib.util.find_spec("nvidia") and importlib.util.find_spec("nvidia.cuda_nvrtc")
    if spec is None:
        assert "CI" not in os.environ, "in CI, the kernels must be compiled"
        pytest.skip("NVRTC is not installed: python -m pip install nvidia-cuda-nvrtc-cu12")
    (folder,) = spec.submodule_search_locations
    (path,) = pathlib.Path(folder, "lib").glob("libnvrtc.so.*[0-9]")
    return ctypes.CDLL(str(path))


def compiled(nvrtc, source, *options):
    """Return what the compiler says about a source in C++, an empty string if it compiles."""
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"f.cu", 0, None, None)
    texts = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    status = nvrtc.nvrtcCompileProgram(program, len(options), texts)
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return log.value.decode() or "it does not compile" if status else ""


def kernel_source(formula, dtype):
    """Return the body of a formula's kernel, as a kernel of its own."""
    parameters = inspect.signature(formula.function).parameters.values()
    kinds = [None if p.annotation in (float, "float") else n for n, p in enumerate(parameters)]
    schedule = formulas.Schedule(formula.function, len(kinds), *kinds)
    arrays = [f"T *{name}_" for name in schedule.places]
    numbers = [f"T {name}" for name in schedule.scalars]
    at = [f"T &{name} = {name}_[i]" for name in schedule.places]
    lines = ";\n".join([*at, *schedule.body("T {} = {}", formulas.CPP)])
    heading = f'typedef {dtype} T;\nextern "C" __global__ void f({", ".join(arrays + numbers)})'
    return f"{heading} {{\nint i = threadIdx.x;\n{lines};\n}}"


def all_formulas():
    modules = activations, losses, optimizers, optimizer_state
    found = [getattr(f, "formula", f) for m in modules for f in vars(m).values()]
    return [f for f in found if isinstance(f, backend_arrays.Elementwise)]


@pytest.mark.cupy
@pytest.mark.parametrize("formula", all_formulas(), ids=lambda formula: formula.__name__)
def test_kernels_compile_for_all_architectures(nvrtc, formula):
    source = kernel_source(formula, "float")
    for number in ARCHITECTURES:
        options = f"--gpu-architecture=sm_{number}", "--fmad=false"
        assert compiled(nvrtc, source, *options) == ""
    assert compiled(nvrtc, kernel_source(formula, "double"), "--gpu-architecture=sm_90") == ""
    assert "error" in compiled(nvrtc, source.replace(" = ", " = wrong("), *options)
