"""`python -m tinynet.doctor` names each fault of a GPU installation in one line, and never raises.

The faults are simulated by the stand-in for CuPy.
"""

import io
import os
import platform
import subprocess
import sys

import pytest
import standin

from tinynet import backend, doctor
from tinynet.backend import diagnosis, gpu

WHEEL = ["cupy-cuda12x"]
INSTALL = 'python -m pip install "cupy-cuda12x[ctk]"'


@pytest.fixture(autouse=True)
def _forget():
    yield
    gpu.load_cupy.cache_clear()


@pytest.fixture(autouse=True)
def plain_machine(monkeypatch):
    """Simulate an x86-64 machine with a driver and without a container."""
    monkeypatch.setattr(diagnosis, "driver_version", lambda: 12080)
    monkeypatch.setattr(diagnosis, "in_container", lambda: False)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(platform, "release", lambda: "6.1.0")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("CUPY_CACHE_DIR", raising=False)


def use_cupy(monkeypatch, cupy, wheels=WHEEL):
    """Put `cupy` (a module, or None) in the place of CuPy, with these wheels installed."""
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(gpu, "cupy_packages", lambda: wheels)
    monkeypatch.setattr(backend, "_device", None)
    gpu.load_cupy.cache_clear()


def failing(**errors):
    """Return a stand-in for CuPy in which these operations raise, and its wheels."""
    cupy = standin.make()
    cupy.machine.fails = errors
    return cupy, WHEEL


def wrong(operation):
    """Return a stand-in for CuPy in which this operation gives a wrong result, and its wheels."""
    cupy = standin.make()
    cupy.machine.wrong = {operation}
    return cupy, WHEEL


def runtime(status, words):
    return standin.CUDARuntimeError(f"{words}: as CUDA words it", status)


MISSING = """Failure finding "libnvrtc.so.13 or libnvrtc.so.12": No such file: libnvrtc.so.13 or \
libnvrtc.so.12, No such file: libnvrtc.so.13"""
MIXED = """/usr/local/cuda/include/cuda_fp8.hpp(1460): error: this declaration has no type
      __NV_SILENCE_DEPRECATION_BEGIN
      ^

12 errors detected in the compilation of "x.cubin.cu"."""

