"""The commands as processes, and simulators for them to speak to."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import attrs
import pytest

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


def wait_until(condition):
    """Wait for another process to have got somewhere."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.01)


@attrs.define
class Running:
    """A simulator in a process of its own."""

    url: str
    process: subprocess.Popen
    log_file: object

    def log(self):
        return [json.loads(line) for line in self.log_file.read_text().splitlines()]


@contextmanager
def simulate(log_file, *arguments, ending=signal.SIGTERM):
    with voicetrio("simulate", "deepgram", "--log", log_file, *arguments) as process:
        try:
            yield Running(process.stdout.readline().decode().strip(), process, log_file)
        finally:
            process.send_signal(ending)
            _, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (0, b"")


@pytest.fixture(scope="session")
def simulator(tmp_path_factory):
    """One that answers at once and takes any key."""
    with simulate(tmp_path_factory.mktemp("log") / "log.jsonl", *FAST) as running:
        yield running


@pytest.fixture(scope="session")
def strict_simulator(tmp_path_factory):
    """One that speaks no faster than speech is heard, and knows its key."""
    arguments = ("-O", "speed=1", "-O", "api_key=right")
    with simulate(tmp_path_factory.mktemp("log") / "log.jsonl", *arguments) as running:
        yield running


@pytest.fixture
def run(capfd, monkeypatch):
    """Run a command line in this process; gives its status, standard output, and standard error."""
    from voicetrio.cli._application import run

    monkeypatch.setenv("DEEPGRAM_API_KEY", "k")

    def run_here(*arguments):
        status = run([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return status, captured.out, captured.err

    return run_here
