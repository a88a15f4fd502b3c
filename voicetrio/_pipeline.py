"""Requests over a websocket, of which the next is asked for while one is spoken."""

from __future__ import annotations

import abc
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ._dialect import Answered, Event, Failed, Late
from ._link.dialect import Message
from ._notice import Notice
from ._requests import Request, RequestLine, RequestsDialect
from .errors import LinkClosed, ProtocolError, ProviderError, RateLimited

# Requests that are asked for at a time: one is spoken, one is ready when it ends.
_AHEAD = 2
# Seconds of silence after which a request is over if the server has begun or ended another one since.
_OVERTAKEN = 1.0
# Past requests that are known again, should the server go on about one.
_REMEMBERED = 64


class PipelineDialect(RequestsDialect, abc.ABC):
    """A protocol of requests over a websocket, in text messages that name the request that they are of.

    They do so by our id, or at least by the server's.  Only where ours is told can two requests be told apart, so none
    is asked for ahead before that.

    Args:
        clock: gives seconds.
        inferred_end: seconds of silence after which a request whose end the server does not tell is over.
    """

    def __init__(self, clock: Callable[[], float], *, inferred_end: float) -> None:
        super().__init__(clock)
        self._inferred_end = inferred_end
        self._ahead = 1  # how many requests are asked for at a time
        self._echo = False  # the server tells our ids
        self._past: deque[Request] = deque(maxlen=_REMEMBERED)  # those that are over, or put back

    @property
    def awaiting(self) -> bool:
        first = self._line.first if self._line is not None else None
        return first is not None and first.sent and not first.heard

    def begin(self, turn: int, options: Any) -> None:
        super().begin(turn, options)
        self._of_turn.ahead = self._ahead

    def receive(self, message: Message) -> Iterable[Event]:
        if isinstance(message, bytes):
            return ()
        notice, line = self._read(message), self._asking
        if notice.error is not None:
            # If nothing is asked for, it may announce that the connection ends, which will be told.
            return () if line is None else self._on_error(line, notice, notice.error)
        request = self._find(notice)
        if line is None or request is None or request.over:
            return self._on_past(request, notice)
        return list(self._on_notice(line, request, notice))

    def lapse(self) -> Iterable[Event]:
        line = self._line
        if line is None or (first := line.first) is None:
            return ()
        first.inferred = True
        if not self._echo and first.their_id is None:
            return self._finish_and_leave(line, first)
        self._doubtful = True
        self._past.append(first)
        events = self._finish(line, first)
        self._wait(line, first, new=True)
        return events

    def _on_notice(self, line: RequestLine, request: Request, notice: Notice) -> Iterator[Event]:
        if notice.ours is not None and not self._echo:
            self._echo = True
            self._ahead = line.ahead = _AHEAD
            yield from line.replies()
        request.their_id = notice.theirs or request.their_id
        if request is line.first:
            self.request_id = request.their_id or self.request_id
        begun = request.heard
        events = notice.events(line.turn, self.provider)
        if not events and not notice.done:
            return  # nothing of the request, so its silence goes on
        for event in events:
            yield from line.take(request, event)
        if notice.done:
            # Its audio may come after all, and would be taken for the next one's.
            self._doubtful = self._doubtful or (request.lacks_audio and not self._echo)
            yield from self._finish(line, request)
        if request.over:
            self._past.append(request)
        self._wait(line, request, new=notice.done or request.heard is not begun)

    def _wait(self, line: RequestLine, request: Request, *, new: bool) -> None:
        """Measure the silence of the first request, which what comes of another one tells nothing about.

        But if it begins or ends, which is `new`, the server has perhaps gone on from the first.
        """
        now, first = self.now(), line.first
        if first is None or not first.heard:
            self.patient_until = None
        elif first is request or self.patient_until is None:
            self.patient_until = now + self._inferred_end
        elif new:
            self.patient_until = min(self.patient_until, now + _OVERTAKEN)

    def _named(self, notice: Notice) -> Request | None:
        """The request that a message names, by our id, or by the server's where ours is not told."""
        asked = self._line.asked if self._line is not None else []
        ours, theirs = notice.ours, notice.theirs
        for request in (*asked, *self._past):
            if (ours == request.id) if ours is not None else (theirs is not None and theirs == request.their_id):
                return request
        return None

    def _find(self, notice: Notice) -> Request | None:
        """The request that a message is of; None if it is of none that is known."""
        named, line = self._named(notice), self._asking
        if named is not None or notice.ours is not None or line is None:
            return named
        possible = [each for each in line.asked if notice.theirs is None or each.their_id is None]
        if len(possible) > 1 and (notice.audio or notice.words or notice.done):
            raise ProtocolError("a message that may be of two requests", provider=self.provider)
        if len(possible) != 1 or (
            notice.theirs is None and notice.done and not notice.audio and possible[0].lacks_audio
        ):
            return None  # it tells nothing, or the end of the one before it twice
        return possible[0]

    def _on_past(self, request: Request | None, notice: Notice) -> Iterable[Event]:
        if notice.size and self._line is not None and request is not None and request.inferred:
            raise ProtocolError("audio of a sentence came after its end was inferred", provider=self.provider)
        if not notice.size or request is not None or notice.ours is not None or self._echo or self._asking is not None:
            return (Late(notice.size),)
        # It is of a request that was told to be over, and so may be what comes next.
        self._doubtful = True
        if self._line is None or self._line.ended:
            return (Late(notice.size),)
        left = LinkClosed("audio came after the end of its sentence", provider=self.provider, code=1006)
        return (Late(notice.size), Failed(None, left))

    def _on_error(self, line: RequestLine, notice: Notice, error: ProviderError) -> Iterable[Event]:
        request = self._named(notice)
        if request is None:
            # An id that is not known tells nothing: what is refused was asked for last.
            request = line.asked[-1]
        if request.over:
            return ()
        if isinstance(error, RateLimited) and request is not line.first and not request.heard:
            # It does not take requests ahead: this one is asked for again when its turn comes.
            line.put_back(request)
            self._past.append(request)
            self._ahead = 1
            return (Answered(line.turn),)
        self.request_id = error.request_id = notice.theirs or request.their_id
        return (Failed(line.turn, error),)
