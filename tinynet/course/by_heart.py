"""The checks of lesson 5, learning by heart: parts, early stopping, L2, dropout, flat sigmoids."""

import functools
from collections.abc import Callable

import numpy as np

from tinynet.backend.types import Config, HostArray
from tinynet.course.grading import (
    Gap,
    expect_function,
    grade_parts,
    index_arrays,
    not_yet,
    numbers,
    right,
)
from tinynet.course.parts import draw, expect_class, sigmoid, slope_of_sigmoid
from tinynet.layers import Layer


def split(answer: Callable[..., object]) -> None:
    """Check a function of n, the number for validation, and a generator; it returns two parts."""
    expect_function(answer)
    gap, parts = Gap(None, "", {}), []
    for n, few, seed in ((11, 4, 1), (9, 4, 2), (9, 4, 3)):
        expected = "two arrays: the numbers for training, and those for validation"
        given = gap.run(answer, (n, few, np.random.default_rng(seed)))
        got = index_arrays(given, expected)
        if len(got) != 2:
            raise not_yet(f"Expected {expected}; received {len(got)}.")
        training, validation = got
        if both := np.intersect1d(training, validation).size:
            raise not_yet(
                f"In both parts: {both} of {n}. What is trained on cannot be for validation."
            )
        sizes = len(training), len(validation)
        if sizes == (few, n - few):
            raise not_yet("The parts have changed places: first training, then validation.")
        if sizes != (n - few, few):
            received = f"{sizes[0]} for training and {sizes[1]} for validation"
            raise not_yet(f"{n} images, {few} for validation: these are {received}.")
        if sorted([*training, *validation]) != [*range(n)]:
            raise not_yet("Expected each of the numbers 0 … n − 1 once.")
        parts.append(sorted(validation))
    if parts[1] == parts[2]:
        raise not_yet("It does not depend on chance. If the file is sorted, so are these parts.")
    right("No image is in both, and the order of the file does not matter.")


Condition = Callable[[HostArray, int, int, int], object]  # of the losses, epoch, best, patience


def _stop(
    losses: HostArray,
    patience: int,
    is_best: Condition = lambda losses, epoch, best, patience: losses[epoch] < losses[best],
    is_over: Condition = lambda losses, epoch, best, patience: epoch - best >= patience,
) -> HostArray:
    """Return the best epoch, and the one after which training stops."""
    best = epoch = 0
    for epoch in range(len(losses)):
        if is_best(losses, epoch, best, patience):
            best = epoch
        if is_over(losses, epoch, best, patience):
            break
    return np.array([best, epoch])


def early_stopping(answer: Callable[..., object]) -> None:
    """Check a function of losses and patience that returns the best epoch and the last one."""
    mistakes: dict[str, Config] = {
        "is_best takes the largest loss for the best.": {
            "is_best": lambda losses, epoch, best, patience: losses[epoch] > losses[best]
        },
        "is_best compares with the epoch before, losses[epoch - 1]. The smallest loss so far is "
        "losses[best].": {
            "is_best": lambda losses, epoch, best, patience: losses[epoch] < losses[epoch - 1]
        },
        "An equal loss counts as better, so it may go on forever. Write <.": {
            "is_best": lambda losses, epoch, best, patience: losses[epoch] <= losses[best]
        },
        "is_best looks at all losses, also at those to come.": {
            "is_best": lambda losses, epoch, best, patience: losses[epoch] == min(losses)
        },
        "It stops one epoch too late: patience is over when epoch − best has reached it.": {
            "is_over": lambda losses, epoch, best, patience: epoch - best > patience
        },
        "is_over counts all epochs. Count those since the best one, epoch − best.": {
            "is_over": lambda losses, epoch, best, patience: epoch >= patience
        },
        "is_over counts all epochs, and waits one more. Count those since the best one.": {
            "is_over": lambda losses, epoch, best, patience: epoch > patience
        },
        "It stops one epoch too early: wait until epoch − best has reached the patience.": {
            "is_over": lambda losses, epoch, best, patience: epoch - best >= patience - 1
        },
        "It stops after the first epoch: is_over is true at once. It should become true when "
        "epoch − best has reached the patience.": {
            "is_over": lambda losses, epoch, best, patience: True
        },
        "best is the number of an epoch. Its loss is losses[best].": {
            "is_best": lambda losses, epoch, best, patience: losses[epoch] < best
        },
        "is_best is true in every epoch. Compare two losses.": {
            "is_best": lambda losses, epoch, best, patience: True
        },
        "It stops at the first epoch that is not better: the patience is missing.": {
            "is_over": lambda losses, epoch, best, patience: epoch != best
        },
        "It never stops. The patience is over when epoch − best has reached it.": {
            "is_over": lambda losses, epoch, best, patience: best - epoch >= patience
        },
    }
    expect_function(answer)
    gap = Gap(
        _stop,
        "A few worse epochs are allowed; `patience` of them in a row end the training.",
        {hint: functools.partial(_stop, **wrong) for hint, wrong in mistakes.items()},
        [  # short, so that hints show them
            ([5, 4, 7, 6, 3, 9, 9, 9, 9], 3),
            ([2, 1, 1, 1, 1, 1], 2),
            ([3, 2, 1], 2),
            ([6, 9, 5, 7, 6, 8, 6, 4], 4),
            ([1, 2, 3, 4], 2),
            ([6, 5, 4.999, 5, 5, 5], 3),
        ],
    )
    gap(functools.wraps(answer)(lambda *case: numbers(answer(*case))))


