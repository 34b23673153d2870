"""Optimizers: how a gradient becomes a step. SGD as the contrast, Adam for work.

An optimizer sees weights and gradients as arrays and knows nothing of layers. A model hands it
one long vector (all its weights, end to end), so that a step is a handful of operations on
whole vectors; alone, it takes a list of arrays of any shapes, as Keras's do.

The step's scalars are computed in float32, as Keras computes them. That is not pedantry:
1 − 0.999 in float32 is 1.3e-5 off, Adam divides by its square root, and every backend of Keras
shares the error. Computed in float64 the weights would be "more right", and not Keras's.
"""

import math
from collections.abc import Iterable
from typing import Any

from tinynet import backend, config
from tinynet.backend import Array, HostArray
from tinynet.compat import arguments, checks, naming, validation
from tinynet.compat.configuration import serialize as serialize
from tinynet.compat.optimizer import OptimizerBase, scalars


class Optimizer(OptimizerBase):
    """The base of every optimizer, tinynet's and your own: write `update`, and name its `slots`.

    >>> import numpy as np, tinynet
    >>> weights = np.array([1, 2], "float32")
    >>> optimizer = tinynet.optimizers.SGD(learning_rate=0.1)
    >>> optimizer.build([weights])
    >>> optimizer.apply_gradients([(np.array([10, 0], "float32"), weights)])
    >>> weights
    array([0., 2.], dtype=float32)

    Arguments:
        learning_rate: the length of a step, in units of the update; may be set at any time.
        name: the optimizer's name; numbered by class if not given.
        weight_decay: λ; if given, every weight first shrinks by the share η λ in each step,
            w ← w − η λ w, whatever its gradient is (Loshchilov and Hutter 2019,
            https://arxiv.org/abs/1711.05101).

    Source: https://keras.io/api/optimizers/
    """

    def __init__(
        self,
        learning_rate: float = 0.001,
        name: str | None = None,
        weight_decay: float | None = None,
        **unsupported: Any,
    ) -> None:
        arguments.refuse_of(self, unsupported, "Argument(s) not recognized")
        super().__init__()
        self.name = naming.unique(self) if name is None else naming.check(name)
        self.learning_rate = learning_rate
        self.weight_decay = checks.weight_decay(weight_decay)

    def update(self, weights: Array, gradient: Array, *state: Array, scratch: Array) -> None:
        """Change `weights` in place by one step, and the arrays of `slots` with them.

        Arguments:
            weights, gradient: arrays of one shape.
            state: the arrays of `slots`, in that order.
            scratch: an array of that shape to write intermediate results to.
        """
        raise NotImplementedError(f"{type(self).__name__} has to define update(…)")

    def prepare(self, iteration: int) -> None:
        """Compute what is the same for all weights in step `iteration`, counted from 1."""

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Array, Array]]) -> None:
        """One step: change every array, in place, by its gradient.

        Arguments:
            grads_and_vars: pairs (gradient, array), the arrays in the order of `build`.

        Raises:
            ValueError: for other arrays than before, or a gradient of another shape; then
                nothing is changed.
        """
        pairs = list(grads_and_vars)
        arrays = [weights for _, weights in pairs]
        self._check(pairs, arrays)
        if self._arrays is None:
            self.build(arrays)
        if not pairs:  # all is frozen: as in Keras, that is no step
            return
        self.prepare(self.iterations + 1)
        decay = self.learning_rate * (self.weight_decay or 0)
        for (gradient, weights), state, scratch in zip(
            pairs, self._state, self._scratch, strict=True
        ):
            if decay:  # not `weights *= 1 - decay`: in float32, 1 - 1e-5 is some 0.3 % of that off
                weights -= backend.of(weights).multiply(weights, decay, out=scratch)
            self.update(weights, gradient, *state, scratch=scratch)
        self.iterations += 1


class SGD(Optimizer):
    """Stochastic gradient descent: a step against the gradient, with momentum if wanted.

    - without momentum: w ← w − η g
    - momentum μ: v ← μ v − η g, then w ← w + v: the step remembers where it was going
    - nesterov: v as before, then w ← w + μ v − η g: the gradient corrects after the jump

    Arguments:
        learning_rate: η.
        momentum: μ, from 0 to 1.
        nesterov: whether to use Nesterov's form.
        weight_decay: as in `Optimizer`.

    Source: Sutskever et al. 2013; https://keras.io/api/optimizers/sgd/
    """

    def __init__(
        self,
        learning_rate: float = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float | None = None,
        *,
        name: str | None = None,
        **unsupported: Any,
    ) -> None:
        super().__init__(learning_rate, name, weight_decay, **unsupported)
        self.momentum = checks.momentum(momentum)
        self.nesterov = validation.flag(nesterov, "nesterov")
        if self.momentum:
            self.slots = ("velocity",)

    def update(self, weights: Array, gradient: Array, *state: Array, scratch: Array) -> None:
        xp = backend.of(weights)
        step = xp.multiply(gradient, self.learning_rate, out=scratch)  # η g
        if not self.momentum:
            weights -= step
            return
        (velocity,) = state
        velocity *= self.momentum
        velocity -= step
        if self.nesterov:
            weights -= step
            weights += xp.multiply(velocity, self.momentum, out=scratch)
        else:
            weights += velocity


