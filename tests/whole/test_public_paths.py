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

# Public names by their owner, a module or a class. "" is the package itself.

MODULES = [
    "activations",
    "backend",
    "callbacks",
    "config",
    "datasets",
    "datasets.digits",
    "datasets.mnist",
    "doctor",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "plotting",
    "regularizers",
    "saving",
    "training",
    "utils",
    "web",
]

# Names that Keras has under the same path.
IN_KERAS = {
    "": """
        Initializer Input Layer Loss Metric Optimizer Sequential
        activations backend callbacks config datasets initializers layers losses metrics models
        optimizers regularizers saving utils
    """,
    "activations": "get linear log_softmax relu serialize sigmoid softmax tanh",
    "backend": "backend",
    "callbacks": """
        BackupAndRestore Callback EarlyStopping History LambdaCallback ModelCheckpoint
        TerminateOnNaN
    """,
    "callbacks.Callback": """
        on_batch_begin on_batch_end on_epoch_begin on_epoch_end
        on_predict_batch_begin on_predict_batch_end on_predict_begin on_predict_end
        on_test_batch_begin on_test_batch_end on_test_begin on_test_end
        on_train_batch_begin on_train_batch_end on_train_begin on_train_end
        set_model set_params
    """,
    "callbacks.History": """
        on_batch_begin on_batch_end on_epoch_begin on_epoch_end
        on_predict_batch_begin on_predict_batch_end on_predict_begin on_predict_end
        on_test_batch_begin on_test_batch_end on_test_begin on_test_end
        on_train_batch_begin on_train_batch_end on_train_begin on_train_end
        set_model set_params
    """,
    "config": "floatx set_floatx",
    "datasets": "mnist",
    "datasets.mnist": "load_data",
    "initializers": """
        Constant GlorotNormal GlorotUniform HeNormal HeUniform Initializer Ones RandomNormal
        RandomUniform TruncatedNormal VarianceScaling Zeros get serialize
    """,
    "initializers.Initializer": "from_config get_config",
    "layers": "Activation Dense Dropout Flatten Input InputLayer Layer serialize",
    "layers.Dense": """
        add_weight build compute_output_shape count_params from_config get_config get_weights
        non_trainable_weights set_weights trainable_weights weights
    """,
    "layers.Layer": """
        add_weight build compute_output_shape count_params from_config get_config get_weights
        non_trainable_weights set_weights trainable_weights weights
    """,
    "losses": """
        CategoricalCrossentropy Loss MeanSquaredError SparseCategoricalCrossentropy
        categorical_crossentropy get mean_squared_error serialize sparse_categorical_crossentropy
    """,
    "losses.Loss": "call from_config get_config",
    "metrics": """
        BinaryAccuracy CategoricalAccuracy Metric SparseCategoricalAccuracy
        binary_accuracy categorical_accuracy get serialize sparse_categorical_accuracy
    """,
    "metrics.Metric": "from_config get_config reset_state result update_state",
    "models": "Sequential load_model model_from_json save_model",
    "models.Sequential": """
        add build compile compute_output_shape count_params evaluate fit from_config get_config
        get_layer get_weights input_shape layers load_weights non_trainable_weights output_shape
        pop predict save save_weights set_weights summary test_on_batch to_json train_on_batch
        trainable trainable_weights weights
    """,
    "optimizers": "Adam Optimizer SGD get serialize",
    "optimizers.Adam": """
        apply_gradients build from_config get_config learning_rate variables
    """,
    "optimizers.Optimizer": """
        apply_gradients build from_config get_config learning_rate variables
    """,
    "regularizers": "L2 Regularizer get l2 serialize",
    "regularizers.Regularizer": "from_config get_config",
    "saving": "save_model",
    "utils": "clear_session set_random_seed to_categorical",
}

