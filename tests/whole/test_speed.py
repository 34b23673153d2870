"""Optimizations for speed change neither the results nor the use of memory.

These tests measure no time: they count bytes, and the batches that pass through the layers.
"""

import tracemalloc

import numpy as np
import pytest
from arrays import assert_allclose, assert_array_equal
from networks import SPARSE, network, tutorial

from tinynet import losses, metrics
from tinynet.callbacks import LambdaCallback
from tinynet.engine import evaluation
from tinynet.layers import Dense

pytestmark = pytest.mark.computes

CROSSENTROPY = losses.SparseCategoricalCrossentropy
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
    for given in ({}, {"sample_weight": weights}, {"steps": 20, "batch_size": 32}):
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
    assert_array_equal(model.predict(samples[0], verbose=0, steps=20, batch_size=32), merged[:640])


def test_fit_never_merges_batches(samples):
    assert seen_by(on().fit, *samples)[1] == ONE_BY_ONE


def test_large_batches_and_batches_of_wide_samples_are_merged_only_within_a_limit(samples):
    model = on()
    assert seen_by(model.evaluate, *samples, batch_size=600)[1] == [600, 500]
    assert seen_by(model.evaluate, *samples, batch_size=300)[1] == [300, 300, 300, 200]
    x = np.zeros((40, 250_000), "uint8")  # of which 16 make 4 million numbers
    wide = network(CountedDense(2), inputs=(250_000,))
    assert seen_by(wide.predict, x, batch_size=4)[1] == [16, 16, 8]
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


def first_is_right(y_true, y_pred):
    return float(y_pred[0].argmax() == y_true[0])


def over_the_batch(z, out=None):
    return z / z.max(axis=0)


# These override methods, so the `by_sample` that they inherit must not be trusted.
class RelativeLoss(CROSSENTROPY):
    def call(self, y_true, y_pred):
        values = super().call(y_true, y_pred)
        return values / values.max()


class RelativeAccuracy(metrics.SparseCategoricalAccuracy):
    def call(self, y_true, y_pred):
        return super().call(y_true, y_pred) & (y_pred.max(axis=-1) >= y_pred.mean())


class CentredDense(CountedDense):
    def forward(self, x, training=False):
        return super().forward(x - x.mean(axis=0), training)


WHOLE_BATCH = {
    "a sum": {"loss": CROSSENTROPY(reduction="sum")},
    "a weighted mean": {"loss": CROSSENTROPY(reduction="mean_with_sample_weight")},
    "a relative loss": {"loss": RelativeLoss()},
    "a function as a metric": {"metrics": [first_is_right]},
    "a relative metric": {"metrics": ["acc", RelativeAccuracy()]},
}


@pytest.mark.parametrize("chosen", WHOLE_BATCH.values(), ids=WHOLE_BATCH)
def test_batches_are_not_merged_for_losses_and_metrics_that_depend_on_them(samples, chosen):
    assert seen_by(on(**chosen).evaluate, *samples)[1] == ONE_BY_ONE


@pytest.mark.parametrize("layer", [CentredDense, lambda units: CountedDense(units, over_the_batch)])
def test_batches_are_not_merged_for_layers_that_may_depend_on_them(samples, layer):
    model, x = on(layer(3)), samples[0]
    assert seen_by(model.evaluate, *samples)[1] == ONE_BY_ONE
    outputs, seen = seen_by(model.predict, x)
    assert seen == ONE_BY_ONE
    assert_allclose(outputs[32:64], model(x[32:64]), rtol=1e-5)


@pytest.mark.host
@pytest.mark.parametrize("kind", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("batch_size", [32, 1024])
def test_fit_and_evaluate_need_little_memory_besides_the_data(monkeypatch, kind, batch_size):
    monkeypatch.setattr("tinynet.backend.arrays.WORTH_COMPILING", 1e9)  # Numba takes 27 MB, once
    x = np.ones((8000, 28, 28), kind)  # 6.3 MB as bytes
    y, model = np.eye(10, dtype="float32")[np.arange(8000) % 10], tutorial()
    model.fit(x[:64], y[:64], verbose=0)
    tracemalloc.start()
    try:
        model.fit(x, y, batch_size, verbose=0)
        model.evaluate(x, y, batch_size, verbose=0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # A batch, as it is and as floats, and what the layers compute with it.
    assert peak <= 3e6 + batch_size * 784 * (8 + 4 + 3)
