"""The contract of a callback: methods that `fit`, `evaluate` and `predict` call at fixed moments.

A method that nobody overrides costs nothing: in particular, the numbers of a batch are only read
back where somebody wants to see them.
"""

from collections.abc import Callable, Mapping
from typing import Any

from tinynet.compat import naming

Logs = dict[str, Any]


class Callback:
    """The base of every callback; override what you need.

    `self.model` is the model, `self.params` a dictionary with ``verbose``, ``epochs`` and
    ``steps``. `logs` holds the loss and metrics so far, as floats.

    Source: https://keras.io/api/callbacks/base_callback/
    """

    # Whether `fit` shall end, and not raise, when the loss becomes NaN or infinite.
    accepts_nan = False

    # The names of the attributes that a backup keeps: numbers, words, arrays of numbers, and lists
    # and dictionaries of them (a tuple comes back as a list). Where a training goes on from a
    # backup, they are set after `on_train_begin`, and an epoch that was under way goes on without
    # another `on_epoch_begin`.
    kept: tuple[str, ...] = ()

    # Whether it is called after all others, and so sees what they have made of an epoch.
    comes_last = False

    def __init__(self) -> None:
        self.model: Any = None
        self.params: dict[str, Any] = {}

    def set_model(self, model: Any) -> None:
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params

    def set_course(self, course: Any) -> None:
        """What `fit` gives to keep a training's whole state, and to go back to it: a `Course`.

        None, when the training has ended.
        """

    def goes_on(self) -> bool:
        """Whether a training that stops now could go on from what this callback has kept."""
        return False

    def get_state(self) -> dict[str, Any]:
        """What a backup keeps of this callback."""
        missing = [name for name in self.kept if not hasattr(self, name)]
        if missing:
            raise ValueError(
                f"Expected {type(self).__name__} to have what it names in `kept`, received none of "
                f"{', '.join(missing)}. Write: self.{missing[0]} = … in on_train_begin"
            )
        return {name: getattr(self, name) for name in self.kept}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from what `get_state` gave."""
        for name in self.kept:
            setattr(self, name, state[name])

    def on_train_begin(self, logs: Logs | None = None) -> None: ...
    def on_train_end(self, logs: Logs | None = None) -> None: ...
    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None: ...
    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None: ...
    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self.on_batch_end(batch, logs)

    def on_test_begin(self, logs: Logs | None = None) -> None: ...
    def on_test_end(self, logs: Logs | None = None) -> None: ...
    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_predict_begin(self, logs: Logs | None = None) -> None: ...
    def on_predict_end(self, logs: Logs | None = None) -> None: ...
    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...


class LambdaCallback(Callback):
    """A callback made of plain functions, for what is too small for a class.

    >>> from tinynet.callbacks import LambdaCallback
    >>> tell = LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs["loss"]))

    Arguments:
        functions: by the name of the moment, such as ``on_epoch_end=function``.

    Raises:
        ValueError: for a name that no moment has, or what is no function.

    Source: https://keras.io/api/callbacks/lambda_callback/
    """

    def __init__(self, **functions: Callable[..., Any] | None) -> None:
        super().__init__()
        moments = [name for name in vars(Callback) if name.startswith("on_")]
        for name, function in functions.items():
            if name not in moments or not (function is None or callable(function)):
                raise ValueError(
                    f"Expected functions for some of {', '.join(moments)}, received: {name}="
                    f"{function!r}. Write: LambdaCallback(on_epoch_end=lambda epoch, logs: …)"
                )
            if function is not None:
                setattr(self, name, function)


class CallbackList:
    """Several callbacks called as one.

    Raises:
        ValueError: for something that is no `Callback`.
    """

    def __init__(
        self, callbacks: Any, model: Any, params: Mapping[str, Any], *own: Callback
    ) -> None:
        if callbacks is None:
            callbacks = []
        try:
            self.callbacks = [*callbacks, *own]
        except TypeError:  # a single one
            self.callbacks = [callbacks, *own]
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
        self.watches_train_batches = self._anyone("train_batch", "batch")
        self.watches_test_batches = self._anyone("test_batch")
        self.watches_predict_batches = self._anyone("predict_batch")

    def _anyone(self, *stems: str) -> bool:
        names = [f"on_{stem}_{moment}" for stem in stems for moment in ("begin", "end")]
        return any(
            name in vars(callback) or getattr(type(callback), name) is not getattr(Callback, name)
            for callback in self.callbacks
            for name in names
        )

    def call(self, moment: str, *arguments: Any) -> None:
        """Call the method `moment` of every callback, in order."""
        for callback in self.callbacks:
            getattr(callback, moment)(*arguments)
