"""The original's Realtime against the simulated ``/v1/llm``."""

from contextlib import asynccontextmanager

import pytest
from gateway import settled, until
from tagged_audio import Track, runs, tagged_pcm
from videosdk.agents import audio_format, function_tool, global_event_emitter
from videosdk.agents.inference import Realtime

FAST = "speed=40", "first_audio=0.02"
SAMPLES = 1440  # of a character, 60 ms at 24 kHz
FRAME = 480  # of the user's audio, 20 ms at 24 kHz
EVENTS = (
    "user_speech_started",
    "user_speech_ended",
    "agent_speech_started",
    "agent_speech_ended",
    "realtime_model_transcription",
    "error",
)


class Conversation:
    """A model that is connected, its track, and what it tells."""

    def __init__(self, model):
        self.model = model
        self.track = model.audio_track = Track()
        self.told = []
        model.loop = self.track.loop
        for event in EVENTS:
            model.on(event, self._handler(event))

    def _handler(self, event):
        return lambda data: self.told.append((event, data))

    @property
    def events(self):
        return [event for event, _ in self.told]

    @property
    def transcripts(self):
        told = [data for event, data in self.told if event == "realtime_model_transcription"]
        return [(data["role"], data["text"]) for data in told]

    @property
    def errors(self):
        return [data for event, data in self.told if event == "error"]

    async def heard(self, samples):
        """Wait for so much, and see that it is no more."""
        await until(lambda: self.track.size >= 2 * samples)
        await settled(lambda: self.track.size)
        return runs(self.track.pcm)

    async def speak(self, pcm):
        for begin in range(0, len(pcm), 2 * FRAME):
            await self.model.handle_audio_input(pcm[begin : begin + 2 * FRAME])


@asynccontextmanager
async def talking(gateway, **options):
    conversation = Conversation(Realtime.gemini(base_url=gateway.url, **options))
    try:
        await conversation.model.connect()
        yield conversation
    finally:
        await conversation.model.aclose()


async def test_two_texts_in_a_row_are_answered(simulate):
    gateway = simulate(*FAST)
    texts = "Good morning to you.", "How can I help?"
    async with talking(gateway) as conversation:
        total = 0
        for number, text in enumerate(texts):
            await conversation.model.send_text_message(text)
            await until(lambda: conversation.events.count("agent_speech_ended") == number + 1)  # noqa: B023
            total += SAMPLES * len(text)
            assert (await conversation.heard(total))[number] == (number, 0, SAMPLES * len(text))
        assert len(conversation.track.pcm) == 57_600 + 43_200
        assert conversation.events == ["agent_speech_started", "realtime_model_transcription", "agent_speech_ended"] * 2
        assert conversation.transcripts == [("agent", text) for text in texts]
    assert gateway.connections == 1
    assert [text for _, text, _ in gateway.segments] == list(texts)
    (config,) = gateway.log("config")
    assert config["config"]["model"] == "models/gemini-3.1-flash-live-preview"


async def test_what_the_user_says_is_heard_and_answered(simulate):
    audio_format.publish(24_000, 1)
    gateway = simulate(*FAST)
    speech, silence = tagged_pcm(9, 0, 24_000), bytes(2 * 12_000)
    async with talking(gateway) as conversation:
        await conversation.speak(speech + silence)
        await until(lambda: "agent_speech_ended" in conversation.events)
        assert await conversation.heard(SAMPLES * 12) == [(0, 0, SAMPLES * 12)]
        assert conversation.events == [
            "user_speech_started",
            "user_speech_ended",
            "realtime_model_transcription",
            "agent_speech_started",
            "realtime_model_transcription",
            "agent_speech_ended",
        ]
        assert [role for role, _ in conversation.transcripts] == ["user", "agent"]
        assert conversation.transcripts[1] == ("agent", "I heard you.")
    assert sum(data["bytes"] for data in gateway.log("audio")) == 2 * 36_000
    assert not gateway.log("gap") + gateway.log("double")


