"""Six parts that tinynet does not have, each in a few lines: yours can be the seventh.

    python examples/extending.py

An activation with its derivative, a layer, a loss, an optimizer, a metric and a callback. Whether
their backward passes are right, `check_gradients` says; whether they compute what Keras computes,
Keras, if it is installed. In the end a network is trained that is made of all six.
"""

import math
import os
from typing import Any

import numpy as np

import tinynet
from tinynet import activations, backend
from tinynet.datasets import digits
from tinynet.layers import Activation, Dense, Flatten

# Arrays are NumPy's or, on a GPU, CuPy's. `backend.of(x)` is the library of x; operators and
# methods need no name. ∂L/∂… is called gradient.


# 1. An activation: a plain function, and the way back, from a = f(z).


def leaky_relu(z: Any) -> Any:
    """z above 0, a fifth of it below: it always lets some gradient through."""
    return backend.of(z).maximum(z, 0.2 * z)


@activations.backward_of(leaky_relu)
def leaky_relu_backward(gradient: Any, a: Any) -> Any:
    xp = backend.of(a)
    return gradient * xp.maximum(xp.sign(a), 0.2)  # slope 1 where a > 0, else 0.2


# 2. A layer: build its weights, forward, and the backward directly under it.


class BatchNormalization(tinynet.Layer):
    """Each number minus its mean over the batch, divided by its deviation: y = γ (x − μ)/s + β.

    In use there may be no batch, so running means of μ and s² are kept for that.
    """

    def build(self, input_shape: Any) -> None:
        for name, start in (("gamma", "ones"), ("beta", "zeros")):
            self.add_weight(input_shape[-1:], start, name=name)
        for name, start in (("moving_mean", "zeros"), ("moving_variance", "ones")):
            self.add_weight(input_shape[-1:], start, trainable=False, name=name)

    def forward(self, x: Any, training: bool = False) -> Any:
        mean, variance = self.moving_mean, self.moving_variance
        if training:
            mean, variance = x.mean(axis=0), x.var(axis=0)
            self.moving_mean += 0.01 * (mean - self.moving_mean)
            self.moving_variance += 0.01 * (variance - self.moving_variance)
        self.deviation = (variance + 0.001) ** 0.5
        self.normal = (x - mean) / self.deviation
        return self.gamma * self.normal + self.beta

    def backward(self, gradient: Any) -> Any:
        self.gamma_gradient[...] = (gradient * self.normal).sum(axis=0)
        self.beta_gradient[...] = gradient.sum(axis=0)
        # x counts three times: by itself, through the mean, and through the deviation.
        g = gradient * self.gamma
        through_mean, through_deviation = g.mean(axis=0), (g * self.normal).mean(axis=0)
        return (g - through_mean - self.normal * through_deviation) / self.deviation


# 3. A loss: its value for each sample, and its gradient.


class Huber(tinynet.Loss):
    """Half the square of an error e up to 1, and |e| − 1/2 beyond: one wild target is no disaster.

    With c = e cut off at ±1, both are c (e − c/2), and the derivative is c.
    """

    def call(self, y_true: Any, y_pred: Any) -> Any:
        error = y_pred - y_true
        cut = error.clip(-1, 1)
        return (cut * (error - cut / 2)).mean(axis=-1)

    def backward(self, y_true: Any, y_pred: Any) -> Any:
        return (y_pred - y_true).clip(-1, 1) / y_pred.shape[-1]


# 4. An optimizer: what it keeps beside each weight, and how a gradient becomes a step.


class RMSprop(tinynet.Optimizer):
    """The gradient, divided by the root of its mean square: v ← 0.9 v + 0.1 g², w ← w − η g/√v."""

    slots = ("mean_square",)

    def update(self, weights: Any, gradient: Any, mean_square: Any, scratch: Any) -> None:
        mean_square *= 0.9
        mean_square += 0.1 * gradient**2
        weights -= self.learning_rate * gradient / (mean_square + 1e-7) ** 0.5


# 5. A metric: a value for each sample, of which the mean is reported.


