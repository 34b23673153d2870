"""Handwritten digits, from pixels to predictions: the classic first neural network.

    python examples/mnist.py                # ten epochs; writes pictures and a page
    python examples/mnist.py --raw          # pixels 0…255 instead of 0…1: less accurate
    python examples/mnist.py --epochs 3 --batch-size 128 --seed 7 --data digits
    python examples/mnist.py --backend cupy # on a GPU

It is the program of many Keras tutorials, with `keras` replaced by `tinynet` in the imports.
"""

import argparse
import pathlib

import numpy as np

from tinynet import backend, export_html
from tinynet.callbacks import History
from tinynet.datasets import digits, mnist
from tinynet.layers import Dense, Flatten
from tinynet.models import Sequential
from tinynet.utils import set_random_seed, to_categorical


def main() -> None:
    arguments = parse_arguments()
    choose(arguments.backend or backend.default_backend())
    set_random_seed(arguments.seed)

    # 1. The data: grayscale images of handwritten digits, and the digit that each one shows.
    (X_train, y_train), (X_test, y_test), brightest = load(arguments.data)
    print(f"Training: {X_train.shape} images, {y_train.shape} labels. Test: {X_test.shape}.")
    sample = 250
    print(f"Sample {sample} is a {y_train[sample]}:")
    print(as_text(X_train[sample], brightest))

    # 2. Pixels become numbers from 0 to 1, and labels become rows such as 0 0 0 1 0 0 0 0 0 0,
    #    because the network's output is ten probabilities.
    x_train, x_test = X_train.astype("float32"), X_test.astype("float32")
    if not arguments.raw:
        x_train, x_test = x_train / brightest, x_test / brightest
    t_train = to_categorical(y_train, num_classes=10)
    t_test = to_categorical(y_test, num_classes=10)

    # 3. The network: two hidden layers, and one output for each digit.
    model = Sequential()
    model.add(Flatten(input_shape=X_train.shape[1:]))
    model.add(Dense(100, activation="sigmoid"))
    model.add(Dense(144, activation="sigmoid"))
    model.add(Dense(10, activation="softmax"))
    model.summary()

    # 4. Training: every epoch uses all images once. After each batch, every weight is changed
    #    a little in the direction that makes the loss smaller.
    model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["acc"])
    history = model.fit(
        x_train,
        t_train,
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        validation_data=(x_test, t_test),
    )
    accuracy = history.history["val_acc"][-1]
    print(f"Accuracy: {accuracy:.2%} on {len(x_test):,} digits that it was not trained on.")
    if arguments.raw:
        print(
            "Raw pixels of up to 255 make the weighted sums so large that the sigmoids are 0 or 1 "
            "and flat:\nhardly any gradient passes through, and the first layer hardly learns. "
            "Without --raw, pixels are\ndivided by 255, and the same network reaches 97 to 98 %."
        )

    if len(X_train) < 10_000 and arguments.epochs < 50:
        print("So few images need more epochs: --epochs 50 reaches about 90 %.")

    # 5. Prediction: the most probable of the ten digits is the answer.
    probabilities = model.predict(x_test)
    answers = np.argmax(probabilities, axis=1)
    print(f"First ten answers: {answers[:10]}")
    print(f"First ten labels:  {y_test[:10]}")

    # 6. Pictures, and a page on which to draw digits.
    draw(model, history, (X_train, y_train), (X_test, y_test), probabilities, arguments.out)
    page = export_html(
        model,
        arguments.out / "digits.html",
        samples=(x_test, y_test),
        brightest=brightest if arguments.raw else 1,
    )
    print(f"To draw a digit and watch every unit, open {page} in a browser.")


def choose(name: str) -> None:
    """Compute on the CPU (``"numpy"``) or on a GPU (``"cupy"``)."""
    try:
        backend.use(name)
    except (RuntimeError, ValueError) as error:
        raise SystemExit(f"{error}") from None


def load(which: str) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray], int]:
    """Return the images and labels, and the value of a white pixel."""
    if which != "digits":
        try:
            return *mnist.load_data(), 255
        except (OSError, ImportError) as error:
            if which == "mnist":
                raise SystemExit(f"MNIST is not available: {error}") from None
            print("MNIST was not found and cannot be downloaded: using 1,797 digits of 8 × 8.")
    return *digits.load_data(), 16


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
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        print('No pictures without matplotlib: python -m pip install -e ".[examples]"')
        return
    from tinynet import plotting

    pictures = {
        "digits": plotting.plot_digits(*train),
        "history": plotting.plot_history(history)[0],
        "predictions": plotting.plot_predictions(test[0], probabilities, test[1], wrong=8),
        "network": plotting.plot_network(model),
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, axes in pictures.items():
        axes.figure.savefig(out / f"{name}.png", dpi=150)
    print(f"Pictures in {out}: {', '.join(f'{name}.png' for name in pictures)}")
    if plt.get_backend().lower() != "agg":  # that is, if there is a display
        plt.show()


def parse_arguments() -> argparse.Namespace:
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
    return arguments


if __name__ == "__main__":
    main()
