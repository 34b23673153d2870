"""The mean squared error for every shape of targets, and training a regression model with it.

`test_losses` compares its gradient, reductions, weights and names with Keras's.
"""

import functools

import numpy as np
import pytest
from arrays import through
from networks import network
from oracle import agree, both

import tinynet as bare  # without the conversion of arrays that `through` adds

pytestmark = pytest.mark.computes

tinynet = through(bare)
REDUCTIONS = ["sum_over_batch_size", "mean_with_sample_weight", "sum", None]
SHAPES = [((6, 3), (6, 3)), ((6,), (6, 1)), ((6, 1), (6, 1)), ((4, 5, 3), (4, 5, 3))]
X = np.random.default_rng(7).normal(size=(40, 2)).astype("float32")


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_values_equal_keras(keras, rng, shapes):
    y, p = (rng.normal(size=shape).astype("float32") for shape in shapes)

    def program(library, targets, reduction, weights=None):
        loss = library.losses.MeanSquaredError(reduction)
        return loss(targets, p, sample_weight=weights)

    for reduction in REDUCTIONS:
        for weights in (None, rng.uniform(0, 2, len(y)).astype("float32"))[: 1 + (p.ndim == 2)]:
            theirs, ours = both(keras, program, y, reduction, weights, ours=tinynet)
            agree(theirs, ours, rtol=1e-6, place=str(reduction))
    for kind in ("int64", "uint8", "float64", "bool"):
        targets = (10 * abs(y)).astype(kind)
        theirs, ours = both(
            keras, lambda library, y=targets: library.losses.mean_squared_error(y, p), ours=tinynet
        )
        agree(theirs, ours, rtol=1e-6, place=kind)


def test_a_missing_axis_does_not_affect_the_mean(keras, rng):
    for shapes in (((6, 1), (6,)), ((4, 5), (4, 5, 1))):
        y, p = (rng.normal(size=shape).astype("float32") for shape in shapes)
        program = lambda library, y=y, p=p: library.losses.MeanSquaredError()(y, p)  # noqa: E731
        agree(*both(keras, program, ours=tinynet), rtol=1e-6)


def trained(library, identifier, column):
    """Return the history and the weights of a regression model with given initial weights."""
    model = network((5, "tanh"), (1,), inputs=(2,), library=library)
    rng = np.random.default_rng(3)
    model.set_weights([rng.normal(size=w.shape) * 0.5 for w in model.get_weights()])
    model.compile("adam", identifier, metrics=[identifier])
    y = X[:, 0] * X[:, 1]
    y = y[:, None] if column else y
    history = model.fit(X, y, epochs=3, batch_size=8, verbose=0, shuffle=False).history
    return dict(history), model.get_weights()


@pytest.fixture(scope="module")
def of_keras(keras):
    """Return training in Keras, which is computed once for all backends."""
    return functools.cache(lambda *arguments: trained(keras, *arguments))


@pytest.mark.parametrize(
    ("identifier", "column"),
    [
        ("mse", False),
        pytest.param("mse", True, marks=pytest.mark.long),
        pytest.param("MSE", True, marks=pytest.mark.long),
        pytest.param("mean_squared_error", False, marks=pytest.mark.long),
        pytest.param("MeanSquaredError", True, marks=pytest.mark.long),
    ],
)
def test_training_a_regression_model_equals_keras(of_keras, identifier, column):
    theirs, ours = of_keras(identifier, column), trained(bare, identifier, column)
    assert list(ours[0]) == sorted([identifier, "loss"])
    agree(theirs[0], ours[0], rtol=1e-6)
    agree(theirs[1], ours[1], atol=1e-6)


def test_targets_of_another_shape_are_refused():
    words = r"must have the same shape.*one number for each output. Write: y = y.reshape\(-1, "
    for y, p in (((4, 3), (4, 5)), ((4,), (4, 3)), ((4, 1), (4, 3))):
        with pytest.raises(ValueError, match=words):
            tinynet.losses.MeanSquaredError()(np.zeros(y), np.zeros(p))
