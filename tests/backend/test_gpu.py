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
from networks import ONE_HOT, SPARSE, network, tutorial
from oracle import agree

import tinynet
from tinynet import backend, layers, losses, optimizers, training
from tinynet.callbacks import Callback
from tinynet.engine.data import Batches
from tinynet.engine.tracker import Tracker

# Many tests use unscaled bytes as inputs, because they do not depend on what is learned.
pytestmark = pytest.mark.filterwarnings("ignore:Expected inputs between about")

README = (pathlib.Path(__file__).resolve().parents[2] / "README.md").read_text("utf-8")
LAUNCHES = 56  # in a step of the tutorial's model; 60 are allowed
SAMPLES = 640


def images(samples=SAMPLES, kind="uint8"):
    rng = np.random.default_rng(3)
    x = rng.integers(0, 256, (samples, 28, 28)).astype("uint8")
    x = x if kind == "uint8" else (x / 255).astype(kind)
    return x, rng.integers(0, 10, samples)


def one_hot(labels):
    return tinynet.utils.to_categorical(labels, 10)


class Ledger(Callback):
    """A callback that records what the stand-in counted in each epoch."""

    def __init__(self, cupy):
        super().__init__()
        self.cupy, self.epochs = cupy, []

    def on_epoch_begin(self, epoch, logs=None):
        self.cupy.counts.reset()

    def on_epoch_end(self, epoch, logs=None):
        counts = self.cupy.counts
        double = sum(counts.double.values())
        self.epochs.append((counts.launched, counts.waits, list(counts.copies), double))


def epochs(cupy, batch_size, x, y, model=None, **arguments):
    """Return launches, waits, copies and float64 launches of the second and third epochs."""
    ledger = Ledger(cupy)
    arguments = {"verbose": 0, **arguments}
    model = model or tutorial()
    model.fit(x, y, batch_size, epochs=3, callbacks=[ledger], **arguments)
    return ledger.epochs[1:]


# Few launches, no waits


