"""A replayed step equals an ordinary one bit for bit; when steps are replayed, and when not.

The reference are ordinary steps: those of a model whose backward pass is watched are not replayed.
`PLANTED` are mistakes in capturing; the comparison finds each of them.
"""

import copy
from contextlib import nullcontext

import numpy as np
import pytest
import standin
from arrays import assert_array_equal
from networks import ONE_HOT, SPARSE, Scale, network

import tinynet
from tinynet import backend, layers, losses, metrics, optimizers, training
from tinynet.backend import changing, products, replay
from tinynet.callbacks import Callback, LambdaCallback
from tinynet.engine.steps import Steps

SIZE, FULL, EPOCHS = 12, 10, 4  # an epoch has ten full batches, and one of 7 samples
RNG = np.random.default_rng(8)
X = RNG.normal(size=(FULL * SIZE + 7, 9)).astype("float32")
LABELS = RNG.integers(5, size=len(X))
Y, WEIGHTS = np.eye(5, dtype="float32")[LABELS], RNG.random(len(X))


def model_of(*stack, loss=ONE_HOT, names=("acc",), **arguments):
    return network(*stack, inputs=(9,), loss=loss, metrics=[*names], **arguments)


def sigmoids(**arguments):
    return model_of((8, "sigmoid"), (6, "sigmoid"), (5, "softmax"), **arguments)


def dropout(seed=None):
    first, second = layers.Dropout(0.3), layers.Dropout(0.2, seed=seed)
    return model_of((8, "tanh"), first, (6, "sigmoid"), second, (5, "softmax"))


def regularized():
    return model_of(layers.Dense(8, "relu", kernel_regularizer="l2"), (5, "softmax"))


def frozen(*numbers, **arguments):
    model = sigmoids(**arguments)
    for number in numbers:
        model.layers[number].trainable = False
    return model


BINARY = "binary_crossentropy"
SGD, Adam, RMSprop, logits = (
    optimizers.SGD,
    optimizers.Adam,
    optimizers.RMSprop,
    losses.CategoricalCrossentropy(from_logits=True),
)
MODELS = {
    "Adam": sigmoids,
    "amsgrad": lambda: sigmoids(optimizer=Adam(amsgrad=True)),
    "AdamW": lambda: sigmoids(optimizer=Adam(weight_decay=0.01)),
    "SGD": lambda: sigmoids(optimizer=SGD(0.1, weight_decay=0.001)),
    "nesterov": lambda: sigmoids(optimizer=SGD(0.05, momentum=0.9, nesterov=True)),
    "RMSprop": lambda: sigmoids(optimizer=RMSprop(0.01)),
    "RMSprop with momentum": lambda: sigmoids(optimizer=RMSprop(0.01, momentum=0.9, centered=True)),
    "binary cross-entropy": lambda: model_of(
        (7, "tanh"), (5, "sigmoid"), loss=BINARY, names=[BINARY]
    ),
    "absolute error": lambda: model_of((7, "tanh"), (5,), loss="mae", names=["mae"]),
    "dropout": dropout,
    "dropout of whole columns": lambda: model_of(
        (8, "tanh"), layers.Dropout(0.3, noise_shape=(1, None)), (5, "softmax")
    ),
    "dropout with a seed": lambda: dropout(3),
    "squares": lambda: model_of((7, "tanh"), (6, "relu"), (5, "linear"), loss="mse", names=["mse"]),
    "activation layers": lambda: model_of((7,), layers.Activation("sigmoid"), (5, "softmax")),
    "a regularizer": regularized,
    "a frozen layer": lambda: frozen(1, optimizer=Adam(weight_decay=0.01)),
    "frozen layers": lambda: frozen(0, 1, 2),
    "logits": lambda: model_of((8, "relu"), (5,), loss=logits),
    "no metrics": lambda: sigmoids(names=()),
    "two metrics": lambda: sigmoids(names=["acc", "mse"]),
}


def everything(model, history):
    """Return all that training changes."""
    drawn = [layer.drawn for layer in model.layers if isinstance(layer, layers.Dropout)]
    numbers = backend.generator().bit_generator.state["state"], drawn, history
    return [*model.get_weights(), *model.optimizer.variables], numbers


