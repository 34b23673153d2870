"""The state of an optimizer: which arrays it belongs to, and what Keras and a backup take of it.

`optimizers.Optimizer` derives from this; how a gradient becomes a step is there.
"""

import functools
import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any

from tinynet import backend, config
from tinynet.backend import Array, HostArray
from tinynet.compat import checks
from tinynet.compat.configuration import Configurable

Moved = tuple[list[list[Array]], list[Array]]


class OptimizerBase(Configurable):
    """An optimizer without the mathematics: its arrays, slots and variables."""

    keras_module = "keras.optimizers"

    # The arrays that an optimizer keeps beside each array of weights, starting at zero.
    slots: tuple[str, ...] = ()

    # The names of further numbers that it changes as it goes, to be put back and kept in backups.
    kept: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.iterations = 0
        self._arrays: list[Array] | None = None
        self._parts: list[Sequence[tuple[int, ...]]] = []
        self._state: list[list[Array]] = []
        self._scratch: list[Array] = []

    @property
    def learning_rate(self) -> float:
        """The length of a step; in float32 if that is `floatx`, as Keras holds it."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._learning_rate = float(scalars(config.floatx(), checks.learning_rate(value))[0])

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


@functools.lru_cache(maxsize=64)  # three small objects a step, again and again
def scalars(dtype: str, *values: float) -> tuple[Any, ...]:
    """`values` as NumPy's scalars, in the type that a step computes its scalars in."""
    return tuple(map(backend.host.dtype(dtype).type, values))
