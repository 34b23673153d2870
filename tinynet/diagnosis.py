"""What the errors of CUDA and CuPy mean, and what to do about each, in a sentence.

CUDA counts its errors, cuBLAS counts its own, and CuPy passes both on in the words of their makers.
The tables here put each of them into a reason and a fix. What depends on the machine around the
program (a container, Windows' Linux, a processor for which there is no CuPy) is looked at here too,
without CuPy.
"""

import ctypes
import os
import pathlib
import platform
import re
import sys

# How to install CuPy for each generation of CUDA; "ctk" brings CUDA's own libraries and headers.
INSTALL = {n: f'python -m pip install "cupy-cuda{n}x[ctk]"' for n in (12, 13)}
_CPU = "Or compute on the CPU: TINYNET_BACKEND=numpy"

# The oldest driver for each generation of CUDA.
# Source: https://docs.nvidia.com/deploy/cuda-compatibility/
OLDEST_DRIVER = {12: "525", 13: "580"}

# The processors that CuPy 14 has wheels for; of those for ARM on Windows, none for CUDA 12.
# Source: https://pypi.org/project/cupy-cuda13x/#files
_WHEELS = {"linux": ("x86_64", "aarch64"), "win32": ("amd64", "arm64")}

_DRIVERS = "https://www.nvidia.com/drivers"
_FULL = "the GPU's memory is full"
_WHO = "See which program holds it, and end that one: nvidia-smi"
_TEST = "If it happens again, update the driver and test the GPU: nvidia-smi -q"

# By CUDA's number, which runtime and driver share.
# Source: https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html
CUDA = {
    2: (_FULL, _WHO),
    34: (
        "a stub of CUDA's stands where the driver should be",
        "Take the folder that ends in 'stubs' out of LD_LIBRARY_PATH",
    ),
    35: ("the driver is too old for this CuPy", f"Update the driver: {_DRIVERS}"),
    46: ("another program has the GPU to itself", _WHO),
    209: (
        "this CuPy has nothing that runs on this GPU",
        "Install the newest CuPy, and delete the kernels that the old one left, in {cache}: "
        "{upgrade}",
    ),
    222: (
        "the driver is older than the compiler that CuPy uses",
        f"Update the driver: {_DRIVERS}",
    ),
    700: (
        "a kernel used memory that is not its own (illegal address). The installation is complete",
        f"Start the program anew. {_TEST}",
    ),
    802: (
        "the GPUs are not ready",
        "Where they are joined by NVSwitch, start its service: systemctl start "
        "nvidia-fabricmanager. Else wait a minute",
    ),
    803: (
        "the driver was updated while the old one was in use: its two halves do not match",
        "Reboot. In a container, see that the image brings no libcuda of its own",
    ),
    804: (
        "CUDA's compatibility package (libcuda of a newer driver) does not work with this GPU",
        "Remove it, or take its folder, named 'compat', out of LD_LIBRARY_PATH",
    ),
    999: (
        "the driver failed for a reason that it does not tell",
        "Reboot; after a sleep of the computer, reloading the driver can do: "
        "sudo modprobe -r nvidia_uvm && sudo modprobe nvidia_uvm",
    ),
}
# And by cuBLAS's. Source: https://docs.nvidia.com/cuda/cublas/#cublasstatus-t
CUBLAS = {
    1: (
        "cuBLAS does not start",
        "If nvidia-smi shows memory that is nearly full, end who holds it. Else install CuPy "
        "together with CUDA's libraries: {install}",
    ),
    3: (f"{_FULL} (cuBLAS found none)", _WHO),
    13: ("cuBLAS fails on this GPU. The installation is complete", _TEST),
}
_KNOWN = {"CUDARuntimeError": CUDA, "CUDADriverError": CUDA, "CUBLASError": CUBLAS}


class UnavailableError(RuntimeError):
    """Computing on the GPU is impossible: `reason` says why, `fix` what to do, a line each."""

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(f"The backend 'cupy' cannot run: {reason}. {fix}. {_CPU}")
        self.reason, self.fix = reason, fix


