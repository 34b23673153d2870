"""What `model.trace` gives: every number of one batch, as data and as a table to read."""

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinynet.inspection.worked_update import Update, work_out

# Arrays of more numbers than this are shown by their least, mean and largest alone.
SHOWN = 40

_LEFT = " style='text-align:left;white-space:nowrap;vertical-align:top;font-weight:normal'"


def _outside(index: int, length: int) -> bool:
    return not -length <= index < length


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

        Raises:
            KeyError: if no such weight trains.
            IndexError: if that is not a place in it.
        """
        if weight not in self.weights:
            raise KeyError(f"Expected one of {list(self.weights)}, received: {weight!r}")
        values, gradient, state = self.weights[weight]
        place: tuple[Any, ...] = tuple(np.ravel(index).tolist())
        if len(place) != values.ndim or any(map(_outside, place, values.shape)):
            raise IndexError(
                f"Expected the place of one number in {weight}, of shape {values.shape}, received: "
                f"{index}. Write: trace.update({weight!r}, {(0,) * values.ndim})"
            )
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
