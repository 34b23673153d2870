"""Optimizers: how a gradient becomes a step. Use Adam in practice; SGD is here for comparison.

An optimizer works on arrays of weights and gradients, independently of layers. A model passes it
one long vector of all its weights; used on its own, it takes a list of arrays of any shapes, as in
Keras. A step is a formula for one weight, such as `adam`, which `elementwise` applies to all.

Adam's step size is computed in float32, as in Keras, because it changes the results: 1 − 0.999 in
float32 has a relative error of 1.3e-5, and Adam's first step contains its square root.
Source: https://keras.io/api/optimizers/
"""

import math
from collections.abc import Iterable
from typing import Any

from tinynet.backend import elementwise, maximum, sqrt
from tinynet.backend.types import Array, Arrays
from tinynet.compat.configuration import functions_for
from tinynet.compat.optimizer import OptimizerBase
from tinynet.compat.schedule import ExponentialDecay, LearningRateSchedule, submodule
from tinynet.compat.slots import FLUSH_STEPS


class Optimizer(OptimizerBase):
    """The base class of all optimizers, tinynet's and your own; define `update` and `slots`.

    >>> import numpy as np, tinynet
    >>> weights = np.array([1, 2], "float32")
    >>> optimizer = tinynet.optimizers.SGD(learning_rate=0.1)
    >>> steps = optimizer.apply_gradients([(np.array([10, 0], "float32"), weights)])
    >>> weights
    array([0., 2.], dtype=float32)

    Arguments:
        learning_rate: η, the factor of each step, which may be changed at any time; or a schedule,
            such as `ExponentialDecay`; or a function without arguments, called in each step.
        clipnorm, clipvalue, global_clipnorm: a limit of gradients: for the norm √Σg² of that of
            each variable, for each number, or for the norm of all together.
        weight_decay: λ; if given, each step starts by shrinking every weight by the fraction η λ,
            w ← w − η λ w (Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101).
    """

    def update(self, weights: Array, gradient: Array, *state: Array, scratch: Array) -> None:
        """Update `weights`, and `state`, the arrays named in `slots`, in place by one step.

        Use a formula, as below, or array operations, which may write to `scratch`, of that shape.
        """
        raise NotImplementedError(f"{type(self).__name__} has to define update(…)")

    def prepare(self, iteration: int) -> None:
        """Compute the numbers that all weights share in step `iteration`, counted from 1."""

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Array | None, Array]]) -> int:
        """Update every array in place by one step, given its gradient; return the steps so far.

        Takes pairs (gradient, array), with the arrays in the order of `build`. For other arrays, or
        a gradient of another shape, a ValueError is raised and nothing is changed.
        """
        pairs = tuple(grads_and_vars)
        if pairs is not self._last_pairs:
            self.check_pairs(pairs)
        if not pairs:  # all weights are frozen: as in Keras, this does not count as a step
            return self.iterations
        special = self.clipnorm or self.clipvalue or self.global_clipnorm or callable(self.set_rate)
        parts = self.begin_step(pairs) if special else self._parts
        self.prepare(self.iterations + 1)
        decay = self.learning_rate * (self.weight_decay or 0)
        for part in parts:
            for weights in part.decayed if self.weight_decay else ():
                shrink(decay, weights, out=weights)
            self.update(part.weights, part.gradient, *part.state, scratch=part.scratch)
        self.iterations += 1
        if self.iterations % FLUSH_STEPS == 0:
            self.flush()
        return self.iterations


@elementwise
def shrink(decay: float, w: Array) -> Array:
    return w - decay * w  # not w * (1 - decay): float32 rounds 1 - 1e-5 to 1 - 1.0014e-5


@elementwise
def descend(eta: float, w: Array, g: Array) -> Array:
    return w - eta * g


@elementwise
def keep_moving(eta: float, mu: float, w: Array, g: Array, v: Array) -> Arrays:
    v = mu * v - eta * g
    return w + v, v


@elementwise
def look_ahead(eta: float, mu: float, w: Array, g: Array, v: Array) -> Arrays:
    v = mu * v - eta * g
    return w + mu * v - eta * g, v


class SGD(Optimizer):
    """Stochastic gradient descent: a step against the gradient, with optional momentum.

    - without momentum: w ← w − η g
    - momentum μ: v ← μ v − η g, then w ← w + v, which keeps a share μ of the previous step
    - nesterov: v as above, then w ← w + μ v − η g, which looks one step of momentum ahead

    `learning_rate` is η; `momentum` is μ, from 0 to 1. Source: Sutskever et al. 2013.
    """

    def __init__(
        self, learning_rate: float = 0.01, momentum: float = 0.0, nesterov: bool = False,
        **base: Any,
    ) -> None:  # fmt: skip
        super().__init__(learning_rate, **base)
        self.momentum, self.nesterov = momentum, nesterov
        if momentum:
            self.slots = self.fading = ("velocity",)

    def update(self, weights: Array, gradient: Array, *state: Array, scratch: Array) -> None:
        eta, mu = self.learning_rate, self.momentum
        if not mu:
            descend(eta, weights, gradient, out=weights)
        else:
            formula = look_ahead if self.nesterov else keep_moving
            formula(eta, mu, weights, gradient, *state, out=(weights, *state))


def rms_step(eta: float, rho: float, epsilon: float, g: Array, v: Array, *a: Array) -> Arrays:
    v = rho * v + (1 - rho) * g**2
    a = tuple(rho * mean + (1 - rho) * g for mean in a)  # one if centered, otherwise none
    return (eta * g / sqrt((v - a[0] ** 2 if a else v) + epsilon), v, *a)


