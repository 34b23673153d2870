"""Configurations derived from constructors, and parts made from names and configurations."""

import inspect

import numpy as np
import pytest

import tinynet
from tinynet import activations, initializers, layers, losses, metrics, optimizers, regularizers
from tinynet.compat import arguments
from tinynet.compat.configuration import Configurable

PARTS = [
    initializers.Zeros(),
    initializers.Constant(3.0),
    initializers.RandomUniform(-1, 2, seed=3),
    initializers.TruncatedNormal(1, 0.1, seed=4),
    initializers.VarianceScaling(2.0, "fan_out", "uniform", seed=5),
    initializers.HeNormal(seed=6),
    regularizers.L2(0.3),
    layers.Flatten("channels_first", name="f"),
    layers.Dense(3, "relu", False, "he_normal", "ones", regularizers.L2(0.2), trainable=False),
    layers.Activation("tanh", dtype="float64"),
    layers.Dropout(0.25, seed=7),
    layers.Input((3, 4), name="i"),
    losses.CategoricalCrossentropy(True, 0.1, reduction="sum"),
    losses.SparseCategoricalCrossentropy(True, name="s"),
    losses.MeanSquaredError("mean"),
    metrics.CategoricalAccuracy("c"),
    metrics.BinaryAccuracy("b", threshold=0.3),
    optimizers.SGD(0.1, 0.9, True, weight_decay=0.2, name="sgd"),
    optimizers.Adam(0.2, 0.8, 0.9, 1e-5, True, name="adam"),
]
MODULES = {
    "initializers": initializers,
    "regularizers": regularizers,
    "layers": layers,
    "losses": losses,
    "metrics": metrics,
    "optimizers": optimizers,
}
PART = pytest.mark.parametrize("part", PARTS, ids=lambda part: type(part).__name__)


@PART
def test_a_configuration_recreates_its_part(part):
    config = part.get_config()
    again = type(part).from_config(config)
    assert again is not part
    assert again.get_config() == config
    module = MODULES[type(part).__module__.partition(".")[2]]
    assert module.get(module.serialize(part)).get_config() == config


@PART
def test_a_configuration_has_the_keys_of_keras(keras, part):
    theirs = getattr(keras, type(part).__module__.partition(".")[2])
    config = part.get_config()
    again = getattr(theirs, type(part).__name__).from_config(dict(config))
    expected, received = (set(found) - {"seed"} for found in (again.get_config(), config))
    # Keras omits an optimizer's unset arguments, and writes additional ones of a layer.
    assert received - expected <= {
        "dtype",
        "weight_decay",
        *getattr(type(part).__init__, "unsupported", ()),
    }
    assert expected - received <= {"dtype", *getattr(type(part).__init__, "unsupported", ())}


def test_every_argument_is_an_attribute_or_only_in_keras():
    """Otherwise `get_config` would silently omit it."""
    for part in PARTS:
        of_model = {"input_shape", "input_dim"} if isinstance(part, tinynet.Layer) else set()
        names = set(type(part).__init__.names) - of_model
        missing = {name for name in names if not hasattr(part, name)}
        assert missing <= arguments.extra_config(type(part)).keys()
        assert names - missing <= part.get_config().keys()


class Steep(layers.Dense):
    """A user-defined layer that does not define `get_config`."""


class Shifted(initializers.Constant):
    def __init__(self, value, by=0):
        super().__init__(value)
        self.by = by

    def get_config(self):
        return {**super().get_config(), "by": self.by}


def test_a_user_defined_subclass_inherits_the_configuration():
    steep = Steep(2, "tanh", name="steep")
    assert steep.get_config() == layers.Dense(2, "tanh", name="steep").get_config()
    assert Shifted(1.0, 2).get_config() == {"value": 1.0, "by": 2}
    found = layers.serialize(steep)
    assert (found["module"], found["registered_name"]) == (None, "Steep")


def test_a_user_defined_activation_is_serialized_as_a_function():
    def bent(z):
        return z

    assert layers.Dense(1, activations.tanh).get_config()["activation"] == "tanh"
    assert layers.Dense(1, bent).get_config()["activation"]["config"] == "bent"
    assert activations.serialize(bent)["class_name"] == "function"


@pytest.mark.parametrize(
    ("module", "name", "check"),
    [
        (activations, "sigmoid", lambda f: f([0.0]) == 0.5),
        (initializers, "zeros", lambda draw: not draw((2,)).any()),
        (regularizers, "l2", lambda r: r.l2 == 0.01),
        (losses, "categorical_crossentropy", lambda f: f.__name__ == "categorical_crossentropy"),
        (metrics, "categorical_accuracy", lambda m: m.name == "categorical_accuracy"),
        (optimizers, "adam", lambda o: o.learning_rate == float(np.float32(0.001))),
    ],
)
def test_get_finds_a_part_by_its_name(module, name, check):
    found = module.get(name)
    assert check(found)
    assert module.get(found) is found
    with pytest.raises(ValueError, match=f"Did you mean '{name}'"):
        module.get(name + "x")


@pytest.mark.parametrize("module", [activations, optimizers, layers, metrics])
def test_get_refuses_unknown_identifiers(module):
    with pytest.raises(ValueError, match=r"Could not interpret .* identifier: 3 "):
        module.get(3)
    with pytest.raises(ValueError, match="identifier"):
        module.get({"class_name": "Nothing"})


def test_get_of_none_is_none_or_linear_or_refused():
    assert initializers.get(None) is regularizers.get(None) is losses.get(None) is None
    assert activations.get(None) is activations.linear
    for module in (optimizers, layers, metrics):
        with pytest.raises(ValueError, match="Could not interpret"):
            module.get(None)


