"""Websocket connections driven by the sans-I/O protocol of websockets.

Theory of operation
-------------------
- No task reads ahead.  Who waits for what only the peer can bring, a message, a pong or the close frame, reads the
  socket himself, one task at a time, and leaves for the others what he finds (:meth:`_WebSocket._read`).  So a message
  is with its receiver in the step in which it was read, back-pressure goes straight to the socket, and a task that is
  cancelled while it waits leaves nothing half done.
- What is sent at once is written at once: one write for all messages of a call, and for the pongs that have become due
  meanwhile.  Writes are whole or the last one (``_wire``).  Tasks write in turn, each once: a peer that pings without
  end holds nobody.
- Who reads never writes: where both ends wait for the other to read, reading on is what helps.  Two tasks of the
  connection sleep until there is a pong, a ping or the close frame to write, and until a write is stuck.

websockets parses, masks, counts sizes and answers pings and close frames; joining fragments and decoding text is ours,
as is the upgrade, so that a refusal, garbage or a closed socket is reported at once (``_handshake``).
"""

from __future__ import annotations

import base64
import contextlib
import logging
import os
from collections import deque
from typing import TYPE_CHECKING

import h11
import trio
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import Protocol, Side, State
from websockets.utils import accept_key

from ..errors import ClosedError, ConnectTimeout, LinkClosed
from . import _ending
from ._driven import running
from ._handshake import UPGRADE, UpgradeReply, rejection, request_id
from ._lock import acquire
from ._stream import Transport, open_stream
from ._target import Target
from ._wire import Writer, read_reply
from .connection import Connection, ConnectionOptions, Dial, check_encodable
from .nursery import plain_exceptions

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Callable, Mapping

# What is received at once is parsed at once, without a checkpoint: of the smallest frames in 50 ms.
_RECEIVE_BYTES = 32 * 2**10

# Messages that came with one read are handed out without waiting, but others must have their turn.
_MESSAGES_PER_PASS = 16

# Frames, pongs above all, that wait for the end of a write; with more than these, nothing is read.
_MOST_UNWRITTEN = 256

# At level DEBUG the library would show frames, and with them keys.
_QUIET = logging.Logger("voicetrio.websocket", logging.CRITICAL + 1)


@contextlib.asynccontextmanager
async def open_websocket(
    target: Target, options: ConnectionOptions, ssl_context: ssl.SSLContext | None, dial: Dial
) -> AsyncGenerator[Connection]:
    deadline = trio.current_time() + options.connect_timeout
    async with open_stream(target, dial, ssl_context, deadline) as (transport, stream):
        reply = await _upgrade(stream, target, deadline)
        connection = _WebSocket(transport, stream, reply, target, options)
        async with running(connection, options.close_timeout):
            connection.begin(reply.rest)
            yield connection


async def _upgrade(stream: trio.abc.Stream, target: Target, deadline: float) -> UpgradeReply:
    """Ask for the websocket and read the reply: RFC 6455, 4.1."""
    key = base64.b64encode(os.urandom(16)).decode()
    reply = UpgradeReply(accept_key(key))
    with trio.CancelScope(deadline=deadline):
        # A server that has refused without reading is known by its reply.
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await stream.send_all(_request(target, key))
        await read_reply(stream, reply, target, _RECEIVE_BYTES)
        return reply
    if reply.status is not None:
        raise rejection(target, reply)
    raise ConnectTimeout(f"{target.shown}: no reply to the upgrade in time", provider=target.provider)


def _request(target: Target, key: str) -> bytes:
    http = h11.Connection(h11.CLIENT)
    headers: list[tuple[bytes, bytes]] = [
        (b"Host", target.authority.encode("ascii")),
        *((name.encode(), value.encode()) for name, value in UPGRADE),
        (b"Sec-WebSocket-Key", key.encode()),
        (b"Sec-WebSocket-Version", b"13"),
        *target.headers,
    ]
    request = http.send(h11.Request(method="GET", target=target.resource, headers=headers))
    assert request is not None
    return request


