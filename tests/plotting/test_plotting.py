"""The figures, checked by what was drawn: pixels, texts, marks and lines, and their positions."""

import io
import itertools
import pathlib
import re
import sys
from types import SimpleNamespace

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb, to_rgba
from networks import SPARSE, network, random_weights, samples, tutorial
from numpy.testing import assert_allclose, assert_array_equal, assert_equal

import tinynet
from tinynet import plotting
from tinynet.callbacks import Distributions, LivePlot
from tinynet.plotting import pictures, plot_digits, plot_history, plot_network, plot_predictions
from tinynet.plotting.learned import bars, plot_activations, plot_confusion, plot_distributions
from tinynet.plotting.pictures import GREY, NEGATIVE, POSITIVE, WRONG

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


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def curves(ax):
    """Return the lines of an Axes by their labels: {"training": (x, y)}."""
    return {line.get_label(): tuple(map(list, line.get_data())) for line in ax.get_lines()}


def extents(ax):
    """Return the box of each filled area."""
    return [area.get_paths()[0].get_extents() for area in ax.collections]


def sigmoid(): ...


def layer(kind, name, before, after, count=0, **attributes):
    """Return an object with all that `plot_network` asks of a layer."""
    own = type(kind, (SimpleNamespace,), {"count_params": lambda self: count})
    return own(name=name, input_shape=(None, *before), output_shape=(None, *after), **attributes)


def dense(name, inputs, units, activation=sigmoid):
    count = (inputs + 1) * units
    return layer("Dense", name, (inputs,), (units,), count, units=units, activation=activation)


def fake(*layers, built=True):
    return SimpleNamespace(name="fake", built=built, layers=list(layers))


def looking(*layers, inputs=(6, 6), name="net"):
    """Return a model of images."""
    model = network(tinynet.layers.Flatten(), *layers, inputs=inputs)
    model.name = name
    return model


def record_of(**gradients):
    """Return what `Distributions` records in two epochs that are the same."""
    gradients = {name: [row] * 2 for name, row in gradients.items()}
    return SimpleNamespace(epochs=[1, 2], gradients=gradients)


def run(epochs, count=0):
    """Return the logs of some epochs, some of them with a validation."""
    own = {"val_own": [3.0] * (epochs + 1)}  # of the user, for no curve
    return {"loss": [1.0] * epochs, "val_loss": list(range(count)), **own}


RNG = np.random.default_rng(0)
IMAGES = np.arange(5 * 6 * 6).reshape(5, 6, 6)
P = np.array([[0.1, 0.7, 0.2], [0.6, 0.3, 0.1], [0, 0, 1], [0.2, 0.2, 0.6], [0.5, 0.1, 0.4]])
LABELS = [1, 2, 2, 0, 0]  # wrong predictions: the second (0 instead of 2), the fourth (2, of 0)
LOSS, VAL_LOSS = [4, 3, 2, 1], [4, 2, 3, 5]
ACC, VAL_ACC = [0.5, 0.7, 0.8, 0.9], [0.4, 0.6, 0.8, 0.7]
HISTORY = {"acc": ACC, "loss": LOSS, "val_acc": VAL_ACC, "val_loss": VAL_LOSS}
ROW = [1e-4, 1e-3, 1e-2, 1e-1, 1]
LONG = "a name that is very long, longer than any line of a title should ever be " * 2
DEEP = fake(*[dense(f"a_dense_layer_of_some_depth_{k}", 4096, 4096) for k in range(10)])
NOISY = fake(*[layer("Noise", f"noise_{k}", (9,), (9,)) for k in range(9)])

PICTURES = {
    "digits": lambda **ax: plot_digits(IMAGES, LABELS, **ax),
    "one digit": lambda **ax: plot_digits(IMAGES[:1], **ax),
    "predictions": lambda **ax: plot_predictions(IMAGES, P, LABELS, 5, 1, **ax),
    "one prediction": lambda **ax: plot_predictions(IMAGES[:1], [[0, 0, 1]], [0], **ax),
    "two-digit classes": lambda **ax: plot_predictions(IMAGES, np.eye(50)[-5:], [44] * 5, **ax),
    "mistakes": lambda **ax: plotting.plot_mistakes(IMAGES, P, LABELS, **ax),
    "weights": lambda **ax: plotting.plot_weights(looking((3,)), 2, 2, **ax),
    "activations": lambda **ax: plot_activations(looking((3,), name=LONG), IMAGES[0], **ax),
    "network": lambda **ax: plot_network(tutorial(), **ax),
    "long name": lambda **ax: plot_network(looking((3,), name=LONG), **ax),
    "one layer": lambda **ax: plot_network(fake(dense("dense", 2, 1)), **ax),
    "ten layers": lambda **ax: plot_network(DEEP, **ax),
    "layers without units": lambda **ax: plot_network(NOISY, **ax),
    "confusion": lambda **ax: plot_confusion(LABELS, P, **ax),
    "history": lambda **ax: plot_history({"loss": [2, 1]}, **ax)[0],
    "distributions": lambda **ax: plot_distributions(record_of(a=ROW, b=ROW), **ax),
}


@pytest.mark.parametrize("draw", [*PICTURES.values(), LivePlot], ids=[*PICTURES, "live"])
def test_without_matplotlib_the_error_contains_the_install_command(draw, monkeypatch):
    for module in [module for module in sys.modules if module.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match="python -m pip install matplotlib"):
        draw()


