"""The trained network as one HTML page: draw a digit, see every layer light up, and let it learn.

`export_html` fills a template. The resulting page needs no server and no internet connection: the
weights are embedded as text, `network.js` computes forward, backward and the optimizers' steps with
tinynet's numbers, and the other scripts show them. All are written to be read.
"""

import html
import importlib.resources
import json
import pathlib
import re
from collections.abc import Sequence

import numpy as np

from tinynet import backend
from tinynet.backend.types import Config, HostArray, Model
from tinynet.compat import checks, naming
from tinynet.datasets import prepare
from tinynet.utils import files
from tinynet.web.learning import describe_learning
from tinynet.web.network import (
    architecture,
    check_model,
    describe_layers,
    encode_base64,
    load_weights as load_weights,
)
from tinynet.web.samples import check_answers, check_samples, describe_samples

TYPES = ("float32", "float16")
# Each script may use what the ones before it define. Those that only compute also run in a worker.
COMPUTING = "network prepare trainer"
SHOWING = "common pad bars samples picture unit stages learn weights curves train download page"


def export_html(
    model: Model,
    path: files.PathLike,
    samples: tuple[HostArray, HostArray] | None = None,
    labels: Sequence[object] | None = None,
    *,
    title: str | None = None,
    brightest: float = 1.0,
    image_shape: Sequence[int] | None = None,
    box: int | Sequence[int] | None = None,
    dtype: str = "float32",
) -> pathlib.Path:
    """Write `model` as a page that any browser opens: ``export_html(model, "digits.html")``.

    The user draws with mouse, pen, finger or keyboard, and sees the drawing preprocessed as in
    MNIST, every activation and the probabilities, the weights and the weighted sum of any unit,
    and softmax step by step. Units can be turned off. And the network learns from the drawing: one
    step of the optimizer, stage by stage with its numbers, which are those of `model.trace` and
    `train_on_batch` with an optimizer that starts anew. Or it starts from random weights, and
    learns from the samples. The model in Python stays as it is; `tinynet.web.load_weights` gives it
    weights that were downloaded from the page.

    Arguments:
        model: a built `Sequential` of `Dense`, `Flatten`, `Activation` and `Dropout` (which does
            nothing in inference), with tinynet's own activations. Its input is an image, (h, w) or
            (h, w, channels), or a plain vector, whose values are shown as bars.
        path: the file to write; missing folders are created.
        samples: (x, y), such as test data: x as for `predict`, y as class numbers or one-hot rows.
            About 20 of them are shown, including some that the model gets wrong. Up to 1,500
            others, and 300 to measure, are for training in the page: as many as fit in 0.4 MB.
        labels: the names of the classes; 0, 1, 2 … if not given.
        title: the page's title.
        brightest: the value of a pixel full of ink in `x`: 1, or 255 for a model of raw pixels.
        image_shape: (h, w) if the input is a vector that holds the pixels of an image.
        box: the size in pixels to which a drawing is scaled, a number or (h, w); by default 20 of
            28 pixels, as in MNIST, and the whole side of an image smaller than 20.
        dtype: ``"float16"`` halves the size of the weights and lowers their precision; it is
            refused if it changes an answer on the samples.

    Returns:
        The path.

    Raises:
        ValueError: if the model or the samples cannot be shown; nothing is written in this case.
        OSError: if the file cannot be written; an existing file stays as it was.
    """
    shape = check_model(model, 'export_html(model, "digits.html")')
    path = files.check_path(path, ".html")
    if path.is_dir():
        raise ValueError(
            f'Expected a file, received the folder {path}. Write: "{path}/digits.html"'
        )
    dtype = checks.choice(dtype, "dtype", *TYPES) or TYPES[0]
    brightest = checks.number(brightest, "brightest", 1e-6, 1e9, 255)
    if image_shape is not None:
        if backend.is_integer(image_shape) or len(image_shape) != 2:
            raise ValueError(
                f"Expected image_shape to be (h, w), received: {naming.short(image_shape)}. "
                "Write: image_shape=(28, 28)"
            )
        image_shape = tuple(size or 0 for size in checks.shape(image_shape, "image_shape"))
        if len(shape) != 1 or int(np.prod(image_shape)) != shape[0]:
            raise ValueError(
                f"Expected an image_shape with as many pixels as the model's input {shape}, "
                f"received {image_shape}. Leave image_shape out"
            )
    described = describe_layers(model, shape)
    layers = [
        layer | {part: encode_base64(layer[part], dtype) for part in ("kernel", "bias")}
        for layer in described
    ]
    units = layers[-1]["units"]
    if labels is not None and (isinstance(labels, str) or not hasattr(labels, "__iter__")):
        raise ValueError(
            f"Expected labels to be a list of names, received: {naming.short(labels)}. "
            'Write: labels=["cat", "dog"]'
        )
    names = [str(label) for label in (range(units) if labels is None else labels)]
    if len(names) != units:
        raise ValueError(
            f"Expected a name for each of the {units} outputs, received {len(names)} labels. "
            "Leave labels out to number them"
        )
    inputs = describe_input(shape, image_shape, brightest, box)
    sizes = [inputs["length"], *(layer["units"] for layer in layers if layer["start"])]
    summary = f"{' → '.join(map(str, sizes))}: {model.count_params():,} weights."
    shown = training = None
    if samples is not None:
        x, y = check_samples(samples, model, units)
        answers = model.predict(x, verbose=0)
        if dtype != "float32":
            check_answers(model, x, answers, dtype)
        if units > 1:
            right = int((answers.argmax(axis=1) == y).sum())
            summary += f" Correct on {right:,} of {len(x):,} samples."
        shown, training, low, high = describe_samples(x, y, answers, inputs, units)
        if inputs["kind"] == "vector":
            inputs["range"] = [min(low, 0.0), max(high, 0.0)] if low or high else [-1.0, 1.0]
        elif max(abs(low), abs(high)) > 10 * brightest:
            # Such as 255 where 1 is expected; a few standard deviations are accepted.
            raise ValueError(
                f"Expected pixels of up to {brightest:g}, received samples of up to {high:g}. "
                "Write: brightest=255 for a model of raw pixels, or samples=(x_test / 255, y_test)"
            )
    data = {
        "about": summary,
        "input": inputs,
        "layers": layers,
        "architecture": architecture(described),
        "labels": names,
        "samples": shown,
        "training": training,
        "type": dtype,
        **describe_learning(model, layers[-1]["activation"], training is not None),
    }
    if title is None:
        title = "Draw a digit" if inputs["kind"] == "image" and units == 10 else model.name
    files.write_atomically(path, page(data, str(title)).encode())
    return path