@pytest.mark.parametrize("kind", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("batch_size", [1, 32, 640])
def test_few_launches_per_step_and_one_wait_and_copy_per_epoch(cupy, batch_size, kind):
    x, labels = images(64 if batch_size == 1 else SAMPLES, kind)
    steps = -(-len(x) // batch_size)
    for launches, waits, copies, double in epochs(cupy, batch_size, x, one_hot(labels)):
        # Gathering the samples and reading the sums happen once for many steps.
        assert launches <= LAUNCHES * steps + 12
        assert launches / steps <= 60 or steps == 1
        assert waits == 1
        assert copies == [8 * len(x)]  # the order of the samples
        assert double <= 4  # the sum of the losses, once


def test_the_launches_per_step_match_the_readme(cupy):
    """Also print, with -s, the launches per step, and the waits and copies per epoch."""
    x, labels = images()
    found = []
    for name, y, loss in (
        ("one-hot rows", one_hot(labels), ONE_HOT),
        ("class numbers", labels, SPARSE),
    ):
        (launches, waits, copies, double), _ = epochs(cupy, 32, x, y, tutorial(loss=loss))
        print(f"{name}: {launches / 20:.1f} launches a step, of which {double / 20:.1f} in float64")
        print(f"    an epoch: waits {waits}, copies {len(copies)} of {sum(copies)} bytes")
        found.append(launches // 20)
    assert f"per step | {found[0]}; {found[1]} if the targets are class indices |" in README
    weights = np.ones(len(x))
    (launches, _, _, _), _ = epochs(cupy, 32, x, one_hot(labels), sample_weight=weights)
    assert launches / 20 <= 60


def test_the_data_is_copied_once_in_its_own_dtype(cupy):
    x, labels = images()
    model = tutorial()
    cupy.counts.reset()
    model.fit(x, one_hot(labels), epochs=3, verbose=0, validation_split=0.25)
    order = [8 * 480] * 3
    assert cupy.counts.copies == [480 * 784, 480 * 40, 160 * 784, 160 * 40, *order]


def test_without_shuffling_only_weights_and_data_are_copied(cupy):
    x, labels = images()
    cupy.counts.reset()
    tutorial().fit(x, labels.astype("uint8")[:, None] == np.arange(10), verbose=0, shuffle=False)
    weights = [784 * 100, 100, 100 * 144, 144, 1440, 10]
    assert cupy.counts.copies == [*(4 * n for n in weights), 640 * 784, 640 * 10]


def test_the_target_classes_are_computed_once_per_fit(cupy):
    x, labels = images()
    model = tutorial()
    cupy.counts.reset()
    model.fit(x, one_hot(labels), epochs=3, verbose=0)
    assert (
        cupy.counts.launches["argmax"] == 1 + 3 * 20
    )  # once for the targets, once for each output


def test_a_refresh_of_the_progress_line_waits_once(cupy, monkeypatch):
    monkeypatch.setattr(training.ProgressBar, "due", lambda bar: True)
    x, labels = images()
    for _, waits, _, _ in epochs(cupy, 32, x, one_hot(labels), verbose=1):
        assert waits == 20 + 1


def test_validation_waits_once_more_and_copies_nothing(cupy):
    x, labels = images()
    data = x[:64], one_hot(labels[:64])
    for _, waits, copies, _ in epochs(cupy, 32, x, one_hot(labels), validation_data=data):
        assert (waits, len(copies)) == (2, 1)


def test_waits_and_copies_of_evaluate_and_predict(cupy):
    x, labels = images()
    model = tutorial()
    cupy.counts.reset()
    model.evaluate(x, one_hot(labels), verbose=0)
    assert (cupy.counts.waits, len(cupy.counts.copies)) == (1, 2)
    cupy.counts.reset()
    model.predict(x, verbose=0)
    assert (cupy.counts.waits, len(cupy.counts.copies)) == (
        2,
        1,
    )  # outputs in blocks of 512 and 128


class Squares(losses.Loss):
    """A user-defined loss, which is not fused with any activation."""

    def call(self, y_true, y_pred):
        return ((y_pred - y_true) ** 2).sum(axis=-1)

    def backward(self, y_true, y_pred):
        return 2 * (y_pred - y_true)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("loss", [losses.CategoricalCrossentropy, Squares])
def test_device_memory_of_the_data_is_freed_after_each_call(cupy, loss, shuffle):
    x = images(4000, "float32")[0][:, :2, :2]  # small inputs; the targets take more memory
    wide = np.zeros((4000, 50), "float32")
    stack = layers.Flatten(), (50, "softmax")
    model = network(*stack, inputs=(2, 2), loss=loss(), metrics=["acc"])
    before = cupy.get_default_memory_pool().used_bytes()
    model.fit(x, wide, 32, 1, verbose=0, shuffle=shuffle)
    model.evaluate(x, wide, verbose=0)
    model.predict(x, verbose=0)
    grown = cupy.get_default_memory_pool().used_bytes() - before
    adam = 3 * 4 * model.count_params()
    assert grown <= adam + 2000  # the sums of the loss and the metrics


def test_large_data_is_copied_in_blocks(cupy, monkeypatch):
    monkeypatch.setattr("tinynet.engine.data.BLOCK_BYTES", 100_000)
    x, labels = images()
    model = tutorial()
    cupy.counts.reset()
    model.fit(x, one_hot(labels), verbose=0, epochs=2)
    *data, first, second = cupy.counts.copies
    assert max(data) <= 100_000
    assert sum(data) == x.nbytes + 4 * 10 * len(x)
    assert first == second == 8 * len(x)


# Data that does not fit into memory


def test_data_that_does_not_fit_is_copied_in_batches_with_the_same_result():
    x, labels = images(kind="float32")
    results = []
    for memory in (2**30, 6_000_000):
        with standin.installed(standin.make(memory=memory)) as cupy, backend.use("cupy"):
            tinynet.utils.set_random_seed(4)
            model = tutorial()
            cupy.counts.reset()
            history = model.fit(x, one_hot(labels), epochs=2, verbose=0).history
            results.append((history, model.get_weights(), max(cupy.counts.copies)))
    (history, weights, _), (smaller_history, smaller_weights, largest) = results
    assert history == smaller_history
    assert largest < x.nbytes
    for one, other in zip(weights, smaller_weights, strict=True):
        assert_array_equal(one, other)


def test_loaded_and_streamed_data_give_the_same_batches(cupy, monkeypatch):
    monkeypatch.setattr(
        "tinynet.engine.data.BLOCK_BYTES", 3 * 4 * (3 + 1 + 1)
    )  # one batch of 3 and more
    x = np.arange(30, dtype=">i2").reshape(10, 3)  # a byte order that no GPU supports
    order = np.random.default_rng(1).permutation(10)
    for given in (order, None):
        for load in (True, False):
            batches = Batches(x, x[:, 0], x[:, :1].astype("float64"), 3)
            if load:
                batches.copy_to_gpu()
            seen = list(batches.iterate(0, 4, given))
            assert [len(batch.x) for batch in seen] == [3, 3, 3, 1]
            expected = x if given is None else x[given]
            assert_array_equal(np.concatenate([look(batch.x) for batch in seen]), expected)
            assert_array_equal(np.concatenate([look(batch.y) for batch in seen]), expected[:, 0])
            assert seen[0].x.dtype == seen[0].sample_weight.dtype == np.float32
            assert seen[0].y.dtype == np.int16


def test_running_out_of_memory_leaves_the_model_as_it_was():
    x, labels = images(kind="float32")
    with standin.installed(standin.make()) as cupy, backend.use("cupy"):
        model = tutorial()
        before = model.get_weights()
        limit = cupy.pools[0].total_bytes() + 500_000
        with (
            backend.use("cupy", memory_limit=limit),
            pytest.raises(MemoryError, match="Out of memory"),
        ):
            model.fit(x, one_hot(labels), verbose=0)
        agree(before, model.get_weights())
        model.fit(x, one_hot(labels), verbose=0)


def everything(model):
    arrays = model.get_weights() + model.optimizer.variables
    return [array.tobytes() for array in arrays], backend.generator().bit_generator.state


def test_running_out_of_memory_anywhere_in_a_second_fit_restores_everything(cupy):
    x, labels = images(64, "float32")
    y, model, pool = one_hot(labels), tutorial(), cupy.get_default_memory_pool()
    model.fit(x, y, verbose=0)
    before, room, said = everything(model), 0, []
    while True:
        backend.release_memory()
        pool.set_limit(pool.used_bytes() + room + 1)
        try:
            model.fit(x, y, verbose=0, epochs=2)
        except MemoryError as error:
            said.append(str(error))
            assert everything(model) == before
            room += 60_000
        else:
            break
    assert len(said) > 10
    told = re.compile(r"in fit: CuPy could not allocate 0\.\d MB\..* Write: .*memory_limit=")
    assert all(map(told.search, said))
    pool.set_limit(0)


METHODS = {
    "fit": lambda model, x, y: model.fit(x, y, 128, verbose=0),
    "train_on_batch": lambda model, x, y: model.train_on_batch(x, y),
    "evaluate": lambda model, x, y: model.evaluate(x, y, 128, verbose=0),
    "test_on_batch": lambda model, x, y: model.test_on_batch(x, y),
    "predict": lambda model, x, y: model.predict(x, 128, verbose=0),
}


@pytest.mark.parametrize("name", METHODS)
def test_out_of_memory_errors_state_the_sizes_and_the_line_to_write(cupy, name):
    x, labels = images(kind="float32")
    y, model, pool = one_hot(labels), tutorial(), cupy.get_default_memory_pool()
    limit = pool.total_bytes() + 1000
    with backend.use("cupy", memory_limit=limit), pytest.raises(MemoryError) as error:
        METHODS[name](model, x, y)
    said = str(error.value)
    assert type(error.value) is MemoryError
    assert f"Out of memory on GPU 0 in {name}: " in said
    sizes = r"([\d,.]+) MB of the GPU's 8,589.9 MB are free, and CuPy holds ([\d.]+) MB"
    free, held = re.search(sizes, said).groups()
    assert float(free.replace(",", "")) + float(held) == pytest.approx(8589.9, abs=0.2)
    assert f" of the {limit / 1e6:.1f} MB that memory_limit allows." in said
    assert (
        f"optimizer state take {4 * 4 * model.count_params() / 1e6:.1f} MB" in said
    )  # w, ∂L/∂w, m, v
    # A smaller batch is only advised where it makes a difference: outside training, 512 samples
    # pass through the layers at once, however small the batch is.
    batch, advised = {
        "fit": (128, "Write: batch_size=64 instead of 128; or "),
        "train_on_batch": (640, "Write: 320 samples at a time instead of 640; or "),
        "test_on_batch": (640, "Write: 320 samples at a time instead of 640; or "),
    }.get(name, (512, "Write: tinynet.backend.use("))
    numbers = 784 + 784 + 100 + 144 + 10  # sizes of all inputs and outputs, with Flatten's output
    assert f"a batch of {batch} about {2 * 4 * batch * numbers / 1e6:.1f} MB" in said
    assert advised in said
    # The advised limit is large enough.
    enough = int(re.search(r"memory_limit=([\d_]+)", said)[1])
    with backend.use("cupy", memory_limit=enough):
        METHODS[name](model, x, y)


def test_out_of_memory_without_a_limit_names_other_remedies():
    x, labels = images(kind="float32")
    with standin.installed(standin.make(memory=1_600_000)), backend.use("cupy"):
        model = tutorial()
        with pytest.raises(MemoryError) as error:
            model.fit(x, one_hot(labels), verbose=0)
    said = str(error.value)
    assert "memory_limit" not in said
    assert (
        "tinynet.backend.release_memory() before this call (nvidia-smi shows what holds the rest)"
        in said
    )
    assert said.endswith('or model.to("numpy"), to compute on the CPU')


@pytest.mark.parametrize("place", ["numpy", "cupy"])
def test_a_memory_error_of_the_host_is_not_changed(cupy, monkeypatch, place):
    x, labels = images(64)
    failure = MemoryError("Unable to allocate 3.00 GiB for an array")

    def fails(*_):
        raise failure

    monkeypatch.setattr(training, "train_step", fails)
    with backend.use(place):
        model = tutorial()
    with pytest.raises(MemoryError) as error:
        model.fit(x, one_hot(labels), verbose=0)
    assert error.value is failure


def test_a_memory_error_of_cupy_is_not_changed_by_a_model_on_the_host(cupy):
    class Callback(tinynet.callbacks.Callback):
        def on_train_begin(self, logs=None):
            cupy.get_default_memory_pool().set_limit(1)
            cupy.empty((1,), "float32")

    x, labels = images(64)
    with backend.use("numpy"):
        model = tutorial()
    with pytest.raises(standin.OutOfMemoryError):
        model.fit(x, one_hot(labels), verbose=0, callbacks=[Callback()])


# Mistakes made on purpose


def assert_few_launches_waits_and_copies(cupy):
    """Assert the limits of the tests above on launches, waits and copies."""
    x, labels = images(320)
    for launches, waits, copies, double in epochs(cupy, 32, x, one_hot(labels)):
        assert launches <= 60 * 10, f"{launches / 10} launches a step"
        assert waits == 1, f"{waits} waits an epoch"
        assert len(copies) == 1, f"{len(copies)} copies an epoch"
        assert double <= 4, f"{double / 10} launches a step in float64"


def mutate(monkeypatch, owner, name, old, new):
    """Replace a function or method by one with changed source code."""
    function = getattr(owner, name)
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(old) == 1
    names = {}
    exec(compile(source.replace(old, new), "mutated", "exec"), function.__globals__, names)
    monkeypatch.setattr(owner, name, names[name])


MISTAKES = {
    "np. on a device array": (
        layers.Dense, "forward",
        "backend.xp.matmul(rows", "backend.host.matmul(rows",
        TypeError, "Unsupported|Implicit|operand",
    ),
    "a float64 scalar": (
        optimizers.Adam, "update",
        "m *= self.beta_1", "m *= backend.host.float64(self.beta_1)",
        AssertionError, "launches a step in float64",
    ),
    "an item() in each step": (
        Tracker, "update",
        "self._samples += size", "self._samples += size; loss.item()",
        AssertionError, "11 waits an epoch",
    ),
    "a keyword that CuPy lacks": (
        backend, "take_rows",
        "return array.take(rows, axis=0)", 'return array.take(rows, axis=0, mode="clip")',
        TypeError, "mode",
    ),
    "an index from the host": (
        Batches, "iterate",
        "order = backend.xp.asarray(order)", "pass",
        TypeError, "an index from the host",
    ),
    "a copy in each step": (
        losses.CategoricalCrossentropy, "targets",
        "if s else y", "if s else backend.xp.asarray(backend.host.ones(10, 'f4')) * y",
        AssertionError, "copies an epoch",
    ),
}  # fmt: skip


def test_the_unchanged_source_stays_within_the_limits(cupy):
    assert_few_launches_waits_and_copies(cupy)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_deliberate_mistake_is_detected(cupy, monkeypatch, name):
    owner, function, old, new, error, words = MISTAKES[name]
    mutate(monkeypatch, owner, function, old, new)
    with pytest.raises(error, match=words):
        assert_few_launches_waits_and_copies(cupy)


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
    assert backend.xp is np
    with pytest.raises(ZeroDivisionError), backend.use("cupy"):
        1 / 0  # noqa: B018
    assert backend.xp is np


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("torch",), r"one of \['numpy', 'cupy', 'auto'\], received: 'torch'"),
        (("cupy", -1), "device to be a whole number of at least 0"),
        (("cupy", 0.5), "device to be a whole number"),
        (("cupy", 0, 0), "memory_limit to be a whole number of at least 1"),
        (("numpy", 1), "neither a device nor a memory_limit for NumPy"),
        (("numpy", 0, 10), "neither a device nor a memory_limit for NumPy"),
    ],
)
def test_invalid_arguments_of_use_are_refused_and_change_nothing(cupy, arguments, words):
    with backend.use("numpy"):
        with pytest.raises(ValueError, match=words):
            backend.use(*arguments)
        assert backend.backend() == "numpy"


