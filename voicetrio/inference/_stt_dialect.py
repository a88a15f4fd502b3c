"""The gateway's ``/v1/stt``: what is said on the wire, and what can be concluded from it.

No message of the gateway's names the audio that it is about, and nothing is acknowledged, not even a flush.  So:

- A final transcript has no times: the session takes it to be of what had been sent a moment before it came, keeps all
  audio behind that, and sends it again if the connection is lost.
- A flush is answered when a final transcript has come behind it and then nothing more for a moment.  An interim one in
  between may be of audio from before the flush, so the next final one is waited for.
- The end is never told.  It is inferred from silence behind the last flush, unless an interim transcript shows that a
  final one is owed: then silence is a stall.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from .._link.dialect import Message, Silence
from .._stt_dialect import Event, Failed, Finished, Flushed, STTDialect
from ..errors import BadRequest, LinkClosed, ProtocolError, ProviderError
from ..transcript import SpeechEnded, SpeechStarted, Transcript, TurnEnded
from ._gateway import NAME, audio_message, decode, failure, message

if TYPE_CHECKING:
    from .stt import STT

_FLUSH = message("flush")

# Seconds without audio after which silence is sent: vendors behind the gateway end a stream that brings none for ten.
_KEEPALIVE = 5.0

# Seconds of silence behind a final transcript that answers a flush: the one before might have been under way, too.
_AFTER_FINAL = 0.5


class _Heard(msgspec.Struct):
    """The data of a ``TRANSCRIPT``."""

    text: str = ""
    language: str | None = None
    is_final: bool | None = None
    confidence: float | None = None


class GatewaySTTDialect(STTDialect):
    """Speech-to-text through the gateway."""

    provider = NAME
    keepalive = _KEEPALIVE
    joint = " "

    def __init__(self, options: STT) -> None:
        self._final_by_default = options.final_by_default
        self._inferred_end = options.inferred_end
        self._asked = 0  # flushes behind which no final transcript has come
        self._answered = 0  # those behind which one has
        self._finishing = False
        self._open = False  # an interim transcript has come since the last final one
        self._turn = _Turn()
        self._silence = Silence()

    # -- the connection ----------------------------------------------------------------------------------------------

    def explain(self, error: LinkClosed) -> ProviderError:
        if error.code != 1008:
            return error
        kind = type(failure(error.reason or ""))
        return (BadRequest if kind is ProviderError else kind)(
            error.message, provider=NAME, request_id=error.request_id, code=error.code, reason=error.reason
        )

    # -- the audio ---------------------------------------------------------------------------------------------------

    @property
    def awaiting(self) -> bool:
        return self._open and (self._asked > 0 or self._finishing)

    @property
    def expires(self) -> float | None:
        if self._open:
            return None
        if self._asked and self._finishing:
            return self._silence.lasting(self._inferred_end)
        return self._silence.lasting(_AFTER_FINAL) if self._answered else None

    def missed(self, seconds: float) -> None:
        self._silence.missed(seconds)

    def lapse(self) -> Iterable[Event]:
        answered, self._answered = self._answered, 0
        if self._finishing:
            self._asked = 0
            return (Finished(inferred=True),)
        return [Flushed() for _ in range(answered)]

    def audio(self, pcm: bytes) -> Message:
        return audio_message(pcm)

    def flush(self) -> Iterable[Message]:
        self._asked += 1
        self._silence.broken()
        return (_FLUSH,)

    def finish(self) -> Iterable[Message]:
        self._finishing = True
        return self.flush()

    # -- what comes --------------------------------------------------------------------------------------------------

    def receive(self, message: Message) -> Iterable[Event]:
        self._silence.broken()
        notice = decode(message) if isinstance(message, str) else None
        if notice is None:
            return ()  # an acknowledgement; and nothing is known that would be binary
        if (error := notice.failure()) is not None:
            return (Failed(error),)
        match notice.event:
            case "TRANSCRIPT":
                return self._on_transcript(_heard(notice.data))
            case "START_SPEECH":
                return self._turn.start()
            case "END_SPEECH":
                return self._turn.end(complete=not self._open)
        return ()

    def _on_transcript(self, heard: _Heard) -> Iterable[Event]:
        final = self._final_by_default if heard.is_final is None else heard.is_final
        said, was_open = bool(heard.text.strip()), self._open
        if final:
            self._open = False
            self._answered, self._asked = self._answered + self._asked, 0
        elif said:
            self._open = True
        if not said and not (final and was_open):
            return ()  # nothing was said, and nothing is taken back
        transcript = Transcript(
            kind="final" if final else "interim",
            text=heard.text,
            language=heard.language,
            confidence=heard.confidence,
        )
        return (transcript, *self._turn.hear(said=said)) if final else (transcript,)


class _Turn:
    """What there was since somebody began to speak.

    The end of speech is the end of a turn if anything was said in it: a cough is none.  The final transcript may come
    before that or behind it.
    """

    def __init__(self) -> None:
        self._said = False  # there was a final transcript
        self._over = False

    def start(self) -> Iterable[Event]:
        self._said = self._over = False
        return (SpeechStarted(),)

    def hear(self, *, said: bool) -> Iterable[Event]:
        """A final transcript has come; whether it says anything."""
        self._said |= said
        return self._ended() if self._over else ()

    def end(self, *, complete: bool) -> Iterable[Event]:
        """Nobody speaks any more; whether all that was heard is final."""
        if self._over:
            return ()  # has been told
        self._over = True
        return (SpeechEnded(), *(self._ended() if complete else ()))

    def _ended(self) -> Iterable[Event]:
        said, self._said = self._said, False
        return (TurnEnded(),) if said else ()


def _heard(data: Any) -> _Heard:
    try:
        return msgspec.convert(data, _Heard)
    except msgspec.ValidationError as error:
        raise ProtocolError(f"a transcript that is not understood: {error}", provider=NAME) from None
