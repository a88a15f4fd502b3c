"""Every fault, as a client sees it on the wire."""

import json

import attrs
import pytest
import trio
from raw_client import EOF, Closed, RawClient, Refused, audio, runs

from voicetrio.simulators import Faults, tagged_pcm
from voicetrio.simulators._faults import FaultState
from voicetrio.simulators._wire import Wire

TEXT = "Hello from trio."  # 24 frames of 40 ms
REQUEST = (
    b"GET /v1/speak HTTP/1.1\r\nHost: x\r\nAuthorization: Token k\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


async def silence(client, seconds=1000):
    """Assert that nothing comes for a while."""
    with trio.move_on_after(seconds) as scope:
        assert await client.receive() is None
    assert scope.cancelled_caught


async def everything(stream):
    """All bytes up to the end of the stream."""
    seen = b""
    while data := await stream.receive_some():
        seen += data
    return seen


def faults_noted(server):
    return [record["data"]["name"] for record in server.log if record["event"] == "fault"]


# The handshake.


async def test_refuse(autojump_clock, simulate):
    async with simulate(handshake="refuse") as server:
        with pytest.raises(ConnectionRefusedError):
            await server.dial("simulator.test", 80)
        assert (server.connections, server.open_connections) == (1, 0)


async def test_eof_in_the_handshake(autojump_clock, simulate):
    async with simulate(handshake="eof") as server:
        stream = await server.dial("simulator.test", 80)
        await stream.send_all(REQUEST)
        assert await everything(stream) == b""
        assert faults_noted(server) == ["handshake"]


async def test_silence_in_the_handshake(autojump_clock, simulate):
    async with simulate(handshake="silent") as server:
        stream = await server.dial("simulator.test", 80)
        await stream.send_all(REQUEST)
        with trio.move_on_after(1000) as scope:
            await stream.receive_some()
        assert scope.cancelled_caught


async def test_garbage_instead_of_http(autojump_clock, simulate):
    async with simulate(handshake="garbage") as server:
        stream = await server.dial("simulator.test", 80)
        await stream.send_all(REQUEST)
        assert b"not HTTP" in await everything(stream)


async def test_a_slow_handshake(autojump_clock, simulate, connect):
    async with simulate(handshake="slow", handshake_delay=7.5) as server:
        began = trio.current_time()
        client = await connect(server)
        assert trio.current_time() - began == 7.5
        assert len(await client.turn(TEXT)) == 46080


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "INVALID_QUERY_PARAMETER"),
        (401, "INVALID_AUTH"),
        (402, "PAYMENT_REQUIRED"),
        (403, "INSUFFICIENT_PERMISSIONS"),
        (429, "TOO_MANY_REQUESTS"),
        (503, "SERVICE_UNAVAILABLE"),
        (599, "INTERNAL_SERVER_ERROR"),
    ],
)
@pytest.mark.parametrize("without_length", [False, True])
async def test_a_refused_upgrade(autojump_clock, simulate, connect, status, code, without_length):
    async with simulate(refuse_status=status, refuse_without_length=without_length, retry_after=2.5) as server:
        with pytest.raises(Refused) as caught:
            await connect(server)
    refused = caught.value
    body = json.loads(refused.body)
    assert refused.status == status
    assert body["err_code"] == code
    assert refused.headers["dg-error"] == body["err_msg"]
    assert refused.headers["dg-request-id"] == body["request_id"]
    assert refused.headers["retry-after"] == "2.5"
    assert ("content-length" in refused.headers) is not without_length


async def test_the_refusal_can_be_worded(autojump_clock, simulate, connect):
    async with simulate(refuse_status=418, refuse_headers=(("X-Pot", "tea"),), refuse_body="short") as server:
        with pytest.raises(Refused) as caught:
            await connect(server)
    assert (caught.value.status, caught.value.headers["x-pot"], caught.value.body) == (418, "tea", b"short")


