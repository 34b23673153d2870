"""BLAS threads: one for small products, all for large ones, and the user's settings respected.

These tests check the number of threads that BLAS has while a step runs, not how long it takes.
"""

import numpy as np
import pytest
import threadpoolctl
from networks import SPARSE, network

import tinynet
from tinynet.backend import threads
from tinynet.layers import Dense

MANY = 4
SEEN = []  # by `Watch`, also in a copy of its model


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
    assert seen_by(call, ENOUGH, ENOUGH) == {MANY}
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


def test_a_limit_set_by_the_user_is_never_exceeded():
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        for multiplications, expected in ((threads.MULTITHREAD_THRESHOLD, 2), (1, 1)):
            with threads.limited_for(multiplications):
                assert blas_threads() == {expected}
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
    first, second = threads.limited_for(1), threads.limited_for(1)
    with first:
        second.__enter__()
        assert blas_threads() == {1}
    assert blas_threads() == {1}
    second.__exit__(None, None, None)
    assert blas_threads() == {MANY}
