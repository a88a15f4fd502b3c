"""Smallest AI's requests, over a websocket and over HTTP; a request is a sentence."""

from __future__ import annotations

import abc
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from ._dialect import Answered, Audio, Event, Failed, Late, Refused, Spoken, Step
from ._json import audio_size, decode_audio, decode_json
from ._link.link import Message
from ._requests import Request, RequestLine
from ._smallest_messages import Event as ServerSentEvent
from ._smallest_messages import Notice, Options, SmallestDialect, Status, encode
from ._sse import EventDecoder
from .errors import LinkClosed, ProtocolError, RateLimited
from .text import SentenceSplitter
from .turn import Word

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
# Bytes of a refusal, and of the name of a file's format.
_MOST_WORDS = 65_536
_RIFF = b"RIFF"


class _RequestsDialect(SmallestDialect, abc.ABC):
    """A request for each sentence.  There is no cancellation: while one is under way, the link is given up."""

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

        self._line = RequestLine(
            turn,
            self.provider,
            ask,
            options.audio_format,
            most_characters=_MOST_CHARACTERS,
            splitter=SentenceSplitter(min_chars=_FEWEST_CHARACTERS, max_chars=_MOST_CHARACTERS)
            if options.sentence_streaming
            else None,
            ahead=self._ahead,
        )
        self._patient_until = None

    def say(self, text: str) -> Iterator[Step]:
        return self._of_turn.say(text)

    def flush(self) -> Iterator[Step]:
        return self._of_turn.flush()

    def end(self) -> Iterator[Step]:
        return self._of_turn.end()

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

    def _finish(self, line: RequestLine, request: Request) -> list[Event]:
        self._patient_until = None
        return [*line.finish(request), *line.replies()]

    def _finish_and_leave(self, line: RequestLine, request: Request) -> list[Event]:
        """The link can carry nothing behind this request, of which more may come: the rest goes to another one."""
        self._patient_until = None
        events = list(line.finish(request))
        left = LinkClosed("what is left of a request cannot be told from the next", provider=self.provider, code=1006)
        return events if line.ended else [*events, Failed(line.turn, left)]


class SocketDialect(_RequestsDialect):
    """Requests over a websocket: everything names the request that it is of, by our id, or at least by the server's."""

    def __init__(self, options: Options, clock: Callable[[], float]) -> None:
        super().__init__(options, clock)
        self._echo = False  # the server tells our ids: only then can two requests be told apart
        self._over: deque[str] = deque(maxlen=_REMEMBERED)  # the server's ids of requests that are over
        self._inferred: set[str | None] = set()  # both ids of those whose end was inferred

    def lapse(self) -> Iterable[Event]:
        line = self._line
        if line is None or (first := line.first) is None:
            return ()
        self._doubtful = line.inferred = True
        self._inferred |= {first.id, first.their_id} - {None}
        if self._echo or first.their_id is not None:
            return self._finish(line, first)
        return self._finish_and_leave(line, first)

    def receive(self, message: Message) -> Iterable[Event]:
        if isinstance(message, bytes):
            return ()  # all is text here
        notice = decode_json(message, Notice, self.provider)
        self.request_id = notice.request_id or self.request_id
        line = self._line
        if line is None or not line.asked:
            # An error may be that nothing was said for a minute: what it leads to will be told.
            return () if notice.failure is not None else self._on_past(notice)
        if notice.failure is not None:
            return self._on_error(line, notice)
        request = self._find(line, notice)
        if isinstance(request, Failed):
            return (request,)
        return self._on_past(notice) if request is None else list(self._on_notice(line, request, notice))

    def _on_notice(self, line: RequestLine, request: Request, notice: Notice) -> Iterator[Event]:
        if notice.external_request_id is not None and not self._echo:
            self._echo = True
            self._ahead = line.ahead = _AHEAD
            yield from line.replies()
        request.their_id = notice.request_id or request.their_id
        data, begun = notice.data, request.heard
        match notice.status:
            case "chunk" if data.audio:
                yield from line.take(request, Audio(line.turn, decode_audio(data.audio, self.provider)))
            case "word_timestamp":
                yield from line.take(request, Spoken(line.turn, (Word(data.word, data.start, data.end),)))
            case "complete":
                if request.their_id is not None:
                    self._over.append(request.their_id)
                yield from self._finish(line, request)
            case _:
                return
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

    def _find(self, line: RequestLine, notice: Notice) -> Request | Failed | None:
        """The request that a message is of; None if it is over."""
        ours, theirs = notice.external_request_id, notice.request_id
        if ours is not None:
            return next((request for request in line.asked if request.id == ours), None)
        if theirs is not None and (theirs in self._over or theirs in self._inferred):
            return None
        # The one that has this id, else the one that it can be of as the others have other ids.
        named = [request for request in line.asked if theirs is not None and request.their_id == theirs]
        candidates = named or [request for request in line.asked if theirs is None or request.their_id is None]
        if theirs is None and len(candidates) == 1 and notice.status == "complete":
            [request] = candidates
            if request.speakable and not request.heard:
                return None  # the end of the one before it, told twice
        if len(candidates) > 1:
            return Failed(line.turn, ProtocolError("a message that may be of two requests", provider=self.provider))
        return candidates[0] if candidates else None

    def _on_past(self, notice: Notice) -> Iterable[Event]:
        size = audio_size(notice.data.audio)
        if size and self._line is not None and {notice.external_request_id, notice.request_id} & self._inferred:
            error = ProtocolError("audio of a sentence came after its end was inferred", provider=self.provider)
            return (Failed(self._line.turn, error),)
        return (Late(size),) if size else ()

    def _on_error(self, line: RequestLine, notice: Notice) -> Iterable[Event]:
        # An id of the server's that is not known yet tells nothing: what is refused was asked for last.
        asked = line.asked
        ours, theirs = notice.external_request_id, notice.request_id
        named = (each for each in asked if ours == each.id or (theirs is not None and theirs == each.their_id))
        request = next(named, asked[-1])
        error = notice.as_failure()
        if isinstance(error, RateLimited) and request is not asked[0] and not request.heard:
            # It does not take requests ahead: this one is asked for again when its turn comes.
            line.put_back(request)
            self._ahead = 1
            return (Answered(line.turn),)
        return (Refused(line.turn, error),)