# Messages that do not come.


async def test_accepted_and_silent(autojump_clock, simulate, connect):
    async with simulate(accept_silent=True) as server:
        client = await connect(server)
        await client.ping(b"alive")
        await silence(client)
        assert client.pongs == [b"alive"]
        await client.stream.send_all(client.close_frame())
        assert await client.receive() == Closed(1000, "")


@pytest.mark.parametrize("frames", [0, 1, 23])
async def test_a_stall_after_some_frames(autojump_clock, simulate, connect, frames):
    async with simulate(stall_after=frames) as server:
        client = await connect(server)
        await client.until("Metadata")
        await client.say(TEXT)
        for _ in range(frames):
            assert isinstance(await client.receive(), bytes)
        await trio.testing.wait_all_tasks_blocked()
        await client.clear()
        await client.ping(b"alive")
        await silence(client)
        assert client.pongs == [b"alive"]
    assert server.segments[0].sent == 960 * frames
    assert faults_noted(server) == ["stall_after"]


async def test_never_answering_close(autojump_clock, simulate, connect):
    async with simulate(never_close=True) as server:
        client = await connect(server)
        await client.until("Metadata")
        await client.stream.send_all(client.close_frame())
        await silence(client)
        assert server.open_connections == 1


async def test_never_closing_for_a_close_message(autojump_clock, simulate, connect):
    async with simulate(never_close=True) as server:
        client = await connect(server)
        await client.until("Metadata")
        await client.send({"type": "Close"})
        await silence(client)


async def test_half_open(autojump_clock, simulate, connect):
    async with simulate(half_open_after=4) as server:
        client = await connect(server)
        await client.say(TEXT)
        for _ in range(4):
            await client.receive()
        await client.send({"type": "Speak", "text": "unread"})
        await client.ping(b"dead?")
        await client.stream.send_all(client.close_frame())
        await silence(client)
        assert client.pongs == []
        assert "unread" not in json.dumps(server.log)
        assert server.open_connections == 1


# Endings.


@pytest.mark.parametrize(
    ("code", "reason"),
    [(1000, ""), (1008, "DATA-0001"), (1009, "BIG-0001"), (1011, "NET-0000"), (4001, "ours")],
)
async def test_a_close_frame_in_the_middle(autojump_clock, simulate, connect, code, reason):
    async with simulate(close_after=5, close_code=code, close_reason=reason) as server:
        client = await connect(server)
        await client.say(TEXT)
        seen = await client.until(Closed)
        assert len(seen) == 6
        assert seen[-1] == Closed(code, reason)
        assert await client.receive() is EOF


async def test_a_close_frame_while_idle(autojump_clock, simulate, connect):
    async with simulate(close_after=1) as server:
        client = await connect(server)
        assert (await client.until(Closed))[1:] == [Closed(1011, "")]


async def test_a_client_that_does_not_answer_the_close_frame_is_dropped(autojump_clock, simulate, connect):
    async with simulate(close_after=1) as server:
        client = await connect(server)
        client.answer_close = False
        await client.until(Closed)
        began = trio.current_time()
        assert await client.receive() is EOF
        assert trio.current_time() - began == 1.0


@pytest.mark.parametrize("messages", range(27))
async def test_tcp_dropped_after_every_message(autojump_clock, simulate, connect, messages):
    async with simulate(drop_after_messages=messages) as server:
        client = await connect(server)
        seen = []
        with trio.fail_after(10):
            await client.say(TEXT)
            while (message := await client.receive()) is not EOF:
                seen.append(message)
                if len(seen) > 25:
                    break
    # Metadata, 24 frames, Flushed: the connection is dropped after the last as well.
    assert len(seen) == min(messages, 26)


