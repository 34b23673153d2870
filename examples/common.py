"""What several examples need besides the network: data, options, the backend, pictures."""

import argparse
import io
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from tinynet import backend
from tinynet.callbacks import History
from tinynet.datasets import digits, mnist
from tinynet.models import Sequential

# A console or a file without Unicode gets "?" for a character that it lacks, instead of an error.
if isinstance(sys.stdout, io.TextIOWrapper):
    sys.stdout.reconfigure(errors="replace")


def load(which: str) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray], int]:
    """Return the images and labels, and the value of a white pixel."""
    if which != "digits":
        try:
            return *mnist.load_data(), 255
        except (OSError, ImportError) as error:
            if which == "mnist":
                raise SystemExit(f"{error}") from None
            print(f"{error}\nThis run continues with those digits: 1,797 images of 8 x 8 pixels.\n")
    return *digits.load_data(), 16


def choose(name: str) -> None:
    """Compute on the CPU (``"numpy"``) or on a GPU (``"cupy"``)."""
    try:
        backend.use(name)
    except (RuntimeError, ValueError) as error:
        raise SystemExit(f"{error}") from None


def as_text(image: np.ndarray, brightest: int) -> str:
    """Return a small picture made of characters."""
    shades = np.array(list(" .:-=+*#%@"))
    levels = image.astype(int) * (len(shades) - 1) // brightest
    return "\n".join("".join(shades[row].repeat(2)).rstrip() for row in levels if row.any())


def draw(
    model: Sequential,
    history: History,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    probabilities: np.ndarray,
    out: pathlib.Path,
) -> None:
    """Draw four pictures: some digits, the curves, some predictions, the network."""
    print("Drawing the pictures:", end="", flush=True)
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        print(' not without matplotlib. Write: python -m pip install -e ".[examples]"')
        return
    from tinynet import plotting

    pictures: dict[str, Callable[[], Any]] = {
        "digits": lambda: plotting.plot_digits(*train),
        "history": lambda: plotting.plot_history(history)[0],
        "predictions": lambda: plotting.plot_predictions(test[0], probabilities, test[1], wrong=8),
        "network": lambda: plotting.plot_network(model),
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, make in pictures.items():
        print(f" {name}.png", end="", flush=True)
        make().figure.savefig(out / f"{name}.png", dpi=150)
    print(f", in {out}")
    if plt.get_backend().lower() != "agg":  # that is, if there is a display
        plt.show()


def parse_arguments() -> argparse.Namespace:
    """Return the options of `mnist.py`, after choosing the backend that they name."""
    parser = argparse.ArgumentParser(description="Train a small network on handwritten digits.")
    parser.add_argument("--epochs", type=int, default=10, help="passes over the images (10)")
    parser.add_argument("--batch-size", type=int, default=32, help="images per step (32)")
    parser.add_argument("--seed", type=int, default=42, help="equal seeds give equal runs (42)")
    parser.add_argument("--data", choices=["auto", "mnist", "digits"], default="auto")
    parser.add_argument("--backend", choices=["numpy", "cupy", "auto"], help="CPU or GPU (numpy)")
    parser.add_argument("--raw", action="store_true", help="do not scale the pixels to 0…1")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("mnist-pictures"))
    arguments = parser.parse_args()
    if arguments.epochs < 1 or arguments.batch_size < 1:
        parser.error("--epochs and --batch-size have to be at least 1")
    choose(arguments.backend or backend.default_backend())
    return arguments
