"""What every recognizer's session does: the contract of `voicetrio.stt`."""

import random
from collections import Counter

import pytest
import trio
from stt_cases import KEY, cases
from stt_tools import join, listening, samples_of, until

from voicetrio import AudioFrame
from voicetrio._feed import Feed
from voicetrio.errors import InputError, ProviderStalled, SessionClosed
from voicetrio.simulators import Faults, tagged_pcm
from voicetrio.testing import no_leaks
from voicetrio.transcript import Transcript

UNBROKEN = {"pause_words": 0, "word_ms": 50.0, "phrase_words": 2}


async def test_all_that_is_said_becomes_final_once(case, autojump_clock):
    async with listening(case) as it:
        await it.talk(4.0)
        assert await it.finish() == ("completed" if case.tells_end else "completed_inferred")
        it.check_whole()
        assert it.session.statistics().connections == 1
        assert it.session.statistics().samples_sent == it.given
        assert all(bool(event.request_id) == case.ids for event in it.heard)


async def test_audio_may_be_cut_at_any_byte(case, seed, autojump_clock):
    chance = random.Random(seed)
    pcm = tagged_pcm(0, 0, 3 * case.rate)
    async with listening(case) as it:
        while pcm:
            count = chance.randrange(1, 1500)
            await it.session.send_audio(pcm[:count])
            pcm = pcm[count:]
        it.given = 3 * case.rate
        await it.finish()
        it.check_whole()


async def test_half_a_sample_at_the_very_end_is_dropped(case, autojump_clock):
    async with listening(case) as it:
        await it.talk(1.0)
        await it.session.send_audio(b"\x01")
        await it.finish()
        it.check_whole()


async def test_frames_are_taken_and_those_of_another_format_are_not(case, autojump_clock):
    async with listening(case) as it:
        with pytest.raises(InputError, match="44100 Hz"):
            await it.session.send_audio(AudioFrame(bytes(4), 44_100, 1, 1, 0))
        with pytest.raises(InputError, match="2 channels"):
            await it.session.send_audio(AudioFrame(bytes(4), case.rate, 2, 1, 0))
        await it.session.send_audio(AudioFrame(tagged_pcm(0, 0, case.rate), case.rate))
        await it.session.send_audio(b"\x01")
        with pytest.raises(InputError, match="half a sample"):
            await it.session.send_audio(AudioFrame(bytes(4), case.rate, 1, 1, 0))
        it.given = case.rate
        await it.finish()
        it.check_whole()


async def test_giving_audio_does_not_wait_for_the_network(case, autojump_clock):
    async with listening(case, faults=Faults(handshake="slow", handshake_delay=5.0)) as it:
        await it.talk(3.0, pace=0)
        assert trio.current_time() == 0
        await until(lambda: it.session.statistics().connections)
        assert trio.current_time() >= 5
        await it.finish()
        it.check_whole()


async def test_cancelled_it_has_given_nothing(case, autojump_clock):
    async with listening(case) as it:
        with trio.CancelScope() as scope:
            scope.cancel()
            await it.session.send_audio(b"\xff" * 3200)
        assert scope.cancelled_caught
        await it.talk(1.0)
        await it.finish()
        it.check_whole()


async def test_several_tasks_may_give_audio(case, autojump_clock):
    async with listening(case) as it:

        async def give(begin, end):
            while it.given < end:
                if it.given >= begin:
                    count = min(160, end - it.given)
                    it.given += count
                    await it.session.send_audio(tagged_pcm(0, it.given - count, count))
                await trio.sleep(0.01)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(give, 0, case.rate)
            nursery.start_soon(give, case.rate, 2 * case.rate)
        await it.finish()
        it.check_whole()


@cases(lambda case: case.flushes)
async def test_a_flush_makes_final_what_was_said_before_it_and_no_more(case, autojump_clock):
    async with listening(case, options={**UNBROKEN, "auto_final": False}) as it:
        await it.talk(0.33, pace=0)
        await it.session.flush()
        await it.session.flush()
        await it.talk(0.4, pace=0)
        await it.session.flush()
        await until(lambda: len(it.finals) == 2)
        length = round(0.05 * case.rate)
        first, second = (join(samples_of(event.text, length)) for event in it.finals)
        assert first == [(0, round(0.33 * case.rate))]
        assert second == [(round(0.33 * case.rate), it.given)]
        assert len(it.records("received")) == 2, "nothing was said between the first two"
        await it.finish()
        it.check_whole()


async def test_finish_returns_when_the_last_final_has_come(case, autojump_clock):
    async with listening(case, options={"latency": 2.0}) as it:
        await it.talk(0.3, pace=0)
        await it.finish()
        assert 2.0 <= trio.current_time() < 3.0
        it.check_whole()
        with pytest.raises(InputError):
            await it.session.send_audio(b"")
        await it.session.finish()


