"""What `fit` was asked to do with which data: checked before anything is built or changed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tinynet.compat import checks, validation
from tinynet.engine.advice import advise
from tinynet.engine.data import Batches, split_tail, weigh_classes
from tinynet.engine.evaluation import BATCH_SIZE, check_compiled, prepare
from tinynet.engine.tracker import Tracker, metrics_for


class Plan(NamedTuple):
    """The batches to train on, and those to validate with, if any."""

    batches: Batches
    steps: int  # batches in an epoch
    held_out: Batches | None
    held_out_steps: int
    validates_after: Callable[[int], bool]  # epochs count from 1

    def tracker(self, model: Any) -> Tracker:
        """For the loss and metrics of an epoch."""
        assert self.batches.y is not None
        metrics = metrics_for(model, self.batches.y.source.shape)
        return Tracker(metrics, model.dtype, min(self.steps, len(self.batches)))


def check_can_train(model: Any) -> None:
    """Raise a ValueError if `compile` was not called, or the weights live in another model."""
    check_compiled(model)
    lender = model.parameters.lender
    if lender is not None:
        raise ValueError(
            f"Expected a model whose layers are its own, but layers of '{model.name}' live in "
            f"model '{lender.model}' and are only borrowed here: train that one, and this one "
            f"predicts with what it learned. Or make new layers: {type(model).__name__}"
            ".from_config(model.get_config())"
        )


def plan(
    model: Any,
    x: Any,
    y: Any,
    sample_weight: Any,
    batch_size: int | None,
    validation_split: float,
    validation_data: Any,
    class_weight: Mapping[int, float] | None,
    steps_per_epoch: int | None,
    validation_steps: int | None,
    validation_batch_size: int | None,
    validation_freq: int | Sequence[int],
) -> Plan:
    """The plan that `fit`'s arguments of these names make.

    Raises:
        ValueError: for arguments that do not fit.
    """
    batch_size = validation.count(batch_size, "batch_size", BATCH_SIZE)
    validates_after = validation.schedule(validation_freq)
    check_can_train(model)
    samples = prepare(model, x, y, sample_weight)
    held_out_samples = split_off = None
    if validation_data is not None:
        held_out_samples = prepare(model, *validation.validation_data(validation_data))
    elif checks.validation_split(validation_split):
        samples, split_off = split_tail(samples, validation_split)
        held_out_samples = split_off
    samples = weigh_classes(model, samples, class_weight)  # validation is not weighted
    batches = Batches(*samples, batch_size, model.dtype)
    steps = validation.count(steps_per_epoch, "steps_per_epoch", len(batches))
    held_out, held_out_steps = None, 0
    if held_out_samples is not None:
        size = validation.count(validation_batch_size, "validation_batch_size", batch_size)
        held_out = Batches(*held_out_samples, size, model.dtype)
        wanted = validation.count(validation_steps, "validation_steps", len(held_out))
        held_out_steps = held_out.steps_within(wanted)
    advise(model, samples, split_off, batch_size)
    return Plan(batches, steps, held_out, held_out_steps, validates_after)
