"""Callbacks: the same hooks, order and arguments as in Keras, and no cost for unused hooks.

The same recorder is used in Keras and in tinynet, starting from the same weights; both must record
the same calls.
"""

from collections import Counter

import numpy as np
import pytest
from arrays import array_equal
from networks import ONE_HOT, network, random_weights, samples
from oracle import agree, both, renewed

import tinynet
from tinynet.callbacks import Callback, History, LambdaCallback, base
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
    "fit with validation": (fit, {"epochs": 2, "validation_data": HELD_OUT}, HOOKS),
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
    logs = [item for _, _, of_one in ours[2] for item in of_one.items()]
    assert all(type(value) is float or name == "outputs" for name, value in logs)
    assert ours[2]


def test_outputs_in_the_logs_of_predict_are_copies():
    watch, calls = recorder(tinynet, ["on_predict_batch_end"])
    outputs = predict(compiled(tinynet), watch)
    batches = [logs["outputs"] for _, _, logs in calls]
    assert array_equal(np.concatenate(batches), outputs)
    batches[0][:] = 0
    assert outputs[:4].all()


def test_callbacks_see_and_change_what_they_do_in_keras(in_both):
    """Callbacks are called in order, share the logs, which reach the history, and see it grow."""

    def program(lib, model):
        model.history, lengths, batches = None, [], []

        class Bare(lib.callbacks.Callback):
            def __init__(self, number):  # without super().__init__()
                self.number = number

            def on_epoch_begin(self, epoch, logs=None):
                lengths.append(len(self.model.history.epoch))

            def on_epoch_end(self, epoch, logs=None):
                logs["count"] = logs.get("count", 0) * 10 + self.number

        def change(epoch, logs):
            logs["loss"] = 0.5
            del logs["acc"]

        last = lib.callbacks.Callback()
        last.on_epoch_end = change
        last.on_train_batch_end = lambda batch, logs=None: batches.append(batch)
        return fit(model, Bare(1), Bare(2), last, epochs=2).history, lengths, batches

    expected = {"count": [12, 12], "loss": [0.5, 0.5]}, [0, 0, 1, 1], [0, 1, 2] * 2
    assert in_both(program) == [expected] * 2


def test_each_call_of_a_begin_hook_gets_new_logs():
    given = []

    def keep(epoch, logs):
        given.append(logs)
        logs["mine"] = epoch

    history = fit(compiled(tinynet), LambdaCallback(on_epoch_begin=keep), epochs=2).history
    assert given[0] is not given[1]
    assert "mine" not in history


# What a callback has access to


def test_a_callback_may_evaluate_predict_and_set_the_learning_rate(in_both):
    def program(lib, model):
        seen = []

        def nested(epoch, logs):
            seen.append([evaluate(model), predict(model)])
            model.optimizer.learning_rate = 0.1 / (epoch + 1)

        history = fit(model, lib.callbacks.LambdaCallback(on_epoch_end=nested), epochs=3)
        model.optimizer.learning_rate = 0.001
        return [seen, history.history]

    agree(*in_both(program), rtol=2e-6, atol=2e-6)


def test_training_continues_with_the_weights_set_by_a_callback():
    model = compiled(tinynet)
    reset = LambdaCallback(on_epoch_end=lambda epoch, logs: model.set_weights(START))
    losses = fit(model, reset, batch_size=10, epochs=3).history["loss"]
    assert losses == losses[:1] * 3
    assert all(map(np.array_equal, model.get_weights(), START))


# Accepted arguments


def test_a_single_callback_need_not_be_in_a_list():
    runs = []
    for wrap in (lambda watch: watch, lambda watch: (watch,)):
        watch, calls = recorder(tinynet)
        compiled(tinynet).fit(X, Y, verbose=0, shuffle=False, callbacks=wrap(watch))
        runs.append(calls)
    assert runs[0] == runs[1] != []


@pytest.mark.parametrize("wrong", [3, "early", print, Callback, [3], [Callback], [None], {"a": 1}])
@pytest.mark.parametrize("use", ["fit", "evaluate", "predict"])
def test_invalid_callbacks_are_refused_before_anything_happens(wrong, use):
    model = compiled(tinynet)
    watch, calls = recorder(tinynet)
    given = [watch, *wrong] if isinstance(wrong, list) else wrong
    data = (X,) if use == "predict" else (X, Y)
    words = r"instances of tinynet\.callbacks\.Callback, received: .*\["
    with pytest.raises(ValueError, match=words):
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


@pytest.fixture
def reads(monkeypatch):
    """A function that counts how often a program of (x, y) reads back results."""
    counts, results = Counter(), Tracker.results

    def counted(tracker, *arguments):
        counts["results"] += 1
        return results(tracker, *arguments)

    def count(program, batches):
        counts.clear()
        program(*(np.repeat(a[:1], 2 * batches, axis=0) for a in (X, Y)))
        return counts["results"]

    monkeypatch.setattr(Tracker, "results", counted)
    return count


QUIET = [hook for hook in HOOKS if "batch" not in hook or "predict" in hook]


@pytest.mark.parametrize(
    ("hooks", "each"),
    [
        *[([hook], 0) for hook in QUIET],
        *[([hook], 1) for hook in ("on_train_batch_end", "on_batch_end", "on_test_batch_end")],
        ([], 0),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else str(value),
)
def test_results_are_read_back_for_each_batch_only_if_a_hook_gets_them(reads, hooks, each):
    few, many = 2, 30
    watch, calls = recorder(tinynet, hooks)

    def train(x, y):
        model, given = compiled(tinynet), {"batch_size": 2, "verbose": 0, "callbacks": [watch]}
        model.fit(x, y, epochs=2, validation_data=(x, y), **given)

    at_first = reads(train, few)
    assert reads(train, many) - at_first == each * 2 * (many - few)
    assert at_first <= 12 + each * 2 * few
    if each:
        assert len(calls) == 2 * (many + few)
        assert all(np.isfinite(logs["loss"]) for _, _, logs in calls)


def test_evaluation_reads_back_results_once(reads):
    def program(x, y):
        compiled(tinynet).evaluate(x, y, batch_size=2, verbose=0)

    assert reads(program, 2) == reads(program, 60) <= 6


def test_batch_hooks_that_are_not_overridden_are_not_called(monkeypatch):
    called = Counter()
    call = base.CallbackList.call

    def counted(self, moment, *arguments):
        called[moment] += 1
        return call(self, moment, *arguments)

    monkeypatch.setattr(base.CallbackList, "call", counted)
    model = compiled(tinynet)
    fit(model, Callback(), epochs=2, validation_data=HELD_OUT)
    predict(model)
    assert not [moment for moment in called if "batch" in moment]
    assert called["on_epoch_end"] == 2
