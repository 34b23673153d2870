"""GPU behaviour that can be tested without one: few launches, no waits, data sent once, and the
switch between backends. Launches, waits and copies of the tutorial's model are counted on the
stand-in for CuPy; deliberate mistakes show that these counts detect them.
"""

import copy
import inspect
import os
import pathlib
import pickle
import re
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import standin
from arrays import assert_array_equal, look
from networks import ONE_HOT, SPARSE, Scale, network, tutorial
from oracle import agree

import tinynet
from tinynet import activations, backend, layers, losses, optimizers, training
from tinynet.callbacks import Distributions, LambdaCallback
from tinynet.engine.data import Batches
from tinynet.engine.tracker import Tracker

# Many tests use unscaled bytes as inputs, because they do not depend on what is learned.
pytestmark = pytest.mark.filterwarnings("ignore:Expected inputs between about")

ROOT = pathlib.Path(__file__).resolve().parents[2]
README = (ROOT / "benchmarks" / "README.md").read_text("utf-8")
LAUNCHES = 56  # in a step of the tutorial's model; 60 are allowed


def images(samples=640, kind="uint8"):
    """Return random images, bytes or floats from 0 to 1, and their classes as one-hot rows."""
    rng = np.random.default_rng(3)
    x = rng.integers(0, 256, (samples, 28, 28)).astype("uint8")
    x = x if kind == "uint8" else (x / 255).astype(kind)
    return x, np.eye(10)[rng.integers(0, 10, samples)]


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


