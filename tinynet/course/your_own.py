"""The checks of lesson 6, your own: an activation, a convolution, a loss, what a step costs."""

from collections.abc import Callable

import numpy as np

from tinynet.backend.types import HostArray
from tinynet.course.grading import Gap, agree, grade_parts, not_yet, numbers
from tinynet.course.parts import BEFORE, check_in_model, draw, expect_class, gradients_of
from tinynet.layers import Dense, Layer
from tinynet.losses import Loss


def _softplus(z: HostArray) -> HostArray:
    return np.asarray(np.logaddexp(z, 0))


def activation(
    forward: Callable[[HostArray], HostArray],
    backward: Callable[[HostArray, HostArray], HostArray],
) -> None:
    """Check softplus, and its backward function of ∂L/∂a and a."""
    g, a = draw(3, 4), _softplus(draw(2, 3, 4)[1])
    cases = [
        (np.array([-20.0, -3, -1, 0, 1, 2, 3, 5]), g, a),
        (np.array([30.0, 1000]), g[0, :2], np.array([30.0, 1000])),
    ]
    grade_parts(lambda z, g, a: (forward(z), backward(g, a)), cases, [
        ("softplus", lambda z, g, a: _softplus(z), {
            "For large z, eᶻ is infinite. Use np.logaddexp.": (
                lambda z, g, a: np.log(1 + np.exp(z))
            ),
            "This is ln eᶻ, which is z again: the 1 is missing.": (
                lambda z, g, a: np.log(np.exp(z))
            ),
            "logaddexp takes the exponentials itself: give it z and 0.": (
                lambda z, g, a: np.logaddexp(np.exp(z), 1)
            ),
            "The logarithm is missing.": lambda z, g, a: 1 + np.exp(z),
            "This is ln(eᶻ + e¹). 1 is e⁰: write 0.": lambda z, g, a: np.logaddexp(z, 1),
            "The sign of z is reversed.": lambda z, g, a: np.logaddexp(-z, 0),
            "This is relu, with its kink. Softplus is smooth.": lambda z, g, a: np.maximum(z, 0),
            "This is its slope, the sigmoid.": lambda z, g, a: 1 / (1 + np.exp(-z)),
        }),
        ("softplus_backward", lambda z, g, a: g * (1 - np.exp(-a)), {
            "The gradient that arrives is missing: multiply by it.": (
                lambda z, g, a: 1 - np.exp(-a)
            ),
            "The gradient passes unchanged. Multiply it by the slope, 1 − e⁻ᵃ.": lambda z, g, a: g,
            "The sign in the exponent is missing: 1 − e⁻ᵃ.": lambda z, g, a: g * (1 - np.exp(a)),
            "The sign is reversed: 1 − e⁻ᵃ, not e⁻ᵃ − 1.": lambda z, g, a: g * (np.exp(-a) - 1),
            "This is e⁻ᵃ. The slope is 1 − e⁻ᵃ.": lambda z, g, a: g * np.exp(-a),
            "A minus has become a plus: 1 − e⁻ᵃ.": lambda z, g, a: g * (1 + np.exp(-a)),
            "The slope is the sigmoid of z, but this is that of a. Use 1 − e⁻ᵃ.": (
                lambda z, g, a: g / (1 + np.exp(-a))
            ),
            "This is the slope of the sigmoid, a (1 − a). Softplus has 1 − e⁻ᵃ.": (
                lambda z, g, a: g * a * (1 - a)
            ),
            "Brackets are missing: the gradient is multiplied by the whole slope, (1 − e⁻ᵃ).": (
                lambda z, g, a: g * 1 - np.exp(-a)
            ),
        }),
    ])  # fmt: skip
    check_in_model(lambda: [Dense(4, forward)], "check_gradients agrees:")


