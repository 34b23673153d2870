"""Learning on the page: a step's numbers against tinynet's; what is said, undone and refused."""

import re

import numpy as np
import pytest
from arrays import assert_allclose, assert_array_equal
from networks import network
from webpage import array, click, draw, focused, pixels_of, press, settled, texts, unit

import tinynet
from tinynet.layers import Activation, Dense, Dropout, Flatten
from tinynet.optimizers import SGD, Adam
from tinynet.utils import to_categorical

NEAR = {"abs": 6e-4, "rel": 2e-3}


def numbers(text):
    """Return the numbers in a text, such as 31.5 % → 55.1 %, as floats."""
    text = text.replace("−", "-").replace("\xa0", " ")
    return [float(n) for n in re.findall(r"(?<![\w.^])-?\d+(?:\.\d+)?(?:e-?\d+)?(?!\w)", text)]


def assert_same_lines(found, expected):
    """Compare the lines of two worked updates: the words, and the numbers to 0.2 %."""
    number = r"\d+(?:\.\d+)?(?:e-?\d+)?"
    for one, other in zip(found, expected, strict=True):
        one, other = (text.replace("−", "-").replace("\xa0", " ") for text in (one, other))
        assert re.sub(number, "#", one) == re.sub(number, "#", other)
        values, others = ([*map(float, re.findall(number, text))] for text in (one, other))
        assert values == pytest.approx(others, 2e-3), (one, other)


def weights_of(page):
    return array(page, "model.weights")


def vector(model):
    return np.concatenate([weight.ravel() for weight in model.get_weights()])


def small(optimizer="adam", loss="categorical_crossentropy", top=(3, "softmax"), **options):
    """Return a network, its page's samples, and its compiled copy."""
    tinynet.utils.set_random_seed(4)
    model = network(Flatten(), (7, "tanh"), (5, "sigmoid"), top, inputs=(6, 6), **options)
    model.compile(loss=loss, optimizer=optimizer)
    x = np.random.default_rng(4).uniform(size=(20, 6, 6)).round(1).astype("float32")
    return model, x


def export(model, x, y, tmp_path, **options):
    return tinynet.export_html(model, tmp_path / "page.html", (x, y), brightest=1, **options)


def said(page):
    return page.inner_text("#said").replace("\xa0", " ")


