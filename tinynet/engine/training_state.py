"""Where a training is: all that its next step depends on, but for the data.

Weights and optimizer are the smaller part of that. The order of the samples, the masks of dropout
and the numbers of an epoch that is under way belong to it, and what callbacks remember, such as
the epochs so far. Put back in another process, a training goes on as if it had never stopped.
"""

import ast
import re
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from tinynet import backend, losses, metrics
from tinynet.callbacks.base import CallbackList
from tinynet.compat import naming
from tinynet.engine.data import Batch, Batches, Passes
from tinynet.engine.tracker import Tracker
from tinynet.saving import save

State = dict[str, Any]  # of dictionaries, lists, numbers, words and NumPy's arrays


class Course:
    """A training on its way; `fit` hands it to its callbacks before it begins.

    Attributes:
        epoch: how many epochs are done.
        step: how many steps of the next one.
        halfway: whether the next epoch is one that was under way when a backup was made.
    """

    def __init__(
        self, model: Any, passes: Passes, steps: int, listeners: CallbackList, epoch: int
    ) -> None:
        self.epoch, self.step = epoch, 0
        self.steps = steps
        self.halfway = False
        self._model, self._passes, self._listeners = model, passes, listeners
        self._tracker: Tracker | None = None
        self._sums: State | None = None  # of an epoch that was under way
        self._ended = False  # whether a callback had ended it there
        self._begun_at = model.optimizer.iterations
        self._rate = model.optimizer.learning_rate

    @property
    def data(self) -> Batches:
        """What is trained on."""
        return self._passes.batches

    @cached_property
    def what(self) -> dict[str, str]:
        """What has to be the same, for a state to be one of this training.

        Who keeps states asks for it before the first step: callbacks may change some of it later.
        """
        model = self._model
        optimizer = model.optimizer.get_config()
        ignored = ("name", "learning_rate")  # the rate is looked at apart: it may change
        layers = {
            f"layer {n}": [type(layer).__name__, layer.get_config()]
            for n, layer in enumerate(model.layers, start=1)
        }
        for _, settings in layers.values():
            settings.pop("name", None)
        found = {
            "data": self._passes.signs(),
            "batch_size": self.data.batch_size,
            "steps": self.steps,
            "shuffle": self._passes.shuffled,
            "callbacks": [type(callback).__name__ for callback in self._listeners.callbacks],
            "optimizer": type(model.optimizer).__name__,
            **{f"optimizer's {k}": v for k, v in optimizer.items() if k not in ignored},
            "loss": save.as_config(losses, model.loss),
            "metrics": [save.as_config(metrics, metric) for metric in model.metrics_given],
            "dtype": model.dtype,
            "trainable": model.trainable,
            **layers,
        }
        return {name: str(value) for name, value in found.items()}

    def begin_epoch(self, tracker: Tracker) -> Iterator[tuple[int, Batch]]:
        """The batches of the next epoch, or what is left of it, each with its step's number."""
        self._tracker = tracker
        if not self.halfway:
            batches = self._passes.epoch(self.steps)
        else:
            assert self._sums is not None
            tracker.set_state(self._sums)
            batches = iter(()) if self._ended else self._passes.rest(self.step)
            self.halfway, self._sums = False, None
        return enumerate(batches, start=self.step + 1)

    def end_epoch(self) -> None:
        self.epoch, self.step, self._tracker = self.epoch + 1, 0, None

    def epochs_until(self, last: int) -> range:
        """The numbers of the epochs that are left; of a training that had ended, what it lacks."""
        return range(self.epoch, min(last, self.epoch + self.halfway) if self._ended else last)

    def get_state(self) -> State:
        """Copies of everything; `set_state` of another process goes on from there."""
        model = self._model
        optimizer = model.optimizer.get_state()
        return {
            "what": self.what,
            "rate": [self._begun_at, self._rate],
            "epoch": self.epoch,
            "step": self.step,
            "ended": bool(model.stop_training),
            "weights": model.get_weights(),
            "iterations": optimizer["iterations"],
            "learning_rate": optimizer["learning_rate"],
            "slots": [[backend.to_numpy(a) for a in slots] for slots in optimizer["state"]],
            "kept": optimizer["kept"],
            "generator": backend.generator().bit_generator.state,
            "counters": [[getattr(x, name) for name in x.counters] for x in model.layers],
            "passes": self._passes.get_state(),
            "sums": self._tracker.get_state() if self._tracker and self.step else None,
            "callbacks": [callback.get_state() for callback in self._listeners.callbacks],
        }

    def set_state(self, state: State) -> None:
        """Go on from what `get_state` gave.

        Raises:
            ValueError: if that was another training, with what differs, or is no such state.
        """
        then, (begun_at, rate) = state["what"], state["rate"]
        differs = [
            f"{name} was {naming.short(then.get(name))} and is {naming.short(now)}"
            for name, now in self.what.items()
            if meaning(then.get(name)) != meaning(now)
        ]
        # An optimizer that has trained since, in the same process, may be at another rate.
        if self._begun_at == begun_at and self._rate != rate:
            differs.append(f"the learning rate was {rate} and is {self._rate}")
        if differs or len(then) != len(self.what):
            raise ValueError(f"it is of another training: {'; '.join(differs) or 'another model'}")
        self._check(state)
        model = self._model
        model.set_weights(state["weights"])
        model.optimizer.learning_rate = state["learning_rate"]
        known = {name: state[name] for name in ("iterations", "kept")}
        known["learning_rate"] = model.optimizer.learning_rate
        now = model.optimizer.get_state()
        model.optimizer.set_state({**now, **known, "state": state["slots"]})
        for layer, values in zip(model.layers, state["counters"], strict=True):
            for name, value in zip(layer.counters, values, strict=True):
                setattr(layer, name, value)
        self._passes.set_state(state["passes"])
        backend.generator().bit_generator.state = state["generator"]
        for callback, kept in zip(self._listeners.callbacks, state["callbacks"], strict=True):
            callback.set_state(kept)
        self.epoch, self.step = state["epoch"], state["step"]
        self._ended = model.stop_training = state["ended"]
        self._sums = state["sums"]
        self.halfway = self.step > 0

    def _check(self, state: State) -> None:
        """Raise a ValueError for what no training could have left."""
        model = self._model
        optimizer = model.optimizer.get_state()["state"]
        numbers = [state["epoch"], state["step"], state["iterations"]]
        arrays = [*state["weights"], *(array for slots in state["slots"] for array in slots)]
        wanted = [*model.weights, *(array for slots in optimizer for array in slots)]
        shapes = [[array.shape for array in found] for found in (arrays, wanted)]
        types = [[str(array.dtype) for array in found] for found in (arrays, wanted)]
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise ValueError(f"it is at epoch, step and iteration {naming.short(numbers)}")
        if state["step"] > self.steps or (state["step"] > 0) != (state["sums"] is not None):
            raise ValueError(f"it is at step {state['step']} of {self.steps}")
        if type(state["ended"]) is not bool:
            raise ValueError(f"it has ended: {naming.short(state['ended'])}")
        if shapes[0] != shapes[1] or types[0] != types[1]:
            raise ValueError("its arrays have other shapes or types")
        if not all(backend.host.isfinite(array).all() for array in arrays):
            raise ValueError("its arrays hold NaN or infinity")

    def interrupted(self, epochs: int, whole: bool) -> KeyboardInterrupt:
        """The words for Ctrl-C: where it was, and how to go on."""
        done = len(self._model.history.epoch)
        kept = f"model.history has {done} whole epoch{'s' * (done != 1)}"
        if self.epoch >= epochs:
            return KeyboardInterrupt(f"Stopped when all was trained. {kept}, and that is all.")
        where = f"epoch {self.epoch + 1} of {epochs}, after step {self.step} of {self.steps}"
        if not whole:
            where += " and maybe in the middle of the next"
        go_on = f"write: model.fit(…, epochs={epochs}, initial_epoch={self.epoch})"
        if any(callback.goes_on() for callback in self._listeners.callbacks):
            go_on = "as if nothing had happened, run the same again: there is a backup"
        return KeyboardInterrupt(
            f"Stopped in {where}. The weights are as they were then; {kept}. To go on, {go_on}"
        )


def meaning(text: str | None) -> Any:
    """What a configuration says that was written as text, in whatever order."""
    try:
        return ast.literal_eval(text or "")
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        # A plain word, or numbers that Python reads no more: `inf`, `np.float64(0.1)`.
        return sorted(re.split(r"[\[\]{},]+ ?", text or ""))
