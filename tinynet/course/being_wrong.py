"""The checks of lesson 2, being wrong: softmax, cross-entropy, slopes, and p − y."""

import functools
import math

import numpy as np

from tinynet.backend.types import HostArray
from tinynet.course.grading import Gap, central_differences, difference, not_yet, numbers, right

_draw = np.random.default_rng(2).normal


def _softmax(z: HostArray) -> HostArray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def _loss(z: HostArray, labels: HostArray) -> float:
    return float(-np.log(_softmax(z)[np.arange(len(z)), labels]).mean())


_p = _softmax(_draw(size=(4, 3)))
_labels = np.array([2, 0, 1, 2])

softmax = Gap(
    _softmax,
    "Each row adds up to 1, and the largest score has the largest probability.",
    {
        "All rows together add up to 1, and each row should: sum along axis=1, with keepdims=True."
        "": lambda z: np.exp(z) / np.exp(z).sum(),
        "The columns add up to 1, and the rows should: one row is one image. Sum along axis=1.": (
            lambda z: np.exp(z) / np.exp(z).sum(axis=0)
        ),
        "The powers are right, but they are not divided by their sum.": np.exp,
        "The denominator sums the scores. Divide by the sum of the powers.": (
            lambda z: np.exp(z) / z.sum(axis=1, keepdims=True)
        ),
        "Take e to the power of z, not of −z: the largest score got the smallest probability.": (
            lambda z: np.exp(-z) / np.exp(-z).sum(axis=1, keepdims=True)
        ),
        "This is the sigmoid of each score: a row does not add up to 1.": (
            lambda z: 1 / (1 + np.exp(-z))
        ),
        "The scores themselves are divided by their sum, which fails for negative scores: take eᶻ "
        "first.": lambda z: z / z.sum(axis=1, keepdims=True),
    },
    [(_draw(size=(4, 3)),), (_draw(size=(2, 5)),)],
)

stable_softmax = Gap(
    _softmax,
    "Subtracting the largest score of each row changes nothing but the size of the numbers.",
    {
        "For scores such as 1000, eᶻ is infinite, and inf / inf is nan. Subtract the largest score "
        "of the row first.": lambda z: np.exp(z) / np.exp(z).sum(axis=1, keepdims=True),
        "The largest score of all rows is subtracted. A row far below it becomes 0 / 0: take the "
        "maximum of each row.": (
            lambda z: np.exp(z - z.max()) / np.exp(z - z.max()).sum(axis=1, keepdims=True)
        ),
        "The maximum is subtracted in the numerator only. Subtract it in the denominator, too.": (
            lambda z: (
                np.exp(z - z.max(axis=1, keepdims=True)) / np.exp(z).sum(axis=1, keepdims=True)
            )
        ),
        "This is the mean of the row; the largest score can be far above it. Subtract the "
        "maximum.": lambda z: (
            np.exp(z - z.mean(axis=1, keepdims=True))
            / np.exp(z - z.mean(axis=1, keepdims=True)).sum(axis=1, keepdims=True)
        ),
        "This is the first score of the row. Subtract the largest.": lambda z: (
            np.exp(z - z[:, :1]) / np.exp(z - z[:, :1]).sum(axis=1, keepdims=True)
        ),
        "The rows do not add up to 1: after subtracting, divide by the sum of the new powers.": (
            lambda z: np.exp(z - z.max(axis=1, keepdims=True))
        ),
    },
    [
        (np.array([[1000.0, 999.0, 0.0], [-1000.0, -1001.0, -1003.0]]),),
        (np.array([[0.0, 0.0, 1000.0], [0.0, 0.0, 3000.0]]),),
        (_draw(size=(2, 5)),),
    ],
)

