"""Compare the speed of tinynet with that of other libraries, on the network of the example.

    python benchmarks/peers.py                            # MNIST, batches of 32 and of 1,024
    python benchmarks/peers.py --synthetic                # random images of MNIST's shape
    python benchmarks/peers.py --batch-size 32 --rounds 9 --only tinynet pytorch
    python benchmarks/peers.py --quick                    # about a minute
    python benchmarks/peers.py --load 1                   # beside a program that keeps a core busy
    python benchmarks/peers.py --plot peers.png --json peers.json

Every library runs in its own process (`programs.py`). After four epochs to warm up, each library
trains one epoch per round, in a new random order for each round. All start from the same weights
and see the same batches in the first epoch; if their losses after it differ by more than 2 %, the
comparison is aborted. Libraries that are not installed are skipped and listed.

The matrix products alone and PyTorch run with the number of threads that is fastest for them; all
others use their defaults. With `--load N`, N busy loops run beside every program, also while that
number is found, and end with this program.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import itertools
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from programs import SIZES
from report import (
    cores,
    counted,
    machine,
    median,
    parse,
    ratio,
    save,
    seconds,
    shown,
    spread,
    table,
)

HERE = pathlib.Path(__file__).resolve().parent

NAMES = {
    "products": "the matrix products alone",
    "tinynet": "tinynet",
    "tinynet-numpy": "tinynet without Numba",
    "tinynet-cupy": "tinynet on CuPy",
    "tinynet-cupy-ordinary": "tinynet on CuPy, step by step",
    "keras-jax": "Keras on JAX",
    "keras-tensorflow": "Keras on TensorFlow",
    "keras-torch": "Keras on PyTorch",
    "pytorch": "PyTorch, eager",
    "pytorch-graph": "PyTorch, CUDA graph",
    "pytorch-as-keras": "PyTorch, Adam as in Keras",
    "jax": "JAX, whole epoch compiled",
    "scikit-learn": "scikit-learn",
}
NEEDS = {
    "keras-jax": ("keras", "jax"),
    "keras-tensorflow": ("keras", "tensorflow"),
    "keras-torch": ("keras", "torch"),
    "pytorch": ("torch",),
    "jax": ("jax",),
    "scikit-learn": ("sklearn",),
}
# The programs compared here; `on_gpu.py` compares the others.
_ON_GPU = ("tinynet-cupy", "tinynet-cupy-ordinary", "pytorch-graph", "pytorch-as-keras")
CPU = [program for program in NAMES if program not in _ON_GPU]
QUICK = ("tinynet", "tinynet-numpy", "keras-jax", "pytorch", "jax")
WARM_UP = 3  # epochs, after the first one, whose loss is compared
PAUSE = 0.3  # seconds before each epoch: the previous program's threads stay active for a while
TUNED = ("products", "pytorch")  # programs that run with the fastest number of threads


class Worker:
    """A program in its own process, which waits for requests to train an epoch."""

    def __init__(
        self,
        program: str,
        folder: pathlib.Path,
        batch_size: int,
        threads: int | None = None,
        variables: dict[str, str] | None = None,
    ) -> None:
        self.program = program
        log = folder / f"{program}-{threads}.log"
        self._errors = log.open("w+", encoding="utf-8")
        self._process = subprocess.Popen(
            command(program, folder, batch_size),
            env=environment(program, threads) if variables is None else variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self.tell("prove")

    def ready(self) -> Worker:
        """Wait for the end of the first epoch, whose loss is compared with the others'."""
        first = self.answer()
        self.versions: str = first["versions"]
        self.threads: int = first["threads"]
        self.place: str = first["place"]
        return self

    def tell(self, job: str) -> None:
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):  # `answer` reports that the process has ended
            self._process.stdin.write(job + "\n")
            self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout
        answer = self._process.stdout.readline()
        if not answer:
            self._errors.seek(0)
            tail = "".join(self._errors.readlines()[-15:])
            raise SystemExit(f"{NAMES[self.program]} failed:\n{tail}")
        return json.loads(answer)

    def ask(self, job: str) -> dict[str, Any]:
        """Request `job`, and wait for the answer."""
        self.tell(job)
        return self.answer()

    def epoch(self) -> float:
        time.sleep(PAUSE)
        return self.ask("epoch")["seconds"]

    def close(self) -> None:
        self._process.communicate()
        self._errors.close()


