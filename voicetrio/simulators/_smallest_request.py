"""What Smallest's text-to-speech accepts, over its websocket and over HTTP.

Fields, bounds, languages and rates are those of smallestai 5.14 (``waves/tts``, ``waves/types``) and of the published
specification; those of continuations (`context_id` and what goes with it) those of the clients that use them.  A field
that is null counts as absent, one that is unknown is ignored.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

import attrs
import msgspec

if TYPE_CHECKING:
    from .smallest import SmallestOptions

__all__ = ["Encoding", "Message", "RequestError", "SpeechRequest", "decode", "inherit", "parse"]

_T = TypeVar("_T")

Encoding: TypeAlias = Literal["pcm", "wav", "ulaw", "alaw"]

MODELS = ("lightning_v3.1", "lightning_v3.1_pro")
RATES = (8000, 16000, 24000, 44100)
LANGUAGES = (
    *("auto", "en", "hi", "mr", "kn", "ta", "bn", "gu", "te", "ml", "pa", "or", "es", "de", "fr", "it", "nl", "sv"),
    *("pt", "ru", "el", "fi", "no", "pl", "ar", "zh", "id", "ja", "ko", "ms", "tr", "vi"),
)
ENCODINGS: tuple[Encoding, ...] = ("pcm", "wav", "ulaw", "alaw")
"""The formats that can be had; mp3, which Smallest has as well, is refused."""

SETTINGS = (
    *("voice_id", "model", "language", "number_pronunciation_language", "sample_rate", "speed", "output_format"),
    *("complete_backoff_ms", "word_timestamps", "session_id", "request_id", "max_buffer_delay_ms"),
)
"""The fields of a message that say how, not what."""

_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}")


class RequestError(Exception):
    """A request that is refused: with an error frame on a websocket, with 400 over HTTP.

    Attributes:
        message: what is wrong.
        code: the kind of error.
    """

    def __init__(self, message: str, code: str = "INVALID_INPUT") -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class Message(msgspec.Struct):
    """A message of the websocket, or the body of an HTTP request, as it came."""

    text: str | None = None
    voice_id: str | None = None
    model: str | None = None
    language: str | None = None
    number_pronunciation_language: str | None = None
    sample_rate: float | None = None
    speed: float | None = None
    output_format: str | None = None
    continue_: bool | None = msgspec.field(default=None, name="continue")
    flush: bool | None = None
    max_buffer_flush_ms: float | None = None
    complete_backoff_ms: float | None = None
    word_timestamps: bool | None = None
    session_id: str | None = None
    request_id: str | None = None
    context_id: str | None = None
    context_close: bool | None = None
    max_buffer_delay_ms: float | None = None
    cancel_request: bool | None = None
    type: str | None = None


@attrs.frozen
class SpeechRequest:
    """How something is to be said.

    Attributes:
        voice_id: the voice.
        sample_rate: Hz.
        encoding: of the audio.
        word_timestamps: whether the times of words are wanted.
        flush_delay: seconds that text waits for more in the session's buffer; 0 for as long as a sentence takes.
        context_delay: seconds that text waits for more in the buffer of a context.
        complete_delay: seconds between the last audio and `complete`, as asked for.
        session_id: the client's own name for its session.
        request_id: the client's own name for the request.
        context_id: the context that it belongs to, if any.
    """

    voice_id: str
    sample_rate: int
    encoding: Encoding
    word_timestamps: bool
    flush_delay: float
    context_delay: float
    complete_delay: float
    session_id: str | None
    request_id: str | None
    context_id: str | None

    @property
    def width(self) -> int:
        """Bytes of a sample."""
        return 1 if self.encoding in ("ulaw", "alaw") else 2


_decoder = msgspec.json.Decoder(Message)


def decode(text: str | bytes) -> Message:
    """A message, with the types of its fields checked and nothing else.

    Raises:
        RequestError: it is not a JSON object, or a field has the wrong type.
    """
    try:
        return _decoder.decode(text)
    except msgspec.ValidationError as error:
        raise RequestError(f"Invalid input data: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RequestError("Invalid JSON") from None


def inherit(message: Message, before: Message) -> Message:
    """A message of a context, with what it does not say taken from the one before."""
    said = {name: value for name in SETTINGS if (value := getattr(message, name)) is not None}
    kept = {name: getattr(before, name) for name in SETTINGS}
    return msgspec.structs.replace(message, **(kept | said))


def parse(message: Message, options: SmallestOptions) -> SpeechRequest:
    """The settings of a message.

    Args:
        message: the message.
        options: which voices there are, and how long a text may be.

    Raises:
        RequestError: a value is not accepted.
    """
    if options.text_limit is not None and len(message.text or "") > options.text_limit:
        raise RequestError(f"text must be at most {options.text_limit} characters", "TEXT_TOO_LONG")
    _choice("model", message.model, MODELS, "")
    _choice("language", message.language, LANGUAGES, "")
    _choice("number_pronunciation_language", message.number_pronunciation_language, LANGUAGES, "")
    _number("speed", message.speed, 0.5, 2, 1)
    return SpeechRequest(
        voice_id=_voice(message.voice_id, options),
        sample_rate=_choice("sample_rate", message.sample_rate, RATES, 44100),
        encoding=_choice("output_format", message.output_format, ENCODINGS, "pcm"),
        word_timestamps=bool(message.word_timestamps),
        flush_delay=_number("max_buffer_flush_ms", message.max_buffer_flush_ms, 0, 1000, 0) / 1000,
        context_delay=_number("max_buffer_delay_ms", message.max_buffer_delay_ms, 0, 5000, 3000) / 1000,
        complete_delay=_number("complete_backoff_ms", message.complete_backoff_ms, 0, 10_000, 4000) / 1000,
        session_id=_identifier("session_id", message.session_id),
        request_id=_identifier("request_id", message.request_id),
        context_id=_identifier("context_id", message.context_id),
    )


def _voice(voice_id: str | None, options: SmallestOptions) -> str:
    if not voice_id:
        raise RequestError("voice_id is required")
    if _ID.fullmatch(voice_id) is None or (options.voices is not None and voice_id not in options.voices.split()):
        raise RequestError(f"Invalid input data: voice_id {voice_id[:128]!r} was not found", "VOICE_NOT_FOUND")
    return voice_id


def _identifier(name: str, value: str | None) -> str | None:
    if value is not None and _ID.fullmatch(value) is None:
        raise RequestError(f"{name} must be 1 to 128 characters of A-Z, a-z, 0-9, _, . and -")
    return value


def _choice(name: str, value: object, choices: tuple[_T, ...], default: _T) -> _T:
    if value is None:
        return default
    for choice in choices:
        if choice == value:
            return choice
    raise RequestError(f"Invalid input data: {name} must be one of {', '.join(map(str, choices))}")


def _number(name: str, value: float | None, least: float, most: float, default: float) -> float:
    if value is None:
        return default
    if not least <= value <= most:
        raise RequestError(f"Invalid input data: {name} must be from {least:g} to {most:g}")
    return value
