"""Compare the time of a training step on the CPU and on a GPU, for several batch sizes and widths.

    python benchmarks/cpu_vs_gpu.py             # all sizes, in about two minutes
    python benchmarks/cpu_vs_gpu.py --quick     # a few sizes, in a few seconds
    python benchmarks/cpu_vs_gpu.py --plot cpu_vs_gpu.png --json cpu_vs_gpu.json

On the GPU, a step is done in two ways: operation by operation, as if a callback watched each step;
and replayed from a CUDA graph, as `fit` does from the third step on. Where steps cannot be captured
as such a graph, the second way is left out.

First, all must reach the same loss after 50 steps from the same weights. Then steps are timed, on
a batch that is already on the device: up to 200 steps in a row, with the GPU synchronised only
before the first and after the last, because training does not wait after each step either
(`cupyx.profiler.benchmark`, which does, is therefore not used). An idle GPU lowers its clock rate,
so before each measurement it multiplies large matrices for a moment. Timed separately are the very
first step on the GPU, in which CuPy compiles kernels or loads them from disk; the first step of
each size, or the two in which a step is rehearsed and captured; sending a batch to the GPU; and
launching, the host's work for a step without waiting for the GPU. Without a GPU, only the CPU is
measured.
"""

from __future__ import annotations

import argparse
import itertools
import math
import pathlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from programs import blas_threads
from report import counted, machine, median, parse, ratio, save, seconds, shown, table

import tinynet
from tinynet import backend, doctor, training
from tinynet.backend import threads
from tinynet.callbacks import LambdaCallback
from tinynet.callbacks.base import CallbackList
from tinynet.engine.data import Batch, Batches
from tinynet.engine.steps import Steps
from tinynet.engine.tracker import Tracker
from tinynet.layers import Dense

INPUTS, CLASSES = 784, 10
CHECKED_STEPS, TOLERANCE = 50, 1e-4
SPIN, SPIN_SECONDS = 1024, 0.1  # rows of a matrix, and how long it is multiplied by itself
# So many steps can be launched without waiting: a GPU's queue holds about a thousand launches, and
# a replay with the copies before and after it is about five.
TOLD_STEPS = {"cupy": 10, "replay": 100}
NAMES = {"numpy": "CPU", "cupy": "GPU", "replay": "GPU, replayed"}
COLOURS = {"numpy": "#d1495b", "cupy": "#00798c", "replay": "#6a994e"}
HOW = {"cupy": "Step by step", "replay": "Replayed"}

Figures = dict[str, Any]


def cases(quick: bool) -> dict[str, list[dict[str, Any]]]:
    """Return the sizes to measure: several batch sizes for the example network, and widths."""
    batches = [32, 512, 4096] if quick else [2**n for n in range(5, 15)]
    widths = [64, 256, 1024] if quick else [2**n for n in range(6, 13)]
    return {
        "batch": [{"batch": size, "hidden": [100, 144]} for size in batches],
        "width": [{"batch": 32, "hidden": [size, size]} for size in widths],
    }


def products(sizes: dict[str, Any]) -> int:
    """Count the floating-point operations in a step's matrix products.

    Each layer has three products of 2 · batch · inputs · units: forward, and for the gradients of
    its weights and of its inputs; the first layer does not need the gradient of its inputs.
    """
    widths = [INPUTS, *sizes["hidden"], CLASSES]
    first, *rest = (2 * sizes["batch"] * a * b for a, b in itertools.pairwise(widths))
    return 2 * first + 3 * sum(rest)


