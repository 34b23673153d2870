"""Reasons and fixes for the errors of CUDA and CuPy.

CUDA and cuBLAS number their errors, each in its own way, and CuPy passes them on with the original
messages. The tables here give each a reason and a fix. The environment (a container, WSL, a
processor for which CuPy has no wheel) is examined here too, without CuPy.
"""

import ctypes
import os
import pathlib
import platform
import re
import sys

# How to install CuPy for each major version of CUDA; "ctk" adds CUDA's libraries and headers.
INSTALL = {n: f'python -m pip install "cupy-cuda{n}x[ctk]"' for n in (12, 13)}
_CPU = "Or compute on the CPU: TINYNET_BACKEND=numpy"

# The oldest driver for each major version of CUDA.
# Source: https://docs.nvidia.com/deploy/cuda-compatibility/
OLDEST_DRIVER = {12: "525", 13: "580"}

# The processors for which CuPy 14 has wheels; those for ARM on Windows are for CUDA 13 only.
# Source: https://pypi.org/project/cupy-cuda13x/#files
_WHEELS = {"linux": ("x86_64", "aarch64"), "win32": ("amd64", "arm64")}

_DRIVERS = "https://www.nvidia.com/drivers"
_MEMORY_FULL = "the GPU's memory is full"
_FIND_PROCESS = "Find the process that holds it with nvidia-smi, and stop it"
_RUN = "docker run --gpus all IMAGE"
_TEST = "If it happens again, update the driver and test the GPU: nvidia-smi -q"

# By CUDA's error number, which is the same in the runtime and the driver.
# Source: https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html
CUDA = {
    2: (_MEMORY_FULL, _FIND_PROCESS),
    34: (
        "CUDA's stub library is loaded instead of the driver",
        "Remove the directory named 'stubs' from LD_LIBRARY_PATH",
    ),
    35: ("the driver is too old for this CuPy", f"Update the driver ({_DRIVERS})"),
    46: ("another process has exclusive use of the GPU", _FIND_PROCESS),
    209: (
        "this CuPy has no code for this GPU",
        "Delete CuPy's kernel cache ({cache}), then upgrade CuPy: {upgrade}",
    ),
    222: ("the driver is older than CuPy's compiler", f"Update the driver ({_DRIVERS})"),
    700: (
        "a kernel accessed an illegal address",
        f"This is not an installation problem. Restart the program. {_TEST}",
    ),
    802: (
        "the GPUs are not ready yet",
        "On a machine with NVSwitch, start its service: systemctl start nvidia-fabricmanager. "
        "Otherwise wait a minute",
    ),
    803: (
        "the driver was updated, but the old one is still loaded",
        "Reboot. In a container, make sure that the image does not bring its own libcuda",
    ),
    804: (
        "CUDA's compatibility package (a newer libcuda) does not support this GPU",
        "Uninstall that package, or remove its directory ('compat') from LD_LIBRARY_PATH",
    ),
    999: (
        "the driver failed for an unknown reason",
        "Reboot. After the computer was suspended, reloading the driver can be enough: "
        "sudo modprobe -r nvidia_uvm && sudo modprobe nvidia_uvm",
    ),
}
# By cuBLAS's status number. Source: https://docs.nvidia.com/cuda/cublas/#cublasstatus-t
CUBLAS = {
    1: (
        "cuBLAS cannot be initialized",
        "If nvidia-smi shows that the GPU's memory is nearly full, free some of it. Otherwise "
        "install CuPy together with CUDA's libraries: {install}",
    ),
    3: (f"{_MEMORY_FULL}: cuBLAS could not allocate any", _FIND_PROCESS),
    13: ("cuBLAS fails on this GPU", f"This is not an installation problem. {_TEST}"),
}
_KNOWN = {"CUDARuntimeError": CUDA, "CUDADriverError": CUDA, "CUBLASError": CUBLAS}


class UnavailableError(RuntimeError):
    """The error that the GPU cannot be used: `reason` says why, `fix` what to do, one line each."""

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(f"The backend 'cupy' cannot run: {reason}. {fix}. {_CPU}")
        self.reason, self.fix = reason, fix


def explain(
    error: BaseException, otherwise: str, fix: str = "", install: str = INSTALL[12]
) -> UnavailableError:
    """Return an `UnavailableError` that gives the reason and the fix for `error`.

    Arguments:
        otherwise, fix: the reason and the fix for an error that is not in the tables.
        install: the command that installs this CuPy.
    """
    words = first_line(error)
    known = _KNOWN.get(type(error).__name__, {}).get(getattr(error, "status", None) or 0)
    if isinstance(error, MemoryError):
        known = CUDA[2]
    if known is not None:
        reason, remedy = known
        upgrade = install.replace("install", "install --upgrade")
        remedy = remedy.format(install=install, upgrade=upgrade, cache=kernel_cache())
        return UnavailableError(f"{reason} ({words})", with_wsl_hint(remedy))
    if missing := re.search(r'Failure finding "(.+?)"', str(error)):
        words = f"CuPy cannot find {missing[1]}"
    return UnavailableError(
        f"{otherwise} ({words})", fix or "See what the driver reports: nvidia-smi"
    )


