"""Use of an exported page in a browser: clicks, keys, drawings, and what the page then shows."""

import json
import re

import numpy as np

PAD = 280  # pixels of the drawing, for a square image
TRAINING = "#tasks button:last-child"  # opens training from nothing


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


def train(page, steps):
    """Take so many steps of training from nothing, or from where it is, and wait for them."""
    page.evaluate(f"goOn({steps})")
    page.wait_for_function("() => !training.running")
    settled(page)


def array(page, expression):
    """Return an array of the page, such as the answer, as a NumPy array."""
    return np.array(json.loads(page.evaluate(f"JSON.stringify([...{expression}])")))


def answer(page):
    return array(page, "state.passes.at(-1).a")


def pad_of(page):
    """Return a function from fractions of the pad's size to a position on the page."""
    pad = page.locator("#pad")
    pad.scroll_into_view_if_needed()
    box, border = pad.bounding_box(), pad.evaluate("pad => pad.clientLeft")
    width, height = box["width"] - 2 * border, box["height"] - 2 * border
    return lambda x, y: (box["x"] + border + x * width, box["y"] + border + y * height)


def draw(page, lines, width=None):
    """Draw lines with the mouse, through fractions of the pad's size, and press keys meanwhile."""
    if width is not None:
        page.locator("#brush").fill(str(width))
    place = pad_of(page)
    for first, *others in lines:
        page.mouse.move(*place(*first))
        page.mouse.down()
        for other in others:
            if isinstance(other, str):
                page.keyboard.press(other)
            else:
                page.mouse.move(*place(*other))
        page.mouse.up()
    settled(page)


DOWN, ACROSS = [(0.5, 0.2), (0.5, 0.8)], [(0.3, 0.5), (0.7, 0.5)]


def ink_of(page):
    """Return the page's drawing, of shape (280, 280), with values from 0 to 1."""
    return array(page, "inkOfDrawing()").astype("float32").reshape(PAD, PAD)


def pixels_of(page, selector):
    """Return what a canvas shows, of shape (height, width, 4), with values from 0 to 255."""
    script = """c => { // from a copy, as canvases on the screen are not made to be read often
        const copy = new OffscreenCanvas(c.width, c.height).getContext("2d");
        copy.drawImage(c, 0, 0);
        const { data } = copy.getImageData(0, 0, c.width, c.height);
        return JSON.stringify([c.height, c.width, ...data]);
    }"""
    height, width, *data = json.loads(page.locator(selector).first.evaluate(script))
    return np.reshape(data, (height, width, 4))


def computed(page, x):
    """Return the outputs of the page's forward pass for the rows of `x`."""
    rows = json.dumps(x.reshape(len(x), -1).tolist())
    return array(page, f"{rows}.map(row => [...forward(model, Float32Array.from(row)).at(-1).a])")


def texts(page, selector):
    """Return the texts of some elements, with plain spaces and minus signs."""
    found = page.locator(selector).all_inner_texts()
    return [text.replace("\xa0", " ").replace("−", "-") for text in found]


def offending(page, selector, condition):
    """Return the elements, as HTML, for which a condition in JavaScript holds."""
    script = f"all => all.filter(e => {condition}).map(e => e.outerHTML.slice(0, 80))"
    return page.locator(selector).evaluate_all(script)


def unit(layer, number):
    return f"#layers > :nth-child({layer + 2}) .units button:nth-child({number + 1})"


def numbers_in(text):
    """Return the numbers in a line such as z = … = 2.0 − 1.0 = 1.0, as floats."""
    text = text.split("(of")[0].replace("- ", "-").replace("+ ", "")
    return [float(n) for n in re.findall(r"(?<![\w.(])-?\d+\.\d+(?:e-?\d+)?", text)]


def focused(page, what="e.id || e.ariaLabel"):
    return page.evaluate(f"(e => {what})(document.activeElement)")
