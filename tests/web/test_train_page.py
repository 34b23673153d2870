"""Training from nothing on the page: its controls, what it shows and says, and what is undone."""

import json

import numpy as np
import pytest
from arrays import assert_array_equal
from networks import SPARSE, network
from webpage import (
    TRAINING,
    answer,
    array,
    click,
    draw,
    pixels_of,
    press,
    settled,
    texts,
    train,
    unit,
)

import tinynet
from tinynet.datasets import digits
from tinynet.layers import Flatten
from tinynet.optimizers import SGD, Adam


def page_of(visit, path, *stack, optimizer="adam", loss=SPARSE, samples=None, **options):
    stack = stack or ((16, "tanh"), (10, "softmax"))
    model = network(Flatten(), *stack, inputs=(8, 8), loss=loss, optimizer=optimizer)
    if samples is None:
        (x, y), _ = digits.load_data()
        samples = x / np.float32(16), y
    page = visit(tinynet.export_html(model, path / "page.html", samples), 1366, 768, **options)
    click(page, TRAINING)
    return page


def state_of(page):
    """Return everything that training changes, as text that can be compared."""
    return page.evaluate(
        """() => {
            const { optimizer: { m, v, t, learning_rate }, run, taken } = learning;
            const numbers = [model.weights, m, v].map((all) => [...all]);
            return JSON.stringify([numbers, t, learning_rate, run, taken]);
        }"""
    )


def words_of(page):
    return [text.replace("\xa0", " ") for text in texts(page, "#stage-title, #stage-text")]


def run_of(page, what):
    return page.evaluate(f"learning.run.{what}")


def pause(page):
    """Pause, and wait until the weights, as they are then, are measured."""
    click(page, "#train")
    assert not page.evaluate("isRunning()")
    page.wait_for_function("() => !training.running")
    settled(page)


def run_for(page, steps):
    """Let it train until it has taken so many steps more."""
    page.wait_for_function("end => learning.run.steps > end", arg=run_of(page, "steps") + steps)


LISTEN = """() => {
    const old = say;
    window.heard = [];
    say = (text) => {
        heard.push(text);
        old(text);
    };
}"""

# Controls


def test_train_pause_go_on_one_step_and_start_anew(visit, tmp_path):
    page = page_of(visit, tmp_path)
    assert words_of(page)[0] == "From nothing"
    assert "every 32 of 1,234 digits" in words_of(page)[1]
    text = words_of(page)[1]
    assert text.endswith(
        "Held out: 246 digits; the network never learns from them, nor from the 20 shown."
    )
    exported = array(page, "model.weights")
    click(page, "#train")
    assert page.inner_text("#train") == "Pause"
    run_for(page, 50)
    assert not np.array_equal(array(page, "model.weights"), exported)
    assert page.evaluate("state.sample") == 0  # on an empty pad nothing would change
    page.evaluate(
        """() => {
            const { worker } = training, post = worker.postMessage.bind(worker);
            window.sent = [];
            worker.postMessage = (job) => {
                sent.push(job && [job.most, job.measure]);
                post(job);
            };
        }"""
    )
    pause(page)
    end, (steps, _) = page.evaluate("sent")  # the worker is to end, and to measure unless it has
    assert (end, steps) == (None, 0)
    assert run_of(page, "points.at(-1).steps") == run_of(page, "steps")
    steps, state = run_of(page, "steps"), state_of(page)
    page.wait_for_timeout(100)
    assert state_of(page) == state  # it stands still
    assert page.inner_text("#train") == "Go on"
    epoch, step = divmod(steps, 39)
    title = f"Epoch {epoch + 1}, step {step} of 39" if step else f"After epoch {epoch}"
    assert words_of(page)[0] == title
    assert words_of(page)[1].startswith("Paused.")
    assert page.inner_text("#about").endswith("That was before it learned here.")
    click(page, "#batch")
    page.wait_for_function("() => !training.running")
    assert page.evaluate("sent[2]") == [1, False]  # these weights have been measured
    assert run_of(page, "steps") == steps + 1
    last = run_of(page, "points.at(-1)")
    assert last["epoch"] == pytest.approx((steps + 1) / 39)  # a single step is measured as well
    click(page, "#train")
    run_for(page, 30)
    assert run_of(page, "points[0].epoch") == 0
    seed = run_of(page, "seed")
    click(page, "#anew")
    assert run_of(page, "seed") == seed + 1
    assert page.inner_text("#unstep") == "Undo start anew"
    page.wait_for_function("() => !training.running")
    settled(page)
    assert run_of(page, "steps") == 0
    assert words_of(page)[0] == "Random weights"
    assert page.inner_text("#train") == "Train"
    assert "ln 10 = 2.303" in words_of(page)[1]
    assert run_of(page, "points[0].training.loss") == pytest.approx(np.log(10), abs=0.4)


