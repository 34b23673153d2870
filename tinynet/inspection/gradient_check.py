"""Is a backward right? Central differences know: they need nothing but the forward pass.

The derivative of the loss L with respect to a weight w is, by definition, what
(L(w + h) − L(w − h)) / 2h comes to as h shrinks. Computed in float64, that agrees with a right
backward to eight digits or so, and with a wrong one to none.
"""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinynet import backend, config
from tinynet.compat import validation
from tinynet.engine.data import Batch
from tinynet.engine.evaluation import check_compiled, prepare
from tinynet.inspection.gradient_report import (
    FLOOR,
    TOLERANCE,
    GradientCheck,
    ParameterCheck,
    looks_like,
)

# Steps h to try. Smaller ones are less exact, but do not reach across a corner such as relu's.
STEPS = (1e-5, 1e-6, 1e-7)
NUDGE = 1e-3


class CornerError(Exception):
    """There is no derivative here."""


def check_gradients(
    model: Any, x: Any, y: Any, sample_weight: Any = None, samples: int = 100
) -> GradientCheck:
    """Compare the backward pass of a compiled model with central differences, in float64.

    It works on a copy on the host: nothing of the model changes. Every weight that trains is
    checked, and the input.

    Arguments:
        x, y, sample_weight: a batch, as for `fit`; a few samples are enough.
        samples: how many numbers of a parameter are looked at, if it has more: those with the
            largest gradients and some at random. None looks at all.

    At a corner, such as relu's at 0, there is no derivative. If one is met, the copy's inputs and
    weights are moved by about 0.001, and all is looked at there.

    Returns:
        A `GradientCheck`. Print it to see which parameter is wrong, where, and what it looks like.

    Raises:
        ValueError: as `fit`; or if the loss is not finite, differs from look to look, or is not
            computed in float64 all the way.

    >>> import numpy as np, tinynet
    >>> model = tinynet.Sequential([tinynet.Input((2,)), tinynet.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> bool(check_gradients(model, np.ones((3, 2)), np.ones((3, 1))))
    True
    """
    check_compiled(model)
    if samples is not None:
        samples = validation.count(samples, "samples")
    x, y, sample_weight = prepare(model, x, y, sample_weight)
    weights = None if sample_weight is None else sample_weight.astype("float64")
    target = y.astype("float64") if y.dtype.kind == "f" else y
    with apart() as repeat:
        twin = double(model, x.shape)
        batch = Batch(x.astype("float64"), target, weights)

        counters = [(x, name, getattr(x, name)) for x in twin.layers for name in x.counters]

        def loss() -> float:
            repeat()
            for layer, name, number in counters:  # what is random, the same again
                setattr(layer, name, number)
            output = forward(twin, batch.x)
            return float(twin.objective.forward(batch.y, output, batch.sample_weight))

        def compare() -> tuple[float, list[ParameterCheck]]:
            value = loss()
            twin.parameters.gradients[...] = np.nan
            passed = twin.backward(twin.objective.backward())
            arrays = [*parameters(twin), ("input", batch.x, passed)]
            return value, [check(*array, loss, value, samples, len(x)) for array in arrays]

        value = loss()
        if not math.isfinite(value):
            raise ValueError(
                f"Expected a finite loss to differentiate, received {value}. Look at the model's "
                "weights and at x: np.isfinite(x).all()"
            )
        if loss() != value:
            raise ValueError(
                "Expected the same loss at every look, received two that differ: a layer is random "
                "in a way of its own, or changes what it is given. Draw random numbers from "
                "tinynet.backend.generator(), and write results to arrays of the layer's own"
            )
        generator = np.random.default_rng(0)
        for _ in range(5):
            try:
                value, found = compare()
                break
            except CornerError:
                for array in (batch.x, twin.flat):
                    array += NUDGE * generator.normal(size=array.shape)
        else:
            raise ValueError(
                f"Expected a loss with a derivative, received one of model '{model.name}' that has "
                "corners wherever one looks"
            )
    return GradientCheck(model.name, len(x), value, tuple(found))


def double(model: Any, shape: tuple[int, ...]) -> Any:
    """A copy of the model on the host, in float64; its gradients are NaN until they are written."""
    twin = copy.deepcopy(model).to("numpy")
    twin.ensure_built(shape)
    twin.dtype = "float64"
    for layer in twin.layers:
        layer.dtype = "float64"
    twin.parameters.gather("float64")
    twin.start_evaluation(shape)
    twin.go_down_to(None)
    twin.parameters.gradients[...] = np.nan
    return twin


