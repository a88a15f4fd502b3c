"""The checkpoint sweep: each scenario cancelled before and after every step of every task of the session.

Wherever a part is cut, nothing of it is heard and the next turn on the same session is exact; wherever the whole is
cut, nothing is left behind.
"""

from contextlib import asynccontextmanager

import pytest
import trio
from contract_cases import only
from contract_tools import Dialer, Player, Stage, chunks
from slices import every

from voicetrio import FlushMarker, open_audio_sink
from voicetrio.errors import SessionClosed
from voicetrio.simulators import Faults
from voicetrio.testing import _resources, sweep, sweep_pairs, sweep_target

TEXT = "Hello, hello."
NEXT = "Next."
QUICK = {"ms_per_char": 5, "first_audio": 0.01}


class Scenario:
    """A session on a simulator that is not part of what is swept."""

    def __init__(self, case, server, part, dial=None):
        self.case = case
        self.server = server
        self.part = part
        self.dial = dial or server.dial
        self.cut = 0

    @asynccontextmanager
    async def session(self):
        sink, source = open_audio_sink(self.case.rate, max_seconds=5.0)
        it = Stage(self.case, self.server, sink, Player(source), Dialer(self.dial))
        it.completed = []
        try:
            async with self.case.make_provider(self.server.url).open(sink, dial=it.dialer) as it.session:
                yield it
        finally:
            assert not it.dialer.open, "a stream is still open"

    async def with_a_next_turn(self, target):
        """Interrupt the part; the turn after it must be exact."""
        async with self.session() as it:
            with target.scope() as scope:
                await self.part(it)
            it.player.take_all()
            if scope.cancelled_caught:
                self.cut += 1
                heard = {taken.frame.turn for taken in it.player.taken}
                assert heard <= set(it.completed), "samples passed after the cancellation"
            await self._next_turn(it)

    async def interrupted(self, target):
        """Interrupt what the part asked for; the turn after it must be exact."""
        async with self.session() as it:

            def interrupt():
                self.cut += it.session.interrupt() is not None

            with target.calling(interrupt):
                await self.part(it)
            it.player.take_all()
            await self._next_turn(it)

    async def _next_turn(self, it):
        spoken = await it.session.synthesize(NEXT)
        it.player.take_all()
        assert spoken.outcome == it.case.outcome
        assert it.player.pcm(spoken.turn) == it.audio(NEXT) != b""

    async def alone(self):
        """Only the part; the block is left by the cancellation."""
        async with self.session() as it:
            await self.part(it)

    async def left_while_speaking(self):
        async with trio.open_nursery() as nursery, self.session() as it:
            nursery.start_soon(_speak_until_closed, it.session)
            await trio.sleep(0.02)


async def _speak_until_closed(session):
    with pytest.raises(SessionClosed):
        await session.synthesize(TEXT * 5)


@asynccontextmanager
async def scenario(case, part, faults=None):
    async with case.make_simulator(faults, **QUICK).serve_in_memory() as server:
        yield Scenario(case, server, part)


async def connect(it):
    await it.session.prewarm()


async def first_turn(it):
    await it.session.synthesize(TEXT)


async def slow_text(it):
    await it.session.synthesize(chunks("Hel", 0.02, "lo,", FlushMarker(), 0.05, " hel", 0.01, "lo.", FlushMarker()))


async def interrupted_early(it):
    with trio.move_on_after(0.002):
        await it.session.synthesize(TEXT)


async def interrupted_late(it):
    with trio.move_on_after(0.03):
        await it.session.synthesize(TEXT * 5)


async def two_at_once(it):
    async def speak():
        spoken = await it.session.synthesize(TEXT)
        it.completed.append(spoken.turn)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(speak)
        nursery.start_soon(speak)


async def lost_and_reconnected(it):
    it.behave(faults=Faults(drop_after_messages=it.case.greeting, connections=it.server.connections + 1))
    await it.session.synthesize(TEXT)


async def refused_and_reconnected(it):
    it.behave(faults=Faults(refuse_status=503, connections=it.server.connections + 1))
    await it.session.synthesize(TEXT)


