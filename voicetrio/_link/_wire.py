"""The stream wrapper right below trio-websocket.

::

    trio-websocket
    FrameStream     frames are written whole or the connection is dead; the upgrade reply is read here first
    SSLStream       with wss only
    Transport       a failed write does not hide what the peer said before (`_stream`)
    socket, or whatever `dial` gave
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import h11
import trio

from ..errors import ConnectError
from ._handshake import UpgradeReply, rejection

if TYPE_CHECKING:
    from ._target import Target

# How much of a frame must be accepted in each `send_timeout`: one TLS record.
_PIECE = 16 * 2**10

# A refusal's body is for the message only, so it is not waited for as the connection is.
_BODY_TIMEOUT = 1.0


class FrameStream(trio.abc.Stream):
    """A stream on which a write is whole or the last one, and which reads the upgrade reply before anyone else.

    Attributes:
        stalled: Whether the peer accepted no data for the send timeout.  The stream below is closed then.
        reply: The server's reply to the upgrade.
    """

    def __init__(self, stream: trio.abc.Stream, target: Target, *, send_timeout: float, close_timeout: float) -> None:
        self._stream = stream
        self._target = target
        self._send_timeout = send_timeout
        self._stuck_after = close_timeout / 2  # two looks of `release_stuck_writers` make one close_timeout
        self._write: trio.CancelScope | None = None
        self._write_began = trio.lowlevel.ParkingLot()
        self.stalled = False
        self.reply = UpgradeReply()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Write one frame.

        Cancellation waits until the frame is whole: half a frame would garble every frame after it.  A write that is
        stuck can be cancelled after a while; it takes the stream below with it, as the send timeout does.
        """
        view = memoryview(data)
        whole = False
        with trio.CancelScope(shield=True) as scope:
            self._write = scope
            self._write_began.unpark_all()
            try:
                for start in range(0, len(view), _PIECE):
                    scope.deadline = trio.current_time() + self._send_timeout
                    await self._stream.send_all(view[start : start + _PIECE])
                whole = True
            finally:
                self._write = None
                if not whole:
                    with trio.CancelScope(shield=True):
                        await trio.aclose_forcefully(self._stream)
        if not whole:
            self.stalled = True
            raise trio.BrokenResourceError(f"the peer accepted no data for {self._send_timeout} s")

    async def release_stuck_writers(self) -> None:
        """Let cancellation through to writes that are stuck.  Runs until it is cancelled.

        Without it, leaving a block while the peer takes no data would last as long as the send timeout.  It costs a
        write nothing but a look at an empty parking lot, as it sleeps through all writes that are not stuck.
        """
        while True:
            write = self._write
            if write is None:
                await self._write_began.park()
                continue
            await trio.sleep(self._stuck_after)
            if self._write is write:
                write.shield = False

    async def wait_send_all_might_not_block(self) -> None:
        """As the stream below does."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive; at first, until the reply to the upgrade is complete, and all of it.

        Raises:
            ConnectError: The reply is none of a websocket server.
            UpgradeRejected: The server refused.
        """
        if not self.reply.accepted:
            return await self._receive_reply(max_bytes)
        return await self._stream.receive_some(max_bytes)

    async def _receive_reply(self, max_bytes: int | None) -> bytes:
        received = bytearray()
        complete = False
        try:
            while self.reply.status is None:
                data = await self._stream.receive_some(max_bytes)
                received += data
                complete = self.reply.feed(bytes(data))
            if self.reply.accepted:
                return bytes(received)
            with trio.move_on_after(_BODY_TIMEOUT):
                while not complete:
                    complete = self.reply.feed(bytes(await self._stream.receive_some(max_bytes)))
        except (trio.BrokenResourceError, h11.RemoteProtocolError) as exc:
            if self.reply.status in {None, 101}:
                words = self._target.printable(str(exc)) or "the connection was reset"
                message = f"{self._target.shown} gave no websocket reply: {words}"
                raise ConnectError(message, provider=self._target.provider) from exc
        raise rejection(self._target, self.reply)

    async def aclose(self) -> None:
        """Close the stream below."""
        await self._stream.aclose()
