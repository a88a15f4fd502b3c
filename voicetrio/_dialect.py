"""What a text-to-speech provider's protocol must answer: its dialect, without I/O.

A new provider writes one class with the methods of :class:`TTSDialect`; the session calls them.  It satisfies the
:class:`~voicetrio._link.link.LinkDialect` that links ask for.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar

import attrs

from ._link.dialect import LinkDialect, Message
from .errors import ProviderError
from .turn import Word


@attrs.frozen
class Pause:
    """A step of a dialect: wait this many seconds before the next one."""

    seconds: float


@attrs.define
class Audio:
    """PCM of a turn: s16le in the provider's format, cut anywhere."""

    turn: int
    pcm: bytes


@attrs.frozen
class Late:
    """Audio of what was cancelled has come, so many bytes of PCM; it was not decoded."""

    size: int


@attrs.frozen
class Spoken:
    """Words and phonemes with their times.

    These are in seconds from the first sample that came of the turn on this link, or that comes after the last
    :class:`TimesRestart`.
    """

    turn: int
    words: tuple[Word, ...] = ()
    phonemes: tuple[Word, ...] = ()


@attrs.frozen
class TimesRestart:
    """The times of what follows of a turn count from here: from the end of the audio that has come."""

    turn: int


@attrs.frozen
class Ended:
    """All audio of a turn has come; `inferred` if the provider did not say so itself.  Also a step of a dialect."""

    turn: int
    inferred: bool = False


@attrs.frozen
class Answered:
    """The provider has answered something of a turn that is not over yet: it is not silent."""

    turn: int


@attrs.frozen
class Failed:
    """The provider refused or broke off a turn, and the link goes on; or, if `turn` is None, the link has failed."""

    turn: int | None
    error: ProviderError


@attrs.frozen
class Reached:
    """All audio of so many characters of what was said on this link has come, and none of what follows them.

    If the link is lost before more comes, the turn goes on from there on another one.
    """

    turn: int
    characters: int


@attrs.frozen
class Reply:
    """Send a message now, behind what was sent before."""

    turn: int
    message: Message


@attrs.frozen
class MoreToSend:
    """The dialect has something to send for a turn whose text was already sent: see :meth:`TTSDialect.resume`."""

    turn: int


@attrs.frozen
class GateOpened:
    """The provider has acknowledged a cancellation: the oldest that was not."""


Event = Audio | Late | Spoken | TimesRestart | Answered | Ended | Failed | Reached | Reply | MoreToSend | GateOpened
Step = Message | Pause | Ended


class TTSDialect(LinkDialect, abc.ABC):
    """One provider's protocol on one connection: messages in, messages and events out, no I/O.

    The methods that give steps are read lazily: a step is worked out when the one before it has been sent.  What has a
    body here, or in :class:`~voicetrio._link.dialect.LinkDialect`, is what most protocols need.

    Attributes:
        needs_words: whether there must be a letter or digit for something to be spoken, see
            :func:`~voicetrio.text.says_something`; without, a turn of punctuation alone must bring audio.
    """

    needs_words: ClassVar[bool] = False

    def error(
        self,
        kind: type[ProviderError],
        words: str | None,
        *,
        status: int | None = None,
        code: int | str | None = None,
        reason: str | None = None,
        request_id: str | None = None,
    ) -> ProviderError:
        """An error that the provider tells in these words, which are its reason, unless that is another.

        `request_id` is the provider's id of the request that failed; without, it is the dialect's.
        """
        return kind(
            words or (str(code) if code else "an error without a word"),
            provider=self.provider,
            request_id=request_id or self.request_id,
            status=status,
            code=code,
            reason=reason or words or None,
        )

    @property
    @abc.abstractmethod
    def awaiting(self) -> bool:
        """Whether the provider owes us something: silence is then measured against `response_timeout`."""

    @property
    def gated(self) -> bool:
        """Whether a cancellation is not acknowledged yet, so that what comes is dropped."""
        return False

    @abc.abstractmethod
    def begin(self, turn: int, options: Any) -> None:
        """Start a turn with these provider options."""

    @abc.abstractmethod
    def say(self, text: str) -> Iterator[Step]:
        """Speak text that is not blank; it joins verbatim to what was said before."""

    @abc.abstractmethod
    def flush(self) -> Iterator[Step]:
        """Speak what was said so far without waiting for more; may be merged with the next flush."""

    @abc.abstractmethod
    def end(self) -> Iterator[Step]:
        """The turn's text is complete."""

    def resume(self) -> Iterator[Step]:
        """Send what :class:`MoreToSend` announced."""
        return iter(())

    @abc.abstractmethod
    def cancel(self, turn: int) -> Sequence[Message] | None:
        """Stop a turn and forget it: what to send; None if the protocol cannot, and the link must be given up.

        Where the protocol acknowledges cancellations, one that sends anything is answered by one :class:`GateOpened`.
        """

    @abc.abstractmethod
    def receive(self, message: Message) -> Iterable[Event]:
        """Take a message.

        Raises:
            ProtocolError: if it cannot be understood; the link is given up.
        """


class PatientDialect(TTSDialect, abc.ABC):
    """A protocol in which silence can be all that tells something, see :meth:`lapse`.

    Args:
        clock: gives seconds.

    Attributes:
        patient_until: when silence means something, by :meth:`now`; None if it means nothing.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.patient_until: float | None = None
        self._clock = clock
        self._missed = 0.0

    @property
    def expires(self) -> float | None:
        return None if self.patient_until is None else self.patient_until + self._missed

    def missed(self, seconds: float) -> None:
        self._missed += seconds

    def now(self) -> float:
        """Seconds, without those in which nobody listened: that was no silence."""
        return self._clock() - self._missed
