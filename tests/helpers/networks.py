"""Networks shared by several test files, built in tinynet or in Keras, and samples for them."""

from itertools import pairwise

import numpy as np

import tinynet

ONE_HOT, SPARSE = "categorical_crossentropy", "sparse_categorical_crossentropy"


def network(
    *stack, inputs=None, library=tinynet, weights=None, loss=None, optimizer="adam", **compiled
):
    """Return a `Sequential` of layers, where (5, "tanh") stands for `Dense(5, "tanh")`.

    It is built at once if `inputs` is given, and compiled if `loss` is given.
    """
    stack = [library.layers.Dense(*one) if isinstance(one, tuple) else one for one in stack]
    model = library.Sequential([library.Input(inputs), *stack] if inputs else stack)
    if weights is not None:
        model.set_weights(weights)
    if loss is not None:
        model.compile(optimizer, loss, **compiled)
    return model


def tutorial(library=tinynet, loss=ONE_HOT, **compiled):
    """Return the tutorial's model: two sigmoid layers between the pixels and ten classes."""
    return network(
        library.layers.Flatten(), (100, "sigmoid"), (144, "sigmoid"), (10, "softmax"),
        inputs=(28, 28), library=library, loss=loss, metrics=["acc"], **compiled,
    )  # fmt: skip


def samples(rng, count, shape, classes):
    """Return random inputs of this shape, their class numbers, and the same as one-hot rows."""
    x = rng.normal(size=(count, *shape)).astype("float32")
    labels = rng.integers(0, classes, count)
    return x, labels, np.eye(classes)[labels]


def random_weights(rng, *sizes):
    """Return non-zero kernels and biases for a stack of Dense layers of these sizes."""
    shapes = [shape for below, above in pairwise(sizes) for shape in ((below, above), (above,))]
    return [rng.normal(size=shape).astype("float32") for shape in shapes]
