"""When the words of a context are spoken, counted from the start of its audio."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ._speech import SpokenWord

if TYPE_CHECKING:
    from ._speaker import Recording

__all__ = ["WordClock", "phonemes_of"]


class WordClock:
    """Gives the words of one segment after another, with times that go on from segment to segment.

    Args:
        sample_rate: of the audio, in Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._samples = 0  # of the segments before
        self._words: deque[SpokenWord] = deque()

    def restart(self) -> None:
        """Count from here on."""
        self._samples = 0

    def begin(self, recording: Recording) -> None:
        """Go on to a segment."""
        self._words = deque(recording.words)

    def take(self, recording: Recording, size: int) -> list[SpokenWord]:
        """The words that begin in the next `size` bytes of the segment; with the last bytes, all that are left."""
        end = recording.offset + size
        seconds = end / recording.width / self._rate
        last = end >= len(recording.audio)
        base = self._samples / self._rate
        taken: list[SpokenWord] = []
        while self._words and (last or self._words[0].start < seconds):
            word = self._words.popleft()
            taken.append(SpokenWord(word.text, base + word.start, base + word.end))
        return taken

    def end(self, recording: Recording) -> None:
        """Leave a segment."""
        self._samples += len(recording.audio) // recording.width


def phonemes_of(words: list[SpokenWord]) -> list[SpokenWord]:
    """The letters and digits of words in place of phonemes, each as long as the next in its word."""
    phonemes: list[SpokenWord] = []
    for word in words:
        letters = [character for character in word.text.lower() if character.isalnum()] or [word.text]
        each = (word.end - word.start) / len(letters)
        phonemes += [
            SpokenWord(letter, word.start + index * each, word.start + (index + 1) * each)
            for index, letter in enumerate(letters)
        ]
    return phonemes
