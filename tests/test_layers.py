"""Single layers: their outputs, shapes, names, configurations and errors against Keras's, and the
gradients of `Dense` against JAX on Keras's layer; and the configurations of parts of every kind.

`test_gradient_check` compares the gradients of `Dense` with central differences in float64.
"""

import copy

import numpy as np
import pytest
from arrays import assert_allclose, assert_array_equal, put, shares_memory, through
from gradients import central_differences
from networks import Scale, network
from oracle import agree, both, refused_in_keras_s_words, same

import tinynet
from tinynet.compat.naming import snake_case
from tinynet.compat.targets import as_loss

pytestmark = pytest.mark.computes

THROUGH = through(tinynet)
activations, layers = THROUGH.activations, THROUGH.layers
Dense, Flatten = layers.Dense, layers.Flatten


def normal(rng, *shapes):
    """Return a float32 array of normally distributed numbers for each shape."""
    return [rng.normal(size=shape).astype("float32") for shape in shapes]


def twins(keras, x, units=5, **arguments):
    """Return Keras's and tinynet's Dense layer, with the same non-zero weights."""
    theirs, ours = both(keras, lambda lib: lib.layers.Dense(units, **arguments), ours=THROUGH)
    for layer in (theirs, ours):
        layer.build((None, *x.shape[1:]))
        assert layer.built
    weights = normal(np.random.default_rng(1), *(w.shape for w in ours.get_weights()))
    theirs.set_weights(weights)
    ours.set_weights(weights)
    return theirs, ours


# Dense


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("shape", [(6, 4), (1, 4), (3, 5, 4), (2, 3, 2, 4)])
@pytest.mark.parametrize("activation", [None, "linear", "relu", "sigmoid", "softmax", "tanh"])
def test_outputs_and_gradients_of_dense_equal_keras(keras, rng, activation, shape, use_bias):
    import jax

    x, gradient = normal(rng, shape, (*shape[:-1], 5))
    kept = x.copy(), gradient.copy()
    theirs, ours = twins(keras, x, activation=activation, use_bias=use_bias)
    weights = [variable.value for variable in theirs.trainable_variables]
    output, backward = jax.vjp(lambda w, x: theirs.stateless_call(w, [], x)[0], weights, x)
    assert_allclose(ours(x), np.asarray(output), rtol=2e-6, atol=1e-6, strict=True)
    (of_kernel, *of_bias), of_input = backward(gradient)
    received = [ours.backward(gradient), ours.kernel_gradient, ours.bias_gradient]
    for mine, expected in zip(received, [of_input, of_kernel, *of_bias], strict=use_bias):
        assert_allclose(mine, np.asarray(expected), rtol=1e-5, atol=5e-6, strict=True)
    assert_array_equal(x, kept[0])
    assert_array_equal(gradient, kept[1])


def test_dense_accepts_inputs_of_any_type_and_empty_batches(keras, rng):
    ones = rng.integers(0, 2, (6, 4))
    theirs, ours = twins(keras, ones.astype("float32"))
    for x in (ones.astype("uint8"), ones, ones.astype("bool"), np.zeros((0, 4))):
        expected = np.asarray(theirs(x.astype("float32")))
        assert_allclose(ours(x), expected, rtol=2e-6, atol=1e-6, strict=True)


def test_calling_a_layer_returns_a_new_array(rng):
    (x,) = normal(rng, (6, 4))
    for layer in (Dense(3), Dense(3, "softmax"), Flatten()):
        first = layer(x)
        kept = first.copy()
        assert type(first) is np.ndarray
        assert not np.shares_memory(first, x)
        layer(2 * x)
        assert_array_equal(first, kept)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_batches_of_changing_size_reuse_buffers_without_mixing_values(rng, activation):
    layer = Dense(3, activation)
    for size in (8, 2, 5, 8, 11, 3):
        x, gradient = normal(rng, (size, 4), (size, 3))
        layer(x)
        fresh = Dense(3, activation)
        fresh(x)
        fresh.set_weights(layer.get_weights())
        assert_array_equal(layer.forward(x), fresh.forward(x))
        assert_array_equal(layer.backward(gradient), fresh.backward(gradient))
        assert_array_equal(layer.kernel_gradient, fresh.kernel_gradient)


