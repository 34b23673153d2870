"""`model.trace(x, y)`: one batch up and down through the model, with every number kept.

Training keeps nothing that it does not need: sums are overwritten by activations, and softmax and
cross-entropy are taken in one step. A trace takes them one by one, on a copy of the model, so that
each number can be followed to the next. Nothing here is fast, and nothing of the model changes.
"""

import copy
import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinynet import activations, backend
from tinynet.data import Batch, Batches
from tinynet.evaluation import prepare
from tinynet.layers import Activation, Dense, Dropout, Flatten
from tinynet.losses import (
    CategoricalCrossentropy,
    MeanSquaredError,
    SparseCategoricalCrossentropy,
)
from tinynet.regularizers import L2
from tinynet.working import Update, work_out

# Arrays of more numbers than this are shown by their least, mean and largest alone.
SHOWN = 40

_LEFT = " style='text-align:left;white-space:nowrap;vertical-align:top;font-weight:normal'"

_FORMULAS = {
    activations.linear: ("z", "∂L/∂a"),
    activations.sigmoid: ("σ(z) = 1 / (1 + e⁻ᶻ)", "∂L/∂a · a (1 − a)"),
    activations.tanh: ("tanh z", "∂L/∂a · (1 − a²)"),
    activations.relu: ("max(z, 0)", "∂L/∂a where z > 0, else 0"),
    activations.softmax: ("softmax(z) = eᶻ / Σ eᶻ", "a (∂L/∂a − Σ a ∂L/∂a)"),
}


@dataclass(frozen=True)
class Quantity:
    """One array of a trace: what it is called, the formula that it comes from, and its numbers."""

    symbol: str
    formula: str
    values: np.ndarray
    note: str = ""

    @property
    def title(self) -> str:
        """Symbol and formula in one, such as ``z = x W + b``."""
        return f"{self.symbol} = {self.formula}" if self.formula else self.symbol

    @property
    def figures(self) -> tuple[str, str, str, str]:
        """Shape, least, mean and largest, as text."""
        if not self.values.size:
            return f"{self.values.shape}", "", "", ""
        low, mean, high = self.values.min(), self.values.mean(dtype="float64"), self.values.max()
        return f"{self.values.shape}", f"{low:.4g}", f"{mean:.4g}", f"{high:.4g}"

    def rows(self) -> list[str]:
        """The numbers, a line for each row; none where they are too many."""
        if not 0 < self.values.size <= SHOWN:
            return []
        rows = self.values.reshape(-1, self.values.shape[-1] if self.values.ndim else 1)
        digits = 6 if rows.shape[1] <= 6 else 4  # so that a row stays a line on the screen
        cells = [[f"{number:.{digits}g}" for number in row] for row in rows.tolist()]
        width = max(len(cell) for row in cells for cell in row)
        return ["  ".join(cell.rjust(width) for cell in row) for row in cells]


@dataclass(frozen=True)
class LayerTrace:
    """What happened in one layer.

    Attributes:
        name, kind: the layer's name and class.
        forward: input x, weights, the weighted sum z, activation a.
        backward: the gradient arriving, δ = ∂L/∂z, those of the weights, the one passed on.
    """

    name: str
    kind: str
    forward: tuple[Quantity, ...]
    backward: tuple[Quantity, ...]

    def __getitem__(self, symbol: str) -> np.ndarray:
        """The numbers of one quantity, by its symbol, such as ``"z"`` or ``"∂L/∂W"``."""
        found = {one.symbol: one.values for one in (*self.forward, *self.backward)}
        if symbol not in found:
            raise KeyError(f"Expected one of {list(found)}, received: {symbol!r}")
        return found[symbol]


