"""Every public name of tinynet 0.1.0 can still be reached by its path, with Keras's parameters.

Files may move, but names stay: everything that a program can import or look up as `tinynet.…` is
listed here and has to be found, whichever file defines it. Later versions may add names but never
remove one. Parameters have the same order and the same defaults as in Keras; those that only Keras
has are refused by name, unless they have their default.
"""

import ast
import contextlib
import importlib
import inspect
import itertools
import json
import os
import pathlib
import pickle
import pkgutil
import re
import subprocess
import sys
import types
from operator import attrgetter

import numpy as np
import pytest
from networks import network

import tinynet

ROOT = pathlib.Path(__file__).resolve().parents[2]


def table(text):
    """Return lists of names by their owners, modules (in lower case) or classes, with a colon."""
    names_of = {}
    for owners, names in re.findall(r"((?:[\w.]+:\s+)+)([^:]+)(?=\s|$)", text):
        for owner in owners.replace(":", "").split():
            names_of["" if owner == "tinynet" else owner] = names.split()
    return names_of


# Names that Keras has under the same path.
IN_KERAS = table("""
    tinynet: Initializer Input Layer Loss Metric Optimizer Sequential activations backend
        callbacks config datasets initializers layers losses metrics models optimizers
        regularizers saving utils
    activations: get linear log_softmax relu serialize sigmoid softmax tanh
    backend: backend
    callbacks: BackupAndRestore Callback EarlyStopping History LambdaCallback ModelCheckpoint
        TerminateOnNaN
    callbacks.Callback: callbacks.History: on_batch_begin on_batch_end on_epoch_begin on_epoch_end
        on_predict_batch_begin on_predict_batch_end on_predict_begin on_predict_end
        on_test_batch_begin on_test_batch_end on_test_begin on_test_end on_train_batch_begin
        on_train_batch_end on_train_begin on_train_end set_model set_params
    config: floatx set_floatx
    datasets: fashion_mnist mnist
    datasets.fashion_mnist: datasets.mnist: load_data
    initializers: Constant GlorotNormal GlorotUniform HeNormal HeUniform Initializer Ones
        RandomNormal RandomUniform TruncatedNormal VarianceScaling Zeros get serialize
    initializers.Initializer: from_config get_config
    layers: Activation Dense Dropout Flatten Input InputLayer Layer serialize
    layers.Dense: layers.Layer: add_weight build compute_output_shape count_params from_config
        get_config get_weights non_trainable_weights set_weights trainable trainable_weights
        weights
    losses: CategoricalCrossentropy Loss MeanSquaredError SparseCategoricalCrossentropy
        categorical_crossentropy get mean_squared_error serialize sparse_categorical_crossentropy
    losses.Loss: call from_config get_config
    metrics: BinaryAccuracy CategoricalAccuracy Metric SparseCategoricalAccuracy binary_accuracy
        categorical_accuracy get serialize sparse_categorical_accuracy
    metrics.Metric: from_config get_config reset_state result update_state
    models: Sequential load_model model_from_json save_model
    models.Sequential: add build compile compute_output_shape count_params evaluate fit
        from_config get_config get_layer get_weights input_shape layers load_weights
        non_trainable_weights output_shape pop predict save save_weights set_weights summary
        test_on_batch to_json train_on_batch trainable trainable_weights weights
    optimizers: Adam Optimizer SGD get serialize
    optimizers.Adam: optimizers.Optimizer: apply_gradients build from_config get_config
        learning_rate variables
    regularizers: L2 Regularizer get l2 serialize
    regularizers.Regularizer: from_config get_config
    saving: save_model
    utils: PyDataset Sequence clear_session set_random_seed to_categorical
""")

