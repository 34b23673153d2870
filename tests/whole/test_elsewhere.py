"""What is not here: each public name of Keras's works, or raises an error that says what to write.

The tables `compat.elsewhere` and `compat.former` have what Keras has, or had, and tinynet lacks,
and nothing else; what they say to write runs; and `tinynet/compat/README.md` shows them.

Run as a program, this file writes that README, and the table of `tests/README.md` that counts them.
"""

import ast
import contextlib
import copy
import doctest
import importlib
import importlib.util
import inspect
import os
import pathlib
import pickle
import pydoc
import re
import subprocess
import sys
from operator import attrgetter
from unittest import mock

import numpy as np
import PIL.Image
import pytest

import tinynet
from tinynet import backend
from tinynet.compat import former, missing
from tinynet.compat.elsewhere import NAMES, WAYS
from tinynet.compat.former import ALIASES, FORMER

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE, ABOUT_TESTS = ROOT / "tinynet" / "compat" / "README.md", ROOT / "tests" / "README.md"
MODULES = [
    "", "activations", "backend", "callbacks", "config", "datasets", "initializers", "layers",
    "losses", "metrics", "models", "optimizers", "optimizers.schedules", "regularizers", "saving",
    "utils",
]  # fmt: skip
IDS = [module or "keras" for module in MODULES]
FORMER_MODULES = [module for module in FORMER if module in MODULES]


def names(module):
    return {name for name in dir(module) if not name.startswith("_")}


def pair(keras, module):
    """Return Keras's module and tinynet's."""
    return [attrgetter(module)(k) if module else k for k in (keras, tinynet)]


def path_of(module, name):
    return f"tinynet.{module}".rstrip("."), f"{module}.{name}".lstrip(".")


def error_of(program):
    """Return the error that a program raises."""
    try:
        exec(program, {"tinynet": tinynet})
    except Exception as error:
        return error
    raise AssertionError(f"no error: {program}")


def said(error):
    return f"{type(error).__name__}: {error}"


# Names of Keras's, in both directions


@pytest.mark.parametrize("module", MODULES, ids=IDS)
def test_every_name_of_keras_works_or_says_what_to_write(keras, module):
    theirs, ours = pair(keras, module)
    checked = 0
    for name in names(theirs):
        home, path = path_of(module, name)
        if hasattr(ours, name):
            exec(f"from {home} import {name}", {})
            continue
        message = rf"Keras's {re.escape(path)}, an? |Keras's {re.escape(path)}, the "
        for program, kind in (
            (f"{home}.{name}", AttributeError),
            (f"from {home} import {name}", ImportError),
        ):
            error = error_of(program)
            assert type(error) is kind, path
            assert re.match(message, str(error)), str(error)
            assert re.search(r", is not part of tinynet(: \S|\. Write)", str(error)), path
        assert getattr(ours, name, 7) == 7
        checked += 1
    assert checked == len(missing.absent(module))


@pytest.mark.parametrize("module", MODULES, ids=IDS)
def test_the_table_has_only_what_keras_has_and_tinynet_lacks(keras, module):
    theirs, ours = pair(keras, module)
    assert NAMES.keys() == {*MODULES}
    listed = [name for several, _, _ in missing.groups(NAMES[module]) for name in several]
    assert sorted(listed) == sorted({*listed}), "twice"
    for name in listed:
        assert hasattr(theirs, name), name
        assert not hasattr(ours, name), name
        assert getattr(theirs, name) is not getattr(ours, name, None)


def test_second_names_are_keras_s_and_lead_to_what_is_here(keras):
    for module in ALIASES:
        theirs, ours = pair(keras, module)
        for name, path in missing.aliases(module).items():
            here = getattr(ours, name)
            assert here is pkgutil_name(path)
            assert getattr(theirs, name).__name__.split(".")[-1] == here.__name__, name
            assert name not in dir(ours)


def pkgutil_name(path):
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(f"tinynet.{module}"), name)


