"""The exact warnings that `fit` gives before training, and finding dead units afterwards."""

import warnings

import numpy as np
import pytest
from networks import ONE_HOT, SPARSE, network

import tinynet
from tinynet.layers import Activation, Dense, Dropout, Flatten
from tinynet.losses import CategoricalCrossentropy, SparseCategoricalCrossentropy

pytestmark = pytest.mark.computes

RNG = np.random.default_rng(2)
X = RNG.normal(size=(12, 4)).astype("float32")
LABELS = np.arange(12) % 3
Y = np.eye(3)[LABELS]


def model_of(*top, loss=ONE_HOT):
    return network(*(top or [(3, "softmax")]), inputs=(4,), loss=loss, optimizer="sgd")


def warnings_of(model, x=X, y=Y, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(x, y, verbose=0, **options)
    assert all(
        warning.filename == __file__ for warning in caught
    )  # the warning points at the call of fit
    return [str(warning.message) for warning in caught]


def test_a_correct_fit_gives_no_warnings():
    assert warnings_of(model_of()) == []
    assert warnings_of(model_of(Dense(1), loss="mse"), y=X[:, 0]) == []
    assert warnings_of(model_of(loss=SPARSE), y=LABELS) == []
    assert warnings_of(model_of(), validation_split=0.25) == []


@pytest.mark.parametrize("kind", ["uint8", "float32", "float64", "int64"])
def test_unscaled_pixels_in_the_first_batch_give_a_warning(kind):
    pixels = RNG.integers(0, 256, (40, 4)).astype(kind)
    pixels[:32] //= 26
    pixels[3, 2] = 11
    (text,) = warnings_of(model_of(), pixels[:12])
    assert text == (
        "Expected inputs between about -1 and 1, received values from 0 to 11 in the first batch. "
        "If these are pixels from 0 to 255, write: x = x / 255. (On MNIST, this raises the example "
        "network's accuracy from 92.5 % to 97.6 %.)"
    )
    pixels[3, 2] = 10
    pixels[33:] = 200
    assert (
        warnings_of(model_of(), pixels, np.eye(3)[np.arange(40) % 3]) == []
    )  # not in the first batch
    assert warnings_of(model_of(), -11 * np.ones((12, 4)))[0].startswith(
        "Expected inputs between about"
    )
    assert warnings_of(model_of(), X > 0) == []


@pytest.mark.parametrize("kind", [CategoricalCrossentropy, SparseCategoricalCrossentropy])
@pytest.mark.parametrize("apart", [False, True])
def test_a_second_softmax_gives_a_warning(kind, apart):
    top = (
        [Dense(3), Activation("softmax", name="top")]
        if apart
        else [Dense(3, "softmax", name="top")]
    )
    y = Y if kind is CategoricalCrossentropy else LABELS
    (text,) = warnings_of(model_of(*top, loss=kind(from_logits=True)), y=y)
    assert text == (
        f"Layer 'top' ends in a softmax, and {kind.__name__}(from_logits=True) applies another: "
        "probabilities become nearly equal, and learning is slow. Write: "
        f"{kind.__name__}(), or leave activation='softmax' out"
    )
    assert warnings_of(model_of(Dense(3), loss=kind(from_logits=True)), y=y) == []


@pytest.mark.parametrize("activation", ["linear", "relu", "tanh"])
def test_a_missing_softmax_gives_a_warning(activation):
    (text,) = warnings_of(model_of(Dense(3, activation, name="top")), X * 0 + 0.1)
    assert text == (
        f"Layer 'top' ends in '{activation}', so its outputs are not the probabilities that "
        "CategoricalCrossentropy expects. Write: activation='softmax' in that layer, or "
        "loss=tinynet.losses.CategoricalCrossentropy(from_logits=True)"
    )
    assert warnings_of(model_of(Dense(3, "sigmoid"))) == []
    assert warnings_of(model_of(Dense(3, "softmax"), Dropout(0.0))) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda y: y + 1, "received labels from 1 to 3, first in sample 2. 4 of 12 add nothing to "
                          "the loss. Write: y = y - 1"),
        (lambda y: np.where(y == 1, -1, y), "received labels from -1 to 2, first in sample 1. 4 of "
                                            "12 add nothing to the loss. Write: leave these "
                                            "samples out, or give each of them a class"),
        (lambda y: np.where(y == 2, 9, y), "received labels from 0 to 9, first in sample 2. 4 of "
                                           "12 add nothing to the loss. Write: a last layer of 10"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("shape", [(12,), (12, 1)])
@pytest.mark.parametrize("kind", ["int64", "float32"])
def test_labels_without_an_output_give_a_warning_with_their_number(change, words, shape, kind):
    y = change(LABELS).astype(kind).reshape(shape)
    (text,) = warnings_of(model_of(loss=SPARSE), y=y)
    assert text.startswith("Expected labels from 0 to 2, one for each output, ")
    assert words in text


@pytest.mark.parametrize("sparse", [True, False])
def test_a_class_found_only_in_the_validation_split_gives_a_warning(sparse):
    labels = np.sort(LABELS)
    loss = SPARSE if sparse else ONE_HOT
    y = labels if sparse else np.eye(3)[labels]
    (text,) = warnings_of(model_of(loss=loss), y=y, validation_split=0.4)
    assert text == (
        "validation_split holds out the last samples in the given order, and class 2 is "
        "only there, so never trained. Write: order = np.random.permutation(len(x)); "
        "x, y = x[order], y[order]"
    )
    assert warnings_of(model_of(loss=loss), y=y, validation_data=(X[8:], y[8:])) == []


def test_an_unbuilt_model_is_examined_as_well():
    model = network(Flatten(), (3, "softmax"), loss=SPARSE, optimizer="sgd")
    (text,) = warnings_of(model, y=LABELS + 1)
    assert "from 0 to 2" in text


def test_harmless_data_gives_no_warning():
    far = X.copy()
    far[10] = 99
    assert warnings_of(model_of(), far, batch_size=5) == []  # the caller's batch size is used
    assert len(warnings_of(model_of(), far, batch_size=11)) == 1
    labels = np.where(LABELS == 0, 1, 5)  # labels from 1, but not up to the number of outputs
    (text,) = warnings_of(model_of(loss=SPARSE), y=labels)
    assert text.endswith("Write: a last layer of 6 units")
    ordered = np.sort(X[:, 0])
    assert warnings_of(model_of(Dense(1), loss="mse"), y=ordered, validation_split=0.4) == []
    nan = X.copy()
    nan[0] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="x holds NaN"):  # only the error, without a warning
            model_of().fit(nan, Y, verbose=0)


