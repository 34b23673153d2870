"""The table of a model in a notebook: a row for each layer, the totals, the optimizer and loss.

`summary` prints what Keras prints. This is HTML, in the colours of the notebook's theme.
"""

import html

from tinynet.backend.types import Model
from tinynet.inspection.summary import listed

HEADS = ("Layer", "Output shape", "Activation", "Parameters")
# Inline, because a notebook's own rules align cells, and break lines even within a number.
LEFT = "style='text-align:left;vertical-align:top;white-space:pre;font-weight:normal'"
RIGHT = LEFT.replace("left", "right;font-variant-numeric:tabular-nums")


def row(tag: str, cells: list[str], last: str = LEFT) -> str:
    """Return a row of cells, each a `tag`, "td" or "th"; `last` is the last one's attributes."""
    attributes = [LEFT] * (len(cells) - 1) + [last]
    pairs = zip(attributes, cells, strict=True)
    return f"<tr>{''.join(f'<{tag} {given}>{cell}</{tag}>' for given, cell in pairs)}</tr>"


def table(rows: list[str]) -> str:
    """Return a table of these rows, which scrolls sideways if it is too wide for its place."""
    return f"<div style='overflow-x:auto'><table>{''.join(rows)}</table></div>"


def model_table(model: Model) -> str:
    """Return the name of a model, a table of its layers with those inside them, and the totals."""
    rows = [row("th", [f"<b>{head}</b>" for head in HEADS], RIGHT)]
    for indent, layer in listed(model.layers, True):
        frozen = ", frozen" if layer.weights and not layer.trainable else ""
        cells = (
            f"{indent}{layer.name} ({type(layer).__name__}){frozen}",
            f"{getattr(layer, 'output_shape', None) or '?'}",
            _name_of(getattr(layer, "activation", None)),
            f"{sum(weight.size for weight in layer.weights):,}" if layer.built else "?",
        )
        rows.append(row("td", [*map(html.escape, cells)], RIGHT))
    total, trained = (
        sum(weight.size for weight in weights)
        for weights in (model.weights, model.trainable_weights)
    )
    texts = [f"{total:,} parameters{f', {trained:,} of them trainable' if trained < total else ''}"]
    if not model.built:
        texts = ["not built yet: the weights are made when the shape of the input is known"]
    if model.optimizer is not None:
        texts.append(f"optimizer {_name_of(model.optimizer)}, loss {_name_of(model.loss) or '?'}")
    name, kind, shape, below = map(
        html.escape,
        (model.name, type(model).__name__, f"{model.shape_of_input or '?'}", "; ".join(texts)),
    )
    return f"<b>{name}</b> ({kind}), input {shape}{table(rows)}{below}"


def _name_of(part: object) -> str:
    """Return the name of an activation, an optimizer or a loss; empty for None."""
    if isinstance(part, str | None):
        return part or ""
    return str(getattr(part, "__name__", type(part).__name__))
