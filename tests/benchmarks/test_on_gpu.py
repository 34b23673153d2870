"""`benchmarks/on_gpu.py` runs to its end with a GPU (here the stand-in for CuPy) and without one;
parts that hang are ended, and their results so far are kept.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import standin
from conftest import ROOT
from networks import random_weights

from tinynet.backend.replay import Replay

TESTS, BENCHMARKS = ROOT / "tests", ROOT / "benchmarks"


@pytest.fixture(autouse=True)
def _import_from_benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


# The whole program, in a new process


def python(*command, path=(), **variables):
    """Run Python with these arguments, and `path` in front of its import path."""
    path = os.pathsep.join(map(str, (*path, BENCHMARKS.parent, TESTS / "helpers")))
    return subprocess.run(
        [sys.executable, *map(str, command)], cwd=TESTS, capture_output=True, encoding="utf-8",
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": path, **variables},
        check=False,
    )  # fmt: skip


def run(out, *arguments, cupy="", code=0, **variables):
    """Run `on_gpu.py` with this source as `cupy.py`; return its output and the results."""
    path = [write(out.parent / "shim" / "cupy.py", cupy).parent] if cupy else []
    script = BENCHMARKS / "on_gpu.py"
    ended = python(script, "--out", out, *arguments, path=path, **variables)
    assert ended.returncode == code, ended.stdout + ended.stderr
    return ended.stdout, read(out)


def write(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def read(out):
    return json.loads((out / "on_gpu.json").read_text("utf-8"))


MEASURED = {"loss, relative": 1e-6, "gradients": 2e-6, "weights after 50": 5e-7}
# It stays installed to the end of the process, and no longer.
STANDIN = """
import atexit, sys, standin
standin.here = standin.installed(standin.make())
cupy = standin.here.__enter__()
atexit.register(standin.here.__exit__, None, None, None)
"""


@pytest.mark.long
def test_all_parts_run_on_the_stand_in(tmp_path):
    from on_gpu import LIMITS

    text, results = run(tmp_path / "out", "--quick", cupy=STANDIN)
    assert list(results) == list(LIMITS)
    figures = {part: about["figures"] for part, about in results.items()}
    # The exit code is 0, so no part has found anything wrong.
    assert not any("nothing_to_do" in one for one in figures.values())
    assert figures["machine"]["works"] is True
    assert figures["machine"]["cublas"] == ""
    assert " passed" in figures["tests"]["outcome"]
    ours = figures["parity"]["parity"]["tinynet-cupy"]
    assert ours["place"] == "GPU"
    assert len(ours["gradients"]) == 6
    assert all(0 < np.max(ours[name]) < bound for name, bound in MEASURED.items())
    race = figures["epochs"]["epochs"]["32"]
    ours = "tinynet", "tinynet-cupy", "tinynet-cupy-ordinary"
    assert [len(race["seconds"][name]) for name in ours] == [1, 1, 1]
    assert race["loss"]["tinynet"] == pytest.approx(race["loss"]["tinynet-cupy"], rel=1e-5)
    assert race["loss"]["tinynet-cupy"] == race["loss"]["tinynet-cupy-ordinary"]
    memory = figures["memory"]
    assert memory["peak"] <= memory["limit"] < memory["data"]
    assert "Out of memory on GPU 0 in fit" in memory["words"]
    assert len(memory["held"]) == 20
    assert set(figures["first_fit"]["took"]) == {"cold", "warm", "warm again"}

    page = (tmp_path / "out" / "summary.md").read_text("utf-8")
    assert page in text
    assert page.startswith("# tinynet on a GPU\n\nThis was a trial run (`--quick`)")
    for said in ("| parity     |   done | ", "the weights are the same as without it",
                 "GPU 0: Stand-in 0, 8 GiB, compute capability 8.6", "| tinynet on CuPy (GPU) ",
                 "| 32: tinynet on CuPy (GPU) ", "| 32: tinynet on CuPy, step by step (GPU) ",
                 "Steps are captured as CUDA graphs.", "- Replayed, the ",
                 "- Loss after 50 steps of [100, 144]: CPU 1.7",
                 "(cpu_vs_gpu.png)"):  # fmt: skip
        assert said in page
    assert "incomplete" not in page
    files = [path for path in (tmp_path / "out").iterdir() if path.is_file()]
    assert len(files) <= 8
    assert sum(path.stat().st_size for path in files) < 1_000_000


@pytest.mark.long
def test_without_a_gpu_the_parts_left_out_are_reported(tmp_path):
    parts = ["machine", "tests", "capture", "memory", "first_fit"]
    text, results = run(tmp_path / "out", "--part", *parts, PYTHONIOENCODING="ascii")
    assert list(results) == parts
    for part in parts[1:]:
        assert results[part]["figures"]["nothing_to_do"].startswith("no GPU: ")
        assert f"\n- {part}: no GPU: " in text
    assert "There is no working GPU here." in text


# Matrix products in TF32, as on a GPU's tensor cores, with three of seven digits.
TF32 = (
    STANDIN.replace("make()", "make(cublas=False)")
    + """
