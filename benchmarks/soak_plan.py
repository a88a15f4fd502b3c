"""What a soak session does, drawn at random from a seed: the server, the reader, and each interruption.

A session is a TTS session with its simulator; in it one turn after another is spoken and interrupted.  Everything is
drawn from ``random.Random(f"{seed}/{session}")``, so a session is the same each time.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any, Literal

import attrs

from voicetrio import FlushMarker

if TYPE_CHECKING:
    from soak_dialects import SoakDialect

    from voicetrio.simulators._speaker import SpeechOptions

SINK_RATES = (8_000, 16_000, 24_000, 44_100, 48_000)

# Milliseconds of audio in a frame of the server: the shortest and the longest.
_CHUNKS = ((1, 200), (1, 4), (2, 30), (20, 20), (40, 40), (5, 120), (80, 200), (200, 200))

MomentKind = Literal["at_once", "silence", "speech", "frame", "before_marker", "edge", "queued"]
MOMENTS: dict[MomentKind, int] = {
    "at_once": 12,
    "silence": 10,
    "speech": 34,
    "frame": 16,
    "before_marker": 8,
    "edge": 8,
    "queued": 12,
}
"""When an interruption comes, with weights.

at_once: some scheduler passes after the call: before connecting, or before the text is on the wire.
silence: before the first audio.
speech: while audio comes or is played.
frame: when the reader has taken so many frames of the turn; in the reader's task, or from there by another.
before_marker: after the last audio, while the server is late with the end mark, or the client waits for silence.
edge: in the very instant in which the turn completes, some scheduler passes earlier or later.
queued: after ``synthesize()`` has returned, while audio is still queued.
"""

Means = Literal["interrupt", "cancel", "deadline"]
"""How: ``interrupt()``, ``scope.cancel()`` from another task, or the deadline of a scope around the call."""


@attrs.frozen
class SessionPlan:
    """What stays the same in a session.

    Attributes:
        dialect: who speaks to whom.
        provider_rate: of the audio on the wire, in Hz.
        sink_rate: of the audio that comes out, in Hz.
        max_seconds: the sink's bound.
        options: of the simulator, before the first run's own.
        provider: keyword arguments of the provider.
        pace: how much faster than it plays the reader takes audio; ``inf``: as soon as it is there.
        frames: the shortest and longest frame that the reader asks for, in seconds.
        device_seconds: the reader feeds a device that holds this much; None for none.
        prewarm: connect before the first turn.
        capacity: bytes that the connection holds in each direction.
        prompt: the server takes no pass of the scheduler to send or receive where it need not wait.
        tail: seconds from the last audio to the end of a turn, besides those by which its mark is late.
    """

    dialect: SoakDialect
    provider_rate: int
    sink_rate: int
    max_seconds: float
    options: SpeechOptions
    provider: dict[str, Any]
    pace: float
    frames: tuple[float, float]
    device_seconds: float | None
    prewarm: bool
    capacity: float
    prompt: bool
    tail: float

    @property
    def exact(self) -> bool:
        """Whether what comes out is what went in, and nothing is resampled."""
        return self.provider_rate == self.sink_rate


@attrs.frozen
class Moment:
    """When to interrupt, and how.

    Attributes:
        kind: see :data:`MOMENTS`.
        seconds: after the call; for ``queued`` after its return.
        passes: scheduler passes on top of it.
        frames: for ``frame``: of the turn, taken by the reader.
        means: see :data:`Means`.
        in_reader: for ``frame``: in the reader's own task.
    """

    kind: MomentKind
    seconds: float
    passes: int
    frames: int
    means: Means
    in_reader: bool


@attrs.frozen
class RunPlan:
    """One attempt at an interruption.

    Attributes:
        chunks: the turn's text: one string, or several with the pauses before them.
        companions: texts of turns that wait in line behind it.
        moment: when and how.
        gap: seconds until the next turn; None for at once, in the same step as the interruption where that can be.
        options: of the simulator, for this run.
    """

    chunks: tuple[tuple[float, str | FlushMarker], ...]
    companions: tuple[str, ...]
    moment: Moment
    gap: float | None
    options: dict[str, Any]

    @property
    def streamed(self) -> bool:
        """Whether the text comes bit by bit."""
        return len(self.chunks) > 1

    @property
    def characters(self) -> int:
        """Characters of the turn."""
        return sum(len(chunk) for _, chunk in self.chunks if isinstance(chunk, str))


def session_random(seed: int, session: int) -> random.Random:
    """Where a session's chances come from."""
    return random.Random(f"{seed}/{session}")


