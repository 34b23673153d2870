"""BLAS threads: one for small products, all for large ones, and the user's settings respected.

These tests check the number of threads that BLAS has while a step runs, not how long it takes.
"""

import numpy as np
import pytest
import threadpoolctl
from networks import ONE_HOT, SPARSE, network

import tinynet
from tinynet.backend import threads
from tinynet.layers import Dense

MANY = 4


def blas_threads():
    pools = threadpoolctl.threadpool_info()
    return {pool["num_threads"] for pool in pools if pool["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def four_threads(monkeypatch):
    """Give BLAS four threads, with no environment variable set."""
    for name in threads.THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    threads._libraries.cache_clear()  # another test may have loaded a second BLAS since
    with threadpoolctl.threadpool_limits(MANY, user_api="blas"):
        if blas_threads() != {MANY}:
            pytest.skip("the number of threads of this BLAS cannot be set")
        yield


class Watch(tinynet.Layer):
    """A layer that records the size of each batch and the number of BLAS threads at that time."""

    by_sample = True

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x, training=False):
        self.seen.append((len(x), blas_threads()))
        return x

    def backward(self, gradient):
        return gradient


def seen_by(call, samples, batch_size, inputs=64, units=64):
    """Return the set of thread counts seen during one call of a model's method."""
    watch = Watch()
    model = network(watch, (units,), (2, "softmax"), inputs=(inputs,), loss=SPARSE)
    x, y = np.ones((samples, inputs), "float32"), np.ones(samples, int)
    if call == "predict":
        model.predict(x, batch_size=batch_size, verbose=0)
    elif call.endswith("on_batch"):
        getattr(model, call)(x, y)
    else:
        getattr(model, call)(x, y, batch_size=batch_size, verbose=0)
    assert blas_threads() == {MANY}, "the limit has to end with the call"
    assert sum(size for size, _ in watch.seen) == samples
    return {threads for _, pools in watch.seen for threads in pools}


# The samples from which on more threads are used.
ENOUGH = -(-threads.MULTITHREAD_THRESHOLD // (64 * 64))


@pytest.mark.parametrize(
    ("call", "samples", "batch_size", "expected"),
    [
        ("fit", ENOUGH, ENOUGH, MANY),
        ("fit", ENOUGH - 1, ENOUGH - 1, 1),
        ("fit", ENOUGH - 1, 2 * ENOUGH, 1),  # the actual batch counts, not batch_size
        ("fit", 2 * ENOUGH, 32, 1),
        ("train_on_batch", ENOUGH, None, MANY),
        ("train_on_batch", ENOUGH - 1, None, 1),
        ("test_on_batch", ENOUGH, None, MANY),
        ("test_on_batch", ENOUGH - 1, None, 1),
        ("evaluate", ENOUGH, ENOUGH, MANY),
        ("evaluate", ENOUGH - 1, 2 * ENOUGH, 1),
        ("predict", ENOUGH, ENOUGH, MANY),
        ("predict", ENOUGH - 1, 2 * ENOUGH, 1),
    ],
)
def test_small_products_get_one_thread_and_large_ones_all(call, samples, batch_size, expected):
    assert seen_by(call, samples, batch_size) == {expected}


@pytest.mark.parametrize("call", ["evaluate", "predict"])
def test_batches_computed_together_are_counted_together(call):
    sizes = {"inputs": 100, "units": 100}  # more threads from 400 samples on
    assert seen_by(call, 512, 32, **sizes) == {MANY}
    assert seen_by(call, 320, 32, **sizes) == {1}


@pytest.mark.parametrize("name", threads.THREAD_VARIABLES)
def test_an_environment_variable_takes_precedence(monkeypatch, name):
    monkeypatch.setenv(name, str(MANY))
    assert seen_by("fit", 8, 8) == {MANY}


def test_a_limit_set_by_the_user_is_never_exceeded():
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        with threads.limited_for(threads.MULTITHREAD_THRESHOLD):
            assert blas_threads() == {2}
        with threads.limited_for(1):
            assert blas_threads() == {1}
        assert blas_threads() == {2}


def test_without_threadpoolctl_the_threads_are_left_alone(monkeypatch):
    monkeypatch.setattr(threads, "_libraries", lambda: None)
    assert seen_by("fit", 8, 8) == {MANY}


def test_the_limit_is_lifted_after_an_error():
    class Stop(Watch):
        def forward(self, x, training=False):
            super().forward(x)
            raise KeyError

    stop = Stop()
    model = network(stop, (2, "softmax"), inputs=(3,), loss=ONE_HOT)
    with pytest.raises(KeyError):
        model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
    assert stop.seen == [(4, {1})]
    assert blas_threads() == {MANY}


def test_multiplications_count_every_axis():
    model = tinynet.Sequential([tinynet.Input((5, 3)), Dense(7), tinynet.layers.Flatten()])
    assert threads.largest_product(model.layers, 2) == 2 * 5 * 3 * 7
    model.add(Dense(100))
    assert threads.largest_product(model.layers, 2) == 2 * 35 * 100
