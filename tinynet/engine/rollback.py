"""A model that is as it was before a call that failed; and numbers that are not finite."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite
from typing import Any

from tinynet import backend
from tinynet.compat import validation
from tinynet.engine.data import Batches
from tinynet.engine.tracker import Logs, Tracker


@contextmanager
def computing(model: Any, trains: bool = False) -> Iterator[None]:
    """Compute where the model is; if the block raises, have all be as it was before.

    That is: weights which the block made are forgotten; and where it `trains`, weights, optimizer,
    random generator and counters are put back. The copy that this takes is about as large as the
    weights and the optimizer's state. Ctrl-C is no error: what was trained until then is kept.
    """
    parameters = model.parameters
    if model.built:
        parameters.check_place()
    before = State(model) if trains else None
    was_built, input_layer = model.built, model.input_layer
    unbuilt = [layer for layer in model.layers if not layer.built]
    model.busy += 1
    try:
        # Where NumPy would warn of infinity or NaN, `check_finite` says where it came from.
        with backend.at(parameters.anchor), backend.quiet():
            for layer in model.layers:
                layer.follow()
            yield
    except Exception:
        if before is not None:
            before.put_back()
        if not was_built:
            model.unbuild(unbuilt, input_layer)
        raise
    finally:
        model.busy -= 1
        if backend.on_device(parameters.anchor):  # where memory is short
            for layer in model.layers:
                layer.forget()
            if model.objective is not None:
                vars(model.objective).update(y=None, p=None, w=None)


class State:
    """A copy of all that training a model changes."""

    def __init__(self, model: Any) -> None:
        self.model, self.history, self.optimizer = model, model.history, model.optimizer
        with backend.at(model.parameters.anchor):
            if model.built:
                model.parameters.ensure(model.dtype)
            self.values, self.state = model.parameters.copy(), self.optimizer.get_state()
        self.generator = backend.generator()
        self.drawn = self.generator.bit_generator.state
        self.counters = [(x, name, getattr(x, name)) for x in model.layers for name in x.counters]

    def put_back(self) -> None:
        model = self.model
        model.history = self.history
        self.generator.bit_generator.state = self.drawn
        for layer, name, value in self.counters:
            setattr(layer, name, value)
        with backend.at(model.parameters.anchor):
            model.parameters.restore(self.values)
            self.optimizer.set_state(self.state)


def check_finite(
    logs: Logs,
    model: Any,
    batches: Batches,
    where: str,
    tracker: Tracker | None = None,
    accept: bool = False,
) -> Logs:
    """`logs`, unless the loss in it is NaN or infinite: then a ValueError that says why.

    Arguments:
        tracker: knows in which step that began.
        accept: whether to end the training instead of raising.
    """
    loss = logs["loss"] if "loss" in logs else logs["val_loss"]
    if isfinite(loss):
        return logs
    if accept:
        model.stop_training = True
        return logs
    first = tracker.first_bad() if tracker is not None else None
    if first is not None:
        where += f" (first in step {first})"
    raise not_finite(f"a finite loss, received {loss}", model, batches, where)


def not_finite(expected: str, model: Any, batches: Batches, where: str) -> ValueError:
    rows = {"x": batches.x, "y": batches.y, "sample_weight": batches.weights}
    data = {name: part.source for name, part in rows.items() if part is not None}
    return validation.not_finite(
        expected, where, state_of(model), model.optimizer.learning_rate, data
    )


def state_of(model: Any) -> str:
    """Which weights are NaN or infinite now; the largest one, where none is."""
    bad, largest = [], (0.0, "")
    weights = [
        (layer, name)
        for layer in model.layers
        for name in (*layer.trained_names, *layer.kept_names)
    ]
    for layer, name in weights:
        values = abs(backend.to_numpy(getattr(layer, name)))
        if not backend.host.isfinite(values).all():
            bad.append(f"{layer.name}/{name}")
        else:
            largest = max(largest, (float(values.max(initial=0)), f"{layer.name}/{name}"))
    if not bad:
        size, name = largest
        return f"The weights are finite, the largest of them ({size:.3g}) in {name}" if name else ""
    names = "All weights" if len(bad) == len(weights) else f"The weights {', '.join(bad)}"
    return f"{names} are NaN or infinite by now"


def check_weights(total: Any, model: Any, batches: Batches, where: str) -> None:
    """Raise a ValueError if the last step made a weight NaN or infinite: then so is their sum."""
    if not isfinite(float(total)):
        expected = "a finite loss and finite weights, received weights that are not"
        raise not_finite(expected, model, batches, where)
