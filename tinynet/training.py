"""Training: one step, one epoch, and `fit`.

A step is four lines in `train_step`: forward, loss, backward, update. The rest of this file does
that for every batch of every epoch, calls the callbacks and updates the progress bar. `engine.plan`
checks the data; `engine.rollback` keeps the work, or undoes it, if something fails.
Source: https://keras.io/api/models/model_training_apis/
"""

from collections.abc import Mapping, Sequence

from tinynet import backend
from tinynet.backend import threads, turns
from tinynet.backend.types import Array, Logs, Model
from tinynet.callbacks import History
from tinynet.callbacks.base import CallbackList, Callbacks
from tinynet.compat import checks
from tinynet.engine import memory
from tinynet.engine.data import Batch, Batches, EpochIterator, apply_class_weight
from tinynet.engine.evaluation import prepare_data, run_on_batch, validate
from tinynet.engine.finite import check_finite, check_finite_weights, watch
from tinynet.engine.plan import check_can_train, make_plan
from tinynet.engine.rollback import restore_on_error
from tinynet.engine.tracker import Tracker
from tinynet.engine.training_state import TrainingState
from tinynet.utils.interrupt import Interrupt
from tinynet.utils.progress import ProgressBar, epoch_header, resolve_verbose


def train_step(model: Model, batch: Batch) -> tuple[Array, Array]:
    """Train on one batch: change every weight a little, so that the loss becomes smaller.

    Returns: the batch's loss and outputs, computed before the change.
    """
    output = model.forward(batch.x, training=True)
    loss = model.objective.forward(batch.y, output, batch.sample_weight)
    model.backward(model.objective.backward())
    model.optimizer.apply_gradients(model.parameters.pairs)
    return loss, output


def train_epoch(
    model: Model, state: TrainingState, tracker: Tracker,
    callback_list: CallbackList, bar: ProgressBar, interrupt: Interrupt,
) -> Logs:  # fmt: skip
    """Train on the batches of the next epoch; return the loss and metrics over all of them."""
    batches, accept_nan = state.batches, callback_list.accept_nan
    where, is_not_finite = f"in epoch {state.epoch + 1}", watch()

    def checked_logs(when: str) -> Logs:
        return check_finite(tracker.logs(), model, batches, when, tracker, accept_nan)

    do_step = state.do_steps.of_epoch(train_step, tracker)  # on a GPU, most are replays
    with threads.for_layers(model.layers, batches.largest_batch(), trains=True) as threads_for:
        for step, batch in state.begin_epoch(tracker, interrupt):
            if callback_list.calls_train_batch_hooks:
                callback_list.call("on_train_batch_begin", step - 1, {})
            with turns.step(), threads_for(len(batch.x)):
                model.prepare_training(batch.x.shape)  # a callback may have changed the model
                loss = do_step(batch)
                state.end_step(step)
            if bar.due() or is_not_finite(loss):
                bar.update(step, checked_logs(f"{where} by step {step}"))
            if callback_list.calls_train_batch_hooks:
                callback_list.call("on_train_batch_end", step - 1, tracker.logs())
            if interrupt.pending or model.stop_training:
                interrupt.check()
                break
    (weight_sum,) = tracker.resync(model.flat.sum(dtype="float64"))
    logs = checked_logs(where)
    check_finite_weights(weight_sum, model, batches, where, accept_nan)
    return logs


