"""Data as people have them: tables, tensors, and batches that come one at a time, in every form.

The reference are plain arrays: the same samples in the same order give the same bits. Keras does
the same with what it accepts; where it differs, the test says so.
"""

import collections
import itertools
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from arrays import assert_array_equal
from networks import SPARSE, Scale, network
from oracle import agree, pair, refused

import tinynet
from tinynet.callbacks import BackupAndRestore, EarlyStopping, LambdaCallback
from tinynet.engine import data, evaluation, streams
from tinynet.utils import PyDataset

pytestmark = pytest.mark.computes

SIZE = 8
RNG = np.random.default_rng(4)
X = RNG.normal(size=(3 * SIZE + 3, 5)).astype("float32")
Y = RNG.integers(3, size=len(X))
WEIGHTS = RNG.random(len(X)).astype("float32")
BATCHES = [(X[n : n + SIZE], Y[n : n + SIZE]) for n in range(0, len(X), SIZE)]
WEIGHTED = [(*batch, WEIGHTS[n * SIZE :][:SIZE]) for n, batch in enumerate(BATCHES)]


def model_of(library=tinynet, **compiled):
    tinynet.utils.set_random_seed(5)
    given = {"loss": SPARSE, "metrics": ["acc"], "library": library} | compiled
    return network((6, "tanh"), (3, "softmax"), inputs=(5,), **given)


def fitted(x, y=None, **given):
    """Return a model that was trained, its history, and the last weights."""
    model = model_of()
    history = model.fit(x, y, **{"verbose": 0, "shuffle": False, "epochs": 3} | given)
    return model, history.history, model.get_weights()


class Numbered:
    """Batches by number, with a length, as in a list; not a class of tinynet's."""

    def __init__(self, batches):
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, number):
        return self.batches[range(len(self))[number]]


class Dataset(PyDataset):
    def __init__(self, batches, **given):
        super().__init__(**given)
        self.batches = batches

    __len__, __getitem__ = Numbered.__len__, Numbered.__getitem__


