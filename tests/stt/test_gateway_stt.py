"""STT of the inference gateway against the failures of the asyncio class it replaces, rows T1 to T7 of
docs/originals.md, and what can be concluded on a wire that names and acknowledges nothing.
"""

import base64
import json
import random

import attrs
import numpy as np
import pytest
import trio
from slices import THOROUGH
from stt_cases import CASES, KEY
from stt_tools import join, listening, samples_of, until

from voicetrio.errors import (
    AuthenticationError,
    BadRequest,
    ConfigurationError,
    PaymentRequired,
    ProtocolError,
    ProviderStalled,
    RateLimited,
    ServiceUnavailable,
)
from voicetrio.inference import STT
from voicetrio.inference._stt_dialect import GatewaySTTDialect
from voicetrio.simulators import Faults, GatewayOptions, GatewaySimulator, tagged_pcm
from voicetrio.simulators.cartesia_stt import Cue
from voicetrio.simulators.gateway_stt import GatewaySTTOptions, GatewaySTTSimulator
from voicetrio.transcript import SpeechEnded, SpeechStarted, Transcript, TurnEnded

(GATEWAY,) = (case for case in CASES if case.name == "gateway")
PHRASES = {"word_ms": 100.0, "phrase_words": 3, "pause_words": 5}  # a phrase and its silence take 0.8 s


def told(**data):
    """A TRANSCRIPT."""
    return {"eventType": "TRANSCRIPT", **data}


STARTED, ENDED = {"eventType": "START_SPEECH"}, {"eventType": "END_SPEECH"}


def scripted(*messages, every=1600, faults=None):
    """A simulator that says these, one each `every` samples."""
    cues = [Cue((number + 1) * every, message) for number, message in enumerate(messages)]
    return GatewaySTTSimulator(GatewaySTTOptions(api_key=KEY, faults=faults or Faults()), script=cues)


async def heard_of(*messages, **provider):
    """What a session makes of these events, in short."""
    async with listening(GATEWAY, simulator=scripted(*messages), provider=provider) as it:
        await it.talk(0.1 * len(messages) + 0.05)
        await trio.sleep(0.1)
        assert it.error is None
        return [short(event) for event in it.heard]


def short(event):
    if isinstance(event, Transcript):
        return f"{event.kind}: {event.text}"
    return {SpeechStarted: "started", SpeechEnded: "ended", TurnEnded: "turn"}[type(event)]


# T1 -- audio while there is no connection


async def test_t1_audio_given_while_connecting_is_heard(autojump_clock):
    """The original dropped each frame that came during the handshake: 26 of 50 arrived."""
    async with listening(GATEWAY, faults=Faults(handshake="slow", handshake_delay=0.5)) as it:
        await it.talk(1.0)
        assert it.server.connections == 1
        await it.finish()
        it.check_whole()
    assert it.records("audio")[0]["data"]["runs"] == [[0, 0, it.given]]


async def test_t1_audio_given_while_reconnecting_is_heard(autojump_clock):
    """It dropped these, too."""
    async with listening(GATEWAY, options=PHRASES, faults=Faults(drop_after_messages=2, connections=1)) as it:
        await it.talk(0.3)
        it.behave(faults=Faults(handshake="slow", handshake_delay=1.0))
        await it.talk(2.1)
        await it.finish()
        assert it.session.statistics().reconnects == 1
        it.check_whole()


# T2 -- a server that refuses


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_t2_a_refusing_server_is_not_asked_for_each_frame(status, autojump_clock):
    """Of the original it got 20 handshakes for 20 frames."""
    async with listening(GATEWAY, faults=Faults(refuse_status=status), options=PHRASES) as it:
        await it.talk(20.0)
        assert it.server.connections < 12
        it.behave(faults=Faults())
        await it.talk(2.4)
        await it.finish()
        it.check_whole()


async def test_t2_what_will_be_refused_again_is_tried_once(autojump_clock):
    """The original tried again with each frame, and told each time by an event alone."""
    async with listening(GATEWAY, faults=Faults(refuse_status=401)) as it:
        with pytest.raises(AuthenticationError):
            await it.talk(2.0)
        assert it.server.connections == 1


# T3 -- whose socket it is


