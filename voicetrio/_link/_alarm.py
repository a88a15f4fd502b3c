"""A time at which something is looked at, which is put off at no cost."""

from __future__ import annotations

import math

import trio


class Alarm:
    """A time that one task waits for and others put off, as each message of a provider puts off its being late.

    To move a deadline of trio's costs as much as half a message.  So this one is only moved when the time comes nearer;
    when it was put off, the task that waits wakes at the old time, finds that out and sleeps on.

    Attributes:
        at: the time, by trio's clock; :data:`math.inf` for never.
    """

    def __init__(self) -> None:
        self.at = math.inf
        self._sleep = trio.CancelScope()

    def set(self, at: float) -> None:
        """Move the time.  Synchronous, starts no task, and may be called from within a ``cancel()``."""
        self.at = at
        if at < self._sleep.deadline:
            self._sleep.deadline = at

    async def wait(self) -> None:
        """Wait until the time has come; for one task."""
        while trio.current_time() < self.at:
            with trio.CancelScope(deadline=self.at) as self._sleep:
                await trio.sleep_forever()
