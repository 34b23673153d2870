"""Losses: how wrong outputs are, and the gradient with respect to them, where learning starts.

A loss is `call`, a value for each sample, and directly under it `backward`, the gradient of that.
`Objective` puts it on top of a model's last layer, and is what `fit` uses.
Source: https://keras.io/api/losses/
"""

from typing import Any

from tinynet import activations, backend
from tinynet.backend import Array, Shape
from tinynet.compat import checks
from tinynet.compat.configuration import Configurable, public
from tinynet.compat.naming import is_tinynet_s, snake_case
from tinynet.compat.targets import as_function, as_weights, match_rank, with_classes

EPSILON = 1e-7  # Keras keeps probabilities this far from 0 and 1 before it takes logarithms


class Loss(Configurable):
    """The base of every loss, tinynet's and your own: write `call` and `backward`.

    Arguments:
        reduction: ``"sum_over_batch_size"`` (also ``"mean"``) divides the weighted sum by the
            number of values, ``"mean_with_sample_weight"`` by the sum of the weights,
            ``"sum"`` by nothing; ``"none"`` or None returns the values.
    """

    by_sample = False  # whether a sample's loss does not depend on the others in its batch

    def __init__(self, name: str | None = None, reduction: str | None = "sum_over_batch_size"):
        self.name = name or snake_case(type(self).__name__)
        self.reduction = reduction

    def call(self, y_true: Array, y_pred: Array) -> Array:
        """The loss ℓ of each sample, (batch,)."""
        raise NotImplementedError(f"{type(self).__name__} has to define call(y_true, y_pred)")

    def backward(self, y_true: Array, y_pred: Array) -> Array:
        """∂ℓ/∂y_pred of each sample, in the shape of `y_pred`."""
        raise NotImplementedError(f"{type(self).__name__} has to define backward(y_true, y_pred)")

    def check_shapes(self, y_true: Shape, y_pred: Shape) -> None:
        """Raise a ValueError if targets and outputs of these shapes do not belong together."""

    def weigh(self, array: Array, n: int, sample_weight: Any = None) -> Array:
        """`array`, (batch, …), each sample times what it counts among n values: wᵢ/n, or 1/n."""
        n = n if self.reduction in checks.MEANS else 1
        if sample_weight is None:
            return array * (1 / n)
        w = as_weights(sample_weight, array)
        if self.reduction == "mean_with_sample_weight":
            total = w.sum()
            return array * (w * (total != 0) / (total + (total == 0)))  # 0 for a sum of 0, as Keras
        return array * (w / n)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The loss of a batch: L = (1/n) Σᵢ wᵢ ℓᵢ; without weights, w = 1."""
        y_pred = backend.as_float(y_pred)
        y_true = backend.of(y_pred).asarray(y_true)
        self.check_shapes(y_true.shape, y_pred.shape)
        values = self.call(match_rank(y_true, y_pred), y_pred)
        values = self.weigh(values, values.size, sample_weight)
        return values if self.reduction in ("none", None) else values.sum()


class CategoricalCrossentropy(Loss):
    """ℓ = −Σₖ yₖ ln pₖ: the surprise at the true class, for one-hot targets.

    Probabilities are divided by their sum and kept within [1e-7, 1 − 1e-7] before the logarithm,
    so the worst loss of a sample is 16.118; on top of a softmax, `Objective` needs no such limit.
    With `from_logits`, `y_pred` holds softmax's inputs instead. With `label_smoothing` s, targets
    become y (1 − s) + s/K for K classes.
    """

    by_sample = True
    check_shapes = checks.one_hot

    def __init__(self, from_logits: bool = False, label_smoothing: float = 0.0, **base: Any):
        super().__init__(**base)
        self.from_logits, self.label_smoothing = from_logits, label_smoothing

    def targets(self, y_true: Array, y_pred: Array) -> Array:
        """The probabilities that `y_pred` should be, in its shape and type."""
        y, s = y_true.astype(y_pred.dtype, copy=False), self.label_smoothing
        return y * (1 - s) + s / y_pred.shape[-1] if s else y

    def call(self, y_true: Array, y_pred: Array) -> Array:
        y = self.targets(y_true, y_pred)
        if self.from_logits:
            return crossentropy(y, -activations.log_softmax(y_pred))
        q = y_pred / y_pred.sum(axis=-1, keepdims=True)
        return crossentropy(y, -backend.of(q).log(q.clip(EPSILON, 1 - EPSILON)))

    def backward(self, y_true: Array, y_pred: Array) -> Array:
        """With S = Σⱼ pⱼ and q = p / S: ∂ℓ/∂qₖ = −yₖ/qₖ, or 0 where q was clipped; and since
        ∂qₖ/∂pⱼ = (δₖⱼ − qₖ)/S, ∂ℓ/∂pⱼ = (∂ℓ/∂qⱼ − Σₖ qₖ ∂ℓ/∂qₖ)/S.
        """
        y = self.targets(y_true, y_pred)
        if self.from_logits:
            return crossentropy_backward(y, activations.softmax(y_pred))
        total = y_pred.sum(axis=-1, keepdims=True)
        q = y_pred / total
        inside = (q >= EPSILON) & (q <= 1 - EPSILON)
        dq = inside * -y / q.clip(EPSILON, 1)
        return (dq - (dq * q).sum(axis=-1, keepdims=True)) / total


class SparseCategoricalCrossentropy(CategoricalCrossentropy, label_smoothing=0.0):
    """ℓ = −ln p_c: cross-entropy for targets given as class numbers c.

    A class number that no output belongs to contributes 0, as in Keras.
    """

    check_shapes = checks.class_numbers

    def targets(self, y_true: Array, y_pred: Array) -> Array:
        """One-hot rows: comparing with 0, 1, 2 … needs no index, so none can be out of range."""
        xp = backend.of(y_pred)
        labels = y_true.reshape(*y_pred.shape[:-1], 1)
        if labels.dtype.kind == "f":
            labels = xp.trunc(labels)  # Keras cuts off what stands behind the point
        return xp.equal(labels, xp.arange(y_pred.shape[-1]), out=xp.empty_like(y_pred))


class MeanSquaredError(Loss):
    """ℓ = (1/K) Σₖ (pₖ − yₖ)²: the mean over a sample's K outputs, for targets that are numbers."""

    by_sample = True
    check_shapes = checks.same_numbers

    def call(self, y_true: Array, y_pred: Array) -> Array:
        error = y_pred - y_true.astype(y_pred.dtype, copy=False)
        return (error * error).mean(axis=-1)

    def backward(self, y_true: Array, y_pred: Array) -> Array:
        """∂ℓ/∂pₖ = (2/K) (pₖ − yₖ)."""
        return (y_pred - y_true.astype(y_pred.dtype, copy=False)) * (2 / y_pred.shape[-1])


