"""Smallest AI's requests, over a websocket and over HTTP; a request is a sentence."""

from __future__ import annotations

import abc
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from ._dialect import Answered, Audio, Event, Failed, Late, Step
from ._json import audio_size, decode_audio, decode_json
from ._link.dialect import Message
from ._requests import Request, RequestLine
from ._smallest_messages import Event as ServerSentEvent
from ._smallest_messages import Notice, Options, SmallestDialect, Status, encode
from ._sse import EventDecoder
from .errors import LinkClosed, ProtocolError, ProviderError, RateLimited
from .text import SentenceSplitter

# The model's card: no more than 250 characters a request, 140 are best.
_MOST_CHARACTERS = 250
_FEWEST_CHARACTERS = 12
# Requests that are asked for at a time over a websocket: one is spoken, one is ready when it ends.
_AHEAD = 2
# Seconds of silence after which a request is over if the server has begun or ended another one since.
_OVERTAKEN = 1.0
# Ids of past requests that are known again, should the server say something twice.
_REMEMBERED = 64
# Seconds in which a body ends of which all was said.
_BODY_END = 0.5
# Bytes of a refusal.
_MOST_WORDS = 65_536
# So a WAV file begins.
_RIFF = b"RIFF"


class _RequestsDialect(SmallestDialect, abc.ABC):
    """A request for each sentence.  There is no cancellation: while one is under way, the link is given up."""

    needs_words = True
    _ahead = 1

    def __init__(self, options: Options, clock: Callable[[], float]) -> None:
        super().__init__(options, clock)
        self._line: RequestLine | None = None
        self._patient_until: float | None = None  # after that silence is an end
        self._doubtful = False  # of a request that we took for over more may come

    @property
    def awaiting(self) -> bool:
        first = self._line.first if self._line is not None else None
        return first is not None and first.sent and not first.heard

    @property
    def spent(self) -> bool:
        return self._doubtful

    @property
    def expires(self) -> float | None:
        return self._at(self._patient_until)

    def begin(self, turn: int, options: Options) -> None:
        def ask(request: Request) -> Message:
            return encode(options, {"text": request.text, "request_id": request.id})

        splitter = SentenceSplitter(min_chars=_FEWEST_CHARACTERS, max_chars=_MOST_CHARACTERS)
        cut = splitter if options.sentence_streaming else None
        self._line = RequestLine(turn, self.provider, ask, _MOST_CHARACTERS, splitter=cut, ahead=self._ahead)
        self._patient_until = None

    def say(self, text: str) -> Iterator[Step]:
        yield from self._of_turn.say(text)

    def flush(self) -> Iterator[Step]:
        yield from self._of_turn.flush()

    def end(self) -> Iterator[Step]:
        yield from self._of_turn.end()

    def cancel(self, turn: int) -> Sequence[Message] | None:
        line = self._line
        if line is None or line.turn != turn:
            return ()
        self._line = self._patient_until = None
        return None if any(request.sent for request in line.requests) else ()

    @property
    def _of_turn(self) -> RequestLine:
        assert self._line is not None
        return self._line

    @property
    def _asking(self) -> RequestLine | None:
        """The turn's requests, if one is under way."""
        return self._line if self._line is not None and self._line.asked else None

    def _finish(self, line: RequestLine, request: Request) -> list[Event]:
        self._patient_until = None
        return [*line.finish(request), *line.replies()]

    def _finish_and_leave(self, line: RequestLine, request: Request) -> list[Event]:
        """The link can carry nothing behind this request, of which more may come: the rest goes to another one."""
        self._patient_until, self._doubtful = None, True
        events = list(line.finish(request))
        left = LinkClosed("what is left of a request cannot be told from the next", provider=self.provider, code=1006)
        return events if line.ended else [*events, Failed(None, left)]


