"""Keras's functional API is refused where it begins, with the `Sequential` that says the same.

The line to write is executed: it makes a model of the same layers. Nothing is built or drawn for
the message, and no name is used up.
"""

import re
from itertools import pairwise

import numpy as np
import pytest
from networks import network

import tinynet
from tinynet import Input, Sequential, backend, initializers, layers, regularizers
from tinynet.layers import Activation, Dense, Dropout, Flatten

pytestmark = pytest.mark.host

NAMES = {**vars(layers), **vars(initializers), **vars(regularizers), "Sequential": Sequential}


class Mine(layers.Layer):
    def __init__(self, width):
        super().__init__()
        self.width = width


class MyModel(Sequential):
    """A model whose `forward` may do anything."""


def squared(z):
    return z * z


def told(layer, x):
    """Return the message for a call, after asserting that nothing has changed."""
    tinynet.utils.clear_session()
    Dense(1)
    before = layer.built, getattr(x, "built", None), backend.generator().bit_generator.state
    with pytest.raises(ValueError, match=r"^Expected x to be an array, received ") as caught:
        layer(x)
    assert before == (
        layer.built, getattr(x, "built", None), backend.generator().bit_generator.state
    )  # fmt: skip
    assert Dense(1).name == "dense_1"
    return str(caught.value)


def to_write(message):
    """Return the line after "Write: "."""
    return re.fullmatch(r".* called with each other\. Write: (.*)", message)[1]


def configs(parts):
    """Return the configurations of layers; automatic names without their numbers."""
    found = [(type(part), part.get_config()) for part in parts]
    return [(k, {**c, "name": re.sub(r"_\d+$", "", c["name"])}) for k, c in found]


LAYERS = {
    "Dense(10)": lambda: Dense(10),
    "Dense(100, activation='relu')": lambda: Dense(100, "relu"),
    "Dense(2, activation='softmax', use_bias=False)": lambda: Dense(2, "softmax", use_bias=False),
    "Dense(2, kernel_initializer='he_normal', bias_initializer=RandomNormal(stddev=0.1, seed=3))": (
        lambda: Dense(
            2, kernel_initializer=initializers.HeNormal(),
            bias_initializer=initializers.RandomNormal(stddev=0.1, seed=3),
        )
    ),
    "Dense(2, kernel_initializer=None, kernel_regularizer=L2(l2=0.5))": (
        lambda: Dense(2, kernel_initializer=None, kernel_regularizer=regularizers.L2(0.5))
    ),
    "Dense(2, kernel_regularizer='l2', name='top', trainable=False, dtype='float64')": (
        lambda: Dense(2, "linear", kernel_regularizer="l2", name="top", trainable=False,
                      dtype="float64")
    ),
    "Flatten()": Flatten,
    "Flatten(data_format='channels_first')": lambda: Flatten("channels_first"),
    "Activation('linear')": lambda: Activation("linear"),
    "Activation('tanh', name='squash')": lambda: Activation("tanh", name="squash"),
    "Dropout(0.25)": lambda: Dropout(0.25),
    "Dropout(0.5, noise_shape=(None, 1), seed=3)": (
        lambda: Dropout(0.5, noise_shape=(None, 1), seed=3)
    ),
}  # fmt: skip
INPUTS = {
    "Input((784,))": lambda: Input((784,)),
    "Input((28, 28), batch_size=5, name='pixels')": (
        lambda: Input((28, 28), batch_size=5, name="pixels")
    ),
    "Input((3,), dtype='float64')": lambda: Input(batch_shape=(None, 3), dtype="float64"),
}


@pytest.mark.parametrize("line", [*LAYERS, *INPUTS])
def test_a_part_is_written_as_the_call_that_makes_it(line):
    make, input_line = {**LAYERS, **INPUTS}[line], "Input((784,))"
    given = [make()] if line in INPUTS else [Input((784,)), make()]
    message = told(given[-1] if line in LAYERS else Activation("relu"), given[0])
    expected = [line, "Activation('relu')"] if line in INPUTS else [input_line, line]
    assert to_write(message) == f"Sequential([{', '.join(expected)}])"
    made = eval("[" + ", ".join(expected) + "]", NAMES)
    assert configs(made[: len(given)]) == configs(given)
    if "float64" not in line:
        assert len(eval(to_write(message), NAMES).layers) == 1


def test_every_kind_of_layer_is_written():
    made = [make() for make in (*LAYERS.values(), *INPUTS.values())]
    assert {type(layer).__name__ for layer in made} == layers.KNOWN.keys()


@pytest.mark.parametrize("wrap", [lambda x: [x], lambda x: (x,), lambda x: {"image": x}])
def test_one_part_in_a_list_is_that_part(wrap):
    assert to_write(told(Dense(2), wrap(Input((3,))))) == "Sequential([Input((3,)), Dense(2)])"


