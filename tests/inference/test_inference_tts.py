"""TTS of the inference gateway against the failures of the asyncio class it replaces: rows G1 to G9 of
docs/originals.md.

Each test fails on what the original did, which its docstring tells.
"""

import logging
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from deepgram_talk import FLUSH, Talk, chunks

from voicetrio import open_audio_sink
from voicetrio._link.nursery import open_plain_nursery
from voicetrio.errors import (
    AuthenticationError,
    BadRequest,
    ConfigurationError,
    LinkClosed,
    NoAudio,
    ProtocolError,
    ProviderError,
    ProviderStalled,
    RateLimited,
    ServiceUnavailable,
)
from voicetrio.inference import TTS
from voicetrio.inference._tts_batches import Batches, count_spoken
from voicetrio.simulators import Faults, GatewayOptions, GatewaySimulator

LONG = "This is a long sentence, and somebody is going to interrupt it before it has come to its end."
REPLY = (
    "Certainly. I have found three flights on Monday. The first one leaves at seven in the morning, and it is the "
    "cheapest. The second one leaves at noon. The third one is the last that you can take on that day, at half past "
    "nine in the evening. Which of them would you like me to book for you? I can also look for another day."
)
TOKEN = "a+token/with=signs"

inferred = pytest.mark.parametrize("inferred_end", [4.5, 1.0])


class GatewayTalk(Talk):
    """Names the client's messages."""

    def kinds(self, connection=None):
        """The types of the client's messages, the configuration apart."""
        return [kind for kind in super().kinds(connection) if kind != "config"]

    def configs(self):
        """The configurations of the connections."""
        return [message["data"] for message in self.sent() if message["type"] == "config"]

    def texts(self):
        """The texts that the client sent."""
        return [message["data"] for message in self.sent() if message["type"] == "text"]


@asynccontextmanager
async def talk(*, vendor=TTS.google, provider=None, faults=None, **simulated):
    """A session with a simulator of these options; what is spoken is played in real, that is virtual, time."""
    options = GatewayOptions(faults=Faults(**(faults or {})), **{"api_key": TOKEN, **simulated})
    async with (
        GatewaySimulator(options).serve_in_memory() as server,
        open_plain_nursery("the talk is over") as nursery,
    ):
        tts = vendor(**{"token": TOKEN, "base_url": server.url, **(provider or {})})
        sink, source = open_audio_sink(tts.sample_rate, max_seconds=0.5)
        it = GatewayTalk(server, sink)
        nursery.start_soon(it.play, source)
        async with tts.open(sink, dial=server.dial) as it.tts:
            yield it
            await it.drained()


def words_of(text, pause=0.02):
    """A text as a language model gives it."""
    for word in text.split(" "):
        yield word + " "
        yield pause


# G1 -- the end of a turn


async def test_g1_a_turn_ends_when_its_audio_is_there(autojump_clock):
    """The original returned as soon as the text was sent: 0 bytes then, 38 400 later."""
    async with talk() as it:
        spoken = await it.tts.synthesize(LONG)
        assert spoken.samples == it.server.segments[0].samples > 0
        assert trio.current_time() > 1
        await it.drained()
    assert spoken.outcome == "completed"
    assert it.runs(spoken.turn) == it.asked()


async def test_g1_every_flush_is_waited_for(autojump_clock):
    """The original did not look at any of them."""
    async with talk() as it:
        spoken = await it.tts.synthesize(chunks(REPLY, FLUSH, 3, "One more thing. ", FLUSH, "Good bye."))
        await it.drained()
    assert spoken.outcome == "completed"
    assert it.kinds().count("flush") > 3
    assert it.runs(spoken.turn) == it.asked()


async def test_g1_one_completion_for_several_flushes_is_an_end_that_is_inferred(autojump_clock):
    """Whether there is one for each is not known."""
    async with talk(completes="turn", speed=20) as it:
        spoken = await it.tts.synthesize(REPLY)
        waited = trio.current_time() - spoken.timeline.last_sample
        connections = it.server.connections
        again = await it.tts.synthesize("Again.")  # not on a connection that might have more to say
        await it.drained()
    assert spoken.outcome == "completed_inferred"
    assert waited == pytest.approx(2.0, abs=0.5)
    assert again.outcome == "completed"  # a single flush
    assert again.timeline.connected == again.timeline.started
    assert connections == 2
    segments = it.server.segments
    assert it.runs(spoken.turn) == [(each.number, 0, each.samples) for each in segments[:-1]]
    assert segments[-1].connection != segments[0].connection
    assert it.runs(again.turn) == it.asked("Again.")


