"""The HTTP connections of a session: one for each exchange under way, and if wanted one in reserve.

Connecting is never part of an exchange.  It runs in the session's nursery, so that an exchange that is cut off, which
costs its connection, leaves a warm one to the next.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import trio

from ..errors import ProviderError, SessionClosed, VoiceTrioError
from .connection import Connection

# Seconds for the end of a body whose contents were complete; whoever keeps it open loses the connection.
_END_TIMEOUT = 1.0

OpenConnection = Callable[[], AbstractAsyncContextManager[Connection]]


class Line:
    """One connection, on which one exchange follows another.

    Attributes:
        used: whether an exchange was on it before: the server may have closed it in the meantime.
        free_since: when it was connected, or its latest exchange was over.
        settled: whether it was connected, or could not be.
        awaited: whether an exchange waits for it: another makes a connection of its own.
        failure: what ended it, or kept it from coming about.
    """

    def __init__(self, open_connection: OpenConnection) -> None:
        self.used = False
        self.free_since = 0.0
        self.settled = trio.Event()
        self.awaited = False
        # What whoever waits gets to hear if the connecting is cancelled with its session.
        self.failure: VoiceTrioError | None = SessionClosed("the session was closed")
        self._open = open_connection
        self._connection: Connection | None = None
        self._idle: trio.CancelScope | None = None
        self._given_back = trio.Event()
        self._whole = False
        self._over = False

    @property
    def connection(self) -> Connection:
        """The connection of a line that was acquired."""
        assert self._connection is not None
        return self._connection

    @property
    def free(self) -> bool:
        """Whether it can be taken."""
        return self._idle is not None and not self._over

    @property
    def ending(self) -> bool:
        """Whether the exchange on it is all but over: it will be free soon."""
        return self._given_back.is_set() and not self._over

    async def wait(self) -> None:
        """Wait until it is connected; raises why it could not be."""
        await self.settled.wait()
        if self.failure is not None:
            raise self.failure

    def take(self) -> None:
        """Take a free line for an exchange."""
        assert self._idle is not None
        self._idle.cancel(reason="an exchange begins")
        self._idle = None

    def give_back(self, *, whole: bool) -> None:
        """The contents of the answer are complete; `whole` if the body's end was received as well."""
        self._whole = whole
        self._given_back.set()

    async def drop(self) -> None:
        """Drop the connection: the server sees it at once.  Cancellation does not cut it short."""
        self._over = True
        await self.connection.close()
        self._given_back.set()

    async def run(self) -> None:
        """Connect and keep the connection until it ends; never raises because of the peer."""
        try:
            async with self._open() as self._connection:
                self.failure = None
                while not self._over:
                    await self._rest()
                    await self._serve()
                    self.used = True
        except ProviderError as error:
            self.failure = error
        finally:
            self._over = True
            self.settled.set()

    async def _rest(self) -> None:
        """Wait to be taken.  It raises if the peer leaves."""
        with trio.CancelScope() as self._idle:
            self.free_since = trio.current_time()
            self.settled.set()
            await self.connection.receive()
            self._over = True  # an answer that nobody asked for

    async def _serve(self) -> None:
        """Wait for the end of the exchange."""
        if self._over:
            return
        await self._given_back.wait()
        if not self._whole and not self._over:
            with trio.move_on_after(_END_TIMEOUT) as scope:
                while await self.connection.receive() != b"":
                    pass
            self._over = scope.cancelled_caught
        self._given_back = trio.Event()


class Lines:
    """A session's lines to one server.

    Args:
        nursery: where they live; the session's.
        open_connection: opens a connection.
        reserve: keep one ready while an exchange is under way.
    """

    def __init__(self, nursery: trio.Nursery, open_connection: OpenConnection, *, reserve: bool) -> None:
        self._nursery = nursery
        self._open_connection = open_connection
        self._reserve = reserve
        self._lines: list[Line] = []
        self._closed = False

    def close(self) -> None:
        """Make no more lines: the session is closed."""
        self._closed = True

    async def acquire(self) -> Line:
        """A line for one exchange: :meth:`Line.give_back` it, or :meth:`Line.drop` it.

        Raises:
            ProviderError: if no connection came about.
            SessionClosed: if the session is closed, or was meanwhile.

        Cancelling it leaves the connecting under way, for the next exchange.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while (line := self._free()) is None:
            coming = self._coming(shared=False)
            coming.awaited = True
            try:
                await coming.wait()
            finally:
                coming.awaited = False
        line.take()
        if self._reserve and not self._closed and not any(other.free or other.ending for other in self._lines):
            self._coming(shared=False)
        return line

    async def ready(self) -> None:
        """Wait until there is a free line; raises and can be cancelled like :meth:`acquire`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while self._free() is None:
            await self._coming(shared=True).wait()

    def _free(self) -> Line | None:
        # The one free for the shortest time: the server is the likeliest to have closed the others.
        return max((line for line in self._lines if line.free), key=lambda line: line.free_since, default=None)

    def _coming(self, *, shared: bool) -> Line:
        """A line that is being connected, if not `shared` one that no exchange waits for; a new one if there is none.

        Raises:
            SessionClosed: if the session is closed.
        """
        if self._closed:
            raise SessionClosed("the session is closed")
        connecting = (line for line in self._lines if not line.settled.is_set())
        coming = next((line for line in connecting if shared or not line.awaited), None)
        if coming is None:
            coming = Line(self._open_connection)
            self._lines.append(coming)
            self._nursery.start_soon(self._keep, coming)
        return coming

    async def _keep(self, line: Line) -> None:
        try:
            await line.run()
        finally:
            self._lines.remove(line)