import numpy
product = cupy.matmul
def rounded(matrix):
    bits = numpy.ascontiguousarray(matrix._there).view("uint32") & 0xFFFFE000
    return cupy.asarray(bits.view("float32"))
cupy.matmul = lambda a, b, out=None: product(rounded(a), rounded(b), out)
"""
)


@pytest.mark.long
def test_products_in_a_lower_precision_are_detected(tmp_path):
    text, results = run(tmp_path / "out", "--part", "parity", "--quick", cupy=TF32, code=1)
    figures = results["parity"]["figures"]
    found, bounds = figures["parity"], figures["bounds"]
    assert found["tinynet"]["within"]
    assert not found["tinynet-cupy"]["within"]
    for name in MEASURED:  # each detects it alone
        assert np.max(found["tinynet-cupy"][name]) > 5 * bounds[name]
        assert np.max(found["tinynet"][name]) < bounds[name] / 4
    assert "\n- parity: tinynet on CuPy is too far from float64\n" in text


@pytest.mark.long
def test_failing_parts_and_programs_are_reported_and_the_next_part_runs(tmp_path):
    fails = STANDIN + "cupy.machine.fails = {'adam': RuntimeError('no kernel')}\n"
    parts = "--part", "memory", "parity", "epochs", "capture", "--quick"
    text, results = run(tmp_path / "out", *parts, cupy=fails, code=1)
    for part in ("memory", "capture"):
        assert results[part]["ended"] == "failed (exit code 1): RuntimeError: no kernel"
    for part in ("parity", "epochs"):
        figures = results[part]["figures"]
        ways = {"parity": ["tinynet-cupy"], "epochs": ["tinynet-cupy", "tinynet-cupy-ordinary"]}
        assert figures["failed"] == dict.fromkeys(ways[part], "RuntimeError: no kernel")
        assert not {*ways[part]} & {*figures["left_out"]}
        assert f"\n- {part}: tinynet on CuPy failed: RuntimeError: no kernel" in text


OLD = {"first_fit": {"ended": "done", "seconds": 1.0, "figures": {"nothing_to_do": "old"}}}
# The source of a program that writes to a file for as long as it runs.
BEATS = """
import time
while True:
    open({file!r}, "a").write("x")
    time.sleep(0.02)
