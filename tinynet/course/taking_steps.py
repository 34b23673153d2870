"""The checks of lesson 4, taking steps: learning rates, batches, momentum, and Adam."""

from collections.abc import Callable, Sequence

import numpy as np

from tinynet.backend.types import HostArray
from tinynet.course.grading import (
    Gap,
    agree,
    expect_function,
    grade_parts,
    index_arrays,
    not_yet,
    right,
)
from tinynet.course.parts import draw, expect_class
from tinynet.optimizers import Adam, Optimizer

position = Gap(
    lambda w, c, eta, steps: (1 - eta * c) ** steps * w,
    "The distance shrinks, or grows, by the same factor in each step.",
    {
        "This is w after one step. The factor is used once in each step: raise it to the power of "
        "their number.": lambda w, c, eta, steps: (1 - eta * c) * w,
        "The factor is multiplied by the number of steps. It is used once in each step: raise it "
        "to that power, **.": lambda w, c, eta, steps: (1 - eta * c) * steps * w,
        "The steps get shorter as w gets smaller, but here they are all as long as the first one: "
        "use the factor 1 − η c once in each step.": (
            lambda w, c, eta, steps: w - steps * eta * c * w
        ),
        "This is the factor. The starting point w is missing.": (
            lambda w, c, eta, steps: (1 - eta * c) ** steps
        ),
        "It goes uphill: the factor is 1 − η c.": (
            lambda w, c, eta, steps: (1 + eta * c) ** steps * w
        ),
        "The curvature is missing: the factor is 1 − η c.": (
            lambda w, c, eta, steps: (1 - eta) ** steps * w
        ),
        "The sign is lost. If 1 − η c is negative, w jumps to the other side in each step.": (
            lambda w, c, eta, steps: abs(1 - eta * c) ** steps * w
        ),
        "η is missing: the factor is 1 − η c.": lambda w, c, eta, steps: (1 - c) ** steps * w,
        "η c is what a step takes away. What remains is 1 − η c.": (
            lambda w, c, eta, steps: (eta * c) ** steps * w
        ),
        "The start is raised to that power, too: put brackets around the factor only.": (
            lambda w, c, eta, steps: ((1 - eta * c) * w) ** steps
        ),
    },
    [(-4.0, 1.0, 0.1, 5), (3.0, 2.5, 0.3, 3), (2.0, 4.0, 0.6, 3)],
)

largest_rate = Gap(
    lambda c: 2 / c,
    "A step twice as long as the one that would arrive: it lands equally far on the other side.",
    {
        "With this rate the factor is 0: one step arrives at the minimum. Where is it "
        "−1?": lambda c: 1 / c,
        "The sign is reversed: 1 − η c = −1 gives η c = 2.": lambda c: -2 / c,
        "It grows with the curvature. The steeper, the shorter the steps have to be: solve "
        "1 − η c = −1 for η.": lambda c: 2 * c,
        "With this rate the factor is 0.5. Where is it −1?": lambda c: 1 / (2 * c),
        "Solve 1 − η c = −1 for η: divide by c instead of multiplying.": lambda c: c / 2,
        "This is the same for every c. Solve 1 − η c = −1 for η.": lambda c: 2.0,
        "This is right for c = 25 only. Solve 1 − η c = −1 for η.": lambda c: 0.08,
    },
    [(1.0,), (25.0,), (4.0,)],
)


