"""Serving: sockets, TLS, the log, what is left when the block is left."""

import ast
import io
import json
import ssl
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Literal

import attrs
import pytest
import trio
from raw_client import EOF, Closed, RawClient, Refused, options_from

from voicetrio import simulators
from voicetrio.simulators import (
    Closing,
    DeepgramSimulator,
    Simulator,
    SimulatorOptions,
    close_after,
    tagged_pcm,
    throw_away_certificate,
)
from voicetrio.simulators._faults import INSERTS, Faults, FaultState
from voicetrio.simulators._message_faults import MessageFaults


@pytest.fixture
async def bounded():
    """Ten seconds for a test on the real clock."""
    with trio.fail_after(10):
        yield


def tasks():
    return trio.lowlevel.current_statistics().tasks_living


def descriptors():
    listing = Path("/proc/self/fd")
    return len(list(listing.iterdir())) if listing.exists() else 0


async def test_real_sockets(bounded):
    async with DeepgramSimulator(options_from({})).serve() as server:
        assert server.url == f"ws://127.0.0.1:{server.port}/v1/speak"
        client = await RawClient(await trio.open_tcp_stream("127.0.0.1", server.port)).handshake()
        assert await client.turn("Hello.") == tagged_pcm(0, 0, 8640)
        other = await RawClient(await server.dial("anything.example", 1)).handshake()
        assert await other.turn("Hello.") == tagged_pcm(1, 0, 8640)
        assert (server.connections, server.open_connections) == (2, 2)
        await client.stream.aclose()
        await other.stream.aclose()


async def test_a_port_can_be_chosen_and_taken_again(bounded):
    async with DeepgramSimulator().serve() as server:
        port = server.port
        with pytest.raises(OSError, match="in use"):
            async with DeepgramSimulator().serve(port=port):
                raise AssertionError("it must not be served twice")
    async with DeepgramSimulator().serve(port=port) as server:
        assert server.port == port


async def test_tls(bounded):
    certificate = throw_away_certificate()
    async with DeepgramSimulator(options_from({})).serve(ssl_context=certificate.server_context) as server:
        assert server.url == f"wss://127.0.0.1:{server.port}/v1/speak"
        stream = trio.SSLStream(
            await server.dial("127.0.0.1", server.port), certificate.client_context(), server_hostname="127.0.0.1"
        )
        client = await RawClient(stream).handshake()
        assert await client.turn("Hello.") == tagged_pcm(0, 0, 8640)
        await stream.aclose()


async def test_tls_that_nobody_trusts_does_not_crash_the_server(bounded):
    certificate = throw_away_certificate("127.0.0.1")
    async with DeepgramSimulator(options_from({})).serve(ssl_context=certificate.server_context) as server:
        stream = trio.SSLStream(
            await server.dial("127.0.0.1", server.port), ssl.create_default_context(), server_hostname="127.0.0.1"
        )
        with pytest.raises(trio.BrokenResourceError):
            await stream.do_handshake()
        await trio.aclose_forcefully(stream)
        while server.open_connections or not server.connections:
            await trio.lowlevel.checkpoint()


async def test_a_refused_connection_is_reset_on_a_socket(bounded):
    async with DeepgramSimulator(options_from({"handshake": "refuse"})).serve() as server:
        stream = await server.dial("127.0.0.1", server.port)
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
        await stream.aclose()


async def test_back_pressure_stops_the_audio_and_clear_does_not_tear_a_frame(bounded):
    async with DeepgramSimulator(options_from({"frame_ms": 1000})).serve() as server:
        client = await RawClient(await server.dial("127.0.0.1", server.port)).handshake()
        await client.say("x" * 2000)
        await client.say("y" * 2000)
        with trio.move_on_after(0.2):
            await trio.sleep_forever()
        stuck = server.segments[0].sent
        assert stuck < server.segments[0].samples
        await client.clear()
        seen = await client.until("Cleared")
        assert b"".join(seen[1:-1]) == tagged_pcm(0, 0, server.segments[0].sent)
        assert [segment.cleared for segment in server.segments] == [True, True]
        await client.stream.aclose()


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize(
    "fault", [{}, {"half_open_after": 3}, {"never_close": True}, {"stall_after": 3}, {"handshake": "silent"}]
)
async def test_nothing_survives_the_block(bounded, in_memory, fault):
    # One round first: what trio and the system open once does not count.
    for measured in (False, True):
        before = tasks(), descriptors()
        simulator = DeepgramSimulator(options_from(fault | {"speed": 1.0}))
        clients = []
        async with simulator.serve_in_memory() if in_memory else simulator.serve() as server:
            for _ in range(3):
                client = RawClient(await server.dial("127.0.0.1", server.port))
                await client.stream.send_all(client.ws.send(client.request("/v1/speak", {"Authorization": "Token k"})))
                await client.stream.send_all(client.frame('{"type":"Speak","text":"Hello."}'))
                await client.stream.send_all(client.frame('{"type":"Flush"}'))
                clients.append(client)
            while server.open_connections < 3 or not any(record["event"] == "request" for record in server.log):
                await trio.lowlevel.checkpoint()
        assert server.open_connections == 0
        for client in clients:
            while await client._next() is not EOF:
                pass
            await client.stream.aclose()
        if measured:
            assert (tasks(), descriptors()) == before


