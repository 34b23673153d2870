"""Compare the time of a training step on the CPU and on a GPU, for several batch sizes and widths.

    python benchmarks/cpu_vs_gpu.py             # all sizes, in about a minute
    python benchmarks/cpu_vs_gpu.py --quick     # a few sizes, in a few seconds
    python benchmarks/cpu_vs_gpu.py --plot cpu_vs_gpu.png --json cpu_vs_gpu.json

First, both must reach the same loss after 50 steps from the same weights. Then steps are timed, on
a batch that is already on the device: up to 200 steps in a row, with the GPU synchronised only
before the first and after the last, because training does not wait after each step either
(`cupyx.profiler.benchmark`, which does, is therefore not used). An idle GPU lowers its clock rate,
so before each measurement it multiplies large matrices for a moment. Timed separately are the very
first step on the GPU, in which CuPy compiles kernels or loads them from disk; the first step of
each size; sending a batch to the GPU; and launching, the host's work for a step without waiting
for the GPU. Without a GPU, only the CPU is measured.
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
from tinynet.engine.data import Batch, Batches
from tinynet.layers import Dense

INPUTS, CLASSES = 784, 10
CHECKED_STEPS, TOLERANCE = 50, 1e-4
SPIN, SPIN_SECONDS = 1024, 0.1  # rows of a matrix, and how long it is multiplied by itself
# These steps can be launched without waiting: a GPU's queue holds about a thousand launches.
TOLD_STEPS = 10
NAMES = {"numpy": "CPU", "cupy": "GPU"}

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
    """A model and a batch on one backend."""

    def __init__(self, name: str, sizes: dict[str, Any]) -> None:
        self.name, self.sizes = name, sizes
        self.x, self.y = samples(sizes["batch"])
        tinynet.utils.set_random_seed(1)
        with backend.use(name):
            self.model = tinynet.Sequential([tinynet.Input((INPUTS,))])
            for units in sizes["hidden"]:
                self.model.add(Dense(units, activation="sigmoid"))
            self.model.add(Dense(CLASSES, activation="softmax"))
            self.model.compile("adam", "categorical_crossentropy")
            self.model.prepare_training(self.x.shape)
            self.batch = self.send()
        self.seconds: list[float] = []
        self.telling: list[float] = []
        self.sending: list[float] = []
        self.first = 0.0

    def send(self) -> Batch:
        """Send the batch to the device again, and return it."""
        (batch,) = Batches(self.x, self.y, None, len(self.x)).iterate(0, 1)
        return batch

    def steps(self, count: int) -> tuple[float, float]:
        """Return the seconds until all steps are launched, and until they are done."""
        rows = len(self.x)
        with (
            backend.use(self.name),
            threads.for_layers(self.model.layers, rows, trains=True) as threads_for,
        ):
            backend.synchronize()
            began = time.perf_counter()
            for _ in range(count):
                with threads_for(rows):
                    self.loss, _ = training.train_step(self.model, self.batch)
            told = time.perf_counter() - began
            backend.synchronize()
            return told, time.perf_counter() - began

    def warm(self) -> None:
        """Time the first step separately; then choose how many steps to time for about 0.1 s."""
        spin_up(self.name)
        _, self.first = self.steps(1)
        _, once = self.steps(1)
        self.count = min(max(2, int(0.1 / once)), 200)

    def measure(self) -> None:
        """Take one more measurement of each kind."""
        spin_up(self.name)
        _, done = self.steps(self.count)
        self.seconds.append(done / self.count)
        spin_up(self.name)
        told, _ = self.steps(TOLD_STEPS)
        self.telling.append(told / TOLD_STEPS)
        spin_up(self.name)
        with backend.use(self.name):
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
    """Return the loss on each backend after `CHECKED_STEPS` steps from the same weights."""
    losses = {}
    for name in names:
        trainer = Trainer(name, {"batch": 128, "hidden": hidden})
        trainer.steps(CHECKED_STEPS)
        losses[name] = float(trainer.loss)
    return losses


def agree(losses: dict[str, float]) -> bool:
    low, high = min(losses.values()), max(losses.values())
    return all(map(math.isfinite, losses.values())) and high - low <= TOLERANCE * high


def measure(names: list[str], cases: list[dict[str, Any]], rounds: int) -> Iterator[list[Figures]]:
    """Measure every size on each backend, and yield all figures after each round.

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
    """Return the figures of one size."""
    first = trainers[0]
    return {
        **first.sizes,
        "flops": products(first.sizes),
        "bytes": first.x.nbytes + first.y.nbytes,
        "backends": {trainer.name: trainer.figures() for trainer in trainers},
    }


def steps_table(kind: str, names: list[str], entries: list[Figures]) -> str:
    """Return a table of the times per step."""
    head = [kind]
    for name in names:
        head += [f"{NAMES[name]}: per step", "spread", "GFLOP/s"]
    rows = []
    for entry in entries:
        cells = [f"{size_of(kind, entry):,}"]
        for name in names:
            each = entry["backends"][name]["seconds"]
            spread = f"{seconds(min(each))} – {seconds(max(each))}"
            cells += [seconds(median(each)), spread, f"{entry['flops'] / median(each) / 1e9:,.1f}"]
        rows.append([*cells, f"{gain(entry):.2f}"] if len(names) > 1 else cells)
    return table([*head, "CPU ÷ GPU"] if len(names) > 1 else head, rows)


