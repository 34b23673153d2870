"""Configurations derived from constructors, and parts made from names and configurations."""

import copy
import inspect

import numpy as np
import pytest
from oracle import same

import tinynet
from tinynet import activations, initializers, layers, losses, metrics, optimizers, regularizers
from tinynet.compat import arguments
from tinynet.compat.naming import custom_objects

PARTS = [
    initializers.Constant(3.0),
    initializers.RandomUniform(-1, 2, seed=3),
    initializers.TruncatedNormal(1, 0.1, seed=4),
    initializers.VarianceScaling(2.0, "fan_out", "uniform", seed=5),
    regularizers.L2(0.3),
    layers.Flatten("channels_first", name="f"),
    layers.Dense(3, "relu", False, "he_normal", "ones", regularizers.L2(0.2), trainable=False),
    layers.Activation("tanh", dtype="float64"),
    layers.Dropout(0.25, seed=7),
    layers.Input((3, 4), name="i"),
    losses.CategoricalCrossentropy(True, 0.1, reduction="sum"),
    losses.SparseCategoricalCrossentropy(True, name="s"),
    metrics.BinaryAccuracy("b", threshold=0.3),
    optimizers.SGD(0.1, 0.9, True, weight_decay=0.2, name="sgd"),
    optimizers.Adam(0.2, 0.8, 0.9, 1e-5, True, name="adam"),
]


def same_class(library, part):
    """Return the module and the class of the same names in a library."""
    module = getattr(library, type(part).__module__.partition(".")[2])
    return module, getattr(module, type(part).__name__)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: type(part).__name__)
def test_a_configuration_recreates_its_part_and_is_that_of_keras(keras, part):
    module, kind = same_class(tinynet, part)
    config = part.get_config()
    again = kind.from_config(config)
    assert again is not part
    assert again.get_config() == config
    assert module.get(module.serialize(part)).get_config() == config
    assert module.get(part) is part
    # An argument that is not an attribute would silently be omitted; only Keras's may be missing.
    names = {*kind.__init__.names} - {"input_shape", "input_dim"}  # those of a model
    missing = {name for name in names if not hasattr(part, name)}
    left_out = {"dtype", "shape", "batch_size", "axis"}  # as Keras does for some
    assert missing - left_out <= arguments.extra_config(kind).keys()
    assert names - missing - left_out <= config.keys()
    expected = same_class(keras, part)[1].from_config(dict(config)).get_config()
    assert config == expected
    # The arguments of every layer come first, then the layer's own, then those only Keras has.
    assert list(config) == list(expected) or not isinstance(part, layers.Dense | layers.Dropout)


class Steep(layers.Dense):
    """A user-defined layer that does not define `get_config`."""


class Shifted(initializers.Constant):
    def __init__(self, value, by=0):
        super().__init__(value)
        self.by = by

    def get_config(self):
        return {**super().get_config(), "by": self.by}


class LeCunNormal(initializers.VarianceScaling):
    """An initializer that fixes arguments, which its configuration omits."""

    def __init__(self, seed=None, **unsupported):
        super().__init__(1.0, "fan_in", "truncated_normal", seed, **unsupported)


class Counts(metrics.Metric):
    """A metric with another type for its variables."""

    def __init__(self, name="counts", dtype=None):
        super().__init__(name, dtype)
        self._dtype = "int64"


