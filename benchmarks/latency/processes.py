"""The processes of a run: simulators and contenders, each pinned to a core where the machine lets us."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / ".venv-peers" / "bin" / "python"

RECOGNIZER = "cartesia-stt"
"""The one simulator of which it must be known what it heard."""

LOOK = 0.5
"""Seconds between two looks at how busy the simulator is."""


def scheduled(pid: int) -> tuple[float, float]:
    """Seconds for which a process's main thread ran, and for which it could have run while others had its core."""
    try:
        ran, waited, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
    except OSError:  # a kernel that does not tell, or a process that has ended
        return 0.0, 0.0
    return int(ran) / 1e9, int(waited) / 1e9


class Watch:
    """How busy a process is.

    Attributes:
        most: the share of its busiest half second in which it ran, or waited for its core.
        ran: seconds.
        waited: seconds in which others had its core.
    """

    def __init__(self, pid: int) -> None:
        self.most = self.ran = self.waited = 0.0
        self._pid = pid
        self._last, self._time = scheduled(pid), time.perf_counter()

    def look(self) -> None:
        """Take the time since the last look into account; less than a tenth of a second tells nothing."""
        found, now = scheduled(self._pid), time.perf_counter()
        if now - self._time > LOOK / 5 and found > self._last:
            ran, waited = found[0] - self._last[0], found[1] - self._last[1]
            self.most = max(self.most, (ran + waited) / (now - self._time))
            self.ran, self.waited = self.ran + ran, self.waited + waited
            self._last, self._time = found, now


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


def _environment(*paths: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTHONHASHSEED": "0"}


class SimulatorProcess:
    """A simulator in a process of its own.

    Attributes:
        url: where it listens.
        log: where it writes its log, None if it was not asked for.
        pid: of its process.
    """

    def __init__(self, pid: int, url: str, log: Path | None, folder: Path) -> None:
        self.url = url
        self.log = log
        self.pid = pid
        self._folder = folder
        self._read: set[Path] = set()

    def arrived(self) -> list[bytes]:
        """What a recognizer heard on each of the connections that are new since the last call."""
        paths = sorted(path for path in self._folder.glob("*.pcm") if path not in self._read)
        self._read.update(paths)
        return [path.read_bytes() for path in paths]


def _command(name: str, options: Mapping[str, object], folder: Path, log: Path | None) -> list[str]:
    if name == RECOGNIZER:
        return [sys.executable, "-m", "latency.ear", str(folder), json.dumps(options)]
    pairs = [each for key, value in options.items() for each in ("-O", f"{key}={value}")]
    logged = [] if log is None else ["--log", str(log)]
    return [sys.executable, "-m", "voicetrio.cli", "simulate", name, *pairs, *logged]


@contextmanager
def simulator(
    name: str, options: Mapping[str, object], core: int | None, *, log: bool = False
) -> Generator[SimulatorProcess, None, None]:
    """Run a simulator: ``voicetrio simulate``, or the one that keeps what it hears."""
    with tempfile.TemporaryDirectory(prefix="voicetrio-bench-") as folder:
        path = Path(folder) / "log.jsonl" if log else None
        command = _command(name, options, Path(folder), path)
        environment = _environment(ROOT / "benchmarks", ROOT)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment) as process:
            assert process.stdout is not None
            _pin(process, core)
            try:
                url = process.stdout.readline().strip()
                if not url:
                    raise RuntimeError(f"the simulator of {name} did not start: {' '.join(command)}")
                yield SimulatorProcess(process.pid, url, path, Path(folder))
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
        pid: of the process.
    """

    def __init__(self, module: str, python: str | Path, core: int | None, *, path: Path | None = None) -> None:
        paths = [each for each in (path, ROOT / "benchmarks", ROOT) if each is not None]
        command = [str(python), "-m", module]
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 -- lives as long as the process
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=_environment(*paths),
            cwd=ROOT / "benchmarks",
        )
        _pin(self._process, core)
        self.pid = self._process.pid
        self.prepared: dict[str, Any] = {}

    def ask(
        self, command: Mapping[str, object], timeout: float = 120.0, look: Callable[[], object] = lambda: None
    ) -> dict[str, Any]:
        """Send a command and wait for its answer; `look` is called every half second meanwhile, and at its end.

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
            enough = time.monotonic() + timeout
            while not selector.select(min(LOOK, timeout)):
                look()
                if time.monotonic() > enough:
                    self.kill()
                    raise ContenderFailed(f"{command['do']}: no answer within {timeout:g} s")
            look()
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
