"""One soak session: a TTS session against its simulator in memory, under virtual time, interrupted again and again."""

from __future__ import annotations

import math
import random
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs
import trio
from soak_check import Device, Ledger, Spoken, Violation
from soak_clock import VirtualClock
from soak_dialects import DIALECTS
from soak_pipe import End, pipe
from soak_plan import Moment, RunPlan, SessionPlan, plan_run, plan_session, session_random

from voicetrio import FlushMarker, Interruption, VoiceTrioError, open_audio_sink

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from voicetrio.audio import AudioFormat, AudioFrame, AudioSink, TurnAudio
    from voicetrio.tts import TTSSession

RUNS_PER_SESSION = 50

# Virtual seconds.  None of them costs anything, and a session that hangs jumps to the last.
_PATIENCE = 5.0  # for a moment that may never come
_QUIET = 8.0  # after which nothing is on its way any more: more than every delay that is drawn, and cancel_timeout
_HANG = 5_000.0

# So many attempts at one interruption come too late, each time, only if something is wrong.
_MAX_ATTEMPTS = 200


@attrs.define
class Report:
    """What a session, or several, came to."""

    violations: list[Violation] = attrs.Factory(list)
    counts: Counter[str] = attrs.Factory(Counter)

    def add(self, other: Report) -> None:
        """Add another one's numbers to this."""
        self.violations += other.violations
        self.counts += other.counts


def run_session(seed: int, session: int, runs: int = RUNS_PER_SESSION, dialect: str = "deepgram") -> Report:
    """Run the first `runs` interruptions of a session and check all of them.

    The same arguments give the same interruptions: chances, scheduling and time are all the session's own.
    """
    rng = session_random(seed, session)
    with _chances_from(rng):
        soak = _Session(plan_session(rng, DIALECTS[dialect]), rng, session * RUNS_PER_SESSION, runs)
        return trio.run(soak.run, clock=VirtualClock())


@contextmanager
def _chances_from(rng: random.Random) -> Iterator[None]:
    """Let trio's scheduler, and whatever else asks for chances, take them from our seed.

    pytest-trio does the same for Hypothesis: trio has no public switch for it.
    """
    run: Any = trio._core._run
    before = run._ALLOW_DETERMINISTIC_SCHEDULING, run._r, random.getstate()
    run._ALLOW_DETERMINISTIC_SCHEDULING = True
    run._r = random.Random(rng.getrandbits(64))
    random.seed(rng.getrandbits(64))
    try:
        yield
    finally:
        run._ALLOW_DETERMINISTIC_SCHEDULING, run._r = before[:2]
        random.setstate(before[2])


