"""DeepgramTTS against the failures of the asyncio class it replaces: rows D1 to D13 of docs/originals.md.

Each test fails on what the original did, which its docstring tells, with the figures of a run against this simulator.
"""

import math

import pytest
import trio
from deepgram_talk import FLUSH, chunks, talk

from voicetrio import DeepgramTTS
from voicetrio._link import _stream
from voicetrio.errors import (
    AuthenticationError,
    ConnectError,
    LinkClosed,
    ProviderStalled,
    RateLimited,
    SessionClosed,
    SinkClosed,
    UpgradeRejected,
)

LONG = "This is a long sentence, and somebody is going to interrupt it before it has come to its end."


# D1 -- one future for many acknowledgements


async def test_d1_a_turn_ends_with_its_last_flush(autojump_clock):
    """The original ended at the first Flushed and dropped what came after it: 14 400 of 46 080 bytes were heard."""
    async with talk() as it:
        spoken = await it.tts.synthesize(chunks("One. ", FLUSH, "Two. ", FLUSH, "Three.", FLUSH))
    assert it.kinds() == ["Speak", "Flush"] * 3 + ["Close"]
    assert spoken.outcome == "completed"
    assert it.runs(spoken.turn) == it.asked("One. ", "Two. ", "Three.")
    assert spoken.samples == sum(segment.samples for segment in it.server.segments)


async def test_d1_text_that_comes_after_a_flush_was_answered_is_heard(autojump_clock):
    """With a slow language model the original's turn was over at its first sentence: 14 400 of 46 080 bytes."""
    async with talk() as it:
        spoken = await it.tts.synthesize(chunks("One. ", FLUSH, 8, "Two. ", FLUSH, 8, "Three."))
    assert spoken.outcome == "completed"
    assert it.runs(spoken.turn) == it.asked("One. ", "Two. ", "Three.")


# D2, D3 -- an interruption that the server never hears of


@pytest.mark.parametrize("late_frames", [0, 5])
@pytest.mark.parametrize("flushed_for_cleared", [False, True])
async def test_d2_nothing_of_an_interrupted_turn_is_heard_in_the_next(autojump_clock, late_frames, flushed_for_cleared):
    """The original sent nothing: the next turn played the old audio, 200 640 bytes for a reply of 11 520."""
    async with talk(late_frames=late_frames, flushed_for_cleared=flushed_for_cleared) as it:
        with trio.move_on_after(0.5):
            await it.tts.synthesize(LONG)
        cut = it.tts.last_interruption
        spoken = await it.tts.synthesize("Yes.")
    assert it.kinds() == ["Speak", "Flush", "Clear", "Speak", "Flush", "Close"]
    assert it.runs(cut.turn) == [(0, 0, cut.samples_heard)]
    assert spoken.outcome == "completed"
    assert it.runs(spoken.turn) == it.asked("Yes.")
    assert it.server.connections == 1


async def test_d2_an_old_flushed_does_not_end_the_new_turn(autojump_clock):
    """The original took the answer to the old flush for its own and cut the new turn off."""
    async with talk(flushed_for_cleared=True, clear_delay=0.3, late_frames=3) as it:
        synthesis = it.tts.synthesize(LONG)
        with trio.move_on_after(0.3):
            await synthesis
        spoken = await it.tts.synthesize(chunks("Wait, ", FLUSH, 1, "there is more."))
    assert spoken.outcome == "completed"
    assert it.runs(spoken.turn) == it.asked("Wait, ", "there is more.")


async def test_d3_text_that_was_not_flushed_is_not_spoken_in_the_next_turn(autojump_clock):
    """The original left it in the server's buffer, at the head of the next reply: 80 640 bytes for 11 520."""
    async with talk() as it:
        with trio.move_on_after(0.5):
            await it.tts.synthesize(chunks("This was never ", "flushed, ", 10))
        spoken = await it.tts.synthesize("Yes.")
    assert it.kinds() == ["Speak", "Speak", "Clear", "Speak", "Flush", "Close"]
    assert [segment.text for segment in it.server.segments] == ["Yes."]
    assert it.runs(spoken.turn) == it.asked("Yes.")


