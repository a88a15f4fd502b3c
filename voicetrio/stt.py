"""The contract of speech-to-text: what a session does, whatever the provider.

A provider supplies options and an :class:`STTDialect`; everything that takes time or can be lost is here, once.

Theory of operation
-------------------
Audio is converted as it is given, put into a bounded ring, and counted: its position in samples is its name from then
on.  One task of the session (:meth:`STTSession._run`) holds a link at a time and sends it what the ring has, with the
flushes where they belong; when it has sent all, :meth:`STTSession.send_audio` puts what comes on the link itself.  The
link's receive loop brings events back (:meth:`STTSession._on_events`).

What a lost connection made of the audio after its last final transcript is unknown.  So the ring keeps all audio until
it is *acknowledged*: by a final transcript, up to its end, or by the answer to a flush, up to that flush.  A new link
begins at the first sample that is not, so that the words around the break are recognized as a whole.  "Exactly once"
then means: after the last acknowledgement, each connection gets every sample in order and none twice, and no final
transcript is lost, or told twice.

A final transcript acknowledges when it lies in the queue from which the session is iterated, not before.  So nothing is
acknowledged that the caller could not read, and nothing is read twice.
"""

from __future__ import annotations

import abc
import math
import ssl
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import ClassVar, Self

import attrs
import trio

from ._backlog import Backlog
from ._converter import AudioConverter
from ._feed import Feed
from ._format import AudioFormat, AudioLike
from ._link.connection import DEFAULT_DRIVER, ConnectionOptions, Dial, Driver, known_driver
from ._link.endpoint import Endpoint, connector
from ._link.link import Link
from ._link.nursery import open_plain_nursery
from ._link.policy import LinkPolicy
from ._link.pool import LinkPools
from ._options import check_io, positive, positive_or_none
from ._patience import Patience
from ._stt_dialect import Event, Failed, Finished, Flushed, STTDialect
from ._turn_text import TurnText
from .errors import InputError, ProviderError, ProviderStalled, SessionClosed
from .transcript import Outcome, SpeechEnded, SpeechStarted, STTEvent, Transcript, TurnEnded
from .transcript import STTStatistics as STTStatistics

# Events that wait to be read: then the socket has to wait.
_MOST_EVENTS = 64

# Audio waits: a provider that is back should not be kept waiting long.
_MOST_COOLDOWN = 5.0

# A link that lived so long was one, though nobody spoke.
_LIVED = 4.0

