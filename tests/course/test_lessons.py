"""The lessons in `examples/course/`: every gap, its wrong fillings and their hints, the solutions.

The solutions are written by hand. After changing one, `python tests/helpers/notebooks.py` stores
its outputs, and renews the lesson, which is the same with gaps.
"""

import os
import re
from unittest import mock

import pytest
from notebooks import (
    ABSOLUTE,
    COURSE,
    GAP,
    OFFLINE,
    code_of,
    executed,
    is_open,
    kinds,
    outputs_of,
    printed,
    read,
    renewed,
    source_of,
)
from wrong_fillings import WRONG

LESSONS = sorted(path.stem for path in COURSE.glob("*.ipynb"))


def lesson_and_solution(name):
    return [read(folder / f"{name}.ipynb") for folder in (COURSE, COURSE / "solutions")]


def sources_of(notebook):
    """Return the source of the cells for a run without Jupyter: no installation and no frame."""
    sources = map(source_of, code_of(notebook))
    frame = "from IPython.display import IFrame", "IFrame = '{}'.format"
    return [source.replace(*frame) for source in sources if "%pip" not in source]


def gaps_of(name):
    """Return the cells of a lesson that have gaps."""
    return [one for one in sources_of(lesson_and_solution(name)[0]) if GAP.search(one)]


@pytest.fixture(params=LESSONS)
def lesson(request):
    return request.param


def test_a_lesson_is_its_solution_with_gaps(lesson):
    with_gaps, solution = lesson_and_solution(lesson)
    assert with_gaps == renewed(with_gaps, solution)
    for one, other in zip(sources_of(with_gaps), sources_of(solution), strict=True):
        assert not GAP.search(other)
        lines = iter(other.splitlines())  # of which the lesson has those without gaps, in order
        assert all(line in lines for line in one.splitlines() if not GAP.search(line))


def test_a_lesson_is_renewed_except_in_its_gaps():
    def cell(kind, name, source):
        return {"cell_type": kind, "id": name, "source": [source]}

    texts = ("Fill the dots, `...`.", "Replace the dots, `...`.")
    lesson, solution = (
        {"cells": [cell("markdown", "a", text), cell("code", "b", code), cell("code", "c", other)]}
        for text, code, other in zip(texts, ("x = ...", "x = 1"), ("y = 1", "y = 2"), strict=True)
    )
    new = renewed(lesson, solution)["cells"]
    assert [source_of(one) for one in new] == [texts[1], "x = ...", "y = 2"]
    assert new[2]["outputs"] == []


def check_of(source):
    """Return the name of the check in a cell."""
    return re.search(r"check\.(\w+)\(", source)[1]


def fillings(open_cell, filled):
    """Yield wrong fillings of a cell, each with what its hint has to say: all open, one, wrong."""
    yield open_cell, "(?i)still open"
    lines = [line for line in open_cell.splitlines() if GAP.search(line)]
    for line in lines if len(lines) > 1 else ():
        start = GAP.split(line)[0]
        yield (
            re.sub(rf"^{re.escape(start)}.*?(,?)$", rf"{start}...\1", filled, flags=re.M),
            "(?i)still open",
        )
    for right, wrong, hint in WRONG[check_of(filled)]:
        assert right in filled
        yield filled.replace(right, wrong), hint


def hints(lesson):
    """Run a lesson, and yield for each wrong filling the cell, the hint due, and that received."""
    from tinynet.course import GapError

    names = {"__name__": "__main__"}
    for open_cell, filled in zip(*map(sources_of, lesson_and_solution(lesson)), strict=True):
        if GAP.search(open_cell):
            for wrong, hint in fillings(open_cell, filled):
                try:
                    exec(compile(wrong, "cell", "exec"), {**names})
                    yield wrong, hint, "✓"
                except GapError as error:
                    yield wrong, hint, str(error)
                except Exception as error:  # raised by the cell itself, and not in a check
                    yield wrong, hint, f"raised {type(error).__name__}: {error}"
        exec(compile(filled, "cell", "exec"), names)


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """A folder where nothing is, on a machine without MNIST."""
    import matplotlib.pyplot as plt

    monkeypatch.chdir(tmp_path)
    with mock.patch.dict(os.environ, OFFLINE):
        yield
    plt.close("all")


