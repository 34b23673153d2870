"""The trained network as one HTML page: draw a digit, and see every layer light up.

`export_html` fills a template. The page that comes of it needs no server and no network: the
weights are in it as text, and what it computes is in `network.js`, the forward pass, and `page.js`,
everything one sees. Both are written to be read.
"""

import base64
import html
import importlib.resources
import json
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinynet import backend
from tinynet.compat import naming, validation
from tinynet.compat.activation import OWN, name_of
from tinynet.datasets import prepare
from tinynet.layers import Activation, Dense, Dropout, Flatten
from tinynet.models import Sequential
from tinynet.utils import files
from tinynet.web.samples import check_answers, check_samples, samples_of

TYPES = ("float32", "float16")


def export_html(
    model: Any,
    path: files.PathLike,
    samples: Any = None,
    labels: Sequence[Any] | None = None,
    *,
    title: str | None = None,
    brightest: float = 1.0,
    image_shape: Sequence[int] | None = None,
    box: Any = None,
    dtype: str = "float32",
) -> pathlib.Path:
    """Write `model` as a page that any browser opens: ``export_html(model, "digits.html")``.

    On it one draws with mouse, pen, finger or keyboard, and sees what the network makes of it: the
    drawing as MNIST would have it, every activation, the probabilities; behind every unit
    its weights and its sum; softmax step by step. Units can be turned off.

    Arguments:
        model: a built `Sequential` of `Dense`, `Flatten`, `Activation` (and `Dropout`, which does
            nothing in use), with tinynet's own activations. What goes in is an image, (h, w) or
            (h, w, channels), or a plain vector, whose numbers are shown as bars.
        path: the file; folders are made.
        samples: (x, y) such as test data, as the model takes it, with class numbers or one-hot
            rows; some 20 are shown, among them some that the model gets wrong.
        labels: the names of the classes; 0, 1, 2 … if not given.
        title: the page's title.
        brightest: what a pixel full of ink is in `x`: 1, or 255 for a model of raw pixels.
        image_shape: (h, w) if a plain vector is an image after all.
        box: the pixels that a drawing is made to fit, a number or (h, w); of 28 pixels 20, as in
            MNIST, of small images all.
        dtype: ``"float16"`` makes the page half as large, and its numbers less exact; it is
            refused if that changes an answer on the samples.

    Returns:
        The path.

    Raises:
        ValueError: for a model or samples that cannot be shown; then nothing is written.
        OSError: if the file cannot be written; then what was there is there still.
    """
    if not isinstance(model, Sequential):
        raise ValueError(
            f"Expected a model, received {naming.short(model)}. "
            'Write: export_html(model, "digits.html")'
        )
    if not model.built:
        raise ValueError(
            "Expected a model with weights, received one that is not built. "
            "Write: model.build((None, 28, 28)), or train it first"
        )
    path = files.check_path(path, ".html")
    if path.is_dir():
        raise ValueError(
            f'Expected a file, received the folder {path}. Write: "{path}/digits.html"'
        )
    dtype = validation.choice(dtype, "dtype", *TYPES) or TYPES[0]
    brightest = validation.number(brightest, "brightest", 1e-6, 1e9, 255)
    shape: tuple[Any, ...] = tuple((model.input_shape or ())[1:])
    if image_shape is not None:
        if backend.is_integer(image_shape) or len(image_shape) != 2:
            raise ValueError(
                f"Expected image_shape to be (h, w), received: {naming.short(image_shape)}. "
                "Write: image_shape=(28, 28)"
            )
        image_shape = tuple(size or 0 for size in validation.shape(image_shape, "image_shape"))
        if len(shape) != 1 or int(np.prod(image_shape)) != shape[0]:
            raise ValueError(
                f"Expected an image_shape of as many numbers as the model takes, {shape}, "
                f"received {image_shape}. Leave image_shape out"
            )
    layers = layers_of(model, shape, dtype)
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
    inputs = input_of(shape, image_shape, brightest, box)
    told = (
        f"{' → '.join(str(n) for n in sizes_of(layers, inputs))}: {model.count_params():,} weights."
    )
    shown = None
    if samples is not None:
        x, y = check_samples(samples, model, units)
        answers = model.predict(x, verbose=0)
        if dtype != "float32":
            check_answers(model, x, answers, dtype)
        if units > 1:
            right = int((answers.argmax(axis=1) == y).sum())
            told += f" Right on {right:,} of {len(x):,} samples."
        shown, low, high = samples_of(x, y, answers, inputs, units)
        if inputs["kind"] == "vector":
            inputs["range"] = [min(low, 0.0), max(high, 0.0)] if low or high else [-1.0, 1.0]
        elif (
            max(abs(low), abs(high)) > 10 * brightest
        ):  # 255 for 1, and not a few standard deviations
            raise ValueError(
                f"Expected pixels of up to {brightest:g}, received samples of up to {high:g}. "
                "Write: brightest=255 for a model of raw pixels, or samples=(x_test / 255, y_test)"
            )
    data = {
        "about": told,
        "input": inputs,
        "layers": layers,
        "labels": names,
        "samples": shown,
        "type": dtype,
    }
    if title is None:
        title = "Draw a digit" if inputs["kind"] == "image" and units == 10 else model.name
    files.write_whole(path, page(data, str(title)).encode())
    return path


