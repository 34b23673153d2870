"""Files have only names of user-defined parts: no part of tinynet takes the place of one of them.

And the weights of layers inside layers have their places in a file, those of Keras.
"""

import json
import zipfile

import numpy as np
import pytest
from networks import network
from oracle import agree

import tinynet
from tinynet import initializers, layers, losses, metrics, optimizers, regularizers
from tinynet.models import load_model, model_from_json

pytestmark = pytest.mark.computes

RNG = np.random.default_rng(5)
X = RNG.normal(size=(9, 4)).astype("float32")
Y = X.sum(axis=1, keepdims=True)


def tanh(z):
    return 1.7 * tinynet.backend.xp.tanh(z)


def binary_accuracy(y_true, y_pred):
    return abs(y_true - y_pred).mean(axis=-1)


def tripled(kind, method):
    """Return a subclass of `kind`, with its name, whose method returns three times as much."""

    def three_times(self, *given, **named):
        return 3 * getattr(kind, method)(self, *given, **named)

    return type(kind.__name__, (kind,), {method: three_times, "__module__": "__main__"})


def shadow(name):
    """Return a user-defined part with the name of one of tinynet's, and a model that has it."""
    stack, compiled = {}, {"loss": "mse", "optimizer": "sgd"}
    if name == "tanh":
        part, stack = tanh, {"activation": tanh}
    elif name == "binary_accuracy":
        part, compiled["metrics"] = binary_accuracy, [binary_accuracy]
    elif name == "MeanSquaredError":
        part = tripled(losses.MeanSquaredError, "call")
        compiled["loss"] = part()
    elif name == "BinaryAccuracy":
        part = tripled(metrics.BinaryAccuracy, "result")
        compiled["metrics"] = [part()]
    elif name == "SGD":
        part = tripled(optimizers.SGD, "slot_units")
        compiled["optimizer"] = part(0.1)
    elif name == "L2":
        part = tripled(regularizers.L2, "__call__")
        stack = {"kernel_regularizer": part(0.1)}
    elif name == "Ones":
        part = tripled(initializers.Ones, "draw")
        stack = {"bias_initializer": part()}
    elif name == "Sequential":
        part = tripled(tinynet.Sequential, "forward")
    else:
        part = tripled(getattr(layers, name), "forward")
    own = [part()] if name == "Flatten" else [part(3)] if name == "Dense" else []
    kind = part if name == "Sequential" else tinynet.Sequential
    model = kind([tinynet.Input((4,)), *own, layers.Dense(1, **stack)])
    model.compile(**compiled)
    return part, model


SHADOWS = ["tanh", "binary_accuracy", "MeanSquaredError", "BinaryAccuracy", "SGD", "L2", "Ones"]
SHADOWS += ["Sequential", "Flatten", "Dense"]


@pytest.mark.parametrize("name", SHADOWS)
def test_a_user_defined_part_is_loaded_only_from_custom_objects(name, tmp_path):
    part, model = shadow(name)
    path, config = tmp_path / "model.keras", model.get_config()
    model.save(path)
    loads = [lambda **own: load_model(path, **own)]
    loads.append(lambda **own: model_from_json(model.to_json(), **own))
    if name in ("tanh", "L2", "Ones", "Flatten", "Dense"):
        loads.append(lambda **own: tinynet.Sequential.from_config(config, **own))
    for load in loads:
        with pytest.raises(ValueError, match=f"{name}.*custom_objects"):
            load()
        twin = load(custom_objects={name: part})
        if load is loads[0]:
            agree(twin.predict(X, verbose=0), model.predict(X, verbose=0))
            assert twin.evaluate(X, Y, verbose=0) == model.evaluate(X, Y, verbose=0)


