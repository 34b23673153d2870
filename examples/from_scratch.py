"""A complete neural network and its training on one page of plain NumPy.

    python -m pip install -e . && python examples/from_scratch.py

Read it from top to bottom; you need Python and a little calculus. tinynet supplies the images and
nothing else. The network is 784-100-144-10: two layers of sigmoids, then a softmax over the ten
digits. In the formulas, each row of x is an image and each row of y its label, one-hot; W and b are
a layer's weights; z = x W + b are its weighted sums and a its outputs, called p in the last layer;
ℓ is the loss of an image, L its mean over a batch, and δ = ∂L/∂z in each layer.

The program prints the mean loss and the test accuracy after each epoch: 93.9 %, 95.8 % and 96.4 %
on MNIST, in about ten seconds. Without MNIST, it reaches 90 % on smaller digits in about a second.
Continue with chapter two, tinynet/README.md.
"""

import itertools

import numpy as np

from tinynet.datasets import digits, mnist

Array = np.ndarray
HIDDEN, CLASSES, BATCH, EPOCHS = (100, 144), 10, 32, 3
ETA, BETA_1, BETA_2, EPSILON = 0.001, 0.9, 0.999, 1e-7  # Adam's η, β₁, β₂, ε̂, as in Keras


# 1. The data: one row of pixels per image, scaled to 0 … 1, and the labels 0 … 9.
def load() -> tuple[Array, Array, Array, Array]:
    try:
        (x_train, labels), (x_test, test_labels), white = *mnist.load_data(), 255
    except (OSError, ImportError) as error:
        print(f"{error}\nThis run continues with those digits: 1,797 images of 8 x 8 pixels.\n")
        (x_train, labels), (x_test, test_labels), white = *digits.load_data(), 16
    x_train, x_test = (x.reshape(len(x), -1).astype("float32") / white for x in (x_train, x_test))
    return x_train, labels, x_test, test_labels  # (60000, 784), (60000,), (10000, 784), (10000,)


# 2. Where the weights start: W uniform on ±√(6 / (inputs + units)) (Glorot) and b = 0, as in Keras.
#    W is random because units that start with equal weights would stay equal. The limit keeps
#    signals and gradients from growing or shrinking much from layer to layer.
def initial_weights(sizes: tuple[int, ...], rng: np.random.Generator) -> list[Array]:
    weights = []
    for inputs, units in itertools.pairwise(sizes):
        limit = np.sqrt(6 / (inputs + units))
        W = rng.uniform(-limit, limit, (inputs, units)).astype("float32")
        weights += [W, np.zeros(units, "float32")]
    return weights  # [W1, b1, W2, b2, W3, b3]


# 3. Forward: from a batch of images to ten probabilities for each.
def sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))  # σ(z) = 1 / (1 + e⁻ᶻ)


def softmax(z: Array) -> Array:
    e = np.exp(z - z.max(axis=1, keepdims=True))  # the maximum cancels; without it eᶻ may overflow
    return e / e.sum(axis=1, keepdims=True)  # pₖ = eᶻᵏ / Σⱼ eᶻʲ


def forward(weights: list[Array], x: Array) -> tuple[Array, Array, Array]:
    W1, b1, W2, b2, W3, b3 = weights
    a1 = sigmoid(x @ W1 + b1)  # (batch, 784) @ (784, 100) + (100,) → (batch, 100)
    a2 = sigmoid(a1 @ W2 + b2)  # (batch, 100) @ (100, 144) + (144,) → (batch, 144)
    p = softmax(a2 @ W3 + b3)  # (batch, 144) @ (144, 10) + (10,) → (batch, 10)
    return a1, a2, p


# 4. Loss: cross-entropy ℓ = −Σₖ yₖ ln pₖ, and L, its mean over the batch. In float32, a probability
#    can become 0, whose logarithm is not finite, so p is clipped at 1e-7, as in Keras.
def loss(p: Array, y: Array) -> float:
    return float(-(y * np.log(p.clip(1e-7, 1))).sum(axis=1).mean())