@dataclass(frozen=True)
class Trace:
    """What `model.trace` returns; printed, it is a table, and in a notebook HTML.

    Attributes:
        layers: a `LayerTrace` for each layer, from the bottom to the top.
        output: what came out of the top.
        losses: the loss ℓ of each sample, before weights.
        loss: that of the batch, L.
        terms: how L came about, in lines.
    """

    model: str
    layers: tuple[LayerTrace, ...]
    output: np.ndarray
    losses: np.ndarray
    loss: float
    terms: tuple[str, ...]
    optimizer: Any
    weights: dict[str, tuple[np.ndarray, np.ndarray, tuple[np.ndarray, ...]]]

    def __getitem__(self, layer: str | int) -> LayerTrace:
        """The trace of a layer, by its name or number."""
        if isinstance(layer, int):
            return self.layers[layer]
        found = {one.name: one for one in self.layers}
        if layer not in found:
            raise KeyError(f"Expected one of {list(found)}, received: {layer!r}")
        return found[layer]

    def update(self, weight: str, index: int | Sequence[int] = ()) -> Update:
        """How the optimizer would now change one weight, worked out step by step.

        Arguments:
            weight: such as ``"dense/kernel"``.
            index: its place in that array, such as ``(0, 1)``.
        """
        if weight not in self.weights:
            raise KeyError(f"Expected one of {list(self.weights)}, received: {weight!r}")
        values, gradient, state = self.weights[weight]
        place = (index,) if isinstance(index, int) else tuple(index)
        numbers = [float(array[place]) for array in (values, gradient, *state)]
        label = f"{weight}[{', '.join(map(str, place))}]" if place else weight
        return Update(label, *work_out(self.optimizer, *numbers))

    def _lines(self) -> Iterator[tuple[str, tuple[str, ...], list[str]]]:
        """(title, figures, numbers) from top to bottom of the page; a heading has no figures."""
        for number, layer in enumerate(self.layers, start=1):
            yield f"Layer {number}, up: {layer.name} ({layer.kind})", (), []
            for one in layer.forward:
                yield one.title, one.figures, one.rows()
        yield "Loss", (), list(self.terms)
        for number, layer in reversed(list(enumerate(self.layers, start=1))):
            yield f"Layer {number}, down: {layer.name} ({layer.kind})", (), []
            for one in layer.backward:
                yield f"{one.title}{one.note}", one.figures, one.rows()

    def __repr__(self) -> str:
        entries = list(self._lines())
        width = min(44, max(len(title) for title, figures, _ in entries if figures))
        lines = [f"One batch through model '{self.model}'"]
        for title, figures, rows in entries:
            if figures:
                shape, low, mean, high = figures
                told = f"  min {low}  mean {mean}  max {high}" if low else ""
                lines.append(f"  {title.ljust(width)}  {shape}{told}")
            else:
                lines += ["", title]
            lines += [f"      {row}" for row in rows]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        parts = [f"<h3>One batch through model ‘{html.escape(self.model)}’</h3><table>"]
        for title, figures, rows in self._lines():
            numbers = html.escape("\n".join(rows))
            shown = f"<pre style='margin:0'>{numbers}</pre>" if rows else ""
            if figures:
                cells = [f"<code>{html.escape(title)}</code>", *map(html.escape, figures), shown]
                parts.append(f"<tr>{''.join(f'<td{_LEFT}>{cell}</td>' for cell in cells)}</tr>")
            else:
                words = () if rows else ("shape", "min", "mean", "max", "numbers, if few")
                heads = [f"<b>{html.escape(title)}</b>", *words]
                parts.append(f"<tr>{''.join(f'<th{_LEFT}>{head}</th>' for head in heads)}</tr>")
                if rows:
                    parts.append(f"<tr><td colspan='6'{_LEFT}>{shown}</td></tr>")
        return "".join([*parts, "</table>"])


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
    model.check_compiled()
    x, y, sample_weight = prepare(model, x, y, sample_weight)
    drawn = backend.generator().bit_generator.state
    twin = copy.deepcopy(model).to("numpy")
    with backend.use("numpy"), backend.quiet():
        twin.start_evaluation(x.shape)
        twin.objective.fused = False
        (batch,) = Batches(x, y, sample_weight, len(x), twin.dtype).run(0, 1)
        up, output = _upwards(twin, batch.x)
        loss = float(twin.objective.forward(batch.y, output, batch.sample_weight))
        down = _downwards(twin)
        traces = tuple(
            LayerTrace(layer.name, type(layer).__name__, tuple(forward), tuple(backward))
            for layer, forward, backward in zip(twin.layers, up, reversed(down), strict=True)
        )
        losses = np.array(twin.objective.loss.call(twin.objective._target, output))
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
            formula = _FORMULAS.get(
                layer.activation, (f"{activations.serialize(layer.activation)}(z)",)
            )[0]
        elif isinstance(layer, Flatten):
            formula = "x, each sample in one row"
        elif isinstance(layer, Activation):
            f = layer.activation
            formula = _FORMULAS.get(f, (f"{activations.serialize(f)}(z)",))[0].replace("z", "x")
        elif isinstance(layer, Dropout) and layer._mask is not None:
            here.append(Quantity("m / (1 − r)", "", np.array(layer._mask)))
            formula = "x m / (1 − r)"
        found.append([*here, Quantity("a", formula, x)])
    return found, x


