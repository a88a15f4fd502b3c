"""What Smallest AI's server says, and what all its dialects have in common."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from ._dialect import Audio, Spoken, TTSDialect
from ._json import decode_audio
from ._link.dialect import Message
from .errors import AuthenticationError, BadRequest, ProviderError, RateLimited, error_class
from .turn import Word

# Errors have words and no codes: what the words are about.
_BLAME: tuple[tuple[re.Pattern[str], type[ProviderError]], ...] = (
    (re.compile(r"concurren|rate.?limit|too many|limit exceeded", re.IGNORECASE), RateLimited),
    (re.compile(r"unauthori|api.?key|token|forbidden", re.IGNORECASE), AuthenticationError),
    (re.compile(r"invalid|not found|not supported|unsupported|deprecated|too long|missing", re.IGNORECASE), BadRequest),
)


class Options(Protocol):
    """What the dialects must know of a turn's options."""

    @property
    def sentence_streaming(self) -> bool:
        """Whether each sentence is asked for by itself."""

    @property
    def inferred_end(self) -> float:
        """Seconds of silence after which a request is over whose end is not told."""

    def _request(self) -> dict[str, Any]:
        """What every message of a turn has."""


class _Words(msgspec.Struct):
    message: str = ""
    code: str | int | None = None


class _Data(msgspec.Struct):
    """What a message brings: audio, or the times of a word."""

    audio: str = ""
    word: str = ""
    start: float = 0.0
    end: float = 0.0


class Status(msgspec.Struct):
    """What all messages may have; errors have several shapes."""

    status: str = ""
    message: str | None = None
    error: _Words | str | None = None

    @property
    def failure(self) -> ProviderError | None:
        """The error that it tells, if it is one."""
        return None if self.error is None and self.status != "error" else self.blame()

    def blame(self) -> ProviderError:
        """The error that it tells, where it must be one."""
        error = self.error
        if not isinstance(error, _Words):
            error = _Words(error or self.message or "an error without a word")
        status = error.code if isinstance(error.code, int) and 400 <= error.code < 600 else None
        words = error.message or str(error.code)
        kind = next((kind for pattern, kind in _BLAME if pattern.search(words)), ProviderError)
        cls = kind if status is None else error_class(status)
        return cls(words, provider=SmallestDialect.provider, status=status, code=error.code, reason=words)


class Notice(Status):
    """Any message of the server's socket."""

    request_id: str | None = None
    external_request_id: str | None = None
    data: _Data | None = None

    @property
    def audio(self) -> str:
        """Its audio, in base64."""
        return "" if self.data is None else self.data.audio

    def event(self, turn: int) -> Audio | Spoken | None:
        """What it brings of a turn: audio, or a word, whose times count from the first sample of its request."""
        if self.status == "word_timestamp" and self.data is not None:
            return Spoken(turn, (Word(self.data.word, self.data.start, self.data.end),))
        if self.status == "chunk" and self.audio:
            return Audio(turn, decode_audio(self.audio, SmallestDialect.provider))
        return None


class Event(Status):
    """Any server-sent event."""

    audio: str = ""
    done: bool = False


class SmallestDialect(TTSDialect):
    """What all dialects have: messages that are full each time, and a clock of the time in which we listen."""

    provider = "smallest"

    def __init__(self, options: Options, clock: Callable[[], float]) -> None:
        self._inferred_end = options.inferred_end
        self._clock = clock
        self._missed = 0.0

    def missed(self, seconds: float) -> None:
        self._missed += seconds

    def _now(self) -> float:
        return self._clock() - self._missed

    def _at(self, listened: float | None) -> float | None:
        """When :meth:`_now` will be that."""
        return None if listened is None else listened + self._missed


def encode(options: Options, more: dict[str, object]) -> Message:
    """A message of a turn with these options."""
    return msgspec.json.encode(options._request() | more).decode()
