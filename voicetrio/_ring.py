"""The last seconds of a stream of audio, by position."""

from __future__ import annotations


class AudioRing:
    """Audio from `start` to `end`, which are positions in a stream; beyond its capacity the oldest is dropped.

    Args:
        capacity: samples (per channel) that it holds at most.
        width: bytes of one sample of all channels.

    Attributes:
        start: position of the oldest sample held.
    """

    def __init__(self, capacity: int, width: int) -> None:
        self.start: int = 0
        self._capacity = capacity
        self._width = width
        self._data = bytearray()

    @property
    def end(self) -> int:
        """The position behind the newest sample."""
        return self.start + len(self._data) // self._width

    def append(self, pcm: bytes) -> None:
        """Take whole samples in, and drop the oldest if there is no room."""
        self._data += pcm
        self.forget(self.end - self._capacity)

    def forget(self, position: int) -> None:
        """Drop what is before a position."""
        count = min(position, self.end) - self.start
        if count > 0:
            del self._data[: count * self._width]
            self.start += count

    def read(self, position: int, count: int) -> bytes:
        """The samples from a position on, which must be held: `count` of them, or fewer at the end."""
        if position < self.start:
            raise ValueError(f"position {position} is not held any more: the oldest is {self.start}")
        first = (position - self.start) * self._width
        return bytes(self._data[first : first + count * self._width])
