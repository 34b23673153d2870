"""`callbacks.LivePlot` with its three kinds of output: a notebook, a window, and a file."""

import struct
import sys
from types import SimpleNamespace
from unittest.mock import Mock

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.backend_bases import FigureCanvasBase, FigureManagerBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from networks import SPARSE, network

import tinynet
from tinynet import plotting
from tinynet.callbacks import LambdaCallback, LivePlot
from tinynet.plotting import live

matplotlib.use("Agg")
X, Y = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plt.close("all")
    yield
    plt.close("all")


@pytest.fixture
def instant(monkeypatch):
    """Let drawing appear to take no time, so that every epoch is drawn."""
    monkeypatch.setattr(live.time, "monotonic", lambda: 0.0)


def after_epoch(step):
    return LambdaCallback(on_epoch_end=step)


def train(*callbacks, metrics=("acc",), **options):
    model = network((2, "softmax"), inputs=(3,), loss=SPARSE, optimizer="sgd", metrics=[*metrics])
    return model.fit(X, Y, callbacks=[*callbacks], validation_data=(X, Y), verbose=0, **options)


def curves(axes):
    return [{one.get_label(): one.get_xydata().tolist() for one in ax.get_lines()} for ax in axes]


def assert_whole(figure):
    """Assert that nothing is cut off, and that legends cover nothing."""
    figure.canvas.draw()
    for ax in figure.axes:
        box, legend = ax.get_tightbbox(), ax.get_legend().get_window_extent()
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1 + 1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
        assert not legend.overlaps(ax.bbox)
        assert not legend.overlaps(ax.xaxis.label.get_window_extent())


def frames(path):
    """Return the frames of a GIF, and the duration of each in milliseconds."""
    from PIL import Image, ImageSequence

    with Image.open(path) as film:
        pictures = ImageSequence.Iterator(film)
        return [(np.asarray(one.convert("RGB")), one.info["duration"]) for one in pictures]


@pytest.fixture
def window(monkeypatch):
    """A matplotlib backend with invisible windows, which records what is called."""
    called = Mock()

    class Manager(FigureManagerBase):
        pyplot_show = classmethod(lambda cls, *, block=None: None)
        show = called.show

    class Canvas(FigureCanvasAgg):
        manager_class = Manager
        draw_idle, flush_events = called.draw_idle, called.flush_events

    # In newer versions of matplotlib, a figure that is closed has a canvas of the base class.
    monkeypatch.setattr(FigureCanvasBase, "flush_events", called.flush_events)
    backend = SimpleNamespace(FigureCanvas=Canvas, FigureManager=Manager)
    monkeypatch.setitem(sys.modules, "a_window", backend)
    plt.switch_backend("module://a_window")
    yield called
    plt.close("all")
    plt.switch_backend("Agg")


@pytest.fixture
def cell(monkeypatch):
    """A simulated notebook cell, which records what is displayed and updated."""
    ipython = Mock()
    for module in ("IPython", "IPython.display"):
        monkeypatch.setitem(sys.modules, module, ipython)
    return ipython


@pytest.mark.parametrize("frequency", [1, 2, [1, 4]])
def test_the_final_picture_equals_plot_history(frequency):
    plot = LivePlot("curves.png")
    history = train(plot, epochs=5, validation_freq=frequency)
    drawn = curves(plot.figure.axes)
    assert drawn == curves(plotting.plot_history(history, validation_freq=frequency))
    assert [y for _, y in drawn[0]["training"]] == history.history["loss"]
    assert len(drawn[0]["validation"]) == len(history.history["val_loss"])


def test_a_file_is_updated_every_epoch_with_room_for_all_epochs(instant, tmp_path):
    seen = []

    def look(epoch, logs):
        loss, acc = plot.figure.axes
        assert len(loss.get_lines()[0].get_xdata()) == epoch + 1
        assert loss.get_xlim() == acc.get_xlim() == (0.5, 4.5)
        seen.append((tmp_path / "made" / "curves.png").read_bytes())

    plot = LivePlot(tmp_path / "made" / "curves.png")
    train(plot, after_epoch(look), epochs=4)
    assert len(set(seen)) == 4
    assert all(picture.startswith(b"\x89PNG") for picture in seen)
    assert [path.name for path in tmp_path.iterdir()] == ["made"]  # nothing else is written
    assert plt.get_fignums() == []


