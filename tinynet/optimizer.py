"""The contract of an optimizer: `update` changes weights in place, by their gradient.

An optimizer sees weights and gradients as arrays and knows nothing of layers. A model hands it
one long vector (all its weights, end to end), so that a step is a handful of operations on
whole vectors; alone, it takes a list of arrays of any shapes, as Keras's do.
"""

import functools
import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any

from tinynet import backend, config, naming, validation
from tinynet.backend import Array, HostArray

Moved = tuple[list[list[Array]], list[Array]]

_KERAS_OPTIMIZER = {
    "clipnorm": None,
    "clipvalue": None,
    "global_clipnorm": None,
    "use_ema": False,
    "ema_momentum": 0.99,
    "ema_overwrite_frequency": None,
    "loss_scale_factor": None,
    "gradient_accumulation_steps": None,
}


class Optimizer:
    """The base of every optimizer, tinynet's and your own: write `update`, and name its `slots`.

    >>> import numpy as np, tinynet
    >>> weights = np.array([1, 2], "float32")
    >>> optimizer = tinynet.optimizers.SGD(learning_rate=0.1)
    >>> optimizer.build([weights])
    >>> optimizer.apply_gradients([(np.array([10, 0], "float32"), weights)])
    >>> weights
    array([0., 2.], dtype=float32)

    Arguments:
        learning_rate: the length of a step, in units of the update; may be set at any time.
        name: the optimizer's name; numbered by class if not given.
        weight_decay: λ; if given, every weight first shrinks by the share η λ in each step,
            w ← w − η λ w, whatever its gradient is (Loshchilov and Hutter 2019,
            https://arxiv.org/abs/1711.05101).

    Source: https://keras.io/api/optimizers/
    """

    # The arrays that an optimizer keeps beside each array of weights, starting at zero.
    slots: tuple[str, ...] = ()

    # The names of further numbers that it changes as it goes, to be put back and kept in backups.
    kept: tuple[str, ...] = ()

    def __init__(
        self,
        learning_rate: float = 0.001,
        name: str | None = None,
        weight_decay: float | None = None,
        **unsupported: Any,
    ) -> None:
        naming.refuse(
            type(self).__name__, unsupported, _KERAS_OPTIMIZER, "Argument(s) not recognized"
        )
        self.name = naming.unique(self) if name is None else naming.check(name)
        self.learning_rate = learning_rate
        if weight_decay is not None and (
            not is_number(weight_decay) or not 0 <= weight_decay < math.inf
        ):
            raise ValueError(
                "Expected weight_decay to be a number of at least 0, or None, received: "
                f"{naming.short(weight_decay)}. Write: weight_decay=0.004"
            )
        self.weight_decay = weight_decay
        self.iterations = 0
        self._arrays: list[Array] | None = None
        self._parts: list[Sequence[tuple[int, ...]]] = []
        self._state: list[list[Array]] = []
        self._scratch: list[Array] = []

    def update(self, weights: Array, gradient: Array, *state: Array, scratch: Array) -> None:
        """Change `weights` in place by one step, and the arrays of `slots` with them.

        Arguments:
            weights, gradient: arrays of one shape.
            state: the arrays of `slots`, in that order.
            scratch: an array of that shape to write intermediate results to.
        """
        raise NotImplementedError(f"{type(self).__name__} has to define update(…)")

    def prepare(self, iteration: int) -> None:
        """Compute what is the same for all weights in step `iteration`, counted from 1."""

    @property
    def learning_rate(self) -> float:
        """The length of a step; in float32 if that is `floatx`, as Keras holds it."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        if not is_number(value) or not 0 <= value < 3.4e38:
            raise ValueError(
                "Argument `learning_rate` should be float, at least 0. "
                f"Received instead: learning_rate={naming.short(value)}. Write: learning_rate=0.001"
            )
        (rounded,) = scalars(config.floatx(), value)
        self._learning_rate = float(rounded)

    @property
    def built(self) -> bool:
        return self._arrays is not None

    def build(
        self, var_list: Iterable[Array], parts: Iterable[Sequence[tuple[int, ...]]] | None = None
    ) -> None:
        """Make the state for the arrays that will be updated.

        Arguments:
            var_list: the arrays of weights.
            parts: for each array, the shapes of the variables that lie in it end to end; by
                default it is one variable.
        """
        arrays = list(var_list)
        for weights in arrays:
            if weights.dtype.kind != "f":
                raise ValueError(
                    f"Expected weights of a float type, received dtype {weights.dtype}. "
                    'Write: weights = weights.astype("float32")'
                )
        self._arrays = arrays
        self._state = [[backend.of(a).zeros_like(a) for _ in self.slots] for a in arrays]
        self._scratch = [backend.of(a).empty_like(a) for a in arrays]
        self._parts = [[a.shape] for a in self._arrays] if parts is None else list(parts)

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Array, Array]]) -> None:
        """One step: change every array, in place, by its gradient.

        Arguments:
            grads_and_vars: pairs (gradient, array), the arrays in the order of `build`.

        Raises:
            ValueError: for other arrays than before, or a gradient of another shape; then
                nothing is changed.
        """
        pairs = list(grads_and_vars)
        arrays = [weights for _, weights in pairs]
        self._check(pairs, arrays)
        if self._arrays is None:
            self.build(arrays)
        if not pairs:  # all is frozen: as in Keras, that is no step
            return
        self.prepare(self.iterations + 1)
        decay = self.learning_rate * (self.weight_decay or 0)
        for (gradient, weights), state, scratch in zip(
            pairs, self._state, self._scratch, strict=True
        ):
            if decay:  # not `weights *= 1 - decay`: in float32, 1 - 1e-5 is some 0.3 % of that off
                weights -= backend.of(weights).multiply(weights, decay, out=scratch)
            self.update(weights, gradient, *state, scratch=scratch)
        self.iterations += 1

    def _check(self, pairs: Sequence[tuple[Array, Array]], arrays: Sequence[Array]) -> None:
        for gradient, weights in pairs:
            if gradient.shape != weights.shape:
                raise ValueError(
                    f"Expected a gradient of the weights' shape {weights.shape}, received "
                    f"{gradient.shape}. Write: apply_gradients([(gradient, weights), …])"
                )
        if self.is_built_for(arrays):
            return
        if self._arrays is not None:
            raise ValueError(
                f"Expected the {len(self._arrays)} arrays that this optimizer was built for, in "
                f"their order, received {len(pairs)} arrays. An optimizer's state belongs to its "
                "arrays: make a new optimizer for others."
            )

    def is_built_for(self, arrays: Sequence[Array]) -> bool:
        """Whether the state belongs to just these arrays."""
        known = self._arrays
        return (
            known is not None
            and len(known) == len(arrays)
            and all(map(operator.is_, known, arrays))
        )

    def moved(self) -> Moved:
        """The slots, and scratch arrays, in the backend in use, for `rebind`."""
        state = [[backend.to_active(array) for array in slots] for slots in self._state]
        return state, [backend.xp.empty(a.shape, a.dtype) for a in self._scratch]

    def rebind(self, arrays: Sequence[Array], moved: Moved | None = None) -> None:
        """Go on with `arrays`, which hold what the arrays of `build` held, and what `moved`."""
        self._arrays = list(arrays)
        if moved is not None:
            self._state, self._scratch = moved

    def states(self) -> list[list[HostArray]]:
        """For each variable, in the order of `build`, copies of its slots in Keras's units."""
        found = []
        for shapes, state in zip(self._parts, self._state, strict=True):
            slots = self.as_keras([backend.to_numpy(array).ravel() for array in state])
            start = 0
            for shape in shapes:
                stop = start + math.prod(shape)
                found.append([slot[start:stop].reshape(shape) for slot in slots])
                start = stop
        return found

    @property
    def variables(self) -> list[HostArray]:
        """Copies of the whole state, in Keras's order: iteration, learning rate, then the first two
        slots of the first variable, those of the second, and so on; then what slots remain."""
        np, states = backend.host, self.states()
        flat = [np.asarray(self.iterations, "int32"), np.asarray(self.learning_rate, "float32")]
        flat += [slot for slots in states for slot in slots[:2]]
        return [*flat, *(slot for slots in states for slot in slots[2:])]

    def set_variables(self, variables: Sequence[HostArray]) -> None:
        """Go on from `variables`, which this optimizer, or Keras's, had; it has to be built.

        Raises:
            ValueError: if they are not as many, of other shapes, or not finite; then nothing is
                changed.
        """
        wanted = [array.shape for array in self.variables]
        if [backend.host.shape(array) for array in variables] != wanted:
            raise ValueError(
                f"Expected {len(wanted)} variables as {type(self).__name__}.variables gives them, "
                f"received {len(variables)}, or others. Write: optimizer.set_variables("
                "other.variables), both built for weights of the same shapes"
            )
        iterations, rate, *rest = variables
        came, count = iter(rest), sum(map(len, self._parts))
        states = [[next(came) for _ in self.slots[:2]] for _ in range(count)]
        states = [[*state, *(next(came) for _ in self.slots[2:])] for state in states]
        ready = []
        for shapes, state in zip(self._parts, self._state, strict=True):
            own, states = states[: len(shapes)], states[len(shapes) :]
            slots = zip(*own, strict=True)  # each for all variables that lie in one array
            ends = [backend.host.concatenate([part.ravel() for part in slot]) for slot in slots]
            with backend.ignore_overflow():
                ready += list(zip(state, self.from_keras(ends), strict=True))
        if not all(backend.host.isfinite(values).all() for _, values in ready):
            raise ValueError(
                "Expected finite variables, received NaN, infinity, or numbers too large to be used"
            )
        self.learning_rate, self.iterations = float(rate), int(iterations)
        for array, values in ready:
            backend.fill(array, values.reshape(array.shape))

    def from_keras(self, slots: list[HostArray]) -> list[HostArray]:
        """The reverse of `as_keras`, but for rounding."""
        return slots

    def as_keras(self, slots: list[HostArray]) -> list[HostArray]:
        """The slots in the units in which Keras holds them."""
        return slots

    def get_state(self) -> dict[str, Any]:
        """A copy of all that training changes, for `set_state`."""
        state = [[array.copy() for array in slots] for slots in self._state]
        return {
            "iterations": self.iterations,
            "learning_rate": self._learning_rate,
            "arrays": self._arrays,
            "parts": self._parts,
            "scratch": self._scratch,
            "state": state,
            "kept": [getattr(self, name) for name in self.kept],
        }

    def set_state(self, saved: dict[str, Any]) -> None:
        """Return to what `get_state` copied; the copy stays as it is."""
        self.iterations = saved["iterations"]
        self._learning_rate = saved["learning_rate"]
        self._arrays, self._parts = saved["arrays"], saved["parts"]
        if len(self._state) != len(saved["state"]):
            self._state = [[array.copy() for array in slots] for slots in saved["state"]]
        for slots, kept in zip(self._state, saved["state"], strict=True):
            for slot, values in zip(slots, kept, strict=True):
                slot[...] = values  # no memory is taken: there may be none
        self._scratch = saved["scratch"]
        for name, value in zip(self.kept, saved["kept"], strict=True):
            setattr(self, name, value)

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            **_KERAS_OPTIMIZER,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Optimizer":
        return cls(**config)


@functools.lru_cache(maxsize=64)  # three small objects a step, again and again
def scalars(dtype: str, *values: float) -> tuple[Any, ...]:
    """`values` as NumPy's scalars, in the type that a step computes its scalars in."""
    return tuple(map(backend.host.dtype(dtype).type, values))


def is_number(value: Any) -> bool:
    return validation.is_real(value)
