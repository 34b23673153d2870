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
from networks import SPARSE, tutorial

import tinynet
from tinynet.datasets.mnist import prepare_digit
from tinynet.layers import Activation, Dense, Dropout, Flatten
from tinynet.web import samples

PAD = 280  # pixels of the drawing, for a square image


def chromium():
    """Return the path of Chromium, or None."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium; outside CI, tests that need it are skipped where it is missing."""
    path, missing = chromium(), ""
    if path is None:
        missing = "Chromium is not installed, for example by: apt-get install chromium"
    elif importlib.util.find_spec("playwright") is None:
        missing = "Playwright, which drives the browser, is not installed: pip install playwright"
    if missing:
        assert "CI" not in os.environ, "in CI, the page must be tested in a browser"
        pytest.skip(missing)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def visit(browser):
    """Open a page as a file, and assert that it loads nothing else and logs nothing."""
    pages = []

    def opened(path, width=1280, height=900, **options):
        page = browser.new_page(viewport={"width": width, "height": height}, **options)
        page.said, page.asked = [], []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(path.as_uri())
        pages.append(page)
        return page

    yield opened
    for page in pages:
        assert page.said == []
        assert all(url.startswith(("file:", "data:")) for url in page.asked)
        assert len([url for url in page.asked if url.startswith("file:")]) == 1
        page.close()


@pytest.fixture(scope="session")
def trained(mnist, mnist_directory):
    """The tutorial's network after three epochs, with MNIST's test images and labels."""
    images, labels = mnist
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFDS_DATA_DIR", str(mnist_directory.parent.parent))
        _, (x_test, y_test) = tinynet.datasets.mnist.load_data()
    tinynet.utils.set_random_seed(5)
    model = tutorial(loss=SPARSE)
    model.fit(images / np.float32(255), labels, epochs=3, verbose=0)
    return model, x_test / np.float32(255), y_test


@pytest.fixture(scope="session")
def digits_page(trained, tmp_path_factory):
    model, x, y = trained
    return tinynet.export_html(model, tmp_path_factory.mktemp("page") / "digits.html", (x, y))


def settled(page):
    """Wait for two frames, until the page shows its new state."""
    page.evaluate("() => new Promise(d => requestAnimationFrame(() => requestAnimationFrame(d)))")


def draw(page, lines, width=None):
    """Draw lines with the mouse; coordinates are fractions of the pad's size."""
    if width is not None:
        page.locator("#brush").fill(str(width))
    page.locator("#pad").scroll_into_view_if_needed()
    box = page.locator("#pad").bounding_box()
    for line in lines:
        points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in line]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point)
        page.mouse.up()
    settled(page)


def ink_of(page):
    """Return the page's drawing, of shape (280, 280), with values from 0 to 1."""
    text = page.evaluate(
        "() => btoa(inkOfDrawing().reduce("
        "(s, v) => s + String.fromCharCode(Math.round(255 * v)), ''))"
    )
    ink = np.frombuffer(base64.b64decode(text), "uint8") / np.float32(255)
    return ink.reshape(PAD, PAD)


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


def shown(page):
    """Return the texts of the outputs that the page shows, such as "97.6 %"."""
    return [
        value.replace("\xa0", " ") for value in page.locator("#outputs .value").all_inner_texts()
    ]


# Results


def test_the_page_computes_the_outputs_of_predict(visit, digits_page, trained):
    model, x, _ = trained
    page = visit(digits_page)
    assert_allclose(computed(page, x[:1000]), model.predict(x[:1000], verbose=0), atol=1e-5)
    # The time of a pass is printed and not asserted, because machines differ.
    took = page.evaluate(
        """() => {
            state.strokes = [{ width: 22, points: [[60, 60], [200, 90], [90, 220]] }];
            const times = [];
            for (let i = 0; i < 100; i++) {
                const start = performance.now();
                compute(); show();
                times.push(performance.now() - start);
            }
            return times.sort((a, b) => a - b)[50];
        }"""
    )
    print(f"{took:.1f} ms from a stroke to everything shown, {digits_page.stat().st_size:,} bytes")


def test_the_page_of_the_tutorial_is_small(digits_page):
    assert digits_page.stat().st_size < 1_000_000


MODELS = {
    "relu": [Flatten(), Dense(7, "relu"), Dense(3, "softmax")],
    "tanh without bias": [Flatten(), Dense(7, "tanh", use_bias=False), Dense(3, "sigmoid")],
    "activation layers": [Flatten(), Dense(5), Activation("relu"), Dense(3), Activation("softmax")],
    "consecutive activations": [
        Flatten(),
        Activation("tanh"),
        Dense(3, "relu"),
        Activation("sigmoid"),
    ],
    "dropout and linear": [Dropout(0.5), Flatten(), Dense(6, "linear"), Dropout(0.2), Dense(1)],
    "large logits": [Flatten(), Dense(3, "softmax", kernel_initializer="random_normal")],
}