@pytest.mark.long
def test_training_pauses_by_itself_and_its_curves_have_a_point_an_epoch(visit, tmp_path):
    page = page_of(visit, tmp_path)
    page.evaluate("goOn(39 * 5 + 3)")
    page.wait_for_function("() => !training.running")
    settled(page)
    assert words_of(page)[0] == "Epoch 6, step 3 of 39"
    epochs = [point["epoch"] for point in run_of(page, "points")]
    assert epochs == pytest.approx([0, 1, 2, 3, 4, 5, 5 + 3 / 39])
    assert page.inner_text("#train") == "Go on"
    # With one batch in an epoch, a point every twenty epochs
    page.locator("#count").select_option("30")
    assert run_of(page, "samples") == 30
    train(page, 100)
    assert [point["epoch"] for point in run_of(page, "points")] == [0, 20, 40, 60, 80, 100]


def test_training_is_undone_exactly(visit, tmp_path):
    page = page_of(visit, tmp_path)
    states = [state_of(page)]
    for steps in (40, 5, 1):
        train(page, steps)
        states.append(state_of(page))
        assert page.inner_text("#unstep") == "Undo training"
    click(page, "#tasks button")  # and a step on a single digit, with the same optimizer
    click(page, "#samples button", 3)
    page.locator("#pace").select_option("fast")
    click(page, "#step")
    assert page.evaluate("learning.optimizer.t") == 47
    assert page.inner_text("#taken") == "1 step from the weights trained here"
    assert page.inner_text("#unstep") == "Undo step"
    before = run_of(page, "points.at(-1)")
    click(page, TRAINING)  # the curves show what that step did to all samples
    page.wait_for_function("() => !training.running")
    after = run_of(page, "points.at(-1)")
    assert after["epoch"] == before["epoch"]
    assert after["held"]["loss"] != before["held"]["loss"]
    states.append(state_of(page))
    train(page, 3)
    assert page.evaluate("learning.optimizer.t") == 50
    assert page.evaluate("learning.taken") == 0  # the step on a digit is one of those before
    for state in reversed(states):
        click(page, "#unstep")
        assert state_of(page) == state
    assert page.evaluate("learning.run") is None
    assert page.locator("#trained").get_attribute("aria-disabled") == "true"
    # Not while it trains: one press would throw away all of it.
    page.evaluate("goOn(1e6)")
    run_for(page, 20)
    assert page.locator("#unstep").get_attribute("aria-disabled") == "true"
    page.locator("#unstep").click(force=True)
    assert page.evaluate("training.running")
    click(page, "#train")
    click(page, "#unstep")  # which does not wait until the weights are measured
    assert state_of(page) == states[0]
    page.wait_for_timeout(150)  # reports that are under way come too late
    assert state_of(page) == states[0]
    train(page, 1)  # the worker has left the long training


@pytest.mark.long
def test_back_to_the_trained_weights_ends_the_training_and_is_undone(visit, tmp_path):
    page = page_of(visit, tmp_path)
    exported = state_of(page)
    page.evaluate("goOn(1e6)")
    run_for(page, 40)
    click(page, "#trained")
    assert state_of(page) == exported
    page.wait_for_timeout(150)
    assert state_of(page) == exported
    assert page.inner_text("#train") == "Train"
    assert page.inner_text("#unstep") == "Undo going back"
    click(page, "#unstep")
    assert run_of(page, "steps") > 40
    assert page.inner_text("#train") == "Go on"
    assert len(run_of(page, "points")) > 1


CHANGES = {
    "the speed": lambda page: page.locator("#speed").select_option("10"),
    "the rate": lambda page: page.locator("#rate").select_option("0.03"),
    "a unit": lambda page: (click(page, unit(0, 3)), click(page, "#unit-off")),
    "a drawing": lambda page: draw(page, [[(0.5, 0.2), (0.5, 0.8)]]),
    "a sample": lambda page: click(page, "#samples button", 7),
}


