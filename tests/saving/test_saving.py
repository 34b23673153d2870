"""Saved models: Keras opens the files that tinynet writes, and the other way round."""

import json
import os
import sys
import zipfile
from unittest import mock

import networks
import numpy as np
import pytest
from arrays import assert_allclose, assert_array_equal
from interrupted import at, press_ctrl_c
from networks import ONE_HOT, network, samples
from oracle import agree, same, variables

import tinynet
from tinynet import backend
from tinynet.layers import Dense, Dropout
from tinynet.models import load_model

pytestmark = pytest.mark.computes

X, _, ROWS = samples(np.random.default_rng(11), 48, (2, 3), 4)
ROWS = ROWS.astype("float32")


@pytest.fixture(params=["tinynet to Keras", "Keras to tinynet"])
def libraries(request, keras):
    """The library that saves and the one that loads."""
    return (tinynet, keras) if request.param == "tinynet to Keras" else (keras, tinynet)


def fit(model, epochs=1):
    """Train in order, so that both libraries see the same batches."""
    return model.fit(X, ROWS, 8, epochs=epochs, shuffle=False, verbose=0)


def reloaded(model, folder, library=tinynet, **given):
    """Save `model`, and return what the library loads."""
    model.save(folder / "m.keras")
    return library.models.load_model(folder / "m.keras", **given)


def compiled(lib, stack=(), *, inputs=(2, 3), frozen=(), loss=ONE_HOT, optimizer="adam", **given):
    """Return a model of both libraries; `frozen` is the numbers of layers, or "all"."""
    layers = lib.layers
    stack = stack or (layers.Flatten(), layers.Dense(5, "sigmoid", name="first"), (4, "softmax"))
    model = network(*stack, library=lib, inputs=inputs)
    for part in [model] if frozen == "all" else [model.layers[number] for number in frozen]:
        part.trainable = False
    model.compile(optimizer, loss, **{"metrics": ["acc"], **given})
    return model


def models(lib):
    """Arguments of `compiled`."""
    layers, losses, optimizers, metrics = lib.layers, lib.losses, lib.optimizers, lib.metrics
    every_kind = [
        layers.Dense(5, "relu", kernel_regularizer="l2", kernel_initializer="he_normal"),
        layers.Activation("tanh"),
        layers.Dropout(0.0, seed=1),
        layers.Flatten("channels_first"),
        layers.Dense(6, use_bias=False, kernel_initializer=lib.initializers.Constant(0.1)),
        layers.Dense(4, kernel_regularizer=lib.regularizers.L2(0.001)),
        layers.Activation("softmax"),
    ]
    smoothed = losses.CategoricalCrossentropy(label_smoothing=0.1)
    decay = optimizers.Adam(0.01, 0.8, 0.99, 1e-5, amsgrad=True, weight_decay=0.1)
    right = [metrics.CategoricalAccuracy(name="right"), "mse"]
    as_functions = losses.categorical_crossentropy, [metrics.categorical_accuracy]
    return {
        "all kinds of layers": {"stack": every_kind},
        "Adam with amsgrad and decay": {"optimizer": decay},
        "a frozen layer": {"frozen": [1]},
        "all layers frozen": {"frozen": "all"},
        "built from data": {"inputs": None},
        "SGD": {"optimizer": "sgd"},
        "Nesterov": {"optimizer": optimizers.SGD(0.1, momentum=0.9, nesterov=True)},
        "objects": {"loss": smoothed, "metrics": right},
        "configurations": {"loss": AS_CONFIG if lib is tinynet else smoothed},  # not in Keras
        "functions": {"loss": as_functions[0], "metrics": as_functions[1]},
    }


AS_CONFIG = {"class_name": "CategoricalCrossentropy", "config": {"label_smoothing": 0.1}}
MODELS = list(models(tinynet))
DEEP = [*MODELS[:2], *(pytest.param(kind, marks=pytest.mark.long) for kind in MODELS[2:])]
without_weights = pytest.mark.filterwarnings("ignore:.*any trainable weights")


