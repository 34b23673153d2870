"""`to_categorical` and `set_random_seed`, compared with Keras, and `clear_session`."""

import random

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from arrays import assert_array_equal
from networks import SPARSE, network
from oracle import refused, same

import tinynet
from tinynet.utils import set_random_seed, to_categorical

pytestmark = pytest.mark.computes

# to_categorical


def test_to_categorical_equals_keras_and_does_not_change_the_labels(keras):
    cases = [
        ([0, 2, 1], 5),
        ((1, 2), None),
        (range(3), None),
        ([0, 1], 0),
        ([0, 1], np.int64(3)),
        (5, None),
        (np.array(2), 4),
        (-1, 3),
        ([-1, 2], None),
        ([-3, 2], 3),
        ([1.9, 0.2], None),
        ([-0.5], 3),
        ([True, False], None),
        (np.array([[2], [0]]), None),
    ]
    for labels, classes in cases:
        kept = np.array(labels)
        expected = keras.utils.to_categorical(labels, classes)
        assert_array_equal(to_categorical(labels, classes), expected, strict=True)
        assert_array_equal(np.asarray(labels), kept, strict=True)


@hypothesis.settings(deadline=None, max_examples=40)
@hypothesis.given(
    labels=hnp.arrays(
        st.sampled_from(["int64", "uint8", "float32"]),
        hnp.array_shapes(),
        elements=st.integers(0, 30),
    ),
    classes=st.none() | st.integers(31, 40),
)
def test_to_categorical_equals_keras_for_any_shape(keras, labels, classes):
    expected = keras.utils.to_categorical(labels, classes)
    assert_array_equal(to_categorical(labels, classes), expected, strict=True)


@pytest.mark.parametrize(
    ("labels", "classes", "error", "hint"),
    [
        ([3], 3, IndexError, "num_classes=4"),
        ([-4, 2], 3, IndexError, ""),
        ([-1], None, IndexError, ""),
        ([], None, ValueError, "at least one class number"),
        (["a"], None, ValueError, "astype"),
        ([0], 2.5, TypeError, ""),
    ],
)
def test_labels_that_keras_cannot_convert_raise_the_same_error(keras, labels, classes, error, hint):
    def program(library):
        library.utils.to_categorical(labels, classes)

    assert hint in refused(keras, program, error=error)[1]


# set_random_seed


def model_weights():
    return network((4,), (3,), inputs=(5,)).get_weights()


def test_the_seed_determines_the_weights_of_later_models():
    set_random_seed(3)
    first, second = model_weights(), model_weights()
    set_random_seed(3)
    again, further = model_weights(), model_weights()
    for kernel in (0, 2):
        assert_array_equal(first[kernel], again[kernel])
        assert_array_equal(second[kernel], further[kernel])
        assert not np.any(first[kernel] == second[kernel])
    set_random_seed(4)
    assert not np.any(model_weights()[0] == first[0])


def test_the_seed_determines_the_order_of_the_samples():
    def losses():
        set_random_seed(5)
        model = network((2, "softmax"), inputs=(2,), loss=SPARSE, optimizer="sgd")
        x, y = np.arange(40, dtype="float32").reshape(20, 2) / 40, np.arange(20) % 2
        return model.fit(x, y, batch_size=3, epochs=2, verbose=0).history["loss"]

    assert losses() == losses()


def test_the_seed_also_sets_the_python_and_numpy_generators_as_in_keras(keras):
    def drawn(library):
        library.utils.set_random_seed(6)
        return random.random(), np.random.random()  # noqa: NPY002

    same(keras, drawn)


@pytest.mark.parametrize("seed", [0, 2**32 - 1, np.int64(7)])
def test_every_32_bit_number_is_a_valid_seed(seed):
    set_random_seed(seed)
    first = model_weights()[0]
    set_random_seed(int(seed))
    assert_array_equal(model_weights()[0], first)


def test_an_invalid_seed_is_refused_as_in_keras_and_changes_nothing(keras):
    set_random_seed(8)
    expected = random.random(), model_weights()[0][0, 0]
    for wrong in (-1, 2**32, 1.5, "a", None):
        set_random_seed(8)
        with pytest.raises(ValueError, match="seed"):
            set_random_seed(wrong)
        assert (random.random(), model_weights()[0][0, 0]) == expected
        refused(keras, lambda library, seed=wrong: library.utils.set_random_seed(seed), "[sS]eed")


def test_clear_session_resets_the_numbering_of_names():
    assert [tinynet.layers.Dense(1).name for _ in range(2)] == ["dense", "dense_1"]
    tinynet.utils.clear_session()
    assert tinynet.layers.Dense(1).name == "dense"
