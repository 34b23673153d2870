"""The page in a real browser: its results, its controls, its layout, and refused models."""

import base64
import json
import os
import re

import numpy as np
import pytest
import strokes
from arrays import assert_allclose, assert_array_equal
from networks import Scale, network, random_weights, tutorial
from webpage import (
    ACROSS,
    DOWN,
    PAD,
    TRAINING,
    answer,
    array,
    click,
    computed,
    draw,
    focused,
    ink_of,
    numbers_in,
    offending,
    pad_of,
    pixels_of,
    press,
    settled,
    texts,
    train,
    unit,
)

import tinynet
from tinynet.datasets.mnist import prepare_digit
from tinynet.layers import Activation, Dense, Dropout, Flatten
from tinynet.web import samples

# Results


def test_a_drawing_is_answered_as_by_predict(visit, tmp_path, rng):
    weights = [weight / 9 for weight in random_weights(rng, 784, 12, 10)]
    stack = Flatten(), (12, "tanh"), (10, "softmax")
    model = network(*stack, inputs=(28, 28), weights=weights)
    x = rng.uniform(size=(30, 28, 28)).astype("float32")
    page = visit(tinynet.export_html(model, tmp_path / "page.html", (x, np.arange(30) % 10)))
    assert_allclose(computed(page, x), model.predict(x, verbose=0), atol=1e-5)
    draw(page, strokes.varied(3, rng))
    prepared = prepare_digit(ink_of(page)).centred
    assert_allclose(array(page, "state.stages.centred.pixels"), prepared.ravel(), atol=2e-5)
    expected = model.predict(prepared[None], verbose=0)[0]
    assert_allclose(answer(page), expected, atol=1e-4)
    assert page.inner_text("#verdict-name") == str(expected.argmax())
    assert texts(page, "#outputs .value") == [f"{100 * p:.1f} %" for p in answer(page)]


def test_the_samples_include_some_wrong_predictions(page, digits_page, trained):
    model, x, y = trained
    said = model.predict(x, verbose=0)
    assert_allclose(computed(page, x[:1000]), said[:1000], atol=1e-5)
    truths, wrongs = page.evaluate("[model.samples.y, model.samples.wrong]")
    picked = samples.choose(y, said.argmax(axis=1) != y)
    assert y[picked].tolist() == truths
    assert (said[picked].argmax(axis=1) != truths).tolist() == wrongs
    assert len(truths) == 20
    assert set(truths) == set(range(10))
    assert 3 <= sum(wrongs) <= 6
    assert wrongs == sorted(wrongs)  # the mistakes come last
    for number, truth in enumerate(truths):
        click(page, "#samples button", number)
        outputs = said[picked[number]]
        assert_allclose(answer(page), outputs, atol=1e-5)
        assert page.inner_text("#verdict-name") == str(outputs.argmax())
        words = f"wrong: it is {truth}." if wrongs[number] else "correct."
        assert page.inner_text("#verdict-words").endswith(words)
    draw(page, [DOWN])  # removes the sample
    assert page.evaluate("state.sample") is None
    assert "it is" not in page.inner_text("#verdict-words")


MODELS = {
    "relu": lambda: [Flatten(), (7, "relu"), (3, "softmax")],
    "tanh without bias": lambda: [Flatten(), (7, "tanh", False), (3, "sigmoid")],
    "activation layers": lambda: [Flatten(), (5,), Activation("relu"), (3,), Activation("softmax")],
    "two activations": lambda: [Flatten(), Activation("tanh"), (3, "relu"), Activation("sigmoid")],
    "dropout and linear": lambda: [Dropout(0.5), Flatten(), (6, "linear"), Dropout(0.2), (1,)],
    "large logits": lambda: [Flatten(), (3, "softmax")],
}


