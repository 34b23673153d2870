"""Weights in HDF5, in Keras's layout (``….weights.h5``, and inside of ``….keras``).

    layers/dense/vars/0, 1     kernel and bias of the first `Dense`, whatever its name
    layers/dense_1/vars/0, 1   those of the second one
    optimizer/vars/0, 1, 2 …   steps, learning rate, then what the optimizer keeps for each weight

h5py reads and writes it. A file is not trusted: it is asked only for the places above, nothing in
it may point elsewhere, and a number is read when its array is known to have the right shape.
"""

import contextlib
import io
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from tinynet import backend
from tinynet.backend import HostArray, Shape
from tinynet.compat import arguments, naming
from tinynet.utils import files

SUFFIX = ".weights.h5"

# A file has float64 at most, and an optimizer's state, some times the weights. What has more bytes
# for each of the model's, and more than these few beside, is no file of its weights.
MOST_BYTES, SMALL = 32, 10_000_000


def h5py() -> Any:
    """The package, or an ImportError that says how to get it."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError(
            "Keras's files are HDF5, which the package h5py reads and writes, and it is not "
            'installed. Write: python -m pip install h5py (or -e ".[saving]")'
        ) from error
    return h5py


def save_weights(model: Any, filepath: files.PathLike, overwrite: bool = True) -> None:
    """Write the weights, and the optimizer's state, to `filepath`, as Keras writes them.

    The file appears, or is replaced, in one step; folders are made.

    Arguments:
        filepath: ends in ``.weights.h5``.
        overwrite: whether a file that is there may be replaced.

    Raises:
        ValueError: for another ending, or a model without weights yet.
        ImportError: without h5py.
        OSError: if it cannot be written; then what was there is there still.

    Source: https://keras.io/api/models/model_saving_apis/weights_saving_and_loading/
    """
    path = files.check_path(filepath, SUFFIX)
    if not model.built:
        raise ValueError(
            f"You are saving a model that has not yet been built: '{model.name}' has no weights. "
            "Write: model.build((None, 784)), or train it first"
        )
    files.write_whole(path, to_hdf5(model), overwrite)


def load_weights(model: Any, filepath: files.PathLike, skip_mismatch: bool = False) -> None:
    """Take the weights from `filepath`, a ``….weights.h5`` of tinynet's or Keras's.

    As in Keras, an optimizer that has begun to train takes its state from there, too, if that fits;
    one that has not stays new, with a warning. `tinynet.models.load_model` brings back everything.

    Raises:
        ValueError: if they are another model's, NaN or infinite, or the file is damaged; then
            nothing is changed.
        FileNotFoundError: if it is not there.
        ImportError: without h5py.

    Source: https://keras.io/api/models/model_saving_apis/weights_saving_and_loading/
    """
    path = files.check_path(filepath, SUFFIX)
    arguments.refuse("load_weights", {"skip_mismatch": skip_mismatch})
    if not model.built:
        raise ValueError(
            f"Expected a model with weights to load into, but '{model.name}' is not built. "
            "Write: model.build((None, 784)) before, or tinynet.models.load_model of a .keras file"
        )
    if not path.exists():
        raise FileNotFoundError(f"Expected a file of weights, but there is no {path}")
    size = path.stat().st_size  # looked at before it is read
    if size > MOST_BYTES * sum(weight.nbytes for weight in model.weights) + SMALL:
        raise files.damaged(path, f"it has {size:,} bytes, far too many for this model")
    optimizer = model.optimizer
    begun = optimizer is not None and optimizer.built
    with opened(path.read_bytes(), path) as file:
        weights = file.weights([(layer, shapes_of(layer)) for layer in model.layers])
        state = file.optimizer(optimizer.variables) if begun else None
        left = optimizer is not None and state is None and (begun or file.has_trained())
        if state is not None:
            optimizer.set_variables(state)
    model.set_weights(weights)
    if left:
        why = "is another one" if begun else "has not begun, and stays new"
        warnings.warn(
            f"Of {path}, only the weights were loaded, and not the optimizer's state: "
            f"'{optimizer.name}' {why}. To go on where a training was, write: model.save(….keras) "
            "and tinynet.models.load_model(….keras)",
            stacklevel=2,
        )


def to_hdf5(model: Any) -> bytes:
    """The weights of `model`, and the state of its optimizer, as an HDF5 file."""
    memory = io.BytesIO()
    with h5py().File(memory, "w") as file:

        def write(place: str, name: str, arrays: Sequence[HostArray]) -> None:
            group = file.create_group(f"{place}/vars" if place else "vars")
            group.attrs["name"] = name
            for number, array in enumerate(arrays):
                group[str(number)] = array

        write("", model.name, [])
        for place, layer in zip(places(model.layers), model.layers, strict=True):
            write(place, layer.name, layer.get_weights())
        if model.optimizer is not None:
            write("optimizer", model.optimizer.name, optimizer_variables(model))
    return memory.getvalue()


def optimizer_variables(model: Any) -> list[HostArray]:
    """The state of the optimizer; of one that has not begun, that with which it would begin."""
    optimizer = model.optimizer
    if not optimizer.built and model.built:  # Keras warns where a file has less than that
        optimizer = type(optimizer).from_config(optimizer.get_config())
        optimizer.build(model.trainable_weights)
    return optimizer.variables


def places(layers: Sequence[Any]) -> list[str]:
    """Where Keras keeps each layer's weights: under its class, numbered from the second one on."""
    seen: Counter[str] = Counter()
    found = []
    for layer in layers:
        stem = naming.snake_case(type(layer).__name__)
        found.append(f"layers/{stem}_{seen[stem]}" if seen[stem] else f"layers/{stem}")
        seen[stem] += 1
    return found


