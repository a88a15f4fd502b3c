"""A link: one connection with the tasks that own it.

Only the send loop writes messages, so no cancellation of a turn can cut a frame in two; only the receive loop reads,
and what it reads it hands over before it reads on, so that a full sink slows the socket and nothing piles up.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, TypeVar

import trio

from ..errors import ConnectTimeout, LinkClosed, LinkStalled, ProviderError, ProviderStalled
from ._alarm import Alarm
from ._lock import acquire
from ._target import Target
from .connection import Connection
from .dialect import LinkDialect as LinkDialect
from .dialect import Message as Message
from .nursery import plain_exceptions
from .policy import LinkPolicy

# Messages that wait for the send loop.  Text is small and the loop is quick: this bounds what a stalled peer costs.
_OUTBOX = 32

# Cancellations that may be unanswered at a time: more than a listener can ask for in one round trip.
_MOST_OWED = 32


D = TypeVar("D", bound=LinkDialect)


class Link(Generic[D]):
    """One connection to a provider.

    Args:
        dialect: the protocol's state on this connection.
        target: where it leads; knows what must not be shown.
        connect: opens the connection.
        policy: its times.
        on_events: called with what the dialect makes of each message, in the receive loop; what it awaits slows the
            socket.
        on_lost: called once, synchronously, when the link has failed or ended.
        greeting: what is said first.
    """

    def __init__(
        self,
        dialect: D,
        target: Target,
        connect: Callable[[], AbstractAsyncContextManager[Connection]],
        policy: LinkPolicy,
        on_events: Callable[[Link[D], Iterable[Any]], Awaitable[None]],
        on_lost: Callable[[Link[D]], None],
        greeting: Iterable[Message] = (),
    ) -> None:
        self.dialect = dialect
        self.target = target
        self.failure: ProviderError | None = None
        self.settled = trio.Event()  # ready, or failed
        self.ended = trio.Event()
        self.at_work = False  # a turn is on it
        self._connect = connect
        self._policy = policy
        self._on_events = on_events
        self._on_lost = on_lost
        self._greeting = greeting
        self._scope = trio.CancelScope()
        self._talk = trio.CancelScope()
        self._outbox: deque[Message] = deque()
        self._outbox_changed = trio.lowlevel.ParkingLot()
        self._queueing = trio.Lock()
        self._handling = False
        self._last_message = 0.0
        self._owed: deque[float] = deque()  # until when
        self._acknowledge_by = Alarm()
        self._answer_by = Alarm()
        self._patience = math.inf
        self._listening = trio.CancelScope()
        self._connected_by = math.inf
        self._born: float | None = None
        self._connection_id: str | None = None
        self._resting_since = math.inf
        self._retire_at = Alarm()

    @property
    def request_id(self) -> str | None:
        """The provider's id, fit to be shown: of what is under way, or of the connection."""
        request_id = self.dialect.request_id or self._connection_id
        return None if request_id is None else self.target.printable(request_id)

    @property
    def usable(self) -> bool:
        """Whether a turn can be put on it."""
        return self._born is not None and self.failure is None and not self._scope.cancel_called

    @property
    def free(self) -> bool:
        """Whether a turn can be put on it now."""
        return self.usable and not self.at_work and not self.dialect.spent

    @property
    def worn(self) -> bool:
        """Whether it should be replaced before the next turn."""
        return self.dialect.worn or self.dialect.spent or trio.current_time() >= self._best_before

    @property
    def _best_before(self) -> float:
        """Until when it may live; known once it is ready."""
        if self._born is None:
            return math.inf
        return min(self._born + self._policy.max_age, self._resting_since + self._policy.max_idle)

    def start_work(self) -> None:
        """Note that a turn is put on it."""
        self.at_work = True
        self._retire_at.set(math.inf)

    def end_work(self) -> None:
        """Note that the turn is off it."""
        self.at_work = False
        self._resting_since = trio.current_time()
        self._retire_at.set(self._best_before)

    async def grown_old(self) -> bool:
        """Wait until it is past its time and no turn is on it; whether that came before its end."""
        await self._retire_at.wait()
        return not self.ended.is_set()

    async def run(self) -> None:
        """Connect, talk until the end, and report.  A provider's failure is kept in :attr:`failure`, not raised."""
        self._connected_by = trio.current_time() + self._policy.connection.connect_timeout
        try:
            with self._scope:
                try:
                    async with self._connect() as connection:
                        await self._run_loops(connection)
                except ProviderError as error:
                    self.fail(error)
        finally:
            self.fail(LinkClosed("the link was closed", provider=self.dialect.provider, code=1000))
            self.ended.set()
            self._retire_at.set(-math.inf)

    def fail(self, error: ProviderError) -> None:
        """End the link with an error; only the first counts."""
        self.clean(error)
        if self.failure is not None:
            return
        self.failure = error
        self.settled.set()
        self._talk.cancel(reason="the link failed")
        self._on_lost(self)

    def clean(self, error: ProviderError) -> None:
        """Make an error tell the provider's id, and no secret."""
        if error.request_id is None:
            error.request_id = self.dialect.request_id or self._connection_id
        self.target.clean(error)

    @property
    def abandoned(self) -> bool:
        """Whether it was us who ended it."""
        return self._scope.cancel_called

    def close(self) -> None:
        """End the link without a word to the provider but the websocket's own Close."""
        self._scope.cancel(reason="the link is not wanted any more")

    async def farewell(self) -> None:
        """End the link politely: say good-bye, and give the provider the time to close."""
        if self.usable:
            messages = list(self.dialect.farewell())
            for message in messages:
                self.send_nowait(message)
            with trio.move_on_after(self._policy.farewell_timeout if messages else 0):
                await self.ended.wait()
        self.close()

    @property
    def full(self) -> bool:
        """Whether :meth:`send` would wait: for room, or for others to queue theirs."""
        return len(self._outbox) >= _OUTBOX or self._queueing.locked()

    def send_nowait(self, message: Message) -> None:
        """Queue a message behind all others, unless it is :attr:`full`.

        For what must be said from within a fence it may be full: that is at most a few messages a turn.
        """
        self._outbox.append(message)
        self._outbox_changed.unpark_all()

    async def send(self, message: Message) -> None:
        """Queue a message, waiting for room, in turn with others.  Cancelling it sends nothing."""
        await acquire(self._queueing)
        try:
            while True:
                # Right before the message is queued: a task that was woken goes on though it has been cancelled since.
                # Others need not run in between: what is queued in one step goes out in one write.
                await trio.lowlevel.checkpoint_if_cancelled()
                if len(self._outbox) < _OUTBOX:
                    break
                await self._outbox_changed.park()
            self.send_nowait(message)
        finally:
            self._queueing.release()

    def listen_on(self) -> None:
        """Listen until what is now the dialect's :attr:`~LinkDialect.expires`."""
        if not self._handling:
            expires = self.dialect.expires
            self._listening.deadline = math.inf if expires is None else expires

    def expect_answer(self, seconds: float) -> None:
        """Fail if the provider is silent for so long from now on; :data:`math.inf`: it owes us nothing.

        Each call takes the place of the one before it.
        """
        self._patience = seconds
        self._answer_by.set(trio.current_time() + seconds)

    def expect_acknowledgement(self, seconds: float) -> None:
        """Fail if :meth:`acknowledged` is not called in time.  For a fence: it starts no task, it sets a deadline.

        A peer that owes many has stopped listening: then nothing is piled up until the time is over.
        """
        if len(self._owed) >= _MOST_OWED:
            self.fail(LinkStalled("cancellations are not acknowledged", provider=self.dialect.provider, code=1006))
            return
        self._owed.append(trio.current_time() + seconds)
        self._acknowledge_by.set(self._owed[0])

    def acknowledged(self) -> None:
        """The oldest acknowledgement that was expected has come."""
        if self._owed:
            self._owed.popleft()
            self._acknowledge_by.set(self._owed[0] if self._owed else math.inf)

    async def _run_loops(self, connection: Connection) -> None:
        self._connection_id = connection.request_id
        if self.dialect.request_id is None:
            self.dialect.request_id = self._connection_id
        for message in (*self._greeting, *self.dialect.greet(connection.headers)):
            self.send_nowait(message)
        with plain_exceptions():
            async with trio.open_nursery() as nursery:
                self._talk = nursery.cancel_scope
                if self.dialect.ready:
                    self._become_ready()
                loops = (self._send_loop, self._receive_loop, self._watch, self._watch_answers, self._watch_owed)
                for loop in loops:
                    nursery.start_soon(self._guard, loop, connection)

    async def _guard(self, loop: Callable[[Connection], Awaitable[None]], connection: Connection) -> None:
        try:
            await loop(connection)
        except LinkStalled as error:
            self.fail(error)
        except LinkClosed as error:
            # Only the receive loop says that the link has ended: what had come before it is handed over first.
            if loop == self._receive_loop:
                await self._on_events(self, self.dialect.lost(error))
                self.fail(self.dialect.explain(error))
        except ProviderError as error:
            self.fail(error)

    def _become_ready(self) -> None:
        self._born = self._resting_since = trio.current_time()
        self._retire_at.set(self._best_before)
        self.settled.set()

    async def _send_loop(self, connection: Connection) -> None:
        while True:
            while not self._outbox:
                await self._outbox_changed.park()
            messages = tuple(self._outbox)
            self._outbox.clear()
            self._outbox_changed.unpark_all()
            await connection.send(*messages)

    async def _receive_loop(self, connection: Connection) -> None:
        while True:
            message = await self._listen(connection)
            if message is not None:
                await self._take(message)
            elif (expired := self.dialect.expires) is not None and trio.current_time() >= expired:
                await self._handle(self.dialect.lapse())
                assert self.dialect.expires != expired, "lapse() must tell another time, or none"

    async def _listen(self, connection: Connection) -> Message | None:
        """Take what comes until silence means something; gives a message if one came in that very moment.

        One scope for all messages until then: its deadline is only set while we listen.
        """
        with trio.CancelScope() as self._listening:
            while True:
                self.listen_on()
                message = await connection.receive()
                self._listening.deadline = math.inf
                if self._listening.cancel_called:  # in this scope it could not be handled
                    return message
                await self._take(message)
        return None

    async def _take(self, message: Message) -> None:
        self._last_message = trio.current_time()
        await self._handle(self.dialect.receive(message))
        if self._born is None and self.dialect.ready:
            self._become_ready()

    async def _handle(self, events: Iterable[Any]) -> None:
        began = trio.current_time()
        self._handling = True
        await self._on_events(self, events)
        self._handling = False
        self.dialect.missed(trio.current_time() - began)

    async def _watch(self, connection: Connection) -> None:
        with trio.move_on_at(self._connected_by):
            await self.settled.wait()
        if self._born is None:
            timeout = self._policy.connection.connect_timeout
            raise ConnectTimeout(f"connected, but not accepted within {timeout:g} s", provider=self.dialect.provider)
        while self._policy.heartbeat is not None:
            await trio.sleep(self._policy.heartbeat)
            await self._ping(connection)

    async def _watch_answers(self, _connection: Connection) -> None:
        await self._answer_by.wait()
        raise ProviderStalled(f"nothing came for {self._patience:g} s", provider=self.dialect.provider)

    async def _watch_owed(self, _connection: Connection) -> None:
        await self._acknowledge_by.wait()
        raise LinkStalled("a cancellation was not acknowledged in time", provider=self.dialect.provider, code=1006)

    async def _ping(self, connection: Connection) -> None:
        """Ask for a sign of life.

        While the sink is full we do not read, and the answer waits behind audio that we have not taken: that says
        nothing about the peer.
        """
        asked = trio.current_time()
        with trio.move_on_after(self._policy.heartbeat_timeout) as scope:
            await connection.ping()
        if scope.cancelled_caught and not self._handling and self._last_message < asked:
            raise LinkStalled(
                f"no answer to a ping within {self._policy.heartbeat_timeout:g} s",
                provider=self.dialect.provider,
                code=1006,
            )