async def test_finish_without_audio_returns_at_once(case, autojump_clock):
    async with listening(case) as it:
        await it.finish()
        assert it.heard == []
        assert trio.current_time() < 0.1


async def test_an_end_that_is_never_answered_is_an_error(case, autojump_clock):
    async with listening(case, options=case.never_ends, provider={"finish_timeout": 3.0}) as it:
        await it.talk(0.3)
        began = trio.current_time()
        with pytest.raises(ProviderStalled):
            await it.session.finish()
        assert trio.current_time() - began == pytest.approx(3.0)
        await it.ended.wait()
        assert isinstance(it.error, ProviderStalled)


async def test_a_provider_that_owes_an_answer_and_is_silent_is_given_up(case, autojump_clock):
    timeouts = {"response_timeout": 1.0, "finish_timeout": 60.0}
    async with listening(case, options=case.never_ends, provider=timeouts) as it:
        await it.talk(0.3)
        with trio.move_on_after(2.5):
            await it.session.finish()
        assert it.session.statistics().reconnects >= 1
        it.behave(end_marker="normal")
        await it.finish()


async def test_an_error_is_raised_once_where_it_is_iterated_and_by_all_calls_from_then_on(case, autojump_clock):
    async with listening(case, faults=Faults(refuse_status=401), read=False) as it:
        with pytest.raises(Exception, match="401") as first:
            await anext(it.session)
        for call in (it.session.send_audio(b"\0\0"), it.session.flush(), it.session.finish(), anext(it.session)):
            with pytest.raises(type(first.value)) as caught:
                await call
            assert caught.value is first.value


async def test_one_error_comes_out_of_a_nursery_with_a_sender_and_a_reader(case, autojump_clock):
    """Each could raise it, in the same step of the scheduler."""
    for _ in range(10):
        async with listening(case, faults=Faults(refuse_status=401), read=False) as it:

            async def send(it=it):
                while True:
                    await it.session.send_audio(bytes(640))

            async def read(it=it):
                async for _ in it.session:
                    pass

            with pytest.raises(BaseExceptionGroup) as caught:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(send)
                    nursery.start_soon(read)
            assert len(caught.value.exceptions) == 1


async def test_after_the_block_all_calls_say_that_it_is_closed(case, autojump_clock):
    async with listening(case) as it:
        await it.talk(0.5)
    await it.ended.wait()
    assert isinstance(it.error, SessionClosed)
    for call in (it.session.send_audio(b""), it.session.flush(), it.session.finish()):
        with pytest.raises(SessionClosed):
            await call


async def test_the_block_is_left_in_time_while_finish_waits(case, autojump_clock):
    errors = []

    async def finish(session):
        with pytest.raises(SessionClosed) as caught:
            await session.finish()
        errors.append(caught.value)

    async with trio.open_nursery() as nursery, listening(case, options={"latency": 5.0}) as it:
        await it.talk(0.3)
        nursery.start_soon(finish, it.session)
        await trio.sleep(0.1)
    assert errors


async def test_events_that_nobody_reads_are_bounded_and_none_is_lost(case, autojump_clock):
    options = {"word_ms": 10.0, "pause_words": 2, "phrase_words": 2}
    async with listening(case, options=options, read=False) as it:
        await it.talk(20.0, pace=0)
        await trio.sleep(30)
        assert len(it.session._events) < 100
        async with trio.open_nursery() as nursery:
            nursery.start_soon(it.read)
            await it.finish()
        it.check_whole()


async def test_the_bound_drops_the_oldest_and_counts_it(case, autojump_clock):
    faults = Faults(handshake="slow", handshake_delay=5.0)
    async with listening(case, faults=faults, provider={"buffer_seconds": 1.0}) as it:
        await it.talk(3.0, pace=0)
        assert it.session.statistics().samples_dropped == 2 * case.rate
        await until(lambda: it.session.statistics().connections)
        await it.talk(1.0)
        await it.finish()
        assert it.session.statistics().samples_dropped == 2 * case.rate
    assert it.records("audio")[0]["data"]["runs"] == [[0, 2 * case.rate, 2 * case.rate]]


