"""The benchmarks run, compare equal computations, and report those that are not equal."""

import json
import os
import subprocess
import sys
from unittest import mock

import matplotlib.pyplot as plt
import numpy as np
import pytest
import standin
from conftest import ROOT
from networks import SPARSE, network, random_weights

import tinynet
from tinynet.backend.replay import Replay

BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture(autouse=True)
def _import_from_benchmarks(monkeypatch):
    """Make the benchmarks importable, and assert that no figure stays open after a test."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = plt.get_fignums()
    yield
    assert plt.get_fignums() == before


def run(script, *arguments, **environment):
    """Return what a benchmark prints when it is run as a program."""
    command = [sys.executable, str(BENCHMARKS / script), *map(str, arguments)]
    given = {"env": {**os.environ, **environment}, "encoding": "utf-8", "check": True}
    return subprocess.run(command, stdout=subprocess.PIPE, **given).stdout


def is_picture(path):
    return path.read_bytes().startswith(b"\x89PNG")


# All libraries

PEERS = ("tinynet", "tinynet-numpy", "keras-jax", "jax", "keras-torch", "pytorch", "scikit-learn")


@pytest.mark.keras
@pytest.mark.long
def test_the_programs_of_all_peers_train_the_same(tmp_path):
    text = run(
        "peers.py", "--synthetic", "--rounds", 1, "--batch-size", 1024, "--epochs-only",
        "--json", tmp_path / "p.json", "--plot", tmp_path / "p.png", "--only", "products", *PEERS,
        "--load", 1,
    )  # fmt: skip
    assert "beside 1 busy loop" in text
    assert is_picture(tmp_path / "p.png")
    figures = json.loads((tmp_path / "p.json").read_text("utf-8"))["epochs"]["1024"]
    assert all(one["seconds"][0] > 0 for one in figures.values())
    products = figures.pop("products")
    assert products["loss"] is None
    assert products["threads"] >= 1
    losses = [one["loss"] for one in figures.values()]
    assert len(losses) >= 3
    assert losses == pytest.approx([losses[0]] * len(losses), rel=5e-3)
    assert 0 < losses[0] < 2
    assert all(f"| {name} " in text for name in ("tinynet", "the matrix products alone"))
    for name in ("Keras on PyTorch", "PyTorch, eager", "scikit-learn"):
        assert f"| {name} " in text or f"Skipped: {name} (" in text


@pytest.mark.long
def test_whole_programs_and_imports_are_measured(tmp_path):
    import peers

    peers.write_data(tmp_path, synthetic=True)
    whole = peers.compare_processes(["tinynet"], tmp_path, batch_size=1024, rounds=1)
    calls = ("evaluate, first", "evaluate, again", "predict, first", "predict, again")
    counts = {job: len(seconds) for job, seconds in whole["tinynet"].items()}
    assert counts == dict.fromkeys(("process", *calls), 1)
    assert whole["tinynet"]["process"] > whole["tinynet"]["evaluate, first"]
    compared = {**whole, "keras-jax": whole["tinynet"]}
    assert "| `predict`, called again" in peers.processes_table(compared)
    imports = peers.compare_imports(rounds=1)
    assert set(imports) == {"numpy", "tinynet", "tinynet.models"}
    assert {len(seconds) for seconds in imports.values()} == {2}
    assert "| `import tinynet` " in peers.imports_table(imports)


@pytest.mark.parametrize("other", [1.021, 0.979, float("nan")])
def test_a_program_with_another_loss_is_refused(other):
    from peers import check_same

    check_same({"tinynet": 1.0, "jax": 1.019, "pytorch": 1.0})
    with pytest.raises(SystemExit, match="JAX, whole epoch compiled trains something else"):
        check_same({"tinynet": 1.0, "jax": other, "pytorch": 1.0})


def test_the_compared_loss_is_computed_from_the_weights(tmp_path, rng):
    from peers import loss_of

    x, y = rng.integers(256, size=(7, 28, 28)), rng.integers(10, size=7)
    np.savez(tmp_path / "data.npz", x_train=x, y_train=y)
    weights = random_weights(rng, 784, 3, 10)
    np.savez(tmp_path / "mine.npz", *weights)

    tinynet.config.set_floatx("float64")
    stack = (3, "sigmoid"), (10, "softmax")
    model = network(*stack, inputs=(784,), weights=weights, loss=SPARSE, optimizer="sgd")
    expected = model.evaluate(x.reshape(7, 784) / 255, y, verbose=0)
    assert loss_of("mine", tmp_path) == pytest.approx(expected, rel=1e-12)


def test_peers_compares_on_the_cpu(monkeypatch):
    import peers

    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    found = peers.environment("keras-jax")
    assert (found["JAX_PLATFORMS"], found["CUDA_VISIBLE_DEVICES"]) == ("cpu", "-1")
    assert not {"tinynet-cupy", "pytorch-graph"} & set(peers.CPU)


def test_busy_loops_are_busy_until_the_block_ends():
    import peers

    started, popen = [], subprocess.Popen

    def start(*arguments, **options):
        started.append(popen(*arguments, **options))
        return started[-1]

    with mock.patch.object(peers.subprocess, "Popen", start), peers.busy_loops(2):
        assert len(started) == 2
        assert [process.poll() for process in started] == [None, None]
    assert None not in [process.poll() for process in started]


def test_numba_is_switched_off_for_one_row_only():
    import peers

    assert peers.environment("tinynet-numpy")["NUMBA_DISABLE_JIT"] == "1"
    assert "NUMBA_DISABLE_JIT" not in peers.environment("tinynet")
    assert set(peers.QUICK) < set(peers.CPU)


def test_the_floor_computes_the_matrix_products_of_a_step(rng):
    from programs import Products

    weights = random_weights(rng, 5, 4, 3)
    x, delta = (rng.normal(size=(2, units)).astype("float32") for units in (5, 3))
    products = Products(x, np.zeros(2, "int32"), weights, 2)
    products.deltas[-1][...] = delta
    products.epoch()
    kernel, _, top, _ = weights
    for found, expected in (
        (products.outputs[1], x @ kernel @ top),
        (products.gradients[1], (x @ kernel).T @ delta),
        (products.gradients[0], x.T @ (delta @ top.T)),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


# Scaling


def test_scaling_measures_time_share_and_memory(tmp_path):
    import scaling

    cases = [{"batch": 64, "hidden": [16], "samples": n} for n in (640, 6400)]
    measured = scaling.measure("samples", cases, rounds=1)
    assert [figures["label"] for figures in measured] == ["640", "6,400"]
    for figures in measured:
        assert len(figures["seconds"]) == len(figures["floor"]) == 1
        assert figures["share"] == figures["floor"][0] / figures["seconds"][0] > 0
        # About one batch in floats, and not the whole data.
        assert 64 * 784 * 4 < figures["memory"] < 3e6
        assert scaling.row("samples", figures)[0] == f"samples {figures['label']}"
    scaling.plot({"machine": "this one", "kinds": {"samples": measured}}, tmp_path / "scaling.png")
    assert is_picture(tmp_path / "scaling.png")


def test_scaling_has_samples_for_two_batches_and_reports_the_median_share():
    import scaling

    for kind, cases in scaling.cases().items():
        for case in cases:
            assert scaling.samples_for(case) >= 2 * case["batch"]
            assert scaling.label(kind, case)
    case = object.__new__(scaling.Case)
    case.seconds, case.memory = [2, 4, 10], 0
    case.floors = {"all": [1, 1, 9], "one": [3, 3, 3]}
    assert case.figures() == {"seconds": [2, 4, 10], "floor": [1, 1, 9], "share": 0.5, "memory": 0}


# Reports


def test_reports_have_aligned_tables_durations_with_three_digits_and_medians():
    import report

    assert report.table(["", "takes"], [["a", "1 s"], ["long", "20 s"]]).splitlines() == [
        "|      | takes |",
        "| ---- | ----: |",
        "| a    |   1 s |",
        "| long |  20 s |",
    ]
    durations = [123.4, 1.234, 0.0456, 7.89e-6, 0.9999]
    texts = ["123 s", "1.23 s", "45.6 ms", "7.89 µs", "1.00 s"]
    assert [*map(report.seconds, durations)] == texts
    assert report.ratio([2, 40, 9], [1, 10, 1]) == 4  # the median of 2, 4 and 9
    python = f"Python {sys.version_info.major}.{sys.version_info.minor}"
    assert all(words in report.machine() for words in (" cores", python))


@pytest.mark.parametrize("terminal", [True, False])
def test_what_is_being_measured_is_shown_on_one_line(monkeypatch, capsys, terminal):
    import report

    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    assert list(report.shown("sizes", [5, 6])) == [5, 6]
    texts = [f"{said:<78}" for said in ("sizes: 1 of 2", "sizes: 2 of 2", "")]
    expected = "\r".join([*texts, ""]) if terminal else "sizes …\n"
    assert capsys.readouterr().err == expected


# CPU and GPU


@pytest.fixture
def script(monkeypatch, tmp_path):
    """The program `cpu_vs_gpu.py`, with a function `start` for a quick run in this process.

    It returns exit code, output and figures. After its test, CuPy has the results in `wrong`, and
    the errors in `fails`.
    """
    import cpu_vs_gpu

    figures, picture, lines = tmp_path / "g.json", tmp_path / "g.png", []
    small = {"batch": [{"batch": 32, "hidden": [8, 8]}], "width": [{"batch": 4, "hidden": [5, 5]}]}
    given = {"cases": lambda quick: small, "SPIN": 64, "SPIN_SECONDS": 0.001, "CHECKED_STEPS": 5}
    for name, value in given.items():
        monkeypatch.setattr(cpu_vs_gpu, name, value)
    options = ["--quick", "--rounds", "2", "--json", str(figures), "--plot", str(picture)]
    monkeypatch.setattr(sys, "argv", ["cpu_vs_gpu.py", *options])

    def start(devices, wrong=(), fails=None):
        with standin.installed(standin.make(devices)) as cupy:
            if wrong:
                tinynet.backend.gpu.load_cupy(0)
            cupy.machine.wrong, cupy.machine.fails = set(wrong), fails or {}
            code = cpu_vs_gpu.main(lines.append)
        assert code or is_picture(picture)
        return code, "\n".join(lines), code or json.loads(figures.read_text("utf-8"))

    monkeypatch.setattr(cpu_vs_gpu, "start", start, raising=False)
    return cpu_vs_gpu


def test_without_a_gpu_only_the_cpu_is_measured_and_the_fault_is_reported(script):
    _, text, figures = script.start(devices=0)
    for words in ("GPU: not usable: ", "Fix: ", "Only the CPU is measured", "| 32 ", "| 5 "):
        assert words in text
    assert "GPU: per step" not in text
    assert figures["names"] == ["numpy"]


@pytest.mark.long
def test_the_comparison_runs_as_a_program():
    text = run("cpu_vs_gpu.py", "--quick", "--rounds", 1, CUDA_VISIBLE_DEVICES="-1")
    for words in ("Only the CPU is measured", "| 4,096 ", "| 1,024 "):
        assert words in text


def test_with_a_gpu_all_ways_are_compared_and_then_measured(script):
    code, text, figures = script.start(devices=1)
    assert code == 0
    assert "GPU 0: Stand-in 0, 8 GiB, compute capability 8.6" in text
    assert "The very first step on the GPU: " in text
    compared, measured = "Loss after 5 steps of [100, 144]: CPU ", "| GPU, replayed: per step |"
    assert text.index(compared) < text.index(measured)
    for words in ("| CPU ÷ GPU | CPU ÷ GPU, replayed |", "| GPU, rehearsed and captured in |"):
        assert text.count(words) == 2
    assert text.count("Step by step, the ") == text.count("Replayed, the ") == 2  # for each kind
    assert text.count(" wins") == 4
    (entry,) = figures["kinds"]["batch"]
    assert entry["flops"] == 2 * 32 * (2 * 784 * 8 + 3 * (8 * 8 + 8 * 10))
    assert entry["bytes"] == 4 * 32 * (784 + 10)
    assert list(entry["ways"]) == figures["names"] == ["numpy", "cupy", "replay"]
    for one in entry["ways"].values():
        assert min(one["seconds"]) > 0
    # The first two of all steps are ordinary ones.
    steps = 1 + 2 + 1 + 2 * (entry["ways"]["replay"]["steps"] + script.TOLD_STEPS["replay"])
    told = {name: len(one["telling"]) for name, one in entry["ways"].items()}
    assert told == {"numpy": 0, "cupy": 2, "replay": 2}
    replayed = {name: one["replayed"] for name, one in entry["ways"].items()}
    assert replayed == {"numpy": 0, "cupy": 0, "replay": steps - 2}


@pytest.mark.parametrize("name", ["cupy", "replay"])
def test_steps_are_ordinary_or_replayed(script, name):
    with standin.installed(standin.make()) as cupy:
        trainer = script.Trainer(name, {"batch": 4, "hidden": [5, 5]})
        trainer.warm()
        cupy.counts.reset()
        trainer.steps(7)
    assert cupy.counts.launches["graph"] == (7 if name == "replay" else 0)
    assert cupy.counts.launches["adam"] == (0 if name == "replay" else 7)
    assert len(cupy.counts.copies) == (1 if name == "replay" else 0)  # the numbers of all steps


def test_nothing_is_timed_if_the_gpu_computes_different_results(script):
    code, text, _ = script.start(devices=1, wrong=["matmul"])
    assert code == 1
    assert text.splitlines()[-1].startswith("These are not the same")


def test_nothing_is_timed_if_replays_compute_different_results(script, monkeypatch):
    replay = Replay.replay
    monkeypatch.setattr(Replay, "replay", lambda *given: (replay(*given), replay(*given))[1])
    code, text, _ = script.start(devices=1)
    assert code == 1
    assert text.splitlines()[-1].startswith("These are not the same")


def test_replays_are_left_out_where_steps_cannot_be_captured(script):
    code, text, figures = script.start(devices=1, fails={"capture": RuntimeError("no capture")})
    assert code == 0
    assert (
        text.count("\nSteps cannot be captured as a CUDA graph here, so none are replayed.\n") == 1
    )
    assert "replayed: " not in text
    assert figures["names"] == ["numpy", "cupy"]
    assert list(figures["kinds"]["width"][0]["ways"]) == ["numpy", "cupy"]


def test_an_interrupted_measurement_keeps_its_results(script, monkeypatch, tmp_path):
    monkeypatch.setattr(script, "steps_table", mock.Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        script.start(devices=0)
    (measured,) = json.loads((tmp_path / "g.json").read_text("utf-8"))["kinds"]["batch"]
    assert len(measured["ways"]["numpy"]["seconds"]) == 2


@pytest.mark.parametrize("name", ["cupy", "replay"])
def test_the_gpu_is_spun_up_before_each_measurement(script, monkeypatch, name):
    with standin.installed(standin.make()) as cupy:
        trainer = script.Trainer(name, {"batch": 4, "hidden": [5, 5]})
        cupy.counts.reset()
        script.spin_up("numpy")
        assert (cupy.counts.launched, cupy.counts.waits) == (0, 0)
        script.spin_up("cupy")
        assert cupy.counts.launches["matmul"] == cupy.counts.waits > 0
        order, steps, send = [], trainer.steps, trainer.send
        trainer.steps = lambda count: order.append("steps") or steps(count)
        trainer.send = lambda: order.append("send") or send()
        monkeypatch.setattr(script, "spin_up", order.append)
        trainer.warm()
        trainer.measure()
    first, sent = (["steps"], ["cupy", "send"]) if name == "cupy" else (["steps"] * 2, [])
    assert order == ["cupy", *first, "steps", *["cupy", "steps"] * 2, *sent]


def entries(gpu, launching=0.9, name="cupy"):
    """Return the figures of some batches: seconds per step, and the GPU's share of launching it.

    At a time of None, the size was not measured.
    """
    times = zip((32, 64, 128), (2, 5, 10), gpu, strict=False)
    ways = [
        (size, {"numpy": cpu, **({name: taken} if taken else {})}) for size, cpu, taken in times
    ]
    return [
        {"batch": size, "hidden": [100, 144], "flops": 1e9, "ways": {
            way: {"seconds": [taken] * 3, "telling": [launching * taken] * 3, "first": taken}
            for way, taken in found.items()
        }}
        for size, found in ways
    ]  # fmt: skip


@pytest.mark.parametrize("how", ["Step by step", "Replayed"])
@pytest.mark.parametrize(
    ("gpu", "said"),
    [
        ([4, 4, 4], "the GPU wins from batches of 64 on, and takes 40% of the CPU's time with 128. "
                    "With batches of 32 the GPU takes 4.00 s for a step, the CPU 2.00 s: its "
                    "products are soon done, but the host needs 3.60 s for the launch"),
        ([1, 6, 6], "the GPU wins from batches of 128 on"),  # the win at 32 is disregarded
        ([1, 2, 3], "the GPU wins at every batch that was measured: the CPU takes 2.0 times as lo"),
        ([30, 30, 30], "the CPU wins at every batch that was measured. With batches of 128"),
        ([1, 2, 12], "the GPU wins with batches of 32, 64, but not with the largest."),
        ([4, 4, None], "the GPU wins from batches of 64 on, and takes 80% of the CPU's time"),
    ],
)  # fmt: skip
def test_the_verdict_states_from_which_size_on_the_gpu_wins(script, gpu, said, how):
    name = {"Step by step": "cupy", "Replayed": "replay"}[how]
    assert script.verdict("batch", name, entries(gpu, name=name)).startswith(f"{how}, {said}")
    assert "launch" not in script.verdict("batch", name, entries([4], 0.025, name))


def test_a_size_for_whose_replays_there_was_no_memory_has_none(script):
    with standin.installed(standin.make(memory=2**20)):
        trainers = [script.Trainer(n, {"batch": 64, "hidden": [5, 5]}) for n in ("numpy", "replay")]
        for trainer in trainers:
            trainer.warm()
    assert list(script.entry(trainers)["ways"]) == ["numpy"]


def test_where_a_size_has_no_replays_the_tables_have_empty_cells(script):
    names, found = ["numpy", "replay"], entries([1, None], name="replay")
    rows = script.steps_table("batch", names, found).splitlines()[2:]
    assert [row.replace(" ", "").split("|")[4:] for row in rows] == [
        ["1.00s", "1.00s–1.00s", "2.00", ""],
        ["", "", "", ""],
    ]
    rows = script.rest_table("batch", names, found).splitlines()[2:]
    assert [row.replace(" ", "").split("|")[2:] for row in rows] == [
        ["0.5", "1.0", "90%", "2.00s", "1.00s", ""],
        ["0.2", "", "", "5.00s", "", ""],
    ]


def test_losses_agree_to_four_digits(script):
    assert script.agree({"numpy": 2.3, "cupy": 2.30001})
    for other in (2.301, float("nan")):
        assert not script.agree({"numpy": 2.3, "cupy": other})
