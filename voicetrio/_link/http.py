"""Requests over HTTP/1.1, in the shape of a connection: what is sent is a request, what is received its response.

A connection is one byte stream to the provider, dialled beforehand and kept alive, so that a request pays for no
handshake.  Cancelling a request is dropping the connection: HTTP/1.1 knows no other way, and it
reaches the provider at once.

A message that is sent is the body of a ``POST``.  Its response is received as the headers (text: a JSON object, names
in lower case), the body as it comes (binary), and ``b""`` at the end.  Requests are answered in the order in which
they were sent.  Sending lasts until the stream has accepted the whole body; cancelled, the request goes on, and the
connection must be dropped, as any request that is not wanted.

httpx speaks HTTP/1.1 on it, by a transport of ours.  Its client would look where a redirect leads, keep cookies, and
unpack what a server has compressed, however much that becomes; so there is none in between: a request is what we made
it, and a response that is encoded though we asked for none is refused.
"""

from __future__ import annotations

import contextlib
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

import attrs
import httpcore
import httpx
import msgspec
import trio

from ..errors import (
    ClosedError,
    ConfigurationError,
    LinkClosed,
    LinkStalled,
    ProtocolError,
    ProviderError,
    error_class,
)
from ._handover import Handover
from ._handshake import MAX_BODY, refusal, request_id
from ._stream import open_stream
from ._target import HTTP, Target
from ._transport import Content, StreamTransport
from .connection import Connection, ConnectionOptions, Dial, check_encodable
from .nursery import open_plain_nursery

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Mapping, Sequence

# The body of a refusal is for the message only.
_BODY_TIMEOUT = 1.0
_ABNORMAL_CLOSURE = 1006


def connect(
    url: str,
    *,
    headers: Sequence[tuple[str, str]] = (),
    options: ConnectionOptions | None = None,
    ssl_context: ssl.SSLContext | None = None,
    dial: Dial | None = None,
    provider: str = "",
    secrets: Sequence[str] = (),
) -> contextlib.AbstractAsyncContextManager[Connection]:
    """Return a context manager that opens a connection for requests to a URL, and drops it when its block is left.

    Args:
        url: ``http://`` or ``https://``, percent-encoded.
        headers: of each request, in order.
        options: the bounds; None for the defaults.
        ssl_context: for ``https://``; None for the system's trust store.
        dial: what opens the byte stream; None for TCP.  With ``https://`` its stream is wrapped in TLS.
        provider: the name that errors carry.
        secrets: what must not be shown, besides what the URL and the headers tell by their names.

    Raises:
        ConfigurationError: `url` or `headers` cannot be used.  Raised by the call itself.
        ConnectError: on entering: DNS, TCP or TLS failed.
        ConnectTimeout: on entering: `connect_timeout` passed.
    """
    target = Target.parse(url, headers, provider, secrets=secrets, schemes=HTTP)
    _url(target)
    return _connect(target, options or ConnectionOptions(), ssl_context, dial or trio.open_tcp_stream)


@contextlib.asynccontextmanager
async def _connect(
    target: Target, options: ConnectionOptions, ssl_context: ssl.SSLContext | None, dial: Dial
) -> AsyncGenerator[Connection]:
    deadline = trio.current_time() + options.connect_timeout
    async with open_stream(target, dial, ssl_context, deadline) as (_, stream):
        connection = _Requests(stream, target, options)
        async with open_plain_nursery("the connection is not wanted any more") as nursery:
            nursery.start_soon(connection.run)
            try:
                yield connection
            finally:
                connection.closed = True


@attrs.define(eq=False)
class _Message:
    """The body of a request, and whether the stream has accepted all of it or the server did without."""

    body: bytes
    sent: bool = False