def fit(
    model: Model, x: object, y: object = None, batch_size: int | None = None, epochs: int = 1,
    verbose: int | str = "auto", callbacks: Callbacks = None, validation_split: float = 0.0,
    validation_data: object = None, shuffle: bool = True,
    class_weight: Mapping[int, float] | None = None, sample_weight: object = None,
    initial_epoch: int = 0, steps_per_epoch: int | None = None, validation_steps: int | None = None,
    validation_batch_size: int | None = None, validation_freq: int | Sequence[int] = 1,
) -> History:  # fmt: skip
    """Train for a number of epochs, each of which passes over all samples in batches.

    Arguments:
        x, y: samples and targets, (n, …), targets in the form the loss expects; or x alone, which
            yields batches (x, y) or (x, y, sample_weight), as generators do, or a `PyDataset`.
        batch_size: samples per step; by default 32, or the samples divided by `steps_per_epoch`.
        epochs, initial_epoch: the number of the last epoch, counted from 1; epochs already done.
        verbose: 0 is silent, 1 a progress bar, 2 one line per epoch; ``"auto"`` is 1.
        callbacks: a list of `Callback` objects.
        validation_split: the fraction of the samples, from the end and before shuffling, that is
            not trained on but evaluated after each epoch.
        validation_data: (x, y), (x, y, sample_weight) or batches of them, instead of the split.
        shuffle: whether each epoch takes the samples in a new random order.
        class_weight, sample_weight: a dictionary from classes to weights in the loss, 1 for classes
            that are not mentioned; a weight for each sample, (n,).
        steps_per_epoch, validation_steps: batches per epoch and per validation; all if not given.
        validation_batch_size, validation_freq: samples per batch of a validation; the number of
            epochs from one validation to the next, or a list of epochs to validate after.

    Returns: a `History`; its `history` maps ``"loss"``, ``"val_loss"``, … to one value per epoch.

    Raises: a ValueError for invalid arguments, and nothing changes. An error after the first step,
    or Ctrl-C, keeps the history and the weights after the last whole step. A loss or weights that
    are not finite restore those of the last finite epoch, or the best, if `EarlyStopping` does.
    """
    params, verbose = {"verbose": verbose, "epochs": epochs}, resolve_verbose(verbose)
    epochs = checks.count(epochs, "epochs", minimum=0)
    initial_epoch = checks.count(initial_epoch, "initial_epoch", minimum=0)
    shuffle = checks.flag(shuffle, "shuffle")
    plan = make_plan(
        model, x, y, sample_weight, batch_size, validation_split, validation_data, class_weight,
        steps_per_epoch, validation_steps, validation_batch_size, validation_freq,
    )  # fmt: skip
    batches, steps, held_out, history = plan.batches, plan.steps, plan.held_out, History()
    callback_list = CallbackList(callbacks, model, {**params, "steps": steps}, history)
    with (
        memory.explain_out_of_memory(model, "fit", batches.largest_batch()),
        restore_on_error(model, trains=True) as rollback,
        Interrupt() as interrupt,
    ):
        model.prepare_training((batches.largest_batch(), *batches.x.source.shape[1:]))
        model.stop_training, model.history = False, history
        for part in filter(None, (batches, held_out)):
            part.copy_to_gpu()
        iterator = EpochIterator(batches, backend.generator() if shuffle else None)
        state = TrainingState(model, iterator, steps, callback_list, initial_epoch, rollback)
        logs: Logs = {}
        callback_list.call("set_training_state", state)
        try:
            callback_list.call("on_train_begin", {})
            for epoch in state.remaining_epochs(epochs, interrupt):
                epoch_header(epoch + 1, epochs, verbose)
                if not state.resumed:
                    callback_list.call("on_epoch_begin", epoch, {})
                tracker, bar = plan.tracker(model), ProgressBar(steps, verbose)
                logs = train_epoch(model, state, tracker, callback_list, bar, interrupt)
                if held_out is not None and plan.validates_after(epoch + 1):
                    with interrupt.interruptible():
                        logs |= validate(model, held_out, plan.held_out_steps, callback_list, epoch)
                logs = dict(sorted(logs.items()))
                state.end_epoch()
                callback_list.call("on_epoch_end", epoch, logs)
                bar.finish(logs, tracker.batches)
                interrupt.check()
                if model.stop_training:
                    break
            callback_list.call("on_train_end", logs)
            interrupt.check()
        except KeyboardInterrupt:
            raise state.interrupt_error(epochs, interrupt.step_completed) from None
        finally:
            callback_list.call("set_training_state", None)
    return history


@turns.turn()
def train_on_batch(
    model: Model, x: object, y: object = None, sample_weight: object = None,
    class_weight: Mapping[int, float] | None = None, return_dict: bool = False,
) -> float | list[float] | Logs:  # fmt: skip
    """Do one step on all of `x` as one batch; return its loss and metrics, as `evaluate` does."""
    check_can_train(model)
    samples = apply_class_weight(model, prepare_data(model, x, y, sample_weight), class_weight)
    with (
        memory.explain_out_of_memory(model, "train_on_batch", len(samples[0])),
        restore_on_error(model, trains=True),
    ):
        model.prepare_training(samples[0].shape)
        results = run_on_batch(model, samples, train_step, "in train_on_batch", return_dict)
        weight_sum = model.flat.sum(dtype="float64")
        check_finite_weights(weight_sum, model, Batches(*samples), "in train_on_batch")
    return results
