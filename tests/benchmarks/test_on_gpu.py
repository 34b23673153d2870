"""`benchmarks/on_gpu.py` runs to its end with a GPU (here the stand-in for CuPy) and without one;
parts that hang are ended, and their results so far are kept.
"""

import contextlib
import ctypes
import json
import os
import pathlib
import subprocess
import sys
import threading
import time
import types

import numpy as np
import pytest
import standin

TESTS = pathlib.Path(__file__).resolve().parents[1]
BENCHMARKS = TESTS.parent / "benchmarks"


@pytest.fixture(autouse=True)
def _import_from_benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def start(out, *arguments, cupy=None, **variables):
    """Run `on_gpu.py` with this source as `cupy.py`; return the process and the results."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", **variables}
    if cupy is not None:
        shim = out.parent / "shim"
        shim.mkdir(exist_ok=True)
        (shim / "cupy.py").write_text(cupy, encoding="utf-8")
        environment["PYTHONPATH"] = os.pathsep.join(map(str, (shim, TESTS / "helpers")))
    command = [sys.executable, str(BENCHMARKS / "on_gpu.py"), "--out", str(out), *arguments]
    run = subprocess.run(
        command, env=environment, capture_output=True, text=True, encoding="utf-8", check=False
    )
    files = sorted(out.glob("on_gpu*.json"))
    return run, json.loads(files[0].read_text("utf-8")) if files else {}


STANDIN = "import sys, standin\nsys.modules['cupy'] = standin.make()\n"


def test_all_parts_run_on_the_stand_in(tmp_path):
    from on_gpu import LIMITS

    run, results = start(tmp_path / "out", "--quick", cupy=STANDIN)
    assert run.returncode == 0, run.stdout + run.stderr
    assert list(results) == list(LIMITS)
    figures = {part: about["figures"] for part, about in results.items()}
    assert figures["machine"]["works"] is True
    assert figures["tests"]["exit_code"] == 0
    assert " passed" in figures["tests"]["outcome"]
    ours = figures["parity"]["parity"]["tinynet-cupy"]
    assert ours["within"]
    assert ours["place"] == "GPU"
    assert len(ours["gradients"]) == 6
    assert 0 < max(ours["gradients"]) < 2e-6
    assert 0 < ours["weights after 50"] < 5e-7
    assert 0 < ours["loss, relative"] < 1e-6
    race = figures["epochs"]["epochs"]["32"]
    assert len(race["seconds"]["tinynet"]) == len(race["seconds"]["tinynet-cupy"]) == 1
    assert race["loss"]["tinynet"] == pytest.approx(race["loss"]["tinynet-cupy"], rel=1e-5)
    assert "captures no streams" in figures["capture"]["nothing_to_do"]
    memory = figures["memory"]
    assert memory["peak"] <= memory["limit"] < memory["data"]
    assert memory["same"]
    assert memory["unchanged"]
    assert "Out of memory on GPU 0 in fit" in memory["words"]
    assert memory["constant"]
    assert len(memory["held"]) == 20
    assert set(figures["first_fit"]["took"]) == {"cold", "warm", "warm again"}

    page = (tmp_path / "out" / "summary.md").read_text("utf-8")
    assert page in run.stdout
    assert page.startswith("# tinynet on a GPU\n\nThis was a trial run (`--quick`)")
    for said in (
        "| parity     |    done | ",
        "GPU 0: Stand-in 0, 8 GiB, compute capability 8.6",
        "| tinynet on CuPy (GPU) ",
        "| 32: tinynet on CuPy (GPU) ",
        "- Loss after 50 steps of [100, 144]: CPU 1.7",
        "(cpu_vs_gpu.png)",
        "the weights are the same as without it",
    ):
        assert said in page
    assert "incomplete" not in page
    files = [path for path in (tmp_path / "out").iterdir() if path.is_file()]
    assert len(files) <= 8
    assert sum(path.stat().st_size for path in files) < 1_000_000


def test_without_a_gpu_the_parts_left_out_are_reported(tmp_path):
    parts = ["machine", "tests", "capture", "memory", "first_fit"]
    run, results = start(tmp_path / "out", "--part", *parts, PYTHONIOENCODING="ascii")
    assert run.returncode == 0, run.stdout + run.stderr
    assert list(results) == parts
    for part in parts[1:]:
        assert results[part]["figures"]["nothing_to_do"].startswith("no GPU: ")
        assert f"\n- {part}: no GPU: " in run.stdout
    assert "There is no working GPU here." in run.stdout


def test_a_part_that_hangs_is_ended_and_its_results_are_kept(tmp_path):
    out, seen = tmp_path / "out", {}

    def look():
        """Read the results of the part `machine` while it is still running."""
        while "machine" not in seen.get("figures", {}):
            time.sleep(0.05)
            if (out / "on_gpu.json").exists():
                seen.update(json.loads((out / "on_gpu.json").read_text("utf-8"))["machine"])

    meanwhile = threading.Thread(target=look, daemon=True)
    meanwhile.start()
    hangs = "import time\ntime.sleep(600)\n"
    run, results = start(out, "--part", "machine", "--patience", "0.15", cupy=hangs)
    meanwhile.join(5)
    assert seen["ended"] == "under way"
    assert run.returncode == 1
    assert results["machine"]["ended"] == "stopped at its limit of 4.5 s"
    assert "cores" in results["machine"]["figures"]["machine"]
    assert "doctor" not in results["machine"]["figures"]
    page = (out / "summary.md").read_text("utf-8")
    assert "| machine | not finished | 4.5" in page
    assert "- machine: stopped at its limit of 4.5 s" in page


def test_a_part_that_fails_is_reported_and_the_next_part_runs(tmp_path):
    fails = STANDIN + "sys.modules['cupy'].get_default_memory_pool = None\n"
    run, results = start(tmp_path / "out", "--part", "memory", "capture", cupy=fails)
    assert run.returncode == 1
    assert results["memory"]["ended"].startswith("failed (exit code 1): TypeError: ")
    assert "nothing_to_do" in results["capture"]["figures"]


# Matrix products in TF32, as on a GPU's tensor cores, with three of seven digits.
TF32 = """
import sys, numpy, standin
cupy = standin.make()
product = cupy.matmul
def rounded(matrix):
    bits = numpy.ascontiguousarray(matrix._there).view("uint32") & 0xFFFFE000
    return cupy.asarray(bits.view("float32"))
