"""A pair of connected byte streams in memory that hold a bounded number of bytes, as sockets do.

:func:`trio.testing.memory_stream_pair` is not bounded, and takes twice the scheduler passes of a socket.
"""

from __future__ import annotations

import trio


class End(trio.abc.Stream):
    """One end; what is sent at the one is received at the other.

    Args:
        capacity: bytes that the other end holds.
        prompt: goes on in the same step where it need not wait, as another process does for us.
    """

    def __init__(self, capacity: float, *, prompt: bool = False) -> None:
        self._capacity = capacity
        self._prompt = prompt
        self._inbox = bytearray()
        self._changed = trio.lowlevel.ParkingLot()
        self._closed = False
        self.peer = self

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send, waiting for room; cancelling it may leave a part sent."""
        await trio.lowlevel.checkpoint_if_cancelled()
        view = memoryview(data)
        while True:
            if self._closed:
                raise trio.ClosedResourceError
            if self.peer._closed:
                raise trio.BrokenResourceError
            room = self._capacity - len(self.peer._inbox)
            if room >= len(view):
                break
            if room > 0:
                self._put(view[: int(room)])
                view = view[int(room) :]
            await self._changed.park()
        self._put(view)
        if not self._prompt:
            await trio.lowlevel.cancel_shielded_checkpoint()

    def _put(self, data: memoryview) -> None:
        self.peer._inbox += data
        self.peer._changed.unpark_all()

    async def wait_send_all_might_not_block(self) -> None:
        """Return at once: nobody here asks."""
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Some bytes, at least one; ``b""`` once the other end is closed and all was read."""
        if self._inbox and self._prompt:
            await trio.lowlevel.checkpoint_if_cancelled()
        elif self._inbox:
            await trio.lowlevel.checkpoint()
        while not self._inbox:
            if self._closed:
                raise trio.ClosedResourceError
            if self.peer._closed:
                await trio.lowlevel.checkpoint()
                return b""
            await self._changed.park()
        if self._closed:
            raise trio.ClosedResourceError
        data = bytes(self._inbox[:max_bytes])
        del self._inbox[:max_bytes]
        self.peer._changed.unpark_all()
        return data

    async def aclose(self) -> None:
        """Close both directions."""
        self._closed = True
        self._changed.unpark_all()
        self.peer._changed.unpark_all()
        await trio.lowlevel.checkpoint()


def pipe(capacity: float, *, prompt: bool = False) -> tuple[End, End]:
    """The client's end and the server's, each of which holds `capacity` bytes; whether the server's is prompt."""
    left, right = End(capacity), End(capacity, prompt=prompt)
    left.peer, right.peer = right, left
    return left, right