@inferred
async def test_g1_without_completions_the_end_is_inferred_from_silence(autojump_clock, inferred_end):
    """The original had no end at all."""
    async with talk(end_marker="none", provider={"inferred_end": inferred_end}, speed=1000) as it:
        spoken = await it.tts.synthesize(LONG)
        assert spoken.outcome == "completed_inferred"
        assert trio.current_time() - spoken.timeline.first_audio >= inferred_end
        await it.tts.synthesize("Again.")
        await it.drained()
    assert [it.runs(turn) for turn in (1, 2)] == [[run] for run in it.asked()]
    assert it.server.segments[0].connection != it.server.segments[1].connection


async def test_g1_a_completion_that_is_late_is_waited_for_as_long_as_documented(autojump_clock):
    """Or the end is inferred, and the completion is not taken for the next turn's."""
    async with talk(end_marker="late", end_marker_delay=4.0) as it:
        assert (await it.tts.synthesize("One.")).outcome == "completed"
        it.server.options = attrs.evolve(it.server.options, end_marker_delay=6.0)
        with pytest.raises(ProviderStalled):  # this connection has told its ends: that it does not is no end
            await it.tts.synthesize("Two.")
        assert (await it.tts.synthesize("Three.")).outcome == "completed_inferred"
        it.server.options = attrs.evolve(it.server.options, end_marker="normal")
        spoken = await it.tts.synthesize("Four.")
        await it.drained()
    assert spoken.outcome == "completed"
    assert [it.runs(turn) for turn in (1, 2, 3, 4)] == [[run] for run in it.asked()]


@pytest.mark.parametrize("first_audio", [0.1, 1.5])
async def test_g1_a_completion_that_comes_twice_counts_once(autojump_clock, first_audio):
    """Neither for a flush of the same turn nor for the next turn."""
    async with talk(end_marker="double", first_audio=first_audio) as it:
        spoken = await it.tts.synthesize(REPLY)
        again = await it.tts.synthesize("Again. And again.")
        await it.drained()
    assert (spoken.outcome, again.outcome) == ("completed", "completed")
    assert it.runs(spoken.turn) + it.runs(again.turn) == it.asked()


async def test_g1_an_end_without_audio_is_an_error(autojump_clock):
    """The original returned as if all had been said."""
    async with talk(ms_per_char=1e-6) as it:
        with pytest.raises(NoAudio):
            await it.tts.synthesize("Hello.")
        it.server.options = attrs.evolve(it.server.options, ms_per_char=60.0)
        spoken = await it.tts.synthesize("Again.")
        await it.drained()
    assert it.runs(spoken.turn) == it.asked("Again.")


async def test_g1_a_provider_that_says_nothing_is_an_error(autojump_clock):
    """The original neither waited nor noticed."""
    async with talk(faults={"stall_after": 0}) as it:
        with pytest.raises(ProviderStalled):
            await it.tts.synthesize("Hello.")


async def test_g1_a_pause_of_the_text_is_no_silence_of_the_provider(autojump_clock):
    """What the above must not cost, whoever tells ends and how."""
    for quirk in ({}, {"completes": "turn"}, {"end_marker": "none"}, {"end_marker": "double"}):
        async with talk(**quirk) as it:
            spoken = await it.tts.synthesize(chunks("One. ", FLUSH, 30, "Two. ", FLUSH, 1, "Three.", 20))
            await it.drained()
        assert spoken.outcome == ("completed_inferred" if quirk.get("end_marker") == "none" else "completed")
        assert it.runs(spoken.turn) == it.asked("One. ", "Two. ", "Three.")


# G2 -- interruptions


