"""Check the backward pass against central differences, which need only the forward pass.

The derivative of the loss L with respect to a weight w is the limit of (L(w + h) − L(w − h)) / 2h
as h approaches 0. In float64, this difference agrees with a correct backward pass to about eight
digits, and with a wrong one typically not even to two.
"""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from tinynet import backend, config
from tinynet.backend import random, threads, turns
from tinynet.backend.types import Device, HostArray, Model
from tinynet.compat import checks
from tinynet.compat.weights import every_weight
from tinynet.engine.data import Batch
from tinynet.engine.evaluation import check_compiled, prepare_data
from tinynet.inspection.gradient_report import (
    FLOOR,
    TOLERANCE,
    GradientCheck,
    ParameterCheck,
    likely_mistake,
)

# Steps h to try. Smaller ones are less accurate, but less likely to straddle a corner of relu.
STEPS = (1e-5, 1e-6, 1e-7)
NUDGE = 1e-3  # the standard deviation of the shift away from a corner


class NonDifferentiableError(Exception):
    """The loss has no derivative at this point."""


def check_gradients(
    model: Model,
    x: HostArray,
    y: HostArray,
    sample_weight: HostArray | None = None,
    samples: int | None = 100,
) -> GradientCheck:
    """Compare the backward pass of a compiled model with central differences, in float64.

    The check runs on a copy on the CPU and does not change the model. It covers every trainable
    weight, and the gradient with respect to the input.

    Arguments:
        x, y, sample_weight: a batch, as for `fit`; a few samples are enough.
        samples: the most elements checked of one parameter: half of them have the largest
            gradients, the others are chosen at random. With None, all are checked.

    At a corner, such as relu's at 0, there is no derivative. If the check meets one, it shifts the
    copy's inputs and weights by about 0.001 and starts again. The loss is evaluated at least twice
    for each element checked: 32 samples of a 784-100-144-10 network take about a second.

    Returns:
        A `GradientCheck`. Print it to see which gradient is wrong, where, and the likely mistake.

    Raises:
        ValueError: for the same reasons as `fit`; or if the loss is not finite, differs between
            evaluations, has corners everywhere, or is not computed in float64 throughout.

    >>> import numpy as np, tinynet
    >>> model = tinynet.Sequential([tinynet.Input((2,)), tinynet.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> bool(check_gradients(model, np.ones((3, 2)), np.ones((3, 1))))
    True
    """
    check_compiled(model)
    if samples is not None:
        samples = checks.count(samples, "samples")
    x, y, sample_weight = prepare_data(model, x, y, sample_weight)
    with isolated_copy(model, x.shape) as (model_copy, reset_randomness):
        batch = Batch(
            x.astype("float64"),
            y.astype("float64") if y.dtype.kind == "f" else y,
            None if sample_weight is None else sample_weight.astype("float64"),
        )
        counters = [
            (x, name, getattr(x, name))
            for x in model_copy.parameters.every_layer()
            for name in x.counters
        ]

        def loss() -> float:
            reset_randomness()
            for layer, name, number in counters:  # repeat the same random draws
                setattr(layer, name, number)
            output = forward(model_copy, batch.x)
            return float(model_copy.objective.forward(batch.y, output, batch.sample_weight))

        def compare() -> tuple[float, list[ParameterCheck]]:
            value = loss()
            model_copy.parameters.gradients[...] = np.nan
            passed = model_copy.backward(model_copy.objective.backward())
            arrays = [*parameters(model_copy), ("input", batch.x, passed)]
            return value, [check(*array, loss, value, samples, len(x)) for array in arrays]

        value = loss()
        if not math.isfinite(value):
            raise ValueError(
                f"Expected a finite loss to differentiate, received {value}. Check the model's "
                "weights, and x with: np.isfinite(x).all()"
            )
        if loss() != value:
            raise ValueError(
                "Expected the same loss at every evaluation, received two different values: a "
                "layer uses its own random generator, or modifies its input. Draw random numbers "
                "from tinynet.backend.generator(), and write results to the layer's own arrays"
            )
        generator = np.random.default_rng(0)
        for _ in range(5):
            try:
                value, parameter_checks = compare()
                break
            except NonDifferentiableError:
                for array in (batch.x, model_copy.flat):
                    array += NUDGE * generator.normal(size=array.shape)
        else:
            raise ValueError(
                f"Expected a differentiable loss, received one of model '{model.name}' that has a "
                "corner at every point tried"
            )
    return GradientCheck(model.name, len(x), value, tuple(parameter_checks))


def forward(model: Model, x: HostArray) -> HostArray:
    """Run the forward pass, requiring float64 throughout: differences need that precision."""
    for layer in model.layers:
        x = layer.forward(x, training=True)
        if x.dtype != "float64":
            raise ValueError(
                f"Expected layer '{layer.name}' to return float64 for float64 input, received "
                f"{x.dtype}. Write: dtype=x.dtype, and not a fixed type, in its forward"
            )
    return x