@pytest.mark.host
@without_weights
@pytest.mark.parametrize("kind", DEEP)
def test_training_continues_identically_in_the_other_library(libraries, tmp_path, kind):
    """Three epochs in one library and three in the other give the same as six in one."""
    here, there = libraries
    model, path = compiled(here, **models(here)[kind]), str(tmp_path / "a.weights.h5")
    fit(model, epochs=3)
    other = reloaded(model, tmp_path, there)
    pair = model, other
    agree(model.get_weights(), other.get_weights())
    assert [x.trainable for x in model.layers] == [x.trainable for x in other.layers]
    agree(*map(variables, pair), rtol=2e-7, atol=1e-30)
    agree(*(m.evaluate(X, ROWS, verbose=0) for m in pair), rtol=1e-6)

    agree(*(fit(m, epochs=3) for m in pair), rtol=2e-6)
    # The required bound is 1e-5.
    agree(*(m.get_weights() for m in pair), rtol=1e-7, atol=2e-6)

    fit(model)  # so that the files of weights alone differ
    model.save_weights(path)
    other.load_weights(path)
    agree(*(m.get_weights() for m in pair))
    agree(*map(variables, pair), rtol=2e-7, atol=1e-30)


def comparable(config):
    """Return a part of a configuration without what Keras writes in more than one way."""
    if config.get("class_name") == "function":  # written with its module, or only its name
        return config["config"]
    # Keras resolves "auto" at once, and omits `build_config` for layers that are not built.
    left_out = ("shared_object_id", "jit_compile", "build_config")
    return {name: value for name, value in config.items() if name not in left_out}


@pytest.mark.host  # Keras does not read whether a whole model is frozen
@pytest.mark.parametrize("kind", [kind for kind in MODELS if kind != "all layers frozen"])
def test_configurations_are_exchangeable_between_the_libraries(libraries, kind):
    here, there = libraries
    model = compiled(here, **models(here)[kind])
    other = there.models.model_from_json(model.to_json())
    configs = [json.loads(m.to_json(), object_hook=comparable) for m in (other, model)]
    assert configs[0] == configs[1]
    assert configs[0].get("compile_config")


@without_weights
@pytest.mark.parametrize("kind", MODELS)
def test_a_loaded_model_equals_the_saved_one(tmp_path, kind):
    model = compiled(tinynet, **models(tinynet)[kind])
    fit(model, epochs=2)
    before = backend.generator().bit_generator.state
    twin = reloaded(model, tmp_path)
    assert backend.generator().bit_generator.state == before  # no random number was drawn
    assert twin.get_config() == model.get_config()
    agree(variables(model), variables(twin), rtol=2e-7)
    assert_array_equal(twin.predict(X, verbose=0), model.predict(X, verbose=0))
    assert all(weight.base is twin.flat for weight in twin.trainable_weights)
    losses = [fit(m, epochs=2).history["loss"] for m in (model, twin)]
    assert_allclose(losses[0], losses[1], rtol=1e-6)


MISMATCHES = [("adam", False, "has not begun training"), ("sgd", True, "'sgd' does not match")]


@pytest.mark.parametrize(("optimizer", "trained", "words"), MISMATCHES)
def test_without_a_matching_optimizer_only_weights_are_loaded(tmp_path, optimizer, trained, words):
    model, other = compiled(tinynet), compiled(tinynet, optimizer=optimizer)
    for one in [model, other] if trained else [model]:
        fit(one)
    before = other.optimizer.iterations
    model.save_weights(tmp_path / "a.weights.h5")
    with pytest.warns(UserWarning, match=f"Only the weights were loaded.*{words}"):
        other.load_weights(tmp_path / "a.weights.h5")
    agree(model.get_weights(), other.get_weights())
    assert (other.optimizer.iterations, other.optimizer.built) == (before, trained)


def test_the_state_of_an_optimizer_is_skipped_if_a_layer_was_frozen_after_training(keras, tmp_path):
    model = compiled(keras)
    fit(model)
    model.layers[1].trainable = False
    with pytest.warns(UserWarning, match="does not fit Adam and these weights"):
        other = reloaded(model, tmp_path)
    assert other.optimizer.iterations == 0
    fit(other)


@pytest.mark.host
def test_untrained_and_uncompiled_models(libraries, tmp_path):
    here, there = libraries
    plain = reloaded(network((4,), inputs=(3,), library=here), tmp_path, there)
    assert getattr(plain, "optimizer", None) is None
    fit(reloaded(compiled(here), tmp_path, there))


@pytest.mark.host
def test_float64_and_unbuilt_models(tmp_path):
    tinynet.config.set_floatx("float64")
    model = compiled(tinynet)
    twin = reloaded(model, tmp_path)
    agree(model.get_weights(), twin.get_weights())
    tinynet.config.set_floatx("float32")
    with pytest.raises(ValueError, match=r'Write: tinynet.config.set_floatx\("float64"\)'):
        load_model(tmp_path / "m.keras")
    with pytest.warns(UserWarning, match="not yet been built"):
        assert not reloaded(tinynet.Sequential([Dense(3)]), tmp_path).built