@pytest.mark.parametrize("audio", ["json", "binary"])
async def test_g2_nothing_of_an_interrupted_turn_is_heard_in_the_next(autojump_clock, audio):
    """The original let the old audio through with the next turn: 24 960 bytes for 3 840."""
    slow = {"handshake": "slow", "handshake_delay": 0.3}
    async with talk(audio=audio, speed=2, faults=slow) as it:
        await it.tts.prewarm()
        for _ in range(5):
            with trio.move_on_after(0.7):
                await it.tts.synthesize(LONG)
            cut = it.tts.last_interruption
            spoken = await it.tts.synthesize("Yes.")
            await it.drained()
            assert it.runs(spoken.turn) == it.asked("Yes.")[-1:]
            assert sum(samples for _, _, samples in it.runs(cut.turn)) == cut.samples_heard > 0
            assert spoken.timeline.connected == spoken.timeline.started, "the turn waited for a handshake"
    assert it.tts.statistics().late_bytes < 24_000  # the old connection is dropped, not listened to


async def test_g2_a_turn_interrupted_before_it_said_anything_costs_no_connection(autojump_clock):
    """There is nothing to drop."""
    async with talk() as it:
        await it.tts.synthesize("One.")
        connections = it.server.connections
        with trio.move_on_after(0.5):
            await it.tts.synthesize(chunks("Two", 1, " and more."))
        await it.tts.synthesize("Three.")
        assert it.server.connections == connections
        await it.drained()
    assert it.texts() == ["One.", "Three."]


async def test_g2_audio_after_the_end_of_a_turn_gives_its_connection_up(autojump_clock):
    """It could not be told from the next turn's."""
    async with talk(late_frames=5, late_delay=0.5) as it:
        await it.tts.synthesize("One.")
        await trio.sleep(1)
        spoken = await it.tts.synthesize("Two.")
        await it.drained()
    assert it.runs(1) == it.asked("One.")
    assert it.runs(spoken.turn) == it.asked("Two.")
    said = {segment.text: segment.connection for segment in it.server.segments if segment.text}
    assert said["One."] != said["Two."]


async def test_g2_audio_that_nobody_asked_for_is_dropped(autojump_clock):
    """The original played it."""
    async with talk(audio_before_asked=5) as it:
        await it.tts.prewarm()
        await trio.sleep(1)
        spoken = await it.tts.synthesize("One.")
        await it.drained()
    assert it.runs(spoken.turn) == it.asked("One.")


# G3 -- flushes


async def test_g3_a_reply_takes_a_flush_for_some_sentences(autojump_clock):
    """The original flushed every two words: 8 flushes for 15 words."""
    async with talk() as it:
        spoken = await it.tts.synthesize(chunks(*words_of(REPLY)))
        await it.drained()
    assert it.texts()[0] == "Certainly. "  # at once
    assert all(text.rstrip()[-1] in ".?" for text in it.texts())
    assert it.kinds() == ["text", "flush"] * 4
    assert "".join(it.texts()) == REPLY + " "
    assert it.runs(spoken.turn) == it.asked()


async def test_g3_the_first_sentence_is_asked_for_as_soon_as_it_is_there(autojump_clock):
    """What gathering must not cost."""
    async with talk() as it:
        await it.tts.prewarm()
        began = trio.current_time()
        spoken = await it.tts.synthesize(chunks("Well then. ", 2, "The rest of it comes later, when it is there."))
        await it.drained()
    assert spoken.timeline.first_audio - began == pytest.approx(0.137, abs=0.01)


async def test_g3_without_streaming_the_text_is_asked_for_at_once(autojump_clock):
    """The original did not look at enable_streaming."""
    async with talk(provider={"enable_streaming": False}) as it:
        spoken = await it.tts.synthesize(chunks(*words_of(REPLY)))
        assert it.kinds() == ["text", "flush"]
        await it.tts.synthesize(REPLY * 3)
        await it.drained()
    assert len(it.texts()) == 1 + 2
    assert max(map(len, it.texts())) <= 500
    assert spoken.outcome == "completed"


# G4 -- markers


async def test_g4_a_marker_speaks_what_is_there(autojump_clock):
    """The original raised AttributeError, and the turn was lost."""
    script = [FLUSH, "One", FLUSH, FLUSH, " ", FLUSH, "and two", 3, " and three. ", FLUSH, "Four", FLUSH]
    async with talk() as it:
        spoken = await it.tts.synthesize(chunks(*script))
        await it.drained()
    assert it.texts() == ["One", " and two and three. ", "Four"]
    assert it.kinds() == ["text", "flush"] * 3
    assert it.runs(spoken.turn) == it.asked()