cupy.matmul = lambda a, b, out=None: product(rounded(a), rounded(b), out)
sys.modules["cupy"] = cupy
"""


def test_products_in_a_lower_precision_are_detected(tmp_path):
    run, results = start(tmp_path / "out", "--part", "parity", "--quick", cupy=TF32)
    assert run.returncode == 1
    figures = results["parity"]["figures"]
    found, bounds = figures["parity"], figures["bounds"]
    assert found["tinynet"]["within"]
    assert not found["tinynet-cupy"]["within"]
    for name in (
        "loss, relative",
        "gradients",
        "weights after 50",
    ):  # each of them would detect it alone
        assert np.max(found["tinynet-cupy"][name]) > 5 * bounds[name]
        assert np.max(found["tinynet"][name]) < bounds[name] / 4
    assert "\n- parity: tinynet on CuPy is too far from float64\n" in run.stdout


def test_a_wrong_loss_and_a_failing_program_are_detected(tmp_path):
    wrong = STANDIN + "sys.modules['cupy'].machine.wrong = {'vdot'}\n"
    run, results = start(tmp_path / "loss", "--part", "parity", "--quick", cupy=wrong)
    assert run.returncode == 1
    ours = results["parity"]["figures"]["parity"]["tinynet-cupy"]
    assert ours["loss, relative"] > 0.1
    assert max(ours["gradients"]) < 1e-6
    fails = STANDIN + "sys.modules['cupy'].machine.fails = {'exp': RuntimeError('no kernel')}\n"
    run, results = start(tmp_path / "out", "--part", "parity", "epochs", "--quick", cupy=fails)
    assert run.returncode == 1
    for part in ("parity", "epochs"):
        figures = results[part]["figures"]
        assert figures["failed"] == {"tinynet-cupy": "RuntimeError: no kernel"}
        assert "tinynet-cupy" not in figures["left_out"]
        assert f"\n- {part}: tinynet on CuPy failed: RuntimeError: no kernel\n" in run.stdout


def test_the_limits_of_the_parts_add_up_to_less_than_nine_minutes():
    import on_gpu

    for half in on_gpu.HALVES:
        # Each part may also take twice its grace period: to read its output, and to end.
        assert sum(half.values()) + 2 * on_gpu.GRACE * len(half) < 9 * 60
    assert list(on_gpu.LIMITS) == list(on_gpu.SECTIONS)


PARENT = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", CHILD])
print("begun", flush=True)
time.sleep(SLEEP)
"""
CHILD = """
import time
while True:
    open(FILE, "a").write("x")
    time.sleep(0.02)
"""


