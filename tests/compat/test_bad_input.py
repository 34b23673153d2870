"""Any input gives the right result, or an error raised by tinynet that leaves everything unchanged.

Hypothesis generates what people may pass by mistake: arrays of every type, shape and layout, with
NaN and infinity in them, and objects that are not arrays. `python -m pytest
tests/compat/test_bad_input.py -s` prints how many inputs were tried, accepted and refused.
"""

import ast
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
from tinynet.layers import Dense, Dropout

PACKAGE = pathlib.Path(tinynet.__file__).parent
TRIED = collections.Counter()
EXAMPLES = 700

KINDS = [
    "bool", "int8", "uint8", "int64", "uint64", ">i4", "float16", "float32", "float64", ">f8",
    "longdouble", "complex64", "object", "U3", "S3", "datetime64[D]", "timedelta64[s]", "i4,f4",
]  # fmt: skip
SHAPES = [
    (), (0,), (1,), (5,), (8,), (0, 4), (8, 4), (8, 4), (8, 4), (1, 4), (8, 0), (8, 3), (4, 8),
    (8, 4, 1), (8, 1, 4), (1, 8, 4), (2, 2, 2, 2),
]  # fmt: skip
LAYOUTS = ["plain", "fortran", "reversed", "every second", "read-only", "repeated", "masked"]
SPOILS = [None, None, None, "nan", "inf", "-inf", "huge", "object", "tiny"]


@st.composite
def arrays(draw):
    """Generate an array of any type, shape and layout, perhaps with one unusual value."""
    kind, shape = draw(st.sampled_from(KINDS)), draw(st.sampled_from(SHAPES))
    layout, spoil = draw(st.sampled_from(LAYOUTS)), draw(st.sampled_from(SPOILS))
    values = (np.arange(int(np.prod(shape))) * 7 % 5 - 2).reshape(shape) / 2
    values = values.astype("i8") if "," in kind else values
    array = np.array(values).astype(kind).reshape(shape)  # astype turns shape () into a scalar
    if spoil and array.dtype.kind in "fc" and array.size:
        number = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf, "huge": 6e4, "tiny": 1e-7}
        array[(-1,) * array.ndim] = number.get(spoil, 0)
    if layout == "fortran":
        array = np.asfortranarray(array)
    elif layout == "reversed" and array.ndim:
        array = array[::-1]
    elif layout == "every second" and array.ndim:
        array = np.repeat(array, 2, axis=0)[::2]
    elif layout == "read-only":
        array.flags.writeable = False
    elif layout == "repeated" and array.ndim and len(array):
        array = np.broadcast_to(array[:1], array.shape)
    elif layout == "masked" and array.dtype.kind in "biuf":
        array = np.ma.masked_array(array, mask=np.zeros(array.shape, bool))
    return array


class Lookalike:
    """An object that has a shape but is not an array."""

    shape, dtype, ndim = (8, 4), np.dtype("float32"), 2

    def __len__(self):
        return 8


THINGS = st.one_of(
    arrays(),
    arrays(),
    arrays(),
    st.sampled_from(
        [
            None, 3, 2.5, "x", b"x", [], [[1.0, 2.0, 3.0, 4.0]] * 8, ((1.0,) * 4,) * 8, {"x": 1},
            {1, 2}, object(), Lookalike(), np.float32(3), float("nan"), range(8), [np.ones(4)] * 8,
            [np.ones((8, 4)), np.ones((8, 4))], [[1.0, 2.0], [3.0]], True, slice(3), Ellipsis,
            print, np, np.ndarray, memoryview(b"abcd"), bytearray(b"abcd"),
        ]
    ),
    st.builds(lambda: (row for row in np.ones((8, 4)))),
    st.builds(lambda: iter([np.ones((8, 4))])),
    st.builds(lambda: map(float, range(8))),
)  # fmt: skip
NUMBERS = st.sampled_from(
    [
        None,
        None,
        1,
        3,
        8,
        10**9,
        2**70,
        0,
        -1,
        2.5,
        3.0,
        "8",
        True,
        float("nan"),
        np.int64(2),
        [2],
        (),
    ]
)


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
    weights = [weight.tobytes() for weight in model.get_weights()]
    slots = [np.asarray(variable).tobytes() for variable in model.optimizer.variables]
    return weights, slots, str(backend.generator().bit_generator.state), model.built, model.layers


def content(thing):
    return thing.tobytes() if isinstance(thing, np.ndarray) and thing.dtype != object else None


@functools.cache
def raises(path):
    """Return the line numbers of a file that belong to a `raise` statement."""
    nodes = ast.walk(ast.parse(pathlib.Path(path).read_text("utf-8")))
    return {
        line
        for node in nodes
        if isinstance(node, ast.Raise)
        for line in range(node.lineno, node.end_lineno + 1)
    }


def assert_raised_by_tinynet(error):
    """Assert that tinynet itself raised the error, with the received value and what to do."""
    assert type(error) in (ValueError, TypeError, IndexError), repr(error)
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{last.filename}:{last.lineno}: {last.line}\n{error!r}"
    assert pathlib.Path(last.filename).is_relative_to(PACKAGE), place
    assert last.lineno in raises(last.filename), place
    assert re.search(
        "[Rr]eceived|sizes:|shape=|Unrecognized data type|Could not interpret", str(error)
    ), place
    words = "Write|[Ee]xpected|Make sure|has to|must have|Leave|needs|Known names"
    assert re.search(words, str(error)), place
    assert len(str(error)) < 1200, place


