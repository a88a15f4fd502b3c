"""Outside truth: Cartesia's own SDK against the simulator, over real sockets."""

import asyncio
import json

import pytest
import trio
from cartesia import AsyncCartesia, Cartesia
from test_cartesia_wire import options_from
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from voicetrio.simulators import tagged_pcm
from voicetrio.simulators.cartesia import CartesiaSimulator

# The synchronous SDK opens websockets' connection in a way that websockets has deprecated.
pytestmark = pytest.mark.filterwarnings(r"ignore:connect\(\) must be used as a context manager:DeprecationWarning")

FIRST, SECOND = "Hello from trio.", "A second turn."
KEY = "the-sdks-own-key"

DEFAULTS = {
    "model_id": "sonic-3.5",
    "voice": "6ccbfb76-1fc6-48f7-b71d-91ac6298247b",
    "output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 24000},
    "language": "en",
}


def serve(**fields):
    """`async with serve(…) as server` on a real socket."""
    return CartesiaSimulator(options_from(fields)).serve()


def client_for(server, kind=Cartesia, **how):
    return kind(api_key=KEY, websocket_base_url=f"ws://127.0.0.1:{server.port}", **how)


def turn(connection, *texts, **fields):
    """Say something in a context of its own; the events of it."""
    context = connection.context(**DEFAULTS | fields)
    for text in texts:
        context.push(text)
    context.no_more_inputs()
    return list(context.receive())


def audio(events):
    return b"".join(event.audio or b"" for event in events if event.type == "chunk")


async def run(function):
    """Run blocking SDK code; it cannot outlive the test for long, because the simulator closes its sockets."""
    with trio.fail_after(20):
        return await trio.to_thread.run_sync(function, abandon_on_cancel=True)


async def run_async(function):
    """Run asynchronous SDK code in an asyncio of its own."""
    return await run(lambda: asyncio.run(function()))


async def test_one_turn():
    async with serve(api_key=KEY) as server:

        def talk():
            with client_for(server).tts.websocket_connect() as connection:
                return turn(connection, "Hello ", "from trio.")

        events = await run(talk)
    assert audio(events) == tagged_pcm(0, 0, 23040)
    assert [event.type for event in events] == ["chunk"] * 24 + ["done"]
    chunk, done = events[0], events[-1]
    assert (chunk.done, chunk.status_code, chunk.flush_id) == (False, 206, 1)
    assert (done.done, done.context_id) == (True, chunk.context_id)
    assert chunk.model_extra == done.model_extra == {}
    asked = next(record["data"]["headers"] for record in server.log if record["event"] == "request")
    assert asked["cartesia-version"] == "2026-08-14"
    assert KEY not in json.dumps(server.log)


async def test_two_turns_on_one_socket():
    async with serve() as server:

        def talk():
            with client_for(server).tts.websocket_connect() as connection:
                return audio(turn(connection, FIRST)), audio(turn(connection, SECOND))

        assert await run(talk) == (tagged_pcm(0, 0, 23040), tagged_pcm(1, 0, 20160))
    assert server.connections == 1


async def test_flushes_and_times_are_read_by_the_sdk():
    async with serve() as server:

        def talk():
            with client_for(server).tts.websocket_connect() as connection:
                how = {"add_timestamps": True, "add_phoneme_timestamps": True}
                context = connection.context(**DEFAULTS | how)
                context.push("One. ", flush=True)
                context.push("Two.")
                context.no_more_inputs()
                return list(context.receive())

        events = await run(talk)
    assert all(event.model_extra == {} for event in events)
    assert [event.flush_id for event in events if event.type == "flush_done"] == [1]
    words = [event.word_timestamps for event in events if event.type == "timestamps"]
    assert [(each.words, each.start) for each in words] == [(["One."], [0]), (["Two."], [0.3])]
    phonemes = [event.phoneme_timestamps for event in events if event.type == "phoneme_timestamps"]
    assert [each.phonemes for each in phonemes] == [["o", "n", "e"], ["t", "w", "o"]]


async def test_a_cancel_and_then_a_turn():
    # At its own pace the first turn would take 1.6 minutes, so it is certainly cut off.
    async with serve(speed=1.0, ms_per_char=6000, cancel="immediate", late_frames=2) as server:

        def talk():
            with client_for(server).tts.websocket_connect() as connection:
                context = connection.context("first", **DEFAULTS)
                context.push(FIRST)
                context.no_more_inputs()
                first = [connection.recv()]
                context.cancel()
                while first[-1].type != "done":
                    first.append(connection.recv())
                trio.from_thread.run_sync(be_quick)
                return audio(first), audio(turn(connection, SECOND))

        def be_quick():
            server.options = options_from({})

        first, second = await run(talk)
        cut = server.segments[0]
        assert cut.cleared
        assert first == tagged_pcm(0, 0, cut.sent)
        assert 3 * 1920 <= len(first) < 2 * cut.samples
        assert second == tagged_pcm(1, 0, 20160)


