"""`examples/mnist.ipynb` runs, does what `examples/mnist.py` does, and stores its own outputs.

After a change, run it again: python -m jupyter execute --inplace examples/mnist.ipynb
"""

import ast
import base64
import os
import re
import runpy
import sys
from unittest import mock

import pytest
from conftest import ROOT

import tinynet

NOTEBOOK, PROGRAM = ROOT / "examples" / "mnist.ipynb", ROOT / "examples" / "mnist.py"
# On Windows, tornado warns that it uses another event loop.
pytestmark = pytest.mark.filterwarnings("ignore:Proactor event loop")


def code_of(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs_of(notebook):
    return [output for cell in code_of(notebook) for output in cell.outputs]


def printed(notebook):
    """Return the text printed by all cells of a notebook."""
    return "".join(out.text for out in outputs_of(notebook) if out.output_type == "stream")


def kinds(cell):
    """Return the forms of each output of a cell except what it prints."""
    return [sorted(out.get("data", {})) for out in cell.outputs if out.output_type != "stream"]


@pytest.fixture(scope="module")
def stored():
    import nbformat  # imported here so that the file can be collected without Jupyter

    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.mark.long
def test_the_notebook_runs_and_its_stored_outputs_match(stored, mnist_directory, tmp_path):
    import nbclient
    import nbformat

    executed = nbformat.read(NOTEBOOK, as_version=4)
    for cell in code_of(executed):
        cell.outputs = []
    with mock.patch.dict(os.environ, TFDS_DATA_DIR=str(mnist_directory.parent.parent)):
        os.environ.pop("MPLBACKEND", None)  # a notebook uses its own backend
        resources = {"metadata": {"path": str(tmp_path)}}
        nbclient.NotebookClient(executed, timeout=600, resources=resources).execute()
    assert not [*tmp_path.iterdir()]
    assert not [out for out in outputs_of(executed) if out.output_type == "error"]
    assert not [out.text for out in outputs_of(executed) if out.get("name") == "stderr"]
    for was, now in zip(code_of(stored), code_of(executed), strict=True):
        assert (was.execution_count, kinds(was)) == (now.execution_count, kinds(now))
    for figure, least in (("Accuracy:", 97), ("Raw pixels: accuracy", 90)):
        texts = map(printed, (stored, executed))
        was, now = (float(re.search(rf"{figure} ([\d.]+)%", text)[1]) for text in texts)
        assert was == pytest.approx(now, abs=0.7)  # rounding depends on the processor
        assert was > least
    assert "All gradients are right" in str(code_of(executed))
    # The live plot is one picture above the progress lines, and not an empty figure.
    (cell,) = [cell for cell in code_of(executed) if "callbacks=[LivePlot()" in cell.source]
    assert str(kinds(cell)).count("image/png") == 1
    assert len(base64.b64decode(cell.outputs[0].data["image/png"])) > 40_000


def steps_of(source):
    """Yield the source of a program's calls on `model`, without options of `fit`."""
    for node in ast.walk(ast.parse(source)):
        name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if name == "model.fit":
            node.keywords = [k for k in node.keywords if k.arg == "validation_data"]
        if re.fullmatch(r"model\.(?!(?:predict|evaluate|trace|get_config)$)\w+", name):
            yield ast.unparse(node)


def test_the_notebook_trains_the_same_network_as_the_program(stored, monkeypatch):
    cells = "\n".join(cell.source for cell in code_of(stored))
    assert sorted(steps_of(cells)) == sorted(steps_of(PROGRAM.read_text("utf-8")))
    assert len(list(steps_of(cells))) == 7
    assert str([kinds(cell) for cell in code_of(stored)]).count("image/png") == 11
    # The program's defaults are what its `fit` and `set_random_seed` receive.
    fit, seed = mock.Mock(side_effect=SystemExit), mock.Mock()
    monkeypatch.setattr(tinynet.Sequential, "fit", fit)
    monkeypatch.setattr(tinynet.utils, "set_random_seed", seed)
    monkeypatch.setattr(sys, "argv", ["mnist.py", "--data", "digits"])
    monkeypatch.syspath_prepend(PROGRAM.parent)
    with pytest.raises(SystemExit):
        runpy.run_path(str(PROGRAM), run_name="__main__")
    for name in ("epochs", "batch_size"):
        assert f"{name}={fit.call_args.kwargs[name]}," in cells
    assert f"set_random_seed({seed.call_args.args[0]})" in cells


def test_the_notebook_is_small_and_contains_no_absolute_paths(stored):
    assert NOTEBOOK.stat().st_size < 600_000  # see CONTRIBUTING.md
    texts = [cell.source for cell in stored.cells] + [printed(stored)]
    for output in outputs_of(stored):
        texts += [output.get("data", {}).get(kind, "") for kind in ("text/plain", "text/html")]
    absolute = re.compile(r"""(?:^|[\s"'(=])(?:/\w+/|[A-Za-z]:\\)""", re.MULTILINE)
    assert absolute.search('File "' + str(ROOT))  # the pattern matches such a path
    assert not [text for text in texts if absolute.search(text)]
