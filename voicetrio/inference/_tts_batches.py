"""How a turn's text is parted into what the gateway is asked for at a time."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from ..text import SentenceSplitter

# Characters that the first batches of a turn have at least, and all that follow; a batch ends with a sentence.  The
# first sentence goes out at once.  What is asked for later is heard later: it can wait for more, and a vendor that
# allows twenty flushes a minute is asked for a few.
_FEWEST = (1, 60, 120, 240)
# … and at most: the least of the vendors' limits that are known.
_MOST = 500


def count_spoken(text: str) -> int:
    """How many letters and digits a text has, in whatever script; marks count, as they are vowels in some."""
    return sum(unicodedata.category(char)[0] in "LMN" for char in text)


class Batches:
    """Gathers text until there is enough to ask for.  The batches join to the text verbatim, but for padding.

    A batch is whole sentences.  One without a letter or a digit is not asked for by itself: it goes with what follows
    it, or, at the end of a turn of which something was said, with nothing, as there is nothing in it to be heard.

    Args:
        streaming: ask for the first sentence at once; else for as much as there is at a time.
        shortest: letters and digits that the vendor wants at least.  A shorter batch waits for what follows.  Where
            nothing does, it is padded with full stops, which change no word.
    """

    def __init__(self, *, streaming: bool, shortest: int = 0) -> None:
        self._splitter = SentenceSplitter(min_chars=0, max_chars=_MOST)
        self._fewest: Iterator[int] = iter(_FEWEST if streaming else ())
        self._enough = next(self._fewest, _MOST)
        self._shortest = shortest
        self._waiting = ""
        self._asked = False  # something of the turn was asked for

    def feed(self, text: str) -> list[str]:
        """Take text that is not blank; the batches that are complete now."""
        batches = []
        for sentence in self._splitter.feed(text):
            if len(self._waiting) + len(sentence) > _MOST and self._suffices():
                batches.append(self._take())
            self._waiting += sentence
            if len(self._waiting) >= self._enough and self._suffices():
                batches.append(self._take())
        return batches

    def flush(self, *, last: bool = False) -> str:
        """What waits, maybe nothing, to be asked for now; `last` if nothing follows it."""
        self._waiting += self._splitter.flush()
        spoken = count_spoken(self._waiting)
        if not spoken and (self._asked or not last or not self._waiting.strip()):
            return ""
        self._pad(self._shortest - spoken)
        return self._take()

    def _suffices(self) -> bool:
        return count_spoken(self._waiting) >= max(1, self._shortest)

    def _take(self) -> str:
        batch, self._waiting = self._waiting, ""
        self._asked = True
        self._enough = next(self._fewest, self._enough)
        return batch

    def _pad(self, missing: int) -> None:
        body = self._waiting.rstrip()
        self._waiting = body + "." * missing + self._waiting[len(body) :]
