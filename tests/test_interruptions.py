"""What a session tells of turns that were interrupted."""

from contextlib import asynccontextmanager

import pytest
import trio
from deepgram_talk import Talk

from voicetrio import CartesiaTTS, open_audio_sink
from voicetrio._link.nursery import open_plain_nursery
from voicetrio.simulators.cartesia import CartesiaSimulator
from voicetrio.turn import Turn

LONG = "This is a long sentence, and somebody is going to interrupt it before it has come to its end."


@asynccontextmanager
async def talk():
    async with CartesiaSimulator().serve_in_memory() as server, open_plain_nursery("the talk is over") as nursery:
        sink, source = open_audio_sink(24_000, max_seconds=0.5)
        it = Talk(server, sink)
        nursery.start_soon(it.play, source)
        async with CartesiaTTS(api_key="key", base_url=server.url).open(sink, dial=server.dial) as it.tts:
            yield it


async def test_one_cancelled_as_it_ended_is_not_told_again_with_the_next(autojump_clock, monkeypatch):
    """Its caller has been woken, is cancelled before it runs, and tells of it when the turn's task has long ended."""
    scope = trio.CancelScope()
    resolve = Turn.resolve

    def cancelled_as_it_ends(turn):
        resolve(turn)
        if turn.number == 1:
            scope.cancel()

    monkeypatch.setattr(Turn, "resolve", cancelled_as_it_ends)
    async with talk() as it:
        with scope:
            await it.tts.synthesize("Hello there.")
        assert scope.cancelled_caught
        assert it.tts.last_interruption.turns == (1,)
        await trio.sleep(3)
        with trio.move_on_after(0.6):
            await it.tts.synthesize(LONG)
        assert it.tts.last_interruption.turns == (2,)
        assert it.tts.last_interruption.samples_heard > 0


async def test_calls_cancelled_at_once_are_one_interruption(autojump_clock):
    async with talk() as it:
        for turns in [(1, 2), (3, 4)]:
            with trio.move_on_after(0.6):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(it.tts.synthesize, LONG)
                    await trio.sleep(0.1)
                    nursery.start_soon(it.tts.synthesize, LONG)
            assert it.tts.last_interruption.turns == turns


@pytest.mark.parametrize("_again", range(10))
async def test_an_interrupted_turn_has_its_request_id(autojump_clock, _again):
    """Whichever of its tasks trio runs first."""
    spoken = []

    async def speak():
        spoken.append(await it.tts.synthesize(LONG))

    async with talk() as it, trio.open_nursery() as nursery:
        nursery.start_soon(speak)
        await trio.sleep(0.5)
        it.tts.interrupt()
    assert spoken[0].outcome == "interrupted"
    assert spoken[0].request_id is not None


async def test_what_was_given_out_does_not_change(autojump_clock):
    async with talk() as it:
        spoken = await it.tts.synthesize("Hello there my friend, how are you today?")
        before = hash(spoken)
        it.tts.interrupt()
    assert spoken.timeline.fenced is None
    assert hash(spoken) == before
