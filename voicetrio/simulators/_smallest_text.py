"""Text that waits to be spoken, and where a sentence ends."""

from __future__ import annotations

import re

__all__ = ["TextBuffer"]

_SENTENCE_END = re.compile(r"""[.!?…。！？।]+["'”’»)\]]*(?=\s|$)""")


class TextBuffer:
    """Fragments joined as they came; what it gives back are stretches of it, verbatim and complete.

    Attributes:
        size: characters that wait.
        epoch: how many times text was taken, so that a timer knows whether what it waited for is still there.
    """

    def __init__(self) -> None:
        self.size = 0
        self.epoch = 0
        self._text = ""

    @property
    def blank(self) -> bool:
        """Whether there is nothing to say in it."""
        return not self._text.strip()

    def add(self, text: str) -> None:
        """Put a fragment at the end."""
        self._text += text
        self.size = len(self._text)

    def take_sentences(self) -> str:
        """What is complete, up to the last end of a sentence: a mark followed by space or by nothing, as yet."""
        end = max((match.end() for match in _SENTENCE_END.finditer(self._text)), default=0)
        return self._take(end)

    def take(self) -> str:
        """All of it."""
        return self._take(self.size)

    def _take(self, end: int) -> str:
        taken, self._text = self._text[:end], self._text[end:]
        self.size = len(self._text)
        self.epoch += bool(taken)
        return taken