@pytest.mark.parametrize("shape", [(5, 5), (4, 7, 1), (6, 6, 3), (9,)])
@pytest.mark.parametrize("kind", MODELS)
def test_every_supported_kind_of_model(visit, tmp_path, rng, kind, shape):
    stack = [type(layer).from_config(layer.get_config()) for layer in MODELS[kind]]
    model = tinynet.Sequential([tinynet.Input(shape), *stack])
    for weight in model.weights:
        weight[...] = rng.normal(size=weight.shape) * (40 if kind == "large logits" else 1)
    x = rng.normal(size=(20, *shape)).astype("float32")
    page = visit(tinynet.export_html(model, tmp_path / "page.html", (x, np.zeros(20, int))))
    assert_allclose(computed(page, x), model.predict(x, verbose=0), atol=1e-5)
    assert page.locator("#samples button").count() == 20
    page.locator("#samples button").nth(3).click()
    settled(page)
    for layer in range(len(page.evaluate("model.layers.map(l => l.units)"))):
        page.evaluate(f"pin({{ layer: {layer}, unit: 0 }})")
        settled(page)
        assert re.search(r"= −?\d", page.inner_text("#unit-sum"))


def test_pixels_up_to_255_and_float16_weights(visit, tmp_path, trained):
    model, x, y = trained
    twin = tinynet.Sequential.from_config(model.get_config())
    kernel, *rest = model.get_weights()
    twin.set_weights([kernel / 255, *rest])  # so that it takes inputs from 0 to 255
    raw = np.rint(x * 255).astype("uint8")
    page = visit(tinynet.export_html(twin, tmp_path / "raw.html", (raw, y), brightest=255))
    page.locator("#samples button").first.click()
    settled(page)
    first = page.evaluate("[...state.passes.at(-1).a]")
    assert_allclose(first, outputs_for_page_samples(page, twin, raw, y)[0], atol=1e-5)

    whole = tinynet.export_html(model, tmp_path / "whole.html", (x[:500], y[:500]))
    small = tinynet.export_html(model, tmp_path / "half.html", (x[:500], y[:500]), dtype="float16")
    assert small.stat().st_size < 0.65 * whole.stat().st_size
    answers = computed(visit(small), x[:500])
    assert_array_equal(answers.argmax(axis=1), model.predict(x[:500], verbose=0).argmax(axis=1))
    assert abs(answers - model.predict(x[:500], verbose=0)).max() < 0.01


def outputs_for_page_samples(page, model, x, y):
    """Return the model's outputs for the samples that the page shows."""
    chosen = page.evaluate("model.samples.y")
    wrong = model.predict(x, verbose=0).argmax(axis=1) != y
    picked = samples.choose(y, wrong)
    assert y[picked].tolist() == chosen
    return model.predict(x[picked], verbose=0)


