"""User-defined parts: they receive copies, layers have layers, and no method is ignored."""

import copy
import pickle

import numpy as np
import pytest
from arrays import look, put
from networks import network
from oracle import agree

import tinynet
from tinynet.layers import Activation, Dense, Dropout

pytestmark = pytest.mark.computes

RNG = np.random.default_rng(4)
X = RNG.integers(0, 5, (24, 4)).astype("float32")
Y = X.sum(axis=1, keepdims=True) / 10


def model_of(*stack, loss="mse", **compiled):
    tinynet.utils.set_random_seed(2)
    return network(*stack, inputs=(4,), loss=loss, optimizer="sgd", **compiled)


# What a part receives: each spoils what it was given, and what it has kept from earlier calls


KEPT = []


def spoil(*arrays):
    KEPT.extend(arrays)
    for array in KEPT:
        array[...] = 77


class SpoilingLayer:
    """A mixin that calls the class above it on copies, then spoils what it was given."""

    def forward(self, x, training=False):
        result = super().forward(x.copy(), training)
        spoil(x)
        return result

    def backward(self, gradient):
        result = super().backward(gradient.copy())
        spoil(gradient)
        return result


class SpoilingCall:
    def call(self, y_true, y_pred):
        result = super().call(y_true.copy(), y_pred.copy())
        spoil(y_true, y_pred)
        return result


class SpoilingLoss(SpoilingCall):
    def backward(self, y_true, y_pred):
        result = super().backward(y_true.copy(), y_pred.copy())
        spoil(y_true, y_pred)
        return result


class SpoilingMetric(SpoilingCall):
    def update_state(self, y_true, y_pred, sample_weight=None):
        super().update_state(y_true.copy(), y_pred.copy(), sample_weight)
        spoil(y_true, y_pred)


MIXINS = {tinynet.Layer: SpoilingLayer, tinynet.Loss: SpoilingLoss, tinynet.Metric: SpoilingMetric}


def spoiling(kind):
    """Return a subclass of `kind` whose methods spoil what they are given."""
    (mixin,) = (mixin for base, mixin in MIXINS.items() if issubclass(kind, base))
    return type(f"Spoiling{kind.__name__}", (mixin, kind), {})


def cube(z):
    result = z * z * z
    spoil(z)
    return result


@tinynet.activations.backward_of(cube, from_z=True)
def cube_backward(gradient, z):
    result = gradient * 3 * z * z
    spoil(gradient, z)
    return result


def clean_cube(z):
    return z * z * z


@tinynet.activations.backward_of(clean_cube, from_z=True)
def clean_cube_backward(gradient, z):
    return gradient * 3 * z * z


def mean_error(y_true, y_pred):
    return abs(y_true - y_pred).mean(axis=-1)


def spoiling_mean_error(y_true, y_pred):
    result = mean_error(y_true, y_pred)
    spoil(y_true, y_pred)
    return result


spoiling_mean_error.__name__ = "mean_error"


class Penalty(tinynet.regularizers.L2):
    def __call__(self, x):
        result = super().__call__(x.copy())
        spoil(x)
        return result


class Identity(tinynet.Layer):
    """A layer that returns its input itself, which the next layer then remembers."""

    def forward(self, x, training=False):
        return x

    def backward(self, gradient):
        return gradient


def everything(x, y, clean):
    """Return all results of a model whose own parts are clean, or spoil what they are given."""
    own = (lambda kind: kind) if clean else spoiling
    KEPT.clear()
    tinynet.utils.set_random_seed(2)
    model = model_of(
        own(Identity)(), (6, "tanh"), own(Dense)(5, "relu"), own(Dropout)(0.3),
        Dense(4, clean_cube if clean else cube, kernel_regularizer=(
            tinynet.regularizers.L2 if clean else Penalty)(0.01)),
        own(Activation)("sigmoid"), (1,),
        loss=own(tinynet.losses.MeanSquaredError)(),
        metrics=[own(tinynet.metrics.BinaryAccuracy)("binary"),
                 mean_error if clean else spoiling_mean_error],
    )  # fmt: skip
    results = [list(model.fit(x, y, batch_size=7, epochs=3, verbose=0,
                              validation_data=(x, y)).history.values())]  # fmt: skip
    results += [model.evaluate(x, y, batch_size=5, verbose=0), model.train_on_batch(x, y)]
    results += [model.predict(x, batch_size=5, verbose=0), model(x), model.layers[0](x)]
    results += [model.trace(x, y).loss, model.loss_object(y, model(x)), *model.get_weights()]
    if not clean:
        assert len(KEPT) > 100
    return [np.asarray(look(result), "float64").ravel() for result in results]