@pytest.mark.parametrize("name", PICTURES)
def test_nothing_is_cut_off_and_no_two_texts_overlap_and_given_axes_are_used(name):
    ax = PICTURES[name]()
    assert plt.get_fignums() == [ax.figure.number]  # one new figure
    assert ax.get_title()
    ax.figure.canvas.draw()
    whole, page = ax.get_tightbbox(), ax.figure.bbox
    assert page.x0 <= whole.x0 < whole.x1 <= page.x1
    assert page.y0 <= whole.y0 < whole.y1 <= page.y1
    written = [text.get_window_extent() for text in [*ax.texts, ax.title] if text.get_text()]
    below = [] if name == "confusion" else [image.get_window_extent() for image in ax.images]
    for k, box in enumerate(written):
        assert not any(box.overlaps(other) for other in [*written[:k], *below])
    figure, given = plt.subplots(1, 2)
    assert PICTURES[name](ax=given[1]) is given[1]
    assert plt.get_fignums() == [ax.figure.number, figure.number]
    assert [one.has_data() for one in given] == [False, True]


@pytest.mark.parametrize("name", ["digits", "network"])
def test_text_shrinks_in_small_axes_and_does_not_grow_in_large_ones(name):
    figures = [plt.figure(figsize=(width, 3 * width)) for width in (3, 6, 12, 24)]
    sizes = [PICTURES[name](ax=one.add_subplot()).texts[0].get_fontsize() for one in figures]
    assert sizes == pytest.approx(sorted(sizes))
    assert sizes[1] == pytest.approx(2 * sizes[0])
    assert sizes[-1] == pytest.approx(9)


UNBUILT = tinynet.Sequential([tinynet.layers.Dense(3)])
NO_IMAGES = [np.zeros(s) for s in [(784,), (28, 56), (2, 8, 8, 3), (0, 8, 8)]] + [[["a"]]]
NO_P = [P[:4], P[:, 0], P[None], P * 2, P - 0.1, P * np.nan]
NO_CLASSES = [[-1] * 5, [3] * 5, list("abcde"), [np.nan] * 5]
GRIDS = [(0, 3), (3, 0), (-1, -1)]
NO_NETWORKS = [784, UNBUILT, fake(), fake(dense("a", 3, 2), built=False)]
NO_NETWORKS += [fake(SimpleNamespace(input_shape=s, output_shape=s)) for s in (None, (None,) * 2)]
NO_HISTORY = [{}, {"loss": []}, {"acc": [1, 2]}, [1, 2], None]
UNCLEAR = [(2, None), (2, 3), (11, None), (3, [1, 7])]  # 2 values fit every 4th and 5th epoch
# A call, arguments that it refuses, and what it says it expected; SHAPE is the argument's.
IMAGE = r"numbers of shape \(n, height, width\).*Received: .*SHAPE.*images.reshape\(-1, 28, 28\)$"
LISTS = "lists of equal length, including 'loss'"
FIVE = r"5 labels\. Received: shape SHAPE\. Write"
ROWS = r"a row of probabilities, from 0 to 1, for each of 5 images.*shape SHAPE.*model.predict"
SAMPLE = r"a built model, and one sample of its input's shape\. Received: SHAPE"
FREQUENCY = r"validation_freq of.*: (2|3|11) values for 10 epochs.*\(h, validation_freq=n\)$"
FIT = "'gradients' or 'weights'.*callbacks="
REFUSED = {
    "images": (plot_digits, NO_IMAGES, IMAGE),
    "images of predictions": (lambda x: plot_predictions(x, [[1.0]]), NO_IMAGES, IMAGE),
    "labels of images": (lambda y: plot_digits(IMAGES, y), [[1, 2, 3]], FIVE),
    "labels": (lambda y: plot_predictions(IMAGES, P, y), [[1, 2, 3]], FIVE),
    "words": (lambda y: plot_predictions(IMAGES, P, y), [list("abcde")], "labels to be class n"),
    "grid": (lambda n: plot_digits(IMAGES, None, *n), GRIDS, "rows and columns of 1 or more"),
    "columns": (lambda n: plot_predictions(IMAGES, P, None, *n), GRIDS, "rows and columns of 1"),
    "probabilities": (lambda p: plot_predictions(IMAGES, p, LABELS), NO_P, ROWS),
    "wrong": (lambda n: plot_predictions(IMAGES, P, wrong=n), [3], r"labels for.*, wrong=8\)$"),
    "classes": (lambda y: plotting.plot_mistakes(IMAGES, P, y), NO_CLASSES, "class numbers from 0"),
    "no mistake": (lambda y: plotting.plot_mistakes(IMAGES, P, y), [P.argmax(1)], ".*are right"),
    "confused": (lambda y: plot_confusion(y, P), NO_CLASSES, "class numbers from 0 to 2"),
    "one label": (lambda y: plot_confusion(y, P), [[0]], ".*for each of 1 images"),
    "none": (lambda y: plot_confusion(y, np.empty((0, 3))), [[]], "at least one predict"),
    "weights": (plotting.plot_weights, [UNBUILT, None], "a built model with a Dense layer"),
    "a long list": (plotting.plot_weights, [[0.1] * 999], r".* Received: \[.{,300} …\. Write: "),
    "7 inputs": (plotting.plot_weights, [network((3,), inputs=(7,))], "numbers of shape"),
    "no Flatten": (plotting.plot_weights, [network((3,), inputs=(4, 4))], "a Dense layer directly"),
    "image": (lambda x: plot_activations(looking((2,)), x), [IMAGES[:1], IMAGES[0, 1:]], SAMPLE),
    "model": (lambda m: plot_activations(m, IMAGES[0]), [UNBUILT, None], "a built model, and one"),
    "word": (lambda w: plot_distributions(record_of(a=ROW), w), ["gradient", None, "epochs"], FIT),
    "record": (plot_distributions, [Distributions()], FIT),
    "history": (plot_history, NO_HISTORY, rf"{LISTS}\. Received: .*\. Write: plot_history\("),
    "lengths": (plot_history, [{"loss": [1], "a": [2, 3]}], ".* dict, lengths {'loss': 1, 'a': 2}"),
    "epochs": (lambda n: plot_history(run(10, n[0]), validation_freq=n[1]), UNCLEAR, FREQUENCY),
    "Axes": (lambda ax: plot_history(HISTORY, ax=ax), [[None] * 3], r"1 or 2 Axes\. Received: 3\."),
    "network": (plot_network, NO_NETWORKS, r"a built model with.*model.build\(\(None, 784\)\)$"),
}


