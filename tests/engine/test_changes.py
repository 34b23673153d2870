"""A model that a callback changes while it trains: the next step is right, or an error says why."""

import itertools

import numpy as np
import pytest
from networks import ONE_HOT, network
from oracle import agree

import tinynet
from tinynet.layers import Dense, Dropout

pytestmark = pytest.mark.computes

RNG = np.random.default_rng(3)
X = RNG.normal(size=(12, 4)).astype("float32")
Y = np.eye(3, dtype="float32")[RNG.integers(0, 3, 12)]
STEPS, WHEN = 8, 3  # batches in two epochs; the change is made after so many


def model_of(optimizer="sgd"):
    tinynet.utils.set_random_seed(1)
    stack = Dense(5, "tanh", kernel_regularizer="l2"), Dense(4, "relu"), Dense(3, "softmax")
    return network(*stack, inputs=(4,), loss=ONE_HOT, optimizer=optimizer)


def fitted(model, change, hook="on_train_batch_end", **arguments):
    """Train for two epochs, and make the change after WHEN steps (or the first epoch)."""

    calls = itertools.count()
    at = {"on_train_batch_begin": WHEN, "on_train_batch_end": WHEN - 1, "on_epoch_begin": 1}

    def call(number, logs=None):
        if next(calls) == at.get(hook, 0):
            change(model)

    callback = tinynet.callbacks.LambdaCallback(**{hook: call})
    batch = {"batch_size": 3, "shuffle": False, "epochs": 2, "verbose": 0, **arguments}
    return model.fit(X, Y, callbacks=[callback], **batch)


def batches():
    return [(X[first : first + 3], Y[first : first + 3]) for first in (0, 3, 6, 9)] * 2


def stepwise(model, change, when):
    """Do the same with `train_on_batch`, one step after the other."""
    for number, batch in enumerate(batches()):
        if number == when:
            change(model)
        model.train_on_batch(*batch)
    return model.get_weights()


def own_optimizer(model):
    model.optimizer = tinynet.optimizers.Adam(0.1)


def named(name, value, layer=None):
    return lambda model: setattr(model if layer is None else model.layers[layer], name, value)


def add_and_compile(model):
    model.add(Dense(3, "softmax", kernel_initializer="ones"))
    model.compile("adam", ONE_HOT)


def pop_and_compile(model):
    model.pop()
    model.add(Dense(3, "sigmoid", kernel_initializer="ones"))
    model.compile("sgd", "mse")


TAKES_EFFECT = {
    "optimizer": own_optimizer,
    "optimizer by name": named("optimizer", "adam"),
    "loss": named("loss", "mse"),
    "activation": named("activation", tinynet.activations.sigmoid, 0),
    "activation by name": named("activation", "relu", 0),
    "activation of the top": named("activation", "sigmoid", 2),
    "loss and activation of the top": lambda model: (
        named("loss", "mse")(model), named("activation", "linear", 2)(model)
    ),
    "regularizer": named("kernel_regularizer", None, 0),
    "compile": lambda model: model.compile(tinynet.optimizers.SGD(0.3, 0.9), "mse"),
    "weights": lambda model: model.set_weights([w * 0.5 for w in model.get_weights()]),
    "add and compile": add_and_compile,
    "add without weights": lambda model: model.add(Dropout(0.0)) or model.compile("sgd", "mse"),
    "pop, add and compile": pop_and_compile,
}  # fmt: skip
HOOKS = {"on_train_batch_begin": 3, "on_train_batch_end": 3, "on_epoch_begin": 4, "on_epoch_end": 4}


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("change", TAKES_EFFECT.values(), ids=TAKES_EFFECT)
def test_a_change_takes_effect_at_the_next_step(change, hook, tmp_path):
    model = model_of()
    fitted(model, change, hook)
    expected = stepwise(model_of(), change, HOOKS[hook])
    for result, right in zip(model.get_weights(), expected, strict=True):
        agree(result, right, rtol=1e-5, atol=1e-6)
    model.save(tmp_path / "model.keras")
    twin = tinynet.models.load_model(tmp_path / "model.keras")
    agree(twin.predict(X, verbose=0), model.predict(X, verbose=0))


