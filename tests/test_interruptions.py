"""What a session tells of turns that were interrupted."""

from contextlib import asynccontextmanager

import pytest
import trio
from deepgram_talk import Talk

from voicetrio import CartesiaTTS, TTSSession, Word, open_audio_sink
from voicetrio._dialect import Spoken
from voicetrio._link.nursery import open_plain_nursery
from voicetrio.errors import SessionClosed
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


async def speak(tts, scope, found):
    """Speak in a scope, and note what its caller finds in its first step behind it."""
    with scope:
        await tts.synthesize(LONG)
    found.append(tts.last_interruption)


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


async def test_an_interruption_tells_of_a_call_that_was_cancelled_just_before(autojump_clock):
    """Its caller has had no step to look since."""
    found, scope = [], trio.CancelScope()
    async with talk() as it:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(it.tts.synthesize, LONG)
            await trio.sleep(0.6)
            nursery.start_soon(speak, it.tts, scope, found)
            await trio.sleep(0.1)
            scope.cancel()
            assert it.tts.last_interruption.turns == (2,)
            cut = it.tts.interrupt()
            assert it.tts.interrupt() is None
        assert cut.turns == (1,)
        assert [told.turns for told in found] == [(1, 2)]
        assert found[0].samples_heard == cut.samples_heard > 0
        await it.tts.synthesize("Hello there.")
        assert it.tts.interrupt().turns == (3,)


async def test_each_cancelled_call_finds_itself_in_the_interruption(autojump_clock):
    """Though the caller of another may have run before it, and a third is silenced then."""
    first, second, found = trio.CancelScope(), trio.CancelScope(), {}

    async def speak(number, scope):
        with scope:
            await it.tts.synthesize(LONG)
        found[number] = it.tts.last_interruption.turns
        it.tts.interrupt()  # silences the third, if nobody has

    async with talk() as it, trio.open_nursery() as nursery:
        for number, scope in enumerate((first, second, trio.CancelScope()), start=1):
            nursery.start_soon(speak, number, scope)
            await trio.sleep(0.1)
        first.cancel()
        second.cancel()
    assert found.keys() == {1, 2, 3}
    assert 1 in found[1]
    assert 2 in found[2]
    assert 3 in found[3]


async def test_what_is_told_together_is_told_in_order(autojump_clock):
    """Of a turn that has returned and is still heard, and of a call behind it that was cancelled just before."""
    found, scope = [], trio.CancelScope()
    async with talk() as it, trio.open_nursery() as nursery:
        await it.tts.synthesize(LONG)
        nursery.start_soon(speak, it.tts, scope, found)
        await trio.sleep(0.1)
        scope.cancel()
        it.tts.interrupt()
        await trio.testing.wait_all_tasks_blocked()
        assert [(told.turn, told.turns) for told in found] == [(1, (1, 2))]


@pytest.mark.parametrize("cancelled", [True, False])
async def test_an_interrupted_call_finds_itself_though_another_is_cut_before_its_next_step(autojump_clock, cancelled):
    found, first, second = [], trio.CancelScope(), trio.CancelScope()

    async def cancel_the_second():
        second.cancel()

    async with talk() as it, trio.open_nursery() as nursery:
        for _ in range(20):  # for each order in which trio may run them
            turn = it.tts.statistics().turns + 1
            nursery.start_soon(speak, it.tts, first, found)
            await trio.sleep(0.3)
            it.tts.interrupt()
            if cancelled:
                first.cancel()
            nursery.start_soon(speak, it.tts, second, [])
            nursery.start_soon(cancel_the_second)
            await trio.sleep(1)
            assert turn in found.pop().turns
            first, second = trio.CancelScope(), trio.CancelScope()


async def test_no_times_are_told_once_the_block_is_left(autojump_clock, monkeypatch):
    """Though they come in the very tick, before the turn's task has run."""
    told, closed = [], []
    close = TTSSession._close

    def close_with_words_on_the_way(tts):
        (attempt,) = tts._attempts.values()
        close(tts)
        closed.append(len(told))
        words = Spoken(attempt.turn.number, words=(Word("Hello", 0.0, 0.5),))
        with pytest.raises(StopIteration):  # it waits for nothing
            tts._on_events(attempt.link, [words]).send(None)

    monkeypatch.setattr(TTSSession, "_close", close_with_words_on_the_way)
    async with CartesiaSimulator().serve_in_memory() as server, trio.open_nursery() as nursery:
        sink, _source = open_audio_sink(24_000, max_seconds=0.5)
        cartesia = CartesiaTTS(api_key="key", base_url=server.url)
        async with cartesia.open(sink, dial=server.dial, on_timestamps=told.append) as tts:
            nursery.start_soon(until_closed, tts)
            await trio.sleep(0.4)
    assert closed == [len(told)]


async def until_closed(tts):
    with pytest.raises(SessionClosed):
        await tts.synthesize(LONG)


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
