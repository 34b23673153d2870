"""The contract of a loss: `call`, one value for each sample, and `backward`, its gradient.

A loss says how wrong the outputs are, and its gradient with respect to them is where learning
starts. What happens between the values of the samples and the one number of the batch, weighting
and averaging, is the same for all losses, and stands here.
"""

from typing import Any

from tinynet import backend, naming
from tinynet.backend import Array, Shape

_MEANS = ("sum_over_batch_size", "mean", "mean_with_sample_weight")


class Loss:
    """The base of every loss, tinynet's and your own: write `call` and `backward`.

    Arguments:
        name: how it is called.
        reduction: ``"sum_over_batch_size"`` (also ``"mean"``) divides the weighted sum by the
            number of values, ``"mean_with_sample_weight"`` by the sum of the weights,
            ``"sum"`` by nothing; ``"none"`` or None returns the values.

    Source: https://keras.io/api/losses/
    """

    by_sample = False  # whether a sample's loss does not depend on the others in its batch

    def __init__(self, name: str | None = None, reduction: str | None = "sum_over_batch_size"):
        options = (*_MEANS, "sum", "none", None)
        if not isinstance(reduction, str | None) or reduction not in options:
            raise ValueError(
                "Invalid value for argument `reduction`. Expected one of "
                f"{[*_MEANS, 'sum', 'none', None]}, received: {naming.short(reduction)}. "
                'Write: reduction="sum_over_batch_size"'
            )
        self.name = name or naming.snake_case(type(self).__name__)
        self.reduction = reduction

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
        n = values.size if self.reduction in _MEANS else 1
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

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "reduction": self.reduction}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Loss":
        return cls(**config)


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