# A step, number by number


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: Adam(0.01),
        pytest.param(lambda: SGD(0.3), marks=pytest.mark.long),
        pytest.param(lambda: SGD(0.1, 0.9), marks=pytest.mark.long),
        pytest.param(lambda: SGD(0.1, 0.9, True), marks=pytest.mark.long),
    ],
)
def test_each_stage_of_two_steps_shows_the_numbers_of_a_trace(visit, tmp_path, optimizer):
    model, x = small(optimizer())
    y = np.arange(20) % 3
    page = visit(export(model, x, y, tmp_path), 1366, 768)
    page.locator("#pace").select_option("next")
    click(page, "#samples button", 5)
    x0 = array(page, "model.samples.rows[5]").astype("float32").reshape(1, 6, 6)
    truth = page.evaluate("model.samples.y[5]")
    t0 = to_categorical([truth], 3)
    rows = array(page, "model.samples.rows.map(row => [...row])").reshape(-1, 6, 6)
    labels = array(page, "model.samples.y")
    assert texts(page, "#truth [aria-pressed=true]") == [str(truth)]
    for _ in range(2):
        trace = model.trace(x0, t0)
        p, before = trace.output[0], weights_of(page)
        wrong_before = (model.predict(rows, verbose=0).argmax(axis=1) != labels).sum()
        titles = []
        click(page, "#step")
        for stage in range(7):
            title, text = page.inner_text("#stage-title"), page.inner_text("#stage-text")
            titles.append(title)
            assert said(page).split() == f"{title}. {text}".split()  # announced
            current = texts(page, "#stage-list [aria-current=step]")
            assert current == [texts(page, "#stage-list li")[stage]]
            reached = {0: 9, 1: 2, 2: 1, 3: 0, 4: 0, 5: 0, 6: 9}[stage]
            for layer in range(2):
                name = ("dense", "dense_1")[layer]
                shown = page.inner_text(f"#layers > :nth-child({layer + 2}) .caption")
                assert ("δ" in shown) == (layer >= reached), (title, name)
                if layer >= reached:
                    delta = trace.layers[layer + 1]["δ"][0]
                    assert numbers(shown) == [pytest.approx(abs(delta).max(), **NEAR)]
                    assert_colours(page, layer, delta / abs(delta).max())
                elif stage < 6:
                    a = trace.layers[layer + 1]["a"][0]
                    assert_colours(page, layer, a)
            values = [numbers(value)[0] for value in texts(page, "#outputs .value")]
            if reached == 9 and stage == 0:
                assert values == pytest.approx(100 * p, abs=0.06)
            elif stage < 6:
                assert values == pytest.approx(trace.layers[3]["δ"][0], **NEAR)
            found = numbers(text)
            if stage == 0:
                assert found[:2] == pytest.approx([p[truth], trace.loss], rel=1e-3)
            if stage == 1:
                assert found[1:4] == pytest.approx([p[truth], 1, p[truth] - 1], abs=1e-6)
            if stage in (2, 3):
                delta, a = (trace.layers[4 - stage][symbol][0] for symbol in ("δ", "a"))
                most = int(abs(delta).argmax())
                slope = 1 - a[most] ** 2 if stage == 3 else a[most] * (1 - a[most])
                arriving = trace.layers[4 - stage]["∂L/∂a"][0, most]
                expected = [most + 1, arriving, slope, delta[most], 0, 0]  # and where δ is < 0, > 0
                assert found[-6:] == pytest.approx(expected, **NEAR)
            if stage == 2:  # the unit that the text names is selected, and its δ taken apart
                assert page.evaluate("[state.chosen.layer, state.chosen.unit]") == [1, most]
                weights = model.get_weights()[4][most]
                terms = trace.layers[3]["δ"][0] * weights
                table = [[*map(float, row.split("\t")[1:])] for row in texts(page, "#unit-top tr")]
                order = np.argsort(-abs(terms))
                expected = np.transpose([trace.layers[3]["δ"][0], weights, terms])[order]
                assert table == pytest.approx(expected, **NEAR)
                (foot,) = texts(page, "#unit-terms tfoot tr")
                assert numbers(foot) == pytest.approx([3, terms.sum()], **NEAR)
            if stage in (4, 5):
                assert_worked(page, trace, model, changes=stage == 5)
            if stage < 6:
                assert page.locator("#outputs .before:visible").count() == 0
                assert_array_equal(weights_of(page), before)
                click(page, "#step")
        assert [title.split()[0] for title in titles[1:4]] == ["The", "Back", "Back"]
        loss = trace.loss
        model.train_on_batch(x0, t0)
        assert_allclose(weights_of(page), vector(model), atol=1e-6)
        new = model.predict(x0, verbose=0)[0]
        after = -np.log(new[truth])
        found = numbers(page.inner_text("#stage-text"))
        answers = model.predict(rows, verbose=0).argmax(axis=1)
        assert found[5:8] == [20, (answers != labels).sum(), wrong_before]
        assert found[1:5] == pytest.approx(
            [100 * p[truth], 100 * new[truth], loss, after], abs=0.06, rel=2e-3
        )
        shown = page.locator("#outputs .before").evaluate_all("e => e.map(i => !i.hidden)")
        assert shown == [True] * 3
        widths = page.locator("#outputs .before").evaluate_all("e => e.map(i => i.style.width)")
        assert [float(w[:-1]) for w in widths] == pytest.approx(100 * p, abs=0.02)
        assert page.inner_text("#taken").startswith(f"{model.optimizer.iterations} step")


def assert_colours(page, layer, shares):
    """Assert that each unit of a layer has the colour of its value, from −1 to 1."""
    script = "all => all.map(b => b.style.backgroundColor.match(/\\d+/g).map(Number))"
    found = page.locator(f"#layers > :nth-child({layer + 2}) .units button").evaluate_all(script)
    assert_allclose(found, tints(page, shares), atol=2)


def tints(page, shares):
    zero, positive, negative = array(page, "[palette.zero, palette.positive, palette.negative]")
    shares = np.asarray(shares)[:, None]
    return zero + (np.where(shares > 0, positive, negative) - zero) * abs(shares)


