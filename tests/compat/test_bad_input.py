"""Any input gives the right result, or an error raised by tinynet that leaves everything unchanged.

Hypothesis generates what people may pass by mistake: arrays of every type, shape and layout, with
NaN and infinity in them, and objects that are not arrays. `python -m pytest
tests/compat/test_bad_input.py -s` prints how many inputs were tried, accepted and refused.
"""

import collections
import functools
import pathlib
import re
import traceback
import warnings

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from networks import ONE_HOT, SPARSE, network

import tinynet
from tinynet import backend
from tinynet.layers import Activation, Dense, Dropout, Flatten

PACKAGE = pathlib.Path(tinynet.__file__).parent
TRIED = collections.Counter()
GOOD, LABELS = np.linspace(-1, 1, 32).reshape(8, 4), np.arange(8) % 3

KINDS = [
    "bool", "int8", "uint8", "int64", "uint64", ">i4", "float16", "float32", "float64", ">f8",
    "longdouble", "complex64", "object", "U3", "S3", "datetime64[D]", "timedelta64[s]", "i4,f4",
]  # fmt: skip
SHAPES = [
    (), (0,), (1,), (5,), (8,), (0, 4), (8, 4), (8, 4), (8, 4), (1, 4), (8, 0), (8, 3), (4, 8),
    (8, 4, 1), (8, 1, 4), (1, 8, 4), (2, 2, 2, 2),
]  # fmt: skip
LAYOUTS = {
    "plain": lambda a: a,
    "fortran": np.asfortranarray,
    "reversed": lambda a: a[::-1] if a.ndim else a,
    "every second": lambda a: np.repeat(a, 2, axis=0)[::2] if a.ndim else a,
    "read-only": lambda a: np.lib.stride_tricks.as_strided(a, writeable=False),
    "repeated": lambda a: np.broadcast_to(a[:1], a.shape) if a.ndim and len(a) else a,
    "masked": lambda a: (
        np.ma.masked_array(a, np.zeros(a.shape, bool)) if a.dtype.kind in "biuf" else a
    ),
}
UNUSUAL = [None, None, None, np.nan, np.inf, -np.inf, 6e4, 1e-7, 0]


@st.composite
def arrays(draw):
    """Generate an array of any type, shape and layout, perhaps with one unusual value."""
    kind, shape = draw(st.sampled_from(KINDS)), draw(st.sampled_from(SHAPES))
    layout, unusual = draw(st.sampled_from(list(LAYOUTS))), draw(st.sampled_from(UNUSUAL))
    values = (np.arange(int(np.prod(shape))) * 7 % 5 - 2).reshape(shape) / 2
    values = values.astype("i8") if "," in kind else values
    array = np.array(values).astype(kind).reshape(shape)  # astype turns shape () into a scalar
    if unusual is not None and array.dtype.kind in "fc" and array.size:
        array[(-1,) * array.ndim] = unusual
    return LAYOUTS[layout](array)


class Lookalike:
    """An object that has a shape but is not an array."""

    shape, dtype, ndim = (8, 4), np.dtype("float32"), 2

    def __len__(self):
        return 8


