"""Turn a drawing or a photograph into an image like MNIST's, by MNIST's own preprocessing.

MNIST's digits were cropped, scaled so that the longer side has 20 pixels, and put into 28 × 28 with
their centre of mass in the middle. A network trained on them needs other digits to be prepared in
the same way.

Source: http://yann.lecun.com/exdb/mnist/
"""

import math
import os
from typing import NamedTuple

import numpy as np

from tinynet.backend.types import HostArray
from tinynet.compat import checks

LUMINANCE = (0.299, 0.587, 0.114)  # how bright red, green and blue are (ITU-R BT.601)
MOST_PIXELS = 250_000  # larger pictures are made smaller first


class Prepared(NamedTuple):
    """The stages of a digit; in all of them, 0 is paper and 1 is ink.

    Attributes:
        ink: the whole picture, (height, width), float32.
        cropped: the rectangle that holds the digit.
        scaled: the same rectangle, its longer side as long as the box.
        centred: the network's input, (size, size), with the centre of mass in the middle.
    """

    ink: HostArray
    cropped: HostArray
    scaled: HostArray
    centred: HostArray

    @property
    def image(self) -> HostArray:
        """`centred` as bytes from 0 to 255, like the images of `load_data`."""
        pixels: HostArray = np.rint(self.centred * 255).astype("uint8")
        return pixels


def prepare_digit(image: object, size: int = 28, box: int | None = None) -> Prepared:
    """Prepare your own digit as MNIST's were: ``prepare_digit("seven.jpg").centred``.

    Arguments:
        image: an array (height, width), or with 1 to 4 channels, bytes or floats from 0 to 1, dark
            on bright or bright on dark; or the name of a picture file (which needs Pillow). From a
            photograph, uneven light, noise and specks are removed, but not lines on the paper or
            the edges of hard shadows. Pictures of over 250,000 pixels are made smaller first.
        size: pixels of each side of the result.
        box: pixels of the digit's longer side; by default 20 of 28, as in MNIST, and the whole side
            if `size` is below 20, as in `tinynet.datasets.digits`.

    Returns:
        A `Prepared` with every stage.

    Raises:
        ValueError: if `image` is not a picture, or there is no ink in it.

    >>> prepare_digit(np.eye(100)).centred.shape
    (28, 28)
    """
    size = checks.count(size, "size", minimum=1)
    box = box_of(size) if box is None else checks.count(box, "box", minimum=1)
    if box > size:
        raise ValueError(
            f"Expected a box of 1 to {size} pixels, received: {box}. Write: size=28, box=20"
        )
    ink = ink_of(grey_of(image))
    cropped = crop(ink)
    height, width = cropped.shape
    new = [max(1, int(np.floor(n * box / max(height, width) + 0.5))) for n in (height, width)]
    scaled = area_weights(height, new[0]) @ cropped @ area_weights(width, new[1]).T
    centred = np.zeros((size, size), "float32")
    # In MNIST, the centre of mass is at pixel 14.0 of 0 … 27, to within half a pixel.
    top = centring_offset(centre_of_mass(scaled.sum(axis=1)), new[0], size)
    left = centring_offset(centre_of_mass(scaled.sum(axis=0)), new[1], size)
    centred[top : top + new[0], left : left + new[1]] = scaled
    return Prepared(ink, cropped, scaled.astype("float32"), centred)


def box_of(size: int) -> int:
    """Return the pixels of a digit's longer side in an image of `size`."""
    return round(size * 20 / 28) if size >= 20 else size


