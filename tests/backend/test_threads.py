"""BLAS threads: one for small products; for large ones, the number that is the fastest at the time;
and the user's settings respected.

These tests check the number of threads that BLAS has while a step runs. Its duration is simulated.
"""

import numpy as np
import pytest
import threadpoolctl
from networks import SPARSE, network

import tinynet
from tinynet import backend
from tinynet.backend import threads
from tinynet.layers import Dense

MANY = 4
SEEN = []  # by `Watch`, also in a copy of its model


def blas_threads():
    pools = threadpoolctl.threadpool_info()
    return {pool["num_threads"] for pool in pools if pool["user_api"] == "blas"}


class Clock:
    """A clock that a step advances by as much as it takes with this number of threads."""

    now = 0.0
    takes = {1: 0.020, 2: 0.011, 4: 0.006}  # seconds

    def __call__(self):
        return self.now

    def step(self, steps, rows=1):
        """Do one step, and return its number of threads."""
        with steps(rows):
            (count,) = blas_threads()
            self.now += self.takes[count] * rows
        return count


@pytest.fixture
def clock():
    return threads.perf_counter


@pytest.fixture(autouse=True)
def four_threads(monkeypatch):
    """Give BLAS four threads, with no environment variable set."""
    for name in threads.THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    threads._libraries.cache_clear()  # another test may have loaded a second BLAS since
    threads._steps.cache_clear()
    monkeypatch.setattr(threads, "perf_counter", Clock())
    with threadpoolctl.threadpool_limits(MANY, user_api="blas"):
        if blas_threads() != {MANY}:
            pytest.skip("the number of threads of this BLAS cannot be set")
        yield
        assert blas_threads() == {MANY}, "the limit has to end with the call"


class Watch(Dense):
    """A `Dense` that records the size of each batch and the number of BLAS threads at that time."""

    by_sample = Dense.by_sample

    def forward(self, x, training=False):
        SEEN.append((len(x), blas_threads()))
        return super().forward(x, training)


def seen_by(call, samples, batch_size=32, width=64):
    """Return the set of thread counts seen during one call of a model's method."""
    SEEN.clear()
    threads._steps.cache_clear()
    model = network(Watch(width), (2, "softmax"), inputs=(width,), loss=SPARSE)
    data = np.ones((samples, width), "float32"), np.ones(samples, int)
    arguments = {} if call.endswith("on_batch") else {"batch_size": batch_size, "verbose": 0}
    getattr(model, call)(*(data[:1] if call == "predict" else data), **arguments)
    assert sum(size for size, _ in SEEN) == samples
    return {threads for _, pools in SEEN for threads in pools}