def trained(make, ordinary=False, callbacks=(), epochs=EPOCHS, data=(X, Y), **arguments):
    """Train a model; return all that training changes, and how many steps were replayed."""
    tinynet.utils.set_random_seed(5)
    model, of_fit = make(), []
    if ordinary:
        model.on_backward = lambda layer, gradient: None
    look_at = Watcher(of_fit)
    arguments = {"batch_size": SIZE, "verbose": 0, "callbacks": [*callbacks, look_at], **arguments}
    history = model.fit(*data, epochs=epochs, **arguments).history
    return everything(model, history), of_fit[0].replayed


class Watcher(Callback):
    """Keeps the `Steps` of `fit`."""

    def __init__(self, kept):
        super().__init__()
        self.kept = kept

    def set_training_state(self, training_state):
        if training_state is not None:
            self.kept.append(training_state.do_steps)


_known = {}


def ordinary_steps(make):
    """Return what ordinary steps lead to, which is computed once."""
    if make not in _known:
        _known[make] = trained(make, ordinary=True)[0]
    return _known[make]


def assert_same(one, other):
    for array, wanted in zip(one[0], other[0], strict=True):
        assert_array_equal(array, wanted, strict=True)
    assert one[1] == other[1]


class Slower(Callback):
    """Halves the learning rate after each epoch."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.optimizer.learning_rate /= 2


decaying = optimizers.schedules.ExponentialDecay

# Equality


@pytest.mark.computes("stand-in")
@pytest.mark.parametrize(
    ("make", "epochs"),
    [(dropout, 20), *((make, EPOCHS) for make in MODELS.values())],
    ids=["220 steps", *MODELS],
)
def test_replays_equal_ordinary_steps_bit_for_bit(make, epochs):
    """With a step size that changes, an uneven last batch, and validation."""
    arguments = {"epochs": epochs, "callbacks": [Slower()], "validation_data": (X[:50], Y[:50])}
    expected, none = trained(make, ordinary=True, **arguments)
    found, replayed = trained(make, **arguments)
    assert (none, replayed) == (0, epochs * FULL - 2)
    assert_same(found, expected)


@pytest.mark.computes("stand-in")
@pytest.mark.parametrize(
    ("make", "data", "arguments"),
    [
        (lambda: sigmoids(loss=SPARSE), (X, LABELS), {}),
        (lambda: sigmoids(loss=SPARSE), (X, LABELS[:, None]), {"shuffle": False}),
        (sigmoids, (X, Y), {"sample_weight": WEIGHTS}),
        (lambda: sigmoids(optimizer=Adam(decaying(0.01, 5, 0.9))), (X, Y), {}),
        (sigmoids, (X, Y > 0.5), {"class_weight": {1: 3.0}}),
        (sigmoids, (X, Y), {"steps_per_epoch": 4}),  # an epoch begins where the last one ended
        (sigmoids, (X, Y), {"batch_size": 1000, "epochs": 9}),
        (sigmoids, (X[:50], Y[:50]), {"batch_size": 1, "epochs": 2}),
        (dropout, (X, Y), {"validation_split": 0.3}),
        (dropout, (X[:-7], Y[:-7]), {"steps_per_epoch": 4}),  # 4, 4 and 2 of 10
    ],
)
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_replays_equal_ordinary_steps_for_all_kinds_of_data(make, data, arguments):
    expected, _ = trained(make, ordinary=True, data=data, **arguments)
    found, replayed = trained(make, data=data, **arguments)
    assert replayed > 0
    assert_same(found, expected)


def test_data_that_do_not_fit_on_the_gpu_are_replayed_too():
    data, results = (np.tile(X, (4, 1)), np.tile(Y, (4, 1))), []
    arguments = {"data": data, "validation_data": (X[:50], Y[:50]), "epochs": 2}
    for memory, ordinary in ((2**30, True), (30_000, False)):
        with standin.installed(standin.make(memory=memory)) as cupy, backend.use("cupy"):
            results.append(trained(sigmoids, ordinary, **arguments))
            assert (len(cupy.counts.copies) > 3 * FULL) != ordinary  # batch by batch
    assert results[1][1] > 0
    assert_same(results[0][0], results[1][0])


# What changes between the steps


class AtEpoch(Callback):
    """Calls a function of the model before the third epoch."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            self.function(self.model)


