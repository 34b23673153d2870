"""Progress lines, compared with Keras's, on pseudo-terminals, pipes and unusual streams."""

import io
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from itertools import pairwise
from types import SimpleNamespace
from unittest import mock

import pytest

from tinynet.utils import progress
from tinynet.utils.progress import ProgressBar, epoch_header, resolve_verbose

LOGS = {"loss": 0.32141, "acc": 0.9, "zero": 0.0, "edge": 1e-3, "small": -4.2e-5, "big": 1234.5678}
FULL = "━" * 20
SEQUENCES = {  # the number of steps, and the times at which some of them end
    "one step": (1, {1: 0.5}),
    "microseconds": (30_000, {1: 0.2, 10_000: 0.4, 20_000: 0.6, 30_000: 0.8}),
    "milliseconds": (1000, {1: 0.2, 101: 0.7, 1000: 5.2}),
    "all at the same time": (3, {1: 0.0, 2: 0.0, 3: 0.0}),
    "hours left": (8000, {1: 3.0, 2: 9.0, 4000: 4000.0, 7930: 7930.0, 7999: 8000.0, 8000: 8001.0}),
    "a minute and an hour exactly": (3601, {1: 1.0, 2: 2.0, 3541: 3541.0, 3601: 3601.0}),
    "without the first step": (10, {3: 1.0, 7: 2.0, 10: 4.0}),
    "every length of the bar": (20, {n: (n + 1) / 4 for n in range(21)}),
    "steps unknown": (None, {1: 0.25, 2: 1.5, 3: 99.0}),
}