class _WebSocket:
    """A :class:`Connection` over the protocol of websockets."""

    def __init__(
        self,
        transport: Transport,
        stream: trio.abc.Stream,
        reply: UpgradeReply,
        target: Target,
        options: ConnectionOptions,
    ) -> None:
        self.headers: Mapping[str, str] = reply.headers
        self._transport = transport
        self._stream = stream
        self._writer = Writer(stream, send_timeout=options.send_timeout, close_timeout=options.close_timeout)
        self._target = target
        self._options = options
        self._protocol = Protocol(Side.CLIENT, max_size=options.max_message, logger=_QUIET)
        self._task_scope = trio.CancelScope(shield=True)
        self._reading = False
        self._write_lock = trio.Lock()  # it is fair
        self._unwritten: list[bytes] = []
        self._due = trio.Event()  # there is something to write that no task waits for
        self._news = trio.lowlevel.ParkingLot()  # something was read, written or taken, or has ended
        self._messages: deque[str | bytes] = deque()
        self._taken = 0  # since the last checkpoint
        self._partial = bytearray()  # the fragments of a message
        self._is_text = False
        self._pings: list[bytes] = []  # that are not answered
        self._ping_count = 0
        self._ended = False  # nothing more will come
        self._closing = False

    def begin(self, data: bytes) -> None:
        """Take what came along with the reply to the upgrade."""
        if data:
            self._take(data)

    async def run(self) -> None:
        """Run the tasks of the connection until :meth:`end` ends them."""
        with plain_exceptions(), self._task_scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._writer.release_stuck)
                nursery.start_soon(self._write_due)

    @property
    def request_id(self) -> str | None:
        return request_id(self.headers)

    # -- what is asked of it -----------------------------------------------------------------------------------------

    async def send(self, *messages: str | bytes) -> None:
        for message in messages:
            check_encodable(message)
        await trio.lowlevel.checkpoint_if_cancelled()
        await acquire(self._write_lock)
        try:
            self._check_open()
            for message in messages:
                if isinstance(message, str):
                    self._protocol.send_text(message.encode())
                else:
                    self._protocol.send_binary(message)
            await self._write()
        finally:
            self._write_lock.release()
        if self._transport.broken or self._writer.broken:
            await self._raise_end()

    async def receive(self) -> str | bytes:
        if self._messages:
            await self._let_others_run()
        while not self._messages or self._closing:
            self._check_open()
            await self._read()
        if self._news:  # who waits for a pong may wait for room first
            self._news.unpark_all()
        return self._messages.popleft()

    async def ping(self) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_open()
        self._ping_count += 1
        payload = b"%d" % self._ping_count
        self._pings.append(payload)
        try:
            self._protocol.send_ping(payload)
            self._write_soon()
            await self._read_until(lambda: payload not in self._pings)
        finally:
            if payload in self._pings:
                self._pings.remove(payload)

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        with trio.move_on_after(self._options.close_timeout, shield=True):
            await self.end(code, reason)

    async def end(self, code: int = 1000, reason: str | None = None) -> None:
        """Exchange close frames, if there is still somebody to exchange them with; then end everything.

        Cancelled, it ends everything at once.
        """
        try:
            self._writer.release_at(trio.current_effective_deadline())
            if not self._closing:
                self._closing = True
                self._messages.clear()
                self._news.unpark_all()
                if not self._ended and self._protocol.state is State.OPEN:
                    self._protocol.send_close(code, reason or "")
            # A peer that was answered, or has broken the protocol, gets what it is owed, and nobody waits for it.
            async with self._write_lock:
                await self._write()
            while not self._ended:
                await self._read()
        finally:
            self._closing = self._ended = True
            self._task_scope.cancel(reason="the websocket is closed")
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(self._transport)
            self._news.unpark_all()

    # -- reading and writing -----------------------------------------------------------------------------------------

    async def _read(self) -> None:
        """Take what comes next, or wait until another task has taken it, or has written."""
        if self._reading or len(self._unwritten) > _MOST_UNWRITTEN:
            await self._news.park()
            return
        self._reading = True
        try:
            data = await self._stream.receive_some(_RECEIVE_BYTES)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            data = b""
        finally:
            self._reading = False
            self._news.unpark_all()
        self._take(data)

    def _take(self, data: bytes | bytearray) -> None:
        if self._ended:
            return
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        for event in self._protocol.events_received():
            assert isinstance(event, Frame)
            self._take_frame(event)
        protocol = self._protocol
        if protocol.close_rcvd is not None or protocol.parser_exc is not None or protocol.state is State.CLOSED:
            self._ended = True
        self._write_soon()

    def _take_frame(self, frame: Frame) -> None:
        match frame.opcode:
            case Opcode.TEXT | Opcode.BINARY | Opcode.CONT:
                self._take_data(frame)
            case Opcode.PONG if frame.data in self._pings:
                # It answers those before it, too: RFC 6455, 5.5.3.
                del self._pings[: self._pings.index(bytes(frame.data)) + 1]

    def _take_data(self, frame: Frame) -> None:
        if frame.opcode is not Opcode.CONT:
            self._is_text = frame.opcode is Opcode.TEXT
        if self._closing or self._ended:
            return
        self._partial += frame.data
        if not frame.fin:
            return
        data = bytes(self._partial)
        self._partial.clear()
        try:
            self._messages.append(data.decode() if self._is_text else data)
        except UnicodeDecodeError:
            self._protocol.fail(CloseCode.INVALID_DATA, "the text is not UTF-8")
            self._ended = True

    def _write_soon(self) -> None:
        """Have written what the protocol has to say."""
        self._unwritten += self._protocol.data_to_send()
        if self._unwritten:
            self._due.set()

    async def _write_due(self) -> None:
        while True:
            await self._due.wait()
            self._due = trio.Event()
            async with self._write_lock:
                await self._write()

    async def _write(self) -> None:
        """Write all that is due; the lock is held."""
        data = b"".join([*self._unwritten, *self._protocol.data_to_send()])
        self._unwritten.clear()
        if not data:
            return
        try:
            await self._writer.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # the reader will find the stream closed
        finally:
            self._news.unpark_all()

    async def _read_until(self, done: Callable[[], bool]) -> None:
        """Take what comes until something is so.

        While messages are waiting to be taken it does not read on.

        Raises:
            LinkClosed: the connection ended first.
            ClosedError: it was closed from this side.
        """
        while not done():
            self._check_open()
            if len(self._messages) < self._options.queue:
                await self._read()
            else:
                await self._news.park()

    async def _let_others_run(self) -> None:
        self._taken += 1
        if self._taken % _MESSAGES_PER_PASS:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            await trio.lowlevel.checkpoint()

    # -- the end -----------------------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._closing or self._ended:
            raise self._end_error()

    async def _raise_end(self) -> None:
        # The write has failed, the peer's last words may still be under way: let them come.
        with trio.move_on_after(self._options.close_timeout):
            await self._read_until(lambda: False)
        raise self._end_error()

    def _end_error(self) -> LinkClosed | ClosedError:
        if self._closing:
            return ClosedError("this connection is closed")
        if self._writer.stalled:
            return _ending.stalled(self._target, self.request_id, self._options.send_timeout)
        # Where the peer broke the protocol, the code is the one we told it.
        close = self._protocol.close_rcvd or self._protocol.close_sent
        if close is None:
            return _ending.closed(self._target, self.request_id, _ending.ABNORMAL_CLOSURE, "")
        return _ending.closed(self._target, self.request_id, int(close.code), close.reason)
