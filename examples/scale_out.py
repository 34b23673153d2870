"""From one device to many: continue training a tinynet model in Keras on several devices.

    python examples/scale_out.py                # four devices simulated on a CPU
    python examples/scale_out.py --steps 500 --batch-size 256
    python examples/scale_out.py --model mine.keras  # a saved model for 28 × 28 images

tinynet trains on one device. If that is too small, continue in Keras, which can use several:
`model.save` writes Keras's file format, Keras opens the file with the optimizer's state, and
`keras.distribution` gives each device its share of every batch (JAX adds up the gradients).
In this example, tinynet, Keras on one device, and Keras on all devices continue from the same file,
with the same batches. If the file holds the complete state, all three report the same losses.
"""

import argparse
import os
import pathlib
import tempfile
from typing import Any

import common
import numpy as np

from tinynet.layers import Dense, Dropout, Flatten
from tinynet.models import Sequential, load_model
from tinynet.utils import set_random_seed, to_categorical

Batches = list[tuple[np.ndarray, np.ndarray]]


def main() -> None:
    arguments = parse_arguments()
    keras = with_devices(arguments.devices)
    devices = keras.distribution.list_devices()
    print(f"{len(devices)} devices: {', '.join(devices)}")
    set_random_seed(arguments.seed)

    (images, labels), _, brightest = common.load(arguments.data)
    x, y = images.astype("float32") / brightest, to_categorical(labels, 10).astype("float32")
    size = arguments.batch_size // len(devices) * len(devices)  # a multiple of the devices
    if size == 0:
        raise SystemExit(f"Expected at least one sample per device: --batch-size {len(devices)}")
    with tempfile.TemporaryDirectory() as folder:
        # 1. Train for one epoch in tinynet, and save the model.
        path = arguments.model or train_and_save(x, y, arguments.batch_size, pathlib.Path(folder))

        # 2. Continue from this file in three ways.
        try:
            model = load_model(path)
            model.evaluate(x[:1], y[:1], verbose=0)
        except (ValueError, OSError) as error:
            raise SystemExit(f"Expected a compiled model of these images: {error}") from None
        if any(isinstance(layer, Dropout) for layer in model.layers):
            print("Dropout draws different masks in Keras, so the losses will differ.")
        batches = some_batches(x, y, size, arguments.steps)
        share = size // len(devices)
        print(f"{arguments.steps} more steps; each device sees {share} of {size} images.")
        runs = {
            "tinynet": go_on(model, batches),
            "one device": in_keras(keras, path, devices[:1], batches),
            f"{len(devices)} devices": in_keras(keras, path, devices, batches),
        }
    show(runs)


def train_and_save(x: np.ndarray, y: np.ndarray, size: int, folder: pathlib.Path) -> pathlib.Path:
    """Train the network of `mnist.py` for one epoch, and return the file it was saved to."""
    model = Sequential([Flatten(input_shape=x.shape[1:])])
    model.add(Dense(100, activation="sigmoid"))
    model.add(Dense(144, activation="sigmoid"))
    model.add(Dense(10, activation="softmax"))
    model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["acc"])
    model.fit(x, y, batch_size=size, verbose=2)
    model.save(folder / "trained-here.keras")
    return folder / "trained-here.keras"


def with_devices(number: int) -> Any:
    """Make JAX simulate `number` devices on the CPU, then import and return Keras."""
    os.environ["KERAS_BACKEND"] = "jax"
    os.environ["JAX_PLATFORMS"] = "cpu"
    flag = f"--xla_force_host_platform_device_count={number}"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()
    try:
        import keras
    except ImportError:
        raise SystemExit("Keras on JAX is not installed: python -m pip install keras jax") from None
    return keras


def some_batches(x: np.ndarray, y: np.ndarray, size: int, steps: int) -> Batches:
    """Return `steps` batches in the order of the data, repeating the data if necessary."""
    rows = np.arange(size * steps).reshape(steps, size) % len(x)
    return [(x[row], y[row]) for row in rows]


def go_on(model: Any, batches: Batches) -> tuple[list[float], list[np.ndarray]]:
    """Train on these batches; return the loss of each before its step, and the final weights."""
    losses = [float(model.train_on_batch(x, y, return_dict=True)["loss"]) for x, y in batches]
    return losses, model.get_weights()


def in_keras(
    keras: Any, path: pathlib.Path, devices: list[str], batches: Batches
) -> tuple[list[float], list[np.ndarray]]:
    """Do the same in Keras, with all weights on each of `devices` and the batches split."""
    print(f"Keras on {', '.join(devices)}: compiling (about 2 s), then training ...", flush=True)
    everywhere = keras.distribution.DataParallel(devices=devices)
    keras.distribution.set_distribution(everywhere)
    model = keras.models.load_model(path)
    found = model.weights[0].value.sharding.device_set
    assert len(found) == len(devices), f"expected {len(devices)} devices, found {len(found)}"
    result = go_on(model, batches)
    keras.distribution.set_distribution(None)
    return result


def show(runs: dict[str, tuple[list[float], list[np.ndarray]]]) -> None:
    """Print the losses side by side, and the largest differences of losses and weights."""
    names = list(runs)
    losses = np.array([runs[name][0] for name in names])
    print("  step  " + "  ".join(f"{name:>10}" for name in names))
    steps = losses.shape[1]
    for step in sorted({*range(min(5, steps)), *range(9, steps, max(1, steps // 5)), steps - 1}):
        print(f"  {step + 1:4}  " + "  ".join(f"{loss:10.7f}" for loss in losses[:, step]))
    print("Largest differences from tinynet, over all steps and weights:")
    for number, name in enumerate(names[1:], start=1):
        loss = abs(losses[number] - losses[0]).max()
        pairs = zip(runs["tinynet"][1], runs[name][1], strict=True)
        weight = max(float(abs(ours - theirs).max()) for ours, theirs in pairs)
        print(f"  {name:>10}: {loss:.1e} in the loss, {weight:.1e} in the weights")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Continue in Keras on several devices.")
    parser.add_argument("--steps", type=int, default=100, help="steps after loading (100)")
    parser.add_argument("--batch-size", type=int, default=128, help="images per step (128)")
    parser.add_argument("--devices", type=int, default=4, help="simulated devices (4)")
    parser.add_argument("--model", type=pathlib.Path, help="a .keras file to continue from")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--data", choices=["auto", "mnist", "digits"], default="auto")
    arguments = parser.parse_args()
    if min(arguments.steps, arguments.batch_size, arguments.devices) < 1:
        parser.error("--steps, --batch-size and --devices have to be at least 1")
    return arguments


if __name__ == "__main__":
    main()
