"""The simulated realtime model on the wire, seen by a client that knows nothing of ours."""

import base64
import json
from contextlib import asynccontextmanager

import pytest
import trio
from raw_client import EOF, Closed, RawClient, Refused, runs

from voicetrio.simulators import Faults, GatewayOptions, GatewaySimulator, Speech, tagged_pcm
from voicetrio.simulators._realtime_ear import SpeechDetector, jpeg_size
from voicetrio.simulators.gateway_realtime import GatewayRealtimeOptions, GatewayRealtimeSimulator

TARGET = "/v1/llm?provider=google&secret=t%2Bk&modelId=m"
CONFIG = {
    "model": "models/m",
    "instructions": "Be brief.",
    "voice": "Puck",
    "language_code": "en-US",
    "temperature": None,  # as the original sends it
    "candidate_count": 1,
    "response_modalities": ["AUDIO"],
}
STARTED, ENDED, STOPPED = "agent_speech_started", "agent_speech_ended", "response_interrupted"


class Client(RawClient):
    async def tell(self, kind, data=None):
        await self.send({"type": kind} if data is None else {"type": kind, "data": data})

    async def next(self):
        """The name of the next event, its data; of audio ``audio`` and the PCM; of errors ``error`` and the words."""
        message = await self.receive()
        if isinstance(message, Closed) or message is EOF:
            return "closed", message
        message = json.loads(message)
        if message["type"] == "audio":
            return "audio", base64.b64decode(message["data"]["audio"])
        if message["type"] == "event":
            return message["data"].pop("eventType"), message["data"]
        return message["type"], message["data"]["error"]

    async def until(self, *names):
        """Names of what comes, audio joined, up to one of these names; and the PCM."""
        seen, pcm = [], b""
        while True:
            name, data = await self.next()
            if name == "audio":
                pcm += data
                if seen[-1:] == ["audio"]:
                    continue
            seen.append(name)
            if name in names:
                return seen, pcm


@asynccontextmanager
async def connected(*, voice=None, configured=True, **options):
    options = {"first_audio": 0.05, "ms_per_char": 20, "transcripts": False, "tell_usage": False, **options}
    async with GatewayRealtimeSimulator(GatewayRealtimeOptions(**options), voice=voice).serve_in_memory() as server:
        client = await Client(await server.dial("gateway", 80)).handshake(TARGET, headers={})
        if configured:
            await client.tell("config", CONFIG)
        yield client, server


async def test_a_text_is_replied_to_with_its_own_segment(autojump_clock):
    async with connected() as (client, server):
        for number in (0, 1):
            await client.tell("text", "Hello.")
            seen, pcm = await client.until(ENDED)
            assert seen == [STARTED, "audio", ENDED]
            assert runs(pcm) == [(number, 0, 2880)]
        assert [segment.sent for segment in server.segments] == [2880, 2880]


async def test_transcripts_and_usage_are_told(autojump_clock):
    async with connected(transcripts=True, tell_usage=True, replies="One two.|Three.") as (client, _):
        await client.tell("text", "Go.")
        seen = [await client.next()]
        while seen[-1][0] != "usage_metadata":
            seen.append(await client.next())
        told = [(name, data) for name, data in seen if name != "audio"]
        assert told == [
            (STARTED, {}),
            ("output_transcription", {"text": "One "}),
            ("output_transcription", {"text": "two. "}),
            ("text_response", {"text": "One two.", "is_final": True}),
            (ENDED, {}),
            ("usage_metadata", {"total_tokens": 8}),
        ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [STARTED, "audio", STOPPED, STARTED]),
        ({"announces": False}, ["audio", STOPPED, "audio"]),
        ({"interrupt_answer": "none"}, [STARTED, "audio", STARTED]),
        ({"interrupt_answer": "late", "interrupt_delay": 0.03}, [STARTED, "audio", STOPPED, STARTED]),
        ({"interrupt_answer": "late", "interrupt_delay": 0.3}, [STARTED, "audio", STARTED]),
        ({"interrupt_ends": "before"}, [STARTED, "audio", ENDED, STOPPED, STARTED]),
        ({"interrupt_ends": "after"}, [STARTED, "audio", STOPPED, ENDED, STARTED]),
        ({"late_frames": 2}, [STARTED, "audio", STOPPED, "audio", STARTED]),
    ],
)
async def test_an_interruption_is_answered_in_every_way(autojump_clock, options, expected):
    async with connected(speed=1.0, **options) as (client, server):
        await client.tell("text", "A long reply, of which only a part comes.")
        await trio.sleep(0.25)
        await client.tell("interrupt")
        await client.tell("text", "Next.")
        assert await first(client, len(expected)) == expected
        assert server.segments[0].cleared
        assert server.segments[0].sent < server.segments[0].samples


