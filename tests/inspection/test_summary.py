"""The text of `summary()` equals that of Keras, on stand-ins for models and on Keras models."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tinynet.inspection.summary import summary


def fake_layer(kind, name, shape, *weight_shapes, trainable=True, built=True):
    """Return a stand-in for a layer of class `kind`, with only the attributes `summary` reads."""
    weights = [np.zeros(s, "float32") for s in weight_shapes]
    return type(kind, (SimpleNamespace,), {})(
        name=name,
        built=built,
        trainable=trainable,
        output_shape=shape,
        weights=weights,
        trainable_weights=weights if trainable else [],
        non_trainable_weights=[] if trainable else weights,
        count_params=lambda: sum(w.size for w in weights),
    )


def fake_model(*layers, name="sequential", optimizer=None):
    return SimpleNamespace(name=name, built=True, layers=layers, optimizer=optimizer)


def fake_of(model):
    """Return a stand-in with the attributes of a Keras model, for tinynet's `summary`."""
    layers = [
        fake_layer(
            type(layer).__name__,
            layer.name,
            tuple(layer.output.shape) if layer.built and layer._inbound_nodes else None,
            *(w.shape for w in layer.weights),
            trainable=layer.trainable,
            built=layer.built,
        )
        for layer in model.layers
    ]
    optimizer = None
    if getattr(model, "optimizer", None):
        variables = [np.zeros(v.shape, v.dtype) for v in model.optimizer.variables]
        optimizer = SimpleNamespace(built=model.optimizer.built, variables=variables)
    return fake_model(*layers, name=model.name, optimizer=optimizer)


def text_of(show, **arguments):
    calls = []
    show(print_fn=calls.append, **arguments)
    assert len(calls) == 1
    return calls[0]


def assert_same_text(keras_model, **arguments):
    expected = text_of(keras_model.summary, **arguments)
    assert text_of(partial(summary, fake_of(keras_model)), **arguments) == expected