def command(program: str, folder: pathlib.Path, batch_size: int, *more: str) -> list[str]:
    script = str(HERE / "programs.py")
    data = ["--data", str(folder), "--batch-size", str(batch_size)]
    return [sys.executable, script, program, *data, *more]


def environment(program: str = "", threads: int | None = None) -> dict[str, str]:
    variables = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3")
    if program == "tinynet-numpy":
        variables["NUMBA_DISABLE_JIT"] = "1"
    # All are compared on the CPU; JAX would use a GPU if it found one, and compute in TF32.
    variables |= {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}
    # Let a second run find compiled bytecode, as users of an installed package do.
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    if program.startswith("keras-"):
        variables["KERAS_BACKEND"] = program.removeprefix("keras-")
    if threads is not None:
        variables |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    return variables


@contextlib.contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """Run `count` programs that keep a core busy each, in a ``with`` block."""
    # A loop ends by itself if this program ends without ending it: its standard input is closed.
    loop = (
        "import sys, threading\n"
        "def work():\n"
        "    while True: pass\n"
        "threading.Thread(target=work, daemon=True).start()\n"
        "sys.stdin.read()"
    )
    loops = [
        subprocess.Popen([sys.executable, "-c", loop], stdin=subprocess.PIPE) for _ in range(count)
    ]
    try:
        yield
    finally:
        for process in loops:
            process.kill()
            process.communicate()


def write_data(folder: pathlib.Path, synthetic: bool) -> str:
    """Write images and initial weights to `folder`; return a description of the images."""
    rng = np.random.default_rng(0)
    if synthetic:
        # To have something to learn, each digit is a random image plus noise.
        y = rng.integers(10, size=60_000)
        x = rng.integers(128, size=(10, 28, 28))[y] + rng.integers(128, size=(60_000, 28, 28))
        x, what = x.astype("uint8"), "random images of MNIST's shape"
    else:
        from tinynet.datasets import mnist

        try:
            (x, y), _ = mnist.load_data()
        except (OSError, ImportError) as error:
            raise SystemExit(f"{error}\nTo run without MNIST, write: --synthetic") from None
        what = "MNIST"
    np.savez(folder / "data.npz", x_train=x, y_train=y)
    weights: list[np.ndarray] = []
    for inputs, units in itertools.pairwise(SIZES):  # Glorot's uniform distribution
        limit = np.sqrt(6 / (inputs + units))
        weights += [rng.uniform(-limit, limit, (inputs, units)), np.zeros(units)]
    np.savez(folder / "weights.npz", *(weight.astype("float32") for weight in weights))
    return what


def loss_of(program: str, folder: pathlib.Path) -> float:
    """Compute the cross-entropy over all images with a program's trained weights, in float64."""
    with np.load(folder / "data.npz") as data, np.load(folder / f"{program}.npz") as saved:
        a, y = data["x_train"].reshape(-1, SIZES[0]) / 255, data["y_train"]
        weights = [saved[name].astype("float64") for name in saved.files]
    for n in range(0, len(weights), 2):
        z = a @ weights[n] + weights[n + 1]
        a = 1 / (1 + np.exp(-z))
    z -= z.max(axis=1, keepdims=True)
    return float((np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(y)), y]).mean())


def check_same(losses: dict[str, float]) -> None:
    """Exit unless all programs have reached the same loss, to within 2 %."""
    usual = float(np.nanmedian(list(losses.values())))
    for program, loss in losses.items():
        if not abs(loss / usual - 1) <= 0.02:
            raise SystemExit(
                f"{NAMES[program]} trains something else: after one epoch its loss is {loss:.4f}, "
                f"that of the others {usual:.4f}. Their times cannot be compared."
            )


def start(program: str, folder: pathlib.Path, batch_size: int) -> Worker:
    """Start a worker and warm it up; for `TUNED` programs, find the fastest number of threads."""
    if program not in TUNED:
        return Worker(program, folder, batch_size).ready()
    counts = [2**n for n in range(cores().bit_length()) if 2**n < cores()] + [cores()]
    tried = {count: Worker(program, folder, batch_size, count).ready() for count in counts}
    took = {count: median([tried[count].epoch() for _ in range(3)]) for count in counts}
    best = min(took, key=lambda count: took[count])
    for count in counts:
        if count != best:
            tried[count].close()
    return tried[best]


