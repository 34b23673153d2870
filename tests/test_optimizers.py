"""SGD and Adam compared with Keras's, step by step: twenty steps on gradients from 1e-6 (where ε
matters) to 1e3, of mixed signs and sometimes 0, with a change of the learning rate halfway.

The bounds are about three times the observed rounding errors, and far below the effect of the
smallest mistakes: β off by 0.001, ε inside the root or bias-corrected, t off by one, or bias
corrections in float64.
"""

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

RULES = [
    ("Adam", {}),
    ("Adam", {"learning_rate": 0.01, "beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-3}),
    ("SGD", {}),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("SGD", {"learning_rate": 0.1, "nesterov": True}),
    # With β₂ = 0.999, v hardly ever falls in that few steps, so the last v is also the largest.
    ("Adam", {"amsgrad": True, "beta_2": 0.5}),
    ("Adam", {"weight_decay": 0.1, "learning_rate": 0.01}),
    ("Adam", {"amsgrad": True, "beta_2": 0.6, "weight_decay": 0.3}),
    ("SGD", {"weight_decay": 0.2, "momentum": 0.5}),
]


def of_slot(variables, number, slots):
    """Return the arrays of one slot; the first two slots alternate by weight, a third follows."""
    beside = min(slots, 2)
    if number < 2:
        return variables[2 + number : 2 + beside * len(SHAPES) : beside]
    return variables[2 + 2 * len(SHAPES) :]


def cut(vector):
    """Split `vector` into arrays of SHAPES."""
    starts = np.cumsum([math.prod(shape) for shape in SHAPES])[:-1]
    parts = np.split(vector, starts)
    return [part.reshape(shape).copy() for part, shape in zip(parts, SHAPES, strict=True)]


def join(arrays):
    """Concatenate the arrays into one vector."""
    return np.concatenate([np.asarray(look(array)).ravel() for array in arrays])


@pytest.fixture
def sizes(rng):
    """The magnitude of each weight's gradients, from 1e-6 to 1e3."""
    return 10 ** rng.uniform(-6, 3, COUNT)


@pytest.fixture
def gradients(rng, sizes):
    """A gradient for each step; the sign is mostly positive, so that momentum builds up."""
    factors = rng.choice([-1, 0, 1], (STEPS, COUNT), p=[0.3, 0.05, 0.65])
    factors = factors * rng.uniform(0.2, 2, (STEPS, COUNT))
    return (sizes * factors).astype("float32")


def start(rng):
    """Return initial weights so small that a step of Adam is not lost in rounding."""
    return (0.01 * rng.normal(size=COUNT)).astype("float32")


class Twins:
    """Keras's optimizer and tinynet's, each with its own copy of the same weights."""

    def __init__(self, keras, name, arguments, weights):
        self.their_arrays = [keras.Variable(array) for array in cut(weights)]
        self.our_arrays = [put(array) for array in cut(weights)]
        self.theirs = getattr(keras.optimizers, name)(**arguments)
        self.ours = getattr(optimizers, name)(**arguments)
        self.theirs.build(self.their_arrays)
        self.ours.build(self.our_arrays)

    def step(self, gradient):
        self.theirs.apply_gradients(list(zip(cut(gradient), self.their_arrays, strict=True)))
        ours = map(put, cut(gradient))
        self.ours.apply_gradients(list(zip(ours, self.our_arrays, strict=True)))

    def difference(self):
        return np.abs(join(self.our_arrays) - join(self.their_arrays))


# Steps


@pytest.mark.parametrize(("name", "arguments"), RULES)
def test_every_step_equals_keras(keras, rng, sizes, gradients, name, arguments):
    # Adam's steps have the same size for all weights; SGD's are proportional to the gradients.
    twins = Twins(keras, name, arguments, start(rng) if name == "Adam" else np.zeros(COUNT, "f4"))
    bound = 3e-8 if name == "Adam" else 1e-6 * sizes
    for number, gradient in enumerate(gradients):
        if number == STEPS // 2:
            twins.theirs.learning_rate = twins.ours.learning_rate = 0.003
        twins.step(gradient)
        assert (twins.difference() <= bound).all(), f"step {number + 1}"
    assert np.abs(join(twins.our_arrays)).max() > 1e-2


@pytest.mark.parametrize(("name", "arguments"), RULES)
def test_the_variables_equal_those_of_keras(keras, rng, sizes, gradients, name, arguments):
    twins = Twins(keras, name, arguments, start(rng))
    for number, gradient in enumerate([None, *gradients]):
        if number:
            twins.step(gradient)
        if number not in (0, 1, STEPS):
            continue
        theirs, ours = twins.theirs.variables, twins.ours.variables
        assert [v.shape for v in ours] == [tuple(v.shape) for v in theirs]
        assert [v.dtype.name for v in ours] == [v.dtype for v in theirs]
        assert (ours[0], ours[1]) == (int(theirs[0].value), float(theirs[1].value))
        slots = len(twins.ours.slots)
        for slot in range(slots):  # slot 0 scales with the gradient, Adam's others with its square
            scale = sizes ** min(slot + 1, 2)
            difference = join(of_slot(ours, slot, slots)) - join(of_slot(theirs, slot, slots))
            assert (np.abs(difference) <= 1e-6 * scale).all(), f"slot {slot}, step {number}"


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


@pytest.mark.parametrize(("name", "arguments"), RULES)
def test_one_long_vector_is_updated_like_its_parts(rng, gradients, name, arguments):
    parts, whole = (getattr(optimizers, name)(**arguments) for _ in range(2))
    weights = put(start(rng))
    arrays = [put(array) for array in cut(look(weights))]
    whole.build([weights], parts=[SHAPES])
    for gradient in gradients[:5]:
        parts.apply_gradients(zip(map(put, cut(gradient)), arrays, strict=True))
        whole.apply_gradients([(put(gradient), weights)])
    assert_array_equal(weights, join(arrays))
    for expected, received in zip(parts.variables, whole.variables, strict=True):
        assert_array_equal(received, expected, strict=True)


@pytest.mark.parametrize(
    ("name", "arguments"), [rule for rule in RULES if "weight_decay" not in rule[1]]
)
def test_weights_change_in_place_and_gradients_stay_unchanged(rng, gradients, name, arguments):
    optimizer = getattr(optimizers, name)(**arguments)
    weights, kept = put(start(rng)), gradients[0]
    view, before, gradient = weights[:], look(weights.copy()), put(kept.copy())
    optimizer.apply_gradients([(gradient, weights)])
    assert_array_equal(gradient, kept)
    gradient, view = look(gradient), look(view)
    assert_array_equal(view[gradient == 0], before[gradient == 0])
    against = np.sign(view - before) * np.sign(gradient)
    assert set(against[np.abs(gradient) > 0.1]) == {-1}


@pytest.mark.parametrize(("name", "arguments"), RULES)
def test_float64_weights_and_their_slots_stay_float64(name, arguments):
    optimizer = getattr(optimizers, name)(**arguments)
    weights = put(np.ones(3))
    optimizer.apply_gradients([(put(np.full(3, 1e-3)), weights)])
    assert weights.dtype == np.float64
    assert {v.dtype.name for v in optimizer.variables[2:]} <= {"float64"}


# State


@pytest.mark.parametrize(("name", "arguments"), RULES)
def test_variables_and_saved_states_are_copies(rng, gradients, name, arguments):
    optimizer, weights = getattr(optimizers, name)(**arguments), put(start(rng))
    optimizer.build([weights])
    optimizer.apply_gradients([(put(gradients[0]), weights)])
    kept = [v.copy() for v in optimizer.variables]
    for variable in optimizer.variables:
        variable[...] = 7
    state = optimizer.get_state()
    optimizer.learning_rate = 0.5
    optimizer.apply_gradients([(put(gradients[1]), weights)])
    assert optimizer.iterations == 2
    optimizer.set_state(state)
    for expected, received in zip(kept, optimizer.variables, strict=True):
        assert_array_equal(received, expected, strict=True)


def test_the_state_can_be_restored_more_than_once(rng, gradients):
    optimizer, weights = Adam(), put(start(rng))
    optimizer.build([weights])
    optimizer.apply_gradients([(put(gradients[0]), weights)])
    state, before, results = optimizer.get_state(), weights.copy(), []
    for _ in range(2):
        weights[...] = before
        optimizer.set_state(state)
        optimizer.apply_gradients([(put(gradients[1]), weights)])
        results.append(weights.copy())
    assert_array_equal(*results)


@pytest.mark.parametrize("rate", [0.001, 0.1, 1 / 3, 1e-30])
def test_the_learning_rate_is_rounded_as_in_keras(keras, rate):
    for name in ("Adam", "SGD"):
        ours, theirs = getattr(optimizers, name)(rate), getattr(keras.optimizers, name)(rate)
        assert ours.learning_rate == float(theirs.learning_rate) == np.float32(rate)
        ours.learning_rate = theirs.learning_rate = rate / 7
        assert ours.learning_rate == float(theirs.learning_rate)
    tinynet.config.set_floatx("float64")
    assert Adam(rate).learning_rate == rate


# Names and configurations


@pytest.mark.parametrize(("name", "arguments"), RULES)
def test_the_configuration_equals_keras_and_recreates_the_optimizer(keras, name, arguments):
    arguments = {"name": "mine", **arguments}
    theirs, ours = both(keras, lambda library: getattr(library.optimizers, name)(**arguments))
    assert ours.get_config() == theirs.get_config()
    assert optimizers.serialize(ours) == keras.optimizers.serialize(theirs)
    again = optimizers.get(keras.optimizers.serialize(theirs))
    assert type(again) is type(ours)
    assert again.get_config() == ours.get_config()


def test_names_are_numbered_by_class_as_in_keras(keras):
    def names(library):
        adam, sgd = library.optimizers.Adam, library.optimizers.SGD
        return [one.name for one in (adam(), adam(), sgd(), adam(), adam(name="mine"))]

    keras.utils.clear_session()
    same(keras, names)


@pytest.mark.parametrize(("name", "cls"), [("adam", Adam), ("sgd", SGD)])
def test_an_optimizer_is_found_by_name_class_configuration_or_instance(keras, name, cls):
    for identifier in (name, cls.__name__, cls, {"class_name": cls.__name__, "config": {}}):
        found = optimizers.get(identifier)
        assert type(found) is cls
        expected = keras.optimizers.get(name).get_config()
        assert {**found.get_config(), "name": 0} == {**expected, "name": 0}
    given = cls()
    assert optimizers.get(given) is given


# Mistakes


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("Adam", {"learning_rate": -0.1}, "Argument `learning_rate` should be float"),
        ("Adam", {"learning_rate": "fast"}, "Argument `learning_rate` should be float"),
        ("Adam", {"learning_rate": True}, "Argument `learning_rate` should be float"),
        ("Adam", {"lr": 0.1}, r"Argument\(s\) not recognized: {'lr': 0.1}"),
        ("SGD", {"decay": 0.1}, r"Argument\(s\) not recognized: {'decay': 0.1}"),
        ("SGD", {"momentum": 1.1}, r"`momentum` must be a float between \[0, 1\]"),
        ("SGD", {"momentum": -0.1}, r"`momentum` must be a float between \[0, 1\]"),
        ("Adam", {"beta_1": 1.0}, "beta_1 to be at least 0 and below 1"),
        ("Adam", {"beta_2": -0.1}, "beta_2 to be at least 0 and below 1"),
        ("Adam", {"weight_decay": -0.1}, "weight_decay to be a number of at least 0, or None"),
        ("SGD", {"weight_decay": "much"}, "weight_decay to be a number of at least 0, or None"),
        ("Adam", {"use_ema": True}, "use_ema=True, which Keras supports, but tinynet does not"),
        ("SGD", {"clipnorm": 1.0}, "clipnorm=1.0, which Keras supports, but tinynet does not"),
        ("Adam", {"name": "a/b"}, "cannot contain character `/`"),
    ],
)
def test_wrong_arguments_are_refused(name, arguments, words):
    with pytest.raises(ValueError, match=words):
        getattr(optimizers, name)(**arguments)


