"""`model.trace(x, y)`: the forward and backward pass of one batch, with every number kept.

Training discards what it does not need: activations overwrite the sums, and softmax and
cross-entropy are one step. A trace computes them one by one, on a copy of the model, so that each
number can be derived from the ones before it. It is slow, and does not change the model.
"""

import copy
from typing import TypeGuard

import numpy as np

from tinynet import activations, backend
from tinynet.backend import random, turns
from tinynet.backend.types import Device, HostArray, Model
from tinynet.compat.activation import BACKWARDS, FROM_Z, ActivationFunction, activation_name
from tinynet.compat.targets import match_rank
from tinynet.compat.weights import every_layer, every_weight
from tinynet.engine.data import Batch, Batches
from tinynet.engine.evaluation import check_compiled, prepare_data
from tinynet.inspection.trace_table import LayerTrace, Trace, TracedArray, TracedWeight
from tinynet.layers import Activated, Activation, Dense, Dropout, Flatten, Layer
from tinynet.losses import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    Crossentropy,
    MeanAbsoluteError,
    MeanSquaredError,
    Objective,
    SparseCategoricalCrossentropy,
    crossentropy,
)
from tinynet.regularizers import L2

_FORMULAS: dict[ActivationFunction, tuple[str, str]] = {
    activations.linear: ("z", "∂L/∂a"),
    activations.sigmoid: ("σ(z) = 1 / (1 + e⁻ᶻ)", "∂L/∂a · a (1 − a)"),
    activations.tanh: ("tanh z", "∂L/∂a · (1 − a²)"),
    activations.relu: ("max(z, 0)", "∂L/∂a where z > 0, else 0"),
    activations.softmax: ("softmax(z) = eᶻ / Σ eᶻ", "a (∂L/∂a − Σ a ∂L/∂a)"),
}


def trace(
    model: Model, x: HostArray, y: HostArray, sample_weight: HostArray | None = None
) -> Trace:
    """Run one batch forward and backward through the model, and keep every number.

    The trace has, for every layer, its input, weighted sum z, activation a, arriving gradient,
    weight gradients and the gradient passed on, each with its formula, and the loss of each sample.
    `Trace.update` works out how the optimizer would change any one weight.

    Arguments:
        x, y, sample_weight: a batch, as for `fit`.

    Returns:
        A `Trace` of NumPy arrays; the model does not change.

    Raises:
        ValueError: for the same reasons as `fit`.
    """
    check_compiled(model)
    x, y, sample_weight = prepare_data(model, x, y, sample_weight)
    with turns.turn():
        model_copy = copy.deepcopy(model).to("numpy")
    with backend.use_device(Device("numpy")), backend.ignore_warnings(), random.on_a_copy():
        model_copy.prepare_evaluation(x.shape)
        (batch,) = Batches(x, y, sample_weight, len(x), model_copy.dtype).iterate(0, 1)
        forwards, output = _trace_forward(model_copy, batch.x)
        loss = float(model_copy.objective.forward(batch.y, output, batch.sample_weight))
        backwards = _trace_backward(model_copy, batch.y, output)
        traces = tuple(
            LayerTrace(layer.name, type(layer).__name__, tuple(forward), tuple(backward))
            for layer, forward, backward in zip(
                model_copy.layers, forwards, reversed(backwards), strict=True
            )
        )
        losses = _losses(model_copy.objective, batch.y, output)
        terms = _terms(model_copy, batch, output, losses, loss)
        weights = _weights(model_copy)
    optimizer = copy.deepcopy(model_copy.optimizer)
    return Trace(model.name, traces, np.array(output), losses, loss, terms, optimizer, weights)


def _trace_forward(model: Model, x: HostArray) -> tuple[list[list[TracedArray]], HostArray]:
    traces = []
    for layer in model.layers:
        inputs, x = np.array(x), np.array(layer.forward(x, training=True))
        quantities = [TracedArray("x", "", inputs)]
        quantities += [
            TracedArray({"kernel": "W", "bias": "b"}.get(name, name), "", np.array(weight))
            for name in layer.weight_names
            for weight in [getattr(layer, name)]
        ]
        formula = ""
        if _is_dense(layer):
            z = inputs @ layer.kernel + (layer.bias if layer.use_bias else 0)
            quantities.append(TracedArray("z", "x W + b" if layer.use_bias else "x W", z))
            formula = _formula(layer.activation)
        elif isinstance(layer, Flatten):
            formula = "x, each sample in one row"
        elif isinstance(layer, Activation):
            formula = _formula(layer.activation).replace("z", "x")
        elif isinstance(layer, Dropout) and layer._mask is not None:
            quantities.append(TracedArray("m / (1 − r)", "", np.array(layer._mask)))
            formula = "x m / (1 − r)"
        traces.append([*quantities, TracedArray("a", formula, x)])
    return traces, x


