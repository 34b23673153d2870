"""Training: the step, the epoch, and `fit`.

A step is four lines, in `train_step`: forward, loss, backward, update. All the rest of this file
is about doing that for every batch of every epoch, and telling callbacks and the progress bar. Data
are checked by `engine.plan`; if something fails, `engine.rollback` puts everything back.
Source: https://keras.io/api/models/model_training_apis/
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tinynet import backend
from tinynet.backend import Array, HostArray, threads
from tinynet.callbacks import History
from tinynet.callbacks.base import CallbackList
from tinynet.compat import validation
from tinynet.engine import memory
from tinynet.engine.data import Batch, Batches, Passes, weigh_classes
from tinynet.engine.evaluation import on_batch, prepare, validate
from tinynet.engine.plan import check_can_train, plan
from tinynet.engine.rollback import check_finite, check_weights, computing
from tinynet.engine.tracker import Logs, Tracker
from tinynet.engine.training_state import Course
from tinynet.utils.interrupt import Interrupt
from tinynet.utils.progress import ProgressBar, epoch_header, resolve_verbose


def train_step(model: Any, batch: Batch) -> tuple[Array, Array]:
    """One batch: change every weight a little so that the loss becomes smaller.

    Returns: the batch's loss and outputs, from before the change.
    """
    output = model.forward(batch.x, training=True)
    loss = model.objective.forward(batch.y, output, batch.sample_weight)
    model.backward(model.objective.backward())
    model.optimizer.apply_gradients(model.parameters.pairs)
    return loss, output


def train_epoch(
    model: Any, course: Course, tracker: Tracker, listeners: Any, bar: Any, interrupt: Any
) -> Logs:
    """Train on the batches of the next epoch; return the loss and metrics over them all."""
    batches, accept = course.data, listeners.accept_nan
    where = f"in epoch {course.epoch + 1}"

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
                bar.update(step, seen(f"{where} by step {step}"))
            if listeners.watches_train_batches:
                listeners.call("on_train_batch_end", step - 1, tracker.logs())
            if interrupt.pending or model.stop_training:
                interrupt.check()
                break
    (total,) = tracker.read_anew(model.flat.sum(dtype="float64"))
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
        x, y: samples, (n, …), of any numeric type, and targets, (n, …), as the loss wants them.
        batch_size: samples in a step; 32 if not given. The last batch is what remains.
        epochs, initial_epoch: the number of the last epoch, from 1; how many are done already.
        verbose: 0 silent, 1 a progress bar, 2 a line for each epoch; ``"auto"`` is 1.
        callbacks: a list of `Callback` objects.
        validation_split: the share of the samples, from the end and before shuffling, that is
            not trained on but evaluated after each epoch.
        validation_data: (x, y) or (x, y, sample_weight) for that; it overrides the split.
        shuffle: whether each epoch takes the samples in a new random order.
        class_weight, sample_weight: how much a class counts in the loss, 1 if it is not mentioned;
            how much each sample does, (n,).
        steps_per_epoch, validation_steps: batches in an epoch, in a validation; all if not given.
        validation_batch_size, validation_freq: samples in such a batch; validate every so many
            epochs, or after those in a list.

    Returns: a `History`; its `history` maps ``"loss"``, ``"val_loss"``, … to one value per epoch.

    Raises: a ValueError for arguments that do not fit, or a loss that became NaN or infinite.
    Whatever is raised, weights, optimizer and random generator are then as before.
    """
    params, verbose = {"verbose": verbose, "epochs": epochs}, resolve_verbose(verbose)
    epochs = validation.count(epochs, "epochs", least=0)
    initial_epoch = validation.count(initial_epoch, "initial_epoch", least=0)
    shuffle = validation.flag(shuffle, "shuffle")
    asked = plan(
        model, x, y, sample_weight, batch_size, validation_split, validation_data, class_weight,
        steps_per_epoch, validation_steps, validation_batch_size, validation_freq,
    )  # fmt: skip
    batches, steps, held_out, history = asked.batches, asked.steps, asked.held_out, History()
    listeners = CallbackList(callbacks, model, {**params, "steps": steps}, history)
    with (
        memory.explained(model, "fit", batches.largest()),
        computing(model, trains=True),
        Interrupt() as interrupt,
    ):
        model.start_training((batches.largest(), *batches.x.source.shape[1:]))
        model.stop_training, model.history = False, history
        for part in filter(None, (batches, held_out)):
            part.load()
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
                logs = train_epoch(model, course, asked.tracker(model), listeners, bar, interrupt)
                if held_out is not None and asked.validates_after(epoch + 1):
                    with interrupt.at_once():
                        logs |= validate(model, held_out, asked.held_out_steps, listeners, epoch)
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


def train_on_batch(
    model: Any,
    x: HostArray,
    y: HostArray,
    sample_weight: HostArray | None = None,
    class_weight: Mapping[int, float] | None = None,
    return_dict: bool = False,
) -> float | list[float] | dict[str, float]:
    """One step on all of `x` as one batch; returns its loss and metrics, as `evaluate` does."""
    check_can_train(model)
    samples = weigh_classes(model, prepare(model, x, y, sample_weight), class_weight)
    with memory.explained(model, "train_on_batch", len(samples[0])), computing(model, trains=True):
        model.start_training(samples[0].shape)
        results = on_batch(model, samples, train_step, "in train_on_batch", return_dict)
        total = model.flat.sum(dtype="float64")
        check_weights(total, model, Batches(*samples), "in train_on_batch")
    return results
