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

LESSONS = sorted(path.stem for path in COURSE.glob("*.ipynb"))

# For each check, typical wrong fillings: what is replaced in the solution, by what, and what the
# hint has to say.
WRONG = {
    # Lesson 1
    "to_row": [
        ("image.reshape(-1) / white", "image.reshape(-1)", "still go up to `white`"),
        ("image.reshape(-1) / white", "image / white", "still has rows and columns"),
        ("image.reshape(-1) / white", "image.T.reshape(-1) / white", "column by column"),
        ("/ white", "/ 255", "divides by 255"),
        ("/ white", "/ 16", "divides by 16"),
        ("/ white", "// white", "Two slashes"),
        ("/ white", "/ image.max()", "largest pixel of this image"),
        ("image.reshape(-1)", "image.reshape(12)", "cannot reshape array of size 8"),
        ("image.reshape(-1)", "image.reshape(1, -1)", "table with one row"),
        ("image.reshape(-1)", "zero.reshape(-1)", "notebook's zero, not its arguments"),
    ],
    "weighted_sum": [
        ("x @ w + b", "x @ w", "b was forgotten"),
        ("x @ w + b", "x * w + b", "not added up"),
        ("x @ w + b", "x @ w[:, None] + b", "in a column"),
        ("x @ w + b", "(x * w + b).sum(axis=1)", "b is added once for each pixel"),
        ("x @ w + b", "(x * w).sum() + b", "over all images"),
        ("x @ w + b", "np.sum(x * w + b)", "over all images, too, and b"),
        ("x @ w + b", "w @ x + b", "as many columns as B has rows"),
        ("x @ w + b", "x @ w * b", "multiplies by b"),
        ("x @ w + b", "x @ w - b", "subtracts b"),
        ("x @ w + b", "(x * w).mean(axis=1) + b", "mean over the pixels"),
        ("x @ w + b", "(x * w).sum(axis=0) + b", "over the images"),
        ("return x @ w + b", "z = x @ w + b", "`return` missing"),
        ("x @ w + b", "x_train @ w + b", "notebook's x_train, not its arguments"),
    ],
    "template": [
        ("w = x_train[is_zero].mean(axis=0) -", "w = -x_train[is_zero].mean(axis=0) +", "signs"),
        (" - x_train[~is_zero].mean(axis=0)", "", "mean of the zeros alone"),
        (".mean(axis=0)", ".sum(axis=0)", "sums, not means"),
        (".mean(axis=0)", ".mean()", "images and pixels together"),
        (".mean(axis=0)", ".mean(axis=0, keepdims=True)", "leave out keepdims"),
        ("x_train[~is_zero]", "x_train", "not zeros"),
        ("x_train[", "X_train[", "with a small x"),
    ],
    "threshold": [
        ("b = -(z[is_zero].mean() + z[~is_zero].mean()) / 2", "b = 0", "has to be negative"),
        ("b = -(", "b = (", "has to be negative"),
        ("/ 2", "* 2", "no to every image"),
        ("b = -(z[is_zero].mean() + z[~is_zero].mean()) / 2", "b = -z", "Expected one number"),
        (" + z[~is_zero].mean()) / 2", ")", "too negative"),
        ("-(z[is_zero].mean() + z[~is_zero].mean()) / 2", "-0.1", "not negative enough"),
    ],
    "sigmoid": [
        ("np.exp(-z)", "np.exp(z)", "sign of z"),
        ("1 / (1 + np.exp(-z))", "1 / 1 + np.exp(-z)", "brackets around the sum"),
        ("1 / (1 + np.exp(-z))", "np.exp(-z)", "e⁻ᶻ alone"),
        ("1 / (1 + np.exp(-z))", "np.tanh(z)", "tanh"),
        ("1 / (1 + np.exp(-z))", "1 / np.exp(-z)", "in the denominator, add 1"),
        ("np.exp(-z)", "math.exp(-z)", "use NumPy's functions"),
        ("1 + np.exp(-z)", "1 - np.exp(-z)", "with a plus"),
        ("check.sigmoid(sigmoid)", "check.sigmoid(sigmoid(0))", "the function itself"),
    ],
    "dense_weights": [
        ("w[:, None]", "w", r"here \(64, 1\). This one is of shape \(64,\): reshape w"),
        ("w[:, None]", "w[None, :]", "transposed"),
        ("[w[:, None], np.array([b])]", "[np.array([b]), w[:, None]]", "wrong order"),
        ("np.array([b])", "b", "one number for each unit"),
        ("np.array([b])", "np.array([0.0])", "not those of w and b"),
        ("[w[:, None], np.array([b])]", "w[:, None]", "list of two arrays"),
        ("[w[:, None], np.array([b])]", "[w[:, None], ...]", "still open"),
    ],
    "parameters": [
        ("d * 10 + 10", "d * 10", "biases are missing"),
        ("d * 10 + 10", "d * 10 + 1", "one bias for each unit"),
        ("d * 10 + 10", "d + 1", "for one unit"),
        ("d * 10 + 10", "d + 10", "multiply"),
        ("d * 10 + 10", "d * 10 + d", "not for each pixel"),
    ],
    # Lesson 2
    "softmax": [
        (".sum(axis=1, keepdims=True)", ".sum()", "All rows together"),
        ("axis=1, keepdims=True", "axis=0", "columns add up to 1"),
        (" / np.exp(z).sum(axis=1, keepdims=True)", "", "not divided by their sum"),
        ("np.exp(z)", "np.exp(-z)", "not of −z"),
        ("/ np.exp(z).sum", "/ z.sum", "denominator sums the scores"),
        ("np.exp(z)", "z", "scores themselves"),
        ("np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)", "1 / (1 + np.exp(-z))", "sigmoid"),
        (", keepdims=True", "", "compared from the right"),
    ],
    "stable_softmax": [
        ("z - z.max(axis=1, keepdims=True)", "z", "inf / inf is nan"),
        ("z.max(axis=1, keepdims=True)", "z.max()", "maximum of each row"),
        ("z.max(axis=1", "z.mean(axis=1", "mean of the row"),
        ("z.max(axis=1, keepdims=True)", "z[:, :1]", "first score of the row"),
        (" / e.sum(axis=1, keepdims=True)", "", "do not add up to 1"),
        ("/ e.sum", "/ np.exp(z).sum", "in the numerator only"),
        ("    return e / e.sum(axis=1, keepdims=True)\n", "", "`return` missing"),
        ("e = np.exp(z - z", "z -= z.max(axis=1, keepdims=True)\n    e = np.exp(z - z", "in place"),
    ],
    "cross_entropy": [
        ("return -np", "return np", "sign is missing"),
        (".mean()", ".sum()", "sum over the images"),
        (".mean()", "", "take their mean"),
        ("p[np.arange(len(p)), labels]", "p.max(axis=1)", "predicted digit"),
        ("p[np.arange(len(p)), labels]", "p[:, labels]", "every image with every label"),
        ("np.log(", "np.log10(", "base 10"),
        ("np.log(", "np.log2(", "base 2"),
        ("labels]).mean()", "labels].mean())", "logarithm of the mean"),
        ("np.arange(len(p))", "np.arange(10)", "one row number for each label"),
        ("p[np.arange(len(p)), labels]).mean()", "p).mean()", "all digits"),
        ("-np.log(p[np.arange(len(p)), labels])", "(1 - p[np.arange(len(p)), labels])", "1 − p"),
    ],
    "guessing": [
        ("np.log(10)", "-np.log(10)", "sign"),
        ("np.log(10)", "2.0", "2 is too small"),
        ("np.log(10)", "0.1", "probability of the right digit"),
        ("np.log(10)", "np.log10(10)", "base 10"),
        ("np.log(10)", "np.log2(10)", "base 2"),
        ("np.log(10)", "0.9", "This is 1 − p"),
        ("np.log(10)", "-np.log(0.9)", "all the wrong digits together"),
        ("np.log(10)", "10 * np.log(10)", "only the right digit"),
    ],
    "slope": [
        ("(f(w + h) - f(w - h)) / (2 * h)", "(f(w + h) - f(w)) / h", "to the right only"),
        ("(2 * h)", "h", "twice as large"),
        ("(f(w + h) - f(w - h)) / (2 * h)", "(f(w) - f(w - h)) / h", "to the left only"),
        ("f(w + h) - f(w - h)", "f(w - h) - f(w + h)", "reversed"),
        (" / (2 * h)", "", "not divided"),
        ("(2 * h)", "2", "not by h"),
        ("(2 * h)", "2 * h", "brackets around 2"),
        ("(f(w + h) - f(w - h)) / (2 * h)", "f(w + h) - f(w - h) / 2 * h", "Brackets are missing"),
        ("(f(w + h) - f(w - h))", "f(w + h) - f(w - h)", "brackets around the difference"),
    ],
    "gradient_of_scores": [
        (" / len(p)", "", "not divided by the number of images"),
        (
            "(p - np.eye(p.shape[1])[labels]) / len(p)",
            "np.eye(p.shape[1])[labels] - p",
            "reversed, and",
        ),
        ("(p - np.eye(p.shape[1])[labels])", "-np.eye(p.shape[1])[labels] / p", "−1/p"),
        ("(p - np.eye(p.shape[1])[labels])", "p - np.eye(p.shape[1])[labels]", "Only y is divided"),
        ("(p - np.eye(p.shape[1])[labels])", "(np.eye(p.shape[1])[labels] - p)", "y − p"),
        ("np.eye(p.shape[1])[labels]", "1", "from every digit"),
        ("(p - np.eye(p.shape[1])[labels])", "p", "subtract y"),
        ("np.eye(p.shape[1])[labels]", "labels[:, None]", "label itself"),
        ("np.eye(p.shape[1])[labels]", "np.eye(10)[labels]", "compared from the right"),
        ("/ len(p)", "/ p.shape[1]", "number of classes"),
        (
            "return (p - np.eye(p.shape[1])[labels])",
            "y = np.zeros_like(p)\n    y[labels] = 1\n    return (p - y)",
            "row number with each label",
        ),
        ("len(p)", "p.size", "number of all scores"),
    ],
    "step": [
        ("w - rate", "w + rate", "uphill"),
        ("rate * gradient", "gradient", "rate is missing"),
        ("w - rate * gradient", "rate * gradient", "step alone"),
        ("w - rate * gradient", "-rate * gradient", "without the weights"),
        ("rate * gradient", "gradient / rate", "divides by the rate"),
        ("w - rate * gradient", "w - rate", "forgets the gradient"),
        ("return w - rate * gradient", "w -= rate * gradient\n    return w", "in place"),
    ],
    # Lesson 3
    "chain": [
        ("da_dz = a * (1 - a)", "da_dz = 1", r"a \(1 − a\), is missing"),
        ("dz_dw = x", "dz_dw = 1", "∂z/∂w = x, is missing"),
        ("dz_dw = x", "dz_dw = b", "not b"),
        ("dz_dw = x", "dz_dw = w", "not w"),
        ("da_dz = a * (1 - a)", "da_dz = a", r"a \(1 − a\), not a\."),
        ("da_dz = a * (1 - a)", "da_dz = 1 - a", "not 1 − a"),
        ("2 * (a - t)", "(a - t)", "The 2"),
        ("2 * (a - t)", "(a - t) ** 2", "The loss itself"),
        ("(a - t)", "(t - a)", "sign"),
        ("a * (1 - a)", "(x * w + b) * (1 - x * w - b)", "not z"),
        ("a * (1 - a)", "sigmoid(a) * (1 - sigmoid(a))", "σ is applied twice"),
        ("dL_da * da_dz * dz_dw", "dL_da + da_dz + dz_dw", "multiplied"),
    ],
    "shapes": [
        ('"z": (100, 32)', '"z": (32, 100)', "shape of z .* transposed"),
        ('"z": (100, 32)', '"z": (100, 784)', "a column for each unit"),
        ('"z": (100, 32)', '"z": np.ones((100, 32))', "z .* Write a tuple"),
        ('"δ": (100, 32)', '"δ": (100, 784)', "δ .* here of z"),
        ('"δ": (100, 32)', '"δ": (32,)', "δ .* here of z"),
        ('"δ": (100, 32)', '"δ": (32, 100)', "δ .* transposed"),
        ('"∂L/∂W": (784, 32)', '"∂L/∂W": (32, 784)', "∂L/∂W .* transposed"),
        ('"∂L/∂W": (784, 32)', '"∂L/∂W": (100, 32)', "∂L/∂W .* here of W"),
        ('"∂L/∂W": (784, 32)', '"∂L/∂W": 784 * 32', "∂L/∂W .* Write a tuple"),
        ('"∂L/∂b": (32,)', '"∂L/∂b": (100, 32)', "sum of the rows"),
        ('"∂L/∂b": (32,)', '"∂L/∂b": (32)', "needs a comma"),
        ('"∂L/∂b": (32,)', '"∂L/∂b": (1, 32)', "∂L/∂b .* here of b"),
        ('"∂L/∂x": (100, 784)', '"∂L/∂x": (784,)', "∂L/∂x .* here of x"),
        ('"∂L/∂x": (100, 784)', '"∂L/∂x": (784, 100)', "∂L/∂x .* transposed"),
        ('"∂L/∂x": (100, 784)', '"∂L/∂x": (100, 32)', "∂L/∂x .* here of x"),
    ],
    "two_layers": [
        (
            "delta2 = (p - y) / n",
            "delta2 = p - y",
            "dW2: It is not divided by the number of images",
        ),
        ("delta2 = (p - y) / n", "delta2 = (y - p) / n", "dW2: δ2 is y − p"),
        ("delta2 = (p - y) / n", "delta2 = (p - y) / n**2", "divided by n twice"),
        ("dW2 = a.T @ delta2", "dW2 = a.T @ p", "dW2: It uses p"),
        (" * a * (1 - a)", " * a", r"a \(1 − a\), not a\."),
        ("db1 = delta1.sum(axis=0)", "db1 = (delta2 @ W2.T).sum(axis=0)", "db1: .* is missing"),
        ("delta2 = (p - y) / n", "delta2 = (p - y) / p.shape[1]", "number of classes"),
        ("dW2 = a.T @ delta2", "dW2 = x.T @ delta2", "dW2: It uses x"),
        ("dW2 = a.T @ delta2", "dW2 = delta2.T @ a", "dW2: It looks transposed"),
        ("dW2 = a.T @ delta2", "dW2 = a @ delta2", "dW2: a is not transposed"),
        ("db2 = delta2.sum(axis=0)", "db2 = delta2.mean(axis=0)", "db2: This is the mean"),
        ("db2 = delta2.sum(axis=0)", "db2 = delta2", "db2: There is still a row"),
        ("db2 = delta2.sum(axis=0)", "db2 = delta2.sum(axis=1)", "db2: .* over the units"),
        (" * a * (1 - a)", "", "dW2, db2 are right. dW1: The factor of the sigmoid"),
        ("delta2 @ W2.T", "W2 @ delta2", "δ2 W2ᵀ, not W2 δ2"),
        ("delta2 @ W2.T", "delta2", "W2 is missing in δ1"),
        ("W2.T * a * (1 - a)", "W2.T @ (a * (1 - a))", "number by number"),
        ("W2.T", "W2", "W2 is not transposed"),
        (" * a * (1 - a)", " * (1 - a)", "not 1 − a"),
        (" * a * (1 - a)", " * sigmoid(a) * (1 - sigmoid(a))", "σ is applied twice"),
        ("(p - y) / n", "(p - labels[:, None]) / n", "labels themselves"),
        ("dW1 = x.T @ delta1", "dW1 = x.T @ delta2", "dW1: It uses δ2"),
        ("dW1 = x.T @ delta1", "dW1 = a.T @ delta1", "dW1: It uses a"),
        ("dW1 = x.T @ delta1", "dW1 = delta1.T @ x", "dW1: It looks transposed"),
        ("db1 = delta1.sum(axis=0)", "db1 = delta1.mean(axis=0)", "db1: This is the mean"),
        ("db1 = delta1.sum(axis=0)", "db1 = delta1", "db1: There is still a row"),
        ("db1 = delta1.sum(axis=0)", "db1 = delta1.sum(axis=1)", "db1: .* over the units"),
        ("return dW2, db2, dW1, db1", "return dW2, dW1", "Expected 4 results"),
    ],
    "dense_backward": [
        ("= self.x.T @ delta", "= delta.T @ self.x", "∂L/∂W: It looks transposed"),
        ("= self.x.T @ delta", "= self.x @ delta", "∂L/∂W: x is not transposed"),
        ("= self.x.T @ delta", "= self.x.T @ delta / len(delta)", "divided by the number"),
        ("kernel_gradient[:] =", "kernel_gradient[:] +=", "∂L/∂W: It adds to what was there"),
        ("bias_gradient[:] =", "bias_gradient[:] +=", "∂L/∂b: It adds to what was there"),
        ("self.kernel_gradient[:] = self.x.T @ delta", "pass", "backward does not write it"),
        ("self.x.T @ delta", "self.kernel.T @ delta", "multiplies by W"),
        ("self.x.T @ delta", "self.x * delta", "element by element"),
        ("= delta.sum(axis=0)", "= delta.sum(axis=1)", "over the units"),
        ("delta @ self.kernel.T", "self.kernel @ delta.T", "wrong order"),
        ("delta @ self.kernel.T", "delta @ self.x.T", "It uses x"),
        ("= delta.sum(axis=0)", "= delta", "sum over the samples missing"),
        ("= delta.sum(axis=0)", "= delta.mean(axis=0)", "∂L/∂b: This is the mean"),
        ("= delta.sum(axis=0)", "= delta.sum()", "summed over everything"),
        ("self.bias_gradient[:] = delta.sum(axis=0)", "pass", "backward does not write it"),
        ("delta @ self.kernel.T", "delta @ self.kernel", "W is not transposed"),
        ("delta @ self.kernel.T", "delta", "δ as it came"),
        ("delta.sum(axis=0)", "np.ones(3) @ delta", "Here: 3 and 4"),
        (
            "self.x.T @ delta",
            "self.x[:3].T @ delta[:3]",
            "right for the layer alone, but not in a model",
        ),
        ("dense_backward(MyDense)", "dense_backward(MyDense(3))", "class of the layer itself"),
        ("return delta @ self.kernel.T", "delta @ self.kernel.T", "to return an array"),
    ],
    "sigmoid_backward": [
        ("gradient * self.a * (1 - self.a)", "self.a * (1 - self.a)", "arrives is missing"),
        ("gradient * self.a * (1 - self.a)", "gradient * self.a", "not a"),
        ("gradient * self.a * (1 - self.a)", "gradient * (1 - self.a)", "not 1 − a"),
        ("gradient * self.a * (1 - self.a)", "gradient", "passes unchanged"),
        ("(1 - self.a)", "(1 - self.x)", "has no attribute 'x'"),
        ("(1 - self.a)", "(1 - a)", "in self: self.a"),
        ("self.a * (1 - self.a)", "(1 - self.a**2)", "tanh"),
    ],
}


def lesson_and_solution(name):
    return [read(folder / f"{name}.ipynb") for folder in (COURSE, COURSE / "solutions")]


def sources_of(notebook):
    """Return the source of the cells that run outside Jupyter: all but the installation."""
    sources = map(source_of, code_of(notebook))
    return [source for source in sources if "%pip" not in source]


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
    assert not [*tmp_path.iterdir()]
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
