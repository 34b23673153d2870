"""A model out of a file that tinynet or Keras wrote: `load_model`, `model_from_json`.

What comes from a file is data: no class is imported by its name, no code is in it, and no array is
made before the shapes that the configuration implies were found in the file.
"""

import json
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tinynet import backend, files, layers, losses, metrics, naming, validation, weightfile
from tinynet.backend import Shape
from tinynet.inputs import InputLayer
from tinynet.layer import Layer
from tinynet.models import Sequential
from tinynet.saving import CONFIG, KERAS, METADATA, SUFFIX, WEIGHTS

LONGEST_JSON = 20_000_000  # characters
MOST_NUMBERS = 2**40  # in one weight; some terabytes

# Keras's compile settings that change nothing in the numbers.
_HOW_KERAS_COMPUTES = ("run_eagerly", "steps_per_execution", "jit_compile", "auto_scale_loss")


def load_model(
    filepath: files.PathLike,
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
) -> Sequential:
    """The model in a ``.keras`` file of tinynet's or Keras's, ready to train on where it was.

    Arguments:
        filepath: the file.
        custom_objects: classes and functions of your own that it names, by name.
        compile: whether to take compile settings and the optimizer's state over, too.
        safe_mode: True; nothing in a file is ever evaluated.

    Raises:
        ValueError: for a file that is not there, or damaged; for layers, or other parts, that
            tinynet does not have, by name; for weights that do not belong to those layers.
        ImportError: without h5py.

    Source: https://keras.io/api/models/model_saving_apis/model_saving_and_loading/
    """
    naming.refuse("load_model", {"safe_mode": not safe_mode}, {"safe_mode": False})
    path = files.check_path(filepath, SUFFIX)
    weightfile.h5py()
    try:
        parts = files.unpack(path, (CONFIG, WEIGHTS, METADATA))
    except FileNotFoundError:
        raise ValueError(
            f"File not found: filepath={path}. Please ensure the file is an accessible `.keras` "
            "zip file."
        ) from None
    for name in (CONFIG, WEIGHTS):
        if name not in parts:
            raise files.damaged(path, f"it has no {name}")
    check_version(parts.get(METADATA), path)
    config = parse(parts[CONFIG], path)
    with naming.custom_objects(custom_objects), nothing_drawn():
        found, shape = layers_of(config, path)
        with understanding(path):
            imagined = imagine(found, shape)
        with weightfile.opened(parts[WEIGHTS], path) as file:
            weights = file.weights(imagined)
        # The file holds just the weights that these layers will make: now they may.
        model = make(config, found, shape, path)
        model.set_weights(weights)
        if compile and config.get("compile_config"):
            compile_from(config["compile_config"], model, path)
            restore_optimizer(model, parts[WEIGHTS], path)
    return model


def model_from_json(
    json_string: str, custom_objects: Mapping[str, Any] | None = None
) -> Sequential:
    """A new model of the architecture that `Sequential.to_json` of tinynet's or Keras's wrote.

    Raises:
        ValueError: if it is no such text, or names what tinynet does not have.

    Source: https://keras.io/api/models/model_saving_apis/model_config_serialization/
    """
    where = "this text"
    config = parse(json_string, where)
    with naming.custom_objects(custom_objects):
        model = make(config, *layers_of(config, where), where)
        if config.get("compile_config"):
            compile_from(config["compile_config"], model, where)
    return model


def check_version(metadata: bytes | None, path: Any) -> None:
    """Raise a ValueError for a file of another Keras than 3; a file need not say."""
    version = parse(metadata, path).get("keras_version") if metadata is not None else None
    if version is not None and not str(version).startswith("3."):
        raise ValueError(
            f"Expected a file of Keras 3, received {path}, of Keras {naming.short(version)}. "
            f"Open it there, and write its weights with Keras 3, such as {KERAS}"
        )


def parse(text: str | bytes, where: Any) -> dict[str, Any]:
    """The JSON object that `text` is."""
    try:
        if len(text) > LONGEST_JSON:
            raise ValueError(f"a configuration of {len(text):,} characters is no configuration")
        found = json.loads(text)
        if not isinstance(found, dict):
            raise ValueError(f"expected an object, received {naming.short(found)}")
    except (ValueError, TypeError, RecursionError) as error:
        raise files.damaged(where, error) from None
    return found


@contextmanager
def nothing_drawn() -> Iterator[None]:
    """A ``with`` block that leaves tinynet's generator as it was: its numbers are not wanted."""
    generator = backend.generator()
    before = generator.bit_generator.state
    try:
        yield
    finally:
        generator.bit_generator.state = before


@contextmanager
def understanding(where: Any) -> Iterator[None]:
    """A ``with`` block that makes of a configuration what it says, or a ValueError."""
    try:
        yield
    except (ValueError, MemoryError, ImportError):
        raise
    except Exception as error:  # a list where a dictionary should be, and the like
        why = f"its configuration cannot be understood ({type(error).__name__}: {error})"
        raise files.damaged(where, why) from error