def batches(answer: Callable[[HostArray, int], Sequence[HostArray]]) -> None:
    """Check a function that cuts an order (n,) into batches of a size, the last one smaller."""
    expect_function(answer)
    for n, size in ((10, 4), (6, 3), (9, 4), (5, 8)):
        order = np.random.default_rng(n).permutation(n) + 10  # unlike places in it
        whole = Gap(order, "", {
            "The last batch is missing: it may be smaller than the others.": order[: n - n % size],
            "Only the first batch is there. The starts are 0, size, 2 · size …, and a slice goes "
            "from start to start + size.": order[:size],
            "These are places in `order`. Take the numbers that stand there: order[…].": (
                np.arange(n)
            ),
            "They are sorted, and should stay in random order.": np.sort(order),
            "The first number of each batch is missing: slices start at 0.": (
                order[np.arange(n) % size > 0]
            ),
        })  # fmt: skip
        got = index_arrays(whole.run(answer, (order, size)), "a list of arrays, one for each batch")
        flat = np.concatenate([*got, order[:0]])
        if len(flat) != n and not any(
            agree(flat, np.asarray(wrong)) for wrong in whole.mistakes.values()
        ):
            why = "Do they overlap?" if len(flat) > n else "Are some missing?"
            raise not_yet(f"They hold {len(flat)} numbers together, and `order` has {n}. {why}")
        whole.grade(flat)
        lengths = [len(batch) for batch in got]
        if lengths[:-1] != [size] * (n // size - (n % size == 0)):
            sizes = ", ".join(map(str, lengths[:9])) + " …" * (len(lengths) > 9)
            raise not_yet(f"{n} images in batches of {size} became batches of {sizes}.")
    right("Each image is in one batch, and the last batch may be smaller.")


def momentum(answer: Callable[..., object]) -> None:
    """Check a step with momentum: a function of w, g, v, η and μ that returns the new v and w."""
    (w, g, old), eta, mu = draw(3, 3, 3), 0.37, 0.83  # unlike any number in the lesson
    v = mu * old - eta * g
    grade_parts(answer, [(w, g, old, eta, mu)], [
        ("v", v, {
            "It pushes uphill: subtract η g.": mu * old + eta * g,
            "The old velocity is kept completely. Only a share μ of it should be kept.": (
                old - eta * g
            ),
            "The old velocity is forgotten: v ← μ v − η g.": -eta * g,
            "The learning rate is missing: the push is η g.": mu * old - g,
            "This is another common form, with η outside. Here v contains −η g.": mu * old + g,
            "The push is missing: subtract η g.": mu * old,
            "μ and η have changed places.": eta * old - mu * g,
            "It is made of w, and should be made of v and g.": mu * w - eta * g,
            "1 − μ is what is lost. A share μ is kept.": (1 - mu) * old - eta * g,
            "The push is multiplied by 1 − μ, too. Here it is η g.": (
                mu * old - (1 - mu) * eta * g
            ),
            "μ reduces the push, too. It should reduce the old velocity only.": (
                mu * (old - eta * g)
            ),
        }),
        ("w", w + v, {
            "It moves against the velocity, which points downhill already: add v.": w - v,
            "v is multiplied by η, which is in v already.": w + eta * v,
            "v is multiplied by μ once more.": w + mu * v,
            "This is the step without momentum. Move by v.": w - eta * g,
            "The gradient is used twice: it is in v already.": w + v - eta * g,
            "This makes the new v once more. Add the v of the line above.": (
                w + mu * v - eta * g
            ),
            "It moves by the old v. Use the new one.": w + old,
            "It does not move. Add v.": w,
            "This is v alone. Add it to w.": v,
        }),
    ])  # fmt: skip
    right("A share of the velocity stays, and the gradient pushes.")


faster = Gap(
    10.0,
    "So with momentum 0.9, try a tenth of the rate.",
    {
        "This is 1 − μ. Divide by it, with brackets: 1 / (1 − μ).": 0.1,
        "The velocity is divided by 1 − μ, not by μ.": 1 / 0.9,
        "This is 1 + μ, as after two steps. Go on adding: 1 + μ + μ² + …": 1.9,
        "This is μ / (1 − μ). In the formula for v there is no μ in the numerator.": 9.0,
        "How many times as long? A length has no sign.": -10.0,
        "This is for μ = 0.8.": 5.0,
    },
)


def _mean(
    gradients: HostArray, beta: float, correction: Callable[[int], float] = lambda t: 1.0
) -> float:
    """Return the running mean, which is divided by a correction after each gradient."""
    m = 0.0
    for t, g in enumerate(gradients, 1):
        m = (beta * m + (1 - beta) * g) / correction(t)
    return m


running_mean = Gap(
    lambda gs, beta: _mean(gs, beta) / (1 - beta ** len(gs)),
    "For equal gradients it is exactly their value, from the first step on.",
    {
        "The correction is missing: divide by 1 − βᵗ at the end.": _mean,
        "It is larger by 1/(1 − β) than the mean without correction. Multiply g by 1 − β, and "
        "divide by 1 − βᵗ at the end, where t is the number of gradients.": (
            lambda gs, beta: _mean(gs, beta) / (1 - beta)
        ),
        "It is divided by βᵗ, and should be by 1 − βᵗ.": (
            lambda gs, beta: _mean(gs, beta) / beta ** len(gs)
        ),
        "It is multiplied by 1 − βᵗ. Divide: m is too small.": (
            lambda gs, beta: _mean(gs, beta) * (1 - beta ** len(gs))
        ),
        "β and 1 − β have changed places: most of the old mean is kept.": (
            lambda gs, beta: _mean(gs, 1 - beta) / (1 - beta ** len(gs))
        ),
        "β and 1 − β have changed places, and the correction is missing.": (
            lambda gs, beta: _mean(gs, 1 - beta)
        ),
        "The new gradient is not multiplied by 1 − β: this is a sum, not a mean.": (
            lambda gs, beta: _mean(gs, beta) / (1 - beta) / (1 - beta ** len(gs))
        ),
        "The correction goes back into m. Keep m as it is, and correct once, at the end.": (
            lambda gs, beta: _mean(gs, beta, lambda t: 1 - beta**t)
        ),
        "t is one too small: it is the number of gradients.": (
            lambda gs, beta: _mean(gs, beta) / (1 - beta ** (len(gs) - 1))
        ),
        "Put brackets around 1 − βᵗ.": lambda gs, beta: _mean(gs, beta) / 1 - beta ** len(gs),
        "This is the plain mean of all gradients. Old ones should fade.": (
            lambda gs, beta: np.mean(gs)
        ),
        "The old mean is not reduced: multiply it by β.": (
            lambda gs, beta: (1 - beta) * np.sum(gs) / (1 - beta ** len(gs))
        ),
        "The old mean is lost: only the last gradient counts. Write m = beta * m + …": (
            lambda gs, beta: (1 - beta) * gs[-1] / (1 - beta ** len(gs))
        ),
    },
    [(draw(4) + 2, 0.9), (draw(3), 0.7)],
)


@np.errstate(all="ignore")  # of wrong formulas
def adam(answer: Callable[..., object]) -> None:
    """Check a step of Adam: a function of w, g, m, v, t, η, β₁, β₂ and ε; it returns m, v and w."""
    (w, g, m0, root), t = draw(4, 3, 3), 3
    eta, beta1, beta2, epsilon = 0.13, 0.81, 0.96, 0.07
    v0 = root**2
    m, v = beta1 * m0 + (1 - beta1) * g, beta2 * v0 + (1 - beta2) * g**2
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)

    def moved(m: HostArray, size: HostArray, rate: float = eta) -> HostArray:
        return np.asarray(w - rate * m / (size + epsilon))

    size = np.sqrt(v_hat)
    grade_parts(answer, [(w, g, m0, v0, t, eta, beta1, beta2, epsilon)], [
        ("m", m, {
            "β₁ and 1 − β₁ have changed places.": (1 - beta1) * m0 + beta1 * g,
            "It is made with β₂, which is for v.": beta2 * m0 + (1 - beta2) * g,
            "The new gradient is not multiplied by 1 − β₁.": beta1 * m0 + g,
            "The new gradient is subtracted: add it.": beta1 * m0 - (1 - beta1) * g,
            "The old m is not multiplied by β₁.": m0 + (1 - beta1) * g,
            "The gradient is squared. That is for v.": beta1 * m0 + (1 - beta1) * g**2,
            "It is corrected already. m is kept for the next step as it is; only m_hat is "
            "corrected.": m_hat,
        }),
        ("v", v, {
            "The gradient is not squared.": beta2 * v0 + (1 - beta2) * g,
            "β₂ and 1 − β₂ have changed places.": (1 - beta2) * v0 + beta2 * g**2,
            "It is made with β₁, which is for m.": beta1 * v0 + (1 - beta1) * g**2,
            "1 − β₂ is squared, too. Square g only.": beta2 * v0 + ((1 - beta2) * g) ** 2,
            "The new square is subtracted: add it.": beta2 * v0 - (1 - beta2) * g**2,
            "The new square is not multiplied by 1 − β₂.": beta2 * v0 + g**2,
            "It squares m, and should square the gradient.": beta2 * v0 + (1 - beta2) * m**2,
            "It continues with m, and should continue with v.": beta2 * m + (1 - beta2) * g**2,
            "It is corrected already. v is kept for the next step as it is; only v_hat is "
            "corrected.": v_hat,
        }),
        ("w with m_hat and v_hat", moved(m_hat, size), {
            "It goes uphill. Subtract, and divide by 1 − βᵗ, not by βᵗ − 1.": (
                w + eta * m_hat / (size + epsilon)
            ),
            "It divides by v̂. Take its square root.": moved(m_hat, v_hat),
            "ε is under the root. Add it after taking the root.": (
                w - eta * m_hat / np.sqrt(v_hat + epsilon)
            ),
            "ε is added after dividing: put brackets around √v̂ + ε.": (
                w - eta * m_hat / size + epsilon
            ),
            "ε is missing, or is a fixed number: add epsilon.": w - eta * m_hat / size,
            "The learning rate is missing.": moved(m_hat, size, 1.0),
            "It uses m and v without correction.": moved(m, np.sqrt(v)),
            "m is used without correction.": moved(m, size),
            "v is used without correction.": moved(m_hat, np.sqrt(v)),
            "m̂: m is divided by 1 − β₁. Raise β₁ to the power of t.": moved(m / (1 - beta1), size),
            "v̂: v is divided by 1 − β₂. Raise β₂ to the power of t.": (
                moved(m_hat, np.sqrt(v / (1 - beta2)))
            ),
            "m̂ and v̂: raise β to the power of t.": (
                moved(m / (1 - beta1), np.sqrt(v / (1 - beta2)))
            ),
            "m̂: m is divided by β₁ᵗ, and should be by 1 − β₁ᵗ.": moved(m / beta1**t, size),
            "v̂: v is divided by β₂ᵗ, and should be by 1 − β₂ᵗ.": (
                moved(m_hat, np.sqrt(v / beta2**t))
            ),
            "m̂: m is multiplied by 1 − β₁ᵗ. Divide: it is too small.": (
                moved(m * (1 - beta1**t), size)
            ),
            "v̂: v is multiplied by 1 − β₂ᵗ. Divide: it is too small.": (
                moved(m_hat, np.sqrt(v * (1 - beta2**t)))
            ),
            "v̂ is made with β₁.": moved(m_hat, np.sqrt(v / (1 - beta1**t))),
            "m̂ is made with β₂.": moved(m / (1 - beta2**t), size),
            "m̂ stands for g: this is the step without the mean.": moved(g, size),
            "m_hat is made of g, and should be of m.": moved(g / (1 - beta1**t), size),
            "Put brackets around 1 − β₁ᵗ.": moved(m / 1 - beta1**t, size),
            "Put brackets around 1 − β₂ᵗ.": moved(m_hat, np.sqrt(v / 1 - beta2**t)),
            "This is the step alone. Add it to w.": -eta * m_hat / (size + epsilon),
        }),
    ])  # fmt: skip
    right("These are the five lines of the paper.")


