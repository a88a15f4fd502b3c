"""The HTTP half of a simulator: requests read, and what answers begin with."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import attrs
import h11
from wsproto.utilities import generate_accept_token

from ._wire import Disconnected

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ._wire import Wire

__all__ = ["BadRequest", "Headers", "Request", "read_request", "response", "stream_head", "switching_protocols"]

Headers = tuple[tuple[str, str], ...]
"""Header names and values, in order."""

MAX_BODY = 1 << 22
"""Bytes of a request's body; vendors' limits are far lower."""

_KNOWN = frozenset(status.value for status in HTTPStatus)

SECRET_HEADERS = frozenset({"authorization", "cookie", "sec-websocket-protocol", "x-api-key"})
SECRET_PARAMETERS = frozenset({"access_token", "api_key", "key", "secret", "token"})


class BadRequest(Exception):
    """The peer did not speak HTTP/1.1."""


@attrs.frozen
class Request:
    """One HTTP request.

    Attributes:
        method: in capitals.
        target: path and query as sent.
        headers: names in lower case.
        body: what followed, empty for an upgrade.
        trailing: bytes that came after the request: the first of the websocket's, or of the next request.
        version: of HTTP, such as ``1.1``.
    """

    method: str
    target: str = attrs.field(repr=False)
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
    trailing: bytes = attrs.field(default=b"", repr=False)
    version: str = "1.1"

    @property
    def path(self) -> str:
        """The path without the query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> list[tuple[str, str]]:
        """The query's parameters in order, decoded."""
        return parse_qsl(self.target.partition("?")[2], keep_blank_values=True)

    @property
    def upgrade(self) -> bool:
        """Whether this is a valid request for a websocket."""
        return (
            self.method == "GET"
            and self.headers.get("upgrade", "").lower() == "websocket"
            and "upgrade" in _tokens(self.headers.get("connection", ""))
            and "sec-websocket-key" in self.headers
            and self.headers.get("sec-websocket-version") == "13"
        )

    @property
    def keep_alive(self) -> bool:
        """Whether the client wants to send another request on this connection."""
        return self.version != "1.0" and "close" not in _tokens(self.headers.get("connection", ""))

    @property
    def subprotocols(self) -> list[str]:
        """The subprotocols offered, as sent."""
        offered = self.headers.get("sec-websocket-protocol", "")
        return [token.strip() for token in offered.split(",") if token.strip()]

    def public(self) -> dict[str, object]:
        """The request for a log, without what is secret in it."""
        return {
            "method": self.method,
            "path": self.path,
            "query": {k: "…" if k.lower() in SECRET_PARAMETERS else v for k, v in self.query},
            "headers": {k: "…" if k in SECRET_HEADERS else v for k, v in self.headers.items()},
        }


async def read_request(wire: Wire, received: bytes = b"") -> Request:
    """Read one request with its body.

    Args:
        wire: what to read from.
        received: what was read of it before.

    Raises:
        BadRequest: it is not HTTP/1.1, or too long.
        Disconnected: the peer left before its end.
    """
    http = h11.Connection(h11.SERVER)
    head: h11.Request | None = None
    body = bytearray()
    try:
        if received:
            http.receive_data(received)
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                if http.they_are_waiting_for_100_continue:
                    http.send(h11.InformationalResponse(status_code=100, headers=[]))
                    await wire.send(_head(100, []))
                http.receive_data(await wire.receive())
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > MAX_BODY:
                    raise BadRequest("the body is too long")
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                raise Disconnected("the peer closed the connection")
    except h11.RemoteProtocolError as error:
        raise BadRequest(str(error)) from error
    assert head is not None  # h11 gives the request before its end
    headers: dict[str, str] = {}
    for raw_name, raw_value in head.headers:
        name, value = raw_name.decode("ascii"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Request(
        head.method.decode("ascii"),
        head.target.decode("ascii"),
        headers,
        bytes(body),
        http.trailing_data[0],
        head.http_version.decode("ascii"),
    )


def response(
    status: int,
    headers: Iterable[tuple[str, str]],
    body: bytes,
    *,
    length: bool = True,
    keep_alive: bool = False,
) -> bytes:
    """A whole response.

    Args:
        status: the HTTP status.
        headers: further headers.
        body: the body.
        length: whether to send Content-Length; without, the end of the connection ends the body.
        keep_alive: whether the connection is not closed after it.
    """
    lines = [*headers, _connection(keep_alive)]
    if length:
        lines.append(("Content-Length", str(len(body))))
    return _head(status, lines) + body


def stream_head(status: int, headers: Iterable[tuple[str, str]], *, chunked: bool, keep_alive: bool) -> bytes:
    """What a response begins with whose length is not known: its end is the last chunk, else that of the connection."""
    lines = [*headers, _connection(keep_alive)]
    if chunked:
        lines.append(("Transfer-Encoding", "chunked"))
    return _head(status, lines)


def switching_protocols(request: Request, headers: Iterable[tuple[str, str]], subprotocol: str | None) -> bytes:
    """The answer that accepts an upgrade.  Extensions that were offered are declined by not being named."""
    accept = generate_accept_token(request.headers["sec-websocket-key"].encode("latin-1"))
    lines = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept.decode())]
    if subprotocol is not None:
        lines.append(("Sec-WebSocket-Protocol", subprotocol))
    return _head(101, [*lines, *headers])


def _head(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    phrase = HTTPStatus(status).phrase if status in _KNOWN else "Unknown"
    lines = [f"HTTP/1.1 {status} {phrase}"]
    # A value may repeat what the client sent: whatever that was, it must stay one line that a header can carry.
    lines += [f"{name}: {' '.join(value.splitlines())}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def _connection(keep_alive: bool) -> tuple[str, str]:
    return ("Connection", "keep-alive" if keep_alive else "close")


def _tokens(value: str) -> set[str]:
    return {token.strip().lower() for token in value.split(",")}
