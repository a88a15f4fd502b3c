"""The contract of denoising: samples in, the same number of samples out, at a fixed delay.

Audio goes to the provider in pieces and comes back cleaner, or late, or not at all.  A listener must not notice but by
the noise: each sample comes out once and in order, as the provider gave it back if that was in time, and else as it
came in.  Three tasks work on it: the caller's own, one that keeps a link and sends, and the link's receive loop.
"""

from __future__ import annotations

import abc
import ssl
from collections import Counter, deque
from collections.abc import AsyncGenerator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import ClassVar

import attrs
import numpy as np
import trio

from ._converter import AudioConverter
from ._delay_line import DelayLine
from ._denoise_dialect import Broken, DenoiseDialect, DenoiseEvent, Processed
from ._denoise_link import LinkInUse
from ._format import AudioFormat, AudioLike, pcm_of
from ._link.connection import DEFAULT_DRIVER, ConnectionOptions, Dial, Driver, known_driver
from ._link.endpoint import Endpoint, connector
from ._link.link import Link
from ._link.nursery import open_plain_nursery
from ._link.policy import LinkPolicy, is_transient
from ._link.pool import LinkPools
from ._one_task import OneTask
from ._options import check_io, positive, positive_or_none
from .errors import BreakerOpen, ConfigurationError, ProviderError, ProviderStalled, SessionClosed

# Round trips of which the latency is told.
_WINDOW = 200
# A link that lived so many seconds was one: after its end the session connects at once.
_LIVED = 4.0
# However long a provider says that it wants to be left alone, this is longest: the audio goes on raw meanwhile.
_MOST_PAUSE = 60.0


