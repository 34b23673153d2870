"""The pages contain what runs in training, and little else: the README's formulas are executed in
`fit`, a step runs through few files, and argument checks and long errors are in other files.
"""

import ast
import inspect
import pathlib
import sys

import numpy as np
import pytest

import tinynet
from tinynet import training
from tinynet.compat.layer import LayerBase
from tinynet.engine.data import Batches
from tinynet.layers import Dense, Flatten, Layer

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "tinynet"
PAGES = [path for path in sorted(PACKAGE.glob("*.py")) if path.stem not in ("__init__", "config")]

# A formula of the README, the page and function that compute it, and fragments of their lines.
FORMULAS = [
    ("z = x W + b", "layers", "Dense.forward", ["matmul(rows, self.kernel", "+= self.bias"]),
    ("pₖ = eᶻᵏ / Σⱼ eᶻʲ", "activations", "softmax", ["xp.exp(shifted, out=out)", "p /= total"]),
    ("ℓ = −Σₖ yₖ ln pₖ", "losses", "Objective.forward", ["vdot(self.y, self.layer.surprisal"]),
    ("= pⱼ − yⱼ", "losses", "crossentropy_backward", ["p * y.sum(axis=-1, keepdims=True) - y"]),
    ("∂L/∂W = xᵀ δ", "layers", "Dense.backward_from_z", ["product(self._x.T, delta, out="]),
    ("∂L/∂b = Σ over", "layers", "Dense.backward_from_z", ["delta.sum(axis=0, out=self.bias_grad"]),
    ("∂L/∂x = δ Wᵀ", "layers", "Dense.backward_from_z", ["xp.matmul(delta, self.kernel.T, out=dx"]),
    ("f′(z) is a (1 − a)", "activations", "sigmoid_backward", ["xp.subtract(1, a", "slope *= a"]),
    ("m ← β₁ m + (1 − β₁) g", "optimizers", "Adam.update", ["m *= self.beta_1", "m += gradient"]),
    ("v ← β₂ v + (1 − β₂) g²", "optimizers", "Adam.update", ["v *= self.beta_2", "v += xp.mult"]),
    ("α = η √(1 − β₂ᵗ) / (1 − β₁ᵗ)", "optimizers", "Adam.prepare", ["alpha = rate * math.sqrt("]),
    ("w ← w − α m / (√v + ε̂)", "optimizers", "Adam.update", ["divide(m, step", "weights -= step"]),
]  # fmt: skip


def function_in(page, name):
    """Return the lines of a page's function by line number."""
    source = (PACKAGE / f"{page}.py").read_text("utf-8")
    node = ast.parse(source)
    for part in name.split("."):
        node = next(child for child in node.body if getattr(child, "name", None) == part)
    numbers = range(node.lineno, node.end_lineno + 1)
    return {number: source.splitlines()[number - 1] for number in numbers}


@pytest.fixture
def model():
    return example()


def example():
    """Return a smaller version of the example's network, for images of 8×8 pixels."""
    tinynet.utils.set_random_seed(1)
    stack = Flatten(), Dense(10, "sigmoid"), Dense(14, "sigmoid"), Dense(10, "softmax")
    model = tinynet.Sequential([tinynet.Input((8, 8)), *stack])
    model.compile("adam", "categorical_crossentropy", metrics=["acc"])
    return model


def samples(n=64):
    rng = np.random.default_rng(0)
    return rng.random((n, 8, 8), dtype="float32"), np.eye(10, dtype="float32")[np.arange(n) % 10]


def executed(function):
    """Return the lines of tinynet that `function` executes, as pairs (file, line number)."""
    seen = set()

    def trace(frame, event, argument):
        path = frame.f_code.co_filename
        if not path.startswith(str(PACKAGE)):
            return None
        seen.add((pathlib.Path(path).relative_to(PACKAGE).as_posix(), frame.f_lineno))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return seen