# Names that Keras does not have, or has under another path.
NOT_IN_KERAS = {
    "": """
        Callback check_gradients export_html find_dead_units
        doctor plotting training web __all__ __version__
    """,
    "activations": """
        backward backward_of
        linear_backward relu_backward sigmoid_backward softmax_backward tanh_backward
    """,
    "backend": """
        default_backend device_of devices free_memory generator of on_device place_of release_memory
        synchronize to_active
        to_numpy use wished xp
    """,
    "callbacks": "Distributions LivePlot",
    "callbacks.Callback": "accepts_nan comes_last get_state goes_on kept set_course set_state"
    " set_training_state",
    "datasets": "digits",
    "datasets.digits": "load_data",
    "datasets.mnist": "prepare_digit",
    "doctor": "main",
    "initializers.Initializer": "draw",
    "layers": "get",
    "layers.Dense": "backward backward_from_z by_sample ensure_built forward",
    "layers.Layer": "any_dtype backward buffer by_sample counters ensure_built forward",
    "losses": "crossentropy_backward",
    "losses.Loss": "backward by_sample check_shapes",
    "metrics.Metric": "add by_sample call",
    "models.Sequential": "backward device ensure_built forward to trace",
    "optimizers.Adam": "update",
    "optimizers.Optimizer": "get_state kept set_state set_variables slots update",
    "plotting": """
        plot_activations plot_confusion plot_digits plot_distributions plot_history plot_mistakes
        plot_network plot_predictions plot_weights
    """,
    "training": "train_step",
    "web": "export_html",
}

# Two paths to the same object.
SAME = {
    "Callback": "callbacks.Callback",
    "Initializer": "initializers.Initializer",
    "Input": "layers.Input",
    "Layer": "layers.Layer",
    "Loss": "losses.Loss",
    "Metric": "metrics.Metric",
    "Optimizer": "optimizers.Optimizer",
    "Sequential": "models.Sequential",
    "export_html": "web.export_html",
    "models.save_model": "saving.save_model",
    "regularizers.l2": "regularizers.L2",
}

# Attributes that only instances have, also in Keras; `made` creates the instances.
ATTRIBUTES = {
    "Activation": "activation built dtype name trainable",
    "Adam": "amsgrad beta_1 beta_2 epsilon iterations name weight_decay",
    "Callback": "model params",
    "Dense": """
        activation bias bias_initializer built dtype kernel kernel_initializer kernel_regularizer
        name trainable units use_bias
    """,
    "Dropout": "built dtype name rate seed trainable",
    "EarlyStopping": """
        baseline best best_weights min_delta mode model monitor params patience
        restore_best_weights start_from_epoch stopped_epoch verbose wait
    """,
    "Flatten": "built data_format dtype name trainable",
    "History": "epoch history model params",
    "L2": "l2",
    "Loss": "name reduction",
    "Metric": "count name total",
    "SGD": "iterations momentum name nesterov weight_decay",
    "Sequential": "built dtype history loss name optimizer stop_training",
    "VarianceScaling": "distribution mode scale seed",
}

# Here a function that draws numbers; in Keras an alias of `TruncatedNormal`.
ANOTHER_THING = {"initializers.truncated_normal"}

# An attribute that is another package's module: NumPy or CuPy.
LIBRARY = {"backend.xp"}


def paths_of(table):
    """Return the dotted paths of a table."""
    return [f"{owner}.{name}".lstrip(".") for owner in table for name in table[owner].split()]


PATHS = sorted({*MODULES, *paths_of(IN_KERAS), *paths_of(NOT_IN_KERAS)})


def split(path, package="tinynet"):
    """Import the longest part of a path that is a module; return it and the remaining names."""
    parts = [package, *filter(None, path.split("."))]
    for end in range(len(parts), 0, -1):
        name = ".".join(parts[:end])
        try:
            return importlib.import_module(name), parts[end:]
        except ModuleNotFoundError as error:
            if not f"{name}.".startswith(f"{error.name}."):
                raise  # the module exists, but a dependency is missing
    raise ModuleNotFoundError(f"No module named {package!r}", name=package)


def find(path, package="tinynet"):
    """Return the object at a path."""
    module, names = split(path, package)
    return functools.reduce(getattr, names, module)


# Three ways to reach an object. They are tried in a new process, which runs this file as a program.


def by_import(path):
    return find(path)


def by_from(path):
    module, names = split(path)
    name, *rest = names or [module.__name__.rpartition(".")[2]]
    parent = module.__name__ if names else module.__name__.rpartition(".")[0]
    found = {}
    exec(f"from {parent} import {name}", found)
    return functools.reduce(getattr, rest, found[name])


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
    for name in list(sys.modules):
        if name.partition(".")[0] == "tinynet":
            del sys.modules[name]


def follow(way, paths):
    """Return an error for each path that does not lead to an object of the expected kind."""
    wrong = {}
    for path in paths:
        try:
            thing = way(path)
        except Exception as error:
            wrong[path] = f"{type(error).__name__}: {error}"
            continue
        if isinstance(thing, types.ModuleType) != (path in MODULES or path in LIBRARY):
            wrong[path] = f"is {thing!r}"
    return wrong