def assert_few_launches_waits_and_copies(cupy, x, y, batch_size=32):
    steps = -(-len(x) // batch_size)
    for launches, waits, copies, double in epochs(cupy, x, y, batch_size=batch_size):
        assert waits == 1, f"{waits} waits an epoch"
        assert copies == [8 * len(x)], f"{len(copies)} copies an epoch"  # the samples' order
        assert double <= 4, f"{double / steps} launches a step in float64"  # the sum of the losses
        # Gathering the samples and reading the sums happen once for many steps.
        assert launches <= LAUNCHES * steps + 12, f"{launches / steps} launches a step"
        assert launches / steps <= 60 or steps == 1


def epochs(cupy, *data, model=None, **arguments):
    """Return launches, waits, copies and float64 launches of the second and third epochs."""
    found = []

    def note(epoch, logs):
        counts = cupy.counts
        double = sum(counts.double.values())
        found.append((counts.launched, counts.waits, list(counts.copies), double))

    ledger = LambdaCallback(on_epoch_begin=lambda *_: cupy.counts.reset(), on_epoch_end=note)
    fit(model or tutorial(), data, epochs=3, callbacks=[ledger], **arguments)
    return found[1:]


# Few launches, no waits


@pytest.mark.parametrize("kind", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("batch_size", [1, 32, 640])
def test_few_launches_per_step_and_one_wait_and_copy_per_epoch(cupy, batch_size, kind):
    data = images(64 if batch_size == 1 else 640, kind)
    assert_few_launches_waits_and_copies(cupy, *data, batch_size)


def test_the_launches_per_step_match_the_readme(cupy):
    x, y = images()
    (one_hot, *_), _ = epochs(cupy, x, y)
    (sparse, *_), _ = epochs(cupy, x, y.argmax(axis=1), model=tutorial(loss=SPARSE))
    (weighted, *_), _ = epochs(cupy, x, y, sample_weight=np.ones(640))
    row = f"per step | {one_hot // 20}; {sparse // 20} if the targets are class indices |"
    assert row in README
    assert weighted / 20 <= 60


def test_the_data_is_copied_once_in_its_own_dtype_and_the_classes_are_computed_once(cupy):
    model = tutorial()
    cupy.counts.reset()
    fit(model, images(), epochs=3, validation_split=0.25)
    order = [8 * 480] * 3
    assert cupy.counts.copies == [480 * 784, 480 * 40, 160 * 784, 160 * 40, *order]
    # Once for the targets of each part; in each epoch, for the outputs of 15 steps and a validation
    assert cupy.counts.launches["argmax"] == 2 + 3 * 16


def test_without_shuffling_only_weights_and_data_are_copied(cupy):
    (x, y), weights = images(), [784 * 100, 100, 100 * 144, 144, 1440, 10]
    cupy.counts.reset()
    model = tutorial()
    fit(model, (x, y.astype(bool)), shuffle=False)
    assert cupy.counts.copies == [*(4 * n for n in weights), 640 * 784, 640 * 10]
    cupy.counts.reset()
    model.evaluate(x, y, verbose=0)
    assert (cupy.counts.waits, len(cupy.counts.copies)) == (1, 2)
    cupy.counts.reset()
    model.predict(x, verbose=0)  # outputs in blocks of 512 and 128
    assert (cupy.counts.waits, len(cupy.counts.copies)) == (2, 1)


@pytest.mark.parametrize(
    ("arguments", "waits"),
    [({"verbose": 1}, 20 + 1), ({"validation_data": FEW}, 1 + 1)],
    ids=["each refresh", "validation"],
)
def test_a_refresh_of_the_progress_line_and_a_validation_wait_once(
    cupy, monkeypatch, arguments, waits
):
    monkeypatch.setattr(training.ProgressBar, "due", lambda bar: bar.verbose == 1)
    for _, waited, copies, _ in epochs(cupy, *images(), **arguments):
        assert (waited, len(copies)) == (waits, 1)


class FirstTarget(losses.Loss):
    """A user-defined loss, which is not fused with any activation, for targets of any width."""

    def call(self, y_true, y_pred):
        return ((y_pred - y_true[:, :1]) ** 2).sum(axis=-1)

    def backward(self, y_true, y_pred):
        return 2 * (y_pred - y_true[:, :1])


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("loss", [losses.CategoricalCrossentropy, FirstTarget])
def test_device_memory_of_the_data_is_freed_after_each_call(cupy, loss, shuffle):
    x = images(4000, "float32")[0][:, :2, :2]  # small inputs; the targets take more memory
    y = np.zeros((4000, 50), "float32")
    stack = layers.Flatten(), (50, "softmax")
    model = network(*stack, inputs=(2, 2), loss=loss(), metrics=["acc"])
    before = cupy.get_default_memory_pool().used_bytes()
    fit(model, (x, y), shuffle=shuffle)
    model.evaluate(x, y, verbose=0)
    model.predict(x, verbose=0)
    grown = cupy.get_default_memory_pool().used_bytes() - before
    adam = 3 * 4 * model.count_params()
    assert grown <= adam + 2000  # the sums of the loss and the metrics


def test_large_data_is_copied_in_blocks(cupy, monkeypatch):
    monkeypatch.setattr("tinynet.engine.data.BLOCK_BYTES", 100_000)
    model, (x, y) = tutorial(), images()
    cupy.counts.reset()
    fit(model, (x, y), epochs=2)
    *blocks, first, second = cupy.counts.copies
    assert max(blocks) <= 100_000
    assert sum(blocks) == x.nbytes + 4 * 10 * len(x)
    assert first == second == 8 * len(x)


# Data that does not fit into memory


def test_data_that_does_not_fit_is_copied_in_batches_with_the_same_result():
    data, results, largest = images(kind="float32"), [], []
    for memory in (2**30, 6_000_000):
        with standin.installed(standin.make(memory=memory)) as cupy, backend.use("cupy"):
            tinynet.utils.set_random_seed(4)
            model = tutorial()
            cupy.counts.reset()
            results.append([fit(model, data, epochs=2).history, model.get_weights()])
            largest.append(max(cupy.counts.copies))
    agree(*results)
    assert largest[1] < data[0].nbytes <= largest[0]


def test_loaded_and_streamed_data_give_the_same_batches(cupy, monkeypatch):
    one_batch = 3 * 4 * (3 + 1 + 1)
    monkeypatch.setattr("tinynet.engine.data.BLOCK_BYTES", one_batch)
    x = np.arange(30, dtype=">i2").reshape(10, 3)  # a byte order that no GPU supports
    for order in (np.random.default_rng(1).permutation(10), None):
        for load in (True, False):
            batches = Batches(x, x[:, 0], x[:, :1].astype("float64"), 3)
            if load:
                batches.copy_to_gpu()
            seen = list(batches.iterate(0, 4, order))
            assert [len(batch.x) for batch in seen] == [3, 3, 3, 1]
            expected = x if order is None else x[order]
            assert_array_equal(np.concatenate([look(batch.x) for batch in seen]), expected)
            assert_array_equal(np.concatenate([look(batch.y) for batch in seen]), expected[:, 0])
            assert seen[0].x.dtype == seen[0].sample_weight.dtype == np.float32
            assert seen[0].y.dtype == np.int16


def test_running_out_of_memory_anywhere_in_a_second_fit_restores_everything(cupy):
    data, model, pool = images(64, "float32"), tutorial(), cupy.get_default_memory_pool()

    def everything():
        arrays = model.get_weights() + model.optimizer.variables
        return [array.tobytes() for array in arrays], backend.generator().bit_generator.state

    fit(model, data)
    before, room, said = everything(), 0, []
    while True:
        backend.release_memory()
        pool.set_limit(pool.used_bytes() + room + 1)
        try:
            fit(model, data, epochs=2)
        except MemoryError as error:
            said.append(str(error))
            assert everything() == before
            room += 60_000
        else:
            break
    assert len(said) > 10
    told = re.compile(r"in fit: CuPy could not allocate 0\.\d MB\..* Write: .*memory_limit=")
    assert all(map(told.search, said))


# Each method, its call, the batch it counts with, and what a smaller batch is worth: outside
# training, 512 samples pass through the layers at once, however small the batch is.
ON_BATCH = 640, "Write: 320 samples at a time instead of 640; or "
AT_ONCE = 512, "Write: tinynet.backend.use("
METHODS = {
    "fit": (lambda model, x, y: model.fit(x, y, 128, verbose=0),
            128, "Write: batch_size=64 instead of 128; or "),
    "train_on_batch": (lambda model, x, y: model.train_on_batch(x, y), *ON_BATCH),
    "test_on_batch": (lambda model, x, y: model.test_on_batch(x, y), *ON_BATCH),
    "evaluate": (lambda model, x, y: model.evaluate(x, y, 128, verbose=0), *AT_ONCE),
    "predict": (lambda model, x, y: model.predict(x, 128, verbose=0), *AT_ONCE),
}  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_out_of_memory_errors_state_the_sizes_and_the_line_to_write(cupy, name):
    call, batch, advised = METHODS[name]
    data, model, pool = images(kind="float32"), tutorial(), cupy.get_default_memory_pool()
    before, limit = model.get_weights(), pool.total_bytes() + 1000
    with backend.use("cupy", memory_limit=limit), pytest.raises(MemoryError) as error:
        call(model, *data)
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
        call(model, *data)


def test_out_of_memory_without_a_limit_names_other_remedies():
    with standin.installed(standin.make(memory=1_600_000)), backend.use("cupy"):
        model = tutorial()
        with pytest.raises(MemoryError) as error:
            fit(model, images(kind="float32"))
    said = str(error.value)
    assert "memory_limit" not in said
    release = "tinynet.backend.release_memory() before this call (nvidia-smi shows what holds the "
    assert said.endswith(f'{release}rest); or model.to("numpy"), to compute on the CPU')


OF_NUMPY = MemoryError("Unable to allocate 3.00 GiB for an array")
OF_CUPY = standin.OutOfMemoryError("Out of memory allocating 4 bytes")


@pytest.mark.parametrize(
    ("place", "failure"), [("numpy", OF_NUMPY), ("cupy", OF_NUMPY), ("numpy", OF_CUPY)]
)
def test_a_memory_error_not_of_the_model_s_gpu_is_not_changed(cupy, monkeypatch, place, failure):
    def fails(*_):
        raise failure

    monkeypatch.setattr(training, "train_step", fails)
    with pytest.raises(MemoryError) as error:
        fit(built(place))
    assert error.value is failure


# Mistakes made on purpose

MISTAKES = {  # where, the error, and the source code before and after
    "np. on a device array": (layers.Dense, "forward", "Unsupported|Implicit|operand",
        "backend.xp.matmul(rows", "backend.host.matmul(rows"),
    "a float64 scalar": (optimizers.Adam, "update", "launches a step in float64",
        "m *= self.beta_1", "m *= backend.host.float64(self.beta_1)"),
    "an item() in each step": (Tracker, "update", "11 waits an epoch",
        "self._samples += size", "self._samples += size; loss.item()"),
    "a keyword that CuPy lacks": (backend, "take_rows", "mode",
        "return array.take(rows, axis=0)", 'return array.take(rows, axis=0, mode="clip")'),
    "an index from the host": (Batches, "iterate", "an index from the host",
        "order = backend.xp.asarray(order)", "pass"),
    "a copy in each step": (losses.CategoricalCrossentropy, "targets", "copies an epoch",
        "if s else y", "if s else backend.xp.asarray(backend.host.ones(10, 'f4')) * y"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("owner", "name", "words", "old", "new"), MISTAKES.values(), ids=MISTAKES.keys()
)
def test_a_deliberate_mistake_is_detected(cupy, monkeypatch, owner, name, words, old, new):
    function = getattr(owner, name)
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(old) == 1
    names = {}
    exec(compile(source.replace(old, new), "mutated", "exec"), function.__globals__, names)
    monkeypatch.setattr(owner, name, names[name])

    with pytest.raises((TypeError, AssertionError), match=words):
        assert_few_launches_waits_and_copies(cupy, *images(320))


# Switching the backend


def test_use_switches_and_the_end_of_a_block_switches_back(cupy):
    assert backend.backend() == "cupy"
    with backend.use("numpy"):
        assert backend.backend() == "numpy"
        assert backend.xp is np
        with backend.use("cupy"):
            assert backend.xp is cupy
        assert backend.xp is np
    assert backend.xp is cupy
    backend.use("numpy")
    with pytest.raises(ZeroDivisionError), backend.use("cupy"):
        1 / 0  # noqa: B018
    assert backend.xp is np


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("torch",), ValueError, r"one of \['numpy', 'cupy', 'auto'\], received: 'torch'"),
        (("cupy", -1), ValueError, "device to be a whole number of at least 0"),
        (("cupy", 0.5), ValueError, "device to be a whole number"),
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


def test_auto_without_a_gpu_says_what_is_missing(capsys):
    with standin.installed(standin.make(driver=0)), backend.use("auto"):
        assert backend.backend() == "numpy"
        assert "tinynet computes with numpy: there is no NVIDIA driver" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wish", "chosen", "said"),
    [
        ("auto", "cupy", "tinynet computes with cupy: there is a GPU, and it works\n"),
        ("cupy", "cupy", ""),
        ("numpy", "numpy", ""),
        ("", "numpy", ""),
    ],
)
def test_the_environment_variable_takes_effect_at_the_first_computation(
    cupy, monkeypatch, capsys, wish, chosen, said
):
    monkeypatch.setenv("TINYNET_BACKEND", wish)
    backend._switch_back((None, None))  # as if nothing had been computed yet
    fit(tutorial())
    assert backend.backend() == chosen
    assert bool(cupy.counts.launched) is (chosen == "cupy")
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("wish", "error"),
    [
        ("cupy", r"RuntimeError.*The backend 'cupy' cannot run: .*TINYNET_BACKEND=numpy"),
        ("torch", r"ValueError.*Expected the name of a backend.*unset TINYNET_BACKEND"),
    ],
)
def test_an_unusable_backend_raises_at_the_first_computation_and_not_before(wish, error):
    program = (
        "import tinynet; from tinynet import backend, layers; print('imported')\n"
        "try: layers.Dense(1).build((None, 3))\n"
        "except Exception as error: print(type(error).__mro__, error)"
    )
    environment = {**os.environ, "TINYNET_BACKEND": wish, "CUDA_VISIBLE_DEVICES": "-1"}
    printed = subprocess.check_output([sys.executable, "-c", program], env=environment, text=True)
    assert re.match(rf"imported\n.*{error}", printed)


