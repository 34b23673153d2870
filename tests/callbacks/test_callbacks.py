"""Callbacks: the same hooks, order and arguments as in Keras, and no cost for unused hooks.

The same recorder is used in Keras and in tinynet, starting from the same weights; both must record
the same calls.
"""

from collections import Counter

import numpy as np
import pytest
from arrays import array_equal, assert_allclose
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
QUIET = {"batch_size": 4, "shuffle": False, "verbose": 0}

HOOKS = [
    f"on_{what}_{moment}"
    for what in ("train", "epoch", "train_batch", "test", "test_batch", "predict", "predict_batch")
    for moment in ("begin", "end")
]


def compiled(lib):
    """Return a 4-5-3 network, sigmoid and softmax, always with the same initial weights."""
    return network(
        (5, "sigmoid"), (3, "softmax"),
        inputs=(4,), library=lib, weights=START, loss=ONE_HOT, metrics=["acc"],
    )  # fmt: skip


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


def assert_same_calls(theirs, ours):
    """Assert the same hooks in the same order, with the same arguments and logs."""
    agree(theirs, ours, rtol=1e-6, atol=1e-6)
    logs = [item for _, _, of_one in ours for item in of_one.items()]
    assert all(type(value) is float or name == "outputs" for name, value in logs)


USES = {
    "fit": lambda model, watch: model.fit(X, Y, epochs=2, callbacks=[watch], **QUIET),
    "fit with validation": lambda model, watch: model.fit(
        X, Y, epochs=2, validation_data=HELD_OUT, callbacks=[watch], **QUIET
    ),
    "fit with validation every second epoch": lambda model, watch: model.fit(
        X, Y, epochs=3, initial_epoch=1, validation_split=0.4, validation_freq=2,
        callbacks=[watch], **QUIET,
    ),
    "fit with smaller validation batches": lambda model, watch: model.fit(
        X, Y, validation_data=HELD_OUT, validation_batch_size=2, callbacks=[watch], **QUIET
    ),
    "fit with no epochs": lambda model, watch: model.fit(
        X, Y, epochs=0, validation_data=HELD_OUT, callbacks=[watch], **QUIET
    ),
    "evaluate": lambda model, watch: model.evaluate(
        X, Y, batch_size=4, verbose=0, callbacks=[watch]
    ),
    "predict": lambda model, watch: model.predict(X, batch_size=4, verbose=0, callbacks=[watch]),
}  # fmt: skip


@pytest.mark.parametrize("use", USES)
def test_hooks_are_called_in_the_order_and_with_the_arguments_of_keras(in_both, use):
    def program(lib, model):
        watch, calls = recorder(lib)
        USES[use](model, watch)
        return calls

    theirs, ours = in_both(program)
    assert_same_calls(theirs, ours)
    assert ours


def test_the_order_of_hooks_within_an_epoch():
    model = compiled(tinynet)
    watch, calls = recorder(tinynet)
    model.fit(X, Y, validation_data=HELD_OUT, callbacks=[watch], **QUIET)
    batch = ["on_train_batch_begin", "on_train_batch_end"]
    test_batch = ["on_test_batch_begin", "on_test_batch_end"]
    assert [name for name, _, _ in calls] == [
        "on_train_begin", "on_epoch_begin", *batch * 3,
        "on_test_begin", *test_batch * 2, "on_test_end", "on_epoch_end", "on_train_end",
    ]  # fmt: skip
    assert all(logs == {} for name, _, logs in calls if name.endswith("begin"))
    assert list(calls[-2][2]) == ["acc", "loss", "val_acc", "val_loss"]
    assert calls[-1][2] == calls[-2][2]


