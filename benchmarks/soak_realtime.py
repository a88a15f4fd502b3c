"""One soak session with a realtime model: replies interrupted again and again, in every way and at every stage.

As the others it runs in memory under virtual time, and everything in it is drawn from its seed.  Every sample tells its
segment and its position, and each segment has one text; so what may be heard of a reply is known exactly.
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from contextlib import suppress
from typing import Any

import attrs
import trio
from soak_check import Violation
from soak_clock import VirtualClock
from soak_pipe import End, pipe
from soak_plan import SessionPlan
from soak_realtime_plan import RATE, RealtimeRun, plan_realtime_run, plan_realtime_session
from soak_run import RUNS_PER_SESSION, Report, _chances_from

from voicetrio import Interruption, VoiceTrioError, open_audio_sink
from voicetrio.inference import Realtime
from voicetrio.realtime import RealtimeReply, ReplyEnded, ReplyInterrupted
from voicetrio.simulators import read_tags, tagged_pcm
from voicetrio.simulators.gateway_realtime import GatewayRealtimeSimulator

# Virtual seconds.  None of them costs anything, and a session that hangs jumps to the last.
_PATIENCE = 5.0  # for a moment that may never come
_QUIET = 3.0  # more than it takes to reply to the user, and to answer late
_LONG = 120.0  # for a call that must return
_HANG = 5_000.0

# So many attempts at one interruption come too late, each time, only if something is wrong.
_MAX_ATTEMPTS = 200

_COMPLETE = 0.3
"""How often an interruption is followed by a reply that nobody interrupts."""


def run_session(seed: int, session: int, runs: int = RUNS_PER_SESSION) -> Report:
    """Run the first `runs` interruptions of a session and check all of them; the same arguments give the same."""
    rng = random.Random(f"realtime/{seed}/{session}")
    with _chances_from(rng):
        soak = _Session(plan_realtime_session(rng), rng, session * RUNS_PER_SESSION, runs)
        return trio.run(soak.run, clock=VirtualClock())


@attrs.define(eq=False)
class _Call:
    """A text that was said.

    Attributes:
        text: it.
        run: number of the run.
        scope: around the call.
        result: the reply to it, if it came to its end.
        error: what it failed with.
        mixed: if the user spoke meanwhile.  Replies have no ids: one to the user may then be taken for that to it.
        counted: whether its interruption was reported.
        returned: whether the call has ended.
    """

    text: str
    run: int
    scope: trio.CancelScope
    result: RealtimeReply | None = None
    error: VoiceTrioError | None = None
    mixed: bool = False
    counted: bool = False
    returned: trio.Event = attrs.Factory(trio.Event)


class _Session:
    def __init__(self, plan: SessionPlan, rng: random.Random, first_run: int, runs: int) -> None:
        self._plan = plan
        self._rng = rng
        self._pauses = random.Random(rng.getrandbits(64))  # the reader's, so that its chances do not move the runs'
        self._run_number = self._first_run = first_run
        self._runs = runs
        self._texts = 0
        self._counts: Counter[str] = Counter()
        self._violations: list[Violation] = []
        self._heard: defaultdict[int, bytearray] = defaultdict(bytearray)
        self._frames: Counter[int] = Counter()  # that were taken, by turn
        self._fenced: dict[int, int] = {}  # turns that are silenced, and what was heard of them
        self._outcomes: dict[int, Any] = {}
        self._calls: list[_Call] = []
        self._open_calls: list[_Call] = []  # … that may not have returned
        self._replies: list[Any] = []
        self._reply_to: dict[str, Any] = {}  # by text
        self._last_cut: Interruption | None = None  # of those noted
        self._aim: tuple[_Call, RealtimeRun] | None = None  # for the reader
        self._struck = trio.Event()
        self._hit = False
        self._said = 0  # samples of the user's speech

    # -- the session -------------------------------------------------------------------------------------------------

    async def run(self) -> Report:
        before = trio.lowlevel.current_statistics().tasks_living
        try:
            with trio.fail_after(_HANG):
                async with (
                    GatewayRealtimeSimulator(self._plan.options).serve_in_memory() as self._server,
                    trio.open_nursery() as self._nursery,
                ):
                    await self._converse()
                    await trio.sleep(5)
                    if self._server.open_connections:
                        self._found("leak", f"{self._server.open_connections} connections are left")
        except* trio.TooSlowError:
            self._found("leak", "something hangs")
        except* VoiceTrioError as group:
            self._found("error", repr(group.exceptions[0]))
        self._settle()
        if (left := trio.lowlevel.current_statistics().tasks_living - before) != 0:
            self._found("leak", f"{left} tasks are left")
        return Report(self._violations, self._counts)

    def _found(self, kind: Any, detail: str) -> None:
        self._violations.append(Violation(self._run_number, kind, detail))

    async def _dial(self, _host: str, _port: int) -> End:
        await trio.lowlevel.checkpoint()
        ours, theirs = pipe(self._plan.capacity, prompt=self._plan.prompt)
        self._server._nursery.start_soon(self._server._serve_stream, theirs)
        return ours

    async def _converse(self) -> None:
        plan = self._plan
        sink, self._source = open_audio_sink(RATE, max_seconds=plan.max_seconds, frame_seconds=0.001)
        provider = Realtime.gemini(token="k", base_url=self._server.url, **plan.provider)
        self._nursery.start_soon(self._read)
        async with provider.open(sink, sample_rate=RATE, dial=self._dial) as self._session:
            self._nursery.start_soon(self._listen)
            self._keep_replies()
            if plan.prewarm:
                await self._session.prewarm()
            for run in range(self._runs):
                self._run_number = self._first_run + run
                await self._interrupt_once()
                if self._violations:
                    break
            await trio.sleep(_LONG)
            self._account()
        sink.close()

    def _keep_replies(self) -> None:
        floor = self._session._floor
        new_reply = floor.new_reply

        def kept(*args: Any, **kwargs: Any) -> Any:
            reply = new_reply(*args, **kwargs)
            self._replies.append(reply)
            if reply.asked is not None:
                self._reply_to[reply.asked] = reply
            return reply

        floor.new_reply = kept  # type: ignore[method-assign]

    async def _interrupt_once(self) -> None:
        for _ in range(_MAX_ATTEMPTS):
            run = plan_realtime_run(self._rng, self._plan)
            if await self._attempt(run):
                self._counts[f"at {run.kind}"] += 1
                self._counts[f"by {run.means}"] += 1
                break
            self._counts["late attempts"] += 1
            if self._violations:
                return
        else:
            self._found("error", "no interruption came about")
        if self._rng.random() < _COMPLETE:
            await self._complete()

    # -- one attempt -------------------------------------------------------------------------------------------------

    async def _attempt(self, run: RealtimeRun) -> bool:
        """Let the model speak, and interrupt it as planned; whether something was interrupted."""
        if run.means == "user":
            # Once the user speaks, an answer to an earlier interruption cannot be told from the model's own.
            await self._quiet()
        self._server.options = attrs.evolve(self._server.options, **run.options)
        self._struck, self._hit = trio.Event(), False
        deadline = trio.current_time() + run.seconds if run.means == "deadline" else math.inf
        call = self._say(run.text, deadline)
        companions = [self._say(text) for text in run.companions]
        await self._strike_in_time(call, run)
        if run.gap is not None:
            for each in (call, *companions):
                await self._returned(each)
            await trio.sleep(run.gap)
        return self._hit

    async def _strike_in_time(self, call: _Call, run: RealtimeRun) -> None:
        if run.means == "deadline":
            await self._returned(call)
            return
        if run.kind == "frame":
            self._aim = call, run
            with trio.move_on_after(_PATIENCE):
                await self._struck.wait()
            self._aim = None
            return
        if run.kind == "queued":
            await self._returned(call)
        if run.seconds:
            await trio.sleep(run.seconds)
        for _ in range(run.passes):
            await trio.lowlevel.checkpoint()
        if run.means == "user":
            await self._speak()
        else:
            self._strike(call, run.means)

    def _strike(self, call: _Call, means: str) -> None:
        """Interrupt, and see in the same step that nothing more of it can be read."""
        if means == "interrupt":
            if (cut := self._session.interrupt()) is not None:
                self._note(cut)
        elif not call.returned.is_set():
            call.scope.cancel()
            self._find_cut(call)
        self._probe()

    def _probe(self) -> None:
        with suppress(trio.WouldBlock):
            self._take(self._source.receive_nowait(0.001))

    def _find_cut(self, call: _Call) -> None:
        """The scope around a call was cancelled: by us, just now, or by a deadline."""
        reply, cut = self._reply_to.get(call.text), self._session.last_interruption
        if call.counted or reply is None:
            return
        if cut is not None and cut is not self._last_cut and (reply.number in cut.turns or reply.number is None):
            call.counted = True
            self._note(cut)
        elif reply.number is not None and reply.number not in self._fenced:
            if call.returned.is_set():
                self._found("account", f"turn {reply.number} was cancelled, and left {cut}")
            # Else its end had come, but its caller did not know yet: it finds out when it runs, and nothing may pass.
            self._fenced[reply.number] = self._samples(reply.number)

    def _note(self, cut: Interruption) -> None:
        self._last_cut = cut
        self._hit = True
        self._counts["interruptions"] += 1
        if cut.turns and cut.samples_heard != self._samples(cut.turn):
            self._found("account", f"{cut.samples_heard} heard of turn {cut.turn}, not {self._samples(cut.turn)}")
        for turn in cut.turns:
            self._fenced.setdefault(turn, self._samples(turn))

    def _samples(self, turn: int) -> int:
        return len(self._heard[turn]) // 2

    async def _complete(self) -> None:
        """Nothing of a reply that nobody interrupts may be missing."""
        await self._quiet()
        call = self._say("x" * self._rng.randrange(1, 20))
        await self._returned(call)
        if call.error is not None or call.result is None:
            self._found("outcome", f"a reply that nobody interrupted: {call.error!r}")
            return
        await trio.sleep(self._samples_of(call.text) / RATE / min(self._plan.pace, 1000) + 1)
        turn = call.result.turn
        if not str(call.result.outcome).startswith("completed") or self._samples(turn) != self._samples_of(call.text):
            self._found("lost", f"turn {turn}: {call.result.outcome}, {self._samples(turn)} samples")
        self._counts["completed"] += 1

    async def _quiet(self) -> None:
        for call in self._open_calls:
            await self._returned(call)
        self._open_calls = [call for call in self._open_calls if not call.returned.is_set()]
        await trio.sleep(_QUIET)

    def _samples_of(self, text: str) -> int:
        return round(len(text) * RATE * self._plan.options.ms_per_char / 1000)

    async def _returned(self, call: _Call) -> None:
        if call.returned.is_set():
            return
        with trio.move_on_after(_LONG) as scope:
            await call.returned.wait()
        if scope.cancelled_caught:
            self._found("leak", f"the call of {call.text[:8]} hangs")

    # -- the caller, and the user ------------------------------------------------------------------------------------

    def _say(self, text: str, deadline: float = math.inf) -> _Call:
        self._texts += 1
        call = _Call(f"<{self._texts}>{text}", self._run_number, trio.CancelScope(deadline=deadline))
        self._calls.append(call)
        self._open_calls.append(call)
        self._nursery.start_soon(self._say_it, call)
        return call

    async def _say_it(self, call: _Call) -> None:
        try:
            with call.scope:
                call.result = await self._session.say(call.text)
        except VoiceTrioError as error:
            call.error = error
        finally:
            call.returned.set()
        if call.scope.cancelled_caught and not call.counted:
            self._find_cut(call)
            self._probe()

    async def _speak(self) -> None:
        """Let the user speak, and wait until the model has replied, so that replies and texts stay apart."""
        before = self._session.last_interruption
        for call in self._open_calls:
            call.mixed |= not call.returned.is_set()
        for _ in range(self._rng.randint(1, 3)):
            await self._speak_for(self._rng.choice((480, 960, 1440)), aloud=True)
        await self._speak_for(self._rng.randrange(480, 3000), aloud=False)  # the end of speech, or a pause in it
        await self._quiet()
        await self._speak_for(4800, aloud=False)
        await self._quiet()
        self._last_cut = self._session.last_interruption
        if self._last_cut is not before:
            self._hit = True
            self._counts["interruptions"] += 1

    async def _speak_for(self, samples: int, *, aloud: bool) -> None:
        await self._session.send_audio(tagged_pcm(5, self._said, samples) if aloud else bytes(2 * samples))
        self._said += samples * aloud
        await trio.sleep(samples / RATE)

    # -- the reader --------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        shortest, longest = self._plan.frames
        while True:
            try:
                frame = await self._source.receive(self._pauses.uniform(shortest, longest))
            except trio.EndOfChannel:
                return
            self._take(frame)
            self._shoot(frame.turn)
            if not math.isinf(self._plan.pace):
                await trio.sleep(frame.seconds / self._plan.pace)

    def _take(self, frame: Any) -> None:
        turn, heard = frame.turn, self._samples(frame.turn)
        if turn in self._fenced:
            self._found("stale", f"{frame.samples} samples of turn {turn} after it was silenced")
        if frame.position != heard:
            kind = "lost" if frame.position > heard else "doubled"
            self._found(kind, f"turn {turn} goes on at {frame.position}, not at {heard}")
        self._heard[turn] += frame.pcm
        self._frames[turn] += 1

    def _shoot(self, turn: int) -> None:
        """Strike, if the reader was told to, and enough of that turn has been taken."""
        if self._aim is None:
            return
        call, run = self._aim
        reply = self._reply_to.get(call.text)
        if reply is None or reply.number != turn or self._frames[turn] < run.frames:
            return
        self._aim = None
        means = "interrupt" if call.returned.is_set() else run.means  # its scope is left, but it is still heard
        if run.in_reader:
            self._strike(call, means)
            self._struck.set()
        else:
            self._nursery.start_soon(self._strike_from_another_task, call, means)

    async def _strike_from_another_task(self, call: _Call, means: str) -> None:
        self._strike(call, means)
        self._struck.set()

    async def _listen(self) -> None:
        async for event in self._session:
            match event:
                case ReplyInterrupted(interruption=cut, by_user=True):
                    for turn in cut.turns:
                        self._fenced.setdefault(turn, cut.samples_heard if turn == cut.turn else self._samples(turn))
                case ReplyEnded(turn=turn, outcome=outcome):
                    if turn in self._outcomes:
                        self._found("outcome", f"turn {turn} ended twice")
                    self._outcomes[turn] = outcome

    # -- what it comes to --------------------------------------------------------------------------------------------

    def _account(self) -> None:
        """On one connection, what was sent is received or late; up to half a sample for each turn is neither."""
        statistics = self._session.statistics()
        self._counts["connections"] += statistics.connections
        self._counts["late bytes"] += statistics.late_bytes
        floor = self._session._floor
        sent = 2 * sum(segment.sent for segment in self._server.segments)
        come = sum(2 * reply.audio.received + reply._discarded for reply in self._replies if reply.audio is not None)
        missing = sent - come - statistics.late_bytes
        if statistics.connections == 1 and not -len(self._replies) <= missing <= 3 * len(self._replies):
            self._found("account", f"{sent} bytes were sent, {come} came, {statistics.late_bytes} came late")
        for name in ("_line", "_pending", "current"):
            if left := getattr(floor, name):
                self._found("leak", f"{name} still has {left}")

    def _settle(self) -> None:
        segments = {segment.number: segment for segment in self._server.segments}
        calls = {call.result.turn: call for call in self._calls if call.result is not None}
        before = -1
        for turn in sorted(self._heard):
            pcm, samples = self._heard[turn], self._samples(turn)
            self._counts["turns"] += 1
            self._counts["samples"] += samples
            if samples < 2:
                continue
            segment = segments.get(read_tags(pcm[:4])[0].segment)
            if segment is None or pcm != tagged_pcm(segment.number, 0, samples):
                self._found("foreign", f"turn {turn} is {read_tags(pcm)[:4]}")
                continue
            if segment.number <= before:
                self._found("reordered", f"turn {turn} is of segment {segment.number}, after {before}")
            before = segment.number
            self._check_end(turn, segment, calls.get(turn))

    def _check_end(self, turn: int, segment: Any, call: _Call | None) -> None:
        if turn in self._fenced:
            if self._samples(turn) != self._fenced[turn]:
                self._found("stale", f"turn {turn}: {self._samples(turn)} samples, {self._fenced[turn]} at its end")
        elif segment.cleared and self._plan.options.interrupt_ends == "before":
            pass  # its end was told before it was told that it had been broken off, and all that came had been heard
        elif str(self._outcomes.get(turn)).startswith("completed") and self._samples(turn) != segment.samples:
            self._found("lost", f"turn {turn}: {self._samples(turn)} samples of {segment.samples}")
        if call is not None and segment.text != call.text and not call.mixed:
            self._found("foreign", f"the reply to {call.text[:8]} is {segment.text[:8]}")
