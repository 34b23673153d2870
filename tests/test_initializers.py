"""Initial weights: they have Keras's distributions, though not its random numbers, and follow its
rules about when numbers repeat. Each distribution is sampled 120,000 times with a fixed seed, so
bounds and moments are known to a fraction of a per cent, and no test depends on chance.

`test_layers` compares configurations and names with Keras's.
"""

import math

import numpy as np
import pytest
from arrays import assert_allclose, assert_array_equal, look, put, through
from oracle import agree, both, refused, same

import tinynet as bare  # without the conversion of arrays that `through` adds
from tinynet.compat.naming import custom_objects

pytestmark = pytest.mark.computes

tinynet = through(bare)
initializers = tinynet.initializers

SHAPE = (400, 300)

RANDOM = [
    "GlorotUniform", "GlorotNormal", "HeUniform", "HeNormal", "RandomUniform", "RandomNormal",
    "TruncatedNormal", "VarianceScaling",
]  # fmt: skip
CASES = [
    *((name, {}) for name in RANDOM),
    ("RandomUniform", {"minval": -1.0, "maxval": 3.0}),
    ("RandomNormal", {"mean": 2.0, "stddev": 0.5}),
    ("TruncatedNormal", {"mean": -1.0, "stddev": 2.0}),
    ("VarianceScaling", {"scale": 0.3, "mode": "fan_out", "distribution": "uniform"}),
    ("VarianceScaling", {"scale": 3, "mode": "fan_avg", "distribution": "untruncated_normal"}),
    ("VarianceScaling", {"distribution": "normal"}),
]
ROW, COLUMN = np.arange(4.0), np.arange(3, dtype="float32")[:, None]
CONSTANTS = [
    ("Zeros", {}),
    ("Ones", {}),
    *(("Constant", {"value": value}) for value in (0.0, -2.5, 3, ROW, COLUMN, [1, 2, 3, 4])),
    ("Constant", {}),
]


def make(library, name, **arguments):
    return getattr(library.initializers, name)(**arguments)


# Distributions


@pytest.mark.parametrize("kind", ["Uniform", "Normal"])
@pytest.mark.parametrize(("paper", "variance"), [("Glorot", 2 / (400 + 300)), ("He", 2 / 400)])
def test_the_variance_is_that_of_the_paper(paper, kind, variance):
    weights = make(tinynet, paper + kind, seed=1)(SHAPE)
    assert weights.var() == pytest.approx(variance, rel=0.02)
    assert weights.mean() == pytest.approx(0, abs=3e-4)


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_the_distribution_equals_keras(keras, name, arguments):
    theirs = np.asarray(make(keras, name, seed=1, **arguments)(SHAPE)).ravel()
    ours = make(tinynet, name, seed=1, **arguments)(SHAPE).ravel()
    spread = float(theirs.std())
    assert ours.mean() == pytest.approx(theirs.mean(), abs=6 * spread / math.sqrt(ours.size))
    assert ours.std() == pytest.approx(spread, rel=0.0075)
    shares = np.linspace(0.02, 0.98, 25)
    assert_allclose(np.quantile(ours, shares), np.quantile(theirs, shares), atol=0.03 * spread)
    if (
        name != "RandomNormal" and arguments.get("distribution") != "untruncated_normal"
    ):  # the others are bounded, and fill their range
        for extreme in (np.min, np.max):
            assert extreme(ours) == pytest.approx(extreme(theirs), abs=0.003 * spread)


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


@pytest.mark.parametrize(("name", "arguments"), CONSTANTS)
def test_constants_equal_keras(keras, name, arguments):
    program = lambda library: np.asarray(make(library, name, **arguments)((3, 4)))  # noqa: E731
    agree(*both(keras, program, ours=tinynet))


# Arrays, functions and copies


