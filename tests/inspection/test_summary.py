"""The text of `summary()` equals that of Keras."""

import io
import sys
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from networks import network, tutorial
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
        layers = lib.layers
        model = network(
            layers.Dense(30, name="a_name_that_goes_on_and_on_past_its_column[bold]"),
            layers.Flatten(), layers.Dropout(0.5), layers.Dense(2000, trainable=False), (1000,),
            inputs=(28, 28), library=lib,
        )  # fmt: skip
        model.name = "wide[red]"
        return model

    return both(keras, make)


@pytest.fixture(autouse=True)
def _screen(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.computes
def test_the_tutorial_model_equals_keras_before_and_after_fit(keras):
    def program(lib):
        lib.utils.clear_session()
        model = tutorial(lib)
        before = text_of(model.summary)
        if lib is tinynet:
            model.fit(np.zeros((4, 28, 28)), np.eye(10)[:4], verbose=0)
        else:  # as its fit would do, but without compiling
            model.optimizer.build(model.trainable_variables)
        return before, text_of(model.summary)

    before, after = same(keras, program)
    assert "Total params: 94,494" in before
    assert "Optimizer params: 188,990 (738.24 KB)" in after


@pytest.mark.parametrize("columns", ["40", "60", "80", "92", "200"])
@pytest.mark.parametrize("show_trainable", [False, True])
def test_width_follows_the_terminal_as_in_keras(wide, monkeypatch, columns, show_trainable):
    monkeypatch.setenv("COLUMNS", columns)
    assert_same_text(wide, show_trainable=show_trainable)


@pytest.mark.parametrize("line_length", [16, 31, 45, 60, 80, 97, 120])
def test_line_length_equals_keras(wide, monkeypatch, line_length):
    monkeypatch.setenv("COLUMNS", "130")
    assert_same_text(wide, line_length=line_length)


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


def test_memory_equals_keras(keras):
    from keras.src.utils.summary_utils import readable_memory_size

    for count in (0, 1, 255, 256, 262_143, 262_144, 2**28 - 1, 2**28, 2**38, 2**50):
        array = SimpleNamespace(shape=(count,), nbytes=4 * count)
        layer = SimpleNamespace(name="x", trainable_weights=[array], non_trainable_weights=[])
        vars(layer).update(built=True, output_shape=None, count_params=lambda n=count: n)
        vars(layer).update(trainable=True, weights=[array])
        shown = text_of(partial(summary, SimpleNamespace(name="m", layers=[layer], optimizer=None)))
        total = f"params: {count:,} ({readable_memory_size(4 * count)})\n"
        assert "│ ?  " in shown
        assert f" Total {total} Trainable {total}" in shown


def test_the_text_is_printed_once_with_colours_only_in_a_terminal(wide, monkeypatch, capsys):
    monkeypatch.setenv("TERM", "xterm-256color")
    for terminal in (False, True):
        if terminal:
            monkeypatch.setenv("FORCE_COLOR", "1")
        shown = [(model.summary(show_trainable=True), capsys.readouterr().out) for model in wide]
        assert shown[0] == shown[1]
        assert ("\x1b[" in shown[1][1]) == terminal
    assert_same_text(wide)  # a print_fn gets no colours, as it may write to a file


@pytest.mark.parametrize(("show_trainable", "least"), [(False, 16), (True, 31)])
def test_a_too_short_line_length_is_refused_but_not_a_tiny_terminal(
    monkeypatch, show_trainable, least
):
    show = partial(network((5,), inputs=(4,)).summary, show_trainable=show_trainable)
    with pytest.raises(ValueError, match=f"at least {least}.*={least - 1}.*line_length=80"):
        show(line_length=least - 1)
    monkeypatch.setenv("COLUMNS", "8")
    assert "┃ Lay" in text_of(show)
    assert len(text_of(show, line_length=120).splitlines()[1]) == 120  # which is not cut


def test_an_ascii_pipe_gets_a_table(monkeypatch):
    pipe = io.TextIOWrapper(io.BytesIO(), "ascii", newline="\n")
    monkeypatch.setattr(sys, "stdout", pipe)
    network(tinynet.layers.Dense(3, name="d" * 90), inputs=(2,)).summary()
    pipe.flush()
    assert b"| " + b"d" * 30 + b"? | (None, 3)" in pipe.buffer.getvalue()
    assert pipe.buffer.getvalue().endswith(b" Non-trainable params: 0 (0.00 B)\n")
