"""`callbacks.LivePlot` with its three kinds of output: a notebook, a window, and a file."""

import contextlib
import struct
import sys
import types

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.backend_bases import FigureManagerBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from networks import SPARSE, network

import tinynet
from tinynet import plotting
from tinynet.callbacks import Callback, LivePlot
from tinynet.plotting import live

matplotlib.use("Agg")
X, Y = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plt.close("all")
    yield
    plt.close("all")


def train(*callbacks, epochs=4, metrics=("acc",), **options):
    compiled = {"loss": SPARSE, "optimizer": "sgd", "metrics": list(metrics)}
    model = network((2, "softmax"), inputs=(3,), **compiled)
    options = {"validation_data": (X, Y), "verbose": 0, **options}
    return model.fit(X, Y, epochs=epochs, callbacks=list(callbacks), **options)


def curves(axes):
    return [
        {line.get_label(): line.get_xydata().tolist() for line in ax.get_lines()} for ax in axes
    ]


class Window(Callback):
    """A matplotlib backend with invisible windows, which counts calls of its methods."""

    def __init__(self):
        counts = self.counts = {"show": 0, "draw_idle": 0, "flush_events": 0}

        class Manager(FigureManagerBase):
            @classmethod
            def pyplot_show(cls, *, block=None): ...

            def show(self):
                counts["show"] += 1

        class Canvas(FigureCanvasAgg):
            manager_class = Manager

            def draw_idle(self):
                counts["draw_idle"] += 1

            def flush_events(self):
                counts["flush_events"] += 1

        self.module = types.ModuleType("a_window")
        self.module.FigureCanvas, self.module.FigureManager = Canvas, Manager


@contextlib.contextmanager
def windows(monkeypatch):
    window = Window()
    monkeypatch.setitem(sys.modules, "a_window", window.module)
    plt.switch_backend("module://a_window")
    try:
        yield window.counts
    finally:
        plt.close("all")
        plt.switch_backend("Agg")


@pytest.fixture
def cell(monkeypatch):
    """A simulated notebook cell: its pictures, and how often one was replaced."""
    seen = types.SimpleNamespace(outputs=[], updates=0)

    def display(shown, display_id):
        assert display_id is True
        place = len(seen.outputs)
        seen.outputs.append(shown)

        def update(newer):
            seen.outputs[place] = newer
            seen.updates += 1

        return types.SimpleNamespace(update=update)

    def image(data, format, width):
        return types.SimpleNamespace(data=data, format=format, width=width)

    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    ipython.display = types.ModuleType("IPython.display")
    ipython.display.display, ipython.display.Image = display, image
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", ipython.display)
    return seen


@pytest.mark.parametrize("frequency", [1, 2, [1, 4]])
def test_the_final_picture_equals_plot_history(frequency):
    plot = LivePlot("curves.png")
    history = train(plot, epochs=5, validation_freq=frequency)
    assert curves(plot.figure.axes) == curves(
        plotting.plot_history(history, validation_freq=frequency)
    )
    loss = curves(plot.figure.axes)[0]
    assert [y for _, y in loss["training"]] == history.history["loss"]
    assert len(loss["validation"]) == len(history.history["val_loss"])


def test_a_file_is_updated_every_epoch_with_room_for_all_epochs(tmp_path, monkeypatch):
    monkeypatch.setattr(live.time, "monotonic", lambda: 0.0)  # drawing appears to take no time
    sizes, limits, pictures = [], [], []

    class Watch(Callback):
        def on_epoch_end(self, epoch, logs=None):
            pictures.append((tmp_path / "made" / "curves.png").read_bytes())
            sizes.append(len(plot.figure.axes[0].get_lines()[0].get_xdata()))
            limits.append(plot.figure.axes[1].get_xlim())

    plot = LivePlot(tmp_path / "made" / "curves.png")
    train(plot, Watch(), epochs=4)
    assert sizes == [1, 2, 3, 4]
    assert limits == [(0.5, 4.5)] * 4
    assert len(set(pictures)) == 4
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)
    assert [path.name for path in tmp_path.iterdir()] == ["made"]  # nothing else is written
    assert plt.get_fignums() == []


def test_without_path_window_and_notebook_the_name_of_the_file_is_printed(tmp_path, capsys):
    train(LivePlot())
    assert (tmp_path / "training.png").stat().st_size > 10_000
    assert capsys.readouterr().out == "No window available: the curves are drawn to training.png.\n"
    train(LivePlot("here.svg"))
    assert "<svg" in (tmp_path / "here.svg").read_text("utf-8")
    assert capsys.readouterr().out == ""