def compare_epochs(
    programs: list[str], folder: pathlib.Path, batch_size: int, rounds: int
) -> dict[str, Any]:
    """Measure the seconds for an epoch, `rounds` times for each program, in turn."""
    learning, workers = [p for p in programs if p != "products"], {}
    for program in programs:
        print(f"Starting {NAMES[program]} …", file=sys.stderr, flush=True)
        workers[program] = start(program, folder, batch_size)
    losses = {p: loss_of(p, folder) for p in shown("Comparing losses", learning)}
    check_same(losses)
    # Some programs compile the shuffling, too; tinynet loads Numba after 0.75 s of Adam.
    for program in shown("Warming up", WARM_UP * programs):
        workers[program].epoch()
    took: dict[str, list[float]] = {program: [] for program in programs}
    turns = [p for _ in range(rounds) for p in random.sample(programs, len(programs))]
    for program in shown("Measuring epochs", turns):
        took[program].append(workers[program].epoch())
    for worker in workers.values():
        worker.close()
    return {
        program: {
            "seconds": took[program],
            "loss": losses.get(program),
            "threads": worker.threads,
            "versions": worker.versions,
        }
        for program, worker in workers.items()
    }


def epochs_table(figures: dict[str, Any]) -> str:
    ours = figures["tinynet"]["seconds"] if "tinynet" in figures else None
    rows = []
    for program, one in figures.items():
        took = one["seconds"]
        rows.append(
            [
                NAMES[program],
                f"{median(took):.3f}",
                spread(took),
                f"{ratio(ours, took):.2f}" if ours else "",
                f"{one['loss']:.4f}" if one["loss"] else "",
            ]
        )
    head = ["", "seconds", "spread", "tinynet ÷ other", "loss after epoch 1"]
    return table(head, rows)


def facts(figures: dict[str, Any]) -> str:
    """Return the versions of the programs, and their numbers of threads."""
    versions = {part for one in figures.values() for part in one["versions"].split(", ")}
    threads = [f"{one['threads']} {NAMES[program]}" for program, one in figures.items()]
    return f"{', '.join(sorted(versions))}\nThreads: {'; '.join(threads)}"


def compare_processes(
    programs: list[str], folder: pathlib.Path, batch_size: int, rounds: int
) -> dict[str, dict[str, list[float]]]:
    """Time whole programs: from starting `python` to the end of an epoch, and later calls."""
    took: dict[str, dict[str, list[float]]] = {program: {} for program in programs}
    for turn in shown("Measuring whole programs", range(rounds + 1)):
        for program in random.sample(programs, len(programs)):
            began = time.perf_counter()
            with subprocess.Popen(
                command(program, folder, batch_size, "--once"),
                env=environment(program),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            ) as process:
                assert process.stdout
                for line in process.stdout:
                    answer = json.loads(line)
                    value = answer.get("seconds", time.perf_counter() - began)
                    if turn:  # in the first turn, files are read from the disk
                        took[program].setdefault(answer["job"], []).append(value)
            if process.returncode:
                raise SystemExit(f"{NAMES[program]} failed")
    return took


def processes_table(figures: dict[str, dict[str, list[float]]]) -> str:
    jobs = {
        "process": "from `python` to the end of the first epoch",
        "evaluate, first": "`evaluate` of 10,000 images, first call",
        "predict, first": "`predict` of 10,000 images, first call",
        "evaluate, again": "`evaluate`, called again",
        "predict, again": "`predict`, called again",
    }
    others = [program for program in figures if program != "tinynet"]
    rows = []
    for job, label in jobs.items():
        ours = figures["tinynet"][job]
        row = [label, seconds(median(ours))]
        for program in others:
            theirs = figures[program][job]
            row += [seconds(median(theirs)), f"{ratio(ours, theirs):.2f}"]
        rows.append(row)
    head = ["", "tinynet"]
    for program in others:
        head += [NAMES[program], "tinynet ÷ other"]
    return table(head, rows)