def parameters(model: Model) -> Iterator[tuple[str, HostArray, HostArray]]:
    for weight in every_weight(model.layers) if model.trainable else ():
        if weight.trains:
            yield weight.path, weight.array, getattr(weight.layer, f"{weight.name}_gradient")


@contextmanager
def isolated_copy(
    model: Model, shape: tuple[int, ...]
) -> Iterator[tuple[Model, Callable[[], None]]]:
    """Compute on the CPU in float64, with the threads that products of inputs of `shape` need.

    Yields: a float64 copy of the model, its gradients NaN until they are written, and a function
    that resets tinynet's random generator.
    """
    with (
        backend.use_device(Device("numpy")),
        turns.temporarily(config.own_floatx, "float64"),
        random.on_a_copy() as generator,
    ):
        state = generator.bit_generator.state

        def reset_randomness() -> None:
            generator.bit_generator.state = state

        with turns.turn():
            model_copy = copy.deepcopy(model).to("numpy")
        model_copy.ensure_built(shape)
        model_copy._own_dtype = "float64"
        for layer in model_copy.parameters.every_layer():
            layer._own_dtype = "float64"
        model_copy.parameters.gather("float64")
        model_copy.prepare_evaluation(shape)
        model_copy.end_backward_at(None)
        model_copy.parameters.gradients[...] = np.nan
        with threads.for_layers(model_copy.layers, shape[0]):
            yield model_copy, reset_randomness


def check(
    name: str,
    array: HostArray,
    gradient: HostArray | None,
    loss: Callable[[], float],
    value: float,
    samples: int | None,
    batch: int,
) -> ParameterCheck:
    """Compare one parameter's gradient with central differences, at selected elements."""
    if gradient is None or gradient.shape != array.shape:
        shape = "none" if gradient is None else f"one of shape {gradient.shape}"
        hint = f"Expected a gradient of the parameter's shape {array.shape}; backward gave {shape}."
        return ParameterCheck(name, array.shape, 0, math.inf, (), math.nan, math.nan, hint)
    gradient = np.array(gradient)
    indices = checked_indices(gradient, samples)
    computed = gradient.ravel()[indices]
    numeric = np.array(
        [
            central_difference(array, place, loss, goal, value)
            for place, goal in zip(indices.tolist(), computed.tolist(), strict=True)
        ]
    )
    floor = FLOOR * max(1.0, abs(value))
    errors = np.abs(computed - numeric) / np.maximum(
        np.maximum(np.abs(computed), np.abs(numeric)), floor
    )
    errors[~np.isfinite(errors)] = math.inf
    worst = int(errors.argmax()) if len(errors) else 0
    error = float(errors[worst]) if len(errors) else 0.0
    return ParameterCheck(
        name=name,
        shape=array.shape,
        checked=len(indices),
        error=error,
        index=tuple(int(n) for n in np.unravel_index(indices[worst], array.shape)) if error else (),
        backward=float(computed[worst]) if len(computed) else 0.0,
        differences=float(numeric[worst]) if len(numeric) else 0.0,
        hint=""
        if error <= TOLERANCE
        else likely_mistake(gradient, indices, computed, numeric, batch, floor),
        tiny=0
        < max(np.abs(computed).max(initial=0), np.abs(numeric).max(initial=0))
        < TOLERANCE * floor,
    )


def checked_indices(gradient: HostArray, samples: int | None) -> HostArray:
    """Return the flat indices to check: all, or half by largest gradient and half at random."""
    if samples is None or gradient.size <= samples:
        return np.arange(gradient.size)
    largest = np.argsort(-np.abs(np.nan_to_num(gradient.ravel())), kind="stable")[: samples // 2]
    rest = np.setdiff1d(np.arange(gradient.size), largest)
    others = np.random.default_rng(0).choice(rest, samples - len(largest), replace=False)
    return np.sort(np.concatenate([largest, others]))


def central_difference(
    array: HostArray, index: int, loss: Callable[[], float], goal: float, value: float
) -> float:
    """Return ∂L/∂w at the flat index `index`: of the estimates for all h, the nearest to `goal`.

    Raises:
        NonDifferentiableError: if the slopes on the two sides differ even for the smallest h.
    """
    flat = array.reshape(-1)
    original, slopes, curvatures = flat[index], [], []
    for step in STEPS:
        h = step * max(1.0, abs(original))
        flat[index] = original + h
        above = loss()
        flat[index] = original - h
        below = loss()
        flat[index] = original
        slopes.append((above - below) / (2 * h))
        curvatures.append(abs(above + below - 2 * value) / h)
        if math.isclose(slopes[-1], goal, rel_tol=TOLERANCE / 10, abs_tol=1e-9):
            return float(slopes[-1])
    # Away from a corner, the curvature term shrinks with h.
    if curvatures[-1] > max(curvatures[0] / 2, FLOOR * max(1.0, abs(value))):
        raise NonDifferentiableError
    return float(min(slopes, key=lambda slope: abs(slope - goal) if math.isfinite(goal) else 0))