@pytest.mark.long
@pytest.mark.parametrize("shape", [(5, 5), (4, 7, 1), (6, 6, 3), (9,)])
@pytest.mark.parametrize("kind", MODELS)
def test_every_supported_kind_of_model(visit, tmp_path, rng, kind, shape):
    model = network(*MODELS[kind](), inputs=shape)
    for weight in model.weights:
        weight[...] = rng.normal(size=weight.shape) * (40 if kind == "large logits" else 1)
    x = rng.normal(size=(20, *shape)).astype("float32")
    page = visit(tinynet.export_html(model, tmp_path / "page.html", (x, np.zeros(20, int))))
    assert_allclose(computed(page, x), model.predict(x, verbose=0), atol=1e-5)
    assert page.locator("#samples button").count() == 20
    click(page, "#samples button", 3)
    for layer in range(page.evaluate("model.layers.length")):
        page.evaluate(f"pin({{ layer: {layer}, unit: 0 }})")
        settled(page)
        assert re.search(r"= −?\d", page.inner_text("#unit-sum"))


def test_pixels_up_to_255_and_float16_weights(visit, tmp_path, trained):
    model, x, y = trained
    kernel, *rest = model.get_weights()
    # This network takes inputs from 0 to 255.
    twin = tutorial(loss=None, weights=[kernel / 255, *rest])
    raw = np.rint(x * 255).astype("uint8")
    page = visit(tinynet.export_html(twin, tmp_path / "raw.html", (raw, y), brightest=255))
    said = twin.predict(raw, verbose=0)
    click(page, "#samples button")
    first = samples.choose(y, said.argmax(axis=1) != y)[0]
    assert_allclose(answer(page), said[first], atol=1e-5)

    x, y = x[:500], y[:500]
    whole = tinynet.export_html(model, tmp_path / "whole.html", (x, y))
    small = tinynet.export_html(model, tmp_path / "half.html", (x, y), dtype="float16")
    weights = 4 / 3 * 4 * model.count_params()  # in base64
    saved = whole.stat().st_size - small.stat().st_size
    assert saved == pytest.approx(weights / 2, rel=0.01)
    answers, said = computed(visit(small), x), model.predict(x, verbose=0)
    assert_array_equal(answers.argmax(axis=1), said.argmax(axis=1))
    assert abs(answers - said).max() < 0.01


@pytest.mark.computes
def test_a_model_on_any_device_is_exported_identically(tmp_path, rng):
    weights = random_weights(rng, 36, 3, 2)
    model = network(Flatten(), (3, "relu"), (2,), inputs=(6, 6), weights=weights)
    page = tinynet.export_html(model, tmp_path / "page.html", (np.zeros((2, 6, 6)), np.arange(2)))
    data = json.loads(re.search(r'id="data">(.*?)</script>', page.read_text("utf-8"))[1])
    stored = [layer[name] for layer in data["layers"] for name in ("kernel", "bias")]
    assert stored == [base64.b64encode(weight).decode() for weight in weights]


def test_every_float16_is_read_exactly(page):
    numbers = np.arange(2**16, dtype="<u2").view("<f2")
    numbers = numbers[np.isfinite(numbers)]
    text = base64.b64encode(numbers.tobytes()).decode()
    read = array(page, f"floatsOf(bytesOf('{text}'), 'float16')")
    assert_array_equal(read, numbers.astype("float64"))


# Drawing


def test_digits_are_prepared_as_by_prepare_digit_and_recognised_anywhere(page, trained):
    """Draw sixty digits of varied size, position, slant and width, with and without preparation."""
    rng, drawn = np.random.default_rng(0), np.tile(np.arange(10), 6)
    answers, plain = [], []
    for digit in drawn:
        lines = [(PAD * stroke).tolist() for stroke in strokes.varied(digit, rng)]
        width = int(rng.integers(8, 49))
        drawing = "state.strokes = lines.map(points => ({ width, points })); changed();"
        page.evaluate(f"([lines, width]) => {{ {drawing} }}", [lines, width])
        settled(page)
        answers.append(int(page.inner_text("#verdict-name")))
        ink = ink_of(page)
        plain.append(ink.reshape(28, 10, 28, 10).mean(axis=(1, 3)))  # the whole pad, scaled
        prepared = prepare_digit(ink)
        for name in ("cropped", "scaled", "centred"):
            stage = f"state.stages.{name}"
            found = array(page, f"{stage}.pixels").reshape(page.evaluate(f"[{stage}.h, {stage}.w]"))
            assert_allclose(found, getattr(prepared, name), atol=2e-5)
    right = (np.array(answers) == drawn).mean()
    plain = trained[0].predict(np.stack(plain), verbose=0).argmax(axis=1)
    print(f"{right:.0%} right; {(plain == drawn).mean():.0%} without preparation")
    assert right >= 0.85
    assert (plain == drawn).mean() <= right - 0.2


