"""The figures, checked by what was drawn: pixels, texts, marks and lines, and their positions."""

import itertools
import pathlib
import subprocess
import sys
from types import SimpleNamespace

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest

import tinynet
from tinynet import plotting
from tinynet.plotting import pictures, plot_digits, plot_history, plot_network, plot_predictions

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def _no_side_effects(monkeypatch):
    """Assert that no function calls `plt.show` or changes matplotlib's settings."""
    monkeypatch.setattr(plt, "show", lambda *_, **__: pytest.fail("plt.show() is the caller's"))
    plt.close("all")  # including figures left by examples in docstrings
    before = dict(matplotlib.rcParams)
    yield
    plt.close("all")
    assert dict(matplotlib.rcParams) == before


def texts(ax):
    return [text.get_text() for text in ax.texts]


def curves(ax):
    """Return the lines of an Axes by their labels: {"training": (x, y)}."""
    return {
        line.get_label(): (list(line.get_xdata()), list(line.get_ydata()))
        for line in ax.get_lines()
    }


def sigmoid(): ...


def softmax(): ...


def make_layer(kind, name, before, after, count=0, **attributes):
    own = type(kind, (SimpleNamespace,), {"count_params": lambda self: count})
    return own(name=name, input_shape=(None, *before), output_shape=(None, *after), **attributes)


def dense(name, inputs, units, activation=sigmoid):
    count = (inputs + 1) * units
    return make_layer("Dense", name, (inputs,), (units,), count, units=units, activation=activation)


def network(*layers, built=True):
    return SimpleNamespace(name="tutorial", built=built, layers=list(layers))


def tutorial(*front):
    return network(*front, dense("a", 784, 100), dense("b", 100, 144), dense("c", 144, 10, softmax))


def drawn_units(ax):
    """Return the circles of each column, and the dots for omitted units: two lists of (x, y)."""
    lines = [line.get_xydata() for line in ax.get_lines()]
    sizes = [line.get_markersize() for line in ax.get_lines()]
    circles = [xy for xy, size in zip(lines, sizes, strict=True) if size == max(sizes)]
    return circles, [xy for xy, size in zip(lines, sizes, strict=True) if size < max(sizes)]


def learned():
    layers = [
        tinynet.Input((6, 5)),
        tinynet.layers.Flatten(),
        tinynet.layers.Dense(3, name="first"),
    ]
    return tinynet.Sequential(layers)


RNG = np.random.default_rng(0)
IMAGES = np.arange(5 * 6 * 6).reshape(5, 6, 6)
PROBABILITIES = np.array(
    [[0.1, 0.7, 0.2], [0.6, 0.3, 0.1], [0.0, 0.004, 0.996], [0.2, 0.2, 0.6], [0.5, 0.1, 0.4]]
)
LABELS = [1, 2, 2, 0, 0]  # wrong predictions: the second (0 instead of 2), the fourth (2, of 0)
HISTORY = {
    "acc": [0.5, 0.7, 0.8, 0.9],
    "loss": [1.0, 0.7, 0.4, 0.2],
    "val_acc": [0.4, 0.6, 0.8, 0.7],
    "val_loss": [1.1, 0.5, 0.6, 0.8],
}

PICTURES = {
    "digits": lambda **ax: plot_digits(IMAGES, LABELS, columns=3, **ax),
    "one digit": lambda **ax: plot_digits(IMAGES[:1], **ax),
    "predictions": lambda **ax: plot_predictions(IMAGES, PROBABILITIES, LABELS, 5, 1, **ax),
    "one prediction": lambda **ax: plot_predictions(IMAGES[:1], [[0, 0, 1]], [0], **ax),
    "mistakes": lambda **ax: plotting.plot_mistakes(IMAGES, PROBABILITIES, LABELS, **ax),
    "weights": lambda **ax: plotting.plot_weights(learned(), 2, 2, **ax),
    "activations": lambda **ax: plotting.plot_activations(learned(), np.eye(6)[:, :5], **ax),
    "network": lambda **ax: plot_network(tutorial(), **ax),
    "one layer": lambda **ax: plot_network(network(dense("dense", 2, 1)), **ax),
    "ten layers": lambda **ax: plot_network(
        network(*[dense(f"a_dense_layer_of_some_depth_{k}", 4096, 4096) for k in range(10)]), **ax
    ),
    "layers without units": lambda **ax: plot_network(
        tutorial(*[make_layer("Noise", f"noise_{k}", (784,), (784,)) for k in range(9)]), **ax
    ),
}


def test_importing_the_module_does_not_import_matplotlib():
    code = "import sys, tinynet.plotting; sys.exit('matplotlib' in sys.modules)"
    root = pathlib.Path(tinynet.__file__).parent.parent
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0


@pytest.mark.parametrize("picture", [*PICTURES.values(), lambda: plot_history(HISTORY)])
def test_without_matplotlib_the_error_contains_the_install_command(picture, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match="python -m pip install matplotlib"):
        picture()


@pytest.mark.parametrize("name", PICTURES)
def test_nothing_is_cut_off_and_no_two_texts_overlap(name):
    ax = PICTURES[name]()
    ax.figure.canvas.draw()
    written = [text.get_window_extent() for text in [*ax.texts, ax.title] if text.get_text()]
    for k, box in enumerate(written):
        assert ax.figure.bbox.x0 <= box.x0 < box.x1 <= ax.figure.bbox.x1
        assert ax.figure.bbox.y0 <= box.y0 < box.y1 <= ax.figure.bbox.y1
        for other in written[:k]:
            assert not box.overlaps(other)
        for image in ax.images:
            assert not box.overlaps(image.get_window_extent())


@pytest.mark.parametrize("name", PICTURES)
def test_a_figure_is_drawn_into_the_given_axes(name):
    figure, given = plt.subplots(1, 2)
    assert PICTURES[name](ax=given[1]) is given[1]
    assert plt.get_fignums() == [figure.number]
    assert not given[0].has_data()
    assert given[1].has_data()


@pytest.mark.parametrize(
    "draw", [lambda **ax: plot_digits(IMAGES, LABELS, **ax), PICTURES["network"]]
)
def test_text_shrinks_in_small_axes_and_does_not_grow_in_large_ones(draw):
    sizes = [
        draw(ax=plt.figure(figsize=(width, 3 * width)).add_subplot()).texts[0].get_fontsize()
        for width in (3, 6, 12, 24)
    ]
    assert sizes == pytest.approx(sorted(sizes))
    assert sizes[1] == pytest.approx(2 * sizes[0])
    assert sizes[-1] == pytest.approx(9)


