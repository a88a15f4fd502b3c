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
import trio.testing
from soak_check import Violation
from soak_pipe import End, pipe
from soak_run import RUNS_PER_SESSION, Report, _chances_from

from voicetrio import VoiceTrioError, open_audio_sink
from voicetrio.inference import Realtime
from voicetrio.realtime import RealtimeReply, ReplyEnded, ReplyInterrupted
from voicetrio.simulators import read_tags, tagged_pcm
from voicetrio.simulators.gateway_realtime import GatewayRealtimeOptions, GatewayRealtimeSimulator

RATE = 24_000
_HANG = 5_000.0
_PATIENCE = 30.0
_SPOKEN_TO = "I heard you."


def run_session(seed: int, session: int, runs: int = RUNS_PER_SESSION) -> Report:
    """Run the first `runs` interruptions of a session and check all of them; the same arguments give the same."""
    rng = random.Random(f"realtime/{seed}/{session}")
    with _chances_from(rng):
        soak = _Session(rng, session * RUNS_PER_SESSION, runs)
        return trio.run(soak.run, clock=trio.testing.MockClock(autojump_threshold=0))


@attrs.define(eq=False)
class _Call:
    """A text that was said: the reply to it, if it came to its end; `mixed` if the user spoke meanwhile.

    Replies have no ids: one to the user's speech may then be taken for that to the text.
    """

    text: str
    scope: trio.CancelScope
    reply: RealtimeReply | None = None
    error: VoiceTrioError | None = None
    mixed: bool = False
    returned: trio.Event = attrs.Factory(trio.Event)


