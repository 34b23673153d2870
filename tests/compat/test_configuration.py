"""Configurations derived from constructors, and parts made from names and configurations."""

import inspect

import numpy as np
import pytest
from oracle import same

import tinynet
from tinynet import activations, initializers, layers, losses, metrics, optimizers, regularizers
from tinynet.compat import arguments
from tinynet.compat.configuration import Configurable
from tinynet.compat.naming import custom_objects

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
PART = pytest.mark.parametrize("part", PARTS, ids=lambda part: type(part).__name__)


def same_class(library, part):
    """Return the module and the class of the same names in a library."""
    module = getattr(library, type(part).__module__.partition(".")[2])
    return module, getattr(module, type(part).__name__)


@PART
def test_a_configuration_recreates_its_part_from_its_attributes(part):
    module, kind = same_class(tinynet, part)
    config = part.get_config()
    again = kind.from_config(config)
    assert again is not part
    assert again.get_config() == config
    assert module.get(module.serialize(part)).get_config() == config
    # An argument that is not an attribute would silently be omitted; only Keras's may be missing.
    names = {*kind.__init__.names} - {"input_shape", "input_dim"}  # those of a model
    missing = {name for name in names if not hasattr(part, name)}
    assert missing <= arguments.extra_config(kind).keys()
    assert names - missing <= config.keys()


@PART
def test_a_configuration_is_that_of_keras(keras, part):
    config = part.get_config()
    assert same_class(keras, part)[1].from_config(dict(config)).get_config() == config


def test_the_configuration_of_a_layer_has_the_order_of_keras(keras):
    """The arguments of every layer come first, then the layer's own, then those only Keras has."""

    def configuration(library):
        layer = library.layers.Dense(3, "relu", kernel_initializer="he_normal", name="d")
        return list(layer.get_config().items())

    same(keras, configuration)


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


REFUSED = object()


@pytest.mark.parametrize(
    ("module", "name", "of_none", "check"),
    [
        (activations, "sigmoid", activations.linear, lambda f: f([0.0]) == 0.5),
        (initializers, "zeros", None, lambda draw: not draw((2,)).any()),
        (regularizers, "l2", None, lambda r: r.l2 == 0.01),
        (losses, "categorical_crossentropy", None, lambda f: f is losses.categorical_crossentropy),
        (metrics, "categorical_accuracy", REFUSED, lambda m: m.name == "categorical_accuracy"),
        (optimizers, "adam", REFUSED, lambda o: o.learning_rate == float(np.float32(0.001))),
        (layers, "Flatten", REFUSED, lambda layer: isinstance(layer, layers.Flatten)),
    ],
)  # fmt: skip
def test_get_finds_a_part_by_its_name_and_refuses_anything_else(module, name, of_none, check):
    found = module.get(name)
    assert check(found)
    assert module.get(found) is found
    wrong = [3, {"class_name": "Nothing"}, name + "x"]
    if of_none is REFUSED:
        wrong.append(None)
    else:
        assert module.get(None) is of_none
    for identifier in wrong:
        with pytest.raises(ValueError, match=r"Could not interpret .* identifier"):
            module.get(identifier)
    with pytest.raises(ValueError, match=f"Did you mean '{name}'"):
        module.get(name + "x")


def test_get_of_a_class_returns_an_instance():
    assert isinstance(optimizers.get(optimizers.SGD), optimizers.SGD)
    assert isinstance(losses.get(losses.MeanSquaredError), losses.MeanSquaredError)
    assert issubclass(layers.Layer, Configurable)


class LeCunNormal(initializers.VarianceScaling):
    def __init__(self, seed=None, **unsupported):
        super().__init__(1.0, "fan_in", "truncated_normal", seed, **unsupported)


class Counts(metrics.Metric):
    """A metric that sets `dtype` to a type that is not part of its configuration."""

    def __init__(self, name="counts", dtype=None):
        super().__init__(name, dtype)
        self.dtype = np.int64


