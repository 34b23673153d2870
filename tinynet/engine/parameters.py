"""The parameters of a model: one vector of all its weights, and one of all their gradients.

A layer first creates its weights as separate arrays. `gather` moves those with a gradient into the
vector, end to end, and gives the layer views of its parts instead: ``layer.kernel`` and the vector
share memory. So an optimizer updates all weights in a few operations, and restoring a model or
moving it to another device is mainly the copy of one vector. State without a gradient stays in
separate arrays of the layer.

Weights have one owner. A second model may use the layers of a first one: it then borrows their
weights, and leaves them where they are.
"""

import weakref
from typing import NamedTuple

from tinynet import backend
from tinynet.backend.types import UNSET, Array, Device, Pairs
from tinynet.layers import Layer

Run = tuple[slice, list[tuple[int, ...]]]  # a slice of the vectors, and the shapes in it


class View(NamedTuple):
    """A weight, and the slice of the vector that holds it."""

    layer: Layer
    name: str
    part: slice
    shape: tuple[int, ...]

    def of(self, vector: Array) -> Array:
        return vector[self.part].reshape(self.shape)


class Parameters:
    """The weights and gradients of some layers in two vectors, in the backend used by `gather`.

    Attributes:
        flat: all weights that have a gradient, in the order of `get_weights`.
        gradients: their gradients.
        runs: the contiguous slices of weights that train, as of the last `select_trainable`.
        pairs: for each run, its gradients and its weights.
    """

    def __init__(self, model_name: str, layers: list[Layer]) -> None:
        self.model_name, self.layers = model_name, layers  # the model's live list of layers
        self.flat: Array = UNSET
        self.gradients: Array = UNSET
        self.runs: list[Run] = []
        self.pairs: Pairs = ()
        self._views: list[View] = []

    def gather(self, dtype: str) -> None:
        """Move all weights into one vector; if any of them are borrowed, do nothing.

        All arrays are created in the backend in use, and nothing changes until they all exist.
        """
        if self.other_owner is not None:
            return
        views: list[View] = []
        stop = 0
        for layer in self.layers:
            for name in layer.trainable_names:
                weight = getattr(layer, name)
                start, stop = stop, stop + weight.size
                views.append(View(layer, name, slice(start, stop), weight.shape))
        flat, gradients = backend.xp.empty(stop, dtype), backend.xp.zeros(stop, dtype)
        for view in views:
            backend.fill(view.of(flat), getattr(view.layer, view.name))
        names = [(layer, name) for layer in self.layers for name in layer.non_trainable_names]
        states = [(layer, name, backend.to_active(getattr(layer, name))) for layer, name in names]
        self.flat, self.gradients, self._views = flat, gradients, views
        self.pairs, self.runs = (), []
        for view in views:
            rebind(view.layer, view.name, view.of(flat))
            setattr(view.layer, f"{view.name}_gradient", view.of(gradients))
        for layer, name, state in states:
            rebind(layer, name, state)
        for layer in self.layers:
            layer.owner = weakref.ref(self)
            layer.clear_caches()

    def ensure_gathered(self, dtype: str) -> None:
        """Make sure that the vectors hold all weights; gather layers whose former owner is gone.

        Raises:
            ValueError: if a weight was replaced by another array, which training would not update.
        """
        if any(owner_of(layer) is not self for layer in self.layers):
            self.gather(dtype)
        for layer in self.layers:
            for name in layer.trainable_names:
                if not self._holds(getattr(layer, name)):
                    raise ValueError(
                        f"Expected {layer.name}.{name} to be the array that the layer was built "
                        "with, received another one in its place. To change values, write into "
                        f"it: layer.{name}[...] = values, or call layer.set_weights."
                    )

    def _holds(self, weight: object) -> bool:
        """Return whether `weight` is a view of the vector."""
        return self.flat is not None and getattr(weight, "base", None) is self.flat

    def select_trainable(self, trainable: bool) -> list[list[tuple[int, ...]]]:
        """Set `pairs` to the weights that train, and return the shapes of the weights in each."""
        runs: list[Run] = []
        for view in self._views:
            if not (trainable and view.layer.trainable):
                continue
            follows = runs and runs[-1][0].stop == view.part.start
            run, shapes = runs.pop() if follows else (view.part, [])
            runs.append((slice(run.start, view.part.stop), [*shapes, view.shape]))
        if runs != self.runs:  # otherwise keep the optimizer's arrays
            self.make_pairs(runs)
        return [shapes for _, shapes in runs]

    def make_pairs(self, runs: list[Run]) -> None:
        """Set `runs` and `pairs`, unless the weights are borrowed."""
        if self.flat is not None:
            self.runs = runs
            self.pairs = tuple((self.gradients[run], self.flat[run]) for run, _ in runs)

    # Copy and restore

    def copy(self) -> tuple[Array, list[tuple[Layer, str, Array]]]:
        """Return copies of all values for `restore`: the vector, and the arrays outside it."""
        flat = None if self.flat is None else self.flat.copy()
        names = [
            (x, name) for x in self.layers for name in (*x.trainable_names, *x.non_trainable_names)
        ]
        held = [(layer, name, getattr(layer, name)) for layer, name in names]
        return flat, [
            (x, n, a.copy()) for x, n, a in held if hasattr(a, "copy") and not self._holds(a)
        ]

    def restore(self, copied: tuple[Array, list[tuple[Layer, str, Array]]]) -> None:
        """Restore the values that `copy` returned."""
        flat, beside = copied
        for view in self._views if flat is not None else ():
            view.of(self.flat)[...] = view.of(flat)
            if not self._holds(getattr(view.layer, view.name)):
                setattr(view.layer, view.name, view.of(self.flat))
        for layer, name, state in beside:
            now = getattr(layer, name)
            if getattr(now, "shape", None) == state.shape:
                backend.fill(now, state)  # in place: others may hold the array
            else:
                setattr(layer, name, state)

    # Borrow

    @property
    def other_owner(self) -> "Parameters | None":
        """The parameters of another model that owns weights of this one, or None."""
        owners = (owner_of(layer) for layer in self.layers)
        return next((owner for owner in owners if owner not in (None, self)), None)

    # Move

    @property
    def device(self) -> Device | None:
        """The device of the weights, on which the model computes; None if there are none yet."""
        return next(iter(self.devices().values()), None)

    def devices(self) -> dict[str, Device]:
        """Return the device of each layer's weights, by the layer's name."""
        return {layer.name: backend.device_of(w) for layer in self.layers for w in layer.weights}

    def check_device(self) -> None:
        """Raise a ValueError if the weights are on several devices, as can happen when borrowed."""
        devices = self.devices()
        if len(set(devices.values())) > 1:
            received = ", ".join(f"{name} on {each.backend}" for name, each in devices.items())
            raise ValueError(
                f"Expected all weights of model '{self.model_name}' on one device, received "
                f"{received}. "
                'Write: model.to("numpy"), first for the model that owns the layers, then for this'
            )

    def move(self, dtype: str) -> None:
        """Move the weights to the backend in use; in a borrower, only those without an owner.

        Raises:
            ValueError: if borrowed weights are not in that backend already; nothing is moved then.
        """
        owner = self.other_owner
        unowned = [layer for layer in self.layers if owner_of(layer) is None]
        borrowed = [w for layer in self.layers if layer not in unowned for w in layer.weights]
        here = backend.current_device()
        if owner is not None and any(backend.device_of(w) != here for w in borrowed):
            raise ValueError(
                f"Expected model '{self.model_name}' to own its layers, but some of them belong to "
                f"model '{owner.model_name}'. Move that model first, then this one."
            )
        # In a borrower, a temporary owner: layers without an owner stay that way.
        (self if owner is None else Parameters(self.model_name, unowned)).gather(dtype)


def owner_of(layer: Layer) -> Parameters | None:
    """Return the `Parameters` that hold a layer's weights, or None if it has no owner now."""
    owner = None if layer.owner is None else layer.owner()
    return owner if isinstance(owner, Parameters) else None


def rebind(layer: Layer, name: str, array: Array) -> None:
    """Replace a layer's weight `name`, under every attribute, by an array with the same values."""
    old = getattr(layer, name)
    for attribute, value in list(vars(layer).items()):
        if value is old:  # a subclass may keep the weight under another name, too
            setattr(layer, attribute, array)
