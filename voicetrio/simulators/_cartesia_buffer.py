"""How Cartesia gathers the pieces of a transcript before it speaks them.

Documented is that text waits until there is enough of it to be spoken well, at most for ``max_buffer_delay_ms``; the
rule that stands for the first part here is that whole sentences are enough.
"""

from __future__ import annotations

import math
import re

import trio

__all__ = ["TextBuffer"]

_SENTENCE_END = re.compile(r"""(?<=[.!?…])["'”’)\]]{0,3}\s+|(?<=[。！？])[”’」』）]{0,3}""")

_LOOK_BACK = 4
"""How far before a new piece a sentence's end may begin: the mark and what closes quotes and brackets."""


class TextBuffer:
    """The text of one context that is not being spoken yet.

    Args:
        delay: seconds for which text waits at most.

    Attributes:
        delay: as above.
    """

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self._text = ""
        self._since = 0.0

    def __len__(self) -> int:
        return len(self._text)

    @property
    def due(self) -> float:
        """When what is there has waited long enough; never, if there is nothing."""
        return self._since + self.delay if self._text else math.inf

    def add(self, text: str) -> None:
        """Put `text` behind what is there."""
        if text and not self._text:
            self._since = trio.current_time()
        self._text += text

    def take(self) -> str:
        """Take everything."""
        text, self._text = self._text, ""
        return text

    def take_sentences(self, added: int) -> str:
        """Take what ends with a whole sentence, its white space included.

        Args:
            added: how many characters are new since this was last asked.
        """
        end = 0
        for match in _SENTENCE_END.finditer(self._text, max(len(self._text) - added - _LOOK_BACK, 0)):
            end = match.end()
        text, self._text = self._text[:end], self._text[end:]
        if text:
            self._since = trio.current_time()
        return text
