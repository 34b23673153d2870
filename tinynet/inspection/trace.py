"""`model.trace(x, y)`: one batch up and down through the model, with every number kept.

Training keeps nothing that it does not need: sums are overwritten by activations, and softmax and
cross-entropy are taken in one step. A trace takes them one by one, on a copy of the model, so that
each number can be followed to the next. Nothing here is fast, and nothing of the model changes.
"""

import copy
from typing import Any

import numpy as np

from tinynet import activations, backend
from tinynet.compat.activation import DERIVATIVES, FROM_Z, name_of
from tinynet.compat.targets import match_rank
from tinynet.engine.data import Batch, Batches
from tinynet.engine.evaluation import check_compiled, prepare
from tinynet.inspection.trace_table import LayerTrace, Quantity, Trace
from tinynet.layers import Activation, Dense, Dropout, Flatten
from tinynet.losses import (
    CategoricalCrossentropy,
    MeanSquaredError,
    SparseCategoricalCrossentropy,
    crossentropy,
)
from tinynet.regularizers import L2

_FORMULAS = {
    activations.linear: ("z", "∂L/∂a"),
    activations.sigmoid: ("σ(z) = 1 / (1 + e⁻ᶻ)", "∂L/∂a · a (1 − a)"),
    activations.tanh: ("tanh z", "∂L/∂a · (1 − a²)"),
    activations.relu: ("max(z, 0)", "∂L/∂a where z > 0, else 0"),
    activations.softmax: ("softmax(z) = eᶻ / Σ eᶻ", "a (∂L/∂a − Σ a ∂L/∂a)"),
}


def trace(model: Any, x: Any, y: Any, sample_weight: Any = None) -> Trace:
    """Take one batch up and down through the model, and keep every number.

    For every layer: its input, weighted sum z, activation a, the gradient arriving, those of its
    weights, and the one passed on, each with its formula; then the loss, sample by sample. What the
    optimizer makes of it, `Trace.update` works out for any weight.

    Arguments:
        x, y, sample_weight: a batch, as for `fit`.

    Returns:
        A `Trace`, all of NumPy; nothing of the model changes.

    Raises:
        ValueError: as `fit`.
    """
    check_compiled(model)
    x, y, sample_weight = prepare(model, x, y, sample_weight)
    drawn = backend.generator().bit_generator.state
    twin = copy.deepcopy(model).to("numpy")
    with backend.use("numpy"), backend.quiet():
        twin.start_evaluation(x.shape)
        (batch,) = Batches(x, y, sample_weight, len(x), twin.dtype).run(0, 1)
        up, output = _upwards(twin, batch.x)
        loss = float(twin.objective.forward(batch.y, output, batch.sample_weight))
        down = _downwards(twin, batch.y, output)
        traces = tuple(
            LayerTrace(layer.name, type(layer).__name__, tuple(going_up), tuple(coming_down))
            for layer, going_up, coming_down in zip(twin.layers, up, reversed(down), strict=True)
        )
        losses = _losses(twin.objective, batch.y, output)
        terms = _terms(twin, batch, output, losses, loss)
        weights = _weights(twin)
    backend.generator().bit_generator.state = drawn
    optimizer = copy.deepcopy(twin.optimizer)
    return Trace(model.name, traces, np.array(output), losses, loss, terms, optimizer, weights)


def _upwards(model: Any, x: np.ndarray) -> tuple[list[list[Quantity]], np.ndarray]:
    found = []
    for layer in model.layers:
        given, x = np.array(x), np.array(layer.forward(x, training=True))
        here = [Quantity("x", "", given)]
        here += [
            Quantity({"kernel": "W", "bias": "b"}.get(name, name), "", np.array(weight))
            for name in (*layer.trained_names, *layer.kept_names)
            for weight in [getattr(layer, name)]
        ]
        formula = ""
        if _is_dense(layer):
            z = given @ layer.kernel + (layer.bias if layer.use_bias else 0)
            here.append(Quantity("z", "x W + b" if layer.use_bias else "x W", z))
            formula = _FORMULAS.get(layer.activation, (f"{name_of(layer.activation)}(z)",))[0]
        elif isinstance(layer, Flatten):
            formula = "x, each sample in one row"
        elif isinstance(layer, Activation):
            f = layer.activation
            formula = _FORMULAS.get(f, (f"{name_of(f)}(z)",))[0].replace("z", "x")
        elif isinstance(layer, Dropout) and layer._mask is not None:
            here.append(Quantity("m / (1 − r)", "", np.array(layer._mask)))
            formula = "x m / (1 − r)"
        found.append([*here, Quantity("a", formula, x)])
    return found, x


def _losses(objective: Any, y: np.ndarray, output: np.ndarray) -> np.ndarray:
    """ℓ of each sample, as training computes it: where it can be, from softmax's logarithms."""
    if objective.fused:
        target = objective.loss.targets(y, output)
        return np.array(crossentropy(target, objective.layer.surprise))
    return np.array(objective.loss.call(match_rank(y, output), output))