@pytest.mark.parametrize(("draw", "arguments", "expected"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_drawn_is_refused(draw, arguments, expected):
    for argument in arguments:
        words = expected.replace("SHAPE", re.escape(str(np.array(argument, object).shape)))
        with pytest.raises(ValueError, match=f"^Expected {words}"):
            draw(argument)
        assert plt.get_fignums() == []


# Colours

# Linear RGB as people without red or green cones see it: Machado, Oliveira and Fernandes, "A
# physiologically-based model for simulation of color vision deficiency", 2009, severity 1.
PROTANOPIA = [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]]
DEUTERANOPIA = [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]]
TO_XYZ = [[0.4339, 0.3763, 0.1899], [0.2126, 0.7152, 0.0722], [0.0177, 0.1095, 0.8729]]  # white: 1


def linear(colours):
    rgb = np.array([to_rgb(colour) for colour in colours])
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize("seen", [np.eye(3), PROTANOPIA, DEUTERANOPIA])
def test_colours_that_differ_in_meaning_differ_for_all_eyes(seen):
    rgb = np.clip(linear([POSITIVE, NEGATIVE, GREY, WRONG]) @ np.transpose(seen), 0, 1)
    x, y, z = np.cbrt(rgb @ np.transpose(TO_XYZ)).T
    lab = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)
    distance = np.linalg.norm(lab[:, None] - lab, axis=2)  # of black and white, 100
    assert distance[0, 1] > 100
    assert distance[2, :2].min() > 40
    assert distance[3, :3].min() > 20


def test_signs_differ_in_grey_and_a_larger_value_is_darker():
    colours = pictures.signed_colours(3)
    assert (colours["vmin"], colours["vmax"]) == (-3, 3)
    shades = colours["cmap"](np.linspace(0, 1, 255))[:, :3]
    assert_allclose(shades[[0, 127, 254]], [to_rgb(c) for c in (NEGATIVE, GREY, POSITIVE)])
    luminance = linear(shades) @ TO_XYZ[1]
    assert (np.diff(luminance) < 0).all()
    assert (luminance[0] + 0.05) / (luminance[254] + 0.05) > 4.5
    below, above = shades[[25, 229]] @ [0.3, 0.59, 0.11]
    assert below - above > 0.35


def test_the_page_has_the_same_colours_in_both_themes():
    css = (pathlib.Path(tinynet.__file__).parent / "web" / "page.css").read_text("utf-8")
    for name, colour in (("positive", POSITIVE), ("negative", NEGATIVE), ("zero", GREY)):
        assert re.findall(rf"--{name}: (#\w+);", css) == [colour]


# Digits


@pytest.mark.parametrize("shape", [(5, 6, 6), (5, 36), (5, 6, 6, 1), (5, 4, 9)])
@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32", "float16"])
def test_digits_are_the_pixels_of_the_images(shape, dtype):
    ax = plot_digits(IMAGES.astype(dtype).reshape(shape), rows=2, columns=3)
    expected = IMAGES.reshape(5, 4, 9) if shape == (5, 4, 9) else IMAGES
    for drawn, image in zip(ax.images, expected, strict=True):
        assert_array_equal(drawn.get_array(), image)
        assert drawn.get_clim() == (0, 179)  # one grey scale for all images
        assert [drawn.to_rgba(ink)[:3] for ink in (0, 179)] == [(1, 1, 1), (0, 0, 0)]
        left, right, bottom, top = drawn.get_extent()
        assert (bottom - top) / (right - left) == pytest.approx(image.shape[0] / image.shape[1])


def test_digits_are_upright_in_rows_with_labels_below_and_no_more_than_fit_the_grid():
    ax = plot_digits([*IMAGES, *IMAGES], list("abcdefghij"), rows=2, columns=3)
    assert texts(ax) == list("abcdef")
    ax.figure.canvas.draw()
    boxes = [image.get_window_extent() for image in ax.images]
    assert boxes[0].x0 < boxes[1].x0 < boxes[2].x0
    assert [box.x0 for box in boxes[3:]] == [box.x0 for box in boxes[:3]]
    assert boxes[3].y1 < boxes[0].y0
    for box, text in zip(boxes, ax.texts, strict=True):
        label = text.get_window_extent()
        assert (label.x0 + label.x1) / 2 == pytest.approx((box.x0 + box.x1) / 2, abs=1)
        assert 0 < box.y0 - label.y1 < 10
    picture = np.asarray(ax.figure.canvas.buffer_rgba())[..., 0]
    middle = int((boxes[4].x0 + boxes[4].x1) / 2)
    row = [picture[-1 - int(y), middle] for y in (boxes[4].y1 - 5, boxes[4].y0 + 5)]
    assert row[0] > row[1]  # values increase from the top left, so the top is lighter


