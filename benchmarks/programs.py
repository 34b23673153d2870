"""The tutorial's network, 784-100-144-10, trained by one library or another: what `peers` compares.

Each class below is the shortest program that its library's documentation would have one write for
this network, with the same initial weights, Adam, cross-entropy, and the loss and accuracy of the
epoch reported (scikit-learn reports the loss alone). None gets help that the others do not; each is
timed with its data where it wants it to be, in the shape that it wants.

`peers.py` starts this file once for each of them, as a process of its own, and speaks with it in
lines: it asks for an epoch, and is answered with seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import pathlib
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

from report import cores

SIZES = (784, 100, 144, 10)


class Program:
    """One library's way: everything that comes before the first epoch happens in `__init__`.

    Arguments:
        x: images, (n, 784) float32; one for each of `labels`, (n,) int32.
        weights: kernels and biases to start from, in Keras's order.
    """

    def __init__(self, x: Any, labels: Any, weights: list[Any], batch_size: int) -> None:
        raise NotImplementedError

    def epoch(self, shuffle: bool = True) -> None:
        """Train for one epoch, to the end: whatever is still under way counts."""
        raise NotImplementedError

    def weights(self) -> list[Any]:
        """The weights as they are now, as NumPy arrays in Keras's order."""
        raise NotImplementedError

    def versions(self) -> str:
        """What ran, for the table."""
        raise NotImplementedError

    def threads(self) -> int:
        """How many threads it computes with: one for each core, where nothing says otherwise."""
        return cores()


class KerasInterface(Program):
    """Keras and tinynet: one program for both, as the interface is the same."""

    library: Any

    def __init__(self, x: Any, labels: Any, weights: list[Any], batch_size: int) -> None:
        lib = self.library
        self.model = lib.Sequential([lib.Input((SIZES[0],))])
        for units in SIZES[1:-1]:
            self.model.add(lib.layers.Dense(units, activation="sigmoid"))
        self.model.add(lib.layers.Dense(SIZES[-1], activation="softmax"))
        self.model.compile("adam", "categorical_crossentropy", metrics=["acc"])
        self.model.set_weights(weights)
        self.x, self.y = x, lib.utils.to_categorical(labels, SIZES[-1])
        self.batch_size = batch_size

    def epoch(self, shuffle: bool = True) -> None:
        self.model.fit(self.x, self.y, self.batch_size, epochs=1, shuffle=shuffle, verbose=0)

    def weights(self) -> list[Any]:
        return self.model.get_weights()


def blas_threads() -> int:
    """How many threads NumPy's matrix products use now."""
    try:
        import threadpoolctl
    except ImportError:
        return int(os.environ.get("OPENBLAS_NUM_THREADS") or cores())
    pools = threadpoolctl.threadpool_info()
    counts = [pool["num_threads"] for pool in pools if pool["user_api"] == "blas"]
    return max(counts, default=cores())


class Tinynet(KerasInterface):
    """tinynet."""

    def __init__(self, *arguments: Any) -> None:
        import tinynet

        self.library = tinynet
        super().__init__(*arguments)

    def versions(self) -> str:
        import numpy

        versions = f"tinynet {self.library.__version__}, NumPy {numpy.__version__}"
        with contextlib.suppress(ImportError):
            import threadpoolctl

            versions += f", threadpoolctl {threadpoolctl.__version__}"
        return versions

    def threads(self) -> int:
        threads = self.library.threads
        with threads.suited_to(threads.multiplications(self.model.layers, self.batch_size)):
            return blas_threads()


class Keras(KerasInterface):
    """Keras, on the backend that the environment variable KERAS_BACKEND names."""

    def __init__(self, *arguments: Any) -> None:
        import keras

        self.library = keras
        super().__init__(*arguments)

    def versions(self) -> str:
        backend = self.library.backend.backend()
        return f"Keras {self.library.__version__}, {backend} {sys.modules[backend].__version__}"


class Products(Program):
    """The matrix products of a step and nothing else (here there are eight): nothing is learned.

    What any program has to spend that leaves them to the same BLAS: the floor. The layers may have
    any sizes, those of `weights`.
    """

    def __init__(self, x: Any, labels: Any, weights: list[Any], batch_size: int) -> None:
        import numpy as np

        self.x, self.batch_size = x, batch_size
        self.kernels = weights[::2]
        self.gradients = [np.empty_like(kernel) for kernel in self.kernels]
        units = [kernel.shape[1] for kernel in self.kernels]
        self.outputs = [np.empty((batch_size, n), "float32") for n in units]
        self.deltas = [np.zeros((batch_size, n), "float32") for n in units]

    def epoch(self, shuffle: bool = True) -> None:
        from numpy import matmul, multiply

        for start in range(0, len(self.x), self.batch_size):
            x = self.x[start : start + self.batch_size]
            inputs = [x, *(output[: len(x)] for output in self.outputs)]
            deltas = [delta[: len(x)] for delta in self.deltas]
            for n, kernel in enumerate(self.kernels):
                matmul(inputs[n], kernel, out=inputs[n + 1])
            for n in reversed(range(len(self.kernels))):
                product = multiply if len(x) == 1 else matmul  # far quicker for a single sample
                product(inputs[n].T, deltas[n], out=self.gradients[n])
                if n > 0:
                    matmul(deltas[n], self.kernels[n].T, out=deltas[n - 1])

    def versions(self) -> str:
        import numpy

        return f"NumPy {numpy.__version__}"

    def threads(self) -> int:
        return blas_threads()


