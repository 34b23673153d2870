"""Tests of `conftest.py`: Ctrl-C works where it is ignored, and no program outlives its test."""

import contextlib
import os
import subprocess
import sys
import time

import pytest
from conftest import ROOT

TESTS = """
import signal, subprocess, sys, time

SLEEPS = "import time; time.sleep(600)"
STARTS = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {SLEEPS!r}]).pid)"

def test_a_program_is_left_and_has_started_another(capfd):
    child = subprocess.Popen([sys.executable, "-c", f"{STARTS}; {SLEEPS}"], stdout=subprocess.PIPE)
    with capfd.disabled():
        print(child.pid, child.stdout.readline().decode())

def test_sigint_interrupts():
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    program = "import signal; print(signal.getsignal(signal.SIGINT))"
    output = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert "default_int_handler" in output
"""


@pytest.mark.long
@pytest.mark.skipif(os.name != "posix", reason="signals are ignored, and sent to groups, on POSIX")
def test_ctrl_c_works_and_no_program_is_left_where_sigint_is_ignored(tmp_path):
    (tmp_path / "test_inside.py").write_text(TESTS)
    paths = [ROOT, ROOT / "tests", ROOT / "tests" / "helpers"]
    ignoring = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "conftest", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    command = [*ignoring, *command, tmp_path]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
    started = [int(word) for word in run.stdout.split() if word.isdigit()][:2]
    assert len(started) == 2
    deadline = time.monotonic() + 10
    for number in started:
        with contextlib.suppress(ProcessLookupError):  # once it has ended
            while True:
                os.kill(number, 0)
                assert time.monotonic() < deadline
                time.sleep(0.05)  # whoever adopts a killed process has to collect it
