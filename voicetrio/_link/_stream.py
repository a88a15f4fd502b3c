"""The byte stream below every connection: dialled, with TLS where the URL wants it, and always closed."""

from __future__ import annotations

import contextlib
import functools
import ssl
from typing import TYPE_CHECKING

import trio

from ..errors import ConnectError, ConnectTimeout

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ._target import Target
    from .connection import Dial


@contextlib.asynccontextmanager
async def open_stream(
    target: Target, dial: Dial, context: ssl.SSLContext | None, deadline: float
) -> AsyncGenerator[tuple[Transport, trio.abc.Stream]]:
    """Open a stream to the target; leaving the block drops it.

    Gives the transport and the stream on top of it: with TLS, or the transport itself.

    Raises:
        ConnectError: DNS, TCP or TLS failed.
        ConnectTimeout: the deadline passed.
    """
    transport = await _open_transport(target, dial, deadline)
    try:
        stream = await _start_tls(transport, target, context, deadline) if target.tls else transport
        yield transport, stream
    finally:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(transport)


class Transport(trio.abc.Stream):
    """A stream whose failed writes are dropped and noted, so that reading goes on to its own end.

    When the peer closes, its last words (an error message, a close frame with the reason) are often still unread when
    our next write fails.  Both trio-websocket and :class:`trio.SSLStream` give up reading at a failed write; this keeps
    the failure from them.

    Attributes:
        broken: Whether a write has failed.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.broken = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send, or note that it failed."""
        if self.broken:
            await trio.lowlevel.checkpoint()
            return
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError:
            self.broken = True

    async def wait_send_all_might_not_block(self) -> None:
        """As the stream below does."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """As the stream below does."""
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        """Close the stream below."""
        await self._stream.aclose()


async def _open_transport(target: Target, dial: Dial, deadline: float) -> Transport:
    with trio.CancelScope(deadline=deadline):
        try:
            return Transport(await dial(target.host, target.port))
        except (OSError, UnicodeError, trio.BrokenResourceError) as exc:  # UnicodeError: a host that IDNA refuses
            message = f"cannot connect to {target.shown}: {target.printable(str(exc))}"
            raise ConnectError(message, provider=target.provider) from exc
    raise ConnectTimeout(f"{target.shown}: no TCP connection in time", provider=target.provider)


async def _start_tls(
    transport: Transport, target: Target, context: ssl.SSLContext | None, deadline: float
) -> trio.abc.Stream:
    try:
        stream = trio.SSLStream(
            transport, context or _default_ssl_context(), server_hostname=target.host, https_compatible=True
        )
    except ValueError as exc:  # a name that no certificate can have
        message = f"TLS with {target.shown} failed: {target.printable(str(exc))}"
        raise ConnectError(message, provider=target.provider) from exc
    with trio.CancelScope(deadline=deadline):
        try:
            await stream.do_handshake()
        except trio.BrokenResourceError as exc:
            cause = exc.__cause__ or exc  # trio wraps the ssl module's error
            message = f"TLS with {target.shown} failed: {target.printable(str(cause)) or 'the connection was reset'}"
            raise ConnectError(message, provider=target.provider) from cause
        return stream
    raise ConnectTimeout(f"{target.shown}: no TLS in time", provider=target.provider)


@functools.cache
def _default_ssl_context() -> ssl.SSLContext:
    # Reading the trust store takes 40 ms of CPU: once in a process, and not before it is needed.
    return ssl.create_default_context()