@pytest.mark.parametrize("arguments", [{"learning_rate": "fast"}, {"lr": 0.1}, {"name": "a/b"}])
def test_arguments_that_keras_refuses_raise_the_message_of_keras(keras, arguments):
    theirs, ours = refused(keras, lambda library: library.optimizers.Adam(**arguments), "Arg")
    assert theirs[:40] in ours


@pytest.mark.parametrize("wrong", ["adm", "rmsprop", 3, None])
def test_an_unknown_optimizer_is_refused(wrong):
    with pytest.raises(ValueError, match=f"Could not interpret optimizer identifier: {wrong}"):
        optimizers.get(wrong)


def test_a_refused_learning_rate_keeps_the_old_one():
    optimizer = Adam(0.5)
    for wrong in (-1, "fast", None):
        with pytest.raises(ValueError, match="`learning_rate` should be float"):
            optimizer.learning_rate = wrong
    assert optimizer.learning_rate == 0.5


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        (lambda g, w, b: [(g[:2], w), (g, b)], "gradient of the weights' shape"),
        (lambda g, w, b: [(g, w), (g[:2], b)], "gradient of the weights' shape"),
        (lambda g, w, b: [(g, w), (g, b.copy())], "arrays that this optimizer was built for"),
        (lambda g, w, b: [(g, b), (g, w)], "arrays that this optimizer was built for"),
        (lambda g, w, b: [(g, w)], "arrays that this optimizer was built for"),
        (lambda g, w, b: [(g, w), (g, b), (g, g)], "arrays that this optimizer was built for"),
        (lambda g, w, b: [], "arrays that this optimizer was built for"),
    ],
)
@pytest.mark.parametrize(("name", "arguments"), RULES)
def test_a_refused_step_changes_nothing(name, arguments, pairs, said):
    optimizer = getattr(optimizers, name)(**arguments)
    gradient, w, b = (put(np.full(3, number, "float32")) for number in (0.1, 1, 2))
    optimizer.apply_gradients([(gradient, w), (gradient, b)])
    before = [array.copy() for array in (w, b, *optimizer.variables)]
    with pytest.raises(ValueError, match=said):
        optimizer.apply_gradients(pairs(gradient, w, b))
    for kept, now in zip(before, (w, b, *optimizer.variables), strict=True):
        assert_array_equal(now, kept, strict=True)


