"""Single layers: their outputs, shapes, names, configurations and errors against Keras's, and the
gradients of `Dense` against central differences in float64 and against JAX on Keras's layer.
"""

import copy

import numpy as np
import pytest
from arrays import assert_allclose, assert_array_equal, put, shares_memory, through
from gradients import central_differences
from oracle import agree, both, refused, refused_in_keras_s_words, same

import tinynet

pytestmark = pytest.mark.computes

THROUGH = through(tinynet)
activations, layers = THROUGH.activations, THROUGH.layers
Dense, Flatten, Input = layers.Dense, layers.Flatten, layers.Input

ACTIVATIONS = [None, "linear", "relu", "sigmoid", "softmax", "tanh"]
SHAPES = [(6, 4), (3, 5, 4), (2, 3, 2, 4)]


def twins(keras, x, units=5, **arguments):
    """Return Keras's and tinynet's Dense layer, with the same non-zero weights."""
    theirs, ours = both(keras, lambda lib: lib.layers.Dense(units, **arguments), ours=THROUGH)
    theirs(x)
    ours(x)
    rng = np.random.default_rng(1)
    weights = [rng.normal(size=w.shape).astype("float32") for w in ours.get_weights()]
    theirs.set_weights(weights)
    ours.set_weights(weights)
    return theirs, ours


def error_message(function, *arguments):
    with pytest.raises(ValueError) as error:  # noqa: PT011, the caller checks the message
        function(*arguments)
    return str(error.value)


