"""A realtime model that misbehaves in ways that no simulator has a switch for, and callers who do."""

import array
import io
import json
import random
from contextlib import asynccontextmanager, suppress

import numpy as np
import pytest
import trio
import trio_websocket
from PIL import Image
from realtime_talk import RATE, TOKEN, model, talking

from voicetrio import AudioFrame, open_audio_sink
from voicetrio._jpeg import to_jpeg
from voicetrio._link.nursery import open_plain_nursery
from voicetrio.errors import ConfigurationError, InputError, LinkClosed, ProtocolError, SessionClosed, ToolError
from voicetrio.inference._realtime_dialect import GatewayRealtimeDialect
from voicetrio.realtime import ReplyEnded, ToolCall

JPEG = b"\xff\xd8\xff\xe0\xff\xd9"
CALL = ToolCall("1", "elsewhere", "{}")


def event(name, /, **data):
    return json.dumps({"type": "event", "data": {"eventType": name, **data}})


class Deaf(trio.abc.HalfCloseableStream):
    """A stream that takes so many bytes, and then none."""

    def __init__(self, stream, room):
        self._stream = stream
        self._room = room

    async def send_all(self, data):
        if self._room < 0:
            await trio.sleep_forever()
        self._room -= len(data)
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self):
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self):
        await self._stream.send_eof()

    async def receive_some(self, max_bytes=None):
        return await self._stream.receive_some(max_bytes)

    async def aclose(self):
        await self._stream.aclose()


