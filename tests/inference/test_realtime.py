"""Realtime models: replies exact to the sample; R1 to R7 are the defects of the original."""

import io
import json
import math
import sys

import attrs
import numpy as np
import pytest
import trio
import trio.testing
from PIL import Image
from realtime_talk import RATE, TOKEN, model, talking

from voicetrio._jpeg import to_jpeg
from voicetrio.audio import AudioFrame, open_audio_sink
from voicetrio.errors import (
    AuthenticationError,
    BadRequest,
    ConfigurationError,
    ConnectError,
    InputError,
    LinkClosed,
    NoAudio,
    ProviderError,
    ProviderStalled,
    RateLimited,
    ServiceUnavailable,
    SessionClosed,
    SinkClosed,
    ToolError,
)
from voicetrio.inference import Realtime
from voicetrio.inference.realtime import GeminiRealtimeConfig
from voicetrio.realtime import (
    ConnectionLost,
    ErrorReported,
    InputTranscript,
    OutputTranscript,
    Reconnected,
    ReplyEnded,
    ReplyInterrupted,
    ReplyStarted,
    ToolCall,
    UsageReported,
    UserSpeechEnded,
    UserSpeechStarted,
)
from voicetrio.simulators import Faults, read_tags, tagged_pcm
from voicetrio.simulators._realtime_ear import jpeg_size
from voicetrio.simulators.gateway_realtime import GatewayRealtimeOptions, GatewayRealtimeSimulator
from voicetrio.testing import no_leaks

TEXT = "What is said here lasts a while."
LENGTH = round(len(TEXT) * 20 * 24)
WIRE = {"sample_rate": RATE}


@pytest.fixture
def no_threads(monkeypatch):
    """Encode where we stand: a clock that jumps does not wait for threads."""

    async def run_sync(function):
        await trio.lowlevel.checkpoint()
        return function()

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)


def jpeg(width=64, height=48):
    data = io.BytesIO()
    Image.effect_noise((width, height), 50).convert("RGB").save(data, "JPEG")
    return data.getvalue()


# ---- the defects of the original


async def test_r1_the_configuration_is_sent_when_the_connection_is_made(autojump_clock):
    async with talking() as it:
        await it.session.prewarm()
        await trio.testing.wait_all_tasks_blocked()
        (config,) = it.logged("config")
        assert not it.sent()
    assert config["config"]["model"] == "models/gemini-2.5-flash-native-audio-preview-12-2025"
    assert config["config"]["response_modalities"] == ["AUDIO"]


@pytest.mark.parametrize("answer", ["interrupted", "none", "late", "after"])
@pytest.mark.parametrize("announces", [True, False])
async def test_r2_nothing_of_a_reply_is_heard_after_its_interruption(autojump_clock, answer, announces):
    options = {"announces": announces, "interrupt_answer": answer, "late_frames": 2 if announces else 0}
    async with talking(**options) as it:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(it.session.say, TEXT)
            await trio.sleep(0.2)
            heard = it.samples(1)
            cut = it.session.interrupt()
            assert cut.samples_heard == heard > 0
        next_one = await it.session.say("The next one.")
        await it.sink.drained()
        assert it.samples(1) == heard
    it.check(complete=[next_one.turn])
    assert [event.outcome for event in it.of(ReplyEnded)] == ["interrupted", "completed"]


async def test_r3_after_a_servers_close_the_session_goes_on(autojump_clock):
    async with talking(faults=Faults(close_after=1, connections=1), vad="off", given=WIRE) as it:
        await it.session.prewarm()
        for number in range(200):
            await it.session.send_audio(tagged_pcm(7, number * 480, 480))
            await trio.sleep(0.02)
            if number == 50:
                with pytest.raises(LinkClosed):  # its first message is the last of the connection
                    await it.session.say(TEXT)
        reply = await it.session.say(TEXT)
        assert (reply.outcome, reply.samples) == ("completed", LENGTH)
        assert [type(event) for event in it.of((ConnectionLost, Reconnected))] == [ConnectionLost, Reconnected]
        statistics = it.session.statistics()
        assert statistics.samples_sent == 200 * 480
        assert statistics.samples_dropped == 0


async def test_r3_audio_is_kept_while_there_is_no_connection_and_the_oldest_is_dropped(autojump_clock):
    async with talking(faults=Faults(handshake="slow", handshake_delay=8.0), vad="off", given=WIRE) as it:
        for number in range(700):  # 14 s; the handshake takes 8, and 10 can be kept
            await it.session.send_audio(tagged_pcm(3, number * 480, 480))
            if number % 2:
                await trio.sleep(0.02)
        await it.session.prewarm()
        await trio.sleep(1)
        statistics = it.session.statistics()
    heard = sum(record["bytes"] for record in it.logged("audio")) // 2
    assert statistics.samples_sent == heard
    assert statistics.samples_sent + statistics.samples_dropped == 700 * 480
    assert not it.logged("gap")
    (segment,) = it.logged("segment")
    assert segment["position"] == statistics.samples_dropped


async def test_r4_a_message_with_pictures_waits_for_the_connection(autojump_clock, no_threads):
    async with talking(faults=Faults(handshake="slow", handshake_delay=3.0)) as it:
        await it.session.send_text_with_frames("What is this?", [jpeg(), Image.new("L", (30, 20))])
        await trio.sleep(2)
        assert [(picture["width"], picture["height"]) for picture in it.logged("picture")] == [(64, 48), (30, 20)]
        assert it.sent("text") == [{"type": "text", "text": "What is this?"}]


async def test_r4_where_there_is_no_connection_a_message_says_so(autojump_clock):
    async with talking(faults=Faults(handshake="eof")) as it:
        with pytest.raises(ConnectError):
            await it.session.send_text_with_frames("What is this?", [jpeg()])


