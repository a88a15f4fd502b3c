"""How long somebody who can wait goes on trying."""

from __future__ import annotations

import trio

from ._link.policy import LinkPolicy, is_transient
from .errors import (
    BreakerOpen,
    ConnectError,
    LinkClosed,
    ProviderError,
    ProviderStalled,
    RateLimited,
    ServiceUnavailable,
)

PASSING = (ConnectError, LinkClosed, ProviderStalled, RateLimited, ServiceUnavailable)
"""What may be over when it is tried again, unless its status or code says that it is permanent."""


class Patience:
    """Waits before the next attempt, longer after each failure, until all went wrong for so long.

    Args:
        policy: of the pauses.
        seconds: since things last went well, after which the error is the caller's.

    Attributes:
        cause: what went wrong last, since things went well; None if nothing did.
    """

    def __init__(self, policy: LinkPolicy, seconds: float) -> None:
        self._policy = policy
        self._seconds = seconds
        self.restore()

    def restore(self) -> None:
        """Things have gone well until now."""
        self.cause: ProviderError | None = None
        self._well = trio.current_time()
        self._failures = 0

    async def wait_or_raise(self, error: ProviderError) -> None:
        """Wait before the next attempt, as long as the provider or the breaker asks for.

        Raises:
            ProviderError: the error, if it is permanent or patience is at its end; why the breaker is open says more
                than that it is.
        """
        if not isinstance(error, BreakerOpen):
            self.cause = error
            if not (isinstance(error, PASSING) and is_transient(error)):
                raise error
        self._failures += 1
        pause = max(self._policy.pause(self._failures), error.retry_after or 0.0)
        if trio.current_time() + pause > self._well + self._seconds:
            raise self.cause or error
        await trio.sleep(pause)