def home_of(path):
    """Return the module that contains a path's name or its class."""
    owner = path.rpartition(".")[0]
    return owner if owner in ("", *MODULES) else home_of(owner)


def follow_all():
    """Return all errors, for each way after a fresh import, and with every file imported."""
    wrong = {}
    for way in (by_import, by_from, by_attribute):
        found = wrong[way.__name__] = {}
        before = ""
        for path in sorted(PATHS, key=home_of):
            home = home_of(path)
            if home == "" or home != before:
                forget()
            before = home
            found |= follow(way, [path])
    forget()
    import_all()
    wrong["with every file imported"] = follow(by_attribute, PATHS)
    return {way: found for way, found in wrong.items() if found}


def run(*arguments):
    there = os.pathsep.join(filter(None, sys.path))  # the same packages can be imported as here
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONPATH": there, "PYTHONIOENCODING": "utf-8"},
    )


def test_every_path_can_be_reached_in_every_way():
    done = run(__file__)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {}


def test_the_doctor_can_be_run_as_a_program():
    done = run("-m", "tinynet.doctor", "--help")
    assert done.returncode == 0, done.stderr
    assert "python -m tinynet.doctor" in done.stdout


@pytest.mark.parametrize("path", SAME)
def test_two_paths_lead_to_the_same_object(path):
    assert find(path) is find(SAME[path])


def test_classes_of_the_same_name_are_the_same_class():
    found = {}
    for path in PATHS:
        if isinstance(find(path), type):
            found.setdefault(path.rpartition(".")[2], set()).add(find(path))
    assert {name: things for name, things in found.items() if len(things) > 1} == {}


@pytest.mark.parametrize("module", ["", "datasets", "plotting"])
def test_all_of_a_module_is_in_the_tables(module):
    listed = {f"{module}.{name}".lstrip(".") for name in find(module).__all__}
    assert sorted(listed - set(PATHS)) == []


def test_the_tables_are_sorted_and_unique():
    assert [
        name for name in MODULES if name not in {*paths_of(IN_KERAS), *paths_of(NOT_IN_KERAS)}
    ] == []
    for owner in {*IN_KERAS, *NOT_IN_KERAS} - {"", *MODULES}:
        assert isinstance(find(owner), type)
    for table in (IN_KERAS, NOT_IN_KERAS, ATTRIBUTES):
        assert list(table) == sorted(table)
        assert len(set(paths_of(table))) == len(paths_of(table))


def test_the_tables_match_the_names_of_keras(keras):
    def missing(path):
        try:
            find(path, "keras")
        except (AttributeError, ModuleNotFoundError):
            return True
        return False

    assert list(filter(missing, paths_of(IN_KERAS))) == []
    assert [
        path for path in paths_of(NOT_IN_KERAS) if not path.startswith("__") and not missing(path)
    ] == []


@pytest.mark.parametrize("owner", IN_KERAS)
def test_the_tables_contain_all_names_shared_with_keras(keras, owner):
    ours = find(owner)
    both = {
        name
        for name in dir(find(owner, "keras"))
        if not name.startswith("_") and hasattr(ours, name)
    }
    other = {path.rpartition(".")[2] for path in ANOTHER_THING if path.startswith(f"{owner}.")}
    assert both - other == set(IN_KERAS[owner].split())


def made(library):
    """Return an instance of each class in `ATTRIBUTES`, from tinynet or from Keras."""
    layers = library.layers
    model = library.Sequential([library.Input((2,)), layers.Dense(1)])
    model.compile(optimizer="adam", loss="mse")
    history = model.fit(np.eye(2), np.ones((2, 1)), verbose=0)
    return {
        "Activation": layers.Activation("relu"),
        "Adam": model.optimizer,
        "Callback": library.callbacks.Callback(),
        "Dense": model.layers[-1],
        "Dropout": layers.Dropout(0.5),
        "EarlyStopping": library.callbacks.EarlyStopping(),
        "Flatten": layers.Flatten(),
        "History": history,
        "L2": library.regularizers.L2(),
        "Loss": library.losses.MeanSquaredError(),
        "Metric": library.metrics.CategoricalAccuracy(),
        "SGD": library.optimizers.SGD(),
        "Sequential": model,
        "VarianceScaling": library.initializers.VarianceScaling(),
    }


