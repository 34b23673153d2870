"""The one command where there is a GPU: prove that tinynet computes right there, and measure it.

    python benchmarks/on_gpu.py --out DIR                       # all of it, 18 minutes at most
    python benchmarks/on_gpu.py --out DIR --half 1              # or in two halves of 9 minutes
    python benchmarks/on_gpu.py --out DIR --part parity capture
    python benchmarks/on_gpu.py --out DIR --part summary        # the page anew, of what DIR holds

It needs this repository and no network: NumPy, pytest, hypothesis, and whatever there is of CuPy,
PyTorch, JAX and MNIST; what is not there is left out, and said. Without a GPU it runs as well, on
the CPU, to see that it does.

Each part (`gpu_parts.py`) runs in processes of its own and has a time limit: a part that hangs,
crashes or fails ends itself alone. Figures are written as they come. DIR then holds

    summary.md                            the page to read
    on_gpu.json                           every figure; of a half: on_gpu-1.json, on_gpu-2.json
    tests.txt                             what pytest printed
    cpu_vs_gpu.json, cpu_vs_gpu.png       as `cpu_vs_gpu.py` writes them
    log.txt                               what else was printed

To join two halves, put the files of both into one folder, and ask for the part `summary`.

The exit code is 0 if every part is done, or has nothing to do here, and nothing came out wrong.
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

from report import median, ratio, seconds, table

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent

# The most seconds that each part may take; in order, and in two halves.
HALVES = (
    {"machine": 30, "tests": 360, "parity": 120},
    {"cpu_vs_gpu": 180, "epochs": 180, "capture": 40, "memory": 60, "first_fit": 50},
)
LIMITS: dict[str, float] = {**HALVES[0], **HALVES[1]}
GRACE = 3  # seconds for a process that was killed to be gone

Results = dict[str, dict[str, Any]]


def run(
    command: list[str],
    environment: Mapping[str, str],
    limit: float,
    log: TextIO,
    receive: Callable[[str], None],
) -> str:
    """Run a command for at most `limit` seconds, with all processes that it starts.

    Arguments:
        receive: is given each line of its standard output, at once.

    Returns:
        How it ended: ``"done"``, or in words.
    """
    group: dict[str, Any] = {}  # of its own, so that what it started ends with it
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
        # What it has said is read to the end, unless something that it left behind holds the line.
        reader.join(GRACE)
        return "done" if code == 0 else f"failed (exit code {code})"
    except subprocess.TimeoutExpired:
        return f"ended by its limit of {limit:g} s"
    finally:
        kill(process)
        ended.set()
        reader.join(GRACE)
        if process.stdout and not reader.is_alive():
            process.stdout.close()


def kill(process: subprocess.Popen[str]) -> None:
    """End a process and all that it started, without waiting for what cannot be ended."""
    if sys.platform == "win32":
        ask = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
        subprocess.run(ask, capture_output=True, check=False)
    else:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:  # all are gone
            return
    with contextlib.suppress(subprocess.TimeoutExpired):  # it may be in the driver's hands
        process.wait(GRACE)


def environment() -> dict[str, str]:
    """Of this process, but for what would change the numbers; and the repository is found."""
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
        # Full float32 everywhere: on a GPU, JAX would else take TF32, with three digits of seven.
        "JAX_DEFAULT_MATMUL_PRECISION": "highest",
        "NVIDIA_TF32_OVERRIDE": "0",
        # JAX would else take three quarters of the GPU's memory at its start.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }


def write(path: pathlib.Path, text: str) -> None:
    """Put a file in place whole: whoever looks meanwhile sees the old one or the new one."""
    draft = path.with_name(path.name + ".draft")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, path)


def go(part: str, out: pathlib.Path, limit: float, quick: bool, keep: Callable[..., None]) -> None:
    """Run a part; `keep` is called with what is known of it, whenever that has changed."""
    about: dict[str, Any] = {"ended": "under way", "figures": {}}
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
            # Theirs too: what is killed does not tidy up.
            variables = environment() | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), name)
            ended = run(command + ["--quick"] * quick, variables, limit, log, receive)
        log.seek(before)
        if ended.startswith("failed") and (last := log.read().strip().splitlines()[-1:]):
            ended += f": {last[0][:200]}"
    about |= {"ended": ended, "seconds": time.perf_counter() - began}
    keep(part, about)


# The page


PARITY = {
    "tinynet": "tinynet, NumPy",
    "tinynet-cupy": "tinynet, CuPy",
    "pytorch-as-keras": "PyTorch",
    "jax": "JAX, highest precision",
}
RACE = {
    "tinynet": "tinynet, NumPy",
    "tinynet-cupy": "tinynet, CuPy",
    "pytorch": "PyTorch, eager",
    "pytorch-graph": "PyTorch, CUDA graph",
    "jax": "JAX, compiled epoch",
}


def page(results: Results, out: pathlib.Path) -> str:
    """What came of it all, on a page."""
    works = results.get("machine", {"figures": {}})["figures"].get("works")
    title = "# tinynet on a GPU"
    if works is False:
        title += (
            "\n\nThere is no GPU here that works. What follows was computed on the CPU, and says "
            "nothing about a GPU."
        )
    rows = [
        [f"{part}: {outcome(part, about)}", seconds(about.get("seconds", 0))]
        for part, about in results.items()
    ]
    sections = [title, table(["part", "took"], rows)]
    for part, (heading, tell) in SECTIONS.items():
        if part in results and (text := told(tell, results[part]["figures"])):
            sections.append(f"## {heading}\n\n{text}")
            if part == "cpu_vs_gpu" and (out / "cpu_vs_gpu.png").exists():
                sections.append("![A step on the CPU and on the GPU](cpu_vs_gpu.png)")
    return "\n\n".join(sections) + "\n"


def told(tell: Callable[[dict[str, Any]], str], figures: dict[str, Any]) -> str:
    """A part's section; the page comes even where figures are missing or strange."""
    if not figures or "nothing_to_do" in figures:
        return ""
    try:
        return tell(figures)
    except Exception as error:
        return f"Its figures are not complete ({type(error).__name__}: {error})."