def _formula(f: ActivationFunction) -> str:
    return _FORMULAS[f][0] if f in _FORMULAS else f"{activation_name(f)}(z)"


def _losses(objective: Objective, y: HostArray, output: HostArray) -> HostArray:
    """Return ℓ of each sample as training computes it: if possible, from the logits."""
    if objective.softmax:
        return np.array(crossentropy(objective.loss.targets(y, output), objective.layer.surprisal))
    if objective.fused:
        z = objective.layer.z.reshape(output.shape)
        return np.array(objective.loss.call_from_z(match_rank(y, output), z))
    return np.array(objective.loss.call(match_rank(y, output), output))


def _trace_backward(model: Model, y: HostArray, output: HostArray) -> list[list[TracedArray]]:
    objective, recorded = model.objective, []
    model.end_backward_at(None)
    start = objective.backward()
    arriving = np.array(start)
    model.on_backward = lambda layer, gradient: recorded.append((layer, np.array(gradient)))
    model.backward(start)
    traces = []
    for layer, passed_on in recorded:
        fused = objective.fused and layer is objective.layer
        if fused:  # an activation and its cross-entropy in one step skip ∂L/∂a: compute it
            at_z, counts = arriving, objective.y != 0
            arriving = np.divide(-objective.y, output, np.zeros_like(output), where=counts)
            if not objective.softmax:
                each = objective.loss.backward(objective.y, output)
                arriving = np.array(objective.loss.weigh(each, objective.n, objective.w))
        delta, formula, note = _delta(layer, arriving)
        if fused:
            delta = at_z
            targets = objective.loss.targets(match_rank(y, output), output)
            count = len(y) if objective.softmax else output.size
            if delta.ndim == 2 and np.allclose(delta, (output - targets) / count, atol=1e-7):
                smoothed = ", y smoothed" if objective.loss.label_smoothing else ""
                note = f", which is (p − y) / {'B' if count == len(y) else '(B K)'}{smoothed}"
        quantities = [TracedArray("∂L/∂a", "", arriving, ", arriving")]
        dense = _is_dense(layer)
        if delta is not None:
            quantities.append(TracedArray("δ", formula, delta, note))
        for name in layer.trainable_names:
            symbol = {"kernel": "∂L/∂W", "bias": "∂L/∂b"}.get(name, f"∂L/∂{name}")
            kernel = "xᵀ δ" if layer.penalty() is None else "xᵀ δ + ∂R/∂W"
            formulas = {"kernel": kernel, "bias": "Σ δ over the batch"} if dense else {}
            quantities.append(
                TracedArray(
                    symbol, formulas.get(name, ""), np.array(getattr(layer, f"{name}_gradient"))
                )
            )
        formula = "δ Wᵀ" if dense else "δ" if type(layer) is Activation else ""
        traces.append([*quantities, TracedArray("∂L/∂x", formula, passed_on, ", passed on")])
        arriving = passed_on
    return traces


def _delta(layer: Layer, arriving: HostArray) -> tuple[HostArray | None, str, str]:
    """Return δ = ∂L/∂z of a layer with an activation, its formula, and an empty note."""
    if not isinstance(layer, Activated) or not (_is_dense(layer) or type(layer) is Activation):
        return None, "", ""
    f, layer_a = layer.activation, layer._a.copy()
    rows = arriving.reshape(layer_a.shape)
    z_or_a = layer.z.copy() if f in FROM_Z else layer_a
    delta = BACKWARDS[f](rows, z_or_a).reshape(arriving.shape)
    return np.array(delta), _FORMULAS.get(f, ("", "f′ ∂L/∂a"))[1], ""


def _is_dense(layer: Layer) -> TypeGuard[Dense]:
    return isinstance(layer, Dense) and type(layer).forward is Dense.forward


