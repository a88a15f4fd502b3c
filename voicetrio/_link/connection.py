"""What the rest of voicetrio asks of a connection, whichever library drives it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import attrs
import trio

from ..errors import ConfigurationError, InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

Dial = Callable[[str, int], Awaitable[trio.abc.Stream]]
"""Host and port in, a connected byte stream out: :func:`trio.open_tcp_stream`, a proxy, a test's memory stream.

It must close what it opened when it is cancelled or fails, and tell a failure by :exc:`OSError`.
"""


class Connection(Protocol):
    """One open websocket.

    Any task may call any method.  What fails because of the peer raises :exc:`~voicetrio.errors.LinkClosed`; what is
    called after :meth:`close`, or after the block of the connection was left, raises
    :exc:`~voicetrio.errors.ClosedError`.
    """

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the upgrade response, names in lower case."""
        ...

    @property
    def request_id(self) -> str | None:
        """The provider's id of this connection, if the upgrade response had one."""

    async def send(self, *messages: str | bytes) -> None:
        """Send messages, as text or as binary, in as few packets as they fit in.

        Cancelled, it has sent none: once the first byte of a frame has been written, the frame is finished first; one
        of several that it sends one by one may have been the last.  Where the peer lets that wait for `close_timeout`
        seconds, it is cancelled all the same, and the connection is dead.

        Raises:
            InputError: A text has a lone surrogate, which UTF-8 cannot carry.  Nothing was sent.
            LinkClosed: The connection has ended; whether the peer got the message is unknown.
            LinkStalled: The peer accepted no data for `send_timeout` seconds.
            ClosedError: It was closed from this side.
        """

    async def receive(self) -> str | bytes:
        """Return the next message.  Cancelled, it has taken none.

        Messages that came before the connection ended are delivered before the end is reported.

        Raises:
            LinkClosed: The connection has ended, with the peer's close code, or 1006 without a close frame.
            LinkStalled: A send found the peer stalled.
            ClosedError: It was closed from this side.
        """
        ...

    async def ping(self) -> None:
        """Send a ping and wait for its pong, however long it takes: use :func:`trio.fail_after` around it.

        Raises:
            LinkClosed: The connection ended first.
            LinkStalled: The peer accepted no data for `send_timeout` seconds.
            ClosedError: It was closed from this side.
        """

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        """Send a close frame, wait for the peer's for at most `close_timeout` seconds, and drop the socket.

        Closing twice is allowed.  It is shielded: cancellation does not cut it short.
        """


def check_encodable(message: str | bytes) -> None:
    """Raise InputError if a message is text that UTF-8 cannot carry."""
    if isinstance(message, str):
        try:
            message.encode()
        except UnicodeEncodeError:
            raise InputError("the text has a lone surrogate, which UTF-8 cannot carry") from None


Driver = Literal["websockets", "trio-websocket"]
DEFAULT_DRIVER: Driver = "websockets"


def known_driver(_: object, attribute: attrs.Attribute[Any], value: str) -> None:
    """Check the name of a driver."""
    if value not in get_args(Driver):
        raise ConfigurationError(f"{attribute.name} must be {' or '.join(get_args(Driver))}, not {value!r}")


def _positive(_: object, attribute: attrs.Attribute[Any], value: float) -> None:
    # An infinite timeout would make "bounded" an empty word.
    if not (value > 0 and math.isfinite(value)):
        raise ConfigurationError(f"{attribute.name} must be a positive, finite number, not {value!r}")


@attrs.frozen(kw_only=True)
class ConnectionOptions:
    """The bounds of a connection.

    Attributes:
        connect_timeout: Seconds for name resolution, TCP, TLS and the upgrade together.
        send_timeout: Seconds for which the peer may accept no data before the connection is given up.
        close_timeout: Seconds to wait for the peer's close frame.
        max_message: The longest message accepted, in bytes (trio-websocket counts text in characters); a longer one
            ends the connection with code 1009.
        queue: Messages received and not yet taken; when it is full, back-pressure goes to the socket.  What came with
            one read is never left behind, so there may be a few more.
        driver: Which library drives websockets: ``"websockets"``, by its sans-I/O protocol, or ``"trio-websocket"``.
    """

    connect_timeout: float = attrs.field(default=10.0, validator=_positive)
    send_timeout: float = attrs.field(default=5.0, validator=_positive)
    close_timeout: float = attrs.field(default=0.5, validator=_positive)
    max_message: int = attrs.field(default=4 * 2**20, validator=_positive)
    queue: int = attrs.field(default=32, validator=_positive)
    driver: Driver = attrs.field(default=DEFAULT_DRIVER, validator=known_driver)