class _Session:
    def __init__(self, rng: random.Random, first_run: int, runs: int) -> None:
        self._rng = rng
        self._run_number = first_run
        self._runs = runs
        self._texts = 0
        self._counts: Counter[str] = Counter()
        self._violations: list[Violation] = []
        self._heard: defaultdict[int, bytearray] = defaultdict(bytearray)
        self._fenced: dict[int, int] = {}  # turns that are silenced, and what was heard of them
        self._outcomes: dict[int, Any] = {}
        self._calls: list[_Call] = []
        self._said = 0  # samples of the user's speech
        shortest = rng.uniform(5, 40)
        announces = rng.random() < 0.85
        self._options = GatewayRealtimeOptions(
            seed=rng.randrange(2**32),
            frame_ms_min=shortest,
            frame_ms_max=rng.uniform(shortest, 80),
            ms_per_char=4.0,
            speed=rng.choice((1.0, 4.0, 4.0, 20.0, math.inf)),
            odd_frames=rng.random() < 0.3,
            empty_frames=rng.random() < 0.1,
            announces=announces,
            # Where neither beginnings nor ends are told, nothing tells two replies apart.
            end_marker=rng.choice(("normal",) * 6 + (("none", "late", "double") if announces else ("normal",))),
            end_marker_delay=rng.choice((0.1, 0.4)),
            interrupt_ends=rng.choice(("none", "before", "after")),
            interrupt_idle=rng.random() < 0.5,
            transcripts=rng.random() < 0.2,
            tell_usage=rng.random() < 0.2,
            vad_end=0.1,
            speech_reply=_SPOKEN_TO,
        )
        self._pace = rng.choice((1.0, 1.0, 4.0, math.inf))
        self._capacity = rng.choice((4096, 65536, math.inf))

    # -- the session -------------------------------------------------------------------------------------------------

    async def run(self) -> Report:
        before = trio.lowlevel.current_statistics().tasks_living
        try:
            with trio.fail_after(_HANG):
                async with (
                    GatewayRealtimeSimulator(self._options).serve_in_memory() as self._server,
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
        ours, theirs = pipe(self._capacity)
        self._server._nursery.start_soon(self._server._serve_stream, theirs)
        return ours

    async def _converse(self) -> None:
        rng = self._rng
        sink, self._source = open_audio_sink(RATE, max_seconds=rng.choice((0.1, 1.0, 4.0)), frame_seconds=0.001)
        provider = Realtime.gemini(
            token="k",
            base_url=self._server.url,
            cancel_timeout=rng.choice((0.25, 2.0, 2.0)),
            inferred_end=0.6,
            response_timeout=5.0,
            reply_seconds=rng.choice((0.2, 120.0)),
        )
        self._nursery.start_soon(self._read)
        async with provider.open(sink, sample_rate=RATE, dial=self._dial) as self._session:
            self._nursery.start_soon(self._listen)
            self._keep_replies()
            while self._counts["interruptions"] < self._runs and not self._violations:
                await self._interrupt_once()
                self._run_number += 1
            await trio.sleep(_PATIENCE)
            self._account()
        sink.close()

    def _keep_replies(self) -> None:
        floor, self._replies = self._session._floor, []
        new_reply = floor.new_reply

        def kept(*args: Any, **kwargs: Any) -> Any:
            self._replies.append(new_reply(*args, **kwargs))
            return self._replies[-1]

        floor.new_reply = kept

    async def _interrupt_once(self) -> None:
        rng = self._rng
        answers = ("interrupted",) * 6 + ("none", "late", "after")
        self._server.options = attrs.evolve(
            self._server.options,
            first_audio=rng.choice((0.0, 0.05, rng.uniform(0, 0.3))),
            interrupt_answer=rng.choice(answers),
            interrupt_delay=rng.choice((0.1, 0.4)),
            interrupt_after=rng.randrange(4),
            late_frames=rng.choice((0, 0, 2)) if self._options.announces else 0,
        )
        means = rng.choice(("interrupt", "interrupt", "cancel", "cancel", "user"))
        call = self._say()
        companions = [self._say() for _ in range(rng.choice((0,) * 8 + (1, 2)))]
        await trio.sleep(rng.choice((0.0, rng.uniform(0, 0.1), rng.uniform(0, 0.6), rng.uniform(0, 1.5))))
        for _ in range(rng.choice((0, 0, rng.randrange(12)))):
            await trio.lowlevel.checkpoint()
        if means == "user":
            await self._speak()
        else:
            self._strike(call, means)
        if rng.random() < 0.4:
            for each in (call, *companions):
                await self._returned(each)
            await trio.sleep(rng.choice((0.0, rng.uniform(0, 0.3))))
        if rng.random() < 0.3:
            await self._complete()

    def _strike(self, call: _Call, means: str) -> None:
        """Interrupt, and see in the same step that nothing more can be read of what was silenced."""
        cut = None
        if means == "interrupt":
            cut = self._session.interrupt()
        elif not call.returned.is_set():
            before = self._session.last_interruption
            call.scope.cancel()
            cut = self._session.last_interruption
            if cut is before:
                cut = None
        if cut is None:
            return
        self._counts["interruptions"] += 1
        self._counts[f"by {means}"] += 1
        self._note(cut)
        with suppress(trio.WouldBlock):
            self._take(self._source.receive_nowait(0.001))

    def _note(self, cut: Any) -> None:
        if cut.turns and cut.samples_heard != self._samples(cut.turn):
            self._found("account", f"{cut.samples_heard} heard of turn {cut.turn}, not {self._samples(cut.turn)}")
        for turn in cut.turns:
            self._fenced.setdefault(turn, self._samples(turn))

    def _samples(self, turn: int) -> int:
        return len(self._heard[turn]) // 2

    async def _complete(self) -> None:
        """Nothing of a reply that nobody interrupts may be missing."""
        await self._quiet()
        call = self._say()
        await self._returned(call)
        if call.error is not None or call.reply is None:
            self._found("outcome", f"a reply that nobody interrupted: {call.error!r}")
            return
        await trio.sleep(self._samples_of(call.text) / RATE / min(self._pace, 1000) + 1)
        turn = call.reply.turn
        if not str(call.reply.outcome).startswith("completed") or self._samples(turn) != self._samples_of(call.text):
            self._found("lost", f"turn {turn}: {call.reply.outcome}, {self._samples(turn)} samples")
        self._counts["completed"] += 1

    async def _quiet(self) -> None:
        for call in self._calls:
            await self._returned(call)
        await trio.sleep(1.5)  # more than it takes to reply to the user, and to answer late

    def _samples_of(self, text: str) -> int:
        return round(len(text) * RATE * self._options.ms_per_char / 1000)

    async def _returned(self, call: _Call) -> None:
        with trio.move_on_after(_PATIENCE * 4) as scope:
            await call.returned.wait()
        if scope.cancelled_caught:
            self._found("leak", f"the call of {call.text[:8]} hangs")

    def _say(self) -> _Call:
        self._texts += 1
        text = f"<{self._texts}>" + "x" * self._rng.randrange(4, 200)
        call = _Call(text, trio.CancelScope())
        self._calls.append(call)
        self._nursery.start_soon(self._say_it, call)
        return call

    async def _say_it(self, call: _Call) -> None:
        try:
            with call.scope:
                call.reply = await self._session.say(call.text)
        except VoiceTrioError as error:
            call.error = error
        finally:
            call.returned.set()

    async def _speak(self) -> None:
        """Let the user speak, and wait until the model has replied, so that replies and texts stay apart."""
        before = self._session.last_interruption
        for call in self._calls:
            call.mixed |= not call.returned.is_set()
        for number in range(self._rng.randrange(6, 12)):
            pcm = bytes(2 * 480) if number > 4 else tagged_pcm(5, self._said, 480)
            self._said += 480 * (number <= 4)
            await self._session.send_audio(pcm)
            await trio.sleep(0.02)
        await self._quiet()
        for _ in range(10):
            await self._session.send_audio(bytes(2 * 480))
            await trio.sleep(0.02)
        await self._quiet()
        if self._session.last_interruption is not before:
            self._counts["interruptions"] += 1
            self._counts["by user"] += 1

    async def _read(self) -> None:
        rng = random.Random(self._rng.getrandbits(32))
        while True:
            try:
                frame = await self._source.receive(rng.uniform(0.005, 0.05))
            except trio.EndOfChannel:
                return
            self._take(frame)
            if not math.isinf(self._pace):
                await trio.sleep(frame.seconds / self._pace)

    def _take(self, frame: Any) -> None:
        if frame.turn in self._fenced:
            self._found("stale", f"{frame.samples} samples of turn {frame.turn} after it was silenced")
        if frame.position != self._samples(frame.turn):
            self._found("lost", f"turn {frame.turn} goes on at {frame.position}, not at {self._samples(frame.turn)}")
        self._heard[frame.turn] += frame.pcm

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
        before = -1
        for turn in sorted(self._heard):
            self._counts["turns"] += 1
            self._counts["samples"] += self._samples(turn)
            runs = read_tags(bytes(self._heard[turn]))
            if self._samples(turn) < 2:
                continue
            if len(runs) != 1 or runs[0].start or runs[0].segment not in segments:
                self._found("foreign", f"turn {turn} is {runs[:4]}")
                continue
            segment = segments[runs[0].segment]
            if segment.number <= before:
                self._found("reordered", f"turn {turn} is of segment {segment.number}, after {before}")
            before = segment.number
            self._check_end(turn, segment)

    def _check_end(self, turn: int, segment: Any) -> None:
        if turn in self._fenced:
            if self._samples(turn) != self._fenced[turn]:
                self._found("stale", f"turn {turn}: {self._samples(turn)} samples, {self._fenced[turn]} at its end")
        elif segment.cleared and self._options.interrupt_ends == "before":
            pass  # its end was told before it was told that it had been broken off, and all that came had been heard
        elif str(self._outcomes.get(turn)).startswith("completed") and self._samples(turn) != segment.samples:
            self._found("lost", f"turn {turn}: {self._samples(turn)} samples of {segment.samples}")
        for call in self._calls:
            if call.reply is not None and call.reply.turn == turn and segment.text != call.text and not call.mixed:
                self._found("foreign", f"the reply to {call.text[:8]} is {segment.text[:8]}")
