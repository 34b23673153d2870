"""Every public path of 0.1.0 is still there, wherever its file has gone.

The table is written out, so that nothing can vanish from it unseen. Its names of Keras's are held
against Keras itself.
"""

import importlib
import inspect
import pathlib
import re
import subprocess
import sys

import pytest

import tinynet

ROOT = pathlib.Path(tinynet.__file__).resolve().parent.parent

# Names that Keras has as well, by module.
KERAS = {
    "": """
        Initializer Input Layer Loss Metric Optimizer Sequential activations backend callbacks
        config datasets initializers layers losses metrics models optimizers regularizers saving
        utils
    """,
    "activations": "get linear log_softmax relu serialize sigmoid softmax tanh",
    "callbacks": """
        BackupAndRestore Callback EarlyStopping History LambdaCallback ModelCheckpoint
        TerminateOnNaN
    """,
    "config": "floatx set_floatx",
    "datasets": "mnist",
    "datasets.mnist": "load_data",
    "initializers": """
        Constant GlorotNormal GlorotUniform HeNormal HeUniform Initializer Ones RandomNormal
        RandomUniform TruncatedNormal VarianceScaling Zeros get serialize truncated_normal
    """,
    "layers": "Activation Dense Dropout Flatten Input InputLayer Layer serialize",
    "losses": """
        CategoricalCrossentropy Loss MeanSquaredError SparseCategoricalCrossentropy
        categorical_crossentropy get mean_squared_error serialize sparse_categorical_crossentropy
    """,
    "metrics": """
        BinaryAccuracy CategoricalAccuracy Metric SparseCategoricalAccuracy binary_accuracy
        categorical_accuracy get serialize sparse_categorical_accuracy
    """,
    "models": "Sequential load_model model_from_json save_model",
    "optimizers": "Adam Optimizer SGD get serialize",
    "regularizers": "L2 Regularizer get l2 serialize",
    "saving": "save_model",
    "utils": "clear_session set_random_seed to_categorical",
}

# Methods and attributes that Keras's classes have as well; those of a base are the derived's, too.
KERAS_METHODS = {
    "Sequential": """
        add build compile compute_output_shape count_params evaluate fit from_config get_config
        get_layer get_weights input_shape layers load_weights non_trainable_weights output_shape
        pop predict save save_weights set_weights summary test_on_batch to_json train_on_batch
        trainable trainable_weights weights
    """,
    "layers.Layer": """
        add_weight build compute_output_shape count_params from_config get_config get_weights
        non_trainable_weights set_weights trainable_weights weights
    """,
    "losses.Loss": "call from_config get_config",
    "metrics.Metric": "from_config get_config reset_state result update_state",
    "optimizers.Optimizer": """
        apply_gradients build from_config get_config learning_rate variables
    """,
    "callbacks.Callback": """
        on_batch_begin on_batch_end on_epoch_begin on_epoch_end on_predict_batch_begin
        on_predict_batch_end on_predict_begin on_predict_end on_test_batch_begin on_test_batch_end
        on_test_begin on_test_end on_train_batch_begin on_train_batch_end on_train_begin
        on_train_end set_model set_params
    """,
    "initializers.Initializer": "from_config get_config",
    "regularizers.Regularizer": "from_config get_config",
}

# What Keras has not, or not as a class or function of that module.
OWN = """
    Callback __version__ check_gradients export_html find_dead_units plotting training web doctor
    activations.backward activations.backward_of activations.is_known activations.name_of
    activations.relu_backward activations.sigmoid_backward activations.softmax_backward
    activations.tanh_backward activations.linear_backward
    backend.Array backend.HostArray backend.Shape backend.backend backend.devices backend.fill
    backend.generator backend.host backend.is_integer backend.of backend.on_device
    backend.release_memory backend.seed backend.synchronize backend.to_active backend.to_numpy
    backend.use backend.xp
    callbacks.Callback.accepts_nan callbacks.Callback.kept callbacks.Callback.set_state
    callbacks.Callback.get_state callbacks.Callback.set_course
    callbacks.Distributions callbacks.History callbacks.LivePlot
    datasets.digits datasets.digits.load_data datasets.mnist.Prepared datasets.mnist.prepare_digit
    datasets.prepare.prepare_digit
    doctor.main
    initializers.Initializer.draw
    layers.Activated layers.Dense.backward layers.Dense.forward layers.Layer.backward
    layers.Layer.buffer layers.Layer.check_input layers.Layer.ensure_built layers.Layer.forward
    layers.Layer.penalty layers.get
    losses.Loss.backward losses.as_loss losses.crossentropy losses.crossentropy_backward
    metrics.Metric.call
    models.Sequential.backward models.Sequential.forward models.Sequential.gather_weights
    models.Sequential.start_training models.Sequential.to models.Sequential.trace
    optimizers.Adam.prepare optimizers.Adam.update optimizers.Optimizer.iterations
    optimizers.Optimizer.set_variables optimizers.Optimizer.slots
    plotting.plot_activations plotting.plot_confusion plotting.plot_digits
    plotting.plot_distributions plotting.plot_history plotting.plot_network
    plotting.plot_predictions plotting.plot_weights
    regularizers.Regularizer.gradient
    saving.to_json
    training.fit training.train_epoch training.train_on_batch training.train_step training.validate
    web.export_html web.samples
"""