@pytest.mark.parametrize("y_type", ["float32", "uint8"])
@pytest.mark.parametrize("x_type", ["float32", "uint8", "float64"])
def test_a_part_may_keep_and_change_what_it_receives(x_type, y_type):
    x, y = X.astype(x_type), Y.round().astype(y_type)
    before = x.copy(), y.copy()
    expected = everything(x, y, clean=True)
    results = everything(x, y, clean=False)
    assert np.array_equal(x, before[0])
    assert np.array_equal(y, before[1])
    for result, right in zip(results, expected, strict=True):
        agree(result, right, rtol=1e-6)


def test_the_gradient_is_right_where_parts_change_what_they_receive():
    model = model_of(spoiling(Identity)(), (5, cube), spoiling(Dense)(3, "tanh"), (1,))
    assert tinynet.check_gradients(model, X[:6], Y[:6])


# Layers inside layers


class Block(tinynet.Layer):
    """x + f(x), with weights and layers in all kinds of places, and a changed output."""

    def __init__(self, units, **base):
        super().__init__(**base)
        self.units = units
        self.first = Dense(units, "tanh")
        self.others = [{"second": Dense(units, kernel_regularizer="l2")}, (Dropout(0.0),)]

    def get_config(self):
        return {**super().get_config(), "units": self.units}

    def build(self, input_shape):
        self.scales = [self.add_weight((1,), "ones", name=name) for name in ("a", "b")]
        self.seen = self.add_weight((), "zeros", trainable=False, name="count")
        for layer in self.stack():
            layer.ensure_built(input_shape)

    def stack(self):
        return [self.first, self.others[0]["second"], self.others[1][0]]

    def forward(self, x, training=False):
        self.seen += len(x)
        self.h = h = x * self.scales[0]
        for layer in self.stack():
            h = layer.forward(h, training)
        h += self.h  # which would change what `first` remembers, if it were not a copy
        self.h *= 2
        self.y, self.x = h, x
        return self.y * self.scales[1]

    def backward(self, gradient):
        self.b_gradient = (gradient * self.y).sum()  # assigned, not written to the array
        through = gradient = gradient * self.scales[1]
        for layer in reversed(self.stack()):
            through = layer.backward(through)
        through += gradient
        self.a_gradient[...] = (through * self.x).sum()
        return through * self.scales[0]


def nested():
    """Return a model with layers inside a layer, and a model inside a model inside a model."""
    innermost = network((3, "relu"), (4, "tanh"), inputs=(4,))
    inner = tinynet.Sequential([innermost, Dropout(0.0), Dense(3)])
    return model_of(Block(4), inner, Block(3), (1,), metrics=["mse"])