@pytest.mark.parametrize("name", PICTURES)
def test_without_axes_one_new_figure_is_made(name):
    ax = PICTURES[name]()
    assert plt.get_fignums() == [ax.figure.number]
    assert ax.get_title()


# Digits


@pytest.mark.parametrize("shape", [(5, 6, 6), (5, 36), (5, 6, 6, 1), (5, 4, 9)])
@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32", "float16"])
def test_digits_are_the_pixels_of_the_images(shape, dtype):
    images = IMAGES.astype(dtype).reshape(shape)
    ax = plot_digits(images, rows=2, columns=3)
    expected = IMAGES.reshape(5, 4, 9) if shape == (5, 4, 9) else IMAGES
    assert len(ax.images) == 5
    for drawn, image in zip(ax.images, expected, strict=True):
        np.testing.assert_array_equal(drawn.get_array(), image)
        assert drawn.get_clim() == (0, 179)  # one grey scale for all images
        left, right, bottom, top = drawn.get_extent()
        assert (bottom - top) / (right - left) == pytest.approx(image.shape[0] / image.shape[1])


def test_black_ink_on_white_paper():
    ax = plot_digits(np.array([[[0, 9]]]))
    assert ax.images[0].to_rgba(9)[:3] == (0, 0, 0)
    assert ax.images[0].to_rgba(0)[:3] == (1, 1, 1)


def test_digits_are_upright_in_rows_with_labels_below():
    ax = plot_digits(IMAGES, list("abcde"), rows=2, columns=3)
    assert texts(ax) == list("abcde")
    ax.figure.canvas.draw()
    boxes = [image.get_window_extent() for image in ax.images]
    assert boxes[0].x0 < boxes[1].x0 < boxes[2].x0
    assert [box.x0 for box in boxes[3:]] == [box.x0 for box in boxes[:2]]
    assert boxes[3].y1 < boxes[0].y0
    for box, text in zip(boxes, ax.texts, strict=True):
        label = text.get_window_extent()
        assert (label.x0 + label.x1) / 2 == pytest.approx((box.x0 + box.x1) / 2, abs=1)
        assert 0 < box.y0 - label.y1 < 10
    picture = np.asarray(ax.figure.canvas.buffer_rgba())[..., 0]
    middle = int((boxes[4].x0 + boxes[4].x1) / 2)
    row = [picture[-1 - int(y), middle] for y in (boxes[4].y1 - 5, boxes[4].y0 + 5)]
    assert row[0] > row[1]  # values increase from the top left, so the top is lighter


def test_no_more_digits_are_drawn_than_fit_the_grid():
    ax = plot_digits(np.zeros((50, 8, 8)), np.arange(50), rows=3, columns=4)
    assert len(ax.images) == 12
    assert texts(ax) == [str(k) for k in range(12)]


@pytest.mark.parametrize(
    "labels", [[1, 0, 1], [1.0, 0.0, 1.0], np.eye(2)[[1, 0, 1]], [[1], [0], [1]]]
)
def test_labels_may_be_numbers_or_one_hot(labels):
    assert texts(plot_digits(np.zeros((3, 4, 4)), labels)) == ["1", "0", "1"]
    ax = plot_predictions(np.zeros((3, 4, 4)), np.eye(2)[[1, 1, 1]], labels)
    assert [text.split("\n")[0] for text in texts(ax)] == ["1", "1 (true 0)", "1"]


def test_images_with_nan_and_infinity_are_drawn():
    ax = plot_digits(np.array([[[np.nan, 1.0], [3.0, np.inf]]]))
    assert ax.images[0].get_clim() == (1, 3)
    ax.figure.canvas.draw()


@pytest.mark.parametrize(
    "images",
    [np.zeros(784), np.zeros((28, 28)), np.zeros((2, 8, 8, 3)), np.zeros((0, 8, 8)), [["a"]]],
)
def test_images_of_other_shapes_are_refused(images):
    expected = (
        r"Expected numbers of shape \(n, height, width\).*Write: images.reshape\(-1, 28, 28\)"
    )
    for draw in (plot_digits, lambda x: plot_predictions(x, [[1.0]])):
        with pytest.raises(ValueError, match=expected) as error:
            draw(images)
        assert str(np.shape(images)) in str(error.value)


def test_labels_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"Expected 5 labels\. Received: shape \(3,\)\. Write"):
        plot_digits(IMAGES, [1, 2, 3])
    with pytest.raises(ValueError, match=r"Expected 5 labels\. Received: shape \(3,\)\. Write"):
        plot_predictions(IMAGES, PROBABILITIES, [1, 2, 3])


@pytest.mark.parametrize("grid", [(0, 3), (3, 0), (-1, -1)])
def test_an_empty_grid_is_refused(grid):
    with pytest.raises(ValueError, match="Expected rows and columns of 1 or more"):
        plot_digits(IMAGES, None, *grid)
    with pytest.raises(ValueError, match="Expected rows and columns of 1 or more"):
        plot_predictions(IMAGES, PROBABILITIES, LABELS, *grid)


# Predictions


def marked(ax):
    """Return, for each of the five marks of a wrong prediction, the indices of its images."""

    def where(x, y):
        return next(
            k
            for k, image in enumerate(ax.images)
            if image.get_extent()[0] - 0.01 <= x <= image.get_extent()[1] + 0.01
            and image.get_extent()[3] - 0.01 <= y <= image.get_extent()[2] + 0.01
        )

    lines = ax.get_lines()
    frames = [
        where(*line.get_xydata().mean(axis=0))
        for line in lines
        if line.get_linewidth() > 2 and len(line.get_xdata()) == 5
    ]
    crosses = [where(*line.get_xydata()[0]) for line in lines if line.get_marker() == "X"]
    words = [k for k, text in enumerate(texts(ax)) if " (true " in text]
    bold = [k for k, text in enumerate(ax.texts) if text.get_fontweight() == "bold"]
    coloured = [k for k, text in enumerate(ax.texts) if text.get_color() == pictures.VERMILLION]
    return frames, crosses, words, bold, coloured


