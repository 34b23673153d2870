"""The README files are correct: programs print what is shown, and links lead somewhere."""

import inspect
import io
import re
from contextlib import redirect_stdout

import pytest
from conftest import ROOT

import tinynet

README = (ROOT / "README.md").read_text("utf-8")
FILES = [ROOT / "README.md", *sorted(ROOT.glob("*/README.md")), *ROOT.glob("examples/*/README.md")]


def blocks(text):
    return re.findall(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", text, flags=re.DOTALL)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_the_programs_run_in_order_and_print_the_output_shown(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for program, expected in blocks(file.read_text("utf-8")):
        output = io.StringIO()
        with redirect_stdout(output):
            exec(compile(program, file.name, "exec"), names)
        if expected:
            received = output.getvalue()
            assert re.sub(r"[\d.]+", "#", received) == re.sub(r"[\d.]+", "#", expected)
            # The last digits depend on the processor.
            assert numbers(received) == pytest.approx(numbers(expected), rel=0.1)


def numbers(text):
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)]


def test_the_training_step_shown_equals_the_source():
    text = (ROOT / "tinynet" / "README.md").read_text("utf-8")
    shown = next(program for program, _ in blocks(text) if "def train_step" in program)
    source = inspect.getsource(tinynet.training.train_step)

    def lines(text):
        """Return the lines of code below the signature."""
        text = re.sub(r'def train_step\(.*?\).*?:\n|""".*?"""', "", text, flags=re.DOTALL)
        return [code for line in text.splitlines() if (code := line.split("#")[0].strip())]

    assert lines(shown) == lines(source)


def test_the_readme_is_short_and_shows_the_two_commands_and_a_picture_first():
    first_screen = README.splitlines()[:20]
    assert '    python -m pip install -e ".[examples]" && python examples/mnist.py' in first_screen
    assert '    python -m pip install -e ".[test]" && python -m pytest' in first_screen
    assert any(line.startswith("![") for line in first_screen)
    assert len(README.splitlines()) <= 250
    assert len([line for line in blocks(README)[0][0].splitlines() if line]) <= 13


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(file):
    text = re.sub(r"```.*?```", "", file.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith("https://"):
            path, _, anchor = target.partition("#")
            linked = (file.parent / path).resolve() if path else file
            assert linked.exists(), target
            if anchor and linked.suffix == ".md":
                titles = re.findall(r"^#+ (.*)$", linked.read_text("utf-8"), flags=re.MULTILINE)
                words = [re.sub(r"[^\w -]", "", title).lower() for title in titles]
                assert anchor.replace("-", " ") in [title.replace("-", " ") for title in words]