def test_a_missing_gpu_is_refused_with_the_number_of_gpus(cupy):
    with pytest.raises(RuntimeError, match=r'no GPU number 3: there is 1.*use\("cupy", device=0\)'):
        backend.use("cupy", device=3)


def test_auto_reports_its_choice_and_the_reason(cupy, capsys):
    with backend.use("auto"):
        assert backend.backend() == "cupy"
    assert capsys.readouterr().err == "tinynet computes with cupy: there is a GPU, and it works\n"
    with standin.installed(standin.make(driver=0)), backend.use("auto"):
        assert backend.backend() == "numpy"
        assert "tinynet computes with numpy: there is no NVIDIA driver" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wish", "chosen"), [("auto", "cupy"), ("cupy", "cupy"), ("numpy", "numpy"), ("", "numpy")]
)
def test_the_environment_variable_takes_effect_at_the_first_computation(
    cupy, monkeypatch, capsys, wish, chosen
):
    monkeypatch.setenv("TINYNET_BACKEND", wish)
    backend._switch_back((None, None))  # as if nothing had been computed yet
    x, labels = images(32)
    tutorial().fit(x, one_hot(labels), verbose=0)
    assert backend.backend() == chosen
    assert bool(cupy.counts.launched) is (chosen == "cupy")
    said = capsys.readouterr().err
    assert said.startswith("tinynet computes with cupy") if wish == "auto" else said == ""


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
    run = [sys.executable, "-c", program]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("imported")
    assert re.search(error, done.stdout)


