"""``python -m tinynet.doctor``: report the backend in use here, and what a GPU still needs.

The exit code is 0 if the requested backend works, and 1 otherwise.
"""

import argparse
import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] = ()) -> int:
    """Print the findings, and return the exit code."""
    argparse.ArgumentParser(
        prog="python -m tinynet.doctor",
        description="Report which backend tinynet uses here, and why; whether there is a working "
        "GPU; and if not, what is missing and how to fix it. The exit code is 0 if the requested "
        "backend works, and 1 otherwise.",
        epilog="The environment variable TINYNET_BACKEND selects numpy (the default), cupy, or "
        "auto.",
    ).parse_args(arguments)
    try:
        code, findings = examine()
    except Exception as error:  # an error in the doctor itself must not end in a traceback
        code, findings = (
            1,
            f"Backend: none. Looking for one failed: {error!a}\nFix: please report it",
        )
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        print(findings.encode(encoding, "backslashreplace").decode(encoding), flush=True)
    except OSError:  # a full disk or a closed pipe
        return 1
    return code


def examine() -> tuple[int, str]:
    """Return the exit code and the findings, whatever is wrong on this machine."""
    try:
        from tinynet import backend
    except Exception as error:
        return 1, (
            "Backend: none. "
            f"tinynet does not start ({type(error).__name__}: {str(error)!a}).\n"
            "Fix: python -m pip install --force-reinstall numpy"
        )
    requested = backend.default_backend()
    asked = (
        f"TINYNET_BACKEND is {requested!a}"
        if "TINYNET_BACKEND" in os.environ
        else "It is the default"
    )
    try:
        chosen, why = backend.gpu.resolve_backend(requested)
    except ValueError:
        names = ", ".join(backend.gpu.BACKENDS)
        return 1, (
            f"Backend: none. {asked}, which is not a backend.\n"
            f"Fix: set TINYNET_BACKEND to one of {names}, or unset it"
        )
    except RuntimeError:
        return 1, f"Backend: none. {asked}, which cannot run here.\n{about_gpu()}"
    lines = [
        f"Backend: {chosen}. {asked}{f': {why}' if requested == 'auto' else ''}.",
        f"CPU: NumPy {backend.host.__version__}",
        about_formulas(),
        about_gpu(),
    ]
    return 0, "\n".join(lines)


def about_formulas() -> str:
    """Return the report on what computes the optimizers' formulas on the CPU."""
    from tinynet.backend import compiler, formulas

    if (why := formulas.why_not_compiled()) is None:
        return f"Formulas: compiled by Numba {compiler.load_numba().__version__}"
    return f"Formulas: computed with NumPy, more slowly: {why.reason}.\nFix: {why.fix}"


def about_gpu() -> str:
    """Return the report on the GPU, several lines in one string."""
    from tinynet.backend import gpu, products

    try:
        cupy = gpu.load_cupy(0)
        runtime = gpu.format_version(cupy.cuda.runtime.runtimeGetVersion())
        driver = gpu.driver_version(cupy)
    except gpu.UnavailableError as missing:
        return f"GPU: not usable: {missing.reason}.\nFix: {missing.fix}"
    except Exception as error:
        return f"GPU: not usable: {str(error)!a}.\nFix: Check the driver with: nvidia-smi"
    lines = [
        f"GPU {device.index}: {device.name}, {device.memory / 2**30:.0f} GiB, "
        f"compute capability {device.compute_capability}"
        for device in gpu.devices()
    ]
    lines.append(f"CuPy {cupy.__version__} for CUDA {runtime}, driver for CUDA {driver}")
    if os.environ.get("CUPY_TF32", "0") != "0":
        lines.append(
            "CUPY_TF32 is set: matrix products are accurate to three digits instead of seven. "
            "Unset it to get Keras's numbers."
        )
    lines.append(
        "GPU test passed: a small kernel, a matrix product and a sum are correct. "
        f"`fit` {'replays its steps' if products.cublas(0) else 'cannot replay its steps here'}."
    )
    return "\n".join(lines)
