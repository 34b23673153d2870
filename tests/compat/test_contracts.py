"""User-defined parts that break their contract: the message names the part and what to write."""

import pickle

import numpy as np
import pytest
from networks import ONE_HOT, network

import tinynet
from tinynet import activations, callbacks, initializers, losses, metrics, optimizers, regularizers
from tinynet.layers import Dense

pytestmark = pytest.mark.computes

RNG = np.random.default_rng(2)
X = RNG.normal(size=(12, 4)).astype("float32")
Y = np.eye(3, dtype="float32")[RNG.integers(0, 3, 12)]

FORGOTTEN = {
    tinynet.Layer: lambda part: tinynet.Sequential([part]),
    Dense: lambda part: tinynet.Sequential([tinynet.Input((4,)), part]),
    losses.Loss: lambda part: network((3,), inputs=(4,), loss=part).evaluate(X, Y, verbose=0),
    metrics.Metric: lambda part: part.result(),
    optimizers.Adam: lambda part: network((3,), inputs=(4,), loss="mse", optimizer=part).fit(X, Y),
    regularizers.L2: lambda part: part(X),
    initializers.RandomNormal: lambda part: part((2, 3)),
    callbacks.EarlyStopping: lambda part: part.on_epoch_end(0, {}),
    tinynet.Sequential: lambda part: part.add(Dense(3)),
}


@pytest.mark.host
@pytest.mark.parametrize("base", FORGOTTEN, ids=lambda base: base.__name__)
def test_a_forgotten_call_of_the_base_constructor_is_told(base):
    part = type("Forgetful", (base,), {"__init__": lambda self: None})()
    with pytest.raises(AttributeError, match=r"Forgetful\.__init__.*super\(\)\.__init__\(\)"):
        FORGOTTEN[base](part)


@pytest.mark.host
def test_other_missing_attributes_have_pythons_message_and_properties_their_own():
    with pytest.raises(AttributeError, match="'Dense' object has no attribute 'unit'"):
        Dense(3).unit  # noqa: B018
    with pytest.raises(AttributeError, match="no defined output shape yet"):
        tinynet.Sequential().output_shape  # noqa: B018
    assert pickle.loads(pickle.dumps(Dense(3, name="a"))).name == "a"


# What methods return


def part_of(base, **results):
    """Return an object of a class whose methods return these results."""
    methods = {name: (lambda *_, to_return=each, **__: to_return) for name, each in results.items()}
    return type("Own", (base,), methods)()


def layer_of(forward=None, backward=None, shape=None):
    class Own(tinynet.Layer):
        def forward(self, x, training=False):
            return x * 1 if forward is None else forward(x)

        def backward(self, gradient):
            return gradient if backward is None else backward(gradient)

        if shape is not None:

            def compute_output_shape(self, input_shape):
                return shape(input_shape)

    return Own()


def with_layer(layer, top=True):
    stack = [Dense(4), layer, *[Dense(3)] * top]
    return network(*stack, inputs=(4,), loss="mse", optimizer="sgd")


def own_activation(result, backward=None):
    def own(z):
        return z * 1 if result is None else result(z)

    @activations.backward_of(own)
    def own_backward(gradient, a):
        return gradient if backward is None else backward(gradient)

    return network(Dense(3, own), inputs=(4,), loss="mse")


WRONG = {
    "nothing": lambda x: None, "text": lambda x: "a", "another width": lambda x: x[:, :2],
    "another batch": lambda x: x[:2], "one number": lambda x: 1.0,
    "ragged": lambda x: [[1], [1, 2]], "complex": lambda x: np.zeros(x.shape, complex),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_what_a_layer_or_activation_returns_is_checked(wrong):
    result = WRONG[wrong]
    for model, name in (
        (with_layer(layer_of(forward=result)), r"Own\.forward \(layer 'own"),
        (with_layer(layer_of(forward=result), top=False), r"Own\.forward \(layer 'own"),
        (own_activation(result), "activation own"),
    ):
        for call in (model, lambda x, model=model: model.predict(x, verbose=0)):
            with pytest.raises(
                ValueError, match=rf"Expected {name}.* to return .* received .*Write"
            ):
                call(X)
    targets = np.zeros((12, 3))
    for model, name in (
        (with_layer(layer_of(backward=result)), r"Own\.backward \(layer 'own"),
        (own_activation(None, result), "own_backward"),
    ):
        with pytest.raises(ValueError, match=rf"Expected {name}.* to return .* received .*Write"):
            model.fit(X, targets, verbose=0)


@pytest.mark.host
@pytest.mark.parametrize("shape", [None, 3, "ab", (None, 2.5), ()])
def test_what_compute_output_shape_returns_is_checked(shape):
    with pytest.raises(ValueError, match=r"Own\.compute_output_shape to return a shape"):
        with_layer(layer_of(shape=lambda _: shape))


@pytest.mark.parametrize("result", [None, "a", [[1], [1, 2]], np.zeros(5), 1j])
def test_what_losses_metrics_and_the_like_return_is_checked(result):
    def metric(y_true, y_pred):
        return result

    cases = {
        r"Own\.call": {"loss": part_of(losses.Loss, call=result, backward=Y)},
        r"Own\.__call__": {"penalty": part_of(regularizers.Regularizer, __call__=result)},
        r"Own\.gradient": {"penalty": part_of(regularizers.L2, gradient=result)},
        r"Own\.draw": {"start": part_of(initializers.Initializer, draw=result)},
        "initializer Own": {"start": part_of(initializers.Initializer, __call__=result)},
    }
    if not isinstance(result, np.ndarray):  # a metric may leave samples out
        cases |= {"metric": {"metrics": [metric]}}
        cases |= {"Own.call": {"metrics": [part_of(metrics.Metric, call=result)]}}
        cases["the result of metric 'own'"] = {
            "metrics": [part_of(metrics.Metric, result=result, update_state=None)]
        }
    for name, given in cases.items():
        penalty, start = given.get("penalty"), given.get("start", "zeros")
        dense = Dense(3, "softmax", kernel_regularizer=penalty, kernel_initializer=start)
        model = network(dense, loss=given.get("loss", ONE_HOT), metrics=given.get("metrics"))
        with pytest.raises(ValueError, match=rf"Expected {name}.* (return|be) .*received .*Write"):
            model.fit(X, Y, verbose=0)


@pytest.mark.parametrize("kind", ["float64", "float16", "int64", "bool", "list"])
def test_results_have_the_float_type_of_the_model(kind, library):
    def convert(x):
        if kind == "list":
            return [list(map(float, row)) for row in (x.get() if library != "numpy" else x)]
        return (x * 2).astype(kind)

    for model in (with_layer(layer_of(forward=convert), top=False), own_activation(convert)):
        assert model(X).dtype == model.predict(X, verbose=0).dtype == "float32"
        assert model.layers[-1](X[:, :4]).dtype == "float32"
        model.fit(X, np.zeros((12, model.output_shape[-1])), verbose=0)
        assert model.layers[0].kernel.dtype == "float32"