async def test_an_interruption_may_be_answered_after_more_audio(autojump_clock):
    async with connected(speed=1.0, interrupt_answer="after", interrupt_after=3) as (client, server):
        await client.tell("text", "A long reply, of which only a part comes.")
        await trio.sleep(0.06)
        await client.tell("interrupt")
        seen, pcm = await client.until(STOPPED)
        assert seen == [STARTED, "audio", STOPPED]
        assert runs(pcm) == [(0, 0, 4 * 960)]
        assert server.segments[0].sent == 4 * 960


@pytest.mark.parametrize("idle", [True, False])
async def test_an_interruption_of_nothing(autojump_clock, idle):
    async with connected(interrupt_idle=idle) as (client, _):
        await client.tell("interrupt")
        await client.tell("text", "Next.")
        assert (await client.next())[0] == (STOPPED if idle else STARTED)


async def test_a_reply_that_has_not_begun_is_dropped(autojump_clock):
    async with connected(first_audio=1.0) as (client, server):
        await client.tell("text", "Never.")
        await client.tell("text", "Nor this.")
        await trio.sleep(0.1)
        await client.tell("interrupt")
        await client.tell("text", "This.")
        seen, _pcm = await client.until(ENDED)
        assert seen == [STOPPED, STARTED, "audio", ENDED]
        assert [segment.text for segment in server.segments] == ["This."]


@pytest.mark.parametrize("how", ["silence", "energy"])
async def test_speech_is_heard_and_breaks_off(autojump_clock, how):
    loud, quiet = (
        (tagged_pcm(3, 0, 2400), bytes(4800)) if how == "silence" else (b"\x00\x20" * 2400, b"\x05\x00" * 2400)
    )
    async with connected(vad=how, speed=1.0) as (client, _):
        await client.tell("text", "A long reply, of which only a part comes.")
        await trio.sleep(0.2)
        await client.tell("audio", base64.b64encode(loud).decode())
        seen, _ = await client.until(STOPPED)
        assert seen == [STARTED, "audio", "user_speech_started", STOPPED]
        for _ in range(3):
            await client.tell("audio", base64.b64encode(quiet).decode())
        seen, _ = await client.until(ENDED)
        assert seen == ["user_speech_ended", STARTED, "audio", ENDED]


async def test_speech_need_not_break_off(autojump_clock):
    async with connected(barge_in=False) as (client, _):
        await client.tell("text", "A reply.")
        await trio.sleep(0.06)
        await client.tell("audio", base64.b64encode(tagged_pcm(3, 0, 4800)).decode())
        seen, pcm = await client.until(ENDED)
        assert "user_speech_started" in seen
        assert runs(pcm) == [(0, 0, 3840)]


async def test_samples_that_are_missing_or_come_twice_are_noted(autojump_clock):
    async with connected(vad="off") as (client, server):
        for start in (0, 960, 480, 2400):
            await client.tell("audio", base64.b64encode(tagged_pcm(3, start, 960)).decode())
        await trio.sleep(0.1)
        noted = [(record["event"], record["data"].get("samples")) for record in server.log]
        assert ("double", 1440) in noted
        assert ("gap", 960) in noted


@pytest.mark.parametrize("marker", ["none", "late", "double"])
async def test_the_end_may_be_told_otherwise(autojump_clock, marker):
    async with connected(end_marker=marker, end_marker_delay=2.0) as (client, _):
        await client.tell("text", "A reply.")
        await trio.sleep(1)
        await client.tell("text", "Another.")
        seen = await first(client, 4)
        expected = {
            "none": [STARTED, "audio", STARTED, "audio"],
            "late": [STARTED, "audio", ENDED, STARTED],
            "double": [STARTED, "audio", ENDED, ENDED],
        }
        assert seen == expected[marker]


async def first(client, count):
    """The names of what comes first, audio joined."""
    seen = []
    while len(seen) < count:
        name, _ = await client.next()
        if name != "audio" or seen[-1:] != ["audio"]:
            seen.append(name)
    return seen


