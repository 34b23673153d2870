"""What `check_gradients` found: a verdict for each parameter, and what a mistake looks like."""

import math
from dataclasses import dataclass

import numpy as np

# What counts as right: rounding alone comes to some 1e-8, a mistake to 1e-2 and more.
TOLERANCE = 1e-4
# Below this share of the loss a derivative cannot be told from rounding.
FLOOR = 1e-6


@dataclass(frozen=True)
class ParameterCheck:
    """What was found for one parameter, or for the input.

    Attributes:
        name: such as ``"dense/kernel"``.
        shape: its shape.
        checked: how many of its numbers were looked at.
        error: the worst relative error, |backward − differences| over the larger of the two.
        index: where that is.
        backward, differences: the derivative there, said by the backward pass and by central
            differences.
        tiny: whether all its derivatives are so small that rounding hides what they are.
        hint: what kind of mistake it looks like; empty where all is right.
    """

    name: str
    shape: tuple[int, ...]
    checked: int
    error: float
    index: tuple[int, ...]
    backward: float
    differences: float
    hint: str
    tiny: bool = False

    @property
    def ok(self) -> bool:
        """Whether the backward is right here."""
        return self.error <= TOLERANCE


@dataclass(frozen=True)
class GradientCheck:
    """The result of `check_gradients`: true if all is right; printed, a table and a verdict."""

    model: str
    samples: int
    loss: float
    parameters: tuple[ParameterCheck, ...]

    @property
    def ok(self) -> bool:
        """Whether every gradient is right."""
        return all(parameter.ok for parameter in self.parameters)

    def __bool__(self) -> bool:
        return self.ok

    def __repr__(self) -> str:
        rows = [("parameter", "shape", "checked", "worst relative error", "")]
        for one in self.parameters:
            checked = f"{one.checked:,} of {math.prod(one.shape):,}"
            verdict = "too small to tell" if one.tiny else "right" if one.ok else "WRONG"
            rows.append((one.name, str(one.shape), checked, f"{one.error:.1e}", verdict))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [f"Gradients of model '{self.model}', {self.samples} samples, loss {self.loss:.6g}"]
        for name, shape, checked, error, verdict in rows:
            cells = (name.ljust(widths[0]), shape.ljust(widths[1]), checked.rjust(widths[2]))
            lines.append("  ".join(("", *cells, error.rjust(widths[3]), verdict)).rstrip())
        for one in self.parameters:
            if not one.ok:
                place = f"[{', '.join(map(str, one.index))}]" if one.index else ""
                lines.append(
                    f"{one.name}{place}: backward says {one.backward:.6g}, central differences "
                    f"say {one.differences:.6g}. {one.hint}".rstrip()
                )
        worst = max((one.error for one in self.parameters), default=0.0)
        wrong = sum(not one.ok for one in self.parameters)
        if wrong:
            first = [one for one in self.parameters if not one.ok and one.name != "input"][-1:]
            lines.append(f"{wrong} of {len(self.parameters)} gradients are wrong.")
            if wrong > 1 and first:
                lines.append(
                    f"Mistakes travel down. Look first at {first[0].name}, the nearest to the "
                    "output: at its own formula, then at what the layer above passes on."
                )
        else:
            tiny = sum(one.tiny for one in self.parameters)
            which = f"All but {tiny}" if tiny else "All"
            lines.append(f"{which} gradients are right: {worst:.1e} at worst, of {TOLERANCE:.0e}.")
        return "\n".join(lines)


def looks_like(
    gradient: np.ndarray,
    places: np.ndarray,
    said: np.ndarray,
    true: np.ndarray,
    batch: int,
    floor: float,
) -> str:
    """What kind of mistake it looks like; empty where that cannot be told."""
    if not np.isfinite(said).any():
        return "It looks as if backward did not write it."
    square = gradient.ndim == 2 and gradient.shape[0] == gradient.shape[1] > 1
    if square and np.allclose(gradient.T.ravel()[places], true, rtol=TOLERANCE, atol=floor):
        return "It looks transposed."
    large = np.abs(true) > 100 * floor
    if not large.any():
        return ""
    ratios = said[large] / true[large]
    ratio = float(np.median(ratios))
    same = np.allclose(said, ratio * true, rtol=100 * TOLERANCE, atol=floor)
    if not same or math.isclose(ratio, 1, rel_tol=100 * TOLERANCE):
        return ""
    if ratio == 0:
        return "It is zero everywhere."
    words = {
        -1.0: "It has the wrong sign.",
        float(batch): f"It is {batch} times as large, the number of samples: was 1/B forgotten?",
        1 / batch: f"It is {batch} times too small, the number of samples: was 1/B taken twice?",
    }
    for expected, text in words.items():
        if math.isclose(ratio, expected, rel_tol=100 * TOLERANCE):
            return text
    return f"It is {ratio:.4g} times as large as it should be, everywhere."
