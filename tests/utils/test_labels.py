"""`to_categorical` and `set_random_seed`, compared with Keras."""

import random

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from arrays import assert_array_equal
from networks import network
from oracle import refused, same

from tinynet.utils import set_random_seed, to_categorical

pytestmark = pytest.mark.computes

# to_categorical


def test_to_categorical_equals_keras_and_does_not_change_the_labels(keras):
    cases = [
        ([0, 2, 1], 5), ((1, 2), None), (range(3), None), ([0, 1], 0), ([0, 1], np.int64(3)),
        (5, None), (np.array(2), 4), (-1, 3), ([-1, 2], None), ([-3, 2], 3), ([1.9, 0.2], None),
        ([-0.5], 3), ([True, False], None), (np.array([[2], [0]]), None),
    ]  # fmt: skip
    for labels, classes in cases:
        kept = np.array(labels)
        expected = keras.utils.to_categorical(labels, classes)
        assert_array_equal(to_categorical(labels, classes), expected, strict=True)
        assert_array_equal(np.asarray(labels), kept, strict=True)


KINDS = st.sampled_from(["int64", "uint8", "float32"])


@hypothesis.settings(deadline=None, max_examples=40)
@hypothesis.given(
    labels=hnp.arrays(KINDS, hnp.array_shapes(), elements=st.integers(0, 30)),
    classes=st.none() | st.integers(31, 40),
)
def test_to_categorical_equals_keras_for_any_shape(keras, labels, classes):
    expected = keras.utils.to_categorical(labels, classes)
    assert_array_equal(to_categorical(labels, classes), expected, strict=True)


REFUSED = [
    ([3], 3, IndexError, "num_classes=4"), ([-4, 2], 3, IndexError, ""),
    ([-1], None, IndexError, ""), ([], None, ValueError, "at least one class number"),
    (["a"], None, ValueError, "astype"), ([0], 2.5, TypeError, ""),
]  # fmt: skip


@pytest.mark.parametrize(("labels", "classes", "error", "hint"), REFUSED)
def test_labels_that_keras_cannot_convert_raise_the_same_error(keras, labels, classes, error, hint):
    def program(library):
        library.utils.to_categorical(labels, classes)

    assert hint in refused(keras, program, error=error)[1]


# set_random_seed


def kernels(seed):
    """Return the kernels of two models that are made after this seed is set."""
    set_random_seed(seed)
    models = [network((4,), (3,), inputs=(5,)) for _ in range(2)]
    return [kernel for model in models for kernel in model.get_weights()[::2]]


@pytest.mark.parametrize("seed", [3, 0, 2**32 - 1, np.int64(7)])
def test_any_32_bit_seed_determines_the_weights_of_later_models(seed):
    first, other = kernels(seed), kernels(4)
    for one, again in zip(first, kernels(int(seed)), strict=True):
        assert_array_equal(one, again)
    for one, another in ((first[0], first[2]), (first[1], first[3]), (first[0], other[0])):
        assert not np.any(one == another)


def test_the_seed_also_sets_the_python_and_numpy_generators_as_in_keras(keras):
    def drawn(library):
        library.utils.set_random_seed(6)
        return random.random(), np.random.random()  # noqa: NPY002

    same(keras, drawn)