@pytest.mark.parametrize(("rate", "channels"), [(48_000, 1), (48_000, 2), (16_000, 1), (44_100, 2), (24_000, 2)])
@pytest.mark.parametrize("cut", [960, 1001])
async def test_r5_audio_is_one_stream_whatever_its_format_and_however_it_is_cut(autojump_clock, rate, channels, cut):
    seconds = np.arange(2 * rate) / rate
    tone = np.rint(8000 * np.sin(2 * np.pi * 440 * seconds)).astype("<i2")
    # Of two channels the second is silent: the mean is half as loud, and no other pitch.
    pcm = tone.tobytes() if channels == 1 else np.stack([tone, np.zeros_like(tone)], axis=1).tobytes()
    got = bytearray()
    async with talking(vad="off", given={"sample_rate": rate, "channels": channels}) as it:
        await it.session.prewarm()
        advance = it.session._input.advance
        it.session._input.advance = lambda position, data: (got.extend(data), advance(position, data))
        for begin in range(0, len(pcm), cut):
            await it.session.send_audio(pcm[begin : begin + cut])
            await trio.sleep(0.01)
        await trio.sleep(1)
        assert sum(record["bytes"] for record in it.logged("audio")) == len(got)
    out = np.frombuffer(bytes(got), "<i2").astype(float)
    assert abs(len(out) - 2 * RATE) < RATE * 0.02
    expected = 8000 / channels * np.sin(2 * np.pi * 440 * np.arange(len(out)) / RATE)
    inner = slice(RATE // 10, -RATE // 10)
    error = np.sqrt(np.mean((out[inner] - expected[inner]) ** 2))
    assert error < 8000 / channels / 200


async def test_r5_frames_of_another_format_are_refused(autojump_clock):
    async with talking(given={"sample_rate": 16_000, "channels": 2}) as it:
        await it.session.send_audio(AudioFrame(bytes(640), 16_000, 2, 1, 0))
        for rate, channels in ((48_000, 2), (16_000, 1)):
            with pytest.raises(InputError, match=f"{channels} channels at {rate} Hz"):
                await it.session.send_audio(AudioFrame(bytes(640), rate, channels, 1, 0))


def weather(city: str, days: int = 1) -> str:
    """Tell the weather.

    Args:
        city: where.
        days: for how long.
    """
    return f"Sun in {city} for {days} days."


@pytest.mark.parametrize("event", ["tool_call", "function_call"])
@pytest.mark.parametrize("arguments", ["object", "string"])
@pytest.mark.parametrize("identity", [True, False])
async def test_r6_a_tool_is_called_and_its_output_is_spoken_about(autojump_clock, event, arguments, identity):
    options = {"tool_event": event, "tool_arguments": arguments, "tool_id": identity}
    async with talking(tools=[weather], **options) as it:
        reply = await it.session.say('call weather {"city": "Paris", "days": 2}')
        assert reply.text == "Sun in Paris for 2 days."
        (call,) = it.of(ToolCall)
        assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "Paris", "days": 2})
        (response,) = it.sent("tool_response")
        assert response["data"] == {"id": call.id, "name": "weather", "response": "Sun in Paris for 2 days."}
    (declared,) = it.logged("config")[0]["config"]["tools"]
    assert declared["name"] == "weather"
    assert declared["description"] == "Tell the weather."
    assert declared["parameters"]["required"] == ["city"]


async def test_r6_a_slow_tool_holds_up_nothing_and_the_model_is_given_its_time(autojump_clock):
    async def slow(seconds: float) -> str:
        await trio.sleep(seconds)
        return "Done."

    async with talking(tools=[slow]) as it:
        reply = await it.session.say('call slow {"seconds": 60}')
        assert reply.text == "Done."
        assert trio.current_time() > 60


@pytest.mark.parametrize(("text", "words"), [("call nothing {}", "no tool"), ("call weather {}", "not valid")])
async def test_r6_what_is_wrong_with_a_call_is_told_to_the_model(autojump_clock, text, words):
    async with talking(tools=[weather]) as it:
        reply = await it.session.say(text)
        assert reply.text.startswith("error: ")
        assert words in reply.text


async def test_r6_a_tool_without_a_function_is_answered_by_the_user(autojump_clock):
    wire = {"type": "function", "function": {"name": "elsewhere", "parameters": {"type": "object"}}}
    async with talking(tools=[wire]) as it, trio.open_nursery() as nursery:
        nursery.start_soon(it.session.say, "call elsewhere {}")
        await trio.sleep(1)
        (call,) = it.of(ToolCall)
        assert not it.sent("tool_response")
        await it.session.send_tool_output(call, "From elsewhere.")
    assert it.of(ReplyEnded)[0].text == "From elsewhere."
    assert it.logged("config")[0]["config"]["tools"] == [wire["function"]]


async def test_r6_a_call_of_a_cancelled_reply_is_not_made(autojump_clock):
    made = []

    def act() -> str:
        """Do something that cannot be undone."""
        made.append(1)
        return "done"

    async with talking(tools=[act], interrupt_idle=True) as it, trio.open_nursery() as nursery:
        await it.session.prewarm()
        nursery.start_soon(it.session.say, "call act {}")
        while not it.sent("text"):
            await trio.lowlevel.checkpoint()
        it.session.interrupt()
        await trio.sleep(1)
        assert not made


async def test_a_tool_error_out_of_the_tools_own_nursery_is_told_to_the_model(autojump_clock):
    async def careful() -> str:
        """Ask around."""
        async with trio.open_nursery():
            raise ToolError("nobody knows")

    async with talking(tools=[careful]) as it:
        reply = await it.session.say("call careful {}")
        assert reply.text == "error: nobody knows"


async def test_what_utf_8_cannot_carry_of_an_output_is_replaced(autojump_clock):
    def odd() -> str:
        """Say half a character."""
        return "half \ud83d"

    async with talking(tools=[odd]) as it:
        reply = await it.session.say("call odd {}")
        assert reply.text == "half ?"


async def test_a_provider_that_wants_to_be_left_alone_for_years_is_asked_after_a_minute(autojump_clock):
    async with talking(faults=Faults(connections=1, refuse_status=429, retry_after=999_999_999)) as it:
        with pytest.raises(RateLimited):
            await it.session.prewarm()
        await trio.sleep(61)
        await it.session.prewarm()


