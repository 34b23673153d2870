"""All weights in one vector: its layout, the arrays that stay views of it, and its restoration."""

import copy

import numpy as np
import pytest
from arrays import assert_array_equal, look

import tinynet
from tinynet.layers import Dense, Flatten

pytestmark = pytest.mark.computes

X, Y = np.ones((6, 4), "float32"), np.eye(3, dtype="float32")[[0, 1, 2, 0, 1, 2]]


class Scale(tinynet.Layer):
    """A user-defined layer: y = s x, with a count of the samples seen in training."""

    def build(self, input_shape):
        self.also = self.add_weight(input_shape[-1:], "ones", name="scale")
        self.add_weight((), "zeros", trainable=False, name="seen")

    def forward(self, x, training=False):
        self.x = x
        if training:
            self.count(len(x))
        return x * self.also

    def count(self, samples):
        self.seen += samples

    def backward(self, gradient):
        self.scale_gradient[...] = (gradient * self.x).sum(axis=0)
        return gradient * self.scale


class Replacing(Scale):
    """A `Scale` that replaces the array of its state at every step."""

    def count(self, samples):
        self.seen = self.seen.reshape(1)[:1] * 1 + samples
        self.seen = self.seen.reshape(())


class Stop(tinynet.Callback):
    """A callback that raises at the end of the first epoch."""

    def on_epoch_end(self, epoch, logs=None):
        raise RuntimeError("stop")


def scaled(kind=Scale):
    model = tinynet.Sequential([tinynet.Input((4,)), Dense(5), kind(), Dense(3, "softmax")])
    model.compile("adam", "categorical_crossentropy")
    return model


def test_non_trainable_state_is_not_part_of_the_vector():
    model = scaled()
    model.fit(X, Y, verbose=0)
    assert model.flat.size == 4 * 5 + 5 + 5 + 5 * 3 + 3
    ((gradients, values),) = model.parameters.pairs
    assert (gradients.size, values.size) == (model.flat.size, model.flat.size)


def test_the_pairs_of_gradients_and_weights_are_reused():
    model = scaled()
    model.fit(X, Y, verbose=0)
    before = model.parameters.pairs
    model.fit(X, Y, verbose=0)
    assert model.parameters.pairs is before
    model.layers[0].trainable = False
    with pytest.raises(ValueError, match="built for other weights"):
        model.fit(X, Y, verbose=0)


def test_a_second_attribute_of_a_weight_stays_a_view_of_the_vector():
    model = scaled()
    layer = model.layers[1]
    kept = layer.scale
    assert layer.also is layer.scale
    model.fit(X, Y, verbose=0)
    assert layer.also is layer.scale is kept
    assert not (look(kept) == 1).all()
    model.add(Dense(2))  # the vector grows: all weights move into a new one
    assert layer.also is layer.scale
    model.flat[...] = 7
    assert (look(layer.also) == 7).all()


@pytest.mark.parametrize("kind", [Scale, Replacing])
def test_a_failed_fit_restores_the_state_of_a_layer(kind):
    model = scaled(kind)
    model.fit(X, Y, verbose=0)
    layer, before = model.layers[1], model.get_weights()
    assert float(layer.seen) == 6
    with pytest.raises(RuntimeError, match="stop"):
        model.fit(X, Y, verbose=0, callbacks=[Stop()])
    assert_array_equal(model.get_weights()[-1], before[-1])
    for now, then in zip(model.get_weights(), before, strict=True):
        assert_array_equal(now, then)
    model.fit(X, Y, verbose=0)
    assert float(layer.seen) == 12


def test_parameters_can_be_copied_and_restored_in_place():
    model = scaled()
    parameters, kernel = model.parameters, model.layers[0].kernel
    before, start = parameters.copy(), look(kernel).copy()
    model.flat[...] = 3
    parameters.restore(before)
    assert_array_equal(look(kernel), start)
    model.flat += 1  # the property can be assigned to
    assert_array_equal(look(kernel), start + 1)


def test_parameters_of_an_unbuilt_model_can_be_copied_and_restored():
    model = tinynet.Sequential([Flatten(), Dense(3)])
    assert model.flat is None
    model.parameters.restore(model.parameters.copy())