def samples(size: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(CLASSES, size=size)
    return rng.random((size, INPUTS), "float32"), np.eye(CLASSES, dtype="float32")[labels]


class Trainer:
    """A model and a batch: on the CPU, or on the GPU with ordinary or with replayed steps.

    Arguments:
        name: one of `NAMES`.
    """

    def __init__(self, name: str, sizes: dict[str, Any]) -> None:
        self.name, self.sizes = name, sizes
        self.backend = "numpy" if name == "numpy" else "cupy"
        self.x, self.y = samples(sizes["batch"])
        tinynet.utils.set_random_seed(1)
        with backend.use(self.backend):
            self.model = tinynet.Sequential([tinynet.Input((INPUTS,))])
            for units in sizes["hidden"]:
                self.model.add(Dense(units, activation="sigmoid"))
            self.model.add(Dense(CLASSES, activation="softmax"))
            self.model.compile("adam", "categorical_crossentropy")
            self.model.prepare_training(self.x.shape)
            self.batch = self.send()
        # No step is replayed if a callback watches single steps; this one is never called.
        watching = LambdaCallback(on_train_batch_end=print) if name == "cupy" else None
        callback_list = CallbackList(watching, self.model, {})
        self.do_steps = Steps(self.model, self.batches(), callback_list)
        self.seconds: list[float] = []
        self.telling: list[float] = []
        self.sending: list[float] = []
        self.first = 0.0

    def batches(self) -> Batches:
        return Batches(self.x, self.y, None, len(self.x))

    def send(self) -> Batch:
        """Send the batch to the device again, and return it."""
        (batch,) = self.batches().iterate(0, 1)
        return batch

    def steps(self, count: int) -> tuple[float, float]:
        """Return the seconds until all steps are launched, and until they are done.

        They are an epoch of `fit`: the losses are kept, and the first replay sends the numbers of
        all steps to the GPU.
        """
        rows = len(self.x)
        with (
            backend.use(self.backend),
            threads.for_layers(self.model.layers, rows, trains=True) as threads_for,
        ):
            tracker = Tracker({}, self.model.dtype, count)
            do_step = self.do_steps.of_epoch(training.train_step, tracker)
            backend.synchronize()
            began = time.perf_counter()
            for _ in range(count):
                with threads_for(rows):
                    self.loss = do_step(self.batch)
            told = time.perf_counter() - began
            backend.synchronize()
            return told, time.perf_counter() - began

    def warm(self) -> None:
        """Time the first step separately; then choose how many steps to time for about 0.1 s."""
        spin_up(self.backend)
        _, self.first = self.steps(1)
        if self.name == "replay":
            _, self.first = self.steps(2)  # the rehearsal, and the capture with a first replay
        _, once = self.steps(1)
        self.count = min(max(2, int(0.1 / once)), 200)

    def measure(self) -> None:
        """Take one more measurement of each kind."""
        spin_up(self.backend)
        _, done = self.steps(self.count)
        self.seconds.append(done / self.count)
        if self.name == "numpy":
            return
        spin_up(self.backend)
        told, _ = self.steps(TOLD_STEPS[self.name])
        self.telling.append(told / TOLD_STEPS[self.name])
        if self.name != "cupy":
            return
        spin_up(self.backend)
        with backend.use(self.backend):
            backend.synchronize()
            began = time.perf_counter()
            self.send()
            backend.synchronize()
            self.sending.append(time.perf_counter() - began)

    def figures(self) -> Figures:
        return {
            "seconds": self.seconds,
            "telling": self.telling,
            "sending": self.sending,
            "first": self.first,
            "steps": self.count,
            "replayed": self.do_steps.replayed,
        }


def spin_up(name: str) -> None:
    """Keep the GPU busy until it runs at its full clock rate."""
    if name == "numpy":
        return
    with backend.use(name):
        matrix = backend.xp.asarray(np.ones((SPIN, SPIN), "float32"))
        product = backend.xp.empty(matrix.shape, "float32")
        until = time.perf_counter() + SPIN_SECONDS
        while time.perf_counter() < until:
            backend.xp.matmul(matrix, matrix, out=product)
            backend.synchronize()


def check(names: list[str], hidden: list[int]) -> dict[str, float]:
    """Return each way's loss after `CHECKED_STEPS` steps from the same weights.

    There is none for replays where steps cannot be captured.
    """
    losses = {}
    for name in names:
        trainer = Trainer(name, {"batch": 128, "hidden": hidden})
        trainer.steps(CHECKED_STEPS)
        if name != "replay" or trainer.do_steps.replayed:
            losses[name] = float(trainer.loss)
    return losses


def agree(losses: dict[str, float]) -> bool:
    low, high = min(losses.values()), max(losses.values())
    return all(map(math.isfinite, losses.values())) and high - low <= TOLERANCE * high


def measure(names: list[str], cases: list[dict[str, Any]], rounds: int) -> Iterator[list[Figures]]:
    """Measure every size in each way, and yield all figures after each round.

    All take turns, so that a slow moment does not affect only one of them.
    """
    ready = [[Trainer(name, sizes) for name in names] for sizes in cases]
    trainers = list(itertools.chain(*ready))
    for trainer in shown("Warming up", trainers):
        trainer.warm()
    for number in range(rounds):
        for trainer in shown(f"Measuring, round {number + 1} of {rounds}", trainers):
            trainer.measure()
        yield [entry(trainers) for trainers in ready]


def entry(trainers: list[Trainer]) -> Figures:
    """Return the figures of one size, without those of replays if there was no memory for them."""
    first = trainers[0]
    return {
        **first.sizes,
        "flops": products(first.sizes),
        "bytes": first.x.nbytes + first.y.nbytes,
        "ways": {
            trainer.name: trainer.figures()
            for trainer in trainers
            if trainer.name != "replay" or trainer.do_steps.replayed
        },
    }


def steps_table(kind: str, names: list[str], entries: list[Figures]) -> str:
    """Return a table of the times per step."""
    head = [kind]
    for name in names:
        head += [f"{NAMES[name]}: per step", "spread"]
    rows = []
    for entry in entries:
        cells = [f"{size_of(kind, entry):,}"]
        for name in names:
            each = entry["ways"][name]["seconds"] if name in entry["ways"] else []
            spread = f"{seconds(min(each))} – {seconds(max(each))}" if each else ""
            cells += [seconds(median(each)) if each else "", spread]
        gains = [f"{gain(entry, n):.2f}" if n in entry["ways"] else "" for n in names[1:]]
        rows.append(cells + gains)
    return table([*head, *(f"CPU ÷ {NAMES[name]}" for name in names[1:])], rows)


def rest_table(kind: str, names: list[str], entries: list[Figures]) -> str:
    """Return a table of speeds, launching's share of a step, first steps, and sending a batch."""
    columns: dict[str, Callable[[Figures, str], str]] = {
        "GFLOP/s": lambda entry, name: f"{speed(entry, name) / 1e9:,.1f}",
        "launching": lambda entry, name: f"{telling_share(entry, name):.0%}",
        "first step": lambda entry, name: seconds(entry["ways"][name]["first"]),
    }
    cells = {
        f"{NAMES[name]}: {what}": [
            tell(entry, name) if name in entry["ways"] else "" for entry in entries
        ]
        for what, tell in columns.items()
        for name in (names[1:] if what == "launching" else names)
    }
    if "cupy" in names:
        sending = [(entry["bytes"], median(entry["ways"]["cupy"]["sending"])) for entry in entries]
        cells["batch"] = [f"{size / 1e6:.1f} MB" for size, _ in sending]
        cells["sent in"] = [seconds(took) for _, took in sending]
        cells["GB/s"] = [f"{size / took / 1e9:.1f}" for size, took in sending]
    sizes = [f"{size_of(kind, entry):,}" for entry in entries]
    head = [name.replace("replayed: first step", "rehearsed and captured in") for name in cells]
    return table([kind, *head], [*zip(sizes, *cells.values(), strict=True)])


def speed(entry: Figures, name: str) -> float:
    """Return the number of floating-point operations per second."""
    flops: float = entry["flops"]
    return flops / median(entry["ways"][name]["seconds"])


def telling_share(entry: Figures, name: str) -> float:
    figures = entry["ways"][name]
    return ratio(figures["telling"], figures["seconds"])


def size_of(kind: str, entry: Figures) -> int:
    return entry["batch"] if kind == "batch" else entry["hidden"][0]


def gain(entry: Figures, name: str) -> float:
    """Return the CPU's time divided by the GPU's: the median over the rounds."""
    return ratio(entry["ways"]["numpy"]["seconds"], entry["ways"][name]["seconds"])


def crossover(name: str, entries: list[Figures]) -> int:
    """Return the index of the first size from which the GPU wins at all larger sizes."""
    return max((n + 1 for n, entry in enumerate(entries) if gain(entry, name) <= 1), default=0)


def verdict(kind: str, name: str, entries: list[Figures]) -> str:
    """Say from which size the GPU wins in one way and, where it does not, why."""
    entries = [entry for entry in entries if name in entry["ways"]]
    if not entries:
        return f"{HOW[name]}, no {kind} was measured."
    gains = [gain(entry, name) for entry in entries]
    sizes = [size_of(kind, entry) for entry in entries]
    losing = crossover(name, entries) - 1
    what = "batches of" if kind == "batch" else "a width of"
    if losing < 0:
        return (
            f"{HOW[name]}, the GPU wins at every {kind} that was measured: the CPU takes "
            f"{gains[0]:.1f} times as long with {what} {sizes[0]:,}, {gains[-1]:.1f} times with "
            f"{sizes[-1]:,}."
        )
    slow = entries[losing]["ways"]
    why = (
        f"With {what} {sizes[losing]:,} the GPU takes {seconds(median(slow[name]['seconds']))} "
        f"for a step, the CPU {seconds(median(slow['numpy']['seconds']))}"
    )
    if telling_share(entries[losing], name) > 0.5:
        telling = seconds(median(slow[name]["telling"]))
        launches = {
            "cupy": "launches of all its operations, one by one",
            "replay": "launch of the graph, and of the copies before it",
        }
        why += f": its products are soon done, but the host needs {telling} for the "
        why += launches[name]
    why += "."
    if losing == len(entries) - 1:
        won = [f"{size:,}" for size, gained in zip(sizes, gains, strict=True) if gained > 1]
        if won:
            return (
                f"{HOW[name]}, the GPU wins with {what} {', '.join(won)}, but not with the "
                f"largest. {why}"
            )
        return f"{HOW[name]}, the CPU wins at every {kind} that was measured. {why}"
    return (
        f"{HOW[name]}, the GPU wins from {what} {sizes[losing + 1]:,} on, and takes "
        f"{1 / gains[-1]:.0%} of the CPU's time with {sizes[-1]:,}. {why}"
    )


def plot(results: Figures, path: pathlib.Path) -> None:
    """Plot the time per step in each way: one panel for batch sizes, one for widths."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib import ticker

    titles = {"batch": "784-100-144-10, by batch size", "width": "784-w-w-10, batches of 32"}
    figure, panels = plt.subplots(
        1, len(results["kinds"]), figsize=(9.5, 4.2), squeeze=False, layout="constrained"
    )
    for axes, (kind, entries) in zip(panels.flat, results["kinds"].items(), strict=True):
        won = len(entries)
        for name in results["names"]:
            found = {n: e for n, e in enumerate(entries) if name in e["ways"]}
            steps = [1e3 * median(e["ways"][name]["seconds"]) for e in found.values()]
            axes.plot([*found], steps, "o-", color=COLOURS[name], label=NAMES[name], markersize=4)
            if name == "numpy" or not found:
                continue
            telling = [1e3 * median(e["ways"][name]["telling"]) for e in found.values()]
            launching = f"{NAMES[name]}: launching"
            axes.plot([*found], telling, "--", color=COLOURS[name], label=launching, alpha=0.5)
            first = [*found, len(entries)][crossover(name, [*found.values()])]
            if first < len(entries):
                begins = max(first - 0.5, -0.3)
                axes.axvspan(begins, len(entries) - 0.7, color=COLOURS[name], alpha=0.08, zorder=0)
            won = min(won, first)
        if won < len(entries):
            axes.text(
                len(entries) - 0.75, 0.02, "the GPU wins", transform=axes.get_xaxis_transform(),
                ha="right", color=COLOURS["cupy"], fontsize=9,
            )  # fmt: skip
        labels = [f"{size_of(kind, entry):,}" for entry in entries]
        turned = 45 if len(labels) > 6 else 0
        axes.set_xticks(range(len(labels)), labels, fontsize=8, rotation=turned)
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_locator(ticker.NullLocator())
        axes.set_title(titles[kind], loc="left", fontsize=10)
        axes.set_xlabel("batch size" if kind == "batch" else "width w")
        axes.set_ylabel("milliseconds per step")
        axes.grid(axis="y", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels.flat[0].legend(frameon=False, fontsize=9)
    figure.suptitle("\n".join(results["about"]), fontsize=8)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def about(names: list[str]) -> list[str]:
    """Return lines that describe the machine and the libraries."""
    lines = [
        f"CPU: {machine()}",
        f"NumPy {np.__version__}, {blas()}, tinynet {tinynet.__version__}",
    ]
    if "cupy" in names:
        lines += [line for line in doctor.about_gpu().splitlines() if not line.startswith("All")]
    return lines


def blas() -> str:
    """Return the name of NumPy's BLAS library, and its number of threads."""
    built: Any = np.show_config(mode="dicts")
    found = built.get("Build Dependencies", {}).get("blas", {})
    name = f"{found.get('name', 'BLAS')} {found.get('version', '')}".strip()
    return f"{name} with {counted(blas_threads(), 'thread')}"


def main(printing: Callable[[str], None] = print) -> int:
    parser = argparse.ArgumentParser(description="Time a training step on a CPU and a GPU.")
    parser.add_argument("--quick", action="store_true", help="measure only a few sizes")
    parser.add_argument("--rounds", type=int, help="measurements per size (7; 3 with --quick)")
    arguments = parse(parser)
    rounds = (3 if arguments.quick else 7) if arguments.rounds is None else arguments.rounds
    if rounds < 1:
        parser.error("--rounds has to be at least 1")
    names = [*NAMES] if backend.devices() else ["numpy"]
    if len(names) > 1:
        try:
            backend.gpu.resolve_backend("cupy")
        except RuntimeError:
            names = ["numpy"]
    results: Figures = {"about": about(names), "names": names, "rounds": rounds, "kinds": {}}
    printing("\n".join(results["about"]))
    if len(names) == 1:
        printing(doctor.about_gpu())
        printing("Only the CPU is measured; these results say nothing about a GPU.")
    else:
        _, first = Trainer("cupy", cases(True)["batch"][0]).steps(1)
        results["first"] = first
        printing(f"The very first step on the GPU: {seconds(first)}")
        for hidden in ([100, 144], [256, 256]):
            losses = check(names, hidden)
            names = [*losses]
            values = ", ".join(f"{NAMES[name]} {loss:.6f}" for name, loss in losses.items())
            printing(f"Loss after {CHECKED_STEPS} steps of {hidden}: {values}")
            if not agree(losses):
                printing("These are not the same, so nothing is timed.")
                return 1
        results["names"] = names
        if "replay" not in names:
            printing("Steps cannot be captured as a CUDA graph here, so none are replayed.")
    printing(f"\nMedians of {counted(rounds, 'round')}; one BLAS thread if products are small.")
    for kind, sizes in cases(arguments.quick).items():
        for entries in measure(names, sizes, rounds):
            results["kinds"][kind] = entries
            save(results, arguments)  # in case the run is interrupted
        printing("\n" + steps_table(kind, names, entries))
        printing("\n" + rest_table(kind, names, entries))
        for name in names[1:]:
            printing("\n" + verdict(kind, name, entries))
    save(results, arguments, plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
