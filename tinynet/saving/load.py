"""A model out of a file that tinynet or Keras wrote: `load_model`, `model_from_json`.

What comes from a file is data: no class is imported by its name, no code is in it, and no array is
made before the shapes that the configuration implies were found in the file.
"""

import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tinynet import backend, layers, losses, metrics
from tinynet.backend import Shape
from tinynet.compat import naming, validation
from tinynet.config import floatx
from tinynet.layers import InputLayer, Layer
from tinynet.saving import hdf5
from tinynet.saving.save import CONFIG, KERAS, METADATA, SUFFIX, WEIGHTS
from tinynet.utils import files

LONGEST_JSON = 20_000_000  # characters
MOST_LAYERS = 1000

# Keras's compile settings that change nothing in the numbers.
_HOW_KERAS_COMPUTES = ("run_eagerly", "steps_per_execution", "jit_compile", "auto_scale_loss")


def loaders(model_class: type) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """`models.load_model` and `model_from_json`, which make a `model_class`, `Sequential`."""

    def load_model(
        filepath: files.PathLike,
        custom_objects: Mapping[str, Any] | None = None,
        compile: bool = True,
        safe_mode: bool = True,
    ) -> Any:
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
        with naming.custom_objects(custom_objects):
            return open_model(model_class, filepath, compile, safe_mode)

    def model_from_json(json_string: str, custom_objects: Mapping[str, Any] | None = None) -> Any:
        """A new model of the architecture that `Sequential.to_json` of tinynet's or Keras's wrote.

        Raises:
            ValueError: if it is no such text, or names what tinynet does not have.

        Source: https://keras.io/api/models/model_saving_apis/model_config_serialization/
        """
        config = parse(json_string, "this text")
        with naming.custom_objects(custom_objects):
            model = make(model_class, config, *layers_of(config, "this text"), "this text")
            if config.get("compile_config"):
                compile_from(config["compile_config"], model, "this text")
        return model

    for function in (load_model, model_from_json):
        function.__module__, function.__qualname__ = model_class.__module__, function.__name__
    return load_model, model_from_json


def from_config(
    cls: Any, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
) -> Any:
    """A model of the same architecture, with new weights, from what `get_config` returned.

    Arguments:
        custom_objects: classes and functions of your own that it names, by name.

    Raises:
        ValueError: for a layer that neither tinynet nor `custom_objects` has.
    """
    model = cls(trainable=config.get("trainable", True), name=config.get("name"))
    with naming.custom_objects(custom_objects):
        found = [layers.get(layer) for layer in config["layers"]]
    for layer in found:
        model.add(layer)
    if not model.built and config.get("build_input_shape") and model.layers:
        model.build(config["build_input_shape"])
    return model


def open_model(model_class: type, filepath: files.PathLike, compile: bool, safe_mode: bool) -> Any:
    if safe_mode is not True:
        raise ValueError(
            f"Expected safe_mode=True, received: {naming.short(safe_mode)}. tinynet never runs "
            "what is in a file. Leave safe_mode out"
        )
    path = files.check_path(filepath, SUFFIX)
    hdf5.h5py()
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
    with nothing_drawn():
        found, shape = layers_of(config, path)
        with understanding(path):
            imagined = imagine(found, shape, room=len(parts[WEIGHTS]))
        with hdf5.opened(parts[WEIGHTS], path) as file:
            weights = file.weights(imagined)
        # The file holds just the weights that these layers will make: now they may.
        model = make(model_class, config, found, shape, path)
        model.set_weights(weights)
        if compile and config.get("compile_config"):
            compile_from(config["compile_config"], model, path)
            restore_optimizer(model, parts[WEIGHTS], path)
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
        entries = config["config"]["layers"]
        if len(entries) > MOST_LAYERS:
            raise files.damaged(where, f"{len(entries):,} layers are no model")
        listed = [(layer["class_name"], layer["config"].get("name"), layer) for layer in entries]
        unknown = [
            f"{k} ('{name}')" for k, name, _ in listed if not naming.is_known(k, layers.KNOWN)
        ]
        if unknown:
            raise ValueError(
                f"Expected layers that tinynet has ({', '.join(layers.KNOWN)}), received "
                f"{', '.join(unknown)} in {where}. Open it in Keras; or, for layers of your own, "
                "write: custom_objects={'Name': Class}, each a tinynet.Layer"
            )
        found = []
        for k, name, layer in listed:
            try:
                found.append(layers.get(layer))
            except ValueError as error:
                raise ValueError(
                    f"Expected what tinynet has, received {k} '{name}' in {where} with more, or "
                    f"other, than that: {error} Or open it in Keras"
                ) from error
        shape = config["config"].get("build_input_shape")
        if shape is None:
            shape = (config.get("build_config") or {}).get("input_shape")
        shape = None if shape is None else validation.shape(shape, "build_input_shape")
        first = found[0] if found else None
        if isinstance(first, InputLayer):
            shape = first.batch_shape
        elif first is not None and first.declared_shape is not None:
            shape = first.declared_shape
    return found, shape


