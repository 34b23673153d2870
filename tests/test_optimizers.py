"""SGD and Adam compared with Keras's, step by step: twenty steps on gradients from 1e-6 (where ε
matters) to 1e3, of mixed signs and sometimes 0, with a change of the learning rate halfway.

The bounds are about three times the observed rounding errors, and far below the effect of the
smallest mistakes: β off by 0.001, ε inside the root or bias-corrected, t off by one, or bias
corrections in float64.
"""

import functools
import math

import numpy as np
import pytest
from arrays import assert_allclose, assert_array_equal, look, put
from oracle import both, refused, same

import tinynet
from tinynet import backend, optimizers
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
    "nesterov": (SGD, {"momentum": 0.9, "nesterov": True}),
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


def test_adam_equals_the_formulas_of_its_docstring(rng):
    """Compare with the formulas of the docstring in float64, with ε = ε̂ / √(1 − β₂ᵗ)."""
    tinynet.config.set_floatx("float64")
    sizes = 10 ** rng.uniform(-6, 3, 50)
    weights, m, v = np.zeros(50), np.zeros(50), np.zeros(50)
    ours = put(weights.copy())
    optimizer = Adam(learning_rate=0.01, beta_1=0.8, beta_2=0.99, epsilon=1e-5)
    for t in range(1, STEPS + 1):
        g = sizes * rng.normal(size=50)
        m, v = 0.8 * m + 0.2 * g, 0.99 * v + 0.01 * g**2
        m_hat, v_hat = m / (1 - 0.8**t), v / (1 - 0.99**t)
        weights -= 0.01 * m_hat / (np.sqrt(v_hat) + 1e-5 / math.sqrt(1 - 0.99**t))
        optimizer.apply_gradients([(put(g), ours)])
        assert_allclose(ours, weights, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("kind", "arguments", "after_each_step"),
    [
        (SGD, {}, [0.9, 0.8]),
        (SGD, {"momentum": 0.5}, [0.9, 0.75]),  # v = -0.1, then -0.15
        (SGD, {"momentum": 0.5, "nesterov": True}, [0.85, 0.675]),  # w + v/2 - 0.1
        (SGD, {"weight_decay": 0.5}, [0.85, 0.7075]),  # 0.95 w - 0.1
        (Adam, {"epsilon": 0}, [0.9, 0.8]),  # a gradient that stays the same gives steps of η
        (Adam, {"epsilon": 0, "weight_decay": 0.5}, [0.85, 0.7075]),
    ],
)
def test_two_steps_with_a_gradient_of_1_are_as_found_by_hand(kind, arguments, after_each_step):
    tinynet.config.set_floatx("float64")
    optimizer, weights = kind(0.1, **arguments), put(np.ones(1))
    for expected in after_each_step:
        optimizer.apply_gradients([(put(np.ones(1)), weights)])
        assert_allclose(weights, [expected], rtol=1e-7)


@every_rule
def test_one_long_vector_is_updated_like_its_parts(rule):
    parts, whole, weights = make(rule), make(rule), put(START)
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
    optimizer, weights = make(rule), put(START)
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
    for kind in ("Adam", "SGD"):
        theirs, ours = both(keras, lambda library, k=kind: getattr(library.optimizers, k)(rate))
        assert ours.learning_rate == float(theirs.learning_rate) == np.float32(rate)
        ours.learning_rate = theirs.learning_rate = rate / 7
        assert ours.learning_rate == float(theirs.learning_rate)
    tinynet.config.set_floatx("float64")
    assert Adam(rate).learning_rate == rate


# Names and configurations


@every_rule
def test_the_configuration_equals_keras_and_recreates_the_optimizer(keras, rule):
    keras.utils.clear_session()
    theirs, ours = both(keras, lambda library: make(rule, library))
    assert optimizers.serialize(ours) == keras.optimizers.serialize(theirs)
    again = optimizers.get(keras.optimizers.serialize(theirs))
    assert type(again) is type(ours)
    assert again.get_config() == ours.get_config() == theirs.get_config()


def test_names_are_given_or_numbered_by_class_as_in_keras(keras):
    def names(library):
        adam, sgd = library.optimizers.Adam, library.optimizers.SGD
        return [one.name for one in (adam(), adam(), sgd(), adam(), adam(name="mine"))]

    keras.utils.clear_session()
    assert same(keras, names)[-1] == "mine"


@pytest.mark.parametrize("kind", [Adam, SGD])
def test_an_optimizer_is_found_by_name_class_configuration_or_instance(keras, kind):
    name = kind.__name__
    for identifier in (name.lower(), name, kind, {"class_name": name, "config": {}}):
        found = optimizers.get(identifier)
        assert type(found) is kind
        expected = keras.optimizers.get(name).get_config()
        assert {**found.get_config(), "name": 0} == {**expected, "name": 0}
    given = kind()
    assert optimizers.get(given) is given


# Mistakes


