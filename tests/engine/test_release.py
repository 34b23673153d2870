"""What a model holds between calls: none of the caller's arrays, no large buffer, no cycle; and how
data are read whose rows are not in C order.
"""

import copy
import gc
import pickle
import sys
import weakref

import numpy as np
import pytest
from arrays import assert_array_equal, look
from networks import ONE_HOT, Scale, network
from oracle import agree

import tinynet
from tinynet import callbacks
from tinynet.engine import data
from tinynet.engine.finite import Watch
from tinynet.layers import Activation, Dense, Dropout, Flatten

pytestmark = pytest.mark.computes

RNG = np.random.default_rng(2)
X = RNG.normal(size=(12, 4)).astype("float32")
Y = np.eye(3, dtype="float32")[RNG.integers(0, 3, 12)]


class Composite(tinynet.Layer):
    """A layer with a layer inside, which keeps its input in a list, too."""

    def __init__(self, **base):
        super().__init__(**base)
        self.inner = Dense(4, "tanh")

    def build(self, input_shape):
        self.inner.ensure_built(input_shape)

    def forward(self, x, training=False):
        self.cache = {"x": [x], "pair": (x[1:], x[:1])}
        return self.inner.forward(x, training)

    def backward(self, gradient):
        return self.inner.backward(gradient)


FIRST = {
    "Dense": lambda: Dense(4, "tanh"), "Flatten": Flatten, "Dropout": lambda: Dropout(0.1),
    "Activation": lambda: Activation("tanh"), "user-defined": Scale, "composite": Composite,
    "model": lambda: tinynet.Sequential([Scale(), Dense(4)]),
}  # fmt: skip


# The other kinds are `long`.
KINDS = [
    kind if kind in ("Dense", "composite") else pytest.param(kind, marks=pytest.mark.long)
    for kind in FIRST
]


def model_of(first="Dense"):
    return network(FIRST[first](), (3, "softmax"), inputs=(4,), loss=ONE_HOT, metrics=["acc"])


def failing(*_):
    raise ZeroDivisionError


CALLS = {
    "fit": lambda model, x, y: model.fit(x, y, verbose=0),
    "fit with validation": lambda model, x, y: model.fit(
        x, y, sample_weight=x[:, 0], validation_data=(x, y), shuffle=False, verbose=0
    ),
    "fit that fails": lambda model, x, y: model.fit(
        x, y, verbose=0, callbacks=[callbacks.LambdaCallback(on_epoch_end=failing)]
    ),
    "evaluate": lambda model, x, y: model.evaluate(x, y, verbose=0),
    "evaluate that fails": lambda model, x, y: model.evaluate(x, y * np.nan, verbose=0),
    "predict": lambda model, x, y: model.predict(x, verbose=0),
    "train_on_batch": lambda model, x, y: model.train_on_batch(x, y),
    "test_on_batch": lambda model, x, y: model.test_on_batch(x, y),
    "call": lambda model, x, y: model(x),
    "call of a layer": lambda model, x, y: model.layers[-1](x),
    "find_dead_units": lambda model, x, y: tinynet.find_dead_units(model, x),
    "trace": lambda model, x, y: model.trace(x, y),
    "check_gradients": lambda model, x, y: tinynet.check_gradients(model, x, y, samples=1),
}


def called(name, model, x, y):
    try:
        CALLS[name](model, x, y)
    except (ZeroDivisionError, ValueError) as error:
        assert "fails" in name, error  # noqa: PT017


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("first", KINDS)
def test_no_call_keeps_the_callers_arrays_and_copies_have_no_row_of_them(first, call):
    model, x, y = model_of(first), X.copy(), Y.copy()
    before = [sys.getrefcount(array) for array in (x, y)]
    called(call, model, x, y)
    assert [sys.getrefcount(array) for array in (x, y)] == before
    for packed in (pickle.dumps(model), pickle.dumps(copy.deepcopy(model))):
        assert not any(row.tobytes() in packed for row in x)
    agree(model.predict(X, verbose=0), pickle.loads(packed).predict(X, verbose=0))


def batches_in(model):
    """Return the arrays of layers that have as many rows as the last batch."""
    layers = model.parameters.every_layer()
    arrays = [a for layer in layers for a in (*vars(layer).values(), *layer._buffers.values())]
    return [array for array in arrays if getattr(array, "shape", ())[:1] == (12,)]


@pytest.mark.parametrize("call", ["predict", "fit", "call", "call of a layer", "train_on_batch"])
@pytest.mark.parametrize("first", ["Dense", "Dropout", "user-defined", "model"])
def test_large_buffers_are_gone_after_a_call_and_small_ones_are_kept(
    first, call, monkeypatch, library
):
    for limit in (10, 8_000_000):
        monkeypatch.setattr("tinynet.compat.layer.KEPT_BYTES", limit)
        model = model_of(first)
        called(call, model, X, Y)
        assert limit > 10 or not batches_in(model)
    assert library != "numpy" or batches_in(model)


class Last(tinynet.Layer):
    def build(self, input_shape):
        self.add_weight(input_shape[-1:], "zeros", trainable=False, name="last")

    def forward(self, x, training=False):
        self.last = x[-1]
        return x * 1

    def backward(self, gradient):
        return gradient


