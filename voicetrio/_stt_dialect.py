"""What a speech-to-text provider's protocol must answer: its dialect, without I/O.

A new provider writes one class with the methods of :class:`STTDialect`; the session calls them.  It satisfies the
:class:`~voicetrio._link.link.LinkDialect` that links ask for.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable

import attrs

from ._link.dialect import LinkDialect, Message
from .errors import ProviderError
from .transcript import STTEvent


@attrs.frozen
class Flushed:
    """The oldest flush that was not answered is: all audio before it is final."""


@attrs.frozen
class Finished:
    """All audio that was sent on this link is final, and nothing more will come.

    Attributes:
        inferred: whether that is concluded from silence, as the provider does not say so.
    """

    inferred: bool = False


@attrs.frozen
class Failed:
    """The provider refused or broke off; the link is given up."""

    error: ProviderError


Event = STTEvent | Flushed | Finished | Failed
"""Times of an :class:`~voicetrio.transcript.STTEvent` are in seconds of the audio sent on this link.

A final transcript acknowledges the audio up to its `end`.  Where the protocol tells no times its `end` is None, and it
acknowledges what had been sent a moment before it came.
"""


class STTDialect(LinkDialect, abc.ABC):
    """One provider's protocol on one connection: messages in, messages and events out, no I/O.

    A link serves one session, so it never wears out.  The farewell is said if the session is left without
    :meth:`finish`.

    Attributes:
        keepalive: seconds without audio after which silence is sent; None for never.
        joint: what belongs between two final transcripts of a turn where neither has a space: nothing (``""``) if they
            are pieces of a text, verbatim, and ``" "`` if they are phrases, but for those in Chinese and Japanese.  The
            session then gives each ``TurnEnded`` without a text the text of the turn.  None if the provider tells that
            itself, or knows no turns.
    """

    keepalive: float | None = None
    joint: str | None = None

    @property
    @abc.abstractmethod
    def awaiting(self) -> bool:
        """Whether the provider owes us an answer: silence is then measured against `response_timeout`."""

    def audio(self, pcm: bytes) -> Message:
        """The message that carries audio: whole samples in the provider's format, at most a tenth of a second."""
        return pcm

    @abc.abstractmethod
    def flush(self) -> Iterable[Message]:
        """Ask that all audio sent so far becomes final; :class:`Flushed` must answer.  Nothing if there is no such."""

    @abc.abstractmethod
    def finish(self) -> Iterable[Message]:
        """No more audio comes; :class:`Finished` must answer, when all finals have come."""

    @abc.abstractmethod
    def receive(self, message: Message) -> Iterable[Event]:
        """Take a message.

        Raises:
            ProtocolError: if it cannot be understood; the link is given up.
        """