def rest_table(kind: str, names: list[str], entries: list[Figures]) -> str:
    """Return a table of first steps, of sending a batch, and of launching's share of a step."""
    head = [kind, *(f"{NAMES[name]}: first step of this size" for name in names)]
    if "cupy" in names:
        head += ["batch", "sent in", "GB/s", "launching, share of a step"]
    rows = []
    for entry in entries:
        cells = [f"{size_of(kind, entry):,}"]
        cells += [seconds(entry["backends"][name]["first"]) for name in names]
        if "cupy" in names:
            figures = entry["backends"]["cupy"]
            sending, share = median(figures["sending"]), telling_share(entry)
            cells += [f"{entry['bytes'] / 1e6:.1f} MB", seconds(sending)]
            cells += [f"{entry['bytes'] / sending / 1e9:.1f}", f"{share:.0%}"]
        rows.append(cells)
    return table(head, rows)


def telling_share(entry: Figures) -> float:
    figures = entry["backends"]["cupy"]
    return ratio(figures["telling"], figures["seconds"])


def size_of(kind: str, entry: Figures) -> int:
    return entry["batch"] if kind == "batch" else entry["hidden"][0]


def gain(entry: Figures) -> float:
    """Return the CPU's time divided by the GPU's: the median over the rounds."""
    cpu, gpu = (entry["backends"][name]["seconds"] for name in ("numpy", "cupy"))
    return ratio(cpu, gpu)


def crossover(entries: list[Figures]) -> int:
    """Return the index of the first size from which the GPU wins at all larger sizes."""
    return max((n + 1 for n, entry in enumerate(entries) if gain(entry) <= 1), default=0)


def verdict(kind: str, entries: list[Figures]) -> str:
    """Say from which size the GPU wins and, where it does not, why."""
    sizes = [size_of(kind, entry) for entry in entries]
    losing = crossover(entries) - 1
    what = "batches of" if kind == "batch" else "a width of"
    if losing < 0:
        return (
            f"The GPU wins at every {kind} that was measured: the CPU takes {gain(entries[0]):.1f} "
            f"times as long with {what} {sizes[0]:,}, {gain(entries[-1]):.1f} times with "
            f"{sizes[-1]:,}."
        )
    slow = entries[losing]["backends"]
    why = (
        f"With {what} {sizes[losing]:,} the GPU takes {seconds(median(slow['cupy']['seconds']))} "
        f"for a step, the CPU {seconds(median(slow['numpy']['seconds']))}"
    )
    if telling_share(entries[losing]) > 0.5:
        telling = seconds(median(slow["cupy"]["telling"]))
        why += (
            f": the products are soon done, but the host needs {telling} for the launches of "
            "a step's more than fifty operations, one by one"
        )
    why += "."
    if losing == len(entries) - 1:
        won = [f"{size:,}" for size, entry in zip(sizes, entries, strict=True) if gain(entry) > 1]
        if won:
            return f"The GPU wins with {what} {', '.join(won)}, but not with the largest. {why}"
        return f"The CPU wins at every {kind} that was measured. {why}"
    return (
        f"The GPU wins from {what} {sizes[losing + 1]:,} on, and takes {1 / gain(entries[-1]):.0%} "
        f"of the CPU's time with {sizes[-1]:,}. {why}"
    )


def plot(results: Figures, path: pathlib.Path) -> None:
    """Plot the time per step on each backend: one panel for batch sizes, one for widths."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib import ticker

    titles = {"batch": "784-100-144-10, by batch size", "width": "784-w-w-10, batches of 32"}
    figure, panels = plt.subplots(
        1, len(results["kinds"]), figsize=(9.5, 4.2), squeeze=False, layout="constrained"
    )
    for axes, (kind, entries) in zip(panels.flat, results["kinds"].items(), strict=True):
        places = range(len(entries))
        for name, colour in (("numpy", "#d1495b"), ("cupy", "#00798c")):
            found = [entry["backends"][name] for entry in entries if name in entry["backends"]]
            if found:
                steps = [1e3 * median(figures["seconds"]) for figures in found]
                axes.plot(places, steps, "o-", color=colour, label=NAMES[name], markersize=4)
        if "cupy" in results["names"]:
            telling = [1e3 * median(entry["backends"]["cupy"]["telling"]) for entry in entries]
            axes.plot(places, telling, "--", color="#8a8a8a", label="launching on the GPU")
            first = crossover(entries)
            if first < len(entries):
                begins = max(first - 0.5, -0.3)
                axes.axvspan(begins, len(entries) - 0.7, color="#00798c", alpha=0.08, zorder=0)
                axes.text(
                    len(entries) - 0.75, 0.02, "the GPU wins", transform=axes.get_xaxis_transform(),
                    ha="right", color="#00798c", fontsize=9,
                )  # fmt: skip
        labels = [f"{size_of(kind, entry):,}" for entry in entries]
        axes.set_xticks(places, labels, fontsize=8, rotation=45 if len(labels) > 6 else 0)
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
    names = ["numpy", "cupy"] if backend.devices() else ["numpy"]
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
            values = " and ".join(f"{NAMES[name]} {loss:.6f}" for name, loss in losses.items())
            printing(f"Loss after {CHECKED_STEPS} steps of {hidden}: {values}")
            if not agree(losses):
                printing("These are not the same, so nothing is timed.")
                return 1
    printing(f"\nMedians of {counted(rounds, 'round')}; one BLAS thread if products are small.")
    for kind, sizes in cases(arguments.quick).items():
        for entries in measure(names, sizes, rounds):
            results["kinds"][kind] = entries
            save(results, arguments)  # in case the run is interrupted
        printing("\n" + steps_table(kind, names, entries))
        printing("\n" + rest_table(kind, names, entries))
        if len(names) > 1:
            printing("\n" + verdict(kind, entries))
    save(results, arguments, plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
