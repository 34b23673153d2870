"""Saved models: Keras opens the files that tinynet writes, and the other way round."""

import json
import os
import sys
import zipfile

import networks
import numpy as np
import pytest
from arrays import assert_allclose, assert_array_equal
from interrupted import at
from networks import ONE_HOT, network, samples
from oracle import agree, same, variables

import tinynet
from tinynet import backend
from tinynet.layers import Dense, Dropout, Flatten
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


def compiled(lib, layers=None, loss=ONE_HOT, metrics=("acc",), optimizer="adam", frozen=None):
    """Return a model of both libraries; `frozen` is the number of a layer, or "all"."""
    model = network(*(layers or stacks(lib)["plain"]), library=lib)
    if frozen is not None:
        (model if frozen == "all" else model.layers[frozen]).trainable = False
    model.compile(optimizer, loss, metrics=list(metrics))
    return model


def stacks(lib):
    layers, constant, l2 = lib.layers, lib.initializers.Constant(0.1), lib.regularizers.L2(0.001)
    end = [layers.Dense(5, "sigmoid", name="first"), layers.Dense(4, "softmax")]
    return {
        "plain": [layers.Input((2, 3)), layers.Flatten(), *end],
        "built from data": [layers.Flatten(), *end],
        "logits": [layers.Input((2, 3)), layers.Flatten(), layers.Dense(4)],
        "all kinds of layers": [
            layers.Input((2, 3)),
            layers.Dense(5, "relu", kernel_regularizer="l2", kernel_initializer="he_normal"),
            layers.Activation("tanh"),
            layers.Dropout(0.0, seed=1),
            layers.Flatten("channels_first"),
            layers.Dense(6, use_bias=False, kernel_initializer=constant),
            layers.Dense(4, kernel_regularizer=l2),
            layers.Activation("softmax"),
        ],
    }