@pytest.mark.parametrize(
    ("part", "config"),
    [
        (Steep(2, "tanh", name="steep"), layers.Dense(2, "tanh", name="steep").get_config()),
        (Shifted(1.0, 2), {"value": 1.0, "by": 2}),
        (LeCunNormal(3), {"seed": 3, "input_axes": None, "output_axes": None}),
        (Counts(), {"name": "counts", "dtype": "int64"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_configuration_of_a_user_defined_subclass(part, config):
    assert part.get_config() == config
    assert type(part).from_config(config).get_config() == config
    found = initializers.serialize(part)
    assert (found["module"], found["registered_name"]) == (None, type(part).__name__)


@pytest.mark.parametrize("name", ["mean_squared_error", "binary_crossentropy"])
def test_functions_of_losses_are_serialized_as_in_keras_and_found_again(keras, name):
    same(keras, lambda library: library.losses.serialize(getattr(library.losses, name)))
    config = losses.serialize(getattr(losses, name))
    assert losses.deserialize(config) is getattr(losses, name)
    same(keras, lambda library: library.metrics.serialize(library.metrics.binary_accuracy))


def test_activations_and_losses_are_functions_found_by_name_and_serialized():
    def bent(z):
        return z

    assert layers.Dense(1, activations.tanh).get_config()["activation"] == "tanh"
    assert layers.Dense(1, bent).get_config()["activation"]["config"] == "bent"
    assert activations.serialize(bent)["class_name"] == "function"
    assert losses.get("categorical_crossentropy") is losses.categorical_crossentropy


REFUSED = object()
OF_NONE = {
    activations: activations.linear, initializers: None, regularizers: None, losses: None,
    metrics: None, optimizers: None, layers: REFUSED,
}  # fmt: skip


@pytest.mark.parametrize("module", OF_NONE, ids=lambda module: module.__name__)
def test_get_refuses_what_is_no_part_and_has_a_result_for_none(module):
    refused = {"3": 3, ".*Nothing": {"class_name": "Nothing"}, "softmaxx": "softmaxx"}
    if OF_NONE[module] is REFUSED:
        refused["None"] = None
    else:
        assert module.get(None) is OF_NONE[module]
    for said, identifier in refused.items():
        with pytest.raises(ValueError, match=f"Could not interpret .* identifier: {said}"):
            module.get(identifier)


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
        *[(initializers.VarianceScaling, {name: value}, ValueError, name) for name, value in
          (("scale", 0), ("mode", "all"), ("distribution", "none"), ("input_axes", 1))],
        (initializers.HeNormal, {"scale": 3}, ValueError, "Unrecognized.*scale"),  # fixed there
        (initializers.Zeros, {"value": 3}, TypeError, "argument 'value'"),  # fixed as well
        (layers.Dense, {}, TypeError, "units"),
        (Bound, {"units": 3}, ValueError, "Unrecognized.*units"),
        # A user-defined class does not get the arguments of tinynet's class of the same name.
        (Dropout, {"noise_shape": None}, ValueError, "noise_shape"),
        *[(layers.Input, {"shape": (3,), name: None}, ValueError, f"passed to Input: .*{name}")
          for name in ("trainable", "input_dim", "activity_regularizer", "foo")],
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
    with custom_objects({"mine": lambda: optimizers.SGD(2.0)}):
        assert optimizers.get("mine").learning_rate == 2.0
    with pytest.raises(ValueError, match="identifier: mine"):  # no longer
        optimizers.get("mine")
    with custom_objects({"mine": abs, "own": abs}):
        assert activations.get("mine") is abs
        assert losses.get("mine") is abs
        with pytest.raises(TypeError):
            optimizers.get("own")


def test_a_class_may_fix_arguments_of_its_base():
    layer = Bound("relu", name="b")
    assert (layer.units, layer.tag, layer.name) == (2, 3, "b")
    assert "units" not in inspect.signature(Bound).parameters
    with pytest.raises(TypeError, match="argument"):
        initializers.Ones(3)
    with pytest.raises(TypeError, match=r"unexpected|takes no keyword"):
        type("Wrong", (layers.Dense,), {}, no_argument=1)


class Ones(initializers.HeNormal):
    def generator(self):
        return np.random.default_rng(1)


def test_a_user_defined_initializer_draws_one_seed_and_may_define_its_generator():
    generator = tinynet.backend.generator()
    twin = copy.deepcopy(generator)
    LeCunNormal()
    twin.integers(2**31)
    assert twin.bit_generator.state == generator.bit_generator.state
    assert Ones(seed=2)((3, 3)).tolist() == initializers.HeNormal(seed=1)((3, 3)).tolist()
