"""The steps of `fit`; on a GPU, full batches after the first two replay a captured step.

A replay repeats what the captured step did on the device, with another batch and other numbers, see
`backend.replay`; no line of Python is executed again. So it is for tinynet's own parts only. At the
beginning of an epoch, and when arrays, activations or the optimizer were replaced, everything that
the graph was captured with is compared; if anything has changed, another step is captured.
"""

import operator
from collections.abc import Callable

from tinynet import backend
from tinynet.backend import products, random, turns
from tinynet.backend.replay import Parts, Replay
from tinynet.backend.types import UNSET, Array, Compiled, Model
from tinynet.callbacks.base import CallbackList
from tinynet.compat.activation import BUILT_IN
from tinynet.compat.naming import is_builtin
from tinynet.engine.data import Batch, Batches
from tinynet.engine.memory import estimate_bytes
from tinynet.engine.tracker import FunctionMetric, Tracker

TrainStep = Callable[[Model, Batch], tuple[Array, Array]]  # returns loss and outputs

MOST_ROWS = 10_000  # the numbers of so many steps are computed at a time, in about 0.1 s

# The methods that a step calls; one that was replaced, also on its class, is not tinynet's.
METHODS = (
    "forward", "backward", "activate", "backward_from_z", "mask", "penalty", "call", "targets",
    "weigh", "gradient", "prepare", "update", "apply_gradients", "update_state", "begin_step",
    "end_step", "sample_weights", "call_from_z", "backward_from_p",
)  # fmt: skip


