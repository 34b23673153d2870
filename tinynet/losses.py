"""Losses: measures of how wrong outputs are, and their gradients with respect to the outputs.

A loss defines `call`, a value for each sample, and directly below it `backward`, its gradient.
`fit` uses an `Objective`, which puts a loss on top of a model's last layer.
Source: https://keras.io/api/losses/
"""

from typing import Any

from tinynet import activations, backend
from tinynet.backend.types import Array, Weighting
from tinynet.compat import shapes, targets
from tinynet.compat.configuration import functions_for
from tinynet.compat.measures import LossBase
from tinynet.compat.weights import every_layer

EPSILON = 1e-7  # Keras clips probabilities to [ε, 1 − ε] before it takes logarithms


class Loss(LossBase):
    """The base class of all losses, tinynet's and your own; define `call` and `backward`.

    Arguments:
        reduction: ``"sum_over_batch_size"`` (or ``"mean"``) divides the weighted sum by the
            number of values, ``"mean_with_sample_weight"`` by the sum of the weights;
            ``"sum"`` does not divide it; ``"none"`` or None returns the weighted values.
    """

    def call(self, y_true: Array, y_pred: Array) -> Array:
        """Return the loss ℓ of each sample, (batch,)."""
        raise NotImplementedError(f"{type(self).__name__} has to define call(y_true, y_pred)")

    def backward(self, y_true: Array, y_pred: Array) -> Array:
        """Return ∂ℓ/∂y_pred of each sample, in the shape of `y_pred`."""
        raise NotImplementedError(f"{type(self).__name__} has to define backward(y_true, y_pred)")

    def weigh(self, array: Array, n: int, sample_weight: Weighting = None) -> Array:
        """Return `array`, (batch, …), with each sample scaled by wᵢ/n, or 1/n without weights."""
        if sample_weight is None and self.reduction == "sum_over_batch_size":
            return array * (1 / n)
        return super().weigh(array, n, sample_weight)


class Crossentropy(Loss):
    """The common base of the cross-entropies.

    `Objective` fuses them with the activation `fused_with`, and then works with its inputs z, the
    logits; with `from_logits`, `y_pred` holds z. With `label_smoothing` s, targets become
    y (1 − s) + s/K for K classes. Categorical classes are on `axis`; binary ones are averaged.
    """

    by_sample = True
    fused_with: Any = staticmethod(activations.softmax)

    def __init__(
        self, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1, **base: Any
    ) -> None:
        super().__init__(**base)
        self.from_logits, self.label_smoothing, self.axis = from_logits, label_smoothing, axis

    def targets(self, y_true: Array, y_pred: Array) -> Array:
        """Return the target probabilities, in the type of `y_pred`."""
        y, s = y_true.astype(y_pred.dtype, copy=False), self.label_smoothing
        classes = int(y_pred.shape[-1]) if self.fused_with is activations.softmax else 2
        return y * (1 - s) + s / classes if s else y


class CategoricalCrossentropy(Crossentropy):
    """Cross-entropy for one-hot targets: ℓ = −Σₖ yₖ ln pₖ, the surprisal at the true class.

    Probabilities are divided by their sum and clipped to [1e-7, 1 − 1e-7] before the logarithm,
    so the largest loss of a sample is 16.118; on top of a softmax, `Objective` needs no clipping.
    """

    check_shapes = shapes.one_hot_shapes

    def call(self, y_true: Array, y_pred: Array) -> Array:
        y, axis = self.targets(y_true, y_pred), self.axis
        if self.from_logits:
            return crossentropy(y, -activations.log_softmax(y_pred, axis), axis)
        q = y_pred / y_pred.sum(axis=axis, keepdims=True)
        return crossentropy(y, -backend.of(q).log(q.clip(EPSILON, 1 - EPSILON)), axis)

    def backward(self, y_true: Array, y_pred: Array) -> Array:
        """Return ∂ℓ/∂pⱼ = (∂ℓ/∂qⱼ − Σₖ qₖ ∂ℓ/∂qₖ)/S, where S = Σⱼ pⱼ and q = p / S, since
        ∂ℓ/∂qₖ = −yₖ/qₖ, or 0 where qₖ was clipped, and ∂qₖ/∂pⱼ = ([k = j] − qₖ)/S.
        """
        y, axis = self.targets(y_true, y_pred), self.axis
        if self.from_logits:
            return activations.softmax(y_pred, axis) * y.sum(axis=axis, keepdims=True) - y  # type: ignore[no-any-return]
        total = y_pred.sum(axis=axis, keepdims=True)
        q = y_pred / total
        inside = (q >= EPSILON) & (q <= 1 - EPSILON)
        dq = inside * -y / q.clip(EPSILON, 1)
        return backend.of(q).divide(dq - (dq * q).sum(axis=axis, keepdims=True), total)