@pytest.mark.parametrize(
    "what",
    [
        "a unit",
        *(pytest.param(name, marks=pytest.mark.long) for name in CHANGES if name != "a unit"),
    ],
)
def test_training_goes_on_when_something_is_changed(visit, tmp_path, what):
    page = page_of(visit, tmp_path, optimizer=SGD(0.1))
    page.evaluate("goOn(1e6)")
    run_for(page, 20)
    CHANGES[what](page)
    column = "model.layers[0].kernel.filter((_, i) => i % 16 === 3)"
    before, answered = array(page, column), answer(page)
    steps = run_of(page, "steps")
    page.wait_for_function("steps => learning.run.steps > steps + 3", arg=steps)
    assert page.evaluate("training.running")
    if what == "the rate":
        assert page.evaluate("learning.optimizer.learning_rate") == 0.03
        assert page.input_value("#rate") == "0.03"
    if what == "a unit":  # that is off learns nothing, also in the worker
        page.wait_for_function("steps => learning.run.steps > steps + 100", arg=steps)
        off = array(page, column)
        run_for(page, 20)
        assert_array_equal(array(page, column), off)
    else:
        assert not np.array_equal(array(page, column), before)
    settled(page)
    assert not np.array_equal(answer(page), answered)  # of what is on the pad, with the new weights


@pytest.mark.long
def test_another_optimizer_starts_anew_and_leaving_pauses(visit, tmp_path):
    page = page_of(visit, tmp_path)
    page.evaluate("goOn(1e6)")
    run_for(page, 20)
    page.locator("#optimizer").select_option("SGD")
    run_for(page, 20)
    assert page.evaluate("learning.optimizer.name") == "SGD"
    assert 0 < page.evaluate("learning.optimizer.t") < run_of(page, "steps")
    click(page, "#tasks button")
    assert not page.evaluate("training.running")
    assert page.locator("#curves").is_hidden()
    assert page.locator("#truth-row").is_visible()
    click(page, TRAINING)
    assert page.inner_text("#train") == "Go on"
    assert page.locator("#curves").is_visible()
    assert page.locator("#stage-list").is_hidden()


@pytest.mark.long
def test_on_a_phone_curves_and_weights_come_together_while_it_trains(visit, tmp_path):
    page = page_of(visit, tmp_path)
    page.set_viewport_size({"width": 390, "height": 844})
    click(page, "#tabs button", 2)
    page.evaluate("goOn(1e6)")
    run_for(page, 20)
    settled(page)
    assert page.locator("#settings").is_hidden()
    tops = [page.locator(f"#{name}").bounding_box()["y"] for name in ("train", "curves", "first")]
    assert tops == sorted(tops)
    assert tops[-1] < 700
    click(page, "#tabs button")  # what is drawn meanwhile is answered there
    run_for(page, 20)
    settled(page)
    assert page.inner_text("#brief").startswith("Epoch ")
    click(page, "#tabs button", 2)
    click(page, "#tasks button")
    assert page.locator("#settings").is_visible()
    assert page.locator("#trained").is_visible()
    assert "Epoch" not in page.inner_text("#brief")


@pytest.mark.long
def test_slow_steps_are_shown_one_by_one_and_measured_every_second(visit, tmp_path):
    page = page_of(visit, tmp_path)
    page.evaluate(
        """() => {
            const old = receive;
            window.seen = [];
            receive = (report) => {
                seen.push(report.run.steps);
                old(report);
            };
        }"""
    )
    page.locator("#speed").select_option("10")
    click(page, "#train")
    run_for(page, 20)
    seen = page.evaluate("seen")
    pause(page)
    assert seen == list(range(len(seen)))
    steps = [point["steps"] for point in run_of(page, "points")]
    assert steps[:3] == [0, 10, 20]


@pytest.mark.long
def test_quick_presses_of_one_step_all_count_and_are_one_undo(visit, tmp_path):
    page = page_of(visit, tmp_path)
    train(page, 1)
    page.locator("#speed").select_option("1")  # it is for training by itself
    state = state_of(page)
    kept = page.evaluate("learning.undo.length")
    page.evaluate("() => { for (let n = 0; n < 5; n++) document.getElementById('batch').click(); }")
    page.wait_for_function("() => !training.running")
    assert run_of(page, "steps") == 6
    assert page.evaluate("learning.undo.length") == kept + 1
    settled(page)
    assert page.inner_text("#unstep") == "Undo step"
    click(page, "#unstep")
    assert state_of(page) == state


