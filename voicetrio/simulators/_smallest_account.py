"""What one account has running, over all its sockets and HTTP requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

    from .smallest import SmallestOptions

__all__ = ["Account"]


class Account:
    """Counts sockets and running requests.

    Args:
        options: gives the options that hold now.

    Attributes:
        sockets: websockets that are open.
        running: requests that are being spoken.
    """

    def __init__(self, options: Callable[[], SmallestOptions]) -> None:
        self.sockets = 0
        self.running = 0
        self._options = options
        self._waiting = trio.lowlevel.ParkingLot()

    @property
    def queues(self) -> bool:
        """Whether a request over the limit waits for its turn, instead of being refused."""
        return self._options().excess == "queue"

    @property
    def full(self) -> bool:
        """Whether as many requests are running as may."""
        limit = self._options().running_limit
        return limit is not None and self.running >= limit

    def start(self) -> None:
        """Count one more running request."""
        self.running += 1

    async def wait(self) -> None:
        """Wait until one more may run, and count it.  Cancelled, it counts nothing."""
        while self.full:
            await self._waiting.park()
        self.running += 1

    def stop(self) -> None:
        """Count one less, and let one that waits go on."""
        self.running -= 1
        self._waiting.unpark()
