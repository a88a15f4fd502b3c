"""Faults as they look in a session with LMNT."""

import json
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from lmnt_client import DIALECTS, EOF, PATH, TEXT, TYPED, Closed, LMNTClient, audio, init, options_from, shown
from raw_client import Refused, runs

from voicetrio.simulators import Faults, tagged_pcm
from voicetrio.simulators.lmnt import LMNTSimulator

REQUEST = (
    f"GET {PATH} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
).encode()


@pytest.fixture
def simulate():
    """`async with simulate(frame_ms=20, stall_after=3) as server`."""

    @asynccontextmanager
    async def simulate(**fields):
        async with LMNTSimulator(options_from(fields)).serve_in_memory() as server:
            yield server

    return simulate


async def connect(server, dialect="1.2"):
    """A client that has asked for a turn at once, before it knows anything."""
    client = await LMNTClient(await server.dial("simulator.test", 80)).handshake()
    client.dialect = dialect
    await client.send(init(dialect))
    await client.say(TEXT)
    await client.flush()
    return client


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


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (403, {"error": "Forbidden"}),
        (404, {"detail": "Not Found"}),
        (429, {"error": "Too many requests"}),
        (503, {"error": "Service unavailable"}),
        (599, {"error": "Status 599"}),
    ],
)
async def test_a_refused_upgrade(autojump_clock, simulate, status, body):
    async with simulate(refuse_status=status, retry_after=2.5) as server:
        with pytest.raises(Refused) as caught:
            await connect(server)
    assert (caught.value.status, json.loads(caught.value.body)) == (status, body)
    assert caught.value.headers["retry-after"] == "2.5"
    assert caught.value.headers["content-type"] == "application/json"


async def test_accepted_and_silent(autojump_clock, simulate):
    async with simulate(accept_silent=True) as server:
        client = await connect(server)
        await client.ping(b"alive")
        await silence(client)
        assert client.pongs == [b"alive"]
        await client.stream.send_all(client.close_frame())
        assert await client.receive() == Closed(1000, "")


# In the middle.


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("frames", [0, 1, 23])
async def test_a_stall_after_some_frames(autojump_clock, simulate, dialect, frames):
    async with simulate(stall_after=frames) as server:
        client = await connect(server, dialect)
        seen = [await client.message() for _ in range(frames + (dialect in TYPED))]
        await trio.testing.wait_all_tasks_blocked()
        if dialect != "1.0":
            await client.reset()
        await client.ping(b"alive")
        await silence(client)
        assert client.pongs == [b"alive"]
    assert runs(audio(seen)) == ([(0, 0, 960 * frames)] if frames else [])
    assert server.segments[0].sent == 960 * frames
    assert faults_noted(server) == ["stall_after"]


async def test_a_stall_counts_neither_word_times_nor_empty_frames(autojump_clock, simulate):
    async with simulate(stall_after=10, empty_frames=True) as server:
        client = await LMNTClient(await server.dial("simulator.test", 80)).handshake()
        await client.begin("1.2", return_timestamps=True)
        await client.say(TEXT)
        await client.flush()
        seen = []
        with trio.move_on_after(10):
            while True:
                seen.append(await client.message())
    assert runs(audio(seen)) == [(0, 0, 9600)]


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1002, ""), (1008, "policy"), (1011, "broken")])
async def test_a_close_frame_in_the_middle(autojump_clock, simulate, code, reason):
    async with simulate(close_after=5, close_code=code, close_reason=reason) as server:
        client = await connect(server)
        assert shown(await client.until(Closed)) == ["ready", 4, Closed(code, reason)]
        assert await client.receive() is EOF


async def test_never_closing_after_the_end_of_the_text(autojump_clock, simulate):
    async with simulate(never_close=True) as server:
        client = await connect(server)
        await client.finish()
        assert shown(await client.answer()) == ["ready", 24, ("flush", 1)]
        await silence(client)
        assert server.open_connections == 1


async def test_never_closing_after_an_error(autojump_clock, simulate):
    async with simulate(never_close=True, api_key="right") as server:
        client = await connect(server)
        assert (await client.message())["error"]["type"] == "authentication_error"
        await silence(client)


async def test_half_open(autojump_clock, simulate):
    async with simulate(half_open_after=4) as server:
        client = await connect(server)
        for _ in range(4):
            await client.receive()
        await client.say("unread")
        await client.ping(b"dead?")
        await silence(client)
        assert client.pongs == []
        assert "unread" not in json.dumps(server.log)
        assert server.open_connections == 1


