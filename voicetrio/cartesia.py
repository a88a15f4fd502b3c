"""Cartesia text-to-speech over a websocket (``/tts/websocket``).

Protocol facts are from Cartesia's documentation of the TTS websocket, of contexts, buffering and concurrency, and from
its Python SDK (4.2), and from measurements on the live socket where these are silent.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar, Self

import attrs
import msgspec

from ._dialect import Answered, Audio, Ended, Event, Failed, Late, Reply, Spoken, Step, TimesRestart, TTSDialect
from ._json import audio_size, decode_audio, decode_json, encode_json, given
from ._link.dialect import Message
from ._link.endpoint import Endpoint
from ._link.policy import LinkPolicy
from ._options import (
    age,
    calendar_date,
    in_range,
    one_of,
    required_key,
    secret,
    shown_url,
    truth,
    voice_name,
    voice_or_embedding,
    web_address,
    websocket_url,
    whole_or_none,
)
from .errors import ConfigurationError, ProviderError, error_class
from .text import says_something
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

# Documentation: an idle connection is closed after five minutes, and pings do not count as use.
_MAX_IDLE = 270.0
# Documentation: a context ends a second after its last audio, and input for one that has ended is an error.  Audio
# comes after text, so a text that follows the one before it sooner than this cannot cross the end.
_PAUSE = 0.7
# So long after a cancellation an error that names no context may be its answer.
_ECHO = 2.0
_CLOSED = re.compile(r"context\b.*\b(closed|expired|ended|finished|not exist|not found)", re.IGNORECASE | re.DOTALL)

_NO_CONTEXT = re.compile(r"(invalid|unknown|no such)\b.*\bcontext|" + _CLOSED.pattern, re.IGNORECASE | re.DOTALL)


def _api_key(key: str | None) -> str:
    return required_key(key, "CARTESIA_API_KEY")


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


def _generation_config(value: Any) -> GenerationConfig:
    try:
        return value if isinstance(value, GenerationConfig) else GenerationConfig(**value)
    except TypeError:
        words = "generation_config is a mapping that has volume, speed and emotion, and nothing else"
        raise ConfigurationError(words) from None


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
        version: of the API: a date, such as ``"2026-03-01"``.
        max_buffer_delay_ms: how long the server may wait for more text before it speaks, 0 to 5000; None for its own.
        generation_config: volume, speed and emotion, see :class:`GenerationConfig`; a mapping will do.
        pronunciation_dict_id: of a pronunciation dictionary.
        add_timestamps: ask for the times of words.
        add_phoneme_timestamps: ask for the times of phonemes.
        use_normalized_timestamps: words as they are spoken, not as they are written; None for the server's own.

    Raises:
        ConfigurationError: if an option cannot be, or there is no key.
    """

    name: ClassVar[str] = "cartesia"

    api_key: str = attrs.field(default=None, repr=False, converter=_api_key, validator=secret)
    model: str = attrs.field(default=DEFAULT_MODEL, validator=voice_name)
    voice_id: str | tuple[float, ...] = attrs.field(default=DEFAULT_VOICE_ID, converter=voice_or_embedding)
    language: str = attrs.field(default="en", validator=voice_name)
    base_url: str = attrs.field(default=DEFAULT_BASE_URL, validator=web_address, repr=shown_url)
    sample_rate: int = attrs.field(default=24_000, validator=one_of(_SAMPLE_RATES))
    version: str = attrs.field(default=DEFAULT_VERSION, validator=calendar_date)
    max_buffer_delay_ms: int | None = attrs.field(default=None, validator=whole_or_none(0, 5000))
    generation_config: GenerationConfig = attrs.field(factory=GenerationConfig, converter=_generation_config)
    pronunciation_dict_id: str | None = attrs.field(default=None, validator=attrs.validators.optional(voice_name))
    add_timestamps: bool = attrs.field(default=True, validator=truth)
    add_phoneme_timestamps: bool = attrs.field(default=False, validator=truth)
    use_normalized_timestamps: bool | None = attrs.field(default=None, validator=attrs.validators.optional(truth))
    max_connection_age_sec: float = attrs.field(default=3600.0, validator=age)

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.voice_id, str) and self.version > EMBEDDING_VERSION:
            raise ConfigurationError(
                f"a voice's embedding is taken up to version {EMBEDDING_VERSION}, not by {self.version}: give its id, "
                f"or version={EMBEDDING_VERSION!r}"
            )
        self._endpoint()

    def _endpoint(self) -> Endpoint:
        headers = (("X-API-Key", self.api_key), ("Cartesia-Version", self.version))
        return Endpoint(websocket_url(self.base_url, "/tts/websocket", {}), headers)

    def _policy(self) -> LinkPolicy:
        return attrs.evolve(super()._policy(), max_idle=_MAX_IDLE)

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
            "generation_config": given(attrs.asdict(self.generation_config)) or None,
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
        } | given(optional)


class _Times(msgspec.Struct):
    start: tuple[float, ...]
    end: tuple[float, ...]
    words: tuple[str, ...] = ()
    phonemes: tuple[str, ...] = ()

    def marks(self, texts: tuple[str, ...]) -> tuple[Word, ...]:
        return tuple(map(Word, texts, self.start, self.end))


_NO_TIMES = _Times((), ())


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
        return self.error or ": ".join(filter(None, (self.title, self.message)))