def test_logs_of_a_batch_are_means_over_the_epoch_so_far():
    model = compiled(tinynet)
    watch, calls = recorder(tinynet)
    model.fit(X, Y, callbacks=[watch], **QUIET)
    twin, losses, right = compiled(tinynet), [], []
    for start in (0, 4, 8):
        rows = slice(start, start + 4)
        loss, accuracy = twin.train_on_batch(X[rows], Y[rows])
        losses += [loss] * len(X[rows])
        right += [accuracy] * len(X[rows])
        place = (start // 4,)
        (logs,) = (logs for name, at, logs in calls if (name, at) == ("on_train_batch_end", place))
        assert_allclose(logs["loss"], np.mean(losses), rtol=1e-6)
        assert_allclose(logs["acc"], np.mean(right), rtol=1e-6)


def test_outputs_in_the_logs_of_predict_are_copies():
    model = compiled(tinynet)
    watch, calls = recorder(tinynet)
    outputs = model.predict(X, batch_size=4, verbose=0, callbacks=[watch])
    batches = [logs["outputs"] for name, _, logs in calls if name == "on_predict_batch_end"]
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert array_equal(np.concatenate(batches), outputs)
    batches[0][:] = 0
    assert outputs[:4].all()


@pytest.mark.parametrize("hook", ["on_batch_begin", "on_batch_end"])
def test_the_short_names_of_batch_hooks_work_as_in_keras(in_both, hook):
    def program(lib, model):
        watch, calls = recorder(lib, [hook])
        model.fit(X, Y, callbacks=[watch], **QUIET)
        return calls

    theirs, ours = in_both(program)
    assert_same_calls(theirs, ours)
    assert len(ours) == 3


def test_changes_to_the_logs_at_the_end_of_an_epoch_reach_the_history(in_both):
    def program(lib, model):
        class Change(lib.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                logs["twice"] = 2 * epoch
                logs["loss"] = 0.5
                del logs["acc"]

        return model.fit(X, Y, epochs=2, callbacks=[Change()], **QUIET).history

    assert in_both(program) == [{"loss": [0.5, 0.5], "twice": [0, 2]}] * 2


def test_callbacks_are_called_in_order_and_share_the_logs(in_both):
    def program(lib, model):
        class Number(lib.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                logs["count"] = logs.get("count", 0) * 10 + self.number

        first, second = Number(), Number()
        first.number, second.number = 1, 2
        return model.fit(X, Y, callbacks=[first, second], **QUIET).history["count"]

    assert in_both(program) == [[12], [12]]


def test_each_call_of_a_begin_hook_gets_new_logs():
    given = []

    class Keep(Callback):
        def on_epoch_begin(self, epoch, logs=None):
            given.append(logs)
            logs["mine"] = epoch

    history = compiled(tinynet).fit(X, Y, epochs=2, callbacks=[Keep()], **QUIET).history
    assert given[0] is not given[1]
    assert "mine" not in history


# What a callback has access to


@pytest.mark.parametrize("use", ["fit", "evaluate", "predict"])
def test_a_callback_has_its_model_and_the_params_of_keras(in_both, use):
    def program(lib, model):
        watch, _ = recorder(lib)
        USES[use](model, watch)
        assert watch.model is model
        return dict(watch.params)

    theirs, ours = in_both(program)
    assert ours == theirs


def test_the_history_of_the_model_grows_during_fit_as_in_keras(in_both):
    def program(lib, model):
        model.history, lengths = None, []

        class Look(lib.callbacks.Callback):
            def on_epoch_begin(self, epoch, logs=None):
                lengths.append(len(self.model.history.epoch))

        model.fit(X, Y, epochs=3, callbacks=[Look()], **QUIET)
        return lengths

    assert in_both(program) == [[0, 1, 2]] * 2


def test_a_callback_may_evaluate_predict_and_set_the_learning_rate(in_both):
    def program(lib, model):
        seen = []

        class Nested(lib.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                seen.extend(self.model.evaluate(X, Y, batch_size=4, verbose=0))
                seen.extend(self.model.predict(X, batch_size=4, verbose=0).ravel())
                self.model.optimizer.learning_rate = 0.1 / (epoch + 1)

        history = model.fit(X, Y, epochs=3, callbacks=[Nested()], **QUIET).history
        model.optimizer.learning_rate = 0.001
        return [*seen, *history["loss"], *history["acc"]]

    agree(*in_both(program), rtol=2e-6, atol=2e-6)


def test_training_continues_with_the_weights_set_by_a_callback():
    model = compiled(tinynet)

    class Reset(Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.set_weights(START)

    history = model.fit(
        X, Y, batch_size=10, epochs=3, verbose=0, shuffle=False, callbacks=[Reset()]
    )
    assert len(set(history.history["loss"])) == 1
    assert all(map(np.array_equal, model.get_weights(), START))


# Accepted arguments


def test_a_single_callback_need_not_be_in_a_list():
    watch, calls = recorder(tinynet)
    compiled(tinynet).fit(X, Y, callbacks=watch, **QUIET)
    listed, expected = recorder(tinynet)
    compiled(tinynet).fit(X, Y, callbacks=(listed,), **QUIET)
    assert calls == expected != []


@pytest.mark.parametrize("wrong", [3, "early", print, Callback, [3], [Callback], [None], {"a": 1}])
@pytest.mark.parametrize("use", ["fit", "evaluate", "predict"])
def test_invalid_callbacks_are_refused_before_anything_happens(wrong, use):
    model = compiled(tinynet)
    watch, calls = recorder(tinynet)
    given = [watch, *wrong] if isinstance(wrong, list) else wrong
    call = {
        "fit": lambda: model.fit(X, Y, callbacks=given, **QUIET),
        "evaluate": lambda: model.evaluate(X, Y, callbacks=given, verbose=0),
        "predict": lambda: model.predict(X, callbacks=given, verbose=0),
    }[use]
    with pytest.raises(
        ValueError, match=r"instances of tinynet\.callbacks\.Callback, received: .*\["
    ):
        call()
    assert calls == []
    assert all(map(np.array_equal, model.get_weights(), START))
    assert model.optimizer.iterations == 0


def test_a_callback_without_super_init_works_as_in_keras(in_both):
    def program(lib, model):
        class Bare(lib.callbacks.Callback):
            def __init__(self):
                self.epochs = 0

            def on_epoch_end(self, epoch, logs=None):
                self.epochs += 1

        bare = Bare()
        model.fit(X, Y, epochs=2, callbacks=[bare], **QUIET)
        return bare.epochs

    assert in_both(program) == [2, 2]


def test_history_can_be_used_as_a_callback():
    mine = History()
    model = compiled(tinynet)
    returned = model.fit(X, Y, epochs=2, callbacks=[mine], **QUIET)
    assert mine.history == returned.history
    assert mine.epoch == returned.epoch == [0, 1]
    model.fit(X, Y, epochs=3, initial_epoch=2, callbacks=[mine], **QUIET)
    assert [len(values) for values in mine.history.values()] == [3, 3]  # continued, as in Keras
    assert mine.epoch == [2]


def test_history_is_sorted_by_name(in_both):
    def program(lib, model):
        history = model.fit(X, Y, epochs=2, validation_data=HELD_OUT, validation_freq=2, **QUIET)
        return list(history.history), [len(v) for v in history.history.values()]

    assert in_both(program) == [(["acc", "loss", "val_acc", "val_loss"], [2, 2, 1, 1])] * 2


def test_history_sorts_validation_and_training_names_together():
    model = compiled(tinynet)
    hits = [tinynet.metrics.CategoricalAccuracy(name=name) for name in ("zeal", "hit")]
    model.compile("adam", ONE_HOT, metrics=hits)
    history = model.fit(X, Y, validation_data=HELD_OUT, **QUIET).history
    assert list(history) == ["hit", "loss", "val_hit", "val_loss", "val_zeal", "zeal"]


# Unused hooks cost nothing


@pytest.fixture
def reads(monkeypatch):
    """A count of how often results were read back from the backend."""
    counts = Counter()
    results = Tracker.results

    def counted(tracker, *arguments):
        counts["results"] += 1
        return results(tracker, *arguments)

    monkeypatch.setattr(Tracker, "results", counted)
    return counts


def reads_of(reads, batches, callback=None, use="fit", **arguments):
    x, y = np.repeat(X[:1], 2 * batches, axis=0), np.repeat(Y[:1], 2 * batches, axis=0)
    model = compiled(tinynet)
    reads.clear()
    given = {"batch_size": 2, "verbose": 0, "callbacks": callback and [callback], **arguments}
    if use == "fit":
        model.fit(x, y, epochs=2, validation_data=(x, y), **given)
    elif use == "evaluate":
        model.evaluate(x, y, **given)
    return reads["results"]


@pytest.mark.parametrize("use", ["fit", "evaluate"])
def test_the_number_of_results_read_back_does_not_depend_on_the_steps(reads, use):
    few, many = (reads_of(reads, batches, use=use) for batches in (2, 60))
    assert few == many
    assert few <= 6 * (2 if use == "fit" else 1)


QUIET_HOOKS = ["on_epoch_begin", "on_epoch_end", "on_train_begin", "on_test_end", "on_train_end"]


@pytest.mark.parametrize("hook", [*QUIET_HOOKS, "on_predict_batch_end"])
def test_a_callback_with_epoch_hooks_reads_back_no_batches(reads, hook):
    few, many = (reads_of(reads, n, recorder(tinynet, [hook])[0]) for n in (2, 60))
    assert few == many


@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_batch_end", "on_test_batch_end"])
def test_a_callback_with_batch_hooks_reads_back_each_batch(reads, hook):
    watch, calls = recorder(tinynet, [hook])
    silent = reads_of(reads, 30)
    assert reads_of(reads, 30, watch) >= silent + 60
    assert len(calls) == 60
    assert all(np.isfinite(logs["loss"]) for _, _, logs in calls)


def test_batch_hooks_that_are_not_overridden_are_not_called(monkeypatch):
    called = Counter()
    call = base.CallbackList.call

    def counted(self, moment, *arguments):
        called[moment] += 1
        return call(self, moment, *arguments)

    monkeypatch.setattr(base.CallbackList, "call", counted)
    model = compiled(tinynet)
    model.fit(X, Y, epochs=2, validation_data=HELD_OUT, callbacks=[Callback()], **QUIET)
    model.predict(X, verbose=0)
    assert not [moment for moment in called if "batch" in moment]
    assert called["on_epoch_end"] == 2


def test_a_hook_set_on_an_instance_is_called_as_in_keras(in_both):
    def program(lib, model):
        watch, batches = lib.callbacks.Callback(), []
        watch.on_train_batch_end = lambda batch, logs=None: batches.append(batch)
        model.fit(X, Y, callbacks=[watch], **QUIET)
        return batches

    assert in_both(program) == [[0, 1, 2]] * 2
