"""`evaluate` and `predict`: running a model without training it."""

import functools
from collections.abc import Callable
from math import prod
from typing import Any

from tinynet import backend
from tinynet.backend import threads, turns
from tinynet.backend.types import UNSET, Array, HostArray, Logs, Model, Samples
from tinynet.callbacks.base import CallbackList, Callbacks
from tinynet.compat import checks
from tinynet.engine import memory
from tinynet.engine.advice import advise_on_labels
from tinynet.engine.data import Batch, Batches
from tinynet.engine.finite import check_finite, watch
from tinynet.engine.rollback import restore_on_error
from tinynet.engine.streams import Stream, open_batches
from tinynet.engine.tracker import Tracker, by_sample, make_metrics
from tinynet.utils.progress import ProgressBar, resolve_verbose

Step = Callable[[Model, Batch], tuple[Array, Array]]  # returns loss and outputs

# As no weights change between batches, several can be computed as one, which at least halves the
# time. Beyond this many samples, or elements of an array, merging gains little and takes more
# memory.
MAX_MERGED_SAMPLES, MAX_MERGED_VALUES = 512, 4_000_000


def test_step(model: Model, batch: Batch) -> tuple[Array, Array]:
    """Return the loss and the outputs of one batch, without training on it."""
    output = model.forward(batch.x)
    return model.objective.forward(batch.y, output, batch.sample_weight), output


def test_epoch(
    model: Model,
    batches: Batches,
    steps: int | None,
    tracker: Tracker,
    callback_list: CallbackList,
    bar: ProgressBar | None = None,
) -> None:
    """Evaluate the first `steps` of `batches`, or all, and add the results to `tracker`."""
    merge = 1
    if tracker.can_merge(model.objective.loss) and not callback_list.calls_test_batch_hooks:
        merge = batches_to_merge(model, batches)
    stream, is_not_finite = isinstance(batches, Stream), watch()
    callback_list.call("on_test_begin", {})
    with threads.for_layers(model.layers, batches.largest_batch(merge)) as threads_for:
        for number, batch in enumerate(batches.iterate(0, steps, merge=merge), start=1):
            step = min(number * merge, steps or number)
            if callback_list.calls_test_batch_hooks:
                callback_list.call("on_test_batch_begin", step - 1, {})
            if number == 1 or callback_list.calls_test_batch_hooks or stream:
                model.prepare_evaluation(batch.x.shape)  # something may have changed the model
            with threads_for(len(batch.x)):
                loss, output = test_step(model, batch)
                tracker.update(batch, loss, output)
            if stream and is_not_finite(loss) and not callback_list.accept_nan:
                break  # while the batch is there that it comes from
            if bar is not None and bar.due():
                bar.update(step, tracker.logs())
            if callback_list.calls_test_batch_hooks:
                callback_list.call("on_test_batch_end", step - 1, tracker.logs())
    callback_list.call("on_test_end", tracker.logs())


@turns.turn()
def validate(
    model: Model, held_out: Batches, steps: int | None, callback_list: CallbackList, epoch: int
) -> Logs:
    """Return the loss and metrics over the held-out samples, as ``val_loss`` …; show no bar.

    None, with a warning, if they come from an iterator that has ended.
    """
    if not held_out.has_batch(0):
        held_out.warn_of_end(epoch, epoch + 1, "validations")
        return {}
    assert held_out.y is not None
    tracker = Tracker(make_metrics(model, held_out.y.source.shape), model.dtype, steps)
    test_epoch(model, held_out, steps, tracker, callback_list)
    logs = tracker.logs("val_")
    if not callback_list.accept_nan:
        check_finite(logs, model, held_out, f"in the validation of epoch {epoch + 1}")
    return logs


