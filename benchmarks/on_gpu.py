"""Check and measure tinynet on a machine with a GPU, with one command.

    python benchmarks/on_gpu.py --out DIR                        # everything, at most 18 minutes
    python benchmarks/on_gpu.py --out DIR --half 1               # or in two halves of 9 minutes
    python benchmarks/on_gpu.py --out DIR --part parity capture  # or these parts alone

It needs this repository, but no internet connection. The tests also need the extra `test`, except
Keras, nbclient and Playwright. CuPy, PyTorch, JAX and MNIST are used if present; the summary lists
what was skipped. Without a GPU everything runs on the CPU, so you can try the command anywhere.

Each part (see `gpu_parts.py`) runs in its own process with a time limit, so a part that hangs,
crashes or fails does not stop the others. Results are written as they arrive. DIR then contains

    summary.md                        the summary
    on_gpu.json                       all figures; for a half, on_gpu-1.json or on_gpu-2.json
    tests.txt                         the output of pytest
    cpu_vs_gpu.json, cpu_vs_gpu.png   the output of `cpu_vs_gpu.py`
    log.txt                           everything else that was printed

The summary of a half, or of some parts, includes the other results in DIR. To combine halves from
different directories, copy the files of both into one, and run `--part summary` on it.

The exit code is 0 if no part in the summary failed or found anything wrong; skipped parts are
ignored.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from peers import NAMES
from report import median, ratio, seconds, table

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent

# The time limits of the parts in seconds, in the order of execution, in two halves.
HALVES = (
    {"machine": 30, "tests": 360, "parity": 120},
    {"cpu_vs_gpu": 180, "epochs": 180, "capture": 40, "memory": 60, "first_fit": 40},
)
LIMITS: dict[str, float] = {**HALVES[0], **HALVES[1]}
GRACE = 3  # seconds to wait for a killed process

Results = dict[str, dict[str, Any]]


def run(
    command: list[str],
    environment: Mapping[str, str],
    limit: float,
    log: TextIO,
    receive: Callable[[str], None],
) -> str:
    """Run a command for at most `limit` seconds; kill all processes that it started at its end.

    Arguments:
        receive: called with each line of its standard output, as it arrives.

    Returns:
        ``"done"``, or a description of how it ended otherwise.
    """
    group: dict[str, Any] = {}  # a new process group, so that child processes can be killed too
    if sys.platform == "win32":
        group["creationflags"] = subprocess.CREATE_NEW_PROCESS_GROUP
    else:
        group["start_new_session"] = True
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
        text=True, encoding="utf-8", errors="replace", **group,
    )  # fmt: skip
    ended = threading.Event()

    def read() -> None:
        assert process.stdout
        for line in process.stdout:
            if ended.is_set():
                return
            receive(line)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        code = process.wait(limit)
        # This reads all of its output, unless a child process keeps the pipe open.
        reader.join(GRACE)
        return "done" if code == 0 else f"failed (exit code {code})"
    except subprocess.TimeoutExpired:
        return f"stopped at its limit of {limit:g} s"
    finally:
        kill(process)
        ended.set()
        reader.join(GRACE)
        if process.stdout and not reader.is_alive():
            process.stdout.close()


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a process and its children; do not wait for a process that cannot be killed."""
    if sys.platform == "win32":
        ask = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
        subprocess.run(ask, capture_output=True, check=False)
    else:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:  # all of them have ended
            return
    with contextlib.suppress(subprocess.TimeoutExpired):  # it may hang in the driver
        process.wait(GRACE)