def models(lib):
    """Arguments of `compiled`."""
    losses, optimizers, metrics = lib.losses, lib.optimizers, lib.metrics
    smoothed = losses.CategoricalCrossentropy(label_smoothing=0.1)
    of_logits = losses.CategoricalCrossentropy(from_logits=True)
    decay = optimizers.Adam(0.01, 0.8, 0.99, 1e-5, amsgrad=True, weight_decay=0.1)
    right = [metrics.CategoricalAccuracy(name="right"), "mse"]
    as_functions = losses.categorical_crossentropy, [metrics.categorical_accuracy]
    return {
        "all kinds of layers": {"layers": stacks(lib)["all kinds of layers"]},
        "Adam with amsgrad and decay": {"optimizer": decay},
        "plain": {},
        "a frozen layer": {"frozen": 1},
        "all layers frozen": {"frozen": "all"},
        "built from data": {"layers": stacks(lib)["built from data"]},
        "SGD": {"optimizer": "sgd"},
        "Nesterov": {"optimizer": optimizers.SGD(0.1, momentum=0.9, nesterov=True)},
        "objects": {"loss": smoothed, "metrics": right},
        "configurations": {"loss": AS_CONFIG if lib is tinynet else smoothed},  # not in Keras
        "functions": {"loss": as_functions[0], "metrics": as_functions[1]},
        "logits": {"layers": stacks(lib)["logits"], "loss": of_logits},
        "squared error": {"loss": "mse", "metrics": ["mse"]},
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
    model = compiled(here, **models(here)[kind])
    fit(model, epochs=3)
    other = reloaded(model, tmp_path, there)
    pair = model, other
    agree(model.get_weights(), other.get_weights())
    assert other.input_shape == model.input_shape
    assert [x.name for x in model.layers] == [x.name for x in other.layers]
    assert [x.trainable for x in model.layers] == [x.trainable for x in other.layers]
    agree(*map(variables, pair), rtol=2e-7, atol=1e-30)
    assert int(variables(other)[0]) == 18 * bool(model.trainable_weights)
    agree(*(m.evaluate(X, ROWS, verbose=0) for m in pair), rtol=1e-6)

    agree(*(fit(m, epochs=3) for m in pair), rtol=2e-6)
    # The required bound is 1e-5.
    agree(*(m.get_weights() for m in pair), rtol=1e-7, atol=2e-6)
    agree(*map(variables, pair), rtol=1e-3, atol=1e-6)


def without_addresses(config):
    """Return a configuration without what Keras writes in more than one way."""
    if isinstance(config, list):
        return [without_addresses(part) for part in config]
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == "function":  # written with its module, or only its name
        return config["config"]
    # Keras resolves "auto" at once, and omits `build_config` for layers that are not built.
    left_out = ("shared_object_id", "jit_compile", "build_config")
    return {k: without_addresses(v) for k, v in config.items() if k not in left_out}


@pytest.mark.host  # Keras does not read whether a whole model is frozen
@pytest.mark.parametrize("kind", [kind for kind in MODELS if kind != "all layers frozen"])
def test_configurations_are_exchangeable_between_the_libraries(libraries, kind):
    here, there = libraries
    model = compiled(here, **models(here)[kind])
    other = there.models.model_from_json(model.to_json())
    configs = [without_addresses(json.loads(m.to_json())) for m in (other, model)]
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
    assert type(twin) is tinynet.Sequential
    assert twin.get_config() == model.get_config()
    assert twin.name == model.name
    agree(variables(model), variables(twin), rtol=2e-7)
    assert_array_equal(twin.predict(X, verbose=0), model.predict(X, verbose=0))
    assert all(weight.base is twin.flat for weight in twin.trainable_weights)
    losses = [fit(m, epochs=2).history["loss"] for m in (model, twin)]
    assert_allclose(losses[0], losses[1], rtol=1e-6)


def test_weight_files_are_exchangeable_between_the_libraries(libraries, tmp_path):
    path = str(tmp_path / "a.weights.h5")
    model, other = map(compiled, libraries)
    fit(model)
    fit(other, epochs=2)  # once trained, it also loads the optimizer's state
    model.save_weights(path)
    other.load_weights(path)
    agree(model.get_weights(), other.get_weights())
    agree(variables(model), variables(other), rtol=2e-7, atol=1e-30)


@pytest.mark.parametrize(
    ("optimizer", "trained", "words"),
    [("adam", False, "has not begun training"), ("sgd", True, "'sgd' does not match")],
)
def test_without_a_matching_optimizer_only_weights_are_loaded(tmp_path, optimizer, trained, words):
    model, other = compiled(tinynet), compiled(tinynet, optimizer=optimizer)
    fit(model)
    if trained:
        fit(other)
    before = other.optimizer.get_config(), other.optimizer.iterations
    model.save_weights(tmp_path / "a.weights.h5")
    with pytest.warns(UserWarning, match=f"Only the weights were loaded.*{words}"):
        other.load_weights(tmp_path / "a.weights.h5")
    agree(model.get_weights(), other.get_weights())
    assert (other.optimizer.get_config(), other.optimizer.iterations) == before
    assert other.optimizer.built == trained


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
    other = reloaded(here.Sequential(stacks(here)["plain"]), tmp_path, there)
    assert getattr(other, "optimizer", None) is None
    other = reloaded(compiled(here), tmp_path, there)
    assert int(variables(other)[0]) == 0
    fit(other)


@pytest.mark.host
def test_float64_and_unbuilt_models(tmp_path):
    tinynet.config.set_floatx("float64")
    twin = reloaded(compiled(tinynet), tmp_path)
    assert twin.get_weights()[0].dtype == "float64"
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


class Huge(tinynet.losses.MeanSquaredError):
    pass


class Plain(tinynet.optimizers.SGD):
    pass


def half(z):
    return z * 0.5


@tinynet.activations.backward_of(half)
def half_backward(gradient, a):
    return gradient * 0.5


def spread(y_true, y_pred):
    return (y_pred - y_true).max(axis=-1)


OWN = {"Scale": Scale, "Huge": Huge, "Plain": Plain, "half": half, "spread": spread}


def test_user_defined_parts_are_found_in_custom_objects(tmp_path):
    layers = [tinynet.Input((2, 3)), Flatten(), Scale(), Dense(4, half)]
    model = compiled(tinynet, layers, Huge(), [spread], optimizer=Plain(0.1, momentum=0.9))
    fit(model)
    twin = reloaded(model, tmp_path, custom_objects=OWN)
    assert type(twin.layers[1]) is Scale
    assert (type(twin.optimizer), type(twin.loss)) == (Plain, Huge)
    agree(model.get_weights(), twin.get_weights())
    runs = [fit(m).history for m in (model, twin)]
    assert runs[0] == runs[1]
    assert list(runs[0]) == ["loss", "spread"]
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


@pytest.mark.host
def test_keras_opens_a_user_defined_layer_with_its_keras_counterpart(keras, tmp_path):
    class Twin(keras.layers.Layer):
        def build(self, input_shape):
            self.scale = self.add_weight(shape=input_shape[-1:], initializer="ones")
            self.seen = self.add_weight(shape=(2,), trainable=False)

        def call(self, x):
            return x * self.scale

    Twin.__name__ = "Scale"  # Keras finds the layer's weights by this name
    model = network(Scale(name="mine"), (2,), inputs=(3,))
    twin = reloaded(model, tmp_path, keras, custom_objects={"Scale": Twin})
    assert_allclose(np.asarray(twin(X[:, 0])), model(X[:, 0]), atol=1e-6)


# Parts that tinynet does not have


def dense(**settings):
    return lambda k: k.Sequential([k.layers.Input((3,)), k.layers.Dense(2, **settings)])


def convolutional(k):
    layers = k.layers.Conv2D(2, 3, name="edges"), k.layers.MaxPooling2D(), k.layers.Flatten()
    return k.Sequential([k.layers.Input((8, 8, 1)), *layers, k.layers.Dense(2)])


def functional(k):
    inputs = k.Input((3,))
    return k.Model(inputs, k.layers.Dense(2)(inputs))


def falling(k):
    return k.optimizers.SGD(k.optimizers.schedules.ExponentialDecay(0.1, 9, 0.9))


NAMED = r"received Conv2D \('edges'\), MaxPooling2D \('max_pooling2d.*'\) in .*m.keras"
IN_DENSE, NOT_HERE = r"received Dense '\w+' in .*m.keras .*", "which Keras supports, but tinynet d"
UNSUPPORTED = [
    (convolutional, rf"has \(Activation, Dense, .*{NAMED}"),
    (functional, "Expected a Sequential model, received 'Functional'"),
    (dense(activation="gelu"), f"{IN_DENSE}activation function identifier: gelu"),
    (dense(kernel_regularizer="l1"), f"{IN_DENSE}regularizer identifier: L1"),
    (dense(bias_constraint="non_neg"), f"{IN_DENSE}bias_constraint=.*{NOT_HERE}"),
    (dense(kernel_initializer="orthogonal"), f"{IN_DENSE}initializer identifier: Orthogonal"),
    (lambda k: compiled(k, optimizer="rmsprop"), "optimizer identifier: RMSprop"),
    (lambda k: compiled(k, loss="mae"), "loss identifier: mae"),
    (lambda k: compiled(k, metrics=["mae"]), "metric identifier: mae"),
    (lambda k: compiled(k, optimizer=k.optimizers.Adam(clipnorm=1.0)), f"clipnorm=.*{NOT_HERE}"),
    (lambda k: compiled(k, optimizer=falling(k)), "`learning_rate` should be float"),
]


@pytest.mark.host
@pytest.mark.parametrize(("make", "words"), UNSUPPORTED, ids=range(11))
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
    ("save", [".keras"], {}, 'Received: .*Write: "model.keras"'),
    ("save", [None, 3], {}, 'received: .*Write: "model.keras"'),
    ("save", ["m.keras"], {"zipped": False}, "zipped"),
    ("load", ["m.json"], {}, KERAS),
    ("load", ["m.weights.h5"], {}, f"{KERAS} .*save_weights, load_weights"),
    ("load", ["m.h5"], {}, rf"{KERAS} .*keras.models.load_model\(old\)"),
    ("load", ["m.keras"], {}, "File not found: filepath="),
    ("load", ["m.keras"], {"safe_mode": False}, "Expected safe_mode=True, received: False"),
    ("save_weights", ["m", "m.h5", "m.weights"], {}, H5),
    ("load_weights", ["m.weights.npz"], {}, H5),
    ("load_weights", ["m.keras"], {}, rf"{H5} .*tinynet\.models\.load_model\)"),
    ("load_weights", ["m.weights.h5"], {"skip_mismatch": True}, "skip_mismatch"),
]


