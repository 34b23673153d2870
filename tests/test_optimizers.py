"""SGD and Adam compared with Keras's, step by step: twenty steps on gradients from 1e-6 (where ε
matters) to 1e3, of mixed signs and sometimes 0, with a change of the learning rate halfway.
`test_layers` compares configurations and names with Keras's.

The bounds are about three times the observed rounding errors, and far below the effect of the
smallest mistakes: β off by 0.001, ε inside the root or bias-corrected, t off by one, or bias
corrections in float64.
"""

import functools
import math

import numpy as np
import pytest
from arrays import assert_allclose, assert_array_equal, look, put
from oracle import both

import tinynet
from tinynet import backend
from tinynet.optimizers import SGD, Adam

pytestmark = pytest.mark.computes

SHAPES = [(40, 5), (5,), (3, 1, 2), ()]
COUNT = sum(math.prod(shape) for shape in SHAPES)
STEPS = 20

RULES = {
    "Adam": (Adam, {}),
    "epsilon": (Adam, {"learning_rate": 0.01, "beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-3}),
    "SGD": (SGD, {}),
    "momentum": (SGD, {"momentum": 0.9}),
    "nesterov": (SGD, {"momentum": 0.8, "nesterov": True}),
    "nesterov without momentum": (SGD, {"learning_rate": 0.1, "nesterov": True}),
    # With β₂ = 0.999, v hardly ever falls in that few steps, so the last v is also the largest.
    "amsgrad": (Adam, {"amsgrad": True, "beta_2": 0.5}),
    "AdamW": (Adam, {"weight_decay": 0.1, "learning_rate": 0.01}),
    "amsgrad with decay": (Adam, {"amsgrad": True, "beta_2": 0.6, "weight_decay": 0.3}),
    "momentum with decay": (SGD, {"weight_decay": 0.2, "momentum": 0.5}),
}
every_rule = pytest.mark.parametrize("rule", RULES)

RNG = np.random.default_rng(7)
SIZES = 10 ** RNG.uniform(-6, 3, COUNT)  # the magnitude of each weight's gradients
# The sign of the gradients is mostly positive, so that momentum builds up.
SIGNS = RNG.choice([-1, 0, 1], (STEPS, COUNT), p=[0.3, 0.05, 0.65])
GRADIENTS = (SIZES * SIGNS * RNG.uniform(0.2, 2, (STEPS, COUNT))).astype("float32")
# Initial weights so small that a step of Adam is not lost in rounding
START = (0.01 * RNG.normal(size=COUNT)).astype("float32")
START.setflags(write=False)  # every test starts from the same


def make(rule, library=tinynet):
    kind, arguments = RULES[rule]
    return getattr(library.optimizers, kind.__name__)(**arguments)


def cut(vector):
    """Split `vector` into arrays of SHAPES."""
    starts = np.cumsum([math.prod(shape) for shape in SHAPES])[:-1]
    parts = np.split(look(vector), starts)
    return [part.reshape(shape).copy() for part, shape in zip(parts, SHAPES, strict=True)]


def join(arrays):
    """Concatenate the arrays into one vector."""
    return np.concatenate([np.asarray(look(array)).ravel() for array in arrays])


def training(optimizer, arrays, convert):
    """Yield the weights, and the optimizer's variables, before and after every step."""
    optimizer.build(arrays)
    for number, gradient in enumerate([None, *GRADIENTS]):
        if number == STEPS // 2 + 1:
            optimizer.learning_rate = 0.003
        if number:
            parts = map(convert, cut(gradient))
            optimizer.apply_gradients(list(zip(parts, arrays, strict=True)))
        yield join(arrays), [np.asarray(look(variable)) for variable in optimizer.variables]


def start(rule):
    """Return small weights for Adam; 0 for SGD, whose steps are proportional to the gradients."""
    return cut(START if RULES[rule][0] is Adam else 0 * START)


@pytest.fixture(scope="module")
def of_keras(keras):
    """Return a rule's training in Keras, which is computed once for all backends."""

    @functools.cache
    def run(rule):
        arrays = [keras.Variable(array) for array in start(rule)]
        return list(training(make(rule, keras), arrays, np.asarray))

    return run


# Steps


@every_rule
def test_every_step_and_all_variables_equal_keras(of_keras, rule):
    optimizer = make(rule)
    ours = training(optimizer, [put(array) for array in start(rule)], put)
    bound = 3e-8 if RULES[rule][0] is Adam else 1e-6 * SIZES
    slots = len(optimizer.slots)
    beside = min(slots, 2)
    for step, (expected, received) in enumerate(zip(of_keras(rule), ours, strict=True)):
        assert (np.abs(received[0] - expected[0]) <= bound).all(), f"step {step}"
        theirs, variables = expected[1], received[1]
        assert [(v.shape, v.dtype) for v in variables] == [(v.shape, v.dtype) for v in theirs]
        assert variables[:2] == theirs[:2]
        for slot in range(slots):  # the first two slots alternate by weight, a third follows
            last = 2 + beside * len(SHAPES)
            places = slice(2 + slot, last, beside) if slot < 2 else slice(last, None)
            scale = SIZES ** min(slot + 1, 2)  # that of the gradient, or of its square
            difference = join(variables[places]) - join(theirs[places])
            assert (np.abs(difference) <= 1e-6 * scale).all(), f"slot {slot}, step {step}"
    assert np.abs(received[0]).max() > 1e-2


@every_rule
def test_the_steps_follow_the_formulas_of_the_docstrings(rule):
    """Work in float64, with the corrected means of the paper: ε = ε̂ / √(1 − β₂ᵗ)."""
    tinynet.config.set_floatx("float64")
    optimizer, w = make(rule), START.astype("float64")
    ours, eta, m, v, largest = put(w), optimizer.learning_rate, 0, 0, 0
    for t, g in enumerate(GRADIENTS.astype("float64"), start=1):
        w = w - eta * (optimizer.weight_decay or 0) * w
        if isinstance(optimizer, SGD):
            v = optimizer.momentum * v - eta * g
            w = w + (optimizer.momentum * v - eta * g if optimizer.nesterov else v)
        else:
            beta_1, beta_2 = optimizer.beta_1, optimizer.beta_2
            m, v = beta_1 * m + (1 - beta_1) * g, beta_2 * v + (1 - beta_2) * g**2
            largest = np.maximum(largest, v) if optimizer.amsgrad else v
            correction = math.sqrt(1 - beta_2**t)
            step = m / (1 - beta_1**t) / (np.sqrt(largest) + optimizer.epsilon) * correction
            w = w - eta * step
        optimizer.apply_gradients([(put(g), ours)])
        assert_allclose(ours, w, rtol=1e-9, atol=1e-12)


@every_rule
def test_one_long_vector_is_updated_like_its_parts(rule):
    parts, whole, weights = make(rule), make(rule), put(START.copy())
    arrays = [put(array) for array in cut(START)]
    whole.build([weights], parts=[SHAPES])
    for gradient in GRADIENTS[:5]:
        parts.apply_gradients(zip(map(put, cut(gradient)), arrays, strict=True))
        whole.apply_gradients([(put(gradient), weights)])
    assert_array_equal(weights, join(arrays))
    for expected, received in zip(parts.variables, whole.variables, strict=True):
        assert_array_equal(received, expected, strict=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@every_rule
def test_weights_change_in_place_and_gradients_stay_unchanged(rule, dtype):
    optimizer, kept = make(rule), GRADIENTS[0].astype(dtype)
    weights, gradient = put(START.astype(dtype)), put(kept.copy())
    view = weights[:]
    optimizer.apply_gradients([(gradient, weights)])
    assert_array_equal(gradient, kept, strict=True)
    assert {array.dtype for array in (look(view), *optimizer.variables[2:])} == {np.dtype(dtype)}
    if not optimizer.weight_decay:
        change = look(view) - START
        assert_array_equal(change[kept == 0], 0)
        assert set((np.sign(change) * np.sign(kept))[np.abs(kept) > 0.1]) == {-1}


# State


@every_rule
def test_variables_and_saved_states_are_copies_that_can_be_restored_repeatedly(rule):
    optimizer, weights = make(rule), put(START.copy())
    optimizer.build([weights])
    optimizer.apply_gradients([(put(GRADIENTS[0]), weights)])
    kept, before = [v.copy() for v in optimizer.variables], weights.copy()
    for variable in optimizer.variables:
        variable[...] = 7
    state, results = optimizer.get_state(), []
    for _ in range(3):
        optimizer.set_state(state)
        for expected, received in zip(kept, optimizer.variables, strict=True):
            assert_array_equal(received, expected, strict=True)
        weights[...] = before
        optimizer.apply_gradients([(put(GRADIENTS[1]), weights)])
        assert optimizer.iterations == 2
        results.append(weights.copy())
        optimizer.learning_rate = 0.5
    assert_array_equal(results[0], results[1])
    assert_array_equal(results[0], results[2])


def test_a_state_can_be_restored_in_another_or_a_rebuilt_optimizer():
    weights, others = np.ones(3, "float32"), np.ones(5, "float32")
    optimizer, other = Adam(), Adam()
    optimizer.apply_gradients([(weights, weights)])
    state, expected = optimizer.get_state(), optimizer.variables
    other.set_state(state)
    optimizer.build([others])
    optimizer.set_state(state)
    optimizer.apply_gradients([(weights, weights)])
    assert optimizer.iterations == 2
    for one, two in zip(other.variables, expected, strict=True):
        assert_array_equal(one, two)


@pytest.mark.parametrize("rate", [0.001, 0.1, 1 / 3, 1e-30])
def test_the_learning_rate_is_rounded_as_in_keras(keras, rate):
    theirs, ours = both(keras, lambda library: library.optimizers.Adam(rate))
    assert ours.learning_rate == float(theirs.learning_rate) == np.float32(rate)
    ours.learning_rate = theirs.learning_rate = rate / 7
    assert ours.learning_rate == float(theirs.learning_rate)
    tinynet.config.set_floatx("float64")
    assert Adam(rate).learning_rate == rate


# Mistakes


@every_rule
def test_a_refused_step_changes_nothing(rule):
    optimizer = make(rule)
    g, w, b = (put(np.full(3, number, "float32")) for number in (0.1, 1, 2))
    optimizer.apply_gradients([(g, w), (g, b)])
    before = [array.copy() for array in (w, b, *optimizer.variables)]
    for pairs, said in [
        ([(g[:2], w), (g, b)], "gradient of the weights' shape"),
        ([(g, w), (g[:2], b)], "gradient of the weights' shape"),
        ([(g, w), (g, b.copy())], "arrays that this optimizer was built for"),
        ([(g, b), (g, w)], "arrays that this optimizer was built for"),
        ([(g, w), (g, b), (g, g)], "arrays that this optimizer was built for"),
        ([], "arrays that this optimizer was built for"),
    ]:
        with pytest.raises(ValueError, match=said):
            optimizer.apply_gradients(pairs)
        for kept, now in zip(before, (w, b, *optimizer.variables), strict=True):
            assert_array_equal(now, kept, strict=True)


def test_integer_weights_are_refused_before_anything_is_built():
    weights, optimizer = put(np.ones(3, int)), Adam()
    with pytest.raises(ValueError, match="weights of a float type, received dtype int64"):
        optimizer.apply_gradients([(put(np.ones(3)), weights)])
    assert (optimizer.built, optimizer.iterations) == (False, 0)
    assert_array_equal(weights, 1)


# User-defined optimizers


class Tiny(tinynet.Optimizer):
    slots = ("m",)

    def update(self, weights, gradient, m, *, scratch):
        m[...] = 1e-35


def test_the_slots_of_a_user_defined_optimizer_are_never_flushed():
    optimizer, weights = Tiny(), put(np.zeros(3, "float32"))
    for _ in range(64):
        optimizer.apply_gradients([(weights.copy(), weights)])
    assert (optimizer.variables[2] > 0).all()


class Signs(tinynet.Optimizer):
    def update(self, weights, gradient, *state, scratch):
        weights -= self.learning_rate * backend.xp.sign(gradient, out=scratch)


def test_a_user_defined_optimizer_needs_only_update():
    optimizer, weights = Signs(0.25), put(np.zeros(3, "float32"))
    optimizer.apply_gradients([(put(np.array([5.0, 0, -3], "float32")), weights)])
    assert_array_equal(weights, [-0.25, 0, 0.25])
    assert (optimizer.name, Signs().name) == ("signs", "signs_1")  # numbered as in Keras
    with pytest.raises(NotImplementedError, match="Optimizer has to define update"):
        tinynet.Optimizer().apply_gradients([(weights, weights)])


def test_additional_slots_of_a_user_defined_optimizer_are_variables():
    weights = np.ones(3, "float32")
    optimizer = type("FourSlots", (Adam,), {"slots": ("m", "v", "third", "fourth")})()
    optimizer.apply_gradients([(weights.copy(), weights)])
    optimizer.set_variables([*optimizer.variables[:5], np.full(3, 2, "float32")])
    assert_allclose(optimizer.variables[5], [2, 2, 2], rtol=1e-6)
    assert_array_equal(optimizer.get_state()["state"][0][3], 2 * weights**0)
