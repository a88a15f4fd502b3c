"""What was said in a turn, for providers that do not repeat it at its end."""

from __future__ import annotations

import re

import attrs

from .transcript import STTEvent, Transcript, TurnEnded

# Chinese and Japanese with their punctuation, full-width and half-width too.  Korean has spaces; so has Thai, between
# phrases.
_WITHOUT_SPACES = re.compile(
    "[\u2e80-\u312f\u31a0-\u9fff\uf900-\ufaff\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff9f"
    "\U0001aff0-\U0001b16f\U00020000-\U0003ffff]"
)
# What is of any script: quotation marks and dashes; variation selectors.
_OF_ANY = "“”‘’…—" + "".join(map(chr, [*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]))


class TurnText:
    """The final transcripts since the last turn ended, whatever connections told them."""

    def __init__(self) -> None:
        self._said = ""

    def complete(self, event: STTEvent, joint: str | None) -> STTEvent:
        """An event as it is told: the end of a turn has the turn's text.

        Args:
            event: the next one of the session.
            joint: see :attr:`~voicetrio._stt_dialect.STTDialect.joint`.
        """
        if joint is None:
            return event
        if isinstance(event, Transcript) and event.kind == "final":
            self._said = _joined(self._said, event.text, joint)
        elif isinstance(event, TurnEnded):
            said, self._said = self._said, ""
            return attrs.evolve(event, text=said) if event.text is None else event
        return event


def _joined(left: str, right: str, joint: str) -> str:
    if not left or not right or left[-1].isspace() or right[0].isspace():
        return left + right
    ends = left.rstrip(_OF_ANY)[-1:], right.lstrip(_OF_ANY)[:1]
    if all(_WITHOUT_SPACES.match(end) for end in ends):
        return left + right
    return left + joint + right