@pytest.mark.parametrize("faults", [{"close_after": 2}, {"drop_after_messages": 2}, {"half_open_after": 2}])
async def test_t3_a_new_connection_has_a_reader(faults, autojump_clock):
    """In the original the old listener's cleanup took the new socket away, and nobody listened to the next."""
    provider = {"heartbeat": 0.5, "finish_timeout": 60.0}
    async with listening(GATEWAY, options=PHRASES, faults=Faults(**faults, connections=1), provider=provider) as it:
        await it.talk(2.0)
        heard = len(it.heard)
        await it.talk(15.0)
        assert len(it.heard) > heard
        await it.finish()
        assert it.session.statistics().connections == 2
        it.check_whole()


# T4 -- what the end of speech ends


async def test_t4_a_cough_is_no_turn(autojump_clock):
    """The original looked at the transcript of the turn before, which it never forgot: it told the end of each."""
    heard = await heard_of(STARTED, told(text="Hello.", is_final=True), ENDED, STARTED, ENDED)
    assert heard == ["started", "final: Hello.", "ended", "turn", "started", "ended"]


async def test_t4_the_turn_ends_behind_its_transcript_whichever_comes_first(autojump_clock):
    """The original told nothing of an end of speech that came before the first transcript of all."""
    heard = await heard_of(STARTED, ENDED, told(text="Hello.", is_final=True))
    assert heard == ["started", "ended", "final: Hello.", "turn"]
    heard = await heard_of(STARTED, told(text="Hel", is_final=False), ENDED, told(text="Hello.", is_final=True))
    assert heard == ["started", "interim: Hel", "ended", "final: Hello.", "turn"]


async def test_t4_a_turn_of_several_transcripts_ends_behind_the_last(autojump_clock):
    one, two = told(text="Hello.", is_final=True), told(text="You?", is_final=True)
    heard = await heard_of(STARTED, one, told(text="You", is_final=False), ENDED, two)
    assert heard == ["started", "final: Hello.", "interim: You", "ended", "final: You?", "turn"]


async def test_t4_a_turn_begins_where_somebody_begins_to_speak(autojump_clock):
    """What was said before that is none of its words, ended or not."""
    heard = await heard_of(STARTED, told(text="Hello.", is_final=True), STARTED, ENDED)
    assert heard == ["started", "final: Hello.", "started", "ended"]


async def test_t4_a_speaker_who_goes_on_has_not_ended_the_turn(autojump_clock):
    """The original took the interim transcript for one."""
    heard = await heard_of(
        STARTED, told(text="Hel", is_final=False), ENDED, STARTED, told(text="Hello.", is_final=True)
    )
    assert heard == ["started", "interim: Hel", "ended", "started", "final: Hello."]


async def test_t4_an_interim_transcript_that_is_taken_back_is_no_turn(autojump_clock):
    heard = await heard_of(STARTED, told(text="Hm", is_final=False), told(text="", is_final=True), ENDED)
    assert heard == ["started", "interim: Hm", "final: ", "ended"]


async def test_t4_an_end_that_is_told_twice_is_one(autojump_clock):
    heard = await heard_of(STARTED, told(text="Yes.", is_final=True), ENDED, ENDED)
    assert heard == ["started", "final: Yes.", "ended", "turn"]


@pytest.mark.parametrize("order", ["behind", "before"])
async def test_t4_every_phrase_is_a_turn(order, autojump_clock):
    async with listening(GATEWAY, options={**PHRASES, "speech_events": order, "interims": False}) as it:
        await it.talk(2.0)
        await it.finish()
        phrase = ["started", "final", "ended", "turn"] if order == "behind" else ["started", "ended", "final", "turn"]
        shown = [short(event).partition(":")[0] for event in it.heard]
        assert shown == 3 * phrase
        it.check_whole()


# T5 -- a transcript that does not say what it is


async def test_t5_what_a_transcript_without_is_final_means_can_be_chosen(autojump_clock):
    """The original took each for a final one."""
    unsaid = told(text="Hello.")
    assert await heard_of(unsaid) == ["final: Hello."]
    assert await heard_of(unsaid, final_by_default=False) == ["interim: Hello."]
    assert await heard_of(told(text="Hello.", is_final=None), final_by_default=False) == ["interim: Hello."]


@pytest.mark.parametrize("final_by_default", [True, False])
async def test_t5_one_that_says_it_is_believed(final_by_default, autojump_clock):
    heard = await heard_of(
        told(text="Hel", is_final=False), told(text="Hello.", is_final=True), final_by_default=final_by_default
    )
    assert heard == ["interim: Hel", "final: Hello."]


