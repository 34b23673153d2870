"""The pictures of the lessons show the numbers that they are given; the data are those on disk."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from tinynet import course


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def test_pixels_are_drawn_with_their_numbers():
    image = np.arange(64).reshape(8, 8)
    ax = course.plot_pixels(image)
    assert [text.get_text() for text in ax.texts] == [str(n) for n in range(64)]
    assert (ax.images[0].get_array() == image).all()


def test_of_a_large_image_the_middle_is_drawn():
    image = np.arange(28 * 28).reshape(28, 28)
    ax = course.plot_pixels(image)
    assert ax.get_title() == "10 × 10 of the 28 × 28 pixels"
    assert (ax.images[0].get_array() == image[9:19, 9:19]).all()


def test_numbers_can_be_read_on_light_and_on_dark_pixels():
    ax = course.plot_pixels(np.array([[0, 16]]))
    assert [text.get_color() for text in ax.texts] == ["black", "white"]


def test_images_are_squares_and_signed_ones_have_grey_for_zero():
    plain, signed = course.plot_images({"ink": np.arange(16), "w": np.arange(16)[:, None] - 8.0})
    assert signed.images[0].get_array().shape == (4, 4)
    assert plain.images[0].get_array().shape == (4, 4)
    assert signed.images[0].get_clim() == (-8, 8)
    assert [ax.get_title() for ax in (plain, signed)] == ["ink", "w\n±8"]
    axes = course.plot_images({"ink": np.arange(16), "w": -np.arange(16) / 3}, signed=True)
    assert {ax.images[0].get_clim() for ax in axes} == {(-15, 15)}


def test_sums_are_shares_of_each_kind():
    z, yes = np.array([-2.0, -1, -1, 3, 3]), np.array([False, False, False, True, True])
    ax = course.plot_sums(z, yes, ("zeros", "others"))
    heights = [sum(bar.get_height() for bar in bars) for bars in ax.containers]
    assert heights == pytest.approx([1, 1])
    assert ax.get_lines()[0].get_xdata()[0] == 0
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels[:2] == ["others", "zeros"]


def test_softmax_is_drawn_in_three_steps():
    z = np.array([1.0, -1.0])
    p = np.exp(z) / np.exp(z).sum()
    axes = course.plot_softmax(z, p)
    for ax, values in zip(axes, (z, np.exp(z), p), strict=True):
        assert [bar.get_height() for bar in ax.patches] == pytest.approx(values)


def test_a_slope_is_that_of_the_line_through_both_points():
    ax = course.plot_slope(np.square, w=1.0, h=0.5)
    tangent, line = ax.get_lines()[1:3]
    x, y = tangent.get_data()
    assert np.polyfit(x, y, 1) == pytest.approx([2, -1])
    assert line.get_label() == "slope 2.000"
    x, y = line.get_data()
    assert np.polyfit(x, y, 1) == pytest.approx([2, -0.75])  # through (0.5, 0.25), (1.5, 2.25)


def test_the_way_back_names_every_box_and_arrow():
    ax = course.plot_way_back([("Dense", "z", "∂L/∂x", "∂L/∂W"), ("loss", "L", "δ", "")])
    words = {text.get_text() for text in ax.texts} - {""}
    assert words == {"x", "Dense", "z", "∂L/∂x", "∂L/∂W", "loss", "L", "δ"}


def test_curves_have_their_values_names_and_different_styles():
    curves = {f"curve {n}": np.arange(30.0) + n for n in range(6)}
    ax = course.plot_curves(curves, "epoch", "loss")
    lines = ax.get_lines()
    for line, (name, values) in zip(lines, curves.items(), strict=True):
        assert line.get_label() == name
        assert (line.get_xdata() == np.arange(1, 31)).all()
        assert (line.get_ydata() == values).all()
    for look in ("get_color", "get_marker"):
        assert len({getattr(line, look)() for line in lines}) == 6
    assert lines[0].get_markevery() == 3
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "loss")
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == list(curves)


def test_no_curve_and_no_path_is_left_out():
    names = [f"number {n}" for n in range(8)]
    lines = course.plot_curves(dict.fromkeys(names, (1, 2)), "x", "y").get_lines()
    assert [line.get_label() for line in lines] == names
    axes = course.plot_paths(
        lambda w: (w**2).sum(axis=-1), {name: np.ones((2, 2)) for name in names}
    )
    assert [ax.get_title() for ax in axes] == names


def test_curves_can_be_drawn_over_other_numbers_and_on_logarithmic_axes():
    ax = course.plot_curves({"loss": [3, 2, 5]}, "η", "loss", x=[0.01, 0.1, 1], log="x")
    assert ax.get_lines()[0].get_xdata().tolist() == [0.01, 0.1, 1]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")
    ax.figure.canvas.draw()
    labels = {label.get_text() for label in ax.get_xticklabels(which="both")} - {""}
    assert (
        {"0.01", "0.03", "0.1", "0.3", "1"}
        <= labels
        <= {f"{k * 10.0**n:g}" for k in (1, 3) for n in range(-4, 3)}
    )
    assert course.plot_curves({"loss": [3, 2]}, "step", "loss", log="y").get_yscale() == "log"


def test_paths_are_drawn_on_lines_of_equal_loss():
    def loss(w):
        return (np.array([1.0, 25.0]) * w**2).sum(axis=-1)

    path = np.array([[-4.0, 1.0], [-2.0, 0.5], [9.0, 9.0]])
    left, right = course.plot_paths(loss, {"one": path, "other": path / 2})
    assert (left.get_title(), right.get_title()) == ("one", "other")
    assert (np.transpose(left.get_lines()[0].get_data()) == path).all()
    assert (np.transpose(right.get_lines()[0].get_data()) == path / 2).all()
    assert (left.get_xlim(), left.get_ylim()) == ((-5, 5), (-1.25, 1.25))  # a path may leave it
    assert (left.get_xlabel(), left.get_ylabel(), right.get_ylabel()) == ("w₁", "w₂", "")
    assert np.ravel(left.get_lines()[1].get_data()).tolist() == [0, 0]  # the minimum
    levels, lines = left.collections[0].levels, left.collections[0].get_paths()
    assert levels[-1] == loss(path[0])
    assert len(levels) == 7
    for level, line in zip(levels, lines, strict=True):
        assert loss(line.vertices) == pytest.approx(level, rel=0.05)


def test_the_embedded_digits_are_used_where_mnist_is_not(monkeypatch, capsys):
    monkeypatch.setenv("TFDS_DATA_DIR", "none")
    monkeypatch.setenv("KERAS_HOME", "none")
    (x, y), (x_test, _), white = course.load_data()
    assert (x.shape, y.shape, x_test.shape, white) == ((1500, 8, 8), (1500,), (297, 8, 8), 16)
    assert capsys.readouterr().out.startswith("The embedded digits: 1,500 training images")


def test_mnist_is_used_where_it_is(monkeypatch, mnist_directory, capsys):
    monkeypatch.setenv("TFDS_DATA_DIR", str(mnist_directory.parent.parent))
    (x, _), _, white = course.load_data()
    assert (x.shape, x.max(), white) == ((60000, 28, 28), 255, 255)
    assert capsys.readouterr().out.startswith("MNIST: 60,000 training images of 28 × 28")
    assert course.load_data("digits")[2] == 16


def test_another_dataset_is_refused():
    with pytest.raises(ValueError, match=r"Expected 'mnist' or 'digits', received 'fashion'. Wri"):
        course.load_data("fashion")