def test_devices_lists_each_gpu_with_name_memory_and_capability():
    with standin.installed(standin.make(devices=2, memory=24 * 2**30)):
        first, second = backend.devices()
    assert (first.index, second.index) == (0, 1)
    assert (second.name, second.memory, second.compute_capability) == (
        "Stand-in 1", 24 * 2**30, "8.6",
    )  # fmt: skip
    with standin.installed(standin.make(devices=0)):
        assert backend.devices() == []


def test_a_chosen_gpu_holds_model_and_data():
    x, labels = images(96)
    with standin.installed(standin.make(devices=2)) as cupy:
        with backend.use("cupy", device=1):
            model = tutorial()
        with backend.use("cupy", device=0):
            model.fit(x, one_hot(labels), verbose=0, validation_split=0.5)
            model.evaluate(x, one_hot(labels), verbose=0)
            model(x), model.predict(x, verbose=0), model.layers[1](np.ones((2, 784)))
            assert cupy.pools[0].total_bytes() < 1000  # left from the check of the GPU
            assert cupy.machine.device == 0
            for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
                assert len({weight.device.id for weight in other.weights}) == 1
                other.fit(x, one_hot(labels), verbose=0)
            cupy.counts.reset()
            moved = [w.device.id for w in model.to("cupy", device=0).weights]
            assert moved == [0] * 6
            assert (cupy.counts.waits, cupy.counts.copies) == (
                0,
                [],
            )  # copied directly, not through the host
            model.fit(x, one_hot(labels), verbose=0)
        with backend.use("numpy"):
            there = copy.deepcopy(model).to("cupy", device=1)
            there.fit(x, one_hot(labels), verbose=0)
            with pytest.raises(ValueError, match="finite"):
                there.fit(np.full(x.shape, np.nan), one_hot(labels), verbose=0)
            assert cupy.machine.device == 0  # the current device of other CuPy code is unchanged


