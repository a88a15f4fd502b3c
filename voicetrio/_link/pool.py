"""The links of a session: which to use, when to connect, when to replace.

Connecting is never part of a turn.  It runs in the session's nursery, so that an interrupted turn leaves a warm link
behind instead of half a handshake.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic

import trio

from ..errors import BreakerOpen, LinkClosed, ProviderError, ProviderStalled, SessionClosed, VoiceTrioError
from .endpoint import Endpoint as Endpoint
from .link import D, Link
from .policy import Breaker, LinkPolicy, Retries, is_transient

# Endpoints, such as voices, whose links are kept warm.
_MAX_POOLS = 4


class _Effort:
    """One attempt to get a link; all who wait for one share it."""

    def __init__(self) -> None:
        self.done = trio.Event()
        # What whoever waits gets to hear if the effort is cancelled with its session.
        self.error: VoiceTrioError | None = SessionClosed("the session was closed")
        self.link: Link[Any] | None = None


class LinkPool(Generic[D]):
    """Links to one endpoint.

    Args:
        nursery: where links live; the session's.
        make_link: a new link, not yet running.
        policy: see :class:`LinkPolicy`.
        breaker: of the provider.

    Attributes:
        connections: how many links became ready.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        make_link: Callable[[], Link[D]],
        policy: LinkPolicy,
        breaker: Breaker,
    ) -> None:
        self.connections = 0
        self._nursery = nursery
        self._make_link = make_link
        self._policy = policy
        self._breaker = breaker
        self._links: list[Link[D]] = []
        self._effort: _Effort | None = None
        self._waiting = 0
        self._wanted = False  # by nobody who waits
        self._used_at = trio.current_time()
        self._closed = False

    async def acquire(self, retries: Retries | None = None) -> Link[D]:
        """A link that is ready, for one turn; :meth:`release` it.

        What fails on the way counts in the turn's `retries`.

        Raises:
            ProviderError: if none could be had.
            SessionClosed: if the session was closed meanwhile.

        Cancelling it leaves the connecting under way, for the next turn.
        """
        link = await self._until(self._free, retries or Retries(self._policy))
        link.start_work()
        self.warm()
        return link

    async def ready(self) -> Link[D]:
        """Wait until there is a link; raises and can be cancelled like :meth:`acquire`."""
        self._used_at = trio.current_time()
        return await self._until(self._any, Retries(self._policy))

    async def _until(self, find: Callable[[], Link[D] | None], retries: Retries) -> Link[D]:
        await trio.lowlevel.checkpoint_if_cancelled()
        self._waiting += 1
        try:
            while (link := find()) is None:
                effort = self._connect()
                await effort.done.wait()
                self._count_drop(effort)
                if effort.error is not None and find() is None:
                    if not isinstance(effort.error, ProviderError):
                        raise effort.error
                    await retries.pause_or_raise(effort.error)
        finally:
            self._waiting -= 1
        return link

    def _count_drop(self, effort: _Effort) -> None:
        """An accepted link that was dropped before anybody had it is a failure, too."""
        if effort.error is None and effort.link is not None and effort.link.failure is not None:
            effort.error = self._failed(effort.link.failure)

    def _failed(self, error: ProviderError) -> ProviderError:
        if is_transient(error):
            self._breaker.failed(error)
        return error

    def release(self, link: Link[D], *, worked: bool = False) -> None:
        """The turn is off the link; `worked` if the provider carried it to its end, whatever became of the link."""
        # Not when it connects: some servers accept everybody and drop them at once.
        if worked or link.failure is None:
            self._breaker.succeeded()
        elif isinstance(link.failure, LinkClosed | ProviderStalled) and is_transient(link.failure):
            self._breaker.failed(link.failure)
        link.end_work()
        self._used_at = trio.current_time()
        self._refresh()
        if self._policy.spare or link.abandoned:
            self.warm()

    def warm(self) -> None:
        """Have a link ready soon, and a spare one if the policy says so.  Does not wait and does not fail."""
        self._used_at = trio.current_time()
        self._want(self._free if self._policy.spare else self._any)

    def _want(self, find: Callable[[], Link[D] | None]) -> None:
        """Connect until there is such a link, in the background."""
        if not self._closed and not self._wanted and self._effort is None and find() is None:
            self._wanted = True
            self._nursery.start_soon(self._wait_for, find)

    async def _wait_for(self, find: Callable[[], Link[D] | None]) -> None:
        try:
            await self._until(find, Retries(self._policy))
        except VoiceTrioError:
            pass  # whoever needs a link tries again, and is told
        finally:
            self._wanted = False

    def idle(self) -> bool:
        """Whether no turn is on any of its links or waits for one."""
        return self._effort is None and not self._waiting and not any(link.at_work for link in self._links)

    def farewell(self, nursery: trio.Nursery) -> None:
        """Close all links politely, within the policy's time, in this nursery; none is replaced."""
        self._closed = True
        for link in self._links:
            nursery.start_soon(link.farewell)

    def _any(self) -> Link[D] | None:
        """A link that is there, free or not."""
        self._links = [link for link in self._links if link.usable]
        return min(self._links, key=lambda link: link.worn, default=None)

    def _free(self) -> Link[D] | None:
        """The best link that a turn can be put on."""
        free = [link for link in self._links if link.free]
        return min(free, key=lambda link: link.worn, default=None)

    def _fresh(self) -> Link[D] | None:
        """A link that need not be replaced."""
        return next((link for link in self._links if link.usable and not link.worn), None)

    def _refresh(self) -> None:
        """Between turns: replace worn links, once there is a successor, or let them go if nobody wanted one lately."""
        self._links = [link for link in self._links if link.usable]
        worn = [link for link in self._links if link.worn and not link.at_work]
        if self._closed or not worn:
            return
        in_use = trio.current_time() < self._used_at + self._policy.max_age
        if in_use and self._fresh() is None:
            self._want(self._fresh)
            worn = [link for link in worn if not link.free]
        for link in worn:
            self._links.remove(link)
            self._nursery.start_soon(link.farewell)

    def _connect(self) -> _Effort:
        if self._nursery.cancel_scope.cancel_called:  # whoever waits need not be a task of the session
            raise SessionClosed("the session was closed")
        if self._effort is None:
            self._effort = _Effort()
            self._nursery.start_soon(self._try_to_connect, self._effort)
        return self._effort

    async def _try_to_connect(self, effort: _Effort) -> None:
        try:
            self._breaker.check()
            link = self._make_link()
            self._nursery.start_soon(link.run)
            await link.settled.wait()
            if link.usable:
                self._welcome(link)
                effort.link, effort.error = link, None
            else:
                assert link.failure is not None
                effort.error = self._failed(link.failure)
        except BreakerOpen as error:
            effort.error = error
        finally:
            self._effort = None
            effort.done.set()
        if effort.error is None:
            self._refresh()

    def _welcome(self, link: Link[D]) -> None:
        self.connections += 1
        self._links.append(link)
        self._nursery.start_soon(self._replace_when_old, link)

    async def _replace_when_old(self, link: Link[D]) -> None:
        if await link.grown_old():
            self._refresh()