@pytest.mark.parametrize("script", [(), ("",), (FLUSH,), (" \n", FLUSH, FLUSH)])
async def test_g4_nothing_to_say_sends_nothing(autojump_clock, script):
    """What handling markers must not cost."""
    async with talk() as it:
        spoken = await it.tts.synthesize(chunks(*script))
        assert it.kinds() == []
    assert (spoken.outcome, spoken.samples) == ("completed", 0)


# G5 -- short answers, and other scripts


VENDORS = {"google": TTS.google, "sarvam": TTS.sarvam, "cartesia": TTS.cartesia, "deepgram": TTS.deepgram}
SHORT = ["Yes.", "No.", "42. OK?", "OK", "3", "はい。", "नहीं।", "نعم", "ใช่", "да"]


@pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS)
@pytest.mark.parametrize("text", SHORT)
async def test_g5_short_answers_are_heard(autojump_clock, vendor, text):
    """The original dropped them with sarvamai and cartesia, with a warning in the log."""
    async with talk(vendor=vendor) as it:
        whole = await it.tts.synthesize(text)
        streamed = await it.tts.synthesize(chunks(*text))
        await it.drained()
    assert whole.outcome == streamed.outcome == "completed"
    assert whole.samples
    assert streamed.samples
    assert "".join(it.texts()).replace(".", "") == (text + text).replace(".", "")
    assert it.runs(whole.turn) + it.runs(streamed.turn) == it.asked()


@pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS)
@pytest.mark.parametrize(
    "text",
    [
        "東京は日本の首都です。人口は約千四百万人です。",
        "नमस्ते। आप कैसे हैं? मैं ठीक हूँ।",
        "مرحبا بكم. كيف حالك اليوم؟ أنا بخير.",
        "Привет. Как дела сегодня? У меня все хорошо.",
    ],
)
async def test_g5_every_script_is_heard(autojump_clock, vendor, text):
    """The original counted Latin and Devanagari only: all others vanished."""
    async with talk(vendor=vendor) as it:
        spoken = await it.tts.synthesize(text)
        await it.drained()
    assert "".join(it.texts()) == text
    assert it.runs(spoken.turn) == it.asked()


async def test_g5_a_short_sentence_goes_with_its_neighbour(autojump_clock):
    """Where the vendor refuses it by itself: no full stop is added."""
    async with talk(vendor=TTS.sarvam) as it:
        await it.tts.synthesize("No. I do not think so.")
        await it.tts.synthesize(chunks("4", "2", ". ", "That is it. ", FLUSH, " OK?"))
        await it.drained()
    assert it.texts() == ["No. I do not think so.", "42. That is it. ", " OK?..."]


async def test_g5_a_vendor_that_counts_letters_tells_its_refusal(autojump_clock):
    """Padding does not help there, and the caller gets to know."""
    async with talk(vendor=TTS.sarvam, short_counts="letters") as it:
        with pytest.raises(BadRequest, match="too short"):
            await it.tts.synthesize("Yes.")
        spoken = await it.tts.synthesize("Yes, of course.")
        await it.drained()
    assert it.runs(spoken.turn) == it.asked("Yes, of course.")


def test_g5_letters_and_digits_of_all_scripts_are_counted():
    """The original knew a to z, 0 to 9 and Devanagari."""
    counts = {"Yes.": 3, "4 2": 2, "東京。": 2, "नमस्ते": 6, "مرحبا": 5, "½ ٣": 2, "?!… 😀": 0, "": 0}
    assert {text: count_spoken(text) for text in counts} == counts


def test_g5_what_has_no_letters_goes_with_its_neighbours():
    """Alone there is nothing in it to be heard, and vendors refuse it."""
    batches = Batches(streaming=True)
    assert batches.feed("Hello there. ") == ["Hello there. "]
    assert batches.feed("😀 ") == []
    assert batches.flush() == ""
    assert batches.feed("— and so on. ") == []
    assert batches.flush() == "😀 — and so on. "
    assert batches.feed("?!") == []
    assert batches.flush(last=True) == ""
    alone = Batches(streaming=True)
    assert alone.feed("?!") == []
    assert (alone.flush(), alone.flush(last=True)) == ("", "?!")


# G6 -- the text as it is, and the voice that is asked for


