"""What stands between a driver of websockets and the byte stream.

::

    trio-websocket                 the sans-I/O protocol of websockets
    FrameStream                    |
    Writer                         Writer          frames are written whole or the connection is dead
    SSLStream                      SSLStream       with wss only
    Transport                      Transport       a failed write does not hide what the peer said before (`_stream`)
    socket, or whatever `dial` gave
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import h11
import trio

from ..errors import ConnectError
from ._alarm import Alarm
from ._handshake import UpgradeReply, rejection

if TYPE_CHECKING:
    from ._target import Target

# How much of a frame must be accepted in each `send_timeout`: one TLS record.
_PIECE = 16 * 2**10

# A refusal's body is for the message only, so it is not waited for as the connection is.
_BODY_TIMEOUT = 1.0


class Writer:
    """Writes to a stream, each of which is whole or the last one.

    Attributes:
        broken: Whether a write was not whole.  The stream is closed then.
        stalled: Whether that was because the peer accepted no data for the send timeout.
    """

    def __init__(self, stream: trio.abc.Stream, *, send_timeout: float, close_timeout: float) -> None:
        self._stream = stream
        self._send_timeout = send_timeout
        self._close_timeout = close_timeout
        self._write: trio.CancelScope | None = None
        self._stuck = Alarm()
        self._release_at = math.inf
        self.broken = False
        self.stalled = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Write some frames.

        Cancellation waits until they are whole: half a frame would garble every frame after it.  A write that is stuck
        can be cancelled after `close_timeout`; it takes the stream with it, as the send timeout does.

        Raises:
            trio.BrokenResourceError: The peer accepted no data for the send timeout.
            trio.ClosedResourceError: The stream was closed.
        """
        view = memoryview(data)
        whole = False
        with trio.CancelScope(shield=True) as scope:
            self._write = scope
            self._stuck.set(min(trio.current_time() + self._close_timeout, self._release_at))
            try:
                for start in range(0, len(view), _PIECE):
                    scope.deadline = trio.current_time() + self._send_timeout
                    await self._stream.send_all(view[start : start + _PIECE])
                whole = True
            finally:
                self._write = None
                self._stuck.set(math.inf)
                if not whole:
                    self.broken = True
                    with trio.CancelScope(shield=True):
                        await trio.aclose_forcefully(self._stream)
        if not whole:
            self.stalled = True
            raise trio.BrokenResourceError(f"the peer accepted no data for {self._send_timeout} s")

    def release_at(self, time: float) -> None:
        """Let cancellation through to all writes from that time on: the connection is being closed."""
        self._release_at = time
        if self._write is not None:
            self._stuck.set(min(self._stuck.at, time))

    async def release_stuck(self) -> None:
        """Let cancellation through to writes that are stuck.  Runs until it is cancelled.

        Without it, leaving a block while the peer takes no data would last as long as the send timeout.
        """
        while True:
            await self._stuck.wait()
            if self._write is not None:
                self._write.shield = False
            self._stuck.set(math.inf)


async def read_reply(stream: trio.abc.Stream, reply: UpgradeReply, target: Target, max_bytes: int) -> bytes:
    """Read the server's reply to the upgrade, until it has accepted; gives all that came.

    Raises:
        ConnectError: It is none of a websocket server.
        UpgradeRejected: The server refused.
    """
    received = bytearray()
    complete = False
    try:
        while reply.status is None:
            data = await stream.receive_some(max_bytes)
            received += data
            complete = reply.feed(bytes(data))
        if reply.accepted:
            return bytes(received)
        with trio.move_on_after(_BODY_TIMEOUT):
            while not complete:
                complete = reply.feed(bytes(await stream.receive_some(max_bytes)))
    except (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError) as exc:
        if reply.status in {None, 101}:
            words = target.printable(str(exc)) or "the connection was reset"
            message = f"{target.shown} gave no websocket reply: {words}"
            raise ConnectError(message, provider=target.provider) from exc
    raise rejection(target, reply)


class FrameStream(trio.abc.Stream):
    """The stream that trio-websocket gets: what it writes is whole, and the reply to the upgrade is read here first.

    Attributes:
        reply: The server's reply to the upgrade.
    """

    def __init__(self, stream: trio.abc.Stream, writer: Writer, target: Target) -> None:
        self._stream = stream
        self._writer = writer
        self._target = target
        self.reply = UpgradeReply()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Write one frame, see :meth:`Writer.send_all`."""
        await self._writer.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """As the stream below does."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive; at first, until the reply to the upgrade is complete, and all of it, see :func:`read_reply`."""
        if not self.reply.accepted:
            return await read_reply(self._stream, self.reply, self._target, max_bytes or 2**16)
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        """Close the stream below."""
        await self._stream.aclose()
