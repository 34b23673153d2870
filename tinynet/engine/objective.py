"""A loss on top of a model's last layer, and the one place where two backward steps become one.

Softmax and cross-entropy meet in nearly every classifier. Taken one after the other, the way back
divides by a probability and then multiplies by it again; taken together, both cancel and p − y
remains. `Objective` sees whether they meet, and then starts the way back below the softmax.
"""

from typing import Any

from tinynet import activations, backend
from tinynet.backend import Array
from tinynet.layers import Activated, Activation, Dense, Layer
from tinynet.losses import CategoricalCrossentropy, Loss, SparseCategoricalCrossentropy, match_rank


class Objective:
    """A loss as training uses it: on top of one stack of layers, fused with the last if it can be.

    `forward` gives the loss of a batch; `backward` the gradient with which the way back starts:
    with respect to the last layer's sums z where softmax and cross-entropy are fused (`fused`),
    else with respect to its outputs.
    """

    def __init__(self, loss: Loss, *layers: Any, trains: bool = True) -> None:
        self.loss = loss
        self.layer = layer = layers[-1]
        asks = [x for x in layers if getattr(type(x), "penalty", None) is not Layer.penalty]
        self.penalties = [x.penalty for x in asks if trains]  # frozen weights cost nothing
        self.fused = (
            type(loss) in (CategoricalCrossentropy, SparseCategoricalCrossentropy)
            and not loss.from_logits  # type: ignore[attr-defined]
            and isinstance(layer, Activated)
            and layer.activation is activations.softmax
            and type(layer).forward in (Dense.forward, Activation.forward)
        )

    def forward(self, y_true: Array, y_pred: Array, sample_weight: Array | None = None) -> Array:
        """L = (1/n) Σᵢ wᵢ ℓᵢ and what weights cost: 0-d, and it stays where the numbers are."""
        loss = self._of_batch(y_true, y_pred, sample_weight)
        for penalty in self.penalties:
            cost = penalty()
            if cost is not None:
                loss = loss + cost
        return loss

    def _of_batch(self, y_true: Array, y_pred: Array, sample_weight: Array | None) -> Array:
        self._y_pred = y_pred
        if not self.fused:
            self._target = match_rank(y_true, y_pred)
            values = self.loss.call(self._target, y_pred)
            self._factor = self.loss.factor(values, sample_weight)
            return (values * self._factor).sum()
        # Cross-entropy and its gradient are linear in the targets: with −wᵢ/n multiplied in there,
        # one product of all targets with all logarithms is the loss of the batch.
        assert isinstance(self.loss, CategoricalCrossentropy)
        targets = self.loss.targets(y_true, y_pred)
        factor = self.loss.factor(targets[..., 0], sample_weight)
        self._target = targets * _for_each_output(-factor, targets)
        return backend.xp.vdot(self._target, self.layer.log_probabilities)

    def backward(self) -> Array:
        """∂L/∂z or ∂L/∂y_pred for each sample: that of ℓᵢ, times wᵢ/n."""
        if self.fused:
            # With t = −(wᵢ/n) y this is (wᵢ/n) (p Σy − y), see `losses.crossentropy_backward`.
            t = self._target
            return t - self._y_pred * t.sum(axis=-1, keepdims=True)
        gradient = self.loss.backward(self._target, self._y_pred)
        return gradient * _for_each_output(self._factor, gradient)

    def forget(self) -> None:
        """Let go of the batch."""
        self._target = self._y_pred = self._factor = None


def _for_each_output(factor: Any, like: Array) -> Any:
    """A factor for each sample, (n,) or (n, 1), so that it multiplies all outputs (n, …) alike."""
    if isinstance(factor, float):
        return factor
    return factor.reshape(factor.shape + (1,) * (like.ndim - factor.ndim))