class Iterable:
    """Batches that can be read again and again, whose number is not known: as in `tf.data`."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


class Loader(Iterable):
    """The same with a number, and with lists of tensors as batches: as in PyTorch."""

    def __init__(self, batches):
        super().__init__([list(map(Tensor, batch)) for batch in batches])

    def __len__(self):
        return len(self.batches)


class Unsized(Loader):
    def __len__(self):
        raise TypeError("the dataset has no length")


class Tensor:
    """An array of another library, which NumPy can read."""

    def __init__(self, values):
        self.values, self.shape, self.dtype = values, values.shape, values.dtype

    def __array__(self, dtype=None, copy=None):
        return self.values if dtype is None else self.values.astype(dtype)


class Table:
    """An array with a method `to_numpy` alone."""

    def __init__(self, values):
        self.values = values

    def to_numpy(self):
        return self.values


def generator(batches, epochs=1):
    for _ in range(epochs):
        yield from batches


# How batches may come, for three epochs. The last two are read only once.
WAYS = {
    "by number": Numbered,
    "PyDataset": Dataset,
    "PyDataset with threads": lambda batches: Dataset(batches, workers=3, max_queue_size=2),
    "an iterable": Iterable,
    "an iterable with a length": Loader,
    "an iterable whose length is an error": Unsized,
    "as lists": lambda batches: Numbered([list(batch) for batch in batches]),
    "a generator": lambda batches: generator(batches, 3),
    "an iterator": lambda batches: itertools.chain(*[batches] * 3),
}


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("way", WAYS)
def test_batches_train_as_arrays_do(way, weighted):
    batches = WEIGHTED if weighted else BATCHES
    once = {"steps_per_epoch": len(batches)} if way in ("a generator", "an iterator") else {}
    _, history, weights = fitted(WAYS[way](batches), **once)
    given = {"sample_weight": WEIGHTS} if weighted else {}
    _, expected, expected_weights = fitted(X, Y, batch_size=SIZE, **given)
    assert history == expected
    assert_array_equal(np.concatenate([w.ravel() for w in weights]),
                       np.concatenate([w.ravel() for w in expected_weights]))  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_batches_are_evaluated_predicted_and_validated_as_arrays(way):
    make, model = WAYS[way], model_of()
    several = {"validation_steps": 4} if way in ("a generator", "an iterator") else {}
    given = {"batch_size": SIZE, "epochs": 2, "verbose": 0, "shuffle": False}
    history = model.fit(X, Y, validation_data=make(WEIGHTED), **several, **given).history
    ours = model.evaluate(make(BATCHES), verbose=0, steps=4)
    outputs = model.predict(make(BATCHES), verbose=0, steps=4)
    assert outputs.dtype == "float32"
    alone = model.predict(make([(x,) for x, _ in BATCHES]), verbose=0, steps=4)
    agree(model.evaluate(X, Y, verbose=0), ours, rtol=1e-6)
    for each in (outputs, alone):
        np.testing.assert_allclose(each, model.predict(X, verbose=0), rtol=1e-6)
    twin = model_of()
    expected = twin.fit(X, Y, validation_data=(X, Y, WEIGHTS), **given).history
    agree(expected, history, rtol=1e-6)


TABLES = {
    "to_numpy": Table,
    "__array__": Tensor,
    "a list of one": lambda a: [a],
    "a tuple of one": lambda a: (Tensor(a),),
    "by columns": lambda a: Table(np.asfortranarray(a)),
}


@pytest.mark.parametrize("form", TABLES)
def test_what_can_be_converted_to_an_array_is_taken_everywhere(form):
    wrap = TABLES[form]
    model, history, _ = fitted(wrap(X), wrap(Y), batch_size=SIZE, sample_weight=wrap(WEIGHTS),
                               validation_data=(wrap(X), wrap(Y)))  # fmt: skip
    plain = {"batch_size": SIZE, "sample_weight": WEIGHTS, "validation_data": (X, Y)}
    assert history == fitted(X, Y, **plain)[1]
    assert_array_equal(model.predict(wrap(X), verbose=0), model.predict(X, verbose=0))
    assert model.evaluate(wrap(X), wrap(Y), verbose=0) == model.evaluate(X, Y, verbose=0)
    assert model.test_on_batch(wrap(X), wrap(Y)) == model.test_on_batch(X, Y)
    assert_array_equal(model.predict_on_batch(wrap(X)), model.predict_on_batch(X))
    one, other = model_of(), model_of()
    assert one.train_on_batch(wrap(X), wrap(Y)) == other.train_on_batch(X, Y)


def test_a_table_by_columns_is_read_by_rows(monkeypatch):
    monkeypatch.setattr(data, "SMALL_BYTES", 0)  # so that the order of all data counts
    with pytest.warns(UserWarning, match="Expected x row by row"):
        model_of().predict(np.asfortranarray(X), verbose=0)
    model_of().predict(Table(np.asfortranarray(X)), verbose=0)  # without a warning


@pytest.mark.host
def test_tables_of_pandas_are_taken_as_keras_takes_them(keras):
    import pandas  # beside Keras in the extra `test`

    table, column = pandas.DataFrame(X, columns=list("abcde")), pandas.Series(Y)

    def program(library, model):
        history = model.fit(table, column, sample_weight=pandas.Series(WEIGHTS), shuffle=False,
                            validation_data=(table[:9], column[:9]), verbose=0)  # fmt: skip
        line = library.Sequential([library.layers.Dense(1)])
        line.compile("sgd", "mse")
        line.fit(table["a"], table["b"], verbose=0)  # a column is (n, 1)
        return [history.history, model.predict(table, verbose=0), line.get_weights()[0].shape]

    theirs, ours = pair(keras, model_of)
    agree(program(keras, theirs), program(tinynet, ours), rtol=1e-5, atol=1e-6)


# Compared with Keras


def py_dataset(library, batches, log=None):
    """Return a PyDataset of the library, which logs what is asked of it."""
    log = [] if log is None else log

    class Logged(library.utils.PyDataset):
        def __len__(self):
            return len(batches)

        def __getitem__(self, number):
            log.append(number)
            return batches[number]

        def on_epoch_begin(self):
            log.append("begin")

        def on_epoch_end(self):
            log.append("end")

    return Logged()


@pytest.mark.host
@pytest.mark.filterwarnings("ignore:Your input ran out of data")  # so says Keras of all generators
def test_batches_give_keras_s_numbers(keras):
    def program(library, model):
        log, fit = [], {"verbose": 0, "shuffle": False}
        data = py_dataset(library, BATCHES)
        log += [model.fit(data, epochs=2, validation_data=data, **fit)]
        log += [model.fit(data, class_weight={0: 2.0, 1: 0.5}, **fit)]
        log += [model.fit(py_dataset(library, WEIGHTED), **fit)]
        log += [model.fit(generator(WEIGHTED, 5), epochs=3, steps_per_epoch=5, **fit)]
        log += [model.fit(generator(BATCHES, 2), **fit).history]
        log += [model.evaluate(generator(WEIGHTED, 2), verbose=0)]
        log += [model.evaluate(data, steps=2, verbose=0), model.predict(data, verbose=0)]
        log += [model.predict(generator(BATCHES, 9), steps=6, verbose=0)]
        return log

    theirs, ours = pair(keras, model_of)
    agree(program(keras, theirs), program(tinynet, ours), rtol=2e-5, atol=1e-6)


@pytest.mark.host
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_a_dataset_is_asked_as_in_keras(keras):
    """Keras looks at batch 0 first, in an epoch of its own, if the model was never trained.

    tinynet does so always, but does not end that epoch, where a dataset may shuffle, in `predict`.
    """

    def program(library, model):
        for method in (model.fit, model.fit, model.evaluate, model.predict):
            given = {"epochs": 2, "shuffle": False} if method == model.fit else {}
            log = []
            method(py_dataset(library, BATCHES, log), verbose=0, **given)
            yield log
        log = []
        given = {"epochs": 3, "steps_per_epoch": 3, "shuffle": False, "verbose": 0}
        model.fit(py_dataset(library, BATCHES, log), **given)
        yield log

    theirs, ours = (program(library, model) for library, model in zip(
        (keras, tinynet), pair(keras, model_of), strict=True))  # fmt: skip
    first = ["begin", 0]
    assert next(ours) == next(theirs)
    for number, (asked, log) in enumerate(zip(theirs, ours, strict=True)):
        assert log == first + asked, number


def test_a_dataset_may_be_made_ready_when_an_epoch_begins():
    class Late(Dataset):
        def on_epoch_begin(self):
            self.batches = BATCHES

    for call in ("fit", "evaluate", "predict"):
        getattr(model_of(), call)(Late(BATCHES[:0] or [None] * 4), verbose=0)


@pytest.mark.host
def test_steps_set_the_size_of_the_batches_as_in_keras(keras):
    def program(library, model):
        sizes = []
        many = library.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: sizes.append(batch)
        )
        given = {"verbose": 0, "shuffle": False}
        log = [model.fit(X, Y, steps_per_epoch=4, epochs=2, callbacks=[many], **given)]
        log += [model.fit(X, Y, steps_per_epoch=3, validation_split=0.5, **given)]
        log += [model.fit(X, Y, validation_data=(X, Y), validation_steps=2, **given)]
        log += [model.evaluate(X, Y, steps=5, verbose=0), sizes]
        return [*log, model.predict(X, steps=2, verbose=0)]

    theirs, ours = pair(keras, model_of)
    agree(program(keras, theirs), program(tinynet, ours), rtol=2e-5, atol=1e-6)


REFUSED_AS_IN_KERAS = {
    "targets beside a generator": lambda m: m.fit(generator(BATCHES), Y, shuffle=False),
    "a list of rows": lambda m: m.fit(X.tolist(), Y),
    "targets in a list": lambda m: m.fit(X, Y.tolist()),
    "an empty generator": lambda m: m.fit(generator([]), shuffle=False),
    "a split of a generator": lambda m: m.fit(generator(BATCHES), validation_split=0.5),
}


@pytest.mark.host
@pytest.mark.parametrize("case", REFUSED_AS_IN_KERAS)
def test_what_keras_refuses_is_refused(keras, case):
    theirs, ours = refused(keras, lambda library: REFUSED_AS_IN_KERAS[case](model_of(library)))
    if "beside" in case:
        assert ours.startswith(theirs)


# Passes and epochs


def counted(model, source, **given):
    """Return the number of steps of each epoch, and the warnings about missing data."""
    steps = [0]
    count = LambdaCallback(
        on_epoch_begin=lambda *_: steps.append(0),
        on_train_batch_end=lambda *_: steps.append(steps.pop() + 1),
    )
    epochs = model.fit(source, verbose=0, callbacks=[count], **given).epoch
    return steps[1:], epochs


@pytest.mark.parametrize("way", ["PyDataset", "an iterable", "an iterable with a length"])
def test_short_epochs_continue_in_the_pass(way):
    """As for arrays; a pass that ends within an epoch ends it, with a warning."""
    with pytest.warns(UserWarning, match=r"ran out of data after 1 of 3 steps: a pass over the"):
        steps, _ = counted(model_of(), WAYS[way](BATCHES), epochs=4, steps_per_epoch=3)
    assert steps == [3, 1, 3, 1]
    steps, _ = counted(model_of(), WAYS[way](BATCHES), epochs=4, steps_per_epoch=2)
    assert steps == [2, 2, 2, 2]


def test_a_generator_that_ends_ends_the_training_with_a_warning():
    model = model_of()
    words = r"ran out of data after (1 of 4 steps|3 of 9 epochs): a generator is read only once"
    with pytest.warns(UserWarning, match=words) as caught:
        steps, epochs = counted(model, generator(BATCHES[:3], 3), epochs=9, steps_per_epoch=4)
    assert (steps, epochs, len(caught)) == ([4, 4, 1], [0, 1, 2], 2)
    assert "tinynet.utils.PyDataset" in str(caught[0].message)


def test_a_generator_that_ends_with_the_last_epoch_ends_without_a_warning():
    steps, epochs = counted(model_of(), generator(BATCHES, 2), epochs=2, steps_per_epoch=4)
    assert (steps, epochs) == ([4, 4], [0, 1])
    left = generator(BATCHES, 2)
    counted(model_of(), left, steps_per_epoch=5)
    assert len(list(left)) == 3  # it is read as far as it is used, and no further


def test_a_dataset_without_an_end():
    class Endless(PyDataset):
        num_batches = None

        def __getitem__(self, number):
            return BATCHES[number % len(BATCHES)]

    steps, _ = counted(model_of(), Endless(), epochs=2, steps_per_epoch=6)
    assert steps == [6, 6]
    history = fitted(Endless(), steps_per_epoch=4)[1]
    assert history == fitted(X, Y, batch_size=SIZE)[1]
    assert model_of().predict(Endless(), steps=9, verbose=0).shape == (
        len(X) * 2 + SIZE,
        3,
    )


def test_batches_by_number_are_shuffled_and_others_keep_their_order():
    for way, make in WAYS.items():
        seen = []
        source = make([*BATCHES] * 5)
        model = model_of()
        model.on_backward = lambda layer, gradient: None  # ordinary steps
        step = model.forward

        def forward(x, training=False, step=step, seen=seen):
            seen.append(float(x[0, 0]))
            return step(x, training)

        model.forward = forward
        model.fit(source, steps_per_epoch=20, verbose=0)
        given = [float(x[0, 0]) for x, _ in BATCHES] * 5
        shuffled = way.startswith("PyDataset") or way in ("by number", "as lists")
        assert (seen != given) == shuffled, way
        assert sorted(seen) == sorted(given)


def test_progress_shows_how_many_steps_there_are_once_it_is_known(capsys):
    model_of().fit(Iterable(BATCHES), epochs=2, verbose=2)
    model_of().evaluate(Iterable(BATCHES), verbose=2)
    model_of().predict(Iterable(BATCHES), verbose=2)
    lines = [line for line in capsys.readouterr().out.splitlines() if "/step" in line]
    assert [line.split(" - ")[0] for line in lines] == ["4/4"] * 4


# Errors


@pytest.mark.parametrize(
    ("argument", "value"), [("y", Y), ("sample_weight", WEIGHTS), ("validation_split", 0.25)]
)
def test_arguments_of_arrays_are_refused_beside_batches(argument, value):
    source = generator(BATCHES)
    with pytest.raises(ValueError, match=rf"`{argument}` should not be passed.*Leave {argument}"):
        model_of().fit(source, **{argument: value})
    assert len(list(source)) == len(BATCHES)  # nothing of it was read
    if argument != "validation_split":
        with pytest.raises(ValueError, match=f"`{argument}` should not be passed"):
            model_of().evaluate(source, **{argument: value})


def test_a_batch_size_beside_batches_has_no_effect_and_a_warning():
    for call, given in (
        (lambda model: model.fit(Dataset(BATCHES), batch_size=4, verbose=0), "batch_size"),
        (lambda model: model.evaluate(Dataset(BATCHES), batch_size=4, verbose=0), "batch_size"),
        (lambda model: model.predict(Dataset(BATCHES), batch_size=4, verbose=0), "batch_size"),
        (
            lambda model: model.fit(
                X, Y, validation_data=Dataset(BATCHES), validation_batch_size=4, verbose=0
            ),
            "batch_size",
        ),
    ):
        with pytest.warns(UserWarning, match=rf"Expected no {given} for a Dataset, received: 4"):
            call(model_of())


BAD = {
    "a dictionary": (
        {"image": X, "label": Y},
        r"data.map\(lambda batch: \(batch\['image'\], batch\['l",
    ),
    "too many parts": ((X, Y, WEIGHTS, Y), r"Expected each batch to be \(x, y\)"),
    "a number": (3, "yield x, y"),
    "None": (None, "yield x, y"),
    "no targets": ((X,), "Expected targets y"),
    "other lengths": ((X, Y[:3]), "Data cardinality is ambiguous"),
    "a single sample": ((X[0], Y[0]), r"single samples, the first of shape \(5,\). Write: data.b"),
    "another width": ((X[:, :3], Y), "expects input of shape"),
    "text": ((X, Y.astype(str)), r"to hold numbers.*np.unique\(y, return_inverse=True\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_batch_that_does_not_fit_is_refused_wherever_it_comes(case):
    batch, words = BAD[case]
    model = model_of()
    before = model.get_weights()
    with pytest.raises(ValueError, match=words):
        model.fit(iter([batch]), verbose=0)
    assert model.optimizer.iterations == 0
    for now, then in zip(model.get_weights(), before, strict=True):
        assert_array_equal(now, then)
    with pytest.raises(ValueError, match=words):
        model.fit(iter([*BATCHES[:2], batch]), verbose=0)
    assert model.optimizer.iterations == 2  # the work is kept
    assert model.predict(X, verbose=0).shape == (len(X), 3)


def test_an_error_in_a_generator_keeps_the_work():
    def fails():
        yield from BATCHES
        yield from BATCHES[:2]
        raise OSError("the disk is gone")

    model, twin = model_of(), model_of()
    with pytest.raises(OSError, match="the disk is gone"):
        model.fit(fails(), epochs=2, steps_per_epoch=4, verbose=0)
    assert model.history.epoch == [0]
    for batch in [*BATCHES, *BATCHES[:2]]:
        twin.train_on_batch(*batch)
    for one, other in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_a_loss_that_is_not_finite_names_the_batch_s_sample():
    spoilt = X[:SIZE].copy()
    spoilt[3] = np.nan
    with pytest.raises(ValueError, match="x holds NaN or infinity, first in sample 3"):
        model_of().fit(iter([BATCHES[0], (spoilt, Y[:SIZE])]), verbose=0)


@pytest.mark.host
def test_a_nan_in_a_batch_is_found_in_an_evaluation():
    spoilt = [(np.where(np.arange(SIZE)[:, None] == 2, np.nan, X[:SIZE]), Y[:SIZE]), *BATCHES]
    for call in (
        lambda model: model.evaluate(Dataset(spoilt), verbose=0),
        lambda model: model.fit(X, Y, validation_data=Dataset(spoilt), verbose=0),
    ):
        with pytest.raises(ValueError, match="x holds NaN or infinity, first in sample 2"):
            call(model_of())
    model = model_of()
    model.layers[-1].kernel[...] = np.nan
    with pytest.raises(ValueError, match="The last batch is finite; an earlier one may not be, or"):
        model.evaluate(Dataset(BATCHES), verbose=0)


def test_validation_by_a_generator_that_has_ended_is_left_out_with_a_warning():
    words = "ran out of data after 1 of 2 validations: a generator is read only once"
    with pytest.warns(UserWarning, match=words):
        history = model_of().fit(X, Y, validation_data=generator(BATCHES), epochs=2, verbose=0)
    assert (len(history.history["val_loss"]), len(history.history["loss"])) == (1, 2)


def test_labels_without_an_output_are_told_once():
    wrong = [(x, y + n) for n, (x, y) in enumerate(BATCHES)]
    wrong[0] = (X[:SIZE], np.full(SIZE, 7))
    with pytest.warns(UserWarning, match="Expected labels from 0 to 2") as caught:
        model_of().fit(Dataset(wrong), verbose=0)
    assert len(caught) == 1


def test_what_is_no_source_of_batches_is_refused_in_words():
    sparse = type("csr_matrix", (), {"toarray": lambda self: X, "__getitem__": None})()
    for x, words in [
        ({"input": X}, r"Write: x = x\['input'\]"),
        (sparse, r"Write: x = x.toarray\(\)"),
        ([X, X], "a model has one input"),
        ((X, Y), r"model.fit\(x, y\)"),
        ("file.csv", "Unrecognized data type"),
        (3, "Unrecognized data type"),
        (memoryview(X), "Unrecognized data type"),
        (collections.UserDict(x=X), r"Write: x = x\['x'\]"),
        (generator, r"Write: x = x\(\)"),
        (Dataset, r"Write: x = x\(\)"),
        (type("Old", (), {"__getitem__": lambda self, n: BATCHES[n]})(), "Unrecognized data type"),
    ]:
        with pytest.raises(ValueError, match=words):
            model_of().fit(x, Y)
    with pytest.raises(ValueError, match="for x, … in batches: …, as a method for one batch"):
        model_of().train_on_batch(generator(BATCHES), Y)
    tensor = type("Tensor", (Tensor,), {"detach": 0, "__array__": lambda *_, **__: 1 / "a"})(X)
    with pytest.raises(ValueError, match=r"x = x.detach\(\)"):
        model_of().predict(tensor)


# PyDataset


@pytest.mark.host
def test_workers_make_batches_in_their_order_ahead_of_the_steps():
    made, threads, ahead = [], set(), []

    class Slow(Dataset):
        def __getitem__(self, number):
            threads.add(threading.get_ident())
            made.append(number)
            return super().__getitem__(number)

    def forward(x, training=False):
        ahead.append(len(made))
        return step(x, training)

    data = Slow([*BATCHES] * 5, workers=2, max_queue_size=3)
    model = model_of()
    model.on_backward = lambda layer, gradient: None
    step, model.forward = model.forward, forward
    model.fit(data, verbose=0, shuffle=False)
    assert sorted(made) == sorted([0, *range(20)])
    assert max(n - done for done, n in enumerate(ahead)) <= 1 + 3 + 1
    assert threading.get_ident() in threads  # the first look
    assert len(threads) <= 3
    count = threading.active_count()
    bad = type("Bad", (Slow,), {"__getitem__": lambda self, n: BATCHES[n % 4 // (n != 5)]})
    bad = bad([0] * 9, workers=2)
    with pytest.raises(ZeroDivisionError):
        model.predict(bad, verbose=0)
    assert threading.active_count() == count


@pytest.mark.host
def test_a_py_dataset_of_keras_s_interface():
    assert tinynet.utils.Sequence is PyDataset
    data = Dataset(BATCHES, workers=2, max_queue_size=5)
    assert (data.workers, data.max_queue_size, data.use_multiprocessing) == (2, 5, False)
    assert (data.num_batches, len(list(data))) == (4, 4)
    no_init = type("NoInit", (PyDataset,), {"__len__": lambda self: 1, "__getitem__": lambda s, n:
                   BATCHES[n], "__init__": lambda self: None})()  # fmt: skip
    assert model_of().predict(no_init, verbose=0).shape == (SIZE, 3)
    with pytest.raises(
        ValueError, match=r"Expected workers to be .*received: -1. Write: workers=1"
    ):
        PyDataset(workers=-1)
    with pytest.warns(
        UserWarning, match="use_multiprocessing to be False.*Threads make the batche"
    ):
        PyDataset(use_multiprocessing=True)
    for workers in (0, None):
        data.workers = workers
        assert model_of().predict(data, verbose=0).shape == (len(X), 3)
    with pytest.raises(NotImplementedError, match=r"def __getitem__\(self, index\)"):
        PyDataset()[0]
    with pytest.raises(NotImplementedError, match=r"def __len__\(self\)"):
        model_of().fit(PyDataset())


# With the rest of the library


@pytest.mark.host
@pytest.mark.parametrize("call", ["fit", "evaluate", "predict", "validate"])
def test_batches_that_other_threads_compute_are_awaited_without_a_deadlock(call):
    features = model_of()

    class Features(Dataset):
        def __getitem__(self, number):
            features.predict(X, verbose=0)
            return super().__getitem__(number)

    def run():
        model, source = model_of(), Features(BATCHES, workers=2)
        if call == "validate":
            model.fit(X, Y, validation_data=source, verbose=0)
        else:
            getattr(model, call)(source, verbose=0)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()


@pytest.mark.host
def test_other_threads_have_their_turn_while_a_batch_is_awaited():
    model, waits, goes_on = model_of(), threading.Event(), threading.Event()

    def slow():
        yield BATCHES[0]
        waits.set()
        assert goes_on.wait(30)
        yield BATCHES[1]

    results = []
    thread = threading.Thread(target=lambda: results.append(model.predict(slow(), verbose=0)))
    thread.start()
    assert waits.wait(30)
    assert model.predict(X, verbose=0).shape == (len(X), 3)
    model.fit(X, Y, verbose=0)
    goes_on.set()
    thread.join(30)
    assert len(results[0]) == 2 * SIZE


@pytest.mark.host
@pytest.mark.parametrize("first", [True, False], ids=["of an epoch", "in an epoch"])
def test_ctrl_c_ends_the_wait_for_a_batch_at_once(first):
    goes_on = []

    def waits():
        yield from BATCHES[: 4 if first else 2]
        signal.raise_signal(signal.SIGINT)
        goes_on.append(True)
        yield from BATCHES

    model = model_of()
    given = {"steps_per_epoch": 4} if first else {}
    with pytest.raises(KeyboardInterrupt, match=r"Stopped in epoch . of 2, after step"):
        model.fit(waits(), epochs=2, verbose=0, **given)
    assert model.optimizer.iterations == (4 if first else 2)
    assert not goes_on


def test_training_from_batches_of_any_size_is_resumed(tmp_path):
    sizes = itertools.count(3)

    def batches():
        while True:
            size = 3 + next(sizes) % 5
            yield X[:size], Y[:size]

    def train(fail):
        def end(batch, logs):
            if batch == 3 and fail:
                raise RuntimeError

        callbacks = [BackupAndRestore(tmp_path / "backup", save_freq=1),
                     LambdaCallback(on_train_batch_end=end)]  # fmt: skip
        return model_of().fit(
            batches(), steps_per_epoch=5, epochs=2, callbacks=callbacks, verbose=0
        )

    with pytest.raises(RuntimeError):
        train(True)
    assert train(False).epoch == [0, 1]


def test_training_from_batches_is_resumed_where_it_ended(tmp_path):
    """In an epoch or at its end, with a dataset that is shuffled, an iterable and a generator."""
    ways = "PyDataset", "an iterable", "an iterable with a length", "a generator"
    for way, last in itertools.product(ways, (3, 5, 7)):
        once = {"steps_per_epoch": len(BATCHES)} if way == "a generator" else {}

        def train(folder, fail, way=way, once=once, last=last):
            model = model_of()
            steps = itertools.count()

            def end(*_):
                if next(steps) == last and fail:
                    raise RuntimeError

            backup = BackupAndRestore(tmp_path / f"{way} {last}" / folder, save_freq=1)
            callbacks = [backup, LambdaCallback(on_train_batch_end=end)]
            history = model.fit(
                WAYS[way](BATCHES), epochs=3, callbacks=callbacks, verbose=0, **once
            )
            return history.history, [weight.tobytes() for weight in model.get_weights()]

        with pytest.raises(RuntimeError):
            train("a", True)
        assert train("a", False) == train("b", False), way


def test_layers_of_one_s_own_and_callbacks_work_with_batches():
    model = network(Scale(), (3, "softmax"), inputs=(5,), loss=SPARSE)
    stop = EarlyStopping("val_loss", patience=1, restore_best_weights=True)
    model.fit(Dataset(BATCHES), validation_data=Loader(BATCHES), epochs=3, verbose=0,
              callbacks=[stop])  # fmt: skip
    assert float(model.layers[0].seen) == 3 * len(X) * 2  # validation counts, too
    unbuilt = tinynet.Sequential([tinynet.layers.Dense(3, "softmax")])
    unbuilt.compile("sgd", SPARSE)
    unbuilt.fit(Iterable(BATCHES), verbose=0)
    assert unbuilt.count_params() == 18


def test_a_long_pass_of_unknown_length_keeps_every_loss():
    model, many = model_of(), [BATCHES[n % 3] for n in range(2500)]
    history = model.fit(Iterable(many), verbose=0).history
    twin = model_of().fit(Numbered(many), verbose=0, shuffle=False).history
    assert history == twin


def test_batches_of_the_caller_are_not_merged():
    model = model_of()
    assert evaluation.batches_to_merge(model, data.Batches(X, batch_size=SIZE)) > 1
    stream = streams.open_batches(model, lambda x, y: (x, y, None), [Dataset(BATCHES)], None, None)
    assert evaluation.batches_to_merge(model, stream) == 1


@pytest.mark.host
def test_is_stream_knows_arrays_lists_and_batches():
    for value in (X, X.tolist(), (X, Y), {"x": X}, "x", 3, None, Tensor(X), Table(X)):
        assert not streams.is_stream(value)
    for way in WAYS.values():
        assert streams.is_stream(way(BATCHES))


# More data than memory

BOUNDED = """
import resource, sys
import numpy as np, tinynet
path, rows, how = sys.argv[1], int(sys.argv[2]), sys.argv[3]

