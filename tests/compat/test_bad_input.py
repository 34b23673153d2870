"""Any input gives the right result, or an error raised by tinynet that leaves everything unchanged.

Hypothesis generates what people may pass by mistake: arrays of every type, shape and layout, with
NaN and infinity in them, and objects that are not arrays.
"""

import pathlib
import re
import traceback
from functools import partial

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from networks import ONE_HOT, SPARSE, network
from oracle import agree, variables

import tinynet
from tinynet import backend
from tinynet.layers import Activation, Dense, Dropout, Flatten

PACKAGE = pathlib.Path(tinynet.__file__).parent
GOOD, LABELS = np.linspace(-1, 1, 32).reshape(8, 4), np.arange(8) % 3

KINDS = [
    "bool", "int8", "uint8", "int64", "uint64", ">i4", "float16", "float32", "float64", ">f8",
    "longdouble", "complex64", "object", "U3", "S3", "datetime64[D]", "timedelta64[s]", "i4,f4",
]  # fmt: skip
SHAPES = [
    (), (0,), (1,), (5,), (8,), (0, 4), (8, 4), (8, 4), (8, 4), (1, 4), (8, 0), (8, 3), (4, 8),
    (8, 4, 1), (8, 1, 4), (1, 8, 4), (2, 2, 2, 2),
]  # fmt: skip
LAYOUTS = [
    lambda a: a,
    lambda a: np.lib.stride_tricks.as_strided(a, writeable=False),
    lambda a: np.broadcast_to(a[:1], a.shape),
    lambda a: np.ma.masked_array(a, mask=False) if a.dtype.kind in "biuf" else a,
]
UNUSUAL = [None, None, None, np.nan, np.inf, -np.inf, 6e4, 1e-7, 0]


@st.composite
def arrays(draw):
    """Generate an array of any type, shape and layout, perhaps with one unusual value."""
    kind, shape = draw(st.sampled_from(KINDS)), draw(st.sampled_from(SHAPES))
    layout, unusual = draw(st.sampled_from(LAYOUTS)), draw(st.sampled_from(UNUSUAL))
    values = (np.arange(int(np.prod(shape))) * 7 % 5 - 2).reshape(shape) / 2
    values = values.astype("i8") if "," in kind else values
    array = np.array(values).astype(kind).reshape(shape)  # astype turns shape () into a scalar
    if unusual is not None and array.dtype.kind in "fc" and array.size:
        array[(-1,) * array.ndim] = unusual
    return layout(array) if shape else array


# It has a shape but is not an array.
LOOKALIKE = type("Lookalike", (), {"shape": (8, 4), "dtype": np.dtype("f4"), "ndim": 2})()
OBJECTS = [
    None, 3, 2.5, "x", np, [], [[1.0, 2.0, 3.0, 4.0]] * 8, ((1.0,) * 4,) * 8, {"x": 1}, {1, 2},
    object(), LOOKALIKE, np.float32(3), float("nan"), range(8), [np.ones(4)] * 8,
    [np.ones((8, 4)), np.ones((8, 4))], [[1.0, 2.0], [3.0]], True, slice(3), Ellipsis,
]  # fmt: skip
THINGS = st.one_of(
    *[arrays()] * 3, st.sampled_from(OBJECTS), st.builds(lambda: iter(np.ones((8, 4))))
)
NUMBERS = st.sampled_from(
    [None, None, 1, 3, 8, 10**9, 2**70, 0, -1, 2.5, 3.0, "8", True, np.nan, np.int64(2), [2], ()]
)


def fresh(loss):
    tinynet.utils.set_random_seed(1)
    stack = (5, "tanh"), Dropout(0.1), (3, "softmax")
    return network(*stack, inputs=(4,), loss=loss, metrics=["acc"])


def state(model):
    """Return everything that a call could change, mostly as bytes."""
    generator = str(backend.generator().bit_generator.state)
    if model is None:
        return generator
    contents = [array.tobytes() for array in (*model.get_weights(), *variables(model))]
    return contents, generator, model.built, model.layers


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


def attempt(function, *things, model=None, changes=True):
    """Return the function's result, or None if tinynet refused the call with an error.

    The things are never changed, and the model only if the call succeeds and it `changes` it.
    """
    before, state_before = list(map(content, things)), state(model)
    try:
        given = function()
    except Exception as error:
        assert_raised_by_tinynet(error)
        given = None
    assert list(map(content, things)) == before, "an input was changed"
    if given is None or not changes:
        assert state(model) == state_before
    return given


def as_plain(x):
    return np.ascontiguousarray(np.asarray(x), "float32")