# User-defined parts


class Scale(networks.Scale):
    """Its first weight is not trainable, and `build` writes into the other."""

    def build(self, input_shape):
        self.add_weight((2,), "zeros", trainable=False, name="seen")
        self.add_weight(input_shape[-1:], "ones", name="scale")
        self.scale[...] = 2


Huge = type("Huge", (tinynet.losses.MeanSquaredError,), {})
Plain = type("Plain", (tinynet.optimizers.SGD,), {})


def half(z):
    return z * 0.5


tinynet.activations.backward_of(half)(lambda gradient, a: gradient * 0.5)


def spread(y_true, y_pred):
    return (y_pred - y_true).max(axis=-1)


OWN = {"Scale": Scale, "Huge": Huge, "Plain": Plain, "half": half, "spread": spread}


def test_user_defined_parts_are_found_in_custom_objects(tmp_path):
    given = {"loss": Huge(), "metrics": [spread], "optimizer": Plain(0.1, momentum=0.9)}
    model = compiled(tinynet, [tinynet.layers.Flatten(), Scale(), (4, half)], **given)
    fit(model)
    twin = reloaded(model, tmp_path, custom_objects=OWN)
    assert type(twin.layers[1]) is Scale
    assert (type(twin.optimizer), type(twin.loss)) == (Plain, Huge)
    agree(model.get_weights(), twin.get_weights())
    assert fit(model).history == fit(twin).history
    # The names are known only within that call, and a class that is not a layer is refused.
    for given, words in (
        (None, r"received Scale \('scale'\) in .*custom_objects="),
        ({**OWN, "Scale": dict}, "Expected 'Scale' to be a layer, a class derived"),
        (["Dense"], "Expected custom_objects to be a dictionary"),
    ):
        with pytest.raises(ValueError, match=words):
            load_model(tmp_path / "m.keras", custom_objects=given)
    config = model.get_config()
    assert tinynet.Sequential.from_config(config, custom_objects=OWN).get_config() == config


# Parts that tinynet does not have


def dense(**settings):
    return lambda k: network(k.layers.Dense(2, **settings), inputs=(3,), library=k)


def convolutional(k):
    layers = k.layers.Conv2D(2, 3, name="edges"), k.layers.MaxPooling2D(), k.layers.Flatten()
    return network(*layers, inputs=(8, 8, 1), library=k)


NAMED = r"received Conv2D \('edges'\), MaxPooling2D \('max_pooling2d.*'\) in .*m.keras"
IN_DENSE, NOT_HERE = r"received Dense '\w+' in .*m.keras .*", "which Keras supports, but tinynet d"
UNSUPPORTED = [
    (convolutional, rf"has \(Activation, Dense, .*{NAMED}"),
    (dense(activation="gelu"), f"{IN_DENSE}activation function identifier: gelu"),
    (dense(bias_constraint="non_neg"), f"{IN_DENSE}bias_constraint=.*{NOT_HERE}"),
    (lambda k: compiled(k, loss="huber"), "loss identifier: huber"),
    (lambda k: compiled(k, optimizer=k.optimizers.Adam(use_ema=True)), f"use_ema=.*{NOT_HERE}"),
]


@pytest.mark.host
@pytest.mark.parametrize(("make", "words"), UNSUPPORTED, ids=range(5))
def test_what_tinynet_does_not_support_is_named_in_the_error(keras, tmp_path, make, words):
    """Compile settings can be left out."""
    model = make(keras)
    left_out = getattr(model, "optimizer", None) is not None
    with pytest.raises(ValueError, match=words + r".*load_model\(…, compile=False\)" * left_out):
        reloaded(model, tmp_path)
    if left_out:
        twin = load_model(tmp_path / "m.keras", compile=False)
        assert twin.optimizer is None
        agree(model.get_weights(), twin.get_weights())


# Wrong arguments

KERAS, H5 = 'Received: .*Write: "m.keras"', 'Received: .*Write: "m.weights.h5"'
WRONG = [
    ("save", ["m", "m.h5", "m.weights.h5", "m.json", b"m", "m.keras/"], {}, KERAS),
    ("save", ["M.KERAS"], {}, 'Received: .*Write: "M.keras"'),
    ("save", [".keras", None, 3], {}, 'eceived: .*Write: "model.keras"'),
    ("save", ["m.keras"], {"zipped": False}, "zipped"),
    ("load", ["m.weights.h5"], {}, f"{KERAS} .*save_weights, load_weights"),
    ("load", ["m.h5"], {}, rf"{KERAS} .*keras.models.load_model\(old\)"),
    ("load", ["m.keras"], {}, "File not found: filepath="),
    ("load", ["m.keras"], {"safe_mode": False}, "Expected safe_mode=True, received: False"),
    ("save_weights", ["m", "m.h5", "m.weights"], {}, H5),
]


