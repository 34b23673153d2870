"""Errors for a loss or weights that became NaN or infinite, with the likely cause."""

from collections.abc import Callable
from math import isfinite
from time import perf_counter

from tinynet import backend, config
from tinynet.backend import gpu
from tinynet.backend.types import Array, HostArray, Logs, Model
from tinynet.compat.weights import every_weight
from tinynet.engine.data import Batches
from tinynet.engine.tracker import Tracker

LOOK_SECONDS = 0.1  # between two looks at a loss on a GPU


class Watch:
    """Sees when a loss on a GPU is not finite, without ever waiting for the GPU."""

    def __init__(self) -> None:
        self._arrived: Callable[[], float | None] | None = None
        self._next_look = 0.0

    def __call__(self, loss: Array) -> bool:
        if self._arrived is None:
            if perf_counter() >= self._next_look:
                self._arrived = gpu.read_later(loss)
            return False
        value = self._arrived()
        if value is None:
            return False
        self._arrived, self._next_look = None, perf_counter() + LOOK_SECONDS
        return not isfinite(value)


def watch() -> Callable[[Array], bool]:
    """Return a function that says of a step's loss that it, or a recent one, is not finite."""
    return Watch() if backend.backend() == "cupy" else lambda loss: not isfinite(loss)


def check_finite(
    logs: Logs,
    model: Model,
    batches: Batches,
    where: str,
    tracker: Tracker | None = None,
    accept_nan: bool = False,
) -> Logs:
    """Return `logs`, or raise a ValueError with the likely cause if their loss is not finite.

    Arguments:
        tracker: the epoch's sums, to find the first step with such a loss.
        accept_nan: whether to end the training instead of raising.
    """
    loss = logs["loss"] if "loss" in logs else logs["val_loss"]
    if isfinite(loss):
        return logs
    if accept_nan:
        model.stop_training = True
        return logs
    first = tracker.first_not_finite() if tracker is not None else None
    if first is not None:
        where += f" (first in step {first})"
    raise not_finite(f"a finite loss, received {loss}", model, batches, where)


def not_finite(expected: str, model: Model, batches: Batches, where: str) -> ValueError:
    """Return the error for a loss or weights that are not finite, naming the likeliest cause.

    The data are searched for NaN and infinity only here, after something has gone wrong.
    """
    rate, scheduled = model.optimizer.learning_rate, callable(model.optimizer.set_rate)
    seen = "The data are finite, so the weights diverged (or were set so)"
    if not batches.is_whole:
        seen = "The last batch is finite; an earlier one may not be, or the weights diverged"
    cause = (
        f"{seen}. Scale the inputs to "
        "about 1 (x / 255 for pixels), or lower the learning rate, now "
        f"{rate:g}: model.optimizer.learning_rate = "
        + ("a schedule with lower rates" if scheduled else f"{rate / 10:g}")
    )
    readers = {"x": batches.x, "y": batches.y, "sample_weight": batches.weights}
    for name, reader in readers.items():
        row = None if reader is None else _first_not_finite(reader.source)
        if row is not None:
            cause = (
                f"{name} holds NaN or infinity, first in sample {row}. "
                f"Write: {name} = np.nan_to_num({name}), or leave such samples out"
            )
            break
    state = describe_weights(model)
    error = ValueError(f"Expected {expected} {where}.{f' {state}.' if state else ''} {cause}")
    vars(error)["to_restore"] = model  # until `engine.rollback` has done so
    return error


def describe_weights(model: Model) -> str:
    """Return a sentence about the weights that are not finite, or else about the largest one."""
    bad, largest = [], (0.0, "")
    weights = list(every_weight(model.layers))
    for weight in weights:
        values = abs(backend.to_numpy(weight.array))
        if not backend.host.isfinite(values).all():
            bad.append(weight.path)
        else:
            largest = max(largest, (float(values.max(initial=0)), weight.path))
    if not bad:
        size, name = largest
        return f"The weights are finite; the largest ({size:.3g}) is in {name}" if name else ""
    names = "All weights" if len(bad) == len(weights) else f"The weights {', '.join(bad)}"
    return f"{names} are now NaN or infinite"


def check_finite_weights(
    total: float, model: Model, batches: Batches, where: str, accept_nan: bool = False
) -> None:
    """Raise a ValueError if `total`, the sum of the weights, shows that one is NaN or infinite."""
    if not accept_nan and not isfinite(float(total)):
        expected = "a finite loss and finite weights, received weights that are NaN or infinite"
        raise not_finite(expected, model, batches, where)


def _first_not_finite(data: HostArray, block: int = 1024) -> int | None:
    if data.dtype.kind != "f":
        return None
    for start in range(0, len(data), block):
        rows = data[start : start + block].astype(config.floatx())  # 1e300 becomes infinite
        bad = ~backend.host.isfinite(rows.reshape(len(rows), -1)).all(axis=1)
        if bad.any():
            return start + int(bad.argmax())
    return None