@pytest.mark.host
def test_a_wrong_file_name_gets_the_right_one_suggested(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = compiled(tinynet)
    for method, names, settings, words in WRONG:
        for name in names:
            with pytest.raises(ValueError, match=words):
                (load_model if method == "load" else getattr(model, method))(name, **settings)
    with pytest.raises(ValueError, match="is not built"):
        tinynet.Sequential([Dense(3)]).load_weights("m.weights.h5")
    assert not list(tmp_path.iterdir())


@pytest.mark.host
def test_without_h5py_the_error_says_what_to_install(tmp_path, monkeypatch):
    model = compiled(tinynet)
    reloaded(model, tmp_path)
    monkeypatch.setitem(sys.modules, "h5py", None)
    for call, name in (
        (model.save, "m.keras"),
        (load_model, "m.keras"),
        (model.save_weights, "m.weights.h5"),
    ):
        with pytest.raises(ImportError, match="Write: python -m pip install h5py"):
            call(tmp_path / name)


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


@pytest.fixture(params=["m.keras", "m.weights.h5"])
def save(request, tmp_path):
    """A function that saves a model in a file of either kind, in a new folder."""
    model = compiled(tinynet)
    path = tmp_path / "deep" / "folder" / request.param
    method = model.save if request.param == "m.keras" else model.save_weights

    def to_path(**given):
        method(path, **given)
        return path

    return to_path


@pytest.mark.host
def test_an_existing_file_is_kept_without_overwrite(save):
    path = save(overwrite=False)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="Write: overwrite=True"):
        save(overwrite=False)
    assert path.read_bytes() == before
    save()
    assert list(path.parent.iterdir()) == [path]