async def test_t5_all_is_heard_where_only_interim_ones_say_so(autojump_clock):
    async with listening(GATEWAY, options={**PHRASES, "is_final": "interims"}) as it:
        await it.talk(3.0)
        await it.finish()
        it.check_whole()


# T6 -- the vendor's name


@pytest.mark.parametrize("name", ["sarvam", "sarvamai"])
async def test_t6_sarvam_is_called_by_the_gateways_name(name, autojump_clock):
    """The original asked for `sarvam`, which the gateway does not know any more."""
    config = {"model": "saarika:v2.5", "output_sample_rate": 16_000}
    provider = {"provider": name, "model_id": "saarika:v2.5", "config": config}
    async with GatewaySTTSimulator(GatewaySTTOptions(api_key=KEY)).serve_in_memory() as server:
        stt = STT(**provider, language="hi-IN", base_url=server.url, token=KEY)
        assert stt == STT(**{**provider, "provider": "sarvamai"}, language="hi-IN", base_url=server.url, token=KEY)
        async with stt.open(dial=server.dial) as session, trio.open_nursery() as nursery:
            await session.send_audio(tagged_pcm(0, 0, 48_000))
            nursery.start_soon(session.finish)
            assert [event async for event in session]
    (request,) = [record for record in server.log if record["event"] == "request"]
    assert "sarvamai" in json.dumps(request)


def test_t6_the_factory_uses_it_too():
    assert STT.sarvam(token=KEY).provider == "sarvamai"


# T7 -- the language, and the end


async def test_t7_the_language_reaches_the_vendor(autojump_clock):
    """Where `config` did not repeat it the original dropped it."""
    async with GatewaySTTSimulator(GatewaySTTOptions()).serve_in_memory() as server:
        for language, config, wanted in (("hi-IN", {}, "hi-IN"), ("hi-IN", {"language": "ta-IN"}, "ta-IN")):
            stt = STT(
                provider="assemblyai", model_id="m", language=language, config=config, base_url=server.url, token=KEY
            )
            async with stt.open(dial=server.dial) as session:
                await session.send_audio(bytes(9600))
                await until(lambda: [r for r in server.log if r["event"] == "config"])
            (record,) = [record["data"]["config"] for record in server.log if record["event"] == "config"]
            assert record == {"language": wanted, "input_sample_rate": 48_000}
            server.log.clear()


async def test_t7_what_was_said_last_is_asked_for_and_waited_for(autojump_clock):
    """The original closed without a flush: what had not become final was lost."""
    options = {**PHRASES, "auto_final": False, "final_delay": 1.5}
    async with listening(GATEWAY, options=options) as it:
        await it.talk(0.25)
        assert not it.finals
        assert await it.finish() == "completed_inferred"
        it.check_whole()


# ---- the end -------------------------------------------------------------------------------------------------------


async def test_an_end_that_the_gateway_does_not_tell_is_inferred_and_says_so(autojump_clock):
    async with listening(GATEWAY) as it:
        await it.session.send_audio(bytes(32_000))  # silence: nothing is said of it
        began = trio.current_time()
        assert await it.finish() == "completed_inferred"
        assert trio.current_time() - began == pytest.approx(2.5, abs=0.1)
        assert it.heard == []


@pytest.mark.parametrize("options", [{}, {"empty_final": True}])
async def test_behind_a_final_transcript_a_moment_of_silence_is_enough(options, autojump_clock):
    async with listening(GATEWAY, options={**PHRASES, **options}) as it:
        await it.talk(0.8 if options else 0.3)
        began = trio.current_time()
        await it.finish()
        assert trio.current_time() - began == pytest.approx(0.5, abs=0.1)
        it.check_whole()


async def test_a_word_that_is_not_final_is_never_given_up_for_the_end(autojump_clock):
    """An interim transcript is behind it, so silence is a stall: it is asked for again, and at last an error."""
    options = {**PHRASES, "auto_final": False, "end_marker": "none"}
    async with listening(GATEWAY, options=options, provider={"response_timeout": 2.0}) as it:
        await it.talk(0.25)
        with pytest.raises(ProviderStalled):
            await it.session.finish()
        assert trio.current_time() > 10
        assert it.session.statistics().reconnects >= 1
    assert isinstance(it.error, ProviderStalled)


