"""Weights in HDF5, in Keras's layout (``….weights.h5``, and inside ``….keras``).

    layers/dense/vars/0, 1     kernel and bias of the first `Dense`, whatever its name
    layers/dense_1/vars/0, 1   those of the second one
    optimizer/vars/0, 1, 2 …   steps, learning rate, then the optimizer's state for each weight

h5py reads and writes the files. They are not trusted: only the paths above are read, links are
refused, and the numbers of an array are read only after its shape has been checked.
"""

import contextlib
import io
import itertools
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any

from tinynet import backend
from tinynet.backend import turns
from tinynet.backend.types import AnyLayer, Array, DTypeLike, HostArray, Model
from tinynet.compat import arguments, checks, naming
from tinynet.compat.layer import layers_in
from tinynet.utils import files

SUFFIX = ".weights.h5"
ARCHIVE, WEIGHTS = ".keras", "model.weights.h5"  # the file of a whole model, and a part of it

# A file has at most float64, and optimizer state of a few times the weights. With more bytes than
# this for each byte of the model's weights, plus a fixed allowance, it cannot be one of its files.
MAX_RATIO, SLACK_BYTES = 32, 10_000_000


def h5py() -> ModuleType:
    """Return the package h5py, or raise an ImportError that says how to install it."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError(
            "Keras's files are in HDF5 format, which needs the package h5py, and it is not "
            'installed. Write: python -m pip install h5py (or -e ".[saving]")'
        ) from error
    library: ModuleType = h5py
    return library


@turns.turn()
def save_weights(
    model: Model, filepath: files.PathLike, overwrite: bool = True, max_shard_size: object = None
) -> None:
    """Write the weights and the optimizer's state to `filepath`, in Keras's format.

    The file is created or replaced in one step; missing folders are created.

    Arguments:
        filepath: the file to write, ending in ``.weights.h5``.
        overwrite: whether an existing file may be replaced.
        max_shard_size: must be None; there is always one file.

    Raises:
        ValueError: for another ending, or a model that is not built yet.
        FileExistsError: if there is such a file and `overwrite` is False.
        ImportError: if h5py is not installed.
        OSError: if the file cannot be written; an existing file is then unchanged.

    Source: https://keras.io/api/models/model_saving_apis/weights_saving_and_loading/
    """
    arguments.refuse("save_weights", {"max_shard_size": max_shard_size})
    path = files.check_path(filepath, SUFFIX)
    if not model.built:
        raise ValueError(
            f"You are saving a model that has not yet been built: '{model.name}' has no weights. "
            "Write: model.build((None, 784)), or train it first"
        )
    files.write_atomically(path, to_hdf5(model), overwrite)


@turns.turn()
def load_weights(
    model: Model, filepath: files.PathLike, skip_mismatch: bool = False, **unsupported: object
) -> None:
    """Load the weights from `filepath`, a file written by tinynet or Keras.

    As in Keras, an optimizer that has begun training also takes its state from the file, if it
    fits; one that has not stays new, with a warning. `tinynet.models.load_model` loads everything.

    Arguments:
        filepath: the file, ``….weights.h5`` or ``….keras``.
        skip_mismatch: whether a layer whose weights are not in the file, or have other shapes
            there, keeps its own, with a warning.
        unsupported: Keras's further arguments, which are refused.

    Raises:
        ValueError: if the weights belong to another model, are NaN or infinite, or the file is
            damaged; nothing is changed then.
        FileNotFoundError: if there is no such file.
        ImportError: if h5py is not installed.

    Source: https://keras.io/api/models/model_saving_apis/weights_saving_and_loading/
    """
    arguments.refuse("load_weights", unsupported)
    path = files.check_path(filepath, SUFFIX, ARCHIVE)
    if not model.built:
        raise ValueError(
            f"Expected a built model to load the weights into, but '{model.name}' is not built. "
            "Write: model.build((None, 784)) first, or tinynet.models.load_model of a .keras file"
        )
    data = read_file(path, MAX_RATIO * sum(w.nbytes for w in model.weights) + SLACK_BYTES)
    optimizer = model.optimizer
    has_trained = optimizer is not None and optimizer.built
    skipped: list[str] = []
    with open_weights(data, path) as file:
        weights = file.weights(model.layers, skipped if skip_mismatch else None)
        state = file.optimizer(optimizer.variables) if has_trained else None
        ignored = optimizer is not None and state is None and (has_trained or file.has_trained())
        if state is not None:
            optimizer.set_variables(state)
    model.set_weights(weights)
    if skipped:
        checks.warn(f"Layers that do not fit {path} kept their weights: {'; '.join(skipped)}")
    if ignored:
        why = "does not match it" if has_trained else "has not begun training, and stays new"
        checks.warn(
            f"Only the weights were loaded from {path}, not the optimizer's state: "
            f"'{optimizer.name}' {why}. To resume training, write: model.save(….keras) "
            "and tinynet.models.load_model(….keras)"
        )


def read_file(path: pathlib.Path, max_bytes: int) -> bytes:
    """Return the HDF5 file at `path`, or in the archive there, if it is not too large."""
    if not path.exists():
        raise FileNotFoundError(f"Expected a file of weights, but there is no {path}")
    if path.suffix == ARCHIVE:
        return files.unpack(path, (WEIGHTS,), (WEIGHTS,), max_bytes)[WEIGHTS]
    if (size := path.stat().st_size) > max_bytes:  # checked before the file is read
        raise files.damaged(path, f"it has {size:,} bytes, far too many for this model")
    return path.read_bytes()


def to_hdf5(model: Model) -> bytes:
    """Return the weights of `model` and the state of its optimizer as the bytes of an HDF5 file."""
    memory = io.BytesIO()
    with h5py().File(memory, "w") as file:

        def write(path: str, name: str, arrays: Sequence[HostArray]) -> None:
            group = file.create_group(f"{path}/vars" if path else "vars")
            group.attrs["name"] = name
            for number, array in enumerate(arrays):
                group[str(number)] = array

        write("", model.name, [])
        for path, layer in group_paths(model.layers):
            write(path, layer.name, [backend.to_numpy(array) for array in own_weights(layer)])
        if model.optimizer is not None:
            write("optimizer", model.optimizer.name, optimizer_variables(model))
    return memory.getvalue()


def optimizer_variables(model: Model) -> list[HostArray]:
    """Return the state of the optimizer; if it has not begun training, its initial state."""
    optimizer = model.optimizer
    if not optimizer.built and model.built:  # Keras warns if a file has fewer variables
        optimizer = type(optimizer).from_config(optimizer.get_config())
        optimizer.build(model.trainable_weights)
    return optimizer.variables


def group_paths(
    layers: Iterable[AnyLayer], folder: str = "layers", seen: set[int] | None = None
) -> Iterator[tuple[str, AnyLayer]]:
    """Yield Keras's path of each layer's weights, and the layer; then those of layers inside it.

    A layer is found under its class name, numbered from the second on, or under the attribute of
    the layer that it is inside of; one that is in several places, under the first of them.
    """
    seen = set() if seen is None else seen
    taken = {"vars"}
    for layer in layers:
        stem = naming.snake_case(type(layer).__name__)
        numbered = (f"{stem}_{number}" for number in itertools.count(1))
        name = next(name for name in itertools.chain([stem], numbered) if name not in taken)
        taken.add(name)
        yield from _paths_of(layer, f"{folder}/{name}", seen)


def _paths_of(layer: AnyLayer, path: str, seen: set[int]) -> Iterator[tuple[str, AnyLayer]]:
    if id(layer) in seen:
        return
    seen.add(id(layer))
    yield path, layer
    inside = list(layer.layers_inside())
    held = {"layers": inside} if layer._is_model else vars(layer) if inside else {}
    for attribute, value in held.items():
        name = "vars_1" if attribute == "vars" else attribute  # "vars" has the layer's own weights
        if any(value is each for each in inside):
            yield from _paths_of(value, f"{path}/{name}", seen)
        else:
            yield from group_paths(layers_in(value), f"{path}/{name}", seen)


def own_weights(layer: AnyLayer) -> list[Array]:
    """Return the weights of `layer` without those of the layers inside it."""
    return [getattr(layer, name) for name in layer.weight_names]


@contextlib.contextmanager
def open_weights(data: bytes, where: files.PathLike) -> Iterator["WeightFile"]:
    """Open the HDF5 file with the content `data`, which was read from `where`.

    Any error in the ``with`` block, except MemoryError, becomes a ValueError that names `where`.
    """
    library = h5py()
    try:
        with library.File(io.BytesIO(data), "r") as file:
            yield WeightFile(file, library, len(data))
    except MemoryError:
        raise
    except Exception as error:  # HDF5 raises many kinds of errors for damaged bytes
        raise files.damaged(where, error) from error


def mismatch(arrays: Sequence[Any], own: Sequence[Array], path: str, layer: AnyLayer) -> str | None:
    """Return why the `arrays` at `path` are not those of `layer`, whose weights are `own`."""
    received, expected = ([array.shape for array in each] for each in (arrays, own))
    if received == expected:
        return None
    if not received:
        return f"it has no {path}, where the weights of layer '{layer.name}' should be"
    theirs, ours = naming.apart(str(received), str(expected))
    return (
        f"{path} has arrays of shapes {theirs}, but layer '{layer.name}' expects {ours}: the file "
        "belongs to another model"
    )


class WeightFile:
    """An open HDF5 file from which arrays of known shapes are read."""

    def __init__(self, file: Any, library: ModuleType, size: int) -> None:
        self._file, self._library = file, library
        self._bytes_left = size  # all arrays together cannot have more than the file

    def weights(
        self, layers: Sequence[AnyLayer], skipped: list[str] | None = None
    ) -> list[HostArray]:
        """Return the weights of `layers`, which are built, in the order of `get_weights`.

        With a list `skipped`, a layer that the file does not fit keeps its own weights, and the
        reason is appended; layers that only the file has are ignored, as in Keras.
        """
        weights: list[HostArray] = []
        known = dict(group_paths(layers))
        for path, layer in known.items():
            own, place = own_weights(layer), f"{path}/vars"
            arrays = self._arrays(place) if own else []
            why = mismatch(arrays, own, place, layer)
            if why is None:
                weights += [self._floats(array, layer.dtype) for array in arrays]
            elif skipped is None:
                raise ValueError(why)
            else:
                skipped.append(why)
                weights += map(backend.to_numpy, own)
        for path in self._places("layers"):
            if path not in known and skipped is None:
                raise ValueError(
                    f"it has weights of an additional layer, {path.partition('/')[2]}, which the "
                    "model does not have"
                )
        return weights

    def has_trained(self) -> bool:
        """Return whether the file has the state, beyond steps and rate, of a trained optimizer."""
        group = self._group("optimizer/vars")
        steps = None if group is None or len(group) <= 2 else group.get("0")
        return isinstance(steps, self._library.Dataset) and steps.shape == () and steps[()] > 0

    def optimizer(self, expected: Sequence[HostArray]) -> list[HostArray] | None:
        """Return the optimizer's variables, or None if their shapes are not those of `expected`."""
        if len(self._names("optimizer/vars")) != len(expected):
            return None
        arrays = self._arrays("optimizer/vars")
        if [array.shape for array in arrays] != [array.shape for array in expected]:
            return None
        steps = arrays[0]
        if steps.dtype.kind not in "iu" or not 0 <= int(steps[()]) < 2**31:
            raise ValueError("the optimizer's number of steps is invalid")
        floats = [self._floats(a, b.dtype) for a, b in zip(arrays[1:], expected[1:], strict=True)]
        return [steps[()], *floats]

    def _group(self, path: str) -> Any:
        """Return the group at `path`, or None; a link on the way raises a ValueError."""
        group = self._file
        for part in path.split("/"):
            link = group.get(part, getlink=True)
            if link is None:
                return None
            if not isinstance(link, self._library.HardLink):
                raise ValueError(f"{path} contains a link, which is not followed")
            group = group[part]
            if not isinstance(group, self._library.Group):
                raise ValueError(f"{path} is not a group")
        return group

    def _places(self, path: str) -> Iterator[str]:
        """Yield the paths of the groups in and below `path` that have weights."""
        for name in self._names(path):
            if name != "vars":
                yield from self._places(f"{path}/{name}")
            elif self._names(f"{path}/vars"):
                yield path

    def _names(self, path: str) -> list[str]:
        group = self._group(path)
        return [] if group is None else list(group)

    def _arrays(self, path: str) -> list[Any]:
        """Return the datasets 0, 1, 2 … at `path`, without reading them."""
        group: Any = self._group(path) or {}
        arrays = []
        for number in range(len(group)):
            array_path = f"{path}/{number}"
            if not isinstance(group.get(str(number), getlink=True), self._library.HardLink):
                raise ValueError(f"it has no {array_path}")
            array = group[str(number)]
            if not isinstance(array, self._library.Dataset):
                raise ValueError(f"{array_path} is not an array")
            plain = array.chunks is None and not array.is_virtual and not array.external
            if not plain or array.id.get_storage_size() != array.nbytes:
                raise ValueError(
                    f"{array_path} is chunked, compressed or external, unlike in Keras"
                )
            # Several names can lead to the same bytes. They are counted for each name: otherwise, a
            # small file could fill the memory.
            self._bytes_left -= array.nbytes
            if self._bytes_left < 0:
                raise ValueError("its arrays have more bytes than the file")
            arrays.append(array)
        return arrays

    def _floats(self, array: Any, dtype: DTypeLike | None) -> HostArray:
        """Read the numbers of `array` and return them as `dtype`."""
        if array.dtype.kind != "f" or array.dtype.itemsize not in (2, 4, 8):
            raise ValueError(f"{array.name} holds {array.dtype}, not floats")
        with backend.ignore_overflow():
            values: HostArray = array[()].astype(dtype)
        if not backend.host.isfinite(values).all():
            raise ValueError(f"{array.name} holds NaN or infinity")
        return values