def test_get_of_a_class_returns_an_instance():
    assert isinstance(optimizers.get(optimizers.SGD), optimizers.SGD)
    assert isinstance(losses.get(losses.MeanSquaredError), losses.MeanSquaredError)
    assert issubclass(layers.Layer, Configurable)


def test_the_complete_configuration_of_a_layer():
    """The arguments of every layer come first, then the layer's own, then those only Keras has."""
    config = layers.Dense(3, "relu", kernel_initializer="he_normal", name="d").get_config()
    drawn = {"seed": None, "input_axes": None, "output_axes": None}
    names = {"module": "keras.initializers", "registered_name": None}
    assert config == {
        "name": "d",
        "trainable": True,
        "dtype": {
            "module": "keras",
            "class_name": "DTypePolicy",
            "config": {"name": "float32"},
            "registered_name": None,
        },
        "units": 3,
        "activation": "relu",
        "use_bias": True,
        "kernel_initializer": {**names, "class_name": "HeNormal", "config": drawn},
        "bias_initializer": {**names, "class_name": "Zeros", "config": {}},
        "kernel_regularizer": None,
        "bias_regularizer": None,
        "kernel_constraint": None,
        "bias_constraint": None,
        "quantization_config": None,
    }
    assert list(config)[:5] == ["name", "trainable", "dtype", "units", "activation"]


class LeCunNormal(initializers.VarianceScaling):
    def __init__(self, seed=None, **unsupported):
        super().__init__(1.0, "fan_in", "truncated_normal", seed, **unsupported)


def test_a_subclass_of_variance_scaling_omits_the_arguments_that_it_fixes():
    config = LeCunNormal(3).get_config()
    assert config == {"seed": 3, "input_axes": None, "output_axes": None}
    assert LeCunNormal.from_config(config).get_config() == config
    assert initializers.VarianceScaling().get_config().keys() >= {"scale", "mode", "distribution"}


@pytest.mark.parametrize(
    "wrong", [{"scale": 0}, {"mode": "all"}, {"distribution": "none"}, {"input_axes": 1}], ids=str
)
def test_an_initializer_that_is_refused_draws_no_seed(wrong):
    generator = tinynet.backend.generator()
    before = generator.bit_generator.state
    with pytest.raises(ValueError, match=next(iter(wrong))):
        initializers.VarianceScaling(**wrong)
    assert generator.bit_generator.state == before


class Counts(metrics.Metric):
    """A metric that sets `dtype` to a type that is not part of its configuration."""

    def __init__(self, name="counts", dtype=None):
        super().__init__(name, dtype)
        self.dtype = np.int64


def test_the_configuration_of_a_metric_has_the_dtype_of_keras():
    config = Counts().get_config()
    assert config == {"name": "counts", "dtype": "float32"}
    assert Counts.from_config(config).name == "counts"


@pytest.mark.parametrize("name", ["trainable", "input_shape", "activity_regularizer", "foo"])
def test_input_takes_no_argument_of_other_layers(name):
    with pytest.raises(ValueError, match=f"passed to Input: .*{name}"):
        layers.Input((3,), **{name: None})


class Dropout(tinynet.Layer):
    """A user-defined layer with the name of one of tinynet's layers."""


def test_a_user_defined_class_does_not_get_the_arguments_of_its_namesake():
    with pytest.raises(ValueError, match="noise_shape"):
        Dropout(noise_shape=None)


def test_a_custom_object_is_called_where_an_instance_is_expected():
    with tinynet.compat.naming.custom_objects({"mine": lambda: initializers.Constant(2.0)}):
        assert initializers.get("mine").value == 2.0
    with tinynet.compat.naming.custom_objects({"mine": abs, "own": Shifted}):
        assert activations.get("mine") is abs
        assert losses.get("mine") is abs
        with pytest.raises(TypeError):
            initializers.get("own")


class Own(initializers.RandomNormal):
    def __init__(self, seed=None):
        super().__init__(0.0, 1.0, seed)
        self.seed = seed


class Ones(initializers.HeNormal):
    def generator(self):
        return np.random.default_rng(1)


class Tagged:
    def __init_subclass__(cls, tag=None, **further):
        super().__init_subclass__(**further)
        cls.tag = tag


class Bound(layers.Dense, Tagged, tag=3, units=2):
    """A layer that fixes `units` and passes `tag` on to another base class."""


def test_a_class_may_fix_arguments_of_its_base():
    layer = Bound("relu", name="b")
    assert (layer.units, layer.tag, layer.name) == (2, 3, "b")
    assert "units" not in inspect.signature(Bound).parameters
    with pytest.raises(ValueError, match=r"Unrecognized.*units"):
        Bound(units=3)
    with pytest.raises(TypeError, match=r"unexpected|takes no keyword"):
        type("Wrong", (layers.Dense,), {}, no_argument=1)


def test_arguments_fixed_by_a_class_cannot_be_passed():
    for call in (lambda: initializers.Zeros(value=3), lambda: initializers.Ones(3)):
        with pytest.raises(TypeError, match="argument"):
            call()
    with pytest.raises(ValueError, match="Unrecognized"):
        initializers.HeNormal(scale=3)


def test_one_seed_is_drawn_per_initializer_and_none_for_refused_calls():
    generator = tinynet.backend.generator()
    before = generator.bit_generator.state
    with pytest.raises(TypeError, match="units"):
        layers.Dense()
    assert generator.bit_generator.state == before
    Own()
    after = generator.bit_generator.state
    generator.bit_generator.state = before
    generator.integers(2**31)
    assert generator.bit_generator.state == after


def test_a_user_defined_generator_of_an_initializer_is_used():
    assert Ones(seed=2)((3, 3)).tolist() == initializers.HeNormal(seed=1)((3, 3)).tolist()
