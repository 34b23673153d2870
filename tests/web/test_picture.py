"""The page as a picture of the network: on one screen, with lines; on a phone, in tabs."""

import itertools
import re

import numpy as np
import pytest
from arrays import assert_allclose
from networks import network, random_weights
from webpage import (
    TRAINING,
    array,
    click,
    draw,
    ink_of,
    pixels_of,
    settled,
    texts,
    train,
    unit,
)

import tinynet
from tinynet.layers import Flatten
from tinynet.plotting.pictures import GREY, NEGATIVE, POSITIVE

SCREENS = [(1366, 768), (1280, 720), (1920, 1080), (3840, 2160)]


def box_of(page, selector):
    """Return left, top, right and bottom of the first such element, in pixels of the screen."""
    box = page.locator(selector).first.bounding_box()
    return box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]


def assert_on_screen(page, width, height, *selectors):
    assert page.evaluate("[scrollX, scrollY]") == [0, 0]
    for selector in selectors:
        left, top, right, bottom = box_of(page, selector)
        assert 0 <= left < right <= width, selector
        assert 0 <= top < bottom <= height, selector


@pytest.mark.long
@pytest.mark.parametrize("size", SCREENS)
def test_the_network_is_on_one_screen_from_left_to_right(visit, digits_page, size):
    page = visit(digits_page, *size)
    click(page, "#samples button", 15)
    page.wait_for_function("() => state.pinned !== null")  # the unit that counts most, by itself
    settled(page)
    layers = [f"#layers > :nth-child({n}) .units" for n in (2, 3)]
    row = ["#pad", "#received", *layers, "#outputs", "#unit canvas"]
    assert_on_screen(page, *size, *row, "#verdict", "#unit-top", "#step", "#samples button")
    boxes = [box_of(page, selector) for selector in row]
    for (_, _, right, _), (left, *_) in itertools.pairwise(boxes):
        assert right < left  # one beside the other
    page.locator("#pace").select_option("next")
    while page.inner_text("#step") != "One more step":
        click(page, "#step")
        assert_on_screen(page, *size, *row[:-1], "#unit-weights", "#stage-text")
        if size[0] != 1280 and page.locator("#weight-lines").is_visible():
            assert_on_screen(page, *size, "#unit-gradient", "#weight-lines")
    click(page, TRAINING)
    train(page, 1)
    curves = "#curves figure:last-child canvas"
    assert_on_screen(page, *size, *row[:-1], "#first", "#train", curves, "#stage-title")


