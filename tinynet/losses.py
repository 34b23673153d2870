"""Losses: measures of how wrong outputs are, and their gradients with respect to the outputs.

A loss defines `call`, a value for each sample, and directly below it `backward`, its gradient.
`fit` uses an `Objective`, which puts a loss on top of a model's last layer.
Source: https://keras.io/api/losses/
"""

from typing import Any

from tinynet import activations, backend
from tinynet.backend.types import Array, Shape, Weighting
from tinynet.compat import rules, targets
from tinynet.compat.configuration import Configurable, get_and_serialize
from tinynet.compat.naming import snake_case
from tinynet.compat.weights import every_layer

EPSILON = 1e-7  # Keras clips probabilities to [ε, 1 − ε] before it takes logarithms


class Loss(Configurable):
    """The base class of all losses, tinynet's and your own; define `call` and `backward`.

    Arguments:
        reduction: ``"sum_over_batch_size"`` (or ``"mean"``) divides the weighted sum by the
            number of values, ``"mean_with_sample_weight"`` by the sum of the weights;
            ``"sum"`` does not divide it; ``"none"`` or None returns the weighted values.
    """

    by_sample = False  # whether a sample's loss does not depend on the others in its batch

    def __init__(self, name: str | None = None, reduction: str | None = "sum_over_batch_size"):
        self.name = name or snake_case(type(self).__name__)
        self.reduction = reduction

    def call(self, y_true: Array, y_pred: Array) -> Array:
        """Return the loss ℓ of each sample, (batch,)."""
        raise NotImplementedError(f"{type(self).__name__} has to define call(y_true, y_pred)")

    def backward(self, y_true: Array, y_pred: Array) -> Array:
        """Return ∂ℓ/∂y_pred of each sample, in the shape of `y_pred`."""
        raise NotImplementedError(f"{type(self).__name__} has to define backward(y_true, y_pred)")

    def check_shapes(self, y_true: Shape, y_pred: Shape) -> None:
        """Raise a ValueError if targets and outputs have incompatible shapes."""

    def weigh(self, array: Array, n: int, sample_weight: Weighting = None) -> Array:
        """Return `array`, (batch, …), with each sample scaled by wᵢ/n, or 1/n without weights."""
        n = n if self.reduction in rules.MEANS else 1
        if sample_weight is None:
            return array * (1 / n)
        w = targets.as_weights(sample_weight, array)
        share = w / n
        if self.reduction == "mean_with_sample_weight":
            total = w.sum()
            share = w * (total != 0) / (total + (total == 0))  # 0 if the weights sum to 0
        return backend.of(array).multiply(array, share)

    def __call__(self, y_true: Array, y_pred: Array, sample_weight: Weighting = None) -> Array:
        """Return the loss of a batch, L = (1/n) Σᵢ wᵢ ℓᵢ; wᵢ = 1 if no weights are given."""
        y_pred = backend.as_float(y_pred)
        values = targets.loss_values(self, y_true, y_pred, sample_weight)
        values = self.weigh(values, values.size, sample_weight)
        return values if self.reduction in ("none", None) else values.sum()


class CategoricalCrossentropy(Loss):
    """Cross-entropy for one-hot targets: ℓ = −Σₖ yₖ ln pₖ, the surprisal at the true class.

    Probabilities are divided by their sum and clipped to [1e-7, 1 − 1e-7] before the logarithm,
    so the largest loss of a sample is 16.118; on top of a softmax, `Objective` needs no clipping.
    With `from_logits`, `y_pred` holds softmax's inputs instead. With `label_smoothing` s, targets
    become y (1 − s) + s/K for K classes.
    """

    by_sample = True
    check_shapes = rules.one_hot_shapes

    def __init__(self, from_logits: bool = False, label_smoothing: float = 0.0, **base: Any):
        super().__init__(**base)
        self.from_logits, self.label_smoothing = from_logits, label_smoothing

    def targets(self, y_true: Array, y_pred: Array) -> Array:
        """Return the target probabilities, in the shape and type of `y_pred`."""
        y, s = y_true.astype(y_pred.dtype, copy=False), self.label_smoothing
        return y * (1 - s) + s / int(y_pred.shape[-1]) if s else y

    def call(self, y_true: Array, y_pred: Array) -> Array:
        y = self.targets(y_true, y_pred)
        if self.from_logits:
            return crossentropy(y, -activations.log_softmax(y_pred))
        q = y_pred / y_pred.sum(axis=-1, keepdims=True)
        return crossentropy(y, -backend.of(q).log(q.clip(EPSILON, 1 - EPSILON)))

    def backward(self, y_true: Array, y_pred: Array) -> Array:
        """Return ∂ℓ/∂pⱼ = (∂ℓ/∂qⱼ − Σₖ qₖ ∂ℓ/∂qₖ)/S, where S = Σⱼ pⱼ and q = p / S, since
        ∂ℓ/∂qₖ = −yₖ/qₖ, or 0 where qₖ was clipped, and ∂qₖ/∂pⱼ = ([k = j] − qₖ)/S.
        """
        y = self.targets(y_true, y_pred)
        if self.from_logits:
            return crossentropy_backward(y, activations.softmax(y_pred))
        total = y_pred.sum(axis=-1, keepdims=True)
        q = y_pred / total
        inside = (q >= EPSILON) & (q <= 1 - EPSILON)
        dq = inside * -y / q.clip(EPSILON, 1)
        return backend.of(q).divide(dq - (dq * q).sum(axis=-1, keepdims=True), total)