@attrs.frozen(kw_only=True)
class DenoiseProvider(abc.ABC):
    """Options of a denoiser.  Does no I/O; equal, hashable, and printed without its key.

    Attributes:
        delay: seconds by which a sample comes out later than it came in; it is also the time that the provider has.
        fade: seconds of the cross-fade where the provider's audio begins or ends; part of `delay`.
        connect_timeout: seconds that connecting may take, all in all.
        heartbeat: seconds between pings on a link; None for none.
        driver: the library that drives websockets: ``"websockets"`` or ``"trio-websocket"``.
        response_timeout: seconds after which a provider that takes audio and gives nothing back is given up.
    """

    name: ClassVar[str]

    delay: float = attrs.field(default=0.15, validator=positive)
    fade: float = attrs.field(default=0.005)
    connect_timeout: float = attrs.field(default=10.0, validator=positive)
    heartbeat: float | None = attrs.field(default=30.0, validator=positive_or_none)
    driver: Driver = attrs.field(default=DEFAULT_DRIVER, validator=known_driver)
    response_timeout: float = attrs.field(default=5.0, validator=positive)

    @fade.validator
    def _check_fade(self, _attribute: attrs.Attribute[float], value: float) -> None:
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < self.delay:
            raise ConfigurationError(f"fade must be at least 0 and less than the delay of {self.delay:g}")

    @property
    @abc.abstractmethod
    def wire_format(self) -> AudioFormat:
        """The format of the audio that the provider takes and gives back."""

    @property
    @abc.abstractmethod
    def piece_seconds(self) -> float:
        """How long the pieces are in which the provider takes it."""

    @abc.abstractmethod
    def _endpoint(self) -> Endpoint: ...

    @abc.abstractmethod
    def _new_dialect(self) -> DenoiseDialect: ...

    def _policy(self) -> LinkPolicy:
        connection = ConnectionOptions(connect_timeout=self.connect_timeout, driver=self.driver)
        return LinkPolicy(connection=connection, heartbeat=self.heartbeat, max_age=float("inf"))

    def open(
        self,
        *,
        sample_rate: int | None = None,
        channels: int | None = None,
        dial: Dial | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> AbstractAsyncContextManager[DenoiseSession]:
        """Open a session: ``async with provider.open(sample_rate=48_000) as session:``.  It begins to connect at once.

        Leaving the block ends all of it within a second, whatever the provider does.

        Args:
            sample_rate: of the audio that will be given and got back, in Hz; None for the provider's own, at which it
                is not changed on the way.  Where it differs the audio is resampled, there and back.
            channels: interleaved in that audio; None for the provider's own.  Mono is copied to the channels that the
                provider wants, more are mixed down to the one that it wants.
            dial: opens the byte stream to a host and port, instead of :func:`trio.open_tcp_stream`.
            ssl_context: for ``wss``, instead of the system's trust store.

        Raises:
            ConfigurationError: for a format that cannot be, or an argument of another kind.
        """
        check_io(dial, ssl_context)
        wire = self.wire_format
        fmt = AudioFormat(
            wire.sample_rate if sample_rate is None else sample_rate, wire.channels if channels is None else channels
        )
        if fmt.channels != wire.channels and 1 not in (fmt.channels, wire.channels):
            raise ConfigurationError(f"{fmt.channels} channels cannot become {wire.channels}")
        return _open_session(self, fmt, dial, ssl_context)


@asynccontextmanager
async def _open_session(
    provider: DenoiseProvider, fmt: AudioFormat, dial: Dial | None, ssl_context: ssl.SSLContext | None
) -> AsyncGenerator[DenoiseSession, None]:
    async with open_plain_nursery("the session was closed") as nursery:
        session = DenoiseSession(provider, fmt, nursery, dial, ssl_context)
        try:
            yield session
        finally:
            session._close()
        with trio.CancelScope(shield=True):  # noqa: ASYNC100 - the nursery waits for its children, which have deadlines
            async with trio.open_nursery() as farewells:
                session._pools.farewell(farewells)


@attrs.frozen
class Latency:
    """How long pieces were under way, in seconds, over the last two hundred; all None before there is one."""

    last: float | None = None
    mean: float | None = None
    min: float | None = None
    max: float | None = None
    p95: float | None = None


@attrs.frozen
class DenoiseStatistics:
    """What a session has done so far.  Samples are counted per channel, at the provider's rate.

    Attributes:
        samples_in: that were put in.
        samples_processed: that went out, or will, as the provider gave them back.
        samples_raw: that went out, or will, as they came in, as nothing better was there in time.
        pieces_sent: messages of audio that were sent.
        bytes_sent: of audio in them, without what packs it.
        pieces_received: messages of audio that came back.
        bytes_received: of audio in them, likewise.
        pieces_late: of these, those that came back too late to be of use.
        pieces_skipped: that were not sent, as they would have come back too late.
        errors: failures of links and of connecting.
        connections: links that became ready.
        reconnects: connections after the first.
        latency: of the pieces.
    """

    samples_in: int
    samples_processed: int
    samples_raw: int
    pieces_sent: int
    bytes_sent: int
    pieces_received: int
    bytes_received: int
    pieces_late: int
    pieces_skipped: int
    errors: int
    connections: int
    reconnects: int
    latency: Latency


class DenoiseSession:
    """A denoiser's session; made by :meth:`DenoiseProvider.open`.

    Attributes:
        provider: whose options it has.
        audio_format: of what goes in and comes out.
    """

    def __init__(
        self,
        provider: DenoiseProvider,
        fmt: AudioFormat,
        nursery: trio.Nursery,
        dial: Dial | None,
        ssl_context: ssl.SSLContext | None,
    ) -> None:
        self.provider: DenoiseProvider = provider
        self.audio_format: AudioFormat = fmt
        wire = provider.wire_format
        self._wire = wire
        self._fade = wire.samples(provider.fade)
        self._delay = wire.samples(provider.delay) - self._fade  # samples after which a sample is decided
        self._patience = provider.delay - provider.fade
        self._line = DelayLine(wire.channels, self._fade)
        self._waiting = bytearray()  # given, and not taken into the line
        self._inward = AudioConverter(fmt, wire)
        self._outward = AudioConverter(wire, fmt)
        self._given = 0  # samples of the caller's, per channel
        self._got = 0
        self._piece = wire.samples(provider.piece_seconds)
        self._unsent = bytearray()  # less than a piece
        self._sequence = 0
        self._pieces: deque[tuple[int, bytes]] = deque()
        self._arrivals: deque[tuple[int, float]] = deque()  # position behind what came, and when
        self._changed = trio.lowlevel.ParkingLot()
        self._to_send = trio.lowlevel.ParkingLot()
        self._one_task = OneTask("denoising")
        self._ended = False
        self._closed = False
        self._failure: ProviderError | None = None
        self._down: ProviderError | None = None  # why the last attempt at a connection failed
        self._latencies: deque[float] = deque(maxlen=_WINDOW)
        self._counts: Counter[str] = Counter()
        self._dial = dial
        self._ssl_context = ssl_context
        self._endpoint = provider._endpoint()
        self._pools: LinkPools[DenoiseDialect] = LinkPools(nursery, provider.name, provider._policy())
        self._using: LinkInUse | None = None
        nursery.start_soon(self._keep_a_link)

    def statistics(self) -> DenoiseStatistics:
        """What the session has done so far."""
        line, counts, connections = self._line, self._counts, self._pools.connections
        return DenoiseStatistics(
            samples_in=line.end,
            samples_processed=line.processed,
            samples_raw=line.decided - line.processed,
            pieces_sent=counts["sent"],
            bytes_sent=counts["bytes sent"],
            pieces_received=counts["received"],
            bytes_received=counts["bytes received"],
            pieces_late=counts["late"],
            pieces_skipped=counts["skipped"],
            errors=counts["errors"],
            connections=connections,
            reconnects=max(0, connections - 1),
            latency=_latency(self._latencies),
        )

    @property
    def connected(self) -> bool:
        """Whether there is a connection at the moment; without one, audio goes out as it came in."""
        return self._using is not None

    @property
    def trouble(self) -> ProviderError | None:
        """Why the last attempt at a connection failed, which is tried again; None since one was made, or before."""
        return self._down

    async def prewarm(self) -> None:
        """Wait until the provider is connected, so that the first samples need not go out raw.

        Raises:
            ProviderError: if there is no connection, and why; the session goes on trying unless it is refused for good.
            SessionClosed: if the session is closed.

        Cancelling it leaves the connecting under way.
        """
        await trio.lowlevel.checkpoint()
        while self._using is None:
            self._check()
            if self._down is not None:
                raise self._down.with_traceback(None)  # or it would grow with each call
            await self._changed.park()

    async def denoise(self, audio: AudioLike) -> bytes:
        """Put audio in, and get what is due: as much as was put in, but for the delay at the beginning.

        A sample comes out processed if its processed version is there when it is due, by `delay` both in samples and
        in seconds: given faster than it plays, audio is waited for up to that time; given as it plays, it is not.

        Args:
            audio: s16le in the session's format, of any length: bytes, which may cut a sample anywhere, an array of
                16-bit samples, or a frame.

        Returns:
            The samples that are due, perhaps none.

        Raises:
            InputError: if it is no audio, or a frame of another format or within a sample.  Nothing was taken.
            ProviderError: if the provider refuses for good: a wrong token or model.  Nothing was taken; what was taken
                before comes from :meth:`finish`.
            SessionClosed: if the session is closed, or :meth:`finish` was called.
            trio.BusyResourceError: if another task is in it.

        Cancelling it loses nothing: the audio has been taken, even if it was cancelled before it began, and what was
        due comes with the next call.
        """
        cut = len(self._waiting) % self.audio_format.sample_width != 0
        pcm = pcm_of(audio, self.audio_format, within_sample=cut)
        self._check()
        if self._ended:
            raise SessionClosed("the audio was finished")
        with self._one_task:
            self._waiting += pcm
            await trio.lowlevel.checkpoint()
            await self._take_in()
        return self._come_out()

    async def finish(self) -> bytes:
        """End the audio, and get all that has not come out yet; waits up to `delay` for its processed version.

        Raises:
            SessionClosed: if the session is closed.
            trio.BusyResourceError: if another task is in :meth:`denoise`.

        Half a sample at the very end is dropped.  Cancelled, it can be called again; once it has returned, there is
        nothing more.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._closed:
            raise SessionClosed("the session is closed")
        with self._one_task:
            await self._take_in()
            if not self._ended:
                self._ended = True
                self._put(self._inward.flush())
                self._cut_pieces(final=True)
            await self._decide(self._line.end)
        return self._come_out(final=True)

    # -- the caller's side -------------------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._closed:
            raise SessionClosed("the session is closed")
        if self._failure is not None:
            raise self._failure.with_traceback(None)

    async def _take_in(self) -> None:
        """Take what was given, a little at a time, so that the provider has its time for all of it."""
        step = max(1, self.audio_format.samples(self.provider.delay)) * self.audio_format.sample_width
        while len(self._waiting) >= self.audio_format.sample_width:
            taken = min(step, len(self._waiting))
            taken -= taken % self.audio_format.sample_width
            data = bytes(self._waiting[:taken])
            del self._waiting[:taken]
            self._given += taken // self.audio_format.sample_width
            self._put(self._inward.process(data))
            self._cut_pieces()
            await self._decide(self._line.end - self._delay)

    def _put(self, pcm: bytes) -> None:
        self._line.put(pcm)
        self._unsent += pcm
        self._arrivals.append((self._line.end, trio.current_time()))

    def _cut_pieces(self, *, final: bool = False) -> None:
        size = self._piece * self._wire.sample_width
        if final and self._unsent:
            self._unsent += bytes(-len(self._unsent) % size)  # the provider takes whole pieces only
        while len(self._unsent) >= size:
            self._pieces.append((self._sequence, bytes(self._unsent[:size])))
            del self._unsent[:size]
            self._sequence += 1
        while self._pieces and self._piece * (self._pieces[0][0] + 1) <= self._line.decided:
            self._pieces.popleft()
            self._counts["skipped"] += 1
        self._to_send.unpark_all()

    async def _decide(self, until: int) -> None:
        """Decide all samples before a position: those whose processed version does not come are given their time."""
        line = self._line
        while line.decided < until:
            line.decide(line.ready(until))
            while self._arrivals and self._arrivals[0][0] <= line.decided:
                self._arrivals.popleft()
            if line.decided >= until:
                break
            arrived_until, arrived = self._arrivals[0]
            due = arrived + self._patience
            if trio.current_time() >= due:
                line.decide(min(until, arrived_until))
                continue
            with trio.CancelScope(deadline=due):
                await self._changed.park()

    def _come_out(self, *, final: bool = False) -> bytes:
        pcm = self._outward.process(self._line.take(final=final))
        if final:  # two conversions may round to one sample more or less
            pcm += self._outward.flush()
            width = self.audio_format.sample_width
            wanted = (self._given - self._got) * width
            pcm = pcm[:wanted] + bytes(max(0, wanted - len(pcm)))
        self._got += len(pcm) // self.audio_format.sample_width
        return pcm

    # -- the provider's side -----------------------------------------------------------------------------------------

    async def _keep_a_link(self) -> None:
        policy = self.provider._policy()
        pool = self._pools.get(self._endpoint, policy, self._make_link)
        failures = 0
        while not self._closed:
            error: ProviderError | None
            began = trio.current_time()
            try:
                link = await pool.acquire()
            except ProviderError as refusal:
                error = self._down = refusal
                self._changed.unpark_all()
            else:
                using = self._using = LinkInUse(link)
                self._down = None
                self._changed.unpark_all()
                with using.scope:
                    await self._send_pieces(using)
                self._using = None
                pool.release(link, worked=using.answered)
                error = link.failure
            if self._closed or error is None:
                return
            self._counts["errors"] += 1
            if not (is_transient(error) or isinstance(error, BreakerOpen)):
                self._fail(error)
                return
            failures = 0 if trio.current_time() - began > _LIVED else failures + 1
            if failures:
                await trio.sleep(max(policy.pause(failures), min(error.retry_after or 0.0, _MOST_PAUSE)))

    def _fail(self, error: ProviderError) -> None:
        self._failure = error
        self._changed.unpark_all()

    async def _send_pieces(self, using: LinkInUse) -> None:
        while True:
            while not self._pieces:
                await self._to_send.park()
            sequence, pcm = self._pieces.popleft()
            if (sequence + 1) * self._piece <= self._line.decided:
                self._counts["skipped"] += 1
                continue
            using.send(sequence)
            if using.stalled(self.provider.response_timeout):
                using.link.fail(ProviderStalled("audio is taken and not given back", provider=self.provider.name))
            self._counts["sent"] += 1
            self._counts["bytes sent"] += len(pcm)
            await using.link.send(using.link.dialect.piece(sequence, pcm))

    def _make_link(self) -> Link[DenoiseDialect]:
        provider, endpoint, policy = self.provider, self._endpoint, self.provider._policy()
        connect = connector(endpoint, provider.name, policy, self._ssl_context, self._dial)
        target = endpoint.target(provider.name)
        dialect = provider._new_dialect()
        return Link(dialect, target, connect, policy, self._on_events, self._on_lost, endpoint.greeting)

    async def _on_events(self, link: Link[DenoiseDialect], events: Iterable[DenoiseEvent]) -> None:
        for event in events:
            if isinstance(event, Broken):
                link.clean(event.error)
                link.fail(event.error)
            elif self._using is not None and self._using.link is link:
                self._on_processed(self._using, event)
        await trio.lowlevel.checkpoint()

    def _on_lost(self, link: Link[DenoiseDialect]) -> None:
        if self._using is not None and self._using.link is link:
            self._using.scope.cancel(reason="the link is lost")

    def _on_processed(self, using: LinkInUse, event: Processed) -> None:
        pcm = using.whole_samples(event, self._wire.sample_width)
        found = using.find(event.sequence, len(pcm) // self._wire.sample_width, self._piece) if pcm else None
        if found is None:
            return
        self._counts["received"] += 1
        self._counts["bytes received"] += len(pcm)
        self._latencies.append(trio.current_time() - found.sent_at)
        if not self._line.place(found.position, pcm[: found.samples * self._wire.sample_width]):
            self._counts["late"] += 1
        self._changed.unpark_all()

    def _close(self) -> None:
        self._closed = True
        self._changed.unpark_all()


def _latency(window: deque[float]) -> Latency:
    if not window:
        return Latency()
    p95 = float(np.percentile(np.array(window), 95))
    return Latency(window[-1], sum(window) / len(window), min(window), max(window), p95)
