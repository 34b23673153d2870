"""From a drawing or a photograph to what MNIST's images are: its own preprocessing, stage by stage.

MNIST's digits were cut out, scaled so that the longer side has 20 pixels, and put into 28 × 28 with
their centre of mass in the middle. A network that has seen nothing else wants a digit of one's own
to come the same way.

Source: http://yann.lecun.com/exdb/mnist/
"""

import math
import os
from typing import Any, NamedTuple

import numpy as np

from tinynet.compat import validation

LUMINANCE = (0.299, 0.587, 0.114)  # how bright red, green and blue are (ITU-R BT.601)
MOST_PIXELS = 250_000  # of a picture that is worked on


class Prepared(NamedTuple):
    """The stages of a digit; in all of them, 0 is paper and 1 is ink.

    Attributes:
        ink: the whole picture, (height, width), float32.
        cropped: the rectangle that holds the digit.
        scaled: the same, its longer side as long as the box.
        centred: what a network gets, (size, size), the centre of mass in the middle.
    """

    ink: np.ndarray
    cropped: np.ndarray
    scaled: np.ndarray
    centred: np.ndarray

    @property
    def image(self) -> np.ndarray:
        """`centred` as bytes from 0 to 255, as `load_data` gives images."""
        return np.rint(self.centred * 255).astype("uint8")


def prepare_digit(image: Any, size: int = 28, box: int | None = None) -> Prepared:
    """A digit of your own as MNIST would have it: ``prepare_digit("seven.jpg").centred``.

    Arguments:
        image: (height, width), or with 2, 3 or 4 channels, bytes or floats from 0 to 1, dark on
            bright or bright on dark; or a picture's file (which needs Pillow). Of a photograph,
            uneven light, noise and specks are taken away; lines on the paper and the edges of hard
            shadows are not. One with more than some 250,000 pixels is made smaller first.
        size: pixels of a side in the end.
        box: pixels of the digit's longer side; if None, of 28 pixels 20, as in MNIST, and of fewer
            than 20 all, as in `tinynet.datasets.digits`.

    Returns:
        A `Prepared`: every stage.

    Raises:
        ValueError: if it is no picture, or there is no ink in it.

    >>> prepare_digit(np.eye(100)).centred.shape
    (28, 28)
    """
    size = validation.count(size, "size", least=1)
    box = box_of(size) if box is None else validation.count(box, "box", least=1)
    if box > size:
        raise ValueError(
            f"Expected a box of 1 to {size} pixels, received: {box}. Write: size=28, box=20"
        )
    ink = ink_of(grey_of(image))
    cropped = cut_out(ink)
    height, width = cropped.shape
    new = [max(1, int(np.floor(n * box / max(height, width) + 0.5))) for n in (height, width)]
    scaled = shares(height, new[0]) @ cropped @ shares(width, new[1]).T
    centred = np.zeros((size, size), "float32")
    # In MNIST, the centre of mass is at 14.0 of 0 … 27, to within half a pixel.
    top = place(centre_of_mass(scaled.sum(axis=1)), new[0], size)
    left = place(centre_of_mass(scaled.sum(axis=0)), new[1], size)
    centred[top : top + new[0], left : left + new[1]] = scaled
    return Prepared(ink, cropped, scaled.astype("float32"), centred)


def box_of(size: int) -> int:
    """How many pixels the longer side of a digit has in an image of `size`."""
    return round(size * 20 / 28) if size >= 20 else size


