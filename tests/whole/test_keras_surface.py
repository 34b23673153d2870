"""Keras's public surface, walked class by class: for every class and function that tinynet also
has, each of Keras's arguments, methods and attributes is there, or stands in the tables of
`compat.absent`, with its reason, and is refused with it.

Run as a program, this file prints how many there are for each module.
"""

import inspect
import json
import os
import pickle
import re
from operator import attrgetter

import numpy as np
import pytest

import tinynet
from tinynet.compat import absent

pytestmark = pytest.mark.host

MODULES = [
    "activations", "callbacks", "config", "datasets.fashion_mnist", "datasets.mnist",
    "initializers", "layers", "losses", "metrics", "models", "optimizers", "optimizers.schedules",
    "regularizers", "saving", "utils",
]  # fmt: skip


def both(keras, program, *arguments):
    return [program(library, *arguments) for library in (keras, tinynet)]


def names(thing):
    return {name for name in dir(thing) if not name.startswith("_")}


def shared(keras, module):
    """Return Keras's names in a module for which tinynet has the same name: classes, functions."""
    theirs, ours = attrgetter(module)(keras), attrgetter(module)(tinynet)
    # In initializers, some names are Keras's short forms of classes, such as `constant`.
    both = sorted(n for n in names(theirs) if callable(getattr(theirs, n)) and hasattr(ours, n))
    return [name for name in both if name not in ("truncated_normal", "uniform")]


# An object of each class, in both libraries, and what it was made with.
def model(library):
    result = library.Sequential([library.Input((4,)), library.layers.Dense(3, name="first")])
    result.compile("sgd", "mse", metrics=["mae"])
    result.fit(np.ones((4, 4)), np.ones((4, 3)), verbose=0)
    return result


def py_dataset(library):
    return type("Data", (library.utils.PyDataset,), {"__len__": lambda self: 3})()


def built(layer):
    layer.build((None, 4))
    return layer


MAKE = {
    "Activation": lambda k: built(k.layers.Activation("relu", name="a")),
    "BackupAndRestore": lambda k: k.callbacks.BackupAndRestore("backup"),
    "Dense": lambda k: built(k.layers.Dense(3, kernel_regularizer="l2", name="d")),
    "Dropout": lambda k: built(k.layers.Dropout(0.5, name="p")),
    "Flatten": lambda k: built(k.layers.Flatten(name="f")),
    "InputLayer": lambda k: k.layers.InputLayer(shape=(4,), name="i"),
    "LearningRateScheduler": lambda k: k.callbacks.LearningRateScheduler(abs),
    "Layer": lambda k: built(k.layers.Layer(name="l")),
    "ModelCheckpoint": lambda k: k.callbacks.ModelCheckpoint("m.keras", monitor="loss"),
    "Optimizer": lambda k: k.optimizers.Optimizer(0.01, name="o"),
    "PyDataset": py_dataset,
    "Sequential": model,
    "ExponentialDecay": lambda k: k.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5),
    "EarlyStopping": lambda k: k.callbacks.EarlyStopping("loss"),
}


def made(library, module, name):
    """Return an object of a class, of the library."""
    return MAKE.get(name, lambda library: getattr(attrgetter(module)(library), name)())(library)


CLASSES = """
    callbacks: BackupAndRestore Callback EarlyStopping History LambdaCallback
        LearningRateScheduler ModelCheckpoint ReduceLROnPlateau TerminateOnNaN
    initializers: Constant GlorotNormal GlorotUniform HeNormal HeUniform Initializer Ones
        RandomNormal RandomUniform TruncatedNormal VarianceScaling Zeros
    layers: Activation Dense Dropout Flatten InputLayer Layer
    losses: BinaryCrossentropy CategoricalCrossentropy Loss MeanAbsoluteError MeanSquaredError
        SparseCategoricalCrossentropy
    metrics: Accuracy BinaryAccuracy BinaryCrossentropy CategoricalAccuracy
        CategoricalCrossentropy MeanAbsoluteError MeanSquaredError Metric
        SparseCategoricalAccuracy SparseCategoricalCrossentropy
    models: Sequential
    optimizers: Adam Optimizer RMSprop SGD
    optimizers.schedules: ExponentialDecay LearningRateSchedule
    regularizers: L2 Regularizer
    utils: PyDataset
"""
CLASSES = [
    (module, name)
    for module, several in re.findall(r"([\w.]+):((?:\s+\w+\b(?![.:]))+)", CLASSES)
    for name in several.split()
]
IDS = [f"{module}.{name}" for module, name in CLASSES]