@pytest.mark.long
@pytest.mark.long
@pytest.mark.parametrize(
    "first", ["layer => goOn(1, true)", "layer => (layer.off.add(1), continueTraining())"]
)
def test_a_training_after_a_job_that_is_not_reported_yet_can_be_undone(visit, tmp_path, first):
    page = page_of(visit, tmp_path)
    train(page, 40)
    state = json.loads(state_of(page))[0]
    page.evaluate(f"() => {{ ({first})(model.layers[0]); goOn(1e6); }}")
    run_for(page, 50)
    click(page, "#train")
    assert page.inner_text("#unstep") == "Undo training"
    click(page, "#unstep")
    assert json.loads(state_of(page))[0] == state


def test_another_number_of_samples_starts_anew_once(visit, tmp_path):
    page = page_of(visit, tmp_path)
    page.locator("#count").select_option("300")
    settled(page)
    assert "every 32 of 300 digits" in words_of(page)[1]
    page.locator("#count").select_option("30")
    settled(page)
    assert "all 30 digits together" in words_of(page)[1]
    page.locator("#count").select_option("1234")
    train(page, 20)
    state = state_of(page)
    page.locator("#count").focus()
    for expected in (300, 100, 30):  # each press of the arrow chooses another
        press(page, "ArrowDown")
        assert run_of(page, "samples") == expected
        assert run_of(page, "steps") == 0
    page.wait_for_function("() => !training.running")
    click(page, "#unstep")
    assert state_of(page) == state
    assert page.input_value("#count") == "1234"


def test_a_report_that_comes_too_late_is_ignored(visit, tmp_path):
    page = page_of(visit, tmp_path)
    train(page, 3)
    state = state_of(page)
    page.evaluate(
        """() => training.worker.dispatchEvent(new MessageEvent("message", { data: {
            ...{ id: training.id - 1, weights: model.weights.map(() => 1), points: [], done: true },
            optimizer: {}, run: { steps: 9 },
        } }))"""
    )
    assert state_of(page) == state


# What is shown and said


def test_curves_and_first_weights_show_the_numbers_of_the_run(visit, tmp_path):
    page = page_of(visit, tmp_path)
    page.locator("#count").select_option("30")  # known by heart soon, so that the curves part
    train(page, 1)
    train(page, 200)
    last = run_of(page, "points.at(-1)")
    legends = texts(page, "#curves figcaption")
    for legend, key in zip(legends, ("loss", "accuracy"), strict=True):
        numbers = [
            float(n.strip(" %"))
            for n in texts(page, f"#curves figure:nth-child({1 + legends.index(legend)}) b")
        ]
        factor = 1 if key == "loss" else 100
        found = [factor * last[of][key] for of in ("held", "training")]
        assert numbers == pytest.approx(found, abs=0.051 if factor == 100 else 6e-4)
    label = page.locator("#curves canvas").first.get_attribute("aria-label")
    losses = [f"{last[of]['loss']:.3f}" for of in ("held", "training")]
    assert label == "Loss by epoch, held out {}, training {}".format(*losses)
    # Each curve ends at its last value, in its colour.
    colours = {
        of: page.evaluate(f"palette.{name}")
        for of, name in (("training", "accent"), ("held", "wrong"))
    }
    picture = pixels_of(page, "#curves figure:last-child canvas")
    size = page.locator("#curves canvas").last.evaluate("c => getComputedStyle(c).fontSize")
    font = float(size.removesuffix("px"))
    for of, colour in colours.items():
        rows, columns = np.nonzero((picture[..., :3] == colour).all(axis=-1))
        end = rows[columns >= columns.max() - 6].mean()  # the middle of the dot
        low, high = len(picture) - 1.7 * font, 0.7 * font  # where 0 and 1 are
        assert (low - end) / (low - high) == pytest.approx(last[of]["accuracy"], abs=0.03)
    # Tiles: a unit's weights, all with one scale.
    kernel = array(page, "model.layers[0].kernel").reshape(64, 16)
    most = np.sort(abs(kernel).ravel())[int(0.995 * kernel.size)]
    ends = texts(page, "#first-weights .scale span")
    assert [float(end.strip("≤≥ ")) for end in ends] == pytest.approx([-most, most], abs=6e-4)
    table = array(page, "tintTable").astype("uint32")
    for number in (0, 15):
        tile = pixels_of(page, f"#first canvas:nth-child({number + 1})")
        share = np.clip(kernel[:, number].reshape(8, 8) / most, -1, 1)
        expected = table[np.floor((share + 1) * 127 + 0.5).astype(int)]
        found = tile[..., 0] + (tile[..., 1] << 8) + (tile[..., 2] << 16)
        assert np.mean(found == expected % 2**24) > 0.95  # but for rounding
    # And they follow each report.
    page.evaluate("goOn(1e6)")
    run_for(page, 100)
    click(page, "#train")
    assert not np.array_equal(pixels_of(page, "#first canvas"), tile)


