"""The optimizers compared with Keras's, step by step: twenty steps on gradients from 1e-6 (where ε
matters) to 1e3, of mixed signs and sometimes 0, with a change of the learning rate halfway; then
inside `fit`. `test_layers` compares configurations and names with Keras's.

The bounds are about three times the observed rounding errors, and far below the effect of the
smallest mistakes: β off by 0.001, ε inside the root or bias-corrected, t off by one, or bias
corrections in float64.
"""

import copy
import functools
import json
import math
import pickle
from itertools import pairwise

import numpy as np
import pytest
from arrays import assert_allclose, assert_array_equal, look, put
from networks import network
from oracle import agree, both, refused, variables
from tinynet.optimizers.schedules import ExponentialDecay

import tinynet
from tinynet import backend
from tinynet.optimizers import SGD, Adam, RMSprop

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
    "AdamW with two excluded": (Adam, {"weight_decay": 0.3, "amsgrad": True, "beta_2": 0.5}),
    "RMSprop": (RMSprop, {}),
    "RMSprop with momentum": (RMSprop, {"momentum": 0.5, "rho": 0.8, "weight_decay": 0.3}),
    "centered": (RMSprop, {"centered": True, "epsilon": 1e-5}),
    "centered with momentum": (RMSprop, {"centered": True, "momentum": 0.7}),
    # These are below the norms of the first and the third array, and above that of the second.
    "clipnorm": (SGD, {"clipnorm": 50.0, "momentum": 0.9}),
    "global_clipnorm": (SGD, {"global_clipnorm": 50.0, "momentum": 0.9, "nesterov": True}),
    "clipvalue": (SGD, {"clipvalue": 1.0, "momentum": 0.9}),
}
every_rule = pytest.mark.parametrize("rule", RULES)
FOUR_OF_RMSPROP = ["RMSprop", "RMSprop with momentum", "centered", "centered with momentum"]
EXCLUDED = 0, 2  # the arrays that do not decay, in rules "with two excluded"

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


def limit_of(rule):
    """Return the limit of the gradients; infinity if they are not clipped."""
    limits = [value for name, value in RULES[rule][1].items() if "clip" in name]
    return limits[0] if limits else math.inf


def exclude(optimizer, rule, arrays):
    if rule.endswith("excluded"):
        optimizer.exclude_from_weight_decay([arrays[n] for n in EXCLUDED])
    return optimizer


def cut(vector):
    """Split `vector` into arrays of SHAPES."""
    starts = np.cumsum([math.prod(shape) for shape in SHAPES])[:-1]
    parts = np.split(look(vector), starts)
    return [part.reshape(shape).copy() for part, shape in zip(parts, SHAPES, strict=True)]


def join(arrays):
    """Concatenate the arrays into one vector."""
    return np.concatenate([np.asarray(look(array)).ravel() for array in arrays])


def training(rule, library, arrays, convert):
    """Yield the weights, and the optimizer's variables, before and after every step."""
    optimizer = exclude(make(rule, library), rule, arrays)
    optimizer.build(arrays)
    for number, gradient in enumerate([None, *GRADIENTS]):
        if number == STEPS // 2 + 1:
            optimizer.learning_rate = 0.003
        if number:
            parts = map(convert, cut(gradient))
            optimizer.apply_gradients(list(zip(parts, arrays, strict=True)))
        yield join(arrays), [np.asarray(look(variable)) for variable in optimizer.variables]


def start(rule):
    """Return small weights; 0 for SGD without decay: its steps are proportional to gradients."""
    kind, arguments = RULES[rule]
    return cut(0 * START if kind is SGD and "weight_decay" not in arguments else START)


@pytest.fixture(scope="module")
def of_keras(keras):
    """Return a rule's training in Keras, which is computed once for all backends."""

    @functools.cache
    def run(rule):
        arrays = [keras.Variable(array) for array in start(rule)]
        return list(training(rule, keras, arrays, np.asarray))

    return run


# Steps


def bounds(rule):
    """Return the largest errors that rounding causes in the weights, and by the names of slots."""
    size = np.minimum(SIZES, limit_of(rule))
    kind = RULES[rule][0]
    steps = {SGD: 1e-6 * size + 3e-8 * bool(RULES[rule][1].get("weight_decay"))}
    slots = {"m": size, "velocity": size if kind is SGD else size**2, "average_gradient": size}
    slots |= {"v": size**2, "largest_v": size**2, "momentum": 0.03 + 0 * size}
    return steps.get(kind, 3e-8), {name: 1e-6 * scale for name, scale in slots.items()}