def with_l2(answer: Callable[..., object]) -> None:
    """Check a function of L, ∂L/∂w, w and λ that returns both with the penalty λ Σ w²."""
    (gradient, w), loss, lam = draw(2, 3, 3), 1.7, 0.13
    grade_parts(answer, [(loss, gradient, w, lam)], [
        ("total", loss + lam * np.sum(w**2), {
            "λ is missing: add λ Σ w².": loss + np.sum(w**2),
            "The weights are added up as they are. Square them first: positive and negative ones "
            "would cancel.": loss + lam * np.sum(w),
            "The sum is squared. Square each weight, and then add up.": loss + lam * np.sum(w) ** 2,
            "This is the mean of the squares. Add them up.": loss + lam * np.mean(w**2),
            "The penalty is subtracted: large weights would be rewarded.": (
                loss - lam * np.sum(w**2)
            ),
            "This is the penalty alone. Add it to the loss.": lam * np.sum(w**2),
            "This is half the penalty. Here it is λ Σ w².": loss + lam * np.sum(w**2) / 2,
            "There is a number for each weight: add them up with np.sum.": loss + lam * w**2,
            "There is a number for each column. np.sum adds up all, Python's sum only the rows.": (
                loss + lam * sum(w**2)
            ),
            "The penalty is missing: add λ Σ w².": loss,
            "This is L1, the sum of the magnitudes. L2 takes squares.": (
                loss + lam * np.abs(w).sum()
            ),
        }),
        ("slope", gradient + 2 * lam * w, {
            "The 2 is missing: the derivative of w² is 2 w.": gradient + lam * w,
            "The penalty pulls weights towards 0, so its slope is added, not subtracted.": (
                gradient - 2 * lam * w
            ),
            "λ is missing.": gradient + 2 * w,
            "The slope of the penalty is missing: add it.": gradient,
            "The derivative of w² is 2 w, without the square.": gradient + 2 * lam * w**2,
            "This is the slope of the penalty alone. Add it to the gradient.": 2 * lam * w,
            "The penalty itself is added, and should be its derivative, 2 λ w.": (
                gradient + lam * w**2
            ),
            "The penalty itself is added, and should be its derivative: for each weight 2 λ w.": (
                gradient + lam * np.sum(w**2)
            ),
            "The slopes are added up. Each weight has its own, 2 λ w.": (
                gradient + 2 * lam * np.sum(w)
            ),
        }),
    ])  # fmt: skip
    right("Each weight is pulled towards 0, the more the larger it is.")


