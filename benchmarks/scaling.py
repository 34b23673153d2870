"""Measure how the cost of training grows with batch size, width, depth and number of samples.

    python benchmarks/scaling.py                     # all four, in a few minutes
    python benchmarks/scaling.py --only batch width
    python benchmarks/scaling.py --plot scaling.png --json scaling.json

For each size, the table shows the time per sample in one epoch of `fit`; the time of the matrix
products alone (a lower bound, with one BLAS thread or all, whichever is faster) and its share; and
the peak memory of `fit`, excluding the data. The samples have one byte per pixel and are in
a memory-mapped file, as for a data set that does not fit into memory.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import pathlib
import tempfile
import time
import tracemalloc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
from programs import Products
from report import counted, machine, median, parse, save, seconds, shown, table

import tinynet
from tinynet.layers import Dense

INPUTS, CLASSES = 784, 10


def cases() -> dict[str, list[dict[str, Any]]]:
    """Return the sizes to measure; everything not listed is as in the example."""
    usual: dict[str, Any] = {"batch": 32, "hidden": [100, 144]}
    return {
        "batch": [{**usual, "batch": 2**n} for n in range(14)],
        "width": [{"batch": 4096, "hidden": [2**n, 2**n]} for n in range(5, 13)],
        "depth": [{"batch": 128, "hidden": [256] * 2**n} for n in range(5)],
        "samples": [{**usual, "samples": 10**n} for n in range(3, 7)],
    }


def label(kind: str, case: dict[str, Any]) -> str:
    value = {
        "batch": case["batch"],
        "width": case["hidden"][0],
        "depth": len(case["hidden"]),
        "samples": case.get("samples"),
    }[kind]
    return f"{value:,}"


def samples_for(case: dict[str, Any]) -> int:
    """Return the case's number of samples, or enough for about 0.3 s and at least two batches."""
    if "samples" in case:
        return case["samples"]
    sizes = [INPUTS, *case["hidden"], CLASSES]
    flops = 6 * sum(a * b for a, b in itertools.pairwise(sizes))
    step = 300e-6 + case["batch"] * flops / 100e9
    return case["batch"] * min(max(2, int(0.3 / step)), 1000)