@turns.turn()
def evaluate(
    model: Model,
    x: object,
    y: object = None,
    batch_size: int | None = None,
    verbose: int | str = "auto",
    sample_weight: object = None,
    steps: int | None = None,
    callbacks: Callbacks = None,
    return_dict: bool = False,
) -> float | list[float] | Logs:
    """Return the loss and the metrics over all samples, without changing the weights.

    Arguments:
        x, y, sample_weight: as in `fit`: arrays, or for x alone what yields batches (x, y).
        steps: how many batches to evaluate; all if not given.

    Returns:
        The loss; with metrics, ``[loss, *metrics]``; with `return_dict`, a dictionary.

    Raises:
        ValueError: for invalid arguments, or a loss that is NaN or infinite.

    Source: https://keras.io/api/models/model_training_apis/#evaluate-method
    """
    verbose = resolve_verbose(verbose)
    check_compiled(model)
    batches = open_batches(
        model, functools.partial(prepare_data, model), (x, y, sample_weight), batch_size, steps
    )
    steps = batches.clip_steps(steps)
    callback_list = CallbackList(
        callbacks, model, {"verbose": verbose, "epochs": 1, "steps": steps}
    )

    with (
        memory.explain_out_of_memory(
            model, "evaluate", batches.largest_batch(), MAX_MERGED_SAMPLES
        ),
        restore_on_error(model),
    ):
        model.prepare_evaluation((batches.largest_batch(), *batches.x.source.shape[1:]))
        assert batches.y is not None
        tracker = Tracker(make_metrics(model, batches.y.source.shape), model.dtype, steps)
        bar = ProgressBar(steps, verbose)
        test_epoch(model, batches, steps, tracker, callback_list, bar)
        check_finite(tracker.logs(), model, batches, "in evaluate")
        bar.finish(tracker.logs(), tracker.batches)
    return format_results(tracker, return_dict)


@turns.turn()
def test_on_batch(
    model: Model,
    x: object,
    y: object = None,
    sample_weight: object = None,
    return_dict: bool = False,
) -> float | list[float] | Logs:
    """Return the loss and metrics of all of `x` as one batch, without training on it."""
    check_compiled(model)
    samples = prepare_data(model, x, y, sample_weight)
    with (
        memory.explain_out_of_memory(model, "test_on_batch", len(samples[0])),
        restore_on_error(model),
    ):
        model.prepare_evaluation(samples[0].shape)
        return run_on_batch(model, samples, test_step, "in test_on_batch", return_dict)


def run_on_batch(
    model: Model, samples: Samples, step: Step, where: str, return_dict: bool
) -> float | list[float] | Logs:
    """Run `step` on all `samples` as one batch, and return the loss and metrics."""
    batches = Batches(*samples, batch_size=len(samples[0]), dtype=model.dtype)
    tracker = Tracker(make_metrics(model, samples[1].shape), model.dtype, steps=1)
    (batch,) = batches.iterate(0, 1)
    rows, trains = len(batch.x), step is not test_step
    with threads.for_layers(model.layers, rows, trains) as threads_for, threads_for(rows):
        tracker.update(batch, *step(model, batch))
    check_finite(tracker.logs(), model, batches, where)
    return format_results(tracker, return_dict)