def page(data: Config, title: str) -> str:
    """Return the filled template."""
    parts = {
        "title": html.escape(title),
        "css": asset("page.css"),
        "computing": "\n".join(asset(f"{name}.js") for name in COMPUTING.split()),
        "showing": "\n".join(asset(f"{name}.js") for name in SHOWING.split()),
        # Inside a script element, only `<` could begin the end tag.
        "data": json.dumps(data).replace("<", "\\u003c"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], asset("page.html"))


def asset(name: str) -> str:
    return (importlib.resources.files(__package__) / name).read_text("utf-8").strip()


def describe_input(
    shape: tuple[int, ...],
    image_shape: Sequence[int] | None,
    brightest: float,
    box: int | Sequence[int] | None,
) -> Config:
    """Return the page's description of the input: an image to draw, or a vector as bars."""
    if len(shape) == 1 and image_shape is None:
        if box is not None or brightest != 1:
            raise ValueError(
                "Expected neither box nor brightest for a plain vector, which is shown as bars. "
                "Leave them out; or write image_shape=(28, 28) if it is an image"
            )
        return {"kind": "vector", "length": shape[0], "brightest": 1, "range": [-1.0, 1.0]}
    height, width, *rest = image_shape if image_shape is not None else shape
    sides = (height, width)
    boxes: object = tuple(map(prepare.box_of, sides)) if box is None else box
    boxes = (boxes, boxes) if backend.is_integer(boxes) else boxes
    if not (
        isinstance(boxes, tuple | list)
        and len(boxes) == 2
        and all(
            backend.is_integer(b) and 1 <= b <= side for b, side in zip(boxes, sides, strict=True)
        )
    ):
        raise ValueError(
            f"Expected box to be from 1 to {min(sides)} pixels, or (h, w) within {sides}, "
            f"received: {naming.short(box)}. Leave box out"
        )
    channels = rest[0] if rest else 1
    return {
        "kind": "image",
        "brightest": brightest,
        "box": {"h": int(boxes[0]), "w": int(boxes[1])},
        "h": height,
        "w": width,
        "channels": channels,
        "length": height * width * channels,
    }
