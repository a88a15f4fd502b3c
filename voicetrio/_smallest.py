"""The dialects of Smallest AI: requests over a websocket, requests over HTTP, and continuations.

A request is a sentence.  Requests are asked for ahead, and what comes of one is held until the one before it is over,
so that nothing is between two sentences and their order is kept, in whichever order the server speaks them.
"""

from __future__ import annotations

import abc
import re
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import attrs
import msgspec

from ._dialect import Answered, Audio, Ended, Event, Failed, Late, Reached, Refused, Reply, Spoken, Step
from ._dialect import TTSDialect as TTSDialect
from ._json import audio_size, decode_audio, decode_json
from ._link.link import Message
from ._sse import EventDecoder
from .errors import (
    AuthenticationError,
    BadRequest,
    LinkClosed,
    NoAudio,
    ProtocolError,
    ProviderError,
    RateLimited,
    error_class,
)
from .text import SentenceSplitter, split_text
from .turn import Word

if TYPE_CHECKING:
    from .smallest import SmallestAITTS

# The model's card: no more than 250 characters a request, 140 are best.
_MOST_CHARACTERS = 250
_FEWEST_CHARACTERS = 12
# Requests that are asked for at a time over a websocket: one is spoken, one is ready when it ends.
_AHEAD = 2
# Seconds of silence after which a request is over of which the server has gone on to the next.
_OVERTAKEN = 1.0
# The server's ids of past requests that are known again, should it say something twice.
_REMEMBERED = 32
# Seconds of silence after a `complete` of a closed context: as others wait, who saw several for one context.
_AFTER_COMPLETE = 0.6

# Errors have words and no codes: what the words are about.
_BLAME: tuple[tuple[re.Pattern[str], type[ProviderError]], ...] = (
    (re.compile(r"concurren|rate.?limit|too many|limit exceeded", re.IGNORECASE), RateLimited),
    (re.compile(r"unauthori|api.?key|token|forbidden", re.IGNORECASE), AuthenticationError),
    (re.compile(r"invalid|not found|not supported|unsupported|deprecated|too long|missing", re.IGNORECASE), BadRequest),
)


class _Error(msgspec.Struct):
    message: str = ""
    code: str | int | None = None


class _Data(msgspec.Struct):
    audio: str = ""
    word: str = ""
    start: float = 0.0
    end: float = 0.0


class _Status(msgspec.Struct):
    """What all messages may have; errors have several shapes."""

    status: str = ""
    message: str | None = None
    error: _Error | str | None = None

    @property
    def failure(self) -> _Error | None:
        if isinstance(self.error, _Error):
            return self.error
        if self.error is None and self.status != "error":
            return None
        return _Error(self.error or self.message or "an error without a word")


class _Notice(_Status):
    """Any message of the server's socket."""

    request_id: str | None = None
    external_request_id: str | None = None
    data: _Data | None = None


@attrs.define(eq=False)
class _Request:
    """One sentence.

    Attributes:
        id: ours, which the server echoes.
        text: what it says.
        end: how many characters of the turn are said with it.
        server_id: the server's, once it is known.
        sent: whether it is on the wire.
        heard: whether audio of it has come.
        over: whether all of it has come.
        held: what came of it before the request ahead of it was over.
    """

    id: str
    text: str
    end: int
    server_id: str | None = None
    sent: bool = False
    heard: bool = False
    over: bool = False
    held: list[Audio | Spoken] = attrs.Factory(list)


class _Dialect(TTSDialect):
    """What all three have."""

    provider = "smallest"

    def __init__(self, options: SmallestAITTS, clock: Callable[[], float]) -> None:
        self._inferred_end = options.inferred_end
        self._clock = clock
        self._heard_at = 0.0  # when something last came of what is being spoken
        self._forget()

    def _forget(self) -> None:
        self._turn: int | None = None
        self._options: SmallestAITTS | None = None
        self._complete = False  # the turn's text is all there
        self._bytes = 0  # of the turn's audio

    def begin(self, turn: int, options: SmallestAITTS) -> None:
        self._forget()
        self._turn = turn
        self._options = options

    def missed(self, seconds: float) -> None:
        self._heard_at += seconds

    def _seconds(self, size: int) -> float:
        assert self._options is not None
        return size / (self._options.audio_format.sample_width * self._options.sample_rate)

    def _encode(self, more: dict[str, object]) -> Message:
        assert self._options is not None
        return msgspec.json.encode(self._options._request() | more).decode()

    def _error(self, failure: _Error) -> ProviderError:
        status = failure.code if isinstance(failure.code, int) and 400 <= failure.code < 600 else None
        words = failure.message or str(failure.code)
        kind = next((kind for pattern, kind in _BLAME if pattern.search(words)), ProviderError)
        return (error_class(status) if status else kind)(
            words, provider=self.provider, request_id=self.request_id, status=status, code=failure.code, reason=words
        )


