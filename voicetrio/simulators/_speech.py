"""What a simulator needs from a voice that really speaks, as an interface."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import attrs

__all__ = ["Speech", "SpokenWord", "Voice", "VoiceError"]


class VoiceError(RuntimeError):
    """The voice cannot speak: espeak-ng is not installed, does not know the voice, or its process is gone."""


class SpokenWord(NamedTuple):
    """One word of a :class:`Speech`, with its times in seconds from the first sample of the speech."""

    text: str
    start: float
    end: float


@attrs.frozen
class Speech:
    """One text, spoken.

    Attributes:
        pcm: s16le mono samples, at the rate that was asked for.
        words: the words in order, with their times.
    """

    pcm: bytes = attrs.field(repr=lambda pcm: f"<{len(pcm)} bytes>")
    words: tuple[SpokenWord, ...] = ()


class Voice(Protocol):
    """Anything that turns a text into speech."""

    async def speak(self, text: str, sample_rate: int) -> Speech:
        """Speak `text` at `sample_rate` Hz.

        Cancelling it abandons the speech and leaves the voice usable.
        """
        ...