@pytest.mark.long
def test_the_curves_show_the_numbers_under_the_pointer(visit, tmp_path):
    page = page_of(visit, tmp_path)
    train(page, 39 * 10)
    middle = run_of(page, "points[5]")
    canvas = page.locator("#curves canvas").first
    box, font = (
        canvas.bounding_box(),
        canvas.evaluate("c => parseFloat(getComputedStyle(c).fontSize)"),
    )
    axis = box["width"] - 4.5 * font  # from 3.5 to the end without 1
    page.mouse.move(box["x"] + 3.5 * font + axis / 2, box["y"] + 40)
    settled(page)
    shown = texts(page, "#curves figure:first-child b")
    assert shown == [f"{middle[of]['loss']:.3f}" for of in ("held", "training")]
    shown = texts(page, "#curves figure:last-child b")
    assert shown == [f"{100 * middle[of]['accuracy']:.1f} %" for of in ("held", "training")]
    page.mouse.move(5, 5)
    settled(page)
    last = run_of(page, "points.at(-1)")
    assert texts(page, "#curves b")[0] == f"{last['held']['loss']:.3f}"


def test_overfitting_is_seen_and_said(visit, tmp_path):
    page = page_of(visit, tmp_path, (32, "relu"), (10, "softmax"), optimizer=Adam(0.01))
    page.locator("#count").select_option("30")
    page.evaluate(LISTEN)
    train(page, 1500)
    assert sum(text.startswith("Overfitting: ") for text in page.evaluate("heard")) > 0
    points = run_of(page, "points")
    held = [point["held"]["loss"] for point in points]
    lowest = int(np.argmin(held))
    assert points[-1]["training"]["accuracy"] == 1
    assert held[-1] > 1.1 * held[lowest]
    text = words_of(page)[1]
    assert text.startswith("Paused by itself. Overfitting: ")
    assert f"lowest around epoch {points[lowest]['epoch']:.0f}, {held[lowest]:.3f}" in text
    assert f"and is {held[-1]:.3f} now" in text
    # Not while both fall, nor where nothing is held out.
    page.evaluate("startAnew(2)")
    page.wait_for_function("() => !training.running")
    train(page, 3)
    assert "Overfitting" not in words_of(page)[1]


HELD = [2.0, 1.0, 1.2, 1.04, 1.2, 1.2, 1.2]  # a loss that is higher once may be chance


def test_the_loss_axis_ends_where_later_differences_can_be_seen(visit, tmp_path):
    page = page_of(visit, tmp_path)
    for losses, top in (
        ([2, 1, 0.5, 0.4, 0.6] + [0.3] * 16, 0.6),  # after the first tenth
        ([2, 1, 1, 50, 1, 1], 4),  # steps that are too large do not hide the rest
        ([2, 1, 1, 50], 50),  # unless it is there that it stands
    ):
        points = [
            {"epoch": n, "training": {"loss": loss}, "held": None} for n, loss in enumerate(losses)
        ]
        found = page.evaluate("points => topOf(points, 'loss')", points)
        assert found == pytest.approx(1.05 * top)


def test_overfitting_is_more_than_one_high_loss(visit, tmp_path):
    page = page_of(visit, tmp_path)
    points = [
        {"epoch": n, "training": {"loss": 1 / (n + 1)}, "held": {"loss": loss}}
        for n, loss in enumerate(HELD)
    ]
    for count in range(1, len(HELD) + 1):
        found = page.evaluate("points => isOverfitted(points)", points[:count])
        assert found == (count == len(HELD)), count
    for point in points[2:]:  # not where the training samples are forgotten as well
        point["training"]["loss"] = 3
    assert not page.evaluate("points => isOverfitted(points)", points)


