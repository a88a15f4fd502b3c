"""Simulators for the commands to speak to, and the commands in this process."""

import pytest
from processes import FAST, simulate


@pytest.fixture(scope="session")
def simulator(tmp_path_factory):
    """One that answers at once and takes any key."""
    with simulate("deepgram", tmp_path_factory.mktemp("log") / "log.jsonl", *FAST) as running:
        yield running


@pytest.fixture(scope="session")
def strict_simulator(tmp_path_factory):
    """One that speaks no faster than speech is heard, and knows its key."""
    arguments = ("-O", "speed=1", "-O", "api_key=right")
    with simulate("deepgram", tmp_path_factory.mktemp("log") / "log.jsonl", *arguments) as running:
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
