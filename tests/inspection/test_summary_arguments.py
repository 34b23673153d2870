"""Keras's arguments of `summary()`: the text equals that of Keras, and so do the refusals."""

import re

import numpy as np
import pytest
from networks import network
from oracle import both, refused, same

import tinynet


@pytest.fixture(autouse=True)
def _screen(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


def text_of(model, **arguments):
    """Return the text that `print_fn` receives, a function of Keras's tests."""
    received = []

    def print_to_variable(text, line_break=False):
        assert not line_break
        received.append(text)

    model.summary(print_fn=print_to_variable, **arguments)
    (text,) = received
    return text


def nested(library, *first):
    """Return models inside one another, with layers that are frozen or have no weights."""
    library.utils.clear_session()
    layers, stack = library.layers, library.Sequential

    def dense(units, **settings):  # Keras takes seconds for random weights
        return layers.Dense(units, kernel_initializer="zeros", **settings)

    deep = stack([dense(2), layers.Activation("relu"), layers.Flatten()], name="deep")
    inner = stack([dense(5), layers.Dropout(0.2), deep], name="inner")
    return stack([*first, dense(4), inner, dense(3, trainable=False, name="last")])


@pytest.fixture(scope="module")
def built(keras):
    return both(keras, lambda library: nested(library, library.Input((4,))))


@pytest.fixture(scope="module")
def unbuilt(keras):
    return both(keras, nested)


ARGUMENTS = [
    {},
    {"show_trainable": True},
    {"expand_nested": True},
    {"expand_nested": True, "show_trainable": True, "line_length": 60},
    {"positions": [0.3, 0.6, 1.0]},
    {"positions": (0.6, 0.8, 0.9), "show_trainable": True},
    {"positions": [30, 60, 100]},  # as in Keras 1, where they were characters
    {"positions": [], "line_length": 0},
    {"layer_range": ["dense", "inner"]},
    {"layer_range": ("last", "inner"), "expand_nested": True},  # the other way round
    {"layer_range": ["inn.r", "[il]"]},  # the first that matches, and the last
    {"layer_range": ["[di]", "last"]},
    {"layer_range": ["[dl]", "inner"]},
    {"layer_range": ["last", "last"]},
]


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=str)
def test_the_text_equals_keras(built, unbuilt, arguments):
    for models in (built, unbuilt):
        theirs, ours = (text_of(model, **arguments) for model in models)
        assert ours == theirs


def test_layers_without_anything_to_build_are_not_called_unbuilt(unbuilt):
    text = text_of(unbuilt[1], expand_nested=True)
    assert re.search(r"      └ flatten \(Flatten\) +│ \? +│ +0 \(unbuilt\) │", text)
    for layer in (r"   └ dropout \(Dropout\)", r"      └ activation \(Activation\)"):
        assert re.search(rf"│ {layer} +│ \? +│ +0 │", text)


def test_totals_follow_what_is_frozen_and_whether_an_optimizer_has_state(keras, tmp_path):
    def program(library):
        model = nested(library, library.Input((4,)))
        model.layers[1].trainable = False
        texts = [text_of(model, expand_nested=True, show_trainable=True)]
        model.compile("adam", "mse")
        texts.append(text_of(model))
        if library is tinynet:
            model.fit(np.zeros((2, 4)), np.zeros((2, 3)), verbose=0)
        else:  # as its fit would do, but without compiling
            model.optimizer.build(model.trainable_variables)
        texts.append(text_of(model))
        model.save(tmp_path / f"{library.__name__}.keras")
        loaded = library.models.load_model(tmp_path / f"{library.__name__}.keras")
        texts.append(text_of(loaded))
        model.compile("adam", "mse")  # with a new optimizer
        return [*texts, text_of(model)]

    _, compiled, trained, loaded, anew = same(keras, program)
    assert "Total params: 66 (264.00 B)\n" in compiled
    assert "Trainable params: 20 (80.00 B)\n" in compiled
    assert "Non-trainable params: 46 (184.00 B)\n" in compiled
    for text in (compiled, anew):
        assert "Optimizer" not in text
    for text in (trained, loaded):
        assert "Total params: 108 (" in text
        assert "Optimizer params: 42 (" in text


def test_a_layer_with_a_list_of_layers_is_expanded_as_in_keras(keras):
    def program(library):
        library.utils.clear_session()

        class Tower(library.layers.Layer):
            def __init__(self):
                super().__init__()
                self.layers = [library.layers.Dense(4, kernel_initializer="zeros")]

            def build(self, input_shape):
                self.layers[0].build(input_shape)

        return text_of(library.Sequential([Tower()]), expand_nested=True)

    assert "│    └ dense (Dense) " in same(keras, program)


REFUSED = [
    ({"layer_range": ["first", "last"]}, r"\['dense_2', 'inner', 'last'\]"),
    ({"layer_range": ["dense"]}, r"two names.*Write: .*layer_range=\['dense_2', 'last'\]"),
    ({"layer_range": ["nner", "last"]}, "two names"),  # matched from the start of a name
    ({"layer_range": []}, "two names"),
    ({"layer_range": [1, 2]}, r"Received: layer_range=\[1, 2\]"),
    ({"positions": [0.01, 0.5, 1.0]}, r"at least 400, .*=76\. Write: .*line_length=400"),
    ({"positions": [0.5, 0.2, 1.0]}, r"in order.*Write: .*positions=\[0\.45, 0\.8, 1\.0\]"),
    ({"line_length": -3}, "at least 16, .*=-3. Write: .*line_length=80"),
]


@pytest.mark.parametrize(("arguments", "words"), REFUSED, ids=str)
def test_what_keras_refuses_is_refused_in_words(built, arguments, words):
    models = dict(zip(("keras", "tinynet"), built, strict=True))
    _, received = refused("keras", lambda name: text_of(models[name], **arguments), ours="tinynet")
    assert re.search(words, received)


@pytest.mark.parametrize("positions", [[0.5, 1.0], [0.2, 0.4, 0.6, 1.0]])
def test_positions_are_three(built, positions):
    """Keras raises an IndexError, or ignores the fourth."""
    with pytest.raises(ValueError, match=r"where the three columns end.*Received: positions=\["):
        built[1].summary(positions=positions)


def test_an_unknown_argument_is_a_type_error_as_in_keras(built):
    for model in built:
        with pytest.raises(TypeError, match="color"):
            model.summary(color=True)


def test_any_print_fn_gets_the_text_also_one_that_is_false():
    class Lines(list):
        __call__ = list.append

    lines = Lines()  # an empty list is false
    network((3, "tanh"), inputs=(2,)).summary(print_fn=lines)
    assert len(lines) == 1
    assert "Total params: 9" in lines[0]