async def test_a_model_that_only_writes_is_read(simulate):
    gateway = simulate(*FAST)
    async with talking(gateway, response_modalities=["TEXT"]) as conversation:
        await conversation.model.send_text_message("Good morning.")
        await until(lambda: conversation.transcripts)
        assert conversation.transcripts == [("agent", "Good morning.")]
        assert await settled(lambda: conversation.track.size) == 0


async def test_partial_transcripts_are_told(simulate):
    gateway = simulate(*FAST)
    told = []

    def on_output(data):
        told.append(data["text"])

    global_event_emitter.on("output_transcription", on_output)
    try:
        async with talking(gateway) as conversation:
            await conversation.model.send_text_message("One two three.")
            await until(lambda: len(told) == 3)
    finally:
        global_event_emitter.off("output_transcription", on_output)
    assert told == ["One ", "One two ", "One two three. "]


async def test_the_users_speech_breaks_a_reply_off(simulate):
    audio_format.publish(24_000, 1)
    gateway = simulate("speed=2", "first_audio=0.02")
    async with talking(gateway) as conversation:
        await conversation.model.send_text_message("This is what nobody wants to hear any more of.")
        await until(lambda: conversation.track.size > 7_680)
        await conversation.speak(tagged_pcm(9, 0, 4_800))
        await until(lambda: gateway.log("sent") and "response_interrupted" in gateway.log("sent")[-1]["message"])
        assert await settled(lambda: conversation.track.size) == 0


async def test_an_error_is_an_event_and_the_connection_lives_on(simulate):
    gateway = simulate(*FAST, "error_frame=1", "error_words=The model is tired")
    async with talking(gateway) as conversation:
        await conversation.model.send_text_message("Good morning.")
        assert await conversation.heard(SAMPLES * 13) == [(0, 0, SAMPLES * 13)]
        assert conversation.errors == ["The model is tired"]
    assert gateway.connections == 1


@pytest.mark.parametrize("status", [401, 429, 503])
async def test_a_refused_connection_is_raised(simulate, status):
    gateway = simulate(f"refuse_status={status}")
    with pytest.raises(Exception, match=str(status)):
        async with talking(gateway):
            pass


async def test_closing_says_stop(simulate):
    gateway = simulate(*FAST)
    async with talking(gateway):
        pass
    await until(lambda: gateway.log("closed"))
    assert gateway.log("received") == [{"type": "stop"}]


async def test_r1_the_configuration_waits_for_the_first_word(simulate):
    gateway = simulate(*FAST)
    async with talking(gateway) as conversation:
        await until(lambda: gateway.connections)
        await settled(lambda: len(gateway.log("config")))
        assert gateway.log("config") == []
        await conversation.model.send_text_message("Now.")
        await until(lambda: gateway.log("config"))


async def test_r2_what_comes_after_an_interruption_is_heard_and_the_next_beginning_not_told(simulate):
    gateway = simulate("speed=2", "first_audio=0.02", "late_frames=2")
    async with talking(gateway) as conversation:
        await conversation.model.send_text_message("This is what nobody wants to hear any more of.")
        await until(lambda: conversation.track.size > 7_680)
        await conversation.model.interrupt()
        assert conversation.track.pcm == b""
        assert await conversation.heard(2 * 960) == [(1, 0, 2 * 960)]  # the frames that come late
        assert len(conversation.track.pcm) == 3_840
        assert conversation.events == ["agent_speech_started", "agent_speech_ended"]
        conversation.track.interrupt()
        await conversation.model.send_text_message("Yes?")
        assert await conversation.heard(SAMPLES * 4) == [(2, 0, SAMPLES * 4)]
        assert conversation.events.count("agent_speech_started") == 1