# The samples from which on more threads are used.
ENOUGH = -(-threads.MULTITHREAD_THRESHOLD // (64 * 64))


@pytest.mark.parametrize("call", ["fit", "evaluate", "predict", "train_on_batch", "test_on_batch"])
def test_small_products_get_one_thread_and_large_ones_all(call):
    assert seen_by(call, ENOUGH, ENOUGH) == {MANY}  # in the first step; see below for more
    assert seen_by(call, ENOUGH - 1, ENOUGH - 1) == {1}
    # The actual batch counts, not batch_size.
    assert seen_by(call, ENOUGH - 1, 2 * ENOUGH) == {1}


def test_fit_counts_its_batches_alone_and_other_calls_count_those_they_compute_together():
    assert seen_by("fit", 2 * ENOUGH) == {1}
    for call in ("evaluate", "predict"):  # with a width of 100, more threads from 400 samples on
        assert seen_by(call, 512, width=100) == {MANY}
        assert seen_by(call, 320, width=100) == {1}


@pytest.mark.parametrize("inputs", [(64,), None])
@pytest.mark.parametrize(("size", "expected"), [(2, {1}), (ENOUGH, {MANY})])
def test_a_gradient_check_gets_the_threads_of_fit(inputs, size, expected):
    SEEN.clear()
    model = network(Watch(64), (2, "softmax"), inputs=inputs, loss=SPARSE)
    tinynet.check_gradients(model, np.ones((size, 64)), np.ones(size, int), samples=1)
    assert {threads for _, pools in SEEN for threads in pools} == expected


@pytest.mark.parametrize("name", threads.THREAD_VARIABLES)
def test_an_environment_variable_takes_precedence(monkeypatch, name):
    monkeypatch.setenv(name, str(MANY))
    assert seen_by("fit", 8) == {MANY}


def test_a_limit_set_by_the_user_is_never_exceeded(clock):
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        for multiplications, expected in ((threads.MULTITHREAD_THRESHOLD, {1, 2}), (1, {1})):
            with threads.limited_for(multiplications) as steps:
                assert {clock.step(steps) for _ in range(9)} == expected
        assert blas_threads() == {2}


def test_without_threadpoolctl_the_threads_are_left_alone(monkeypatch):
    monkeypatch.setattr(threads, "_libraries", lambda: None)
    assert seen_by("fit", 8) == {MANY}


def test_the_limit_is_lifted_after_an_error():
    with pytest.raises(KeyError), threads.limited_for(1):
        raise KeyError
    assert blas_threads() == {MANY}


def test_multiplications_count_every_axis():
    model = tinynet.Sequential([tinynet.Input((5, 3)), Dense(7), tinynet.layers.Flatten()])
    assert threads.largest_product(model.layers, 2) == 2 * 5 * 3 * 7
    model.add(Dense(100))
    assert threads.largest_product(model.layers, 2) == 2 * 35 * 100


def test_the_last_of_overlapping_calls_restores_the_number_of_threads():
    first, second = threads.limited_for(1), threads.limited_for(threads.MULTITHREAD_THRESHOLD)
    with first:
        steps = second.__enter__()
        with steps(1):
            assert blas_threads() == {MANY}
        threads._blas.set(1)
    assert blas_threads() == {1}
    second.__exit__(None, None, None)
    assert blas_threads() == {MANY}


# Large products: the fastest number at the time

LARGE = threads.MULTITHREAD_THRESHOLD
BUSY = {1: 0.020, 2: 0.090, 4: 0.150}  # beside another program, threads wait for each other
TRIAL = 7  # steps: one to warm up, and two for each number of threads


@pytest.mark.parametrize(("takes", "best"), [(Clock.takes, 4), (BUSY, 1)])
def test_the_fastest_number_is_found_within_a_few_steps(clock, takes, best):
    clock.takes = takes
    with threads.limited_for(LARGE) as steps:
        first = [clock.step(steps) for _ in range(TRIAL)]
        assert set(first) == {1, 2, 4}
        assert {clock.step(steps) for _ in range(10)} == {best}
    if best == 1:  # what is twice as slow is tried once
        assert sorted(first) == [1, 1, 1, 1, 2, 4, 4]


def test_two_numbers_are_decided_between_within_five_steps(clock):
    with threadpoolctl.threadpool_limits(2, user_api="blas"), threads.limited_for(LARGE) as steps:
        assert [clock.step(steps) for _ in range(7)] == [2, 1, 2, 1, 2, 2, 2]


def test_threads_that_save_less_than_a_twentieth_are_not_used(clock):
    clock.takes = {1: 0.020, 2: 0.0195, 4: 0.0192}
    with threads.limited_for(LARGE) as steps:
        assert [clock.step(steps) for _ in range(TRIAL + 5)][TRIAL:] == [1] * 5


def test_the_number_follows_the_load(clock):
    with threads.limited_for(LARGE) as steps:
        quiet = [clock.step(steps) for _ in range(50)]
        assert set(quiet[TRIAL:]) == {4}
        clock.takes = BUSY
        busy = [clock.step(steps) for _ in range(300)]
        assert busy[:2] == [4, 4]
        assert busy.index(1) == 2
        assert set(busy[7:50]) == {1}
        assert busy[7:].count(4) < 7  # tried again every few seconds
        clock.takes, began = Clock.takes, clock.now
        while clock.step(steps) != 4 or steps._trial:
            pass
        assert clock.now - began < threads.LATEST + 1
        assert {clock.step(steps) for _ in range(50)} == {4}


def test_a_number_that_proves_right_is_reconsidered_less_often(clock):
    with threads.limited_for(LARGE) as steps:
        trials, last = [], False
        while clock.now < 40:
            clock.step(steps)
            if steps._trial and not last:
                trials.append(clock.now)
            last = bool(steps._trial)
    gaps = np.diff(trials)
    assert (gaps[0] < 3, 8 <= gaps[-1] < 9, len(gaps)) == (True, True, 6)


def test_one_slow_step_or_smaller_batches_change_nothing(clock):
    with threads.limited_for(LARGE) as steps:
        for _ in range(TRIAL):
            clock.step(steps)
        clock.takes = BUSY
        assert clock.step(steps) == 4
        clock.takes = Clock.takes
        assert {clock.step(steps, rows) for rows in (32, 32, 7, 32, 5)} == {4}


def test_what_was_found_is_remembered_across_calls(clock):
    clock.takes = BUSY
    with threads.limited_for(LARGE, trains=True) as steps:
        for _ in range(TRIAL):
            clock.step(steps)
    with threads.limited_for(LARGE, trains=True) as steps:
        assert clock.step(steps) == 1
        assert [clock.step(steps) for _ in range(9)].count(1) >= 5
    with threads.limited_for(LARGE) as steps:  # of other steps, nothing is known
        assert clock.step(steps) == 4


def test_steps_with_small_products_measure_nothing(monkeypatch):
    monkeypatch.setattr(threads, "perf_counter", None)
    assert seen_by("fit", 8) == {1}


def test_on_a_gpu_nothing_is_measured(monkeypatch):
    monkeypatch.setattr(backend, "backend", lambda: "cupy")
    monkeypatch.setattr(threads, "perf_counter", None)
    for multiplications in (1, LARGE):
        with threads.limited_for(multiplications) as steps, steps(1):
            assert blas_threads() == {1}


def test_fit_and_the_like_adapt(clock, monkeypatch):
    """The whole way: with large batches, all calls end up with one thread beside a load."""

    def forward(layer, x, training=False):
        (count,) = blas_threads()
        clock.now += BUSY[count] * len(x)
        return Dense.forward(layer, x, training)

    monkeypatch.setattr(Watch, "forward", forward)
    model = network(Watch(64), (2, "softmax"), inputs=(64,), loss=SPARSE)
    x, y = np.ones((12 * ENOUGH, 64), "float32"), np.ones(12 * ENOUGH, int)
    calls = {
        lambda: model.fit(x, y, batch_size=ENOUGH, verbose=0): True,
        lambda: model.evaluate(x, y, batch_size=ENOUGH, verbose=0): False,
        lambda: model.predict(x, batch_size=ENOUGH, verbose=0): False,
    }
    for call, trains in calls.items():
        threads._steps.cache_clear()
        call()
        assert threads._steps(MANY, ENOUGH * 64 * 64, trains).best == 1
