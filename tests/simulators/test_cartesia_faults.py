"""Every fault, as a client of Cartesia's simulator sees it on the wire."""

import base64
import json

import attrs
import pytest
import trio
from raw_client import EOF, Closed, RawClient, Refused
from test_cartesia_wire import (
    NEWEST,
    OLD,
    PATH,
    TEXT,
    ask,
    audio,
    cancel,
    connect,
    everything,
    kinds,
    options_from,
    request,
    simulate,
)

from voicetrio.simulators import Faults, tagged_pcm
from voicetrio.simulators.cartesia import CartesiaSimulator

HEADERS = {"X-API-Key": "some-secret-key", "Cartesia-Version": NEWEST}


async def silence(client, seconds=200):
    """Assert that nothing comes for a while."""
    with trio.move_on_after(seconds) as scope:
        assert await client.receive() is None
    assert scope.cancelled_caught


def faults_noted(server):
    return [record["data"]["name"] for record in server.log if record["event"] == "fault"]


# The handshake.


@pytest.mark.parametrize("without_length", [False, True])
@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 429, 500, 503, 599])
async def test_a_refused_upgrade_is_worded_as_cartesia_does(autojump_clock, status, without_length):
    async with simulate(refuse_status=status, refuse_without_length=without_length, retry_after=2.5) as server:
        with pytest.raises(Refused) as caught:
            await connect(server)
    refused = caught.value
    body = json.loads(refused.body)
    assert refused.status == status
    assert set(body) == {"error_code", "title", "message", "request_id"}
    assert body["error_code"] == ("concurrency_limited" if status == 429 else None)
    assert refused.headers["x-request-id"] == body["request_id"]
    assert refused.headers["retry-after"] == "2.5"
    assert ("content-length" in refused.headers) is not without_length


async def test_an_older_version_is_refused_in_plain_text(autojump_clock):
    async with simulate(refuse_status=429) as server:
        with pytest.raises(Refused) as caught:
            await connect(server, version=OLD)
    assert caught.value.headers["content-type"].startswith("text/plain")
    assert caught.value.body.startswith(b"Too many connections: ")


@pytest.mark.parametrize("handshake", ["eof", "silent", "garbage"])
async def test_a_handshake_that_fails(autojump_clock, handshake):
    async with simulate(handshake=handshake) as server:
        stream = await server.dial("simulator.test", 80)
        client = RawClient(stream)
        await stream.send_all(client.ws.send(client.request(PATH, HEADERS)))
        with trio.move_on_after(1000) as scope:
            answer = await stream.receive_some()
        assert scope.cancelled_caught == (handshake == "silent")
        if handshake != "silent":
            assert (b"not HTTP" in answer) == (handshake == "garbage")


# Messages that do not come.


async def test_accepted_and_silent(autojump_clock):
    async with simulate(accept_silent=True) as server:
        client = await connect(server)
        await ask(client, request(TEXT, "a"), request(TEXT, "b"))
        await client.ping(b"alive")
        await silence(client)
        assert client.pongs == [b"alive"]
        await client.stream.send_all(client.close_frame())
        assert await client.receive() == Closed(1000, "")


@pytest.mark.parametrize("frames", [0, 1, 23])
async def test_a_stall_after_some_chunks(autojump_clock, frames):
    async with simulate(stall_after=frames) as server:
        client = await connect(server)
        await ask(client, request(TEXT, add_timestamps=True))
        seen = []
        with trio.move_on_after(100):
            while True:
                seen.append(json.loads(await client.receive()))
        assert audio(seen) == tagged_pcm(0, 0, 960 * frames)
        await ask(client, cancel())
        await client.ping(b"alive")
        await silence(client, 100)
        assert client.pongs == [b"alive"]
    assert server.segments[0].sent == 960 * frames


async def test_empty_chunks_do_not_count_towards_a_stall(autojump_clock):
    async with simulate(stall_after=2, empty_frames=True) as server:
        client = await connect(server)
        await ask(client, request(TEXT))
        assert len(audio(await everything(client, 100))) == 2 * 1920


@pytest.mark.parametrize("speaking", [False, True])
async def test_never_answering_close(autojump_clock, speaking):
    async with simulate(never_close=True, speed=1.0) as server:
        client = await connect(server)
        if speaking:
            await ask(client, request(TEXT, "a"), request(TEXT, "b"))
            await client.receive()
        await client.stream.send_all(client.close_frame())
        with trio.move_on_after(0.03):  # what was sent before the Close frame came
            await client.receive()
        await silence(client)
        assert server.open_connections == 1


async def test_never_closing_an_idle_connection(autojump_clock):
    async with simulate(never_close=True, idle_timeout=10) as server:
        client = await connect(server)
        await silence(client)