def plan_session(rng: random.Random, dialect: SoakDialect) -> SessionPlan:
    """Draw a session."""
    provider_rate = rng.choice(dialect.rates)
    # Less than half of the sessions resample: comparing is exact either way, but costs more there.
    sink_rate = provider_rate if provider_rate in SINK_RATES and rng.random() < 0.75 else rng.choice(SINK_RATES)
    shortest, longest = rng.choice(_CHUNKS)
    limited = rng.random() < 0.1
    frames = _reader_frames(rng, (shortest + longest) / 2000)
    provider: dict[str, Any] = {
        "sample_rate": provider_rate,
        "cancel_timeout": rng.choice((0.25, 2.0, 2.0, 2.0)),
        "max_connection_age_sec": rng.choice((3.0, 20.0, 300.0, 300.0, 300.0)),
    }
    options: dict[str, Any] = {
        "frame_ms_min": shortest,
        "frame_ms_max": longest,
        "seed": rng.randrange(2**32),
        "ms_per_char": (shortest + longest) / 2 * rng.choice((0.05, 0.1, 0.2)),  # the turn's mark is a frame at most
        "speed": rng.choice((1.0, 4.0, 4.0, 20.0, math.inf)),
        "odd_frames": rng.random() < 0.4,
        "empty_frames": rng.random() < 0.05,
    }
    own = dialect.draw_session(rng, limited)
    return SessionPlan(
        dialect=dialect,
        provider_rate=provider_rate,
        sink_rate=sink_rate,
        max_seconds=rng.choice((frames[1], 0.25, 1.0, 1.0, 4.0)),
        options=dialect.options(**options, **own.options),
        provider=dialect.fixed | provider | own.provider,
        pace=rng.choice((1.0, 1.0, 2.0, 16.0, math.inf, math.inf)),
        frames=frames,
        device_seconds=rng.choice((None, None, None, None, 0.05, 0.3)),
        prewarm=rng.random() < 0.3,
        capacity=rng.choice((4096, 65536, math.inf)),
        prompt=rng.random() < 0.75,
        tail=own.tail,
    )


def _reader_frames(rng: random.Random, mean: float) -> tuple[float, float]:
    """As long as those of the server, by and large: turns are a few of these, and what was taken whole is not cut."""
    shortest, longest = rng.choice(((0.02, 0.02), (mean, mean), (mean / 2, mean), (mean / 4, 2 * mean)))
    return max(0.001, min(0.1, shortest)), max(0.001, min(0.2, longest))


def plan_run(rng: random.Random, session: SessionPlan) -> RunPlan:
    """Draw a run for a session."""
    kind = rng.choices(list(MOMENTS), list(MOMENTS.values()))[0]
    if kind == "queued" and math.isinf(session.pace) and session.device_seconds is None:
        kind = "speech"  # such a reader leaves nothing queued
    chunks = _chunks(rng, session, kind)
    plan = RunPlan(
        chunks=chunks,
        companions=tuple(_text(rng, session) for _ in range(rng.choice((0,) * 14 + (1, 2)))),
        moment=Moment("at_once", 0.0, 0, 0, "interrupt", in_reader=False),
        gap=rng.choice((None, None, 0.0, 0.0, rng.uniform(0, 0.02), rng.uniform(0, 1))),
        options=_options(rng, session, kind),
    )
    return attrs.evolve(plan, moment=_moment(rng, session, plan, kind))


