"""Ten thousand sessions, opened and cancelled at random points: what do they leave behind?

Most run in memory under virtual time, some hundred over loopback sockets.  After a warm-up, tasks, file descriptors and
threads must be as many as before, no object of a session may live on, and the memory must not have grown by more than
it goes up and down by itself: neither the blocks that Python has allocated nor what is resident.
"""

from __future__ import annotations

import argparse
import gc
import math
import os
import random
import secrets
import sys
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import trio
import trio.testing

from voicetrio import DeepgramTTS, open_audio_sink
from voicetrio._link.link import Link
from voicetrio.errors import SinkClosed
from voicetrio.simulators import DeepgramOptions, DeepgramSimulator
from voicetrio.tts import TTSSession
from voicetrio.turn import Turn

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from voicetrio.audio import AudioSource
    from voicetrio.simulators import Server

AT_ONCE = 10
"""Sessions that run side by side."""

# What goes up and down by itself: twice as many sessions leave no more.
_BLOCKS = 2000
_RSS = 3 * 2**20

_PAGE = os.sysconf("SC_PAGE_SIZE")


class Failure(Exception):
    """What a session's block raises of its own."""


@attrs.frozen
class Usage:
    """What a process holds at a moment.

    Attributes:
        tasks: of trio.
        fds: open file descriptors.
        threads: as the kernel counts them.
        objects: sessions, links and turns that are still alive.
        blocks: of memory that Python has allocated.
        rss: resident bytes.
    """

    tasks: int
    fds: int
    threads: int
    objects: int
    blocks: int
    rss: int

    @classmethod
    def now(cls) -> Usage:
        """Look, after the garbage is gone."""
        gc.collect()
        return cls(
            tasks=trio.lowlevel.current_statistics().tasks_living,
            fds=len(list(Path("/proc/self/fd").iterdir())),
            threads=len(list(Path("/proc/self/task").iterdir())),
            objects=sum(isinstance(each, TTSSession | Link | Turn) for each in gc.get_objects()),
            blocks=sys.getallocatedblocks(),
            rss=int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE,
        )

    def since(self, before: Usage) -> Usage:
        """The difference; it may be negative, as a worker thread of trio's that nobody needs ends after ten seconds."""
        return Usage(*(now - then for now, then in zip(attrs.astuple(self), attrs.astuple(before), strict=True)))

    def __str__(self) -> str:
        return (
            f"tasks {self.tasks:+d}, file descriptors {self.fds:+d}, threads {self.threads:+d}, "
            f"objects {self.objects:+d}, blocks {self.blocks:+d}, RSS {self.rss / 2**20:+.2f} MiB"
        )


def in_memory(seed: int, sessions: int, warm_up: int) -> Usage:
    """Run sessions in memory under virtual time; what those after the warm-up left."""
    clock = trio.testing.MockClock(autojump_threshold=0)
    return trio.run(_measure, random.Random(f"{seed}/memory"), sessions, warm_up, False, clock=clock)


def over_loopback(seed: int, sessions: int, warm_up: int) -> Usage:
    """Run sessions over sockets, in real time; what those after the warm-up left."""
    return trio.run(_measure, random.Random(f"{seed}/loopback"), sessions, warm_up, True)


async def _measure(rng: random.Random, sessions: int, warm_up: int, sockets: bool) -> Usage:
    # Each server keeps a log of all connections: a new one for each round, so that it does not count as growth.
    await _rounds(rng, warm_up, sockets)
    before = Usage.now()
    await _rounds(rng, sessions, sockets)
    return Usage.now().since(before)


async def _rounds(rng: random.Random, sessions: int, sockets: bool) -> None:
    for done in range(0, sessions, AT_ONCE):
        simulator = DeepgramSimulator(_options(rng))
        serving = simulator.serve() if sockets else simulator.serve_in_memory()
        async with serving as server, trio.open_nursery() as nursery:
            for _ in range(min(AT_ONCE, sessions - done)):
                nursery.start_soon(_session, random.Random(rng.getrandbits(64)), server)


def _options(rng: random.Random) -> DeepgramOptions:
    return DeepgramOptions(
        first_audio=rng.choice((0.0, 0.02)),
        speed=rng.choice((20.0, math.inf)),
        ms_per_char=10,
        clear_delay=rng.choice((0.0, 0.01)),
        seed=rng.getrandbits(32),
    )


async def _session(rng: random.Random, server: Server) -> None:
    """One session, which ends by a cancellation, by an exception or by itself, whichever comes first."""
    sink, source = open_audio_sink(rng.choice((16_000, 24_000)), max_seconds=rng.choice((0.1, 1.0)))
    provider = DeepgramTTS(api_key="k", base_url=server.url)
    async with trio.open_nursery() as nursery:
        scope = rng.choice((nursery.cancel_scope, trio.CancelScope()))
        nursery.start_soon(_cancel, rng, scope)
        nursery.start_soon(_read, rng, source)
        with nullcontext() if scope is nursery.cancel_scope else scope, suppress(Failure, SinkClosed):
            async with provider.open(sink, dial=server.dial) as tts:
                for _ in range(rng.randint(1, 3)):
                    await rng.choice(_ACTIONS)(rng, tts)
                if rng.random() < 0.1:
                    raise Failure
        nursery.cancel_scope.cancel()


async def _cancel(rng: random.Random, scope: trio.CancelScope) -> None:
    if rng.random() < 0.5:
        await trio.sleep(rng.uniform(0, 0.1))
    for _ in range(rng.randint(0, 80)):
        await trio.lowlevel.checkpoint()
    scope.cancel()


async def _read(rng: random.Random, source: AudioSource) -> None:
    """Play; sometimes leave in the middle."""
    frames = 0
    leaves = rng.random() < 0.1
    async for frame in source.frames(0.05):
        frames += 1
        if leaves and frames == 3:
            source.close()
            return
        await trio.sleep(frame.seconds / 10)


async def _prewarm(_rng: random.Random, tts: TTSSession) -> None:
    await tts.prewarm()


async def _speak(rng: random.Random, tts: TTSSession) -> None:
    await tts.synthesize("x" * rng.randint(1, 60))


async def _speak_unheard(rng: random.Random, tts: TTSSession) -> None:
    with suppress(SinkClosed):
        await _speak(rng, tts)


async def _stream(rng: random.Random, tts: TTSSession) -> None:
    async def text() -> AsyncGenerator[str, None]:
        for _ in range(rng.randint(1, 5)):
            await trio.sleep(rng.uniform(0, 0.01))
            yield "x" * 10

    await tts.synthesize(text())


async def _interrupt(rng: random.Random, tts: TTSSession) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_speak_unheard, rng, tts)
        await trio.sleep(rng.uniform(0, 0.03))
        tts.interrupt()


_ACTIONS = (_prewarm, _speak, _speak, _stream, _interrupt)


def main() -> int:
    """Run it; the exit status is 1 if something was left behind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    parser.add_argument("--sessions", type=int, default=10_000, help="in all")
    parser.add_argument("--sockets", type=int, default=500, help="of them over loopback sockets")
    options = parser.parse_args()
    print(f"seed {options.seed}")
    bad = False
    for name, run, sessions, warm_up in (
        ("in memory", in_memory, options.sessions - options.sockets, 1000),
        ("over loopback", over_loopback, options.sockets, 200),
    ):
        usage = run(options.seed, sessions, warm_up)
        print(f"{sessions} sessions {name}, after {warm_up} to warm up: {usage}")
        bad |= max(usage.tasks, usage.fds, usage.threads, usage.objects) > 0
        bad |= usage.blocks > _BLOCKS or usage.rss > _RSS
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