def outcome(part: str, about: dict[str, Any]) -> str:
    """How a part ended, in words: ``"done"``, ``"left out …"``, or what is wrong."""
    figures = about["figures"]
    if about["ended"] != "done":
        return about["ended"]
    if "nothing_to_do" in figures:
        return f"left out ({figures['nothing_to_do']})"
    wrong: list[str] = []
    if part == "tests" and figures["exit_code"]:
        wrong.append("tests fail")
    if part == "parity":
        wrong += [
            f"{PARITY[program]} is too far from float64"
            for program, one in figures["parity"].items()
            if not one["within"]
        ]
    if part == "epochs":
        others = [one["same"].split(":")[0] for one in figures["epochs"].values()]
        wrong += dict.fromkeys(filter(None, others))
    if part == "capture" and figures["difference"]["replayed"] != 0:
        wrong.append("the replay gives other numbers")
    if part == "memory":
        expected = ("within", "same", "words", "unchanged", "constant")
        wrong += [f"not {name}" for name in expected if not figures[name]]
    return f"**{'; '.join(wrong)}**" if wrong else "done"


def tell_machine(figures: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in figures["versions"].items())
    lines = [
        f"{figures['date']}. {figures['machine']}",
        f"tinynet {figures['tinynet']}, {versions}",
    ]
    lines += [*figures.get("nvidia_smi", []), *figures.get("doctor", [])]
    return "\n".join(f"    {line}" for line in lines)


def tell_tests(figures: dict[str, Any]) -> str:
    lines = [f"    {line}" for line in figures["failed"]]
    more = figures["failures"] - len(lines)
    lines += [f"    and {more} more"] if more > 0 else []
    return "\n".join([f"`pytest -m gpu`: {figures['outcome'].strip('= ')}", "", *lines]).strip()


def left_out(figures: dict[str, Any], names: Mapping[str, str]) -> str:
    reasons = [f"{names.get(p, p)} ({why})" for p, why in figures.get("left_out", {}).items()]
    return f"\n\nLeft out: {'; '.join(reasons)}." if reasons else ""


def tell_parity(figures: dict[str, Any]) -> str:
    found = figures["parity"]
    columns = [name for name in figures["bounds"] if any(name in one for one in found.values())]
    rows = []
    for program, one in found.items():
        cells = [f"{PARITY[program]} ({one['place']})"]
        for name in columns:
            value = max(one[name]) if isinstance(one[name], list) else one[name]
            cells.append(f"{value:.1e}")
        rows.append([*cells, "yes" if one["within"] else "NO"])
    rows.append(["bound", *(f"{figures['bounds'][name]:.0e}" for name in columns), ""])
    return (
        "Distances from NumPy in float64, from the same weights, on the same batches of 32 of "
        f"{figures['data']}: of the first batch's gradients, the largest of six, relative; of any "
        "weight after so many steps; of the loss over all images then.\n\n"
        + table(["", *columns, "within"], rows)
        + left_out(figures, PARITY)
    )