@pytest.mark.parametrize("labels", [[1, 0], [1.0, 0.0], np.eye(2)[[1, 0]], [[1], [0]]])
def test_labels_may_be_numbers_or_one_hot(labels):
    assert texts(plot_digits(IMAGES[:2], labels)) == ["1", "0"]
    captions = [caption("1, 1, >99 %"), caption("1, 0, >99 %")]
    assert texts(plot_predictions(IMAGES[:2], [[0, 1]] * 2, labels)) == captions


def test_images_with_nan_and_infinity_are_drawn():
    ax = plot_digits(np.array([[[np.nan, 1.0], [3.0, np.inf]]]))
    assert ax.images[0].get_clim() == (1, 3)
    ax.figure.canvas.draw()


# Predictions


CAPTIONS = ["1, 1, 70 %", "0, 2, 60 %", "2, 2, >99 %", "2, 0, 60 %", "0, 0, 50 %"]


def caption(said):
    """Return a caption such as 'predicted 4, labelled 9' on the lines that it has in the figure."""
    return "predicted {}\nlabelled {}\n{}".format(*said.split(", "))


@pytest.mark.parametrize(
    ("wrong", "order"),
    [(0, [0, 1, 2, 3, 4]), (1, [1, 0, 2, 3, 4]), (2, [1, 3, 0, 2, 4]), (9, [1, 3, 0, 2, 4])],
)
def test_each_prediction_has_a_caption_and_bars_and_a_wrong_one_marks(wrong, order):
    ax = plot_predictions(IMAGES, P, LABELS, 2, 3, wrong=wrong)
    assert texts(ax) == [caption(CAPTIONS[k]) for k in order]
    for k, image, text, drawn in zip(order, ax.images, ax.texts, ax.collections, strict=True):
        assert_array_equal(image.get_array(), IMAGES[k])
        left, right, bottom, top = image.get_extent()
        bad, step = k in (1, 3), (right - left) / 3
        # Everything stands above the next row, which begins 1.07 inches below the image.
        middles = [(line, *line.get_xydata().mean(axis=0)) for line in ax.get_lines()]
        marks = [m for m, x, y in middles if left < x < right and top < y < bottom + 1]
        assert [m.get_marker() for m in marks] == ["None", *"X" * bad, "None", *"^" * bad]
        assert_allclose(marks[0].get_xdata(), [left, right, right, left, left])
        assert_allclose(marks[0].get_ydata(), [top, top, bottom, bottom, top])
        assert (marks[0].get_linewidth() > 2) == (text.get_fontweight() == "bold") == bad
        shades = [text.get_color(), *(m.get_color() for m in marks)]
        assert shades == ([WRONG] * 3 + [GREY, WRONG] if bad else ["black", GREY, GREY])
        ends = np.array(drawn.get_segments())  # (classes, from and to, x and y)
        assert_allclose(ends[:, 0, 0], left + step * (np.arange(3) + 0.5))
        assert_allclose(ends[:, 0, 1] - ends[:, 1, 1], (pictures.BARS - 0.13) * P[k], atol=1e-6)
        assert (ends[:, :, 1] > bottom).all()  # below the image, as y increases downwards
        assert 0.5 * step < drawn.get_linewidths()[0] / 72 < step  # points to inches
        colours = drawn.get_colors()[:, :3]
        assert colours.sum(axis=1).argmin() == P[k].argmax()
        assert tuple(colours[P[k].argmax()]) == to_rgb(WRONG if bad else "black")
        if bad:
            assert_allclose(marks[-1].get_xydata()[0], ends[LABELS[k], 0] + [0, 0.05])


RIGHT = "Predictions: 3 of 5 right (60.0 %)"
BARS = "%: probability of the predicted class; bars: of classes 0 to 2"
MARKS = "red, crossed: wrong; triangle: labelled class"


@pytest.mark.parametrize(
    ("labels", "title", "marks"),
    [
        ((LABELS,), [RIGHT, BARS, MARKS], "X^"),
        ((LABELS, 1, 1), [RIGHT, BARS], ""),  # the wrong predictions are not drawn
        ((P.argmax(axis=1),), ["Predictions: 5 of 5 right (100.0 %)", BARS], ""),
        (([9] * 5,), ["Predictions: 0 of 5 right (0.0 %)", BARS, MARKS], "X"),  # a class has no bar
        ((), ["Predictions", BARS], ""),
    ],
)
def test_the_title_counts_right_predictions_and_explains_marks_that_are_there(labels, title, marks):
    ax = plot_predictions(IMAGES, P, *labels)
    assert ax.get_title().split() == " ".join(title).split()  # it may be wrapped
    assert {line.get_marker() for line in ax.get_lines()} == {"None", *marks}


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [
        ([[0.9], [0.2]], ["1\n90 %", "0\n80 %"]),  # of one sigmoid unit
        ([[0.006, 0.994], [0.004, 0.996]], ["1\n99 %", "1\n>99 %"]),
        (np.float32([[1.0000001, -1e-7]] * 2), ["0\n>99 %"] * 2),  # beyond 1 by rounding
    ],
)
def test_captions_without_labels(probabilities, expected):
    said = texts(plot_predictions(IMAGES[:2], probabilities))
    assert said == [f"predicted {words}" for words in expected]


