"""Weights in a file: NumPy's ``.npz``, an array for each weight, in the order of `get_weights`."""

import os
import pathlib
from typing import Any

from tinynet import backend

SUFFIX = ".weights.npz"


def check_path(path: str | os.PathLike[str]) -> pathlib.Path:
    """`path` if it can be that of a file of weights.

    Raises:
        ValueError: if it ends otherwise.
    """
    if not str(os.fspath(path)).endswith(SUFFIX):
        raise ValueError(
            f"Expected a path that ends in {SUFFIX}, received: {os.fspath(path)!r}. "
            f'Write: "best{SUFFIX}"'
        )
    return pathlib.Path(path)


def save_weights(model: Any, path: str | os.PathLike[str]) -> None:
    """Write the weights to `path`, which ends in ``.weights.npz``; folders are made.

    The file appears, or is replaced, in one go.

    Raises:
        ValueError: for another ending, or a model without weights yet.
        OSError: if it cannot be written; then what was there is there still.
    """
    path = check_path(path)
    if not model.built:
        raise ValueError(
            f"You are saving a model that has not yet been built: '{model.name}' has no weights. "
            "Write: model.build((None, 784)), or train it first"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    arrays = {f"{number:06d}": weight for number, weight in enumerate(model.get_weights())}
    try:
        with draft.open("wb") as file:
            backend.host.savez(file, **arrays)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def load_weights(model: Any, path: str | os.PathLike[str]) -> None:
    """Set the weights to those that `save_weights` wrote to `path`.

    Raises:
        ValueError: if they are another model's, or it is no such file; then nothing is changed.
        FileNotFoundError: if it is not there.
    """
    import zipfile  # for its name of an error alone

    path = check_path(path)
    try:
        with backend.host.load(path, allow_pickle=False) as arrays:
            weights = [arrays[name] for name in sorted(arrays)]
    except (zipfile.BadZipFile, EOFError, ValueError, TypeError) as error:
        raise ValueError(f"Expected a file of weights, received {path}: {error}") from error
    model.set_weights(weights)