def assert_worked(page, trace, model, changes):
    """Assert that the gradient of the selected unit, or the change, and a weight's are right."""
    layer, chosen = page.evaluate("[state.chosen.layer, state.chosen.unit]")
    dense = [one for one in model.layers if isinstance(one, Dense)][layer]
    gradient = trace.layers[layer + 1]["∂L/∂W"][:, chosen]
    shown = pixels_of(page, "#unit-gradient")[..., :3].reshape(-1, 3)[: len(gradient)]
    picture = gradient
    if changes:
        path = f"{dense.name}/kernel"
        picture = np.array([trace.update(path, (i, chosen)).change for i in range(len(gradient))])
    assert_allclose(shown, tints(page, picture / abs(picture).max()), atol=2)
    at = page.evaluate("weight.input")
    assert abs(gradient[at]) == abs(gradient).max()
    expected = trace.update(f"{dense.name}/kernel", (at, chosen)).steps
    found = texts(page, "#weight-lines li")
    if changes:
        assert_same_lines(found, expected)
    else:
        x, delta = trace.layers[layer + 1]["x"][0, at], trace.layers[layer + 1]["δ"][0, chosen]
        assert numbers(found[0]) == pytest.approx([x, delta, x * delta], rel=1e-3)


@pytest.mark.long
def test_any_weight_of_any_unit_is_worked_out(visit, tmp_path):
    model, x = small("adam")
    page = visit(export(model, x, np.arange(20) % 3, tmp_path), 1366, 768)
    page.locator("#pace").select_option("next")
    click(page, "#samples button", 2)
    for _ in range(6):
        click(page, "#step")
    x0 = array(page, "model.samples.rows[2]").astype("float32").reshape(1, 6, 6)
    trace = model.trace(x0, to_categorical([page.evaluate("model.samples.y[2]")], 3))
    click(page, unit(0, 3))
    box = page.locator("#unit-gradient").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 2.5 / 6, box["y"] + box["height"] * 4.5 / 6)
    settled(page)
    place = 4 * 6 + 2
    for key, moved in ((None, 0), ("ArrowRight", 1), ("ArrowUp", -5), ("ArrowLeft", -6)):
        if key is not None:
            page.locator("#unit-gradient").focus()
            press(page, key)
        dense = model.layers[1].name
        expected = trace.update(f"{dense}/kernel", (place + moved, 3)).steps
        assert_same_lines(texts(page, "#weight-lines li"), expected)
        row, column = divmod(place + moved, 6)
        assert f"pixel {column + 1} → {row + 1}" in page.inner_text("#weight-title")
    page.locator("#temperature").evaluate(
        "e => { e.value = 0.5; e.dispatchEvent(new Event('input')); }"
    )
    click(page, "#samples button", 6)  # another step begins with the largest gradient, at T = 1
    click(page, "#step")
    assert page.inner_text("#temperature-value") == "1.00"
    assert page.inner_text("#stage-text").startswith("The temperature is 1 again")
    for _ in range(4):
        click(page, "#step")
    x1 = array(page, "model.samples.rows[6]").astype("float32").reshape(1, 6, 6)
    trace = model.trace(x1, to_categorical([page.evaluate("model.samples.y[6]")], 3))
    largest = abs(trace.layers[1]["∂L/∂W"][:, 3]).argmax()
    assert page.evaluate("[state.chosen.unit, weight.input]") == [3, largest]
    click(page, "#step")
    click(page, "#outputs button", 1)  # another unit, with its own largest gradient
    trace_of_top = trace.layers[3]["∂L/∂W"][:, 1]
    at = int(abs(trace_of_top).argmax())
    expected = trace.update(f"{model.layers[3].name}/kernel", (at, 1)).steps
    assert_same_lines(texts(page, "#weight-lines li"), expected)
    click(page, "#unstep")
    for _ in range(5):  # the next step shows that output's gradient, too
        click(page, "#step")
    assert page.inner_text("#step") == "Next: change"
    assert page.evaluate("[state.chosen.layer, state.chosen.unit]") == [2, 1]


# Ten steps, undo, and back


