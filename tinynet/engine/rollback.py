"""Restoring a model after a failed call."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tinynet import backend
from tinynet.backend import random, turns
from tinynet.backend.types import Model
from tinynet.compat import guards


@contextmanager
def restore_on_error(model: Model, trains: bool = False) -> Iterator[None]:
    """Compute on the model's device in a ``with`` block; if it raises, restore the model.

    Weights that the block created are discarded; if it `trains`, weights, optimizer, random
    generator and counters are restored from a copy, which is about as large as the weights and the
    optimizer's state. Ctrl-C is not an error: what was trained until then is kept.
    """
    with turns.turn():
        guards.refuse_methods(model)
        if trains:
            check_thread(model)
        if model.built:
            model.parameters.check_device()
        before = Snapshot(model) if trains else None
        was_built, input_layer = model.built, model.input_layer
        training, objective = model.training_thread, model.objective
        unbuilt = [layer for layer in model.layers if not layer.built]
        if trains:
            model.training_thread, model.prepared = threading.get_ident(), []
        model.active_calls += 1
    try:
        # In place of NumPy's warnings, `check_finite` says where infinity or NaN came from.
        with backend.use_device(model.parameters.device), backend.ignore_warnings():
            with turns.turn():
                for layer in model.parameters.every_layer():
                    layer.drop_stale_buffers()
            yield
    except Exception:
        with turns.turn():
            if before is not None:
                before.restore()
            if not was_built:
                model.unbuild(unbuilt, input_layer)
        raise
    finally:
        with turns.turn():
            model.active_calls -= 1
            model.training_thread, model.objective = training, objective
            if trains:
                model.prepared = []  # which has the arrays of the last batch
            device = model.parameters.device
            if device and device.backend == "cupy":  # whose memory is short
                for layer in model.parameters.every_layer():
                    layer.clear_caches()


def check_thread(model: Model) -> None:
    """Raise a ValueError if another thread trains the model."""
    if model.training_thread not in (None, threading.get_ident()):
        raise ValueError(
            f"Expected model '{model.name}' to be trained by one thread at a time, but another "
            "one trains it now. Train a copy.deepcopy(model), or wait for the other thread; "
            "predict, evaluate and save can be called meanwhile"
        )


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
        self.uses_by_others = random.uses_by_others()
        self.counters = [
            (x, name, getattr(x, name))
            for x in model.parameters.every_layer()
            for name in x.counters
        ]

    def restore(self) -> None:
        model = self.model
        model.history = self.history
        if random.uses_by_others() == self.uses_by_others:  # they must not draw the same again
            self.generator.bit_generator.state = self.generator_state
        for layer, name, value in self.counters:
            setattr(layer, name, value)
        with backend.use_device(model.parameters.device):
            model.parameters.restore(self.values)
            self.optimizer.set_state(self.state)
