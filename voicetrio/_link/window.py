"""Counting against a provider's limits before the provider does."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable


class Window:
    """How much of a limited thing was used within the last `seconds`."""

    def __init__(self, limit: int, seconds: float, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._seconds = seconds
        self._clock = clock
        self._used: deque[tuple[float, int]] = deque()
        self._sum = 0

    @property
    def left(self) -> int:
        """How much may be used now."""
        now = self._clock()
        while self._used and self._used[0][0] + self._seconds <= now:
            self._sum -= self._used.popleft()[1]
        return self._limit - self._sum

    def use(self, amount: int) -> None:
        """Count what is used now."""
        self._used.append((self._clock(), amount))
        self._sum += amount

    def wait(self, amount: int) -> float:
        """Seconds until `amount`, at most the limit, may be used."""
        missing = amount - self.left
        for time, used in self._used:
            if missing <= 0:
                break
            missing -= used
            freed = time
        else:
            if missing > 0:
                raise ValueError(f"{amount} is more than the limit of {self._limit}")
        return 0.0 if amount <= self.left else min(self._seconds, max(0.0, freed + self._seconds - self._clock()))
