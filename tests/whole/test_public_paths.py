"""Every public name of tinynet 0.1.0 can still be reached by its path.

Files may move, but names stay: everything that a program can import or look up as `tinynet.…` is
listed here and has to be found, whichever file defines it. Later versions may add names but never
remove one. The parameters of functions are tested in `test_signatures.py`.
"""

import ast
import contextlib
import functools
import importlib
import json
import os
import pathlib
import pickle
import pkgutil
import re
import subprocess
import sys
import types

import numpy as np
import pytest

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
    datasets: mnist
    datasets.mnist: load_data
    initializers: Constant GlorotNormal GlorotUniform HeNormal HeUniform Initializer Ones
        RandomNormal RandomUniform TruncatedNormal VarianceScaling Zeros get serialize
    initializers.Initializer: from_config get_config
    layers: Activation Dense Dropout Flatten Input InputLayer Layer serialize
    layers.Dense: layers.Layer: add_weight build compute_output_shape count_params from_config
        get_config get_weights non_trainable_weights set_weights trainable_weights weights
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
    utils: clear_session set_random_seed to_categorical
""")

# Names that Keras does not have, or has under another path.
NOT_IN_KERAS = table("""
    tinynet: Callback check_gradients export_html find_dead_units doctor plotting training web
        __all__ __version__
    activations: backward backward_of linear_backward relu_backward sigmoid_backward
        softmax_backward tanh_backward
    backend: default_backend device_of devices free_memory generator of on_device place_of
        release_memory synchronize to_active to_numpy use wished xp
    callbacks: Distributions LivePlot
    callbacks.Callback: accepts_nan comes_last get_state goes_on kept set_course set_state
        set_training_state
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
    optimizers.Adam: update
    optimizers.Optimizer: get_state kept set_state set_variables slots update
    plotting: plot_activations plot_confusion plot_digits plot_distributions plot_history
        plot_mistakes plot_network plot_predictions plot_weights
    training: train_step
    web: export_html
""")

MODULES = {owner for owner in {**IN_KERAS, **NOT_IN_KERAS} if owner.islower()}

# Two paths to the same object, besides those to a class, which end in the same name.
SAME = {
    "Input": "layers.Input",
    "export_html": "web.export_html",
    "models.save_model": "saving.save_model",
    "regularizers.l2": "regularizers.L2",
}

# Here a function that draws numbers; in Keras an alias of `TruncatedNormal`.
ANOTHER_THING = {"initializers.truncated_normal"}

# An attribute that is another package's module: NumPy or CuPy.
LIBRARY = {"backend.xp"}


def paths_of(names_by_owner):
    """Return the dotted paths of a table."""
    several = names_by_owner.items()
    return [f"{owner}.{name}".lstrip(".") for owner, names in several for name in names]


PATHS = sorted([*paths_of(IN_KERAS), *paths_of(NOT_IN_KERAS)])


def split(path):
    """Return the module that contains a path's name or its class, and the names that follow."""
    home = path.rpartition(".")[0]
    while home not in ("", *MODULES):
        home = home.rpartition(".")[0]
    return home, path.removeprefix(home).strip(".").split(".")


# Three ways to reach an object. They are tried in a new process, which runs this file as a program.


def find(path, library="tinynet"):
    """Import the modules of a path, and return the object."""
    return pkgutil.resolve_name(f"{library}.{path}".rstrip("."))


def by_from(path):
    """Do what ``from module import name`` does."""
    home, (name, *rest) = split(path)
    module = __import__(f"tinynet.{home}".rstrip("."), fromlist=[name])
    return functools.reduce(getattr, [name, *rest], module)


def by_attribute(path):
    import tinynet

    return functools.reduce(getattr, path.split("."), tinynet)


def import_all():
    """Import every file, because a module could then hide a function of the same name."""
    import tinynet

    for module in pkgutil.walk_packages(tinynet.__path__, "tinynet."):
        if not module.name.endswith(".__main__"):
            with contextlib.suppress(ImportError):  # of a package that is not installed
                importlib.import_module(module.name)


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
    return None if is_module == (path in MODULES or path in LIBRARY) else f"is {thing!r}"