@pytest.mark.computes
def test_a_model_on_any_device_is_exported_identically(tmp_path):
    model = tinynet.Sequential([tinynet.Input((6, 6)), Flatten(), Dense(3, "relu"), Dense(2)])
    weights = [np.linspace(-1, 1, w.size).reshape(w.shape) for w in model.weights]
    model.set_weights(weights)
    samples = np.linspace(0, 1, 144, dtype="float32").reshape(4, 6, 6), np.array([0, 1, 0, 1])
    page = tinynet.export_html(model, tmp_path / "page.html", samples).read_text("utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
    first = np.frombuffer(base64.b64decode(data["layers"][0]["kernel"]), "<f4")
    assert_array_equal(first, weights[0].ravel().astype("float32"))
    assert [(layer["units"], layer["activation"]) for layer in data["layers"]] == [
        (3, "relu"),
        (2, "linear"),
    ]


def test_float16_that_changes_an_answer_is_refused(tmp_path):
    model = tinynet.Sequential([tinynet.Input((4,)), Dense(2)])
    model.set_weights([np.full((4, 2), [1, 1 + 1e-5]), np.zeros(2)])
    samples = (np.ones((3, 4)), np.ones(3, int))
    tinynet.export_html(model, tmp_path / "a.html", samples)
    weights = model.get_weights()
    with pytest.raises(ValueError, match=r"3 different ones on 3 samples. Write: dtype=.float32"):
        tinynet.export_html(model, tmp_path / "b.html", samples, dtype="float16")
    assert not (tmp_path / "b.html").exists()
    assert_array_equal(model.get_weights()[0], weights[0])


# Drawing


@pytest.mark.parametrize("width", [8, 22, 48])
def test_the_page_prepares_a_drawing_as_prepare_digit_does(visit, digits_page, width):
    page = visit(digits_page)
    for digit, rng in ((3, np.random.default_rng(1)), (7, np.random.default_rng(2))):
        page.locator("#clear").click()
        draw(page, strokes.varied(digit, rng), width)
        ink = ink_of(page)
        assert 0.01 < ink.mean() < 0.5
        stages = prepare_digit(ink)
        for name in ("cropped", "scaled", "centred"):
            there = page.evaluate(
                f"(() => {{ const s = state.stages.{name}; return [[...s.pixels], s.h, s.w]; }})()"
            )
            here = getattr(stages, name)
            assert here.shape == tuple(there[1:])
            assert_allclose(np.reshape(there[0], here.shape), here, atol=2e-5)


def test_prepared_digits_are_recognised_wherever_they_are_drawn(visit, digits_page, trained):
    """Draw sixty digits of varied size, position, slant and width, with and without preparation."""
    model, _, _ = trained
    page, rng = visit(digits_page), np.random.default_rng(0)
    right, plain, total = 0, 0, 0
    missed = []
    for _ in range(6):
        for digit in range(10):
            page.locator("#clear").click()
            draw(page, strokes.varied(digit, rng), int(rng.integers(10, 34)))
            answer = page.inner_text("#verdict-name")
            total += 1
            right += answer == str(digit)
            if answer != str(digit):
                missed.append((digit, answer))
            # Without preparation: the whole pad is scaled to 28 × 28.
            small = ink_of(page).reshape(28, 10, 28, 10).mean(axis=(1, 3))
            plain += int(model.predict(small[None], verbose=0).argmax()) == digit
    print(
        f"{right} of {total} right; {plain} without preparation; missed (digit, answer): {missed}"
    )
    assert right >= 0.85 * total
    assert plain <= right - 0.2 * total


def test_undo_clear_and_brush_width(visit, digits_page):
    page = visit(digits_page)
    assert page.inner_text("#verdict-name") == "–"
    assert shown(page) == [""] * 10
    draw(page, [[(0.5, 0.2), (0.5, 0.8)]], width=10)
    thin = ink_of(page)
    assert thin.sum() == pytest.approx(10 * 0.6 * PAD, rel=0.1)
    draw(page, [[(0.3, 0.5), (0.7, 0.5)]], width=40)
    assert ink_of(page).sum() > 2 * thin.sum()
    page.locator("#undo").click()
    settled(page)
    assert_array_equal(ink_of(page), thin)
    draw(page, [[(0.1, 0.1), (0.2, 0.1)]])
    page.keyboard.press("Control+z")
    settled(page)
    assert_array_equal(ink_of(page), thin)
    assert page.inner_text("#verdict-name") != "–"
    page.locator("#clear").click()
    settled(page)
    assert ink_of(page).sum() == 0
    assert page.inner_text("#verdict-name") == "–"
    page.locator("#undo").click()  # restores a cleared drawing, and one replaced by a sample
    settled(page)
    assert_array_equal(ink_of(page), thin)
    page.locator("#samples button").first.click()
    page.locator("#undo").click()
    settled(page)
    assert_array_equal(ink_of(page), thin)
    for _ in range(9):
        page.locator("#undo").click()  # more often than there are strokes
    settled(page)
    assert ink_of(page).sum() == 0
    # A tap is a dot.
    draw(page, [[(0.5, 0.5)]], width=20)
    assert ink_of(page).sum() == pytest.approx(np.pi * 100, rel=0.1)


def test_undo_during_a_stroke_ends_the_stroke(visit, digits_page):
    page = visit(digits_page)
    draw(page, [[(0.2, 0.2), (0.3, 0.2)]])
    first = page.evaluate("JSON.stringify(state.strokes)")
    page.locator("#pad").focus()
    for key in ("Space", "ArrowDown", "ArrowDown", "Control+z", "ArrowUp", "ArrowUp", "Delete"):
        page.keyboard.press(key)
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Control+z")
    settled(page)
    assert page.evaluate("JSON.stringify(state.strokes)") == first
    box = page.locator("#pad").bounding_box()
    for key in ("Control+z", "Delete"):
        page.mouse.move(box["x"] + 50, box["y"] + 50)
        page.mouse.down()
        page.mouse.move(box["x"] + 60, box["y"] + 90)
        page.keyboard.press(key)
        page.mouse.move(box["x"] + 90, box["y"] + 90)
        page.mouse.up()
    settled(page)
    assert page.evaluate("state.strokes.length") == 0


def test_a_line_is_drawn_at_the_pointer(visit, digits_page):
    page = visit(digits_page)
    edge = page.evaluate(
        """() => { const p = $("pad"), b = p.getBoundingClientRect();
        return [b.left + p.clientLeft, b.top + p.clientTop, p.clientWidth, p.clientHeight]; }"""
    )
    page.mouse.move(edge[0] + edge[2] - 1, edge[1] + 1)
    page.mouse.down()
    page.mouse.up()
    assert page.evaluate("state.strokes[0].points[0]") == pytest.approx([PAD - 1, 1], abs=0.6)


def test_drawing_by_touch_ignores_a_second_finger(visit, digits_page):
    page = visit(digits_page, 390, 800, has_touch=True, is_mobile=True)
    box = page.locator("#pad").bounding_box()
    client = page.context.new_cdp_session(page)

    def touch(kind, *points):
        where = [
            {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"], "id": number}
            for number, (x, y) in enumerate(points)
        ]
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": where})

    touch("touchStart", (0.5, 0.2))
    for y in np.linspace(0.25, 0.8, 12):
        touch("touchMove", (0.5, y))
    touch("touchStart", (0.5, 0.8), (0.1, 0.1))
    touch("touchMove", (0.5, 0.82), (0.2, 0.2))
    touch("touchEnd")
    settled(page)
    assert page.evaluate("state.strokes.length") == 1
    assert page.evaluate("scrollY") == 0  # drawing does not scroll
    across, down = zip(*page.evaluate("state.strokes[0].points"), strict=True)
    assert max(across) - min(across) < 3
    assert (min(down), max(down)) == pytest.approx((0.2 * PAD, 0.82 * PAD), abs=4)
    assert page.inner_text("#verdict-name") != "–"


def test_the_page_can_be_used_with_the_keyboard_alone(visit, digits_page):
    page = visit(digits_page)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "theme"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "pad"
    for _ in range(9):
        page.keyboard.press("ArrowUp")
    page.keyboard.press("Space")
    for _ in range(18):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    settled(page)
    assert page.evaluate("state.strokes.length") == 1
    across, down = zip(*page.evaluate("state.strokes[0].points"), strict=True)
    assert (set(across), min(down), max(down)) == ({140}, 68, 212)
    assert page.inner_text("#verdict-name") != "–"
    # Every other control can be reached, and the focus is visible.
    seen = []
    for _ in range(60):
        page.keyboard.press("Tab")
        name = page.evaluate(
            "() => { const e = document.activeElement; return e.id || e.closest('[id]')?.id; }"
        )
        if name and name not in seen:
            seen.append(name)
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert (name, outline) == (name, "solid")
    assert {"brush", "undo", "clear", "samples", "layers", "outputs", "temperature"} <= set(seen)
    # Moving through the units of a layer.
    page.locator("#layers .units").first.locator("button").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    settled(page)
    label = "document.activeElement.getAttribute('aria-label')"
    assert "unit 12" in page.inner_text("#unit-title")
    assert "unit 12" in page.evaluate(label)
    # To the unit's switch: off, on again, and back.
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "unit-off"
    page.keyboard.press("Space")
    settled(page)
    assert page.evaluate("[...model.layers[0].off]") == [11]
    assert "turned off" in page.inner_text("#unit-activation")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "all-on"
    page.keyboard.press("Enter")
    settled(page)
    assert page.evaluate("document.activeElement.id") == "unit-off"
    assert page.evaluate("model.layers[0].off.size") == 0
    page.keyboard.press("Escape")
    assert "unit 12" in page.evaluate(label)
    # Tab moves on to the other layers; leaving them shows the pinned unit again.
    page.keyboard.press("Tab")
    settled(page)
    assert page.inner_text("#unit-title") == page.evaluate(label)
    assert "unit 1" in page.evaluate(label)
    page.locator("#theme").focus()
    settled(page)
    assert "unit 12" in page.inner_text("#unit-title")
    page.locator("#pad").focus()
    page.keyboard.press("Delete")
    settled(page)
    assert page.inner_text("#verdict-name") == "–"


# Units and outputs


def test_a_unit_shows_its_weights_its_sum_and_its_largest_terms(visit, digits_page, trained):
    model, *_ = trained
    page = visit(digits_page)
    page.locator("#samples button").nth(4).click()
    page.locator("#layers .units").nth(0).locator("button").nth(37).click()
    settled(page)
    samples = np.array(page.evaluate("[...model.samples.rows[4]]"), "float32")
    kernel, bias = model.layers[1].kernel[:, 37], model.layers[1].bias[37]
    z = samples @ kernel + bias
    numbers = numbers_in(page.inner_text("#unit-sum"))
    assert numbers == pytest.approx([samples @ kernel, bias, z], abs=6e-4)
    assert numbers_in(page.inner_text("#unit-activation")) == pytest.approx(
        [1 / (1 + np.exp(-z))], abs=6e-4
    )
    rows = page.locator("#unit-top tr").all_inner_texts()
    share = samples * kernel
    top = np.argsort(-abs(share))[: len(rows)]
    assert len(rows) == 6
    for row, pixel in zip(rows, top, strict=True):
        name, *values = row.split("\t")
        assert name == f"pixel {pixel % 28 + 1} → {pixel // 28 + 1} ↓"
        expected = [samples[pixel], kernel[pixel], share[pixel]]
        assert [float(v.replace("−", "-")) for v in values] == pytest.approx(expected, abs=6e-4)
    # The picture: a weight's colour is interpolated between those of 0 and of the largest weight.
    pixels = page.evaluate(
        """() => {
            const c = document.querySelector("#unit canvas");
            const { data } = c.getContext("2d").getImageData(0, 0, c.width, c.height);
            return [c.width, c.height, [...data], palette.zero, palette.positive, palette.negative];
        }"""
    )
    width, height, data, zero, positive, negative = pixels
    assert (width, height) == (28, 28)
    colours = np.reshape(data, (784, 4))[:, :3]
    scaled = (kernel / abs(kernel).max())[:, None]
    ends = np.where(scaled > 0, positive, negative)
    assert_allclose(colours, zero + (ends - zero) * abs(scaled), atol=2)  # of 255
    # A unit of the next layer has one weight for each unit of the first layer.
    page.locator("#layers .units").nth(1).locator("button").nth(3).hover()
    settled(page)
    assert "unit 4" in page.inner_text("#unit-title")
    assert page.evaluate("document.querySelector('#unit canvas').width") == 10
    # Leaving it shows the clicked unit again.
    page.mouse.move(5, 5)
    settled(page)
    assert "unit 38" in page.inner_text("#unit-title")


def numbers_in(text):
    """Return the numbers in a line such as z = … = 2.0 − 1.0 = 1.0, as floats."""
    text = text.split("(of")[0].replace("−", "-").replace("- ", "-").replace("+ ", "")
    return [float(n) for n in re.findall(r"(?<![\w.(])-?\d+\.\d+(?:e-?\d+)?", text)]


def test_a_unit_that_is_turned_off_outputs_zero(visit, digits_page, trained):
    model, *_ = trained
    page = visit(digits_page)
    page.locator("#samples button").nth(7).click()
    page.locator("#layers .units").nth(1).locator("button").nth(20).click()
    settled(page)
    before = page.evaluate("[...state.passes.at(-1).a]")
    page.get_by_label("Turn this unit off").check()
    settled(page)
    x = np.array(page.evaluate("[...model.samples.rows[7]]"), "float32")[None]
    a = x.reshape(1, 28, 28)
    for layer in model.layers[:-1]:
        a = layer(a)
    a[:, 20] = 0
    after = page.evaluate("[...state.passes.at(-1).a]")
    assert_allclose(after, model.layers[-1](a)[0], atol=1e-5)
    assert abs(np.array(after) - before).max() > 1e-6
    assert "turned off" in page.inner_text("#unit-activation")
    page.get_by_role("button", name="Turn all on").click()
    settled(page)
    assert page.evaluate("[...state.passes.at(-1).a]") == before
    assert not page.get_by_label("Turn this unit off").is_checked()


def test_softmax_step_by_step_and_its_temperature(visit, digits_page):
    page = visit(digits_page)
    page.locator("#samples button").nth(18).click()
    page.locator("#steps summary").click()
    page.locator("#temperature").fill("0.6")
    settled(page)
    temperature = 10**0.6
    assert page.inner_text("#temperature-value") == f"{temperature:.2f}"
    z = np.array(page.evaluate("[...state.passes.at(-1).z]"))
    powers = np.exp((z - z.max()) / temperature)
    p = powers / powers.sum()
    assert_allclose(page.evaluate("[...state.passes.at(-1).a]"), p, atol=1e-9)
    rows = [row.split("\t") for row in page.locator("#steps-table tbody tr").all_inner_texts()]
    assert len(rows) == 11
    for row, zk, power, pk in zip(rows[:10], z, powers, p, strict=True):
        values, percent = [cell.replace("−", "-") for cell in row[1:-1]], row[-1]
        expected = [zk, zk / temperature, (zk - z.max()) / temperature]
        assert [float(v) for v in values[:3]] == pytest.approx(expected, abs=0.006)
        assert float(values[3]) == pytest.approx(power, rel=0.06, abs=6e-4)
        assert float(percent.split()[0]) == pytest.approx(100 * pk, abs=0.06)
    assert shown(page)[int(p.argmax())] == f"{100 * p.max():.1f} %"


def test_the_samples_include_some_wrong_predictions(visit, digits_page, trained):
    model, x, y = trained
    page = visit(digits_page)
    samples = page.evaluate("model.samples")
    assert len(samples["y"]) == 20
    assert set(samples["y"]) == set(range(10))
    assert 3 <= sum(samples["wrong"]) <= 6
    said = outputs_for_page_samples(page, model, x, y)
    for number, (truth, wrong) in enumerate(zip(samples["y"], samples["wrong"], strict=True)):
        page.locator("#samples button").nth(number).click()
        settled(page)
        answer = int(said[number].argmax())
        assert page.inner_text("#verdict-name") == str(answer)
        assert (answer != truth) == wrong
        words = page.inner_text("#verdict-words")
        assert words.endswith(f"wrong: it is a {truth}." if wrong else "correct.")
        assert_allclose(page.evaluate("[...state.passes.at(-1).a]"), said[number], atol=1e-5)
    # Drawing removes the sample.
    draw(page, [[(0.5, 0.2), (0.5, 0.8)]])
    assert page.evaluate("state.sample") is None
    assert "it is" not in page.inner_text("#verdict-words")


# Layout and accessibility


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(360, 740), (768, 1024), (1280, 900), (3840, 2160)])
def test_the_page_fits_every_screen_size(visit, digits_page, size, scheme):
    page = visit(digits_page, *size, color_scheme=scheme)
    page.locator("#samples button").nth(2).click()
    page.locator("#layers .units").nth(0).locator("button").nth(5).click()
    page.locator("#steps summary").click()
    settled(page)
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    cut = page.evaluate(
        """() => [...document.querySelectorAll("section *")].filter(e => e.children.length === 0
            && e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== "inline"
            && !e.classList.contains("unseen")).map(e => e.outerHTML.slice(0, 80))"""
    )
    assert cut == []
    tables = "[...document.querySelectorAll('.table')]"
    assert page.evaluate(f"{tables}.every(e => e.scrollWidth <= e.clientWidth + 1)")
    small = page.evaluate(
        """() => [...document.querySelectorAll("button, input")].filter(e => {
            const { width, height } = e.getBoundingClientRect();
            return !e.closest(".units") && width > 0 && (width < 20 || height < 20);
        }).map(e => e.outerHTML.slice(0, 80))"""
    )
    assert small == []


