"""Cartesia speech-to-text over a websocket: ``/stt/websocket`` and ``/stt/turns/websocket``.

Protocol facts are from Cartesia's documentation of both endpoints and from its Python SDK (4.2), and from measurements
on the live socket where these are silent.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable
from typing import Any, ClassVar
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

import attrs
import msgspec

from ._format import AudioFormat
from ._json import decode_json
from ._link.dialect import Message, Silence
from ._link.endpoint import Endpoint
from ._options import (
    calendar_date,
    in_range,
    one_of,
    positive_or_none,
    required_key,
    secret,
    shown_url,
    truth,
    voice_name,
    web_address,
    whole,
)
from ._options import websocket_url as checked_url
from ._stt_dialect import Event, Failed, Finished, Flushed, STTDialect
from .errors import BadRequest, ConfigurationError, LinkClosed, ProviderError, error_class
from .stt import STTProvider
from .transcript import SpeechStarted, Transcript, TurnEnded, TurnResumed
from .turn import Word

DEFAULT_MODEL = "ink-whisper"
DEFAULT_TURNS_MODEL = "ink-2"
DEFAULT_BASE_URL = "wss://api.cartesia.ai/stt/websocket"
DEFAULT_VERSION = "2026-03-01"

_PATH = "/stt/websocket"
_TURNS_PATH = "/stt/turns/websocket"

# SDK 4.2: any rate will do, 16 kHz is recommended.  These are what telephony and browsers have.
_SAMPLE_RATES = (8000, 16000, 22050, 24000, 44100, 48000)

# SDK 4.2, on `keyterm`.
_MOST_KEYTERMS, _MOST_KEYTERM_CHARACTERS = 100, 1200

# Documentation: an idle connection is closed after 20 seconds in an older text, after 3 minutes in a newer one.
_KEEPALIVE = 10.0

# A sample of the documentation shows the answer to `finalize` before its transcript, the live socket the other way.
_GRACE = 0.3


def _api_key(key: str | None) -> str:
    return required_key(key, "CARTESIA_API_KEY")


def _terms(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _keyterms(_instance: object, _attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, tuple) or not all(isinstance(term, str) and term.strip() for term in value):
        raise ConfigurationError("keyterms must be a list of strings that are not blank")
    if len(value) > _MOST_KEYTERMS or sum(map(len, value)) > _MOST_KEYTERM_CHARACTERS:
        raise ConfigurationError(
            f"there may be {_MOST_KEYTERMS} keyterms of {_MOST_KEYTERM_CHARACTERS} characters together"
        )


@attrs.frozen(kw_only=True)
class CartesiaSTT(STTProvider):
    """Options of Cartesia speech-to-text.

    Attributes:
        api_key: the key; by default the environment variable ``CARTESIA_API_KEY``.
        model: the model; None for ``ink-whisper``, or with `turns` for ``ink-2``, which is the only one that has them.
        language: an ISO 639-1 code; not sent with `turns`, which take none.
        base_url: where the API is; ``http`` and ``https`` are taken for ``ws`` and ``wss``.  The path of either
            endpoint, or none, becomes that of the endpoint chosen by `turns`; any other is left alone.
        sample_rate: of the audio given to a session, in Hz, unless ``open()`` is told another.
        turns: let the server find the turns: :class:`~voicetrio.transcript.TurnEnded` and its relatives come by
            themselves, and ``flush()`` asks for nothing.
        target_sample_rate: of the audio that is sent, in Hz: 8000, 16000, 22050, 24000, 44100 or 48000.
        version: of the API: a date, such as ``"2026-03-01"``.
        keyterms: words to listen for, ``ink-2`` only: up to 100, of 1200 characters together.
        min_volume: below which it is silence, from 0 to 1; ``ink-whisper`` only.
        max_silence_duration_secs: of silence, after which a transcript becomes final by itself; ``ink-whisper`` only.
        turn_start_threshold: 0.5 to 0.9; with `turns`, as all that follow.
        turn_eager_end_threshold: 0.3 to 0.6, and below the start's.
        turn_end_threshold: 0.05 to 0.5, and below the eager end's.
        turn_end_timeout_ms: 640 to 11200.

    Raises:
        ConfigurationError: if an option cannot be, or there is no key.
    """

    name: ClassVar[str] = "cartesia"

    api_key: str = attrs.field(default=None, repr=False, converter=_api_key, validator=secret)
    model: str | None = attrs.field(default=None, validator=attrs.validators.optional(voice_name))
    language: str = attrs.field(default="en", validator=voice_name)
    base_url: str = attrs.field(default=DEFAULT_BASE_URL, validator=web_address, repr=shown_url)
    sample_rate: int = attrs.field(default=48_000, validator=whole(1))
    turns: bool = attrs.field(default=False, validator=truth)
    target_sample_rate: int = attrs.field(default=16_000, validator=one_of(_SAMPLE_RATES))
    version: str = attrs.field(default=DEFAULT_VERSION, validator=calendar_date)
    keyterms: tuple[str, ...] = attrs.field(default=(), converter=_terms, validator=_keyterms)
    min_volume: float | None = attrs.field(default=None, validator=in_range(0.0, 1.0))
    max_silence_duration_secs: float | None = attrs.field(default=None, validator=positive_or_none)
    turn_start_threshold: float | None = attrs.field(default=None, validator=in_range(0.5, 0.9))
    turn_eager_end_threshold: float | None = attrs.field(default=None, validator=in_range(0.3, 0.6))
    turn_end_threshold: float | None = attrs.field(default=None, validator=in_range(0.05, 0.5))
    turn_end_timeout_ms: float | None = attrs.field(default=None, validator=in_range(640, 11_200))

    def __attrs_post_init__(self) -> None:
        self._check_model()
        self._check_thresholds()
        for rate in (self.sample_rate, self.target_sample_rate):
            AudioFormat(rate)  # refuses a rate that cannot be
        self._endpoint()

    def _check_model(self) -> None:
        whisper = self._model.startswith("ink-whisper")
        if self.turns and whisper:
            raise ConfigurationError(f"{self._model} has no turns: leave the model out, or take ink-2")
        if whisper and self.keyterms:
            raise ConfigurationError(f"{self._model} takes no keyterms, ink-2 does")
        if not whisper and (self.min_volume is not None or self.max_silence_duration_secs is not None):
            raise ConfigurationError("min_volume and max_silence_duration_secs are of ink-whisper")
        if not self.turns and self._turn_options():
            raise ConfigurationError(f"{', '.join(self._turn_options())} need turns=True")

    def _check_thresholds(self) -> None:
        # The defaults are the documentation's.
        start = 0.8 if self.turn_start_threshold is None else self.turn_start_threshold
        eager = 0.4 if self.turn_eager_end_threshold is None else self.turn_eager_end_threshold
        end = 0.2 if self.turn_end_threshold is None else self.turn_end_threshold
        if not end < eager < start:
            raise ConfigurationError(
                f"turn_end_threshold ({end:g}) must be below turn_eager_end_threshold ({eager:g}), and that below "
                f"turn_start_threshold ({start:g})"
            )

    @property
    def audio_format(self) -> AudioFormat:
        """Mono at `target_sample_rate`."""
        return AudioFormat(self.target_sample_rate)

    @property
    def given_rate(self) -> int:
        """`sample_rate`."""
        return self.sample_rate

    @property
    def _model(self) -> str:
        return self.model or (DEFAULT_TURNS_MODEL if self.turns else DEFAULT_MODEL)

    def _turn_options(self) -> dict[str, float]:
        names = ("turn_start_threshold", "turn_eager_end_threshold", "turn_end_threshold", "turn_end_timeout_ms")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def _endpoint(self) -> Endpoint:
        assert self.api_key is not None
        headers = (("X-API-Key", self.api_key), ("Cartesia-Version", self.version))
        parts = urlsplit(checked_url(self.base_url, _PATH, {}))
        path = parts.path
        if path.rstrip("/") in (_PATH, _TURNS_PATH):
            path = _TURNS_PATH if self.turns else _PATH
        query = "&".join(filter(None, (parts.query, self._query())))
        return Endpoint(urlunsplit((parts.scheme, parts.netloc, path, query, "")), headers)

    def _query(self) -> str:
        """The parameters, spaces as ``%20``, as the documentation asks for."""
        parameters: dict[str, Any] = {
            "model": self._model,
            "encoding": "pcm_s16le",
            "sample_rate": self.target_sample_rate,
        }
        if not self.turns:
            parameters["language"] = self.language
        optional = {
            "min_volume": self.min_volume,
            "max_silence_duration_secs": self.max_silence_duration_secs,
            **self._turn_options(),
        }
        parameters |= {name: value for name, value in optional.items() if value is not None}
        try:
            return urlencode([*parameters.items(), *(("keyterm", term) for term in self.keyterms)], quote_via=quote)
        except UnicodeEncodeError:
            raise ConfigurationError("an option has a lone surrogate, which no encoding can carry") from None

    def _new_dialect(self) -> STTDialect:
        return _TurnsDialect() if self.turns else _ManualDialect()


class _HeardWord(msgspec.Struct):
    word: str
    start: float
    end: float


class _Notice(msgspec.Struct):
    """Any message of the server, of both endpoints and all versions."""

    type: str
    is_final: bool = False
    request_id: str | None = None
    text: str = ""
    transcript: str = ""
    language: str | None = None
    confidence: float | None = None
    words: tuple[_HeardWord, ...] | None = None
    message: str | None = None
    title: str | None = None
    error: str | None = None
    code: int | str | None = None
    status_code: int | None = None
    error_code: str | None = None

    @property
    def said(self) -> str:
        return self.error or ": ".join(filter(None, (self.title, self.message))) or "an error without a word"

    @property
    def status(self) -> int | None:
        """As an HTTP status; the older shape has it in `code`."""
        if self.status_code is not None:
            return self.status_code
        return self.code if isinstance(self.code, int) and 400 <= self.code < 600 else None


class _CartesiaDialect(STTDialect):
    """What both endpoints have in common: errors, the upgrade, and how they end."""

    provider = "cartesia"
    keepalive = _KEEPALIVE

    def __init__(self) -> None:
        self._finishing = False

    def farewell(self) -> Iterable[Message]:
        return () if self._finishing else self.finish()

    def lost(self, error: LinkClosed) -> Iterable[Event]:
        # Having been told that no more comes, it closes when all has been heard.
        return (Finished(),) if self._finishing and error.code == 1000 else ()

    def explain(self, error: LinkClosed) -> ProviderError:
        if error.code != 1008:
            return error
        return BadRequest(
            error.message,
            provider=self.provider,
            request_id=error.request_id,
            code=error.code,
            reason=error.reason,
        )

    def receive(self, message: Message) -> Iterable[Event]:
        if isinstance(message, bytes):
            return ()  # all is text here
        notice = decode_json(message, _Notice, self.provider)
        if notice.request_id is not None:
            self.request_id = notice.request_id
        return (self._failure(notice),) if notice.type == "error" else self._on_notice(notice)

    @abc.abstractmethod
    def _on_notice(self, notice: _Notice) -> Iterable[Event]: ...

    def _failure(self, notice: _Notice) -> Failed:
        kind = ProviderError if notice.status is None else error_class(notice.status)
        error = kind(
            notice.said,
            provider=self.provider,
            request_id=self.request_id,
            status=notice.status,
            code=notice.error_code if notice.error_code is not None else notice.code,
            reason=notice.said,
        )
        return Failed(error)


class _ManualDialect(_CartesiaDialect):
    """``/stt/websocket``: the client says where transcripts end, by bare words.

    The answer to ``finalize`` may come before its transcript, so it counts only when nothing has followed it for a
    moment, or when what follows is about what comes after.
    """

    def __init__(self) -> None:
        super().__init__()
        self._silence = Silence()
        self._flushes = 0  # not answered
        self._answered = 0  # whose transcript may still come

    @property
    def awaiting(self) -> bool:
        return self._flushes > 0 or self._finishing

    @property
    def expires(self) -> float | None:
        return self._silence.lasting(_GRACE) if self._answered else None

    def missed(self, seconds: float) -> None:
        self._silence.missed(seconds)

    def lapse(self) -> Iterable[Event]:
        return self._settle()

    def flush(self) -> Iterable[Message]:
        self._flushes += 1
        return ("finalize",)

    def finish(self) -> Iterable[Message]:
        self._finishing = True
        return ("done",)

    def _settle(self) -> list[Event]:
        answered, self._answered = self._answered, 0
        return [Flushed() for _ in range(answered)]

    def _on_notice(self, notice: _Notice) -> Iterable[Event]:
        self._silence.broken()
        match notice.type:
            case "transcript":
                return self._on_transcript(notice)
            case "flush_done":
                # As the last messages before the end it is also sent without having been asked for.
                if self._flushes:
                    self._flushes -= 1
                    self._answered += 1
            case "done" if self._finishing:
                return (Finished(),)
        return ()

    def _on_transcript(self, notice: _Notice) -> Iterable[Event]:
        if not notice.text:
            return ()
        words = tuple(Word(each.word, each.start, each.end) for each in notice.words or ())
        heard = Transcript(
            kind="final" if notice.is_final else "interim",
            text=notice.text,
            words=words,
            language=notice.language,
            confidence=notice.confidence,
            start=words[0].start if words else None,
            end=words[-1].end if words else None,
        )
        if notice.is_final and self._answered:
            self._answered -= 1
            return (heard, Flushed())
        return (heard,)


class _TurnsDialect(_CartesiaDialect):
    """``/stt/turns/websocket``: the server finds the turns; transcripts are of a turn so far, and have no times."""

    @property
    def awaiting(self) -> bool:
        return self._finishing

    def flush(self) -> Iterable[Message]:
        return ()

    def finish(self) -> Iterable[Message]:
        self._finishing = True
        return ('{"type":"close"}',)

    def _on_notice(self, notice: _Notice) -> Iterable[Event]:
        match notice.type:
            case "turn.start":
                return (SpeechStarted(),)
            case "turn.update":
                return (Transcript(kind="interim", text=notice.transcript),)
            case "turn.eager_end":
                return (Transcript(kind="preflight", text=notice.transcript),)
            case "turn.resume":
                return (TurnResumed(),)
            case "turn.end":
                return (Transcript(kind="final", text=notice.transcript), TurnEnded(text=notice.transcript))
        return ()