def shapes_of(layer: Any) -> list[Shape]:
    return [weight.shape for weight in layer.weights]


@contextlib.contextmanager
def opened(data: bytes, where: files.PathLike) -> Iterator["WeightFile"]:
    """The HDF5 file with the content `data`, which came from `where`.

    Whatever fails inside of the block is a ValueError that names `where`.
    """
    library = h5py()
    try:
        with library.File(io.BytesIO(data), "r") as file:
            yield WeightFile(file, library, len(data))
    except MemoryError:
        raise
    except Exception as error:  # HDF5 raises many kinds of errors for damaged bytes
        raise files.damaged(where, error) from error


class WeightFile:
    """An open file, which is asked for arrays of known shapes."""

    def __init__(self, file: Any, library: Any, size: int) -> None:
        self._file, self._library = file, library
        self._left = size  # bytes; all arrays together have no more than the file

    def weights(self, expected: Sequence[tuple[Any, Sequence[Shape]]]) -> list[HostArray]:
        """The weights of all layers, in order.

        Arguments:
            expected: each layer, and the shapes of its weights.
        """
        found: list[HostArray] = []
        layers = [layer for layer, _ in expected]
        for place, (layer, shapes) in zip(places(layers), expected, strict=True):
            if not shapes:
                continue
            arrays = self._arrays(f"{place}/vars", f"layer '{layer.name}'")
            self._compare(arrays, shapes, f"{place}/vars", f"layer '{layer.name}'")
            found += [self._floats(array, layer.dtype) for array in arrays]
        known = {place.partition("/")[2] for place in places(layers)}
        for name in self._names("layers"):
            if name not in known and self._names(f"layers/{name}/vars"):
                raise ValueError(
                    f"it has weights of a further layer, {name}, which the model does not have"
                )
        return found

    def has_trained(self) -> bool:
        """Whether there is the state of an optimizer that has made a step, and keeps something."""
        group = self._group("optimizer/vars")
        steps = None if group is None or len(group) <= 2 else group.get("0")
        return isinstance(steps, self._library.Dataset) and steps.shape == () and steps[()] > 0

    def optimizer(self, like: Sequence[HostArray]) -> list[HostArray] | None:
        """The variables of the optimizer; None if there are others than `like`."""
        if len(self._names("optimizer/vars")) != len(like):
            return None
        arrays = self._arrays("optimizer/vars", "the optimizer")
        if [array.shape for array in arrays] != [array.shape for array in like]:
            return None
        steps = arrays[0]
        if steps.dtype.kind not in "iu" or not 0 <= int(steps[()]) < 2**31:
            raise ValueError("the optimizer's number of steps is no number of steps")
        floats = [self._floats(a, b.dtype) for a, b in zip(arrays[1:], like[1:], strict=True)]
        return [steps[()], *floats]

    def _group(self, place: str) -> Any:
        """The group at `place`, or None; nothing on the way may point elsewhere."""
        group = self._file
        for part in place.split("/"):
            link = group.get(part, getlink=True)
            if link is None:
                return None
            if not isinstance(link, self._library.HardLink):
                raise ValueError(f"{place} points elsewhere, which is not followed")
            group = group[part]
            if not isinstance(group, self._library.Group):
                raise ValueError(f"{place} is no group")
        return group

    def _names(self, place: str) -> list[str]:
        group = self._group(place)
        return [] if group is None else list(group)

    def _arrays(self, place: str, whose: str) -> list[Any]:
        """The datasets 0, 1, 2 … at `place`, not read yet."""
        group = self._group(place)
        if group is None:
            raise ValueError(f"it has no {place}, where the weights of {whose} would be")
        found = []
        for number in range(len(group)):
            where = f"{place}/{number}"
            if not isinstance(group.get(str(number), getlink=True), self._library.HardLink):
                raise ValueError(f"it has no {where}")
            array = group[str(number)]
            if not isinstance(array, self._library.Dataset):
                raise ValueError(f"{where} is no array")
            plain = array.chunks is None and not array.is_virtual and not array.external
            if not plain or array.id.get_storage_size() != array.nbytes:
                raise ValueError(f"{where} is packed, or elsewhere: not as Keras writes it")
            # Several names can lead to the same bytes. They are counted for each: else a small file
            # could fill the memory.
            self._left -= array.nbytes
            if self._left < 0:
                raise ValueError("its arrays have more bytes than the file")
            found.append(array)
        return found

    def _compare(
        self, arrays: Sequence[Any], shapes: Sequence[Shape], place: str, whose: str
    ) -> None:
        received = [array.shape for array in arrays]
        if received != list(map(tuple, shapes)):
            raise ValueError(
                f"{place} has arrays of shapes {naming.short(received)}, and {whose} wants "
                f"{naming.short(list(shapes))}: it is another model's"
            )

    def _floats(self, array: Any, dtype: Any) -> HostArray:
        """The numbers, read now, as `dtype`."""
        if array.dtype.kind != "f" or array.dtype.itemsize not in (2, 4, 8):
            raise ValueError(f"{array.name} holds {array.dtype}, not floats")
        with backend.ignore_overflow():
            values = array[()].astype(dtype)
        if not backend.host.isfinite(values).all():
            raise ValueError(f"{array.name} holds NaN or infinity")
        return values
