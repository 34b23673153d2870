"""What a call that raises leaves behind: the work that was done, or the model as it was.

What is refused before the first step changes nothing. An error after that, of a callback, say, or
a full disk, leaves the model as after the last whole step. Steps that led to a loss or weights that
are not finite are worth nothing: the end of the last finite epoch is restored.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from tinynet import backend
from tinynet.backend import random, turns
from tinynet.backend.types import Model, State
from tinynet.callbacks.base import CallbackList
from tinynet.compat import guards
from tinynet.compat.layer import release
from tinynet.compat.naming import is_builtin
from tinynet.compat.weights import every_layer
from tinynet.engine.parameters import Copy

T = TypeVar("T")


@contextmanager
def restore_on_error(model: Model, trains: bool = False) -> Iterator["Rollback"]:
    """Compute on the model's device in a ``with`` block; if it raises, restore the model.

    Weights that the block created are discarded; if it `trains`, the `Rollback` that the block
    receives decides what is restored. Ctrl-C is not an error: what was trained until then is kept.
    At the end, the model lets go of the last batch, and of large buffers.
    """
    with turns.turn():
        guards.refuse_methods(model)
        if trains:
            check_thread(model)
        if model.built:
            model.parameters.check_device()
        rollback = Rollback(model, trains)
        was_built, input_layer = model.built, model.input_layer
        training, objective = model.training_thread, model.objective
        unbuilt = [layer for layer in model.layers if not layer.built]
        if trains:
            model.training_thread, model.prepared = threading.get_ident(), []
        model.active_calls += 1
    try:
        # In place of NumPy's warnings, `check_finite` says where infinity or NaN came from.
        with backend.use_device(model.parameters.device), backend.ignore_warnings():
            with turns.turn():
                for layer in model.parameters.every_layer():
                    layer.drop_stale_buffers()
            yield rollback
    except Exception as error:
        with turns.turn():
            if not rollback.keeps_work(error) and not was_built:
                model.unbuild(unbuilt, input_layer)
        raise
    finally:
        with turns.turn():
            model.active_calls -= 1
            model.training_thread, model.objective = training, objective
            if trains:
                model.prepared = []  # which has the arrays of the last batch
            if not model.active_calls:
                release(model.layers)


def check_thread(model: Model) -> None:
    """Raise a ValueError if another thread trains the model."""
    if model.training_thread not in (None, threading.get_ident()):
        raise ValueError(
            f"Expected model '{model.name}' to be trained by one thread at a time, but another "
            "one trains it now. Train a copy.deepcopy(model), or wait for the other thread; "
            "predict, evaluate and save can be called meanwhile"
        )


class Snapshot:
    """A copy of everything that training a model changes.

    If not `whole`, it leaves out the vector of weights and the optimizer, which tinynet's own parts
    change only at the end of a step.
    """

    def __init__(self, model: Model, whole: bool = True) -> None:
        self.model, self.whole = model, whole
        self.values: Copy | None = None
        self.state: State | None = None
        self.layers = [layer for _, layer, _ in every_layer([model])]
        self.counted = [(x, name) for x in model.parameters.every_layer() for name in x.counters]
        if model.built:
            with backend.use_device(model.parameters.device):
                model.parameters.ensure_gathered(model.dtype)
        self.take()

    def take(self) -> None:
        """Copy everything again, if possible into the same arrays."""
        model = self.model
        self.history, self.optimizer = model.history, model.optimizer
        self.iterations = 0 if model.optimizer is None else model.optimizer.iterations
        with backend.use_device(model.parameters.device):
            self.values = model.parameters.copy(self.values, self.whole)
            self.state = self.optimizer.get_state(self.state) if self.whole else None
        self.generator = backend.generator()
        self.generator_state = self.generator.bit_generator.state
        self.uses_by_others = random.uses_by_others()
        self.counters = [getattr(layer, name) for layer, name in self.counted]
        self.trainable = [layer._trainable for layer in self.layers]
        parameters = model.parameters
        self.trained = parameters.flat, parameters.runs, parameters.pairs

    def was_updated(self) -> bool:
        """Return whether the weights were updated since."""
        return self.optimizer.iterations != self.iterations

    def restore(self) -> None:
        model = self.model
        model.history = self.history
        if random.uses_by_others() == self.uses_by_others:  # they must not draw the same again
            self.generator.bit_generator.state = self.generator_state
        for (layer, name), value in zip(self.counted, self.counters, strict=True):
            setattr(layer, name, value)
        for layer, trainable in zip(self.layers, self.trainable, strict=True):
            layer._trainable = trainable
        flat, runs, pairs = self.trained
        if model.parameters.flat is flat:
            model.parameters.runs, model.parameters.pairs = runs, pairs
        with backend.use_device(model.parameters.device):
            if self.values is not None:
                model.parameters.restore(self.values)
            if self.state is not None:
                self.optimizer.set_state(self.state)


class Rollback:
    """What to restore if a call raises: the start, the last finite epoch, a step cut short, or
    nothing.

    Attributes:
        epochs: the whole epochs of this call that were finite.
        resumed: whether the call continued from a backup.
        worked: whether a step was completed.
        callback_list: the callbacks, of which one may have kept the best weights.
    """

    def __init__(self, model: Model, trains: bool) -> None:
        self.model = model
        self.epochs, self.worked, self.resumed = 0, False, False
        self.callback_list: CallbackList | None = None
        self._start = self._last_good = Snapshot(model) if trains else None
        self._before_step: Snapshot | None = None

    def steps(self, batches: Iterator[T]) -> Iterator[T]:
        """Return `batches`; user-defined parts, which may fail halfway, are copied before each."""
        own_optimizer = not is_builtin(type(self.model.optimizer))
        if self.model.parameters.plain and not own_optimizer:
            return batches
        return self._copied_before(batches, own_optimizer)

    def _copied_before(self, batches: Iterator[T], whole: bool) -> Iterator[T]:
        snapshot = Snapshot(self.model, whole)
        for batch in batches:
            snapshot.take()
            self._before_step = snapshot
            yield batch

    def resume(self) -> None:
        """Note that the model is now that of a backup, to which NaN leads back."""
        self._last_good, self.resumed = Snapshot(self.model), True

    def end_step(self) -> None:
        self.worked, self._before_step = True, None

    def end_epoch(self) -> None:
        self.epochs += 1
        if self._last_good is not None:
            with turns.turn():
                self._last_good.take()

    def keeps_work(self, error: Exception) -> bool:
        """Restore what has to be restored after `error`; return whether any work is kept."""
        not_finite = vars(error).pop("to_restore", None) is self.model
        kept = bool(self.epochs) or self.resumed if not_finite else self.worked
        if self._start is not None and self._last_good is not None and (not_finite or not kept):
            (self._last_good if not_finite else self._start).restore()
        elif self._before_step is not None and not self._before_step.was_updated():
            self._before_step.restore()
        elif self._start is not None:
            self.model.parameters.put_back_views()
        if not_finite:
            error.args = (f"{error}. {self._what_is_left()}.",)
        return kept

    def _what_is_left(self) -> str:
        """Return a sentence about the model after it was restored, and restore the best weights."""
        best = self.callback_list.restore_best_epoch() if self.callback_list else None
        weights = f", with the weights of epoch {best + 1}, the best" if best is not None else ""
        if self.epochs and self.model.history is not None:
            epoch = self.model.history.epoch[-1] + 1
            return f"The model and its history are as after epoch {epoch}{weights}"
        was = "in the backup" if self.resumed else "it was before this call"
        return f"The model is as {was}{weights}"