"""


def assert_ended(file):
    """Assert that the program `BEATS` has run and runs no longer."""
    size = file.stat().st_size
    time.sleep(0.3)
    assert file.stat().st_size == size > 0


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
def test_a_terminated_run_keeps_its_results_and_leaves_no_process_and_no_old_results(tmp_path):
    file = tmp_path / "beats"
    write(tmp_path / "on_gpu.json", json.dumps(OLD))
    shim = write(tmp_path / "shim" / "cupy.py", BEATS.format(file=str(file))).parent
    command = [sys.executable, str(BENCHMARKS / "on_gpu.py"), "--out", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(shim)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as started:
        while not file.exists() or file.stat().st_size < 25:  # half a second, to keep figures
            time.sleep(0.05)
        started.terminate()
    assert started.returncode == 143
    ((part, about),) = read(tmp_path).items()
    assert (part, about["ended"]) == ("machine", "under way")
    assert "cores" in about["figures"]["machine"]
    assert_ended(file)


# Its functions, in this process


@pytest.fixture
def on_gpu(monkeypatch, capsys):
    """The program as a module, with a function `start` that runs it for these arguments."""
    import on_gpu

    def start(out, *arguments):
        monkeypatch.setattr(sys, "argv", ["on_gpu.py", "--out", str(out), *arguments])
        try:
            return on_gpu.main(), capsys.readouterr().out
        except SystemExit as ended:
            return ended.code, capsys.readouterr().err

    monkeypatch.setattr(on_gpu, "start", start, raising=False)
    monkeypatch.setattr(signal, "signal", mock.Mock())  # so that SIGTERM keeps its handler
    return on_gpu


def test_the_results_of_two_halves_are_joined_on_one_page(on_gpu, tmp_path):
    first = {"machine": {"ended": "done", "seconds": 1.0, "figures": {"works": False}}}
    second = {"first_fit": {"ended": "stopped at its limit", "seconds": 50.0, "figures": {}}}
    for number, half in ((1, first), (2, second)):
        write(tmp_path / f"on_gpu-{number}.json", json.dumps(half))
    code, text = on_gpu.start(tmp_path, "--part", "summary")
    assert code == 1  # a part was not finished
    page = (tmp_path / "summary.md").read_text("utf-8")
    assert page in text
    assert "trial" not in page
    # The page is written even if figures are missing.
    for said in ("There is no working GPU here.", "| machine   |         done | 1.00 s |",
                 "| first_fit | not finished | 50.0 s |", "- first_fit: stopped at its limit",
                 "The figures are incomplete (KeyError"):  # fmt: skip
        assert said in page


def test_a_directory_without_results_is_refused(on_gpu, tmp_path):
    write(tmp_path / "file", "")
    for out, said in (("none", "there are no results in"), ("file", "is not a directory")):
        code, errors = on_gpu.start(tmp_path / out, "--part", "summary")
        assert code == 2
        assert said in errors
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_results_of_a_part_are_added_to_the_existing_ones(on_gpu, tmp_path):
    write(tmp_path / "on_gpu.json", json.dumps(OLD))
    code, text = on_gpu.start(tmp_path, "--part", "capture", "--patience", "0.0001")
    assert code == 1
    assert set(read(tmp_path)) == {"first_fit", "capture"}
    assert "- capture: stopped at its limit of 0.004 s\n- first_fit: old" in text


def test_the_limits_of_the_parts_add_up_to_less_than_nine_minutes(on_gpu):
    for half in on_gpu.HALVES:
        # Each part may also take twice its grace period: to read its output, and to end.
        assert sum(half.values()) + 2 * on_gpu.GRACE * len(half) < 9 * 60
    assert list(on_gpu.LIMITS) == list(on_gpu.SECTIONS)


PARENT = """
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", {child!r}])
while not os.path.exists({file!r}):
    time.sleep(0.01)