# D4, D5, D7 -- waits of 30 seconds that mean success


@pytest.mark.parametrize(
    "script",
    [("",), (" \n\t",), (), (FLUSH,), (FLUSH, "", FLUSH), (" ", FLUSH, "\n")],
    ids=["empty", "blank", "nothing", "a marker", "markers", "blanks and markers"],
)
async def test_d4_nothing_to_say_takes_no_time(autojump_clock, script):
    """The original waited 30.04 s for the answer to a flush that it had not sent."""
    async with talk() as it:
        spoken = await it.tts.synthesize(chunks(*script))
        assert trio.current_time() == 0
        assert it.kinds() == []
    assert (spoken.outcome, spoken.samples) == ("completed", 0)


@pytest.mark.parametrize("text", ["", " \n\t"])
async def test_d4_a_blank_string_needs_no_connection(autojump_clock, text):
    """As above: 30.04 s."""
    async with talk() as it:
        spoken = await it.tts.synthesize(text)
        assert trio.current_time() == 0
    assert (spoken.outcome, spoken.samples, it.server.connections) == ("completed", 0, 0)


@pytest.mark.parametrize("warning", ["wire", "spec"])
@pytest.mark.parametrize("empty_flush_answered", [False, True])
async def test_d5_text_whose_flush_was_refused_is_spoken_all_the_same(autojump_clock, warning, empty_flush_answered):
    """The original ignored the Warning: 30.03 s of silence, then success.  Here the server counts stricter than we."""
    script = ["One. ", FLUSH, "Two. ", FLUSH, "Three. ", FLUSH, "Four. ", FLUSH]
    async with talk(flush_limit=2, warning=warning, empty_flush_answered=empty_flush_answered) as it:
        spoken = await it.tts.synthesize(chunks(*script))
        assert 60 < trio.current_time() < 65  # as soon as the server lets it
    assert spoken.outcome == "completed"
    assert it.runs(spoken.turn) == it.asked()
    assert "".join(segment.text for segment in it.server.segments) == "One. Two. Three. Four. "


async def test_d5_a_refused_flush_is_made_up_for_by_the_next(autojump_clock):
    """The original lost count of its flushes.  Here a later marker speaks what the refused one should have."""
    async with talk(flush_limit=1, flush_window=2) as it:
        spoken = await it.tts.synthesize(chunks("One. ", FLUSH, "Two. ", FLUSH, 3, "Three. ", FLUSH))
        assert trio.current_time() < 5
    assert it.runs(spoken.turn) == it.asked("One. ", "Two. Three. ")


async def test_d5_we_do_not_ask_for_more_flushes_than_the_server_gives(autojump_clock):
    """The original sent one for each marker, and the twenty-first of a minute was refused."""
    sentences = [f"Sentence {number}. " for number in range(50)]
    script = [chunk for sentence in sentences for chunk in (sentence, FLUSH, 0.5)]
    async with talk(ms_per_char=10) as it:
        spoken = await it.tts.synthesize(chunks(*script))
    assert not any("Warning" in record["data"]["message"] for record in it.events("sent"))
    assert spoken.outcome == "completed"
    assert it.runs(spoken.turn) == it.asked()
    assert "".join(segment.text for segment in it.server.segments) == "".join(sentences)


@pytest.mark.parametrize(
    ("cause", "stalls_at"),
    [
        ({"faults": {"stall_after": 4}}, 0.137 + 3 * 0.04 / 4 + 5),
        ({"end_marker": "none", "ms_per_char": 1}, 0.137 + 0.04 / 4 + 5),
    ],
    ids=["stalled", "no end marker"],
)
async def test_d7_a_timeout_is_an_error_measured_from_the_last_audio(autojump_clock, cause, stalls_at):
    """The original took 30.03 s without an answer for success: 5 760 of 267 840 bytes."""
    async with talk(**cause) as it:
        with pytest.raises(ProviderStalled):
            await it.tts.synthesize(LONG[:80])
        assert trio.current_time() == pytest.approx(stalls_at)