async def test_a_late_answer_to_the_last_flush_is_waited_for_if_it_is_owed(autojump_clock):
    async with listening(GATEWAY, options={**PHRASES, "auto_final": False, "end_marker": "late"}) as it:
        await it.talk(0.25)
        await it.finish()
        it.check_whole()


async def test_the_last_transcript_may_come_behind_one_that_was_under_way(autojump_clock):
    """A phrase ends just when the end is asked for: there are two final ones."""
    async with listening(GATEWAY, options={**PHRASES, "latency": 0.2, "final_delay": 0.4, "interims": False}) as it:
        await it.talk(0.9)
        await it.finish()
        assert len(it.finals) == 2
        it.check_whole()


def test_an_end_that_could_never_be_inferred_is_refused():
    with pytest.raises(ConfigurationError, match="inferred_end"):
        STT.google(token=KEY, inferred_end=10.0, finish_timeout=10.0)


# ---- what was said in a turn ---------------------------------------------------------------------------------------


async def turns_of(*messages):
    """What a session tells of the turns in these events."""
    async with listening(GATEWAY, simulator=scripted(*messages)) as it:
        await it.talk(0.1 * len(messages) + 0.05)
        await trio.sleep(0.1)
        assert it.error is None
        return [event.text for event in it.heard if isinstance(event, TurnEnded)]


def said(text):
    return told(text=text, is_final=True)


@pytest.mark.parametrize(
    ("finals", "text"),
    [
        (["Tell me a story."], "Tell me a story."),
        (["Tell me", "a story."], "Tell me a story."),  # phrases, as most vendors give them
        ([" Tell me", " a story."], " Tell me a story."),
        (["Tell me ", "a story."], "Tell me a story."),
        (["Tell me\n", " a story."], "Tell me\n a story."),
        (["你好。", "讲个故事。"], "你好。讲个故事。"),
        (["お話を", "してください"], "お話をしてください"),
        (["他说：“你好。”", "我走了…", "“再见。”"], "他说：“你好。”我走了…“再见。”"),
        (["ｱﾘｶﾞﾄｳ", "ｺﾞｻﾞｲﾏｽ"], "ｱﾘｶﾞﾄｳｺﾞｻﾞｲﾏｽ"),
        (["葛\U000e0100", "城"], "葛\U000e0100城"),
        (["２０", "２４"], "２０ ２４"),
        (["He said “Stop”", "…", "and went."], "He said “Stop” … and went."),
        (["สวัสดีครับ", "วันนี้อากาศดี"], "สวัสดีครับ วันนี้อากาศดี"),
        (["이야기를", "해 주세요."], "이야기를 해 주세요."),
        (["用", "Python", "吗？"], "用 Python 吗？"),
    ],
)
async def test_a_turn_tells_what_was_said_in_it(finals, text, autojump_clock):
    """An agent asks its model when a turn has ended, and must know what."""
    assert await turns_of(STARTED, *map(said, finals), ENDED) == [text]


async def test_a_turn_tells_nothing_of_the_one_before(autojump_clock):
    first, second = (STARTED, said("One."), ENDED), (STARTED, ENDED, said("Two."))
    assert await turns_of(*first, *second) == ["One.", "Two."]


async def test_a_turn_tells_what_was_said_in_one_that_never_ended(autojump_clock):
    """The speaker went on, or a cough came between: whoever answers must know all of it."""
    assert await turns_of(STARTED, said("Stop."), STARTED, said("No, go on."), ENDED) == ["Stop. No, go on."]
    assert await turns_of(STARTED, told(text="Hm", is_final=False), said(""), said("Yes."), ENDED) == ["Yes."]


async def test_a_turn_tells_what_was_said_on_a_connection_that_was_lost(autojump_clock):
    """Each connection recites the script from its beginning: the first is lost before the turn's end."""
    faults = Faults(drop_after_messages=2, connections=1)
    async with listening(GATEWAY, simulator=scripted(STARTED, said("So."), ENDED, faults=faults)) as it:
        await it.talk(2.0)
        assert it.session.statistics().reconnects == 1
        assert [event.text for event in it.finals] == ["So.", "So."]
        assert [event.text for event in it.heard if isinstance(event, TurnEnded)] == ["So. So."]