class _RequestsDialect(_Dialect, abc.ABC):
    """A request for each sentence."""

    ahead = 1

    def _forget(self) -> None:
        super()._forget()
        self._splitter: SentenceSplitter | None = None
        self._text = ""  # without a splitter: what was said since the last flush
        self._lead = ""  # white space that will be said with what follows it
        self._requests: deque[_Request] = deque()  # that are not over
        self._characters = 0  # of the turn, in requests
        self._begin = 0  # bytes of the turn's audio before the first of them
        self._inferred = False  # the end of a request of the turn

    @abc.abstractmethod
    def _ask(self, request: _Request) -> Message:
        """The message that asks for a request."""

    def begin(self, turn: int, options: SmallestAITTS) -> None:
        super().begin(turn, options)
        if options.sentence_streaming:
            self._splitter = SentenceSplitter(min_chars=_FEWEST_CHARACTERS, max_chars=_MOST_CHARACTERS)

    @property
    def awaiting(self) -> bool:
        return bool(self._requests) and self._requests[0].sent and not self._requests[0].heard

    def say(self, text: str) -> Iterator[Step]:
        if self._splitter is None:
            self._text += text
            return
        for sentence in self._splitter.feed(text):
            self._add(sentence)
        yield from self._ask_ahead()

    def flush(self) -> Iterator[Step]:
        text, self._text = self._text, ""
        self._add(self._splitter.flush() if self._splitter is not None else text)
        yield from self._ask_ahead()

    def end(self) -> Iterator[Step]:
        self._complete = True
        yield from self.flush()
        if not self._requests:
            assert self._turn is not None
            yield Ended(self._turn, self._inferred)

    def cancel(self, turn: int) -> Sequence[Message] | None:
        if turn != self._turn:
            return ()
        under_way = any(request.sent for request in self._requests)
        self._forget()
        return None if under_way else ()

    def _add(self, text: str) -> None:
        """Put text in the line of requests."""
        text = self._lead + text
        self._lead = "" if text.strip() else text
        for piece in split_text(text, _MOST_CHARACTERS) if not self._lead else ():
            self._characters += len(piece)
            if piece.strip():
                self._requests.append(_Request(uuid.uuid4().hex, piece, self._characters))

    def _ask_ahead(self) -> Iterator[Message]:
        """Ask for the requests whose turn it is to be asked for."""
        for request in list(self._requests)[: self.ahead]:
            if not request.sent:
                request.sent = True
                yield self._ask(request)

    def _take(self, request: _Request, event: Audio | Spoken) -> Iterator[Event]:
        """What came of a request: now, if it is the first in the line, else later."""
        if isinstance(event, Audio) and event.pcm:
            request.heard = True
        if self._requests[0] is request:
            yield self._place(event)
        else:
            request.held.append(event)
            yield Answered(event.turn)

    def _place(self, event: Audio | Spoken) -> Event:
        if isinstance(event, Audio):
            self._bytes += len(event.pcm)
            return event
        begin = self._seconds(self._begin)
        return Spoken(event.turn, tuple(word.shifted(begin) for word in event.words))

    def _over(self, request: _Request) -> Iterator[Event]:
        """All of a request has come."""
        assert self._turn is not None
        turn = self._turn
        request.over = True
        while self._requests and self._requests[0].over:
            first = self._requests.popleft()
            self._heard_at = self._clock()
            if not first.heard and any(map(str.isalnum, first.text)):
                error = NoAudio("a sentence came without any audio", provider=self.provider, request_id=self.request_id)
                yield Refused(turn, error)
                return
            self._begin = self._bytes
            yield Reached(turn, first.end)
            for event in self._requests[0].held if self._requests else ():
                yield self._place(event)
        for message in self._ask_ahead():
            yield Reply(turn, message)
        if self._complete and not self._requests:
            yield Ended(turn, self._inferred)


