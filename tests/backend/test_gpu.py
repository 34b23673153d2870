"""GPU behaviour that can be tested without one: few launches, no waits, data sent once, and the
switch between backends. Launches, waits and copies are counted on the stand-in for CuPy, of which
`test_standin.py` shows that it detects mistakes.
"""

import copy
import itertools
import pickle
import re
from functools import partial
from unittest import mock

import numpy as np
import pytest
import standin
from arrays import assert_array_equal, look
from conftest import ROOT
from networks import ONE_HOT, SPARSE, Scale, network, tutorial
from oracle import agree

import tinynet
from tinynet import activations, backend, layers, losses, optimizers, training
from tinynet.backend import arrays
from tinynet.callbacks import LambdaCallback
from tinynet.engine.data import Batches

# Many tests use unscaled bytes as inputs, because they do not depend on what is learned.
pytestmark = pytest.mark.filterwarnings("ignore:Expected inputs between about")

LAUNCHES, REPLAYED = 34, 6  # in a step of the tutorial's model


def images(samples=640, kind="uint8"):
    """Return random images, bytes or floats from 0 to 1, and their classes as one-hot rows."""
    rng = np.random.default_rng(3)
    x = rng.integers(0, 256, (samples, 28, 28)).astype("uint8")
    y = np.eye(10)[rng.integers(0, 10, samples)]
    return x if kind == "uint8" else (x / 255).astype(kind), y


FEW = images(96)  # three steps
ONES = np.ones((4, 28, 28))


def fit(model, data=FEW, **arguments):
    return model.fit(*data, **{"verbose": 0, **arguments})


def built(place):
    """Return the tutorial's model on this backend."""
    with backend.use(place):
        return tutorial()


def kinds(model):
    return {type(weight) for weight in model.weights}


def call_everything(model):
    """Call everything of the model that computes."""
    x, y = FEW
    fit(model, validation_split=0.5)
    model.evaluate(x, y, verbose=0), model.predict(x, verbose=0), model(x)
    model.train_on_batch(x, y), model.test_on_batch(x, y), model.layers[1](np.ones((2, 784)))
    model.set_weights(model.get_weights())


def copies(model):
    return copy.deepcopy(model), pickle.loads(pickle.dumps(model))


def epochs(cupy, *data, model=None, ordinary=False, **arguments):
    """Return what is counted in the second and in the third epoch."""
    found, counts, model = [], cupy.counts, model or tutorial()
    arrays.made.clear()  # else they may be full, and made again in one of these epochs
    if ordinary:  # steps that are watched are not replayed
        model.on_backward = lambda layer, gradient: None
    ledger = LambdaCallback(
        on_epoch_begin=lambda *_: counts.reset(),
        on_epoch_end=lambda *_: found.append(copy.copy(counts)),
    )
    fit(model, data, epochs=3, callbacks=[ledger], **arguments)
    return found[1:]


# Few launches, no waits