def test_integer_weights_cannot_be_trained():
    optimizer, weights = Adam(), put(np.ones(3, int))
    with pytest.raises(ValueError, match="weights of a float type, received dtype int64"):
        optimizer.apply_gradients([(put(np.ones(3)), weights)])
    assert not optimizer.built
    assert optimizer.iterations == 0
    assert_array_equal(weights, 1)


def test_a_user_defined_optimizer_needs_only_update():
    class Signs(tinynet.Optimizer):
        def update(self, weights, gradient, *state, scratch):
            weights -= self.learning_rate * backend.xp.sign(gradient, out=scratch)

    optimizer, weights = Signs(0.25), put(np.zeros(3, "float32"))
    optimizer.apply_gradients([(put(np.array([5.0, 0, -3], "float32")), weights)])
    assert_array_equal(weights, [-0.25, 0, 0.25])
    assert optimizer.name == "signs"
    with pytest.raises(NotImplementedError, match="Optimizer has to define update"):
        tinynet.Optimizer().apply_gradients([(weights, weights)])


def test_integer_weights_are_refused_before_anything_is_built():
    weights = put(np.array([1, 2]))
    optimizer = optimizers.Adam()
    for call in (
        lambda: optimizer.build([weights]),
        lambda: optimizer.apply_gradients([(put(np.ones(2)), weights)]),
    ):
        with pytest.raises(ValueError, match="Expected weights of a float type, received dtype"):
            call()
        assert not optimizer.built


