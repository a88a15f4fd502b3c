"""Requests over HTTP: speech as the bodies of responses."""

from __future__ import annotations

import abc
import re
from collections.abc import Callable, Iterable, Iterator

import msgspec

from ._dialect import Audio, Event, Failed, Late
from ._link._handshake import request_id
from ._link.dialect import Message
from ._requests import Request, RequestLine, RequestsDialect
from ._sse import EventDecoder
from .errors import LinkClosed, ProtocolError, ProviderError

_Reader = Callable[[RequestLine, Request, bytes], Iterable[Event]]

# What a response may be; some have no type.
_PCM = re.compile(r"audio/.*(wav|pcm|l16|raw)|.*/octet-stream|")
_EVENTS = re.compile(r"text/event-stream|")
# So a WAV file begins.
_RIFF = b"RIFF"
# Bytes of a refusal.
_MOST_WORDS = 65_536
# Seconds in which a body ends of which all was said.
_BODY_END = 0.5


class BodiesDialect(RequestsDialect, abc.ABC):
    """A protocol of requests over HTTP, one after another on a connection that is kept alive.

    A body is bare PCM, or server-sent events, of which each is read into a notice; if it is JSON, it is a refusal.

    Args:
        clock: gives seconds.
        events: whether bodies are server-sent events.
    """

    def __init__(self, clock: Callable[[], float], *, events: bool) -> None:
        super().__init__(clock)
        self._kinds = _EVENTS if events else _PCM
        self._speech: _Reader = self._read_events if events else self._read_pcm
        self._body: _Reader = self._speech
        self._begin_body()

    @abc.abstractmethod
    def _refusal(self, body: str) -> ProviderError:
        """Read a body of JSON."""

    @property
    def awaiting(self) -> bool:
        return self._asking is not None

    def receive(self, message: Message) -> Iterable[Event]:
        line = self._asking
        if line is None:
            return (Late(len(message)),) if isinstance(message, bytes) else ()
        if isinstance(message, bytes):
            return self._body(line, line.requests[0], message)
        headers = msgspec.json.decode(message, type=dict[str, str])
        self.request_id = request_id(headers)
        self._begin_body()
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind.endswith("json"):
            self._body = self._read_refusal
        elif not self._kinds.fullmatch(kind):
            raise ProtocolError(f"a response that is {kind}", provider=self.provider)
        return ()

    def lapse(self) -> Iterable[Event]:
        """All was said, and the body does not end."""
        return self._finish_and_leave(self._line, self._line.requests[0]) if self._line is not None else ()

    def _begin_body(self) -> None:
        self._body = self._speech
        self._kept = b""  # of the body, for what comes next
        self._events = EventDecoder(self.provider)
        self.patient_until = None  # set when all was said

    def _read_pcm(self, line: RequestLine, request: Request, data: bytes) -> Iterable[Event]:
        pcm = self._kept + data
        self._kept = pcm if data and not request.heard and len(pcm) < len(_RIFF) else b""
        if self._kept:
            return ()
        if not request.heard and pcm.startswith(_RIFF):
            raise ProtocolError("a WAV file where bare PCM was asked for", provider=self.provider)
        events = list(line.take(request, Audio(line.turn, pcm))) if pcm else []
        return events if data else events + self._finish(line, request)

    def _read_events(self, line: RequestLine, request: Request, data: bytes) -> Iterator[Event]:
        # One by one: what came before a broken one is heard.
        for text in self._events.feed(data):
            if self._line is not line:
                return  # it was cancelled while the last one was handled
            notice = self._read(text)
            if notice.error is not None:
                yield Failed(line.turn, notice.error)
                return
            self.request_id = self.request_id or notice.theirs
            for event in notice.events(line.turn, self.provider):
                yield from line.take(request, event)
            if notice.done and self.patient_until is None:
                self.patient_until = self.now() + _BODY_END
        if data:
            return
        if self.patient_until is None:
            raise LinkClosed("the events ended before they were done", provider=self.provider, code=1006)
        yield from self._finish(line, request)

    def _read_refusal(self, line: RequestLine, _: Request, data: bytes) -> Iterable[Event]:
        self._kept += data
        if len(self._kept) > _MOST_WORDS:
            raise ProtocolError("a long response that is JSON", provider=self.provider)
        return () if data else (Failed(line.turn, self._refusal(self._kept.decode(errors="replace"))),)
