"""The state of a training run: everything that its next step depends on, except the data.

That is more than weights and optimizer: it includes the order of the samples, the random state
behind dropout masks, the running sums of an unfinished epoch, and what callbacks store, such as the
history. Training restored in another process continues as if it had never stopped.
"""

import ast
import re
from collections.abc import Iterator
from functools import cached_property

from tinynet import backend, losses, metrics, optimizers
from tinynet.backend.types import Config, Model, State
from tinynet.callbacks.base import CallbackList
from tinynet.compat import naming
from tinynet.compat.weights import every_layer
from tinynet.engine.data import Batch, Batches, EpochIterator
from tinynet.engine.rollback import Rollback
from tinynet.engine.steps import Steps
from tinynet.engine.streams import Stream
from tinynet.engine.tracker import Tracker
from tinynet.saving import save
from tinynet.utils.interrupt import Interrupt


class TrainingState:
    """The progress of a training run, which `fit` passes to the callbacks before it begins.

    Attributes:
        epoch: the number of completed epochs.
        step: the number of completed steps of the next epoch.
        resumed: whether the next epoch was restored from a backup made in the middle of it.
    """

    def __init__(
        self,
        model: Model,
        iterator: EpochIterator,
        steps: int | None,
        callback_list: CallbackList,
        epoch: int,
        rollback: Rollback,
    ) -> None:
        self.epoch, self.step = epoch, 0
        self.steps = steps
        self.resumed = False
        self._model, self._iterator, self._callback_list = model, iterator, callback_list
        self.do_steps = Steps(model, iterator.batches, callback_list)
        self._rollback, rollback.callback_list = rollback, callback_list
        self._tracker: Tracker | None = None
        self._sums: State | None = None  # of an epoch restored halfway
        self._stopped = False  # whether a callback had ended training there
        self._initial_iterations = model.optimizer.iterations
        self._initial_rate = model.optimizer.learning_rate

    @property
    def batches(self) -> Batches:
        """The batches to train on."""
        return self._iterator.batches

    @cached_property
    def settings(self) -> dict[str, str]:
        """The settings in which a saved state has to match this training run, as text.

        A callback that saves states reads them before the first step: they may change later.
        """
        model = self._model
        optimizer = model.optimizer.get_config()
        ignored = ("name", "learning_rate")  # the rate may change, and is compared below
        layers: dict[str, list[str | Config]] = {}
        for n, layer in enumerate(model.layers, start=1):
            layers[f"layer {n}"] = [type(layer).__name__, without_names(layer.get_config())]
        identity = {
            "data": self.batches.fingerprint(),
            "batch_size": self.batches.batch_size if self.batches.is_whole else "",
            "steps": self.steps,
            "shuffle": self._iterator.shuffled,
            "callbacks": [type(callback).__name__ for callback in self._callback_list.callbacks],
            "optimizer": type(model.optimizer).__name__,
            **{f"optimizer's {k}": v for k, v in optimizer.items() if k not in ignored},
            "loss": save.loss_or_metric_config(losses, model.loss),
            "metrics": [
                save.loss_or_metric_config(metrics, metric) for metric in model.compile_metrics
            ],
            "dtype": model.dtype,
            "trainable": model.trainable,
            **layers,
        }
        return {name: str(value) for name, value in identity.items()}

    def begin_epoch(self, tracker: Tracker, interrupt: Interrupt) -> Iterator[tuple[int, Batch]]:
        """Return the batches of the next epoch, or the rest of it, each with its step number."""
        self._tracker = tracker
        if not self.resumed:
            batches = self._iterator.next_epoch(self.steps)
        else:
            assert self._sums is not None
            tracker.set_state(self._sums)
            batches = iter(()) if self._stopped else self._iterator.remaining(self.step)
            self.resumed, self._sums = False, None
        if isinstance(self.batches, Stream):
            batches = interrupt.awaiting(batches)
        return self._rollback.steps(enumerate(batches, start=self.step + 1))

    def end_step(self, step: int) -> None:
        self.step = step
        self._rollback.end_step()

    def end_epoch(self) -> None:
        self.epoch, self.step, self._tracker = self.epoch + 1, 0, None
        self._rollback.end_epoch()

    def remaining_epochs(self, last: int, interrupt: Interrupt) -> Iterator[int]:
        """Yield the epochs left, from 0; if training had ended, only an unfinished one, if any.

        They end, with a warning, when there are no more data.
        """
        last = min(last, self.epoch + self.resumed) if self._stopped else last
        for epoch in range(self.epoch, last):
            with interrupt.interruptible():  # the data may let us wait
                goes_on = self.resumed or self._iterator.has_data()
            if not goes_on:
                self.batches.warn_of_end(epoch, last, "epochs")
                break
            yield epoch

    def get_state(self) -> State:
        """Return a copy of the whole state, from which `set_state` continues, in any process."""
        model = self._model
        optimizer = model.optimizer.get_state()
        return {
            "format": 2,
            "what": self.settings,
            "rate": [self._initial_iterations, self._initial_rate],
            "epoch": self.epoch,
            "step": self.step,
            "ended": bool(model.stop_training),
            "weights": model.get_weights(),
            "iterations": optimizer["iterations"],
            "learning_rate": optimizer["learning_rate"],
            "slots": [[backend.to_numpy(a) for a in slots] for slots in optimizer["state"]],
            "kept": optimizer["kept"],
            "generator": backend.generator().bit_generator.state,
            "counters": [
                [getattr(x, name) for name in x.counters] for x in model.parameters.every_layer()
            ],
            "trainable": [layer._trainable for _, layer, _ in every_layer(model.layers)],
            "passes": self._iterator.get_state(),
            "sums": self._tracker.get_state() if self._tracker and self.step else None,
            "callbacks": [callback.get_state() for callback in self._callback_list.callbacks],
        }

    def set_state(self, state: State) -> None:
        """Continue from a state returned by `get_state`.

        Raises:
            ValueError: if the state is invalid, or of another training run, with the differences.
        """
        then, (begun_at, rate) = state["what"], state["rate"]
        differs = [
            text
            for name in {**then, **self.settings}
            for text in difference(name, then.get(name), self.settings.get(name))
        ]
        # An optimizer that has trained since, in the same process, may be at another rate.
        if self._initial_iterations == begun_at and self._initial_rate != rate:
            differs.append(f"the learning rate was {rate} and is {self._initial_rate}")
        if differs:
            raise ValueError(f"it is of another run: {'; '.join(differs)}")
        model = self._model
        layers = [layer for _, layer, _ in every_layer(model.layers)]
        # A callback may have frozen layers; 0.1 did not save that.
        for layer, trainable in zip(layers, state.get("trainable", ()), strict=False):
            layer._trainable = bool(trainable)
        model.prepare_training(model.shape_of_input or ())
        self._check(state)
        if "format" not in state and isinstance(model.optimizer, optimizers.Adam):
            # 0.1 stored the sums of β₁ᵏ g and of β₂ᵏ g², not the means.
            shares = [1 - model.optimizer.beta_1, *[1 - model.optimizer.beta_2] * 2]
            for slots in state["slots"]:
                for slot, share in zip(slots, shares, strict=False):
                    slot *= share
        model.set_weights(state["weights"])
        if state["learning_rate"] is not None:  # otherwise it is computed
            model.optimizer.learning_rate = state["learning_rate"]
        known = {name: state[name] for name in ("iterations", "kept")}
        now = model.optimizer.get_state()
        model.optimizer.set_state({**now, **known, "state": state["slots"]})
        for layer, values in zip(model.parameters.every_layer(), state["counters"], strict=True):
            for name, value in zip(layer.counters, values, strict=True):
                setattr(layer, name, value)
        self._iterator.set_state(state["passes"])
        backend.generator().bit_generator.state = state["generator"]
        for callback, kept in zip(self._callback_list.callbacks, state["callbacks"], strict=True):
            callback.set_state(kept)
        self.epoch, self.step = state["epoch"], state["step"]
        self._stopped = model.stop_training = state["ended"]
        self._sums = state["sums"]
        self.resumed = self.step > 0
        self._rollback.resume()

    def _check(self, state: State) -> None:
        """Raise a ValueError for a state that no training can produce."""
        model = self._model
        optimizer = model.optimizer.get_state()["state"]
        numbers = [state["epoch"], state["step"], state["iterations"]]
        arrays = [*state["weights"], *(array for slots in state["slots"] for array in slots)]
        expected = [*model.weights, *(array for slots in optimizer for array in slots)]
        shapes = [[array.shape for array in group] for group in (arrays, expected)]
        types = [[str(array.dtype) for array in group] for group in (arrays, expected)]
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise ValueError(f"its epoch, step and iteration are {naming.short(numbers)}")
        beyond = self.steps is not None and state["step"] > self.steps
        if beyond or (state["step"] > 0) != (state["sums"] is not None):
            raise ValueError(f"it is at step {state['step']} of {self.steps}")
        if type(state["ended"]) is not bool:
            raise ValueError(f"its 'ended' is not a bool: {naming.short(state['ended'])}")
        if shapes[0] != shapes[1] or types[0] != types[1]:
            raise ValueError("its arrays have different shapes or types")
        if not all(backend.host.isfinite(array).all() for array in arrays):
            raise ValueError("its arrays hold NaN or infinity")

    def interrupt_error(self, epochs: int, step_completed: bool) -> KeyboardInterrupt:
        """Return the error for Ctrl-C: where training was stopped, and how to resume it."""
        done = len(self._model.history.epoch) if self._model.history else 0
        kept = f"model.history has {done} complete epoch{'s' * (done != 1)}"
        if self.epoch >= epochs:
            return KeyboardInterrupt(f"Stopped after training was complete. {kept}.")
        where = f"epoch {self.epoch + 1} of {epochs}, after step {self.step}"
        where += f" of {self.steps}" if self.steps else ""
        if not step_completed:
            where += " and possibly in the middle of the next step"
        go_on = f"write: model.fit(…, epochs={epochs}, initial_epoch={self.epoch})"
        if any(callback.goes_on() for callback in self._callback_list.callbacks):
            go_on = "run the same program again: it continues from the backup"
        return KeyboardInterrupt(
            f"Stopped in {where}. The weights are as they were then; {kept}. To resume, {go_on}"
        )