class SparseCategoricalCrossentropy(CategoricalCrossentropy, label_smoothing=0.0):
    """Cross-entropy for class numbers c: ℓ = −ln p_c, or 0 if c is out of range, as in Keras.

    Samples of the class `ignore_class` are left out, also of the number of values.
    """

    check_shapes = shapes.class_number_shapes

    def __init__(self, from_logits: bool = False, ignore_class: int | None = None, **base: Any):
        super().__init__(from_logits, **base)
        self.ignore_class, self.by_sample = ignore_class, ignore_class is None

    def targets(self, y_true: Array, y_pred: Array) -> Array:
        """Return one-hot rows, by comparison with 0, 1, 2 …, so no index can be out of range."""
        xp = backend.of(y_pred)
        labels = y_true.reshape(*y_pred.shape[:-1], 1)
        if labels.dtype.kind == "f":
            labels = xp.trunc(labels)  # Keras truncates floats, too
        return xp.equal(labels, xp.arange(y_pred.shape[-1]), out=xp.empty_like(y_pred))


class BinaryCrossentropy(Crossentropy):
    """Cross-entropy for K targets from 0 to 1: ℓ = −(1/K) Σₖ (yₖ ln pₖ + (1 − yₖ) ln(1 − pₖ)).

    Probabilities are clipped to [1e-7, 1 − 1e-7], except on top of a sigmoid.
    """

    check_shapes = shapes.equal_shapes
    fused_with = staticmethod(activations.sigmoid)

    def call(self, y_true: Array, y_pred: Array) -> Array:
        if self.from_logits:
            return self.call_from_z(y_true, y_pred)
        xp, y = backend.of(y_pred), self.targets(y_true, y_pred)
        p = y_pred.clip(EPSILON, 1 - EPSILON)
        return 0 - (y * xp.log(p) + (1 - y) * xp.log(1 - p)).mean(axis=self.axis)  # type: ignore[no-any-return]

    def backward(self, y_true: Array, y_pred: Array) -> Array:
        """Return ∂ℓ/∂pₖ = (pₖ − yₖ) / (pₖ (1 − pₖ) K), or 0 where pₖ was clipped."""
        if self.from_logits:
            return self.backward_from_p(y_true, activations.sigmoid(y_pred))
        p = y_pred.clip(EPSILON, 1 - EPSILON)
        return (p == y_pred) * self.backward_from_p(y_true, p) / (p * (1 - p))  # type: ignore[no-any-return]

    def call_from_z(self, y_true: Array, z: Array) -> Array:
        """Return ℓ for p = σ(z), by −ln σ(z) = ln(1 + e⁻ᶻ) and −ln(1 − σ(z)) = ln(1 + e⁻ᶻ) + z:
        ℓ = (1/K) Σₖ (ln(1 + e⁻ᶻ) + (1 − y) z), written so that no exponential overflows.
        """
        return _logistic(z, self.targets(y_true, z)).mean(axis=self.axis)  # type: ignore[no-any-return]

    def backward_from_p(self, y_true: Array, p: Array) -> Array:
        """Return ∂ℓ/∂zₖ = (pₖ − yₖ)/K for p = σ(z), since σ′(z) = p (1 − p) cancels the divisor."""
        return (p - self.targets(y_true, p)) * (1 / int(p.shape[self.axis]))


@backend.elementwise
def _logistic(z: Array, y: Array) -> Array:  # = ln(1 + e⁻ᶻ) + (1 − y) z
    return backend.maximum(z, 0) - y * z + backend.log1p(backend.exp(-backend.absolute(z)))  # type: ignore[no-any-return]


class MeanSquaredError(Loss):
    """Mean squared error over a sample's K outputs: ℓ = (1/K) Σₖ (pₖ − yₖ)²."""

    by_sample = True
    check_shapes = shapes.equal_shapes

    def call(self, y_true: Array, y_pred: Array) -> Array:
        error = errors(y_true, y_pred)
        return (error * error).mean(axis=-1)  # type: ignore[no-any-return]

    def backward(self, y_true: Array, y_pred: Array) -> Array:
        """Return ∂ℓ/∂pₖ = (2/K) (pₖ − yₖ)."""
        return errors(y_true, y_pred) * (2 / int(y_pred.shape[-1]))


