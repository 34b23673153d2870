"""Moving a model, with its optimizer's state, to another device, where it can continue training."""

from tinynet import backend
from tinynet.backend import turns
from tinynet.backend.types import Model


@turns.turn()
def to(model: Model, name: str, device: int = 0) -> Model:
    """Move the weights, and the optimizer's state with them, to another backend.

    Arguments:
        name, device: ``"numpy"``, or ``"cupy"`` and the number of a GPU, as in
            `tinynet.backend.use`; the backend in use does not change.

    Returns:
        This model; training continues where it was.

    Raises:
        ValueError: if weights are borrowed from a model that is not on that device yet, or this
            model is computing; nothing is moved then.
        RuntimeError: if CuPy cannot run, with the reason; nothing is moved then.
    """
    if model.active_calls:
        raise ValueError(
            f"Expected model '{model.name}' to be idle, but it is computing: a callback cannot "
            "move it. Move it before or after this call."
        )
    parameters, optimizer = model.parameters, model.optimizer
    with backend.use_device(backend.resolve(name, device)):
        if set(parameters.devices().values()) <= {backend.current_device()}:
            return model
        has_slots = optimizer is not None and optimizer.is_built_for(parameters.trained)
        moved, runs = optimizer.slots_on_current_device() if has_slots else (), parameters.runs
        parameters.move(model.dtype)
        parameters.make_pairs(runs)
        if has_slots:
            optimizer.rebind(parameters.trained, *moved)
    return model
