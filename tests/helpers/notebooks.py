"""Notebooks: run them as Jupyter does, look at their outputs, and store them.

    python tests/helpers/notebooks.py [NOTEBOOK …]

runs notebooks (by default, all in `examples/`) and stores them with small pictures and without the
names of temporary files. Solutions of the course are run without MNIST, and the lessons, which are
the same with gaps, are renewed from them.
"""

import base64
import io
import json
import os
import pathlib
import re
import sys
import tempfile
from unittest import mock

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
COURSE = EXAMPLES / "course"
OFFLINE = {"TFDS_DATA_DIR": "none", "KERAS_HOME": "none"}  # where MNIST is not
ABSOLUTE = re.compile(r"""(?:^|[\s"'(=])(?:/\w+/|[A-Za-z]:\\)""", re.MULTILINE)  # a path
GAP = re.compile(r"\.\.\.")  # the dots of a gap


def read(path):
    return json.loads(path.read_text("utf-8"))


def write(path, notebook):
    text = json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True)
    path.write_text(f"{text}\n", "utf-8", newline="\n")


def source_of(cell):
    return "".join(cell["source"])


def code_of(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def outputs_of(notebook):
    return [output for cell in code_of(notebook) for output in cell["outputs"]]


def printed(notebook, name=None):
    """Return the text printed by all cells of a notebook, or only that on a stream."""
    streams = [out for out in outputs_of(notebook) if out["output_type"] == "stream"]
    return "".join("".join(out["text"]) for out in streams if name in (None, out["name"]))


def kinds(cell):
    """Return the forms of each output of a cell except what it prints."""
    return [sorted(out.get("data", {})) for out in cell["outputs"] if "text" not in out]


def executed(notebook, directory, **variables):
    """Return a notebook run in `directory`, as in Jupyter, whatever it stores and the tests set."""
    import nbclient  # imported here so that tests can be collected without Jupyter
    import nbformat

    node = nbformat.reads(json.dumps(notebook), as_version=4)
    for cell in code_of(node):
        cell["outputs"] = []
    resources = {"metadata": {"path": str(directory)}}
    with mock.patch.dict(os.environ, variables):
        os.environ.pop("MPLBACKEND", None)  # a notebook uses its own backend
        client = nbclient.NotebookClient(
            node, timeout=600, resources=resources, record_timing=False, coalesce_streams=True
        )
        client.allow_errors = True  # the error is an output
        client.execute()
    return json.loads(nbformat.writes(node))


def store(path):
    """Run a notebook and store it."""
    from PIL import Image

    before, solution = read(path), path.parent == COURSE / "solutions"
    with tempfile.TemporaryDirectory() as directory:
        notebook = executed(before, directory, **OFFLINE if solution else {})
    notebook["metadata"] = before["metadata"]
    for output in outputs_of(notebook):
        assert output["output_type"] != "error", output["traceback"]
        if output.get("name") == "stderr":
            text = "".join(output["text"])
            output["text"] = [re.sub(r"\S*\bipykernel_\d+\S*?(?=:\d)", "<this cell>", text)]
        if plain := output.get("data", {}).get("text/plain"):
            output["data"]["text/plain"] = [re.sub(r" at 0x\w+", "", "".join(plain))]
        if picture := output.get("data", {}).get("image/png"):
            file = io.BytesIO()
            image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
            # Median cut would merge the colours of thin lines, such as two curves of a plot.
            few = image.quantize(64, method=Image.Quantize.MAXCOVERAGE, kmeans=3)
            few.save(file, "png", optimize=True)
            output["data"]["image/png"] = base64.b64encode(file.getvalue()).decode()
    write(path, notebook)
    if solution:
        lesson = COURSE / path.name
        write(lesson, renewed(read(lesson), notebook))


def is_open(cell):
    """Whether a cell of a lesson differs from the solution's: it has a gap, or is an exercise."""
    source = source_of(cell)
    opens = GAP.search(source) or source.startswith("# Exercise")
    return cell["cell_type"] == "code" and bool(opens)


def renewed(lesson, solution):
    """Return a lesson with all that it has in common with its solution, which is without gaps."""
    kept = {cell["id"]: cell["source"] for cell in lesson["cells"] if is_open(cell)}
    cells = []
    for cell in solution["cells"]:
        new = {**cell, "source": kept.get(cell["id"], cell["source"])}
        if cell["cell_type"] == "code":
            new |= {"execution_count": None, "outputs": [], "metadata": {}}
        cells.append(new)
    return {**solution, "cells": cells}


if __name__ == "__main__":
    default = [EXAMPLES / "mnist.ipynb", *sorted(COURSE.glob("solutions/*.ipynb"))]
    for file in [pathlib.Path(name).resolve() for name in sys.argv[1:]] or default:
        print(f"{file.name} …", flush=True)
        store(file)