# Dense: forward


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_outputs_of_dense_equal_keras(keras, rng, activation, shape, use_bias):
    x = rng.normal(size=shape).astype("float32")
    theirs, ours = twins(keras, x, activation=activation, use_bias=use_bias)
    output = ours(x)
    assert output.dtype == np.float32
    assert_allclose(output, np.asarray(theirs(x)), rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool"])
def test_dense_accepts_inputs_of_any_type(keras, rng, dtype):
    x = rng.integers(0, 2, (6, 4)).astype(dtype)
    theirs, ours = twins(keras, x.astype("float32"))
    assert_allclose(ours(x), np.asarray(theirs(x)), rtol=2e-6, atol=1e-6)


def test_an_empty_batch_gives_an_empty_output(keras):
    x = np.zeros((0, 4), "float32")
    theirs, ours = twins(keras, x)
    assert ours(x).shape == theirs(x).shape == (0, 5)


def test_dense_keeps_the_logarithm_of_softmax(rng):
    layer = Dense(5, activation="softmax")
    output = layer(rng.normal(size=(2, 3, 4)).astype("float32"))
    assert layer.surprisal.shape == (2, 3, 5)
    assert_allclose(np.exp(-layer.surprisal), output, rtol=1e-6)


def test_calling_a_layer_returns_a_new_array(rng):
    x = rng.normal(size=(6, 4)).astype("float32")
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
        x = rng.normal(size=(size, 4)).astype("float32")
        gradient = rng.normal(size=(size, 3)).astype("float32")
        layer(x)
        fresh = Dense(3, activation)
        fresh(x)
        fresh.set_weights(layer.get_weights())
        assert_array_equal(layer.forward(x), fresh.forward(x))
        assert_array_equal(layer.backward(gradient), fresh.backward(gradient))
        assert_array_equal(layer.kernel_gradient, fresh.kernel_gradient)


def test_a_batch_of_another_type_gets_buffers_of_that_type(rng):
    layer, x = Dense(3, "softmax"), rng.normal(size=(6, 4))
    layer(x.astype("float32"))
    expected = activations.softmax(x @ layer.kernel.astype("float64"))
    assert layer.forward(x).dtype == np.float64
    assert_allclose(layer.forward(x), expected, rtol=1e-14)
    assert layer.forward(x.astype("float32")).dtype == np.float32


@pytest.mark.parametrize("given", ["float32", "float64", "int64"])
@pytest.mark.parametrize("dtype", [None, "float32", "float64"])
def test_a_layer_computes_in_its_own_type(keras, dtype, given):
    x = np.ones((2, 4), given)
    theirs = keras.layers.Dense(3, dtype="float32")(x).dtype if dtype != "float64" else dtype
    assert Dense(3, dtype=dtype)(x).dtype == theirs


def test_a_step_reuses_its_arrays():
    layer = tinynet.layers.Dense(3, "sigmoid")
    x, gradient = put(np.ones((8, 4), "float32")), put(np.ones((8, 3), "float32"))
    layer(x)
    output, passed = layer.forward(x), layer.backward(gradient)
    assert shares_memory(layer.forward(x), output)
    assert shares_memory(layer.backward(gradient), passed)
    assert shares_memory(layer.forward(x[:5]), output)


def test_the_output_of_a_user_defined_activation_is_used(rng):
    def double(z, out=None):
        return z * 2

    x = rng.normal(size=(6, 4)).astype("float32")
    layer = Dense(3, activation=double)
    assert_allclose(layer(x), 2 * (x @ layer.kernel), rtol=1e-5, atol=1e-6)


# Dense: backward


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_gradients_of_dense_are_the_derivatives(rng, activation, shape, use_bias):
    tinynet.config.set_floatx("float64")
    x, gradient = rng.normal(size=shape), rng.normal(size=(*shape[:-1], 5))
    layer = Dense(5, activation, use_bias, bias_initializer="random_normal")
    layer(x)

    def value():
        return (gradient * layer.forward(x)).sum()

    value()
    received = {"x": layer.backward(gradient).copy(), "kernel": layer.kernel_gradient.copy()}
    variables = {"x": x, "kernel": layer.bare.kernel}
    if use_bias:
        received["bias"], variables["bias"] = layer.bias_gradient.copy(), layer.bare.bias
    for name, variable in variables.items():
        expected = central_differences(value, variable)
        assert_allclose(received[name], expected, rtol=1e-7, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("shape", SHAPES[:2])
@pytest.mark.parametrize("activation", ACTIVATIONS[1:])
def test_the_gradients_of_dense_equal_jax_on_the_keras_layer(keras, rng, activation, shape):
    import jax

    x = rng.normal(size=shape).astype("float32")
    gradient = rng.normal(size=(*shape[:-1], 5)).astype("float32")
    theirs, ours = twins(keras, x, activation=activation)

    def value(weights, x):
        return (gradient * theirs.stateless_call(weights, [], x)[0]).sum()

    weights = [variable.value for variable in theirs.trainable_variables]
    (kernel, bias), dx = jax.grad(value, argnums=(0, 1))(weights, x)
    ours.forward(x)
    passed = ours.backward(gradient)
    for received, expected in [
        (passed, dx),
        (ours.kernel_gradient, kernel),
        (ours.bias_gradient, bias),
    ]:
        assert received.dtype == np.float32
        assert_allclose(received, np.asarray(expected), rtol=1e-5, atol=5e-6)


def test_backward_from_z_equals_backward_without_the_activation(rng):
    x, gradient = rng.normal(size=(6, 4)), rng.normal(size=(6, 3))
    layer = Dense(3, "tanh")
    layer(x)
    a = layer.forward(x).copy()
    expected = layer.backward(gradient).copy(), layer.kernel_gradient.copy()
    passed = layer.backward_from_z(activations.tanh_backward(gradient, a))
    assert_array_equal(passed, expected[0])
    assert_array_equal(layer.kernel_gradient, expected[1])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_neither_input_nor_gradient_is_changed(rng, activation):
    x, gradient = (rng.normal(size=(6, 4)).astype("float32") for _ in range(2))
    kept_x, kept_gradient = x.copy(), gradient.copy()
    layer = Dense(4, activation)
    layer(x)
    layer.forward(x)
    layer.backward(gradient)
    assert_array_equal(x, kept_x)
    assert_array_equal(gradient, kept_gradient)


def test_a_frozen_layer_only_passes_the_gradient_on(rng):
    x, gradient = rng.normal(size=(6, 4)), rng.normal(size=(6, 3))
    layer = Dense(3, "tanh")
    layer(x)
    layer.forward(x)
    expected = layer.backward(gradient).copy()
    layer.bare.kernel_gradient[...], layer.bare.bias_gradient[...] = 7, 7
    layer.trainable = False
    assert_array_equal(layer.backward(gradient), expected)
    assert (layer.kernel_gradient == 7).all()
    assert (layer.bias_gradient == 7).all()


def test_the_lowest_trainable_layer_returns_no_gradient(rng):
    x, gradient = rng.normal(size=(6, 4)), rng.normal(size=(6, 3))
    layer = Dense(3)
    layer(x)
    layer.forward(x)
    layer.backward(gradient)
    expected = layer.kernel_gradient.copy()
    layer.bare.kernel_gradient[...] = 0
    layer.needs_input_gradient = False
    assert layer.backward(gradient) is None
    assert_array_equal(layer.kernel_gradient, expected)


# Flatten


@pytest.mark.parametrize("data_format", [None, "channels_last", "channels_first"])
@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 2, 3), (5, 2, 3, 4), (0, 2, 3)])
def test_the_outputs_of_flatten_equal_keras(keras, rng, shape, data_format):
    for dtype in ("uint8", "float32", "int32"):
        x = rng.integers(0, 255, shape).astype(dtype)
        expected = np.asarray(keras.layers.Flatten(data_format)(x))
        assert_array_equal(Flatten(data_format)(x), expected, strict=True)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("shape", [(5,), (5, 3), (5, 2, 3, 4)])
