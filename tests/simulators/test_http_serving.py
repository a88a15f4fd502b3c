"""HTTP of the simulators' base: several exchanges on a connection, bodies in pieces, clients that leave."""

import pytest
import trio
from smallest_client import HttpClient

from voicetrio.simulators import Disconnected, Simulator, SimulatorOptions


class Plain(Simulator[SimulatorOptions]):
    """Answers by what the path asks for."""

    path = "/"

    async def handle(self, connection):
        if connection.request.path == "/whole":
            await connection.answer(200, headers=[("X-Kind", "whole")], body=connection.request.body)
        elif connection.request.path == "/refuse":
            await connection.refuse(418, body=b"tea")
        elif connection.request.upgrade:
            peer = await connection.accept()
            await peer.run(lambda: peer.send("hello"))
        else:
            await connection.stream(getattr(self, connection.request.path[1:]), status=201, inserts={"non_json": b"!"})

    async def pieces(self, body):
        for piece in (b"one", b"", b"two"):
            await body.send(piece)
            await trio.sleep(1)

    async def nothing(self, body):
        await trio.lowlevel.checkpoint()

    async def cut(self, body):
        await body.send(b"one")
        raise Disconnected("cut")

    async def mistake(self, body):
        raise ZeroDivisionError

    async def endless(self, body):
        while True:
            await body.send(b"x" * 60_000)


def serve(*pairs):
    return Plain(SimulatorOptions.parse(pairs)).serve_in_memory()


async def client_of(server):
    return HttpClient(await server.dial("simulator.test", 80))


def events(server):
    return [record["event"] for record in server.log]


async def test_a_connection_carries_whole_answers_and_streams(autojump_clock):
    async with serve() as server:
        client = await client_of(server)
        for _ in range(2):
            whole = await client.post("/whole", body=b"body")
            assert (whole.status, whole.body, whole.headers["connection"]) == (200, b"body", "keep-alive")
            streamed = await client.post("/pieces")
            assert (streamed.status, streamed.pieces, streamed.ended) == (201, [b"one", b"two"], True)
            assert (await client.post("/nothing")).body == b""
        assert server.connections == 1
        refused = await client.post("/refuse")
        assert (refused.status, refused.body, refused.headers["connection"]) == (418, b"tea", "close")
        assert await client.stream.receive_some() == b""
    assert events(server) == ["opened", *["request", "answered"] * 6, "request", "refused", "closed"]


async def test_a_client_may_ask_for_an_end(autojump_clock):
    async with serve() as server:
        for target in ("/whole", "/pieces"):
            client = await client_of(server)
            answer = await client.post(target, headers={"Connection": "close"})
            assert (answer.ended, answer.headers["connection"]) == (True, "close")
            assert await client.stream.receive_some() == b""


async def test_http_1_0_has_no_chunks(autojump_clock):
    async with serve() as server:
        stream = await server.dial("simulator.test", 80)
        await stream.send_all(b"POST /pieces HTTP/1.0\r\n\r\n")
        seen = b""
        while data := await stream.receive_some():
            seen += data
        assert b"chunked" not in seen
        assert seen.endswith(b"\r\n\r\nonetwo")


async def test_a_kept_connection_that_is_silent_is_closed(autojump_clock):
    async with serve() as server:
        client = await client_of(server)
        await client.post("/whole")
        assert await client.stream.receive_some() == b""
        assert trio.current_time() == 75
        await trio.testing.wait_all_tasks_blocked()
        assert events(server)[-1] == "closed"
        assert "disconnected" not in events(server)


async def test_a_request_that_is_begun_must_be_ended(autojump_clock):
    async with serve() as server:
        client = await client_of(server)
        await client.post("/whole")
        await client.stream.send_all(b"POST /who")
        assert await client.stream.receive_some() == b""
        assert trio.current_time() == 30
        assert "disconnected" in events(server)


async def test_junk_after_a_request_is_a_bad_request(autojump_clock):
    async with serve() as server:
        client = await client_of(server)
        await client.post("/whole")
        await client.stream.send_all(b"\x16\x03\x01\r\n\r\n")
        assert (await client.stream.receive_some()).startswith(b"HTTP/1.1 400 ")
        assert await client.stream.receive_some() == b""


