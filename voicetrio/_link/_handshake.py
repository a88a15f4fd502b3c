"""The server's reply to the upgrade request: read without I/O, and turned into the error that it means.

h11 reads it as it comes, so that what is no reply is told at once, and a refusal with as much of its body as came.
trio-websocket reads it too, but it waits for ever where the peer closes, and reports a refusal only once its body is
complete: it gets an acceptance only.
"""

from __future__ import annotations

import email.utils
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

import h11

from ..errors import ProviderError, UpgradeRejected, rejection_class

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._target import Target

E = TypeVar("E", bound=ProviderError)

MAX_BODY = 16 * 2**10
UPGRADE = (("Connection", "Upgrade"), ("Upgrade", "websocket"))
_REQUEST_ID_HEADERS = ("dg-request-id", "x-cartesia-request-id", "x-request-id", "request-id")


class UpgradeReply:
    """The reply, as far as it has come.

    Args:
        accept: what ``Sec-WebSocket-Accept`` must be; None where the driver's library looks at it.

    Attributes:
        status: The HTTP status; None until the head of the reply is complete.
        headers: Names in lower case; values of repeated headers are joined by commas.
        body: The body of a refusal, at most 16 KiB of it.
    """

    def __init__(self, accept: str | None = None) -> None:
        self._accept = accept
        self.status: int | None = None
        self.headers: Mapping[str, str] = {}
        self.body = b""
        self._started = b""
        self._http = h11.Connection(h11.CLIENT)
        # h11 only needs to know that there was a request, to read the reply.
        self._http.send(h11.Request(method="GET", target="/", headers=[("Host", ""), *UPGRADE]))
        self._http.send(h11.EndOfMessage())

    @property
    def accepted(self) -> bool:
        """Whether the server switched to the websocket protocol."""
        return self.status == 101

    @property
    def rest(self) -> bytes:
        """What has come behind an acceptance: the first frames."""
        return bytes(self._http.trailing_data[0])

    def feed(self, data: bytes) -> bool:
        """Take what was received, ``b""`` at the end of the stream; return whether the reply is complete.

        Raises:
            h11.RemoteProtocolError: It is not the reply of a websocket server; or, with `status` known, a refusal's
                body is malformed.
        """
        if self.status is not None and not data:
            return True
        self._check_start(data)
        self._http.receive_data(data)
        return self._read_events()

    def _check_start(self, data: bytes) -> None:
        # h11 waits for a whole line; a TLS alert or an SSH banner has none, and the wait would last until the timeout.
        self._started = (self._started + data)[:7]
        if not data and not self._started:
            raise h11.RemoteProtocolError("the connection was closed without a reply")
        if not b"HTTP/1.".startswith(self._started):
            raise h11.RemoteProtocolError(f"the reply begins with {bytes(self._started)!r}")

    def _read_events(self) -> bool:
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.InformationalResponse) and event.status_code == 101:
                self._take_head(event)
                self._check_acceptance()
                return True
            if isinstance(event, h11.Response):
                self._take_head(event)
            elif isinstance(event, h11.Data):
                self.body = (self.body + event.data)[:MAX_BODY]
                if len(self.body) == MAX_BODY:
                    return True
            elif isinstance(event, h11.EndOfMessage):
                return True
            elif not isinstance(event, h11.InformationalResponse):
                return False

    def _take_head(self, event: h11.InformationalResponse | h11.Response) -> None:
        headers: dict[str, str] = {}
        for raw_name, raw_value in event.headers:
            name, value = raw_name.decode("ascii").lower(), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        self.status, self.headers = event.status_code, headers

    def _check_acceptance(self) -> None:
        # RFC 6455, 4.1.  On these wsproto would fail with errors that are not protocol errors.
        for name in ("sec-websocket-protocol", "sec-websocket-extensions"):
            if name in self.headers:
                raise h11.RemoteProtocolError(f"{name} in the reply, though none was offered")
        if not self.headers.get("connection", "").isascii():
            raise h11.RemoteProtocolError("the reply's connection header is not ASCII")
        if self._accept is None:
            return
        for name, token in UPGRADE:
            words = {word.strip().lower() for word in self.headers.get(name.lower(), "").split(",")}
            if token.lower() not in words:
                raise h11.RemoteProtocolError(f"the reply has no header {name}: {token}")
        if self.headers.get("sec-websocket-accept") != self._accept:
            raise h11.RemoteProtocolError("Sec-WebSocket-Accept does not answer the key")


def request_id(headers: Mapping[str, str]) -> str | None:
    """The provider's id of the request, from its response headers."""
    return next((headers[name] for name in _REQUEST_ID_HEADERS if name in headers), None)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from ``Retry-After``: RFC 9110, 10.2.3, a number of seconds or a date.

    A date is read against the response's own ``Date``, if there is one, so that our clock need not be right.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])  # longer numbers only say "never"
    then = _http_date(value)
    if then is None:
        return None
    now = _http_date(headers.get("date", "")) or datetime.now(UTC)
    return max(0.0, (then - now).total_seconds())


def _http_date(value: str) -> datetime | None:
    try:
        date = email.utils.parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def rejection(target: Target, reply: UpgradeReply) -> UpgradeRejected:
    """The error that a refused upgrade means."""
    assert reply.status is not None
    kind = rejection_class(reply.status)
    return refusal(kind, target, "the websocket", reply.status, reply.headers, reply.body)


def refusal(kind: type[E], target: Target, what: str, status: int, headers: Mapping[str, str], body: bytes) -> E:
    """The error that a refusal by HTTP means."""
    words = target.printable(body.decode("utf-8", "replace"))
    hint = " (redirects are not followed)" if 300 <= status < 400 else ""
    error = kind(
        f"{target.shown} refused {what} with HTTP {status}{hint}{f': {words}' if words else ''}",
        provider=target.provider,
        request_id=request_id(headers),
        status=status,
        reason=words or None,
        retry_after=retry_after(headers),
    )
    error.body = body
    return error
