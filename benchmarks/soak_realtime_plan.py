"""What a soak session with a realtime model does, drawn at random from a seed; see :mod:`soak_plan`, which draws most.

A reply is as long as a turn of speech is there, and interrupted at the same moments; and now and then by the user.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import attrs
from soak_dialects import Drawn, SoakDialect
from soak_plan import MomentKind, SessionPlan, plan_run, plan_session

from voicetrio.inference import Realtime
from voicetrio.simulators.gateway_realtime import GatewayRealtimeOptions, GatewayRealtimeSimulator

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

RATE = 24_000
INFERRED_END = 0.6
SPOKEN_TO = "I heard you."
"""What the model says to the user's speech."""

# Of the attempts, those in which the user speaks.
_BY_USER = 0.08

RealtimeMeans = Literal["interrupt", "cancel", "deadline", "user"]


@attrs.frozen
class RealtimeRun:
    """One attempt at an interruption.

    Attributes:
        text: what the model is told, and says.
        companions: texts that are said in line behind it.
        kind: of the moment; see :data:`soak_plan.MOMENTS`.
        means: ``interrupt()``, ``scope.cancel()``, the deadline of a scope around the call, or the user's speech.
        seconds: from the call to the interruption; for ``queued`` from its return.
        passes: scheduler passes on top of it.
        frames: for ``frame``: of the reply, taken by the reader.
        in_reader: for ``frame``: in the reader's own task.
        gap: seconds until the next text; None for at once, in the same step as the interruption where that can be.
        options: of the simulator, for this run.
    """

    text: str
    companions: tuple[str, ...]
    kind: MomentKind
    means: RealtimeMeans
    seconds: float
    passes: int
    frames: int
    in_reader: bool
    gap: float | None
    options: dict[str, Any]


def plan_realtime_session(rng: random.Random) -> SessionPlan:
    """Draw a session: at the model's own rate, where each sample tells its place."""
    plan = plan_session(rng, _REALTIME)
    draw_run = partial(
        _run_options,
        announces=plan.options.announces,
        end_marker=plan.options.end_marker,
        # Answers that come later than the client is told to wait for them are taken for the model's own.
        delays=[delay for delay in (0.1, 0.4) if delay < plan.provider["cancel_timeout"]],
    )
    provider = {
        "cancel_timeout": plan.provider["cancel_timeout"],
        "inferred_end": INFERRED_END,
        "response_timeout": 5.0,
        "reply_seconds": rng.choice((0.2, 120.0)),
    }
    return attrs.evolve(
        plan,
        dialect=attrs.evolve(_REALTIME, draw_run=draw_run),
        sink_rate=RATE,
        device_seconds=None,
        provider=provider,
    )


def plan_realtime_run(rng: random.Random, session: SessionPlan) -> RealtimeRun:
    """Draw a run for a session."""
    plan = plan_run(rng, session)
    moment = plan.moment
    run = RealtimeRun(
        text="".join(chunk for _, chunk in plan.chunks if isinstance(chunk, str)),
        companions=plan.companions,
        kind=moment.kind,
        means=moment.means,
        seconds=moment.seconds,
        passes=moment.passes,
        frames=moment.frames,
        in_reader=moment.in_reader,
        gap=plan.gap,
        options=plan.options,
    )
    return _by_user(rng, session, run) if rng.random() < _BY_USER else run


def _by_user(rng: random.Random, session: SessionPlan, run: RealtimeRun) -> RealtimeRun:
    """The user speaks while audio comes: only what is under way at the model can be broken off by it."""
    text = run.text * 2
    options = run.options | {"speed": 1.0, "vad_start": rng.choice((0.02, 0.06))}
    seconds = run.options["first_audio"] + rng.uniform(0, 1) * len(text) * session.options.ms_per_char / 1000
    return attrs.evolve(run, kind="speech", means="user", text=text, seconds=seconds, options=options)


def _session_options(rng: random.Random, _limited: bool) -> Drawn:
    announces = rng.random() < 0.85
    # Where neither beginnings nor ends are told, nothing tells two replies apart.
    end_marker = "none" if announces and rng.random() < 0.15 else "normal"
    options = {
        "announces": announces,
        "end_marker": end_marker,
        "interrupt_ends": rng.choice(("none", "before", "after")),
        "interrupt_idle": rng.random() < 0.5,
        "transcripts": rng.random() < 0.2,
        "tell_usage": rng.random() < 0.2,
        "vad_end": 0.1,
        "speech_reply": SPOKEN_TO,
    }
    return Drawn(options, tail=INFERRED_END if end_marker == "none" else 0.0)


def _run_options(rng: random.Random, *, announces: bool, end_marker: str, delays: Sequence[float]) -> dict[str, Any]:
    options: dict[str, Any] = {
        "interrupt_answer": rng.choice(("interrupted",) * 6 + ("none", "late", "after")),
        "interrupt_delay": rng.choice(delays),
        "interrupt_after": rng.randrange(4),
        "late_frames": rng.choice((0, 0, 2)) if announces else 0,
    }
    if not announces or end_marker == "none":
        options["end_marker"] = end_marker
    return options


_REALTIME: SoakDialect = SoakDialect(
    GatewayRealtimeSimulator,
    GatewayRealtimeOptions,
    Realtime.gemini,  # type: ignore[arg-type]
    (RATE,),
    _session_options,
    lambda _rng: {},
)
