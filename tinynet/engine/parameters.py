"""The parameters of a model: one vector of all its weights, and one of all their gradients.

A layer makes its weights as arrays of its own. `gather` moves those with a gradient into the
vector, end to end, and the layer goes on with views of its parts: ``layer.kernel`` and the vector
are the same numbers. So an optimizer steps through all weights in a few operations, and to put a
model back or to move it to another device is, in the main, to copy a vector. State that training
does not change by gradients stays an array of the layer's own.

Weights have one owner. The layers of a second model may be those of a first: then the second
borrows them, and leaves them where they are.
"""

import weakref
from typing import Any, NamedTuple

from tinynet import backend
from tinynet.backend import Array
from tinynet.layers import Layer

Run = tuple[slice, list[tuple[int, ...]]]  # a part of the vectors, and the shapes in it


class View(NamedTuple):
    """A weight, and the part of the vector where it lies."""

    layer: Layer
    name: str
    part: slice
    shape: tuple[int, ...]

    def of(self, vector: Array) -> Array:
        return vector[self.part].reshape(self.shape)


class Parameters:
    """The weights of some layers in two vectors, in the backend in use when they were gathered.

    Attributes:
        flat: all weights that have a gradient, in the order of `get_weights`.
        gradients: their gradients.
        runs: the unbroken runs of weights that train, as of the last `train`.
        pairs: for each run, its gradients and its weights.
    """

    def __init__(self, model: str, layers: list[Layer]) -> None:
        self.model, self.layers = model, layers  # its name, and its live list of layers
        self.flat: Array = None
        self.gradients: Array = None
        self.runs: list[Run] = []
        self.pairs: tuple[tuple[Array, Array], ...] = ()
        self._views: list[View] = []

    def gather(self, dtype: str) -> None:
        """Move all weights into one vector, or leave those that are borrowed where they are.

        All is made in the backend in use, and nothing changes until all is made.
        """
        if self.lender is not None:
            return
        views: list[View] = []
        stop = 0
        for layer in self.layers:
            for name in layer.trained_names:
                weight = getattr(layer, name)
                start, stop = stop, stop + weight.size
                views.append(View(layer, name, slice(start, stop), weight.shape))
        flat, gradients = backend.xp.empty(stop, dtype), backend.xp.zeros(stop, dtype)
        for view in views:
            backend.fill(view.of(flat), getattr(view.layer, view.name))
        names = [(layer, name) for layer in self.layers for name in layer.kept_names]
        kept = [(layer, name, backend.to_active(getattr(layer, name))) for layer, name in names]
        self.flat, self.gradients, self._views = flat, gradients, views
        self.pairs, self.runs = (), []
        for view in views:
            rebind(view.layer, view.name, view.of(flat))
            setattr(view.layer, f"{view.name}_gradient", view.of(gradients))
        for layer, name, state in kept:
            rebind(layer, name, state)
        for layer in self.layers:
            layer.owner = weakref.ref(self)
            layer.forget()

    def ensure(self, dtype: str) -> None:
        """Have all weights in the vectors; layers whose former owner is gone are gathered now.

        Raises:
            ValueError: if another array took a weight's place: training would miss it.
        """
        if any(owner_of(layer) is not self for layer in self.layers):
            self.gather(dtype)
        for layer in self.layers:
            for name in layer.trained_names:
                if not self._holds(getattr(layer, name)):
                    raise ValueError(
                        f"Expected {layer.name}.{name} to be the array that the layer was built "
                        "with, received another one in its place. To change values, write into "
                        f"it: layer.{name}[...] = values, or call layer.set_weights."
                    )

    def _holds(self, weight: Any) -> bool:
        """Whether `weight` is a view of the vector."""
        return self.flat is not None and getattr(weight, "base", None) is self.flat

    def train(self, trainable: bool) -> list[list[tuple[int, ...]]]:
        """Make `pairs` of the weights that train, and return the shapes of the weights in each."""
        runs: list[Run] = []
        for view in self._views:
            if not (trainable and view.layer.trainable):
                continue
            follows = runs and runs[-1][0].stop == view.part.start
            run, shapes = runs.pop() if follows else (view.part, [])
            runs.append((slice(run.start, view.part.stop), [*shapes, view.shape]))
        if runs != self.runs:  # else keep the arrays that an optimizer knows
            self.pair(runs)
        return [shapes for _, shapes in runs]

    def pair(self, runs: list[Run]) -> None:
        """Make the pairs of these runs; of borrowed weights, none."""
        if self.flat is not None:
            self.runs = runs
            self.pairs = tuple((self.gradients[run], self.flat[run]) for run, _ in runs)

    # Put back

    def copy(self) -> tuple[Array, list[tuple[Layer, str, Array]]]:
        """All values, for `restore`: the vector, and what the layers hold beside it."""
        flat = None if self.flat is None else self.flat.copy()
        names = [(x, name) for x in self.layers for name in (*x.trained_names, *x.kept_names)]
        held = [(layer, name, getattr(layer, name)) for layer, name in names]
        return flat, [
            (x, n, a.copy()) for x, n, a in held if hasattr(a, "copy") and not self._holds(a)
        ]

    def restore(self, copied: tuple[Array, list[tuple[Layer, str, Array]]]) -> None:
        """Return to what `copy` gave."""
        flat, beside = copied
        for view in self._views if flat is not None else ():
            view.of(self.flat)[...] = view.of(flat)
            if not self._holds(getattr(view.layer, view.name)):
                setattr(view.layer, view.name, view.of(self.flat))
        for layer, name, state in beside:
            now = getattr(layer, name)
            if getattr(now, "shape", None) == state.shape:
                backend.fill(now, state)  # also where somebody else holds the array
            else:
                setattr(layer, name, state)

    # Borrow

    @property
    def lender(self) -> "Parameters | None":
        """The parameters of another model that own weights of this one, if there are any."""
        owners = (owner_of(layer) for layer in self.layers)
        return next((owner for owner in owners if owner not in (None, self)), None)

    # Move

    @property
    def anchor(self) -> Array | None:
        """A weight: where it is, there the model computes. None as long as there is no weight."""
        return next((weight for layer in self.layers for weight in layer.weights), None)

    def places(self) -> dict[str, backend.Place]:
        """Where the weights of each layer are."""
        return {layer.name: backend.place_of(w) for layer in self.layers for w in layer.weights}

    def check_place(self) -> None:
        """Raise a ValueError if weights are in several places, as borrowed ones can come to be."""
        if len(set(self.places().values())) > 1:
            words = ", ".join(f"{name} in {place.name}" for name, place in self.places().items())
            raise ValueError(
                f"Expected all weights of model '{self.model}' in one place, received {words}. "
                'Write: model.to("numpy"), with the model that lends its layers before this one'
            )

    def move(self, dtype: str) -> None:
        """Go to the backend in use, with those layers that nobody owns; borrowed ones are there.

        Raises:
            ValueError: if borrowed ones are not; then nothing is moved.
        """
        lender = self.lender
        free = [layer for layer in self.layers if owner_of(layer) is None]
        lent = [weight for layer in self.layers if layer not in free for weight in layer.weights]
        if lender is not None and any(backend.place_of(w) != backend.here() for w in lent):
            raise ValueError(
                f"Expected a model whose layers are its own, but layers of '{self.model}' live in "
                f"model '{lender.model}'. Move that one first, then this one."
            )
        # A throwaway owner: the layers stay free.
        (self if lender is None else Parameters(self.model, free)).gather(dtype)


def owner_of(layer: Layer) -> Parameters | None:
    """The parameters in whose vectors a layer's weights are; None if there are none, or no more."""
    owner: Any = layer.owner
    return None if owner is None else owner()


def rebind(layer: Layer, name: str, array: Array) -> None:
    """Have a layer go on with an array that holds the same values as its own of that name."""
    old = getattr(layer, name)
    for attribute, value in list(vars(layer).items()):
        if value is old:  # also where a subclass keeps the weight under a name of its own
            setattr(layer, attribute, array)