class Terminal(io.StringIO):
    def isatty(self):
        return not super().isatty()  # raises when the stream is closed, as every stream does


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """A clock that a test moves by setting `clock.now`; the terminal supports colours."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(progress, "perf_counter", lambda: clock.now)
    monkeypatch.setenv("NO_COLOR", "")  # an empty value has no effect
    monkeypatch.setenv("TERM", "xterm")
    return clock


def text_of(clock, steps, seconds, logs=LOGS, verbose=1, stream=None):
    """Return what is written if steps end at these seconds, and the epoch a second later."""
    stream = Terminal() if stream is None else stream
    bar = ProgressBar(steps, verbose, stream)
    for step, second in seconds.items():
        clock.now = 1000.0 + second
        assert verbose == 1 or not bar.due()
        if verbose != 1 or bar.due():  # without a bar, an update does nothing
            bar.update(step, logs)
    clock.now += 1
    bar.finish(logs, steps=max(seconds))
    return stream.getvalue()


def plain(text):
    """Return the text without colours."""
    return re.sub(r"\x1b\[\d*m", "", text)


@pytest.mark.parametrize("verbose", [0, 1, 2])
@pytest.mark.parametrize("name", SEQUENCES)
def test_text_equals_keras(keras, monkeypatch, clock, name, verbose):
    from keras.src.utils import progbar

    steps, seconds = SEQUENCES[name]
    received = text_of(clock, steps, seconds, verbose=verbose)
    clock.now = 1000.0
    monkeypatch.setattr(progbar, "time", SimpleNamespace(time=lambda: clock.now))
    with redirect_stdout(Terminal()) as shown:
        bar = keras.utils.Progbar(steps, verbose=verbose, stateless_metrics=set())
        for step, second in seconds.items():  # as in Keras's fit
            clock.now = 1000.0 + second
            if verbose == 1:
                bar.update(step, list(LOGS.items()), finalize=False)
        clock.now += 1
        bar.target = steps or max(seconds)
        bar.update(bar.target, list(LOGS.items()), finalize=True)
    expected = shown.getvalue().replace("\b", "")  # the \r has the same effect
    assert bool(expected) == bool(verbose)
    assert received == expected


@pytest.mark.parametrize("verbose", [1, 2])
def test_large_negative_values_are_not_formatted_as_small_ones(clock, verbose):
    """Keras with verbose=2 ignores the sign here, and shows -5.0000e-01."""
    assert text_of(clock, 1, {1: 1.0}, {"loss": -0.5}, verbose).endswith(" - loss: -0.5000\n")


def test_redraws_are_at_least_a_tenth_of_a_second_apart(clock):
    bar, drawn = ProgressBar(1000, 1, Terminal()), []
    for step in range(1, 1000):
        clock.now += 0.001
        if bar.due():
            bar.update(step, LOGS)
            drawn.append(step)
    assert drawn[0] == 1
    assert {later - earlier for earlier, later in pairwise(drawn)} <= {100, 101}


def test_a_file_gets_one_line_and_the_mean_excludes_the_first_step(clock):
    stream = io.StringIO()
    text = text_of(clock, 11, {1: 100.0, 11: 120.0}, {}, stream=stream)
    assert text == f"11/11 {FULL} 121s 2s/step\n"
    bar = ProgressBar(2, 1, stream)
    bar.update(1, LOGS)
    clock.now += 100
    assert not bar.due()


def test_resolve_verbose():
    values = [resolve_verbose(verbose) for verbose in ("auto", True, False, 0, 1, 2)]
    assert list(map(repr, values)) == ["1", "1", "0", "0", "1", "2"]  # never a bool
    for wrong in (3, -1, "1", None, 0.5, [1]):
        said = f'Expected verbose to be "auto", 0, 1 or 2. Received: verbose={wrong!r}. Write verb'
        with pytest.raises(ValueError, match=re.escape(said)):
            resolve_verbose(wrong)


def test_the_header_is_printed_for_each_of_several_epochs(capsys):
    for verbose in (0, 1, 2):
        epoch_header(1, 1, verbose)
        epoch_header(2, 3, verbose)
    assert capsys.readouterr().out == "Epoch 2/3\n" * 2


@pytest.mark.parametrize("verbose", [1, 2])
@pytest.mark.parametrize("kind", ["none", "closed", "closed later"])
def test_a_missing_stdout_is_ignored(monkeypatch, kind, verbose):
    stdout = Terminal()
    if kind == "closed":
        stdout.close()
    monkeypatch.setattr(sys, "stdout", None if kind == "none" else stdout)
    bar = ProgressBar(2, verbose)
    stdout.close()
    epoch_header(1, 2, verbose)
    bar.update(1, LOGS)
    bar.finish(LOGS)


@pytest.mark.parametrize(
    ("encoding", "fill", "name"),
    [("utf-8", "━", "é精"), ("cp1252", "=", "é?"), ("ascii", "=", "??"), ("gbk", "━", "é精")],
)
def test_characters_that_the_encoding_lacks_are_replaced(encoding, fill, name):
    stream = io.TextIOWrapper(io.BytesIO(), encoding, newline="\n")
    ProgressBar(2, 1, stream).finish({"é精": 0.5})
    written = stream.buffer.getvalue().decode(encoding)
    assert written == f"2/2 {fill * 20} 0s 0s/step - {name}: 0.5000\n"


def test_a_shorter_line_overwrites_a_longer_one_and_is_cut_to_a_shrinking_terminal(monkeypatch):
    stream = Terminal()
    bar = ProgressBar(None, 1, stream)
    bar.update(1, LOGS)
    bar.update(2, {"loss": 0.5})
    assert screen_of(stream.getvalue()) == ["      2/Unknown 0s 0s/step - loss: 0.5000"]
    bar.update(3, LOGS)
    monkeypatch.setattr(progress, "_columns", lambda stream: 30)
    bar.update(4, LOGS)
    assert len(plain(stream.getvalue()).split("\r")[-1]) == 29


def screen_of(text):
    """Return the lines on a wide terminal after `text`, where each \\r starts to overwrite one."""
    rows = []
    for line in plain(text).replace("\r\n", "\n").split("\n"):
        rows.append("")
        for part in line.split("\r"):
            rows[-1] = part + rows[-1][len(part) :]
    return [row.rstrip() for row in rows]


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX only")
@pytest.mark.parametrize("columns", [80, 40])
def test_a_real_terminal_shows_one_line_per_epoch(columns):
    import termios

    screen, slave = os.openpty()
    termios.tcsetwinsize(slave, (24, columns))
    with open(screen, "rb") as screen, ThreadPoolExecutor() as reader:
        lines = reader.submit(list, iter(screen.readline, b"end\r\n"))
        with open(slave, "w", encoding="utf-8") as stream:
            epoch_header(1, 2, 1, stream)
            bar = ProgressBar(50, 1, stream)
            for step in range(1, 51):
                bar.update(step, {"loss": 0.3, "acc": 0.9, **({"more": 0.1} if step % 2 else {})})
            bar.finish({"loss": 0.3})
            print("end", file=stream, flush=True)
            text = b"".join(lines.result()).decode()
    line = f"50/50 {FULL} 0s 0s/step - loss: 0.3000"  # complete, even if it has to wrap
    assert screen_of(text) == ["Epoch 1/2", line, ""]
    redraws = plain(text).split("\r")[2:50]
    assert max(map(len, redraws)) == columns - 1


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colours_can_be_turned_off(clock, monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    text = text_of(clock, 4, {1: 1.0}, {"loss": 0.5})
    assert text.startswith(f"\r1/4 {'━' * 5}{'.' * 15} 3s 1s/step - loss: 0.5000\r4/4 {FULL} ")


def stream_of(module):
    members = {"isatty": lambda self: module.startswith("idle"), "__module__": module}
    return type("Stream", (io.StringIO,), members)()


@pytest.mark.parametrize(("module", "redraws"), [("ipykernel.iostream", 2), ("idlelib.run", 0)])
def test_notebooks_redraw_and_idle_does_not(clock, module, redraws):
    """Both streams give a wrong `isatty`: a notebook's returns False, and IDLE's returns True."""
    text = text_of(clock, 2, {1: 1.0}, stream=stream_of(module))
    assert text.count("\r") == redraws
    assert ("\x1b[32m" in text) == bool(redraws)


@pytest.mark.parametrize(("readable", "settable"), [(1, 1), (1, 0), (0, 0)])
def test_colours_are_enabled_on_a_windows_console(monkeypatch, readable, settable):
    import ctypes

    def get_mode(console, mode):
        mode._obj.value = 3
        return readable

    stream, kernel32 = Terminal(), mock.Mock(GetConsoleMode=get_mode)
    kernel32.SetConsoleMode.return_value = settable
    msvcrt = SimpleNamespace(get_osfhandle=lambda descriptor: 2**40 + descriptor)
    monkeypatch.setitem(sys.modules, "msvcrt", msvcrt)
    monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=kernel32), raising=False)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "win32")
        assert not ProgressBar(2, 1, stream)._coloured  # the stream has no descriptor
        assert ProgressBar(2, 1, stream_of("ipykernel.iostream"))._coloured  # not a console
        stream.fileno = lambda: 7
        bar = ProgressBar(2, 1, stream)
    asked = [(console.value, mode) for (console, mode), _ in kernel32.SetConsoleMode.call_args_list]
    assert asked == [(2**40 + 7, 3 | 4)] * readable
    bar.update(1, {})
    assert stream.getvalue().startswith("\r")
    assert ("\x1b[" in stream.getvalue()) == bool(settable)
