"""Callbacks: the same hooks, order and arguments as in Keras, and no cost for unused hooks.

The same recorder is used in Keras and in tinynet, starting from the same weights; both must record
the same calls.
"""

from unittest import mock

import numpy as np
import pytest
from networks import ONE_HOT, network, random_weights, samples
from oracle import agree, both, renewed

import tinynet
from tinynet.callbacks import Callback, History, base
from tinynet.engine.tracker import Tracker

pytestmark = pytest.mark.computes

RNG = np.random.default_rng(5)
X, _, Y = samples(RNG, 10, (4,), 3)
START = random_weights(RNG, 4, 5, 3)
HELD_OUT = (X[:6], Y[:6])

STEMS = ("train", "epoch", "train_batch", "test", "test_batch", "predict", "predict_batch")
HOOKS = [f"on_{stem}_{moment}" for stem in STEMS for moment in ("begin", "end")]


def compiled(lib, metrics=("acc",)):
    """Return a 4-5-3 network, sigmoid and softmax, always with the same initial weights."""
    given = {"inputs": (4,), "weights": START, "loss": ONE_HOT, "metrics": list(metrics)}
    return network((5, "sigmoid"), (3, "softmax"), library=lib, **given)


@pytest.fixture(scope="module")
def keras_model(keras):
    """One Keras model for the whole file, because Keras takes seconds to compile a model."""
    return compiled(keras)


@pytest.fixture
def in_both(keras, keras_model):
    """Return a function that runs a program of (library, model) in both, from equal weights."""
    models = {keras: renewed(keras_model, START), tinynet: compiled(tinynet)}
    return lambda program: both(keras, lambda lib: program(lib, models[lib]))


def recorder(lib, hooks=tuple(HOOKS)):
    """Return a callback of `lib` that records each call of its hooks, and the list of calls."""
    calls = []

    def record(name):
        def hook(self, *place, logs=None):  # Keras passes logs by position or by name
            if logs is None:
                *place, logs = place
            calls.append((name, tuple(place), dict(logs)))

        return hook

    return type("Recorder", (lib.callbacks.Callback,), {h: record(h) for h in hooks})(), calls


def fit(model, *callbacks, batch_size=4, **options):
    given = {"verbose": 0, "shuffle": False, "callbacks": list(callbacks), **options}
    return model.fit(X, Y, batch_size, **given)


def evaluate(model, *callbacks):
    return model.evaluate(X, Y, batch_size=4, verbose=0, callbacks=list(callbacks))


def predict(model, *callbacks):
    return model.predict(X, batch_size=4, verbose=0, callbacks=list(callbacks))


SOMETIMES = {"epochs": 3, "initial_epoch": 1, "validation_split": 0.4, "validation_freq": 2}
SMALLER = {"validation_data": HELD_OUT, "validation_batch_size": 2}
USES = {  # a function, its options, and the hooks that are recorded
    "fit": (fit, {"epochs": 2}, HOOKS),
    "fit with validation every second epoch": (fit, SOMETIMES, HOOKS),
    "fit with smaller validation batches": (fit, SMALLER, HOOKS),
    "fit with no epochs": (fit, {"epochs": 0, "validation_data": HELD_OUT}, HOOKS),
    "fit with the short name of a begin hook": (fit, {}, ["on_batch_begin"]),
    "fit with the short name of an end hook": (fit, {}, ["on_batch_end"]),
    "evaluate": (evaluate, {}, HOOKS),
    "predict": (predict, {}, HOOKS),
}


@pytest.mark.parametrize("use", USES)
def test_hooks_are_called_in_the_order_and_with_the_arguments_of_keras(in_both, use):
    """Also its results, history and params are those of Keras."""
    call, options, hooks = USES[use]

    def program(lib, model):
        watch, calls = recorder(lib, hooks)
        results = call(model, watch, **options)
        assert watch.model is model
        return [results, dict(watch.params), calls]

    theirs, ours = in_both(program)
    agree(theirs, ours, rtol=1e-6, atol=1e-6)
    assert ours[2]


def test_outputs_in_the_logs_of_predict_are_copies():
    watch, calls = recorder(tinynet, ["on_predict_batch_end"])
    outputs = predict(compiled(tinynet), watch)
    for _, _, logs in calls:
        logs["outputs"][:] = 0
    assert outputs.all()


