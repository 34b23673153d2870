"""When a GPU's memory runs out: how large everything is, and what to write.

CuPy's error says how many bytes it could not allocate. Whoever trains wants to know what takes the
rest, and whether a smaller batch would help.
"""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tinynet import backend


@contextmanager
def explained(model: Any, method: str, batch: int, least: int = 1) -> Iterator[None]:
    """A ``with`` block that raises a MemoryError with sizes and advice in place of CuPy's.

    NumPy's says which array was too large, and stays as it is.

    Arguments:
        method: the name of the method that computes.
        batch: the number of samples in its largest batch.
        least: the number of samples that it computes at once even if batches are smaller.
    """
    try:
        yield
    except MemoryError as error:
        failed = re.search(r"Out of memory allocating ([\d,]+)", str(error))  # CuPy's words
        with backend.at(model.parameters.anchor):
            if failed is None or backend.backend() == "numpy":
                raise
            wanted = int(failed[1].replace(",", ""))
            raise MemoryError(report(model, wanted, method, batch, least)) from error


def report(model: Any, wanted: int, method: str, batch: int, least: int) -> str:
    """What takes the memory of the GPU in use, on which `model` is, and what to write."""
    pool = backend.xp.get_default_memory_pool()
    held, limit = pool.total_bytes(), pool.get_limit()
    free, total = backend.xp.cuda.runtime.memGetInfo()
    batch = max(batch, least)
    weights, activations = sizes(model, batch)
    limited = limit and held + wanted > limit
    allowed = f" of the {megabytes(limit)} that memory_limit allows" if limited else ""
    enough = math.ceil((held + wanted + weights + activations) / 1e6) * 1_000_000
    half = f"{batch // 2} samples at a time" if "batch" in method else f"batch_size={batch // 2}"
    remedies = {
        # Halving what is small beside the array that was wanted would not make room for it.
        f"{half} instead of {batch}": batch > least and activations > wanted // 8,
        f'tinynet.backend.use("cupy", memory_limit={enough:_}), or more': limited,
        "before it, tinynet.backend.release_memory() (nvidia-smi shows what holds the rest)":
            not limited,
        'model.to("numpy"), to compute on the CPU': True,
    }  # fmt: skip
    return (
        f"Out of memory on GPU {backend.here().device} in {method}: CuPy could not allocate "
        f"{megabytes(wanted)}. {megabytes(free)} of the GPU's {megabytes(total)} are free, and "
        f"CuPy holds {megabytes(held)}{allowed}. The model's weights, gradients and optimizer "
        f"state take {megabytes(weights)}, the arrays of a batch of {batch:,} about "
        f"{megabytes(activations)}. The model is as it was before this call. "
        f"Write: {'; or '.join(text for text, helps in remedies.items() if helps)}"
    )


def sizes(model: Any, batch: int) -> tuple[int, int]:
    """The bytes of all that training keeps for each weight, and those of a batch's arrays."""
    slots = len(model.optimizer.slots) if model.optimizer else 0
    weights = sum(weight.nbytes for weight in model.weights) * (2 + slots)
    shapes = [model.input_shape or (), *(layer.output_shape or () for layer in model.layers)]
    numbers = sum(math.prod(size or 1 for size in shape[1:]) for shape in shapes)
    number = backend.host.dtype(model.dtype).itemsize
    return weights, 2 * batch * numbers * number  # forward, and the gradients on the way back


def megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