def test_wrong_predictions_have_five_marks():
    ax = plot_predictions(IMAGES, PROBABILITIES, LABELS)
    assert marked(ax) == ([1, 3],) * 5
    assert texts(ax) == ["1\n70 %", "0 (true 2)\n60 %", "2\n>99 %", "2 (true 0)\n60 %", "0\n50 %"]
    title, bars, crossed = ax.get_title().splitlines()
    assert title == "Predictions: 3 of 5 right (60.0 %)"
    assert bars == "bars: the probabilities of classes 0 to 2; triangle: true class"
    assert crossed.startswith("crossed: wrong")


def test_each_image_has_a_frame_around_it():
    ax = plot_predictions(IMAGES, PROBABILITIES, LABELS)
    frames = [line.get_xydata() for line in ax.get_lines() if len(line.get_xdata()) == 5]
    for frame, image in zip(frames, ax.images, strict=True):
        left, right, bottom, top = image.get_extent()
        corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
        np.testing.assert_allclose(frame, corners)


def test_without_mistakes_the_marks_are_not_explained():
    ax = plot_predictions(IMAGES, PROBABILITIES, PROBABILITIES.argmax(axis=1))
    assert marked(ax) == ([],) * 5
    title, bars = ax.get_title().splitlines()
    assert title == "Predictions: 5 of 5 right (100.0 %)"
    assert bars == "bars: the probabilities of classes 0 to 2"
    ax = plot_predictions(
        IMAGES, PROBABILITIES, LABELS, 1, 1
    )  # the wrong predictions are not drawn
    assert ax.get_title().splitlines()[0] == "Predictions: 3 of 5 right (60.0 %)"
    assert "crossed" not in ax.get_title()


def test_without_labels_nothing_is_marked():
    ax = plot_predictions(IMAGES, PROBABILITIES)
    assert marked(ax) == ([],) * 5
    assert ax.get_title().splitlines()[0] == "Predictions"


def test_bars_show_probabilities_and_a_triangle_marks_the_true_class():
    ax = plot_predictions(IMAGES, PROBABILITIES, LABELS)
    places = []
    for lines, image, p in zip(ax.collections, ax.images, PROBABILITIES, strict=True):
        ends = np.array(lines.get_segments())  # (classes, start and end, x and y)
        heights = -np.diff(ends[:, :, 1])[:, 0]
        np.testing.assert_allclose(heights / heights.max(), p / p.max(), atol=1e-6)
        np.testing.assert_allclose(heights, (pictures.BARS - 0.13) * p, atol=1e-6)
        left, right, bottom, _ = image.get_extent()
        assert left < ends[:, 0, 0].min() < ends[:, 0, 0].max() < right
        assert (ends[:, :, 1] > bottom).all()  # below the image, as y increases downwards
        darkest = lines.get_colors()[:, :3].sum(axis=1).argmin()
        assert darkest == p.argmax()
        places.append(ends[:, 0, 0])
        dark = lines.get_colors()[p.argmax(), :3]
        answer = pictures.VERMILLION if len(places) in (2, 4) else pictures.BLUE
        np.testing.assert_allclose(dark, matplotlib.colors.to_rgb(answer))
        step = places[-1][1] - places[-1][0]
        assert places[-1][0] == pytest.approx(left + step / 2)
        assert right == pytest.approx(left + 3 * step)  # the bars are evenly spaced below the image
        points = lines.get_linewidths()[0] / 72  # points to inches, the unit of the Axes
        assert 0.5 * step < points < step
        assert ends[:, 0, 1].max() + 0.03 < bottom + 0.42 + pictures.BARS  # above the next image
    points = [line.get_xydata()[0] for line in ax.get_lines() if line.get_marker() == "^"]
    assert [x for x, _ in points] == pytest.approx([places[1][2], places[3][0]])
    bases = [lines.get_segments()[0][0][1] for lines in ax.collections]
    assert [y for _, y in points] == pytest.approx([bases[1] + 0.05, bases[3] + 0.05])
    plot_predictions(IMAGES, PROBABILITIES, [9] * 5).figure.canvas.draw()


def test_bars_belong_to_the_image_above_them():
    ax = plot_predictions(IMAGES, PROBABILITIES, LABELS, 2, 2, wrong=9)
    for lines, k in zip(ax.collections, [1, 3, 0, 2], strict=True):
        ends = np.array(lines.get_segments())
        heights = -np.diff(ends[:, :, 1])[:, 0]
        np.testing.assert_allclose(heights, (pictures.BARS - 0.13) * PROBABILITIES[k], atol=1e-6)


def test_one_sigmoid_unit_means_two_classes():
    ax = plot_predictions(IMAGES[:3], [[0.9], [0.2], [0.6]], [1, 0, 0])
    assert texts(ax) == ["1\n90 %", "0\n80 %", "1 (true 0)\n60 %"]


def test_probabilities_above_99_percent_are_not_shown_as_numbers():
    p = np.array([0.994, 0.996, 1.0])
    ax = plot_predictions(IMAGES[:3], np.stack([1 - p, p], axis=1))
    assert texts(ax) == ["1\n99 %", "1\n>99 %", "1\n>99 %"]


@pytest.mark.parametrize(
    ("wrong", "order"),
    [(0, [0, 1, 2, 3]), (1, [1, 0, 2, 3]), (2, [1, 3, 0, 2]), (9, [1, 3, 0, 2])],
)
def test_wrong_predictions_can_come_first(wrong, order):
    ax = plot_predictions(IMAGES, PROBABILITIES, LABELS, 2, 2, wrong=wrong)
    for drawn, k in zip(ax.images, order, strict=True):
        np.testing.assert_array_equal(drawn.get_array(), IMAGES[k])
    assert ax.get_title().startswith(
        "Predictions: 3 of 5 right"
    )  # of all predictions, not only of those drawn
    assert marked(ax)[0] == [order.index(k) for k in sorted({1, 3} & set(order), key=order.index)]


@pytest.mark.parametrize(
    "probabilities",
    [
        PROBABILITIES[:4],
        PROBABILITIES[:, 0],
        PROBABILITIES[None],
        PROBABILITIES * 2,
        PROBABILITIES - 0.1,
        PROBABILITIES * np.nan,
    ],
)
def test_invalid_probabilities_are_refused(probabilities):
    expected = r"Expected a row of probabilities, from 0 to 1, for each of 5 images.*model.predict"
    with pytest.raises(ValueError, match=expected) as error:
        plot_predictions(IMAGES, probabilities, LABELS)
    assert f"shape {probabilities.shape}" in str(error.value)