def test_a_step_reuses_its_arrays():
    layer = tinynet.layers.Dense(3, "sigmoid")
    x, gradient = put(np.ones((8, 4), "float32")), put(np.ones((8, 3), "float32"))
    layer(x)
    output, passed = layer.forward(x), layer.backward(gradient)
    assert shares_memory(layer.forward(x), output)
    assert shares_memory(layer.backward(gradient), passed)
    assert shares_memory(layer.forward(x[:5]), output)


def test_a_batch_of_another_type_gets_buffers_of_that_type(rng):
    layer, x = Dense(3, "softmax"), rng.normal(size=(6, 4))
    layer(x.astype("float32"))
    expected = activations.softmax(x @ layer.kernel.astype("float64"))
    assert layer.forward(x).dtype == np.float64
    assert_allclose(layer.forward(x), expected, rtol=1e-14)
    assert layer.forward(x.astype("float32")).dtype == np.float32


@pytest.mark.parametrize("dtype", [None, "float32", "float64"])
def test_a_layer_computes_in_its_own_type_and_keeps_it(keras, dtype):
    layer, floats = Dense(3, dtype=dtype), ("float32", "float64")
    for floatx in floats:  # with which the layer is built, and another one
        for given in (*floats, "int64"):
            x = np.ones((2, 4), given)
            theirs = keras.layers.Dense(3, dtype="float32")(x).dtype
            assert layer(x).dtype == (dtype if dtype == "float64" else theirs)
            assert Dense(3)(x).dtype == floatx
        tinynet.config.set_floatx("float64")


def test_only_the_gradients_that_are_needed_are_computed(rng):
    x, gradient = normal(rng, (6, 4), (6, 3))
    layer = Dense(3, "tanh")
    layer(x)
    passed, of_kernel = layer.backward(gradient).copy(), layer.kernel_gradient.copy()
    layer.bare.kernel_gradient[...] = layer.bare.bias_gradient[...] = 7
    layer.trainable = False  # a frozen layer only passes the gradient on
    assert_array_equal(layer.backward(gradient), passed)
    assert (layer.kernel_gradient == 7).all()
    assert (layer.bias_gradient == 7).all()
    layer.trainable, layer.needs_input_gradient = True, False  # the lowest trainable layer
    assert layer.backward(gradient) is None
    assert_array_equal(layer.kernel_gradient, of_kernel)


def test_the_output_of_a_user_defined_activation_is_used(rng):
    (x,) = normal(rng, (6, 4))
    # It takes no `out`, and cannot be hashed.
    twice = type("Twice", (), {"__call__": lambda self, z: 2 * z, "__hash__": None})()
    layer = Dense(3, activation=twice)
    assert_allclose(layer(x), 2 * (x @ layer.kernel), rtol=1e-5, atol=1e-6)


def test_a_subclass_of_activation_may_call_activate():
    class Doubled(tinynet.layers.Activation):
        def forward(self, x, training=False):
            return 2 * self.activate(x, self.buffer("mine", x.shape, x.dtype))

    x = np.ones((2, 3), "float32")
    assert_allclose(through(Doubled("softmax"))(x), 2 / 3, rtol=1e-6)
    assert_allclose(through(Doubled("tanh"))(x), 2 * np.tanh(1), rtol=1e-6)


# Flatten