def test_the_backward_of_flatten_is_the_derivative(rng, shape, data_format):
    x = rng.normal(size=shape)
    layer = Flatten(data_format)
    gradient = rng.normal(size=layer(x).shape)
    expected = central_differences(lambda: (gradient * layer.forward(x)).sum(), x)
    layer.forward(x)
    assert_allclose(layer.backward(gradient), expected, rtol=1e-7, atol=1e-9)


# Shapes


@pytest.mark.parametrize("shape", [(None, 4), (2, 4), (None, 2, 4), (None, None, 4)])
def test_the_output_shape_of_dense_equals_keras(keras, shape):
    expected = tuple(keras.layers.Dense(3).compute_output_shape(shape))
    assert Dense(3).compute_output_shape(shape) == expected


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize(
    "shape", [(None, 4), (2, 4), (3,), (None, 2, 4), (2, 3, 4, 5), (None, None, 4), (None, 4, None)]
)
def test_the_output_shape_of_flatten_equals_keras(keras, shape, data_format):
    expected = tuple(keras.layers.Flatten(data_format).compute_output_shape(shape))
    assert Flatten(data_format).compute_output_shape(shape) == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"shape": (28, 28)}, (None, 28, 28)),
        ({"shape": [3]}, (None, 3)),
        ({"shape": (None, 3)}, (None, None, 3)),
        ({"shape": (3,), "batch_size": 8}, (8, 3)),
        ({"batch_shape": (8, 3)}, (8, 3)),
        ({"batch_shape": (None, 3)}, (None, 3)),
    ],
)
def test_an_input_has_the_given_shape(keras, arguments, expected):
    assert Input(**arguments).batch_shape == expected
    assert keras.layers.Input(**arguments).shape == expected


def test_an_input_with_two_shapes_is_refused(keras):
    said = "cannot pass both `shape` and `batch_shape` at the"
    refused(keras, lambda lib: lib.layers.Input((3,), batch_shape=(None, 4)), said)


# Configurations and names

CONFIGURED = [
    ("Dense", {"units": 3, "name": "d"}),
    (
        "Dense",
        {
            "units": 3,
            "activation": "relu",
            "use_bias": False,
            "trainable": False,
            "dtype": "float32",
            "name": "d",
        },
    ),
    ("Dense", {"units": 2, "kernel_initializer": "zeros", "bias_initializer": "ones", "name": "d"}),
    ("Dense", {"units": 2, "kernel_initializer": "random_normal", "name": "d"}),
    ("Dense", {"units": 2, "bias_initializer": None, "name": "d"}),
    ("Flatten", {"name": "f"}),
    ("Flatten", {"data_format": "channels_first", "trainable": False, "name": "f"}),
    ("InputLayer", {"batch_shape": (None, 3), "name": "i"}),
    ("InputLayer", {"batch_shape": (4, 28, 28), "dtype": "uint8", "name": "i"}),
]


