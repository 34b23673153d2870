"""`examples/mnist.ipynb` runs, does what `examples/mnist.py` does, and stores its own outputs.

After a change, run it again and store it: python tests/examples/test_notebook.py
"""

import ast
import base64
import io
import os
import pathlib
import re
import runpy
import sys
import tempfile
from unittest import mock

import pytest

import tinynet

ROOT = pathlib.Path(__file__).resolve().parents[2]
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


def read(path):
    import nbformat  # imported here so that the file can be collected without Jupyter

    return nbformat.read(path, as_version=4)


def execute(notebook, directory):
    """Run a notebook in `directory`, as in Jupyter, whatever it stores and the tests have set."""
    import nbclient

    for cell in code_of(notebook):
        cell.outputs = []
    resources = {"metadata": {"path": str(directory)}}
    with mock.patch.dict(os.environ):
        os.environ.pop("MPLBACKEND", None)  # a notebook uses its own backend
        nbclient.NotebookClient(
            notebook, timeout=600, resources=resources, record_timing=False, coalesce_streams=True
        ).execute()


def store(path):
    """Run a notebook and store it: small pictures, and no names of temporary files."""
    import nbformat
    from PIL import Image

    notebook = read(path)
    with tempfile.TemporaryDirectory() as directory:
        execute(notebook, directory)
    notebook.metadata.language_info = {"name": "python"}
    for output in outputs_of(notebook):
        if output.get("name") == "stderr":
            output.text = re.sub(r"\S*\bipykernel_\d+\S*?(?=:\d)", "<this cell>", output.text)
        if picture := output.get("data", {}).get("image/png"):
            file = io.BytesIO()
            image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
            # Median cut would merge the colours of thin lines, such as two curves of a plot.
            few = image.quantize(64, method=Image.Quantize.MAXCOVERAGE, kmeans=3)
            few.save(file, "png", optimize=True)
            output.data["image/png"] = base64.b64encode(file.getvalue()).decode()
    nbformat.write(notebook, path)


@pytest.fixture(scope="module")
def stored():
    return read(NOTEBOOK)


# For each exercise, what to write instead of a text in its code, and what its answer says then.
EXERCISES = (
    ("h = 0.01", {"h = 0.01": "-0.000151", "h = 0.1": "-0.001222", "h = 1": "+0.009316"}),
    (
        '"adam"',
        {
            '"adam"': "Adam: 96.37",
            '"sgd"': "η = 0.01: 68.45",
            "tinynet.optimizers.SGD(learning_rate=1.0)": "η = 1: 96.05",
        },
    ),
    ("# labels", {"# labels": "images and 89.10", "labels": "images, but 8.93"}),
)


@pytest.mark.long
def test_the_notebook_runs_and_its_stored_outputs_match(stored, mnist_directory, tmp_path):
    import nbformat

    executed = read(NOTEBOOK)
    texts = [cell.source.replace("−", "-").replace("\n", " ") for cell in executed.cells]
    answers = [n for n, text in enumerate(texts) if "<summary>Answer</summary>" in text]
    changed = []
    for place, (code, figures) in zip(answers, EXERCISES, strict=True):
        for change, figure in figures.items():
            assert figure in texts[place]
            source = executed.cells[place - 1].source.replace(code, change)
            changed.append((nbformat.v4.new_code_cell(source), figure))
    executed.cells += [cell for cell, _ in changed]
    with mock.patch.dict(os.environ, TFDS_DATA_DIR=str(mnist_directory.parent.parent)):
        execute(executed, tmp_path)
    del executed.cells[len(texts) :]
    assert [path.name for path in tmp_path.iterdir()] == ["digits.html"]
    for notebook in (stored, executed):
        assert not [out for out in outputs_of(notebook) if out.output_type == "error"]
        (warned,) = [out.text for out in outputs_of(notebook) if out.get("name") == "stderr"]
        assert re.search(r":\d+: UserWarning: Expected inputs between about -1 and 1", warned)
    for was, now in zip(code_of(stored), code_of(executed), strict=True):
        assert (was.execution_count, kinds(was)) == (now.execution_count, kinds(now))
    for figure, least in (("Accuracy:", 97), ("Raw pixels: accuracy", 90), ("with L2:", 96)):
        texts = map(printed, (stored, executed))
        was, now = (float(re.search(rf"{figure} ([\d.]+)%", text)[1]) for text in texts)
        assert was == pytest.approx(now, abs=0.7)  # rounding depends on the processor
        assert was > least
    for cell, figure in changed:
        expected, reached = (
            float(re.findall(r"[-+]?\d+\.\d\d+", text)[-1])
            for text in (figure, cell.outputs[-1].text)
        )
        assert reached == pytest.approx(expected, abs=2 if expected > 1 else 2e-6)
    assert "All gradients are right" in str(code_of(executed))
    # The live plot is one picture above the progress lines, and not an empty figure.
    (cell,) = [cell for cell in code_of(executed) if "callbacks=[LivePlot()" in cell.source]
    assert str(kinds(cell)).count("image/png") == 1
    assert len(base64.b64decode(cell.outputs[0].data["image/png"])) > 40_000


def test_the_test_images_are_not_used_before_training_has_ended(stored):
    used = [n for n, cell in enumerate(code_of(stored)) if re.search(r"\b[xt]_test\b", cell.source)]
    sources = [cell.source for cell in code_of(stored)]
    prepared = next(n for n, source in enumerate(sources) if "x_test = x_train / 255" in source)
    trained = next(n for n, source in enumerate(sources) if "model.fit(" in source)
    assert [n for n in used if n <= trained] == [prepared]
    assert not any("validation_data=(x_test" in source for source in sources)
    assert sum("Accuracy: {" in source for source in sources) == 1


def steps_of(source):
    """Yield the source of a program's calls that make and train `model`, without `fit`'s options.

    The program watches the test images while it trains, as tutorials do; the notebook holds out
    training images instead.
    """
    for node in ast.walk(ast.parse(source)):
        name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if name == "model.fit":
            node.keywords = []
        if re.fullmatch(r"model\.(?!(?:predict|evaluate|trace|get_config|summary)$)\w+", name):
            yield ast.unparse(node)


def test_the_notebook_trains_the_same_network_as_the_program(stored, monkeypatch):
    cells = "\n".join(cell.source for cell in code_of(stored))
    assert sorted(steps_of(cells)) == sorted(steps_of(PROGRAM.read_text("utf-8")))
    assert len(list(steps_of(cells))) == 6
    assert str([kinds(cell) for cell in code_of(stored)]).count("image/png") == 12
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


if __name__ == "__main__":
    for argument in sys.argv[1:] or [NOTEBOOK]:
        store(argument)