async def test_d7_a_long_turn_is_not_a_slow_one(autojump_clock):
    """The original gave a turn 30 s after its last text, however much audio was still to come."""
    async with talk(speed=1) as it:
        spoken = await it.tts.synthesize(LONG * 8)
        assert trio.current_time() > 40
    assert spoken.outcome == "completed"
    assert it.runs(spoken.turn) == it.asked()


# D6, D8, D9, D10 -- errors and cancellations that do not arrive


@pytest.mark.parametrize(
    ("fault", "code", "reason"),
    [
        ({"close_after": 8, "close_reason": "NET-0000"}, 1011, "NET-0000"),
        ({"drop_after_messages": 8}, 1006, None),
    ],
)
async def test_d6_a_connection_lost_in_a_turn_is_its_error_at_once(autojump_clock, fault, code, reason):
    """The original returned after 30.04 s as if all had been said: 13 440 of 267 840 bytes."""
    async with talk(faults={"connections": 1, **fault}) as it:
        with pytest.raises(LinkClosed) as caught:
            await it.tts.synthesize(LONG)
        assert trio.current_time() < 0.5
        assert (caught.value.code, caught.value.reason) == (code, reason)
        spoken = await it.tts.synthesize("Again.")
    assert it.runs(1) == [(0, 0, 7 * 960)]  # what had come is heard
    assert it.runs(spoken.turn) == it.asked("Again.")
    assert it.server.connections == 2


@pytest.mark.parametrize("fault", [{"close_after": 1}, {"drop_after_messages": 1}])
async def test_d6_a_connection_lost_before_the_first_audio_is_replaced(autojump_clock, fault):
    """The original's turn was silent for 30 s, and a success."""
    async with talk(faults={"connections": 1, **fault}) as it:
        spoken = await it.tts.synthesize("Hello.")
        assert trio.current_time() < 1
    assert spoken.outcome == "completed"
    assert it.runs(spoken.turn) == it.asked("Hello.")[-1:]
    assert it.server.connections == 2


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"handshake": "refuse"}, ConnectError),
        ({"refuse_status": 401}, AuthenticationError),
        ({"refuse_status": 429, "retry_after": 60}, RateLimited),
    ],
)
async def test_d8_the_cause_of_a_failed_connection_arrives(autojump_clock, fault, kind):
    """Each of these was an UnboundLocalError of the original's own cleanup."""
    async with talk(faults=fault) as it:
        with pytest.raises(ConnectError) as caught:
            await it.tts.synthesize("Hello.")
    assert isinstance(caught.value, kind)
    assert isinstance(caught.value, UpgradeRejected) == ("refuse_status" in fault)
    assert caught.value.__context__ is None or isinstance(caught.value.__context__, OSError)


async def test_d8_a_sink_that_takes_nothing_is_an_error(autojump_clock):
    """Without an audio track the original raised an UnboundLocalError."""
    async with talk() as it:
        it.sink.close()
        with pytest.raises(SinkClosed):
            await it.tts.synthesize("Hello.")


async def test_d9_a_cancelled_caller_is_cancelled(autojump_clock):
    """The original caught its caller's CancelledError and returned as if all had been said."""
    async with talk() as it:
        with trio.move_on_after(0.5) as scope:
            await it.tts.synthesize(LONG)
            pytest.fail("a cancelled call returned")
        assert scope.cancelled_caught
        assert trio.current_time() == 0.5


