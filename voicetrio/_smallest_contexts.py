"""Smallest AI's continuations: a context for each turn, which the server cuts into sentences itself."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

import attrs

from ._dialect import Answered, Audio, Ended, Event, Failed, Late, Step, TimesRestart
from ._json import audio_size, decode_json
from ._link.dialect import Message
from ._smallest_messages import Notice, Options, SmallestDialect, encode
from .errors import LinkStalled

# Seconds of silence after a `complete` of a closed context: as others wait, who saw several for one context.
_AFTER_COMPLETE = 0.6
# Seconds in which a cancelled context falls silent, if the server has heard of it.
_AFTER_CANCEL = 1.0
# Cancelled contexts that are known again.
_REMEMBERED = 64


@attrs.define
class _Context:
    """A turn.

    Attributes:
        turn: its number.
        options: its own.
        id: of the context, and of its requests.
        said: whether text of it is on the wire.
        complete: whether all of its text is.
        heard: whether audio of it has come.
        completed: whether nothing came since the last `complete`.
        last: when something came of it.
        requests: the server's ids of what came of it.
    """

    turn: int
    options: Options
    id: str = attrs.Factory(lambda: uuid.uuid4().hex)
    said: bool = False
    complete: bool = False
    heard: bool = False
    completed: bool = False
    last: float = 0.0
    requests: set[str | None] = attrs.Factory(set)


class ContextsDialect(SmallestDialect):
    """A context for each turn.

    Several requests come of a context, each with a ``complete``, and nothing tells the last; so the end is inferred
    from silence.  What comes names our `request_id` if the server echoes it; where it does not, a link carries one
    turn.
    """

    def __init__(self, options: Options, clock: Callable[[], float]) -> None:
        super().__init__(options, clock)
        self._context: _Context | None = None
        self._echo = False  # the server names our requests
        self._used = 0  # contexts of which something was said
        self._cancelled: deque[tuple[str, float]] = deque(maxlen=_REMEMBERED)  # contexts, and until when they may speak
        self._deaf = False  # the server does not heed a cancellation

    @property
    def awaiting(self) -> bool:
        return self._context is not None and self._context.complete and not self._context.heard

    @property
    def spent(self) -> bool:
        return self._deaf or (self._used > 0 and not self._echo)

    @property
    def expires(self) -> float | None:
        context = self._context
        if context is None or not (context.complete and context.heard):
            return None
        silence = min(_AFTER_COMPLETE, self._inferred_end) if context.completed else self._inferred_end
        return self._at(context.last + silence)

    def begin(self, turn: int, options: Options) -> None:
        self._context = _Context(turn, options)

    def say(self, text: str) -> Iterator[Step]:
        context = self._of_turn
        if not context.said:
            context.said = True
            self._used += 1
        context.completed = False
        yield self._part(context, text, more=True)

    def flush(self) -> Iterator[Step]:
        """Nothing: a context is spoken at its sentences' ends, or after `max_buffer_delay_ms`; there is no flush."""
        return iter(())

    def end(self) -> Iterator[Step]:
        context = self._of_turn
        context.complete, context.last = True, self._now()
        yield self._part(context, "", more=False) if context.said else Ended(context.turn)

    def cancel(self, turn: int) -> Sequence[Message] | None:
        context = self._context
        if context is None or context.turn != turn:
            return ()
        self._context = None
        if not context.said:
            return ()
        self._cancelled.append((context.id, self._now() + _AFTER_CANCEL))
        return (encode(context.options, {"context_id": context.id, "cancel_request": True}),) if self._echo else None

    def receive(self, message: Message) -> Iterable[Event]:
        if isinstance(message, bytes):
            return ()  # all is text here
        notice = decode_json(message, Notice, self.provider)
        self.request_id = notice.request_id or self.request_id
        name = notice.external_request_id
        context = self._context if self._context is not None and self._context.said else None
        if (failure := notice.failure) is not None:
            # One that names nothing is about what is under way.
            return (Failed(context.turn, failure),) if context is not None and name in (None, context.id) else ()
        self._echo = self._echo or name is not None
        if context is None or not self._is_of(context, notice):
            return list(self._on_past(notice))
        return self._on_notice(context, notice)

    def lapse(self) -> Iterable[Event]:
        context, self._context = self._context, None
        return () if context is None else (Ended(context.turn, inferred=True),)

    @property
    def _of_turn(self) -> _Context:
        assert self._context is not None
        return self._context

    def _part(self, context: _Context, text: str, *, more: bool) -> Message:
        part = {"text": text, "context_id": context.id, "request_id": context.id, "continue": more}
        return encode(context.options, part)

    def _is_of(self, context: _Context, notice: Notice) -> bool:
        """Whether a message is of this context, by our id, by the server's, or as there was no other on the link."""
        if notice.external_request_id is not None:
            return notice.external_request_id == context.id
        return self._used == 1 or (notice.request_id is not None and notice.request_id in context.requests)

    def _on_notice(self, context: _Context, notice: Notice) -> Iterable[Event]:
        event: Event | None = notice.event(context.turn)
        completed = notice.status == "complete" and not context.completed
        if event is None and not completed:
            return ()  # nothing of the context, so its silence goes on
        context.completed, context.last = completed, self._now()
        context.heard = context.heard or isinstance(event, Audio)
        if notice.request_id in context.requests:
            return (event or Answered(context.turn),)
        context.requests.add(notice.request_id)
        return (TimesRestart(context.turn), event or Answered(context.turn))

    def _on_past(self, notice: Notice) -> Iterator[Event]:
        yield Late(audio_size(notice.audio))
        if notice.audio and any(
            name == notice.external_request_id and self._now() > until for name, until in self._cancelled
        ):
            # What is asked for next would wait until it is over.
            self._deaf = True
            if self._context is None or not self._context.heard:
                words = "a context is still spoken that was cancelled"
                yield Failed(None, LinkStalled(words, provider=self.provider, code=1006))