def test_wrong_predictions_first_needs_labels():
    with pytest.raises(ValueError, match=r"labels, wrong=8\)"):
        plot_predictions(IMAGES, PROBABILITIES, wrong=3)


# History


def test_history_draws_every_value_at_its_epoch():
    loss, acc = plot_history(HISTORY)
    assert curves(loss)["training"] == ([1, 2, 3, 4], HISTORY["loss"])
    assert curves(loss)["validation"] == ([1, 2, 3, 4], HISTORY["val_loss"])
    assert curves(acc)["training"] == ([1, 2, 3, 4], HISTORY["acc"])
    assert curves(acc)["validation"] == ([1, 2, 3, 4], HISTORY["val_acc"])
    assert [ax.get_xlabel() for ax in (loss, acc)] == ["epoch", "epoch"]
    assert loss.get_ylabel() == "loss (mean over samples)"
    assert acc.get_ylabel() == "acc (share of samples)"
    assert [ax.get_title() for ax in (loss, acc)] == ["Loss", "Metrics"]


def test_the_epoch_of_lowest_loss_or_highest_accuracy_has_a_star():
    loss, acc = plot_history(HISTORY)
    assert curves(loss)["best validation: epoch 2, 0.5"] == ([2], [0.5])
    assert curves(acc)["best validation: epoch 3, 0.8"] == ([3], [0.8])
    for ax in (loss, acc):
        stars = [line for line in ax.get_lines() if line.get_marker() == "*"]
        assert len(stars) == 1
        assert not stars[0].get_clip_on()  # not clipped at the edge
        legend = [text.get_text() for text in ax.get_legend().get_texts()]
        assert legend == ["training", "validation", stars[0].get_label()]


@pytest.mark.parametrize(("name", "best"), [("mse", 2), ("mean_absolute_error", 2), ("auc", 3)])
def test_the_lowest_value_of_an_error_is_the_best(name, best):
    axes = plot_history({"loss": [1, 1, 1, 1], name: [0] * 4, f"val_{name}": [0.4, 0.2, 0.5, 0.3]})
    assert f"epoch {best}," in axes[1].get_legend().get_texts()[-1].get_text()
    assert axes[1].get_ylabel() == name


def test_training_and_validation_differ_without_colour():
    for ax in plot_history(HISTORY):
        training, validation, star = ax.get_lines()
        assert training.get_linestyle() != validation.get_linestyle()
        assert len({line.get_marker() for line in (training, validation, star)}) == 3


def test_the_epochs_of_a_history_object_are_used():
    history = SimpleNamespace(history=HISTORY, epoch=[4, 5, 6, 7])  # initial_epoch=4
    loss, _ = plot_history(history)
    assert curves(loss)["training"][0] == [5, 6, 7, 8]
    assert "best validation: epoch 6, 0.5" in curves(loss)
    again = SimpleNamespace(history=HISTORY, epoch=[0, 1])  # a History passed to two calls of fit
    assert curves(plot_history(again)[0])["training"][0] == [1, 2, 3, 4]


def test_a_single_epoch_is_visible():
    loss, acc = plot_history({name: values[:1] for name, values in HISTORY.items()})
    for ax in (loss, acc):
        assert all(line.get_marker() not in ("", "None") for line in ax.get_lines())
        ax.figure.canvas.draw()
        low, high = ax.get_xlim()
        assert [tick for tick in ax.get_xticks() if low <= tick <= high] == [1]


@pytest.mark.parametrize("epochs", [2, 3, 7, 10, 100])
def test_ticks_are_whole_epochs(epochs):
    (loss,) = plot_history({"loss": np.linspace(1, 0.1, epochs)})
    loss.figure.canvas.draw()
    assert all(tick == int(tick) for tick in loss.get_xticks())
    assert loss.get_xlim() == (0.5, epochs + 0.5)


def test_history_is_drawn_into_the_given_axes():
    figure, given = plt.subplots(1, 3)
    assert list(plot_history(HISTORY, ax=given[:2])) == list(given[:2])
    assert [ax.get_title() for ax in given] == ["Loss", "Metrics", ""]
    (loss,) = plot_history(HISTORY, ax=given[2])
    assert loss is given[2]
    assert loss.get_title() == "Loss"
    assert plt.get_fignums() == [figure.number]
    with pytest.raises(ValueError, match=r"Expected 1 or 2 Axes\. Received: 3\. Write"):
        plot_history(HISTORY, ax=given)


def test_without_metrics_history_has_one_panel():
    axes = plot_history({"loss": [1.0, 0.5], "learning_rate": [0.1, 0.01]})
    assert axes.shape == (1,)
    assert len(axes[0].figure.axes) == 1
    assert list(curves(axes[0])) == ["training"]
    (loss,) = plot_history({"loss": [1.0, 0.5], "val_loss": []})
    assert list(curves(loss)) == ["training"]


def test_several_metrics_share_a_panel_and_are_named():
    logs = {**HISTORY, "top5": [0.8, 0.9, 0.9, 0.9], "val_top5": [0.7, 0.8, 0.9, 0.8]}
    _, metrics = plot_history(logs)
    assert list(curves(metrics)) == [
        "acc, training",
        "acc, validation",
        "acc, best validation: epoch 3, 0.8",
        "top5, training",
        "top5, validation",
        "top5, best validation: epoch 3, 0.9",
    ]
    colours = [line.get_color() for line in metrics.get_lines() if line.get_marker() != "*"]
    assert len(set(colours)) == 4


@pytest.mark.parametrize(
    ("epochs", "values", "frequency", "expected"),
    [
        (6, 3, None, [2, 4, 6]),
        (10, 3, None, [3, 6, 9]),
        (10, 2, 4, [4, 8]),
        (10, 2, 5, [5, 10]),
        (10, 2, [1, 7], [1, 7]),
        (6, 2, (3, 5, 8), [3, 5]),
    ],
)
def test_validation_is_drawn_at_the_epochs_it_followed(epochs, values, frequency, expected):
    logs = {"loss": [1.0] * epochs, "val_loss": list(range(values))}
    (loss,) = plot_history(logs, validation_freq=frequency)
    assert curves(loss)["validation"] == (expected, list(range(values)))
    assert f"best validation: epoch {expected[0]}, 0" in curves(loss)


