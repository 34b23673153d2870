"""The page in a real browser: its results, its controls, its layout, and refused models."""

import base64
import importlib.util
import json
import os
import re
import shutil

import numpy as np
import pytest
import strokes
from arrays import assert_allclose, assert_array_equal
from networks import SPARSE, network, random_weights, tutorial

import tinynet
from tinynet.datasets.mnist import prepare_digit
from tinynet.layers import Activation, Dense, Dropout, Flatten
from tinynet.web import samples

PAD = 280  # pixels of the drawing, for a square image


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium; outside CI, tests that need it are skipped where it is missing."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    path, missing = next(filter(None, map(shutil.which, names)), None), ""
    if path is None:
        missing = "Chromium is not installed, for example by: apt-get install chromium"
    elif importlib.util.find_spec("playwright") is None:
        missing = "Playwright, which drives the browser, is not installed: pip install playwright"
    if missing:
        assert "CI" not in os.environ, "in CI, the page must be tested in a browser"
        pytest.skip(missing)
    from playwright.sync_api import sync_playwright

    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=path, args=["--no-sandbox"]) as started,
    ):
        yield started


@pytest.fixture
def visit(browser):
    """Open a page as a file, and assert that it loads nothing else and logs nothing."""
    said, asked, pages = [], [], []

    def opened(path, width=1280, height=900, **options):
        page = browser.new_page(viewport={"width": width, "height": height}, **options)
        pages.append(page)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        return page

    yield opened
    for page in pages:
        page.close()
    assert said == []
    loaded = [url.split(":")[0] for url in asked if not url.startswith("data:")]
    assert loaded == ["file"] * len(pages)


# Only long tests need it: the others open the page once.
@pytest.fixture(scope="module", params=[pytest.param("trained", marks=pytest.mark.long)])
def trained(mnist):
    """The tutorial's network after three epochs, with 10,000 other images and their labels."""
    images, labels = mnist[0] / np.float32(255), mnist[1]
    tinynet.utils.set_random_seed(5)
    model = tutorial(loss=SPARSE)
    model.fit(images[:-10_000], labels[:-10_000], epochs=3, verbose=0)
    return model, images[-10_000:], labels[-10_000:]


@pytest.fixture(scope="module")
def digits_page(trained, tmp_path_factory):
    model, x, y = trained
    return tinynet.export_html(model, tmp_path_factory.mktemp("page") / "digits.html", (x, y))


def settled(page):
    """Wait for two frames, until the page shows its new state."""
    page.evaluate("() => new Promise(d => requestAnimationFrame(() => requestAnimationFrame(d)))")


def click(page, selector, number=0):
    page.locator(selector).nth(number).click()
    settled(page)


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)
    settled(page)


def array(page, expression):
    """Return an array of the page, such as the answer, as a NumPy array."""
    return np.array(page.evaluate(f"[...{expression}]"))


def answer(page):
    return array(page, "state.passes.at(-1).a")


def focused(page, what="id"):
    return page.evaluate(f"document.activeElement.{what}")


def pad_of(page):
    """Return a function from fractions of the pad's size to a position on the page."""
    page.locator("#pad").scroll_into_view_if_needed()
    box = page.locator("#pad").bounding_box()
    return lambda x, y: (box["x"] + x * box["width"], box["y"] + y * box["height"])


def draw(page, lines, width=None):
    """Draw lines with the mouse; coordinates are fractions of the pad's size."""
    if width is not None:
        page.locator("#brush").fill(str(width))
    place = pad_of(page)
    for first, *others in lines:
        page.mouse.move(*place(*first))
        page.mouse.down()
        for point in others:
            page.mouse.move(*place(*point))
        page.mouse.up()
    settled(page)


DOWN, ACROSS = [(0.5, 0.2), (0.5, 0.8)], [(0.3, 0.5), (0.7, 0.5)]


def ink_of(page):
    """Return the page's drawing, of shape (280, 280), with values from 0 to 1."""
    text = page.evaluate(
        "() => btoa(inkOfDrawing().reduce("
        "(s, v) => s + String.fromCharCode(Math.round(255 * v)), ''))"
    )
    return np.frombuffer(base64.b64decode(text), "uint8").reshape(PAD, PAD) / np.float32(255)