async def test_what_runs_on_after_a_cancel_does_not_reach_the_next_turn_of_the_asynchronous_sdk():
    async with serve(speed=20.0) as server:

        async def talk():
            async with client_for(server, AsyncCartesia) as client, client.tts.websocket_connect() as connection:
                first = connection.context(**DEFAULTS)
                await first.push(FIRST)
                await first.no_more_inputs()
                await anext(first.receive())
                await first.cancel()
                second = connection.context(**DEFAULTS)
                await second.push(SECOND * 3)  # long enough for the first to run on to its end
                await second.no_more_inputs()
                return [event async for event in second.receive()]

        assert audio(await run_async(talk)) == tagged_pcm(1, 0, 60480)
    assert [(each.sent, each.cleared) for each in server.segments] == [(23040, False), (60480, False)]


async def test_two_contexts_at_once_with_the_asynchronous_sdk():
    async with serve(speed=20.0) as server:

        async def talk():
            async with client_for(server, AsyncCartesia) as client, client.tts.websocket_connect() as connection:

                async def one(text):
                    context = connection.context(text, **DEFAULTS)
                    await context.push(text)
                    await context.no_more_inputs()
                    return [event async for event in context.receive()]

                return await asyncio.gather(one(FIRST), one(SECOND))

        found = [audio(events) for events in await run_async(talk)]
    numbers = {segment.text: segment.number for segment in server.segments}
    assert found == [tagged_pcm(numbers[FIRST], 0, 23040), tagged_pcm(numbers[SECOND], 0, 20160)]


async def test_the_interface_of_version_2_of_the_sdk():
    async with serve() as server:

        def talk():
            websocket = client_for(server).tts.websocket()
            output = DEFAULTS["output_format"] | {"encoding": "pcm_f32le", "sample_rate": 8000}
            try:
                whole = websocket.send(
                    transcript=FIRST, stream=False, output_format=output, model_id="sonic-3", voice=DEFAULTS["voice"]
                )
                return len(whole.audio)
            finally:
                websocket.close()

        assert await run(talk) == 4 * 7680


@pytest.mark.parametrize(("fields", "status"), [({"api_key": "right"}, 401), ({"refuse_status": 429}, 429)])
async def test_an_error_at_the_upgrade(fields, status):
    async with serve(**fields) as server:

        def talk():
            with client_for(server).tts.websocket_connect():
                raise AssertionError("it must be refused")

        with pytest.raises(InvalidStatus) as caught:
            await run(talk)
    response = caught.value.response
    assert response.status_code == status
    assert response.headers["x-request-id"] == json.loads(response.body)["request_id"]


@pytest.mark.parametrize(
    ("fields", "model", "code", "status"),
    [({"context_limit": 0}, "sonic-3", "concurrency_limited", 429), ({}, "tenor", "model_not_found", 400)],
)
async def test_an_error_event_ends_the_turn_and_not_the_connection(fields, model, code, status):
    async with serve(**fields) as server:

        def talk():
            with client_for(server).tts.websocket_connect() as connection:
                context = connection.context(**DEFAULTS | {"model_id": model})
                context.push(FIRST)
                found = list(context.receive())
                trio.from_thread.run_sync(allow)
                return found, audio(turn(connection, SECOND))

        def allow():
            server.options = options_from({})

        (error,), after = await run(talk)
    assert (error.type, error.done, error.error_code, error.status_code) == ("error", True, code, status)
    assert error.error == f"{error.title}: {error.message}"
    assert error.request_id.endswith(f":context:{error.context_id}")
    assert error.model_extra == {}
    assert after == tagged_pcm(0, 0, 20160)


async def test_a_close_in_the_middle_of_a_turn():
    async with serve(close_after=6, close_code=1011, close_reason="restart") as server:
        events = []

        def talk():
            with client_for(server).tts.websocket_connect() as connection:
                context = connection.context(**DEFAULTS)
                context.push(FIRST, flush=True)
                for event in context.receive():
                    events.append(event)  # not extend(), which forgets them when it fails

        with pytest.raises(ConnectionClosedError) as caught:
            await run(talk)
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1011, "restart")
    assert audio(events) == tagged_pcm(0, 0, 6 * 960)


async def test_a_close_in_the_middle_of_a_turn_of_the_asynchronous_sdk():
    async with serve(close_after=6, close_code=1011, close_reason="restart") as server:

        async def talk():
            async with client_for(server, AsyncCartesia) as client, client.tts.websocket_connect() as connection:
                # Not with the SDK's contexts: they are not told that the connection has ended, and wait for ever.
                await connection.send({**DEFAULTS, "context_id": "one", "transcript": FIRST, "continue": False})
                events = [await connection.recv() for _ in range(6)]
                with pytest.raises(ConnectionClosedError) as caught:
                    await connection.recv()
                return events, caught.value.rcvd

        events, close = await run_async(talk)
    assert audio(events) == tagged_pcm(0, 0, 6 * 960)
    assert (close.code, close.reason) == (1011, "restart")