# Dead units


def test_units_with_a_constant_output_are_dead():
    model = tinynet.Sequential([tinynet.Input((4,))])
    for activation in ("relu", "sigmoid", "tanh", "softmax"):
        model.add(Dense(5, activation, name=activation))
    model.set_weights(
        [
            np.ones((4, 5)), [0, 0, -99, 0, -99],
            0.1 * np.ones((5, 5)), [0, 50, 0, -50, 0],
            0.1 * np.ones((5, 5)), [0, 0, 0, 0, 20],
            np.ones((5, 5)), np.zeros(5),
        ]
    )  # fmt: skip
    found = tinynet.find_dead_units(model, X)
    assert {layer.name: layer.dead for layer in found.layers} == {
        "relu": (2, 4), "sigmoid": (1, 3), "tanh": (4,),
    }  # fmt: skip
    assert len(found) == 5
    assert "  relu     2 of 5 (relu): 2, 4\n  sigmoid  2 of 5 (sigmoid): 1, 3" in str(found)
    assert "another activation" in str(found)
    some = X.copy()
    some[5] = 50  # a sample that activates these units
    assert tinynet.find_dead_units(model, some).layers[0].dead == ()


def test_a_healthy_network_has_no_dead_units_and_is_not_changed():
    model = model_of(Dense(6, "relu"), Dense(6, "tanh"), Dense(3, "softmax"))
    before = model.get_weights()
    found = tinynet.find_dead_units(model, X)
    assert len(found) == 0
    assert "comes back" not in str(found)
    assert "another activation" not in str(found)
    assert [len(layer.dead) for layer in found.layers] == [0, 0]
    for weight, was in zip(model.get_weights(), before, strict=True):
        assert np.array_equal(weight, was)


def test_unscaled_pixels_give_dead_sigmoid_units():
    images = RNG.integers(0, 256, (50, 784))
    model = network((100, "sigmoid"), (10, "softmax"), inputs=(784,))
    few = len(tinynet.find_dead_units(model, images / 255))
    assert few == 0
    model.set_weights([weight * 8 for weight in model.get_weights()])
    assert len(tinynet.find_dead_units(model, images)) > 20


def test_unbuilt_models_and_wrong_inputs_are_refused():
    with pytest.raises(ValueError, match="Expected a built model"):
        tinynet.find_dead_units(tinynet.Sequential([Dense(2)]), X)
    with pytest.raises(ValueError, match="expects input of shape"):
        tinynet.find_dead_units(model_of(), X[:, :2])
    with pytest.raises(ValueError, match="Unrecognized data type"):
        tinynet.find_dead_units(model_of(), [[1, 2, 3, 4]])
