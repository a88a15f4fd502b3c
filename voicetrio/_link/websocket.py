"""Opens websockets with the driver that the options name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ._target import Target
from .connection import Connection, ConnectionOptions, Dial

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager


def connect(
    url: str,
    *,
    headers: Sequence[tuple[str, str]] = (),
    options: ConnectionOptions | None = None,
    ssl_context: ssl.SSLContext | None = None,
    dial: Dial | None = None,
    provider: str = "",
    secrets: Sequence[str] = (),
) -> AbstractAsyncContextManager[Connection]:
    """Return a context manager that opens a websocket and closes it when its block is left.

    Leaving the block sends a close frame, waits at most `close_timeout` seconds for the peer's (20 ms if the block is
    left by an exception or a cancellation) and closes the socket.  The block's own exception passes unchanged.

    Args:
        url: ``ws://`` or ``wss://``, percent-encoded.
        headers: Request headers, in order.  Those of the websocket handshake itself are refused.
        options: The bounds, and the driver; None for the defaults.
        ssl_context: For ``wss://``; None for the system's trust store.
        dial: What opens the byte stream; None for TCP.  With ``wss://`` its stream is wrapped in TLS.
        provider: The name that errors carry.
        secrets: What must not be shown, besides what the URL and the headers tell by their names.

    Raises:
        ConfigurationError: `url` or `headers` cannot be used.  Raised by the call itself.
        ConnectError: On entering: DNS, TCP or TLS failed, or the peer speaks no websocket.
        ConnectTimeout: On entering: `connect_timeout` passed.
        UpgradeRejected: On entering: the server refused, in the subclass that its HTTP status means.
    """
    target = Target.parse(url, headers, provider, secrets=secrets)
    options = options or ConnectionOptions()
    # Each brings its library along, and a session needs one.
    if options.driver == "trio-websocket":
        from ._trio_websocket import open_websocket
    else:
        from ._websockets import open_websocket
    return open_websocket(target, options, ssl_context, dial or trio.open_tcp_stream)
