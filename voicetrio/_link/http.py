"""Requests over HTTP/1.1, in the shape of a connection: what is sent is a request, what is received its response.

A connection is one byte stream to the provider, dialled beforehand and kept alive, so that a request pays for no
handshake.  Cancelling a request is dropping the connection: HTTP/1.1 knows no other way, and it
reaches the provider at once.

A message that is sent is the body of a ``POST``.  Its response is received as the headers (text: a JSON object, names
in lower case), the body as it comes (binary), and ``b""`` at the end.  Requests are answered in the order in which
they were sent.

httpcore, which is below httpx, speaks HTTP/1.1 on it.  httpx itself would dial in the middle of a turn, follow where a
redirect leads, keep cookies, and unpack what a server has compressed, however much that becomes; here a request is what
we made it, and a response that is encoded though we asked for none is refused.
"""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any, Self

import httpcore
import msgspec
import trio

from ..errors import ClosedError, InputError, LinkClosed, ProtocolError, ProviderError, error_class
from ._handshake import MAX_BODY, refusal, request_id
from ._stream import open_stream
from ._target import HTTP, Target
from .connection import Connection, ConnectionOptions, Dial
from .nursery import open_plain_nursery

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

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


class _Requests:
    """A :class:`Connection` over httpcore.

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
        wire = _Stream(stream, options.send_timeout, self._until_taken)
        self._http = httpcore.AsyncHTTP11Connection(_origin(target), wire)
        self._asked, self._to_ask = trio.open_memory_channel[bytes](0)
        # It holds what one read from the socket gives: the next read waits until that is taken.
        self._answered, self._answers = trio.open_memory_channel[str | bytes](math.inf)
        self._taken = trio.lowlevel.ParkingLot()

    async def send(self, message: str | bytes) -> None:
        try:
            body = message.encode() if isinstance(message, str) else message
        except UnicodeEncodeError:
            raise InputError("the text has a lone surrogate, which UTF-8 cannot carry") from None
        try:
            await self._asked.send(body)
        except trio.BrokenResourceError:
            raise self._end_error() from None

    async def receive(self) -> str | bytes:
        try:
            answer = await self._answers.receive()
        except trio.EndOfChannel:
            raise self._end_error() from None
        self._taken.unpark_all()
        return answer

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
            # Their ends are closed with it, whatever ends it.
            with self._answered, self._to_ask:
                await self._serve()
        except ProviderError as error:
            self._failure = error
        except (httpcore.NetworkError, httpcore.ProtocolError, trio.ClosedResourceError) as error:
            self._failure = self._lost("was dropped", error)

    async def _serve(self) -> None:
        while True:
            body = await self._next_request()
            if body is None:
                raise self._lost("was closed by the server")
            await self._exchange(body)
            if not self._http.is_available():
                raise self._lost("is closed by the server after each response")
            if self._http._h11_state.trailing_data[0]:  # it has no public name
                raise self._lost("brought more than was asked for")

    async def _next_request(self) -> bytes | None:
        """The next request; None if the peer leaves, or speaks unasked, before there is one."""
        body: bytes | None = None

        async def watch() -> None:
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self._stream.receive_some(1)
            nursery.cancel_scope.cancel(reason="the peer has left")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            body = await self._to_ask.receive()
            nursery.cancel_scope.cancel(reason="there is a request")
        return body

    async def _exchange(self, body: bytes) -> None:
        response = await self._http.handle_async_request(_request(self._target, body))
        try:
            headers = _headers(response)
            self.request_id = request_id(headers)
            encoding = headers.get("content-encoding", "identity").strip().lower()
            if not 200 <= response.status < 300:
                words = await _head_of_body(response) if encoding == "identity" else b""
                raise refusal(
                    error_class(response.status), self._target, "the request", response.status, headers, words
                )
            if encoding != "identity":
                raise ProtocolError(
                    f"a body in the encoding {self._target.printable(encoding)}, which was not asked for",
                    provider=self._target.provider,
                    request_id=self.request_id,
                )
            self._answered.send_nowait(msgspec.json.encode(headers).decode())
            # Nothing is awaited in this loop: whoever left it in the middle would leave httpcore's generators open.
            async for piece in response.aiter_stream():
                if piece:
                    self._answered.send_nowait(piece)
        finally:
            await response.aclose()  # noqa: ASYNC102  # cancelled, httpcore has closed it already
        self._answered.send_nowait(b"")

    async def _until_taken(self) -> None:
        while self._answers.statistics().current_buffer_used:
            await self._taken.park()

    def _end_error(self) -> ProviderError | ClosedError:
        if self.closed or self._failure is None:
            return ClosedError("this connection is closed")
        return self._failure

    def _lost(self, how: str, cause: Exception | None = None) -> LinkClosed:
        words = self._target.printable(str(cause)) if cause is not None else ""
        error = LinkClosed(
            f"the connection to {self._target.shown} {how}{f': {words}' if words else ''}",
            provider=self._target.provider,
            request_id=self.request_id,
            code=_ABNORMAL_CLOSURE,
        )
        error.__cause__ = cause
        return error


async def _head_of_body(response: httpcore.Response) -> bytes:
    """What a refusal says, as far as it comes soon."""
    body = b""
    with trio.move_on_after(_BODY_TIMEOUT), contextlib.suppress(httpcore.NetworkError, httpcore.ProtocolError):
        async for piece in response.aiter_stream():
            body = (body + piece)[:MAX_BODY]
    return body


def _headers(response: httpcore.Response) -> dict[str, str]:
    """Names in lower case; values of repeated headers are joined by commas."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in response.headers:
        name, value = raw_name.decode("ascii").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _request(target: Target, body: bytes) -> httpcore.Request:
    headers = [
        (b"Host", target.authority.encode("ascii")),
        (b"Content-Length", b"%d" % len(body)),
        (b"Content-Type", b"application/json"),
        (b"Accept-Encoding", b"identity"),
        *target.headers,
    ]
    origin = _origin(target)
    url = httpcore.URL(scheme=origin.scheme, host=origin.host, port=origin.port, target=target.resource.encode("ascii"))
    return httpcore.Request("POST", url, headers=headers, content=_Content(body))


def _origin(target: Target) -> httpcore.Origin:
    return httpcore.Origin(target.scheme.encode("ascii"), target.host.encode("ascii"), target.port)


class _Stream(httpcore.AsyncNetworkStream):
    """A trio stream as httpcore wants it; the connection's owner closes it."""

    def __init__(self, stream: trio.abc.Stream, send_timeout: float, may_read: Callable[[], Awaitable[None]]) -> None:
        self._stream = stream
        self._send_timeout = send_timeout
        self._may_read = may_read

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002, ASYNC109 - httpcore's
        await self._may_read()
        try:
            return bytes(await self._stream.receive_some(max_bytes))
        except trio.BrokenResourceError as error:
            raise httpcore.ReadError(str(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109 - httpcore's
        with trio.move_on_after(self._send_timeout) as scope:
            try:
                await self._stream.send_all(buffer)
            except trio.BrokenResourceError as error:
                raise httpcore.WriteError(str(error)) from error
        if scope.cancelled_caught:
            raise httpcore.WriteError(f"the peer accepted no data for {self._send_timeout:g} s")

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    def get_extra_info(self, info: str) -> Any:  # noqa: ARG002 - there is none
        return None


class _Content:
    """The body of a request; httpcore's own is a generator, which a cancelled request would leave open."""

    def __init__(self, body: bytes) -> None:
        self._left = [body]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()
