"""Where a training is: all that its next step depends on, but for the data.

Weights and optimizer are the smaller part of that. The order of the samples, the masks of dropout
and the numbers of an epoch that is under way belong to it, and what callbacks remember, such as
the epochs so far. Put back in another process, a training goes on as if it had never stopped.
"""

from collections.abc import Iterator
from typing import Any

from tinynet import backend, naming
from tinynet.callback import CallbackList
from tinynet.data import Batch, Batches, Passes
from tinynet.tracker import Tracker

State = dict[str, Any]  # of dictionaries, lists, numbers, words and NumPy's arrays


class Course:
    """A training on its way; `fit` hands it to its callbacks before it begins.

    Attributes:
        epoch: how many epochs are done.
        step: how many steps of the next one.
        ended: whether it has gone back to a training that a callback had ended.
    """

    def __init__(
        self, model: Any, passes: Passes, steps: int, listeners: CallbackList, epoch: int
    ) -> None:
        self.epoch, self.step, self.ended = epoch, 0, False
        self.steps = steps
        self._model, self._passes, self._listeners = model, passes, listeners
        self._tracker: Tracker | None = None
        self._halfway: State | None = None  # what is known of an epoch that is under way
        self._what = self._describe()

    @property
    def data(self) -> Batches:
        """What is trained on."""
        return self._passes.batches

    def _describe(self) -> dict[str, str]:
        """What has to be the same, for a state to be one of this training."""
        model, batches = self._model, self.data
        shapes = [(type(x).__name__, [w.shape for w in x.weights]) for x in model.layers]
        settings = {f"optimizer's {k}": v for k, v in model.optimizer.get_config().items()}
        settings.pop("optimizer's name")
        found = {
            "layers": shapes,
            "dtype": model.dtype,
            "optimizer": type(model.optimizer).__name__,
            **settings,
            "x": batches.x.source.shape,
            "batch_size": batches.batch_size,
            "steps": self.steps,
            "shuffle": self._passes.shuffled,
            "callbacks": [type(callback).__name__ for callback in self._listeners.callbacks],
        }
        return {name: str(value) for name, value in found.items()}

    def begin_epoch(self, tracker: Tracker) -> Iterator[tuple[int, Batch]]:
        """The batches of the next epoch, or what is left of it, each with its step's number."""
        self._tracker = tracker
        if self._halfway is None:
            batches = self._passes.epoch(self.steps)
        else:
            tracker.set_state(self._halfway)
            batches = self._passes.rest(self.step)
            self._halfway = None
        return enumerate(batches, start=self.step + 1)

    def end_epoch(self) -> None:
        self.epoch, self.step, self._tracker = self.epoch + 1, 0, None

    def get_state(self) -> State:
        """Copies of everything; `set_state` of another process goes on from there."""
        model = self._model
        optimizer = model.optimizer.get_state()
        under_way = self._tracker is not None and self.step > 0
        return {
            "what": self._what,
            "epoch": self.epoch,
            "step": self.step,
            "ended": bool(model.stop_training),
            "weights": model.get_weights(),
            "iterations": optimizer["iterations"],
            "learning_rate": optimizer["learning_rate"],
            "slots": [[backend.to_numpy(a) for a in slots] for slots in optimizer["state"]],
            "generator": backend.generator().bit_generator.state,
            "counters": [[getattr(x, name) for name in x.counters] for x in model.layers],
            "passes": self._passes.get_state(),
            "tracker": self._tracker.get_state() if self._tracker and under_way else None,
            "callbacks": [callback.get_state() for callback in self._listeners.callbacks],
        }

    def set_state(self, state: State) -> None:
        """Go on from what `get_state` gave.

        Raises:
            ValueError: if that was another training, with what differs.
        """
        then = state["what"]
        differs = [
            f"{name} was {naming.short(then.get(name))} and is {naming.short(now)}"
            for name, now in self._what.items()
            if then.get(name) != now
        ]
        if differs:
            raise ValueError(f"it is of another training: {'; '.join(differs)}")
        places = state["epoch"], state["step"]
        if not all(isinstance(place, int) and place >= 0 for place in places):
            raise ValueError(f"it is at epoch and step {naming.short(places)}")
        model = self._model
        model.set_weights(state["weights"])
        optimizer = model.optimizer.get_state()
        slots = [[backend.to_active(a) for a in slots] for slots in state["slots"]]
        known = {name: state[name] for name in ("iterations", "learning_rate")}
        model.optimizer.set_state({**optimizer, **known, "state": slots})
        for layer, values in zip(model.layers, state["counters"], strict=True):
            for name, value in zip(layer.counters, values, strict=True):
                setattr(layer, name, value)
        self._passes.set_state(state["passes"])
        backend.generator().bit_generator.state = state["generator"]
        for callback, kept in zip(self._listeners.callbacks, state["callbacks"], strict=True):
            callback.set_state(kept)
        (self.epoch, self.step), self.ended = places, bool(state["ended"])
        self._halfway = state["tracker"]

    def interrupted(self, epochs: int, whole: bool) -> KeyboardInterrupt:
        """The words for Ctrl-C: where it was, and how to go on."""
        kept = any(callback.comes_last for callback in self._listeners.callbacks)
        where = "after step" if whole else "not at a whole step, as Ctrl-C came twice, after step"
        again = "Run the same again: it goes on from the backup as if nothing had happened"
        anew = f"To go on, write: model.fit(…, epochs={epochs}, initial_epoch={self.epoch})"
        return KeyboardInterrupt(
            f"Stopped in epoch {self.epoch + 1} of {epochs}, {where} {self.step} of {self.steps}. "
            f"The weights are as they were then; model.history has the {self.epoch} epochs before. "
            f"{again if kept else anew}"
        )
