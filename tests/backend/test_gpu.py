"""On a GPU, as far as that shows without one: few launches, no waiting, data sent once; and the
switch between backends. What is counted is counted on the stand-in for CuPy, on the tutorial's
model; and five mistakes are made on purpose, to see each of them found.
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

# Much of this is about bytes as they come, and not about learning from them.
pytestmark = pytest.mark.filterwarnings("ignore:Expected inputs of about")

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
    """What the stand-in counted in each epoch."""

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
    """Launches, waits, copies and float64 launches of the second and the third epoch."""
    ledger = Ledger(cupy)
    arguments = {"verbose": 0, **arguments}
    model = model or tutorial()
    model.fit(x, y, batch_size, epochs=3, callbacks=[ledger], **arguments)
    return ledger.epochs[1:]


# Few launches, no waiting


@pytest.mark.parametrize("kind", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("batch_size", [1, 32, 640])
def test_a_step_takes_few_launches_and_an_epoch_one_wait_and_one_copy(cupy, batch_size, kind):
    x, labels = images(64 if batch_size == 1 else SAMPLES, kind)
    steps = -(-len(x) // batch_size)
    for launches, waits, copies, double in epochs(cupy, batch_size, x, one_hot(labels)):
        # Gathering the samples and reading the sums are once for many steps.
        assert launches <= LAUNCHES * steps + 12
        assert launches / steps <= 60 or steps == 1
        assert waits == 1
        assert copies == [8 * len(x)]  # the order
        assert double <= 4  # the sum of the losses, once


def test_the_figures_are_those_of_the_readme(cupy):
    """Printed with -s: launches a step, waits and copies an epoch."""
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
    assert f"told, a step | {found[0]}; {found[1]} where the targets are class numbers |" in README
    weights = np.ones(len(x))
    (launches, _, _, _), _ = epochs(cupy, 32, x, one_hot(labels), sample_weight=weights)
    assert launches / 20 <= 60


def test_the_data_goes_there_once_as_what_it_is(cupy):
    x, labels = images()
    model = tutorial()
    cupy.counts.reset()
    model.fit(x, one_hot(labels), epochs=3, verbose=0, validation_split=0.25)
    order = [8 * 480] * 3
    assert cupy.counts.copies == [480 * 784, 480 * 40, 160 * 784, 160 * 40, *order]


def test_without_shuffling_nothing_follows(cupy):
    x, labels = images()
    cupy.counts.reset()
    tutorial().fit(x, labels.astype("uint8")[:, None] == np.arange(10), verbose=0, shuffle=False)
    weights = [784 * 100, 100, 100 * 144, 144, 1440, 10]
    assert cupy.counts.copies == [*(4 * n for n in weights), 640 * 784, 640 * 10]


def test_the_classes_are_found_once_a_fit(cupy):
    x, labels = images()
    model = tutorial()
    cupy.counts.reset()
    model.fit(x, one_hot(labels), epochs=3, verbose=0)
    assert cupy.counts.launches["argmax"] == 1 + 3 * 20  # of the targets once, of each output


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


def test_evaluate_and_predict_wait_little(cupy):
    x, labels = images()
    model = tutorial()
    cupy.counts.reset()
    model.evaluate(x, one_hot(labels), verbose=0)
    assert (cupy.counts.waits, len(cupy.counts.copies)) == (1, 2)
    cupy.counts.reset()
    model.predict(x, verbose=0)
    assert (cupy.counts.waits, len(cupy.counts.copies)) == (2, 1)  # 512 and 128 outputs


class Squares(losses.Loss):
    """A loss of one's own, which nothing is fused with."""

    def call(self, y_true, y_pred):
        return ((y_pred - y_true) ** 2).sum(axis=-1)

    def backward(self, y_true, y_pred):
        return 2 * (y_pred - y_true)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("loss", [losses.CategoricalCrossentropy, Squares])
def test_after_a_fit_the_data_is_let_go(cupy, loss, shuffle):
    x = images(4000, "float32")[0][:, :2, :2]  # few inputs, and targets that take more
    wide = np.zeros((4000, 50), "float32")
    stack = layers.Flatten(), (50, "softmax")
    model = network(*stack, inputs=(2, 2), loss=loss(), metrics=["acc"])
    before = cupy.get_default_memory_pool().used_bytes()
    model.fit(x, wide, 32, 1, verbose=0, shuffle=shuffle)
    model.evaluate(x, wide, verbose=0)
    model.predict(x, verbose=0)
    grown = cupy.get_default_memory_pool().used_bytes() - before
    adam = 3 * 4 * model.count_params()
    assert grown <= adam + 2000  # what metrics and loss have summed up