async def test_d9_an_interruption_while_the_text_is_read_is_an_outcome_not_an_exception(autojump_clock):
    """The original raised CancelledError into a caller whom nobody had cancelled."""
    closed = trio.Event()

    async def text():
        try:
            yield "Once upon a time "
            await trio.sleep_forever()
        finally:
            closed.set()

    async def interrupt_soon(it):
        await trio.sleep(0.5)
        it.tts.interrupt()

    async with talk() as it, trio.open_nursery() as nursery:
        nursery.start_soon(interrupt_soon, it)
        spoken = await it.tts.synthesize(text())
        assert trio.current_time() == 0.5
        await closed.wait()
    assert spoken.outcome == "interrupted"


@pytest.mark.parametrize("fault", [{"accept_silent": True}, {"stall_after": 3}, {"handshake": "silent"}])
async def test_d10_leaving_the_session_ends_a_turn_that_waits(autojump_clock, fault):
    """After the original's aclose() the caller waited for ever."""
    ends = []

    async def speak(it):
        with pytest.raises(SessionClosed):
            await it.tts.synthesize(LONG)
        ends.append(trio.current_time())

    async with trio.open_nursery() as nursery, talk(faults={**fault, "never_close": True}) as it:
        nursery.start_soon(speak, it)
        await trio.sleep(1)
    assert ends[0] == pytest.approx(1, abs=0.01)
    assert trio.current_time() < 2


# D11, D12 -- limits that the original wastes


async def test_d11_a_flush_is_sent_only_for_text(autojump_clock):
    """The original flushed once more after the last marker, an empty flush: one of 20 a minute, and one more answer."""
    async with talk(empty_flush_answered=False) as it:
        spoken = await it.tts.synthesize(chunks(FLUSH, "One.", FLUSH, FLUSH, " ", FLUSH, "Two.", FLUSH, FLUSH))
        assert it.kinds() == ["Speak", "Flush", "Speak", "Flush"]
    assert it.runs(spoken.turn) == it.asked("One.", " Two.")


async def test_d12_close_is_sent_once_the_last_audio_has_come(autojump_clock):
    """The original never sent it: the session lingered and counted against the project's connections."""
    async with talk(close_drains=False) as it:
        spoken = await it.tts.synthesize("Hello.")
    assert it.kinds()[-1] == "Close"
    assert it.runs(spoken.turn) == it.asked("Hello.")
    assert it.server.open_connections == 0


async def test_d12_a_server_that_does_not_close_is_not_waited_for_long(autojump_clock):
    """What Close must not cost: leaving the block stays under a second."""
    async with talk(faults={"never_close": True}) as it:
        await it.tts.synthesize("Hello.")
        await it.drained()
        left = trio.current_time()
    assert it.kinds()[-1] == "Close"
    assert trio.current_time() - left < 1


# D13 -- what was not there


async def test_d13_long_text_is_split_at_white_space(autojump_clock):
    """The original sent it in one message, and was closed on with 1009 BIG-0001."""
    text = "All work and no play makes Jack a dull boy.\n" * 120  # 5280 characters
    limits = {"characters_per_minute": 10_000}
    async with talk(provider=limits, characters_limit=10_000, ms_per_char=1) as it:
        spoken = await it.tts.synthesize(text)
    spoken_texts = [message["text"] for message in it.sent() if message["type"] == "Speak"]
    assert "".join(spoken_texts) == text
    assert [len(each) <= 2000 and each[-1].isspace() for each in spoken_texts] == [True] * 3
    assert it.kinds() == ["Speak", "Speak", "Speak", "Flush", "Close"]
    assert it.runs(spoken.turn) == it.asked()


async def test_d13_text_over_the_characters_of_a_minute_waits_while_the_rest_is_spoken(autojump_clock):
    """The original sent it all, and was closed on with 1008 DATA-0001."""
    text = "All work and no play makes Jack a dull boy.\n" * 110  # 4840 characters, 2400 a minute
    async with talk(ms_per_char=10) as it:
        spoken = await it.tts.synthesize(text)
    assert spoken.outcome == "completed"
    assert "".join(segment.text for segment in it.server.segments) == text
    assert it.runs(spoken.turn) == it.asked()
    assert [math.floor(time / 60) for time in it.times("Speak")] == [0, 1, 2]
    assert spoken.timeline.first_audio < 1  # what may be said is not held back by what may not


