"""Saved models: Keras opens the files that tinynet writes, and the other way round."""

import json
import os
import pathlib
import warnings
import zipfile

import numpy as np
import pytest
from arrays import assert_allclose, assert_array_equal
from networks import ONE_HOT, network, samples
from oracle import agree, same, variables

import tinynet
from tinynet import backend
from tinynet.layers import Activation, Dense, Dropout, Flatten
from tinynet.utils import files

pytestmark = pytest.mark.computes

RNG = np.random.default_rng(11)
X, _, ROWS = samples(RNG, 48, (2, 3), 4)
ROWS = ROWS.astype("float32")
# Not shuffled, so that Keras sees the same batches.
IN_ORDER = {"batch_size": 8, "shuffle": False, "verbose": 0}


def layers(lib, **of_the_second):
    return [
        lib.layers.Input((2, 3)),
        lib.layers.Flatten(),
        lib.layers.Dense(5, "sigmoid", name="first"),
        lib.layers.Dense(4, "softmax", **of_the_second),
    ]


def compiled(lib, stack=None, metrics=("acc",), **compiled):
    compiled = {"loss": ONE_HOT, "metrics": list(metrics), **compiled}
    return network(*(stack or layers(lib)), library=lib, **compiled)


def frozen(lib):
    stack = layers(lib)
    stack[2].trainable = False
    return compiled(lib, stack)


def all_kinds(lib):
    return compiled(
        lib,
        [
            lib.layers.Input((2, 3)),
            lib.layers.Dense(5, "relu", kernel_regularizer="l2", kernel_initializer="he_normal"),
            lib.layers.Activation("tanh"),
            lib.layers.Dropout(0.0, seed=1),
            lib.layers.Flatten("channels_first"),
            lib.layers.Dense(6, use_bias=False, kernel_initializer=lib.initializers.Constant(0.1)),
            lib.layers.Dense(4, kernel_regularizer=lib.regularizers.L2(0.001)),
            lib.layers.Activation("softmax"),
        ],
    )


MODELS = {
    "plain": compiled,
    "all kinds of layers": all_kinds,
    "a frozen layer": frozen,
    "SGD": lambda lib: compiled(lib, optimizer="sgd"),
    "Nesterov": lambda lib: compiled(
        lib, optimizer=lib.optimizers.SGD(0.1, momentum=0.9, nesterov=True)
    ),
    "AdamW with amsgrad": lambda lib: compiled(
        lib, optimizer=lib.optimizers.Adam(0.01, 0.8, 0.99, 1e-5, amsgrad=True, weight_decay=0.1)
    ),
    "objects": lambda lib: compiled(
        lib,
        loss=lib.losses.CategoricalCrossentropy(label_smoothing=0.1),
        metrics=[lib.metrics.CategoricalAccuracy(name="right"), "mse"],
    ),
    "functions": lambda lib: compiled(
        lib,
        loss=lib.losses.categorical_crossentropy,
        metrics=[lib.metrics.categorical_accuracy],
    ),
    "logits": lambda lib: compiled(
        lib,
        [lib.layers.Input((2, 3)), lib.layers.Flatten(), lib.layers.Dense(4)],
        loss=lib.losses.CategoricalCrossentropy(from_logits=True),
    ),
    "squared error": lambda lib: compiled(lib, loss="mse", metrics=["mse"]),
}


def pairs(keras):
    return {"tinynet to Keras": (tinynet, keras), "Keras to tinynet": (keras, tinynet)}


@pytest.mark.host
@pytest.mark.parametrize("direction", ["tinynet to Keras", "Keras to tinynet"])
@pytest.mark.parametrize("kind", MODELS)
def test_training_continues_identically_in_the_other_library(keras, tmp_path, kind, direction):
    """Three epochs in one library and three in the other give the same as six in one."""
    here, there = pairs(keras)[direction]
    path = str(tmp_path / "model.keras")
    model = MODELS[kind](here)
    model.fit(X, ROWS, epochs=3, **IN_ORDER)
    model.save(path)
    other = there.models.load_model(path)
    agree(model.get_weights(), other.get_weights())
    assert [x.name for x in model.layers] == [x.name for x in other.layers]
    assert [x.trainable for x in model.layers] == [x.trainable for x in other.layers]
    agree(variables(model), variables(other), rtol=2e-7, atol=1e-30)
    assert int(variables(other)[0]) == 18
    agree(*(m.evaluate(X, ROWS, verbose=0) for m in (model, other)), rtol=1e-6)

    agree(*(m.fit(X, ROWS, epochs=3, **IN_ORDER) for m in (model, other)), rtol=2e-6)
    # The required bound is 1e-5.
    agree(model.get_weights(), other.get_weights(), rtol=1e-7, atol=2e-6)
    agree(variables(model), variables(other), rtol=1e-3, atol=1e-6)


