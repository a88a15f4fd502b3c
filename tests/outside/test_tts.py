"""The original's TTS against the simulated ``/v1/tts``."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from gateway import settled, until
from tagged_audio import Track, runs
from videosdk.agents import FlushMarker
from videosdk.agents.inference import TTS

VENDORS = {"google": TTS.google, "sarvamai": TTS.sarvam, "cartesia": TTS.cartesia, "deepgram": TTS.deepgram}
FAST = "speed=40", "first_audio=0.02"
SAMPLES = 1440  # of a character, 60 ms at 24 kHz
HEADER = 44


class Speaker:
    """A TTS, driven as the original's pipeline drives it."""

    def __init__(self, tts):
        self.tts = tts
        self.track = tts.audio_track = Track()
        self.firsts = 0
        self.errors = []
        tts.loop = self.track.loop
        tts.on("error", lambda words: self.errors.append(words))

    async def _on_first(self):
        self.firsts += 1

    async def speak(self, text, **options):
        self.track.mark_synthesis_start()
        self.track.enable_audio_input(manual_control=True)
        self.tts.on_first_audio_byte(self._on_first)
        self.tts.reset_first_audio_tracking()
        await self.tts.synthesize(text, **options)

    async def interrupt(self):
        await self.tts.interrupt()
        self.track.interrupt()

    async def heard(self, samples):
        """Wait for so much, and see that it is no more."""
        await until(lambda: self.track.size >= 2 * samples)
        await settled(lambda: self.track.size)
        return runs(self.track.pcm)


@asynccontextmanager
async def speaking(gateway, vendor="google", **options):
    speaker = Speaker(VENDORS[vendor](base_url=gateway.url, **options))
    try:
        yield speaker
    finally:
        await speaker.tts.aclose()


async def pieces(*parts):
    for part in parts:
        yield part
        await asyncio.sleep(0)


def whole(gateway):
    """All that was asked for, as it must be heard."""
    return [(number, 0, samples) for number, _, samples in gateway.segments]


@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_whole_text_is_heard_and_the_next_one_on_the_same_connection(simulate, vendor):
    gateway = simulate(*FAST)
    first, second = "Good morning to you.", "How can I help?"
    async with speaking(gateway, vendor) as speaker:
        await speaker.speak(first)
        assert await speaker.heard(SAMPLES * len(first)) == [(0, 0, SAMPLES * len(first))]
        assert len(speaker.track.pcm) == 57_600
        await speaker.speak(second)
        total = SAMPLES * len(first + second)
        assert await speaker.heard(total) == [(0, 0, SAMPLES * len(first)), (1, 0, SAMPLES * len(second))]
        assert len(speaker.track.pcm) == 57_600 + 43_200
        assert (speaker.firsts, speaker.errors) == (2, [])
    assert gateway.connections == 1
    assert [text for _, text, _ in gateway.segments] == [first, second]
    assert len(gateway.commands("config")) == 1
    assert sum("TTS_COMPLETE" in data["message"] for data in gateway.log("sent")) == 2


@pytest.mark.parametrize("vendor", VENDORS)
async def test_g3_a_streamed_text_is_flushed_every_two_words(simulate, vendor):
    gateway = simulate(*FAST)
    text = "We are open from nine to five on weekdays and from ten on Saturdays only."
    words = text.split()
    pairs = [" ".join(words[begin : begin + 2]) for begin in range(0, 15, 2)]
    heard = pairs[:-1] if vendor in ("sarvamai", "cartesia") else pairs  # for them "only." is too short to be said
    async with speaking(gateway, vendor) as speaker:
        for turn in (1, 2):
            await speaker.speak(pieces(*(word + " " for word in words)))
            await speaker.heard(turn * SAMPLES * len("".join(heard)))
        assert [text for _, text, _ in gateway.segments] == heard * 2
        assert runs(speaker.track.pcm) == whole(gateway)
        assert len(gateway.commands("flush")) == 2 * len(heard)
        assert speaker.errors == []
    assert gateway.connections == 1


async def test_g4_a_marker_is_a_flush(simulate):
    gateway = simulate(*FAST)
    async with speaking(gateway) as speaker:
        await speaker.speak(pieces("Hello.", FlushMarker(), "Goodbye."))
        assert await speaker.heard(SAMPLES * 14) == [(0, 0, SAMPLES * 6), (1, 0, SAMPLES * 8)]


@pytest.mark.parametrize("riff", ["none", "each", "first"])
async def test_headers_in_front_of_audio_are_taken_off(simulate, riff):
    gateway = simulate(*FAST, f"riff={riff}")
    async with speaking(gateway) as speaker:
        await speaker.speak("Good morning.")
        assert await speaker.heard(SAMPLES * 13) == [(0, 0, SAMPLES * 13)]


async def test_acknowledgements_in_words_are_no_error(simulate):
    gateway = simulate(*FAST, "acknowledges=yes")
    async with speaking(gateway) as speaker:
        await speaker.speak("Good morning.")
        assert await speaker.heard(SAMPLES * 13) == [(0, 0, SAMPLES * 13)]
        assert speaker.errors == []


async def test_an_error_is_an_event_and_the_next_turn_has_a_new_connection(simulate):
    gateway = simulate(*FAST, "error_frame=3", "connections=1", "error_words=Voice is tired")
    async with speaking(gateway) as speaker:
        await speaker.speak("Good morning to you.")
        await until(lambda: speaker.errors)
        assert speaker.errors == ["Voice is tired"]
        assert await speaker.heard(3 * 960) == [(0, 0, 3 * 960)]  # three frames of 40 ms
        assert len(speaker.track.pcm) == 5_760
        speaker.track.interrupt()
        await speaker.speak("Once more.")
        assert await speaker.heard(SAMPLES * 10) == [(1, 0, SAMPLES * 10)]
    assert gateway.connections == 2


