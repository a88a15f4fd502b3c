"""Smallest AI text-to-speech, Waves: over a websocket (``/tts/live``) or HTTP.

Protocol facts are from Smallest AI's API specification and documentation of Waves, and from its Python SDK (5.14);
where these contradict each other, and for continuations, from clients of others that are in use.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar, Self

import attrs
import msgspec

from ._bodies import BodiesDialect
from ._dialect import TTSDialect
from ._inferred_contexts import Context, InferredContextsDialect
from ._json import decode_json, encode_json, given
from ._link.dialect import Message
from ._link.endpoint import Endpoint
from ._link.policy import LinkPolicy
from ._notice import Notice, NoticesDialect
from ._options import (
    endpoint_url,
    in_range,
    one_of,
    positive,
    required_key,
    secret,
    shown_url,
    truth,
    voice_name,
    web_address,
    whole_or_none,
)
from ._pipeline import PipelineDialect
from ._requests import Request, RequestLine, RequestsDialect
from .errors import AuthenticationError, BadRequest, ConfigurationError, ProviderError, RateLimited, error_class
from .text import SentenceSplitter
from .tts import TTSProvider
from .turn import Word

DEFAULT_BASE_URL = "https://api.smallest.ai/waves/v1"

_LIVE = "/tts/live"

# API specification of /tts and /tts/live.
_MODELS = ("lightning-v3.1", "lightning-v3.1-pro")
_SAMPLE_RATES = (8000, 16000, 24000, 44100)
_LANGUAGES = "auto en hi mr kn ta bn gu te ml pa or es de fr it nl sv pt ru el fi no pl ar zh id ja ko ms tr vi"

# Documentation: a socket is closed after 60 seconds without a message, or after ?timeout=N.
_IDLE = 60
_IDLE_MARGIN = 0.8

# The original's paths are one for each model, of which only the newest has a socket.  The others answer 410 by now.
_OLD_SOCKET_MODELS = ("lightning-v3.1",)
_OLD_MODELS = ("lightning", "lightning-large", "lightning-v2", "lightning-v3.1")

# Seconds of silence after a `complete` of a closed context: as others wait, who saw several for one context.
_AFTER_COMPLETE = 0.6

# The model's card: no more than 250 characters a request.  A shorter sentence than 12 is asked for with the next.
_MOST_CHARACTERS = 250
_FEWEST_CHARACTERS = 12

# Errors have words and no codes: what the words are about.
_BLAME: tuple[tuple[re.Pattern[str], type[ProviderError]], ...] = (
    (re.compile(r"concurren|rate.?limit|too many|limit exceeded", re.IGNORECASE), RateLimited),
    (re.compile(r"unauthori|api.?key|token|forbidden", re.IGNORECASE), AuthenticationError),
    (re.compile(r"invalid|not found|not supported|unsupported|deprecated|too long|missing", re.IGNORECASE), BadRequest),
)

# What a request says, where it is not None.
_FIELDS = (
    "voice_id",
    "language",
    "sample_rate",
    "speed",
    "session_id",
    "number_pronunciation_language",
    "math_notation",
)
# How long the server waits for more text, and before it tells an end: over a websocket, and of a context.
_SOCKET_FIELDS = ("complete_backoff_ms", "max_buffer_flush_ms")
_CONTEXT_FIELDS = ("complete_backoff_ms", "max_buffer_delay_ms")
# Of lightning-v2 alone.
_PROSODY_FIELDS = ("consistency", "similarity", "enhancement")


def _api_key(key: str | None) -> str:
    return required_key(key, "SMALLEST_API_KEY")


def _model(name: str) -> str:
    return name.replace("_", "-") if isinstance(name, str) else name


_name_or_none = attrs.validators.optional(voice_name)


@attrs.frozen(kw_only=True)
class SmallestAITTS(TTSProvider):
    """Options of Smallest AI text-to-speech.

    Attributes:
        api_key: the key; by default the environment variable ``SMALLEST_API_KEY``.
        model: ``"lightning-v3.1"`` or ``"lightning-v3.1-pro"``, or the same with ``_``; with `legacy_paths` also those
            before them.
        voice_id: the voice.
        language: an ISO 639-1 code, or ``"auto"``.
        sample_rate: in Hz: 8000, 16000, 24000 or 44100.
        speed: 0.5 to 2.
        consistency: of ``lightning-v2`` only, over HTTP.
        similarity: as `consistency`.
        enhancement: as `consistency`.
        sentence_streaming: ask for each sentence by itself, as soon as it is there.  Without, for what is between two
            :class:`~voicetrio.text.FlushMarker`, or 250 characters of it.  Continuations do this themselves.
        base_url: where the API is; ``ws`` and ``wss`` are taken for ``http`` and ``https``, and the other way round.
        timeout: over HTTP: seconds for which a request may be silent, in place of `response_timeout`.
        enable_streaming: speak over a websocket; without, over HTTP, a request for each sentence.
        complete_backoff_ms: how long the server waits after the last audio of a request before it says so, 0 to 10000.
        max_buffer_flush_ms: how long the server may wait for more text before it speaks, 0 to 1000.
        continuations: one context for each turn, which the server cuts into sentences itself, and a cancellation that
            keeps the connection.  Its turns end as ``"completed_inferred"``, as it has no marker for their end.
        max_buffer_delay_ms: `max_buffer_flush_ms` of continuations: 0 to 5000; None for the server's own.
        sse: over HTTP: ask for server-sent events instead of bare PCM.
        legacy_paths: speak to the original's paths, one for each model, instead of those for all.
        word_timestamps: ask for the times of words, over a websocket; only some voices have them.
        inferred_end: seconds of silence after which a request whose end the server does not tell is over.
        idle_timeout: seconds after which the server is asked to close an idle websocket; None for its own 60.
        session_id: a name for the server's logs.
        number_pronunciation_language: in which numbers are spoken.
        math_notation: how formulas are spoken.

    Raises:
        ConfigurationError: if an option cannot be, or there is no key.
    """

    name: ClassVar[str] = "smallest"
    _of_the_session: ClassVar[frozenset[str]] = TTSProvider._of_the_session | {
        "continuations",
        "enable_streaming",
        "idle_timeout",
        "inferred_end",
        "legacy_paths",
        "sentence_streaming",
        "sse",
        "timeout",
    }

    api_key: str = attrs.field(default=None, repr=False, converter=_api_key, validator=secret)
    model: str = attrs.field(default="lightning-v3.1", converter=_model, validator=voice_name)
    voice_id: str = attrs.field(default="magnus", validator=voice_name)
    language: str = attrs.field(default="en", validator=one_of(_LANGUAGES.split()))
    sample_rate: int = attrs.field(default=24_000, validator=one_of(_SAMPLE_RATES))
    speed: float = attrs.field(default=1.0, validator=in_range(0.5, 2.0))
    consistency: float = attrs.field(default=0.5, validator=in_range(0, 1))
    similarity: float = attrs.field(default=0.0, validator=in_range(0, 1))
    enhancement: float = attrs.field(default=1.0, validator=in_range(0, 2))
    sentence_streaming: bool = attrs.field(default=True, validator=truth)
    base_url: str = attrs.field(default=DEFAULT_BASE_URL, validator=web_address, repr=shown_url)
    timeout: float = attrs.field(default=30.0, validator=positive)
    enable_streaming: bool = attrs.field(default=True, validator=truth)
    complete_backoff_ms: int = attrs.field(default=0, validator=whole_or_none(0, 10_000))
    max_buffer_flush_ms: int = attrs.field(default=0, validator=whole_or_none(0, 1000))
    continuations: bool = attrs.field(default=False, validator=truth)
    max_buffer_delay_ms: int | None = attrs.field(default=None, validator=whole_or_none(0, 5000))
    sse: bool = attrs.field(default=False, validator=truth)
    legacy_paths: bool = attrs.field(default=False, validator=truth)
    word_timestamps: bool = attrs.field(default=False, validator=truth)
    inferred_end: float = attrs.field(default=4.5, validator=positive)
    idle_timeout: int | None = attrs.field(default=None, validator=whole_or_none(1, 86_400))
    session_id: str | None = attrs.field(default=None, validator=_name_or_none)
    number_pronunciation_language: str | None = attrs.field(default=None, validator=_name_or_none)
    math_notation: str | None = attrs.field(default=None, validator=_name_or_none)

    def __attrs_post_init__(self) -> None:
        if self.continuations and (self.legacy_paths or not self.enable_streaming):
            raise ConfigurationError("continuations need the websocket, and not legacy_paths")
        if self.sse and (self.legacy_paths or self.enable_streaming):
            raise ConfigurationError("sse needs HTTP (enable_streaming=False), and not legacy_paths")
        if self.model not in self._models:
            hint = "" if self.legacy_paths else "; older ones are retired, try legacy_paths and enable_streaming=False"
            raise ConfigurationError(f"model must be one of {', '.join(self._models)}, not {self.model!r}{hint}")
        self._endpoint()

    @property
    def _models(self) -> tuple[str, ...]:
        if not self.legacy_paths:
            return _MODELS
        return _OLD_SOCKET_MODELS if self.enable_streaming else _OLD_MODELS

    @property
    def _path(self) -> str:
        if self.legacy_paths:
            return f"/{self.model}/get_speech" + ("/stream" if self.enable_streaming else "")
        return _LIVE if self.enable_streaming or self.sse else "/tts"

    def _endpoint(self) -> Endpoint:
        base = self.base_url.rstrip("/").removesuffix(_LIVE)
        authorization = ("Authorization", f"Bearer {self.api_key}")
        if self.enable_streaming:
            timeout = {} if self.idle_timeout is None else {"timeout": str(self.idle_timeout)}
            return Endpoint(endpoint_url(base, timeout, schemes=("ws", "wss"), path=self._path), (authorization,))
        accept = ("Accept", "text/event-stream" if self.sse else "audio/wav")
        return Endpoint(endpoint_url(base, {}, schemes=("http", "https"), path=self._path), (authorization, accept))

    def _policy(self) -> LinkPolicy:
        return attrs.evolve(
            super()._policy(),
            max_idle=_IDLE_MARGIN * (self.idle_timeout or _IDLE),
            spare=not self.continuations,  # else there is no cancellation but closing
        )

    def _new_dialect(self, clock: Callable[[], float]) -> TTSDialect:
        if self.continuations:
            return _ContextsDialect(clock, inferred_end=self.inferred_end, done_end=_AFTER_COMPLETE)
        if self.enable_streaming:
            return _SocketDialect(clock, inferred_end=self.inferred_end)
        return _HTTPDialect(clock, events=self.sse)

    def _for_voice(self, voice_id: str) -> Self:
        return attrs.evolve(self, voice_id=voice_id)

    def _silence(self) -> float:
        return self.response_timeout if self.enable_streaming else self.timeout

    def _request(self) -> dict[str, Any]:
        """What every message of a turn has."""
        names = list(_FIELDS)
        if self.model == "lightning-v2":
            names += _PROSODY_FIELDS
        if self.enable_streaming:  # nought is sent as `complete_backoff_ms`, too: left out it would mean four seconds
            names += _CONTEXT_FIELDS if self.continuations else _SOCKET_FIELDS
        request = given({name: getattr(self, name) for name in names})
        if self.word_timestamps and self.enable_streaming:
            request["word_timestamps"] = True
        if not self.enable_streaming and not self.sse:
            request["output_format"] = "pcm"
        if not self.legacy_paths:
            request["model"] = self.model.replace("-", "_")
        return request


class _Words(msgspec.Struct):
    message: str = ""
    code: str | int | None = None


class _Status(msgspec.Struct):
    """What all messages may have; errors have several shapes."""

    status: str = ""
    message: str | None = None
    error: _Words | str | None = None

    @property
    def failed(self) -> bool:
        return self.error is not None or self.status == "error"


class _Data(msgspec.Struct):
    """What a message brings: audio, or the times of a word."""

    audio: str = ""
    word: str = ""
    start: float = 0.0
    end: float = 0.0


class _Told(_Status):
    """Any message of the server's socket."""

    request_id: str | None = None
    external_request_id: str | None = None
    data: _Data | None = None


