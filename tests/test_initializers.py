"""Initial weights: they have Keras's distributions, though not its random numbers, and follow its
rules about when numbers repeat. Each distribution is sampled 120,000 times with a fixed seed, so
bounds and moments are known to a fraction of a per cent, and no test depends on chance.
"""

import math

import numpy as np
import pytest
from arrays import assert_allclose, assert_array_equal, through
from oracle import both, refused, refused_in_keras_s_words

import tinynet as bare  # without the conversion of arrays that `through` adds

pytestmark = pytest.mark.computes

tinynet = through(bare)
initializers = tinynet.initializers

SHAPE = (400, 300)

RANDOM = {
    "GlorotUniform": [{}],
    "GlorotNormal": [{}],
    "HeUniform": [{}],
    "HeNormal": [{}],
    "RandomUniform": [{}, {"minval": -1.0, "maxval": 3.0}],
    "RandomNormal": [{}, {"mean": 2.0, "stddev": 0.5}],
    "TruncatedNormal": [{}, {"mean": -1.0, "stddev": 2.0}],
    "VarianceScaling": [
        {"scale": scale, "mode": mode, "distribution": distribution}
        for scale, mode in [(1.0, "fan_in"), (0.3, "fan_out"), (2.0, "fan_avg")]
        for distribution in ("truncated_normal", "uniform")
    ],
}
CASES = [(name, arguments) for name, several in RANDOM.items() for arguments in several]
CONSTANTS = [("Zeros", {}), ("Ones", {}), ("Constant", {}), ("Constant", {"value": -2.5})]
every_random = pytest.mark.parametrize("name", RANDOM)
every_name = pytest.mark.parametrize("name", [*RANDOM, "Zeros", "Ones", "Constant"])


def make(library, name, **arguments):
    return getattr(library.initializers, name)(**arguments)


# Distributions


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_the_distribution_equals_keras(keras, name, arguments):
    theirs = np.asarray(make(keras, name, seed=1, **arguments)(SHAPE)).ravel()
    ours = make(tinynet, name, seed=1, **arguments)(SHAPE).ravel()
    spread = float(theirs.std())
    assert ours.mean() == pytest.approx(theirs.mean(), abs=6 * spread / math.sqrt(ours.size))
    assert ours.std() == pytest.approx(spread, rel=0.01)
    shares = np.linspace(0.02, 0.98, 25)
    assert_allclose(np.quantile(ours, shares), np.quantile(theirs, shares), atol=0.03 * spread)


@pytest.mark.parametrize(
    ("name", "arguments", "bound", "variance"),
    [
        ("GlorotUniform", {}, math.sqrt(6 / (400 + 300)), 2 / (400 + 300)),
        ("GlorotNormal", {}, 2 * math.sqrt(2 / (400 + 300)) / 0.87962566, 2 / (400 + 300)),
        ("HeUniform", {}, math.sqrt(6 / 400), 2 / 400),
        ("HeNormal", {}, 2 * math.sqrt(2 / 400) / 0.87962566, 2 / 400),
        ("RandomUniform", {}, 0.05, 0.05**2 / 3),
        ("TruncatedNormal", {}, 0.1, (0.05 * 0.87962566) ** 2),
        (
            "VarianceScaling",
            {"mode": "fan_out", "distribution": "uniform"},
            math.sqrt(3 / 300),
            1 / 300,
        ),
    ],
)
def test_values_fill_their_range_and_have_their_variance(name, arguments, bound, variance):
    values = make(tinynet, name, seed=2, **arguments)(SHAPE)
    for extreme in (values.max(), -values.min()):
        assert bound * (1 - 1e-3) < extreme <= bound * (1 + 1e-7)
    assert values.var() == pytest.approx(variance, rel=0.015)


@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "fan_avg"])
def test_fan_in_and_fan_out_are_computed_as_in_keras(keras, mode):
    arguments = {"mode": mode, "distribution": "uniform", "seed": 1}
    for shape in ((2000,), (20, 300), (3, 20, 300), (3, 3, 20, 300)):
        theirs, ours = both(
            keras, lambda library, s=shape: make(library, "VarianceScaling", **arguments)(s),
            ours=tinynet,
        )  # fmt: skip
        assert ours.max() == pytest.approx(float(np.asarray(theirs).max()), rel=5e-3)
    for shape in ((), (0, 0)):  # both are at least 1
        assert make(tinynet, "VarianceScaling", **arguments)(shape).shape == shape


