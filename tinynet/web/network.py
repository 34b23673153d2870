"""The network in a page: its layers, its architecture in words, and weights that come back."""

import base64
import io
from typing import Any

import numpy as np

from tinynet import backend
from tinynet.backend.types import Config, HostArray, Model
from tinynet.compat import naming
from tinynet.compat.activation import BUILT_IN, activation_name
from tinynet.layers import Activated, Activation, Dense, Dropout, Flatten, Layer
from tinynet.models import Sequential
from tinynet.utils import files
from tinynet.web.learning import describe_start

ARCHITECTURE = "architecture.txt"  # the part of a file of weights that says whose they are


def load_weights(model: Model, path: files.PathLike) -> None:
    """Give `model` the weights that were downloaded from its page: ``load_weights(model, path)``.

    The page's button *Download weights* writes an ``.npz`` file, which NumPy opens as well: the
    arrays ``kernel_1``, ``bias_1``, ``kernel_2`` … in float32, and the network's architecture in
    words. `model` need not be the model that was exported, only one of the same architecture. The
    state of its optimizer stays as it is.

    Raises:
        ValueError: if the file is of another network, or damaged, or has numbers that are not
            finite; the model is unchanged in this case.
        OSError: if the file cannot be read.
    """
    layers = describe_layers(model, check_model(model, 'load_weights(model, "weights.npz")'))
    path = files.check_path(path, ".npz")
    arrays = {
        f"{part}_{number}.npy": layer[part]
        for number, layer in enumerate((one for one in layers if one["kernel"] is not None), 1)
        for part in ("kernel", "bias")
        if layer[part] is not None
    }
    parts = files.unpack(path, [ARCHITECTURE, *arrays], [ARCHITECTURE])
    found, own = parts[ARCHITECTURE].decode(errors="replace"), architecture(layers)
    if found != own:
        raise ValueError(
            f"Expected weights of this model, {own}, received those of another, {found[:200]}, in "
            f"{path}. Write: load_weights(model, path) with the model of that page"
        )
    weights = []
    for name, array in arrays.items():
        try:
            weight = np.lib.format.read_array(io.BytesIO(parts.get(name, b"")), allow_pickle=False)
            if weight.shape != array.shape or weight.dtype != np.float32:
                raise ValueError(
                    f"it has {weight.shape} of {weight.dtype}, not {array.shape} of float32"
                )
            if not np.isfinite(weight).all():
                raise ValueError("it has NaN or infinity")
        except Exception as error:  # NumPy raises many types for a damaged header
            raise files.damaged(path, f"{name} cannot be used: {error}") from error
        weights.append(weight)
    model.set_weights(weights)


def check_model(model: Model, write: str) -> tuple[Any, ...]:
    """Return the shape of one input of `model`, which must be built, for images or vectors."""
    if not isinstance(model, Sequential):
        raise ValueError(f"Expected a model, received {naming.short(model)}. Write: {write}")
    if not model.built:
        raise ValueError(
            "Expected a model with weights, received one that is not built. "
            "Write: model.build((None, 28, 28)), or train it first"
        )
    shape = tuple((model.shape_of_input or ())[1:])
    if any(size is None for size in shape) or len(shape) > 3:
        raise ValueError(
            f"Expected a model of images (h, w) or (h, w, channels), or of vectors, received "
            f"inputs of shape {shape}. Write: Input((28, 28))"
        )
    return shape


def architecture(layers: list[Config]) -> str:
    """Return the network in words: networks with equal words can use each other's weights."""
    words = [
        f"{layer['units']} {layer['activation']}"
        + " without bias" * (layer["kernel"] is not None and layer["bias"] is None)
        for layer in layers
    ]
    return " → ".join([f"{layers[0]['inputs']} inputs", *words])


def describe_layers(model: Model, shape: tuple[int, ...]) -> list[Config]:
    """Return the page's description of each layer that computes, for one input's `shape`."""
    entries: list[Config] = []
    for layer in model.layers:
        if type(layer) is Dropout:
            continue  # it does nothing in inference
        if type(layer) is Flatten and (layer.data_format == "channels_last" or len(shape) < 3):
            shape = (int(np.prod(shape)),)
            continue
        if not isinstance(layer, Activated) or type(layer) not in (Dense, Activation):
            raise unsupported_layer(
                layer,
                "the page supports Dense, Flatten (channels last), Activation and Dropout. "
                "Write: a Sequential of these",
            )
        name = activation_name(layer.activation)
        if layer.activation not in BUILT_IN:
            raise unsupported_layer(
                layer,
                f"the page does not support its activation {name}. Write: activation='relu', or "
                "another of tinynet's own",
            )
        if len(shape) != 1:
            raise unsupported_layer(
                layer, f"its input is {shape}, not a vector. Write: Flatten() before it"
            )
        if isinstance(layer, Activation):
            if entries and entries[-1]["activation"] == "linear":
                entries[-1]["activation"] = name  # the two are one Dense with an activation
                continue
            kernel = bias = start = None
        elif isinstance(layer, Dense):
            kernel = backend.to_numpy(layer.kernel)
            bias = backend.to_numpy(layer.bias) if layer.use_bias else None
            start = describe_start(layer)
        units = shape[0] if kernel is None else kernel.shape[1]
        entries.append(
            {
                "name": layer.name,
                "inputs": shape[0],
                "units": units,
                "activation": name,
                "start": start,
                "kernel": kernel,
                "bias": bias,
                "trains": model.trainable and layer.trainable,
            }
        )
        shape = (units,)
    if not entries:
        raise ValueError("Expected a model with layers that compute, received none. Add a Dense")
    return entries


def unsupported_layer(layer: Layer, why: str) -> ValueError:
    return ValueError(
        f"Expected a model that the page can compute, received layer '{layer.name}' "
        f"({type(layer).__name__}): {why}"
    )


def encode_base64(array: HostArray | None, dtype: str) -> str | None:
    """Return the array as base64 of little-endian floats; None for None."""
    if array is None:
        return None
    with backend.ignore_overflow():
        small = array.astype(np.dtype(dtype).newbyteorder("<"))
    if not np.isfinite(small).all():
        raise ValueError(
            f"Expected weights that are finite in {dtype}, received NaN, infinity or numbers too "
            'large for it. Write: dtype="float32", with a model whose loss is finite'
        )
    return base64.b64encode(small.tobytes()).decode()