def test_every_attribute_exists():
    import tinynet

    missing = [
        f"{name}.{attribute}"
        for name, thing in made(tinynet).items()
        for attribute in ATTRIBUTES[name].split()
        if not hasattr(thing, attribute)
    ]
    assert missing == []


def test_the_attributes_are_those_shared_with_keras(keras):
    import tinynet

    theirs = made(keras)
    for name, ours in made(tinynet).items():
        both = {each for each in {*dir(ours)} & {*dir(theirs[name])} if not each.startswith("_")}
        assert (name, both - {*dir(type(ours))}) == (name, set(ATTRIBUTES[name].split()))


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


def chain_of(node):
    """Return the names of a chain of attributes: ["backend", "use"] for ``backend.use``."""
    names = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    return [node.id, *names] if isinstance(node, ast.Name) else [""]


def paths_in_code(source):
    """Return what is imported from tinynet, and all attribute chains that begin with it."""
    nodes = list(ast.walk(ast.parse(source)))
    stands_for, found = {}, set()
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == "tinynet":
                    found.add(alias.name)
                    stands_for[alias.asname or "tinynet"] = (
                        alias.name if alias.asname else "tinynet"
                    )
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tinynet":
            for alias in node.names:
                stands_for[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    found |= set(stands_for.values())
    for node in nodes:
        first, *rest = chain_of(node)
        if rest and first in stands_for:
            found.add(".".join([stands_for[first], *rest]))
    return found


def paths_in_text(text):
    """Return the ``tinynet.…`` names and imports in prose, comments, docstrings and messages."""
    found = set(re.findall(r"(?<![\w./-])tinynet(?:\.[A-Za-z_]\w*)+", text))
    for module, names in re.findall(r"from (tinynet[\w.]*) import (\w+(?:, \w+)*)", text):
        found |= {f"{module}.{name}" for name in names.split(", ")}
    # `backend.use("cupy")`, but not the file `backend.py`.
    modules = "|".join(re.escape(name) for name in MODULES)
    found |= {
        f"tinynet.{path}"
        for path in re.findall(rf"(?<!`)`((?:{modules})(?:\.[A-Za-z_]\w*)+)", text)
        if not path.endswith(".py")
    }
    return found


SHOWN = [
    ROOT / "README.md",
    *sorted((ROOT / "examples").glob("*.py")),
    *sorted((ROOT / "examples").glob("*.ipynb")),
]
READ = [*SHOWN, *sorted((ROOT / "tinynet").rglob("*.py"))]


@pytest.mark.parametrize("path", READ, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_of_tinynet_in_a_file_exist(path):
    found = paths_in_text(path.read_text("utf-8"))
    if path in SHOWN:  # in other files, `config` may be a variable
        found |= paths_in_code(code_of(path))
    missing = []
    for name in sorted(found):
        try:
            find(name.partition(".")[2])
        except (AttributeError, ModuleNotFoundError):
            missing.append(name)
    assert missing == []


@pytest.mark.parametrize("path", SHOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_used_in_examples_are_public(path):
    found = set()
    for name in paths_in_text(path.read_text("utf-8")) | paths_in_code(code_of(path)):
        module, names = split(name.partition(".")[2])
        found.add(".".join([module.__name__, *names[:1]]))
    assert sorted(found - {"tinynet", *(f"tinynet.{name}" for name in PATHS)}) == []


def test_the_search_for_names_in_code_and_text():
    source = (
        "import tinynet\nimport tinynet.web as page\nfrom tinynet import backend as b, layers\n"
        "b.use('cupy')\npage.export_html\ntinynet.utils.seed().x\nlayers.Dense(1).units\n"
    )
    assert paths_in_code(source) == {
        *("tinynet", "tinynet.web", "tinynet.backend", "tinynet.layers", "tinynet.backend.use"),
        *("tinynet.web.export_html", "tinynet.utils", "tinynet.utils.seed"),
        "tinynet.layers.Dense",
    }
    text = (
        "`tinynet.Layer`, `backend.of(x)`, `layers.py`; from tinynet.a import b, c. /tinynet.html"
    )
    assert paths_in_text(text) == {
        *("tinynet.Layer", "tinynet.backend.of", "tinynet.a", "tinynet.a.b", "tinynet.a.c"),
    }


if __name__ == "__main__":
    print(json.dumps(follow_all()))


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
