"""Hand-made websocket servers for the driver's tests: they can do what a polite library would not."""

import contextlib
import functools
import socket
import struct
from typing import get_args

import attrs
import trio
import trio.testing
import wsproto
from wsproto.events import AcceptConnection, CloseConnection, Message, Ping, Request

from voicetrio import errors
from voicetrio._link import websocket
from voicetrio._link.connection import ConnectionOptions, Driver

PROVIDER = "acme"

DRIVERS = get_args(Driver)
driver = "websockets"  # what connect() uses; the fixture of the tests sets it


def connect(url, options=None, **arguments):
    """Connect with the driver that is being tested."""
    return websocket.connect(url, options=attrs.evolve(options or ConnectionOptions(), driver=driver), **arguments)


lockstep = trio.testing.lockstep_stream_pair  # a write there ends when the peer has read it: back-pressure


class Peer:
    """The server's end of one connection."""

    def __init__(self, stream):
        self.stream = stream
        self.wire = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        self._events = iter(())

    async def next_event(self):
        """The next event of the client's, or None when it closed TCP."""
        while True:
            for event in self._events:
                return event
            data = await self.stream.receive_some(65536)
            if not data:
                return None
            self.wire.receive_data(bytes(data))
            self._events = self.wire.events()

    async def accept(self, headers=()):
        request = await self.next_event()
        if request is None:
            raise trio.BrokenResourceError("the client left during the handshake")
        assert isinstance(request, Request)
        await self.send(AcceptConnection(extra_headers=list(headers)))
        return request

    async def send(self, *events):
        await self.stream.send_all(b"".join(bytes(self.wire.send(event)) for event in events))

    async def receive_message(self):
        """The next whole message, answering pings; None when the client closed."""
        parts = []
        while True:
            event = await self.next_event()
            if event is None or isinstance(event, CloseConnection):
                return None
            if isinstance(event, Ping):
                await self.send(event.response())
            if isinstance(event, Message):
                parts.append(event.data)
                if event.message_finished:
                    return type(parts[0])().join(parts)

    async def until_closed(self):
        """Answer pings and the close frame; return the client's close event, or None if it sent none."""
        while (event := await self.next_event()) is not None:
            if isinstance(event, CloseConnection):
                if self.wire.state is wsproto.connection.ConnectionState.REMOTE_CLOSING:
                    await self.send(event.response())
                await self.stream.aclose()
                return event
            if isinstance(event, Ping):
                await self.send(event.response())
        return None

    def reset(self):
        """Drop TCP with a reset instead of an orderly end."""
        self.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.stream.socket.close()


def serving(play):
    """A stream handler that plays `play(peer)` and forgives that the client went away."""

    async def handler(stream):
        async with stream:
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await play(Peer(stream))

    return handler


@contextlib.asynccontextmanager
async def tcp_server(play, ssl_context=None):
    """Play `play(peer)` for each connection to the yielded ``host:port``, over real sockets."""
    async with trio.open_nursery() as nursery:
        if ssl_context is None:
            serve = functools.partial(trio.serve_tcp, serving(play), 0, host="127.0.0.1")
        else:
            serve = functools.partial(
                trio.serve_ssl_over_tcp,
                serving(play),
                0,
                ssl_context,
                host="127.0.0.1",
                https_compatible=True,
            )
        [listener] = await nursery.start(serve)
        listener = getattr(listener, "transport_listener", listener)
        yield f"127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


def memory_dial(nursery, play, pair=trio.testing.memory_stream_pair):
    """A dial function to a server that lives in `nursery` and needs no socket."""

    async def dial(_host, _port):
        client, server = pair()
        nursery.start_soon(serving(play), server)
        return client

    return dial


def memory_connect(nursery, play, *, pair=trio.testing.memory_stream_pair, **options):
    """Connect to `play(peer)` in memory."""
    return connect(
        "ws://acme.test/speak",
        options=ConnectionOptions(**options),
        dial=memory_dial(nursery, play, pair),
        provider=PROVIDER,
    )


async def echo(peer):
    """Send every message back."""
    await peer.accept()
    while (message := await peer.receive_message()) is not None:
        event = (
            wsproto.events.TextMessage(data=message)
            if isinstance(message, str)
            else wsproto.events.BytesMessage(data=message)
        )
        await peer.send(event)
    if peer.wire.state is wsproto.connection.ConnectionState.REMOTE_CLOSING:
        await peer.send(CloseConnection(code=1000))


async def ends(connection):
    """Receive until the end; return the messages and the error."""
    messages = []
    while True:
        try:
            messages.append(await connection.receive())
        except errors.LinkClosed as error:
            return messages, error
