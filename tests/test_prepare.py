"""From a picture to what MNIST's images are: on MNIST itself, on drawings, and on photographs."""

import itertools

import numpy as np
import pytest
import strokes
from arrays import assert_allclose, assert_array_equal

import tinynet
from tinynet.datasets import prepare
from tinynet.datasets.mnist import prepare_digit


@pytest.fixture(scope="session")
def held_out(mnist_directory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFDS_DATA_DIR", str(mnist_directory.parent.parent))
        return tinynet.datasets.mnist.load_data()[1]


def disc(height, width, y, x, radius):
    """A black disc on white paper."""
    rows, columns = np.ogrid[:height, :width]
    inside = (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
    return np.where(inside, 0, 255).astype("uint8")


def bar(height=100, width=100, top=20, bottom=80, left=40, right=50):
    image = np.zeros((height, width))
    image[top:bottom, left:right] = 1
    return image


def test_mnist_s_own_images_come_out_as_they_went_in(held_out):
    """They were prepared so: cut out, scaled to 20, and their centre of mass put to 14.0."""
    images, _ = held_out
    for image in images[:2000]:
        assert abs(prepare_digit(image).image.astype(int) - image).max() <= 1


def test_the_stages_of_a_bar():
    stages = prepare_digit(bar())
    assert stages.ink.shape == (100, 100)
    assert stages.cropped.shape == (60, 10)
    assert stages.cropped.min() == 1
    assert stages.scaled.shape == (20, 3)  # 60 : 10, to the nearest pixel
    assert stages.scaled.min() == pytest.approx(1)
    rows, columns = np.nonzero(stages.centred)
    # The middle of 20 rows, 9.5, is put nearest to 14; and so is the middle of 3 columns, 1.
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (5, 24, 13, 15)
    assert stages.image.dtype == "uint8"
    assert stages.image.max() == 255
    assert all(stage.dtype == "float32" for stage in stages)


def test_half_covered_pixels_are_grey():
    image = np.zeros((30, 30))
    image[5:25, 5:10] = np.linspace(0.5, 1, 20)[:, None]
    image[5:25, 10:15] = 1
    scaled = prepare_digit(image, box=10).scaled
    assert scaled.shape == (10, 5)
    expected = image[5:25, 5:15].reshape(10, 2, 5, 2).mean(axis=(1, 3))
    assert_allclose(scaled, expected, atol=1e-6)


@pytest.mark.parametrize(("old", "new"), [(20, 20), (40, 20), (7, 20), (63, 20), (20, 63), (3, 1)])
def test_resizing_keeps_the_mean_and_what_is_the_same_everywhere(old, new):
    shares = prepare.shares(old, new)
    assert shares.shape == (new, old)
    assert_allclose(shares.sum(axis=1), 1)  # a mean of what it covers
    assert_allclose(shares.sum(axis=0), new / old)  # nothing is left out
    assert (shares >= 0).all()


def test_ink_may_be_dark_or_bright_bytes_or_floats_grey_or_coloured():
    image = bar()
    reference = prepare_digit(image).centred
    for other in (
        1 - image,
        (image * 255).astype("uint8"),
        255 - (image * 255).astype("uint8"),
        image.astype(bool),
        (image * 65535).astype("uint16"),
        np.stack([image] * 3, axis=-1),
        image[..., None],
        np.stack([image * 0, image * 0, image * 0, image], axis=-1),  # black on what is transparent
        0.2 + 0.5 * image,
    ):
        assert_allclose(prepare_digit(other).centred, reference, atol=1e-6)
    red = np.stack([image, image * 0, image * 0], axis=-1)
    assert_allclose(prepare_digit(red).centred, reference, atol=1e-6)


def test_where_a_digit_is_and_how_large_changes_nothing():
    reference = prepare_digit(disc(200, 200, 100, 100, 60)).centred
    for height, width, y, x, radius in ((400, 300, 320, 90, 60), (300, 500, 100, 400, 90)):
        moved = prepare_digit(disc(height, width, y, x, radius)).centred
        assert abs(moved - reference).mean() < 0.01


def test_a_digit_at_the_border_stays_whole():
    lopsided = np.zeros((60, 60))
    lopsided[0:60, 0:2] = 0.05
    lopsided[55:60, 0:60] = 1
    stages = prepare_digit(lopsided)
    assert stages.centred.sum() == pytest.approx(stages.scaled.sum(), rel=1e-5)


def photograph(image, rng):
    """A digit on paper, photographed: a small part of a picture, uneven light, noise, blur."""
    size = int(rng.integers(3, 8))
    ink = np.kron(image / 255, np.ones((size, size)))
    height, width = (int(rng.integers(ink.shape[0] + 20, 420)) for _ in range(2))
    top = int(rng.integers(5, height - ink.shape[0] - 5))
    left = int(rng.integers(5, width - ink.shape[1] - 5))
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
    a, b, c = rng.uniform(-0.12, 0.12, 3)
    paper = rng.uniform(0.65, 0.85) + a * x + b * y + c * x * y
    whole = np.zeros((height, width))
    whole[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    for _ in range(2):  # out of focus
        whole = (np.roll(whole, 1, 0) + whole + np.roll(whole, -1, 0)) / 3
        whole = (np.roll(whole, 1, 1) + whole + np.roll(whole, -1, 1)) / 3
    grey = paper * (1 - rng.uniform(0.6, 0.85) * whole) + rng.normal(0, 0.015, whole.shape)
    return (grey.clip(0, 1) * 255).astype("uint8")


def test_digits_in_photographs_are_recognised(mnist, held_out):
    """With what was done to MNIST done to them; made small as they are, they are not."""
    images, labels = mnist
    tinynet.utils.set_random_seed(1)
    model = tinynet.Sequential([tinynet.layers.Flatten(input_shape=(28, 28))])
    model.add(tinynet.layers.Dense(100, "relu"))
    model.add(tinynet.layers.Dense(10, "softmax"))
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(images / np.float32(255), labels, epochs=2, verbose=0)
    rng = np.random.default_rng(3)
    photographs = [photograph(image, rng) for image in held_out[0][:200]]
    prepared = np.stack([prepare_digit(picture).centred for picture in photographs])
    small = np.stack(
        [
            prepare.shares(p.shape[0], 28) @ (1 - p / 255) @ prepare.shares(p.shape[1], 28).T
            for p in photographs
        ]
    )
    truth = held_out[1][:200]
    right, plain = (
        (model.predict(x, verbose=0).argmax(axis=1) == truth).mean() for x in (prepared, small)
    )
    print(f"prepared {right:.1%}, made small {plain:.1%}")
    assert right > 0.9
    assert plain < 0.5


def test_a_picture_in_a_file_upright(tmp_path):
    from PIL import Image

    image = (255 - 255 * bar(120, 80, 20, 60, 10, 70)).astype("uint8")
    picture = Image.fromarray(image).convert("RGB")
    picture.save(tmp_path / "a.png")
    reference = prepare_digit(image).centred
    assert_array_equal(prepare_digit(tmp_path / "a.png").centred, reference)
    assert_array_equal(prepare_digit(str(tmp_path / "a.png")).centred, reference)
    turned = picture.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn me by a quarter, clockwise", as telephones write it
    turned.save(tmp_path / "turned.png", exif=exif)
    assert_array_equal(prepare_digit(tmp_path / "turned.png").centred, reference)
    with pytest.raises(FileNotFoundError):
        prepare_digit(tmp_path / "none.png")


def test_small_images_are_filled(rng):
    line = np.zeros((50, 50))
    line[10:40, 20:25] = 1
    stages = prepare_digit(line, size=8)
    assert stages.centred.shape == (8, 8)
    assert stages.scaled.shape[0] == 8
    assert prepare_digit(line, size=56).scaled.shape[0] == 40


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((30, 30)), "a picture without ink"),
        (np.full((30, 30), 7, "uint8"), "a picture without ink"),
        (np.zeros((30, 30, 2)), r"shape \(30, 30, 2\)"),
        (np.zeros(30), r"shape \(30,\)"),
        (np.zeros((0, 5)), r"shape \(0, 5\)"),
        (np.array([["a"]]), "dtype <U1"),
        (np.full((5, 5), 255.0), r"received 255 to 255. Write: image / 255"),
        (np.full((5, 5), np.nan), "Expected floats from 0 to 1"),
        (-np.ones((5, 5)), "Expected floats from 0 to 1"),
        (None, r"shape \(\)"),
    ],
)
def test_what_is_no_picture_of_a_digit_is_refused(image, words):
    with pytest.raises(ValueError, match=words):
        prepare_digit(image)


def test_a_box_that_does_not_fit_is_refused():
    for arguments in ({"box": 29}, {"box": 0}, {"size": 10, "box": 20}):
        with pytest.raises(ValueError, match="Expected a box of 1 to"):
            prepare_digit(bar(), **arguments)


def test_every_drawn_digit_keeps_its_ink(rng):
    """Of the scripted digits, too: nothing is cut off on the way."""
    for digit in range(10):
        ink = np.zeros((280, 280))
        for stroke in strokes.varied(digit, rng):
            for a, b in itertools.pairwise(stroke):
                for x, y in np.linspace(a, b, 40) * 280:
                    ink[int(y) - 6 : int(y) + 7, int(x) - 6 : int(x) + 7] = 1
        stages = prepare_digit(ink)
        assert stages.cropped.sum() == ink.sum()
        assert stages.centred.sum() == pytest.approx(stages.scaled.sum(), rel=1e-5)
        mass = stages.centred.sum(axis=1)
        assert 13.4 <= (mass * np.arange(28)).sum() / mass.sum() <= 14.6