async def test_tcp_dropped_at_every_byte(autojump_clock, simulate):
    whole = None
    for count in [10_000, *range(0, 700), 5000]:
        async with simulate(drop_after_bytes=count, ms_per_char=100) as server:
            stream = await server.dial("simulator.test", 80)
            client = RawClient(stream)
            await stream.send_all(REQUEST)
            client.ws.send(client.request("/v1/speak", {}))  # only to be able to send frames
            await stream.send_all(client.frame('{"type":"Speak","text":"abcd"}') + client.frame('{"type":"Flush"}'))
            seen = await everything(stream)
        whole = whole or seen
        assert seen == whole[:count]
    assert len(whole) == 10_000


# Bent bytes.


async def test_one_byte_writes(autojump_clock, simulate, connect):
    async with simulate(one_byte_writes=True, ms_per_char=10) as server:
        client = await connect(server)
        assert await client.turn("x") == tagged_pcm(0, 0, 240)


async def test_one_byte_writes_are_single_writes():
    writes = []

    async def note():
        writes.append(sink.get_data_nowait())

    sink = trio.testing.MemorySendStream(send_all_hook=note)
    stream = trio.StapledStream(sink, trio.testing.MemoryReceiveStream())
    await Wire(stream, FaultState(lambda: Faults(one_byte_writes=True))).send(b"abc")
    assert writes == [b"a", b"b", b"c"]


async def test_fragments_with_pings_between(autojump_clock, simulate, connect):
    async with simulate(fragment=100, ms_per_char=10) as server:
        client = await connect(server)
        (metadata,) = await client.until("Metadata")
        assert metadata["type"] == "Metadata"
        text_pings = client.pings
        assert text_pings >= 2
        assert await client.turn("x") == tagged_pcm(0, 0, 240)
        assert client.pings - text_pings == 5 + 1  # 480 bytes of audio, Flushed


@pytest.mark.parametrize("encoding", ["linear16", "mulaw"])
async def test_one_message_of_a_mebibyte(autojump_clock, simulate, connect, encoding):
    async with simulate(big_message=True) as server:
        client = await connect(server, f"/v1/speak?encoding={encoding}")
        await client.until("Metadata")
        await client.say("x")
        seen = await client.until("Flushed")
    assert [len(message) for message in seen[:-1]] == [1 << 20]
    if encoding == "linear16":
        assert runs(seen[0]) == [(0, 0, 1 << 19)]
    assert server.segments[0].sent == server.segments[0].samples


@pytest.mark.parametrize(
    ("fault", "shape", "check"),
    [
        ("unknown_message", "description", lambda text: json.loads(text)["type"] == "FromTheFuture"),
        ("non_json", "description", lambda text: "not JSON" in text),
        ("wrong_shape", "description", lambda text: isinstance(json.loads(text), list)),
        ("error_frame", "description", lambda text: set(json.loads(text)) == {"type", "description", "code"}),
        ("error_frame", "err_code", lambda text: set(json.loads(text)) == {"type", "err_code", "err_msg"}),
    ],
)
@pytest.mark.parametrize("after", [0, 1, 5])
async def test_an_inserted_message(autojump_clock, simulate, connect, fault, shape, check, after):
    async with simulate(**{fault: after, "error_shape": shape}) as server:
        client = await connect(server)
        await client.say(TEXT)
        seen = [await client.receive() for _ in range(27)]
        assert check(seen.pop(after))
        assert json.loads(seen[0])["type"] == "Metadata"
        assert json.loads(seen[-1])["type"] == "Flushed"
        assert audio(seen) == tagged_pcm(0, 0, 23040)
        assert len(await client.turn(TEXT)) == 46080, "inserted once"


# When they hold.


async def test_only_the_first_connections_suffer(autojump_clock, simulate, connect):
    async with simulate(refuse_status=503, connections=2) as server:
        for _ in range(2):
            with pytest.raises(Refused):
                await connect(server)
        client = await connect(server)
        assert len(await client.turn(TEXT)) == 46080


