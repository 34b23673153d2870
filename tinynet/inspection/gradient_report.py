"""The report of `check_gradients`: a verdict for each parameter, and the likely mistake."""

import math
from dataclasses import dataclass

import numpy as np

from tinynet.utils.progress import printable

# The largest relative error that passes: rounding causes about 1e-8, a mistake 1e-2 or more.
TOLERANCE = 1e-4
# A derivative below this fraction of the loss cannot be distinguished from rounding.
FLOOR = 1e-6


@dataclass(frozen=True)
class ParameterCheck:
    """The result for one parameter, or for the input.

    Attributes:
        name: such as ``"dense/kernel"``.
        shape: its shape.
        checked: the number of elements compared.
        error: the worst relative error, |backward − differences| over the larger magnitude.
        index: the index of the element with that error.
        backward, differences: the derivative of that element, from the backward pass and from
            central differences.
        tiny: whether all its derivatives are too small to be distinguished from rounding.
        hint: the likely mistake; empty if the gradient is right or the mistake is not recognised.
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
        """Whether the error is within the tolerance."""
        return self.error <= TOLERANCE


@dataclass(frozen=True)
class GradientCheck:
    """The result of `check_gradients`: true if every gradient is right; prints as a table."""

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
            lines.append(
                (
                    f"  {name:{widths[0]}}  {shape:{widths[1]}}  {checked:>{widths[2]}}"
                    f"  {error:>{widths[3]}}  {verdict}"
                ).rstrip()
            )
        wrong = [one for one in self.parameters if not one.ok]
        for one in wrong:
            place = f"[{', '.join(map(str, one.index))}]" if one.index else ""
            lines.append(
                f"{one.name}{place}: backward says {one.backward:.6g}, central differences "
                f"say {one.differences:.6g}. {one.hint}".rstrip()
            )
        worst = max((one.error for one in self.parameters), default=0.0)
        if wrong:
            first = [one for one in wrong if one.name != "input"][-1:]
            lines.append(f"{len(wrong)} of {len(self.parameters)} gradients are wrong.")
            if len(wrong) > 1 and first:
                lines.append(
                    f"A mistake spreads to all layers below. Look first at {first[0].name}, the "
                    "nearest to the output: at its formula, then at ∂L/∂x of the layer above."
                )
        else:
            tiny = sum(one.tiny for one in self.parameters)
            which = f"All but {tiny}" if tiny else "All"
            lines.append(f"{which} gradients are right (error {worst:.1e}, limit {TOLERANCE:.0e}).")
        return printable("\n".join(lines))


def likely_mistake(
    gradient: np.ndarray,
    indices: np.ndarray,
    computed: np.ndarray,
    numeric: np.ndarray,
    batch: int,
    floor: float,
) -> str:
    """Return a sentence on the likely mistake; empty if none is recognised."""
    if not np.isfinite(computed).any():
        return "It seems that backward did not write it."
    square = gradient.ndim == 2 and gradient.shape[0] == gradient.shape[1] > 1
    if square and np.allclose(gradient.T.ravel()[indices], numeric, rtol=TOLERANCE, atol=floor):
        return "It looks transposed."
    large = np.abs(numeric) > 100 * floor
    if not large.any():
        return ""
    ratio = float(np.median(computed[large] / numeric[large]))
    same = np.allclose(computed, ratio * numeric, rtol=100 * TOLERANCE, atol=floor)
    if not same or math.isclose(ratio, 1, rel_tol=100 * TOLERANCE):
        return ""
    words = {
        0.0: "It is zero everywhere.",
        -1.0: "It has the wrong sign.",
        float(batch): f"It is {batch} times too large, the number of samples: was 1/B forgotten?",
        1 / batch: f"It is {batch} times too small, the number of samples: was 1/B taken twice?",
    }
    return next(
        (
            text
            for expected, text in words.items()
            if math.isclose(ratio, expected, rel_tol=100 * TOLERANCE)
        ),
        f"It is {ratio:.4g} times as large as it should be, everywhere.",
    )