# Names that Keras does not have, or has under another path.
NOT_IN_KERAS = table("""
    tinynet: Callback check_gradients export_html find_dead_units course doctor plotting training
        web
        __all__ __version__
    activations: backward backward_of linear_backward relu_backward sigmoid_backward
        softmax_backward tanh_backward
    backend: absolute default_backend device_of devices elementwise free_memory generator maximum
        minimum of on_device place_of release_memory sqrt synchronize to_active to_numpy use wished
        xp
    callbacks: Distributions LivePlot
    callbacks.Callback: accepts_nan comes_last get_state goes_on kept set_course set_state
        set_training_state
    course: Gap GapError being_wrong by_heart load_data neuron plot_curves plot_images plot_paths
        plot_pixels plot_slope plot_softmax plot_sums plot_way_back taking_steps way_back your_own
    course.being_wrong: cross_entropy gradient_of_scores guessing same_as_tinynet slope softmax
        stable_softmax step
    course.by_heart: at_most dropout early_stopping flat_share split with_l2
    course.neuron: dense_weights parameters sigmoid template threshold to_row weighted_sum
    course.taking_steps: adam batches faster largest_rate momentum optimizer position running_mean
    course.way_back: chain dense_backward same_as_trace shapes sigmoid_backward two_layers
    course.your_own: activation convolution filter_parameters loss multiplications
    datasets: digits
    datasets.digits: load_data
    datasets.mnist: prepare_digit
    doctor: main
    initializers.Initializer: draw
    layers: get
    layers.Dense: backward backward_from_z by_sample ensure_built forward
    layers.Layer: any_dtype backward buffer by_sample counters ensure_built forward
    losses: crossentropy_backward
    losses.Loss: backward by_sample check_shapes
    metrics.Metric: add by_sample call
    models.Sequential: backward device ensure_built forward to trace
    optimizers: adam
    optimizers.Adam: update
    optimizers.Optimizer: get_state kept set_state set_variables slots update
    plotting: plot_activations plot_confusion plot_digits plot_distributions plot_history
        plot_mistakes plot_network plot_predictions plot_weights
    training: train_step
    web: export_html load_weights
""")

MODULES = {owner for owner in {**IN_KERAS, **NOT_IN_KERAS} if owner.islower()}

# Two paths to the same object, besides those to a class, which end in the same name.
SAME = {
    "Input": "layers.Input",
    "export_html": "web.export_html",
    "models.save_model": "saving.save_model",
    "regularizers.l2": "regularizers.L2",
}


def paths_of(names_by_owner):
    """Return the dotted paths of a table."""
    several = names_by_owner.items()
    return [f"{owner}.{name}".lstrip(".") for owner, names in several for name in names]


PATHS = sorted([*paths_of(IN_KERAS), *paths_of(NOT_IN_KERAS)])


def split(path):
    """Return the module that contains a path's name or its class, and the names that follow."""
    home = max((m for m in ("", *MODULES) if path.startswith(f"{m}.".lstrip("."))), key=len)
    return home, path.removeprefix(home).strip(".").split(".")


# Two ways to reach an object. They are tried in a new process, which runs this file as a program.


def find(path, library="tinynet"):
    """Import the modules of a path, and return the object."""
    return pkgutil.resolve_name(f"{library}.{path}".rstrip("."))


def by_attribute(path):
    return attrgetter(path)(importlib.import_module("tinynet"))