def test_a_memory_limit_applies_only_within_its_block(cupy):
    pool = cupy.get_default_memory_pool()
    with backend.use("cupy", memory_limit=10_000):
        assert pool.get_limit() == 10_000
        assert backend.free_memory() <= 10_000
        with pytest.raises(MemoryError):
            cupy.empty((10_000,), "float32")
    assert pool.get_limit() == 0
    backend.use("cupy", memory_limit=20_000)
    assert pool.get_limit() == 20_000
    with pytest.raises(ValueError, match="memory_limit to be a whole number"):
        backend.use("cupy", memory_limit=2**70)


def test_a_memory_limit_applies_only_to_its_gpu():
    with standin.installed(standin.make(devices=2)) as cupy, backend.use("cupy"):
        with backend.use("cupy", device=1, memory_limit=10_000):
            backend.use("cupy", device=0)
            assert [pool.get_limit() for pool in cupy.pools] == [0, 10_000]
        assert [pool.get_limit() for pool in cupy.pools] == [0, 0]
        assert cupy.machine.device == 0


def test_release_memory_frees_unused_memory(cupy):
    class Circle:
        pass

    circle = Circle()
    circle.self, circle.array = circle, cupy.empty((1000,), "float32")
    held = cupy.get_default_memory_pool().total_bytes()
    del circle
    assert backend.release_memory() == (held, held - 4000)
    with backend.use("numpy"):  # CuPy's pool exists whichever backend is in use
        array = cupy.empty((1000,), "float32")
        del array
        assert backend.release_memory() == (held, held - 4000)
    assert cupy.pinned.freed == 2  # the pool of pinned host memory