def optimizer(answer: Callable[[float], Optimizer]) -> None:
    """Check the class of a student's own Adam against tinynet's, in three steps of one array.

    Arguments: the class; it is called with the learning rate.
    """
    expect_class(answer, Optimizer)

    def steps(kind: Callable[[float], Optimizer], rate: float) -> HostArray:
        weights, made = np.ones(5, "float32"), kind(rate)
        for gradient in draw(3, 5).astype("float32"):
            gradient[0] = 0  # always: without ε, 0/0
            made.apply_gradients([(gradient, weights)])
        return weights

    def counting(change: Callable[[int], int]) -> type[Adam]:
        prepare = Adam.prepare
        return type("Counting", (Adam,), {"prepare": lambda self, t: prepare(self, change(t))})

    praise = "After three steps the weights are those of tinynet's Adam."
    Gap(lambda rate: steps(Adam, rate), praise, {
        "The rate is always 0.001, the default of your function: pass self.learning_rate.": (
            lambda rate: steps(Adam, 0.001)
        ),
        "t is always the same. It is the number of the step, which prepare receives.": (
            lambda rate: steps(counting(lambda t: 1), rate)
        ),
        "The weights become nan. Is t one too small? `iteration` starts at 1, and 1 − β⁰ is 0.": (
            lambda rate: steps(counting(lambda t: t - 1), rate)
        ),
        "t is one too large: `iteration` starts at 1 already.": (
            lambda rate: steps(counting(lambda t: t + 1), rate)
        ),
        "The weights do not change.": lambda rate: np.ones(5),
    }, [(0.1,), (0.03,)])(lambda rate: steps(answer, rate))  # fmt: skip
