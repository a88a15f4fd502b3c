"""Websocket connections driven by trio-websocket.

Theory of operation
-------------------
trio-websocket is used through its public functions only, and three measures of ours keep its rough edges away:

- Its reader task runs in a nursery and a *shielded* scope of our own (:meth:`_WebSocket.run`).  A reader that fails
  neither cancels the caller's block nor raises into it: the failure is met by whoever sends or receives next.  And as
  only we end the reader, it still works while a cancelled block says goodbye, and no cancellation but the caller's own
  ever leaves the block.
- Its stream is wrapped (``_wire``): frames are written whole or the connection is dead; the reply to the upgrade is
  read first by us, so that a refusal, garbage or a closed socket is reported at once.
- What waits for something only the reader can bring (a pong, the peer's close frame) stops waiting when the reader
  has ended.

The caller's block is the only other member of the nursery.  So a group that comes out of it has the block's exception
as its one member, and that is raised as it was; anything else in it is a bug or a KeyboardInterrupt, and left alone.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import h11
import trio
import trio_websocket
import wsproto.utilities

from ..errors import (
    ClosedError,
    ConnectError,
    ConnectTimeout,
    LinkClosed,
    ProviderError,
    VoiceTrioError,
)
from . import _ending
from ._driven import running
from ._handshake import rejection, request_id
from ._stream import Transport, open_stream
from ._target import Target
from ._wire import FrameStream, Writer
from .connection import Connection, ConnectionOptions, Dial, check_encodable
from .nursery import plain_exceptions

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Iterator, Mapping

# What is received at once is also worked through at once, without a checkpoint: 4 KiB of two-byte frames in 60 ms,
# 64 KiB in a second.  In return a 32 KiB message costs 0.2 ms more; speech in real time has one or two a second.
_RECEIVE_BYTES = 4 * 2**10

# What the reader task raises because of the peer.  Anything else is a bug.
_READER_FAULTS = (
    ProviderError,
    h11.ProtocolError,
    wsproto.utilities.ProtocolError,
    trio_websocket.ConnectionClosed,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
)


@contextlib.asynccontextmanager
async def open_websocket(
    target: Target, options: ConnectionOptions, ssl_context: ssl.SSLContext | None, dial: Dial
) -> AsyncGenerator[Connection]:
    deadline = trio.current_time() + options.connect_timeout
    async with open_stream(target, dial, ssl_context, deadline) as (transport, stream):
        writer = Writer(stream, send_timeout=options.send_timeout, close_timeout=options.close_timeout)
        connection = _WebSocket(transport, writer, FrameStream(stream, writer, target), target, options)
        async with running(connection, options.close_timeout):
            await connection.opened(deadline)
            yield connection


class _WebSocket:
    """A :class:`Connection` over trio-websocket."""

    def __init__(
        self, transport: Transport, writer: Writer, stream: FrameStream, target: Target, options: ConnectionOptions
    ) -> None:
        self._transport = transport
        self._writer = writer
        self._stream = stream
        self._target = target
        self._options = options
        self._ws: trio_websocket.WebSocketConnection | None = None
        self._tasks_scope = trio.CancelScope(shield=True)
        self._reader_scope = trio.CancelScope()
        self._settled = trio.Event()  # opened, or the reader has ended
        self._ended = trio.Event()  # the reader has ended: nothing more will come
        self._failure: BaseException | None = None
        self._waiting: set[trio.CancelScope] = set()
        self._closing = False
        self._closed = trio.Event()

    async def run(self) -> None:
        """Run the tasks of the connection until :meth:`end` ends them."""
        with plain_exceptions(), self._tasks_scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._writer.release_stuck)
                nursery.start_soon(self._read)

    async def _read(self) -> None:
        """Run trio-websocket's reader task; never raises because of the peer."""
        with plain_exceptions(), self._reader_scope:
            try:
                async with trio.open_nursery() as nursery:
                    self._ws = await trio_websocket.wrap_client_stream(
                        nursery,
                        self._stream,  # type: ignore[arg-type]  # any Stream will do: it is read and written only
                        self._target.authority,
                        self._target.resource,
                        extra_headers=self._target.headers,
                        message_queue_size=self._options.queue,
                        max_message_size=self._options.max_message,
                        receive_buffer_size=_RECEIVE_BYTES,
                    )
                    self._settled.set()
            except* _READER_FAULTS as group:
                self._failure = group.exceptions[0]
        self._ended.set()
        self._settled.set()
        for scope in self._waiting:
            scope.cancel(reason="the websocket's reader has ended")

    async def opened(self, deadline: float) -> None:
        """Wait until the websocket is open.

        Raises:
            ConnectError: It never will be.
        """
        with trio.CancelScope(deadline=deadline):
            await self._settled.wait()
        if self._ws is not None:
            return
        target, reply = self._target, self._stream.reply
        if isinstance(self._failure, VoiceTrioError):
            raise self._failure
        if reply.status is not None and not reply.accepted:
            raise rejection(target, reply)
        if self._failure is not None:
            message = f"{target.shown} accepted, but not as a websocket server must"
            raise ConnectError(message, provider=target.provider) from self._failure
        raise ConnectTimeout(f"{target.shown}: no reply to the upgrade in time", provider=target.provider)

    @property
    def headers(self) -> Mapping[str, str]:
        return self._stream.reply.headers

    @property
    def request_id(self) -> str | None:
        return request_id(self.headers)

    async def send(self, *messages: str | bytes) -> None:
        for message in messages:
            check_encodable(message)
        try:
            for message in messages:
                await self._open_websocket().send_message(message)
        except trio_websocket.ConnectionClosed:
            raise self._end_error() from None
        if self._transport.broken:
            await self._raise_end()

    async def receive(self) -> str | bytes:
        try:
            return await self._open_websocket().get_message()
        except trio_websocket.ConnectionClosed:
            # Nothing more can come, but the reader would go on reading until the peer drops TCP.
            self._reader_scope.cancel(reason="the websocket has ended")
            raise self._end_error() from None

    async def ping(self) -> None:
        websocket = self._open_websocket()
        with self._until_reader_ends():
            try:
                await websocket.ping()
            except trio_websocket.ConnectionClosed:
                raise self._end_error() from None
            return
        raise self._end_error()

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        with trio.move_on_after(self._options.close_timeout, shield=True):
            await self.end(code, reason)

    async def end(self, code: int = 1000, reason: str | None = None) -> None:
        """Exchange close frames, if there is still somebody to exchange them with; then end everything.

        Cancelled, it ends everything at once.
        """
        try:
            self._writer.release_at(trio.current_effective_deadline())
            if self._closing:
                await self._closed.wait()
            elif self._ws is not None:
                self._closing = True
                with self._until_reader_ends():
                    await self._ws.aclose(code, reason)
        finally:
            self._closing = True
            self._closed.set()
            self._tasks_scope.cancel(reason="the websocket is closed")
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(self._transport)

    @contextlib.contextmanager
    def _until_reader_ends(self) -> Iterator[trio.CancelScope]:
        with trio.CancelScope() as scope:
            if self._ended.is_set():
                scope.cancel(reason="the websocket's reader has ended")
            self._waiting.add(scope)
            try:
                yield scope
            finally:
                self._waiting.discard(scope)

    def _open_websocket(self) -> trio_websocket.WebSocketConnection:
        assert self._ws is not None, "only an open connection is given out"
        if self._closing:
            raise self._end_error()
        return self._ws

    async def _raise_end(self) -> None:
        # The write has failed, the peer's last words may still be under way: let the reader come to them.
        with trio.move_on_after(self._options.close_timeout):
            await self._ended.wait()
        raise self._end_error()

    def _end_error(self) -> LinkClosed | ClosedError:
        if self._closing:
            return ClosedError("this connection is closed")
        target = self._target
        if self._writer.stalled:
            return _ending.stalled(target, self.request_id, self._options.send_timeout)
        ended = self._ws.closed if self._ws is not None else None
        code = int(ended.code) if ended is not None else _ending.ABNORMAL_CLOSURE
        return _ending.closed(target, self.request_id, code, (ended and ended.reason) or "")
