"""Looking without learning: `evaluate` and `predict`."""

from math import prod
from typing import Any

from tinynet import backend
from tinynet.backend import Array, HostArray, threads
from tinynet.callbacks.base import CallbackList
from tinynet.compat import validation
from tinynet.engine import memory
from tinynet.engine.data import Batch, Batches, Samples
from tinynet.engine.rollback import check_finite, computing
from tinynet.engine.tracker import Logs, Tracker, by_sample, metrics_for
from tinynet.utils.progress import ProgressBar, resolve_verbose

BATCH_SIZE = 32  # Keras's, where none is given

# Where nothing is learned in between, the layers may see several batches as one: that halves the
# time and more. Beyond this many samples, or numbers in an array, it changes little, and takes
# memory.
ROWS_AT_ONCE, NUMBERS_AT_ONCE = 512, 4_000_000


def test_step(model: Any, batch: Batch) -> tuple[Array, Array]:
    """One batch, only looked at: its loss and outputs."""
    output = model.forward(batch.x)
    return model.objective.forward(batch.y, output, batch.sample_weight), output


def test_epoch(
    model: Any,
    batches: Batches,
    steps: int,
    tracker: Tracker,
    listeners: CallbackList,
    bar: ProgressBar | None = None,
) -> None:
    """Look at the first `steps` of `batches`, and add what is seen to `tracker`."""
    together = 1
    if tracker.can_merge(model.objective.loss) and not listeners.watches_test_batches:
        together = at_once(model, batches.batch_size)
    listeners.call("on_test_begin", {})
    with threads.suited_to(threads.multiplications(model.layers, batches.largest(together))):
        for number, batch in enumerate(batches.run(0, steps, together=together), start=1):
            step = min(number * together, steps)
            if listeners.watches_test_batches:
                listeners.call("on_test_batch_begin", step - 1, {})
            tracker.update(batch, *test_step(model, batch))
            if bar is not None and bar.due():
                bar.update(step, tracker.logs())
            if listeners.watches_test_batches:
                listeners.call("on_test_batch_end", step - 1, tracker.logs())
    listeners.call("on_test_end", tracker.logs())


def validate(
    model: Any, held_out: Batches, steps: int, listeners: CallbackList, epoch: int
) -> Logs:
    """The loss and metrics over what is not trained on, as ``val_loss`` …; without a bar."""
    assert held_out.y is not None
    tracker = Tracker(metrics_for(model, held_out.y.source.shape), model.dtype, steps)
    test_epoch(model, held_out, steps, tracker, listeners)
    logs = tracker.logs("val_")
    if not listeners.accept_nan:
        check_finite(logs, model, held_out, f"in the validation of epoch {epoch + 1}")
    return logs


def evaluate(
    model: Any,
    x: HostArray,
    y: HostArray,
    batch_size: int | None = None,
    verbose: int | str = "auto",
    sample_weight: HostArray | None = None,
    steps: int | None = None,
    callbacks: Any = None,
    return_dict: bool = False,
) -> float | list[float] | dict[str, float]:
    """The loss and the metrics over all samples, with the weights as they are.

    Returns:
        The loss; with metrics, ``[loss, *metrics]``; with `return_dict`, a dictionary.

    Raises:
        ValueError: for arguments that do not fit, or a loss that is NaN or infinite.

    Source: https://keras.io/api/models/model_training_apis/#evaluate-method
    """
    verbose = resolve_verbose(verbose)
    batch_size = validation.count(batch_size, "batch_size", BATCH_SIZE)
    check_compiled(model)
    samples = prepare(model, x, y, sample_weight)
    batches = Batches(*samples, batch_size, model.dtype)
    steps = batches.steps_within(validation.count(steps, "steps", len(batches)))
    listeners = CallbackList(callbacks, model, {"verbose": verbose, "epochs": 1, "steps": steps})

    with memory.explained(model, "evaluate", batches.largest(), ROWS_AT_ONCE), computing(model):
        model.start_evaluation((batches.largest(), *samples[0].shape[1:]))
        tracker = Tracker(metrics_for(model, samples[1].shape), model.dtype, steps)
        bar = ProgressBar(steps, verbose)
        test_epoch(model, batches, steps, tracker, listeners, bar)
        check_finite(tracker.logs(), model, batches, "in evaluate")
        bar.finish(tracker.logs())
    return reported(tracker, return_dict)


def test_on_batch(
    model: Any,
    x: HostArray,
    y: HostArray,
    sample_weight: HostArray | None = None,
    return_dict: bool = False,
) -> float | list[float] | dict[str, float]:
    """The loss and metrics of all of `x` as one batch, without a step."""
    check_compiled(model)
    samples = prepare(model, x, y, sample_weight)
    with memory.explained(model, "test_on_batch", len(samples[0])), computing(model):
        model.start_evaluation(samples[0].shape)
        return on_batch(model, samples, test_step, "in test_on_batch", return_dict)


