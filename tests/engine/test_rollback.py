"""What a `fit` that raises leaves behind: all whole steps, or the last epoch that was finite.

The expected state is that of the same model after the same number of steps of `train_on_batch`, or
what a callback recorded at the end of that epoch.
"""

import itertools

import numpy as np
import pytest
from arrays import look
from networks import Scale, network
from oracle import agree

import tinynet
from tinynet import callbacks, losses, metrics, optimizers
from tinynet.callbacks import LambdaCallback
from tinynet.layers import Dense, Dropout
from tinynet.utils import files

pytestmark = pytest.mark.computes

RNG = np.random.default_rng(2)
X = RNG.normal(size=(12, 4)).astype("float32")
Y = np.eye(3, dtype="float32")[RNG.integers(0, 3, 12)]
A_FIT = {"batch_size": 3, "epochs": 3, "shuffle": False, "verbose": 0}  # 4 steps in an epoch


class Failing:
    """Counts its calls, and raises at the last one."""

    def __init__(self, calls, error=ZeroDivisionError):
        self.calls, self.error = calls, error

    def __call__(self, *_):
        self.calls -= 1
        if self.calls == 0:
            raise self.error
        return False


class Layer(Scale):
    """A `Scale` whose passes may fail, after it has changed its non-trainable state."""

    forward_fails = backward_fails = staticmethod(lambda: False)

    def forward(self, x, training=False):
        output = super().forward(x, training)
        self.seen -= 0 if training else len(x)
        self.forward_fails()
        return output

    def backward(self, gradient):
        self.backward_fails()
        return super().backward(gradient)


class Loss(losses.MeanSquaredError):
    call_fails = backward_fails = staticmethod(lambda: False)

    def call(self, y_true, y_pred):
        self.call_fails()
        return super().call(y_true, y_pred)

    def backward(self, y_true, y_pred):
        self.backward_fails()
        return super().backward(y_true, y_pred)


class Momentum(optimizers.SGD):
    """An optimizer that may fail between two runs of weights, with an attribute of its own."""

    kept = ("norm",)
    norm = 0.0
    fails = staticmethod(lambda: False)

    def __init__(self, **base):
        super().__init__(0.1, 0.9, weight_decay=0.01, **base)

    def update(self, weights, gradient, *state, scratch):
        self.norm += 1.0
        super().update(weights, gradient, *state, scratch=scratch)
        self.fails()


class Metric(metrics.Metric):
    update_fails = result_fails = staticmethod(lambda: False)

    def call(self, y_true, y_pred):
        self.update_fails()
        return (y_true - y_pred).mean(axis=-1)

    def result(self):
        self.result_fails()
        return super().result()


def model_of(optimizer=Momentum, **parts):
    """Return a model of user-defined parts, with a frozen layer between two runs of weights."""
    tinynet.utils.set_random_seed(1)
    frozen = Dense(5, "tanh", trainable=False)
    stack = (5, "tanh"), Layer(), Dropout(0.3, seed=4), frozen, (3, "sigmoid")
    return network(*stack, inputs=(4,), loss=Loss(), optimizer=optimizer(), metrics=[Metric()])


def state(model):
    optimizer = model.optimizer
    own = getattr(optimizer, "norm", 0)
    return [*model.get_weights(), *optimizer.variables, own, *dropout_counters(model)]


def dropout_counters(model):
    return [layer.drawn for layer in model.layers if isinstance(layer, Dropout)]


def after(steps, make=model_of):
    """Return the state after a number of steps."""
    model = make()
    for step in range(steps):
        rows = slice(3 * (step % 4), 3 * (step % 4) + 3)
        model.train_on_batch(X[rows], Y[rows])
    return state(model)


def same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert np.array_equal(look(a), look(b))


def set_on(part, name, calls, error=ZeroDivisionError):
    return lambda model: setattr(part(model), name, Failing(calls, error))


LAYER, LOSS = (lambda model: model.layers[1]), (lambda model: model.loss_object)
OPTIMIZER, METRIC = (lambda model: model.optimizer), (lambda model: model.compile_metrics[0])
PARTS = {  # what fails, the whole steps until then, and the epochs that are recorded
    "forward": (set_on(LAYER, "forward_fails", 7), 6, 1),
    "backward": (set_on(LAYER, "backward_fails", 7), 6, 1),
    "out of memory": (set_on(LAYER, "forward_fails", 7, MemoryError("no room")), 6, 1),
    "call of a loss": (set_on(LOSS, "call_fails", 10), 9, 2),
    "backward of a loss": (set_on(LOSS, "backward_fails", 10), 9, 2),
    "the first of two runs": (set_on(OPTIMIZER, "fails", 2 * 6 + 1), 6, 1),
    "the second of two runs": (set_on(OPTIMIZER, "fails", 2 * 7), 6, 1),
    "a metric": (set_on(METRIC, "update_fails", 6), 6, 1),
    "a metric's result": (set_on(METRIC, "result_fails", 1), 4, 0),
}


