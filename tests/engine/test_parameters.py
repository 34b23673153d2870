"""All weights in one vector: its layout, the arrays that stay views of it, and its restoration."""

import copy

import numpy as np
import pytest
from arrays import assert_array_equal, look
from networks import ONE_HOT, Scale, network
from oracle import agree

import tinynet
from tinynet.layers import Dense, Flatten

pytestmark = pytest.mark.computes

X, Y = np.ones((6, 4), "float32"), np.eye(3, dtype="float32")[[0, 1, 2, 0, 1, 2]]


class Replacing(Scale):
    """A `Scale` that replaces the array of its state at every step."""

    def forward(self, x, training=False):
        self.seen = self.seen.copy()
        return super().forward(x, training)


class Boxed(Scale):
    """A `Scale` that also keeps its state in a list, and a growing history as int64."""

    def build(self, input_shape):
        super().build(input_shape)
        self.box = [self.seen]
        self.add_weight((1,), "zeros", trainable=False, name="history")
        self.history = np.zeros(1, "int64") + 16777217

    def forward(self, x, training=False):
        self.history = np.append(self.history, 1)
        return super().forward(x, training)


def scaled(kind=Scale):
    """Return a model with a layer of this kind, trained for one step."""
    model = network((5,), kind(), (3, "softmax"), inputs=(4,), loss=ONE_HOT)
    model.fit(X, Y, verbose=0)
    return model


def fit_fails(model, change=lambda: None):
    """Assert that `fit` raises the error of a metric in the first step, which makes a change."""

    def fails(y_true, y_pred):
        change()
        raise ZeroDivisionError

    model.compile_metrics = [fails]
    with pytest.raises(ZeroDivisionError):
        model.fit(X, Y, verbose=0)
    model.compile_metrics = []


def test_the_vector_has_all_weights_with_a_gradient_and_its_pairs_are_reused():
    model = scaled()
    assert model.flat.size == 4 * 5 + 5 + 5 + 5 * 3 + 3
    ((gradients, values),) = before = model.parameters.pairs
    assert gradients.size == values.size == model.flat.size
    model.fit(X, Y, verbose=0)
    assert model.parameters.pairs is before


def test_a_second_attribute_of_a_weight_stays_a_view_of_the_vector():
    model = scaled()
    layer = model.layers[1]
    layer.also = kept = layer.scale
    before = look(kept).copy()
    model.fit(X, Y, verbose=0)
    assert layer.also is layer.scale is kept
    assert not (look(kept) == before).any()
    model.add(Dense(2))  # the vector grows: all weights move into a new one
    assert layer.also is layer.scale is not kept


@pytest.mark.parametrize("kind", [Scale, Replacing])
def test_a_failed_fit_restores_the_weights_and_the_state_of_a_layer(kind):
    model = scaled(kind)
    layer, before = model.layers[1], model.get_weights()
    assert float(layer.seen) == 6
    fit_fails(model)
    agree(before, model.get_weights())
    model.fit(X, Y, verbose=0)
    assert float(layer.seen) == 12


def test_a_failed_fit_restores_weights_built_before_the_model():
    layer = Dense(6, "tanh")
    layer.build((None, 4))
    before, model = layer.get_weights(), network(layer, (3, "softmax"), loss=ONE_HOT)
    fit_fails(model)
    assert not model.built
    assert model.layers[1].kernel is None
    agree(before, layer.get_weights())


def test_a_layer_may_change_the_type_and_shape_of_its_state():
    with tinynet.backend.use("numpy"):
        model = scaled(Boxed)
        layer = model.layers[1]
        for _ in range(2):
            assert (float(layer.seen), layer.history.tolist()) == (6, [16777217, 1])
            assert layer.history.dtype == "int64"
            assert layer.box[0] is layer.seen
            fit_fails(model)
        assert copy.deepcopy(model).layers[1].history.tolist() == [16777217, 1]


def test_the_error_of_a_callback_is_raised_even_after_it_recompiled():
    model = scaled()
    before, optimizer = model.get_weights(), model.optimizer
    slots = copy.deepcopy(look(optimizer.variables))
    fit_fails(model, lambda: model.compile("sgd", ONE_HOT))
    agree(before, model.get_weights())
    agree(slots, look(optimizer.variables))


def test_parameters_can_be_copied_and_restored_in_place():
    model = scaled()
    parameters, kernel = model.parameters, model.layers[0].kernel
    before, start = parameters.copy(), look(kernel).copy()
    model.flat[...] = 3
    parameters.restore(before)
    assert_array_equal(look(kernel), start)
    model.flat = model.flat + 1  # this writes into the vector
    assert_array_equal(look(kernel), start + 1)
    unbuilt = tinynet.Sequential([Flatten(), Dense(3)])
    assert unbuilt.flat is None
    unbuilt.parameters.restore(unbuilt.parameters.copy())


def test_a_user_defined_model_may_override_backward():
    passes = []

    class Recording(tinynet.Sequential):
        def backward(self, gradient):
            passes.append(gradient)
            return super().backward(gradient)

    model = Recording([tinynet.Input((4,)), Dense(3, "softmax")])
    model.compile("adam", ONE_HOT)
    model.fit(X, Y, verbose=0)
    assert len(passes) == 1
    assert len(model.trace(X, Y).layers) == 1
    assert tinynet.check_gradients(model, X, Y)


def test_a_weight_replaced_in_a_fit_that_fails_is_put_back():
    model = scaled()
    dense, before = model.layers[0], model.get_weights()
    fit_fails(model, lambda: setattr(dense, "kernel", dense.kernel + 1))
    agree(before, model.get_weights())
    assert dense.kernel.base is model.flat
