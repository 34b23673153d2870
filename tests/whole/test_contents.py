"""The table of contents, `tinynet/README.md`, is correct: pages, lines, wings, and the map."""

import ast
import pathlib
import re
from operator import attrgetter

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE, SCRATCH = ROOT / "tinynet", ROOT / "examples" / "from_scratch.py"
README = (PACKAGE / "README.md").read_text("utf-8")
PAGES, WINGS, MAP = README.split("\n## ")[1:4]
ROWS = [line for line in MAP.splitlines() if line.startswith("| ")][1:]
PLACE = re.compile(r"\[([\w./]+):(\d+)\]\(([\w./]+)#L(\d+)\) `([\w.]+)`")


def line_of(path, name):
    """Return the line on which a function, class or method of a file begins."""
    node = ast.parse(path.read_text("utf-8"))
    for part in name.split("."):
        node = next(child for child in node.body if getattr(child, "name", None) == part)
    return node.lineno


def test_every_page_is_listed_with_its_number_of_lines():
    table = dict(re.findall(r"^\| \[`(\w+\.py)`\]\(\1\) \| (\d+) \| \S", PAGES, flags=re.M))
    pages = [path for path in PACKAGE.glob("*.py") if path.stem not in ("__init__", "config")]
    assert table == {page.name: str(len(page.read_text("utf-8").splitlines())) for page in pages}


def test_every_wing_is_listed_with_its_files():
    table = dict(re.findall(r"^\| `(\w+)/` \| (.+) \|$", WINGS, flags=re.M))
    wings = {path for path in PACKAGE.iterdir() if path.is_dir() and path.name[0] != "_"}
    assert table.keys() == {wing.name for wing in wings}
    for file in (file for wing in wings for file in wing.glob("*.py")):
        assert file.stem in ("__init__", "__main__") or f"`{file.stem}`" in table[file.parent.name]


def test_the_map_lists_every_step_of_from_scratch():
    steps = re.findall(r"^# (\d+\. [^:\n]+)", SCRATCH.read_text("utf-8"), flags=re.M)
    assert len(steps) >= 9
    found = [re.match(r"\| (\d+\. [^:[]+)", row)[1].strip() for row in ROWS]
    assert list(dict.fromkeys(found)) == steps


@pytest.mark.parametrize("row", ROWS, ids=lambda row: re.match(r"\| ([^[]+)", row)[1].strip())
def test_a_row_of_the_map_links_to_the_right_lines(row):
    first, here, *_ = row.split(" | ")
    (step,), places = PLACE.findall(first), PLACE.findall(here)
    assert places
    for shown, number, link, linked, name in (step, *places):
        path = (PACKAGE / link).resolve()
        assert path.name == shown.split("/")[-1]
        assert number == linked == str(line_of(path, name)), f"{name} is no longer on line {linked}"
    assert step[2] == "../examples/from_scratch.py"


def test_the_keras_names_in_the_map_exist(keras):
    names = re.findall(r"`keras\.([\w.]+)`", MAP)
    assert len(names) >= 8
    assert all(attrgetter(name)(keras) for name in names)