@pytest.mark.parametrize(
    "text",
    ["  Two  spaces.\n\nA line.\tA tab. ", "日本語には空白がありません。次の文です。", "a\u00a0b, c\u2009d. e  f"],
)
async def test_g6_white_space_is_sent_as_it_is(autojump_clock, text):
    """The original took words apart and joined them with a space."""
    async with talk() as it:
        await it.tts.synthesize(text)
        await it.tts.synthesize(chunks(*text))
        await it.drained()
    assert "".join(it.texts()) == text + text.rstrip()


VOICES = [
    (TTS.google, "Zephyr", {"voice_name": "en-US-Chirp3-HD-Zephyr"}),
    (TTS.sarvam, "manisha", {"speaker": "manisha"}),
    (TTS.cartesia, "another", {"voice": "another"}),
    (TTS.deepgram, "thalia", {"voice_id": "thalia"}),
]


@pytest.mark.parametrize(("vendor", "voice", "fields"), VOICES)
async def test_g6_the_voice_of_a_turn_is_used(autojump_clock, vendor, voice, fields):
    """The original took voice_id and ignored it."""
    async with talk(vendor=vendor) as it:
        await it.tts.synthesize("Hello there.")
        await it.tts.synthesize("Hello again.", voice_id=voice)
        await it.tts.synthesize("And the first voice.")
        await it.drained()
        by_number = {record["connection"]: record["data"]["query"]["voiceId"] for record in it.events("request")}
        assert [by_number[each.connection] == voice for each in it.server.segments] == [False, True, False]
        changed = next(config for config in it.configs() if config.items() >= fields.items())
        assert changed == {**it.tts.provider.config, **fields}


async def test_g6_other_options_of_a_turn_reach_the_vendor(autojump_clock):
    """They are in its configuration, too."""
    async with talk() as it:
        spoken = await it.tts.synthesize("Hallo.", language="de-DE", sample_rate=16_000)
        await it.drained()
    config = it.configs()[0]
    assert config["voice_name"] == "de-DE-Chirp3-HD-Achernar"
    assert (config["language_code"], config["sample_rate"]) == ("de-DE", 16_000)
    assert len(it.pcm(spoken.turn)) / 48_000 == pytest.approx(6 * 0.06, abs=0.01)


# G7 -- failures


@pytest.mark.parametrize("fault", [{"drop_after_messages": 0}, {"close_after": 0}, {"error_frame": 0}], ids=str)
async def test_g7_a_streamed_turn_that_fails_before_its_audio_is_said_again(autojump_clock, fault):
    """The original tried only plain strings again; what was streamed was cut, with an event."""
    async with talk(faults={"connections": 1, **fault}) as it:
        spoken = await it.tts.synthesize(chunks("One sentence. ", 1, "And another one."))
        await it.drained()
    assert spoken.outcome == "completed"
    last = it.server.segments[-1].connection
    said = [segment for segment in it.server.segments if segment.connection == last]
    assert it.runs(spoken.turn) == [(each.number, 0, each.samples) for each in said]
    assert "".join(each.text for each in said) == "One sentence. And another one."


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"drop_after_messages": 5}, LinkClosed),
        ({"close_after": 5}, LinkClosed),
        ({"error_frame": 5}, ServiceUnavailable),
        ({"wrong_shape": 5}, ProtocolError),
    ],
    ids=str,
)
async def test_g7_a_turn_that_fails_after_its_first_audio_is_an_error(autojump_clock, fault, kind):
    """And is not tried again: the original closed the socket and returned."""
    async with talk(faults={"connections": 1, **fault}) as it:
        with pytest.raises(kind):
            await it.tts.synthesize(LONG)
        again = await it.tts.synthesize("Again.")
        await it.drained()
    assert it.texts() == [LONG, "Again."]
    (_, start, samples) = it.runs(1)[0]
    assert start == 0
    assert 0 < samples < it.server.segments[0].samples
    assert it.runs(again.turn) == it.asked("Again.")


