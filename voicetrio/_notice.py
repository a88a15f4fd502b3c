"""What a text message of a server tells of a request, whatever its shape is on the wire."""

from __future__ import annotations

import abc

import attrs

from ._dialect import Audio, PatientDialect, Spoken
from ._json import audio_size, decode_audio
from .errors import ProviderError
from .turn import Word


@attrs.define(kw_only=True)
class Notice:
    """What one message tells.

    Attributes:
        ours: our id of the request or context that it is of, where the server tells that.
        theirs: the server's own id of the request, where it tells one.
        audio: PCM, in base64.
        words: words, whose times count from the first sample of the request.
        done: whether all has come of the request.
        error: the error that it tells, if it is one; what else it brings is then passed over.
    """

    ours: str | None = None
    theirs: str | None = None
    audio: str = ""
    words: tuple[Word, ...] = ()
    done: bool = False
    error: ProviderError | None = None

    @property
    def size(self) -> int:
        """How many bytes of PCM it brings; they are not decoded."""
        return audio_size(self.audio)

    def events(self, turn: int, provider: str) -> list[Audio | Spoken]:
        """What it brings of a turn.

        Raises:
            ProtocolError: if its audio is not understood.
        """
        events: list[Audio | Spoken] = []
        if self.audio:
            events.append(Audio(turn, decode_audio(self.audio, provider)))
        if self.words:
            events.append(Spoken(turn, self.words))
        return events


class NoticesDialect(PatientDialect, abc.ABC):
    """A protocol whose text messages are read into notices; what they mean is the same for several."""

    @abc.abstractmethod
    def _read(self, message: str) -> Notice:
        """Read a message.

        Raises:
            ProtocolError: if it cannot be understood.
        """