def assign(path, value):
    """Return a function that assigns to an attribute of the model, given by its path."""

    def change(model):
        *before, name = path.split(".")
        for part in before:
            model = model.layers[int(part)] if part.isdigit() else getattr(model, part)
        setattr(model, name, value)

    return change


def use_variables_again(model):
    model.optimizer.set_variables([2 * array for array in model.optimizer.variables])


def predict_and_build(model):
    """Use larger buffers, more ones for sums than are kept, and the memory of other models."""
    model.predict(X, batch_size=400, verbose=0)
    other = sigmoids()
    for size in range(1, 53):
        other.train_on_batch(X[:size], Y[:size])


# Changes that a graph does not survive, and others; with the model that they are for.
DROP = {
    "a layer is frozen": (sigmoids, assign("0.trainable", False)),
    "another activation": (sigmoids, assign("1.activation", "tanh")),
    "another rate of dropout": (dropout, assign("1.rate", 0.7)),
    "no dropout": (dropout, assign("1.rate", 0)),
    "a stronger penalty": (regularized, assign("0.kernel_regularizer.l2", 0.5)),
    "another loss": (sigmoids, assign("loss", losses.CategoricalCrossentropy(label_smoothing=0.2))),
    "another setting of the loss": (
        lambda: sigmoids(loss=losses.CategoricalCrossentropy()),
        assign("loss_object.label_smoothing", 0.2),
    ),
    "another optimizer": (sigmoids, lambda model: setattr(model, "optimizer", SGD(0.3))),
}
KEEP = {
    "another learning rate": (sigmoids, assign("optimizer.learning_rate", 0.1)),
    "other weights": (sigmoids, lambda m: m.set_weights([w / 2 for w in m.get_weights()])),
    "other weights, in place": (sigmoids, lambda model: model.flat.__imul__(0.5)),
    "another state": (sigmoids, use_variables_again),
    "larger batches": (sigmoids, predict_and_build),
    "larger batches with dropout": (dropout, predict_and_build),
}


@pytest.mark.computes("stand-in")
@pytest.mark.parametrize(("make", "change"), [*DROP.values(), *KEEP.values()], ids=[*DROP, *KEEP])
def test_what_a_callback_changes_takes_effect(make, change):
    expected, _ = trained(make, ordinary=True, callbacks=[AtEpoch(change)])
    found, replayed = trained(make, callbacks=[AtEpoch(change)])
    if (make, change) in KEEP.values():
        assert replayed == EPOCHS * FULL - 2
    assert_same(found, expected)


@pytest.mark.computes("stand-in")
@pytest.mark.parametrize(
    "rates", [(0, 0.1, 0, 0.1), pytest.param((0.1, 0, 0, 0.1), marks=pytest.mark.long)]
)
@pytest.mark.parametrize(
    "optimizer",
    [lambda: Adam(weight_decay=0.1), lambda: SGD(weight_decay=0.1), lambda: SGD(momentum=0.9)],
)
def test_a_learning_rate_may_become_zero_and_rise_again(optimizer, rates):
    def begin(epoch, logs=None):
        models[-1].optimizer.learning_rate = rates[epoch]

    models, results = [], []
    for ordinary in (True, False):
        schedule = LambdaCallback(on_epoch_begin=begin)
        schedule.set_model = models.append
        make = lambda: sigmoids(optimizer=optimizer())  # noqa: E731
        results.append(trained(make, ordinary, callbacks=[schedule])[0])
    assert_same(*results)


def test_the_numbers_of_a_long_epoch_are_sent_in_parts(cupy, monkeypatch):
    expected = ordinary_steps(dropout)
    monkeypatch.setattr("tinynet.engine.steps.MOST_ROWS", 3)
    copies = len(cupy.counts.copies)
    found, replayed = trained(dropout)
    assert replayed == EPOCHS * FULL - 2
    assert len(cupy.counts.copies) - copies >= EPOCHS * FULL // 3
    assert_same(found, expected)


