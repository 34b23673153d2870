"""Checks whether CuPy and a GPU are present and work, and if not, what is missing.

CuPy installs and imports on any machine; without a GPU, it fails at the first array, with an error
that is hard to understand. `load_cupy` checks each requirement beforehand, one after the other, and
says which of them is missing and how to fix it.
"""

import functools
import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, cast

import numpy

from tinynet.backend import diagnosis
from tinynet.backend.diagnosis import INSTALL, OLDEST_DRIVER, UnavailableError as UnavailableError
from tinynet.backend.types import Array, Compiled

BACKENDS = ["numpy", "cupy", "auto"]

# The oldest compute capability for each major version of CUDA.
# Source: https://docs.nvidia.com/cuda/cuda-toolkit-release-notes/
_OLDEST_GPU = {12: (5, 0), 13: (7, 5)}


@dataclass(frozen=True)
class GPUInfo:
    """A GPU. `memory` is in bytes; `compute_capability`, such as ``"8.0"``, is its generation."""

    index: int
    name: str
    memory: int
    compute_capability: str


def resolve_backend(name: str, device: int = 0) -> tuple[str, str]:
    """Return the library that `use` would select for `name`, and why.

    Raises:
        ValueError, RuntimeError: as `use` does.
    """
    if name == "numpy":
        return name, "it was requested"
    if name == "cupy":
        load_cupy(device)
        return name, "it was requested, and it works"
    if name != "auto":
        raise ValueError(
            f"Expected the name of a backend, one of {BACKENDS}, received: {name!r}. "
            'Write: tinynet.backend.use("numpy"), or unset TINYNET_BACKEND'
        )
    try:
        load_cupy(device)
    except UnavailableError as error:
        return "numpy", error.reason
    return "cupy", "there is a GPU, and it works"


@functools.cache  # checked once per GPU
def load_cupy(device: int) -> ModuleType:
    """Return CuPy, after checking everything that it needs to compute on GPU number `device`.

    Raises:
        UnavailableError: with the first requirement that is missing, and how to fix it.
    """
    cupy = _installed()
    try:
        _check_driver(cupy)
        _check_device(cupy, device)
        _check_arithmetic(cupy, device)
    except UnavailableError:
        raise
    except Exception as error:
        raise diagnosis.explain(error, "the GPU does not respond") from error
    return cupy


def devices() -> list[GPUInfo]:
    """Return the GPUs of this machine; the public form is `tinynet.backend.devices`."""
    try:
        cupy = _installed()
        _check_driver(cupy)
        return [_describe(cupy, index) for index in range(_count(cupy))]
    except Exception:  # whatever the error, no GPU can be used; `load_cupy` says why
        return []


def driver_version(cupy: ModuleType) -> str:
    """Return the newest CUDA version that the driver supports, such as ``"12.4"``."""
    return format_version(cupy.cuda.runtime.driverGetVersion())


def cupy_packages() -> list[str]:
    """Return the names of the installed distributions of CuPy, such as ``cupy-cuda12x``."""
    from importlib import metadata  # takes longer to import than the rest of tinynet

    names = {
        str(distribution.metadata["Name"]).lower() for distribution in metadata.distributions()
    }
    return sorted(n for n in names if n == "cupy" or n.startswith(("cupy-cuda", "cupy-rocm")))


def _installed() -> ModuleType:
    # Checked before the import, which warns at length if there are two.
    packages = cupy_packages()
    if len(packages) > 1:
        if not diagnosis.driver_version():
            raise diagnosis.no_driver_error()
        raise UnavailableError(
            f"{len(packages)} CuPy packages are installed, {' and '.join(packages)}, and they "
            "conflict",
            f"Keep one: python -m pip uninstall -y {' '.join(packages)} && {INSTALL[12]}",
        )
    try:
        return importlib.import_module("cupy")
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "cupy":
            raise diagnosis.no_cupy_error() from None
        install = INSTALL[13] if packages == ["cupy-cuda13x"] else INSTALL[12]
        raise diagnosis.import_error(error, install) from error


def _check_driver(cupy: ModuleType) -> None:
    driver, runtime = _driver_and_runtime(cupy)
    if not driver:
        raise diagnosis.no_driver_error()
    # Within a major version of CUDA, any driver runs any runtime.
    supports, wants = driver // 1000, runtime // 1000
    if supports < wants:
        other = (
            f", or install the CuPy for CUDA {supports}: {INSTALL[supports]}"
            if supports in INSTALL
            else ""
        )
        oldest = f" to {OLDEST_DRIVER[wants]} or newer" if wants in OLDEST_DRIVER else ""
        raise UnavailableError(
            f"the driver supports CUDA {format_version(driver)} and is too old for this CuPy, "
            f"which was built for CUDA {wants}",
            diagnosis.with_wsl_hint(f"Update the driver{oldest}{other}"),
        )