@pytest.mark.parametrize("kind", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("batch_size", [1, 32, 640])
def test_few_launches_per_step_and_one_wait_and_copy_per_epoch(cupy, batch_size, kind):
    x, y = images(64 if batch_size == 1 else 640, kind)
    steps = len(x) // batch_size
    order, numbers = 8 * len(x), 4 * 6 * steps  # of the samples; for Adam
    for ordinary in (True, False):
        for counts in epochs(cupy, x, y, batch_size=batch_size, ordinary=ordinary):
            assert counts.waits == 1
            # With one step, the third epoch is the first that is replayed.
            assert counts.copies in ([order],) if ordinary else ([order], [order, numbers])
            assert counts.double <= 4  # the sums of the losses, not a launch in each step
            # Gathering the samples and reading the sums happen once for many steps; copying where
            # the replays will find them, once.
            at_most = LAUNCHES if ordinary or steps == 1 else REPLAYED
            rest = 12 if ordinary else 14 if steps > 1 else 25
            assert counts.launched <= at_most * steps + rest


def test_the_launches_per_step_match_the_readme(cupy):
    x, y = images()
    weighted, _ = epochs(cupy, x, y, sample_weight=np.ones(640), ordinary=True)
    assert weighted.launched / 20 <= 40
    one_hot, _ = epochs(cupy, x, y, ordinary=True)
    model = tutorial(loss=SPARSE)
    sparse, _ = epochs(cupy, x, y.argmax(axis=1), model=model, ordinary=True)
    _, replayed = epochs(cupy, x, y)
    row = f"per step | {one_hot.launched // 20}; {sparse.launched // 20} if the targets are class "
    text = (ROOT / "benchmarks" / "README.md").read_text("utf-8")
    assert row in text
    assert f"that is replayed | {replayed.launched // 20}: the graph, and copies" in text


def test_data_are_copied_once_in_their_own_type_and_few_waits_are_needed(cupy, monkeypatch):
    monkeypatch.setattr(training.ProgressBar, "due", lambda bar: bar.verbose == 1)
    (x, y), model = images(), tutorial()
    data = [640 * 784, 640 * 40]
    assert cupy.counts.copies == [4 * weight.size for weight in model.weights]

    def waits_and_copies(call, *given, **arguments):
        cupy.counts.reset()
        call(*given, **{"verbose": 0, **arguments})
        return cupy.counts.waits, cupy.counts.copies

    split, numbers = [480 * 784, 480 * 40, 160 * 784, 160 * 40], 4 * 6  # of Adam, for each step
    epochs = [[8 * 480, numbers * replays] for replays in (13, 15, 15)]
    expected = split + [size for sizes in epochs for size in sizes]
    assert waits_and_copies(model.fit, x, y, epochs=3, validation_split=0.25) == (3 * 2, expected)
    # Once for the targets of each part; for the outputs of two steps, and of each validation
    assert cupy.counts.launches["argmax"] == 2 + 2 + 3
    refreshed = [*data, 8 * 640, 18 * numbers]
    assert waits_and_copies(model.fit, x, y, verbose=1) == (20 + 1, refreshed)
    in_order = [640 * 784, 640 * 10, 18 * numbers]
    assert waits_and_copies(model.fit, x, y > 0, shuffle=False) == (1, in_order)
    assert waits_and_copies(model.evaluate, x, y) == (1, data)
    assert waits_and_copies(model.predict, x) == (2, data[:1])  # outputs of 512 and 128 samples


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("loss", [losses.CategoricalCrossentropy, losses.MeanSquaredError])
def test_device_memory_of_the_data_is_freed_after_each_call(cupy, loss, shuffle):
    # The targets take more memory than the inputs.
    x, y = np.zeros((4000, 2, 2), "float32"), np.zeros((4000, 50), "float32")
    stack = layers.Flatten(), (50, "softmax")
    model = network(*stack, inputs=(2, 2), loss=loss(), metrics=["acc"])
    before = cupy.get_default_memory_pool().used_bytes()
    fit(model, (x, y), shuffle=shuffle)
    model.evaluate(x, y, verbose=0)
    model.predict(x, verbose=0)
    grown = cupy.get_default_memory_pool().used_bytes() - before
    # Adam's state and the gradients, and the sums of the loss and the metrics
    assert grown <= 3 * 4 * model.count_params() + 2000


# Data that does not fit into memory


def test_data_that_does_not_fit_is_copied_in_batches_with_the_same_result():
    data, results, largest = images(kind="float32"), [], []
    for memory in (2**30, 5_400_000):
        with standin.installed(standin.make(memory=memory)) as cupy, backend.use("cupy"):
            tinynet.utils.set_random_seed(4)
            model = tutorial()
            cupy.counts.reset()
            results.append([fit(model, data, epochs=2).history, model.get_weights()])
            largest.append(max(cupy.counts.copies))
    agree(*results)
    assert largest[1] < data[0].nbytes <= largest[0]


@pytest.mark.parametrize("order", [np.random.default_rng(1).permutation(10), None])
@pytest.mark.parametrize("load", [True, False])
def test_loaded_and_streamed_data_give_the_same_batches(cupy, monkeypatch, load, order):
    one_batch = 3 * 4 * (3 + 1 + 1)
    monkeypatch.setattr("tinynet.engine.data.BLOCK_BYTES", one_batch)
    x = np.arange(30, dtype=">i4").reshape(10, 3)  # a byte order that no GPU supports
    batches = Batches(x, x[:, 0], x[:, :1].astype("float64"), 3)
    if load:
        batches.copy_to_gpu()
        assert max(cupy.counts.copies) <= one_batch
        assert sum(cupy.counts.copies) == 4 * x.size + 4 * 10 + 4 * 10
    seen = list(batches.iterate(0, 4, order))
    assert [len(batch.x) for batch in seen] == [3, 3, 3, 1]
    expected = x if order is None else x[order]
    assert_array_equal(np.concatenate([look(batch.x) for batch in seen]), expected)
    assert_array_equal(np.concatenate([look(batch.y) for batch in seen]), expected[:, 0])
    types = [array.dtype for array in (seen[0].x, seen[0].y, seen[0].sample_weight)]
    assert types == ["float32", "int32", "float32"]


def test_running_out_of_memory_anywhere_in_a_second_fit_leaves_whole_steps(cupy):
    data, model, pool = images(64, "float32"), tutorial(), cupy.get_default_memory_pool()

    def everything():
        arrays = model.get_weights() + model.optimizer.variables
        return [array.tobytes() for array in arrays]

    fit(model, data)
    start, steps = (model.get_weights(), model.optimizer.get_state()), [everything()]
    record = LambdaCallback(on_train_batch_end=lambda *_: steps.append(everything()))
    fit(model, data, epochs=2, shuffle=False, callbacks=[record])
    told = r"in fit: CuPy could not allocate 0\.\d MB\..* Write: .*memory_limit="
    for room in itertools.count(1, 60_000):
        model.set_weights(start[0])
        model.optimizer.set_state(start[1])
        backend.release_memory()
        pool.set_limit(pool.used_bytes() + room)
        try:
            fit(model, data, epochs=2, shuffle=False)
            break
        except MemoryError as error:
            said = str(error)
        assert re.search(told, said)
        assert everything() in steps
        pool.set_limit(0)
    assert room > 10 * 60_000


# The batch that each method counts with, and what a smaller batch is worth: outside training, 512
# samples pass through the layers at once, however small the batch is.
ON_BATCH = 640, "Write: 320 samples at a time instead of 640; or "
AT_ONCE = 512, "Write: tinynet.backend.use("
METHODS = {
    "fit": (128, "Write: batch_size=64 instead of 128; or "),
    "train_on_batch": ON_BATCH, "test_on_batch": ON_BATCH, "evaluate": AT_ONCE, "predict": AT_ONCE,
}  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_out_of_memory_errors_state_the_sizes_and_the_line_to_write(cupy, name):
    batch, advised = METHODS[name]
    data, model, pool = images(kind="float32"), tutorial(), cupy.get_default_memory_pool()
    given = {} if name.endswith("on_batch") else {"batch_size": 128, "verbose": 0}
    call = partial(getattr(model, name), *data[: 1 if name == "predict" else 2], **given)
    before, limit = model.get_weights(), pool.total_bytes() + 1000
    with backend.use("cupy", memory_limit=limit), pytest.raises(MemoryError) as error:
        call()
    agree(before, model.get_weights())
    assert type(error.value) is MemoryError
    said = str(error.value)
    sizes = r"([\d,.]+) MB of the GPU's 8,589.9 MB are free, and CuPy holds ([\d.]+) MB"
    free, held = re.search(sizes, said).groups()
    assert float(free.replace(",", "")) + float(held) == pytest.approx(8589.9, abs=0.2)
    state = 4 * 4 * model.count_params()  # w, ∂L/∂w, m, v
    numbers = 784 + 784 + 100 + 144 + 10  # sizes of all inputs and outputs, with Flatten's output
    for words in (
        f"Out of memory on GPU 0 in {name}: ",
        f" of the {limit / 1e6:.1f} MB that memory_limit allows.",
        f"optimizer state take {state / 1e6:.1f} MB",
        f"a batch of {batch} about {2 * 4 * batch * numbers / 1e6:.1f} MB",
        advised,
    ):
        assert words in said
    # The advised limit is large enough.
    enough = int(re.search(r"memory_limit=([\d_]+)", said)[1])
    with backend.use("cupy", memory_limit=enough):
        call()


def test_out_of_memory_without_a_limit_names_other_remedies():
    with standin.installed(standin.make(memory=1_600_000)), backend.use("cupy"):
        model = tutorial()
        with pytest.raises(MemoryError) as error:
            fit(model, images(kind="float32"))
    said = str(error.value)
    assert "memory_limit" not in said
    release = "tinynet.backend.release_memory() before this call (nvidia-smi shows what holds the "
    assert said.endswith(f'{release}rest); or model.to("numpy"), to compute on the CPU')


def test_a_memory_error_not_of_the_model_s_gpu_is_not_changed(cupy, monkeypatch):
    of_host = MemoryError("Unable to allocate 3.00 GiB for an array")
    of_cupy = standin.OutOfMemoryError("Out of memory allocating 4 bytes")
    for place, failure in (("numpy", of_host), ("cupy", of_host), ("numpy", of_cupy)):
        monkeypatch.setattr(training, "train_step", mock.Mock(side_effect=failure))
        with pytest.raises(MemoryError) as error:
            fit(built(place))
        assert error.value is failure


# Switching the backend


def test_use_switches_and_the_end_of_a_block_switches_back(cupy):
    with backend.use("numpy"):
        assert (backend.backend(), backend.xp) == ("numpy", np)
        with backend.use("cupy"):
            assert (backend.backend(), backend.xp) == ("cupy", cupy)
        assert backend.xp is np
    assert backend.xp is cupy
    backend.use("numpy")
    with pytest.raises(ZeroDivisionError), backend.use("cupy"):
        1 / 0  # noqa: B018
    assert backend.xp is np


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("cupy", 0.5), ValueError, "device to be a whole number of at least 0"),
        (("cupy", 0, 0), ValueError, "memory_limit to be a whole number of at least 1"),
        (("cupy", 0, 2**70), ValueError, "memory_limit to be a whole number"),
        (("numpy", 1), ValueError, "neither a device nor a memory_limit for NumPy"),
        (("numpy", 0, 10), ValueError, "neither a device nor a memory_limit for NumPy"),
        (("cupy", 3), RuntimeError, r'no GPU number 3: there is 1.*use\("cupy", device=0\)'),
    ],
)
def test_invalid_arguments_of_use_are_refused_and_change_nothing(cupy, arguments, error, words):
    with backend.use("numpy"):
        with pytest.raises(error, match=words):
            backend.use(*arguments)
        assert backend.backend() == "numpy"