def test_synchronize_waits_once(cupy):
    backend.synchronize()
    assert cupy.counts.waits == 1
    with backend.use("numpy"):
        backend.synchronize()
    assert cupy.counts.waits == 1


# The place of a model


def test_a_model_computes_where_it_was_built_whichever_backend_is_in_use(cupy):
    x, labels = images(96)
    there = tutorial()
    with backend.use("numpy"):
        here = tutorial()
        there.fit(x, one_hot(labels), verbose=0)
        there.predict(x, verbose=0), there.evaluate(x, one_hot(labels), verbose=0), there(x)
        there.train_on_batch(x, one_hot(labels)), there.test_on_batch(x, one_hot(labels))
        there.layers[1](np.ones((2, 784)))
        there.set_weights(there.get_weights())
        assert backend.xp is np
        assert {type(weight) for weight in there.weights} == {cupy.ndarray}
    cupy.counts.reset()
    here.fit(x, one_hot(labels), verbose=0)
    here.predict(x, verbose=0), here(x), here.layers[1](np.ones((2, 784)))
    assert {type(weight) for weight in here.weights} == {np.ndarray}
    assert (cupy.counts.launched, cupy.counts.copies) == (0, [])


def trained(places, **frozen):
    """Return weights and optimizer state after two epochs in each of `places` in turn."""
    tinynet.utils.set_random_seed(5)
    x, labels = images(96)
    with backend.use(places[0]):
        model = tutorial()
    model.layers[1].trainable = not frozen
    for place in places:
        assert model.to(place) is model
        model.fit(x, one_hot(labels), epochs=2, verbose=0)
    return model.get_weights() + model.optimizer.variables


@pytest.mark.parametrize("frozen", [{}, {"frozen": True}], ids=["all", "frozen"])
def test_moving_a_model_between_backends_does_not_change_training(cupy, frozen):
    stayed = trained(["numpy"] * 3, **frozen)
    moved = trained(["numpy", "cupy", "numpy"], **frozen)
    there = trained(["cupy", "numpy", "cupy"], **frozen)
    for one, two, three in zip(stayed, moved, there, strict=True):
        assert_array_equal(one, two)
        assert_array_equal(one, three)


class Counting(tinynet.Layer):
    """A layer with a non-trainable weight that has a second attribute name."""

    def build(self, input_shape):
        self.also = self.add_weight((), "zeros", trainable=False, name="seen")

    def forward(self, x, training=False):
        self.seen += len(x)
        return x

    def backward(self, gradient):
        return gradient


def test_moving_a_model_moves_all_its_arrays(cupy):
    x, labels = images(96)
    with backend.use("numpy"):
        stack = layers.Flatten(), Counting(), (10, "softmax")
        model = network(*stack, inputs=(28, 28), loss=SPARSE, optimizer="sgd")
        model.fit(x, labels, verbose=0)
    model.to("cupy")
    assert model.layers[1].also is model.layers[1].seen
    model.fit(x, labels, verbose=0)
    assert float(model.layers[1].seen) == 192
    arrays = [*model.weights, model.flat, model.parameters.gradients, *model.parameters.pairs[0]]
    assert {type(array) for array in arrays} == {cupy.ndarray}


def test_layers_built_on_two_backends_are_moved_to_one(cupy):
    there = layers.Dense(3)
    there.build((None, 4))
    with backend.use("numpy"):
        here = layers.Dense(2)
        here.build((None, 3))
        kept = there.get_weights() + here.get_weights()
        model = tinynet.Sequential([tinynet.Input((4,)), there, here])
    assert {type(weight) for weight in model.weights} == {cupy.ndarray}
    agree(kept, model.get_weights())
    model.compile("sgd", "mse")
    model.fit(np.ones((4, 4)), np.ones((4, 2)), verbose=0)