def test_the_worst_mistakes_come_first():
    ax = plotting.plot_mistakes(IMAGES, P, LABELS)
    assert texts(ax) == [f"{caption('0, 2, 60 %')}, 10 %", f"{caption('2, 0, 60 %')}, 20 %"]
    title, said = " ".join(ax.get_title().split()), "the predicted and of the labelled class"
    assert title == f"The worst of 2 mistakes %: the probabilities of {said}"
    surer = P.copy()
    surer[3] = [0.001, 0, 0.999]
    ax = plotting.plot_mistakes(IMAGES, surer, LABELS, 1, 1)
    assert texts(ax) == [f"{caption('2, 0, >99 %')}, <1 %"]
    assert_array_equal(ax.images[0].get_array(), IMAGES[3])


# History


ALL = [1, 2, 3, 4]
ODD = {"loss": [1, np.nan, np.inf, 0], "val_loss": [np.nan, 3, -np.inf, 0]}


RUNS = [
    (HISTORY, None, ALL, ALL), ({**HISTORY, "top5": ACC, "val_top5": LOSS}, None, ALL, ALL),
    (HISTORY, None, [5, 6, 7, 8], [5, 6, 7, 8]),  # initial_epoch=4
    (ODD, None, ALL, ALL), ({"loss": LOSS, "learning_rate": LOSS}, None, ALL, []),
    (run(1), None, [1], []), (run(2), None, [1, 2], []), (run(100), None, range(1, 101), []),
    (run(6, 3), None, range(1, 7), [2, 4, 6]), (run(10, 3), None, range(1, 11), [3, 6, 9]),
    (run(10, 2), 4, range(1, 11), [4, 8]), (run(10, 2), 5, range(1, 11), [5, 10]),
    (run(10, 2), [1, 7], range(1, 11), [1, 7]), (run(6, 2), (3, 5, 8), range(1, 7), [3, 5]),
    (run(5, 2), None, range(6, 11), [6, 9]),  # only every third epoch fits
]  # fmt: skip


@pytest.mark.parametrize(("logs", "freq", "epochs", "validated"), RUNS)
def test_history_draws_every_value_at_its_epoch(logs, freq, epochs, validated):
    history = SimpleNamespace(history=logs, epoch=np.array(epochs) - 1)
    axes = plot_history(history, validation_freq=freq)
    metrics = [name for name in ("acc", "top5") if name in logs]
    assert len(axes) == len(axes[0].figure.axes) == 1 + bool(metrics)
    axes[0].figure.canvas.draw()
    for ax, names in zip(axes, [["loss"], metrics], strict=False):
        expected = {}
        for name in names:
            what = f"{name}, " if len(names) > 1 else ""
            expected[f"{what}training"] = (list(epochs), logs[name])
            if validated:
                expected[f"{what}validation"] = (validated, logs[f"val_{name}"])
        assert_equal(curves(ax), expected)
        assert legend(ax) == list(expected)  # no epoch is called the best: this may be test data
        assert len({line.get_color() for line in ax.get_lines()}) == len(expected)
        for line in ax.get_lines():
            style = "s--" if line.get_label().endswith("validation") else "o-"
            assert line.get_marker() + line.get_linestyle() == style
        low, high = ax.get_xlim()
        assert (low, high) == (epochs[0] - 0.5, epochs[-1] + 0.5)
        assert {tick.is_integer() for tick in ax.get_xticks() if low < tick < high} == {True}


def test_the_axes_of_a_history_are_labelled_and_may_be_given():
    figure, given = plt.subplots(1, 3)
    twice = SimpleNamespace(history=HISTORY, epoch=[0, 1])  # passed to fit twice
    assert list(plot_history(twice, ax=given[:2])) == list(given[:2])
    assert curves(given[0])["training"] == (ALL, LOSS)
    labels = [("epoch", "loss (mean over samples)"), ("epoch", "acc (share of samples)"), ("", "")]
    assert [(ax.get_xlabel(), ax.get_ylabel()) for ax in given] == labels
    assert [ax.get_title() for ax in given] == ["Loss", "Metrics", ""]
    assert list(plot_history(HISTORY, ax=given[2])) == [given[2]]
    assert given[2].get_title() == "Loss"
    assert plt.get_fignums() == [figure.number]
    assert plot_history({"loss": [1], "mse": [0]})[1].get_ylabel() == "mse"


# Network


def drawn_units(ax):
    """Return the circles of each column, and the dots for omitted units: two lists of (x, y)."""
    lines = ax.get_lines()
    largest = max(line.get_markersize() for line in lines)
    circles = [line.get_xydata() for line in lines if line.get_markersize() == largest]
    return circles, [line.get_xydata() for line in lines if line.get_markersize() < largest]