class Case:
    """A model and its data, which can train, or compute only the matrix products of training."""

    def __init__(self, sizes: dict[str, Any], x: np.ndarray) -> None:
        self.batch, self.n = sizes["batch"], samples_for(sizes)
        self.x, self.y = x[: self.n], (np.arange(self.n) % CLASSES).astype("int32")
        self.model = tinynet.Sequential([tinynet.Input((INPUTS,))])
        for units in sizes["hidden"]:
            self.model.add(Dense(units, activation="sigmoid"))
        self.model.add(Dense(CLASSES, activation="softmax"))
        self.model.compile("adam", "sparse_categorical_crossentropy", metrics=["acc"])
        # The products take as long per sample with only this much of the data.
        self.rows = min(self.n, max(self.batch, 4096) // self.batch * self.batch)
        x, y = self.x[: self.rows].astype("float32"), self.y[: self.rows]
        self.products = Products(x, y, self.model.get_weights(), self.batch)
        self.seconds: list[float] = []
        self.floors: dict[str, list[float]] = {"all": [], "one": []}
        self.memory = 0

    def fit(self) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Expected inputs")  # unscaled bytes: only timed
            self.model.fit(self.x, self.y, self.batch, verbose=0)

    def measure(self) -> None:
        """Take one more measurement of each kind."""
        self.seconds.append(timed(self.fit) / self.n)
        for threads, taken in self.floors.items():
            repeats = max(1, round(0.2 * self.n / self.rows))
            with blas(threads):
                began = time.perf_counter()
                for _ in range(repeats):
                    self.products.epoch()
                taken.append((time.perf_counter() - began) / (repeats * self.rows))

    def figures(self) -> dict[str, Any]:
        floor = min(self.floors.values(), key=median)
        share = median([low / high for low, high in zip(floor, self.seconds, strict=True)])
        return {"seconds": self.seconds, "floor": floor, "share": share, "memory": self.memory}


def measure(kind: str, cases: list[dict[str, Any]], rounds: int) -> list[dict[str, Any]]:
    """Measure every case once per round, so that a slow moment does not affect only one case."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        x = images(pathlib.Path(folder) / "images", max(map(samples_for, cases)))
        ready = [Case(sizes, x) for sizes in cases]
        for case in shown(f"Memory by {kind}", ready):
            case.memory = memory_of(case.fit)  # this also warms it up
        for case in shown(f"Time by {kind}", ready * rounds):
            case.measure()
        figures = [case.figures() for case in ready]
        del x, case, ready  # so that the file can be deleted
    return [
        {"label": label(kind, sizes), **sizes, **one}
        for sizes, one in zip(cases, figures, strict=True)
    ]


def images(path: pathlib.Path, n: int) -> np.ndarray:
    """Write `n` random samples to a file, and return them as a memory-mapped array."""
    block = np.random.default_rng(0).integers(256, size=(1000, INPUTS), dtype="uint8")
    with path.open("wb") as file:
        for start in range(0, n, len(block)):
            file.write(block[: n - start].tobytes())
    return np.memmap(path, "uint8", "r", shape=(n, INPUTS))


def timed(call: Any) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


@contextmanager
def blas(threads: str) -> Iterator[None]:
    """Return a ``with`` block in which BLAS uses one thread, or its default number."""
    try:
        import threadpoolctl
    except ImportError:
        limits: Any = nullcontext()
    else:
        limits = threadpoolctl.threadpool_limits(1 if threads == "one" else None, user_api="blas")
    with limits:
        yield


def memory_of(call: Any) -> int:
    """Return the peak of the bytes that NumPy and Python allocate during the call."""
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    call()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak - before


def row(kind: str, figures: dict[str, Any]) -> list[str]:
    return [
        f"{kind} {figures['label']}",
        seconds(median(figures["seconds"])),
        seconds(median(figures["floor"])),
        f"{figures['share']:.0%}",
        f"{figures['memory'] / 1e6:.1f} MB",
    ]


def plot(results: dict[str, Any], path: pathlib.Path) -> None:
    """Draw a panel for each kind of size: time per sample, of `fit` and of its products alone."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fixed = {
        "batch": "784-100-144-10",
        "width": "784-width-width-10, batches of 4,096",
        "depth": "784-256-…-256-10, batches of 128",
        "samples": "784-100-144-10, batches of 32",
    }
    kinds = list(results["kinds"])
    figure, panels = plt.subplots(
        -(-len(kinds) // 2), min(2, len(kinds)), figsize=(9.5, 3.2 * -(-len(kinds) // 2) + 0.5),
        squeeze=False, layout="constrained",
    )  # fmt: skip
    for kind, axes in zip(kinds, panels.flat, strict=False):
        labels = [entry["label"] for entry in results["kinds"][kind]]
        places = range(len(labels))
        for name, colour, style in (("seconds", "#d1495b", "o-"), ("floor", "#8a8a8a", "o--")):
            values = [1e6 * median(entry[name]) for entry in results["kinds"][kind]]
            text = "fit" if name == "seconds" else "products alone"
            axes.plot(places, values, style, color=colour, label=text, markersize=4)
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, high / 20), high * 1.3)
        axes.set_xticks(places, labels, fontsize=8, rotation=45 if len(labels) > 8 else 0)
        axes.set_title(f"{kind}  ({fixed[kind]})", loc="left", fontsize=10)
        axes.set_ylabel("µs per sample")
        axes.grid(axis="y", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels.flat[0].legend(frameon=False, fontsize=9)
    for spare in panels.flat[len(kinds) :]:
        spare.set_visible(False)
    figure.suptitle(results["machine"], fontsize=10)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how the cost of training grows.")
    parser.add_argument("--only", nargs="+", choices=cases(), default=[*cases()])
    parser.add_argument("--rounds", type=int, default=5, help="measurements per size (5)")
    arguments = parse(parser)
    about = f"{machine()}, NumPy {np.__version__}, tinynet {tinynet.__version__}"
    results: dict[str, Any] = {"machine": about, "kinds": {}}
    print(f"{about}; medians of {counted(arguments.rounds, 'round')}\n")
    rows = []
    for kind in arguments.only:
        results["kinds"][kind] = measure(kind, cases()[kind], arguments.rounds)
        rows += [row(kind, figures) for figures in results["kinds"][kind]]
    print(table(["", "per sample", "products alone", "share", "peak memory"], rows))
    save(results, arguments, plot)


if __name__ == "__main__":
    main()
