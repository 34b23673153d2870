"""BLAS's threads: one where the products are small, all where they are large, none against a wish.

What is checked is what BLAS was told while a step ran, not how long anything took.
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
    """Four threads, and nobody who decided anything."""
    for name in threads.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    threads._libraries.cache_clear()  # another test may have brought a second BLAS in since
    with threadpoolctl.threadpool_limits(MANY, user_api="blas"):
        if blas_threads() != {MANY}:
            pytest.skip("this BLAS cannot be told how many threads to use")
        yield


class Watch(tinynet.Layer):
    """Notes how many threads BLAS has when a batch comes through, and how large that is."""

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
    """The batches and threads of one call of a model's method."""
    watch = Watch()
    model = network(watch, (units,), (2, "softmax"), inputs=(inputs,), loss=SPARSE)
    x, y = np.ones((samples, inputs), "float32"), np.ones(samples, int)
    if call == "predict":
        model.predict(x, batch_size=batch_size, verbose=0)
    elif call.endswith("on_batch"):
        getattr(model, call)(x, y)
    else:
        getattr(model, call)(x, y, batch_size=batch_size, verbose=0)
    assert blas_threads() == {MANY}, "what BLAS was told has to end with the call"
    assert sum(size for size, _ in watch.seen) == samples
    return {threads for _, pools in watch.seen for threads in pools}


ENOUGH = -(-threads.WORTH_MORE_THREADS // (64 * 64))  # samples that are worth more threads


@pytest.mark.parametrize(
    ("call", "samples", "batch_size", "expected"),
    [
        ("fit", ENOUGH, ENOUGH, MANY),
        ("fit", ENOUGH - 1, ENOUGH - 1, 1),
        ("fit", ENOUGH - 1, 2 * ENOUGH, 1),  # what counts is what is there
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
def test_batches_taken_together_count_together(call):
    sizes = {"inputs": 100, "units": 100}  # 400 samples are worth more threads
    assert seen_by(call, 512, 32, **sizes) == {MANY}
    assert seen_by(call, 320, 32, **sizes) == {1}


@pytest.mark.parametrize("name", threads.VARIABLES)
def test_a_variable_of_the_environment_has_decided(monkeypatch, name):
    monkeypatch.setenv(name, str(MANY))
    assert seen_by("fit", 8, 8) == {MANY}


def test_a_limit_of_the_user_s_is_never_exceeded():
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        with threads.suited_to(threads.WORTH_MORE_THREADS):
            assert blas_threads() == {2}
        with threads.suited_to(1):
            assert blas_threads() == {1}
        assert blas_threads() == {2}


def test_without_threadpoolctl_blas_does_as_it_likes(monkeypatch):
    monkeypatch.setattr(threads, "_libraries", lambda: None)
    assert seen_by("fit", 8, 8) == {MANY}


def test_an_error_lifts_the_limit_too():
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


def test_rows_of_every_axis_count():
    model = tinynet.Sequential([tinynet.Input((5, 3)), Dense(7), tinynet.layers.Flatten()])
    assert threads.multiplications(model.layers, 2) == 2 * 5 * 3 * 7
    model.add(Dense(100))
    assert threads.multiplications(model.layers, 2) == 2 * 35 * 100