def computed(page, x):
    """Return the outputs of the page's forward pass for the rows of `x`."""
    rows = np.ascontiguousarray(x.reshape(len(x), -1), "<f4")
    script = """([text, length]) => {
        const all = floatsOf(text, "float32"), found = [];
        for (let i = 0; i < all.length; i += length)
            found.push([...forward(model, all.subarray(i, i + length)).at(-1).a]);
        return found;
    }"""
    text = base64.b64encode(rows.tobytes()).decode()
    return np.array(page.evaluate(script, [text, rows.shape[1]]))


def texts(page, selector):
    """Return the texts of some elements, with plain spaces and minus signs."""
    found = page.locator(selector).all_inner_texts()
    return [text.replace("\xa0", " ").replace("−", "-") for text in found]


def offending(page, selector, condition):
    """Return the elements, as HTML, for which a condition in JavaScript holds."""
    return page.evaluate(
        f"[...document.querySelectorAll('{selector}')].filter(e => {condition})"
        ".map(e => e.outerHTML.slice(0, 80))"
    )


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


def test_the_samples_include_some_wrong_predictions(visit, digits_page, trained):
    model, x, y = trained
    assert digits_page.stat().st_size < 1_000_000
    page = visit(digits_page)
    said = model.predict(x, verbose=0)
    assert_allclose(computed(page, x[:1000]), said[:1000], atol=1e-5)
    truths, wrongs = page.evaluate("[model.samples.y, model.samples.wrong]")
    assert len(truths) == 20
    assert set(truths) == set(range(10))
    assert 3 <= sum(wrongs) <= 6
    picked = samples.choose(y, said.argmax(axis=1) != y)
    assert y[picked].tolist() == truths
    for number, (truth, wrong) in enumerate(zip(truths, wrongs, strict=True)):
        click(page, "#samples button", number)
        outputs = said[picked[number]]
        assert page.inner_text("#verdict-name") == str(outputs.argmax())
        assert (outputs.argmax() != truth) == wrong
        words = page.inner_text("#verdict-words")
        assert words.endswith(f"wrong: it is a {truth}." if wrong else "correct.")
        assert_allclose(answer(page), outputs, atol=1e-5)
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
    assert small.stat().st_size < 0.65 * whole.stat().st_size
    answers, said = computed(visit(small), x), model.predict(x, verbose=0)
    assert_array_equal(answers.argmax(axis=1), said.argmax(axis=1))
    assert abs(answers - said).max() < 0.01


@pytest.mark.computes
def test_a_model_on_any_device_is_exported_identically(tmp_path, rng):
    weights = random_weights(rng, 36, 3, 2)
    model = network(Flatten(), (3, "relu"), (2,), inputs=(6, 6), weights=weights)
    page = tinynet.export_html(model, tmp_path / "page.html", (np.zeros((2, 6, 6)), np.arange(2)))
    data = json.loads(re.search(r'id="data">(.*?)</script>', page.read_text("utf-8"))[1])
    for layer, *expected in zip(data["layers"], weights[::2], weights[1::2], strict=True):
        for name, array in zip(("kernel", "bias"), expected, strict=True):
            stored = np.frombuffer(base64.b64decode(layer[name]), "<f4")
            assert_array_equal(stored, array.ravel())
    kinds = [(layer["units"], layer["activation"]) for layer in data["layers"]]
    assert kinds == [(3, "relu"), (2, "linear")]


# Drawing


@pytest.mark.parametrize("width", [8, 22, 48])
def test_the_page_prepares_a_drawing_as_prepare_digit_does(visit, digits_page, width):
    page = visit(digits_page)
    for digit, rng in ((3, np.random.default_rng(1)), (7, np.random.default_rng(2))):
        click(page, "#clear")
        draw(page, strokes.varied(digit, rng), width)
        ink = ink_of(page)
        assert 0.01 < ink.mean() < 0.5
        stages = prepare_digit(ink)
        for name in ("cropped", "scaled", "centred"):
            stage, here = f"state.stages.{name}", getattr(stages, name)
            assert page.evaluate(f"[{stage}.h, {stage}.w]") == list(here.shape)
            assert_allclose(array(page, f"{stage}.pixels"), here.ravel(), atol=2e-5)