async def test_r6_what_a_tool_raises_is_a_bug_and_ends_the_session(autojump_clock):
    def broken() -> str:
        """Fail."""
        raise KeyError("a bug")

    with pytest.raises(BaseExceptionGroup) as caught:
        async with talking(tools=[broken]) as it:
            await it.session.say("call broken {}")
    assert caught.group_contains(KeyError)


async def test_r7_texts_are_sent_verbatim(autojump_clock):
    words = "  Say “exactly” this:\n\t'né' \\ 日本 "
    async with talking() as it:
        await it.session.send_text(words)
        await it.session.say(words)
        await it.session.send_text_with_frames(words, [jpeg()])
        await trio.sleep(1)
        assert [record["text"] for record in it.sent("text")] == [words] * 3


# ---- replies


async def test_a_reply_is_whole_and_says_how_it_went(autojump_clock):
    async with talking() as it:
        before = trio.current_time()
        reply = await it.session.say(TEXT)
        assert (reply.turn, reply.outcome, reply.text) == (1, "completed", TEXT)
        assert reply.samples == LENGTH
        assert reply.seconds == pytest.approx(LENGTH / RATE)
        assert before == reply.asked_at < reply.first_sample_at <= reply.ended_at == trio.current_time()
    it.check(complete=[1])
    kinds = (ReplyStarted, OutputTranscript, ReplyEnded, UsageReported)
    told = [type(event) for event in it.of(kinds)]
    assert told[0] is ReplyStarted
    assert {ReplyEnded, UsageReported} == set(told[-2:])
    deltas = [event for event in it.of(OutputTranscript) if not event.final]
    assert "".join(event.delta for event in deltas) == deltas[-1].text == TEXT + " "
    assert it.of(OutputTranscript)[-1].text == TEXT


async def test_replies_are_heard_in_the_order_of_the_calls(autojump_clock):
    async with talking() as it, trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(it.session.say, f"Number {number}.")
            await trio.testing.wait_all_tasks_blocked()
    it.check(complete=[1, 2, 3, 4, 5])
    assert [segment.text for segment in it.server.segments] == [f"Number {number}." for number in range(5)]


@pytest.mark.parametrize("rate", [24_000, 48_000, 16_000])
async def test_the_sink_may_have_any_rate(autojump_clock, rate):
    async with talking(sink=open_audio_sink(rate, 2)) as it:
        reply = await it.session.say(TEXT)
        await it.sink.drained()
        assert reply.samples == round(LENGTH * rate / RATE)
        assert len(it.heard[1]) == 4 * reply.samples


async def test_what_the_user_says_is_told_and_replied_to(autojump_clock):
    async with talking(given=WIRE) as it:
        await speak(it, 1.0)
        await speak(it, 0.5, silent=True)
        await trio.sleep(2)
    kinds = (UserSpeechStarted, UserSpeechEnded, InputTranscript, ReplyStarted)
    told = [type(event) for event in it.of(kinds)]
    assert told == [UserSpeechStarted, UserSpeechEnded, *[InputTranscript] * 3, ReplyStarted]
    assert [event.final for event in it.of(InputTranscript)] == [False, False, True]
    it.check(complete=[1])
    assert it.logged("gap") == it.logged("double") == []


async def speak(it, seconds, *, silent=False):
    for number in range(round(seconds * 50)):
        await it.session.send_audio(bytes(960) if silent else tagged_pcm(9, number * 480, 480))
        await trio.sleep(0.02)


async def test_nobody_need_read_the_events(autojump_clock):
    async with talking(read=False) as it:
        for _ in range(60):
            reply = await it.session.say(TEXT)
            assert reply.samples == LENGTH
        assert it.session.statistics().events_dropped > 100
        events = [await anext(it.session) for _ in range(256)]
    ended = [event.turn for event in events if isinstance(event, ReplyEnded)]
    assert ended == list(range(61 - len(ended), 61))
    assert len(ended) > 50  # transcripts went first


async def test_audio_that_comes_faster_than_it_plays_does_not_hide_the_interruption_behind_it(autojump_clock):
    async with talking(speed=float("inf"), ms_per_char=1000, given=WIRE) as it:
        await it.session.send_text(TEXT)  # half a minute, at once
        await trio.sleep(1)
        assert it.server.segments[0].sent == it.server.segments[0].samples
        began = it.samples(1)
        await it.session.send_text("After it.")
        await speak(it, 0.5)  # the reply after it has begun on the server, and is broken off: so is what is queued
        assert it.of(ReplyInterrupted)[0].by_user
        assert it.samples(1) < began + RATE


async def test_beyond_the_bound_of_a_reply_the_socket_waits(autojump_clock):
    async with talking(provider=model(reply_seconds=2), speed=float("inf"), ms_per_char=1000) as it:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(it.session.say, TEXT)
            await trio.sleep(5)
            (reply,) = it.session._floor._replies
            assert reply.queued_seconds(it.session.provider.audio_format) <= 2.05
            assert it.session.interrupt() is not None
        again = await it.session.say("Short.")
    it.check(complete=[again.turn])


@pytest.mark.parametrize(
    ("options", "outcome"),
    [
        ({"end_marker": "none"}, "completed_inferred"),
        ({"end_marker": "late", "end_marker_delay": 2.0}, "completed"),
        ({"end_marker": "late", "end_marker_delay": 4.0}, "completed_inferred"),
        ({"end_marker": "double"}, "completed"),
        ({"announces": False}, "completed"),
        ({"odd_frames": True}, "completed"),
        ({"empty_frames": True}, "completed"),
        ({"transcripts": False, "tell_usage": False}, "completed"),
        ({"faults": Faults(one_byte_writes=True), "ms_per_char": 2}, "completed"),
        ({"faults": Faults(fragment=7)}, "completed"),
        ({"faults": Faults(big_message=True)}, "completed"),
        ({"faults": Faults(unknown_message=3)}, "completed"),
        ({"faults": Faults(non_json=3)}, "completed"),  # words, as of an acknowledgement
    ],
)
async def test_quirks_that_cost_nothing(autojump_clock, options, outcome):
    async with talking(**options) as it:
        for turn in (1, 2):
            reply = await it.session.say(TEXT)
            assert (reply.turn, reply.outcome) == (turn, outcome)
        assert it.server.connections == 1
    it.check(complete=[1, 2])


