"""BLAS's threads: one where the products are small, all where they are large, none against a wish.

What is checked is what BLAS was told while a step ran, not how long anything took.
"""

import os

import numpy as np
import pytest
import threadpoolctl

import tinynet
from tinynet import threads
from tinynet.callbacks import Callback
from tinynet.layers import Dense

MANY = 4
CORES = threads._cores


def blas_threads():
    pools = threadpoolctl.threadpool_info()
    return {pool["num_threads"] for pool in pools if pool["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def machine_with_cores(monkeypatch):
    """Four cores, and nobody who decided anything."""
    for name in threads.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "_cores", lambda: MANY)
    with threadpoolctl.threadpool_limits(MANY, user_api="blas"):
        if blas_threads() != {MANY}:
            pytest.skip("this BLAS cannot be told how many threads to use")
        yield


class Watch(Callback):
    def __init__(self):
        super().__init__()
        self.seen = {}

    def on_train_batch_begin(self, batch, logs=None):
        self.seen["fit"] = blas_threads()

    def on_test_batch_begin(self, batch, logs=None):
        self.seen["evaluate"] = blas_threads()

    def on_predict_batch_begin(self, batch, logs=None):
        self.seen["predict"] = blas_threads()


def seen_while_computing(batch_size, inputs=64, units=64):
    model = tinynet.Sequential([tinynet.Input((inputs,)), Dense(units), Dense(2, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    x, y, watch = np.ones((batch_size, inputs), "float32"), np.ones(batch_size, int), Watch()
    arguments = {"batch_size": batch_size, "verbose": 0, "callbacks": [watch]}
    model.fit(x, y, **arguments)
    model.evaluate(x, y, **arguments)
    model.predict(x, **arguments)
    assert blas_threads() == {MANY}, "what BLAS was told has to end with the call"
    return watch.seen


def everywhere(count):
    return {call: {count} for call in ("fit", "evaluate", "predict")}


def test_small_products_get_one_thread_and_large_ones_all():
    just_enough = -(-threads.WORTH_MORE_THREADS // (64 * 64))
    assert seen_while_computing(just_enough - 1) == everywhere(1)
    assert seen_while_computing(just_enough) == everywhere(MANY)


@pytest.mark.parametrize("name", threads.VARIABLES)
def test_a_variable_of_the_environment_has_decided(monkeypatch, name):
    monkeypatch.setenv(name, str(MANY))
    assert seen_while_computing(8) == everywhere(MANY)


def test_a_limit_of_the_user_s_own_stays(monkeypatch):
    monkeypatch.setattr(threads, "_cores", lambda: MANY + 1)
    assert seen_while_computing(8) == everywhere(MANY)


def test_without_threadpoolctl_blas_does_as_it_likes(monkeypatch):
    monkeypatch.setattr(threads, "_libraries", lambda: None)
    assert seen_while_computing(8) == everywhere(MANY)


def test_an_error_lifts_the_limit_too():
    class Stop(Watch):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyError

    model, stop = tinynet.Sequential([tinynet.Input((3,)), Dense(2, "softmax")]), Stop()
    model.compile("adam", "categorical_crossentropy")
    with pytest.raises(KeyError):
        model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0, callbacks=[stop])
    assert stop.seen == {"fit": {1}}
    assert blas_threads() == {MANY}


def test_rows_of_every_axis_count():
    model = tinynet.Sequential([tinynet.Input((5, 3)), Dense(7), tinynet.layers.Flatten()])
    assert model.multiplications(2) == 2 * 5 * 3 * 7
    model.add(Dense(100))
    assert model.multiplications(2) == 2 * 35 * 100


def test_the_cores_are_those_that_this_process_may_use():
    assert 1 <= CORES() <= os.cpu_count()