class PyTorch(Program):
    """PyTorch as its tutorials have it, eager; batches are gathered by index, not by a loader."""

    def __init__(self, x: Any, labels: Any, weights: list[Any], batch_size: int) -> None:
        import torch
        from torch import nn

        self.torch, self.batch_size = torch, batch_size
        self.x, self.y = torch.from_numpy(x), torch.from_numpy(labels).long()
        stack: list[Any] = []
        for inputs, units in itertools.pairwise(SIZES):
            stack += [nn.Linear(inputs, units), nn.Sigmoid()]
        self.model = nn.Sequential(*stack[:-1])  # the loss takes the last sums
        with torch.no_grad():
            for parameter, weight in zip(self.model.parameters(), weights, strict=True):
                parameter.copy_(torch.from_numpy(weight).T)
        self.loss = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.Adam(self.model.parameters(), eps=1e-7, fused=True)

    def epoch(self, shuffle: bool = True) -> None:
        torch = self.torch
        order = torch.randperm(len(self.x)) if shuffle else torch.arange(len(self.x))
        total, right = torch.zeros(()), torch.zeros((), dtype=torch.int64)
        for rows in order.split(self.batch_size):
            x, y = self.x[rows], self.y[rows]
            output = self.model(x)
            loss = self.loss(output, y)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            with torch.no_grad():
                total += loss.detach() * len(rows)
                right += (output.argmax(1) == y).sum()
        print(f"loss {total.item() / len(order)}, accuracy {right.item() / len(order)}")

    def weights(self) -> list[Any]:
        return [p.detach().numpy().T for p in self.model.parameters()]

    def versions(self) -> str:
        return f"PyTorch {self.torch.__version__}"

    def threads(self) -> int:
        return self.torch.get_num_threads()


class Jax(Program):
    """JAX with the whole epoch in one compiled program: nothing of it runs in Python."""

    def __init__(self, x: Any, labels: Any, weights: list[Any], batch_size: int) -> None:
        import jax
        import jax.numpy as jnp

        self.jax, self.samples = jax, len(x)
        self.x, self.y = jnp.asarray(x), jax.nn.one_hot(labels, SIZES[-1])
        self.parameters = [jnp.asarray(weight) for weight in weights]
        self.moments = [[jnp.zeros_like(p) for p in self.parameters] for _ in "mv"]
        self.steps = jnp.zeros(())
        self.key = jax.random.key(1)
        full, rest = divmod(len(x), batch_size)

        def forward(parameters: Any, x: Any, y: Any) -> Any:
            for n in (0, 2):
                x = jax.nn.sigmoid(x @ parameters[n] + parameters[n + 1])
            z = x @ parameters[4] + parameters[5]
            loss = -(y * jax.nn.log_softmax(z)).sum(-1).mean()
            return loss, (z.argmax(-1) == y.argmax(-1)).sum()

        def step(x_all: Any, y_all: Any, state: Any, rows: Any) -> Any:
            parameters, (m, v), t = state
            gradient = jax.value_and_grad(forward, has_aux=True)
            (loss, right), g = gradient(parameters, x_all[rows], y_all[rows])
            t = t + 1
            m = [0.9 * a + 0.1 * b for a, b in zip(m, g, strict=True)]
            v = [0.999 * a + 0.001 * b * b for a, b in zip(v, g, strict=True)]
            alpha = 0.001 * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
            parameters = [
                p - alpha * a / (jnp.sqrt(b) + 1e-7)
                for p, a, b in zip(parameters, m, v, strict=True)
            ]
            return (parameters, [m, v], t), (loss * len(rows), right)

        def epoch(x: Any, y: Any, state: Any, order: Any) -> Any:
            batches = order[: full * batch_size].reshape(full, batch_size)
            one = lambda state, rows: step(x, y, state, rows)  # noqa: E731
            state, (losses, right) = jax.lax.scan(one, state, batches)
            loss, right = losses.sum(), right.sum()
            if rest:
                state, last = step(x, y, state, order[full * batch_size :])
                loss, right = loss + last[0], right + last[1]
            return state, loss / len(x), right / len(x)

        self._epoch: Callable[..., Any] = jax.jit(epoch, donate_argnums=2)

    def epoch(self, shuffle: bool = True) -> None:
        jax = self.jax
        order = jax.numpy.arange(self.samples)
        if shuffle:
            self.key, key = jax.random.split(self.key)
            order = jax.random.permutation(key, order)
        state = (self.parameters, self.moments, self.steps)
        state, loss, accuracy = self._epoch(self.x, self.y, state, order)
        self.parameters, self.moments, self.steps = state
        jax.block_until_ready(state)
        print(f"loss {loss}, accuracy {accuracy}")

    def weights(self) -> list[Any]:
        import numpy

        return [numpy.asarray(p) for p in self.parameters]

    def versions(self) -> str:
        return f"JAX {self.jax.__version__}"


