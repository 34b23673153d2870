"""A model goes to another device, with its optimizer's state, and goes on there where it was."""

from typing import Any

from tinynet import backend


def to(model: Any, name: str, device: int = 0) -> Any:
    """Move the weights, and the optimizer's state with them, to another backend.

    Arguments:
        name, device: ``"numpy"``, or ``"cupy"`` and the number of a GPU, as in
            `tinynet.backend.use`; which backend is in use does not change.

    Returns:
        This model; it goes on where it was.

    Raises:
        ValueError: if weights live in another model that is elsewhere, or training is under
            way; then nothing is moved.
        RuntimeError: if CuPy cannot run, with the reason; likewise.
    """
    if model.busy:
        raise ValueError(
            f"Expected model '{model.name}' at rest, but it is computing: a callback cannot move "
            "it. Move it before or after."
        )
    parameters, optimizer = model.parameters, model.optimizer
    arrays = [weights for _, weights in parameters.pairs]
    with backend.use(name, device):
        if set(parameters.places().values()) <= {backend.here()}:
            return model
        begun = optimizer is not None and optimizer.is_built_for(arrays)
        moved, runs = optimizer.moved() if begun else (), parameters.runs
        parameters.move(model.dtype)
        parameters.pair(runs)
        if begun:
            optimizer.rebind([weights for _, weights in parameters.pairs], *moved)
    return model