def test_large_data_is_sent_some_at_a_time(cupy, monkeypatch):
    monkeypatch.setattr("tinynet.engine.data.BLOCK_BYTES", 100_000)
    x, labels = images()
    model = tutorial()
    cupy.counts.reset()
    model.fit(x, one_hot(labels), verbose=0, epochs=2)
    *data, first, second = cupy.counts.copies
    assert max(data) <= 100_000
    assert sum(data) == x.nbytes + 4 * 10 * len(x)
    assert first == second == 8 * len(x)


# Data that does not fit


def test_what_does_not_fit_goes_batch_by_batch_and_teaches_the_same():
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


def test_blocks_and_the_whole_give_the_same_batches(cupy, monkeypatch):
    monkeypatch.setattr(
        "tinynet.engine.data.BLOCK_BYTES", 3 * 4 * (3 + 1 + 1)
    )  # one batch of 3 and more
    x = np.arange(30, dtype=">i2").reshape(10, 3)  # bytes in an order that no GPU knows
    order = np.random.default_rng(1).permutation(10)
    for given in (order, None):
        for load in (True, False):
            batches = Batches(x, x[:, 0], x[:, :1].astype("float64"), 3)
            if load:
                batches.load()
            seen = list(batches.run(0, 4, given))
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


def test_wherever_memory_runs_out_in_a_second_fit_all_is_as_before(cupy):
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
def test_out_of_memory_the_sizes_are_told_and_what_to_write(cupy, name):
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
    # A smaller batch is only advised where it makes a difference: without learning, 512 samples
    # go through the layers at once, however small the batch.
    batch, advised = {
        "fit": (128, "Write: batch_size=64 instead of 128; or "),
        "train_on_batch": (640, "Write: 320 samples at a time instead of 640; or "),
        "test_on_batch": (640, "Write: 320 samples at a time instead of 640; or "),
    }.get(name, (512, "Write: tinynet.backend.use("))
    numbers = 784 + 784 + 100 + 144 + 10  # what the layers take and give; Flatten gives as well
    assert f"a batch of {batch} about {2 * 4 * batch * numbers / 1e6:.1f} MB" in said
    assert advised in said
    # And what is advised helps.
    enough = int(re.search(r"memory_limit=([\d_]+)", said)[1])
    with backend.use("cupy", memory_limit=enough):
        METHODS[name](model, x, y)


def test_without_a_limit_others_are_named():
    x, labels = images(kind="float32")
    with standin.installed(standin.make(memory=1_600_000)), backend.use("cupy"):
        model = tutorial()
        with pytest.raises(MemoryError) as error:
            model.fit(x, one_hot(labels), verbose=0)
    said = str(error.value)
    assert "memory_limit" not in said
    assert (
        "before it, tinynet.backend.release_memory() (nvidia-smi shows what holds the rest)" in said
    )
    assert said.endswith('or model.to("numpy"), to compute on the CPU')


@pytest.mark.parametrize("place", ["numpy", "cupy"])
def test_the_host_s_own_error_stays_as_it_is(cupy, monkeypatch, place):
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


def test_nor_is_cupy_s_explained_by_a_model_on_the_host(cupy):
    class Callback(tinynet.callbacks.Callback):
        def on_train_begin(self, logs=None):
            cupy.get_default_memory_pool().set_limit(1)
            cupy.empty((1,), "float32")

    x, labels = images(64)
    with backend.use("numpy"):
        model = tutorial()
    with pytest.raises(standin.OutOfMemoryError):
        model.fit(x, one_hot(labels), verbose=0, callbacks=[Callback()])


# Five mistakes made on purpose


def healthy(cupy):
    """Raise unless a fit is what the tests above say."""
    x, labels = images(320)
    for launches, waits, copies, double in epochs(cupy, 32, x, one_hot(labels)):
        assert launches <= 60 * 10, f"{launches / 10} launches a step"
        assert waits == 1, f"{waits} waits an epoch"
        assert len(copies) == 1, f"{len(copies)} copies an epoch"
        assert double <= 4, f"{double / 10} launches a step in float64"


def mutate(monkeypatch, owner, name, old, new):
    """Put a changed source in the place of a function or method."""
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
        Batches, "run",
        "order = backend.xp.asarray(order)", "pass",
        TypeError, "an index from the host",
    ),
    "a copy in each step": (
        losses.CategoricalCrossentropy, "targets",
        "if s else y", "if s else backend.xp.asarray(backend.host.ones(10, 'f4')) * y",
        AssertionError, "copies an epoch",
    ),
}  # fmt: skip