def test_functions_of_keras_are_found_and_those_of_older_files_are_not(keras, tmp_path):
    theirs = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, keras.activations.tanh)])
    theirs.compile("sgd", keras.losses.mean_squared_error, metrics=[keras.metrics.binary_accuracy])
    theirs.save(tmp_path / "theirs.keras")
    model = load_model(tmp_path / "theirs.keras")
    assert model.loss == "mean_squared_error"
    agree(model.predict(X, verbose=0), theirs.predict(X, verbose=0), atol=1e-6)

    _, model = shadow("binary_accuracy")
    model.save(tmp_path / "new.keras")
    with zipfile.ZipFile(tmp_path / "new.keras") as new:
        parts = {name: new.read(name) for name in new.namelist()}
    config = json.loads(parts["config.json"])
    config["compile_config"]["metrics"][0]["registered_name"] = "function"  # as in 0.1.0
    parts["config.json"] = json.dumps(config)
    with zipfile.ZipFile(tmp_path / "old.keras", "w") as old:
        for name, part in parts.items():
            old.writestr(name, part)
    with pytest.raises(ValueError, match=r"binary_accuracy.*custom_objects"):
        load_model(tmp_path / "old.keras")


def test_keras_loads_a_function_of_a_users_own_by_its_name(keras, tmp_path):
    model = network((3, tanh), (1,), inputs=(4,), loss="mse")
    model.save(tmp_path / "model.keras")
    objects = {"tanh": lambda z: 1.7 * keras.ops.tanh(z)}
    theirs = keras.models.load_model(tmp_path / "model.keras", custom_objects=objects)
    agree(theirs.predict(X, verbose=0), model.predict(X, verbose=0), atol=1e-6)


# Weights inside


class Pair(tinynet.Layer):
    """Two layers, one of them in a list, and a weight."""

    def __init__(self, **base):
        super().__init__(**base)
        self.one, self.others = layers.Dense(4, "tanh"), [layers.Dense(4)]

    def build(self, input_shape):
        self.add_weight((1,), "ones", name="scale")
        self.one.ensure_built(input_shape)
        self.others[0].ensure_built(input_shape)

    def forward(self, x, training=False):
        return self.scale * self.others[0].forward(self.one.forward(x))


def nested(library, own):
    inner = library.Sequential([library.layers.Dense(5, "relu"), library.layers.Dense(4)])
    deep = library.Sequential([library.Input((4,)), inner, library.layers.Dense(4, "tanh")])
    model = library.Sequential([library.Input((4,)), deep, *own, library.layers.Dense(1)])
    model.compile("adam", "mse")
    return model


def test_nested_models_are_exchanged_with_keras(keras, tmp_path):
    ours = nested(tinynet, [])
    ours.fit(X, Y, verbose=0)
    ours.save(tmp_path / "ours.keras")
    theirs = keras.models.load_model(tmp_path / "ours.keras")
    agree(theirs.predict(X, verbose=0), ours.predict(X, verbose=0), atol=1e-6)
    theirs.fit(X, Y, epochs=2, shuffle=False, verbose=0)
    theirs.save(tmp_path / "theirs.keras")
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    again = load_model(tmp_path / "theirs.keras")
    ours.fit(X, Y, epochs=2, shuffle=False, verbose=0)
    for model in (again, ours):
        for weight, right in zip(model.get_weights(), theirs.get_weights(), strict=True):
            agree(weight, right, atol=1e-5)
    assert again.optimizer.iterations == ours.optimizer.iterations
    ours.load_weights(tmp_path / "theirs.weights.h5")
    agree(ours.predict(X, verbose=0), theirs.predict(X, verbose=0), atol=1e-6)


def test_layers_inside_layers_are_saved_and_loaded(tmp_path):
    model = nested(tinynet, [Pair(), Pair()])
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    own = {"custom_objects": {"Pair": Pair}}
    twin = load_model(tmp_path / "model.keras", **own)
    other = model_from_json(model.to_json(), **own)
    other.load_weights(tmp_path / "model.weights.h5")
    for each in (twin, other):
        agree(each.predict(X, verbose=0), model.predict(X, verbose=0))
    fewer = nested(tinynet, [Pair()])
    with pytest.raises(ValueError, match="additional layer, pair_1"):
        fewer.load_weights(tmp_path / "model.weights.h5")
    fewer = nested(tinynet, [Pair(), Pair()])
    fewer.layers[1].others.clear()
    with pytest.raises(ValueError, match=r"additional layer, pair(_1)?/others/dense"):
        fewer.load_weights(tmp_path / "model.weights.h5")