FULL = OSError(28, "No space left on device")
FAULTS = {
    "disk full while writing": ("write", FULL),
    "disk full while flushing": ("fsync", FULL),
    "no permission in the folder": ("replace", PermissionError(13, "Permission denied")),
    "Ctrl-C": ("fsync", KeyboardInterrupt()),
}


@pytest.mark.host
@pytest.mark.parametrize("fault", FAULTS)
def test_a_failed_save_leaves_the_old_file_intact(save, fault):
    moment, error = FAULTS[fault]
    path = save()
    before = path.read_bytes()

    def fail():
        raise error

    with at(moment, 1, fail), pytest.raises(type(error)):
        save()
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.host
def test_a_file_is_flushed_before_it_is_put_in_place(save):
    done = []
    with (
        at("fsync", 1, lambda: done.append("flush")),
        at("replace", 1, lambda: done.append("replace")),
        at("fsync", 2, lambda: done.append("flush the folder")),
    ):
        save()
    assert done == ["flush", "replace", "flush the folder"][: 3 if os.name == "posix" else 2]


@pytest.mark.host
@pytest.mark.skipif(os.name != "posix", reason="on Windows, links need special rights")
def test_saving_to_a_symbolic_link_keeps_the_link(tmp_path):
    there, link = tmp_path / "there" / "m.keras", tmp_path / "m.keras"
    there.parent.mkdir()
    link.symlink_to(there)
    compiled(tinynet).save(link)
    assert link.is_symlink()
    assert there.exists()


@pytest.mark.host
def test_an_overwritten_file_keeps_its_permissions(save):
    path = save()
    path.chmod(0o600)
    before = path.stat().st_mode  # Windows has fewer permission bits
    save()
    assert path.stat().st_mode == before


@pytest.mark.host
def test_old_drafts_of_killed_programs_are_removed(save):
    path = save()
    old, young = (path.with_name(f".{path.name}.{n}.draft") for n in ("0123abcd", "4567abcd"))
    other = path.with_name(".n.keras.0123abcd.draft")
    for draft in (old, young, other):
        draft.write_bytes(b"half")
        if draft != young:
            os.utime(draft, (0, 0))
    save()
    assert set(path.parent.iterdir()) == {young, other, path}


@pytest.mark.host
def test_layers_without_weights_may_differ(tmp_path):
    """As in Keras, layers without weights are not compared."""
    one = network((3,), Dropout(0.5), inputs=(3,))
    other = network(Dense(3, name="else"), inputs=(3,))
    one.save_weights(tmp_path / "a.weights.h5")
    other.load_weights(tmp_path / "a.weights.h5")  # a warning would be an error
    assert_array_equal(other.get_weights()[0], one.get_weights()[0])
