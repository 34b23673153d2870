"""Compare variants of the MNIST network, as suggested in the exercises of many tutorials.

    python examples/experiments.py            # twelve networks, three times each: slow
    python examples/experiments.py --quick    # two epochs, one seed, fewer images: a minute
    python examples/experiments.py --only relu dropout --epochs 20

The network of `examples/mnist.py` and its variants are trained from several seeds each. Results are
kept in a file, so an interrupted run can continue. The output is a table and a picture.
"""

import argparse
import json
import pathlib
import time
from collections.abc import Callable
from typing import Any

import matplotlib
import numpy as np
from common import load

from tinynet.callbacks import Callback
from tinynet.layers import Dense, Dropout, Flatten
from tinynet.models import Sequential
from tinynet.optimizers import SGD, Adam
from tinynet.regularizers import L2
from tinynet.utils import set_random_seed


def network(
    *hidden: int,
    activation: str = "sigmoid",
    dropout: float = 0.0,
    l2: float = 0.0,
) -> Callable[[tuple[int, ...]], Sequential]:
    """Return a function that builds a network of Dense layers for a given image shape."""

    def make(shape: tuple[int, ...]) -> Sequential:
        model = Sequential([Flatten(input_shape=shape)])
        for units in hidden:
            price = L2(l2) if l2 else None
            model.add(Dense(units, activation=activation, kernel_regularizer=price))
            if dropout:
                model.add(Dropout(dropout))
        model.add(Dense(10, activation="softmax"))
        return model

    return make


# Name: (network, optimizer, batch size).
VARIANTS: dict[str, tuple[Callable[[tuple[int, ...]], Sequential], Callable[[], Any], int]] = {
    "tutorial": (network(100, 144), Adam, 32),
    "relu": (network(100, 144, activation="relu"), Adam, 32),
    "deeper": (network(100, 144, 144, 144, activation="relu"), Adam, 32),
    "wider": (network(512, 512, activation="relu"), Adam, 128),
    "dropout": (network(512, 512, activation="relu", dropout=0.3), Adam, 128),
    "L2": (network(100, 144, activation="relu", l2=1e-4), Adam, 32),
    "SGD": (network(100, 144, activation="relu"), lambda: SGD(0.1), 32),
    "SGD, momentum": (network(100, 144, activation="relu"), lambda: SGD(0.01, momentum=0.9), 32),
    "Adam, η = 0.01": (network(100, 144, activation="relu"), lambda: Adam(0.01), 32),
    "Adam, η = 0.0001": (network(100, 144, activation="relu"), lambda: Adam(0.0001), 32),
    "large batches": (network(100, 144, activation="relu"), Adam, 512),
    # This one is trained for twice as many epochs: with so much dropout, learning takes longer.
    "best": (network(1024, 1024, activation="relu", dropout=0.5), Adam, 128),
}
LONGER = {"best": 2}


class Clock(Callback):
    """Record how long each epoch takes, validation included, and print a dot after it."""

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.seconds.append(time.perf_counter() - self.start)
        print(".", end="", flush=True)


def main() -> None:
    arguments = parse_arguments()
    (x_train, y_train), (x_test, y_test), brightest = load(arguments.data)
    train = (x_train[: arguments.images] / np.float32(brightest), y_train[: arguments.images])
    test = (x_test / np.float32(brightest), y_test)
    images = f"{len(train[0]):,} images of {train[0][0].size} pixels"
    arguments.out.mkdir(parents=True, exist_ok=True)
    kept = arguments.out / "results.json"
    results = json.loads(kept.read_text("utf-8")) if kept.exists() else {}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in arguments.only or VARIANTS}
    for seed in range(1, arguments.seeds + 1):
        for name, runs in found.items():
            epochs = arguments.epochs * LONGER.get(name, 1)
            key = f"{name}; seed {seed}; {epochs} epochs of {images}"
            print(f"{key}: ", end="", flush=True)
            if key not in results:
                results[key] = run(name, seed, epochs, train, test)
                draft = kept.with_suffix(".new")
                draft.write_text(json.dumps(results, indent=1, ensure_ascii=False), "utf-8")
                draft.replace(kept)
            runs.append(results[key])
            print(f" {results[key]['val_acc'][-1]:.2%}", flush=True)
    text = table(found)
    (arguments.out / "table.md").write_text(text + "\n", encoding="utf-8")
    print(f"\n{text}")
    draw(found, arguments.out / "curves.png")
    print(f"\nCurves: {arguments.out / 'curves.png'}")


