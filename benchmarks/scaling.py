"""How the cost of training grows: with the batch, the width, the depth and the number of samples.

    python benchmarks/scaling.py                     # all four, a few minutes
    python benchmarks/scaling.py --only batch width
    python benchmarks/scaling.py --plot scaling.png --json scaling.json

For each size: seconds for a sample in one epoch of `fit`; the share of them that the matrix
products alone would take (the floor, with one BLAS thread or all, whichever is quicker); and the
most memory that `fit` has taken at any moment, beside the data. The samples are bytes, one
byte a pixel, in a file that is mapped into memory, as a data set is that does not fit into it.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import pathlib
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
from programs import Products
from report import machine, median, seconds, table

import tinynet
from tinynet.layers import Dense

INPUTS, CLASSES = 784, 10


def cases() -> dict[str, list[dict[str, Any]]]:
    """The sizes to measure. All that is not said is as in the example."""
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
    """As many samples as take about half a second, in at least two batches."""
    sizes = [INPUTS, *case["hidden"], CLASSES]
    flops = 6 * sum(a * b for a, b in itertools.pairwise(sizes))
    step = 300e-6 + case["batch"] * flops / 100e9
    return case["batch"] * min(max(2, int(0.5 / step)), 1000)


def measure(case: dict[str, Any], folder: pathlib.Path, rounds: int) -> dict[str, Any]:
    """Seconds a sample of `fit` and of the products alone, and the memory that `fit` takes."""
    batch, n = case["batch"], case.get("samples") or samples_for(case)
    x = images(folder, n)
    y = (np.arange(n) % CLASSES).astype("int32")
    model = tinynet.Sequential([tinynet.Input((INPUTS,))])
    for units in case["hidden"]:
        model.add(Dense(units, activation="sigmoid"))
    model.add(Dense(CLASSES, activation="softmax"))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["acc"])

    def fit(count: int = n) -> None:
        model.fit(x[:count], y[:count], batch, verbose=0)

    fit(2 * batch)
    rows = min(n, max(batch, 4096) // batch * batch)  # the floor needs no more data than that
    products = Products(x[:rows].astype("float32"), y, model.get_weights(), batch)

    ours: list[float] = []
    floors: dict[str, list[float]] = {"all": [], "one": []}
    for _ in range(rounds):
        ours.append(timed(fit) / n)
        for threads, taken in floors.items():
            with blas(threads):
                repeats = max(1, round(0.2 * n / rows))
                began = time.perf_counter()
                for _ in range(repeats):
                    products.epoch()
                taken.append((time.perf_counter() - began) / (repeats * rows))
    floor = min(floors.values(), key=median)
    share = median([low / high for low, high in zip(floor, ours, strict=True)])
    return {"seconds": ours, "floor": floor, "share": share, "memory": memory_of(fit)}


def images(folder: pathlib.Path, n: int) -> np.ndarray:
    """`n` samples in a file, mapped into memory."""
    path = folder / f"{n}.bytes"
    if not path.exists():
        for old in folder.glob("*.bytes"):
            old.unlink()
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
    """A ``with`` block in which BLAS uses one thread, or all as it would by itself."""
    try:
        import threadpoolctl
    except ImportError:
        limits: Any = nullcontext()
    else:
        limits = threadpoolctl.threadpool_limits(1 if threads == "one" else None, user_api="blas")
    with limits:
        yield


def memory_of(call: Any) -> int:
    """The most bytes that NumPy and Python have held at any moment of the call, beyond before."""
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    call()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak - before


def row(kind: str, case: dict[str, Any], figures: dict[str, Any]) -> list[str]:
    return [
        f"{kind} {label(kind, case)}",
        seconds(median(figures["seconds"])),
        seconds(median(figures["floor"])),
        f"{figures['share']:.0%}",
        f"{figures['memory'] / 1e6:.1f} MB",
    ]


def plot(results: dict[str, Any], path: pathlib.Path) -> None:
    """A panel for each kind of size: what a sample costs, and what its products alone would."""
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
            text = "fit" if name == "seconds" else "its products alone"
            axes.plot(places, values, style, color=colour, label=text, markersize=4)
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, high / 20), high * 1.3)
        axes.set_xticks(places, labels, fontsize=8, rotation=45 if len(labels) > 8 else 0)
        axes.set_title(f"{kind}  ({fixed[kind]})", loc="left", fontsize=10)
        axes.set_ylabel("µs a sample")
        axes.grid(axis="y", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels.flat[0].legend(frameon=False, fontsize=9)
    for spare in panels.flat[len(kinds) :]:
        spare.set_visible(False)
    figure.suptitle(results["machine"], fontsize=10)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description="How the cost of training grows.")
    parser.add_argument("--only", nargs="+", choices=cases(), default=[*cases()])
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each size (5)")
    parser.add_argument("--plot", type=pathlib.Path, metavar="FILE", help="draw a picture")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write all figures")
    arguments = parser.parse_args()
    about = f"{machine()}, NumPy {np.__version__}, tinynet {tinynet.__version__}"
    results: dict[str, Any] = {"machine": about, "kinds": {}}
    print(f"{about}; medians of {arguments.rounds} rounds\n")
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for kind in arguments.only:
            results["kinds"][kind] = []
            for case in cases()[kind]:
                figures = measure(case, pathlib.Path(name), arguments.rounds)
                results["kinds"][kind].append({"label": label(kind, case), **case, **figures})
                rows.append(row(kind, case, figures))
                print("  ".join(rows[-1]), flush=True)
    print("\n" + table(["", "a sample", "its products", "their share", "memory"], rows))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    if arguments.plot:
        plot(results, arguments.plot)


if __name__ == "__main__":
    main()
