"""Saving a whole model to a file in Keras 3's format: ``model.save("m.keras")``.

A ``.keras`` file is an archive of three parts: ``config.json`` has the layers and the compile
settings, ``model.weights.h5`` the weights (see `hdf5`), and ``metadata.json`` the version. Keras
opens the files that are written here; `load` opens them too, and those that Keras wrote.
"""

import json
import time
from collections.abc import Mapping
from types import ModuleType

from tinynet import config, losses, metrics
from tinynet.backend import turns
from tinynet.backend.types import Config, Identifier, Model
from tinynet.compat import arguments, checks, configuration, naming
from tinynet.losses import Loss
from tinynet.metrics import Metric
from tinynet.saving import hdf5
from tinynet.utils import files

KERAS_VERSION = "3.15.1"  # the version that uses this format
MAX_JSON_CHARACTERS, MAX_LAYERS, MAX_DEPTH = 20_000_000, 1000, 100  # what `load` accepts
CONFIG, METADATA = "config.json", "metadata.json"


@turns.turn()
def save_model(
    model: Model,
    filepath: files.PathLike,
    overwrite: bool = True,
    zipped: object = None,
    **unsupported: object,
) -> None:
    """Write `model` to `filepath`: layers, weights, compile settings and the optimizer's state.

    The file is created or replaced in one step; missing folders are created. `load_model` and
    ``keras.models.load_model`` open it. User-defined layers and functions are saved by name.

    Arguments:
        filepath: the file to write, ending in ``.keras``.
        overwrite: whether an existing file may be replaced.
        zipped: for compatibility with Keras; must be True or None.
        unsupported: Keras's further arguments, which are refused.

    Raises:
        ValueError: for another ending, or an argument that is not supported.
        FileExistsError: if there is such a file and `overwrite` is False.
        ImportError: if h5py is not installed.
        OSError: if the file cannot be written; an existing file is then unchanged.

    Source: https://keras.io/api/models/model_saving_apis/model_saving_and_loading/
    """
    arguments.refuse("save", unsupported)
    if zipped not in (None, True):
        raise ValueError(
            f"Expected zipped to be True or None, received: {naming.short(zipped)}. tinynet writes "
            'a single file. Leave zipped out, and write: "model.keras"'
        )
    path = files.check_path(filepath, hdf5.ARCHIVE)
    if not model.built:
        checks.warn(
            f"You are saving a model that has not yet been built: '{model.name}' has no weights. "
            "Write: model.build((None, 784)), or train it first"
        )
    metadata = {
        "keras_version": KERAS_VERSION,
        "date_saved": time.strftime("%Y-%m-%d@%H:%M:%S"),
        "tinynet_version": config.__version__,
    }
    parts = {
        METADATA: json.dumps(metadata).encode(),
        CONFIG: to_json(model).encode(),
        hdf5.WEIGHTS: hdf5.to_hdf5(model),
    }
    files.write_atomically(path, files.pack(parts), overwrite)


def to_json(model: Model) -> str:
    """Return the architecture and the compile settings, without weights, as JSON for Keras.

    Raises:
        ValueError: if the model has too many layers or settings to be loaded again.
    """
    check_size(model)
    document = configuration.serialize(model)
    if model.built:
        document["build_config"] = {"input_shape": model.shape_of_input}
    if model.optimizer is not None:
        document["compile_config"] = compile_config(model)
    text = json.dumps(document)
    if len(text) > MAX_JSON_CHARACTERS:
        raise too_large(f"{len(text):,} characters of configuration", f"{MAX_JSON_CHARACTERS:,}")
    return text


def check_size(model: Model, depth: int = 1) -> None:
    """Raise a ValueError if `model` has too many layers, or models inside one another."""
    count = len(model.layers) + (model.input_layer is not None)
    if count > MAX_LAYERS:
        raise too_large(f"{count:,} layers", f"{MAX_LAYERS:,}")
    if depth > MAX_DEPTH:
        raise too_large(f"more than {MAX_DEPTH} models inside one another", str(MAX_DEPTH))
    for layer in model.layers:
        if layer._is_model:
            check_size(layer, depth + 1)


def too_large(received: str, limit: str) -> ValueError:
    return ValueError(
        f"Expected a model that can be loaded again, with at most {limit}, received {received}. "
        "Write: get_weights, and a function that makes the model"
    )


def get_config(model: Model) -> Config:
    """Return the architecture, without weights, in Keras's format."""
    configs = [
        configuration.serialize_layer(layer)
        for layer in (model.input_layer, *model.layers)
        if layer
    ]
    config = {"name": model.name, "trainable": model.trainable}
    config |= {"dtype": configuration.dtype_policy(model.dtype), "layers": configs}
    return config | ({"build_input_shape": model.shape_of_input} if model.built else {})


def compile_config(model: Model) -> Config:
    """Return the settings passed to `compile`, in Keras's format."""
    return {
        "optimizer": configuration.serialize(model.optimizer),
        "loss": loss_or_metric_config(losses, model.loss),
        "loss_weights": None,
        "metrics": [loss_or_metric_config(metrics, metric) for metric in model.compile_metrics]
        or None,
        "weighted_metrics": None,
        "run_eagerly": False,
        "steps_per_execution": 1,
        "jit_compile": "auto",
    }


def loss_or_metric_config(kind: ModuleType, part: Identifier) -> str | Config:
    """Return the configuration of a loss or a metric; a name passed to `compile` stays a name."""
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping):
        part = kind.get(part)
    if isinstance(part, type):
        part = part()
    if isinstance(part, Loss | Metric):
        config: Config = configuration.serialize(part)
        return config
    builtin = naming.is_builtin(part)
    return str(part.__name__) if builtin else configuration.serialize_function(part)