@pytest.mark.parametrize("fault", ["close_after=10", "drop_after_messages=10"])
async def test_r3_a_connection_lost_in_a_reply_is_the_end_and_nobody_is_told(simulate, fault):
    """Of the ten messages one is of its beginning, five are words."""
    gateway = simulate(*FAST, fault)
    async with talking(gateway) as conversation:
        await conversation.model.send_text_message("This is not heard whole.")
        assert await conversation.heard(4 * 960) == [(0, 0, 4 * 960)]
        assert len(conversation.track.pcm) == 7_680
        await until(lambda: conversation.model._ws is None)
        await conversation.model.send_text_message("Are you there?")
        await conversation.speak(bytes(2 * FRAME))
        await conversation.model.interrupt()
        assert await settled(lambda: conversation.track.size) == 7_680
        assert conversation.events == ["agent_speech_started"]
    assert gateway.connections == 1


async def test_r4_a_message_with_pictures_without_a_connection_is_an_attribute_error(simulate):
    gateway = simulate("close_after=0")
    async with talking(gateway) as conversation:
        await conversation.model.send_text_message("Hello.")
        await until(lambda: conversation.model._ws is None)
        await conversation.model.send_message_with_frames("What is this?", [])
        assert conversation.errors == ["'NoneType' object has no attribute 'send_str'"]


async def test_r5_an_odd_message_of_audio_is_padded(simulate):
    gateway = simulate(*FAST, "odd_frames=yes")
    async with talking(gateway) as conversation:
        await conversation.model.send_text_message("Good.")
        await until(lambda: "agent_speech_ended" in conversation.events)
        await settled(lambda: conversation.track.size)
        pcm = conversation.track.pcm
    messages = -(-2 * SAMPLES * 5 // 1_921)
    assert len(pcm) == 2 * SAMPLES * 5 + messages - 1 + (2 * SAMPLES * 5 - 1_921 * (messages - 1)) % 2
    assert pcm[:1_921] == tagged_pcm(0, 0, 961)[:-1]
    assert pcm[1_921] == 0
    assert runs(pcm) != [(0, 0, len(pcm) // 2)]


async def test_r5_stereo_at_48_khz_is_mixed_down_and_resampled(simulate):
    audio_format.publish(48_000, 2)
    gateway = simulate(*FAST, "vad=off")
    async with talking(gateway) as conversation:
        await conversation.model.send_text_message("Hello.")
        for _ in range(50):
            await conversation.model.handle_audio_input(bytes(2 * 2 * 960))
        await until(lambda: len(gateway.log("audio")) == 50)
    assert abs(sum(data["bytes"] for data in gateway.log("audio")) - 2 * 24_000) < 200  # less what the filter holds


async def test_r6_with_a_tool_the_configuration_cannot_be_sent(simulate):
    @function_tool
    async def get_weather(city: str) -> str:
        """The weather."""
        return city

    gateway = simulate(*FAST)
    async with talking(gateway) as conversation:
        model = conversation.model
        model.tools_formatted = model._convert_tools_to_format([get_weather])
        await model.send_text_message("How is the weather?")
        assert conversation.errors == ["Object of type FunctionDeclaration is not JSON serializable"]
    await until(lambda: gateway.log("closed"))
    assert gateway.log("config") == []


async def test_r6_a_call_is_not_answered(simulate):
    gateway = simulate(*FAST)
    async with talking(gateway) as conversation:
        await conversation.model.send_text_message('call get_weather {"city": "Rome"}')
        await until(lambda: "tool_call" in str(gateway.log("sent")))
        assert await settled(lambda: list(conversation.told)) == []
    assert [data["type"] for data in gateway.log("received")][:1] == ["text"]
    assert "tool_response" not in str(gateway.log("received"))


async def test_r7_a_message_is_wrapped_in_an_instruction(simulate):
    gateway = simulate(*FAST)
    async with talking(gateway) as conversation:
        await conversation.model.send_message("Hello.")
        await until(lambda: gateway.log("received"))
    assert gateway.log("received")[0]["text"] == (
        "Please start the conversation by saying exactly this, without any additional text: 'Hello.'"
    )
