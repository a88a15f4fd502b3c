"""The contract of text-to-speech: what a session does, whatever the provider.

A provider supplies options and a :class:`TTSDialect`; everything that takes time or can be cancelled is here, once.
Three tasks work on a turn: one reads the caller's text, one puts it on the wire (:meth:`TTSSession._run_turn`), and the
link's receive loop brings the audio back (:meth:`TTSSession._on_events`).  The caller's own task only waits.
"""

from __future__ import annotations

import abc
import math
import ssl
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, ClassVar, Self

import attrs
import trio

from ._attempt import Attempt
from ._caller import Callers
from ._dialect import (
    Audio,
    Event,
    Failed,
    GateOpened,
    Late,
    TTSDialect,
)
from ._link.connection import DEFAULT_DRIVER, ConnectionOptions, Dial, Driver, known_driver
from ._link.endpoint import Endpoint, connector
from ._link.link import Link
from ._link.nursery import open_plain_nursery
from ._link.policy import LinkPolicy, Retries
from ._link.pool import LinkPool, LinkPools
from ._options import age, check_io, positive, positive_or_none, truth, whole
from ._patience import PASSING
from .audio import AudioFormat, AudioSink, check_sink
from .errors import (
    ConfigurationError,
    NoAudio,
    SessionClosed,
    VoiceTrioError,
)
from .text import Text, says_something
from .turn import Interruption, Script, Synthesis, TextFailed, Timestamps, Turn, interruption

# ---- providers -----------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class TTSProvider(abc.ABC):
    """Options of a text-to-speech provider.  Does no I/O; equal, hashable, and printed without its key.

    Attributes:
        connect_timeout: seconds that one connection may take, all in all, until the provider has accepted us.  A turn
            is tried up to three times, as long as that may help.
        response_timeout: seconds for which the provider may be silent while it owes us audio or an answer.
        cancel_timeout: seconds in which the provider must acknowledge a cancellation, or the link is given up.
        heartbeat: seconds between pings on a link; None for none.
        driver: the library that drives websockets: ``"websockets"`` or ``"trio-websocket"``.
        prefetch: ask for the next turn in line while the one before it is still coming, on a link of its own, so that
            nothing is between them.  The sink keeps them in order.
        max_connection_age_sec: a connection older than this is replaced, between turns.
        sample_rate: of the audio that the provider sends, in Hz; the sink's may be another.
    """

    name: ClassVar[str]
    _of_the_session: ClassVar[frozenset[str]] = frozenset(
        {"connect_timeout", "driver", "heartbeat", "max_connection_age_sec", "prefetch"}
    )

    connect_timeout: float = attrs.field(default=10.0, validator=positive)
    response_timeout: float = attrs.field(default=5.0, validator=positive)
    cancel_timeout: float = attrs.field(default=2.0, validator=positive)
    heartbeat: float | None = attrs.field(default=30.0, validator=positive_or_none)
    driver: Driver = attrs.field(default=DEFAULT_DRIVER, validator=known_driver)
    prefetch: bool = attrs.field(default=False, validator=truth)
    max_connection_age_sec: float = attrs.field(default=300.0, validator=age)
    sample_rate: int = attrs.field(default=24_000, validator=whole(1))

    @property
    def audio_format(self) -> AudioFormat:
        """The format of the audio that the provider sends, once decoded: mono at `sample_rate`."""
        return AudioFormat(self.sample_rate)

    @abc.abstractmethod
    def _endpoint(self) -> Endpoint: ...

    @abc.abstractmethod
    def _new_dialect(self, clock: Callable[[], float]) -> TTSDialect: ...

    @abc.abstractmethod
    def _for_voice(self, voice_id: str) -> Self: ...

    def _policy(self) -> LinkPolicy:
        return LinkPolicy(
            connection=ConnectionOptions(connect_timeout=self.connect_timeout, driver=self.driver),
            heartbeat=self.heartbeat,
            max_age=self.max_connection_age_sec,
        )

    def _silence(self) -> float:
        """Seconds for which the provider may be silent."""
        return self.response_timeout

    def _check_text(self, text: str) -> None:
        """Raise InputError if a text that came as a whole cannot be spoken."""
        del text

    def _variant(self, voice_id: str | None, overrides: Mapping[str, Any]) -> Self:
        """These options with a turn's own in their place."""
        if not overrides:
            return self if voice_id is None else self._for_voice(voice_id)
        known = {field.name for field in attrs.fields(type(self))}
        if unknown := sorted(set(overrides) - known):
            raise ConfigurationError(f"{type(self).__name__} has no option {', '.join(unknown)}")
        if fixed := sorted(set(overrides) & self._of_the_session):
            raise ConfigurationError(f"{', '.join(fixed)} cannot differ from turn to turn: open another session")
        variant = attrs.evolve(self, **overrides)
        return variant if voice_id is None else variant._for_voice(voice_id)

    def open(
        self,
        sink: AudioSink,
        *,
        dial: Dial | None = None,
        ssl_context: ssl.SSLContext | None = None,
        on_timestamps: Callable[[Timestamps], object] | None = None,
    ) -> AbstractAsyncContextManager[TTSSession]:
        """Open a session that speaks into a sink: ``async with provider.open(sink) as session:``.

        It does not connect yet: :meth:`TTSSession.prewarm` or the first turn does.  Leaving the block ends all of it
        within a second, whatever the provider does: turns that are still being spoken are silenced, and their callers
        get :exc:`~voicetrio.errors.SessionClosed`.  What the block raises comes out as it is.

        Args:
            sink: where the audio goes; resampled if its rate differs.  It is not closed.
            dial: opens the byte stream to a host and port, instead of :func:`trio.open_tcp_stream`: for proxies and
                tests.  TLS comes on top of it.
            ssl_context: for ``wss``, instead of the system's trust store.
            on_timestamps: called with words and phonemes as they come, where the provider gives them: in a task of the
                session, whose receiving waits for it, so it must be quick, such as a memory channel's `send_nowait`.
                What it raises is a bug, and ends the session; raise no error of voicetrio's, which would be taken for
                the provider's.

        Raises:
            ConfigurationError: if the sink cannot take the provider's audio, or an argument is none of its kind.
        """
        check_sink(sink, self.audio_format)
        check_io(dial, ssl_context)
        if on_timestamps is not None and not callable(on_timestamps):
            raise ConfigurationError(f"on_timestamps must be callable, not {on_timestamps!r}")
        return _open_session(self, sink, dial, ssl_context, on_timestamps)