async def test_counts_begin_when_the_faults_are_set(autojump_clock, simulate, connect):
    async with simulate() as server:
        client = await connect(server)
        await client.turn(TEXT)
        server.options = attrs.evolve(server.options, faults=Faults(drop_after_messages=3))
        await client.say(TEXT)
        seen = await client.until("Flushed")
        assert (len(seen), seen[-1]) == (4, EOF)
        server.options = attrs.evolve(server.options, faults=Faults())
        assert len(await (await connect(server)).turn(TEXT)) == 46080


async def test_other_options_leave_the_counts_alone(autojump_clock, simulate, connect):
    async with simulate(close_after=27 + 3) as server:
        client = await connect(server)
        await client.turn(TEXT)
        server.options = attrs.evolve(server.options, frame_ms=80)
        await client.say(TEXT)
        seen = await client.until(Closed)
        assert len(seen) == 4 + 1


# Clients that misbehave.


@pytest.mark.parametrize("count", [1, 2, 5, 9])
async def test_a_client_that_leaves_in_the_middle_of_a_frame(autojump_clock, simulate, connect, count):
    async with simulate() as server:
        client = await connect(server)
        await client.until("Metadata")
        await client.stream.send_all(client.frame('{"type":"Flush"}')[:count])
        await client.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert server.open_connections == 0


async def test_a_client_that_leaves_while_spoken_to(autojump_clock, simulate, connect):
    async with simulate() as server:
        client = await connect(server)
        await client.say("x" * 2000)
        await client.receive()
        await client.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert server.open_connections == 0
        assert server.segments[0].sent < server.segments[0].samples


@pytest.mark.parametrize("junk", [b"\x16\x03\x01\x02\x00\x01", b"GET HTTP/1.1\r\n\r\n", b"\xff" * 70000])
async def test_a_client_that_does_not_speak_http(autojump_clock, simulate, junk):
    async with simulate() as server:
        stream = await server.dial("simulator.test", 80)
        await stream.send_all(junk + b"\r\n\r\n")
        assert (await everything(stream)).startswith(b"HTTP/1.1 400 Bad Request\r\n")


async def test_a_client_that_says_nothing(autojump_clock, simulate):
    async with simulate() as server:
        stream = await server.dial("simulator.test", 80)
        began = trio.current_time()
        assert await everything(stream) == b""
        assert trio.current_time() - began == 30


@pytest.mark.parametrize("frame", [b"\xf3\x80\x00\x00\x00\x00", b"\x81\x02hi", b"\x80\x80\x00\x00\x00\x00"])
async def test_a_client_that_breaks_the_websocket_protocol(autojump_clock, simulate, connect, frame):
    async with simulate() as server:
        client = await connect(server)
        await client.until("Metadata")
        await client.stream.send_all(frame)
        closed = await client.receive()
        assert closed.code == 1002
        assert await client.receive() is EOF


async def test_fragments_from_the_client_are_joined(autojump_clock, simulate, connect):
    async with simulate() as server:
        client = await connect(server)
        text = json.dumps({"type": "Speak", "text": "ä€😀"}, ensure_ascii=False)
        for index, character in enumerate(text):
            await client.stream.send_all(client.frame(character, finished=index == len(text) - 1))
            await client.ping(b"between")
        await client.send({"type": "Flush"})
        await client.until("Flushed")
        assert server.segments[0].text == "ä€😀"
        assert len(client.pongs) == len(text)


async def test_frames_sent_along_with_the_request_are_not_lost(autojump_clock, simulate):
    async with simulate(ms_per_char=10) as server:
        stream = await server.dial("simulator.test", 80)
        client = RawClient(stream)
        request = client.ws.send(client.request("/v1/speak", {"Authorization": "Token k"}))
        await stream.send_all(request + client.frame('{"type":"Speak","text":"x"}') + client.frame('{"type":"Flush"}'))
        await client.accepted()
        assert len(audio(await client.until("Flushed"))) == 480