CONTRAST = """() => {
    const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(c => c / 255).map(c =>
        c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = (e) => {
        for (; e; e = e.parentElement) {
            const colour = rgb(getComputedStyle(e).backgroundColor);
            if (colour.length === 3 || colour[3] > 0.99) return colour;
        }
        return [255, 255, 255];
    };
    const found = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const e = walker.currentNode.parentElement, words = walker.currentNode.data.trim();
        if (!words || !e.checkVisibility() || e.closest("script, .unseen")) continue;
        const [a, b] = [light(rgb(getComputedStyle(e).color)), light(behind(e))];
        found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), words]);
    }
    return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_enough_contrast(visit, digits_page, scheme):
    page = visit(digits_page, color_scheme=scheme)
    page.locator("#samples button").nth(17).click()
    page.locator("#outputs button").nth(2).click()
    page.locator("#steps summary").click()
    settled(page)
    contrasts = page.evaluate(CONTRAST)
    assert len(contrasts) > 100
    assert [word for ratio, word in contrasts if ratio < 4.5] == []
    page.locator("#theme").click()
    settled(page)
    assert [word for ratio, word in page.evaluate(CONTRAST) if ratio < 4.5] == []


def test_every_control_has_an_accessible_name(visit, digits_page):
    page = visit(digits_page)
    page.locator("#layers .units").nth(0).locator("button").nth(5).click()
    settled(page)
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, canvas, section")].filter(e =>
            !(e.getAttribute("aria-label") || e.getAttribute("aria-labelledby") || e.labels?.length
              || e.textContent.trim() || e.closest("button"))).map(e => e.outerHTML.slice(0, 80))"""
    )
    assert nameless == []
    assert page.locator("h1").count() == 1
    assert page.locator("html").get_attribute("lang") == "en"
    draw(page, [[(0.5, 0.2), (0.5, 0.8)]])
    words = page.inner_text("#verdict-name") + " with"
    for _ in range(100):
        if page.text_content("#spoken").startswith(words):
            break
        page.wait_for_timeout(50)
    assert page.text_content("#spoken").startswith(words)