def _downwards(model: Any) -> list[list[Quantity]]:
    gradient, found = model.objective.backward(), []
    for layer in reversed(model.layers):
        layer.passes_gradient = True
        arriving = np.array(gradient)
        gradient = layer.backward(gradient)
        here = [Quantity("∂L/∂a", "", arriving, ", arriving")]
        dense = _is_dense(layer)
        if dense:
            delta, formula = arriving, "∂L/∂a"
            if layer.activation is not activations.linear:
                rows = arriving.reshape(-1, layer.units)
                delta = activations.backward(layer.activation)(rows, layer._a.copy())
                formula = _FORMULAS.get(layer.activation, ("", "f′ ∂L/∂a"))[1]
            note = ""
            if layer is model.layers[-1] and layer.activation is activations.softmax:
                cross = type(model.objective.loss) in (
                    CategoricalCrossentropy,
                    SparseCategoricalCrossentropy,
                )
                note = ", which is (p − y) / B" if cross else ""
            here.append(Quantity("δ", formula, np.array(delta.reshape(arriving.shape)), note))
        for name in layer.trained_names:
            symbol = {"kernel": "∂L/∂W", "bias": "∂L/∂b"}.get(name, f"∂L/∂{name}")
            kernel = "xᵀ δ" if layer.penalty() is None else "xᵀ δ + ∂R/∂W"
            formula = {"kernel": kernel, "bias": "Σ δ over the batch"}.get(name, "")
            formula = formula if dense else ""
            here.append(Quantity(symbol, formula, np.array(getattr(layer, f"{name}_gradient"))))
        passed = Quantity("∂L/∂x", "δ Wᵀ" if dense else "", np.array(gradient), ", passed on")
        found.append([*here, passed])
    return found


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
    kind, each = type(model.objective.loss), losses.ravel()
    formula = {
        CategoricalCrossentropy: "ℓ = −Σ y ln p",
        SparseCategoricalCrossentropy: "ℓ = −ln p of the true class",
        MeanSquaredError: "ℓ = mean of (p − y)²",
    }.get(kind, "ℓ")
    lines = [formula]
    if losses.ndim == 1 and len(losses) <= 8:
        targets = model.objective._target
        for n, (p, y, value) in enumerate(zip(output, targets, losses, strict=True), start=1):
            lines.append(f"sample {n}: {_term(kind, p, y)}{value:.6g}")
    reduction = model.objective.loss.reduction
    how = {"sum": "sum of ℓ"}.get(reduction, "mean of ℓ")
    if batch.sample_weight is not None:
        how += ", each times its weight"
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