@pytest.mark.parametrize(
    "reduced", ["reduce", pytest.param("no-preference", marks=pytest.mark.long)]
)
def test_ten_steps_undo_and_back_to_the_trained_weights(visit, tmp_path, reduced):
    model, x = small(Adam(0.03))
    y = np.repeat([0, 1, 2], [10, 6, 4])  # so that other answers make other numbers of mistakes
    page = visit(export(model, x, y, tmp_path), 1366, 768, reduced_motion=reduced)
    trained = weights_of(page)
    for name in ("unstep", "trained"):
        assert page.locator(f"#{name}").get_attribute("aria-disabled") == "true"
    number = page.evaluate("model.samples.wrong.indexOf(true)")
    click(page, "#samples button", number)
    x0 = array(page, f"model.samples.rows[{number}]").astype("float32").reshape(1, 6, 6)
    t0 = to_categorical([page.evaluate(f"model.samples.y[{number}]")], 3)
    after, mistakes = {0: trained}, []
    for step in range(1, 31):
        model.train_on_batch(x0, t0)
        after[step] = vector(model)
        if step % 10 == 0:
            mistakes.append(page.evaluate("countWrong()"))
            click(page, "#ten")
            page.wait_for_function("() => learning.step?.count === 10")
            settled(page)
            counts = numbers(page.inner_text("#stage-text"))[-3:]
            assert counts == [20, page.evaluate("countWrong()"), mistakes[-1]]
            assert_allclose(weights_of(page), after[step], atol=1e-6)
            assert page.inner_text("#taken").startswith(f"{step} steps")
    assert len(set(mistakes)) > 1
    wrong = page.evaluate("model.samples.wrong")
    rows = array(page, "model.samples.rows.map(row => [...row])").astype("float32")
    answers = model.predict(rows.reshape(-1, 6, 6), verbose=0).argmax(axis=1)
    assert wrong == (answers != array(page, "model.samples.y")).tolist()
    assert page.locator("#samples .wrong").count() == sum(wrong)
    # Undo: the bits of the weights, and of the optimizer's state, as the next step shows.
    click(page, "#unstep")
    twenty = weights_of(page)
    assert_allclose(twenty, after[20], atol=1e-6)
    assert said(page).startswith("Undone")
    click(page, "#ten")
    page.wait_for_function("() => learning.step?.count === 10")
    assert_allclose(weights_of(page), after[30], atol=1e-6)
    click(page, "#unstep")
    assert_array_equal(weights_of(page), twenty)
    click(page, "#trained")
    assert_array_equal(weights_of(page), trained)
    assert page.inner_text("#taken") == ""
    click(page, "#unstep")
    assert_array_equal(weights_of(page), twenty)
    assert page.inner_text("#taken").startswith("20 steps")
    assert page.evaluate("learning.optimizer.t") == 20
    for _ in range(2):
        click(page, "#unstep")
    assert_array_equal(weights_of(page), trained)
    page.locator("#unstep").click(force=True)  # nothing is left to undo
    assert_array_equal(weights_of(page), trained)


LEAVING = {
    "a drawing": lambda page: draw(page, [[(0.5, 0.2), (0.5, 0.8)]]),
    "another sample": lambda page: click(page, "#samples button", 3),
    "another class": lambda page: click(page, "#truth button", 0),
    "clear": lambda page: click(page, "#clear"),
    "a unit off": lambda page: click(page, "#unit-off"),
    "a rate": lambda page: page.locator("#rate").select_option("0.1"),
    "an optimizer": lambda page: page.locator("#optimizer").select_option("SGD"),
    "Escape": lambda page: page.locator("#step").press("Escape"),
    "the temperature": lambda page: page.locator("#temperature").fill("0.5"),
}


@pytest.mark.long
@pytest.mark.parametrize("how", LEAVING)
def test_a_step_that_is_left_before_its_end_changes_nothing(visit, tmp_path, how):
    model, x = small()
    page = visit(export(model, x, np.arange(20) % 3, tmp_path), 1366, 768)
    page.locator("#pace").select_option("next")
    click(page, "#samples button", 19)
    before = weights_of(page)
    for _ in range(6):
        click(page, "#step")
    assert page.inner_text("#step") == "Next: new answer"
    LEAVING[how](page)
    settled(page)
    assert page.evaluate("learning.step") is None
    assert_array_equal(weights_of(page), before)
    if how not in (
        "a drawing",
        "another sample",
        "clear",
        "an optimizer",
    ):  # what to do now is said there
        assert "left before the weights changed" in page.inner_text("#stage-text")
    assert page.evaluate("[learning.step, learning.taken, learning.optimizer.t]") == [None, 0, 0]
    assert not any("δ" in caption for caption in texts(page, ".caption"))