class SparseCategoricalCrossentropy(CategoricalCrossentropy, label_smoothing=0.0):
    """Cross-entropy for class numbers c: ℓ = −ln p_c, or 0 if c is out of range, as in Keras."""

    check_shapes = rules.class_number_shapes

    def targets(self, y_true: Array, y_pred: Array) -> Array:
        """Return one-hot rows, by comparison with 0, 1, 2 …, so no index can be out of range."""
        xp = backend.of(y_pred)
        labels = y_true.reshape(*y_pred.shape[:-1], 1)
        if labels.dtype.kind == "f":
            labels = xp.trunc(labels)  # Keras truncates floats, too
        return xp.equal(labels, xp.arange(y_pred.shape[-1]), out=xp.empty_like(y_pred))


class MeanSquaredError(Loss):
    """Mean squared error over a sample's K outputs: ℓ = (1/K) Σₖ (pₖ − yₖ)²."""

    by_sample = True
    check_shapes = rules.equal_shapes

    def call(self, y_true: Array, y_pred: Array) -> Array:
        error = y_pred - y_true.astype(y_pred.dtype, copy=False)
        return (error * error).mean(axis=-1)  # type: ignore[no-any-return]

    def backward(self, y_true: Array, y_pred: Array) -> Array:
        """Return ∂ℓ/∂pₖ = (2/K) (pₖ − yₖ)."""
        error = backend.of(y_pred).subtract(y_pred, y_true.astype(y_pred.dtype, copy=False))
        return error * (2 / int(y_pred.shape[-1]))


def crossentropy(y: Array, surprisal: Array) -> Array:
    """Return ℓ = −Σₖ yₖ ln pₖ of each sample, given the surprisal −ln p."""
    return (y * surprisal).sum(axis=-1)  # type: ignore[no-any-return]


def crossentropy_backward(y: Array, p: Array, out: Array | None = None) -> Array:
    """Return ∂ℓ/∂zⱼ = pⱼ Σₖ yₖ − yⱼ for p = softmax(z), which is p − y if the targets sum to 1.

    By softmax's Jacobian, ∂pₖ/∂zⱼ = pₖ ([k = j] − pⱼ). The logarithm's 1/pₖ cancels pₖ, leaving
    ∂(ln pₖ)/∂zⱼ = [k = j] − pⱼ, so ∂ℓ/∂zⱼ = −Σₖ yₖ ([k = j] − pⱼ) = pⱼ Σₖ yₖ − yⱼ.
    """
    return _softmax_error(p, backend.sum_last(y), y, out=out)  # type: ignore[no-any-return]


@backend.elementwise
def _softmax_error(p: Array, total: Array, y: Array) -> Array:
    return p * total - y


class Objective:
    """A loss on top of a model's last layer, with cross-entropy and softmax fused into one step.

    One after the other, the backward passes of cross-entropy and softmax divide by a probability
    and multiply by it again. If they are `fused`, both cancel and p − y remains, which is simpler,
    and correct even where a probability underflows to 0.
    """

    def __init__(self, loss: Any, layers: Any, trains: bool = True, whole: Any = None) -> None:
        self.loss, self.layer, self.begun = loss, layers[-1], False
        self.penalties = [each.penalty for _, each, also in every_layer(layers, trains) if also]
        crossentropy = isinstance(loss, CategoricalCrossentropy) and not loss.from_logits
        softmax = getattr(self.layer, "activation", None) is activations.softmax
        self.fused = crossentropy and softmax and targets.all_builtin(loss, self.layer, whole)

    def forward(self, y_true: Array, y_pred: Array, sample_weight: Array | None = None) -> Array:
        """Return L = Σᵢ (wᵢ/n) ℓᵢ plus the penalties on weights, as a 0-d array on the device."""
        self.p, self.w = y_pred, sample_weight
        if not hasattr(self, "y"):  # the first time
            self.loss.check_shapes(y_true.shape, y_pred.shape)
        if self.fused:  # ℓ and its gradient are linear in y, so y can be scaled by wᵢ/n
            y = self.loss.targets(y_true, y_pred)
            self.y = self.loss.weigh(y, y.size // y.shape[-1], self.w)
            loss = backend.vdot(self.y, self.layer.surprisal)  # −Σ y ln p
        else:
            self.y = targets.as_targets(self.loss, y_true, y_pred)
            values = targets.loss_values(self.loss, self.y, y_pred, self.w)
            self.n = values.size
            loss = self.loss.weigh(values, self.n, self.w).sum()
        for penalty in self.penalties:
            cost = penalty()
            loss = loss if cost is None else loss + cost
        return loss

    def backward(self) -> Array:
        """Return the gradient that starts the backward pass: ∂L/∂z if `fused`, else ∂L/∂y_pred."""
        self.begun = True
        if self.fused:
            out = self.layer.buffer("delta", self.p.shape, self.p.dtype)
            return crossentropy_backward(self.y, self.p, out)
        gradient = targets.loss_gradient(self.loss, self.y, self.p)
        return self.loss.weigh(gradient, self.n, self.w)  # type: ignore[no-any-return]


categorical_crossentropy = targets.as_function(CategoricalCrossentropy)
sparse_categorical_crossentropy = targets.as_function(SparseCategoricalCrossentropy)
mean_squared_error = targets.as_function(MeanSquaredError)
_functions = categorical_crossentropy, sparse_categorical_crossentropy, mean_squared_error
KNOWN, FUNCTIONS = targets.with_classes(*_functions), [each.__name__ for each in _functions]
KNOWN |= dict.fromkeys(("mse", "MSE"), mean_squared_error)
get, serialize = get_and_serialize("loss", Loss, KNOWN, none=None, functions=True)
