"""Training: the step, the epoch, and `fit`.

A step is four lines, in `train_step`: forward, loss, backward, update. All the rest of this file
is about doing that for every batch of every epoch: checking what came, telling callbacks and
progress bar, and putting everything back if something fails.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tinynet import backend
from tinynet.backend import Array, HostArray, threads
from tinynet.callbacks import History
from tinynet.callbacks.base import CallbackList
from tinynet.compat import validation
from tinynet.engine import memory
from tinynet.engine.advice import advise
from tinynet.engine.data import Batch, Batches, Passes, split_tail, weigh_classes
from tinynet.engine.evaluation import BATCH_SIZE, on_batch, prepare, test_epoch
from tinynet.engine.rollback import check_finite, check_weights, sum_of_weights, unchanged_on_error
from tinynet.engine.tracker import Logs, Tracker
from tinynet.engine.training_state import Course
from tinynet.utils.interrupt import Interrupt
from tinynet.utils.progress import ProgressBar, epoch_header, resolve_verbose


def train_step(model: Any, batch: Batch) -> tuple[Array, Array]:
    """One batch: change every weight a little so that the loss becomes smaller.

    Returns:
        The batch's loss and outputs, from before the change.
    """
    output = model.forward(batch.x, training=True)
    loss = model.objective.forward(batch.y, output, batch.sample_weight)
    model.backward(model.objective.backward())
    model.optimizer.apply_gradients(model.gradients_and_weights)
    return loss, output


def train_epoch(
    model: Any,
    course: Course,
    tracker: Tracker,
    listeners: CallbackList,
    bar: ProgressBar,
    interrupt: Interrupt,
) -> Logs:
    """Train on the batches of the next epoch; return the loss and metrics over them all."""
    where, accept = f"in epoch {course.epoch + 1}", listeners.accept_nan
    batches = course.data

    def seen(when: str) -> Logs:
        return check_finite(tracker.logs(), model, batches, when, tracker, accept)

    with threads.suited_to(threads.multiplications(model.layers, batches.largest())):
        for step, batch in course.begin_epoch(tracker):
            if listeners.watches_train_batches:
                listeners.call("on_train_batch_begin", step - 1, {})
            loss, output = train_step(model, batch)
            tracker.update(batch, loss, output)
            course.step = step
            if bar.due():
                now = f"{where} by step {step}"
                bar.update(step, seen(now))
            if listeners.watches_train_batches:
                listeners.call("on_train_batch_end", step - 1, tracker.logs())
            if interrupt.pending or model.stop_training:
                interrupt.check()
                break
    (total,) = tracker.read_anew(sum_of_weights(model))
    logs = seen(where)
    if not accept:
        check_weights(total, model, batches, where)
    return logs


def fit(
    model: Any,
    x: HostArray,
    y: HostArray,
    batch_size: int | None = None,
    epochs: int = 1,
    verbose: int | str = "auto",
    callbacks: Any = None,
    validation_split: float = 0.0,
    validation_data: Any = None,
    shuffle: bool = True,
    class_weight: Mapping[int, float] | None = None,
    sample_weight: HostArray | None = None,
    initial_epoch: int = 0,
    steps_per_epoch: int | None = None,
    validation_steps: int | None = None,
    validation_batch_size: int | None = None,
    validation_freq: int | Sequence[int] = 1,
) -> History:
    """Train for some epochs, each a pass over all samples in batches.

    Arguments:
        x: samples, (n, …), a NumPy array of any numeric type.
        y: targets, (n, …): one-hot rows, class numbers …, as the loss wants them.
        batch_size: samples in a step; 32 if not given. The last batch is what remains.
        epochs: the number of the last epoch, counted from 1.
        verbose: 0 silent, 1 a progress bar, 2 a line for each epoch; ``"auto"`` is 1.
        callbacks: a list of `Callback` objects.
        validation_split: the share of the samples, from the end and before shuffling, that is
            not trained on but evaluated after each epoch.
        validation_data: (x, y) or (x, y, sample_weight) for that; it goes before the split.
        shuffle: whether each epoch takes the samples in a new random order.
        class_weight: how much a sample of a class counts; 1 for classes not mentioned.
        sample_weight: how much each sample counts in the loss, (n,).
        initial_epoch: the number of epochs already done.
        steps_per_epoch: batches in an epoch; all of a pass if not given.
        validation_steps, validation_batch_size: the same for validation.
        validation_freq: validate every so many epochs, or after those in a list.

    Returns:
        A `History`; its `history` maps ``"loss"``, ``"val_loss"``, … to a value an epoch.

    Raises:
        ValueError: for arguments that do not fit, or a loss that became NaN or infinite.
            Whatever raises, weights, optimizer and random generator are then as before.

    Source: https://keras.io/api/models/model_training_apis/#fit-method
    """
    # Everything is checked before anything is built or changed.
    params = {"verbose": verbose, "epochs": epochs}
    verbose = resolve_verbose(verbose)
    epochs = validation.count(epochs, "epochs", least=0)
    initial_epoch = validation.count(initial_epoch, "initial_epoch", least=0)
    batch_size = validation.count(batch_size, "batch_size", BATCH_SIZE)
    shuffle = validation.flag(shuffle, "shuffle")
    validates_after = validation.schedule(validation_freq)
    model.check_can_train()
    samples = prepare(model, x, y, sample_weight)
    held_out_samples = split_off = None
    if validation_data is not None:
        held_out_samples = prepare(model, *validation.validation_data(validation_data))
    elif validation.share(validation_split, "validation_split"):
        samples, held_out_samples = split_tail(samples, validation_split)
        split_off = held_out_samples
    samples = weigh_classes(
        model, samples, class_weight
    )  # after the split: validation is not weighted
    batches = Batches(*samples, batch_size, model.dtype)
    steps = validation.count(steps_per_epoch, "steps_per_epoch", len(batches))
    if held_out_samples is not None:
        size = validation.count(validation_batch_size, "validation_batch_size", batch_size)
        held_out = Batches(*held_out_samples, size, model.dtype)
        checks = validation.count(validation_steps, "validation_steps", len(held_out))
        checks = held_out.steps_within(checks)
    history = History()
    listeners = CallbackList(callbacks, model, {**params, "steps": steps}, history)

    advise(model, samples, split_off, batch_size)

    with (
        memory.explained(model, "fit", batches.largest()),
        unchanged_on_error(model),
        Interrupt() as interrupt,
    ):
        model.start_training((batches.largest(), *samples[0].shape[1:]))
        model.stop_training, model.history = False, history
        batches.load()
        if held_out_samples is not None:
            held_out.load()
        passes = Passes(batches, backend.generator() if shuffle else None)
        course = Course(model, passes, steps, listeners, initial_epoch)
        logs: Logs = {}
        listeners.call("set_course", course)
        try:
            listeners.call("on_train_begin", {})
            for epoch in course.epochs_until(epochs):
                epoch_header(epoch + 1, epochs, verbose)
                if not course.halfway:
                    listeners.call("on_epoch_begin", epoch, {})
                bar = ProgressBar(steps, verbose)
                tracker = Tracker(
                    model.metrics_for(samples[1].shape), model.dtype, min(steps, len(batches))
                )
                logs = train_epoch(model, course, tracker, listeners, bar, interrupt)
                if held_out_samples is not None and validates_after(epoch + 1):
                    with interrupt.at_once():
                        logs |= validate(model, held_out, checks, listeners, epoch)
                bar.finish(logs)
                logs = dict(sorted(logs.items()))
                course.end_epoch()
                listeners.call("on_epoch_end", epoch, logs)
                interrupt.check()
                if model.stop_training:
                    break
            listeners.call("on_train_end", logs)
            interrupt.check()
        except KeyboardInterrupt:
            raise course.interrupted(epochs, interrupt.whole) from None
        finally:
            listeners.call("set_course", None)
    return history


def validate(
    model: Any, held_out: Batches, steps: int, listeners: CallbackList, epoch: int
) -> Logs:
    """The loss and metrics over what is not trained on, as ``val_loss`` …; without a bar."""
    assert held_out.y is not None
    tracker = Tracker(model.metrics_for(held_out.y.source.shape), model.dtype, steps)
    test_epoch(model, held_out, steps, tracker, listeners)
    logs = tracker.logs("val_")
    if not listeners.accept_nan:
        check_finite(logs, model, held_out, f"in the validation of epoch {epoch + 1}")
    return logs


def train_on_batch(
    model: Any,
    x: HostArray,
    y: HostArray,
    sample_weight: HostArray | None = None,
    class_weight: Mapping[int, float] | None = None,
    return_dict: bool = False,
) -> float | list[float] | dict[str, float]:
    """One step on all of `x` as one batch; returns its loss and metrics, as `evaluate` does.

    Raises:
        ValueError: as `fit`; then nothing has changed.
    """
    model.check_can_train()
    samples = weigh_classes(model, prepare(model, x, y, sample_weight), class_weight)
    with memory.explained(model, "train_on_batch", len(samples[0])), unchanged_on_error(model):
        model.start_training(samples[0].shape)
        results = on_batch(model, samples, train_step, "in train_on_batch", return_dict)
        total = float(sum_of_weights(model))
        check_weights(total, model, Batches(*samples), "in train_on_batch")
    return results
