"""The samples on the page: checked against the model, and a few of them chosen to be shown."""

import base64
from typing import Any

import numpy as np

from tinynet.compat import naming, validation

SAMPLES, WRONG = 20, 6  # how many are shown, and how many of them at least that it gets wrong


def check_samples(samples: Any, model: Any, units: int) -> tuple[np.ndarray, np.ndarray]:
    """The samples, and their class numbers."""
    try:
        x, y = samples
    except (TypeError, ValueError):
        raise ValueError(
            "Expected samples to be (x, y), such as (x_test, y_test), received: "
            f"{naming.short(samples)}. Write: samples=(x_test, y_test)"
        ) from None
    x, y, _ = validation.triple(validation.array(x, "x"), y, None)
    x = model.adapt(x)
    model.compute_output_shape(x.shape)
    one_hot = y.ndim == 2 and y.shape[1] == units > 1
    labels = y.argmax(axis=1) if one_hot else y.reshape(len(y), -1)
    if not one_hot and labels.shape[1:] == (1,):
        labels = labels[:, 0]
    if units == 1 and labels.ndim == 1:
        return x, labels
    if len(x) == 0 or labels.ndim > 1 or not np.isin(labels, np.arange(units)).all():
        raise ValueError(
            f"Expected samples with class numbers from 0 to {units - 1}, or one-hot rows of "
            f"{units}, received {len(x)}, with labels of shape {y.shape} such as "
            f"{naming.short(y[:3].tolist())}. Write: samples=(x_test, y_test)"
        )
    return x, labels.astype(int)


def check_answers(model: Any, x: np.ndarray, answers: np.ndarray, dtype: str) -> None:
    """Raise a ValueError if weights of `dtype` change an answer on the samples."""
    weights = model.get_weights()
    try:
        model.set_weights([weight.astype(dtype) for weight in weights])
        others = model.predict(x, verbose=0)
    finally:
        model.set_weights(weights)
    # With one output, an answer is on which side of a half it is.
    one, other = (a.argmax(axis=1) if a.shape[1] > 1 else a[:, 0] > 0.5 for a in (answers, others))
    changed = int((one != other).sum())
    if changed:
        raise ValueError(
            f"Expected the same answers with weights of {dtype}, received {changed} others on "
            f'{len(x):,} samples. Write: dtype="float32"'
        )


def samples_of(
    x: np.ndarray, y: np.ndarray, answers: np.ndarray, inputs: dict[str, Any], units: int
) -> tuple[dict[str, Any], float, float]:
    """The samples that the page shows, and their lowest and highest number."""
    wrong = answers.argmax(axis=1) != y if units > 1 else np.zeros(len(y), bool)
    chosen = choose(y, wrong)
    rows = np.ascontiguousarray(x[chosen].reshape(len(chosen), -1), "float32")
    if not np.isfinite(rows).all():
        raise ValueError("Expected finite samples, received NaN or infinity. Leave those out")
    levels = rows / inputs["brightest"] * 255
    as_bytes = np.rint(levels)
    if (
        inputs["kind"] == "image"
        and (abs(levels - as_bytes) < 1e-3).all()
        and levels.min() >= 0
        and levels.max() <= 255
    ):
        stored = {"type": "uint8", "scale": 1 / 255, "x": as_bytes.astype("uint8").tobytes()}
    else:
        stored = {
            "type": "float32",
            "scale": 1 / inputs["brightest"],
            "x": rows.astype("<f4").tobytes(),
        }
    stored["x"] = base64.b64encode(stored["x"]).decode()
    found = {**stored, "y": y[chosen].tolist(), "wrong": wrong[chosen].tolist()}
    return found, float(rows.min()), float(rows.max())


def choose(y: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """Which samples are shown: some of every class, in order; some that are wrong, at the end."""
    right = np.flatnonzero(~wrong)
    mistakes = np.flatnonzero(wrong)[: max(WRONG, SAMPLES - len(right))]
    # One of each class, then another of each, until there are enough.
    rank = np.zeros(len(y), int)
    for label in np.unique(y):
        of_class = right[y[right] == label]
        rank[of_class] = np.arange(len(of_class))
    order = right[np.lexsort((right, rank[right]))][: SAMPLES - len(mistakes)]
    return np.concatenate([order[np.lexsort((order, y[order]))], mistakes])
