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
from tinynet.backend import turns
from tinynet.backend.types import UNSET, Array, Device, Pairs
from tinynet.compat import guards
from tinynet.compat.naming import is_builtin
from tinynet.compat.optimizer import Variable
from tinynet.compat.weights import Weight, every_layer, every_weight, parts_of
from tinynet.layers import Layer

Run = tuple[slice, list[tuple[int, ...]]]  # a slice of the vectors, and the shapes in it
Copy = tuple[Array, list["View"], list[tuple[Weight, Array]]]  # of a model's values


class View(NamedTuple):
    """A weight, and the slice of the vector that holds it."""

    layer: Layer
    name: str
    part: slice
    shape: tuple[int, ...]
    array: Array = UNSET  # the weight itself, which is this part of the vector
    former: tuple["weakref.ref[Array]", ...] = ()  # the arrays that held it before

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
        self.plain = False  # whether all layers are tinynet's, and none is inside another one
        self._seen: list[Layer] = []  # all layers and models inside, as of the last `gather`

    def gather(self, dtype: str) -> None:
        """Move all weights into one vector; if any of them are borrowed, do nothing.

        All arrays are created in the backend in use, and nothing changes until they all exist.
        """
        if self.other_owner is not None:
            return
        weights = list(every_weight(self.layers))
        for weight in weights:
            check_views(weight)
        views: list[View] = []
        stop = 0
        for weight in weights:
            if weight.has_gradient:
                start, stop = stop, stop + weight.array.size
                views.append(
                    View(weight.layer, weight.name, slice(start, stop), weight.array.shape)
                )
        flat, gradients = backend.xp.empty(stop, dtype), backend.xp.zeros(stop, dtype)
        for view in views:
            backend.fill(view.of(flat), getattr(view.layer, view.name))
        others = [weight for weight in weights if not weight.has_gradient]
        states = [(weight, backend.to_active(weight.array)) for weight in others]
        views = [view._replace(array=view.of(flat)) for view in views]
        views = [view._replace(former=self._former(view)) for view in views]
        self.flat, self.gradients, self._views = flat, gradients, views
        self.pairs, self.runs = (), []
        for view in views:
            rebind(view.layer, view.name, view.array)
            rebind(view.layer, f"{view.name}_gradient", view.of(gradients))
            view.layer.set_gradient(view.name, view.of(gradients))
        for weight, state in states:
            rebind(weight.layer, weight.name, state)
        for layer in self._seen:  # also those that are no longer in the model
            if owner_of(layer) is self:
                layer.owner = None
        self._seen = self.every_layer()
        self.plain = all(map(is_builtin, map(type, self.layers))) and self._seen == self.layers
        turns.Changes.count += 1
        for layer in self._seen:
            layer.owner = weakref.ref(self)
            layer.clear_caches()

    def _former(self, view: View) -> tuple["weakref.ref[Array]", ...]:
        """Return the arrays that hold a weight before `gather` moves it, if they are still used."""
        same = [v for v in self._views if v.layer is view.layer and v.name == view.name]
        former = [reference for v in same for reference in v.former if reference() is not None]
        return (*former, weakref.ref(getattr(view.layer, view.name)))

    def every_layer(self) -> list[Layer]:
        """Return all layers, also those inside other layers and models, without these models."""
        return [layer for _, layer, _ in every_layer(self.layers) if not layer._is_model]

    def ensure_gathered(self, dtype: str) -> None:
        """Make sure that the vectors hold all weights; gather layers whose former owner is gone.

        Raises:
            ValueError: if a weight was replaced by another array, which training would not update.
        """
        here = [(w.layer, w.name) for w in every_weight(self.layers) if w.has_gradient]
        moved = any(owner_of(layer) is not self for layer in self.every_layer())
        if moved or here != [(view.layer, view.name) for view in self._views]:
            self.gather(dtype)
        for view in self._views:
            if getattr(view.layer, view.name) is not view.array:
                raise ValueError(
                    f"Expected {view.layer.name}.{view.name} to be the array that the layer was "
                    "built with, received another one in its place. To change values, write into "
                    f"it: layer.{view.name}[...] = values, or call layer.set_weights."
                )

    def parts_of_a_step(self) -> list[object]:
        """Return what a step relies on: the vector, the weights in it, and which layers train."""
        if self.plain:
            weights = [getattr(view.layer, view.name) for view in self._views]
            return [self.flat, *weights, *(layer.trainable for layer in self._seen)]
        # User-defined layers, and models inside, may have other layers and weights than before.
        inside = [(layer, trains) for _, layer, trains in every_layer(self.layers)]
        weights = [weight.array for weight in every_weight(self.layers)]
        return [self.flat, *weights, *(part for pair in inside for part in pair)]

    def select_trainable(self, trainable: bool) -> list[list[Variable]]:
        """Set `pairs` to the weights that train, and return the variables in each."""
        runs: list[Run] = []
        weights = [weight for weight in every_weight(self.layers) if weight.has_gradient]
        for view, weight in zip(self._views, weights, strict=True):
            if not (trainable and weight.trains):
                continue
            follows = runs and runs[-1][0].stop == view.part.start
            run, shapes = runs.pop() if follows else (view.part, [])
            runs.append((slice(run.start, view.part.stop), [*shapes, view.shape]))
        if runs != self.runs:  # otherwise keep the optimizer's arrays
            self.make_pairs(runs)
        return [
            [
                Variable(view.name, view.array, view.former)
                for view in self._views
                if run.start <= view.part.start < run.stop
            ]
            for run, _ in runs
        ]

    @property
    def trained(self) -> list[Array]:
        """The weights of `pairs`, which the optimizer updates."""
        return [weights for _, weights in self.pairs]

    def make_pairs(self, runs: list[Run]) -> None:
        """Set `runs` and `pairs`, unless the weights are borrowed."""
        if self.flat is not None:
            self.runs = runs
            self.pairs = tuple((self.gradients[run], self.flat[run]) for run, _ in runs)

    # Copy and restore

    def copy(self, into: Copy | None = None, whole: bool = True) -> Copy:
        """Return copies of all values for `restore`: the vector, and the arrays outside it.

        Arguments:
            into: what an earlier call returned; its copy of the vector is used again if it fits.
            whole: False to copy only the arrays outside the vector.
        """
        if into is not None and into[1] is self._views:
            flat: Array = into[0]
            flat[...] = self.flat
        else:
            flat = self.flat.copy() if whole and self.flat is not None else UNSET
        held = {id(view.array) for view in self._views}
        weights = () if self.plain else every_weight(self.layers)
        beside = [
            (w, w.array.copy())
            for w in weights
            if hasattr(w.array, "copy") and id(w.array) not in held
        ]
        return flat, self._views if whole else [], beside

    def restore(self, copied: Copy) -> None:
        """Restore the values that `copy` returned, also if layers were added or removed since."""
        flat, views, beside = copied
        self.put_back_views()
        for view in views:
            backend.fill(getattr(view.layer, view.name), view.of(flat))
        for weight, state in beside:
            if getattr(weight.array, "shape", None) == state.shape:
                backend.fill(weight.array, state)  # in place: others may hold the array
            else:
                setattr(weight.layer, weight.name, state)

    def put_back_views(self) -> None:
        """Give the layers their views of the vector, in place of arrays that replaced them."""
        for view in self._views:
            setattr(view.layer, view.name, view.array)

    # Borrow

    @property
    def other_owner(self) -> "Parameters | None":
        """The parameters of another model that owns weights of this one, or None."""
        inside = [layer for _, layer, _ in every_layer(self.layers)]
        own = [self, *(model.parameters for model in inside if model._is_model)]
        owners = (owner_of(layer) for layer in self.every_layer())
        return next((owner for owner in owners if owner not in (None, *own)), None)

    # Move

    @property
    def device(self) -> Device | None:
        """The device of the weights, on which the model computes; None if there are none yet."""
        if self._views:
            return backend.device_of(self.flat)
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
        unowned = [layer for layer in self.every_layer() if owner_of(layer) is None]
        borrowed = [w.array for w in every_weight(self.layers) if w.layer not in unowned]
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
    """Replace a layer's array `name` wherever the layer holds it; its values must be the same."""
    replace(vars(layer), getattr(layer, name), array)


def replace(held: object, old: Array, new: Array) -> object:
    """Return `held` with `new` instead of the array `old`; dictionaries and lists are changed."""
    if held is old:
        return new
    if isinstance(held, dict):
        held.update({key: replace(value, old, new) for key, value in held.items()})
    elif isinstance(held, list):
        held[:] = [replace(value, old, new) for value in held]
    elif type(held) is tuple:
        return tuple(replace(value, old, new) for value in held)
    return held


def check_views(weight: Weight) -> None:
    """Raise a ValueError if a layer also keeps a view of a weight, which could not follow it."""
    for name, value in vars(weight.layer).items():
        if any(guards.base_of(part) is weight.array for part in parts_of(value)):
            raise ValueError(
                f"Expected layer '{weight.layer.name}' to keep its weights only as they are, "
                f"received `{name}`, a view of `{weight.name}` that training would not change. "
                f"Write: self.{weight.name}.T, or the like, where it is used"
            )