def test_what_happens_is_announced(visit, tmp_path):
    page = page_of(visit, tmp_path)
    page.evaluate(LISTEN)
    click(page, "#train")
    run_for(page, 200)
    page.evaluate("training.told = -Infinity")  # as after five seconds
    page.wait_for_function("() => heard.length > 1")
    run_for(page, 50)
    pause(page)
    first, second, *_, last = page.evaluate("heard")
    assert first == "Training on 1,234 digits."
    assert second.startswith("After ")
    assert ", 246 digits held out: " in second
    assert last.startswith("Paused. After ")


@pytest.mark.long
def test_training_with_the_keyboard_alone(visit, tmp_path):
    page = page_of(visit, tmp_path)
    page.locator("#tasks button").first.focus()
    press(page, "Enter", "Tab", "Space")
    assert page.evaluate("document.body.dataset.task") == "train"
    page.locator("#train").focus()
    press(page, "Enter")
    run_for(page, 10)
    press(page, "Space")
    assert not page.evaluate("isRunning()")
    assert page.evaluate("document.activeElement.id") == "train"
    page.wait_for_function("() => !training.running")
    steps = run_of(page, "steps")
    press(page, "Tab", "Enter")
    page.wait_for_function("() => !training.running")
    assert run_of(page, "steps") == steps + 1


@pytest.mark.long
def test_with_reduced_motion_the_page_changes_once_a_second(visit, tmp_path):
    page = page_of(visit, tmp_path, reduced_motion="reduce")
    page.evaluate("training.worker = { postMessage: (job) => { window.sent = job ?? sent; } }")
    page.locator("#speed").select_option("1")
    click(page, "#train")
    assert page.evaluate("[sent.interval, sent.speed]") == [1000, 1]
    click(page, "#train")
    click(page, "#batch")
    assert page.evaluate("sent.speed === Infinity")  # a single step does not wait


# What cannot be


@pytest.mark.long
def test_a_training_that_diverges_stops_and_says_so(visit, tmp_path):
    page = page_of(visit, tmp_path, (16, "relu"), (10,), loss="mse", optimizer=SGD(50))
    train(page, 2000)
    assert np.isfinite(array(page, "model.weights")).all()
    assert words_of(page)[1].startswith("Stopped: a number became infinite. Choose a lower rate")
    page.locator("#rate").select_option("0.1")
    click(page, "#anew")
    page.wait_for_function("() => !training.running")
    assert page.input_value("#rate") == "0.1"
    train(page, 500)
    assert run_of(page, "points.at(-1).training.loss") < 0.2


def x_of(count=100):
    return np.random.default_rng(2).uniform(size=(count, 8, 8)).astype("float32")


