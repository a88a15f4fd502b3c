"""The body of an HTTP answer that is sent piece by piece, with the faults that websockets have for messages.

A piece counts as a message, one with audio as an audio frame; the counts go on from one exchange of a connection to
the next.  Over HTTP

- ``accept_silent`` and ``half_open_after=0`` send the head and nothing more, ``stall_after`` the head in any case;
- ``close_after`` and ``drop_after_messages`` both close TCP before the body has ended: the last chunk is missing;
- ``never_close`` keeps a connection open that was to be closed after an answer;
- ``fragment`` splits pieces into chunks of so many bytes;
- ``unknown_message`` and the others that insert one need a body that is made of messages, such as server-sent events,
  and are passed over in any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._message_faults import MessageFaults
from ._wire import Disconnected

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ._faults import FaultState
    from ._message_faults import Log
    from ._wire import Wire

__all__ = ["HttpBody"]


class HttpBody:
    """The body of one answer, whose head was sent.

    Args:
        wire: the bytes.
        state: the faults and their counts.
        chunked: whether pieces are sent as chunks; otherwise the end of the connection is the body's.
        inserts: for each fault that inserts a message, that message as it is written into this body.
        log: where faults are noted.
    """

    def __init__(self, wire: Wire, state: FaultState, *, chunked: bool, inserts: Mapping[str, bytes], log: Log) -> None:
        self._wire = wire
        self._state = state
        self._chunked = chunked
        self._faulty = MessageFaults[bytes](
            wire,
            state,
            log,
            write=self._write,
            inserts=inserts,
            insert=inserts.__getitem__,
            close=lambda _: Disconnected("close_after"),
        )

    async def send(self, data: bytes, *, audio: bool = False, written: Callable[[], None] | None = None) -> None:
        """Send a piece of the body; of an empty one nothing is written.

        Cancelling it may leave part of the piece sent; the connection is then of no more use.

        Args:
            data: the piece.
            audio: whether it carries audio, for the faults that count audio frames.
            written: called once all of it was handed to the transport, whatever the faults do next.

        Raises:
            Disconnected: the connection is gone, or the faults end it here.
        """
        await self._faulty.send(data, audio=audio, written=written)

    async def finish(self) -> None:
        """Send what marks the end of the body.

        Raises:
            Disconnected: the connection is gone, or the faults end it here.
        """
        await self._faulty.commit()
        if self._chunked:
            await self._wire.send(b"0\r\n\r\n")

    async def _write(self, data: bytes, fragment: int | None, written: Callable[[], None] | None) -> None:
        if not self._chunked:
            await self._wire.send(data, written=written)
        elif data:
            size = fragment or len(data)
            await self._wire.send(
                b"".join(_chunk(data[i : i + size]) for i in range(0, len(data), size)), written=written
            )


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
