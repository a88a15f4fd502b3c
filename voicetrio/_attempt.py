"""One attempt to get a turn spoken."""

from __future__ import annotations

import math

import trio

from ._dialect import TTSDialect
from ._link.link import Link
from ._link.pool import LinkPool
from .errors import VoiceTrioError
from .turn import Turn


class Attempt:
    """A turn on a link; a turn may take several.

    `scope` surrounds the work on it, and the scope's deadline is the watchdog over a silent provider: one scope, pushed
    ahead by whatever comes.  It does not run while `resting`: then it is we who take nothing.

    Args:
        turn: what is to be spoken.
        pool: where the link is from.
        link: on what.
        response_timeout: seconds for which the provider may be silent while it owes us something.
        cancel_timeout: seconds in which it must acknowledge a cancellation.
    """

    def __init__(
        self,
        turn: Turn,
        pool: LinkPool[TTSDialect],
        link: Link[TTSDialect],
        response_timeout: float,
        cancel_timeout: float,
    ) -> None:
        self.turn = turn
        self.characters = turn.reached  # of the text that earlier attempts have spoken
        self.pool = pool
        self.link = link
        self.cancel_timeout = cancel_timeout
        self.scope = trio.CancelScope()
        self.error: VoiceTrioError | None = None
        self.ended = False
        self.resting = False
        self._response_timeout = response_timeout
        self._more = False
        self._wake = trio.lowlevel.ParkingLot()
        self.restart_times()

    def restart_times(self) -> None:
        """The times of words that come now count from the audio that has come."""
        self.seconds: float = self.turn.audio.received / self.turn.audio.format.sample_rate

    def fail(self, error: VoiceTrioError) -> None:
        """End it with an error; what came first counts, the end or an error."""
        if self.ended or self.error is not None:
            return
        self.error = error
        self.scope.cancel(reason="the attempt failed")

    def end(self, inferred: bool) -> None:
        """All audio has come, unless it has failed before."""
        if self.error is not None:
            return
        self.ended = True
        self.turn.inferred = inferred
        self._wake.unpark_all()

    def resume(self) -> None:
        """The dialect has more to send."""
        self._more = True
        self._wake.unpark_all()

    async def has_ended(self) -> bool:
        """Wait until all audio has come, or there is more to send."""
        while not (self.ended or self._more):
            await self._wake.park()
        self._more = False
        return self.ended

    def watch(self) -> None:
        """Give the provider its time for the next word, if it owes us one and we are listening."""
        watched = self.link.dialect.awaiting and not self.resting
        self.scope.deadline = trio.current_time() + self._response_timeout if watched else math.inf