def layers_of(config: Mapping[str, Any], where: Any) -> tuple[list[Layer], Shape | None]:
    """The layers of a model, without weights, and the shape of its input, where that is known.

    Raises:
        ValueError: if some are not tinynet's, with their names, or the model is no `Sequential`.
    """
    kind = config.get("class_name")
    if kind != "Sequential":
        raise ValueError(
            f"Expected a Sequential model, received {naming.short(kind)} in {where}: tinynet has "
            "layers in a row. Open it in Keras"
        )
    with understanding(where):
        listed = [(layer["class_name"], layer) for layer in config["config"]["layers"]]
        unknown = [
            f"{name} ('{layer['config']['name']}')"
            for name, layer in listed
            if not naming.is_known(name, layers.KNOWN)
        ]
        if unknown:
            raise ValueError(
                f"Expected layers that tinynet has ({', '.join(layers.KNOWN)}), received "
                f"{', '.join(unknown)} in {where}. Open it in Keras; or, for layers of your own, "
                "write: custom_objects={'Name': Class}, each a tinynet.Layer"
            )
        found = [layers.get(layer) for _, layer in listed]
        shape = config["config"].get("build_input_shape")
        shape = None if shape is None else validation.shape(shape, "build_input_shape")
        first = found[0] if found else None
        if isinstance(first, InputLayer):
            shape = first.batch_shape
        elif first is not None and first.declared_shape is not None:
            shape = first.declared_shape
    return found, shape


def imagine(found: Sequence[Layer], shape: Shape | None) -> list[tuple[Layer, list[Shape]]]:
    """Each layer, and the shapes of the weights that it will make; nothing is made."""
    expected = []
    for layer in found:
        if isinstance(layer, InputLayer):
            continue
        double = type(layer).from_config(layer.get_config())
        kept: list[list[Shape]] = [[], []]  # those that do not train come last

        def record(
            shape: Sequence[int] = (),
            initializer: Any = None,
            trainable: bool = True,
            name: str | None = None,
            kept: list[list[Shape]] = kept,
            double: Layer = double,
        ) -> Any:
            if math.prod(shape) > MOST_NUMBERS:
                raise ValueError(f"Expected layers that fit into memory, received {name}: {shape}")
            kept[not trainable].append(tuple(shape))
            numbers = backend.host.broadcast_to(0.0, tuple(shape))  # takes no memory
            setattr(double, str(name), numbers)
            return numbers

        double.add_weight = record  # type: ignore[method-assign]
        if shape is not None:
            double.ensure_built(shape)
            shape = tuple(double.compute_output_shape(shape))
        expected.append((layer, kept[0] + kept[1]))
    return expected


def make(config: Mapping[str, Any], found: list[Layer], shape: Shape | None, where: Any) -> Any:
    """The model of these layers, with weights, for inputs of `shape`."""
    settings = config["config"]
    with understanding(where):
        model = Sequential(found, settings.get("trainable", True), settings.get("name"))
        if shape is not None and model.layers:
            model.build(shape)
    return model


def compile_from(settings: Mapping[str, Any], model: Sequential, where: Any) -> None:
    """Compile `model` by what Keras, or `compile_config`, wrote."""
    try:
        with understanding(where):
            wanted = {k: v for k, v in settings.items() if k not in _HOW_KERAS_COMPUTES}
            wanted["loss"] = part(losses, wanted.get("loss"))
            wanted["metrics"] = [part(metrics, metric) for metric in wanted.get("metrics") or ()]
            model.compile(**wanted)
    except ValueError as error:
        raise ValueError(
            f"{where} wants to be trained in a way that tinynet does not know: {error} "
            "Without that, write: tinynet.models.load_model(…, compile=False)"
        ) from error


def part(kind: Any, config: Any) -> Any:
    """The loss or metric that was written; a name of tinynet's stays a name."""
    name = naming.function_name(config)
    return name if isinstance(name, str) and not naming.is_known(name, {}) else kind.get(config)


def restore_optimizer(model: Sequential, data: bytes, where: Any) -> None:
    """Take the optimizer's state from the HDF5 file `data`, if it had begun to train."""
    if not model.built or not model.weights:
        return
    assert model.optimizer is not None
    model.ready_optimizer()
    expected = model.optimizer.variables
    with weightfile.opened(data, where) as file:
        number = file.count_optimizer()
        state = file.optimizer(expected) if number == len(expected) else None
        if state is not None:
            model.optimizer.set_variables(state)
    if state is None and number > 2:  # those every optimizer has, also one that has not begun
        warnings.warn(
            f"The state of the optimizer in {where} does not fit {type(model.optimizer).__name__} "
            "and these weights. The model is loaded, and its optimizer begins anew.",
            stacklevel=3,
        )