def frames(path):
    """Yield the frames of a GIF, and the duration of each in milliseconds."""
    from PIL import Image

    with Image.open(path) as film:
        for number in range(film.n_frames):
            film.seek(number)
            yield np.asarray(film.convert("RGB")).copy(), film.info["duration"]


def test_an_animation_has_one_frame_per_epoch_and_a_longer_last_one():
    train(LivePlot("curves.gif"), epochs=5)
    pictures, stays = zip(*frames("curves.gif"), strict=True)
    assert len(pictures) == 5
    assert stays == (400, 400, 400, 400, 3000)
    reach = []  # the rightmost blue pixel of the training curve, above the legend
    for picture in pictures:
        loss = picture[:270, : picture.shape[1] // 2].astype(int)
        reach.append(np.argwhere(abs(loss - [0, 114, 178]).max(axis=2) < 20)[:, 1].max())
    assert reach == sorted(set(reach))


@pytest.mark.parametrize("where", ["file", "notebook"])
def test_the_number_of_frames_of_an_animation_is_limited(where, monkeypatch, request):
    if where == "notebook":
        request.getfixturevalue("cell")
    monkeypatch.setattr(live, "FRAMES", 4)
    monkeypatch.setattr(live.time, "monotonic", lambda: 0.0)  # drawing appears to take no time
    plot = LivePlot("curves.gif")
    train(plot, epochs=11)
    assert len(list(frames("curves.gif"))) == 4  # after epochs 1, 5 and 9, and the last one
    assert plot.frames == []


def test_short_epochs_are_drawn_together_and_the_last_is_always_drawn(monkeypatch):
    now = iter(np.arange(0, 1000, 0.1))
    monkeypatch.setattr(live.time, "monotonic", lambda: next(now))
    drawn, plot = [], LivePlot("curves.png")
    draw = plot._draw

    def counted(*arguments):
        drawn.append(len(plot.epochs))
        draw(*arguments)

    monkeypatch.setattr(plot, "_draw", counted)
    train(plot, epochs=12)
    assert drawn == [1, 3, 5, 7, 9, 11, 12]
    assert len(plot.figure.axes[0].get_lines()[0].get_xdata()) == 12


def test_a_notebook_shows_one_picture_that_is_replaced(cell, tmp_path, monkeypatch):
    monkeypatch.setattr(live.time, "monotonic", lambda: 0.0)
    train(LivePlot(), epochs=3)
    (picture,) = cell.outputs
    assert cell.updates == 3
    assert picture.format == "png"
    width, height = struct.unpack(">II", picture.data[16:24])
    assert width == 2 * picture.width  # sharp on high-resolution screens
    assert height > 700
    assert plt.get_fignums() == []  # otherwise the notebook would show it a second time
    assert list(tmp_path.iterdir()) == []


def test_in_a_notebook_a_file_can_be_written_as_well(cell, tmp_path):
    train(LivePlot("curves.png"), epochs=2)
    assert len(cell.outputs) == 1
    assert (tmp_path / "curves.png").exists()


def test_a_window_opens_once_and_is_redrawn(monkeypatch, tmp_path):
    monkeypatch.setattr(live.time, "monotonic", lambda: 0.0)
    with windows(monkeypatch) as counts:
        plot = LivePlot()
        train(plot, epochs=3)
        assert counts["flush_events"] == 4  # before the first epoch, and after each epoch
        assert counts["draw_idle"] >= 4
        assert counts["show"] == 1
        assert plt.get_fignums() == [plot.figure.number]  # the window stays open
    assert list(tmp_path.iterdir()) == []


def test_closing_the_window_does_not_stop_training(monkeypatch):
    class Close(Callback):
        def on_epoch_end(self, epoch, logs=None):
            plt.close(plot.figure)

    monkeypatch.setattr(live.time, "monotonic", lambda: 0.0)
    with windows(monkeypatch) as counts:
        plot = LivePlot("curves.png")
        train(plot, Close(), epochs=3)
        assert counts["flush_events"] == 2
        assert len(plot.epochs) == 3


@pytest.mark.parametrize(("metrics", "panels"), [([], 1), (["acc"], 2)])
def test_nothing_is_cut_off_or_covered_by_a_legend(metrics, panels):
    plot = LivePlot("curves.png")
    train(plot, epochs=2, metrics=metrics)
    plot.figure.canvas.draw()
    assert len(plot.figure.axes) == panels
    for ax in plot.figure.axes:
        box = ax.get_tightbbox()
        assert plot.figure.bbox.x0 <= box.x0 < box.x1 <= plot.figure.bbox.x1
        assert plot.figure.bbox.y0 <= box.y0 < box.y1 <= plot.figure.bbox.y1
        assert not ax.get_legend().get_window_extent().overlaps(ax.bbox)
        assert not ax.get_legend().get_window_extent().overlaps(ax.xaxis.label.get_window_extent())


def test_a_second_fit_starts_a_new_picture():
    plot = LivePlot("curves.png")
    train(plot, epochs=3)
    train(plot, epochs=2, metrics=[])
    assert plot.epochs == [1, 2]
    assert len(plot.figure.axes) == 1
    train(plot, epochs=0)
    assert plot.epochs == []


@pytest.mark.parametrize("path", ["curves.txt", "curves", "curves.mp4"])
def test_an_unsupported_file_type_is_refused_at_once(path):
    with pytest.raises(ValueError, match=r"Write: LivePlot\(\"training.png\"\)"):
        LivePlot(path)


def test_a_file_that_cannot_be_written_is_refused_before_training(tmp_path):
    (tmp_path / "file").write_text("no folder")
    model = network((1,), inputs=(3,), loss="mse", optimizer="sgd")
    before = model.get_weights()
    with pytest.raises(OSError, match="file"):
        model.fit(X, Y, verbose=0, callbacks=[LivePlot(tmp_path / "file" / "curves.png")])
    for weight, was in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, was)