def run(name: str, seed: int, epochs: int, train: Any, test: Any) -> dict[str, Any]:
    """Train one variant once; return its accuracies and validation losses, size and time."""
    make, optimizer, batch_size = VARIANTS[name]
    set_random_seed(seed)
    model, clock = make(train[0].shape[1:]), Clock()
    model.compile(optimizer(), "sparse_categorical_crossentropy", metrics=["acc"])
    options: dict[str, Any] = {"validation_data": test, "callbacks": [clock], "verbose": 0}
    x, y = train
    history = model.fit(x, y, batch_size, epochs, **options).history
    return {
        "parameters": model.count_params(),
        "seconds": float(np.median(clock.seconds)),
        "acc": history["acc"],
        "val_acc": history["val_acc"],
        "val_loss": history["val_loss"],
    }


def table(found: dict[str, list[dict[str, Any]]]) -> str:
    """Return a table with the final accuracy of each variant, and of its worst and best seed."""
    lines = [
        "| network | parameters | epochs | validation accuracy | worst and best seed | "
        "training accuracy | s per epoch |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, runs in found.items():
        last = [100 * run["val_acc"][-1] for run in runs]
        learned = np.mean([100 * run["acc"][-1] for run in runs])
        seconds = np.median([run["seconds"] for run in runs])
        lines.append(
            f"| {name} | {runs[0]['parameters']:,} | {len(runs[0]['val_acc'])} | "
            f"{np.mean(last):.2f} % | {min(last):.2f}–{max(last):.2f} % | {learned:.2f} % | "
            f"{seconds:.2f} |"
        )
    return "\n".join(lines)


def draw(found: dict[str, list[dict[str, Any]]], path: pathlib.Path) -> None:
    """Plot validation accuracy by epoch: a line for the mean of the seeds, a band for all seeds."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    columns = 4
    rows = -(-len(found) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(11, 0.6 + 2.1 * rows), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    first = next(iter(found))
    means = {
        name: np.mean([run["val_acc"] for run in runs], axis=0) for name, runs in found.items()
    }
    for ax, (name, runs) in zip(axes.flat, found.items(), strict=False):
        epochs = np.arange(1, len(means[name]) + 1)
        values = 100 * np.array([run["val_acc"] for run in runs])
        if name != first:
            ax.plot(
                np.arange(1, len(means[first]) + 1), 100 * means[first], "--", color="#808080",
                label=first,
            )  # fmt: skip
        ax.fill_between(epochs, values.min(axis=0), values.max(axis=0), color="#56B4E9", alpha=0.5)
        ax.plot(epochs, values.mean(axis=0), "o-", color="#0072B2", markersize=3, label=name)
        ax.set_title(f"{name}: {values[:, -1].mean():.2f} %", fontsize=10)
        ax.grid(alpha=0.3)
        ax.xaxis.get_major_locator().set_params(integer=True)
    lowest = min(mean[len(mean) // 3] for mean in means.values())
    axes[0, 0].set_ylim(100 * lowest - 0.5, 100 * max(map(np.max, means.values())) + 0.3)
    for ax in axes.flat[len(found) :]:
        ax.set_axis_off()
    figure.supxlabel("epoch")
    figure.supylabel("validation accuracy, %")
    figure.suptitle(f"Line: mean of the seeds; band: all seeds; dashed: {first}", fontsize=10)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Variants of the MNIST network, compared.")
    parser.add_argument("--epochs", type=int, default=10, help="passes over the images (10)")
    parser.add_argument("--seeds", type=int, default=3, help="training runs per network (3)")
    parser.add_argument("--images", type=int, default=60_000, help="training images (all)")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, metavar="NAME", help="variants")
    parser.add_argument("--quick", action="store_true", help="--epochs 2 --seeds 1 --images 5000")
    parser.add_argument("--data", choices=["auto", "mnist", "digits"], default="auto")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("experiments"))
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.epochs, arguments.seeds, arguments.images = 2, 1, 5000
    if min(arguments.epochs, arguments.seeds, arguments.images) < 1:
        parser.error("--epochs, --seeds and --images have to be at least 1")
    return arguments


if __name__ == "__main__":
    main()