@pytest.mark.long
def test_stages_follow_by_themselves_until_the_pace_is_changed(visit, tmp_path):
    model, x = small()
    path = export(model, x, np.arange(20) % 3, tmp_path)
    page = visit(path, 1366, 768, clock=True)
    page.locator("#samples button").nth(4).click()
    page.clock.run_for(50)
    page.locator("#pace").select_option("slow")
    page.locator("#step").click()
    seen = []
    for _ in range(4):
        page.clock.run_for(100)
        seen.append(page.inner_text("#stage-title"))
        page.clock.run_for(1900)
        assert page.inner_text("#stage-title") == seen[-1]  # nobody reads so fast
        page.clock.run_for(35 * len(page.inner_text("#stage-text")))
    assert seen[:2] == ["The loss", "The error at the outputs"]
    assert len(set(seen)) == 4
    page.locator("#pace").select_option("next")
    page.clock.run_for(10_000)
    held = page.inner_text("#stage-title")
    page.clock.run_for(10_000)
    assert page.inner_text("#stage-title") == held
    page.locator("#pace").select_option("slow")
    page.clock.run_for(60_000)
    assert page.inner_text("#stage-title") == "The new answer"
    page.locator("#pace").select_option("fast")
    page.locator("#step").click()
    page.clock.run_for(100)
    assert page.inner_text("#stage-title") == "The new answer"
    assert page.evaluate("learning.taken") == 2


@pytest.mark.long
def test_a_step_that_would_not_be_finite_is_not_taken(visit, tmp_path):
    model, x = small(SGD(10.0), "mse", (3, "linear"))
    for weight in model.weights[-2:]:
        weight *= 1e15  # which grow, and are too large after a few steps
    page = visit(export(model, x, np.arange(20) % 3, tmp_path), 1366, 768)
    before = weights_of(page)
    click(page, "#samples button", 1)
    click(page, "#ten")
    page.wait_for_function("() => learning.step === null")
    settled(page)
    assert_array_equal(weights_of(page), before)
    assert "Choose a lower learning rate" in said(page)
    assert "Choose a lower learning rate" in page.inner_text("#stage-text")
    assert page.inner_text("#verdict-name") in set("012")
    counts = page.evaluate("[learning.undo.length, learning.taken, learning.optimizer.t]")
    assert counts == [0, 0, 0]
    assert page.locator("#unstep").get_attribute("aria-disabled") == "true"


@pytest.mark.long
def test_a_step_uses_what_is_on_the_pad_at_once(visit, tmp_path):
    """Also when the button is pressed before the next frame."""
    model, x = small()
    page = visit(export(model, x, np.arange(20) % 3, tmp_path), 1366, 768)
    click(page, "#samples button", 4)
    click(page, "#step")
    losses = page.evaluate("""() => [6, 8].map(n => {
        takeSample(n);
        $("step").click();
        const p = forward(model, model.samples.rows[n]).at(-1).a[model.samples.y[n]];
        return [learning.step.loss, -Math.log(p)];
    })""")
    assert losses[0][0] != losses[1][0]
    for loss, expected in losses:
        assert loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.long
def test_ten_steps_end_though_the_pace_is_changed(visit, tmp_path):
    model, x = small()
    page = visit(export(model, x, np.arange(20) % 3, tmp_path), 1366, 768, clock=True)
    page.locator("#samples button").nth(4).click()
    page.locator("#ten").click()
    page.clock.run_for(400)
    assert 1 < page.evaluate("learning.step.count") < 10
    page.locator("#pace").select_option("slow")
    page.clock.run_for(5000)
    assert page.evaluate("[learning.step.count, learning.taken]") == [10, 10]
    page.locator("#ten").click()  # and undone half-way
    page.clock.run_for(400)
    page.locator("#unstep").click()
    page.clock.run_for(5000)
    assert page.evaluate("[learning.step, learning.taken]") == [None, 10]


@pytest.mark.long
def test_undo_in_a_step_only_leaves_it(visit, tmp_path):
    model, x = small()
    page = visit(export(model, x, np.arange(20) % 3, tmp_path), 1366, 768)
    click(page, "#samples button", 4)
    page.locator("#pace").select_option("fast")
    click(page, "#step")
    after = weights_of(page)
    page.locator("#pace").select_option("next")
    click(page, "#step")
    click(page, "#unstep")
    assert_array_equal(weights_of(page), after)
    assert page.evaluate("learning.taken") == 1
    assert "left before the weights changed" in said(page)
    page.locator("#rate").select_option("0.1")  # is kept by what follows
    page.locator("#pace").select_option("fast")
    click(page, "#step")
    announced = []
    for _ in range(2):
        click(page, "#unstep")  # an equal text is announced, too
        announced.append(page.locator("#said").text_content())
    assert announced[0] != announced[1]
    assert page.locator("#rate").input_value() == "0.1"
    click(page, "#step")
    click(page, "#trained")
    assert page.inner_text("#unstep") == "Undo going back"
    click(page, "#ten")
    page.wait_for_function("() => learning.step?.count === 10")
    settled(page)
    assert page.inner_text("#unstep") == "Undo 10 steps"
    assert page.locator("#rate").input_value() == "0.1"


