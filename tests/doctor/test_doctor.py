"""`python -m tinynet.doctor` names each fault of a GPU installation in one line, and never raises.

The faults are simulated by the stand-in for CuPy.
"""

import io
import os
import platform
import re
import subprocess
import sys
import types
from unittest import mock

import pytest
import standin

from tinynet import backend, doctor
from tinynet.backend import diagnosis, gpu

WHEEL, NEWEST = ["cupy-cuda12x"], ["cupy-cuda13x"]
INSTALL = 'python -m pip install "cupy-cuda12x[ctk]"'
STOP = "Find the process that holds it with nvidia-smi, and stop it"
SEE = "See what the driver reports: nvidia-smi"
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
        monkeypatch.setattr(backend, "_default", None)
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
    """Return what the doctor says of a fault, and a stand-in for CuPy that has it."""
    cupy = standin.make(**machine)
    cupy.machine.fails, cupy.machine.wrong = dict(fails), set(wrong)
    return reason, fix, (cupy if wheels else None, wheels)


KINDS = {"launch": standin.CUDADriverError, "matmul": standin.CUBLASError}
UPGRADE = INSTALL.replace("install", "install --upgrade")


def status(number, at="count", otherwise=None):
    """Return the fault of an error with a status number; its words follow the reason."""
    error = KINDS.get(at, standin.CUDARuntimeError)(f"Error{number}: as CUDA words it", number)
    table = diagnosis.CUBLAS if at == "matmul" else diagnosis.CUDA
    reason, fix = otherwise or table[number]
    fix = fix.format(install=INSTALL, upgrade=UPGRADE, cache=CACHE)
    return fault(f"{reason} ({error})", fix, fails={at: error})


TRIALS = {  # what the doctor computes by an operation, and what that needs
    "multiply": ("a small kernel", "its compiler and headers"),
    "matmul": ("a small matrix product", "its libraries"),
    "sum": ("a sum of 200 numbers", "headers of CUDA 12, and unset CUDA_PATH"),
}


def failing(operation, message, words):
    """Return the fault that an operation raises an error with this message."""
    what, needs = TRIALS[operation]
    fix = f"Install CuPy together with {needs}: {INSTALL}"
    return fault(f"{what} fails ({words})", fix, fails={operation: RuntimeError(message)})


OLD_DRIVER = "the driver supports CUDA {} and is too old for this CuPy, which was built for CUDA {}"
OLD_GPU = "the Stand-in 0, of compute capability {}, is too old for CUDA {}"

# Faults with which no GPU is found.
UNSEEN = {
    "not installed": fault("CuPy is not installed", f"Install it: {INSTALL}", wheels=[]),
    "two wheels": fault(
        "2 CuPy packages are installed, cupy-cuda12x and cupy-cuda13x, and they conflict",
        "pip uninstall -y cupy-cuda12x cupy-cuda13x && python -m pip install", WHEEL + NEWEST),
    "no driver": fault("there is no NVIDIA driver", "https://www.nvidia.com/drivers", driver=0),
    "an old driver": fault(OLD_DRIVER.format(11.4, 12), "to 525 or newer", driver=11040),
    "an old driver for the newest wheel": fault(
        OLD_DRIVER.format(12.4, 13), f"to 580 or newer, or install the CuPy for CUDA 12: {INSTALL}",
        NEWEST, driver=12040, runtime=13000),
    "no device": fault("there is a driver, but no GPU", SEE, devices=0),
    **{str(number): status(number) for number in (34, 35, 802, 803, 804, 999)},
    "an unknown number": status(711, otherwise=("the NVIDIA driver does not respond", SEE)),
}  # fmt: skip
# Faults with which a GPU is found but does not work.
SEEN = {
    "no cuBLAS": failing("matmul", 'Failure finding "libcublas.so.12": No',
                         "CuPy cannot find libcublas.so.12"),
    "a long message": failing("multiply", 130 * "x", 117 * "x" + "..."),
    "headers of another CUDA": failing("sum", "error: no type\n   ^", "error: no type"),
    **{str(number): status(number, "launch") for number in (46, 209, 222)},
    **{f"cuBLAS {number}": status(number, "matmul") for number in (1, 3, 13)},
    "700": status(700, "wait"),
    "a GPU too old for the newest wheel": fault(
        OLD_GPU.format(7.0, 13), f"Install the CuPy for CUDA 12: {INSTALL}",
        NEWEST, driver=13000, runtime=13000, capability="7.0"),
    "a GPU too old for any CuPy": fault(
        OLD_GPU.format(3.5, 12), "Use a GPU of compute capability 5.0 or newer", capability="3.5"),
    "a full GPU": fault("the GPU's memory is full (Out of memory allocating 800 bytes)", STOP,
                        memory=40),
    "a GPU that cannot be selected": status(1, "enter", ("the GPU does not respond", SEE)),
    **{f"a wrong {operation}": fault(f"{what} gives a wrong result", NEW, wrong=[operation])
       for operation, (what, _) in TRIALS.items()},
}  # fmt: skip
CASES = UNSEEN | SEEN
# A container needs another fix for two faults, and WSL a hint where a driver is to be installed.
DOCKER = "with the GPU: docker run --gpus all IMAGE"
WINDOWS = ". WSL uses the Windows driver: install it in Windows, not in Linux"
IN_CONTAINER = {"no driver", "no device"}