def test_undo_clear_and_brush_width(page):
    assert page.inner_text("#verdict-name") == "–"
    assert texts(page, "#outputs .value") == [""] * 10
    draw(page, [[(0.95, 0.05)]], width=20)  # a tap is a dot at the pointer
    assert ink_of(page).sum() == pytest.approx(np.pi * 100, rel=0.1)
    (point,) = array(page, "state.strokes[0].points")
    assert point == pytest.approx((0.95 * PAD, 0.05 * PAD), abs=0.6)
    click(page, "#undo")
    draw(page, [DOWN], width=10)
    thin = ink_of(page)
    assert thin.sum() == pytest.approx(10 * 0.6 * PAD, rel=0.1)
    draw(page, [ACROSS], width=40)
    assert ink_of(page).sum() > 2 * thin.sum()
    press(page, "Control+z")
    assert_array_equal(ink_of(page), thin)
    assert page.inner_text("#verdict-name") != "–"
    for button in ("#clear", "#samples button"):
        click(page, button)
        assert ink_of(page).sum() == 0
        assert (page.inner_text("#verdict-name") == "–") == (button == "#clear")
        click(page, "#undo")  # restores a cleared drawing, and one replaced by a sample
        assert_array_equal(ink_of(page), thin)
    for _ in range(9):  # more often than there are strokes
        click(page, "#undo")
    assert ink_of(page).sum() == 0


def test_undo_during_a_stroke_ends_the_stroke(page):
    draw(page, [ACROSS])
    first = page.evaluate("JSON.stringify(state.strokes)")
    page.locator("#pad").focus()
    press(page, "Space", "ArrowDown", "ArrowDown", "Control+z", "ArrowUp", "ArrowUp", "Delete")
    press(page, "ArrowUp", "Control+z")
    assert page.evaluate("JSON.stringify(state.strokes)") == first
    draw(page, [[(0.2, 0.2), (0.2, 0.4), key, (0.4, 0.4)] for key in ("Control+z", "Delete")])
    assert page.evaluate("state.strokes.length") == 0


def test_drawing_by_touch_ignores_a_second_finger(visit, digits_page):
    page = visit(digits_page, 390, 800, has_touch=True, is_mobile=True)
    place, client = pad_of(page), page.context.new_cdp_session(page)

    def touch(kind, *points):
        places = [dict(zip("xy", place(*point), strict=True)) for point in points]
        where = [{**at, "id": number} for number, at in enumerate(places)]
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": where})

    scrolled = page.evaluate("scrollY")
    touch("touchStart", (0.5, 0.2))
    for y in np.linspace(0.25, 0.8, 12):
        touch("touchMove", (0.5, y))
    touch("touchStart", (0.5, 0.8), (0.1, 0.1))
    touch("touchMove", (0.5, 0.82), (0.2, 0.2))
    touch("touchEnd")
    settled(page)
    assert page.evaluate("state.strokes.length") == 1
    assert page.evaluate("scrollY") == scrolled  # drawing does not scroll
    across, down = array(page, "state.strokes[0].points").T
    assert np.ptp(across) < 3
    assert (down.min(), down.max()) == pytest.approx((0.2 * PAD, 0.82 * PAD), abs=4)
    assert page.inner_text("#verdict-name") != "–"


