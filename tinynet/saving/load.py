"""`load_model` and `model_from_json`: models from files written by tinynet or Keras.

Files are treated as data: no class is imported by its name, no code from a file is run, and a model
is built only after the shapes that its configuration implies were found in the file.
"""

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType

from tinynet import layers, losses, metrics
from tinynet.backend import random
from tinynet.backend.turns import temporarily
from tinynet.backend.types import Config, Identifier, Model, Shape
from tinynet.compat import checks, guards, naming
from tinynet.layers import InputLayer, Layer
from tinynet.saving import hdf5
from tinynet.saving.save import (
    CONFIG,
    KERAS_VERSION,
    MAX_JSON_CHARACTERS,
    MAX_LAYERS,
    METADATA,
)
from tinynet.utils import files

# Keras's compile settings that do not change the results.
_HOW_KERAS_COMPUTES = ("run_eagerly", "steps_per_execution", "jit_compile", "auto_scale_loss")


def load_model(
    cls: type[Model],
    filepath: files.PathLike,
    custom_objects: Mapping[str, object] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
) -> Model:
    """Load the model in a ``.keras`` file of tinynet or Keras, ready to resume training.

    Arguments:
        filepath: the file.
        custom_objects: your own classes and functions that the file refers to, by name.
        compile: whether to load the compile settings and the optimizer's state as well.
        safe_mode: must be True; code in a file is never run.

    Raises:
        ValueError: if the file is missing or damaged, names layers or other parts that tinynet
            does not have, or has weights that do not belong to its layers.
        ImportError: if h5py is not installed.

    Source: https://keras.io/api/models/model_saving_apis/model_saving_and_loading/
    """
    with naming.custom_objects(custom_objects):
        return read_model(cls, filepath, compile, safe_mode)


def model_from_json(
    cls: type[Model], json_string: str, custom_objects: Mapping[str, object] | None = None
) -> Model:
    """Return a new model of the architecture that `to_json` of tinynet or Keras wrote.

    Raises:
        ValueError: if the text is invalid, or names parts that tinynet does not have.

    Source: https://keras.io/api/models/model_saving_apis/model_config_serialization/
    """
    config = parse(json_string, "this text")
    with naming.custom_objects(custom_objects):
        model = build_model(cls, config, *read_layers(cls, config, "this text"), "this text")
        if config.get("compile_config"):
            compile_from(config["compile_config"], model, "this text")
    return model


def from_config(
    cls: type[Model], config: Config, custom_objects: Mapping[str, object] | None = None
) -> Model:
    """Return a model with new weights, of the architecture that `get_config` returned.

    Arguments:
        custom_objects: your own classes and functions that the configuration refers to, by name.

    Raises:
        ValueError: for a layer that neither tinynet nor `custom_objects` has.
    """
    model = cls(trainable=config.get("trainable", True), name=config.get("name"))
    with naming.custom_objects(custom_objects):
        layer_list = [read_layer(cls, layer) for layer in config["layers"]]
    for layer in layer_list:
        model.add(layer)
    if not model.built and config.get("build_input_shape") and model.layers:
        model.build(config["build_input_shape"])
    return model


def read_model(
    model_class: type[Model], filepath: files.PathLike, compile: bool, safe_mode: bool
) -> Model:
    if safe_mode is not True:
        raise ValueError(
            f"Expected safe_mode=True, received: {naming.short(safe_mode)}. tinynet never runs "
            "code from a file. Leave safe_mode out"
        )
    path = files.check_path(filepath, hdf5.ARCHIVE)
    hdf5.h5py()
    try:
        parts = files.unpack(path, (CONFIG, hdf5.WEIGHTS, METADATA), (CONFIG, hdf5.WEIGHTS))
    except FileNotFoundError:
        raise ValueError(
            f"File not found: filepath={path}. Please ensure the file is an accessible `.keras` "
            "zip file."
        ) from None
    weights_part = parts[hdf5.WEIGHTS]
    by_tinynet = check_version(parts.get(METADATA), path)
    config = parse(parts[CONFIG], path)
    with (
        random.on_a_copy(),
        temporarily(guards.room, [len(weights_part)]),
        temporarily(naming.custom_first, not by_tinynet),
    ):
        model = build_model(model_class, config, *read_layers(model_class, config, path), path)
        with hdf5.open_weights(weights_part, path) as file:
            weights = file.weights(model.layers)
        model.set_weights(weights)
        if compile and config.get("compile_config"):
            compile_from(config["compile_config"], model, path, by_tinynet)
            restore_optimizer(model, weights_part, path)
    return model


def check_version(metadata: bytes | None, path: files.PathLike) -> bool:
    """Return whether tinynet wrote the file; raise a ValueError for a version of Keras but 3."""
    stated = parse(metadata, path) if metadata is not None else {}
    version = stated.get("keras_version")
    if version is not None and not str(version).startswith("3."):
        raise ValueError(
            f"Expected a file of Keras 3, received {path}, of Keras {naming.short(version)}. "
            f"Open it in that version, and save its weights with Keras 3, such as {KERAS_VERSION}"
        )
    return "tinynet_version" in stated


def parse(text: str | bytes, where: files.PathLike) -> Config:
    """Return the JSON object in `text`."""
    try:
        if len(text) > MAX_JSON_CHARACTERS:
            raise ValueError(f"its configuration has {len(text):,} characters, far too many")
        document = json.loads(text)
        if not isinstance(document, dict):
            raise ValueError(f"expected an object, received {naming.short(document)}")
    except (ValueError, TypeError, RecursionError) as error:
        raise files.damaged(where, error) from None
    return document


