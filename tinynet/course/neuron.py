"""The checks of lesson 1, a neuron: pixels, the weighted sum, the sigmoid, and `Dense`."""

import numpy as np

from tinynet.backend.types import HostArray
from tinynet.course.grading import Gap, not_yet, numbers, right

_draw = np.random.default_rng(1).normal
_images = np.random.default_rng(1).integers(0, 256, (2, 3, 4))

to_row = Gap(
    lambda image, white: image.reshape(-1) / white,
    "Rows of pixels one after the other, and numbers from 0 to 1.",
    {
        "The numbers still go up to `white`: divide by it.": lambda i, white: i.reshape(-1),
        "It still has rows and columns: reshape it to one row.": lambda i, white: i / white,
        "The pixels come column by column. Reshaping without transposing takes row by row.": (
            lambda i, white: i.T.reshape(-1) / white
        ),
        "It divides by 255, which is right for MNIST only: divide by `white`.": (
            lambda i, white: i.reshape(-1) / 255
        ),
        "It divides by 16, which is right for the small digits only: divide by `white`.": (
            lambda i, white: i.reshape(-1) / 16
        ),
        "Two slashes cut off the decimals. Use one.": (lambda i, white: i.reshape(-1) // white),
        "It divides by the largest pixel of this image: a pale image would become a dark one. "
        "Divide by `white`.": lambda i, white: i.reshape(-1) / i.max(),
        "It looks like a table with one row. Its shape should have one number only.": (
            lambda i, white: i.reshape(1, -1) / white
        ),
    },
    [(_images[0] % 17, 16), (_images[1, :2], 255)],
)

weighted_sum = Gap(
    lambda x, w, b: x @ w + b,
    "One number for each image. `x @ w` multiplies each pixel by its weight and adds up.",
    {
        "It looks as if b was forgotten.": lambda x, w, b: x @ w,
        "The products are not added up: there is one number for each pixel. Sum over the pixels, "
        "or write `@`.": lambda x, w, b: x * w + b,
        "There is one number for each image, but in a column: (n, 1). Leave w as it is, (d,), and "
        "do not keep the dimension.": lambda x, w, b: x @ w[:, None] + b,
        "b is added once for each pixel. Add it once for each image, after the sum.": (
            lambda x, w, b: (x * w + b).sum(axis=1)
        ),
        "It adds up over all images, too: one number came out for all of them.": (
            lambda x, w, b: (x * w).sum() + b
        ),
        "It adds up over all images, too, and b once for each pixel. Add up with axis=1.": (
            lambda x, w, b: (x * w + b).sum()
        ),
        "It adds up over the images (axis 0) and should add up over the pixels (axis 1).": (
            lambda x, w, b: (x * w).sum(axis=0) + b
        ),
        "This is the mean over the pixels. Add them up.": lambda x, w, b: (x * w).mean(axis=1) + b,
        "It multiplies by b. Add it instead.": lambda x, w, b: (x @ w) * b,
        "It subtracts b. Add it instead.": lambda x, w, b: x @ w - b,
    },
    [(_draw(size=(4, 3)), _draw(size=3), 0.5), (_draw(size=(2, 5)), _draw(size=5), -2.0)],
)

sigmoid = Gap(
    lambda z: 1 / (1 + np.exp(-z)),
    "Any number becomes one between 0 and 1; z = 0 becomes 0.5.",
    {
        "The sign of z is reversed: large z should give a number near 1. Write "
        "np.exp(-z).": lambda z: 1 / (1 + np.exp(z)),
        "This is 1 + e⁻ᶻ, and 1 should be divided by it, with brackets around the sum: Python "
        "divides before it adds.": lambda z: 1 / 1 + np.exp(-z),
        "This is e⁻ᶻ alone, which goes on to infinity. The sigmoid is 1 divided by 1 + e⁻ᶻ.": (
            lambda z: np.exp(-z)
        ),
        "This is tanh, which goes from −1 to 1.": np.tanh,
        "The denominator is 1 + e⁻ᶻ, with a plus.": lambda z: 1 / (1 - np.exp(-z)),
        "This is 1 / e⁻ᶻ: in the denominator, add 1.": lambda z: 1 / np.exp(-z),
    },
    [(np.linspace(-3, 3, 7),), (np.linspace(-9, 9, 5),)],
)


def template(w: object, x: HostArray, yes: HostArray) -> None:
    """Check the weights made by hand: the mean of the wanted images, minus that of the others.

    Arguments: the weights (d,); all images (n, d); whether each is of the wanted class (n,).
    """
    if numbers(w).ndim == 2 and numbers(w).size == x.shape[1]:
        if 1 in numbers(w).shape:
            raise not_yet(f"Its shape should be ({x.shape[1]},): leave out keepdims=True.")
        raise not_yet("It still has rows and columns: take x_train, with a small x, not X_train.")
    meant, others = x[yes].mean(axis=0), x[~yes].mean(axis=0)
    Gap(
        meant - others,
        "Positive where zeros have more ink than other digits, negative where they have less.",
        {
            "The signs are reversed: the unit would say no to zeros.": others - meant,
            "This is the mean of the zeros alone: every digit with much ink would get a large sum. "
            "Subtract the mean of the others.": meant,
            "These are sums, not means: there are nine times as many others, and they win "
            "everywhere.": x[yes].sum(axis=0) - x[~yes].sum(axis=0),
            "The others should be those that are not zeros. This subtracts the mean of all "
            "images.": meant - x.mean(axis=0),
            "The mean is taken over images and pixels together. Take it over the images: axis=0.": (
                x[yes].mean() - x[~yes].mean()
            ),
        },
    )(w)


def threshold(b: object, z: HostArray, yes: HostArray) -> None:
    """Check the bias chosen by hand: whether z + b > 0 tells the wanted images from the others.

    Arguments: the bias, a number; the weighted sums without it (n,); whether each image is of the
    wanted class (n,).
    """
    shift = numbers(b)
    if shift.shape != ():
        raise not_yet(f"Expected one number, received an array of shape {shift.shape}.")
    if not np.isfinite(shift):
        raise not_yet(f"Expected a finite number, received {shift}.")
    says = z + shift > 0
    found, refused, correct = says[yes].mean(), (~says[~yes]).mean(), (says == yes).mean()
    figures = f"It finds {found:.1%} of the zeros and says no to {refused:.1%} of the others"
    if found >= 0.75 and refused >= 0.94:
        right(f"{figures}: {correct:.1%} of its answers are right.")
        return
    if not says.any():
        hint = f"It says no to every image, and {correct:.1%} of its answers are right all the same"
        raise not_yet(f"{hint}, because most digits are not zeros. b is far too negative.")
    if shift >= 0:
        raise not_yet(f"{figures}. b has to be negative: it moves all sums to the left.")
    which = "too negative: increase it" if found < 0.75 else "not negative enough: decrease it"
    raise not_yet(f"{figures}. b is {which}.")


def dense_weights(weights: object, w: HostArray, b: float) -> None:
    """Check the weights made for `Dense(1)`: a list of the kernel (d, 1) and the bias (1,)."""
    d = np.size(w)
    if not isinstance(weights, list | tuple):
        numbers(weights)  # which says so if the gap is open
    if not isinstance(weights, list | tuple) or len(weights) != 2:
        raise not_yet("Expected a list of two arrays: first the kernel, then the bias.")
    kernel, bias = map(numbers, weights)
    if kernel.shape in ((1,), ()) and bias.size == d:
        raise not_yet("They are in the wrong order: first the kernel, then the bias.")
    if kernel.shape != (d, 1):
        is_what = "transposed" if kernel.shape == (1, d) else f"of shape {kernel.shape}: reshape w"
        rule = f"a row for each pixel and a column for each unit, here ({d}, 1)"
        raise not_yet(f"The kernel is a table with {rule}. This one is {is_what}.")
    if bias.shape != (1,):
        raise not_yet(f"The bias has one number for each unit: [b]. Received shape {bias.shape}.")
    if not np.allclose(kernel[:, 0], np.ravel(w), 1e-4, 1e-6) or not np.allclose(bias, b):
        raise not_yet("The shapes are right, but the numbers are not those of w and b.")
    right("The kernel has a column for each unit; here there is one.")


def parameters(count: object, d: int, units: int) -> None:
    """Check the number of parameters of a `Dense` layer with `units` units on `d` pixels."""
    Gap(
        d * units + units,
        f"{d} · {units} weights and {units} biases.",
        {
            "The biases are missing: each unit has one.": d * units,
            "There is one bias for each unit, not one for the layer.": d * units + 1,
            "This is the number for one unit.": d + 1,
            "Each unit has its own weight for each pixel: multiply.": d + units,
            "There is a bias for each unit, not for each pixel.": d * units + d,
        },
    )(count)