def test_prepared_digits_are_recognised_wherever_they_are_drawn(visit, digits_page, trained):
    """Draw sixty digits of varied size, position, slant and width, with and without preparation."""
    page, rng = visit(digits_page), np.random.default_rng(0)
    drawn = np.tile(np.arange(10), 6)
    answers, plain = [], []
    for digit in drawn:
        lines = [(PAD * stroke).tolist() for stroke in strokes.varied(digit, rng)]
        width = int(rng.integers(10, 34))
        page.evaluate(
            "([lines, width]) => { state.strokes = lines.map(points => ({ width, points })); }",
            [lines, width],
        )
        page.evaluate("changed()")
        settled(page)
        answers.append(int(page.inner_text("#verdict-name")))
        # Without preparation: the whole pad is scaled to 28 × 28.
        plain.append(ink_of(page).reshape(28, 10, 28, 10).mean(axis=(1, 3)))
    right = (np.array(answers) == drawn).mean()
    plain = trained[0].predict(np.stack(plain), verbose=0).argmax(axis=1)
    print(f"{right:.0%} right; {(plain == drawn).mean():.0%} without preparation")
    assert right >= 0.85
    assert (plain == drawn).mean() <= right - 0.2


def test_undo_clear_and_brush_width(visit, digits_page):
    page = visit(digits_page)
    assert page.inner_text("#verdict-name") == "–"
    assert texts(page, "#outputs .value") == [""] * 10
    draw(page, [DOWN], width=10)
    thin = ink_of(page)
    assert thin.sum() == pytest.approx(10 * 0.6 * PAD, rel=0.1)
    draw(page, [ACROSS], width=40)
    assert ink_of(page).sum() > 2 * thin.sum()
    click(page, "#undo")
    assert_array_equal(ink_of(page), thin)
    draw(page, [ACROSS])
    press(page, "Control+z")
    assert_array_equal(ink_of(page), thin)
    assert page.inner_text("#verdict-name") != "–"
    click(page, "#clear")
    assert ink_of(page).sum() == 0
    assert page.inner_text("#verdict-name") == "–"
    click(page, "#undo")  # restores a cleared drawing, and one replaced by a sample
    assert_array_equal(ink_of(page), thin)
    click(page, "#samples button")
    click(page, "#undo")
    assert_array_equal(ink_of(page), thin)
    for _ in range(9):  # more often than there are strokes
        click(page, "#undo")
    assert ink_of(page).sum() == 0
    draw(page, [[(0.5, 0.5)]], width=20)  # a tap is a dot
    assert ink_of(page).sum() == pytest.approx(np.pi * 100, rel=0.1)


def test_undo_during_a_stroke_ends_the_stroke(visit, digits_page):
    page = visit(digits_page)
    draw(page, [ACROSS])
    first = page.evaluate("JSON.stringify(state.strokes)")
    page.locator("#pad").focus()
    press(page, "Space", "ArrowDown", "ArrowDown", "Control+z", "ArrowUp", "ArrowUp", "Delete")
    press(page, "ArrowUp", "Control+z")
    assert page.evaluate("JSON.stringify(state.strokes)") == first
    place = pad_of(page)
    for key in ("Control+z", "Delete"):
        page.mouse.move(*place(0.2, 0.2))
        page.mouse.down()
        page.mouse.move(*place(0.2, 0.4))
        page.keyboard.press(key)
        page.mouse.move(*place(0.4, 0.4))
        page.mouse.up()
    settled(page)
    assert page.evaluate("state.strokes.length") == 0


def test_a_line_is_drawn_at_the_pointer(visit, digits_page):
    page = visit(digits_page)
    right, top = page.evaluate(
        """() => { const p = $("pad"), b = p.getBoundingClientRect();
        return [b.left + p.clientLeft + p.clientWidth, b.top + p.clientTop]; }"""
    )
    page.mouse.click(right - 1, top + 1)
    assert page.evaluate("state.strokes[0].points[0]") == pytest.approx([PAD - 1, 1], abs=0.6)