async def test_a_function_is_called_and_its_output_spoken(autojump_clock):
    async with connected() as (client, _):
        await client.tell("text", 'call weather {"city": "Paris"}')
        name, call = await client.next()
        assert (name, call["name"], call["arguments"]) == ("tool_call", "weather", {"city": "Paris"})
        await client.tell("tool_response", {"id": "another", "name": "weather", "response": "Sun."})
        assert (await client.next())[0] == "error"
        await client.tell("tool_response", {"id": call["id"], "name": "weather", "response": "Sun."})
        _, pcm = await client.until(ENDED)
        assert runs(pcm) == [(0, 0, 4 * 480)]


@pytest.mark.parametrize(
    "message",
    [
        b"binary",
        "no JSON",
        '{"type":"dance"}',
        '{"type":"text"}',
        '{"type":"audio","data":"AAAA"}',
        '{"type":"audio","data":"!"}',
        '{"type":"audio"}',
        '{"type":"video","data":"AAAA"}',
        '{"type":"text_with_frames","data":{"text":"a","frames":[]}}',
        '{"type":"config","data":3}',
        '{"type":"config","data":{"model":"m"}}',
        json.dumps({"type": "config", "data": {**CONFIG, "model": "without-its-prefix"}}),
        json.dumps({"type": "config", "data": {**CONFIG, "voice": None}}),
    ],
)
async def test_what_is_wrong_is_told_and_the_connection_goes_on(autojump_clock, message):
    async with connected() as (client, _):
        await client.send(message)
        assert (await client.next())[0] == "error"
        await client.tell("text", "A reply.")
        assert (await client.next())[0] == STARTED


async def test_the_configuration_must_come_first(autojump_clock):
    async with connected(configured=False) as (client, _):
        await client.tell("text", "A reply.")
        assert await client.next() == ("error", "Invalid message: config expected first")


async def test_stop_ends_the_connection(autojump_clock):
    async with connected() as (client, server):
        await client.tell("stop")
        assert await client.next() == ("closed", Closed(1000, ""))
        await trio.sleep(0.1)
        assert server.open_connections == 0


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/v1/llm?provider=google&modelId=m", 401),
        ("/v1/llm?provider=google&modelId=m&secret=a+b", 401),
        ("/v1/llm?provider=google&secret=t", 400),
        ("/v1/else?provider=google&secret=t&modelId=m", 404),
    ],
)
async def test_refusals(autojump_clock, target, status):
    async with GatewayRealtimeSimulator().serve_in_memory() as server:
        with pytest.raises(Refused) as caught:
            await Client(await server.dial("gateway", 80)).handshake(target, headers={})
        assert caught.value.status == status


async def test_it_is_one_of_the_gateways_endpoints(autojump_clock):
    options = GatewayOptions(first_audio=0.0, ms_per_char=20, faults=Faults(error_frame=3), transcripts=False)
    async with GatewaySimulator(options).serve_in_memory() as server:
        client = await Client(await server.dial("gateway", 80)).handshake(TARGET, headers={})
        await client.tell("config", CONFIG)
        await client.tell("text", "Hello.")
        seen, _ = await client.until(ENDED)
        assert "error" in seen


async def test_a_real_voice_may_speak(autojump_clock):
    class Hummer:
        async def speak(self, text, sample_rate):
            await trio.lowlevel.checkpoint()
            return Speech(b"\x01\x02" * len(text) * 100)

    async with connected(voice=Hummer(), **{"frame_ms": 10}) as (client, server):
        server.options = GatewayRealtimeOptions(voice=True, transcripts=False, tell_usage=False)
        await client.tell("text", "Hm.")
        _, pcm = await client.until(ENDED)
        assert pcm == b"\x01\x02" * 300


def test_a_jpeg_is_known_by_its_frame():
    frame = b"\xff\xc0\x00\x0b\x08\x00\x10\x00\x20\x01\x01\x11\x00"
    assert jpeg_size(b"\xff\xd8\xff\xe0\x00\x04ab" + frame + b"\xff\xd9") == (32, 16)
    for data in (b"", b"\xff\xd8\xff\xd9", b"\xff\xd8" + frame, b"PNG" + frame + b"\xff\xd9"):
        assert jpeg_size(data) is None


def test_short_noises_and_pauses_are_no_speech_and_no_silence():
    detector = SpeechDetector(lambda *_, **__: None, 1000)
    heard = []
    for length, byte in ((40, 1), (100, 0), (60, 1), (80, 0), (40, 1), (300, 0)):
        heard += detector.hear(bytes([byte, byte]) * length, "silence", 0.06, 0.1)
    assert heard == [True, False]
