"""The end of the audio channel that a player reads."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING

import trio

from .errors import ConfigurationError

if TYPE_CHECKING:
    from typing import Self

    from ._format import AudioFormat, AudioFrame, Playout
    from .audio import AudioSink


class AudioSource(trio.abc.AsyncResource):
    """The end that a player reads; made by :func:`open_audio_sink`.

    Iterating it gives frames of `frame_seconds`; a turn's last frame may be shorter, and a frame never mixes turns.  It
    gives nothing during silence.  It ends when the sink is closed and everything was taken.

    A frame that was given is heard, as far as the source knows.  A player that keeps audio in a device should
    :meth:`attach` it, so that interruptions reach it and positions are corrected by what it still holds.
    """

    def __init__(self, sink: AudioSink, frame_seconds: float) -> None:
        self._sink = sink
        self.format: AudioFormat = sink.format
        self.frame_seconds: float = frame_seconds

    def attach(self, playout: Playout | None) -> None:
        """Name the device that plays what is taken from here, or None."""
        self._sink._playout = playout

    async def receive(self, seconds: float | None = None) -> AudioFrame:
        """Wait for a frame and take it.

        Args:
            seconds: its length; the source's `frame_seconds` by default.

        Raises:
            trio.EndOfChannel: if the sink is closed and everything was taken.
            trio.ClosedResourceError: if the source is closed.
            ConfigurationError: if no frame can be of that length.

        Cancelling it takes nothing.
        """
        samples = self._samples(seconds)
        # Whatever is waited for comes first: a frame is returned in the step that takes it, so no fence falls between.
        if self._sink._must_wait(samples):
            await self._sink._readers.park()
        else:
            await trio.lowlevel.checkpoint()
        while True:
            try:
                return self._take(samples)
            except trio.WouldBlock:
                await self._sink._readers.park()

    def receive_nowait(self, seconds: float | None = None) -> AudioFrame:
        """Like :meth:`receive`, at once or not at all.

        Raises:
            trio.WouldBlock: if there is no frame of that length now.
        """
        return self._take(self._samples(seconds))

    def frames(self, seconds: float) -> Frames:
        """Iterate over frames of this length instead of `frame_seconds`."""
        self._samples(seconds)
        return Frames(self, seconds)

    def byte_stream(self) -> AudioByteStream:
        """The same audio as a :class:`trio.abc.ReceiveStream` of raw s16le; closing it closes the source."""
        return AudioByteStream(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AudioFrame:
        try:
            return await self.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    def close(self) -> None:
        """Discard what is queued and fail whoever writes.  Idempotent and synchronous."""
        sink = self._sink
        sink._source_closed = True
        for turn in list(sink._turns):
            turn._queue.clear()
        sink._readers.unpark_all()
        sink._writers.unpark_all()

    async def aclose(self) -> None:
        """:meth:`close`, with a checkpoint."""
        self.close()
        await trio.lowlevel.checkpoint()

    def _samples(self, seconds: float | None) -> int:
        seconds = self.frame_seconds if seconds is None else seconds
        if not isinstance(seconds, Real) or not 0 < seconds <= self._sink.max_seconds:
            raise ConfigurationError(f"a frame may last up to the sink's {self._sink.max_seconds} s, not {seconds!r}")
        return max(1, self.format.samples(seconds))

    def _take(self, samples: int) -> AudioFrame:
        sink = self._sink
        if sink._source_closed:
            raise trio.ClosedResourceError
        frame = sink._take(samples)
        if frame is not None:
            return frame
        if sink._closed and not sink._turns:
            raise trio.EndOfChannel
        raise trio.WouldBlock


class Frames:
    """An asynchronous iterator over a source; made by :meth:`AudioSource.frames`."""

    def __init__(self, source: AudioSource, seconds: float) -> None:
        self._source = source
        self._seconds = seconds

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AudioFrame:
        try:
            return await self._source.receive(self._seconds)
        except trio.EndOfChannel:
            raise StopAsyncIteration from None


class AudioByteStream(trio.abc.ReceiveStream):
    """A source as raw s16le bytes; made by :meth:`AudioSource.byte_stream`.

    Whole samples only: it gives at least one, whatever `max_bytes` says.
    """

    def __init__(self, source: AudioSource) -> None:
        self._source = source

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Wait for audio and take up to `max_bytes` of it; ``b""`` at the end.  Cancelling it takes nothing."""
        fmt = self._source.format
        seconds = self._source.frame_seconds
        if max_bytes is not None:
            if max_bytes < 1:
                raise ValueError(f"max_bytes must be at least 1, not {max_bytes}")
            seconds = min(seconds, max(1, max_bytes // fmt.sample_width) / fmt.sample_rate)
        try:
            return (await self._source.receive(seconds)).pcm
        except trio.EndOfChannel:
            return b""

    async def aclose(self) -> None:
        """Close the source."""
        await self._source.aclose()