# Faults with which no GPU is found.
UNSEEN = {
    "not installed": (
        lambda: (None, []),
        "CuPy is not installed",
        f"Install it: {INSTALL}",
    ),
    "two wheels": (
        lambda: (standin.make(), ["cupy-cuda12x", "cupy-cuda13x"]),
        "2 CuPy packages are installed, cupy-cuda12x and cupy-cuda13x, and they conflict",
        "python -m pip uninstall -y cupy-cuda12x cupy-cuda13x && python -m pip install",
    ),
    "no driver": (
        lambda: (standin.make(driver=0), WHEEL),
        "there is no NVIDIA driver",
        "https://www.nvidia.com/drivers",
    ),
    "an old driver": (
        lambda: (standin.make(driver=11040), WHEEL),
        "the driver supports CUDA 11.4 and is too old for this CuPy, which was built for CUDA 12",
        "Update the driver to 525 or newer",
    ),
    "an old driver for the newest wheel": (
        lambda: (standin.make(driver=12040, runtime=13000), ["cupy-cuda13x"]),
        "the driver supports CUDA 12.4 and is too old for this CuPy, which was built for CUDA 13",
        'to 580 or newer, or install the CuPy for CUDA 12: python -m pip install "cupy-cuda12x',
    ),
    "no device": (
        lambda: (standin.make(devices=0), WHEEL),
        "there is a driver, but no GPU",
        "nvidia-smi",
    ),
    "34": (
        lambda: failing(count=runtime(34, "cudaErrorStubLibrary")),
        "CUDA's stub library is loaded instead of the driver (cudaErrorStubLibrary",
        "Remove the directory named 'stubs' from LD_LIBRARY_PATH",
    ),
    "35": (
        lambda: failing(count=runtime(35, "cudaErrorInsufficientDriver")),
        "the driver is too old for this CuPy (cudaErrorInsufficientDriver",
        "Update the driver (https://www.nvidia.com/drivers)",
    ),
    "802": (
        lambda: failing(count=runtime(802, "cudaErrorSystemNotReady")),
        "the GPUs are not ready yet (cudaErrorSystemNotReady",
        "systemctl start nvidia-fabricmanager",
    ),
    "803": (
        lambda: failing(count=runtime(803, "cudaErrorSystemDriverMismatch")),
        "the driver was updated, but the old one is still loaded",
        "Reboot. In a container, make sure that the image does not bring its own libcuda",
    ),
    "804": (
        lambda: failing(count=runtime(804, "cudaErrorCompatNotSupportedOnDevice")),
        "CUDA's compatibility package (a newer libcuda) does not support this GPU",
        "Uninstall that package, or remove its directory ('compat') from LD_LIBRARY_PATH",
    ),
    "999": (
        lambda: failing(count=runtime(999, "cudaErrorUnknown")),
        "the driver failed for an unknown reason (cudaErrorUnknown",
        "sudo modprobe -r nvidia_uvm && sudo modprobe nvidia_uvm",
    ),
    "an unknown status number": (
        lambda: failing(count=runtime(711, "cudaErrorOfTomorrow")),
        "the NVIDIA driver does not respond (cudaErrorOfTomorrow",
        "See what the driver reports: nvidia-smi",
    ),
}
# Faults with which a GPU is found but does not work.
SEEN = {
    "no kernel": (
        lambda: failing(launch=RuntimeError("nvrtc: error: failed to load builtins")),
        "a small kernel fails (nvrtc: error: failed to load builtins)",
        f"Install CuPy together with its compiler and headers: {INSTALL}",
    ),
    "no compiler": (
        lambda: failing(launch=RuntimeError(MISSING)),
        "a small kernel fails (CuPy cannot find libnvrtc.so.13 or libnvrtc.so.12)",
        f"Install CuPy together with its compiler and headers: {INSTALL}",
    ),
    "no cuBLAS": (
        lambda: failing(matmul=RuntimeError('Failure finding "libcublas.so.12": No such file')),
        "a small matrix product fails (CuPy cannot find libcublas.so.12)",
        f"Install CuPy together with its libraries: {INSTALL}",
    ),
    "a long error message": (
        lambda: failing(launch=RuntimeError("no headers, " + 20 * "and again ")),
        "a small kernel fails (no headers, " + 10 * "and again " + "and a...)",
        f"Install CuPy together with its compiler and headers: {INSTALL}",
    ),
    "headers of another CUDA": (
        lambda: failing(sum=RuntimeError(MIXED)),
        "a sum of 200 numbers fails (/usr/local/cuda/include/cuda_fp8.hpp(1460): error: this",
        f"Install CuPy together with headers of CUDA 12, and unset CUDA_PATH: {INSTALL}",
    ),
    "209": (
        lambda: failing(launch=standin.CUDADriverError("CUDA_ERROR_NO_BINARY_FOR_GPU: no", 209)),
        "this CuPy has no code for this GPU (CUDA_ERROR_NO_BINARY_FOR_GPU",
        f"Delete CuPy's kernel cache ({os.path.join('~', '.cupy', 'kernel_cache')}), then "
        'upgrade CuPy: python -m pip install --upgrade "cupy-cuda12x[ctk]"',
    ),
    "222": (
        lambda: failing(launch=standin.CUDADriverError("CUDA_ERROR_UNSUPPORTED_PTX: no", 222)),
        "the driver is older than CuPy's compiler (CUDA_ERROR_UNSUPPORTED_PTX",
        "Update the driver (https://www.nvidia.com/drivers)",
    ),
    "700 at launch": (
        lambda: failing(launch=standin.CUDADriverError("CUDA_ERROR_ILLEGAL_ADDRESS: no", 700)),
        "a kernel accessed an illegal address (CUDA_ERROR_ILLEGAL_ADDRESS",
        "This is not an installation problem. Restart the program. If it happens again, update",
    ),
    "700 at wait": (
        lambda: failing(wait=runtime(700, "cudaErrorIllegalAddress")),
        "a kernel accessed an illegal address (cudaErrorIllegalAddress",
        "This is not an installation problem. Restart the program. If it happens again, update",
    ),
    "cuBLAS does not start": (
        lambda: failing(matmul=standin.CUBLASError("CUBLAS_STATUS_NOT_INITIALIZED", 1)),
        "cuBLAS cannot be initialized (CUBLAS_STATUS_NOT_INITIALIZED)",
        f"Otherwise install CuPy together with CUDA's libraries: {INSTALL}",
    ),
    "cuBLAS lacks memory": (
        lambda: failing(matmul=standin.CUBLASError("CUBLAS_STATUS_ALLOC_FAILED", 3)),
        "the GPU's memory is full: cuBLAS could not allocate any",
        "Find the process that holds it with nvidia-smi, and stop it",
    ),
    "cuBLAS fails": (
        lambda: failing(matmul=standin.CUBLASError("CUBLAS_STATUS_EXECUTION_FAILED", 13)),
        "cuBLAS fails on this GPU (CUBLAS_STATUS_EXECUTION_FAILED)",
        "This is not an installation problem. If it happens again, update the driver and",
    ),
    "a GPU too old for the newest wheel": (
        lambda: (standin.make(driver=13000, runtime=13000, capability="7.0"), ["cupy-cuda13x"]),
        "the Stand-in 0, of compute capability 7.0, is too old for CUDA 13",
        f"Install the CuPy for CUDA 12: {INSTALL}",
    ),
    "a GPU too old for any CuPy": (
        lambda: (standin.make(capability="3.5"), WHEEL),
        "the Stand-in 0, of compute capability 3.5, is too old for CUDA 12",
        "Use a GPU of compute capability 5.0 or newer",
    ),
    "a full GPU": (
        lambda: (standin.make(memory=40), WHEEL),
        "the GPU's memory is full (Out of memory allocating 800 bytes)",
        "Find the process that holds it with nvidia-smi, and stop it",
    ),
    "a GPU in use": (
        lambda: failing(launch=runtime(46, "cudaErrorDevicesUnavailable")),
        "another process has exclusive use of the GPU (cudaErrorDevicesUnavailable",
        "Find the process that holds it with nvidia-smi, and stop it",
    ),
    "a GPU that cannot be selected": (
        lambda: failing(enter=runtime(1, "cudaErrorInvalidValue")),
        "the GPU does not respond (cudaErrorInvalidValue",
        "See what the driver reports: nvidia-smi",
    ),
    "a wrong kernel": (
        lambda: wrong("multiply"),
        "a small kernel gives a wrong result",
        "Update driver and CuPy",
    ),
    "a wrong product": (
        lambda: wrong("matmul"),
        "a small matrix product gives a wrong result",
        "Update driver and CuPy",
    ),
    "a wrong sum": (
        lambda: wrong("sum"),
        "a sum of 200 numbers gives a wrong result",
        "Update driver and CuPy",
    ),
}
CASES = UNSEEN | SEEN