@pytest.mark.parametrize(("make", "change"), DROP.values(), ids=DROP)
def test_a_change_between_rehearsal_and_capture_takes_effect(cupy, make, change):
    """With one step in an epoch, the third epoch would capture."""
    arguments = {"callbacks": [AtEpoch(change)], "batch_size": len(X), "epochs": 8}
    expected, _ = trained(make, ordinary=True, **arguments)
    found, replayed = trained(make, **arguments)
    assert replayed == 8 - 3  # the first two, and one more rehearsal
    assert_same(found, expected)


def test_a_learning_rate_that_is_changed_within_an_epoch_takes_effect(cupy, monkeypatch):
    """As another thread may do."""
    results = []
    for ordinary in (True, False):
        models = []

        def due(bar, models=models):
            if len(models[0].history.epoch) == 1 and models[0].optimizer.iterations == FULL + 5:
                models[0].optimizer.learning_rate = 0.1
            return False

        monkeypatch.setattr(training.ProgressBar, "due", due)
        begin = LambdaCallback(on_train_begin=lambda logs: None)
        begin.set_model = models.append
        results.append(trained(sigmoids, ordinary, callbacks=[begin])[0])
    assert_same(*results)


@pytest.mark.long
@pytest.mark.parametrize(("make", "change"), DROP.values(), ids=DROP)
def test_a_forgotten_drop_is_found(cupy, monkeypatch, make, change):
    expected, _ = trained(make, ordinary=True, callbacks=[AtEpoch(change)])
    monkeypatch.setattr(Steps, "_has_changed", lambda self: False)
    with pytest.raises((AssertionError, ValueError)):  # the stand-in finds some itself
        assert_same(trained(make, callbacks=[AtEpoch(change)])[0], expected)


# Mistakes that the comparison, or the stand-in, finds


def numbers_by_value(self, numbers, dtype, right=replay.Replay.of_formula):
    if self._tabulated is not None:
        return right(self, numbers, dtype)
    self._used += len(numbers)
    return changing.Numbers.of_formula(self, numbers, dtype)


def key_by_value(self, draw):
    if self._fills:
        self.draws.append(draw)
    self._used += 1
    return draw()


def capture_and_keep_nothing(self, step, right=replay.Replay.capture):
    right(self, step)
    self._memory.clear()


def capture_in_the_pool(self, step, right=replay.Replay.capture):
    module = self._cupy.cuda
    allocator, module.using_allocator = module.using_allocator, lambda allocate: nullcontext()
    try:
        right(self, step)
    finally:
        module.using_allocator = allocator


def replay_the_first_batch(self, batch, right=replay.Replay.replay):
    return right(self, self._batch)


def replay_the_same_numbers(self, batch, right=replay.Replay.replay):
    self._table[-self.rows, ...] = self._table[0]
    return right(self, batch)


def count_twice(self, batches, right=Steps._add_to_sums):
    right(self, 2 * batches)


PLANTED = {
    "numbers baked in": (replay.Replay, "of_formula", numbers_by_value, sigmoids),
    "keys baked in": (replay.Replay, "integer", key_by_value, dropout),
    "memory not kept": (replay.Replay, "capture", capture_and_keep_nothing, sigmoids),
    "memory of the pool": (replay.Replay, "capture", capture_in_the_pool, sigmoids),
    "the same batch": (replay.Replay, "replay", replay_the_first_batch, sigmoids),
    "the same numbers": (replay.Replay, "replay", replay_the_same_numbers, sigmoids),
    "values counted twice": (Steps, "_add_to_sums", count_twice, sigmoids),
}


@pytest.mark.parametrize(("place", "name", "mistake", "make"), PLANTED.values(), ids=PLANTED)
def test_planted_mistakes_are_found(cupy, monkeypatch, place, name, mistake, make):
    expected = ordinary_steps(make)
    monkeypatch.setattr(place, name, mistake)

    def compare():
        found, replayed = trained(make)
        assert replayed, "no step was captured"
        assert_same(found, expected)

    with pytest.raises(AssertionError):
        compare()