@pytest.mark.host
@pytest.mark.parametrize("direction", ["tinynet to Keras", "Keras to tinynet"])
@pytest.mark.parametrize("kind", MODELS)
def test_configurations_are_exchangeable_between_the_libraries(keras, kind, direction):
    here, there = pairs(keras)[direction]
    model = MODELS[kind](here)
    other = there.models.model_from_json(model.to_json())

    def configuration(model):
        config = json.loads(model.to_json())
        config["compile_config"]["jit_compile"] = "auto"  # Keras resolves "auto" at once
        for layer in config["config"]["layers"]:
            layer.pop("build_config", None)  # Keras omits it for layers that are not built
        return without_addresses(config)

    assert configuration(other) == configuration(model)


def without_addresses(config):
    """Return a configuration without `shared_object_id`, Keras's number of a shared object."""
    if isinstance(config, dict):
        config = {k: without_addresses(v) for k, v in config.items() if k != "shared_object_id"}
        if (
            config.get("class_name") == "function"
        ):  # Keras writes a function with its module, or only its name
            return config["config"]
        return config
    return [without_addresses(part) for part in config] if isinstance(config, list) else config


@pytest.mark.parametrize("kind", MODELS)
def test_a_loaded_model_equals_the_saved_one(tmp_path, kind):
    model = MODELS[kind](tinynet)
    model.fit(X, ROWS, epochs=2, **IN_ORDER)
    before = backend.generator().bit_generator.state
    model.save(tmp_path / "a.keras")
    twin = tinynet.models.load_model(tmp_path / "a.keras")
    assert backend.generator().bit_generator.state == before  # no random number was drawn
    assert twin.get_config() == model.get_config()
    assert twin.name == model.name
    agree(variables(model), variables(twin), rtol=2e-7)
    assert_array_equal(twin.predict(X, verbose=0), model.predict(X, verbose=0))
    assert all(weight.base is twin.flat for weight in twin.trainable_weights)
    histories = [m.fit(X, ROWS, epochs=2, **IN_ORDER).history for m in (model, twin)]
    assert_allclose(histories[0]["loss"], histories[1]["loss"], rtol=1e-6)


def test_weight_files_are_exchangeable_between_the_libraries(keras, tmp_path):
    for here, there in pairs(keras).values():
        path = str(tmp_path / "a.weights.h5")
        model, other = compiled(here), compiled(there)
        model.fit(X, ROWS, **IN_ORDER)
        other.fit(X, ROWS, **IN_ORDER)  # once trained, it also loads the optimizer's state
        other.fit(X, ROWS, **IN_ORDER)
        model.save_weights(path)
        other.load_weights(path)
        agree(model.get_weights(), other.get_weights())
        agree(variables(model), variables(other), rtol=2e-7, atol=1e-30)


def test_an_optimizer_without_steps_stays_unbuilt_when_weights_are_loaded(tmp_path):
    model = compiled(tinynet)
    model.fit(X, ROWS, **IN_ORDER)
    model.save_weights(tmp_path / "a.weights.h5")
    other = compiled(tinynet, optimizer=tinynet.optimizers.Adam(0.5))
    with pytest.warns(UserWarning, match="Only the weights were loaded.*has not begun training"):
        other.load_weights(tmp_path / "a.weights.h5")
    assert not other.optimizer.built
    assert other.optimizer.learning_rate == 0.5