class _ServerSentEvent(_Status):
    audio: str = ""
    done: bool = False


class _SmallestDialect(NoticesDialect):
    """What all three protocols have: errors; and the messages of the socket."""

    provider = SmallestAITTS.name

    def _read(self, message: str) -> Notice:
        told = decode_json(message, _Told, self.provider)
        data = told.data or _Data()
        return Notice(
            ours=told.external_request_id or None,
            theirs=told.request_id or None,
            audio=data.audio if told.status == "chunk" else "",
            words=(Word(data.word, data.start, data.end),) if told.status == "word_timestamp" and data.word else (),
            done=told.status == "complete",
            error=self._error(told, told.request_id) if told.failed else None,
        )

    def _error(self, told: _Status, request_id: str | None = None) -> ProviderError:
        """The error that a message tells: by its number, if it has one, or else by its words."""
        error = told.error if isinstance(told.error, _Words) else _Words(told.error or told.message or "")
        status = error.code if isinstance(error.code, int) and 400 <= error.code < 600 else None
        words = error.message or str(error.code or "")
        kind = next((kind for pattern, kind in _BLAME if pattern.search(words)), ProviderError)
        kind = error_class(status) if status else kind
        return self.error(kind, words, status=status, code=error.code, request_id=request_id)


class _SentencesDialect(_SmallestDialect, RequestsDialect):
    """A request for each sentence, if they are not to be cut at flushes only."""

    def _new_line(self, turn: int, options: SmallestAITTS) -> RequestLine:
        def ask(request: Request) -> Message:
            return encode_json(options._request() | {"text": request.text, "request_id": request.id})

        splitter = SentenceSplitter(min_chars=_FEWEST_CHARACTERS, max_chars=_MOST_CHARACTERS)
        cut = splitter if options.sentence_streaming else None
        return RequestLine(turn, self.provider, ask, _MOST_CHARACTERS, splitter=cut)


class _HTTPDialect(_SentencesDialect, BodiesDialect):
    """Requests over HTTP."""

    def _read(self, message: str) -> Notice:
        event = decode_json(message, _ServerSentEvent, self.provider)
        return Notice(audio=event.audio, done=event.done, error=self._error(event) if event.failed else None)

    def _refusal(self, body: str) -> ProviderError:
        return self._error(decode_json(body, _Status, self.provider))


class _SocketDialect(_SentencesDialect, PipelineDialect):
    """Requests over a websocket."""


class _ContextsDialect(_SmallestDialect, InferredContextsDialect):
    """Continuations."""

    def _part(self, context: Context, text: str) -> Message:
        return self._message(context, {"text": text, "request_id": context.id, "continue": text != ""})

    def _cancellation(self, context: Context) -> Message:
        return self._message(context, {"cancel_request": True})

    def _message(self, context: Context, more: dict[str, object]) -> Message:
        return encode_json(context.options._request() | {"context_id": context.id} | more)