def compare_imports(rounds: int) -> dict[str, list[float]]:
    """Measure the seconds that each `import` takes, each time in a new process."""
    took: dict[str, list[float]] = {"numpy": [], "tinynet": [], "tinynet.models": []}
    for turn in shown("Measuring imports", range(2 * rounds + 1)):
        for module in took:
            program = (
                f"from time import perf_counter as t; s = t(); import {module}; print(t() - s)"
            )
            run = subprocess.run(
                [sys.executable, "-c", program],
                env=environment(),
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            if turn:  # the first turn writes the bytecode
                took[module].append(float(run.stdout))
    return took


def imports_table(took: dict[str, list[float]]) -> str:
    rows = [
        [
            f"`import {module}`{note}",
            seconds(median(took[module])),
            f"{ratio(took[module], took['numpy']):.2f}",
        ]
        for module, note in {
            "numpy": "",
            "tinynet": "",
            "tinynet.models": " (with NumPy and all that training needs)",
        }.items()
    ]
    return table(["", "time", "÷ `import numpy`"], rows)


def plot(results: dict[str, Any], path: pathlib.Path) -> None:
    """Draw a bar chart of the seconds, with one panel for each batch size."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    sizes = list(results["epochs"])
    figure, panels = plt.subplots(
        len(sizes), 1, figsize=(8, 0.6 + 2.9 * len(sizes)), squeeze=False, layout="constrained"
    )
    for size, axes in zip(sizes, panels[:, 0], strict=True):
        figures = results["epochs"][size]
        order = sorted(figures, key=lambda program: -median(figures[program]["seconds"]))
        values = [median(figures[program]["seconds"]) for program in order]
        shades = {"tinynet": "#d1495b", "tinynet-numpy": "#d1495b", "products": "#b8b8b8"}
        colours = [shades.get(program, "#30638e") for program in order]
        bars = axes.barh([NAMES[program] for program in order], values, color=colours, height=0.7)
        axes.bar_label(bars, [f"{value:.2f}" for value in values], padding=4, fontsize=9)
        axes.set_title(f"Batches of {int(size):,}", loc="left", fontsize=11)
        axes.set_xlim(0, max(values) * 1.1)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(left=False)
        axes.set_xlabel("seconds for one epoch, median")
    figure.suptitle(f"784-100-144-10 on {results['data']}\n{results['machine']}", fontsize=10)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare tinynet with other libraries.")
    parser.add_argument("--batch-size", type=int, nargs="+", default=[32, 1024])
    parser.add_argument("--rounds", type=int, help="epochs for each program (5; quick: 2)")
    parser.add_argument("--load", type=int, default=0, metavar="N", help="busy loops beside it (0)")
    parser.add_argument("--quick", action="store_true",
                        help="about a minute: 2 rounds, five programs, epochs only")  # fmt: skip
    parser.add_argument("--synthetic", action="store_true", help="random images instead of MNIST")
    parser.add_argument("--only", nargs="+", choices=CPU, metavar="PROGRAM",
                        help=f"any of: {', '.join(CPU)}")  # fmt: skip
    parser.add_argument("--epochs-only", action="store_true", help="skip the other tables")
    arguments = parse(parser)
    arguments.only = arguments.only or (QUICK if arguments.quick else CPU)
    arguments.rounds = arguments.rounds or (2 if arguments.quick else 5)

    missing = {
        program: [
            module for module in NEEDS.get(program, ()) if not importlib.util.find_spec(module)
        ]
        for program in arguments.only
    }
    programs = [program for program in NAMES if program in arguments.only and not missing[program]]
    results: dict[str, Any] = {"machine": machine(), "rounds": arguments.rounds, "epochs": {}}
    results["load"] = arguments.load
    with tempfile.TemporaryDirectory() as name, busy_loops(arguments.load):
        folder = pathlib.Path(name)
        results["data"] = write_data(folder, arguments.synthetic)
        print(f"{results['machine']}\n784-100-144-10 on {results['data']}, Adam, float32; "
              f"medians of {counted(arguments.rounds, 'round')}, beside "
              f"{counted(arguments.load, 'busy loop')}", flush=True)  # fmt: skip
        for program, modules in missing.items():
            if modules:
                print(f"Skipped: {NAMES[program]} ({' and '.join(modules)} not installed)")
        for batch_size in arguments.batch_size:
            figures = compare_epochs(programs, folder, batch_size, arguments.rounds)
            results["epochs"][str(batch_size)] = figures
            print(f"\nOne epoch, batches of {batch_size:,}\n{facts(figures)}\n")
            print(epochs_table(figures), flush=True)
        whole = [p for p in programs if p in ("tinynet", "keras-jax", "keras-tensorflow")]
        if "tinynet" in whole and not (arguments.epochs_only or arguments.quick):
            results["processes"] = compare_processes(whole, folder, 32, arguments.rounds)
            print(f"\nWhole programs, batches of 32\n\n{processes_table(results['processes'])}")
            results["imports"] = compare_imports(arguments.rounds)
            print(f"\n{imports_table(results['imports'])}")
    save(results, arguments, plot)


if __name__ == "__main__":
    main()