def test_validation_epochs_with_a_later_initial_epoch():
    history = SimpleNamespace(history={"loss": [1] * 5, "val_loss": [2, 1]}, epoch=range(5, 10))
    (loss,) = plot_history(history)  # only every third epoch fits the number of values
    assert curves(loss)["training"][0] == [6, 7, 8, 9, 10]
    assert curves(loss)["validation"] == ([6, 9], [2, 1])


@pytest.mark.parametrize(("values", "frequency"), [(2, None), (2, 3), (11, None), (3, [1, 7])])
def test_ambiguous_validation_epochs_are_refused(values, frequency):
    logs = {
        "loss": [1.0] * 10,
        "val_loss": [1.0] * values,
    }  # 2 values fit every 4th and every 5th epoch
    with pytest.raises(
        ValueError, match=f"Received: {values} values for 10 epochs.*Write"
    ) as error:
        plot_history(logs, validation_freq=frequency)
    assert str(error.value).endswith("plot_history(h, validation_freq=n)")


def test_nan_and_infinity_are_never_the_best_value():
    nan, inf = np.nan, np.inf
    logs = {"loss": [1, nan, inf], "val_loss": [nan, 3, -inf], "acc": [0] * 3, "val_acc": [nan] * 3}
    loss, acc = plot_history(logs)
    assert "best validation: epoch 2, 3" in curves(loss)
    assert list(curves(acc)) == ["training", "validation"]
    loss.figure.canvas.draw()


@pytest.mark.parametrize(
    ("history", "received"),
    [
        ({}, "dict, lengths {}"),
        ({"loss": []}, "dict, lengths {'loss': 0}"),
        ({"acc": [1, 2]}, "dict, lengths {'acc': 2}"),
        ({"loss": [1], "acc": [1, 2]}, "dict, lengths {'loss': 1, 'acc': 2}"),
        ([1, 2], "list, lengths {}"),
        (None, "NoneType, lengths {}"),
    ],
)
def test_an_invalid_history_is_refused(history, received):
    with pytest.raises(
        ValueError, match="Expected lists of equal length, including 'loss'"
    ) as error:
        plot_history(history)
    assert f"Received: {received}. Write: plot_history(model.fit(x, y))" in str(error.value)
    assert plt.get_fignums() == []


# Network


def test_the_labels_of_the_tutorial_network():
    ax = plot_network(tutorial())
    assert texts(ax) == [
        "input\n784 values",
        "a (Dense)\n100 units · sigmoid\n78,500 parameters",
        "b (Dense)\n144 units · sigmoid\n14,544 parameters",
        "c (Dense)\n10 units · softmax\n1,450 parameters",
    ]
    assert ax.get_title().startswith("tutorial: 94,494 parameters\n")


@pytest.mark.parametrize(
    ("layers", "shown", "dotted"),
    [
        ([(784, 100), (100, 144), (144, 10)], [12, 12, 12, 10], 3),
        ([(2, 1)], [2, 1], 0),
        ([(12, 13)], [12, 12], 1),
        ([(4096, 4096)] * 10, [12] * 11, 11),
    ],
)
def test_a_wide_layer_is_abbreviated_and_its_lines_are_limited(layers, shown, dotted):
    ax = plot_network(network(*[dense(f"d{k}", *sizes) for k, sizes in enumerate(layers)]))
    circles, dots = drawn_units(ax)
    assert [len(column) for column in circles] == shown
    assert len(dots) == dotted
    segments = [len(lines.get_segments()) for lines in ax.collections]
    assert sum(segments) == sum(a * b for a, b in zip(shown[1:], shown[:-1], strict=True))
    assert len(ax.collections) + len(ax.get_lines()) + len(ax.patches) <= 3 * len(shown)


def test_every_circle_is_connected_to_every_circle_of_the_next_column():
    ax = plot_network(network(dense("a", 3, 20), dense("b", 20, 2)))
    circles, _ = drawn_units(ax)
    segments = [s for lines in ax.collections for s in lines.get_segments()]
    drawn = {tuple(np.round(np.ravel(segment), 6)) for segment in segments}
    expected = {
        tuple(np.round([*start, *end], 6))
        for left, right in itertools.pairwise(circles)
        for start in left
        for end in right
    }
    assert drawn == expected
    lines_over = max(lines.get_zorder() for lines in ax.collections)
    assert all(line.get_zorder() > lines_over for line in ax.get_lines())


def test_columns_are_centred_with_dots_in_the_gap_of_omitted_units():
    ax = plot_network(network(dense("a", 5, 13), dense("b", 13, 2)))
    circles, (dots,) = drawn_units(ax)
    assert all(np.ptp(column[:, 0]) == 0 for column in circles)
    xs = [column[0, 0] for column in circles]
    assert xs == sorted(xs)
    assert [text.get_position()[0] for text in ax.texts] == pytest.approx(xs)
    lowest = max(column[:, 1].max() for column in circles)  # y increases downwards
    assert all(text.get_position()[1] > lowest + 0.1 for text in ax.texts)
    middles = [column[:, 1].mean() for column in [*circles, dots]]
    assert middles == pytest.approx([middles[0]] * 4)
    assert dots[0, 0] == xs[1]
    wide = circles[1][:, 1]
    assert wide[5] < dots[:, 1].min() < dots[:, 1].max() < wide[6]
    gaps = np.diff(wide)
    np.testing.assert_allclose(np.delete(gaps, 5), gaps[0])
    np.testing.assert_allclose(np.diff(circles[0][:, 1]), gaps[0])
    diameter = max(line.get_markersize() for line in ax.get_lines()) / 72  # points to inches
    assert diameter < gaps[0]  # circles do not touch


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ((28, 28), "28 × 28 = 784 pixels"),
        ((28, 28, 1), "28 × 28 × 1 = 784 pixels"),
        ((16, 7, 7), "16 × 7 × 7 = 784 values"),
    ],
)
def test_a_first_flatten_layer_is_shown_in_the_label_of_the_input(shape, text):
    ax = plot_network(tutorial(make_layer("Flatten", "flatten", shape, (784,))))
    assert len(drawn_units(ax)[0]) == 4
    assert texts(ax)[0] == f"input\n{text}"
    assert not any("flatten" in words for words in texts(ax))