class File(tinynet.utils.PyDataset):
    def __len__(self):
        return rows // 1000

    def __getitem__(self, number):
        part = np.fromfile(path, "uint8", 1000 * 785, offset=number * 1000 * 785)
        return part.reshape(1000, 785)[:, 1:] / np.float32(255), part[::785] % 10

def generator():
    for number in range(rows // 1000):
        yield File()[number]

model = tinynet.Sequential([tinynet.Input((784,)), tinynet.layers.Dense(10, "softmax")])
model.compile("sgd", "sparse_categorical_crossentropy")
model.fit(np.zeros((4, 784)), np.zeros(4), verbose=0)  # all libraries are loaded
if how == "memory-mapped":
    limit, used = resource.RLIMIT_DATA, "VmData"  # which does not count mapped files
else:
    limit, used = resource.RLIMIT_AS, "VmSize"
with open("/proc/self/status") as status:
    taken = next(int(line.split()[1]) * 1024 for line in status if line.startswith(used))
resource.setrlimit(limit, (taken + 200_000_000,) * 2)
if how == "array":
    print(np.fromfile(path, "uint8").size)
elif how == "memory-mapped":
    data = np.memmap(path, "uint8", "r", shape=(rows, 785))
    model.fit(data[:, 1:], data[:, 0] % 10, batch_size=1000, verbose=0)
    print(len(model.predict(data[:, 1:], batch_size=1000, verbose=0)))
else:
    model.fit(File() if how == "PyDataset" else generator(), verbose=0)
    print(len(model.predict(File(), verbose=0)))
"""


@pytest.mark.long
@pytest.mark.host
@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
@pytest.mark.filterwarnings("ignore:Expected x row by row")
@pytest.mark.parametrize("how", ["PyDataset", "generator", "memory-mapped", "array"])
def test_a_file_larger_than_the_memory(tmp_path, how):
    """It is twice as large as what the process may allocate; read as a whole, it does not fit."""
    path, rows = tmp_path / "data", 510_000
    with path.open("wb") as file:
        file.truncate(rows * 785)  # zeros, which take no room on the disk
    run = subprocess.run(
        [sys.executable, "-c", BOUNDED, path, str(rows), how],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    if how == "array":
        assert "MemoryError" in run.stderr.splitlines()[-1]
    else:
        assert run.stdout.split() == [str(rows)], run.stderr
