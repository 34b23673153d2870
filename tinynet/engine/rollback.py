"""Restoring a model after a failed call."""

from collections.abc import Iterator
from contextlib import contextmanager

from tinynet import backend
from tinynet.backend.types import Model


@contextmanager
def restore_on_error(model: Model, trains: bool = False) -> Iterator[None]:
    """Compute on the model's device in a ``with`` block; if it raises, restore the model.

    Weights that the block created are discarded; if it `trains`, weights, optimizer, random
    generator and counters are restored from a copy, which is about as large as the weights and the
    optimizer's state. Ctrl-C is not an error: what was trained until then is kept.
    """
    parameters = model.parameters
    if model.built:
        parameters.check_device()
    before = Snapshot(model) if trains else None
    was_built, input_layer = model.built, model.input_layer
    unbuilt = [layer for layer in model.layers if not layer.built]
    model.active_calls += 1
    try:
        # In place of NumPy's warnings, `check_finite` says where infinity or NaN came from.
        with backend.use_device(model.parameters.device), backend.ignore_warnings():
            for layer in model.layers:
                layer.drop_stale_buffers()
            yield
    except Exception:
        if before is not None:
            before.restore()
        if not was_built:
            model.unbuild(unbuilt, input_layer)
        raise
    finally:
        model.active_calls -= 1
        if (
            device := model.parameters.device
        ) and device.backend == "cupy":  # whose memory is short
            for layer in model.layers:
                layer.clear_caches()
            if model.objective is not None:
                vars(model.objective).update(y=None, p=None, w=None)


class Snapshot:
    """A copy of everything that training a model changes."""

    def __init__(self, model: Model) -> None:
        self.model, self.history, self.optimizer = model, model.history, model.optimizer
        with backend.use_device(model.parameters.device):
            if model.built:
                model.parameters.ensure_gathered(model.dtype)
            self.values, self.state = model.parameters.copy(), self.optimizer.get_state()
        self.generator = backend.generator()
        self.generator_state = self.generator.bit_generator.state
        self.counters = [(x, name, getattr(x, name)) for x in model.layers for name in x.counters]

    def restore(self) -> None:
        model = self.model
        model.history = self.history
        self.generator.bit_generator.state = self.generator_state
        for layer, name, value in self.counters:
            setattr(layer, name, value)
        with backend.use_device(model.parameters.device):
            model.parameters.restore(self.values)
            self.optimizer.set_state(self.state)