@pytest.mark.long
def test_the_focus_stays_in_the_unit_during_a_step(visit, tmp_path):
    model, x = small()
    page = visit(export(model, x, np.arange(20) % 3, tmp_path), 1366, 768, clock=True)
    page.locator("#samples button").nth(4).click()
    page.locator("#pace").select_option("slow")
    page.locator("#step").click()
    page.clock.run_for(100)
    while page.inner_text("#step") != "Next: change":
        page.clock.run_for(1000)
    page.locator("#unit-gradient").focus()
    page.clock.run_for(15_000)
    assert page.inner_text("#step") != "Next: change"
    assert focused(page, "e.id") == "unit-gradient"
    page.keyboard.press("ArrowDown")
    assert said(page).startswith("Change of one weight: pixel")
    page.locator("#unit-off").focus()
    before = page.evaluate("model.samples.wrong")
    for off in (True, False):
        page.keyboard.press("Space")
        page.clock.run_for(100)
        assert focused(page, "e.id") == "unit-off"
        assert page.locator("#unit-off").is_checked() == off
        answers = "model.samples.rows.map(x => bestOf(forward(model, x).at(-1).a))"
        found = array(page, answers) != array(page, "model.samples.y")
        assert page.evaluate("model.samples.wrong") == found.tolist()
    assert page.evaluate("model.samples.wrong") == before


@pytest.mark.long
@pytest.mark.parametrize("target", ["1e30", "1e39"])
def test_no_number_on_the_page_is_infinite(visit, tmp_path, target):
    """Where the weights would stay finite, but not the loss, or the mean of squared gradients."""
    model, x = small("adam", "mse", (1, "linear"))
    page = visit(export(model, x, np.linspace(-1, 1, 20), tmp_path), 1366, 768)
    before = weights_of(page)
    click(page, "#samples button", 2)
    page.locator("#truth-number").fill(target)
    for pace in ("next", "fast"):
        page.locator("#pace").select_option(pace)
        for button in ("#step", "#ten"):
            page.locator(button).click(force=True)
            settled(page)
            assert not re.search("∞|NaN|undefined|Infinity", page.inner_text("main"))
            assert "too large" in page.inner_text("#stage-text")
    assert_array_equal(weights_of(page), before)


# Other models


@pytest.mark.long
def test_why_nothing_can_be_learned_is_said(visit, tmp_path):
    model, x = small()
    page = visit(export(model, x, np.arange(20) % 3, tmp_path), 1366, 768)

    def hindered(words):
        before = weights_of(page)
        for name in ("#step", "#ten"):
            page.locator(name).click(force=True)
        settled(page)
        assert words in page.inner_text("#stage-text")
        assert page.locator("#step").get_attribute("aria-disabled") == "true"
        assert_array_equal(weights_of(page), before)

    hindered("Draw something")
    wrong = page.evaluate("model.samples.wrong.indexOf(true)")
    click(page, "#take")
    assert page.evaluate("state.sample") == wrong
    click(page, "#clear")
    draw(page, [[(0.5, 0.2), (0.5, 0.8)]])
    hindered("First say above what it is.")
    click(page, "#truth button", 2)
    assert page.locator("#step").get_attribute("aria-disabled") == "false"
    draw(page, [[(0.3, 0.2), (0.3, 0.8)]])  # another stroke of the same drawing
    assert page.locator("#step").get_attribute("aria-disabled") == "false"
    click(page, "#outputs button", 2)
    click(page, "#unit-off")
    hindered("Turn the right answer's output on again.")
    model.trainable = False
    page = visit(export(model, x, np.arange(20) % 3, tmp_path), 1366, 768)
    click(page, "#samples button")
    hindered("All layers are frozen")
    model, x = small(loss="mae")
    page = visit(export(model, x, np.arange(20) % 3, tmp_path))
    assert "not with MeanAbsoluteError" in page.inner_text("#learn")
    assert page.locator("#step").count() == 0