def test_the_page_can_be_used_with_the_keyboard_alone(page):
    for name in ("theme", "pad"):
        press(page, "Tab")
        assert focused(page) == name
    press(page, *["ArrowUp"] * 9, "Space", *["ArrowDown"] * 18, "Space", *["ArrowRight"] * 5)
    assert page.evaluate("state.strokes.length") == 1
    across, down = array(page, "state.strokes[0].points").T
    assert (set(across), down.min(), down.max()) == ({140}, 68, 212)
    words = page.inner_text("#verdict-name") + " with"
    page.wait_for_function("words => $('spoken').textContent.startsWith(words)", arg=words)
    # Every other control can be reached, and the focus is visible.
    outlines, outline = {}, "[e.closest('[id]')?.id, getComputedStyle(e).outlineStyle]"
    for _ in range(60):
        page.keyboard.press("Tab")
        outlines |= [focused(page, outline)]
    outlines.pop(None, None)  # outside the page
    assert {"brush", "undo", "clear", "samples", "layers", "outputs", "temperature"} <= {*outlines}
    assert set(outlines.values()) == {"solid"}
    # To a unit of a layer, to its switch, off, on again, and back.
    page.locator(unit(0, 0)).focus()
    steps = [
        (["ArrowRight", "ArrowDown"], "unit 12", []), (["Enter"], "unit-off", []),
        (["Space"], "unit-off", [11]), (["Tab"], "all-on", [11]),
        (["Enter"], "unit-off", []), (["Escape"], "unit 12", []),
    ]  # fmt: skip
    for keys, focus, off in steps:
        press(page, *keys)
        assert focus in focused(page)
        assert "unit 12" in page.inner_text("#unit-title")
        assert page.evaluate("[...model.layers[0].off]") == off
        assert ("turned off" in page.inner_text("#unit-activation")) == bool(off)
        assert page.get_by_label("Turn this unit off").is_checked() == bool(off)
    # Tab moves on to the other layers; leaving them shows the pinned unit again.
    press(page, "Tab")
    assert page.inner_text("#unit-title") == focused(page)
    assert "unit 1" in focused(page)
    page.locator("#theme").focus()
    settled(page)
    assert "unit 12" in page.inner_text("#unit-title")
    page.locator("#pad").focus()
    press(page, "Delete")
    assert page.inner_text("#verdict-name") == "–"


# Units and outputs


def test_a_unit_shows_its_weights_its_sum_and_its_largest_terms(page, trained):
    click(page, "#samples button", 4)
    click(page, unit(0, 37))
    x = array(page, "model.samples.rows[4]").astype("float32")
    kernel, bias = (weight.T[37] for weight in trained[0].get_weights()[:2])
    share, z = x * kernel, x @ kernel + bias
    near = {"abs": 6e-4}
    (line,), (result,) = texts(page, "#unit-sum"), texts(page, "#unit-activation")
    assert numbers_in(line) == pytest.approx([x @ kernel, bias, z], **near)
    assert numbers_in(result) == pytest.approx([1 / (1 + np.exp(-z))], **near)
    rows = [row.split("\t") for row in texts(page, "#unit-top tr")]
    assert len(rows) == 6
    (foot,) = texts(page, "#unit-terms tfoot tr")
    assert numbers_in(foot) == numbers_in(line)[:1]  # the sum of all, as in the line above
    for (name, *values), pixel in zip(rows, np.argsort(-abs(share))[:6], strict=True):
        assert name == f"pixel {pixel % 28 + 1} → {pixel // 28 + 1} ↓"
        expected = [x[pixel], kernel[pixel], share[pixel]]
        assert [*map(float, values)] == pytest.approx(expected, **near)
    # The picture: a weight's colour is interpolated between those of 0 and of the largest weight.
    zero, positive, negative = array(page, "[palette.zero, palette.positive, palette.negative]")
    scaled = (kernel / abs(kernel).max()).reshape(28, 28, 1)
    colours = zero + (np.where(scaled > 0, positive, negative) - zero) * abs(scaled)
    assert_allclose(pixels_of(page, "#unit canvas")[..., :3], colours, atol=2)
    # A unit of the next layer has one weight for each unit of the first layer.
    page.locator(unit(1, 3)).hover()
    settled(page)
    assert "unit 4" in page.inner_text("#unit-title")
    assert pixels_of(page, "#unit canvas").shape == (10, 10, 4)
    # Leaving it shows the clicked unit again.
    page.mouse.move(5, 5)
    settled(page)
    assert "unit 38" in page.inner_text("#unit-title")