@attrs.define(eq=False)
class _Turn:
    """The turn that is being spoken.

    Attributes:
        number: the session's.
        options: of the provider.
        context: the one that is open, if one is.
        ending: whether the context was told that no more comes.
        text_at: when text was last sent.
        waiting: what will be said in the next context.
        flush_waits: whether that is to be flushed.
        unflushed: whether the context has text that was not.
        flushing: whether a flush is not answered.
        complete: whether the turn's text is all there.
    """

    number: int
    options: CartesiaTTS
    context: str | None = None
    ending: bool = False
    text_at: float = 0.0
    waiting: str = ""
    flush_waits: bool = False
    unflushed: bool = False
    flushing: bool = False
    complete: bool = False

    @property
    def may_speak(self) -> bool:
        """Whether what waits can be sent: no context can be opened with punctuation alone."""
        if self.ending or not self.waiting:
            return False
        return self.context is not None or says_something(self.waiting, words=True)


class _CartesiaDialect(TTSDialect):
    """The state of ``/tts/websocket`` on one connection.

    A turn is a context, and everything names its context.  So whatever has another one is of the past, however long a
    cancelled context goes on.

    A context also ends by itself, a second after its last audio.  Which of the texts that cross its end it has still
    heard nobody can tell, so none is sent that could: after a pause the context is ended first, which speaks all that
    is in it, and when it says that it is done the turn goes on in another one.
    """

    provider = "cartesia"
    needs_words = True

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._turn: _Turn | None = None
        self._cancelled_at = -math.inf

    @property
    def awaiting(self) -> bool:
        return self._turn is not None and (self._turn.ending or self._turn.flushing)

    def begin(self, turn: int, options: CartesiaTTS) -> None:
        self._turn = _Turn(turn, options)

    def say(self, text: str) -> Iterator[Step]:
        turn = self._current()
        turn.waiting += text
        if self._context_may_be_over(turn):
            yield self._request(turn, more=False)
        if turn.may_speak:
            yield self._speak(turn)

    def flush(self) -> Iterator[Step]:
        turn = self._current()
        if turn.ending:
            turn.flush_waits = bool(turn.waiting)
        elif turn.unflushed:
            over = self._context_may_be_over(turn)
            yield self._request(turn, more=not over, flush=not over)

    def end(self) -> Iterator[Step]:
        turn = self._current()
        turn.complete = True
        if turn.context is None:
            yield Ended(turn.number)
        elif not turn.ending:
            yield self._request(turn, more=False)

    def cancel(self, turn: int) -> Sequence[Message]:
        if self._turn is None or turn != self._turn.number:
            return ()
        context = self._turn.context
        self._turn = None
        self._cancelled_at = self._clock()
        return () if context is None else (encode_json({"context_id": context, "cancel": True}),)

    def receive(self, message: Message) -> Iterable[Event]:
        if isinstance(message, bytes):
            return ()  # all is text here
        notice = decode_json(message, _Notice, self.provider)
        turn = self._turn if self._turn is not None and self._turn.context is not None else None
        own = turn is not None and notice.context_id == turn.context
        if notice.type == "error":
            # One that names no context is about all that are open, if it is not about one that was cancelled.
            stale = _NO_CONTEXT.search(notice.words) and self._clock() < self._cancelled_at + _ECHO
            unnamed = notice.context_id is None and not stale
            return self._on_error(turn, notice) if turn is not None and (own or unnamed) else ()
        if turn is None or not own:
            return (Late(audio_size(notice.data)),)
        match notice.type:
            case "chunk":
                turn.flushing = False  # it was heard; what is silent now may wait for text
                return (Audio(turn.number, decode_audio(notice.data, self.provider)),)
            case "timestamps" | "phoneme_timestamps":
                words, phonemes = notice.word_timestamps or _NO_TIMES, notice.phoneme_timestamps or _NO_TIMES
                return (Spoken(turn.number, words.marks(words.words), phonemes.marks(phonemes.phonemes)),)
            case "flush_done":
                turn.flushing = False
                return (Answered(turn.number),)
            case "done":
                return self._on_done(turn)
        return ()

    def _current(self) -> _Turn:
        assert self._turn is not None, "steps are of a turn that was begun"
        return self._turn

    def _context_may_be_over(self, turn: _Turn) -> bool:
        return turn.context is not None and not turn.ending and self._clock() - turn.text_at > _PAUSE

    def _speak(self, turn: _Turn) -> Message:
        """Say what waits."""
        text, turn.waiting = turn.waiting, ""
        flush, turn.flush_waits = turn.flush_waits, False
        return self._request(turn, text, more=not turn.complete, flush=flush and not turn.complete)

    def _request(self, turn: _Turn, text: str = "", *, more: bool, flush: bool = False) -> Message:
        if turn.context is None:
            turn.context = str(uuid.uuid4())
        if text:  # only that keeps a context alive
            turn.text_at = self._clock()
        turn.ending = not more
        turn.flushing = turn.flushing or flush
        turn.unflushed = more and not flush
        request = turn.options._request() | {"context_id": turn.context, "transcript": text, "continue": more}
        return encode_json(request | {"flush": True} if flush else request)

    def _on_done(self, turn: _Turn) -> Iterable[Event]:
        turn.context = None
        turn.ending = turn.flushing = turn.unflushed = False
        restart = TimesRestart(turn.number)
        if turn.may_speak:
            return (restart, Answered(turn.number), Reply(turn.number, self._speak(turn)))
        return (restart, Ended(turn.number) if turn.complete else Answered(turn.number))

    def _on_error(self, turn: _Turn, notice: _Notice) -> Iterable[Event]:
        refused = notice.status_code in (402, 429) or (notice.status_code or 0) >= 500
        if turn.ending and not refused and _CLOSED.search(notice.words):
            return self._on_done(turn)  # it had ended by itself
        self._turn = None
        kind = error_class(notice.status_code) if notice.status_code else ProviderError
        status, code = notice.status_code, notice.error_code
        error = self.error(kind, notice.words, status=status, code=code, request_id=notice.request_id)
        return (Failed(turn.number, error),)
