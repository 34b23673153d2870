"""Threads and forked processes: each call gets its own right answer, and no setting leaks."""

import multiprocessing
import os
import sys
import threading
import time

import numpy as np
import pytest
from networks import network
from oracle import agree

import tinynet
from tinynet import backend, config
from tinynet.backend import turns
from tinynet.compat import naming
from tinynet.layers import Dense, Dropout

computes = pytest.mark.computes
RNG = np.random.default_rng(1)
X = RNG.normal(size=(40, 6)).astype("float32")
Y = X.sum(axis=1, keepdims=True)


def model_of(*stack, optimizer="sgd", **compiled):
    tinynet.utils.set_random_seed(3)
    stack = stack or ((8, "tanh"), (1,))
    return network(*stack, inputs=(6,), loss="mse", optimizer=optimizer, **compiled)


def in_threads(*functions):
    """Call the functions at once, each in its own thread; raise the first error of one of them."""
    results, errors = [None] * len(functions), []

    def call(number):
        try:
            results[number] = functions[number]()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=call, args=(n,)) for n in range(len(functions))]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # change threads as often as possible
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    if errors:
        raise errors[0]
    return results


class Mean(tinynet.Metric):
    """The mean output, of all outputs at once: an object with a state, which calls must not mix."""

    def reset_state(self):
        self.outputs = []

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.outputs.append(y_pred)

    def result(self):
        return float(np.concatenate([backend.to_numpy(a) for a in self.outputs]).mean())


CALLS = {
    "predict": lambda model, x: model.predict(x, batch_size=4, verbose=0),
    "evaluate": lambda model, x: model.evaluate(x, Y[: len(x)], batch_size=4, verbose=0),
    "model(x)": lambda model, x: model(x),
    "layer(x)": lambda model, x: model.layers[0](x),
    "dead units": lambda model, x: tinynet.find_dead_units(model, x),
    "trace": lambda model, x: model.trace(x[:2], Y[:2]).loss,
}


@computes
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_four_threads_get_their_own_answers(call):
    model = model_of((32, "relu"), (32, "tanh"), (1,), metrics=[Mean()])
    inputs = [X[n : n + 12 + n] * (n + 1) for n in range(4)]
    expected = [call(model, x) for x in inputs]
    times = 5 if call is CALLS["trace"] else 200

    def answers(x, right):
        return sum(not np.array_equal(call(model, x), right) for _ in range(times))

    def same(x, right):
        return sum(call(model, x) != right for _ in range(times))

    check = answers if isinstance(expected[0], np.ndarray | list) else same
    wrong = in_threads(*(lambda a=a: check(*a) for a in zip(inputs, expected, strict=True)))
    assert wrong == [0] * 4


@computes
def test_predictions_during_training_are_of_a_whole_step_and_do_not_disturb_it():
    steps = []

    def fit(model, *callbacks):
        model.fit(X, Y, batch_size=8, epochs=8, verbose=0, callbacks=callbacks)
        return model.get_weights()

    alone = fit(model_of((8, "tanh"), Dropout(0.2), (1,)))
    model, done = model_of((8, "tanh"), Dropout(0.2), (1,), metrics=[Mean()]), threading.Event()
    watcher = tinynet.callbacks.LambdaCallback(
        on_train_begin=lambda logs: steps.append(model(X).tobytes()),
        on_train_batch_end=lambda batch, logs: steps.append(model(X).tobytes()),
        on_train_end=lambda logs: done.set(),
    )

    def watch():
        answers = set()
        while not done.is_set():
            answers.add(model.predict(X, batch_size=16, verbose=0).tobytes())
            model.evaluate(X[:5], Y[:5], verbose=0)
        return answers

    trained, *answers = in_threads(lambda: fit(model, watcher), watch, watch)
    assert all(map(np.array_equal, trained, alone))
    assert set().union(*answers) <= set(steps)
    assert model.evaluate(X, Y, verbose=0)[1] == pytest.approx(model(X).mean(), abs=1e-6)