def test_without_a_mistake_all_is_well(cupy):
    healthy(cupy)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_made_on_purpose_is_found(cupy, monkeypatch, name):
    owner, function, old, new, error, words = MISTAKES[name]
    mutate(monkeypatch, owner, function, old, new)
    with pytest.raises(error, match=words):
        healthy(cupy)


# The switch


def test_use_switches_and_a_block_switches_back(cupy):
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
def test_a_switch_that_makes_no_sense_is_refused_and_changes_nothing(cupy, arguments, words):
    with backend.use("numpy"):
        with pytest.raises(ValueError, match=words):
            backend.use(*arguments)
        assert backend.backend() == "numpy"


def test_a_gpu_that_is_not_there_is_refused_with_those_that_are(cupy):
    with pytest.raises(RuntimeError, match=r'no GPU number 3: there is 1.*use\("cupy", device=0\)'):
        backend.use("cupy", device=3)


def test_auto_says_what_it_chose_and_why(cupy, capsys):
    with backend.use("auto"):
        assert backend.backend() == "cupy"
    assert capsys.readouterr().err == "tinynet computes with cupy: there is a GPU, and it works\n"
    with standin.installed(standin.make(driver=0)), backend.use("auto"):
        assert backend.backend() == "numpy"
        assert "tinynet computes with numpy: there is no NVIDIA driver" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wish", "chosen"), [("auto", "cupy"), ("cupy", "cupy"), ("numpy", "numpy"), ("", "numpy")]
)
def test_the_variable_decides_at_the_first_computation(cupy, monkeypatch, capsys, wish, chosen):
    monkeypatch.setenv("TINYNET_BACKEND", wish)
    backend._back((None, None))  # as if nothing had been computed yet
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
def test_what_cannot_run_raises_at_the_first_computation_and_not_before(wish, error):
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


def test_devices_are_listed_with_what_one_wants_to_know():
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
            assert cupy.pools[0].total_bytes() < 1000  # what trying the GPU out took
            assert cupy.machine.device == 0
            for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
                assert len({weight.device.id for weight in other.weights}) == 1
                other.fit(x, one_hot(labels), verbose=0)
            cupy.counts.reset()
            moved = [w.device.id for w in model.to("cupy", device=0).weights]
            assert moved == [0] * 6
            assert (cupy.counts.waits, cupy.counts.copies) == (0, [])  # not by way of the host
            model.fit(x, one_hot(labels), verbose=0)
        with backend.use("numpy"):
            there = copy.deepcopy(model).to("cupy", device=1)
            there.fit(x, one_hot(labels), verbose=0)
            with pytest.raises(ValueError, match="finite"):
                there.fit(np.full(x.shape, np.nan), one_hot(labels), verbose=0)
            assert cupy.machine.device == 0  # where others compute with CuPy


def test_a_limit_holds_in_its_block_only(cupy):
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


def test_a_limit_belongs_to_its_gpu():
    with standin.installed(standin.make(devices=2)) as cupy, backend.use("cupy"):
        with backend.use("cupy", device=1, memory_limit=10_000):
            backend.use("cupy", device=0)
            assert [pool.get_limit() for pool in cupy.pools] == [0, 10_000]
        assert [pool.get_limit() for pool in cupy.pools] == [0, 0]
        assert cupy.machine.device == 0


def test_memory_is_given_back_once_nobody_needs_it(cupy):
    class Circle:
        pass

    circle = Circle()
    circle.self, circle.array = circle, cupy.empty((1000,), "float32")
    held = cupy.get_default_memory_pool().total_bytes()
    del circle
    assert backend.release_memory() == (held, held - 4000)
    with backend.use("numpy"):  # CuPy's pool is there whatever is in use
        array = cupy.empty((1000,), "float32")
        del array
        assert backend.release_memory() == (held, held - 4000)
    assert cupy.pinned.freed == 2  # the host's half of it


def test_waiting_for_the_gpu_is_one_wait(cupy):
    backend.synchronize()
    assert cupy.counts.waits == 1
    with backend.use("numpy"):
        backend.synchronize()
    assert cupy.counts.waits == 1


# Where a model is