@pytest.mark.parametrize(("name", "arguments"), CONFIGURED)
def test_the_configuration_equals_keras(keras, name, arguments):
    same(keras, lambda lib: getattr(lib.layers, name)(**arguments).get_config())


@pytest.mark.parametrize(("name", "arguments"), CONFIGURED)
def test_a_layer_can_be_made_from_the_configuration_of_keras(keras, name, arguments):
    theirs = getattr(keras.layers, name)(**arguments)
    ours = tinynet.layers.get(keras.layers.serialize(theirs))
    assert type(ours) is getattr(tinynet.layers, name)
    assert ours.get_config() == theirs.get_config()


@pytest.mark.parametrize(("name", "arguments"), CONFIGURED)
def test_a_configuration_recreates_the_layer_in_both_libraries(keras, name, arguments):
    ours = getattr(tinynet.layers, name)(**arguments)
    again = type(ours).from_config(ours.get_config())
    assert again.get_config() == ours.get_config()
    theirs = keras.layers.deserialize(tinynet.layers.serialize(ours))
    assert theirs.get_config() == getattr(keras.layers, name)(**arguments).get_config()


def test_a_layer_from_a_configuration_is_unbuilt_and_draws_new_weights(rng):
    layer = Dense(3, "tanh")
    x = rng.normal(size=(6, 4)).astype("float32")
    layer(x)
    again = Dense.from_config(layer.get_config())
    assert not again.built
    assert again.weights == []
    assert again(x).shape == (6, 3)
    assert not np.any(again.kernel == layer.kernel)


def test_names_are_numbered_by_class_as_in_keras(keras):
    def names(lib):
        dense, flatten, first = lib.layers.Dense, lib.layers.Flatten, lib.layers.InputLayer
        made = [dense(1), dense(1), dense(1, name="dense_7"), dense(1, name="mine"), dense(1)]
        made += [flatten(), first(batch_shape=(None, 3)), first(batch_shape=(None, 3))]
        return [layer.name for layer in made]

    keras.utils.clear_session()
    same(keras, names)


# Weights


def test_get_weights_and_set_weights_copy(rng):
    layer = Dense(3)
    layer.ensure_built((None, 4))
    kernel, bias = layer.get_weights()
    assert (kernel.shape, bias.shape) == ((4, 3), (3,))
    new = [rng.normal(size=(4, 3)), rng.normal(size=3)]
    live = layer.bare.kernel
    layer.set_weights(new)
    assert layer.bare.kernel is live
    assert live.dtype == np.float32
    assert_array_equal(live, new[0].astype("float32"))
    new[0][...] = 0
    kernel[...] = 0
    layer.get_weights()[0][...] = 0
    assert layer.kernel.all()


def test_a_layer_can_be_built_explicitly(keras, rng):
    x = rng.normal(size=(6, 4)).astype("float32")
    weights = [rng.normal(size=(4, 3)).astype("float32"), np.ones(3, "float32")]
    for layer in (keras.layers.Dense(3), Dense(3)):
        layer.build((None, 4))
        assert layer.built
        layer.set_weights(weights)
        assert_allclose(np.asarray(layer(x)), x @ weights[0] + 1, rtol=1e-5, atol=1e-6)
        assert len(layer.get_weights()) == 2
        assert layer.count_params() == 15


def test_trainable_weights_depend_on_trainable():
    layer = Dense(3)
    assert layer.weights == layer.trainable_weights == layer.non_trainable_weights == []
    layer.ensure_built((None, 4))
    assert [len(layer.trainable_weights), len(layer.non_trainable_weights)] == [2, 0]
    layer.trainable = False
    assert [len(layer.trainable_weights), len(layer.non_trainable_weights)] == [0, 2]
    assert layer.count_params() == 15