class SocketDialect(_RequestsDialect):
    """Requests over a websocket: everything names the request that it is of.

    There is no cancellation: the server speaks on, and the link is given up.
    """

    def __init__(self, options: SmallestAITTS, clock: Callable[[], float]) -> None:
        super().__init__(options, clock)
        self._echo = False  # the server names our requests: only then can two be told apart
        self._doubtful = False  # of a request whose end was inferred more may come
        self._past: deque[str | None] = deque(maxlen=_REMEMBERED)  # the server's ids of requests that are over

    def _forget(self) -> None:
        super()._forget()
        self._ended: set[str] = set()  # requests of the turn whose end was inferred

    @property
    def spent(self) -> bool:
        return self._doubtful

    @property
    def expires(self) -> float | None:
        if not self._requests or not self._requests[0].heard:
            return None
        overtaken = any(request.heard or request.over for request in list(self._requests)[1:])
        # What comes of the requests behind it says nothing of the first.
        return self._heard_at + (min(_OVERTAKEN, self._inferred_end) if overtaken else self._inferred_end)

    def lapse(self) -> Iterable[Event]:
        if self.expires is None:
            return ()
        self._doubtful = self._inferred = True
        self._ended.add(self._requests[0].id)
        return list(self._over(self._requests[0]))

    def receive(self, message: Message) -> Iterable[Event]:
        if isinstance(message, bytes):
            return ()  # all is text here
        notice = decode_json(message, _Notice, self.provider)
        self.request_id = notice.request_id or self.request_id
        if (failure := notice.failure) is not None:
            return self._on_error(notice, failure)
        data = notice.data or _Data()
        request = self._find(notice)
        if request is None or self._turn is None:
            return self._on_past(notice, audio_size(data.audio))
        if request is self._requests[0]:
            self._heard_at = self._clock()
        if notice.external_request_id is not None and not self._echo:
            self._echo = True
            self.ahead = _AHEAD
        asked = [Reply(self._turn, message) for message in self._ask_ahead()]
        match notice.status:
            case "chunk":
                return [*asked, *self._take(request, Audio(self._turn, decode_audio(data.audio, self.provider)))]
            case "word_timestamp":
                return [*asked, *self._take(request, Spoken(self._turn, (Word(data.word, data.start, data.end),)))]
            case "complete":
                self._past.append(notice.request_id)
                return [*asked, *self._over(request)]
        return asked

    def _ask(self, request: _Request) -> Message:
        return self._encode({"text": request.text, "request_id": request.id})

    def _find(self, notice: _Notice) -> _Request | None:
        """The request that a message is of: by our id, or if that is not echoed by the server's, in order."""
        asked = [request for request in self._requests if request.sent and not request.over]
        if notice.external_request_id is not None:
            return next((request for request in asked if request.id == notice.external_request_id), None)
        if notice.request_id is not None and notice.request_id in self._past:
            return None
        for request in asked:
            if request.server_id is None:
                request.server_id = notice.request_id
            if request.server_id == notice.request_id:
                return request
        return None

    def _on_past(self, notice: _Notice, size: int) -> Iterable[Event]:
        if size and self._turn is not None and notice.external_request_id in self._ended:
            error = ProtocolError("audio of a sentence came after its end was inferred", provider=self.provider)
            return (Failed(self._turn, error),)
        return (Late(size),)

    def _on_error(self, notice: _Notice, failure: _Error) -> Iterable[Event]:
        asked = [request for request in self._requests if request.sent and not request.over]
        if self._turn is None or not asked:
            return ()  # such as that nothing was said for a minute; what it leads to will be told
        error = self._error(failure)
        # An id of the server's that is not known yet tells nothing: what is refused was asked for last.
        named = (each for each in asked if notice.external_request_id == each.id or _is_known(notice, each))
        request = next(named, asked[-1])
        if isinstance(error, RateLimited) and request is not asked[0] and not request.heard:
            # It does not take requests ahead: this one is asked for again when its turn comes.
            self.ahead = 1
            request.sent = False
            request.server_id = None
            return (Answered(self._turn),)
        return (Refused(self._turn, error),)


def _is_known(notice: _Notice, request: _Request) -> bool:
    return request.server_id is not None and notice.request_id == request.server_id