def forward(model: Any, x: np.ndarray) -> np.ndarray:
    """All the way up, in float64 wherever one looks: less is too little to take differences of."""
    for layer in model.layers:
        x = layer.forward(x, training=True)
        if x.dtype != "float64":
            raise ValueError(
                f"Expected layer '{layer.name}' to give float64 for float64, as it gets here, "
                f"received {x.dtype}. Write: arrays of x.dtype, and no fixed type, in its forward"
            )
    return x


def parameters(model: Any) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    for layer in model.layers:
        for name in layer.trained_names if model.trainable and layer.trainable else ():
            yield f"{layer.name}/{name}", getattr(layer, name), getattr(layer, f"{name}_gradient")


@contextmanager
def apart() -> Iterator[Callable[[], None]]:
    """Compute on the host, in float64; gives a function that sets tinynet's generator back."""
    generator, floatx = backend.generator().bit_generator, config.floatx()
    state = generator.state

    def repeat() -> None:
        generator.state = state

    try:
        with backend.use("numpy"):
            config.set_floatx("float64")
            yield repeat
    finally:
        config.set_floatx(floatx)
        repeat()


def check(
    name: str,
    array: np.ndarray,
    gradient: Any,
    loss: Callable[[], float],
    value: float,
    samples: int | None,
    batch: int,
) -> ParameterCheck:
    """Compare one parameter's gradient, at some places, with central differences."""
    if gradient is None or gradient.shape != array.shape:
        shape = "none" if gradient is None else f"one of shape {gradient.shape}"
        hint = f"Its gradient has to be of its own shape {array.shape}, and backward gave {shape}."
        return ParameterCheck(name, array.shape, 0, math.inf, (), math.nan, math.nan, hint)
    gradient = np.array(gradient)
    places = chosen(gradient, samples)
    said = gradient.ravel()[places]
    pairs = zip(places.tolist(), said.tolist(), strict=True)
    true = np.array([difference(array, place, loss, goal, value) for place, goal in pairs])
    floor = FLOOR * max(1.0, abs(value))
    errors = np.abs(said - true) / np.maximum(np.maximum(np.abs(said), np.abs(true)), floor)
    errors[~np.isfinite(errors)] = math.inf
    worst = int(errors.argmax()) if len(errors) else 0
    error = float(errors[worst]) if len(errors) else 0.0
    return ParameterCheck(
        name=name,
        shape=array.shape,
        checked=len(places),
        error=error,
        index=tuple(int(n) for n in np.unravel_index(places[worst], array.shape)) if error else (),
        backward=float(said[worst]) if len(said) else 0.0,
        differences=float(true[worst]) if len(true) else 0.0,
        hint="" if error <= TOLERANCE else looks_like(gradient, places, said, true, batch, floor),
        tiny=0 < max(np.abs(said).max(initial=0), np.abs(true).max(initial=0)) < TOLERANCE * floor,
    )


def chosen(gradient: np.ndarray, samples: int | None) -> np.ndarray:
    """Which numbers to look at: all, or the half with the largest gradients and half at random."""
    if samples is None or gradient.size <= samples:
        return np.arange(gradient.size)
    largest = np.argsort(-np.abs(np.nan_to_num(gradient.ravel())), kind="stable")[: samples // 2]
    rest = np.setdiff1d(np.arange(gradient.size), largest)
    others = np.random.default_rng(0).choice(rest, samples - len(largest), replace=False)
    return np.sort(np.concatenate([largest, others]))


def difference(
    array: np.ndarray, place: int, loss: Callable[[], float], goal: float, value: float
) -> float:
    """∂L/∂w by central differences for the number at `place`: of several h, nearest to `goal`.

    Raises:
        CornerError: where the slopes to both sides differ, however small h is.
    """
    flat = array.reshape(-1)
    kept, found, bends = flat[place], [], []
    for step in STEPS:
        h = step * max(1.0, abs(kept))
        flat[place] = kept + h
        above = loss()
        flat[place] = kept - h
        below = loss()
        flat[place] = kept
        found.append((above - below) / (2 * h))
        bends.append(abs(above + below - 2 * value) / h)
        if math.isclose(found[-1], goal, rel_tol=TOLERANCE / 10, abs_tol=1e-9):
            return found[-1]
    if bends[-1] > max(bends[0] / 2, FLOOR * max(1.0, abs(value))):  # else it shrinks with h
        raise CornerError
    return min(found, key=lambda slope: abs(slope - goal) if math.isfinite(goal) else 0)