def test_a_former_name_is_in_neither_library_and_the_name_today_is_in_keras(keras):
    for module in FORMER_MODULES:
        theirs, ours = pair(keras, module)
        for name, (today, _) in missing.former(module).items():
            assert not hasattr(theirs, name), name
            assert not hasattr(ours, name), name
            error = error_of(f"{path_of(module, name)[0]}.{name}")
            start = f"Keras 3 has {today} in place of " if today else "Keras 3 no longer has "
            start = "tinynet has no keras" if name == "keras" else start
            assert said(error).startswith(f"AttributeError: {start}"), name
            if today:
                assert attrgetter(today)(keras)
                assert "Write: " in str(error) or "is not part of tinynet" in str(error)


def objects(keras):
    """Return objects of both libraries by the name of the base class here."""

    def make(library):
        model = library.Sequential([library.Input((2,)), library.layers.Dense(1)])
        optimizer, metric = library.optimizers.Adam(), library.metrics.BinaryAccuracy()
        return {
            "Network": model,
            "LayerBase": model.layers[0],
            "OptimizerBase": optimizer,
            "MetricBase": metric,
        }

    return make(keras), make(tinynet)


def test_a_former_method_is_in_neither_library(keras):
    theirs, ours = objects(keras)
    assert ours.keys() | MODULES >= FORMER.keys()
    for base in ours:
        for name in missing.former(base):
            assert not hasattr(theirs[base], name), name
            with pytest.raises(AttributeError, match=f"Keras 3 no longer has .*{name}"):
                getattr(ours[base], name)


def test_former_arguments_are_neither_keras_s_nor_tinynet_s_and_those_of_today_are_keras_s(keras):
    homes = {
        "OptimizerBase": "optimizers.Adam", "LayerBase": "layers.Layer", "Dense": "layers.Dense",
        "Dropout": "layers.Dropout", "ModelCheckpoint": "callbacks.ModelCheckpoint",
        "ReduceLROnPlateau": "callbacks.ReduceLROnPlateau", "L2": "regularizers.L2",
        "RandomNormal": "initializers.RandomNormal", "compile": "Sequential.compile",
        **{name: f"Sequential.{name}" for name in ("fit", "evaluate", "predict")},
        "TruncatedNormal": "initializers.TruncatedNormal",
        "RandomUniform": "initializers.RandomUniform",
    }  # fmt: skip
    assert former.ARGUMENTS.keys() == homes.keys()
    for base, table in former.ARGUMENTS.items():
        theirs, ours = (
            inspect.signature(attrgetter(homes[base])(library)).parameters
            for library in (keras, tinynet)
        )
        assert not table.keys() & {*theirs, *ours}
        assert {new for new in table.values() if "=" not in new} <= {*theirs}


# Modules


def absent_modules(keras):
    theirs = [name for name in missing.absent("") if inspect.ismodule(getattr(keras, name))]
    return [*theirs, "layers.core", "utils.np_utils", "utils.legacy", "optimizers.legacy"]


def test_an_absent_module_says_what_it_is_when_it_is_imported(keras):
    modules = absent_modules(keras)
    assert len(modules) >= 20
    for path in modules:
        place, _, name = path.rpartition(".")
        for program in (
            f"import tinynet.{path}",
            f"import tinynet.{path} as it",
            f"import tinynet.{path}.inner.most",
            f"from tinynet.{path} import Thing",
        ):
            error = error_of(program)
            assert type(error) is ModuleNotFoundError
            assert error.name == f"tinynet.{path}"
            assert str(error) == missing.sentence(place, name)
        if "." not in path:
            assert importlib.util.find_spec(f"tinynet.{path}") is None
            assert type(error_of(f"from tinynet import {path}")) is ImportError
        assert not hasattr(attrgetter(place)(tinynet) if place else tinynet, name)


def test_what_a_module_is_not_is_said_as_before():
    assert not hasattr(tinynet.layers, "__path__")
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'tinynet.lay'$"):
        importlib.import_module("tinynet.lay")
    assert importlib.util.find_spec("tinynet.lay") is None
    assert importlib.util.find_spec("neither_here_nor_there") is None
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'neither_here'$"):
        importlib.import_module("neither_here")