@turns.turn()
def predict(
    model: Model,
    x: object,
    batch_size: int | None = None,
    verbose: int | str = "auto",
    steps: int | None = None,
    callbacks: Callbacks = None,
) -> HostArray:
    """Return the outputs for all samples `x`, (n, …), as a NumPy array, (n, units).

    Arguments:
        x: an array, or what yields batches x, or (x, …), of which only x is used.
        steps: how many batches to predict; all if not given.

    Source: https://keras.io/api/models/model_training_apis/#predict-method
    """
    verbose = resolve_verbose(verbose)

    def prepare(x: object, *_: object, **__: object) -> Samples:
        return model.adapt(checks.samples(x, None, None)[0]), UNSET, None

    batches = open_batches(model, prepare, (x,), batch_size, steps)
    steps = batches.clip_steps(steps)
    callback_list = CallbackList(
        callbacks, model, {"verbose": verbose, "epochs": 1, "steps": steps}
    )

    with (
        memory.explain_out_of_memory(model, "predict", batches.largest_batch(), MAX_MERGED_SAMPLES),
        restore_on_error(model),
    ):
        shape, size = batches.x.source.shape, batches.batch_size
        model.ensure_built((batches.largest_batch(), *shape[1:]))
        sizes: tuple[Any, ...] = model.compute_output_shape(shape)[1:]
        stream = isinstance(batches, Stream)  # whose samples cannot be counted beforehand
        known = 0 if stream else min((steps or 0) * size, shape[0])
        outputs = backend.host.empty((known, *sizes), model.dtype)
        parts, bar = [outputs], ProgressBar(steps, verbose)
        callback_list.call("on_predict_begin", {})
        merge = 1 if callback_list.calls_predict_batch_hooks else batches_to_merge(model, batches)
        with threads.for_layers(model.layers, batches.largest_batch(merge)) as threads_for:
            for number, batch in enumerate(batches.iterate(0, steps, merge=merge)):
                step = min((number + 1) * merge, steps or number + 1)
                if callback_list.calls_predict_batch_hooks:
                    callback_list.call("on_predict_batch_begin", step - 1, {})
                rows = outputs[number * merge * size :][: len(batch.x)]
                if stream:
                    rows = backend.host.empty((len(batch.x), *sizes), model.dtype)
                    parts.append(rows)
                with threads_for(len(rows)):
                    rows[...] = backend.to_numpy(model.forward(batch.x))
                if bar.due():
                    bar.update(step, {})
                if callback_list.calls_predict_batch_hooks:
                    callback_list.call("on_predict_batch_end", step - 1, {"outputs": rows.copy()})
        callback_list.call("on_predict_end", {})
        bar.finish({}, len(parts) - 1)
    return backend.host.concatenate(parts) if len(parts) > 1 else outputs


def predict_on_batch(model: Model, x: object) -> HostArray:
    """Return the outputs for all of `x` as one batch."""
    x, _, _ = checks.samples(x, None, None)
    return predict(model, x, batch_size=len(x), verbose=0)


def batches_to_merge(model: Model, batches: Batches) -> int:
    """Return how many batches can be computed as one without changing the outputs."""
    if isinstance(batches, Stream) or not all(map(by_sample, model.layers)):
        return 1
    shapes = [model.shape_of_input or (), *(layer.output_shape or () for layer in model.layers)]
    widest = max(prod([size or 1 for size in shape[1:]]) for shape in shapes)
    return max(1, min(MAX_MERGED_SAMPLES, MAX_MERGED_VALUES // widest) // batches.batch_size)


def prepare_data(
    model: Model, x: object, y: object = None, sample_weight: object = None, advise: bool = True
) -> Samples:
    """Return the caller's arrays, checked against each other, the model and its loss."""
    x = checks.array(x, "x")
    if checks.is_one_sample(x.shape, model.shape_of_input):
        model.adapt(x)  # raises an error about it, before any lengths are compared
    x, y, sample_weight = checks.samples(x, y, sample_weight)
    if y is None:
        raise ValueError(
            "Expected targets y in addition to the samples x, received none. Write: model.fit(x, y)"
        )
    x = model.adapt(x)
    outputs = model.compute_output_shape(x.shape)
    model.loss_object.check_shapes(y.shape, outputs)
    if advise:
        advise_on_labels(model, y, outputs[-1] or 0)
    return x, y, sample_weight


def check_compiled(model: Model) -> None:
    """Raise a ValueError if `compile` was not called."""
    if model.optimizer is None or model.loss is None:
        raise ValueError(
            f"You must call `compile()` before using the model. Model '{model.name}' has no "
            'optimizer and no loss yet. Write: model.compile(optimizer="adam", '
            'loss="categorical_crossentropy", metrics=["acc"])'
        )


def format_results(tracker: Tracker, return_dict: bool) -> float | list[float] | Logs:
    """Return results as in Keras: the loss alone, a list in `compile`'s order, or a dictionary."""
    if return_dict:
        return tracker.logs()
    results = tracker.results()
    return results if tracker.metrics else results[0]
