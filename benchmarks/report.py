"""Helpers shared by the benchmarks: a description of the machine, and tables for a README."""

from __future__ import annotations

import argparse
import io
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

Item = TypeVar("Item")

# A console or a file without Unicode gets "?" for a character that it lacks, instead of an error.
if isinstance(sys.stdout, io.TextIOWrapper):
    sys.stdout.reconfigure(errors="replace")


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the command line, with the options that every benchmark has."""
    parser.add_argument("--plot", type=pathlib.Path, metavar="FILE", help="draw a picture")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write all figures")
    return parser.parse_args()


def save(
    results: Any, arguments: argparse.Namespace, plot: Callable[[Any, Any], None] | None = None
) -> None:
    """Write the figures and draw the picture, if requested."""
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    if arguments.plot and plot:
        try:
            plot(results, arguments.plot)
        except ModuleNotFoundError as error:
            print(f"No picture was drawn: {error}. Write: python -m pip install matplotlib")


def shown(what: str, items: Sequence[Item]) -> Iterator[Item]:
    """Yield the items, and show on standard error how many have begun.

    On a terminal, the line is overwritten and, at the end, removed. Elsewhere it is written once.
    """
    if not sys.stderr.isatty():
        print(f"{what} …", file=sys.stderr, flush=True)
        yield from items
        return
    try:
        for number, item in enumerate(items, start=1):
            text = f"{what}: {number} of {len(items)}"
            print(f"{text:<78}", end="\r", file=sys.stderr, flush=True)
            yield item
    finally:
        print(" " * 78, end="\r", file=sys.stderr, flush=True)


def machine() -> str:
    """Return the processor, its cores, the system and the Python version, in one line."""
    return (
        f"{_processor()}, {cores()} cores, {platform.system()}, Python {platform.python_version()}"
    )


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    if sys.platform == "darwin":
        ask = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(ask, capture_output=True, text=True, check=False).stdout.strip()
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    facts = {name.strip(): value.strip() for name, value in facts.items()}
    vectors = {"avx512f": "AVX-512", "avx2": "AVX2", "asimd": "NEON"}
    flags = (facts.get("flags") or facts.get("Features") or "").split()
    widest = next((name for flag, name in vectors.items() if flag in flags), "")
    return " with ".join(filter(None, (facts.get("model name", platform.machine()), widest)))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table aligned for a terminal: first column left, the others right."""
    widths = [max(len(row[n]) for row in (head, *rows)) for n in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            c.ljust(w) if not n else c.rjust(w)
            for n, (c, w) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = [("-" * width if not n else "-" * (width - 1) + ":") for n, width in enumerate(widths)]
    return "\n".join(map(line, (head, rule, *rows)))


def seconds(value: float) -> str:
    """Format a duration with three digits: ``1.23 s``, ``45.6 ms``, ``7.89 µs``."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= 0.9995 * size or unit == "µs":
            number = value / size
            return f"{number:.{max(0, 2 - (number >= 10) - (number >= 100))}f} {unit}"
    raise AssertionError


def counted(count: int, what: str) -> str:
    """Format a count and its noun: ``1 round``, ``2 rounds``."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median of the rounds' ratios: a slow moment slows both times of a round."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def spread(values: Sequence[float]) -> str:
    """Format the shortest and the longest time: ``0.70–0.81``."""
    return f"{min(values):.2f}–{max(values):.2f}"