def test_the_finder_is_the_last_and_there_is_one_however_often_tinynet_is_imported():
    before = [*sys.meta_path]
    importlib.reload(tinynet)
    assert sys.meta_path == before
    assert [f.__module__ for f in before if isinstance(f, type)].count("tinynet") == 1


# What is named exists, and what is to be written runs


def sentences():
    """Return every sentence, by path."""
    found = {}
    for place in {*NAMES, *FORMER}:
        for name in [*missing.absent(place), *missing.former(place)]:
            found[f"{place}.{name}".lstrip(".")] = missing.sentence(place, name)
    return found


def test_the_files_and_recipes_that_are_named_exist():
    named = set()
    for text in sentences().values():
        for path in re.findall(r"\b(?:examples|tinynet)/[\w/]+\.\w+", text):
            assert (ROOT / path).is_file(), path
        named |= {*re.findall(r"([A-Z]\w+|leaky_relu) (?:in|of) (examples/\w+\.\w+)", text)}
        if found := re.match(r"Keras's [\w.]*?(\w+), .* it is in (examples/\w+\.\w+)", text):
            named.add(found.groups())
    assert len(named) >= 8
    for name, path in named:
        source = (ROOT / path).read_text("utf-8")
        assert re.search(rf"^(class|def) {name}\b", source, re.IGNORECASE | re.MULTILINE), name


def test_each_way_of_the_table_is_used():
    used = re.findall(r" > (\w+)$", "\n".join([*NAMES.values(), *FORMER.values()]), re.MULTILINE)
    assert {*used} == {*WAYS}


CODE = sorted({text.partition("Write: ")[2] for text in sentences().values() if "Write: " in text})


def test_what_is_to_be_written_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    PIL.Image.fromarray(np.zeros((4, 4), "uint8")).save("image.png")
    (tmp_path / "data").write_bytes(b"1")
    np.save("x.npy", np.ones(3))
    assert len(CODE) >= 60
    for code in CODE:
        model = tinynet.Sequential([tinynet.Input((4,)), tinynet.layers.Dense(1)])
        model.compile("sgd", "mse")
        model.save("model.keras")
        known = {"numpy": np, "model": model, "layer": model.layers[-1], "tinynet": tinynet}
        known |= vars(tinynet.layers) | vars(tinynet.callbacks) | vars(tinynet.initializers)
        known |= vars(tinynet.losses) | vars(tinynet.optimizers) | vars(tinynet.models)
        known |= {"Name": tinynet.layers.Dense, "metric": tinynet.metrics.BinaryAccuracy()}
        known |= {"optimizer": model.optimizer, "url": (tmp_path / "data").as_uri()}
        known |= {"x": np.eye(8, 4), "y": np.ones((8, 1)), "batch": (1, 2), "image": np.eye(4)}
        known |= {"rows": [[1, 2], [3]], "batches": iter([(np.eye(8, 4), np.ones((8, 1)))])}
        known["ExponentialDecay"] = tinynet.optimizers.schedules.ExponentialDecay
        known["__name__"] = "program"
        program = "import copy, math, urllib.request, PIL.Image\n" + code
        with contextlib.redirect_stdout(None), np.errstate(all="ignore"):
            exec(compile(program, code, "exec"), known)