def test_a_state_can_be_restored_in_another_or_a_rebuilt_optimizer():
    weights, others = np.ones(3, "float32"), np.ones(5, "float32")
    optimizer = optimizers.Adam()
    optimizer.apply_gradients([(weights, weights)])
    state = optimizer.get_state()
    other = optimizers.Adam()
    other.set_state(state)
    for one, two in zip(other.variables, optimizer.variables, strict=True):
        assert_array_equal(one, two)
    optimizer.build([others])
    optimizer.set_state(state)
    optimizer.apply_gradients([(weights, weights)])
    assert optimizer.iterations == 2


class FourSlots(optimizers.Adam):
    """Adam with two additional slots."""

    slots = ("m", "v", "first", "second")

    def update(self, weights, gradient, *state, scratch):
        super().update(weights, gradient, *state[:2], scratch=scratch)
        for number, slot in enumerate(state[2:]):
            slot[...] = number + 1


def test_additional_slots_of_a_user_defined_optimizer_are_variables():
    weights = np.ones(3, "float32")
    optimizer = FourSlots()
    optimizer.apply_gradients([(weights.copy(), weights)])
    assert len(optimizer.variables) == 2 + 4
    assert_allclose(optimizer.variables[-1], 2 * (1 - 0.999), rtol=1e-4)
    optimizer.set_variables(optimizer.variables)
    assert_allclose(optimizer.get_state()["state"][0][3], [2, 2, 2], rtol=1e-6)
