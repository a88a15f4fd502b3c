"""The original's STT against the simulated ``/v1/stt``.

The audio is stereo at 48 kHz, as the original has it, in frames of 20 ms.  A word is 250 ms of it, and its name tells
which; a phrase is four words and a pause as long as two.
"""

import asyncio
from contextlib import asynccontextmanager

import pytest
from gateway import settled, until
from tagged_audio import tagged_pcm
from videosdk.agents import SpeechEventType, global_event_emitter
from videosdk.agents.inference import STT

VENDORS = {
    "google": STT.google,
    "sarvamai": STT.sarvam,
    "deepgram": STT.deepgram,
    "assemblyai": STT.assemblyai,
    "cartesia": STT.cartesia,
}
FRAME = 960  # samples of each channel
WORD = 12_000
PHRASE = 6 * WORD


def stereo(start, samples):
    """Tagged audio on both channels."""
    mono = tagged_pcm(0, start, samples)
    return b"".join(mono[at : at + 2] * 2 for at in range(0, len(mono), 2))


def frames(samples, start=0):
    return [stereo(at, min(FRAME, start + samples - at)) for at in range(start, start + samples, FRAME)]


class Listener:
    """An STT, and what it tells."""

    def __init__(self, stt):
        self.stt = stt
        self.told = []
        self.errors = []
        stt.on_stt_transcript(self._on_transcript)
        stt.on("error", lambda words: self.errors.append(words))

    async def _on_transcript(self, response):
        self.told.append((response.event_type.value.partition("_")[0], response.data.text))

    def on_start(self):
        self.told.append("START")

    def on_stop(self):
        self.told.append("STOP")

    async def hear(self, frames):
        for frame in frames:
            await self.stt.process_audio(frame)

    @property
    def finals(self):
        return [text for kind, text in filter(lambda each: isinstance(each, tuple), self.told) if kind == "final"]


@asynccontextmanager
async def listening(gateway, vendor="google", **options):
    listener = Listener(VENDORS[vendor](base_url=gateway.url, **options))
    global_event_emitter.on("speech_started", listener.on_start)
    global_event_emitter.on("speech_stopped", listener.on_stop)
    try:
        yield listener
    finally:
        global_event_emitter.off("speech_started", listener.on_start)
        global_event_emitter.off("speech_stopped", listener.on_stop)
        await listener.stt.aclose()


def dictated(first):
    """What a phrase is that begins with this word."""
    words = [f"w{number}" for number in range(first, first + 4)]
    interims = [("interim", " ".join(words[:count])) for count in range(1, 5)]
    return ["START", *interims, ("final", " ".join(words)), "STOP"]


@pytest.mark.parametrize("vendor", VENDORS)
async def test_two_phrases_are_told_word_by_word(simulate, vendor):
    gateway = simulate()
    async with listening(gateway, vendor) as listener:
        await listener.hear(frames(PHRASE))
        await until(lambda: "STOP" in listener.told)
        assert listener.told == dictated(0)
        await listener.hear(frames(PHRASE, start=PHRASE))
        await until(lambda: listener.told.count("STOP") == 2)
        assert listener.told == dictated(0) + dictated(6)
        assert listener.errors == []
    await until(lambda: gateway.log("audio"))
    assert gateway.log("audio") == [{"samples": 2 * PHRASE, "runs": [[0, 0, 2 * PHRASE]]}]
    assert gateway.connections == 1
    assert len(gateway.log("config")) == 1
    assert not gateway.log("gap") + gateway.log("double")


async def test_a_flush_is_answered_by_what_was_said_so_far(simulate):
    gateway = simulate()
    async with listening(gateway) as listener:
        await listener.hear(frames(WORD + 100))
        await listener.stt.flush()
        await until(lambda: "STOP" in listener.told)
        assert listener.finals == ["w0 w1[0:100]"]
        await listener.hear(frames(WORD - 100, start=WORD + 100))
        await listener.stt.flush()
        await until(lambda: listener.told.count("STOP") == 2)
        assert listener.finals == ["w0 w1[0:100]", "w1[100:12000]"]


async def test_the_duration_of_a_transcript_is_that_of_its_audio(simulate):
    gateway = simulate()
    durations = []
    async with listening(gateway) as listener:

        async def on_transcript(response):
            if response.event_type is SpeechEventType.FINAL:
                durations.append(response.data.duration)

        listener.stt.on_stt_transcript(on_transcript)
        for start in (0, WORD):
            await listener.hear(frames(WORD, start=start))
            await listener.stt.flush()
            await until(lambda: len(durations) == 1 + bool(start))  # noqa: B023
    assert durations == [0.25, 0.25]