def test_what_is_to_be_written_for_metrics_and_rows_has_keras_s_values(keras):
    rng = np.random.default_rng(2)
    outputs, y = rng.random((50, 1)), rng.integers(0, 2, 50)
    scores, labels = rng.random((50, 6)), rng.integers(0, 6, 50)
    rows = [[1, 2], list(range(12)), []]

    def written(path, outputs, y):
        code = sentences()[path].partition("Write: ")[2]
        model = mock.Mock(predict=lambda x: outputs)
        known = {"model": model, "x": None, "y": y, "numpy": np, "rows": rows}
        *before, last = code.split("; ")
        exec("\n".join(before), known)
        return eval(last.partition(" = ")[2] if before else last, known)

    for name in ("Precision", "Recall", "F1Score", "RootMeanSquaredError"):
        metric = getattr(keras.metrics, name)(**{"threshold": 0.5} if name == "F1Score" else {})
        metric.update_state(y[:, None].astype("float32"), outputs)
        for targets in (y, y[:, None]):  # as binary labels are often given
            value = written(f"metrics.{name}", outputs, targets)
            assert value == pytest.approx(float(np.squeeze(metric.result())), rel=1e-5)
    top = keras.metrics.SparseTopKCategoricalAccuracy(k=3)
    top.update_state(labels, scores)
    value = written("metrics.SparseTopKCategoricalAccuracy", scores, labels)
    assert value == pytest.approx(float(top.result()))
    padded = written("utils.pad_sequences", None, None)
    np.testing.assert_array_equal(padded, keras.utils.pad_sequences(rows, maxlen=9))


def test_the_layers_for_images_train_as_keras_s_do_and_are_loaded(keras, tmp_path):
    text = (ROOT / "examples" / "README.md").read_text("utf-8")
    code = next(each for each in text.split("```")[1::2] if "class Conv2D" in each)
    parts = {"tinynet": tinynet, "np": np, "backend": backend}
    exec(code.partition("\n")[2].partition("\nstack = ")[0], parts)

    def program(library, parts, weights=None, **bias):
        layers = library.layers
        kernels = {"kernel_size": 3, **bias} if bias else {}
        stack = [parts["Conv2D"](2, **kernels), layers.Activation("relu"), parts["MaxPooling2D"]()]
        stack += [parts["Conv2D"](3, **kernels), layers.Flatten(), layers.Dense(2, "softmax")]
        model = library.Sequential([library.Input((11, 10, 1)), *stack])
        model.set_weights(weights or model.get_weights())
        model.compile("sgd", "sparse_categorical_crossentropy")
        before = model.get_weights()
        x = np.random.default_rng(3).normal(size=(40, 11, 10, 1)).round(1)  # some are equal
        model.fit(x, np.arange(40) % 2, epochs=3, shuffle=False, verbose=0)
        return model, before, x

    ours, weights, x = program(tinynet, parts)
    theirs, _, _ = program(keras, vars(keras.layers), weights, use_bias=False)
    for one, other in zip(theirs.get_weights(), ours.get_weights(), strict=True):
        np.testing.assert_allclose(other, one, atol=1e-6)
    ours.save(tmp_path / "model.keras")
    own = {name: parts[name] for name in ("Conv2D", "MaxPooling2D")}
    again = tinynet.models.load_model(tmp_path / "model.keras", custom_objects=own)
    np.testing.assert_array_equal(again.predict(x, verbose=0), ours.predict(x, verbose=0))


def test_adamw_and_the_initializers_of_lecun_are_what_the_table_says(keras):
    def program(library, name, write):
        x, y = np.eye(4, dtype="float32"), np.ones((4, 1), "float32")
        model = library.Sequential([library.Input((4,)), library.layers.Dense(1, name="d")])
        model.set_weights([np.full((4, 1), 0.5, "float32"), np.ones(1, "float32")])
        optimizer = getattr(library.optimizers, name, None) or library.optimizers.Adam
        model.compile(optimizer(**write), "mse")
        model.fit(x, y, epochs=3, verbose=0, shuffle=False)
        return model.get_weights()

    theirs = program(keras, "AdamW", {})
    for expected, received in zip(
        theirs, program(tinynet, "Adam", {"weight_decay": 0.004}), strict=True
    ):
        np.testing.assert_allclose(received, expected, rtol=1e-6)
    for name, distribution in (("LecunNormal", "truncated_normal"), ("LecunUniform", "uniform")):
        scaled = getattr(keras.initializers, name)()
        assert (scaled.scale, scaled.mode, scaled.distribution) == (1, "fan_in", distribution)