@pytest.mark.parametrize("messages", range(1, 27))
async def test_tcp_dropped_after_every_message(autojump_clock, simulate, messages):
    async with simulate(drop_after_messages=messages) as server:
        client = await connect(server)
        seen = []
        while (message := await client.receive()) is not EOF:
            seen.append(message)
    assert len(seen) == messages  # ready, 24 frames, flush_complete


async def test_tcp_dropped_at_every_byte(autojump_clock, simulate):
    whole = None
    turn = [init(), {"type": "text", "text": "abcd"}, {"type": "flush", "nonce": 1}]
    for count in [10_000, *range(0, 500), 5000]:
        async with simulate(drop_after_bytes=count, ms_per_char=100) as server:
            stream = await server.dial("simulator.test", 80)
            client = LMNTClient(stream)
            await stream.send_all(REQUEST + b"".join(client.frame(json.dumps(message)) for message in turn))
            seen = await everything(stream)
        whole = whole or seen
        assert seen == whole[:count]
    assert len(whole) == 10_000


# Bent bytes.


async def test_one_byte_writes(autojump_clock, simulate):
    async with simulate(one_byte_writes=True, ms_per_char=1) as server:
        client = await connect(server)
        assert audio(await client.answer()) == tagged_pcm(0, 0, 384)


async def test_fragments_with_pings_between(autojump_clock, simulate):
    async with simulate(fragment=100, ms_per_char=1) as server:
        client = await connect(server)
        assert audio(await client.answer()) == tagged_pcm(0, 0, 384)
        assert client.pings == 1 + 8  # ready, 768 bytes of audio; the one that follows flush_complete is on its way


@pytest.mark.parametrize(("name", "width"), [("pcm_s16le", 2), ("pcm_f32le", 4), ("ulaw", 1)])
async def test_one_message_of_a_mebibyte(autojump_clock, simulate, name, width):
    async with simulate(big_message=True) as server:
        client = await LMNTClient(await server.dial("simulator.test", 80)).handshake()
        await client.begin("1.2", format=name)
        seen = await client.turn("x")
    assert [len(message) - 46 * (name == "ulaw") for message in seen[:-1]] == [1 << 20]
    assert server.segments[0].sent == server.segments[0].samples == (1 << 20) // width


# Messages that are inserted.


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("unknown_message", lambda text: json.loads(text)["type"] == "FromTheFuture"),
        ("non_json", lambda text: "not JSON" in text),
        ("wrong_shape", lambda text: isinstance(json.loads(text), list)),
    ],
)
@pytest.mark.parametrize("after", [0, 1, 5])
async def test_an_inserted_message(autojump_clock, simulate, fault, check, after):
    async with simulate(**{fault: after}) as server:
        client = await connect(server)
        seen = [await client.receive() for _ in range(27)]
        assert check(seen.pop(after))
        assert audio(seen) == tagged_pcm(0, 0, 23040)
        assert shown(await client.turn(TEXT)) == [24, ("flush", 2)], "inserted once"


def error_shape(message, kind, text):
    """What an error looks like in either kind of dialect."""
    if "type" not in message:
        return message == {"error": text}
    assert message.pop("request_id")
    return message == {"type": "error", "error": {"type": kind, "message": text}}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("after", [0, 1, 5])
async def test_an_error_in_the_connections_dialect_and_the_close(autojump_clock, simulate, dialect, after):
    async with simulate(error_frame=after, error_type="rate_limit_error") as server:
        client = await connect(server, dialect)
        *before, error, closed = await client.until(Closed)
        assert await client.receive() is EOF
    assert len(before) == after
    assert ("type" in error) is (dialect in TYPED)
    assert error_shape(error, "rate_limit_error", "Too many requests")
    assert closed == Closed(1002, "")
    assert faults_noted(server) == ["error_frame"]
    assert runs(audio(before)) == ([(0, 0, n * 960)] if (n := after - (dialect in TYPED)) > 0 else [])


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("after", [0, 1, 5])
async def test_an_error_after_which_it_goes_on(autojump_clock, simulate, dialect, after):
    async with simulate(error_frame=after, error_closes=False) as server:
        client = await connect(server, dialect)
        await client.finish()
        seen = await client.until(Closed)
    error = seen.pop(after)
    assert ("type" in error) is (dialect in TYPED)
    assert error_shape(error, "internal_server_error", "Internal server error")
    assert audio(seen) == tagged_pcm(0, 0, 23040)
    assert seen[-1] == Closed(1000, "")