def environment() -> dict[str, str]:
    """Return environment variables for the parts: full float32 precision, this repository first."""
    variables = {
        name: value
        for name, value in os.environ.items()
        if name not in ("CUPY_TF32", "JAX_PLATFORMS", "TINYNET_BACKEND")
    }
    path = os.pathsep.join(filter(None, (str(ROOT), variables.get("PYTHONPATH"))))
    return variables | {
        "PYTHONPATH": path,
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
        "MPLBACKEND": "Agg",
        # On a GPU, JAX would otherwise use TF32, which has three digits instead of seven.
        "JAX_DEFAULT_MATMUL_PRECISION": "highest",
        "NVIDIA_TF32_OVERRIDE": "0",
        # JAX would otherwise allocate three quarters of the GPU's memory when it starts.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }


def write(path: pathlib.Path, text: str) -> None:
    """Replace a file atomically: a reader sees the old or the new file, never a part of it."""
    draft = path.with_name(path.name + ".draft")
    draft.write_text(text, encoding="utf-8")
    with contextlib.suppress(PermissionError):  # on Windows, if the old file is being read
        os.replace(draft, path)


def go(part: str, out: pathlib.Path, limit: float, quick: bool, keep: Callable[..., None]) -> None:
    """Run a part; call `keep` with everything known about it at each new figure."""
    about: dict[str, Any] = {"ended": "under way", "quick": quick, "figures": {}}
    began = time.perf_counter()

    def receive(line: str) -> None:
        about["figures"] |= json.loads(line)
        about["seconds"] = time.perf_counter() - began
        keep(part, about)

    keep(part, about)
    command = [sys.executable, str(HERE / "gpu_parts.py"), part, "--out", str(out)]
    with (out / "log.txt").open("a+", encoding="utf-8", errors="replace") as log:
        log.write(f"== {part}\n")
        log.flush()
        before = log.tell()
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
            # The part's temporary files go here, because a killed process does not remove them.
            variables = environment() | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), name)
            ended = run(command + ["--quick"] * quick, variables, limit, log, receive)
        log.seek(before)
        if ended.startswith("failed") and (last := log.read().strip().splitlines()[-1:]):
            ended += f": {last[0][:200]}"
    about |= {"ended": ended, "seconds": time.perf_counter() - began}
    keep(part, about)


# The page


PARITY = ("tinynet", "tinynet-cupy", "pytorch-as-keras", "jax")
RACE = (
    "tinynet", "tinynet-cupy", "tinynet-cupy-ordinary", "pytorch", "pytorch-graph", "jax"
)  # fmt: skip


# The fault to report for each figure of the part `memory` that is false.
MEMORY = {
    "within": "CuPy held more than memory_limit allows",
    "same": "the weights differ from those without memory_limit",
    "words": "exceeding the memory raised no error",
    "unchanged": "an error left the model changed",
    "constant": "memory use grows with every fit",
}


def page(results: Results, out: pathlib.Path) -> str:
    """Return the summary of all results."""
    title = "# tinynet on a GPU"
    if results.get("machine", {"figures": {}})["figures"].get("works") is False:
        title += (
            "\n\nThere is no working GPU here. The following results were computed on the CPU and "
            "say nothing about a GPU."
        )
    if any(about.get("quick") for about in results.values()):
        title += (
            "\n\nThis was a trial run (`--quick`) with little data and one round: its figures "
            "are not reliable measurements."
        )
    rows, notes = [], []
    for part, about in results.items():
        state, note = outcome(part, about)
        rows.append([part, state, seconds(about.get("seconds", 0))])
        notes += [f"- {part}: {note}"] if note else []
    sections = [
        title,
        table(["part", "result", "time"], rows),
        *(["\n".join(notes)] if notes else []),
    ]
    for part, (heading, tell) in SECTIONS.items():
        if part in results and (text := told(tell, results[part]["figures"])):
            sections.append(f"## {heading}\n\n{text}")
            if part == "cpu_vs_gpu" and (out / "cpu_vs_gpu.png").exists():
                sections.append("![Time per step on the CPU and on the GPU](cpu_vs_gpu.png)")
    return "\n\n".join(sections) + "\n"


def told(tell: Callable[[dict[str, Any]], str], figures: dict[str, Any]) -> str:
    """Return the text of a section; missing figures must not prevent the rest of the summary."""
    if not figures or "nothing_to_do" in figures:
        return ""
    try:
        return tell(figures)
    except Exception as error:
        return f"The figures are incomplete ({type(error).__name__}: {error})."


def outcome(part: str, about: dict[str, Any]) -> tuple[str, str]:
    """Return the state of a part (done, skipped, wrong, or not finished), and a note on it."""
    figures = about["figures"]
    if about["ended"] != "done":
        return "not finished", about["ended"]
    if "nothing_to_do" in figures:
        return "skipped", figures["nothing_to_do"]
    wrong = [f"{NAMES.get(p, p)} failed: {why}" for p, why in figures.get("failed", {}).items()]
    if part == "tests" and figures["exit_code"]:
        wrong.append("tests fail")
    if part == "parity":
        found = figures["parity"]
        wrong += [f"{NAMES[p]} is too far from float64" for p in PARITY if not within(found, p)]
    if part == "epochs":
        wrong += [one["same"] for one in figures["epochs"].values() if one["same"]]
    if part == "capture":
        if not all(case["replayed"] for case in figures["cases"].values()):
            wrong.append(": ".join(["no step was replayed", *why_not_captured(figures)[:1]]))
        if any(case["difference"] != 0 for case in figures["cases"].values()):
            wrong.append("the replay computes different numbers")
    if part == "memory":
        wrong += [fault for name, fault in MEMORY.items() if not figures[name]]
    return ("wrong", "; ".join(wrong)) if wrong else ("done", "")


