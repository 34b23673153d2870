"""The parts of `on_gpu.py`, which runs this file once for each part, in a separate process.

A part writes its results as lines of JSON to standard output as soon as it has them, so that they
are kept even if the part is killed later. A later result of the same name replaces an earlier one.
All other output goes to standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import functools
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import cpu_vs_gpu
import numpy as np
import peers
from on_gpu import PARITY, RACE
from programs import SIZES
from report import cores, machine, median

import tinynet
from tinynet import backend, doctor, training
from tinynet.backend import gpu, products, replay
from tinynet.callbacks.base import CallbackList
from tinynet.engine.data import Batch, Batches
from tinynet.engine.steps import Steps
from tinynet.engine.tracker import Tracker
from tinynet.layers import Dense, Dropout
from tinynet.metrics import CategoricalAccuracy

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
Answer = Callable[..., None]
Job = Callable[[pathlib.Path, bool, Answer], None]

# The largest differences from float64 that float32 precision allows, with some margin.
BOUNDS = {
    "loss, relative": 1e-6,
    "gradients": 2e-6,
    "weights after 50": 1e-6,
    "weights after 1875": 1e-5,
}


class LeftOut(Exception):  # noqa: N818, it is not an error
    """Raised if a part cannot run here; the message says why."""


def needs_gpu() -> Any:
    """Return CuPy, or raise `LeftOut` with the reason why it does not work."""
    try:
        return gpu.load_cupy(0)
    except gpu.UnavailableError as error:
        raise LeftOut(f"no GPU: {error.reason}") from None


@contextlib.contextmanager
def data(quick: bool) -> Iterator[tuple[pathlib.Path, str]]:
    """Yield a folder with images and initial weights, and their name; MNIST if it is available."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = pathlib.Path(name)
        try:
            what = peers.write_data(folder, synthetic=False)
        except SystemExit:
            what = peers.write_data(folder, synthetic=True)
        if quick:
            with np.load(folder / "data.npz") as whole:
                some = {name: whole[name][:1600] for name in whole.files}
            np.savez(folder / "data.npz", **some)
        yield folder, what


def network(seed: int, dropout: float = 0) -> Any:
    """Build the network of the example, on the backend in use; with `Dropout` if it is not 0."""
    tinynet.utils.set_random_seed(seed)
    model = tinynet.Sequential([tinynet.Input((SIZES[0],))])
    for units in SIZES[1:-1]:
        model.add(Dense(units, "sigmoid"))
        if dropout:
            model.add(Dropout(dropout))
    model.add(Dense(SIZES[-1], "softmax"))
    model.compile("adam", "categorical_crossentropy")
    return model


# The parts


def machine_and_doctor(out: pathlib.Path, quick: bool, answer: Answer) -> None:
    """Report the machine and the versions, and what `tinynet.doctor` and cuBLAS answer."""
    names = ("numpy", "cupy", "cupy-cuda12x", "cupy-cuda13x", "torch", "jax", "jaxlib", "pytest")
    versions = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    answer(machine=machine(), versions=versions, tinynet=tinynet.__version__, date=date)
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        query = "name,driver_version,memory.total,clocks.max.sm,power.limit,mig.mode.current"
        command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]
        asked = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        answer(nvidia_smi=asked.stdout.strip().splitlines())
    works = not why_not("tinynet-cupy")
    answer(doctor=doctor.about_gpu().splitlines(), works=works)
    if works:
        answer(cublas=why_not_cublas())


