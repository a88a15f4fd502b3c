"""Cartesia text-to-speech over a websocket (``/tts/websocket``).

Protocol facts are from Cartesia's documentation of the TTS websocket, of contexts, buffering and concurrency, and from
its Python SDK (4.2), and from measurements on the live socket where these are silent.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import attrs
import msgspec

from ._dialect import Answered, Audio, Ended, Event, Late, Refused, Reply, Spoken, Step, TTSDialect
from ._json import audio_size, decode_audio, decode_json
from ._link.link import Message
from ._link.policy import LinkPolicy
from ._link.pool import Endpoint
from ._options import (
    in_range,
    key_or_environment,
    one_of,
    positive,
    secret,
    text,
    truth,
    voice_name,
    websocket_url,
    whole_or_none,
)
from .audio import AudioFormat
from .errors import ConfigurationError, ProviderError, error_class
from .tts import TTSProvider
from .turn import Word

DEFAULT_MODEL = "sonic-2"
DEFAULT_VOICE_ID = "f786b574-daa5-4673-aa0c-cbe3e8534c02"
DEFAULT_BASE_URL = "https://api.cartesia.ai"
DEFAULT_VERSION = "2026-03-01"
EMBEDDING_VERSION = "2024-11-13"
"""The last version of the API that takes a voice as an embedding."""

# SDK 4.2, types of the output format.
_SAMPLE_RATES = (8000, 16000, 22050, 24000, 44100, 48000)
_MOST_DELAY_MS = 5000

# Documentation: an idle connection is closed after five minutes, and pings do not count as use.
_MAX_IDLE = 270.0
# Documentation: a context ends a second after its last audio, and input for one that has ended is an error.  Audio
# comes after text, so a text that follows the one before it sooner than this cannot cross the end.
_PAUSE = 0.7
_CLOSED = re.compile(r"context\b.*\b(closed|expired|ended|finished|not exist|not found)", re.IGNORECASE | re.DOTALL)


def _api_key(key: str | None) -> str | None:
    return key_or_environment(key, "CARTESIA_API_KEY")


def _voice(voice: Any) -> str | tuple[float, ...]:
    return tuple(voice) if isinstance(voice, list) else voice


@attrs.frozen(kw_only=True)
class GenerationConfig:
    """How it is spoken, from sonic-3 on; None leaves it to the model.

    Attributes:
        volume: 0.5 to 2.
        speed: 0.6 to 1.5.
        emotion: its name.
    """

    volume: float | None = attrs.field(default=None, validator=in_range(0.5, 2.0))
    speed: float | None = attrs.field(default=None, validator=in_range(0.6, 1.5))
    emotion: str | None = attrs.field(default=None, validator=attrs.validators.optional(voice_name))


def _generation_config(value: Any) -> Any:
    try:
        return GenerationConfig(**value) if isinstance(value, Mapping) else value
    except TypeError:
        raise ConfigurationError("generation_config has volume, speed and emotion, and nothing else") from None


@attrs.frozen(kw_only=True)
class CartesiaTTS(TTSProvider):
    """Options of Cartesia text-to-speech.

    Attributes:
        api_key: the key; by default the environment variable ``CARTESIA_API_KEY``.
        model: the model.
        voice_id: a voice's id; or its embedding, which needs `version` 2024-11-13 or earlier.
        language: an ISO 639-1 code.
        base_url: where the API is; ``http`` and ``https`` are taken for ``ws`` and ``wss``.
        sample_rate: in Hz: 8000, 16000, 22050, 24000, 44100 or 48000.
        version: of the API: a date.
        max_buffer_delay_ms: how long the server may wait for more text before it speaks, 0 to 5000; None for its own.
        generation_config: volume, speed and emotion, see :class:`GenerationConfig`; a mapping will do.
        pronunciation_dict_id: of a pronunciation dictionary.
        add_timestamps: ask for the times of words.
        add_phoneme_timestamps: ask for the times of phonemes.
        use_normalized_timestamps: words as they are spoken, not as they are written; None for the server's own.
        max_connection_age_sec: a connection older than this is replaced, between turns.

    Raises:
        ConfigurationError: if an option cannot be, or there is no key.
    """

    name: ClassVar[str] = "cartesia"
    _of_the_session: ClassVar[frozenset[str]] = TTSProvider._of_the_session | {"max_connection_age_sec"}

    api_key: str | None = attrs.field(default=None, repr=False, converter=_api_key, validator=secret)
    model: str = attrs.field(default=DEFAULT_MODEL, validator=voice_name)
    voice_id: str | tuple[float, ...] = attrs.field(default=DEFAULT_VOICE_ID, converter=_voice)
    language: str = attrs.field(default="en", validator=voice_name)
    base_url: str = attrs.field(default=DEFAULT_BASE_URL, validator=text)
    sample_rate: int = attrs.field(default=24_000, validator=one_of(_SAMPLE_RATES))
    version: str = attrs.field(default=DEFAULT_VERSION, validator=voice_name)
    max_buffer_delay_ms: int | None = attrs.field(default=None, validator=whole_or_none(0, _MOST_DELAY_MS))
    generation_config: GenerationConfig = attrs.field(factory=GenerationConfig, converter=_generation_config)
    pronunciation_dict_id: str | None = attrs.field(default=None, validator=attrs.validators.optional(voice_name))
    add_timestamps: bool = attrs.field(default=True, validator=truth)
    add_phoneme_timestamps: bool = attrs.field(default=False, validator=truth)
    use_normalized_timestamps: bool | None = attrs.field(default=None, validator=attrs.validators.optional(truth))
    max_connection_age_sec: float = attrs.field(default=3600.0, validator=positive)

    def __attrs_post_init__(self) -> None:
        if self.api_key is None:
            raise ConfigurationError("no Cartesia key: give api_key, or set CARTESIA_API_KEY")
        if not isinstance(self.generation_config, GenerationConfig):
            raise ConfigurationError(f"generation_config must be a mapping, not {self.generation_config!r}")
        self._check_voice()
        self._endpoint()

    def _check_voice(self) -> None:
        if isinstance(self.voice_id, str):
            voice_name(self, attrs.fields(type(self)).voice_id, self.voice_id)
        elif not isinstance(self.voice_id, tuple) or not all(isinstance(each, int | float) for each in self.voice_id):
            raise ConfigurationError("voice_id must be an id, or an embedding: a list of numbers")
        elif self.version > EMBEDDING_VERSION:
            raise ConfigurationError(
                f"a voice's embedding is taken up to version {EMBEDDING_VERSION}, not by {self.version}: give its id, "
                f"or version={EMBEDDING_VERSION!r}"
            )

    @property
    def audio_format(self) -> AudioFormat:
        """Mono at `sample_rate`."""
        return AudioFormat(self.sample_rate)

    def _endpoint(self) -> Endpoint:
        assert self.api_key is not None
        headers = (("X-API-Key", self.api_key), ("Cartesia-Version", self.version))
        return Endpoint(websocket_url(self.base_url, "/tts/websocket", {}), headers)

    def _policy(self) -> LinkPolicy:
        return attrs.evolve(super()._policy(), max_age=self.max_connection_age_sec, max_idle=_MAX_IDLE)

    def _new_dialect(self, clock: Callable[[], float]) -> TTSDialect:
        return _CartesiaDialect(clock)

    def _for_voice(self, voice_id: str) -> Self:
        return attrs.evolve(self, voice_id=voice_id)

    def _request(self) -> dict[str, Any]:
        """What every request of a turn has; within a context it must not change."""
        by_id = isinstance(self.voice_id, str)
        voice = {"mode": "id", "id": self.voice_id} if by_id else {"mode": "embedding", "embedding": self.voice_id}
        optional = {
            "max_buffer_delay_ms": self.max_buffer_delay_ms,
            "generation_config": attrs.asdict(self.generation_config, filter=_is_given) or None,
            "pronunciation_dict_id": self.pronunciation_dict_id,
            "add_timestamps": self.add_timestamps or None,
            "add_phoneme_timestamps": self.add_phoneme_timestamps or None,
            "use_normalized_timestamps": self.use_normalized_timestamps,
        }
        return {
            "model_id": self.model,
            "voice": voice,
            "output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": self.sample_rate},
            "language": self.language,
        } | {name: value for name, value in optional.items() if value is not None}


def _is_given(_attribute: attrs.Attribute[Any], value: Any) -> bool:
    return value is not None


class _Times(msgspec.Struct):
    start: tuple[float, ...]
    end: tuple[float, ...]
    words: tuple[str, ...] = ()
    phonemes: tuple[str, ...] = ()

    def marks(self, texts: tuple[str, ...], begin: float) -> tuple[Word, ...]:
        times = zip(texts, self.start, self.end, strict=False)
        return tuple(Word(text, begin + start, begin + end) for text, start, end in times)


class _Notice(msgspec.Struct):
    """Any message of the server, of all versions."""

    type: str
    context_id: str | None = None
    data: str = ""
    word_timestamps: _Times | None = None
    phoneme_timestamps: _Times | None = None
    status_code: int | None = None
    error: str | None = None
    error_code: str | None = None
    title: str | None = None
    message: str | None = None
    request_id: str | None = None

    @property
    def words(self) -> str:
        return self.error or ": ".join(filter(None, (self.title, self.message))) or "an error without a word"


class _CartesiaDialect(TTSDialect):
    """The state of ``/tts/websocket`` on one connection.

    A turn is a context, and everything names its context.  So whatever has another one is of the past, however long a
    cancelled context goes on.

    A context also ends by itself, a second after its last audio.  Which of the texts that cross its end it has still
    heard nobody can tell, so none is sent that could: after a pause the context is ended first, and when it says that
    it is done the turn goes on in another one.
    """

    provider = "cartesia"

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._forget()

    def _forget(self) -> None:
        self._turn: int | None = None
        self._options: CartesiaTTS | None = None
        self._context: str | None = None
        self._ending = False  # the context was told that no more comes
        self._sent_at = 0.0
        self._waiting = ""  # what will be said in the next context
        self._unflushed = False
        self._flushing = False  # a flush is not answered
        self._complete = False  # the turn's text is all there
        self._bytes = 0  # of the turn's audio …
        self._begin = 0  # … before the context began

    @property
    def awaiting(self) -> bool:
        return self._context is not None and (self._ending or self._flushing)

    def greet(self, headers: Mapping[str, str]) -> Iterable[Message]:
        self.request_id = headers.get("x-cartesia-request-id") or headers.get("x-request-id")
        return ()

    def begin(self, turn: int, options: CartesiaTTS) -> None:
        self._forget()
        self._turn = turn
        self._options = options

    def say(self, text: str) -> Iterator[Step]:
        self._unflushed = True
        if self._context is not None and not self._ending and self._clock() - self._sent_at > _PAUSE:
            yield self._end_context()
        if self._ending:
            self._waiting += text
        else:
            yield self._request(text)

    def flush(self) -> Iterator[Step]:
        if self._unflushed and not self._ending:
            self._unflushed = False
            self._flushing = True
            yield self._request("", flush=True)

    def end(self) -> Iterator[Step]:
        self._complete = True
        assert self._turn is not None
        if self._context is None:
            yield Ended(self._turn)
        elif not self._ending:
            yield self._end_context()

    def cancel(self, turn: int) -> Sequence[Message]:
        if turn != self._turn:
            return ()
        context = self._context
        self._forget()
        if context is None:
            return ()
        return (msgspec.json.encode({"context_id": context, "cancel": True}).decode(),)

    def receive(self, message: Message) -> Iterable[Event]:
        if isinstance(message, bytes):
            return ()  # all is text here
        notice = decode_json(message, _Notice, self.provider)
        own = self._context is not None and notice.context_id == self._context
        if notice.type == "error":
            # One that names no context is about all that are open.
            return self._on_error(notice) if own or notice.context_id is None else ()
        if not own:
            return (Late(audio_size(notice.data)),)
        assert self._turn is not None
        match notice.type:
            case "chunk":
                pcm = decode_audio(notice.data, self.provider)
                self._bytes += len(pcm)
                return (Audio(self._turn, pcm),)
            case "timestamps" | "phoneme_timestamps":
                return self._on_timestamps(self._turn, notice)
            case "flush_done":
                self._flushing = False
                return (Answered(self._turn),)
            case "done":
                return self._on_done(self._turn)
        return ()

    def _end_context(self) -> Message:
        self._ending = True
        return self._request("", more=False)

    def _request(self, text: str, *, more: bool = True, flush: bool = False) -> Message:
        assert self._options is not None
        if self._context is None:
            self._context = str(uuid.uuid4())
            self._begin = self._bytes
        self._sent_at = self._clock()
        request = self._options._request() | {"context_id": self._context, "transcript": text, "continue": more}
        return msgspec.json.encode(request | {"flush": True} if flush else request).decode()

    def _on_timestamps(self, turn: int, notice: _Notice) -> Iterable[Event]:
        assert self._options is not None
        begin = self._begin / (self._options.audio_format.sample_width * self._options.sample_rate)
        words, phonemes = notice.word_timestamps, notice.phoneme_timestamps
        return (
            Spoken(
                turn,
                words.marks(words.words, begin) if words else (),
                phonemes.marks(phonemes.phonemes, begin) if phonemes else (),
            ),
        )

    def _on_done(self, turn: int) -> Iterable[Event]:
        self._context = None
        self._ending = self._flushing = False
        if self._waiting:
            waiting, self._waiting = self._waiting, ""
            self._unflushed = self._ending = self._complete
            return (Answered(turn), Reply(turn, self._request(waiting, more=not self._complete)))
        return (Ended(turn),) if self._complete else (Answered(turn),)

    def _on_error(self, notice: _Notice) -> Iterable[Event]:
        if self._turn is None or self._context is None:
            return ()  # of a context that was cancelled
        if self._ending and _CLOSED.search(notice.words):
            return self._on_done(self._turn)  # it had ended by itself
        kind = error_class(notice.status_code) if notice.status_code else ProviderError
        error = kind(
            notice.words,
            provider=self.provider,
            request_id=notice.request_id or self.request_id,
            status=notice.status_code,
            code=notice.error_code,
            reason=notice.words,
        )
        turn = self._turn
        self._forget()
        return (Refused(turn, error),)