class Adam(Optimizer):
    """Adam: each weight's step is its mean gradient over the root of its mean square gradient.

    With gradient g, in step t = 1, 2, 3 …:

    - m ← β₁ m + (1 − β₁) g, a running mean of the gradients
    - v ← β₂ v + (1 − β₂) g², a running mean of their squares
    - both start at 0 and are therefore too small at first, by just 1 − β₁ᵗ and 1 − β₂ᵗ:
      m̂ = m / (1 − β₁ᵗ), v̂ = v / (1 − β₂ᵗ)
    - w ← w − η m̂ / (√v̂ + ε̂)

    A weight whose gradient keeps its sign moves by about η a step, whatever the gradient's size.

    Two rearrangements. As in Keras, the two corrections are one number, w ← w − α m / (√v + ε) with
    α = η √(1 − β₂ᵗ) / (1 − β₁ᵗ); only where ε is added differs from the formula above. And m and v
    are kept divided by (1 − β₁) and (1 − β₂), as plain sums m ← β₁ m + g and v ← β₂ v + g², which
    saves two passes over all weights in each step and changes nothing but rounding.

    Arguments:
        learning_rate: η.
        beta_1: β₁, how much of the mean is kept from step to step, from 0 to below 1.
        beta_2: β₂, the same for the mean square.
        epsilon: ε, keeps the division from failing where all gradients were 0.
        amsgrad: whether to divide by the root of the largest v so far, which never lets a weight's
            steps grow again because its gradients have become small (Reddi et al. 2018,
            https://arxiv.org/abs/1904.09237).
        weight_decay: as in `Optimizer`; the two together are known as AdamW.

    Source: Kingma and Ba 2015, https://arxiv.org/abs/1412.6980;
    https://keras.io/api/optimizers/adam/
    """

    slots: tuple[str, ...] = ("m", "v")

    def __init__(
        self,
        learning_rate: float = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        weight_decay: float | None = None,
        *,
        name: str | None = None,
        **unsupported: Any,
    ) -> None:
        super().__init__(learning_rate, name, weight_decay, **unsupported)
        self.beta_1, self.beta_2 = checks.beta("beta_1", beta_1), checks.beta("beta_2", beta_2)
        self.epsilon = validation.number(epsilon, "epsilon", 0, math.inf, 1e-7)
        self.amsgrad = validation.flag(amsgrad, "amsgrad")
        if self.amsgrad:
            self.slots = ("m", "v", "largest_v")

    def prepare(self, iteration: int) -> None:
        given = (self.learning_rate, self.beta_1, self.beta_2)
        rate, beta_1, beta_2 = scalars(config.floatx(), *given)
        alpha = rate * math.sqrt(1 - beta_2**iteration) / (1 - beta_1**iteration)
        # m and v are sums instead of means: their factors (1 − β) go into α and ε.
        root = math.sqrt(1 - self.beta_2)
        self._alpha = float(alpha) * (1 - self.beta_1) / root
        self._epsilon = self.epsilon / root

    def update(self, weights: Array, gradient: Array, *state: Array, scratch: Array) -> None:
        xp = backend.of(weights)
        m, v, *largest = state
        m *= self.beta_1
        m += gradient
        v *= self.beta_2
        v += xp.multiply(gradient, gradient, out=scratch)
        if self.amsgrad:
            v = xp.maximum(largest[0], v, out=largest[0])
        step = xp.sqrt(v, out=scratch)
        step += self._epsilon
        xp.divide(m, step, out=step)
        step *= self._alpha
        weights -= step

    def as_keras(self, slots: list[HostArray]) -> list[HostArray]:
        m, *squares = slots
        return [m * (1 - self.beta_1), *(v * (1 - self.beta_2) for v in squares)]

    def from_keras(self, slots: list[HostArray]) -> list[HostArray]:
        m, *squares = slots
        return [m / (1 - self.beta_1), *(v / (1 - self.beta_2) for v in squares)]


get = naming.getter("optimizer", naming.by_both_names(SGD, Adam), Optimizer)