def _text(rng: random.Random, session: SessionPlan) -> str:
    """A text that makes a few frames on the wire: half the time goes to messages, a sixth to resampling."""
    longest = session.options.frame_ms_max or 40.0
    shortest = session.options.frame_ms_min or longest
    milliseconds = min(rng.uniform(0.5, 4.5) * (shortest + longest) / 2, 500 if session.exact else 200)
    return "x" * max(1, round(milliseconds / session.options.ms_per_char))


def _chunks(rng: random.Random, session: SessionPlan, kind: MomentKind) -> tuple[tuple[float, str | FlushMarker], ...]:
    text = _text(rng, session)
    if kind == "edge" or rng.random() > 0.15:
        return ((0.0, text),)
    chunks: list[tuple[float, str | FlushMarker]] = []
    while text:
        size = rng.randint(1, len(text))
        chunks.append((rng.choice((0.0, 0.0, rng.uniform(0, 0.1))), text[:size]))
        text = text[size:]
        if rng.random() < 0.3 and session.dialect.flushes:
            chunks.append((0.0, FlushMarker()))
    return tuple(chunks)


def _options(rng: random.Random, session: SessionPlan, kind: MomentKind) -> dict[str, Any]:
    late = kind == "before_marker" or (kind == "edge" and rng.random() < 0.5)
    options: dict[str, Any] = {
        "first_audio": rng.choice((0.137 if kind == "silence" else 0.0, 0.137, rng.uniform(0, 0.3))),
        "end_marker": "late" if late else rng.choice(("normal",) * 8 + ("double",)),
        "end_marker_delay": rng.choice((0.125, 0.5)),
    }
    options |= session.dialect.draw_run(rng)
    options["speed"] = math.inf if kind == "edge" else session.options.speed
    return options


def _moment(rng: random.Random, session: SessionPlan, plan: RunPlan, kind: MomentKind) -> Moment:
    means: Means = rng.choice(("interrupt", "interrupt", "cancel", "deadline"))
    if kind == "queued":
        means = "interrupt"  # there is no call any more whose scope could be cancelled
    elif kind in ("at_once", "frame") and means == "deadline":
        means = "cancel"
    if kind == "frame":
        frames = min(rng.choice((1, 1, 1, 1, 2, 2, 3)), max(1, int(_audio(session, plan) / session.frames[1])))
        return Moment(kind, 0.0, 0, frames, means, in_reader=rng.random() < 0.6)
    return Moment(kind, _seconds(rng, session, plan, kind), _passes(rng, kind), 0, means, in_reader=False)


def _audio(session: SessionPlan, plan: RunPlan) -> float:
    return plan.characters * session.options.ms_per_char / 1000


def _seconds(rng: random.Random, session: SessionPlan, plan: RunPlan, kind: MomentKind) -> float:
    audio = _audio(session, plan)
    first = float(plan.options["first_audio"])
    arrival = audio / plan.options["speed"]
    match kind:
        case "at_once":
            return 0.0
        case "silence":
            return rng.uniform(0, first)
        case "speech":
            # Not behind the end of what comes, or of what is played if the sink holds the server up.
            held_up = 0.0 if math.isinf(session.pace) else max(0.0, audio - session.max_seconds) / session.pace
            return first + rng.uniform(0, 1) * max(arrival, held_up)
        case "before_marker":
            return first + arrival + rng.uniform(0, 1) * (float(plan.options["end_marker_delay"]) + session.tail)
        case "edge":
            late = plan.options["end_marker"] == "late"
            return first + (float(plan.options["end_marker_delay"]) if late else 0.0) + session.tail
        case _:
            return rng.choice((0.0, 0.0, rng.uniform(0, 0.1)))


def _passes(rng: random.Random, kind: MomentKind) -> int:
    match kind:
        case "at_once":
            return rng.randint(0, 20)
        case "edge":
            return rng.randint(0, 40)
        case _:
            return rng.choice((0, 0, rng.randint(0, 12)))
