"""From a drawing or a photograph to what MNIST's images are: its own preprocessing, stage by stage.

MNIST's digits were cut out, scaled so that the longer side has 20 pixels, and put into 28 × 28 with
their centre of mass in the middle. A network that has seen nothing else wants a digit of one's own
to come the same way.

Source: http://yann.lecun.com/exdb/mnist/
"""

import os
from typing import Any, NamedTuple

import numpy as np

LUMINANCE = (0.299, 0.587, 0.114)  # how bright red, green and blue are (ITU-R BT.601)
CLEAN = 0.01  # of full ink; paper that varies less was drawn, not photographed


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
        image: (height, width), or with 3 or 4 channels, bytes or floats from 0 to 1, dark on
            bright or bright on dark; or a picture's file (which needs Pillow). Of a
            photograph, uneven light is taken away.
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
    box = box_of(size) if box is None else box
    if not 1 <= box <= size:
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
    top, left = (
        place(centre_of_mass(scaled.sum(axis=1 - axis)), scaled.shape[axis], size)
        for axis in (0, 1)
    )
    centred[top : top + new[0], left : left + new[1]] = scaled
    return Prepared(ink, cropped, scaled.astype("float32"), centred)


def box_of(size: int) -> int:
    """How many pixels the longer side of a digit has in an image of `size`."""
    return round(size * 20 / 28) if size >= 20 else size


def grey_of(image: Any) -> np.ndarray:
    """`image` as brightness from 0 to 1, (height, width)."""
    if isinstance(image, str | os.PathLike):
        image = open_picture(image)
    pixels = np.asarray(image)
    fits = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (1, 3, 4))
    if not fits or pixels.dtype.kind not in "biuf" or pixels.size == 0:
        raise ValueError(
            "Expected a picture, (height, width) or (height, width, 3), received an array of shape "
            f"{pixels.shape} and dtype {pixels.dtype}. Write: prepare_digit(images[0])"
        )
    full = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "iu" else 1
    grey = pixels.astype("float64") / full
    if not np.isfinite(grey).all() or grey.min() < 0 or grey.max() > 1:
        raise ValueError(
            f"Expected floats from 0 to 1, received {grey.min():.3g} to {grey.max():.3g}. "
            'Write: image / 255, or image.astype("uint8")'
        )
    if grey.ndim == 2:
        return grey
    if grey.shape[2] == 4:  # what is transparent is white
        grey = grey[..., :3] * grey[..., 3:] + 1 - grey[..., 3:]
    return grey @ LUMINANCE if grey.shape[2] == 3 else grey[..., 0]


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
        return np.asarray(ImageOps.exif_transpose(picture).convert("RGBA"))


def ink_of(grey: np.ndarray) -> np.ndarray:
    """How much ink each pixel has, from 0 to 1, whatever the paper and its light."""
    paper = light_of_paper(grey)
    difference = grey - paper
    # Ink is what is far from the paper, and there is less of it than of paper.
    if abs(difference.min()) > difference.max():
        difference = -difference
    ink = difference.clip(0)
    threshold = otsu(ink)
    if not ink.max() or threshold <= 0:
        raise ValueError(
            "Expected a digit, received a picture without ink. "
            "Write: tinynet.plotting.plot_digits(image[None], [0]) to see it"
        )
    noise = np.median(abs(difference[ink < threshold]))  # of a drawing, most paper is just paper
    if noise > CLEAN:  # a photograph: paper is not quite white, and ink not equally black
        low, high = threshold / 2, np.percentile(ink[ink >= threshold], 75)
        ink = (ink - low) / max(high - low, 1e-6)
    else:
        ink = ink / ink.max()
    return ink.clip(0, 1).astype("float32")


def light_of_paper(grey: np.ndarray) -> np.ndarray:
    """The brightness that each pixel would have without ink: a smooth surface through the paper.

    A polynomial of the second degree, fitted to the border at first, then to all that is near it.
    """
    height, width = grey.shape
    y, x = (np.linspace(-1, 1, n) for n in (height, width))
    y, x = np.repeat(y, width), np.tile(x, height)
    terms = np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], axis=1)
    flat = grey.ravel()
    border = np.ones((height, width), bool)
    border[1:-1, 1:-1] = False
    level = np.median(flat[border.ravel()])
    near = abs(flat - level) < 0.15
    if np.median(abs(flat[near] - level)) < 1e-3:  # drawn, on paper of one colour
        return np.full_like(grey, level)
    surface = np.full_like(flat, level)
    for _ in range(3):
        step = max(1, near.sum() // 20_000)  # a sample is enough
        chosen = np.flatnonzero(near)[::step]
        weights = np.linalg.lstsq(terms[chosen], flat[chosen], rcond=None)[0]
        surface = terms @ weights
        near = abs(flat - surface) < 0.1
        if near.sum() < 20:
            break
    return surface.reshape(height, width)


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