def crossentropy(y: Array, surprise: Array) -> Array:
    """ℓ = −Σₖ yₖ ln pₖ of each sample, from the surprise −ln p."""
    return (y * surprise).sum(axis=-1)


def crossentropy_backward(y: Array, p: Array) -> Array:
    """∂ℓ/∂zⱼ = pⱼ Σₖ yₖ − yⱼ for p = softmax(z): p − y, where the targets sum to 1.

    By softmax's Jacobian ∂pₖ/∂zⱼ = pₖ (δₖⱼ − pⱼ) we have ∂(ln pₖ)/∂zⱼ = δₖⱼ − pⱼ, the 1/pₖ of the
    logarithm having cancelled; and −Σₖ yₖ (δₖⱼ − pⱼ) = pⱼ Σₖ yₖ − yⱼ.
    """
    return p * y.sum(axis=-1, keepdims=True) - y


class Objective:
    """A loss on top of a model's last layer; with its softmax as one step, where the two meet.

    One after the other, the way back through cross-entropy and softmax divides by a probability and
    multiplies by it again. As one step (`fused`) both cancel and p − y remains, which is shorter,
    and right where a probability has become 0.
    """

    def __init__(self, loss: Any, layers: Any, trains: bool = True) -> None:
        self.loss, self.layer = loss, layers[-1]
        self.penalties = [each.penalty for each in layers if trains]  # what is frozen costs nothing
        meets = isinstance(loss, CategoricalCrossentropy) and not loss.from_logits
        softmax = getattr(self.layer, "activation", None) is activations.softmax
        own = is_tinynet_s(type(loss)) and is_tinynet_s(type(self.layer).forward)  # not a reader's
        self.fused = meets and softmax and own

    def forward(self, y_true: Array, y_pred: Array, sample_weight: Array | None = None) -> Array:
        """L = Σᵢ (wᵢ/n) ℓᵢ, and what weights cost: 0-d, and it stays where the numbers are."""
        self.p, self.w = y_pred, sample_weight
        if self.fused:  # both formulas are linear in y, so wᵢ/n is multiplied into it
            y = self.loss.targets(y_true, y_pred)
            self.y = self.loss.weigh(y, y.size // y.shape[-1], self.w)
            loss = backend.xp.vdot(self.y, self.layer.surprise)  # −Σ y ln p
        else:
            self.y = match_rank(y_true, y_pred)
            values = self.loss.call(self.y, y_pred)
            self.n = values.size
            loss = self.loss.weigh(values, self.n, self.w).sum()
        for penalty in self.penalties:
            cost = penalty()
            loss = loss if cost is None else loss + cost
        return loss

    def backward(self) -> Array:
        """The gradient with which the way back starts: ∂L/∂z where `fused`, else ∂L/∂y_pred."""
        if self.fused:
            return crossentropy_backward(self.y, self.p)
        return self.loss.weigh(self.loss.backward(self.y, self.p), self.n, self.w)


categorical_crossentropy = as_function(CategoricalCrossentropy)
sparse_categorical_crossentropy = as_function(SparseCategoricalCrossentropy)
mean_squared_error = as_function(MeanSquaredError)
_KNOWN = with_classes(categorical_crossentropy, sparse_categorical_crossentropy, mean_squared_error)
FUNCTIONS = [name for name in _KNOWN if name.islower()]
_KNOWN |= dict.fromkeys(("mse", "MSE"), mean_squared_error)
get, serialize = public("loss", Loss, _KNOWN, none=None, functions=True)
