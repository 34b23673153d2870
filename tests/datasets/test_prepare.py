"""`prepare_digit` makes images like MNIST's, from MNIST itself, drawings and photographs."""

import gzip
import tracemalloc

import numpy as np
import pytest
from arrays import assert_allclose, assert_array_equal
from networks import SPARSE, network

import tinynet
from tinynet.datasets import prepare
from tinynet.datasets.mnist import parse_idx, prepare_digit


def bar(height=100, width=100, top=20, bottom=80, left=40, right=50):
    image = np.zeros((height, width))
    image[top:bottom, left:right] = 1
    return image


def test_mnist_images_are_not_changed(mnist_directory):
    """MNIST was prepared alike: cropped, scaled to 20, and centred by mass at 14.0."""
    packed = (mnist_directory / "t10k-images-idx3-ubyte.gz").read_bytes()
    images = parse_idx(gzip.decompress(packed))[:2000]
    changes = np.stack([abs(prepare_digit(one).image.astype(int) - one) for one in images])
    assert changes.max() <= 1
    assert changes.any(axis=(1, 2)).mean() < 0.2  # the others are identical


def test_the_stages_of_a_bar():
    stages = prepare_digit(bar())
    # 60 : 10 is 20 : 3, to the nearest pixel.
    shapes = [(100, 100), (60, 10), (20, 3), (28, 28)]
    assert [(stage.shape, stage.dtype) for stage in stages] == [(s, "float32") for s in shapes]
    assert stages.cropped.min() == 1
    assert stages.scaled.min() == pytest.approx(1)
    rows, columns = np.nonzero(stages.centred)
    # The centre of 20 rows, 9.5, and the centre of 3 columns, 1, are moved closest to 14.
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (5, 24, 13, 15)
    assert (stages.image.dtype, stages.image.max()) == ("uint8", 255)


@pytest.mark.parametrize(("old", "new"), [(20, 20), (40, 20), (7, 20), (63, 20), (20, 63), (3, 1)])
def test_resizing_keeps_the_mean_and_constant_images(old, new):
    shares = prepare.area_weights(old, new)
    assert shares.shape == (new, old)
    assert_allclose(shares.sum(axis=1), 1)  # each new pixel is a mean
    assert_allclose(shares.sum(axis=0), new / old)  # every old pixel counts equally
    assert (shares >= 0).all()
    assert_allclose(prepare.area_weights(2 * new, new), np.kron(np.eye(new), [0.5, 0.5]))


def test_ink_is_found_whatever_its_brightness_type_and_channels():
    image = bar()
    none = image * 0
    for other in (
        1 - image,
        (image * 255).astype("uint8"),
        (image * 65535).astype("uint16"),
        np.stack([image] * 3, axis=-1),
        image[..., None],
        np.stack([image, none, none], axis=-1),  # red
        np.stack([none, none, none, image], axis=-1),  # black on transparent
        np.stack([none, image], axis=-1),
        np.stack([none + 1, image], axis=-1),  # white on transparent
        0.2 + 0.5 * image,
    ):
        assert_allclose(prepare_digit(other).centred, prepare_digit(image).centred, atol=1e-6)


def test_a_digit_whose_mass_is_at_one_side_is_not_cut_off():
    lopsided = np.zeros((60, 60))
    lopsided[:, :2] = 0.05
    lopsided[55:] = 1
    for picture in (lopsided, np.pad(lopsided, 20)):
        stages = prepare_digit(picture)
        assert stages.centred.sum() == pytest.approx(stages.scaled.sum(), rel=1e-5)


def photograph(image, rng, noise, depth=(0.6, 0.85), colour=(1, 1, 1), specks=0, glare=False):
    """Simulate a photograph of a digit on paper, with uneven light, blur and noise."""
    size = int(rng.integers(3, 8))
    ink = np.kron(image / 255, np.ones((size, size)))
    height, width = (int(rng.integers(len(ink) + 20, 420)) for _ in range(2))
    top, left = (int(rng.integers(5, side - len(ink) - 5)) for side in (height, width))
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
    a, b, c = rng.uniform(-0.12, 0.12, 3)
    paper = rng.uniform(0.65, 0.85) + a * x + b * y + c * x * y
    around = (top, height - top - len(ink)), (left, width - left - len(ink))
    whole = prepare.blurred(prepare.blurred(np.pad(ink, around)))  # out of focus
    picture = paper[..., None] * (1 - rng.uniform(*depth) * whole[..., None] * np.array(colour))
    picture += rng.normal(0, noise, picture.shape)
    for _ in range(specks):
        row, column = rng.integers(3, height - 3), rng.integers(3, width - 3)
        picture[row - 1 : row + 2, column - 1 : column + 2] = 0.1
    if glare:
        picture[5:9, 5:9] = 1
    picture = (picture.clip(0, 1) * 255).astype("uint8")
    return picture[..., 0] if colour == (1, 1, 1) else picture