# What is not replayed


class Own(tinynet.Layer):
    def forward(self, x, training=False):
        return x * 2

    def backward(self, gradient):
        return gradient * 2


class OwnLoss(losses.CategoricalCrossentropy):
    def call(self, y_true, y_pred):
        return super().call(y_true, y_pred)


class OwnMetric(metrics.CategoricalAccuracy):
    pass


class OwnAdam(Adam):
    pass


class OwnModel(tinynet.Sequential):
    pass


@tinynet.activations.backward_of(own := lambda z: z * z, from_z=True)
def own_backward(gradient, z):
    return gradient * 2 * z


def with_own_method():
    model = sigmoids()
    forward = model.layers[0].forward
    model.layers[0].forward = lambda x, training=False: forward(x, training)
    return model


def of_own_class():
    model = OwnModel([tinynet.Input((9,)), layers.Dense(5, "softmax")])
    model.compile("adam", ONE_HOT)
    return model


def in_float64():
    tinynet.config.set_floatx("float64")
    return sigmoids()


NOT_REPLAYED = {
    "a layer": lambda: model_of((8, "tanh"), Own(), (5, "softmax")),
    "a layer with state": lambda: model_of(Scale(), (5, "softmax")),
    "a model inside": lambda: model_of(network((8, "tanh"), inputs=(9,)), (5, "softmax")),
    "a loss": lambda: sigmoids(loss=OwnLoss()),
    "a metric": lambda: sigmoids(names=[OwnMetric()]),
    "a function as metric": lambda: sigmoids(names=[lambda y, p: (y * p).sum(axis=-1)]),
    "an optimizer": lambda: sigmoids(optimizer=OwnAdam()),
    "an optimizer that clips": lambda: sigmoids(optimizer=Adam(clipnorm=0.1)),
    "a function as learning rate": lambda: sigmoids(optimizer=Adam(lambda: 0.1)),
    "an activation": lambda: model_of((8, own), (5, "softmax")),
    "a method": with_own_method,
    "a model's class": of_own_class,
    "float64": in_float64,
}


@pytest.mark.parametrize("make", NOT_REPLAYED.values(), ids=NOT_REPLAYED)
def test_what_is_not_tinynets_own_is_not_replayed(cupy, make):
    assert trained(make, epochs=2)[1] == 0


def test_steps_that_a_callback_watches_are_not_replayed(cupy):
    seen = []
    watch = LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(logs["loss"]))
    found, replayed = trained(sigmoids, callbacks=[watch], epochs=2)
    assert (replayed, len(seen)) == (0, 2 * FULL + 2)
    assert_same(found, trained(sigmoids, epochs=2)[0])


@pytest.mark.parametrize(
    ("kind", "name"),
    [(layers.Dense, "forward"), (Adam, "update"), (losses.CategoricalCrossentropy, "targets")],
)
def test_a_method_that_is_replaced_on_a_class_is_called_in_each_step(cupy, monkeypatch, kind, name):
    calls, right = [], getattr(kind, name)

    def method(self, *given, **named):
        calls.append(name)
        return right(self, *given, **named)

    monkeypatch.setattr(kind, name, method)
    assert trained(sigmoids, epochs=2)[1] == 0
    assert len(calls) >= 2 * FULL + 2


def test_a_changed_training_step_is_not_replayed(cupy, monkeypatch):
    calls, right = [], training.train_step

    def train_step(model, batch):
        calls.append(len(batch.x))
        return right(model, batch)

    monkeypatch.setattr(training, "train_step", train_step)
    assert trained(sigmoids, epochs=2)[1] == 0
    assert len(calls) == 2 * FULL + 2


# Where capturing is not possible


def fail_to_allocate(cupy):
    malloc = cupy.get_default_memory_pool().malloc

    def using_allocator(allocate):
        return using(lambda size: (_ for _ in ()).throw(MemoryError("Out of memory allocating 8")))

    using, cupy.cuda.using_allocator = cupy.cuda.using_allocator, using_allocator
    return malloc