async def test_dialling_after_the_block_is_refused(autojump_clock, simulate):
    async with simulate() as server:
        pass
    with pytest.raises(ConnectionRefusedError):
        await server.dial("simulator.test", 80)


async def test_an_error_of_the_block_comes_out_as_it_is(autojump_clock, simulate, connect):
    error = KeyError("the user's")

    async def block():
        async with simulate() as server:
            await (await connect(server)).turn("x")
            raise error

    with pytest.raises(KeyError) as caught:
        await block()
    assert caught.value is error
    assert caught.value.__context__ is None


class Buggy(Simulator[SimulatorOptions]):
    """Makes a mistake on every connection."""

    path = "/buggy"

    async def handle(self, connection):
        await (await connection.accept()).run(self.err)

    async def err(self):
        raise ZeroDivisionError


async def test_a_mistake_in_a_simulator_is_raised(autojump_clock):
    async def block():
        async with Buggy(SimulatorOptions()).serve_in_memory() as server:
            assert server.url == "ws://simulator.test/buggy"
            client = RawClient(await server.dial("simulator.test", 80))
            await client.stream.send_all(client.ws.send(client.request("/", {})))
            await trio.sleep_forever()

    with pytest.raises(ZeroDivisionError):
        await block()


class Echo(Simulator[SimulatorOptions]):
    """The smallest simulator: sends back what it gets."""

    path = "/echo"

    async def handle(self, connection):
        if not connection.request.upgrade:
            await connection.refuse(200, body=connection.request.body)
            return
        peer = await connection.accept()

        async def echo():
            while True:
                await peer.send(await peer.receive())

        await peer.run(echo)


@attrs.frozen(kw_only=True)
class CounterOptions(SimulatorOptions):
    """How the counter behaves."""

    unit: Literal["bytes", "bits"] = "bytes"


class Counter(Simulator[CounterOptions]):
    """Needs no voice: the example of :class:`Simulator`."""

    path = "/count"

    async def handle(self, connection):
        options = connection.options
        if not options.accepts(connection.request.headers.get("x-api-key", "")):
            await self.refuse(connection, 401)
        elif connection.over_limit:
            await self.refuse(connection, 429)
        elif connection.request.upgrade:
            peer = await connection.accept([("x-request-id", connection.request_id)])
            limit = partial(close_after, options.session_limit, 1000, "session limit")
            await peer.run(partial(self.count, connection, peer), limit)
        else:
            await connection.answer(200, body=str(len(connection.request.body)).encode())

    async def count(self, connection, peer):
        total = 0
        while (message := await peer.receive_within(connection.options.idle_timeout)) is not None:
            total += len(message)
            await peer.send(f'{{"{connection.options.unit}":{total}}}')
        raise Closing(1001, "idle timeout")


async def test_a_simulator_without_speech_has_keys_and_limits(autojump_clock):
    pairs = ["api_key=k", "concurrent_limit=2", "session_limit=10", "idle_timeout=4", "unit=bits", "seed=3"]
    async with Counter(CounterOptions.parse(pairs)).serve_in_memory() as server:

        async def connect(key="k"):
            client = RawClient(await server.dial("simulator.test", 80))
            return await client.handshake("/count", headers={"X-API-Key": key})

        for key in ("wrong", ""):
            with pytest.raises(Refused) as caught:
                await connect(key)
            assert caught.value.status == 401
        await trio.testing.wait_all_tasks_blocked()
        idle, busy = await connect(), await connect()
        idle.answer_close = False  # it is looked at only once the server has given up waiting for that
        assert idle.headers["x-request-id"] != busy.headers["x-request-id"]
        with pytest.raises(Refused) as caught:
            await connect()
        assert caught.value.status == 429
        for total in (2, 4, 6):
            await trio.sleep(3)
            await busy.send(b"ab")
            assert await busy.receive() == f'{{"bits":{total}}}'
        assert await idle.receive() == Closed(1001, "idle timeout")
        assert await busy.receive() == Closed(1000, "session limit")
        assert trio.current_time() == 10


async def test_a_request_id_depends_on_the_seed_and_the_connection(autojump_clock):
    async def ids(seed):
        async with Counter(CounterOptions(seed=seed)).serve_in_memory() as server:
            clients = [RawClient(await server.dial("simulator.test", 80)) for _ in range(2)]
            return [(await each.handshake("/", headers={"X-API-Key": "k"})).headers["x-request-id"] for each in clients]

    first = await ids(1)
    assert first == await ids(1)
    assert len({*first, *await ids(2)}) == 4


