"""`python -m tinynet.doctor` tells apart what can be missing, in one line each, and never raises.

No machine of ours has these faults; the stand-in for CuPy plays them.
"""

import os
import subprocess
import sys

import pytest
import standin

from tinynet import backend, doctor, gpu

WHEEL = ["cupy-cuda12x"]


@pytest.fixture(autouse=True)
def _forget():
    yield
    gpu.library.cache_clear()


def play(monkeypatch, cupy, wheels=WHEEL):
    """Put `cupy` (a module, or None for none) in CuPy's place, with these wheels installed."""
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(gpu, "wheels", lambda: wheels)
    monkeypatch.setattr(backend, "_place", None)
    gpu.library.cache_clear()


def broken(how):
    cupy = standin.make()
    cupy.machine.broken = how
    return cupy


CASES = {
    "not installed": (
        lambda: (None, []),
        "CuPy is not installed",
        'python -m pip install "cupy-cuda12x[ctk]"',
    ),
    "two wheels": (
        lambda: (standin.make(), ["cupy-cuda12x", "cupy-cuda13x"]),
        "there are 2 CuPy packages, cupy-cuda12x and cupy-cuda13x",
        "python -m pip uninstall -y cupy-cuda12x cupy-cuda13x && python -m pip install",
    ),
    "no driver": (
        lambda: (standin.make(driver=0), WHEEL),
        "there is no NVIDIA driver",
        "https://www.nvidia.com/drivers",
    ),
    "an old driver": (
        lambda: (standin.make(driver=11040), WHEEL),
        "the driver speaks CUDA 11.4 and is too old for this CuPy, which was built for CUDA 12",
        "Update the driver, to 525 or newer",
    ),
    "an old driver for the newest wheel": (
        lambda: (standin.make(driver=12040, runtime=13000), ["cupy-cuda13x"]),
        "the driver speaks CUDA 12.4 and is too old for this CuPy, which was built for CUDA 13",
        'to 580 or newer, or install the CuPy for CUDA 12: python -m pip install "cupy-cuda12x',
    ),
    "no device": (
        lambda: (standin.make(devices=0), WHEEL),
        "there is a driver, but no GPU",
        "nvidia-smi",
    ),
    "no kernel": (
        lambda: (broken("kernel"), WHEEL),
        "a small kernel does not compile or run (nvrtc: error: failed to load builtins)",
        'Install CuPy together with its compiler and headers: python -m pip install "cupy-cuda12x',
    ),
    "no product": (
        lambda: (broken("product"), WHEEL),
        "a small matrix product fails (CUBLAS_STATUS_NOT_INITIALIZED)",
        'Install CuPy together with its libraries: python -m pip install "cupy-cuda12x[ctk]"',
    ),
    "a GPU too old for the newest wheel": (
        lambda: (standin.make(driver=13000, runtime=13000, capability="7.0"), ["cupy-cuda13x"]),
        "the Stand-in 0, of compute capability 7.0, is too old for CUDA 13",
        'Install the CuPy for CUDA 12: python -m pip install "cupy-cuda12x[ctk]"',
    ),
    "a full GPU": (
        lambda: (standin.make(memory=40), WHEEL),
        "the GPU's memory is full (Out of memory allocating 48 bytes)",
        "See who has it: nvidia-smi",
    ),
    "a GPU in use": (
        lambda: (broken("busy"), WHEEL),
        "the GPU does not answer (cudaErrorDevicesUnavailable",
        "Ask it yourself, with: nvidia-smi",
    ),
    "a GPU that is not to be entered": (
        lambda: (broken("entrance"), WHEEL),
        "the GPU does not answer (cudaErrorUnknown: unknown error)",
        "Ask it yourself, with: nvidia-smi",
    ),
    "a wrong product": (
        lambda: (broken("arithmetic"), WHEEL),
        "a small matrix product comes out wrong",
        "Update driver and CuPy",
    ),
}