@pytest.mark.parametrize(("sleep", "ended"), [(600, "stopped at its limit of 2 s"), (0.5, "done")])
def test_processes_started_by_a_part_end_with_it(tmp_path, sleep, ended):
    import on_gpu

    file, lines = tmp_path / "beats", []
    child = CHILD.replace("FILE", repr(str(file)))
    program = PARENT.replace("CHILD", repr(child)).replace("SLEEP", str(sleep))
    with (tmp_path / "log").open("w") as log:
        how = on_gpu.run([sys.executable, "-c", program], os.environ, 2, log, lines.append)
    assert how == ended
    assert lines == ["begun\n"]
    size = file.stat().st_size
    time.sleep(0.3)
    assert file.stat().st_size == size > 0


def test_an_exit_code_is_reported(tmp_path):
    import on_gpu

    with (tmp_path / "log").open("w") as log:
        how = on_gpu.run([sys.executable, "-c", "exit(3)"], os.environ, 20, log, print)
    assert how == "failed (exit code 3)"


def test_the_environment_of_the_parts_requests_full_float32(monkeypatch):
    import on_gpu

    for name in ("CUPY_TF32", "JAX_PLATFORMS", "TINYNET_BACKEND"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("JAX_DEFAULT_MATMUL_PRECISION", "bfloat16")
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    found = on_gpu.environment()
    assert not {"CUPY_TF32", "JAX_PLATFORMS", "TINYNET_BACKEND"} & set(found)
    assert found["JAX_DEFAULT_MATMUL_PRECISION"] == "highest"
    assert found["PYTHONPATH"] == os.pathsep.join([str(BENCHMARKS.parent), "elsewhere"])


FINE = ("done", "")


@pytest.mark.parametrize(
    ("part", "figures", "expected"),
    [
        ("tests", {"exit_code": 0}, FINE),
        ("tests", {"exit_code": 1}, ("wrong", "tests fail")),
        ("parity", {"parity": {"jax": {"within": True}}}, FINE),
        (
            "parity",
            {"parity": {"tinynet": {"within": False}}, "failed": {"jax": "It ended."}},
            (
                "wrong",
                "JAX, whole epoch compiled failed: It ended.; tinynet is too far from float64",
            ),
        ),
        ("epochs", {"epochs": {"32": {"same": ""}}}, FINE),
        ("epochs", {"epochs": {"32": {"same": "It differs."}}}, ("wrong", "It differs.")),
        ("capture", {"difference": {"replayed": 0.0}}, FINE),
        (
            "capture",
            {"difference": {"replayed": 1e-9}},
            ("wrong", "the replay computes different numbers"),
        ),
        (
            "memory",
            {"within": True, "same": False, "words": "", "unchanged": True, "constant": False},
            (
                "wrong",
                "the weights differ from those without memory_limit; "
                "exceeding the memory raised no error; memory use grows with every fit",
            ),
        ),
        ("first_fit", {"nothing_to_do": "no GPU"}, ("skipped", "no GPU")),
    ],
)
def test_the_outcome_of_a_part_is_described(part, figures, expected):
    import on_gpu

    assert on_gpu.outcome(part, {"ended": "done", "figures": figures}) == expected


def test_the_results_of_two_halves_are_joined_on_one_page(tmp_path):
    first = {"machine": {"ended": "done", "seconds": 1.0, "figures": {"works": True}}}
    second = {
        "first_fit": {"ended": "stopped at its limit of 50 s", "seconds": 50.0, "figures": {}}
    }
    for number, half in ((1, first), (2, second)):
        (tmp_path / f"on_gpu-{number}.json").write_text(json.dumps(half), encoding="utf-8")
    run, _ = start(tmp_path, "--part", "summary")
    assert run.returncode == 1  # a part was not finished
    page = (tmp_path / "summary.md").read_text("utf-8")
    assert "| machine   |         done | 1.00 s |" in page
    assert "| first_fit | not finished | 50.0 s |" in page
    assert "The figures are incomplete (KeyError" in page  # but the page is written nevertheless


def test_a_directory_without_results_is_refused(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    for out, said in (("none", "there are no results in"), ("file", "is not a directory")):
        run, _ = start(tmp_path / out, "--part", "summary")
        assert run.returncode == 2
        assert said in run.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


OLD = {"first_fit": {"ended": "done", "seconds": 1.0, "figures": {"nothing_to_do": "old"}}}


def test_the_results_of_a_part_are_added_to_the_existing_ones(tmp_path):
    (tmp_path / "on_gpu.json").write_text(json.dumps(OLD), encoding="utf-8")
    run, results = start(tmp_path, "--part", "capture")
    assert set(results) == {"first_fit", "capture"}
    assert "trial" not in run.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
def test_a_terminated_run_leaves_no_process_and_no_old_results(tmp_path):
    file, out = tmp_path / "beats", tmp_path / "out"
    out.mkdir()
    (out / "on_gpu.json").write_text(json.dumps(OLD), encoding="utf-8")
    beats = CHILD.replace("FILE", repr(str(file)))
    (tmp_path / "shim").mkdir()
    (tmp_path / "shim" / "cupy.py").write_text(beats, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "shim")}
    command = [sys.executable, str(BENCHMARKS / "on_gpu.py"), "--out", str(out)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as run:
        while not file.exists():
            time.sleep(0.05)
        run.terminate()
    assert run.returncode == 143
    assert set(json.loads((out / "on_gpu.json").read_text("utf-8"))) == {"machine"}
    size = file.stat().st_size
    time.sleep(0.3)
    assert file.stat().st_size == size


# The part `capture` calls cuBLAS directly. Here, a Python function stands in for it.


class ArrayWithPointer(np.ndarray):
    """A NumPy array that has its address in `data.ptr`, as CuPy's arrays have."""

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self.ctypes.data)


def column_major_product(handle, a_turned, b_turned, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    """Compute cublasSgemm as documented by cuBLAS: C = α op(A) op(B) + β C, column-major."""

    def read(address, rows, columns, lead):
        flat = (ctypes.c_float * (lead * columns)).from_address(address.value)
        return np.frombuffer(flat, "float32").reshape(columns, lead)[:, :rows].T

    left = read(a, *((k, m) if a_turned else (m, k)), lda)
    right = read(b, *((n, k) if b_turned else (k, n)), ldb)
    left, right = left.T if a_turned else left, right.T if b_turned else right
    result = read(c, m, n, ldc)
    result[...] = alpha._obj.value * left @ right + beta._obj.value * result
    return 0


@pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True), (True, True)])
def test_cublas_is_called_with_the_right_arguments(monkeypatch, rng, turned):
    import gpu_parts

    streams = []
    library = types.SimpleNamespace(
        cublasSgemm_v2=column_major_product,
        cublasSetStream_v2=lambda handle, stream: streams.append(stream.value),
    )
    cuda = types.SimpleNamespace(
        device=types.SimpleNamespace(get_cublas_handle=lambda: 7),
        get_current_stream=lambda: types.SimpleNamespace(ptr=11),
    )
    monkeypatch.setattr(gpu_parts.ctypes, "CDLL", lambda file: library)
    backends = types.SimpleNamespace(cublas=types.SimpleNamespace(__file__="cublas.so"))
    for name in ("cupy_backends", "cupy_backends.cuda"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "cupy_backends.cuda.libs", backends)
    cublas = gpu_parts.Cublas(types.SimpleNamespace(cuda=cuda))
    factors = []
    for shape, is_turned in zip(((3, 4), (4, 5)), turned, strict=True):
        there = (
            rng.normal(size=shape[::-1] if is_turned else shape)
            .astype("float32")
            .view(ArrayWithPointer)
        )
        factors.append(there.T if is_turned else there)
    out = np.full((3, 5), np.nan, "float32").view(ArrayWithPointer)
    out[...] = 0
    assert cublas.matmul(*factors, out) is out
    np.testing.assert_allclose(out, np.asarray(factors[0]) @ np.asarray(factors[1]), rtol=1e-5)
    assert streams == [11]