def test_a_vector_input_is_shown_as_bars(visit, tmp_path, rng):
    model = tinynet.Sequential([tinynet.Input((4,)), Dense(5, "tanh"), Dense(2, "softmax")])
    x = rng.uniform(-2, 3, (30, 4)).astype("float32")
    names = ["no <b>", "yes"]
    page = visit(tinynet.export_html(model, tmp_path / "v.html", (x, np.zeros(30, int)), names))
    assert page.inner_text("#input-title") == "The input"
    assert page.locator("#outputs button span:first-child").all_inner_texts() == names
    box = page.locator("#pad").bounding_box()
    low, high = page.evaluate("model.input.range")
    assert (low, high) == pytest.approx((page_low(x, page), page_high(x, page)))
    page.mouse.click(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.25)
    settled(page)
    values = page.evaluate("[...state.values]")
    assert values == pytest.approx([0, 0, high - 0.25 * (high - low), 0], abs=0.05)
    page.locator("#pad").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowUp")
    settled(page)
    values = np.array(page.evaluate("[...state.values]"), "float32")
    assert values[1] == pytest.approx((high - low) / 20)
    assert page.locator("#pad").get_attribute("aria-valuetext").startswith("number 2 is ")
    outputs = page.evaluate("[...state.passes.at(-1).a]")
    assert_allclose(outputs, model.predict(values[None], verbose=0)[0], atol=1e-6)
    page.locator("#clear").click()
    settled(page)
    assert page.evaluate("[...state.values]") == [0, 0, 0, 0]


