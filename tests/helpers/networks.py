"""Networks, layers, samples and layouts of arrays that several test files share."""

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


def memory_mapped(array, directory):
    path = directory / f"{len(list(directory.iterdir()))}.npy"
    np.save(path, array)
    return np.load(path, mmap_mode="r")


def read_only(array, _):
    array = array.copy()
    array.flags.writeable = False
    return array


# Functions of an array and a directory, which return an equal array that lies otherwise in memory.
LAYOUTS = {
    "writeable": lambda a, _: a.copy(),
    "read-only": read_only,
    "memory-mapped": memory_mapped,
    "memory-mapped by columns": lambda a, path: memory_mapped(np.asfortranarray(a), path),
    "every second row": lambda a, _: np.repeat(a, 2, axis=0)[::2],
    "every second column": lambda a, _: np.repeat(a, 2, axis=-1)[..., ::2],
    "backwards": lambda a, _: a[::-1].copy()[::-1],
    "Fortran order": lambda a, _: np.asfortranarray(a),
    "transposed": lambda a, _: np.ascontiguousarray(a.T).T,
    "a slice": lambda a, _: np.pad(a, 2)[tuple(slice(2, -2) for _ in a.shape)],
    "other byte order": lambda a, _: a.astype(a.dtype.newbyteorder()),
    "an array of a subclass": lambda a, _: a.view(type("Mine", (np.ndarray,), {})),
}


def random_weights(rng, *sizes):
    """Return non-zero kernels and biases for a stack of Dense layers of these sizes."""
    shapes = [shape for below, above in pairwise(sizes) for shape in ((below, above), (above,))]
    return [rng.normal(size=shape).astype("float32") for shape in shapes]


class Scale(tinynet.Layer):
    """y = s x, with a non-trainable weight that counts the samples."""

    def build(self, input_shape):
        self.add_weight((), "zeros", trainable=False, name="seen")
        self.add_weight(input_shape[-1:], "ones", name="scale")

    def forward(self, x, training=False):
        self.x = x
        self.seen += len(x)
        return x * self.scale

    def backward(self, gradient):
        self.scale_gradient[...] = (gradient * self.x).sum(axis=0)
        return gradient * self.scale
