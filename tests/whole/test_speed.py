"""Optimizations for speed change neither the results nor the use of memory.

These tests measure no time: they count bytes, and the batches that pass through the layers.
"""

import subprocess
import sys

import numpy as np
import pytest
from arrays import assert_allclose, assert_array_equal
from networks import SPARSE, network

import tinynet
from tinynet import losses, metrics
from tinynet.callbacks import Callback
from tinynet.engine import evaluation
from tinynet.layers import Dense

pytestmark = pytest.mark.computes

SAMPLES, CLASSES = 1100, 4


class CountedDense(Dense):
    """A `Dense` that records the batch sizes in `seen`, and still computes sample by sample."""

    by_sample = Dense.by_sample

    def forward(self, x, training=False):
        self.seen = [*getattr(self, "seen", []), len(x)]
        return super().forward(x, training)


class OnTestBatch(Callback):
    def __init__(self):
        super().__init__()
        self.logs = []

    def on_test_batch_end(self, batch, logs=None):
        self.logs.append(logs)


class OnPredictBatch(Callback):
    def __init__(self):
        super().__init__()
        self.batches = []

    def on_predict_batch_end(self, batch, logs=None):
        self.batches.append(logs["outputs"])


@pytest.fixture
def model():
    tinynet.utils.set_random_seed(3)
    return network(CountedDense(8, "tanh"), (CLASSES, "softmax"), inputs=(6,))


@pytest.fixture
def samples():
    rng = np.random.default_rng(5)
    return rng.normal(size=(SAMPLES, 6)).astype("float32"), rng.integers(CLASSES, size=SAMPLES)


def evaluated(model, samples, **arguments):
    model.layers[0].seen = []
    result = model.evaluate(*samples, verbose=0, **arguments)
    return result, model.layers[0].seen


ONE_BY_ONE = [32] * (SAMPLES // 32) + [SAMPLES % 32]
TOGETHER = [512, 512, SAMPLES - 1024]


def test_evaluate_merges_small_batches_with_the_same_result(model, samples):
    model.compile("sgd", SPARSE, metrics=["acc"])
    weights = np.random.default_rng(6).uniform(0, 2, SAMPLES)
    for given in ({}, {"sample_weight": weights}, {"steps": 20}):
        merged, seen = evaluated(model, samples, **given)
        each, watched = evaluated(model, samples, callbacks=[OnTestBatch()], **given)
        assert merged == pytest.approx(each, rel=1e-6)
        steps = given.get("steps", 35)
        assert watched == ONE_BY_ONE[:steps]
        assert seen == (TOGETHER if steps == 35 else [512, 128])


def test_batches_of_wide_samples_are_merged_only_within_a_memory_limit():
    x = np.zeros((40, 250_000), "uint8")
    model = tinynet.Sequential([tinynet.Input((250_000,)), CountedDense(2)])
    model.predict(x, batch_size=4, verbose=0)
    assert model.layers[0].seen == [16, 16, 8]  # 4 million numbers at a time
    model.layers[0].seen = []
    model.predict(x, batch_size=20, verbose=0)
    assert model.layers[0].seen == [20, 20]
    narrow = tinynet.Sequential([tinynet.Input((1,)), CountedDense(1), Dense(250_000), Dense(1)])
    narrow.predict(x[:, :1], batch_size=4, verbose=0)
    assert narrow.layers[0].seen == [16, 16, 8]


def test_the_progress_bar_counts_merged_batches(model, samples, monkeypatch):
    steps = []
    monkeypatch.setattr(evaluation.ProgressBar, "due", lambda bar: True)
    monkeypatch.setattr(
        evaluation.ProgressBar, "update", lambda bar, step, logs: steps.append(step)
    )
    model.compile("sgd", SPARSE)
    model.evaluate(*samples, verbose=0)
    assert steps == [16, 32, 35]
    model.predict(samples[0], verbose=0)
    assert steps[3:] == [16, 32, 35]


def test_large_batches_are_not_merged(model, samples):
    model.compile("sgd", SPARSE)
    assert evaluated(model, samples, batch_size=600)[1] == [600, 500]
    assert evaluated(model, samples, batch_size=300)[1] == [300, 300, 300, 200]


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
        {"loss": SPARSE, "metrics": [first_is_right]},
        {"loss": SPARSE, "metrics": ["acc", Share()]},
        {"loss": RelativeLoss()},
        {"loss": SPARSE, "metrics": [RelativeAccuracy()]},
    ],
    ids=["loss", "sum", "weighted mean", "function", "metric", "relative loss", "relative metric"],
)
def test_batches_are_not_merged_for_losses_and_metrics_that_depend_on_them(model, samples, chosen):
    model.compile("sgd", **chosen)
    assert evaluated(model, samples)[1] == ONE_BY_ONE


