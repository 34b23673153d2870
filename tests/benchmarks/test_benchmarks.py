"""The benchmarks run, compare equal computations, and report those that are not equal."""

import json
import os
import pathlib
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
import standin
from networks import SPARSE, network

import tinynet

BENCHMARKS = pathlib.Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _import_from_benchmarks(monkeypatch):
    """Make the benchmarks importable, and assert that no figure stays open after a test."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = plt.get_fignums()
    yield
    assert plt.get_fignums() == before


def run(script, *arguments, **environment):
    command = [sys.executable, str(BENCHMARKS / script), *map(str, arguments)]
    environment = {**os.environ, **environment}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def peers(tmp_path, *programs):
    """Run `peers.py` on these programs, and return its output and its figures."""
    figures, picture = tmp_path / "peers.json", tmp_path / "peers.png"
    text = run(
        "peers.py", "--synthetic", "--rounds", 1, "--batch-size", 1024, "--epochs-only",
        "--json", figures, "--plot", picture, "--only", *programs,
    )  # fmt: skip
    assert picture.read_bytes().startswith(b"\x89PNG")
    return text, json.loads(figures.read_text("utf-8"))


def test_peers_writes_a_table_a_picture_and_figures(tmp_path):
    text, figures = peers(tmp_path, "products", "tinynet")
    assert "| tinynet " in text
    assert "| the matrix products alone " in text
    one = figures["epochs"]["1024"]
    assert all(one[program]["seconds"][0] > 0 for program in ("products", "tinynet"))
    assert one["products"]["loss"] is None
    assert 0 < one["tinynet"]["loss"] < 2
    assert one["products"]["threads"] >= 1


PEERS = ("tinynet", "keras-jax", "jax", "keras-torch", "pytorch", "scikit-learn")


@pytest.mark.keras
def test_the_programs_of_all_peers_train_the_same(tmp_path):
    text, figures = peers(tmp_path, *PEERS)
    losses = [one["loss"] for one in figures["epochs"]["1024"].values()]
    assert len(losses) >= 3
    assert losses == pytest.approx([losses[0]] * len(losses), rel=5e-3)
    for name in ("Keras on PyTorch", "PyTorch, eager", "scikit-learn"):
        assert f"| {name} " in text or f"Skipped: {name} (" in text


def test_whole_programs_and_imports_are_measured(tmp_path):
    import peers

    peers.write_data(tmp_path, synthetic=True)
    whole = peers.compare_processes(["tinynet"], tmp_path, batch_size=1024, rounds=1)
    jobs = {"process", "evaluate, first", "evaluate, again", "predict, first", "predict, again"}
    assert {job: len(seconds) for job, seconds in whole["tinynet"].items()} == dict.fromkeys(
        jobs, 1
    )
    assert whole["tinynet"]["process"] > whole["tinynet"]["evaluate, first"]
    assert "| `predict`, called again" in peers.processes_table(
        {**whole, "keras-jax": whole["tinynet"]}
    )
    imports = peers.compare_imports(rounds=1)
    assert {module: len(seconds) for module, seconds in imports.items()} == {
        "numpy": 2,
        "tinynet": 2,
        "tinynet.models": 2,
    }
    assert "| `import tinynet` " in peers.imports_table(imports)


def test_the_share_is_the_median_over_the_rounds():
    import scaling

    case = object.__new__(scaling.Case)
    case.seconds, case.memory = [2, 4, 10], 0
    case.floors = {"all": [1, 1, 9], "one": [3, 3, 3]}
    assert case.figures() == {"seconds": [2, 4, 10], "floor": [1, 1, 9], "share": 0.5, "memory": 0}


def test_a_program_with_another_loss_is_refused():
    from peers import check_same

    check_same({"tinynet": 1.0, "jax": 1.019, "pytorch": 1.0})
    for other in (1.021, 0.979, float("nan")):
        with pytest.raises(SystemExit, match="JAX, whole epoch compiled trains something else"):
            check_same({"tinynet": 1.0, "jax": other, "pytorch": 1.0})


def test_the_compared_loss_is_computed_from_the_weights(tmp_path):
    from peers import loss_of

    rng = np.random.default_rng(0)
    x, y = rng.integers(256, size=(7, 28, 28)), rng.integers(10, size=7)
    np.savez(tmp_path / "data.npz", x_train=x, y_train=y)
    weights = [rng.normal(size=size) for size in ((784, 3), 3, (3, 10), 10)]
    np.savez(tmp_path / "mine.npz", *weights)

    tinynet.config.set_floatx("float64")
    stack = (3, "sigmoid"), (10, "softmax")
    model = network(*stack, inputs=(784,), weights=weights, loss=SPARSE, optimizer="sgd")
    expected = model.evaluate(x.reshape(7, 784) / 255, y, verbose=0)
    assert loss_of("mine", tmp_path) == pytest.approx(expected, rel=1e-12)


def test_the_floor_computes_the_matrix_products_of_a_step():
    from programs import Products

    rng = np.random.default_rng(1)
    sizes, batch = (5, 4, 3), 2
    weights = [rng.normal(size=s).astype("float32") for s in ((5, 4), 4, (4, 3), 3)]
    x = rng.normal(size=(batch, sizes[0])).astype("float32")
    products = Products(x, np.zeros(batch, "int32"), weights, batch)
    delta = rng.normal(size=(batch, 3)).astype("float32")
    products.deltas[-1][...] = delta
    products.epoch()
    kernel, top = weights[0], weights[2]
    hidden = x @ kernel
    np.testing.assert_allclose(products.outputs[1], hidden @ top, rtol=1e-5)
    np.testing.assert_allclose(products.gradients[1], hidden.T @ delta, rtol=1e-5)
    np.testing.assert_allclose(products.gradients[0], x.T @ (delta @ top.T), rtol=1e-5)


def test_scaling_measures_time_share_and_memory(tmp_path):
    import scaling

    cases = [{"batch": 64, "hidden": [16], "samples": n} for n in (640, 6400)]
    measured = scaling.measure("samples", cases, rounds=1)
    assert [figures["label"] for figures in measured] == ["640", "6,400"]
    for figures in measured:
        assert len(figures["seconds"]) == len(figures["floor"]) == 1
        assert figures["share"] == figures["floor"][0] / figures["seconds"][0] > 0
        assert (
            64 * 784 * 4 < figures["memory"] < 3e6
        )  # about one batch in floats, and not the whole data
        assert scaling.row("samples", figures)[0] == f"samples {figures['label']}"
    results = {"machine": "this one", "kinds": {"samples": measured}}
    scaling.plot(results, tmp_path / "scaling.png")
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")


def test_every_case_of_scaling_has_samples_for_at_least_two_batches():
    import scaling

    for kind, cases in scaling.cases().items():
        for case in cases:
            assert scaling.samples_for(case) >= 2 * case["batch"]
            assert scaling.label(kind, case)


def test_tables_are_markdown_and_aligned():
    from report import table

    assert table(["", "takes"], [["a", "1 s"], ["long", "20 s"]]).splitlines() == [
        "|      | takes |",
        "| ---- | ----: |",
        "| a    |   1 s |",
        "| long |  20 s |",
    ]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (123.4, "123 s"),
        (1.234, "1.23 s"),
        (0.0456, "45.6 ms"),
        (7.89e-6, "7.89 µs"),
        (0.9999, "1.00 s"),
    ],
)
def test_durations_have_three_digits(value, said):
    from report import seconds

    assert seconds(value) == said


def test_a_ratio_is_the_median_over_the_rounds():
    from report import ratio

    assert ratio([2, 40, 6], [1, 10, 2]) == 3


def test_the_machine_is_named():
    from report import machine

    assert "cores" in machine()
    assert f"Python {sys.version_info.major}.{sys.version_info.minor}" in machine()


# CPU and GPU


def cpu_vs_gpu(monkeypatch, tmp_path, *arguments):
    """Return exit code, lines and figures of a quick run in this process."""
    import cpu_vs_gpu as script

    figures, picture, lines = tmp_path / "g.json", tmp_path / "g.png", []
    small = {"batch": [{"batch": 32, "hidden": [8, 8]}], "width": [{"batch": 4, "hidden": [5, 5]}]}
    monkeypatch.setattr(script, "cases", lambda quick: small)
    monkeypatch.setattr(script, "SPIN", 64)
    monkeypatch.setattr(script, "SPIN_SECONDS", 0.001)
    given = ["--quick", "--rounds", "2", "--json", figures, "--plot", picture, *arguments]
    monkeypatch.setattr(sys, "argv", ["cpu_vs_gpu.py", *map(str, given)])
    code = script.main(lines.append)
    if code:
        return code, lines, None
    assert picture.read_bytes().startswith(b"\x89PNG")
    return code, lines, json.loads(figures.read_text("utf-8"))


def test_without_a_gpu_only_the_cpu_is_measured_and_the_fault_is_reported(tmp_path):
    text = run("cpu_vs_gpu.py", "--quick", "--rounds", 1, CUDA_VISIBLE_DEVICES="-1")
    assert "GPU: not usable: " in text
    assert "Fix: " in text
    assert "Only the CPU is measured" in text
    assert "| 4,096 " in text
    assert "| 1,024 " in text
    assert "GPU: per step" not in text


def test_with_a_gpu_both_are_compared_and_then_measured(monkeypatch, tmp_path):
    with standin.installed(standin.make()):
        code, lines, figures = cpu_vs_gpu(monkeypatch, tmp_path)
    assert code == 0
    text = "\n".join(lines)
    assert "GPU 0: Stand-in 0, 8 GiB, compute capability 8.6" in text
    assert "The very first step on the GPU: " in text
    assert "Loss after 50 steps of [100, 144]: CPU " in text
    assert text.index("Loss after") < text.index("CPU: per step")
    assert text.count(" wins") == 2  # one sentence for each kind of size
    (entry,) = figures["kinds"]["batch"]
    assert entry["flops"] == 2 * 32 * (2 * 784 * 8 + 3 * (8 * 8 + 8 * 10))
    assert entry["bytes"] == 4 * 32 * (784 + 10)
    for name in ("numpy", "cupy"):
        assert len(entry["backends"][name]["seconds"]) == 2
        assert min(entry["backends"][name]["seconds"]) > 0


def test_nothing_is_timed_if_the_gpu_computes_different_results(monkeypatch, tmp_path):
    cupy = standin.make()
    with standin.installed(cupy):
        tinynet.backend.gpu.load_cupy(0)
        cupy.machine.wrong = {"matmul"}  # wrong from here on
        code, lines, _ = cpu_vs_gpu(monkeypatch, tmp_path)
    assert code == 1
    assert lines[-1].startswith("These are not the same")


def test_the_gpu_is_spun_up_before_each_measurement(monkeypatch):
    import cpu_vs_gpu as script

    monkeypatch.setattr(script, "SPIN", 64)
    with standin.installed(standin.make()) as cupy:
        trainer = script.Trainer("cupy", {"batch": 4, "hidden": [5, 5]})
        cupy.counts.reset()
        script.spin_up("numpy")
        assert cupy.counts.launched == 0
        script.spin_up("cupy")
        assert cupy.counts.launches["matmul"] == cupy.counts.waits > 0
        order = []
        for name in ("steps", "send"):
            whole = getattr(script.Trainer, name)
            monkeypatch.setattr(
                script.Trainer,
                name,
                lambda *given, name=name, whole=whole: order.append(name) or whole(*given),
            )
        monkeypatch.setattr(script, "spin_up", order.append)
        trainer.warm()
        trainer.measure()
    assert order[:3] == ["cupy", "steps", "steps"]
    assert order[3:] == ["cupy", "steps", "cupy", "steps", "cupy", "send"]


def test_an_interrupted_measurement_keeps_its_results(monkeypatch, tmp_path):
    import cpu_vs_gpu as script

    def fails(kind, names, entries):
        raise KeyboardInterrupt

    monkeypatch.setattr(script, "steps_table", fails)
    with pytest.raises(KeyboardInterrupt):
        cpu_vs_gpu(monkeypatch, tmp_path)
    (measured,) = json.loads((tmp_path / "g.json").read_text("utf-8"))["kinds"]["batch"]
    assert len(measured["backends"]["numpy"]["seconds"]) == 2


def test_peers_compares_on_the_cpu(monkeypatch):
    import peers

    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    found = peers.environment("keras-jax")
    assert (found["JAX_PLATFORMS"], found["CUDA_VISIBLE_DEVICES"]) == ("cpu", "-1")
    assert not {"tinynet-cupy", "pytorch-graph"} & set(peers.CPU)


def entry(size, cpu, gpu, telling):
    figures = {"sending": [1e-4] * 3, "first": 1.0, "steps": 9}
    each = {
        "numpy": {"seconds": [cpu] * 3, "telling": [cpu] * 3, **figures},
        "cupy": {"seconds": [gpu] * 3, "telling": [telling] * 3, **figures},
    }
    return {"batch": size, "hidden": [100, 144], "flops": 10**6, "bytes": 10**6, "backends": each}


@pytest.mark.parametrize(
    ("gpu", "said"),
    [
        ([4, 4, 4], "from batches of 64 on, and takes 40% of the CPU's time with 128. With batches "
                    "of 32 the GPU takes 4.00 s for a step, the CPU 2.00 s: the products are soon"),
        ([1, 6, 6], "The GPU wins from batches of 128 on"),  # the win at 32 is disregarded
        ([1, 2, 3], "at every batch that was measured: the CPU takes 2.0 times as long"),
        ([30, 30, 30], "The CPU wins at every batch that was measured. With batches of 128"),
        ([1, 2, 12], "The GPU wins with batches of 32, 64, but not with the largest."),
    ],
)  # fmt: skip
def test_the_verdict_states_from_which_size_on_the_gpu_wins(gpu, said):
    import cpu_vs_gpu as script

    entries = [
        entry(32 * 2**n, cpu, seconds, 0.9 * seconds)
        for n, (cpu, seconds) in enumerate(zip([2, 5, 10], gpu, strict=True))
    ]
    assert said in script.verdict("batch", entries)
    assert not script.agree({"numpy": 2.3, "cupy": float("nan")})
    assert not script.agree({"numpy": 2.3, "cupy": 2.301})
    assert script.agree({"numpy": 2.3, "cupy": 2.30001})
    busy = [entry(32, 2, 4, 0.1)]
    assert "launches" not in script.verdict("batch", busy)
