"""CuPy and the GPU under it: are they there, do they work, and if not, what is missing.

CuPy installs and imports on any machine, and fails at the first array if there is no GPU, with
words that only its makers understand. `library` looks before anybody falls, at one thing after the
other, and says which of them is missing and what to do about it.
"""

import functools
import importlib
import os
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy

# How to install CuPy for each generation of CUDA; "ctk" brings CUDA's own libraries and headers.
INSTALL = {n: f'python -m pip install "cupy-cuda{n}x[ctk]"' for n in (12, 13)}
_CPU = "Or compute on the CPU: TINYNET_BACKEND=numpy"

# The oldest driver for each generation of CUDA.
# Source: https://docs.nvidia.com/deploy/cuda-compatibility/
_OLDEST_DRIVER = {12: "525", 13: "580"}
# And the oldest GPU. Source: https://docs.nvidia.com/cuda/cuda-toolkit-release-notes/
_OLDEST_GPU = {12: (5, 0), 13: (7, 5)}


class UnavailableError(RuntimeError):
    """Computing on the GPU is impossible: `reason` says why, `fix` what to do, a line each."""

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(f"The backend 'cupy' cannot run: {reason}. {fix}. {_CPU}")
        self.reason, self.fix = reason, fix


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
        raise _no_answer("the GPU", error) from error
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
    """The newest CUDA that the driver speaks, ``"12.4"``."""
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
        raise UnavailableError(
            f"there are {len(found)} CuPy packages, {' and '.join(found)}, in one another's place",
            f"Keep one: python -m pip uninstall -y {' '.join(found)} && {INSTALL[12]}",
        )
    try:
        return importlib.import_module("cupy")
    except ModuleNotFoundError as error:
        if error.name != "cupy":
            raise _broken(error) from error
    except Exception as error:
        raise _broken(error) from error
    if sys.platform == "darwin":
        raise UnavailableError(
            "there is no CuPy for macOS", "Use a machine with an NVIDIA GPU"
        ) from None
    raise UnavailableError("CuPy is not installed", f"Install it: {INSTALL[12]}") from None


def _broken(error: Exception) -> UnavailableError:
    return UnavailableError(
        f"CuPy is installed but cannot be imported ({_first_line(error)})",
        f"Install it anew: {INSTALL[12]}",
    )


def _check_driver(cupy: ModuleType) -> None:
    driver, runtime = _driver_and_runtime(cupy)
    if not driver:
        raise UnavailableError(
            "there is no NVIDIA driver",
            "If this machine has an NVIDIA GPU, install its driver: https://www.nvidia.com/drivers",
        )
    # Within a generation, any driver runs any runtime.
    speaks, wants = driver // 1000, runtime // 1000
    if speaks < wants:
        other = (
            f", or install the CuPy for CUDA {speaks}: {INSTALL[speaks]}"
            if speaks in INSTALL
            else ""
        )
        oldest = f", to {_OLDEST_DRIVER[wants]} or newer" if wants in _OLDEST_DRIVER else ""
        raise UnavailableError(
            f"the driver speaks CUDA {dotted(driver)} and is too old for this CuPy, "
            f"which was built for CUDA {wants}",
            f"Update the driver{oldest}{other}",
        )


def _driver_and_runtime(cupy: ModuleType) -> tuple[int, int]:
    try:
        return cupy.cuda.runtime.driverGetVersion(), cupy.cuda.runtime.runtimeGetVersion()
    except Exception as error:
        raise _no_answer("the NVIDIA driver", error) from error


def _count(cupy: ModuleType) -> int:
    try:
        return int(cupy.cuda.runtime.getDeviceCount())
    except cupy.cuda.runtime.CUDARuntimeError as error:
        if "NoDevice" in str(error):
            return 0
        raise _no_answer("the NVIDIA driver", error) from error


def _no_answer(who: str, error: Exception) -> UnavailableError:
    return UnavailableError(
        f"{who} does not answer ({_first_line(error)})", "Ask it yourself, with: nvidia-smi"
    )


def _check_device(cupy: ModuleType, device: int) -> None:
    count = _count(cupy)
    if not count:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        hidden = visible is not None
        raise UnavailableError(
            "there is a driver, but no GPU"
            + (f" (CUDA_VISIBLE_DEVICES={visible!r} may hide it)" if hidden else ""),
            "Unset CUDA_VISIBLE_DEVICES" if hidden else "See what the driver sees: nvidia-smi",
        )
    if device >= count:
        raise UnavailableError(
            f"there is no GPU number {device}: there {'is' if count == 1 else 'are'} {count}, "
            "counted from 0",
            f'Write: tinynet.backend.use("cupy", device={count - 1})',
        )
    found, generation = _describe(cupy, device), cupy.cuda.runtime.runtimeGetVersion() // 1000
    capability = tuple(map(int, found.compute_capability.split(".")))
    if capability < _OLDEST_GPU.get(generation, capability):
        raise UnavailableError(
            f"the {found.name}, of compute capability {found.compute_capability}, is too old for "
            f"CUDA {generation}, for which this CuPy was built",
            f"Install the CuPy for CUDA {generation - 1}: "
            + INSTALL.get(generation - 1, "https://docs.cupy.dev/en/stable/install.html"),
        )


def _check_arithmetic(cupy: ModuleType, device: int) -> None:
    """Two small computations whose results are known to the last bit."""
    with cupy.cuda.Device(device):
        numbers = numpy.arange(12, dtype="float32").reshape(3, 4)
        try:
            on_device = cupy.asarray(numbers)
            doubled = cupy.asnumpy(on_device * 2 + 1)
        except cupy.cuda.memory.OutOfMemoryError as error:
            raise UnavailableError(
                f"the GPU's memory is full ({_first_line(error)})",
                "See who has it: nvidia-smi",
            ) from error
        except cupy.cuda.runtime.CUDARuntimeError as error:
            raise _no_answer("the GPU", error) from error
        except Exception as error:
            raise UnavailableError(
                f"a small kernel does not compile or run ({_first_line(error)})",
                "Install CuPy together with its compiler and headers: " + _install(cupy),
            ) from error
        try:
            product = cupy.asnumpy(cupy.matmul(on_device, on_device.T))
        except Exception as error:
            raise UnavailableError(
                f"a small matrix product fails ({_first_line(error)})",
                "Install CuPy together with its libraries: " + _install(cupy),
            ) from error
    if not (doubled == numbers * 2 + 1).all() or not (product == numbers @ numbers.T).all():
        raise UnavailableError(
            "a small matrix product comes out wrong",
            "Update driver and CuPy; if it stays, test the GPU: nvidia-smi -q",
        )


def _install(cupy: ModuleType) -> str:
    return INSTALL.get(cupy.cuda.runtime.runtimeGetVersion() // 1000, INSTALL[12])


def _describe(cupy: ModuleType, index: int) -> Device:
    facts: dict[str, Any] = cupy.cuda.runtime.getDeviceProperties(index)
    name = facts["name"].decode() if isinstance(facts["name"], bytes) else facts["name"]
    return Device(index, name, int(facts["totalGlobalMem"]), f"{facts['major']}.{facts['minor']}")


def dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:120]