# ---- what is kept --------------------------------------------------------------------------------------------------


async def test_an_answered_flush_acknowledges_the_audio_before_it(autojump_clock):
    async with listening(GATEWAY, options={**PHRASES, "auto_final": False}) as it:
        await it.talk(0.3)
        await it.session.flush()
        await trio.sleep(1.0)
        it.behave(faults=Faults(drop_after_messages=1, connections=1))
        await it.talk(1.0)
        await it.finish()
        assert it.session.statistics().reconnects == 1
    starts = [record["data"]["runs"][0][1] for record in it.records("audio")]
    assert starts == [0, round(0.3 * it.case.rate)]


async def test_a_flush_is_not_answered_while_more_may_come(autojump_clock):
    """The first final behind it may have been under way: until it is silent, all is kept."""
    async with listening(GATEWAY, options={**PHRASES, "auto_final": False}) as it:
        await it.talk(0.3)
        await it.session.flush()
        await until(lambda: it.finals)
        acknowledged = it.session._backlog.acknowledged
        await trio.sleep(0.3)
        assert it.session._backlog.acknowledged == acknowledged < it.given
        await trio.sleep(0.3)
        assert it.session._backlog.acknowledged == it.given


async def test_a_flush_of_silence_acknowledges_nothing(autojump_clock):
    async with listening(GATEWAY) as it:
        await it.session.send_audio(bytes(16_000))
        await it.session.flush()
        await trio.sleep(60)
        assert it.session._backlog.acknowledged == 0
        assert it.session.statistics().connections == 1


@pytest.mark.parametrize("part", range(3))
async def test_cuts_of_tcp_lose_no_word_and_double_none(part, seed, autojump_clock):
    """Anywhere in what is sent or what is received, once in each session."""
    chance = random.Random(seed)
    case = attrs.evolve(GATEWAY, rate=8_000, how={"input_sample_rate": 8_000})
    for _ in range(100 if THOROUGH else 20):
        cut = chance.choice([("send", chance.randrange(60_000)), ("receive", chance.randrange(1_400))])
        async with listening(case, options={**PHRASES, "latency": 0.03}, cuts=[cut]) as it:
            await it.talk(1.6, piece=0.05)
            await it.finish()
            assert it.dialled == 2, cut
            it.check_whole()


# ---- the wire ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [1, 2])
@pytest.mark.parametrize("sent", [1, 2])
async def test_the_channels_on_the_wire_are_what_the_options_say(given, sent, autojump_clock):
    got = bytearray()
    simulator = GatewaySTTSimulator(GatewaySTTOptions(channels=sent), on_audio=lambda _number, pcm: got.extend(pcm))
    mono = tagged_pcm(0, 0, 4800)
    stereo = np.repeat(np.frombuffer(mono, "<i2"), 2).tobytes()
    async with simulator.serve_in_memory() as server:
        stt = STT.google(base_url=server.url, token=KEY, channels=sent)
        async with stt.open(channels=given, dial=server.dial) as session, trio.open_nursery() as nursery:
            await session.send_audio(mono if given == 1 else stereo)
            nursery.start_soon(session.finish)
            assert [event async for event in session]
    assert bytes(got) == (mono if sent == 1 else stereo)


def test_the_wire_is_stereo_unless_it_is_told_otherwise():
    assert STT.google(token=KEY).audio_format.channels == 2


async def test_messages_are_those_of_the_gateways_client():
    stt = STT.google(token=KEY)
    dialect = GatewaySTTDialect(stt)
    assert list(dialect.greet({})) == []
    (config,) = stt._endpoint().greeting
    assert json.loads(config) == {"type": "config", "data": stt.config}
    audio = json.loads(dialect.audio(b"\x01\x02\x03\x04"))
    assert audio == {"type": "audio", "data": base64.b64encode(b"\x01\x02\x03\x04").decode()}
    assert [json.loads(message) for message in dialect.flush()] == [{"type": "flush"}]
    assert [json.loads(message) for message in dialect.finish()] == [{"type": "flush"}]