OBJECTS = [
    None, 3, 2.5, "x", b"x", [], [[1.0, 2.0, 3.0, 4.0]] * 8, ((1.0,) * 4,) * 8, {"x": 1}, {1, 2},
    object(), Lookalike(), np.float32(3), float("nan"), range(8), [np.ones(4)] * 8,
    [np.ones((8, 4)), np.ones((8, 4))], [[1.0, 2.0], [3.0]], True, slice(3), Ellipsis,
    print, np, np.ndarray, memoryview(b"abcd"), bytearray(b"abcd"),
]  # fmt: skip
ITERATORS = [
    lambda: (row for row in np.ones((8, 4))),
    lambda: iter([np.ones((8, 4))]),
    lambda: map(float, range(8)),
]
THINGS = st.one_of(
    *[arrays()] * 3, st.sampled_from(OBJECTS), *[st.builds(make) for make in ITERATORS]
)
NUMBERS = st.sampled_from(
    [
        None, None, 1, 3, 8, 10**9, 2**70, 0, -1, 2.5, 3.0, "8", True, float("nan"), np.int64(2),
        [2], (),
    ]
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _print_counts():
    yield
    refused = sum(count for (_, what), count in TRIED.items() if what == "refused")
    total = sum(TRIED.values())
    print(f"\n{total:,} inputs: {total - refused:,} accepted, {refused:,} refused by tinynet")
    for (name, what), count in sorted(TRIED.items()):
        print(f"  {name}: {count} {what}")


def fresh(loss):
    tinynet.utils.set_random_seed(1)
    stack = (5, "tanh"), Dropout(0.1), (3, "softmax")
    return network(*stack, inputs=(4,), loss=loss, metrics=["acc"])


def state(model):
    """Return everything that a call could change, mostly as bytes."""
    generator = str(backend.generator().bit_generator.state)
    if model is None:
        return generator
    weights = [weight.tobytes() for weight in model.get_weights()]
    slots = [np.asarray(variable).tobytes() for variable in model.optimizer.variables]
    return weights, slots, generator, model.built, model.layers


def content(thing):
    return thing.tobytes() if isinstance(thing, np.ndarray) and thing.dtype != object else None


def assert_raised_by_tinynet(error):
    """Assert that tinynet itself raised the error, with the received value and what to do."""
    assert type(error) in (ValueError, TypeError, IndexError), repr(error)
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{last.filename}:{last.lineno}: {last.line}\n{error!r}"
    assert pathlib.Path(last.filename).is_relative_to(PACKAGE), place
    assert last.line.startswith("raise "), place
    received = "[Rr]eceived|sizes:|shape=|Unrecognized data type|Could not interpret"
    expected = "Write|[Ee]xpected|Make sure|has to|must have|Leave|needs|Known names"
    assert re.search(received, str(error)), place
    assert re.search(expected, str(error)), place
    assert len(str(error)) < 1200, place


def attempt(name, function, *things, model=None, changes=True):
    """Return the function's result, or None if tinynet refused the call with an error.

    The things are never changed, and the model only if the call succeeds and it `changes` it.
    """
    before, state_before = list(map(content, things)), state(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # tinynet's advice; other warnings are errors
        try:
            given = function()
        except Exception as error:
            assert_raised_by_tinynet(error)
            given = None
    TRIED[name, "refused" if given is None else "accepted"] += 1
    assert list(map(content, things)) == before, "an input was changed"
    if given is None or not changes:
        assert state(model) == state_before
    return given


def as_plain(x):
    return np.ascontiguousarray(np.asarray(x), "float32")


def predicts(x, batch_size):
    model = fresh(ONE_HOT)
    predict = functools.partial(model.predict, verbose=0)
    given = attempt("predict", lambda: predict(x, batch_size), x, model=model, changes=False)
    if given is not None:
        assert given.shape == (len(x), 3)
        plain = as_plain(x).reshape(-1, 4)
        np.testing.assert_allclose(given, predict(plain), rtol=1e-5, atol=1e-7)


def calls(x):
    model = fresh(ONE_HOT)
    given = attempt("call", lambda: model(x), x, model=model, changes=False)
    if given is not None:
        assert given.dtype == np.float32
        assert given.shape[-1] == 3


def trains(method, x, y, weight, batch_size, sparse, valid):
    loss = SPARSE if sparse else ONE_HOT
    if "x" in valid:
        x = GOOD
    if "y" in valid:
        y = LABELS if sparse else np.eye(3)[LABELS]
    options = {} if method == "train_on_batch" else {"batch_size": batch_size, "verbose": 0}

    def run(model, x, y, weight):
        return getattr(model, method)(x, y, sample_weight=weight, **options)

    model = fresh(loss)
    given = attempt(
        method, lambda: run(model, x, y, weight), x, y, weight,
        model=model, changes=method != "evaluate",
    )  # fmt: skip
    if given is None:
        return
    target = np.asarray(y).reshape(-1) if sparse else as_plain(y)
    plain_weight = None if weight is None else as_plain(weight).reshape(-1)
    twin = fresh(loss)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        run(twin, as_plain(x).reshape(-1, 4), target, plain_weight)
    for one, other in zip(model.get_weights(), twin.get_weights(), strict=True):
        assert np.isfinite(one).all()
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


OPTIONS = {
    "epochs": NUMBERS, "verbose": NUMBERS, "validation_split": NUMBERS, "shuffle": NUMBERS,
    "initial_epoch": NUMBERS, "steps_per_epoch": NUMBERS, "validation_freq": NUMBERS,
    "class_weight": st.sampled_from([None, 3, "x", {0: 1.0}, {0: "a"}, {"a": 1}, {0: np.nan}]),
    "validation_data": st.one_of(NUMBERS, THINGS, st.tuples(THINGS, THINGS)),
    "callbacks": st.one_of(NUMBERS, THINGS),
}  # fmt: skip


def fits_with_an_option(data, name):
    value = data.draw(OPTIONS[name])
    hypothesis.assume(not (name == "epochs" and value in (10**9, 2**70)))  # valid, but endless
    model = fresh(SPARSE)
    options = {"verbose": 0, name: value}
    fit = functools.partial(model.fit, GOOD, LABELS, **options)
    attempt(f"fit({name}=…)", fit, GOOD, LABELS, model=model)


ARGUMENTS = {
    Dense: "units activation use_bias kernel_initializer kernel_regularizer name",
    Dropout: "rate seed name trainable",
    Flatten: "data_format input_shape",
    Activation: "activation",
    tinynet.Input: "shape batch_size",
    tinynet.optimizers.Adam: "learning_rate beta_1 beta_2 epsilon weight_decay",
    tinynet.optimizers.SGD: "learning_rate momentum nesterov",
    tinynet.regularizers.L2: "l2",
    tinynet.losses.CategoricalCrossentropy: "label_smoothing reduction from_logits",
    tinynet.callbacks.EarlyStopping: "patience mode monitor min_delta",
}
NEEDED = {
    Dense: {"units": 2, "kernel_initializer": "zeros"},  # which draws no seed
    Dropout: {"rate": 0.5},
    Activation: {"activation": None},
}


def constructs(data, kind, value):
    name = data.draw(st.sampled_from(ARGUMENTS[kind].split()))
    arguments = {**NEEDED.get(kind, {}), name: value}
    attempt(f"{kind.__name__}({name}=…)", lambda: kind(**arguments), value)


TRAINING = {
    "x": THINGS, "y": THINGS, "weight": st.one_of(st.none(), st.none(), THINGS),
    "batch_size": NUMBERS, "sparse": st.booleans(), "valid": st.sampled_from(["x", "y", "xy", ""]),
}  # fmt: skip
PROPERTIES = {
    "predict": (predicts, {"x": THINGS, "batch_size": NUMBERS}),
    "call": (calls, {"x": THINGS}),
    "fit": (trains, {"method": st.just("fit"), **TRAINING}),
    "evaluate": (trains, {"method": st.just("evaluate"), **TRAINING}),
    "train_on_batch": (trains, {"method": st.just("train_on_batch"), **TRAINING}),
    "options": (fits_with_an_option, {"data": st.data(), "name": st.sampled_from(list(OPTIONS))}),
    "constructors": (
        constructs,
        {
            "data": st.data(),
            "kind": st.sampled_from(list(ARGUMENTS)),
            "value": st.one_of(NUMBERS, THINGS),
        },
    ),
}


@pytest.mark.parametrize("examples", [100, pytest.param(700, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", PROPERTIES)
def test_any_input_is_accepted_or_refused_by_tinynet(name, examples):
    check, inputs = PROPERTIES[name]
    settings = hypothesis.settings(
        max_examples=examples, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    settings(hypothesis.given(**inputs)(check))()
