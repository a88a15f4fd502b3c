"""What ``voicetrio bench`` measures of a provider: a cold start, warm turns, and interruptions."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs
import numpy as np
import trio

from .._link.nursery import open_plain_nursery
from ..audio import open_audio_sink
from ..errors import VoiceTrioError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..audio import AudioSource
    from ..tts import TTSProvider, TTSSession
    from ._distance import Dial

SHORT = "Hello, this is a short sentence."
LONG = (
    "This is a long sentence that goes on for some time, so that it can be interrupted while it is being spoken, and "
    "so that there is more of it to come."
)

# Seconds of a turn that are heard before it is interrupted.
_HEARD_BEFORE = 0.3
_DRAWS = 2000
_SILENT = "the turn had no sound"

FIGURES: dict[str, str] = {
    "cold_first_ms": "cold start: construction → first sample",
    "warm_first_ms": "warm turn: request → first sample",
    "interrupt_call_ms": "interruption: the call",
    "interrupt_free_ms": "interruption: call → task free",
    "interrupt_next_ms": "interruption: call → next turn's first sample",
}
"""The figures, all in milliseconds, and what they are called."""


@attrs.frozen(kw_only=True)
class Workload:
    """How often each is done.

    Attributes:
        cold: sessions that are opened for one turn.
        warm: turns on one session.
        interruptions: turns that are interrupted, each with another turn behind it.
        short: text of the turns.
        long: text of those that are interrupted.
    """

    cold: int = 3
    warm: int = 10
    interruptions: int = 10
    short: str = SHORT
    long: str = LONG

    @property
    def characters(self) -> int:
        """Characters that are sent to be spoken, at most."""
        turns = self.cold + self.warm + self.interruptions
        return turns * len(self.short) + self.interruptions * len(self.long)


@attrs.define
class Measured:
    """What was measured.

    Attributes:
        figures: milliseconds, by the keys of :data:`FIGURES`.
        stale_samples: of interrupted turns, taken from the source after the interruption.
        connections: opened by the session of the warm turns and of the interruptions.
        late_bytes: that arrived for turns already silenced, and were dropped.
        errors: what turns failed with.
    """

    figures: dict[str, list[float]] = attrs.Factory(lambda: {key: [] for key in FIGURES})
    stale_samples: int = 0
    connections: int = 0
    late_bytes: int = 0
    errors: list[str] = attrs.Factory(list)


class _Ear:
    """Takes every frame as soon as it is there."""

    def __init__(self) -> None:
        self.first: dict[int, float] = {}
        self.latest = 0
        self.silenced: set[int] = set()
        self.stale = 0
        self._seconds: dict[int, float] = {}
        self._changed = trio.Event()

    async def listen(self, source: AudioSource) -> None:
        async for frame in source:
            self.first.setdefault(frame.turn, time.perf_counter())
            self._seconds[frame.turn] = self._seconds.get(frame.turn, 0.0) + frame.seconds
            self.latest = frame.turn
            if frame.turn in self.silenced:
                self.stale += frame.samples
            self.wake()

    def wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def until(self, earlier: int, seconds: float, job: _Call) -> None:
        """Wait until so much of a turn later than `earlier` was heard, or its call has ended."""
        while job.ended is None and (self.latest <= earlier or self._seconds[self.latest] < seconds):
            await self._changed.wait()


class _Call:
    """A call of ``synthesize()`` in a task of its own."""

    def __init__(self) -> None:
        self.ended: float | None = None
        self.error: str | None = None
        self.over = trio.Event()

    async def run(self, session: TTSSession, text: str, ear: _Ear) -> None:
        try:
            await session.synthesize(text)
        except VoiceTrioError as error:
            self.error = f"{type(error).__name__}: {error}"
        finally:
            self.ended = time.perf_counter()
            self.over.set()
            ear.wake()


async def measure(
    provider: TTSProvider, workload: Workload, *, dial: Dial | None = None, tell: Callable[[str, int], object]
) -> Measured:
    """Measure a provider.

    Args:
        provider: which, with its options.
        workload: how often what is done.
        dial: see :meth:`~voicetrio.tts.TTSProvider.open`.
        tell: called before each turn with what it is of, and the characters it may take.

    Returns:
        The figures; turns that failed are among its errors, and have none.
    """
    measured = Measured()
    for _ in range(workload.cold):
        tell("cold start", len(workload.short))
        await _measure_cold(provider, workload, dial, measured)
    sink, source = open_audio_sink(provider.audio_format.sample_rate)
    ear = _Ear()
    async with provider.open(sink, dial=dial) as session, open_plain_nursery("measured") as nursery:
        nursery.start_soon(ear.listen, source)
        try:
            await session.prewarm()
        except VoiceTrioError as error:
            measured.errors.append(f"{type(error).__name__}: {error}")
        for _ in range(workload.warm):
            tell("warm turn", len(workload.short))
            await _measure_turn(session, ear, workload.short, measured)
        for _ in range(workload.interruptions):
            tell("interruption", len(workload.long) + len(workload.short))
            await _measure_interruption(session, ear, workload, measured)
        await sink.drained()
        measured.stale_samples = ear.stale
        statistics = session.statistics()
        measured.connections, measured.late_bytes = statistics.connections, statistics.late_bytes
        nursery.cancel_scope.cancel(reason="measured")
    return measured


async def _measure_cold(provider: TTSProvider, workload: Workload, dial: Dial | None, measured: Measured) -> None:
    began = time.perf_counter()
    sink, source = open_audio_sink(provider.audio_format.sample_rate)
    ear = _Ear()
    async with open_plain_nursery("measured") as nursery:
        nursery.start_soon(ear.listen, source)
        try:
            async with provider.open(sink, dial=dial) as session:
                await session.synthesize(workload.short)
                await sink.drained()
        except VoiceTrioError as error:
            measured.errors.append(f"{type(error).__name__}: {error}")
        else:
            if not ear.first:
                measured.errors.append(_SILENT)
        nursery.cancel_scope.cancel(reason="measured")
    if ear.first:
        measured.figures["cold_first_ms"].append(1000 * (min(ear.first.values()) - began))


async def _measure_turn(session: TTSSession, ear: _Ear, text: str, measured: Measured) -> None:
    began = time.perf_counter()
    try:
        spoken = await session.synthesize(text)
    except VoiceTrioError as error:
        measured.errors.append(f"{type(error).__name__}: {error}")
        return
    await session.sink.drained()
    if spoken.turn not in ear.first:
        measured.errors.append(_SILENT)
        return
    measured.figures["warm_first_ms"].append(1000 * (ear.first[spoken.turn] - began))


async def _measure_interruption(session: TTSSession, ear: _Ear, workload: Workload, measured: Measured) -> None:
    async with open_plain_nursery("measured") as nursery:
        call, earlier = _Call(), ear.latest
        nursery.start_soon(call.run, session, workload.long, ear)
        await ear.until(earlier, _HEARD_BEFORE, call)
        began = time.perf_counter()
        interruption = session.interrupt()
        returned = time.perf_counter()
        if interruption is not None:
            ear.silenced.update(interruption.turns)
        await call.over.wait()
    if call.error is not None or interruption is None:
        measured.errors.append(call.error or "the turn was over before it could be interrupted")
        return
    assert call.ended is not None
    try:
        spoken = await session.synthesize(workload.short)
    except VoiceTrioError as error:
        measured.errors.append(f"{type(error).__name__}: {error}")
        return
    await session.sink.drained()
    if spoken.turn not in ear.first:
        measured.errors.append(_SILENT)
        return
    figures = measured.figures
    figures["interrupt_call_ms"].append(1000 * (returned - began))
    figures["interrupt_free_ms"].append(1000 * (call.ended - began))
    figures["interrupt_next_ms"].append(1000 * (ear.first[spoken.turn] - began))


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """The ratio of two medians, and the interval that holds 95 % of its bootstrap draws.  Neither may be empty."""
    rng = np.random.default_rng(0)
    above = np.median(rng.choice(ours, (_DRAWS, len(ours))), axis=1)
    below = np.median(rng.choice(theirs, (_DRAWS, len(theirs))), axis=1)
    low, high = np.quantile(above / below, [0.025, 0.975])
    return float(np.median(ours) / np.median(theirs)), float(low), float(high)