@pytest.mark.parametrize(
    ("wish", "driver", "chosen", "said"),
    [
        ("auto", 12090, "cupy", "tinynet computes with cupy: there is a GPU, and it works\n"),
        ("auto", 0, "numpy", "tinynet computes with numpy: there is no NVIDIA driver\n"),
        ("cupy", 12090, "cupy", ""),
        ("", 12090, "numpy", ""),
    ],
)
def test_the_environment_variable_takes_effect_at_the_first_computation(
    monkeypatch, capsys, wish, driver, chosen, said
):
    monkeypatch.setenv("TINYNET_BACKEND", wish)
    with standin.installed(standin.make(driver=driver)) as cupy:
        monkeypatch.setattr(backend, "_devices", {})  # as if nothing had been computed yet
        backend._select(None, in_block=False)
        fit(tutorial())
        assert backend.backend() == chosen
        assert bool(cupy.counts.launched) is (chosen == "cupy")
        backend._select(None, in_block=False)
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("wish", "error"),
    [
        ("cupy", "there is no NVIDIA driver.*TINYNET_BACKEND=numpy"),
        ("torch", r"one of \['numpy', 'cupy', 'auto'\], received: 'torch'.*unset TINYNET_BACKEND"),
    ],
)
def test_an_unusable_backend_raises_at_the_first_computation(monkeypatch, wish, error):
    monkeypatch.setenv("TINYNET_BACKEND", wish)
    with standin.installed(standin.make(driver=0)):
        monkeypatch.setattr(backend, "_devices", {})
        backend._select(None, in_block=False)
        with pytest.raises((RuntimeError, ValueError), match=error):
            layers.Dense(1).build((None, 3))