class HTTPDialect(_RequestsDialect):
    """Requests over HTTP, one after another on a connection that is kept alive; bodies are bare PCM."""

    _playable = re.compile(r"audio/.*(wav|pcm|l16|raw)|.*/octet-stream")

    def __init__(self, options: Options, clock: Callable[[], float]) -> None:
        super().__init__(options, clock)
        self._start()

    def _start(self) -> None:
        """A body begins."""
        self._refusal: bytes | None = None  # what it says, if it is one
        self._head: bytes | None = b""  # the body's, until it is known to be no file

    @property
    def awaiting(self) -> bool:
        return self._line is not None and bool(self._line.asked)

    def receive(self, message: Message) -> Iterable[Event]:
        line = self._line
        if line is None or not line.asked:
            return (Late(len(message)),) if isinstance(message, bytes) else ()
        if isinstance(message, str):
            return self._on_headers(line, msgspec.json.decode(message, type=dict[str, str]))
        if self._refusal is not None:
            return self._on_refusal(line, self._refusal + message, whole=not message)
        return self._on_body(line, message) if message else self._on_end(line)

    def lapse(self) -> Iterable[Event]:
        if self._line is None or self._line.first is None:
            return ()
        self._doubtful = True
        return self._finish_and_leave(self._line, self._line.first)

    def _on_headers(self, line: RequestLine, headers: dict[str, str]) -> Iterable[Event]:
        self._start()
        self.request_id = headers.get("x-request-id", self.request_id)
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind.endswith("json"):
            self._refusal = b""
        elif kind and not self._playable.fullmatch(kind):
            return (self._unknown(line, f"a response that is {kind}"),)
        return ()

    def _on_refusal(self, line: RequestLine, words: bytes, *, whole: bool) -> Iterable[Event]:
        self._refusal = words
        if len(words) > _MOST_WORDS:
            return (self._unknown(line, "a long response that is JSON"),)
        told = decode_json(words.decode(errors="replace"), Status, self.provider) if whole else None
        return () if told is None else (Refused(line.turn, told.as_failure()),)

    def _on_body(self, line: RequestLine, pcm: bytes) -> Iterable[Event]:
        if self._head is not None:
            pcm = self._head + pcm
            self._head = pcm if len(pcm) < len(_RIFF) else None
            if self._head is not None:
                return ()
            if pcm.startswith(_RIFF):
                return (self._unknown(line, "a WAV file where bare PCM was asked for"),)
        return list(line.take(line.requests[0], Audio(line.turn, pcm)))

    def _on_end(self, line: RequestLine) -> Iterable[Event]:
        request = line.requests[0]
        short = list(line.take(request, Audio(line.turn, self._head))) if self._head else []
        return short + self._finish(line, request)

    def _unknown(self, line: RequestLine, what: str) -> Failed:
        return Failed(line.turn, ProtocolError(what, provider=self.provider))


class EventsDialect(HTTPDialect):
    """Requests over HTTP, whose bodies are server-sent events; the last of them says so."""

    _playable = re.compile(r"text/event-stream")

    def _start(self) -> None:
        super()._start()
        self._events = EventDecoder(self.provider)
        self._done = False

    def _on_body(self, line: RequestLine, data: bytes) -> Iterator[Event]:
        # One by one: what came before a broken one is heard.
        for text in self._events.feed(data):
            if self._line is not line:
                return  # it was cancelled while the last one was handled
            event = decode_json(text, ServerSentEvent, self.provider)
            if event.failure is not None:
                yield Refused(line.turn, event.failure)
            elif event.audio:
                yield from line.take(line.requests[0], Audio(line.turn, decode_audio(event.audio, self.provider)))
            if event.done and not self._done:
                self._done = True
                self._patient_until = self._now() + _BODY_END

    def _on_end(self, line: RequestLine) -> Iterable[Event]:
        if self._done:
            return self._finish(line, line.requests[0])
        cut = LinkClosed("the events ended before they were done", provider=self.provider, code=1006)
        return (Failed(line.turn, cut),)