SHAPES = ["data.error", "data", "message", "error", "top", "event", "plain"]
WORDS = {
    "Invalid voice": BadRequest,
    "rate limit exceeded": RateLimited,
    "token expired": AuthenticationError,
    "something odd": ProviderError,
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("words", "kind"), WORDS.items())
async def test_g7_errors_of_every_shape_reach_the_caller(autojump_clock, shape, words, kind):
    """The original raised inside of its handler for data that is a string, and dropped the error."""
    shown = f"error: {words}" if shape == "plain" else words  # without, it would be an acknowledgement
    async with talk(faults={"error_frame": 5}, error_shape=shape, error_words=shown) as it:
        with pytest.raises(kind) as caught:
            await it.tts.synthesize(LONG)
    assert words in str(caught.value)
    assert caught.value.provider == "videosdk"


@pytest.mark.parametrize("words", ["Invalid voice", "something odd"])
async def test_g7_what_would_fail_again_is_not_tried_again(autojump_clock, words):
    """A retry is for what may work the second time."""
    async with talk(faults={"error_frame": 0}, error_words=words) as it:
        with pytest.raises(ProviderError, match=words):
            await it.tts.synthesize("Hello.")
    assert it.server.connections <= 2  # one, and its spare


async def test_g7_a_refused_configuration_is_an_error_of_the_call(autojump_clock):
    """The original emitted an event."""
    async with talk(vendor=TTS, provider={"provider": "google", "model_id": "Chirp3-HD"}) as it:
        with pytest.raises(BadRequest, match="voice_name"):
            await it.tts.synthesize("Hello.")


async def test_g7_plain_words_are_no_error(autojump_clock):
    """Such as the gateway's acknowledgements."""
    async with talk(acknowledges=True, faults={"unknown_message": 1}) as it:
        spoken = await it.tts.synthesize(REPLY)
        await it.drained()
    assert spoken.outcome == "completed"
    assert it.runs(spoken.turn) == it.asked()


# G8 -- the token


async def test_g8_the_token_arrives_as_it_is_and_is_shown_nowhere(autojump_clock, caplog):
    """The original put it into the URL as it was: a + arrived as a space."""
    caplog.set_level(logging.DEBUG)
    async with talk() as it:
        spoken = await it.tts.synthesize("Hello.")
        await it.drained()
    assert spoken.outcome == "completed"
    async with talk(api_key="another") as it:
        with pytest.raises(AuthenticationError) as caught:
            await it.tts.synthesize("Hello.")
        assert it.server.connections <= 2
    shown = f"{caught.value!r} {caught.value} {it.tts.provider!r} {it.tts.provider._endpoint()!r} {it.server.log}"
    shown += caplog.text
    assert TOKEN not in shown
    assert "a%2Btoken" not in shown


async def test_g8_a_token_that_the_gateway_repeats_is_not_shown(autojump_clock):
    """Whoever logs errors does not log it."""
    words = f"the token {TOKEN} has expired"
    async with talk(faults={"error_frame": 5}, error_words=words) as it:
        with pytest.raises(AuthenticationError) as caught:
            await it.tts.synthesize(LONG)
    assert TOKEN not in f"{caught.value!r} {caught.value} {caught.value.reason}"


# G9 -- audio, however it comes


@pytest.mark.parametrize("audio", ["json", "binary"])
@pytest.mark.parametrize("riff", ["none", "each", "first", "split"])
@pytest.mark.parametrize("odd_frames", [False, True])
async def test_g9_all_audio_takes_one_path(autojump_clock, audio, riff, odd_frames):
    """The original played the headers of binary audio, and did not report its first."""
    how = {"audio": audio, "riff": riff, "odd_frames": odd_frames}
    async with talk(**how, empty_frames=odd_frames) as it:
        spoken = await it.tts.synthesize(REPLY)
        await it.drained()
    assert spoken.timeline.first_audio is not None
    assert it.runs(spoken.turn) == it.asked()


@pytest.mark.parametrize("cut", [1, 3, 4, 8, 11, 12, 13, 30, 43])
async def test_g9_a_header_may_be_cut_anywhere(autojump_clock, cut):
    """The original looked for it in the first message alone."""
    async with talk(audio="binary", riff="split", riff_split=cut) as it:
        spoken = await it.tts.synthesize(REPLY)
        await it.drained()
    assert it.runs(spoken.turn) == it.asked()


async def test_g9_a_header_of_another_rate_is_an_error(autojump_clock):
    """It would be heard at the wrong pace."""
    async with talk(riff="each", vendor=TTS, provider=UNSAID) as it:
        with pytest.raises(ProtocolError, match="24000 Hz"):
            await it.tts.synthesize("Hello.")