def test_a_unit_that_is_turned_off_outputs_zero(page, trained):
    click(page, "#samples button", 7)
    click(page, unit(1, 20))
    before = answer(page)
    click(page, "#unit-off")
    weights, image = trained[0].get_weights(), array(page, "model.samples.rows[7]")
    weights[4][20] = 0  # from this unit to the outputs
    expected = tutorial(weights=weights).predict(image.reshape(1, 28, 28), verbose=0)[0]
    assert_allclose(answer(page), expected, atol=1e-5)
    assert abs(answer(page) - before).max() > 1e-6


def test_softmax_step_by_step_with_a_temperature_and_without_an_output(page):
    click(page, "#samples button", 18)
    click(page, "#steps summary")
    page.locator("#temperature").fill("0.6")
    settled(page)
    temperature = 10**0.6
    assert page.inner_text("#temperature-value") == f"{temperature:.2f}"
    logits = array(page, "state.passes.at(-1).z")
    z = logits.copy()
    for off in (None, int(z.argmax())):
        if off is not None:
            click(page, "#outputs button", off)
            click(page, "#unit-off")
            z[off] = -np.inf  # a probability of 0
        powers = np.exp((z - z.max()) / temperature)
        p = powers / powers.sum()
        assert_allclose(answer(page), p, atol=1e-9)
        assert page.inner_text("#verdict-name") == str(p.argmax())
        assert texts(page, "#outputs .value")[p.argmax()] == f"{100 * p.max():.1f} %"
        *rows, _ = (row.split("\t")[1:] for row in texts(page, "#steps-table tbody tr"))
        table = [[float(cell.replace("∞", "inf").split(" %")[0]) for cell in row] for row in rows]
        columns = logits, z / temperature, (z - z.max()) / temperature, powers, 100 * p
        rtol, atol = (0, 0, 0, 0.06, 0), (6e-3, 6e-3, 6e-3, 6e-4, 0.06)
        assert np.isclose(table, np.transpose(columns), rtol, atol).all()


# Layout and accessibility


COLOURS = """() => {
    const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
    const back = (e) => rgb(getComputedStyle(e).backgroundColor);
    const texts = (e) => [...e.childNodes].filter(n => n.nodeType === 3 && n.data.trim());
    return [...document.querySelectorAll("body *")].filter(e =>
        texts(e).length && e.checkVisibility() && !e.closest("script, .unseen")).map(e => {
        let behind = e; // the first element whose background is opaque
        while (behind && (back(behind)[3] ?? 1) < 1) behind = behind.parentElement;
        const colours = [rgb(getComputedStyle(e).color), behind ? back(behind) : [255, 255, 255]];
        return [texts(e)[0].data.trim(), ...colours.map(c => c.slice(0, 3))];
    });
}"""