cross_entropy = Gap(
    lambda p, labels: -np.log(p[np.arange(len(p)), labels]).mean(),
    "0 if the right digit has all the probability, and large if it has hardly any.",
    {
        "The sign is missing: the logarithm of a probability is negative, and a loss is not.": (
            lambda p, labels: np.log(p[np.arange(len(p)), labels]).mean()
        ),
        "This is the sum over the images, which grows with their number. Take the mean.": (
            lambda p, labels: -np.log(p[np.arange(len(p)), labels]).sum()
        ),
        "There is one number for each image: take their mean.": (
            lambda p, labels: -np.log(p[np.arange(len(p)), labels])
        ),
        "It takes the probability of the predicted digit, the largest one. Take that of the right "
        "digit.": lambda p, labels: -np.log(p.max(axis=1)).mean(),
        "`p[:, labels]` is a table of every image with every label. Give a number for the rows, "
        "too: p[np.arange(len(p)), labels].": lambda p, labels: -np.log(p[:, labels]).mean(),
        "It averages over all digits, right and wrong ones. Only the right digit's counts.": (
            lambda p, labels: -np.log(p).mean()
        ),
        "The logarithm has base 10: use np.log, with base e.": (
            lambda p, labels: -np.log10(p[np.arange(len(p)), labels]).mean()
        ),
        "The logarithm has base 2: use np.log, with base e.": (
            lambda p, labels: -np.log2(p[np.arange(len(p)), labels]).mean()
        ),
        "This is the logarithm of the mean. Take the mean of the logarithms.": (
            lambda p, labels: -np.log(p[np.arange(len(p)), labels].mean())
        ),
        "This is 1 − p, without a logarithm: hardly any difference between 1 % and a "
        "millionth.": lambda p, labels: (1 - p[np.arange(len(p)), labels]).mean(),
    },
    [(_p, _labels), (_softmax(_draw(size=(2, 5))), np.array([4, 1]))],
)

slope = Gap(
    lambda f, w, h: (f(w + h) - f(w - h)) / (2 * h),
    "It needs nothing but the function itself.",
    {
        "It looks one step to the right only, f(w + h) − f(w), which is less accurate: look at "
        "both sides, and divide by their distance 2h.": lambda f, w, h: (f(w + h) - f(w)) / h,
        "It looks one step to the left only. Look at both sides.": (
            lambda f, w, h: (f(w) - f(w - h)) / h
        ),
        "It is twice as large as it should be: from w − h to w + h the distance is 2h, not h.": (
            lambda f, w, h: (f(w + h) - f(w - h)) / h
        ),
        "The sign is reversed: the right value minus the left one.": (
            lambda f, w, h: (f(w - h) - f(w + h)) / (2 * h)
        ),
        "It is divided by 2, and not by h.": lambda f, w, h: (f(w + h) - f(w - h)) / 2,
        "It is not divided by the distance.": lambda f, w, h: f(w + h) - f(w - h),
        "Python divides by 2 and then multiplies by h: put brackets around 2 * h.": (
            lambda f, w, h: (f(w + h) - f(w - h)) / 2 * h
        ),
        "Only f(w − h) is divided: put brackets around the difference.": (
            lambda f, w, h: f(w + h) - f(w - h) / (2 * h)
        ),
        "Brackets are missing, around the difference and around 2 * h.": (
            lambda f, w, h: f(w + h) - f(w - h) / 2 * h
        ),
    },
    [(math.exp, 1.0, 0.1), (math.sin, 0.5, 0.2)],
)


def guessing(answer: object) -> None:
    """Check the loss of equal probabilities for ten classes, ln 10, to two decimals."""
    value = numbers(answer)
    near = value.ndim == 0 and abs(float(value) - math.log(10)) < 0.01
    Gap(
        math.log(10),
        "−ln(1/10) = ln 10. A loss near 2.3 means: it has learned nothing yet.",
        {
            "The sign is reversed: −ln of a number below 1 is positive.": -math.log(10),
            "This is the probability of the right digit. The loss is −ln of it.": 0.1,
            "This is 1 − p. The loss is −ln p.": 0.9,
            "The logarithm has base 10: use np.log.": 1.0,
            "The logarithm has base 2: use np.log.": math.log2(10),
            "This is −ln of the probability of all the wrong digits together.": -math.log(0.9),
            "This is the sum over ten digits: only the right digit counts.": 10 * math.log(10),
        },
    )(math.log(10) if near else answer)