# ---- providers -----------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class STTProvider(abc.ABC):
    """Options of a speech-to-text provider.  Does no I/O; equal, hashable, and printed without its key.

    Attributes:
        connect_timeout: seconds that connecting may take, all in all.
        response_timeout: seconds for which the provider may be silent while it owes an answer, to a flush or to the
            end of the audio.
        finish_timeout: seconds in which the last final transcript must have come once the audio has ended.
        heartbeat: seconds between pings; None for none.
        driver: the library that drives websockets: ``"websockets"`` or ``"trio-websocket"``.
        buffer_seconds: of audio kept, at most, until a final transcript acknowledges it.  It is also how long the
            provider may be out of reach before the session fails, as audio would be lost from then on.
    """

    name: ClassVar[str]

    connect_timeout: float = attrs.field(default=10.0, validator=positive)
    response_timeout: float = attrs.field(default=5.0, validator=positive)
    finish_timeout: float = attrs.field(default=10.0, validator=positive)
    heartbeat: float | None = attrs.field(default=30.0, validator=positive_or_none)
    driver: Driver = attrs.field(default=DEFAULT_DRIVER, validator=known_driver)
    buffer_seconds: float = attrs.field(default=30.0, validator=positive)

    @property
    @abc.abstractmethod
    def audio_format(self) -> AudioFormat:
        """The format of the audio that the provider is sent."""

    @property
    def given_rate(self) -> int:
        """Of the audio given to a session, in Hz, if it is opened without one."""
        return 48_000

    @abc.abstractmethod
    def _endpoint(self) -> Endpoint: ...

    @abc.abstractmethod
    def _new_dialect(self) -> STTDialect: ...

    def _policy(self) -> LinkPolicy:
        return LinkPolicy(
            connection=ConnectionOptions(connect_timeout=self.connect_timeout, driver=self.driver),
            heartbeat=self.heartbeat,
            max_age=math.inf,
            breaker_cooldown_max=_MOST_COOLDOWN,
        )

    def open(
        self,
        *,
        sample_rate: int | None = None,
        channels: int = 1,
        dial: Dial | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> AbstractAsyncContextManager[STTSession]:
        """Open a session that listens: ``async with provider.open(sample_rate=48_000) as session:``.

        It begins to connect at once; audio can be given before there is a connection.  Leaving the block ends all of it
        within a second, whatever the provider does; what has not become final by then is lost, so call
        :meth:`STTSession.finish` first if it matters.  What the block raises comes out as it is.

        Args:
            sample_rate: of the audio that will be given, in Hz, resampled to what the provider takes; None for 48000,
                or what the provider was told.
            channels: interleaved in that audio; averaged if the provider takes one.  Mono is never taken for stereo.
            dial: opens the byte stream to a host and port, instead of :func:`trio.open_tcp_stream`: for proxies and
                tests.  TLS comes on top of it.
            ssl_context: for ``wss``, instead of the system's trust store.

        Raises:
            ConfigurationError: if there is no such format, or an argument is none of its kind.
        """
        check_io(dial, ssl_context)
        rate = self.given_rate if sample_rate is None else sample_rate
        return _open_session(self, AudioFormat(rate, channels), dial, ssl_context)


@asynccontextmanager
async def _open_session(
    provider: STTProvider, given: AudioFormat, dial: Dial | None, ssl_context: ssl.SSLContext | None
) -> AsyncGenerator[STTSession, None]:
    async with open_plain_nursery("the session was closed") as nursery:
        session = STTSession(provider, given, nursery, dial, ssl_context)
        nursery.start_soon(session._run)
        try:
            yield session
        finally:
            session._close()
        await session._farewell()


# ---- sessions ------------------------------------------------------------------------------------------------------


class STTSession:
    """A provider's session; made by :meth:`STTProvider.open`.

    Any number of tasks may give audio; one iterates.  The iteration ends after :meth:`finish`.  If the provider fails
    for good, the iteration raises the error once what was heard before has been read, and all calls raise the same one
    from then on.  Events that are not read are kept up to a bound; then the socket has to wait, and :meth:`finish` with
    it.

    Attributes:
        provider: whose options it has.
        audio_format: of the audio that it is given.
    """

    def __init__(
        self,
        provider: STTProvider,
        given: AudioFormat,
        nursery: trio.Nursery,
        dial: Dial | None,
        ssl_context: ssl.SSLContext | None,
    ) -> None:
        self.provider: STTProvider = provider
        self.audio_format: AudioFormat = given
        self._nursery = nursery
        self._dial = dial
        self._ssl_context = ssl_context
        self._format = provider.audio_format
        self._endpoint = provider._endpoint()
        self._pools: LinkPools[STTDialect] = LinkPools(nursery, provider.name, provider._policy())
        self._converter = AudioConverter(given, self._format)
        self._backlog = Backlog(self._format, provider.buffer_seconds)
        self._finishing = False
        self._finished: Outcome | None = None
        self._closed = False
        self._error: ProviderError | None = None
        self._scope = trio.CancelScope()
        self._feed: Feed | None = None
        self._patience = Patience(provider._policy(), provider.buffer_seconds)
        self._more = trio.lowlevel.ParkingLot()  # to be sent
        self._waiting = False  # for that, all else being on the link
        self._events: deque[STTEvent] = deque()
        self._readers = trio.lowlevel.ParkingLot()
        self._room = trio.lowlevel.ParkingLot()
        self._enders = trio.lowlevel.ParkingLot()  # that wait for the end
        self._speaking_on: Link[STTDialect] | None = None  # where it was told that somebody speaks
        self._turn_text = TurnText()

    def statistics(self) -> STTStatistics:
        """What the session has done so far."""
        connections, backlog = self._pools.connections, self._backlog
        return STTStatistics(
            connections=connections,
            reconnects=max(0, connections - 1),
            samples_sent=backlog.sent,
            samples_repeated=backlog.repeated,
            samples_dropped=backlog.dropped,
            samples_unrepeated=backlog.unrepeated,
        )

    @property
    def connected(self) -> bool:
        """Whether there is a connection at the moment."""
        return self._feed is not None

    @property
    def trouble(self) -> ProviderError | None:
        """Why there is no connection, which is tried again; None if there is one, or the first is under way."""
        return None if self.connected else self._patience.cause

    async def send_audio(self, audio: AudioLike) -> None:
        """Give audio; a checkpoint that never waits for the network.

        Args:
            audio: interleaved s16le in the session's format: bytes cut anywhere, as the rest of a sample may come next
                time, an array of 16-bit samples, or a frame.  Give it as it comes: some providers mind audio that runs
                ahead of time.

        Raises:
            InputError: if it is no audio, comes after :meth:`finish`, or is a frame of another format or within a
                sample.
            SessionClosed: if the session is closed.
            ProviderError: if the provider has failed for good.

        Cancelled, it has given nothing.
        """
        pcm = self._converter.pcm_of(audio)
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check()
        if self._finishing:
            raise InputError("there can be no audio after finish()")
        self._backlog.append(self._converter.process(pcm))
        self._pass_on()
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def flush(self) -> None:
        """Ask that all audio given so far becomes final, such as when a speaker has stopped.

        It takes its place behind that audio and does not wait for the transcript.  Where a provider has no such
        command, as it finds the ends of turns itself, nothing is asked.

        Raises:
            SessionClosed: if the session is closed.
            ProviderError: if the provider has failed for good.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check()
        if not self._finishing:
            self._backlog.append(self._converter.flush())
            self._backlog.mark()
            self._more.unpark_all()
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def finish(self) -> Outcome:
        """End the audio, and wait until the last final transcript has come: it is the last event of the iteration.

        Somebody must iterate meanwhile.  Half a sample at the very end is dropped.

        Returns:
            Whether the provider said that all is final, or that had to be inferred from its silence.

        Raises:
            ProviderStalled: if that takes longer than `finish_timeout`; without a connection, why there is none.
            SessionClosed: if the session is closed.
            ProviderError: if the provider has failed for good.

        Cancelling it leaves the end under way: no more audio can be given.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check()
        if not self._finishing:
            self._finishing = True
            self._backlog.append(self._converter.flush())
            if not self._backlog.end:
                self._end()  # nothing was said
            self._more.unpark_all()
        with trio.move_on_after(self.provider.finish_timeout) as scope:
            while not (self._finished or self._error is not None or self._closed):
                await self._enders.park()
        if scope.cancelled_caught and not self._finished:
            self._fail(self._lateness())
        if self._finished is None:
            await trio.lowlevel.checkpoint_if_cancelled()
            self._check()
        assert self._finished is not None
        return self._finished

    def _lateness(self) -> ProviderError:
        """Why the last final transcript has not come in time: nobody is there to send it, or who is there is silent."""
        feed = self._feed
        if feed is None and self._patience.cause is not None:
            return self._patience.cause
        return ProviderStalled(
            f"the last final transcript did not come within {self.provider.finish_timeout:g} s",
            provider=self.provider.name,
            request_id=None if feed is None else feed.link.request_id,
        )

    def __aiter__(self) -> Self:
        """The session itself."""
        return self

    async def __anext__(self) -> STTEvent:
        """The next event.

        Raises:
            SessionClosed: if the session is closed.
            ProviderError: if the provider has failed for good.

        Cancelled, it has taken none.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._events:
            if self._finished:
                raise StopAsyncIteration
            self._check()
            await self._readers.park()
            await trio.lowlevel.checkpoint_if_cancelled()
        event = self._events.popleft()
        self._room.unpark_all()
        await trio.lowlevel.cancel_shielded_checkpoint()
        return event

    # -- what links are sent -----------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            with self._scope:
                await self._talk_until_finished()
        except ProviderError as error:
            self._fail(error)

    async def _talk_until_finished(self) -> None:
        policy = self.provider._policy()
        pool = self._pools.get(self._endpoint, policy, partial(self._make_link, policy))
        while not self._finished:
            try:
                link = await pool.acquire()
            except ProviderError as error:
                await self._patience.wait_or_raise(error)
                continue
            feed = self._feed = Feed(link, self._backlog, self._format, self.provider.response_timeout)
            try:
                await self._talk(feed)
            finally:
                self._feed = None
                pool.release(link, worked=feed.worked)
            stalled = isinstance(link.failure, ProviderStalled)
            if feed.worked or (trio.current_time() - feed.began >= _LIVED and not stalled):
                self._patience.restore()
            if link.failure is not None and not self._finished:
                await self._patience.wait_or_raise(link.failure)

    async def _talk(self, feed: Feed) -> None:
        """Send what there is, and what comes, until the link is lost or all has been heard."""
        with feed.scope:
            while True:
                messages = feed.next_messages(finishing=self._finishing)
                for message in messages:
                    await feed.link.send(message)
                if not messages:
                    await self._wait_for_more(feed)
        if not self._finished:
            silence = f"no answer came for {self.provider.response_timeout:g} s"
            feed.link.fail(ProviderStalled(silence, provider=self.provider.name))  # unless it has failed already

    async def _wait_for_more(self, feed: Feed) -> None:
        """Wait until there may be something to be sent; send silence if that takes long."""
        with trio.CancelScope(deadline=feed.quiet_until) as scope:
            self._waiting = True
            try:
                await self._more.park()
            finally:
                self._waiting = False
        if scope.cancelled_caught and trio.current_time() >= feed.quiet_until:
            await feed.link.send(feed.silence())

    def _pass_on(self) -> None:
        """Put new audio on the link, if all before it is there and there is room; the task sees to what is left."""
        feed = self._feed
        if feed is not None and self._waiting and not feed.link.full:
            for message in feed.next_messages(finishing=False):
                feed.link.send_nowait(message)
        if feed is None or feed.position < self._backlog.end:
            self._more.unpark_all()

    # -- what links bring --------------------------------------------------------------------------------------------

    async def _on_events(self, link: Link[STTDialect], events: Iterable[Event]) -> None:
        """Take the events that one message is; in the link's receive loop."""
        feed, taken = self._feed, list(events)
        if feed is not None and feed.link is link:
            heard = [event for event in taken if isinstance(event, STTEvent)]
            if heard:
                await self._wait_for_room(feed)
                self._hear(feed, heard)
            for event in taken:
                if isinstance(event, Flushed):
                    feed.take_answer()
                elif isinstance(event, Finished):
                    self._end("completed_inferred" if event.inferred else "completed")
            feed.watch()
        for event in taken:
            if isinstance(event, Failed):
                link.fail(event.error)

    async def _wait_for_room(self, feed: Feed) -> None:
        feed.resting = True  # it is not the provider who is silent
        feed.watch()
        while len(self._events) >= _MOST_EVENTS:
            await self._room.park()
        feed.resting = False

    def _hear(self, feed: Feed, events: Iterable[STTEvent]) -> None:
        """Queue events, all of a message or none, and take their word for what is final."""
        for event in events:
            if isinstance(event, SpeechStarted):
                told_on, self._speaking_on = self._speaking_on, feed.link
                if told_on not in (None, feed.link):
                    continue  # it was told before the link that told it was lost
            elif isinstance(event, SpeechEnded | TurnEnded):
                self._speaking_on = None
            self._events.append(self._turn_text.complete(feed.place(event), feed.link.dialect.joint))
            if isinstance(event, Transcript) and event.kind == "final":
                feed.acknowledge(event)
        self._readers.unpark_all()

    def _on_lost(self, link: Link[STTDialect]) -> None:
        if self._feed is not None and self._feed.link is link:
            self._feed.scope.cancel(reason="the link is lost")

    # -- links -------------------------------------------------------------------------------------------------------

    def _make_link(self, policy: LinkPolicy) -> Link[STTDialect]:
        provider, endpoint = self.provider, self._endpoint
        connect = connector(endpoint, provider.name, policy, self._ssl_context, self._dial)
        target = endpoint.target(provider.name)
        dialect = provider._new_dialect()
        return Link(dialect, target, connect, policy, self._on_events, self._on_lost, endpoint.greeting)

    # -- the end -----------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._error is not None:
            raise self._error.with_traceback(None)  # or it would grow with each call
        if self._closed:
            raise SessionClosed("the session is closed")

    def _end(self, outcome: Outcome = "completed") -> None:
        """All has been heard."""
        self._finished = outcome
        self._backlog.acknowledge(self._backlog.end)
        self._stop()

    def _fail(self, error: ProviderError) -> None:
        if self._error is None and not self._finished:
            self._error = error
            self._stop()

    def _stop(self) -> None:
        self._scope.cancel(reason="there is nothing more to be sent")
        self._readers.unpark_all()
        self._enders.unpark_all()

    def _close(self) -> None:
        """Take no more audio, and end the calls that wait."""
        self._closed = True
        self._stop()

    async def _farewell(self) -> None:
        """Close the link politely; it has its own deadline."""
        with trio.CancelScope(shield=True):  # noqa: ASYNC100  # the nursery waits for its children
            async with trio.open_nursery() as nursery:
                self._pools.farewell(nursery)
