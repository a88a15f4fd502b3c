"""An open websocket: whole frames and messages, back-pressure, pings."""

import functools

import pytest
import trio
import trio.testing
from websocket_peer import Peer, connect, echo, lockstep, memory_connect, tcp_server
from wsproto.events import AcceptConnection, BytesMessage, Ping, Pong, Request, TextMessage

from voicetrio import errors
from voicetrio._link.connection import ConnectionOptions

# --- messages -------------------------------------------------------------------------------------------------------


async def test_text_and_binary_go_both_ways_over_tcp():
    async with tcp_server(echo) as address:
        with trio.fail_after(5):
            async with connect(f"ws://{address}/") as connection:
                for message in ("héllo", b"\x00\xff", "", b"", "x" * 2**20, b"\x80" * 2**20):
                    await connection.send(message)
                    assert await connection.receive() == message


async def test_a_message_over_the_limit_ends_the_link_with_1009(nursery):
    async def play(peer):
        await peer.accept()
        await peer.send(BytesMessage(data=bytes(1001)))
        await peer.until_closed()

    async with memory_connect(nursery, play, max_message=1000) as connection:
        with pytest.raises(errors.LinkClosed) as caught:
            await connection.receive()
        assert caught.value.code == 1009


async def test_fragments_with_pings_between_make_one_message():
    pongs = []

    async def play(peer):
        await peer.accept()
        for index, letter in enumerate("abc"):
            await peer.send(Ping(b"%d" % index), TextMessage(data=letter, message_finished=letter == "c"))
            event = await peer.next_event()
            assert isinstance(event, Pong)
            pongs.append(bytes(event.payload))
        await peer.until_closed()

    async with tcp_server(play) as address:
        with trio.fail_after(5):
            async with connect(f"ws://{address}/") as connection:
                assert await connection.receive() == "abc"
            assert pongs == [b"0", b"1", b"2"]


async def test_a_ping_that_comes_with_the_upgrade_is_answered(nursery):
    answered = trio.Event()

    async def play(peer):
        request = await peer.next_event()
        frames = [peer.wire.send(event) for event in (AcceptConnection(), Ping(b"at once"), TextMessage(data="first"))]
        assert isinstance(request, Request)
        await peer.stream.send_all(b"".join(frames))
        assert await peer.next_event() == Pong(b"at once")
        answered.set()
        await peer.until_closed()

    async with memory_connect(nursery, play) as connection:
        with trio.fail_after(5):
            await answered.wait()
        assert await connection.receive() == "first"


class ByteByByte(trio.abc.HalfCloseableStream):
    """A stream that sends every byte by itself."""

    def __init__(self, stream):
        self.stream = stream

    async def send_all(self, data):
        for value in data:
            await self.stream.send_all(bytes([value]))

    async def wait_send_all_might_not_block(self):
        await self.stream.wait_send_all_might_not_block()

    async def send_eof(self):
        await self.stream.send_eof()

    async def receive_some(self, max_bytes=None):
        return await self.stream.receive_some(max_bytes)

    async def aclose(self):
        await self.stream.aclose()


async def test_one_byte_writes_change_nothing():
    async def play(peer):
        await echo(Peer(ByteByByte(peer.stream)))

    async with tcp_server(play) as address:
        with trio.fail_after(10):
            async with connect(f"ws://{address}/") as connection:
                for message in ("héllo" * 30, b"\x00" * 200):
                    await connection.send(message)
                    assert await connection.receive() == message


async def test_a_lone_surrogate_is_refused_before_anything_is_written(nursery):
    async with memory_connect(nursery, echo) as connection:
        with pytest.raises(errors.InputError):
            await connection.send("broken \ud800 text")
        await connection.send("fine")
        assert await connection.receive() == "fine"


async def test_receiving_cancelled_at_any_moment_loses_no_message(nursery, autojump_clock):
    async def play(peer):
        await peer.accept()
        for number in range(50):
            await trio.sleep(0.01)
            await peer.send(TextMessage(data=str(number)))
        await peer.until_closed()

    received = []
    async with memory_connect(nursery, play) as connection:
        while len(received) < 50:
            with trio.move_on_after(0.007):
                received.append(await connection.receive())

    assert received == [str(number) for number in range(50)]


async def test_senders_at_once_do_not_mix_their_frames(nursery):
    async with memory_connect(nursery, echo, pair=lockstep) as connection:
        messages = {bytes([number]) * 40_000 for number in range(8)}
        async with trio.open_nursery() as senders:
            for message in messages:
                senders.start_soon(connection.send, message)
            assert {await connection.receive() for _ in messages} == messages


# --- back-pressure --------------------------------------------------------------------------------------------------


