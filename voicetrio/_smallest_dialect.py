"""Smallest AI's protocols: requests, over a websocket or HTTP, and contexts."""

from __future__ import annotations

import re
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import attrs
import msgspec

from ._bodies import BodiesDialect, BodyEvent
from ._dialect import (
    Answered,
    Audio,
    Ended,
    Event,
    Failed,
    Late,
    PatientDialect,
    Spoken,
    Step,
    TimesRestart,
    TTSDialect,
)
from ._json import audio_size, decode_audio, decode_json, encode_json
from ._link.dialect import Message
from ._requests import Request, RequestLine, RequestsDialect
from .errors import (
    AuthenticationError,
    BadRequest,
    LinkStalled,
    ProtocolError,
    ProviderError,
    RateLimited,
    error_class,
)
from .text import SentenceSplitter
from .turn import Word

if TYPE_CHECKING:
    from .smallest import SmallestAITTS

_NAME = "smallest"

# Errors have words and no codes: what the words are about.
_BLAME: tuple[tuple[re.Pattern[str], type[ProviderError]], ...] = (
    (re.compile(r"concurren|rate.?limit|too many|limit exceeded", re.IGNORECASE), RateLimited),
    (re.compile(r"unauthori|api.?key|token|forbidden", re.IGNORECASE), AuthenticationError),
    (re.compile(r"invalid|not found|not supported|unsupported|deprecated|too long|missing", re.IGNORECASE), BadRequest),
)
# The model's card: no more than 250 characters a request, 140 are best.
_MOST_CHARACTERS = 250
_FEWEST_CHARACTERS = 12
# Requests that are asked for at a time over a websocket: one is spoken, one is ready when it ends.
_AHEAD = 2
# Seconds of silence after which a request is over if the server has begun or ended another one since.
_OVERTAKEN = 1.0
# Past requests and contexts that are known again, should the server go on about one.
_REMEMBERED = 64
# Seconds of silence after a `complete` of a closed context: as others wait, who saw several for one context.
_AFTER_COMPLETE = 0.6
# Seconds in which a cancelled context falls silent, if the server has heard of it.
_AFTER_CANCEL = 1.0


class _Words(msgspec.Struct):
    message: str = ""
    code: str | int | None = None


class _Status(msgspec.Struct):
    """What all messages may have; errors have several shapes."""

    status: str = ""
    message: str | None = None
    error: _Words | str | None = None

    @property
    def failed(self) -> bool:
        return self.error is not None or self.status == "error"


class _Data(msgspec.Struct):
    """What a message brings: audio, or the times of a word."""

    audio: str = ""
    word: str = ""
    start: float = 0.0
    end: float = 0.0


class _Notice(_Status):
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
            return Audio(turn, decode_audio(self.audio, _NAME))
        return None


class _ServerSentEvent(_Status):
    audio: str = ""
    done: bool = False


def _error(dialect: TTSDialect, told: _Status) -> ProviderError:
    """The error that a message tells: by its number, if it has one, or else by its words."""
    error = told.error if isinstance(told.error, _Words) else _Words(told.error or told.message or "")
    status = error.code if isinstance(error.code, int) and 400 <= error.code < 600 else None
    words = error.message or str(error.code or "")
    kind = next((kind for pattern, kind in _BLAME if pattern.search(words)), ProviderError)
    return dialect.error(error_class(status) if status else kind, words, status=status, code=error.code)


def _new_line(turn: int, options: SmallestAITTS, ahead: int) -> RequestLine:
    """The requests of a turn: a sentence each, if they are not to be cut at flushes only."""

    def ask(request: Request) -> Message:
        return encode_json(options._request() | {"text": request.text, "request_id": request.id})

    splitter = SentenceSplitter(min_chars=_FEWEST_CHARACTERS, max_chars=_MOST_CHARACTERS)
    cut = splitter if options.sentence_streaming else None
    return RequestLine(turn, _NAME, ask, _MOST_CHARACTERS, splitter=cut, ahead=ahead)


