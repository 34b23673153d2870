"""All weights in one vector: what lies where, what stays alive, and what is put back."""

import copy

import numpy as np
import pytest
from arrays import assert_array_equal, look

import tinynet
from tinynet.layers import Dense, Flatten

pytestmark = pytest.mark.computes

X, Y = np.ones((6, 4), "float32"), np.eye(3, dtype="float32")[[0, 1, 2, 0, 1, 2]]


class Scale(tinynet.Layer):
    """One's own: y = s x, counting how many samples it has seen in training."""

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
    """The same, with another array in the place of its state at every step."""

    def count(self, samples):
        self.seen = self.seen.reshape(1)[:1] * 1 + samples
        self.seen = self.seen.reshape(())


class Stop(tinynet.Callback):
    """Raises at the end of the first epoch."""

    def on_epoch_end(self, epoch, logs=None):
        raise RuntimeError("stop")


def scaled(kind=Scale):
    model = tinynet.Sequential([tinynet.Input((4,)), Dense(5), kind(), Dense(3, "softmax")])
    model.compile("adam", "categorical_crossentropy")
    return model


def test_state_without_a_gradient_is_no_part_of_the_vector_and_splits_no_run():
    model = scaled()
    model.fit(X, Y, verbose=0)
    assert model.flat.size == 4 * 5 + 5 + 5 + 5 * 3 + 3
    ((gradients, values),) = model.parameters.pairs
    assert (gradients.size, values.size) == (model.flat.size, model.flat.size)


def test_the_same_weights_are_the_same_pairs_at_every_step():
    model = scaled()
    model.fit(X, Y, verbose=0)
    before = model.parameters.pairs
    model.fit(X, Y, verbose=0)
    assert model.parameters.pairs is before
    model.layers[0].trainable = False
    with pytest.raises(ValueError, match="begun with other weights"):
        model.fit(X, Y, verbose=0)


def test_an_array_under_a_second_name_stays_alive():
    model = scaled()
    layer = model.layers[1]
    kept = layer.scale
    assert layer.also is layer.scale
    model.fit(X, Y, verbose=0)
    assert layer.also is layer.scale is kept
    assert not (look(kept) == 1).all()
    model.add(Dense(2))  # the vector grows: all move into a new one
    assert layer.also is layer.scale
    model.flat[...] = 7
    assert (look(layer.also) == 7).all()


@pytest.mark.parametrize("kind", [Scale, Replacing])
def test_what_a_layer_did_with_its_state_is_undone(kind):
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


def test_a_copy_of_the_values_is_put_back_where_they_were():
    model = scaled()
    parameters, kernel = model.parameters, model.layers[0].kernel
    before, start = parameters.copy(), look(kernel).copy()
    model.flat[...] = 3
    parameters.restore(before)
    assert_array_equal(look(kernel), start)
    model.flat += 1  # and the property may be written to
    assert_array_equal(look(kernel), start + 1)


def test_before_there_are_weights_there_is_nothing_to_copy():
    model = tinynet.Sequential([Flatten(), Dense(3)])
    assert model.flat is None
    model.parameters.restore(model.parameters.copy())


def test_layers_of_two_models_have_one_owner():
    owner = scaled()
    borrower = tinynet.Sequential([tinynet.Input((4,)), *owner.layers])
    assert owner.parameters.lender is None
    assert borrower.parameters.lender is owner.parameters
    assert borrower.flat is None
    owner.flat[...] = 0.5
    assert_array_equal(borrower.get_weights()[0], owner.get_weights()[0])


def test_weights_that_were_there_before_the_model_are_put_back():
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
    """One's own, which holds its state in a list, of a type of its own."""

    def build(self, input_shape):
        super().build(input_shape)
        self.box = [self.seen]
        self.add_weight((1,), "zeros", trainable=False, name="history")
        self.history = np.zeros(1, "int64") + 16777217

    def count(self, samples):
        self.box[0][...] += samples
        self.history = np.append(self.history, 1)


def test_state_stays_what_the_layer_made_of_it():
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


def test_a_weight_that_came_too_late_is_not_missed_in_silence():
    model = scaled()
    model.fit(X, Y, verbose=0)
    model.layers[0].add_weight((3,), "ones", name="extra")
    with pytest.raises(ValueError, match=r"dense.*\.extra to be the array that the layer"):
        model.fit(X, Y, verbose=0)


def test_a_shallow_copy_borrows():
    model = scaled()
    model.fit(X, Y, verbose=0)
    shallow = copy.copy(model)
    assert_array_equal(shallow.predict(X, verbose=0), model.predict(X, verbose=0))
    with pytest.raises(ValueError, match="only borrowed here"):
        shallow.fit(X, Y, verbose=0)


class CompilesAnew(tinynet.Callback):
    """Takes another optimizer in the middle of it all, and fails."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.compile("sgd", "categorical_crossentropy")
        raise RuntimeError("stop")


def test_the_error_is_the_callback_s_whatever_it_did_before():
    model = scaled()
    model.fit(X, Y, verbose=0)
    before, optimizer = model.get_weights(), model.optimizer
    slots = optimizer.variables
    with pytest.raises(RuntimeError, match="stop"):
        model.fit(X, Y, verbose=0, callbacks=[CompilesAnew()])
    for now, then in zip(model.get_weights(), before, strict=True):
        assert_array_equal(now, then)
    for now, then in zip(optimizer.variables, slots, strict=True):
        assert_array_equal(now, then)


class Counting(tinynet.Sequential):
    """A model of one's own, which counts its ways back."""

    ways = 0

    def backward(self, gradient):
        self.ways += 1
        return super().backward(gradient)


def test_a_model_of_one_s_own_may_say_how_to_go_back():
    model = Counting([tinynet.Input((4,)), Dense(3, "softmax")])
    model.compile("adam", "categorical_crossentropy")
    model.fit(X, Y, verbose=0)
    assert model.ways == 1
    assert len(model.trace(X, Y).layers) == 1
    assert tinynet.check_gradients(model, X, Y)
