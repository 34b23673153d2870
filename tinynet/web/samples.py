"""Check samples against the model, and choose those that the page shows and those it trains on."""

import base64
import zlib
from collections.abc import Callable

import numpy as np

from tinynet.backend.types import Config, HostArray, Model
from tinynet.compat import checks, naming

SAMPLES, WRONG = 20, 6  # how many are shown, and the most of them that the model gets wrong
TRAINING, HELD_OUT = 1500, 300  # how many are for training from nothing, and for measuring it
MOST_CHARACTERS = 400_000  # that these may take in the page; 1,800 of MNIST take 383,000


def check_samples(
    samples: tuple[HostArray, HostArray], model: Model, units: int
) -> tuple[HostArray, HostArray]:
    """Return the samples, and their class numbers (for one output, their targets)."""
    try:
        x, y = samples
    except (TypeError, ValueError):
        raise ValueError(
            "Expected samples to be (x, y), such as (x_test, y_test), received: "
            f"{naming.short(samples)}. Write: samples=(x_test, y_test)"
        ) from None
    x, y = checks.array(x, "x"), checks.array(y, "y")
    checks.same_length({"x": x, "y": y})
    x = model.adapt(x)
    model.compute_output_shape(x.shape)
    in_rows = y.ndim == 2 and y.shape[1] == units > 1
    if in_rows and np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all():
        labels = y.argmax(axis=1)
    else:
        labels = y.reshape(len(y)) if y.size == len(y) else y
    if units == 1 and labels.ndim == 1:
        if not np.isfinite(labels).all():
            raise ValueError("Expected finite targets, received NaN or infinity. Leave those out")
        return x, labels
    if len(x) == 0 or labels.ndim > 1 or not np.isin(labels, np.arange(units)).all():
        raise ValueError(
            f"Expected samples with class numbers from 0 to {units - 1}, or one-hot rows of "
            f"{units}, received {len(x)}, with labels of shape {y.shape} such as "
            f"{naming.short(y[:3].tolist())}. Write: samples=(x_test, y_test)"
        )
    return x, labels.astype(int)


def check_answers(model: Model, x: HostArray, answers: HostArray, dtype: str) -> None:
    """Raise a ValueError if rounding the weights to `dtype` changes an answer on the samples."""
    weights = model.get_weights()
    try:
        model.set_weights([weight.astype(dtype) for weight in weights])
        others = model.predict(x, verbose=0)
    finally:
        model.set_weights(weights)
    # With one output, the answer is whether it is above 0.5.
    one, other = (a.argmax(axis=1) if a.shape[1] > 1 else a[:, 0] > 0.5 for a in (answers, others))
    changed = int((one != other).sum())
    if changed:
        raise ValueError(
            f"Expected the same answers with {dtype} weights, received {changed} different ones "
            f'on {len(x):,} samples. Write: dtype="float32"'
        )


def describe_samples(
    x: HostArray, y: HostArray, answers: HostArray, inputs: Config, units: int
) -> tuple[Config, Config | None, float, float]:
    """Return the samples that the page shows, those it trains on, and the lowest and highest value
    of those shown."""
    wrong = answers.argmax(axis=1) != y if units > 1 else np.zeros(len(y), bool)
    chosen = choose(y, wrong)
    rows = rows_of(x, chosen)
    selection = {**store(rows, inputs), "y": y[chosen].tolist(), "wrong": wrong[chosen].tolist()}
    training = describe_training(x, y, inputs, chosen)
    return selection, training, float(rows.min()), float(rows.max())


def describe_training(
    x: HostArray, y: HostArray, inputs: Config, shown: HostArray
) -> Config | None:
    """Return the samples on which the page trains, followed by those held out: as many as fit."""
    others = np.setdiff1d(np.arange(len(x)), shown)
    # Samples that are shown take no part, so that the network can be tried on them; of very few,
    # all are needed.
    apart = len(others) >= 4 * SAMPLES
    most = max(10, min(TRAINING + HELD_OUT, 2**23 // inputs["length"]))  # 32 MiB of float32
    pool = np.random.default_rng(0).permutation(others if apart else len(x))[:most]
    while len((stored := store(rows_of(x, pool), inputs, zlib.compress))["x"]) > MOST_CHARACTERS:
        pool = pool[: int(0.95 * len(pool) * MOST_CHARACTERS / len(stored["x"]))]
        if len(pool) < 10:
            return None  # too few to learn anything from
    held_out = len(pool) * HELD_OUT // (TRAINING + HELD_OUT)
    return {**stored, "y": y[pool].tolist(), "train": len(pool) - held_out, "apart": apart}


def rows_of(x: HostArray, numbers: HostArray) -> HostArray:
    rows = np.ascontiguousarray(x[numbers].reshape(len(numbers), -1), "float32")
    if not np.isfinite(rows).all():
        raise ValueError("Expected finite samples, received NaN or infinity. Leave those out")
    return rows


def store(rows: HostArray, inputs: Config, pack: Callable[[bytes], bytes] = bytes) -> Config:
    """Return the rows as text, with a byte for each pixel of an image if that loses nothing."""
    levels = rows / inputs["brightest"] * 255
    as_bytes = np.rint(levels)
    if (
        inputs["kind"] == "image"
        and (abs(levels - as_bytes) < 1e-3).all()
        and levels.min() >= 0
        and levels.max() <= 255
    ):
        kind, scale, data = "uint8", 1 / 255, as_bytes.astype("uint8").tobytes()
    else:
        kind, scale, data = "float32", 1 / inputs["brightest"], rows.astype("<f4").tobytes()
    return {"type": kind, "scale": scale, "x": base64.b64encode(pack(data)).decode()}


def choose(y: HostArray, wrong: HostArray) -> HostArray:
    """Return the indices of the samples to show: some of every class, then some mistakes."""
    right = np.flatnonzero(~wrong)
    mistakes = np.flatnonzero(wrong)[: max(WRONG, SAMPLES - len(right))]
    # One of each class, then another of each, until there are enough.
    rank = np.zeros(len(y), int)
    for label in np.unique(y):
        of_class = right[y[right] == label]
        rank[of_class] = np.arange(len(of_class))
    order = right[np.lexsort((right, rank[right]))][: SAMPLES - len(mistakes)]
    return np.concatenate([order[np.lexsort((order, y[order]))], mistakes])
