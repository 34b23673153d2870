"""A whole model in a file, as Keras 3 writes it: ``model.save("m.keras")``.

A ``.keras`` file is an archive of three parts: ``config.json`` says which layers and how they are
trained, ``model.weights.h5`` holds the numbers (see `hdf5`), ``metadata.json`` the version.
Keras opens what is written here; `load` opens it, and what Keras wrote.
"""

import json
import time
import warnings
from collections.abc import Mapping
from typing import Any

from tinynet import config, layers, losses, metrics
from tinynet.compat import configuration, naming
from tinynet.losses import Loss
from tinynet.metrics import Metric
from tinynet.saving import hdf5
from tinynet.utils import files

SUFFIX = ".keras"
KERAS = "3.15.1"  # whose format this is
CONFIG, WEIGHTS, METADATA = "config.json", "model.weights.h5", "metadata.json"


def save_model(
    model: Any, filepath: files.PathLike, overwrite: bool = True, zipped: Any = None
) -> None:
    """Write `model` to `filepath`: layers, weights, compile settings and the optimizer's state.

    The file appears, or is replaced, in one step; folders are made. `load_model` opens it, and so
    does ``keras.models.load_model``. Parts of your own are saved by name.

    Arguments:
        filepath: ends in ``.keras``.
        overwrite: whether a file that is there may be replaced.
        zipped: Keras's; True, or leave it out.

    Raises:
        ValueError: for another ending.
        ImportError: without h5py.
        OSError: if it cannot be written; then what was there is there still.

    Source: https://keras.io/api/models/model_saving_apis/model_saving_and_loading/
    """
    path = files.check_path(filepath, SUFFIX)
    if zipped not in (None, True):
        raise ValueError(
            f"Expected zipped to be True or None, received: {naming.short(zipped)}. tinynet writes "
            "a single file. Leave zipped out"
        )
    if not model.built:
        warnings.warn(
            f"You are saving a model that has not yet been built: '{model.name}' has no weights. "
            "Write: model.build((None, 784)), or train it first",
            stacklevel=3,
        )
    metadata = {
        "keras_version": KERAS,
        "date_saved": time.strftime("%Y-%m-%d@%H:%M:%S"),
        "tinynet_version": config.__version__,
    }
    parts = {
        METADATA: json.dumps(metadata).encode(),
        CONFIG: to_json(model).encode(),
        WEIGHTS: hdf5.to_hdf5(model),
    }
    files.write_whole(path, files.pack(parts), overwrite)


def to_json(model: Any) -> str:
    """The architecture and how to train it, without weights, in Keras's form."""
    document = configuration.serialize(model)
    document |= {"module": "keras", "class_name": "Sequential", "registered_name": None}
    if model.built:
        document["build_config"] = {"input_shape": model.input_shape}
    if model.optimizer is not None:
        document["compile_config"] = compile_config(model)
    return json.dumps(document)


def get_config(model: Any) -> dict[str, Any]:
    """The architecture, without weights, in Keras's form."""
    found = [layers.serialize(layer) for layer in (model.input_layer, *model.layers) if layer]
    config = {"name": model.name, "trainable": model.trainable}
    config |= {"dtype": configuration.dtype_policy(model.dtype), "layers": found}
    return config | ({"build_input_shape": model.input_shape} if model.built else {})


def compile_config(model: Any) -> dict[str, Any]:
    """What `compile` was given, in Keras's form."""
    return {
        "optimizer": configuration.serialize(model.optimizer),
        "loss": as_config(losses, model.loss),
        "loss_weights": None,
        "metrics": [as_config(metrics, metric) for metric in model.metrics_given] or None,
        "weighted_metrics": None,
        "run_eagerly": False,
        "steps_per_execution": 1,
        "jit_compile": "auto",
    }


def as_config(kind: Any, part: Any) -> Any:
    """A loss or a metric as a configuration holds it: as `compile` was given it, if by name."""
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping):
        part = kind.get(part)
    if isinstance(part, type):
        part = part()
    if isinstance(part, Loss | Metric):
        return configuration.serialize(part)
    tinynet_s = configuration.is_tinynet_s(part)
    return part.__name__ if tinynet_s else configuration.serialize_function(part)
