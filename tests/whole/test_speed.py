"""Optimizations for speed change neither the results nor the use of memory.

These tests measure no time: they count bytes, and the batches that pass through the layers.
"""

import os
import subprocess
import sys

import numpy as np
import pytest
from arrays import assert_allclose, assert_array_equal
from networks import SPARSE, network

import tinynet
from tinynet import losses, metrics
from tinynet.callbacks import LambdaCallback
from tinynet.engine import evaluation
from tinynet.layers import Dense

pytestmark = pytest.mark.computes

SAMPLES, CLASSES = 1100, 4
ONE_BY_ONE = [32] * (SAMPLES // 32) + [SAMPLES % 32]
TOGETHER = [512, 512, SAMPLES - 1024]


class CountedDense(Dense):
    """A `Dense` that records the batch sizes in `seen`, and still computes sample by sample."""

    by_sample = Dense.by_sample
    seen = ()

    def forward(self, x, training=False):
        self.seen = [*self.seen, len(x)]
        return super().forward(x, training)


@pytest.fixture
def samples():
    rng = np.random.default_rng(5)
    return rng.normal(size=(SAMPLES, 6)).astype("float32"), rng.integers(CLASSES, size=SAMPLES)


def on(*first, loss=SPARSE, **compiled):
    """Return a compiled model with these layers below a softmax, by default a `CountedDense`."""
    stack = first or [CountedDense(8, "tanh")]
    return network(
        *stack, (CLASSES, "softmax"), inputs=(6,), loss=loss, optimizer="sgd", **compiled
    )


def seen_by(method, *data, **arguments):
    """Return the method's result, and the sizes of the batches that pass through the model."""
    layer = method.__self__.layers[0]
    layer.seen = []
    return method(*data, verbose=0, **arguments), layer.seen


def test_evaluate_merges_small_batches_with_the_same_result(samples):
    model, logs = on(metrics=["acc"]), []
    watch = LambdaCallback(on_test_batch_end=lambda batch, given: logs.append(given))
    weights = np.random.default_rng(6).uniform(0, 2, SAMPLES)
    for given in ({}, {"sample_weight": weights}, {"steps": 20}):
        merged, together = seen_by(model.evaluate, *samples, **given)
        each, one_by_one = seen_by(model.evaluate, *samples, callbacks=[watch], **given)
        assert merged == pytest.approx(each, rel=1e-6)
        steps = given.get("steps", 35)
        assert one_by_one == ONE_BY_ONE[:steps]
        assert together == (TOGETHER if steps == 35 else [512, 128])
    assert len(logs) == 35 + 35 + 20


def test_predict_merges_small_batches_with_the_same_result(samples):
    model, batches = on(), []
    watch = LambdaCallback(on_predict_batch_end=lambda batch, logs: batches.append(logs["outputs"]))
    merged, together = seen_by(model.predict, samples[0])
    each, one_by_one = seen_by(model.predict, samples[0], callbacks=[watch])
    assert (together, one_by_one) == (TOGETHER, ONE_BY_ONE)
    assert_allclose(merged, each, rtol=1e-5)
    assert_array_equal(np.concatenate(batches), each)
    assert list(map(len, batches)) == ONE_BY_ONE
    assert_array_equal(model.predict(samples[0], verbose=0, steps=20), merged[:640])


def test_fit_never_merges_batches(samples):
    assert seen_by(on().fit, *samples)[1] == ONE_BY_ONE
    assert max(ONE_BY_ONE) < evaluation.MAX_MERGED_SAMPLES


def test_large_batches_and_batches_of_wide_samples_are_merged_only_within_a_limit(samples):
    model = on()
    assert seen_by(model.evaluate, *samples, batch_size=600)[1] == [600, 500]
    assert seen_by(model.evaluate, *samples, batch_size=300)[1] == [300, 300, 300, 200]
    x = np.zeros((40, 250_000), "uint8")  # of which 16 make 4 million numbers
    wide = network(CountedDense(2), inputs=(250_000,))
    assert seen_by(wide.predict, x, batch_size=4)[1] == [16, 16, 8]
    assert seen_by(wide.predict, x, batch_size=20)[1] == [20, 20]
    narrow = network(CountedDense(1), (250_000,), (1,), inputs=(1,))
    assert seen_by(narrow.predict, x[:, :1], batch_size=4)[1] == [16, 16, 8]


def test_the_progress_bar_counts_merged_batches(samples, monkeypatch):
    steps, bar, model = [], evaluation.ProgressBar, on()
    monkeypatch.setattr(bar, "due", lambda bar: True)
    monkeypatch.setattr(bar, "update", lambda bar, step, logs: steps.append(step))
    model.evaluate(*samples, verbose=0)
    assert steps == [16, 32, 35]
    model.predict(samples[0], verbose=0)
    assert steps[3:] == [16, 32, 35]


class BatchLoss(losses.Loss):
    """A loss that depends on the whole batch."""

    def call(self, y_true, y_pred):
        return y_pred.max(axis=-1) - y_pred.max()

    def backward(self, y_true, y_pred):
        return y_pred


def first_is_right(y_true, y_pred):
    return float(y_pred[0].argmax() == y_true[0])


class Share(metrics.Metric):
    def call(self, y_true, y_pred):
        return y_pred[:, 0] / y_pred[:, 0].max()


# These override methods, so the `by_sample` that they inherit must not be trusted.
class RelativeLoss(losses.SparseCategoricalCrossentropy):
    def call(self, y_true, y_pred):
        values = super().call(y_true, y_pred)
        return values / values.max()


class RelativeAccuracy(metrics.SparseCategoricalAccuracy):
    def call(self, y_true, y_pred):
        return super().call(y_true, y_pred) & (y_pred.max(axis=-1) >= y_pred.mean())


class CentredDense(CountedDense):
    def forward(self, x, training=False):
        return super().forward(x - x.mean(axis=0), training)


@pytest.mark.parametrize(
    "chosen",
    [
        {"loss": BatchLoss()},
        {"loss": losses.SparseCategoricalCrossentropy(reduction="sum")},
        {"loss": losses.SparseCategoricalCrossentropy(reduction="mean_with_sample_weight")},
        {"metrics": [first_is_right]},
        {"metrics": ["acc", Share()]},
        {"loss": RelativeLoss()},
        {"metrics": [RelativeAccuracy()]},
    ],
    ids=["loss", "sum", "weighted mean", "function", "metric", "relative loss", "relative metric"],
)
def test_batches_are_not_merged_for_losses_and_metrics_that_depend_on_them(samples, chosen):
    assert seen_by(on(**chosen).evaluate, *samples)[1] == ONE_BY_ONE


class BatchNorm(tinynet.Layer):
    """A layer that depends on the whole batch, and does not set `by_sample`."""

    def forward(self, x, training=False):
        self.seen = [*self.seen, len(x)]
        return x - x.mean(axis=0)


class Shift(BatchNorm):
    """A layer that computes sample by sample, and sets `by_sample`."""

    by_sample = True

    def forward(self, x, training=False):
        super().forward(x)
        return x + 1


def over_the_batch(z, out=None):
    return z / z.max(axis=0)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (BatchNorm, ONE_BY_ONE),
        (Shift, TOGETHER),
        (lambda: CountedDense(3, activation=over_the_batch), ONE_BY_ONE),
        (lambda: CentredDense(3), ONE_BY_ONE),
        (lambda: CountedDense(3, activation="relu"), TOGETHER),
    ],
    ids=["batch norm", "shift", "user's activation", "centred", "relu"],
)
def test_batches_are_not_merged_for_layers_that_may_depend_on_them(samples, make, expected):
    model, x = on(make()), samples[0]
    assert seen_by(model.evaluate, *samples)[1] == expected
    outputs, seen = seen_by(model.predict, x)
    assert seen == expected
    assert_allclose(outputs[32:64], model(x[32:64]), rtol=1e-5)


PEAK = """
import resource, sys
import numpy as np
from networks import tutorial

def peak():
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

kind, batch_size, n = sys.argv[1], int(sys.argv[2]), 40_000
x = np.ones((n, 28, 28), kind)
y = np.eye(10, dtype="float32")[np.arange(n) % 10]
model = tutorial()
model.fit(x[:64], y[:64], verbose=0)
before = peak()
model.fit(x, y, batch_size=batch_size, verbose=0)
model.evaluate(x, y, batch_size=batch_size, verbose=0)
print(peak() - before)
"""
MORE_CASES = ("uint8", 1024), ("float32", 32), ("float32", 1024), ("float64", 32)


@pytest.mark.host
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no getrusage")
@pytest.mark.parametrize(
    ("kind", "batch_size"),
    [
        ("uint8", 32),
        ("float64", 1024),
        *(pytest.param(*case, marks=pytest.mark.long) for case in MORE_CASES),
    ],
)
def test_fit_needs_little_more_memory_than_the_data(kind, batch_size):
    run = [sys.executable, "-c", PEAK, kind, str(batch_size)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    grown = int(subprocess.check_output(run, env=environment, text=True))
    assert grown <= 30e6, f"{grown / 1e6:.0f} MB"
