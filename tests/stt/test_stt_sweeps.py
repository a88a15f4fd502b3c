"""The checkpoint sweep: each scenario cancelled before and after every step of every task of the session.

Wherever a call is cut, what was given is heard whole; wherever the whole is cut, nothing is left behind.
"""

from contextlib import asynccontextmanager

import pytest
import trio
from slices import every
from stt_tools import Stage

from voicetrio.simulators import Faults, tagged_pcm
from voicetrio.testing import _resources, sweep, sweep_target

QUICK = {"word_ms": 10.0, "phrase_words": 2, "pause_words": 0}


class Scenario:
    """A session on a simulator that is not part of what is swept."""

    def __init__(self, case, server, part):
        self.case = case
        self.server = server
        self.part = part
        self.cut = 0

    @asynccontextmanager
    async def session(self):
        it = Stage(self.case, self.server, iter(()))
        try:
            async with self.case.make_provider(self.server.url).open(
                sample_rate=self.case.rate, dial=it.dial
            ) as it.session:
                yield it
        finally:
            assert not it.streams, "a stream is still open"

    async def with_the_rest(self, target):
        """Cut the part; all that the session then has is heard, once."""
        async with self.session() as it:
            with target.scope() as scope:
                await self.part(it)
            self.cut += scope.cancelled_caught
            # What a call that was cut has given is known by what there is.
            it.given = it.session._backlog.end
            async with trio.open_nursery() as nursery:
                nursery.start_soon(it.read)
                await it.session.finish()
            it.check_whole()

    async def alone(self):
        async with self.session() as it:
            await self.part(it)


async def connect(it):
    await trio.sleep(0.01)


async def give(it):
    for _ in range(4):
        await it.session.send_audio(tagged_pcm(0, it.given, 160))
        it.given += 160
        await trio.sleep(0.01)


async def give_and_flush(it):
    await give(it)
    await it.session.flush()
    await it.session.send_audio(tagged_pcm(0, it.given, 160))
    await trio.sleep(0.01)


async def give_and_finish(it):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(it.read)
        await give(it)
        await it.session.finish()


async def lost_and_reconnected(it):
    it.server.options = it.case.options(
        faults=Faults(drop_after_messages=1, connections=it.server.connections + 1), **QUICK
    )
    await give(it)
    await trio.sleep(0.5)


@pytest.fixture
def in_memory(monkeypatch):
    """There are no descriptors to watch, and looking for them would be half of the work."""
    monkeypatch.setattr(_resources, "open_fds", set)


@asynccontextmanager
async def scenario(case, part):
    async with case.make_simulator(**QUICK).serve_in_memory() as server:
        yield Scenario(case, server, part)


@pytest.mark.parametrize("part", [give, give_and_flush, lost_and_reconnected])
async def test_a_part_cut_at_any_step_leaves_what_was_given_whole(case, part, seed, in_memory, autojump_clock):
    async with scenario(case, part) as play:
        report = await sweep_target(play.with_the_rest, steps=every(9, seed))
        report.raise_if_problems()
    assert report.steps > 3
    assert play.cut > 0.5 * report.steps


@pytest.mark.parametrize("part", [connect, give_and_flush, give_and_finish, lost_and_reconnected])
async def test_a_session_cancelled_at_any_step_leaves_nothing_behind(case, part, seed, in_memory, autojump_clock):
    async with scenario(case, part) as play:
        report = await sweep(play.alone, steps=every(13, seed))
        report.raise_if_problems()
    assert report.steps > 2


async def test_on_real_sockets_nothing_is_left_behind(case, seed):
    """No task, and no descriptor either."""
    async with case.make_simulator(**QUICK).serve() as server:
        report = await sweep(Scenario(case, server, give_and_flush).alone, steps=every(9, seed))
        report.raise_if_problems()
    assert report.steps > 5
