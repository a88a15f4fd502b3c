"""What a client of Cartesia's ``/tts/websocket`` may send.

Fields and their types are those of the vendor's Python SDK 4.2 (``types/generation_request_param.py``); which version
allows what, and that most fields must stay the same within a context, is taken from its documentation.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeAlias

import attrs
import msgspec

from ._cartesia_format import OutputFormat

__all__ = ["Cancel", "Generation", "Message", "RequestError", "default_delay", "parse_message"]

EMBEDDINGS_UNTIL = "2024-11-13"
"""The last version with voices given as embeddings."""

LONG_BUFFER_SINCE = "2026-03-01"
"""The version since which text may wait for 5 s, and does for 3 s if nothing is said; before, 1 s and not at all."""

PLAIN_VOICES_SINCE = "2026-08-14"
"""The version since which a voice may be given as its id alone."""

MAY_CHANGE = frozenset({"context_id", "transcript", "continue", "flush", "duration"})
"""The fields that need not be the same in all requests of a context, or are anyway."""

_MODEL = re.compile(
    r"sonic-latest|(sonic|sonic-english|sonic-multilingual|sonic-turbo|sonic-2|sonic-3|sonic-3\.5|sonic-3\.6)"
    r"(-\d{4}-\d{2}-\d{2})?"
)
_PATH = re.compile(r"`\$\.(\w+)")
_MISSING = re.compile(r"field `(\w+)`")


class RequestError(Exception):
    """A message is answered with an error event.

    Attributes:
        status: like an HTTP status.
        title: what is wrong, in short.
        message: what is wrong.
        code: machine-readable, None where Cartesia has none.
        context_id: of the message, if it had one.
    """

    def __init__(
        self, status: int, title: str, message: str, *, code: str | None = None, context_id: str | None = None
    ) -> None:
        super().__init__(status, title, message)
        self.status = status
        self.title = title
        self.message = message
        self.code = code
        self.context_id = context_id


class _GenerationConfig(msgspec.Struct):
    volume: Annotated[float, msgspec.Meta(ge=0.5, le=2.0)] | None = None
    speed: Annotated[float, msgspec.Meta(ge=0.6, le=1.5)] | None = None
    emotion: str | list[str] | None = None


class _Voice(msgspec.Struct):
    mode: Literal["id", "embedding"] | None = None
    id: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    embedding: Annotated[list[float], msgspec.Meta(min_length=1)] | None = None


class _Fields(msgspec.Struct, rename={"continue_": "continue"}):
    model_id: str
    transcript: str
    voice: _Voice | Annotated[str, msgspec.Meta(min_length=1)]
    output_format: OutputFormat
    continue_: bool | None = None
    flush: bool | None = None
    language: str | None = None
    locale: str | None = None
    max_buffer_delay_ms: int | None = None
    add_timestamps: bool | None = None
    add_phoneme_timestamps: bool | None = None
    use_normalized_timestamps: bool | None = None
    generation_config: _GenerationConfig | None = None
    pronunciation_dict_id: str | None = None
    speed: Literal["slow", "normal", "fast"] | None = None
    duration: float | None = None


_CONSTANT = frozenset(field.encode_name for field in msgspec.structs.fields(_Fields)) - MAY_CHANGE


@attrs.frozen
class Cancel:
    """A context is cancelled."""

    context_id: str


@attrs.frozen
class Generation:
    """A request to speak.

    Attributes:
        context_id: the context that it belongs to.
        transcript: the text.
        output_format: how audio is sent.
        more: whether more text of this context may follow.
        flush: whether the text up to here is a section of its own.
        delay: seconds for which text may be buffered; None for the server's default.
        words: whether the words' times are wanted.
        phonemes: whether the phonemes' times are wanted.
        constant: the fields that must be the same in every request of a context, as sent; null counts as left out.
    """

    context_id: str
    transcript: str
    output_format: OutputFormat
    more: bool
    flush: bool
    delay: float | None
    words: bool
    phonemes: bool
    constant: dict[str, Any] = attrs.field(repr=False)


Message: TypeAlias = Cancel | Generation


def parse_message(message: Any, version: str) -> Message:
    """What a message, decoded from JSON, means in a version of the API.

    Raises:
        RequestError: it means nothing.
    """
    if not isinstance(message, dict):
        raise RequestError(400, "Invalid request", "A message must be a JSON object.")
    context_id = message.get("context_id")
    if not isinstance(context_id, str) or not context_id:
        raise RequestError(400, "context_id is invalid", "Every message must name its context.")
    if message.get("cancel") is True:
        return Cancel(context_id)
    try:
        return _generation(message, context_id, version)
    except msgspec.ValidationError as error:
        found = _PATH.search(str(error)) or _MISSING.search(str(error))
        name = found[1] if found else "request"
        raise RequestError(400, f"{name} is invalid", f"{error}.", context_id=context_id) from None
    except RequestError as error:
        error.context_id = context_id
        raise


def default_delay(version: str) -> float:
    """Seconds for which this version buffers text if the client does not say."""
    return 3.0 if version >= LONG_BUFFER_SINCE else 0.0


def _generation(message: dict[str, Any], context_id: str, version: str) -> Generation:
    fields = msgspec.convert(message, _Fields)
    if not _MODEL.fullmatch(fields.model_id):
        raise RequestError(
            400, "Model not found", f"There is no model {fields.model_id[:80]!r}.", code="model_not_found"
        )
    _check_voice(fields.voice, version)
    return Generation(
        context_id,
        fields.transcript,
        fields.output_format,
        bool(fields.continue_),
        bool(fields.flush),
        _delay(fields.max_buffer_delay_ms, version),
        bool(fields.add_timestamps),
        bool(fields.add_phoneme_timestamps),
        {name: value for name, value in message.items() if name in _CONSTANT and value is not None},
    )


def _check_voice(voice: _Voice | str, version: str) -> None:
    if isinstance(voice, str):
        if version < PLAIN_VOICES_SINCE:
            raise RequestError(400, "voice is invalid", "This version takes an object with mode and id.")
    elif voice.embedding is not None or voice.mode == "embedding":
        if version > EMBEDDINGS_UNTIL:
            raise RequestError(400, "voice is invalid", "This version takes no embeddings.")
        if voice.mode != "embedding" or voice.embedding is None:
            raise RequestError(400, "voice is invalid", "An embedding and the mode embedding belong together.")
    elif voice.id is None:
        raise RequestError(400, "voice is invalid", "The id is missing.")
    elif voice.mode is None and version < PLAIN_VOICES_SINCE:
        raise RequestError(400, "voice is invalid", "The mode is missing.")


def _delay(milliseconds: int | None, version: str) -> float | None:
    if milliseconds is None:
        return None
    longest = 5000 if version >= LONG_BUFFER_SINCE else 1000
    if not 0 <= milliseconds <= longest:
        raise RequestError(400, "max_buffer_delay_ms is invalid", f"It must be from 0 to {longest}.")
    return milliseconds / 1000
