"""When the words of a session are heard: within their frame of audio, or going on until the next acknowledgement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._speaker import Recording

__all__ = ["WordClock"]


class WordClock:
    """Counts the audio of a session and places words in it.

    Args:
        bytes_per_second: of the audio.
        cumulative: whether starts are counted from the last :meth:`restart`, or from the frame a word begins in.
    """

    def __init__(self, bytes_per_second: int, *, cumulative: bool) -> None:
        self._rate = bytes_per_second
        self._cumulative = cumulative
        self._sent = 0

    def restart(self) -> None:
        """Count from here: a flush or a reset was carried out."""
        self._sent = 0

    def advance(self, rest: Recording, size: int) -> list[dict[str, Any]]:
        """The words that begin in the next `size` bytes of a recording, which are counted as sent; times in seconds.

        The last frame has all that are left, should a voice place them behind its audio.
        """
        begin, end = rest.offset, rest.offset + size
        last = end >= len(rest.audio)
        origin = (self._sent - begin) / self._rate if self._cumulative else -begin / self._rate
        self._sent += size
        return [
            {
                "text": word.text,
                "start": round(max(origin + word.start, 0.0), 6),
                "duration": round(word.end - word.start, 6),
            }
            for word in rest.words
            if (begin == 0 or word.start * self._rate >= begin) and (last or word.start * self._rate < end)
        ]
