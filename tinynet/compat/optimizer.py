"""The state of an optimizer: the arrays that it belongs to, and its form in Keras and backups.

`optimizers.Optimizer` derives from this, and defines how a gradient becomes a step.
"""

import math
import operator
from collections.abc import Iterable, Iterator, Sequence

from tinynet import backend, config
from tinynet.backend.types import UNSET, Array, HostArray, Library, Pairs, State
from tinynet.compat import naming, rules
from tinynet.compat.configuration import Configurable

# Numbers are flushed that often, below that many times the least number that is not subnormal: too
# large to become subnormal before the next time, if the decay rate is 0.8 or more.
FLUSH_STEPS, NEARLY_SUBNORMAL = 64, 1e8


@backend.elementwise
def flushed(x: Array, least: float) -> Array:
    return x * (backend.absolute(x) > least)


class OptimizerBase(Configurable):
    """An optimizer without the mathematics: its arrays, slots and variables."""

    # The names of the arrays that an optimizer keeps for each array of weights, initially zero.
    slots: tuple[str, ...] = ()

    # Those that decay to 0 where gradients are 0, and are then set to 0, see `flush`.
    fading: tuple[str, ...] = ()

    # The names of other numeric attributes that it changes; rollback and backups include them.
    kept: tuple[str, ...] = ()

    def __init__(
        self,
        learning_rate: float = 0.001,
        name: str | None = None,
        weight_decay: float | None = None,
    ) -> None:
        self.name = naming.unique_name(self) if name is None else name
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.iterations = 0
        self._variable_shapes: list[Sequence[tuple[int, ...]]] = []
        self._state: list[list[Array]] = []
        self._scratch: list[Array] = []
        self._arrays: list[Array] | None = None
        self._last_pairs: Pairs | None = None  # those of the last step

    def _set_learning_rate(self, value: float) -> None:
        self._learning_rate = float(
            backend.host.asarray(rules.learning_rate(value), config.floatx())
        )

    # The factor of each step, rounded to `floatx`, as in Keras.
    learning_rate = property(operator.attrgetter("_learning_rate"), _set_learning_rate)

    @property
    def built(self) -> bool:
        return self._arrays is not None

    def build(
        self,
        var_list: Iterable[Array],
        parts: Iterable[Sequence[tuple[int, ...]]] | None = None,
    ) -> None:
        """Create the state for the arrays that will be updated.

        Arguments:
            var_list: the arrays of weights.
            parts: for each array, the shapes of the variables that are stored in it end to end;
                by default, each array is one variable.
        """
        arrays = list(var_list)
        for weights in arrays:
            if weights.dtype.kind != "f":
                raise ValueError(
                    f"Expected weights of a float type, received dtype {weights.dtype}. "
                    'Write: weights = weights.astype("float32")'
                )
        self.scalar_type = backend.host.dtype(config.floatx()).type  # the type of a step's scalars
        state = [[backend.of(a).zeros_like(a) for _ in self.slots] for a in arrays]
        self.rebind(arrays, state)
        self._variable_shapes = [[a.shape] for a in arrays] if parts is None else list(parts)

    def slots_on_current_device(self) -> tuple[list[list[Array]], list[Array]]:
        """Return the slots and new scratch arrays in the backend in use, for `rebind`."""
        state = [[backend.to_active(array) for array in slots] for slots in self._state]
        return state, self._new_scratch(backend.xp, self._arrays or ())

    def _new_scratch(self, library: Library, arrays: Iterable[Array]) -> list[Array]:
        """Return an array to write to for each of `arrays`, if `update` may need it."""
        formulas = naming.is_builtin(type(self))  # which need none
        return [UNSET if formulas else library.empty(a.shape, a.dtype) for a in arrays]

    def rebind(
        self,
        arrays: list[Array] | None,
        state: list[list[Array]] | None = None,
        scratch: list[Array] | None = None,
    ) -> None:
        """Continue with `arrays`, which replace those of `build`, and with these slots."""
        if scratch is None:
            scratch = self._new_scratch(backend.of(arrays[0]), arrays) if arrays else []
        self._scratch, self._arrays, self._last_pairs = scratch, arrays, None
        self._state = self._state if state is None else state

    def carry_over(
        self,
        before: list[slice],
        after: list[slice],
        arrays: list[Array],
        parts: list[list[tuple[int, ...]]],
    ) -> None:
        """Continue with other parts of the same vector of weights: some were frozen, or unfrozen.

        Arguments:
            before, after: the slices of the vector that were and are updated.
            arrays, parts: those `after`, as for `build`; the slots of new ones are zero.
        """
        size = max((run.stop for run in (*before, *after)), default=0)
        whole = [[backend.xp.zeros(size, a.dtype) for _ in self.slots] for a in arrays[:1]]
        for vectors in whole:
            for run, slots in zip(before, self._state, strict=True):
                for vector, slot in zip(vectors, slots, strict=True):
                    vector[run] = slot
        state = [[vector[run].copy() for vectors in whole for vector in vectors] for run in after]
        self.rebind(arrays, state)
        self._variable_shapes = list(parts)

    def check_pairs(self, pairs: Pairs) -> None:
        """Build on the first call; later, raise a ValueError unless the arrays are the same."""
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
                f"the same order, received {len(pairs)} arrays. An optimizer's state belongs to "
                "its arrays: create a new optimizer for other arrays."
            )
        self._last_pairs = pairs

    def is_built_for(self, arrays: Sequence[Array]) -> bool:
        """Return whether the state belongs to exactly these arrays, in this order."""
        known = self._arrays
        return (
            known is not None
            and len(known) == len(arrays)
            and all(map(operator.is_, known, arrays))
        )

    # The state: the slots of each array, as arrays of its shape

    def get_state(self, into: State | None = None) -> State:
        """Return a copy of everything that training changes, for `set_state`.

        The arrays of `into`, which an earlier call returned, are used again if they fit.
        """
        if into is not None and into["arrays"] is self._arrays:
            copies = into["state"]
            for slots, slot_copies in zip(self._state, copies, strict=True):
                for slot, slot_copy in zip(slots, slot_copies, strict=True):
                    slot_copy[...] = slot
        else:
            copies = [[array.copy() for array in slots] for slots in self._state]
        return {
            "arrays": self._arrays,
            "parts": self._variable_shapes,
            "iterations": self.iterations,
            "learning_rate": self._learning_rate,
            "state": copies,
            "kept": [getattr(self, name) for name in self.kept],
        }

    def set_state(self, saved: State) -> None:
        """Restore what `get_state` returned, from whichever device; `saved` is not changed."""
        self.iterations, self._learning_rate = saved["iterations"], saved["learning_rate"]
        if saved["arrays"] is not self._arrays:
            self._variable_shapes = saved["parts"]
            state = [[slot.copy() for slot in slots] for slots in saved["state"]]
            self.rebind(saved["arrays"], state)
        for slots, values in zip(self._state, saved["state"], strict=True):
            for slot, value in zip(slots, values, strict=True):
                backend.fill(slot, value)  # in place: there may be no free memory
        for name, value in zip(self.kept, saved["kept"], strict=True):
            setattr(self, name, value)

    def flush(self) -> None:
        """Set numbers of `fading` slots to 0 that are nearly subnormal.

        Rounded to nearest, 0.9 times a small subnormal number is that number: it never gets to 0,
        and a CPU computes many times more slowly with it. A number that small changes no weight.
        """
        for slots in self._state:
            for name, slot in zip(self.slots, slots, strict=False):
                if name in self.fading and not backend.on_device(slot):
                    least = NEARLY_SUBNORMAL * float(backend.host.finfo(slot.dtype).tiny)
                    flushed(slot, least, out=slot)

    def _by_variable(self, slots: list[list[HostArray]]) -> Iterator[list[HostArray]]:
        """Yield the slots of each variable, where one array holds those of several variables."""
        for shapes, arrays in zip(self._variable_shapes, slots, strict=True):
            stop = 0
            for shape in shapes:
                start, stop = stop, stop + math.prod(shape)
                yield [array.reshape(-1)[start:stop].reshape(shape) for array in arrays]

    def slots_by_variable(self) -> list[list[HostArray]]:
        """Return copies of each variable's slots, in the order of `build`."""
        return list(self._by_variable([list(map(backend.to_numpy, s)) for s in self._state]))

    @property
    def variables(self) -> list[HostArray]:
        """Copies of the whole state, in Keras's order: iteration, learning rate, then the first two
        slots of the first variable, those of the second, and so on; then the remaining slots."""
        np, slots_by_variable = backend.host, self.slots_by_variable()
        flat = [np.asarray(self.iterations, "int32"), np.asarray(self.learning_rate, "float32")]
        flat += [slot for slots in slots_by_variable for slot in slots[:2]]
        return [*flat, *(slot for slots in slots_by_variable for slot in slots[2:])]

    def set_variables(self, variables: Sequence[HostArray]) -> None:
        """Restore `variables` of this optimizer or of Keras's; the optimizer must be built.

        Raises:
            ValueError: if their number or a shape differs, or if they are not finite; then nothing
                is changed.
        """
        shapes = [array.shape for array in self.variables]
        if [backend.host.shape(array) for array in variables] != shapes:
            raise ValueError(
                f"Expected {len(shapes)} variables with the shapes of {type(self).__name__}."
                f"variables, received {len(variables)}, or other shapes. Write: optimizer."
                "set_variables(other.variables), both built for weights of the same shapes"
            )
        iterations, rate, *rest = variables
        state = [[backend.host.empty(a.shape, a.dtype) for a in slots] for slots in self._state]
        values, slots_by_variable = iter(rest), list(self._by_variable(state))
        with backend.ignore_overflow():
            for slot in [s for v in slots_by_variable for s in v[:2]] + [
                s for v in slots_by_variable for s in v[2:]
            ]:
                slot[...] = next(values)
        if not all(backend.host.isfinite(slot).all() for slots in state for slot in slots):
            raise ValueError(
                "Expected finite variables, received NaN, infinity, or numbers too large to be used"
            )
        self.learning_rate = float(rate)
        kept = [getattr(self, name) for name in self.kept]
        built_for = {"arrays": self._arrays, "parts": self._variable_shapes}
        numbers = {"iterations": int(iterations), "learning_rate": self._learning_rate}
        self.set_state({**built_for, **numbers, "state": state, "kept": kept})

    def __getstate__(self) -> State:
        return {**vars(self), "_last_pairs": None}
