"""A model goes to another device, with its optimizer's state, and goes on there where it was."""

from typing import Any

from tinynet import backend
from tinynet.engine.network import Network


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
            f"Expected model '{model.name}' at rest, but it is computing: a callback cannot "
            "move it. Move it before or after."
        )
    arrays = [weights for _, weights in model.gradients_and_weights]
    optimizer = model.optimizer
    with backend.use(name, device):
        if all(backend.place_of(weight) == backend.here() for weight in model.weights):
            return model
        if model.lender is not None:
            follow(model, model.lender)
            return model
        begun = optimizer is not None and optimizer.is_built_for(arrays)
        moved = optimizer.moved() if begun else None
        model.gather_weights()
        model.pair()
        if begun:
            optimizer.rebind([weights for _, weights in model.gradients_and_weights], moved)
    return model


def follow(model: Network, lender: Network) -> None:
    """Move the layers that live in no other model; those that do are here already."""
    own = [layer for layer in model.layers if layer.home is None or layer.home() is None]
    borrowed = [weight for layer in model.layers if layer not in own for weight in layer.weights]
    if any(backend.place_of(weight) != backend.here() for weight in borrowed):
        raise ValueError(
            f"Expected a model whose layers are its own, but layers of '{model.name}' live in "
            f"model '{lender.name}'. Move that one first, then this one."
        )
    moved = [(layer, layer.moved()) for layer in own]
    for layer, homes in moved:
        for home in homes:
            layer.rehome(*home)
