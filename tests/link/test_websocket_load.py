"""A websocket under load: many tasks at once, peers that flood, and what that may cost."""

import tracemalloc

import pytest
import trio
import trio.testing
import websocket_peer
from websocket_peer import PROVIDER, connect, lockstep, memory_connect, serving
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from voicetrio import errors
from voicetrio._link.connection import ConnectionOptions

PING = b"\x89\x00"


class Flooding(trio.abc.Stream):
    """The client's end of a stream that, once it has brought the upgrade and `begin` is set, brings `data` so often."""

    def __init__(self, stream, data, reads):
        self.stream = stream
        self.data = data
        self.left = reads
        self.upgraded = False
        self.begin = trio.Event()

    async def send_all(self, data):
        await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self):
        await self.stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes=None):
        if self.upgraded:
            await self.begin.wait()
        if not self.upgraded or not self.left:
            self.upgraded = True
            return await self.stream.receive_some(max_bytes)
        await trio.lowlevel.checkpoint()
        self.left -= 1
        return self.data

    async def aclose(self):
        await self.stream.aclose()


def flooding_connect(nursery, play, data, *, pair=trio.testing.memory_stream_pair, **options):
    """Connect to `play(peer)`; gives the context manager and the stream."""
    client, server = pair()
    stream = Flooding(client, data, 5000)

    async def dial(_host, _port):
        await trio.lowlevel.checkpoint()
        nursery.start_soon(serving(play), server)
        return stream

    return connect("ws://acme.test/", options=ConnectionOptions(**options), dial=dial, provider=PROVIDER), stream


async def take_all(peer):
    """Accept, and take whatever comes."""
    await peer.accept()
    while await peer.stream.receive_some(65536):
        pass


async def until_the_end(connection):
    try:
        while True:
            await connection.receive()
    except (errors.LinkClosed, errors.ClosedError):
        pass


# --- turns ----------------------------------------------------------------------------------------------------------


async def test_a_flood_of_pings_holds_no_sender(nursery):
    opening, stream = flooding_connect(nursery, take_all, PING)
    async with opening as connection, trio.open_nursery() as tasks:
        stream.begin.set()
        tasks.start_soon(until_the_end, connection)
        for _ in range(10):
            await connection.send("x")
        left = stream.left
        tasks.cancel_scope.cancel()
    assert left > 4900


async def test_who_sends_without_end_lets_others_send(nursery):
    sent = 0

    async def send_without_end():
        nonlocal sent
        while sent < 1000:
            sent += 1
            await connection.send(b"busy")

    async with memory_connect(nursery, take_all) as connection, trio.open_nursery() as tasks:
        tasks.start_soon(send_without_end)
        while sent < 10:
            await trio.lowlevel.checkpoint()
        for _ in range(5):
            await connection.send(b"mine")
        others = sent
        tasks.cancel_scope.cancel()
    assert others < 50


async def test_a_ping_during_a_send_is_answered_after_it(nursery, autojump_clock):
    got = []

    async def play(peer):
        await peer.accept()
        await trio.sleep(0.1)  # the client is writing
        await peer.send(Ping(b"meanwhile"))
        await trio.sleep(0.1)
        while not isinstance(got[-1] if got else None, Pong):
            got.append(await peer.next_event())
        await peer.until_closed()

    async with memory_connect(nursery, play, pair=lockstep) as connection, trio.open_nursery() as tasks:
        tasks.start_soon(until_the_end, connection)
        await connection.send(bytes(100_000))
        await trio.sleep(1)
        tasks.cancel_scope.cancel()

    assert got[-1] == Pong(b"meanwhile")
    assert sum(len(event.data) for event in got if isinstance(event, BytesMessage)) == 100_000


async def test_a_peer_that_writes_before_it_reads_the_pong_is_read(nursery, autojump_clock):
    async def play(peer):
        await peer.accept()
        await peer.send(Ping(b"first"))
        await peer.send(TextMessage(data="then"))
        answers.append(await peer.next_event())
        await peer.until_closed()

    answers = []
    async with memory_connect(nursery, play, pair=lockstep) as connection:
        if websocket_peer.driver == "trio-websocket":  # its reader writes the pong, and does not read meanwhile
            with pytest.raises(errors.LinkStalled):
                await connection.receive()
            return
        assert await connection.receive() == "then"
        await trio.testing.wait_all_tasks_blocked()
    assert answers == [Pong(b"first")]


async def test_receiving_is_cancelled_at_once_though_a_pong_is_stuck(nursery, autojump_clock):
    async def play(peer):
        await peer.accept()
        await peer.send(Ping(b"first"))
        await trio.sleep_forever()

    async with memory_connect(nursery, play, pair=lockstep) as connection:
        begun = trio.current_time()
        with trio.move_on_after(0.1):
            await connection.receive()
        assert trio.current_time() - begun == 0.1


