"""Outside truth: Smallest's own SDK against the simulator, over real sockets."""

import asyncio
import base64
import json
from contextlib import contextmanager
from types import SimpleNamespace

import httpx
import pytest
import trio
from smallest_client import SAMPLES, TEXT, noted, options_from, reconfigure
from smallestai import AsyncSmallestAI, SmallestAI
from smallestai.core.api_error import ApiError
from smallestai.core.http_sse import EventSource
from smallestai.environment import SmallestAIEnvironment
from smallestai.waves import TTSConfig, WavesStreamingTTS
from smallestai.waves.errors import BadRequestError, InternalServerError, UnauthorizedError
from smallestai.waves.helpers import synthesize_bytes
from smallestai.waves.tts.types import TtsRequestMessage
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from voicetrio.simulators import tagged_pcm
from voicetrio.simulators.smallest import SmallestSimulator

# The SDK imports names that websockets has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:websockets.*deprecated:DeprecationWarning")

FIRST, SECOND = TEXT, "A second turn."
AUDIO = tagged_pcm(0, 0, SAMPLES)


def client_of(server, kind=SmallestAI, api_key="key", **how):
    url = f"127.0.0.1:{server.port}"
    environment = SmallestAIEnvironment(
        atoms=f"http://{url}", waves=f"http://{url}", waves_ws=f"ws://{url}", payment=f"http://{url}"
    )
    return kind(api_key=api_key, environment=environment, max_retries=0, **how)


@contextmanager
def http_of(server):
    """The SDK's methods over HTTP.  It leaves its own connections open, so it is given some that are closed."""
    with httpx.Client() as pool:
        yield client_of(server, httpx_client=pool).waves


def message(text, **fields):
    defaults = {"voice_id": "magnus", "sample_rate": 24000, "complete_backoff_ms": 0}
    return TtsRequestMessage(text=text, **(defaults | fields))


def audio_of(messages):
    return b"".join(base64.b64decode(each.data.audio) for each in messages if each.status == "chunk")


def until(socket, status):
    """What the SDK receives up to a message of this status."""
    seen = [socket.recv()]
    while seen[-1].status != status:
        seen.append(socket.recv())
    return seen


def turn(socket, text, **fields):
    socket.synthesize_streaming_tts(message(text, **fields))
    return until(socket, "complete")


async def run(function):
    """Run blocking SDK code; it cannot outlive the test for long, because the simulator closes its sockets."""
    with trio.fail_after(20):
        return await trio.to_thread.run_sync(function, abandon_on_cancel=True)


def serve(**fields):
    return SmallestSimulator(options_from(fields)).serve()


# The websocket.


async def test_one_turn():
    async with serve() as server:

        def talk():
            with client_of(server).waves.tts.connect() as socket:
                return turn(socket, FIRST, request_id="r", word_timestamps=True, voice_id="meher")

        seen = await run(talk)
    assert audio_of(seen) == AUDIO
    assert {each.external_request_id for each in seen} == {"r"}
    assert [each.data.word for each in seen if each.status == "word_timestamp"] == FIRST.split()
    assert seen[-1].data is None
    received = json.loads(noted(server, "received")[0]["message"])
    assert received["text"] == FIRST


async def test_two_turns_on_one_socket():
    async with serve() as server:

        def talk():
            with client_of(server).waves.tts.connect() as socket:
                return audio_of(turn(socket, FIRST)), audio_of(turn(socket, SECOND, sample_rate=16000))

        assert await run(talk) == (AUDIO, tagged_pcm(1, 0, 13440))
    assert server.connections == 1


async def test_fragments_and_a_flush():
    async with serve() as server:

        def talk():
            with client_of(server).waves.tts.connect() as socket:
                socket.synthesize_streaming_tts(message("Hello ", continue_=True))
                socket.synthesize_streaming_tts(message("from trio", continue_=True))
                return turn(socket, ".", flush=True)

        assert audio_of(await run(talk)) == AUDIO
    assert [segment.text for segment in server.segments] == [FIRST]


