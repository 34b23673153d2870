"""Numbers that are not finite, and a model that is as it was before a call that failed."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite
from typing import Any

from tinynet import backend
from tinynet.backend import Array
from tinynet.compat import validation
from tinynet.engine.data import Batches
from tinynet.engine.tracker import Logs, Tracker


@contextmanager
def computing(model: Any) -> Iterator[None]:
    """Compute where the model is; forget weights that the block made, if it raises."""
    was_built, input_layer = model.built, model.input_layer
    unbuilt = [layer for layer in model.layers if not layer.built]
    model.check_place()
    model.busy += 1
    try:
        # Where NumPy would warn of infinity or NaN, `check_finite` says where it came from.
        with backend.at(model.anchor), backend.quiet():
            for layer in model.layers:
                layer.follow()
            yield
    except Exception:
        if not was_built:
            model.unbuild(unbuilt, input_layer)
        raise
    finally:
        model.busy -= 1
        if backend.on_device(model.anchor):  # where memory is short
            for part in (*model.layers, *filter(None, [model.objective])):
                part.forget()


@contextmanager
def unchanged_on_error(model: Any) -> Iterator[None]:
    """Put weights, optimizer and random generator back to what they were if the block raises.

    The copy that this takes is about as large as the weights and the optimizer's state. Ctrl-C is
    no error: what was trained until then is kept.
    """
    with backend.at(model.anchor):
        weights = [weight.copy() for weight in model.weights]
        optimizer, history = model.optimizer.get_state(), model.history
    generator, drawn = backend.generator(), backend.generator().bit_generator.state
    counters = [(x, name, getattr(x, name)) for x in model.layers for name in x.counters]
    try:
        with computing(model):
            yield
    except Exception:
        model.history = history
        generator.bit_generator.state = drawn
        for layer, name, value in counters:
            setattr(layer, name, value)
        for weight, saved in zip(model.weights, weights, strict=True):
            backend.fill(weight, saved)
        with backend.at(model.anchor):
            model.optimizer.set_state(optimizer)
        raise


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


def sum_of_weights(model: Any) -> Array:
    """One number that is NaN or infinite if any weight is."""
    return model.flat.sum(dtype="float64")


def check_weights(total: float, model: Any, batches: Batches, where: str) -> None:
    """Raise a ValueError if the last step made a weight NaN or infinite, by the weights' sum."""
    if not isfinite(total):
        expected = "a finite loss and finite weights, received weights that are not"
        raise not_finite(expected, model, batches, where)