@cases(lambda case: case.times)
async def test_times_count_from_the_first_sample_given_over_drops_and_reconnects(case, autojump_clock):
    faults = Faults(handshake="slow", handshake_delay=3.5, connections=1)
    async with listening(case, faults=faults, options=UNBROKEN, provider={"buffer_seconds": 4.0}) as it:
        await it.talk(6.0, pace=0)
        await trio.sleep(4.0)
        await it.talk(0.42)
        it.behave(faults=Faults(drop_after_messages=1, connections=1))
        await it.talk(1.0)
        await it.finish()
        assert it.session.statistics().reconnects == 1
        length = round(0.05 * case.rate)
        for event in it.finals:
            begin, end = join(samples_of(event.text, length))[0]
            assert (event.start, event.end) == (begin / case.rate, end / case.rate)
            for word in event.words:
                assert samples_of(word.text, length) == [(word.start * case.rate, word.end * case.rate)]
        assert it.finals[0].start == 2.0, "the oldest two seconds were dropped"


async def test_an_idle_session_is_kept_alive_by_silence(case, autojump_clock):
    async with listening(case, options=UNBROKEN) as it:
        await it.talk(0.5)
        await trio.sleep(300)
        await it.talk(1.0)
        await it.finish()
        assert it.session.statistics().connections == 1
        it.check_whole()
        if case.times:
            assert it.finals[-1].end == 1.5, "the silence that keeps it alive is no part of the audio"


async def test_silence_comes_only_where_no_audio_came_for_long(case, monkeypatch, autojump_clock):
    silences = []

    def silence(feed, make=Feed.silence):
        silences.append(trio.current_time() - last)
        return make(feed)

    monkeypatch.setattr(Feed, "silence", silence)
    async with listening(case, options=UNBROKEN) as it:
        await it.talk(0.5)
        patience = it.session._feed.link.dialect.keepalive
        for _ in range(20):
            last = trio.current_time()
            await it.talk(0.02)
            await trio.sleep(0.8 * patience)
        assert not silences
        await trio.sleep(0.4 * patience)
        assert silences == [pytest.approx(patience)]


class _Steps(trio.abc.Instrument):
    """Counts the steps of tasks by name."""

    def __init__(self):
        self.counts = Counter()

    def before_task_step(self, task):
        self.counts[task.name] += 1


async def test_audio_gets_to_a_link_that_keeps_up_without_a_step_of_the_sessions_task(case, autojump_clock):
    steps = _Steps()
    async with listening(case) as it:
        await it.talk(0.5)
        trio.lowlevel.add_instrument(steps)
        await it.talk(0.5)
        assert steps.counts["voicetrio.stt.STTSession._run"] == 0
        await it.session.send_audio(tagged_pcm(0, it.given, case.rate))  # more than a message: the task sends the rest
        it.given += case.rate
        await trio.sleep(0.1)
        trio.lowlevel.remove_instrument(steps)
        assert steps.counts["voicetrio.stt.STTSession._run"] == 1
        await it.finish()
        it.check_whole()


async def test_little_waits_on_a_link_whose_peer_takes_nothing_and_all_comes_in_the_end(case, autojump_clock):
    async with listening(case) as it:
        await it.talk(0.5)
        (stream,), go = it.streams, trio.Event()

        async def send_late(data, send_all=stream.send_all):
            await go.wait()
            await send_all(data)

        stream.send_all = send_late
        await it.talk(4.0)
        assert len(it.session._feed.link._outbox) <= 32
        assert it.session.statistics().samples_sent < it.given
        go.set()
        await it.talk(0.5)
        await it.finish()
        it.check_whole()
        assert it.session.statistics().connections == 1


async def test_two_sessions_at_once_do_not_disturb_each_other(case, autojump_clock):
    async with listening(case) as one, listening(case) as other, trio.open_nursery() as nursery:
        for it, seconds in ((one, 3.0), (other, 2.0)):

            async def use(it=it, seconds=seconds):
                await it.talk(seconds)
                await it.finish()
                it.check_whole()

            nursery.start_soon(use)


async def test_no_secret_is_shown(case, caplog, autojump_clock):
    for faults in (Faults(refuse_status=401), Faults(refuse_status=400, refuse_body=f"what is {KEY}?")):
        async with listening(case, faults=faults) as it:
            await it.ended.wait()
            shown = f"{it.error} {it.error!r} {it.session.provider!r} {vars(it.error)} {it.session._endpoint!r}"
            assert KEY not in shown + caplog.text
            assert case.key == "token" or KEY not in it.session._endpoint.url  # the gateway takes it nowhere else


async def test_nothing_is_left_on_real_sockets(case):
    events = []

    async def listen(url):
        async with case.make_provider(url).open(sample_rate=case.rate) as session, trio.open_nursery() as nursery:
            await session.send_audio(tagged_pcm(0, 0, case.rate))
            nursery.start_soon(session.finish)
            events.extend([event async for event in session])

    async with no_leaks(), case.make_simulator(word_ms=20.0).serve() as server:
        await listen(server.url)
    assert any(isinstance(event, Transcript) and event.kind == "final" for event in events)