async def test_an_error_is_an_event_and_the_connection_lives_on(simulate):
    gateway = simulate("error_frame=3", "error_words=Ears are tired")
    async with listening(gateway) as listener:
        await listener.hear(frames(PHRASE))
        await until(lambda: "STOP" in listener.told)
        assert listener.errors == ["Ears are tired"]
        assert listener.told == dictated(0)
    assert gateway.connections == 1


async def test_an_error_of_the_configuration_is_an_event(simulate):
    gateway = simulate("vendors=deepgram")
    async with listening(gateway) as listener:
        await listener.hear(frames(FRAME))
        await until(lambda: len(listener.errors) == 2)
        assert listener.errors[0] == "Unsupported provider: google"
        assert listener.errors[1] == "Invalid message: config expected first"


@pytest.mark.parametrize("fault", ["close_after=3", "drop_after_messages=3"])
async def test_after_a_close_the_next_frame_connects_and_nothing_is_said_again(simulate, fault):
    """START_SPEECH and two interims came; the final of what they were of never does."""
    gateway = simulate(fault, "connections=1")
    async with listening(gateway) as listener:
        await listener.hear(frames(2 * WORD))
        await until(lambda: len(listener.told) == 3 and listener.stt._ws is None)
        assert listener.told == dictated(0)[:3]
        await listener.hear(frames(PHRASE - 3 * WORD, start=3 * WORD))
        await until(lambda: listener.finals)
        assert listener.finals == ["w3"]
        assert listener.told.count("START") == 1  # it believes that the speech has gone on
        assert listener.errors == []
    assert gateway.connections == 2


async def test_t1_frames_that_come_while_it_connects_are_lost(simulate):
    gateway = simulate("handshake=slow", "handshake_delay=0.2")
    async with listening(gateway) as listener, asyncio.TaskGroup() as tasks:
        for frame in frames(10 * FRAME):
            tasks.create_task(listener.hear([frame]))
    await until(lambda: gateway.log("audio"))
    assert gateway.log("audio") == [{"samples": FRAME, "runs": [[0, 0, FRAME]]}]


async def test_t2_a_handshake_for_each_frame_of_a_refused_connection(simulate):
    gateway = simulate("refuse_status=503")
    async with listening(gateway) as listener:
        await listener.hear(frames(20 * FRAME))
        assert len(listener.errors) == 20
        assert all("503" in words for words in listener.errors)
    assert gateway.connections == 20


async def test_t4_the_end_of_speech_is_judged_by_an_older_transcript(simulate):
    """Where it comes before its own transcript, the first is not told, and the second by the words of the first."""
    gateway = simulate("speech_events=before", "interims=no")
    async with listening(gateway) as listener:
        await listener.hear(frames(PHRASE))
        await until(lambda: listener.finals)
        assert await settled(lambda: list(listener.told)) == ["START", ("final", "w0 w1 w2 w3")]
        await listener.hear(frames(PHRASE, start=PHRASE))
        await until(lambda: len(listener.finals) == 2)
        assert listener.told[2:] == ["START", "STOP", ("final", "w6 w7 w8 w9")]


async def test_t5_a_transcript_that_does_not_say_that_it_is_final_is(simulate):
    gateway = simulate("is_final=none")
    async with listening(gateway) as listener:
        await listener.hear(frames(PHRASE))
        await until(lambda: "STOP" in listener.told)
        assert listener.finals == ["w0", "w0 w1", "w0 w1 w2", "w0 w1 w2 w3", "w0 w1 w2 w3"]


async def test_t6_sarvam_has_the_name_that_the_gateway_knows(simulate):
    gateway = simulate()
    async with listening(gateway, "sarvamai") as listener:
        await listener.hear(frames(FRAME))
        assert listener.stt.provider == "sarvamai"
        assert await settled(lambda: list(listener.errors)) == []


async def test_t7_the_language_of_a_call_is_not_told_and_closing_flushes_nothing(simulate):
    gateway = simulate()
    async with listening(gateway, language="en-US") as listener:
        for frame in frames(WORD + 100):
            await listener.stt.process_audio(frame, language="de-DE")
        await until(lambda: listener.told)
    await until(lambda: gateway.log("audio"))
    assert [config["config"]["language"] for config in gateway.log("config")] == ["en-US"]
    assert gateway.log("received") == []
    assert listener.finals == []