def test_lines_lead_to_the_strongest_inputs_and_outputs(visit, tmp_path, rng):
    weights = random_weights(rng, 36, 6, 5, 3)
    model = network(Flatten(), (6, "tanh"), (5, "sigmoid"), (3, "softmax"), inputs=(6, 6))
    model.set_weights(weights)
    x = rng.uniform(size=(20, 6, 6)).astype("float32")
    page = visit(tinynet.export_html(model, tmp_path / "p.html", (x, np.arange(20) % 3)), 1366, 768)
    click(page, "#samples button", 3)
    row = array(page, "model.samples.rows[3]").astype("float32")
    a = np.tanh(row @ weights[0] + weights[1])
    b = 1 / (1 + np.exp(-(a @ weights[2] + weights[3])))
    sums = b @ weights[4] + weights[5]

    def lines(expression):
        script = f"{expression}.map(({{ l, from, to, c }}) => [l, from, to, c])"
        return array(page, script)

    # The way of the digit: from the answer to those that speak most for it, down to the pixels.
    top, best = [], int(sums.argmax())
    into, levels = [best], ((2, b, weights[4], 5), (1, a, weights[2], 2), (0, row, weights[0], 2))
    for layer, inputs, kernel, count in levels:
        terms = {(i, j): inputs[i] * kernel[i, j] for j in into for i in range(len(inputs))}
        found = []
        for j in into:
            mine = sorted((pair for pair in terms if pair[1] == j), key=terms.get, reverse=True)
            found += [pair for pair in mine[:count] if terms[pair] > 0]
        top += [(layer, *pair, terms[pair]) for pair in found]
        into = list(dict.fromkeys(i for i, _ in found))
    way = lines(f"wayOf({best})")
    assert sorted(map(tuple, way[:, :3])) == sorted(one[:3] for one in top)
    assert_allclose(sorted(way[:, 3]), sorted(one[3] for one in top), atol=1e-5)
    # The selected unit: 8 inputs, and the outputs, by size.
    click(page, unit(1, 2))
    terms = a * weights[2][:, 2]
    order = np.argsort(-abs(terms))
    found = lines("strongest(1, 2, LINES)")
    assert found[:, 1].tolist() == order.tolist()
    assert_allclose(found[:, 3], terms[order], atol=1e-5)
    outs = lines("strongestOutputs({ layer: 1, unit: 2 })")
    assert_allclose(sorted(outs[:, 3]), sorted(b[2] * weights[4][2]), atol=1e-5)
    # They are drawn: at the end of the strongest line there is the colour of its sign.
    click(page, unit(0, 4))
    terms = row * weights[0][:, 4]
    pixel = int(abs(terms).argmax())
    across, down = array(page, f"placeOf(-1, {pixel})")
    ratio = page.evaluate("devicePixelRatio")
    drawn = pixels_of(page, "#lines")[int(down * ratio), int(across * ratio)]
    colour = array(page, "palette.positive" if terms[pixel] > 0 else "palette.negative")
    assert_allclose(drawn, [*colour, 255], atol=3)
    left, top, right, bottom = box_of(page, "#received")
    start, above, *_ = box_of(page, "#lines")
    column, line = pixel % 6, pixel // 6
    middle = left + (column + 0.5) / 6 * (right - left), top + (line + 0.5) / 6 * (bottom - top)
    assert (across + start, down + above) == pytest.approx(middle, abs=1.5)
    # They follow units that move because a caption gets longer, though the picture stays as high.
    page.evaluate("$('outputs').style.minHeight = '30rem'")
    settled(page)
    caption = "$('layers').children[1].children[1].dataset.plain = 'units '.repeat(40)"
    page.evaluate(f"() => {{ {caption}; changed(); }}")
    settled(page)
    settled(page)
    places = page.evaluate("[0, 5].map(u => placeOf(0, u))")
    for number, place in zip((0, 5), places, strict=True):
        left, top, right, bottom = box_of(page, unit(0, number))
        middle = (left + right) / 2 - start, (top + bottom) / 2 - above
        assert place == pytest.approx(middle, abs=1.5)


def test_the_two_colours_are_those_of_the_pictures(visit, tmp_path):
    model = network(Flatten(), (3, "softmax"), inputs=(4, 4))
    page = visit(tinynet.export_html(model, tmp_path / "p.html"), color_scheme="dark")
    for _ in range(2):
        names = ("positive", "negative", "zero")
        found = ["#" + bytes(page.evaluate(f"palette.{name}")).hex().upper() for name in names]
        assert found == [POSITIVE, NEGATIVE, GREY]
        click(page, "#theme")


# The invitation and the example


def test_an_example_draws_itself_on_the_empty_pad(visit, tmp_path, rng):
    model = network(Flatten(), (10, "softmax"), inputs=(28, 28))
    path = tinynet.export_html(model, tmp_path / "page.html")
    page = visit(path, example=True, clock=True)
    page.clock.run_for(40)
    invitation = pixels_of(page, "#pad")[..., 3].sum()
    assert invitation > 0
    page.clock.run_for(2500)
    assert page.evaluate("state.strokes.length") == 0
    page.clock.run_for(2000)  # it begins after 4 s
    partly = page.evaluate("state.strokes[0].points.length")
    page.clock.run_for(2500)
    assert 1 < partly < page.evaluate("state.strokes[0].points.length") == 48
    assert page.inner_text("#verdict-name") != "–"
    assert (ink_of(page) > 0.5).mean() > 0.05
    place = page.locator("#pad").bounding_box()  # the user's first stroke replaces it
    page.mouse.move(place["x"] + 30, place["y"] + 30)
    page.mouse.down()
    page.mouse.move(place["x"] + 60, place["y"] + 90)
    page.mouse.up()
    assert page.evaluate("state.strokes.length") == 1
    assert page.evaluate("state.strokes[0].points.length") < 5
    page.clock.run_for(20_000)
    assert page.evaluate("state.strokes.length") == 1
    assert page.evaluate("state.target") is None


