"""`examples/mnist.ipynb` runs, does what `examples/mnist.py` does, and stores its own outputs.

After a change, run it again: python -m jupyter execute --inplace examples/mnist.ipynb
"""

import ast
import base64
import os
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
NOTEBOOK, PROGRAM = ROOT / "examples" / "mnist.ipynb", ROOT / "examples" / "mnist.py"


def code_of(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(notebook):
    """Return the text printed by all cells of a notebook."""
    outputs = [output for cell in code_of(notebook) for output in cell.outputs]
    return "".join(output.text for output in outputs if output.output_type == "stream")


def pictures(cell):
    return [output for output in cell.outputs if "image/png" in output.get("data", {})]


# On Windows, tornado warns that it uses another event loop.
pytestmark = pytest.mark.filterwarnings("ignore:Proactor event loop")


@pytest.fixture(scope="module")
def stored():
    import nbformat  # imported here so that the file can be collected without Jupyter

    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture(scope="module")
def executed(mnist_directory, tmp_path_factory):
    """The notebook, executed in an empty folder, which it must leave empty."""
    import nbclient
    import nbformat

    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in code_of(notebook):
        cell.outputs = []
    before = dict(os.environ)
    os.environ |= {"TFDS_DATA_DIR": str(mnist_directory.parent.parent)}
    os.environ.pop("MPLBACKEND", None)  # a notebook uses its own backend
    try:
        resources = {"metadata": {"path": str(folder)}}
        nbclient.NotebookClient(notebook, timeout=600, resources=resources).execute()
    finally:
        os.environ.clear()
        os.environ.update(before)
    assert list(folder.iterdir()) == []
    return notebook


def test_the_notebook_runs_without_errors_and_warnings(executed):
    for cell in code_of(executed):
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr", output.text


def test_the_stored_outputs_match_the_cells(stored, executed):
    for was, now in zip(code_of(stored), code_of(executed), strict=True):
        assert was.execution_count == now.execution_count
        assert len(pictures(was)) == len(pictures(now))
        assert [o.get("data", {}).keys() for o in was.outputs if o.output_type != "stream"] == [
            o.get("data", {}).keys() for o in now.outputs if o.output_type != "stream"
        ]
    assert sum(len(pictures(cell)) for cell in code_of(stored)) == 11
    for figure, least in (("Accuracy:", 97), ("Raw pixels: accuracy", 90)):
        was, now = (
            float(re.search(rf"{figure} ([\d.]+)%", printed(n))[1]) for n in (stored, executed)
        )
        assert was == pytest.approx(now, abs=0.7)  # rounding depends on the processor
        assert was > least
    assert "All gradients are right" in str(code_of(executed))


def test_the_live_plot_is_one_picture_above_the_progress_lines(executed):
    (cell,) = [
        cell for cell in code_of(executed) if "LivePlot()]" in cell.source.replace(", record", "")
    ]
    assert len(pictures(cell)) == 1
    assert cell.outputs[0] is pictures(cell)[0]
    data = base64.b64decode(cell.outputs[0].data["image/png"])
    assert len(data) > 40_000  # not an empty figure


def steps_of(source):
    """Yield the source of a program's calls on `model`, without options of `fit`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if ast.unparse(node.func.value) != "model":
                continue
            if node.func.attr == "fit":
                kept = ("validation_data",)
                node.keywords = [k for k in node.keywords if k.arg in kept]
            if node.func.attr in ("predict", "evaluate", "trace", "get_config"):
                continue
            yield ast.unparse(node)


def test_the_notebook_trains_the_same_network_as_the_program(stored, executed):
    cells = "\n".join(cell.source for cell in code_of(stored))
    program = PROGRAM.read_text("utf-8")
    assert sorted(steps_of(cells)) == sorted(steps_of(program))
    assert len(list(steps_of(cells))) == 7
    defaults = dict(re.findall(r'"--(epochs|batch-size|seed)", type=int, default=(\d+)', program))
    assert f"epochs={defaults['epochs']}," in cells
    assert f"batch_size={defaults['batch-size']}," in cells
    assert f"set_random_seed({defaults['seed']})" in cells


def test_the_notebook_is_small_and_contains_no_absolute_paths(stored):
    assert NOTEBOOK.stat().st_size < 600_000  # see CONTRIBUTING.md
    texts = [cell.source for cell in stored.cells] + [printed(stored)]
    outputs = [output for cell in code_of(stored) for output in cell.outputs]
    texts += [
        o.get("data", {}).get(kind, "") for o in outputs for kind in ("text/plain", "text/html")
    ]
    absolute = re.compile(r"""(?:^|[\s"'(=])(?:/\w+/|[A-Za-z]:\\)""", re.MULTILINE)
    assert absolute.search('File "' + str(ROOT))  # the pattern matches such a path
    assert not [text for text in texts if absolute.search(text)]