MANY = [
    layer("InputLayer", "never_seen", (6,), (6,)), layer("Dropout", "early", (6,), (6,)),
    dense("a", 6, 4), layer("Activation", "bend", (4,), (4,), activation=sigmoid),
    layer("Scale", "scale", (4,), (4,), 1), layer("Flatten", "late", (2, 2), (4,)),
    layer("Pairs", "pairs", (4,), (2,)),
]  # fmt: skip
BELOW_A = "then bend (Activation) ·\nsigmoid\nthen scale (Scale)\n1 parameter\nthen late (Flatten)"


def test_the_columns_of_a_network_are_labelled():
    def labels(model):
        ax = plot_network(model)
        found = [text for text in texts(ax) if " more" not in text]
        assert len(drawn_units(ax)[0]) == len(found)
        return found

    assert labels(tutorial()) == [
        "input\n28 × 28 = 784 pixels",
        "dense (Dense)\n100 units · sigmoid\n78,500 parameters",
        "dense_1 (Dense)\n144 units · sigmoid\n14,544 parameters",
        "dense_2 (Dense)\n10 units · softmax\n1,450 parameters",
    ]
    assert labels(fake(dense("a", 784, 1)))[0] == "input\n784 values"
    assert labels(looking((3,), inputs=(28, 28, 1)))[0] == "input\n28 × 28 × 1 = 784 pixels"
    assert labels(looking((3,), inputs=(16, 7, 7)))[0] == "input\n16 × 7 × 7 = 784 values"
    assert labels(fake(*MANY)) == [
        "input\n6 values\nthen early (Dropout)",
        f"a (Dense)\n4 units · sigmoid\n28 parameters\n{BELOW_A}",
        "pairs (Pairs)\n2 units",
    ]
    one = labels(fake(dense("a", 1, 1, SimpleNamespace()), dense("b", 1, 1, None)))
    assert one[:2] == ["input\n1 value", "a (Dense)\n1 unit · SimpleNamespace\n2 parameters"]
    assert one[2] == "b (Dense)\n1 unit\n2 parameters"


def test_the_title_of_a_network_says_which_lines_are_drawn():
    assert plot_network(tutorial()).get_title().splitlines() == [
        "sequential: 94,494 parameters",
        "lines: the 3 strongest weights into each unit, from the units drawn",
        "blue: positive; yellow, dashed: negative; wider: larger within the layer",
    ]
    assert plot_network(fake(dense("a", 2, 1))).get_title() == "fake: 3 parameters"


COLUMNS = [
    ((784, 100, 144, 10), [6, 6, 6, 10], ["778 more", "94 more", "138 more"]),
    ((2, 1), [2, 1], []), ((10, 11), [10, 6], ["5 more"]),
    ((4096,) * 11, [6] * 11, ["4,090 more"] * 11),
]  # fmt: skip


@pytest.mark.parametrize(("sizes", "shown", "more"), COLUMNS)
def test_columns_are_centred_and_of_a_wide_layer_units_are_omitted(sizes, shown, more):
    layers = [dense(f"d{k}", *pair) for k, pair in enumerate(itertools.pairwise(sizes))]
    ax = plot_network(fake(*layers))
    circles, dots = drawn_units(ax)
    counts = [text for text in ax.texts if " more" in text.get_text()]
    labels = [text for text in ax.texts if text not in counts]
    assert [len(column) for column in circles] == shown
    assert [text.get_text() for text in counts] == more
    assert len(ax.collections) + len(ax.get_lines()) + len(ax.patches) <= 3 * len(shown)
    xs = [column[0, 0] for column in circles]
    assert xs == sorted(xs)
    assert [text.get_position()[0] for text in labels] == pytest.approx(xs)
    lowest = max(column[:, 1].max() for column in circles)  # y increases downwards
    assert all(text.get_position()[1] > lowest + 0.1 for text in labels)
    middle, gap = circles[0][:, 1].mean(), np.diff(circles[0][:, 1])[0]
    assert max(line.get_markersize() for line in ax.get_lines()) / 72 < gap  # circles do not touch
    for column, size in zip(circles, sizes, strict=True):
        assert np.ptp(column[:, 0]) == 0
        assert column[:, 1].mean() == pytest.approx(middle)
        gaps = np.diff(column[:, 1])
        assert_allclose(gaps if size <= 10 else np.delete(gaps, 2), gap)
    wide = [column for column, size in zip(circles, sizes, strict=True) if size > 10]
    for column, few, text in zip(wide, dots, counts, strict=True):  # in the gap
        assert text.get_position() == pytest.approx((column[0, 0], middle))
        assert few.mean(axis=0) == pytest.approx((column[0, 0], middle))
        assert column[2, 1] + 0.1 < few[:, 1].min() < few[:, 1].max() < column[3, 1] - 0.1
    for lines, (left, right) in zip(ax.collections, itertools.pairwise(circles), strict=True):
        ends = {tuple(np.ravel(segment).round(6)) for segment in lines.get_segments()}
        assert ends == {(*a.round(6), *b.round(6)) for a in left for b in right}  # none is known
        assert all(unit.get_zorder() > lines.get_zorder() for unit in ax.get_lines())


