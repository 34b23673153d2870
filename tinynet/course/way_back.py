"""The checks of lesson 3, the way back: the chain rule, shapes, two layers, `Dense`'s backward."""

from collections.abc import Callable, Mapping

import numpy as np

from tinynet.backend.types import HostArray
from tinynet.course.grading import (
    Gap,
    agree,
    central_differences,
    difference,
    grade_parts,
    not_yet,
    numbers,
    right,
)
from tinynet.course.parts import (
    BEFORE,
    check_in_model,
    expect_class,
    gradients_of,
    sigmoid,
    slope_of_sigmoid,
)
from tinynet.inspection.trace_table import Trace
from tinynet.layers import Dense, Layer


def _draw() -> Callable[..., HostArray]:
    """Return a function that draws arrays: the same ones at each attempt."""
    return np.random.default_rng(3).normal


def _factors(x: float, w: float, b: float, t: float) -> tuple[float, float, float]:
    """Return ∂L/∂a, ∂a/∂z and ∂z/∂w of L = (a − t)², a = σ(z), z = x w + b."""
    a = float(sigmoid(np.array(x * w + b)))
    return 2 * (a - t), a * (1 - a), x


chain = Gap(
    lambda x, w, b, t: np.prod(_factors(x, w, b, t)),
    "Three factors, one for each step from w to the loss.",
    {
        "The factor of the sigmoid, a (1 − a), is missing.": (
            lambda x, w, b, t: _factors(x, w, b, t)[0] * x
        ),
        "The last factor, ∂z/∂w = x, is missing.": (
            lambda x, w, b, t: np.prod(_factors(x, w, b, t)[:2])
        ),
        "The last factor is ∂z/∂w. With z = x w + b it is x, not w.": (
            lambda x, w, b, t: np.prod(_factors(x, w, b, t)[:2]) * w
        ),
        "The last factor is ∂z/∂w. With z = x w + b it is x, not b.": (
            lambda x, w, b, t: np.prod(_factors(x, w, b, t)[:2]) * b
        ),
        "The 2 of the square's derivative is missing.": (
            lambda x, w, b, t: np.prod(_factors(x, w, b, t)) / 2
        ),
        "The sign is reversed: it is a − t, not t − a, and 1 − a, not a − 1.": (
            lambda x, w, b, t: -np.prod(_factors(x, w, b, t))
        ),
        "The factor of the sigmoid is a (1 − a), not a.": (
            lambda x, w, b, t: _factors(x, w, b, t)[0] * sigmoid(np.array(x * w + b)) * x
        ),
        "The factor of the sigmoid is a (1 − a), not 1 − a.": (
            lambda x, w, b, t: _factors(x, w, b, t)[0] * (1 - sigmoid(np.array(x * w + b))) * x
        ),
        "The loss itself, (a − t)², is used. Its derivative with respect to a is 2 (a − t).": (
            lambda x, w, b, t: (
                (_factors(x, w, b, t)[0] / 2) ** 2 * np.prod(_factors(x, w, b, t)[1:])
            )
        ),
        "σ is applied twice: a is σ(z) already, so the slope is a (1 − a).": lambda x, w, b, t: (
            _factors(x, w, b, t)[0] * slope_of_sigmoid(sigmoid(np.array(x * w + b))) * x
        ),
        "The factors are added up. Along one path they are multiplied.": (
            lambda x, w, b, t: sum(_factors(x, w, b, t))
        ),
        "The factor of the sigmoid is a (1 − a), with a = σ(z), not z (1 − z).": (
            lambda x, w, b, t: _factors(x, w, b, t)[0] * (x * w + b) * (1 - x * w - b) * x
        ),
    },
    [(1.5, 0.4, -0.2, 1.0), (-0.7, 0.3, 0.5, 0.0)],
)


def shapes(answer: Mapping[str, object], n: int, d: int, units: int) -> None:
    """Check the shapes of a layer's output and its gradients, for n samples, d inputs and units."""
    goals = {
        "z": (n, units), "δ": (n, units), "∂L/∂W": (d, units), "∂L/∂b": (units,), "∂L/∂x": (n, d),
    }  # fmt: skip
    owners = {"δ": "z", "∂L/∂W": "W", "∂L/∂b": "b", "∂L/∂x": "x"}
    if not isinstance(answer, Mapping):
        raise not_yet("Expected the dictionary of shapes.")
    for name, goal in goals.items():
        given = answer.get(name, ...)
        if given is ... or (isinstance(given, tuple | list) and ... in given):
            raise not_yet(f"The shape of {name} is still open.")
        shape = tuple(given) if isinstance(given, tuple | list) else given
        if isinstance(shape, tuple) and shape == goal:
            continue
        hint = (
            f"A gradient has the shape of what it is the gradient of, here of {owners.get(name)}."
        )
        if not isinstance(shape, tuple):
            hint = "Write a tuple. One of a single number needs a comma, such as (3,)."
        elif name == "z":
            hint = "It has a row for each sample and a column for each unit: (n, d) @ (d, units)."
        elif name == "∂L/∂b" and shape == goals["δ"]:
            hint = "That is δ's. All rows use the same b, so its gradient is the sum of the rows."
        turned = isinstance(shape, tuple) and shape == goal[::-1]
        raise not_yet(
            f"The shape of {name} is not {given!r:.60}. {'It looks transposed. ' * turned}{hint}"
        )
    right("A gradient always has the shape of what it is the gradient of.")