def page_low(x, page):
    rows = np.array(page.evaluate("model.samples.rows.map(r => [...r])"))
    return min(rows.min(), 0)


def page_high(x, page):
    rows = np.array(page.evaluate("model.samples.rows.map(r => [...r])"))
    return max(rows.max(), 0)


# Refused models and arguments


class Own(tinynet.Layer):
    def forward(self, x, training=False):
        return x


REFUSED = {
    "not built": ([Dense(3)], None, "received one that is not built"),
    "a user-defined layer": (
        [Own(name="mine"), Dense(3)],
        (4,),
        r"layer 'mine' \(Own\): the page.*Write: a Sequential of",
    ),
    "a user-defined activation": ([Dense(3, np.sin)], (4,), "does not support its activation"),
    "Dense on two axes": (
        [Dense(3, name="d")],
        (4, 4),
        r"layer 'd' .*input is \(4, 4\).*Flatten",
    ),
    "channels first": ([Flatten("channels_first"), Dense(3)], (2, 2, 3), "the page supports Dense"),
    "four axes": ([Flatten(), Dense(3)], (2, 2, 2, 2), "Expected a model of images"),
    "no computing layer": ([Flatten()], (4, 4), "layers that compute, received none"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_models_that_the_page_cannot_show_are_refused(tmp_path, kind):
    stack, shape, words = REFUSED[kind]
    stack = [tinynet.Input(shape), *stack] if shape else stack
    with pytest.raises(ValueError, match=words):
        tinynet.export_html(tinynet.Sequential(stack), tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


X, Y = np.zeros((5, 4, 4), "float32"), np.arange(5) % 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"samples": X}, r"Write: samples=\(x_test, y_test\)"),
        ({"samples": (X, Y[:4])}, "Make sure all arrays contain the same number of samples"),
        ({"samples": (X, Y + 1)}, "class numbers from 0 to 2, or one-hot rows of 3, received 5"),
        ({"samples": (X[:, :3], Y)}, "incompatible with the layer|shape"),
        ({"samples": (X * np.nan, Y)}, "Expected finite samples"),
        ({"labels": ["a", "b"]}, "a name for each of the 3 outputs, received 2 labels"),
        ({"dtype": "int8"}, "dtype"),
        ({"brightest": 0}, "brightest"),
        ({"box": 5}, "Expected box to be from 1 to 4 pixels"),
        ({"box": "all"}, "Expected box to be from 1 to 4 pixels"),
        ({"box": (4, 5)}, "Expected box to be from 1 to 4 pixels"),
        ({"image_shape": (4, 4)}, "Expected an image_shape with as many pixels as the model"),
        ({"image_shape": 16}, r"Expected image_shape to be \(h, w\), received: 16"),
        ({"labels": 3}, "Expected labels to be a list of names, received: 3"),
        ({"labels": "abc"}, "Expected labels to be a list of names"),
        ({"samples": (X, np.eye(5))}, r"labels of shape \(5, 5\)"),
        ({"samples": (X, Y + 0.4)}, "class numbers from 0 to 2"),
        ({"samples": (X, Y * np.nan)}, "class numbers from 0 to 2"),
        ({"samples": (X + 200, Y)}, "Expected pixels of up to 1, received samples of up to 200"),
    ],
)
def test_invalid_arguments_are_refused(tmp_path, arguments, words):
    model = tinynet.Sequential([tinynet.Input((4, 4)), Flatten(), Dense(3)])
    with pytest.raises(ValueError, match=words):
        tinynet.export_html(model, tmp_path / "page.html", **arguments)
    assert not list(tmp_path.iterdir())


