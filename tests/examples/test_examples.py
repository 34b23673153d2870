"""The programs in `examples/`, run as by a user, in a new process without a display."""

import os
import pathlib
import re
import runpy
import subprocess
import sys
import time

import numpy as np
import pytest
import standin
from networks import ONE_HOT, network

import tinynet

# Keras 3.15 converts its variables in a deprecated way.
KERAS_WARNING = "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "examples" / "mnist.py"


def run(*arguments, cwd, example=EXAMPLE, **environment):
    return subprocess.run(
        [sys.executable, "-W", "error", "-W", KERAS_WARNING, example, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "MPLBACKEND": "Agg", "PYTHONIOENCODING": "utf-8", **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def test_digits_end_to_end(tmp_path):
    result = run("--data", "digits", "--epochs", 2, "--out", "pictures", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert "\x1b" not in result.stdout
    assert "\b" not in result.stdout
    assert result.stdout.count("\r") == 0
    assert "Epoch 2/2" in result.stdout
    pictures = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert pictures == [
        "digits.html",
        "digits.png",
        "history.png",
        "network.png",
        "predictions.png",
    ]
    assert all(path.stat().st_size > 10_000 for path in (tmp_path / "pictures").iterdir())


def test_without_mnist_and_network_the_digits_are_used(tmp_path):
    # A proxy address where nothing listens makes every host unreachable.
    closed = "http://127.0.0.1:9"
    start = time.monotonic()
    result = run(
        "--epochs", 1, cwd=tmp_path,
        TFDS_DATA_DIR=str(tmp_path / "none"), KERAS_HOME=str(tmp_path / "none"),
        http_proxy=closed, https_proxy=closed, HTTP_PROXY=closed, HTTPS_PROXY=closed,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "using 1,797 digits" in result.stdout
    assert result.stdout.startswith("MNIST was not found")
    assert time.monotonic() - start < 120  # TFDS alone would have tried for 200 s


def test_data_mnist_without_network_reports_why_it_fails(tmp_path):
    closed = "http://127.0.0.1:9"
    result = run(
        "--data", "mnist", cwd=tmp_path,
        TFDS_DATA_DIR=str(tmp_path / "none"), KERAS_HOME=str(tmp_path / "none"),
        http_proxy=closed, https_proxy=closed, HTTP_PROXY=closed, HTTPS_PROXY=closed,
    )  # fmt: skip
    assert result.returncode == 1
    assert "MNIST is not available" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_missing_gpu_is_reported_in_one_line_before_anything_else(tmp_path):
    hidden = {"CUDA_VISIBLE_DEVICES": "-1"}  # hides a GPU if there is one
    for result in (
        run("--backend", "cupy", cwd=tmp_path, **hidden),
        run(cwd=tmp_path, TINYNET_BACKEND="cupy", **hidden),
    ):
        assert result.returncode == 1
        assert result.stdout == ""
        assert result.stderr.startswith("The backend 'cupy' cannot run: ")
        assert result.stderr.count("\n") == 1
    result = run(cwd=tmp_path, TINYNET_BACKEND="torch")
    assert result.stderr.startswith("Expected the name of a backend")


def test_the_backend_can_be_chosen(tmp_path):
    for name, word in (("numpy", ""), ("auto", "tinynet computes with ")):
        result = run("--data", "digits", "--epochs", 1, "--backend", name, cwd=tmp_path)
        assert result.returncode == 0
        assert result.stderr.startswith(word)


def test_the_example_runs_on_the_stand_in(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["mnist.py", "--data", "digits", "--epochs", "2", "--backend", "cupy"]
    monkeypatch.setattr(sys, "argv", arguments)
    with standin.installed(standin.make()) as cupy:
        runpy.run_path(str(EXAMPLE), run_name="__main__")
        assert cupy.counts.launches["matmul"] > 2 * 8 * 40
    assert "Accuracy: " in capsys.readouterr().out
    assert len(list((tmp_path / "mnist-pictures").iterdir())) == 5


@pytest.mark.parametrize("option", ["--epochs", "--batch-size"])
def test_bad_arguments_are_refused(tmp_path, option):
    result = run("--data", "digits", option, "x", cwd=tmp_path)
    assert result.returncode == 2
    assert "invalid int value" in result.stderr
    result = run("--data", "digits", option, 0, cwd=tmp_path)
    assert result.returncode == 2
    assert "at least 1" in result.stderr


# By hand

BY_HAND = EXAMPLE.parent / "by_hand.py"


def test_by_hand_prints_the_formulas_and_learns_xor(tmp_path):
    result = run("--steps", 100, cwd=tmp_path, example=BY_HAND)
    assert result.returncode == 0, result.stderr
    text = result.stdout
    for part in ("z = x W + b", "a = tanh z", "δ = ∂L/∂a · a (1 − a)", "sample 4: (", "m̂ = m / "):
        assert part in text
    assert "it has learned XOR" in text
    # The traced updates of two weights equal the real ones.
    worked = [float(n) for n in re.findall(r"w ← w \+ Δw = (\S+)", text)]
    made = [float(n) for n in re.findall(r"-?\d+\.\d+", text.split("After the step")[1])[:2]]
    assert made == pytest.approx(worked, abs=1e-6)
    assert max(map(len, text.splitlines())) <= 110


@pytest.mark.keras
def test_by_hand_equals_keras(tmp_path, keras):
    result = run(cwd=tmp_path, example=BY_HAND, KERAS_BACKEND=keras.backend.backend())
    largest = re.search(r"any weight after 100 steps: (\S+)", result.stdout)
    assert float(largest[1]) < 1e-5


def test_by_hand_reports_that_it_did_not_learn_xor(tmp_path):
    result = run("--seed", 1, cwd=tmp_path, example=BY_HAND)
    assert "it has not learned XOR" in result.stdout
    assert run("--steps", 0, cwd=tmp_path, example=BY_HAND).returncode == 2


# See inside

SEE_INSIDE = EXAMPLE.parent / "see_inside.py"


def test_see_inside_writes_one_page_of_pictures_with_captions(tmp_path):
    result = run("--data", "digits", "--epochs", 2, cwd=tmp_path, example=SEE_INSIDE)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    folder = tmp_path / "see-inside"
    page = (folder / "index.html").read_text("utf-8")
    shown = re.findall(r'<img src="(\w+)\.png"', page)
    assert len(shown) == 10
    assert sorted(path.stem for path in folder.glob("*.png")) == sorted(shown)
    assert all((folder / f"{name}.png").stat().st_size > 10_000 for name in shown)
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page, flags=re.DOTALL)
    assert all(len(re.findall(r"[.](?: |$)", caption)) == 2 for caption in captions)
    assert "Trained on 1,500 images for 2 epochs" in page
    assert run("--epochs", 0, cwd=tmp_path, example=SEE_INSIDE).returncode == 2


# Extending

EXTENDING = EXAMPLE.parent / "extending.py"


@pytest.mark.keras
def test_the_user_defined_parts_in_extending_equal_keras(tmp_path, keras):
    result = run(cwd=tmp_path, example=EXTENDING, KERAS_BACKEND=keras.backend.backend())
    assert result.returncode == 0, result.stderr
    text = result.stdout
    assert "All gradients are right" in text
    assert "WRONG" not in text
    apart = [float(n) for n in re.findall(r"(?:by|at most) (\S+e[-+]\d+)", text)]
    assert len(apart) == 4  # activation, Huber, weights, predictions
    assert max(apart) < 3e-6
    assert "leaky ReLU: differs by 0.0e+00" in text
    right, top_three = (float(n) for n in re.findall(r"([\d.]+)%", text))
    assert 88 < right < top_three < 100


def test_the_classes_in_extending_are_short():
    source = EXTENDING.read_text("utf-8")
    classes = re.findall(r"^class \w+\(tinynet.*?(?=^\n^\S|^# \d)", source, re.M | re.S)
    assert len(classes) == 5
    for one in classes:
        code = re.sub(r'""".*?"""', "", one, flags=re.DOTALL)
        assert len([line for line in code.splitlines() if line.strip()]) <= 28


# Experiments

EXPERIMENTS = EXAMPLE.parent / "experiments.py"


def test_experiments_write_a_table_and_a_picture_and_can_be_resumed(tmp_path):
    some = ("--data", "digits", "--epochs", 2, "--seeds", 2, "--only", "tutorial", "relu", "best")
    result = run(*some, "--images", 200, cwd=tmp_path, example=EXPERIMENTS)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    folder = tmp_path / "experiments"
    table = (folder / "table.md").read_text("utf-8")
    assert table in result.stdout
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert [row.split(" | ")[0] for row in rows] == ["| tutorial", "| relu", "| best"]
    assert re.match(r"\| relu \| 22,494 \| 2 \| [\d.]+ % \| [\d.]+–[\d.]+ % \|", rows[1])
    assert (folder / "curves.png").stat().st_size > 20_000
    kept = (folder / "results.json").read_text("utf-8")
    again = run(*some, "--images", 200, cwd=tmp_path, example=EXPERIMENTS)
    assert (folder / "results.json").read_text("utf-8") == kept  # nothing was trained again
    assert table in again.stdout
    more = run(*some[:-3], "relu", "--images", 100, cwd=tmp_path, example=EXPERIMENTS)
    assert "of 100 images of 64 pixels" in more.stdout
    assert (folder / "results.json").read_text("utf-8") != kept
    assert run("--epochs", 0, cwd=tmp_path, example=EXPERIMENTS).returncode == 2


def test_scale_out_has_the_same_losses_on_four_devices_as_on_one(tmp_path, keras):
    arguments = ("--data", "digits", "--steps", 12, "--batch-size", 34)
    example = EXAMPLE.with_name("scale_out.py")
    result = run(*arguments, cwd=tmp_path, example=example, XLA_FLAGS="")
    assert result.returncode == 0, result.stderr
    assert "each device sees 8 of 32 images" in result.stdout
    rows = re.findall(r"^ +\d+ +([\d.]+) +([\d.]+) +([\d.]+)$", result.stdout, re.MULTILINE)
    assert len(rows) >= 7
    for row in rows:
        first, *others = map(float, row)
        assert max(abs(other - first) for other in others) < 5e-6
    apart = re.findall(r": (\S+) in the loss, (\S+) in the weights", result.stdout)
    assert len(apart) == 2
    assert all(float(number) < 5e-6 for pair in apart for number in pair)
    # A saved model can be given instead of one trained by the program.
    assert not list(tmp_path.iterdir())
    flat = tinynet.layers.Flatten()
    model = network(flat, (10, "softmax"), inputs=(8, 8), loss=ONE_HOT, optimizer="sgd")
    model.save(tmp_path / "mine.keras")
    result = run(*arguments, "--model", "mine.keras", cwd=tmp_path, example=example)
    assert result.returncode == 0, result.stderr
    assert "4 devices: " in result.stdout


def test_scale_out_without_keras_reports_what_to_install(tmp_path):
    blocked = tmp_path / "keras.py"
    blocked.write_text("raise ImportError('not here')")
    example = EXAMPLE.with_name("scale_out.py")
    result = run(cwd=tmp_path, example=example, PYTHONPATH=str(tmp_path))
    assert result.returncode == 1
    assert "python -m pip install keras jax" in result.stderr


def test_draw_digit_writes_a_page_and_classifies_an_image(tmp_path):
    from PIL import Image

    example = EXAMPLE.with_name("draw_digit.py")
    picture = np.full((80, 60), 230, "uint8")
    picture[10:70, 28:34] = 20  # a one, dark on bright
    Image.fromarray(picture).save(tmp_path / "one.png")
    arguments = ("--data", "digits", "--no-browser", "--image", "one.png")
    result = run(*arguments, "--epochs", 40, "--out", "p/d.html", cwd=tmp_path, example=example)
    assert result.returncode == 0, result.stderr
    assert re.search(r"The page is p.d\.html, \d+ kB\.", result.stdout)
    assert re.search(r"one\.png: a 1, with \d", result.stdout)
    assert (tmp_path / "p" / "d.html").read_text("utf-8").startswith("<!doctype html>")
    # A saved model, and a file that does not exist.
    model = network(tinynet.layers.Flatten(), (10, "softmax"), inputs=(8, 8))
    model.save(tmp_path / "m.keras")
    result = run(*arguments, "--model", "m.keras", cwd=tmp_path, example=example)
    assert result.returncode == 0, result.stderr
    assert "Epoch" not in result.stdout
    result = run(*arguments, "--model", "none.keras", cwd=tmp_path, example=example)
    assert result.returncode == 1
    assert "File not found" in result.stderr
