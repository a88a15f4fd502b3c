"""Deepgram text-to-speech over a websocket (``/v1/speak``).

Protocol facts are from Deepgram's API specification and its documentation of the TTS websocket, and from measurements
on the live socket where these are silent; each is named where it is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import ClassVar, Self

import attrs
import msgspec

from ._dialect import Answered, Audio, Ended, Event, Failed, GateOpened, Late, MoreToSend, Pause, Step, TTSDialect
from ._json import decode_json, encode_json
from ._link.dialect import Message
from ._link.endpoint import Endpoint
from ._link.window import Window
from ._options import (
    in_range,
    key_or_environment,
    one_of,
    pairs,
    positive,
    secret,
    shown_url,
    truth,
    voice_name,
    web_address,
    websocket_url,
    whole,
)
from .errors import BadRequest, ConfigurationError, InputError, LinkClosed, ProviderError, RateLimited
from .g711 import decoder
from .text import split_text
from .tts import TTSProvider

DEFAULT_MODEL = "aura-2-andromeda-en"
DEFAULT_BASE_URL = "wss://api.deepgram.com/v1/speak"

# API specification, channel /v1/speak: the socket takes these and no others.
_SAMPLE_RATES = {
    "linear16": (8000, 16000, 24000, 32000, 48000),
    "mulaw": (8000, 16000),
    "alaw": (8000, 16000),
}
_PARAMETERS = {"model", "encoding", "sample_rate", "speed", "mip_opt_out"}
# Documentation: a session is ended with NET-0003 after this many minutes, so no turn can last longer.
_SESSION_MINUTES = 60
# Flushes kept for the ends of turns: a marker's flush can be merged into a later one, a turn's last cannot.
_RESERVED_FLUSHES = 2

# Documentation, close codes: what their reasons start with when it is what we sent that the server minds.
_BLAME: dict[str, type[ProviderError]] = {
    "DATA-0001": RateLimited,
    "DATA-0000": BadRequest,
    "MESSAGE-": BadRequest,
    "BIG-": BadRequest,
}

# The server counts when it receives, we when we send; measured, a flush came back after about 64 seconds, not 60.
_FLUSH_MARGIN = 4.0
_CHARACTERS_MARGIN = 1.0

_FLUSH = '{"type":"Flush"}'
_CLEAR = '{"type":"Clear"}'
_CLOSE = '{"type":"Close"}'


def _api_key(key: str | None) -> str | None:
    return key_or_environment(key, "DEEPGRAM_API_KEY")


@attrs.frozen(kw_only=True)
class DeepgramTTS(TTSProvider):
    """Options of Deepgram text-to-speech.

    Attributes:
        api_key: the key; by default the environment variable ``DEEPGRAM_API_KEY``.
        access_token: a short-lived token instead of a key.
        model: the voice: ``aura-2-…`` or ``aura-…``.  One connection speaks with one voice; ``voice_id`` of a turn
            chooses another, on a connection of its own that is then kept as well.
        encoding: ``"linear16"``, ``"mulaw"`` or ``"alaw"``; the sink gets linear PCM in any case.
        sample_rate: in Hz: 8000, 16000, 24000, 32000 or 48000; 8000 or 16000 for the two laws.
        base_url: where the socket is; ``http`` and ``https`` are taken for ``ws`` and ``wss``.
        region: ``"eu"``, ``"au"`` or ``"in"`` for Deepgram's hosts there.
        speed: 0.7 to 1.5; Aura-2 in English and Spanish only.
        mip_opt_out: stay out of Deepgram's model improvement program.
        extra: more query parameters, for what Deepgram may add.
        max_text: characters of one ``Speak`` message; longer texts are split at white space.
        flush_limit: flushes that one connection may have within `flush_window` seconds.  Near it, the flushes of
            markers are merged into later ones, and the flush that ends a turn waits.
        flush_window: see `flush_limit`.
        characters_per_minute: text beyond this waits, while what came before is being spoken.

    Raises:
        ConfigurationError: if an option cannot be, or there is no key.
    """

    name: ClassVar[str] = "deepgram"
    _of_the_session: ClassVar[frozenset[str]] = TTSProvider._of_the_session | {
        "characters_per_minute",
        "flush_limit",
        "flush_window",
        "max_text",
    }

    api_key: str | None = attrs.field(default=None, repr=False, converter=_api_key, validator=secret)
    access_token: str | None = attrs.field(default=None, repr=False, validator=secret)
    model: str = attrs.field(default=DEFAULT_MODEL, validator=voice_name)
    encoding: str = attrs.field(default="linear16", validator=one_of(_SAMPLE_RATES))
    base_url: str = attrs.field(default=DEFAULT_BASE_URL, validator=web_address, repr=shown_url)
    region: str | None = attrs.field(default=None, validator=one_of([None, "eu", "au", "in"]))
    speed: float | None = attrs.field(default=None, validator=in_range(0.7, 1.5))
    mip_opt_out: bool = attrs.field(default=False, validator=truth)
    extra: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False, converter=pairs)
    max_text: int = attrs.field(default=2000, validator=whole(1))
    flush_limit: int = attrs.field(default=20, validator=whole(_RESERVED_FLUSHES + 1))
    flush_window: float = attrs.field(default=60.0, validator=positive)
    characters_per_minute: int = attrs.field(default=2400, validator=whole(1))

    def __attrs_post_init__(self) -> None:
        if self.api_key is None and self.access_token is None:
            raise ConfigurationError("no Deepgram key: give api_key, or set DEEPGRAM_API_KEY")
        if self.sample_rate not in _SAMPLE_RATES[self.encoding]:
            rates = ", ".join(map(str, _SAMPLE_RATES[self.encoding]))
            raise ConfigurationError(f"sample_rate for {self.encoding} must be one of {rates}, not {self.sample_rate}")
        if self.max_text > self.characters_per_minute:
            raise ConfigurationError("max_text must not be more than characters_per_minute: it could never be sent")
        if double := sorted(_PARAMETERS & {name for name, _ in self.extra}):
            raise ConfigurationError(f"extra must not contain {', '.join(double)}: there are options for them")
        if self.region is not None and self.base_url != DEFAULT_BASE_URL:
            raise ConfigurationError("give a region or a base_url, not both")
        if self.speed is not None and not re.fullmatch("aura-2-.*-e[ns]", self.model):
            raise ConfigurationError(f"speed works with Aura-2 in English and Spanish only, not with {self.model}")
        self._endpoint()

    def _endpoint(self) -> Endpoint:
        base = self.base_url if self.region is None else f"wss://api.{self.region}.deepgram.com/v1/speak"
        credentials = f"Token {self.api_key}" if self.access_token is None else f"Bearer {self.access_token}"
        return Endpoint(websocket_url(base, "/v1/speak", self._parameters()), (("Authorization", credentials),))

    def _parameters(self) -> dict[str, str]:
        parameters = {"model": self.model, "encoding": self.encoding, "sample_rate": str(self.sample_rate)}
        if self.speed is not None:
            parameters["speed"] = f"{self.speed:g}"
        if self.mip_opt_out:
            parameters["mip_opt_out"] = "true"
        return parameters | dict(self.extra)

    def _new_dialect(self, clock: Callable[[], float]) -> TTSDialect:
        return _DeepgramDialect(self, clock)

    def _for_voice(self, voice_id: str) -> Self:
        return attrs.evolve(self, model=voice_id)

    def _check_text(self, text: str) -> None:
        most = self.characters_per_minute * _SESSION_MINUTES
        if len(text) > most:
            raise InputError(
                f"{len(text)} characters are more than one turn can carry: {most}, at {self.characters_per_minute} a "
                f"minute in a session of {_SESSION_MINUTES} minutes; speak it in several turns"
            )


class _Notice(msgspec.Struct):
    """Any text message of the server; it uses several spellings for the same thing."""

    type: str
    request_id: str | None = None
    sequence_id: int | None = None
    warn_code: str | None = None
    code: str | int | None = None
    warn_msg: str | None = None
    description: str | None = None
    err_code: str | int | None = None
    err_msg: str | None = None
    message: str | None = None

    @property
    def name(self) -> str:
        return str(self.warn_code or self.err_code or self.code or "")

    @property
    def words(self) -> str:
        return self.warn_msg or self.err_msg or self.description or self.message or ""


class _DeepgramDialect(TTSDialect):
    """The state of ``/v1/speak`` on one connection.

    Audio frames carry no id, so their place in the stream is all there is: they belong to the turn that was begun last,
    unless a ``Clear`` is unanswered.  Until its ``Cleared`` everything that comes is of the past.
    """

    provider = "deepgram"

    def __init__(self, options: DeepgramTTS, clock: Callable[[], float]) -> None:
        self._options = options
        self._decode = decoder(options.encoding)
        self._flushes = Window(options.flush_limit, options.flush_window + _FLUSH_MARGIN, clock)
        self._characters = Window(options.characters_per_minute, 60.0 + _CHARACTERS_MARGIN, clock)
        self._gates = 0
        self._last_flushed: int | None = None
        self._forget()

    def _forget(self) -> None:
        self._turn: int | None = None
        self._said = False  # text of the turn is on the wire
        self._unflushed = False  # … and some of it after the last flush
        self._pending = 0  # flushes that are not answered
        self._complete = False  # the turn's text is all there
        self._refused = False  # the flush that should have ended it

    @property
    def worn(self) -> bool:
        """So few flushes left that the next turns would have to wait, which a new connection need not."""
        return self._flushes.left <= _RESERVED_FLUSHES

    @property
    def awaiting(self) -> bool:
        return self._pending > 0

    @property
    def gated(self) -> bool:
        return self._gates > 0

    def farewell(self) -> Iterable[Message]:
        return (_CLOSE,)

    def explain(self, error: LinkClosed) -> ProviderError:
        reason = error.reason or ""
        kind = next((kind for start, kind in _BLAME.items() if reason.startswith(start)), None)
        return error if kind is None else self.error(kind, error.message, code=error.code, reason=reason)

    def begin(self, turn: int, options: DeepgramTTS) -> None:  # noqa: ARG002 - all options are the connection's
        self._forget()
        self._turn = turn

    def say(self, text: str) -> Iterator[Step]:
        for piece in split_text(text, self._options.max_text):
            if (wait := self._characters.wait(len(piece))) > 0:
                yield from self.flush()
                yield Pause(wait)
            self._characters.use(len(piece))
            self._said = self._unflushed = True
            yield encode_json({"type": "Speak", "text": piece})

    def flush(self) -> Iterator[Step]:
        if self._unflushed and self._flushes.left > _RESERVED_FLUSHES:
            yield self._flush()

    def end(self) -> Iterator[Step]:
        self._complete = True
        if self._unflushed:
            if (wait := self._flushes.wait(1)) > 0:
                yield Pause(wait)
            yield self._flush()
        elif not self._pending:
            assert self._turn is not None
            yield Ended(self._turn)

    def resume(self) -> Iterator[Step]:
        if self._refused:
            # A server that counts otherwise than we do gives back one flush after this long.
            yield Pause(max(self._options.flush_window / self._options.flush_limit, self._flushes.wait(1)))
            self._refused = False
            if self._unflushed:
                yield self._flush()

    def cancel(self, turn: int) -> Sequence[Message]:
        if turn != self._turn:
            return ()
        said = self._said
        self._forget()
        if not said:
            return ()
        self._gates += 1
        return (_CLEAR,)

    def receive(self, message: Message) -> Iterable[Event]:
        if isinstance(message, bytes):
            # A turn that has said nothing is owed nothing.
            if self._turn is None or not self._said or self._gates:
                return (Late(len(self._decode(message))),)
            self._last_flushed = None
            return (Audio(self._turn, self._decode(message)),)
        notice = decode_json(message, _Notice, self.provider)
        match notice.type:
            case "Metadata":
                self.request_id = notice.request_id or self.request_id
            case "Flushed":
                return self._on_flushed(notice)
            case "Cleared":
                return self._on_cleared()
            case "Warning":
                return self._on_warning(notice)
            case "Error":
                return (Failed(None, self.error(ProviderError, notice.words, code=notice.name or None)),)
        return ()

    def _flush(self) -> Message:
        self._flushes.use(1)
        self._pending += 1
        self._unflushed = False
        return _FLUSH

    def _on_flushed(self, notice: _Notice) -> Iterable[Event]:
        # Said twice, with no audio in between; whether numbers are never used again is not documented.
        again = notice.sequence_id is not None and notice.sequence_id == self._last_flushed
        self._last_flushed = notice.sequence_id
        if self._gates or again or not self._pending:
            return ()
        self._pending -= 1
        assert self._turn is not None
        over = self._complete and not self._pending and not self._unflushed
        return (Ended(self._turn) if over else Answered(self._turn),)

    def _on_cleared(self) -> Iterable[Event]:
        self._last_flushed = None  # whether the numbers go on or start again is not documented
        if not self._gates:
            return ()
        self._gates -= 1
        return (GateOpened(),)

    def _on_warning(self, notice: _Notice) -> Iterable[Event]:
        """A refused flush is never answered; its text stays in the server's buffer until another flush."""
        if "FLUSH" not in notice.name.upper() or self._gates or not self._pending:
            return ()
        self._pending -= 1
        self._unflushed = True
        assert self._turn is not None
        if not self._complete or self._refused:
            return (Answered(self._turn),)
        self._refused = True
        return (MoreToSend(self._turn),)
