"""`model.summary()`: the table of layers and the totals that Keras 3 prints, line for line.

Rich draws the table, as it does for Keras, so equal columns give equal wrapping and ellipses. This
file fills the cells and the totals, and imports Rich only when called. A terminal gets colours, a
notebook gets Rich's HTML, and a pipe, a file or a `print_fn` gets plain text.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from tinynet.backend.types import AnyLayer, Array, Model
from tinynet.compat.layer import layers_in
from tinynet.layers import Activation, Dropout, Layer
from tinynet.utils.progress import printable

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

# Keras's columns (title, alignment), their ends as fractions of the line, and its colours.
_COLUMNS: tuple[tuple[str, Literal["left", "center", "right"]], ...] = (
    ("Layer (type)", "left"),
    ("Output Shape", "left"),
    ("Param #", "right"),
    ("Trainable", "center"),
)
_ENDS = (0.45, 0.80, 1.0)
_NUMBER, _NONE, _CLASS = "color(34)", "color(45)", "color(33)"
_YES, _NO = "bold color(34)", "bold color(9)"
_UNITS = ("B", "KB", "MB", "GB", "TB", "PB")


def summary(
    model: Model,
    line_length: int | None = None,
    positions: Sequence[float] | None = None,
    print_fn: Callable[[str], object] | None = None,
    expand_nested: bool = False,
    show_trainable: bool = False,
    layer_range: Sequence[str] | None = None,
) -> None:
    """Print the layers with their output shapes and parameter counts, then the totals.

    A layer that is not built shows `?`, and `0 (unbuilt)` if building it does something in Keras.
    Totals are given in parameters and in bytes, and include the slots of a built optimizer (after
    `fit`): Adam has two for each weight.

    Arguments:
        model: an object with `name`, `layers` and `optimizer`.
        line_length: the width of the table in characters. None: the terminal's width minus 4, but
            at most 88 (100 with `show_trainable`).
        positions: where the three columns end, as fractions of the line. None: 0.45, 0.8 and 1.
        print_fn: a function that receives the whole text in one call. None prints it.
        expand_nested: whether to list the layers of a model inside this one, below it.
        show_trainable: whether to add a column with Y or N for each layer that has weights.
        layer_range: regular expressions for the names of the first and the last layer to list.

    Raises:
        ValueError: if `line_length` is too small, or `positions` or `layer_range` do not fit.
    """
    from rich.console import Console, Group

    table = _table(line_length, show_trainable, positions)
    for prefix, layer in listed(_chosen(model.layers, layer_range), expand_nested):
        table.add_row(*_row(prefix, layer, show_trainable))
    text = Group(_text((f'Model: "{model.name}"', "bold")), table, *_totals(model))

    console = Console(color_system="auto" if print_fn is None else None)
    # Keras lets Rich crop the table to the screen; here, an explicit line_length is honoured.
    console.width = max(console.width, table.width or 0)
    if print_fn is None and (console.is_terminal or console.is_jupyter):
        console.print(text)
        return
    with console.capture() as capture:
        console.print(text)
    write = functools.partial(print, end="") if print_fn is None else print_fn
    write(printable(capture.get()))


def _chosen(layers: Sequence[Layer], layer_range: Sequence[str] | None) -> Sequence[Layer]:
    """Return the layers between those whose names match, whichever of the two comes first."""
    if layer_range is None:
        return layers
    names = [layer.name for layer in layers]
    matches = []
    if len(layer_range) == 2 and all(isinstance(pattern, str) for pattern in layer_range):
        matches = [[n for n, x in enumerate(names) if re.match(end, x)] for end in layer_range]
    if not matches or not all(matches):
        raise ValueError(
            "Expected layer_range to be two names of layers, or regular expressions for them. "
            f"Received: layer_range={layer_range!r}, of a model with the layers {names}. "
            f"Write: model.summary(layer_range={names[:1] + names[-1:]})"
        )
    first, last = matches if matches[0][0] <= matches[1][-1] else reversed(matches)
    return layers[first[0] : last[-1] + 1]


def listed(
    layers: Iterable[AnyLayer], expand_nested: bool, prefix: str = ""
) -> Iterator[tuple[str, AnyLayer]]:
    """Yield the layers, if `expand_nested` also those inside, and what precedes their names."""
    for layer in layers:
        yield prefix, layer
        if expand_nested:
            inside = layers_in(getattr(layer, "layers", None))
            yield from listed(inside, True, f"   {prefix or '└ '}")


def _table(
    line_length: int | None, show_trainable: bool, positions: Sequence[float] | None
) -> Table:
    from rich.table import Table

    ends = list(positions or _ENDS)
    if show_trainable:
        ends = [*(0.9 * end for end in ends), 1.0]
    columns = _COLUMNS[: 3 + show_trainable]

    def widths(length: int) -> list[int]:
        return [b - a for a, b in itertools.pairwise([0, *(int(end * length) for end in ends)])]

    least = next((n for n in range(1000) if min(widths(n)) >= 4), None)  # Keras's least width
    if len(ends) != len(columns) or least is None:
        raise ValueError(
            "Expected positions to be where the three columns end, in order, as fractions of the "
            f"line. Received: positions={positions!r}. "
            f"Write: model.summary(positions={list(_ENDS)})"
        )
    if not line_length:
        import shutil  # not at the top: it loads every archive decompressor

        screen = shutil.get_terminal_size().columns - 4
        line_length = max(min(screen, 100 if show_trainable else 88), 0 if positions else least)
    if line_length < least:
        raise ValueError(
            f"Expected a line_length of at least {least}, for {len(columns)} columns. Received: "
            f"line_length={line_length}. Write: model.summary(line_length={max(80, least)})"
        )
    table = Table(width=line_length, show_lines=True)
    for (title, side), width in zip(columns, widths(line_length), strict=True):
        table.add_column(title, justify=side, width=width)
    return table


def _row(prefix: str, layer: Layer, show_trainable: bool) -> list[Text]:
    name = _text((prefix + layer.name, ""), (" (", ""), (type(layer).__name__, _CLASS), (")", ""))
    count = f"{layer.count_params() if layer.built else 0:,}"
    built = layer.built or isinstance(layer, Activation | Dropout)  # nothing to build, in Keras
    parameters = _text((count, _NUMBER), ("" if built else " (unbuilt)", ""))
    letter = ("Y", _YES) if layer.trainable else ("N", _NO)
    trainable = _text(letter if layer.weights else ("-", "bold"))
    row = [name, _shape(getattr(layer, "output_shape", None)), parameters, trainable]
    return row[: 3 + show_trainable]


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