def by_slot(optimizer, variables):
    """Return the name of each slot and its arrays, of Keras's list of variables."""
    count = len(SHAPES)
    if isinstance(optimizer, RMSprop):  # one slot after the other
        places = {name: slice(2 + n * count, None) for n, name in enumerate(optimizer.slots)}
    else:  # the first two slots alternate by weight, a third follows
        beside = min(len(optimizer.slots), 2)
        places = {name: slice(2 + n, None, beside) for n, name in enumerate(optimizer.slots[:2])}
        places |= {name: slice(2 + 2 * count, None) for name in optimizer.slots[2:]}
    return {name: join(variables[place][:count]) for name, place in places.items()}


@every_rule
def test_every_step_and_all_variables_equal_keras(of_keras, rule):
    optimizer = make(rule)
    ours = training(rule, tinynet, [put(array) for array in start(rule)], put)
    bound, slot_bounds = bounds(rule)
    for step, (expected, received) in enumerate(zip(of_keras(rule), ours, strict=True)):
        assert (np.abs(received[0] - expected[0]) <= bound).all(), f"step {step}"
        theirs, variables = expected[1], received[1]
        assert [(v.shape, v.dtype) for v in variables] == [(v.shape, v.dtype) for v in theirs]
        assert variables[:2] == theirs[:2]
        slots = by_slot(optimizer, theirs)
        for slot, values in by_slot(optimizer, variables).items():
            difference = np.abs(values - slots[slot])
            assert (difference <= slot_bounds[slot]).all(), f"{slot}, step {step}"
    assert np.abs(received[0]).max() > 1e-2


@every_rule
def test_the_steps_follow_the_formulas_of_the_docstrings(rule):
    """Work in float64, with the corrected means of the paper: ε = ε̂ / √(1 − β₂ᵗ)."""
    tinynet.config.set_floatx("float64")
    optimizer, w, limit = make(rule), START.astype("float64"), limit_of(rule)
    ours, eta, m, v, a, largest = put(w), optimizer.learning_rate, 0, 0, 0, 0
    exclude(optimizer, rule, [ours] * 3)
    decay = 0 if rule.endswith("excluded") else optimizer.weight_decay or 0
    for t, given in enumerate(GRADIENTS.astype("float64"), start=1):
        w = w - eta * decay * w
        g = given if math.isinf(limit) else given * limit / max(limit, math.hypot(*given))
        g = given.clip(-limit, limit) if rule == "clipvalue" else g
        if isinstance(optimizer, RMSprop):
            rho, share = optimizer.rho, 1 - optimizer.rho
            v, a = rho * v + share * g**2, rho * a + share * g
            variance = v - a**2 if optimizer.centered else v
            m = optimizer.momentum * m + eta * g / np.sqrt(variance + optimizer.epsilon)
            w = w - m
        elif isinstance(optimizer, SGD):
            v = optimizer.momentum * v - eta * g
            w = w + (optimizer.momentum * v - eta * g if optimizer.nesterov else v)
        else:
            beta_1, beta_2 = optimizer.beta_1, optimizer.beta_2
            m, v = beta_1 * m + (1 - beta_1) * g, beta_2 * v + (1 - beta_2) * g**2
            largest = np.maximum(largest, v) if optimizer.amsgrad else v
            correction = math.sqrt(1 - beta_2**t)
            step = m / (1 - beta_1**t) / (np.sqrt(largest) + optimizer.epsilon) * correction
            w = w - eta * step
        optimizer.apply_gradients([(put(given), ours)])
        assert_allclose(ours, w, rtol=1e-9, atol=1e-12)