def within(found: dict[str, dict[str, Any]], program: str) -> bool:
    return program not in found or found[program]["within"]


def why_not_captured(figures: dict[str, Any]) -> list[str]:
    """Return the reasons for which steps are not captured."""
    cublas = figures["cublas"]
    return [*([f"cuBLAS: {cublas}"] if cublas else []), *figures["errors"]]


def tell_machine(figures: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in figures["versions"].items())
    lines = [
        f"{figures['date']}. {figures['machine']}",
        f"tinynet {figures['tinynet']}, {versions}",
    ]
    lines += [*figures.get("nvidia_smi", []), *figures.get("doctor", [])]
    if "cublas" in figures:
        why = figures["cublas"]
        lines.append(f"Steps are {f'not captured: {why}' if why else 'captured as CUDA graphs'}.")
    return "\n".join(f"    {line}" for line in lines)


def tell_tests(figures: dict[str, Any]) -> str:
    lines = [f"    {line}" for line in figures["failing"]]
    more = figures["failures"] - len(lines)
    lines += [f"    and {more} more"] if more > 0 else []
    first = f'`pytest -m "{figures["which"]}"`: {figures["outcome"].strip("= ")}'
    if figures["which"] != "gpu":
        first += ". The tests that compare with Keras were skipped: it is not installed."
    return "\n".join([first, "", *lines]).strip()


def left_out(figures: dict[str, Any]) -> str:
    reasons = [f"{NAMES[program]} ({why})" for program, why in figures["left_out"].items()]
    return f"\n\nSkipped: {'; '.join(reasons)}." if reasons else ""


def tell_parity(figures: dict[str, Any]) -> str:
    found = {p: one for p, one in figures["parity"].items() if p in PARITY}
    columns = [name for name in figures["bounds"] if any(name in one for one in found.values())]
    rows = []
    for program, one in found.items():
        cells = [f"{NAMES[program]} ({one['place']})"]
        for name in columns:
            value = max(one[name]) if isinstance(one[name], list) else one[name]
            cells.append(f"{value:.1e}")
        rows.append([*cells, "yes" if one["within"] else "NO"])
    rows.append(["bound", *(f"{figures['bounds'][name]:.0e}" for name in columns), ""])
    return (
        "Differences from NumPy in float64, with the same initial weights and the same batches of "
        f"32 of {figures['data']}: in the first batch's loss (relative); in its gradients (relative"
        ", the largest of the six arrays); and in the weights after the given number of steps (the "
        "largest of any weight). JAX computes in its highest precision.\n\n"
        + table(["", *columns, "within bound"], rows)
        + left_out(figures)
    )


def tell_compare(figures: dict[str, Any]) -> str:
    # Skip the tables, which the picture shows, and the description of the machine, given above.
    known = ("|", "CPU: ", "GPU", "NumPy ", "CuPy ", "Fix: ")
    lines = [line for line in figures["lines"] if line and not line.startswith(known)]
    return "\n".join(f"- {line}" for line in lines)


def tell_epochs(figures: dict[str, Any]) -> str:
    rows = []
    for size, one in figures["epochs"].items():
        took = one["seconds"]
        ours = took.get("tinynet-cupy") or took.get("tinynet")
        for program, values in took.items():
            if values:
                rows.append(
                    [
                        f"{int(size):,}: {NAMES[program]} ({one['place'][program]})",
                        seconds(median(values)),
                        f"{seconds(min(values))} – {seconds(max(values))}",
                        f"{ratio(ours, values):.2f}" if ours and len(ours) == len(values) else "",
                        f"{one['loss'][program]:.4f}",
                    ]
                )
    whose = "tinynet" if "tinynet-cupy" in figures["left_out"] else "tinynet on CuPy"
    head = ["batch size: program", "epoch", "spread", f"{whose} ÷ other", "loss after epoch 1"]
    return (
        f"One epoch of the example network on {figures['data']}; medians, measured in turn. Where "
        "it can, tinynet replays a step that it has captured, unless it goes step by step.\n\n"
        + table(head, rows)
        + left_out(figures)
    )


def tell_capture(figures: dict[str, Any]) -> str:
    rows = [
        [name, str(case["steps"]), str(case["replayed"]), f"{case['difference']:.1e}"]
        for name, case in figures["cases"].items()
    ]
    text = (
        "From the same seed, the example network was trained for two epochs in ordinary steps, and "
        "in steps that replay a captured one where `fit` would; the difference is the largest of "
        "any weight, and of the epochs' losses and accuracies.\n\n"
    ) + table(["", "steps", "replayed", "difference"], rows)
    if reasons := why_not_captured(figures):
        text += f"\n\nWhat failed: {'; '.join(reasons)}."
    if took := figures.get("seconds"):
        each = "; ".join(
            f"{name} {seconds(one['told'])} on the host, {seconds(one['done'])} until completion"
            for name, one in took.items()
        )
        text += f"\n\nTime per step of the first: {each}."
    return text