def explain(
    error: BaseException, otherwise: str, fix: str = "", install: str = INSTALL[12]
) -> UnavailableError:
    """What `error` means.

    Arguments:
        otherwise: the reason where the error itself is none that is known.
        fix: and the fix for it.
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
        return UnavailableError(f"{reason} ({words})", for_windows(remedy))
    if missing := re.search(r'Failure finding "(.+?)"', str(error)):
        words = f"CuPy does not find {missing[1]}"
    return UnavailableError(
        f"{otherwise} ({words})", fix or "Ask the driver yourself, with: nvidia-smi"
    )


def no_driver(how: str = "") -> UnavailableError:
    """There is no driver of NVIDIA's, so that no CuPy could compute.

    Arguments:
        how: that and what else.
    """
    fix = f"If this machine has an NVIDIA GPU, install its driver: {_DRIVERS}"
    return UnavailableError(f"there is no NVIDIA driver{how}", for_windows(fix + _container()))


def no_device() -> UnavailableError:
    """There is a driver, and it shows no GPU."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return UnavailableError(
            f"there is a driver, but no GPU (CUDA_VISIBLE_DEVICES={visible!r} may hide it)",
            "Unset CUDA_VISIBLE_DEVICES",
        )
    return UnavailableError(
        "there is a driver, but no GPU", "See what the driver sees: nvidia-smi" + _container()
    )


def no_cupy() -> UnavailableError:
    """CuPy is not installed: whether it could be, and would be of use."""
    if sys.platform == "darwin":
        return UnavailableError("there is no CuPy for macOS", "Use a machine with an NVIDIA GPU")
    speaks, processor = driver(), platform.machine().lower()
    if not speaks:
        return no_driver(", and no CuPy")
    if processor not in _WHEELS.get(sys.platform, ()):
        return UnavailableError(
            f"CuPy is not installed, and has no wheel for this processor ({processor})",
            "Use a machine with an x86-64 or a 64-bit ARM processor, or build CuPy: "
            "https://docs.cupy.dev/en/stable/install.html",
        )
    generation = 13 if processor == "arm64" else 12
    fix = f"Install it: {INSTALL[generation]}"
    if speaks // 1000 < generation:
        fix = (
            f"Update the driver, to {OLDEST_DRIVER[generation]} or newer. Then install CuPy: "
            + (INSTALL[generation])
        )
    return UnavailableError("CuPy is not installed", for_windows(fix))


def import_failed(error: BaseException) -> UnavailableError:
    """CuPy is there, and its import raises `error`."""
    if not driver():
        return no_driver(", and CuPy cannot be imported")
    while error.__cause__ is not None:  # CuPy puts a page of advice around it
        error = error.__cause__
    words = first_line(error)
    library = re.search(r"lib\w+\.so|DLL load failed", words)
    together = "together with CUDA's libraries" if library else "anew"
    return UnavailableError(
        f"CuPy is installed but cannot be imported ({words})",
        f"Install it {together}: "
        + INSTALL[12].replace("install", "install --force-reinstall --no-cache-dir"),
    )


def driver() -> int:
    """The newest CUDA that the driver speaks, 12040 for 12.4, asked without CuPy; 0 without one."""
    try:
        library = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        version = ctypes.c_int(0)
        library.cuDriverGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):
        return 0
    return version.value


def kernel_cache() -> str:
    """Where CuPy keeps the kernels that it has compiled."""
    home = pathlib.Path("~") / ".cupy" / "kernel_cache"
    return os.environ.get("CUPY_CACHE_DIR") or str(home)


def in_container() -> bool:
    """Whether this runs in a container, as far as that shows."""
    marks = ("/.dockerenv", "/run/.containerenv")
    named = any(os.environ.get(name) for name in ("container", "KUBERNETES_SERVICE_HOST"))
    return named or any(map(os.path.exists, marks))


def in_windows_linux() -> bool:
    """Whether this runs in WSL, the Linux in Windows."""
    return "microsoft" in platform.release().lower()


def _container() -> str:
    if not in_container():
        return ""
    return ". In a container, start it with the GPU: docker run --gpus all IMAGE"


def for_windows(fix: str) -> str:
    """`fix`, and where it is about the driver, which driver that is in WSL."""
    if not in_windows_linux() or "driver" not in fix:
        return fix
    return f"{fix}. In WSL the driver is Windows's: install it there, and none in Linux"


def first_line(error: BaseException) -> str:
    """The first line of an error's words that has any, or its type."""
    lines = [line.strip() for line in str(error).splitlines() if re.search(r"\w", line)]
    return (lines or [type(error).__name__])[0][:120]