def test_devices_lists_each_gpu_with_name_memory_and_capability():
    with standin.installed(standin.make(devices=2, memory=24 * 2**30)):
        found = [vars(device) for device in backend.devices()]
    facts = {"memory": 24 * 2**30, "compute_capability": "8.6"}
    assert found == [{"index": n, "name": f"Stand-in {n}", **facts} for n in (0, 1)]
    with standin.installed(standin.make(devices=0)):
        assert backend.devices() == []


def test_a_chosen_gpu_holds_model_and_data():
    x, y = FEW
    with standin.installed(standin.make(devices=2)) as cupy:
        with backend.use("cupy", device=1):
            model = tutorial()
        with backend.use("cupy", device=0):
            fit(model, validation_split=0.5)
            model.evaluate(x, y, verbose=0)
            model(x), model.predict(x, verbose=0), model.layers[1](np.ones((2, 784)))
            assert cupy.pools[0].total_bytes() < 1000  # left from the check of the GPU
            assert cupy.machine.device == 0
            for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
                assert len({weight.device.id for weight in other.weights}) == 1
                fit(other)
            cupy.counts.reset()
            assert {w.device.id for w in model.to("cupy", device=0).weights} == {0}
            copied = cupy.counts.waits, cupy.counts.copies
            assert copied == (0, [])  # directly, not through the host
            fit(model)
        with backend.use("numpy"):
            there = copy.deepcopy(model).to("cupy", device=1)
            fit(there)
            with pytest.raises(ValueError, match="finite"):
                fit(there, (np.full(x.shape, np.nan), y))
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
    assert cupy.pinned.freed == 2  # the pool of pinned host memory


