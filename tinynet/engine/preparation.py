"""What happens between `compile` and the first step: weights, the objective, the optimizer.

`models.Sequential` derives from `Prepared`, and adds the path of a batch.
"""

import operator

from tinynet import backend
from tinynet.backend import turns
from tinynet.backend.types import ArrayLike, HostArray, Shape, State
from tinynet.compat import checks, functional, rules
from tinynet.compat.weights import every_layer
from tinynet.engine.network import Network
from tinynet.engine.rollback import restore_on_error
from tinynet.losses import Objective


class Prepared(Network):
    """A stack of layers that is made ready to be trained, evaluated or called."""

    @turns.turn()
    def prepare_evaluation(self, input_shape: Shape) -> None:
        """Build the model if needed, and put the loss on top of its last layer."""
        self.ensure_built(input_shape)
        self.objective = Objective(self.loss_object, self._layers, self._trainable, self)

    def prepare_training(self, input_shape: Shape) -> None:
        """Do the same, and pass the trainable weights to the optimizer, unless this is done."""
        if self.is_prepared():
            return
        self.prepare_evaluation(input_shape)
        trains = [self.trainable and bool(layer.trainable_weights) for layer in self._layers]
        self.end_backward_at(trains.index(True) if any(trains) else len(trains))
        self.build_optimizer()
        self.prepared = self.parts_of_a_step()

    @turns.turn()
    def __call__(self, x: ArrayLike, training: bool = False) -> HostArray:
        """Return the outputs for a batch `x` as a NumPy array; `predict` does so in batches."""
        x = self.adapt(checks.as_array(functional.array_like(self, x), "x"))
        with restore_on_error(self):  # type: ignore[arg-type]
            self.ensure_built(x.shape)
            self.compute_output_shape(x.shape)
            output = self.forward(backend.xp.asarray(x, self.dtype), training)
            return backend.to_numpy(output).astype(self.dtype, copy=False)

    def parts_of_a_step(self) -> list[object]:
        """Return what a step of training relies on: if none of it is replaced, it is prepared."""
        top = self._layers[-1] if self._layers else self
        methods = [vars(top).get(name) for name in ("_activation", "forward", "backward")]
        parts = [self.objective, self.optimizer, self.loss_object, self._trainable, top, *methods]
        return [*parts, *self.parameters.parts_of_a_step()]

    def is_prepared(self) -> bool:
        """Return whether no part of a step was replaced since the training was last prepared."""
        if not self.prepared:
            return False
        count = turns.Changes.count
        if count == self._unchanged_at and self.parameters.plain:
            return True
        now = self.parts_of_a_step()
        same = len(now) == len(self.prepared) and all(map(operator.is_, now, self.prepared))
        self._unchanged_at = count if same else -1
        return same

    def end_backward_at(self, lowest: int | None) -> None:
        """End the backward pass at layer number `lowest`, or at the model's input if None."""
        self._lowest_trained = lowest or 0
        for _, layer, _ in every_layer(self._layers):
            layer.needs_input_gradient = lowest is None or layer not in self._layers[lowest:][:1]

    @turns.turn()
    def build_optimizer(self) -> None:
        """Pass the trainable weights to the optimizer, or raise a ValueError if it has others.

        If layers were frozen or unfrozen while the model trains, the optimizer continues.
        """
        self.parameters.ensure_gathered(self.dtype)
        optimizer, parameters = self.optimizer, self.parameters
        goes_on = self.prepared and optimizer.is_built_for(parameters.trained)
        before = [run for run, _ in parameters.runs]
        parts = parameters.select_trainable(self._trainable)
        if not optimizer.built:
            optimizer.build(parameters.trained, parts)
        elif not optimizer.is_built_for(parameters.trained):
            if not goes_on:
                raise rules.optimizer_of_other_weights(self.name)
            after = [run for run, _ in parameters.runs]
            optimizer.carry_over(before, after, parameters.trained, parts)

    def __setstate__(self, state: State) -> None:
        super().__setstate__(state)
        if self.optimizer is not None and self.optimizer.built and self.flat is not None:
            self.optimizer.rebind(self.parameters.trained)
