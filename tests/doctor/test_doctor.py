"""`python -m tinynet.doctor` names each fault of a GPU installation in one line, and never raises.

The faults are simulated by the stand-in for CuPy.
"""

import io
import os
import platform
import subprocess
import sys
import types

import pytest
import standin

from tinynet import backend, doctor
from tinynet.backend import diagnosis, gpu

WHEEL, NEWEST = ["cupy-cuda12x"], ["cupy-cuda13x"]
INSTALL = 'python -m pip install "cupy-cuda12x[ctk]"'
UPDATE = "Update the driver (https://www.nvidia.com/drivers)"
STOP = "Find the process that holds it with nvidia-smi, and stop it"
SEE = "See what the driver reports: nvidia-smi"
AGAIN = "This is not an installation problem. Restart the program. If it happens again, update"
NEW = "Update driver and CuPy"
CACHE = os.path.join("~", ".cupy", "kernel_cache")


@pytest.fixture
def examined(monkeypatch, capsys, tmp_path):
    """A function that simulates a machine, runs the doctor, and returns exit code and output.

    `cupy` is a module, the source of one, or None. Without other arguments, it is an x86-64 machine
    with a driver, and neither a container nor WSL.
    """

    def run(
        cupy=None, wheels=WHEEL, *, driver=12080, container=False, system="linux",
        processor="x86_64", release="6.1.0", **variables,
    ):  # fmt: skip
        monkeypatch.setitem(sys.modules, "cupy", cupy)
        if isinstance(cupy, str):
            (tmp_path / "cupy.py").write_text(cupy)
            monkeypatch.syspath_prepend(tmp_path)
            monkeypatch.delitem(sys.modules, "cupy")
        monkeypatch.setattr(gpu, "cupy_packages", lambda: wheels)
        monkeypatch.setattr(backend, "_device", None)
        monkeypatch.setattr(diagnosis, "driver_version", lambda: driver)
        monkeypatch.setattr(diagnosis, "in_container", lambda: container)
        monkeypatch.setattr(sys, "platform", system)
        monkeypatch.setattr(platform, "machine", lambda: processor)
        monkeypatch.setattr(platform, "release", lambda: release)
        for name in ("TINYNET_BACKEND", "CUDA_VISIBLE_DEVICES", "CUPY_CACHE_DIR", "CUPY_TF32"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        gpu.load_cupy.cache_clear()
        return doctor.main(), capsys.readouterr().out

    yield run
    gpu.load_cupy.cache_clear()


def fault(reason, fix, wheels=WHEEL, fails=(), wrong=(), **machine):
    """Return what the doctor says of a fault, and how to make a stand-in for CuPy that has it."""

    def make():
        if not wheels:
            return None, wheels
        cupy = standin.make(**machine)
        cupy.machine.fails, cupy.machine.wrong = dict(fails), set(wrong)
        return cupy, wheels

    return types.SimpleNamespace(reason=reason, fix=fix, make=make)


KINDS = {"launch": standin.CUDADriverError, "matmul": standin.CUBLASError}


def status(number, reason, fix, at="count"):
    """Return the fault of an error with a status number; its words follow the reason."""
    error = KINDS.get(at, standin.CUDARuntimeError)(f"Error{number}: as CUDA words it", number)
    return fault(f"{reason} ({error})", fix, fails={at: error})


def failing(operation, message, reason, fix):
    """Return the fault that an operation raises an error with this message."""
    fix = f"Install CuPy together with {fix}: {INSTALL}"
    return fault(reason, fix, fails={operation: RuntimeError(message)})


NO_COMPILER = """Failure finding "libnvrtc.so.13 or libnvrtc.so.12": No such file: \
libnvrtc.so.13 or libnvrtc.so.12, No such file: libnvrtc.so.13"""
MIXED = """/usr/local/cuda/include/cuda_fp8.hpp(1460): error: this declaration has no type
      __NV_SILENCE_DEPRECATION_BEGIN
      ^

12 errors detected in the compilation of "x.cubin.cu"."""
COMPILER, HEADERS = "its compiler and headers", "headers of CUDA 12, and unset CUDA_PATH"

# Faults with which no GPU is found.
UNSEEN = {
    "not installed": fault("CuPy is not installed", f"Install it: {INSTALL}", wheels=[]),
    "two wheels": fault(
        "2 CuPy packages are installed, cupy-cuda12x and cupy-cuda13x, and they conflict",
        "python -m pip uninstall -y cupy-cuda12x cupy-cuda13x && python -m pip install",
        wheels=WHEEL + NEWEST),
    "no driver": fault("there is no NVIDIA driver", "https://www.nvidia.com/drivers", driver=0),
    "an old driver": fault(
        "the driver supports CUDA 11.4 and is too old for this CuPy, which was built for CUDA 12",
        "Update the driver to 525 or newer", driver=11040),
    "an old driver for the newest wheel": fault(
        "the driver supports CUDA 12.4 and is too old for this CuPy, which was built for CUDA 13",
        'to 580 or newer, or install the CuPy for CUDA 12: python -m pip install "cupy-cuda12x',
        NEWEST, driver=12040, runtime=13000),
    "no device": fault("there is a driver, but no GPU", SEE, devices=0),
    "34": status(34, "CUDA's stub library is loaded instead of the driver",
                 "Remove the directory named 'stubs' from LD_LIBRARY_PATH"),
    "35": status(35, "the driver is too old for this CuPy", UPDATE),
    "802": status(802, "the GPUs are not ready yet", "systemctl start nvidia-fabricmanager"),
    "803": status(803, "the driver was updated, but the old one is still loaded",
                  "Reboot. In a container, make sure that the image does not bring its own"),
    "804": status(804, "CUDA's compatibility package (a newer libcuda) does not support this GPU",
                  "Uninstall that package, or remove its directory ('compat') from"),
    "999": status(999, "the driver failed for an unknown reason",
                  "sudo modprobe -r nvidia_uvm && sudo modprobe nvidia_uvm"),
    "an unknown status number": status(711, "the NVIDIA driver does not respond", SEE),
}  # fmt: skip
# Faults with which a GPU is found but does not work.
SEEN = {
    "no kernel": failing("launch", "nvrtc: no\nn", "a small kernel fails (nvrtc: no)", COMPILER),
    "no compiler": failing("launch", NO_COMPILER, "a small kernel fails "
                           "(CuPy cannot find libnvrtc.so.13 or libnvrtc.so.12)", COMPILER),
    "no cuBLAS": failing("matmul", 'Failure finding "libcublas.so.12": No such file',
                         "a small matrix product fails (CuPy cannot find libcublas.so.12)",
                         "its libraries"),
    "a long error message": failing("launch", "long, " + 20 * "and again ",
                                    f"(long, {11 * 'and again '}a...)", COMPILER),
    "headers of another CUDA": failing("sum", MIXED, "a sum of 200 numbers fails "
                                       f"({MIXED.splitlines()[0]})", HEADERS),
    "209": status(209, "this CuPy has no code for this GPU",
                  f"Delete CuPy's kernel cache ({CACHE}), then upgrade CuPy: "
                  'python -m pip install --upgrade "cupy-cuda12x[ctk]"', "launch"),
    "222": status(222, "the driver is older than CuPy's compiler", UPDATE, "launch"),
    "700 at launch": status(700, "a kernel accessed an illegal address", AGAIN, "launch"),
    "700 at wait": status(700, "a kernel accessed an illegal address", AGAIN, "wait"),
    "cuBLAS does not start": status(
        1, "cuBLAS cannot be initialized",
        f"Otherwise install CuPy together with CUDA's libraries: {INSTALL}", "matmul"),
    "cuBLAS lacks memory": status(3, "the GPU's memory is full: cuBLAS could not allocate any",
                                  STOP, "matmul"),
    "cuBLAS fails": status(13, "cuBLAS fails on this GPU", "This is not an installation problem. "
                           "If it happens again, update the driver and", "matmul"),
    "a GPU too old for the newest wheel": fault(
        "the Stand-in 0, of compute capability 7.0, is too old for CUDA 13",
        f"Install the CuPy for CUDA 12: {INSTALL}",
        NEWEST, driver=13000, runtime=13000, capability="7.0"),
    "a GPU too old for any CuPy": fault(
        "the Stand-in 0, of compute capability 3.5, is too old for CUDA 12",
        "Use a GPU of compute capability 5.0 or newer", capability="3.5"),
    "a full GPU": fault("the GPU's memory is full (Out of memory allocating 800 bytes)", STOP,
                        memory=40),
    "a GPU in use": status(46, "another process has exclusive use of the GPU", STOP, "launch"),
    "a GPU that cannot be selected": status(1, "the GPU does not respond", SEE, "enter"),
    "a wrong kernel": fault("a small kernel gives a wrong result", NEW, wrong=["multiply"]),
    "a wrong product": fault("a small matrix product gives a wrong result", NEW, wrong=["matmul"]),
    "a wrong sum": fault("a sum of 200 numbers gives a wrong result", NEW, wrong=["sum"]),
}  # fmt: skip
CASES = UNSEEN | SEEN
# A container needs another fix for two faults, and WSL an additional hint if one mentions drivers.
DOCKER = "with the GPU: docker run --gpus all IMAGE"
WINDOWS = "WSL uses the Windows driver: install it in Windows, not in Linux"
IN_CONTAINER = {"no driver", "no device"}
IN_WSL = {
    "no driver", "an old driver", "an old driver for the newest wheel", "35", "222", "999",
    "700 at launch", "700 at wait", "cuBLAS fails",
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_each_fault_is_reported_with_its_reason_and_one_fix(examined, case):
    reason, fix = CASES[case].reason, CASES[case].fix
    wsl = "5.15.90.1-microsoft-standard-WSL2"
    _, said = examined(*CASES[case].make(), container=True, release=wsl)
    assert (fix in said) is (case not in IN_CONTAINER)
    assert (DOCKER in said) is (case in IN_CONTAINER)
    assert (WINDOWS in said) is (case in IN_WSL)
    for wish, code in (("cupy", 1), ("auto", 0), ("numpy", 0)):
        ended, said = examined(*CASES[case].make(), TINYNET_BACKEND=wish)
        lines = said.splitlines()
        assert ended == code
        assert sum(reason in line for line in lines) == (2 if wish == "auto" else 1)
        (remedy,) = [line for line in lines if line.startswith("Fix: ")]
        assert fix in remedy
        assert lines[0].startswith("Backend: none" if code else "Backend: numpy")
    others = {one.reason for key, one in CASES.items() if key != case and one.reason != reason}
    assert not [words for words in {*others, DOCKER, WINDOWS} if words in said]
    # `use` raises an error with the same words, and changes nothing.
    with pytest.raises(RuntimeError, match="The backend 'cupy' cannot run") as error:
        backend.use("cupy")
    assert all(words in str(error.value) for words in (reason, fix, "TINYNET_BACKEND=numpy"))
    assert backend.backend() == "numpy"
    assert bool(backend.devices()) is (case in SEEN)


@pytest.mark.parametrize("tf32", ["", "0", "1"])
def test_a_working_gpu_is_reported_and_whether_it_computes_in_tf32(examined, tf32):
    cupy = standin.make(devices=2, memory=24 * 2**30)
    variables = {"CUPY_TF32": tf32} if tf32 else {}
    code, said = examined(cupy, TINYNET_BACKEND="auto", **variables)
    assert code == 0
    assert said.splitlines()[0:5:2] == [
        "Backend: cupy. TINYNET_BACKEND is 'auto': there is a GPU, and it works.",
        "GPU 0: Stand-in 0, 24 GiB, compute capability 8.6",
        "CuPy 14.0.0 for CUDA 12.9, driver for CUDA 12.9",
    ]
    assert ("CUPY_TF32 is set" in said) is (tf32 == "1")


def test_a_gpu_hidden_by_cuda_visible_devices_is_reported(examined):
    _, said = examined(standin.make(devices=0), CUDA_VISIBLE_DEVICES="-1")
    assert "(CUDA_VISIBLE_DEVICES='-1' may hide it).\nFix: Unset CUDA_VISIBLE_DEVICES" in said


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
        ("DLL load failed while importing core: Das Modul", " together with CUDA's libraries"),
        ("numpy._core.multiarray failed to import", ""),
        ("\n=====\n  the first line that has words  \n=====", ""),
    ],
)
def test_a_failed_import_of_cupy_is_reported_with_its_cause(examined, words, fix):
    _, said = examined(BANNER.format(words=words))
    first = words.strip("= \n")
    assert f"CuPy is installed but cannot be imported ({first})" in said
    assert f"Fix: Reinstall it{fix}: python -m pip install --force-reinstall" in said
    assert "==" not in said


