"""What was said in a turn, for providers that do not repeat it at its end."""

from __future__ import annotations

import re

import attrs

from .transcript import STTEvent, Transcript, TurnEnded

# Thai and Lao, Burmese, Khmer; Chinese and Japanese with their punctuation, and what is as wide.  Korean has spaces.
_WITHOUT_SPACES = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u312f\u31a0-\u9fff\uf900-\ufaff\uff00-\uff60\U00020000-\U0003ffff]"
)


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
    if _WITHOUT_SPACES.match(left[-1]) and _WITHOUT_SPACES.match(right[0]):
        return left + right
    return left + joint + right
