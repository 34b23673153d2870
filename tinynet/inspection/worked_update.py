"""The update of one number, worked out line by line, as with a pocket calculator.

`optimizers` updates a whole vector at once; here, the formulas are applied to a single number, and
every intermediate result is shown.
"""

import math
from dataclasses import dataclass

from tinynet.optimizers import SGD, Adam, Optimizer, RMSprop
from tinynet.utils.progress import printable


@dataclass(frozen=True)
class Update:
    """The worked update of one number of a weight; prints a line for each step.

    Attributes:
        weight: the name of the weight and the index of the number.
        steps: the lines, each with the formula, the numbers inserted, and the result.
        change: the total change: Δw and, if there is one, the weight decay.
        new: the new value.
    """

    weight: str
    steps: tuple[str, ...]
    change: float
    new: float

    def __repr__(self) -> str:
        return printable("\n  ".join((f"Update of {self.weight}", *self.steps)))


def work_out(
    optimizer: Optimizer, w: float, g: float, *state: float
) -> tuple[tuple[str, ...], float, float]:
    """Return the steps of one number's update as lines, its total change, and its new value."""
    if not optimizer.treats_all_alike:
        raise ValueError(
            "Expected an optimizer that neither limits gradients nor excludes weights from decay, "
            f"received {type(optimizer).__name__} with such a setting: what happens to one number "
            "then depends on others. Leave it out of the optimizer for this model"
        )
    rate, t = optimizer.learning_rate, optimizer.iterations + 1
    lines = [f"w = {w:.6g}", f"g = ∂L/∂w = {g:.6g}"]
    start = w
    if optimizer.weight_decay:
        w -= w * optimizer.weight_decay * rate
        lines.append(
            f"w ← w − η λ w = {start:.6g} − {rate:.6g} · {optimizer.weight_decay:g} · {start:.6g} "
            f"= {w:.6g}"
        )
    if type(optimizer) is Adam:
        b1, b2, epsilon = optimizer.beta_1, optimizer.beta_2, optimizer.epsilon
        m_old, v_old, *largest = state
        m, v = b1 * m_old + (1 - b1) * g, b2 * v_old + (1 - b2) * g * g
        top, symbol = max([v, *largest]), "v_max" if largest else "v"
        m_hat, v_hat = m / (1 - b1**t), top / (1 - b2**t)
        scaled_epsilon = epsilon / math.sqrt(1 - b2**t)
        change = -rate * m_hat / (math.sqrt(v_hat) + scaled_epsilon)
        lines += [
            f"t = {t}, η = {rate:.6g}, β₁ = {b1:g}, β₂ = {b2:g}, ε̂ = {epsilon:g}",
            f"m ← β₁ m + (1 − β₁) g = {b1:g} · {m_old:.6g} + {1 - b1:.6g} · {g:.6g} = {m:.6g}",
            f"v ← β₂ v + (1 − β₂) g² = {b2:g} · {v_old:.6g} + {1 - b2:.6g} · {g * g:.6g} = {v:.6g}",
            *(f"v_max ← max(v_max, v) = max({old:.6g}, {v:.6g}) = {top:.6g}" for old in largest),
            f"m̂ = m / (1 − β₁ᵗ) = {m:.6g} / {1 - b1**t:.6g} = {m_hat:.6g}",
            f"v̂ = {symbol} / (1 − β₂ᵗ) = {top:.6g} / {1 - b2**t:.6g} = {v_hat:.6g}",
            f"ε = ε̂ / √(1 − β₂ᵗ) = {scaled_epsilon:.6g}",
            f"Δw = −η m̂ / (√v̂ + ε) = −{rate:.6g} · {m_hat:.6g} / "
            f"({math.sqrt(v_hat):.6g} + {scaled_epsilon:.6g}) = {change:.6g}",
        ]
    elif type(optimizer) is RMSprop:
        rho, mu, epsilon = optimizer.rho, optimizer.momentum, optimizer.epsilon
        slots = dict(zip(optimizer.slots, state, strict=True))
        v_old, a_old = slots["velocity"], slots.get("average_gradient")
        v = variance = rho * v_old + (1 - rho) * g * g
        lines.append(
            f"v ← ρ v + (1 − ρ) g² = {rho:g} · {v_old:.6g} + {1 - rho:.6g} · {g * g:.6g} = {v:.6g}"
        )
        if a_old is not None:
            a = rho * a_old + (1 - rho) * g
            variance = v - a * a
            lines += [
                f"a ← ρ a + (1 − ρ) g = {rho:g} · {a_old:.6g} + {1 - rho:.6g} · {g:.6g} = {a:.6g}",
                f"v − a² = {v:.6g} − {a * a:.6g} = {variance:.6g}",
            ]
        root = math.sqrt(variance + epsilon)
        change = -rate * g / root
        step = f"{rate:.6g} · {g:.6g} / √({variance:.6g} + {epsilon:g})"
        symbol = "v" if a_old is None else "(v − a²)"
        if "momentum" in slots:
            m_old, m = slots["momentum"], mu * slots["momentum"] - change
            change = -m
            lines += [
                f"m ← μ m + η g / √({symbol} + ε) = {mu:g} · {m_old:.6g} + {step} = {m:.6g}",
                f"Δw = −m = −1 · {m:.6g} = {change:.6g}",
            ]
        else:
            lines.append(f"Δw = −η g / √({symbol} + ε) = −{step} = {change:.6g}")
    elif type(optimizer) is SGD and not optimizer.momentum:
        change = -rate * g
        lines.append(f"Δw = −η g = −{rate:.6g} · {g:.6g} = {change:.6g}")
    elif type(optimizer) is SGD:
        mu, (old,) = optimizer.momentum, state
        velocity = mu * old - rate * g
        change = mu * velocity - rate * g if optimizer.nesterov else velocity
        nesterov = f"μ v − η g = {mu:g} · {velocity:.6g} − {rate:.6g} · {g:.6g} = {change:.6g}"
        lines += [
            f"v ← μ v − η g = {mu:g} · {old:.6g} − {rate:.6g} · {g:.6g} = {velocity:.6g}",
            f"Δw = {nesterov if optimizer.nesterov else f'v = {change:.6g}'}",
        ]
    else:
        raise ValueError(
            f"Expected Adam, RMSprop or SGD, received {type(optimizer).__name__}: "
            "apply its rule to the numbers in `trace.weights`."
        )
    shown = f"{w:.6g} {'−' if change < 0 else '+'} {abs(change):.6g} = {w + change:.6g}"
    return (*lines, f"w ← w + Δw = {shown}"), w + change - start, w + change