def test_a_weight_that_is_a_view_of_a_batch_is_no_cache(monkeypatch):
    monkeypatch.setattr("tinynet.compat.layer.KEPT_BYTES", 10)
    model = network(Last(), (3, "softmax"), inputs=(4,), loss=ONE_HOT)
    model.fit(X, Y, shuffle=False, verbose=0)
    for one in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert_array_equal(look(one.get_weights()[0]), X[-1])


STATES = {
    "built": lambda model: None,
    **{name: (lambda model, call=name: called(call, model, X, Y)) for name in CALLS},
    "summary": lambda model: model.summary(print_fn=str),
    "callbacks": lambda model: model.fit(
        X, Y, verbose=0, callbacks=[callbacks.EarlyStopping("loss", restore_best_weights=True)]
    ),
    "checkpoint": lambda model: model.fit(
        X, Y, verbose=0, callbacks=[callbacks.ModelCheckpoint("m.keras", save_freq=9)]
    ),
    "backup": lambda model: model.fit(
        X, Y, verbose=0, callbacks=[callbacks.BackupAndRestore("backup", save_freq=9)]
    ),
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("first", [*KINDS[:1], *KINDS[-2:]])
def test_a_model_without_references_is_freed_at_once(first, state, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    gc.collect()
    gc.disable()
    try:
        model = model_of(first)
        STATES[state](model)
        twin = copy.deepcopy(model)
        layers = [*model.parameters.every_layer(), *twin.parameters.every_layer()]
        there = [weakref.ref(one) for one in (model, twin, *layers)]
        del layers
        del model, twin
        assert [one() for one in there if one() is not None] == []
    finally:
        gc.enable()


def test_a_history_knows_its_model_as_long_as_there_is_one():
    model = model_of()
    history = model.fit(X, Y, verbose=0)
    assert history.model is model
    assert pickle.loads(pickle.dumps(model)).history.history == history.history
    del model
    assert history.model is None


# Data that are not in C order


LAYOUTS = {
    "Fortran order": np.asfortranarray,
    "rows of it": lambda a: np.asfortranarray(np.concatenate([a, a]))[: len(a)],
    "every second column": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "columns backwards": lambda a: a[..., ::-1].copy()[..., ::-1],
}


@pytest.mark.host
@pytest.mark.parametrize("shape", [(12, 4), (12, 2, 2)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_data_that_are_slow_to_read_are_copied_once_and_large_ones_are_told(
    layout, shape, monkeypatch
):
    x = LAYOUTS[layout](X.reshape(shape))
    batches = data.Batches(x, Y)
    batches.copy_to_gpu()
    assert batches.x.source.flags.c_contiguous
    assert_array_equal(batches.x.source, X.reshape(shape))
    monkeypatch.setattr(data, "COPIED_BYTES", 100)
    monkeypatch.setattr(data, "SMALL_BYTES", 100)
    with pytest.warns(UserWarning, match=r"x = np\.ascontiguousarray\(x\)") as told:
        batches = data.Batches(x, Y)
    assert told[0].filename == __file__
    batches.copy_to_gpu()
    assert batches.x.source is x  # too large to be copied


@pytest.mark.host
@pytest.mark.parametrize("dtype", ["float32", ">f4", "uint8"])
def test_rows_in_c_order_are_read_where_they_are(dtype, monkeypatch):
    monkeypatch.setattr(data, "SMALL_BYTES", 100)
    for x in (np.zeros((12, 4), dtype), np.zeros((24, 6), dtype)[::2, :4]):
        batches = data.Batches(x, Y)
        batches.copy_to_gpu()
        assert batches.x.source is x
        first = next(batches.iterate(0, 1)).x
        assert np.shares_memory(first, x) is (dtype == "float32")


# A loss that becomes NaN


class Count(tinynet.Layer):
    steps = 0

    def forward(self, x, training=False):
        self.steps += training
        return x * 1

    def backward(self, gradient):
        return gradient


@pytest.mark.parametrize("verbose", [0, 1, 2])
@pytest.mark.parametrize("terminates", [True, False])
def test_nan_ends_the_training_soon_whatever_is_shown(verbose, terminates, library, capsys):
    x, y = np.tile(X, (100, 1)), np.tile(Y, (100, 1))
    y[40] = np.nan
    model = network(Count(), (3, "softmax"), inputs=(4,), loss=ONE_HOT)
    chosen = [callbacks.TerminateOnNaN()] if terminates else []
    arguments = {"batch_size": 1, "shuffle": False, "verbose": verbose, "callbacks": chosen}
    if terminates:
        model.fit(x, y, **arguments)
    else:
        with pytest.raises(ValueError, match=r"first in step 41\)"):
            model.fit(x, y, **arguments)
    assert model.layers[0].steps < (42 if library == "numpy" else 1200)


def test_a_loss_on_a_gpu_is_read_without_waiting(cupy, monkeypatch):
    monkeypatch.setattr("tinynet.engine.finite.LOOK_SECONDS", 0)
    watch, losses = Watch(), cupy.asarray(np.array([1, 2, np.nan, 4], "float32"))
    cupy.counts.reset()
    seen = [watch(losses[min(step // 3, 3)]) for step in range(12)]
    assert seen.index(True) in (7, 8, 9)
    assert cupy.counts.waits == cupy.counts.launched == 0
    assert look(losses).shape == (4,)