async def test_replies_are_told_apart_where_the_end_is_not_told(autojump_clock):
    async with talking(end_marker="none", speed=float("inf")) as it:
        for number in range(3):
            await it.session.send_text(f"Number {number}.")
        await trio.sleep(5)
    it.check(complete=[1, 2, 3])
    assert {event.outcome for event in it.of(ReplyEnded)} == {"completed_inferred"}


async def test_a_model_of_text_alone_replies_in_text(autojump_clock):
    async with talking(provider=model(response_modalities=["TEXT"])) as it:
        reply = await it.session.say(TEXT)
        assert (reply.turn, reply.outcome, reply.text, reply.samples) == (None, "completed", TEXT, 0)
        with pytest.raises(ConfigurationError):
            await it.session.send_audio(bytes(960))
    assert not it.heard


# ---- interruptions


@pytest.mark.parametrize("means", ["interrupt", "scope"])
@pytest.mark.parametrize("answer", ["interrupted", "none", "late", "after"])
@pytest.mark.parametrize("after", [0.0, 0.01, 0.05, 0.051, 0.1, 0.2, 0.21, 0.3])
async def test_an_interruption_is_exact_at_every_stage(autojump_clock, means, answer, after):
    async with talking(interrupt_answer=answer, speed=2.0) as it:
        await it.session.prewarm()
        outcomes = []

        async def say(scope):
            with scope:
                outcomes.append((await it.session.say(TEXT)).outcome)

        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()
            nursery.start_soon(say, scope)
            await trio.testing.wait_all_tasks_blocked()
            await trio.sleep(after)
            cut = it.session.interrupt() if means == "interrupt" else scope.cancel() or it.session.last_interruption
            heard = {turn: it.samples(turn) for turn in it.heard}
            it.take_all()
            assert heard == {turn: it.samples(turn) for turn in it.heard}, "a sample passed after the interruption"
            assert cut is not None
            assert cut.samples_heard == heard.get(cut.turn, 0)
        assert outcomes == (["interrupted"] if means == "interrupt" else [])
        reply = await it.session.say("The next one.")
        assert reply.outcome == "completed"
        await it.sink.drained()
        assert {turn: it.samples(turn) for turn in heard} == heard
    it.check(complete=[reply.turn])


async def test_the_next_reply_comes_at_once_on_the_same_connection(autojump_clock):
    async with talking() as it:
        for _ in range(20):
            with trio.move_on_after(0.12):
                await it.session.say(TEXT)
        before = trio.current_time()
        reply = await it.session.say("The next one.")
        assert reply.first_sample_at - before == pytest.approx(0.05, abs=0.001)
        assert it.server.connections == 1
    it.check(complete=[reply.turn])


async def test_a_reply_that_is_only_queued_is_silenced_too(autojump_clock):
    async with talking() as it:
        reply = await it.session.say(TEXT)
        heard = it.samples(1)
        assert heard < LENGTH
        cut = it.session.interrupt()
        assert (reply.outcome, cut.turn, cut.samples_heard, cut.samples_dropped) == (
            "completed",
            1,
            heard,
            LENGTH - heard,
        )
        await trio.sleep(5)
        assert it.samples(1) == heard
        assert not it.sent("interrupt")  # the model had nothing to stop
        assert it.session.interrupt() is None


async def test_interrupt_means_all_that_was_asked_for(autojump_clock):
    async with talking() as it:
        outcomes = []

        async def say(text):
            outcomes.append((await it.session.say(text)).outcome)

        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(say, f"Number {number}, " + TEXT)
            await trio.sleep(0.2)
            assert it.session.interrupt() is not None
        assert outcomes == ["interrupted"] * 4
        assert len(it.sent("text")) == 1


async def test_with_nothing_to_silence_interrupt_gives_none_and_sends_nothing(autojump_clock):
    async with talking() as it:
        assert it.session.interrupt() is None
        await it.session.prewarm()
        assert it.session.interrupt() is None
        await trio.sleep(10)
        assert not it.sent("interrupt")
        assert it.server.connections == 1


async def test_a_link_that_never_acknowledges_is_given_up_in_time(autojump_clock):
    async with talking(interrupt_answer="none") as it:
        with trio.move_on_after(0.2):
            await it.session.say(TEXT)
        await trio.sleep(1.9)
        assert it.server.connections == 1
        await trio.sleep(1)
        assert it.server.connections == 2
        assert (await it.session.say(TEXT)).outcome == "completed"
        assert [type(event) for event in it.of((ConnectionLost, Reconnected))] == [ConnectionLost, Reconnected]


async def test_an_answer_that_comes_during_the_next_reply_does_not_silence_it(autojump_clock):
    async with talking(interrupt_answer="late", interrupt_delay=0.2) as it:
        with trio.move_on_after(0.2):
            await it.session.say(TEXT)
        reply = await it.session.say(TEXT)
        assert reply.outcome == "completed"
        await trio.sleep(3)
    it.check(complete=[2])


async def test_a_cancelled_reply_that_begins_all_the_same_is_not_heard(autojump_clock):
    # The gateway began the reply before it was told: what says so is on the way when the interruption falls.
    async with talking(first_audio=0.0, interrupt_answer="none", speed=float("inf")) as it:
        await it.session.prewarm()
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(it.session.say, TEXT)
                while not it.server.segments:
                    await trio.lowlevel.checkpoint()
                scope.cancel()
        reply = await it.session.say("The next one.")
        assert reply.outcome == "completed"
    it.check(complete=[reply.turn])
    assert len(it.server.segments) >= 2


