"""CartesiaSTT: its options, the defects of the original (rows S1 to S8 of docs/originals.md), and both endpoints."""

import math

import attrs
import numpy as np
import pytest
import trio
from stt_cases import CASES, KEY
from stt_tools import listening, until

from voicetrio._decimator import Decimator, decimation
from voicetrio.cartesia_stt import CartesiaSTT
from voicetrio.errors import BadRequest, ConfigurationError, ProviderStalled, RateLimited, ServiceUnavailable
from voicetrio.resample import Resampler
from voicetrio.simulators import Faults
from voicetrio.simulators.cartesia_stt import CartesiaSTTOptions, CartesiaSTTSimulator, Cue
from voicetrio.transcript import SpeechStarted, Transcript, TurnEnded, TurnResumed

MANUAL, TURNS = CASES[:2]


def said(text, *, final=False, **more):
    return {"type": "transcript", "is_final": final, "text": text, "duration": 1.0, "language": "en", **more}


def scripted(*messages, every=1600, **options):
    """A simulator that says this, one message for each tenth of a second."""
    cues = [Cue(every * number, message) for number, message in enumerate(messages, 1)]
    return CartesiaSTTSimulator(CartesiaSTTOptions(**options), script=cues)


def recording(**options):
    """A simulator and the audio that it will have got."""
    got = bytearray()
    return CartesiaSTTSimulator(CartesiaSTTOptions(**options), on_audio=lambda _number, pcm: got.extend(pcm)), got


def tone(seconds, rate, hertz=440.0, level=12_000):
    time = np.arange(round(seconds * rate)) / rate
    return np.rint(level * np.sin(2 * math.pi * hertz * time)).astype("<i2")


async def give(session, pcm, *, size):
    for start in range(0, len(pcm), size):
        await session.send_audio(pcm[start : start + size])
        await trio.sleep(0.02)


def differ(pcm, expected):
    one, other = (np.frombuffer(each, "<i2").astype(int) for each in (bytes(pcm), bytes(expected)))
    assert len(one) == len(other)
    return int(np.abs(one - other).max(initial=0))


# ---- the rows of docs/originals.md ---------------------------------------------------------------------------------


async def test_s1_audio_that_comes_while_connecting_opens_one_connection(autojump_clock):
    async with listening(MANUAL, faults=Faults(handshake="slow", handshake_delay=2.0)) as it:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(it.session.send_audio, bytes(640))
        await trio.sleep(3)
        assert it.server.connections == 1


async def test_s1_audio_that_comes_while_connecting_is_sent_in_order(autojump_clock):
    async with listening(MANUAL, faults=Faults(handshake="slow", handshake_delay=2.0)) as it:
        await it.talk(3.0)
        await it.finish()
        it.check_whole()


async def test_s2_the_end_waits_for_the_last_final(autojump_clock):
    async with listening(MANUAL, options={"final_delay": 3.0, "auto_final": False}) as it:
        await it.talk(0.9)
        await it.finish()
        assert it.text == " w0 w1 w2 w3[0:2400]"


async def test_s2_a_close_that_comes_instead_of_done_is_the_end_as_well(autojump_clock):
    """After `done` the close 1000 says the same; a final that came before it is there."""
    script = [Cue(1600, said(" all.", final=True))]
    simulator = CartesiaSTTSimulator(CartesiaSTTOptions(end_marker="none", idle_timeout=2.0), script=script)
    async with listening(MANUAL, simulator=simulator) as it:
        await it.talk(0.1)
        await it.finish()
        assert it.text == " all."


async def test_s3_mono_is_not_taken_for_stereo(autojump_clock):
    simulator, got = recording()
    pcm = tone(1.0, 48_000).tobytes()
    async with listening(MANUAL, simulator=simulator, how={"sample_rate": 48_000}) as it:
        await give(it.session, pcm, size=1920)
        await it.finish()
    assert len(got) == 2 * 16_000