def test_drawing_by_touch_ignores_a_second_finger(visit, digits_page):
    page = visit(digits_page, 390, 800, has_touch=True, is_mobile=True)
    place, client = pad_of(page), page.context.new_cdp_session(page)

    def touch(kind, *points):
        places = [place(*point) for point in points]
        where = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(places)]
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


def test_the_page_can_be_used_with_the_keyboard_alone(visit, digits_page):
    page = visit(digits_page)
    for name in ("theme", "pad"):
        press(page, "Tab")
        assert focused(page) == name
    press(page, *["ArrowUp"] * 9, "Space", *["ArrowDown"] * 18, "Space", *["ArrowRight"] * 5)
    assert page.evaluate("state.strokes.length") == 1
    across, down = array(page, "state.strokes[0].points").T
    assert (set(across), down.min(), down.max()) == ({140}, 68, 212)
    assert page.inner_text("#verdict-name") != "–"
    # Every other control can be reached, and the focus is visible.
    seen = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        name = focused(page, "closest('[id]')?.id")
        if name and name not in seen:
            seen.add(name)
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert (name, outline) == (name, "solid")
    assert {"brush", "undo", "clear", "samples", "layers", "outputs", "temperature"} <= seen
    # Moving through the units of a layer.
    page.locator(unit(0, 0)).focus()
    press(page, "ArrowRight", "ArrowDown")
    label = "getAttribute('aria-label')"
    assert "unit 12" in page.inner_text("#unit-title")
    assert "unit 12" in focused(page, label)
    # To the unit's switch: off, on again, and back.
    press(page, "Enter")
    assert focused(page) == "unit-off"
    press(page, "Space")
    assert page.evaluate("[...model.layers[0].off]") == [11]
    assert "turned off" in page.inner_text("#unit-activation")
    press(page, "Tab")
    assert focused(page) == "all-on"
    press(page, "Enter")
    assert focused(page) == "unit-off"
    assert page.evaluate("model.layers[0].off.size") == 0
    press(page, "Escape")
    assert "unit 12" in focused(page, label)
    # Tab moves on to the other layers; leaving them shows the pinned unit again.
    press(page, "Tab")
    assert page.inner_text("#unit-title") == focused(page, label)
    assert "unit 1" in focused(page, label)
    page.locator("#theme").focus()
    settled(page)
    assert "unit 12" in page.inner_text("#unit-title")
    page.locator("#pad").focus()
    press(page, "Delete")
    assert page.inner_text("#verdict-name") == "–"


# Units and outputs


def unit(layer, number):
    return f"#layers > :nth-child({layer + 1}) .units button:nth-child({number + 1})"


def numbers_in(text):
    """Return the numbers in a line such as z = … = 2.0 − 1.0 = 1.0, as floats."""
    text = text.split("(of")[0].replace("- ", "-").replace("+ ", "")
    return [float(n) for n in re.findall(r"(?<![\w.(])-?\d+\.\d+(?:e-?\d+)?", text)]