# --- memory ---------------------------------------------------------------------------------------------------------


async def test_pongs_that_cannot_be_written_stop_the_reading(nursery, autojump_clock):
    async def play(peer):
        await peer.accept()
        await trio.sleep_forever()

    opening, stream = flooding_connect(nursery, play, PING * 100, pair=lockstep, send_timeout=3)
    async with opening as connection, trio.open_nursery() as tasks:
        tasks.start_soon(connection.send, bytes(100_000))
        await trio.testing.wait_all_tasks_blocked()
        stream.begin.set()
        tasks.start_soon(until_the_end, connection)
        await trio.testing.wait_all_tasks_blocked()
        assert stream.left >= 4990
        stream.left = 0
        tasks.cancel_scope.cancel()


@pytest.fixture
def allocated():
    """A function that tells how many bytes have been allocated at most since the test began."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


async def test_messages_that_come_while_it_closes_are_not_kept(nursery, allocated, autojump_clock):
    message = b"\x82\x7f" + (2**20).to_bytes(8) + bytes(2**20)

    async def play(peer):
        await peer.accept()
        assert isinstance(await peer.next_event(), CloseConnection)
        for _ in range(20):
            await peer.stream.send_all(message)
        await peer.stream.send_all(b"\x88\x02\x03\xe8")

    async with memory_connect(nursery, play, pair=lockstep):
        pass
    assert allocated() < 10 * 2**20


async def test_a_message_in_tiny_fragments_takes_little_more_room_than_another(nursery, allocated):
    async def play(peer):
        await peer.accept()
        await peer.stream.send_all(b"\x02\x01a")
        for _ in range(100):
            await peer.stream.send_all(b"\x00\x01a" * 200)
        await peer.stream.send_all(b"\x80\x01a")
        await peer.until_closed()

    async with memory_connect(nursery, play, pair=lockstep) as connection:
        before = allocated()
        assert await connection.receive() == b"a" * 20_002
    # trio-websocket keeps each fragment by itself.
    assert allocated() - before < {"websockets": 0.5, "trio-websocket": 10}[websocket_peer.driver] * 2**20


# --- pings and ends -------------------------------------------------------------------------------------------------


async def test_a_pong_answers_the_pings_before_it_too(nursery):
    async def play(peer):
        await peer.accept()
        pings = [await peer.next_event() for _ in range(3)]
        await peer.send(pings[1].response())  # RFC 6455, 5.5.3: one may answer only the latest
        await peer.until_closed()

    async def ping(name):
        await connection.ping()
        answered.append(name)

    answered = []
    async with memory_connect(nursery, play) as connection, trio.open_nursery() as tasks:
        for name in "abc":
            tasks.start_soon(ping, name)
            await trio.testing.wait_all_tasks_blocked()
        assert sorted(answered) == ["a", "b"]
        tasks.cancel_scope.cancel()


async def test_closing_twice_at_once_is_closing_once(nursery, autojump_clock):
    async def play(peer):
        await peer.accept()
        assert isinstance(await peer.next_event(), CloseConnection)
        await trio.sleep(0.3)
        await peer.stream.send_all(b"\x88\x02\x03\xe8")
        closed.append(await peer.stream.receive_some(1))

    closed = []
    async with memory_connect(nursery, play, pair=lockstep) as connection, trio.open_nursery() as tasks:
        begun = trio.current_time()
        for _ in range(2):
            tasks.start_soon(connection.close)
    assert trio.current_time() - begun == 0.3
    await trio.testing.wait_all_tasks_blocked()
    assert closed == [b""]


async def test_leaving_by_exception_does_not_wait_for_a_peer_that_takes_nothing(nursery, autojump_clock):
    async def play(peer):
        await peer.accept()
        await trio.sleep_forever()

    begun = trio.current_time()
    with pytest.raises(KeyError):
        async with memory_connect(nursery, play, pair=lockstep):
            raise KeyError
    assert trio.current_time() - begun < 0.05


async def test_closing_takes_no_longer_where_a_pong_is_stuck(nursery, autojump_clock):
    async def play(peer):
        await peer.accept()
        assert isinstance(await peer.next_event(), CloseConnection)
        await trio.sleep(0.4)
        await peer.stream.send_all(PING)
        await trio.sleep_forever()

    async with memory_connect(nursery, play, pair=lockstep, close_timeout=0.5) as connection:
        begun = trio.current_time()
        await connection.close()
        assert trio.current_time() - begun <= 0.5
