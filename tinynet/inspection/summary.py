"""`model.summary()`: the table of layers and the totals that Keras 3 prints, line for line.

Rich draws the table, as it does for Keras, so equal columns give equal wrapping and ellipses. This
file fills the cells and the totals, and imports Rich only when called. A terminal gets colours, a
notebook gets Rich's HTML, and a pipe, a file or a `print_fn` gets plain text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal

from tinynet.backend.types import Array, Model
from tinynet.compat import arguments
from tinynet.layers import Layer
from tinynet.utils.progress import printable

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

# Keras's columns (title, alignment, end as a fraction of the line) and its colours.
_COLUMNS: tuple[tuple[str, Literal["left", "center", "right"], float], ...] = (
    ("Layer (type)", "left", 0.45),
    ("Output Shape", "left", 0.80),
    ("Param #", "right", 1.0),
)
_NUMBER, _NONE, _CLASS = "color(34)", "color(45)", "color(33)"
_YES, _NO = "bold color(34)", "bold color(9)"
_UNITS = ("B", "KB", "MB", "GB", "TB", "PB")


def summary(
    model: Model,
    line_length: int | None = None,
    positions: object = None,
    print_fn: Callable[[str], object] | None = None,
    expand_nested: bool = False,
    show_trainable: bool = False,
    layer_range: object = None,
) -> None:
    """Print the layers with their output shapes and parameter counts, then the totals.

    A layer that is not built shows `?` and `0 (unbuilt)`. Totals are given in parameters and in
    bytes, and include the slots of a built optimizer (after `fit`): Adam has two for each weight.

    Arguments:
        model: an object with `name`, `layers` and `optimizer`.
        line_length: the width of the table in characters. None: the terminal's width minus 4, but
            at most 88 (100 with `show_trainable`).
        print_fn: a function that receives the whole text in one call. None prints it.
        show_trainable: whether to add a column with Y or N for each layer that has weights.
        positions, expand_nested, layer_range: Keras's arguments; only the defaults are supported.

    Raises:
        ValueError: if `line_length` is too small, or an unsupported argument is given.
    """
    from rich.console import Console, Group

    given = {"positions": positions, "layer_range": layer_range, "expand_nested": expand_nested}
    arguments.refuse("summary", given)
    table = _table(line_length, show_trainable)
    for layer in model.layers:
        table.add_row(*_row(layer, show_trainable))
    text = Group(_text((f'Model: "{model.name}"', "bold")), table, *_totals(model))

    console = Console(color_system="auto" if print_fn is None else None)
    # Keras lets Rich crop the table to the screen; here, an explicit line_length is honoured.
    console.width = max(console.width, table.width or 0)
    if print_fn is None and (console.is_terminal or console.is_jupyter):
        console.print(text)
        return
    with console.capture() as capture:
        console.print(text)
    if print_fn is None:
        print(printable(capture.get()), end="")
    else:
        print_fn(printable(capture.get()))


def _table(line_length: int | None, show_trainable: bool) -> Table:
    from rich.table import Table

    columns = list(_COLUMNS)
    if show_trainable:
        columns = [(title, side, 0.9 * end) for title, side, end in columns]
        columns.append(("Trainable", "center", 1.0))
    narrowest = 31 if show_trainable else 16  # four cells for each column
    if line_length is None:
        import shutil  # not at the top: it loads every archive decompressor

        screen = shutil.get_terminal_size().columns - 4
        line_length = max(min(screen, 100 if show_trainable else 88), narrowest)
    if line_length < narrowest:
        raise ValueError(
            f"Expected a line_length of at least {narrowest}, for {len(columns)} columns. "
            f"Received: line_length={line_length}. Write model.summary(line_length=80)."
        )
    table = Table(width=line_length, show_lines=True)
    start = 0
    for title, side, end in columns:
        table.add_column(title, justify=side, width=int(end * line_length) - start)
        start = int(end * line_length)
    return table


def _row(layer: Layer, show_trainable: bool) -> list[Text]:
    name = _text((layer.name, ""), (" (", ""), (type(layer).__name__, _CLASS), (")", ""))
    count = f"{layer.count_params() if layer.built else 0:,}"
    parameters = _text((count, _NUMBER), ("" if layer.built else " (unbuilt)", ""))
    row = [name, _shape(getattr(layer, "output_shape", None)), parameters]
    if show_trainable:
        letter, style = ("Y", _YES) if layer.trainable else ("N", _NO)
        row.append(_text((letter, style) if layer.weights else ("-", "bold")))
    return row


def _shape(shape: tuple[int | None, ...] | None) -> Text:
    if shape is None:
        return _text(("?", ""))
    sizes = [(str(size), _NONE if size is None else _NUMBER) for size in shape]
    between = [part for size in sizes for part in ((", ", ""), size)][1:]
    return _text(("(", ""), *between, (")", ""))


def _totals(model: Model) -> list[Text]:
    trainable = [w for layer in model.layers for w in layer.trainable_weights]
    frozen = [w for layer in model.layers for w in layer.non_trainable_weights]
    groups = [("Trainable", trainable), ("Non-trainable", frozen)]
    if model.optimizer is not None and model.optimizer.built:
        groups.append(("Optimizer", list(model.optimizer.variables)))
    groups.insert(0, ("Total", [array for _, arrays in groups for array in arrays]))
    return [
        _text(
            (f" {title} params: ", "bold"),
            (f"{sum(math.prod(array.shape) for array in arrays):,}", _NUMBER),
            (f" ({_memory(arrays)})", ""),
        )
        for title, arrays in groups
    ]


def _memory(arrays: Iterable[Array]) -> str:
    size = sum(array.nbytes for array in arrays)
    power = min(max(size.bit_length() - 1, 0) // 10, len(_UNITS) - 1)
    return f"{size / 1024**power:.2f} {_UNITS[power]}"


def _text(*parts: tuple[str, str]) -> Text:
    from rich.text import Text

    return Text.assemble(*parts)