@pytest.mark.parametrize("ends", ["none", "before", "after"])
async def test_the_users_speech_silences_the_reply(autojump_clock, ends):
    async with talking(given=WIRE, interrupt_ends=ends, late_frames=2) as it, trio.open_nursery() as nursery:
        replies = []

        async def say():
            replies.append(await it.session.say(TEXT * 3))

        nursery.start_soon(say)
        await trio.sleep(0.3)
        await speak(it, 0.5)
        (interrupted,) = it.of(ReplyInterrupted)
        assert interrupted.by_user
        assert interrupted.interruption == it.session.last_interruption
        assert interrupted.interruption.samples_heard == it.samples(1)
        await speak(it, 0.5, silent=True)
        await trio.sleep(2)
        assert it.samples(1) == interrupted.interruption.samples_heard
        if ends != "before":  # told first that it had ended, the session may have believed it
            assert replies[0].outcome == "interrupted"
            assert replies[0].samples == it.samples(1)
    it.check(complete=[2])
    assert it.of(ReplyEnded)[-1].outcome == "completed"


async def test_an_uninterruptible_reply_is_left_alone_and_the_user_not_heard(autojump_clock):
    async with talking(given=WIRE) as it, trio.open_nursery() as nursery:
        replies = []

        async def say():
            replies.append(await it.session.say(TEXT * 2, interruptible=False))

        nursery.start_soon(say)
        await trio.sleep(0.2)
        assert it.session.interrupt() is None
        await speak(it, 0.5)
        assert not it.logged("audio")
        assert it.session.statistics().samples_withheld == 25 * 480
        await trio.sleep(2)
        await speak(it, 0.5)
        assert it.logged("audio")
    assert replies[0].outcome == "completed"
    it.check(complete=[1])


async def test_a_scope_cancels_even_what_is_uninterruptible(autojump_clock):
    async with talking() as it:
        with trio.move_on_after(0.2):
            await it.session.say(TEXT, interruptible=False)
        heard = it.samples(1)
        await trio.sleep(3)
        assert it.samples(1) == heard > 0


async def test_one_cancel_of_many_calls_is_one_interruption(autojump_clock):
    async with talking() as it:
        with trio.move_on_after(0.2):
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(it.session.say, TEXT)
        assert it.session.last_interruption.turns == (1,)
        assert it.session.last_interruption.samples_heard == it.samples(1)
        assert (await it.session.say("Go on.")).outcome == "completed"


async def test_an_interruption_tells_of_a_call_that_was_cancelled_just_before(autojump_clock):
    """Its caller has had no step to look since."""
    found, scope = [], trio.CancelScope()

    async def say(scope):
        with scope:
            await it.session.say(TEXT * 9)
        found.append(it.session.last_interruption)

    async with talking() as it:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(say, scope)
            await trio.sleep(0.2)
            nursery.start_soon(say, trio.CancelScope())
            await trio.sleep(0.1)
            scope.cancel()
            cut = it.session.interrupt()
            assert it.session.interrupt() is None
        assert cut.turns == ()
        assert [told.turns for told in found] == [(1,), (1,)]
        assert found[0].samples_heard == it.samples(1) > 0
        assert (await it.session.say("Go on.")).turn == 2
        assert it.session.interrupt().turns == it.session.last_interruption.turns == (2,)


async def test_an_interrupted_call_finds_itself_though_another_is_cut_before_its_next_step(autojump_clock):
    found, first, second = {}, trio.CancelScope(), trio.CancelScope()

    async def say(number, scope):
        with scope:
            await it.session.say(TEXT * 9)
        found[number] = it.session.last_interruption.turns

    async def cancel_the_second():
        second.cancel()

    async with talking() as it, trio.open_nursery() as nursery:
        for _ in range(20):  # for each order in which trio may run them
            nursery.start_soon(say, 1, first)
            await trio.sleep(0.3)
            begun = max(it.heard)
            it.session.interrupt()
            first.cancel()
            nursery.start_soon(say, 2, second)
            nursery.start_soon(cancel_the_second)
            await trio.sleep(1)
            assert begun in found[1]
            first, second = trio.CancelScope(), trio.CancelScope()


async def test_each_silenced_reply_is_in_one_event(autojump_clock):
    async with talking() as it:
        with trio.move_on_after(0.2):
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(it.session.say, TEXT * 9)
        await it.session.say("Go on.")
        assert sorted(turn for event in it.of(ReplyInterrupted) for turn in event.interruption.turns) == [1]
        assert sum(event.interruption.samples_dropped for event in it.of(ReplyInterrupted)) > 0


@pytest.mark.parametrize("means", ["interrupt", "cancel"])
async def test_a_reply_that_failed_before_it_was_cut_has_an_error_and_no_outcome(autojump_clock, means):
    async with talking() as it:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_say_and_fail, it.session)
                await trio.sleep(0.3)
                it.session._floor.lose(LinkClosed("lost", provider="p", code=1006))
                it.session.interrupt() if means == "interrupt" else scope.cancel()
        await trio.sleep(0.1)
        (ended,) = it.of(ReplyEnded)
        assert isinstance(ended.error, LinkClosed)
        assert ended.outcome is None


async def _say_and_fail(session):
    with pytest.raises(LinkClosed):
        await session.say(TEXT * 9)


@pytest.mark.parametrize("first_audio", [0.05, 0.35])
async def test_nothing_begins_while_the_goodbye_is_said(autojump_clock, first_audio):
    """In the middle of a reply, and before one; the model goes on until it has heard of it."""
    async with talking(first_audio=first_audio, stop_delay=0.25) as it:
        await it.session.prewarm()
        await it.session.send_text(TEXT * 9)
        await trio.sleep(0.3)
        heard = it.samples(1)
        assert (heard > 0) == (first_audio < 0.3)
    assert {turn: it.samples(turn) for turn in it.heard} == {1: heard}