# Suggestions, names as strings, and arguments


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("tinynet.sequentail", "no attribute 'sequentail'. Did you mean 'Sequential'?$"),
        ("tinynet.layers.Dens", "no attribute 'Dens'. Did you mean 'Dense'?$"),
        ("from tinynet.layers import Densee", "ImportError: …Did you mean 'Dense'?$"),
        ("tinynet.layers.Conv2d", "Did you mean 'Conv2D'? Keras's layers.Conv2D, a convolution"),
        ("tinynet.optimizers.Adamm", "Did you mean 'Adam'?$"),
        ("tinynet.optimizers.AdamX", "Did you mean 'Adam'?$"),
        ("from tinynet import Dense", "^ImportError: …Write: from tinynet.layers import Dense$"),
        ("tinynet.EarlyStopping", "Write: from tinynet.callbacks import EarlyStopping$"),
        ("import tinynet.keras", "tinynet has no keras: it takes the place of all of it. Write: i"),
        ("tinynet.optimizers.Adamaxx", "Did you mean 'Adamax'? Keras's optimizers.Adamax, an opt"),
        ("tinynet.layers.BatchNorm", "Did you mean 'BatchNormalization'? Keras's layers.BatchNor"),
        ("tinynet.losses.BinaryCrossEntropy", "Did you mean 'BinaryCrossentropy'?$"),
        ("tinynet.initializers.zeroes", "Did you mean 'zeros'?$"),
        ("tinynet.callbacks.LifePlot", "no attribute 'LifePlot'$"),
        ("tinynet.backend.to_nump", "Did you mean 'to_numpy'?$"),
        ("tinynet.config.floatX", "Did you mean 'floatx'?$"),
        ("tinynet.datasets.minst", "Did you mean 'mnist'?$"),
        ("tinynet.layers.nothing_like_it", "no attribute 'nothing_like_it'$"),
        ("import tinynet.layer", "No module named 'tinynet.layer'. Did you mean 'layers'?$"),
        ("import tinynet.sequential", "'. Write: from tinynet import Sequential$"),
        ("import tinynet.optimizers.adam", "'. Write: from tinynet.optimizers import Adam$"),
        ("import tinynet.layers.Dense", "'. Write: from tinynet.layers import Dense$"),
        ("tinynet.layers.Dense(2).add_losss", "'add_losss'. Did you mean 'add_loss'? Keras's Den"),
        ("tinynet.layers.Dense(2).unit", "'Dense' object has no attribute 'unit'$"),
        ("tinynet.Sequential().fit_generator", "no longer has Sequential.fit_generator. Write: m"),
        ("tinynet.Sequential().compile('adamw', 'mse')", "identifier: adamw. Keras's optimizers.A"),
        ("tinynet.Sequential().compile('adam', 'huber')", "identifier: huber. Keras's losses.hub"),
        ("tinynet.Sequential().compile('adam', 'MAPE')", "in place of losses.MAPE. Keras's losses"),
        ("tinynet.Sequential().compile('adam', 'hubber')", "Did you mean 'huber'? Keras's losses"),
        ("tinynet.Sequential().compile('ada', 'mse')", "ada. Did you mean 'adam' or 'Adam'? Know"),
        ("tinynet.Sequential().compile('adam', 'mse', metrics=['AUC'])", "AUC. Keras's metrics.A"),
        ("tinynet.layers.Dense(1, 'gelu')", "function identifier: gelu. Keras's activations.gelu,"),
        ("tinynet.layers.Dense(1, 'rel')", "identifier: rel. Did you mean 'relu'? Known names: l"),
        ("tinynet.layers.Dense(1, kernel_initializer='orthogonal')", "Write: Dense(4, kernel_init"),
        ("tinynet.layers.Dense(1, kernel_regularizer='l1')", "it is in examples/README.md. Known"),
        ("tinynet.layers.deserialize({'class_name': 'LSTM', 'config': {}})", "LSTM. Keras's laye"),
        ("tinynet.optimizers.Adam(lr=0.1)", "^ValueError: Argument(s) not recognized: {'lr': "
         "0.1}. Write: learning_rate=0.1.$"),
        ("tinynet.optimizers.SGD(lr=0.1, decay=0.1)", "Write: learning_rate=0.1, callbacks=[Lear"),
        ("tinynet.optimizers.SGD(decay=0.0)", "Leave decay out.$"),
        ("tinynet.Sequential().compile('sgd', 'mse', metric=['acc'])", "Write: metrics=['acc'].$"),
        ("tinynet.regularizers.l2(l=0.01)", "Write: l2=0.01"),
        ("tinynet.Sequential().fit([1], nb_epoch=5)", "^TypeError: fit() got …'. Write: epochs=5$"),
        ("tinynet.Sequential().fit([1], bacth_size=5)", "Write: batch_size=5$"),
        ("tinynet.Sequential().predict([1], workers=4)", "Write: a PyDataset(workers=4) as x$"),
        ("tinynet.Sequential().evaluate([1], foo=4)", "Leave foo out$"),
        ("tinynet.backend.cast(1, 'float32')", "^AttributeError: …Write: x.astype(\"float32\")$"),
        ("tinynet.layers.Dense(output_dim=3)", "^TypeError: Dense.__init__() got …Write: units=3"),
        ("tinynet.layers.Dense(3, init='zeros')", "^ValueError: Unrecognized keyword arguments "
         "passed to Dense: {'init': 'zeros'}. Write: kernel_initializer='zeros'.$"),
        ("tinynet.layers.Dense(3, W_regularizer='l2')", "Write: kernel_regularizer='l2'.$"),
        ("tinynet.layers.Dropout(p=0.3)", "^TypeError: …Write: rate=0.3$"),
        ("tinynet.layers.Dropout(0.3, p=2)", "^ValueError: Unrecognized …Write: rate=2.$"),
        ("tinynet.layers.Flatten(nam='x', foo=2)", "Write: name='x'. Leave foo out.$"),
        ("tinynet.callbacks.ReduceLROnPlateau('loss', epsilon=0.1)", "^TypeErr…: min_delta=0.1$"),
        ("tinynet.callbacks.ModelCheckpoint('m.keras', period=2)", "^TypeErr…: save_freq=1000, t"),
        ("tinynet.callbacks.EarlyStopping(patince=2)", "unexpected …'. Write: patience=2$"),
        ("tinynet.losses.MeanSquaredError(foo=1)", "^TypeError: MeanSquaredError.__init__() got an "
         "unexpected keyword argument 'foo'. Leave foo out$"),
    ],
)  # fmt: skip
def test_a_mistake_is_answered_with_the_name_that_was_meant(program, expected):
    """^ and $ stand for the beginning and the end, and … for anything."""
    text = f"^{said(error_of(program))}$"
    for part in expected.split("…"):
        assert part in text
        text = text.partition(part)[2]


