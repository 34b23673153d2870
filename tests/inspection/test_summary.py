"""The text of `summary()` equals that of Keras."""

import os
import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from networks import ONE_HOT, network
from oracle import both, same

import tinynet
from tinynet.inspection.summary import summary


def text_of(show, **arguments):
    calls = []
    show(print_fn=calls.append, **arguments)
    assert len(calls) == 1
    return calls[0]


def assert_same_text(models, **arguments):
    theirs, ours = (text_of(model.summary, **arguments) for model in models)
    assert ours == theirs


@pytest.fixture(scope="module")
def wide(keras):
    """Models with long names, rich's markup, three axes, a frozen layer, and megabytes."""

    def make(lib):
        lib.utils.clear_session()
        model = network(
            lib.layers.Dense(30, name="a_name_that_goes_on_and_on_past_its_column[bold]"),
            lib.layers.Flatten(),
            lib.layers.Dropout(0.5),
            lib.layers.Dense(2000, trainable=False),
            lib.layers.Dense(1000),
            inputs=(28, 28),
            library=lib,
        )
        model.name = "wide[red]"
        return model

    return both(keras, make)


@pytest.fixture
def small():
    return network((5,), (3,), inputs=(4,))


@pytest.fixture(autouse=True)
def _screen(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.computes
@pytest.mark.filterwarnings("ignore:Do not pass an `input_shape`")
def test_the_tutorial_model_equals_keras_before_and_after_fit(keras):
    def program(lib):
        lib.utils.clear_session()
        model = lib.Sequential()
        model.add(lib.layers.Flatten(input_shape=(28, 28)))
        model.add(lib.layers.Dense(100, activation="sigmoid"))
        model.add(lib.layers.Dense(144, activation="sigmoid"))
        model.add(lib.layers.Dense(10, activation="softmax"))
        model.compile(loss=ONE_HOT, optimizer=lib.optimizers.Adam(), metrics=["acc"])
        texts = [text_of(model.summary)]
        if lib is tinynet:
            model.fit(np.zeros((4, 28, 28)), np.eye(10)[:4], verbose=0)
        else:  # as its fit would do, but without compiling
            model.optimizer.build(model.trainable_variables)
        counts = [layer.count_params() for layer in model.layers]
        return *texts, text_of(model.summary), counts, model.get_config()["layers"]

    before, after, counts, _ = same(keras, program)
    assert "Total params: 94,494" in before
    assert "Optimizer params: 188,990 (738.24 KB)" in after
    assert counts == [0, 78_500, 14_544, 1_450]


@pytest.mark.parametrize("columns", ["40", "60", "80", "92", "200"])
@pytest.mark.parametrize("show_trainable", [False, True])
def test_width_follows_the_terminal_as_in_keras(wide, monkeypatch, columns, show_trainable):
    monkeypatch.setenv("COLUMNS", columns)
    assert_same_text(wide, show_trainable=show_trainable)


@pytest.mark.parametrize("line_length", [16, 31, 45, 60, 80, 97, 120])
def test_line_length_equals_keras(wide, monkeypatch, line_length):
    monkeypatch.setenv("COLUMNS", "130")
    assert_same_text(wide, line_length=line_length)
    if line_length >= 31:
        assert_same_text(wide, line_length=line_length, show_trainable=True)


def test_empty_unbuilt_and_built_from_data_equal_keras(keras):
    def program(lib):
        lib.utils.clear_session()
        layers, empty = lib.layers, lib.Sequential(name="empty")
        model = lib.Sequential([layers.Flatten(), layers.Dense(3)])
        texts = [text_of(empty.summary), text_of(model.summary)]
        model(np.zeros((32, 2, 2)))
        return [*texts, text_of(model.summary), text_of(model.summary, show_trainable=True)]

    _, unbuilt, built, _ = same(keras, program)
    assert "0 (unbuilt)" in unbuilt
    assert "(32, 3)" in built


@pytest.mark.parametrize(
    "count", [0, 1, 255, 256, 262_143, 262_144, 2**28 - 1, 2**28, 2**38, 2**50]
)
def test_memory_equals_keras(keras, count):
    from keras.src.utils import summary_utils

    array = SimpleNamespace(shape=(count,), nbytes=4 * count)
    layer = SimpleNamespace(trainable_weights=[array], non_trainable_weights=[], name="x")
    layer.__dict__.update(built=True, count_params=lambda: count, output_shape=None)
    model = SimpleNamespace(name="m", layers=[layer], optimizer=None)
    expected = summary_utils.readable_memory_size(4 * count)
    shown = text_of(partial(summary, model))
    assert "│ ?  " in shown
    assert f" Total params: {count:,} ({expected})\n Trainable params: {count:,} (" in shown


def test_the_text_is_printed_once_with_colours_only_in_a_terminal(wide, monkeypatch, capsys):
    monkeypatch.setenv("TERM", "xterm-256color")
    for force in (None, "1"):
        if force:
            monkeypatch.setenv("FORCE_COLOR", force)
        expected, received = (
            (model.summary(show_trainable=True), capsys.readouterr().out) for model in wide
        )
        assert received == expected
        assert ("\x1b[" in received[1]) == bool(force)
    assert_same_text(wide)  # a print_fn gets no colours, as it may write to a file


def test_lines_longer_than_the_screen_are_not_cut(small, monkeypatch):
    narrow = text_of(small.summary, line_length=120)
    monkeypatch.setenv("COLUMNS", "200")
    assert narrow == text_of(small.summary, line_length=120)
    assert len(narrow.splitlines()[1]) == 120


@pytest.mark.parametrize(("show_trainable", "least"), [(False, 16), (True, 31)])
def test_a_too_short_line_length_is_refused_but_a_tiny_terminal_is_not(
    small, monkeypatch, show_trainable, least
):
    message = f"at least {least}.*line_length={least - 1}.*line_length=80"
    with pytest.raises(ValueError, match=message):
        small.summary(line_length=least - 1, show_trainable=show_trainable)
    monkeypatch.setenv("COLUMNS", "8")
    assert "┃ Lay" in text_of(small.summary, show_trainable=show_trainable)


def test_an_ascii_pipe_gets_a_table_and_the_import_does_not_load_rich():
    program = """
import sys, tinynet.inspection.summary
assert "rich" not in sys.modules
tinynet.Sequential([tinynet.Input((2,)), tinynet.layers.Dense(3, name="d" * 90)]).summary()
"""
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-c", program]
    output = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=True).stdout
    assert b"| " + b"d" * 30 + b"? | (None, 3)" in output
    assert output.endswith(b" Non-trainable params: 0 (0.00 B)" + os.linesep.encode())
