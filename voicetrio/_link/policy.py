"""How links are made, kept and given up: times, numbers, backoff and the breaker."""

from __future__ import annotations

import math
import random

import attrs
import trio

from ..errors import AuthenticationError, BadRequest, BreakerOpen, ConfigurationError, PaymentRequired, ProviderError
from .connection import ConnectionOptions


@attrs.frozen(kw_only=True)
class LinkPolicy:
    """The policy of one provider; times in seconds.

    Attributes:
        connection: what one connection may take.
        max_age: a link older than this is replaced, between turns; if nobody wanted one for this long, it is let go.
        max_idle: a link on which no turn was for this long is replaced, or let go as above.
        heartbeat: a ping goes out this often; None for never.
        heartbeat_timeout: a link on which nothing came for this long after a ping is dead.
        attempts: so often a turn is tried before the error is the caller's, whether it fails in connecting or later.
        backoff: before attempt n+1, a random time up to ``backoff * 2**(n-1)``, at most `backoff_max`.
        backoff_max: see `backoff`.
        breaker_failures: so many failures in a row open the breaker.
        breaker_cooldown: so long it stays open, twice as long each time it opens again, up to `breaker_cooldown_max`.
        breaker_cooldown_max: see `breaker_cooldown`.
        spare: keep a second link ready, for protocols that cannot cancel.
        farewell_timeout: so long a provider may take to answer our good-bye.
    """

    connection: ConnectionOptions = attrs.field(factory=ConnectionOptions)
    max_age: float = 300.0
    max_idle: float = math.inf
    heartbeat: float | None = 30.0
    heartbeat_timeout: float = 10.0
    attempts: int = 3
    backoff: float = 0.2
    backoff_max: float = 4.0
    breaker_failures: int = 6
    breaker_cooldown: float = 5.0
    breaker_cooldown_max: float = 60.0
    spare: bool = False
    farewell_timeout: float = 0.3

    def __attrs_post_init__(self) -> None:
        times = ("max_age", "max_idle", "heartbeat_timeout", "backoff_max", "farewell_timeout")
        for name in (*times, "attempts", "breaker_failures"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} must be more than 0, not {getattr(self, name)!r}")

    def pause(self, failures: int) -> float:
        """Seconds before the next attempt after so many failures: full jitter."""
        return random.uniform(0, min(self.backoff_max, self.backoff * 2 ** (failures - 1)))  # noqa: S311 - no secret


class Retries:
    """How often something is tried again: one number for all that can go wrong on the way.

    Attributes:
        failures: so far, since it got anywhere.
    """

    def __init__(self, policy: LinkPolicy) -> None:
        self.failures = 0
        self._policy = policy

    async def pause_or_raise(self, error: ProviderError) -> None:
        """Wait before the next attempt, as long as the provider asks for if that is not long.

        Raises:
            ProviderError: the error, if it is not to be tried again.
        """
        self.failures += 1
        if not is_transient(error) or self.failures >= self._policy.attempts:
            raise error
        pause = max(self._policy.pause(self.failures), error.retry_after or 0.0)
        if pause > self._policy.backoff_max:
            raise error
        await trio.sleep(pause)


def is_transient(error: ProviderError) -> bool:
    """Whether the same request may succeed if it is made again."""
    if isinstance(error, BadRequest | AuthenticationError | PaymentRequired | BreakerOpen):
        return False
    if error.status is not None:
        return error.status == 429 or error.status >= 500
    # RFC 6455 7.4.1: these codes blame what we sent, so sending it again gets them again.
    return error.code not in (1002, 1003, 1007, 1008, 1009, 1010)


# Whoever sleeps as long as a breaker says must not wake up a rounding too early.
_CLOCK_ERROR = 1e-6


class Breaker:
    """Stops connecting for a while when connections keep failing, and says so instead of trying."""

    def __init__(self, provider: str, policy: LinkPolicy) -> None:
        self._provider = provider
        self._policy = policy
        self._failures = 0
        self._openings = 0
        self._closed_until = 0.0
        self._last: ProviderError | None = None

    def check(self) -> None:
        """Raise if connecting must not be tried now.

        Raises:
            BreakerOpen: with the last failure as its cause.
        """
        left = self._closed_until - trio.current_time()
        if self._openings and left > _CLOCK_ERROR:
            raise BreakerOpen(
                f"it failed {self._failures} times in a row and is not tried for {left:.1f} s; at last: {self._last}",
                provider=self._provider,
                retry_after=left,
            ) from self._last

    def failed(self, error: ProviderError) -> None:
        """Count a failure."""
        self._failures += 1
        self._last = error
        if self._failures >= self._policy.breaker_failures:
            cooldown = self._policy.breaker_cooldown * 2 ** min(self._openings, 10)
            self._closed_until = trio.current_time() + min(cooldown, self._policy.breaker_cooldown_max)
            self._openings += 1

    def succeeded(self) -> None:
        """Forget all failures."""
        self._failures = self._openings = 0
        self._last = None