@pytest.mark.long
def test_a_single_output_learns_a_number(visit, tmp_path):
    model, x = small("sgd", "mse", (1, "linear"))
    y = np.linspace(-1, 1, 20)
    page = visit(export(model, x, y, tmp_path), 1366, 768)
    page.locator("#pace").select_option("fast")
    click(page, "#samples button", 2)
    x0 = array(page, "model.samples.rows[2]").astype("float32").reshape(1, 6, 6)
    assert float(page.locator("#truth-number").input_value()) == page.evaluate("model.samples.y[2]")
    assert numbers(page.locator("#brief").text_content()) == [
        pytest.approx(model.predict(x0, verbose=0)[0, 0], **NEAR)
    ]  # in the header, on a phone
    page.locator("#truth-number").fill("2.5")
    trace = model.trace(x0, np.array([2.5], "float32"))
    click(page, "#step")
    model.train_on_batch(x0, np.array([[2.5]], "float32"))
    assert_allclose(weights_of(page), vector(model), atol=1e-6)
    loss, after = numbers(page.inner_text("#stage-text"))[-2:]
    assert loss == pytest.approx(trace.loss, **NEAR)
    assert after == pytest.approx(float(model.trace(x0, np.array([2.5])).loss), **NEAR)
    page.locator("#truth-number").fill("")
    settled(page)
    assert page.inner_text("#stage-text") == "First say above what the output should be."


KINDS = {
    "no hidden layer": lambda: [Flatten(), (3, "softmax")],
    "activation layers": lambda: [Flatten(), Activation("tanh"), (4,), Activation("relu"), (3,)],
    "an activation at the top": lambda: [Flatten(), (4, "relu"), (3, "relu"), Activation("tanh")],
    "without bias": lambda: [Flatten(), (7, "tanh", False), (3, "softmax")],
    "dropout": lambda: [Flatten(), (7, "tanh"), Dropout(0.5), (3, "sigmoid")],
    "frozen": lambda: [Flatten(), Dense(7, "tanh", trainable=False), (3, "softmax")],
}


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "shape"), [*zip(KINDS, [(5, 5), (4, 7, 2), (9,)] * 2, strict=True)], ids=KINDS
)
def test_every_kind_of_model_goes_through_a_step(visit, tmp_path, rng, kind, shape):
    model = network(*KINDS[kind](), inputs=shape)
    x = rng.uniform(size=(20, *shape)).astype("float32")
    page = visit(tinynet.export_html(model, tmp_path / "page.html", (x, np.arange(20) % 3)))
    assert "not compiled" in page.inner_text("#learn-notes")
    assert ("leave out the dropout" in page.inner_text("#learn-notes")) == (kind == "dropout")
    page.locator("#pace").select_option("next")
    click(page, "#samples button", 3)
    loss = page.evaluate("computeStep().loss")
    before = weights_of(page)
    for layer in range(page.evaluate("model.layers.length")):
        page.evaluate(f"pin({{ layer: {layer}, unit: 0 }}); state.selected = state.pinned")
        click(page, "#step")
        while page.inner_text("#step") != "One more step":
            click(page, "#step")
            assert re.search(r"\d|no weights", page.inner_text("#stage-text"))
    assert page.evaluate("computeStep().loss") < loss
    changed = weights_of(page) != before
    assert changed.any()
    if kind == "frozen":
        assert changed.sum() <= 7 * 3 + 3


# The keyboard, and the smallest screen


def test_a_digit_is_learned_with_the_keyboard_alone(visit, digits_page):
    page = visit(digits_page, 1366, 768)
    page.locator("#pad").focus()
    press(page, *["ArrowUp"] * 9, "Space", *["ArrowDown"] * 18, "Space")
    for _ in range(80):
        press(page, "Tab")
        if focused(page, "e.textContent") == "7" and focused(page, "e.parentElement.id") == "truth":
            break
    press(page, "Enter", *["Tab"] * 3)
    assert focused(page, "e.id") == "step"
    before = weights_of(page)
    for _ in range(7):
        press(page, "Enter")
        assert focused(page, "e.id") == "step"
    assert said(page).startswith("The new answer. 7: ")
    assert (weights_of(page) != before).any()
    for name in ("unstep", "trained"):
        page.locator(f"#{name}").focus()
        press(page, "Enter")
        assert focused(page, "e.id") == name  # the focus stays, also when nothing is left to undo
    assert_array_equal(weights_of(page), before)