def no_driver_error(how: str = "") -> UnavailableError:
    """Return the error for a missing NVIDIA driver; `how` is appended to its reason."""
    fix = f"If this machine has an NVIDIA GPU, install its driver ({_DRIVERS})"
    if in_container():
        fix = (
            "This is a container. If its host has an NVIDIA GPU, install the driver on the host, "
            f"and start the container with the GPU: {_RUN}"
        )
    return UnavailableError(f"there is no NVIDIA driver{how}", with_wsl_hint(fix))


def no_device_error() -> UnavailableError:
    """Return the error for a driver that finds no GPU."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return UnavailableError(
            f"there is a driver, but no GPU (CUDA_VISIBLE_DEVICES={visible!r} may hide it)",
            "Unset CUDA_VISIBLE_DEVICES",
        )
    fix = "See what the driver reports: nvidia-smi"
    if in_container():
        fix = f"This is a container; start it with the GPU: {_RUN}"
    return UnavailableError("there is a driver, but no GPU", fix)


def no_cupy_error() -> UnavailableError:
    """Return the error for a missing CuPy: what to install, or why none can be installed here."""
    if sys.platform == "darwin":
        return UnavailableError("there is no CuPy for macOS", "Use a machine with an NVIDIA GPU")
    supports, processor = driver_version(), platform.machine().lower()
    if not supports:
        return no_driver_error(", and no CuPy")
    if processor not in _WHEELS.get(sys.platform, ()):
        return UnavailableError(
            f"CuPy is not installed, and has no wheel for this processor ({processor})",
            "Use a machine with an x86-64 or 64-bit ARM processor, or build CuPy yourself: "
            "https://docs.cupy.dev/en/stable/install.html",
        )
    generation = 13 if processor == "arm64" else 12
    fix = f"Install it: {INSTALL[generation]}"
    if supports // 1000 < generation:
        oldest = OLDEST_DRIVER[generation]
        fix = f"Update the driver to {oldest} or newer, then install CuPy: {INSTALL[generation]}"
    return UnavailableError("CuPy is not installed", with_wsl_hint(fix))


def import_error(error: BaseException, install: str) -> UnavailableError:
    """Return the error for a CuPy that is installed but raises `error` when imported."""
    if not driver_version():
        return no_driver_error(", and CuPy cannot be imported")
    while error.__cause__ is not None:  # CuPy wraps it in general advice
        error = error.__cause__
    words = first_line(error)
    library = re.search(r"lib\w+\.so|DLL load failed", words)
    together = " together with CUDA's libraries" if library else ""
    return UnavailableError(
        f"CuPy is installed but cannot be imported ({words})",
        f"Reinstall it{together}: {install.replace('install', 'install --force-reinstall')}",
    )


def driver_version() -> int:
    """Return the newest CUDA that the driver supports, such as 12040 for 12.4; 0 for no driver."""
    try:
        library = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        version = ctypes.c_int(0)
        library.cuDriverGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):
        return 0
    return version.value


def kernel_cache() -> str:
    """Return the directory in which CuPy caches compiled kernels."""
    home = pathlib.Path("~") / ".cupy" / "kernel_cache"
    return os.environ.get("CUPY_CACHE_DIR") or str(home)


def in_container() -> bool:
    """Return whether this runs in a container, judging by files and environment variables."""
    marks = ("/.dockerenv", "/run/.containerenv")
    named = any(os.environ.get(name) for name in ("container", "KUBERNETES_SERVICE_HOST"))
    return named or any(map(os.path.exists, marks))


def in_wsl() -> bool:
    """Return whether this runs in WSL, the Windows Subsystem for Linux."""
    return "microsoft" in platform.release().lower()


def with_wsl_hint(fix: str) -> str:
    """Return `fix`; in WSL, if it mentions the driver, add where to install that."""
    if not in_wsl() or "driver" not in fix:
        return fix
    return f"{fix}. WSL uses the Windows driver: install it in Windows, not in Linux"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message that has words, or the error's type."""
    lines = [line.strip() for line in str(error).splitlines() if re.search(r"\w", line)]
    first = (lines or [type(error).__name__])[0]
    return first if len(first) <= 120 else f"{first[:117]}..."
