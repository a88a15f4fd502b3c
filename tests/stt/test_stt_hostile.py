"""Recognizers that misbehave in ways that no simulator has a switch for, and callers who give what is no audio."""

import numpy as np
import pytest
import trio
from stt_cases import CASES, KEY
from stt_tools import listening

from voicetrio import AudioFrame
from voicetrio.cartesia_stt import CartesiaSTT
from voicetrio.errors import ConfigurationError, InputError
from voicetrio.inference import STT
from voicetrio.simulators.cartesia_stt import CartesiaSTTOptions, CartesiaSTTSimulator, Cue
from voicetrio.simulators.gateway_stt import GatewaySTTOptions, GatewaySTTSimulator
from voicetrio.transcript import SpeechStarted

CARTESIA, _, GATEWAY = CASES


def final(text, *times, **more):
    words = [{"word": text, "start": start, "end": end} for start, end in times]
    return {"type": "transcript", "is_final": True, "text": text, "words": words, **more}


def cartesia(*messages):
    """A simulator that says these, one each tenth of a second."""
    cues = [Cue((number + 1) * 1600, message) for number, message in enumerate(messages)]
    return CartesiaSTTSimulator(CartesiaSTTOptions(api_key=KEY), script=cues)


@pytest.mark.parametrize("times", [(1e308, 1e308), (-1e308, 1e308), (1e308, -1e308), (-5.0, -3.0), (4e9, 1.0)])
async def test_times_beyond_all_that_was_sent_are_times_of_what_was(autojump_clock, times):
    async with listening(CARTESIA, simulator=cartesia(final("a", times))) as it:
        await it.talk(0.3)
        await it.finish()
        (heard,) = it.finals
        assert 0 <= heard.start <= 0.3
        assert 0 <= heard.end <= 0.3


async def test_an_id_that_tells_the_key_does_not_show_it(autojump_clock):
    async with listening(CARTESIA, simulator=cartesia(final("a", request_id=f"request of {KEY}"))) as it:
        await it.talk(0.3)
        await it.finish()
        assert it.finals[0].request_id == "request of ***"
        assert KEY not in repr(it.heard)


async def test_each_beginning_of_speech_is_told_though_no_end_is(autojump_clock):
    """Whoever barges in by it would hear of the first alone."""
    said = {"eventType": "TRANSCRIPT", "text": " a", "is_final": True}
    cues = [Cue(1600 * (number + 1), each) for number, each in enumerate([{"eventType": "START_SPEECH"}, said] * 3)]
    simulator = GatewaySTTSimulator(GatewaySTTOptions(api_key=KEY), script=cues)
    async with listening(GATEWAY, simulator=simulator) as it:
        await it.talk(0.8)
        await trio.sleep(0.1)
        assert sum(isinstance(event, SpeechStarted) for event in it.heard) == 3


@pytest.mark.parametrize(
    "audio", [5, True, 3.5, None, "words", [1, 2], np.zeros(9, np.float32), memoryview(np.zeros(9))]
)
async def test_what_is_no_audio_is_refused(case, autojump_clock, audio):
    async with listening(case) as it:
        with pytest.raises(InputError):
            await it.session.send_audio(audio)
        assert await it.finish() == "completed"


async def test_a_frame_within_a_sample_is_refused_and_nothing_of_it_taken(case, autojump_clock):
    async with listening(case) as it:
        await it.session.send_audio(b"\0")
        with pytest.raises(InputError, match="within a sample"):
            await it.session.send_audio(AudioFrame(bytes(640), case.rate, 1, 1, 0))
        assert await it.finish() == "completed"


@pytest.mark.parametrize("languages", [5, "en", [5]])
def test_languages_of_any_other_type_are_refused(languages):
    with pytest.raises(ConfigurationError, match="languages"):
        STT.google(languages=languages, token="t")


def test_a_rate_that_is_no_whole_number_is_refused():
    with pytest.raises(ConfigurationError):
        CartesiaSTT(api_key="k", target_sample_rate=16000.0)