def forget():
    """Remove tinynet from `sys.modules`, so that earlier imports do not affect later ones."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "tinynet"]:
        del sys.modules[name]


def error_of(way, path):
    """Return what is wrong with the object that a path leads to, or None."""
    try:
        thing = way(path)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    is_module = isinstance(thing, types.ModuleType)
    # `backend.xp` is another package's module: NumPy or CuPy.
    return None if is_module == (path in {*MODULES, "backend.xp"}) else f"is {thing!r}"


def follow_all():
    """Return all errors, for each way after a fresh import, and with every file imported."""
    wrong = {}
    for way in (find, by_attribute):
        by_home = itertools.groupby(sorted(PATHS, key=split), lambda path: split(path)[0] or path)
        for _, paths in by_home:
            forget()
            wrong |= {f"{way.__name__}: {path}": error_of(way, path) for path in paths}
    forget()
    # A module could then hide a function of the same name.
    for module in pkgutil.walk_packages(tinynet.__path__, "tinynet."):
        if not module.name.endswith(".__main__"):
            with contextlib.suppress(ImportError):  # of a package that is not installed
                importlib.import_module(module.name)
    wrong |= {f"with every file: {path}": error_of(by_attribute, path) for path in PATHS}
    return {where: error for where, error in wrong.items() if error}


def output_of(*arguments):
    """Return what a Python program prints in a new process."""
    there = os.pathsep.join(filter(None, sys.path))  # the same packages can be imported as here
    command, variables = [sys.executable, "-X", "utf8", *arguments], {"PYTHONPATH": there}
    return subprocess.check_output(command, env=os.environ | variables, encoding="utf-8")


def test_every_path_can_be_reached_in_every_way():
    assert json.loads(output_of(__file__)) == {}
    assert "python -m tinynet.doctor" in output_of("-m", "tinynet.doctor", "--help")


def test_two_paths_lead_to_the_same_object():
    for path, other in SAME.items():
        assert find(path) is find(other)
    things = [(path.rpartition(".")[2], find(path)) for path in PATHS]
    classes = {(name, thing) for name, thing in things if isinstance(thing, type)}
    names = sorted(name for name, _ in classes)
    assert names == sorted(set(names))


def test_the_tables_are_complete():
    listed = [
        f"{module}.{name}".lstrip(".")
        for module in ("", "datasets", "plotting") for name in find(module).__all__
    ]  # fmt: skip
    assert {*MODULES, *listed} - set(PATHS) == set()


# Parameters

OTHERS = {  # user-defined subclasses of Keras's need more, or `Sequential` has those of `__init__`
    "serialize", "add_weight", "update_state", "Metric", "Optimizer", "Sequential", "InputLayer",
    "Layer.compute_output_shape", "Optimizer.build",
}  # fmt: skip
COMPARED = [path for path in paths_of(IN_KERAS) if not path.endswith(tuple(OTHERS))]

# Parameters that only tinynet has: arrays to write the result to, or the negative logarithm of
# softmax, the shapes of the variables in one vector, and the model, whose methods are functions.
OWN = {"out", "surprisal", "parts", "model"}


def parameters(thing):
    several = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    found = inspect.signature(thing).parameters.values() if callable(thing) else ()
    return {p.name: p for p in found if p.kind not in several and p.name not in {"self", *OWN}}


@pytest.mark.parametrize("path", ["Sequential.__init__", *COMPARED])
def test_parameters_their_order_and_their_defaults_equal_keras(keras, path):
    ours, theirs = (parameters(attrgetter(path)(library)) for library in (tinynet, keras))
    positional = [p.name for p in ours.values() if p.kind is not p.KEYWORD_ONLY]
    assert positional == list(theirs)[: len(positional)]
    # Names depend on the class; `compile` requires an optimizer, and `fit` requires data.
    for name in (ours.keys() & theirs.keys()) - {"name", "optimizer", "x", "y"}:
        assert ours[name].default == theirs[name].default, name


# Names in the documentation and the examples


def code_of(path):
    """Return a file's Python code, taken from the code blocks of a README or notebook cells."""
    text = path.read_text("utf-8")
    if path.suffix == ".md":
        return "\n".join(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL))
    if path.suffix == ".ipynb":
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        lines = "\n".join("".join(cell["source"]) for cell in cells).splitlines()
        return "\n".join(re.sub(r"%pip .*", "pass", line) for line in lines)
    return text