def predicts(draw):
    x, batch_size, model = draw(THINGS), draw(NUMBERS), fresh(ONE_HOT)
    predict = partial(model.predict, verbose=0)
    given = attempt(lambda: predict(x, batch_size), x, model=model, changes=False)
    if given is not None:
        agree(predict(as_plain(x).reshape(-1, 4)), given, rtol=1e-5, atol=1e-7)


def calls(draw):
    x, model = draw(THINGS), fresh(ONE_HOT)
    given = attempt(lambda: model(x), x, model=model, changes=False)
    assert given is None or (given.dtype, given.shape[-1]) == ("float32", 3)


def trains(method, draw):
    x, y, weight = draw(THINGS), draw(THINGS), draw(st.one_of(st.none(), st.none(), THINGS))
    loss = draw(st.sampled_from([ONE_HOT, SPARSE]))
    valid = draw(st.sampled_from(["x", "y", "xy", ""]))
    options = {} if method == "train_on_batch" else {"batch_size": draw(NUMBERS), "verbose": 0}
    labels = LABELS if loss == SPARSE else np.eye(3)[LABELS]
    x, y, model = GOOD if "x" in valid else x, labels if "y" in valid else y, fresh(loss)
    train = partial(getattr(model, method), x, y, sample_weight=weight, **options)
    if attempt(train, x, y, weight, model=model, changes=method != "evaluate") is not None:
        x = as_plain(x).reshape(-1, 4)
        y = np.asarray(y).reshape(-1) if loss == SPARSE else as_plain(y)
        weight = None if weight is None else as_plain(weight).reshape(-1)
        twin = fresh(loss)
        getattr(twin, method)(x, y, sample_weight=weight, **options)
        assert np.isfinite(model.flat).all()
        agree(twin.get_weights(), model.get_weights(), rtol=1e-4, atol=1e-6)


OPTIONS = {
    "epochs": NUMBERS, "verbose": NUMBERS, "validation_split": NUMBERS, "shuffle": NUMBERS,
    "initial_epoch": NUMBERS, "steps_per_epoch": NUMBERS, "validation_freq": NUMBERS,
    "class_weight": st.sampled_from([None, 3, "x", {0: 1.0}, {0: "a"}, {"a": 1}, {0: np.nan}]),
    "validation_data": st.one_of(NUMBERS, THINGS, st.tuples(THINGS, THINGS)),
    "callbacks": st.one_of(NUMBERS, THINGS),
}  # fmt: skip


def fits_with_an_option(draw):
    name = draw(st.sampled_from(list(OPTIONS)))
    value, model = draw(OPTIONS[name]), fresh(SPARSE)
    hypothesis.assume(not (name == "epochs" and value in (10**9, 2**70)))  # valid, but endless
    fit = partial(model.fit, GOOD, LABELS, **{"verbose": 0, name: value})
    attempt(fit, GOOD, LABELS, model=model)


ARGUMENTS = {
    Dense: "units activation use_bias kernel_initializer kernel_regularizer name",
    Dropout: "rate seed name trainable", Flatten: "data_format input_shape",
    Activation: "activation", tinynet.Input: "shape batch_size",
    tinynet.optimizers.Adam: "learning_rate beta_1 beta_2 epsilon weight_decay",
    tinynet.optimizers.SGD: "learning_rate momentum nesterov", tinynet.regularizers.L2: "l2",
    tinynet.losses.CategoricalCrossentropy: "label_smoothing reduction from_logits",
    tinynet.callbacks.EarlyStopping: "patience mode monitor min_delta",
}  # fmt: skip
# "zeros" draws no seed.
NEEDED = {Dense: {"units": 2, "kernel_initializer": "zeros"}, Dropout: {"rate": 0.5}}


def constructs(draw):
    kind, value = draw(st.sampled_from(list(ARGUMENTS))), draw(st.one_of(NUMBERS, THINGS))
    name = draw(st.sampled_from(ARGUMENTS[kind].split()))
    attempt(lambda: kind(**NEEDED.get(kind, {}) | {name: value}), value)


PROPERTIES = {
    "predict": predicts, "call": calls, "options": fits_with_an_option, "constructors": constructs,
    **{method: partial(trains, method) for method in ("fit", "evaluate", "train_on_batch")},
}  # fmt: skip


@pytest.mark.parametrize("examples", [100, pytest.param(700, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", PROPERTIES)
@pytest.mark.filterwarnings("ignore::UserWarning")  # tinynet's advice; others are errors
def test_any_input_is_accepted_or_refused_by_tinynet(name, examples):
    settings = hypothesis.settings(
        max_examples=examples, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    settings(hypothesis.given(st.data())(lambda data: PROPERTIES[name](data.draw)))()