def test_a_user_defined_layer_can_have_non_trainable_weights():
    class Shift(tinynet.Layer):
        def build(self, input_shape):
            self.add_weight((), "zeros", trainable=False, name="seen")
            self.add_weight(input_shape[-1:], "ones", name="by")

        def forward(self, x, training=False):
            self.seen += len(x)
            return x + self.by

    layer = through(Shift())
    assert layer.name == "shift"
    assert_array_equal(layer(np.zeros((2, 3), "float32")), np.ones((2, 3)))
    assert [w.shape for w in layer.weights] == [(3,), ()]
    assert (layer.seen, layer.count_params()) == (2, 4)
    assert layer.by_gradient.shape == (3,)
    assert not hasattr(layer, "seen_gradient")
    with pytest.raises(NotImplementedError, match="Shift has to define backward"):
        layer.backward(np.ones((2, 3)))
    with pytest.raises(ValueError, match='name="scale"'):
        layer.add_weight((3,))


# Mistakes


@pytest.mark.parametrize(
    "arguments",
    [
        {"units": 0},
        {"units": -1},
        {"units": 2.5},
        {"units": "3"},
        {"units": 3, "foo": 1},
        {"units": 3, "activation": "foo"},
        {"units": 3, "kernel_initializer": "foo"},
    ],
)
def test_wrong_arguments_raise_the_message_of_keras(keras, arguments):
    refused_in_keras_s_words(keras, lambda lib: lib.layers.Dense(**arguments))


@pytest.mark.parametrize("name", ["a/b", 5])
def test_a_name_that_keras_refuses_is_refused(keras, name):
    said = "^Argument `name` must be a string and cannot contain character `/`\\."
    refused(keras, lambda lib: lib.layers.Dense(3, name=name), said)


@pytest.mark.parametrize(
    ("argument", "value"), [("bias_regularizer", "l2"), ("lora_rank", 2), ("autocast", False)]
)
def test_unsupported_arguments_are_refused_unless_they_are_the_default(argument, value):
    said = error_message(lambda: Dense(3, **{argument: value}))
    assert f"{argument}={value!r}, which Keras supports, but tinynet does not" in said
    default = {"autocast": True}.get(argument)
    assert Dense(3, **{argument: default}).units == 3


@pytest.mark.parametrize("shape", [(4,), ()])
def test_a_single_sample_raises_the_message_of_keras(keras, shape):
    x = np.zeros(shape, "float32")

    def program(lib):
        lib.layers.Dense(3, name="d")(x)

    refused_in_keras_s_words(keras, program, ours=THROUGH)


@pytest.mark.parametrize("shape", [(6, 5), (6, 2, 3)])
def test_an_input_of_another_width_raises_the_message_of_keras(keras, shape):
    x = np.zeros((2, 4), "float32")
    theirs, ours = twins(keras, x, name="d")
    x = np.zeros(shape, "float32")
    assert error_message(ours, x).startswith(error_message(theirs, x))


def test_an_input_of_unknown_width_is_refused():
    with pytest.raises(ValueError, match=r"Write: Input\(shape=\(784,\)\)"):
        Dense(3).ensure_built((None, None))


def test_an_unknown_data_format_is_refused():
    assert "channels_last" in error_message(lambda: Flatten("channels"))


@pytest.mark.parametrize("shape", [None, 3, (3.5,), (-1,)])
def test_an_invalid_shape_is_refused(keras, shape):
    refused(keras, lambda lib: lib.layers.Input(shape), "shape")


@pytest.mark.parametrize(
    "weights",
    [
        [np.ones((4, 3))],
        [np.ones((4, 3)), np.ones(3), np.ones(3)],
        [np.ones((3, 4)), np.ones(3)],
        [np.ones((4, 3)), np.ones((3, 1))],
    ],
)
def test_weights_of_wrong_shapes_raise_the_message_of_keras_and_change_nothing(keras, rng, weights):
    theirs, ours = twins(keras, np.zeros((2, 4), "float32"), units=3, name="d")
    before = ours.get_weights()
    assert error_message(ours.set_weights, weights).startswith(
        error_message(theirs.set_weights, weights)
    )
    agree(before, ours.get_weights())