@pytest.mark.long
@pytest.mark.parametrize("use", ["a key", "a click", "a stroke", "nothing, with reduced motion"])
def test_the_example_waits_for_nobody_but_an_idle_reader(visit, digits_page, use):
    still = {"reduced_motion": "reduce"} if "reduced" in use else {}
    page = visit(digits_page, example=True, clock=True, **still)
    page.clock.run_for(2500)
    if use == "a key":
        page.keyboard.press("Tab")
    elif use == "a click":
        page.locator("#theme").click()
    elif use == "a stroke":
        place = page.locator("#pad").bounding_box()
        page.mouse.click(place["x"] + 50, place["y"] + 50)
    page.clock.run_for(1600)
    strokes = page.evaluate("state.strokes.map(({ points }) => points.length)")
    assert strokes == {"a stroke": [1]}.get(use, [48] if still else [])
    if still:
        assert page.inner_text("#verdict-name") == "3"


@pytest.mark.long
@pytest.mark.parametrize("how", ["clear", "undo", "samples button"])
def test_the_example_is_given_up_without_a_pointer(visit, digits_page, how):
    """As by the keyboard of a screen reader, which only clicks."""
    page = visit(digits_page, example=True, clock=True)
    page.clock.run_for(4500)
    assert page.evaluate("state.strokes.length") == 1
    page.evaluate(f"document.querySelector('#{how}').click()")
    page.clock.run_for(5000)
    assert page.evaluate("state.strokes.length") == 0
    page.evaluate("undo()")  # the example comes back, and a stroke still replaces it
    page.evaluate("beginStroke([40, 40])")
    assert page.evaluate("state.strokes.length") == 1


@pytest.mark.long
def test_lines_follow_outputs_that_scroll(visit, tmp_path, rng):
    model = network(Flatten(), (4, "tanh"), (60, "softmax"), inputs=(6, 6))
    x = rng.uniform(size=(60, 6, 6)).astype("float32")
    page = visit(tinynet.export_html(model, tmp_path / "p.html", (x, np.arange(60))), 1366, 768)
    click(page, "#samples button", 3)
    page.wait_for_function("() => state.pinned !== null")
    best = page.evaluate("bestOf(state.passes.at(-1).a)")
    top, bottom = (box_of(page, "#outputs")[side] for side in (1, 3))
    middle = page.locator("#outputs button").nth(best).bounding_box()
    assert top <= middle["y"] <= bottom  # the answer is in view
    for share in (0, 300, 700):
        page.evaluate(f"$('outputs').scrollTop = {share}")
        page.wait_for_timeout(700)  # and it stays where the reader has scrolled it
        assert page.evaluate("$('outputs').scrollTop") == share
        start = box_of(page, "#lines")[1]
        for number in (0, 20, 59):
            row = page.locator("#outputs button").nth(number).bounding_box()
            expected = np.clip(row["y"] + row["height"] / 2, top, bottom) - start
            assert page.evaluate(f"placeOf(1, {number})[1]") == pytest.approx(expected, abs=1.5)


@pytest.mark.long
def test_other_classes_show_a_sample_instead(visit, tmp_path, rng):
    model = network(Flatten(), (2, "softmax"), inputs=(8, 8))
    x = rng.uniform(size=(9, 8, 8)).astype("float32")
    path = tinynet.export_html(model, tmp_path / "p.html", (x, np.arange(9) % 2), ["cat", "dog"])
    page = visit(path, example=True, clock=True)
    page.clock.run_for(4500)
    assert page.evaluate("state.sample") == 0
    path = tinynet.export_html(model, tmp_path / "p.html")
    page = visit(path, example=True, clock=True)
    page.clock.run_for(6000)
    assert page.inner_text("#verdict-words") == "Draw something."


