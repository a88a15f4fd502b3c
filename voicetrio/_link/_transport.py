"""httpx's transport on one byte stream that is there already."""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Any, Self

import httpcore
import httpx
import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


# How much of a request must be accepted in each send timeout.
_PIECE = 16 * 2**10


class StreamTransport(httpx.AsyncBaseTransport):
    """Requests one after another on a trio stream, by the engine of httpx's own transport.

    Args:
        stream: to the server; it is closed by its owner.
        url: of the server: its origin.
        send_timeout: seconds for which the server may accept no data.
        may_read: awaited before each read.
    """

    def __init__(
        self, stream: trio.abc.Stream, url: httpx.URL, send_timeout: float, may_read: Callable[[], Awaitable[None]]
    ) -> None:
        origin = httpcore.Origin(url.raw_scheme, url.raw_host, url.port or {"http": 80, "https": 443}[url.scheme])
        self._stream = _Stream(stream, send_timeout, may_read)
        self._connection = httpcore.AsyncHTTP11Connection(origin, self._stream)

    @property
    def reusable(self) -> bool:
        """Whether another request can follow, and nothing came that was not asked for."""
        # What came behind a response has no public name.
        return self._connection.is_available() and not self._connection._h11_state.trailing_data[0]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, and return its response when its headers have come.

        Raises:
            httpcore.NetworkError: the connection was lost.
            httpcore.WriteTimeout: the server accepted no data for the send timeout.
            httpcore.ProtocolError: what came is no HTTP.
        """
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        asked = httpcore.Request(request.method, url, headers=request.headers.raw, content=request.stream)
        self._stream.hold_back()
        response = await self._connection.handle_async_request(asked)
        return httpx.Response(response.status, headers=response.headers, stream=_Body(response))


class Content(httpx.AsyncByteStream):
    """The body of a request; httpx's own is a generator, which a cancelled request would leave open.

    Args:
        body: the whole of it.
        written: called when the stream has accepted all of it.
    """

    def __init__(self, body: bytes, written: Callable[[], None]) -> None:
        self._left = [body]
        self._written = written

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            self._written()
            raise StopAsyncIteration
        return self._left.pop()


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    def __aiter__(self) -> AsyncIterator[bytes]:
        assert isinstance(self._response.stream, AsyncIterable)
        return aiter(self._response.stream)

    async def aclose(self) -> None:
        await self._response.aclose()


class _Stream(httpcore.AsyncNetworkStream):
    """A trio stream as httpcore wants it; the connection's owner closes it."""

    def __init__(self, stream: trio.abc.Stream, send_timeout: float, may_read: Callable[[], Awaitable[None]]) -> None:
        self._stream = stream
        self._send_timeout = send_timeout
        self._may_read = may_read
        self._holding = False
        self._head = b""

    def hold_back(self) -> None:
        """Keep what is written next, the head of a request, until its body comes: they go in one packet."""
        self._holding = True

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002, ASYNC109 - httpcore's
        await self._may_read()
        try:
            return bytes(await self._stream.receive_some(max_bytes))
        except trio.BrokenResourceError as error:
            raise httpcore.ReadError(str(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109 - httpcore's
        if self._holding:
            self._holding, self._head = False, buffer
            return
        view, self._head = memoryview(self._head + buffer), b""
        if not view:  # the end of a body whose length was told
            return
        with trio.CancelScope() as scope:
            try:
                for start in range(0, len(view), _PIECE):
                    scope.deadline = trio.current_time() + self._send_timeout
                    await self._stream.send_all(view[start : start + _PIECE])
            except trio.BrokenResourceError as error:
                # httpcore passes over it, and reads what the server has said before it left.
                raise httpcore.WriteError(str(error)) from error
        if scope.cancelled_caught:
            # Of a server that has not left nothing would come.
            raise httpcore.WriteTimeout(f"it accepted no data for {self._send_timeout:g} s")

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    def get_extra_info(self, info: str) -> Any:  # noqa: ARG002 - there is none
        return None
