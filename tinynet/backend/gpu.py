"""CuPy and the GPU under it: are they there, do they work, and if not, what is missing.

CuPy installs and imports on any machine, and fails at the first array if there is no GPU, with
words that only its makers understand. `library` looks before anybody falls, at one thing after the
other, and says which of them is missing and what to do about it.
"""

import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy

from tinynet.backend import diagnosis
from tinynet.backend.diagnosis import INSTALL, OLDEST_DRIVER, UnavailableError

# The oldest GPU for each generation of CUDA.
# Source: https://docs.nvidia.com/cuda/cuda-toolkit-release-notes/
_OLDEST_GPU = {12: (5, 0), 13: (7, 5)}


@dataclass(frozen=True)
class Device:
    """A GPU. `memory` is in bytes; `compute_capability`, such as ``"8.0"``, is its generation."""

    index: int
    name: str
    memory: int
    compute_capability: str


@functools.cache  # once for each GPU is enough
def library(device: int) -> ModuleType:
    """CuPy, after a look at everything that it needs for computing on GPU number `device`.

    Raises:
        UnavailableError: with the first thing that is missing, and what to do about it.
    """
    cupy = _installed()
    try:
        _check_driver(cupy)
        _check_device(cupy, device)
        _check_arithmetic(cupy, device)
    except UnavailableError:
        raise
    except Exception as error:
        raise diagnosis.explain(error, "the GPU does not answer") from error
    return cupy


def devices() -> list[Device]:
    """The GPUs of this machine, best asked through `tinynet.backend.devices`."""
    try:
        cupy = _installed()
        _check_driver(cupy)
        return [_describe(cupy, index) for index in range(_count(cupy))]
    except Exception:  # whatever it is, there is none to be used; `library` says why
        return []


def driver_version(cupy: ModuleType) -> str:
    """The newest CUDA that the driver supports, ``"12.4"``."""
    return dotted(cupy.cuda.runtime.driverGetVersion())


def wheels() -> list[str]:
    """The names of the installed distributions that are CuPy, each under a name of its own."""
    from importlib import metadata  # takes longer than the rest of tinynet

    names = {str(found.metadata["Name"]).lower() for found in metadata.distributions()}
    return sorted(n for n in names if n == "cupy" or n.startswith(("cupy-cuda", "cupy-rocm")))


def _installed() -> ModuleType:
    # Asked before the import, which warns at length where there are two.
    found = wheels()
    if len(found) > 1:
        if not diagnosis.driver():
            raise diagnosis.no_driver()
        raise UnavailableError(
            f"{len(found)} CuPy packages are installed, {' and '.join(found)}, and they conflict",
            f"Keep one: python -m pip uninstall -y {' '.join(found)} && {INSTALL[12]}",
        )
    try:
        return importlib.import_module("cupy")
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "cupy":
            raise diagnosis.no_cupy() from None
        install = INSTALL[13] if found == ["cupy-cuda13x"] else INSTALL[12]
        raise diagnosis.import_failed(error, install) from error


def _check_driver(cupy: ModuleType) -> None:
    driver, runtime = _driver_and_runtime(cupy)
    if not driver:
        raise diagnosis.no_driver()
    # Within a generation, any driver runs any runtime.
    supports, wants = driver // 1000, runtime // 1000
    if supports < wants:
        other = (
            f", or install the CuPy for CUDA {supports}: {INSTALL[supports]}"
            if supports in INSTALL
            else ""
        )
        oldest = f" to {OLDEST_DRIVER[wants]} or newer" if wants in OLDEST_DRIVER else ""
        raise UnavailableError(
            f"the driver supports CUDA {dotted(driver)} and is too old for this CuPy, "
            f"which was built for CUDA {wants}",
            diagnosis.for_windows(f"Update the driver{oldest}{other}"),
        )


def _driver_and_runtime(cupy: ModuleType) -> tuple[int, int]:
    try:
        return cupy.cuda.runtime.driverGetVersion(), cupy.cuda.runtime.runtimeGetVersion()
    except Exception as error:
        raise diagnosis.explain(error, "the NVIDIA driver does not answer") from error


def _count(cupy: ModuleType) -> int:
    try:
        return int(cupy.cuda.runtime.getDeviceCount())
    except cupy.cuda.runtime.CUDARuntimeError as error:
        if "NoDevice" in str(error):
            return 0
        raise diagnosis.explain(error, "the NVIDIA driver does not answer") from error


def _check_device(cupy: ModuleType, device: int) -> None:
    count = _count(cupy)
    if not count:
        raise diagnosis.no_device()
    if device >= count:
        raise UnavailableError(
            f"there is no GPU number {device}: there {'is' if count == 1 else 'are'} {count}, "
            "counted from 0",
            f'Write: tinynet.backend.use("cupy", device={count - 1})',
        )
    found, generation = _describe(cupy, device), cupy.cuda.runtime.runtimeGetVersion() // 1000
    capability = tuple(map(int, found.compute_capability.split(".")))
    oldest = _OLDEST_GPU.get(generation, capability)
    if capability < oldest:
        raise UnavailableError(
            f"the {found.name}, of compute capability {found.compute_capability}, is too old for "
            f"CUDA {generation}, for which this CuPy was built",
            f"Install the CuPy for CUDA {generation - 1}: {INSTALL[generation - 1]}"
            if generation - 1 in INSTALL
            else f"Use a GPU of compute capability {'.'.join(map(str, oldest))} or newer",
        )


def _check_arithmetic(cupy: ModuleType, device: int) -> None:
    """Three small computations whose results are known to the last bit.

    Each needs more of CUDA than the one before it: a compiler; cuBLAS; headers of the compiler's
    own version, without which a sum in another type than its numbers' does not compile.
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
                f"{what} comes out wrong",
                "Update driver and CuPy; if the problem persists, test the GPU: nvidia-smi -q",
            )


def _describe(cupy: ModuleType, index: int) -> Device:
    facts: dict[str, Any] = cupy.cuda.runtime.getDeviceProperties(index)
    name = facts["name"].decode() if isinstance(facts["name"], bytes) else facts["name"]
    return Device(index, name, int(facts["totalGlobalMem"]), f"{facts['major']}.{facts['minor']}")


def dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"