def two_layers(answer: Callable[..., object]) -> None:
    """Check the way back through two layers against central differences.

    Arguments: a function of x, labels, a, p and W2, that returns ∂L/∂W2, ∂L/∂b2, ∂L/∂W1, ∂L/∂b1.
    """
    _two_layers(answer, 3, 3, 3, 3)  # of equal sizes, so that few mistakes raise an error
    _two_layers(answer, 5, 4, 3, 2)
    right("All four agree with central differences of the loss.")


def _two_layers(answer: Callable[..., object], n: int, d: int, units: int, classes: int) -> None:
    draw = _draw()
    x, labels = draw(size=(n, d)), np.array([0, 2, 1, 1, 0])[:n] % classes
    sizes = ((d, units), units, (units, classes), classes)
    weights = W1, b1, W2, b2 = [draw(size=size) for size in sizes]

    def forward() -> tuple[HostArray, HostArray]:
        a = sigmoid(x @ W1 + b1)
        e = np.exp(a @ W2 + b2)
        return a, e / e.sum(axis=1, keepdims=True)

    def loss() -> float:
        return float(-np.log(forward()[1][np.arange(len(x)), labels]).mean())

    dW1, db1, dW2, db2 = (central_differences(loss, weight) for weight in weights)
    a, p = forward()
    delta2 = (p - np.eye(classes)[labels]) / n
    through = delta2 @ W2.T  # ∂L/∂a
    delta1 = through * a * (1 - a)
    no_factor = "The factor of the sigmoid, a (1 − a), is missing in δ1."
    mean = "This is the mean over the images. Take the sum: δ2 is divided by n already."
    rows = "There is still a row for each image: sum over them, axis=0."
    columns = "It is summed over the units. Sum over the images, axis=0."
    parts: list[tuple[str, object, dict[str, object]]] = [
        ("dW2", dW2, {
            "It uses x, but the input of the second layer is a.": x.T @ delta2,
            "It looks transposed: aᵀ δ2, not δ2ᵀ a.": delta2.T @ a,
            "a is not transposed: aᵀ δ2 sums over the images.": lambda *_: a @ delta2,
            "It uses p where δ2 belongs.": a.T @ p,
            "δ2 is y − p, and should be p − y.": -dW2,
            "It is not divided by the number of images: divide δ2 by n.": n * dW2,
            "δ2 is divided by n twice.": dW2 / n,
            "The labels themselves are subtracted, and should be the rows y.": (
                lambda *_: a.T @ (p - labels[:, None]) / n
            ),
            "δ2 is divided by the number of classes, not by that of the images.": (
                dW2 * n / classes
            ),
        }),
        ("db2", db2, {mean: delta2.mean(axis=0), rows: delta2, columns: delta2.sum(axis=1)}),
        ("dW1", dW1, {
            no_factor: x.T @ through,
            "W2 is not transposed: it is δ2 W2ᵀ.": (
                lambda *_: x.T @ (delta2 @ W2 * a * (1 - a))
            ),
            "The factors are in the wrong order: δ2 W2ᵀ, not W2 δ2.": (
                lambda *_: x.T @ (W2 @ delta2 * a * (1 - a))
            ),
            "W2 is missing in δ1: ∂L/∂a = δ2 W2ᵀ.": lambda *_: x.T @ (delta2 * a * (1 - a)),
            "The factor of the sigmoid is multiplied number by number, *, not @.": (
                lambda *_: x.T @ (through @ (a * (1 - a)))
            ),
            "The factor of the sigmoid is a (1 − a), not a.": x.T @ (through * a),
            "The factor of the sigmoid is a (1 − a), not 1 − a.": x.T @ (through * (1 - a)),
            "σ is applied twice: a is σ(z) already, so the factor is a (1 − a).": (
                x.T @ (through * slope_of_sigmoid(a))
            ),
            "It uses δ2 where δ1 belongs.": x.T @ delta2,
            "It uses a, but the input of the first layer is x.": a.T @ delta1,
            "It looks transposed: xᵀ δ1, not δ1ᵀ x.": delta1.T @ x,
        }),
        ("db1", db1, {
            mean: delta1.mean(axis=0), rows: delta1, columns: delta1.sum(axis=1),
            no_factor: through.sum(axis=0),
        }),
    ]  # fmt: skip
    grade_parts(answer, [(x, labels, a, p, W2)], parts)


