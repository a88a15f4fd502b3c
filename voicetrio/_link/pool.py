"""The links of a session: which to use, when to connect, when to replace.

Connecting is never part of a turn.  It runs in the session's nursery, so that an interrupted turn leaves a warm link
behind instead of half a handshake.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic

import attrs
import trio

from ..errors import LinkClosed, ProviderError, ProviderStalled, SessionClosed, VoiceTrioError
from ._target import HTTP, WEBSOCKET, Target
from .link import D, Link
from .policy import Breaker, LinkPolicy, is_transient


@attrs.frozen
class Endpoint:
    """Where a link leads, and as whom; turns with equal endpoints share links.

    Attributes:
        url: ``ws``, ``wss``, ``http`` or ``https``.
        headers: of the upgrade, or of each request.
        greeting: what is said first, where a connection's options and its key are a message.
        secrets: what must not be shown, besides what the URL and the headers tell by their names.

    Raises:
        ConfigurationError: if nothing could ever lead there.
    """

    url: str = attrs.field(repr=lambda url: repr(url.partition("?")[0]))  # a query may have a token
    headers: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)
    greeting: tuple[str, ...] = attrs.field(default=(), repr=False)
    secrets: tuple[str, ...] = attrs.field(default=(), repr=False)

    def __attrs_post_init__(self) -> None:
        self.target("")

    def target(self, provider: str) -> Target:
        """The endpoint, taken apart, for a provider's name."""
        return Target.parse(self.url, self.headers, provider, secrets=self.secrets, schemes=(*WEBSOCKET, *HTTP))


# Endpoints, such as voices, whose links are kept warm.
_MAX_POOLS = 4


class _Effort:
    """One attempt, with its repetitions, to get a link."""

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
        self._closed = False

    async def acquire(self) -> Link[D]:
        """A link that is ready, for one turn; :meth:`release` it.

        Raises:
            ProviderError: if none could be had.
            SessionClosed: if the session was closed meanwhile.

        Cancelling it leaves the connecting under way, for the next turn.
        """
        link = await self._until(self._free)
        link.start_work()
        self.warm()
        return link

    async def ready(self) -> Link[D]:
        """Wait until there is a link; raises and can be cancelled like :meth:`acquire`."""
        return await self._until(self._any)

    async def _until(self, find: Callable[[], Link[D] | None]) -> Link[D]:
        await trio.lowlevel.checkpoint_if_cancelled()
        failures = 0
        while (link := find()) is None:
            effort = self._connect()
            await effort.done.wait()
            if effort.error is not None:
                raise effort.error
            if effort.link is not None and effort.link.failure is not None:  # accepted, and dropped at once
                failures += 1
                await self._pause_or_raise(effort.link.failure, failures)
        return link

    def release(self, link: Link[D], *, worked: bool = False) -> None:
        """The turn is off the link; `worked` if the provider carried it to its end, whatever became of the link."""
        # Not when it connects: some servers accept everybody and drop them at once.
        if worked or link.failure is None:
            self._breaker.succeeded()
        elif isinstance(link.failure, LinkClosed | ProviderStalled) and is_transient(link.failure):
            self._breaker.failed(link.failure)
        link.end_work()
        self._refresh()
        if self._policy.spare or link.abandoned:
            self.warm()

    def warm(self) -> None:
        """Have a link ready soon, and a spare one if the policy says so.  Does not wait and does not fail."""
        if (self._free if self._policy.spare else self._any)() is None and not self._closed:
            self._connect()

    def idle(self) -> bool:
        """Whether no turn is on any of its links or waits for one."""
        return self._effort is None and not any(link.at_work for link in self._links)

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

    def _refresh(self) -> None:
        """Between turns: replace worn links, once there is a successor."""
        self._links = [link for link in self._links if link.usable]
        worn = [link for link in self._links if link.worn and not link.at_work]
        if self._closed or not worn:
            return
        if all(link.worn for link in self._links):
            self._connect()
            worn = [link for link in worn if not link.free]
        for link in worn:
            self._links.remove(link)
            self._nursery.start_soon(link.farewell)

    def _connect(self) -> _Effort:
        if self._effort is None:
            self._effort = _Effort()
            self._nursery.start_soon(self._try_to_connect, self._effort)
        return self._effort

    async def _try_to_connect(self, effort: _Effort) -> None:
        try:
            effort.link = await self._connect_with_patience()
            effort.error = None
        except ProviderError as error:
            effort.error = error
        finally:
            self._effort = None
            effort.done.set()
        if effort.error is None:
            self._refresh()

    async def _connect_with_patience(self) -> Link[D]:
        failures = 0
        while True:
            self._breaker.check()
            link = self._make_link()
            self._nursery.start_soon(link.run)
            await link.settled.wait()
            if link.usable:
                break
            assert link.failure is not None
            failures += 1
            await self._pause_or_raise(link.failure, failures)
        self.connections += 1
        self._links.append(link)
        self._nursery.start_soon(self._replace_when_old, link)
        return link

    async def _pause_or_raise(self, error: ProviderError, failures: int) -> None:
        if not is_transient(error):
            raise error
        self._breaker.failed(error)
        await self._policy.pause_or_raise(error, failures)

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
