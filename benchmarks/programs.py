"""Programs that train the example network, 784-100-144-10, one for each library that is compared.

Each class below is the shortest program that follows its library's documentation for this network,
with the same initial weights, Adam, cross-entropy, and the loss and accuracy of the epoch reported
(scikit-learn reports the loss alone). No program has special optimisations; each is timed with its
data already on the device and in the shape that it requires.

`peers.py` and `on_gpu.py` run this file once for each program, in a separate process. They write
a line to request an epoch, and read the seconds from the answer. JAX and PyTorch compute on a GPU
if they find one; `peers.py` hides it, because it compares on the CPU.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import itertools
import json
import math
import os
import pathlib
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

from report import cores

SIZES = (784, 100, 144, 10)
LEAST = 0.25  # minimum duration of a timing, in seconds


class Program:
    """One library's training program; `__init__` does everything that precedes the first epoch.

    Arguments:
        x: images, (n, 784) float32; one for each of `labels`, (n,) int32.
        weights: initial kernels and biases, in Keras's order.
    """

    def __init__(self, x: Any, labels: Any, weights: list[Any], batch_size: int) -> None:
        raise NotImplementedError

    def epoch(self, shuffle: bool = True) -> None:
        """Train for one epoch, and wait until all of its work is done."""
        raise NotImplementedError

    def timed_epoch(self) -> float:
        """Return the seconds for an epoch, with no work pending before and after it.

        The program first trains for `LEAST` seconds without timing, because an idle GPU lowers its
        clock rate. Then it times whole epochs for as long.
        """
        for _ in ("not timed", "timed"):
            epochs, began = 0, time.perf_counter()
            while not epochs or time.perf_counter() - began < LEAST:
                self.epoch()
                epochs += 1
        return (time.perf_counter() - began) / epochs

    def weights(self) -> list[Any]:
        """Return the current weights, as NumPy arrays in Keras's order."""
        raise NotImplementedError

    def first_batch(self) -> tuple[float, list[Any]]:
        """Return the loss and the gradients of the first batch, without updating the weights."""
        raise NotImplementedError

    def versions(self) -> str:
        """Return the versions of the libraries used, for the table."""
        raise NotImplementedError

    def threads(self) -> int:
        """Return the number of threads used; by default one per core."""
        return cores()

    def place(self) -> str:
        """Return ``"CPU"`` or ``"GPU"``."""
        return "CPU"


class KerasInterface(Program):
    """The common program of Keras and tinynet, which have the same interface."""

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
    """Return the number of threads that NumPy's matrix products currently use."""
    try:
        import threadpoolctl
    except ImportError:
        return int(os.environ.get("OPENBLAS_NUM_THREADS") or cores())
    pools = threadpoolctl.threadpool_info()
    counts = [pool["num_threads"] for pool in pools if pool["user_api"] == "blas"]
    return max(counts, default=cores())


class Tinynet(KerasInterface):
    """tinynet, on the CPU."""

    backend = "numpy"

    def __init__(self, *arguments: Any) -> None:
        import tinynet

        self.library = tinynet
        with tinynet.backend.use(self.backend):
            super().__init__(*arguments)

    def timed_epoch(self) -> float:
        """Do the same within a single `fit`, which sends its data to the GPU only once."""
        backend, began, took = self.library.backend, time.perf_counter(), []

        class Clock(self.library.callbacks.Callback):  # type: ignore[misc, name-defined]
            def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
                backend.synchronize()
                self.began = time.perf_counter()

            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                backend.synchronize()
                now = time.perf_counter()
                if self.began - began >= LEAST:
                    took.append(now - self.began)
                self.model.stop_training = sum(took) >= LEAST

        self.model.fit(
            self.x, self.y, self.batch_size, epochs=100_000, verbose=0, callbacks=[Clock()]
        )
        return sum(took) / len(took)

    def first_batch(self) -> tuple[float, list[Any]]:
        from tinynet.engine.data import Batches

        backend, model = self.library.backend, self.model
        with backend.use(self.backend):
            batches = Batches(self.x, self.y, None, self.batch_size, model.dtype)
            (batch,) = batches.iterate(0, 1)
            model.prepare_training(batch.x.shape)
            loss = model.objective.forward(batch.y, model.forward(batch.x, training=True))
            model.backward(model.objective.backward())
            return float(loss), [
                backend.to_numpy(gradient)
                for layer in model.layers
                for gradient in (layer.kernel_gradient, layer.bias_gradient)
            ]

    def versions(self) -> str:
        import numpy

        versions = f"tinynet {self.library.__version__}, NumPy {numpy.__version__}"
        for name in ("threadpoolctl", "numba"):
            with contextlib.suppress(ImportError):
                versions += f", {name} {importlib.metadata.version(name)}"
        return versions

    def threads(self) -> int:
        from tinynet.backend import threads

        with threads.for_layers(self.model.layers, self.batch_size, trains=True):
            return blas_threads()