def test_no_other_suggestion_is_printed():
    """Python itself would suggest names of `dir(module)`, such as `Shape` for `Reshape`."""
    for program in (
        "tinynet.layers.Reshape", "tinynet.layers.Dens", "from tinynet.layers import Reshape",
        "tinynet.Sequential().predict_generator", "tinynet.layers.Dense(1).compute_output_spec",
        "tinynet.layers.Dense(1).add_los", "tinynet.sequentail", "from tinynet import Model",
    ):  # fmt: skip
        command = [sys.executable, "-c", f"import tinynet\n{program}"]
        run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        assert run.stderr.splitlines()[-1] == said(error_of(program))
        assert run.stderr.count("Error: ") == 1  # and no other error led to it


# How Python asks for a name


def test_from_import_is_told_apart_with_many_names_and_while_traced():
    many = "\n".join(f"name_{number} = {number}" for number in range(300))  # so: EXTENDED_ARG
    program = f"{many}\nfrom tinynet.layers import Conv2D"
    assert type(error_of(program)) is ImportError
    assert type(error_of(f"{many}\ntinynet.layers.Conv2D")) is AttributeError
    seen = []

    def trace(frame, event, argument):
        frame.f_trace_opcodes = True
        seen.append(event)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        errors = error_of(program), error_of("tinynet.layers.Conv2D")
    finally:
        sys.settrace(before)
    assert [type(error) for error in errors] == [ImportError, AttributeError]
    assert "line" in seen