GOOGLE = {
    "model": "chirp_3",
    "language": "en-US",
    "languages": ["en-US"],
    "input_sample_rate": 48000,
    "output_sample_rate": 16000,
    "interim_results": True,
    "punctuate": True,
    "location": "asia-south1",
}
SARVAM = {"model": "saarika:v2.5", "language": "en-IN", "input_sample_rate": 48000, "output_sample_rate": 16000}
DEEPGRAM = {
    "model": "nova-2",
    "language": "en-US",
    "input_sample_rate": 48000,
    "interim_results": True,
    "punctuate": True,
    "smart_format": True,
    "endpointing": 50,
    "eager_eot_threshold": 0.6,
    "eot_threshold": 0.8,
    "eot_timeout_ms": 7000,
    "keyterm": None,
}


@pytest.mark.parametrize(
    ("make", "given", "config"),
    [
        (STT.google, {}, GOOGLE),
        (STT.google, {"language": "hi-IN"}, GOOGLE | {"language": "hi-IN", "languages": ["hi-IN"]}),
        (STT.google, {"languages": ("en-US", "hi-IN")}, GOOGLE | {"languages": ["en-US", "hi-IN"]}),
        (STT.google, {"location": "eu", "config": {"more": [1]}}, GOOGLE | {"location": "eu", "more": [1]}),
        (STT.sarvam, {}, SARVAM),
        (STT.sarvam, {"config": {"language": "ta-IN"}}, SARVAM | {"language": "ta-IN"}),
        (STT.deepgram, {}, DEEPGRAM),
        (STT.deepgram, {"keyterm": ["trio"], "endpointing": 300}, DEEPGRAM | {"keyterm": ["trio"], "endpointing": 300}),
    ],
)
def test_configurations_are_those_of_the_original(make, given, config):
    stt = make(token=KEY, **given)
    assert dict(stt.config) == config
    assert stt.model_id == config["model"]
    assert stt.audio_format.sample_rate == 48000


async def test_each_vendor_is_taken_by_the_gateway(autojump_clock):
    async with GatewaySimulator(GatewayOptions(api_key=KEY, latency=0.0)).serve_in_memory() as server:
        for make in (STT.google, STT.sarvam, STT.deepgram):
            stt = make(token=KEY, base_url=server.url)
            async with stt.open(dial=server.dial) as session, trio.open_nursery() as nursery:
                await session.send_audio(tagged_pcm(0, 0, 48_000))
                nursery.start_soon(session.finish)
                text = "".join(e.text for e in [e async for e in session] if getattr(e, "kind", "") == "final")
            assert join(samples_of(text, 12_000)) == [(0, 48_000)]


async def test_what_a_transcript_tells_is_told_and_what_it_does_not_is_not_made_up(autojump_clock):
    events = (told(text=" so ", is_final=True, language="en", confidence=0.5), told(text="no", is_final=True))
    async with listening(GATEWAY, simulator=scripted(*events)) as it:
        await it.talk(0.3)
        await until(lambda: len(it.heard) == 2)
        one, other = it.heard
        assert (one.text, one.language, one.confidence) == (" so ", "en", 0.5)
        assert (other.text, other.language, other.confidence, other.start, other.words) == ("no", None, None, None, ())


async def test_what_is_none_of_ours_is_ignored(autojump_clock):
    heard = await heard_of(
        {"eventType": "DENOISE_AUDIO", "audio": "AAAA"},
        {"type": "audio", "data": "AAAA"},
        {"eventType": "FROM_THE_FUTURE", "text": 3},
        told(text=" ", is_final=False),
        told(is_final=True),
        told(text="Yes.", is_final=True),
    )
    assert heard == ["final: Yes."]


async def test_words_and_binary_messages_are_no_error():
    dialect = GatewaySTTDialect(STT.google(token=KEY))
    assert list(dialect.receive("success")) == list(dialect.receive(b"\x00")) == []


@pytest.mark.parametrize(
    "data", [{"text": 3}, {"text": "a", "is_final": "yes"}, {"text": "a", "confidence": "high"}, {"text": ["a"]}]
)
async def test_a_transcript_of_another_shape_is_not_understood(data, autojump_clock):
    async with listening(GATEWAY, simulator=scripted(told(**data))) as it:
        with pytest.raises(ProtocolError, match="transcript"):
            await it.talk(1.0)


