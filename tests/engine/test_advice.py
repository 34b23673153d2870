"""The exact warnings that `fit` gives before training, and finding dead units afterwards."""

import copy
import warnings

import numpy as np
import pytest
from networks import ONE_HOT, SPARSE, network

import tinynet
from tinynet.layers import Activation, Dense, Dropout, Flatten
from tinynet.losses import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
)

pytestmark = pytest.mark.computes

RNG = np.random.default_rng(2)
X = RNG.normal(size=(12, 4)).astype("float32")
LABELS = np.arange(12) % 3
SORTED = np.sort(LABELS)
ROWS = np.eye(3)
Y = ROWS[LABELS]
LATE = np.ones((40, 4)) * np.repeat([[1], [99]], [32, 8], axis=0)  # large after the first batch


def changed(array, place, value):
    array = array.copy()
    array[place] = value
    return array


def warnings_of(*top, loss=ONE_HOT, x=X, y=Y, inputs=(4,), **options):
    model = network(*(top or [(3, "softmax")]), inputs=inputs, loss=loss, optimizer="sgd")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(x, y, verbose=0, **options)
    # The warnings point at the call of `fit`.
    assert all(warning.filename == __file__ for warning in caught)
    return [str(warning.message) for warning in caught]


def case(*top, **options):
    return top, options