def test_a_unit_shows_its_weights_its_sum_and_its_largest_terms(visit, digits_page, trained):
    model, *_ = trained
    page = visit(digits_page)
    click(page, "#samples button", 4)
    click(page, unit(0, 37))
    x = array(page, "model.samples.rows[4]").astype("float32")
    kernel, bias = model.layers[1].kernel[:, 37], model.layers[1].bias[37]
    share, z = x * kernel, x @ kernel + bias
    near = {"abs": 6e-4}
    (line,), (result,) = texts(page, "#unit-sum"), texts(page, "#unit-activation")
    assert numbers_in(line) == pytest.approx([x @ kernel, bias, z], **near)
    assert numbers_in(result) == pytest.approx([1 / (1 + np.exp(-z))], **near)
    rows = [row.split("\t") for row in texts(page, "#unit-top tr")]
    assert len(rows) == 6
    for (name, *values), pixel in zip(rows, np.argsort(-abs(share))[:6], strict=True):
        assert name == f"pixel {pixel % 28 + 1} → {pixel // 28 + 1} ↓"
        expected = [x[pixel], kernel[pixel], share[pixel]]
        assert [*map(float, values)] == pytest.approx(expected, **near)
    # The picture: a weight's colour is interpolated between those of 0 and of the largest weight.
    width, height, data, zero, positive, negative = page.evaluate(
        """() => {
            const c = document.querySelector("#unit canvas");
            const { data } = c.getContext("2d").getImageData(0, 0, c.width, c.height);
            return [c.width, c.height, [...data], palette.zero, palette.positive, palette.negative];
        }"""
    )
    assert (width, height) == (28, 28)
    scaled = (kernel / abs(kernel).max())[:, None]
    colours = zero + (np.where(scaled > 0, positive, negative) - zero) * abs(scaled)
    assert_allclose(np.reshape(data, (784, 4))[:, :3], colours, atol=2)  # of 255
    # A unit of the next layer has one weight for each unit of the first layer.
    page.locator(unit(1, 3)).hover()
    settled(page)
    assert "unit 4" in page.inner_text("#unit-title")
    assert page.evaluate("document.querySelector('#unit canvas').width") == 10
    # Leaving it shows the clicked unit again.
    page.mouse.move(5, 5)
    settled(page)
    assert "unit 38" in page.inner_text("#unit-title")


def test_a_unit_that_is_turned_off_outputs_zero(visit, digits_page, trained):
    model, *_ = trained
    page = visit(digits_page)
    click(page, "#samples button", 7)
    click(page, unit(1, 20))
    before = answer(page)
    click(page, "#unit-off")
    a = array(page, "model.samples.rows[7]").astype("float32").reshape(1, 28, 28)
    for layer in model.layers[:-1]:
        a = layer(a)
    a[:, 20] = 0
    assert_allclose(answer(page), model.layers[-1](a)[0], atol=1e-5)
    assert abs(answer(page) - before).max() > 1e-6
    assert "turned off" in page.inner_text("#unit-activation")
    page.get_by_role("button", name="Turn all on").click()
    settled(page)
    assert_array_equal(answer(page), before)
    assert not page.get_by_label("Turn this unit off").is_checked()


def test_softmax_step_by_step_with_a_temperature_and_without_an_output(visit, digits_page):
    page = visit(digits_page)
    click(page, "#samples button", 18)
    click(page, "#steps summary")
    page.locator("#temperature").fill("0.6")
    settled(page)
    temperature = 10**0.6
    assert page.inner_text("#temperature-value") == f"{temperature:.2f}"
    z = array(page, "state.passes.at(-1).z")
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
        rows = [row.split("\t")[1:] for row in texts(page, "#steps-table tbody tr")]
        assert len(rows) == 11
        for row, zk, power, pk in zip(rows[:10], z, powers, p, strict=True):
            *values, percent = [float(cell.replace("∞", "inf").split(" %")[0]) for cell in row]
            expected = [zk, zk / temperature, (zk - z.max()) / temperature]
            assert values[1:3] == pytest.approx(expected[1:], abs=0.006)
            assert values[0] == pytest.approx(zk, abs=0.006) or zk == -np.inf
            assert values[3] == pytest.approx(power, rel=0.06, abs=6e-4)
            assert percent == pytest.approx(100 * pk, abs=0.06)


# Layout and accessibility


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(360, 740), (768, 1024), (1280, 900), (3840, 2160)])
def test_the_page_fits_every_screen_size(visit, digits_page, size, scheme):
    page = visit(digits_page, *size, color_scheme=scheme)
    click(page, "#samples button", 2)
    click(page, unit(0, 5))
    click(page, "#steps summary")
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    wide = "e.scrollWidth > e.clientWidth + 1"
    shown = "!e.children.length && getComputedStyle(e).display !== 'inline'"
    assert offending(page, "section *:not(.unseen)", f"{shown} && {wide}") == []
    assert offending(page, ".table", wide) == []
    small = "e.offsetWidth > 0 && Math.min(e.offsetWidth, e.offsetHeight) < 20"
    assert offending(page, "button, input", f"!e.closest('.units') && {small}") == []


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