@pytest.mark.parametrize("case", CASES)
def test_each_fault_is_reported_with_its_reason_and_one_fix(monkeypatch, capsys, case):
    make, reason, fix = CASES[case]
    use_cupy(monkeypatch, *make())
    for wish, code in (("cupy", 1), ("auto", 0), ("numpy", 0)):
        monkeypatch.setenv("TINYNET_BACKEND", wish)
        assert doctor.main() == code
        lines = capsys.readouterr().out.splitlines()
        assert sum(reason in line for line in lines) == (2 if wish == "auto" else 1)
        (remedy,) = [line for line in lines if line.startswith("Fix: ")]
        assert fix in remedy
        assert lines[0].startswith("Backend: none" if code else "Backend: numpy")
    others = {words for key, (_, words, _) in CASES.items() if key != case and words != reason}
    assert not [words for words in others if any(words in line for line in lines)]


@pytest.mark.parametrize("case", CASES)
def test_use_raises_with_the_reason_and_the_fix_and_changes_nothing(monkeypatch, case):
    make, reason, fix = CASES[case]
    use_cupy(monkeypatch, *make())
    backend.use("numpy")
    with pytest.raises(RuntimeError, match="The backend 'cupy' cannot run") as error:
        backend.use("cupy")
    assert reason in str(error.value)
    assert fix in str(error.value)
    assert "TINYNET_BACKEND=numpy" in str(error.value)
    assert backend.backend() == "numpy"
    assert bool(backend.devices()) is (case in SEEN)


def test_a_working_gpu_is_reported(monkeypatch, capsys):
    use_cupy(monkeypatch, standin.make(devices=2, memory=24 * 2**30))
    monkeypatch.setenv("TINYNET_BACKEND", "auto")
    assert doctor.main() == 0
    assert capsys.readouterr().out.splitlines()[0::2] == [
        "Backend: cupy. TINYNET_BACKEND is 'auto': there is a GPU, and it works.",
        "GPU 0: Stand-in 0, 24 GiB, compute capability 8.6",
        "CuPy 14.0.0 for CUDA 12.9, driver for CUDA 12.9",
    ]


def test_a_gpu_hidden_by_cuda_visible_devices_is_reported(monkeypatch, capsys):
    use_cupy(monkeypatch, standin.make(devices=0))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert doctor.main() == 0
    said = capsys.readouterr().out
    assert "CUDA_VISIBLE_DEVICES='-1' may hide it" in said
    assert "Fix: Unset CUDA_VISIBLE_DEVICES" in said


def doctor_output(capsys):
    """Run the doctor and return its output."""
    doctor.main()
    return capsys.readouterr().out