async def test_a_cancelled_send_under_back_pressure_finishes_its_frame(nursery, autojump_clock):
    got = []

    async def play(peer):
        await peer.accept()
        await trio.sleep(0.2)
        got.extend([await peer.receive_message(), await peer.receive_message()])
        await peer.until_closed()

    async with memory_connect(nursery, play, pair=lockstep, close_timeout=1.0) as connection:
        with trio.move_on_after(0.1):
            await connection.send("a" * 100_000)
        await connection.send("b")

    assert got == ["a" * 100_000, "b"]


async def test_a_cancelled_send_that_is_stuck_is_the_last_one(nursery, autojump_clock):
    async def play(peer):
        await peer.accept()
        await trio.sleep_forever()

    async with memory_connect(nursery, play, pair=lockstep, send_timeout=60, close_timeout=0.5) as connection:
        begun = trio.current_time()
        with trio.move_on_after(0.1) as scope:
            await connection.send("a" * 100_000)
        assert scope.cancelled_caught
        assert trio.current_time() - begun <= 0.6
        for use in (functools.partial(connection.send, "b"), connection.receive, connection.ping):
            with pytest.raises(errors.LinkClosed):
                await use()


async def test_a_cancelled_send_under_tcp_back_pressure_leaves_no_garbage():
    received = []
    resumed = trio.Event()

    async def play(peer):
        await peer.accept()
        await resumed.wait()
        while (message := await peer.receive_message()) is not None:
            received.append(message)

    async with tcp_server(play) as address:
        with trio.fail_after(10):
            async with connect(f"ws://{address}/", options=ConnectionOptions(close_timeout=0.1)) as connection:
                with trio.move_on_after(0.05) as scope:
                    await connection.send(bytes(32 * 2**20))
                assert scope.cancelled_caught
                resumed.set()
                with pytest.raises(errors.LinkClosed):
                    await connection.send("next")

    assert received == []  # neither half of the first, nor the second inside of it


async def test_a_cancelled_block_with_a_stuck_send_ends_within_a_second(nursery, autojump_clock):
    async def play(peer):
        await peer.accept()
        await trio.sleep_forever()

    begun = trio.current_time()
    with trio.move_on_after(1):
        async with memory_connect(nursery, play, pair=lockstep) as connection, trio.open_nursery() as senders:
            senders.start_soon(connection.send, "a" * 100_000)
            senders.start_soon(connection.ping)

    assert trio.current_time() - begun <= 2


async def test_closing_ends_a_send_that_is_stuck(nursery, autojump_clock):
    async def play(peer):
        await peer.accept()
        await trio.sleep_forever()

    async def send():
        with pytest.raises(errors.ClosedError):
            await connection.send("a" * 100_000)

    async with memory_connect(nursery, play, pair=lockstep) as connection, trio.open_nursery() as senders:
        senders.start_soon(send)
        await trio.sleep(0.1)
        begun = trio.current_time()
        await connection.close()
    assert trio.current_time() - begun == 0.5


async def test_a_peer_that_takes_no_data_is_stalled_for_every_later_call(nursery, autojump_clock):
    async def play(peer):
        await peer.accept()
        await trio.sleep_forever()

    async with memory_connect(nursery, play, pair=lockstep, send_timeout=3) as connection:
        begun = trio.current_time()
        for use in (functools.partial(connection.send, "a"), connection.receive, connection.ping):
            with pytest.raises(errors.LinkStalled) as caught:
                await use()
            assert trio.current_time() - begun == 3
            assert caught.value.code == 1006


async def test_a_slow_peer_is_not_a_stalled_one(nursery, autojump_clock):
    async def play(peer):
        await peer.accept()
        while True:
            await trio.sleep(0.9)
            if not await peer.stream.receive_some(16 * 2**10):
                return

    async with memory_connect(nursery, play, pair=lockstep, send_timeout=2) as connection:
        begun = trio.current_time()
        await connection.send(bytes(160 * 2**10))
        assert trio.current_time() - begun > 8


# --- pings ----------------------------------------------------------------------------------------------------------


async def test_a_ping_waits_for_its_pong(nursery, autojump_clock):
    async def play(peer):
        await peer.accept()
        ping = await peer.next_event()
        await trio.sleep(2)
        await peer.send(ping.response())
        await peer.until_closed()

    async with memory_connect(nursery, play) as connection:
        begun = trio.current_time()
        await connection.ping()
        assert trio.current_time() - begun == 2


async def test_a_cancelled_ping_does_not_hurt_the_next(nursery, autojump_clock):
    async def play(peer):
        await peer.accept()
        await trio.sleep(2)
        await peer.until_closed()

    async with memory_connect(nursery, play) as connection:
        with trio.move_on_after(1) as scope:
            await connection.ping()
        assert scope.cancelled_caught
        await connection.ping()


async def test_a_ping_ends_with_the_link(nursery, autojump_clock):
    async def play(peer):
        await peer.accept()
        await trio.sleep(1)

    async with memory_connect(nursery, play) as connection:
        with trio.fail_after(2), pytest.raises(errors.LinkClosed):
            await connection.ping()
