"""Six custom parts that tinynet does not have, each in a few lines.

    python examples/extending.py

They are an activation with its derivative, a layer, a loss, an optimizer, a metric and a callback.
`check_gradients` checks their backward passes, and if Keras is installed, their results are
compared with Keras's. Finally, a network that uses all six is trained.
"""

import math
import os
from typing import Any

import numpy as np

import tinynet
from tinynet import activations, backend
from tinynet.datasets import digits
from tinynet.layers import Activation, Dense, Flatten

# Arrays are NumPy's or, on a GPU, CuPy's. `backend.of(x)` is the array library of x; operators and
# methods of x do not need it. `gradient` is ∂L/∂ of a part's output.


# 1. An activation: a plain function, and its backward function, which uses a = f(z).


def leaky_relu(z: Any) -> Any:
    """Return z where z > 0, otherwise 0.2 z: some gradient always passes through."""
    return backend.of(z).maximum(z, 0.2 * z)


@activations.backward_of(leaky_relu)
def leaky_relu_backward(gradient: Any, a: Any) -> Any:
    xp = backend.of(a)
    return gradient * xp.maximum(xp.sign(a), 0.2)  # slope 1 where a > 0, otherwise 0.2


# 2. A layer: build its weights, then forward, then backward directly under it.


class BatchNormalization(tinynet.Layer):
    """Batch normalisation: subtract the batch mean, divide by the deviation: y = γ (x − μ)/s + β.

    Running means of μ and s² are kept and used in inference, where there may be no batch.
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
        # x affects the output in three ways: directly, through the mean and through the deviation.
        g = gradient * self.gamma
        through_mean, through_deviation = g.mean(axis=0), (g * self.normal).mean(axis=0)
        return (g - through_mean - self.normal * through_deviation) / self.deviation


# 3. A loss: its value for each sample, and its gradient.


class Huber(tinynet.Loss):
    """Huber loss: e²/2 for an error |e| ≤ 1, otherwise |e| − 1/2; robust against outliers.

    With c = e clipped to ±1, both cases are c (e − c/2), and the derivative is c.
    """

    def call(self, y_true: Any, y_pred: Any) -> Any:
        error = y_pred - y_true
        cut = error.clip(-1, 1)
        return (cut * (error - cut / 2)).mean(axis=-1)

    def backward(self, y_true: Any, y_pred: Any) -> Any:
        return (y_pred - y_true).clip(-1, 1) / y_pred.shape[-1]


# 4. An optimizer: the state it keeps for each weight, and how a gradient becomes a step.


class RMSprop(tinynet.Optimizer):
    """RMSprop divides g by the root of its mean square: v ← 0.9 v + 0.1 g², w ← w − η g/√v."""

    slots = ("mean_square",)

    def update(self, weights: Any, gradient: Any, mean_square: Any, scratch: Any) -> None:
        mean_square *= 0.9
        mean_square += 0.1 * gradient**2
        weights -= self.learning_rate * gradient / (mean_square + 1e-7) ** 0.5


# 5. A metric: a value for each sample; the mean is reported.


class TopThree(tinynet.Metric):
    """The share of samples whose true class is among the three most probable ones."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        of_true = (y_true * y_pred).sum(axis=-1, keepdims=True)  # y_true is one-hot
        return (y_pred > of_true).sum(axis=-1) < 3


# 6. A callback: code that runs at a certain point of the training.


class CosineDecay(tinynet.Callback):
    """A learning rate that starts at `highest` and decreases along half a cosine."""

    def __init__(self, highest: float) -> None:
        super().__init__()
        self.highest = highest

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        share = epoch / self.params["epochs"]
        self.model.optimizer.learning_rate = self.highest * (1 + math.cos(math.pi * share)) / 2


def main() -> None:
    tinynet.utils.set_random_seed(1)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 4)).astype("float32"), rng.normal(size=(20, 3)).astype("float32")

    print("Is each backward pass correct?\n")
    hidden = Dense(6, leaky_relu), BatchNormalization()
    small = tinynet.Sequential([tinynet.Input((4,)), *hidden, Dense(3)])
    small.compile(RMSprop(), Huber())
    print(tinynet.check_gradients(small, x, 2 * y))

    print("\nDo the results agree with Keras's?\n")
    compare_with_keras(x, y)

    print("\nA network that uses all six parts, on handwritten digits:\n")
    (x_train, y_train), (x_test, y_test) = digits.load_data()
    t_train, t_test = (tinynet.utils.to_categorical(labels, 10) for labels in (y_train, y_test))
    middle = Dense(100), BatchNormalization(), Activation(leaky_relu)
    model = tinynet.Sequential([tinynet.Input((8, 8)), Flatten(), *middle, Dense(10)])
    model.compile(RMSprop(), Huber(), metrics=["acc", TopThree()])
    model.fit(x_train / 16, t_train, epochs=20, verbose=0, callbacks=[CosineDecay(0.003)])
    found: Any = model.evaluate(x_test / 16, t_test, verbose=0, return_dict=True)
    print(f"Accuracy on {len(x_test)} unseen digits: {found['acc']:.1%}. The true digit is among")
    print(f"the three most probable ones for {found['top_three']:.1%} of them.")


def compare_with_keras(x: np.ndarray, y: np.ndarray) -> None:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    os.environ["JAX_PLATFORMS"] = "cpu"  # on a GPU, JAX uses TF32: only three digits
    try:
        import keras
    except ImportError:
        print('Keras is not installed: python -m pip install -e ".[test]"')
        return

    def largest(ours: Any, theirs: Any) -> float:
        return float(np.abs(np.asarray(ours) - np.asarray(theirs)).max())

    def network(library: Any, layer: Any) -> Any:
        kinds = library.layers
        stack = kinds.Input((4,)), kinds.Dense(6, "tanh"), layer, kinds.Dense(3)
        return library.Sequential(list(stack))

    leaky = keras.activations.leaky_relu(x, negative_slope=0.2)
    huber = keras.losses.Huber()(y, 3 * x[:, :3])
    print(f"leaky ReLU: differs by {largest(leaky_relu(x), leaky):.1e}")
    print(f"Huber: differs by {largest(Huber()(y, 3 * x[:, :3]), huber):.1e}")
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
    print("batch normalisation, Huber, RMSprop and CosineDecay, after 40 steps: weights differ by")
    print(f"at most {worst:.1e}, predictions by {largest(ours(x), theirs(x)):.1e}")


if __name__ == "__main__":
    main()
