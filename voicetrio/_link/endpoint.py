"""Where links lead, and what opens the connections to it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING

import attrs

from ._target import HTTP, WEBSOCKET, Target
from .connection import Connection, Dial

if TYPE_CHECKING:
    import ssl

    from .policy import LinkPolicy


@attrs.frozen
class Endpoint:
    """Where a link leads, and as whom; turns with equal endpoints share links.

    Attributes:
        url: ``ws``, ``wss``, ``http`` or ``https``.
        headers: of the upgrade, or of each request.
        greeting: what the link says first, where a connection's options and its key are a message.
        secrets: what must not be shown, besides what the URL and the headers tell by their names.

    Raises:
        ConfigurationError: if nothing could ever lead there.
    """

    url: str = attrs.field(repr=lambda url: repr(url.partition("?")[0]))  # some keys are in the query
    headers: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)
    greeting: tuple[str, ...] = attrs.field(default=(), repr=False)
    secrets: tuple[str, ...] = attrs.field(default=(), repr=False)

    def __attrs_post_init__(self) -> None:
        self.target("")

    def target(self, provider: str) -> Target:
        """The endpoint, taken apart, for a provider's name."""
        return Target.parse(self.url, self.headers, provider, secrets=self.secrets, schemes=(*WEBSOCKET, *HTTP))


def connector(
    endpoint: Endpoint, provider: str, policy: LinkPolicy, ssl_context: ssl.SSLContext | None, dial: Dial | None
) -> Callable[[], AbstractAsyncContextManager[Connection]]:
    """What opens a connection to an endpoint: a websocket, or requests over HTTP."""
    # Each brings its library along, and most sessions need one of them.
    if endpoint.url.partition(":")[0] in HTTP:
        from .http import connect
    else:
        from .websocket import connect
    return partial(
        connect,
        endpoint.url,
        headers=endpoint.headers,
        options=policy.connection,
        ssl_context=ssl_context,
        dial=dial,
        provider=provider,
        secrets=endpoint.secrets,
    )