def test_the_state_of_another_optimizer_is_skipped_with_a_warning(keras, tmp_path):
    model = compiled(tinynet)
    model.fit(X, ROWS, **IN_ORDER)
    model.save_weights(tmp_path / "a.weights.h5")
    other = compiled(tinynet, optimizer="sgd")
    other.fit(X, ROWS, **IN_ORDER)
    with pytest.warns(UserWarning, match="Only the weights were loaded.* 'sgd' does not match"):
        other.load_weights(tmp_path / "a.weights.h5")
    agree(model.get_weights(), other.get_weights())
    # The same happens in a `.keras` file if a layer was frozen after training.
    model = compiled(keras)
    model.fit(X, ROWS, **IN_ORDER)
    model.layers[1].trainable = False
    model.save(tmp_path / "b.keras")
    with pytest.warns(UserWarning, match="does not fit Adam and these weights"):
        other = tinynet.models.load_model(tmp_path / "b.keras")
    assert other.optimizer.iterations == 0
    other.fit(X, ROWS, **IN_ORDER)


@pytest.mark.host
def test_models_built_from_data_are_loaded_with_their_input_shape(keras, tmp_path):
    path = str(tmp_path / "a.keras")
    for here, there in pairs(keras).values():
        stack = [here.layers.Flatten(), here.layers.Dense(4, "softmax")]
        model = compiled(here, stack)
        model.fit(X, ROWS, **IN_ORDER)
        model.save(path)
        other = there.models.load_model(path)
        assert other.input_shape == model.input_shape == (8, 2, 3)
        assert_allclose(other.predict(X[:5], verbose=0), model.predict(X[:5], verbose=0), atol=1e-6)


@pytest.mark.host
def test_float64_and_untrained_and_uncompiled_models(keras, tmp_path):
    path = str(tmp_path / "a.keras")
    for here, there in pairs(keras).values():
        here.Sequential(layers(here)).save(path)  # not compiled
        other = there.models.load_model(path)
        assert getattr(other, "optimizer", None) is None
        compiled(here).save(path)  # not trained
        other = there.models.load_model(path)
        assert int(variables(other)[0]) == 0
        other.fit(X, ROWS, **IN_ORDER)
    tinynet.config.set_floatx("float64")
    model = compiled(tinynet)
    model.fit(X, ROWS, **IN_ORDER)
    model.save(path)
    assert tinynet.models.load_model(path).get_weights()[0].dtype == "float64"
    tinynet.config.set_floatx("float32")
    with pytest.raises(ValueError, match=r'Write: tinynet.config.set_floatx\("float64"\)'):
        tinynet.models.load_model(path)
    with pytest.warns(UserWarning, match="not yet been built"):
        tinynet.Sequential([Dense(3)]).save(path)
    assert not tinynet.models.load_model(path).built


# User-defined parts


class Scale(tinynet.Layer):
    def build(self, input_shape):
        self.add_weight((2,), "zeros", trainable=False, name="seen")
        self.add_weight(input_shape[-1:], "ones", name="scale")

    def forward(self, x, training=False):
        self.x = x
        return x * self.scale

    def backward(self, gradient):
        self.scale_gradient[...] = (gradient * self.x).sum(axis=0)
        return gradient * self.scale


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
    path = tmp_path / "own.keras"
    stack = [tinynet.Input((2, 3)), Flatten(), Scale(), Dense(4, half)]
    model = compiled(tinynet, stack, [spread], optimizer=Plain(0.1, momentum=0.9), loss=Huge())
    model.fit(X, ROWS, **IN_ORDER)
    model.save(path)
    twin = tinynet.models.load_model(path, custom_objects=OWN)
    assert type(twin.layers[1]) is Scale
    assert (type(twin.optimizer), type(twin.loss)) == (Plain, Huge)
    agree(model.get_weights(), twin.get_weights())
    runs = [m.fit(X, ROWS, **IN_ORDER).history for m in (model, twin)]
    assert runs[0] == runs[1]
    assert list(runs[0]) == ["loss", "spread"]
    with pytest.raises(ValueError, match=r"received Scale \('scale'\) in .*custom_objects="):
        tinynet.models.load_model(path)
    # The names are known only within that call, and a class that is not a layer is refused.
    with pytest.raises(ValueError, match="Expected 'Scale' to be a layer, a class derived"):
        tinynet.models.load_model(path, custom_objects={**OWN, "Scale": dict})
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
    model.save(tmp_path / "own.keras")
    twin = keras.models.load_model(tmp_path / "own.keras", custom_objects={"Scale": Twin})
    x = X[:, 0]
    assert_allclose(np.asarray(twin(x)), model(x), atol=1e-6)