@pytest.mark.parametrize(("break_it", "steps", "epochs"), PARTS.values(), ids=PARTS)
def test_an_error_in_a_part_leaves_the_model_after_the_last_whole_step(break_it, steps, epochs):
    model = model_of()
    break_it(model)
    with pytest.raises((ZeroDivisionError, MemoryError)):
        model.fit(X, Y, **A_FIT)
    same(state(model), after(steps))
    assert model.history.epoch == list(range(epochs))
    assert len(model.history.history.get("loss", [])) == epochs
    model.fit(X, Y, verbose=0)


@pytest.mark.parametrize("optimizer", ["adam", Momentum])
@pytest.mark.parametrize(
    ("hook", "calls", "steps", "epochs"),
    [
        ("on_train_batch_end", 6, 6, 1), ("on_train_batch_begin", 6, 5, 1),
        ("on_epoch_begin", 3, 8, 2), ("on_epoch_end", 2, 8, 2), ("on_train_end", 1, 12, 3),
        ("on_test_begin", 2, 8, 1), ("on_test_batch_begin", 2, 8, 1), ("on_test_end", 2, 8, 1),
        ("on_train_begin", 1, 0, 0), ("on_epoch_begin", 1, 0, 0), ("on_train_batch_begin", 1, 0, 0),
    ],
)  # fmt: skip
def test_an_error_of_a_callback_keeps_all_steps_and_the_history(
    hook, calls, steps, epochs, optimizer
):
    def make():
        return model_of(Momentum if optimizer is Momentum else optimizers.Adam)

    model = make()
    held_out = {"validation_data": (X, Y), "validation_batch_size": 12}
    with pytest.raises(ZeroDivisionError):
        model.fit(X, Y, callbacks=[LambdaCallback(**{hook: Failing(calls)})], **A_FIT, **held_out)
    same(state(model), after(steps, make))
    if steps == 0:
        assert model.history is None
        return
    assert model.history.epoch == list(range(epochs))  # also the epoch at whose end it failed
    assert all(len(values) == epochs for values in model.history.history.values())


def full_disk(*_):
    raise OSError(28, "No space left on device")


class ClosedPipe:
    encoding = "utf-8"

    def __init__(self):
        self.write = Failing(3, BrokenPipeError())

    def flush(self):
        pass


@pytest.mark.parametrize("kind", ["ModelCheckpoint", "BackupAndRestore", "pipe"])
def test_a_full_disk_or_a_closed_pipe_does_not_cost_the_training(kind, tmp_path, monkeypatch):
    model, options = network((3,), inputs=(4,), loss="mse"), {**A_FIT}
    if kind == "pipe":
        monkeypatch.setattr("sys.stdout", ClosedPipe())
        options["verbose"] = 2
    else:
        options["callbacks"] = [getattr(callbacks, kind)(tmp_path / "m.keras")]
        writes = itertools.count()
        write = files.write_atomically
        monkeypatch.setattr(
            files, "write_atomically", lambda *a: (full_disk if next(writes) else write)(*a)
        )
    with pytest.raises(OSError, match=r"space|^$"):
        model.fit(X, Y, **options)
    assert model.optimizer.iterations == (4 if kind == "pipe" else 8)
    assert len(model.history.epoch) == (1 if kind == "pipe" else 2)


def test_a_first_fit_that_fails_builds_the_model_only_if_a_step_was_completed():
    for calls, built in ((1, False), (3, True)):
        model = network((4, "tanh"), (3,), loss="mse")
        failing = LambdaCallback(on_train_batch_begin=Failing(calls))
        with pytest.raises(ZeroDivisionError):
            model.fit(X, Y, callbacks=[failing], **A_FIT)
        assert model.built is built
        assert model.optimizer.iterations == calls - 1
        model.fit(X, Y, verbose=0)


# NaN and infinity


class Spoil(tinynet.Callback):
    """Record the state at the end of each epoch, and spoil the weights in one of them."""

    def __init__(self, epoch, how, hook="on_epoch_begin"):
        super().__init__()
        self.ends, self.epoch, self.how = [], epoch, how
        setattr(self, hook, self.spoil)

    def on_train_begin(self, logs=None):
        self.ends = [state(self.model)]

    def spoil(self, number, logs=None):
        if len(self.ends) == self.epoch + 1:
            self.how(self.model)

    def on_epoch_end(self, epoch, logs=None):
        self.ends.append(state(self.model))


