"""The result of `model.trace`: every number of one batch, as arrays and as a printed table."""

import html
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tinynet.backend.types import HostArray
from tinynet.inspection.model_table import LEFT, row, table
from tinynet.inspection.worked_update import Update, work_out
from tinynet.optimizers import Optimizer
from tinynet.utils.progress import printable

# Arrays with more elements than this are shown by their minimum, mean and maximum only.
SHOWN = 40

# A notebook has rules for `pre` and `code`, which break lines even within a number.
_WHOLE = "style='margin:0;white-space:pre;background:none;font-family:monospace'"

TracedWeight = tuple[
    HostArray, HostArray, tuple[HostArray, ...]
]  # value, gradient, optimizer's slots


def _known(name: str, names: Collection[str]) -> str:
    if name not in names:
        raise KeyError(f"Expected one of {list(names)}, received: {name!r}")
    return name


class Printable:
    """The `repr` of a dataclass, in characters that the output has."""

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return printable(f"{type(self).__name__}({values})")


@dataclass(frozen=True, repr=False)
class TracedArray(Printable):
    """One array of a trace: its symbol, the formula it comes from, and its values."""

    symbol: str
    formula: str
    values: np.ndarray
    note: str = ""

    @property
    def title(self) -> str:
        """The symbol and its formula, such as ``z = x W + b``."""
        return f"{self.symbol} = {self.formula}" if self.formula else self.symbol

    @property
    def statistics(self) -> tuple[str, str, str, str]:
        """The shape, minimum, mean and maximum, as text."""
        if not self.values.size:
            return f"{self.values.shape}", "", "", ""
        low, mean, high = self.values.min(), self.values.mean(dtype="float64"), self.values.max()
        return f"{self.values.shape}", f"{low:.4g}", f"{mean:.4g}", f"{high:.4g}"

    def rows(self) -> list[str]:
        """Return the values as text, a line for each row; empty for more than `SHOWN` values.

        All have the same number of decimals, so that sums of them agree with the numbers printed.
        """
        if not 0 < self.values.size <= SHOWN:
            return []
        rows = self.values.reshape(-1, self.values.shape[-1] if self.values.ndim else 1)
        digits = 6 if rows.shape[1] <= 6 else 4  # so that a row fits on a line of the screen
        size = np.abs(rows).max()
        most = digits - 1 - int(np.log10(size) // 1) if 1e-4 <= size < 1e6 else -1
        exact = (n for n in range(most + 1) if (rows.round(n) == rows.round(most)).all())
        form = next((f".{decimals}f" for decimals in exact), f".{digits}g")
        cells = [[f"{number:{form}}" for number in row] for row in rows.tolist()]
        width = max(len(cell) for row in cells for cell in row)
        return ["  ".join(cell.rjust(width) for cell in row) for row in cells]


@dataclass(frozen=True, repr=False)
class LayerTrace(Printable):
    """The forward and backward pass of one layer.

    Attributes:
        name, kind: the layer's name and class.
        forward: the input x, the weights, the weighted sum z, the activation a.
        backward: the arriving ∂L/∂a, δ = ∂L/∂z, the weight gradients, the ∂L/∂x passed on.
    """

    name: str
    kind: str
    forward: tuple[TracedArray, ...]
    backward: tuple[TracedArray, ...]

    def __getitem__(self, symbol: str) -> np.ndarray:
        """Return the values of a quantity by its symbol, such as ``"z"`` or ``"∂L/∂W"``."""
        by_name = {one.symbol: one.values for one in (*self.forward, *self.backward)}
        return by_name[_known(symbol, by_name)]


@dataclass(frozen=True)
class Trace:
    """The result of `model.trace`; prints as a table, in a notebook as an HTML table.

    Attributes:
        layers: a `LayerTrace` for each layer, from the input to the output.
        output: the output of the last layer.
        losses: the loss ℓ of each sample, before sample weights.
        loss: the loss L of the batch.
        terms: the lines that derive L.
    """

    model: str
    layers: tuple[LayerTrace, ...]
    output: np.ndarray
    losses: np.ndarray
    loss: float
    terms: tuple[str, ...]
    optimizer: Optimizer
    weights: dict[str, TracedWeight]

    def __getitem__(self, layer: str | int) -> LayerTrace:
        """Return the trace of a layer by its name or index."""
        if isinstance(layer, int):
            return self.layers[layer]
        by_name = {one.name: one for one in self.layers}
        return by_name[_known(layer, by_name)]

    def update(self, weight: str, index: int | Sequence[int] = ()) -> Update:
        """Work out, step by step, how the optimizer would change one number of a weight.

        Arguments:
            weight: the name of the weight, such as ``"dense/kernel"``.
            index: the index of the number in it, such as ``(0, 1)``.

        Raises:
            KeyError: if there is no trainable weight of that name.
            IndexError: if `index` does not select one number of it.
        """
        values, gradient, state = self.weights[_known(weight, self.weights)]
        place: tuple[int, ...] = tuple(np.ravel(index).tolist())
        if len(place) != values.ndim or any(
            at not in range(-length, length) for at, length in zip(place, values.shape, strict=True)
        ):
            raise IndexError(
                f"Expected the index of one number in {weight}, of shape {values.shape}, received: "
                f"{index}. Write: trace.update({weight!r}, {(0,) * values.ndim})"
            )
        numbers = [float(array[place]) for array in (values, gradient, *state)]
        label = f"{weight}[{', '.join(map(str, place))}]" if place else weight
        return Update(label, *work_out(self.optimizer, *numbers))

    def _lines(self) -> Iterator[tuple[str, tuple[str, ...], list[str]]]:
        """Yield (title, figures, rows) in the order of the page; a heading has no figures."""
        for number, layer in enumerate(self.layers, start=1):
            yield f"Layer {number}, forward: {layer.name} ({layer.kind})", (), []
            for one in layer.forward:
                yield one.title, one.statistics, one.rows()
        yield "Loss", (), list(self.terms)
        for number, layer in reversed(list(enumerate(self.layers, start=1))):
            yield f"Layer {number}, backward: {layer.name} ({layer.kind})", (), []
            for one in layer.backward:
                yield f"{one.title}{one.note}", one.statistics, one.rows()

    def __repr__(self) -> str:
        entries = list(self._lines())
        width = min(44, max(len(title) for title, statistics, _ in entries if statistics))
        lines = [f"One batch through model '{self.model}'"]
        for title, statistics, rows in entries:
            if statistics:
                shape, low, mean, high = statistics
                extremes = f"  min {low}  mean {mean}  max {high}" if low else ""
                lines.append(f"  {title.ljust(width)}  {shape}{extremes}")
            else:
                lines += ["", title]
            lines += [f"      {row}" for row in rows]
        return printable("\n".join(lines))

    def _repr_html_(self) -> str:
        rows = []
        for title, figures, lines in self._lines():
            text, values = html.escape(title), html.escape("\n".join(lines))
            name = f"<code {_WHOLE}>{text}</code>" if figures else f"<b>{text}</b>"
            # The heading of the loss has values and no figures.
            words = figures or (() if lines else ("shape", "min", "mean", "max", "values"))
            shown = [f"<pre {_WHOLE}>{values}</pre>"] if lines else []
            cells = [name, *map(html.escape, words), *shown]
            rows.append(row("td" if figures else "th", cells, f"{LEFT} colspan='{7 - len(cells)}'"))
        return f"<h3>One batch through model ‘{html.escape(self.model)}’</h3>{table(rows)}"