def follow_all():
    """Return all errors, for each way after a fresh import, and with every file imported."""
    wrong = {}
    for way in (find, by_from, by_attribute):
        before = ""
        for path in sorted(PATHS, key=split):
            home, _ = split(path)
            if home == "" or home != before:
                forget()
            before = home
            wrong[f"{way.__name__}: {path}"] = error_of(way, path)
    forget()
    import_all()
    wrong |= {f"with every file: {path}": error_of(by_attribute, path) for path in PATHS}
    return {where: error for where, error in wrong.items() if error}


def output_of(*arguments):
    """Return what a Python program prints in a new process."""
    there = os.pathsep.join(filter(None, sys.path))  # the same packages can be imported as here
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, encoding="utf-8",
        env=os.environ | {"PYTHONPATH": there, "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_path_can_be_reached_in_every_way():
    assert json.loads(output_of(__file__)) == {}


def test_the_doctor_can_be_run_as_a_program():
    assert "python -m tinynet.doctor" in output_of("-m", "tinynet.doctor", "--help")


def test_two_paths_lead_to_the_same_object():
    for path, other in SAME.items():
        assert find(path) is find(other)
    classes = {}
    for path in PATHS:
        if isinstance(find(path), type):
            classes.setdefault(path.rpartition(".")[2], set()).add(find(path))
    assert {name: kinds for name, kinds in classes.items() if len(kinds) > 1} == {}


def test_the_tables_are_sorted_unique_and_complete():
    listed = [
        f"{module}.{name}".lstrip(".")
        for module in ("", "datasets", "plotting") for name in find(module).__all__
    ]  # fmt: skip
    assert {*MODULES, *listed} - set(PATHS) == set()
    assert len(set(PATHS)) == len(PATHS)
    for table in (IN_KERAS, NOT_IN_KERAS):
        assert list(table) == sorted(table)
        assert all(isinstance(find(owner), type) for owner in table.keys() - {"", *MODULES})


@pytest.mark.parametrize("owner", IN_KERAS)
def test_the_names_shared_with_keras_are_those_of_its_table(keras, owner):
    names, theirs = dir(find(owner, "keras")), find(owner)
    both = {name for name in names if not name.startswith("_") and hasattr(theirs, name)}
    other = {path.rpartition(".")[2] for path in ANOTHER_THING if path.startswith(f"{owner}.")}
    assert both - other == set(IN_KERAS[owner])


def instances(library):
    """Return objects of Keras or tinynet, and the attributes that only instances have."""
    layers = library.layers
    model = library.Sequential([library.Input((2,)), layers.Dense(1)])
    model.compile(optimizer="adam", loss="mse")
    history = model.fit(np.eye(2), np.ones((2, 1)), verbose=0)
    return [
        (layers.Activation("relu"), "activation built dtype name trainable"),
        (model.optimizer, "amsgrad beta_1 beta_2 epsilon iterations name weight_decay"),
        (library.callbacks.Callback(), "model params"),
        (model.layers[-1], "activation bias bias_initializer built dtype kernel kernel_initializer "
                           "kernel_regularizer name trainable units use_bias"),
        (layers.Dropout(0.5), "built dtype name rate seed trainable"),
        (library.callbacks.EarlyStopping(),
         "baseline best best_weights min_delta mode model monitor params patience "
         "restore_best_weights start_from_epoch stopped_epoch verbose wait"),
        (layers.Flatten(), "built data_format dtype name trainable"),
        (history, "epoch history model params"),
        (library.regularizers.L2(), "l2"),
        (library.losses.MeanSquaredError(), "name reduction"),
        (library.metrics.CategoricalAccuracy(), "count name total"),
        (library.optimizers.SGD(), "iterations momentum name nesterov weight_decay"),
        (model, "built dtype history loss name optimizer stop_training"),
        (library.initializers.VarianceScaling(), "distribution mode scale seed"),
    ]  # fmt: skip


def test_the_attributes_of_instances_are_those_shared_with_keras(keras):
    import tinynet

    for (theirs, _), (ours, names) in zip(instances(keras), instances(tinynet), strict=True):
        both = {name for name in {*dir(ours)} & {*dir(theirs)} if not name.startswith("_")}
        assert both - {*dir(type(ours))} == set(names.split()), type(ours)


# Names in the documentation and the examples


def code_of(path):
    """Return a file's Python code, taken from the code blocks of a README or notebook cells."""
    text = path.read_text("utf-8")
    if path.suffix == ".md":
        return "\n".join(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL))
    if path.suffix == ".ipynb":
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        return "\n".join("".join(cell["source"]) for cell in cells)
    return text


