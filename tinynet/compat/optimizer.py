"""The base of optimizers: the arrays that they update, and what happens to gradients before.

`optimizers.Optimizer` derives from this, and defines how a gradient becomes a step.
"""

import functools
import math
import operator
import re
import weakref
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tinynet import backend, config
from tinynet.backend.types import UNSET, Array, Identifier, Library, State
from tinynet.compat import checks, naming
from tinynet.compat.schedule import Computed
from tinynet.compat.slots import HasState

GradientPairs = tuple[tuple[Array | None, Array], ...]


class Variable(NamedTuple):
    """A variable that is updated: its name, its array, and the arrays that held it before."""

    name: str
    array: Array
    former: Sequence[weakref.ref[Array]] = ()

    def arrays(self) -> list[Array]:
        return [self.array, *(a for former in self.former if (a := former()) is not None)]


@backend.elementwise
def within(limit: float, g: Array) -> Array:
    return backend.minimum(backend.maximum(g, -limit), limit)


class Part(NamedTuple):
    """An array of weights, in a step: its gradient, its slots, and its parts that decay."""

    gradient: Array
    weights: Array
    state: list[Array]
    scratch: Array
    decayed: Sequence[Array]


class OptimizerBase(HasState):
    """An optimizer without the mathematics: its arrays, slots and variables."""

    def __init__(
        self,
        learning_rate: Identifier = 0.001,
        name: str | None = None,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        global_clipnorm: float | None = None,
        clipvalue: float | None = None,
    ) -> None:
        self.name = naming.unique_name(self) if name is None else name
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.clipnorm, self.global_clipnorm, self.clipvalue = clipnorm, global_clipnorm, clipvalue
        if sum(limit is not None for limit in (clipnorm, global_clipnorm, clipvalue)) > 1:
            raise ValueError(
                "Expected only one of clipnorm, clipvalue and global_clipnorm, received clipnorm="
                f"{clipnorm}, clipvalue={clipvalue}, global_clipnorm={global_clipnorm}. "
                "Write: clipnorm=1.0"
            )
        self.iterations = 0
        self._excluded: tuple[list[Array], str] = ([], "")  # from weight decay
        self._variable_shapes: list[Sequence[tuple[int, ...]]] = []
        self._decays: list[list[slice]] = []  # the parts of each array that decay
        self._state: list[list[Array]] = []
        self._scratch: list[Array] = []
        self._clipped: list[Array] = []
        self._parts: list[Part] = []  # of `_last_pairs`
        self._arrays: list[Array] | None = None
        self._last_pairs: GradientPairs | None = None  # those of the last step

    def build(
        self, var_list: Iterable[Array], parts: Sequence[Sequence[Variable]] | None = None
    ) -> None:
        """Create the state for the arrays that will be updated.

        Arguments:
            var_list: the arrays of weights.
            parts: for each array, the variables that are stored in it, end to end; by default,
                each array is one variable.
        """
        arrays = list(var_list)
        for weights in arrays:
            if weights.dtype.kind != "f":
                raise ValueError(
                    f"Expected weights of a float type, received dtype {weights.dtype}. "
                    'Write: weights = weights.astype("float32")'
                )
        self.scalar_type = backend.host.dtype(config.floatx()).type  # the type of a step's scalars
        self.rebind(arrays, [[backend.of(a).zeros_like(a) for _ in self.slots] for a in arrays])
        single = [[Variable(getattr(a, "name", ""), a)] for a in arrays]
        self._set_parts(single if parts is None else parts)

    def _set_parts(self, parts: Sequence[Sequence[Variable]]) -> None:
        """Set which variables are in each array, and which of them decay."""
        parts = [[Variable(*variable) for variable in each] for each in parts]
        self._variable_shapes = [[variable.array.shape for variable in each] for each in parts]
        excluded, pattern = self._excluded
        self._decays = []
        for each, places in zip(parts, self._places(), strict=True):
            self._decays.append([
                place
                for variable, place in zip(each, places, strict=True)
                if not any(own is other for own in variable.arrays() for other in excluded)
                and not (pattern and re.search(pattern, variable.name))
            ])  # fmt: skip

    def exclude_from_weight_decay(
        self, var_list: Iterable[Array] | None = None, var_names: Iterable[str] | None = None
    ) -> None:
        """Let weight decay leave some variables as they are; call this before `build`.

        Arguments:
            var_list: the variables, such as ``[layer.bias]`` of a model that is built.
            var_names: texts of which one is in the name of a variable, such as ``["bias"]``.
        """
        if self.built:
            raise ValueError(
                f"Expected exclude_from_weight_decay before '{self.name}' is built, received a "
                "call after it. Write: optimizer.exclude_from_weight_decay(…) before fit or build"
            )
        self._excluded = list(var_list or ()), "|".join(var_names or ())

    def begin_step(self, pairs: GradientPairs) -> list[Part]:
        """Return the parts of a step whose rate is computed, or whose gradients are clipped."""
        if isinstance(self._source, Computed):
            self._source.freeze(self.iterations)
        gradients = [g for g, _ in pairs]
        if self.clips:
            gradients = self._clip_gradients(gradients)
        return self._parts_for(gradients)

    def _parts_for(self, gradients: Sequence[Array | None]) -> list[Part]:
        """Return the arrays to update, each with its gradient; those without one are left out."""
        arrays = self._arrays or []
        return [
            Part(g, w, self._state[n], self._scratch[n], self._decayed(n, w))
            for n, (g, w) in enumerate(zip(gradients, arrays, strict=True))
            if g is not None
        ]

    @property
    def treats_all_alike(self) -> bool:
        """Whether a weight's step depends on its own gradient alone, by one rule for all."""
        return not self.clips and not any(self._excluded)

    @property
    def clips(self) -> bool:
        return bool(self.clipnorm or self.clipvalue or self.global_clipnorm)

    @property
    def may_be_replayed(self) -> bool:
        """Whether a step depends on nothing but numbers that the host can know beforehand."""
        own = callable(self.set_rate) and not naming.is_builtin(type(self.set_rate))
        return not own and self.treats_all_alike

    def _decayed(self, number: int, weights: Array) -> Sequence[Array]:
        """Return the parts of an array of weights that decay."""
        places = self._decays[number]
        if len(places) == len(self._variable_shapes[number]):
            return (weights,)
        return [weights.reshape(-1)[place] for place in places]

    def _clip_gradients(self, gradients: Sequence[Array | None]) -> list[Array | None]:
        """Return copies of gradients, clipped, in arrays that are used again."""
        given = [g for g in gradients if g is not None]
        if [c.shape for c in self._clipped] != [g.shape for g in given]:
            self._clipped = [backend.of(g).empty(g.shape, g.dtype) for g in given]
        results = iter(self._clipped)
        clipped = [None if g is None else next(results) for g in gradients]
        limit = self.clipvalue or self.clipnorm or self.global_clipnorm or math.inf
        if self.clipvalue:
            for g, out in zip(given, self._clipped, strict=True):
                within(limit, g, out=out)
            return clipped
        known = self._places() if self.built else ([slice(None)] for _ in gradients)
        parts = [  # each variable's gradient, and where it goes when it is clipped
            (g.reshape(-1)[place], out.reshape(-1)[place])
            for g, out, places in zip(gradients, clipped, known, strict=True)
            if g is not None and out is not None
            for place in places
        ]
        squares = [backend.vdot(g, g) for g, _ in parts]
        if self.global_clipnorm:
            squares = [functools.reduce(operator.add, squares)] * len(squares)
        for (g, out), square in zip(parts, squares, strict=True):
            xp = backend.of(g)
            # Everything becomes NaN if the sum of squares is not finite, as in Keras.
            lost = square - square if self.global_clipnorm else 0
            xp.multiply(g, limit / xp.maximum(xp.sqrt(square), limit) + lost, out=out)
        return clipped

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
        self._clipped = []
        self._state = self._state if state is None else state

    def carry_over(
        self,
        before: list[slice],
        after: list[slice],
        arrays: list[Array],
        parts: Sequence[Sequence[Variable]],
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
        self._set_parts(parts)

    def check_pairs(self, pairs: GradientPairs) -> None:
        """Build on the first call; later, raise a ValueError unless the arrays are the same."""
        gradients = [gradient for gradient, _ in pairs]
        if pairs and all(gradient is None for gradient in gradients):
            raise ValueError(
                "Expected gradients, received None for every variable: No gradients provided for "
                "any variable. Write: apply_gradients([(gradient, weights), …])"
            )
        for gradient, weights in pairs:
            if gradient is not None and gradient.shape != weights.shape:
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
        missing = sum(gradient is None for gradient in gradients)
        if missing:
            checks.warn(
                f"Expected a gradient of every variable, received None for {missing} of "
                f"{len(pairs)}. They stay as they are"
            )
        self._last_pairs, self._parts = pairs, self._parts_for(gradients)

    def is_built_for(self, arrays: Sequence[Array]) -> bool:
        """Return whether the state belongs to exactly these arrays, in this order."""
        known = self._arrays
        return (
            known is not None
            and len(known) == len(arrays)
            and all(map(operator.is_, known, arrays))
        )

    def apply(
        self, grads: Iterable[Array], trainable_variables: Iterable[Array] | None = None
    ) -> None:
        """Do the same as `apply_gradients`, by default for the arrays of `build`."""
        gradients = list(grads)
        known = self._arrays if trainable_variables is None else trainable_variables
        arrays = [] if known is None else list(known)
        if gradients and len(gradients) != len(arrays):
            raise ValueError(
                f"Expected '{self.name}' to be built for {len(gradients)} variables, as many as "
                f"the gradients, received {len(arrays)}. Write: apply(gradients, variables)"
            )
        if gradients:
            self.apply_gradients(zip(gradients, arrays, strict=True))

    def __getstate__(self) -> State:
        return {**super().__getstate__(), "_last_pairs": None, "_parts": []}