def test_the_classes_are_those_that_both_have(keras):
    found = [
        (module, name)
        for module in MODULES
        for name in shared(keras, module)
        if isinstance(getattr(attrgetter(module)(keras), name), type)
        and name == getattr(attrgetter(module)(tinynet), name).__name__
    ]
    assert sorted(found) == sorted(CLASSES)


# Attributes and methods


def attributes(keras, module, name):
    """Return Keras's attributes of a class: those that are here, and those that are not."""
    theirs, ours = both(keras, made, module, name)
    here = {each for each in names(theirs) if hasattr(ours, each)}
    return here, names(theirs) - here


@pytest.mark.parametrize(("module", "name"), CLASSES, ids=IDS)
def test_each_attribute_is_there_or_its_absence_has_a_reason(keras, module, name):
    here, missing = attributes(keras, module, name)
    ours = made(tinynet, module, name)
    assert here
    for each in missing:
        with pytest.raises(AttributeError, match=rf"^Keras's \w+\.{each} is not part of tinynet"):
            getattr(ours, each)


def test_the_tables_of_absences_have_only_what_keras_has_and_tinynet_lacks(keras):
    """By the name of the base class here, and a class of which that is a base."""
    examples = {
        "LayerBase": ["layers.Dense"],
        "Dense": ["layers.Dense"],
        "Dropout": ["layers.Dropout"],
        "Network": ["models.Sequential"],
        "Metric": ["metrics.Metric"],
        "Loss": ["losses.MeanSquaredError"],
        "OptimizerBase": ["optimizers.Adam"],
    }
    for base, table in absent.ATTRIBUTES.items():
        for path in examples[base]:
            theirs, ours = both(keras, made, *path.split("."))
            for each in table:
                assert hasattr(theirs, each) or hasattr(type(theirs), each), (base, each)
                assert not hasattr(ours, each), (base, each)
    for table in [*absent.ATTRIBUTES.values(), *absent.ARGUMENTS.values()]:
        for reason in table.values():
            text = reason if isinstance(reason, str) else reason[1]
            assert len(text) > 15
            assert text[0].isalpha()


# Values that a program may read; those that differ, with the reason.
DIFFERENT = {
    "weights": "arrays instead of variables",
    "model": "the model itself",
    "input": "a shape and a type instead of a symbol",
    "metrics": "the metrics themselves, without the loss",
    "seed": "drawn by the library's own generator",
    "iterations": "a number instead of a variable",
    "jit_compile": "nothing is compiled by JAX",
    "backup_dir": "a path",
    "min_delta": "has the sign that Keras gives it when training begins",
    "monitor_op": "known before training begins",
    "output": "known when the layer is built, not only when it was called",
    "outputs": "shapes and types instead of symbols",
    "inputs": "shapes and types instead of symbols",
}
PLAIN = (str, int, float, bool, type(None), tuple, dict)


@pytest.mark.parametrize(("module", "name"), CLASSES, ids=IDS)
def test_plain_values_equal_keras(keras, module, name):
    theirs, ours = both(keras, made, module, name)
    compared = 0
    for each in attributes(keras, module, name)[0] - DIFFERENT.keys():
        expected, received = getattr(theirs, each), getattr(ours, each)
        if callable(expected):
            assert callable(received), each
        elif type(expected) in PLAIN and each not in ("name", "path"):
            assert received == expected, each
            assert isinstance(received, (float, type(expected))), each
            compared += 1
        elif each not in ("name", "path"):
            assert type(expected) not in PLAIN
    if name == "Dense":
        assert repr(ours.input_spec.axes) == repr(dict(theirs.input_spec.axes))
        assert [float(x) for x in ours.losses] != []
        assert compared >= 10


# Arguments

# In Keras, these names of a first argument depend on the class or module.
FIRST = {"serialize", "deserialize", "call"}


def arguments(function):
    several = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    found = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in found if p.kind not in several} | {}


