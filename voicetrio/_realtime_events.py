"""What happens in a conversation with a realtime model, as its session tells it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import attrs

from .chat import ToolCall
from .errors import ProviderError
from .turn import Interruption, Outcome


@attrs.frozen
class UserSpeechStarted:
    """The provider hears the user speak."""


@attrs.frozen
class UserSpeechEnded:
    """The provider does not hear the user speak any more."""


@attrs.frozen
class InputTranscript:
    """What the user said.

    Attributes:
        text: all of the utterance as far as it is known: it replaces what was told of it before.
        final: whether that is the last word on it.
    """

    text: str
    final: bool


@attrs.frozen
class OutputTranscript:
    """What the model says.

    Attributes:
        text: all of the reply as far as it is known.
        delta: what is new in it; empty if `final`.
        final: whether that is the last word on it.
        turn: the reply's number in the sink; None if nothing of it is spoken.
    """

    text: str
    delta: str
    final: bool
    turn: int | None


@attrs.frozen
class ReplyStarted:
    """A reply begins.

    Attributes:
        turn: its number in the sink, as in its frames; None for a model that does not speak.
    """

    turn: int | None


@attrs.frozen
class ReplyEnded:
    """A reply is in the sink to its last sample, was interrupted, or failed.

    Attributes:
        turn: its number in the sink; None for a model that does not speak.
        outcome: how it ended; None if it failed.
        text: what the model said.
        error: why it failed.
    """

    turn: int | None
    outcome: Outcome | None
    text: str
    error: Exception | None = None


@attrs.frozen
class ReplyInterrupted:
    """Replies were silenced: by the provider that heard the user, by ``interrupt()``, or by a cancel scope.

    Attributes:
        interruption: what was cut off, each reply in one event.
        by_user: whether it was the provider who heard the user speak.
    """

    interruption: Interruption
    by_user: bool


@attrs.frozen
class UsageReported:
    """What the model used: tokens, as the provider names them."""

    data: Mapping[str, Any] = attrs.field(hash=False)


@attrs.frozen
class ErrorReported:
    """The provider reported an error and goes on."""

    error: ProviderError


@attrs.frozen
class ConnectionLost:
    """There is no connection any more, or none came about; the session goes on trying."""

    error: ProviderError


@attrs.frozen
class Reconnected:
    """There is a connection again.  The model has forgotten what was said before."""


RealtimeEvent = (
    UserSpeechStarted
    | UserSpeechEnded
    | InputTranscript
    | OutputTranscript
    | ReplyStarted
    | ReplyEnded
    | ReplyInterrupted
    | ToolCall
    | UsageReported
    | ErrorReported
    | ConnectionLost
    | Reconnected
)


class EventLog:
    """Events that wait to be read: so many at most, of which the least is lost first.

    Audio never waits for whoever reads events, so these have to give way.  A transcript that is not final is told
    again, longer, by the next one, so the oldest such goes first; where there is none, the oldest event.

    Args:
        bound: how many are kept.

    Attributes:
        dropped: how many were lost.
    """

    def __init__(self, bound: int) -> None:
        self.dropped: int = 0
        self._bound = bound
        self._events: deque[RealtimeEvent] = deque()

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: RealtimeEvent) -> None:
        """Add an event behind the others."""
        if len(self._events) >= self._bound:
            self._drop_one()
        self._events.append(event)

    def take(self) -> RealtimeEvent:
        """The oldest event; there must be one."""
        return self._events.popleft()

    def _drop_one(self) -> None:
        self.dropped += 1
        for index, event in enumerate(self._events):
            if isinstance(event, InputTranscript | OutputTranscript) and not event.final:
                del self._events[index]
                return
        self._events.popleft()
