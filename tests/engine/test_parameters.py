"""All weights in one vector: its layout, the arrays that stay views of it, and its restoration."""

import copy

import numpy as np
import pytest
from arrays import assert_array_equal, look
from networks import ONE_HOT, Scale, network

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
        self.box[0][...] += len(x)
        self.history = np.append(self.history, 1)
        self.x = x
        return x * self.scale


def scaled(kind=Scale, fits=1):
    """Return a model with a layer of this kind, trained for some epochs of one step."""
    model = network((5,), kind(), (3, "softmax"), inputs=(4,), loss=ONE_HOT)
    for _ in range(fits):
        model.fit(X, Y, verbose=0)
    return model


def fit_fails(model, change=lambda: None):
    """Assert that `fit` raises the error of a callback, which first makes a change."""

    def on_epoch_end(epoch, logs):
        change()
        raise RuntimeError("stop")

    stop = tinynet.callbacks.LambdaCallback(on_epoch_end=on_epoch_end)
    with pytest.raises(RuntimeError, match="stop"):
        model.fit(X, Y, verbose=0, callbacks=[stop])


def assert_equal(arrays, others):
    for array, other in zip(arrays, others, strict=True):
        assert_array_equal(array, other)


def test_the_vector_has_all_weights_with_a_gradient_and_its_pairs_are_reused():
    model = scaled()
    assert model.flat.size == 4 * 5 + 5 + 5 + 5 * 3 + 3
    ((gradients, values),) = before = model.parameters.pairs
    assert gradients.size == values.size == model.flat.size
    model.fit(X, Y, verbose=0)
    assert model.parameters.pairs is before


def test_a_second_attribute_of_a_weight_stays_a_view_of_the_vector():
    model = scaled(fits=0)
    layer = model.layers[1]
    layer.also = kept = layer.scale
    model.fit(X, Y, verbose=0)
    assert layer.also is layer.scale is kept
    assert not (look(kept) == 1).all()
    model.add(Dense(2))  # the vector grows: all weights move into a new one
    assert layer.also is layer.scale
    model.flat[...] = 7
    assert (look(layer.also) == 7).all()


@pytest.mark.parametrize("kind", [Scale, Replacing])
def test_a_failed_fit_restores_the_weights_and_the_state_of_a_layer(kind):
    model = scaled(kind)
    layer, before = model.layers[1], model.get_weights()
    assert float(layer.seen) == 6
    fit_fails(model)
    assert_equal(model.get_weights(), before)
    model.fit(X, Y, verbose=0)
    assert float(layer.seen) == 12


def test_a_failed_fit_restores_weights_built_before_the_model():
    layer = Dense(6, "tanh")
    layer.build((None, 4))
    before, model = layer.get_weights(), network(layer, (3, "softmax"), loss=ONE_HOT)
    fit_fails(model)
    assert not model.built
    assert model.layers[1].kernel is None
    assert_equal(layer.get_weights(), before)


def test_a_layer_may_change_the_type_and_shape_of_its_state():
    with tinynet.backend.use("numpy"):
        model = scaled(Boxed)
        layer = model.layers[1]
        for _ in range(2):
            assert (float(layer.seen), layer.history.tolist()) == (6, [16777217, 1])
            assert layer.history.dtype == "int64"
            fit_fails(model)
        assert copy.deepcopy(model).layers[1].history.tolist() == [16777217, 1]


def test_the_error_of_a_callback_is_raised_even_after_it_recompiled():
    model = scaled()
    before, optimizer = model.get_weights(), model.optimizer
    slots = copy.deepcopy(look(optimizer.variables))
    fit_fails(model, lambda: model.compile("sgd", ONE_HOT))
    assert_equal(model.get_weights(), before)
    assert_equal(optimizer.variables, slots)


def test_parameters_can_be_copied_and_restored_in_place():
    model = scaled()
    parameters, kernel = model.parameters, model.layers[0].kernel
    before, start = parameters.copy(), look(kernel).copy()
    model.flat[...] = 3
    parameters.restore(before)
    assert_array_equal(look(kernel), start)
    model.flat += 1  # the property can be assigned to
    assert_array_equal(look(kernel), start + 1)
    unbuilt = tinynet.Sequential([Flatten(), Dense(3)])
    assert unbuilt.flat is None
    unbuilt.parameters.restore(unbuilt.parameters.copy())


def test_a_weight_added_after_training_is_refused():
    model = scaled()
    model.layers[0].add_weight((3,), "ones", name="extra")
    with pytest.raises(ValueError, match=r"dense.*\.extra to be the array that the layer"):
        model.fit(X, Y, verbose=0)


def test_a_shallow_copy_shares_the_weights_and_cannot_be_trained():
    model = scaled()
    shallow = copy.copy(model)
    assert_array_equal(shallow.predict(X, verbose=0), model.predict(X, verbose=0))
    with pytest.raises(ValueError, match="only borrowed here"):
        shallow.fit(X, Y, verbose=0)


class Counting(tinynet.Sequential):
    """A user-defined model that counts its backward passes."""

    backward_passes = 0

    def backward(self, gradient):
        self.backward_passes += 1
        return super().backward(gradient)


def test_a_user_defined_model_may_override_backward():
    model = Counting([tinynet.Input((4,)), Dense(3, "softmax")])
    model.compile("adam", ONE_HOT)
    model.fit(X, Y, verbose=0)
    assert model.backward_passes == 1
    assert len(model.trace(X, Y).layers) == 1
    assert tinynet.check_gradients(model, X, Y)