def test_without_frames_the_error_is_an_attribute_error(monkeypatch):
    def no_frames(depth):
        raise ValueError("call stack is not deep enough")

    with monkeypatch.context() as patch:
        patch.setattr(sys, "_getframe", no_frames)
        attribute, imported = error_of("tinynet.layers.Conv2D"), error_of("import tinynet.ops")
    assert str(attribute).startswith("Keras's layers.Conv2D, a convolution")
    assert "No module named 'tinynet.ops'" in str(imported)


def test_modules_are_otherwise_as_they_were():
    known = {"math": None, "get": None}
    exec("from tinynet.layers import *\nfrom tinynet import *", known)
    assert known["math"] is known["get"] is None  # the user's
    exec("from tinynet.initializers import *\nfrom tinynet.models import *", known)
    assert {"he_normal", "HeNormal", "load_model", "save_model"} <= known.keys()
    assert {"Dense", "Sequential"} <= known.keys()
    assert not {"Conv2D", "Model"} & known.keys()
    assert "Conv2D" not in dir(tinynet.layers)
    members = dict(inspect.getmembers(tinynet.layers))
    assert members["Dense"] is tinynet.layers.Dense
    assert "Dense" in pydoc.render_doc(tinynet.layers)
    assert "PACKAGE CONTENTS" not in pydoc.render_doc(tinynet.layers)
    assert doctest.DocTestFinder().find(tinynet.regularizers)
    assert isinstance(mock.Mock(spec=tinynet.layers).Dense, mock.Mock)
    with mock.patch("tinynet.layers.Dense", 3):
        assert tinynet.layers.Dense == 3
    with pytest.raises(AttributeError):
        mock.patch("tinynet.layers.Conv2D", 3).start()
    assert pickle.loads(pickle.dumps(tinynet.initializers.zeros)) is tinynet.initializers.Zeros
    error = error_of("tinynet.layers.Conv2D")
    assert str(pickle.loads(pickle.dumps(error))) == str(copy.copy(error)) == str(error)
    assert error.name == "Conv2D"
    for name in ("", "foo.bar", "_private", "__wrapped__"):
        assert not hasattr(tinynet.layers, name)
        assert not hasattr(tinynet, name)


def test_type_checkers_see_no_getattr_of_a_module():
    """Otherwise, they would accept every name."""
    for path in (ROOT / "tinynet").rglob("*.py"):
        for node in ast.parse(path.read_text("utf-8")).body:
            targets = [getattr(target, "id", "") for target in getattr(node, "targets", [])]
            assert "__getattr__" not in [getattr(node, "name", ""), *targets], path


def test_the_tables_are_loaded_when_a_name_is_missing():
    def loaded(program):
        program = f"import sys, tinynet\n{program}\nprint(*sys.modules)"
        printed = subprocess.check_output([sys.executable, "-c", program], text=True, cwd=ROOT)
        return {name for name in printed.split() if name.startswith(("tinynet", "difflib"))}

    assert loaded("") == {"tinynet", "tinynet.config"}
    tables = {"tinynet.compat.elsewhere", "tinynet.compat.former", "difflib"}
    use = (
        "import numpy; model = tinynet.Sequential([tinynet.layers.Dense(1)])\n"
        "model.compile('sgd', 'mse'); model.fit(numpy.ones((4, 2)), numpy.ones(4), verbose=0)\n"
        "hasattr(tinynet.layers, '__wrapped__')"
    )
    assert not loaded(use) & tables
    assert loaded("hasattr(tinynet.layers, 'Nothing')") >= tables


# The documentation


def row(*cells):
    return f"| {' | '.join(cells)} |\n"


def shown(text):
    """Return a way on as Markdown: code between backticks, and files as links."""
    text, write, code = text.partition("Write: ")
    text = re.sub(r"((?:examples|tinynet)/\w+\.\w+)", r"[`\1`](../../\1)", text)
    return text + (f"Write: `{code}`" if write else "")


