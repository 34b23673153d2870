"""Losses: how wrong outputs are, and the gradient with respect to them, where learning starts.

A loss is `call`, a value for each sample, and directly under it `backward`, the gradient of that.
What happens between the values of the samples and the one number of the batch, weighting and
averaging, is the same for all, and stands in the contract, `Loss`.

Cross-entropy has two ways back. The general one goes through the probabilities: loss gradient, then
softmax's backward. The fused one goes to softmax's inputs in one step, (p − y): exact, shorter, and
right where a probability has become 0. In `fit`, `engine/objective.py` takes that step.
"""

from collections.abc import Callable
from typing import Any

from tinynet import activations, backend
from tinynet.backend import Array, Shape
from tinynet.compat import arguments, checks, naming, validation
from tinynet.compat.configuration import Configurable, serialize as serialize

EPSILON = 1e-7  # Keras keeps probabilities this far from 0 and 1 before it takes logarithms


class Loss(Configurable):
    """The base of every loss, tinynet's and your own: write `call` and `backward`.

    Arguments:
        name: how it is called.
        reduction: ``"sum_over_batch_size"`` (also ``"mean"``) divides the weighted sum by the
            number of values, ``"mean_with_sample_weight"`` by the sum of the weights,
            ``"sum"`` by nothing; ``"none"`` or None returns the values.

    Source: https://keras.io/api/losses/
    """

    keras_module = "keras.losses"

    by_sample = False  # whether a sample's loss does not depend on the others in its batch

    def __init__(self, name: str | None = None, reduction: str | None = "sum_over_batch_size"):
        self.name = name or naming.snake_case(type(self).__name__)
        self.reduction = checks.reduction(reduction)

    def call(self, y_true: Array, y_pred: Array) -> Array:
        """The loss ℓ of each sample, (batch,)."""
        raise NotImplementedError(f"{type(self).__name__} has to define call(y_true, y_pred)")

    def backward(self, y_true: Array, y_pred: Array) -> Array:
        """∂ℓ/∂y_pred of each sample, in the shape of `y_pred`."""
        raise NotImplementedError(f"{type(self).__name__} has to define backward(y_true, y_pred)")

    def check_shapes(self, y_true: Shape, y_pred: Shape) -> None:
        """Raise a ValueError if targets and outputs of these shapes do not belong together."""

    def factor(self, values: Array, sample_weight: Any = None) -> float | Array:
        """What each of `values` counts in the loss of the batch: wᵢ/n, or 1/n without weights."""
        n = values.size if self.reduction in checks.MEANS else 1
        if sample_weight is None:
            return 1 / n
        weights = as_weights(sample_weight, values)
        if self.reduction == "mean_with_sample_weight":
            total = weights.sum()
            return weights * (total != 0) / (total + (total == 0))  # 0 for a sum of 0, as in Keras
        return weights / n

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The loss of a batch: L = (1/n) Σᵢ wᵢ ℓᵢ.

        Arguments:
            y_true: targets.
            y_pred: outputs, (batch, …).
            sample_weight: w, (batch,); 1 for each sample if not given.
        """
        y_pred = backend.as_float(y_pred)
        y_true = backend.of(y_pred).asarray(y_true)
        self.check_shapes(y_true.shape, y_pred.shape)
        values = self.call(match_rank(y_true, y_pred), y_pred)
        values = values * self.factor(values, sample_weight)
        return values if self.reduction in ("none", None) else values.sum()


def match_rank(y_true: Array, y_pred: Array) -> Array:
    """Targets (n,) for outputs (n, 1), or the reverse, in the outputs' shape.

    Left alone, NumPy would compare each of n with each of n.
    """
    if y_true.ndim == y_pred.ndim - 1 and y_pred.shape[-1] == 1:
        return y_true.reshape(*y_true.shape, 1)
    if y_true.ndim == y_pred.ndim + 1 and y_true.shape[-1] == 1:
        return y_true.reshape(y_true.shape[:-1])
    return y_true


def as_weights(sample_weight: Any, values: Array) -> Array:
    """Weights (n,), (n, 1) or a single number, as floats that multiply `values`, (n, …)."""
    weights = backend.of(values).asarray(sample_weight).astype(values.dtype, copy=False)
    if weights.ndim and weights.size == len(weights):
        return weights.reshape(len(weights), *(1,) * (values.ndim - 1))
    return weights


class CategoricalCrossentropy(Loss):
    """ℓ = −Σₖ yₖ ln pₖ: the surprise at the true class, for one-hot targets.

    Probabilities are divided by their sum and kept within [1e-7, 1 − 1e-7] before the logarithm,
    so the worst loss of a sample is 16.118. Inside `fit`, where the last layer is a softmax, the
    loss is computed from that layer's inputs instead, which needs no such limit.

    Arguments:
        from_logits: whether `y_pred` holds softmax's inputs instead of probabilities.
        label_smoothing: s; targets become y (1 − s) + s/K for K classes.

    Source: https://keras.io/api/losses/probabilistic_losses/#categoricalcrossentropy-class
    """

    by_sample = True

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "categorical_crossentropy",
        **unsupported: Any,
    ) -> None:
        arguments.refuse_of(self, {"axis": axis, **unsupported})
        super().__init__(name, reduction)
        self.from_logits = validation.flag(from_logits, "from_logits")
        self.label_smoothing = validation.number(label_smoothing, "label_smoothing", 0, 1, 0.1)

    def targets(self, y_true: Array, y_pred: Array) -> Array:
        """The probabilities that `y_pred` should be, in its shape and type."""
        target = y_true.astype(y_pred.dtype, copy=False)
        if self.label_smoothing:
            classes = y_pred.shape[-1]
            target = target * (1 - self.label_smoothing) + self.label_smoothing / classes
        return target

    def call(self, y_true: Array, y_pred: Array) -> Array:
        target = self.targets(y_true, y_pred)
        if self.from_logits:
            return crossentropy(target, activations.log_softmax(y_pred))
        q = y_pred / y_pred.sum(axis=-1, keepdims=True)
        return -(target * backend.of(q).log(q.clip(EPSILON, 1 - EPSILON))).sum(axis=-1)

    def backward(self, y_true: Array, y_pred: Array) -> Array:
        """With S = Σⱼ pⱼ and q = p / S: ∂ℓ/∂qₖ = −yₖ/qₖ, or 0 where q was clipped; and since
        ∂qₖ/∂pⱼ = (δₖⱼ − qₖ)/S, ∂ℓ/∂pⱼ = (∂ℓ/∂qⱼ − Σₖ qₖ ∂ℓ/∂qₖ)/S.
        """
        target = self.targets(y_true, y_pred)
        if self.from_logits:
            return crossentropy_backward(target, activations.softmax(y_pred))
        total = y_pred.sum(axis=-1, keepdims=True)
        q = y_pred / total
        inside = (q >= EPSILON) & (q <= 1 - EPSILON)
        dq = inside * -target / q.clip(EPSILON, 1)
        return (dq - (dq * q).sum(axis=-1, keepdims=True)) / total

    def check_shapes(self, y_true: Shape, y_pred: Shape) -> None:
        checks.one_hot(y_true, y_pred)


class SparseCategoricalCrossentropy(CategoricalCrossentropy):
    """ℓ = −ln p_c: cross-entropy for targets given as class numbers c.

    A class number that no output belongs to contributes 0, as in Keras.

    Arguments:
        from_logits: whether `y_pred` holds softmax's inputs instead of probabilities.

    Source: https://keras.io/api/losses/probabilistic_losses/#sparsecategoricalcrossentropy-class
    """

    by_sample = True

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        axis: int = -1,
        name: str = "sparse_categorical_crossentropy",
        **unsupported: Any,
    ) -> None:
        super().__init__(
            from_logits,
            axis=axis,
            reduction=reduction,
            name=name,
            ignore_class=ignore_class,
            **unsupported,
        )

    def targets(self, y_true: Array, y_pred: Array) -> Array:
        """One-hot rows: comparing with 0, 1, 2 … needs no index, so no class can be out of range.

        Labels may come as floats; Keras cuts off what stands behind the point.
        """
        xp = backend.of(y_pred)
        labels = y_true.reshape(*y_pred.shape[:-1], 1)
        if labels.dtype.kind == "f":
            labels = xp.trunc(labels)
        return xp.equal(labels, xp.arange(y_pred.shape[-1]), out=xp.empty_like(y_pred))

    def check_shapes(self, y_true: Shape, y_pred: Shape) -> None:
        checks.class_numbers(y_true, y_pred)


class MeanSquaredError(Loss):
    """ℓ = (1/K) Σₖ (pₖ − yₖ)²: the mean over a sample's K outputs, for targets that are numbers.

    Source: https://keras.io/api/losses/regression_losses/#meansquarederror-class
    """

    by_sample = True

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "mean_squared_error",
        **unsupported: Any,
    ) -> None:
        arguments.refuse_of(self, unsupported)
        super().__init__(name, reduction)

    def call(self, y_true: Array, y_pred: Array) -> Array:
        error = y_pred - y_true.astype(y_pred.dtype, copy=False)
        return (error * error).mean(axis=-1)

    def backward(self, y_true: Array, y_pred: Array) -> Array:
        """∂ℓ/∂pₖ = (2/K) (pₖ − yₖ)."""
        error = y_pred - y_true.astype(y_pred.dtype, copy=False)
        return error * (2 / y_pred.shape[-1])

    def check_shapes(self, y_true: Shape, y_pred: Shape) -> None:
        checks.same_numbers(y_true, y_pred)


def crossentropy(target: Array, log_p: Array) -> Array:
    """ℓ = −Σₖ yₖ ln pₖ, from the logarithms that softmax leaves: none of a p that became 0."""
    return -(target * log_p).sum(axis=-1)


def crossentropy_backward(target: Array, p: Array) -> Array:
    """∂ℓ/∂zⱼ = pⱼ Σₖ yₖ − yⱼ for p = softmax(z): p − y, where the targets sum to 1.

    By softmax's Jacobian ∂pₖ/∂zⱼ = pₖ (δₖⱼ − pⱼ) we have ∂(ln pₖ)/∂zⱼ = δₖⱼ − pⱼ, the 1/pₖ of the
    logarithm having cancelled; and −Σₖ yₖ (δₖⱼ − pⱼ) = pⱼ Σₖ yₖ − yⱼ.
    """
    return p * target.sum(axis=-1, keepdims=True) - target


def categorical_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Array:
    """`CategoricalCrossentropy` of each sample, (batch,), as a function.

    >>> categorical_crossentropy([[0, 1]], [[0.5, 0.5]]).round(4)
    array([0.6931], dtype=float32)
    """
    loss = CategoricalCrossentropy(from_logits, label_smoothing, axis, reduction=None)
    return loss(y_true, y_pred)


def sparse_categorical_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    ignore_class: int | None = None,
    axis: int = -1,
) -> Array:
    """`SparseCategoricalCrossentropy` of each sample, (batch,), as a function.

    >>> sparse_categorical_crossentropy([1], [[0.5, 0.5]]).round(4)
    array([0.6931], dtype=float32)
    """
    loss = SparseCategoricalCrossentropy(from_logits, ignore_class, reduction=None, axis=axis)
    return loss(y_true, y_pred)


def mean_squared_error(y_true: Any, y_pred: Any) -> Array:
    """`MeanSquaredError` of each sample, (batch,), as a function.

    >>> mean_squared_error([[0, 1]], [[0.5, 0.5]])
    array([0.25], dtype=float32)
    """
    return MeanSquaredError(reduction=None)(y_true, y_pred)


_CLASS_OF: dict[Callable[..., Array], type[Loss]] = {
    categorical_crossentropy: CategoricalCrossentropy,
    sparse_categorical_crossentropy: SparseCategoricalCrossentropy,
    mean_squared_error: MeanSquaredError,
}
_KNOWN: dict[str, Any] = {
    **{f.__name__: f for f in _CLASS_OF},
    **{c.__name__: c for c in _CLASS_OF.values()},
    **dict.fromkeys(("mse", "MSE"), mean_squared_error),
}

get = naming.getter("loss", _KNOWN, Loss, none=None, functions=True)


def as_loss(identifier: Any) -> Loss:
    """The `Loss`, with its gradient, that `compile` was given by name, function or object."""
    found = get(identifier)
    if isinstance(found, Loss):
        return found
    if found not in _CLASS_OF:
        name = getattr(found, "__name__", repr(found))
        raise ValueError(
            f"Expected a loss with a gradient, received the function {name}. Write a subclass of "
            "tinynet.losses.Loss with call(y_true, y_pred) and backward(y_true, y_pred)."
        )
    return _CLASS_OF[found]()