def test_layers_shared_by_two_models_have_one_owner():
    owner = scaled()
    borrower = tinynet.Sequential([tinynet.Input((4,)), *owner.layers])
    assert owner.parameters.other_owner is None
    assert borrower.parameters.other_owner is owner.parameters
    assert borrower.flat is None
    owner.flat[...] = 0.5
    assert_array_equal(borrower.get_weights()[0], owner.get_weights()[0])


def test_a_failed_fit_restores_weights_built_before_the_model():
    layer = Dense(6, "tanh")
    layer.build((None, 4))
    before = layer.get_weights()
    model = tinynet.Sequential([layer, Dense(3, "softmax")])
    model.compile("sgd", "categorical_crossentropy")
    with pytest.raises(RuntimeError, match="stop"):
        model.fit(X, Y, verbose=0, callbacks=[Stop()])
    assert not model.built
    assert model.layers[1].kernel is None
    for now, then in zip(layer.get_weights(), before, strict=True):
        assert_array_equal(now, then)


class Boxed(Scale):
    """A user-defined layer that also keeps its state in a list, and as int64."""

    def build(self, input_shape):
        super().build(input_shape)
        self.box = [self.seen]
        self.add_weight((1,), "zeros", trainable=False, name="history")
        self.history = np.zeros(1, "int64") + 16777217

    def count(self, samples):
        self.box[0][...] += samples
        self.history = np.append(self.history, 1)


def test_a_layer_may_change_the_type_and_shape_of_its_state():
    with tinynet.backend.use("numpy"):
        model = scaled(Boxed)
        layer = model.layers[1]
        model.fit(X, Y, verbose=0)
        assert (float(layer.seen), layer.history.tolist()) == (6, [16777217, 1])
        assert layer.history.dtype == "int64"
        with pytest.raises(RuntimeError, match="stop"):
            model.fit(X, Y, verbose=0, callbacks=[Stop()])
        assert (float(layer.seen), layer.history.tolist()) == (6, [16777217, 1])
        assert copy.deepcopy(model).layers[1].history.tolist() == [16777217, 1]


def test_a_weight_added_after_training_is_refused():
    model = scaled()
    model.fit(X, Y, verbose=0)
    model.layers[0].add_weight((3,), "ones", name="extra")
    with pytest.raises(ValueError, match=r"dense.*\.extra to be the array that the layer"):
        model.fit(X, Y, verbose=0)


def test_a_shallow_copy_shares_the_weights_and_cannot_be_trained():
    model = scaled()
    model.fit(X, Y, verbose=0)
    shallow = copy.copy(model)
    assert_array_equal(shallow.predict(X, verbose=0), model.predict(X, verbose=0))
    with pytest.raises(ValueError, match="only borrowed here"):
        shallow.fit(X, Y, verbose=0)


class Recompile(tinynet.Callback):
    """A callback that compiles with another optimizer during `fit`, and then raises."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.compile("sgd", "categorical_crossentropy")
        raise RuntimeError("stop")


def test_the_error_of_a_callback_is_raised_even_after_it_recompiled():
    model = scaled()
    model.fit(X, Y, verbose=0)
    before, optimizer = model.get_weights(), model.optimizer
    slots = optimizer.variables
    with pytest.raises(RuntimeError, match="stop"):
        model.fit(X, Y, verbose=0, callbacks=[Recompile()])
    for now, then in zip(model.get_weights(), before, strict=True):
        assert_array_equal(now, then)
    for now, then in zip(optimizer.variables, slots, strict=True):
        assert_array_equal(now, then)


class Counting(tinynet.Sequential):
    """A user-defined model that counts its backward passes."""

    backward_passes = 0

    def backward(self, gradient):
        self.backward_passes += 1
        return super().backward(gradient)


def test_a_user_defined_model_may_override_backward():
    model = Counting([tinynet.Input((4,)), Dense(3, "softmax")])
    model.compile("adam", "categorical_crossentropy")
    model.fit(X, Y, verbose=0)
    assert model.backward_passes == 1
    assert len(model.trace(X, Y).layers) == 1
    assert tinynet.check_gradients(model, X, Y)
