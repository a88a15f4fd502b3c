"""What a speech-to-text session tells: transcripts, and the beginnings and ends of speech and of turns.

All times are in seconds of the audio that was given to the session, from its first sample on, whatever connections
carried it.  A time, a language or a confidence that the provider does not tell is None, never a guess.
"""

from __future__ import annotations

from typing import Literal

import attrs

from .turn import Word

Kind = Literal["interim", "final", "preflight"]
"""``interim``: may still change.  ``final``: will not.  ``preflight``: the turn has probably ended with this."""

Outcome = Literal["completed", "completed_inferred"]
"""How the audio of a session ended: the provider said that all is final, or is one that never does and was silent."""


@attrs.frozen(kw_only=True)
class STTEvent:
    """What all events have.

    Attributes:
        start: where in the audio it begins, in seconds.
        end: where in the audio it ends, in seconds.
        request_id: the provider's id of the connection that told it.
    """

    start: float | None = None
    end: float | None = None
    request_id: str | None = None


@attrs.frozen(kw_only=True)
class Transcript(STTEvent):
    """What was heard since the last final transcript.

    Attributes:
        kind: see :data:`Kind`.
        text: verbatim.  With the space that it may begin with where the provider gives pieces of a text, whose final
            ones are joined by plain concatenation; or a phrase or a turn, which may have no space at either end.
        words: with their times, where the provider tells them.
        language: as the provider names it.
        confidence: from 0 to 1.
    """

    kind: Kind
    text: str
    words: tuple[Word, ...] = ()
    language: str | None = None
    confidence: float | None = None


@attrs.frozen(kw_only=True)
class SpeechStarted(STTEvent):
    """Somebody has begun to speak."""


@attrs.frozen(kw_only=True)
class SpeechEnded(STTEvent):
    """Nobody speaks any more."""


@attrs.frozen(kw_only=True)
class TurnResumed(STTEvent):
    """The turn has not ended after all: the ``preflight`` transcript before this was premature."""


@attrs.frozen(kw_only=True)
class TurnEnded(STTEvent):
    """The speaker has finished; what was said is in the final transcripts before this.

    Attributes:
        text: all of the turn: as the provider repeats it or, where it does not, the final transcripts since the last
            end of a turn, joined verbatim if they are pieces of a text or in Chinese or Japanese, which have no spaces,
            and with one space where neither has one if they are phrases.
    """

    text: str | None = None


@attrs.frozen
class STTStatistics:
    """What a session has done so far; samples are the provider's: per channel, at its rate.

    Attributes:
        connections: links that became ready.
        reconnects: how many of them replaced a lost one.
        samples_sent: samples put on links, repetitions included.
        samples_repeated: how many of those had been sent on a link that was lost.
        samples_dropped: samples that the bound of the buffer dropped before any link got them.
        samples_unrepeated: samples that a lost link got, unacknowledged, and that the bound had dropped by then.
    """

    connections: int
    reconnects: int
    samples_sent: int
    samples_repeated: int
    samples_dropped: int
    samples_unrepeated: int