async def test_half_open(autojump_clock):
    async with simulate(half_open_after=4) as server:
        client = await connect(server)
        await ask(client, request(TEXT))
        for _ in range(4):
            await client.receive()
        await ask(client, request("unread", "two"))
        await client.ping(b"dead?")
        await client.stream.send_all(client.close_frame())
        await silence(client)
        assert client.pongs == []
        assert "unread" not in json.dumps(server.log)
        assert server.open_connections == 1


# Endings.


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1008, "policy"), (1011, "restart"), (4001, "ours")])
async def test_a_close_frame_in_the_middle(autojump_clock, code, reason):
    async with simulate(close_after=5, close_code=code, close_reason=reason) as server:
        client = await connect(server)
        await ask(client, request(TEXT, "a"), request(TEXT, "b"), request(TEXT, "c"))
        seen = await client.until(Closed)
        assert seen[-1] == Closed(code, reason)
        assert await client.receive() is EOF
        await trio.testing.wait_all_tasks_blocked()
        assert server.open_connections == 0


async def test_a_close_frame_before_any_message(autojump_clock):
    async with simulate(close_after=0, audio_before_asked=1) as server:
        assert (await (await connect(server)).until(Closed)) == [Closed(1011, "")]


@pytest.mark.parametrize("messages", range(27))
async def test_tcp_dropped_after_every_message(autojump_clock, messages):
    async with simulate(drop_after_messages=messages) as server:
        client = await connect(server)
        seen = []
        with trio.fail_after(10):
            await ask(client, request(TEXT))
            while (message := await client.receive()) is not EOF:
                seen.append(message)
                if len(seen) > 24:
                    break
    assert len(seen) == min(messages, 25)  # 24 chunks and done


async def test_tcp_dropped_at_every_byte(autojump_clock):
    head = RawClient(None)
    asked = head.ws.send(head.request(PATH, HEADERS)) + head.frame(json.dumps(request("ab")))
    whole = None
    for count in [2000, *range(0, 500), 1999]:
        async with simulate(drop_after_bytes=count, ms_per_char=10) as server:
            stream = await server.dial("simulator.test", 80)
            await stream.send_all(asked)
            seen = b""
            with trio.move_on_after(10):
                while data := await stream.receive_some():
                    seen += data
        whole = whole or seen
        assert seen == whole[:count]
    assert len(whole) > 1500


async def test_a_dropped_connection_frees_its_contexts(autojump_clock):
    async with simulate(drop_after_messages=3, context_limit=1, connections=1) as server:
        client = await connect(server)
        await ask(client, request(TEXT))
        await client.until("done")
        client = await connect(server)
        await ask(client, request(TEXT))
        assert audio(await client.until("done")) == tagged_pcm(1, 0, 23040)


# Bent bytes.


async def test_one_byte_writes(autojump_clock):
    async with simulate(one_byte_writes=True, ms_per_char=10) as server:
        client = await connect(server)
        await ask(client, request("x"))
        assert audio(await client.until("done")) == tagged_pcm(0, 0, 240)


async def test_fragments_with_pings_between(autojump_clock):
    async with simulate(fragment=100, ms_per_char=10) as server:
        client = await connect(server)
        await ask(client, request("x"), request("y", "two"))
        seen = await client.until("done") + await client.until("done")
        assert audio(seen) == tagged_pcm(0, 0, 240)
        assert audio(seen, "two") == tagged_pcm(1, 0, 240)
        assert client.pings > 10


@pytest.mark.parametrize("encoding", ["pcm_s16le", "pcm_f32le", "pcm_mulaw"])
async def test_one_message_of_a_mebibyte_of_audio(autojump_clock, encoding):
    async with simulate(big_message=True) as server:
        client = await connect(server)
        await ask(client, request("x", output_format={"container": "raw", "encoding": encoding, "sample_rate": 24000}))
        seen = await client.until("done")
    assert kinds(seen) == [1, "done"]
    assert len(base64.b64decode(seen[0]["data"])) == 1 << 20
    assert server.segments[0].sent == server.segments[0].samples


@pytest.mark.parametrize("version", [NEWEST, OLD])
@pytest.mark.parametrize("after", [0, 1, 5])
@pytest.mark.parametrize("fault", ["unknown_message", "non_json", "wrong_shape", "error_frame"])
async def test_an_inserted_message(autojump_clock, fault, after, version):
    async with simulate(**{fault: after}) as server:
        client = await connect(server, version=version)
        await ask(client, request(TEXT, max_buffer_delay_ms=1000))
        seen = [await client.receive() for _ in range(26)]
        inserted = seen.pop(after)
        assert audio([json.loads(message) for message in seen]) == tagged_pcm(0, 0, 23040)
        assert json.loads(seen[-1])["type"] == "done"
        await ask(client, request(TEXT, "two", max_buffer_delay_ms=1000))
        assert kinds(await client.until("done")) == [24, "done"], "inserted once"
    if fault == "non_json":
        assert "not JSON" in inserted
        return
    inserted = json.loads(inserted)
    match fault:
        case "unknown_message":
            assert inserted["type"] == "from_the_future"
        case "wrong_shape":
            assert isinstance(inserted, list)
        case _:
            old, new = {"error"}, {"error_code", "title", "message", "request_id"}
            assert set(inserted) == {"type", "done", "status_code"} | (new if version == NEWEST else old)
            assert (inserted["type"], inserted["done"], inserted["status_code"]) == ("error", True, 500)
            assert inserted.get("request_id", client.headers["x-request-id"]) == client.headers["x-request-id"]


