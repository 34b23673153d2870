"""``python -m tinynet.doctor``: which backend would compute here, why, and what a GPU still lacks.

Its exit code is 0 if the backend that is asked for works, else 1.
"""

import sys


def main() -> int:
    """Print the findings, and return the exit code."""
    try:
        return examine()
    except Exception as error:  # a doctor who faints helps nobody
        print(f"Backend: none. tinynet itself does not start: {type(error).__name__}: {error}")
        print("Fix: python -m pip install --force-reinstall numpy")
        return 1


def examine() -> int:
    """Ask for the backend as the first computation would, and look at the GPU in any case."""
    from tinynet import backend

    wish = backend.wished()
    asked = f"TINYNET_BACKEND is {wish}" if backend.is_wished() else "TINYNET_BACKEND is not set"
    try:
        chosen, why = backend.choose(wish)
    except (RuntimeError, ValueError) as error:
        print(f"Backend: none. {asked}, and that cannot be.")
        if isinstance(error, ValueError):
            names = ", ".join([*backend.NAMES, "auto"])
            print(f"Fix: set TINYNET_BACKEND to one of {names}, or unset it")
        else:
            print(about_gpu())
        return 1
    print(f"Backend: {chosen}. {asked}{f': {why}' if wish == 'auto' else ''}.")
    print(f"CPU: NumPy {backend.host.__version__}")
    print(about_gpu())
    return 0


def about_gpu() -> str:
    """What there is to say about the GPU, in lines."""
    from tinynet import gpu

    try:
        cupy = gpu.library()
    except gpu.UnavailableError as missing:
        return f"GPU: none that works: {missing.reason}.\nFix: {missing.fix}"
    runtime = gpu.dotted(cupy.cuda.runtime.runtimeGetVersion())
    lines = [
        f"GPU {device.index}: {device.name}, {device.memory / 2**30:.0f} GiB, "
        f"compute capability {device.compute_capability}"
        for device in gpu.devices()
    ]
    driver = f"driver for CUDA {gpu.driver_version(cupy)}"
    lines.append(f"CuPy {cupy.__version__} for CUDA {runtime}, {driver}")
    lines.append("All well: a small kernel and a small product came out right.")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