def same_as_trace(trace: Trace, *gradients: HostArray) -> None:
    """Check ∂L/∂W2, ∂L/∂b2, ∂L/∂W1 and ∂L/∂b1 against those of a `model.trace`."""
    goals = [layer[name] for layer in trace.layers[::-1] for name in ("∂L/∂W", "∂L/∂b")]
    for name, own, goal in zip(("dW2", "db2", "dW1", "db1"), gradients, goals, strict=True):
        if not agree(numbers(own), goal):
            raise not_yet(f"{name} is not the trace's. {difference(numbers(own), goal)}")
    worst = max(np.abs(own - goal).max() for own, goal in zip(gradients, goals, strict=True))
    right(f"No gradient differs from tinynet's by more than {worst:.0e}.")


def dense_backward(layer: Callable[[int], Layer]) -> None:
    """Check the backward pass of a student's own `Dense` without activation.

    Arguments: the class; it is called with the number of units.
    """
    expect_class(layer, Layer)
    draw = _draw()
    grade_parts(
        lambda x, W, b, delta: gradients_of(layer(len(b)), x, [W, b], delta),
        [tuple(draw(size=shape) for shape in ((3, 3), (3, 3), 3, (3, 3)))],
        [
            ("∂L/∂W", lambda x, W, b, delta: x.T @ delta, {
                "backward does not write it. Write: self.kernel_gradient[:] = …": (
                    lambda x, W, b, delta: np.full(W.shape, BEFORE)
                ),
                "It adds to what was there from the step before. Write =, not +=.": (
                    lambda x, W, b, delta: BEFORE + x.T @ delta
                ),
                "It looks transposed: xᵀ δ, not δᵀ x.": lambda x, W, b, delta: delta.T @ x,
                "x is not transposed: xᵀ δ sums over the samples.": lambda x, W, b, d: x @ d,
                "It is divided by the number of samples. δ is divided by it already.": (
                    lambda x, W, b, delta: x.T @ delta / len(x)
                ),
                "It multiplies by W. ∂z/∂W is x.": lambda x, W, b, delta: W.T @ delta,
                "x and δ are multiplied element by element. A weight connects every input with "
                "every unit: xᵀ δ.": lambda x, W, b, delta: x * delta,
            }),
            ("∂L/∂b", lambda x, W, b, delta: delta.sum(axis=0), {
                "backward does not write it. Write: self.bias_gradient[:] = …": (
                    lambda x, W, b, delta: np.full(b.shape, BEFORE)
                ),
                "It adds to what was there from the step before. Write =, not +=.": (
                    lambda x, W, b, delta: BEFORE + delta.sum(axis=0)
                ),
                "This is the mean over the samples. Take the sum: δ is divided by their number "
                "already.": lambda x, W, b, delta: delta.mean(axis=0),
                "It is summed over the units. Sum over the samples, axis=0.": (
                    lambda x, W, b, delta: delta.sum(axis=1)
                ),
                "It is summed over everything, but each unit has its own bias: axis=0.": (
                    lambda x, W, b, delta: np.full(b.shape, delta.sum())
                ),
            }),
            ("∂L/∂x", lambda x, W, b, delta: delta @ W.T, {
                "W is not transposed: on the way back it is δ Wᵀ.": lambda x, W, b, d: d @ W,
                "The factors are in the wrong order: δ Wᵀ, not W δᵀ.": lambda x, W, b, d: W @ d.T,
                "It returns δ as it came. It has to pass through the weights: δ Wᵀ.": (
                    lambda x, W, b, delta: delta
                ),
                "It uses x. ∂z/∂x is W.": lambda x, W, b, delta: delta @ x.T,
            }),
        ],
    )  # fmt: skip
    check_in_model(
        lambda: [layer(4), layer(2)], "And check_gradients agrees, in a model of two of them:"
    )


def sigmoid_backward(layer: Callable[[], Layer]) -> None:
    """Check the backward pass of a student's own sigmoid layer.

    Arguments: the class; it is called without arguments.
    """
    expect_class(layer, Layer)
    grade_parts(
        lambda x, gradient: gradients_of(layer(), x, [], gradient),
        [tuple(_draw()(size=(2, 4, 3)))],
        [(
            "∂L/∂z", lambda x, g: g * sigmoid(x) * (1 - sigmoid(x)), {
                "The gradient that arrives is missing: multiply by it.": (
                    lambda x, g: sigmoid(x) * (1 - sigmoid(x))
                ),
                "The factor is a (1 − a), not a.": lambda x, g: g * sigmoid(x),
                "The factor is a (1 − a), not 1 − a.": lambda x, g: g * (1 - sigmoid(x)),
                "The gradient passes unchanged. The sigmoid is flat in places: multiply by its "
                "slope.": lambda x, g: g,
                "This is the factor of tanh, 1 − a². The sigmoid's is a (1 − a).": (
                    lambda x, g: g * (1 - sigmoid(x) ** 2)
                ),
            },
        )],
    )  # fmt: skip
    check_in_model(lambda: [Dense(4), layer()], "And check_gradients agrees:")