async def test_an_interruption_and_then_a_turn():
    # At its own pace the first turn would take 1.6 minutes, so it is certainly cut off.
    async with serve(speed=1.0, ms_per_char=6000, late_frames=2) as server:

        def talk():
            with client_of(server).waves.tts.connect() as socket:
                socket.synthesize_streaming_tts(message(FIRST, context_id="c", continue_=True, request_id="old"))
                first = [socket.recv(), socket.recv()]
                # The SDK's message always has a text; that of a cancel is not spoken.
                socket.synthesize_streaming_tts(message("", context_id="c", cancel_request=True))
                trio.from_thread.run(be_quick)
                socket.synthesize_streaming_tts(message(SECOND, request_id="new"))
                return first + until(socket, "complete")

        async def be_quick():
            while not noted(server, "segment_ended"):
                await trio.lowlevel.checkpoint()
            reconfigure(server)

        seen = await run(talk)
        old = [each for each in seen if each.external_request_id == "old"]
        new = [each for each in seen if each.external_request_id == "new"]
        cut, second = server.segments
        assert cut.cleared
        assert cut.samples > cut.sent >= 4 * 960
        assert audio_of(old) == tagged_pcm(0, 0, cut.sent)
        assert audio_of(new) == tagged_pcm(1, 0, second.samples)


async def test_closing_the_socket_is_the_interruption_of_a_classic_request():
    async with serve(speed=1.0, ms_per_char=6000, running_limit=1) as server:

        def interrupt():
            with client_of(server).waves.tts.connect() as socket:
                socket.synthesize_streaming_tts(message(FIRST))
                socket.recv()

        def talk():
            with client_of(server).waves.tts.connect() as socket:
                return audio_of(turn(socket, SECOND))

        await run(interrupt)
        with trio.fail_after(10):
            while server.open_connections:
                await trio.lowlevel.checkpoint()
        assert server.segments[0].cleared
        reconfigure(server, running_limit=1)
        assert await run(talk) == tagged_pcm(1, 0, 20160)


@pytest.mark.parametrize(("fields", "status"), [({"api_key": "right"}, 401), ({"refuse_status": 429}, 429)])
async def test_an_error_at_the_upgrade(fields, status):
    async with serve(**fields) as server:

        def talk():
            with client_of(server, api_key="wrong").waves.tts.connect():
                raise AssertionError("it must be refused")

        # The SDK means to raise its ApiError, but looks for an exception that websockets' new client does not raise.
        with pytest.raises(InvalidStatus) as caught:
            await run(talk)
    assert caught.value.response.status_code == status
    assert set(json.loads(caught.value.response.body)) == {"error", "message"}


async def test_an_error_frame():
    async with serve() as server:

        def talk():
            with client_of(server).waves.tts.connect() as socket:
                socket.synthesize_streaming_tts(message(FIRST, speed=9.0))
                error = socket.recv()
                return error, audio_of(turn(socket, FIRST))

        error, audio = await run(talk)
    assert error.status == "error"
    assert "speed" in error.message
    assert audio == AUDIO


async def test_a_close_in_the_middle_of_a_turn():
    async with serve(close_after=6, close_code=1011, close_reason="worker restart") as server:
        seen = []

        def talk():
            with client_of(server).waves.tts.connect() as socket:
                socket.synthesize_streaming_tts(message(FIRST))
                while True:
                    seen.append(socket.recv())

        with pytest.raises(ConnectionClosedError) as caught:
            await run(talk)
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1011, "worker restart")
    assert audio_of(seen) == tagged_pcm(0, 0, 6 * 960)


async def test_the_asynchronous_client():
    async with serve() as server:

        async def talk():
            async with client_of(server, AsyncSmallestAI).waves.tts.connect() as socket:
                audio = []
                for text in (FIRST, SECOND):
                    await socket.synthesize_streaming_tts(message(text))
                    seen = [await socket.recv()]
                    while seen[-1].status != "complete":
                        seen.append(await socket.recv())
                    audio.append(audio_of(seen))
                return audio

        assert await run(lambda: asyncio.run(talk())) == [AUDIO, tagged_pcm(1, 0, 20160)]


# HTTP.


async def test_audio_over_http_twice_on_one_connection():
    async with serve() as server:

        def talk():
            with http_of(server) as waves:
                return [
                    b"".join(waves.synthesize_tts(text=text, voice_id="magnus", sample_rate=24000))
                    for text in (FIRST, SECOND)
                ]

        assert await run(talk) == [AUDIO, tagged_pcm(1, 0, 20160)]
    assert server.connections == 1


async def test_a_wav_file():
    async with serve(wav_length="exact") as server:

        def talk():
            with http_of(server) as waves:
                return synthesize_bytes(SimpleNamespace(waves=waves), FIRST, voice_id="magnus", sample_rate=24000)

        assert (await run(talk))[44:] == AUDIO


