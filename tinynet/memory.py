"""Where a GPU's memory runs out: how large everything is, and what to write.

CuPy says how many bytes it did not get. Who trains wants to know who has the others, whether a
smaller batch would do, and by how much.
"""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tinynet import backend


@contextmanager
def explained(model: Any, method: str, batch: int, least: int = 1) -> Iterator[None]:
    """A ``with`` block whose MemoryError teaches, where CuPy would raise its own.

    The host's says which array was too large, and stays as it is.

    Arguments:
        method: the name of the method that computes.
        batch: the samples of its largest batch.
        least: how many it takes at a time, however small the batch.
    """
    try:
        yield
    except MemoryError as error:
        with backend.at(model.anchor):
            if backend.backend() == "numpy":
                raise
            raise MemoryError(report(error, model, method, batch, least)) from error


def report(error: MemoryError, model: Any, method: str, batch: int, least: int) -> str:
    """What took the memory of the GPU in use, on which `model` is, and what to write."""
    pool = backend.xp.get_default_memory_pool()
    held, limit = pool.total_bytes(), pool.get_limit()
    free, total = backend.xp.cuda.runtime.memGetInfo()
    found = re.search(r"allocating ([\d,]+)", str(error))
    wanted = int(found[1].replace(",", "")) if found else 0
    batch = max(batch, least)
    weights, activations = sizes(model, batch)
    limited = limit and held + wanted > limit
    roof = f", and memory_limit allows {megabytes(limit)}" if limited else ""
    enough = math.ceil((held + wanted + weights + activations) / 1e6) * 1_000_000
    half = f"{batch // 2} samples at a time" if "batch" in method else f"batch_size={batch // 2}"
    remedies = {
        # What is small beside the piece that was wanted would not make room for it.
        f"{half}, in place of {batch}": batch > least and activations > wanted // 8,
        f'tinynet.backend.use("cupy", memory_limit={enough:_}), or more': limited,
        "tinynet.backend.release_memory() before it, and look with nvidia-smi who has the rest":
            not limited,
        'model.to("numpy"), which computes on the CPU': True,
    }  # fmt: skip
    return (
        f"Out of memory on GPU {backend.here().device} in {method}: {megabytes(wanted)} more were "
        f"wanted. Of its {megabytes(total)}, {megabytes(free)} are free, {megabytes(held)} are "
        f"CuPy's{roof}. The model's weights, gradients and optimizer take {megabytes(weights)}, a "
        f"batch of {batch:,} some {megabytes(activations)}. The model is as it was before this "
        "call. "
        f"Write: {'; or '.join(text for text, helps in remedies.items() if helps)}"
    )


def sizes(model: Any, batch: int) -> tuple[int, int]:
    """The bytes of the model with all that its training keeps, and those of a batch's arrays."""
    slots = len(model.optimizer.slots) if model.optimizer else 0
    weights = sum(weight.nbytes for weight in model.weights) * (2 + slots)
    shapes = [model.input_shape or (), *(layer.output_shape or () for layer in model.layers)]
    numbers = sum(math.prod(size or 1 for size in shape[1:]) for shape in shapes)
    number = backend.host.dtype(model.dtype).itemsize
    return weights, 2 * batch * numbers * number  # forward, and the gradients on the way back


def megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
