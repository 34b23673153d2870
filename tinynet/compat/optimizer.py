"""The state of an optimizer: which arrays it belongs to, and what Keras and a backup take of it.

`optimizers.Optimizer` derives from this; how a gradient becomes a step is there.
"""

import math
import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tinynet import backend, config
from tinynet.backend import Array, HostArray
from tinynet.compat import checks, naming
from tinynet.compat.configuration import Configurable


class OptimizerBase(Configurable):
    """An optimizer without the mathematics: its arrays, slots and variables."""

    # The arrays that an optimizer keeps beside each array of weights, starting at zero.
    slots: tuple[str, ...] = ()

    # The names of further numbers that it changes, which roll-back and backups include.
    kept: tuple[str, ...] = ()

    def __init__(
        self,
        learning_rate: float = 0.001,
        name: str | None = None,
        weight_decay: float | None = None,
    ) -> None:
        self.name = naming.unique(self) if name is None else name
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.iterations = 0
        self._parts: list[Sequence[tuple[int, ...]]] = []
        self._state: list[list[Array]] = []
        self._scratch: list[Array] = []
        self._arrays: list[Array] | None = None
        self._checked: Any = None  # the pairs of the last step

    def _set_learning_rate(self, value: float) -> None:
        self._learning_rate = float(
            backend.host.asarray(checks.learning_rate(value), config.floatx())
        )

    # The length of a step; in float32 if that is `floatx`, as Keras holds it.
    learning_rate = property(operator.attrgetter("_learning_rate"), _set_learning_rate)

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
        self.scalar = backend.host.dtype(config.floatx()).type  # to compute a step's scalars in
        state = [[backend.of(a).zeros_like(a) for _ in self.slots] for a in arrays]
        self.rebind(arrays, state)
        self._parts = [[a.shape] for a in arrays] if parts is None else list(parts)

    def moved(self) -> tuple[list[list[Array]], list[Array]]:
        """The slots, and scratch arrays, in the backend in use, for `rebind`."""
        state = [[backend.to_active(array) for array in slots] for slots in self._state]
        return state, [backend.xp.empty(a.shape, a.dtype) for a in self._scratch]

    def rebind(self, arrays: Any, state: Any = None, scratch: Any = None) -> None:
        """Go on with `arrays`, which hold what those of `build` held, and with these slots."""
        made = [backend.of(a).empty_like(a) for a in arrays or ()] if scratch is None else scratch
        state = self._state if state is None else state
        self._state, self._scratch, self._arrays, self._checked = state, made, arrays, None

    def check(self, pairs: tuple[tuple[Array, Array], ...]) -> None:
        """Raise a ValueError unless these are the arrays of `build`; build for the first ones."""
        for gradient, weights in pairs:
            if gradient.shape != weights.shape:
                raise ValueError(
                    f"Expected a gradient of the weights' shape {weights.shape}, received "
                    f"{gradient.shape}. Write: apply_gradients([(gradient, weights), …])"
                )
        arrays = [weights for _, weights in pairs]
        if self._arrays is None:
            self.build(arrays)
        elif not self.is_built_for(arrays):
            raise ValueError(
                f"Expected the {len(self._arrays)} arrays that this optimizer was built for, in "
                f"their order, received {len(pairs)} arrays. An optimizer's state belongs to its "
                "arrays: make a new optimizer for others."
            )
        self._checked = pairs

    def is_built_for(self, arrays: Sequence[Array]) -> bool:
        """Whether the state belongs to just these arrays."""
        known = self._arrays
        return (
            known is not None
            and len(known) == len(arrays)
            and all(map(operator.is_, known, arrays))
        )

    # The state, in one form: the slots of each array, as arrays of its shape

    def get_state(self) -> dict[str, Any]:
        """A copy of all that training changes, for `set_state`."""
        return {
            "arrays": self._arrays,
            "parts": self._parts,
            "iterations": self.iterations,
            "learning_rate": self._learning_rate,
            "state": [[array.copy() for array in slots] for slots in self._state],
            "kept": [getattr(self, name) for name in self.kept],
        }

    def set_state(self, saved: dict[str, Any]) -> None:
        """Return to what `get_state` copied, wherever the copy is now; it stays as it is."""
        self.iterations, self._learning_rate = saved["iterations"], saved["learning_rate"]
        if saved["arrays"] is not self._arrays:
            self._parts = saved["parts"]
            state = [[slot.copy() for slot in slots] for slots in saved["state"]]
            self.rebind(saved["arrays"], state)
        for slots, values in zip(self._state, saved["state"], strict=True):
            for slot, value in zip(slots, values, strict=True):
                backend.fill(slot, value)  # no memory is taken: there may be none
        for name, value in zip(self.kept, saved["kept"], strict=True):
            setattr(self, name, value)

    def slot_units(self) -> tuple[float, ...]:
        """What each slot is multiplied by to be in the unit in which Keras holds it."""
        return (1,) * len(self.slots)

    def _each_variable(self, slots: list[list[Any]]) -> Iterator[list[Any]]:
        """Of slots that are each one array for several variables, those of each variable."""
        for shapes, arrays in zip(self._parts, slots, strict=True):
            stop = 0
            for shape in shapes:
                start, stop = stop, stop + math.prod(shape)
                yield [array.reshape(-1)[start:stop].reshape(shape) for array in arrays]

    def states(self) -> list[list[HostArray]]:
        """For each variable, in the order of `build`, copies of its slots in Keras's units."""
        units = self.slot_units()
        slots = [
            [backend.to_numpy(a) * k for a, k in zip(s, units, strict=True)] for s in self._state
        ]
        return list(self._each_variable(slots))

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
        dtype = backend.host.result_type("float32", *rest)  # what comes in float64 is not cut here
        ready = [[backend.host.empty(a.shape, dtype) for a in slots] for slots in self._state]
        came, each = iter(rest), list(self._each_variable(ready))
        with backend.ignore_overflow():
            for slot in [s for v in each for s in v[:2]] + [s for v in each for s in v[2:]]:
                slot[...] = next(came)
            units = self.slot_units()
            ready = [[slot / k for slot, k in zip(s, units, strict=True)] for s in ready]
        if not all(backend.host.isfinite(slot).all() for slots in ready for slot in slots):
            raise ValueError(
                "Expected finite variables, received NaN, infinity, or numbers too large to be used"
            )
        self.learning_rate = float(rate)
        kept = [getattr(self, name) for name in self.kept]
        built_for = {"arrays": self._arrays, "parts": self._parts}
        numbers = {"iterations": int(iterations), "learning_rate": self._learning_rate}
        self.set_state({**built_for, **numbers, "state": ready, "kept": kept})

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_checked": None}