class TinynetCupy(Tinynet):
    """tinynet, on the GPU."""

    backend = "cupy"

    def versions(self) -> str:
        with self.library.backend.use(self.backend):
            return f"{super().versions()}, CuPy {self.library.backend.xp.__version__}"

    def place(self) -> str:
        return "GPU"


class TinynetCupyOrdinary(TinynetCupy):
    """The same without replays of a captured step: `fit` does none if the gradients are watched."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.model.on_backward = lambda layer, gradient: None


class TinynetFloat64(Tinynet):
    """tinynet in float64, the reference for programs that compute in float32.

    Adam's step size is computed in float32, as in Keras: in float64 it would be 6e-5 larger at
    first, which is not one of the rounding errors to be measured.
    """

    def __init__(self, *arguments: Any) -> None:
        import tinynet

        class Adam(tinynet.optimizers.Adam):
            def prepare(self, iteration: int) -> None:
                self.scalar_type = tinynet.backend.host.float32
                super().prepare(iteration)

        optimizer = Adam()
        tinynet.config.set_floatx("float64")
        super().__init__(*arguments)
        self.model.compile(optimizer, "categorical_crossentropy", metrics=["acc"])


class Keras(KerasInterface):
    """Keras, on the backend given by the environment variable KERAS_BACKEND."""

    def __init__(self, *arguments: Any) -> None:
        import keras

        self.library = keras
        super().__init__(*arguments)

    def versions(self) -> str:
        backend = self.library.backend.backend()
        return f"Keras {self.library.__version__}, {backend} {sys.modules[backend].__version__}"


class Products(Program):
    """The matrix products of each step and nothing else (eight for this network); no learning.

    Their time is a lower bound for every program that uses the same BLAS. The layer sizes are
    those of `weights`.
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
                product = multiply if len(x) == 1 else matmul  # much faster for a single sample
                product(inputs[n].T, deltas[n], out=self.gradients[n])
                if n > 0:
                    matmul(deltas[n], self.kernels[n].T, out=deltas[n - 1])

    def versions(self) -> str:
        import numpy

        return f"NumPy {numpy.__version__}"

    def threads(self) -> int:
        return blas_threads()