async def test_the_base_serves_other_protocols(autojump_clock):
    async with Echo(SimulatorOptions()).serve_in_memory() as server:
        client = await RawClient(await server.dial("simulator.test", 80)).handshake("/echo?token=t")
        for message in ("text", b"bytes", "", b""):
            await client.send(message)
            assert await client.receive() == message
        await client.stream.send_all(client.close_frame(4000, "enough"))
        assert await client.receive() == Closed(4000, "enough")
        plain = await server.dial("simulator.test", 80)
        await plain.send_all(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody")
        answer = b""
        while data := await plain.receive_some():
            answer += data
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"\r\n\r\nbody")


async def test_the_base_refuses_in_general_words(autojump_clock):
    async with Echo(SimulatorOptions.parse(["refuse_status=503"])).serve_in_memory() as server:
        with pytest.raises(Refused) as caught:
            await RawClient(await server.dial("simulator.test", 80)).handshake("/echo")
        assert json.loads(caught.value.body) == {"error": "status 503"}


async def test_the_log_tells_what_happened_without_secrets(autojump_clock, simulate, connect):
    async with simulate(ms_per_char=10) as server:
        headers = {"Authorization": "Token hush", "X-API-Key": "hush", "User-Agent": "test"}
        client = await connect(
            server, "/v1/speak?token=hush&encoding=linear16", headers=headers, subprotocols=("token", "hush")
        )
        await client.until("Metadata")
        await trio.sleep(1.5)
        await client.turn("x")
        await client.stream.send_all(client.close_frame(1000, "bye"))
        await client.until(Closed)
        await trio.testing.wait_all_tasks_blocked()
    events = [record["event"] for record in server.log]
    assert events == [
        *("opened", "request", "accepted", "sent", "received", "received", "segment"),
        *("segment_ended", "sent", "close", "disconnected", "closed"),
    ]
    assert {record["connection"] for record in server.log} == {0}
    by_event = {record["event"]: record["data"] for record in server.log}
    assert by_event["segment"] == {"number": 0, "text": "x", "samples": 240}
    assert by_event["segment_ended"] == {"number": 0, "sent": 240, "cleared": False}
    assert by_event["close"] == {"code": 1000, "reason": "bye", "by": "client"}
    assert by_event["request"]["query"] == {"token": "…", "encoding": "linear16"}
    assert by_event["request"]["headers"]["user-agent"] == "test"
    assert server.log[-1]["time"] == 1.5
    assert "hush" not in json.dumps(server.log)


async def test_the_log_can_go_to_a_file(autojump_clock, connect):
    file = io.StringIO()
    async with DeepgramSimulator(options_from({})).serve_in_memory(log_file=file) as server:
        await (await connect(server)).turn("ä")
        assert [json.loads(line) for line in file.getvalue().splitlines()] == server.log


async def test_old_records_and_segments_are_forgotten(autojump_clock, connect):
    async with DeepgramSimulator(options_from({"ms_per_char": 1})).serve_in_memory(history=10) as server:
        client = await connect(server)
        for _ in range(50):
            await client.turn("x")
            assert len(server.log) <= 20
            assert len(server.segments) <= 20
        assert server.segments[-1].number == 49
        assert server.log[-1]["data"]["message"] == '{"type":"Flushed","sequence_id":49}'


async def test_faults_may_be_replaced_while_a_message_is_being_sent():
    """By others, before the send has come to what the old ones ask for."""
    held, written = [Faults(unknown_message=0, fragment=10)], []

    async def write(message, fragment, _written):
        written.append((message, fragment))
        if len(written) == 1:
            held[0] = Faults(non_json=2, wrong_shape=1, fragment=20)
        if len(written) == 5:
            held[0] = Faults(close_after=0)

    state = FaultState(lambda: held[0])
    faulty = MessageFaults(
        None,
        state,
        lambda *_, **__: None,
        write=write,
        inserts=INSERTS,
        insert=lambda name: f"<{name}>",
        close=lambda faults: Closing(faults.close_code),
    )
    for message in ("one", "two"):
        with pytest.raises(Closing) if message == "two" else nullcontext():
            await faulty.send(message, audio=False, written=None)
    assert written == [
        ("<unknown_message>", 10),
        ("one", 20),
        ("<wrong_shape>", 20),
        ("two", 20),
        ("<non_json>", 20),
    ]


def test_simulators_import_nothing_of_the_client_side():
    for module in Path(simulators.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.level <= 1 or node.module == "_lazy", module  # which knows of neither
                assert not (node.level == 0 and node.module.startswith("voicetrio")), module
            elif isinstance(node, ast.Import):
                assert not any(name.name.startswith("voicetrio") for name in node.names), module