# A phone


@pytest.fixture
def phone(visit, digits_page):
    return visit(digits_page, 390, 844, has_touch=True, is_mobile=True)


@pytest.mark.long
def test_a_phone_shows_pad_and_answer_first_and_tabs_for_the_rest(phone):
    page, size = phone, (390, 844)
    bar = box_of(page, "#tabs")[1]
    assert_on_screen(page, 390, bar, "#pad", "#clear", "#verdict", "#outputs")
    assert page.locator("#brief").inner_text() == ""
    page.locator("#samples button").nth(11).tap()
    settled(page)
    page.evaluate("scrollTo(0, 0)")
    name = page.inner_text("#verdict-name")
    assert re.fullmatch(rf"{name} · >?\d+\.\d %", page.inner_text("#brief").replace("\xa0", " "))
    shown = {
        "Draw": ["#pad", "#outputs", "#samples"],
        "Network": ["#layers", "#outputs", "#lines"],
        "Learn": ["#step", "#truth", "#layers", "#outputs", "#lines"],
        "More": ["#temperature", "#stages"],
    }  # fmt: skip
    everything = {one for all_of_it in shown.values() for one in all_of_it}
    for number, (tab, parts) in enumerate(shown.items()):
        page.locator("#tabs button").nth(number).tap()
        settled(page)
        assert texts(page, "#tabs [aria-current=page]") == [tab]
        visible = {one for one in everything if page.locator(one).is_visible()}
        assert visible == set(parts)
        assert_on_screen(page, *size, "#brief", "#tabs")


@pytest.mark.long
def test_a_tapped_unit_opens_over_the_grid_without_a_jump(phone):
    page = phone
    draw(page, [[(0.5, 0.2), (0.5, 0.8)]])
    assert not page.locator("#unit").is_visible()  # nothing opens by itself
    page.locator("#tabs button").nth(1).tap()
    for layer, number in ((0, 3), (1, 77)):
        target = page.locator(unit(layer, number))
        target.scroll_into_view_if_needed()
        settled(page)
        before, place = page.evaluate("scrollY"), box_of(page, unit(layer, number))
        target.tap()
        settled(page)
        assert page.evaluate("scrollY") == before
        assert box_of(page, unit(layer, number)) == place
        assert f"unit {number + 1}" in page.inner_text("#unit-title")
        left, top, right, bottom = box_of(page, "#unit")
        assert (left, right, bottom) == pytest.approx((0, 390, box_of(page, "#tabs")[1]), abs=2)
        assert top > 844 * 0.4
        page.locator("#unit-close").tap()
        assert not page.locator("#unit").is_visible()
    # In a step, the unit opens where its gradient is shown, and closes with the new answer.
    page.locator("#tabs button").nth(2).tap()
    page.locator("#truth button").nth(1).tap()
    page.locator("#pace").select_option("next")
    seen = {}
    page.locator("#step").tap()
    while page.inner_text("#step") != "One more step":
        seen[page.inner_text("#stage-title")] = page.locator("#unit").is_visible()
        if page.locator("#unit").is_visible():  # the button remains in reach
            assert box_of(page, "#step")[3] < box_of(page, "#unit")[1]
        page.locator("#step").tap()
        settled(page)
    assert [title for title in seen if seen[title]] == [
        "The gradient of the weights", "The change of the weights"]  # fmt: skip
    assert not page.locator("#unit").is_visible()


@pytest.mark.long
def test_any_number_of_changes_is_shown_once_in_a_frame(page):
    """So drawing stays at the screen's rate, however many points the pen reports."""
    counting = "let shown = 0; const show_ = showLines; showLines = () => { shown++; show_(); };"
    script = f"""() => {{ {counting}
        for (let i = 0; i < 100; i++) inputChanged();
        return new Promise(d => setTimeout(() => d(shown), 500));
    }}"""
    assert page.evaluate(script) == 1