def without_names(config: Config) -> Config:
    """Return a configuration without names, also those of the layers inside."""

    def without(value: object) -> object:
        if isinstance(value, list):
            return [without(part) for part in value]
        return without_names(value) if isinstance(value, dict) else value

    return {  # a dtype has its name for a value
        key: value if key == "dtype" else without(value)
        for key, value in config.items()
        if key != "name"
    }


def difference(name: str, then: str | None, now: str | None) -> list[str]:
    """Return a text "X was A and is B" if two settings differ, else none."""
    one, other = parse_setting(then), parse_setting(now)
    if one == other:
        return []
    if isinstance(one, Words) or isinstance(other, Words):
        one, other = then, now
    before, after = naming.apart(*map(str, only_what_differs(one, other)))
    return [f"{name} was {before!r} and is {after!r}"]


def only_what_differs(one: object, other: object) -> tuple[object, ...]:
    """Return two settings without the entries of dictionaries and lists that are equal."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = [key for key in {**one, **other} if one.get(key) != other.get(key)]
        pairs = [only_what_differs(one.get(key), other.get(key)) for key in keys]
        return tuple(dict(zip(keys, values, strict=True)) for values in zip(*pairs, strict=True))
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = [only_what_differs(a, b) for a, b in zip(one, other, strict=True) if a != b]
        return pairs[0] if len(pairs) == 1 else tuple(map(list, zip(*pairs, strict=True)))
    return one, other


class Words(list[str]):
    """The words of a setting that could not be parsed."""


def parse_setting(text: str | None) -> object:
    """Return the parsed form of a configuration, so that the order of its entries is ignored."""
    try:
        return ast.literal_eval(text or "")
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        # A plain word, or values that `literal_eval` does not parse: `inf`, `np.float64(0.1)`.
        return Words(sorted(re.split(r"[\[\]{},]+ ?", text or "")))