def test_invalid_models_and_file_names_are_refused(tmp_path):
    model = tinynet.Sequential([tinynet.Input((4,)), Dense(3)])
    for arguments, words in (
        (("digits.html", model), "Expected a model, received 'digits.html'. Write: export_html"),
        ((model, "digits.htm"), 'must end in `.html`.*Write: "digits.htm.html"'),
        ((model, None), "Expected a file's name, received: None"),
    ):
        with pytest.raises(ValueError, match=words):
            tinynet.export_html(*arguments)
    (tmp_path / "x.html").mkdir()
    with pytest.raises(ValueError, match="Expected a file, received the folder"):
        tinynet.export_html(model, tmp_path / "x.html")
    for arguments in ({"box": 3}, {"brightest": 255}):
        with pytest.raises(ValueError, match="neither box nor brightest for a plain vector"):
            tinynet.export_html(model, tmp_path / "a.html", **arguments)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    model = tinynet.Sequential([tinynet.Input((4, 4)), Flatten(), Dense(3)])
    model.layers[1].kernel[0, 0] = np.nan
    with pytest.raises(ValueError, match="Expected weights that are finite in float32"):
        tinynet.export_html(model, tmp_path / "page.html")
    model.layers[1].kernel[0, 0] = 1e6
    with pytest.raises(ValueError, match=r'finite in float16.*Write: dtype="float32"'):
        tinynet.export_html(model, tmp_path / "page.html", dtype="float16")
    assert not list(tmp_path.iterdir())


def test_special_characters_in_names_are_escaped(visit, tmp_path):
    wicked = '</script><script>alert("x")</script><!-- {{data}} \u2028 &amp;'
    model = tinynet.Sequential([tinynet.Input((6, 6)), Flatten(), Dense(2, name="<i>x")])
    names = [wicked, "'\"\\"]
    path = tinynet.export_html(model, tmp_path / "p.html", labels=names, title=wicked)
    page = visit(path)
    assert page.locator("#outputs button span:first-child").all_text_contents() == names
    assert page.inner_text("h1").split() == wicked.split()
    assert json.loads(page.locator("#data").text_content())["labels"] == names