def page():
    """Return the text of `tinynet/compat/README.md`."""
    text = (
        "# What is not here\n\n"
        "The public names of Keras 3.15.1 that tinynet does not have, by module, and what to use "
        "instead.\nA program that asks for one of them gets an error that says the same. What "
        "Keras's *classes* have\nand tinynet's do not, attributes and arguments, is in "
        "[`absent.py`](absent.py).\n\n"
        "`python tests/whole/test_elsewhere.py` writes this file, from "
        "[`elsewhere.py`](elsewhere.py) and\n[`former.py`](former.py).\n"
    )
    for module in MODULES:
        text += f"\n## {f'keras.{module}'.rstrip('.')}\n\n"
        text += row("name", "what it is", "instead") + row("---", "---", "---")
        for several, what, way in missing.groups(NAMES[module]):
            listed = ", ".join(f"`{name}`" for name in several)
            text += row(listed, what, shown(way.replace("{name}", "NAME")))
    text += "\n## Second names\n\nKeras has two names for these, and both work here.\n\n"
    text += row("module", "names") + row("---", "---")
    for module in ALIASES:
        pairs = [f"`{n}` (`{p}`)" for n, p in missing.aliases(module).items()]
        text += row(f"keras.{module}".rstrip("."), ", ".join(pairs))
    text += (
        "\n## Former names\n\nKeras 3 no longer has these, which older tutorials use.\n\n"
        + row("module or class", "former names", "today")
        + row("---", "---", "---")
    )
    public_names = {"Network": "Sequential", "LayerBase": "Layer", "MetricBase": "Metric"}
    for module in FORMER:
        place = {**public_names, "OptimizerBase": "Optimizer"}.get(module, module)
        for several, today, way in missing.groups(FORMER[module]):
            listed = ", ".join(f"`{name}`" for name in several)
            now = f"`{today}`" if today else shown(way.replace("{name}", "NAME"))
            text += row(f"keras.{place}".rstrip("."), listed, now)
    return text


def counts(keras):
    """Return the table of how many of Keras's names work, say what to write, and do neither."""
    text = row("module", "names that work", "that say what to write", "neither")
    text += row("---", *["---:"] * 3)
    for module in MODULES:
        theirs, ours = pair(keras, module)
        public = names(theirs)
        works = {name for name in public if hasattr(ours, name)}
        teaches = (public - works) & missing.absent(module).keys()
        rest = public - works - teaches
        text += row(f"keras.{module}".rstrip("."), *(str(len(s)) for s in (works, teaches, rest)))
    modules = [name for name in missing.absent("") if inspect.ismodule(getattr(keras, name))]
    inside = sum(len(names(getattr(keras, name))) for name in modules)
    return text + row(f"in {len(modules)} modules that are not here", "0", str(inside), "0")


def test_the_page_shows_the_tables_and_is_linked():
    assert PAGE.read_text("utf-8") == page(), "run: python tests/whole/test_elsewhere.py"
    assert "(tinynet/compat/README.md)" in (ROOT / "README.md").read_text("utf-8")
    assert "(../tinynet/compat/README.md)" in ABOUT_TESTS.read_text("utf-8")
    for link in re.findall(r"\]\(([^)]+)\)", page()):
        assert (PAGE.parent / link).exists()


def test_the_counts_are_those_of_the_documentation(keras):
    assert counts(keras) in ABOUT_TESTS.read_text("utf-8")


if __name__ == "__main__":
    os.environ.setdefault("KERAS_BACKEND", "jax")
    PAGE.write_text(page(), "utf-8", newline="\n")
    text = ABOUT_TESTS.read_text("utf-8")
    table = re.search(r"\| module \| names that work .*?\n\n", text + "\n", flags=re.DOTALL)[0]
    text = text.replace(table.strip(), counts(importlib.import_module("keras")).strip())
    ABOUT_TESTS.write_text(text, "utf-8", newline="\n")