def test_constants_are_constant(keras):
    for name, arguments in CONSTANTS:
        value = {"Ones": 1}.get(name, arguments.get("value", 0))
        for library in (tinynet, keras):
            weights = np.asarray(make(library, name, **arguments)((3, 4)))
            assert_array_equal(weights, np.full((3, 4), value))


# Types and repetition


@every_name
def test_weights_are_floatx_or_of_the_requested_type(name):
    initializer = make(tinynet, name)
    weights = initializer((3, 4))
    assert (weights.dtype, weights.shape) == (np.float32, (3, 4))
    assert initializer([3, 4], dtype="float64").dtype == np.float64
    tinynet.config.set_floatx("float64")
    assert initializer((3, 4)).dtype == np.float64


@every_random
def test_the_values_depend_on_the_seed_alone_and_are_rounded(name):
    before = np.random.get_state()  # noqa: NPY002, the global generator must not be used
    wide = make(tinynet, name, seed=5)((4, 5), dtype="float64")
    narrow = wide.astype("float32")
    assert (narrow != wide).all()
    assert_array_equal(make(tinynet, name, seed=5)((4, 5)), narrow)
    assert not np.any(make(tinynet, name, seed=6)((4, 5)) == narrow)

    def values():
        tinynet.utils.set_random_seed(7)
        return [make(tinynet, name)((4, 5)) for _ in range(2)]

    first = values()
    assert not np.any(first[0] == first[1])
    assert_array_equal(first, values())
    np.random.set_state(before)  # noqa: NPY002
    make(tinynet, name)((4, 5))
    make(tinynet, name, seed=1)((4, 5))
    np.testing.assert_equal(np.random.get_state(), before)  # noqa: NPY002


def test_without_a_seed_only_the_same_instance_repeats_its_values(keras):
    for library, name in [(keras, "GlorotUniform"), *((tinynet, name) for name in RANDOM)]:
        first, second = make(library, name), make(library, name)
        values = np.asarray(first((4, 5)))
        assert_array_equal(np.asarray(first((4, 5))), values)
        assert not np.any(np.asarray(second((4, 5))) == values)


# Names and configurations


@every_name
def test_get_accepts_names_classes_configurations_and_instances(name):
    initializers = bare.initializers
    cls = getattr(initializers, name)
    instance, snake = cls(), tinynet.compat.naming.snake_case(name)
    serialized = initializers.serialize(instance)
    for identifier in (name, snake, cls, serialized, {"class_name": name, "config": {}}):
        found = initializers.get(identifier)
        assert type(found) is cls
        assert found.get_config() == instance.get_config()
    assert initializers.get(instance) is instance
    assert initializers.get(None) is None


@pytest.mark.parametrize(("name", "arguments"), [*CASES, *CONSTANTS])
def test_the_configuration_equals_keras_and_recreates_the_initializer(keras, name, arguments):
    for seed in [{}, {"seed": 9}] if name in RANDOM else [{}]:
        theirs, ours = both(
            keras, lambda library, seed=seed: make(library, name, **arguments, **seed)
        )
        assert ours.get_config() == theirs.get_config()
        assert initializers.serialize(ours) == keras.initializers.serialize(theirs)
    for again in (
        bare.initializers.get(keras.initializers.serialize(theirs)),
        type(ours).from_config(ours.get_config()),
    ):
        assert_array_equal(again((3, 4)), ours((3, 4)))


# Mistakes


def test_an_unknown_name_raises_the_message_of_keras_and_similar_names(keras):
    words = "Could not interpret initializer identifier"
    for wrong in ("glorot_unifrm", "foo", 3):
        refused_in_keras_s_words(
            keras, lambda library, name=wrong: library.initializers.get(name), words
        )
    with pytest.raises(ValueError, match="Did you mean 'glorot_uniform'"):
        initializers.get("glorot_unifrm")


def test_wrong_arguments_are_refused_as_in_keras(keras):
    for name, value in (("scale", 0), ("scale", -1.0), ("mode", "fan"), ("distribution", "no")):
        refused(
            keras, lambda library, given={name: value}: make(library, "VarianceScaling", **given),
            name,
        )  # fmt: skip
