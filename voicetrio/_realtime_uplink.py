"""The connection of a realtime session: one at a time, for as long as the session lasts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

import trio

from ._link.connection import Connection
from ._link.link import Link, Message
from ._link.policy import is_transient
from ._link.pool import LinkPools
from ._realtime_dialect import RealtimeDialect, RealtimeDialectEvent
from ._realtime_input import AudioInput
from .errors import BreakerOpen, ProviderError, SessionClosed, VoiceTrioError

if TYPE_CHECKING:
    from .realtime import RealtimeProvider

RealtimeLink = Link[RealtimeDialect]

# As after so many failures it waits before it connects anew.
_PATIENT = 5
# However long a provider says that it wants to be left alone, this is longest.
_MOST_PAUSE = 60.0

# Seconds: a link that did not live so long counts as a failure, whatever was said on it.
_LIVED = 4.0


class Uplink:
    """Connects, sends the user's audio, and connects anew when the connection is lost.

    Args:
        provider: whose options hold.
        nursery: where links live; the session's.
        audio: the user's.
        on_events: called with what the dialect makes of each message, in the link's receive loop.
        on_up: called synchronously, as the others, when there is a connection.
        on_lost: … when it is lost.
        on_unreachable: … when none came about, and it will be tried again in a while.
        on_refused: … when the provider refuses for good.

    Attributes:
        link: the one in use; None if there is none.
        error: what ended it for good.
    """

    def __init__(
        self,
        provider: RealtimeProvider,
        nursery: trio.Nursery,
        audio: AudioInput,
        *,
        on_events: Callable[[RealtimeLink, Iterable[RealtimeDialectEvent]], Awaitable[None]],
        on_up: Callable[[RealtimeLink], None],
        on_lost: Callable[[ProviderError], None],
        on_unreachable: Callable[[ProviderError], None],
        on_refused: Callable[[ProviderError], None],
    ) -> None:
        self._pools: LinkPools[RealtimeDialect] = LinkPools(nursery, provider.name, provider._policy())
        self.link: RealtimeLink | None = None
        self.error: VoiceTrioError | None = None
        self._provider = provider
        self._audio = audio
        self._tell_events = on_events
        self._tell_up = on_up
        self._tell_lost = on_lost
        self._tell_unreachable = on_unreachable
        self._tell_refused = on_refused
        self._scope = trio.CancelScope()
        self._saying: set[trio.CancelScope] = set()
        self._down: ProviderError | None = None
        self._closed = False
        self._late_bytes = 0
        self._changed = trio.lowlevel.ParkingLot()

    @property
    def connections(self) -> int:
        """How many links became ready."""
        return self._pools.connections

    @property
    def late_bytes(self) -> int:
        """Of audio that dialects have dropped."""
        return self._late_bytes + (0 if self.link is None else self.link.dialect.late_bytes)

    def check(self) -> None:
        """Raise if nothing can be said any more.

        Raises:
            VoiceTrioError: why.
        """
        if self.error is not None:
            raise self.error.with_traceback(None)  # or it would grow with each call
        if self._closed:
            raise SessionClosed("the session is closed")

    async def connected(self) -> RealtimeLink:
        """The link in use, as soon as there is one.

        Raises:
            VoiceTrioError: why there is none.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            self.check()
            if self.link is not None:
                return self.link
            if self._down is not None:
                raise self._down.with_traceback(None)
            await self._changed.park()

    async def say(self, link: RealtimeLink, message: Message) -> bool:
        """Queue a message on the link in use, waiting for room.  Cancelled, it has queued nothing.

        Returns:
            Whether it was queued: not if the link was lost first.
        """
        with trio.CancelScope() as scope:
            self._saying.add(scope)
            try:
                if link is self.link:
                    await link.send(message)
                    return True
            finally:
                self._saying.discard(scope)
        return False

    def cancel(self, asked: int) -> None:
        """Have the reply under way stopped, and `asked` ones that have not begun.  Safe within a fence."""
        link = self.link
        if link is None or not link.usable:
            return
        for message in link.dialect.cancel(asked):
            link.send_nowait(message)
        link.expect_acknowledgement(self._provider.cancel_timeout)

    async def keep(
        self,
        new_dialect: Callable[[], RealtimeDialect],
        open_connection: Callable[[], AbstractAsyncContextManager[Connection]],
    ) -> None:
        """Keep a link, until the provider refuses for good."""
        endpoint, policy = self._provider._endpoint(), self._provider._policy()
        target = endpoint.target(self._provider.name)

        def make_link() -> RealtimeLink:
            return Link(new_dialect(), target, open_connection, policy, self._on_events, self._on_lost)

        pool = self._pools.get(endpoint, policy, make_link)
        failures = 0
        while not self._closed:  # its links take their leave for a moment after that
            try:
                link = await pool.acquire()
            except ProviderError as error:
                if not (is_transient(error) or isinstance(error, BreakerOpen)):
                    self._tell_refused(error)
                    return
                self._down = error
                self._tell_unreachable(error)
                self._changed.unpark_all()
                await trio.sleep(min(error.retry_after or policy.pause(_PATIENT), _MOST_PAUSE))
                continue
            began = trio.current_time()
            self._adopt(link)
            with self._scope:
                await self._send_audio(link)
            pool.release(link, worked=link.dialect.answered)
            if link.failure is not None and not is_transient(link.failure):
                self._tell_refused(link.failure)
                return
            failures = 0 if trio.current_time() - began >= _LIVED else failures + 1
            if failures:
                await trio.sleep(policy.pause(failures))

    def end(self, error: VoiceTrioError) -> None:
        """Nothing can be said any more, and why."""
        if self.error is None:
            self.error = error
        self._changed.unpark_all()

    def farewell(self, nursery: trio.Nursery) -> None:
        """Close its links politely, in this nursery."""
        self._pools.farewell(nursery)

    def close(self) -> None:
        """The session is closed."""
        self._closed = True
        self._changed.unpark_all()

    def _adopt(self, link: RealtimeLink) -> None:
        """Use a link: what it says may come before our own task knows that there is one."""
        if self.link is not None or not link.usable:
            return
        self.link = link
        self._scope = trio.CancelScope()
        self._down = None
        self._tell_up(link)
        self._changed.unpark_all()

    async def _send_audio(self, link: RealtimeLink) -> None:
        while True:
            position, pcm = await self._audio.peek()
            await link.send(link.dialect.audio(pcm))
            self._audio.advance(position, pcm)

    async def _on_events(self, link: RealtimeLink, events: Iterable[Any]) -> None:
        self._adopt(link)
        if link is self.link:
            await self._tell_events(link, events)

    def _on_lost(self, link: RealtimeLink) -> None:
        if link is not self.link:
            return
        assert link.failure is not None
        self._late_bytes = self.late_bytes
        self.link = None
        for scope in (self._scope, *self._saying):
            scope.cancel(reason="the link is lost")
        if not self._closed:
            self._tell_lost(link.failure)
        self._changed.unpark_all()