# Where there is a GPU, whatever else is wrong with it.
SEEN = {case for case in CASES if "GPU" in case or "product" in case} | {"no kernel"}


@pytest.mark.parametrize("case", CASES)
def test_each_fault_is_told_apart_with_one_line_of_fix(monkeypatch, capsys, case):
    make, reason, fix = CASES[case]
    play(monkeypatch, *make())
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
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
def test_use_raises_the_reason_and_the_fix_and_changes_nothing(monkeypatch, case):
    make, reason, fix = CASES[case]
    play(monkeypatch, *make())
    backend.use("numpy")
    with pytest.raises(RuntimeError, match="The backend 'cupy' cannot run") as error:
        backend.use("cupy")
    assert reason in str(error.value)
    assert fix in str(error.value)
    assert "TINYNET_BACKEND=numpy" in str(error.value)
    assert backend.backend() == "numpy"
    assert bool(backend.devices()) is (case in SEEN)


def test_all_well(monkeypatch, capsys):
    play(monkeypatch, standin.make(devices=2, memory=24 * 2**30))
    monkeypatch.setenv("TINYNET_BACKEND", "auto")
    assert doctor.main() == 0
    assert capsys.readouterr().out.splitlines()[0::2] == [
        "Backend: cupy. TINYNET_BACKEND is 'auto': there is a GPU, and it works.",
        "GPU 0: Stand-in 0, 24 GiB, compute capability 8.6",
        "CuPy 14.0.0 for CUDA 12.9, driver for CUDA 12.9",
    ]


def test_a_hidden_gpu_is_looked_for(monkeypatch, capsys):
    play(monkeypatch, standin.make(devices=0))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert doctor.main() == 0
    said = capsys.readouterr().out
    assert "CUDA_VISIBLE_DEVICES='-1' may hide it" in said
    assert "Fix: Unset CUDA_VISIBLE_DEVICES" in said


def test_a_cupy_that_cannot_be_imported_is_named(monkeypatch, capsys, tmp_path):
    (tmp_path / "cupy.py").write_text("raise ImportError('libnvrtc.so.12: cannot open')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(gpu, "wheels", lambda: WHEEL)
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    gpu.library.cache_clear()
    assert doctor.main() == 0
    said = capsys.readouterr().out
    assert "CuPy is installed but cannot be imported (libnvrtc.so.12: cannot open)" in said
    assert "Fix: Install it anew" in said


def test_on_a_mac_there_is_nothing_to_install(monkeypatch, capsys):
    play(monkeypatch, None, [])
    monkeypatch.setattr(sys, "platform", "darwin")
    assert doctor.main() == 0
    assert "there is no CuPy for macOS" in capsys.readouterr().out


def test_a_fault_of_the_doctor_s_own_is_no_traceback(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "examine", lambda: 1 / 0)
    assert doctor.main() == 1
    assert "ZeroDivisionError" in capsys.readouterr().out


def test_without_numpy_it_says_so_and_with_nowhere_to_say_it_it_is_quiet(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tinynet.backend", None)
    monkeypatch.delattr("tinynet.backend")
    assert doctor.main() == 1
    assert "Fix: python -m pip install --force-reinstall numpy" in capsys.readouterr().out

    class Full:
        def write(self, text):
            raise OSError("No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    assert doctor.main() == 1


def test_what_goes_wrong_with_the_gpu_does_not_change_the_code(monkeypatch, capsys):
    def fails(device):
        raise KeyError("surprise")

    monkeypatch.setattr(gpu, "library", fails)
    assert doctor.main() == 0
    assert "GPU: none that works: " in capsys.readouterr().out


@pytest.mark.parametrize(
    "wish", [None, "", "numpy", "auto", "cupy", "CUPY", "torch", "  ", "🙂", "two\nlines"]
)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_whatever_the_variable_says_there_is_no_traceback(wish, encoding):
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