@pytest.mark.parametrize("wheels", [[], WHEEL, WHEEL + NEWEST])
def test_installing_cupy_is_not_advised_without_a_driver(examined, wheels):
    _, said = examined("raise ImportError('libcublas')" if wheels else None, wheels, driver=0)
    assert "there is no NVIDIA driver" in said
    assert "Fix: If this machine has an NVIDIA GPU, install its driver (https://www.nvidia" in said
    assert "pip install" not in said


def test_the_driver_version_is_read_without_cupy(monkeypatch):
    def library(name):
        assert name == ("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        return types.SimpleNamespace(cuDriverGetVersion=lambda v: setattr(v._obj, "value", 12040))

    monkeypatch.setattr(diagnosis.ctypes, "CDLL", library)
    assert diagnosis.driver_version() == 12040

    def missing(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(diagnosis.ctypes, "CDLL", missing)
    assert diagnosis.driver_version() == 0


@pytest.mark.parametrize(
    ("system", "processor", "driver", "said"),
    [
        ("linux", "aarch64", 12080, 'Fix: Install it: python -m pip install "cupy-cuda12x'),
        ("win32", "AMD64", 13000, 'Fix: Install it: python -m pip install "cupy-cuda12x'),
        # CuPy's only wheel for Windows on Arm:
        ("win32", "ARM64", 13000, 'Fix: Install it: python -m pip install "cupy-cuda13x'),
        ("win32", "ARM64", 12080, "Update the driver to 580 or newer, then install CuPy: "),
        ("linux", "x86_64", 11040, "Update the driver to 525 or newer, then install CuPy: "),
        ("linux", "armv7l", 12080, "no wheel for this processor (armv7l)"),
        ("linux", "riscv64", 12080, "no wheel for this processor (riscv64)"),
        ("darwin", "arm64", 0, "there is no CuPy for macOS"),
    ],
)
def test_the_advised_wheel_exists_for_the_platform(examined, system, processor, driver, said):
    code, found = examined(wheels=[], system=system, processor=processor, driver=driver)
    assert code == 0
    assert said in found
    assert ("CuPy is not installed" in found) is (system != "darwin")
    assert ("pip install" in found) is not said.startswith(("no wheel", "there is no"))


def test_a_container_is_detected_by_files_and_variables(monkeypatch):
    for name in ("container", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    seen = []
    monkeypatch.setattr(os.path, "exists", lambda path: bool(seen.append(path)))
    assert not diagnosis.in_container()
    assert seen == ["/.dockerenv", "/run/.containerenv"]
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert diagnosis.in_container()


def test_help_describes_the_program_and_other_arguments_are_errors(capsys):
    for arguments, code in ((["--help"], 0), (["please"], 2)):
        with pytest.raises(SystemExit) as ended:
            doctor.main(arguments)
        assert ended.value.code == code
    said = capsys.readouterr()
    assert "usage: python -m tinynet.doctor" in said.out
    assert "TINYNET_BACKEND selects numpy" in " ".join(said.out.split())
    assert "unrecognized arguments: please" in said.err


@pytest.mark.cupy
@pytest.mark.parametrize("number", [*diagnosis.CUDA])
def test_the_errors_of_cupy_are_found_in_the_table_by_their_number(number):
    reason = "CuPy is not installed: python -m pip install cupy-cuda12x (no GPU needed)"
    runtime = pytest.importorskip("cupy.cuda.runtime", reason=reason)
    error = runtime.CUDARuntimeError(number)
    found = diagnosis.explain(error, "otherwise")
    assert found.reason.startswith(diagnosis.CUDA[number][0])
    assert str(error) in found.reason
    assert "{" not in found.fix


def test_no_error_in_the_doctor_itself_prints_a_traceback(examined, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr(doctor, "examine", lambda: 1 / 0)
        assert doctor.main() == 1
        assert "ZeroDivisionError" in capsys.readouterr().out
    with monkeypatch.context() as patch:  # an unexpected error does not change the exit code
        patch.setattr(gpu, "load_cupy", lambda device: {}["surprise"])
        assert doctor.main() == 0
        assert "GPU: not usable: " in capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "tinynet.backend", None)  # as if NumPy was missing
    monkeypatch.delattr("tinynet.backend")
    assert doctor.main() == 1
    assert "Fix: python -m pip install --force-reinstall numpy" in capsys.readouterr().out

    class Full:
        def write(self, text):
            raise OSError("No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    assert doctor.main() == 1


def test_characters_that_the_console_cannot_encode_are_escaped(examined, monkeypatch):
    cupy = standin.make()
    cupy.machine.fails = {"launch": RuntimeError("Gerät nicht verfügbar 🙂")}
    written = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    monkeypatch.setattr(sys, "stdout", written)
    assert examined(cupy)[0] == 0
    assert b"a small kernel fails (Ger\\xe4t nicht verf\\xfcgbar" in written.buffer.getvalue()


WISHES = [None, "", "numpy", "auto", "cupy", "CUPY", "torch", "  ", "🙂", "two\nlines"]
EVERY = [pytest.param(w, e, marks=pytest.mark.long) for w in WISHES for e in ("utf-8", "ascii")]


@pytest.mark.parametrize(("wish", "encoding"), [(None, "utf-8"), ("two\n🙂", "ascii"), *EVERY])
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
    if not works and wish != "cupy":
        assert len(run.stdout.splitlines()) == 2
        assert "Fix: set TINYNET_BACKEND to one of numpy, cupy, auto, or unset it" in run.stdout
