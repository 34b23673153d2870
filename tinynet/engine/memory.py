"""A MemoryError for GPUs that says what occupies the memory, and what to try.

CuPy's error says only how many bytes it could not allocate. This one also says what takes up the
memory, and whether a smaller batch would help.
"""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager

from tinynet import backend
from tinynet.backend.types import Model


@contextmanager
def explain_out_of_memory(
    model: Model, method: str, batch: int, min_samples: int = 1
) -> Iterator[None]:
    """Replace CuPy's MemoryError in a ``with`` block by one with sizes and advice.

    NumPy's MemoryError already says which array was too large, and is not replaced.

    Arguments:
        method: the name of the model's method that computes.
        batch: the number of samples in its largest batch.
        min_samples: the number of samples that it computes at once even if batches are smaller.
    """
    try:
        yield
    except MemoryError as error:
        match = re.search(r"Out of memory allocating ([\d,]+)", str(error))  # CuPy's text
        with backend.use_device(model.parameters.device):
            if match is None or backend.backend() == "numpy":
                raise
            requested = int(match[1].replace(",", ""))
            raise MemoryError(
                out_of_memory_message(model, requested, method, batch, min_samples)
            ) from error


def out_of_memory_message(
    model: Model, requested: int, method: str, batch: int, min_samples: int
) -> str:
    """Return the message: what takes the memory of the GPU in use, and what to try."""
    pool = backend.memory_pool()
    held, limit = pool.total_bytes(), pool.get_limit()
    free, total = backend.gpu_memory()
    batch = max(batch, min_samples)
    weights, activations = estimate_bytes(model, batch)
    limited = limit and held + requested > limit
    allowed = f" of the {megabytes(limit)} that memory_limit allows" if limited else ""
    enough = math.ceil((held + requested + weights + activations) / 1e6) * 1_000_000
    half = f"{batch // 2} samples at a time" if "batch" in method else f"batch_size={batch // 2}"
    remedies = {
        # If the batch's arrays are small compared to the requested one, halving them is no help.
        f"{half} instead of {batch}": batch > min_samples and activations > requested // 8,
        f'tinynet.backend.use("cupy", memory_limit={enough:_}), or more': limited,
        "tinynet.backend.release_memory() before this call (nvidia-smi shows what holds the rest)":
            not limited,
        'model.to("numpy"), to compute on the CPU': True,
    }  # fmt: skip
    return (
        f"Out of memory on GPU {backend.current_device().number} in {method}: "
        f"CuPy could not allocate {megabytes(requested)}. {megabytes(free)} of the GPU's "
        f"{megabytes(total)} are free, and CuPy holds {megabytes(held)}{allowed}. "
        "The model's weights, gradients and optimizer "
        f"state take {megabytes(weights)}, the arrays of a batch of {batch:,} about "
        f"{megabytes(activations)}. The weights are those after the last whole step. "
        f"Write: {'; or '.join(text for text, helps in remedies.items() if helps)}"
    )


def estimate_bytes(model: Model, batch: int) -> tuple[int, int]:
    """Return the bytes of weights, gradients and optimizer state, and those of a batch's arrays."""
    slots = len(model.optimizer.slots) if model.optimizer else 0
    weights = sum(weight.nbytes for weight in model.weights) * (2 + slots)
    shapes = [model.shape_of_input or (), *(layer.output_shape or () for layer in model.layers)]
    numbers = sum(math.prod(size or 1 for size in shape[1:]) for shape in shapes)
    number = backend.host.dtype(model.dtype).itemsize
    return weights, 2 * batch * numbers * number  # activations, and their gradients


def megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