@pytest.fixture(scope="module")
def wide_model(keras):
    """A Keras model with long names, rich's markup, three axes, a frozen layer, and megabytes."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28)),
            layers.Dense(30, name="a_name_that_goes_on_and_on_past_its_column[bold]"),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(2000, trainable=False),
            layers.Dense(1000),
        ],
        name="wide[red]",
    )


@pytest.fixture(autouse=True)
def _screen(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


TUTORIAL = fake_model(
    fake_layer("Flatten", "flatten", (None, 784)),
    fake_layer("Dense", "dense", (None, 100), (784, 100), (100,)),
    fake_layer("Dense", "dense_1", (None, 144), (100, 144), (144,)),
    fake_layer("Dense", "dense_2", (None, 10), (144, 10), (10,)),
)


def test_tutorial_model_equals_keras_before_and_after_fit(keras):
    dense = keras.layers.Dense
    model = keras.Sequential(name="sequential")
    for layer in [
        keras.Input((28, 28)),
        keras.layers.Flatten(name="flatten"),
        dense(100, "sigmoid", name="dense"),
        dense(144, "sigmoid", name="dense_1"),
        dense(10, "softmax", name="dense_2"),
    ]:
        model.add(layer)
    assert text_of(partial(summary, TUTORIAL)) == text_of(model.summary)
    model.compile("adam", "categorical_crossentropy")
    assert_same_text(model)
    model.fit(np.zeros((4, 28, 28)), np.zeros((4, 10)), verbose=0)
    assert "Optimizer params: 188,990 (738.24 KB)" in text_of(model.summary)
    assert_same_text(model)


@pytest.mark.parametrize("columns", ["40", "60", "80", "92", "200"])
@pytest.mark.parametrize("show_trainable", [False, True])
def test_width_follows_the_terminal_as_in_keras(wide_model, monkeypatch, columns, show_trainable):
    monkeypatch.setenv("COLUMNS", columns)
    assert_same_text(wide_model, show_trainable=show_trainable)


@pytest.mark.parametrize("line_length", [16, 31, 45, 60, 80, 97, 120])
def test_line_length_equals_keras(wide_model, monkeypatch, line_length):
    monkeypatch.setenv("COLUMNS", "130")
    assert_same_text(wide_model, line_length=line_length)
    if line_length >= 31:
        assert_same_text(wide_model, line_length=line_length, show_trainable=True)


def test_empty_unbuilt_and_built_from_data_equal_keras(keras):
    model, layers = keras.Sequential(name="empty"), keras.layers
    assert_same_text(model)
    model = keras.Sequential([layers.Flatten(), layers.Dropout(0.5), layers.Dense(3)])
    assert "0 (unbuilt)" in text_of(model.summary)
    assert_same_text(model)
    model(np.zeros((32, 2, 2)))
    assert "(32, 3)" in text_of(model.summary)
    assert_same_text(model)
    assert_same_text(model, show_trainable=True)


@pytest.mark.parametrize(
    "count", [0, 1, 255, 256, 262_143, 262_144, 2**28 - 1, 2**28, 2**38, 2**50]
)
def test_memory_equals_keras(keras, count):
    from keras.src.utils import summary_utils

    array = SimpleNamespace(shape=(count,), nbytes=4 * count)
    layer = SimpleNamespace(trainable_weights=[array], non_trainable_weights=[])
    layer.__dict__.update(name="x", built=True, count_params=lambda: count, output_shape=(None,))
    expected = summary_utils.readable_memory_size(4 * count)
    shown = text_of(partial(summary, fake_model(layer)))
    assert f" Total params: {count:,} ({expected})\n Trainable params: {count:,} (" in shown


def test_the_text_is_printed_once_with_colours_only_in_a_terminal(wide_model, monkeypatch, capsys):
    monkeypatch.setenv("TERM", "xterm-256color")
    for force in (None, "1"):
        if force:
            monkeypatch.setenv("FORCE_COLOR", force)
        wide_model.summary(show_trainable=True)
        expected = capsys.readouterr().out
        assert ("\x1b[" in expected) == bool(force)
        assert summary(fake_of(wide_model), show_trainable=True) is None
        assert capsys.readouterr().out == expected
    assert_same_text(wide_model)  # a print_fn gets no colours, as it may write to a file


def test_lines_longer_than_the_screen_are_not_cut(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    narrow = text_of(partial(summary, TUTORIAL), line_length=120)
    monkeypatch.setenv("COLUMNS", "200")
    assert narrow == text_of(partial(summary, TUTORIAL), line_length=120)
    assert len(narrow.splitlines()[1]) == 120


@pytest.mark.parametrize(("show_trainable", "least"), [(False, 16), (True, 31)])
def test_a_too_short_line_length_is_refused_but_a_tiny_terminal_is_not(
    monkeypatch, show_trainable, least
):
    message = f"at least {least}.*line_length={least - 1}.*line_length=80"
    with pytest.raises(ValueError, match=message):
        summary(TUTORIAL, line_length=least - 1, show_trainable=show_trainable)
    monkeypatch.setenv("COLUMNS", "8")
    assert "┃ Lay" in text_of(partial(summary, TUTORIAL), show_trainable=show_trainable)


def test_an_ascii_pipe_gets_a_table_and_the_import_does_not_load_rich():
    program = """
import sys, tinynet.inspection.summary
assert "rich" not in sys.modules
from test_summary import fake_layer, fake_model
model = fake_model(fake_layer("Dense", "d" * 90, (None, 3), (2, 3), (3,)))
tinynet.inspection.summary.summary(model)
"""
    tests = Path(__file__).parent
    path = f"{tests.parents[1]}{os.pathsep}{tests}"
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-c", program]
    output = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=True).stdout
    assert b"| " + b"d" * 30 + b"? | (None, 3)" in output
    assert output.endswith(b" Non-trainable params: 0 (0.00 B)" + os.linesep.encode())