def tell_compare(figures: dict[str, Any]) -> str:
    # The tables are in the picture, and the machine stands above.
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
                        f"{int(size):,}, {RACE[program]} ({one['place'][program]})",
                        seconds(median(values)),
                        f"{seconds(min(values))} – {seconds(max(values))}",
                        f"{ratio(ours, values):.2f}" if ours and len(ours) == len(values) else "",
                        f"{one['loss'][program]:.4f}",
                    ]
                )
    whose = "tinynet, CuPy" if any("CuPy" in row[0] for row in rows) else "tinynet"
    head = ["batch", "an epoch", "spread", f"{whose} ÷ it", "loss after the first"]
    said = [one["same"] for one in figures["epochs"].values() if one["same"]]
    return "\n".join(
        [
            f"An epoch of the example's network on {figures['data']}, in turn; medians.",
            "",
            table(head, rows) + left_out(figures, RACE),
            *said,
        ]
    )


def tell_capture(figures: dict[str, Any]) -> str:
    difference = figures["difference"]
    text = (
        f"A step was captured into a CUDA graph. After {figures['steps']} steps, the weights of "
        f"the replay differ by {difference['replayed']:.1e} from those of eager steps that call "
        f"cuBLAS likewise, and those with CuPy's own product by {difference['eager']:.1e}."
    )
    if took := figures.get("seconds"):
        each = "; ".join(
            f"{name} {seconds(one['told'])} of the host's time, {seconds(one['done'])} until done"
            for name, one in took.items()
        )
        text += f" A step: {each}."
    return text


def tell_memory(figures: dict[str, Any]) -> str:
    def megabytes(count: int) -> str:
        return f"{count / 1e6:,.1f} MB"

    used, total = figures["held"][-1]
    return "\n".join(
        [
            f"- With `memory_limit` at {megabytes(figures['limit'])}, data of "
            f"{megabytes(figures['data'])}: CuPy held {megabytes(figures['peak'])} at most, and "
            f"the weights are {'the same' if figures['same'] else 'OTHERS'} as without a limit.",
            f"- Out of memory, the model is {'as it was' if figures['unchanged'] else 'CHANGED'}:",
            f"  {figures['words'] or 'there was no error'}",
            f"- After 20 fits, {megabytes(used)} are in use of {megabytes(total)} held: "
            + ("the same since the third." if figures["constant"] else "it GROWS."),
        ]
    )


def tell_first_fit(figures: dict[str, Any]) -> str:
    columns = ["process", "to the first array", "first fit", "second fit"]
    rows = [
        [when, *(seconds(one[name]) for name in columns), str(one["kernels"])]
        for when, one in figures["took"].items()
    ]
    return table(["CuPy's cache of kernels", *columns, "files in it then"], rows)


SECTIONS: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
    "machine": ("Machine", tell_machine),
    "tests": ("Tests", tell_tests),
    "parity": ("Numbers", tell_parity),
    "cpu_vs_gpu": ("CPU and GPU", tell_compare),
    "epochs": ("Beside PyTorch and JAX", tell_epochs),
    "capture": ("A step as a CUDA graph", tell_capture),
    "memory": ("Memory", tell_memory),
    "first_fit": ("The first fit", tell_first_fit),
}


def known(out: pathlib.Path) -> Results:
    """The figures of all files in the folder, in the order of the parts."""
    found: Results = {}
    for path in sorted(out.glob("on_gpu*.json"), key=lambda path: path.stat().st_mtime):
        found |= json.loads(path.read_text("utf-8"))
    return {part: found[part] for part in LIMITS if part in found}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, required=True, help="a folder for the figures")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--part", nargs="+", choices=[*LIMITS, "summary"], help="these parts only")
    which.add_argument("--half", type=int, choices=[1, 2], help="the first parts, or the others")
    parser.add_argument("--quick", action="store_true", help="a little of each part, to try it")
    parser.add_argument("--patience", type=float, default=1, help="multiplies the time limits (1)")
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    half = arguments.half
    chosen = arguments.part or [*(HALVES[half - 1] if half else LIMITS)]
    file = out / (f"on_gpu-{half}.json" if half else "on_gpu.json")
    own: Results = json.loads(file.read_text("utf-8")) if file.exists() else {}

    def keep(part: str, about: dict[str, Any]) -> None:
        own[part] = about
        write(file, json.dumps(own, indent=1) + "\n")
        write(out / "summary.md", page(known(out), out))

    for part in filter(LIMITS.__contains__, chosen):
        print(f"{part}: at most {LIMITS[part] * arguments.patience:g} s … ", end="", flush=True)
        go(part, out, LIMITS[part] * arguments.patience, arguments.quick, keep)
        print(f"{outcome(part, own[part])}, {seconds(own[part]['seconds'])}", flush=True)
    text = page(known(out), out)
    write(out / "summary.md", text)
    print("\n" + text)
    outcomes = [outcome(part, own[part]) for part in chosen if part in own]
    return 0 if all(how == "done" or how.startswith("left out") for how in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
