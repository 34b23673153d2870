"""The interface of a callback: methods that `fit`, `evaluate` and `predict` call at fixed moments.

A method that no callback overrides costs nothing: in particular, the results of a batch are only
copied to the host if a callback overrides a batch method.
"""

from collections.abc import Callable, Sequence
from typing import Any

from tinynet.backend import turns
from tinynet.backend.types import UNSET, Logs, Model, State
from tinynet.compat import naming
from tinynet.compat.contracts import CallsInit


class Callback(CallsInit):
    """The base of every callback; override what you need.

    `self.model` is the model, `self.params` a dictionary with ``verbose``, ``epochs`` and
    ``steps``. `logs` holds the loss and metrics so far, as floats.

    Source: https://keras.io/api/callbacks/base_callback/
    """

    # Whether `fit` ends instead of raising an error when the loss becomes NaN or infinite.
    accepts_nan = False

    # The names of the attributes that a backup stores: numbers, strings, arrays of numbers, and
    # lists and dictionaries of them (a tuple is restored as a list). When training resumes from a
    # backup, they are set after `on_train_begin`, and an unfinished epoch continues without another
    # `on_epoch_begin`.
    kept: tuple[str, ...] = ()

    # Whether its batch methods do nothing, so that they need not be called, which costs time.
    skips_batches = False

    # Whether it is called after all others, and so sees the changes that they made in an epoch.
    comes_last = False

    def __init__(self) -> None:
        self.model: Model = UNSET
        self.params: State = UNSET

    def set_model(self, model: Model) -> None:
        """Set `self.model`."""
        self.model = model

    def set_params(self, params: State) -> None:
        """Set `self.params`: ``verbose``, ``epochs`` and ``steps``."""
        self.params = params

    def set_training_state(self, training_state: object) -> None:
        """Receive the `TrainingState` of `fit`, to save and restore, or None after training."""

        self.set_course(training_state)

    def set_course(self, training_state: object) -> None:
        """The former name of `set_training_state`, which calls it."""

    def goes_on(self) -> bool:
        """Return whether training that stops now can resume from what this callback has saved."""
        return False

    def restore_best_epoch(self) -> int | None:
        """Restore the best weights, if this callback does that; return the number of their epoch.

        Called at the end of training, and when training ends with a loss that is not finite.
        """

    def get_state(self) -> State:
        """Return the state of this callback for a backup: the attributes named in `kept`."""
        missing = [name for name in self.kept if not hasattr(self, name)]
        if missing:
            raise ValueError(
                f"Expected {type(self).__name__} to have the attributes named in `kept`, received "
                f"no {', '.join(missing)}. Write: self.{missing[0]} = … in on_train_begin"
            )
        return {name: getattr(self, name) for name in self.kept}

    def set_state(self, state: State) -> None:
        """Restore a state returned by `get_state`."""
        for name in self.kept:
            setattr(self, name, state[name])

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Called by `fit` before the first epoch."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Called by `fit` after the last epoch; `logs` are those of that epoch."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Called before epoch number `epoch`, counted from 0."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Called after an epoch; `logs` has its loss and metrics, with ``val_…`` ones."""

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called by `on_train_batch_begin`."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called by `on_train_batch_end`."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before step number `batch` of an epoch, counted from 0."""
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after a step; `logs` has the loss and metrics of the epoch so far."""
        self.on_batch_end(batch, logs)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Called before an evaluation, also that of the validation data in `fit`."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Called after an evaluation; `logs` has its loss and metrics."""

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before a batch of an evaluation."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after a batch of an evaluation; `logs` has the loss and metrics so far."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Called by `predict` before the first batch."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Called by `predict` after the last batch."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before a batch of `predict`."""

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after a batch of `predict`; `logs` has its ``"outputs"``."""


Hook = Callable[..., object] | None


class LambdaCallback(Callback):
    """A callback made of plain functions, for tasks that are too small for a class.

    >>> from tinynet.callbacks import LambdaCallback
    >>> tell = LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs["loss"]))

    Arguments:
        on_epoch_begin, on_epoch_end, …: a function to call instead of that method of `Callback`.
        kwargs: likewise for its other methods, such as ``on_test_end=function``.

    Raises:
        ValueError: for an unknown name, or a value that is not a function.

    Source: https://keras.io/api/callbacks/lambda_callback/
    """

    def __init__(
        self,
        on_epoch_begin: Hook = None,
        on_epoch_end: Hook = None,
        on_train_begin: Hook = None,
        on_train_end: Hook = None,
        on_train_batch_begin: Hook = None,
        on_train_batch_end: Hook = None,
        **kwargs: Hook,
    ) -> None:
        super().__init__()
        functions = {name: value for name, value in locals().items() if name[:3] == "on_"} | kwargs
        hooks = [name for name in vars(Callback) if name.startswith("on_")]
        for name, function in functions.items():
            if name not in hooks or not (function is None or callable(function)):
                raise ValueError(
                    f"Expected functions for some of {', '.join(hooks)}, received: {name}="
                    f"{function!r}. Write: LambdaCallback(on_epoch_end=lambda epoch, logs: …)"
                )
            if function is not None:
                setattr(self, name, function)


Callbacks = Callback | Sequence[Callback] | None  # what `fit` takes


class CallbackList:
    """Several callbacks, called as one.

    Raises:
        ValueError: if one of them is not a `Callback`.
    """

    def __init__(
        self, callbacks: Callbacks, model: Model, params: State, history: Callback | None = None
    ) -> None:
        several: Any = () if callbacks is None else callbacks
        own = [] if history is None else [history]
        try:
            self.callbacks = [*several, *own]
        except TypeError:  # a single callback
            self.callbacks = [several, *own]
        self._history = history
        for callback in self.callbacks:
            if not isinstance(callback, Callback):
                raise ValueError(
                    "Expected callbacks to be instances of tinynet.callbacks.Callback, received: "
                    f"{naming.short(callback)} (of type {type(callback)}). "
                    "Write: callbacks=[MyCallback()]"
                )
            callback.set_model(model)
            callback.set_params(dict(params))
        self.callbacks.sort(key=lambda callback: callback.comes_last)
        self.accept_nan = any(callback.accepts_nan for callback in self.callbacks)
        self.calls_train_batch_hooks = self._overrides("train_batch", "batch")
        self.calls_test_batch_hooks = self._overrides("test_batch")
        self.calls_predict_batch_hooks = self._overrides("predict_batch")

    def _overrides(self, *stems: str) -> bool:
        names = [f"on_{stem}_{hook}" for stem in stems for hook in ("begin", "end")]
        return any(
            name in vars(callback) or getattr(type(callback), name) is not getattr(Callback, name)
            for callback in self.callbacks
            if not callback.skips_batches
            for name in names
        )

    def call(self, hook: str, *arguments: object) -> None:
        """Call the method `hook` of every callback, in order.

        If one of them fails at the end of an epoch, the history still records the epoch.
        """
        try:
            for callback in self.callbacks:
                getattr(callback, hook)(*arguments)
        except Exception:
            later = self.callbacks[self.callbacks.index(callback) + 1 :]
            if hook == "on_epoch_end" and self._history in later:
                getattr(self._history, hook)(*arguments)
            raise
        finally:
            turns.Changes.count += 1

    def restore_best_epoch(self) -> int | None:
        """Let the callbacks restore the best weights; return the number of their epoch, if any."""
        epochs = [callback.restore_best_epoch() for callback in self.callbacks]
        return next((epoch for epoch in epochs if epoch is not None), None)