def assert_readable(page):
    """Assert that everything fits, each control has a name and a size, and each text a contrast."""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    wide = "e.scrollWidth > e.clientWidth + 1"
    shown = "!e.children.length && getComputedStyle(e).display !== 'inline'"
    assert offending(page, "section *:not(.unseen)", f"{shown} && {wide}") == []
    assert offending(page, ".table", wide) == []
    small = "e.offsetWidth > 0 && Math.min(e.offsetWidth, e.offsetHeight) < 20"
    assert offending(page, "button, input, select", f"!e.closest('.units') && {small}") == []
    label = "e.ariaLabel || e.getAttribute('aria-labelledby') || e.labels?.length"
    named = f"{label} || e.textContent.trim() || e.closest('button') || e.ariaHidden"
    assert offending(page, "button, input, canvas, section", f"!({named})") == []
    words, *colours = zip(*page.evaluate(COLOURS), strict=True)
    c = np.array(colours) / 255  # (text and background, words, rgb)
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    dark, light = np.sort(linear @ [0.2126, 0.7152, 0.0722], axis=0) + 0.05
    assert np.array(words)[light / dark < 4.5].tolist() == []  # contrast as WCAG defines it


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(360, 740), (768, 1024), (1280, 900), (3840, 2160)])
def test_the_page_is_readable_on_every_screen(visit, digits_page, size, scheme):
    """In every tab, in a step of learning and in training, with a unit selected, in both themes."""
    page = visit(digits_page, *size, color_scheme=scheme)
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    assert page.locator("html[lang=en] h1").count() == 1
    assert_readable(page)
    click(page, "#samples button", 17)
    tabs = page.locator("#tabs button:visible").count()
    assert tabs == (4 if size[0] == 360 else 0)
    for tab in range(tabs or 1):
        if tabs:
            click(page, "#tabs button", tab)
        if not tabs or tab == 3:
            click(page, "#steps summary")
        if not tabs or tab == 1:
            click(page, unit(0, 5))
            click(page, "#unit-close") if tabs else None
        assert_readable(page)
        if not tabs or tab == 2:
            page.locator("#pace").select_option("next")
            while page.inner_text("#step") != "One more step":
                click(page, "#step")
                assert_readable(page)
            click(page, TRAINING)
            assert_readable(page)
            for steps in (1, 300):
                train(page, steps)
                assert_readable(page)
            click(page, "#download")
            assert_readable(page)
        click(page, "#theme")
        assert page.inner_text("#theme").lower() == scheme  # the button says what it will do
        assert_readable(page)
        click(page, "#theme")


def test_a_unit_that_is_pointed_at_is_visible_without_scrolling(page):
    """On common screen sizes, also when the unit is further down the page."""
    for width, height in ((1366, 768), (1280, 720), (1920, 1080)):
        page.set_viewport_size({"width": width, "height": height})
        for one, title in (((0, 5), "unit 6"), ((1, 143), "unit 144")):
            page.locator(unit(*one)).hover()
            settled(page)
            assert title in page.inner_text("#unit-title")
            box = page.locator("#unit canvas").first.bounding_box()
            assert 0 <= box["y"] <= height - box["height"]


# Other inputs and outputs


@pytest.mark.long
@pytest.mark.parametrize("lowest", [-2, 1])
def test_a_vector_input_is_shown_as_bars(visit, tmp_path, rng, lowest):
    model = network((5, "tanh"), (2, "softmax"), inputs=(4,))
    x = rng.uniform(lowest, 3, (30, 4)).astype("float32")
    page = visit(tinynet.export_html(model, tmp_path / "v.html", (x, np.zeros(30, int))))
    assert page.inner_text("#input-title") == "The input"
    low, high = page.evaluate("model.input.range")
    rows = array(page, "model.samples.rows.map(row => [...row])")
    assert (low, high) == pytest.approx((min(rows.min(), 0), max(rows.max(), 0)))
    draw(page, [[(0.6, 0.25)]])
    expected = [0, 0, high - 0.25 * (high - low), 0]
    assert array(page, "state.values") == pytest.approx(expected, abs=0.05)
    page.locator("#pad").focus()
    press(page, "ArrowLeft", "ArrowUp")
    values = array(page, "state.values").astype("float32")
    assert values[1] == pytest.approx((high - low) / 20)
    assert page.locator("#pad").get_attribute("aria-valuetext").startswith("number 2 is ")
    assert_allclose(answer(page), model.predict(values[None], verbose=0)[0], atol=1e-6)
    click(page, "#clear")
    assert_array_equal(array(page, "state.values"), np.zeros(4))