@pytest.mark.parametrize("_again", range(8))  # for each order in which trio may run the tasks
async def test_no_tool_is_run_once_the_block_is_left(autojump_clock, _again):
    """Asked for in the tick of leaving, or while the goodbye is said."""
    ran, left = [], False

    async def act():
        """Act."""
        ran.append(left)
        return "done"

    async with talking(tools=[act], stop_delay=0.25, first_audio=0.0) as it:
        await it.session.prewarm()
        await it.session.send_text("call act {}")
        for _ in range(_again):
            await trio.lowlevel.checkpoint()
        left = True
    assert True not in ran


async def test_what_a_reply_says_that_nobody_hears_is_not_the_last_ones(autojump_clock):
    async with talking(stop_delay=0.25, read=False) as it:
        await it.session.say(TEXT)
        await it.session.send_text("Something else.")
    await it.read_events()
    told = it.of(OutputTranscript)
    assert "".join(event.delta for event in told if event.turn == 1) == TEXT + " "
    assert {event.turn for event in told if "Something" in event.text} == {None}


@pytest.mark.parametrize("before", [[], [TEXT * 9]])
@pytest.mark.parametrize("speed", [1.0, math.inf])
async def test_a_shielded_call_is_told_that_the_session_is_cancelled(autojump_clock, before, speed):
    """The one that is spoken, also if all of it has come, and one in line."""
    options = GatewayRealtimeOptions(speed=speed, first_audio=0.0)
    async with GatewayRealtimeSimulator(options).serve_in_memory() as server, trio.open_nursery() as nursery:
        sink, _source = open_audio_sink(RATE)
        with trio.move_on_after(0.5):
            async with Realtime.gemini(token="t", base_url=server.url).open(sink, dial=server.dial) as session:
                for text in before:
                    nursery.start_soon(_say_until_closed, session, text)
                    await trio.sleep(0.1)
                with trio.CancelScope(shield=True), trio.fail_after(2):
                    await _say_until_closed(session, TEXT * 9)
        nursery.cancel_scope.cancel()


async def _say_until_closed(session, text):
    with pytest.raises(SessionClosed):
        await session.say(text)


async def test_what_a_scope_has_cancelled_is_not_uninterruptible_any_more(autojump_clock):
    async with talking() as it:
        scope = trio.CancelScope()

        async def say():
            with scope:
                await it.session.say(TEXT, interruptible=False)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(it.session.say, TEXT * 9)
            await trio.sleep(0.2)
            nursery.start_soon(say)
            await trio.sleep(0.1)
            assert it.session.interrupt() is None
            scope.cancel()
            assert it.session.interrupt().turns == (1,)


# ---- failures


@pytest.mark.parametrize(
    ("faults", "error"),
    [
        ({"refuse_status": 401}, AuthenticationError),
        ({"refuse_status": 400}, BadRequest),
        ({"refuse_status": 404}, BadRequest),
    ],
)
async def test_a_refusal_for_good_is_one_error_wherever_it_is_met(autojump_clock, faults, error):
    async with talking(faults=Faults(**faults)) as it:
        for call in (
            it.session.prewarm,
            lambda: it.session.say(TEXT),
            lambda: it.session.send_text(TEXT),
            lambda: it.session.send_audio(bytes(960)),
            lambda: it.session.send_video(jpeg()),
        ):
            with pytest.raises(error):
                await call()
        assert isinstance(it.error, error)
        assert it.server.connections == 1


async def test_a_wrong_token_is_shown_nowhere(autojump_clock, caplog):
    async with talking(provider=model(token="wrong-token-of-mine")) as it:
        with pytest.raises(AuthenticationError) as caught:
            await it.session.prewarm()
    shown = repr(caught.value) + str(caught.value) + repr(it.events) + caplog.text + repr(it.session.provider)
    assert "wrong-token" not in shown


@pytest.mark.parametrize("words", ["unauthorized: token expired", "Payment required: no credit"])
async def test_a_refusal_in_band_is_for_good_too(autojump_clock, words):
    async with talking(faults=Faults(error_frame=4), error_words=words) as it:
        with pytest.raises(ProviderError, match=words[:8]):
            await it.session.say(TEXT)
        with pytest.raises(ProviderError, match=words[:8]):
            await it.session.say(TEXT)
        assert it.server.connections == 1


@pytest.mark.parametrize("shape", ["data.error", "data", "message", "error", "top", "event", "plain"])
async def test_an_error_within_a_conversation_is_told_and_the_conversation_goes_on(autojump_clock, shape):
    async with talking(faults=Faults(error_frame=4), error_shape=shape) as it:
        reply = await it.session.say(TEXT)
        assert reply.outcome == "completed"
        (told,) = it.of(ErrorReported)
        assert isinstance(told.error, ServiceUnavailable)
        assert it.server.connections == 1
    it.check(complete=[1])


async def test_a_reply_that_stops_after_an_error_has_failed_with_it(autojump_clock):
    async with talking(faults=Faults(error_frame=12, stall_after=5)) as it:
        with pytest.raises(ServiceUnavailable):
            await it.session.say(TEXT)
        await trio.testing.wait_all_tasks_blocked()
        (ended,) = it.of(ReplyEnded)
        assert ended.outcome is None
        assert isinstance(ended.error, ServiceUnavailable)


async def test_an_error_before_the_first_word_costs_the_connection(autojump_clock):
    async with talking(faults=Faults(error_frame=0, connections=1)) as it:
        reply = await it.session.say(TEXT)
        assert reply.outcome == "completed"
        assert it.server.connections == 2


LOSSES = [
    {"close_after": 6},
    {"close_after": 6, "close_code": 1000},
    {"drop_after_messages": 6},
    {"drop_after_bytes": 3000},
    {"wrong_shape": 6},
]


@pytest.mark.parametrize("faults", LOSSES, ids=lambda faults: " ".join(f"{k}={v}" for k, v in faults.items()))
async def test_a_connection_lost_in_a_reply_fails_it_and_what_came_is_heard(autojump_clock, faults):
    async with talking(faults=Faults(connections=1, **faults)) as it:
        with pytest.raises(ProviderError):
            await it.session.say(TEXT)
        reply = await it.session.say(TEXT)
        assert reply.outcome == "completed"
        assert it.server.connections == 2
    it.check(complete=[reply.turn])
    assert it.of(ReplyEnded)[0].error is not None