@asynccontextmanager
async def _open_session(
    provider: TTSProvider,
    sink: AudioSink,
    dial: Dial | None,
    ssl_context: ssl.SSLContext | None,
    on_timestamps: Callable[[Timestamps], object] | None,
) -> AsyncGenerator[TTSSession, None]:
    async with open_plain_nursery("the session was closed") as nursery:
        session = TTSSession(provider, sink, nursery, dial, ssl_context, on_timestamps)
        try:
            yield session
        finally:
            session._close()
        await session._farewell()


# ---- sessions ------------------------------------------------------------------------------------------------------


@attrs.frozen
class TTSStatistics:
    """What a session has done so far.

    Attributes:
        connections: links that became ready.
        turns: calls of ``synthesize()``.
        late_bytes: bytes of audio that arrived for turns already silenced, and were dropped.
    """

    connections: int
    turns: int
    late_bytes: int


class TTSSession:
    """A provider's session; made by :meth:`TTSProvider.open`.

    Attributes:
        provider: whose options it has.
        sink: where it speaks.
        last_interruption: what the latest interruption cut off, by :meth:`interrupt` or by a cancel scope; and what
            those just before it did whose callers have not run since: an interrupted call finds its turn here.
    """

    def __init__(
        self,
        provider: TTSProvider,
        sink: AudioSink,
        nursery: trio.Nursery,
        dial: Dial | None,
        ssl_context: ssl.SSLContext | None,
        on_timestamps: Callable[[Timestamps], object] | None,
    ) -> None:
        self.provider: TTSProvider = provider
        self.sink: AudioSink = sink
        self.last_interruption: Interruption | None = None
        self._nursery = nursery
        self._dial = dial
        self._ssl_context = ssl_context
        self._on_timestamps = on_timestamps
        # Most turns have the session's own options, whose endpoint and policy are always the same.
        self._endpoint = provider._endpoint()
        self._own_policy = provider._policy()
        self._pools: LinkPools[TTSDialect] = LinkPools(nursery, provider.name, self._own_policy)
        self._turns: list[Turn] = []  # not over, or perhaps still heard
        self._callers: Callers[Turn] = Callers()
        self._line: list[Turn] = []
        self._line_moved = trio.lowlevel.ParkingLot()
        self._attempts: dict[int, Attempt] = {}
        self._turn_count = 0
        self._late_bytes = 0
        self._closed = False

    def statistics(self) -> TTSStatistics:
        """What the session has done so far."""
        return TTSStatistics(self._pools.connections, self._turn_count, self._late_bytes)

    async def prewarm(self) -> None:
        """Have a warm link, so that the next turn does not pay for the handshake.  Safe to call at any time.

        Raises:
            ProviderError: if none can be had.
            SessionClosed: if the session is closed.

        Cancelling it leaves the connecting under way.
        """
        self._check_open()
        await self._pool(self.provider).ready()

    async def synthesize(self, text: Text, *, voice_id: str | None = None, **overrides: Any) -> Synthesis:
        """Speak a text: wait for its place in line, and return when its last sample is in the sink.

        Calls are spoken in the order in which they were made.  Blank text is spoken by saying nothing.

        Args:
            text: a string, or an async iterable of strings and :class:`~voicetrio.text.FlushMarker`, joined verbatim.
                It is read in a task of its own; an async generator is closed if its turn ends first.
            voice_id: another voice for this turn.
            overrides: other options of the provider for this turn; those of its links, such as limits and the timeout
                of connecting, cannot differ.

        Returns:
            How it went: `outcome` is ``"interrupted"`` if :meth:`interrupt` came first.

        Raises:
            InputError: if the text cannot be spoken.
            ConfigurationError: if an option cannot be.
            SessionClosed: if the session is closed, or was during the call.
            SinkClosed: if nobody will read the sink.
            ProviderError: if the provider failed and trying again did not help, or the first audio had come.
            Exception: whatever the text iterator raised.

        It returns up to the sink's `max_seconds` before its last sample is heard; to interrupt a turn in that time use
        :meth:`interrupt`, and to wait for its end :meth:`~voicetrio.audio.AudioSink.drained`.

        Cancelling it, by any scope, is an interruption, in the very moment in which the scope is cancelled: not one
        more sample of the turn can be read from the source.
        """
        self._check_open()
        options = self.provider._variant(voice_id, overrides)
        script = Script(text)
        if isinstance(text, str):
            options._check_text(text)
        await trio.lowlevel.checkpoint_if_cancelled()
        turn = Turn(script, self.sink.open_turn(options.audio_format), self._abandon)
        self._turn_count += 1
        self._forget_silent()
        self._turns.append(turn)
        self._line.append(turn)
        if script.streamed:
            self._nursery.start_soon(self._feed, turn)
        self._nursery.start_soon(self._run_turn, turn, options)
        with self._callers.waiting(turn):
            return await turn.wait()

    def interrupt(self) -> Interruption | None:
        """Silence everything that was asked for so far: the turn being spoken, those in line, and what is still queued.

        Synchronous: once it has returned, not one more sample of those turns can be read from the source, and their
        callers get the outcome ``"interrupted"``, unless their turn had failed before.  The next one can start at once.

        Returns:
            What was cut off; None if there was nothing to silence.
        """
        self._forget_silent()
        turns, self._turns = self._turns, []
        # The newest first: a device drops from the end of what it holds.
        for turn in reversed(turns):
            self._fence(turn)
        return self._note(turns) if turns else None

    # -- the life of a turn ------------------------------------------------------------------------------------------

    def _abandon(self, turn: Turn) -> None:
        """A scope around the caller was cancelled.  Runs inside of that cancel(): synchronous, and raises nothing."""
        if not turn.audio.fenced:
            self._fence(turn)
            self._note([turn])

    def _note(self, turns: list[Turn]) -> Interruption:
        cut = self.last_interruption = interruption(turns)
        if (told := self._callers.told_with(turns)) != turns:
            self.last_interruption = interruption(told)
        return cut

    def _fence(self, turn: Turn) -> None:
        attempt = self._attempts.pop(turn.number, None)
        if attempt is not None:
            turn.request_id = attempt.link.request_id
        turn.fence()
        if attempt is not None:
            attempt.cancel()

    async def _feed(self, turn: Turn) -> None:
        await turn.script.feed(turn.text_scope)

    async def _run_turn(self, turn: Turn, options: TTSProvider) -> None:
        try:
            with turn.scope:
                await self._wait_in_line(turn)
                turn.mark("started")
                await self._speak(turn, options)
                turn.resolve()
        except VoiceTrioError as error:
            turn.fail(error)
        except TextFailed as failed:
            turn.fail(failed.error)
        finally:
            self._end_with_session(turn)  # if it is not over, the session's tasks are being cancelled
            self._line.remove(turn)
            self._line_moved.unpark_all()

    async def _wait_in_line(self, turn: Turn) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        abreast = 2 if self.provider.prefetch else 1
        while turn not in self._line[:abreast]:
            await self._line_moved.park()

    async def _speak(self, turn: Turn, options: TTSProvider) -> None:
        if turn.script.streamed:
            self._pool(options).warm()
        if await self._is_blank(turn):
            return
        retries, reached = Retries(self._policy(options)), 0
        while True:
            try:
                await self._attempt(turn, options, retries)
            except PASSING as error:
                if not turn.resumable:
                    raise
                if turn.reached > reached:
                    retries, reached = Retries(self._policy(options)), turn.reached
                await retries.pause_or_raise(error)
            else:
                return

    async def _is_blank(self, turn: Turn) -> bool:
        """Whether there is nothing to speak.  Waits for the first text that there is."""
        index = 0
        while (chunk := await turn.script.chunk(index)) is not None:
            if isinstance(chunk, str) and says_something(chunk):
                return False
            index += 1
        return True

    async def _attempt(self, turn: Turn, options: TTSProvider, retries: Retries) -> None:
        pool = self._pool(options)  # only now: while its text was awaited its pool may have been retired
        link = await pool.acquire(retries)
        turn.start_over()
        turn.mark("connected")
        attempt = Attempt(turn, link, options._silence(), options.cancel_timeout, self._on_timestamps)
        self._attempts[turn.number] = attempt
        link.dialect.begin(turn.number, options)
        try:
            with attempt.scope:
                await attempt.run()
        finally:
            link.expect_answer(math.inf)
            if self._attempts.pop(turn.number, None) is not None:
                attempt.cancel()
            turn.request_id = link.request_id
            pool.release(link, worked=attempt.ended or attempt.got_somewhere)
        if not attempt.ended:
            assert attempt.error is not None, "a link that fails tells its attempts"
            raise attempt.error
        if not turn.audio.received and says_something(turn.script.text, words=link.dialect.needs_words):
            raise NoAudio("the turn ended without any audio", provider=options.name, request_id=turn.request_id)

    # -- what the links bring ----------------------------------------------------------------------------------------

    async def _on_events(self, link: Link[TTSDialect], events: Iterable[Event]) -> None:
        """Hand the events of a link to their turns; in the link's receive loop."""
        for event in events:
            if self._closed:
                return
            if isinstance(event, Failed):
                self._on_failed(link, event)
            elif isinstance(event, GateOpened):
                link.acknowledged()
                self._watch_attempts(link)  # only now does it owe its answers to the turn that is under way
            elif isinstance(event, Late):
                self._late_bytes += event.size
            elif (attempt := self._attempts.get(event.turn)) is not None and attempt.takes_from(link):
                self._late_bytes += await attempt.on_event(event)
            elif isinstance(event, Audio):
                self._late_bytes += len(event.pcm)

    def _watch_attempts(self, link: Link[TTSDialect]) -> None:
        for attempt in self._attempts.values():
            if attempt.link is link:
                attempt.watch()

    def _on_failed(self, link: Link[TTSDialect], event: Failed) -> None:
        if event.turn is None:
            link.fail(event.error)  # which tells its attempts
            return
        link.clean(event.error)
        attempt = self._attempts.get(event.turn)
        if attempt is not None and attempt.link is link:
            attempt.fail(event.error)

    def _on_lost(self, link: Link[TTSDialect]) -> None:
        assert link.failure is not None
        for attempt in list(self._attempts.values()):
            if attempt.link is link:
                attempt.fail(link.failure)

    # -- links -------------------------------------------------------------------------------------------------------

    def _policy(self, options: TTSProvider) -> LinkPolicy:
        return self._own_policy if options is self.provider else options._policy()

    def _pool(self, options: TTSProvider) -> LinkPool[TTSDialect]:
        endpoint = self._endpoint if options is self.provider else options._endpoint()
        return self._pools.get(endpoint, self._policy(options), partial(self._make_link, endpoint, options))

    def _make_link(self, endpoint: Endpoint, options: TTSProvider) -> Link[TTSDialect]:
        policy = self._policy(options)
        dialect = options._new_dialect(trio.current_time)
        target = endpoint.target(options.name)
        open_connection = connector(endpoint, options.name, policy, self._ssl_context, self._dial)
        return Link(dialect, target, open_connection, policy, self._on_events, self._on_lost, endpoint.greeting)

    # -- the end -----------------------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._closed:
            raise SessionClosed("the session is closed")

    def _forget_silent(self) -> None:
        self._turns = [turn for turn in self._turns if not turn.over or turn.audio.audible]

    def _close(self) -> None:
        """Take no more calls and end those that wait."""
        self._closed = True
        for turn in reversed(self._turns):
            self._end_with_session(turn)

    @staticmethod
    def _end_with_session(turn: Turn) -> None:
        if not turn.over:
            turn.audio.fence()
            turn.fail(SessionClosed("the session was closed during the turn"))

    async def _farewell(self) -> None:
        """Close the links politely; every link has its own deadline."""
        with trio.CancelScope(shield=True):  # noqa: ASYNC100  # the nursery waits for its children
            async with trio.open_nursery() as nursery:
                self._pools.farewell(nursery)
