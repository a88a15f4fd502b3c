"""Faults as they look in the gateway's simulated speech."""

import json

import attrs
import pytest
import trio
from gateway_tts_client import GOOGLE, TARGET, TEXT, GatewayTTSClient, connect, serving, shown
from raw_client import EOF, Closed, Refused, audio, runs

from voicetrio.simulators import Faults, tagged_pcm

REQUEST = (
    f"GET {TARGET} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
).encode()


async def asked(server):
    """A client that has asked for a turn at once."""
    client = await connect(server)
    await client.say(TEXT)
    return client


async def silence(client, seconds=1000):
    with trio.move_on_after(seconds) as scope:
        assert await client.receive() is None
    assert scope.cancelled_caught


async def everything(stream):
    seen = b""
    while data := await stream.receive_some():
        seen += data
    return seen


# The handshake.


@pytest.mark.parametrize("status", [401, 403, 429, 503])
async def test_a_refused_upgrade(autojump_clock, status):
    async with serving(refuse_status=status, retry_after=2.5) as server:
        with pytest.raises(Refused) as caught:
            await asked(server)
    assert (caught.value.status, json.loads(caught.value.body)) == (status, {"error": f"status {status}"})
    assert caught.value.headers["retry-after"] == "2.5"


async def test_a_handshake_that_is_refused_cut_or_spoiled(autojump_clock):
    async with serving(handshake="refuse") as server:
        with pytest.raises(OSError, match="refused"):
            await asked(server)
    for kind, seen in (("eof", b""), ("garbage", b"\x16\x03\x01 this is not HTTP \x00\xff\r\n\r\n")):
        async with serving(handshake=kind) as server:
            stream = await server.dial("simulator.test", 80)
            await stream.send_all(REQUEST)
            assert await everything(stream) == seen


@pytest.mark.parametrize(("kind", "seconds"), [("slow", 5.0), ("silent", None)])
async def test_a_handshake_that_takes_its_time(autojump_clock, kind, seconds):
    async with serving(handshake=kind) as server:
        with trio.move_on_after(100) as scope:
            await asked(server)
        assert scope.cancelled_caught == (seconds is None)
        assert seconds is None or trio.current_time() == pytest.approx(seconds)


async def test_accepted_and_silent(autojump_clock):
    async with serving(accept_silent=True) as server:
        client = await asked(server)
        await client.ping(b"alive")
        await silence(client)
        assert client.pongs == [b"alive"]


# In the middle.


@pytest.mark.parametrize("frames", [0, 1, 23])
async def test_a_stall_after_some_frames(autojump_clock, frames):
    async with serving(stall_after=frames) as server:
        client = await asked(server)
        seen = [await client.message() for _ in range(frames)]
        await silence(client)
    assert runs(audio(seen)) == ([(0, 0, 960 * frames)] if frames else [])
    assert server.segments[0].sent == 960 * frames


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1008, "policy"), (1011, "broken")])
async def test_a_close_frame_in_the_middle(autojump_clock, code, reason):
    async with serving(close_after=5, close_code=code, close_reason=reason) as server:
        client = await asked(server)
        assert shown([await client.message() for _ in range(6)]) == [5, Closed(code, reason)]
        assert await client.receive() is EOF


async def test_half_open(autojump_clock):
    async with serving(half_open_after=4) as server:
        client = await asked(server)
        for _ in range(4):
            await client.receive()
        await client.say("unread")
        await silence(client)
        assert "unread" not in json.dumps(server.log)
        assert server.open_connections == 1


@pytest.mark.parametrize("messages", range(1, 26))
async def test_tcp_dropped_after_every_message(autojump_clock, messages):
    async with serving(drop_after_messages=messages) as server:
        client = await asked(server)
        seen = []
        while (message := await client.receive()) is not EOF:
            seen.append(message)
    assert len(seen) == messages  # 24 frames and a completion