def test_a_copy_computes_where_the_original_does(cupy):
    x, labels = images(96)
    for place, other in (("cupy", "numpy"), ("numpy", "cupy")):
        with backend.use(place):
            model = tutorial()
            model.fit(x, one_hot(labels), verbose=0)
        with backend.use(other):
            for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
                copied.fit(x, one_hot(labels), verbose=0)
                assert {type(w) for w in copied.weights} == {type(w) for w in model.weights}


def test_moving_a_model_to_where_it_is_keeps_its_arrays(cupy):
    model = tutorial()
    flat, kernel = model.flat, model.layers[1].kernel
    model.to("cupy")
    assert model.flat is flat
    assert model.layers[1].kernel is kernel


def test_a_model_cannot_be_moved_while_it_computes(cupy):
    class Copier(Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.copied = copy.deepcopy(self.model)

    class Mover(Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.to("numpy")

    x, labels = images(96)
    model = tutorial()
    with pytest.raises(ValueError, match="to be idle, but it is computing"):
        model.fit(x, one_hot(labels), verbose=0, callbacks=[Mover()])
    model.fit(x, one_hot(labels), verbose=0)
    copier = Copier()
    model.to("numpy").fit(x, one_hot(labels), verbose=0, callbacks=[copier])
    copier.copied.to("cupy").fit(x, one_hot(labels), verbose=0)  # a copy is not computing


def test_a_model_that_shares_layers_is_moved_after_their_owner(cupy):
    x = np.ones((4, 28, 28))
    owner = tutorial()
    own = layers.Dense(2)
    borrower = tinynet.Sequential([tinynet.Input((28, 28)), *owner.layers, own])
    expected = borrower.predict(x, verbose=0)
    owner.to("numpy")
    for call in (borrower, lambda x: borrower.predict(x, verbose=0)):
        with pytest.raises(
            ValueError, match=r"on one device, received dense.* on numpy, .* on cupy"
        ):
            call(x)
    with pytest.raises(ValueError, match="Move that model first, then this one"):
        borrower.to("cupy")
    borrower.to("numpy")
    assert type(own.kernel) is type(own.kernel_gradient) is np.ndarray
    assert_array_equal(borrower.predict(x, verbose=0), expected)
    assert_array_equal(borrower(x), expected)


def test_targets_of_the_wrong_shape_are_refused_on_every_backend(cupy):
    class Anything(Squares):
        def call(self, y_true, y_pred):
            return y_pred.sum(axis=-1)

        def backward(self, y_true, y_pred):
            return y_pred

    for place in ("numpy", "cupy"):
        with backend.use(place):
            compiled = {"loss": Anything(), "metrics": ["categorical_accuracy"]}
            model = network((5, "softmax"), inputs=(4,), optimizer="sgd", **compiled)
            with pytest.raises(ValueError, match="one-hot targets in the shape of the outputs"):
                model.fit(np.ones((8, 4)), np.ones((8, 10)), verbose=0)


def test_set_weights_changes_nothing_if_it_runs_out_of_memory(cupy):
    model = tutorial()
    before, new = model.get_weights(), [w + 1 for w in model.get_weights()]
    model.set_weights([new[0].astype("longdouble"), *new[1:]])
    assert_array_equal(model.get_weights()[0], new[0])
    model.set_weights(before)
    pool = cupy.get_default_memory_pool()
    backend.release_memory()
    pool.set_limit(
        pool.used_bytes() + new[0].nbytes + 1000
    )  # enough for some of the weights, but not for all
    with pytest.raises(MemoryError):
        model.set_weights(new)
    pool.set_limit(0)
    agree(before, model.get_weights())


def test_layers_built_on_two_backends_are_moved_to_one_in_fit(cupy):
    there = layers.Dense(3)
    there.build((None, 4))
    with backend.use("numpy"):
        here = layers.Dense(2)
        here.build((None, 3))
    for moves in (False, True):
        model = tinynet.Sequential([copy.deepcopy(there), copy.deepcopy(here)])
        model.compile("sgd", "mse")
        if moves:
            model.to("numpy")
        model.fit(np.ones((4, 4)), np.ones((4, 2)), verbose=0)
        assert {type(w) for w in model.weights} == {np.ndarray if moves else cupy.ndarray}


def test_an_unbuilt_model_is_placed_when_it_is_built(cupy):
    model = tinynet.Sequential([layers.Dense(2)]).to("numpy")
    model.build((None, 3))
    assert type(model.layers[0].kernel) is cupy.ndarray  # on the backend in use when it was built


def test_a_failed_move_moves_nothing(cupy):
    with backend.use("numpy"):
        model = tutorial()
        x, labels = images(32)
        model.fit(x, one_hot(labels), verbose=0)
    flat, before = model.flat, model.get_weights()
    with pytest.raises(ValueError, match="Expected the name of a backend"):
        model.to("torch")
    with pytest.raises(RuntimeError, match="no GPU number 7"):
        model.to("cupy", device=7)
    pool, room, copies = cupy.get_default_memory_pool(), 0, model.flat.nbytes
    while room < 5 * copies:  # wherever memory runs out, in Adam's state or in the weights
        pool.free_all_blocks()
        pool.set_limit(pool.used_bytes() + room + 1)
        with pytest.raises(MemoryError):
            model.to("cupy")
        assert model.flat is flat
        assert {type(weight) for weight in model.weights} == {np.ndarray}
        room += 40_000
    pool.set_limit(0)
    agree(before, model.get_weights())
    model.fit(x, one_hot(labels), verbose=0)
    owner = tutorial()
    borrower = tinynet.Sequential([tinynet.Input((28, 28)), *owner.layers])
    with pytest.raises(ValueError, match=f"belong to model '{owner.name}'. Move that model first"):
        borrower.to("numpy")


def test_functions_and_optimizers_compute_where_their_arrays_are(cupy):
    device = cupy.asarray(np.array([[1.0, 2.0]], "float32"))
    array = np.array([[1.0, 2.0]], "float32")
    for name in ("numpy", "cupy"):
        with backend.use(name):
            for values, kind in ((device, cupy.ndarray), (array, np.ndarray)):
                for function in ("sigmoid", "tanh", "relu", "softmax", "linear", "log_softmax"):
                    assert type(getattr(tinynet.activations, function)(values)) is kind
                loss = losses.categorical_crossentropy([[0, 1]], values)
                assert isinstance(loss, kind)
                assert type(tinynet.metrics.categorical_accuracy([[0, 1]], values)) is kind
                optimizer, weights = optimizers.Adam(), values.copy()
                optimizer.apply_gradients([(values.copy(), weights)])
                assert type(weights) is kind
                assert look(weights)[0, 0] != 1
            assert type(tinynet.activations.sigmoid([1.0])) is (
                cupy.ndarray if name == "cupy" else np.ndarray
            )


def test_a_device_array_as_data_is_refused_with_the_line_to_write(cupy):
    model = tutorial()
    with pytest.raises(ValueError, match=r"Expected a NumPy array. Write: x = x\.get\(\)"):
        model.fit(cupy.zeros((4, 28, 28)), np.ones((4, 10)), verbose=0)
    with pytest.raises(ValueError, match=r"Write: x = x\.get\(\)"):
        model(cupy.zeros((4, 28, 28)))


def test_weights_may_be_set_from_the_device(cupy):
    model = tutorial()
    model.set_weights([weight.copy() for weight in model.weights])
    with backend.use("numpy"):
        here = tutorial()
        here.set_weights(model.weights)
    agree(here.get_weights(), model.get_weights())


def test_distributions_are_recorded_on_the_gpu_as_well(cupy):
    x, labels = images(64)
    found = []
    for place in ("numpy", "cupy"):
        with backend.use(place):
            tinynet.utils.set_random_seed(6)
            record = tinynet.callbacks.Distributions()
            tutorial().fit(x, one_hot(labels), verbose=0, callbacks=[record])
            found.append((record.weights, record.gradients))
    # The layers' names differ, because they are numbered; the values are equal.
    here, there = ([list(part.values()) for part in both] for both in found)
    assert here == there


@pytest.mark.parametrize("own", [True, False])
def test_layers_without_weights_compute_on_the_backend_in_use(cupy, own):
    x = np.linspace(-1, 1, 12).reshape(3, 4).astype("float32")
    parts = [layers.Activation("tanh"), layers.Dropout(0.5, seed=1)]
    if own:
        calls = [lambda part=part: part(x, training=True) for part in parts]
    else:
        model = tinynet.Sequential([tinynet.Input((4,)), *parts])
        calls = [lambda: model(x, training=True), lambda: model.predict(x, verbose=0)]
    for call in calls:
        results = []
        for place in ("numpy", "cupy", "numpy"):
            parts[1].drawn = 0
            with backend.use(place):
                results.append(call())
        assert_array_equal(results[0], results[1])
        assert_array_equal(results[0], results[2])