def with_frozen(optimizer, first, last):
    """Train stepwise, and put the first layer's weights back after the steps from first to last."""
    model = model_of(optimizer)
    for number, batch in enumerate(batches()):
        kept = model.layers[0].get_weights()
        l2 = tinynet.regularizers.L2()
        model.layers[0].kernel_regularizer = None if first <= number < last else l2
        model.train_on_batch(*batch)
        if first <= number < last:
            model.layers[0].set_weights(kept)
    return model.get_weights()


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "momentum"])
@pytest.mark.parametrize("hook", HOOKS)
def test_a_frozen_layer_stays_and_the_others_train_on(optimizer, hook):
    def make():
        momentum = tinynet.optimizers.SGD(0.1, momentum=0.9)
        return momentum if optimizer == "momentum" else optimizer

    model = model_of(make())
    fitted(model, named("trainable", False, 0), hook)
    expected = with_frozen(make(), HOOKS[hook], STEPS)
    for result, right in zip(model.get_weights(), expected, strict=True):
        agree(result, right, rtol=1e-5, atol=1e-6)
    assert len(model.optimizer.variables) == 2 + 4 * len(model.optimizer.slots)


def test_a_layer_that_is_frozen_for_some_steps_trains_again():
    model = model_of()
    switch = tinynet.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: named(
            "trainable", not 2 <= model.optimizer.iterations < 5, 0
        )(model)
    )
    model.fit(X, Y, batch_size=3, epochs=2, shuffle=False, verbose=0, callbacks=[switch])
    for result, right in zip(model.get_weights(), with_frozen("sgd", 2, 5), strict=True):
        agree(result, right, rtol=1e-5, atol=1e-6)


def test_a_frozen_model_stays():
    model = model_of("adam")
    fitted(model, named("trainable", False))
    expected = model_of("adam")
    for batch in batches()[:WHEN]:
        expected.train_on_batch(*batch)
    for result, right in zip(model.get_weights(), expected.get_weights(), strict=True):
        agree(result, right, rtol=1e-6)


@pytest.mark.parametrize(
    "change", [named("activation", "relu", 0), named("loss", "mse"), named("trainable", False)]
)
def test_a_change_after_the_last_step_is_validated(change):
    model = model_of()
    callback = tinynet.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: change(model) if batch == 3 else None
    )
    history = model.fit(
        X, Y, batch_size=3, verbose=0, callbacks=[callback], validation_data=(X, Y)
    ).history
    agree(history["val_loss"][-1], model.evaluate(X, Y, verbose=0), rtol=1e-6)


def replace(name, layer=0):
    def change(model):
        setattr(model.layers[layer], name, getattr(model.layers[layer], name) * 0)

    return change


REFUSED = {
    "add": (lambda model: model.add(Dense(3)), r"Call model\.compile\(…\) again"),
    "pop": (lambda model: model.pop(), r"Call model\.compile\(…\) again"),
    "a kernel": (replace("kernel"), r"layer\.kernel\[\.\.\.\] = values"),
    "a bias": (replace("bias", 2), r"layer\.bias\[\.\.\.\] = values"),
    "the optimizer of another model": (
        lambda model: setattr(model, "optimizer", trained().optimizer), "built for other weights",
    ),
    "an unknown optimizer": (named("optimizer", "ada"), "Did you mean 'adam'"),
    "an unknown loss": (named("loss", "ms"), "Did you mean"),
    "an unknown activation": (named("activation", "rel", 0), "Did you mean 'relu'"),
    "a loss of another shape": (
        lambda model: model.pop() and model.compile("sgd", "mse"), "must have the same shape",
    ),
}  # fmt: skip


def trained():
    model = model_of()
    model.train_on_batch(X, Y)
    return model


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_take_effect_is_refused_and_the_model_can_train_afterwards(
    change, message, hook
):
    steps = 4 if "epoch" in hook else WHEN
    until_then = model_of()
    for batch in batches()[:steps]:
        until_then.train_on_batch(*batch)
    kernel = until_then.layers[0].get_weights()[0]
    model = model_of()
    with pytest.raises(ValueError, match=message):
        fitted(model, change, hook)
    agree(kernel, model.layers[0].get_weights()[0])
    targets = RNG.normal(size=(12, model.output_shape[-1]))
    model.compile("sgd", "mse")
    model.fit(X, targets, verbose=0)
    assert (model.layers[0].get_weights()[0] != kernel).any()