def imagine(
    found: Sequence[Layer], shape: Shape | None, room: int
) -> list[tuple[Layer, list[Shape]]]:
    """Each layer, and the shapes of the weights that it will make.

    They are made by doubles of the layers, one after the other, and thrown away at once.

    Arguments:
        found: the layers, not built.
        shape: of the model's input, or None if that is not known.
        room: the bytes of the file that should hold such weights; larger ones are refused.
    """
    expected = []
    for layer in found:
        if isinstance(layer, InputLayer):
            continue
        double = type(layer).from_config(layer.get_config())
        scales = Scales(double, room)
        if shape is not None:
            double.ensure_built(shape)
            shape = tuple(double.compute_output_shape(shape))
        expected.append((layer, scales.trained + scales.kept))
        vars(double).clear()  # the two know each other: nothing else would free the weights now
    return expected


class Scales:
    """Takes the place of a layer's `add_weight`, and refuses what cannot be in the file."""

    def __init__(self, layer: Layer, room: int) -> None:
        self.trained: list[Shape] = []
        self.kept: list[Shape] = []  # those that do not train; they come last
        self._layer, self._room = layer, room
        layer.add_weight = self.add_weight  # type: ignore[method-assign]

    def add_weight(
        self,
        shape: Sequence[int] = (),
        initializer: Any = None,
        trainable: bool = True,
        name: str | None = None,
    ) -> Any:
        shape = tuple(shape)
        self._room -= 2 * math.prod(shape)  # bytes, if they were float16
        if self._room < 0:
            raise ValueError(
                f"Expected the weights in the file, received layer '{self._layer.name}' that wants "
                f"{name} of shape {shape}, which is more than the file has"
            )
        (self.trained if trainable else self.kept).append(shape)
        numbers = backend.xp.zeros(shape, self._layer.dtype or floatx())
        setattr(self._layer, str(name), numbers)
        setattr(self._layer, f"{name}_gradient", numbers)
        return numbers


def make(
    model_class: type,
    document: Mapping[str, Any],
    found: list[Layer],
    shape: Shape | None,
    where: Any,
) -> Any:
    """The model of these layers, with weights, for inputs of `shape`."""
    settings = document["config"]
    with understanding(where):
        model = model_class(found, settings.get("trainable", True), settings.get("name"))
        if shape is not None and model.layers:
            model.build(shape)
    return model


def compile_from(settings: Mapping[str, Any], model: Any, where: Any) -> None:
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


def restore_optimizer(model: Any, data: bytes, where: Any) -> None:
    """Take the optimizer's state from the HDF5 file `data`, if it had begun to train."""
    if not model.built or not model.weights:
        return
    model.ready_optimizer()
    with hdf5.opened(data, where) as file:
        state = file.optimizer(model.optimizer.variables)
        if state is not None:
            model.optimizer.set_variables(state)
        left = state is None and file.has_trained()
    if left:
        warnings.warn(
            f"The state of the optimizer in {where} does not fit {type(model.optimizer).__name__} "
            "and these weights. The model is loaded, and its optimizer begins anew.",
            stacklevel=4,
        )