class HTTPDialect(_RequestsDialect):
    """Requests over HTTP, one after another on a connection that is kept alive; cancelling one drops it."""

    def __init__(self, options: SmallestAITTS, clock: Callable[[], float]) -> None:
        super().__init__(options, clock)
        self._events: EventDecoder | None = EventDecoder() if options.sse else None
        self._done = False

    @property
    def awaiting(self) -> bool:
        return bool(self._requests) and self._requests[0].sent

    def receive(self, message: Message) -> Iterable[Event]:
        if isinstance(message, str):
            headers: dict[str, str] = msgspec.json.decode(message)
            self.request_id = headers.get("x-request-id", self.request_id)
            self._done = False
            return ()
        if self._turn is None or not self._requests:
            return (Late(len(message)),)
        request = self._requests[0]
        if self._events is None:
            return list(self._take(request, Audio(self._turn, message)) if message else self._over(request))
        if message:
            return [event for data in self._events.feed(message) for event in self._on_event(request, data)]
        if self._done:
            return list(self._over(request))
        cut = LinkClosed("the events ended before they were done", provider=self.provider, code=1006)
        return (Failed(self._turn, cut),)

    def _ask(self, request: _Request) -> Message:
        return self._encode({"text": request.text, "request_id": request.id})

    def _on_event(self, request: _Request, data: str) -> Iterator[Event]:
        assert self._turn is not None
        event = decode_json(data, _ServerSentEvent, self.provider)
        if (failure := event.failure) is not None:
            yield Refused(self._turn, self._error(failure))
        elif event.audio:
            yield from self._take(request, Audio(self._turn, decode_audio(event.audio, self.provider)))
        self._done = self._done or event.done


class _ServerSentEvent(_Status):
    audio: str = ""
    done: bool = False


class ContinuationsDialect(_Dialect):
    """A context for each turn.

    Several requests come of a context, each with a ``complete``, and nothing tells the last; so the end is inferred
    from silence.  What comes names our `request_id` if the server echoes it; where it does not, a link carries one
    turn.
    """

    def __init__(self, options: SmallestAITTS, clock: Callable[[], float]) -> None:
        self._echo = False  # the server names our requests
        self._used = False
        super().__init__(options, clock)

    def _forget(self) -> None:
        super()._forget()
        self._context = ""
        self._said = False
        self._heard = False
        self._completed = False  # nothing came since the last `complete`
        self._begins: dict[str | None, int] = {}  # bytes of the turn's audio before each of the server's requests

    @property
    def awaiting(self) -> bool:
        return self._complete and not self._heard

    @property
    def spent(self) -> bool:
        return self._used and not self._echo

    @property
    def expires(self) -> float | None:
        if not (self._complete and self._heard):
            return None
        return self._heard_at + (min(_AFTER_COMPLETE, self._inferred_end) if self._completed else self._inferred_end)

    def begin(self, turn: int, options: SmallestAITTS) -> None:
        super().begin(turn, options)
        self._context = uuid.uuid4().hex

    def say(self, text: str) -> Iterator[Step]:
        self._said = self._used = True
        yield self._part(text, more=True)

    def flush(self) -> Iterator[Step]:
        """Nothing: a context is spoken at its sentences' ends, or after `max_buffer_delay_ms`; there is no flush."""
        return iter(())

    def end(self) -> Iterator[Step]:
        self._complete = True
        if self._said:
            self._heard_at = self._clock()
            yield self._part("", more=False)
        else:
            assert self._turn is not None
            yield Ended(self._turn)

    def cancel(self, turn: int) -> Sequence[Message] | None:
        if turn != self._turn:
            return ()
        said, message = self._said, self._encode({"context_id": self._context, "cancel_request": True})
        self._forget()
        if not said:
            return ()
        return (message,) if self._echo else None

    def receive(self, message: Message) -> Iterable[Event]:
        if isinstance(message, bytes):
            return ()  # all is text here
        notice = decode_json(message, _Notice, self.provider)
        self.request_id = notice.request_id or self.request_id
        if (failure := notice.failure) is not None:
            concerned = self._said and notice.external_request_id in (None, self._context)
            return (Refused(self._turn, self._error(failure)),) if concerned else ()
        self._echo = self._echo or notice.external_request_id is not None
        data = notice.data or _Data()
        if self._turn is None or not self._said or notice.external_request_id not in (None, self._context):
            return (Late(audio_size(data.audio)),)
        self._heard_at = self._clock()
        self._completed = notice.status == "complete"
        begin = self._begins.setdefault(notice.request_id, self._bytes)
        match notice.status:
            case "chunk":
                pcm = decode_audio(data.audio, self.provider)
                self._bytes += len(pcm)
                self._heard = self._heard or bool(pcm)
                return (Audio(self._turn, pcm),)
            case "word_timestamp":
                word = Word(data.word, data.start, data.end).shifted(self._seconds(begin))
                return (Spoken(self._turn, (word,)),)
        return (Answered(self._turn),)

    def lapse(self) -> Iterable[Event]:
        if self.expires is None or self._turn is None:
            return ()
        turn = self._turn
        self._forget()
        return (Ended(turn, inferred=True),)

    def _part(self, text: str, *, more: bool) -> Message:
        return self._encode({"text": text, "context_id": self._context, "request_id": self._context, "continue": more})