@pytest.fixture(scope="module")
def lines_executed_by_fit():
    model = example()
    return executed(lambda: model.fit(*samples(), verbose=0))


@pytest.mark.parametrize(("formula", "page", "name", "fragments"), FORMULAS, ids=lambda x: str(x))
def test_a_formula_of_the_readme_runs_in_fit(lines_executed_by_fit, formula, page, name, fragments):
    assert formula in (ROOT / "README.md").read_text("utf-8")
    lines = function_in(page, name)
    for fragment in fragments:
        (number,) = [number for number, line in lines.items() if fragment in line]
        assert (f"{page}.py", number) in lines_executed_by_fit, f"{fragment} does not run"


def test_a_training_step_runs_through_few_files(model):
    x, y = samples(32)
    model.fit(x, y, verbose=0)
    (batch,) = Batches(x, y, batch_size=32).iterate(0, 1)
    files = {file for file, _ in executed(lambda: training.train_step(model, batch))}
    print(sorted(files))
    assert len(files) <= 8
    pages = {"activations", "layers", "losses", "models", "optimizers", "training"}
    assert {file for file in files if "/" not in file} == {f"{page}.py" for page in pages}


def test_there_is_only_one_backward_pass(model, monkeypatch):
    """Training, the gradient check and the trace all call `Sequential.backward`, once."""
    walked = []
    backward = tinynet.Sequential.backward

    def counted(self, gradient, *further, **named):
        walked.append(self.name)
        return backward(self, gradient, *further, **named)

    monkeypatch.setattr(tinynet.Sequential, "backward", counted)
    x, y = samples(4)
    for number, look in enumerate(
        (
            lambda: model.train_on_batch(x, y),
            lambda: tinynet.check_gradients(model, x, y, samples=1),
            lambda: model.trace(x, y),
        ),
        start=1,
    ):
        look()
        assert len(walked) == number
    for path in PACKAGE.rglob("*.py"):
        walks = "reversed(model.layers)" in path.read_text("utf-8")
        assert not walks, f"{path.name} has its own backward pass"


def test_the_layer_class_adds_only_the_methods_that_users_write():
    of_base = {name for base in LayerBase.__mro__ for name in vars(base)}
    own = {name for base in Layer.__mro__ for name in vars(base)} - of_base
    beside = [base for base in Layer.__mro__ if base not in LayerBase.__mro__]
    own |= {name for base in beside for name in vars(base) if not name.startswith("__")}
    own |= vars(Layer()).keys() - vars(LayerBase()).keys()
    print(sorted(own))
    assert own == {"build", "compute_output_shape", "forward", "backward"}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_has_no_configuration_code_and_no_long_messages(path):
    tree = ast.parse(path.read_text("utf-8"))
    functions = [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    assert not {"get_config", "from_config", "get", "serialize"} & set(functions)
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise):
            assert node.lineno == node.end_lineno, f"{path.name}:{node.lineno} has a long message"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_constructor_only_assigns(path):
    tree = ast.parse(path.read_text("utf-8"))
    constructors = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name == "__init__"
    ]
    for constructor in constructors:
        for node in ast.walk(constructor):
            assert not isinstance(node, ast.Raise | ast.Assert | ast.Try)
            checks = isinstance(node, ast.Name) and node.id in ("checks", "validation", "arguments")
            assert not checks, f"{path.name}:{node.lineno} checks an argument"


def test_the_signature_of_a_constructor_shows_all_parameters():
    """`help` shows all parameters in Keras's order, including those checked by the base class."""
    names = list(inspect.signature(Dense).parameters)
    assert names[:3] == ["units", "activation", "use_bias"]
    assert names[-4:] == ["trainable", "dtype", "input_shape", "input_dim"]
    ordered = list(inspect.signature(tinynet.losses.SparseCategoricalCrossentropy).parameters)
    assert ordered == ["from_logits", "ignore_class", "reduction", "axis", "name"]