def tell_memory(figures: dict[str, Any]) -> str:
    def megabytes(count: int) -> str:
        return f"{count / 1e6:,.1f} MB"

    used, total = figures["held"][-1]
    return "\n".join(
        [
            f"- With a `memory_limit` of {megabytes(figures['limit'])} and data of "
            f"{megabytes(figures['data'])}, CuPy held at most {megabytes(figures['peak'])}; the "
            f"weights are {'the same' if figures['same'] else 'NOT the same'} as without it.",
            "- After running out of memory, the model is "
            f"{'as it was' if figures['unchanged'] else 'CHANGED'}. The error:",
            f"  {figures['words'] or 'none'}",
            f"- After 20 fits, {megabytes(used)} of the {megabytes(total)} that CuPy holds are in "
            + ("use, as after the third." if figures["constant"] else "use: memory use GROWS."),
        ]
    )


def tell_first_fit(figures: dict[str, Any]) -> str:
    columns = ["process", "to the first array", "first fit", "second fit"]
    rows = [
        [when, *(seconds(one[name]) for name in columns), str(one["kernels"])]
        for when, one in figures["took"].items()
    ]
    return table(["kernel cache", *columns, "files in the cache"], rows)


SECTIONS: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
    "machine": ("Machine", tell_machine),
    "tests": ("Tests", tell_tests),
    "parity": ("Accuracy", tell_parity),
    "cpu_vs_gpu": ("CPU and GPU", tell_compare),
    "epochs": ("Comparison with PyTorch and JAX", tell_epochs),
    "capture": ("A step as a CUDA graph", tell_capture),
    "memory": ("Memory", tell_memory),
    "first_fit": ("The first fit", tell_first_fit),
}


def known(out: pathlib.Path) -> Results:
    """Return the results in all files of the directory, in the order of the parts."""
    found: Results = {}
    for path in sorted(out.glob("on_gpu*.json"), key=lambda path: path.stat().st_mtime):
        found |= json.loads(path.read_text("utf-8"))
    return {part: found[part] for part in LIMITS if part in found}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=pathlib.Path, required=True, metavar="DIR", help="directory for the results")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--part",
        nargs="+",
        choices=[*LIMITS, "summary"],
        metavar="PART",
        help=f"any of: {', '.join(LIMITS)}, summary",
    )
    which.add_argument("--half", type=int, choices=[1, 2], help="the first or the second half")
    add("--quick", action="store_true", help="run a little of each part, to try the command")
    add("--patience", type=float, default=1, metavar="N", help="multiply the time limits by N (1)")
    arguments = parser.parse_args()
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    # If this command is terminated, it must not leave a part running on the GPU.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    out = arguments.out.resolve()
    if out.exists() and not out.is_dir():
        parser.error(f"{out} is not a directory")
    half = arguments.half
    chosen = arguments.part or [*(HALVES[half - 1] if half else LIMITS)]
    if chosen != ["summary"]:
        out.mkdir(parents=True, exist_ok=True)
    file = out / (f"on_gpu-{half}.json" if half else "on_gpu.json")
    # With --part, results are added to the existing ones; otherwise the file is overwritten.
    own = json.loads(file.read_text("utf-8")) if arguments.part and file.exists() else {}

    def shown() -> Results:
        return known(out) if arguments.part or half else own

    def keep(part: str, about: dict[str, Any]) -> None:
        own[part] = about
        write(file, json.dumps(own, indent=1) + "\n")
        write(out / "summary.md", page(shown(), out))

    for part in filter(LIMITS.__contains__, chosen):
        limit = LIMITS[part] * arguments.patience
        print(f"{part}: at most {limit:g} s … ", end="", flush=True)
        go(part, out, limit, arguments.quick, keep)
        print(f"{outcome(part, own[part])[0]}, {seconds(own[part]['seconds'])}", flush=True)
    results = shown()
    if not results:
        parser.error(f"there are no results in {out}")
    text = page(results, out)
    write(out / "summary.md", text)
    print("\n" + text)
    states = [outcome(part, about)[0] for part, about in results.items()]
    return 0 if all(state in ("done", "skipped") for state in states) else 1


if __name__ == "__main__":
    sys.exit(main())