@pytest.mark.parametrize("case", CASES)
def test_each_fault_is_reported_with_its_reason_and_one_fix(examined, case):
    reason, fix, installed = CASES[case]
    _, said = examined(*installed, container=True, release="5.15.90.1-microsoft-standard-WSL2")
    assert (fix in said) is (case not in IN_CONTAINER)
    assert (DOCKER in said) is (case in IN_CONTAINER)
    (remedy,) = re.findall("^Fix: (.*)", said.replace(WINDOWS, ""), re.M)
    assert (WINDOWS in said) is ("driver" in remedy and not remedy.startswith((SEE, NEW)))
    for wish, code in (("cupy", 1), ("auto", 0), ("numpy", 0)):
        ended, said = examined(*installed, TINYNET_BACKEND=wish)
        lines = said.splitlines()
        assert ended == code
        assert sum(reason in line for line in lines) == (2 if wish == "auto" else 1)
        (remedy,) = [line for line in lines if line.startswith("Fix: ")]
        assert fix in remedy
        assert lines[0].startswith("Backend: none" if code else "Backend: numpy")
    assert not [words for words in (DOCKER, WINDOWS) if words in said]
    # `use` raises an error with the same words, and changes nothing.
    with pytest.raises(RuntimeError, match="The backend 'cupy' cannot run") as error:
        backend.use("cupy")
    assert all(words in str(error.value) for words in (reason, fix, "TINYNET_BACKEND=numpy"))
    assert backend.backend() == "numpy"
    assert bool(backend.devices()) is (case in SEEN)


@pytest.mark.parametrize("variables", [{}, {"CUPY_TF32": "0"}, {"CUPY_TF32": "1"}])
def test_a_working_gpu_is_reported_and_whether_it_computes_in_tf32(examined, variables):
    cupy = standin.make(devices=2, memory=24 * 2**30)
    code, said = examined(cupy, TINYNET_BACKEND="auto", **variables)
    assert code == 0
    assert [said.splitlines()[n] for n in (0, 3, 5)] == [
        "Backend: cupy. TINYNET_BACKEND is 'auto': there is a GPU, and it works.",
        "GPU 0: Stand-in 0, 24 GiB, compute capability 8.6",
        "CuPy 14.0.0 for CUDA 12.9, driver for CUDA 12.9",
    ]
    assert ("CUPY_TF32 is set" in said) is (variables == {"CUPY_TF32": "1"})


CAUSED = 'raise ImportError("Failed to import CuPy.") from ImportError("\\n====\\n  {}  \\n====")'
CAUSES = {  # and what is to be installed with CuPy
    "libcublas.so.12: cannot open shared object file": " together with CUDA's libraries",
    "DLL load failed while importing core: Das Modul": " together with CUDA's libraries",
    "numpy._core.multiarray failed to import": "",
}
REINSTALL = "cannot be imported ({}).\nFix: Reinstall it{}: python -m pip install --force-reinstall"
WINDOWS_ON_ARM = {"system": "win32", "processor": "ARM64"}
GET_12, GET_13 = (f'python -m pip install "cupy-cuda{n}x' for n in (12, 13))
UPDATE_FIRST = "CuPy is not installed.\nFix: Update the driver to {} or newer, then install CuPy: "
GET_DRIVER = ".\nFix: If this machine has an NVIDIA GPU, install its driver (https://www.nvidia"
HIDDEN = "(CUDA_VISIBLE_DEVICES='-1' may hide it).\nFix: Unset CUDA_VISIBLE_DEVICES"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"system": "win32", "processor": "AMD64"}, f"not installed.\nFix: Install it: {GET_12}"),
        # CuPy's only wheel for Windows on Arm:
        (WINDOWS_ON_ARM | {"driver": 13000}, f"not installed.\nFix: Install it: {GET_13}"),
        (WINDOWS_ON_ARM, UPDATE_FIRST.format(580) + GET_13),
        ({"processor": "armv7l"}, "not installed, and has no wheel for this processor (armv7l)"),
        ({"system": "darwin", "driver": 0}, "not usable: there is no CuPy for macOS"),
        ({"driver": 0}, f"there is no NVIDIA driver, and no CuPy{GET_DRIVER}"),
        ({"driver": 0, "cupy": CAUSED}, f"driver, and CuPy cannot be imported{GET_DRIVER}"),
        ({"driver": 0, "wheels": WHEEL + NEWEST}, f"there is no NVIDIA driver{GET_DRIVER}"),
        ({"cupy": standin.make(devices=0), "CUDA_VISIBLE_DEVICES": "-1"}, HIDDEN),
        *[
            ({"cupy": CAUSED.format(why)}, REINSTALL.format(why, fix))
            for why, fix in CAUSES.items()
        ],
    ],
)
def test_what_is_advised_exists_for_the_machine_and_helps_it(examined, given, said):
    code, found = examined(**{"wheels": [], **given})
    assert code == 0
    assert said in found
    assert ("pip install" in found) is ("pip install" in said)