def attempt(name, function, *things):
    """Return the function's result, or None if tinynet refused the call with an error."""
    before = list(map(content, things))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # tinynet's advice; other warnings are errors
        try:
            given = function()
        except Exception as error:
            assert_raised_by_tinynet(error)
            TRIED[name, "refused"] += 1
            given = None
        else:
            TRIED[name, "accepted"] += 1
    assert list(map(content, things)) == before, "an input was changed"
    return given


settings = hypothesis.settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)  # fmt: skip


def as_plain(x):
    return np.ascontiguousarray(np.asarray(x), "float32")


@settings
@hypothesis.given(x=THINGS, batch_size=NUMBERS)
def test_predict(x, batch_size):
    model = fresh(ONE_HOT)
    before = state(model)
    given = attempt("predict", lambda: model.predict(x, batch_size, verbose=0), x)
    assert state(model) == before
    if given is not None:
        assert given.shape == (len(x), 3)
        plain = as_plain(x).reshape(-1, 4)
        np.testing.assert_allclose(given, model.predict(plain, verbose=0), rtol=1e-5, atol=1e-7)


@settings
@hypothesis.given(x=THINGS)
def test_call(x):
    model = fresh(ONE_HOT)
    before = state(model)
    given = attempt("call", lambda: model(x), x)
    assert state(model) == before
    if given is not None:
        assert given.dtype == np.float32
        assert given.shape[-1] == 3


@settings
@hypothesis.given(
    x=THINGS, y=THINGS, weight=st.one_of(st.none(), st.none(), THINGS), batch_size=NUMBERS,
    sparse=st.booleans(), good=st.sampled_from(["x", "y", "both", "neither"]),
)  # fmt: skip
@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch"])
def test_training(method, x, y, weight, batch_size, sparse, good):
    loss = SPARSE if sparse else ONE_HOT
    model = fresh(loss)
    if good in ("x", "both"):
        x = np.linspace(-1, 1, 32).reshape(8, 4)
    if good in ("y", "both"):
        y = np.arange(8) % 3 if sparse else np.eye(3)[np.arange(8) % 3]
    options = {} if method == "train_on_batch" else {"batch_size": batch_size, "verbose": 0}
    call = getattr(model, method)
    before = state(model)
    given = attempt(method, lambda: call(x, y, sample_weight=weight, **options), x, y, weight)
    if given is None or method == "evaluate":
        assert state(model) == before
    if given is None:
        return
    twin = fresh(loss)
    plain = as_plain(x).reshape(-1, 4)
    target = np.asarray(y).reshape(-1) if sparse else as_plain(y)
    given_weight = None if weight is None else as_plain(weight).reshape(-1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        getattr(twin, method)(plain, target, sample_weight=given_weight, **options)
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


@settings
@hypothesis.given(data=st.data(), name=st.sampled_from(list(OPTIONS)))
def test_options_of_fit(data, name):
    value = data.draw(OPTIONS[name])
    hypothesis.assume(not (name in ("epochs",) and value in (10**9, 2**70)))  # valid, but endless
    model = fresh(SPARSE)
    x, y = np.linspace(-1, 1, 32).reshape(8, 4), np.arange(8) % 3
    before = state(model)
    options = {"verbose": 0, name: value}
    if attempt(f"fit({name}=…)", lambda: model.fit(x, y, **options), x, y) is None:
        assert state(model) == before


ARGUMENTS = {
    Dense: ("units", "activation", "use_bias", "kernel_initializer", "kernel_regularizer", "name"),
    Dropout: ("rate", "seed", "name", "trainable"),
    tinynet.layers.Flatten: ("data_format", "input_shape"),
    tinynet.layers.Activation: ("activation",),
    tinynet.Input: ("shape", "batch_size"),
    tinynet.optimizers.Adam: ("learning_rate", "beta_1", "beta_2", "epsilon", "weight_decay"),
    tinynet.optimizers.SGD: ("learning_rate", "momentum", "nesterov"),
    tinynet.regularizers.L2: ("l2",),
    tinynet.losses.CategoricalCrossentropy: ("label_smoothing", "reduction", "from_logits"),
    tinynet.callbacks.EarlyStopping: ("patience", "mode", "monitor", "min_delta"),
}
NEEDED = {
    Dense: {"units": 2},
    Dropout: {"rate": 0.5},
    tinynet.layers.Activation: {"activation": None},
}


@settings
@hypothesis.given(data=st.data(), kind=st.sampled_from(list(ARGUMENTS)))
def test_constructors(data, kind):
    name = data.draw(st.sampled_from(ARGUMENTS[kind]))
    value = data.draw(st.one_of(NUMBERS, THINGS))
    arguments = {**NEEDED.get(kind, {}), name: value}
    attempt(f"{kind.__name__}({name}=…)", lambda: kind(**arguments), value)