def test_synchronize_waits_once(cupy):
    for place in ("cupy", "numpy"):
        with backend.use(place):
            backend.synchronize()
        assert cupy.counts.waits == 1


# The place of a model


def test_a_model_computes_where_it_was_built_whichever_backend_is_in_use(cupy):
    x, y = FEW
    there, here = built("cupy"), built("numpy")
    with backend.use("numpy"):
        fit(there)
        there.predict(x, verbose=0), there.evaluate(x, y, verbose=0), there(x)
        there.train_on_batch(x, y), there.test_on_batch(x, y)
        there.layers[1](np.ones((2, 784)))
        there.set_weights(there.get_weights())
        assert backend.xp is np
    cupy.counts.reset()
    fit(here)
    here.predict(x, verbose=0), here(x), here.layers[1](np.ones((2, 784)))
    assert (kinds(there), kinds(here)) == ({cupy.ndarray}, {np.ndarray})
    assert (cupy.counts.launched, cupy.counts.copies) == (0, [])


@pytest.mark.parametrize("trains", [True, False], ids=["all", "frozen"])
def test_moving_a_model_between_backends_does_not_change_training(cupy, trains):
    results = []
    for places in (["numpy"] * 3, ["numpy", "cupy", "numpy"], ["cupy", "numpy", "cupy"]):
        tinynet.utils.set_random_seed(5)
        model = built(places[0])
        model.layers[1].trainable = trains
        for place in places:
            assert model.to(place) is model
            fit(model, epochs=2)
        results.append(model.get_weights() + model.optimizer.variables)
    agree(results[0], results[1])
    agree(results[0], results[2])