def test_lines_are_the_strongest_weights_and_show_their_signs_and_sizes():
    kernel = RNG.normal(size=(20, 4)).astype("float32")
    kernel[10] = 9  # of a unit that is not drawn
    kernel[:, 3] = 0
    ax = plot_network(network((4,), inputs=(20,), weights=[kernel, np.zeros(4)]))
    sides, _ = drawn_units(ax)
    (lines,) = ax.collections
    seen = kernel[[0, 1, 2, 17, 18, 19]]
    seen[np.abs(seen) < np.sort(np.abs(seen), axis=0)[-3]] = 0  # all but the 3 strongest
    found = np.zeros_like(seen)
    looks = lines.get_colors(), lines.get_linestyles(), lines.get_linewidths()
    for ends, colour, (_, dashes), width in zip(lines.get_segments(), *looks, strict=True):
        sign = [to_rgba(c) for c in (GREY, POSITIVE, NEGATIVE)].index(tuple(colour))
        assert (dashes is None) == (sign < 2)
        i, j = (abs(side - end).sum(axis=1).argmin() for side, end in zip(sides, ends, strict=True))
        found[i, j] = (0, 1, -1)[sign] * (width - 0.4)
    assert_allclose(found, seen / np.abs(seen).max() * 2.4, rtol=1e-5)
    assert len(lines.get_segments()) == 12  # those of the zeros are grey


def test_a_saved_network_is_a_small_file():
    model, file = tutorial(), io.BytesIO()
    model.set_weights(random_weights(RNG, 784, 100, 144, 10))
    plot_network(model).figure.savefig(file, dpi=150)
    assert len(file.getvalue()) <= 100_000


# Confusion, weights, activations and distributions


def cells(ax):
    """Return the numbers of a confusion matrix by (row, column)."""
    return {text.get_position()[::-1]: text.get_text() for text in ax.texts}


def test_the_confusion_matrix_counts_predictions_by_labelled_class():
    labels, p = [0, 0, 0, 1, 2, 2], np.eye(3)[[0, 0, 2, 1, 1, 2]]
    ax = plot_confusion(labels, p)
    expected = {(0, 0): "2", (0, 2): "1", (1, 1): "1", (2, 1): "1", (2, 2): "1"}
    assert cells(ax) == cells(plot_confusion(np.eye(3)[labels], p)) == expected
    assert ax.get_title().splitlines()[0] == "Confusion: 4 of 6 right (66.67 %)"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted class", "labelled class")
    mistakes, diagonal = (image.get_array() for image in ax.images)
    assert_allclose(mistakes, [[0, 0, 1 / 3], [0, 0, 0], [0, 1 / 2, 0]])  # as shares of the row
    assert_array_equal(diagonal.mask, ~np.eye(3, dtype=bool))
    assert ax.images[0].cmap(1.0) == to_rgba(WRONG)
    assert cells(plot_confusion([1, 0], np.eye(2)[[1, 0]])) == {(0, 0): "1", (1, 1): "1"}
    many = plot_confusion(np.arange(100), np.eye(100))
    assert len(many.get_xticks()) == len(many.get_yticks()) == 20
    assert not many.texts  # they would be unreadable


@pytest.mark.parametrize(("classes", "most"), [(2, 12_345), (10, 12_345), (30, 3)])
def test_the_numbers_of_a_confusion_matrix_fit_their_cells(classes, most):
    pairs = np.array([(0, 0)] * (most - 1) + [*itertools.product(range(classes), repeat=2)])
    ax = plot_confusion(pairs[:, 0], np.eye(classes)[pairs[:, 1]])
    ax.figure.canvas.draw()
    assert cells(ax)[0, 0] == f"{most:,}"
    assert len(ax.texts) == classes**2
    width = ax.get_window_extent().width / classes
    assert max(text.get_window_extent().width for text in ax.texts) < width


def test_weights_are_drawn_as_images_with_a_scale_centred_at_zero():
    kernel = np.arange(-45, 45).reshape(30, 3) / 10
    model = looking(tinynet.layers.Dense(3, name="first"), inputs=(6, 5))
    model.set_weights([kernel, np.zeros(3)])
    ax = plotting.plot_weights(model)
    assert texts(ax) == ["unit 0", "unit 1", "unit 2"]
    signs = "blue: positive weights; yellow: negative; grey: 0; full colour from ±4.5"
    assert ax.get_title().split() == f"What the units of 'first' look for {signs}".split()
    for unit, image in enumerate(ax.images):
        assert_allclose(image.get_array(), kernel[:, unit].reshape(6, 5))
        shades = [image.to_rgba(value) for value in (4.5, 0, -4.5)]
        assert_allclose(shades, [to_rgba(colour) for colour in (POSITIVE, GREY, NEGATIVE)])
    vector = network((4,), inputs=(64,))
    kernel = np.linspace(-2, 2, 256).reshape(64, 4)
    kernel[9, 0] = 99  # one large weight does not make the others pale
    vector.set_weights([kernel, np.zeros(4)])
    image = plotting.plot_weights(vector).images[0]
    assert image.get_array().shape == (8, 8)
    assert 1.9 < image.norm.vmax <= 2
    vector.set_weights([np.where(kernel > 9, 1, 1e-8), np.zeros(4)])  # all but one about 0
    assert plotting.plot_weights(vector).images[0].norm.vmax == pytest.approx(0.01)


