"""What was said in a turn, for providers that do not repeat it at its end."""

from __future__ import annotations

import attrs

from .transcript import STTEvent, Transcript, TurnEnded


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
    return left + joint + right