class ScikitLearn(Program):
    """scikit-learn's MLPClassifier."""

    def __init__(self, x: Any, labels: Any, weights: list[Any], batch_size: int) -> None:
        from sklearn.neural_network import MLPClassifier

        # With `warm_start`, `fit` goes on from the coefficients that it finds.
        self.model = MLPClassifier(
            SIZES[1:-1], "logistic", batch_size=batch_size, max_iter=1, alpha=0, epsilon=1e-7,
            warm_start=True,
        )  # fmt: skip
        warnings.simplefilter("ignore")  # that one epoch is not the end of it
        self.x, self.labels = x, labels
        self.model.set_params(batch_size=10).fit(x[:1000], labels[:1000])
        self.model.set_params(batch_size=batch_size)
        self.model.coefs_ = [weight.copy() for weight in weights[::2]]
        self.model.intercepts_ = [weight.copy() for weight in weights[1::2]]

    def epoch(self, shuffle: bool = True) -> None:
        self.model.set_params(shuffle=shuffle).fit(self.x, self.labels)

    def weights(self) -> list[Any]:
        layers = zip(self.model.coefs_, self.model.intercepts_, strict=True)
        return [weight for layer in layers for weight in layer]

    def versions(self) -> str:
        import sklearn

        return f"scikit-learn {sklearn.__version__}"

    def threads(self) -> int:
        return blas_threads()


PROGRAMS: dict[str, type[Program]] = {
    "products": Products,
    "tinynet": Tinynet,
    "keras-jax": Keras,
    "keras-tensorflow": Keras,
    "keras-torch": Keras,
    "pytorch": PyTorch,
    "jax": Jax,
    "scikit-learn": ScikitLearn,
}


def load(folder: pathlib.Path) -> tuple[Any, Any, list[Any]]:
    """Images, labels and initial weights, as `peers` has written them."""
    import numpy as np

    with np.load(folder / "data.npz") as data, np.load(folder / "weights.npz") as saved:
        x = data["x_train"].reshape(-1, SIZES[0]).astype("float32") / 255
        return x, data["y_train"].astype("int32"), [saved[name] for name in saved.files]


def serve(arguments: argparse.Namespace, answer: Callable[..., None]) -> None:
    """Answer each line of standard input, ``prove`` or ``epoch``, until there is none."""
    program = PROGRAMS[arguments.program](*load(arguments.data), arguments.batch_size)
    for line in sys.stdin:
        start = time.perf_counter()
        proves = line.strip() == "prove"
        program.epoch(shuffle=not proves)  # to prove, all see the same batches
        seconds = time.perf_counter() - start
        if proves and not isinstance(program, Products):
            import numpy as np

            np.savez(arguments.data / f"{arguments.program}.npz", *program.weights())
        answer(seconds=seconds, versions=program.versions(), threads=program.threads())


def once(arguments: argparse.Namespace, answer: Callable[..., None]) -> None:
    """A user's whole program: read MNIST, build, train an epoch; then evaluate and predict."""
    program = PROGRAMS[arguments.program](*load(arguments.data), arguments.batch_size)
    program.epoch()
    answer(job="process")
    assert isinstance(program, KerasInterface)
    images, truth = program.x[:10_000], program.y[:10_000]
    for when in ("first", "again"):
        for job, look in {
            "evaluate": lambda: program.model.evaluate(images, truth, verbose=0),
            "predict": lambda: program.model.predict(images, verbose=0),
        }.items():
            start = time.perf_counter()
            look()
            answer(job=f"{job}, {when}", seconds=time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description="One library's program; peers.py starts it.")
    parser.add_argument("program", choices=PROGRAMS)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--once", action="store_true")
    arguments = parser.parse_args()

    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print does not mix with the answers

    def answer(**what: Any) -> None:
        print(json.dumps(what), file=answers, flush=True)

    (once if arguments.once else serve)(arguments, answer)


if __name__ == "__main__":
    main()