def _driver_and_runtime(cupy: ModuleType) -> tuple[int, int]:
    try:
        return cupy.cuda.runtime.driverGetVersion(), cupy.cuda.runtime.runtimeGetVersion()
    except Exception as error:
        raise diagnosis.explain(error, "the NVIDIA driver does not respond") from error


def _count(cupy: ModuleType) -> int:
    try:
        return int(cupy.cuda.runtime.getDeviceCount())
    except cupy.cuda.runtime.CUDARuntimeError as error:
        if "NoDevice" in str(error):
            return 0
        raise diagnosis.explain(error, "the NVIDIA driver does not respond") from error


def _check_device(cupy: ModuleType, device: int) -> None:
    count = _count(cupy)
    if not count:
        raise diagnosis.no_device_error()
    if device >= count:
        raise UnavailableError(
            f"there is no GPU number {device}: there {'is' if count == 1 else 'are'} {count}, "
            "numbered from 0",
            f'Write: tinynet.backend.use("cupy", device={count - 1})',
        )
    gpu, generation = _describe(cupy, device), cupy.cuda.runtime.runtimeGetVersion() // 1000
    capability = tuple(map(int, gpu.compute_capability.split(".")))
    oldest = _OLDEST_GPU.get(generation, capability)
    if capability < oldest:
        raise UnavailableError(
            f"the {gpu.name}, of compute capability {gpu.compute_capability}, is too old for "
            f"CUDA {generation}, for which this CuPy was built",
            f"Install the CuPy for CUDA {generation - 1}: {INSTALL[generation - 1]}"
            if generation - 1 in INSTALL
            else f"Use a GPU of compute capability {'.'.join(map(str, oldest))} or newer",
        )


def _check_arithmetic(cupy: ModuleType, device: int) -> None:
    """Check the results of three small computations, which are exact.

    Each needs more of CUDA than the one before it: a compiler; cuBLAS; and headers of the
    compiler's version, without which a sum in another type than its input's does not compile.
    """
    runtime = cupy.cuda.runtime.runtimeGetVersion() // 1000
    install = INSTALL.get(runtime, INSTALL[12])
    trials: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
        "a small kernel": (lambda _, x: x[:2] * 2 + 1, "its compiler and headers"),
        "a small matrix product": (lambda xp, x: xp.matmul(x[:2], x[:2].T), "its libraries"),
        "a sum of 200 numbers": (
            lambda _, x: x.sum(dtype="float64"),
            f"headers of CUDA {runtime}, and unset CUDA_PATH",
        ),
    }
    numbers, results = numpy.arange(200, dtype="float32").reshape(20, 10), {}
    x = None
    with cupy.cuda.Device(device):
        for what, (compute, needs) in trials.items():
            try:
                x = cupy.asarray(numbers) if x is None else x
                results[what] = cupy.asnumpy(compute(cupy, x))
            except Exception as error:
                fix = f"Install CuPy together with {needs}: {install}"
                raise diagnosis.explain(error, f"{what} fails", fix, install) from error
    for what, (compute, _) in trials.items():
        if not (results[what] == compute(numpy, numbers)).all():
            raise UnavailableError(
                f"{what} gives a wrong result",
                "Update driver and CuPy; if the problem persists, test the GPU: nvidia-smi -q",
            )


def check_arithmetic_of(matmul: Callable[[Any, Any, Any], bool], cupy: ModuleType) -> None:
    """Raise a RuntimeError if `matmul` computes another product than NumPy, which is exact."""

    def factors(numbers: Any) -> tuple[Any, Any]:
        return numbers.reshape(4, 6)[:, :3], numbers.reshape(8, 3).T

    numbers, out = numpy.arange(24, dtype="float32"), cupy.empty((4, 8), "float32")
    matmul(*factors(cupy.asarray(numbers)), out)
    if not (cupy.asnumpy(out) == numpy.matmul(*factors(numbers))).all():
        raise RuntimeError("a product is wrong")


def _describe(cupy: ModuleType, index: int) -> GPUInfo:
    facts: dict[str, Any] = cupy.cuda.runtime.getDeviceProperties(index)
    name = facts["name"].decode() if isinstance(facts["name"], bytes) else facts["name"]
    return GPUInfo(index, name, int(facts["totalGlobalMem"]), f"{facts['major']}.{facts['minor']}")


def format_version(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"


def read_later(number: Array) -> Callable[[], float | None]:
    """Copy a number on a GPU to the host without waiting for it.

    Returns: a function that returns the number once it has arrived, and None before.
    """
    cupy, on_gpu = sys.modules["cupy"], cast(Compiled, number.reshape(1))
    copy = numpy.frombuffer(cupy.cuda.alloc_pinned_memory(number.nbytes), number.dtype, 1)
    on_gpu.get(out=copy, blocking=False)
    arrived = cupy.cuda.get_current_stream().record()
    return lambda: float(copy[0]) if arrived.done else None