@every_rule
def test_one_long_vector_is_updated_like_its_parts(rule):
    parts, whole, weights = make(rule), make(rule), put(START.copy())
    arrays, names = [put(array) for array in cut(START)], ["first", "two", "third", "four"]
    exclude(parts, rule, arrays)
    if rule.endswith("excluded"):
        whole.exclude_from_weight_decay(var_names=["^fi", "ird"])
    whole.build([weights], parts=[list(zip(names, arrays, strict=True))])
    for gradient in GRADIENTS[:5]:
        parts.apply_gradients(zip(map(put, cut(gradient)), arrays, strict=True))
        whole.apply_gradients([(put(gradient), weights)])
    equal = assert_array_equal
    if math.isfinite(limit_of(rule)):  # sums of squares depend on where numbers are in memory
        equal = functools.partial(assert_allclose, rtol=1e-6)
    equal(weights, join(arrays))
    for expected, received in zip(parts.variables, whole.variables, strict=True):
        equal(received, expected, strict=True)


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


@pytest.mark.parametrize(
    "rule", ["AdamW with two excluded", "centered", "clipnorm", "global_clipnorm", "clipvalue"]
)
def test_arrays_may_lie_in_memory_in_any_way(rule):
    ends, (many, few) = [], (slice(200), slice(200, None))
    for layout in ("in rows", "transposed", "every second row"):
        values = START[many].reshape(40, 5)
        weights = {
            "in rows": lambda values=values: put(values.copy()),
            "transposed": lambda values=values: put(values.T.copy()).T,
            "every second row": lambda values=values: put(np.repeat(values, 2, axis=0))[::2],
        }[layout]()
        arrays = [put(START[few].copy()), weights, put(START[few].copy())]
        optimizer = exclude(make(rule), rule, arrays)
        for gradient in GRADIENTS[:3]:
            given = gradient[many].reshape(40, 5)
            given = put(given) if layout == "in rows" else put(given.T.copy()).T
            other = put(gradient[few])
            optimizer.apply_gradients(zip([other, given, other], arrays, strict=True))
        ends.append([*map(look, arrays), *optimizer.variables[2:]])
    for end in ends[1:]:
        agree(ends[0], end, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("limit", ["clipnorm", "global_clipnorm", "clipvalue"])
def test_unusual_gradients_are_clipped_as_in_keras(keras, limit):
    def program(library, values):
        arrays = [np.ones(3, "float32"), np.ones(3, "float32")]
        arrays = list(map(put if library is tinynet else keras.Variable, arrays))
        gradients = [np.array(values, "float32"), np.full(3, 0.5, "float32")]
        gradients = gradients if library is keras else list(map(put, gradients))
        optimizer = library.optimizers.SGD(0.5, **{limit: 2.0})
        optimizer.apply_gradients(zip(gradients, arrays, strict=True))
        return [np.asarray(look(array)) for array in arrays]

    with backend.ignore_warnings():
        for values in ([0, 0, 0], [math.nan, 1, 3], [math.inf, 1, 3], [1e-30, 0, 5], [1e30, 1, 0]):
            agree(*both(keras, program, values), rtol=1e-6)


@pytest.mark.parametrize(
    "rule", ["amsgrad with decay", "momentum", "centered with momentum", "global_clipnorm"]
)
def test_variables_without_a_gradient_stay_as_they_are(keras, rule):
    """In the second of three steps, two have none; the third shows whether their slots changed."""
    results = []
    for library, convert in ((keras, keras.Variable), (tinynet, put)):
        arrays = [convert(array) for array in start(rule)]
        optimizer = exclude(make(rule, library), rule, arrays)
        optimizer.build(arrays)
        for step, gradient in enumerate(GRADIENTS[:3]):
            gradients = cut(gradient) if library is keras else list(map(put, cut(gradient)))
            before = join(arrays)
            if step != 1:
                optimizer.apply(gradients)
                continue
            gradients[0] = gradients[3] = None
            with pytest.warns(UserWarning, match="[Gg]radient.* for "):
                optimizer.apply_gradients(zip(gradients, arrays, strict=True))
            assert_array_equal(join(arrays[:1]), before[: SHAPES[0][0] * SHAPES[0][1]])
        results.append((join(arrays), [np.asarray(look(v)) for v in optimizer.variables]))
    (weights, theirs), (received, ours) = results
    bound, slot_bounds = bounds(rule)
    assert (np.abs(received - weights) <= bound).all()
    assert ours[0] == theirs[0] == 3
    slots = by_slot(optimizer, theirs)
    for slot, values in by_slot(optimizer, ours).items():
        assert (np.abs(values - slots[slot]) <= slot_bounds[slot]).all(), slot


# State


@pytest.mark.parametrize("rule", ["amsgrad with decay", "nesterov", *FOUR_OF_RMSPROP])
def test_training_continues_with_the_variables_of_keras(of_keras, rule):
    states, arrays = of_keras(rule), [put(array) for array in start(rule)]
    optimizer = exclude(make(rule), rule, arrays)
    optimizer.build(arrays)
    for way in ("set_weights", "set_variables", "load_own_variables"):
        weights, variables = states[6]
        for array, values in zip(arrays, cut(weights), strict=True):
            array[...] = put(values)
        if way == "load_own_variables":
            variables = {str(n): variable for n, variable in enumerate(variables)}
        getattr(optimizer, way)(variables)
        optimizer.save_own_variables(saved := {})
        assert list(saved) == [str(number) for number in range(len(saved))]
        agree(states[6][1], list(saved.values()))
        for gradient in GRADIENTS[6:9]:
            optimizer.apply(list(map(put, cut(gradient))))
        assert optimizer.iterations == 9
        assert (np.abs(join(arrays) - states[9][0]) <= bounds(rule)[0]).all(), way


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


def halved():
    return 0.5


RATES = {"schedule": ExponentialDecay(0.1, 2, 0.5), "function": halved, "number": 0.1}


@pytest.mark.parametrize("rate", RATES)
def test_copied_optimizers_continue_with_their_rates_and_limits(rate):
    weights = put(START.copy())
    optimizer = RMSprop(RATES[rate], momentum=0.5, clipnorm=50.0, weight_decay=0.1)
    optimizer.exclude_from_weight_decay(var_names=["b"])
    optimizer.build([weights], parts=[[("a", weights[:9]), ("b", weights[9:])]])
    optimizer.apply_gradients([(put(GRADIENTS[0]), weights)])
    both_parts, ends = (optimizer, weights), []
    pickled = pickle.loads(pickle.dumps(both_parts))
    for each, array in (copy.deepcopy(both_parts), pickled, both_parts):
        for gradient in GRADIENTS[1:4]:
            each.apply_gradients([(put(gradient), array)])
        ends.append([look(array), *each.variables, np.float64(each.learning_rate)])
    for end in ends[1:]:
        agree(ends[0], end)


# Learning rates


def test_a_learning_rate_is_a_number_with_the_methods_of_keras_s_variable(keras):
    def program(library):
        optimizer = library.optimizers.Adam(0.1)
        rate = optimizer.learning_rate
        got = [rate.numpy(), np.asarray(rate.value)[()]]
        rate.assign(0.25)
        return *got, float(optimizer.learning_rate), optimizer.get_config()["learning_rate"]

    expected, received = both(keras, program)
    assert received == expected
    assert [type(part) for part in received[:2]] == [np.float32] * 2
    rate = Adam(0.1).learning_rate
    assert rate == np.float32(0.1)
    assert json.loads(json.dumps({"lr": rate})) == {"lr": rate}
    for plain in (pickle.loads(pickle.dumps(rate)), copy.deepcopy(rate), copy.copy(rate)):
        assert type(plain) is float
        assert plain == rate
    tinynet.config.set_floatx("float64")
    assert Adam(0.1).learning_rate.numpy().dtype == "float64"


@pytest.mark.parametrize("staircase", [False, True])
def test_the_rates_of_a_schedule_equal_keras(keras, staircase):
    def program(library):
        schedule = library.optimizers.schedules.ExponentialDecay(0.3, 4, 0.5, staircase)
        return [float(schedule(step)) for step in range(10)], schedule.get_config()

    (expected, theirs), (received, ours) = both(keras, program)
    assert_allclose(received, expected, rtol=3e-7)
    assert ours == theirs


@pytest.mark.parametrize("steps", [10 / 3, 0.1, 7 / 3, 3.125])
def test_a_staircase_of_fractions_is_rounded_in_float32_as_in_keras(keras, steps):
    def program(library):
        schedule = library.optimizers.schedules.ExponentialDecay(1.0, steps, 0.5, staircase=True)
        return [float(schedule(step)) for step in (0, 1, 3, 7, 10, 20, 25, 30)]

    agree(*both(keras, program), rtol=3e-7)


def test_a_schedule_of_many_steps_at_once_or_without_a_limit_is_that_of_keras(keras):
    def program(library):
        schedule = library.optimizers.schedules.ExponentialDecay
        rates = [schedule(0.1, 3, 0.5, staircase)(np.arange(7)) for staircase in (False, True)]
        return [*map(np.asarray, rates), float(schedule(0.1, 1, 10.0)(400))]

    expected, received = both(keras, program)
    agree(expected, received, rtol=3e-7)
    assert received[-1] == math.inf


def test_a_schedule_is_replaced_only_by_another_one_as_in_keras(keras):
    def change(library, *rates):
        schedule = library.optimizers.schedules.ExponentialDecay(0.3, 4, 0.5)
        optimizer, known = library.optimizers.SGD(0.5), {"schedule": schedule, "function": halved}
        counts = []
        for rate in rates:
            optimizer.learning_rate = known.get(rate, rate)
            counts.append((len(optimizer.variables), float(optimizer.learning_rate)))
        return counts

    for rates in (["schedule"], ["function", "schedule"], ["schedule", "function"]):
        expected, received = both(keras, change, *rates)
        assert received == expected
    refused(keras, lambda library: change(library, "schedule", 0.1), "[Ss]chedule", TypeError)
    # In Keras, this is an AttributeError: it would set a variable that is not there.
    assert change(tinynet, "function", 0.25) == [(1, 0.5), (2, 0.25)]


def test_a_function_is_called_once_in_each_step():
    rates = []

    def rate():
        rates.append(0.1 / (1 + len(rates)))
        return rates[-1]

    optimizer = Adam(rate, weight_decay=0.1)
    arrays = [put(np.ones(3, "float32")) for _ in range(3)]
    for step in range(1, 4):
        optimizer.apply_gradients([(array.copy(), array) for array in arrays])
        assert len(rates) == step


def test_a_function_is_called_once_in_each_step_of_fit():
    """Also where steps are replayed on a GPU; the beginning of `fit` looks at the rate as well."""
    ends = []
    for by_function in (False, True):
        steps = []

        def rate(steps=steps):
            steps.append(0.1 / (1 + len(steps)))
            return steps[-1]

        model = network((4, "tanh"), (2,), inputs=(3,), weights=WEIGHTS)
        model.compile(SGD(rate if by_function else 0.1), "mse")
        model.fit(X, Y, 4, epochs=3, shuffle=False, verbose=0)
        ends.append(len(steps))
    assert ends[1] in (30, 31)


def test_the_rate_is_up_to_date_after_a_step_that_was_none():
    class Failing(tinynet.Optimizer):
        def update(self, *arrays, scratch):
            raise ZeroDivisionError

    empty, failing, weights = SGD(0.5), Failing(0.5), put(np.ones(3, "float32"))
    empty.build([])
    empty.apply_gradients([])
    with pytest.raises(ZeroDivisionError):
        failing.apply_gradients([(weights, weights)])
    for optimizer in (empty, failing):
        optimizer.learning_rate = 0.25
        assert optimizer.learning_rate == 0.25


# In models

X = RNG.normal(size=(40, 3)).astype("float32")
Y = RNG.normal(size=(40, 2)).astype("float32")
WEIGHTS = [0.5 * RNG.normal(size=shape).astype("float32") for shape in [(3, 4), (4,), (4, 2), (2,)]]

FITS = {
    "AdamW without biases": ("Adam", {"learning_rate": 0.02, "weight_decay": 0.1}),
    "clipnorm, decay of two": ("SGD", {"momentum": 0.9, "clipnorm": 0.4, "weight_decay": 0.1}),
    "global_clipnorm, schedule": ("SGD", {"momentum": 0.8, "global_clipnorm": 0.5}),
    "clipvalue, staircase": ("RMSprop", {"centered": True, "momentum": 0.5, "clipvalue": 0.05}),
}
SCHEDULED = [kind for kind in FITS if kind.endswith(("schedule", "staircase"))]
every_fit = pytest.mark.parametrize("kind", FITS)


def compiled(library, kind):
    """Return a model with the optimizer of this kind, that has not trained."""
    name, arguments = FITS[kind]
    model = network((4, "tanh"), (2,), inputs=(3,), library=library, weights=WEIGHTS)
    schedule = library.optimizers.schedules.ExponentialDecay(0.05, 4, 0.5, "stair" in kind)
    scheduled = {"learning_rate": schedule} if kind in SCHEDULED else {}
    optimizer = getattr(library.optimizers, name)(**arguments, **scheduled)
    below, above = model.layers
    if kind == "AdamW without biases":
        optimizer.exclude_from_weight_decay(var_names=["bias"])
    elif kind == "clipnorm, decay of two":
        optimizer.exclude_from_weight_decay(var_list=[below.bias, above.kernel])
    model.compile(optimizer, "mse")
    return model


def fitted(model, epochs=3):
    model.fit(X, Y, 8, epochs=epochs, shuffle=False, verbose=0)
    return model


@pytest.fixture(scope="module")
def fitted_in_keras(keras):
    return functools.cache(lambda kind: fitted(compiled(keras, kind)))


@every_fit
def test_models_train_as_in_keras(fitted_in_keras, kind):
    theirs, ours = fitted_in_keras(kind), fitted(compiled(tinynet, kind))
    agree(theirs.get_weights(), ours.get_weights(), atol=1e-6)
    agree(variables(theirs), variables(ours), rtol=1e-4, atol=1e-7)
    assert_allclose(ours.optimizer.learning_rate, float(theirs.optimizer.learning_rate), rtol=3e-7)


@pytest.mark.parametrize("kind", SCHEDULED)
def test_files_of_models_with_a_schedule_are_read_by_either_library(
    keras, fitted_in_keras, tmp_path, kind
):
    theirs, ours = fitted_in_keras(kind), fitted(compiled(tinynet, kind))
    for model, load in ((theirs, tinynet.models.load_model), (ours, keras.models.load_model)):
        model.save(tmp_path / "m.keras")
        loaded = load(tmp_path / "m.keras")
        agree(variables(model), variables(loaded))
        assert loaded.optimizer.get_config() == model.optimizer.get_config()
        assert_allclose(
            float(loaded.optimizer.learning_rate), float(model.optimizer.learning_rate), 3e-7
        )
    ours.save(tmp_path / "m.keras")
    loaded = tinynet.models.load_model(tmp_path / "m.keras")
    agree(fitted(ours, 1).get_weights(), fitted(loaded, 1).get_weights())


@every_fit
def test_copied_and_moved_models_continue(kind):
    with backend.use("numpy"):
        model = fitted(compiled(tinynet, kind), 1)
        others = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
        moved = copy.deepcopy(model)
        fitted(model, 2)
    moved.to(backend.backend())
    for other in (*others, moved):
        fitted(other, 2)
        agree(model.get_weights(), look(other.get_weights()), atol=1e-6)
        agree(variables(model), variables(other), rtol=1e-5, atol=1e-8)


class Freezing(tinynet.callbacks.Callback):
    """Freeze the lower layer in odd epochs; keep the weights at the beginning of each."""

    def __init__(self):
        super().__init__()
        self.before = []

    def on_epoch_begin(self, epoch, logs=None):
        self.before.append([w.copy() for w in self.model.get_weights()])
        self.model.layers[0].trainable = epoch % 2 == 0


@pytest.mark.parametrize("change", ["none", "copied", "moved", "longer"])
@pytest.mark.parametrize("by_name", [False, True])
def test_excluded_weights_do_not_decay_however_layers_are_frozen(by_name, change):
    """The same steps without decay say what decay adds to each weight."""
    with backend.use("numpy"):
        model = network((4, "tanh"), (2,), inputs=(3,), weights=WEIGHTS)
        optimizer, (below, above) = SGD(0.125, weight_decay=0.5), model.layers
        excluded = {"var_names": ["bias"]} if by_name else {"var_list": [below.bias, above.bias]}
        optimizer.exclude_from_weight_decay(**excluded)
        model.compile(optimizer, "mse")
    if change == "moved":
        model.to(backend.backend())
    elif change == "longer":
        model.add(tinynet.layers.Dense(2, use_bias=False))
    plain = copy.deepcopy(model)
    model.fit(X, Y, 40, verbose=0)
    model = copy.deepcopy(model) if change == "copied" else model
    freezing = Freezing()
    model.fit(X, Y, 40, epochs=3, verbose=0, callbacks=[freezing])
    steps = [*freezing.before, model.get_weights()]
    for epoch, (before, after) in enumerate(pairwise(steps)):
        plain.layers[0].trainable = epoch % 2 == 0
        plain.set_weights(before)
        plain.compile(SGD(0.125), "mse")
        plain.fit(X, Y, 40, verbose=0)
        for n, (w, now, without) in enumerate(zip(before, after, plain.get_weights(), strict=True)):
            decays = n % 2 == 0 and (n > 1 or epoch % 2 == 0)
            assert_allclose(without - now, 0.0625 * w * decays, atol=1e-6, err_msg=f"{epoch}, {n}")


@pytest.mark.parametrize("kind", SCHEDULED)
def test_an_interrupted_training_with_a_schedule_is_resumed(tmp_path, kind):
    class Failing(tinynet.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations == last:
                raise ZeroDivisionError

    def train():
        model = compiled(tinynet, kind)
        callbacks = [tinynet.callbacks.BackupAndRestore(tmp_path, save_freq=1), Failing()]
        model.fit(X, Y, 8, epochs=3, shuffle=False, verbose=0, callbacks=callbacks)
        return model

    last = 7
    with pytest.raises(ZeroDivisionError):
        train()
    last = None
    expected, model = fitted(compiled(tinynet, kind)), train()
    agree(expected.get_weights(), model.get_weights())
    agree(variables(expected), variables(model))


def test_nan_leads_back_to_the_rate_of_the_last_finite_epoch():
    class Spoiling(tinynet.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                self.model.layers[0].kernel[...] = math.nan

    expected = fitted(compiled(tinynet, "global_clipnorm, schedule"), 2)
    model = compiled(tinynet, "global_clipnorm, schedule")
    with pytest.raises(ValueError, match="as after epoch 2"):
        model.fit(X, Y, 8, epochs=3, shuffle=False, verbose=0, callbacks=[Spoiling()])
    agree(expected.get_weights(), model.get_weights())
    agree(variables(expected), variables(model))
    assert model.optimizer.learning_rate == expected.optimizer.learning_rate


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


def test_the_same_arguments_are_refused_as_in_keras(keras):
    def without_gradients(library):
        weights = put(np.ones(3, "float32"))
        weights = weights if library is tinynet else library.Variable(look(weights))
        library.optimizers.SGD().apply_gradients([(None, weights)] * 2)

    said = "No gradients provided for any variable"
    refused(keras, without_gradients, said)
    refused(keras, lambda library: library.optimizers.SGD().apply([None]), "built")
    for limits in (
        {"clipnorm": 1.0, "clipvalue": 1.0},
        {"clipvalue": 1.0, "global_clipnorm": 1.0},
        {"clipnorm": 1.0, "global_clipnorm": 0.0},
    ):
        refused(keras, lambda library, limits=limits: library.optimizers.RMSprop(**limits), "clip")
    refused(keras, lambda library: library.optimizers.Adam().set_weights([]), "buil|shapes")
    refused(keras, lambda library: library.optimizers.Adam().lr, "lr", AttributeError)
    optimizer = Adam(0.1)
    for use in (lambda: optimizer.lr, lambda: setattr(optimizer, "lr", 0.5)):
        with pytest.raises(AttributeError, match="Expected learning_rate, received"):
            use()
    assert optimizer.learning_rate == np.float32(0.1)
    assert not hasattr(optimizer, "lr")
    optimizer.build([put(START.copy())])
    with pytest.raises(ValueError, match="before 'adam"):
        optimizer.exclude_from_weight_decay(var_names=["bias"])


def test_a_step_without_gradients_changes_nothing():
    optimizer, weights = Adam(), put(np.ones(3, "float32"))
    with pytest.raises(ValueError, match="None for every variable"):
        optimizer.apply_gradients([(None, weights)])
    assert (optimizer.built, optimizer.iterations) == (False, 0)


def test_optimizers_are_found_as_in_keras(keras):
    def program(library):
        kinds = [library.optimizers.get(name) for name in ("rmsprop", "RMSprop", "adam", "SGD")]
        schedule = library.optimizers.schedules.ExponentialDecay(0.1, 3, 0.5, True)
        made = library.optimizers.RMSprop(schedule, 0.8, 0.3, 1e-5, True, name="made")
        again = library.optimizers.deserialize(library.optimizers.serialize(made))
        found = [type(each).__name__ for each in (*kinds, again)]
        config = again.get_config()
        return found, {name: config[name] for name in sorted(config)}

    expected, received = both(keras, program)
    assert received == expected
    refused(keras, lambda library: library.optimizers.get("nadamm"))


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
