"""A network small enough to compute by hand: two inputs, two hidden units, one output, XOR.

    python examples/by_hand.py              # check the numbers with a pocket calculator
    python examples/by_hand.py --seed 1     # start from other weights: training gets stuck

The program prints every number of one forward and backward pass, works out the update of two
weights, and trains the network on XOR. If Keras is installed, it repeats the training in Keras.
Each number follows from those printed above it, to one unit of the last digit.
"""

import argparse
import os

import numpy as np

import tinynet
from tinynet.layers import Dense
from tinynet.models import Sequential
from tinynet.optimizers import Adam

# The target is 1 if exactly one of the inputs is 1.
X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "float64")
Y = np.array([[0], [1], [1], [0]], "float64")


def main() -> None:
    arguments = parse_arguments()
    # In float32, -0.04 is -0.039999999, and a calculator's digits would differ from the sixth on.
    tinynet.config.set_floatx("float64")
    start = first_weights(arguments.seed)

    print("1. The task: XOR is 1 if exactly one of its inputs is 1.\n")
    for inputs, target in zip(X, Y, strict=True):
        print(f"   {inputs[0]:.0f} xor {inputs[1]:.0f} = {target[0]:.0f}")

    print("\n2. One batch of all four samples, forward and backward through the network.\n")
    model = Sequential(name="xor")
    model.add(Dense(2, activation="tanh", input_shape=(2,), name="hidden"))
    model.add(Dense(1, activation="sigmoid", name="output"))
    model.set_weights(start)
    model.compile(optimizer=Adam(learning_rate=0.1), loss="mean_squared_error")
    trace = model.trace(X, Y)
    print(trace)

    print("\n3. Adam's update of one weight in each layer.\n")
    print(trace.update("output/kernel", (0, 0)))
    print(trace.update("hidden/kernel", (0, 1)))
    model.fit(X, Y, batch_size=4, epochs=1, verbose=0)
    hidden, _, output, _ = model.get_weights()
    print(f"After the step, the two weights are {output[0, 0]:.6g} and {hidden[0, 1]:.6g}.")

    print(f"\n4. After {arguments.steps - 1} more training steps.\n")
    model.fit(X, Y, batch_size=4, epochs=arguments.steps - 1, verbose=0, shuffle=False)
    loss = model.evaluate(X, Y, verbose=0)
    answers = model.predict(X, verbose=0)
    for inputs, answer in zip(X, answers, strict=True):
        print(f"   {inputs[0]:.0f} xor {inputs[1]:.0f} = {answer[0]:.3f}")
    right = bool(((answers > 0.5) == Y).all())
    stuck = "it has not learned XOR. With only two hidden units, training may get stuck"
    print(f"   loss {loss:.6f}: {'it has learned XOR' if right else stuck}")

    print("\n5. The same training in Keras.\n")
    compare_with_keras(model, start, arguments.steps)


def first_weights(seed: int) -> list[np.ndarray]:
    """Return random weights with two decimal places, so that they are easy to type."""
    rng = np.random.default_rng(seed)
    shapes = [(2, 2), (2,), (2, 1), (1,)]
    return [rng.uniform(-1, 1, shape).round(2) for shape in shapes]


def compare_with_keras(model: Sequential, start: list[np.ndarray], steps: int) -> None:
    """Train the same network from the same weights in Keras, and print both sets of weights."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    os.environ |= {"JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "1"}
    print("   Starting Keras ...", end="", flush=True)
    try:
        import keras
    except ImportError:
        print(' it is not installed. Write: python -m pip install -e ".[test]"')
        return
    keras.config.set_floatx("float64")
    theirs = keras.Sequential([keras.Input((2,))])
    theirs.add(keras.layers.Dense(2, activation="tanh"))
    theirs.add(keras.layers.Dense(1, activation="sigmoid"))
    theirs.set_weights(start)
    theirs.compile(optimizer=keras.optimizers.Adam(learning_rate=0.1), loss="mean_squared_error")
    theirs.fit(X, Y, batch_size=4, epochs=steps, verbose=0, shuffle=False)
    ours, keras_weights = model.get_weights(), theirs.get_weights()
    names = ["hidden/kernel", "hidden/bias", "output/kernel", "output/bias"]
    print(f"\n   {'':<14}  {'tinynet':<42}  Keras")
    for name, a, b in zip(names, ours, keras_weights, strict=True):
        print(f"   {name:<14}  {row(a):<42}  {row(b)}")
    largest = max(float(abs(a - b).max()) for a, b in zip(ours, keras_weights, strict=True))
    print(f"   largest difference in any weight after {steps} steps: {largest:.1e}")


def row(array: np.ndarray) -> str:
    return "  ".join(f"{number:9.6f}" for number in array.ravel())


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A network small enough to compute by hand.")
    parser.add_argument("--steps", type=int, default=100, help="number of training steps (100)")
    parser.add_argument("--seed", type=int, default=3, help="seed of the initial weights (3)")
    arguments = parser.parse_args()
    if arguments.steps < 1:
        parser.error("--steps has to be at least 1")
    return arguments


if __name__ == "__main__":
    main()
