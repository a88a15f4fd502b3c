"""The checkpoint sweep of a realtime session: cut at any step, nothing stale is heard and the next reply is exact."""

from contextlib import asynccontextmanager

import pytest
import trio
from realtime_talk import RATE, TOKEN, Talk, model
from slices import every

from voicetrio import open_audio_sink
from voicetrio.errors import SessionClosed
from voicetrio.simulators import Faults, tagged_pcm
from voicetrio.simulators.gateway_realtime import GatewayRealtimeOptions, GatewayRealtimeSimulator
from voicetrio.testing import _resources, sweep, sweep_target

TEXT = "Hello, hello."
NEXT = "Next."


@pytest.fixture(autouse=True)
def in_memory(monkeypatch):
    """There are no descriptors to watch, and looking for them would be half of the work."""
    monkeypatch.setattr(_resources, "open_fds", set)


class Scenario:
    """A session on a simulator that is not part of what is swept."""

    def __init__(self, server, part):
        self.server = server
        self.part = part
        self.cut = 0

    @asynccontextmanager
    async def session(self):
        sink, source = open_audio_sink(RATE, max_seconds=5.0)
        it = Talk(self.server, sink, source, 0)
        async with model(base_url=self.server.url).open(sink, sample_rate=RATE, dial=self.server.dial) as it.session:
            yield it

    async def with_a_next_turn(self, target):
        async with self.session() as it:
            with target.scope() as scope:
                await self.part(it)
            self.cut += scope.cancelled_caught
            it.take_all()
            heard = {turn: it.samples(turn) for turn in it.heard}
            await self._next_turn(it)
            assert heard == {turn: it.samples(turn) for turn in heard}, "samples passed after the cancellation"

    async def interrupted(self, target):
        async with self.session() as it:

            def interrupt():
                self.cut += it.session.interrupt() is not None

            with target.calling(interrupt):
                await self.part(it)
            it.take_all()
            await self._next_turn(it)

    async def _next_turn(self, it):
        reply = await it.session.say(NEXT)
        it.take_all()
        assert reply.outcome == "completed"
        assert it.samples(reply.turn) == reply.samples == round(len(NEXT) * 24 * 5)
        it.check(complete=[reply.turn])

    async def alone(self):
        async with self.session() as it:
            await self.part(it)

    async def left_while_speaking(self):
        async with trio.open_nursery() as nursery, self.session() as it:
            nursery.start_soon(say_until_closed, it.session)
            await trio.sleep(0.02)


async def say_until_closed(session):
    with pytest.raises(SessionClosed):
        await session.say(TEXT * 50)


@asynccontextmanager
async def scenario(part, **options):
    options = GatewayRealtimeOptions(api_key=TOKEN, ms_per_char=5, first_audio=0.01, transcripts=False, **options)
    async with GatewayRealtimeSimulator(options).serve_in_memory() as server:
        yield Scenario(server, part)


async def connect(it):
    await it.session.prewarm()


async def one_reply(it):
    await it.session.say(TEXT)


async def interrupted_early(it):
    with trio.move_on_after(0.002):
        await it.session.say(TEXT)


async def interrupted_late(it):
    with trio.move_on_after(0.03):
        await it.session.say(TEXT * 5)


async def two_at_once(it):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(it.session.say, TEXT)
        nursery.start_soon(it.session.say, TEXT)


async def the_user_speaks(it):
    for _ in range(5):
        await it.session.send_audio(tagged_pcm(1, 0, 480))
    await it.session.say(TEXT)


async def lost(it):
    old = it.server.options
    it.server.options = GatewayRealtimeOptions(
        api_key=TOKEN,
        ms_per_char=5,
        first_audio=0.01,
        faults=Faults(close_after=0, connections=it.server.connections + 1),
    )
    try:
        await it.session.say(TEXT)
    finally:
        it.server.options = old


@pytest.mark.parametrize("part", [connect, one_reply, interrupted_early, interrupted_late])
async def test_a_part_cut_at_any_step_leaves_the_next_reply_exact(part, seed, autojump_clock):
    async with scenario(part) as play:
        report = await sweep_target(play.with_a_next_turn, steps=every(3, seed))
        report.raise_if_problems()
    assert report.steps > 10
    assert play.cut > 0.5 * report.steps


@pytest.mark.parametrize("part", [two_at_once, lost])
@pytest.mark.parametrize("answer", ["interrupted", "none", "late"])
async def test_a_part_cut_at_any_step_by_any_answer_leaves_the_next_reply_exact(part, answer, seed, autojump_clock):
    async with scenario(part, interrupt_answer=answer) as play:
        report = await sweep_target(play.with_a_next_turn, steps=every(9, seed))
        report.raise_if_problems()
    assert play.cut > 5


@pytest.mark.parametrize("part", [one_reply, two_at_once])
async def test_a_part_interrupted_at_any_step_leaves_the_next_reply_exact(part, seed, autojump_clock):
    async with scenario(part) as play:
        report = await sweep_target(play.interrupted, steps=every(7, seed))
        report.raise_if_problems()
    assert play.cut > 5


@pytest.mark.parametrize("part", [connect, one_reply, interrupted_late, the_user_speaks, lost])
async def test_a_session_cancelled_at_any_step_leaves_nothing_behind(part, seed, autojump_clock):
    async with scenario(part) as play:
        report = await sweep(play.alone, steps=every(7, seed))
        report.raise_if_problems()
    assert report.steps > 8


async def test_a_session_left_while_it_speaks_and_cancelled_at_any_step(seed, autojump_clock):
    async with scenario(one_reply) as play:
        report = await sweep(play.left_while_speaking, steps=every(3, seed))
        report.raise_if_problems()
    assert report.steps > 26
