"""The faults on Smallest's websocket, and clients that misbehave."""

import json

import attrs
import pytest
import trio
from raw_client import EOF, Closed, RawClient, Refused, runs
from smallest_client import (
    SAMPLES,
    TEXT,
    audio,
    connect,
    fragment,
    noted,
    request,
    simulated,
    status_of,
    statuses,
)

from voicetrio.simulators import Faults, _smallest_synthesizer, tagged_pcm

REQUEST = (
    b"GET /waves/v1/tts/live HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def faults_noted(server):
    return [data["name"] for data in noted(server, "fault")]


# The handshake.


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, "Bad Request"),
        (401, "Unauthorized"),
        (403, "Forbidden"),
        (429, "Too Many Requests"),
        (500, "Internal Server Error"),
        (503, "Service Unavailable"),
        (599, "Internal Server Error"),
    ],
)
@pytest.mark.parametrize("without_length", [False, True])
async def test_a_refused_upgrade(autojump_clock, status, error, without_length):
    async with simulated(refuse_status=status, refuse_without_length=without_length, retry_after=2.5) as server:
        with pytest.raises(Refused) as caught:
            await connect(server)
    assert caught.value.status == status
    assert json.loads(caught.value.body)["error"] == error
    assert caught.value.headers["retry-after"] == "2.5"
    assert caught.value.headers["x-request-id"]


@pytest.mark.parametrize(("handshake", "seen"), [("eof", b""), ("garbage", b"not HTTP")])
async def test_a_handshake_that_fails(autojump_clock, handshake, seen):
    async with simulated(handshake=handshake) as server:
        stream = await server.dial("simulator.test", 80)
        await stream.send_all(REQUEST)
        assert seen in await stream.receive_some()


async def test_a_slow_handshake(autojump_clock):
    async with simulated(handshake="slow", handshake_delay=7.5) as server:
        client = await connect(server)
        assert trio.current_time() == 7.5
        assert len(await client.turn()) == 2 * SAMPLES


# Messages that do not come.


@pytest.mark.parametrize("frames", [0, 1, 23])
async def test_a_stall_after_some_chunks_counts_them_although_they_are_text(autojump_clock, frames):
    async with simulated(stall_after=frames) as server:
        client = await connect(server)
        await client.ask(word_timestamps=True, voice_id="meher")
        seen = await client.hear(30)
        assert len(audio(seen)) == 1920 * frames
        await client.ping(b"alive")
        await client.hear(1)
        assert client.pongs == [b"alive"]
    assert server.segments[0].sent == 960 * frames
    assert faults_noted(server) == ["stall_after"]


async def test_empty_chunks_do_not_count_as_audio(autojump_clock):
    async with simulated(stall_after=2, empty_frames=True) as server:
        client = await connect(server)
        await client.ask()
        assert [len(message["pcm"]) for message in await client.hear(30)] == [0, 1920, 0, 1920, 0]


async def test_accepted_and_silent(autojump_clock):
    async with simulated(accept_silent=True) as server:
        client = await connect(server)
        await client.ask()
        assert await client.hear(1000) == []


async def test_half_open(autojump_clock):
    async with simulated(half_open_after=4) as server:
        client = await connect(server)
        await client.ask()
        assert len(await client.hear(10)) == 4
        await client.ask("unread")
        assert await client.hear(1000) == []
        assert "unread" not in json.dumps(server.log)
        assert server.open_connections == 1


async def test_never_answering_close(autojump_clock):
    async with simulated(never_close=True) as server:
        client = await connect(server)
        await client.stream.send_all(client.close_frame())
        assert await client.hear(1000) == []


# Endings.


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1011, "worker restart"), (4001, "ours")])
async def test_a_close_frame_in_the_middle(autojump_clock, code, reason):
    async with simulated(close_after=5, close_code=code, close_reason=reason) as server:
        client = await connect(server)
        await client.ask()
        seen = await client.until(None)
        assert statuses(seen) == [5, Closed(code, reason)]
        assert await client.next() is EOF
        await trio.testing.wait_all_tasks_blocked()
        assert [data["cleared"] for data in noted(server, "segment_ended")] == [False]


@pytest.mark.parametrize("messages", range(27))
async def test_tcp_dropped_after_every_message(autojump_clock, messages):
    async with simulated(drop_after_messages=messages) as server:
        client = await connect(server)
        seen = []
        with trio.fail_after(20):
            await client.ask()
            while (message := await client.next()) is not EOF:
                seen.append(message)
                if len(seen) > 24:
                    break
    # 24 chunks, complete: the connection is dropped after the last as well.
    assert len(seen) == min(messages, 25)


async def test_tcp_dropped_at_every_byte(autojump_clock):
    whole = None
    for count in [10_000, *range(0, 500), 5000]:
        async with simulated(drop_after_bytes=count, ms_per_char=100) as server:
            stream = await server.dial("simulator.test", 80)
            client = RawClient(stream)
            await stream.send_all(REQUEST)
            client.ws.send(client.request("/", {}))  # only to be able to send frames
            await stream.send_all(client.frame(json.dumps(request("abcd"))))
            seen = b""
            while data := await stream.receive_some():
                seen += data
        whole = whole or seen
        assert seen == whole[:count]
    assert len(whole) == 10_000


# Bent bytes.


async def test_one_byte_writes(autojump_clock):
    async with simulated(one_byte_writes=True, ms_per_char=10) as server:
        client = await connect(server)
        assert await client.turn("x") == tagged_pcm(0, 0, 240)


async def test_fragments_with_pings_between(autojump_clock):
    async with simulated(fragment=100) as server:
        client = await connect(server)
        assert await client.turn() == tagged_pcm(0, 0, SAMPLES)
        assert client.pings > 24 * 25