class Renamed(Scale):
    """A layer with a non-trainable weight that has a second attribute name."""

    def build(self, input_shape):
        super().build(input_shape)
        self.also = self.seen


def test_moving_a_model_moves_all_its_arrays_once(cupy):
    with backend.use("numpy"):
        stack = layers.Flatten(), Renamed(), (10, "softmax")
        model = network(*stack, inputs=(28, 28), loss=ONE_HOT, optimizer="sgd")
        fit(model)
    layer, flat = model.to("cupy").layers[1], model.flat
    assert layer.also is layer.seen
    fit(model)
    assert float(layer.seen) == 192
    arrays = [*model.weights, flat, model.parameters.gradients, *model.parameters.pairs[0]]
    assert {type(array) for array in arrays} == {cupy.ndarray}
    scale = layer.scale
    model.to("cupy")
    assert model.flat is flat
    assert layer.scale is scale


@pytest.mark.parametrize(
    ("inputs", "moves"),
    [((4,), False), (None, False), (None, True)],
    ids=["when built", "in fit", "by a move before fit"],
)
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


def test_a_copy_computes_where_the_original_does(cupy):
    for place, other in (("cupy", "numpy"), ("numpy", "cupy")):
        model = built(place)
        fit(model)
        with backend.use(other):
            for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
                fit(copied)
                assert kinds(copied) == kinds(model)