UNSAID = {"provider": "other", "model_id": "m", "sample_rate": 16_000}


# Options


def test_the_vendors_configurations():
    assert TTS.google(token="t").config == {
        "voice_name": "en-US-Chirp3-HD-Achernar",
        "language_code": "en-US",
        "speed": 1.0,
        "pitch": 0.0,
        "sample_rate": 24000,
        "model_id": "Chirp3-HD",
    }
    assert TTS.sarvam(token="t", config={"pace": 1.1}).config == {
        "model": "bulbul:v2",
        "language": "en-IN",
        "speaker": "anushka",
        "sample_rate": 24000,
        "pace": 1.1,
    }
    assert TTS.cartesia(token="t").config == {
        "model": "sonic-2",
        "language": "en",
        "voice": "faf0731e-dfb9-4cfc-8119-259a79b27e12",
        "sample_rate": 24000,
    }
    assert TTS.deepgram(token="t").config == {
        "model": "aura-2",
        "encoding": "linear16",
        "sample_rate": 24000,
        "container": "none",
        "voice_id": "amalthea",
        "language": "en",
    }
    embedding = TTS.cartesia(token="t", voice_id=[0.5, 1.0])
    assert (embedding.config["voice"], embedding.voice_id) == ([0.5, 1.0], "[0.5,1.0]")


def test_the_defaults(monkeypatch):
    monkeypatch.setenv("VIDEOSDK_AUTH_TOKEN", "from-the-environment")
    defaults = {
        "provider": "sarvamai",
        "model_id": "m",
        "voice_id": None,
        "language": "en-US",
        "config": {},
        "enable_streaming": True,
        "sample_rate": 24_000,
        "base_url": "wss://inference-gateway.videosdk.live",
        "token": "from-the-environment",
    }
    ours = TTS(provider="sarvam", model_id="m")
    assert {name: getattr(ours, name) for name in defaults} == defaults
    with pytest.raises(TypeError):
        TTS("google", "m")


def test_options_are_equal_hashable_and_shown_without_the_token():
    ours, same = (TTS.google(token="very-secret", config=config) for config in ({"a": [1], "b": 2}, {"b": 2, "a": [1]}))
    assert ours == same
    assert hash(ours) == hash(same)
    assert ours != TTS.google(token="very-secret", config={"a": [2], "b": 2})
    assert ours != TTS.google(token="another", config={"a": [1], "b": 2})
    assert "secret" not in repr(ours)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        ours.token = "other"


@pytest.mark.parametrize(
    ("make", "options", "match"),
    [
        (TTS.deepgram, {"encoding": "mulaw"}, "linear16"),
        (TTS.deepgram, {"container": "wav"}, "container"),
        (TTS.deepgram, {"bit_rate": 48_000}, "bit_rate"),
        (TTS.deepgram, {"config": {"encoding": "mp3"}}, "linear16"),
        (TTS.google, {"config": {"sample_rate": 16_000}}, "16000"),
        (TTS.google, {"sample_rate": 12_345}, "sample_rate"),
        (TTS.google, {"sample_rate": "24000"}, "sample_rate"),
        (TTS.google, {"config": {"a": object()}}, "config"),
        (TTS.google, {"model_id": ""}, "model_id"),
        (TTS.google, {"voice_id": ""}, "voice_id"),
        (TTS.google, {"voice_id": "two words"}, "voice_id"),
        (TTS.google, {"token": ""}, "token"),
        (TTS.google, {"base_url": "ftp://gateway"}, "base_url"),
        (TTS.google, {"enable_streaming": 1}, "enable_streaming"),
        (TTS.google, {"inferred_end": 0}, "inferred_end"),
        (TTS, {"provider": "", "model_id": "m"}, "provider"),
    ],
)
def test_options_that_cannot_be_are_refused_at_construction(make, options, match):
    with pytest.raises(ConfigurationError, match=match):
        make(**({"token": "t"} | options))


def test_a_token_is_needed(monkeypatch):
    monkeypatch.delenv("VIDEOSDK_AUTH_TOKEN", raising=False)
    with pytest.raises(ConfigurationError, match="VIDEOSDK_AUTH_TOKEN"):
        TTS.google()