async def test_one_message_of_a_mebibyte(autojump_clock):
    async with simulated(big_message=True) as server:
        client = await connect(server)
        await client.ask("x")
        seen = await client.until("complete")
        assert statuses(seen) == [1, "complete"]
        assert runs(audio(seen)) == [(0, 0, 1 << 19)]


@pytest.mark.parametrize(
    ("fault", "shape", "check"),
    [
        ("unknown_message", "message", lambda message: message["status"] == "from_the_future"),
        ("non_json", "message", lambda message: "not JSON" in message),
        ("wrong_shape", "message", lambda message: isinstance(message, list)),
        ("error_frame", "message", lambda message: set(message) == {"status", "message"}),
        ("error_frame", "error", lambda message: set(message["error"]) == {"message", "code"}),
    ],
)
@pytest.mark.parametrize("after", [0, 1, 5])
async def test_an_inserted_message(autojump_clock, fault, shape, check, after):
    async with simulated(**{fault: after, "error_shape": shape}) as server:
        client = await connect(server)
        await client.ask()
        seen = [await client.next() for _ in range(26)]
        assert check(seen.pop(after))
        assert audio(seen) == tagged_pcm(0, 0, SAMPLES)
        assert status_of(seen[-1]) == "complete"
        assert len(await client.turn()) == 2 * SAMPLES, "inserted once"


async def test_only_the_first_connections_suffer(autojump_clock):
    async with simulated(refuse_status=503, connections=1) as server:
        with pytest.raises(Refused):
            await connect(server)
        assert len(await (await connect(server)).turn()) == 2 * SAMPLES


async def test_faults_can_be_set_while_a_socket_is_open(autojump_clock):
    async with simulated() as server:
        client = await connect(server)
        await client.turn()
        server.options = attrs.evolve(server.options, faults=Faults(drop_after_messages=3))
        await client.ask()
        assert statuses(await client.until(None)) == [3, EOF]
        await trio.testing.wait_all_tasks_blocked()
        assert server.open_connections == 0


# Clients that misbehave.


async def test_a_client_that_closes_takes_back_what_is_not_said(autojump_clock):
    async with simulated(speed=1.0, first_audio=0) as server:
        client = await connect(server)
        for _ in range(3):
            await client.ask(complete_backoff_ms=4000)
        await client.send(fragment("Waits"))
        await client.next()
        await client.stream.send_all(client.close_frame(1000, "enough"))
        assert (await client.until(None))[-1] == Closed(1000, "enough")
        await trio.testing.wait_all_tasks_blocked()
        assert [segment.cleared for segment in server.segments] == [True, True, True]
        assert [data["number"] for data in noted(server, "segment_ended")] == [0, 1, 2]
        assert server.open_connections == 0


async def test_a_fault_takes_nothing_back(autojump_clock):
    async with simulated(drop_after_messages=3) as server:
        client = await connect(server)
        await client.ask()
        await client.ask()
        assert statuses(await client.until(None)) == [3, EOF]
        await trio.testing.wait_all_tasks_blocked()
        assert [segment.cleared for segment in server.segments] == [False, False]


async def test_a_client_that_cannot_be_written_to_has_left(autojump_clock):
    async with simulated() as server:
        client = await connect(server)
        await client.stream.receive_stream.aclose()
        await client.ask()
        await trio.testing.wait_all_tasks_blocked()
        assert [data["cleared"] for data in noted(server, "segment_ended")] == [True]


async def test_what_was_said_before_a_client_closes_was_not_taken_back(autojump_clock):
    async with simulated() as server:
        client = await connect(server)
        await client.ask(complete_backoff_ms=4000)
        await client.hear(1)
        await client.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert noted(server, "segment_ended") == [{"number": 0, "sent": SAMPLES, "cleared": False}]


@pytest.mark.parametrize("frame", [b"\xf3\x80\x00\x00\x00\x00", b"\x81\x02hi", b"\x80\x80\x00\x00\x00\x00"])
async def test_a_client_that_breaks_the_websocket_protocol(autojump_clock, frame):
    async with simulated() as server:
        client = await connect(server)
        await client.stream.send_all(frame)
        assert (await client.next()).code == 1002
        assert await client.next() is EOF


async def test_a_message_over_a_mebibyte_closes_the_socket(autojump_clock):
    async with simulated() as server:
        client = await connect(server)
        await client.ask("x" * (1 << 20))
        assert (await client.next()).code == 1009


async def test_more_requests_than_are_kept_are_not_read_yet(autojump_clock, monkeypatch):
    monkeypatch.setattr(_smallest_synthesizer, "MAX_RELEASES", 10)
    async with simulated(speed=1.0, ms_per_char=1, first_audio=0.001) as server:
        client = await connect(server)
        for number in range(50):
            await client.ask("abcd", request_id=str(number))
        await trio.testing.wait_all_tasks_blocked()
        assert len(server.segments) < 20
        seen = []
        while sum(status_of(message) == "complete" for message in seen) < 50:
            seen += await client.until("complete")
        assert len(audio(seen)) == 50 * 2 * 96


async def test_frames_sent_along_with_the_request_are_not_lost(autojump_clock):
    async with simulated() as server:
        stream = await server.dial("simulator.test", 80)
        client = RawClient(stream)
        await stream.send_all(
            client.ws.send(client.request("/waves/v1/tts/live", {"Authorization": "Bearer k"}))
            + client.frame(json.dumps(request()))
        )
        await client.accepted()
        assert json.loads(await client.receive())["status"] == "chunk"
        assert server.segments[0].text == TEXT