def test_a_chosen_gpu_holds_model_and_data():
    with standin.installed(standin.make(devices=2)) as cupy, backend.use("cupy"):
        with backend.use("cupy", device=1):
            model = tutorial()
        call_everything(model)
        assert cupy.pools[0].total_bytes() < 1000  # left from the check of the GPU
        assert cupy.machine.device == 0
        for other in copies(model):
            assert len({weight.device.id for weight in other.weights}) == 1
            fit(other)
        cupy.counts.reset()
        assert {weight.device.id for weight in model.to("cupy", device=0).weights} == {0}
        assert (cupy.counts.waits, cupy.counts.copies) == (0, [])  # not through the host
        fit(model)
        with backend.use("numpy"):
            there = copy.deepcopy(model).to("cupy", device=1)
            fit(there)
            with pytest.raises(ValueError, match="finite"):
                fit(there, (np.full((96, 28, 28), np.nan), FEW[1]))
            assert cupy.machine.device == 0  # the current device of other CuPy code is unchanged


def test_a_memory_limit_applies_only_within_its_block_and_to_its_gpu():
    with standin.installed(standin.make(devices=2)) as cupy, backend.use("cupy"):
        first, second = cupy.pools
        with backend.use("cupy", device=1, memory_limit=10_000):
            assert backend.free_memory() <= 10_000
            with pytest.raises(MemoryError):
                cupy.empty((10_000,), "float32")
            backend.use("cupy", device=0)
            assert (first.get_limit(), second.get_limit()) == (0, 10_000)
        assert (first.get_limit(), second.get_limit()) == (0, 0)
        assert cupy.machine.device == 0
        backend.use("cupy", memory_limit=20_000)
        assert (first.get_limit(), second.get_limit()) == (20_000, 0)