def poison(model):
    model.layers[0].bias[:1] = np.nan


def explode(model):
    model.optimizer.learning_rate = 3e38
    poison(model)


SPOILT = {
    "the learning rate": (explode, "on_epoch_begin", {}),
    "a weight": (poison, "on_train_batch_end", {}),
    "a weight, in the last step": (poison, "on_epoch_begin", {"steps_per_epoch": 1}),
    "a weight, before the validation": (poison, "on_test_begin", {"validation_data": (X, Y)}),
}


@pytest.mark.parametrize("epoch", [0, 2])
@pytest.mark.parametrize(("how", "hook", "options"), SPOILT.values(), ids=SPOILT)
def test_a_model_that_became_nan_is_restored_to_the_last_finite_epoch(how, hook, options, epoch):
    model = model_of(optimizers.Adam)
    model.train_on_batch(X[:3], Y[:3])
    spoil = Spoil(epoch, how, hook)
    with pytest.raises(ValueError, match=r"Expected .* finite") as caught:
        model.fit(X, Y, callbacks=[spoil], **A_FIT, **options)
    same(state(model), spoil.ends[-1])
    left = "The model and its history are as after epoch 2." if epoch else "before this call."
    assert str(caught.value).endswith(left)
    assert (model.history.epoch if epoch else model.history) == ([0, 1] if epoch else None)
    assert np.isfinite(model.fit(X, Y, verbose=0).history["loss"]).all()


def test_the_best_weights_are_restored_after_nan_if_that_was_asked_for():
    model = model_of(optimizers.Adam)
    stop = callbacks.EarlyStopping("loss", restore_best_weights=True, patience=9, mode="max")
    with pytest.raises(ValueError, match=r"after epoch 2, with the weights of epoch 1, the best\."):
        model.fit(X, Y, callbacks=[spoil := Spoil(2, explode), stop], **A_FIT)
    weights = len(model.weights)
    same(model.get_weights(), spoil.ends[1][:weights])
    same(state(model)[weights:], spoil.ends[2][weights:])


@pytest.mark.parametrize("frozen", [0, 4])
def test_layers_frozen_since_the_last_finite_epoch_train_again_after_nan(frozen):
    def freeze(model):
        model.layers[frozen].trainable = False
        if len(spoil.ends) == 3:
            poison(model)

    model, spoil = model_of(optimizers.Adam), Spoil(2, freeze)
    with pytest.raises(ValueError, match="as after epoch 2"):
        model.fit(X, Y, callbacks=[spoil], **A_FIT)
    same(state(model), spoil.ends[2])
    assert model.layers[frozen].trainable
    model.fit(X, Y, **A_FIT)
    assert model.optimizer.iterations == 8 + 12


def test_terminate_on_nan_that_raises_restores_the_last_finite_epoch():
    model = model_of(optimizers.Adam)
    raising = callbacks.TerminateOnNaN(raise_error=True)
    with pytest.raises(ValueError, match="as after epoch 2"):
        model.fit(X, Y, callbacks=[spoil := Spoil(2, explode), raising], **A_FIT)
    same(state(model), spoil.ends[2])


@pytest.mark.parametrize("inner", ["same", "other", "evaluate"])
def test_nan_within_a_callback_is_like_any_error_of_a_callback(inner):
    model, other = model_of(optimizers.Adam), network((3,), inputs=(4,), loss="mse")

    def fit_inside(batch, logs):
        if model.optimizer.iterations == 6:
            target = {"same": model, "other": other, "evaluate": other}[inner]
            call = target.evaluate if inner == "evaluate" else target.fit
            call(X, np.full_like(Y, np.nan), verbose=0)

    with pytest.raises(ValueError, match=r"finite loss.*before this call\.$"):
        model.fit(X, Y, callbacks=[LambdaCallback(on_train_batch_end=fit_inside)], **A_FIT)
    if inner != "same":  # its Dropout has drawn another mask
        same(state(model), after(6, lambda: model_of(optimizers.Adam)))
    assert model.history.epoch == [0]


def test_the_copy_at_the_end_of_an_epoch_needs_no_new_memory(monkeypatch):
    from tinynet.engine.rollback import Snapshot

    model = network((8, "tanh"), (3,), inputs=(4,), loss="mse")
    model.fit(X, Y, verbose=0)
    snapshot = Snapshot(model)
    arrays = [snapshot.values[0], *(a for slots in snapshot.state["state"] for a in slots)]
    for _ in range(2):
        model.fit(X, Y, verbose=0)
        snapshot.take()
        again = [snapshot.values[0], *(a for slots in snapshot.state["state"] for a in slots)]
        assert all(a is b for a, b in zip(arrays, again, strict=True))
        agree(look(model.flat), look(snapshot.values[0]))