REFUSALS = {
    "capture": lambda cupy: cupy.machine.fails.update(capture=standin.CUDARuntimeError("no")),
    "end": lambda cupy: cupy.machine.fails.update(end_capture=standin.CUDARuntimeError("no")),
    "memory": fail_to_allocate,
    "no stream": lambda cupy: delattr(cupy.cuda, "Stream"),
}


@pytest.mark.parametrize("refuse", REFUSALS.values(), ids=REFUSALS)
@pytest.mark.parametrize("make", [sigmoids, pytest.param(dropout, marks=pytest.mark.long)])
def test_ordinary_steps_go_on_where_capturing_is_refused(cupy, make, refuse):
    expected = ordinary_steps(make)
    refuse(cupy)
    found, replayed = trained(make)
    assert replayed == 0
    assert_same(found, expected)


def test_without_cublas_products_are_cupys(monkeypatch):
    results = []
    for cublas in (True, False):
        with standin.installed(standin.make(cublas=cublas)) as cupy, backend.use("cupy"):
            results.append(trained(sigmoids, ordinary=cublas))
            assert (cupy.counts.launches["matmul"] > 9) != cublas  # one is a check
    assert [replayed for _, replayed in results] == [0, 0]
    assert_same(results[0][0], results[1][0])


def test_wrong_products_are_noticed_and_not_used(monkeypatch):
    right, _ = trained(sigmoids, epochs=1)

    def matmul(self, a, b, out):
        backend.xp.matmul(a, b, out=out)
        out += 1
        return True

    monkeypatch.setattr(products.Cublas, "matmul", matmul)
    with standin.installed(standin.make()), backend.use("cupy"):
        found, replayed = trained(sigmoids, epochs=1)
    assert replayed == 0
    for array, wanted in zip(found[0], right[0], strict=True):
        np.testing.assert_allclose(array, wanted, rtol=1e-3, atol=1e-5)


def test_little_memory_is_left_to_ordinary_steps(cupy, monkeypatch):
    expected = ordinary_steps(sigmoids)
    monkeypatch.setattr(backend, "free_memory", lambda: 4000)
    found, replayed = trained(sigmoids)
    assert replayed == 0
    assert_same(found, expected)


# Counts


def test_the_last_steps_of_an_interrupted_epoch_leave_nothing_behind(cupy, monkeypatch):
    """The generator and the counters are as after the last step, not as after the epoch."""
    results = []
    for ordinary in (True, False):
        steps_done = []

        def due(bar, steps_done=steps_done):
            steps_done.append(bar)
            if len(steps_done) == FULL + 9:
                raise KeyboardInterrupt
            return False

        monkeypatch.setattr(training.ProgressBar, "due", due)
        tinynet.utils.set_random_seed(5)
        model = dropout(3)
        if ordinary:
            model.on_backward = lambda layer, gradient: None
        with pytest.raises(KeyboardInterrupt):
            model.fit(X, Y, SIZE, epochs=3, verbose=0)
        results.append(everything(model, model.history.history))
    assert_same(*results)


def test_an_epoch_of_replays_copies_the_order_and_the_numbers_and_waits_once(cupy):
    found, counts = [], cupy.counts
    ledger = LambdaCallback(
        on_epoch_begin=lambda *_: counts.reset(),
        on_epoch_end=lambda *_: found.append(copy.copy(counts)),
    )
    model = dropout()
    model.fit(X, Y, SIZE, epochs=3, verbose=0, callbacks=[ledger])
    for epoch in found[1:]:
        assert epoch.waits == 1
        # Two keys of dropout and the six numbers of Adam, for each of 41 steps.
        assert epoch.copies == [8 * len(X), 4 * 8 * (FULL + 1)]
        assert epoch.launches["graph"] == FULL


def test_the_memory_of_a_graph_is_freed_after_fit(cupy):
    model, pool = sigmoids(), cupy.get_default_memory_pool()
    held = []
    for _ in range(5):
        model.fit(X, Y, SIZE, epochs=2, verbose=0)
        held.append(pool.used_bytes())
    assert held[1:] == held[:1] * 4
    weights = sum(weight.nbytes for weight in model.weights)
    assert held[0] <= 4 * weights + 3000  # gradients, two slots, ones for sums