def filter_parameters(count: object) -> None:
    """Check the number of parameters of a convolution with 8 filters."""
    if numbers(count).size == 1 and numbers(count) > 144:
        raise not_yet(
            "A filter uses the same nine weights at every place, so neither the number of places "
            "nor that of the pixels matters."
        )
    Gap(
        80,
        "8 · 9 weights and 8 biases.",
        {
            "The biases are missing: each filter has one.": 72,
            "Each filter has a bias: there is not one for the layer.": 73,
            "This is one filter.": 10,
            "Each filter has its own nine weights: multiply.": 17,
            "There is a bias for each filter, not for each of the nine weights.": 81,
            "There is one bias for each filter, not for each weight.": 144,
        },
    )(count)


def _patches(x: HostArray) -> HostArray:
    h, w = x.shape[1] - 2, x.shape[2] - 2
    return np.stack([x[:, i : i + h, j : j + w] for i in range(3) for j in range(3)], axis=-1)


def convolution(layer: Callable[[int], Layer]) -> None:
    """Check the class of a convolution of 3 × 3 pixels, which is called with the filters."""
    expect_class(layer, Layer)
    x, W, b, delta = draw(2, 5, 7), draw(9, 4), draw(4), draw(2, 3, 5, 4)
    p, d = _patches(x).reshape(-1, 9), delta.reshape(-1, 4)
    z = _patches(x) @ W + b

    def dx(back: HostArray) -> HostArray:
        total = np.zeros(x.shape)
        for k in range(9):
            total[:, k // 3 : k // 3 + 3, k % 3 : k % 3 + 5] += back[:, :, :, k]
        return total

    def run(x: HostArray, W: HostArray, b: HostArray, delta: HostArray) -> list[object]:
        one = layer(len(b))
        gradients = gradients_of(one, x, [W, b], delta)
        for name, before in zip(one.weight_names, (W, b), strict=True):
            if not agree(getattr(one, name), before):
                raise not_yet(f"backward changes self.{name}. Write to self.{name}_gradient.")
        return [one.forward(x, training=False), *gradients]

    grade_parts(run, [(x, W, b, delta)], [
        ("forward", z, {
            "The bias is missing.": z - b,
            "The bias is subtracted.": z - 2 * b,
            "relu comes later, as a layer of its own.": np.maximum(z, 0),
            "The nine pixels are multiplied, but not added up, or added up without weights.": (
                _patches(x).sum(axis=-1, keepdims=True) + b
            ),
        }),
        ("∂L/∂W", p.T @ d, {
            "backward does not write it. Write: self.kernel_gradient[:] = …": (
                np.full(W.shape, BEFORE)
            ),
            "It adds to what was there from the step before. Write =, not +=.": BEFORE + p.T @ d,
            "It is divided by the number of patches. δ is divided by n already, and the effects "
            "of all places are added.": p.T @ d / len(p),
            "It is divided by the number of images. δ is divided by it already.": p.T @ d / len(x),
            "It multiplies by the kernel. ∂z/∂W is p.": lambda *_: W @ (d.T @ d),
        }),
        ("∂L/∂b", d.sum(axis=0), {
            "backward does not write it. Write: self.bias_gradient[:] = …": np.full(4, BEFORE),
            "It adds to what was there from the step before. Write =, not +=.": (
                BEFORE + d.sum(axis=0)
            ),
            "This is a mean. Take the sum over all rows of the table.": d.mean(axis=0),
            "It is divided by the number of images. δ is divided by it already.": (
                d.sum(axis=0) / len(x)
            ),
            "It is summed over everything, but each filter has its own bias: axis=0.": (
                np.full(4, d.sum())
            ),
        }),
        ("∂L/∂x", dx(delta @ W.T), {
            "This is p. What goes back is δ Wᵀ.": dx(_patches(x)),
            "δ is missing: what goes back is δ Wᵀ.": dx(np.ones((2, 3, 5, 1)) * W.sum(axis=1)),
            "It is divided by nine. The effects along the paths are added.": dx(delta @ W.T) / 9,
        }),
    ])  # fmt: skip
    check_in_model(lambda: [layer(5)], "check_gradients agrees, in a model:", (6, 8))


@np.errstate(all="ignore")  # of wrong formulas
def loss(answer: Callable[[float], Loss]) -> None:
    """Check the class of the generalised cross-entropy, which is called with q."""
    expect_class(answer, Loss)
    q = 0.63
    y, output = np.eye(3)[[0, 2, 1, 2]], np.exp(draw(4, 3))
    output[1, 0] = 0  # as rounding may leave it
    output /= output.sum(axis=1, keepdims=True)
    p = (y * output).sum(axis=1)
    column, goal = p[:, None], -y * p[:, None] ** (q - 1)

    def both(y: HostArray, output: HostArray) -> tuple[object, object]:
        made = answer(q)
        return made.call(y, output), made.backward(y, output)

    grade_parts(both, [(y, output)], [
        ("call", (1 - p**q) / q, {
            "It is not divided by q.": 1 - p**q,
            "Only the power is divided by q: put brackets around 1 − pᵠ.": 1 - p**q / q,
            "p is not raised to the power of q.": (1 - p) / q,
            "1 − p is raised to that power. Raise p, and then subtract.": (1 - p) ** q / q,
            "1 is missing: it should be 0 for p = 1.": -(p**q) / q,
            "1 is missing, and the sign is reversed.": p**q / q,
            "The sign is reversed: it should fall as p grows.": (p**q - 1) / q,
            "This is the cross-entropy, −ln p.": -np.log(p),
            "It is multiplied by q. Divide.": (1 - p**q) * q,
            "This is the mean over the images. Return one number for each.": (
                ((1 - p**q) / q).mean()
            ),
        }),
        ("backward", goal, {
            "The sign is reversed: the loss falls as p grows.": -goal,
            "This is the derivative for the given label alone. Multiply by y, which puts it into "
            "the right place, and 0 into the others.": -(column ** (q - 1)),
            "It is not 0 for the other classes: multiply by y.": -(output ** (q - 1)),
            "For a class of probability 0 this is 0 · ∞. Use p, which is never 0.": (
                -y * output ** (q - 1)
            ),
            "The exponent is q − 1: a derivative lowers it by one.": -y * column**q,
            "q is left over. The q of the derivative and that of the division cancel.": q * goal,
            "It is divided by q once more. The q of the derivative cancels it.": goal / q,
            "The exponent needs brackets: p ** (self.q - 1).": -y * (column**q - 1),
            "This is the derivative of −ln p.": -y / column,
            "It is divided by the number of images, which is done for you.": goal / len(y),
            "It is the loss, not its derivative.": y * (1 - column**q) / q,
        }),
    ])  # fmt: skip
    praise = "check_gradients agrees, after softmax:"
    check_in_model(lambda: [Dense(4, "tanh")], praise, loss=answer(q))


multiplications = Gap(
    lambda n, d, units: 3 * n * d * units,
    "A training step costs about three times as much as a prediction.",
    {
        "Additions are counted, too.": lambda n, d, units: 6 * n * d * units,
        "This is the way forward alone. Two more products are on the way back.": (
            lambda n, d, units: n * d * units
        ),
        "These are two products. There are three: x W, xᵀ δ and δ Wᵀ.": (
            lambda n, d, units: 2 * n * d * units
        ),
        "This is for one image. Every image is multiplied with all weights.": (
            lambda n, d, units: 3 * d * units
        ),
        "Each of the n · units numbers takes d multiplications: multiply by d, too.": (
            lambda n, d, units: 3 * n * units
        ),
        "It does not depend on the units, but each has its own weights.": (
            lambda n, d, units: 3 * n * d
        ),
        "The sizes are added. Each number of z takes d multiplications, and there are n · units.": (
            lambda n, d, units: 3 * (n + d + units)
        ),
        "d and units are added. Each unit has d weights: multiply.": (
            lambda n, d, units: 3 * n * (d + units)
        ),
        "The product is raised to the power of 3. There are three products: times 3.": (
            lambda n, d, units: (n * d * units) ** 3
        ),
    },
    [(32, 64, 10), (5, 7, 3)],
)