@pytest.mark.parametrize(
    ("after", "expected"), [(0, ["internal_server_error"]), (1, ["authentication_error", "internal_server_error"])]
)
async def test_an_error_by_fault_may_meet_another(autojump_clock, simulate, after, expected):
    async with simulate(error_frame=after, api_key="right") as server:
        client = await connect(server)
        *errors, closed = await client.until(Closed)
    assert [message["error"]["type"] for message in errors] == expected
    assert closed == Closed(1002, "")


async def test_no_audio_follows_an_error(autojump_clock, simulate):
    # As fast as the client takes it, so that audio is under way at any moment.
    for frames in range(20):
        async with simulate(ms_per_char=1000) as server:
            client = await connect(server)
            seen = [await client.message() for _ in range(1 + frames)]
            await client.send({"type": "nonsense"})
            seen += await client.until(Closed)
            assert shown(seen)[-2:] == ["error", Closed(1002, "")]


@pytest.mark.parametrize("ahead", range(5))
async def test_no_second_error_follows_the_first(autojump_clock, simulate, ahead):
    for after in range(1, 16):
        async with simulate(ms_per_char=1000, error_frame=after + ahead, error_type="rate_limit_error") as server:
            client = await connect(server)
            for _ in range(after):
                await client.receive()
            await client.send({"type": "nonsense"})
            seen = await client.until(Closed)
        assert seen[-1] == Closed(1002, "")
        errors = [message["error"]["type"] for message in seen if isinstance(message, dict) and "error" in message]
        # What the fault inserts may follow what the client caused, but not the other way round.
        assert errors in (
            ["rate_limit_error"],
            ["invalid_request_error"],
            ["invalid_request_error", "rate_limit_error"],
        )


async def test_connections_at_once_have_their_own_errors(autojump_clock, simulate):
    async with simulate(error_frame=2, error_closes=False) as server:
        clients = [await connect(server, dialect) for dialect in ("1.2", "2")]
        errors = []
        for client in clients:
            seen = await client.answer()
            errors += [message for message in seen if isinstance(message, dict) and "error" in message]
    typed, untyped = errors
    assert ("type" in typed, "type" in untyped) == (True, False)


# When they hold.


async def test_only_the_first_connections_suffer(autojump_clock, simulate):
    async with simulate(error_frame=1, connections=2) as server:
        for _ in range(2):
            assert shown(await (await connect(server)).until(Closed)) == ["ready", "error", Closed(1002, "")]
        assert shown(await (await connect(server)).answer()) == ["ready", 24, ("flush", 1)]


async def test_counts_begin_when_the_faults_are_set(autojump_clock, simulate):
    async with simulate() as server:
        client = await connect(server)
        await client.answer()
        server.options = attrs.evolve(server.options, faults=Faults(error_frame=3))
        assert shown(await client.turn(TEXT)) == [3, "error", Closed(1002, ""), EOF]


# Clients that leave.


async def test_a_client_that_leaves_while_spoken_to(autojump_clock, simulate):
    async with simulate(speed=1.0) as server:
        client = await connect(server)
        await client.receive()
        await client.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(1)
        assert server.open_connections == 0
        assert server.segments[0].sent < server.segments[0].samples


async def test_a_client_that_never_sends_an_init(autojump_clock, simulate):
    async with simulate() as server:
        client = await LMNTClient(await server.dial("simulator.test", 80)).handshake()
        await silence(client)
        await client.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert server.open_connections == 0


async def test_messages_sent_along_with_the_request_are_not_lost(autojump_clock, simulate):
    async with simulate(ms_per_char=10) as server:
        stream = await server.dial("simulator.test", 80)
        client = LMNTClient(stream)
        request = client.ws.send(client.request(PATH, {}))
        messages = [init(), {"type": "text", "text": "x"}, {"type": "flush", "nonce": 1}]
        await stream.send_all(request + b"".join(client.frame(json.dumps(message)) for message in messages))
        await client.accepted()
        assert len(audio(await client.answer())) == 480


async def test_a_client_that_floods_is_not_read_until_it_reads(autojump_clock, simulate):
    async with simulate(first_audio=1.0) as server:
        client = await LMNTClient(await server.dial("simulator.test", 80)).handshake()
        await client.begin()
        for nonce in range(1, 1501):
            await client.send({"type": "text", "text": "x"})
            await client.send({"type": "flush", "nonce": nonce})
        await trio.testing.wait_all_tasks_blocked()
        assert len(server.segments) < 1010
        for nonce in range(1, 1501):
            assert (await client.answer())[-1]["nonce"] == nonce