def test_a_layer_without_units_is_listed_below_the_previous_one():
    ax = plot_network(
        network(
            make_layer("InputLayer", "never_seen", (6,), (6,)),
            make_layer("Dropout", "early", (6,), (6,)),
            dense("a", 6, 4),
            make_layer("Activation", "bend", (4,), (4,), activation=softmax),
            make_layer("Scale", "scale", (4,), (4,), 1),
            make_layer("Flatten", "late", (2, 2), (4,)),
            make_layer("Pairs", "pairs", (4,), (2,)),
        )
    )
    assert texts(ax) == [
        "input\n6 values\nthen early (Dropout)",
        "a (Dense)\n4 units · sigmoid\n28 parameters\nthen bend (Activation) ·\nsoftmax\n"
        "then scale (Scale)\n1 parameter\nthen late (Flatten)",
        "pairs (Pairs)\n2 units",
    ]


def test_an_activation_may_be_an_object_or_missing():
    class Bend:
        def __call__(self, z): ...

    ax = plot_network(network(dense("a", 3, 1, Bend()), dense("b", 1, 1, None)))
    assert texts(ax)[1:] == [
        "a (Dense)\n1 unit · Bend\n4 parameters",
        "b (Dense)\n1 unit\n2 parameters",
    ]


def test_tinynets_own_model_can_be_drawn():
    layers = tinynet.layers
    model = tinynet.Sequential(
        [layers.Input((28, 28)), layers.Flatten(), layers.Dense(10, activation="softmax")]
    )
    ax = plot_network(model)
    assert texts(ax) == [
        "input\n28 × 28 = 784 pixels",
        f"{model.layers[-1].name} (Dense)\n10 units · softmax\n7,850 parameters",
    ]
    with pytest.raises(ValueError, match=r"Expected a built model with layers\. .*model.build"):
        plot_network(tinynet.Sequential([layers.Dense(10)]))


@pytest.mark.parametrize(
    "model",
    [
        network(),
        network(dense("a", 3, 2), built=False),
        network(SimpleNamespace(name="a", input_shape=None, output_shape=None)),
        network(make_layer("Dense", "a", (None, 3), (None, 2), 8)),
        784,
    ],
)
def test_a_model_without_shapes_cannot_be_drawn(model):
    with pytest.raises(ValueError, match="Expected a built model with layers") as error:
        plot_network(model)
    assert str(error.value).endswith("Write: model.build((None, 784))")


# Confusion, mistakes, weights, activations and distributions


def cells(ax):
    """Return the numbers of a confusion matrix by (row, column)."""
    found = {}
    for text in ax.texts:
        x, y = text.get_position()
        found[int(y), int(x)] = int(text.get_text().replace(",", ""))
    return found


def test_the_confusion_matrix_counts_predictions_by_true_class():
    labels = [0, 0, 0, 1, 2, 2]
    p = np.eye(3)[[0, 0, 2, 1, 1, 2]]
    ax = plotting.plot_confusion(labels, p)
    assert cells(ax) == {(0, 0): 2, (0, 2): 1, (1, 1): 1, (2, 1): 1, (2, 2): 1}
    assert ax.get_title().splitlines()[0] == "Confusion: 4 of 6 right (66.67 %)"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted class", "true class")
    assert cells(plotting.plot_confusion(np.eye(3)[labels], p)) == cells(ax)
    mistakes, diagonal = (image.get_array() for image in ax.images)
    assert mistakes[0, 2] == pytest.approx(1 / 3)  # as a share of the row
    assert mistakes[2, 1] == pytest.approx(1 / 2)
    assert np.trace(mistakes) == 0
    assert diagonal.mask.sum() == 6


def test_confusion_matrices_without_mistakes_and_of_many_classes():
    assert cells(plotting.plot_confusion([1, 0], np.eye(2)[[1, 0]])) == {(0, 0): 1, (1, 1): 1}
    many = plotting.plot_confusion(np.arange(100), np.eye(100))
    assert len(many.get_xticks()) == 20
    big = plotting.plot_confusion(np.zeros(12_345, int), np.eye(10)[np.zeros(12_345, int)])
    assert [text.get_text() for text in big.texts] == ["12,345"]


@pytest.mark.parametrize("classes", [2, 10, 30])
def test_the_numbers_of_a_confusion_matrix_fit_their_cells(classes):
    labels = np.repeat(np.arange(classes), classes * 3)
    p = np.eye(classes)[np.tile(np.arange(classes), classes * 3)]
    ax = plotting.plot_confusion(labels, p)
    ax.figure.canvas.draw()
    width = ax.get_window_extent().width / classes
    assert len(ax.texts) == classes**2
    assert max(text.get_window_extent().width for text in ax.texts) < width
    for text in (ax.title, ax.xaxis.label, ax.yaxis.label):
        box = text.get_window_extent()
        assert ax.figure.bbox.x0 <= box.x0 < box.x1 <= ax.figure.bbox.x1
        assert ax.figure.bbox.y0 <= box.y0 < box.y1 <= ax.figure.bbox.y1


def test_a_confusion_matrix_is_drawn_into_the_given_axes():
    figure, given = plt.subplots(1, 2)
    assert plotting.plot_confusion([0], [[1, 0]], ax=given[1]) is given[1]
    assert plt.get_fignums() == [figure.number]


@pytest.mark.parametrize("labels", [[0, 3], [0, -1], ["a", "b"], [0]])
def test_labels_that_are_not_classes_are_refused(labels):
    with pytest.raises(ValueError, match="Expected"):
        plotting.plot_confusion(labels, [[0.5, 0.3, 0.2]] * 2)


def test_the_worst_mistakes_come_first():
    ax = plotting.plot_mistakes(IMAGES, PROBABILITIES, LABELS)
    assert texts(ax) == ["0 (true 2)\n60 %, 10 %", "2 (true 0)\n60 %, 20 %"]
    assert ax.get_title().startswith("The worst of 2 mistakes\n")
    surer = PROBABILITIES.copy()
    surer[3] = [0.001, 0, 0.999]
    ax = plotting.plot_mistakes(IMAGES, surer, LABELS)
    assert texts(ax)[0] == "2 (true 0)\n>99 %, <1 %"
    assert np.array_equal(ax.images[0].get_array(), IMAGES[3])
    assert len(texts(plotting.plot_mistakes(IMAGES, surer, LABELS, 1, 1))) == 1


def test_mistakes_of_a_perfect_prediction_are_refused():
    with pytest.raises(ValueError, match="none: all are right"):
        plotting.plot_mistakes(IMAGES, PROBABILITIES, PROBABILITIES.argmax(axis=1))