@pytest.mark.parametrize(
    "faults",
    [
        {"handshake": "refuse"},
        {"handshake": "eof"},
        {"handshake": "garbage"},
        {"handshake": "slow", "handshake_delay": 4.0},
        {"refuse_status": 503},
        {"refuse_status": 429, "retry_after": 1.0},
        {"close_after": 0},
        {"drop_after_bytes": 100},
        {"drop_after_messages": 0},
    ],
    ids=lambda faults: " ".join(f"{k}={v}" for k, v in faults.items()),
)
async def test_a_connection_that_fails_before_the_reply_is_made_again(autojump_clock, faults):
    async with talking(faults=Faults(connections=1, **faults)) as it:
        reply = await it.session.say(TEXT)
        assert (reply.outcome, reply.samples) == ("completed", LENGTH)
    it.check(complete=[reply.turn])


async def test_a_text_is_not_said_on_more_than_three_connections(autojump_clock):
    async with talking(faults=Faults(close_after=0), first_audio=0.5) as it:
        with pytest.raises(ProviderError):
            await it.session.say(TEXT)
        assert not it.heard


async def test_where_there_is_no_connection_calls_say_so_until_there_is_one(autojump_clock):
    async with talking(faults=Faults(handshake="eof")) as it:
        for call in (it.session.prewarm, lambda: it.session.say(TEXT), lambda: it.session.send_text(TEXT)):
            with pytest.raises(ConnectError):
                await call()
        assert not await it.session.send_video(jpeg())
        await it.session.send_audio(bytes(960))
        await trio.sleep(100)
        assert it.server.connections < 200
        assert len(it.of(ConnectionLost)) == 1
        it.server.options = attrs.evolve(it.server.options, faults=Faults())
        await trio.sleep(70)
        assert (await it.session.say(TEXT)).outcome == "completed"
        assert len(it.of(Reconnected)) == 1


async def test_a_model_that_does_not_answer_is_given_up(autojump_clock):
    async with talking(faults=Faults(accept_silent=True, connections=1)) as it:
        with pytest.raises(ProviderStalled):
            await it.session.say(TEXT)
        assert trio.current_time() == pytest.approx(15, abs=1)
        assert (await it.session.say(TEXT)).outcome == "completed"


async def test_a_stall_within_a_reply_ends_it_by_inference_and_says_so(autojump_clock):
    async with talking(faults=Faults(stall_after=5, connections=1)) as it:
        reply = await it.session.say(TEXT)
        assert reply.outcome == "completed_inferred"
        assert reply.samples == 5 * 960
    it.check()


async def test_a_reply_without_a_sample_is_an_error(autojump_clock):
    async with talking(ms_per_char=0.001) as it:
        with pytest.raises(NoAudio):
            await it.session.say("Hi.")
        await trio.testing.wait_all_tasks_blocked()
        assert it.of(ReplyEnded)[0].outcome is None


async def test_a_half_open_connection_is_found_by_its_heartbeat(autojump_clock):
    async with talking(provider=model(heartbeat=5.0), faults=Faults(half_open_after=0, connections=1)) as it:
        await it.session.prewarm()
        await it.session.send_text(TEXT)
        await trio.sleep(60)
        assert it.server.connections == 2
    it.check(complete=[1])


async def test_where_nobody_reads_the_sink_the_call_says_so(autojump_clock):
    async with talking(pace=None) as it:
        it.source.close()
        for _ in range(2):
            with pytest.raises(SinkClosed):
                await it.session.say(TEXT)
        await trio.testing.wait_all_tasks_blocked()
        assert isinstance(it.error, SinkClosed)


async def test_leaving_the_block_ends_calls_and_connections(autojump_clock):
    async with trio.open_nursery() as nursery:
        failed = []

        async def say(session):
            with pytest.raises(SessionClosed):
                await session.say(TEXT * 20)
            failed.append(trio.current_time())

        async with talking(faults=Faults(never_close=True)) as it:
            for _ in range(3):
                nursery.start_soon(say, it.session)
            await trio.sleep(0.3)
            heard = it.samples(1)
            left = trio.current_time()
    assert len(failed) == 3
    assert max(failed) - left <= 1
    assert it.samples(1) <= heard + 480
    for call in (it.session.prewarm, lambda: it.session.say(TEXT), lambda: it.session.send_audio(b"")):
        with pytest.raises(SessionClosed):
            await call()
    assert {type(event) for event in [*it.events, *[event async for event in it.session]]} >= {ReplyEnded}


async def test_it_says_good_bye(autojump_clock):
    async with talking() as it:
        await it.session.prewarm()
        before = trio.current_time()
    assert it.sent() == [{"type": "stop"}]
    assert it.server.connections == 1
    assert trio.current_time() - before < 1
    assert it.server.open_connections == 0


async def test_nothing_is_left_behind():
    async with talking(speed=float("inf"), first_audio=0.0, pace=0):
        pass  # what the first run leaves in caches is nobody's leak
    async with no_leaks(), talking(speed=float("inf"), first_audio=0.0, pace=0) as it:
        await it.session.say(TEXT)
        with trio.move_on_after(0.01):
            await it.session.say(TEXT)


async def test_on_real_sockets_it_is_the_same():
    options = GatewayRealtimeOptions(ms_per_char=20, first_audio=0.0, speed=float("inf"))
    async with no_leaks(), GatewayRealtimeSimulator(options).serve() as server:
        sink, source = open_audio_sink(RATE, max_seconds=60)
        async with model(base_url=server.url).open(sink) as session:
            for number in range(20):
                with trio.CancelScope() as scope:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(session.say, TEXT)
                        for _ in range(number):
                            await trio.lowlevel.checkpoint()
                        scope.cancel()
            reply = await session.say(TEXT)
        assert (reply.outcome, reply.samples) == ("completed", LENGTH)
        frames = []
        with pytest.raises(trio.WouldBlock):
            while True:
                frames.append(source.receive_nowait())
        assert {frame.turn for frame in frames} == {reply.turn}
        (run,) = read_tags(b"".join(frame.pcm for frame in frames))
        assert (run.start, run.length) == (0, LENGTH)