@pytest.mark.host
@pytest.mark.parametrize("value", [ROW, COLUMN, [1, 2], 2.5, np.ones((2, 2), "int32")], ids=repr)
def test_the_configuration_of_a_constant_equals_keras_and_recreates_it(keras, value):
    def program(library):
        module = library.initializers
        serialized = module.serialize(module.Constant(value))
        again = module.deserialize(serialized)
        return serialized, np.asarray(again((3, 2) if np.size(value) < 3 else (3, 4))).tolist()

    if np.shape(value) == (2, 2):
        program = lambda lib: lib.initializers.serialize(lib.initializers.Constant(value))  # noqa: E731
    same(keras, program)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_an_array_or_a_function_is_an_initializer_as_in_keras(keras, rng, dtype):
    kernel = (9 * rng.normal(size=(4, 3))).astype(dtype)
    function = lambda shape, dtype=None: np.full(shape, 2, dtype)  # noqa: E731

    def program(library):
        found = [library.initializers.get(kernel)((4, 3))]
        dense = library.layers.Dense(3, kernel_initializer=kernel, bias_initializer=function)
        dense.build((None, 4))
        return [np.asarray(look(array)) for array in (*found, *dense.get_weights())]

    agree(*both(keras, program))
    assert bare.initializers.get(function) is function
    weights = bare.initializers.get(put(kernel))((4, 3))
    kernel[...] = 0
    assert look(weights).any()
    for library in (keras, bare):
        with pytest.raises(ValueError):  # noqa: PT011, of another shape
            library.initializers.get(kernel)((2, 4, 3))


@pytest.mark.parametrize(("name", "arguments"), [*CASES, *CONSTANTS])
def test_a_clone_has_the_same_arguments(keras, name, arguments):
    seed = {} if name in ("Constant", "Zeros", "Ones") else {"seed": 3}
    initializer = getattr(bare.initializers, name)(**arguments, **seed)
    clone = initializer.clone()
    assert clone is not initializer
    assert type(clone) is type(initializer)
    assert str(clone.get_config()) == str(initializer.get_config())
    assert_array_equal(clone((3, 4)), initializer((3, 4)))
    theirs = getattr(keras.initializers, name)(**arguments, **seed).clone().get_config()
    assert {**clone.get_config(), "value": 0} == {**theirs, "value": 0}


@pytest.mark.host
@pytest.mark.parametrize(
    "arguments",
    [{"scale": 0}, {"scale": -1.0}, {"mode": "x"}, {"distribution": "x"}, {"value": "a"}],
    ids=str,
)
def test_wrong_arguments_raise_the_error_of_keras(keras, arguments):
    name = "Constant" if "value" in arguments else "VarianceScaling"
    refused(keras, lambda library: make(library, name, **arguments)((2,)), error=ValueError)


# Types and repetition


@pytest.mark.parametrize("name", [*RANDOM, "Zeros", "Ones", "Constant"])
def test_weights_are_floatx_or_of_the_requested_type(name):
    initializer = make(tinynet, name)
    weights = initializer((3, 4))
    assert (weights.dtype, weights.shape) == (np.float32, (3, 4))
    assert initializer([3, 4], dtype="float64").dtype == np.float64
    tinynet.config.set_floatx("float64")
    assert initializer((3, 4)).dtype == np.float64


@pytest.mark.parametrize("name", ["normal", "one", "uniform", "zero"])
def test_keras_s_short_names_are_found(keras, name):
    def program(library):
        return type(library.initializers.get(name)).__name__

    same(keras, program, ours=bare)
    own = {name: lambda shape, dtype=None: np.full(shape, 7.0, dtype)}
    with custom_objects(own):  # one's own part of that name comes first
        assert bare.layers.Dense(1, kernel_initializer=name).kernel_initializer is own[name]


@pytest.mark.parametrize("name", RANDOM)
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

    first, instance = values(), make(tinynet, name)
    assert not np.any(first[0] == first[1])
    assert_array_equal(instance((4, 5)), instance((4, 5)))  # as in Keras
    assert_array_equal(first, values())
    np.random.set_state(before)  # noqa: NPY002
    make(tinynet, name)((4, 5))
    make(tinynet, name, seed=1)((4, 5))
    np.testing.assert_equal(np.random.get_state(), before)  # noqa: NPY002