@pytest.mark.parametrize(
    ("kind", "arguments", "words"),
    [
        (Adam, {"learning_rate": -0.1}, "Argument `learning_rate` should be float"),
        (Adam, {"learning_rate": "fast"}, "Argument `learning_rate` should be float"),
        (Adam, {"learning_rate": True}, "Argument `learning_rate` should be float"),
        (Adam, {"lr": 0.1}, r"Argument\(s\) not recognized: {'lr': 0.1}"),
        (SGD, {"decay": 0.1}, r"Argument\(s\) not recognized: {'decay': 0.1}"),
        (SGD, {"momentum": 1.1}, r"`momentum` must be a float between \[0, 1\]"),
        (SGD, {"momentum": -0.1}, r"`momentum` must be a float between \[0, 1\]"),
        (Adam, {"beta_1": 1.0}, "beta_1 to be at least 0 and below 1"),
        (Adam, {"beta_2": -0.1}, "beta_2 to be at least 0 and below 1"),
        (Adam, {"weight_decay": -0.1}, "weight_decay to be a number of at least 0, or None"),
        (SGD, {"weight_decay": "much"}, "weight_decay to be a number of at least 0, or None"),
        (Adam, {"use_ema": True}, "use_ema=True, which Keras supports, but tinynet does not"),
        (SGD, {"clipnorm": 1.0}, "clipnorm=1.0, which Keras supports, but tinynet does not"),
        (Adam, {"name": "a/b"}, "cannot contain character `/`"),
    ],
)
def test_wrong_arguments_are_refused(kind, arguments, words):
    with pytest.raises(ValueError, match=words):
        kind(**arguments)


def test_an_unknown_optimizer_is_refused():
    for wrong in ("adm", "rmsprop", 3, None):
        with pytest.raises(ValueError, match=f"Could not interpret optimizer identifier: {wrong}"):
            optimizers.get(wrong)


def test_arguments_that_keras_refuses_raise_the_message_of_keras(keras):
    for wrong in ({"learning_rate": "fast"}, {"lr": 0.1}, {"name": "a/b"}):
        theirs, ours = refused(keras, lambda library, w=wrong: library.optimizers.Adam(**w), "Arg")
        assert theirs[:40] in ours


def test_a_refused_learning_rate_keeps_the_old_one():
    optimizer = Adam(0.5)
    for wrong in (-1, "fast", None):
        with pytest.raises(ValueError, match="`learning_rate` should be float"):
            optimizer.learning_rate = wrong
    assert optimizer.learning_rate == 0.5


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
        ([(g, w)], "arrays that this optimizer was built for"),
        ([(g, w), (g, b), (g, g)], "arrays that this optimizer was built for"),
        ([], "arrays that this optimizer was built for"),
    ]:
        with pytest.raises(ValueError, match=said):
            optimizer.apply_gradients(pairs)
        for kept, now in zip(before, (w, b, *optimizer.variables), strict=True):
            assert_array_equal(now, kept, strict=True)


def test_integer_weights_are_refused_before_anything_is_built():
    weights, optimizer = put(np.ones(3, int)), Adam()
    for call in (
        lambda: optimizer.build([weights]),
        lambda: optimizer.apply_gradients([(put(np.ones(3)), weights)]),
    ):
        with pytest.raises(ValueError, match="weights of a float type, received dtype int64"):
            call()
        assert not optimizer.built
    assert optimizer.iterations == 0
    assert_array_equal(weights, 1)


# User-defined optimizers


class Signs(tinynet.Optimizer):
    def update(self, weights, gradient, *state, scratch):
        weights -= self.learning_rate * backend.xp.sign(gradient, out=scratch)


class FourSlots(Adam):
    """Adam with two additional slots."""

    slots = ("m", "v", "first", "second")

    def update(self, weights, gradient, *state, scratch):
        super().update(weights, gradient, *state[:2], scratch=scratch)
        for number, slot in enumerate(state[2:]):
            slot[...] = number + 1


def test_a_user_defined_optimizer_needs_only_update():
    optimizer, weights = Signs(0.25), put(np.zeros(3, "float32"))
    optimizer.apply_gradients([(put(np.array([5.0, 0, -3], "float32")), weights)])
    assert_array_equal(weights, [-0.25, 0, 0.25])
    assert optimizer.name == "signs"
    with pytest.raises(NotImplementedError, match="Optimizer has to define update"):
        tinynet.Optimizer().apply_gradients([(weights, weights)])


def test_additional_slots_of_a_user_defined_optimizer_are_variables():
    weights = np.ones(3, "float32")
    optimizer = FourSlots()
    optimizer.apply_gradients([(weights.copy(), weights)])
    assert len(optimizer.variables) == 2 + 4
    assert_allclose(optimizer.variables[-1], 2 * (1 - 0.999), rtol=1e-4)
    optimizer.set_variables(optimizer.variables)
    assert_allclose(optimizer.get_state()["state"][0][3], [2, 2, 2], rtol=1e-6)