BANNER = """
try:
    raise ImportError({words!r})
except ImportError as error:
    raise ImportError("\\n======\\nFailed to import CuPy.\\n======\\n") from error
"""


@pytest.mark.parametrize(
    ("words", "fix"),
    [
        ("libcublas.so.12: cannot open shared object file", " together with CUDA's libraries"),
        (
            "DLL load failed while importing core: Das Modul fehlt",
            " together with CUDA's libraries",
        ),
        ("numpy._core.multiarray failed to import", ""),
        ("\n=====\n  the first line that has words  \n=====", ""),
    ],
)
def test_a_failed_import_of_cupy_is_reported_with_its_cause(
    monkeypatch, capsys, tmp_path, words, fix
):
    (tmp_path / "cupy.py").write_text(BANNER.format(words=words))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(gpu, "cupy_packages", lambda: WHEEL)
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    gpu.load_cupy.cache_clear()
    said = doctor_output(capsys)
    first = words.strip("= \n")
    assert f"CuPy is installed but cannot be imported ({first})" in said
    assert f"Fix: Reinstall it{fix}: python -m pip install --force-reinstall" in said
    assert "==" not in said


@pytest.mark.parametrize("wheels", [[], WHEEL, ["cupy-cuda12x", "cupy-cuda13x"]])
def test_installing_cupy_is_not_advised_without_a_driver(monkeypatch, capsys, tmp_path, wheels):
    (tmp_path / "cupy.py").write_text("raise ImportError('libcublas.so.12: cannot open')\n")
    monkeypatch.syspath_prepend(tmp_path)
    use_cupy(monkeypatch, None, wheels)
    if wheels:
        monkeypatch.delitem(sys.modules, "cupy")
    monkeypatch.setattr(diagnosis, "driver_version", lambda: 0)
    said = doctor_output(capsys)
    assert "there is no NVIDIA driver" in said
    assert "Fix: If this machine has an NVIDIA GPU, install its driver (https://www.nvidia" in said
    assert "pip install" not in said


def test_the_driver_version_is_read_without_cupy(monkeypatch, tmp_path):
    monkeypatch.undo()

    class Library:
        def __init__(self, name):
            assert name == ("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")

        def cuDriverGetVersion(self, version):  # noqa: N802, named as in CUDA
            version._obj.value = 12040

    monkeypatch.setattr(diagnosis.ctypes, "CDLL", Library)
    assert diagnosis.driver_version() == 12040

    def missing(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(diagnosis.ctypes, "CDLL", missing)
    assert diagnosis.driver_version() == 0


@pytest.mark.parametrize(
    ("system", "processor", "driver", "said"),
    [
        ("linux", "aarch64", 12080, "cupy-cuda12x"),
        ("win32", "AMD64", 13000, "cupy-cuda12x"),
        ("win32", "ARM64", 13000, "cupy-cuda13x"),  # CuPy's only wheel for Windows on Arm
        ("win32", "ARM64", 12080, "Update the driver to 580 or newer, then install CuPy: "),
        ("linux", "x86_64", 11040, "Update the driver to 525 or newer, then install CuPy: "),
        ("linux", "armv7l", 12080, "no wheel for this processor (armv7l)"),
        ("linux", "riscv64", 12080, "no wheel for this processor (riscv64)"),
    ],
)
def test_the_advised_wheel_exists_for_the_platform(
    monkeypatch, capsys, system, processor, driver, said
):
    use_cupy(monkeypatch, None, [])
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: processor)
    monkeypatch.setattr(diagnosis, "driver_version", lambda: driver)
    found = doctor_output(capsys)
    assert "CuPy is not installed" in found
    assert said in found
    assert ("pip install" in found) is ("no wheel" not in said)


CONTAINER = "with the GPU: docker run --gpus all IMAGE"
WINDOWS = "WSL uses the Windows driver: install it in Windows, not in Linux"


@pytest.mark.parametrize(
    ("case", "container", "windows"),
    [
        ("no driver", True, True),
        ("an old driver", False, True),
        ("no device", True, False),
        ("35", False, True),
        ("222", False, True),
        ("not installed", False, False),
        ("no kernel", False, False),
    ],
)
def test_containers_and_wsl_get_an_additional_hint(monkeypatch, capsys, case, container, windows):
    make, _, fix = CASES[case]
    for inside in (False, True):
        use_cupy(monkeypatch, *make())
        monkeypatch.setattr(diagnosis, "in_container", lambda inside=inside: inside)
        release = "5.15.90.1-microsoft-standard-WSL2" if inside else "6.1.0"
        monkeypatch.setattr(platform, "release", lambda release=release: release)
        said = doctor_output(capsys)
        assert (fix in said) is not (inside and container)  # a container needs another fix
        assert (CONTAINER in said) is (inside and container)
        assert (WINDOWS in said) is (inside and windows)