class _Requests:
    """A :class:`Connection` over httpx.

    Attributes:
        headers: empty: each response has its own.
        closed: whether its block was left.
    """

    def __init__(self, stream: trio.abc.Stream, target: Target, options: ConnectionOptions) -> None:
        self.headers: dict[str, str] = {}
        self.request_id: str | None = None
        self.closed = False
        self._stream = stream
        self._target = target
        self._failure: ProviderError | None = None
        self._url = _url(target)
        self._http = StreamTransport(stream, self._url, options.send_timeout, self._before_read)
        self._requests: deque[_Message] = deque()  # that nobody has begun to send
        self._idle = trio.CancelScope()
        # It holds what one read from the socket gives: the next read waits until that is taken.
        self._answers = Handover()
        self._pieces: list[bytes] = []  # of a body, all from one read
        self._written = trio.lowlevel.ParkingLot()
        self._over = False

    async def send(self, *messages: str | bytes) -> None:
        for message in messages:
            check_encodable(message)
        for message in messages:
            await self._ask(_Message(message.encode() if isinstance(message, str) else message))

    async def _ask(self, request: _Message) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        self._requests.append(request)
        self._idle.cancel(reason="there is a request")
        try:
            # A large body on a slow line takes its time, which is not the server's.
            while not request.sent:
                if self._over:
                    raise self._end_error()
                await self._written.park()
        finally:
            if request in self._requests:
                self._requests.remove(request)

    async def receive(self) -> str | bytes:
        try:
            return await self._answers.take()
        except trio.EndOfChannel:
            raise self._end_error() from None

    async def ping(self) -> None:
        """Nothing: while no request is under way the stream is watched, and HTTP has no ping."""
        await trio.lowlevel.checkpoint()

    async def close(self, code: int = 1000, reason: str | None = None) -> None:  # noqa: ARG002 - HTTP has neither
        self.closed = True
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(self._stream)

    async def run(self) -> None:
        """Do one request after another until the connection ends; never raises because of the peer."""
        try:
            await self._serve()
        except ProviderError as error:
            self._failure = error
        except (httpcore.NetworkError, httpcore.ProtocolError, trio.ClosedResourceError) as error:
            self._failure = self._lost("was dropped", error)
        except httpcore.WriteTimeout as error:
            self._failure = self._lost("was given up", error, LinkStalled)
        finally:
            self._hand_over_pieces()
            self._answers.end()
            self._over = True
            self._written.unpark_all()

    async def _serve(self) -> None:
        while True:
            request = await self._next_request()
            if request is None:
                raise self._lost("was closed by the server")
            await self._exchange(request)
            if not self._http.reusable:
                raise self._lost("was closed by the server after a response, or brought more than was asked for")

    async def _next_request(self) -> _Message | None:
        """The next request; None if the peer leaves, or speaks unasked, before there is one."""
        while not self._requests:
            with (
                trio.CancelScope() as self._idle,
                contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError),
            ):
                await self._stream.receive_some(1)
            if not self._idle.cancelled_caught:
                return None
        return self._requests.popleft()

    def _set_sent(self, request: _Message) -> None:
        request.sent = True
        self._written.unpark_all()

    async def _exchange(self, request: _Message) -> None:
        self.request_id = None  # that was the one before
        content = Content(request.body, partial(self._set_sent, request))
        asked = _request(self._url, self._target, content, len(request.body))
        response = await self._http.handle_async_request(asked)
        self._set_sent(request)  # or the server answers before it has all
        try:
            headers = dict(response.headers)
            self.request_id = _printable_id(self._target, headers)
            encoding = headers.get("content-encoding", "identity").strip().lower()
            if not response.is_success:
                words = await _head_of_body(response) if encoding == "identity" else b""
                kind = error_class(response.status_code)
                raise refusal(kind, self._target, "the request", response.status_code, headers, words)
            if encoding != "identity":
                raise ProtocolError(
                    f"a body in the encoding {self._target.printable(encoding)}, which was not asked for",
                    provider=self._target.provider,
                    request_id=self.request_id,
                )
            self._answers.put(msgspec.json.encode(headers).decode())
            assert isinstance(response.stream, httpx.AsyncByteStream)
            # Nothing is awaited in this loop: whoever left it in the middle would leave httpcore's generators open.
            async for piece in response.stream:
                self._pieces.append(piece)
        finally:
            await response.aclose()  # noqa: ASYNC102  # cancelled, httpcore has closed it already
        self._hand_over_pieces()
        self._answers.put(b"")

    async def _before_read(self) -> None:
        self._hand_over_pieces()
        await self._answers.taken()

    def _hand_over_pieces(self) -> None:
        if data := b"".join(self._pieces):
            self._answers.put(data)
        self._pieces.clear()

    def _end_error(self) -> ProviderError | ClosedError:
        if self.closed or self._failure is None:
            return ClosedError("this connection is closed")
        return self._failure

    def _lost(self, how: str, cause: Exception | None = None, kind: type[LinkClosed] = LinkClosed) -> LinkClosed:
        words = self._target.printable(str(cause)) if cause is not None else ""
        error = kind(
            f"the connection to {self._target.shown} {how}{f': {words}' if words else ''}",
            provider=self._target.provider,
            request_id=self.request_id,
            code=_ABNORMAL_CLOSURE,
        )
        error.__cause__ = cause
        return error


async def _head_of_body(response: httpx.Response) -> bytes:
    """What a refusal says, as far as it comes soon."""
    body = b""
    with trio.move_on_after(_BODY_TIMEOUT), contextlib.suppress(httpcore.NetworkError, httpcore.ProtocolError):
        async for piece in response.aiter_raw():
            body = (body + piece)[:MAX_BODY]
    return body


def _printable_id(target: Target, headers: Mapping[str, str]) -> str | None:
    name = request_id(headers)
    return None if name is None else target.printable(name)


def _url(target: Target) -> httpx.URL:
    """The URL of the requests.

    Raises:
        ConfigurationError: if httpx does not take it for one, as some hosts that a resolver would.
    """
    try:
        return httpx.URL(f"{target.scheme}://{target.authority}{target.resource}")
    except (httpx.InvalidURL, UnicodeError) as error:
        raise ConfigurationError(f"{target.shown} is not a URL of HTTP: {error}") from None


def _request(url: httpx.URL, target: Target, content: Content, size: int) -> httpx.Request:
    headers = [
        (b"Host", target.authority.encode("ascii")),
        (b"Content-Length", b"%d" % size),
        (b"Content-Type", b"application/json"),
        (b"Accept-Encoding", b"identity"),
        *target.headers,
    ]
    return httpx.Request("POST", url, headers=headers, stream=content)