# Names that meet, and models that could not be loaded again


@pytest.mark.parametrize(
    "names",
    [["Dense", "Dense", "Dense_1"], ["Dense_1", "Dense", "Dense"], ["Vars", "Dense"],
     ["Dense", "Dense_2", "Dense", "Dense", "Dense_1"]],
)  # fmt: skip
def test_classes_whose_names_meet_in_a_file_are_saved_and_loaded(names, tmp_path):
    kinds = {name: type(name, (layers.Dense,), {"__module__": "__main__"}) for name in names}
    kinds["Dense"] = layers.Dense
    stack = [kinds[name](4, "tanh", name=f"l{n}") for n, name in enumerate(names)]
    model = tinynet.Sequential([tinynet.Input((4,)), *stack, layers.Dense(1)])
    model.save(tmp_path / "m.keras")
    twin = load_model(tmp_path / "m.keras", custom_objects=kinds)
    agree(model.get_weights(), twin.get_weights())
    model.save_weights(tmp_path / "m.weights.h5")
    twin.set_weights([weight * 0 for weight in model.get_weights()])
    twin.load_weights(tmp_path / "m.weights.h5")
    agree(model.get_weights(), twin.get_weights())


def test_a_layer_in_an_attribute_named_vars_is_saved_and_loaded(tmp_path):
    class Holder(layers.Flatten):
        def __init__(self, **base):
            super().__init__(**base)
            self.vars = layers.Dense(4)

        def build(self, input_shape):
            self.add_weight((2,), "ones", name="own")
            self.vars.ensure_built(input_shape)

        def forward(self, x, training=False):
            return self.vars.forward(x, training)

    model = tinynet.Sequential([tinynet.Input((4,)), Holder()])
    model.save(tmp_path / "m.keras")
    twin = load_model(tmp_path / "m.keras", custom_objects={"Holder": Holder})
    agree(model.get_weights(), twin.get_weights())


def towers(depth):
    model = tinynet.Sequential([tinynet.Input((2,)), layers.Dense(2)])
    for _ in range(depth - 1):
        model = tinynet.Sequential([tinynet.Input((2,)), model])
    return model


def wide(count):
    return tinynet.Sequential(
        [tinynet.Input((2,)), *[layers.Activation("tanh") for _ in range(count)]]
    )


@pytest.mark.host
@pytest.mark.parametrize(
    ("make", "most"), [pytest.param(towers, 100, marks=pytest.mark.long), (wide, 999)]
)
def test_a_model_that_could_not_be_loaded_is_not_saved(make, most, tmp_path):
    path = tmp_path / "m.keras"
    make(most).save(path)
    load_model(path)
    written = path.read_bytes()
    for save in (lambda: make(most + 1).save(path), make(most + 1).to_json):
        with pytest.raises(ValueError, match=r"can be loaded again, with at most 1"):
            save()
    assert path.read_bytes() == written


@pytest.mark.host
def test_a_model_with_too_long_settings_is_not_saved(tmp_path, monkeypatch):
    monkeypatch.setattr("tinynet.saving.save.MAX_JSON_CHARACTERS", 500)
    with pytest.raises(ValueError, match=r"at most 500, received .* characters of configuration"):
        wide(3).save(tmp_path / "m.keras")
    assert not list(tmp_path.iterdir())


@pytest.mark.host
def test_the_shape_that_differs_is_shown_however_many_there_are(tmp_path):
    class Many(tinynet.Layer):
        def build(self, input_shape):
            for n in range(20):
                self.add_weight((3, 3 + (n == 12) * (self.name == "other")), name=f"w{n}")

    one, other = (tinynet.Sequential([tinynet.Input((2,)), Many(name=n)]) for n in ("one", "other"))
    one.save_weights(tmp_path / "m.weights.h5")
    with pytest.raises(ValueError, match=r"\(3, 3\).* but layer 'other' expects .*\(3, 4\)"):
        other.load_weights(tmp_path / "m.weights.h5")