OBSTACLES = {
    "frozen": ({}, "model.trained = 0", "All layers are frozen"),
    "an output is off": ({}, "model.layers.at(-1).off.add(2)", "Turn all outputs on again"),
    "no worker": ({}, "window.Worker = null", "This browser does not train here"),
    "no samples": ({}, "model.training.x = 'eA=='", "This browser does not train here"),
    "targets": (
        {"loss": "binary_crossentropy", "samples": (x_of(), np.linspace(0, 2, 100))},
        "0",
        "targets beyond 0 … 1",
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("what", OBSTACLES)
def test_why_nothing_can_be_trained_is_said(visit, tmp_path, what):
    options, script, words = OBSTACLES[what]
    stack = ((3, "tanh"), (1, "sigmoid")) if options else ()
    page = page_of(visit, tmp_path, *stack, **options)
    page.evaluate(script)
    before = array(page, "model.weights")
    click(page, "#train") if what.startswith("no ") else page.evaluate("changed()")
    page.wait_for_function("() => !training.running")
    settled(page)
    assert words in words_of(page)[1]
    for button in ("train", "batch", "anew"):
        assert page.locator(f"#{button}").get_attribute("aria-disabled") == "true"
        page.locator(f"#{button}").click(force=True)
    assert not page.evaluate("training.running")
    assert_array_equal(array(page, "model.weights"), before)
    assert page.evaluate("learning.run") is None


@pytest.mark.long
@pytest.mark.parametrize("loss", [SPARSE, "mse"])
def test_an_output_that_is_turned_off_pauses_the_training(visit, tmp_path, loss):
    page = page_of(visit, tmp_path, loss=loss)
    page.evaluate("goOn(1e6)")
    run_for(page, 20)
    click(page, "#outputs button", 4)
    click(page, "#unit-off")
    assert not page.evaluate("training.running")
    assert words_of(page)[1] == "Turn all outputs on again."
    assert np.isfinite(array(page, "model.weights")).all()
    click(page, "#unit-off")
    click(page, "#train")
    run_for(page, 20)


@pytest.mark.long
def test_a_unit_that_is_turned_off_in_a_pause_changes_the_last_point(visit, tmp_path):
    page = page_of(visit, tmp_path)
    train(page, 100)
    before = run_of(page, "points.at(-1)")
    click(page, unit(0, 3))
    click(page, "#unit-off")
    page.wait_for_function("() => !training.running")
    after = run_of(page, "points.at(-1)")
    assert after["epoch"] == before["epoch"]
    assert after["training"]["loss"] != before["training"]["loss"]


@pytest.mark.long
def test_steps_that_are_too_large_are_named(visit, tmp_path):
    page = page_of(visit, tmp_path, (10, "softmax"), optimizer=SGD(300))
    train(page, 5)
    first, *_, last = run_of(page, "points")
    assert last["training"]["loss"] > 1.5 * first["training"]["loss"]
    assert "the steps are too large. Choose a lower rate" in words_of(page)[1]


@pytest.mark.long
def test_two_presses_before_the_first_report(visit, tmp_path):
    page = page_of(visit, tmp_path)
    page.evaluate("() => { for (let n = 0; n < 2; n++) document.getElementById('train').click(); }")
    assert not page.evaluate("isRunning()")
    page.wait_for_function("() => !training.running")
    settled(page)
    assert page.inner_text("#train") == "Train"
    assert words_of(page)[1].startswith("Paused.")
    click(page, "#train")
    run_for(page, 5)


@pytest.mark.long
def test_a_model_without_weights_has_nothing_to_train(visit, tmp_path):
    model = network(Flatten(), tinynet.layers.Activation("softmax"), inputs=(2, 2))
    page = visit(
        tinynet.export_html(model, tmp_path / "page.html", (x_of()[:, :2, :2], np.arange(100) % 4))
    )
    assert page.locator("#tasks").is_hidden()
    click(page, "#samples button", 3)
    assert answer(page).sum() == pytest.approx(1)


def test_without_samples_there_is_nothing_to_train_on(visit, tmp_path):
    model = network(Flatten(), (3, "softmax"), inputs=(8, 8), loss=SPARSE)
    page = visit(tinynet.export_html(model, tmp_path / "page.html"))
    assert page.locator("#tasks").is_hidden()
    assert page.locator("#truth-row").is_visible()
    assert page.locator("#download").is_visible()
    page.locator("#rate").select_option("0.1")  # nothing is there to be told of it
    click(page, "#outputs button", 2)
    click(page, "#unit-off")
    assert page.evaluate("model.layers[0].off.size") == 1
    assert page.locator("#outputs .off").count() == 1
    model.compile("adam", "mean_absolute_error")
    page = visit(tinynet.export_html(model, tmp_path / "page.html"))
    assert page.locator("#learn-controls").count() == 0


KINDS = {
    "numbers": (((5, "tanh"), (1,)), "mse", np.linspace(-1, 1, 100)),
    "several numbers": (((5, "sigmoid"), (3, "tanh")), "mse", np.arange(100) % 3),
    "no hidden layer": (((3, "softmax"),), SPARSE, np.arange(100) % 3),
    "yes or no": (((5, "relu"), (1, "sigmoid")), "binary_crossentropy", np.arange(100) % 2),
}


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_trains(visit, tmp_path, kind):
    stack, loss, y = KINDS[kind]
    page = page_of(visit, tmp_path, *stack, loss=loss, samples=(x_of(), y), optimizer=Adam(0.01))
    train(page, 1)
    train(page, 300)
    first, *_, last = run_of(page, "points")
    assert last["training"]["loss"] < 0.9 * first["training"]["loss"]
    accuracy = page.locator("#curves figure").last
    assert accuracy.is_visible() == (kind != "numbers")
    assert page.locator("#first canvas").count() == stack[0][0]
