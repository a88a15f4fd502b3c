"""Smallest AI text-to-speech, Waves: over a websocket (``/tts/live``) or HTTP.

Protocol facts are from Smallest AI's API specification and documentation of Waves, and from its Python SDK (5.14);
where these contradict each other, and for continuations, from clients of others that are in use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self

import attrs

from ._dialect import TTSDialect
from ._json import given
from ._link.endpoint import Endpoint
from ._link.policy import LinkPolicy
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
from ._smallest_dialect import ContextsDialect, HTTPDialect, SocketDialect
from .errors import ConfigurationError
from .tts import TTSProvider

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

# What a request says, where it is not None.
_FIELDS = "voice_id language sample_rate speed session_id number_pronunciation_language math_notation"
# Nought is sent as `complete_backoff_ms`, too: left out it would mean four seconds.
_SOCKET_FIELDS = "complete_backoff_ms max_buffer_flush_ms"
_CONTEXT_FIELDS = "complete_backoff_ms max_buffer_delay_ms"
_PROSODY_FIELDS = {"lightning-v2": "consistency similarity enhancement"}


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
            return ContextsDialect(self, clock)
        return SocketDialect(self, clock) if self.enable_streaming else HTTPDialect(self, clock)

    def _for_voice(self, voice_id: str) -> Self:
        return attrs.evolve(self, voice_id=voice_id)

    def _silence(self) -> float:
        return self.response_timeout if self.enable_streaming else self.timeout

    def _request(self) -> dict[str, Any]:
        """What every message of a turn has."""
        names = f"{_FIELDS} {_PROSODY_FIELDS.get(self.model, '')}"
        if self.enable_streaming:
            names += f" {_CONTEXT_FIELDS if self.continuations else _SOCKET_FIELDS}"
        request = given({name: getattr(self, name) for name in names.split()})
        if self.word_timestamps and self.enable_streaming:
            request["word_timestamps"] = True
        if not self.enable_streaming and not self.sse:
            request["output_format"] = "pcm"
        if not self.legacy_paths:
            request["model"] = self.model.replace("-", "_")
        return request