@contextmanager
def reporting_bad_configs(where: files.PathLike) -> Iterator[None]:
    """Turn the errors of a ``with`` block that reads a malformed configuration into ValueErrors."""
    try:
        yield
    except (ValueError, MemoryError, ImportError):
        raise
    except Exception as error:  # a list where a dictionary should be, and the like
        why = f"its configuration cannot be understood ({type(error).__name__}: {error})"
        raise files.damaged(where, why) from error


def class_of_model(model_class: type[Model], config: Config) -> type[Model] | None:
    """Return the class of a model's configuration, `model_class` or a user's; None for a layer."""
    name = config.get("class_name")
    if name == "Sequential" and not naming.is_own(config):
        return model_class
    known = naming.lookup("model", name, {}) if naming.is_known(name, {}) else None
    return known if isinstance(known, type) and issubclass(known, model_class) else None


def read_layer(model_class: type[Model], config: Config) -> Layer | Model:
    """Return the layer of a configuration, which may be a model."""
    kind = class_of_model(model_class, config)
    return layers.get(config) if kind is None else kind.from_config(config["config"])


def read_layers(
    model_class: type[Model], config: Config, where: files.PathLike
) -> tuple[list[Layer | Model], Shape | None]:
    """Return the layers of a model, without weights, and its input shape, or None if unknown.

    Raises:
        ValueError: if the model is not a `Sequential`, or has layers that tinynet does not have.
    """
    if class_of_model(model_class, config) is None:
        raise ValueError(
            f"Expected a Sequential model, received {naming.short(config.get('class_name'))} in "
            f"{where}: tinynet only has stacks of layers. Open it in Keras; or, for your own "
            "subclass of Sequential, write: custom_objects={'Name': Class}"
        )
    with reporting_bad_configs(where):
        entries = config["config"]["layers"]
        if len(entries) > MAX_LAYERS:
            raise files.damaged(where, f"it has {len(entries):,} layers, far too many")
        listed = [(layer["class_name"], layer["config"].get("name"), layer) for layer in entries]
        unknown = [
            f"{'another ' * (class_name in layers.KNOWN)}{class_name} ('{name}')"
            for class_name, name, layer in listed
            if not naming.is_known(class_name, {} if naming.is_own(layer) else layers.KNOWN)
            and class_of_model(model_class, layer) is None
        ]
        if unknown:
            raise ValueError(
                f"Expected layers that tinynet has ({', '.join(layers.KNOWN)}), received "
                f"{', '.join(unknown)} in {where}. Open it in Keras; or, for your own layers, "
                "write: custom_objects={'Name': Class}, each a tinynet.Layer"
            )
        layer_list: list[Layer | Model] = []
        for class_name, name, layer in listed:
            try:
                layer_list.append(read_layer(model_class, layer))
            except ValueError as error:
                raise ValueError(
                    f"Expected settings that tinynet supports, received {class_name} '{name}' in "
                    f"{where} with others: {error} Or open it in Keras"
                ) from error
        shape = config["config"].get("build_input_shape")
        if shape is None:
            shape = (config.get("build_config") or {}).get("input_shape")
        shape = None if shape is None else checks.shape(shape, "build_input_shape")
        first = layer_list[0] if layer_list else None
        if isinstance(first, InputLayer):
            shape = first.batch_shape
        elif first is not None and first.declared_shape is not None:
            shape = first.declared_shape
    return layer_list, shape


def build_model(
    model_class: type[Model],
    document: Config,
    layer_list: list[Layer | Model],
    shape: Shape | None,
    where: files.PathLike,
) -> Model:
    """Return the model of these layers, with weights, for inputs of `shape`."""
    settings = document["config"]
    with reporting_bad_configs(where):
        kind = class_of_model(model_class, document) or model_class
        model = kind(layer_list, settings.get("trainable", True), settings.get("name"))
        if shape is not None and model.layers:
            model.build(shape)
    return model


def compile_from(
    settings: Config, model: Model, where: files.PathLike, by_tinynet: bool = False
) -> None:
    """Compile `model` with the settings that Keras or `compile_config` wrote."""
    try:
        with reporting_bad_configs(where):
            arguments = {k: v for k, v in settings.items() if k not in _HOW_KERAS_COMPUTES}
            for part in settings.get("metrics") or () if by_tinynet else ():
                if naming.function_name(part) is not part:  # 0.1.0 did not mark a user's function
                    part["registered_name"] = part["config"]
            arguments["loss"] = resolve(losses, arguments.get("loss"))
            arguments["metrics"] = [
                resolve(metrics, metric) for metric in arguments.get("metrics") or ()
            ]
            model.compile(**arguments)
    except ValueError as error:
        raise ValueError(
            f"{where} has compile settings that tinynet does not support: {error} "
            "To load it without them, write: tinynet.models.load_model(…, compile=False)"
        ) from error


def resolve(kind: ModuleType, config: Identifier) -> Identifier:
    """Return the loss or metric of a configuration; a name stays a name, unless it is custom."""
    name = config if naming.is_own(config) else naming.function_name(config)
    return name if isinstance(name, str) and not naming.is_known(name, {}) else kind.get(config)


def restore_optimizer(model: Model, data: bytes, where: files.PathLike) -> None:
    """Restore the optimizer's state from the HDF5 file `data`, or warn if it does not fit."""
    if not model.built or not model.weights:
        return
    model.build_optimizer()
    with hdf5.open_weights(data, where) as file:
        state = file.optimizer(model.optimizer.variables)
        if state is not None:
            model.optimizer.set_variables(state)
        state_ignored = state is None and file.has_trained()
    if state_ignored:
        warnings.warn(
            f"The state of the optimizer in {where} does not fit {type(model.optimizer).__name__} "
            "and these weights. The model is loaded, with the optimizer in its initial state.",
            stacklevel=5,
        )
