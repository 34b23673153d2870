"""See inside the MNIST network: all pictures that tinynet draws, in one folder with an index.html.

    python examples/see_inside.py                 # into see-inside/
    python examples/see_inside.py --data digits   # without MNIST: 8 × 8 digits, some seconds

Trains the network of `examples/mnist.py` for some epochs, and then looks: what goes in, what comes
out, what it confuses, what its first units look for, how the gradients shrink on their way down.
"""

import argparse
import html
import pathlib

import matplotlib
import numpy as np
from mnist import load

from tinynet import plotting
from tinynet.callbacks import Distributions
from tinynet.layers import Dense, Flatten
from tinynet.models import Sequential
from tinynet.utils import set_random_seed

CAPTIONS = {
    "digits": "What goes in: images, each with the digit that it is. That is all the network will "
    "ever be told.",
    "network": "The network, with its learned weights as lines; of wide layers only the first and "
    "last units are drawn. At the corners of the images there is hardly ever ink, so the weights "
    "of those inputs have stayed about what they were.",
    "history": "How it learned: the loss and the share of right answers after each epoch. Where "
    "the loss of the validation turns up, the network begins to learn its images by heart.",
    "predictions": "What it says to images that it has never seen, with its probability for that. "
    "The crossed ones are wrong.",
    "confusion": "Which digits it takes for which. The grey diagonal is right; the darker one of "
    "the other cells, the more often this pair is confused.",
    "mistakes": "The mistakes that it was most certain of. Some of them are anybody's.",
    "weights": "The weights of the first units, as images: yellow where ink makes a unit's sum "
    "larger, blue where it makes it smaller. None looks for a whole digit; they look for strokes "
    "and gaps.",
    "activations": "One image on its way through all layers, a square for each unit. What was a "
    "digit to us becomes a pattern that only the next layer can read, and then ten numbers.",
    "gradients": "How large the gradients of the weights are, layer by layer, where they are not "
    "0. Each sigmoid on the way down multiplies by at most a quarter, so the lowest layer gets the "
    "smallest share.",
    "sizes": "How large the weights themselves are. They grow slowly, and the lowest layer, with "
    "the most inputs, began with the smallest.",
}


def main() -> None:
    arguments = parse_arguments()
    matplotlib.use("Agg")
    set_random_seed(arguments.seed)
    (x_train, y_train), (x_test, y_test), brightest = load(arguments.data)
    model = Sequential(name="see_inside")
    model.add(Flatten(input_shape=x_train.shape[1:]))
    model.add(Dense(100, activation="sigmoid", name="hidden_1"))
    model.add(Dense(144, activation="sigmoid", name="hidden_2"))
    model.add(Dense(10, activation="softmax", name="output"))
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["acc"])
    record = Distributions()
    history = model.fit(
        x_train / brightest,
        y_train,
        epochs=arguments.epochs,
        validation_data=(x_test / brightest, y_test),
        callbacks=[record],
    )
    probabilities = model.predict(x_test / brightest, verbose=0)

    pictures = {
        "digits": plotting.plot_digits(x_train, y_train),
        "network": plotting.plot_network(model),
        "history": plotting.plot_history(history)[0],
        "predictions": plotting.plot_predictions(x_test, probabilities, y_test, wrong=4),
        "confusion": plotting.plot_confusion(y_test, probabilities),
        "mistakes": plotting.plot_mistakes(x_test, probabilities, y_test),
        "weights": plotting.plot_weights(model),
        "activations": plotting.plot_activations(model, x_test[0] / brightest),
        "gradients": plotting.plot_distributions(record, "gradients"),
        "sizes": plotting.plot_distributions(record, "weights"),
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, axes in pictures.items():
        axes.figure.savefig(arguments.out / f"{name}.png", dpi=150)
    right = np.mean(probabilities.argmax(axis=1) == y_test)
    page = arguments.out / "index.html"
    page.write_text(index(len(x_train), arguments.epochs, float(right)), encoding="utf-8")
    print(f"Ten pictures, and what they show: {page}")


def index(images: int, epochs: int, right: float) -> str:
    """A page with all pictures, each with its caption."""
    figures = "\n".join(
        f'<figure><img src="{name}.png" alt="{name}"><figcaption>{html.escape(caption)}'
        "</figcaption></figure>"
        for name, caption in CAPTIONS.items()
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Inside a network that reads digits</title>
<style>
body {{ max-width: 60rem; margin: 2rem auto; padding: 0 1rem; font: 1.05rem/1.5 sans-serif; }}
figure {{ margin: 2.5rem 0; }}
img {{ max-width: 100%; height: auto; }}
figcaption {{ max-width: 42rem; color: #333; }}
</style>
<h1>Inside a network that reads digits</h1>
<p>Trained on {images:,} images for {epochs} epoch{"s" * (epochs != 1)}; right on
{right:.2%} of those it was not trained on.</p>
{figures}
</html>
"""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="All pictures of the MNIST network.")
    parser.add_argument("--epochs", type=int, default=5, help="passes over the images (5)")
    parser.add_argument("--seed", type=int, default=42, help="the same seed, the same run (42)")
    parser.add_argument("--data", choices=["auto", "mnist", "digits"], default="auto")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("see-inside"))
    arguments = parser.parse_args()
    if arguments.epochs < 1:
        parser.error("--epochs has to be at least 1")
    return arguments


if __name__ == "__main__":
    main()