def test_without_matplotlib_the_error_contains_the_install_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match="python -m pip install matplotlib"):
        LivePlot()


def test_an_unknown_name_in_callbacks_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'LifePlot'"):
        tinynet.callbacks.LifePlot  # noqa: B018


def test_an_animation_is_written_after_ctrl_c():
    class Interrupt(Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 5:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(LivePlot("curves.gif"), Interrupt(), epochs=50)
    assert len(list(frames("curves.gif"))) == 4


def test_curves_of_training_that_stopped_early_fill_the_axes():
    class Stop(Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 2

    plot, film = LivePlot("curves.png"), LivePlot("curves.gif")
    history = train(plot, film, Stop(), epochs=1000)
    for live_ax, ax in zip(plot.figure.axes, plotting.plot_history(history), strict=True):
        assert live_ax.get_xlim() == ax.get_xlim() == (0.5, 3.5)
    assert len(list(frames("curves.gif"))) == 4
    film = LivePlot("late.gif")
    train(film, epochs=1000, initial_epoch=996)
    assert len(list(frames("late.gif"))) == 4
    assert film.figure.axes[0].get_xlim() == (996.5, 1000.5)


def test_a_value_logged_in_some_epochs_is_drawn_at_those():
    class Sometimes(Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch % 2:
                logs["extra"] = epoch + 0.5

    plot = LivePlot("curves.png")
    train(Sometimes(), plot, epochs=4)
    extra = dict(curves(plot.figure.axes)[1]["extra, training"])
    assert {n: value for n, value in extra.items() if value == value} == {2: 1.5, 4: 3.5}


@pytest.mark.parametrize("fault", ["folder", "directory", "drawing"])
def test_an_error_in_live_plot_does_not_stop_training(fault, tmp_path, monkeypatch):
    (tmp_path / "new").mkdir()
    plot = LivePlot(tmp_path / "new" / "curves.png")

    class Fault(Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1 and fault == "folder":
                (tmp_path / "new" / "curves.png").unlink()
                (tmp_path / "new").rmdir()
            if epoch == 0 and fault == "directory":
                (tmp_path / "new" / "curves.png").mkdir()
            if epoch == 1 and fault == "drawing":
                plot.logs["loss"].append(3)

    monkeypatch.setattr(live.time, "monotonic", lambda: 0.0)
    with pytest.warns(UserWarning, match=r"LivePlot has stopped: \w+: .* Training goes on") as said:
        history = train(plot, Fault(), epochs=4)
    assert history.epoch == [0, 1, 2, 3]
    assert len(said) == 1


@pytest.mark.parametrize("losses", [[0.001011, 0.001013], [12345.6, 12399.1], [0.5, 0.4]])
@pytest.mark.parametrize("metric", ["acc", "sparse_categorical_accuracy"])
def test_long_names_and_numbers_are_not_cut_off(losses, metric):
    plot = LivePlot("curves.png")
    plot.set_params({"epochs": 2})
    plot.on_train_begin()
    for epoch, value in enumerate(losses):
        logs = {"loss": value, metric: 0.5 + value / 1e5, "val_loss": value}
        plot.on_epoch_end(epoch, logs)
    plot.on_train_end()
    plot.figure.canvas.draw()
    for ax in plot.figure.axes:
        box = ax.get_tightbbox()
        assert plot.figure.bbox.x0 <= box.x0 < box.x1 <= plot.figure.bbox.x1 + 1
        assert plot.figure.bbox.y0 <= box.y0 < box.y1 <= plot.figure.bbox.y1
    left, right = (ax.get_tightbbox() for ax in plot.figure.axes)
    assert left.x1 < right.x0 + 12  # only the legends may come that close