def grey_of(image: Any) -> np.ndarray:
    """`image` as brightness from 0 to 1, (height, width), of a size that is quickly worked on."""
    if isinstance(image, str | os.PathLike):
        image = open_picture(image)
    pixels = np.asarray(image)
    fits = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (1, 2, 3, 4))
    if not fits or pixels.dtype.kind not in "biuf" or pixels.size == 0:
        raise ValueError(
            "Expected a picture, (height, width) or (height, width, 3), received an array of shape "
            f"{pixels.shape} and dtype {pixels.dtype}. Write: prepare_digit(images[0])"
        )
    full = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "iu" else 1
    if pixels.dtype.kind == "f" and not (np.isfinite(pixels).all() and pixels.min() >= 0):
        full = 0  # refused below
    if full == 0 or pixels.max() > full or pixels.min() < 0:
        raise ValueError(
            f"Expected floats from 0 to 1, received {pixels.min():.3g} to {pixels.max():.3g}. "
            'Write: image / 255, or image.astype("uint8")'
        )
    step = math.ceil(math.sqrt(pixels.shape[0] * pixels.shape[1] / MOST_PIXELS))
    if step > 1:  # each pixel the mean of a square; what remains at two edges is left out
        height, width = (n // step for n in pixels.shape[:2])
        pixels = pixels[: height * step, : width * step].reshape(height, step, width, step, -1)
        pixels = pixels.mean(axis=(1, 3))
    grey = pixels.reshape(*pixels.shape[:2], -1) / full
    alpha = np.ones(grey.shape[:2])
    if grey.shape[2] in (2, 4):
        grey, alpha = grey[..., :-1], grey[..., -1]
    grey = grey @ LUMINANCE if grey.shape[2] == 3 else grey[..., 0]
    # What is transparent is white; or, behind ink that is white itself, black.
    return grey * alpha + (1 - alpha) * float((grey * alpha).sum() < 0.5 * alpha.sum())


def open_picture(path: str | os.PathLike[str]) -> np.ndarray:
    """The picture in a file, upright."""
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise ImportError(
            "Pictures in files are read by Pillow, which is not installed. "
            "Write: python -m pip install pillow"
        ) from error
    with Image.open(path) as picture:
        upright = ImageOps.exif_transpose(picture)
        if upright.mode.startswith("I;16"):
            return np.asarray(upright).astype("uint16")
        return np.asarray(upright.convert("RGBA"))


def ink_of(grey: np.ndarray) -> np.ndarray:
    """How much ink each pixel has, from 0 to 1, whatever the paper and its light.

    Of a drawing, paper is of exactly one colour, and everything else is ink. A photograph has
    noise: it is made a little less sharp, what is no more than noise is paper, and so are specks.
    """
    difference = grey - light_of_paper(grey)
    drawn = np.median(abs(difference)) < 1e-6
    if not drawn:
        difference = blurred(difference)
        difference -= np.median(difference)
    noise = 1.4826 * np.median(abs(difference))  # the standard deviation, if most of it is paper
    # Ink is what lies on one side of the paper. A bright spot or two on dark ink's paper is less.
    beyond = (abs(difference) - 4 * noise).clip(0) * np.sign(difference)
    ink = (difference if beyond.sum() > 0 else -difference).clip(0)
    threshold = otsu(ink)
    strongest = np.percentile(ink[ink >= threshold], 75) if (ink >= threshold).any() else 0
    if ink.max() == 0 or (not drawn and strongest < max(8 * noise, 0.05)):
        raise ValueError(
            "Expected a digit, received a picture without ink: nothing in it is much darker, or "
            "much brighter, than what is around it. Write: prepare_digit(picture[a:b, c:d])"
        )
    if drawn:
        ink = ink / ink.max()
    else:
        low = max(threshold / 2, 4 * noise)
        ink = ((ink - low) / (strongest - low)).clip(0, 1)
    return without_specks(ink, 0.001 if drawn else 0.05).astype("float32")


def light_of_paper(grey: np.ndarray) -> np.ndarray:
    """The brightness that each pixel would have without ink: a smooth surface through the paper.

    A polynomial of the second degree, fitted to what is like the border, then to what is near it.
    """
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    level = np.median(border)
    if np.median(abs(grey - level)) < 1e-6:  # drawn, on paper of one colour
        return np.full_like(grey, level)

    def terms(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        y, x = rows[:, None], columns[None, :]
        one = np.ones((len(rows), len(columns)))
        return np.stack([one, x * one, y * one, x * y, x * x * one, y * y * one], axis=-1)

    height, width = grey.shape
    y, x = np.linspace(-1, 1, height), np.linspace(-1, 1, width)
    some = slice(None, None, max(1, height // 100)), slice(None, None, max(1, width // 100))
    values, points = grey[some].ravel(), terms(y[some[0]], x[some[1]]).reshape(-1, 6)
    weights = np.array([level, 0, 0, 0, 0, 0])
    for nearness in (0.25, 0.15, 0.1, 0.08):
        near = abs(values - points @ weights) < nearness
        if near.sum() < 20:
            break
        weights = np.linalg.lstsq(points[near], values[near], rcond=None)[0]
    return terms(y, x) @ weights


def blurred(values: np.ndarray) -> np.ndarray:
    """The mean of each pixel and its eight neighbours."""
    for axis in (0, 1):
        before, after = np.roll(values, 1, axis), np.roll(values, -1, axis)
        edge = [slice(None), slice(None)]
        for last, array in ((0, before), (-1, after)):  # beyond the edge, it goes on as it is there
            edge[axis] = slice(last, None if last else 1)
            array[tuple(edge)] = values[tuple(edge)]
        values = (before + values + after) / 3
    return values


def without_specks(ink: np.ndarray, share: float) -> np.ndarray:
    """`ink`, without connected parts that have less than this share of the largest part's ink."""
    parts = connected(ink > 0)
    mass = np.bincount(parts.ravel(), ink.ravel())
    mass[0] = 0  # the paper
    return np.where((mass >= share * mass.max())[parts], ink, 0)


def connected(mask: np.ndarray) -> np.ndarray:
    """A number from 1 for each connected part of `mask` (neighbours also at corners), 0 elsewhere.

    Row by row: a run of True takes the number of a run above that it touches; where it touches
    several, they are found to be one part.
    """
    numbers = np.zeros(mask.shape, int)
    same = [0]  # for each number, a lower one of the same part, or itself

    def lowest(number: int) -> int:
        while same[number] != number:
            number = same[number]
        return number

    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype("int8"), axis=1)
    for row, changes in enumerate(edges):
        for start, end in zip(*(np.flatnonzero(changes == c) for c in (1, -1)), strict=True):
            above = numbers[row - 1, max(0, start - 1) : end + 1] if row else numbers[0, :0]
            touched = sorted({lowest(number) for number in np.unique(above[above > 0]).tolist()})
            if not touched:
                touched = [len(same)]
                same.append(len(same))
            for number in touched[1:]:
                same[number] = touched[0]
            numbers[row, start:end] = touched[0]
    return np.array([lowest(number) for number in range(len(same))])[numbers]


def otsu(values: np.ndarray) -> float:
    """The threshold that best parts the values in two: the variance between the parts is largest.

    Source: Otsu 1979, "A threshold selection method from gray-level histograms"
    """
    counts, edges = np.histogram(values, bins=256)
    middles = (edges[:-1] + edges[1:]) / 2
    below = counts.cumsum()
    above = below[-1] - below
    mass = (counts * middles).cumsum()
    with np.errstate(divide="ignore", invalid="ignore"):
        means = mass / below - (mass[-1] - mass) / above
        between = np.nan_to_num(below * above * means**2)
    return float(edges[between.argmax() + 1])


def cut_out(ink: np.ndarray) -> np.ndarray:
    """The rows and columns from the first that has ink to the last."""
    rows, columns = (np.flatnonzero((ink > 0).any(axis=axis)) for axis in (1, 0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def shares(old: int, new: int) -> np.ndarray:
    """Which share of each of `new` pixels each of `old` ones is: a matrix (new, old).

    A new pixel is the mean of what it covers, old ones that it covers in part counted in part.
    """
    edges = np.linspace(0, old, new + 1)
    start, end = edges[:-1, None], edges[1:, None]
    pixel = np.arange(old)
    overlap = np.minimum(end, pixel + 1) - np.maximum(start, pixel)
    return overlap.clip(0) * new / old


def centre_of_mass(mass: np.ndarray) -> float:
    return float((mass * np.arange(len(mass))).sum() / mass.sum())


def place(centre: float, length: int, size: int) -> int:
    """Where `length` pixels begin so that `centre` comes to lie in the middle of `size`."""
    return min(max(int(np.floor(size / 2 - centre + 0.5)), 0), size - length)