class BatchNorm(tinynet.Layer):
    """A layer that depends on the whole batch, and does not set `by_sample`."""

    seen = ()

    def forward(self, x, training=False):
        self.seen = [*self.seen, len(x)]
        return x - x.mean(axis=0)

    def backward(self, gradient):
        return gradient - gradient.mean(axis=0)


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
)
def test_batches_are_not_merged_for_layers_that_may_depend_on_them(samples, make, expected):
    layer = make()
    model = network(layer, (CLASSES, "softmax"), inputs=(6,), loss=SPARSE, optimizer="sgd")
    model.evaluate(*samples, verbose=0)
    assert layer.seen == expected
    layer.seen = []
    outputs = model.predict(samples[0], verbose=0)
    assert layer.seen == expected
    assert_allclose(outputs[32:64], model(samples[0][32:64]), rtol=1e-5)


def test_predict_merges_small_batches_with_the_same_result(model, samples):
    x, _ = samples
    merged = model.predict(x, verbose=0)
    assert model.layers[0].seen == TOGETHER
    watch = OnPredictBatch()
    each = model.predict(x, verbose=0, callbacks=[watch])
    assert_allclose(merged, each, rtol=1e-5)
    assert_array_equal(np.concatenate(watch.batches), each)
    assert [len(batch) for batch in watch.batches] == ONE_BY_ONE
    assert_array_equal(model.predict(x, verbose=0, steps=20), merged[:640])


def test_fit_never_merges_batches(model, samples):
    model.compile("sgd", SPARSE)
    model.fit(*samples, verbose=0)
    assert model.layers[0].seen == ONE_BY_ONE
    assert max(ONE_BY_ONE) < evaluation.MAX_MERGED_SAMPLES


PEAK = """
import resource, sys
import numpy as np
import tinynet
from tinynet.layers import Dense, Flatten

def peak():
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

kind, batch_size, n = sys.argv[1], int(sys.argv[2]), 40_000
x = np.ones((n, 28, 28), kind)
y = np.eye(10, dtype="float32")[np.arange(n) % 10]
layers = [tinynet.Input((28, 28)), Flatten(), Dense(100, "sigmoid"), Dense(144, "sigmoid")]
model = tinynet.Sequential([*layers, Dense(10, "softmax")])
model.compile("adam", "categorical_crossentropy", metrics=["acc"])
model.fit(x[:64], y[:64], verbose=0)
before = peak()
model.fit(x, y, batch_size=batch_size, verbose=0)
model.evaluate(x, y, batch_size=batch_size, verbose=0)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no getrusage")
@pytest.mark.parametrize("batch_size", [32, 1024])
@pytest.mark.parametrize("kind", ["uint8", "float32", "float64"])
def test_fit_needs_little_more_memory_than_the_data(kind, batch_size):
    run = [sys.executable, "-c", PEAK, kind, str(batch_size)]
    grown = int(subprocess.run(run, capture_output=True, text=True, check=True).stdout)
    assert grown <= 30e6, f"{grown / 1e6:.0f} MB"