@pytest.mark.parametrize("data_format", [None, "channels_last", "channels_first"])
@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 3), (5, 2, 3), (5, 2, 3, 4), (0, 2, 3)])
def test_flatten_equals_keras_and_its_backward_is_the_derivative(keras, rng, shape, data_format):
    layer = Flatten(data_format)
    for dtype in ("uint8", "float32", "int32"):
        x = rng.integers(0, 255, shape).astype(dtype)
        expected = np.asarray(keras.layers.Flatten(data_format)(x))
        assert_array_equal(layer(x), expected, strict=True)
    x, gradient = rng.normal(size=shape), rng.normal(size=expected.shape)
    expected = central_differences(lambda: (gradient * layer.forward(x)).sum(), x)
    layer.forward(x)
    assert_allclose(layer.backward(gradient), expected, rtol=1e-7, atol=1e-9)


# Shapes, configurations and names


def test_output_shapes_equal_keras(keras):
    shapes = [(None, 4), (2, 4), (None, 2, 4), (None, None, 4)]
    others = [(3,), (2, 3, 4, 5), (None, 4, None)]

    def program(lib):
        found = [lib.layers.Dense(3).compute_output_shape(shape) for shape in shapes]
        found += [lib.layers.Flatten().compute_output_shape(shape) for shape in shapes + others]
        return list(map(tuple, found))

    same(keras, program)
    assert tinynet.Input([28, None]).batch_shape == (None, 28, None)


# By kind, all classes; and the arguments of those that have no defaults, or others in Keras.
PARTS = {
    "initializers": "Constant GlorotNormal GlorotUniform HeNormal HeUniform Ones RandomNormal "
    "RandomUniform TruncatedNormal VarianceScaling Zeros",
    "layers": "Activation Dense Dropout Flatten InputLayer",
    "losses": "BinaryCrossentropy CategoricalCrossentropy MeanAbsoluteError MeanSquaredError "
    "SparseCategoricalCrossentropy",
    "metrics": "Accuracy BinaryAccuracy BinaryCrossentropy CategoricalAccuracy "
    "CategoricalCrossentropy MeanAbsoluteError MeanSquaredError SparseCategoricalAccuracy "
    "SparseCategoricalCrossentropy",
    "optimizers": "Adam SGD",
    "regularizers": "L2",
}
ARGUMENTS = {
    "Activation": {"activation": "tanh"},
    "Dense": {"units": 2, "bias_initializer": None, "kernel_regularizer": "L2"},
    "Dropout": {"rate": 0.5, "noise_shape": (None, 1)},
    "InputLayer": {"batch_shape": (4, 28, 28), "dtype": "uint8"},
}


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, names in PARTS.items() for name in names.split()]
)
def test_a_part_of_any_kind_is_serialized_as_in_keras_and_found(keras, kind, name):
    named = {"name": "mine"} if kind in ("layers", "optimizers") else {}  # not numbered
    module, arguments = getattr(tinynet, kind), ARGUMENTS.get(name, {}) | named
    theirs, part = both(keras, lambda lib: getattr(getattr(lib, kind), name)(**arguments))
    serialized = module.serialize(part)
    assert serialized == getattr(keras, kind).serialize(theirs)
    identifiers = [part, serialized, {"class_name": name, "config": arguments}]
    if kind != "layers":  # which have no names, as in Keras
        identifiers += [type(part), name, snake_case(name)]
    short = {"MeanSquaredError": "mse", "MeanAbsoluteError": "mae", "BinaryCrossentropy": "bce"}
    if name in short:
        identifiers += [short[name], short[name].upper()]
    again = module.deserialize(serialized)
    assert (type(again), again.get_config()) == (type(part), part.get_config())
    for identifier in identifiers:
        found = as_loss(identifier) if kind == "losses" else module.get(identifier)
        assert type(found) is type(part)
        assert found.get_config() | {"name": 0} == part.get_config() | {"name": 0}