# Parts that tinynet does not have


def test_unsupported_layers_are_named_in_the_error(keras, tmp_path):
    path = str(tmp_path / "a.keras")
    stack = [keras.layers.Input((8, 8, 1)), keras.layers.Conv2D(2, 3, name="edges")]
    stack += [keras.layers.MaxPooling2D(), keras.layers.Flatten(), keras.layers.Dense(2)]
    keras.Sequential(stack).save(path)
    words = r"received Conv2D \('edges'\), MaxPooling2D \('max_pooling2d.*'\) in .*a.keras"
    with pytest.raises(ValueError, match=rf"has \(Activation, Dense, .*{words}"):
        tinynet.models.load_model(path)
    inputs = keras.Input((3,))
    keras.Model(inputs, keras.layers.Dense(2)(inputs)).save(path)
    with pytest.raises(ValueError, match="Expected a Sequential model, received 'Functional'"):
        tinynet.models.load_model(path)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda k: compiled(k, optimizer="rmsprop"), "optimizer identifier: RMSprop"),
        (lambda k: compiled(k, loss="mae"), "loss identifier: mae"),
        (lambda k: compiled(k, metrics=["mae"]), "metric identifier: mae"),
        (
            lambda k: compiled(k, optimizer=k.optimizers.Adam(clipnorm=1.0)),
            "clipnorm=1.0, which Keras supports, but tinynet does not",
        ),
        (
            lambda k: compiled(
                k, optimizer=k.optimizers.SGD(k.optimizers.schedules.ExponentialDecay(0.1, 9, 0.9))
            ),
            "`learning_rate` should be float",
        ),
    ],
)
def test_unsupported_compile_settings_can_be_left_out(keras, tmp_path, make, words):
    path = str(tmp_path / "a.keras")
    model = make(keras)
    model.fit(X, ROWS, **IN_ORDER)
    model.save(path)
    with pytest.raises(ValueError, match=rf"{words}.*load_model\(…, compile=False\)"):
        tinynet.models.load_model(path)
    twin = tinynet.models.load_model(path, compile=False)
    assert twin.optimizer is None
    assert_array_equal(twin.get_weights()[0], model.get_weights()[0])


def test_unsupported_parts_of_a_layer_are_named_in_the_error(keras, tmp_path):
    path = str(tmp_path / "a.keras")
    for arguments, words in (
        ({"activation": "gelu"}, "activation function identifier: gelu"),
        ({"kernel_regularizer": "l1"}, "regularizer identifier: L1"),
        (
            {"bias_constraint": "non_neg"},
            "bias_constraint=.*which Keras supports, but tinynet does not",
        ),
        ({"kernel_initializer": "orthogonal"}, "initializer identifier: Orthogonal"),
    ):
        keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2, **arguments)]).save(path)
        with pytest.raises(ValueError, match=rf"received Dense '\w+' in .*a.keras .*{words}"):
            tinynet.models.load_model(path)
    with pytest.raises(ValueError, match="Expected custom_objects to be a dictionary"):
        tinynet.models.load_model(path, custom_objects=["Dense"])


class Fills(tinynet.Layer):
    """A layer that writes into its weight in `build`."""

    def build(self, input_shape):
        self.add_weight(input_shape[-1:], "ones", name="scale")
        self.scale[...] = 2

    def forward(self, x, training=False):
        return x * self.scale


def test_a_layer_that_writes_into_its_weights_in_build_can_be_loaded(tmp_path):
    model = network(Fills(), (2,), inputs=(3,))
    model.layers[0].set_weights([[1, 2, 3]])
    model.save(tmp_path / "a.keras")
    twin = tinynet.models.load_model(tmp_path / "a.keras", custom_objects={"Fills": Fills})
    assert_array_equal(twin.get_weights()[0], [1, 2, 3])


