"""A network small enough to compute by hand: two inputs, two hidden units, one output, XOR.

    python examples/by_hand.py              # take a pocket calculator, and follow
    python examples/by_hand.py --seed 1     # from other weights it gets stuck

One batch goes up and down with every number printed, one weight's update is worked out, and then
the network is trained until it knows XOR. If Keras is installed, it does the same beside it.
"""

import argparse
import os

import numpy as np

from tinynet.layers import Dense
from tinynet.models import Sequential
from tinynet.optimizers import Adam

# One or the other, but not both.
X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "float32")
Y = np.array([[0], [1], [1], [0]], "float32")


def main() -> None:
    arguments = parse_arguments()
    start = first_weights(arguments.seed)

    print("1. The task: one input or the other, but not both.\n")
    for inputs, target in zip(X, Y, strict=True):
        print(f"   {inputs[0]:.0f} xor {inputs[1]:.0f} = {target[0]:.0f}")

    print("\n2. One batch of all four through the network, up and down again.\n")
    model = Sequential(name="xor")
    model.add(Dense(2, activation="tanh", input_shape=(2,), name="hidden"))
    model.add(Dense(1, activation="sigmoid", name="output"))
    model.set_weights(start)
    model.compile(optimizer=Adam(learning_rate=0.1), loss="mean_squared_error")
    trace = model.trace(X, Y)
    print(trace)

    print("\n3. What Adam makes of the gradients, for one weight of each layer.\n")
    print(trace.update("output/kernel", (0, 0)))
    print(trace.update("hidden/kernel", (0, 1)))
    model.fit(X, Y, batch_size=4, epochs=1, verbose=0)
    hidden, _, output, _ = model.get_weights()
    print(f"After the step they are {output[0, 0]:.8g} and {hidden[0, 1]:.8g}.")

    print(f"\n4. The same {arguments.steps - 1} times more.\n")
    model.fit(X, Y, batch_size=4, epochs=arguments.steps - 1, verbose=0, shuffle=False)
    loss = model.evaluate(X, Y, verbose=0)
    answers = model.predict(X, verbose=0)
    for inputs, answer in zip(X, answers, strict=True):
        print(f"   {inputs[0]:.0f} xor {inputs[1]:.0f} = {answer[0]:.3f}")
    right = bool(((answers > 0.5) == Y).all())
    stuck = "it does not know XOR. Two hidden units are few: from some weights they get stuck"
    print(f"   loss {loss:.6f}: {'it knows XOR' if right else stuck}")

    print("\n5. And in Keras.\n")
    compare_with_keras(model, start, arguments.steps)


def first_weights(seed: int) -> list[np.ndarray]:
    """Random weights with two digits, as one can type them."""
    rng = np.random.default_rng(seed)
    shapes = [(2, 2), (2,), (2, 1), (1,)]
    return [rng.uniform(-1, 1, shape).round(2).astype("float32") for shape in shapes]


def compare_with_keras(model: Sequential, start: list[np.ndarray], steps: int) -> None:
    """Train the same network from the same weights in Keras, and print both sets of weights."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    os.environ["JAX_PLATFORMS"] = "cpu"  # on a GPU, JAX uses TF32, with three digits
    try:
        import keras
    except ImportError:
        print('   Keras is not installed: python -m pip install -e ".[test]"')
        return
    theirs = keras.Sequential([keras.Input((2,))])
    theirs.add(keras.layers.Dense(2, activation="tanh"))
    theirs.add(keras.layers.Dense(1, activation="sigmoid"))
    theirs.set_weights(start)
    theirs.compile(optimizer=keras.optimizers.Adam(learning_rate=0.1), loss="mean_squared_error")
    theirs.fit(X, Y, batch_size=4, epochs=steps, verbose=0, shuffle=False)
    ours, keras_weights = model.get_weights(), theirs.get_weights()
    names = ["hidden/kernel", "hidden/bias", "output/kernel", "output/bias"]
    print(f"   {'':<14}  {'tinynet':<42}  Keras")
    for name, a, b in zip(names, ours, keras_weights, strict=True):
        print(f"   {name:<14}  {row(a):<42}  {row(b)}")
    largest = max(float(abs(a - b).max()) for a, b in zip(ours, keras_weights, strict=True))
    print(f"   largest difference of any weight after {steps} steps: {largest:.1e}")


def row(array: np.ndarray) -> str:
    return "  ".join(f"{number:9.6f}" for number in array.ravel())


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A network small enough to compute by hand.")
    parser.add_argument("--steps", type=int, default=100, help="training steps in all (100)")
    parser.add_argument("--seed", type=int, default=3, help="of the first weights (3)")
    arguments = parser.parse_args()
    if arguments.steps < 1:
        parser.error("--steps has to be at least 1")
    return arguments


if __name__ == "__main__":
    main()