def test_a_thread_that_waits_comes_before_the_next_step():
    """Otherwise, `fit` takes the lock again before the other thread has woken up."""
    seen = []

    class Asking(Dense):
        def forward(self, x, training=False):
            if training and model.optimizer.iterations == 3:
                other.start()
                while not turns._queue.locked():
                    time.sleep(0.001)
            return super().forward(x, training)

    def ask():
        model.predict(X, verbose=0, callbacks=[look])

    model, other = model_of(Asking(1)), threading.Thread(target=ask)
    look = tinynet.callbacks.LambdaCallback(
        on_predict_begin=lambda logs: seen.append(model.optimizer.iterations)
    )
    model.fit(X, Y, batch_size=1, epochs=5, verbose=0)
    other.join()
    assert seen == [4]


def test_only_one_thread_trains_a_model():
    model, began, refused = model_of(), threading.Event(), threading.Event()
    wait = tinynet.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: (began.set(), refused.wait(30))
    )

    def second():
        began.wait(30)
        try:
            for train in (lambda: model.fit(X, Y, verbose=0), lambda: model.train_on_batch(X, Y)):
                with pytest.raises(ValueError, match=r"another one trains it now.*deepcopy"):
                    train()
        finally:
            refused.set()

    in_threads(lambda: model.fit(X, Y, epochs=2, verbose=0, callbacks=[wait]), second)
    assert model.optimizer.iterations == 4
    model.fit(X, Y, verbose=0)
    assert model.optimizer.iterations == 6


@computes
def test_an_evaluation_within_training_leaves_its_metrics_alone():
    def accuracies(*callbacks):
        model = model_of(metrics=[Mean()])
        return model.fit(X, Y, batch_size=8, verbose=0, callbacks=callbacks).history["mean"]

    evaluate = tinynet.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: evaluate.model.evaluate(X * 3, Y, verbose=0)
    )
    assert accuracies(evaluate) == accuracies()


def test_threads_build_save_and_load_models_meanwhile(tmp_path):
    model, done = model_of(), threading.Event()
    path = tmp_path / "model.keras"

    def fit():
        try:
            model.fit(X, Y, batch_size=4, epochs=30, verbose=0)
        finally:
            done.set()

    def save():
        while not done.is_set():
            model.save(path)
            twin = tinynet.models.load_model(path)
            agree(twin.predict(X, verbose=0), network((8, "tanh"), (1,), inputs=(6,),
                  weights=twin.get_weights()).predict(X, verbose=0), rtol=1e-6)  # fmt: skip

    def build():
        kinds = set()
        while not (kinds and done.is_set()):  # it may get its first turn late
            kinds |= {w.dtype.name for w in network(*[(3,)] * 20, inputs=(6,)).weights}
        return kinds

    def check():
        while not done.is_set():
            assert tinynet.check_gradients(model, X[:4], Y[:4], samples=2)

    *_, kinds = in_threads(fit, save, check, build)
    assert kinds == {"float32"}


# Settings


def test_a_temporary_float_type_is_that_of_one_thread():
    with turns.temporarily(config.own_floatx, "float64"):
        assert config.floatx() == "float64"
        assert in_threads(config.floatx) == ["float32"]
    assert config.floatx() == "float32"


def test_a_backend_block_is_that_of_one_thread(cupy):
    backend.use("cupy")
    with backend.use("numpy"):
        assert backend.xp is np
        assert in_threads(lambda: backend.xp, backend.backend)[1] == "numpy"  # the suite's default
    assert backend.xp is cupy

    def inside():
        with backend.use("cupy"):
            started.set()
            ended.wait(30)
            return backend.xp

    started, ended = threading.Event(), threading.Event()

    def outside():
        started.wait(30)
        try:
            with backend.use("numpy"):
                return backend.xp
        finally:
            ended.set()

    assert in_threads(inside, outside) == [cupy, np]


def test_custom_objects_are_those_of_one_thread():
    with naming.custom_objects({"Mine": object}):
        assert naming.is_known("Mine", {})
        assert in_threads(lambda: naming.is_known("Mine", {})) == [False]


