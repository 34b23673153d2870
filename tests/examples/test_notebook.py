"""`examples/mnist.ipynb` runs, does what `examples/mnist.py` does, and stores its own outputs.

What it shows of a model and of a trace is complete and readable.

After a change, run it again and store it: python tests/helpers/notebooks.py examples/mnist.ipynb
"""

import ast
import base64
import re
import runpy
import sys
from unittest import mock

import numpy as np
import pytest
from networks import SPARSE, network, tutorial
from notebooks import (
    ABSOLUTE,
    EXAMPLES,
    code_of,
    executed,
    kinds,
    outputs_of,
    printed,
    read,
    source_of,
)

import tinynet

NOTEBOOK, PROGRAM = EXAMPLES / "mnist.ipynb", EXAMPLES / "mnist.py"
# On Windows, tornado warns that it uses another event loop.
pytestmark = pytest.mark.filterwarnings("ignore:Proactor event loop")


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
    texts = [source_of(cell).replace("−", "-").replace("\n", " ") for cell in stored["cells"]]
    answers = [n for n, text in enumerate(texts) if "<summary>Answer</summary>" in text]
    changed, expected = [], []
    for place, (code, figures) in zip(answers, EXERCISES, strict=True):
        for change, figure in figures.items():
            assert figure in texts[place]
            exercise = stored["cells"][place - 1]
            changed.append({**exercise, "source": source_of(exercise).replace(code, change)})
            changed[-1]["id"] = f"changed-{len(changed)}"
            expected.append(figure)
    longer = {**stored, "cells": [*stored["cells"], *changed]}
    data = str(mnist_directory.parent.parent)
    longer = executed(longer, tmp_path, TFDS_DATA_DIR=data)
    now = {**longer, "cells": longer["cells"][: len(texts)]}
    assert [path.name for path in tmp_path.iterdir()] == ["digits.html"]
    for notebook in (stored, now):
        assert not [out for out in outputs_of(notebook) if out["output_type"] == "error"]
        warned = printed(notebook, "stderr")
        assert warned.count("Warning") == 1
        assert re.search(r":\d+: UserWarning: Expected inputs between about -1 and 1", warned)
    for one, other in zip(code_of(stored), code_of(now), strict=True):
        assert (one["execution_count"], kinds(one)) == (other["execution_count"], kinds(other))
    for figure, least in (("Accuracy:", 97), ("Raw pixels: accuracy", 90), ("with L2:", 96)):
        both = map(printed, (stored, now))
        before, after = (float(re.search(rf"{figure} ([\d.]+)%", text)[1]) for text in both)
        assert before == pytest.approx(after, abs=0.7)  # rounding depends on the processor
        assert before > least
    for cell, figure in zip(longer["cells"][len(texts) :], expected, strict=True):
        told, reached = (
            float(re.findall(r"[-+]?\d+\.\d\d+", text)[-1])
            for text in (figure, printed({"cells": [cell]}))
        )
        assert reached == pytest.approx(told, abs=2 if told > 1 else 2e-6)
    assert "All gradients are right" in str(code_of(now))
    # The live plot is one picture above the progress lines, and not an empty figure.
    (cell,) = [cell for cell in code_of(now) if "callbacks=[LivePlot()" in source_of(cell)]
    assert str(kinds(cell)).count("image/png") == 1
    assert len(base64.b64decode(cell["outputs"][0]["data"]["image/png"])) > 40_000


def test_the_test_images_are_not_used_before_training_has_ended(stored):
    sources = [*map(source_of, code_of(stored))]
    used = [n for n, source in enumerate(sources) if re.search(r"\b[xt]_test\b", source)]
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
    cells = "\n".join(map(source_of, code_of(stored)))
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
    texts = [*map(source_of, stored["cells"]), printed(stored)]
    for output in outputs_of(stored):
        data = output.get("data", {})
        texts += ["".join(data.get(kind, "")) for kind in ("text/plain", "text/html")]
    assert ABSOLUTE.search('File "' + str(EXAMPLES))  # the pattern matches such a path
    assert not [text for text in texts if ABSOLUTE.search(text)]


# How a notebook shows a model and a trace


def test_a_notebook_shows_a_table_of_a_model_and_other_programs_the_short_form():
    from IPython.core.formatters import DisplayFormatter

    model = tutorial()
    data, _ = DisplayFormatter().format(model)
    assert data["text/html"] == model._repr_html_()
    assert data["text/plain"] == "<Sequential name=sequential, built=True>"


# JupyterLab's rules for the HTML of an output, as far as they concern where lines are broken.
JUPYTERLAB = """
    pre { border: none; margin: 0; padding: 0; overflow: auto; word-break: break-all;
          overflow-wrap: break-word; white-space: pre-wrap; }
    code { white-space: pre-wrap; }
    table { border-collapse: collapse; table-layout: fixed; font-size: 13px; }
    td, th, tr { vertical-align: middle; text-align: right; padding: 0.5em; white-space: normal;
                 max-width: none; }
"""
BROKEN = """() => {
    const broken = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    let count = 0;
    while (walk.nextNode())
        for (const { 0: text, index } of walk.currentNode.data.matchAll(/-?\\d[\\d.e-]*/g)) {
            const range = new Range();
            range.setStart(walk.currentNode, index);
            range.setEnd(walk.currentNode, index + text.length);
            count += 1;
            if (new Set([...range.getClientRects()].map(({ top }) => top)).size > 1)
                broken.push(text);
        }
    const tops = (cell) => [...cell.querySelectorAll("code, b")].map((e) => e.getClientRects());
    return [broken, count, [...document.querySelectorAll("tr > :first-child")].flatMap(tops)
        .filter((rects) => rects.length > 1).length];
}"""


def test_a_notebook_breaks_no_number_and_no_formula(browser):
    """The table scrolls sideways in its own place, as the notebook itself does not scroll."""
    model = network((12, "tanh"), (10, "softmax"), inputs=(3,), loss=SPARSE)
    content = model.trace(np.eye(3), np.arange(3))._repr_html_()
    page = browser.new_page(viewport={"width": 600, "height": 800})
    page.set_content(f"<style>{JUPYTERLAB}</style><body>{content}</body>")
    broken, count, formulas = page.evaluate(BROKEN)
    assert count > 400
    assert (broken, formulas) == ([], 0)
    widths = page.evaluate(
        """() => [document.querySelector("table").parentElement, document.documentElement]
            .flatMap(({ scrollWidth, clientWidth }) => [scrollWidth, clientWidth])"""
    )
    assert widths[0] > widths[1] + 200
    assert widths[2] == widths[3]
    page.close()