async def test_d13_samples_cut_in_two_by_frames_are_joined(autojump_clock):
    """The original handed odd frames on, which turns all that follows into noise."""
    async with talk(odd_frames=True) as it:
        spoken = await it.tts.synthesize(LONG)
    assert it.runs(spoken.turn) == it.asked()


async def test_d13_query_values_are_percent_encoded(autojump_clock):
    """The original put them into the URL as they were, so that a space or an ampersand broke it."""
    value = "50% of a&b=c+d / é #1"
    async with talk(provider={"extra": {"tag": value}}) as it:
        spoken = await it.tts.synthesize("Hello.")
    assert spoken.outcome == "completed"
    assert it.queries()[0]["tag"] == value


async def test_d13_voice_and_options_of_one_call_hold_for_that_call(autojump_clock):
    """The original ignored both."""
    async with talk() as it:
        await it.tts.synthesize("One.")
        await it.tts.synthesize("Two.", voice_id="aura-2-thalia-en")
        await it.tts.synthesize("Three.", speed=1.2)
        await it.tts.synthesize("Four.")
    voices = [query["model"] for query in it.queries()]
    assert voices == ["aura-2-andromeda-en", "aura-2-thalia-en", "aura-2-andromeda-en"]
    assert [query.get("speed") for query in it.queries()] == [None, None, "1.2"]
    assert [segment.connection for segment in it.server.segments] == [0, 1, 2, 0]


async def test_d13_age_is_counted_from_the_end_of_the_handshake(autojump_clock):
    """The original counted from before it: a slow handshake shortened the connection's life."""
    slow = {"handshake": "slow", "handshake_delay": 4}
    async with talk(provider={"max_connection_age_sec": 10}, faults=slow) as it:
        await it.tts.prewarm()
        await trio.sleep(8)  # 12 s after dialling, 8 s after the handshake
        await it.tts.synthesize("Hello.")
        assert it.server.connections == 1
        await trio.sleep(10)
        await it.tts.synthesize("Hello again.")
    assert [segment.connection for segment in it.server.segments] == [0, 1]


def test_d13_the_trust_store_is_read_once_for_all_connections():
    """The original made a ClientSession for each connection, with a TLS context that read it again."""
    assert _stream._default_ssl_context() is _stream._default_ssl_context()


async def test_d13_the_request_id_is_kept_for_results_and_errors(autojump_clock):
    """The original threw it away; Deepgram's support asks for it."""
    async with talk() as it:
        spoken = await it.tts.synthesize("Hello.")
        it.server.options = it.server.options.parse(["close_after=1"])
        with pytest.raises(LinkClosed) as caught:
            await it.tts.synthesize(LONG)
    sent = [record["data"]["message"] for record in it.events("sent", 0)]
    assert f'"request_id":"{spoken.request_id}"' in sent[0]
    assert caught.value.request_id == spoken.request_id
    assert spoken.request_id in str(caught.value)


# What it has in common with the original


def test_the_originals_options_keep_their_names_and_defaults(monkeypatch):
    monkeypatch.setenv("DEEPGRAM_API_KEY", "from the environment".replace(" ", "-"))
    original = {
        "api_key": "from-the-environment",
        "model": "aura-2-andromeda-en",
        "encoding": "linear16",
        "sample_rate": 24000,
        "base_url": "wss://api.deepgram.com/v1/speak",
        "max_connection_age_sec": 300.0,
    }
    ours = DeepgramTTS()
    assert {name: getattr(ours, name) for name in original} == original
    with pytest.raises(TypeError):
        DeepgramTTS("key")  # keyword only, as the original