def draw(count=3):
    return backend.generator().integers(1 << 30, size=count).tolist()


def test_threads_share_the_random_numbers_unless_they_seed_their_own():
    def seeded():
        tinynet.utils.set_random_seed(5)
        return [number for _ in range(100) for number in draw()]

    numbers = seeded()
    tinynet.utils.set_random_seed(5)
    assert in_threads(seeded, seeded) == [numbers] * 2
    assert [*in_threads(draw), draw()] == [numbers[:3], numbers[3:6]]


def failing(model, before_it_fails):
    def fail(batch, logs):
        before_it_fails()
        raise ZeroDivisionError

    callback = tinynet.callbacks.LambdaCallback(on_train_batch_begin=fail)
    with pytest.raises(ZeroDivisionError):
        model.fit(X, Y, verbose=0, callbacks=[callback])


def test_no_call_makes_another_thread_draw_the_same_numbers_again():
    model, drawn = model_of((8, "tanh"), Dropout(0.5), (1,)), []

    def draw_elsewhere(*_):
        drawn.extend(in_threads(draw))
        return np.zeros(1)

    failing(model, draw_elsewhere)
    failing(model, draw_elsewhere)

    class Drawing(Dense):
        def forward(self, x, training=False):
            draw_elsewhere()
            return super().forward(x, training)

    model.add(Drawing(1))
    drawn.append(draw())
    tinynet.check_gradients(model, X[:2], Y[:2], samples=1)
    model.trace(X[:2], Y[:2])
    assert len({tuple(numbers) for numbers in drawn}) == len(drawn) > 10
    model = model_of()
    before = str(backend.generator().bit_generator.state)
    failing(model, lambda: None)  # alone, it restores the generator
    assert str(backend.generator().bit_generator.state) == before


def test_threads_number_names_without_repeating_one():
    tinynet.utils.clear_session()
    names = in_threads(*[lambda: [Dropout(0.1).name for _ in range(200)]] * 4)
    assert len({name for each in names for name in each}) == 800


# Forked processes


def fork(test):
    """Mark a test that forks its process, which by then may have threads, such as JAX's."""
    test = pytest.mark.filterwarnings("ignore:.*multi-?threaded:DeprecationWarning")(test)
    test = pytest.mark.filterwarnings("ignore:.*multithreaded:RuntimeWarning")(test)
    return pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows cannot fork")(test)


def in_processes(function, count=3):
    """Return what a function returns in each of several forked processes."""
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    processes = [context.Process(target=lambda: answers.put(function())) for _ in range(count)]
    try:
        for process in processes:
            process.start()
        return [answers.get(timeout=60) for _ in processes]
    finally:
        for process in processes:
            process.join(5)
            process.kill()


def kernel():
    return network((4,), inputs=(3,)).get_weights()[0].tolist()


@fork
@pytest.mark.parametrize("seeded", [False, True], ids=["unseeded", "seeded"])
def test_forked_workers_draw_different_numbers_unless_seeded(seeded):
    backend.seed(3 if seeded else None)
    kernel()
    first, second, third = in_processes(kernel)
    assert (first == second == third) is seeded
    assert len({str(each) for each in (first, second, third)}) == (1 if seeded else 3)


@fork
def test_a_process_forked_while_another_thread_computes_gets_a_whole_step():
    model, done = model_of(), threading.Event()
    steps = []
    callback = tinynet.callbacks.LambdaCallback(
        on_train_begin=lambda logs: steps.append(model(X).tolist()),
        on_train_batch_end=lambda batch, logs: steps.append(model(X).tolist()),
    )

    def train():
        while not done.is_set():
            model.fit(X, Y, batch_size=8, verbose=0, callbacks=[callback])

    def forks():
        try:
            return [in_processes(lambda: model.predict(X, verbose=0).tolist(), 1) for _ in range(8)]
        finally:
            done.set()

    _, answers = in_threads(train, forks)
    assert all(answer in steps for (answer,) in answers)