class _Session:
    def __init__(self, plan: SessionPlan, rng: random.Random, first_run: int, runs: int) -> None:
        self._plan = plan
        self._rng = rng
        self._first_run = first_run
        self._runs = runs
        self._turn_ids = 0
        self._calling: Spoken | None = None
        self._aim: tuple[Spoken, Moment] | None = None  # for the reader
        self._struck = trio.Event()
        self._hit = False
        self._counts: Counter[str] = Counter()
        self._pauses = random.Random(rng.getrandbits(64))  # the reader's, so that its chances do not move the runs'

    # -- the session -------------------------------------------------------------------------------------------------

    async def run(self) -> Report:
        plan = self._plan
        simulator = plan.dialect.simulator(plan.options)
        tasks_before = trio.lowlevel.current_statistics().tasks_living
        try:
            with trio.fail_after(_HANG):
                async with simulator.serve_in_memory() as self._server, trio.open_nursery() as self._nursery:
                    self._open_sink()
                    self._nursery.start_soon(self._read)
                    await self._speak()
                    await self._end()
        except* trio.TooSlowError:
            self._ledger.found("leak", "something hangs")
        except* VoiceTrioError as group:
            self._ledger.found("error", repr(group.exceptions[0]))
        self._ledger.settle_all()
        if (left := trio.lowlevel.current_statistics().tasks_living - tasks_before) != 0:
            self._ledger.found("leak", f"{left} tasks are left")
        return Report(self._ledger.violations, self._counts + self._ledger.counts)

    def _open_sink(self) -> None:
        plan = self._plan
        self._sink, self._source = open_audio_sink(plan.sink_rate, max_seconds=plan.max_seconds, frame_seconds=0.001)
        device = None if plan.device_seconds is None else Device(plan.sink_rate)
        self._device = device
        self._source.attach(device)
        self._ledger = Ledger(self._server, plan, device)
        _on_open_turn(self._sink, self._opened)

    def _opened(self, audio: TurnAudio) -> None:
        assert self._calling is not None
        self._ledger.open(self._calling, audio)

    async def _dial(self, _host: str, _port: int) -> End:
        await trio.lowlevel.checkpoint()
        ours, theirs = pipe(self._plan.capacity, prompt=self._plan.prompt)
        self._server._nursery.start_soon(self._server._serve_stream, theirs)
        return ours

    async def _speak(self) -> None:
        dialect = self._plan.dialect
        provider = dialect.provider(**{"api_key": "k", dialect.url: self._server.url}, **self._plan.provider)
        async with provider.open(self._sink, dial=self._dial) as self._tts:
            if self._plan.prewarm:
                await self._tts.prewarm()
            for run in range(self._runs):
                self._ledger.run = self._first_run + run
                await self._interrupt_once()
                self._ledger.settle()
                if self._ledger.violations:
                    break
            await trio.sleep(_QUIET)
            self._check_quiet(self._tts)

    async def _interrupt_once(self) -> None:
        for _ in range(_MAX_ATTEMPTS):
            plan = plan_run(self._rng, self._plan)
            if await self._attempt(plan):
                self._counts[f"at {plan.moment.kind}"] += 1
                self._counts[f"by {plan.moment.means}"] += 1
                return
            self._counts["late attempts"] += 1
            if self._ledger.violations:
                return
        self._ledger.found("error", "no interruption came about")

    def _check_quiet(self, tts: TTSSession) -> None:
        """Nothing is under way in the session any more, and every byte that was sent has been counted."""
        for name in ("_attempts", "_line"):
            if left := getattr(tts, name):
                self._ledger.found("leak", f"{name} still has {left}")
        links = [link for pool in tts._pools._pools.values() for link in pool._links if link.usable]
        if any(link.dialect.gated for link in links):
            self._ledger.found("leak", "a gate is left")
        self._ledger.settle()
        self._check_bytes(tts.statistics().late_bytes)
        self._counts["late bytes"] += tts.statistics().late_bytes
        self._counts["connections"] += tts.statistics().connections

    def _check_bytes(self, late: int) -> None:
        """Sent is received or late.

        Of a connection that was given up the rest is lost; and of the message that is being queued when its turn is
        silenced, up to half a sample and the pieces behind the first 0.2 s are neither.
        """
        sent = 2 * sum(segment.sent for segment in self._server.segments)
        missing = sent - 2 * self._ledger.received - late
        counts = self._ledger.counts
        if missing < -counts["turns"] - self._torn():
            self._ledger.found("account", f"{-missing} bytes more received than sent")
        whole = self._plan.dialect.cancels and self._server.connections == 1
        if whole and missing > 3 * counts["turns"]:
            self._ledger.found("account", f"{missing} bytes were sent and are neither received nor late")

    def _torn(self) -> float:
        """Bytes of frames that may have come in part, and are not counted as sent: of HTTP one a connection."""
        plan = self._plan
        if plan.dialect.cancels:
            return 0.0
        frame = (plan.options.frame_ms_max or plan.options.frame_ms) * plan.provider_rate / 1000
        return self._server.connections * 2 * (frame + 1)

    async def _end(self) -> None:
        self._sink.close()
        await trio.sleep(_QUIET)
        if self._server.open_connections:
            self._ledger.found("leak", f"{self._server.open_connections} connections are left")

    # -- one attempt -------------------------------------------------------------------------------------------------

    async def _attempt(self, plan: RunPlan) -> bool:
        """Speak, and interrupt as planned; whether something was interrupted."""
        self._server.options = attrs.evolve(self._server.options, **plan.options)
        self._struck, self._hit = trio.Event(), False
        deadline = math.inf
        if plan.moment.means == "deadline":
            deadline = trio.current_time() + plan.moment.seconds
        turn = self._call(plan.chunks, deadline)
        companions = [self._call(((0.0, text),), math.inf) for text in plan.companions]
        await self._strike_in_time(turn, plan.moment)
        if plan.gap is not None:
            for each in (turn, *companions):
                await each.returned.wait()
            await trio.sleep(plan.gap)
        return self._hit

    async def _strike_in_time(self, turn: Spoken, moment: Moment) -> None:
        if moment.means == "deadline":
            await turn.returned.wait()
            return
        if moment.kind == "frame":
            self._aim = turn, moment
            with trio.move_on_after(_PATIENCE):
                await self._struck.wait()
            self._aim = None
            return
        if moment.kind == "queued":
            await turn.returned.wait()
        if moment.seconds:
            await trio.sleep(moment.seconds)
        for _ in range(moment.passes):
            await trio.lowlevel.checkpoint()
        self._strike(turn, moment)

    def _strike(self, turn: Spoken, moment: Moment) -> None:
        """Interrupt, and see in the same step that nothing more of it can be read."""
        cut: Interruption | None = None
        if moment.means == "interrupt":
            cut = self._tts.interrupt()
        elif turn.running and not turn.silenced:
            before = self._tts.last_interruption
            turn.scope.cancel()
            turn.silenced = True
            cut = self._tts.last_interruption
            if cut is before:
                cut = None  # its end had come, but its caller did not know yet: it will find out when it runs
        if cut is not None:
            self._ledger.cut(cut, by_scope=moment.means == "cancel")
            self._hit = True
        self._probe()

    def _probe(self) -> None:
        try:
            frame = self._source.receive_nowait(0.001)
        except trio.WouldBlock:
            return
        self._ledger.take(frame)

    # -- the caller --------------------------------------------------------------------------------------------------

    def _call(self, chunks: tuple[tuple[float, str | FlushMarker], ...], deadline: float) -> Spoken:
        self._turn_ids += 1
        marked = _marked(chunks, f"<{self._turn_ids}>")
        text = "".join(chunk for _, chunk in marked if isinstance(chunk, str))
        turn = Spoken(self._turn_ids, self._ledger.run, text, trio.CancelScope(deadline=deadline))
        self._nursery.start_soon(self._synthesize, turn, marked)
        return turn

    async def _synthesize(self, turn: Spoken, chunks: list[tuple[float, str | FlushMarker]]) -> None:
        try:
            with turn.scope:
                self._calling = turn
                turn.synthesis = await self._tts.synthesize(_stream(chunks) if len(chunks) > 1 else turn.text)
        finally:
            turn.returned.set()
        if turn.audio is None:
            return
        if turn.scope.cancelled_caught and not turn.counted:
            self._find_cut(turn, turn.audio.number)
        elif turn.cut_short:
            self._check_told(turn, turn.audio.number)

    def _find_cut(self, turn: Spoken, number: int) -> None:
        """The call was cancelled by nobody here, that is by a deadline, or when its end had already come."""
        cut = self._tts.last_interruption
        if self._check_told(turn, number) and cut is not None:
            self._ledger.cut(cut, by_scope=True)
            self._hit = True
            self._probe()

    def _check_told(self, turn: Spoken, number: int) -> bool:
        """Whether an interrupted call finds itself, in its first step, in what the session tells."""
        cut = self._tts.last_interruption
        if cut is not None and number in cut.turns:
            return True
        self._ledger.found("account", f"turn {number} was interrupted, and left {cut}", turn.run)
        return False

    # -- the reader --------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        shortest, longest = self._plan.frames
        while True:
            try:
                frame = await self._source.receive(self._pauses.uniform(shortest, longest))
            except trio.EndOfChannel:
                return
            self._taken(frame)
            await self._play(frame)

    def _taken(self, frame: AudioFrame) -> None:
        turn = self._ledger.take(frame)
        if self._aim is None:
            return
        aimed_at, moment = self._aim
        if turn is aimed_at and turn.frames >= moment.frames:
            self._aim = None
            if not turn.running:  # its scope is left, but it is still heard
                moment = attrs.evolve(moment, means="interrupt")
            if moment.in_reader:
                self._strike(turn, moment)
            else:
                self._nursery.start_soon(self._strike_from_another_task, turn, moment)
                return
            self._struck.set()

    async def _strike_from_another_task(self, turn: Spoken, moment: Moment) -> None:
        self._strike(turn, moment)
        self._struck.set()

    async def _play(self, frame: AudioFrame) -> None:
        if self._device is not None:
            assert self._plan.device_seconds is not None
            ahead = self._device.held() / self._plan.sink_rate - self._plan.device_seconds
            await trio.sleep(max(0.0, ahead))
        elif not math.isinf(self._plan.pace):
            await trio.sleep(frame.seconds / self._plan.pace)


def _on_open_turn(sink: AudioSink, opened: Any) -> None:
    """Tell of each turn that gets its place in the line."""
    open_turn = sink.open_turn

    def told(fmt: AudioFormat | None = None) -> TurnAudio:
        audio = open_turn(fmt)
        opened(audio)
        return audio

    sink.open_turn = told  # type: ignore[method-assign]


def _marked(chunks: tuple[tuple[float, str | FlushMarker], ...], mark: str) -> list[tuple[float, str | FlushMarker]]:
    """The chunks with the turn's mark before each part that may become a segment of its own."""
    marked: list[tuple[float, str | FlushMarker]] = []
    due = True
    for pause, chunk in chunks:
        if isinstance(chunk, str):
            marked.append((pause, mark + chunk if due else chunk))
            due = False
        else:
            marked.append((pause, chunk))
            due = True
    return marked


async def _stream(chunks: list[tuple[float, str | FlushMarker]]) -> AsyncGenerator[str | FlushMarker, None]:
    for pause, chunk in chunks:
        if pause:
            await trio.sleep(pause)
        yield chunk