class TopThree(tinynet.Metric):
    """How often the true class is among the three most probable ones."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        of_true = (y_true * y_pred).sum(axis=-1, keepdims=True)  # y_true is one-hot
        return (y_pred > of_true).sum(axis=-1) < 3


# 6. A callback: something to do at a moment of the training.


class CosineDecay(tinynet.Callback):
    """A learning rate that begins at `highest`, and falls to 0 along half a cosine."""

    def __init__(self, highest: float) -> None:
        super().__init__()
        self.highest = highest

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        share = epoch / self.params["epochs"]
        self.model.optimizer.learning_rate = self.highest * (1 + math.cos(math.pi * share)) / 2


def main() -> None:
    tinynet.utils.set_random_seed(1)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 4)).astype("float32"), rng.normal(size=(20, 3)).astype("float32")

    print("Is each backward right?\n")
    hidden = Dense(6, leaky_relu), BatchNormalization()
    small = tinynet.Sequential([tinynet.Input((4,)), *hidden, Dense(3)])
    small.compile(RMSprop(), Huber())
    print(tinynet.check_gradients(small, x, 2 * y))

    print("\nDo they compute what Keras's compute?\n")
    compare_with_keras(x, y)

    print("\nA network made of all six, on handwritten digits:\n")
    (x_train, y_train), (x_test, y_test) = digits.load_data()
    t_train, t_test = (tinynet.utils.to_categorical(labels, 10) for labels in (y_train, y_test))
    middle = Dense(100), BatchNormalization(), Activation(leaky_relu)
    model = tinynet.Sequential([tinynet.Input((8, 8)), Flatten(), *middle, Dense(10)])
    model.compile(RMSprop(), Huber(), metrics=["acc", TopThree()])
    model.fit(x_train / 16, t_train, epochs=20, verbose=0, callbacks=[CosineDecay(0.003)])
    found: Any = model.evaluate(x_test / 16, t_test, verbose=0, return_dict=True)
    print(f"Right on {found['acc']:.1%} of {len(x_test)} digits that it has not seen, and the true")
    print(f"one is among its first three in {found['top_three']:.1%}.")


def compare_with_keras(x: np.ndarray, y: np.ndarray) -> None:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    os.environ["JAX_PLATFORMS"] = "cpu"  # on a GPU, JAX uses TF32, with three digits
    try:
        import keras
    except ImportError:
        print('That takes Keras: python -m pip install -e ".[test]"')
        return

    def largest(ours: Any, theirs: Any) -> float:
        return float(np.abs(np.asarray(ours) - np.asarray(theirs)).max())

    def network(library: Any, layer: Any) -> Any:
        kinds = library.layers
        stack = kinds.Input((4,)), kinds.Dense(6, "tanh"), layer, kinds.Dense(3)
        return library.Sequential(list(stack))

    leaky = keras.activations.leaky_relu(x, negative_slope=0.2)
    huber = keras.losses.Huber()(y, 3 * x[:, :3])
    print(f"leaky ReLU: {largest(leaky_relu(x), leaky):.1e} apart")
    print(f"Huber: {largest(Huber()(y, 3 * x[:, :3]), huber):.1e} apart")
    ours = network(tinynet, BatchNormalization())
    theirs = network(keras, keras.layers.BatchNormalization())
    ours.compile(RMSprop(0.01), Huber())
    theirs.compile(keras.optimizers.RMSprop(0.01), keras.losses.Huber())
    theirs.set_weights(ours.get_weights())
    schedule = keras.callbacks.LearningRateScheduler(
        lambda epoch, rate: 0.01 * (1 + math.cos(math.pi * epoch / 10)) / 2
    )
    for model, callback in ((ours, CosineDecay(0.01)), (theirs, schedule)):
        options: dict[str, Any] = {"shuffle": False, "verbose": 0, "callbacks": [callback]}
        model.fit(x, y, batch_size=5, epochs=10, **options)
    worst = max(map(largest, ours.get_weights(), theirs.get_weights()))
    print(f"batch normalisation, Huber, RMSprop and the schedule, after 40 steps: {worst:.1e} in")
    print(f"any weight; predictions: {largest(ours(x), theirs(x)):.1e} apart")


if __name__ == "__main__":
    main()