def test_layers_and_models_that_follow_each_other():
    """Of a model, the layers are listed; the `Input` is that of the call."""
    model = network((3, "tanh"), Dropout(0.5), inputs=(4,))
    stack = "Dense(3, activation='tanh'), Dropout(0.5)"
    of_model = to_write(told(model, Input((4,))))
    assert of_model == f"Sequential([Input((4,)), {stack}])"
    assert configs(eval(of_model, NAMES).layers) == configs(model.layers)
    lines = {
        "Sequential([Dense(3, activation='tanh'), Dense(2)])": (Dense(2), model.layers[0]),
        "Sequential([Dense(3, input_shape=(4,)), Dense(2)])": (
            Dense(2), Dense(3, input_shape=(4,)),
        ),
        "Sequential([Input((4,)), Dense(2)])": (Dense(2), model.inputs[0]),
        "Sequential([Input((4,)), Sequential([Dense(2)]), Flatten()])": (
            Sequential([Sequential([Dense(2)]), Flatten()]), Input((4,)),
        ),
    }  # fmt: skip
    for line, (layer, x) in lines.items():
        assert to_write(told(layer, x)) == line
        eval(line, NAMES)


@pytest.mark.parametrize(
    "of", ["model.output", "model.outputs[0]", "model", "model.layers[0].output"]
)
def test_on_top_of_a_model_a_layer_is_added(of):
    model = network((3, "tanh"), inputs=(4,))
    layer = Dense(1, name="top")
    line, comment = to_write(told(layer, eval(of, {"model": model}))).split(", for ")
    assert comment == "a layer on top of a model"
    assert line == "model.add(Dense(1, name='top'))"
    eval(line, {**NAMES, "model": model})
    assert configs(model.layers[1:]) == configs([layer])
    whole = to_write(told(network((2,), inputs=(3,)), model))
    assert whole.startswith("model.add(Sequential([Input((3,)), Dense(2)])), for ")


@pytest.mark.parametrize(
    ("x", "received"),
    [
        ([Input((3,)), Input((3,))], "Input, Input"),
        ((Dense(2), Sequential()), "Dense, Sequential"),
        ({"a": Input((3,)), "b": Input((3,))}, "Input, Input"),
        ([np.ones((2, 3)), Input((3,))], "ndarray, Input"),
    ],
)
def test_for_several_inputs_there_is_no_sequential(x, received):
    for layer in (Dense(1), network((3,), inputs=(3,))):
        message = told(layer, x)
        assert f"received {received}: " in message
        assert message.endswith("so no Sequential says the same. Use Keras for this model")


def test_what_is_not_known_of_a_part_is_left_open():
    constant, own = initializers.Constant(np.ones(3)), type("Own", (initializers.Zeros,), {})
    lines = {
        "Mine(…)": Mine(3),
        "MyModel(…)": MyModel([Dense(2)]),
        "Dense(2, activation=squared)": Dense(2, squared),
        "Dense(2, activation=…)": Dense(2, lambda z: z),
        "Dense(3, bias_initializer=Constant(value=…))": Dense(3, bias_initializer=constant),
        "Dense(3, bias_initializer=Own(…))": Dense(3, bias_initializer=own()),
    }
    for line, layer in lines.items():
        assert to_write(told(layer, Input((4,)))) == f"Sequential([Input((4,)), {line}])"


def test_arrays_and_lists_of_numbers_are_taken():
    layer = Dense(2)
    rows = [[1.0, 2.0], [3.0, 4.0]]
    for one, other in pairwise(layer(x) for x in (np.array(rows), rows, tuple(rows))):
        np.testing.assert_array_equal(one, other)


def test_the_line_makes_the_layers_of_keras_s_functional_model(keras):
    def functional(lib):
        inputs = lib.Input((784,))
        return lib.Model(inputs, lib.layers.Dense(10, activation="relu")(inputs))

    line = to_write(told(Dense(10, activation="relu"), Input((784,))))
    stacked = eval(line, {**vars(keras.layers), "Sequential": keras.Sequential})
    assert configs(stacked.layers) == configs(functional(keras).layers[1:])


def test_a_model_with_the_method_call_is_told_of_sequential():
    kind = type("Called", (Sequential,), {"call": lambda self, x: x})
    with pytest.raises(ValueError, match=r"Write: Sequential\(\[…\]\) if call passes x from layer"):
        kind([Dense(1)])
    with pytest.raises(ValueError, match=r"Write: forward\(x, training\) and backward\(gradient\)"):
        network(type("Called", (Dense,), {"call": lambda self, x: x})(1), inputs=(3,))