def test_all_weights_inside_have_the_right_gradients_and_train():
    model = nested()
    shapes = [(1,), (1,), (), (4, 4), (4,), (4, 4), (4,), (4, 3), (3,), (3, 4), (4,), (4, 3), (3,)]
    assert [w.shape for w in model.weights][:13] == shapes
    assert model.count_params() == 43 + 31 + 15 + 27 + 4
    report = tinynet.check_gradients(model, X[:6], Y[:6])
    assert report, report
    names = [parameter.name for parameter in report.parameters]
    assert names[:2] == ["block/a", "block/b"]
    assert any(name.count("/") == 3 for name in names)
    before = model.get_weights()
    losses = model.fit(X, Y, epochs=30, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert all((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))
    assert [float(look(w)[0]) for w in model.layers[0].scales] == [
        float(look(model.layers[0].a)[0]), float(look(model.layers[0].b)[0]),
    ]  # fmt: skip


def test_a_nested_model_trains_as_its_layers_do_alone():
    def weights(stack):
        model = model_of(*stack)
        model.set_weights(
            [np.full(w.shape, 0.1) + np.arange(w.shape[-1]) / 9 for w in model.weights]
        )
        losses = model.fit(X, Y, batch_size=5, epochs=3, shuffle=False, verbose=0).history["loss"]
        return [losses, *model.get_weights()]

    one, two = (Dense(6, "tanh"), Dense(5, "relu", kernel_regularizer="l2"))
    flat = weights([one, two, Dense(1)])
    parts = [Dense(6, "tanh"), Dense(5, "relu", kernel_regularizer="l2")]
    for result, right in zip(weights([tinynet.Sequential(parts), Dense(1)]), flat, strict=True):
        agree(result, right, rtol=1e-6)


def test_a_nested_top_gets_the_same_gradient_without_the_fusion():
    y = np.eye(3)[RNG.integers(0, 3, 24)]
    top = network((3, "softmax"), inputs=(5,), loss="categorical_crossentropy")
    top.evaluate(np.ones((3, 5)), np.eye(3), verbose=0)  # fused there, and not within the other
    model = model_of((5, "tanh"), top, loss="categorical_crossentropy")
    flat = model_of((5, "tanh"), (3, "softmax"), loss="categorical_crossentropy")
    flat.set_weights(model.get_weights())
    for each in (model, flat):
        each.fit(X, y, epochs=2, shuffle=False, verbose=0)
        top.evaluate(np.ones((3, 5)), np.eye(3), verbose=0)
    agree(model.get_weights()[2], flat.get_weights()[2], atol=1e-6)
    assert tinynet.check_gradients(model, X[:5], y[:5])


def test_layers_inside_freeze_move_and_are_copied():
    model = nested()
    model.layers[1].trainable = model.layers[0].first.trainable = False
    assert len(model.trainable_weights) == 2 + 2 + 6 + 2
    model.compile("adam", "mse")
    before = model.get_weights()
    model.fit(X, Y, epochs=2, verbose=0)
    still = [np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert still == [*[False] * 3, True, True, False, False, *[True] * 6, *[False] * 9]
    expected = model.predict(X, verbose=0)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), model.to("numpy")):
        agree(twin.predict(X, verbose=0), expected, rtol=1e-5)
        twin.fit(X, Y, verbose=0)


def test_the_owner_of_a_nested_models_weights_is_the_outer_model():
    base = model_of((5, "tanh"), (4,))
    base.fit(X, X, verbose=0)
    model = model_of(base, (1,))
    before = base.predict(X, verbose=0)
    model.fit(X, Y, verbose=0)
    assert (base.predict(X, verbose=0) != before).any()
    with pytest.raises(ValueError, match="only borrowed here"):
        base.fit(X, X, verbose=0)
    assert [model.pop(), model.pop()][1] is base
    base.compile("sgd", "mse")
    base.fit(X, X, verbose=0)


class Twice(tinynet.Layer):
    def __init__(self):
        super().__init__()
        self.layer = Dense(4)

    def build(self, input_shape):
        self.layer.ensure_built(input_shape)

    def forward(self, x, training=False):
        return self.layer.forward(self.layer.forward(x))

    def backward(self, gradient):
        return self.layer.backward(self.layer.backward(gradient))


class Unbuilt(Twice):
    def build(self, input_shape):
        pass


class Viewing(tinynet.Layer):
    def build(self, input_shape):
        self.kernel_t = self.add_weight((3, 4), "ones", name="kernel").T


def add_twice():
    base = network((4,), inputs=(4,))
    return tinynet.Sequential([base, tinynet.Sequential([Dense(4), base])])


REFUSED = {
    "an inner layer called twice": (lambda: model_of(Twice(), (1,)), "once in a forward pass"),
    "an inner layer not built": (lambda: model_of(Unbuilt(), (1,)), "build the layers inside it"),
    "a view of a weight": (lambda: model_of(Viewing()), r"`kernel_t`, a view of `kernel`"),
    "a layer twice": (add_twice, "does not have yet"),
    "a model in itself": (lambda: (one := model_of((4,))).add(one), "does not have yet"),
}


@pytest.mark.parametrize(("build", "message"), REFUSED.values(), ids=REFUSED)
def test_layers_that_cannot_work_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build().fit(X, Y, verbose=0)


# Losses