# The test suite itself, on a machine with a GPU


def python(program, **variables):
    path = os.pathsep.join(map(str, (BENCHMARKS.parent, TESTS / "helpers")))
    environment = {**os.environ, "PYTHONPATH": path, **variables}
    command = [sys.executable, "-c", program]
    return subprocess.run(
        command, cwd=TESTS, env=environment, capture_output=True, text=True, check=False
    )


def test_the_gpu_tests_are_collected_without_jupyter_playwright_and_keras():
    blocked = ["nbclient", "nbformat", "playwright", "keras", "jax"]
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked}))\n"
        "import pytest; sys.exit(pytest.main(['..', '-m', 'gpu', '--collect-only', '-q',"
        " '-p', 'no:cacheprovider']))"
    )
    run = python(program)
    none, some = pytest.ExitCode.NO_TESTS_COLLECTED, pytest.ExitCode.OK
    assert run.returncode in (none, some), run.stdout[-2000:]
    assert " deselected" in run.stdout


def test_the_oracle_computes_in_full_float32_in_any_environment(keras):
    program = (
        "import conftest, os, jax\n"
        "print(jax.default_backend(), jax.config.jax_default_matmul_precision,"
        " os.environ['CUPY_TF32'])"
    )
    asked = {"JAX_PLATFORMS": "cuda", "JAX_DEFAULT_MATMUL_PRECISION": "bfloat16", "CUPY_TF32": "1"}
    run = python(program, **asked)
    assert run.stdout.split() == ["cpu", "highest", "0"], run.stderr