@pytest.mark.long
@pytest.mark.parametrize(
    ("shape", "options", "stages"),  # the height fills the box, first of 20 × 30 pixels
    [((28, 42), {}, [[28, 42], [20, 19]]), ((64,), {"image_shape": (8, 8)}, [[8, 8], [8, 5]])],
)
def test_a_rectangular_image_and_a_vector_as_an_image(visit, tmp_path, shape, options, stages):
    model = network(Flatten(), (3, "softmax"), inputs=shape)
    page = visit(tinynet.export_html(model, tmp_path / "p.html", **options))
    assert page.inner_text("#verdict-words") == "Draw something."
    assert page.locator("#samples-part").count() == 0
    box = page.locator("#pad").bounding_box()
    assert box["height"] / box["width"] == pytest.approx(np.divide(*stages[0]), abs=0.03)
    draw(page, [[(0.2, 0.1), (0.7, 0.9)]], width=20)
    sizes = "[state.stages.centred, state.stages.scaled].map(s => [s.h, s.w])"
    assert page.evaluate(sizes) == stages
    values = array(page, "state.values")
    assert values.shape == (np.prod(stages[0]),)
    assert_array_equal(array(page, "state.stages.centred.pixels"), values)


@pytest.mark.long
def test_a_colour_image_is_shown_with_its_pixels(visit, tmp_path):
    model = network(Flatten(), (3, "softmax"), inputs=(8, 8, 3))
    x = np.zeros((3, 8, 8, 3), "float32")
    x[:, 2:4, 1:7, 1:] = 1
    page = visit(tinynet.export_html(model, tmp_path / "p.html", (x, np.arange(3))))
    click(page, "#samples button")
    page.evaluate("pin({ layer: 0, unit: 0 })")
    settled(page)
    red = pixels_of(page, "#pad")[:, :, 0]
    rows = (len(red) * np.array([0.3, 0.45, 0.6, 0.9])).astype(int)
    assert (red[rows, red.shape[1] // 2] < 140).tolist() == [True, True, False, False]
    assert ", channel " in page.inner_text("#unit-top")


@pytest.mark.long
def test_a_single_output_and_special_characters_in_names(visit, tmp_path):
    wicked = "</script><script>alert('x')</script><!-- {{data}} \u2028 &amp; '\"\\"
    model = network(Flatten(), Dense(1, "sigmoid", name="<i>x"), inputs=(6, 6))
    given = np.linspace(0, 1, 144).reshape(4, 6, 6), np.array([[False], [True], [True], [False]])
    page = visit(tinynet.export_html(model, tmp_path / "p.html", given, [wicked], title=wicked))
    assert page.locator("#outputs button span:first-child").all_text_contents() == [wicked]
    assert page.inner_text("h1").split() == wicked.split()
    assert json.loads(page.locator("#data").text_content())["labels"] == [wicked]
    names = [b.get_attribute("aria-label") for b in page.locator("#samples button").all()]
    assert names == ["Sample 1, a 0", "Sample 2, a 0", "Sample 3, a 1", "Sample 4, a 1"]
    click(page, "#samples button", 3)
    assert re.search(r"\\: 0\.\d+; the sample is 1\.$", page.inner_text("#verdict-words"))


# Refused models and arguments


X, Y = np.zeros((5, 4, 4), "float32"), np.arange(5) % 3
MODEL = network(Flatten(), (3,), inputs=(4, 4))
SINGLE = network(Flatten(), (1,), inputs=(4, 4))
LABELS, BOX = "Expected labels to be a list of names", "Expected box to be from 1 to 4 pixels"
CLASSES = "class numbers from 0 to 2"
VECTOR = "neither box nor brightest for a plain vector"


def filled(value):
    return network((3,), inputs=(4,), weights=[np.full((4, 3), value), np.zeros(3)])


CLOSE = network((2,), inputs=(4,), weights=[np.full((4, 2), [1, 1 + 1e-5]), np.zeros(2)])
ON_CLOSE = {"samples": (np.ones((3, 4)), np.ones(3, int)), "dtype": "float16"}
REFUSED = [
    # Models
    (network((3,)), {}, "received one that is not built"),
    ("digits.html", {}, "Expected a model, received 'digits.html'. Write: export_html"),
    (network(Scale(name="mine"), inputs=(4,)), {}, r"'mine' \(Scale\): .*Write: a Sequential of"),
    (network((3, np.sin), inputs=(4,)), {}, "does not support its activation"),
    (network(Dense(3, name="d"), inputs=(4, 4)), {}, r"layer 'd' .*input is \(4, 4\).*Flatten"),
    (network(Flatten("channels_first"), (3,), inputs=(2, 2, 3)), {}, "page supports Dense"),
    (network(Flatten(), (3,), inputs=(2, 2, 2, 2)), {}, "Expected a model of images"),
    (network(Flatten(), inputs=(4, 4)), {}, "layers that compute, received none"),
    (filled(np.nan), {}, "Expected weights that are finite in float32"),
    (filled(1e6), {"dtype": "float16"}, r'finite in float16.*Write: dtype="float32"'),
    (CLOSE, ON_CLOSE, r'received 3 different ones on 3 samples. Write: dtype="float32"'),
    (network((3,), inputs=(4,)), {"box": 3}, VECTOR),
    (network((3,), inputs=(4,)), {"brightest": 255}, VECTOR),
    # Arguments
    (MODEL, {"path": "digits.htm"}, 'must end in `.html`.*Write: "digits.htm.html"'),
    (MODEL, {"path": None}, "Expected a file's name, received: None"),
    (MODEL, {"path": "folder.html"}, "Expected a file, received the folder"),
    (MODEL, {"samples": X}, r"Write: samples=\(x_test, y_test\)"),
    (MODEL, {"samples": (X, Y[:4])}, "Make sure all arrays contain the same number of samples"),
    (MODEL, {"samples": (X, Y + 1)}, f"{CLASSES}, or one-hot rows of 3, received 5"),
    (MODEL, {"samples": (X[:, :3], Y)}, "incompatible with the layer|shape"),
    (MODEL, {"samples": (X * np.nan, Y)}, "Expected finite samples"),
    (SINGLE, {"samples": (X, Y * np.nan)}, "Expected finite targets"),
    (MODEL, {"samples": (X, np.eye(5))}, r"labels of shape \(5, 5\)"),
    (MODEL, {"samples": (X, Y + 0.4)}, CLASSES),
    (MODEL, {"samples": (X, Y * np.nan)}, CLASSES),
    (MODEL, {"samples": (X + 200, Y)}, "Expected pixels of up to 1, received samples of up to 200"),
    (MODEL, {"labels": ["a", "b"]}, "a name for each of the 3 outputs, received 2 labels"),
    (MODEL, {"labels": 3}, f"{LABELS}, received: 3"),
    (MODEL, {"labels": "abc"}, LABELS),
    (MODEL, {"dtype": "int8"}, "dtype"),
    (MODEL, {"brightest": 0}, "brightest"),
    (MODEL, {"box": 5}, BOX),
    (MODEL, {"box": "all"}, BOX),
    (MODEL, {"box": (4, 5)}, BOX),
    (MODEL, {"image_shape": (4, 4)}, "Expected an image_shape with as many pixels as the model"),
    (MODEL, {"image_shape": 16}, r"Expected image_shape to be \(h, w\), received: 16"),
]


@pytest.mark.parametrize(
    ("model", "arguments", "words"), REFUSED, ids=[f"{case[1]} {case[2]}"[:50] for case in REFUSED]
)
def test_what_the_page_cannot_show_is_refused(tmp_path, monkeypatch, model, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.html").mkdir()
    before = [weight.copy() for weight in getattr(model, "weights", ())]
    with pytest.raises(ValueError, match=words):
        tinynet.export_html(model, **{"path": "page.html", **arguments})
    assert os.listdir() == ["folder.html"]
    np.testing.assert_equal([*getattr(model, "weights", ())], before)