def contrast(*colours):
    """Return the contrast of two colours as WCAG defines it."""
    c = np.array(colours) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    dark, light = sorted(linear @ [0.2126, 0.7152, 0.0722])
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_enough_contrast(visit, digits_page, scheme):
    page = visit(digits_page, color_scheme=scheme)
    click(page, "#samples button", 17)
    click(page, "#outputs button", 2)
    click(page, "#steps summary")
    for _ in range(2):  # in both themes
        texts = page.evaluate(COLOURS)
        assert len(texts) > 80
        assert [text for text, *colours in texts if contrast(*colours) < 4.5] == []
        click(page, "#theme")


def test_every_control_has_an_accessible_name(visit, digits_page):
    page = visit(digits_page)
    click(page, unit(0, 5))
    label = "e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.labels?.length"
    named = f"{label} || e.textContent.trim() || e.closest('button')"
    assert offending(page, "button, input, canvas, section", f"!({named})") == []
    assert page.locator("h1").count() == 1
    assert page.locator("html").get_attribute("lang") == "en"
    draw(page, [DOWN])
    words = page.inner_text("#verdict-name") + " with"
    page.wait_for_function("words => $('spoken').textContent.startsWith(words)", arg=words)


def test_a_unit_that_is_pointed_at_is_visible_without_scrolling(visit, digits_page):
    """On common screen sizes, also when the unit is further down the page."""
    for width, height in ((1366, 768), (1280, 720), (1920, 1080)):
        page = visit(digits_page, width, height)
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
    names = ["no <b>", "yes"]
    page = visit(tinynet.export_html(model, tmp_path / "v.html", (x, np.zeros(30, int)), names))
    assert page.inner_text("#input-title") == "The input"
    assert texts(page, "#outputs button span:first-child") == names
    low, high = page.evaluate("model.input.range")
    rows = array(page, "model.samples.rows.map(row => [...row])")
    assert (low, high) == pytest.approx((min(rows.min(), 0), max(rows.max(), 0)))
    page.mouse.click(*pad_of(page)(0.6, 0.25))
    settled(page)
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
    ("shape", "arguments", "stages"),
    [
        ((28, 42), {}, [[28, 42], [7, 30]]),  # the width fills the box of 20 × 30
        ((64,), {"image_shape": (8, 8)}, [[8, 8], [3, 8]]),
    ],
    ids=str,
)
def test_a_rectangular_image_and_a_vector_as_an_image(visit, tmp_path, shape, arguments, stages):
    stack = (Flatten(),) * (len(shape) > 1)
    model = network(*stack, (3, "softmax"), inputs=shape)
    page = visit(tinynet.export_html(model, tmp_path / "p.html", **arguments))
    assert page.inner_text("#verdict-words") == "Draw something."
    assert page.locator("#samples-part").count() == 0
    box = page.locator("#pad").bounding_box()
    height, width = stages[0]
    assert box["width"] / box["height"] == pytest.approx(width / height, abs=0.03)
    draw(page, [[(0.1, 0.4), (0.9, 0.6)]], width=20)
    sizes = "[state.stages.centred, state.stages.scaled].map(s => [s.h, s.w])"
    assert page.evaluate(sizes) == stages
    assert_array_equal(array(page, "state.stages.centred.pixels"), array(page, "state.values"))
    assert len(array(page, "state.values")) == height * width


@pytest.mark.long
def test_a_colour_image_is_shown_with_its_pixels(visit, tmp_path):
    model = network(Flatten(), (3, "softmax"), inputs=(8, 8, 3))
    x = np.zeros((3, 8, 8, 3), "float32")
    x[:, 2:4, 1:7, 1:] = 1
    page = visit(tinynet.export_html(model, tmp_path / "p.html", (x, np.arange(3))))
    click(page, "#samples button")
    page.evaluate("pin({ layer: 0, unit: 0 })")
    settled(page)
    dark = page.evaluate(
        """() => {
            const c = $("pad"), { data } = c.getContext("2d").getImageData(0, 0, c.width, c.height);
            const at = (y) => data[4 * (Math.floor(y * c.height) * c.width + (c.width >> 1))];
            return [0.3, 0.45, 0.6, 0.9].map((y) => at(y) < 140);
        }"""
    )
    assert dark == [True, True, False, False]
    assert ", channel " in page.inner_text("#unit-top")