def dropout(answer: Callable[[float], Layer]) -> None:
    """Check the class of a dropout layer, which is called with the rate."""
    expect_class(answer, Layer)

    def run(x: HostArray, gradient: HostArray, rate: float) -> list[object]:
        layer = answer(rate)
        outside = layer.forward(x, training=False)
        return [layer.forward(x, training=True), layer.backward(gradient), outside]

    (x, gradient), rate = draw(2, 4, 6), 0.35
    kept = np.random.default_rng(1).random(x.shape) >= rate
    factor = kept / (1 - rate)
    grade_parts(run, [(x, gradient, rate)], [
        ("forward", x * factor, {
            "It drops, but does not divide: the mean would be (1 − r) x.": x * kept,
            "It is divided by r. Divide by 1 − r, the share that is kept.": x * kept / rate,
            "It is multiplied by 1 − r. Divide by it, so that the mean stays the same.": (
                x * kept * (1 - rate)
            ),
            "It is divided by the share that happens to be kept. Divide by 1 − r.": (
                x * kept / kept.mean()
            ),
            "Nothing is dropped: `kept` is missing.": x / (1 - rate),
            "Brackets are missing: kept is divided by all of 1 − r.": x * (kept - rate),
            "x is in the factor already, and the next line multiplies by it again.": x * x * factor,
            "It drops what should be kept, and keeps the rest.": x * ~kept / (1 - rate),
        }),
        ("backward", gradient * factor, {
            "The gradient passes unchanged, also where the output was 0: multiply by the factor.": (
                gradient
            ),
            "The gradient that arrives is missing: multiply it by the factor.": factor,
            "It is divided, but nothing is dropped. Where the output was 0, the gradient is 0.": (
                gradient / (1 - rate)
            ),
            "It is divided by the factor, and should be multiplied by it.": (
                lambda *_: gradient / factor
            ),
        }),
        ("forward outside training", x, {}),
    ])  # fmt: skip
    right("What was dropped gets no gradient, and the mean stays the same.")


at_most = Gap(
    lambda k: 0.25**k,
    "Six sigmoids leave at most a four-thousandth.",
    {
        "The factors are multiplied, not added: ¼ · ¼ · …": lambda k: 0.25 * k,
        "This is one sigmoid. There are k.": lambda k: 0.25,
        "It grows. Every sigmoid multiplies by ¼, not by 4.": lambda k: 4.0**k,
        "a (1 − a) is at most ¼, at a = ½, not ½.": lambda k: 0.5**k,
        "This is what is lost, ¾ at a time, or more. What gets through is ¼.": lambda k: 0.75**k,
        "This is what is lost. What share gets through?": lambda k: 1 - 0.25**k,
        "It divides by 4 k. Every sigmoid divides by 4 again: 4 to the power of k.": (
            lambda k: 1 / (4 * k)
        ),
        "Base and exponent have changed places.": lambda k: k**0.25,
    },
    [(1,), (2,), (6,)],
)

flat_share = Gap(
    lambda z: np.mean(slope_of_sigmoid(z) < 0.01),
    "A flat sigmoid passes on less than a hundredth.",
    {
        "These are the slopes. Count those below 0.01.": slope_of_sigmoid,
        "There is a True or False for each number. Take their mean: True counts as 1.": (
            lambda z: slope_of_sigmoid(z) < 0.01
        ),
        "This is their number. Divide by the number of all, or take the mean.": (
            lambda z: np.sum(slope_of_sigmoid(z) < 0.01)
        ),
        "This is the share of those that are not flat.": lambda z: np.mean(
            slope_of_sigmoid(z) > 0.01
        ),
        "It counts outputs near 0 only. A sigmoid is flat near 1, too: look at a (1 − a).": (
            lambda z: np.mean(sigmoid(z) < 0.01)
        ),
        "It counts outputs near 1 only. A sigmoid is flat near 0, too: look at a (1 − a).": (
            lambda z: np.mean(sigmoid(z) > 0.99)
        ),
        "len is the number of rows. Divide by the number of all, a.size, or take the mean.": (
            lambda z: np.sum(slope_of_sigmoid(z) < 0.01) / len(z)
        ),
        "It looks at z. Flat is where a (1 − a) is small.": lambda z: np.mean(z < 0.01),
        "It looks at z (1 − z). Use a = sigmoid(z).": lambda z: np.mean(z * (1 - z) < 0.01),
        "This is the mean slope.": lambda z: slope_of_sigmoid(z).mean(),
        "Nothing counts as flat. Is σ applied twice? a is σ(z) already.": lambda z: 0.0,
        "The mean is compared with 0.01. Compare each number, and take the mean then.": (
            lambda z: slope_of_sigmoid(z).mean() < 0.01
        ),
    },
    [
        (np.array([-9.0, -5, -3, -1, 0, 1, 2, 4.5, 8, 9]),),
        (np.array([[0.0, -4.7], [0.005, -0.5]]),),
        (np.array([8.0, -8, 9, 4]),),
    ],
)