@pytest.fixture
def in_memory(monkeypatch):
    """There are no descriptors to watch, and looking for them would be half of the work."""
    monkeypatch.setattr(_resources, "open_fds", set)


@only("deepgram")
@pytest.mark.parametrize(
    "part", [connect, first_turn, slow_text, interrupted_early, interrupted_late, lost_and_reconnected]
)
async def test_a_part_cut_at_any_step_leaves_the_next_turn_exact(case, part, seed, in_memory, autojump_clock):
    async with scenario(case, part) as play:
        report = await sweep_target(play.with_a_next_turn, steps=every(3, seed))
        report.raise_if_problems()
    assert report.steps > 8
    assert play.cut > 0.5 * report.steps


EVERY_PART = (
    connect,
    first_turn,
    slow_text,
    interrupted_early,
    interrupted_late,
    two_at_once,
    lost_and_reconnected,
    refused_and_reconnected,
)


@pytest.mark.parametrize("part", EVERY_PART)
async def test_in_every_dialect_a_part_cut_at_every_so_many_steps_leaves_the_next_turn_exact(
    case, part, seed, in_memory, autojump_clock
):
    """And everything cut leaves nothing behind."""
    async with scenario(case, part) as play:
        report = await sweep_target(play.with_a_next_turn, steps=every(7 if part is connect else 29, seed))
        report.raise_if_problems()
        report = await sweep(play.alone, steps=every(67, seed))
        report.raise_if_problems()
    assert play.cut > 0


@only("deepgram")
@pytest.mark.parametrize("part", [two_at_once, refused_and_reconnected])
async def test_a_longer_part_cut_at_any_step_leaves_the_next_turn_exact(case, part, seed, in_memory, autojump_clock):
    async with scenario(case, part) as play:
        report = await sweep_target(play.with_a_next_turn, steps=every(9, seed))
        report.raise_if_problems()
    assert play.cut > 10


@only("deepgram")
@pytest.mark.parametrize("part", [slow_text, two_at_once])
async def test_a_part_interrupted_at_any_step_leaves_the_next_turn_exact(case, part, seed, in_memory, autojump_clock):
    async with scenario(case, part) as play:
        report = await sweep_target(play.interrupted, steps=every(9, seed))
        report.raise_if_problems()
    assert play.cut > 5


@only("deepgram")
async def test_a_connecting_session_cancelled_at_any_step_leaves_nothing_behind(case, seed, in_memory, autojump_clock):
    async with scenario(case, connect) as play:
        report = await sweep(play.alone, steps=every(2, seed))
        report.raise_if_problems()
    assert report.steps > 40


@only("deepgram")
@pytest.mark.parametrize("part", [first_turn, slow_text, interrupted_late, two_at_once, lost_and_reconnected])
async def test_a_session_cancelled_at_any_step_leaves_nothing_behind(case, part, seed, in_memory, autojump_clock):
    async with scenario(case, part) as play:
        report = await sweep(play.alone, steps=every(19, seed))
        report.raise_if_problems()
    assert report.steps > 5


@only("deepgram")
async def test_a_session_left_while_it_speaks_and_cancelled_at_any_step(case, seed, in_memory, autojump_clock):
    async with scenario(case, first_turn) as play:
        report = await sweep(play.left_while_speaking, steps=every(3, seed))
        report.raise_if_problems()
    assert report.steps > 33


@only("deepgram")
@pytest.mark.parametrize(("part", "number"), [(connect, 23), (first_turn, 41)])
async def test_cancelled_twice(case, part, number, seed, in_memory, autojump_clock):
    """First the part, and then everything, at any step of the clean-up and of what follows."""
    async with scenario(case, part) as play:
        report = await sweep_pairs(play.with_a_next_turn, steps=every(number, seed, thorough=number // 4))
        report.raise_if_problems()
    assert report.steps > 50


@only("deepgram")
async def test_on_real_sockets_nothing_is_left_behind(case, seed):
    """No task, and no descriptor either."""
    async with case.make_simulator(ms_per_char=5, first_audio=0.0, speed=1000.0).serve() as server:
        play = Scenario(case, server, first_turn, dial=trio.open_tcp_stream)
        report = await sweep(play.alone, steps=every(3, seed))
        report.raise_if_problems()
    assert report.steps > 25
