"""A turn as a line of requests, for protocols in which a piece of text is asked for by itself.

Requests are asked for ahead, and what comes of one is held until the one before it is over, so that nothing is between
two of them and their order is kept, in whichever order the server speaks them.
"""

from __future__ import annotations

import abc
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import attrs

from ._dialect import Audio, Ended, Event, Failed, Reached, Reply, Spoken, Step, TimesRestart
from ._link.dialect import Message
from ._notice import NoticesDialect
from .errors import LinkClosed, NoAudio
from .text import SentenceSplitter, says_something, split_text

# Bytes of a request's audio that are held until its turn comes: a minute at the highest rate, more than a sentence has.
_MOST_HELD = 60 * 2 * 48_000


def _new_id() -> str:
    return uuid.uuid4().hex


@attrs.define(eq=False)
class Request:
    """One piece of text.

    Attributes:
        text: what it says.
        end: how many characters of the turn are said with it.
        id: ours.
        their_id: the server's, once it is known.
        sent: whether it is on the wire.
        heard: whether audio of it has come.
        over: whether nothing of it is awaited: all has come, or it is asked for again.
        inferred: whether that was inferred, as the server did not say so.
        held: what came of it before the request ahead of it was over.
        held_bytes: how much audio that is.
    """

    text: str
    end: int
    id: str = attrs.Factory(_new_id)
    their_id: str | None = None
    sent: bool = False
    heard: bool = False
    over: bool = False
    inferred: bool = False
    held: list[Audio | Spoken] = attrs.Factory(list)
    held_bytes: int = 0

    @property
    def lacks_audio(self) -> bool:
        """Whether nothing was heard of it, and it is more than punctuation, which may be silent."""
        return not self.heard and says_something(self.text, words=True)


class RequestLine:
    """The requests of one turn.

    Args:
        turn: its number.
        provider: the name that errors carry.
        ask: gives the message that asks for a request.
        most_characters: of a request.
        splitter: makes a request of each sentence; without, requests are cut at flushes and by their length.

    Attributes:
        ahead: so many requests are asked for at a time.
        requests: those that are not over, in order.
        inferred: whether the end of one was inferred.
    """

    def __init__(
        self,
        turn: int,
        provider: str,
        ask: Callable[[Request], Message],
        most_characters: int,
        *,
        splitter: SentenceSplitter | None,
    ) -> None:
        self.turn = turn
        self.ahead = 1
        self.requests: deque[Request] = deque()
        self.inferred = False
        self._provider = provider
        self._ask = ask
        self._most_characters = most_characters
        self._splitter = splitter
        self._text = ""  # without a splitter: what was said since the last flush
        self._lead = ""  # white space that will be said with what follows it
        self._characters = 0  # of the turn, in requests
        self._complete = False  # the turn's text is all there

    @property
    def first(self) -> Request | None:
        """The request that is heard now, or next."""
        return self.requests[0] if self.requests else None

    @property
    def asked(self) -> list[Request]:
        """The requests that are on the wire and not over."""
        return [request for request in self.requests if request.sent and not request.over]

    @property
    def ended(self) -> bool:
        """Whether all of the turn has come."""
        return self._complete and not self.requests

    # -- text --------------------------------------------------------------------------------------------------------

    def say(self, text: str) -> Iterator[Message]:
        """Add text; gives what to send."""
        if self._splitter is None:
            self._text += text
            return
        for sentence in self._splitter.feed(text):
            self._add(sentence)
        yield from self.ask()

    def flush(self) -> Iterator[Message]:
        """Ask for what was added so far; gives what to send."""
        text, self._text = self._text, ""
        self._add(self._splitter.flush() if self._splitter is not None else text)
        yield from self.ask()

    def end(self) -> Iterator[Message | Ended]:
        """No more will be added; gives what to send, and the end if there is nothing to wait for."""
        self._complete = True
        yield from self.flush()
        if self.ended:
            yield Ended(self.turn, self.inferred)

    def ask(self) -> Iterator[Message]:
        """Ask for the requests whose turn it is to be asked for."""
        for request in list(islice(self.requests, self.ahead)):
            if not request.sent:
                request.sent = True
                yield self._ask(request)

    def _add(self, text: str) -> None:
        text = self._lead + text
        self._lead = "" if text.strip() else text
        for piece in split_text(text, self._most_characters) if not self._lead else ():
            self._characters += len(piece)
            if piece.strip():
                self.requests.append(Request(piece, self._characters))

    # -- audio -------------------------------------------------------------------------------------------------------

    def take(self, request: Request, event: Audio | Spoken) -> Iterator[Event]:
        """What came of a request: now if it is the first, else later.

        Times of words count from the first sample of their request.
        """
        size = len(event.pcm) if isinstance(event, Audio) else 0
        request.heard = request.heard or size > 0
        if request is self.first:
            yield event
            return
        if request.over:
            return  # what came before this was too much
        request.held.append(event)
        request.held_bytes += size
        if request.held_bytes > _MOST_HELD:
            self.put_back(request)

    def put_back(self, request: Request) -> None:
        """Ask for a request again when it is the first, and from now on for none before that."""
        self.ahead = 1
        self.requests[self.requests.index(request)] = Request(request.text, request.end)
        request.over = True
        request.held = []

    def finish(self, request: Request) -> Iterator[Event]:
        """All of a request has come."""
        request.over = True
        self.inferred = self.inferred or request.inferred
        while self.requests and self.requests[0].over:
            first = self.requests.popleft()
            if first.lacks_audio:
                words = "a sentence came without any audio"
                yield Failed(self.turn, NoAudio(words, provider=self._provider, request_id=first.their_id))
                return
            yield Reached(self.turn, first.end)
            yield TimesRestart(self.turn)
            if self.requests:
                yield from self.requests[0].held
                self.requests[0].held = []
        if self.ended:
            yield Ended(self.turn, self.inferred)

    def replies(self) -> Iterator[Reply]:
        """As :meth:`ask`, in answer to a message."""
        return (Reply(self.turn, message) for message in self.ask())