@pytest.mark.filterwarnings("ignore:More than 20 figures")
def test_a_gap_that_is_open_or_wrong_is_caught_with_a_hint_that_names_the_fault(
    lesson, offline, capsys
):
    tried = list(hints(lesson))
    missed = [one for one in tried if not re.search(one[1], " ".join(one[2].split()), flags=re.S)]
    assert missed == []
    gaps = gaps_of(lesson)
    assert len(gaps) >= 4
    assert capsys.readouterr().out.count("✓ Right.") >= len(gaps)


def test_every_gap_has_at_least_three_wrong_fillings():
    seen = set()
    for lesson in LESSONS:
        for gap, filled in zip(*map(sources_of, lesson_and_solution(lesson)), strict=True):
            if GAP.search(gap):
                check, dots = check_of(filled), len(GAP.findall(gap))
                answers = [line for line in filled.splitlines() if line not in gap.splitlines()]
                wrong = [filled.replace(old, new) for old, new, _ in WRONG[check]]
                for line in answers if dots > 1 else ():
                    assert sum(line not in cell.splitlines() for cell in wrong) >= 3, (check, line)
                assert len(answers) >= dots
                assert len(wrong) >= 3
                seen.add(check)
    assert seen == WRONG.keys()


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:Proactor event loop")  # on Windows, by tornado
@pytest.mark.parametrize("data", ["digits", "mnist"])
def test_a_solution_runs(lesson, data, tmp_path, request):
    variables = OFFLINE
    if data == "mnist":
        found = request.getfixturevalue("mnist_directory")
        variables = {"TFDS_DATA_DIR": str(found.parent.parent)}
    stored = lesson_and_solution(lesson)[1]
    notebook = executed(stored, tmp_path, **variables)
    assert not [out for out in outputs_of(notebook) if out["output_type"] == "error"]
    assert printed(notebook, "stderr") == ""
    assert ("MNIST:" in printed(notebook)) == (data == "mnist")
    pages = ["my_digits.html"] if "export_html" in str(stored) else []
    assert [path.name for path in tmp_path.iterdir()] == pages
    assert [*map(kinds, code_of(notebook))] == [*map(kinds, code_of(stored))]


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:Proactor event loop")
def test_an_open_gap_shows_the_hint_alone(tmp_path):
    lesson = lesson_and_solution(LESSONS[0])[0]
    first = next(n for n, cell in enumerate(lesson["cells"]) if is_open(cell))
    notebook = executed({**lesson, "cells": lesson["cells"][: first + 1]}, tmp_path, **OFFLINE)
    (shown,) = [out for out in outputs_of(notebook) if out["output_type"] == "error"]
    assert len(shown["traceback"]) == 1
    assert shown["traceback"][0].startswith("✗ Not yet. This gap is still open")


def test_the_stored_outputs_are_complete_and_small(lesson):
    solution = lesson_and_solution(lesson)[1]
    counts = [cell["execution_count"] for cell in code_of(solution)]
    assert counts == [*range(1, len(counts) + 1)]
    assert printed(solution).count("✓ Right.") >= len(gaps_of(lesson))
    assert (COURSE / "solutions" / f"{lesson}.ipynb").stat().st_size < 300_000
    assert not ABSOLUTE.search(printed(solution))


def test_the_teacher_is_told_the_figures_of_the_stored_outputs(lesson):
    text = (COURSE / "README.md").read_text("utf-8")
    (row,) = re.findall(rf"^\| lesson {lesson[0]}: .*?\|(.*?)\|", text, flags=re.M)
    figures = re.findall(r"\d+\.\d+", row)
    assert figures
    known = printed(lesson_and_solution(lesson)[1])
    assert not [figure for figure in figures if figure not in known]
