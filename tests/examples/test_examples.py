"""The programs in `examples/`: what they print, and the files that they write.

They share this process, because importing takes longer than what they do here; run as by a user,
each in a new process without a display and without an internet connection, they are marked `long`.
"""

import os
import re
import runpy
import subprocess
import sys
import time
from unittest import mock

import matplotlib.pyplot as plt
import numpy as np
import pytest
import standin
from conftest import ROOT
from networks import ONE_HOT, network

import tinynet

# Keras 3.15 converts its variables in a deprecated way.
KERAS_WARNING = "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
EXAMPLES = ROOT / "examples"
# A proxy address where nothing listens makes every host unreachable.
CLOSED = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://[::1]:9")
OFFLINE = {**CLOSED, "TFDS_DATA_DIR": "none", "KERAS_HOME": "none"}


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """A function that runs an example here, without MNIST; it returns what is printed, and errors.

    The example has to end with this exit code.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLES)
    refuse = mock.Mock(side_effect=ConnectionError("nobody answers"))
    monkeypatch.setattr(tinynet.datasets.mnist, "load_data", refuse)

    def run(example, *arguments, code=0, **variables):
        ended, words = 0, ""
        monkeypatch.setattr(sys, "argv", [f"{example}.py", *map(str, arguments)])
        with mock.patch.dict(os.environ, variables):
            try:
                runpy.run_path(str(EXAMPLES / f"{example}.py"), run_name="__main__")
            except SystemExit as end:  # a text is printed, and the exit code is 1
                ended, words = (1, f"{end.code}\n") if isinstance(end.code, str) else (end.code, "")
        plt.close("all")
        said = capsys.readouterr()
        assert ended == code, said.err + words
        return said.out, said.err + words

    return run


def process(example, *arguments, cwd, **variables):
    """Do the same in a new process."""
    command = [sys.executable, "-W", "error", "-W", KERAS_WARNING, EXAMPLES / f"{example}.py"]
    environment = {**os.environ, "MPLBACKEND": "Agg", "PYTHONIOENCODING": "utf-8", **variables}
    command, pipes = [*command, *map(str, arguments)], {"capture_output": True, "encoding": "utf-8"}
    done = subprocess.run(command, cwd=cwd, env=environment, **pipes)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.mark.parametrize(
    ("example", "arguments"),
    [
        ("experiments", ["--help"]),
        ("mnist", ["--help"]),
        pytest.param("by_hand", ["--steps", 3], marks=pytest.mark.long),
    ],
)
def test_an_example_prints_to_a_console_without_unicode(example, arguments, tmp_path):
    text, errors = process(example, *arguments, cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert len(text) > 100
    assert errors == ""


@pytest.mark.parametrize(("name", "devices"), [("numpy", 0), ("auto", 0), ("cupy", 1)])
def test_mnist_trains_on_the_digits_and_writes_pictures_and_a_page(run, tmp_path, name, devices):
    out = ["--out", "mine"] if name == "numpy" else []
    with standin.installed(standin.make(devices)) as cupy:
        text, errors = run("mnist", "--epochs", 2, "--backend", name, *out)
    assert errors.startswith("tinynet computes with " if name == "auto" else "")
    assert errors.count("\n") == (name == "auto")
    assert text.startswith("nobody answers")  # why MNIST cannot be loaded
    assert not [part for part in ("1,797 images", "Epoch 2/2", "Accuracy: ") if part not in text]
    assert not set("\x1b\b\r") & set(text)
    assert (cupy.counts.launches["graph"] > 2 * 40) is (name == "cupy")
    files = sorted((tmp_path / ("mine" if out else "mnist-pictures")).iterdir())
    pictures = ["digits.png", "history.png", "network.png", "predictions.png"]
    assert [path.name for path in files] == ["digits.html", *pictures]
    assert all(path.stat().st_size > 10_000 for path in files)


CANNOT_RUN = {
    "mnist --epochs 0": "at least 1",
    "mnist --batch-size 0": "at least 1",
    "mnist --backend cupy": "The backend 'cupy' cannot run: ",
    "mnist TINYNET_BACKEND=torch": "Expected the name of a backend",
    "mnist --data mnist": "nobody answers",
    "by_hand --steps 0": "at least 1",
    "see_inside --epochs 0": "at least 1",
    "experiments --epochs 0": "at least 1",
    "draw_digit --no-browser --model none.keras": "File not found",
    "scale_out": "python -m pip install keras jax",
}


@pytest.mark.parametrize("command", CANNOT_RUN)
def test_what_cannot_run_is_reported_in_one_line_before_anything_else(run, monkeypatch, command):
    monkeypatch.setitem(sys.modules, "keras", None)  # as if it was not installed
    example, *words = command.split()
    variables = dict(word.split("=") for word in words if "=" in word)
    options, said = [word for word in words if "=" not in word], CANNOT_RUN[command]
    code = 2 if said == "at least 1" else 1  # with 2, the usage comes first
    with standin.installed(standin.make(devices=0)):
        text, errors = run(example, *options, code=code, **variables)
    assert said in errors.splitlines()[-1]
    assert errors.count("\n") == 1 or code == 2
    assert text == "" or example == "draw_digit"


def test_by_hand_learns_xor_and_equals_keras(tmp_path, keras):
    # In a new process, where JAX can still be told to compute in float64.
    text, _ = process("by_hand", cwd=tmp_path, KERAS_BACKEND=keras.backend.backend())
    assert "it has learned XOR" in text
    # The traced updates of two weights equal the real ones.
    worked = [float(n) for n in re.findall(r"w ← w \+ Δw .*?(\S+)$", text, re.MULTILINE)]
    made = [float(n) for n in re.findall(r"-?\d+\.\d+", text.split("After the step")[1])[:2]]
    assert made == pytest.approx(worked, abs=1e-6)
    assert max(map(len, text.splitlines())) <= 110
    assert float(re.search(r"any weight after 100 steps: (\S+)", text)[1]) < 1e-5


def test_by_hand_without_keras_reports_that_it_did_not_learn_xor(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", None)
    text, _ = run("by_hand", "--seed", 1)
    assert "it has not learned XOR" in text
    assert "is not installed" in text


def test_see_inside_writes_one_page_of_pictures_with_captions(run, tmp_path):
    _, errors = run("see_inside", "--epochs", 2)
    assert errors == ""
    folder = tmp_path / "see-inside"
    page = (folder / "index.html").read_text("utf-8")
    shown = re.findall(r'<img src="(\w+)\.png"', page)
    assert len(shown) == 10
    assert sorted(path.stem for path in folder.glob("*.png")) == sorted(shown)
    assert all((folder / f"{name}.png").stat().st_size > 10_000 for name in shown)
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page, flags=re.DOTALL)
    assert all(len(re.findall(r"[.](?: |$)", caption)) == 2 for caption in captions)
    assert "Trained on 1,500 images for 2 epochs" in page


def test_the_user_defined_parts_in_extending_equal_keras(run, keras):
    text, _ = run("extending")
    assert "All gradients are right" in text
    assert "WRONG" not in text
    apart = [float(n) for n in re.findall(r"(?:by|at most) (\S+e[-+]\d+)", text)]
    assert len(apart) == 4  # activation, Huber, weights, predictions
    assert max(apart) < 3e-6
    assert "leaky ReLU: differs by 0.0e+00" in text
    right, top_three = (float(n) for n in re.findall(r"([\d.]+)%", text))
    assert 88 < right < top_three < 100


def test_the_classes_in_extending_are_short():
    source = (EXAMPLES / "extending.py").read_text("utf-8")
    classes = re.findall(r"^class \w+\(tinynet.*?(?=^\n^\S|^# \d)", source, re.M | re.S)
    code = [re.sub(r'""".*?"""', "", one, flags=re.DOTALL).splitlines() for one in classes]
    lengths = [sum(bool(line.strip()) for line in lines) for lines in code]
    assert len(lengths) == 5
    assert max(lengths) <= 28


def test_experiments_write_a_table_and_a_picture_and_can_be_resumed(run, tmp_path):
    folder = tmp_path / "experiments"
    some = ("experiments", "--epochs", 1, "--seeds", 2, "--images", 200, "--only")
    text, errors = run(*some, "tutorial", "relu", "best")
    assert errors == ""
    table = (folder / "table.md").read_text("utf-8")
    assert table in text
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert [row.split(" | ")[0] for row in rows] == ["| tutorial", "| relu", "| best"]
    assert re.match(r"\| relu \| 22,494 \| 1 \| [\d.]+ % \| [\d.]+–[\d.]+ % \|", rows[1])
    assert (folder / "curves.png").stat().st_size > 20_000
    kept = (folder / "results.json").read_text("utf-8")
    assert table in run(*some, "tutorial", "relu", "best")[0]
    assert (folder / "results.json").read_text("utf-8") == kept  # nothing was trained again
    assert "of 100 images of 64 pixels" in run(*some, "relu", "--images", 100)[0]
    assert (folder / "results.json").read_text("utf-8") != kept


@pytest.mark.parametrize("devices", [1, pytest.param(4, marks=pytest.mark.long)])
def test_scale_out_has_the_same_losses_on_all_devices_as_on_one(run, tmp_path, keras, devices):
    def scale_out(*more):
        given = "scale_out", "--steps", 12, "--batch-size", 34, "--devices", devices, *more
        if devices == 1:  # more have to be simulated before JAX is imported
            return run(*given)
        return process(*given, cwd=tmp_path, XLA_FLAGS="", **OFFLINE)

    text, _ = scale_out()
    assert f"each device sees {34 // devices} of {34 // devices * devices} images" in text
    rows = re.findall(r"^ +\d+ +([\d.]+) +([\d.]+) +([\d.]+)$", text, re.MULTILINE)
    losses = np.array(rows, float)
    assert len(losses) >= 7
    assert abs(losses - losses[:, :1]).max() < 5e-6
    apart = re.findall(r": (\S+) in the loss, (\S+) in the weights", text)
    assert len(apart) == 2
    assert all(float(number) < 5e-6 for pair in apart for number in pair)
    assert not [*tmp_path.glob("*.keras")]
    if devices == 4:  # a saved model can be given instead of one trained by the program
        stack = tinynet.layers.Flatten(), (10, "softmax")
        model = network(*stack, inputs=(8, 8), loss=ONE_HOT, optimizer="sgd")
        model.save(tmp_path / "mine.keras")
        text, _ = scale_out("--model", "mine.keras")
        assert "4 devices: " in text
        assert "step - acc" not in text


def test_draw_digit_writes_a_page_and_classifies_an_image(run, tmp_path):
    from PIL import Image

    picture = np.full((80, 60), 230, "uint8")
    picture[10:70, 28:34] = 20  # a one, dark on bright
    Image.fromarray(picture).save(tmp_path / "one.png")
    arguments = ("draw_digit", "--no-browser", "--image", "one.png")
    text, _ = run(*arguments, "--epochs", 40, "--out", "p/d.html")
    assert re.search(r"The page is p.d\.html, \d+ kB\.", text)
    assert re.search(r"one\.png: a 1, with \d", text)
    assert (tmp_path / "p" / "d.html").read_text("utf-8").startswith("<!doctype html>")
    network(tinynet.layers.Flatten(), (10, "softmax"), inputs=(8, 8)).save(tmp_path / "m.keras")
    assert "Epoch" not in run(*arguments, "--model", "m.keras")[0]


@pytest.mark.long
@pytest.mark.parametrize("example", sorted({path.stem for path in EXAMPLES.glob("*.py")}))
def test_the_examples_run_as_programs_without_an_internet_connection(tmp_path, example):
    options = {
        "mnist": "--epochs 1", "see_inside": "--epochs 1", "draw_digit": "--epochs 1 --no-browser",
        "experiments": "--epochs 1 --seeds 1 --only relu", "scale_out": "--steps 2",
    }  # fmt: skip
    start = time.monotonic()
    _, errors = process(example, *options.get(example, "").split(), cwd=tmp_path, **OFFLINE)
    notice = "Downloading MNIST (12 MB, only once) to "
    assert not [line for line in errors.splitlines() if not line.startswith(notice)]
    assert time.monotonic() - start < 120  # TFDS alone would have tried for 200 s
