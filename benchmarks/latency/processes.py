"""The processes of a run: simulators and contenders, each pinned to a core where the machine lets us."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / ".venv-peers" / "bin" / "python"

_TICK = os.sysconf("SC_CLK_TCK")


class ContenderFailed(Exception):
    """A contender's process ended, or said nothing for too long."""


def cores() -> tuple[int | None, int | None]:
    """The core for contenders and the one for simulators; None where there is only one, or no way to choose."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    allowed = sorted(os.sched_getaffinity(0))
    return (allowed[0], allowed[1]) if len(allowed) > 1 else (None, None)


def _pin(process: subprocess.Popen[str], core: int | None) -> None:
    if core is not None:
        os.sched_setaffinity(process.pid, {core})


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


class SimulatorProcess:
    """``voicetrio simulate`` in a process of its own.

    Attributes:
        url: where it listens.
        log: where it writes its log, None if it was not asked for.
    """

    def __init__(self, process: subprocess.Popen[str], url: str, log: Path | None) -> None:
        self.url = url
        self.log = log
        self._process = process

    def cpu(self) -> float:
        """Seconds of CPU so far."""
        return cpu_seconds(self._process.pid)


@contextmanager
def simulator(
    name: str, options: Mapping[str, object], core: int | None, *, log: bool = False
) -> Generator[SimulatorProcess, None, None]:
    """Run a simulator."""
    command = [sys.executable, "-m", "voicetrio.cli", "simulate", name]
    for key, value in options.items():
        command += ["-O", f"{key}={value}"]
    with tempfile.TemporaryDirectory(prefix="voicetrio-bench-") as folder:
        path = Path(folder) / "log.jsonl" if log else None
        if path is not None:
            command += ["--log", str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
            assert process.stdout is not None
            _pin(process, core)
            try:
                url = process.stdout.readline().strip()
                if not url:
                    raise RuntimeError(f"the simulator of {name} did not start: {' '.join(command)}")
                yield SimulatorProcess(process, url, path)
            finally:
                process.kill()


class Worker:
    """A contender's process.

    Args:
        module: its file, as ``-m`` wants it.
        python: the interpreter of its environment.
        core: where it runs; None for anywhere.
        path: where the module is, if it is not one of ours.

    Attributes:
        prepared: what it said of its import.
    """

    def __init__(self, module: str, python: str | Path, core: int | None, *, path: Path | None = None) -> None:
        paths = [str(each) for each in (path, ROOT / "benchmarks", ROOT) if each is not None]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONHASHSEED": "0"}
        command = [str(python), "-m", module]
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 -- lives as long as the process
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment,
            cwd=ROOT / "benchmarks",
        )
        _pin(self._process, core)
        self.prepared: dict[str, Any] = {}

    def ask(self, command: Mapping[str, object], timeout: float = 120.0) -> dict[str, Any]:
        """Send a command and wait for its answer.

        Raises:
            ContenderFailed: none came.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise ContenderFailed(self._last_words()) from None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(timeout):
                self.kill()
                raise ContenderFailed(f"{command['do']}: no answer within {timeout:g} s")
        line = self._process.stdout.readline()
        if not line:
            raise ContenderFailed(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        return lines[-1][:300] if lines else f"ended with status {self._process.returncode}"

    def kill(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:
                continue
        self._errors.close()
