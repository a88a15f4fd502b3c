"""Messages of a simulator that wait for their time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ._websocket import Closing

if TYPE_CHECKING:
    from ._websocket import WebSocketPeer

__all__ = ["Outbox"]

MAX_WAITING = 10_000
"""Messages that may wait, before whoever has one more waits himself."""


class Outbox:
    """Sends messages in order, each some time after it was put in.

    Args:
        peer: the websocket.
    """

    def __init__(self, peer: WebSocketPeer) -> None:
        self._peer = peer
        self._inlet, self._outlet = trio.open_memory_channel[tuple[float, str | Closing, bool]](MAX_WAITING)

    async def put(self, message: str | Closing, delay: float = 0.0, *, audio: bool = False) -> None:
        """Queue a message, or the end of the connection; `audio` if faults that count audio shall count it."""
        await self._inlet.send((trio.current_time() + delay, message, audio))

    async def run(self) -> None:
        """Send until the connection ends.

        Raises:
            Closing: it was put in, and its time has come.
            Disconnected: the client is gone.
        """
        while True:
            due, message, audio = await self._outlet.receive()
            if due > trio.current_time():
                await trio.sleep_until(due)
            if isinstance(message, Closing):
                raise message
            await self._peer.send(message, audio=audio)