async def test_s3_stereo_is_mixed_down(autojump_clock):
    simulator, got = recording()
    left, right = tone(1.0, 16_000), tone(1.0, 16_000, hertz=300.0)
    pcm = np.stack([left, right], axis=1).tobytes()
    async with listening(MANUAL, simulator=simulator, how={"channels": 2}) as it:
        await give(it.session, pcm, size=1283)
        await it.finish()
    mean = np.rint((left.astype(float) + right) / 2).astype("<i2")
    assert differ(got, mean.tobytes()) == 0


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 48_000])
async def test_s4_audio_in_frames_is_resampled_as_one_stream(rate, autojump_clock):
    simulator, got = recording()
    pcm = tone(1.0, rate).tobytes()
    async with listening(MANUAL, simulator=simulator, how={"sample_rate": rate}) as it:
        await give(it.session, pcm, size=2 * (rate // 50))
        await it.finish()
    factor = decimation(rate, 16_000)
    resampler = Resampler(rate, 16_000) if factor is None else Decimator(factor)
    assert differ(got, resampler.process(pcm) + resampler.flush()) <= 1


async def test_s5_a_flush_asks_for_the_final_without_waiting_for_silence(autojump_clock):
    async with listening(MANUAL, options={"auto_final": False}) as it:
        await it.talk(0.6)
        assert not it.finals
        await it.session.flush()
        await until(lambda: it.finals, seconds=0.1)
        assert it.text == " w0 w1 w2[0:1600]"
        assert [record["data"]["message"] for record in it.records("received")] == ["finalize"]


async def test_s6_a_refusing_server_is_not_asked_for_each_frame(autojump_clock):
    async with listening(MANUAL, faults=Faults(refuse_status=503)) as it:
        await it.talk(4.0)
        assert it.server.connections <= 7
        it.behave(faults=Faults())
        await it.talk(8.0)
        await it.finish()
        it.check_whole()


async def test_s7_a_lost_connection_does_not_take_the_next_one_along(autojump_clock):
    """The first stays half open, so that its end is noticed late; all events come from the connection that lives."""
    async with listening(MANUAL, faults=Faults(half_open_after=1, connections=1), provider={"heartbeat": 1.0}) as it:
        await it.talk(15.0)
        await it.talk(5.0)
        await it.finish()
        assert it.session.statistics().connections == 2
        it.check_whole()


async def test_s7_a_close_code_is_an_error(autojump_clock):
    faults = Faults(close_after=1, close_code=1008, close_reason="Missing something")
    async with listening(MANUAL, faults=faults) as it:
        with pytest.raises(BadRequest):
            await it.talk(1.0)
        await it.ended.wait()
    assert isinstance(it.error, BadRequest)
    assert (it.error.code, it.error.reason) == (1008, "Missing something")


@attrs.frozen(kw_only=True)
class _Forgetful(CartesiaSTT):
    """Sends no sample rate."""

    def _query(self):
        return super()._query().replace("&sample_rate=16000", "")


@pytest.mark.parametrize("shape", ["old", "new"])
async def test_s7_a_refusal_in_band_is_an_error(shape, autojump_clock):
    case = attrs.evolve(MANUAL, make=_Forgetful)
    async with listening(case, options={"error_shape": shape}) as it:
        await it.ended.wait()
        assert it.server.connections == 1
    assert isinstance(it.error, BadRequest)
    assert it.error.status == 400
    assert "Missing sample_rate" in it.error.reason
    assert it.error.request_id


@pytest.mark.parametrize(
    ("fields", "kind", "status"),
    [
        ({"message": "too many", "code": 429}, RateLimited, 429),
        ({"title": "Oh", "message": "no", "status_code": 500, "error_code": None}, ServiceUnavailable, 500),
        ({"title": "No", "message": "such", "status_code": 404, "error_code": "model_not_found"}, BadRequest, 404),
    ],
)
async def test_s8_errors_are_read_in_both_shapes(fields, kind, status, autojump_clock):
    message = {"type": "error", **fields}
    async with listening(MANUAL, simulator=scripted(message), provider={"buffer_seconds": 1.0}) as it:
        with pytest.raises(kind) as caught:
            await it.talk(10.0)
        assert caught.value.status == status
        assert caught.value.reason in (message["message"], f"{message.get('title')}: {message['message']}")


async def test_s8_texts_are_verbatim_and_join_by_concatenation(autojump_clock):
    script = scripted(
        said(" Hello,"), said(" Hello, wor"), said(" Hello, world", final=True), said("."), said(". Bye ", final=True)
    )
    async with listening(MANUAL, simulator=script) as it:
        await it.talk(0.6)
        await it.finish()
    assert it.text == " Hello, world. Bye "
    assert [event.text for event in it.heard if event.kind == "interim"] == [" Hello,", " Hello, wor", "."]


async def test_s8_interims_are_not_thinned_out(autojump_clock):
    """The original drops those that come within a tenth of a second."""
    script = scripted(*(said(f" {number}") for number in range(50)), every=160)
    async with listening(MANUAL, simulator=script) as it:
        await it.talk(0.5, piece=0.01)
        await it.finish()
    assert [event.text for event in it.heard] == [f" {number}" for number in range(50)]


async def test_s8_the_key_is_in_a_header_and_not_in_the_url(autojump_clock):
    async with listening(MANUAL) as it:
        await it.talk(0.1)
        await it.finish()
        assert "api_key" not in it.session._endpoint.url
        assert ("X-API-Key", KEY) in it.session._endpoint.headers


# ---- what is Cartesia's own ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("flush_done", ["normal", "before", "double", "late"])
async def test_the_answer_to_a_flush_may_come_before_its_final_or_twice(flush_done, autojump_clock):
    options = {"flush_done": flush_done, "auto_final": False, "end_marker_delay": 1.0, "final_delay": 0.05}
    async with listening(MANUAL, options=options) as it:
        for _ in range(5):
            await it.talk(0.3)
            await it.session.flush()
        await trio.sleep(2)
        assert it.session._backlog.acknowledged == it.given
        await it.finish()
        assert it.session.statistics().connections == 1
        assert len(it.finals) == 4, "the fifth was silence"


async def test_a_final_that_was_not_told_before_the_connection_was_lost_is_not_lost(autojump_clock):
    """Though the flush was answered: its answer came before the final."""
    options = {"flush_done": "before", "auto_final": False, "final_delay": 0.2, "interims": False}
    async with listening(MANUAL, faults=Faults(drop_after_messages=1, connections=1), options=options) as it:
        await it.talk(0.3)
        await it.session.flush()
        await trio.sleep(2)
        assert it.text == " w0 w1[0:800]"
        assert it.session.statistics().reconnects == 1


async def test_an_answer_that_never_comes_is_a_stalled_provider(autojump_clock):
    options = {"flush_done": "none", "auto_final": False}
    async with listening(MANUAL, options=options, provider={"response_timeout": 1.0, "buffer_seconds": 5.0}) as it:
        await it.talk(0.3)
        await it.session.flush()
        await trio.sleep(3)
        assert it.session.statistics().reconnects > 0
        assert it.text == " w0 w1[0:800]", "its final was told, and only once"


async def test_a_provider_that_never_answers_a_flush_is_an_error_in_the_end(autojump_clock):
    options = {"flush_done": "none", "auto_final": False, "final_delay": 1000.0, "interims": False}
    async with listening(MANUAL, options=options) as it:
        await it.talk(0.3)
        await it.session.flush()
        await it.ended.wait()
        assert isinstance(it.error, ProviderStalled)
        assert 25 < trio.current_time() < 40


async def test_turns_are_told(autojump_clock):
    async with listening(TURNS, options={"resume": True, "phrase_words": 2}) as it:
        await it.talk(1.2)
        await it.finish()
    assert [(type(event), getattr(event, "kind", None), getattr(event, "text", None)) for event in it.heard] == [
        (SpeechStarted, None, None),
        (Transcript, "interim", " w0"),
        (Transcript, "preflight", " w0"),
        (TurnResumed, None, None),
        (Transcript, "interim", " w0 w1"),
        (Transcript, "preflight", " w0 w1"),
        (Transcript, "final", " w0 w1"),
        (TurnEnded, None, " w0 w1"),
        (SpeechStarted, None, None),
        (Transcript, "interim", " w4[0:3200]"),
        (Transcript, "final", " w4[0:3200]"),
        (TurnEnded, None, " w4[0:3200]"),
    ]


async def test_a_turn_that_goes_on_on_another_connection_begins_once(autojump_clock):
    async with listening(TURNS, options={"phrase_words": 8}, cuts=[("send", 30_000)]) as it:
        await it.talk(1.9)
        await it.finish()
        assert it.session.statistics().reconnects == 1
        it.check_whole()
    assert [type(event) for event in it.heard].count(SpeechStarted) == 1


def test_the_url_says_what_is_wanted():
    stt = CartesiaSTT(api_key=KEY, model="ink-2", keyterms=["New York", "a+b"], target_sample_rate=24_000)
    assert stt._endpoint().url == (
        "wss://api.cartesia.ai/stt/websocket"
        "?model=ink-2&encoding=pcm_s16le&sample_rate=24000&language=en&keyterm=New%20York&keyterm=a%2Bb"
    )
    stt = CartesiaSTT(api_key=KEY, turns=True, turn_end_threshold=0.1, base_url="http://localhost:1")
    assert stt._endpoint().url == (
        "ws://localhost:1/stt/turns/websocket?model=ink-2&encoding=pcm_s16le&sample_rate=16000&turn_end_threshold=0.1"
    )


@pytest.mark.parametrize("key", [None, "", "two words"])
def test_a_key_is_needed(key, monkeypatch):
    monkeypatch.delenv("CARTESIA_API_KEY", raising=False)
    with pytest.raises(ConfigurationError):
        CartesiaSTT(api_key=key)


@pytest.mark.parametrize(
    "options",
    [
        {"model": ""},
        {"turns": True, "model": "ink-whisper"},
        {"turns": "yes"},
        {"keyterms": ["trio"]},
        {"model": "ink-2", "keyterms": "trio"},
        {"model": "ink-2", "keyterms": [" "]},
        {"model": "ink-2", "keyterms": ["x"] * 101},
        {"model": "ink-2", "keyterms": ["x" * 1201]},
        {"model": "ink-2", "min_volume": 0.1},
        {"min_volume": 2},
        {"max_silence_duration_secs": 0},
        {"turn_end_threshold": 0.1},
        {"turns": True, "turn_start_threshold": 0.95},
        {"turns": True, "turn_eager_end_threshold": 0.7},
        {"turns": True, "turn_end_threshold": 0.01},
        {"turns": True, "turn_end_threshold": 0.5, "turn_eager_end_threshold": 0.4},
        {"turns": True, "turn_start_threshold": 0.5, "turn_eager_end_threshold": 0.6},
        {"turns": True, "turn_end_timeout_ms": 100},
        {"target_sample_rate": 16_001},
        {"sample_rate": 1},
        {"base_url": "ftp://example.org"},
        {"buffer_seconds": 0},
        {"finish_timeout": -1},
    ],
)
def test_options_that_cannot_be_are_refused(options):
    with pytest.raises(ConfigurationError):
        CartesiaSTT(**{"api_key": KEY, **options})


def test_it_is_printed_without_its_key():
    assert KEY not in repr(CartesiaSTT(api_key=KEY))
    assert hash(CartesiaSTT(api_key=KEY, model="ink-2", keyterms=["a"]))


async def test_the_rate_of_the_original_holds_if_none_is_given(autojump_clock):
    assert CartesiaSTT(api_key=KEY).open().gen is not None
    async with listening(MANUAL, provider={"sample_rate": 8000}, how={"sample_rate": None}) as it:
        assert it.session.audio_format.sample_rate == 8000