@pytest.mark.parametrize(("module", "name"), CLASSES, ids=IDS)
def test_each_argument_is_there_or_its_absence_has_a_reason(keras, module, name):
    theirs, ours = (getattr(attrgetter(module)(library), name) for library in (keras, tinynet))
    for each in {"__init__", *names(theirs)} - FIRST:
        of_theirs, of_ours = getattr(theirs, each), getattr(ours, each, None)
        if not inspect.isroutine(of_theirs) or of_ours is None:
            continue
        given = getattr(of_ours, "unsupported", {})
        table = absent.ARGUMENTS.get(each, {})
        for argument in arguments(of_theirs).keys() - {"self"}:
            known = {*arguments(of_ours), *given, *table}
            known |= {"variables"} if each == "build" else set()  # in Adam, also Keras has var_list
            assert argument in known, f"{each}({argument}=)"


REFUSING = {  # a call of each function that refuses arguments of Keras's
    "LayerBase": lambda **given: tinynet.layers.Dense(3, **given),
    "Dense": lambda **given: tinynet.layers.Dense(3, **given),
    "InputLayer": lambda **given: tinynet.Input((3,), **given),
    "VarianceScaling": lambda **given: tinynet.initializers.VarianceScaling(**given),
    "OptimizerBase": lambda **given: tinynet.optimizers.Adam(**given),
    "BackupAndRestore": lambda **given: tinynet.callbacks.BackupAndRestore("backup", **given),
    "add_weight": lambda **given: tinynet.Layer().add_weight((2,), name="w", **given),
    "compile": lambda **given: model(tinynet).compile("sgd", "mse", **given),
    "load_weights": lambda **given: model(tinynet).load_weights("no.weights.h5", **given),
    "save_weights": lambda **given: model(tinynet).save_weights("no.weights.h5", **given),
    "save": lambda **given: model(tinynet).save("no.keras", **given),
}
ABSENT = [(where, each) for where, table in absent.ARGUMENTS.items() for each in table]


@pytest.mark.parametrize(("where", "argument"), ABSENT, ids=[".".join(pair) for pair in ABSENT])
def test_an_absent_argument_is_refused_with_its_reason(tmp_path, monkeypatch, where, argument):
    monkeypatch.chdir(tmp_path)
    default, reason = absent.ARGUMENTS[where][argument]
    with pytest.raises(ValueError, match=re.escape(f"tinynet does not{absent.joined(reason)}")):
        REFUSING[where](**{argument: object()})
    try:
        REFUSING[where](**{argument: default})  # its default may be given
    except FileNotFoundError:
        assert where == "load_weights"


# Functions of modules


def test_functions_are_there_with_keras_s_arguments(keras):
    for module in MODULES:
        for name in shared(keras, module):
            theirs, ours = (getattr(attrgetter(module)(k), name) for k in (keras, tinynet))
            if not isinstance(theirs, type) and name not in FIRST:
                expected, received = arguments(theirs), arguments(ours)
                assert expected.keys() <= {*received, "tensor", "optional"}, f"{module}.{name}"


# Some of the behaviour, where a program would notice


def test_what_a_model_says_before_and_after_it_is_built(keras):
    def program(library):
        log = []
        empty = library.Sequential()
        log += [hasattr(empty, n) for n in ("input_shape", "output_shape", "inputs", "outputs")]
        log += [empty.compiled, empty.metrics_names, empty.losses, empty.layers]
        first = model(library)
        log += [hasattr(first, n) for n in ("input_shape", "output_shape", "inputs", "outputs")]
        log += [first.compiled, first.metrics_names, len(first.variables), len(first.inputs)]
        log += [first.inputs[0].shape, first.outputs[0].shape, first.inputs[0].dtype]
        log += [first.get_build_config(), first.get_layer("first").get_build_config()]
        first.layers.pop()
        log += [len(first.layers)]
        with pytest.raises(AttributeError, match="add"):
            first.layers = []
        last = first.pop(rebuild=False)
        log += [first.built, len(first.layers), type(last).__name__]
        first.add(last, rebuild=False)
        log += [first.built]
        first.build((None, 4))
        log += [first.built, first.predict_on_batch(np.ones((2, 4))).shape]
        return log

    theirs, ours = both(keras, program)
    assert ours == theirs


