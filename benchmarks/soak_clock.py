"""A clock that passes no time but what somebody waits for, and none of it in between."""

from __future__ import annotations

import math

import trio


class VirtualClock(trio.abc.Clock):
    """Goes to the next deadline as soon as no task can run.

    :class:`trio.testing.MockClock` with ``autojump_threshold=0`` does the same, and needs a second pass of the
    scheduler for each jump.  Here time passes as trio asks how long it may sleep, which it does only when no task can
    run.  So this is no clock for sockets and threads, nor for :func:`trio.testing.wait_all_tasks_blocked`: what they
    wake comes after the jump.
    """

    def __init__(self) -> None:
        self._now = 0.0

    def start_clock(self) -> None:
        """Nothing runs by itself."""

    def current_time(self) -> float:
        """Virtual seconds since the beginning."""
        return self._now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Be there at once."""
        if math.isinf(deadline):
            return deadline  # nobody will ever wake anybody
        self._now = max(self._now, deadline)
        return 0.0