async def test_requests_in_one_write_are_answered_in_order(autojump_clock):
    async with serve() as server:
        stream = await server.dial("simulator.test", 80)
        one = b"POST /whole HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"
        await stream.send_all(one + b"abc" + one + b"def" + b"POST /refuse HTTP/1.1\r\nHost: x\r\n\r\n")
        seen = b""
        while data := await stream.receive_some():
            seen += data
        assert [seen.find(body) > 0 for body in (b"abc", b"def", b"tea")] == [True, True, True]
        assert seen.index(b"abc") < seen.index(b"def") < seen.index(b"tea")


async def test_a_client_that_waits_for_leave_to_send_its_body_gets_it(autojump_clock):
    async with serve() as server:
        stream = await server.dial("simulator.test", 80)
        await stream.send_all(b"POST /whole HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert await stream.receive_some() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await stream.send_all(b"abc")
        assert (await stream.receive_some()).endswith(b"abc")


async def test_a_websocket_may_follow_on_the_same_connection(autojump_clock):
    async with serve() as server:
        client = await client_of(server)
        await client.post("/whole")
        await client.stream.send_all(
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert (await client.stream.receive_some()).startswith(b"HTTP/1.1 101 ")
        assert await client.stream.receive_some() == b"\x81\x05hello"


async def test_a_body_may_be_cut(autojump_clock):
    async with serve() as server:
        answer = await (await client_of(server)).post("/cut")
        assert (answer.pieces, answer.ended) == ([b"one"], False)


@pytest.mark.parametrize("in_memory", [True, False])
async def test_a_client_that_leaves_ends_the_body(in_memory):
    simulator = Plain(SimulatorOptions())
    with trio.fail_after(10):
        async with simulator.serve_in_memory() if in_memory else simulator.serve() as server:
            client = await client_of(server)
            await client.begin("/pieces")
            await client.event()
            await client.stream.aclose()
            while server.open_connections or not server.connections:
                await trio.lowlevel.checkpoint()
            assert events(server)[-2:] == ["disconnected", "closed"]


async def test_a_client_that_does_not_read_stops_the_body_and_is_seen_to_leave():
    with trio.fail_after(10):
        async with Plain(SimulatorOptions()).serve() as server:
            client = HttpClient(await server.dial("", 0))
            await client.begin("/endless")
            await client.event()
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert server.open_connections == 1
            await client.stream.aclose()
            while server.open_connections:
                await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("fault", ["drop_after_messages=0", "close_after=0"])
async def test_a_body_of_nothing_may_be_cut_too(autojump_clock, fault):
    async with serve(fault) as server:
        assert not (await (await client_of(server)).post("/nothing")).ended


async def test_a_mistake_in_a_body_is_raised(autojump_clock):
    async def block():
        async with serve() as server:
            await (await client_of(server)).post("/mistake")

    with pytest.raises(ZeroDivisionError):
        await block()


async def test_messages_are_inserted_only_where_the_body_has_a_form_for_them(autojump_clock):
    async with serve("non_json=1", "error_frame=1") as server:
        answer = await (await client_of(server)).post("/pieces")
        assert answer.pieces == [b"one", b"!", b"two"]
        assert [record["data"]["name"] for record in server.log if record["event"] == "fault"] == ["non_json"]


async def test_a_connection_that_should_be_closed_can_be_kept(autojump_clock):
    async with serve("never_close=yes") as server:
        client = await client_of(server)
        assert (await client.post("/pieces", headers={"Connection": "close"})).ended
        with trio.move_on_after(1000) as scope:
            await client.stream.receive_some()
        assert scope.cancelled_caught


async def test_nothing_survives_the_block(autojump_clock):
    before = trio.lowlevel.current_statistics().tasks_living
    async with serve() as server:
        client = await client_of(server)
        await client.begin("/pieces")
        await client.event()
    assert server.open_connections == 0
    assert trio.lowlevel.current_statistics().tasks_living == before