def test_weights_pass_through_a_store_and_settings_through_a_configuration(keras):
    theirs, ours = both(keras, model)
    store = {}
    theirs.layers[0].save_own_variables(store)
    ours.layers[0].load_own_variables({name: np.asarray(value) for name, value in store.items()})
    for expected, received in zip(theirs.get_weights(), ours.get_weights(), strict=True):
        np.testing.assert_array_equal(received, expected)
    settings = json.loads(json.dumps(theirs.get_compile_config()))
    again = tinynet.Sequential.from_config(ours.get_config())
    again.compile_from_config(settings)
    mine = again.get_compile_config() | {"jit_compile": None}
    mine["optimizer"]["config"].pop("name"), settings["optimizer"]["config"].pop("name")
    assert mine == settings | {"jit_compile": None}
    ours.reset_metrics()
    assert [metric.result() for metric in ours.metrics] == [0.0]


def test_a_metric_of_one_s_own_with_variables_runs_in_both(keras):
    def program(library):
        class Positives(library.metrics.Metric):
            def __init__(self, name="positives", **given):
                super().__init__(name=name, **given)
                self.seen = self.add_weight(name="seen", initializer="zeros")
                self.most = self.add_variable(shape=(2,), initializer="ones", name="most")

            def update_state(self, y_true, y_pred, sample_weight=None):
                self.seen.assign_add(np.sum(np.asarray(y_pred) > 0))
                self.most.assign(self.most * 2)

            def result(self):
                return self.seen

            def reset_state(self):
                self.seen.assign(0)
                self.most.assign([1, 1])

        metric = Positives()
        metric.update_state(None, np.array([1.0, -1.0, 2.0], "float32"))
        log = [float(metric.result()), np.asarray(metric.most).tolist(), len(metric.variables)]
        metric.update_state(None, np.array([1.0], "float32"))
        log += [float(metric.seen), [np.asarray(v).tolist() for v in metric.variables]]
        metric.reset_state()
        return [*log, float(metric.result()), metric.variables[0].numpy().dtype.name]

    theirs, ours = both(keras, program)
    assert ours == theirs


def test_a_metric_with_variables_is_trained_with_and_restored():
    class Batches(tinynet.metrics.Metric):
        def __init__(self):
            super().__init__("batches")
            self.seen = self.add_weight(name="seen")

        def update_state(self, y_true, y_pred, sample_weight=None):
            self.seen.assign_add(1)

        def result(self):
            return self.seen

    trained = tinynet.Sequential([tinynet.Input((2,)), tinynet.layers.Dense(1)])
    trained.compile("sgd", "mse", metrics=[Batches()])
    history = trained.fit(np.ones((6, 2)), np.ones((6, 1)), batch_size=2, epochs=2, verbose=0)
    assert history.history["batches"] == [3.0, 3.0]


def test_schedules_is_a_module_that_can_be_imported():
    from tinynet.optimizers.schedules import ExponentialDecay

    schedule = pickle.loads(pickle.dumps(ExponentialDecay(0.1, 10, 0.5)))
    assert schedule(20) == pytest.approx(0.025)
    assert tinynet.optimizers.schedules.ExponentialDecay is ExponentialDecay


def counts(keras):
    """Print, for each module, what is there and what is absent, of all classes that both have."""
    print("| module | classes | attributes there | absent | arguments there | absent |")
    print("|---|---|---|---|---|---|")
    for module in dict(CLASSES):
        classes = [name for each, name in CLASSES if each == module]
        here = missing = taken = refused = 0
        for name in classes:
            both_have, absent_here = attributes(keras, module, name)
            here, missing = here + len(both_have), missing + len(absent_here)
            theirs = getattr(attrgetter(module)(keras), name)
            ours = getattr(attrgetter(module)(tinynet), name)
            lacking = {*getattr(ours.__init__, "unsupported", {})}
            given = arguments(theirs.__init__).keys() - {"self"}
            taken, refused = taken + len(given - lacking), refused + len(given & lacking)
        print(f"| {module} | {len(classes)} | {here} | {missing} | {taken} | {refused} |")


if __name__ == "__main__":
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras

    counts(keras)