# 5. Backward: the chain rule, from the last layer to the first.
#    At the softmax, ln pₖ = zₖ − ln Σⱼ eᶻʲ, so ∂(ln pₖ)/∂zⱼ = [k = j] − pⱼ, and for one image
#        ∂ℓ/∂zⱼ = −Σₖ yₖ ([k = j] − pⱼ) = −yⱼ + pⱼ Σₖ yₖ = pⱼ − yⱼ, because Σₖ yₖ = 1.
#    In each layer, z = x W + b gives ∂L/∂W = xᵀ δ, ∂L/∂b = Σ δ over the batch, ∂L/∂x = δ Wᵀ.
#    x is the previous layer's output a; in that layer δ = ∂L/∂a · σ′(z), with σ′(z) = a (1 − a).
def backward(weights: list[Array], x: Array, outputs: tuple[Array, ...], y: Array) -> list[Array]:
    _, _, W2, _, W3, _ = weights
    a1, a2, p = outputs
    delta3 = (p - y) / len(x)  # (batch, 10); divided by the batch size: L is the mean of ℓ
    delta2 = (delta3 @ W3.T) * a2 * (1 - a2)  # (batch, 10) @ (10, 144) → (batch, 144)
    delta1 = (delta2 @ W2.T) * a1 * (1 - a1)  # (batch, 144) @ (144, 100) → (batch, 100)
    dW1, db1 = x.T @ delta1, delta1.sum(axis=0)  # (784, batch) @ (batch, 100) → (784, 100)
    dW2, db2 = a1.T @ delta2, delta2.sum(axis=0)  # (100, batch) @ (batch, 144) → (100, 144)
    dW3, db3 = a2.T @ delta3, delta3.sum(axis=0)  # (144, batch) @ (batch, 10) → (144, 10)
    return [dW1, db1, dW2, db2, dW3, db3]


# 6. Adam: m and v are running means of each gradient and of its square. m / √v does not depend on
#    the gradient's scale, so a weight usually moves by at most about η. Both means start at 0
#    and are too small at first; α corrects for that (Kingma and Ba 2015, end of section 2).
class Adam:
    def __init__(self, weights: list[Array]) -> None:
        self.t = 0  # steps taken
        self.m = [np.zeros_like(w) for w in weights]
        self.v = [np.zeros_like(w) for w in weights]

    def update(self, weights: list[Array], gradients: list[Array]) -> None:
        self.t += 1
        # α = η √(1 − β₂ᵗ) / (1 − β₁ᵗ), in float32 as in Keras. There 1 − 0.999 has a relative error
        # of 1.3e-5: with α in float64, the weights drift 5e-6 away from Keras's in an epoch.
        eta, beta_1, beta_2 = np.float32(ETA), np.float32(BETA_1), np.float32(BETA_2)
        alpha = eta * np.sqrt(1 - beta_2**self.t) / (1 - beta_1**self.t)
        for w, g, m, v in zip(weights, gradients, self.m, self.v, strict=True):
            m[:] = BETA_1 * m + (1 - BETA_1) * g  # m ← β₁ m + (1 − β₁) g
            v[:] = BETA_2 * v + (1 - BETA_2) * g**2  # v ← β₂ v + (1 − β₂) g²
            w -= alpha * m / (np.sqrt(v) + EPSILON)  # w ← w − α m / (√v + ε̂), in place


# 7. One step: pass a batch forward and the gradients backward, then update every weight.
def train_step(weights: list[Array], optimizer: Adam, x: Array, y: Array) -> float:
    outputs = forward(weights, x)
    optimizer.update(weights, backward(weights, x, outputs, y))
    return loss(outputs[-1], y)


# 8. One epoch: take every image once, in the given order. The last batch may be smaller.
def train_epoch(weights: list[Array], optimizer: Adam, x: Array, y: Array, order: Array) -> float:
    total = 0.0
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        total += train_step(weights, optimizer, x[batch], y[batch]) * len(batch)
    return total / len(order)  # the mean over the images


# 9. Accuracy: the share of images whose most probable digit is the right one.
def accuracy(weights: list[Array], x: Array, labels: Array) -> float:
    return float((forward(weights, x)[-1].argmax(axis=1) == labels).mean())


# 10. Main: train, and report after each epoch.
def main() -> None:
    x_train, labels, x_test, test_labels = load()
    y_train = np.eye(CLASSES, dtype="float32")[labels]  # one-hot: 3 → 0 0 0 1 0 0 0 0 0 0
    rng = np.random.default_rng(42)
    weights = initial_weights((x_train.shape[1], *HIDDEN, CLASSES), rng)
    optimizer = Adam(weights)
    epochs = EPOCHS if len(x_train) > 10_000 else 10 * EPOCHS  # fewer images need more epochs
    for epoch in range(1, epochs + 1):
        print(f"Epoch {epoch}: ", end="", flush=True)
        order = rng.permutation(len(x_train))  # a new order in every epoch
        mean = train_epoch(weights, optimizer, x_train, y_train, order)
        right = accuracy(weights, x_test, test_labels)
        print(f"loss {mean:.4f}, test accuracy {right:.2%}", flush=True)


if __name__ == "__main__":
    main()