def test_without_path_window_and_notebook_the_name_of_the_file_is_printed(tmp_path, capsys):
    train(LivePlot())
    assert (tmp_path / "training.png").stat().st_size > 10_000
    assert capsys.readouterr().out == "No window available: the curves are drawn to training.png.\n"
    train(LivePlot("here.svg"))
    assert "<svg" in (tmp_path / "here.svg").read_text("utf-8")
    assert capsys.readouterr().out == ""


def test_an_animation_has_one_frame_per_epoch_and_a_longer_last_one():
    train(LivePlot("curves.gif"), epochs=5)
    pictures, stays = zip(*frames("curves.gif"), strict=True)
    assert stays == (400, 400, 400, 400, 3000)
    reach = []  # the rightmost blue pixel of the training curve, above the legend
    for picture in pictures:
        loss = picture[:270, : picture.shape[1] // 2].astype(int)
        reach.append(np.argwhere(abs(loss - [0, 114, 178]).max(axis=2) < 20)[:, 1].max())
    assert reach == sorted(set(reach))


@pytest.mark.parametrize("where", ["file", "notebook"])
def test_the_number_of_frames_of_an_animation_is_limited(where, instant, monkeypatch, request):
    if where == "notebook":
        request.getfixturevalue("cell")
    monkeypatch.setattr(live, "FRAMES", 4)
    plot = LivePlot("curves.gif")
    train(plot, epochs=11)
    assert len(frames("curves.gif")) == 4  # after epochs 1, 5 and 9, and the last one
    assert plot.frames == []


def test_short_epochs_are_drawn_together_and_the_last_is_always_drawn(monkeypatch):
    now = iter(np.arange(0, 1000, 0.1))
    monkeypatch.setattr(live.time, "monotonic", lambda: next(now))
    drawn, plot = [], LivePlot("curves.png")
    draw = plot._draw
    monkeypatch.setattr(plot, "_draw", lambda *a: (drawn.append(len(plot.epochs)), draw(*a)))
    train(plot, epochs=12)
    assert drawn == [1, 3, 5, 7, 9, 11, 12]
    assert len(plot.figure.axes[0].get_lines()[0].get_xdata()) == 12


@pytest.mark.parametrize("path", [None, "curves.png"])
def test_a_notebook_shows_one_picture_that_is_replaced(path, cell, instant, tmp_path):
    train(LivePlot(path), epochs=3)
    picture, once = cell.Image.return_value, cell.display
    once.assert_called_once_with(picture, display_id=True)
    assert once.return_value.update.call_args_list == [((picture,),)] * 3
    (data,), options = cell.Image.call_args  # the newest
    assert options == {"format": "png", "width": 960}
    width, height = struct.unpack(">II", data[16:24])
    assert width == 2 * 960  # sharp on high-resolution screens
    assert height > 700
    assert plt.get_fignums() == []  # otherwise the notebook would show it a second time
    assert [file.name for file in tmp_path.iterdir()] == [path][: path is not None]


def test_a_window_opens_once_and_is_redrawn(window, instant, tmp_path):
    plot = LivePlot()
    train(plot, epochs=3)
    assert window.flush_events.call_count == 4  # before the first epoch, and after each epoch
    assert window.draw_idle.call_count >= 4
    window.show.assert_called_once_with()
    assert plt.get_fignums() == [plot.figure.number]  # the window stays open
    assert list(tmp_path.iterdir()) == []


def test_closing_the_window_does_not_stop_training(window, instant):
    plot = LivePlot("curves.png")
    train(plot, after_epoch(lambda *_: plt.close(plot.figure)), epochs=3)
    assert window.flush_events.call_count == 2
    assert len(plot.epochs) == 3


def test_a_second_fit_starts_a_new_picture():
    plot = LivePlot("curves.png")
    for epochs, metrics in ((3, ["acc"]), (2, [])):
        train(plot, epochs=epochs, metrics=metrics)
        assert plot.epochs == list(range(1, epochs + 1))
        assert len(plot.figure.axes) == 1 + len(metrics)
        assert_whole(plot.figure)
    train(plot, epochs=0)
    assert plot.epochs == []


@pytest.mark.parametrize("path", ["curves.txt", "curves", "curves.mp4"])
def test_an_unsupported_file_type_is_refused_at_once(path):
    with pytest.raises(ValueError, match=r"Write: LivePlot\(\"training.png\"\)"):
        LivePlot(path)


def test_a_file_that_cannot_be_written_is_refused_before_training(tmp_path):
    (tmp_path / "file").write_text("no folder")
    never = after_epoch(lambda *_: pytest.fail("an epoch was trained"))
    with pytest.raises(OSError, match="file"):
        train(LivePlot(tmp_path / "file" / "curves.png"), never)


def test_an_unknown_name_in_callbacks_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'LifePlot'"):
        tinynet.callbacks.LifePlot  # noqa: B018


def test_an_animation_is_written_after_ctrl_c():
    interrupt = Mock(side_effect=[None] * 5 + [KeyboardInterrupt])
    with pytest.raises(KeyboardInterrupt):
        train(LivePlot("curves.gif"), after_epoch(interrupt), epochs=50)
    assert len(frames("curves.gif")) == 4


def test_curves_of_training_that_stopped_early_fill_the_axes():
    stop = after_epoch(lambda epoch, _: setattr(stop.model, "stop_training", epoch == 2))
    plot, film, late = LivePlot("curves.png"), LivePlot("curves.gif"), LivePlot("late.gif")
    history = train(plot, film, stop, epochs=1000)
    for live_ax, ax in zip(plot.figure.axes, plotting.plot_history(history), strict=True):
        assert live_ax.get_xlim() == ax.get_xlim() == (0.5, 3.5)
    train(late, epochs=1000, initial_epoch=996)
    assert len(frames("curves.gif")) == len(frames("late.gif")) == 4
    assert late.figure.axes[0].get_xlim() == (996.5, 1000.5)


def test_a_value_logged_in_some_epochs_is_drawn_at_those():
    sometimes = after_epoch(lambda n, logs: logs.update({"extra": n + 0.5} if n % 2 else {}))
    plot = LivePlot("curves.png")
    train(sometimes, plot, epochs=4)
    extra = dict(curves(plot.figure.axes)[1]["extra, training"])
    assert {n: value for n, value in extra.items() if value == value} == {2: 1.5, 4: 3.5}


@pytest.mark.parametrize("fault", ["folder", "directory", "drawing"])
def test_an_error_in_live_plot_does_not_stop_training(fault, instant, tmp_path):
    file = tmp_path / "new" / "curves.png"
    plot = LivePlot(file)

    def harm(epoch, logs):
        if epoch == 0 and fault == "drawing":
            plot.logs["loss"].append(3)
        elif epoch == 0:
            file.unlink()
            file.mkdir() if fault == "directory" else file.parent.rmdir()

    with pytest.warns(UserWarning, match=r"LivePlot has stopped: \w+: .* Training goes on") as said:
        history = train(plot, after_epoch(harm), epochs=4)
    assert history.epoch == [0, 1, 2, 3]
    assert len(said) == 1


@pytest.mark.parametrize("losses", [[0.001011, 0.001013], [12345.6, 12399.1], [0.5, 0.4]])
@pytest.mark.parametrize("metric", ["acc", "sparse_categorical_accuracy"])
def test_long_names_and_numbers_are_not_cut_off(losses, metric):
    plot = LivePlot("curves.png")
    plot.set_params({"epochs": 2})
    plot.on_train_begin()
    for epoch, value in enumerate(losses):
        plot.on_epoch_end(epoch, {"loss": value, metric: 0.5 + value / 1e5, "val_loss": value})
    plot.on_train_end()
    assert_whole(plot.figure)
    left, right = (ax.get_tightbbox() for ax in plot.figure.axes)
    assert left.x1 < right.x0 + 12  # only the legends may come that close