@pytest.mark.host
def test_deserialize_takes_what_serialize_returns_as_in_keras(keras):
    def program(library):
        found = [library.activations.deserialize("relu") is library.activations.relu]
        found += [library.losses.deserialize("mean_squared_error").__name__]
        own = type("Own", (library.initializers.Initializer,), {"get_config": lambda self: {}})
        for module, custom in ((library.initializers, own), (library.losses, own)):
            config = {"module": None, "class_name": "Own", "config": {}, "registered_name": "Own"}
            if module is library.initializers:
                found.append(type(module.deserialize(config, {"Own": custom})) is own)
        config = library.layers.serialize(library.layers.Dense(3, "tanh", name="d"))
        found.append(library.layers.deserialize(config).get_config()["units"])
        return found

    same(keras, program)
    with pytest.raises(ValueError, match="Could not interpret layer identifier: Nothing"):
        tinynet.layers.deserialize({"class_name": "Nothing", "config": {}})


# Weights


def test_weights_of_wrong_shapes_raise_the_message_of_keras_and_change_nothing(keras):
    kernel, bias = np.ones((4, 3)), np.ones(3)
    theirs, ours = twins(keras, np.zeros((2, 4), "float32"), units=3, name="d")
    before = ours.get_weights()
    for bad in ([kernel], [kernel, bias, bias], [kernel.T, bias], [kernel, bias[:, None]]):
        refused_in_keras_s_words(theirs, lambda layer, bad=bad: layer.set_weights(bad), ours=ours)
        agree(before, ours.get_weights())


def test_a_user_defined_layer_can_have_non_trainable_weights():
    layer, x = through(Scale()), np.ones((2, 3), "float32")
    assert layer.name == "scale"
    assert_array_equal(layer(x), x)
    assert [w.shape for w in layer.weights] == [(3,), ()]
    assert (layer.seen, layer.count_params()) == (2, 4)
    assert layer.scale_gradient.shape == (3,)
    assert not hasattr(layer, "seen_gradient")
    with pytest.raises(NotImplementedError, match="Layer has to define backward"):
        tinynet.Layer().backward(x)
    with pytest.raises(ValueError, match='name="scale"'):
        layer.add_weight((3,))


class Remembers(Scale):
    def forward(self, x, training=False):
        self.caches.append(x.shape)
        return super().forward(x, training)


def test_attributes_of_a_user_defined_layer_are_not_overwritten():
    layer = Remembers()
    layer.caches, layer.get_initializer, layer.initializer = [], 3, None
    model = network(layer, inputs=(2,), loss="mse")
    for fitted in (model, copy.deepcopy(model)):
        fitted.fit(np.ones((4, 2)), np.zeros((4, 2)), verbose=0)
    layer.clear_caches()
    assert layer.caches == [(4, 2)]


@pytest.mark.parametrize("initializer", ["", 0, False, [1.0, 1.0]], ids=str)
def test_only_none_selects_the_default_initializer(initializer):
    with pytest.raises(ValueError, match="Could not interpret initializer"):
        tinynet.Layer().add_weight((2,), initializer, name="w")


class Rows(tinynet.layers.Dense):
    def compute_output_shape(self, input_shape):
        if len(input_shape) > 2:
            raise ValueError("only rows")
        return super().compute_output_shape(input_shape)


@pytest.mark.parametrize(
    "shapes", [{"input_shape": (2, 3), "batch_size": 4}, {"batch_input_shape": (4, 2, 3)}]
)
def test_the_former_names_of_an_inputs_shapes_are_taken_as_in_keras(shapes):
    former = next(iter(shapes))
    new = former.replace("input_", "")
    match = f"Argument `{former}` is deprecated. Use `{new}` instead. Write: {new}="
    with pytest.warns(UserWarning, match=match):
        layer = tinynet.layers.InputLayer(**shapes)
    assert layer.batch_shape == (4, 2, 3)


def test_a_subclass_of_dense_checks_the_shape_at_every_call():
    layer = Rows(3)
    layer(np.ones((2, 4)))
    with pytest.raises(ValueError, match="only rows"):
        layer(np.ones((2, 5, 4)))
