"""What several lessons' checks need: numbers, the sigmoid, and a student's own parts, which run."""

from collections.abc import Callable

import numpy as np

from tinynet.backend import random
from tinynet.backend.types import HostArray
from tinynet.course.errors import OPEN, failure
from tinynet.course.grading import not_yet, right
from tinynet.inspection.gradient_check import check_gradients
from tinynet.layers import Dense, Flatten, Input, Layer
from tinynet.losses import Loss
from tinynet.models import Sequential

BEFORE = 7.0  # what the gradients of a layer are before `backward` writes them


def draw(*size: int) -> HostArray:
    """Return random numbers, the same ones in each call."""
    return np.random.default_rng(4).normal(size=size)


def sigmoid(z: HostArray) -> HostArray:
    return np.asarray(1 / (1 + np.exp(-z)))


def slope_of_sigmoid(z: HostArray) -> HostArray:
    return np.asarray(sigmoid(z) * (1 - sigmoid(z)))


def expect_class(answer: object, base: type) -> None:
    """Raise `GapError` unless the answer is a class derived from `base`."""
    if answer is ...:
        raise not_yet(OPEN)
    if not (isinstance(answer, type) and issubclass(answer, base)):
        what = f"the class, derived from tinynet.{base.__name__}, without brackets"
        raise not_yet(f"Expected {what}; received {answer!r:.60}.")


def gradients_of(
    layer: Layer, x: HostArray, weights: list[HostArray], gradient: HostArray
) -> list[HostArray | None]:
    """Return the gradients of a layer's weights, and what its `backward` returns."""
    with random.on_a_copy():  # so that later random numbers do not depend on the attempts
        Sequential([Input(x.shape[1:]), layer]).set_weights(weights)
    for name in layer.weight_names:
        getattr(layer, f"{name}_gradient")[...] = BEFORE  # to see what is never written
    layer.forward(x, training=True)
    passed = layer.backward(gradient)
    return [*(np.array(getattr(layer, f"{n}_gradient")) for n in layer.weight_names), passed]


def check_in_model(
    layers: Callable[[], list[Layer]],
    praise: str,
    shape: tuple[int, ...] = (5,),
    loss: str | Loss = "categorical_crossentropy",
) -> None:
    """Check a whole model of the student's parts with central differences, and show the table.

    Arguments: a function that returns its layers; what to say of them; the shape of an input; the
    loss.
    """
    with random.on_a_copy():
        stack = [Input(shape), *layers(), Flatten(), Dense(3, "softmax")]
        model = Sequential(stack, name="yours")
    model.compile("sgd", loss)
    x = np.random.default_rng(3).normal(size=(4, *shape))
    try:
        table = check_gradients(model, x, np.eye(3)[[0, 2, 1, 2]])
    except Exception as error:
        raise not_yet(failure(error, f"x of shape {x.shape}")) from None
    if not table:
        raise not_yet(f"Its gradients are right for the part alone, but not in a model.\n{table}")
    right(f"{praise}\n{table}")