class MeanAbsoluteError(Loss):
    """Mean absolute error over a sample's K outputs: ℓ = (1/K) Σₖ |pₖ − yₖ|."""

    by_sample = True
    check_shapes = shapes.equal_shapes

    def call(self, y_true: Array, y_pred: Array) -> Array:
        return abs(errors(y_true, y_pred)).mean(axis=-1)  # type: ignore[no-any-return]

    def backward(self, y_true: Array, y_pred: Array) -> Array:
        """Return ∂ℓ/∂pₖ = sign(pₖ − yₖ)/K, which is 0 where pₖ = yₖ."""
        return backend.of(y_pred).sign(errors(y_true, y_pred)) * (1 / int(y_pred.shape[-1]))


def errors(y_true: Array, y_pred: Array) -> Array:
    return y_pred - y_true.astype(y_pred.dtype, copy=False)  # type: ignore[no-any-return]


def crossentropy(y: Array, surprisal: Array, axis: int = -1) -> Array:
    """Return ℓ = −Σₖ yₖ ln pₖ of each sample, given the surprisal −ln p."""
    return (y * surprisal).sum(axis=axis)  # type: ignore[no-any-return]


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
    """A loss on top of a model's last layer, with cross-entropy and activation fused into one step.

    One after the other, the backward passes of cross-entropy and of softmax (or sigmoid) divide by
    a probability and multiply by it again. If they are `fused`, both cancel and p − y remains,
    which is simpler, and correct even where a probability underflows to 0.
    """

    def __init__(self, loss: Any, layers: Any, trains: bool = True, whole: Any = None) -> None:
        self.loss, self.layer, self.begun = loss, layers[-1], False
        self.penalties = [each.penalty for _, each, also in every_layer(layers, trains) if also]
        self.fused = targets.fuses(loss, self.layer, whole)
        self.softmax = self.fused and loss.fused_with is activations.softmax
        if self.fused:
            self.layer.keeps_z = True

    def forward(self, y_true: Array, y_pred: Array, sample_weight: Array | None = None) -> Array:
        """Return L = Σᵢ (wᵢ/n) ℓᵢ plus the penalties on weights, as a 0-d array on the device."""
        self.p, self.w = y_pred, sample_weight
        if self.loss.ignore_class is not None:
            self.w = self.loss.sample_weights(y_true, y_pred, sample_weight)
        if not hasattr(self, "y"):  # the first time
            self.loss.check_shapes(y_true.shape, y_pred.shape)
        if self.softmax:  # ℓ and its gradient are linear in y, so y can be scaled by wᵢ/n
            y = self.loss.targets(y_true, y_pred)
            self.y = self.loss.weigh(y, y.size // y.shape[-1], self.w)
            loss = backend.vdot(self.y, self.layer.surprisal)  # −Σ y ln p
        else:
            self.y = targets.as_targets(self.loss, y_true, y_pred)
            if self.fused:
                values = self.loss.call_from_z(self.y, self.layer.z.reshape(y_pred.shape))
            else:
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
        if self.softmax:
            out = self.layer.buffer("delta", self.p.shape, self.p.dtype)
            return crossentropy_backward(self.y, self.p, out)
        if self.fused:
            gradient = self.loss.backward_from_p(self.y, self.p)
        else:
            gradient = targets.loss_gradient(self.loss, self.y, self.p)
        return self.loss.weigh(gradient, self.n, self.w)  # type: ignore[no-any-return]


categorical_crossentropy = targets.as_function(CategoricalCrossentropy)
sparse_categorical_crossentropy = targets.as_function(SparseCategoricalCrossentropy)
binary_crossentropy = targets.as_function(BinaryCrossentropy)
mean_squared_error = targets.as_function(MeanSquaredError)
mean_absolute_error = targets.as_function(MeanAbsoluteError)
KNOWN = targets.by_name(
    categorical_crossentropy, sparse_categorical_crossentropy,
    bce=binary_crossentropy, mse=mean_squared_error, mae=mean_absolute_error,
)  # fmt: skip
get, serialize, deserialize = functions_for("loss", Loss, KNOWN, none=None, functions=True)