def paths_in_code(source):
    """Return what is imported from tinynet, and all attribute chains that begin with it."""
    nodes = list(ast.walk(ast.parse(source)))
    stands_for, found = {"tinynet": "tinynet"}, set()
    for node in nodes:
        for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else ():
            name = ".".join(filter(None, (getattr(node, "module", None), alias.name)))
            if name.partition(".")[0] == "tinynet":
                found.add(name)
                if alias.asname or isinstance(node, ast.ImportFrom):  # else, it binds the package
                    stands_for[alias.asname or alias.name] = name
    for node in nodes:
        first, *rest = ast.unparse(node).split(".") if isinstance(node, ast.Attribute) else [""]
        if first in stands_for and all(map(str.isidentifier, rest)):
            found.add(".".join([stands_for[first], *rest]))
    return found


def paths_in_text(text):
    """Return the ``tinynet.…`` names and imports in prose, comments, docstrings and messages."""
    found = set(re.findall(r"(?<![\w./-])tinynet(?:\.[A-Za-z_]\w*)+", text))
    for module, names in re.findall(r"from (tinynet[\w.]*) import (\w+(?:, \w+)*)", text):
        found |= {f"{module}.{name}" for name in names.split(", ")}
    # `backend.use("cupy")`, but not the file `backend.py`.
    modules = "|".join(map(re.escape, sorted(MODULES)))
    inner = re.findall(rf"(?<!`)`((?:{modules})(?:\.[A-Za-z_]\w*)+)", text)
    return found | {f"tinynet.{path}" for path in inner if not path.endswith(".py")}


EXAMPLES = [path for kind in ("py", "ipynb") for path in sorted(ROOT.glob(f"examples/**/*.{kind}"))]
SHOWN = [ROOT / "README.md", *ROOT.glob("*/README.md"), *ROOT.glob("examples/*/*.md"), *EXAMPLES]
READ = [*SHOWN, *sorted((ROOT / "tinynet").rglob("*.py"))]


@pytest.mark.parametrize("path", READ, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_of_tinynet_in_a_file_exist_and_in_examples_are_public(path):
    found = paths_in_text(path.read_text("utf-8"))
    if path in SHOWN:  # in other files, `config` may be a variable
        found |= paths_in_code(code_of(path))
    paths = [name.partition(".")[2] for name in sorted(found)]
    for name in paths:
        find(name)
    if path in SHOWN:
        homes = map(split, paths)
        assert {f"{home}.{names[0]}".strip(".") for home, names in homes} <= {"", *PATHS}


def test_the_search_for_names_in_code_and_text():
    source = "import tinynet.web as page\nfrom tinynet import backend as b\nb.use(page.export_html)"
    found = {"web", "backend", "backend.use", "web.export_html"}
    assert paths_in_code(source) == {f"tinynet.{name}" for name in found}
    text = "`tinynet.Layer`, `backend.of(x)`, `layers.py`; from tinynet.a import b, c."
    found = {"Layer", "backend.of", "a", "a.b", "a.c"}
    assert paths_in_text(text) == {f"tinynet.{name}" for name in found}


# Former names


def test_a_callback_that_overrides_set_course_is_called():
    received = []
    former = type("Former", (tinynet.Callback,), {"set_course": lambda _, s: received.append(s)})
    model = network((1,), inputs=(2,), loss="mse")
    model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0, callbacks=[former()])
    state, end = received
    assert (state.batches.batch_size, end) == (32, None)


def test_former_names_mean_the_same():
    assert tinynet.backend.wished is tinynet.backend.default_backend
    assert tinynet.backend.place_of is tinynet.backend.device_of
    layer = tinynet.layers.Dense(1)
    assert layer.passes_gradient
    layer.needs_input_gradient = False
    assert not layer.passes_gradient


def test_functions_that_load_models_can_be_pickled():
    for function in (tinynet.models.load_model, tinynet.models.model_from_json):
        assert pickle.loads(pickle.dumps(function)) is function


if __name__ == "__main__":
    print(json.dumps(follow_all()))