class HTTPDialect(BodiesDialect):
    """Requests over HTTP."""

    provider = _NAME

    def __init__(self, options: SmallestAITTS, clock: Callable[[], float]) -> None:
        super().__init__(clock, events=options.sse)

    def _new_line(self, turn: int, options: SmallestAITTS) -> RequestLine:
        return _new_line(turn, options, ahead=1)

    def _event(self, data: str) -> BodyEvent:
        event = decode_json(data, _ServerSentEvent, _NAME)
        return BodyEvent(event.audio, event.done, _error(self, event) if event.failed else None)

    def _refusal(self, body: str) -> ProviderError:
        return _error(self, decode_json(body, _Status, _NAME))


class SocketDialect(RequestsDialect):
    """Requests over a websocket: everything names the request that it is of, by our id, or at least by the server's."""

    provider = _NAME

    def __init__(self, options: SmallestAITTS, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self._inferred_end = options.inferred_end
        self._ahead = 1
        self._echo = False  # the server tells our ids: only then can two requests be told apart
        self._past: deque[Request] = deque(maxlen=_REMEMBERED)  # those that are over

    @property
    def awaiting(self) -> bool:
        first = self._line.first if self._line is not None else None
        return first is not None and first.sent and not first.heard

    def receive(self, message: Message) -> Iterable[Event]:
        if isinstance(message, bytes):
            return ()  # all is text here
        notice, line = decode_json(message, _Notice, _NAME), self._asking
        self.request_id = notice.request_id or self.request_id
        if notice.failed:
            # If nothing is asked, it may be that nothing was said for a minute: what it leads to will be told.
            return () if line is None else self._on_error(line, notice)
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

    def _new_line(self, turn: int, options: SmallestAITTS) -> RequestLine:
        return _new_line(turn, options, self._ahead)

    def _on_notice(self, line: RequestLine, request: Request, notice: _Notice) -> Iterator[Event]:
        if notice.external_request_id is not None and not self._echo:
            self._echo = True
            self._ahead = line.ahead = _AHEAD
            yield from line.replies()
        request.their_id = notice.request_id or request.their_id
        begun = request.heard
        if notice.status == "complete":
            self._past.append(request)
            yield from self._finish(line, request)
        elif (event := notice.event(line.turn)) is not None:
            yield from line.take(request, event)
        else:
            return  # nothing of the request, so its silence goes on
        self._wait(line, request, new=request.over or request.heard is not begun)

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

    def _named(self, notice: _Notice) -> Request | None:
        """The request that a message names, by our id, or by the server's where ours is not told."""
        asked = self._line.asked if self._line is not None else []
        ours, theirs = notice.external_request_id, notice.request_id
        for request in (*asked, *self._past):
            if (ours == request.id) if ours is not None else (theirs is not None and theirs == request.their_id):
                return request
        return None

    def _find(self, notice: _Notice) -> Request | None:
        """The request that a message is of; None if it is of none that is known."""
        theirs, named, line = notice.request_id, self._named(notice), self._asking
        if named is not None or notice.external_request_id is not None or line is None:
            return named
        possible = [each for each in line.asked if theirs is None or each.their_id is None]
        if len(possible) > 1:
            raise ProtocolError("a message that may be of two requests", provider=_NAME)
        if not possible or (theirs is None and notice.status == "complete" and possible[0].lacks_audio):
            return None  # the end of the one before it, told twice
        return possible[0]

    def _on_past(self, request: Request | None, notice: _Notice) -> Iterable[Event]:
        size = audio_size(notice.audio)
        if size and self._line is not None and request is not None and request.inferred:
            raise ProtocolError("audio of a sentence came after its end was inferred", provider=_NAME)
        return (Late(size),)

    def _on_error(self, line: RequestLine, notice: _Notice) -> Iterable[Event]:
        error, request = _error(self, notice), self._named(notice)
        if request is None or request.over:
            # An id of the server's that is not known yet tells nothing: what is refused was asked for last.
            request = line.asked[-1]
        if isinstance(error, RateLimited) and request is not line.first and not request.heard:
            # It does not take requests ahead: this one is asked for again when its turn comes.
            line.put_back(request)
            self._ahead = 1
            return (Answered(line.turn),)
        return (Failed(line.turn, error),)


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
        requests: the server's ids of what came of it.
    """

    turn: int
    options: SmallestAITTS
    id: str = attrs.Factory(lambda: uuid.uuid4().hex)
    said: bool = False
    complete: bool = False
    heard: bool = False
    completed: bool = False
    requests: set[str | None] = attrs.Factory(set)

    def message(self, **more: object) -> Message:
        return encode_json(self.options._request() | {"context_id": self.id} | more)

    def part(self, text: str, *, more: bool) -> Message:
        return self.message(**{"text": text, "request_id": self.id, "continue": more})


class ContextsDialect(PatientDialect):
    """Continuations: a context for each turn, which the server cuts into sentences itself.

    Several requests come of a context, each with a ``complete``, and nothing tells the last; so the end is inferred
    from silence.  What comes names our `request_id` if the server echoes it; where it does not, a link carries one
    turn.
    """

    provider = _NAME

    def __init__(self, options: SmallestAITTS, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self._inferred_end = options.inferred_end
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

    def begin(self, turn: int, options: SmallestAITTS) -> None:
        self._context = _Context(turn, options)
        self.patient_until = None

    def say(self, text: str) -> Iterator[Step]:
        context = self._of_turn
        self._used += not context.said
        context.said = True
        context.completed = False
        yield context.part(text, more=True)

    def flush(self) -> Iterator[Step]:
        """Nothing: a context is spoken at its sentences' ends, or after `max_buffer_delay_ms`; there is no flush."""
        return iter(())

    def end(self) -> Iterator[Step]:
        context = self._of_turn
        context.complete = True
        self._wait(context)
        yield context.part("", more=False) if context.said else Ended(context.turn)

    def cancel(self, turn: int) -> Sequence[Message] | None:
        context = self._context
        if context is None or context.turn != turn:
            return ()
        self._context = self.patient_until = None
        if not context.said:
            return ()
        self._cancelled.append((context.id, self.now() + _AFTER_CANCEL))
        return (context.message(cancel_request=True),) if self._echo else None

    def receive(self, message: Message) -> Iterable[Event]:
        if isinstance(message, bytes):
            return ()  # all is text here
        notice = decode_json(message, _Notice, _NAME)
        self.request_id = notice.request_id or self.request_id
        name = notice.external_request_id
        context = self._context if self._context is not None and self._context.said else None
        if notice.failed:
            # One that names nothing is about what is under way.
            own = context is not None and name in (None, context.id)
            return (Failed(context.turn, _error(self, notice)),) if context is not None and own else ()
        self._echo = self._echo or name is not None
        if context is None or not self._is_of(context, notice):
            return list(self._on_past(notice))
        return self._on_notice(context, notice)

    def lapse(self) -> Iterable[Event]:
        context, self._context, self.patient_until = self._context, None, None
        return () if context is None else (Ended(context.turn, inferred=True),)

    @property
    def _of_turn(self) -> _Context:
        assert self._context is not None, "steps are of a turn that was begun"
        return self._context

    def _wait(self, context: _Context) -> None:
        """Measure the silence after all that was asked for, if something was heard of it."""
        silence = min(_AFTER_COMPLETE, self._inferred_end) if context.completed else self._inferred_end
        self.patient_until = self.now() + silence if context.complete and context.heard else None

    def _is_of(self, context: _Context, notice: _Notice) -> bool:
        """Whether a message is of this context, by our id, by the server's, or as there was no other on the link."""
        if notice.external_request_id is not None:
            return notice.external_request_id == context.id
        return self._used == 1 or (notice.request_id is not None and notice.request_id in context.requests)

    def _on_notice(self, context: _Context, notice: _Notice) -> Iterable[Event]:
        event: Event | None = notice.event(context.turn)
        completed = notice.status == "complete" and not context.completed
        if event is None and not completed:
            return ()  # nothing of the context, so its silence goes on
        context.completed = completed
        context.heard = context.heard or isinstance(event, Audio)
        self._wait(context)
        if notice.request_id in context.requests:
            return (event or Answered(context.turn),)
        context.requests.add(notice.request_id)
        return (TimesRestart(context.turn), event or Answered(context.turn))

    def _on_past(self, notice: _Notice) -> Iterator[Event]:
        yield Late(audio_size(notice.audio))
        name = notice.external_request_id
        if notice.audio and any(name == cancelled and self.now() > until for cancelled, until in self._cancelled):
            # What is asked for next would wait until it is over.
            self._deaf = True
            if self._context is None or not self._context.heard:
                words = "a context is still spoken that was cancelled"
                yield Failed(None, LinkStalled(words, provider=_NAME, code=1006))