# ---- pictures


async def test_two_pictures_a_second_are_sent_at_most(autojump_clock):
    async with talking() as it:
        assert not await it.session.send_video(jpeg())  # not connected yet
        await it.session.prewarm()
        sent = []
        for _ in range(40):
            sent.append(await it.session.send_video(jpeg()))
            await trio.sleep(1 / 16)
        assert [number for number, each in enumerate(sent) if each] == [0, 8, 16, 24, 32]
        assert len(it.logged("picture")) == 5


async def test_images_are_encoded_in_a_thread():
    assert jpeg_size(await to_jpeg(Image.new("L", (3000, 1500)))) == (1024, 512)


async def test_pictures_of_every_kind_are_sent(autojump_clock, no_threads):
    class VideoFrame:  # as PyAV's
        def to_image(self):
            return Image.new("RGBA", (2048, 1024))

    async with talking() as it:
        await it.session.prewarm()
        for frame in (jpeg(), bytearray(jpeg()), memoryview(jpeg()), Image.new("P", (7, 5)), VideoFrame()):
            assert await it.session.send_video(frame)
            await trio.sleep(1)
        sizes = [(picture["width"], picture["height"]) for picture in it.logged("picture")]
        assert sizes == [(64, 48), (64, 48), (64, 48), (7, 5), (1024, 512)]


@pytest.mark.parametrize("frame", [b"", b"no picture", jpeg()[:-9], "a string", None, 3, jpeg() + bytes([0, 1])])
async def test_what_is_no_picture_is_refused(autojump_clock, no_threads, frame):
    async with talking() as it:
        await it.session.prewarm()
        with pytest.raises(InputError):
            await it.session.send_video(frame)
        with pytest.raises(InputError):
            await it.session.send_text_with_frames("Look!", [jpeg(), frame])
        await trio.sleep(1)
        assert not it.sent("text")
        assert not it.logged("picture")


async def test_without_pillow_images_are_refused_and_jpeg_is_not(autojump_clock, no_threads, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    async with talking() as it:
        await it.session.prewarm()
        with pytest.raises(ConfigurationError, match="voicetrio\\[video\\]"):
            await it.session.send_video(object())
        assert await it.session.send_video(jpeg_bytes)


jpeg_bytes = jpeg()


# ---- options


@pytest.mark.parametrize("text", ["", " \n", "\ud800", 3, None])
async def test_a_text_that_cannot_be_said_is_refused(autojump_clock, text):
    async with talking() as it:
        for call in (it.session.say, it.session.send_text, lambda text: it.session.send_text_with_frames(text, [])):
            with pytest.raises(InputError):
                await call(text)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 2.5},
        {"temperature": -0.1},
        {"temperature": "warm"},
        {"top_p": 1.5},
        {"top_k": 0},
        {"candidate_count": 0},
        {"candidate_count": None},
        {"max_output_tokens": 0},
        {"presence_penalty": 2.5},
        {"frequency_penalty": -2.5},
        {"response_modalities": []},
        {"response_modalities": ["VIDEO"]},
        {"response_modalities": "AUDIO"},
        {"voice": ""},
        {"language_code": 3},
        {"model": ""},
        {"token": ""},
        {"token": "two words"},
        {"base_url": "ftp://host"},
        {"response_timeout": 0},
        {"reply_seconds": -1},
        {"buffer_seconds": "long"},
    ],
    ids=str,
)
def test_options_that_cannot_be_are_refused(options):
    with pytest.raises(ConfigurationError):
        model(**options)


@pytest.mark.parametrize(
    "options", [{"sample_rate": 1}, {"channels": 0}, {"instructions": 3}, {"tools": [3]}, {"tools": [weather, weather]}]
)
def test_sessions_that_cannot_be_are_refused(options):
    sink, _ = open_audio_sink()
    with pytest.raises(ConfigurationError):
        model().open(sink, **options)


def test_it_takes_the_originals_arguments(monkeypatch):
    monkeypatch.setenv("VIDEOSDK_AUTH_TOKEN", TOKEN)
    plain = Realtime(provider="google", model="models/gemini-2.0-flash-exp", config=None, base_url=None)
    assert plain.config == GeminiRealtimeConfig()
    assert plain == Realtime(provider="google", model="models/gemini-2.0-flash-exp")
    assert hash(plain) == hash(Realtime(provider="google", model="models/gemini-2.0-flash-exp"))
    assert TOKEN not in repr(plain)
    with pytest.raises(ConfigurationError):
        Realtime(provider="google", model="m", config={"voice": "Puck"})
    monkeypatch.delenv("VIDEOSDK_AUTH_TOKEN")
    with pytest.raises(ConfigurationError, match="VIDEOSDK_AUTH_TOKEN"):
        Realtime.gemini()


async def test_the_configuration_is_the_originals_without_its_nulls(autojump_clock):
    provider = model(
        model="gemini-x",
        voice="Kore",
        language_code="de-DE",
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        candidate_count=2,
        max_output_tokens=100,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        response_modalities=["TEXT", "AUDIO"],
    )
    async with talking(provider=provider, given={"instructions": "Be brief."}) as it:
        await it.session.prewarm()
        await trio.testing.wait_all_tasks_blocked()
    (request,) = it.logged("request")
    assert request["query"]["provider"] == "google"
    assert request["query"]["modelId"] == "gemini-x"
    assert it.logged("config")[0]["config"] == {
        "model": "models/gemini-x",
        "instructions": "Be brief.",
        "voice": "Kore",
        "language_code": "de-DE",
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "candidate_count": 2,
        "max_output_tokens": 100,
        "presence_penalty": 0.5,
        "frequency_penalty": -0.5,
        "response_modalities": ["TEXT", "AUDIO"],
    }