class RequestsDialect(NoticesDialect, abc.ABC):
    """A protocol of requests, in which nothing cancels: while one is under way, the link is given up."""

    needs_words = True

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self._line: RequestLine | None = None
        self._doubtful = False  # of a request that we took for over more may come

    @abc.abstractmethod
    def _new_line(self, turn: int, options: Any) -> RequestLine:
        """The requests of a turn, of which there are none yet."""

    @property
    def spent(self) -> bool:
        return self._doubtful

    def begin(self, turn: int, options: Any) -> None:
        self._line = self._new_line(turn, options)
        self.patient_until = self.request_id = None

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
        self._line = self.patient_until = None
        return None if any(request.sent for request in line.requests) else ()

    @property
    def _of_turn(self) -> RequestLine:
        assert self._line is not None, "steps are of a turn that was begun"
        return self._line

    @property
    def _asking(self) -> RequestLine | None:
        """The turn's requests, if one is under way."""
        return self._line if self._line is not None and self._line.asked else None

    def _finish(self, line: RequestLine, request: Request) -> list[Event]:
        """All of a request has come: ask for the next one, unless there was an error."""
        if request is line.first:
            self.patient_until = None
        events = list(line.finish(request))
        if events and isinstance(events[-1], Failed):
            return events
        if line.first is not None:
            self.request_id = line.first.their_id
        return [*events, *line.replies()]

    def _finish_and_leave(self, line: RequestLine, request: Request) -> list[Event]:
        """The link can carry nothing behind this request, of which more may come: the rest goes to another one."""
        self.patient_until, self._doubtful = None, True
        events = list(line.finish(request))
        left = LinkClosed("what is left of a request cannot be told from the next", provider=self.provider, code=1006)
        return events if line.ended else [*events, Failed(None, left)]