def test_a_model_computes_where_it_was_built_whatever_is_in_use(cupy):
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
    """Weights and the optimizer's state after an epoch in each of `places`, moving between."""
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
def test_a_model_that_moves_goes_on_as_if_it_had_stayed(cupy, frozen):
    stayed = trained(["numpy"] * 3, **frozen)
    moved = trained(["numpy", "cupy", "numpy"], **frozen)
    there = trained(["cupy", "numpy", "cupy"], **frozen)
    for one, two, three in zip(stayed, moved, there, strict=True):
        assert_array_equal(one, two)
        assert_array_equal(one, three)


class Counting(tinynet.Layer):
    """A layer with a weight that does not train, under a name of its own as well."""

    def build(self, input_shape):
        self.also = self.add_weight((), "zeros", trainable=False, name="seen")

    def forward(self, x, training=False):
        self.seen += len(x)
        return x

    def backward(self, gradient):
        return gradient


def test_all_of_a_model_moves(cupy):
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


def test_layers_from_two_places_end_up_in_one(cupy):
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


def test_a_model_that_is_where_it_should_go_stays_as_it_is(cupy):
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
    with pytest.raises(ValueError, match="at rest, but it is computing"):
        model.fit(x, one_hot(labels), verbose=0, callbacks=[Mover()])
    model.fit(x, one_hot(labels), verbose=0)
    copier = Copier()
    model.to("numpy").fit(x, one_hot(labels), verbose=0, callbacks=[copier])
    copier.copied.to("cupy").fit(x, one_hot(labels), verbose=0)  # a copy is at rest


def test_a_borrower_is_moved_after_the_model_that_lends(cupy):
    x = np.ones((4, 28, 28))
    owner = tutorial()
    own = layers.Dense(2)
    borrower = tinynet.Sequential([tinynet.Input((28, 28)), *owner.layers, own])
    expected = borrower.predict(x, verbose=0)
    owner.to("numpy")
    for call in (borrower, lambda x: borrower.predict(x, verbose=0)):
        with pytest.raises(
            ValueError, match=r"in one place, received dense.* in numpy, .* in cupy"
        ):
            call(x)
    with pytest.raises(ValueError, match="Move that one first, then this one"):
        borrower.to("cupy")
    borrower.to("numpy")
    assert type(own.kernel) is type(own.kernel_gradient) is np.ndarray
    assert_array_equal(borrower.predict(x, verbose=0), expected)
    assert_array_equal(borrower(x), expected)


def test_targets_that_fit_no_output_are_refused_there_too(cupy):
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


def test_weights_that_cannot_be_sent_change_nothing(cupy):
    model = tutorial()
    before, new = model.get_weights(), [w + 1 for w in model.get_weights()]
    model.set_weights([new[0].astype("longdouble"), *new[1:]])
    assert_array_equal(model.get_weights()[0], new[0])
    model.set_weights(before)
    pool = cupy.get_default_memory_pool()
    backend.release_memory()
    pool.set_limit(pool.used_bytes() + new[0].nbytes + 1000)  # room for some, not for all
    with pytest.raises(MemoryError):
        model.set_weights(new)
    pool.set_limit(0)
    agree(before, model.get_weights())


def test_built_layers_from_two_places_are_gathered_when_the_model_is_built(cupy):
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


def test_a_model_that_is_not_built_has_no_place_yet(cupy):
    model = tinynet.Sequential([layers.Dense(2)]).to("numpy")
    model.build((None, 3))
    assert type(model.layers[0].kernel) is cupy.ndarray  # where it was built


def test_a_move_that_is_impossible_moves_nothing(cupy):
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
    while room < 5 * copies:  # wherever it ends, with Adam's or with the weights' arrays
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
    with pytest.raises(ValueError, match=f"live in model '{owner.name}'. Move that one first"):
        borrower.to("numpy")


def test_functions_and_optimizers_alone_compute_where_their_arrays_are(cupy):
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


def test_a_device_array_is_refused_as_data_with_what_to_write(cupy):
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


def test_distributions_are_recorded_from_the_gpu_as_well(cupy):
    x, labels = images(64)
    found = []
    for place in ("numpy", "cupy"):
        with backend.use(place):
            tinynet.utils.set_random_seed(6)
            record = tinynet.callbacks.Distributions()
            tutorial().fit(x, one_hot(labels), verbose=0, callbacks=[record])
            found.append((record.weights, record.gradients))
    # The layers' names count on; their numbers do not differ.
    here, there = ([list(part.values()) for part in both] for both in found)
    assert here == there


@pytest.mark.parametrize("own", [True, False])
def test_layers_without_weights_go_where_they_are_used(cupy, own):
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