def gradient_of_scores(answer: object) -> None:
    """Check ∂L/∂z for softmax and cross-entropy, against central differences of every score.

    Arguments: a function of the probabilities (n, classes) and the labels (n,).
    """
    cases, goals = [], {}
    for n, classes in ((4, 3), (2, 5)):
        z, labels = _draw(size=(n, classes)), _labels[:n]
        goals[n] = central_differences(functools.partial(_loss, z, labels), z)
        cases.append((_softmax(z), labels))

    def y(p: HostArray, labels: HostArray) -> HostArray:
        return np.eye(p.shape[1])[labels]

    gap = Gap(
        lambda p, labels: goals[len(p)],
        "",
        {
            "It is not divided by the number of images: L is their mean. Divide by n.": (
                lambda p, labels: p - y(p, labels)
            ),
            "Only y is divided by n: put brackets around the difference.": (
                lambda p, labels: p - y(p, labels) / len(p)
            ),
            "The sign is reversed: y − p points downhill, the gradient uphill.": (
                lambda p, labels: (y(p, labels) - p) / len(p)
            ),
            "The sign is reversed, and it is not divided by the number of images.": (
                lambda p, labels: y(p, labels) - p
            ),
            "1 is subtracted from every digit. Subtract it from the right one only: y is 1 there "
            "and 0 elsewhere.": lambda p, labels: (p - 1) / len(p),
            "These are the probabilities, divided by n: subtract y.": lambda p, labels: p / len(p),
            "This is −1/p for the right digit, ∂L/∂p. It has yet to pass through the softmax.": (
                lambda p, labels: -y(p, labels) / p / len(p)
            ),
            "It divides by the number of classes. Divide by the number of images.": (
                lambda p, labels: (p - y(p, labels)) / p.shape[1]
            ),
            "It divides by the number of all scores. Divide by the number of images alone.": (
                lambda p, labels: (p - y(p, labels)) / p.size
            ),
            "The label itself is subtracted, such as 7. Subtract a row with a 1 at that place.": (
                lambda p, labels: (p - labels[:, None]) / len(p)
            ),
        },
        cases,
    )
    gap.grade(answer)
    errors = [np.abs(numbers(gap.run(answer, case)) - goals[len(case[0])]).max() for case in cases]
    right(f"The largest difference from central differences is {max(errors):.0e}.")


def step(answer: object) -> None:
    """Check a step of gradient descent: a function of the weights, their gradient, the rate."""
    Gap(
        lambda w, g, rate: w - rate * g,
        "Against the gradient, which points in the direction in which the loss grows fastest.",
        {
            "It goes uphill: the loss grows in the direction of the gradient. Subtract.": (
                lambda w, g, rate: w + rate * g
            ),
            "The rate is missing: the step would be much too long.": lambda w, g, rate: w - g,
            "This is the step alone. Subtract it from the weights.": lambda w, g, rate: rate * g,
            "This is the step alone, without the weights.": lambda w, g, rate: -rate * g,
            "It subtracts the rate and forgets the gradient.": lambda w, g, rate: w - rate,
            "It divides by the rate. Multiply instead.": lambda w, g, rate: w - g / rate,
        },
        [(_draw(size=(3, 2)), _draw(size=(3, 2)), 0.1), (_draw(size=2), _draw(size=2), 0.5)],
    )(answer)


def same_as_tinynet(W: object, b: object, kernel: HostArray, bias: HostArray) -> None:
    """Check that weights trained by hand are those that tinynet has trained."""
    for name, own, goal in (("W", W, kernel), ("b", b, bias)):
        result = numbers(own)
        if result.shape != goal.shape or not np.allclose(result, goal, rtol=1e-3, atol=1e-5):
            raise not_yet(f"{name} is not tinynet's. {difference(result, goal)}")
    worst = max(np.abs(np.asarray(W) - kernel).max(), np.abs(np.asarray(b) - bias).max())
    right(f"No weight differs from tinynet's by more than {worst:.0e}.")
