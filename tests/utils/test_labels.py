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
    (["a"], None, ValueError, "astype"),
]  # fmt: skip


@pytest.mark.parametrize(("labels", "classes", "error", "hint"), REFUSED)
def test_labels_that_keras_cannot_convert_raise_the_same_error(keras, labels, classes, error, hint):
    def program(library):
        library.utils.to_categorical(labels, classes)

    assert hint in refused(keras, program, error=error)[1]


@pytest.mark.parametrize(
    ("labels", "classes", "words"),
    [
        ([0.0, np.nan, 1.0], None, "received nan, first at 1"),
        ([[0, 1], [2, np.inf]], None, "received inf, first at 3"),
        ([1e19], None, "received 1e"), ([[0], [1, 2]], None, "rows of equal length"),
        ([0, 1], 2.0, "received: 2.0"), ([0, 1], "2", "received: '2'"),
        ([0, 1], [2], "whole number"), ([0, 1], -2, "at least 0"), ([0, 1], True, "True"),
        (np.ma.array([0, 1], mask=[0, 1]), None, "without masked values"),
    ],
)  # fmt: skip
def test_labels_that_would_give_wrong_rows_are_refused_in_words(labels, classes, words):
    """Keras turns NaN and the like into numbers of classes, or raises errors of NumPy."""
    with pytest.raises(ValueError, match=words):
        to_categorical(labels, classes)


def test_labels_may_be_of_any_kind_with_numbers():
    """A column of a table, for one, has a method `mask`."""
    column = type("Column", (), {"mask": print, "__array__": lambda *_, **__: np.array([0, 1])})()
    assert_array_equal(to_categorical(column), np.eye(2), strict=True)


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_classes_may_be_of_any_integer_type_and_labels_a_matrix():
    expected = np.eye(3)[[0, 2, 1]]
    for labels, classes in (([0, 2, 1], np.uint8(3)), (np.matrix([[0], [2], [1]]), 3)):
        rows = to_categorical(labels, classes)
        assert type(rows) is np.ndarray
        assert_array_equal(rows, expected, strict=True)


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