def _weights(model: Model) -> dict[str, TracedWeight]:
    """Return the values, gradient and optimizer slots of every trainable weight, by its name."""
    weights: dict[str, TracedWeight] = {}
    states = iter(model.optimizer.slots_by_variable() if model.optimizer.built else ())
    for weight in every_weight(model.layers) if model.trainable else ():
        if weight.trains:
            values = np.array(weight.array)
            state = next(states, [np.zeros_like(values) for _ in model.optimizer.slots])
            gradient = np.array(getattr(weight.layer, f"{weight.name}_gradient"))
            weights[weight.path] = (values, gradient, tuple(state))
    return weights


def _terms(
    model: Model, batch: Batch, output: HostArray, losses: HostArray, loss: float
) -> tuple[str, ...]:
    """Return the lines that derive the loss, sample by sample if there are at most 8."""
    loss_of, each = model.objective.loss, losses.ravel()
    kind = type(loss_of)
    formula = {
        CategoricalCrossentropy: "ℓ = −Σ y ln p",
        SparseCategoricalCrossentropy: "ℓ = −ln p of the true class",
        BinaryCrossentropy: "ℓ = −mean of (y ln p + (1 − y) ln(1 − p))",
        MeanSquaredError: "ℓ = mean of (p − y)²",
        MeanAbsoluteError: "ℓ = mean of |p − y|",
    }.get(kind, "ℓ")
    plain = True
    if isinstance(loss_of, Crossentropy):
        plain = not (loss_of.from_logits or loss_of.label_smoothing)
        top = activation_name(loss_of.fused_with)
        formula += f", p being the {top} of the outputs" if loss_of.from_logits else ""
        formula += f", y smoothed by {loss_of.label_smoothing:g}" if loss_of.label_smoothing else ""
    lines = [formula]
    if losses.ndim == 1 and len(losses) <= 8:
        targets = match_rank(batch.y, output)
        for n, (p, y, value) in enumerate(zip(output, targets, losses, strict=True), start=1):
            worked = _term(kind, p, y) if plain else ""
            lines.append(f"sample {n}: {worked or 'ℓ = '}{value:.6g}")
    weighted = batch.sample_weight is not None
    term = "w ℓ" if weighted else "ℓ"
    how = f"sum of {term}" if loss_of.reduction in ("sum", "none", None) else f"mean of {term}"
    if weighted and loss_of.reduction == "mean_with_sample_weight":
        how = "Σ w ℓ / Σ w"
    total = " + ".join(f"{value:.6g}" for value in each) if 1 < len(each) <= 4 else "…"
    worked = f"({total}) / {len(each)}" if how == "mean of ℓ" and total != "…" else ""
    for _, layer, _ in every_layer(model.layers):
        cost = layer.penalty()
        if cost is not None:
            price = getattr(layer, "kernel_regularizer", None)
            formula = f" = {price.l2:g} Σ W²" if isinstance(price, L2) else ""
            lines.append(f"R of {layer.name}{formula} = {float(cost):.6g}")
            how += " + R"
            worked += f" + {float(cost):.6g}" if worked else ""
    lines.append(f"L = {how} = {worked + ' = ' if worked else ''}{loss:.6g}")
    return tuple(lines)


def _term(kind: type, p: HostArray, y: HostArray) -> str:
    if kind is CategoricalCrossentropy and len(p) <= 10 and np.count_nonzero(y) == 1:
        return f"−ln {p[int(y.argmax())]:.6g} = "
    if kind is SparseCategoricalCrossentropy and np.ndim(np.squeeze(y)) == 0:
        c = int(np.squeeze(y))
        return f"−ln {p[c]:.6g} = " if 0 <= c < len(p) else ""
    if kind is BinaryCrossentropy and len(p) == 1 and float(np.ravel(y)[0]) in (0, 1):
        return f"−ln {p[0]:.6g} = " if np.ravel(y)[0] else f"−ln(1 − {p[0]:.6g}) = "
    if kind is MeanAbsoluteError and len(p) == 1:
        return f"|{p[0]:.6g} − {float(np.ravel(y)[0]):.6g}| = "
    if kind is MeanSquaredError and len(p) <= 3:
        squares = " + ".join(f"({a:.6g} − {b:.6g})²" for a, b in zip(p, np.ravel(y), strict=True))
        return f"({squares}) / {len(p)} = " if len(p) > 1 else f"{squares} = "
    return ""