@pytest.mark.long
def test_a_single_output(visit, tmp_path):
    model = network(Flatten(), (1, "sigmoid"), inputs=(6, 6))
    given = np.linspace(0, 1, 144).reshape(4, 6, 6), np.array([[0], [1], [1], [0]])
    page = visit(tinynet.export_html(model, tmp_path / "p.html", given, ["cat"]))
    names = [b.get_attribute("aria-label") for b in page.locator("#samples button").all()]
    assert names == ["Sample 1, a 0", "Sample 2, a 0", "Sample 3, a 1", "Sample 4, a 1"]
    click(page, "#samples button", 3)
    assert re.fullmatch(r"cat: 0\.\d+; the sample is 1\.", page.inner_text("#verdict-words"))


@pytest.mark.long
def test_special_characters_in_names_are_escaped(visit, tmp_path):
    wicked = '</script><script>alert("x")</script><!-- {{data}} \u2028 &amp;'
    model = network(Flatten(), Dense(2, name="<i>x"), inputs=(6, 6))
    names = [wicked, "'\"\\"]
    page = visit(tinynet.export_html(model, tmp_path / "p.html", labels=names, title=wicked))
    assert page.locator("#outputs button span:first-child").all_text_contents() == names
    assert page.inner_text("h1").split() == wicked.split()
    assert json.loads(page.locator("#data").text_content())["labels"] == names


# Refused models and arguments


class Own(tinynet.Layer):
    def forward(self, x, training=False):
        return x


X, Y = np.zeros((5, 4, 4), "float32"), np.arange(5) % 3
MODEL = network(Flatten(), (3,), inputs=(4, 4))
LABELS, BOX = "Expected labels to be a list of names", "Expected box to be from 1 to 4 pixels"
CLASSES = "class numbers from 0 to 2"
VECTOR = "neither box nor brightest for a plain vector"


def with_weight(value):
    model = network(Flatten(), (3,), inputs=(4, 4))
    model.layers[1].kernel[0, 0] = value
    return model


REFUSED = [
    # Models
    (network((3,)), {}, "received one that is not built"),
    ("digits.html", {}, "Expected a model, received 'digits.html'. Write: export_html"),
    (network(Own(name="mine"), (3,), inputs=(4,)), {}, r"'mine' \(Own\): .*Write: a Sequential of"),
    (network((3, np.sin), inputs=(4,)), {}, "does not support its activation"),
    (network(Dense(3, name="d"), inputs=(4, 4)), {}, r"layer 'd' .*input is \(4, 4\).*Flatten"),
    (network(Flatten("channels_first"), (3,), inputs=(2, 2, 3)), {}, "page supports Dense"),
    (network(Flatten(), (3,), inputs=(2, 2, 2, 2)), {}, "Expected a model of images"),
    (network(Flatten(), inputs=(4, 4)), {}, "layers that compute, received none"),
    (with_weight(np.nan), {}, "Expected weights that are finite in float32"),
    (with_weight(1e6), {"dtype": "float16"}, r'finite in float16.*Write: dtype="float32"'),
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
    with pytest.raises(ValueError, match=words):
        tinynet.export_html(model, **{"path": "page.html", **arguments})
    assert os.listdir() == ["folder.html"]


def test_float16_that_changes_an_answer_is_refused(tmp_path):
    model = network((2,), inputs=(4,), weights=[np.full((4, 2), [1, 1 + 1e-5]), np.zeros(2)])
    weights, given = model.get_weights(), (np.ones((3, 4)), np.ones(3, int))
    tinynet.export_html(model, tmp_path / "a.html", given)
    with pytest.raises(ValueError, match=r"3 different ones on 3 samples. Write: dtype=.float32"):
        tinynet.export_html(model, tmp_path / "b.html", given, dtype="float16")
    assert not (tmp_path / "b.html").exists()
    assert_array_equal(model.get_weights()[0], weights[0])