def test_release_memory_frees_unused_memory(cupy):
    circle = [cupy.empty((1000,), "float32")]
    circle.append(circle)  # so that only the garbage collector frees it
    held = cupy.get_default_memory_pool().total_bytes()
    del circle
    assert backend.release_memory() == (held, held - 4000)
    with backend.use("numpy"):  # CuPy's pool exists whichever backend is in use
        cupy.empty((1000,), "float32")
        assert backend.release_memory() == (held, held - 4000)
        backend.synchronize()
    assert cupy.counts.waits == 0
    assert cupy.get_default_pinned_memory_pool().free_all_blocks.call_count == 2


@pytest.mark.parametrize(("arguments", "freed"), [((), 4000), ((True,), 4000), ((False,), 0)])
def test_clear_session_resets_names_and_frees_unused_memory_unless_told_not_to(
    cupy, arguments, freed
):
    tinynet.layers.Dense(1)  # "dense"; the next one would be "dense_1"
    circle = [cupy.empty((1000,), "float32")]
    circle.append(circle)
    held = cupy.get_default_memory_pool().total_bytes()
    del circle
    tinynet.utils.clear_session(*arguments)
    assert cupy.get_default_memory_pool().total_bytes() == held - freed
    assert tinynet.layers.Dense(1).name == "dense"


# The place of a model