class Steps:
    """The steps of a call of `fit`; `replayed` of them were replays."""

    def __init__(self, model: Model, batches: Batches, callback_list: CallbackList) -> None:
        self._model, self._callback_list = model, callback_list
        self._size = batches.largest_batch()
        self._how = Steps._warm_up  # how the next full batch is done
        self._replay: Replay = UNSET
        self.replayed = 0

    def of_epoch(self, train_step: TrainStep, tracker: Tracker) -> Callable[[Batch], Array]:
        """Return a function that does a step of an epoch, and returns the batch's loss."""
        self._train_step, self._tracker = train_step, tracker
        self._metrics: list[Compiled] = list(tracker.metrics.values())
        self._changes = -1  # so that everything is compared
        if self._replay is not None:
            self._replay.rows = 0  # drawn before the new order of the samples
        return self._do if self._may_be_replayed() else self._do_ordinarily

    def _may_be_replayed(self) -> bool:
        """Return whether all parts of a step are tinynet's, and nobody watches single steps."""
        model = self._model
        if backend.backend() == "numpy":
            return False
        parts = [model, model.loss_object, model.optimizer, *model.layers, *self._metrics]
        parts += filter(None, [getattr(x, "kernel_regularizer", None) for x in model.layers])
        functions = [m._function for m in self._metrics if isinstance(m, FunctionMetric)]
        called = [vars(x).get(n, getattr(type(x), n, None)) for x in parts for n in METHODS]
        methods = [method for method in called if method is not None]
        watched = model.on_backward or self._callback_list.calls_train_batch_hooks
        return (
            not watched
            and model.dtype == "float32"
            and model.parameters.plain
            and model.optimizer.may_be_replayed
            and all(map(is_builtin, [self._train_step, *functions, *methods, *map(type, parts)]))
            and all(getattr(x, "activation", BUILT_IN[0]) in BUILT_IN for x in model.layers)
            and products.cublas(backend.current_device().number) is not None
        )

    def _do_ordinarily(self, batch: Batch) -> Array:
        loss, output = self._train_step(self._model, batch)
        self._tracker.update(batch, loss, output)
        return loss

    def _do(self, batch: Batch) -> Array:
        full = len(batch.x) == self._size  # a smaller batch ends an epoch
        return self._how(self, batch) if full else self._do_ordinarily(batch)

    def _warm_up(self, batch: Batch) -> Array:
        self._how = Steps._rehearse
        return self._do_ordinarily(batch)

    def _rehearse(self, batch: Batch) -> Array:
        """Do a step in the way in which it will be captured, if there is enough memory."""
        needed = estimate_bytes(self._model, self._size)[1]
        needed += sum(part.nbytes for part in batch if part is not None)
        if 2 * needed > (backend.free_memory() or 0):
            self._how = Steps._do_ordinarily
            return self._how(self, batch)
        optimizer, counts = self._model.optimizer, [metric.count for metric in self._metrics]
        iterations = optimizer.iterations
        # Each layer has at most one key, and each formula of an optimizer at most six numbers.
        cells = len(self._model.layers) + 12 * len(self._model.parameters.pairs)
        self._replay, self._how = Replay(cells), Steps._capture
        loss = self._replay.rehearse(self._on_device, batch)
        self._tracker.add_loss(self._size, loss)
        # The arrays to which replays add, and how many values each adds.
        totals = [metric.total for metric in self._metrics]
        values = [m.count - count for m, count in zip(self._metrics, counts, strict=True)]
        self._sums: list[tuple[Array, int]] = list(zip(totals, values, strict=True))
        self._iterations = optimizer.iterations - iterations  # 0 if all weights are frozen
        self._captured_with, self._rate = self._look(), optimizer.set_rate
        return loss

    def _on_device(self, parts: Parts) -> Array:
        """Do what is captured: a step, and adding to the metrics."""
        batch = Batch(*(UNSET if part is None else part for part in parts))
        loss, output = self._train_step(self._model, batch)
        self._tracker.update_metrics(batch, output)
        return loss

    def _add_on_device(self, parts: Parts) -> Array:
        """Do the same, with the metrics' sums always in the same arrays."""
        loss = self._on_device(parts)
        for metric, (total, _) in zip(self._metrics, self._sums, strict=True):
            total[...] = metric.total
            metric.total = total
        return loss

    def _capture(self, batch: Batch) -> Array:
        """Capture a step, which does nothing yet, and then replay it."""
        if self._has_changed():
            return self._rehearse(batch)
        optimizer, layers = self._model.optimizer, self._model.layers
        self._add_to_sums(0)
        iterations, counts = optimizer.iterations, [metric.count for metric in self._metrics]
        buffers = [layer._buffers for layer in layers]
        for layer in layers:
            layer._buffers = {}  # the graph has its own, which other calls do not replace
        try:
            self._replay.capture(self._add_on_device)
            self._how = Steps._replay_it
        except Exception:  # CuPy, or the driver, cannot do this
            self._how, self._replay = Steps._do_ordinarily, UNSET
        finally:
            optimizer.iterations = iterations
            for metric, count in zip(self._metrics, counts, strict=True):
                metric.count = count
            for layer, own in zip(layers, buffers, strict=True):
                layer._buffers = own
        return self._how(self, batch)

    def _replay_it(self, batch: Batch) -> Array:
        replay, optimizer = self._replay, self._model.optimizer
        if turns.Changes.count != self._changes and self._has_changed():
            self._replay = UNSET
            may = self._may_be_replayed()
            self._how = Steps._rehearse if may else Steps._do_ordinarily
            return self._how(self, batch)
        if not replay.rows or optimizer.set_rate != self._rate:
            self._tabulate()
        self._add_to_sums(1)
        loss = replay.replay(batch)
        # What else the step does on the host
        optimizer.iterations += self._iterations
        for draw in replay.draws:
            draw()
        self._tracker.add_loss(self._size, loss)
        self.replayed += 1
        return loss

    def _add_to_sums(self, batches: int) -> None:
        """Let the metrics have the arrays to which replays add, and count the values."""
        for metric, (total, values) in zip(self._metrics, self._sums, strict=True):
            if metric.total is not total:
                total[...] = metric.total
                metric.total = total
            metric.count += batches * values

    def _tabulate(self) -> None:
        """Send the numbers of the next steps of the epoch, and leave the host as it was."""
        optimizer, parameters = self._model.optimizer, self._model.parameters
        layers = self._model.layers
        iterations, self._rate = optimizer.iterations, optimizer.set_rate
        counters = [(x, name, getattr(x, name)) for x in layers for name in x.counters]
        rows = min(self._tracker.steps_left, MOST_ROWS)
        try:
            with random.on_a_copy():
                self._replay.tabulate(rows, lambda: optimizer.apply_gradients(parameters.pairs))
        finally:
            optimizer.iterations = iterations
            for layer, name, value in counters:
                setattr(layer, name, value)

    def _has_changed(self) -> bool:
        """Return whether anything has changed that the graph was captured with."""
        self._changes = turns.Changes.count
        (arrays, settings), (now, settings_now) = self._captured_with, self._look()
        same = len(arrays) == len(now) and all(map(operator.is_, arrays, now))
        return not same or settings != settings_now

    def _look(self) -> tuple[list[object], list[object]]:
        """Return the arrays and the settings that a graph is captured with."""
        model, optimizer = self._model, self._model.optimizer
        arrays = [*model.parameters.parts_of_a_step(), model.parameters.gradients]
        for own in (*model.parameters.pairs, *optimizer._state):
            arrays += own
        config = {**optimizer.get_config(), "learning_rate": None}  # which is among the numbers
        settings: list[object] = [config, self._train_step]
        for part in (model.loss_object, *model.layers):
            settings += [type(part), part.get_config()]
        for metric in self._metrics:
            settings += [type(metric), {**vars(metric), "total": None, "count": None}]
        return arrays, settings