@pytest.mark.parametrize(
    ("part", "config"),
    [
        (LeCunNormal(3), {"seed": 3, "input_axes": None, "output_axes": None}),
        (Counts(), {"name": "counts", "dtype": "float32"}),
    ],
    ids=["without the arguments that it fixes", "with Keras's dtype"],
)
def test_the_configuration_of_a_subclass(part, config):
    assert part.get_config() == config
    assert type(part).from_config(config).get_config() == config


class Tagged:
    def __init_subclass__(cls, tag=None, **further):
        super().__init_subclass__(**further)
        cls.tag = tag


class Bound(layers.Dense, Tagged, tag=3, units=2):
    """A layer that fixes `units` and passes `tag` on to another base class."""


class Dropout(tinynet.Layer):
    """A user-defined layer with the name of one of tinynet's layers."""


@pytest.mark.parametrize(
    ("kind", "named", "error", "message"),
    [
        (initializers.VarianceScaling, {"scale": 0}, ValueError, "scale"),
        (initializers.VarianceScaling, {"mode": "all"}, ValueError, "mode"),
        (initializers.VarianceScaling, {"distribution": "none"}, ValueError, "distribution"),
        (initializers.VarianceScaling, {"input_axes": 1}, ValueError, "input_axes"),
        (initializers.HeNormal, {"scale": 3}, ValueError, "Unrecognized.*scale"),  # fixed there
        (initializers.Zeros, {"value": 3}, TypeError, "argument 'value'"),  # fixed as well
        (layers.Dense, {}, TypeError, "units"),
        (Bound, {"units": 3}, ValueError, "Unrecognized.*units"),
        # A user-defined class does not get the arguments of tinynet's class of the same name.
        (Dropout, {"noise_shape": None}, ValueError, "noise_shape"),
        *[(layers.Input, {"shape": (3,), name: None}, ValueError, f"passed to Input: .*{name}")
          for name in ("trainable", "input_shape", "activity_regularizer", "foo")],
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)  # fmt: skip
def test_a_refused_constructor_names_the_argument_and_draws_no_seed(kind, named, error, message):
    generator = tinynet.backend.generator()
    before = generator.bit_generator.state
    with pytest.raises(error, match=message):
        kind(**named)
    assert generator.bit_generator.state == before


def test_a_custom_object_is_called_where_an_instance_is_expected():
    with custom_objects({"mine": lambda: initializers.Constant(2.0)}):
        assert initializers.get("mine").value == 2.0
    with pytest.raises(ValueError, match="identifier: mine"):  # no longer
        initializers.get("mine")
    with custom_objects({"mine": abs, "own": Shifted}):
        assert activations.get("mine") is abs
        assert losses.get("mine") is abs
        with pytest.raises(TypeError):
            initializers.get("own")


def test_a_class_may_fix_arguments_of_its_base():
    layer = Bound("relu", name="b")
    assert (layer.units, layer.tag, layer.name) == (2, 3, "b")
    assert "units" not in inspect.signature(Bound).parameters
    with pytest.raises(TypeError, match="argument"):
        initializers.Ones(3)
    with pytest.raises(TypeError, match=r"unexpected|takes no keyword"):
        type("Wrong", (layers.Dense,), {}, no_argument=1)


class Own(initializers.RandomNormal):
    def __init__(self, seed=None):
        super().__init__(0.0, 1.0, seed)
        self.seed = seed


class Ones(initializers.HeNormal):
    def generator(self):
        return np.random.default_rng(1)


def test_a_user_defined_initializer_draws_one_seed_and_may_define_its_generator():
    generator = tinynet.backend.generator()
    before = generator.bit_generator.state
    Own()
    after = generator.bit_generator.state
    generator.bit_generator.state = before
    generator.integers(2**31)
    assert generator.bit_generator.state == after
    assert Ones(seed=2)((3, 3)).tolist() == initializers.HeNormal(seed=1)((3, 3)).tolist()