def test_the_activations_drawn_are_the_outputs_of_the_layers():
    model = looking((10, "sigmoid"), (7, "tanh"), (3, "softmax"))
    before, image = model.get_weights(), np.linspace(0, 1, 36).reshape(6, 6)
    ax = plot_activations(model, image)
    first, second, third = ax.images
    assert_allclose(first.get_array(), image)
    x = image.reshape(1, 36)
    for shown, hidden in ((second, model.layers[1]), (third, model.layers[2])):
        x, square = hidden(x), shown.get_array()
        assert_allclose(square.filled(np.nan).ravel()[: x.size], x[0])
        assert square.count() == x.size  # the rest is masked
    assert first.get_cmap().name == second.get_cmap().name == "gray_r"
    assert second.get_clim()[0] == 0
    largest = np.abs(x).max()  # tanh may be negative
    assert_allclose(third.to_rgba([largest, -largest]), [to_rgba(POSITIVE), to_rgba(NEGATIVE)])
    assert ax.get_title().splitlines()[1:] == ["blue: positive; yellow: negative; grey: 0"]
    last = [word for k, p in enumerate(model.layers[3](x)[0]) for word in (f"{k}", f"{p:.2f}")]
    assert texts(ax)[-7:-1] == last
    assert texts(ax)[1].startswith("dense: 10 units\nsigmoid, 0.")
    assert_equal(model.get_weights(), before)
    wide = plot_activations(looking((50, "relu")), image)
    assert len(wide.images) == 2  # of a wide last layer there are no bars
    assert wide.get_title() == "One image through 'net'"


def test_activations_of_a_vector_input_can_be_drawn():
    weights = [np.eye(2, 3), np.zeros(3), [[-1], [0], [0]], [0.2]]
    model = network((3, "tanh"), (1,), inputs=(2,), weights=weights)
    ax = plot_activations(model, np.array([1.0, -1.0]))
    assert texts(ax)[-2:] == ["-0.56", "dense_1: 1 unit\nlinear"]


def test_bars_point_left_for_negatives_and_a_probability_of_1_fills_the_room():
    _, (ax, other) = plt.subplots(1, 2)
    bars(ax, 0.0, np.array([0.5, -0.5, 0.25]), 1.0)
    colours = [tuple(area.get_facecolor()[0]) for area in ax.collections]
    assert colours == [to_rgba(colour) for colour in (POSITIVE, NEGATIVE, POSITIVE)]
    one, minus, half = extents(ax)
    assert minus.x1 == pytest.approx(one.x0)
    assert one.width == pytest.approx(minus.width) == pytest.approx(2 * half.width)
    bars(other, 0.0, np.array([0.32]), 1.0)
    assert extents(other)[0].width == pytest.approx(0.32)


@pytest.fixture(name="recorded")
def _recorded():
    model, record = looking(*[(8, "sigmoid")] * 4, (3, "softmax")), Distributions()
    model.compile("sgd", SPARSE)
    x, labels, _ = samples(np.random.default_rng(0), 12, (6, 6), 3)
    model.fit(abs(x), labels, 4, 3, 0, callbacks=[record])
    return record, model


def test_distributions_are_the_quantiles_of_weights_and_gradients(recorded):
    record, model = recorded
    assert record.epochs == [1, 2, 3]
    assert list(record.weights) == list(record.gradients) == [one.name for one in model.layers[1:]]
    for one in model.layers[1:]:
        weights, gradients = record.weights[one.name], record.gradients[one.name]
        assert len(weights) == len(gradients) == 3
        for rows, now in ((weights, one.kernel), (gradients, one.kernel_gradient)):
            assert_allclose(rows[-1], np.quantile(abs(now), record.shares), rtol=1e-5)
    model.fit(np.ones((4, 6, 6)), np.zeros(4, int), verbose=0, callbacks=[record])
    assert record.epochs == [1]  # a new fit starts a new record


@pytest.mark.parametrize(("what", "symbol"), [("gradients", "|∂L/∂W|"), ("weights", "|W|")])
def test_distributions_are_drawn_as_medians_and_quartiles(what, symbol, recorded):
    rows, ax = getattr(recorded[0], what), plot_distributions(recorded[0], what)
    assert ax.get_yscale() == "log"
    assert ax.get_ylabel() == f"{symbol}, median and quartiles"
    assert curves(ax) == {name: ([1, 2, 3], [row[2] for row in rows[name]]) for name in rows}
    assert legend(ax) == list(rows)[::-1]  # the last layer on top
    for band, spread in zip(extents(ax), rows.values(), strict=True):
        quartiles = [min(row[1] for row in spread), max(row[3] for row in spread)]
        assert_allclose([band.y0, band.y1], quartiles)
    if what == "gradients":  # they vanish
        first, second, third, _, top = (np.mean(y) for _, y in curves(ax).values())
        assert first < second < third < top / 10


def test_gradients_that_are_all_zero_can_be_drawn():
    record = record_of(dead=[0.0] * 5, half=[0, 0, 1e-30, 1, 1])
    ax = plot_distributions(record)
    ax.figure.canvas.draw()
    assert ax.get_ylim()[0] > 1e-14  # smaller values are treated as 0
    assert set(curves(ax)) == {"dead: about 0", "half: about 0"}


def test_the_lines_of_many_layers_can_be_distinguished():
    ax = plot_distributions(record_of(**{f"layer_{n}": [n + 1] * 5 for n in range(8)}))
    assert set(curves(ax)) == {f"layer_{n}" for n in range(8)}  # none of them is about 0
    looks = [(line.get_marker(), tuple(line.get_color())) for line in ax.get_lines()]
    assert len(set(looks)) == 8
    brightness = [np.dot(colour[:3], [0.3, 0.59, 0.11]) for _, colour in looks]
    assert brightness == sorted(brightness)
    assert not ax.collections
    assert ax.get_ylabel() == "|∂L/∂W|, median"
