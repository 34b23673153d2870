"""The README is correct: its programs run and print what it shows, and its commands exist."""

import inspect
import io
import pathlib
import re
from contextlib import redirect_stdout

import pytest

import tinynet

README = (pathlib.Path(__file__).resolve().parents[2] / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", README, flags=re.DOTALL)


def test_the_programs_run_in_order_and_print_the_output_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for program, expected in BLOCKS:
        output = io.StringIO()
        with redirect_stdout(output):
            exec(compile(program, "README.md", "exec"), names)
        if expected:
            received = output.getvalue()
            assert re.sub(r"[\d.]+", "#", received) == re.sub(r"[\d.]+", "#", expected)
            # The last digits depend on the processor.
            for a, b in zip(numbers(received), numbers(expected), strict=True):
                assert a == pytest.approx(b, rel=0.1)


def numbers(text):
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)]


def test_the_first_program_is_short():
    assert len([line for line in BLOCKS[0][0].splitlines() if line]) <= 13


def test_the_training_step_shown_equals_the_source():
    shown = next(program for program, _ in BLOCKS if "def train_step" in program)
    source = inspect.getsource(tinynet.training.train_step)
    source = re.sub(r'""".*?"""', "", source, flags=re.DOTALL)
    signature = re.compile(r"def train_step\(.*?\).*?:\n", flags=re.DOTALL)

    def lines(text):
        text = signature.sub("", text)
        return [
            line.split("#")[0].strip() for line in text.splitlines() if line.split("#")[0].strip()
        ]

    assert lines(shown) == lines(source)


def test_the_two_commands_are_on_the_first_screen():
    first_screen = README.splitlines()[:12]
    assert '    python -m pip install -e ".[examples]" && python examples/mnist.py' in first_screen
    assert '    python -m pip install -e ".[test]" && python -m pytest' in first_screen