def test_a_container_is_detected_by_files_and_variables(monkeypatch):
    monkeypatch.undo()
    for name in ("container", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    seen = []
    monkeypatch.setattr(os.path, "exists", lambda path: bool(seen.append(path)))
    assert not diagnosis.in_container()
    assert seen == ["/.dockerenv", "/run/.containerenv"]
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert diagnosis.in_container()


def test_on_a_mac_there_is_nothing_to_install(monkeypatch, capsys):
    use_cupy(monkeypatch, None, [])
    monkeypatch.setattr(sys, "platform", "darwin")
    assert doctor.main() == 0
    assert "there is no CuPy for macOS" in capsys.readouterr().out


def test_help_describes_the_program_and_other_arguments_are_errors(capsys):
    for arguments, code in ((["--help"], 0), (["please"], 2)):
        with pytest.raises(SystemExit) as ended:
            doctor.main(arguments)
        assert ended.value.code == code
    said = capsys.readouterr()
    assert "usage: python -m tinynet.doctor" in said.out
    assert "TINYNET_BACKEND selects numpy" in " ".join(said.out.split())
    assert "unrecognized arguments: please" in said.err


@pytest.mark.parametrize(("value", "warns"), [(None, False), ("0", False), ("1", True)])
def test_tf32_is_reported(monkeypatch, capsys, value, warns):
    use_cupy(monkeypatch, standin.make())
    monkeypatch.delenv("CUPY_TF32", raising=False)
    if value is not None:
        monkeypatch.setenv("CUPY_TF32", value)
    assert ("CUPY_TF32 is set" in doctor_output(capsys)) is warns


def test_characters_that_the_console_cannot_encode_are_escaped(monkeypatch):
    cupy, wheels = failing(launch=RuntimeError("Gerät nicht verfügbar 🙂"))
    use_cupy(monkeypatch, cupy, wheels)
    written = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    monkeypatch.setattr(sys, "stdout", written)
    assert doctor.main() == 0
    assert b"a small kernel fails (Ger\\xe4t nicht verf\\xfcgbar" in written.buffer.getvalue()


@pytest.mark.cupy
@pytest.mark.parametrize("number", [*diagnosis.CUDA])
def test_the_errors_of_cupy_are_found_in_the_table_by_their_number(number):
    from cupy.cuda import runtime

    error = runtime.CUDARuntimeError(number)
    found = diagnosis.explain(error, "otherwise")
    assert found.reason.startswith(diagnosis.CUDA[number][0])
    assert str(error) in found.reason
    assert "{" not in found.fix


def test_an_error_in_the_doctor_prints_no_traceback(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "examine", lambda: 1 / 0)
    assert doctor.main() == 1
    assert "ZeroDivisionError" in capsys.readouterr().out


def test_a_missing_numpy_is_reported_and_a_broken_stdout_is_ignored(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tinynet.backend", None)
    monkeypatch.delattr("tinynet.backend")
    assert doctor.main() == 1
    assert "Fix: python -m pip install --force-reinstall numpy" in capsys.readouterr().out

    class Full:
        def write(self, text):
            raise OSError("No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    assert doctor.main() == 1


def test_an_unexpected_gpu_error_does_not_change_the_exit_code(monkeypatch, capsys):
    def fails(device):
        raise KeyError("surprise")

    monkeypatch.setattr(gpu, "load_cupy", fails)
    assert doctor.main() == 0
    assert "GPU: not usable: " in capsys.readouterr().out


@pytest.mark.parametrize(
    "wish", [None, "", "numpy", "auto", "cupy", "CUPY", "torch", "  ", "🙂", "two\nlines"]
)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_no_value_of_the_environment_variable_causes_a_traceback(wish, encoding):
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    environment.pop("TINYNET_BACKEND", None)
    if wish is not None:
        environment["TINYNET_BACKEND"] = wish
    command = [sys.executable, "-W", "error", "-m", "tinynet.doctor"]
    run = subprocess.run(
        command, env=environment, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert run.stderr == ""
    works = wish in (None, "", "  ", "numpy", "auto") or (wish == "cupy" and gpu.devices())
    assert run.returncode == (0 if works else 1)
    assert run.stdout.startswith("Backend: ")
    if wish in ("CUPY", "torch", "🙂", "two\nlines"):
        assert len(run.stdout.splitlines()) == 2
        assert "Fix: set TINYNET_BACKEND to one of numpy, cupy, auto, or unset it" in run.stdout