def test_a_model_and_its_copies_compute_where_it_was_built_whichever_backend_is_in_use(cupy):
    for place, other, kind in (("cupy", "numpy", cupy.ndarray), ("numpy", "cupy", np.ndarray)):
        model = built(place)
        cupy.counts.reset()
        with backend.use(other):
            call_everything(model)
            for one in (model, *copies(model)):
                call_everything(one)
                assert kinds(one) == {kind}
            assert backend.backend() == other
    assert (cupy.counts.launched, cupy.counts.copies) == (0, [])  # of the model on NumPy


def test_moving_a_model_between_backends_does_not_change_training(cupy):
    results = []
    for places in (["numpy"] * 3, ["numpy", "cupy", "numpy"], ["cupy", "numpy", "cupy"]):
        tinynet.utils.set_random_seed(5)
        model = built(places[0])
        model.layers[1].trainable = False  # so two layers' weights are moved in another way
        for place in places:
            assert model.to(place) is model
            fit(model, epochs=2)
        results.append(model.get_weights() + model.optimizer.variables)
    agree(results[:1] * 2, results[1:])


def test_moving_a_model_moves_all_its_arrays_once(cupy):
    layer = Scale()
    with backend.use("numpy"):
        stack = layers.Flatten(), layer, (10, "softmax")
        model = network(*stack, inputs=(28, 28), loss=ONE_HOT, optimizer="sgd")
        layer.also = layer.seen  # a second name of a non-trainable weight
        fit(model)
    model.to("cupy")
    assert layer.also is layer.seen
    fit(model)
    assert float(layer.seen) == 192
    arrays = [*model.weights, model.flat, *model.parameters.pairs[0], model.parameters.gradients]
    assert {type(array) for array in arrays} == {cupy.ndarray}
    flat, scale = model.flat, layer.scale
    model.to("cupy")
    assert model.flat is flat
    assert layer.scale is scale


# They are moved when the model is built, in `fit`, or by `to` before it.
@pytest.mark.parametrize(("inputs", "moves"), [((4,), False), (None, False), (None, True)])
def test_layers_built_on_two_backends_are_moved_to_one(cupy, inputs, moves):
    there, here = layers.Dense(3), layers.Dense(2)
    there.build((None, 4))
    with backend.use("numpy"):
        here.build((None, 3))
    kept = there.get_weights() + here.get_weights()
    with backend.use("numpy" if inputs else "cupy"):
        model = network(there, here, inputs=inputs, loss="mse", optimizer="sgd")
    assert kinds(model) == {cupy.ndarray} or not inputs
    agree(kept, model.get_weights())
    if moves:
        model.to("numpy")
    model.fit(np.ones((4, 4)), np.ones((4, 2)), verbose=0)
    assert kinds(model) == {np.ndarray if moves else cupy.ndarray}


def test_an_unbuilt_model_is_placed_when_it_is_built(cupy):
    model = tinynet.Sequential([layers.Dense(2)]).to("numpy")
    model.build((None, 3))
    assert kinds(model) == {cupy.ndarray}  # on the backend in use when it was built


def test_a_model_cannot_be_moved_while_it_computes_but_a_copy_can(cupy):
    model, made = tutorial(), []
    mover = LambdaCallback(on_train_batch_end=lambda batch, logs: model.to("numpy"))
    copier = LambdaCallback(on_epoch_end=lambda epoch, logs: made.append(copy.deepcopy(model)))
    with pytest.raises(ValueError, match="to be idle, but it is computing"):
        fit(model, callbacks=[mover])
    fit(model)
    fit(model.to("numpy"), callbacks=[copier])
    fit(made[0].to("cupy"))


def test_a_model_that_shares_layers_is_moved_after_their_owner(cupy):
    owner, own = tutorial(), layers.Dense(2)
    borrower = tinynet.Sequential([tinynet.Input((28, 28)), *owner.layers, own])
    expected = borrower.predict(ONES, verbose=0)
    with pytest.raises(ValueError, match=f"belong to model '{owner.name}'. Move that model first"):
        borrower.to("numpy")
    owner.to("numpy")
    for call in (borrower, lambda x: borrower.predict(x, verbose=0)):
        with pytest.raises(ValueError, match=r"on one device, received d.* on numpy, .* on cupy"):
            call(ONES)
    with pytest.raises(ValueError, match="Move that model first, then this one"):
        borrower.to("cupy")
    borrower.to("numpy")
    assert type(own.kernel) is type(own.kernel_gradient) is np.ndarray
    assert_array_equal(borrower.predict(ONES, verbose=0), expected)