print("begun", flush=True)
time.sleep({sleep})
sys.exit({code})
"""


@pytest.mark.parametrize(
    ("sleep", "code", "ended"),
    [(600, 0, "stopped at its limit of 4 s"), (0.2, 0, "done"), (0, 3, "failed (exit code 3)")],
)
def test_processes_started_by_a_part_end_with_it(on_gpu, tmp_path, sleep, code, ended):
    file, lines = tmp_path / "beats", []
    child = BEATS.format(file=str(file))
    program = PARENT.format(child=child, file=str(file), sleep=sleep, code=code)
    with (tmp_path / "log").open("w") as log:
        how = on_gpu.run([sys.executable, "-c", program], os.environ, 4, log, lines.append)
    assert how == ended
    assert lines == ["begun\n"]
    assert_ended(file)


def test_the_environment_of_the_parts_requests_full_float32(on_gpu, monkeypatch):
    left_out = {"CUPY_TF32", "JAX_PLATFORMS", "TINYNET_BACKEND"}
    for name in (*left_out, "JAX_DEFAULT_MATMUL_PRECISION", "PYTHONPATH"):
        monkeypatch.setenv(name, "given")
    found = on_gpu.environment()
    assert not left_out & set(found)
    assert found["JAX_DEFAULT_MATMUL_PRECISION"] == "highest"
    assert found["PYTHONPATH"] == os.pathsep.join([str(BENCHMARKS.parent), "given"])


JAX_FAILS = {"parity": {"tinynet": {"within": False}}, "failed": {"jax": "It ended."}}


def captured(replayed, difference, cublas="", *errors):
    """Return the figures of the part `capture`: in its first case, all is well."""
    case = {"steps": 100, "replayed": replayed, "difference": difference}
    fine = {"steps": 100, "replayed": 98, "difference": 0.0}
    return {"cases": {"fine": fine, "other": case}, "cublas": cublas, "errors": [*errors]}


LEAKS = {"within": True, "same": False, "words": "", "unchanged": True, "constant": False}


@pytest.mark.parametrize(
    ("part", "figures", "state", "note"),
    [
        ("tests", {"exit_code": 1}, "wrong", "tests fail"),
        ("parity", JAX_FAILS, "wrong", "JAX, whole epoch compiled failed: It ended.; "
                                       "tinynet is too far from float64"),
        ("epochs", {"epochs": {"32": {"same": "It differs."}}}, "wrong", "It differs."),
        ("capture", captured(98, 0.0), "done", ""),
        ("capture", captured(98, 1e-9), "wrong", "the replay computes different numbers"),
        ("capture", captured(98, float("nan")), "wrong", "the replay computes different numbers"),
        ("capture", captured(0, 0.0), "wrong", "no step was replayed"),
        ("capture", captured(0, 0.0, "no library", "no stream"), "wrong",
         "no step was replayed: cuBLAS: no library"),
        ("capture", captured(0, 0.0, "", "no stream", "no stream"), "wrong",
         "no step was replayed: no stream"),
        ("memory", LEAKS, "wrong", "the weights differ from those without memory_limit; exceeding "
                                   "the memory raised no error; memory use grows with every fit"),
    ],
)  # fmt: skip
def test_the_outcome_of_a_part_is_described(on_gpu, part, figures, state, note):
    assert on_gpu.outcome(part, {"ended": "done", "figures": figures}) == (state, note)


# The part `capture`, on the stand-in


@pytest.fixture
def capture(monkeypatch):
    """A function that runs the part `capture` on the stand-in; it returns figures and page."""
    import cpu_vs_gpu
    import gpu_parts
    import on_gpu

    monkeypatch.setattr(cpu_vs_gpu, "spin_up", lambda name: None)
    monkeypatch.setattr(gpu_parts, "SIZES", (12, 5, 4, 3))

    def run(fails=None, **options):
        answer = mock.Mock()
        with standin.installed(standin.make(**options)) as cupy:
            cupy.machine.fails = fails or {}
            gpu_parts.capture(None, True, answer)
        figures = {name: value for call in answer.mock_calls for name, value in call.kwargs.items()}
        page = on_gpu.page({"capture": {"ended": "done", "figures": figures}}, Path("none"))
        return figures, page

    return run


def test_replayed_steps_are_compared_with_ordinary_ones(capture, monkeypatch):
    import gpu_parts

    dropout = mock.Mock(wraps=gpu_parts.Dropout)
    monkeypatch.setattr(gpu_parts, "Dropout", dropout)
    figures, page = capture()
    assert dropout.mock_calls == 4 * [mock.call(0.5)]  # two for each way
    assert figures["cases"] == {
        "50 batches": {"steps": 100, "replayed": 98, "difference": 0},
        # Of its batches, two have fewer samples.
        "Dropout, last batch smaller": {"steps": 100, "replayed": 96, "difference": 0},
    }
    assert (figures["errors"], figures["cublas"]) == ([], "")
    assert {way: [*times] for way, times in figures["seconds"].items()} == {
        "ordinary": ["told", "done"],
        "replayed": ["told", "done"],
    }
    assert "| capture |   done |" in page
    assert "| 50 batches                  |   100 |       98 |    0.0e+00 |\n" in page
    assert "until completion; replayed " in page
    assert "failed" not in page


@pytest.mark.parametrize("name", ["_row", "_batch"])
def test_a_replay_with_the_numbers_of_another_step_is_found(capture, monkeypatch, name):
    """Here, the numbers of each step, or its batch, do not arrive where the graph reads them."""
    replay = Replay.replay

    def to_another_place(self, batch):
        own = getattr(self, name)
        copied = [None if part is None else part.copy() for part in own]
        setattr(self, name, own.copy() if name == "_row" else copied)
        try:
            return replay(self, batch)
        finally:
            setattr(self, name, own)

    monkeypatch.setattr(Replay, "replay", to_another_place)
    figures, page = capture()
    assert all(case["difference"] > 1e-6 for case in figures["cases"].values())
    assert "\n- capture: the replay computes different numbers\n" in page


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (
            {"cublas": False},
            "cuBLAS: ModuleNotFoundError: import of cupy_backends.cuda.libs halted",
        ),
        ({"fails": {"capture": RuntimeError("no\n capture")}}, "RuntimeError: no capture"),
    ],
)
def test_it_is_told_why_no_step_was_replayed(capture, options, error):
    figures, page = capture(**options)
    found = [(case["replayed"], case["difference"]) for case in figures["cases"].values()]
    assert found == [(0, 0), (0, 0)]
    assert f"\n- capture: no step was replayed: {error}" in page
    assert f"\nWhat failed: {error}" in page


@pytest.mark.parametrize("cublas", [True, False])
def test_the_machine_part_tells_whether_steps_are_captured(cublas):
    import gpu_parts
    import on_gpu

    answer = mock.Mock()
    with standin.installed(standin.make(cublas=cublas)):
        gpu_parts.machine_and_doctor(None, True, answer)
    figures = {name: value for call in answer.mock_calls for name, value in call.kwargs.items()}
    said = "captured as CUDA graphs." if cublas else "not captured: ModuleNotFoundError: import of"
    assert f"    Steps are {said}" in on_gpu.tell_machine(figures)


def test_of_the_two_programs_on_cupy_one_replays_steps(rng):
    import programs

    x, labels = rng.random((70, 784), "float32"), rng.integers(10, size=70, dtype="int32")
    weights = random_weights(rng, *programs.SIZES)
    found = {}
    for name in ("tinynet-cupy", "tinynet-cupy-ordinary"):
        with standin.installed(standin.make()) as cupy:
            program = programs.PROGRAMS[name](x, labels, weights, 16)
            program.epoch(shuffle=False)
            found[name] = cupy.counts.launches["graph"], program.weights()
    (replayed, ours), (ordinary, theirs) = found.values()
    assert (replayed, ordinary) == (2, 0)  # the first two batches and the last are not replayed
    assert all(map(np.array_equal, ours, theirs))


# The test suite itself, on a machine with a GPU


@pytest.mark.long
def test_the_gpu_tests_are_collected_without_jupyter_playwright_and_keras():
    blocked = ["nbclient", "nbformat", "playwright", "keras", "jax"]
    options = ["..", "-m", "gpu", "--collect-only", "-q", "-p", "no:cacheprovider"]
    program = f"import sys; sys.modules.update(dict.fromkeys({blocked}))\n"
    program += f"import pytest; sys.exit(pytest.main({options}))"
    run = python("-c", program)
    none, some = pytest.ExitCode.NO_TESTS_COLLECTED, pytest.ExitCode.OK
    assert run.returncode in (none, some), run.stdout[-2000:]
    assert " deselected" in run.stdout


@pytest.mark.long
def test_the_oracle_computes_in_full_float32_in_any_environment(keras):
    found = "jax.default_backend(), jax.config.jax_default_matmul_precision"
    program = f"import conftest, os, jax; print({found}, os.environ['CUPY_TF32'])"
    asked = {"JAX_PLATFORMS": "cuda", "JAX_DEFAULT_MATMUL_PRECISION": "bfloat16", "CUPY_TF32": "1"}
    run = python("-c", program, **asked)
    assert run.stdout.split() == ["cpu", "highest", "0"], run.stderr
