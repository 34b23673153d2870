"""The arguments and the data of `fit`, checked before anything is built or changed."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from tinynet.backend.types import Model, Samples
from tinynet.compat import checks, rules
from tinynet.engine.advice import advise
from tinynet.engine.data import Batches, apply_class_weight
from tinynet.engine.evaluation import check_compiled, prepare_data
from tinynet.engine.streams import (
    DEFAULT_BATCH_SIZE,
    default_batch_size,
    is_stream,
    open_batches,
    refuse_beside,
)
from tinynet.engine.tracker import Tracker, make_metrics


class Plan(NamedTuple):
    """The batches to train on, and those to validate on, if any."""

    batches: Batches
    steps: int | None  # batches in an epoch; None: all that there are
    held_out: Batches | None
    held_out_steps: int | None
    validates_after: Callable[[int], bool]  # epochs count from 1

    def tracker(self, model: Model) -> Tracker:
        """Return a tracker for the loss and metrics of an epoch."""
        assert self.batches.y is not None
        metrics = make_metrics(model, self.batches.y.source.shape)
        steps = min(filter(None, (self.steps, self.batches.steps)), default=None)
        return Tracker(metrics, model.dtype, steps)


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
    checks.count(batch_size, "batch_size", DEFAULT_BATCH_SIZE)
    optional = rules.optional(checks.count)
    steps = optional(steps_per_epoch, "steps_per_epoch")
    held_out_size = optional(validation_batch_size, "validation_batch_size")
    held_out_steps = optional(validation_steps, "validation_steps")
    share = rules.validation_split(validation_split) if validation_data is None else 0.0
    validates_after = checks.validation_schedule(validation_freq)
    check_can_train(model)
    held_out: Batches | None = None
    split_off: list[Samples] = []

    def prepare(x: object, y: object = None, w: object = None, advise: bool = True) -> Samples:
        samples = prepare_data(model, x, y, w, advise)
        if share:
            samples, held = split_validation(samples, share)
            split_off.append(held)
        return apply_class_weight(model, samples, class_weight)  # validation is not weighted

    if is_stream(x):
        refuse_beside(x, "x", validation_split=share or None)
    batches = open_batches(model, prepare, (x, y, sample_weight), batch_size, steps)
    if validation_data is not None:
        given: Sequence[object] = (validation_data,)
        if not is_stream(validation_data):
            given = checks.validation_data(validation_data)
            held_out_size = held_out_size or batch_size
        checked = functools.partial(prepare_data, model)
        held_out = open_batches(
            model, checked, given, held_out_size, held_out_steps, "validation_data"
        )
    for samples in split_off:
        rows = held_out_size or batch_size or default_batch_size(held_out_steps, len(samples[0]))
        held_out = Batches(*samples, rows, model.dtype)
    advise(model, batches, split_off)
    if held_out is not None:
        held_out_steps = held_out.clip_steps(held_out_steps)
    return Plan(batches, steps or batches.steps, held_out, held_out_steps, validates_after)


def split_validation(samples: Samples, share: float) -> tuple[Samples, Samples]:
    """Split off the last `share` of the samples for validation, as views in the given order.

    Raises:
        ValueError: if one side would be empty.
    """
    x, y, weights = samples
    n = len(x)
    cut = int(n * (1 - share))
    if cut in (0, n):
        raise ValueError(
            f"Training data contains {n} samples, which is not sufficient to split it into a "
            f"validation and training set as specified by `validation_split={share}`. "
            "Either provide more data, or a different value for the `validation_split` argument."
        )
    head = x[:cut], y[:cut], None if weights is None else weights[:cut]
    return head, (x[cut:], y[cut:], None if weights is None else weights[cut:])
