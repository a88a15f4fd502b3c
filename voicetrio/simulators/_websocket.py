"""The server's side of one websocket, on wsproto.

wsproto decides what frames look like and what may follow what; this module decides when bytes are written and, when
a fault asks for it, bends them.  Data flows one way through it: `send` turns a message into bytes and hands them to
the :class:`Wire`, which writes each piece whole, so that any task may send at any time.

A connection ends in one of two ways, both exceptions, so that the loops of a simulator need no bookkeeping:
:class:`Disconnected`, there is nothing left to say, and :class:`Closing`, say goodbye with this code and reason.
:meth:`WebSocketPeer.run` runs the loops and does what the first of the two to come up asks for.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import trio
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage

from ._faults import INSERTS
from ._message_faults import MessageFaults, hold
from ._nursery import lone_error
from ._wire import Disconnected, Wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import NoReturn

    from ._faults import FaultState
    from ._message_faults import Log

__all__ = ["Closing", "WebSocketPeer", "close_after"]

MAX_MESSAGE = 1 << 20
"""Bytes (characters of text) of one message from the client; no vendor takes more."""

CLOSE_TIMEOUT = 1.0
"""Seconds that a client has to answer a Close frame."""


class Closing(Exception):
    """Raised in a loop of a simulator to end the connection with a Close frame.

    Attributes:
        code: the close code.
        reason: the reason text.
    """

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class WebSocketPeer:
    """The server's end of an accepted websocket.  Pings and Close frames are answered while someone receives.

    Args:
        wire: the bytes, after the handshake.
        state: the faults and their counts.
        insert: gives the message that a fault of this name inserts, when it is committed.
        log: where faults and the end are noted.
        trailing: bytes that came with the handshake.
        too_big: reason of the Close frame (code 1009) for a message over 1 MiB.

    Attributes:
        insert: as above; a session may put its own here, one that knows what is being spoken about.
        ending: what ends the connection, as soon as that is known.
    """

    def __init__(
        self,
        wire: Wire,
        state: FaultState,
        *,
        insert: Callable[[str], str],
        log: Log,
        trailing: bytes = b"",
        too_big: str = "message too big",
    ) -> None:
        self._wire = wire
        self._state = state
        self.insert = insert
        self._log = log
        self._too_big = too_big
        self._protocol = Connection(ConnectionType.SERVER, trailing_data=trailing)
        self.ending: Closing | Disconnected | None = None
        self._answering = False
        self._nursery: trio.Nursery
        self._faulty = MessageFaults[str | bytes](
            wire,
            state,
            log,
            write=self._write,
            inserts=INSERTS,
            insert=lambda fault: self.insert(fault),
            close=lambda faults: Closing(faults.close_code, faults.close_reason),
        )
        self._parts: list[Any] = []  # of one message, so all str or all bytes
        self._size = 0

    async def send(
        self, message: str | bytes, *, audio: bool = False, written: Callable[[], None] | None = None
    ) -> None:
        """Send one message, text or binary.

        Once the connection is ending it never returns, but waits to be cancelled.  Cancelling it may leave part of the
        message sent; the connection is then of no more use.

        Args:
            message: the message.
            audio: whether it carries audio, for the faults that count audio frames.
            written: called once all of it was handed to the transport, whatever the faults do next.

        Raises:
            Disconnected: the connection is gone.
            Closing: the faults want it closed here.
        """
        if self._answering or self.ending is not None:  # whoever found the end does the rest
            await trio.sleep_forever()
        await self._faulty.send(message, audio=audio, written=written)

    async def receive(self) -> str | bytes:
        """The next message.  Cancelling it loses no message.

        Raises:
            Disconnected: the connection is gone, or the client closed it and was answered.
            Closing: the client broke the websocket protocol.
        """
        while True:
            for event in self._protocol.events():
                if isinstance(event, (TextMessage, BytesMessage)):
                    if (message := self._assemble(event)) is not None:
                        return message
                elif isinstance(event, Ping):
                    if self._protocol.state is ConnectionState.OPEN:
                        await self._wire.send(self._protocol.send(event.response()))
                elif isinstance(event, CloseConnection):
                    self._answering = True
                    try:
                        await self._answer_close(event)
                    finally:
                        self._answering = False
            self._protocol.receive_data(await self._wire.receive())

    async def receive_within(self, seconds: float | None) -> str | bytes | None:
        """The next message, or None if none comes within `seconds`; None waits for ever.

        Raises:
            Disconnected: the connection is gone, or the client closed it and was answered.
            Closing: the client broke the websocket protocol.
        """
        if seconds is None:
            return await self.receive()
        with trio.move_on_after(seconds):
            return await self.receive()
        return None

    async def run(self, *loops: Callable[[], Awaitable[None]], on_end: Callable[[], None] | None = None) -> None:
        """Run the loops of a connection until one of them returns or ends the connection, and close it as it asks.

        A message that is being written is finished before the Close frame, if the client takes it within a second;
        whatever else is then to be sent is not.

        Args:
            loops: what to run.
            on_end: called when all loops have ended, before the connection is closed.

        Raises:
            Disconnected: there was nobody left to close it with.
            BaseExceptionGroup: several loops made a mistake; a single one is raised as it is.
        """
        try:
            with lone_error():
                async with trio.open_nursery() as self._nursery:
                    for loop in loops:
                        self._nursery.start_soon(self._watch, loop, Closing(1000))
        finally:
            if on_end is not None:
                on_end()
        ending = self.ending or Closing(1000)
        if isinstance(ending, Disconnected):
            raise ending
        await self.close(ending.code, ending.reason)

    def spawn(self, task: Callable[[], Awaitable[None]]) -> None:
        """Start a further task beside the loops: it may end the connection as they may, but not by returning."""
        self._nursery.start_soon(self._watch, task, None)

    async def _watch(self, task: Callable[[], Awaitable[None]], ending: Closing | Disconnected | None) -> None:
        try:
            await task()
        except (Closing, Disconnected) as raised:
            ending = raised
        if ending is None or self.ending is not None:
            return
        self.ending = ending
        if isinstance(ending, Closing):
            await self._wire.settle(CLOSE_TIMEOUT)
        self._nursery.cancel_scope.cancel(reason="the connection ended")

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Send a Close frame and wait up to a second for the client's, reading what comes before it.

        Nobody else may be receiving.
        """
        if self._state.look().never_close:
            await hold(self._log, "never_close")
        if self._wire.torn or self._protocol.state is not ConnectionState.OPEN:
            return
        self._log("close", code=code, reason=reason, by="server")
        with trio.move_on_after(CLOSE_TIMEOUT), suppress(Closing, Disconnected):
            await self._wire.send(self._protocol.send(CloseConnection(code=code, reason=reason)))
            while True:
                await self.receive()

    async def _write(self, message: str | bytes, fragment: int | None, written: Callable[[], None] | None) -> None:
        await self._wire.send(self._encode(message, fragment), written=written)

    def _encode(self, message: str | bytes, fragment: int | None) -> bytes:
        protocol = self._protocol
        if protocol.state is not ConnectionState.OPEN:
            raise Disconnected("the websocket is closing")
        if fragment is None or not message:
            return protocol.send(_event(message, finished=True))
        pieces = [message[index : index + fragment] for index in range(0, len(message), fragment)]
        frames: list[bytes] = []
        for number, piece in enumerate(pieces, start=1):
            frames.append(protocol.send(_event(piece, finished=number == len(pieces))))
            frames.append(protocol.send(Ping(payload=b"between fragments")))
        return b"".join(frames)

    def _assemble(self, event: TextMessage | BytesMessage) -> str | bytes | None:
        """The message that `event` completes, if it does."""
        if event.message_finished and not self._parts:
            self._check_size(len(event.data))
            return _plain(event.data)
        self._parts.append(event.data)
        self._size += len(event.data)
        self._check_size(self._size)
        if not event.message_finished:
            return None
        parts, self._parts, self._size = self._parts, [], 0
        return "".join(parts) if isinstance(event, TextMessage) else b"".join(parts)

    def _check_size(self, size: int) -> None:
        if size > MAX_MESSAGE:
            raise Closing(1009, self._too_big)

    async def _answer_close(self, event: CloseConnection) -> None:
        """End the connection as the client's Close frame asks.

        Raises:
            Disconnected: always, but for a frame that breaks the protocol.
            Closing: the frame is wsproto's word for one that breaks the protocol.
        """
        if self._protocol.state is ConnectionState.OPEN:
            raise Closing(event.code, event.reason or "")
        if self._state.look().never_close:
            await hold(self._log, "never_close")
        if self._protocol.state is ConnectionState.REMOTE_CLOSING:
            self._log("close", code=int(event.code), reason=event.reason or "", by="client")
            await self._wire.send(self._protocol.send(event.response()))
        raise Disconnected("closed")


async def close_after(seconds: float | None, code: int, reason: str = "") -> NoReturn:
    """A loop that ends the connection after a while; never, if that is None.

    Raises:
        Closing: the time is over.
    """
    await trio.sleep(math.inf if seconds is None else seconds)
    raise Closing(code, reason)


def _plain(data: str | bytes | bytearray) -> str | bytes:
    return bytes(data) if isinstance(data, bytearray) else data


def _event(message: str | bytes, *, finished: bool) -> TextMessage | BytesMessage:
    if isinstance(message, str):
        return TextMessage(data=message, message_finished=finished)
    return BytesMessage(data=message, message_finished=finished)