class SocketDialect(_RequestsDialect):
    """Requests over a websocket: everything names the request that it is of, by our id, or at least by the server's."""

    def __init__(self, options: Options, clock: Callable[[], float]) -> None:
        super().__init__(options, clock)
        self._echo = False  # the server tells our ids: only then can two requests be told apart
        self._past: deque[str | None] = deque(maxlen=_REMEMBERED)  # the server's ids of requests that are over
        self._inferred: set[str | None] = set()  # both ids of those whose end was inferred

    def lapse(self) -> Iterable[Event]:
        line = self._line
        if line is None or (first := line.first) is None:
            return ()
        line.inferred = True
        self._inferred |= {first.id, first.their_id} - {None}
        if not self._echo and first.their_id is None:
            return self._finish_and_leave(line, first)
        self._doubtful = True
        events = self._finish(line, first)
        self._wait(line, first, new=True)
        return events

    def receive(self, message: Message) -> Iterable[Event]:
        if isinstance(message, bytes):
            return ()  # all is text here
        notice, line = decode_json(message, Notice, self.provider), self._asking
        self.request_id = notice.request_id or self.request_id
        if (failure := notice.failure) is not None:
            # If nothing is asked, it may be that nothing was said for a minute: what it leads to will be told.
            return () if line is None else self._on_error(line, notice, failure)
        request = None if line is None else self._find(line, notice)
        if line is None or request is None:
            return self._on_past(notice)
        return list(self._on_notice(line, request, notice))

    def _on_notice(self, line: RequestLine, request: Request, notice: Notice) -> Iterator[Event]:
        if notice.external_request_id is not None and not self._echo:
            self._echo = True
            self._ahead = line.ahead = _AHEAD
            yield from line.replies()
        request.their_id = notice.request_id or request.their_id
        begun = request.heard
        match notice.status:
            case "complete":
                self._past.append(request.their_id)
                yield from self._finish(line, request)
            case "chunk" | "word_timestamp" if (event := notice.event(line.turn)) is not None:
                yield from line.take(request, event)
            case _:
                return  # nothing of the request, so its silence goes on
        self._wait(line, request, new=request.over or request.heard is not begun)

    def _wait(self, line: RequestLine, request: Request, *, new: bool) -> None:
        """Measure the silence of the first request, which what comes of another one tells nothing about.

        But if it begins or ends, which is `new`, the server has perhaps gone on from the first.
        """
        now, first = self._now(), line.first
        if first is None or not first.heard:
            self._patient_until = None
        elif first is request or self._patient_until is None:
            self._patient_until = now + self._inferred_end
        elif new:
            self._patient_until = min(self._patient_until, now + _OVERTAKEN)

    def _named(self, line: RequestLine, notice: Notice) -> Request | None:
        """The request that a message names, by our id, or by the server's where ours is not told."""
        ours, theirs = notice.external_request_id, notice.request_id
        by_theirs = ours is None and theirs is not None
        return next((each for each in line.asked if ours == each.id or (by_theirs and theirs == each.their_id)), None)

    def _find(self, line: RequestLine, notice: Notice) -> Request | None:
        """The request that a message is of; None if it is over."""
        theirs, named = notice.request_id, self._named(line, notice)
        past = theirs is not None and (theirs in self._past or theirs in self._inferred)
        if named is not None or notice.external_request_id is not None or past:
            return named
        possible = [each for each in line.asked if theirs is None or each.their_id is None]
        if len(possible) > 1:
            raise ProtocolError("a message that may be of two requests", provider=self.provider)
        request = possible[0] if possible else None
        if request is not None and theirs is None and notice.status == "complete" and request.lacks_audio:
            return None  # the end of the one before it, told twice
        return request

    def _on_past(self, notice: Notice) -> Iterable[Event]:
        size = audio_size(notice.audio)
        if size and self._line is not None and {notice.external_request_id, notice.request_id} & self._inferred:
            raise ProtocolError("audio of a sentence came after its end was inferred", provider=self.provider)
        return (Late(size),)

    def _on_error(self, line: RequestLine, notice: Notice, error: ProviderError) -> Iterable[Event]:
        # An id of the server's that is not known yet tells nothing: what is refused was asked for last.
        request = self._named(line, notice) or line.asked[-1]
        if isinstance(error, RateLimited) and request is not line.first and not request.heard:
            # It does not take requests ahead: this one is asked for again when its turn comes.
            line.put_back(request)
            self._ahead = 1
            return (Answered(line.turn),)
        return (Failed(line.turn, error),)