class PyTorch(Program):
    """Eager PyTorch, as in its tutorials, but with batches gathered by index, not by a loader."""

    capturable = False  # whether the optimizer's step can be part of a CUDA graph

    def __init__(self, x: Any, labels: Any, weights: list[Any], batch_size: int) -> None:
        import torch
        from torch import nn

        self.torch, self.batch_size = torch, batch_size
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.set_float32_matmul_precision("highest")
        self.x = torch.from_numpy(x).to(self.device)
        self.y = torch.from_numpy(labels).long().to(self.device)
        stack: list[Any] = []
        for inputs, units in itertools.pairwise(SIZES):
            stack += [nn.Linear(inputs, units), nn.Sigmoid()]
        self.model = nn.Sequential(*stack[:-1]).to(self.device)  # the loss takes the logits
        with torch.no_grad():
            for parameter, weight in zip(self.model.parameters(), weights, strict=True):
                parameter.copy_(torch.from_numpy(weight.T))
        self.loss = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), eps=1e-7, fused=True, capturable=self.capturable
        )
        self.total = torch.zeros((), device=self.device)
        self.right = torch.zeros((), device=self.device, dtype=torch.int64)

    def step(self, x: Any, y: Any) -> None:
        output = self.model(x)
        loss = self.loss(output, y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        with self.torch.no_grad():
            self.total += loss.detach() * len(x)
            self.right += (output.argmax(1) == y).sum()

    def epoch(self, shuffle: bool = True) -> None:
        torch, samples = self.torch, len(self.x)
        kind = torch.randperm if shuffle else torch.arange
        self.total.zero_()
        self.right.zero_()
        for rows in kind(samples, device=self.device).split(self.batch_size):
            self.step(self.x[rows], self.y[rows])
        print(f"loss {self.total.item() / samples}, accuracy {self.right.item() / samples}")

    def weights(self) -> list[Any]:
        return [p.detach().cpu().numpy().T for p in self.model.parameters()]

    def first_batch(self) -> tuple[float, list[Any]]:
        x, y = self.x[: self.batch_size], self.y[: self.batch_size]
        loss = self.loss(self.model(x), y)
        found = self.torch.autograd.grad(loss, list(self.model.parameters()))
        return loss.item(), [gradient.cpu().numpy().T for gradient in found]

    def versions(self) -> str:
        return f"PyTorch {self.torch.__version__}"

    def threads(self) -> int:
        return self.torch.get_num_threads()

    def place(self) -> str:
        return "GPU" if self.device.type == "cuda" else "CPU"


class PyTorchAsKeras(PyTorch):
    """PyTorch with the step of Keras's Adam, so that the weights can be compared.

    PyTorch divides by √v̂ + ε where Keras divides by √v + ε. Since √v̂ = √v / c with
    c = √(1 − β₂ᵗ), PyTorch's ε must be Keras's ε / c. Keras computes the step size in float32.
    """

    steps = 0

    def step(self, x: Any, y: Any) -> None:
        import numpy as np

        (group,) = self.optimizer.param_groups
        self.steps += 1
        rate, beta_1, beta_2 = np.array([0.001, 0.9, 0.999], "float32")
        c = math.sqrt(1 - 0.999**self.steps)
        length = rate * np.sqrt(1 - beta_2**self.steps) / (1 - beta_1**self.steps)
        group["lr"] = float(length) * (1 - 0.9**self.steps) / c
        group["eps"] = 1e-7 / c
        super().step(x, y)


class PyTorchGraph(PyTorch):
    """PyTorch with the step of a full batch recorded as a CUDA graph and replayed.

    Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
    """

    capturable = True

    def __init__(self, x: Any, labels: Any, weights: list[Any], batch_size: int) -> None:
        super().__init__(x, labels, weights, batch_size)
        torch = self.torch
        self.full = min(batch_size, len(x))
        self.own_x, self.own_y = self.x[: self.full].clone(), self.y[: self.full].clone()
        before = [p.detach().clone() for p in self.model.parameters()]
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):
                super().step(self.own_x, self.own_y)
        torch.cuda.current_stream().wait_stream(aside)
        self.optimizer.zero_grad()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            super().step(self.own_x, self.own_y)
        with torch.no_grad():  # restore the initial state
            for parameter, value in zip(self.model.parameters(), before, strict=True):
                parameter.copy_(value)
                for state in self.optimizer.state[parameter].values():
                    state.zero_()

    def step(self, x: Any, y: Any) -> None:
        if len(x) != self.full:
            super().step(x, y)
            return
        self.own_x.copy_(x)
        self.own_y.copy_(y)
        self.graph.replay()


class Jax(Program):
    """JAX with the whole epoch compiled to one program, without Python code between steps."""

    def __init__(self, x: Any, labels: Any, weights: list[Any], batch_size: int) -> None:
        import jax
        import jax.numpy as jnp

        self.jax, self.samples, self.batch_size = jax, len(x), batch_size
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

        gradient = jax.value_and_grad(forward, has_aux=True)

        def step(x_all: Any, y_all: Any, state: Any, rows: Any) -> Any:
            parameters, (m, v), t = state
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

        self._gradient: Callable[..., Any] = jax.jit(gradient)
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

    def first_batch(self) -> tuple[float, list[Any]]:
        import numpy

        x, y = self.x[: self.batch_size], self.y[: self.batch_size]
        (loss, _), found = self._gradient(self.parameters, x, y)
        return float(loss), [numpy.asarray(gradient) for gradient in found]

    def versions(self) -> str:
        return f"JAX {self.jax.__version__}"

    def place(self) -> str:
        return "CPU" if self.jax.default_backend() == "cpu" else "GPU"