def grey_of(image: object) -> HostArray:
    """Return the brightness of `image` from 0 to 1, (height, width), made smaller if large."""
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
    if step > 1:  # each pixel the mean of a square; the remainder is dropped
        height, width = (n // step for n in pixels.shape[:2])
        pixels = pixels[: height * step, : width * step].reshape(height, step, width, step, -1)
        pixels = pixels.mean(axis=(1, 3))
    grey = pixels.reshape(*pixels.shape[:2], -1) / full
    alpha = np.ones(grey.shape[:2])
    if grey.shape[2] in (2, 4):
        grey, alpha = grey[..., :-1], grey[..., -1]
    grey = grey @ LUMINANCE if grey.shape[2] == 3 else grey[..., 0]
    # Transparent pixels are white, or black if the ink itself is white.
    return grey * alpha + (1 - alpha) * float((grey * alpha).sum() < 0.5 * alpha.sum())


def open_picture(path: str | os.PathLike[str]) -> HostArray:
    """Return the picture in a file, upright."""
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise ImportError(
            "Reading a picture file needs Pillow, which is not installed. "
            "Write: python -m pip install pillow"
        ) from error
    with Image.open(path) as picture:
        upright = ImageOps.exif_transpose(picture)
        if upright.mode.startswith("I;16"):
            return np.asarray(upright).astype("uint16")
        return np.asarray(upright.convert("RGBA"))


def ink_of(grey: HostArray) -> HostArray:
    """Return the ink of each pixel from 0 to 1, independent of the paper and its light.

    In a drawing, the paper has exactly one colour, and everything else is ink. A photograph has
    noise: it is blurred slightly, and differences within the noise count as paper, as do specks.
    """
    difference = grey - estimate_background(grey)
    drawn = np.median(abs(difference)) < 1e-6
    if not drawn:
        difference = blurred(difference)
        difference -= np.median(difference)
    noise = 1.4826 * np.median(abs(difference))  # its standard deviation, if most pixels are paper
    # Ink is the side, darker or brighter than the paper, with more in total; the other is glare.
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


def estimate_background(grey: HostArray) -> HostArray:
    """Return the brightness that each pixel would have without ink, as a smooth surface.

    It is a quadratic polynomial that starts at the border's level and is refitted to nearby values.
    """
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    level = np.median(border)
    if np.median(abs(grey - level)) < 1e-6:  # a drawing on paper of one colour
        return np.full_like(grey, level)

    def terms(rows: HostArray, columns: HostArray) -> HostArray:
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
    surface: HostArray = terms(y, x) @ weights
    return surface


def blurred(values: HostArray) -> HostArray:
    """Return the mean of each pixel and its eight neighbours."""
    for axis in (0, 1):
        before, after = np.roll(values, 1, axis), np.roll(values, -1, axis)
        edge = [slice(None), slice(None)]
        for last, array in ((0, before), (-1, after)):  # the edge value continues beyond it
            edge[axis] = slice(last, None if last else 1)
            array[tuple(edge)] = values[tuple(edge)]
        values = (before + values + after) / 3
    return values


def without_specks(ink: HostArray, share: float) -> HostArray:
    """Return `ink` without connected parts that have less than `share` of the largest one's ink."""
    parts = connected_components(ink > 0)
    mass = np.bincount(parts.ravel(), ink.ravel())
    mass[0] = 0  # the paper
    return np.where((mass >= share * mass.max())[parts], ink, 0)


def connected_components(mask: HostArray) -> HostArray:
    """Label the connected parts of `mask` from 1 (corners connect, too), with 0 elsewhere.

    Row by row, a run of True takes the number of a run above that it touches; if it touches
    several, their numbers are merged.
    """
    numbers = np.zeros(mask.shape, int)
    same = [0]  # for each number, itself or a lower one of the same part

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


def otsu(values: HostArray) -> float:
    """Return the threshold that splits the values with the largest variance between both parts.

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


def crop(ink: HostArray) -> HostArray:
    """Return the rows and the columns from the first with ink to the last."""
    rows, columns = (np.flatnonzero((ink > 0).any(axis=axis)) for axis in (1, 0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def area_weights(old: int, new: int) -> HostArray:
    """Return the matrix (new, old) of weights that resizes `old` pixels to `new` ones.

    A new pixel is the mean of the old ones that it covers, weighted by the covered part.
    """
    edges = np.linspace(0, old, new + 1)
    start, end = edges[:-1, None], edges[1:, None]
    pixel = np.arange(old)
    overlap = np.minimum(end, pixel + 1) - np.maximum(start, pixel)
    return overlap.clip(0) * new / old


def centre_of_mass(mass: HostArray) -> float:
    return float((mass * np.arange(len(mass))).sum() / mass.sum())


def centring_offset(centre: float, length: int, size: int) -> int:
    """Return where `length` pixels must start to have `centre` in the middle of `size` pixels."""
    return min(max(int(np.floor(size / 2 - centre + 0.5)), 0), size - length)