@pytest.mark.parametrize("status", [401, 429, 503])
async def test_a_refused_connection_is_an_event(simulate, status):
    gateway = simulate(f"refuse_status={status}")
    async with speaking(gateway) as speaker:
        await speaker.speak("Good morning.")
        assert len(speaker.errors) == 1
        assert str(status) in speaker.errors[0]
        assert speaker.track.pcm == b""


@pytest.mark.parametrize("fault", ["close_after=4", "drop_after_messages=4"])
@pytest.mark.parametrize("streamed", [False, True])
async def test_g7_a_connection_lost_in_the_audio_is_told_to_nobody(simulate, fault, streamed):
    gateway = simulate(*FAST, fault, "connections=1")
    text = "Good morning to you."
    async with speaking(gateway) as speaker:
        await speaker.speak(pieces(text) if streamed else text)
        assert await speaker.heard(4 * 960) == [(0, 0, 4 * 960)]  # of 28 800 samples
        assert len(speaker.track.pcm) == 7_680
        assert speaker.errors == []
        await until(lambda: speaker.tts._ws is None)
        speaker.track.interrupt()
        await speaker.speak(text)
        assert await speaker.heard(SAMPLES * 20) == [(1, 0, SAMPLES * 20)]
        assert speaker.errors == []
    assert gateway.connections == 2


async def test_g7_an_error_whose_data_is_a_string_is_dropped(simulate):
    gateway = simulate(*FAST, "error_frame=3", "error_shape=data")
    async with speaking(gateway) as speaker:
        await speaker.speak("Good morning to you.")
        assert await speaker.heard(SAMPLES * 20) == [(0, 0, SAMPLES * 20)]
        assert speaker.errors == []


async def test_g1_the_call_returns_before_anything_is_heard(simulate):
    gateway = simulate("first_audio=0.2", "speed=40")
    async with speaking(gateway) as speaker:
        await speaker.speak("Good morning to you.")
        assert speaker.track.pcm == b""
        await speaker.heard(SAMPLES * 20)
        assert len(speaker.track.pcm) == 57_600


async def test_g2_after_an_interruption_the_old_reply_is_heard_before_the_new_one(simulate):
    gateway = simulate("speed=2")
    async with speaking(gateway) as speaker:
        await speaker.speak("This is what nobody wants to hear any more of.")
        await until(lambda: speaker.track.size >= 7_680)
        await speaker.interrupt()
        assert speaker.track.pcm == b""
        await speaker.speak("Yes?")
        await until(lambda: len(gateway.log("segment_ended")) == 2)
        (old, start, stale), *new = await speaker.heard(SAMPLES * 4)
        assert new == [(1, 0, SAMPLES * 4)]
        assert (old, start + stale) == (0, SAMPLES * 46)  # to its very end
        assert len(speaker.track.pcm) == 2 * (stale + SAMPLES * 4)
    assert gateway.connections == 1


@pytest.mark.parametrize(
    ("vendor", "text"), [("sarvamai", "Yes."), ("cartesia", "42. OK?"), ("cartesia", "はい、そうです")]
)
async def test_g5_short_answers_and_other_scripts_are_not_sent(simulate, vendor, text):
    gateway = simulate(*FAST)
    async with speaking(gateway, vendor) as speaker:
        await speaker.speak(text)
        await speaker.speak(pieces(text))
        await speaker.speak("This one is heard.")
        assert await speaker.heard(SAMPLES * 18) == [(0, 0, SAMPLES * 18)]
        assert speaker.errors == []


async def test_g6_white_space_is_rewritten_and_the_voice_of_a_call_ignored(simulate):
    gateway = simulate(*FAST)
    async with speaking(gateway) as speaker:
        await speaker.speak(pieces("un", "believable"), voice_id="Puck")
        await speaker.heard(SAMPLES * 13)
    assert [text for _, text, _ in gateway.segments] == ["un believable"]
    assert "Achernar" in str(gateway.commands("config"))
    assert "Puck" not in str(gateway.log("request") + gateway.log("received"))


async def test_g8_a_token_with_a_plus_is_refused(simulate, monkeypatch):
    monkeypatch.setenv("VIDEOSDK_AUTH_TOKEN", "a+b")
    gateway = simulate("api_key=a+b")
    async with speaking(gateway) as speaker:
        await speaker.speak("Good morning.")
        assert len(speaker.errors) == 1
        assert "401" in speaker.errors[0]


async def test_g9_binary_audio_tells_of_no_beginning_and_keeps_its_headers(simulate):
    gateway = simulate(*FAST, "audio=binary", "riff=first")
    async with speaking(gateway) as speaker:
        await speaker.speak("Good morning.")
        await until(lambda: speaker.track.size >= HEADER + 2 * SAMPLES * 13)
        await settled(lambda: speaker.track.size)
        pcm = speaker.track.pcm
        assert len(pcm) == HEADER + 2 * SAMPLES * 13
        assert pcm.startswith(b"RIFF")
        assert runs(pcm[HEADER:]) == [(0, 0, SAMPLES * 13)]
        assert speaker.firsts == 0


async def test_leaving_in_the_audio_is_a_close_that_the_server_sees(simulate):
    gateway = simulate("speed=1")
    async with speaking(gateway) as speaker:
        await speaker.speak("This is what nobody hears to the end.")
        await until(lambda: speaker.track.size)
    await until(lambda: gateway.log("closed"))
    (ended,) = gateway.log("disconnected")
    assert ended