def test_weights_are_drawn_as_images_with_a_scale_centred_at_zero():
    model = learned()
    kernel = np.arange(-45, 45).reshape(30, 3) / 10
    model.set_weights([kernel, np.zeros(3)])
    ax = plotting.plot_weights(model)
    assert texts(ax) == ["unit 0", "unit 1", "unit 2"]
    assert "What the units of 'first' look for" in ax.get_title()
    assert "up to ±4.5" in ax.get_title()
    for unit, image in enumerate(ax.images):
        assert np.allclose(image.get_array(), kernel[:, unit].reshape(6, 5))
        assert image.get_clim() == (-4.5, 4.5)
    red, green, blue, _ = ax.images[0].cmap(1.0)
    assert min(red, green) > 0.8 > 0.5 > blue  # values above 0 are yellow
    red, green, blue, _ = ax.images[0].cmap(0.0)
    assert blue > 0.25 > green > red  # values below 0 are blue


def test_weights_of_a_square_number_of_inputs_are_drawn_as_images():
    model = tinynet.Sequential([tinynet.Input((64,)), tinynet.layers.Dense(2)])
    assert plotting.plot_weights(model).images[0].get_array().shape == (8, 8)


@pytest.mark.parametrize(
    "model",
    [
        tinynet.Sequential([tinynet.layers.Dense(3)]),
        tinynet.Sequential([tinynet.Input((7,)), tinynet.layers.Dense(3)]),
        tinynet.Sequential([tinynet.Input((4, 4)), tinynet.layers.Dense(3)]),
        None,
    ],
)
def test_models_without_image_weights_are_refused(model):
    with pytest.raises(ValueError, match="Expected"):
        plotting.plot_weights(model)


def activated(*layers, shape=(6, 6)):
    front = [tinynet.Input(shape), tinynet.layers.Flatten()]
    return tinynet.Sequential([*front, *layers], name="net")


def test_the_activations_drawn_are_the_outputs_of_the_layers():
    dense = tinynet.layers.Dense
    model = activated(dense(10, "sigmoid"), dense(7, "tanh"), dense(3, "softmax"))
    image = np.linspace(0, 1, 36).reshape(6, 6)
    ax = plotting.plot_activations(model, image)
    first, second, third = ax.images
    assert np.allclose(first.get_array(), image)
    x = image.reshape(1, 36)
    for shown, layer, size in ((second, model.layers[1], 10), (third, model.layers[2], 7)):
        x = layer(x)
        assert np.allclose(shown.get_array().ravel()[:size], x[0])
        assert shown.get_array().mask.ravel()[size:].all()
    assert second.get_cmap().name == "gray_r"
    assert third.get_cmap().name == "cividis"  # tanh can be below 0
    assert third.get_clim() == (-np.abs(x).max(), np.abs(x).max())
    last = model.layers[3](x)[0]
    written = texts(ax)
    assert written[-7:-1] == [word for k, p in enumerate(last) for word in (f"{k}", f"{p:.2f}")]
    assert "dense: 10 units\nsigmoid, " in "\n".join(written)


def test_plot_activations_draws_no_bars_for_a_wide_last_layer():
    model = activated(tinynet.layers.Dense(50, "relu"))
    before = model.get_weights()
    ax = plotting.plot_activations(model, np.ones((6, 6)))
    assert len(ax.images) == 2
    for one, other in zip(before, model.get_weights(), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("model", "image"),
    [
        (activated(tinynet.layers.Dense(2)), np.ones((5, 5))),
        (activated(tinynet.layers.Dense(2)), np.ones((1, 6, 6))),
        (tinynet.Sequential([tinynet.layers.Dense(2)]), np.ones((6, 6))),
        (None, np.ones((6, 6))),
    ],
)
def test_images_and_models_that_do_not_fit_are_refused(model, image):
    with pytest.raises(ValueError, match="Expected"):
        plotting.plot_activations(model, image)


def recorded(activation="sigmoid", epochs=3):
    dense = tinynet.layers.Dense
    model = activated(*[dense(8, activation, name=f"layer_{k}") for k in range(4)])
    model.add(dense(3, "softmax", name="top"))
    model.compile("sgd", "sparse_categorical_crossentropy")
    record = tinynet.callbacks.Distributions()
    rng = np.random.default_rng(0)
    model.fit(
        rng.uniform(size=(12, 6, 6)), rng.integers(3, size=12), 4, epochs, 0, callbacks=[record]
    )
    return record, model


def test_distributions_are_the_quantiles_of_weights_and_gradients():
    record, model = recorded()
    assert record.epochs == [1, 2, 3]
    assert (
        list(record.weights) == list(record.gradients) == [*(f"layer_{k}" for k in range(4)), "top"]
    )
    for layer in model.layers[1:]:
        assert len(record.weights[layer.name]) == 3
        expected = np.quantile(abs(layer.kernel), record.shares)
        assert record.weights[layer.name][-1] == pytest.approx(list(expected))
        expected = np.quantile(abs(layer.kernel_gradient), record.shares)
        assert record.gradients[layer.name][-1] == pytest.approx(list(expected))
    model.fit(np.ones((4, 6, 6)), np.zeros(4, int), verbose=0, callbacks=[record])
    assert record.epochs == [1]  # a new fit starts a new record


def test_the_distributions_show_vanishing_gradients_of_sigmoids():
    record, _ = recorded()
    ax = plotting.plot_distributions(record)
    assert ax.get_yscale() == "log"
    medians = {name: np.mean(y) for name, (_, y) in curves(ax).items()}
    assert medians["layer_0"] < medians["layer_1"] < medians["layer_2"] < medians["top"] / 10
    assert curves(ax)["top"][0] == [1, 2, 3]
    assert curves(ax)["top"][1] == [row[2] for row in record.gradients["top"]]
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["top", "layer_3", "layer_2", "layer_1", "layer_0"]
    ax = plotting.plot_distributions(record, "weights")
    assert ax.get_ylabel().startswith("|W|")
    assert curves(ax)["top"][1] == [row[2] for row in record.weights["top"]]


def test_gradients_that_are_all_zero_can_be_drawn():
    record = tinynet.callbacks.Distributions()
    record.epochs, record.gradients = [1], {"dead": [[0.0] * 5], "half": [[0, 0, 1e-30, 1, 1]]}
    ax = plotting.plot_distributions(record)
    ax.figure.canvas.draw()
    assert ax.get_ylim()[0] > 1e-14  # smaller values are treated as 0
    assert set(curves(ax)) == {"dead: about 0", "half: about 0"}


