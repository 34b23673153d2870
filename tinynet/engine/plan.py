"""The arguments and the data of `fit`, checked before anything is built or changed."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from tinynet.backend.types import Model
from tinynet.compat import checks, rules
from tinynet.engine.advice import advise
from tinynet.engine.data import Batches, apply_class_weight, split_validation
from tinynet.engine.evaluation import DEFAULT_BATCH_SIZE, check_compiled, prepare_data
from tinynet.engine.tracker import Tracker, make_metrics


class Plan(NamedTuple):
    """The batches to train on, and those to validate on, if any."""

    batches: Batches
    steps: int  # batches in an epoch
    held_out: Batches | None
    held_out_steps: int
    validates_after: Callable[[int], bool]  # epochs count from 1

    def tracker(self, model: Model) -> Tracker:
        """Return a tracker for the loss and metrics of an epoch."""
        assert self.batches.y is not None
        metrics = make_metrics(model, self.batches.y.source.shape)
        return Tracker(metrics, model.dtype, min(self.steps, len(self.batches)))


def check_can_train(model: Model) -> None:
    """Raise a ValueError if `compile` was not called, or the weights live in another model."""
    check_compiled(model)
    owner = model.parameters.other_owner
    if owner is not None:
        raise ValueError(
            f"Expected model '{model.name}' to own its layers, but some of them belong to "
            f"model '{owner.model_name}' and are only borrowed here. Train that model: this one "
            f"predicts with the trained weights. Or make new layers: {type(model).__name__}"
            ".from_config(model.get_config())"
        )


def make_plan(
    model: Model,
    x: object,
    y: object,
    sample_weight: object,
    batch_size: int | None,
    validation_split: float,
    validation_data: object,
    class_weight: Mapping[int, float] | None,
    steps_per_epoch: int | None,
    validation_steps: int | None,
    validation_batch_size: int | None,
    validation_freq: int | Sequence[int],
) -> Plan:
    """Return the plan for the arguments of `fit` with the same names.

    Raises:
        ValueError: for invalid arguments.
    """
    batch_size = checks.count(batch_size, "batch_size", DEFAULT_BATCH_SIZE)
    validates_after = checks.validation_schedule(validation_freq)
    check_can_train(model)
    samples = prepare_data(model, x, y, sample_weight)
    held_out_samples = split_off = None
    if validation_data is not None:
        held_out_samples = prepare_data(model, *checks.validation_data(validation_data))
    elif rules.validation_split(validation_split):
        samples, split_off = split_validation(samples, validation_split)
        held_out_samples = split_off
    samples = apply_class_weight(model, samples, class_weight)  # validation is not weighted
    batches = Batches(*samples, batch_size, model.dtype)
    steps = checks.count(steps_per_epoch, "steps_per_epoch", len(batches))
    held_out, held_out_steps = None, 0
    if held_out_samples is not None:
        size = checks.count(validation_batch_size, "validation_batch_size", batch_size)
        held_out = Batches(*held_out_samples, size, model.dtype)
        wanted = checks.count(validation_steps, "validation_steps", len(held_out))
        held_out_steps = held_out.clip_steps(wanted)
    advise(model, samples, split_off, batch_size)
    return Plan(batches, steps, held_out, held_out_steps, validates_after)