def paths_in_code(source):
    """Return what is imported from tinynet, and all attribute chains that begin with it."""
    nodes = list(ast.walk(ast.parse(source)))
    stands_for, found = {}, set()
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                name = ".".join(filter(None, (getattr(node, "module", None), alias.name)))
                if name.partition(".")[0] != "tinynet":
                    continue
                found.add(name)
                plain = isinstance(node, ast.Import) and not alias.asname  # binds the package
                stands_for[alias.asname or alias.name.partition(".")[0]] = (
                    "tinynet" if plain else name
                )
    found |= set(stands_for.values())
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


def is_missing(path):
    try:
        find(path)
    except (AttributeError, ModuleNotFoundError):
        return True
    return False


EXAMPLES = [path for kind in ("py", "ipynb") for path in sorted(ROOT.glob(f"examples/*.{kind}"))]
SHOWN = [ROOT / "README.md", *ROOT.glob("*/README.md"), *EXAMPLES]
READ = [*SHOWN, *sorted((ROOT / "tinynet").rglob("*.py"))]


@pytest.mark.parametrize("path", READ, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_of_tinynet_in_a_file_exist_and_in_examples_are_public(path):
    found = paths_in_text(path.read_text("utf-8"))
    if path in SHOWN:  # in other files, `config` may be a variable
        found |= paths_in_code(code_of(path))
    assert [name for name in sorted(found) if is_missing(name.partition(".")[2])] == []
    if path in SHOWN:
        homes = [split(name.partition(".")[2]) for name in found]
        assert {f"{home}.{names[0]}".strip(".") for home, names in homes} <= {"", *PATHS}


def test_the_search_for_names_in_code_and_text():
    source = (
        "import tinynet\nimport tinynet.web as page\nfrom tinynet import backend as b, layers\n"
        "b.use('cupy')\npage.export_html\ntinynet.utils.seed().x\nlayers.Dense(1).units\n"
    )
    in_code = "web backend layers backend.use web.export_html utils utils.seed layers.Dense"
    assert paths_in_code(source) == {"tinynet", *(f"tinynet.{name}" for name in in_code.split())}
    text = (
        "`tinynet.Layer`, `backend.of(x)`, `layers.py`; from tinynet.a import b, c. /tinynet.html"
    )
    in_text = "Layer backend.of a a.b a.c"
    assert paths_in_text(text) == {f"tinynet.{name}" for name in in_text.split()}


# Former names


def test_a_callback_that_overrides_set_course_is_called():
    import tinynet

    received = []

    class Former(tinynet.callbacks.Callback):
        def set_course(self, training_state):
            received.append(training_state)

    model = tinynet.Sequential([tinynet.Input((2,)), tinynet.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0, callbacks=[Former()])
    assert len(received) == 2
    assert received[0].batches.batch_size == 32
    assert received[1] is None


def test_former_names_mean_the_same():
    from tinynet import backend, layers

    assert backend.wished is backend.default_backend
    assert backend.place_of is backend.device_of
    layer = layers.Dense(1)
    assert layer.passes_gradient
    layer.needs_input_gradient = False
    assert not layer.passes_gradient


def test_functions_that_load_models_can_be_pickled():
    from tinynet import models

    for function in (models.load_model, models.model_from_json):
        assert pickle.loads(pickle.dumps(function)) is function


if __name__ == "__main__":
    print(json.dumps(follow_all()))