@elementwise
def rmsprop(eta: float, rho: float, epsilon: float, w: Array, g: Array, *means: Array) -> Arrays:
    step, *slots = rms_step(eta, rho, epsilon, g, *means)
    return w - step, *slots


@elementwise
def rmsprop_with_momentum(
    eta: float, rho: float, epsilon: float, mu: float, w: Array, g: Array, m: Array, *means: Array
) -> Arrays:
    step, *slots = rms_step(eta, rho, epsilon, g, *means)
    m = mu * m + step
    return w - m, m, *slots


class RMSprop(Optimizer):
    """RMSprop: each weight's step is its gradient over the root of its mean squared gradient.

    - v ← ρ v + (1 − ρ) g², a running mean, then w ← w − η g / √(v + ε)
    - if `centered`: also a ← ρ a + (1 − ρ) g, and the variance v − a² in place of v
    - with momentum μ: m ← μ m + that step, and w ← w − m

    `rho` is ρ, `epsilon` is ε, `momentum` is μ. Source: Hinton 2012, lecture 6e.
    """

    fading: tuple[str, ...] = ("velocity", "momentum", "average_gradient")
    paired = 1

    def __init__(
        self, learning_rate: float = 0.001, rho: float = 0.9, momentum: float = 0.0,
        epsilon: float = 1e-7, centered: bool = False, **base: Any,
    ) -> None:  # fmt: skip
        super().__init__(learning_rate, **base)
        self.rho, self.momentum, self.epsilon, self.centered = rho, momentum, epsilon, centered
        self.slots = self.fading[: 1 + (momentum > 0)] + self.fading[2:] * centered

    def update(self, weights: Array, gradient: Array, *state: Array, scratch: Array) -> None:
        numbers = self.learning_rate, self.rho, self.epsilon
        if "momentum" not in self.slots:
            rmsprop(*numbers, weights, gradient, *state, out=(weights, *state))
        else:
            v, m, *a = state
            arrays = weights, gradient, m, v, *a
            rmsprop_with_momentum(*numbers, self.momentum, *arrays, out=(weights, m, v, *a))


@elementwise
def adam(
    alpha: float, beta_1: float, beta_2: float, epsilon: float,
    w: Array, g: Array, m: Array, v: Array, *largest: Array,
) -> Arrays:  # fmt: skip
    m = beta_1 * m + (1 - beta_1) * g
    v = beta_2 * v + (1 - beta_2) * g**2
    largest = tuple(maximum(before, v) for before in largest)  # one with amsgrad, otherwise none
    w = w - alpha * (m / (sqrt(largest[0] if largest else v) + epsilon))
    return w, m, v, *largest


class Adam(Optimizer):
    """Adam: each weight's step is its mean gradient over the root of its mean squared gradient.

    With gradient g, in step t = 1, 2, 3 …:

    - m ← β₁ m + (1 − β₁) g, a running mean of the gradients
    - v ← β₂ v + (1 − β₂) g², a running mean of their squares
    - both start at 0 and are therefore too small at first, by the factors 1 − β₁ᵗ and 1 − β₂ᵗ:
      m̂ = m / (1 − β₁ᵗ), v̂ = v / (1 − β₂ᵗ)
    - w ← w − η m̂ / (√v̂ + ε)

    A weight whose gradient keeps its sign moves by about η per step, whatever the gradient's size.
    As in Keras, both corrections form one factor: w ← w − α m / (√v + ε̂), where
    α = η √(1 − β₂ᵗ) / (1 − β₁ᵗ), which equals the above with ε = ε̂ / √(1 − β₂ᵗ).

    Arguments:
        learning_rate, epsilon: η; and ε̂, which prevents a division by zero where all g were 0.
        beta_1, beta_2: β₁ and β₂, the decay rates of the two means, at least 0 and below 1.
        amsgrad: whether to divide by the root of the largest v so far, so that steps do not grow
            when gradients become small (Reddi et al. 2018, https://arxiv.org/abs/1904.09237).
        weight_decay: as in `Optimizer`; Adam with weight decay is known as AdamW.

    Source: Kingma and Ba 2015, https://arxiv.org/abs/1412.6980
    """

    slots: tuple[str, ...] = ("m", "v")
    fading = ("m",)

    def __init__(
        self, learning_rate: float = 0.001, beta_1: float = 0.9, beta_2: float = 0.999,
        epsilon: float = 1e-7, amsgrad: bool = False, **base: Any,
    ) -> None:  # fmt: skip
        super().__init__(learning_rate, **base)
        self.beta_1, self.beta_2, self.epsilon, self.amsgrad = beta_1, beta_2, epsilon, amsgrad
        if amsgrad:
            self.slots = ("m", "v", "largest_v")

    def prepare(self, iteration: int) -> None:
        rate, beta_1, beta_2 = map(self.scalar_type, (self.learning_rate, self.beta_1, self.beta_2))
        self._alpha = float(rate * math.sqrt(1 - beta_2**iteration) / (1 - beta_1**iteration))

    def update(self, weights: Array, gradient: Array, *state: Array, scratch: Array) -> None:
        slots, rates = state[: 2 + self.amsgrad], (self.beta_1, self.beta_2, self.epsilon)
        adam(self._alpha, *rates, weights, gradient, *slots, out=(weights, *slots))


KNOWN = {n: k for k in (Adam, RMSprop, SGD) for n in (k.__name__, k.__name__.lower())}
get, serialize, deserialize = functions_for("optimizer", Optimizer, KNOWN, none=None)
schedules = submodule(__name__, "schedules", LearningRateSchedule, ExponentialDecay)