def tests(out: pathlib.Path, quick: bool, answer: Answer) -> None:
    """Run the tests that need a GPU; pytest writes its output to tests.txt."""
    cupy = needs_gpu()
    if importlib.util.find_spec("pytest") is None:
        raise LeftOut("pytest is not installed")
    which = "gpu" if importlib.util.find_spec("keras") else "gpu and not keras"
    command = [sys.executable, "-m", "pytest", "-m", which, "-q", "--tb=short", "-rfE"]
    command += ["-p", "no:cacheprovider", *(["tests/test_optimizers.py"] if quick else [])]
    if importlib.util.find_spec("xdist") and not quick:
        # Each process needs a few hundred megabytes of GPU memory.
        room = cupy.cuda.runtime.memGetInfo()[0] // 2**30
        command += ["-n", str(max(1, min(8, cores() // 2, room)))]
    with (out / "tests.txt").open("w", encoding="utf-8") as file:
        run = subprocess.run(command, cwd=ROOT, stdout=file, stderr=file, check=False)
    lines = (out / "tests.txt").read_text("utf-8", errors="replace").splitlines() or [""]
    failed = [line for line in lines if line.startswith(("FAILED ", "ERROR "))]
    answer(which=which, exit_code=run.returncode, outcome=lines[-1])
    answer(failing=failed[:12], failures=len(failed))


def parity(out: pathlib.Path, quick: bool, answer: Answer) -> None:
    """Measure how far loss, gradients and weights are from those of NumPy in float64."""
    steps = [50] if quick else [50, 1875]
    found: dict[str, dict[str, Any]] = {}
    failed, left_out = {}, {}
    with data(quick) as (folder, what):
        answer(data=what, bounds=BOUNDS)

        def arrays(name: str) -> list[np.ndarray]:
            with np.load(folder / f"{name}.npz") as saved:
                return [saved[part].astype("float64") for part in saved.files]

        for program in ("tinynet-float64", *PARITY):
            if reason := why_not(program):
                left_out[program] = reason
                continue
            command = peers.command(program, folder, 32, "--parity", *map(str, steps))
            run = subprocess.run(command, capture_output=True, text=True, check=False)
            if run.returncode:
                failed[program] = last_line(run.stderr)
            else:
                found[program] = json.loads(run.stdout.splitlines()[-1])
            if program in found and "tinynet-float64" in found:
                one, measure = found[program], found["tinynet-float64"]
                one["loss, relative"] = abs(one["loss"] / measure["loss"] - 1)
                one["gradients"] = [
                    float(np.linalg.norm(a - b) / np.linalg.norm(b))
                    for a, b in both(arrays, program, "gradients")
                ]
                for count in steps:
                    one[f"weights after {count}"] = max(
                        float(np.abs(a - b).max()) for a, b in both(arrays, program, str(count))
                    )
                one["within"] = all(
                    np.max(one[name]) <= bound  # false for NaN
                    for name, bound in BOUNDS.items()
                    if name in one
                )
            answer(parity=found, failed=failed, left_out=left_out)


def both(arrays: Any, program: str, name: str) -> list[tuple[np.ndarray, np.ndarray]]:
    return list(zip(arrays(f"{program}-{name}"), arrays(f"tinynet-float64-{name}"), strict=True))


def why_not(program: str) -> str:
    """Return why a program cannot run here; an empty string if it can."""
    if program.startswith("tinynet-cupy"):
        try:
            needs_gpu()
        except LeftOut as reason:
            return str(reason)
    for prefix, module in (("pytorch", "torch"), ("jax", "jax")):
        if program.startswith(prefix) and importlib.util.find_spec(module) is None:
            return f"{module} is not installed"
    if program == "pytorch-graph":
        import torch

        if not torch.cuda.is_available():
            return "PyTorch finds no GPU"
    return ""


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines or ["it failed without a message"])[-1][:300]


def compare(out: pathlib.Path, quick: bool, answer: Answer) -> None:
    """Run `cpu_vs_gpu.py`, with its figures and its picture."""
    lines: list[str] = []

    def printing(text: str) -> None:
        lines.extend(text.splitlines())
        answer(lines=lines)

    sys.argv = ["cpu_vs_gpu.py", "--json", str(out / "cpu_vs_gpu.json")]
    sys.argv += ["--plot", str(out / "cpu_vs_gpu.png")]
    sys.argv += ["--quick", "--rounds", "1"] if quick else ["--rounds", "5"]
    if cpu_vs_gpu.main(printing):
        raise SystemExit(lines[-1])


def epochs(out: pathlib.Path, quick: bool, answer: Answer) -> None:
    """Measure the seconds for an epoch of tinynet and other libraries, in turn."""
    left_out = {p: reason for p in RACE if (reason := why_not(p))}
    figures: dict[str, Any] = {"epochs": {}, "failed": {}, "left_out": left_out}
    with data(quick) as (folder, what):
        answer(data=what)
        for size in (32,) if quick else (32, 1024, 16_384):
            race(folder, size, 1 if quick else 5, figures, answer)


def race(
    folder: pathlib.Path, size: int, rounds: int, figures: dict[str, Any], answer: Answer
) -> None:
    """Time each program with batches of `size`, in a new random order for each round."""
    out = {**figures["left_out"], **figures["failed"]}
    workers = {
        p: peers.Worker(p, folder, size, variables=dict(os.environ)) for p in RACE if p not in out
    }
    one: dict[str, Any] = {"seconds": {}, "loss": {}, "place": {}, "versions": {}, "same": ""}
    figures["epochs"][str(size)] = one

    def ask(program: str, question: Callable[[peers.Worker], Any]) -> Any:
        try:
            return question(workers[program])
        except SystemExit as error:
            figures["failed"][program] = last_line(str(error))
            del workers[program]
            return None

    for program in [*workers]:
        if worker := ask(program, lambda worker: worker.ready()):
            one["seconds"][program] = []
            one["loss"][program] = peers.loss_of(program, folder)
            one["place"][program], one["versions"][program] = worker.place, worker.versions
            answer(**figures)
    try:
        peers.check_same(one["loss"])
    except SystemExit as error:
        one["same"] = str(error)
    for _ in range(rounds):
        for program in random.sample([*workers], len(workers)):
            time.sleep(peers.PAUSE)
            if reply := ask(program, lambda worker: worker.ask("timed")):
                one["seconds"][program].append(reply["seconds"])
            answer(**figures)
    for worker in workers.values():
        worker.close()


def why_not_cublas() -> str:
    """Return why cuBLAS cannot be called, without which no step is captured; "" if it can."""
    with backend.use("cupy"):
        if products.cublas(backend.current_device().number) is not None:
            return ""
        try:  # again what failed there
            gpu.check_arithmetic_of(products.Cublas().matmul, needs_gpu())
        except Exception as error:
            return described(error)
    return "it cannot be called"


def described(error: Exception) -> str:
    """Return an error's type and text in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


@contextlib.contextmanager
def errors_of_captures() -> Iterator[list[str]]:
    """Yield a list that receives the errors for which a step is not captured.

    Otherwise nobody sees them, because `Steps` then goes on with ordinary steps.
    """
    errors: list[str] = []
    original = replay.Replay.capture

    def capture_and_tell(*arguments: Any) -> None:
        try:
            original(*arguments)
        except Exception as error:
            errors.append(described(error))
            raise

    with mock.patch.object(replay.Replay, "capture", capture_and_tell):
        yield errors


def epoch(model: Any, batches: list[Batch], steps: Steps | None) -> Tracker:
    """Train for an epoch, as `fit` does, without waiting for the GPU; return its sums.

    Arguments:
        steps: does the steps; None for ordinary ones.
    """
    tracker = Tracker({"acc": CategoricalAccuracy()}, model.dtype, len(batches))
    do_step = steps.of_epoch(training.train_step, tracker) if steps else None
    for batch in batches:
        if do_step:
            do_step(batch)
        else:
            tracker.update(batch, *training.train_step(model, batch))
    return tracker


def capture(out: pathlib.Path, quick: bool, answer: Answer) -> None:
    """Train with ordinary and with replayed steps, and check that both compute the same bits."""
    needs_gpu()
    size, epochs = 32, 2
    # Each with its samples, and the rate of its Dropout.
    cases = {"50 batches": (50 * size, 0), "Dropout, last batch smaller": (49 * size + 7, 0.5)}
    found: dict[str, dict[str, float]] = {}
    rng = np.random.default_rng(0)
    x = rng.random((50 * size, SIZES[0]), "float32")
    y = np.eye(SIZES[-1], dtype="float32")[rng.integers(SIZES[-1], size=len(x))]
    with backend.use("cupy"), errors_of_captures() as errors:
        for name, (samples, dropout) in cases.items():
            batches = Batches(x[:samples], y[:samples], None, size)
            batches.copy_to_gpu()
            own = list(batches.iterate(0, batches.steps))
            ways: dict[str, Callable[[], Any]] = {}
            results: list[list[np.ndarray]] = []  # loss, accuracy and weights
            for way in ("ordinary", "replayed"):
                model = network(1, dropout)
                model.prepare_training((size, SIZES[0]))
                callback_list = CallbackList(None, model, {})
                steps = Steps(model, batches, callback_list) if way == "replayed" else None
                logs = [epoch(model, own, steps).results() for _ in range(epochs)]
                results.append([np.array(logs), *model.get_weights()])
                ways[way] = functools.partial(epoch, model, own, steps)
            found[name] = {
                "steps": epochs * len(own),
                "replayed": steps.replayed if steps else 0,
                "difference": float(  # NaN if one of them is
                    np.max([np.abs(a - b).max() for a, b in zip(*results, strict=True)])
                ),
            }
            answer(cases=found, errors=errors, cublas=why_not_cublas())
            if not dropout:
                times = 1 if quick else 10
                answer(seconds={way: clocked(go, len(own), times) for way, go in ways.items()})


def clocked(launch: Callable[[], Any], steps: int, times: int) -> dict[str, float]:
    """Time a step until the host has launched it, and until it is done; return the medians."""
    told, done = [], []
    for _ in range(times):
        cpu_vs_gpu.spin_up("cupy")
        began = time.perf_counter()
        launch()
        told.append((time.perf_counter() - began) / steps)
        backend.synchronize()
        done.append((time.perf_counter() - began) / steps)
    return {"told": median(told), "done": median(done)}


class Peak(tinynet.callbacks.Callback):
    """Record the peak number of bytes that CuPy's memory pool held."""

    bytes = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.bytes = max(self.bytes, backend.memory_pool().total_bytes())


def memory(out: pathlib.Path, quick: bool, answer: Answer) -> None:
    """Check that a memory limit holds, that exceeding it changes nothing, and that no fit leaks."""
    needs_gpu()
    rng = np.random.default_rng(0)
    samples = 20_000
    x = rng.random((samples, SIZES[0]), "float32")
    y = np.eye(SIZES[-1], dtype="float32")[rng.integers(SIZES[-1], size=samples)]
    with backend.use("cupy"):
        pool = backend.memory_pool()

        def fit(**more: Any) -> list[np.ndarray]:
            model = network(seed=2)
            model.fit(x, y, 128, 1, verbose=0, **more)
            return model.get_weights()

        whole = fit()
        backend.release_memory()
        limit, peak = pool.total_bytes() + x.nbytes // 2, Peak()
        with backend.use("cupy", memory_limit=limit):
            parts = fit(callbacks=[peak])  # in ordinary steps, because it watches them
            again = fit()  # in replayed ones
            peak.bytes = max(peak.bytes, pool.total_bytes())
        same = all(map(np.array_equal, 2 * whole, parts + again))
        within = peak.bytes <= limit
        answer(limit=limit, data=x.nbytes, peak=peak.bytes, within=within, same=same)

        model = network(seed=3)
        before = model.get_weights()
        backend.release_memory()
        words = ""
        with backend.use("cupy", memory_limit=pool.total_bytes() + 500_000):
            try:
                model.fit(x, y, 4096, 1, verbose=0)
            except MemoryError as error:
                words = str(error)
        unchanged = all(map(np.array_equal, before, model.get_weights()))
        answer(words=words, unchanged=unchanged)
        held = []
        for _ in range(20):
            model.fit(x[:2000], y[:2000], 32, 1, verbose=0)
            held.append([pool.used_bytes(), pool.total_bytes()])
        answer(held=held, constant=len(set(map(tuple, held[2:]))) == 1)


def first_fit(out: pathlib.Path, quick: bool, answer: Answer) -> None:
    """Time from `python` to the end of a first `fit`, with CuPy's kernel cache empty, then full."""
    needs_gpu()
    took: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as cache:
        caches = {"CUPY_CACHE_DIR": cache, "CUDA_CACHE_PATH": f"{cache}/cuda"}
        for when in ("cold", "warm", "warm again"):
            began = time.perf_counter()
            run = subprocess.run(
                [sys.executable, __file__, "one_fit", "--out", str(out)],
                env={**os.environ, **caches}, capture_output=True, text=True, check=False,
            )  # fmt: skip
            if run.returncode:
                raise SystemExit(last_line(run.stderr))
            inside = json.loads(run.stdout.splitlines()[-1])
            took[when] = {"process": time.perf_counter() - began, **inside}
            took[when]["kernels"] = sum(path.is_file() for path in pathlib.Path(cache).rglob("*"))
            answer(took=took)


def one_fit(out: pathlib.Path, quick: bool, answer: Answer) -> None:
    """Time two fits on random data."""
    x = np.random.default_rng(0).random((640, SIZES[0]), "float32")
    y = np.eye(SIZES[-1], dtype="float32")[np.arange(640) % SIZES[-1]]
    took = {}
    began = time.perf_counter()
    with backend.use("cupy"):
        model = network(seed=1)
        took["to the first array"] = time.perf_counter() - began
        for when in ("first fit", "second fit"):
            began = time.perf_counter()
            model.fit(x, y, 32, 1, verbose=0)
            took[when] = time.perf_counter() - began
    answer(**took)


JOBS: dict[str, Job] = {
    "machine": machine_and_doctor,
    "tests": tests,
    "parity": parity,
    "cpu_vs_gpu": compare,
    "epochs": epochs,
    "capture": capture,
    "memory": memory,
    "first_fit": first_fit,
    "one_fit": one_fit,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Run one part, for on_gpu.py.")
    parser.add_argument("part", choices=JOBS)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # other output goes to stderr, so that only answers are on stdout

    def answer(**what: Any) -> None:
        print(json.dumps(what), file=answers, flush=True)

    try:
        JOBS[arguments.part](arguments.out, arguments.quick, answer)
    except LeftOut as reason:
        answer(nothing_to_do=str(reason))


if __name__ == "__main__":
    main()