def page(data: dict[str, Any], title: str) -> str:
    """The template, filled."""
    parts = {
        "title": html.escape(title),
        "css": asset("page.css"),
        "network": asset("network.js"),
        "page": asset("page.js"),
        # Inside of a script, only `<` could be taken for the end of it.
        "data": json.dumps(data).replace("<", "\\u003c"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], asset("page.html"))


def asset(name: str) -> str:
    return (importlib.resources.files(__package__) / name).read_text("utf-8").strip()


def layers_of(model: Any, shape: tuple[int, ...], dtype: str) -> list[dict[str, Any]]:
    """What the page has to know of each layer that computes."""
    found: list[dict[str, Any]] = []
    for layer in model.layers:
        if isinstance(layer, Dropout) and type(layer) is Dropout:
            continue  # in use, it does nothing
        if type(layer) is Flatten and (layer.data_format == "channels_last" or len(shape) < 3):
            shape = (int(np.prod(shape)),)
            continue
        if type(layer) not in (Dense, Activation):
            raise refused(
                layer,
                "the page knows Dense, Flatten (channels last), Activation and Dropout. "
                "Write: a Sequential of these",
            )
        if layer.activation not in OWN:
            name = name_of(layer.activation)
            raise refused(
                layer,
                f"the page does not know its activation {name}. Write: activation='relu', or "
                "another of tinynet's own",
            )
        if len(shape) != 1:
            raise refused(layer, f"it sees images {shape}, not rows. Write: Flatten() before it")
        name = name_of(layer.activation)
        if isinstance(layer, Activation):
            if found and found[-1]["activation"] == "linear":
                found[-1]["activation"] = name  # together they are a Dense with an activation
                continue
            kernel = bias = None
        else:
            kernel = text_of(backend.to_numpy(layer.kernel), dtype)
            bias = text_of(backend.to_numpy(layer.bias), dtype) if layer.use_bias else None
            shape = (layer.units,)
        found.append(
            {
                "name": layer.name,
                "units": shape[0],
                "activation": name,
                "kernel": kernel,
                "bias": bias,
            }
        )
    if not found:
        raise ValueError("Expected a model with layers that compute, received none. Add a Dense")
    return found


def refused(layer: Any, why: str) -> ValueError:
    return ValueError(
        f"Expected a model that the page can compute, received layer '{layer.name}' "
        f"({type(layer).__name__}): {why}"
    )


def text_of(array: np.ndarray, dtype: str) -> str:
    """The numbers as base64 of little-endian floats."""
    with backend.ignore_overflow():
        small = array.astype(np.dtype(dtype).newbyteorder("<"))
    if not np.isfinite(small).all():
        raise ValueError(
            f"Expected weights that are finite in {dtype}, received NaN, infinity, or too large "
            'numbers. Write: dtype="float32", and train the model until its loss is finite'
        )
    return base64.b64encode(small.tobytes()).decode()


def input_of(
    shape: tuple[int, ...], image_shape: Any, brightest: float, box: Any
) -> dict[str, Any]:
    """What goes in: an image to draw, or the bars of a plain vector."""
    if any(size is None for size in shape) or len(shape) > 3:
        raise ValueError(
            f"Expected a model of images (h, w) or (h, w, channels), or of vectors, received "
            f"inputs of shape {shape}. Write: Input((28, 28))"
        )
    if len(shape) == 1 and image_shape is None:
        if box is not None or brightest != 1:
            raise ValueError(
                "Expected neither box nor brightest for a plain vector, which is shown as bars. "
                "Leave them out; or write image_shape=(28, 28) if it is an image"
            )
        return {"kind": "vector", "length": shape[0], "brightest": 1, "range": [-1.0, 1.0]}
    height, width, *rest = image_shape if image_shape is not None else shape
    sides = (height, width)
    boxes: Any = tuple(map(prepare.box_of, sides)) if box is None else box
    boxes = (boxes, boxes) if backend.is_integer(boxes) else boxes
    fits = isinstance(boxes, tuple | list) and len(boxes) == 2
    if not fits or not all(
        backend.is_integer(one) and 1 <= one <= side for one, side in zip(boxes, sides, strict=True)
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


def sizes_of(layers: list[dict[str, Any]], inputs: dict[str, Any]) -> list[int]:
    return [inputs["length"], *(layer["units"] for layer in layers if layer["kernel"])]