@pytest.mark.parametrize("shape", ["data.error", "data", "message", "error", "top", "event", "plain"])
@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("Error: invalid language", BadRequest),
        ("Error: Unauthorized", AuthenticationError),
        ("Error: no credit left", PaymentRequired),
    ],
)
async def test_errors_of_every_shape_reach_the_caller(shape, words, kind, autojump_clock):
    """The original logged them; one whose data was a string raised in its handler."""
    options = {"error_shape": shape, "error_words": words}
    async with listening(GATEWAY, faults=Faults(error_frame=1), options=options) as it:
        with pytest.raises(kind) as caught:
            await it.talk(5.0)
        assert words.removeprefix("Error: ") in str(caught.value)
        assert it.server.connections == 1


@pytest.mark.parametrize(("words", "kind"), [("rate limit", RateLimited), ("Error: unavailable", ServiceUnavailable)])
async def test_what_passes_is_tried_again(words, kind, autojump_clock):
    faults = Faults(error_frame=1, connections=1)
    async with listening(GATEWAY, faults=faults, options={**PHRASES, "error_words": words}) as it:
        await it.talk(2.0)
        await it.finish()
        assert it.session.statistics().reconnects == 1
        it.check_whole()
    async with listening(GATEWAY, faults=Faults(error_frame=0), options={"error_words": words}) as it:
        with pytest.raises(kind):
            await it.talk(60.0)


@pytest.mark.parametrize(
    ("reason", "kind"), [("policy", BadRequest), ("invalid token", AuthenticationError), ("rate limit", RateLimited)]
)
async def test_a_close_for_a_violation_tells_what_it_is_about(reason, kind, autojump_clock):
    faults = Faults(close_after=1, close_code=1008, close_reason=reason)
    async with listening(GATEWAY, faults=faults, provider={"buffer_seconds": 5.0}) as it:
        with pytest.raises(kind) as caught:
            await it.talk(30.0)
        assert (caught.value.code, caught.value.reason) == (1008, reason)


# ---- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        {"provider": ""},
        {"provider": None},
        {"model_id": "a b"},
        {"language": ""},
        {"language": None},
        {"config": 3},
        {"config": {"a": object()}},
        {"config": {"input_sample_rate": "48000"}},
        {"config": {"input_sample_rate": 100}},
        {"enable_streaming": False},
        {"enable_streaming": 1},
        {"base_url": "ftp://x"},
        {"base_url": 3},
        {"token": ""},
        {"token": "a b"},
        {"channels": 0},
        {"channels": 9},
        {"channels": "2"},
        {"final_by_default": None},
        {"inferred_end": 0},
        {"inferred_end": float("nan")},
        {"heartbeat": -1},
        {"buffer_seconds": 0},
    ],
)
def test_options_that_cannot_be_are_refused(bad):
    with pytest.raises(ConfigurationError) as caught:
        STT(**{"provider": "google", "model_id": "m", "token": KEY, **bad})
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("bad", [{"languages": "en-US"}, {"languages": [1]}, {"input_sample_rate": 0}])
def test_the_factories_refuse_them_too(bad):
    with pytest.raises(ConfigurationError):
        STT.google(token=KEY, **bad)


def test_a_list_of_words_is_no_word():
    with pytest.raises(ConfigurationError, match="keyterm"):
        STT.deepgram(token=KEY, keyterm="trio")


def test_the_token_may_be_in_the_environment(monkeypatch):
    monkeypatch.setenv("VIDEOSDK_AUTH_TOKEN", "from-there")
    assert STT.google().token == "from-there"
    monkeypatch.delenv("VIDEOSDK_AUTH_TOKEN")
    with pytest.raises(ConfigurationError, match="VIDEOSDK_AUTH_TOKEN"):
        STT.google()


def test_options_are_equal_hashable_and_shown_without_the_token():
    one, other = (STT.google(token=KEY, config={"b": [1], "a": 2}) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert one != STT.google(token=KEY)
    assert KEY not in repr(one)


async def test_a_token_of_any_characters_arrives_as_it_is(autojump_clock):
    """The original put it into the URL as it was: a plus arrived as a space."""
    token = "a+token/with=signs&more"
    async with GatewaySTTSimulator(GatewaySTTOptions(api_key=token)).serve_in_memory() as server:
        stt = STT.google(token=token, base_url=server.url)
        async with stt.open(dial=server.dial) as session, trio.open_nursery() as nursery:
            await session.send_audio(tagged_pcm(0, 0, 48_000))
            nursery.start_soon(session.finish)
            assert [event async for event in session]
        assert token not in repr(server.log)
