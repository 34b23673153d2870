"""The pages contain what runs in training, and little else: the README's formulas are executed in
`fit`, a step runs through few files, and argument checks and long errors are in other files.
"""

import ast
import inspect
import operator
import pathlib
import trace
from unittest import mock

import pytest
from networks import ONE_HOT, network, samples

import tinynet
from tinynet import Sequential, activations, losses, optimizers, training
from tinynet.compat.layer import LayerBase
from tinynet.engine.data import Batches
from tinynet.layers import Dense, Flatten, Layer

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "tinynet"
PAGES = [path for path in sorted(PACKAGE.glob("*.py")) if path.stem not in ("__init__", "config")]

# A formula of the README, the page and function that compute it, and fragments of their lines.
FORMULAS = [
    ("z = x W + b", "layers", "Dense.forward", ["matmul(rows, self.kernel", "+= self.bias"]),
    ("pₖ = eᶻᵏ / Σⱼ eᶻʲ", "activations", "softmax", ["_exp_of_shifted(z,", "p /= total"]),
    ("ℓ = −Σₖ yₖ ln pₖ", "losses", "Objective.forward", ["vdot(self.y, self.layer.surprisal"]),
    ("= pⱼ − yⱼ", "losses", "_softmax_error.function", ["p * total - y"]),
    ("∂L/∂W = xᵀ δ", "layers", "Dense.backward_from_z", ["product(self._x.T, delta, out="]),
    ("∂L/∂b = Σ over", "layers", "Dense.backward_from_z", ["sum_first(delta, out=self.bias_grad"]),
    ("∂L/∂x = δ Wᵀ", "layers", "Dense.backward_from_z", ["matmul(delta, self.kernel.T, out=dx"]),
    ("f′(z) is a (1 − a)", "activations", "sigmoid_backward", ["(1 - a) * a * gradient"]),
    ("m ← β₁ m + (1 − β₁) g", "optimizers", "adam.function", ["m = beta_1 * m + (1 - "]),
    ("v ← β₂ v + (1 − β₂) g²", "optimizers", "adam.function", ["v = beta_2 * v + (1 - "]),
    ("α = η √(1 − β₂ᵗ) / (1 − β₁ᵗ)", "optimizers", "Adam.prepare", ["float(rate * math.sqrt("]),
    ("w ← w − α m / (√v + ε̂)", "optimizers", "adam.function", ["w = w - alpha * (m / (sqrt("]),
]  # fmt: skip


@pytest.fixture(scope="module")
def model():
    """A smaller version of the example's network, for images of 8×8 pixels."""
    stack = Flatten(), (10, "sigmoid"), (14, "sigmoid"), (10, "softmax")
    return network(*stack, inputs=(8, 8), loss=ONE_HOT, metrics=["acc"])


@pytest.fixture
def data(rng):
    x, _, y = samples(rng, 32, (8, 8), 10)
    return x, y


def executed(function):
    """Return the lines that `function` executes, as pairs (path, line number)."""
    tracer = trace.Trace(trace=False)
    tracer.runfunc(function)
    return {(pathlib.Path(path), line) for path, line in tracer.results().counts}


def test_the_formulas_of_the_readme_run_in_fit(model, data):
    sigmoid_backward = activations.sigmoid_backward.formula
    for formula in (optimizers.adam, sigmoid_backward, losses._softmax_error):
        formula.schedules.clear()  # it is called when it is first used
        formula.shortcuts.clear()
    lines_of_fit = executed(lambda: model.fit(*data, verbose=0))
    for formula, page, name, fragments in FORMULAS:
        assert formula in (ROOT / "tinynet" / "README.md").read_text("utf-8")
        function = operator.attrgetter(name)(getattr(tinynet, page))
        lines, first = inspect.getsourcelines(function)
        for fragment in fragments:
            (number,) = [n for n, line in enumerate(lines, first) if fragment in line]
            assert (PACKAGE / f"{page}.py", number) in lines_of_fit, f"{fragment} does not run"


def test_a_training_step_runs_through_few_files(model, data):
    model.fit(*data, verbose=0)
    (batch,) = Batches(*data).iterate(0, 1)
    model.prepare_training(batch.x.shape)
    for _ in range(3):  # the first ones also check shapes, and look closely at arrays
        training.train_step(model, batch)
    lines = executed(lambda: training.train_step(model, batch))
    files = {path for path, _ in lines if path.is_relative_to(PACKAGE)}
    assert len(files) <= 8
    pages = {"activations", "layers", "losses", "models", "optimizers", "training"}
    assert {path.stem for path in files if path.parent == PACKAGE} == pages


def test_there_is_only_one_backward_pass(model, data):
    """Training, the gradient check and the trace all call `Sequential.backward`, once."""
    backward = Sequential.backward
    with mock.patch.object(Sequential, "backward", autospec=True, side_effect=backward) as walked:
        model.train_on_batch(*data)
        assert walked.call_count == 1
        tinynet.check_gradients(model, *data, samples=1)
        assert walked.call_count == 2
        model.trace(*data)
        assert walked.call_count == 3
    for path in PACKAGE.rglob("*.py"):
        walks = "reversed(model.layers)" in path.read_text("utf-8")
        assert not walks, f"{path.name} has its own backward pass"


def test_the_layer_class_adds_only_the_methods_that_users_write():
    beside = [vars(base) for base in Layer.__mro__ if base not in LayerBase.__mro__]
    own = {name for names in beside for name in names if not name.startswith("__")}
    own |= {name for names in beside for name in names if not hasattr(LayerBase, name)}
    own |= vars(Layer()).keys() - vars(LayerBase()).keys()
    assert own == {"build", "compute_output_shape", "forward", "backward"}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_has_no_configuration_code_no_long_messages_and_no_checks_in_constructors(path):
    nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
    assert not {"get_config", "from_config", "get", "serialize"} & {f.name for f in functions}
    raised = [node for node in nodes if isinstance(node, ast.Raise)]
    assert not [node.lineno for node in raised if node.lineno != node.end_lineno], "a long message"
    for constructor in (function for function in functions if function.name == "__init__"):
        for node in ast.walk(constructor):
            checks = getattr(node, "id", None) in ("checks", "validation", "arguments")
            checks |= isinstance(node, ast.Raise | ast.Assert | ast.Try)
            assert not checks, f"{path.name}:{node.lineno} checks an argument"


def test_the_signature_of_a_constructor_shows_all_parameters():
    """`help` shows all parameters in Keras's order, including those checked by the base class."""
    names = list(inspect.signature(Dense).parameters)
    assert names[:3] == ["units", "activation", "use_bias"]
    assert names[-4:] == ["trainable", "dtype", "input_shape", "input_dim"]
    ordered = list(inspect.signature(losses.SparseCategoricalCrossentropy).parameters)
    assert ordered == ["from_logits", "ignore_class", "reduction", "axis", "name", "dtype"]
