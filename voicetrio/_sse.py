"""Server-sent events, decoded without I/O (WHATWG HTML, 9.2)."""

from __future__ import annotations

import codecs
import io

from .errors import ProtocolError

_MOST = 8 * 2**20


class EventDecoder:
    """Takes the bytes of one event stream as they come, cut anywhere, and gives the data of its events.

    Names, ids and retry times of events are passed over: the providers here put what matters in the data.

    Args:
        provider: the name that errors carry.
    """

    def __init__(self, provider: str = "") -> None:
        self._provider = provider
        self._decode = codecs.getincrementaldecoder("utf-8-sig")("replace").decode
        self._rest = io.StringIO()  # of a line that is not complete
        self._skip_line_feed = False  # the line before it ended with a carriage return
        self._data: list[str] = []
        self._size = 0  # of the event that is not complete

    def feed(self, data: bytes) -> list[str]:
        """The data of the events that these bytes complete.

        Raises:
            ProtocolError: if an event is longer than 8 MiB.
        """
        text = self._decode(data)
        if self._skip_line_feed and text:
            text = text.removeprefix("\n")
            self._skip_line_feed = False
        if text:
            self._skip_line_feed = text.endswith("\r")
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        *lines, rest = text.split("\n")
        if lines and self._rest.tell():
            lines[0] = self._rest.getvalue() + lines[0]
            self._rest = io.StringIO()
        if rest:
            self._rest.write(rest)
        self._size += len(text)
        if self._size > _MOST:
            raise ProtocolError("an event of more than 8 MiB", provider=self._provider)
        events: list[str] = []
        for line in lines:
            if line.startswith("data: "):
                self._data.append(line[6:])
            elif line:
                self._take(line)
            else:
                self._end_event(events)
        return events

    def _take(self, line: str) -> None:
        name, _, value = line.partition(":")
        if name == "data":
            self._data.append(value.removeprefix(" "))

    def _end_event(self, events: list[str]) -> None:
        if self._data:
            events.append("\n".join(self._data))
            self._data.clear()
        self._size = 0