@pytest.mark.host
def test_compile_settings_given_as_configurations_open_in_keras(keras, tmp_path):
    loss = {"class_name": "CategoricalCrossentropy", "config": {"label_smoothing": 0.1}}
    model = compiled(tinynet, loss=loss, metrics=[{"class_name": "CategoricalAccuracy"}])
    model.save(tmp_path / "a.keras")
    twin = keras.models.load_model(tmp_path / "a.keras")
    assert_allclose(twin.evaluate(X, ROWS, verbose=0), model.evaluate(X, ROWS, verbose=0), 1e-5)


@pytest.mark.host
def test_a_model_without_trainable_weights_counts_no_steps_in_either_library(keras, tmp_path):
    for here, there in pairs(keras).values():
        model = compiled(here)
        model.trainable = False
        model.compile("adam", ONE_HOT)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras warns that nothing is trainable
            model.fit(X, ROWS, **IN_ORDER)
        assert int(variables(model)[0]) == 0
        model.save(tmp_path / "a.keras")
        assert int(variables(there.models.load_model(tmp_path / "a.keras"))[0]) == 0


@pytest.mark.host
def test_a_wrong_file_name_gets_the_right_one_suggested(tmp_path):
    model = compiled(tinynet)
    load = tinynet.models.load_model
    for call, name, proposed in (
        (model.save, "m", "m.keras"),
        (model.save, "m.h5", "m.keras"),
        (model.save, "m.weights.h5", "m.keras"),
        (load, "m.weights.h5", "m.keras"),
        (load, "m.json", "m.keras"),
        (model.save_weights, "m", "m.weights.h5"),
        (model.save_weights, "m.h5", "m.weights.h5"),
        (model.load_weights, "m.keras", "m.weights.h5"),
        (model.load_weights, "m.weights.npz", "m.weights.h5"),
        (model.save, b"m", "m.keras"),
        (model.save, "m.keras/", "m.keras"),
        (model.save, "M.KERAS", "M.keras"),
        (model.save_weights, "m.weights", "m.weights.h5"),
        (model.save, ".keras", "model.keras"),
    ):
        with pytest.raises(ValueError, match=rf'Received: .*Write: "{proposed}"'):
            call(name)
    with pytest.raises(ValueError, match=r"keras.models.load_model\(old\)"):
        load("m.h5")
    with pytest.raises(ValueError, match="save_weights, load_weights"):
        load("m.weights.h5")
    with pytest.raises(ValueError, match=r"tinynet\.models\.load_model\)"):
        model.load_weights("m.keras")
    with pytest.raises(ValueError, match="File not found: filepath="):
        load(tmp_path / "m.keras")
    with pytest.raises(ValueError, match="Expected safe_mode=True, received: False"):
        load(tmp_path / "m.keras", safe_mode=False)
    with pytest.raises(ValueError, match="zipped"):
        model.save(tmp_path / "m.keras", zipped=False)
    with pytest.raises(ValueError, match="skip_mismatch"):
        model.load_weights(tmp_path / "m.weights.h5", skip_mismatch=True)
    for name in (None, 3):
        with pytest.raises(ValueError, match=r'Write: "model\.keras"'):
            model.save(name)
    assert not list(tmp_path.iterdir())


@pytest.mark.host
def test_without_h5py_the_error_says_what_to_install(tmp_path, monkeypatch):
    model, path = compiled(tinynet), tmp_path / "m.keras"
    model.save(path)
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    for call in (
        lambda: model.save(path),
        lambda: tinynet.models.load_model(path),
        lambda: model.save_weights(tmp_path / "m.weights.h5"),
    ):
        with pytest.raises(ImportError, match="Write: python -m pip install h5py"):
            call()


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


@pytest.mark.host
@pytest.mark.parametrize("method", ["save", "save_weights"])
def test_an_existing_file_is_kept_without_overwrite(tmp_path, method):
    model = compiled(tinynet)
    path = tmp_path / "deep" / "folder" / ("m.keras" if method == "save" else "m.weights.h5")
    getattr(model, method)(path, overwrite=False)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="Write: overwrite=True"):
        getattr(model, method)(path, overwrite=False)
    assert path.read_bytes() == before
    getattr(model, method)(path)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


FAULTS = {
    "disk full while writing": ("write", OSError(28, "No space left on device")),
    "disk full while flushing": ("fsync", OSError(28, "No space left on device")),
    "no permission in the folder": ("replace", PermissionError(13, "Permission denied")),
    "Ctrl-C": ("fsync", KeyboardInterrupt()),
}