class Stream:
    """A stream for the stand-in that "captures" a training step: the step is run only later."""

    captures = False

    def __init__(self, non_blocking):
        assert non_blocking

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def begin_capture(self):
        Stream.captures, Stream.step = True, None

    def end_capture(self):
        Stream.captures = False
        return types.SimpleNamespace(launch=Stream.step)


def test_a_captured_step_is_replayed_with_the_current_batch_and_step_size(monkeypatch):
    import cpu_vs_gpu
    import gpu_parts

    whole, answers = gpu_parts.training.train_step, {}

    def train_step(model, batch):
        if not Stream.captures:
            return whole(model, batch)
        optimizer = model.optimizer
        optimizer.iterations += 1
        optimizer.prepare(optimizer.iterations)
        alpha = optimizer._alpha  # the array that the graph reads at each launch

        def replay():
            prepare = optimizer.prepare
            optimizer.prepare = lambda iteration: setattr(optimizer, "_alpha", alpha)
            optimizer.iterations -= 1
            whole(model, batch)
            optimizer.prepare = prepare

        Stream.step = staticmethod(replay)
        return None

    cupy = standin.make()
    cupy.ndarray.fill = lambda array, value: array.__setitem__(..., value)
    cupy.cuda.Stream = Stream
    cupy.cuda.MemoryPool = lambda: types.SimpleNamespace(malloc=None)
    cupy.cuda.using_allocator = lambda malloc: contextlib.nullcontext()
    product = cupy.matmul
    monkeypatch.setattr(gpu_parts, "Cublas", lambda _: types.SimpleNamespace(matmul=product))
    monkeypatch.setattr(gpu_parts.training, "train_step", train_step)
    monkeypatch.setattr(cpu_vs_gpu, "spin_up", lambda name: None)
    with standin.installed(cupy):
        gpu_parts.capture(None, True, lambda **what: answers.update(what))
    assert answers["difference"] == {"eager": 0, "replayed": 0}
    assert set(answers["seconds"]) == {"eager", "replayed"}
