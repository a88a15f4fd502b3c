"""A session's audio: what there is, how much of it links were sent, and how much is acknowledged."""

from __future__ import annotations

from collections import deque

from ._format import AudioFormat
from ._ring import AudioRing


class Backlog:
    """Audio by position, from the first sample that is not acknowledged, and the flushes that belong into it.

    Args:
        fmt: of the audio.
        seconds: of it that are kept at most.

    Attributes:
        acknowledged: the position up to which all is final, or gone.
        sent: samples that were put on links, repetitions included.
        repeated: how many of those had been put on a link before.
        unrepeated: samples that could not be put on a link again.
    """

    def __init__(self, fmt: AudioFormat, seconds: float) -> None:
        self.acknowledged: int = 0
        self.sent: int = 0
        self.repeated: int = 0
        self.unrepeated: int = 0
        self._dropped = 0
        self._reached = 0  # the position up to which a link was given audio
        self._ring = AudioRing(max(1, fmt.samples(seconds)), fmt.sample_width)
        self._marks: deque[int] = deque()
        self._last_mark = 0

    @property
    def end(self) -> int:
        """The position behind the newest sample."""
        return self._ring.end

    @property
    def dropped(self) -> int:
        """Samples that no link got before the bound dropped them."""
        return self._dropped + max(0, self._ring.start - self._reached)

    def append(self, pcm: bytes) -> None:
        """Take new samples in; beyond the bound the oldest are dropped."""
        self._ring.append(pcm)

    def mark(self) -> None:
        """Put a flush behind all that is there, if there is anything new since the last one."""
        if self.end > self._last_mark:
            self._last_mark = self.end
            self._marks.append(self.end)

    def next_mark(self, after: int) -> int | None:
        """The first flush that is not answered behind a position."""
        return next((mark for mark in self._marks if mark > after), None)

    def withdraw(self, mark: int) -> None:
        """Forget the flush at this position."""
        self._marks.remove(mark)

    def acknowledge(self, position: int) -> bool:
        """All up to a position is final, and so are the flushes up to there answered; whether that is news."""
        while self._marks and self._marks[0] <= position:
            self._marks.popleft()
        if position <= self.acknowledged:
            return False
        self.acknowledged = position
        self._ring.forget(position)
        return True

    def resume(self, position: int) -> int:
        """Where to go on for somebody who is at a position: there, or behind what the bound has dropped."""
        start, reached = self._ring.start, self._reached
        if position >= start:
            return position
        self.unrepeated += max(0, min(start, reached) - position)
        self._dropped += max(0, start - max(position, reached))
        self._reached = max(reached, start)
        self.acknowledge(start)
        return start

    def take(self, position: int, count: int) -> bytes:
        """Samples for a link, from a position that is held."""
        self.sent += count
        self.repeated += max(0, min(self._reached - position, count))
        self._reached = max(self._reached, position + count)
        return self._ring.read(position, count)