class Full:
    """A file whose `write` fails after half of the data."""

    def __init__(self, file, error):
        self.file, self.error = file, error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, data):
        self.file.write(data[: len(data) // 2])
        self.file.flush()
        raise self.error


@pytest.mark.host
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("method", ["save", "save_weights"])
def test_a_failed_save_leaves_the_old_file_intact(tmp_path, monkeypatch, method, fault):
    where, error = FAULTS[fault]
    model = compiled(tinynet)
    path = tmp_path / ("m.keras" if method == "save" else "m.weights.h5")
    getattr(model, method)(path)
    before = path.read_bytes()

    def fail(*_):
        raise error

    if where == "write":
        plain = pathlib.Path.open
        monkeypatch.setattr(pathlib.Path, "open", lambda *a, **k: Full(plain(*a, **k), error))
    else:
        monkeypatch.setattr(files.os, where, fail)
    with pytest.raises(type(error)):
        getattr(model, method)(path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.host
def test_a_file_is_flushed_before_it_is_put_in_place(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(files.os, "fsync", lambda d: (done.append("flush"), fsync(d)))
    monkeypatch.setattr(files.os, "replace", lambda *a: (done.append("replace"), replace(*a)))
    compiled(tinynet).save(tmp_path / "m.keras")
    assert done[:2] == ["flush", "replace"]
    if os.name == "posix":
        assert done[2:] == ["flush"]  # the folder is flushed as well


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
def test_an_overwritten_file_keeps_its_permissions(tmp_path):
    path = tmp_path / "m.keras"
    compiled(tinynet).save(path)
    path.chmod(0o600)
    before = path.stat().st_mode  # Windows has fewer permission bits
    compiled(tinynet).save(path)
    assert path.stat().st_mode == before


@pytest.mark.host
def test_old_drafts_of_killed_programs_are_removed(tmp_path):
    old, young = (tmp_path / f".m.keras.{name}.draft" for name in ("0123abcd", "4567abcd"))
    other = tmp_path / ".n.keras.0123abcd.draft"
    for path in (old, young, other):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    os.utime(other, (0, 0))
    compiled(tinynet).save(tmp_path / "m.keras")
    assert {path.name for path in tmp_path.iterdir()} == {young.name, other.name, "m.keras"}


@pytest.mark.host
def test_weights_of_more_or_fewer_layers_are_refused(tmp_path):
    big = network((3,), (3,), inputs=(3,))
    small = network((3,), Dropout(0.5), Activation("relu"), inputs=(3,))
    big.save_weights(tmp_path / "big.weights.h5")
    small.save_weights(tmp_path / "small.weights.h5")
    with pytest.raises(ValueError, match="weights of an additional layer, dense_1"):
        small.load_weights(tmp_path / "big.weights.h5")
    with pytest.raises(ValueError, match="no layers/dense_1/vars, where the weights of layer"):
        big.load_weights(tmp_path / "small.weights.h5")
    with pytest.raises(ValueError, match="is not built"):
        tinynet.Sequential([Dense(3)]).load_weights(tmp_path / "small.weights.h5")


@pytest.mark.host
def test_layers_without_weights_may_differ(tmp_path):
    """As in Keras, layers without weights are not compared."""
    one = network((3,), Dropout(0.5), inputs=(3,))
    other = network(Dense(3, name="else"), inputs=(3,))
    one.save_weights(tmp_path / "a.weights.h5")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other.load_weights(tmp_path / "a.weights.h5")
    assert_array_equal(other.get_weights()[0], one.get_weights()[0])


@pytest.mark.host
def test_each_argument_of_load_model_has_its_effect(tmp_path):
    compiled(tinynet).save(tmp_path / "m.keras")
    load = tinynet.models.load_model
    assert load(tmp_path / "m.keras").optimizer is not None
    assert load(tmp_path / "m.keras", compile=False).optimizer is None
    with pytest.raises(ValueError, match="safe_mode"):
        load(tmp_path / "m.keras", safe_mode=False)
    with pytest.raises(ValueError, match="custom_objects"):
        load(tmp_path / "m.keras", custom_objects=3)
    assert type(load(tmp_path / "m.keras")) is tinynet.Sequential
