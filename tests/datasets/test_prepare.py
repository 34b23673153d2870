"""`prepare_digit` makes images like MNIST's, from MNIST itself, drawings and photographs."""

import itertools

import numpy as np
import pytest
import strokes
from arrays import assert_allclose, assert_array_equal
from networks import SPARSE, network

import tinynet
from tinynet.datasets import prepare
from tinynet.datasets.mnist import prepare_digit


@pytest.fixture(scope="session")
def held_out(mnist_directory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFDS_DATA_DIR", str(mnist_directory.parent.parent))
        return tinynet.datasets.mnist.load_data()[1]


def disc(height, width, y, x, radius):
    """Return a black disc on white paper."""
    rows, columns = np.ogrid[:height, :width]
    inside = (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
    return np.where(inside, 0, 255).astype("uint8")


def bar(height=100, width=100, top=20, bottom=80, left=40, right=50):
    image = np.zeros((height, width))
    image[top:bottom, left:right] = 1
    return image


def test_mnist_images_are_not_changed(held_out):
    """MNIST was prepared alike: cropped, scaled to 20, and centred by mass at 14.0."""
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
    # The centre of 20 rows, 9.5, and the centre of 3 columns, 1, are moved closest to 14.
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
def test_resizing_keeps_the_mean_and_constant_images(old, new):
    shares = prepare.area_weights(old, new)
    assert shares.shape == (new, old)
    assert_allclose(shares.sum(axis=1), 1)  # each new pixel is a mean
    assert_allclose(shares.sum(axis=0), new / old)  # every old pixel counts equally
    assert (shares >= 0).all()


def test_ink_is_found_whatever_its_brightness_type_and_channels():
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
        np.stack([image * 0, image * 0, image * 0, image], axis=-1),  # black on transparent
        np.stack([image * 0, image], axis=-1),
        np.stack([image * 0 + 1, image], axis=-1),  # white on transparent
        0.2 + 0.5 * image,
    ):
        assert_allclose(prepare_digit(other).centred, reference, atol=1e-6)
    red = np.stack([image, image * 0, image * 0], axis=-1)
    assert_allclose(prepare_digit(red).centred, reference, atol=1e-6)


def test_position_and_size_of_a_digit_do_not_matter():
    reference = prepare_digit(disc(200, 200, 100, 100, 60)).centred
    for height, width, y, x, radius in ((400, 300, 320, 90, 60), (300, 500, 100, 400, 90)):
        moved = prepare_digit(disc(height, width, y, x, radius)).centred
        assert abs(moved - reference).mean() < 0.01


def test_a_digit_at_the_border_is_not_cut_off():
    lopsided = np.zeros((60, 60))
    lopsided[0:60, 0:2] = 0.05
    lopsided[55:60, 0:60] = 1
    stages = prepare_digit(lopsided)
    assert stages.centred.sum() == pytest.approx(stages.scaled.sum(), rel=1e-5)


def photograph(image, rng, noise, depth=(0.6, 0.85), colour=(1, 1, 1), specks=0, glare=False):
    """Simulate a photograph of a digit on paper, with uneven light, blur and noise."""
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
    picture = paper[..., None] * (1 - rng.uniform(*depth) * whole[..., None] * np.array(colour))
    picture += rng.normal(0, noise, picture.shape)
    for _ in range(specks):
        row, column = rng.integers(3, height - 3), rng.integers(3, width - 3)
        picture[row - 1 : row + 2, column - 1 : column + 2] = 0.1
    if glare:
        picture[5:9, 5:9] = 1
    picture = (picture.clip(0, 1) * 255).astype("uint8")
    return picture[..., 0] if colour == (1, 1, 1) else picture


@pytest.fixture(scope="session")
def mnist_model(mnist):
    """A network that was trained on MNIST."""
    images, labels = mnist
    tinynet.utils.set_random_seed(1)
    stack = tinynet.layers.Flatten(), (100, "relu"), (10, "softmax")
    model = network(*stack, inputs=(28, 28), loss=SPARSE)
    model.fit(images / np.float32(255), labels, epochs=2, verbose=0)
    return model


@pytest.mark.parametrize(
    "how",
    [
        *({"noise": noise} for noise in (0, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05)),
        {"noise": 0.02, "colour": (1, 0.8, 0.2)},  # a blue pen
        {"noise": 0.02, "colour": (0.2, 1, 1)},  # a red pen
        {"noise": 0.02, "depth": (0.2, 0.25)},  # a pencil
        {"noise": 0.02, "specks": 3},
        {"noise": 0.01, "glare": True},
    ],
    ids=str,
)
def test_digits_in_photographs_are_recognised(mnist_model, held_out, how):
    """Prepared photographs are recognised; photographs that are only scaled down are not."""
    rng = np.random.default_rng(3)
    truth = held_out[1][:100]
    photographs = [photograph(image, rng, **how) for image in held_out[0][:100]]
    prepared = np.stack([prepare_digit(picture).centred for picture in photographs])
    grey = [1 - prepare.grey_of(picture) for picture in photographs]
    small = np.stack(
        [
            prepare.area_weights(len(g), 28) @ g @ prepare.area_weights(g.shape[1], 28).T
            for g in grey
        ]
    )
    right, plain = (
        (mnist_model.predict(x, verbose=0).argmax(axis=1) == truth).mean()
        for x in (prepared, small)
    )
    print(f"{how}: prepared {right:.0%}, only scaled {plain:.0%}")
    assert right >= 0.93
    assert plain < 0.5


@pytest.mark.parametrize("noise", [0.002, 0.01, 0.02, 0.05])
def test_a_photograph_of_paper_alone_has_no_ink(rng, noise):
    paper = (0.8 + 0.1 * np.linspace(-1, 1, 90) + rng.normal(0, noise, (70, 90))).clip(0, 1)
    with pytest.raises(ValueError, match="a picture without ink"):
        prepare_digit(paper)


def test_a_large_photograph_needs_little_memory(held_out):
    import tracemalloc

    picture = np.kron(held_out[0][0], np.ones((70, 70), "uint8"))
    picture = np.pad(255 - picture, 500, constant_values=255)
    picture = np.stack([picture] * 3, axis=-1)  # some 9 million pixels, 26 MB
    reference = prepare_digit(held_out[0][0]).centred
    tracemalloc.start()
    centred = prepare_digit(picture).centred
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 8 * picture.nbytes
    assert abs(centred - reference).mean() < 0.02


def test_connected_parts():
    mask = np.array(
        [
            [1, 0, 1, 0, 0, 1],
            [1, 0, 1, 0, 1, 0],
            [1, 1, 1, 0, 0, 0],
            [0, 0, 0, 0, 0, 1],
            [1, 0, 1, 1, 0, 1],
        ],
        bool,
    )
    parts = prepare.connected_components(mask)
    assert_array_equal(parts > 0, mask)
    found = {
        tuple(sorted(zip(*np.nonzero(parts == n), strict=True))) for n in np.unique(parts[mask])
    }
    assert {len(part) for part in found} == {7, 2, 1}
    assert sorted(len(part) for part in found) == [1, 2, 2, 2, 7]


def test_an_image_file_is_read_with_its_orientation(tmp_path):
    from PIL import Image

    image = (255 - 255 * bar(120, 80, 20, 60, 10, 70)).astype("uint8")
    picture = Image.fromarray(image).convert("RGB")
    picture.save(tmp_path / "a.png")
    reference = prepare_digit(image).centred
    assert_array_equal(prepare_digit(tmp_path / "a.png").centred, reference)
    assert_array_equal(prepare_digit(str(tmp_path / "a.png")).centred, reference)
    turned = picture.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate 90° clockwise", as phones write it
    turned.save(tmp_path / "turned.png", exif=exif)
    assert_array_equal(prepare_digit(tmp_path / "turned.png").centred, reference)
    deep = np.where(image > 127, 40000, 20000).astype("uint16")
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert_allclose(prepare_digit(tmp_path / "deep.png").centred, reference, atol=1e-4)
    with pytest.raises(FileNotFoundError):
        prepare_digit(tmp_path / "none.png")


def test_other_image_sizes(rng):
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
        (np.zeros((30, 30, 5)), r"shape \(30, 30, 5\)"),
        (np.zeros(30), r"shape \(30,\)"),
        (np.zeros((0, 5)), r"shape \(0, 5\)"),
        (np.array([["a"]]), "dtype <U1"),
        (np.full((5, 5), 255.0), r"received 255 to 255. Write: image / 255"),
        (np.full((5, 5), np.nan), "Expected floats from 0 to 1"),
        (-np.ones((5, 5)), "Expected floats from 0 to 1"),
        (None, r"shape \(\)"),
    ],
)
def test_invalid_images_are_refused(image, words):
    with pytest.raises(ValueError, match=words):
        prepare_digit(image)


def test_a_box_that_does_not_fit_is_refused():
    for arguments in ({"box": 29}, {"size": 10, "box": 20}):
        with pytest.raises(ValueError, match="Expected a box of 1 to"):
            prepare_digit(bar(), **arguments)
    for arguments in ({"box": 0}, {"box": 20.5}, {"box": True}, {"size": 0}, {"size": "28"}):
        with pytest.raises(ValueError, match="to be a whole number of at least 1, received"):
            prepare_digit(bar(), **arguments)


def test_every_drawn_digit_keeps_its_ink(rng):
    """Nothing of the scripted digits is cut off."""
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