def test_distributions_are_drawn_into_the_given_axes():
    record, _ = recorded(epochs=1)
    figure, given = plt.subplots(1, 2)
    assert plotting.plot_distributions(record, ax=given[1]) is given[1]
    assert plt.get_fignums() == [figure.number]
    ax = plotting.plot_distributions(record)
    ax.figure.canvas.draw()
    box = ax.get_legend().get_window_extent()
    assert box.x1 <= ax.figure.bbox.x1  # the legend is not cut off


@pytest.mark.parametrize("what", ["gradient", None, "epochs"])
def test_an_unknown_quantity_or_an_empty_record_is_refused(what):
    record, _ = recorded(epochs=1)
    with pytest.raises(ValueError, match="'gradients' or 'weights'"):
        plotting.plot_distributions(record, what)
    with pytest.raises(ValueError, match="callbacks="):
        plotting.plot_distributions(tinynet.callbacks.Distributions())


def test_lines_show_the_sign_of_a_weight_by_colour_and_style_and_its_size():
    model = activated(tinynet.layers.Dense(2), shape=(20,))
    kernel = np.zeros((20, 2))
    kernel[0, 0], kernel[1, 1], kernel[19, 0], kernel[10, 0] = (
        2,
        -1,
        -2,
        9,
    )  # kernel[10, 0] is not drawn
    model.set_weights([kernel, np.zeros(2)])
    (lines,) = [one for one in plot_network(model).collections if len(one.get_segments())]
    drawn = [*range(6), *range(14, 20)]
    assert len(lines.get_segments()) == 2 * len(drawn)
    place = {(i, j): 2 * n + j for n, i in enumerate(drawn) for j in range(2)}
    widths, colours = lines.get_linewidths(), lines.get_colors()
    assert widths[place[0, 0]] == pytest.approx(widths[place[19, 0]])
    assert widths[place[0, 0]] > 1.5 * widths[place[1, 1]] > 3 * widths[place[2, 0]]
    blue, red = (matplotlib.colors.to_rgba(c) for c in (pictures.BLUE, pictures.VERMILLION))
    assert tuple(colours[place[0, 0]]) == blue
    assert tuple(colours[place[1, 1]]) == tuple(colours[place[19, 0]]) == red
    broken = [style[1] is not None for style in lines.get_linestyles()]
    assert not broken[place[0, 0]]
    assert broken[place[1, 1]]
    assert broken[place[19, 0]]


def test_probabilities_may_exceed_1_by_rounding():
    p = np.array([[1.0000001, -1e-7]], "float32")
    assert plot_predictions(IMAGES[:1], p).texts[0].get_text() == "0\n>99 %"


@pytest.mark.parametrize("labels", [[-1] * 5, [3] * 5, list("abcde"), [np.nan] * 5])
def test_labels_that_are_not_class_numbers_are_refused(labels):
    with pytest.raises(ValueError, match="Expected class numbers from 0 to 2"):
        plotting.plot_mistakes(IMAGES, PROBABILITIES, labels)
    with pytest.raises(ValueError, match="Expected labels to be class numbers"):
        plot_predictions(IMAGES, PROBABILITIES, list("abcde"))
    with pytest.raises(ValueError, match="Expected at least one prediction"):
        plotting.plot_confusion([], np.empty((0, 3)))


def test_a_confusion_matrix_of_many_classes_has_no_numbers():
    classes = 60
    p = np.eye(classes)[RNG.integers(0, classes, 500)]
    ax = plotting.plot_confusion(RNG.integers(0, classes, 500), p)
    assert not ax.texts


def test_activations_of_a_vector_input_can_be_drawn():
    layers = [tinynet.Input((2,)), tinynet.layers.Dense(3, "tanh"), tinynet.layers.Dense(1)]
    model = tinynet.Sequential(layers)
    model.set_weights([np.eye(2, 3), np.zeros(3), [[-1], [0], [0]], [0.2]])
    ax = plotting.plot_activations(model, np.array([1.0, -1.0]))
    assert any("1 unit" in text and "units" not in text for text in texts(ax))
    assert texts(ax)[-1].startswith("dense_1: 1 unit") or "-0.56" in texts(ax)


def test_bars_of_negative_values_and_of_probabilities():
    _, ax = plt.subplots()
    from tinynet.plotting.learned import bars

    bars(ax, 0.0, np.array([0.5, -0.5, 0.25]), 1.0)
    spans = [area.get_paths()[0].get_extents() for area in ax.collections]
    zero = spans[0].x0
    assert spans[1].x1 == pytest.approx(zero)
    assert spans[0].x1 - zero == pytest.approx(zero - spans[1].x0)
    assert spans[2].x1 - zero == pytest.approx((spans[0].x1 - zero) / 2)
    _, ax = plt.subplots()
    bars(ax, 0.0, np.array([0.32]), 1.0)
    (area,) = ax.collections
    extents = area.get_paths()[0].get_extents()
    assert extents.width == pytest.approx(0.32)


def test_positive_and_negative_differ_in_greyscale():
    below, above = plt.get_cmap(plotting.learned.SIGNED_COLORMAP)([0.1, 0.9])[:, :3] @ [
        0.3,
        0.59,
        0.11,
    ]
    assert above - below > 0.4


def test_long_titles_are_wrapped_and_not_cut_off():
    model = learned()
    model.name = "a name that is very long, longer than any line of a title should ever be " * 2
    for ax in (plot_network(model), plotting.plot_activations(model, np.eye(6)[:, :5])):
        ax.figure.canvas.draw()
        box = ax.title.get_window_extent()
        assert ax.figure.bbox.x0 <= box.x0 < box.x1 <= ax.figure.bbox.x1
        assert ax.figure.bbox.y0 <= box.y0 < box.y1 <= ax.figure.bbox.y1


def test_the_lines_of_many_layers_can_be_distinguished():
    record = tinynet.callbacks.Distributions()
    record.epochs = [1, 2]
    record.gradients = {f"layer_{n}": [[1e-3 * (n + 1)] * 5] * 2 for n in range(8)}
    ax = plotting.plot_distributions(record)
    lines = ax.get_lines()
    assert len({(line.get_marker(), tuple(line.get_color())) for line in lines}) == 8
    brightness = [np.dot(line.get_color()[:3], [0.3, 0.59, 0.11]) for line in lines]
    assert brightness == sorted(brightness)
    assert not ax.collections
    assert ax.get_ylabel() == "|∂L/∂W|, median"