PATHS = sorted(
    {f"{module}.{name}".strip(".") for module, names in KERAS.items() for name in names.split()}
    | {f"{cls}.{name}" for cls, names in KERAS_METHODS.items() for name in names.split()}
    | set(OWN.split())
    | set(tinynet.__all__)
)

# Names that lead to one and the same thing.
SAME = [
    ("Callback", "callbacks.Callback"),
    ("Initializer", "initializers.Initializer"),
    ("Input", "layers.Input"),
    ("Layer", "layers.Layer"),
    ("Loss", "losses.Loss"),
    ("Metric", "metrics.Metric"),
    ("Optimizer", "optimizers.Optimizer"),
    ("Sequential", "models.Sequential"),
    ("export_html", "web.export_html"),
    ("models.save_model", "saving.save_model"),
    ("regularizers.L2", "regularizers.l2"),
    ("datasets.mnist.prepare_digit", "datasets.prepare.prepare_digit"),
]


def find(path):
    """What a path leads to: as much of it as is a module is imported, and the rest asked for."""
    parts = f"tinynet.{path}".strip(".").split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError as error:
            if not ".".join(parts[:end]).startswith(error.name):
                raise
            continue
        for name in parts[end:]:
            found = getattr(found, name)
        return found
    raise AssertionError(path)


@pytest.mark.parametrize("path", PATHS)
def test_a_path_leads_somewhere(path):
    if path == "optimizers.Optimizer.iterations":  # only an instance counts
        assert tinynet.optimizers.SGD().iterations == 0
    else:
        find(path)


def test_from_import_and_attributes_lead_there_in_a_fresh_process():
    """`from tinynet.layers import Dense`; and `tinynet.layers.Dense` after `import tinynet`."""
    modules = sorted(set(KERAS) - {"", "saving", "datasets.mnist"})
    program = ["import tinynet"]
    program += [f"tinynet.{m}.{name}" for m in modules for name in KERAS[m].split()]
    program += ["tinynet.training.train_step", "tinynet.plotting.plot_history", "tinynet.web"]
    run = subprocess.run([sys.executable, "-c", "\n".join(program)], capture_output=True, text=True)
    assert not run.stderr
    program = [
        f"from tinynet{'.' * bool(m)}{m} import {', '.join(names.split())}"
        for m, names in KERAS.items()
    ]
    run = subprocess.run([sys.executable, "-c", "\n".join(program)], capture_output=True, text=True)
    assert not run.stderr


@pytest.mark.parametrize(("one", "other"), SAME)
def test_two_paths_lead_to_one_thing(one, other):
    assert find(one) is find(other)


def test_the_doctor_is_a_program():
    command = [sys.executable, "-m", "tinynet.doctor", "--help"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "python -m tinynet.doctor" in run.stdout


@pytest.mark.parametrize("module", KERAS)
def test_the_names_in_the_table_are_keras_s(keras, module):
    theirs = importlib.import_module(f"keras.{module}".strip("."))
    assert set(KERAS[module].split()) <= set(dir(theirs))


@pytest.mark.parametrize("name", KERAS_METHODS)
def test_the_methods_in_the_table_are_keras_s(keras, name):
    theirs = keras
    for part in name.split("."):
        theirs = getattr(theirs, part)
    assert set(KERAS_METHODS[name].split()) <= set(dir(theirs))


def test_what_readme_and_examples_import_is_there():
    texts = [ROOT / "README.md", *(ROOT / "examples").glob("*.*")]
    seen = set()
    for path in texts:
        if path.suffix not in (".md", ".py", ".ipynb"):
            continue
        text = path.read_text("utf-8")
        seen |= set(re.findall(r"\btinynet((?:\.[A-Za-z_]\w*)+)(?!\w*[/*])", text))
        for module, names in re.findall(r"from tinynet([.\w]*) import ([^\n(\\]+)", text):
            words = (name.split(" as ")[0].split("#")[0].strip(' ",') for name in names.split(","))
            seen |= {f"{module}.{word}" for word in words if word.isidentifier()}
    assert ".layers.Dense" in seen
    for path in seen:
        assert find(path.strip(".")) is not None


def test_public_classes_can_be_asked_for_help():
    for path in PATHS:
        if inspect.isclass(thing := find(path) if "iterations" not in path else None):
            assert inspect.getdoc(thing), path
