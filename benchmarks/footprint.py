"""What voicetrio costs before it does anything: the import, and a session that is connected and idle.

Each import is measured in a process of its own; the sessions talk to a simulator in another process.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import trio

from voicetrio import DeepgramTTS, open_audio_sink
from voicetrio.simulators import DeepgramSimulator

if TYPE_CHECKING:
    from collections.abc import Callable

IMPORT_SECONDS = 0.5
IMPORT_MIB = 60
SESSION_KIB = 100

_PAGE = os.sysconf("SC_PAGE_SIZE")

# ``import voicetrio`` alone brings next to nothing: its names are imported when they are asked for.
_STATEMENT = "from voicetrio import DeepgramTTS, open_audio_sink"
_FACE = "from voicetrio import *"

_IMPORT = """
import sys, time
from pathlib import Path
start = time.perf_counter()
{statement}
spent = time.perf_counter() - start
print(spent, int(Path('/proc/self/statm').read_text().split()[1]))
"""


class Import(NamedTuple):
    """Seconds and resident bytes of a process after an import."""

    seconds: float
    rss: int


def measure_import(statement: str, repeats: int = 9) -> Import:
    """The median of several fresh processes."""
    runs: list[Import] = []
    for _ in range(repeats + 1):  # the first fills the disk cache
        output = subprocess.check_output([sys.executable, "-c", _IMPORT.format(statement=statement)], text=True)
        seconds, pages = output.split()
        runs.append(Import(float(seconds), int(pages) * _PAGE))
    return Import(
        statistics.median(run.seconds for run in runs[1:]), statistics.median_low(run.rss for run in runs[1:])
    )


def slowest_imports(count: int) -> list[tuple[str, float]]:
    """The modules that take most of the import, each with all that it imports first, in seconds."""
    command = [sys.executable, "-X", "importtime", "-c", _STATEMENT]
    trace = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    modules: list[tuple[str, float]] = []
    for line in trace.splitlines():
        _, _, fields = line.partition("import time:")
        parts = fields.split("|")
        if len(parts) == 3 and parts[1].strip().isdigit() and "." not in parts[2].strip():
            modules.append((parts[2].strip(), int(parts[1]) / 1e6))
    return sorted(modules, key=lambda module: -module[1])[:count]


def _rss() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


class Idle(NamedTuple):
    """Bytes of a connected session: of resident memory, and as Python's allocator counts them."""

    rss: float
    traced: float


async def measure_idle(url: str, sessions: int) -> Idle:
    """Open so many sessions, twice: tracing costs memory of its own."""
    await _open_sessions(url, 50, _rss)  # what is made once is made now
    rss = await _open_sessions(url, sessions, _rss)
    tracemalloc.start()
    traced = await _open_sessions(url, sessions, _traced)
    tracemalloc.stop()
    return Idle(rss, traced)


def _traced() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def _open_sessions(url: str, sessions: int, measure: Callable[[], int]) -> float:
    """What `measure` says of one session."""
    before = measure()
    async with trio.open_nursery() as nursery:
        for _ in range(sessions):
            ready = trio.Event()
            nursery.start_soon(_idle_session, url, ready)
            await ready.wait()
        used = measure() - before
        nursery.cancel_scope.cancel()
    return used / sessions


async def _idle_session(url: str, ready: trio.Event) -> None:
    sink, _source = open_audio_sink()
    async with DeepgramTTS(api_key="k", base_url=url).open(sink) as tts:
        await tts.prewarm()
        ready.set()
        await trio.sleep_forever()


async def _serve() -> None:
    async with DeepgramSimulator().serve() as server:
        print(server.url, flush=True)
        await trio.sleep_forever()


def main() -> int:
    """Print the figures; the exit status is 1 if one is above its aim."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=400)
    parser.add_argument("--serve", action="store_true", help="be the simulator: for the program itself")
    options = parser.parse_args()
    if options.serve:
        trio.run(_serve)
        return 0
    return _report(options.sessions)


def _report(sessions: int) -> int:
    bare, numpy = measure_import("pass"), measure_import("import numpy")
    imports = {statement: measure_import(statement) for statement in (_STATEMENT, _FACE)}
    for statement, each in imports.items():
        print(f"{statement}: {each.seconds:.3f} s (aim {IMPORT_SECONDS}), RSS {_mib(each.rss)} (aim {IMPORT_MIB} MiB)")
    print(f"  bare Python is {_mib(bare.rss)}, numpy {_mib(numpy.rss - bare.rss)} and {numpy.seconds:.3f} s")
    print("  slowest, each with what it imports:")
    for name, seconds in slowest_imports(12):
        print(f"    {seconds:.3f} s  {name}")
    with subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True) as simulator:
        assert simulator.stdout is not None
        try:
            idle = trio.run(measure_idle, simulator.stdout.readline().strip(), sessions)
        finally:
            simulator.kill()
    print(
        f"idle session: RSS {idle.rss / 1024:.1f} KiB (aim {SESSION_KIB}), by tracemalloc {idle.traced / 1024:.1f} KiB"
    )
    light = all(each.seconds <= IMPORT_SECONDS and each.rss <= IMPORT_MIB * 2**20 for each in imports.values())
    return 0 if light and max(idle) <= SESSION_KIB * 1024 else 1


def _mib(size: float) -> str:
    return f"{size / 2**20:.1f} MiB"


if __name__ == "__main__":
    sys.exit(main())