class LinkPools(Generic[D]):
    """A session's links, by endpoint; all share one breaker.

    Args:
        nursery: where links live; the session's.
        provider: the name that errors carry.
        policy: of the breaker.
    """

    def __init__(self, nursery: trio.Nursery, provider: str, policy: LinkPolicy) -> None:
        self._nursery = nursery
        self._breaker = Breaker(provider, policy)
        self._pools: dict[Endpoint, LinkPool[D]] = {}  # the last is the latest used
        self._retired_connections = 0

    @property
    def connections(self) -> int:
        """How many links became ready."""
        return self._retired_connections + sum(pool.connections for pool in self._pools.values())

    def get(self, endpoint: Endpoint, policy: LinkPolicy, make_link: Callable[[], Link[D]]) -> LinkPool[D]:
        """The pool of an endpoint; a new one if there is none."""
        pool = self._pools.pop(endpoint, None)
        if pool is None:
            pool = LinkPool(self._nursery, make_link, policy, self._breaker)
            self._retire()
        self._pools[endpoint] = pool
        return pool

    def farewell(self, nursery: trio.Nursery) -> None:
        """Close all links politely, in this nursery."""
        for pool in self._pools.values():
            pool.farewell(nursery)

    def _retire(self) -> None:
        """Close the links of the endpoints that were not used for longest."""
        idle = [endpoint for endpoint, pool in self._pools.items() if pool.idle()]
        for endpoint in idle[: max(0, len(self._pools) - _MAX_POOLS + 1)]:
            pool = self._pools.pop(endpoint)
            self._retired_connections += pool.connections
            pool.farewell(self._nursery)