def _downwards(model: Any, y: np.ndarray, output: np.ndarray) -> list[list[Quantity]]:
    objective, passed = model.objective, []
    model.go_down_to(None)
    start = objective.backward()
    arriving = np.array(start)
    model.watch = lambda layer, gradient: passed.append((layer, np.array(gradient)))
    model.backward(start)
    found = []
    for layer, below in passed:
        fused = objective.fused and layer is objective.layer
        if fused:  # where softmax and cross-entropy are one step, ∂L/∂a is passed by
            at_z, counts = arriving, objective.y != 0
            arriving = np.divide(-objective.y, output, np.zeros_like(output), where=counts)
        delta, formula, note = _delta(layer, arriving)
        if fused:
            delta = at_z
            targets = objective.loss.targets(y, output)
            if delta.ndim == 2 and np.allclose(delta, (output - targets) / len(y), atol=1e-7):
                smoothed = ", y smoothed" if objective.loss.label_smoothing else ""
                note = f", which is (p − y) / B{smoothed}"
        here = [Quantity("∂L/∂a", "", arriving, ", arriving")]
        dense = _is_dense(layer)
        if delta is not None:
            here.append(Quantity("δ", formula, delta, note))
        for name in layer.trained_names:
            symbol = {"kernel": "∂L/∂W", "bias": "∂L/∂b"}.get(name, f"∂L/∂{name}")
            kernel = "xᵀ δ" if layer.penalty() is None else "xᵀ δ + ∂R/∂W"
            formula = {"kernel": kernel, "bias": "Σ δ over the batch"}.get(name, "")
            formula = formula if dense else ""
            here.append(Quantity(symbol, formula, np.array(getattr(layer, f"{name}_gradient"))))
        formula = "δ Wᵀ" if dense else "δ" if type(layer) is Activation else ""
        found.append([*here, Quantity("∂L/∂x", formula, below, ", passed on")])
        arriving = below
    return found


def _delta(layer: Any, arriving: np.ndarray) -> tuple[np.ndarray | None, str, str]:
    """δ = ∂L/∂z of a layer with an activation, its formula, and nothing more to note."""
    if not (_is_dense(layer) or type(layer) is Activation):
        return None, "", ""
    f = layer.activation
    if f is activations.linear:
        return arriving.copy(), "∂L/∂a", ""
    layer_a = layer._a.copy()
    rows = arriving.reshape(layer_a.shape)
    given = layer._z.copy() if f in FROM_Z else layer_a
    delta = DERIVATIVES[f](rows, given).reshape(arriving.shape)
    return np.array(delta), _FORMULAS.get(f, ("", "f′ ∂L/∂a"))[1], ""


def _is_dense(layer: Any) -> bool:
    return isinstance(layer, Dense) and type(layer).forward is Dense.forward


def _weights(model: Any) -> dict[str, Any]:
    """Values, gradient and the optimizer's slots of every weight that trains, by its name."""
    found: dict[str, Any] = {}
    states = iter(model.optimizer.states() if model.optimizer.built else ())
    for layer in model.layers:
        for name in layer.trained_names if model.trainable and layer.trainable else ():
            weight = np.array(getattr(layer, name))
            state = next(states, [np.zeros_like(weight) for _ in model.optimizer.slots])
            gradient = np.array(getattr(layer, f"{name}_gradient"))
            found[f"{layer.name}/{name}"] = (weight, gradient, tuple(state))
    return found


def _terms(
    model: Any, batch: Batch, output: np.ndarray, losses: np.ndarray, loss: float
) -> tuple[str, ...]:
    """The loss, sample by sample, as far as they fit on a page."""
    loss_of, each = model.objective.loss, losses.ravel()
    kind = type(loss_of)
    formula = {
        CategoricalCrossentropy: "ℓ = −Σ y ln p",
        SparseCategoricalCrossentropy: "ℓ = −ln p of the true class",
        MeanSquaredError: "ℓ = mean of (p − y)²",
    }.get(kind, "ℓ")
    plain = True
    if isinstance(loss_of, CategoricalCrossentropy):
        plain = not (loss_of.from_logits or loss_of.label_smoothing)
        formula += ", p being the softmax of the outputs" if loss_of.from_logits else ""
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
    for layer in model.layers:
        cost = layer.penalty()
        if cost is not None:
            price = getattr(layer, "kernel_regularizer", None)
            formula = f" = {price.l2:g} Σ W²" if isinstance(price, L2) else ""
            lines.append(f"R of {layer.name}{formula} = {float(cost):.6g}")
            how += " + R"
            worked += f" + {float(cost):.6g}" if worked else ""
    lines.append(f"L = {how} = {worked + ' = ' if worked else ''}{loss:.6g}")
    return tuple(lines)


def _term(kind: type, p: np.ndarray, y: np.ndarray) -> str:
    if kind is CategoricalCrossentropy and len(p) <= 10 and np.count_nonzero(y) == 1:
        return f"−ln {p[int(y.argmax())]:.6g} = "
    if kind is SparseCategoricalCrossentropy and np.ndim(np.squeeze(y)) == 0:
        c = int(np.squeeze(y))
        return f"−ln {p[c]:.6g} = " if 0 <= c < len(p) else ""
    if kind is MeanSquaredError and len(p) <= 3:
        squares = " + ".join(f"({a:.6g} − {b:.6g})²" for a, b in zip(p, np.ravel(y), strict=True))
        return f"({squares}) / {len(p)} = " if len(p) > 1 else f"{squares} = "
    return ""