async def test_tcp_dropped_at_every_byte(autojump_clock):
    whole = None
    turn = [{"type": "config", "data": GOOGLE}, {"type": "text", "data": "ab"}, {"type": "flush"}]
    for count in [4000, *range(0, 500), 2000]:
        async with serving(drop_after_bytes=count) as server:
            stream = await server.dial("simulator.test", 80)
            client = GatewayTTSClient(stream)
            await stream.send_all(REQUEST + b"".join(client.frame(json.dumps(message)) for message in turn))
            seen = await everything(stream)
        whole = whole or seen
        assert seen == whole[:count]
    assert len(whole) == 4000


async def test_never_closing_keeps_the_socket(autojump_clock):
    async with serving(never_close=True) as server:
        client = await asked(server)
        await client.completed()
        await client.stream.send_all(client.close_frame())
        await silence(client)
        assert server.open_connections == 1


# Bent bytes.


@pytest.mark.parametrize("how", ["json", "binary"])
async def test_one_byte_writes_and_fragments(autojump_clock, how):
    for fields in ({"one_byte_writes": True}, {"fragment": 100}):
        async with serving(ms_per_char=1, audio=how, **fields) as server:
            client = await asked(server)
            assert audio(await client.completed()) == tagged_pcm(0, 0, 384)


@pytest.mark.parametrize("how", ["json", "binary"])
async def test_one_message_of_a_mebibyte(autojump_clock, how):
    async with serving(big_message=True, audio=how) as server:
        client = await asked(server)
        assert [len(message) for message in (await client.completed())[:-1]] == [1 << 20]
    assert server.segments[0].sent == server.segments[0].samples == 1 << 19


# Messages that are inserted.

INSERTED = {
    "unknown_message": lambda text: json.loads(text)["type"] == "FromTheFuture",
    "non_json": lambda text: "not JSON" in text,
    "wrong_shape": lambda text: isinstance(json.loads(text), list),
}


@pytest.mark.parametrize(("fault", "check"), INSERTED.items())
@pytest.mark.parametrize("after", [0, 1, 5])
async def test_an_inserted_message(autojump_clock, fault, check, after):
    async with serving(audio="binary", **{fault: after}) as server:
        client = await asked(server)
        seen = [await client.receive() for _ in range(26)]
        assert check(seen.pop(after))
        assert audio(seen) == tagged_pcm(0, 0, 23040)


SHAPES = {
    "data.error": {"type": "error", "data": {"error": "broken"}},
    "data": {"type": "error", "data": "broken"},
    "message": {"type": "error", "message": "broken"},
    "error": {"type": "error", "error": {"message": "broken"}},
    "top": {"error": "broken"},
    "event": {"type": "event", "data": {"eventType": "ERROR", "error": "broken"}},
    "plain": "broken",
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("after", [0, 5])
async def test_an_error_in_every_shape(autojump_clock, shape, after):
    async with serving(error_frame=after, error_shape=shape, error_words="broken") as server:
        client = await asked(server)
        seen = [await client.message() for _ in range(26)]
    assert seen.pop(after) == SHAPES[shape]
    assert audio(seen) == tagged_pcm(0, 0, 23040)


# When they hold, and clients that leave.


async def test_only_the_first_connections_suffer(autojump_clock):
    async with serving(drop_after_messages=1, connections=1) as server:
        assert shown(await (await asked(server)).completed()) == [1, EOF]
        assert shown(await (await asked(server)).completed()) == [24, "*"]


async def test_counts_begin_when_the_faults_are_set(autojump_clock):
    async with serving() as server:
        client = await asked(server)
        await client.completed()
        server.options = attrs.evolve(server.options, faults=Faults(close_after=3))
        await client.say(TEXT)
        assert shown(await client.completed()) == [3, Closed(1011, "")]


async def test_a_client_that_leaves_while_spoken_to(autojump_clock):
    async with serving(speed=1.0) as server:
        client = await asked(server)
        await client.receive()
        await client.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(1)
        assert server.open_connections == 0
        assert server.segments[0].sent < server.segments[0].samples


async def test_a_client_that_floods_is_not_read_until_it_reads(autojump_clock):
    async with serving(first_audio=1.0) as server:
        client = await connect(server)
        for _ in range(1500):
            await client.say("x")
        await trio.testing.wait_all_tasks_blocked()
        assert len(server.segments) < 1010
        assert shown(await client.completed(1500)).count("*") == 1500
