"""The life of a websocket's tasks, whichever library drives it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

import trio

from .nursery import plain_exceptions

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

# Leaving by an exception we send the close frame, but the caller should not wait for the answer.
_HURRIED_CLOSE_TIMEOUT = 0.02


class Driven(Protocol):
    """What a driver has besides a connection's methods."""

    async def run(self) -> None:
        """Run the tasks of the connection until :meth:`end` ends them."""

    async def end(self) -> None:
        """Exchange close frames and end everything; cancelled, at once."""


@asynccontextmanager
async def running(connection: Driven, close_timeout: float) -> AsyncGenerator[None]:
    """Run a connection's tasks beside a block, and end them with it; the block's own exception passes unchanged."""
    timeout = _HURRIED_CLOSE_TIMEOUT
    with plain_exceptions():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.run)
            try:
                yield
                timeout = close_timeout
            finally:
                with trio.move_on_after(timeout, shield=True):
                    await connection.end()
