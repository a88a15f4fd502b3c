"""How a websocket ends while audio is on its way, and what is then said to have been sent."""

import attrs
import pytest
import trio
from raw_client import EOF, Closed, audio
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection

from voicetrio.simulators import Closing, Disconnected, Faults, WebSocketPeer, tagged_pcm
from voicetrio.simulators._faults import FaultState
from voicetrio.simulators._wire import Wire

TEXT = "Hello from trio."  # 24 frames of 40 ms
MESSAGE = b"m" * 100_000


class Ending:
    """A peer with a message under way on a stream that holds nothing, when another loop says goodbye."""

    def __init__(self):
        ours, self.stream = trio.testing.lockstep_stream_pair()
        state = FaultState(Faults)
        self.peer = WebSocketPeer(Wire(ours, state), state, insert=str, log=lambda *_, **__: None)
        self.written = []
        self.late = []

    async def run(self):
        await self.peer.run(self.speak, self.end, self.end_again)

    async def speak(self):
        await self.peer.send(MESSAGE, audio=True, written=lambda: self.written.append(len(MESSAGE)))
        await self.peer.send("too late")
        self.late.append("it was sent all the same")

    async def end(self):
        await trio.sleep(1)
        raise Closing(4001, "enough")

    async def end_again(self):
        await trio.sleep(1.1)
        raise Disconnected("the second to say so")

    async def read(self, delay):
        """The events that the client sees, up to the Close frame, which it answers."""
        protocol, data, events = Connection(ConnectionType.CLIENT), b"", []
        await trio.sleep(delay)
        while chunk := await self.stream.receive_some(777):
            protocol.receive_data(chunk)
            for event in protocol.events():
                if isinstance(event, BytesMessage):
                    data += event.data
                else:
                    events.append(event)
                if isinstance(event, CloseConnection):
                    await self.stream.send_all(protocol.send(event.response()))
                    return data, events
        return data, events


@pytest.mark.parametrize("delay", [1.2, 1.9])
async def test_a_message_under_way_is_finished_before_the_close_frame(autojump_clock, delay):
    ending = Ending()
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ending.run)
            data, events = await ending.read(delay)
    assert data == MESSAGE
    assert [(type(event), event.code, event.reason) for event in events] == [(CloseConnection, 4001, "enough")]
    assert ending.written == [len(MESSAGE)]
    assert ending.late == []


async def test_a_client_that_does_not_take_it_is_left_after_a_second(autojump_clock):
    ending = Ending()
    with trio.fail_after(10):
        await ending.run()
    assert trio.current_time() == 2
    assert ending.written == []


@pytest.mark.parametrize("speed", [1.0, float("inf")])
async def test_a_server_that_never_closes_keeps_a_socket_on_which_it_spoke(autojump_clock, simulate, connect, speed):
    async with simulate(never_close=True, speed=speed) as server:
        client = await connect(server)
        await client.until("Metadata")
        await client.say("x" * 2000)
        for _ in range(3):
            assert isinstance(await client.receive(), bytes)
        await client.stream.send_all(client.close_frame())
        await trio.testing.wait_all_tasks_blocked()
        sent = server.segments[0].sent
        with trio.move_on_after(1000) as scope:
            while await client.receive() is not EOF:
                pass
        assert scope.cancelled_caught
        assert (server.open_connections, server.segments[0].sent) == (1, sent)
        assert [record["data"]["name"] for record in server.log if record["event"] == "fault"] == ["never_close"]


async def test_a_close_frame_is_answered_though_audio_is_being_sent(autojump_clock, simulate, connect):
    async with simulate(frame_ms=1) as server:
        client = await connect(server)
        await client.until("Metadata")
        await client.say("x" * 2000)
        await client.receive()
        await client.stream.send_all(client.close_frame(4000, "enough"))
        assert (await client.until(Closed))[-1] == Closed(4000, "enough")
        assert server.segments[0].sent < server.segments[0].samples


@pytest.mark.parametrize("fault", ["drop_after_messages", "close_after"])
@pytest.mark.parametrize("frames", [0, 1, 5])
async def test_what_was_written_before_a_cut_counts_as_sent(autojump_clock, simulate, connect, fault, frames):
    async with simulate(**{fault: frames + 1}) as server:  # Metadata is one
        client = await connect(server)
        await client.say(TEXT)
        heard = audio(await client.until(Closed))
        assert heard == tagged_pcm(0, 0, 960 * frames)
        if frames:
            assert server.segments[0].sent == 960 * frames


@pytest.mark.parametrize("extra", [0, 1, 1923, 1924, 1925])
async def test_a_frame_that_was_cut_in_two_was_not_sent(autojump_clock, simulate, connect, extra):
    async with simulate() as server:
        client = await connect(server)
        await client.until("Metadata")
        await client.say(TEXT)
        await client.until("Flushed")
        server.options = attrs.evolve(server.options, faults=Faults(drop_after_bytes=2 * 1924 + extra))
        await client.say(TEXT)
        heard = audio(await client.until(Closed))
        assert server.segments[1].sent == 960 * (2 + extra // 1924)
        assert len(heard) >= 2 * server.segments[1].sent
