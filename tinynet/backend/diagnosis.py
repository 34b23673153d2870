"""What the errors of CUDA and CuPy mean, and how to fix each of them.

CUDA numbers its errors, cuBLAS has numbers of its own, and CuPy passes both on in their makers'
words. The tables here give each a reason and a fix. The surroundings of the program (a container,
WSL, a processor that CuPy has no wheel for) are examined here too, without CuPy.
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
_WHO = "Find the process that holds it with nvidia-smi, and stop it"
_RUN = "docker run --gpus all IMAGE"
_TEST = "If it happens again, update the driver and test the GPU: nvidia-smi -q"

# By CUDA's number, which the runtime and the driver share.
# Source: https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html
CUDA = {
    2: (_FULL, _WHO),
    34: (
        "CUDA's stub library is loaded instead of the driver",
        "Remove the directory named 'stubs' from LD_LIBRARY_PATH",
    ),
    35: ("the driver is too old for this CuPy", f"Update the driver ({_DRIVERS})"),
    46: ("another process has exclusive use of the GPU", _WHO),
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
# By cuBLAS's number. Source: https://docs.nvidia.com/cuda/cublas/#cublasstatus-t
CUBLAS = {
    1: (
        "cuBLAS cannot be initialized",
        "If nvidia-smi shows that the GPU's memory is nearly full, free some of it. Otherwise "
        "install CuPy together with CUDA's libraries: {install}",
    ),
    3: (f"{_FULL}: cuBLAS could not allocate any", _WHO),
    13: ("cuBLAS fails on this GPU", f"This is not an installation problem. {_TEST}"),
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
        otherwise, fix: the reason and the fix for an error that the tables do not have.
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
        f"{otherwise} ({words})", fix or "See what the driver reports: nvidia-smi"
    )


def no_driver(how: str = "") -> UnavailableError:
    """There is no NVIDIA driver, and `how` things are besides: no CuPy could compute."""
    fix = f"If this machine has an NVIDIA GPU, install its driver ({_DRIVERS})"
    if in_container():
        fix = (
            "This is a container. If its host has an NVIDIA GPU, install the driver there, not in "
            f"here, and start the container with the GPU: {_RUN}"
        )
    return UnavailableError(f"there is no NVIDIA driver{how}", for_windows(fix))


def no_device() -> UnavailableError:
    """There is a driver, and it shows no GPU."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return UnavailableError(
            f"there is a driver, but no GPU (CUDA_VISIBLE_DEVICES={visible!r} may hide it)",
            "Unset CUDA_VISIBLE_DEVICES",
        )
    fix = "See what the driver reports: nvidia-smi"
    if in_container():
        fix = f"This is a container, which has to be started with the GPU: {_RUN}"
    return UnavailableError("there is a driver, but no GPU", fix)


def no_cupy() -> UnavailableError:
    """CuPy is not installed: what to install first, or that there is none for this machine."""
    if sys.platform == "darwin":
        return UnavailableError("there is no CuPy for macOS", "Use a machine with an NVIDIA GPU")
    supports, processor = driver(), platform.machine().lower()
    if not supports:
        return no_driver(", and no CuPy")
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
    return UnavailableError("CuPy is not installed", for_windows(fix))


def import_failed(error: BaseException, install: str) -> UnavailableError:
    """CuPy is installed, and importing it raises `error`."""
    if not driver():
        return no_driver(", and CuPy cannot be imported")
    while error.__cause__ is not None:  # CuPy wraps it in general advice
        error = error.__cause__
    words = first_line(error)
    library = re.search(r"lib\w+\.so|DLL load failed", words)
    together = " together with CUDA's libraries" if library else ""
    return UnavailableError(
        f"CuPy is installed but cannot be imported ({words})",
        f"Reinstall it{together}: {install.replace('install', 'install --force-reinstall')}",
    )


def driver() -> int:
    """The newest CUDA that the driver supports, 12040 for 12.4, without CuPy; 0 for no driver."""
    try:
        library = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        version = ctypes.c_int(0)
        library.cuDriverGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):
        return 0
    return version.value


def kernel_cache() -> str:
    """The directory in which CuPy keeps compiled kernels."""
    home = pathlib.Path("~") / ".cupy" / "kernel_cache"
    return os.environ.get("CUPY_CACHE_DIR") or str(home)


def in_container() -> bool:
    """Whether this runs in a container, as far as files and variables show."""
    marks = ("/.dockerenv", "/run/.containerenv")
    named = any(os.environ.get(name) for name in ("container", "KUBERNETES_SERVICE_HOST"))
    return named or any(map(os.path.exists, marks))


def in_windows_linux() -> bool:
    """Whether this runs in WSL, the Windows Subsystem for Linux."""
    return "microsoft" in platform.release().lower()


def for_windows(fix: str) -> str:
    """`fix`; if it is about the driver, in WSL, with the place where that driver is."""
    if not in_windows_linux() or "driver" not in fix:
        return fix
    return f"{fix}. WSL uses the Windows driver: install it in Windows, not in Linux"


def first_line(error: BaseException) -> str:
    """The first line of an error's message that has words, or the error's type."""
    lines = [line.strip() for line in str(error).splitlines() if re.search(r"\w", line)]
    first = (lines or [type(error).__name__])[0]
    return first if len(first) <= 120 else f"{first[:117]}..."