class ScikitLearn(Program):
    """scikit-learn's MLPClassifier."""

    def __init__(self, x: Any, labels: Any, weights: list[Any], batch_size: int) -> None:
        from sklearn.neural_network import MLPClassifier

        # With `warm_start`, `fit` continues from the present coefficients.
        self.model = MLPClassifier(
            SIZES[1:-1], "logistic", batch_size=batch_size, max_iter=1, alpha=0, epsilon=1e-7,
            warm_start=True,
        )  # fmt: skip
        warnings.simplefilter("ignore")  # scikit-learn warns that one epoch does not converge
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
    "tinynet-numpy": Tinynet,
    "tinynet-cupy": TinynetCupy,
    "tinynet-cupy-ordinary": TinynetCupyOrdinary,
    "tinynet-float64": TinynetFloat64,
    "keras-jax": Keras,
    "keras-tensorflow": Keras,
    "keras-torch": Keras,
    "pytorch": PyTorch,
    "pytorch-as-keras": PyTorchAsKeras,
    "pytorch-graph": PyTorchGraph,
    "jax": Jax,
    "scikit-learn": ScikitLearn,
}


def load(folder: pathlib.Path) -> tuple[Any, Any, list[Any]]:
    """Load the images, labels and initial weights that `peers.write_data` has written."""
    import numpy as np

    with np.load(folder / "data.npz") as data, np.load(folder / "weights.npz") as saved:
        x = data["x_train"].reshape(-1, SIZES[0]).astype("float32") / 255
        return x, data["y_train"].astype("int32"), [saved[name] for name in saved.files]


def serve(arguments: argparse.Namespace, answer: Callable[..., None]) -> None:
    """Answer each line of standard input: ``prove``, ``epoch`` or ``timed``."""
    program = PROGRAMS[arguments.program](*load(arguments.data), arguments.batch_size)
    for line in sys.stdin:
        job, start = line.strip(), time.perf_counter()
        if job == "timed":
            seconds = program.timed_epoch()
        else:
            program.epoch(shuffle=job != "prove")  # for "prove", all programs see equal batches
            seconds = time.perf_counter() - start
        if job == "prove" and not isinstance(program, Products):
            import numpy as np

            np.savez(arguments.data / f"{arguments.program}.npz", *program.weights())
        answer(
            seconds=seconds,
            versions=program.versions(),
            threads=program.threads(),
            place=program.place(),
        )


def parity(arguments: argparse.Namespace, answer: Callable[..., None]) -> None:
    """Answer with the first batch's loss; save its gradients, and the weights after training."""
    import numpy as np

    kind, size = PROGRAMS[arguments.program], arguments.batch_size
    x, labels, weights = load(arguments.data)

    def write(name: str, arrays: list[Any]) -> None:
        np.savez(arguments.data / f"{arguments.program}-{name}.npz", *arrays)

    program = kind(x[:size], labels[:size], weights, size)
    loss, gradients = program.first_batch()
    write("gradients", gradients)
    for steps in arguments.parity:
        program = kind(x[: steps * size], labels[: steps * size], weights, size)
        program.epoch(shuffle=False)
        write(str(steps), program.weights())
    answer(loss=loss, versions=program.versions(), place=program.place())


def once(arguments: argparse.Namespace, answer: Callable[..., None]) -> None:
    """Run a user's whole program: load MNIST, build, train an epoch, evaluate and predict."""
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
            look()  # type: ignore[no-untyped-call]
            answer(job=f"{job}, {when}", seconds=time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description="Run one library's program, for peers.py.")
    parser.add_argument("program", choices=PROGRAMS)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--parity", type=int, nargs="+", metavar="STEPS")
    arguments = parser.parse_args()

    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # the libraries' output goes to stderr, so that only answers are on stdout

    def answer(**what: Any) -> None:
        print(json.dumps(what), file=answers, flush=True)

    (once if arguments.once else parity if arguments.parity else serve)(arguments, answer)


if __name__ == "__main__":
    main()
