"""What is under way on a denoiser's link."""

from __future__ import annotations

import trio

from ._denoise_dialect import DenoiseDialect
from ._link.link import Link


class LinkInUse:
    """A link in use, and which piece what comes from it is of.

    Attributes:
        answered: whether anything came.
    """

    def __init__(self, link: Link[DenoiseDialect]) -> None:
        self.link = link
        self.scope = trio.CancelScope()
        self.answered = False
        self._sent: dict[int, float] = {}  # pieces that are not answered and when they were sent, the oldest first
        self._within = 0  # samples of the oldest that have come, where the provider does not number them
        self._numbered = False
        self._waiting_since: float | None = None

    def send(self, sequence: int) -> None:
        """Note that a piece is sent."""
        self._sent[sequence] = trio.current_time()
        if self._waiting_since is None:
            self._waiting_since = trio.current_time()

    def stalled(self, seconds: float) -> bool:
        """Whether nothing came for so long though something was sent, or what comes in order is that far behind."""
        past = trio.current_time() - seconds
        while (oldest := next(iter(self._sent), None)) is not None and self._sent[oldest] < past:
            if not self._numbered:
                return True
            del self._sent[oldest]  # lost on the way
        return self._waiting_since is not None and self._waiting_since < past

    def find(self, sequence: int | None, samples: int, piece: int) -> tuple[int, float] | None:
        """The position of what came, and when it was sent; None if it is of no piece that was sent here."""
        self._numbered = sequence is not None
        if sequence is None:
            sequence = next(iter(self._sent), -1)
        sent_at = self._sent.get(sequence)
        if sent_at is None:
            return None
        self.answered = True
        self._waiting_since = None
        if self._numbered:
            del self._sent[sequence]
            return sequence * piece, sent_at
        position = sequence * piece + self._within
        self._within += samples
        while self._sent and self._within >= piece:
            del self._sent[next(iter(self._sent))]
            self._within -= piece
        return position, sent_at