HELD_OUT = X[8:], ROWS[SORTED][8:]
HARMLESS = {
    "an ordered regression": case((1,), loss="mse", y=np.sort(X[:, 0]), validation_split=0.4),
    "class numbers": case(loss=SPARSE, y=LABELS, validation_split=0.25),
    "other classes in the validation data": case(y=ROWS[SORTED], validation_data=HELD_OUT),
    "large inputs after the first 32": case(x=LATE, y=np.tile(Y, (4, 1))[:40]),
    "true and false": case(x=X > 0),
    "logits": case((3,), loss=CategoricalCrossentropy(True)),
    "class numbers and logits": case((3,), loss=SparseCategoricalCrossentropy(True), y=LABELS),
    "a sigmoid": case((3, "sigmoid")),
    "two classes": case((1, "sigmoid"), loss="binary_crossentropy", y=LABELS % 2),
    "two classes and logits": case((1,), loss=BinaryCrossentropy(True), y=LABELS == 1),
    "a class that is ignored": case(
        loss=SparseCategoricalCrossentropy(ignore_class=-1), y=np.where(LABELS == 2, -1, LABELS)
    ),
    "a softmax below the top": case((3, "softmax"), Dropout(0.0)),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_data_give_no_warning(name):
    top, options = copy.deepcopy(HARMLESS[name])  # a layer belongs to one model
    assert warnings_of(*top, **options) == []


@pytest.mark.parametrize("kind", ["uint8", "float32", "float64", "int64"])
def test_unscaled_pixels_in_the_first_batch_give_a_warning(kind):
    text = (
        "Expected inputs between about -1 and 1, received values from {} to {} in the first batch. "
        "If these are pixels from 0 to 255, write: x = x / 255. (On MNIST, this raises the example "
        "network's accuracy from 92.5 % to 97.6 %.)"
    )
    pixels = np.arange(12, dtype=kind).repeat(4).reshape(12, 4)
    assert warnings_of(x=pixels) == [text.format(0, 11)]
    assert warnings_of(x=np.minimum(pixels, pixels[10])) == []
    assert warnings_of(x=np.full((12, 4), -11)) == [text.format(-11, -11)]
    assert len(warnings_of(x=changed(X, 10, 99), batch_size=11)) == 1


@pytest.mark.parametrize("kind", [CategoricalCrossentropy, SparseCategoricalCrossentropy])
def test_a_second_softmax_gives_a_warning(kind):
    text = (
        f"Layer 'top' ends in a softmax, and {kind.__name__}(from_logits=True) applies another: "
        "probabilities become nearly equal, and learning is slow. Write: "
        f"{kind.__name__}(), or leave activation='softmax' out"
    )
    y = Y if kind is CategoricalCrossentropy else LABELS
    for top in ([Dense(3), Activation("softmax", name="top")], [Dense(3, "softmax", name="top")]):
        assert warnings_of(*top, loss=kind(from_logits=True), y=y) == [text]


@pytest.mark.parametrize("activation", ["linear", "relu", "tanh"])
def test_a_missing_softmax_gives_a_warning(activation):
    assert warnings_of(Dense(3, activation, name="top"), x=X * 0 + 0.1) == [
        f"Layer 'top' ends in '{activation}', so its outputs are not the probabilities that "
        "CategoricalCrossentropy expects. Write: activation='softmax' in that layer, or "
        "loss=tinynet.losses.CategoricalCrossentropy(from_logits=True)"
    ]


def test_binary_crossentropy_gives_the_warnings_of_its_own_activation_and_targets():
    top = [Dense(1, "sigmoid", name="top")]
    assert warnings_of(*top, loss=BinaryCrossentropy(True), y=LABELS % 2) == [
        "Layer 'top' ends in a sigmoid, and BinaryCrossentropy(from_logits=True) applies another: "
        "probabilities become nearly equal, and learning is slow. Write: BinaryCrossentropy(), or "
        "leave activation='sigmoid' out"
    ]
    assert warnings_of(Dense(1, name="top"), loss=BinaryCrossentropy(), y=LABELS % 2) == [
        "Layer 'top' ends in 'linear', so its outputs are not the probabilities that "
        "BinaryCrossentropy expects. Write: activation='sigmoid' in that layer, or "
        "loss=tinynet.losses.BinaryCrossentropy(from_logits=True)"
    ]
    for y in (2 * (LABELS % 2) - 1, LABELS):
        assert warnings_of((1, "sigmoid"), loss="binary_crossentropy", y=y) == [
            "Expected targets from 0 to 1 for BinaryCrossentropy, received targets from "
            f'{y.min()} to {y.max()}. Write: y = (y > 0).astype("float32"), or '
            'loss="sparse_categorical_crossentropy" for class numbers'
        ]


@pytest.mark.parametrize(
    ("labels", "received", "hint"),
    [([1, 2, 3], "1 to 3, first in sample 2. 4", "y = y - 1"),
     ([0, -1, 2], "-1 to 2, first in sample 1. 4",
      "leave these samples out, or give each of them a class"),
     ([0, 1, 9], "0 to 9, first in sample 2. 4", "a last layer of 10 units"),
     # Labels from 1, but not up to the number of outputs.
     ([1, 5, 5], "1 to 5, first in sample 1. 8", "a last layer of 6 units")],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["int64", "float32"])
def test_labels_without_an_output_give_a_warning_with_their_number(labels, received, hint, kind):
    text = (
        f"Expected labels from 0 to 2, one for each output, received labels from {received} of 12 "
        f"add nothing to the loss. Write: {hint}"
    )
    y = np.array(labels, kind)[LABELS]
    assert warnings_of(loss=SPARSE, y=y) == [text]
    assert warnings_of(loss=SPARSE, y=y[:, None]) == [text]
    # An unbuilt model is examined as well.
    assert warnings_of(Flatten(), (3, "softmax"), inputs=None, loss=SPARSE, y=y) == [text]


@pytest.mark.parametrize(("loss", "y"), [(SPARSE, SORTED), (ONE_HOT, ROWS[SORTED])])
def test_a_class_found_only_in_the_validation_split_gives_a_warning(loss, y):
    assert warnings_of(loss=loss, y=y, validation_split=0.4) == [
        "validation_split holds out the last samples in the given order, and class 2 is "
        "only there, so never trained. Write: order = np.random.permutation(len(x)); "
        "x, y = x[order], y[order]"
    ]


def test_nan_gives_only_the_error_and_no_warning():
    model = network((3, "softmax"), inputs=(4,), loss=ONE_HOT)
    with pytest.raises(ValueError, match="x holds NaN"):
        model.fit(changed(X, 0, np.nan), Y, verbose=0)


# Dead units


def test_units_with_a_constant_output_are_dead():
    weights = [
        np.ones((4, 5)), [0, 0, -99, 0, -99],
        np.ones((5, 5)) / 8, [0, 50, 0, -50, 0],
        np.ones((5, 5)) / 8, [0, 0, 0, 0, 20],
        np.ones((5, 5)), np.zeros(5),
    ]  # fmt: skip
    stack = [Dense(5, name, name=name) for name in ("relu", "sigmoid", "tanh", "softmax")]
    model = network(*stack, inputs=(4,), weights=weights)
    found = tinynet.find_dead_units(model, X)
    dead = {layer.name: layer.dead for layer in found.layers}
    assert dead == {"relu": (2, 4), "sigmoid": (1, 3), "tanh": (4,)}
    assert len(found) == 5
    assert "  relu     2 of 5 (relu): 2, 4\n  sigmoid  2 of 5 (sigmoid): 1, 3" in str(found)
    assert "another activation" in str(found)
    assert all(map(np.array_equal, model.get_weights(), weights))
    found = tinynet.find_dead_units(model, changed(X, 5, 50))  # a sample activates the relus
    assert found.layers[0].dead == ()
    healthy = tinynet.find_dead_units(network((6, "relu"), (6, "tanh"), inputs=(4,)), X)
    assert [layer.dead for layer in healthy.layers] == [(), ()]
    assert "another activation" not in str(healthy)


@pytest.mark.parametrize(
    ("inputs", "x", "message"),
    [(None, X, "Expected a built model"), ((4,), X[:, :2], "expects input of shape"),
     ((4,), [[1, 2, 3, 4]], "Unrecognized data type")],
)  # fmt: skip
def test_unbuilt_models_and_wrong_inputs_are_refused(inputs, x, message):
    with pytest.raises(ValueError, match=message):
        tinynet.find_dead_units(network((2,), inputs=inputs), x)


CALLS = {
    "fit": lambda model, y: model.fit(X, y, verbose=0),
    "validation_data": lambda model, y: model.fit(X, LABELS, validation_data=(X, y), verbose=0),
    "evaluate": lambda model, y: model.evaluate(X, y, verbose=0),
    "train_on_batch": lambda model, y: model.train_on_batch(X, y),
    "test_on_batch": lambda model, y: model.test_on_batch(X, y),
    "class_weight": lambda model, y: model.fit(X, y, class_weight={1: 2.0}, verbose=0),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("wrong", "received"),
    [
        ({3: 7, 5: np.nan}, "NaN and labels from 0 to 7, first in sample 3. 2 of 12"),
        ({3: np.nan}, "NaN and labels from 0 to 2, first in sample 3. 1 of 12"),
        ({3: 7, 5: np.inf}, "labels from 0 to inf, first in sample 3. 2 of 12"),
        (dict.fromkeys(range(12), np.nan), "NaN and labels from nan to nan, first in sample 0."),
    ],
)
@pytest.mark.host
@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_a_wrong_label_is_told_beside_nan_and_so_is_nan_by_every_method(
    call, wrong, received, kind
):
    y = LABELS.astype(kind)
    y[list(wrong)] = list(wrong.values())
    for labels in (y, y[:, None]) if call != "class_weight" else (y,):
        model = network((3, "softmax"), inputs=(4,), loss=SPARSE)
        with pytest.warns(UserWarning, match=f"received {received}.*leave these samples") as told:
            CALLS[call](model, labels)
        assert [warning.filename for warning in told] == [__file__]
