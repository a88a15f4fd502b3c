"""What one task has read, for whoever waits for it."""

from __future__ import annotations

from collections import deque

import trio


class Handover:
    """Messages from a task that reads a stream to those who take them; it reads on when all are taken.

    A message for which somebody waited is as good as taken: who was woken has it before he can be cancelled.
    """

    def __init__(self) -> None:
        self._messages: deque[str | bytes] = deque()
        self._takers = trio.lowlevel.ParkingLot()
        self._woken = 0  # takers that have not run since
        self._reader = trio.lowlevel.ParkingLot()
        self._ended = False

    def put(self, message: str | bytes) -> None:
        """Hand a message over."""
        self._messages.append(message)
        self._woken += len(self._takers.unpark())

    def end(self) -> None:
        """Nothing more will come."""
        self._ended = True
        self._woken += len(self._takers.unpark_all())

    async def take(self) -> str | bytes:
        """Take the next message; does not let others run if there is one.  Cancelled, it has taken none.

        Raises:
            trio.EndOfChannel: all were taken, and nothing more will come.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._messages:
            if self._ended:
                raise trio.EndOfChannel
            await self._takers.park()
            self._woken -= 1
        message = self._messages.popleft()
        if self._reader:
            self._reader.unpark_all()
        return message

    async def taken(self) -> None:
        """Wait until all messages are taken; no checkpoint if they are."""
        while len(self._messages) > self._woken:
            await self._reader.park()