def on_batch(
    model: Any, samples: Samples, step: Any, where: str, return_dict: bool
) -> float | list[float] | Logs:
    """All `samples` as one batch through `step`, and what it reports."""
    batches = Batches(*samples, batch_size=len(samples[0]), dtype=model.dtype)
    tracker = Tracker(metrics_for(model, samples[1].shape), model.dtype, steps=1)
    (batch,) = batches.run(0, 1)
    with threads.suited_to(threads.multiplications(model.layers, batches.largest())):
        tracker.update(batch, *step(model, batch))
    check_finite(tracker.logs(), model, batches, where)
    return reported(tracker, return_dict)


def predict(
    model: Any,
    x: HostArray,
    batch_size: int | None = None,
    verbose: int | str = "auto",
    steps: int | None = None,
    callbacks: Any = None,
) -> HostArray:
    """The outputs for all samples `x`, (n, …): a NumPy array, (n, units).

    Source: https://keras.io/api/models/model_training_apis/#predict-method
    """
    verbose = resolve_verbose(verbose)
    batch_size = validation.count(batch_size, "batch_size", BATCH_SIZE)
    x, _, _ = validation.triple(x, None, None)
    x = model.adapt(x)
    batches = Batches(x, None, None, batch_size, model.dtype)
    steps = batches.steps_within(validation.count(steps, "steps", len(batches)))
    listeners = CallbackList(callbacks, model, {"verbose": verbose, "epochs": 1, "steps": steps})

    with memory.explained(model, "predict", batches.largest(), ROWS_AT_ONCE), computing(model):
        model.ensure_built((batches.largest(), *x.shape[1:]))
        shape = model.compute_output_shape(x.shape)
        outputs = backend.host.empty((min(steps * batch_size, len(x)), *shape[1:]), model.dtype)
        bar = ProgressBar(steps, verbose)
        listeners.call("on_predict_begin", {})
        together = 1 if listeners.watches_predict_batches else at_once(model, batch_size)
        with threads.suited_to(threads.multiplications(model.layers, batches.largest(together))):
            for number, batch in enumerate(batches.run(0, steps, together=together)):
                step = min((number + 1) * together, steps)
                if listeners.watches_predict_batches:
                    listeners.call("on_predict_batch_begin", step - 1, {})
                rows = outputs[number * together * batch_size :][: len(batch.x)]
                rows[...] = backend.to_numpy(model.forward(batch.x))
                if bar.due():
                    bar.update(step, {})
                if listeners.watches_predict_batches:
                    listeners.call("on_predict_batch_end", step - 1, {"outputs": rows.copy()})
        listeners.call("on_predict_end", {})
        bar.finish({})
    return outputs


def at_once(model: Any, batch_size: int) -> int:
    """How many batches may go through the layers as one without changing their outputs."""
    if not all(map(by_sample, model.layers)):
        return 1
    shapes = (model.input_shape, *(layer.output_shape for layer in model.layers))
    widest = max(prod(size or 1 for size in shape[1:]) for shape in shapes)
    return max(1, min(ROWS_AT_ONCE, NUMBERS_AT_ONCE // widest) // batch_size)


def prepare(model: Any, x: Any, y: Any, sample_weight: Any = None) -> Samples:
    """The caller's arrays, checked against each other, the model and its loss."""
    x = validation.array(x, "x")
    if validation.is_one_sample(x.shape, model.input_shape):
        model.adapt(x)  # says so, before its length is compared with anything
    x, y, sample_weight = validation.triple(x, y, sample_weight)
    if y is None:
        raise ValueError(
            "Expected targets y beside the samples x, received none. Write: model.fit(x, y)"
        )
    x = model.adapt(x)
    model._loss.check_shapes(y.shape, model.compute_output_shape(x.shape))
    return x, y, sample_weight


def check_compiled(model: Any) -> None:
    """Raise a ValueError if `compile` was not called."""
    if model.optimizer is None:
        raise ValueError(
            f"You must call `compile()` before using the model. Model '{model.name}' has no "
            'optimizer and no loss yet. Write: model.compile(optimizer="adam", '
            'loss="categorical_crossentropy", metrics=["acc"])'
        )


def reported(tracker: Tracker, return_dict: bool) -> float | list[float] | Logs:
    """What Keras returns: the loss alone, a list in `compile`'s order, or a dictionary."""
    if return_dict:
        return tracker.logs()
    results = tracker.results()
    return results if tracker.metrics else results[0]