def test_a_vector_can_be_shown_as_an_image(visit, tmp_path, rng):
    model = tinynet.Sequential([tinynet.Input((64,)), Dense(10, "softmax")])
    page = visit(tinynet.export_html(model, tmp_path / "p.html", image_shape=(8, 8)))
    draw(page, strokes.varied(5, rng))
    assert page.evaluate("[state.stages.centred.h, state.stages.scaled.h]") == [8, 8]
    assert page.locator("#samples-part").count() == 0


def test_a_rectangular_image(visit, tmp_path):
    model = tinynet.Sequential([tinynet.Input((28, 42)), Flatten(), Dense(3, "softmax")])
    page = visit(tinynet.export_html(model, tmp_path / "p.html"))
    assert page.inner_text("#verdict-words") == "Draw something."
    box = page.locator("#pad").bounding_box()
    assert box["width"] / box["height"] == pytest.approx(1.5, abs=0.03)
    draw(page, [[(0.1, 0.4), (0.9, 0.6)]], width=20)
    stages = page.evaluate("[state.stages.scaled, state.stages.centred].map(s => [s.h, s.w])")
    assert stages[1] == [28, 42]
    assert stages[0][1] == 30  # the width fills the box of 20 × 30
    assert page.evaluate("state.values.length") == 28 * 42
    ink = page.evaluate("[...state.stages.centred.pixels]")
    assert_allclose(np.array(ink), page.evaluate("[...state.values]"))


def test_a_colour_image_is_shown_with_its_pixels(visit, tmp_path):
    model = tinynet.Sequential([tinynet.Input((8, 8, 3)), Flatten(), Dense(3, "softmax")])
    x = np.zeros((3, 8, 8, 3), "float32")
    x[:, 2:4, 1:7] = 1
    page = visit(tinynet.export_html(model, tmp_path / "p.html", (x, np.arange(3))))
    page.locator("#samples button").first.click()
    page.evaluate("pin({ layer: 0, unit: 0 })")
    settled(page)
    dark = page.evaluate(
        """() => {
            const c = $("pad"), { data } = c.getContext("2d").getImageData(0, 0, c.width, c.height);
            const at = (y) => data[4 * (Math.floor(y * c.height) * c.width + (c.width >> 1))];
            return [0.3, 0.45, 0.6, 0.9].map((y) => at(y) < 100);
        }"""
    )
    assert dark == [True, True, False, False]
    assert ", channel " in page.inner_text("#unit-top")


def test_a_single_output(visit, tmp_path):
    model = tinynet.Sequential([tinynet.Input((6, 6)), Flatten(), Dense(1, "sigmoid")])
    x = np.linspace(0, 1, 4 * 36, dtype="float32").reshape(4, 6, 6)
    page = visit(
        tinynet.export_html(
            model, tmp_path / "p.html", (x, np.array([[0], [1], [1], [0]])), ["cat"]
        )
    )
    names = [b.get_attribute("aria-label") for b in page.locator("#samples button").all()]
    assert names == ["Sample 1, a 0", "Sample 2, a 0", "Sample 3, a 1", "Sample 4, a 1"]
    page.locator("#samples button").nth(3).click()
    settled(page)
    assert re.fullmatch(r"cat: 0\.\d+; the sample is 1\.", page.inner_text("#verdict-words"))


def test_an_output_that_is_turned_off_has_probability_zero(visit, digits_page):
    page = visit(digits_page)
    page.locator("#samples button").nth(3).click()
    settled(page)
    z = np.array(page.evaluate("[...state.passes.at(-1).z]"))
    best = int(z.argmax())
    page.evaluate(f"pin({{ layer: 2, unit: {best} }})")
    page.get_by_label("Turn this unit off").check()
    page.locator("#steps summary").click()
    settled(page)
    z[best] = -np.inf
    p = np.exp(z - z.max())
    assert_allclose(page.evaluate("[...state.passes.at(-1).a]"), p / p.sum(), atol=1e-9)
    assert page.inner_text("#verdict-name") == str(p.argmax())
    row = page.locator("#steps-table tbody tr").nth(best).inner_text().split("\t")
    assert row[2] == "−∞"
    assert row[-1].replace("\xa0", " ") == "0.0 %"


def test_a_unit_that_is_pointed_at_is_visible_without_scrolling(visit, digits_page):
    """On common screen sizes, without scrolling."""
    for size in ((1366, 768), (1280, 720), (1920, 1080)):
        page = visit(digits_page, *size)
        page.locator("#layers .units").nth(0).locator("button").nth(5).hover()
        settled(page)
        box = page.locator("#unit canvas").first.bounding_box()
        assert box["y"] + box["height"] <= size[1]
        page.locator("#layers .units").nth(1).locator(
            "button"
        ).last.hover()  # further down the page
        settled(page)
        assert "unit 144" in page.inner_text("#unit-title")
        box = page.locator("#unit canvas").first.bounding_box()
        assert 0 <= box["y"] <= size[1] - box["height"]