async def test_several_messages_inserted_at_once_between_several_contexts(autojump_clock):
    async with simulate(unknown_message=5, non_json=5, wrong_shape=5, error_frame=5) as server:
        client = await connect(server)
        await ask(client, *[request(TEXT, name) for name in "abc"])
        seen = [await client.receive() for _ in range(3 * 25 + 4)]
        await silence(client)
    assert sum("context_id" not in message for message in seen) == 4
    assert sorted(faults_noted(server)) == ["error_frame", "non_json", "unknown_message", "wrong_shape"]


# When they hold.


async def test_only_the_first_connections_suffer(autojump_clock):
    async with simulate(refuse_status=503, connections=2) as server:
        for _ in range(2):
            with pytest.raises(Refused):
                await connect(server)
        client = await connect(server)
        await ask(client, request(TEXT))
        assert len(audio(await client.until("done"))) == 46080


async def test_counts_begin_when_the_faults_are_set(autojump_clock):
    async with simulate() as server:
        client = await connect(server)
        await ask(client, request(TEXT))
        await client.until("done")
        server.options = attrs.evolve(server.options, faults=Faults(drop_after_messages=3))
        await ask(client, request(TEXT, "two"))
        assert len(await client.until("done")) == 3 + 1


# Clients that misbehave.


@pytest.mark.parametrize("count", [1, 2, 5, 9])
async def test_a_client_that_leaves_in_the_middle_of_a_frame(autojump_clock, count):
    async with simulate() as server:
        client = await connect(server)
        await client.stream.send_all(client.frame(json.dumps(request(TEXT)))[:count])
        await client.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert server.open_connections == 0


async def test_a_client_that_leaves_while_spoken_to(autojump_clock):
    async with simulate() as server:
        client = await connect(server)
        await ask(client, *[request("x" * 1000, f"{number}") for number in range(5)])
        await client.receive()
        await client.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert server.open_connections == 0
        assert all(segment.sent < segment.samples for segment in server.segments)


async def test_a_message_of_more_than_a_mebibyte_closes(autojump_clock):
    async with simulate() as server:
        client = await connect(server)
        await ask(client, "x" * ((1 << 20) + 1))
        assert (await client.receive()).code == 1009


async def test_more_contexts_than_any_plan_has_are_refused(autojump_clock):
    async with simulate(release="delay") as server:
        client = await connect(server)
        for number in range(1001):
            await ask(client, request("x", f"{number}", more=True))
        seen = await client.until("error")
        assert (seen[-1]["status_code"], seen[-1]["context_id"]) == (429, "1000")


# Real sockets.


async def test_a_turn_a_cancel_and_a_turn_on_a_real_socket():
    simulator = CartesiaSimulator(options_from({"speed": 1.0, "ms_per_char": 6000, "cancel": "immediate"}))
    async with simulator.serve() as server:
        with trio.fail_after(10):
            stream = await server.dial(server.host, server.port)
            client = await RawClient(stream).handshake(PATH, headers=HEADERS)
            await ask(client, request(TEXT))
            first = [json.loads(await client.receive())]
            await ask(client, cancel())
            first += await client.until("done")
            server.options = options_from({})
            await ask(client, request(TEXT, "two"))
            second = await client.until("done")
            await stream.aclose()
    assert audio(first) == tagged_pcm(0, 0, server.segments[0].sent)
    assert server.segments[0].cleared
    assert audio(second, "two") == tagged_pcm(1, 0, 23040)


async def test_a_client_that_does_not_read_holds_up_its_audio_and_nothing_else():
    async with CartesiaSimulator(options_from({})).serve() as server:
        with trio.fail_after(10):
            lazy = await RawClient(await server.dial(server.host, server.port)).handshake(PATH, headers=HEADERS)
            await ask(lazy, *[request("x" * 10_000, f"{number}") for number in range(3)])
            client = await RawClient(await server.dial(server.host, server.port)).handshake(PATH, headers=HEADERS)
            await ask(client, request(TEXT))
            assert len(audio(await client.until("done"))) == 46080
            assert not any(segment.sent == segment.samples for segment in server.segments[:3])
            await client.stream.aclose()
            await lazy.stream.aclose()