def test_the_driver_version_is_read_without_cupy(monkeypatch):
    library = mock.Mock()
    library().cuDriverGetVersion = lambda version: setattr(version._obj, "value", 12040)
    monkeypatch.setattr(diagnosis.ctypes, "CDLL", library)
    assert diagnosis.driver_version() == 12040
    library.assert_called_with("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    library.side_effect = OSError("libcuda.so.1: cannot open shared object file")
    assert diagnosis.driver_version() == 0


def test_a_container_is_detected_by_files_and_variables(monkeypatch):
    for name in ("container", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    seen = []
    monkeypatch.setattr(os.path, "exists", lambda path: bool(seen.append(path)))
    assert not diagnosis.in_container()
    assert seen == ["/.dockerenv", "/run/.containerenv"]
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert diagnosis.in_container()


def test_help_describes_the_program(capsys):
    with pytest.raises(SystemExit, match="0"):
        doctor.main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "usage: python -m tinynet.doctor" in said
    assert "TINYNET_BACKEND selects numpy" in said


@pytest.mark.cupy
@pytest.mark.parametrize("number", [*diagnosis.CUDA])
def test_the_errors_of_cupy_are_found_in_the_table_by_their_number(number):
    missing = "CuPy is not installed: python -m pip install cupy-cuda12x (no GPU needed)"
    runtime = pytest.importorskip("cupy.cuda.runtime", reason=missing)
    error = runtime.CUDARuntimeError(number)
    found = diagnosis.explain(error, "otherwise")
    assert found.reason == f"{diagnosis.CUDA[number][0]} ({error})"
    assert "{" not in found.fix


def test_no_error_in_the_doctor_itself_prints_a_traceback(monkeypatch, capsys):
    monkeypatch.setattr(gpu, "load_cupy", lambda device: {}["surprise"])
    assert doctor.main() == 0  # an unexpected error does not change the exit code
    assert "GPU: not usable: " in capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "tinynet.backend", None)  # as if NumPy was missing
    monkeypatch.delattr("tinynet.backend")
    assert doctor.main() == 1
    assert "Fix: python -m pip install --force-reinstall numpy" in capsys.readouterr().out
    monkeypatch.setattr(doctor, "examine", lambda: 1 / 0)
    assert doctor.main() == 1
    assert "ZeroDivisionError" in capsys.readouterr().out
    full = types.SimpleNamespace(write=mock.Mock(side_effect=OSError("No space left on device")))
    monkeypatch.setattr(sys, "stdout", full)
    assert doctor.main() == 1


def test_characters_that_the_console_cannot_encode_are_escaped(monkeypatch):
    written = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", written)
    monkeypatch.setattr(doctor, "examine", lambda: (0, "Gerät nicht verfügbar 🙂"))
    assert doctor.main() == 0
    assert b"Ger\\xe4t nicht verf\\xfcgbar" in written.buffer.getvalue()


LONG = [pytest.param(wish, marks=pytest.mark.long) for wish in ("", "  ", "CUPY")]


@pytest.mark.parametrize("wish", [None, "two\n🙂", *LONG])
def test_no_value_of_the_environment_variable_causes_a_traceback(monkeypatch, wish):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    monkeypatch.delenv("TINYNET_BACKEND", raising=False)
    if wish is not None:
        monkeypatch.setenv("TINYNET_BACKEND", wish)
    command = [sys.executable, "-W", "error", "-m", "tinynet.doctor"]
    run = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert run.stderr == ""
    works = wish in (None, "", "  ")
    assert run.returncode == (0 if works else 1)
    assert run.stdout.startswith("Backend: ")
    if not works:
        assert len(run.stdout.splitlines()) == 2
        assert "Fix: set TINYNET_BACKEND to one of numpy, cupy, auto, or unset it" in run.stdout