class Server:
    """Serves each connection with a script, `script(websocket)`, and keeps what came on all of them."""

    def __init__(self, nursery, script, room):
        self.connections = 0
        self._nursery = nursery
        self._script = script
        self._room = room

    async def dial(self, host, port):
        ours, theirs = trio.testing.memory_stream_pair()
        self.connections += 1
        assert self.connections < 500, "a storm of connections"
        self._nursery.start_soon(self._serve, theirs)
        return ours if self._room is None else Deaf(ours, self._room)

    async def _serve(self, stream):
        try:
            async with trio.open_nursery() as nursery:
                request = await trio_websocket.wrap_server_stream(nursery, stream)
                await self._script(await request.accept())
                nursery.cancel_scope.cancel()
        except* (trio_websocket.ConnectionClosed, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        await trio.aclose_forcefully(stream)


@asynccontextmanager
async def meeting(script, *, room=None, **how):
    sink, _source = open_audio_sink(RATE)
    async with open_plain_nursery("the stage is left") as nursery:
        server = Server(nursery, script, room)
        with trio.fail_after(3600):
            async with model(base_url="ws://gateway.test").open(sink, dial=server.dial, **how) as session:
                yield session, server


async def listen(websocket):
    while True:
        await websocket.get_message()


@pytest.mark.parametrize("kind", ["tool_call", "function_call", "usage_metadata", "audio", "agent_speech_started"])
@pytest.mark.parametrize("data", [None, "words", [], [1], 5, 1.5, True, {}, {"audio": 5}, {"function": 5}])
@pytest.mark.parametrize("speaks", [True, False])
def test_a_message_whose_data_is_anything_is_no_bug_of_ours(kind, data, speaks):
    dialect = GatewayRealtimeDialect({}, speaks=speaks)
    for message in ({"type": kind, "data": data}, {"type": "event", "data": {"eventType": kind, "text": data}}):
        with suppress(ProtocolError):
            list(dialect.receive(json.dumps(message)))


@pytest.mark.parametrize("message", [b"\0\0", json.dumps({"type": "audio", "data": "AAAA"})])
async def test_audio_of_a_model_of_text_alone_is_passed_over(autojump_clock, message):
    async def script(websocket):
        await websocket.get_message()
        await websocket.send_message(message)
        await websocket.send_message(event("text_response", text="Words.", is_final=True))
        await listen(websocket)

    sink, _source = open_audio_sink(RATE)
    async with open_plain_nursery("the stage is left") as nursery:
        server = Server(nursery, script, None)
        provider = model(base_url="ws://gateway.test", response_modalities=["TEXT"])
        async with provider.open(sink, dial=server.dial) as session:
            async for told in session:
                if isinstance(told, ReplyEnded):
                    assert told.text == "Words."
                    break


@pytest.mark.parametrize("message", ["ok", event("user_speech_ended"), '{"type":5}'])
async def test_a_server_that_answers_and_hangs_up_is_not_stormed(autojump_clock, message):
    async def script(websocket):
        await websocket.get_message()
        await websocket.send_message(message)
        await trio.sleep(0.1)

    async with meeting(script) as (_, server):
        await trio.sleep(60)
        assert 5 < server.connections < 70


async def test_a_connection_that_lived_is_replaced_at_once(autojump_clock):
    async def script(websocket):
        await trio.sleep(30)

    async with meeting(script) as (_, server):
        await trio.sleep(30.0001)
        assert server.connections == 2


async def test_who_waits_to_send_goes_on_when_the_connection_is_lost(autojump_clock):
    """The peer takes nothing, the queue to it is full, and then it is given up: who waits in line must not stay."""
    results = {}

    async def call(name, function):
        try:
            results[name] = await function()
        except LinkClosed:
            results[name] = LinkClosed

    async with meeting(listen, room=2000) as (session, server):
        await session.prewarm()
        for _ in range(40):
            await session.send_audio(bytes(4800 * 2))
            await trio.sleep(0.001)
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(call, "video", lambda: session.send_video(JPEG))
                nursery.start_soon(call, "tool", lambda: session.send_tool_output(CALL, "x"))
                await trio.sleep(0.01)
                nursery.start_soon(call, "text", lambda: session.send_text("Hello."))
        assert results == {"video": False, "tool": LinkClosed, "text": None}
        assert server.connections == 2


async def test_leaving_the_block_ends_a_text_that_waits_for_an_interruption_to_be_answered(autojump_clock):
    errors, ended = [], trio.Event()
    async with trio.open_nursery() as nursery:

        async def send(session):
            with pytest.raises(SessionClosed) as caught:
                await session.send_text("Then this.")
            errors.append(caught.type)
            ended.set()

        async with meeting(listen) as (session, _):
            await session.send_text("First this.")
            session.interrupt()
            nursery.start_soon(send, session)
            await trio.sleep(0.5)
        with trio.fail_after(1):
            await ended.wait()
    assert errors == [SessionClosed]


async def test_calls_of_tools_are_bounded_though_nobody_reads_their_outputs(autojump_clock):
    async def script(websocket):
        for _ in range(500):
            await websocket.send_message(event("tool_call", name="nothing"))
        await trio.sleep_forever()

    async with meeting(script, room=2000) as (session, _):
        most = 0
        for _ in range(100):
            await trio.sleep(0.01)
            most = max(most, len(session._nursery.child_tasks))
        assert 32 < most < 48


async def in_a_nursery() -> str:
    async with trio.open_nursery():
        raise ToolError("it cannot be done")


def unsendable() -> str:
    return "a\ud800b"


def complaint() -> str:
    raise ToolError("a\ud800b")


@pytest.mark.parametrize(
    ("tool", "text"),
    [(in_a_nursery, "error: it cannot be done"), (unsendable, "a?b"), (complaint, "error: a?b")],
)
async def test_whatever_a_tool_says_the_model_gets_to_hear(autojump_clock, tool, text):
    async with talking(tools=[tool]) as it:
        reply = await it.session.say(f"call {tool.__name__} {{}}")
        assert reply.text == text


@pytest.mark.parametrize("output", ["a\ud800", 5, None, b"x"])
async def test_an_output_that_cannot_be_sent_is_refused(autojump_clock, output):
    async with talking() as it:
        with pytest.raises(InputError):
            await it.session.send_tool_output(CALL, output)


@pytest.mark.parametrize(
    "how",
    [
        {"instructions": "a\ud800"},
        {"tools": [{"type": "function", "function": {"name": "f", "description": "\ud800"}}]},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": object()}}]},
    ],
)
def test_what_json_cannot_carry_is_refused_before_anything_is_sent(how):
    with pytest.raises(ConfigurationError, match="JSON"):
        model().open(open_audio_sink(RATE)[0], **how)


@pytest.mark.parametrize("options", [{"response_modalities": [["AUDIO"]]}, {"model": "models/"}])
def test_options_of_any_type_are_refused_as_such(options):
    with pytest.raises(ConfigurationError):
        model(**options)


@pytest.mark.parametrize("audio", [5, 3.5, None, "words", [1, 2], np.zeros(480, np.float32), memoryview(np.zeros(9))])
async def test_what_is_no_audio_is_refused(autojump_clock, audio):
    async with talking() as it:
        with pytest.raises(InputError):
            await it.session.send_audio(audio)


@pytest.mark.parametrize("kind", [bytearray, memoryview, lambda pcm: array.array("h", pcm), np.frombuffer])
async def test_audio_may_come_in_any_buffer_of_samples(autojump_clock, kind):
    pcm = random.Random(1).randbytes(4800)
    audio = kind(pcm, np.int16) if kind is np.frombuffer else kind(pcm)
    async with talking(given={"sample_rate": RATE}) as it:
        await it.session.send_audio(audio)
        await trio.sleep(1)
        assert it.session.statistics().samples_sent == 2400


async def test_a_frame_within_a_sample_is_refused_as_it_would_be_noise(autojump_clock):
    async with talking(given={"sample_rate": RATE}) as it:
        await it.session.send_audio(b"\1")
        with pytest.raises(InputError, match="within a sample"):
            await it.session.send_audio(AudioFrame(bytes(480), RATE, 1, 1, 0))


def truncated():
    data = io.BytesIO()
    Image.effect_noise((200, 200), 50).save(data, "JPEG")
    return Image.open(io.BytesIO(data.getvalue()[:2000]))  # which reads the head of it, and the rest later


def closed():
    image = Image.new("RGB", (4, 4))
    image.close()
    return image


@pytest.mark.parametrize("picture", [truncated, closed, lambda: Image.new("La", (4, 4))])
async def test_a_picture_that_cannot_be_read_is_refused(picture):
    with pytest.raises(InputError, match="cannot be read"):
        await to_jpeg(picture())


async def test_the_token_is_not_in_what_such_failures_show(autojump_clock):
    async def script(websocket):
        await websocket.get_message()
        await websocket.aclose(1008, f"forbidden: {TOKEN}")

    async with meeting(script) as (session, _):
        with pytest.raises(Exception, match="forbidden") as caught:
            while True:
                await session.send_audio(bytes(2))
                await trio.sleep(0.1)
        assert TOKEN not in repr(caught.value)