@pytest.mark.host
def test_a_wrong_file_name_gets_the_right_one_suggested(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, unbuilt = compiled(tinynet), tinynet.Sequential([Dense(3)])
    for method, names, settings, words in WRONG:
        for name in names:
            with pytest.raises(ValueError, match=words):
                (load_model if method == "load" else getattr(model, method))(name, **settings)
    for method, words in (("load_weights", "is not built"), ("save_weights", "not yet been built")):
        with pytest.raises(ValueError, match=words):
            getattr(unbuilt, method)("m.weights.h5")
    with pytest.raises(FileNotFoundError, match="but there is no m"):
        model.load_weights("m.weights.h5")
    assert not list(tmp_path.iterdir())


@pytest.mark.host
def test_without_h5py_the_error_says_what_to_install(tmp_path, monkeypatch):
    model = network((4,), inputs=(3,))
    model.save(tmp_path / "m.keras")
    monkeypatch.setitem(sys.modules, "h5py", None)
    for call in (model.save, load_model):
        with pytest.raises(ImportError, match="Write: python -m pip install h5py"):
            call(tmp_path / "m.keras")


# On disk


@pytest.mark.host
def test_a_keras_file_has_the_same_parts_as_one_written_by_keras(keras, tmp_path):
    def program(lib):
        path = tmp_path / f"{lib.__name__}.keras"
        compiled(lib).save(path)
        with zipfile.ZipFile(path) as archive:
            version = json.loads(archive.read("metadata.json"))["keras_version"]
            assert version == keras.__version__ == tinynet.saving.KERAS_VERSION
            return {(x.filename, x.compress_type) for x in archive.infolist()}

    same(keras, program)


@pytest.fixture(params=[("save", "m.keras"), ("save_weights", "m.weights.h5")])
def save(request, tmp_path):
    """A function that saves a model in a file of either kind, in a new folder."""
    method, name = request.param
    path, write = tmp_path / "deep" / "folder" / name, getattr(compiled(tinynet), method)
    return lambda **given: write(path, **given) or path


@pytest.mark.host
@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_save_that_fails_or_may_not_overwrite_leaves_the_old_file_intact(save, moment):
    path = save(overwrite=False)
    before = path.read_bytes()
    with at(moment, 1, press_ctrl_c), pytest.raises(KeyboardInterrupt):
        save()
    with pytest.raises(FileExistsError, match="Write: overwrite=True"):
        save(overwrite=False)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.host
def test_a_file_is_flushed_then_replaced_with_its_permissions_and_without_old_drafts(save):
    path = save()
    path.chmod(0o600)
    mode = path.stat().st_mode  # Windows has fewer permission bits
    old, young = (path.with_name(f".{path.name}.{n}.draft") for n in ("0123abcd", "4567abcd"))
    other = path.with_name(".n.keras.0123abcd.draft")
    for draft in (old, young, other):  # of killed programs
        draft.touch()
        os.utime(draft, None if draft == young else (0, 0))
    done = mock.Mock(fsync=mock.Mock(wraps=os.fsync), replace=mock.Mock(wraps=os.replace))
    with mock.patch.multiple(os, fsync=done.fsync, replace=done.replace):
        save()
    folder = ["fsync"] * (os.name == "posix")
    assert [name for name, *_ in done.mock_calls] == ["fsync", "replace", *folder]
    assert path.stat().st_mode == mode
    assert set(path.parent.iterdir()) == {young, other, path}


@pytest.mark.host
@pytest.mark.skipif(os.name != "posix", reason="on Windows, links need special rights")
def test_saving_to_a_symbolic_link_keeps_the_link(save):
    path = save()
    there = path.rename(path.with_name("there.keras"))
    path.symlink_to(there.name)
    there.write_bytes(b"")
    save()
    assert path.is_symlink()
    assert there.read_bytes()


@pytest.mark.host
def test_layers_without_weights_may_differ(tmp_path):
    """As in Keras, layers without weights are not compared."""
    one = network((3,), Dropout(0.5), inputs=(3,))
    other = network(Dense(3, name="else"), inputs=(3,))
    one.save_weights(tmp_path / "a.weights.h5")
    other.load_weights(tmp_path / "a.weights.h5")  # a warning would be an error
    assert_array_equal(other.get_weights()[0], one.get_weights()[0])
