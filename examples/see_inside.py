"""See inside the MNIST network: all pictures that tinynet draws, in one folder with an index.html.

    python examples/see_inside.py                 # writes to see-inside/
    python examples/see_inside.py --data digits   # without MNIST: 8 × 8 digits, a few seconds

The network of `examples/mnist.py` is trained for a few epochs. The pictures show its inputs, its
predictions, which digits it confuses, its first weights, and how gradients shrink layer by layer.
"""

import argparse
import html
import pathlib

import matplotlib
import numpy as np
from common import load

from tinynet import plotting
from tinynet.callbacks import Distributions
from tinynet.layers import Dense, Flatten
from tinynet.models import Sequential
from tinynet.utils import set_random_seed

CAPTIONS = {
    "digits": "The training data: images, each with the digit that it shows. The network learns "
    "from nothing else.",
    "network": "The network, with the strongest learned weights as lines; in wide layers only the "
    "first and last units are drawn. The corners of the images hardly ever contain ink, so the "
    "weights of those inputs have hardly changed.",
    "history": "The learning curves: loss and accuracy after each epoch. When the validation loss "
    "starts to rise, the network begins to overfit.",
    "predictions": "Predictions for images that the network has not seen, with their probability. "
    "The crossed ones are wrong.",
    "confusion": "The confusion matrix: which digits are mistaken for which. The grey diagonal "
    "shows correct answers; the darker another cell, the more often that pair is confused.",
    "mistakes": "The mistakes with the highest probabilities. Some would be hard for people, too.",
    "weights": "The weights of the first units, as images: blue where ink increases a unit's "
    "weighted sum, yellow where it decreases it. No unit detects a whole digit; they detect "
    "strokes and gaps.",
    "activations": "The activations of all layers for one image, one square per unit. The digit "
    "becomes a pattern that only the next layer can interpret, and finally ten probabilities.",
    "gradients": "How large the gradients of the weights are in each layer, excluding zeros. Each "
    "sigmoid on the way back multiplies by at most a quarter, so the first layer receives the "
    "smallest gradients.",
    "sizes": "How large the weights themselves are. They grow slowly; those of the first layer, "
    "which has the most inputs, started smallest.",
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
    print(f"Ten pictures with captions: {page}")


def index(images: int, epochs: int, right: float) -> str:
    """Return a page with all pictures and their captions."""
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
<p>Trained on {images:,} images for {epochs} epoch{"s" * (epochs != 1)}, with an
accuracy of {right:.2%} on images it was not trained on.</p>
{figures}
</html>
"""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="All pictures of the MNIST network.")
    parser.add_argument("--epochs", type=int, default=5, help="passes over the images (5)")
    parser.add_argument("--seed", type=int, default=42, help="equal seeds give equal runs (42)")
    parser.add_argument("--data", choices=["auto", "mnist", "digits"], default="auto")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("see-inside"))
    arguments = parser.parse_args()
    if arguments.epochs < 1:
        parser.error("--epochs has to be at least 1")
    return arguments


if __name__ == "__main__":
    main()