class Huge(tinynet.Loss):
    """The mean squared error as one number of any type."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def call(self, y_true, y_pred):
        return self.kind(((y_pred - y_true) ** 2).mean())

    def backward(self, y_true, y_pred):
        return 2 * (y_pred - y_true) / y_pred.size


@pytest.mark.parametrize("kind", [float, np.float64, lambda value: value])
def test_a_loss_may_return_one_number(kind):
    def results(loss):
        model = model_of((3, "tanh"), (1,), loss=loss)
        history = model.fit(X, Y, batch_size=8, verbose=0, shuffle=False).history["loss"]
        return [history, model.loss_object(Y, model(X)), *model.get_weights()]

    for result, right in zip(results(Huge(kind)), results("mse"), strict=True):
        agree(look(result), look(right), rtol=1e-6)
    with pytest.raises(ValueError, match=r"loss of each sample.*mean\(axis=-1\)"):
        model_of((1,), loss=Huge(kind)).evaluate(X, Y, sample_weight=np.ones(24), verbose=0)


class Recording(tinynet.Loss):
    def call(self, y_true, y_pred):
        self.seen = y_true
        return ((y_pred - y_true) ** 2).mean(axis=-1)

    def backward(self, y_true, y_pred):
        return self.wrong if hasattr(self, "wrong") else 2 * (y_pred - y_true)


@pytest.mark.parametrize("kind", ["uint8", "int8", "int64", "bool", "float64", "float32"])
def test_labels_of_all_types_reach_a_loss_as_floats_of_the_model_as_in_keras(keras, kind):
    y = (Y > 1).astype(kind)
    loss = Recording()
    model_of((1,), loss=loss).train_on_batch(X, y)
    assert loss.seen.dtype == "float32"
    agree(look(loss.seen), y.astype("float32"))

    class Theirs(keras.losses.Loss):
        def call(self, y_true, y_pred):
            self.seen = y_true
            return ((y_pred - y_true) ** 2).mean(axis=-1)

    theirs = Theirs()
    theirs(y, np.zeros((24, 1), "float32"))
    assert str(theirs.seen.dtype) == "float32"
    loss(y, put(np.zeros((24, 1), "float32")))
    assert loss.seen.dtype == "float32"


def test_a_gradient_of_another_shape_than_the_outputs_is_refused():
    loss = Recording()
    loss.wrong = 3.0
    with pytest.raises(
        ValueError, match=r"gradient of the outputs' shape \(24, 1\), received float"
    ):
        model_of((1,), loss=loss).train_on_batch(X, Y)


# Methods that only Keras calls


def defining(kind, name):
    return type("Mine", (kind,), {name: lambda self, *_, **__: 1 / 0})


def uses():
    """Yield for each method a function that makes and uses an object that defines it."""
    for name in ("train_step", "test_step", "predict_step", "compute_loss", "call"):
        yield name, lambda name=name: defining(tinynet.Sequential, name)([Dense(1)])
        for call in (lambda m: m.fit(X, Y, verbose=0), lambda m: m.predict(X, verbose=0)):
            model = model_of((1,))
            setattr(model, name, lambda *_: 1 / 0)
            yield f"{name} of one model", lambda model=model, call=call: call(model)
    for name in ("call", "__call__"):
        yield f"{name} of a layer", lambda name=name: model_of(defining(Dense, name)(1))
    yield "__call__ of a loss", lambda: model_of((1,), loss=defining(Recording, "__call__")())
    own = defining(tinynet.optimizers.SGD, "update_step")
    yield "update_step", lambda: network((1,), loss="mse", optimizer=own())


@pytest.mark.parametrize("name", list(dict(uses())))
def test_a_method_that_only_keras_calls_is_refused(name):
    with pytest.raises(ValueError, match=r"methods that tinynet calls, received .* Write: "):
        dict(uses())[name]()


def test_a_top_layers_own_backward_is_called():
    calls = []

    class Mine(Dense):
        def backward(self, gradient):
            calls.append(look(gradient))
            return super().backward(gradient)

    y = np.eye(3)[RNG.integers(0, 3, 24)]
    losses = []
    for top in (Mine(3, "softmax"), Dense(3, "softmax")):
        model = model_of((4, "tanh"), top, loss="categorical_crossentropy")
        model.set_weights([np.full(w.shape, 0.1) * np.arange(w.shape[-1]) for w in model.weights])
        losses.append(model.fit(X, y, verbose=0, epochs=3).history["loss"])
    agree(*losses, rtol=1e-5)
    assert len(calls) == 3
    model = model_of((3, "softmax"), loss="categorical_crossentropy")
    inherited = model.layers[0].backward
    model.layers[0].backward = lambda gradient: calls.append(1) or inherited(gradient)
    model.train_on_batch(X, y)
    assert calls[-1] == 1