@pytest.fixture(scope="module")
def mnist_model(mnist):
    """A network that was trained on MNIST's first 50,000 training images."""
    images, labels = mnist
    tinynet.utils.set_random_seed(1)
    model = network((100, "relu"), (10, "softmax"), inputs=(784,), loss=SPARSE)
    x = images[:50_000].reshape(-1, 784) / np.float32(255)
    model.fit(x, labels[:50_000], epochs=2, verbose=0)
    return model


PHOTOGRAPHS = [
    *({"noise": noise} for noise in (0, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05)),
    {"noise": 0.02, "colour": (1, 0.8, 0.2)},  # a blue pen
    {"noise": 0.02, "depth": (0.2, 0.25)},  # a pencil
]
EVERYTHING = {"noise": 0.02, "colour": (0.2, 1, 1), "specks": 3, "glare": True}


@pytest.mark.parametrize(
    "how",
    [EVERYTHING, *(pytest.param(how, marks=pytest.mark.long) for how in PHOTOGRAPHS)],
    ids=str,
)
def test_digits_in_photographs_are_recognised(mnist_model, mnist, how):
    rng = np.random.default_rng(3)
    images, truth = (part[-100:] for part in mnist)
    photographs = [photograph(image, rng, **how) for image in images]
    prepared = [prepare_digit(picture).centred for picture in photographs]
    outputs = mnist_model.predict(np.reshape(prepared, (-1, 784)), verbose=0)
    assert (outputs.argmax(axis=1) == truth).mean() >= 0.93


@pytest.mark.parametrize("noise", [0.002, 0.01, 0.02, 0.05])
def test_a_photograph_of_paper_alone_has_no_ink(rng, noise):
    paper = (0.8 + 0.1 * np.linspace(-1, 1, 90) + rng.normal(0, noise, (70, 90))).clip(0, 1)
    with pytest.raises(ValueError, match="a picture without ink"):
        prepare_digit(paper)


def test_the_size_and_place_of_a_digit_do_not_matter_and_little_memory_is_needed(mnist):
    image = mnist[0][0]
    digit = 255 - np.kron(image, np.ones((70, 70), "uint8"))
    picture = np.pad(digit, ((900, 100), (200, 800)), constant_values=255)
    picture = np.stack([picture] * 3, axis=-1)  # some 9 million pixels, 26 MB
    tracemalloc.start()
    stages = prepare_digit(picture)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 8 * picture.nbytes
    assert abs(stages.centred - prepare_digit(image).centred).mean() < 0.02
    assert abs(stages.image - 255 * stages.centred).max() < 0.501  # rounded to the nearest


def test_connected_parts():
    rows = ("# #  #", "# # # ", "###   ", "     #", "# ## #")
    mask = np.array([list(row) for row in rows]) == "#"
    parts = prepare.connected_components(mask)
    assert_array_equal(parts > 0, mask)
    assert sorted(np.unique(parts[mask], return_counts=True)[1]) == [1, 2, 2, 2, 7]


def test_an_image_file_is_read_with_its_orientation(tmp_path):
    from PIL import Image

    image = (255 - 255 * bar(120, 80, 20, 60, 10, 70)).astype("uint8")
    turned, deep, exif = tmp_path / "turned.png", tmp_path / "deep.png", Image.Exif()
    exif[0x0112] = 6  # "rotate 90° clockwise", as phones write it
    picture = Image.fromarray(image).convert("RGB").transpose(Image.Transpose.ROTATE_90)
    picture.save(turned, exif=exif)
    Image.fromarray(np.where(image > 127, 40000, 20000).astype("uint16")).save(deep)
    for file, atol in ((turned, 0), (str(turned), 0), (deep, 1e-4)):
        assert_allclose(prepare_digit(file).centred, prepare_digit(image).centred, atol=atol)
    with pytest.raises(FileNotFoundError):
        prepare_digit(tmp_path / "none.png")


def test_other_image_sizes():
    stages = [prepare_digit(bar(), size=size) for size in (8, 56)]
    assert [one.scaled.shape[0] for one in stages] == [8, 40]
    assert [one.centred.shape for one in stages] == [(8, 8), (56, 56)]


FITS, WHOLE = "Expected a box of 1 to", "to be a whole number of at least 1, received"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([np.full((30, 30), 7, "uint8")], "a picture without ink"),
        ([np.zeros((30, 30, 5))], r"shape \(30, 30, 5\)"),
        ([np.zeros(30)], r"shape \(30,\)"),
        ([np.zeros((0, 5))], r"shape \(0, 5\)"),
        ([np.array([["a"]])], "dtype <U1"),
        ([np.full((5, 5), 255.0)], r"received 255 to 255. Write: image / 255"),
        ([np.full((5, 5), np.nan)], "Expected floats from 0 to 1"),
        ([-np.ones((5, 5))], "Expected floats from 0 to 1"),
        *[([bar(), size, box], FITS) for size, box in ((28, 29), (10, 20))],
        *[([bar(), size, box], WHOLE) for size, box in ((0, None), ("28", 20), (28, 0))],
    ],
)
def test_what_cannot_be_prepared_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        prepare_digit(*arguments)
