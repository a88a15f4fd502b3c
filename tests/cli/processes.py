"""The commands as processes, and simulators in processes of their own for them to speak to."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import attrs

SAMPLES_PER_CHARACTER = 1440  # 60 ms at 24 kHz, the simulator's default
FAST = ("-O", "speed=inf", "-O", "first_audio=0")
PATIENCE = 20  # seconds for a process on a busy machine to do what takes it one


def voicetrio(*arguments, **how):
    """Start the command; `with` waits for its end."""
    environment = {**os.environ, "DEEPGRAM_API_KEY": "k", "PYTHONWARNINGS": "error", **how.pop("env", {})}
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(
        [sys.executable, "-m", "voicetrio.cli", *map(str, arguments)], env=environment, **{**streams, **how}
    )


def wait_until(condition, process):
    """Wait until a condition holds; fail at once if `process`, which brings it about, ends before."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        try:
            process.wait(0.01)
        except subprocess.TimeoutExpired:
            continue
        assert condition(), f"the process has ended, with {process.returncode}"


@attrs.define
class Running:
    """A simulator in a process of its own."""

    url: str
    process: subprocess.Popen
    log_file: object

    def log(self):
        return [json.loads(line) for line in self.log_file.read_text().splitlines()]


@contextmanager
def simulate(name, log_file, *arguments, ending=signal.SIGTERM):
    with voicetrio("simulate", name, "--log", log_file, *arguments) as process:
        try:
            yield Running(process.stdout.readline().decode().strip(), process, log_file)
        finally:
            process.send_signal(ending)
            _, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (0, b"")