def test_callbacks_see_and_change_what_they_do_in_keras(in_both):
    """Callbacks are called in order, see the history grow, and share logs, new at each moment.

    The logs at the end of an epoch reach the history.
    """

    def program(lib, model):
        model.history, begun, batches = None, [], []

        class Bare(lib.callbacks.Callback):
            def __init__(self, number):  # without super().__init__()
                self.number = number

            def on_epoch_begin(self, epoch, logs=None):
                begun.append((len(self.model.history.epoch), len(logs)))
                logs["mine"] = epoch

            def on_epoch_end(self, epoch, logs=None):
                logs["count"] = logs.get("count", 0) * 10 + self.number

        def change(epoch, logs):
            logs["loss"] = 0.5
            del logs["acc"]

        keeps = {"on_train_batch_end": lambda batch, logs: batches.append(batch)}
        last = lib.callbacks.LambdaCallback(on_epoch_end=change, on_train_end=None, **keeps)
        return fit(model, Bare(1), Bare(2), last, epochs=2).history, begun, batches

    begun = [(0, 0), (0, 1), (1, 0), (1, 1)]
    expected = {"count": [12, 12], "loss": [0.5, 0.5]}, begun, [0, 1, 2] * 2
    assert in_both(program) == [expected] * 2


# What a callback has access to


def test_a_callback_may_evaluate_predict_and_set_weights_and_learning_rate(in_both):
    def program(lib, model):
        seen = []

        def nested(epoch, logs):
            seen.append([evaluate(model), predict(model)])
            if epoch == 1:
                model.set_weights(START)
            model.optimizer.learning_rate = 0.1 / (epoch + 1)

        history = fit(model, lib.callbacks.LambdaCallback(on_epoch_end=nested), epochs=4)
        model.optimizer.learning_rate = 0.001
        return [seen, history.history]

    agree(*in_both(program), rtol=2e-6, atol=2e-6)


# Accepted arguments


def test_callbacks_can_be_in_a_tuple_and_a_single_one_need_not_be_in_a_list():
    watches, calls = zip(*(recorder(tinynet) for _ in range(2)), strict=True)
    for given in (watches[0], watches[1:]):
        compiled(tinynet).fit(X, Y, verbose=0, shuffle=False, callbacks=given)
    assert calls[0] == calls[1] != []


@pytest.mark.parametrize("wrong", [3, "early", print, Callback, [3], [Callback], [None], {"a": 1}])
@pytest.mark.parametrize("use", ["fit", "evaluate", "predict"])
def test_invalid_callbacks_are_refused_before_anything_happens(wrong, use):
    model = compiled(tinynet)
    watch, calls = recorder(tinynet)
    given = [watch, *wrong] if isinstance(wrong, list) else wrong
    data = (X,) if use == "predict" else (X, Y)
    with pytest.raises(ValueError, match=r"instances of tinynet\.callbacks\.Callback, .*: .*\["):
        getattr(model, use)(*data, callbacks=given, verbose=0)
    assert calls == []
    assert all(map(np.array_equal, model.get_weights(), START))
    assert model.optimizer.iterations == 0


def test_history_can_be_used_as_a_callback():
    mine, model = History(), compiled(tinynet)
    returned = fit(model, mine, epochs=2)
    assert mine.history == returned.history
    assert mine.epoch == returned.epoch == [0, 1]
    fit(model, mine, epochs=3, initial_epoch=2)
    assert [len(values) for values in mine.history.values()] == [3, 3]  # continued, as in Keras
    assert mine.epoch == [2]


def test_history_sorts_validation_and_training_names_together():
    hits = [tinynet.metrics.CategoricalAccuracy(name=name) for name in ("zeal", "hit")]
    history = fit(compiled(tinynet, hits), validation_data=HELD_OUT).history
    assert list(history) == ["hit", "loss", "val_hit", "val_loss", "val_zeal", "zeal"]


# Unused hooks cost nothing


GET_RESULTS = [["on_train_batch_end"], ["on_batch_end"], ["on_test_batch_end"]]
OTHERS = [hook for hook in HOOKS if "batch" not in hook or "predict" in hook]


@pytest.mark.parametrize("hooks", [OTHERS, *GET_RESULTS], ids=lambda hooks: hooks[0])
def test_results_are_read_back_for_each_batch_only_if_a_hook_gets_them(hooks):
    few, many, each, results = 2, 30, hooks != OTHERS, Tracker.results
    watch, calls = recorder(tinynet, hooks)

    def reads(batches):
        x, y = (np.repeat(a[:1], 2 * batches, axis=0) for a in (X, Y))
        given = {"epochs": 2, "validation_data": (x, y), "verbose": 0, "callbacks": [watch]}
        with mock.patch.object(Tracker, "results", autospec=True, side_effect=results) as read:
            compiled(tinynet).fit(x, y, 2, **given)
            compiled(tinynet).evaluate(x, y, 2, verbose=0)
        return read.call_count

    at_first = reads(few)
    assert reads(many) - at_first == each * 2 * (many - few)
    assert at_first <= 18 + each * 2 * few
    if each:
        assert len(calls) == 2 * (many + few)
        assert all(np.isfinite(logs["loss"]) for _, _, logs in calls)


def test_batch_hooks_that_are_not_overridden_are_not_called():
    model = compiled(tinynet)
    with mock.patch.object(base.CallbackList, "call") as call:
        fit(model, Callback(), validation_data=HELD_OUT)
        predict(model)
    assert not [hook for (hook, *_), _ in call.call_args_list if "batch" in hook]