def test_a_model_cannot_be_moved_while_it_computes_but_a_copy_can(cupy):
    model, copies = tutorial(), []
    mover = LambdaCallback(on_train_batch_end=lambda batch, logs: model.to("numpy"))
    copier = LambdaCallback(on_epoch_end=lambda epoch, logs: copies.append(copy.deepcopy(model)))
    with pytest.raises(ValueError, match="to be idle, but it is computing"):
        fit(model, callbacks=[mover])
    fit(model)
    fit(model.to("numpy"), callbacks=[copier])
    fit(copies[0].to("cupy"))


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
    assert_array_equal(borrower(ONES), expected)


def test_targets_of_the_wrong_shape_are_refused_on_every_backend(cupy):
    compiled = {"loss": FirstTarget(), "metrics": ["categorical_accuracy"]}
    for place in ("numpy", "cupy"):
        with backend.use(place):
            model = network((5, "softmax"), inputs=(4,), **compiled)
            with pytest.raises(ValueError, match="one-hot targets in the shape of the outputs"):
                model.fit(np.ones((8, 4)), np.ones((8, 10)), verbose=0)


def test_set_weights_changes_nothing_if_it_runs_out_of_memory(cupy):
    model, pool = tutorial(), cupy.get_default_memory_pool()
    before, new = model.get_weights(), [w + 1 for w in model.get_weights()]
    model.set_weights([new[0].astype("longdouble"), *new[1:]])
    assert_array_equal(model.get_weights()[0], new[0])
    model.set_weights(before)
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
    for room in range(1, 5 * flat.nbytes, 40_000):
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
    for name, kind in (("numpy", np.ndarray), ("cupy", cupy.ndarray)):
        with backend.use(name):
            for values in (cupy.asarray(array), array):
                assert {type(call(values)) for call in calls} == {type(values)}
                weights = values.copy()
                optimizers.Adam().apply_gradients([(values.copy(), weights)])
                assert type(weights) is type(values)
                assert look(weights)[0, 0] != 1
            assert type(activations.sigmoid([1.0])) is kind


def test_a_device_array_as_data_is_refused_with_the_line_to_write(cupy):
    model, x = tutorial(), cupy.zeros((4, 28, 28))
    for call in (model, lambda x: fit(model, (x, np.ones((4, 10))))):
        with pytest.raises(ValueError, match=r"Expected a NumPy array. Write: x = x\.get\(\)"):
            call(x)


def test_weights_may_be_set_from_the_device(cupy):
    model, here = tutorial(), built("numpy")
    model.set_weights([weight.copy() for weight in model.weights])
    here.set_weights(model.weights)
    agree(here.get_weights(), model.get_weights())


def test_distributions_are_recorded_on_the_gpu_as_well(cupy):
    found = []
    for place in ("numpy", "cupy"):
        tinynet.utils.set_random_seed(6)
        record = Distributions()
        fit(built(place), callbacks=[record])
        # The layers' names differ, because they are numbered; the values are equal.
        found.append([list(part.values()) for part in (record.weights, record.gradients)])
    assert found[0] == found[1]


@pytest.mark.parametrize("own", [True, False], ids=["layers", "a model"])
def test_layers_without_weights_compute_on_the_backend_in_use(cupy, own):
    x = np.linspace(-1, 1, 12).reshape(3, 4).astype("float32")
    dropout = layers.Dropout(0.5, seed=1)
    parts = [layers.Activation("tanh"), dropout]
    model = tinynet.Sequential([tinynet.Input((4,)), *parts])
    calls = [lambda: model(x, training=True), lambda: model.predict(x, verbose=0)]
    if own:
        calls = [lambda part=part: part(x, training=True) for part in parts]
    for call in calls:
        results = []
        for place in ("numpy", "cupy", "numpy"):
            dropout.drawn = 0
            with backend.use(place):
                results.append(call())
        assert_array_equal(results[0], results[1])
        assert_array_equal(results[0], results[2])
