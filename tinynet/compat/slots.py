"""The state of an optimizer: its slots, and their form in Keras and in backups."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence

from tinynet import backend
from tinynet.backend.types import Array, HostArray, State
from tinynet.compat import rules
from tinynet.compat.schedule import HasLearningRate

# Numbers are flushed that often, below that many times the least number that is not subnormal: too
# large to become subnormal before the next time, if the decay rate is 0.8 or more.
FLUSH_STEPS, NEARLY_SUBNORMAL = 64, 1e8


@backend.elementwise
def flushed(x: Array, least: float) -> Array:
    return x * (backend.absolute(x) > least)


class HasState(HasLearningRate):
    """The base of optimizers: the arrays that they change, beside the weights."""

    # The names of the arrays that an optimizer keeps for each array of weights, initially zero.
    slots: tuple[str, ...] = ()

    # Those that decay to 0 where gradients are 0, and are then set to 0, see `flush`.
    fading: tuple[str, ...] = ()

    # How many slots of a variable stand together in `variables`; the others follow, by slot.
    paired = 2

    # The names of other numeric attributes that it changes; rollback and backups include them.
    kept: tuple[str, ...] = ()

    rebind: Callable[..., None]
    _arrays: list[Array] | None
    _state: list[list[Array]]
    _variable_shapes: list[Sequence[tuple[int, ...]]]

    @property
    def built(self) -> bool:
        return self._arrays is not None

    def _places(self) -> Iterator[list[slice]]:
        """Yield the slices of the variables in each array, taken as a row."""
        for shapes in self._variable_shapes:
            stops = list(itertools.accumulate(map(math.prod, shapes)))
            yield [slice(a, b) for a, b in zip([0, *stops], stops, strict=False)]

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
            "parts": (self._variable_shapes, self._decays),
            "iterations": self.iterations,
            "learning_rate": None if callable(self.set_rate) else self.set_rate,
            "state": copies,
            "kept": [getattr(self, name) for name in self.kept],
        }

    def set_state(self, saved: State) -> None:
        """Restore what `get_state` returned, from whichever device; `saved` is not changed."""
        self.iterations = saved["iterations"]
        if saved["learning_rate"] is not None:
            self.learning_rate = saved["learning_rate"]
        if saved["arrays"] is not self._arrays:
            self._variable_shapes, self._decays = saved["parts"]
            self.rebind(saved["arrays"], [[s.copy() for s in slots] for slots in saved["state"]])
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
        for shapes, places, arrays in zip(
            self._variable_shapes, self._places(), slots, strict=True
        ):
            for shape, place in zip(shapes, places, strict=True):
                yield [array.reshape(-1)[place].reshape(shape) for array in arrays]

    def _in_order(self, slots: list[list[HostArray]]) -> list[HostArray]:
        """Return the slots of all variables in Keras's order."""
        by_variable, paired = list(self._by_variable(slots)), self.paired
        return [slot for each in by_variable for slot in each[:paired]] + [
            each[n] for n in range(paired, len(self.slots)) for each in by_variable
        ]

    def slots_by_variable(self) -> list[list[HostArray]]:
        """Return copies of each variable's slots, in the order of `build`."""
        return list(self._by_variable([list(map(backend.to_numpy, s)) for s in self._state]))

    @property
    def variables(self) -> list[HostArray]:
        """Copies of the whole state, in Keras's order: iteration, learning rate (unless it is
        computed), then the first `paired` slots of the first variable, those of the second, and so
        on; then the remaining slots, one after the other."""
        np, rate = backend.host, self.set_rate
        flat = [np.asarray(self.iterations, "int32")]
        flat += [] if callable(rate) else [np.asarray(rate, "float32")]
        return flat + self._in_order([list(map(backend.to_numpy, s)) for s in self._state])

    def set_variables(self, variables: Sequence[HostArray]) -> None:
        """Restore `variables` of this optimizer or of Keras's; the optimizer must be built.

        Raises:
            ValueError: if their number or a shape differs, or if they are not finite; then nothing
                is changed.
        """
        shapes = [array.shape for array in self.variables]
        if not self.built or [backend.host.shape(array) for array in variables] != shapes:
            raise ValueError(
                f"Expected {len(shapes)} variables with the shapes of {type(self).__name__}."
                f"variables, received {len(variables)}, or other shapes. Write: optimizer."
                "set_variables(other.variables), both built for weights of the same shapes"
            )
        iterations, *rest = variables
        rate = None if callable(self.set_rate) else rules.learning_rate(float(rest.pop(0)))
        state = [[backend.host.empty(a.shape, a.dtype) for a in slots] for slots in self._state]
        with backend.ignore_overflow():
            for slot, values in zip(self._in_order(state), rest, strict=True):
                slot[...] = values
        if not all(backend.host.isfinite(slot).all() for slots in state for slot in slots):
            raise ValueError(
                "Expected finite variables, received NaN, infinity, or numbers too large to be used"
            )
        kept = [getattr(self, name) for name in self.kept]
        saved = {"iterations": int(iterations), "learning_rate": rate, "state": state, "kept": kept}
        self.set_state({**saved, "arrays": self._arrays, "parts": ()})

    def set_weights(self, weights: Sequence[HostArray]) -> None:
        """Do the same; its name in Keras."""
        self.set_variables(weights)

    def save_own_variables(self, store: MutableMapping[str, HostArray]) -> None:
        """Put copies of `variables` into `store`, as ``"0"``, ``"1"``, …"""
        store.update({str(number): array for number, array in enumerate(self.variables)})

    def load_own_variables(self, store: Mapping[str, HostArray]) -> None:
        """Set the variables to those that `save_own_variables` put into `store`."""
        self.set_variables([store[str(number)] for number in range(len(store))])