def test_count_params_of_an_unbuilt_layer_raises_the_message_of_keras(keras):
    theirs, ours = refused(keras, lambda lib: lib.layers.Dense(3, name="d").count_params())
    assert ours.startswith(theirs.rstrip("."))


def test_an_unknown_layer_is_answered_with_the_known_ones():
    said = error_message(tinynet.layers.get, {"class_name": "Conv2D", "config": {}})
    assert said.startswith("Could not interpret layer identifier: Conv2D")
    assert "Dense" in said
    assert "Flatten" in said


def test_a_layer_keeps_the_type_it_was_built_with():
    x = np.ones((2, 4))
    layer = Dense(3)
    assert layer(x).dtype == np.float32
    tinynet.config.set_floatx("float64")
    assert layer(x).dtype == np.float32
    assert Dense(3)(x).dtype == np.float64


def test_the_gradient_of_a_batch_is_the_sum_over_its_samples(rng):
    x, gradient = rng.normal(size=(2, 4)), rng.normal(size=(2, 3))
    tinynet.config.set_floatx("float64")
    layer = Dense(3)
    layer(x)
    layer.backward(gradient)
    both, each = layer.kernel_gradient.copy(), 0
    for n in range(2):
        layer(x[n : n + 1])
        layer.backward(gradient[n : n + 1])
        each = each + layer.kernel_gradient
    assert_allclose(each, both, rtol=1e-12)


class Rows(tinynet.layers.Dense):
    def compute_output_shape(self, input_shape):
        if len(input_shape) > 2:
            raise ValueError("only rows")
        return super().compute_output_shape(input_shape)


def test_a_subclass_of_dense_checks_the_shape_at_every_call():
    layer = Rows(3)
    layer(np.ones((2, 4)))
    with pytest.raises(ValueError, match="only rows"):
        layer(np.ones((2, 5, 4)))


class Remembers(tinynet.Layer):
    """A layer whose attributes have names that the base class might use."""

    def __init__(self):
        super().__init__()
        self.caches, self.get_initializer, self.initializer = [], 3, None

    def build(self, input_shape):
        self.add_weight(input_shape[-1:], "ones", name="scale")

    def forward(self, x, training=False):
        self.caches.append(x.shape)
        self.x = x
        return x * self.scale

    def backward(self, gradient):
        self.scale_gradient[...] = (gradient * self.x).sum(axis=0)
        return gradient * self.scale


def test_attributes_of_a_user_defined_layer_are_not_overwritten():
    layer = Remembers()
    model = tinynet.Sequential([tinynet.Input((2,)), layer])
    model.compile("sgd", "mse")
    model.fit(np.ones((4, 2)), np.zeros((4, 2)), verbose=0)
    copy.deepcopy(model).fit(np.ones((4, 2)), np.zeros((4, 2)), verbose=0)
    layer.clear_caches()
    assert layer.caches == [(4, 2)]


@pytest.mark.parametrize("initializer", ["", 0, False, np.ones(2)], ids=str)
def test_only_none_selects_the_default_initializer(initializer):
    with pytest.raises(ValueError, match="Could not interpret initializer"):
        tinynet.Layer().add_weight((2,), initializer, name="w")


def test_a_subclass_of_activation_may_call_activate():
    class Doubled(tinynet.layers.Activation):
        def forward(self, x, training=False):
            return 2 * self.activate(x, self.buffer("mine", x.shape, x.dtype))

    x = np.ones((2, 3), "float32")
    assert_allclose(through(Doubled("softmax"))(x), 2 / 3, rtol=1e-6)
    assert_allclose(through(Doubled("tanh"))(x), 2 * np.tanh(1), rtol=1e-6)


def test_an_activation_need_not_be_hashable():
    class Twice:
        __hash__ = None

        def __call__(self, z):
            return 2 * z

    assert_allclose(through(tinynet.layers.Activation(Twice()))(np.ones((1, 2), "float32")), 2)