@pytest.mark.parametrize("crlf", [False, True])
async def test_events_over_http_can_be_read_by_the_sdk(crlf):
    async with serve(sse_crlf=crlf) as server:

        def talk():
            # Its method takes the data of an event for text, and so skips every object, which is all there is.
            url = f"http://127.0.0.1:{server.port}/waves/v1/tts/live"
            headers = {"Authorization": "Bearer key"}
            request = {"text": FIRST, "voice_id": "magnus", "sample_rate": 24000}
            with httpx.stream("POST", url, json=request, headers=headers) as response:
                return [(event.event, event.json()) for event in EventSource(response).iter_sse()]

        events = await run(talk)
    assert b"".join(base64.b64decode(data["audio"]) for _, data in events if "audio" in data) == AUDIO
    assert [data["done"] for _, data in events] == [False] * 24 + [True]
    assert {kind for kind, _ in events[:-1]} == {"audio"}


async def test_the_sdks_method_for_events_comes_to_its_end():
    async with serve() as server:

        def talk():
            with http_of(server) as waves:
                return list(waves.synthesize_sse_tts(text=FIRST, voice_id="magnus", sample_rate=24000))

        await run(talk)
        assert [(segment.sent, segment.cleared) for segment in server.segments] == [(SAMPLES, False)]


async def test_the_asynchronous_client_over_http():
    async with serve() as server:

        async def talk():
            async with httpx.AsyncClient() as pool:
                waves = client_of(server, AsyncSmallestAI, httpx_client=pool).waves
                pieces = waves.synthesize_tts(text=FIRST, voice_id="magnus", sample_rate=24000)
                return b"".join([piece async for piece in pieces])

        assert await run(lambda: asyncio.run(talk())) == AUDIO


@pytest.mark.parametrize(
    ("fields", "speed", "kind", "status"),
    [
        ({}, 9.0, BadRequestError, 400),
        ({"api_key": "right"}, 1.0, UnauthorizedError, 401),
        ({"refuse_status": 429, "retry_after": 1}, 1.0, ApiError, 429),
        ({"refuse_status": 500}, 1.0, InternalServerError, 500),
    ],
)
async def test_errors_over_http(fields, speed, kind, status):
    async with serve(**fields) as server:

        def talk():
            with http_of(server) as waves:
                list(waves.synthesize_tts(text=FIRST, voice_id="magnus", speed=speed))

        with pytest.raises(kind) as caught:
            await run(talk)
    assert caught.value.status_code == status
    assert set(caught.value.body) == {"error", "message"}


async def test_a_model_that_is_gone():
    async with serve() as server:

        def talk():
            with http_of(server) as waves:
                waves.synthesize_lightning()

        with pytest.raises(ApiError) as caught:
            await run(talk)
    assert (caught.value.status_code, caught.value.body["error_code"]) == (410, "MODEL_DEPRECATED")


async def test_a_body_that_is_cut():
    async with serve(close_after=6) as server:
        seen = []

        def talk():
            with http_of(server) as waves:
                seen.extend(waves.synthesize_tts(text=FIRST, voice_id="magnus", sample_rate=24000))

        with pytest.raises(httpx.RemoteProtocolError, match="peer closed connection"):
            await run(talk)
    assert b"".join(seen) == tagged_pcm(0, 0, 6 * 960)


async def test_leaving_a_body_is_the_interruption_over_http():
    async with serve(speed=1.0, ms_per_char=6000) as server:

        def interrupt():
            with http_of(server) as waves:
                pieces = waves.synthesize_tts(text=FIRST, voice_id="magnus", sample_rate=24000)
                first = next(pieces)
                pieces.close()
                return first

        assert await run(interrupt) == tagged_pcm(0, 0, 960)
        with trio.fail_after(10):
            while not noted(server, "closed"):
                await trio.lowlevel.checkpoint()
        assert server.segments[0].cleared
        assert noted(server, "disconnected")


# The older client, on another websocket library.


class Streaming(WavesStreamingTTS):
    """The SDK's, which cannot ask for `complete` at once, and would have to wait four seconds for it."""

    def __init__(self, server):
        super().__init__(TTSConfig(voice_id="magnus", api_key="key"))
        self.ws_url = f"ws://127.0.0.1:{server.port}/waves/v1/tts/live"

    def _create_payload(self, *args, **kwargs):
        return super()._create_payload(*args, **kwargs) | {"complete_backoff_ms": 0}


async def test_the_streaming_client():
    async with serve() as server:
        texts = ["Hello ", "from ", "trio. And", " more"]
        audio = await run(lambda: b"".join(Streaming(server).synthesize_streaming(iter(texts))))
        assert [segment.text for segment in server.segments] == [FIRST, " And more"]
        assert audio == AUDIO + tagged_pcm(1, 0, 12960)


async def test_the_streaming_client_when_all_was_spoken_before_the_flush():
    async with serve(first_audio=0.2) as server:
        audio = await run(lambda: b"".join(Streaming(server).synthesize_streaming(iter([FIRST]))))
        assert audio == AUDIO
