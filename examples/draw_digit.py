"""Write a page on which to draw digits in a browser and see a trained network recognise them.

    python examples/draw_digit.py                       # trains first, in about ten seconds
    python examples/draw_digit.py --model mine.keras    # uses a saved model instead
    python examples/draw_digit.py --image seven.jpg     # also classifies your own picture

The page is a single file that works without an internet connection and can be sent to others.
"""

import argparse
import pathlib
import webbrowser

import numpy as np
from common import as_text, choose, load

import tinynet
from tinynet import backend
from tinynet.datasets.mnist import prepare_digit
from tinynet.layers import Dense, Flatten
from tinynet.models import Sequential, load_model
from tinynet.utils import set_random_seed


def main() -> None:
    arguments = parse_arguments()
    choose(backend.default_backend())
    (x_train, y_train), (x_test, y_test), brightest = load(arguments.data)
    x_train, x_test = (x.astype("float32") / brightest for x in (x_train, x_test))
    if arguments.model is None:
        model = train(x_train, y_train, arguments.epochs, arguments.seed)
    else:
        try:
            model = load_model(arguments.model)
        except (ValueError, ImportError) as error:
            raise SystemExit(str(error)) from None
    try:
        path = tinynet.export_html(model, arguments.out, samples=(x_test, y_test))
    except (ValueError, OSError) as error:
        raise SystemExit(str(error)) from None
    print(f"The page is {path}, {path.stat().st_size / 1000:.0f} kB.")
    if arguments.image is not None:
        ask(model, arguments.image)
    if not arguments.no_browser and not webbrowser.open(path.resolve().as_uri()):
        print("No browser was found to open it.")


def train(x: np.ndarray, y: np.ndarray, epochs: int, seed: int) -> Sequential:
    """Return the network of `mnist.py`, trained on these images."""
    set_random_seed(seed)
    model = Sequential([Flatten(input_shape=x.shape[1:])])
    model.add(Dense(100, activation="sigmoid"))
    model.add(Dense(144, activation="sigmoid"))
    model.add(Dense(10, activation="softmax"))
    model.compile(loss="sparse_categorical_crossentropy", optimizer="adam", metrics=["acc"])
    model.fit(x, y, epochs=epochs, verbose=2)
    return model


def ask(model: Sequential, picture: pathlib.Path) -> None:
    """Print what the network recognises in a picture, preprocessed like its training images."""
    size = getattr(model, "input_shape", (None, 28))[1] or 28
    try:
        digit = prepare_digit(picture, size=size)
    except (ValueError, OSError, ImportError) as error:
        raise SystemExit(f"Expected a picture of a digit: {error}") from None
    if model.output_shape[-1] != 10:
        raise SystemExit(f"Expected a model with 10 outputs, received {model.output_shape}")
    print(as_text(digit.image, 255))
    probabilities = model.predict(digit.centred[None], verbose=0)[0]
    first, second = probabilities.argsort()[[-1, -2]]
    print(
        f"{picture}: a {first}, with {probabilities[first]:.1%}; "
        f"second choice: a {second}, with {probabilities[second]:.1%}."
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Write a page on which to draw digits.")
    parser.add_argument("--model", type=pathlib.Path, help="a .keras file (default: train one)")
    parser.add_argument("--epochs", type=int, help="passes over the images (10)")
    parser.add_argument("--seed", type=int, help="equal seeds give equal networks (42)")
    parser.add_argument("--data", choices=["auto", "mnist", "digits"], default="auto")
    parser.add_argument("--image", type=pathlib.Path, help="your own picture of a digit")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("digits.html"))
    parser.add_argument("--no-browser", action="store_true", help="only write the page")
    arguments = parser.parse_args()
    if arguments.model is not None and (arguments.epochs, arguments.seed) != (None, None):
        parser.error("--epochs and --seed are for training; the model of --model is not trained")
    arguments.epochs = 10 if arguments.epochs is None else arguments.epochs
    arguments.seed = 42 if arguments.seed is None else arguments.seed
    if arguments.epochs < 1:
        parser.error("--epochs has to be at least 1")
    return arguments


if __name__ == "__main__":
    main()