def test_weights_may_be_set_from_any_device_and_nothing_is_set_if_memory_runs_out(cupy):
    model, here, pool = tutorial(), built("numpy"), cupy.get_default_memory_pool()
    before, new = model.get_weights(), [w + 1 for w in model.get_weights()]
    here.set_weights(model.weights)
    agree(before, here.get_weights())
    model.set_weights([new[0].astype("longdouble"), *new[1:]])
    assert_array_equal(model.get_weights()[0], new[0])
    model.set_weights([cupy.asarray(weight) for weight in before])
    backend.release_memory()
    # enough for some of the weights, but not for all
    pool.set_limit(pool.used_bytes() + new[0].nbytes + 1000)
    with pytest.raises(MemoryError):
        model.set_weights(new)
    pool.set_limit(0)
    agree(before, model.get_weights())


def test_a_failed_move_moves_nothing(cupy):
    model, pool = built("numpy"), cupy.get_default_memory_pool()
    fit(model)
    flat, before = model.flat, model.get_weights()

    def assert_refused(error, words, *place):
        with pytest.raises(error, match=words):
            model.to(*place)
        assert model.flat is flat
        assert kinds(model) == {np.ndarray}

    assert_refused(ValueError, "Expected the name of a backend", "torch")
    assert_refused(RuntimeError, "no GPU number 7", "cupy", 7)
    # Wherever memory runs out, in Adam's state or in the weights
    for room in range(1, 4 * flat.nbytes, 40_000):
        pool.free_all_blocks()
        pool.set_limit(pool.used_bytes() + room)
        assert_refused(MemoryError, "Out of memory", "cupy")
    pool.set_limit(0)
    agree(before, model.get_weights())
    fit(model)


def test_functions_and_optimizers_compute_where_their_arrays_are(cupy):
    array = np.array([[1.0, 2.0]], "float32")
    functions = ("sigmoid", "tanh", "relu", "softmax", "linear", "log_softmax")
    calls = [getattr(activations, name) for name in functions] + [
        lambda values: losses.categorical_crossentropy([[0, 1]], values),
        lambda values: tinynet.metrics.categorical_accuracy([[0, 1]], values),
    ]
    for place, values in itertools.product(("numpy", "cupy"), (cupy.asarray(array), array)):
        with backend.use(place):
            assert {type(call(values)) for call in calls} == {type(values)}
            weights = values.copy()
            optimizers.Adam().apply_gradients([(values.copy(), weights)])
            assert type(weights) is type(values)
            assert look(weights)[0, 0] != 1
            assert type(activations.sigmoid([1.0])) is type(backend.xp.zeros(1))


def test_a_device_array_as_data_is_refused_with_the_line_to_write(cupy):
    model, x = tutorial(), cupy.zeros((4, 28, 28))
    for call in (model, lambda x: fit(model, (x, np.ones((4, 10))))):
        with pytest.raises(ValueError, match=r"Expected a NumPy array, .* Write: x = x\.get\(\)"):
            call(x)


def test_layers_without_weights_compute_on_the_backend_in_use(cupy):
    x = np.linspace(-1, 1, 12).reshape(3, 4).astype("float32")
    dropout, tanh = layers.Dropout(0.5, seed=1), layers.Activation("tanh")
    model = tinynet.Sequential([tinynet.Input((4,)), tanh, dropout])
    calls = [partial(call, x, training=True) for call in (model, tanh, dropout)]
    for call in (*calls, lambda: model.predict(x, verbose=0)):
        results = []
        for place in ("numpy", "cupy"):
            dropout.drawn = 0
            with backend.use(place):
                results.append(call())
        assert_array_equal(*results)
