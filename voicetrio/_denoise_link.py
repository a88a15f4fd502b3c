"""What is under way on a denoiser's link."""

from __future__ import annotations

import attrs
import trio

from ._denoise_dialect import DenoiseDialect, Processed
from ._link.link import Link


@attrs.frozen
class Found:
    """What an answer is of.

    Attributes:
        position: of its first sample in the stream.
        samples: how many of its samples are believed.
        sent_at: when what it answers was sent.
    """

    position: int
    samples: int
    sent_at: float


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
        self._odd = b""
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

    def whole_samples(self, event: Processed, width: int) -> bytes:
        """The audio of an answer; what comes in order may be cut within a sample, and its rest come next time."""
        if event.sequence is not None:
            return event.pcm[: len(event.pcm) - len(event.pcm) % width]
        pcm = self._odd + event.pcm
        end = len(pcm) - len(pcm) % width
        self._odd = pcm[end:]
        return pcm[:end]

    def find(self, sequence: int | None, samples: int, piece: int) -> Found | None:
        """What an answer of so many samples is of; None if it is of no piece that was sent here."""
        self._numbered = sequence is not None
        if sequence is None:
            return self._find_in_order(samples, piece)
        sent_at = self._sent.get(sequence)
        if sent_at is None:
            return None
        self._hear()
        # Of several pieces at once, or of one: what is longer than that is not believed.
        pieces = samples // piece if samples % piece == 0 else 1
        answered = 0
        while answered < pieces and self._sent.pop(sequence + answered, None) is not None:
            answered += 1
        return Found(sequence * piece, min(samples, answered * piece), sent_at)

    def _find_in_order(self, samples: int, piece: int) -> Found | None:
        if not self._sent:
            return None
        oldest = next(iter(self._sent))
        found = Found(oldest * piece + self._within, samples, self._sent[oldest])
        self._hear()
        self._within += samples
        while self._sent and self._within >= piece:
            del self._sent[next(iter(self._sent))]
            self._within -= piece
        return found

    def _hear(self) -> None:
        self.answered = True
        self._waiting_since = None
