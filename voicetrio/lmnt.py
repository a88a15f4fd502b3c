"""LMNT text-to-speech over its speech sessions (``/v1/ai/speech/stream``).

Protocol facts are from LMNT's documentation of speech sessions and from its Python SDK (2.13), and from measurements on
the live socket where these are silent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import ClassVar, Literal, Self

import attrs
import msgspec

from ._dialect import Answered, Audio, Ended, Event, Failed, GateOpened, Late, Spoken, Step, TimesRestart, TTSDialect
from ._json import decode_json, encode_json
from ._link.dialect import Message
from ._link.endpoint import Endpoint
from ._link.policy import LinkPolicy
from ._options import (
    in_range,
    one_of,
    required_key,
    secret,
    shown_url,
    voice_name,
    web_address,
    websocket_url,
    whole_or_none,
)
from .errors import (
    AuthenticationError,
    BadRequest,
    ConfigurationError,
    LinkClosed,
    PaymentRequired,
    ProviderError,
    RateLimited,
    ServiceUnavailable,
)
from .tts import TTSProvider
from .turn import Word

DEFAULT_VOICE = "leah"
DEFAULT_URL = "wss://api.lmnt.com/v1/ai/speech/stream"

# SDK 2.13, types of the speech session.
_SAMPLE_RATES = (8000, 16000, 24000)
_FORMAT = "pcm_s16le"
_ERRORS: dict[str, type[ProviderError]] = {
    "authentication_error": AuthenticationError,
    "permission_error": AuthenticationError,
    "payment_required_error": PaymentRequired,
    "rate_limit_error": RateLimited,
    "invalid_request_error": BadRequest,
    "not_found_error": BadRequest,
    "internal_server_error": ServiceUnavailable,
}
# Untyped errors, as measured for a bad key; other words are not known.
_BAD_KEY = "api key"


def _api_key(key: str | None) -> str:
    return required_key(key, "LMNT_API_KEY")


@attrs.frozen(kw_only=True)
class LMNTTTS(TTSProvider):
    """Options of LMNT text-to-speech.

    Attributes:
        api_key: the key; by default the environment variable ``LMNT_API_KEY``.
        voice: the voice.  It is a connection's; ``voice_id`` of a turn chooses another, on a connection of its own that
            is then kept as well.
        model: sent in protocol 1.0 only, as the sessions of 1.2 have no such field.
        language: an ISO 639-1 code, or ``"auto"``.
        format: ``"pcm_s16le"``.  The others of LMNT's are containers or compressed, and a sink takes samples.
        sample_rate: in Hz: 8000, 16000 or 24000.
        seed: a whole number.  It is not sent, as `temperature` and `top_p`: they belong to LMNT's HTTP API, and its
            sessions have no such fields.  They are taken, and checked, so that the original's calls work.
        temperature: see `seed`.
        top_p: see `seed`.
        ws_url: where the socket is; ``http`` and ``https`` are taken for ``ws`` and ``wss``.
        protocol: ``"1.2"``: one connection for all turns, word times, and a cancellation that keeps the connection.
            ``"1.0"``, as the original: a connection for each turn, made while the one before it speaks.

    Raises:
        ConfigurationError: if an option cannot be, or there is no key.
    """

    name: ClassVar[str] = "lmnt"

    api_key: str = attrs.field(default=None, repr=False, converter=_api_key, validator=secret)
    voice: str = attrs.field(default=DEFAULT_VOICE, validator=voice_name)
    model: str = attrs.field(default="blizzard", validator=voice_name)
    language: str = attrs.field(default="auto", validator=voice_name)
    format: str = _FORMAT
    sample_rate: int = attrs.field(default=24_000, validator=one_of(_SAMPLE_RATES))
    seed: int | None = attrs.field(default=None, validator=whole_or_none(-(2**63), 2**63 - 1))
    temperature: float = attrs.field(default=1.0, validator=in_range(0, 1))
    top_p: float = attrs.field(default=0.8, validator=in_range(0, 1))
    ws_url: str = attrs.field(default=DEFAULT_URL, validator=web_address, repr=shown_url)
    protocol: Literal["1.2", "1.0"] = attrs.field(default="1.2", validator=one_of(("1.2", "1.0")))

    def __attrs_post_init__(self) -> None:
        if self.format != _FORMAT:
            raise ConfigurationError(f"format must be {_FORMAT}, as a sink takes samples, not {self.format!r}")
        self._endpoint()

    def _endpoint(self) -> Endpoint:
        url = websocket_url(self.ws_url, "/v1/ai/speech/stream", {})
        return Endpoint(url, greeting=(self._init(),), secrets=(self.api_key,))

    def _init(self) -> str:
        init: dict[str, object] = {
            "X-API-Key": self.api_key,
            "lmnt-version": self.protocol,
            "voice": self.voice,
            "format": self.format,
            "language": self.language,
            "sample_rate": self.sample_rate,
        }
        more: dict[str, object] = {"model": self.model} if self.protocol == "1.0" else {"return_timestamps": True}
        return encode_json(init | more)

    def _policy(self) -> LinkPolicy:
        return attrs.evolve(super()._policy(), spare=self.protocol == "1.0")

    def _new_dialect(self, clock: Callable[[], float]) -> TTSDialect:  # noqa: ARG002 - nothing is counted in time
        return _TypedDialect() if self.protocol == "1.2" else _UntypedDialect()

    def _for_voice(self, voice_id: str) -> Self:
        return attrs.evolve(self, voice=voice_id)


class _Error(msgspec.Struct):
    type: str = ""
    message: str = ""


class _Timestamp(msgspec.Struct):
    text: str
    start: float
    duration: float


class _Notice(msgspec.Struct):
    """Any text message of the server, of both protocols."""

    type: str = ""
    request_id: str | None = None
    nonce: int | None = None
    timestamps: tuple[_Timestamp, ...] = ()
    error: _Error | str | None = None


@attrs.define(eq=False)
class _Turn:
    """The turn that is being spoken.

    Attributes:
        number: the session's.
        said: whether text of it is on the wire.
        unflushed: whether some of that came after the last flush.
        flushes: the nonces of flushes that are not answered.
        complete: whether the turn's text is all there.
    """

    number: int
    said: bool = False
    unflushed: bool = False
    flushes: list[int] = attrs.Factory(list)
    complete: bool = False


class _SessionDialect(TTSDialect):
    """What both protocols have: text that joins verbatim, and errors, which end the connection."""

    provider = "lmnt"

    def __init__(self) -> None:
        self._turn: _Turn | None = None

    def begin(self, turn: int, options: LMNTTTS) -> None:  # noqa: ARG002 - all options are the connection's
        self._turn = _Turn(turn)

    def _current(self) -> _Turn:
        assert self._turn is not None, "steps are of a turn that was begun"
        return self._turn

    def _on_audio(self, pcm: bytes) -> Iterable[Event]:
        turn = self._turn
        if turn is None or not turn.said or self.gated:  # a turn that has said nothing is owed nothing
            return (Late(len(pcm)),)
        return (Audio(turn.number, pcm),)

    def _failed(self, error: _Error | str) -> Failed:
        kind, words = (error.type, error.message) if isinstance(error, _Error) else ("", error)
        cls = _ERRORS.get(kind, AuthenticationError if _BAD_KEY in words.lower() else ProviderError)
        return Failed(None, self.error(cls, words, code=kind or None))


class _TypedDialect(_SessionDialect):
    """Protocol 1.2: acknowledgements name the nonce of what they answer.

    Audio names nothing.  After a ``reset`` what was already made still comes, so all is of the past until its
    ``reset_complete``.
    """

    def __init__(self) -> None:
        super().__init__()
        self._accepted = False
        self._nonce = 0
        self._resets: list[int] = []  # that are not answered

    @property
    def ready(self) -> bool:
        return self._accepted  # a bad key is told only now

    @property
    def awaiting(self) -> bool:
        return self._turn is not None and bool(self._turn.flushes)

    @property
    def gated(self) -> bool:
        return bool(self._resets)

    def farewell(self) -> Iterable[Message]:
        return ('{"type":"finish"}',)

    def say(self, text: str) -> Iterator[Step]:
        turn = self._current()
        turn.said = turn.unflushed = True
        yield encode_json({"type": "text", "text": text})

    def flush(self) -> Iterator[Step]:
        turn = self._current()
        if turn.unflushed:
            turn.unflushed = False
            yield self._command("flush", turn.flushes)

    def end(self) -> Iterator[Step]:
        turn = self._current()
        turn.complete = True
        yield from self.flush()
        if not turn.flushes:
            yield Ended(turn.number)

    def cancel(self, turn: int) -> Sequence[Message]:
        if self._turn is None or turn != self._turn.number:
            return ()
        said = self._turn.said
        self._turn = None
        return (self._command("reset", self._resets),) if said else ()

    def receive(self, message: Message) -> Iterable[Event]:
        if isinstance(message, bytes):
            return self._on_audio(message)
        notice = decode_json(message, _Notice, self.provider)
        match notice.type:
            case "ready":
                self._accepted = True
                self.request_id = notice.request_id
            case "timestamps":
                return self._on_timestamps(notice)
            case "flush_complete":
                return self._on_flush_complete(notice.nonce)
            case "reset_complete":
                return self._on_reset_complete(notice.nonce)
            case "error":
                self.request_id = notice.request_id or self.request_id
                return (self._failed(notice.error or ""),)
        return ()

    def _command(self, name: str, unanswered: list[int]) -> Message:
        self._nonce += 1
        unanswered.append(self._nonce)
        return encode_json({"type": name, "nonce": self._nonce})

    def _on_timestamps(self, notice: _Notice) -> Iterable[Event]:
        if self._turn is None or self._resets:
            return ()
        words = (Word(each.text, each.start, each.start + each.duration) for each in notice.timestamps)
        return (Spoken(self._turn.number, tuple(words)),)

    def _on_flush_complete(self, nonce: int | None) -> Iterable[Event]:
        turn = self._turn
        # With a reset unanswered the audio that this ends was dropped: the link is given up soon, and all said again.
        if turn is None or self._resets or nonce not in turn.flushes:
            return ()
        # They are answered in order: an answer to a later one answers those before it.
        del turn.flushes[: turn.flushes.index(nonce) + 1]
        over = turn.complete and not turn.flushes
        return (TimesRestart(turn.number), Ended(turn.number) if over else Answered(turn.number))

    def _on_reset_complete(self, nonce: int | None) -> Iterable[Event]:
        if nonce not in self._resets:
            return ()
        answered = self._resets[: self._resets.index(nonce) + 1]
        del self._resets[: len(answered)]
        return [GateOpened() for _ in answered]


class _UntypedDialect(_SessionDialect):
    """Protocol 1.0: nothing is acknowledged.  A turn ends when the server closes; only closing cancels it."""

    @property
    def spent(self) -> bool:
        return self._turn is not None and self._turn.said

    @property
    def awaiting(self) -> bool:
        return self._turn is not None and self._turn.complete

    def say(self, text: str) -> Iterator[Step]:
        turn = self._current()
        turn.said = turn.unflushed = True
        yield encode_json({"text": text})

    def flush(self) -> Iterator[Step]:
        turn = self._current()
        if turn.unflushed:
            turn.unflushed = False
            yield '{"flush":true}'

    def end(self) -> Iterator[Step]:
        self._current().complete = True
        yield '{"eof":true}'

    def cancel(self, turn: int) -> Sequence[Message] | None:
        return None if self._turn is not None and turn == self._turn.number and self._turn.said else ()

    def receive(self, message: Message) -> Iterable[Event]:
        if isinstance(message, bytes):
            return self._on_audio(message)
        notice = decode_json(message, _Notice, self.provider)
        return (self._failed(notice.error),) if notice.error else ()

    def lost(self, error: LinkClosed) -> Iterable[Event]:
        if self._turn is None or not self._turn.complete or error.code != 1000:
            return ()
        return (Ended(self._turn.number),)
