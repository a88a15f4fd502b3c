"""Audio formats and frames, and the bounded audio channel between turns and whoever plays them.

Theory of operation
-------------------
:func:`open_audio_sink` gives two ends, as :func:`trio.open_memory_channel` does.  On the sink's side each turn opens a
:class:`TurnAudio` and writes into it; the turns stand in a line, in the order in which they were opened.  On the other
side the :class:`AudioSource` takes frames from the first turn of the line, and goes on to the next when that one has
ended and is empty.  Nothing else holds audio: no frame is half assembled anywhere but in its turn.

Therefore the *fence* is small.  :meth:`TurnAudio.fence` is synchronous, empties the turn and marks it; every write and
every read looks at that mark in the same scheduler step in which it moves samples, so that after the fence not one
sample of the turn passes, however many tasks are already scheduled.

Back-pressure is by time: a turn may be written while the audio queued up to its own end is shorter than the bound.  A
later turn never makes an earlier one wait.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING

import numpy as np
import trio

from ._format import AudioFormat as AudioFormat
from ._format import AudioFrame as AudioFrame
from ._format import Playout as Playout
from ._source import AudioByteStream as AudioByteStream
from ._source import AudioSource as AudioSource
from ._source import Frames as Frames
from .errors import ConfigurationError, SinkClosed
from .resample import Quality, Resampler

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

logger: logging.Logger = logging.getLogger(__name__)

# Work done between two looks at the fence: a 1 MiB message is converted piece by piece, not in one long step.
_PIECE_SECONDS = 0.2

# An hour of audio is no longer a bound, it is a mistake.
_MOST_SECONDS = 3600


def check_sink(sink: AudioSink, fmt: AudioFormat) -> None:
    """Say whether this is a sink that audio of this format can be written to.

    Raises:
        ConfigurationError: if it is not.
    """
    if not isinstance(sink, AudioSink):
        raise ConfigurationError(f"an AudioSink is needed, the first of what open_audio_sink() returns, not {sink!r}")
    sink.check_format(fmt)


def open_audio_sink(
    sample_rate: int = 24_000,
    channels: int = 1,
    *,
    max_seconds: float = 1.0,
    frame_seconds: float = 0.02,
    quality: Quality = "sinc_fastest",
) -> tuple[AudioSink, AudioSource]:
    """Open a bounded audio channel.

    Args:
        sample_rate: of the frames that come out, in Hz.  A provider's audio is resampled where it differs.
        channels: of the frames that come out.  Mono is copied to all of them; anything else must match.
        max_seconds: how much audio may be queued; a writer waits for room.  It is also how far ahead of the listener
            ``synthesize()`` may return.
        frame_seconds: length of the frames that iterating the source gives.  A turn's last frame may be shorter.
        quality: of the resampler, see :data:`voicetrio.resample.Quality`.

    Returns:
        The sink, for ``provider.open(sink)``, and the source, for whoever plays.

    Raises:
        ConfigurationError: for a format or length that cannot be.
    """
    fmt = AudioFormat(sample_rate, channels)
    numbers = all(isinstance(value, int | float) for value in (frame_seconds, max_seconds))
    if not numbers or not 0 < frame_seconds <= max_seconds <= _MOST_SECONDS:
        raise ConfigurationError(
            f"0 < frame_seconds <= max_seconds <= {_MOST_SECONDS} is needed, not {frame_seconds!r} and {max_seconds!r}"
        )
    Resampler(sample_rate, sample_rate, quality=quality)  # says at once if the quality is unknown
    sink = AudioSink(fmt, max_seconds, quality)
    return sink, AudioSource(sink, frame_seconds)


class AudioSink:
    """The end that turns write to; made by :func:`open_audio_sink`.

    Closing it lets the source play out what is queued and then end.  Sessions do not close it: it may outlive them, and
    serve several.
    """

    def __init__(self, fmt: AudioFormat, max_seconds: float, quality: Quality) -> None:
        self.format: AudioFormat = fmt
        self.max_seconds: float = max_seconds
        self.quality: Quality = quality
        self._bound = max(1, fmt.samples(max_seconds))
        self._turns: deque[TurnAudio] = deque()
        self._opened = 0
        self._taken = 0  # samples ever taken, less those a device was told to drop
        self._playout: Playout | None = None
        self._closed = False
        self._source_closed = False
        self._readers = trio.lowlevel.ParkingLot()
        self._writers = trio.lowlevel.ParkingLot()

    def open_turn(self, fmt: AudioFormat | None = None) -> TurnAudio:
        """Put a new turn at the end of the line.

        Args:
            fmt: the format of what will be written; the sink's own by default.

        Raises:
            SinkClosed: if either end is closed.
            ConfigurationError: if the channels cannot be mapped: only mono is copied to more channels.
        """
        if self._closed or self._source_closed:
            raise SinkClosed("the audio sink is closed")
        turn = TurnAudio(self, self._opened + 1, fmt or self.format)
        self._opened += 1
        self._turns.append(turn)
        return turn

    def check_format(self, fmt: AudioFormat) -> None:
        """Say whether audio of this format can be written here.

        Raises:
            ConfigurationError: if it cannot.
        """
        if fmt.channels not in (1, self.format.channels):
            raise ConfigurationError(f"{fmt.channels} channels cannot become {self.format.channels}")

    @property
    def queued_seconds(self) -> float:
        """How much audio waits to be taken."""
        return self.format.seconds(sum(turn.queued for turn in self._turns))

    async def drained(self) -> None:
        """Wait until everything that was asked for so far has been taken, or silenced.

        What an attached device still holds is not waited for.  Cancelling it has no effect on the audio.  Cancelled by
        whoever silenced the audio, it does not return as if that had been taken.
        """
        await trio.lowlevel.checkpoint()
        turns = list(self._turns)
        while not self._source_closed and any(turn.queued or not turn._finished for turn in turns):
            await self._writers.park()
        # Whoever silenced it may have cancelled who waits here in the same step: what was cut off was not heard.
        await trio.lowlevel.checkpoint_if_cancelled()

    def close(self) -> None:
        """Say that no turn will follow.  Idempotent; what is queued can still be taken."""
        self._closed = True
        self._readers.unpark_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def _played(self) -> int:
        held = 0
        if self._playout is not None:
            try:
                held = self._playout.held()
            except Exception:  # a device may go at any time, and we may be inside of a cancel()
                logger.exception("the attached device did not say what it holds")
        return self._taken - max(0, held)

    def _drop(self, samples: int) -> None:
        """Make the device forget the newest samples."""
        if self._playout is not None and samples:
            self._taken -= samples
            try:
                self._playout.drop(samples)
            except Exception:  # as in _played
                logger.exception("the attached device did not drop what was interrupted")

    def _room(self, turn: TurnAudio) -> int:
        """How many samples this turn may add: what is queued behind it does not count."""
        queued = 0
        for other in self._turns:
            queued += other.queued
            if other is turn:
                break
        return self._bound - queued

    def _take(self, samples: int) -> AudioFrame | None:
        """A frame of at most `samples` of the first turn in the line, if one can be had now."""
        while self._turns:
            turn = self._turns[0]
            frame = turn._take(samples)
            if frame is not None:
                self._taken += frame.samples
                turn._taken_until = self._taken
                self._writers.unpark_all()
                return frame
            if not turn._finished or turn._queue:
                return None
            self._turns.popleft()
        return None

    def _must_wait(self, samples: int) -> bool:
        """Whether who wants a frame of so many samples must wait for more; False if that is not clear."""
        if self._closed or self._source_closed:
            return False
        return not self._turns or self._turns[0]._must_wait(samples)

    def _forget(self, turn: TurnAudio) -> None:
        if turn in self._turns:
            self._turns.remove(turn)


class TurnAudio:
    """One turn's place in the sink; made by :meth:`AudioSink.open_turn`.

    Attributes:
        number: the `turn` of its frames.
        format: of what is written, before conversion to the sink's.
        received: samples written so far, per channel, in `format`.
        converted: samples that came of them, per channel, at the sink's rate.
        taken: samples that the source has taken.
        first_queued: when the first sample was in the sink, by :func:`trio.current_time`; None if none was.
        last_queued: when the latest sample was.
    """

    def __init__(self, sink: AudioSink, number: int, fmt: AudioFormat) -> None:
        sink.check_format(fmt)
        self.number: int = number
        self.format: AudioFormat = fmt
        self.received: int = 0
        self.converted: int = 0
        self.taken: int = 0
        self.first_queued: float | None = None
        self.last_queued: float | None = None
        self._sink = sink
        self._queue = bytearray()
        self._odd = b""  # bytes of a sample that has not come whole
        self._taken_until = 0  # the sink's count of taken samples when our last was taken
        self._heard_at_fence: int | None = None
        self._held_back = False
        self._finished = False
        rate = sink.format.sample_rate
        self._resampler: Resampler | None = None
        if fmt.sample_rate != rate:
            self._resampler = Resampler(fmt.sample_rate, rate, channels=fmt.channels, quality=sink.quality)

    @property
    def queued(self) -> int:
        """Samples that wait to be taken."""
        return len(self._queue) // self._sink.format.sample_width

    @property
    def heard(self) -> int:
        """Samples that were heard: taken, and played as far as the device tells.  Frozen by the fence."""
        if self._heard_at_fence is not None:
            return self._heard_at_fence
        return self.taken - self._unplayed()

    @property
    def heard_seconds(self) -> float:
        """How long :attr:`heard` lasts."""
        return self._sink.format.seconds(self.heard)

    @property
    def sample_rate(self) -> int:
        """The sink's rate in Hz, which `converted`, `taken` and `heard` count in."""
        return self._sink.format.sample_rate

    @property
    def fenced(self) -> bool:
        """Whether no more samples can pass."""
        return self._heard_at_fence is not None

    @property
    def audible(self) -> bool:
        """Whether anything of it may still be heard."""
        return not self.fenced and (not self._finished or bool(self._queue) or self._unplayed() > 0)

    async def write(self, pcm: bytes) -> int:
        """Queue audio, waiting while the sink is full.

        Args:
            pcm: s16le in the turn's format, of any length: a sample may be cut anywhere and its rest come next time.

        Returns:
            The bytes that were dropped, because the turn was over before they were looked at.

        Raises:
            SinkClosed: if nobody will read it.

        Cancelling it loses the part that was not queued yet; a session cancels it only with the whole turn.  After
        its end or the fence it returns at once and drops what it was given.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        left = len(self._odd) + len(pcm)
        for number, piece in enumerate(self._whole_samples(pcm)):
            if number:
                await trio.lowlevel.checkpoint()  # a long message is converted without holding up the others
            if self._finished:
                return left
            left -= len(piece)
            self.received += len(piece) // self.format.sample_width
            await self._queue_up(self._convert(piece))
        return 0

    def start_over(self) -> None:
        """Forget half a sample: what comes next is not its other half."""
        self._odd = b""

    def finish(self) -> None:
        """End the turn: bring out what the resampler withholds; what is queued can still be taken.  Idempotent.

        The few milliseconds withheld are queued even if the sink is full.  Half a sample at the very end is dropped: it
        cannot be heard.
        """
        if not self._finished and self._resampler is not None:
            tail = self._spread(self._resampler.flush())
            self.converted += len(tail) // self._sink.format.sample_width
            self._queue += tail
        self._end()

    def _end(self) -> None:
        self._odd = b""
        self._finished = True
        if not self._queue:
            self._sink._forget(self)  # now, as perhaps nobody reads
        self._sink._readers.unpark_all()
        self._sink._writers.unpark_all()

    def fence(self) -> int:
        """Drop all that was not heard and let nothing pass any more.

        Returns:
            The samples heard.  Synchronous, idempotent and safe at any time.
        """
        if self._heard_at_fence is None:
            unplayed = self._droppable()
            self._heard_at_fence = self.taken - unplayed
            self._sink._drop(unplayed)
            self._queue.clear()
            self._resampler = None
            self._end()
        return self._heard_at_fence

    def hold_back(self) -> None:
        """Let nothing pass until :meth:`let_pass`: the turn's caller is about to learn how it ended."""
        self._held_back = True

    def let_pass(self) -> None:
        """Undo :meth:`hold_back`."""
        self._held_back = False
        self._sink._readers.unpark_all()

    def _unplayed(self) -> int:
        """Our samples that the source took and the device still holds: the newest taken are the last played."""
        return min(self.taken, max(0, self._taken_until - self._sink._played()))

    def _droppable(self) -> int:
        """Our unplayed samples, unless a later turn's lie on top of them in the device: then they will be heard."""
        return self._unplayed() if self._taken_until == self._sink._taken else 0

    def _whole_samples(self, pcm: bytes) -> Iterator[bytes]:
        width = self.format.sample_width
        data = self._odd + pcm if self._odd else pcm
        end = len(data) - len(data) % width
        self._odd = data[end:]
        step = width * max(1, self.format.samples(_PIECE_SECONDS))
        for start in range(0, end, step):
            yield data[start : min(start + step, end)]

    def _convert(self, pcm: bytes) -> bytes:
        return self._spread(self._resampler.process(pcm) if self._resampler is not None else pcm)

    def _spread(self, pcm: bytes) -> bytes:
        """Mono to all channels of the sink."""
        channels = self._sink.format.channels
        if channels == self.format.channels:
            return pcm
        return np.repeat(np.frombuffer(pcm, "<i2"), channels).tobytes()

    async def _queue_up(self, pcm: bytes) -> None:
        sink, width = self._sink, self._sink.format.sample_width
        self.converted += len(pcm) // width
        while pcm and not self._finished:
            if sink._source_closed:
                raise SinkClosed("the reader of the audio sink is gone")
            room = width * sink._room(self)
            if room <= 0:
                await sink._writers.park()
                continue
            self._queue += pcm[:room]
            pcm = pcm[room:]
            self.last_queued = trio.current_time()
            if self.first_queued is None:
                self.first_queued = self.last_queued
            sink._readers.unpark_all()

    def _must_wait(self, samples: int) -> bool:
        return not self._finished and len(self._queue) < samples * self._sink.format.sample_width

    def _take(self, samples: int) -> AudioFrame | None:
        size = samples * self._sink.format.sample_width
        if self._held_back or not self._queue or (len(self._queue) < size and not self._finished):
            return None
        fmt = self._sink.format
        frame = AudioFrame(bytes(self._queue[:size]), fmt.sample_rate, fmt.channels, self.number, self.taken)
        del self._queue[:size]
        self.taken += frame.samples
        return frame
