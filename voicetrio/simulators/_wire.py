"""The server's end of one byte stream, and the place where bytes are bent."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._faults import FaultState

__all__ = ["Disconnected", "Wire"]

CHUNK = 65536


class Disconnected(Exception):
    """There is no connection any more: the peer went, or a fault took it away."""


class Wire:
    """A byte stream that several tasks may write to, each write whole.

    Cancelling a write may leave part of it sent; `torn` is then true and nothing more can be said on this stream.

    Args:
        stream: the server's end; the wire does not close it.
        state: the faults and their counts.
    """

    def __init__(self, stream: trio.abc.Stream, state: FaultState) -> None:
        self.torn: bool = False
        self.half_open = False
        self._stream = stream
        self._state = state
        self._lock = trio.Lock()

    async def send(self, data: bytes, *, written: Callable[[], None] | None = None) -> None:
        """Send all of `data`.

        Args:
            data: the bytes.
            written: called once the stream has taken all of them, even if a fault drops the connection just there.

        Raises:
            Disconnected: the peer is gone, or the faults want the connection dropped here.
        """
        try:
            self._lock.acquire_nowait()
        except trio.WouldBlock:
            await self._lock.acquire()
        try:
            await self._send(data, written)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise Disconnected("the peer is gone") from error
        finally:
            self._lock.release()

    async def settle(self, seconds: float) -> None:
        """Wait until the writes asked for so far have ended, but not longer than this."""
        if self._lock.locked():
            with trio.move_on_after(seconds):
                async with self._lock:
                    pass

    async def receive(self) -> bytes:
        """Some bytes, at least one.

        Raises:
            Disconnected: the peer closed its sending side or is gone.
        """
        try:
            data = await self._stream.receive_some(CHUNK)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise Disconnected("the peer is gone") from error
        if self.half_open:
            await trio.sleep_forever()
        if not data:
            raise Disconnected("the peer closed the connection")
        return bytes(data)

    async def _send(self, data: bytes, written: Callable[[], None] | None) -> None:
        if self.half_open:
            await trio.sleep_forever()
        faults = self._state.look()
        limit = math.inf if faults.drop_after_bytes is None else faults.drop_after_bytes
        room = limit - self._state.written
        dropped, whole = len(data) >= room, len(data) <= room
        if dropped:
            data = data[: max(int(room), 0)]
        self.torn = True
        for piece in _single_bytes(data) if faults.one_byte_writes else (data,):
            await self._stream.send_all(piece)
        self.torn = False
        self._state.written += len(data)
        if whole and written is not None:
            written()
        if dropped:
            raise Disconnected("drop_after_bytes")


def _single_bytes(data: bytes) -> list[bytes]:
    return [data[index : index + 1] for index in range(len(data))]
