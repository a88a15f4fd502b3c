"""A turn as a context that the server cuts into requests itself, and whose end can only be inferred."""

from __future__ import annotations

import abc
import math
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import attrs

from ._dialect import Answered, Ended, Event, Failed, Late, Step, TimesRestart
from ._link.dialect import Message
from ._notice import Notice, NoticesDialect
from .errors import LinkStalled

# Past contexts that are known again, should the server go on about one.
_REMEMBERED = 64
# Seconds in which a cancelled context falls silent, if the server has heard of it.
_AFTER_CANCEL = 1.0


@attrs.define(eq=False)
class Context:
    """A turn.

    Attributes:
        turn: its number.
        options: its own.
        id: of the context, and of all that is sent for it.
        said: whether text of it is on the wire.
        complete: whether all of its text is.
        heard: whether audio of it has come.
        between_requests: whether nothing came since the last end of a request.
        requests: the server's ids of what came of it.
        silent_by: when it must have fallen silent, once it was cancelled.
    """

    turn: int
    options: Any
    id: str = attrs.Factory(lambda: uuid.uuid4().hex)
    said: bool = False
    complete: bool = False
    heard: bool = False
    between_requests: bool = False
    requests: set[str | None] = attrs.Factory(set)
    silent_by: float = math.inf


class InferredContextsDialect(NoticesDialect, abc.ABC):
    """A protocol in which a turn is a context, of which the server makes requests, and which can be cancelled.

    There is no flush.  Each request has an end, and nothing tells which is the last; so the end of a turn is inferred
    from silence.  For contexts whose end is told this is of no use.

    Text messages name the context by our id if the server tells that; where it does not, a link carries one turn, and
    an interruption costs it.

    Args:
        clock: gives seconds.
        inferred_end: seconds of silence after which a context is over.
        done_end: as `inferred_end`, behind the end of a request.
    """

    def __init__(self, clock: Callable[[], float], *, inferred_end: float, done_end: float) -> None:
        super().__init__(clock)
        self._inferred_end = inferred_end
        self._done_end = min(done_end, inferred_end)
        self._context: Context | None = None
        self._echo = False  # the server tells our ids
        self._used = 0  # contexts of which something was said
        self._past: deque[Context] = deque(maxlen=_REMEMBERED)
        self._deaf = False  # the server does not heed a cancellation

    @abc.abstractmethod
    def _part(self, context: Context, text: str) -> Message:
        """Say more of a context; or, if the text is empty, that there is no more."""

    @abc.abstractmethod
    def _cancellation(self, context: Context) -> Message:
        """Stop a context."""

    @property
    def awaiting(self) -> bool:
        return self._context is not None and self._context.complete and not self._context.heard

    @property
    def spent(self) -> bool:
        return self._deaf or (self._used > 0 and not self._echo)

    def begin(self, turn: int, options: Any) -> None:
        self._context = Context(turn, options)
        self.patient_until = self.request_id = None

    def say(self, text: str) -> Iterator[Step]:
        context = self._of_turn
        self._used += not context.said
        context.said = True
        context.between_requests = False
        yield self._part(context, text)

    def flush(self) -> Iterator[Step]:
        """Nothing: the server speaks at the ends of sentences, or after a time."""
        return iter(())

    def end(self) -> Iterator[Step]:
        context = self._of_turn
        context.complete = True
        context.between_requests = False  # what is left of the text is only spoken now
        self._wait(context)
        yield self._part(context, "") if context.said else Ended(context.turn)

    def cancel(self, turn: int) -> Sequence[Message] | None:
        context = self._context
        if context is None or context.turn != turn:
            return ()
        self._context = self.patient_until = None
        if not context.said:
            return ()
        context.silent_by = self.now() + _AFTER_CANCEL
        self._past.append(context)
        return (self._cancellation(context),) if self._echo else None

    def receive(self, message: Message) -> Iterable[Event]:
        if isinstance(message, bytes):
            return ()
        notice = self._read(message)
        context = self._context if self._context is not None and self._context.said else None
        if notice.error is not None:
            failed = context is not None and self._may_be_of(context, notice)
            return (Failed(context.turn, notice.error),) if context is not None and failed else ()
        self._echo = self._echo or notice.ours is not None
        if context is None or not self._is_of(context, notice):
            return list(self._on_past(notice))
        return self._on_notice(context, notice)

    def lapse(self) -> Iterable[Event]:
        context, self._context, self.patient_until = self._context, None, None
        if context is None:
            return ()
        self._past.append(context)
        return (Ended(context.turn, inferred=True),)

    @property
    def _of_turn(self) -> Context:
        assert self._context is not None, "steps are of a turn that was begun"
        return self._context

    def _wait(self, context: Context) -> None:
        """Measure the silence after all that was asked for, if something was heard of it."""
        silence = self._done_end if context.between_requests else self._inferred_end
        self.patient_until = self.now() + silence if context.complete and context.heard else None

    def _is_of(self, context: Context, notice: Notice) -> bool:
        """Whether a message is of this context, by our id, by the server's, or as there was no other on the link."""
        if notice.ours is not None:
            return notice.ours == context.id
        return self._used == 1 or (notice.theirs is not None and notice.theirs in context.requests)

    def _may_be_of(self, context: Context, error: Notice) -> bool:
        """Whether an error is of this context: one that names nothing that is known is about what is under way."""
        if error.ours is not None:
            return error.ours == context.id
        past = any(error.theirs in each.requests for each in self._past)
        return error.theirs is None or error.theirs in context.requests or not past

    def _on_notice(self, context: Context, notice: Notice) -> Iterable[Event]:
        self.request_id = notice.theirs or self.request_id
        events: Sequence[Event] = notice.events(context.turn, self.provider)
        if not events and (not notice.done or context.between_requests):
            return ()  # nothing of the context, so its silence goes on
        context.between_requests = notice.done
        context.heard = context.heard or notice.audio != ""
        self._wait(context)
        events = events or (Answered(context.turn),)
        if notice.theirs not in context.requests:
            context.requests.add(notice.theirs)
            events = (TimesRestart(context.turn), *events)
        if notice.done:
            context.requests.discard(None)  # the next one without an id is another one
        return events

    def _on_past(self, notice: Notice) -> Iterator[Event]:
        yield Late(notice.size)
        if notice.audio and any(notice.ours == each.id and self.now() > each.silent_by for each in self._past):
            # What is asked for next would wait until it is over.
            self._deaf = True
            if self._context is None or not self._context.heard:
                words = "a context is still spoken that was cancelled"
                yield Failed(None, LinkStalled(words, provider=self.provider, code=1006))