class HTTPDialect(_RequestsDialect):
    """Requests over HTTP, one after another on a connection that is kept alive; bodies are bare PCM."""

    _playable = re.compile(r"audio/.*(wav|pcm|l16|raw)|.*/octet-stream|")

    def __init__(self, options: Options, clock: Callable[[], float]) -> None:
        super().__init__(options, clock)
        self._begin_body()

    def _begin_body(self) -> None:
        self._read: Callable[[RequestLine, Request, bytes], Iterable[Event]] = self._read_audio
        self._kept = b""  # of the body, for what comes next

    @property
    def awaiting(self) -> bool:
        return self._asking is not None

    def receive(self, message: Message) -> Iterable[Event]:
        line = self._asking
        if line is None:
            return (Late(len(message)),) if isinstance(message, bytes) else ()
        if isinstance(message, bytes):
            return self._read(line, line.requests[0], message)
        headers = msgspec.json.decode(message, type=dict[str, str])
        self.request_id = headers.get("x-request-id", self.request_id)
        self._begin_body()
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind.endswith("json"):
            self._read = self._read_refusal
        elif not self._playable.fullmatch(kind):
            raise ProtocolError(f"a response that is {kind}", provider=self.provider)
        return ()

    def lapse(self) -> Iterable[Event]:
        """All was said, and the body does not end."""
        return self._finish_and_leave(self._line, self._line.requests[0]) if self._line is not None else ()

    def _read_audio(self, line: RequestLine, request: Request, data: bytes) -> Iterable[Event]:
        pcm = self._kept + data
        self._kept = pcm if data and not request.heard and len(pcm) < len(_RIFF) else b""
        if self._kept:
            return ()
        if not request.heard and pcm.startswith(_RIFF):
            raise ProtocolError("a WAV file where bare PCM was asked for", provider=self.provider)
        events = list(line.take(request, Audio(line.turn, pcm))) if pcm else []
        return events if data else events + self._finish(line, request)

    def _read_refusal(self, line: RequestLine, _: Request, data: bytes) -> Iterable[Event]:
        self._kept += data
        if len(self._kept) > _MOST_WORDS:
            raise ProtocolError("a long response that is JSON", provider=self.provider)
        if data:
            return ()
        return (Failed(line.turn, decode_json(self._kept.decode(errors="replace"), Status, self.provider).blame()),)


class EventsDialect(HTTPDialect):
    """Requests over HTTP, whose bodies are server-sent events; the last of them says so."""

    _playable = re.compile(r"text/event-stream|")

    def _begin_body(self) -> None:
        super()._begin_body()
        self._events = EventDecoder(self.provider)
        self._patient_until = None  # set when all was said

    def _read_audio(self, line: RequestLine, request: Request, data: bytes) -> Iterator[Event]:
        # One by one: what came before a broken one is heard.
        for text in self._events.feed(data):
            if self._line is not line:
                return  # it was cancelled while the last one was handled
            event = decode_json(text, ServerSentEvent, self.provider)
            if event.failure is not None:
                yield Failed(line.turn, event.failure)
            elif event.audio:
                yield from line.take(request, Audio(line.turn, decode_audio(event.audio, self.provider)))
            if event.done and self._patient_until is None:
                self._patient_until = self._now() + _BODY_END
        if data:
            return
        if self._patient_until is None:
            raise LinkClosed("the events ended before they were done", provider=self.provider, code=1006)
        yield from self._finish(line, request)
